/* The SQLite journal: what append has answered for is there, in order, whatever happens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "../support/temp.h"
#include "base/mem.h"
#include "store/journal_sqlite.h"

static const struct journal_sqlite_options usual = {.cell = {"main", 4}};

static struct journal *journal_at(const char *dir, const struct journal_sqlite_options *options) {
    struct fault fault = {0};
    struct journal *j = NULL;
    enum err err = journal_sqlite_open(dir, options, &j, &fault);
    if (err != OK)
        fail_msg("open: %s", fault.detail);
    return j;
}

/* A batch whose data tells its seq, n records behind `last`. */
static enum err append(struct journal *j, uint64_t last, uint32_t n, size_t padding,
                       struct fault *fault) {
    struct record *records = calloc(n, sizeof *records);
    char(*data)[64] = calloc(n, sizeof *data);
    char *long_data = malloc(padding + 64);
    for (uint32_t i = 0; i < n; i++) {
        int len =
            snprintf(data[i], sizeof data[i], "{\"n\":%llu}", (unsigned long long)(last + 1 + i));
        records[i] = (struct record){.seq = last + 1 + i,
                                     .time_us = 1000 + (int64_t)i,
                                     .type = STR("order.captured"),
                                     .subject = STR("ord_x"),
                                     .meta = STR("{}"),
                                     .data = str_of(data[i], (size_t)len)};
    }
    if (padding) {
        memset(long_data, ' ', padding);
        for (uint32_t i = 0; i < n; i++)
            records[i].data = str_of(long_data, padding);
    }
    enum err err = journal_append(j, records, n, fault);
    free(records);
    free(data);
    free(long_data);
    return err;
}
static void append_ok(struct journal *j, uint64_t last, uint32_t n) {
    struct fault fault = {0};
    if (append(j, last, n, 0, &fault) != OK)
        fail_msg("append: %s", fault.detail);
}

struct seen {
    uint64_t first, last, count, stop_at;
};
static bool see(void *ctx, const struct record *record) {
    struct seen *seen = ctx;
    char want[64];
    snprintf(want, sizeof want, "{\"n\":%llu}", (unsigned long long)record->seq);
    assert_true(str_is(record->data, want));
    assert_true(str_is(record->type, "order.captured"));
    assert_true(str_is(record->subject, "ord_x"));
    assert_true(str_is(record->meta, "{}"));
    if (seen->count++ == 0)
        seen->first = record->seq;
    else
        assert_int_equal(record->seq, seen->last + 1);
    seen->last = record->seq;
    return record->seq != seen->stop_at;
}
static uint64_t read_from(struct journal *j, uint64_t from, uint32_t limit, struct seen *seen) {
    struct fault fault = {0};
    uint64_t next = 0;
    if (journal_read(j, from, limit, see, seen, &next, &fault) != OK)
        fail_msg("read: %s", fault.detail);
    return next;
}
static uint64_t last_of(struct journal *j) {
    struct fault fault = {0};
    uint64_t last = 99;
    assert_int_equal(journal_last(j, &last, &fault), OK);
    return last;
}

static void appends_and_reads(void **state) {
    (void)state;
    char *dir = temp_folder();
    struct journal *j = journal_at(dir, &usual);
    assert_int_equal(last_of(j), 0);
    struct seen none = {0};
    assert_int_equal(read_from(j, 1, 10, &none), 1);
    assert_int_equal(none.count, 0);

    append_ok(j, 0, 1);
    append_ok(j, 1, 2000);
    assert_int_equal(last_of(j), 2001);
    struct seen all = {0};
    assert_int_equal(read_from(j, 0, UINT32_MAX, &all), 2002); /* over several chunks */
    assert_int_equal(all.count, 2001);
    assert_int_equal(all.first, 1);
    struct seen some = {0};
    assert_int_equal(read_from(j, 700, 600, &some), 1300);
    assert_int_equal(some.first, 700);
    assert_int_equal(some.count, 600);
    struct seen stopped = {.stop_at = 1000};
    assert_int_equal(read_from(j, 990, 600, &stopped), 1001);
    assert_int_equal(stopped.last, 1000);
    struct seen beyond = {0};
    assert_int_equal(read_from(j, 5000, 600, &beyond), 5000);
    assert_int_equal(beyond.count, 0);

    char name[4096];
    struct stat st;
    snprintf(name, sizeof name, "%s/journal/00000001.db-wal", dir);
    assert_int_equal(stat(name, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600); /* orders are nobody else's business */
    journal_close(j);
    j = journal_at(dir, &usual);
    assert_int_equal(last_of(j), 2001);
    append_ok(j, 2001, 3);
    journal_close(j);
    temp_remove(dir);
}

static void fences_a_wrong_seq(void **state) {
    (void)state;
    char *dir = temp_folder();
    struct journal *j = journal_at(dir, &usual);
    append_ok(j, 0, 5);
    struct fault fault = {0};
    assert_int_equal(append(j, 3, 2, 0, &fault), ERR_CONFLICT);
    assert_int_equal(append(j, 6, 2, 0, &fault), ERR_CONFLICT);
    assert_non_null(strstr(fault.detail, "the journal is at 5, expected 6"));
    assert_int_equal(last_of(j), 5);
    append_ok(j, 5, 2);
    struct seen all = {0};
    read_from(j, 1, 100, &all);
    assert_int_equal(all.count, 7);
    journal_close(j);
    temp_remove(dir);
}

static void one_program_at_a_time(void **state) {
    (void)state;
    char *dir = temp_folder();
    struct journal *j = journal_at(dir, &usual), *other = NULL;
    append_ok(j, 0, 5);
    struct fault fault = {0};
    assert_int_equal(journal_sqlite_open(dir, &usual, &other, &fault), ERR_CONFLICT);
    assert_null(other);
    char want[64];
    snprintf(want, sizeof want, "is in use by another penstock (process %ld)", (long)getpid());
    assert_non_null(strstr(fault.detail, want));

    /* Looking is allowed meanwhile, and sees what is appended later. */
    struct journal_sqlite_options look = {.cell = STR("main"), .read_only = true};
    other = journal_at(dir, &look);
    assert_int_equal(last_of(other), 5);
    append_ok(j, 5, 1);
    assert_int_equal(last_of(other), 6);
    struct seen all = {0};
    assert_int_equal(read_from(other, 1, 100, &all), 7);
    assert_int_equal(append(other, 6, 1, 0, &fault), ERR_INTERNAL);
    assert_int_equal(journal_sqlite_check(other, &fault), OK);
    journal_close(other);
    append_ok(j, 6, 1);
    journal_close(j);
    j = journal_at(dir, &usual);
    assert_int_equal(last_of(j), 7);
    journal_close(j);
    temp_remove(dir);
}

static void refuses_what_is_not_its_own(void **state) {
    (void)state;
    char *dir = temp_folder();
    struct journal *j = journal_at(dir, &usual);
    journal_close(j);
    struct fault fault = {0};
    struct journal_sqlite_options other = {.cell = STR("eu")};
    assert_int_equal(journal_sqlite_open(dir, &other, &j, &fault), ERR_CONFLICT);
    assert_non_null(strstr(fault.detail, "of cell \"main\", not \"eu\""));

    char name[4096];
    snprintf(name, sizeof name, "%s/journal/00000001.db", dir);
    FILE *file = fopen(name, "w");
    for (int i = 0; i < 5000; i++)
        fputs("not a database ", file);
    fclose(file);
    assert_int_equal(journal_sqlite_open(dir, &usual, &j, &fault), ERR_IO);
    assert_non_null(strstr(fault.detail, "no SQLite database"));
    unlink(name);
    struct journal_sqlite_options look = {.read_only = true};
    assert_int_equal(journal_sqlite_open(dir, &look, &j, &fault), ERR_NOT_FOUND);
    assert_null(j);
    temp_remove(dir);
}

/* A program that ends without closing leaves its WAL behind: nothing is missing. */
static void survives_an_end_without_close(void **state) {
    (void)state;
    char *dir = temp_folder();
    for (uint64_t round = 0; round < 3; round++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            struct journal *j = journal_at(dir, &usual);
            append_ok(j, round * 300, 100);
            append_ok(j, round * 300 + 100, 200);
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
    struct journal *j = journal_at(dir, &usual);
    struct seen all = {0};
    read_from(j, 1, 10000, &all);
    assert_int_equal(all.count, 900);
    assert_int_equal(last_of(j), 900);
    journal_close(j);
    temp_remove(dir);
}

static void tidy_bounds_the_wal(void **state) {
    (void)state;
    char *dir = temp_folder();
    struct journal_sqlite_options small = usual;
    small.segment_bytes = 20 << 20;
    struct journal *j = journal_at(dir, &small);
    struct fault fault = {0};
    struct journal_sqlite_stats stats;
    uint64_t last = 0;
    for (int i = 0; i < 60; i++) {
        assert_int_equal(append(j, last, 100, 16000, &fault), OK);
        last += 100;
        bool again = true;
        for (int k = 0; k < 20 && again; k++)
            assert_int_equal(journal_tidy(j, &again, &fault), OK);
        assert_false(again);
        journal_sqlite_stats(j, &stats);
        assert_true(stats.all.wal_bytes < 30 << 20);
    }
    assert_true(stats.switches >= 3);
    assert_int_equal(stats.all.segments, stats.switches + 1);
    assert_int_equal(stats.all.sealed, stats.switches);
    journal_close(j);
    j = journal_at(dir, &usual);
    assert_int_equal(last_of(j), last);
    assert_int_equal(journal_sqlite_check(j, &fault), OK);
    journal_close(j);
    temp_remove(dir);
}

/* Readers, tidier and writer at once: readers see whole batches, in order. */
struct crowd {
    struct journal *j;
    _Atomic bool done;
    _Atomic uint64_t acked;
};
static void *crowd_read(void *arg) {
    struct crowd *crowd = arg;
    uint64_t next = 1;
    while (!atomic_load(&crowd->done)) {
        uint64_t acked = atomic_load(&crowd->acked);
        struct seen seen = {0};
        uint64_t reached = read_from(crowd->j, next, 1000, &seen);
        assert_true(reached > acked || reached == next + 1000);
        if (reached <= acked || seen.count < 1000) /* whole batches of 50 */
            assert_true((reached - 1) % 50 == 0 || reached == next + 1000);
        next = reached > 3000 ? 1 : reached;
    }
    return NULL;
}
static void *crowd_tidy(void *arg) {
    struct crowd *crowd = arg;
    struct fault fault = {0};
    while (!atomic_load(&crowd->done)) {
        bool again;
        assert_int_equal(journal_tidy(crowd->j, &again, &fault), OK);
    }
    return NULL;
}
static void serves_several_threads(void **state) {
    (void)state;
    char *dir = temp_folder();
    struct journal_sqlite_options small = usual;
    small.segment_bytes = 1 << 18; /* left every few commits */
    struct crowd crowd = {.j = journal_at(dir, &small)};
    pthread_t threads[4];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_read, &crowd), 0);
    assert_int_equal(pthread_create(&threads[3], NULL, crowd_tidy, &crowd), 0);
    for (uint64_t last = 0; last < 10000; last += 50) {
        append_ok(crowd.j, last, 50);
        atomic_store(&crowd.acked, last + 50);
    }
    atomic_store(&crowd.done, true);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    journal_close(crowd.j);
    temp_remove(dir);
}

/* Memory that runs out at any allocation of ours: an error, no leak, nothing lost. */
static void survives_without_memory(void **state) {
    (void)state;
    char *dir = temp_folder();
    struct journal *j = journal_at(dir, &usual);
    append_ok(j, 0, 100);
    journal_close(j);
    bool went_through = false;
    for (uint64_t n = 1; !went_through && n < 50; n++) {
        struct fault fault = {0};
        struct seen seen = {0};
        uint64_t next;
        mem_fail_at(n, 0);
        enum err err = journal_sqlite_open(dir, &usual, &j, &fault);
        bool opened = err == OK;
        if (err == OK)
            err = journal_read(j, 1, 100, see, &seen, &next, &fault);
        mem_fail_at(0, 0);
        assert_true(err == OK || err == ERR_NOMEM);
        went_through = err == OK;
        if (opened)
            journal_close(j);
    }
    assert_true(went_through);
    temp_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_and_reads),
        cmocka_unit_test(fences_a_wrong_seq),
        cmocka_unit_test(one_program_at_a_time),
        cmocka_unit_test(refuses_what_is_not_its_own),
        cmocka_unit_test(survives_an_end_without_close),
        cmocka_unit_test(tidy_bounds_the_wal),
        cmocka_unit_test(serves_several_threads),
        cmocka_unit_test(survives_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
