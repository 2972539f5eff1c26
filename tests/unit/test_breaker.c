/* The breaker of an endpoint with the clock in hand: opening, single probes, growing pauses, closing, coming
 * back from an earlier life. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "connect/breaker.h"

static struct rng_seeded rng;
static const struct breaker_policy policy = {.after = 3, .first_ms = 100, .max_ms = 400};

static enum breaker_change bad(struct breaker *b, bool probe, int64_t began_us, int64_t now_us) {
    return breaker_end(b, &policy, &rng.rng, probe, began_us, BREAKER_BAD, -1, now_us);
}

static struct breaker opened(int64_t now_us) {
    struct breaker b = {0};
    rng_seeded_init(&rng, 1);
    assert_int_equal(bad(&b, false, now_us, now_us), BREAKER_SAME);
    assert_int_equal(bad(&b, false, now_us, now_us), BREAKER_SAME);
    assert_int_equal(breaker_state(&b, now_us), BREAKER_CLOSED);
    assert_int_equal(bad(&b, false, now_us, now_us), BREAKER_OPENED);
    return b;
}

static void failures_in_a_row_open_it(void **state) {
    struct breaker b = {0};
    bool probe;
    rng_seeded_init(&rng, 1);
    for (int i = 0; i < 10; i++) { /* never three in a row */
        assert_int_equal(bad(&b, false, 0, 0), BREAKER_SAME);
        assert_int_equal(bad(&b, false, 0, 0), BREAKER_SAME);
        breaker_end(&b, &policy, &rng.rng, false, 0, BREAKER_SAYS_NOTHING, -1, 0);
        assert_int_equal(breaker_end(&b, &policy, &rng.rng, false, 0, BREAKER_GOOD, -1, 0), BREAKER_SAME);
    }
    b = opened(0);
    assert_false(breaker_take(&b, 1, &probe));
    assert_in_range(breaker_due_us(&b), 50000, 100000);
    assert_int_equal(breaker_state(&b, 1), BREAKER_OPEN);
}

/* A probe is out, an older call is answered, and then it opens again: that probe's end makes no room for a
 * second one beside the newer. */
static void the_probe_of_before_is_none(void **state) {
    struct breaker b = opened(0);
    bool probe;
    int64_t first = breaker_due_us(&b);
    assert_true(breaker_take(&b, first, &probe) && probe);
    assert_int_equal(breaker_end(&b, &policy, &rng.rng, false, 0, BREAKER_GOOD, -1, first + 1), BREAKER_CLOSED_AGAIN);
    for (int i = 0; i < 3; i++)
        bad(&b, false, first + 2, first + 3);
    int64_t second = breaker_due_us(&b);
    assert_true(breaker_take(&b, second, &probe) && probe);
    assert_int_equal(bad(&b, true, first, second + 1), BREAKER_SAME);
    assert_false(breaker_take(&b, second + 99000000, &probe));
    assert_int_equal(bad(&b, true, second, second + 2), BREAKER_SAME);
    assert_true(breaker_take(&b, second + 99000000, &probe) && probe);
}

static void one_probe_at_a_time_and_longer_pauses(void **state) {
    struct breaker b = opened(0);
    bool probe;
    int64_t now = 0, longest[] = {100, 200, 400, 400};
    for (int i = 0; i < 4; i++) {
        int64_t pause = breaker_due_us(&b) - now;
        assert_in_range(pause, longest[i] * 500, longest[i] * 1000);
        assert_false(breaker_take(&b, now + pause - 1, &probe));
        now += pause;
        assert_int_equal(breaker_state(&b, now), BREAKER_HALF_OPEN);
        assert_true(breaker_take(&b, now, &probe));
        assert_true(probe);
        bool second;
        assert_false(breaker_take(&b, now + 99000000, &second));
        assert_int_equal(breaker_due_us(&b), INT64_MAX);
        assert_int_equal(bad(&b, true, now, now), BREAKER_SAME);
    }
    now = breaker_due_us(&b);
    assert_true(breaker_take(&b, now, &probe));
    assert_int_equal(breaker_end(&b, &policy, &rng.rng, true, now, BREAKER_GOOD, -1, now), BREAKER_CLOSED_AGAIN);
    assert_true(breaker_take(&b, now, &probe));
    assert_false(probe);
    assert_true(breaker_take(&b, now, &probe));
}

static void those_from_before_say_nothing_new(void **state) {
    struct breaker b = opened(1000);
    int64_t due = breaker_due_us(&b);
    for (int i = 0; i < 20; i++) /* out when it opened */
        assert_int_equal(bad(&b, false, 900, 2000), BREAKER_SAME);
    assert_int_equal(breaker_due_us(&b), due);
    bool probe;
    assert_true(breaker_take(&b, due, &probe));
    breaker_end(&b, &policy, &rng.rng, true, due, BREAKER_SAYS_NOTHING, -1, due); /* never made */
    assert_true(breaker_take(&b, due, &probe));
    assert_true(probe);
    /* somebody is there after all: a late answer of an old call */
    assert_int_equal(breaker_end(&b, &policy, &rng.rng, false, 900, BREAKER_GOOD, -1, due), BREAKER_CLOSED_AGAIN);
}

static void it_waits_as_long_as_was_asked(void **state) {
    struct breaker b = {0};
    rng_seeded_init(&rng, 1);
    for (int i = 0; i < 3; i++)
        breaker_end(&b, &policy, &rng.rng, false, 0, BREAKER_BAD, 7000, 0);
    assert_int_equal(breaker_due_us(&b), 7000000);
}

static void an_earlier_life_is_not_forgotten(void **state) {
    struct breaker b = {0};
    bool probe;
    rng_seeded_init(&rng, 1);
    breaker_restore(&b, &policy, 5000);
    assert_true(breaker_take(&b, 5000, &probe));
    assert_true(probe); /* one tries, not all at once */
    assert_false(breaker_take(&b, 5000, &probe));
    assert_int_equal(bad(&b, true, 5000, 6000), BREAKER_SAME);
    assert_int_equal(breaker_state(&b, 6000), BREAKER_OPEN);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failures_in_a_row_open_it),
        cmocka_unit_test(the_probe_of_before_is_none),
        cmocka_unit_test(one_probe_at_a_time_and_longer_pauses),
        cmocka_unit_test(those_from_before_say_nothing_new),
        cmocka_unit_test(it_waits_as_long_as_was_asked),
        cmocka_unit_test(an_earlier_life_is_not_forgotten),
    };
    return cmocka_run_group_tests_name("breaker", tests, NULL, NULL);
}
