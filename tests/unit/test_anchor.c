/* An anchor of a journal: made, written, read back; it holds as long as nothing before it is
 * changed, removed, inserted or cut off, through sealing, archiving and retention. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sqlite3.h>
#include <string.h>

#include "../support/temp.h"
#include "store/journal_anchor.h"
#include "store/journal_archive.h"
#include "store/journal_sqlite_priv.h"

#define COMMIT 20
#define SEGMENT_BYTES 200000 /* some ten commits of 20 KB */

static struct journal *journal_at(const char *dir, bool read_only, bool maintain) {
    struct journal_sqlite_options options = {.cell = STR("main"), .read_only = read_only,
                                             .maintain = maintain,
                                             .segment_bytes = SEGMENT_BYTES};
    struct fault fault = {0};
    struct journal *journal;
    if (journal_sqlite_open(dir, &options, &journal, &fault) != OK)
        fail_msg("open: %s", fault.detail);
    return journal;
}

static struct str subject = {"s", 1};
static void append(struct journal *journal) {
    struct record records[COMMIT];
    char data[COMMIT][1000];
    struct fault fault = {0};
    uint64_t last;
    assert_int_equal(journal_last(journal, &last, &fault), OK);
    for (uint32_t i = 0; i < COMMIT; i++) {
        int len = snprintf(data[i], sizeof data[i], "{\"n\":%llu,\"x\":\"%0900d\"}",
                           (unsigned long long)(last + 1 + i), 7);
        records[i] = (struct record){.seq = last + 1 + i, .time_us = (int64_t)(last + i) * 1000000,
                                     .type = STR("t.t"), .subject = subject, .meta = STR("{}"),
                                     .data = str_of(data[i], (size_t)len)};
    }
    if (journal_append(journal, records, COMMIT, &fault) != OK)
        fail_msg("append: %s", fault.detail);
}

/* Until so many segments are sealed, and one commit more. */
static void fill(struct journal *journal, uint64_t sealed) {
    struct journal_sqlite_stats stats;
    struct fault fault = {0};
    do {
        bool again = true;
        append(journal);
        while (again)
            if (journal_tidy(journal, &again, &fault) != OK)
                fail_msg("tidy: %s", fault.detail);
        journal_sqlite_stats(journal, &stats);
    } while (stats.all.sealed < sealed);
    append(journal);
}

static struct journal_anchor anchor_of(struct journal *journal) {
    struct journal_anchor anchor;
    struct fault fault = {0};
    if (journal_anchor_make(journal, &clock_system, &anchor, &fault) != OK)
        fail_msg("anchor: %s", fault.detail);
    return anchor;
}

static enum err check(const char *dir, const struct journal_anchor *anchor, struct fault *fault) {
    struct journal *journal = journal_at(dir, true, false);
    *fault = (struct fault){0};
    enum err err = journal_anchor_check(journal, anchor, fault);
    journal_close(journal);
    return err;
}

static void assert_holds(const char *dir, const struct journal_anchor *anchor) {
    struct fault fault;
    if (check(dir, anchor, &fault) != OK)
        fail_msg("does not hold: %s", fault.detail);
}

static void assert_broken(const char *dir, const struct journal_anchor *anchor, const char *why) {
    struct fault fault;
    assert_int_equal(check(dir, anchor, &fault), ERR_CONFLICT);
    if (!strstr(fault.detail, why))
        fail_msg("'%s' is not in: %s", why, fault.detail);
}

/* SQL: record_sum(seq, time, type, subject, meta, data), to write a record as the hub would. */
static struct str argument(sqlite3_value *value) {
    return str_of((const char *)sqlite3_value_text(value), (size_t)sqlite3_value_bytes(value));
}
static void record_sum(sqlite3_context *ctx, int n, sqlite3_value **v) {
    (void)n;
    struct record record = {.seq = (uint64_t)sqlite3_value_int64(v[0]),
                            .time_us = sqlite3_value_int64(v[1]), .type = argument(v[2]),
                            .subject = argument(v[3]), .meta = argument(v[4]),
                            .data = argument(v[5])};
    sqlite3_result_int64(ctx, (sqlite3_int64)journal_record_sum(&record));
}

static void change(const char *dir, const char *file, const char *sql) {
    char name[4096], *wrong = NULL;
    sqlite3 *db;
    snprintf(name, sizeof name, "%s/journal/%s", dir, file);
    assert_int_equal(sqlite3_open_v2(name, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    sqlite3_create_function(db, "record_sum", 6, SQLITE_UTF8, NULL, record_sum, NULL, NULL);
    sqlite3_exec(db, sql, NULL, NULL, &wrong);
    if (wrong)
        fail_msg("%s", wrong);
    assert_true(sqlite3_total_changes(db) > 0);
    sqlite3_close(db);
}
#define SUM "sum=record_sum(seq,time,type,subject,meta,data)"

/* --- the line ------------------------------------------------------------------------------- */

static bool line_read(const char *text, struct journal_anchor *out) {
    struct json_parser *parser = json_parser_create();
    struct arena arena;
    struct fault fault = {0};
    const struct json *line;
    arena_init(&arena, 0);
    bool read = json_parse(parser, &arena, str_c(text), true, &line, &fault) == OK &&
                journal_anchor_read(line, out);
    arena_free(&arena);
    json_parser_destroy(parser);
    return read;
}

static void assert_same_when_read(const struct journal_anchor *anchor) {
    struct journal_anchor read;
    struct buf line;
    buf_init(&line, 0);
    journal_anchor_write(anchor, &line);
    assert_true(line_read(buf_cstr(&line), &read));
    assert_int_equal(read.at_us, anchor->at_us);
    assert_int_equal(read.seq, anchor->seq);
    assert_int_equal(read.segment, anchor->segment);
    assert_int_equal(read.tail_from, anchor->tail_from);
    assert_string_equal(read.sha256, anchor->sha256);
    assert_string_equal(read.tail_sha256, anchor->tail_sha256);
    buf_free(&line);
}

#define H "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
static void what_is_no_anchor_is_not_read(void **state) {
    (void)state;
    struct journal_anchor anchor;
#define LINE(version, at, rest) "{\"penstock_anchor\":" version ",\"at\":\"" at "\"," rest "}"
#define AT "2026-11-23T10:00:00Z"
#define TAIL "\"tail_from\":1,\"tail_sha256\":\"" H "\""
    static const char *const bad[] = {
        "[]", "1", "{}",
        LINE("2", AT, "\"seq\":7," TAIL),
        LINE("1", "yesterday", "\"seq\":7," TAIL),
        LINE("1", AT, "\"seq\":-7," TAIL),
        LINE("1", AT, "\"seq\":\"7\"," TAIL),
        LINE("1", AT, TAIL),
        LINE("1", AT, "\"seq\":7,\"tail_from\":0,\"tail_sha256\":\"" H "\""),
        LINE("1", AT, "\"seq\":7,\"tail_from\":1,\"tail_sha256\":\"" H "0\""),
        LINE("1", AT, "\"seq\":7,\"tail_from\":1"),
        LINE("1", AT, "\"seq\":7,\"segment\":1," TAIL),
        LINE("1", AT, "\"seq\":7,\"segment\":1,\"sha256\":\"\"," TAIL),
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (line_read(bad[i], &anchor))
            fail_msg("taken: %s", bad[i]);
    assert_true(line_read(LINE("1", AT, "\"seq\":7," TAIL ",\"note\":\"of a later version\""), &anchor));
    assert_int_equal(anchor.seq, 7);
    assert_int_equal(anchor.segment, 0);
}

/* --- the journal ---------------------------------------------------------------------------- */

static void an_empty_journal_has_one(void **state) {
    (void)state;
    char *dir = temp_folder();
    struct journal *journal = journal_at(dir, false, false);
    struct journal_anchor anchor = anchor_of(journal);
    assert_int_equal(anchor.seq, 0);
    assert_int_equal(anchor.segment, 0);
    assert_same_when_read(&anchor);
    append(journal);
    journal_close(journal);
    assert_holds(dir, &anchor);
    temp_remove(dir);
}

/* Whoever makes the checksums anew is found out up to the anchor's seq, and not behind it. */
static void what_is_not_sealed_is_held_up_to_the_seq(void **state) {
    (void)state;
    static const struct {
        const char *sql, *why;
    } rows[] = {
        {"UPDATE event SET subject='x' WHERE seq=7; UPDATE event SET " SUM " WHERE seq=7", "are not what they were"},
        {"UPDATE event SET time=time+1 WHERE seq=20; UPDATE event SET " SUM " WHERE seq=20", "are not what they were"},
        {"DELETE FROM event WHERE seq=9", "are missing"},
        {"DELETE FROM event WHERE seq=1", "missing"},
        {"DELETE FROM event WHERE seq>=20", "the journal ends with record 19"},
        {"UPDATE event SET data=(SELECT data FROM event WHERE seq=3) WHERE seq=2;"
         "UPDATE event SET " SUM " WHERE seq=2", "are not what they were"},
        {"UPDATE event SET subject='x' WHERE seq=21; UPDATE event SET " SUM " WHERE seq=21", NULL},
        {"DELETE FROM event WHERE seq>20", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *dir = temp_folder();
        struct journal *journal = journal_at(dir, false, false);
        append(journal);
        struct journal_anchor anchor = anchor_of(journal);
        assert_int_equal(anchor.seq, COMMIT);
        assert_int_equal(anchor.tail_from, 1);
        assert_same_when_read(&anchor);
        append(journal);
        journal_close(journal);
        assert_holds(dir, &anchor);
        change(dir, "00000001.db", rows[i].sql);
        if (rows[i].why)
            assert_broken(dir, &anchor, rows[i].why);
        else
            assert_holds(dir, &anchor);
        temp_remove(dir);
    }
}

static void it_holds_while_segments_are_sealed_archived_and_removed(void **state) {
    (void)state;
    char *dir = temp_folder();
    struct fault fault = {0};
    struct segment first, second, third;
    struct journal *journal = journal_at(dir, false, false);
    append(journal);
    struct journal_anchor early = anchor_of(journal); /* of a segment that is sealed later */
    fill(journal, 1);
    struct journal_anchor anchor = anchor_of(journal);
    assert_int_equal(anchor.segment, 1);
    assert_true(anchor.tail_from > 1 && anchor.tail_from <= anchor.seq);
    assert_same_when_read(&anchor);
    fill(journal, 4);
    assert_holds(dir, &anchor);
    assert_holds(dir, &early);

    struct journal *keeper = journal_at(dir, true, true);
    assert_true(journal_sqlite_segment(keeper, 0, &first));
    assert_true(journal_sqlite_segment(keeper, 1, &second));
    assert_true(journal_sqlite_segment(keeper, 2, &third));
    assert_int_equal(journal_segment_archive(keeper, &second, NULL, NULL, &fault), OK);
    assert_holds(dir, &anchor);
    journal_sqlite_floor(journal, third.first);
    for (bool again = true; again;)
        assert_int_equal(journal_tidy(journal, &again, &fault), OK);
    assert_int_equal(journal_segment_remove(keeper, &first, &fault), OK);
    assert_holds(dir, &anchor); /* the hash of what was removed is kept */
    assert_int_equal(check(dir, &early, &fault), ERR_UNAVAILABLE);
    assert_non_null(strstr(fault.detail, "removed by retention"));
    assert_true(journal_sqlite_segment(keeper, 1, &second));
    assert_int_equal(journal_segment_remove(keeper, &second, &fault), OK);
    assert_int_equal(check(dir, &anchor, &fault), ERR_UNAVAILABLE);
    journal_close(keeper);
    journal_close(journal);
    temp_remove(dir);
}

/* Made anew, consistently, with hashes and chain: the same number of records, other ones. */
static void another_journal_is_not_the_one(void **state) {
    (void)state;
    char *dir = temp_folder(), *other = temp_folder();
    struct journal *journal = journal_at(dir, false, false);
    fill(journal, 2);
    struct journal_anchor anchor = anchor_of(journal), forged;
    journal_close(journal);
    journal = journal_at(other, false, false);
    subject = STR("z");
    fill(journal, 2);
    append(journal);
    subject = STR("s");
    journal_close(journal);
    assert_holds(dir, &anchor);
    assert_int_equal(anchor.segment, 2);
    assert_broken(other, &anchor, "not the anchor's");
    forged = anchor;
    forged.segment = 99;
    assert_broken(dir, &forged, "is not there");
    forged = anchor;
    forged.tail_from--;
    assert_broken(dir, &forged, "not the anchor's");
    forged = anchor;
    forged.segment++; /* the live one has no hash */
    assert_broken(dir, &forged, "not sealed");
    temp_remove(dir);
    temp_remove(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_anchor_is_not_read),
        cmocka_unit_test(an_empty_journal_has_one),
        cmocka_unit_test(what_is_not_sealed_is_held_up_to_the_seq),
        cmocka_unit_test(it_holds_while_segments_are_sealed_archived_and_removed),
        cmocka_unit_test(another_journal_is_not_the_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
