/* What a request says about itself: correlation, W3C trace context, preconditions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "gateway/context.h"

#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static struct arena arena;
static struct rng_seeded rng;

static int start(void **state) {
    arena_init(&arena, 0);
    rng_seeded_init(&rng, 7);
    return 0;
}
static int stop(void **state) {
    arena_free(&arena);
    return 0;
}

static struct http_request request_of(struct http_header *headers, const char *name,
                                      const char *value) {
    headers[0] = (struct http_header){str_c(name), str_c(value)};
    return (struct http_request){.headers = headers, .header_count = 1};
}

static struct call_context read_one(const char *name, const char *value) {
    struct http_header headers[1];
    struct http_request request = request_of(headers, name, value);
    struct call_context context = {0};
    struct fault fault = {0};

    assert_int_equal(context_read(&request, &rng.rng, &arena, &context, &fault), OK);
    assert_int_equal(context.traceparent.len, 55);
    return context;
}

static void correlates(void **state) {
    char long_id[CORRELATION_MAX + 2] = {0};
    struct call_context c = read_one("penstock-correlation-id", "till-7");

    assert_true(str_is(c.correlation, "till-7"));
    c = read_one("X-CORRELATION-ID", "shop 9"); /* a space: passed over, one is made */
    assert_int_equal(c.correlation.len, 32);
    assert_memory_equal(c.correlation.ptr, c.traceparent.ptr + 3, 32);
    c = read_one("X-Correlation-ID", "shop-9");
    assert_true(str_is(c.correlation, "shop-9"));
    memset(long_id, 'x', CORRELATION_MAX);
    assert_true(str_is(read_one("Penstock-Correlation-Id", long_id).correlation, long_id));
    memset(long_id, 'x', CORRELATION_MAX + 1);
    assert_int_equal(read_one("Penstock-Correlation-Id", long_id).correlation.len, 32);
    assert_false(str_eq(read_one("Other", "x").correlation, read_one("Other", "x").correlation));
}

static void continues_traces(void **state) {
    static const char *const invalid[] = {
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
        "0g-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
    };
    char id[32], flags[2];

    for (size_t i = 0; i < sizeof invalid / sizeof invalid[0]; i++)
        if (traceparent_parse(str_c(invalid[i]), id, flags))
            fail_msg("taken: %s", invalid[i]);
    assert_true(traceparent_parse(STR(TRACE), id, flags));
    assert_memory_equal(id, "0af7651916cd43dd8448eb211c80319c", 32);
    assert_true(traceparent_parse(STR("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
                                  id, flags));
    assert_true(traceparent_parse(STR("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x"),
                                  id, flags));
    struct call_context c = read_one("traceparent", TRACE);
    assert_memory_equal(c.traceparent.ptr, TRACE, 36);
    assert_memory_not_equal(c.traceparent.ptr + 36, TRACE + 36, 16);
    assert_memory_equal(c.correlation.ptr, TRACE + 3, 32);
    assert_true(traceparent_parse(read_one("traceparent", "junk").traceparent, id, flags));
}

static enum err precondition(const char *name, const char *value, struct call_context *out) {
    struct http_header headers[1];
    struct http_request request = request_of(headers, name, value);
    struct fault fault = {0};

    *out = (struct call_context){.if_match = -1};
    return preconditions_read(&request, &arena, out, &fault);
}

static void reads_preconditions(void **state) {
    static const struct {
        const char *name, *value, *key;
        int64_t version;
        enum err err;
    } rows[] = {
        {"Idempotency-Key", "\"8e03978e-40d5\"", "8e03978e-40d5", -1, OK},
        {"idempotency-key", "8e03978e-40d5", "8e03978e-40d5", -1, OK},
        {"Idempotency-Key", "\"a \\\"b\\\" \\\\\"", "a \"b\" \\", -1, OK},
        {"Idempotency-Key", "", NULL, -1, ERR_BAD_REQUEST},
        {"Idempotency-Key", "\"\"", NULL, -1, ERR_BAD_REQUEST},
        {"Idempotency-Key", "a b", NULL, -1, ERR_BAD_REQUEST},
        {"Idempotency-Key", "\"open", NULL, -1, ERR_BAD_REQUEST},
        {"Idempotency-Key", "\"a\"b\"", NULL, -1, ERR_BAD_REQUEST},
        {"Idempotency-Key", "\"a\\b\"", NULL, -1, ERR_BAD_REQUEST},
        {"Idempotency-Key", "\xc3\xa4", NULL, -1, ERR_BAD_REQUEST},
        {"If-Match", "\"7\"", NULL, 7, OK},
        {"If-Match", "7", NULL, 7, OK},
        {"If-Match", "\"v7\"", NULL, 7, OK},
        {"If-Match", "*", NULL, -1, OK},
        {"If-Match", "\"x\"", NULL, -1, ERR_BAD_REQUEST},
        {"If-Match", "\"7\", \"8\"", NULL, -1, ERR_BAD_REQUEST},
        {"If-Match", "-1", NULL, -1, ERR_BAD_REQUEST},
        {"If-Match", "99999999999999999999", NULL, -1, ERR_BAD_REQUEST},
        {"Penstock-Wait-Seq", "12", NULL, -1, OK},
        {"Penstock-Wait-Seq", "soon", NULL, -1, ERR_BAD_REQUEST},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct call_context c;

        if (precondition(rows[i].name, rows[i].value, &c) != rows[i].err)
            fail_msg("row %zu: %s: %s", i, rows[i].name, rows[i].value);
        if (rows[i].err != OK)
            continue;
        assert_int_equal(c.if_match, rows[i].version);
        assert_true(rows[i].key ? str_is(c.idem_key, rows[i].key) : !c.idem_key.ptr);
        assert_int_equal(c.has_wait_seq, rows[i].name[0] == 'P');
    }
    struct http_header twice[2] = {{STR("Idempotency-Key"), STR("a")},
                                   {STR("idempotency-key"), STR("a")}};
    struct http_request request = {.headers = twice, .header_count = 2};
    struct call_context c = {0};
    struct fault fault = {0};
    assert_int_equal(preconditions_read(&request, &arena, &c, &fault), ERR_BAD_REQUEST);
    char long_key[IDEM_KEY_MAX + 2] = {0};
    memset(long_key, 'k', IDEM_KEY_MAX);
    assert_int_equal(precondition("Idempotency-Key", long_key, &c), OK);
    memset(long_key, 'k', IDEM_KEY_MAX + 1);
    assert_int_equal(precondition("Idempotency-Key", long_key, &c), ERR_BAD_REQUEST);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(correlates),
        cmocka_unit_test(continues_traces),
        cmocka_unit_test(reads_preconditions),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
