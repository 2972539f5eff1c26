/* The look-up of a record in a Kafka topic, through the driver, against librdkafka's mock cluster: what is there is
 * found under its key or without one, what is not is not, no more is looked through than may be, and brokers that
 * do not answer make no answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "connect/driver_kafka.h"
#include "connect/kafka_look.h"

#define PARTITIONS 3

static struct arena arena;
static rd_kafka_t *owner;
static rd_kafka_mock_cluster_t *mock;
static uv_loop_t loop;
static struct net *net;

static int begin(void **state) {
    char why[200];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    struct fault fault = {0};
    rd_kafka_conf_set_log_cb(conf, NULL);
    owner = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    mock = rd_kafka_mock_cluster_new(owner, 1);
    rd_kafka_mock_topic_create(mock, "orders", PARTITIONS, 1);
    rd_kafka_mock_topic_create(mock, "wide", KAFKA_LOOK_PARTITIONS_MAX + 1, 1);
    uv_loop_init(&loop);
    return driver_kafka_create(&(struct driver_kafka_options){.loop = &loop, .clock = &clock_system}, &net, &fault);
}

static int end(void **state) {
    net_close(net);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    rd_kafka_mock_cluster_destroy(mock);
    rd_kafka_destroy(owner);
    arena_reset(&arena);
    return 0;
}

/* The mock knows no times: what a broker would say, where a test says it. */
static struct {
    int64_t first; /* offset of what came since what is asked for; -1: the mock's own answer, which is none */
    int64_t asked_ms;
    uint32_t asked;
} times = {.first = -1};
rd_kafka_resp_err_t __real_rd_kafka_offsets_for_times(rd_kafka_t *kafka, rd_kafka_topic_partition_list_t *list,
                                                      int timeout_ms);
rd_kafka_resp_err_t __wrap_rd_kafka_offsets_for_times(rd_kafka_t *kafka, rd_kafka_topic_partition_list_t *list,
                                                      int timeout_ms);
rd_kafka_resp_err_t __wrap_rd_kafka_offsets_for_times(rd_kafka_t *kafka, rd_kafka_topic_partition_list_t *list,
                                                      int timeout_ms) {
    if (list->elems[0].offset >= 0) {
        times.asked++;
        times.asked_ms = list->elems[0].offset;
    }
    if (list->elems[0].offset < 0 || times.first < 0)
        return __real_rd_kafka_offsets_for_times(kafka, list, timeout_ms);
    list->elems[0].offset = times.first;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* --- calls ----------------------------------------------------------------------------------------- */

struct call {
    const char *path; /* "orders?key=a" */
    const char *ce_id, *own_id;
    int64_t since_us; /* its ce_time; 0: now, -1: none */
    int64_t timeout_ms;
    bool over, sent;
    enum net_error error;
    int status;
    char body[512];
};

static void done(void *ctx, const struct net_answer *answer) {
    struct call *call = ctx;
    call->over = true;
    call->sent = answer->sent;
    call->error = answer->error;
    call->status = answer->error == NET_OK ? answer->status : 0;
    snprintf(call->body, sizeof call->body, "%.*s%s", (int)answer->body.len,
             answer->body.ptr ? answer->body.ptr : "", answer->detail);
}

static void call_start(struct call *call, const char *method) {
    struct buf time;
    struct fault fault = {0};
    buf_init(&time, 64);
    instant_write(&time, (struct instant){.us = call->since_us ? call->since_us : clock_now_us(&clock_system)});
    struct net_header headers[3] = {{STR("ce_id"), str_c(call->ce_id)},
                                    {STR("penstock_id"), str_c(call->own_id ? call->own_id : call->ce_id)},
                                    {STR("ce_time"), arena_str(&arena, buf_str(&time))}};
    struct net_request request = {
        .method = str_c(method), .headers = headers, .header_count = call->since_us < 0 ? 2 : 3,
        .url = arena_printf(&arena, "kafka://%s/%s", rd_kafka_mock_cluster_bootstraps(mock), call->path),
        .body = STR("{}"), .timeout_ms = call->timeout_ms ? call->timeout_ms : 20000};
    buf_free(&time);
    enum err err = net_send(net, &request, done, call, NULL, &fault);
    if (err != OK)
        fail_msg("%s", fault.detail);
}

static void wait_for(struct call *calls, size_t count) {
    for (size_t i = 0; i < count; i++)
        while (!calls[i].over)
            uv_run(&loop, UV_RUN_ONCE);
}

static struct call made(const char *method, const char *path, const char *id) {
    struct call call = {.path = path, .ce_id = id};
    call_start(&call, method);
    wait_for(&call, 1);
    return call;
}

static struct call put(const char *path, const char *id) {
    struct call call = made("POST", path, id);
    assert_int_equal(call.status, 200);
    return call;
}

static void put_many(const char *path, const char *prefix, uint32_t count) {
    struct call calls[200] = {0};
    char ids[200][24];
    for (uint32_t i = 0; i < count; i += 200) {
        uint32_t n = count - i < 200 ? count - i : 200;
        for (uint32_t k = 0; k < n; k++) {
            snprintf(ids[k], sizeof ids[k], "%s%u", prefix, i + k);
            calls[k] = (struct call){.path = path, .ce_id = ids[k]};
            call_start(&calls[k], "POST");
        }
        wait_for(calls, n);
    }
}

static void is_at(const struct call *found, const struct call *put) {
    if (found->status != 200 || strcmp(found->body, put->body) != 0)
        fail_msg("%d %s, not %s", found->status, found->body, put->body);
}

/* --- */

static void test_what_is_there_is_found_where_the_producer_put_it(void **state) {
    char path[64], id[24];
    for (int i = 0; i < 12; i++) { /* by the same partitioner, or it would look elsewhere */
        snprintf(path, sizeof path, "orders?key=key-%d", i);
        snprintf(id, sizeof id, "id-%d", i);
        struct call stored = put(path, id), found = made("GET", path, id);
        is_at(&found, &stored);
    }
    struct call empty = put("orders?key=", "no-text"), found = made("GET", "orders?key=", "no-text");
    is_at(&found, &empty);
}

static void test_what_is_not_there_is_not_found(void **state) {
    struct call none = made("GET", "orders?key=a", "x");
    assert_int_equal(none.status, 404);
    put("orders?key=a", "x1");
    none = made("GET", "orders?key=a", "x");
    assert_int_equal(none.status, 404);
    put("orders?key=a", "x"); /* what came after the last question counts as well */
    none = made("GET", "orders?key=a", "x");
    assert_int_equal(none.status, 200);
}

static void test_a_replay_is_another_record_than_the_event_it_repeats(void **state) {
    struct call first = put("orders?key=a", "e1");
    struct call again = {.path = "orders?key=a", .ce_id = "e1", .own_id = "e1-r7"};
    call_start(&again, "GET");
    wait_for(&again, 1);
    assert_int_equal(again.status, 404);
    again.over = false;
    call_start(&again, "POST");
    wait_for(&again, 1);
    struct call asked = {.path = "orders?key=a", .ce_id = "e1", .own_id = "e1-r7"};
    call_start(&asked, "GET");
    wait_for(&asked, 1);
    is_at(&asked, &again);
    asked = made("GET", "orders?key=a", "e1");
    is_at(&asked, &first);
}

static void test_without_a_key_all_partitions_are_looked_through(void **state) {
    char id[24];
    struct call stored[9];
    for (int i = 0; i < 9; i++) {
        snprintf(id, sizeof id, "id-%d", i);
        stored[i] = put("orders", id);
    }
    for (int i = 0; i < 9; i++) {
        snprintf(id, sizeof id, "id-%d", i);
        struct call found = made("GET", "orders", id);
        is_at(&found, &stored[i]);
    }
    assert_int_equal(made("GET", "orders", "id-9").status, 404);
    put("wide", "w"); /* but not of a topic that has so many */
    assert_int_equal(made("GET", "wide", "w").status, 404);
}

static void test_no_more_is_looked_through_than_may_be(void **state) {
    struct call old = put("orders?key=a", "old");
    put_many("orders?key=a", "n", 1500);
    struct call found = made("GET", "orders?key=a&look_records=1000", "n600");
    assert_int_equal(found.status, 200);
    struct call since = {.path = "orders?key=a&look_records=1000", .ce_id = "old", .since_us = -1};
    call_start(&since, "GET"); /* not said since when: it may be among those before */
    wait_for(&since, 1);
    assert_int_equal(since.status, 422);
    assert_non_null(strstr(since.body, "look_records"));
    since = (struct call){.path = "orders?key=a&look_records=2000", .ce_id = "old", .since_us = -1};
    call_start(&since, "GET");
    wait_for(&since, 1);
    is_at(&since, &old);
}

/* Read from the offset for its event's time on, and once for all whose events came later. */
static void test_what_came_before_the_event_is_not_read(void **state) {
    int64_t now_us = clock_now_us(&clock_system);
    put_many("orders?key=a", "n", 3000);
    times.first = 2500;
    times.asked = 0;
    struct call found = made("GET", "orders?key=a&look_records=1000", "n2700");
    assert_int_equal(found.status, 200);
    assert_true(times.asked_ms * 1000 <= now_us - KAFKA_SCAN_SLACK_US);
    assert_true(times.asked_ms * 1000 >= now_us - 2 * KAFKA_SCAN_SLACK_US);
    assert_int_equal(made("GET", "orders?key=a&look_records=1000", "n2400").status, 404);
    assert_int_equal(times.asked, 1);
    /* an older one: what is between is read as well, and not more than may be */
    struct call old = {.path = "orders?key=a&look_records=1000", .ce_id = "n2400", .since_us = now_us - 3600000000};
    times.first = 2300;
    call_start(&old, "GET");
    wait_for(&old, 1);
    assert_int_equal(old.status, 200);
    old = (struct call){.path = "orders?key=a&look_records=1000", .ce_id = "n1000", .since_us = now_us - 7200000000};
    times.first = 500;
    call_start(&old, "GET");
    wait_for(&old, 1);
    assert_int_equal(old.status, 422);
    times.first = -1;
}

static void test_of_two_that_wait_one_too_far_back_is_the_other_s_no_harm(void **state) {
    int64_t now_us = clock_now_us(&clock_system);
    put_many("orders?key=a", "n", 3000);
    struct call pair[2] = {{.path = "orders?key=a&look_records=1000", .ce_id = "x"},
                           {.path = "orders?key=a&look_records=1000", .ce_id = "y", .since_us = now_us - 9000000000}};
    times.first = 10;
    call_start(&pair[0], "GET");
    call_start(&pair[1], "GET");
    wait_for(pair, 2);
    assert_int_equal(pair[0].status, 422); /* whatever is asked here came since offset 10 */
    assert_int_equal(pair[1].status, 422);
    times.first = 2900;
    struct call found = made("GET", "orders?key=a&look_records=1000", "x");
    assert_int_equal(found.status, 404);
    times.first = -1;
}

static void test_many_are_answered_by_one_reading(void **state) {
    struct call calls[300] = {0};
    char ids[300][24];
    put_many("orders?key=a", "n", 5000);
    int64_t from_us = clock_tick_us(&clock_system);
    for (uint32_t i = 0; i < 300; i++) {
        snprintf(ids[i], sizeof ids[i], "n%u", i * 20);
        calls[i] = (struct call){.path = "orders?key=a", .ce_id = ids[i]};
        call_start(&calls[i], "GET");
    }
    wait_for(calls, 300);
    for (uint32_t i = 0; i < 300; i++)
        assert_int_equal(calls[i].status, i * 20 < 5000 ? 200 : 404);
    int64_t took_ms = (clock_tick_us(&clock_system) - from_us) / 1000;
    print_message("300 questions over 5000 records: %lld ms\n", (long long)took_ms);
    assert_true(took_ms < 5000); /* reading them for each would take 300 fetches of 5000 records */
}

static void test_a_cluster_that_is_away_gives_no_answer(void **state) {
    put("orders?key=a", "x");
    assert_int_equal(made("GET", "orders?key=a", "x").status, 200);
    rd_kafka_mock_broker_set_down(mock, 1);
    struct call calls[20] = {0};
    for (int i = 0; i < 20; i++) {
        calls[i] = (struct call){.path = "orders?key=a", .ce_id = "x", .timeout_ms = i ? 20000 : 500};
        call_start(&calls[i], "GET");
    }
    wait_for(calls, 20);
    assert_int_equal(calls[0].error, NET_TIMEOUT);
    for (int i = 0; i < 20; i++) {
        assert_true(calls[i].error == NET_TIMEOUT || calls[i].error == NET_REFUSED);
        assert_false(calls[i].sent);
    }
    rd_kafka_mock_broker_set_up(mock, 1);
    struct call found = {.path = "orders?key=a", .ce_id = "x"};
    while (found.status != 200) {
        found = (struct call){.path = "orders?key=a", .ce_id = "x"};
        call_start(&found, "GET");
        wait_for(&found, 1);
        assert_int_not_equal(found.status, 404);
    }
}

static void test_a_topic_that_is_not_there_says_so(void **state) {
    rd_kafka_mock_topic_set_error(mock, "gone", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    assert_int_equal(made("GET", "gone?key=a", "x").status, 503);
}

/* The driver closes with questions under way: each ends, cancelled, and nothing leaks. */
static void test_it_ends_at_any_moment(void **state) {
    static struct call calls[50];
    memset(calls, 0, sizeof calls);
    put_many("orders?key=a", "n", 200);
    for (int i = 0; i < 50; i++) {
        calls[i] = (struct call){.path = "orders?key=a", .ce_id = "n1"};
        call_start(&calls[i], "GET");
    }
    net_close(net);
    uv_run(&loop, UV_RUN_DEFAULT);
    for (int i = 0; i < 50; i++)
        assert_int_equal(calls[i].error, NET_CANCELLED);
    struct fault fault = {0};
    assert_int_equal(driver_kafka_create(&(struct driver_kafka_options){.loop = &loop, .clock = &clock_system}, &net,
                                         &fault), OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_there_is_found_where_the_producer_put_it, begin, end),
        cmocka_unit_test_setup_teardown(test_what_is_not_there_is_not_found, begin, end),
        cmocka_unit_test_setup_teardown(test_a_replay_is_another_record_than_the_event_it_repeats, begin, end),
        cmocka_unit_test_setup_teardown(test_without_a_key_all_partitions_are_looked_through, begin, end),
        cmocka_unit_test_setup_teardown(test_no_more_is_looked_through_than_may_be, begin, end),
        cmocka_unit_test_setup_teardown(test_what_came_before_the_event_is_not_read, begin, end),
        cmocka_unit_test_setup_teardown(test_of_two_that_wait_one_too_far_back_is_the_other_s_no_harm, begin, end),
        cmocka_unit_test_setup_teardown(test_many_are_answered_by_one_reading, begin, end),
        cmocka_unit_test_setup_teardown(test_a_cluster_that_is_away_gives_no_answer, begin, end),
        cmocka_unit_test_setup_teardown(test_a_topic_that_is_not_there_says_so, begin, end),
        cmocka_unit_test_setup_teardown(test_it_ends_at_any_moment, begin, end),
    };
    arena_init(&arena, 0);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_free(&arena);
    return failed;
}
