/* The governor with the clock in hand: rate and burst, calls at once, the quota of a day, maintenance by the
 * calendar, adapting, what platforms say of their limits; and outcomes of answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "connect/governor.h"
#include "connect/outcome.h"

static struct rng_seeded rng;
static struct governor g;

static struct governor_time at(int64_t us) {
    return (struct governor_time){.tick_us = us, .wall_us = INT64_C(1795392000000000) + us}; /* 2026-11-23 */
}

static bool take(int64_t us) {
    int64_t due;
    if (governor_ask(&g, at(us), &due) != GOVERNOR_GO)
        return false;
    governor_take(&g, at(us));
    return true;
}

static void done(int64_t us) { governor_end(&g, GOVERNOR_DONE, us, -1, NULL, &rng.rng, at(us)); }

static void begin(struct governor_limits limits) {
    rng_seeded_init(&rng, 3);
    governor_init(&g, &limits, at(0));
}

/* As one that has been idle for so long that its bucket is full. */
static void begin_full(struct governor_limits limits) {
    begin(limits);
    g.tat_ns = 0;
}

static uint32_t through(int64_t from_us, int64_t to_us) {
    uint32_t n = 0;
    for (int64_t us = from_us; us < to_us; us += 1000)
        while (take(us)) {
            done(us);
            n++;
        }
    return n;
}

static void a_rate_and_a_burst(void **state) {
    begin_full((struct governor_limits){.calls = 50, .per_ms = 1000, .burst = 10});
    assert_int_equal(governor_tokens(&g, 0), 10);
    assert_in_range(through(0, 1000), 10, 10);
    assert_in_range(through(1000, 10000000), 497, 500);
    begin((struct governor_limits){.calls = 50, .per_ms = 1000, .burst = 1});
    uint32_t late = 0; /* timers come a moment late: the rate is kept all the same */
    for (int64_t us = 0; us < 10000000; us += 1700)
        for (; take(us); late++)
            done(us);
    assert_in_range(late, 490, 501);
}

/* What a life before has asked for is not known: it begins with one call, and the bucket fills from there. */
static void a_life_begins_without_a_burst(void **state) {
    struct governor_limits limits = {.calls = 50, .per_ms = 1000, .burst = 10};
    begin(limits);
    assert_int_equal(through(0, 19000), 1);
    assert_int_equal(through(20000, 20001), 1);
    assert_int_equal(governor_tokens(&g, 1000000), 10); /* after a pause it has its burst */
    begin((struct governor_limits){0}); /* an account whose limits are heard of later */
    governor_limits_set(&g, &limits, at(0));
    assert_int_equal(through(0, 19000), 1);
    limits.calls = 100; /* and what is changed gives nothing back */
    governor_limits_set(&g, &limits, at(19000));
    assert_int_equal(governor_tokens(&g, 19000), 0);
}

static void at_once_no_more_than_declared(void **state) {
    int64_t due;
    begin((struct governor_limits){.concurrency = 2});
    assert_true(take(0) && take(0));
    assert_false(take(0));
    assert_int_equal(governor_ask(&g, at(0), &due), GOVERNOR_BUSY);
    assert_int_equal(due, INT64_MAX);
    done(1);
    assert_true(take(1));
}

static void a_quota_is_of_a_day(void **state) {
    int64_t due;
    begin((struct governor_limits){.quota_per_day = 3});
    assert_int_equal(through(0, 5000), 3);
    assert_int_equal(governor_ask(&g, at(5000), &due), GOVERNOR_QUOTA);
    assert_int_equal(due, INT64_C(86400000000)); /* midnight, UTC */
    governor_restore(&g, 2, g.day_end_s); /* another life of the same day */
    assert_int_equal(through(5000, 9000), 1);
    assert_int_equal(through(INT64_C(86400000000), INT64_C(86400009000)), 3);
}

static void nothing_within_maintenance(void **state) {
    struct governor_window night = {.days = 1u << 0, .from_min = 22 * 60, .to_min = 5 * 60}; /* from Monday on */
    struct zone *berlin = NULL;
    struct fault fault = {0};
    int64_t due, hour = INT64_C(3600000000);
    assert_int_equal(zone_load(STR("Europe/Berlin"), &berlin, &fault), OK);
    begin((struct governor_limits){.windows = &night, .window_count = 1, .zone = berlin});
    assert_true(take(21 * hour - 1)); /* 21:59 there */
    assert_int_equal(governor_ask(&g, at(21 * hour), &due), GOVERNOR_WINDOW);
    assert_int_equal(due, 28 * hour); /* 05:00 on Tuesday */
    assert_int_equal(governor_ask(&g, at(27 * hour), &due), GOVERNOR_WINDOW);
    assert_true(take(28 * hour));
    assert_true(take(45 * hour)); /* Tuesday evening */
    zone_destroy(berlin);
}

static void too_much_halves_and_success_gives_back(void **state) {
    begin((struct governor_limits){.calls = 100, .per_ms = 1000, .burst = 1, .concurrency = 8});
    assert_true(take(0) && take(10000));
    governor_end(&g, GOVERNOR_TOO_MUCH, 0, 2000, NULL, &rng.rng, at(20000));
    governor_end(&g, GOVERNOR_TOO_MUCH, 10000, -1, NULL, &rng.rng, at(20001)); /* from before: says nothing new */
    assert_int_equal(governor_rate_mps(&g), 50000);
    assert_int_equal(governor_concurrency(&g), 4);
    assert_false(take(2019999)); /* as long as was asked */
    assert_true(take(2020000));
    done(2020000);
    uint32_t first = through(2100000, 3100000);
    assert_in_range(first, 50, 70); /* half, and a tenth more each second */
    through(3100000, 14000000);
    assert_int_equal(governor_rate_mps(&g), 100000); /* all of it, and no more */
    assert_int_equal(governor_concurrency(&g), 8);
}

/* A burst that is used up does not come back because the rate is lower now. */
static void too_much_gives_nothing_back(void **state) {
    begin_full((struct governor_limits){.calls = 10, .per_ms = 1000, .burst = 8});
    assert_int_equal(through(1000, 2000), 8);
    assert_true(governor_tokens(&g, 2000) == 0);
    assert_true(take(101000));
    governor_end(&g, GOVERNOR_TOO_MUCH, 101000, 0, NULL, &rng.rng, at(102000));
    assert_int_equal(governor_tokens(&g, 102000), 0);
    assert_in_range(through(102000, 1102000), 4, 6);
}

static void a_rate_is_found_where_none_is_declared(void **state) {
    begin((struct governor_limits){0});
    for (int64_t us = 0; us < 2000000; us += 10000) { /* 100 a second */
        assert_true(take(us));
        done(us);
    }
    assert_true(take(2000000));
    governor_end(&g, GOVERNOR_TOO_MUCH, 2000000, -1, NULL, &rng.rng, at(2000000));
    assert_in_range(governor_rate_mps(&g), 48000, 52000);
    assert_in_range(through(2300000, 3300000), 40, 62);
}

static struct throttle_hint hint_of(const char *name, const char *value, const char *name2, const char *value2) {
    struct net_header headers[] = {{str_c(name), str_c(value)},
                                   {str_c(name2 ? name2 : "X"), str_c(value2 ? value2 : "")}};
    struct net_answer answer = {.status = 200, .headers = headers, .header_count = 2};
    struct throttle_hint hint;
    assert_true(throttle_headers(&answer, INT64_C(1795392000000000), &hint));
    return hint;
}

static void platforms_say_it_in_their_ways(void **state) {
    struct throttle_hint h = hint_of("X-Shopify-Shop-Api-Call-Limit", "32/40", NULL, NULL);
    assert_true(h.remaining_m == 8000 && h.limit_m == 40000);
    h = hint_of("X-LS-API-Bucket-Level", "8.5/60", "X-LS-API-Drip-Rate", "1.5");
    assert_true(h.remaining_m == 51500 && h.limit_m == 60000 && h.restore_mps == 1500);
    h = hint_of("X-Rate-Limit-Requests-Left", "35", "X-Rate-Limit-Time-Reset-Ms", "15000");
    assert_true(h.remaining_m == 35000 && h.reset_ms == 15000);
    h = hint_of("x-amzn-RateLimit-Limit", "0.0167", NULL, NULL);
    assert_true(h.remaining_m == THROTTLE_UNKNOWN && h.restore_mps == 16);
    h = hint_of("RateLimit", "\"burst\";r=50;t=30, \"daily\";r=7;t=600", "RateLimit-Policy", "\"burst\";q=100;w=60");
    assert_true(h.remaining_m == 7000 && h.reset_ms == 600000 && h.limit_m == 100000);
    h = hint_of("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "1795392030");
    assert_true(h.remaining_m == 0 && h.reset_ms == 30000);
    struct net_header odd = {STR("X-LS-API-Bucket-Level"), STR("a/b")};
    assert_false(throttle_headers(&(struct net_answer){.headers = &odd, .header_count = 1}, 0, &h));
}

static void what_they_say_is_believed(void **state) {
    begin_full((struct governor_limits){.calls = 2, .per_ms = 1000, .burst = 40});
    assert_true(take(0));
    struct throttle_hint hint = {.remaining_m = 1000, .limit_m = 40000, .restore_mps = -1, .reset_ms = -1};
    governor_end(&g, GOVERNOR_DONE, 0, -1, &hint, &rng.rng, at(0)); /* somebody else uses the account, too */
    assert_true(take(1000));
    assert_false(take(2000));
    assert_true(take(600000));
}

static enum connector_outcome_kind judged(const char *like, int status, const char *body) {
    struct connector_outcome outcome = {0};
    struct json_parser *parser = json_parser_create();
    struct arena arena;
    const struct json *doc;
    arena_init(&arena, 0);
    while (outcome_like_names[outcome.like] && !str_is(str_c(like), outcome_like_names[outcome.like]))
        outcome.like++;
    outcome_usual(&outcome, false);
    for (const struct outcome_status *row = outcome_likes[outcome.like].statuses; row && row->status; row++)
        outcome.kind[row->status] = row->kind;
    struct net_answer answer = {.status = status, .body = str_c(body)};
    enum connector_outcome_kind kind = outcome_judge(&outcome, &answer, parser, &arena, &doc);
    arena_free(&arena);
    json_parser_destroy(parser);
    return kind;
}

static void a_success_may_be_none(void **state) {
    assert_int_equal(judged("http", 200, "{\"errors\":[1]}"), OUTCOME_SUCCESS);
    assert_int_equal(judged("http", 429, ""), OUTCOME_THROTTLED);
    assert_int_equal(judged("http", 503, ""), OUTCOME_UNREACHABLE);
    assert_int_equal(judged("http", 500, ""), OUTCOME_AMBIGUOUS);
    assert_int_equal(judged("shopify-graphql", 200, "{\"errors\":[{\"message\":\"Throttled\"}]}"), OUTCOME_THROTTLED);
    assert_int_equal(judged("graphql", 200,
                            "{\"data\":{},\"errors\":[{\"extensions\":{\"code\":\"BAD_USER_INPUT\"}}]}"),
                     OUTCOME_FINAL);
    assert_int_equal(judged("shopify-graphql", 200, "{\"data\":{\"a\":{\"userErrors\":[]}}}"), OUTCOME_SUCCESS);
    assert_int_equal(judged("shopify-graphql", 200, "{\"data\":{\"a\":{\"userErrors\":[{}]}}}"), OUTCOME_FINAL);
    assert_int_equal(judged("jsonrpc", 200, "{\"error\":{\"code\":-32603}}"), OUTCOME_AMBIGUOUS);
    assert_int_equal(judged("jsonrpc", 200, "{\"error\":{\"code\":-32602}}"), OUTCOME_FINAL);
    assert_int_equal(judged("jsonrpc", 200, "{\"result\":1,\"error\":null}"), OUTCOME_SUCCESS);
    assert_int_equal(judged("amazon", 400, "{\"errors\":[{\"code\":\"QuotaExceeded\"}]}"), OUTCOME_THROTTLED);
    assert_int_equal(judged("bigcommerce", 509, ""), OUTCOME_THROTTLED);
    assert_int_equal(judged("stripe", 429, "{\"error\":{\"code\":\"lock_timeout\"}}"), OUTCOME_RETRYABLE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_and_a_burst),
        cmocka_unit_test(a_life_begins_without_a_burst),
        cmocka_unit_test(at_once_no_more_than_declared),
        cmocka_unit_test(a_quota_is_of_a_day),
        cmocka_unit_test(nothing_within_maintenance),
        cmocka_unit_test(too_much_halves_and_success_gives_back),
        cmocka_unit_test(too_much_gives_nothing_back),
        cmocka_unit_test(a_rate_is_found_where_none_is_declared),
        cmocka_unit_test(platforms_say_it_in_their_ways),
        cmocka_unit_test(what_they_say_is_believed),
        cmocka_unit_test(a_success_may_be_none),
    };
    return cmocka_run_group_tests_name("governor", tests, NULL, NULL);
}
