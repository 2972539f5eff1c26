/* Unit tests of contracts: which contract covers what, and what answers say about an end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "domain/list.h"
#include "gateway/contract.h"
#include "gateway/gateway.h"

static const struct contract table[] = {
    {.name = "a", .owner = "x", .link = "docs/a.md", .deprecated = "2026-12-01", .sunset = "2027-03-31",
     .paths = (const char *const[]){"/v1/a", NULL}},
    {.name = "b", .owner = "x", .link = "docs/b.md", .sunset = "soon",
     .paths = (const char *const[]){"/v1/b", "/v1/a/inner", NULL},
     .events = (const char *const[]){"bee", NULL}},
    {.name = "c", .owner = "x", .link = "docs/c.md", .paths = (const char *const[]){"/v1/c", NULL}},
    {0},
};

static void the_longest_beginning_of_whole_segments_wins(void **state) {
    (void)state;
    assert_ptr_equal(contract_of_path(table, "/v1/a"), &table[0]);
    assert_ptr_equal(contract_of_path(table, "/v1/a/{id}"), &table[0]);
    assert_ptr_equal(contract_of_path(table, "/v1/a/inner/x"), &table[1]);
    assert_null(contract_of_path(table, "/v1/ab"));
    assert_null(contract_of_path(table, "/v1"));
    assert_null(contract_of_path(NULL, "/v1/a"));
    assert_ptr_equal(contract_of_event(table, "bee.stung"), &table[1]);
    assert_null(contract_of_event(table, "beetle.ran"));
}

static void answers_say_when_a_route_ends(void **state) {
    (void)state;
    const struct contract_notice *notice;
    struct route route = {.method = "GET", .path = "/v1/a"};
    struct fault fault = {0};
    struct arena arena;
    arena_init(&arena, 0);

    assert_int_equal(contract_notice_make(&route, &table[2], &arena, &notice, &fault), OK);
    assert_null(notice);
    assert_int_equal(contract_notice_make(&route, NULL, &arena, &notice, &fault), OK);
    assert_null(notice);

    assert_int_equal(contract_notice_make(&route, &table[0], &arena, &notice, &fault), OK);
    assert_true(str_is(notice->deprecation, "@1796083200"));
    assert_true(str_is(notice->sunset, "Wed, 31 Mar 2027 00:00:00 GMT"));
    assert_true(str_is(notice->link, "<https://penstock.org/docs/a.md>; rel=\"deprecation\", "
                                     "<https://penstock.org/docs/a.md>; rel=\"sunset\""));
    assert_int_equal(notice->sunset_us, INT64_C(1806451200000000));

    /* the row's own dates come first */
    route.deprecated = "2026-11-30";
    assert_int_equal(contract_notice_make(&route, &table[2], &arena, &notice, &fault), OK);
    assert_true(str_is(notice->deprecation, "@1795996800"));
    assert_null(notice->sunset.ptr);
    assert_int_equal(notice->sunset_us, INT64_MAX);

    assert_int_equal(contract_notice_make(&route, &table[1], &arena, &notice, &fault), ERR_INVALID);
    arena_free(&arena);
}

/* What the hub's own table says must hold together. */
static void the_hubs_table_is_whole(void **state) {
    (void)state;
    const char *before = "";
    for (const struct contract *c = contracts; c->name; c++) {
        assert_true(strcmp(before, c->name) < 0); /* sorted */
        before = c->name;
        assert_true(c->help && c->owner && c->version && c->since && c->level && c->link);
        assert_true(c->paths || c->events);
        assert_true((c->status == CONTRACT_DEPRECATED) == (c->deprecated != NULL));
    }
    for (const struct route *const *r = gateway_routes(domain_capabilities); *r; r++)
        for (const struct route *route = *r; route->method; route++)
            if (!contract_of_path(contracts, route->path))
                fail_msg("no contract covers %s: give contract.c a row or a path", route->path);
    for (const struct capability *const *c = domain_capabilities; *c; c++)
        for (const struct event_type *const *e = (*c)->events; e && *e; e++)
            if (!contract_of_event(contracts, (*e)->name))
                fail_msg("no contract covers the event %s", (*e)->name);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_beginning_of_whole_segments_wins),
        cmocka_unit_test(answers_say_when_a_route_ends),
        cmocka_unit_test(the_hubs_table_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
