/* How fast a subscription drains and when it is done, with the clock in hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "deliver/drain.h"

static void an_end_is_told_from_both_paces(void **state) {
    struct drain drain = {0};
    assert_int_equal(drain_left_us(&drain), -1);
    for (int64_t s = 0; s <= 30; s++) { /* 50 pass a second, 10 come */
        drain_look(&drain, s * 1000000, (uint64_t)s * 50, 10000 + (uint64_t)s * 10);
        drain_look(&drain, s * 1000000 + 500000, 9999, 9999); /* too early: not looked at */
    }
    assert_int_equal(drain_rate(&drain), 50);
    assert_int_equal(drain_left_us(&drain), (10000 - 30 * 40) / 40 * INT64_C(1000000));
}

static void who_does_not_come_nearer_has_no_end(void **state) {
    struct drain drain = {0};
    for (int64_t s = 0; s <= 3; s++)
        drain_look(&drain, s * 1000000, (uint64_t)s * 10, 1000 + (uint64_t)s * 10);
    assert_int_equal(drain_left_us(&drain), -1);
    for (int64_t s = 4; s <= 100; s++) /* dead */
        drain_look(&drain, s * 1000000, 30, 1030);
    assert_int_equal(drain_rate(&drain), 0);
    assert_int_equal(drain_left_us(&drain), -1);
    drain_look(&drain, 101000000, 1030, 1030);
    assert_int_equal(drain_left_us(&drain), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_end_is_told_from_both_paces),
        cmocka_unit_test(who_does_not_come_nearer_has_no_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
