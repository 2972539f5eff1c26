/* The shared table of allowances, policies and their precedence, quotas over a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../support/temp.h"
#include "base/buf.h"
#include "gateway/limit.h"
#include "gateway/quota.h"

#define MS INT64_C(1000000) /* in ns */

static struct limit_ask bucket(uint64_t key, int64_t now, int64_t cost, int64_t burst) {
    return (struct limit_ask){.key = key * UINT64_C(0x9e3779b97f4a7c15), .units = 1, .now = now,
                              .cost = cost, .full = cost * burst};
}

static void test_a_bucket_admits_its_burst_then_its_rate(void **state) {
    struct limit_table *table = limit_table_create(LIMIT_BUCKETS, 64, 1);
    struct limit_ask ask = bucket(1, 1000 * MS, 10 * MS, 5);
    for (int i = 0; i < 5; i++) {
        struct limit_left left = limit_take(table, &ask);
        assert_true(left.admitted);
        assert_int_equal(left.units, 4 - i);
        assert_int_equal(left.fresh, (i + 1) * 10 * MS);
    }
    struct limit_left left = limit_take(table, &ask);
    assert_false(left.admitted);
    assert_int_equal(left.wait, 10 * MS);
    assert_int_equal(left.units, 0);
    ask.now += 10 * MS - 1;
    assert_false(limit_take(table, &ask).admitted);
    ask.now += 1;
    assert_true(limit_take(table, &ask).admitted);
    assert_false(limit_take(table, &ask).admitted);
    ask.now += 1000 * MS; /* no more than the burst comes together */
    int n = 0;
    while (limit_take(table, &ask).admitted)
        n++;
    assert_int_equal(n, 5);
    ask.units = 6; /* more than ever fits */
    assert_int_equal(limit_take(table, &ask).wait, -1);
    limit_table_destroy(table);
}

static void test_looking_takes_nothing_and_borrowing_says_when(void **state) {
    struct limit_table *table = limit_table_create(LIMIT_BUCKETS, 64, 1);
    struct limit_ask ask = bucket(1, 1000 * MS, 10 * MS, 2);
    for (int i = 0; i < 5; i++)
        assert_true(limit_look(table, &ask).admitted);
    assert_int_equal(limit_borrow(table, &ask).wait, 0);
    assert_int_equal(limit_borrow(table, &ask).wait, 0);
    assert_int_equal(limit_borrow(table, &ask).wait, 10 * MS);
    assert_int_equal(limit_borrow(table, &ask).wait, 20 * MS);
    assert_false(limit_look(table, &ask).admitted);
    assert_int_equal(limit_look(table, &ask).wait, 30 * MS);
    limit_table_destroy(table);
}

/* --- threads --------------------------------------------------------------------------------- */

#define THREADS 8
#define ROUNDS 20000
static struct limit_table *shared;
static _Atomic int64_t now_ns;
static _Atomic uint64_t admitted[4];

static void *hammer(void *arg) {
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t who = (uint32_t)(i + (intptr_t)arg) % 4;
        struct limit_ask ask = bucket(who + 1, atomic_load(&now_ns), 1 * MS, 100);
        if (arg == NULL && i % 100 == 0)
            atomic_fetch_add(&now_ns, 1 * MS); /* one of them moves time on */
        if (limit_take(shared, &ask).admitted)
            atomic_fetch_add(&admitted[who], 1);
        /* Others crowd into the same few sets. */
        ask = bucket(100 + (uint64_t)i % 1000, ask.now, 1, 1);
        (void)limit_take(shared, &ask);
    }
    return NULL;
}

/* Each caller gets burst and rate, and not one more, in a table that is much too small. */
static void test_many_threads_share_a_bucket_exactly(void **state) {
    pthread_t threads[THREADS];
    shared = limit_table_create(LIMIT_BUCKETS, 64, 1);
    atomic_store(&now_ns, 1000 * MS);
    for (intptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, (void *)i), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    uint64_t span_ms = (uint64_t)((atomic_load(&now_ns) - 1000 * MS) / MS);
    assert_int_equal(span_ms, ROUNDS / 100);
    for (int i = 0; i < 4; i++) {
        assert_true(atomic_load(&admitted[i]) <= 100 + span_ms);
        /* What is missing can be taken still: nothing was lost on the way, either. */
        struct limit_ask ask = bucket((uint64_t)i + 1, atomic_load(&now_ns), 1 * MS, 100);
        uint64_t rest = 0;
        while (limit_take(shared, &ask).admitted)
            rest++;
        assert_true(rest <= 100);
    }
    limit_table_destroy(shared);
}

static void *drain(void *arg) {
    struct limit_ask ask = bucket(7, 5000 * MS, 1000 * MS, 5000);
    uint64_t n = 0;
    for (int i = 0; i < ROUNDS; i++)
        n += limit_take(shared, &ask).admitted;
    atomic_fetch_add(&admitted[0], n);
    return NULL;
}

static void test_at_one_moment_the_burst_is_shared_out_to_the_last(void **state) {
    pthread_t threads[THREADS];
    shared = limit_table_create(LIMIT_BUCKETS, 64, 1);
    atomic_store(&admitted[0], 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, drain, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&admitted[0]), 5000);
    limit_table_destroy(shared);
}

/* --- places ---------------------------------------------------------------------------------- */

static void test_only_full_buckets_are_forgotten(void **state) {
    struct limit_table *table = limit_table_create(LIMIT_BUCKETS, 64, 2);
    struct limit_ask ask = bucket(1, 1000 * MS, 1000 * MS, 3), other;
    while (limit_take(table, &ask).admitted) {
    }
    for (uint64_t key = 2; key < 5000; key++) { /* each is full again at once */
        other = bucket(key, ask.now + (int64_t)key, 1, 1);
        assert_true(limit_take(table, &other).admitted);
    }
    assert_false(limit_take(table, &ask).admitted);
    /* All places taken by buckets that are not full: further callers share one allowance. */
    uint32_t fresh = 0;
    for (uint64_t key = 10000; key < 11000; key++) {
        other = bucket(key, ask.now + 1, 1000 * MS, 1);
        other.spare = 1;
        fresh += limit_take(table, &other).admitted;
    }
    assert_true(fresh <= 64);
    assert_true(limit_table_used(table, ask.now + 1) <= 64);
    assert_false(limit_take(table, &ask).admitted);
    limit_table_destroy(table);
}

static struct limit_ask count(uint64_t key, int64_t now, int64_t start, int64_t end, int64_t quota) {
    return (struct limit_ask){.key = key, .units = 1, .now = now, .start = start, .end = end,
                              .full = quota};
}

static void test_a_count_begins_anew_with_its_period(void **state) {
    struct limit_table *table = limit_table_create(LIMIT_COUNTS, 64, 1);
    int64_t day = 86400, start = 20000 * day;
    struct limit_ask ask = count(9, start + 100, start, start + day, 3);
    assert_int_equal(limit_take(table, &ask).units, 2);
    assert_int_equal(limit_take(table, &ask).units, 1);
    assert_int_equal(limit_take(table, &ask).units, 0);
    struct limit_left left = limit_take(table, &ask);
    assert_false(left.admitted);
    assert_int_equal(left.wait, day - 100);
    ask = count(9, start + day, start + day, start + 2 * day, 3);
    assert_true(limit_take(table, &ask).admitted);
    /* the clock is put back over midnight: what the new day used stays used */
    ask = count(9, start + day - 5, start, start + day, 3);
    assert_int_equal(limit_take(table, &ask).units, 1);
    limit_table_destroy(table);
}

static void test_counts_survive_a_restart(void **state) {
    char *folder = temp_folder(), path[128];
    struct quota_file *file;
    struct fault fault = {0};
    uint32_t rows;
    int64_t day = 86400, start = 20000 * day;
    snprintf(path, sizeof path, "%s/limits.db", folder);
    assert_int_equal(quota_file_open(path, &rng_system, &file, &fault), OK);
    uint64_t seed = quota_file_seed(file);
    struct limit_table *table = limit_table_create(LIMIT_COUNTS, 64, 1);
    struct limit_ask ask = count(9, start + 100, start, start + day, 3);
    assert_true(limit_take(table, &ask).admitted);
    assert_true(limit_take(table, &ask).admitted);
    assert_int_equal(quota_file_write(file, table, start + 101, &rows, &fault), OK);
    assert_int_equal(rows, 1);
    assert_int_equal(quota_file_write(file, table, start + 102, &rows, &fault), OK);
    assert_int_equal(rows, 0); /* nothing changed */
    quota_file_close(file);
    limit_table_destroy(table);

    assert_int_equal(quota_file_open(path, &rng_system, &file, &fault), OK);
    assert_true(quota_file_seed(file) == seed);
    table = limit_table_create(LIMIT_COUNTS, 64, 1);
    assert_int_equal(quota_file_load(file, table, start + 200, &fault), OK);
    assert_int_equal(limit_take(table, &ask).units, 0);
    assert_false(limit_take(table, &ask).admitted);
    limit_table_destroy(table);
    table = limit_table_create(LIMIT_COUNTS, 64, 1); /* what is over is not loaded */
    assert_int_equal(quota_file_load(file, table, start + day, &fault), OK);
    assert_int_equal(limit_table_used(table, start + day), 0);
    limit_table_destroy(table);
    quota_file_close(file);
    temp_remove(folder);
}

static void test_a_damaged_file_is_set_aside(void **state) {
    char *folder = temp_folder(), path[128], aside[160];
    struct quota_file *file;
    struct fault fault = {0};
    snprintf(path, sizeof path, "%s/limits.db", folder);
    snprintf(aside, sizeof aside, "%s.damaged", path);
    FILE *out = fopen(path, "we");
    assert_non_null(out);
    for (int i = 0; i < 4096; i++)
        fputc('x', out);
    fclose(out);
    assert_int_equal(quota_file_open(path, &rng_system, &file, &fault), OK);
    assert_int_equal(access(aside, F_OK), 0);
    quota_file_close(file);
    temp_remove(folder);
}

/* --- policies -------------------------------------------------------------------------------- */

static int64_t fake_now_us, fake_tick_us;
static int64_t fake_now(struct clock *clock) { return fake_now_us; }
static int64_t fake_tick(struct clock *clock) { return fake_tick_us; }
static struct clock fake_clock = {.now_us = fake_now, .tick_us = fake_tick};

static enum err nothing(struct query *query, struct fault *fault) { return OK; }
static const struct route routes[] = {
    {.method = "POST", .path = "/v1/orders", .scope = "orders:write", .traffic = CLASS_CHECKOUT,
     .query = nothing, .help = "x"},
    {.method = "GET", .path = "/v1/stock", .scope = "stock:read", .traffic = CLASS_STOCK,
     .query = nothing, .help = "x"},
    {.method = "POST", .path = "/x/{connector}", .traffic = CLASS_STOCK, .query = nothing,
     .help = "x"},
    {.method = NULL},
};

struct rig {
    struct router *router;
    struct config config;
    struct limiter *limiter;
    struct limit_view *view;
    struct fault fault;
};

static void rig_start(struct rig *rig, struct config_limit *limits, uint32_t count) {
    const char *member;
    *rig = (struct rig){.router = router_create()};
    fake_tick_us = 1000000;
    fake_now_us = INT64_C(1795440000) * 1000000; /* 2026-11-23T13:20:00Z */
    assert_int_equal(router_add(rig->router, routes, NULL, &rig->fault), OK);
    for (uint32_t i = 0; i < count; i++)
        assert_null(limit_settle(&limits[i], &member));
    rig->config.limits = (struct shape_list){limits, count};
    rig->config.time_zone = STR("Europe/Berlin");
    rig->config.settings.limits_enabled = 1;
    rig->config.settings.limit_callers_max = 1024;
    struct limiter_options options = {.config = &rig->config, .router = rig->router,
                                      .clock = &fake_clock};
    assert_int_equal(limiter_create(&options, &rig->limiter, &rig->fault), OK);
    rig->view = limit_view_create(rig->limiter);
}

static void rig_stop(struct rig *rig) {
    limit_view_destroy(rig->view);
    limiter_destroy(rig->limiter);
    router_destroy(rig->router);
}

static struct limit_set find(struct rig *rig, const char *id, const char *name, uint32_t route,
                             enum traffic_class traffic) {
    uint64_t scopes[ROUTE_SCOPES_MAX / 64] = {1}; /* orders:write */
    struct limit_who who = {.by = LIMIT_BY_CALLER, .id = str_c(id), .name = str_c(name),
                            .scopes = scopes};
    struct limit_where where = {.route = route, .traffic = traffic};
    struct limit_set set;
    limit_find(rig->view, &who, &where, &set);
    return set;
}

static enum err ask(struct rig *rig, struct limit_set *set, unsigned units, int64_t *wait_us) {
    fault_init(&rig->fault, NULL);
    return limit_ask_for(rig->view, set, units, wait_us, &rig->fault);
}

static const char *written(struct rig *rig, const struct limit_set *set, bool policy) {
    static char text[512];
    struct buf out;
    buf_init(&out, 0);
    if (policy)
        limit_policy_write(rig->view, set, &out);
    else
        limit_left_write(rig->view, set, &out);
    snprintf(text, sizeof text, "%.*s", STR_FMT(buf_str(&out)));
    buf_free(&out);
    return text;
}

#define RATED(n, w, b)                                                                             \
    .rate = (n), .window_s = (w), .burst = (b),                                                    \
    .has = UINT64_C(1) << LIMIT_RATE | UINT64_C(1) << LIMIT_WINDOW | UINT64_C(1) << LIMIT_BURST
#define COUNTED(n, p)                                                                              \
    .quota = (n), .period = (p),                                                                   \
    .has = UINT64_C(1) << LIMIT_QUOTA | UINT64_C(1) << LIMIT_PERIOD

static void test_the_most_particular_of_one_name_counts(void **state) {
    struct rig rig;
    struct str shop[] = {{"shop", 4}}, orders[] = {{"POST /v1/orders", 15}},
               stock[] = {{"stock", 5}}, write[] = {{"orders:write", 12}};
    struct config_limit limits[] = {
        {.policy = STR("default"), RATED(60, 60, 10)},
        {.policy = STR("default"), .callers = {shop, 1}, RATED(600, 60, 20)},
        {.policy = STR("default"), .classes = {stock, 1}, RATED(6, 60, 1)},
        {.policy = STR("orders"), .routes = {orders, 1}, COUNTED(5, LIMIT_PERIOD_DAY)},
        {.policy = STR("sellers"), .scopes = {write, 1}, RATED(100, 1, 100)},
    };
    rig_start(&rig, limits, 5);
    struct limit_set set = find(&rig, "pk_a", "someone", 0, CLASS_CHECKOUT);
    assert_string_equal(written(&rig, &set, true),
                        "\"default\";q=60;w=60, \"orders\";q=5;w=86400, \"sellers\";q=100;w=1");
    set = find(&rig, "pk_b", "shop", 0, CLASS_CHECKOUT);
    assert_string_equal(written(&rig, &set, true),
                        "\"default\";q=600;w=60, \"orders\";q=5;w=86400, \"sellers\";q=100;w=1");
    set = find(&rig, "pk_a", "someone", 1, CLASS_STOCK);
    assert_string_equal(written(&rig, &set, true), "\"default\";q=6;w=60, \"sellers\";q=100;w=1");
    set = find(&rig, "pk_b", "shop", 1, CLASS_STOCK); /* a caller's own goes before a class's */
    assert_string_equal(written(&rig, &set, true),
                        "\"default\";q=600;w=60, \"sellers\";q=100;w=1");
    rig_stop(&rig);
}

static void test_what_is_left_is_told_and_refusals_say_which(void **state) {
    struct rig rig;
    int64_t wait_us;
    struct config_limit limits[] = {
        {.policy = STR("default"), RATED(60, 60, 2)},
        {.policy = STR("day"), COUNTED(3, LIMIT_PERIOD_DAY)},
    };
    rig_start(&rig, limits, 2);
    struct limit_set set = find(&rig, "pk_a", "a", 0, CLASS_CHECKOUT);
    assert_int_equal(ask(&rig, &set, LIMIT_ANY, &wait_us), OK);
    /* 13:20 UTC is 14:20 in Berlin: the day ends in 9 h 40 min */
    assert_string_equal(written(&rig, &set, false), "\"default\";r=1;t=1, \"day\";r=2;t=34800");
    assert_int_equal(ask(&rig, &set, LIMIT_ANY, &wait_us), OK);
    assert_int_equal(ask(&rig, &set, LIMIT_ANY, &wait_us), ERR_RATE);
    assert_int_equal(wait_us, 1000000);
    assert_string_equal(rig.fault.detail, "over the policy \"default\": 60 documents in 60 s, 2 at "
                                          "once; try again in 1 s");
    assert_false(limit_refused_by_quota(rig.view, &set));
    /* the refused one did not cost the quota anything */
    assert_string_equal(written(&rig, &set, false), "\"default\";r=0;t=2, \"day\";r=1;t=34800");
    fake_tick_us += 60000000;
    assert_int_equal(ask(&rig, &set, LIMIT_ANY, &wait_us), OK);
    assert_int_equal(ask(&rig, &set, LIMIT_ANY, &wait_us), ERR_RATE);
    assert_true(limit_refused_by_quota(rig.view, &set));
    assert_int_equal(wait_us, INT64_C(34800) * 1000000);
    /* somebody else has all of it still */
    set = find(&rig, "pk_b", "b", 0, CLASS_CHECKOUT);
    assert_int_equal(ask(&rig, &set, LIMIT_ANY, &wait_us), OK);
    assert_string_equal(written(&rig, &set, false), "\"default\";r=1;t=1, \"day\";r=2;t=34800");
    rig_stop(&rig);
}

static void test_lines_and_calls_are_counted_apart(void **state) {
    struct rig rig;
    int64_t wait_us;
    struct config_limit limits[] = {
        {.policy = STR("lines"), RATED(10, 1, 10)},
        {.policy = STR("default"), .unit = LIMIT_UNIT_CALLS, RATED(1, 1, 1)},
    };
    rig_start(&rig, limits, 2);
    struct limit_set set = find(&rig, "pk_a", "a", 0, CLASS_BULK);
    assert_int_equal(ask(&rig, &set, LIMIT_CALLS, &wait_us), OK);
    for (int i = 0; i < 10; i++)
        assert_int_equal(ask(&rig, &set, LIMIT_DOCUMENTS, &wait_us), OK);
    assert_int_equal(ask(&rig, &set, LIMIT_DOCUMENTS, &wait_us), ERR_RATE);
    assert_int_equal(wait_us, 100000);
    fake_tick_us += 100000;
    assert_int_equal(ask(&rig, &set, LIMIT_DOCUMENTS, &wait_us), OK);
    assert_int_equal(ask(&rig, &set, LIMIT_CALLS, &wait_us), ERR_RATE);
    rig_stop(&rig);
}

static void test_what_slows_says_when_its_turn_is(void **state) {
    struct rig rig;
    int64_t wait_us;
    struct config_limit limits[] = {
        {.policy = STR("default"), .over = LIMIT_OVER_SLOW, RATED(10, 1, 1)},
    };
    rig_start(&rig, limits, 1);
    struct limit_set set = find(&rig, "pk_a", "a", 0, CLASS_CHECKOUT);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(limit_ask_slow(rig.view, &set, LIMIT_ANY, 300000, &wait_us, &rig.fault),
                         OK);
        assert_int_equal(wait_us, i * 100000);
    }
    assert_int_equal(limit_ask_slow(rig.view, &set, LIMIT_ANY, 300000, &wait_us, &rig.fault),
                     ERR_RATE);
    rig_stop(&rig);
}

static void test_a_route_that_is_not_there_is_refused(void **state) {
    struct rig rig = {.router = router_create()};
    struct str route[] = {{"POST /v1/ordres", 15}};
    struct config_limit limit = {.policy = STR("x"), .routes = {route, 1}, RATED(1, 1, 1)};
    struct limiter_options options = {.config = &rig.config, .router = rig.router,
                                      .clock = &fake_clock};
    assert_int_equal(router_add(rig.router, routes, NULL, &rig.fault), OK);
    rig.config = (struct config){.limits = {&limit, 1}, .time_zone = STR("UTC"),
                                 .settings = {.limits_enabled = 1, .limit_callers_max = 64}};
    assert_int_equal(limiter_create(&options, &rig.limiter, &rig.fault), ERR_INVALID);
    assert_non_null(strstr(rig.fault.detail, "names a route"));
    router_destroy(rig.router);
}

static void test_a_policy_must_make_sense(void **state) {
    const char *member;
    struct str wrong[] = {{"chekout", 7}};
    struct config_limit both = {.quota = 1, RATED(1, 1, 1)};
    both.has |= UINT64_C(1) << LIMIT_QUOTA;
    struct config_limit none = {0}, class = {.classes = {wrong, 1}, RATED(1, 1, 1)},
                        endless = {RATED(1, 86400, 1000000)},
                        hurry = {.over = LIMIT_OVER_SLOW, COUNTED(1, LIMIT_PERIOD_DAY)};
    assert_non_null(limit_settle(&both, &member));
    assert_string_equal(member, "rate");
    assert_non_null(limit_settle(&none, &member));
    assert_non_null(limit_settle(&class, &member));
    assert_string_equal(member, "classes");
    assert_non_null(limit_settle(&endless, &member));
    assert_string_equal(member, "burst");
    assert_non_null(limit_settle(&hurry, &member));
    assert_string_equal(member, "over");
}

/* What one call pays: found and taken, headers written. Printed, with a bound far above it. */
static void test_it_costs_less_than_a_microsecond(void **state) {
    struct rig rig;
    int64_t wait_us;
    struct config_limit limits[] = {{.policy = STR("default"), RATED(1000000, 1, 1000000)}};
    struct timespec from, to;
    struct buf out;
    rig_start(&rig, limits, 1);
    buf_init(&out, 0);
    int rounds = 200000;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
    for (int i = 0; i < rounds; i++) {
        struct limit_set set = find(&rig, i % 2 ? "pk_aaaaaaaaaaaa" : "pk_bbbbbbbbbbbb", "a", 0,
                                    CLASS_CHECKOUT);
        fake_tick_us++;
        assert_int_equal(ask(&rig, &set, LIMIT_ANY, &wait_us), OK);
        buf_clear(&out);
        limit_policy_write(rig.view, &set, &out);
        limit_left_write(rig.view, &set, &out);
    }
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
    double ns = ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) /
                rounds;
    print_message("find, take and write: %.0f ns a call\n", ns);
    assert_true(ns < 20000); /* builds with sanitizers, too */
    buf_free(&out);
    rig_stop(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_bucket_admits_its_burst_then_its_rate),
        cmocka_unit_test(test_looking_takes_nothing_and_borrowing_says_when),
        cmocka_unit_test(test_many_threads_share_a_bucket_exactly),
        cmocka_unit_test(test_at_one_moment_the_burst_is_shared_out_to_the_last),
        cmocka_unit_test(test_only_full_buckets_are_forgotten),
        cmocka_unit_test(test_a_count_begins_anew_with_its_period),
        cmocka_unit_test(test_counts_survive_a_restart),
        cmocka_unit_test(test_a_damaged_file_is_set_aside),
        cmocka_unit_test(test_the_most_particular_of_one_name_counts),
        cmocka_unit_test(test_what_is_left_is_told_and_refusals_say_which),
        cmocka_unit_test(test_lines_and_calls_are_counted_apart),
        cmocka_unit_test(test_what_slows_says_when_its_turn_is),
        cmocka_unit_test(test_a_route_that_is_not_there_is_refused),
        cmocka_unit_test(test_a_policy_must_make_sense),
        cmocka_unit_test(test_it_costs_less_than_a_microsecond),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
