/* Routes: which row a method and path mean, and how arguments and parameters are decoded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "gateway/route.h"

static const struct route table[] = {
    {.method = "GET", .path = "/v1/orders", .scope = "orders:read"},
    {.method = "POST", .path = "/v1/orders", .scope = "orders:write"},
    {.method = "GET", .path = "/v1/orders/{order_id}", .scope = "orders:read"},
    {.method = "POST", .path = "/v1/orders/{order_id}/cancel", .scope = "orders:write"},
    {.method = "GET", .path = "/v1/orders/late/all", .scope = "orders:read"},
    {.method = "PATCH", .path = "/v1/price-lists/{id}/versions/{n}", .scope = "prices:write"},
    {.method = "GET", .path = "/livez"},
    {0},
};
static struct router *router;
static struct arena arena;

static int start(void **state) {
    struct fault fault = {0};

    arena_init(&arena, 0);
    router = router_create();
    return router && router_add(router, table, &arena, &fault) == OK ? 0 : -1;
}
static int stop(void **state) {
    router_destroy(router);
    arena_free(&arena);
    return 0;
}

static void matches(void **state) {
    static const struct {
        enum http_method method;
        const char *path, *route; /* route: index in the table as a digit */
        enum err err;
        const char *args[2];
    } rows[] = {
        {HTTP_METHOD_GET, "/v1/orders", "0", OK, {0}},
        {HTTP_METHOD_HEAD, "/v1/orders", "0", OK, {0}},
        {HTTP_METHOD_POST, "/v1/orders", "1", OK, {0}},
        {HTTP_METHOD_GET, "/v1/orders/ord_1", "2", OK, {"ord_1"}},
        {HTTP_METHOD_GET, "/v1/orders/a%2Fb%20c", "2", OK, {"a/b c"}},
        {HTTP_METHOD_GET, "/v1/orders/%c3%a4", "2", OK, {"\xc3\xa4"}},
        {HTTP_METHOD_GET, "/v1/orders/a+b", "2", OK, {"a+b"}},
        {HTTP_METHOD_GET, "/v1/%6frders", "0", OK, {0}},
        {HTTP_METHOD_POST, "/v1/orders/late/cancel", "3", OK, {"late"}},
        {HTTP_METHOD_GET, "/v1/orders/late/all", "4", OK, {0}},
        {HTTP_METHOD_GET, "/v1/orders/late", "2", OK, {"late"}},
        {HTTP_METHOD_PATCH, "/v1/price-lists/base-de/versions/3", "5", OK, {"base-de", "3"}},
        {HTTP_METHOD_GET, "/livez", "6", OK, {0}},
        {HTTP_METHOD_GET, "/", NULL, ERR_NOT_FOUND, {0}},
        {HTTP_METHOD_GET, "", NULL, ERR_NOT_FOUND, {0}},
        {HTTP_METHOD_GET, "/v1", NULL, ERR_NOT_FOUND, {0}},
        {HTTP_METHOD_GET, "/v1/orders/", NULL, ERR_NOT_FOUND, {0}},
        {HTTP_METHOD_GET, "//v1/orders", NULL, ERR_NOT_FOUND, {0}},
        {HTTP_METHOD_GET, "/v1/orders//cancel", NULL, ERR_NOT_FOUND, {0}},
        {HTTP_METHOD_GET, "/V1/orders", NULL, ERR_NOT_FOUND, {0}},
        {HTTP_METHOD_GET, "/v1/orders/../orders", NULL, ERR_NOT_FOUND, {0}},
        {HTTP_METHOD_GET, "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r", NULL, ERR_NOT_FOUND, {0}},
        {HTTP_METHOD_DELETE, "/v1/orders", NULL, ERR_METHOD, {0}},
        {HTTP_METHOD_OTHER, "/v1/orders", NULL, ERR_METHOD, {0}},
        {HTTP_METHOD_HEAD, "/v1/orders/x/cancel", NULL, ERR_METHOD, {0}},
        {HTTP_METHOD_GET, "/v1/orders/%", NULL, ERR_BAD_REQUEST, {0}},
        {HTTP_METHOD_GET, "/v1/orders/%4", NULL, ERR_BAD_REQUEST, {0}},
        {HTTP_METHOD_GET, "/v1/orders/%zz", NULL, ERR_BAD_REQUEST, {0}},
        {HTTP_METHOD_GET, "/v1/orders/%00", NULL, ERR_BAD_REQUEST, {0}},
        {HTTP_METHOD_GET, "/v1/orders/a%0d%0ab", NULL, ERR_BAD_REQUEST, {0}},
        {HTTP_METHOD_GET, "/v1/orders/%ff", NULL, ERR_BAD_REQUEST, {0}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct route_match match;
        struct fault fault = {0};
        enum err err = router_match(router, rows[i].method, str_c(rows[i].path), &arena, &match,
                                    &fault);

        if (err != rows[i].err)
            fail_msg("row %zu (%s): %d %s", i, rows[i].path, err, fault.detail);
        if (err != OK)
            continue;
        assert_ptr_equal(match.entry->route, &table[rows[i].route[0] - '0']);
        assert_ptr_equal(match.entry->ctx, &arena);
        for (uint32_t a = 0; a < 2; a++)
            if (rows[i].args[a])
                assert_true(str_is(match.args[a], rows[i].args[a]));
            else
                assert_true(match.arg_count <= a);
    }
}

static void tells_what_is_allowed(void **state) {
    struct route_match match;
    struct fault fault = {0};

    assert_int_equal(router_match(router, HTTP_METHOD_DELETE, STR("/v1/orders"), &arena, &match,
                                  &fault), ERR_METHOD);
    assert_string_equal(match.allow, "GET, HEAD, POST, OPTIONS");
    assert_int_equal(router_scope_count(router), 3);
    assert_string_equal(router_scope(router, 2), "prices:write");
    assert_int_equal(router_entry(router, 6)->scope, ROUTE_OPEN);
    assert_true(str_is(router_entry(router, 3)->idem, "POST /v1/orders/{order_id}/cancel"));
}

static void refuses_bad_tables(void **state) {
    static const struct route twice[] = {{.method = "GET", .path = "/v1/orders/{other}"}, {0}};
    static const struct route brace[] = {{.method = "GET", .path = "/v1/{x"}, {0}};
    static const struct route verb[] = {{.method = "BREW", .path = "/v2"}, {0}};
    static const struct route five[] = {{.method = "GET", .path = "/{a}/{b}/{c}/{d}/{e}"}, {0}};
    struct fault fault = {0};

    assert_int_equal(router_add(router, twice, NULL, &fault), ERR_CONFLICT);
    assert_int_equal(router_add(router, brace, NULL, &fault), ERR_INVALID);
    assert_int_equal(router_add(router, verb, NULL, &fault), ERR_INVALID);
    assert_int_equal(router_add(router, five, NULL, &fault), ERR_INVALID);
}

static const struct query_param params[] = {
    {.name = "sku", .required = true, .repeated = true},
    {.name = "at"},
    {.name = "limit"},
    {0},
};

static void parses_parameters(void **state) {
    const struct query_value *values;
    struct fault fault;
    uint32_t count;

    fault_init(&fault, &arena);
    assert_int_equal(query_parse(STR("sku=A%2FB&sku=x+y&at=10:00%2B01:00&limit"), params, &arena,
                                 &values, &count, &fault), OK);
    assert_int_equal(count, 4);
    assert_true(str_is(values[0].value, "A/B"));
    assert_true(str_is(values[1].value, "x y"));
    assert_true(str_is(values[2].value, "10:00+01:00"));
    assert_true(str_is(values[3].name, "limit") && values[3].value.len == 0);
    assert_int_equal(query_parse(STR_NONE, NULL, &arena, &values, &count, &fault), OK);
    assert_int_equal(count, 0);
    assert_int_equal(query_parse(STR("any=thing"), NULL, &arena, &values, &count, &fault), OK);
    assert_int_equal(count, 1);
}

static void refuses_parameters(void **state) {
    static const struct {
        const char *query, *pointer, *detail;
    } rows[] = {
        {"sku=A&skuu=B", "?skuu", "sku, at, limit"},
        {"", "?sku", "required"},
        {"at=1", "?sku", "required"},
        {"sku=A&at=1&at=2", "?at", "twice"},
        {"sku=%", "?", "bad escape"},
        {"sku=%0a", "?", "control"},
        {"sku=%ff", "?", "UTF-8"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct query_value *values;
        struct fault fault;
        uint32_t count;

        fault_init(&fault, &arena);
        assert_int_equal(query_parse(str_c(rows[i].query), params, &arena, &values, &count,
                                     &fault), ERR_BAD_REQUEST);
        assert_true(fault.count >= 1);
        assert_true(str_is(fault.first->pointer, rows[i].pointer));
        assert_non_null(memmem(fault.first->detail.ptr, fault.first->detail.len, rows[i].detail,
                               strlen(rows[i].detail)));
    }
    static char many[5000];
    struct fault fault = {0};
    const struct query_value *values;
    uint32_t count;

    memset(many, '&', sizeof many);
    assert_int_equal(query_parse(str_of(many, sizeof many), params, &arena, &values, &count,
                                 &fault), ERR_BAD_REQUEST);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches),
        cmocka_unit_test(tells_what_is_allowed),
        cmocka_unit_test(refuses_bad_tables),
        cmocka_unit_test(parses_parameters),
        cmocka_unit_test(refuses_parameters),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
