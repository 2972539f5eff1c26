/* Spans: rings that drop rather than wait, contexts, sampling, and OTLP's JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/rng.h"
#include "base/span.h"
#include "connect/net.h"
#include "ops/otlp.h"

#define TRACE "0af7651916cd43dd8448eb211c80319c"
static const struct str sampled = {"00-" TRACE "-b7ad6b7169203331-01", TRACEPARENT_LEN};

static int start(void **state) {
    spans_start(&(struct spans_options){.ring_spans = 10, .sample_per_million = 250000});
    return 0;
}
static int stop(void **state) {
    spans_stop();
    return 0;
}

struct taken {
    struct span spans[64];
    uint32_t count;
};
static void keep(void *ctx, const struct span *span) {
    struct taken *taken = ctx;
    assert_true(taken->count < 64);
    taken->spans[taken->count++] = *span;
}

static void record(int64_t n) {
    struct span *span = span_begin(SPAN_INTERNAL, sampled, NULL, NULL, n, n + 1);
    span_name(span, "span %d", (int)n);
    span_number(span, "penstock.n", n);
    span_end(span, false);
}

static void test_a_full_ring_drops_and_counts(void **state) {
    static struct taken taken;
    for (int i = 0; i < 20; i++) /* 10 was rounded up to 16 */
        record(i);
    assert_int_equal(spans_dropped(), 4);
    assert_int_equal(spans_take(5, keep, &taken), 5);
    record(100);
    assert_int_equal(spans_take(64, keep, &taken), 12);
    assert_int_equal(taken.count, 17);
    for (uint32_t i = 0; i < 16; i++)
        assert_int_equal(taken.spans[i].start_us, i);
    assert_int_equal(taken.spans[16].start_us, 100);
    assert_int_equal(spans_take(64, keep, &taken), 0);
}

static void *thread_records(void *arg) {
    for (int i = 0; i < 5; i++)
        record(*(int *)arg + i);
    return NULL;
}

static void test_each_thread_has_its_ring(void **state) {
    static struct taken taken;
    int from[3] = {0, 100, 200};
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, thread_records, &from[i]), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(spans_take(64, keep, &taken), 15);
    assert_int_equal(spans_dropped(), 0);
    for (uint32_t i = 0; i < taken.count; i++)
        for (uint32_t k = 0; k < i; k++)
            assert_memory_not_equal(taken.spans[i].id, taken.spans[k].id, SPAN_ID_LEN);
}

static void test_what_is_not_sampled_is_not_recorded(void **state) {
    static const struct { const char *text; bool sampled; } cases[] = {
        {"00-" TRACE "-b7ad6b7169203331-01", true}, {"00-" TRACE "-b7ad6b7169203331-00", false},
        {"00-" TRACE "-b7ad6b7169203331-03", true}, {"00-" TRACE "-b7ad6b7169203331-02", false},
        {"00-" TRACE "-b7ad6b7169203331-0b", true}, {"00-" TRACE "-b7ad6b7169203331-0e", false},
        {"", false},                                {"00-" TRACE, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(span_sampled(str_c(cases[i].text)), cases[i].sampled);
        struct span *span = span_begin(SPAN_SERVER, str_c(cases[i].text), NULL, NULL, 1, 2);
        assert_int_equal(span != NULL, cases[i].sampled);
    }
    span_name(NULL, "nothing");
    span_text(NULL, "a", STR("b"));
    span_end(NULL, true);
}

static void test_sampling_is_by_the_trace_alone_and_about_the_ratio(void **state) {
    struct rng_seeded rng;
    int taken = 0;
    rng_seeded_init(&rng, 5);
    for (int i = 0; i < 10000; i++) {
        char id[2 * TRACE_ID_LEN];
        snprintf(id, sizeof id, "%016llx%016llx", (unsigned long long)rng_u64(&rng.rng),
                 (unsigned long long)rng_u64(&rng.rng));
        bool sample = spans_sample(id);
        assert_int_equal(spans_sample(id), sample);
        taken += sample;
    }
    assert_in_range(taken, 2300, 2700);
    spans_stop();
    spans_start(&(struct spans_options){.ring_spans = 2, .sample_per_million = 1000000});
    assert_true(spans_sample("ffffffffffffffffff00000000000000"));
    spans_stop();
    assert_false(spans_sample("ffffffffffffffffff00000000000000")); /* off */
    spans_start(&(struct spans_options){.ring_spans = 2, .sample_per_million = 0});
    assert_false(spans_sample("ffffffffffffffffff00000000000000"));
}

static void test_a_child_keeps_trace_and_flags(void **state) {
    char text[TRACEPARENT_LEN];
    struct str child = span_child(text, sampled, "00f067aa0ba902b7");
    assert_true(str_is(child, "00-" TRACE "-00f067aa0ba902b7-01"));
    assert_memory_equal(traceparent_span(child), "00f067aa0ba902b7", SPAN_ID_LEN);
}

static void test_otlp_json(void **state) {
    static struct taken taken;
    struct otlp_resource resource = {.service_name = STR("a \"b\""), .service_version = STR("1"),
                                     .instance = STR("i"), .cell = STR("main")};
    char longest[SPAN_ATTRIBUTES_MAX];
    memset(longest, 'x', sizeof longest);
    struct span *span = span_begin(SPAN_CLIENT, sampled, "00f067aa0ba902b7", "b7ad6b7169203331",
                                   1700000000123456, 1700000000123455);
    span_name(span, "GET \"\n%s", "x");
    span_text(span, "url.path", STR("/a\"\\b\x01"));
    span_text(span, "penstock.long", str_of(longest, sizeof longest));
    span_text(span, "penstock.none", STR_NONE);
    span_number(span, "http.response.status_code", -7);
    span_flag(span, "penstock.found", true);
    span_end(span, true);
    spans_take(1, keep, &taken);
    struct buf out;
    buf_init(&out, 0);
    otlp_begin(&out, &resource);
    otlp_span(&out, &taken.spans[0], true);
    otlp_span(&out, &taken.spans[0], false);
    otlp_end(&out);
    assert_non_null(strstr(buf_cstr(&out),
        "{\"traceId\":\"" TRACE "\",\"spanId\":\"00f067aa0ba902b7\",\"parentSpanId\":"
        "\"b7ad6b7169203331\",\"flags\":1,\"name\":\"GET \\\"\\nx\",\"kind\":3,"
        "\"startTimeUnixNano\":\"1700000000123456000\",\"endTimeUnixNano\":\"1700000000123456000\","
        "\"attributes\":[{\"key\":\"url.path\",\"value\":{\"stringValue\":\"/a\\\"\\\\b\\u0001\"}},"
        "{\"key\":\"http.response.status_code\",\"value\":{\"intValue\":\"-7\"}},"
        "{\"key\":\"penstock.found\",\"value\":{\"boolValue\":true}}],"
        "\"droppedAttributesCount\":1,\"status\":{\"code\":2}},{\"traceId\""));
    assert_non_null(strstr(buf_cstr(&out), "{\"stringValue\":\"a \\\"b\\\"\"}"));
    buf_free(&out);
}

static void test_no_card_number_is_told(void **state) {
    static struct taken taken;
    taken.count = 0;
    struct span *span = span_begin(SPAN_SERVER, sampled, NULL, NULL, 1, 2);
    span_text(span, "url.path", STR("/v1/orders/4111111111111111"));
    span_end(span, false);
    spans_take(64, keep, &taken);
    assert_int_equal(taken.count, 1);
    struct str told = str_of(taken.spans[0].attributes, taken.spans[0].attributes_len);
    assert_non_null(memmem(told.ptr, told.len, "/v1/orders/411111******1111", 27));
    assert_null(memmem(told.ptr, told.len, "4111111111111111", 16));
}

static void test_headers(void **state) {
    struct arena arena;
    struct fault fault = {0};
    struct net_header *headers;
    uint32_t count;
    arena_init(&arena, 0);
    assert_int_equal(otlp_headers(STR(" a=b , x-key = c%20d%3D== ,"), &arena, &headers, &count, &fault), OK);
    assert_int_equal(count, 2);
    assert_true(str_is(headers[0].name, "a") && str_is(headers[0].value, "b"));
    assert_true(str_is(headers[1].name, "x-key") && str_is(headers[1].value, "c d==="));
    assert_int_equal(otlp_headers(STR_NONE, &arena, &headers, &count, &fault), OK);
    assert_int_equal(count, 0);
    static const char *const wrong[] = {"a", "=b", "a b=c", "a=%0d%0ax: y", "a=%", "a=%2", "a=%zz", "a:=b"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(otlp_headers(str_c(wrong[i]), &arena, &headers, &count, &fault), ERR_INVALID);
    arena_free(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_full_ring_drops_and_counts, start, stop),
        cmocka_unit_test_setup_teardown(test_each_thread_has_its_ring, start, stop),
        cmocka_unit_test_setup_teardown(test_what_is_not_sampled_is_not_recorded, start, stop),
        cmocka_unit_test_setup_teardown(test_sampling_is_by_the_trace_alone_and_about_the_ratio, start, stop),
        cmocka_unit_test_setup_teardown(test_a_child_keeps_trace_and_flags, start, stop),
        cmocka_unit_test_setup_teardown(test_otlp_json, start, stop),
        cmocka_unit_test(test_headers),
        cmocka_unit_test_setup_teardown(test_no_card_number_is_told, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
