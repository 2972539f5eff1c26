/* How much is left to read of what a subscription wants: counted where it is little, estimated from samples
 * where it is much, for the same few reads however much it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "deliver/backlog.h"

/* A journal without records: each is made when it is read. One in four is wanted, of 100 bytes; of the
 * others, which have more, nothing counts. */
static struct made {
    struct journal journal;
    uint64_t last, reads, bad_from, wanted_from;
} made;
static const char text[1000];

static bool is_wanted(uint64_t seq) { return seq >= made.wanted_from && seq % 4 == 0; }

static enum err made_read(struct journal *journal, uint64_t from, uint32_t limit, journal_visit *visit,
                          void *ctx, uint64_t *next, struct fault *fault) {
    for (*next = from; limit > 0 && *next <= made.last; limit--) {
        if (made.bad_from && *next >= made.bad_from)
            return fault_set(fault, ERR_IO, "not now");
        struct record record = {.seq = *next, .type = STR("a.b"), .subject = STR("s"), .meta = STR("{}"),
                                .data = {text, is_wanted(*next) ? 94 : 1000}};
        ++*next;
        made.reads++;
        if (!visit(ctx, &record))
            break;
    }
    return OK;
}
static enum err made_last(struct journal *journal, uint64_t *seq, struct fault *fault) {
    *seq = made.last;
    return OK;
}
static const struct journal_ops made_ops = {.read = made_read, .last = made_last};

static bool wants(void *ctx, const struct record *record) { return is_wanted(record->seq); }

static struct tail *journal_of(uint64_t last) {
    made = (struct made){.journal.ops = &made_ops, .last = last};
    struct tail *tail = tail_create(&made.journal, 1000);
    assert_non_null(tail);
    return tail;
}

static void what_is_little_is_counted(void **state) {
    struct tail *tail = journal_of(2000);
    struct backlog b = {0};
    backlog_look(&b, tail, 2000 - BACKLOG_COUNTED, 2000, wants, NULL);
    assert_false(b.estimated);
    assert_int_equal(b.events, BACKLOG_COUNTED / 4);
    assert_int_equal(b.bytes, BACKLOG_COUNTED / 4 * 100);
    backlog_look(&b, tail, 1995, 2000, wants, NULL);
    assert_int_equal(b.events, 2); /* 1996 and 2000 */
    backlog_look(&b, tail, 2000, 2000, wants, NULL);
    assert_int_equal(b.events, 0);
    assert_int_equal(b.bytes, 0);
    tail_destroy(tail);
}

static void near(uint64_t value, uint64_t truth) { assert_in_range(value, truth * 9 / 10, truth * 11 / 10); }

static void what_is_much_is_estimated_from_few_reads(void **state) {
    struct tail *tail = journal_of(10000000);
    struct backlog b = {0};
    backlog_look(&b, tail, 0, made.last, wants, NULL);
    assert_true(b.estimated);
    near(b.events, made.last / 4);
    near(b.bytes, made.last / 4 * 100);
    assert_int_equal(made.reads, (BACKLOG_PARTS + 1) * BACKLOG_SAMPLE);
    for (uint64_t at = 1000; at <= 9000000; at += 100000) { /* as it drains, a sample a second */
        made.reads = 0;
        backlog_look(&b, tail, at, made.last, wants, NULL);
        near(b.events, (made.last - at) / 4);
        assert_int_equal(made.reads, 2 * BACKLOG_SAMPLE);
    }
    assert_in_range(b.wanted_m, 245, 250); /* of what comes now */
    backlog_look(&b, tail, made.last - 10, made.last, wants, NULL);
    assert_false(b.estimated);
    tail_destroy(tail);
}

static void what_is_wanted_in_one_part_alone_is_found(void **state) {
    struct tail *tail = journal_of(1000000);
    struct backlog b = {0};
    made.wanted_from = 750001; /* four parts of sixteen */
    backlog_look(&b, tail, 0, made.last, wants, NULL);
    near(b.events, 250000 / 4);
    backlog_forget(&b); /* another filter: samples of the old one do not linger */
    made.wanted_from = made.last + 1;
    backlog_look(&b, tail, 0, made.last, wants, NULL);
    assert_int_equal(b.events, 0);
    tail_destroy(tail);
}

static void what_can_not_be_read_is_as_told_before(void **state) {
    struct tail *tail = journal_of(1000000);
    struct backlog b = {0};
    backlog_look(&b, tail, 0, made.last, wants, NULL);
    uint64_t events = b.events;
    made.bad_from = 1;
    for (int i = 0; i < 2 * BACKLOG_PARTS; i++)
        backlog_look(&b, tail, 0, made.last, wants, NULL);
    assert_int_equal(b.events, events);
    backlog_look(&b, tail, made.last - 100, made.last, wants, NULL); /* nor is a part counted for the whole */
    assert_int_equal(b.events, events);
    tail_destroy(tail);
}

static void bytes_of_what_was_taken_follow_the_mean(void **state) {
    struct backlog b = {0};
    struct record small = {.data = {text, 100}}, large = {.data = {text, 1000}};
    assert_int_equal(backlog_bytes(&b, 5), 0);
    backlog_took(&b, &small);
    assert_int_equal(backlog_bytes(&b, 5), 500);
    for (int i = 0; i < 1000; i++)
        backlog_took(&b, &large);
    near(backlog_bytes(&b, 5), 5000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_little_is_counted),
        cmocka_unit_test(what_is_much_is_estimated_from_few_reads),
        cmocka_unit_test(what_is_wanted_in_one_part_alone_is_found),
        cmocka_unit_test(what_can_not_be_read_is_as_told_before),
        cmocka_unit_test(bytes_of_what_was_taken_follow_the_mean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
