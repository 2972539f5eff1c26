/* Verify finds what is wrong with a journal; export and import carry one over whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "../support/shop.h"
#include "../support/temp.h"
#include "cli/journal_file.h"
#include "store/journal_sqlite.h"
#include "store/journal_sqlite_priv.h"
#include "store/journal_verify.h"

static struct journal *journal_at(const char *dir, bool read_only) {
    struct journal_sqlite_options options = {.cell = STR("main"), .read_only = read_only};
    struct fault fault = {0};
    struct journal *journal;
    if (journal_sqlite_open(dir, &options, &journal, &fault) != OK)
        fail_msg("open: %s", fault.detail);
    return journal;
}

static void orders_append(struct journal *journal, uint32_t n) {
    struct shop_record *made = calloc(2 * n, sizeof *made);
    struct record *records = calloc(2 * n, sizeof *records);
    struct buf texts;
    struct fault fault = {0};
    uint64_t last;
    buf_init(&texts, 0);
    assert_int_equal(journal_last(journal, &last, &fault), OK);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t seq = last + 2 * i + 1;
        shop_put_captured(&texts, seq, seq, 5, &made[2 * i]);
        shop_put_other(&texts, "stock.reserved", "{\"lines\":[]}", seq, seq + 1, seq,
                       &made[2 * i + 1]);
    }
    shop_fix(&texts, made, 2 * n);
    for (uint32_t i = 0; i < 2 * n; i++)
        records[i] = made[i].record;
    assert_int_equal(journal_append(journal, records, 2 * n, &fault), OK);
    buf_free(&texts);
    free(made);
    free(records);
}

static void verify(const char *dir, struct journal_report *report) {
    struct registry *registry = registry_create(shop_capabilities);
    struct journal *journal = journal_at(dir, true);
    struct fault fault = {0};
    assert_int_equal(journal_verify(journal, registry, NULL, NULL, report, &fault), OK);
    journal_close(journal);
    registry_destroy(registry);
}

static struct str argument(sqlite3_value *value) {
    return str_of((const char *)sqlite3_value_text(value), (size_t)sqlite3_value_bytes(value));
}

/* SQL: record_sum(seq, time, type, subject, meta, data), to write a record as the hub would. */
static void record_sum(sqlite3_context *ctx, int n, sqlite3_value **v) {
    (void)n;
    struct record record = {.seq = (uint64_t)sqlite3_value_int64(v[0]),
                            .time_us = sqlite3_value_int64(v[1]), .type = argument(v[2]),
                            .subject = argument(v[3]), .meta = argument(v[4]),
                            .data = argument(v[5])};
    sqlite3_result_int64(ctx, (sqlite3_int64)journal_record_sum(&record));
}

static void change(const char *dir, const char *sql) {
    char name[4096];
    sqlite3 *db;
    snprintf(name, sizeof name, "%s/journal/00000001.db", dir);
    assert_int_equal(sqlite3_open(name, &db), SQLITE_OK);
    sqlite3_create_function(db, "record_sum", 6, SQLITE_UTF8, NULL, record_sum, NULL, NULL);
    char *wrong = NULL;
    sqlite3_exec(db, sql, NULL, NULL, &wrong);
    if (wrong)
        fail_msg("%s", wrong);
    sqlite3_close(db);
}

static void finds_what_is_wrong(void **state) {
    (void)state;
    char *dir = temp_folder();
    struct journal *journal = journal_at(dir, false);
    orders_append(journal, 5000);
    journal_close(journal);
    struct journal_report report;
    verify(dir, &report);
    assert_int_equal(report.faults, 0);
    assert_int_equal(report.records, 10000);
    assert_int_equal(report.last_seq, 10000);
    char whole[JOURNAL_DIGEST_TEXT];
    memcpy(whole, report.digest, sizeof whole);

    change(dir, "UPDATE event SET subject=subject||'x' WHERE seq=77");
    verify(dir, &report);
    assert_int_equal(report.faults, 1); /* still well-formed, but not what was written */
    assert_int_equal(report.listed[0].seq, 77);
    assert_non_null(strstr(report.listed[0].detail, "checksum"));
    assert_int_equal(report.records, 10000);
    change(dir, "UPDATE event SET sum=record_sum(seq,time,type,subject,meta,data) WHERE seq=77");
    verify(dir, &report);
    assert_int_equal(report.faults, 0); /* somebody took the pains: the digest tells all the same */
    assert_string_not_equal(report.digest, whole);

    change(dir, "UPDATE event SET data='{' WHERE seq=9; UPDATE event SET meta='{\"first\":99}'"
                " WHERE seq=10; UPDATE event SET meta='{\"cause\":11}' WHERE seq=11;"
                "UPDATE event SET type='not.known' WHERE seq=12; DELETE FROM event WHERE seq=5000;"
                "UPDATE event SET sum=record_sum(seq,time,type,subject,meta,data) WHERE seq<13");
    verify(dir, &report);
    assert_int_equal(report.faults, 4);
    assert_int_equal(report.listed[0].seq, 9);
    assert_int_equal(report.listed[1].seq, 10);
    assert_non_null(strstr(report.listed[1].detail, "later 99"));
    assert_int_equal(report.listed[2].seq, 11);
    assert_int_equal(report.listed[3].seq, 5000);
    assert_non_null(strstr(report.listed[3].detail, "records 5000 to 5000 are missing"));
    assert_int_equal(report.unknown, 1);
    assert_int_equal(report.records, 10000); /* those looked for: found, damaged or missing */

    char name[4096];
    snprintf(name, sizeof name, "%s/journal/00000001.db", dir);
    FILE *file = fopen(name, "r+");
    fseek(file, 300 * 16384, SEEK_SET);
    for (int i = 0; i < 2000; i++)
        fputs("damage! ", file);
    fclose(file);
    verify(dir, &report);
    assert_true(report.faults > 4 && report.records > 1000 && report.records < 10000);
    struct journal_report_fault *last = &report.listed[report.faults - 1];
    assert_int_equal(last->seq, report.last_seq + 1);
    assert_non_null(strstr(last->detail, "the file is damaged"));
    temp_remove(dir);
}

static void silent(void *ctx, uint64_t seq) { (void)ctx, (void)seq; }

static void exports_and_imports(void **state) {
    (void)state;
    char *dir = temp_folder(), *copy = temp_folder(), path[4096];
    struct registry *registry = registry_create(shop_capabilities);
    struct fault fault = {0};
    struct journal *journal = journal_at(dir, false);
    orders_append(journal, 700);
    snprintf(path, sizeof path, "%s/export.ndjson", dir);
    FILE *out = fopen(path, "w");
    assert_int_equal(journal_file_write(journal, 1, 1400, out, silent, NULL, &fault), OK);
    fclose(out);
    journal_close(journal);

    uint64_t records;
    if (journal_file_check(path, registry, &records, silent, NULL, &fault) != OK)
        fail_msg("check: %s", fault.detail);
    assert_int_equal(records, 1400);
    journal = journal_at(copy, false);
    assert_int_equal(journal_file_read(path, journal, &records, silent, NULL, &fault), OK);
    assert_int_equal(records, 1400);
    assert_int_equal(journal_file_read(path, journal, &records, silent, NULL, &fault),
                     ERR_CONFLICT);
    journal_close(journal);
    struct journal_report first, second;
    verify(dir, &first);
    verify(copy, &second);
    assert_int_equal(second.faults, 0);
    assert_string_equal(first.digest, second.digest);

    /* A file that was changed or cut is refused. */
    char command[3 * 4096];
    const char *spoil[] = {"sed 3d", "sed \\$d", "sed 's/WH-HAM/WH-XXX/'", "sed '5s/.*/[]/'",
                           "sed '7s/\"seq\":7/\"seq\":8/'", "sed p", "head -c 5000"};
    for (size_t i = 0; i < sizeof spoil / sizeof spoil[0]; i++) {
        snprintf(command, sizeof command, "%s %s > %s.bad", spoil[i], path, path);
        assert_int_equal(system(command), 0);
        snprintf(command, sizeof command, "%s.bad", path);
        if (journal_file_check(command, registry, &records, silent, NULL, &fault) != ERR_INVALID)
            fail_msg("taken: %s", spoil[i]);
    }
    registry_destroy(registry);
    temp_remove(dir);
    temp_remove(copy);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_is_wrong),
        cmocka_unit_test(exports_and_imports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
