/* The chain of segments on a real disk: ended at every step of sealing, archived, read from the
 * cache, removed; verify tells what is wrong with it. Power loss at every step is in test_disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "../support/temp.h"
#include "store/journal_archive.h"
#include "store/journal_sqlite.h"
#include "store/journal_verify.h"

#define COMMIT 20
#define SEGMENT_BYTES 200000 /* some ten commits of 20 KB */

static struct journal *journal_open(const char *dir, bool read_only, bool maintain) {
    struct journal_sqlite_options options = {.cell = STR("main"), .read_only = read_only,
                                             .maintain = maintain,
                                             .segment_bytes = SEGMENT_BYTES};
    struct fault fault = {0};
    struct journal *journal;
    if (journal_sqlite_open(dir, &options, &journal, &fault) != OK)
        fail_msg("open: %s", fault.detail);
    return journal;
}

static uint64_t last_of(struct journal *journal) {
    struct fault fault = {0};
    uint64_t last;
    assert_int_equal(journal_last(journal, &last, &fault), OK);
    return last;
}

static void append(struct journal *journal) {
    struct record records[COMMIT];
    char data[COMMIT][1000];
    struct fault fault = {0};
    uint64_t last = last_of(journal);
    for (uint32_t i = 0; i < COMMIT; i++) {
        int len = snprintf(data[i], sizeof data[i], "{\"n\":%llu,\"x\":\"%0900d\"}",
                           (unsigned long long)(last + 1 + i), 7);
        records[i] = (struct record){.seq = last + 1 + i, .time_us = (int64_t)(last + i) * 1000000,
                                     .type = STR("t.t"), .subject = STR("s"), .meta = STR("{}"),
                                     .data = str_of(data[i], (size_t)len)};
    }
    if (journal_append(journal, records, COMMIT, &fault) != OK)
        fail_msg("append: %s", fault.detail);
}

static void tidy(struct journal *journal, int steps) {
    struct fault fault = {0};
    bool again = true;
    for (int i = 0; again && i < steps; i++)
        if (journal_tidy(journal, &again, &fault) != OK)
            fail_msg("tidy: %s", fault.detail);
}

/* Until so many segments are sealed. */
static void fill(struct journal *journal, uint64_t sealed) {
    struct journal_sqlite_stats stats;
    for (int i = 0; i < 1000; i++) {
        append(journal);
        tidy(journal, 50);
        journal_sqlite_stats(journal, &stats);
        if (stats.all.sealed >= sealed)
            return;
    }
    fail_msg("not sealed");
}

/* Until the segment that was live is closed, and the next has a record; it is not sealed. */
static void switch_over(struct journal *journal) {
    struct journal_sqlite_stats stats = {0};
    while (stats.switches == 0) {
        append(journal);
        tidy(journal, 1);
        journal_sqlite_stats(journal, &stats);
    }
    append(journal);
}

static bool see(void *ctx, const struct record *record) {
    uint64_t *last = ctx;
    char want[32];
    int len = snprintf(want, sizeof want, "{\"n\":%llu,", (unsigned long long)record->seq);
    assert_true(str_starts(record->data, str_of(want, (size_t)len)));
    assert_int_equal(record->seq, *last + 1);
    *last = record->seq;
    return true;
}
static uint64_t read_from(struct journal *journal, uint64_t from) {
    struct fault fault = {0};
    uint64_t last = from - 1, next;
    if (journal_read(journal, from, UINT32_MAX, see, &last, &next, &fault) != OK)
        fail_msg("read: %s", fault.detail);
    return last;
}

static struct segment segment_of(struct journal *journal, uint32_t i) {
    struct segment segment;
    assert_true(journal_sqlite_segment(journal, i, &segment));
    return segment;
}

static struct journal_report verify(const char *dir) {
    struct journal *journal = journal_open(dir, true, false);
    struct journal_report report;
    struct fault fault = {0};
    if (journal_chain_verify(journal, NULL, NULL, NULL, &report, &fault) != OK)
        fail_msg("verify: %s", fault.detail);
    journal_close(journal);
    return report;
}

/* The program ends at once after so many steps of tidy; the next one goes on where it was. */
static void an_end_at_any_step(void **state) {
    (void)state;
    for (int steps = 0; steps < 14; steps++) {
        char *dir = temp_folder();
        struct journal *journal = journal_open(dir, false, false);
        fill(journal, 1);
        journal_close(journal);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            journal = journal_open(dir, false, false);
            switch_over(journal);
            tidy(journal, steps);
            _exit((int)(last_of(journal) / COMMIT));
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) > 0);
        uint64_t acked = (uint64_t)WEXITSTATUS(status) * COMMIT;

        struct journal *look = journal_open(dir, true, false); /* before anybody mended it */
        assert_int_equal(read_from(look, 1), acked);
        assert_int_equal(last_of(look), acked);
        journal_close(look);
        journal = journal_open(dir, false, false);
        assert_int_equal(last_of(journal), acked);
        assert_int_equal(read_from(journal, 1), acked);
        tidy(journal, 50);
        struct journal_sqlite_stats stats;
        journal_sqlite_stats(journal, &stats);
        assert_int_equal(stats.all.sealed, stats.all.segments - 1);
        assert_true(stats.all.sealed >= 2);
        fill(journal, stats.all.sealed + 1);
        uint64_t last = last_of(journal);
        journal_close(journal);
        struct journal_report report = verify(dir);
        assert_int_equal(report.faults, 0);
        assert_int_equal(report.records, last);
        temp_remove(dir);
    }
}

static uint32_t files_in(const char *dir, const char *name) {
    char path[4096];
    uint32_t count = 0;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    DIR *folder = opendir(path);
    for (const struct dirent *entry; folder && (entry = readdir(folder));)
        count += entry->d_name[0] != '.';
    if (folder)
        closedir(folder);
    return count;
}

static void archived_segments_are_read(void **state) {
    (void)state;
    char *dir = temp_folder();
    struct fault fault = {0};
    struct journal *journal = journal_open(dir, false, false);
    fill(journal, 7);
    uint64_t last = last_of(journal);
    assert_int_equal(read_from(journal, 1), last); /* leaves open connections behind */
    char part[4096];
    snprintf(part, sizeof part, "%s/journal/00000001.db.zst.123.part", dir);
    fclose(fopen(part, "w")); /* as an earlier run may have left it */
    struct journal *keeper = journal_open(dir, true, true);
    assert_int_not_equal(access(part, F_OK), 0);
    struct journal_sqlite_options again = {.read_only = true, .maintain = true};
    struct journal *other;
    assert_int_equal(journal_sqlite_open(dir, &again, &other, &fault), ERR_CONFLICT);
    for (uint32_t i = 0; i < 7; i++) {
        struct segment segment = segment_of(keeper, i);
        if (journal_segment_archive(keeper, &segment, NULL, NULL, &fault) != OK)
            fail_msg("archive: %s", fault.detail);
        assert_int_equal(segment_of(keeper, i).state, SEGMENT_ARCHIVED);
        /* Twice is refused, not done twice. */
        segment = segment_of(keeper, i);
        assert_int_equal(journal_segment_archive(keeper, &segment, NULL, NULL, &fault),
                         ERR_CONFLICT);
    }
    journal_close(journal);
    journal = journal_open(dir, false, false);
    assert_true(journal_near(journal, last, false));
    assert_false(journal_near(journal, 1, false));
    tidy(journal, 1); /* nobody has asked for it */
    assert_false(journal_near(journal, 1, true));
    tidy(journal, 1);
    assert_true(journal_near(journal, 1, false));
    struct segment third = segment_of(keeper, 2);
    snprintf(part, sizeof part, "cd %s/journal && mv 00000003.db.zst away", dir);
    assert_int_equal(system(part), 0);
    assert_true(journal_near(journal, third.first, true)); /* who reads it is told that it is gone */
    snprintf(part, sizeof part, "cd %s/journal && mv away 00000003.db.zst", dir);
    assert_int_equal(system(part), 0);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(read_from(journal, 1), last);
        assert_in_range(files_in(dir, "journal/cache"), 1, 4);
    }
    fill(journal, 1); /* goes on behind them */
    assert_int_equal(read_from(journal, 1), last_of(journal));
    struct journal_report report = verify(dir);
    assert_int_equal(report.faults, 0);
    assert_int_equal(report.archived, 7);
    for (uint32_t i = 0; i < 7; i++) {
        struct segment segment = segment_of(keeper, i);
        if (journal_segment_restore(keeper, &segment, NULL, NULL, &fault) != OK)
            fail_msg("restore: %s", fault.detail);
    }
    assert_int_equal(read_from(journal, 1), last_of(journal));
    journal_close(keeper);
    journal_close(journal);
    report = verify(dir);
    assert_int_equal(report.faults, 0);
    assert_int_equal(report.archived, 0);
    temp_remove(dir);
}

static void only_what_nobody_needs_is_removed(void **state) {
    (void)state;
    char *dir = temp_folder();
    struct fault fault = {0};
    struct journal *journal = journal_open(dir, false, false);
    fill(journal, 4);
    struct journal *keeper = journal_open(dir, true, true);
    struct segment first = segment_of(keeper, 0), second = segment_of(keeper, 1),
                   third = segment_of(keeper, 2);
    assert_int_equal(journal_segment_remove(keeper, &first, &fault), ERR_CONFLICT);
    journal_sqlite_floor(journal, third.last);
    tidy(journal, 50);
    uint64_t floor;
    assert_int_equal(journal_floor_read(keeper, &floor, &fault), OK);
    assert_int_equal(floor, third.last);
    assert_int_equal(journal_segment_remove(keeper, &second, &fault), ERR_CONFLICT);
    assert_non_null(strstr(fault.detail, "segment 1 is older and still there"));
    assert_int_equal(journal_segment_archive(keeper, &first, NULL, NULL, &fault), OK);
    first = segment_of(keeper, 0);
    assert_int_equal(journal_segment_remove(keeper, &first, &fault), OK);
    assert_int_equal(journal_segment_remove(keeper, &second, &fault), OK);
    assert_int_equal(journal_segment_remove(keeper, &third, &fault), ERR_CONFLICT);
    assert_non_null(strstr(fault.detail, "still needed"));
    journal_sqlite_floor(journal, 1); /* never goes back */
    tidy(journal, 50);
    assert_int_equal(journal_floor_read(keeper, &floor, &fault), OK);
    assert_int_equal(floor, third.last);
    journal_close(keeper);
    journal_close(journal);

    journal = journal_open(dir, false, false);
    uint64_t seen = 0, next;
    assert_int_equal(journal_read(journal, 1, 10, see, &seen, &next, &fault), ERR_NOT_FOUND);
    assert_non_null(strstr(fault.detail, "no longer kept"));
    assert_int_equal(read_from(journal, third.first), last_of(journal));
    fill(journal, 3);
    journal_close(journal);
    struct journal_report report = verify(dir);
    assert_int_equal(report.faults, 0);
    assert_int_equal(report.removed, 2);
    assert_int_equal(report.first_seq, third.first);
    temp_remove(dir);
}

static void file_change(const char *dir, const char *name, long at, char byte) {
    char path[4096];
    snprintf(path, sizeof path, "%s/journal/%s", dir, name);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    fseek(file, at, SEEK_SET);
    fputc(byte, file);
    fclose(file);
}

static void verify_finds_what_is_wrong(void **state) {
    (void)state;
    char *dir = temp_folder(), path[4096], away[4096];
    struct journal *journal = journal_open(dir, false, false);
    fill(journal, 3);
    struct segment second = segment_of(journal, 1);
    journal_close(journal);
    assert_int_equal(verify(dir).faults, 0);
    /* Any byte, even one that no record is in. */
    long places[] = {100, 8000, (long)second.bytes / 2, (long)second.bytes - 1};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        snprintf(path, sizeof path, "%s/journal/00000002.db", dir);
        FILE *file = fopen(path, "r");
        fseek(file, places[i], SEEK_SET);
        int was = fgetc(file);
        fclose(file);
        file_change(dir, "00000002.db", places[i], (char)(was ^ 1));
        struct journal_report report = verify(dir);
        assert_true(report.faults >= 1);
        assert_int_equal(report.listed[0].seq, second.first);
        assert_non_null(strstr(report.listed[0].detail, "journal segment 2"));
        file_change(dir, "00000002.db", places[i], (char)was);
        assert_int_equal(verify(dir).faults, 0);
    }
    /* Another segment in its place. */
    snprintf(away, sizeof away, "cd %s/journal && cp 00000002.db kept && cp 00000003.db 00000002.db",
             dir);
    assert_int_equal(system(away), 0);
    assert_true(verify(dir).faults >= 1);
    snprintf(away, sizeof away, "cd %s/journal && rm 00000002.db", dir);
    assert_int_equal(system(away), 0);
    assert_true(verify(dir).faults >= 1);
    temp_remove(dir);
}

/* A connection of another program that was opened before the segment was left can add nothing. */
static void a_closed_segment_takes_nothing(void **state) {
    (void)state;
    char *dir = temp_folder(), path[4096];
    struct journal *journal = journal_open(dir, false, false);
    fill(journal, 1);
    journal_close(journal);
    snprintf(path, sizeof path, "%s/journal/00000001.db", dir);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "INSERT INTO event VALUES(9999,1,'t','s','{}','{}',1)", NULL,
                                  NULL, NULL), SQLITE_CONSTRAINT);
    sqlite3_close(db);
    temp_remove(dir);
}

/* The live segment is gone, or all behind the sealed ones: never taken for an empty journal. */
static void a_lost_end_is_refused(void **state) {
    (void)state;
    char *dir = temp_folder(), command[4096];
    struct journal *journal = journal_open(dir, false, false);
    fill(journal, 2);
    uint32_t count = journal_sqlite_segment_count(journal);
    journal_close(journal);
    snprintf(command, sizeof command, "rm %s/journal/%08u.db*", dir, count);
    assert_int_equal(system(command), 0);
    struct journal_sqlite_options options = {.cell = STR("main")};
    struct fault fault = {0};
    assert_int_equal(journal_sqlite_open(dir, &options, &journal, &fault), ERR_DAMAGED);
    assert_non_null(strstr(fault.detail, "missing or empty"));
    temp_remove(dir);
}

/* Without chain.db all is found again from the files. */
static void chain_db_is_made_again(void **state) {
    (void)state;
    char *dir = temp_folder(), command[4096];
    struct journal *journal = journal_open(dir, false, false);
    fill(journal, 3);
    struct segment before = segment_of(journal, 2);
    uint64_t last = last_of(journal);
    journal_close(journal);
    snprintf(command, sizeof command, "rm %s/journal/chain.db*", dir);
    assert_int_equal(system(command), 0);
    journal = journal_open(dir, false, false);
    assert_int_equal(read_from(journal, 1), last);
    tidy(journal, 200);
    struct segment after = segment_of(journal, 2);
    assert_int_equal(after.state, SEGMENT_SEALED);
    assert_string_equal(after.sha256, before.sha256);
    assert_string_equal(after.before, before.before);
    journal_close(journal);
    assert_int_equal(verify(dir).faults, 0);
    temp_remove(dir);
}

static void file_copy(const char *dir, const char *from, const char *to) {
    char text[4096], path[512];
    snprintf(path, sizeof path, "%s/%s", dir, from);
    FILE *in = fopen(path, "rb");
    snprintf(path, sizeof path, "%s/%s", dir, to);
    FILE *out = fopen(path, "wb");
    assert_true(in && out);
    for (size_t n; (n = fread(text, 1, sizeof text, in)) > 0;)
        assert_int_equal(fwrite(text, 1, n, out), n);
    assert_int_equal(fclose(in) | fclose(out), 0);
}

/* A change of the journal's file `name` that the end of the process cuts off: its rollback journal stays. */
static void cut_off(const char *dir, const char *name, const char *change) {
    char from[128], to[160], path[512];
    sqlite3 *db;
    snprintf(from, sizeof from, "journal/%s", name);
    file_copy(dir, from, "cut");
    snprintf(path, sizeof path, "%s/cut", dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA journal_mode = DELETE; PRAGMA cache_size = 1; BEGIN", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, change, NULL, NULL, NULL), SQLITE_OK);
    file_copy(dir, "cut", from);
    snprintf(to, sizeof to, "%s-journal", from);
    file_copy(dir, "cut-journal", to);
    sqlite3_close(db);
}

/* The next segment was being made when the process ended. */
static void a_segment_that_was_being_made_is_made_anew(void **state) {
    (void)state;
    char *dir = temp_folder(), path[512];
    struct journal *journal = journal_open(dir, false, false);
    append(journal);
    journal_close(journal);
    snprintf(path, sizeof path, "%s/journal/00000002.db", dir);
    fclose(fopen(path, "wb"));
    cut_off(dir, "00000002.db",
            "CREATE TABLE meta (x);"
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500)"
            "INSERT INTO meta SELECT zeroblob(1000) FROM n");
    journal = journal_open(dir, false, true);
    assert_int_equal(last_of(journal), COMMIT);
    fill(journal, 2);
    uint64_t last = last_of(journal);
    journal_close(journal);
    journal = journal_open(dir, true, false);
    assert_int_equal(read_from(journal, 1), last);
    journal_close(journal);
    temp_remove(dir);
}

/* A closed segment was being sealed when the process ended: the first of all, or one behind sealed ones. Who
 * only looks finds all records as well as who writes. */
static void a_segment_that_was_being_sealed_is_whole(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        bool first = i < 2, looks = i % 2 == 1;
        char *dir = temp_folder(), name[32];
        struct journal *journal = journal_open(dir, false, false);
        if (!first)
            fill(journal, 2);
        journal_close(journal);
        journal = journal_open(dir, false, false); /* it counts its switches */
        switch_over(journal);
        struct segment closed = segment_of(journal, journal_sqlite_segment_count(journal) - 2);
        assert_int_equal(closed.state, SEGMENT_CLOSED);
        uint64_t last = last_of(journal);
        journal_close(journal);
        snprintf(name, sizeof name, "%08llu.db", (unsigned long long)closed.number);
        cut_off(dir, name, "UPDATE event SET sum = 0");
        journal = journal_open(dir, looks, false);
        assert_int_equal(last_of(journal), last);
        assert_int_equal(read_from(journal, 1), last);
        if (!looks)
            tidy(journal, 200);
        assert_true(looks || segment_of(journal, (uint32_t)closed.number - 1).state == SEGMENT_SEALED);
        journal_close(journal);
        assert_int_equal(verify(dir).faults, 0);
        temp_remove(dir);
    }
}

/* With chain.db, where archived segments are is lost, too: no new journal is begun beside them. */
static void no_journal_is_begun_beside_another(void **state) {
    (void)state;
    char *dir = temp_folder(), command[4096];
    struct fault fault = {0};
    struct journal *journal = journal_open(dir, false, false);
    fill(journal, 2);
    struct journal *keeper = journal_open(dir, true, true);
    struct segment first = segment_of(keeper, 0);
    assert_int_equal(journal_segment_archive(keeper, &first, NULL, NULL, &fault), OK);
    journal_close(keeper);
    journal_close(journal);
    snprintf(command, sizeof command, "cd %s/journal && mkdir ../kept && mv chain.db* ../kept", dir);
    assert_int_equal(system(command), 0);
    struct journal_sqlite_options options = {.cell = STR("main")};
    for (int i = 0; i < 2; i++) {
        options.read_only = i > 0;
        assert_int_equal(journal_sqlite_open(dir, &options, &journal, &fault), ERR_DAMAGED);
        assert_non_null(strstr(fault.detail, "put back chain.db"));
    }
    snprintf(command, sizeof command, "cd %s/journal && mv ../kept/* .", dir);
    assert_int_equal(system(command), 0);
    journal = journal_open(dir, false, false);
    assert_int_equal(read_from(journal, 1), last_of(journal));
    journal_close(journal);
    temp_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_end_at_any_step),
        cmocka_unit_test(archived_segments_are_read),
        cmocka_unit_test(only_what_nobody_needs_is_removed),
        cmocka_unit_test(verify_finds_what_is_wrong),
        cmocka_unit_test(a_closed_segment_takes_nothing),
        cmocka_unit_test(a_lost_end_is_refused),
        cmocka_unit_test(chain_db_is_made_again),
        cmocka_unit_test(a_segment_that_was_being_made_is_made_anew),
        cmocka_unit_test(a_segment_that_was_being_sealed_is_whole),
        cmocka_unit_test(no_journal_is_begun_beside_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
