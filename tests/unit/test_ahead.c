/* What is kept of the events read ahead: it is given out once and exactly, its memory is bounded, and what
 * is not kept comes from the journal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/arena.h"
#include "deliver/ahead.h"

#define LAST 5000
static struct journal journal;
static uint32_t journal_reads;

/* The texts of an event follow from its seq. */
static struct record record_of(struct arena *arena, uint64_t seq) {
    unsigned n = (unsigned)seq;
    return (struct record){.seq = seq,
                           .time_us = (int64_t)seq * 7,
                           .type = arena_printf(arena, "type.%u", n % 3),
                           .subject = arena_printf(arena, "subject-%u", n),
                           .meta = n % 5 == 0 ? STR_NONE : arena_printf(arena, "{\"meta\":%u}", n),
                           .data = arena_printf(arena, "{\"data\":%u,\"more\":\"%0*u\"}", n, (int)(n % 50), n)};
}

static enum err read_made(struct journal *j, uint64_t from, uint32_t limit, journal_visit *visit, void *ctx,
                          uint64_t *next, struct fault *fault) {
    struct arena arena;
    arena_init(&arena, 0);
    journal_reads++;
    assert_int_equal(limit, 1);
    struct record record = record_of(&arena, from);
    visit(ctx, &record);
    *next = from + 1;
    arena_free(&arena);
    return OK;
}
static enum err last_made(struct journal *j, uint64_t *seq, struct fault *fault) {
    *seq = LAST;
    return OK;
}
static const struct journal_ops ops = {.read = read_made, .last = last_made};

static bool check(void *ctx, const struct record *record) {
    struct arena arena;
    uint64_t *seq = ctx;
    arena_init(&arena, 0);
    struct record wanted = record_of(&arena, *seq);
    assert_int_equal(record->seq, *seq);
    assert_int_equal(record->time_us, wanted.time_us);
    assert_true(str_eq(record->type, wanted.type));
    assert_true(str_eq(record->subject, wanted.subject));
    assert_true(str_eq(record->meta, wanted.meta));
    assert_true(str_eq(record->data, wanted.data));
    arena_free(&arena);
    *seq = 0; /* visited */
    return false;
}

static void read_one(struct ahead *ahead, struct tail *tail, uint64_t seq, bool kept) {
    struct fault fault = {0};
    uint32_t before = journal_reads;
    uint64_t ctx = seq;
    assert_int_equal(ahead_read(ahead, tail, seq, check, &ctx, &fault), OK);
    assert_int_equal(ctx, 0);
    assert_int_equal(journal_reads - before, !kept);
}

static void keep(struct ahead *ahead, uint64_t seq) {
    struct arena arena;
    arena_init(&arena, 0);
    struct record record = record_of(&arena, seq);
    ahead_keep(ahead, &record);
    arena_free(&arena);
}

static void each_is_given_once(void **state) {
    struct ahead ahead;
    journal.ops = &ops;
    struct tail *tail = tail_create(&journal, 1 << 20);
    ahead_init(&ahead, 1 << 20);
    read_one(&ahead, tail, 9, false);
    for (uint64_t seq = 10; seq < 1000; seq += 3) /* what is not wanted is not kept */
        keep(&ahead, seq);
    for (uint64_t seq = 10; seq < 1000; seq += 6) /* lanes do not go in order */
        read_one(&ahead, tail, seq, true);
    read_one(&ahead, tail, 10, false); /* again: a retry */
    read_one(&ahead, tail, 14, false);
    for (uint64_t seq = 1000 - 3; seq > 10; seq -= 3)
        read_one(&ahead, tail, seq, (seq - 10) % 6 != 0);
    assert_int_equal(ahead.bytes, 0);
    for (uint64_t seq = 1000; seq < 1200; seq++)
        keep(&ahead, seq);
    ahead_pass(&ahead, 1099); /* held ones are not sent */
    read_one(&ahead, tail, 1099, false);
    read_one(&ahead, tail, 1100, true);
    ahead_pass(&ahead, 1199);
    assert_int_equal(ahead.bytes, 0);
    assert_null(ahead.ring);
    ahead_clear(&ahead);
    tail_destroy(tail);
}

static void memory_is_bounded(void **state) {
    struct ahead ahead;
    journal.ops = &ops;
    struct tail *tail = tail_create(&journal, 1 << 20);
    ahead_init(&ahead, 20000);
    for (uint64_t seq = 1; seq < LAST; seq++) {
        keep(&ahead, seq);
        assert_true(ahead.bytes <= 20000);
    }
    assert_in_range(ahead.bytes, 19000, 20000);
    read_one(&ahead, tail, 1, true); /* the oldest, which goes first, is there */
    read_one(&ahead, tail, LAST - 1, false);
    ahead_clear(&ahead);
    assert_int_equal(ahead.bytes, 0);
    ahead_init(&ahead, 0); /* none at all */
    keep(&ahead, 1);
    read_one(&ahead, tail, 1, false);
    ahead_clear(&ahead);
    tail_destroy(tail);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_is_given_once), cmocka_unit_test(memory_is_bounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
