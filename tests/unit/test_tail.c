/* The tail: followers see every record once, in order, from memory or from the journal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "../support/temp.h"
#include "base/mem.h"
#include "core/tail.h"
#include "store/journal_sqlite.h"

struct setup {
    char *dir;
    struct journal *journal;
    struct tail *tail;
};
static struct setup setup_make(size_t bytes_max) {
    struct setup s = {.dir = temp_folder()};
    struct journal_sqlite_options options = {.cell = STR("main")};
    struct fault fault = {0};
    assert_int_equal(journal_sqlite_open(s.dir, &options, &s.journal, &fault), OK);
    s.tail = tail_create(s.journal, bytes_max);
    assert_non_null(s.tail);
    return s;
}
static void setup_free(struct setup *s) {
    tail_destroy(s->tail);
    journal_close(s->journal);
    temp_remove(s->dir);
}

/* n records to the journal, then to the tail, as the writer does. */
static void publish(struct setup *s, uint32_t n) {
    struct record *records = calloc(n, sizeof *records);
    char(*data)[32] = calloc(n, sizeof *data);
    uint64_t last = tail_last(s->tail);
    for (uint32_t i = 0; i < n; i++) {
        int len = snprintf(data[i], sizeof data[i], "{\"n\":%llu}",
                           (unsigned long long)(last + 1 + i));
        records[i] = (struct record){.seq = last + 1 + i,
                                     .time_us = 7,
                                     .type = STR("stock.counted"),
                                     .subject = STR("A@B"),
                                     .meta = STR("{}"),
                                     .data = str_of(data[i], (size_t)len)};
    }
    struct fault fault = {0};
    assert_int_equal(journal_append(s->journal, records, n, &fault), OK);
    tail_publish(s->tail, records, n);
    free(records);
    free(data);
}

struct seen {
    uint64_t next, count, stop_at;
};
static bool see(void *ctx, const struct record *record) {
    struct seen *seen = ctx;
    char want[32];
    must((size_t)snprintf(want, sizeof want, "{\"n\":%llu}", (unsigned long long)record->seq) <
         sizeof want);
    must(str_is(record->data, want) && str_is(record->subject, "A@B"));
    must(seen->count == 0 || record->seq == seen->next);
    seen->next = record->seq + 1;
    seen->count++;
    return record->seq != seen->stop_at;
}
static uint64_t read_from(struct setup *s, uint64_t from, uint32_t limit, struct seen *seen) {
    struct fault fault = {0};
    uint64_t next;
    must(tail_read(s->tail, from, limit, see, seen, &next, &fault) == OK);
    return next;
}

static void reads_over_memory_and_journal(void **state) {
    (void)state;
    /* The first bound keeps all in memory, the second some, the third one block alone. */
    size_t bounds[] = {1 << 20, 20000, 1};
    for (int b = 0; b < 3; b++) {
        struct setup s = setup_make(bounds[b]);
        struct seen none = {0};
        assert_int_equal(read_from(&s, 0, 10, &none), 1);
        assert_int_equal(none.count, 0);
        for (uint32_t n = 1; n < 40; n++)
            publish(&s, n);
        assert_int_equal(tail_last(s.tail), 780);
        for (uint64_t from = 1; from <= 780; from += 13) {
            struct seen all = {0};
            assert_int_equal(read_from(&s, from, UINT32_MAX, &all), 781);
            assert_int_equal(all.count, 781 - from);
            struct seen some = {0};
            uint64_t count = 781 - from < 50 ? 781 - from : 50;
            assert_int_equal(read_from(&s, from, 50, &some), from + count);
            assert_int_equal(some.count, count);
            struct seen stopped = {.stop_at = from + 5};
            uint64_t reached = read_from(&s, from, 500, &stopped);
            assert_int_equal(reached, from + 6 <= 781 ? from + 6 : 781);
        }
        struct seen beyond = {0};
        assert_int_equal(read_from(&s, 900, 50, &beyond), 900);
        assert_int_equal(beyond.count, 0);
        setup_free(&s);
    }
}

static void starts_behind_what_the_journal_holds(void **state) {
    (void)state;
    struct setup s = setup_make(1 << 20);
    publish(&s, 30);
    tail_destroy(s.tail);
    s.tail = tail_create(s.journal, 1 << 20);
    assert_int_equal(tail_last(s.tail), 30);
    publish(&s, 5);
    struct seen all = {0};
    assert_int_equal(read_from(&s, 1, 100, &all), 36);
    setup_free(&s);
}

static void memory_that_is_out_makes_no_hole(void **state) {
    (void)state;
    struct setup s = setup_make(1 << 20);
    for (int round = 0; round < 5; round++) {
        publish(&s, 10);
        struct record record = {.seq = tail_last(s.tail) + 1, .subject = STR("A@B")};
        char data[32];
        int len = snprintf(data, sizeof data, "{\"n\":%llu}", (unsigned long long)record.seq);
        record.data = str_of(data, (size_t)len);
        record.type = record.meta = STR("{}");
        struct fault fault = {0};
        assert_int_equal(journal_append(s.journal, &record, 1, &fault), OK);
        mem_fail_at(1, 1);
        tail_publish(s.tail, &record, 1);
        mem_fail_at(0, 0);
        publish(&s, 3);
        struct seen all = {0};
        assert_int_equal(read_from(&s, 1, 1000, &all), tail_last(s.tail) + 1);
    }
    setup_free(&s);
}

struct wakeup {
    struct tail_follower follower;
    _Atomic uint32_t count;
};
static void count_wake(struct tail_follower *follower) {
    atomic_fetch_add(&((struct wakeup *)follower)->count, 1);
}
static void wakes_those_who_follow(void **state) {
    (void)state;
    struct setup s = setup_make(1 << 20);
    struct wakeup a = {.follower.wake = count_wake}, b = {.follower.wake = count_wake};
    tail_follow(s.tail, &a.follower);
    publish(&s, 2);
    tail_follow(s.tail, &b.follower);
    publish(&s, 2);
    tail_unfollow(s.tail, &a.follower);
    publish(&s, 2);
    tail_unfollow(s.tail, &a.follower); /* twice is harmless */
    tail_unfollow(s.tail, &b.follower);
    publish(&s, 2);
    assert_int_equal(a.count, 2);
    assert_int_equal(b.count, 2);
    setup_free(&s);
}

struct race {
    struct setup *s;
    struct wakeup wakeup;
    _Atomic bool done;
};
static void *race_follow(void *arg) {
    struct race *race = arg;
    struct seen seen = {0};
    uint64_t next = 1;
    while (!atomic_load(&race->done) || next <= tail_last(race->s->tail))
        next = read_from(race->s, next, 37, &seen);
    must(seen.count == tail_last(race->s->tail));
    return NULL;
}
static void serves_several_followers(void **state) {
    (void)state;
    struct setup s = setup_make(8000);
    struct race race = {.s = &s, .wakeup.follower.wake = count_wake};
    tail_follow(s.tail, &race.wakeup.follower);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race_follow, &race), 0);
    for (uint32_t n = 0; n < 200; n++)
        publish(&s, 1 + n % 40);
    atomic_store(&race.done, true);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(race.wakeup.count, 200);
    tail_unfollow(s.tail, &race.wakeup.follower);
    setup_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_over_memory_and_journal),
        cmocka_unit_test(starts_behind_what_the_journal_holds),
        cmocka_unit_test(memory_that_is_out_makes_no_hole),
        cmocka_unit_test(wakes_those_who_follow),
        cmocka_unit_test(serves_several_followers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
