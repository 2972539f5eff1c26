/* How fast a subscription drains and when it is done, with the clock in hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "deliver/drain.h"

/* It wants one of five; what comes is like what is there. */
static void look(struct drain *drain, int64_t now_us, uint64_t cursor, uint64_t last) {
    drain_look(drain, now_us, &(struct drain_at){cursor, last, cursor / 5, (last - cursor) / 5, 200});
}

static void an_end_is_told_from_both_paces(void **state) {
    struct drain drain = {0};
    assert_int_equal(drain_left_us(&drain), -1);
    for (int64_t s = 0; s <= 30; s++) { /* 50 pass a second, 10 come */
        look(&drain, s * 1000000, (uint64_t)s * 50, 10000 + (uint64_t)s * 10);
        look(&drain, s * 1000000 + 500000, 9999, 9999); /* too early: not looked at */
    }
    assert_int_equal(drain_rate(&drain), 50);
    assert_int_equal(drain_events_rate(&drain), 10);
    assert_int_equal(drain_left_us(&drain), (10000 - 30 * 40) / 40 * INT64_C(1000000));
}

/* Each delivery adds a position that is not wanted: that is not what keeps it from its end. */
static void what_delivering_adds_is_no_backlog(void **state) {
    struct drain drain = {0};
    for (uint64_t s = 0; s <= 30; s++)
        drain_look(&drain, (int64_t)s * 1000000,
                   &(struct drain_at){s * 100, 10000 + s * 100, s * 100, 10000 - s * 100, 0});
    assert_int_equal(drain_left_us(&drain), 100 * INT64_C(1000000)); /* until the cursor is where the end is now */
    for (uint64_t s = 31; s <= 60; s++) /* the rest is wanted by nobody, and not read yet */
        drain_look(&drain, (int64_t)s * 1000000, &(struct drain_at){s * 100, 20000, 3000, 0, 0});
    assert_int_equal(drain_left_us(&drain), 140 * INT64_C(1000000));
}

static void who_does_not_come_nearer_has_no_end(void **state) {
    struct drain drain = {0};
    for (int64_t s = 0; s <= 3; s++)
        look(&drain, s * 1000000, (uint64_t)s * 10, 1000 + (uint64_t)s * 10);
    assert_int_equal(drain_left_us(&drain), -1);
    for (int64_t s = 4; s <= 100; s++) /* dead */
        look(&drain, s * 1000000, 30, 1030);
    assert_int_equal(drain_rate(&drain), 0);
    assert_int_equal(drain_left_us(&drain), -1);
    look(&drain, 101000000, 1030, 1030);
    assert_int_equal(drain_left_us(&drain), 0);
}

static void a_long_span_counts_for_its_seconds(void **state) {
    struct drain drain = {0};
    for (int64_t s = 0; s <= 20; s++)
        look(&drain, s * 1000000, (uint64_t)s * 1000, 100000);
    assert_int_equal(drain_rate(&drain), 1000);
    struct drain later = drain;
    look(&later, 25 * 1000000, 20000, 100000); /* five seconds of nothing: half of what is remembered */
    assert_int_equal(drain_rate(&later), 500);
    later = drain;
    look(&later, 3600 * INT64_C(1000000), 20000, 100000); /* an hour: nothing of it is left */
    assert_int_equal(drain_rate(&later), 0);
    assert_int_equal(drain_events_rate(&later), 0);
    assert_int_equal(drain_left_us(&later), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_delivering_adds_is_no_backlog),
        cmocka_unit_test(an_end_is_told_from_both_paces),
        cmocka_unit_test(a_long_span_counts_for_its_seconds),
        cmocka_unit_test(who_does_not_come_nearer_has_no_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
