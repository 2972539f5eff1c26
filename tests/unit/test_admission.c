/* Admission on a hub that is a number: so much work a second it can do, what is more waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "gateway/admission.h"

static int64_t fake_us;
static int64_t fake_clock_us(struct clock *clock) { return fake_us; }
static struct clock fake_clock = {.now_us = fake_clock_us, .tick_us = fake_clock_us};
static struct settings settings;
static struct rng_seeded rng;

/* The model: one queue, first come first served, `per_ms` calls done each millisecond. */
static double queued, per_ms;
static int64_t queue_us(void) { return per_ms > 0 ? (int64_t)(queued / per_ms * 1000) : 0; }
static void writer_waits(void *ctx, int64_t out[TRAFFIC_CLASSES]) {
    for (int i = 0; i < TRAFFIC_CLASSES; i++)
        out[i] = queue_us();
}

struct flow {
    enum traffic_class traffic;
    uint64_t caller;
    double per_ms; /* calls that come each millisecond */
    double owed;
    uint32_t asked, taken;
};

static struct admission *start(void) {
    settings = (struct settings){.admission_enabled = 1, .admission_interval_ms = 100,
                                 .admission_protect_ms = 5, .admission_checkout_ms = 100,
                                 .admission_stock_ms = 200, .admission_catalogue_ms = 500,
                                 .admission_bulk_ms = 2000, .admission_ops_ms = 1000,
                                 .admission_ops_reserve = 20};
    struct admission_options options = {.settings = &settings, .clock = &fake_clock, .loops = 1,
                                        .writer = writer_waits};
    fake_us = 1000000000;
    queued = 0;
    rng_seeded_init(&rng, 7);
    struct admission *admission = admission_create(&options);
    assert_non_null(admission);
    return admission;
}

/* Lets time pass; counts begin anew. */
static int64_t run(struct admission *admission, struct flow *flows, uint32_t count, int ms) {
    int64_t longest_us = 0;
    for (uint32_t i = 0; i < count; i++)
        flows[i].asked = flows[i].taken = 0;
    for (int t = 0; t < ms; t++) {
        fake_us += 1000;
        admission_loop_rests(admission, 0);
        fake_us += 200;
        for (uint32_t i = 0; i < count; i++)
            for (flows[i].owed += flows[i].per_ms; flows[i].owed >= 1; flows[i].owed -= 1) {
                flows[i].asked++;
                if (!admission_admits(admission, 0, flows[i].traffic, flows[i].caller, &rng.rng))
                    continue;
                flows[i].taken++;
                queued++;
            }
        fake_us -= 200;
        queued = queued > per_ms ? queued - per_ms : 0;
        longest_us = queue_us() > longest_us ? queue_us() : longest_us;
    }
    return longest_us;
}

static double taken(const struct flow *flow) { return (double)flow->taken / (double)flow->asked; }

static void test_nothing_is_shed_below_what_it_can_do(void **state) {
    struct admission *admission = start();
    struct flow flows[] = {{CLASS_CHECKOUT, 1, 4}, {CLASS_CATALOGUE, 2, 3}, {CLASS_BULK, 3, 2}};
    per_ms = 10;
    run(admission, flows, 3, 5000);
    for (int i = 0; i < 3; i++)
        assert_int_equal(flows[i].taken, flows[i].asked);
    admission_destroy(admission);
}

/* Five times of what it can do; checkout is a fifth of that. */
static void test_the_less_important_give_way_first(void **state) {
    struct admission *admission = start();
    struct flow flows[] = {{CLASS_CHECKOUT, 1, 2}, {CLASS_STOCK, 2, 3}, {CLASS_CATALOGUE, 3, 15},
                           {CLASS_BULK, 4, 30}};
    per_ms = 10;
    run(admission, flows, 4, 3000); /* finds its way */
    int64_t longest_us = run(admission, flows, 4, 10000);
    assert_true(taken(&flows[0]) > 0.99);
    assert_true(taken(&flows[1]) > 0.9);
    assert_true(taken(&flows[2]) < 0.6);
    assert_true(taken(&flows[3]) < taken(&flows[2]));
    assert_true(longest_us < 120000);
    /* what can be done is done: most of it */
    double done = flows[0].taken + flows[1].taken + flows[2].taken + flows[3].taken;
    assert_true(done > 0.6 * 10 * 10000);
    /* the flood is over: all come back */
    flows[2].per_ms = 1;
    flows[3].per_ms = 1;
    run(admission, flows, 4, 10000);
    run(admission, flows, 4, 1000);
    for (int i = 0; i < 4; i++)
        assert_int_equal(flows[i].taken, flows[i].asked);
    admission_destroy(admission);
}

static void test_who_asks_most_gives_way_to_others_of_the_class(void **state) {
    struct admission *admission = start();
    struct flow flows[] = {{CLASS_CHECKOUT, 1, 0.5}, {CLASS_CHECKOUT, 2, 0.7},
                           {CLASS_CHECKOUT, 3, 30}, {CLASS_CHECKOUT, 4, 20}};
    per_ms = 10;
    run(admission, flows, 4, 3000);
    run(admission, flows, 4, 10000);
    assert_true(taken(&flows[0]) > 0.99);
    assert_true(taken(&flows[1]) > 0.99);
    assert_true(taken(&flows[2]) < 0.4);
    assert_true(taken(&flows[3]) < 0.5);
    /* the two greedy ones get about the same */
    double ratio = (double)flows[2].taken / flows[3].taken;
    assert_true(ratio > 0.7 && ratio < 1.5);
    admission_destroy(admission);
}

/* A single caller keeps nobody waiting but himself: he may wait, up to the class's target. */
static void test_one_caller_alone_is_shed_beyond_the_target_only(void **state) {
    struct admission *admission = start();
    struct flow flow = {CLASS_CHECKOUT, 1, 9.9};
    per_ms = 10;
    queued = 300; /* 30 ms */
    run(admission, &flow, 1, 2000);
    assert_int_equal(flow.taken, flow.asked);
    flow.per_ms = 50;
    run(admission, &flow, 1, 3000);
    int64_t longest_us = run(admission, &flow, 1, 10000);
    assert_true(taken(&flow) > 0.1 && taken(&flow) < 0.4);
    assert_true(longest_us < 1000000);
    admission_destroy(admission);
}

static void test_operators_can_look_in_any_overload(void **state) {
    struct admission *admission = start();
    struct flow flows[] = {{CLASS_CHECKOUT, 1, 60}, {CLASS_CHECKOUT, 2, 60}, {CLASS_OPS, 3, 0.01}};
    per_ms = 1;
    run(admission, flows, 3, 5000);
    run(admission, flows, 3, 5000);
    assert_true(taken(&flows[0]) < 0.2);
    assert_int_equal(flows[2].taken, flows[2].asked);
    admission_destroy(admission);
}

static void test_bulk_under_way_slows_down_and_goes_on(void **state) {
    struct admission *admission = start();
    struct flow flows[] = {{CLASS_CHECKOUT, 1, 9}, {CLASS_BULK, 2, 20}};
    per_ms = 10;
    assert_true(admission_bulk_lines(admission, 0, &rng.rng) == UINT32_MAX);
    run(admission, flows, 2, 3000);
    uint32_t portions = 0;
    for (int i = 0; i < 2000; i++) {
        uint32_t lines = admission_bulk_lines(admission, 0, &rng.rng);
        assert_true(lines <= 64);
        portions += lines > 0;
    }
    assert_true(portions > 0 && portions < 1500);
    admission_destroy(admission);
}

static void test_it_can_be_switched_off(void **state) {
    struct admission *admission = start();
    struct flow flows[] = {{CLASS_CHECKOUT, 1, 9}, {CLASS_BULK, 2, 90}};
    settings.admission_enabled = 0;
    per_ms = 10;
    run(admission, flows, 2, 3000);
    assert_int_equal(flows[1].taken, flows[1].asked);
    admission_destroy(admission);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_shed_below_what_it_can_do),
        cmocka_unit_test(test_the_less_important_give_way_first),
        cmocka_unit_test(test_who_asks_most_gives_way_to_others_of_the_class),
        cmocka_unit_test(test_one_caller_alone_is_shed_beyond_the_target_only),
        cmocka_unit_test(test_operators_can_look_in_any_overload),
        cmocka_unit_test(test_bulk_under_way_slows_down_and_goes_on),
        cmocka_unit_test(test_it_can_be_switched_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
