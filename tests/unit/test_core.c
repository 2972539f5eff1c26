/* Unit tests of the core with the real capabilities: what commands do to the state, what a
 * failing journal does, and that the state rebuilt from the journal equals the live one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../support/cell.h"
#include "base/mem.h"
#include "domain/list.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static struct cell cell;

static int cell_setup(void **state) {
    (void)state;
    cell_open(&cell, 1);
    return 0;
}
static int cell_teardown(void **state) {
    (void)state;
    cell_close(&cell);
    return 0;
}

static int count_stock(const char *sku, const char *location, const char *on_hand) {
    char json[256];
    snprintf(json, sizeof json, "{\"sku\":\"%s\",\"location\":\"%s\",\"on_hand\":\"%s\"}", sku,
             location, on_hand);
    return cell_run(&cell, "stock.count", json, NULL, NULL);
}

/* An order of one line; `extra` goes into the line. */
static const char *order_json(const char *channel, const char *number, const char *sku,
                              int quantity, const char *extra) {
    static char json[1024];
    snprintf(json, sizeof json,
             "{\"channel\":\"%s\",\"channel_order_id\":\"%s\",\"placed_at\":"
             "\"2026-11-23T09:15:00+01:00\",\"currency\":\"EUR\",\"lines\":[{\"line_id\":\"1\","
             "\"sku\":\"%s\",\"quantity\":\"%d\",\"unit_price\":100,\"total\":%d%s}],\"totals\":"
             "{\"grand\":%d}}",
             channel, number, sku, quantity, quantity * 100, extra ? extra : "", quantity * 100);
    return json;
}

/* The member of the last answer, as a C string. */
static const char *answered(const char *member) {
    static char text[128];
    const struct json *body;
    assert_int_equal(json_parse(cell.parser, &cell.arena, cell_body(&cell), false, &body, NULL),
                     OK);
    struct str value = json_member_str(body, str_c(member));
    snprintf(text, sizeof text, "%.*s", STR_FMT(value));
    return text;
}

static void assert_replay_equal(void) {
    char *live = cell_dump(&cell);
    cell_restart(&cell);
    char *again = cell_dump(&cell);
    assert_string_equal(live, again);
    mem_free(live);
    mem_free(again);
}

static void an_order_commits_ships_and_cancels(void **state) {
    (void)state;
    char id[64];
    assert_int_equal(count_stock("A", "WH-HAM", "10"), 201);
    assert_int_equal(
        cell_run(&cell, "order.capture", order_json("web-de", "1", "A", 4, NULL), NULL, NULL), 201);
    snprintf(id, sizeof id, "%s", answered("order_id"));
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "10/0/4");
    assert_int_equal(cell_run(&cell, "order.ship",
                              "{\"lines\":[{\"line_id\":\"1\",\"quantity\":\"1\"}]}", id, NULL),
                     201);
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "9/0/3");
    assert_int_equal(cell_run(&cell, "order.cancel",
                              "{\"lines\":[{\"line_id\":\"1\",\"quantity\":\"4\"}]}", id, NULL),
                     409);
    assert_int_equal(cell_run(&cell, "order.cancel",
                              "{\"lines\":[{\"line_id\":\"1\",\"quantity\":\"1\"}]}", id, NULL),
                     200);
    assert_string_equal(answered("state"), "partially_shipped");
    assert_int_equal(cell_run(&cell, "order.ship", "{}", id, NULL), 201);
    assert_string_equal(answered("state"), "shipped");
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "7/0/0");
    assert_int_equal(cell_run(&cell, "order.cancel", "{}", id, NULL), 409);
    assert_replay_equal();
}

static void shipped_and_posted_makes_complete_in_either_order(void **state) {
    (void)state;
    assert_int_equal(count_stock("A", "WH-HAM", "10"), 201);
    for (int shipped_first = 0; shipped_first < 2; shipped_first++) {
        char id[64], posting[256], number[2] = {(char)('1' + shipped_first), 0};
        assert_int_equal(cell_run(&cell, "order.capture",
                                  order_json("web-de", number, "A", 1, NULL), NULL, NULL),
                         201);
        snprintf(id, sizeof id, "%s", answered("order_id"));
        snprintf(posting, sizeof posting,
                 "{\"subscription\":\"erp\",\"connector\":\"erp\",\"event_seq\":%d,"
                 "\"order_id\":\"%s\",\"reference\":\"SO-%s\"}",
                 2 + shipped_first * 6, id, number);
        for (int i = 0; i < 2; i++) {
            if (i == shipped_first)
                assert_int_equal(cell_run(&cell, "posting.record", posting, NULL, NULL) / 100, 2);
            else
                assert_int_equal(cell_run(&cell, "order.ship", "{}", id, NULL), 201);
        }
        char *dump = cell_dump(&cell);
        char wanted[128];
        snprintf(wanted, sizeof wanted, "%s state=completed posted=1 version=3", id);
        assert_non_null(strstr(dump, wanted));
        mem_free(dump);
    }
    assert_replay_equal();
}

static void a_shortage_refuses_holds_or_back_orders_by_policy(void **state) {
    (void)state;
    assert_int_equal(count_stock("A", "WH-HAM", "3"), 201);
    assert_int_equal(
        cell_run(&cell, "order.capture", order_json("web-de", "1", "A", 4, NULL), NULL, NULL), 409);
    assert_int_equal(cell.command.answer.err, ERR_OUT_OF_STOCK);
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "3/0/0");
    assert_int_equal(cell_run_fact(&cell, "order.capture", order_json("web-de", "2", "A", 4, NULL)),
                     201);
    assert_string_equal(answered("state"), "held");
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "3/0/0");
    assert_int_equal(
        cell_run(&cell, "order.capture", order_json("hold", "3", "A", 4, NULL), NULL, NULL), 201);
    assert_string_equal(answered("state"), "held");
    assert_int_equal(
        cell_run(&cell, "order.capture", order_json("back", "4", "A", 4, NULL), NULL, NULL), 201);
    assert_string_equal(answered("state"), "accepted");
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "3/0/3");
    assert_replay_equal();
}

static void stock_is_split_over_sources_only_where_none_has_all(void **state) {
    (void)state;
    assert_int_equal(count_stock("A", "WH-HAM", "3"), 201);
    assert_int_equal(count_stock("A", "WH-BER", "5"), 201);
    assert_int_equal(
        cell_run(&cell, "order.capture", order_json("web-de", "1", "A", 4, NULL), NULL, NULL), 201);
    assert_string_equal(cell_stock(&cell, "A", "WH-BER"), "5/0/4");
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "3/0/0");
    assert_int_equal(
        cell_run(&cell, "order.capture", order_json("web-de", "2", "A", 4, NULL), NULL, NULL), 201);
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "3/0/3");
    assert_string_equal(cell_stock(&cell, "A", "WH-BER"), "5/0/5");
    assert_replay_equal();
}

static void keys_replay_the_first_answer_and_refuse_another_body(void **state) {
    (void)state;
    char id[64];
    assert_int_equal(count_stock("A", "WH-HAM", "10"), 201);
    assert_int_equal(
        cell_run(&cell, "order.capture", order_json("web-de", "1", "A", 1, NULL), NULL, "k1"), 201);
    snprintf(id, sizeof id, "%s", answered("order_id"));
    assert_int_equal(
        cell_run(&cell, "order.capture", order_json("web-de", "1", "A", 1, NULL), NULL, "k1"), 200);
    assert_true(cell.command.answer.replayed);
    assert_string_equal(answered("order_id"), id);
    assert_int_equal(
        cell_run(&cell, "order.capture", order_json("web-de", "1", "A", 1, NULL), NULL, NULL), 200);
    assert_string_equal(answered("order_id"), id);
    assert_int_equal(
        cell_run(&cell, "order.capture", order_json("web-de", "2", "A", 1, NULL), NULL, "k1"), 422);
    assert_int_equal(
        cell_run(&cell, "order.capture", order_json("web-de", "1", "A", 2, NULL), NULL, NULL), 409);
    assert_int_equal(cell.command.answer.err, ERR_DUPLICATE);
    /* A refusal does not consume the key. */
    assert_int_equal(
        cell_run(&cell, "order.capture", order_json("web-de", "3", "A", 90, NULL), NULL, "k2"), 409);
    assert_int_equal(
        cell_run(&cell, "order.capture", order_json("web-de", "3", "A", 1, NULL), NULL, "k2"), 201);
    /* Idempotency keys end, natural keys do not. */
    cell.now_us += INT64_C(8) * 86400 * 1000000;
    assert_int_equal(
        cell_run(&cell, "order.capture", order_json("web-de", "4", "A", 1, NULL), NULL, "k1"), 201);
    assert_int_equal(
        cell_run(&cell, "order.capture", order_json("web-de", "3", "A", 1, NULL), NULL, "k2"), 200);
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "10/0/3");
    assert_replay_equal();
}

static void holds_are_consumed_ended_and_expire(void **state) {
    (void)state;
    char id[64], extra[128];
    const char *hold = "{\"location\":\"WH-HAM\",\"sku\":\"A\",\"quantity\":\"3\","
                       "\"expires_in_s\":60}";
    assert_int_equal(count_stock("A", "WH-HAM", "5"), 201);
    assert_int_equal(cell_run(&cell, "stock.hold", hold, NULL, NULL), 201);
    snprintf(id, sizeof id, "%s", answered("reservation_id"));
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "5/3/0");
    assert_int_equal(cell_run(&cell, "stock.hold", hold, NULL, NULL), 409);
    assert_int_equal(
        cell_run(&cell, "order.capture", order_json("web-de", "1", "A", 3, NULL), NULL, NULL), 409);
    snprintf(extra, sizeof extra, ",\"reservation_id\":\"%s\"", id);
    assert_int_equal(
        cell_run(&cell, "order.capture", order_json("web-de", "1", "A", 4, extra), NULL, NULL),
        201);
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "5/0/4");
    assert_int_equal(cell_run(&cell, "stock.release", NULL, id, NULL), 404);
    hold = "{\"channel\":\"web-de\",\"sku\":\"A\",\"quantity\":\"1\",\"expires_in_s\":60}";
    assert_int_equal(cell_run(&cell, "stock.hold", hold, NULL, NULL), 201);
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "5/1/4");
    cell_restart(&cell);
    cell.now_us += 61 * 1000000;
    core_step(cell.core);
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "5/0/4");
    assert_replay_equal();
}

static void counts_keep_what_came_after_them(void **state) {
    (void)state;
    assert_int_equal(count_stock("A", "WH-HAM", "10"), 201);
    cell.now_us += 3600 * INT64_C(1000000);
    assert_int_equal(cell_run(&cell, "stock.adjust",
                              "{\"sku\":\"A\",\"location\":\"WH-HAM\",\"delta\":\"-4\","
                              "\"reason\":\"broken\"}",
                              NULL, NULL),
                     201);
    cell.now_us += 3600 * INT64_C(1000000);
    /* Counted between the two: 2026-11-23T08:45Z; the 4 broke at 09:15Z. */
    assert_int_equal(cell_run(&cell, "stock.count",
                              "{\"sku\":\"A\",\"location\":\"WH-HAM\",\"on_hand\":\"9\","
                              "\"counted_at\":\"2026-11-23T08:45:00Z\"}",
                              NULL, NULL),
                     201);
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "5/0/0");
    /* Older than that: without effect. Same time: the later arrival wins. */
    assert_int_equal(cell_run(&cell, "stock.count",
                              "{\"sku\":\"A\",\"location\":\"WH-HAM\",\"on_hand\":\"99\","
                              "\"counted_at\":\"2026-11-23T08:44:00Z\"}",
                              NULL, NULL),
                     201);
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "5/0/0");
    assert_int_equal(cell_run(&cell, "stock.count",
                              "{\"sku\":\"A\",\"location\":\"WH-HAM\",\"on_hand\":\"12\","
                              "\"counted_at\":\"2026-11-23T09:45:00+01:00\"}",
                              NULL, NULL),
                     201);
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "8/0/0");
    assert_int_equal(cell_run(&cell, "stock.count",
                              "{\"sku\":\"A\",\"location\":\"WH-HAM\",\"on_hand\":\"1\","
                              "\"expected_on_hand\":\"7\"}",
                              NULL, NULL),
                     409);
    assert_replay_equal();
}

static void a_failing_journal_loses_nothing_acknowledged(void **state) {
    (void)state;
    assert_int_equal(count_stock("A", "WH-HAM", "10"), 201);
    cell.journal.fail_appends = 1;
    assert_int_equal(
        cell_run(&cell, "order.capture", order_json("web-de", "1", "A", 1, NULL), NULL, "k"), 503);
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "10/0/0");
    core_step(cell.core);
    assert_true(core_ready(cell.core));
    /* Unknown to the caller, but written: the retry gets the first answer. */
    cell.journal.fail_appends = 1;
    cell.journal.fail_after_write = true;
    assert_int_equal(
        cell_run(&cell, "order.capture", order_json("web-de", "1", "A", 1, NULL), NULL, "k"), 503);
    core_step(cell.core);
    assert_int_equal(
        cell_run(&cell, "order.capture", order_json("web-de", "1", "A", 1, NULL), NULL, "k"), 200);
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "10/0/1");
    assert_replay_equal();
}

/* --- reads beside a writer that waits for its disk ------------------------------------------------- */

static const struct journal_ops *usual_ops;
static pthread_barrier_t inside, released;
static enum err slow_append(struct journal *j, const struct record *records, uint32_t n,
                            struct fault *fault) {
    pthread_barrier_wait(&inside);
    pthread_barrier_wait(&released);
    return usual_ops->append(j, records, n, fault);
}
static void *slow_capture(void *arg) {
    *(int *)arg = cell_run(&cell, "order.capture", order_json("web-de", "1", "A", 4, NULL), NULL,
                           NULL);
    return NULL;
}

/* What a reader on another thread is answered, as JSON. */
static void available(struct buf *out) {
    struct arena arena;
    struct fault fault = {0};
    arena_init(&arena, 0);
    struct reader reader = {.core = cell.core};
    struct query_value values[] = {{STR("sku"), STR("A")}, {STR("location"), STR("WH-HAM")}};
    struct query query = {.arena = &arena, .reader = &reader, .values = values, .value_count = 2,
                          .out = out};
    const struct route *route = NULL;
    for (const struct capability *const *c = domain_capabilities; *c && !route; c++)
        for (const struct route *r = (*c)->routes; r && r->method && !route; r++)
            if (str_is(str_c(r->path), "/v1/availability"))
                route = r;
    assert_true(route && route->flags & ROUTE_INLINE);
    assert_int_equal(route->query(&query, &fault), OK);
    arena_free(&arena);
}

/* Answered at once, with what is durable: not with what waits to be. */
static void availability_does_not_wait_for_the_writer(void **state) {
    (void)state;
    static struct journal_ops slow_ops;
    struct buf before, meanwhile, after;
    int status = 0;
    buf_init(&before, 0);
    buf_init(&meanwhile, 0);
    buf_init(&after, 0);
    assert_int_equal(count_stock("A", "WH-HAM", "10"), 201);
    available(&before);
    usual_ops = cell.journal.journal.ops;
    slow_ops = *usual_ops;
    slow_ops.append = slow_append;
    cell.journal.journal.ops = &slow_ops;
    pthread_barrier_init(&inside, NULL, 2);
    pthread_barrier_init(&released, NULL, 2);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, slow_capture, &status), 0);
    pthread_barrier_wait(&inside); /* the order is applied, its events are being written */
    for (int i = 0; i < 1000; i++) {
        buf_clear(&meanwhile);
        available(&meanwhile);
        assert_string_equal(buf_cstr(&meanwhile), buf_cstr(&before));
    }
    pthread_barrier_wait(&released);
    pthread_join(thread, NULL);
    assert_int_equal(status, 201);
    available(&after);
    assert_non_null(strstr(buf_cstr(&after), "\"committed\":\"4\""));
    cell.journal.journal.ops = usual_ops;
    buf_free(&before);
    buf_free(&meanwhile);
    buf_free(&after);
}

/* --- a clock that is wrong ---------------------------------------------------------------------------- */

static void a_clock_that_jumps_loses_nothing(void **state) {
    (void)state;
    const int64_t year_us = INT64_C(365) * 86400 * 1000000;
    const int64_t jumps[] = {-5 * year_us, 0, 3 * year_us, -2 * year_us, 0};
    int64_t begin_us = cell.now_us;
    char number[8];
    assert_int_equal(count_stock("A", "WH-HAM", "100"), 201);
    for (int i = 0; i < 5; i++) {
        cell.now_us = begin_us + jumps[i];
        snprintf(number, sizeof number, "%d", i);
        assert_int_equal(
            cell_run(&cell, "order.capture", order_json("web-de", number, "A", 1, NULL), NULL,
                     "same-key" + i), 201);
        assert_int_equal( /* the natural key and the Idempotency-Key hold, whatever the time */
            cell_run(&cell, "order.capture", order_json("web-de", number, "A", 1, NULL), NULL,
                     "same-key" + i), 200);
        core_step(cell.core);
        assert_replay_equal();
    }
    for (uint32_t i = 1; i < cell.journal.count; i++)
        assert_true(cell.journal.records[i].time_us >= cell.journal.records[i - 1].time_us);
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "100/0/5");
    cell.now_us = begin_us;
}

/* --- property: replay equals live ------------------------------------------------------------------ */

static char order_ids[64][64], hold_ids[64][64], approval_ids[64][64];
static uint32_t order_count, hold_count, approval_count;

static const char *pick(uint32_t n, const char *const *from) {
    return from[rng_below(&cell.rng.rng, n)];
}

/* A call that needs two persons: asked for, decided by the other or oneself, over. Most are left at
 * some point between. */
static int random_approval(void) {
    static const char *const states[] = {"approved", "approved", "rejected"};
    static const char *const ends[] = {"executed", "failed"};
    static const char *const persons[] = {"ann", "Bob", "a name that is longer than most are"};
    struct rng *rng = &cell.rng.rng;
    char json[1024], expires[64];
    const char *person = pick(3, persons);
    if (approval_count == 0 || rng_below(rng, 3) == 0) {
        struct buf at;
        buf_init(&at, 64);
        instant_write(&at, (struct instant){.us = cell.now_us + (int64_t)rng_below(rng, 900) * 1000000});
        snprintf(expires, sizeof expires, "%s", buf_cstr(&at));
        buf_free(&at);
        snprintf(json, sizeof json,
                 "{\"method\":\"DELETE\",\"path\":\"/v1/customers/{customer_id}\",\"args\":[\"C-1\"],"
                 "\"body\":\"x\",\"requested_by\":\"%s\",\"requester\":\"pk_%s\",\"expires_at\":\"%s\"}",
                 person, person, expires);
        int status = cell_run(&cell, "approval.request", json, NULL, NULL);
        if (status == 202)
            snprintf(approval_ids[approval_count++ % 64], 64, "%s", answered("approval_id"));
        return status;
    }
    bool close = rng_below(rng, 3) == 0;
    snprintf(json, sizeof json,
             "{\"approval_id\":\"%s\",\"state\":\"%s\",\"by\":\"%s\",\"actor\":\"pk_%s\"}",
             approval_ids[rng_below(rng, approval_count < 64 ? approval_count : 64)],
             close ? pick(2, ends) : pick(3, states), person, person);
    return cell_run(&cell, close ? "approval.close" : "approval.decide", json, NULL, NULL);
}

static int random_command(void) {
    static const char *const skus[] = {"A", "B", "C"};
    static const char *const places[] = {"WH-HAM", "WH-BER", "S01"};
    static const char *const shops[] = {"web-de", "hold", "back"};
    struct rng *rng = &cell.rng.rng;
    char json[1024], key[16], extra[128] = "";
    const char *sku = pick(3, skus), *place = pick(3, places);
    int n = (int)rng_below(rng, 9) + 1;
    int status = 0;
    snprintf(key, sizeof key, "k%d", (int)rng_below(rng, 40));
    switch (rng_below(rng, 10)) {
    case 8:
        return random_approval();
    case 9: /* changes no state, but is an event among the others */
        snprintf(json, sizeof json, "{\"kind\":\"denied\",\"action\":\"GET /v1/orders\",\"count\":%d}", n);
        return cell_run(&cell, "audit.note", json, NULL, NULL);
    case 0:
        snprintf(json, sizeof json,
                 "{\"sku\":\"%s\",\"location\":\"%s\",\"on_hand\":\"%d\",\"counted_at\":"
                 "\"2026-11-23T0%d:%d0:00Z\"}",
                 sku, place, n * 5, (int)rng_below(rng, 9), (int)rng_below(rng, 6));
        status = cell_run(&cell, "stock.count", json, NULL, NULL);
        break;
    case 1:
        snprintf(json, sizeof json,
                 "{\"sku\":\"%s\",\"location\":\"%s\",\"delta\":\"%d\",\"reason\":\"x\"}", sku,
                 place, n - 5 ? n - 5 : 1);
        status = cell_run(&cell, "stock.adjust", json, NULL, n % 3 ? NULL : key);
        break;
    case 2:
        snprintf(json, sizeof json,
                 "{\"location\":\"%s\",\"receipt_reference\":\"%s\",\"items\":[{\"sku\":\"A\","
                 "\"quantity\":\"%d\"},{\"sku\":\"B\",\"quantity\":\"1.5\"}]}",
                 place, key, n);
        status = cell_run(&cell, "stock.receive", json, NULL, NULL);
        break;
    case 3:
        snprintf(json, sizeof json,
                 "{\"channel\":\"web-de\",\"sku\":\"%s\",\"quantity\":\"%d\",\"expires_in_s\":%d}",
                 sku, n, n * 40);
        if ((status = cell_run(&cell, "stock.hold", json, NULL, NULL)) == 201)
            snprintf(hold_ids[hold_count++ % 64], 64, "%s", answered("reservation_id"));
        break;
    case 4:
        if (hold_count)
            status = cell_run(&cell, "stock.release", NULL, hold_ids[rng_below(rng, hold_count) % 64], NULL);
        break;
    case 5:
        if (order_count)
            status = cell_run(&cell, n % 2 ? "order.cancel" : "order.ship",
                     n % 3 ? "{\"lines\":[{\"line_id\":\"1\",\"quantity\":\"1\"}]}" : "{}",
                     order_ids[rng_below(rng, order_count) % 64], NULL);
        break;
    default:
        if (hold_count && n % 2)
            snprintf(extra, sizeof extra, ",\"reservation_id\":\"%s\"",
                     hold_ids[rng_below(rng, hold_count) % 64]);
        snprintf(json, sizeof json, "%s", order_json(pick(3, shops), key, sku, n, extra));
        status = n % 4 ? cell_run(&cell, "order.capture", json, NULL, n % 3 ? NULL : key)
                       : cell_run_fact(&cell, "order.capture", json);
        if (status == 201)
            snprintf(order_ids[order_count++ % 64], 64, "%s", answered("order_id"));
    }
    return status;
}

static void the_state_rebuilt_equals_the_live_state(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        cell_close(&cell);
        cell_open(&cell, seed);
        order_count = hold_count = approval_count = 0;
        for (int step = 0; step < 250; step++) {
            if (rng_below(&cell.rng.rng, 60) == 0) {
                cell.journal.fail_appends = 1;
                cell.journal.fail_after_write = step % 2;
            }
            random_command();
            cell.now_us += (int64_t)rng_below(&cell.rng.rng, 30) * 1000000;
        }
        cell.journal.fail_appends = 0;
        core_step(cell.core);
        core_step(cell.core);
        assert_true(core_ready(cell.core));
        assert_true(cell.journal.count > 60);
        assert_replay_equal();
    }
}

/* --- property: memory or shelf, all the same ---------------------------------------------------------- */

#define STEPS 600
/* Answers the status of each step, and the state at the end. */
static char *random_story(uint64_t seed, bool shelved, int *answers) {
    cell_close(&cell);
    if (shelved)
        cell_open_shelved(&cell, seed);
    else
        cell_open(&cell, seed);
    order_count = hold_count = approval_count = 0;
    for (int step = 0; step < STEPS; step++) {
        if (rng_below(&cell.rng.rng, 60) == 0) {
            cell.journal.fail_appends = 1;
            cell.journal.fail_after_write = step % 2;
        }
        if (shelved && rng_below(&cell.shelf_rng.rng, 40) == 0)
            cell.shelf.fail_writes = 2;
        if (shelved && rng_below(&cell.shelf_rng.rng, 80) == 0)
            cell_crash(&cell);
        if (shelved && rng_below(&cell.shelf_rng.rng, 150) == 0)
            cell_restart(&cell);
        if (cell.journal.fail_appends == 0)
            core_step(cell.core); /* what a crash did not answer is mended before the next */
        answers[step] = random_command();
        cell.now_us += (int64_t)rng_below(&cell.rng.rng, 30) * 1000000;
    }
    cell.journal.fail_appends = 0;
    core_step(cell.core);
    core_step(cell.core);
    assert_true(core_ready(cell.core));
    return cell_dump(&cell);
}

static void a_state_larger_than_memory_answers_the_same(void **state) {
    static int with[STEPS], without[STEPS];
    struct core_stats stats;
    uint64_t loads = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        char *memory = random_story(seed, false, without);
        char *shelf = random_story(seed, true, with);
        for (int step = 0; step < STEPS; step++)
            if (with[step] != without[step])
                fail_msg("seed %d step %d: %d, in memory %d", (int)seed, step, with[step],
                         without[step]);
        assert_string_equal(memory, shelf);
        core_stats(cell.core, &stats);
        loads += stats.loads;
        /* And both equal the journal replayed without a shelf. */
        cell.shelved = false;
        cell_restart(&cell);
        char *again = cell_dump(&cell);
        assert_string_equal(shelf, again);
        mem_free(memory);
        mem_free(shelf);
        mem_free(again);
    }
    assert_true(loads > 100); /* since each story's last restart */
}

static char *approval_asked(int64_t lasts_s) {
    struct buf json;
    buf_init(&json, 0);
    buf_lit(&json, "{\"method\":\"DELETE\",\"path\":\"/p\",\"requested_by\":\"ann\","
                   "\"requester\":\"pk_ann\",\"expires_at\":\"");
    instant_write(&json, (struct instant){.us = cell.now_us + lasts_s * 1000000});
    buf_lit(&json, "\"}");
    assert_int_equal(cell_run(&cell, "approval.request", buf_cstr(&json), NULL, NULL), 202);
    buf_free(&json);
    static char ids[4][64];
    static uint32_t n;
    snprintf(ids[n % 4], 64, "%s", answered("approval_id"));
    return ids[n++ % 4];
}
static int approval_step(const char *type, const char *id, const char *state, const char *person) {
    char json[512];
    snprintf(json, sizeof json,
             "{\"approval_id\":\"%s\",\"state\":\"%s\",\"by\":\"%s\",\"actor\":\"pk_%s\"}", id, state,
             person, person);
    return cell_run(&cell, type, json, NULL, NULL);
}

/* At every point the state is what the journal says, from the shelf and without it. */
static void an_approval_is_kept_until_it_is_over(void **state) {
    (void)state;
    for (int shelved = 0; shelved < 2; shelved++) {
        cell_close(&cell);
        (shelved ? cell_open_shelved : cell_open)(&cell, 3);
        const char *first = approval_asked(60), *second = approval_asked(60),
                   *third = approval_asked(60);
        assert_replay_equal();
        assert_int_equal(approval_step("approval.decide", first, "approved", "ann"), 403);
        assert_int_equal(approval_step("approval.decide", first, "approved", "ANN"), 403);
        assert_int_equal(approval_step("approval.decide", first, "approved", "bob"), 200);
        cell_crash(&cell);
        assert_int_equal(approval_step("approval.decide", second, "rejected", "ann"), 200);
        assert_replay_equal();
        cell.now_us += 3600 * INT64_C(1000000);
        /* what is approved does not run out, can not be taken back, and can be approved again */
        uint32_t events = cell.journal.count;
        assert_int_equal(approval_step("approval.decide", first, "rejected", "bob"), 409);
        assert_int_equal(approval_step("approval.decide", first, "approved", "cid"), 200);
        assert_int_equal(approval_step("approval.decide", first, "approved", "ann"), 403);
        assert_int_equal(approval_step("approval.decide", third, "approved", "bob"), 409);
        assert_int_equal(approval_step("approval.decide", second, "approved", "bob"), 409);
        assert_int_equal(cell.journal.count, events);
        approval_asked(60); /* with it goes the one that ran out */
        char *dump = cell_dump(&cell);
        assert_non_null(strstr(dump, "approved=1"));
        assert_int_equal(approval_step("approval.close", first, "executed", "cid"), 200);
        events = cell.journal.count;
        assert_int_equal(approval_step("approval.close", first, "executed", "cid"), 200);
        assert_int_equal(cell.journal.count, events);
        assert_replay_equal();
        mem_free(dump);
        dump = cell_dump(&cell);
        assert_null(strstr(dump, "approved=1"));
        assert_non_null(strstr(dump, "approved=0"));
        mem_free(dump);
    }
}

static void a_shelf_that_can_not_be_read_costs_no_truth(void **state) {
    (void)state;
    char id[64];
    cell_close(&cell);
    cell_open_shelved(&cell, 7);
    assert_int_equal(count_stock("A", "WH-HAM", "10"), 201);
    assert_int_equal(
        cell_run(&cell, "order.capture", order_json("web-de", "1", "A", 1, NULL), NULL, "k"), 201);
    snprintf(id, sizeof id, "%s", answered("order_id"));
    cell_restart(&cell); /* the order is on the shelf alone */
    cell.shelf.fail_reads = 2; /* the loader and the writer */
    assert_int_equal(cell_run(&cell, "order.cancel", "{}", id, NULL), 503);
    cell.shelf.fail_reads = 3; /* the loader with both keys, and the writer */
    assert_int_equal(
        cell_run(&cell, "order.capture", order_json("web-de", "1", "A", 1, NULL), NULL, "k"), 503);
    cell.shelf.damaged = true;
    assert_int_equal(cell_run(&cell, "order.cancel", "{}", id, NULL), 503);
    core_step(cell.core); /* made again from the journal */
    assert_false(cell.shelf.damaged);
    assert_true(core_ready(cell.core));
    assert_int_equal(
        cell_run(&cell, "order.capture", order_json("web-de", "1", "A", 1, NULL), NULL, "k"), 200);
    assert_int_equal(cell_run(&cell, "order.cancel", "{}", id, NULL), 200);
    assert_replay_equal();
}

static void a_reaction_that_can_not_read_is_not_lost(void **state) {
    (void)state;
    for (uint32_t fails = 1; fails <= 6; fails++) {
        char id[64], posting[256], wanted[128];
        cell_close(&cell);
        cell_open_shelved(&cell, fails);
        assert_int_equal(count_stock("A", "WH-HAM", "10"), 201);
        assert_int_equal(
            cell_run(&cell, "order.capture", order_json("web-de", "1", "A", 1, NULL), NULL, NULL),
            201);
        snprintf(id, sizeof id, "%s", answered("order_id"));
        assert_int_equal(cell_run(&cell, "order.ship", "{}", id, NULL), 201);
        cell_restart(&cell);
        snprintf(posting, sizeof posting,
                 "{\"subscription\":\"erp\",\"connector\":\"erp\",\"event_seq\":2,"
                 "\"order_id\":\"%s\",\"reference\":\"SO-1\"}",
                 id);
        cell.shelf.fail_reads = fails;
        int status = cell_run(&cell, "posting.record", posting, NULL, NULL);
        cell.shelf.fail_reads = 0;
        core_step(cell.core);
        assert_true(core_ready(cell.core));
        if (status != 201) {
            assert_int_equal(status, 503);
            assert_int_equal(cell_run(&cell, "posting.record", posting, NULL, NULL), 201);
        }
        char *dump = cell_dump(&cell);
        snprintf(wanted, sizeof wanted, "%s state=completed posted=1 version=3", id);
        assert_non_null(strstr(dump, wanted));
        mem_free(dump);
        assert_replay_equal();
    }
}

static void a_shelf_ahead_of_the_journal_is_emptied(void **state) {
    (void)state;
    cell_close(&cell);
    cell_open_shelved(&cell, 8);
    assert_int_equal(count_stock("A", "WH-HAM", "10"), 201);
    assert_int_equal(count_stock("A", "WH-HAM", "11"), 201);
    cell_restart(&cell);
    assert_int_equal((int)cell.shelf.seq, 2);
    cell.journal.count = 1; /* a copy of the journal from before */
    cell_restart(&cell);
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "10/0/0");
    assert_replay_equal();
}

static void a_shelf_of_another_journal_is_emptied(void **state) {
    (void)state;
    cell_close(&cell);
    cell_open_shelved(&cell, 9);
    assert_int_equal(count_stock("A", "WH-HAM", "10"), 201);
    assert_int_equal(count_stock("A", "WH-HAM", "11"), 201);
    cell_restart(&cell);
    assert_int_equal((int)cell.shelf.seq, 2);
    cell.journal.count = 1; /* it went back, and on differently, without this shelf */
    cell.shelved = false;
    cell_restart(&cell);
    assert_int_equal(count_stock("A", "WH-HAM", "30"), 201);
    assert_int_equal(count_stock("A", "WH-HAM", "31"), 201);
    cell.shelved = true;
    cell_restart(&cell);
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "31/0/0");
    assert_replay_equal();
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, cell_setup, cell_teardown)
    const struct CMUnitTest tests[] = {
        TEST(an_order_commits_ships_and_cancels),
        TEST(shipped_and_posted_makes_complete_in_either_order),
        TEST(a_shortage_refuses_holds_or_back_orders_by_policy),
        TEST(stock_is_split_over_sources_only_where_none_has_all),
        TEST(keys_replay_the_first_answer_and_refuse_another_body),
        TEST(holds_are_consumed_ended_and_expire),
        TEST(counts_keep_what_came_after_them),
        TEST(a_failing_journal_loses_nothing_acknowledged),
        TEST(availability_does_not_wait_for_the_writer),
        TEST(a_clock_that_jumps_loses_nothing),
        TEST(the_state_rebuilt_equals_the_live_state),
        TEST(a_state_larger_than_memory_answers_the_same),
        TEST(an_approval_is_kept_until_it_is_over),
        TEST(a_shelf_that_can_not_be_read_costs_no_truth),
        TEST(a_reaction_that_can_not_read_is_not_lost),
        TEST(a_shelf_ahead_of_the_journal_is_emptied),
        TEST(a_shelf_of_another_journal_is_emptied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
