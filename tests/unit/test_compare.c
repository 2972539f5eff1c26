/* Unit tests of compatibility: each rule for documents with a change that breaks it and one that
 * does not, tables as snapshots and back, and what pardons a change of a route. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "domain/list.h"
#include "gateway/contract_snapshot.h"
#include "shape/compare.h"

struct bench {
    struct arena arena;
    struct json_parser *parser;
    struct fault fault;
};

static void bench_begin(struct bench *b) {
    arena_init(&b->arena, 0);
    b->parser = json_parser_create();
    b->fault = (struct fault){0};
}
static void bench_end(struct bench *b) {
    json_parser_destroy(b->parser);
    arena_free(&b->arena);
}

static const struct json *json_of(struct bench *b, const char *text) {
    const struct json *json;
    if (json_parse(b->parser, &b->arena, str_c(text), false, &json, &b->fault) != OK)
        fail_msg("%s: %s", b->fault.detail, text);
    return json;
}

/* A document "d" with these members; "part" is there to be referred to. */
static const struct shape *shape_of(struct bench *b, const char *members, const char *more) {
    struct str text = arena_printf(
        &b->arena, "{\"d\":{%s\"members\":{%s}},\"part\":{\"members\":{\"x\":{\"kind\":\"text\","
                   "\"max\":9}}},\"strict\":{\"members\":{\"x\":{\"kind\":\"text\",\"required\":true,"
                   "\"max\":9}}}}", more, members);
    struct shape_set set;
    if (shape_snapshot_read(json_of(b, text.ptr), &b->arena, &set, &b->fault) != OK)
        fail_msg("%s: %s", b->fault.detail, text.ptr);
    return shape_set_find(&set, STR("d"));
}

static void found_write(void *ctx, enum compare_rule rule, struct str pointer, struct str detail) {
    struct buf *out = ctx;
    assert_true(detail.len > 0);
    buf_printf(out, "%s%s %.*s", out->len ? "; " : "", compare_rule_info(rule)->slug,
               STR_FMT(pointer));
}

#define A "\"a\":{\"kind\":"
static const struct pair {
    const char *old, *now;
    const char *taken, *given; /* what is found; "" nothing */
} pairs[] = {
    {A "\"text\",\"max\":9}", A "\"text\",\"max\":9}", "", ""},
    {A "\"text\",\"max\":9}", "", "member-removed /a", "member-removed /a"},
    {A "\"text\",\"max\":9,\"read_only\":true}", "", "", "member-removed /a"},
    {"", A "\"text\",\"max\":9}", "", ""},
    {"", A "\"text\",\"max\":9,\"required\":true}", "member-required /a", ""},
    {"", A "\"text\",\"max\":9,\"required\":true,\"read_only\":true}", "", ""},
    {A "\"text\",\"max\":9}", A "\"text\",\"max\":9,\"required\":true}", "member-required /a", ""},
    {A "\"text\",\"max\":9,\"required\":true}", A "\"text\",\"max\":9}", "", "member-optional /a"},
    {A "\"text\",\"max\":9}", A "\"text\",\"max\":9,\"read_only\":true}", "read-only /a", ""},
    {A "\"text\",\"max\":9}", A "\"text\",\"max\":8}", "bound-narrowed /a", ""},
    {A "\"text\",\"max\":9}", A "\"text\",\"max\":10}", "", "bound-widened /a"},
    {A "\"text\",\"max\":9}", A "\"text\",\"min\":1,\"max\":9}", "bound-narrowed /a", ""},
    {A "\"integer\"}", A "\"integer\",\"min\":0,\"max\":9}",
     "bound-narrowed /a; bound-narrowed /a", ""},
    {A "\"decimal\",\"min\":0,\"max\":9}", A "\"decimal\",\"min\":-1,\"max\":9}", "",
     "bound-widened /a"},
    {A "\"list\",\"of\":\"part\",\"max\":5}", A "\"list\",\"of\":\"part\",\"max\":4}",
     "bound-narrowed /a", ""},
    {A "\"code\",\"max\":9}", A "\"id\",\"max\":9}", "", "kind-changed /a"},
    {A "\"text\",\"max\":9}", A "\"code\",\"max\":9}", "kind-changed /a", ""},
    {A "\"integer\"}", A "\"text\",\"max\":9}", "kind-changed /a", "kind-changed /a"},
    {A "\"money\"}", A "\"integer\"}", "", ""},
    {A "\"bool\"}", A "\"open\"}", "", "kind-changed /a"},
    {A "\"instant\",\"local\":true}", A "\"instant\"}", "kind-changed /a", ""},
    {A "\"instant\"}", A "\"instant\",\"local\":true}", "", "kind-changed /a"},
    {A "\"instant\"}", A "\"instant\",\"null\":true}", "", "null-added /a"},
    {A "\"enum\",\"values\":[\"p\",\"q\"]}", A "\"enum\",\"values\":[\"q\",\"p\"]}", "", ""},
    {A "\"enum\",\"values\":[\"p\",\"q\"]}", A "\"enum\",\"values\":[\"p\"]}", "value-removed /a", ""},
    {A "\"enum\",\"values\":[\"p\"]}", A "\"enum\",\"values\":[\"p\",\"q\"]}", "", "value-added /a"},
    {A "\"text\",\"max\":9}", A "\"text\",\"max\":9,\"privacy\":\"personal\"}", "",
     "privacy-raised /a"},
    {A "\"object\",\"of\":\"part\"}", A "\"object\",\"of\":\"strict\"}", "member-required /a/x", ""},
    {A "\"object\",\"of\":\"strict\"}", A "\"object\",\"of\":\"part\"}", "", "member-optional /a/x"},
    {A "\"list\",\"of\":\"part\",\"max\":5}", A "\"list\",\"of\":\"strict\",\"max\":5}",
     "member-required /a/0/x", ""},
    {A "\"list\",\"max\":5}", A "\"list\",\"of\":\"part\",\"max\":5}", "kind-changed /a",
     "kind-changed /a"},
    /* a shape inside itself ends */
    {A "\"object\",\"of\":\"d\"},\"b\":{\"kind\":\"bool\"}", A "\"object\",\"of\":\"d\"}",
     "member-removed /b", "member-removed /b"},
};

static void each_rule_finds_what_breaks_it_and_nothing_else(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct bench b;
        struct buf out;
        bench_begin(&b);
        buf_init(&out, 0);
        const struct shape *old = shape_of(&b, pairs[i].old, ""), *now = shape_of(&b, pairs[i].now, "");
        struct compare_sink sink = {found_write, &out, &b.arena};
        shape_compare(old, now, SHAPE_TAKEN, &sink);
        if (!str_is(buf_str(&out), pairs[i].taken))
            fail_msg("taken, %s -> %s: %s", pairs[i].old, pairs[i].now, buf_cstr(&out));
        buf_clear(&out);
        shape_compare(old, now, SHAPE_GIVEN, &sink);
        if (!str_is(buf_str(&out), pairs[i].given))
            fail_msg("given, %s -> %s: %s", pairs[i].old, pairs[i].now, buf_cstr(&out));
        buf_free(&out);
        bench_end(&b);
    }
}

static void a_document_that_is_closed_breaks_callers(void **state) {
    (void)state;
    struct bench b;
    struct buf out;
    bench_begin(&b);
    buf_init(&out, 0);
    struct compare_sink sink = {found_write, &out, &b.arena};
    const struct shape *open = shape_of(&b, "", "\"open\":true,"), *shut = shape_of(&b, "", "");
    shape_compare(open, shut, SHAPE_TAKEN, &sink);
    assert_true(str_is(buf_str(&out), "closed "));
    buf_clear(&out);
    shape_compare(shut, open, SHAPE_TAKEN, &sink);
    shape_compare(open, shut, SHAPE_GIVEN, &sink);
    assert_int_equal(out.len, 0);
    buf_free(&out);
    bench_end(&b);
}

static void snapshots_come_back_as_they_went(void **state) {
    (void)state;
    struct api_tables tables = {.capabilities = domain_capabilities, .contracts = contracts};
    struct bench b;
    struct buf first, again;
    struct snapshot snapshot;
    struct contract_changes changes;
    bench_begin(&b);
    buf_init(&first, 0);
    buf_init(&again, 0);
    contract_snapshot_write(&tables, "1.2.3", &first);
    if (contract_snapshot_read(buf_str(&first), &b.arena, &snapshot, &b.fault) != OK)
        fail_msg("%s", b.fault.detail);
    assert_true(str_is(snapshot.version, "1.2.3"));
    assert_true(snapshot.route_count > 10 && snapshot.event_count > 10 && snapshot.shapes.count > 10);
    assert_int_equal(contract_compare(&snapshot, &snapshot, STR("2026-11-23"), &b.arena, &changes,
                                      &b.fault), OK);
    assert_int_equal(changes.count, 0);
    /* a table that was read writes what it was read from */
    for (uint32_t i = 0; i < snapshot.shapes.count; i++) {
        buf_clear(&again);
        shape_snapshot_write(snapshot.shapes.items[i], &again);
        assert_non_null(strstr(buf_cstr(&first), buf_cstr(&again)));
    }
    buf_free(&again);
    buf_free(&first);
    bench_end(&b);
}

#define HEAD "{\"format\":1,\"penstock\":\"1\",\"shapes\":{},\"events\":{},"
static void changes_of(struct bench *b, const char *old_text, const char *now_text, const char *today,
                       struct contract_changes *out) {
    struct snapshot old, now;
    if (contract_snapshot_read(str_c(old_text), &b->arena, &old, &b->fault) != OK ||
        contract_snapshot_read(str_c(now_text), &b->arena, &now, &b->fault) != OK ||
        contract_compare(&old, &now, str_c(today), &b->arena, out, &b->fault) != OK)
        fail_msg("%s", b->fault.detail);
}

static void what_was_announced_may_end(void **state) {
    (void)state;
    const char *old = HEAD "\"contracts\":{\"c\":{\"owner\":\"o\",\"status\":\"deprecated\",\"sunset\":"
                           "\"2027-03-31\"},\"d\":{\"owner\":\"o\",\"status\":\"draft\"}},\"routes\":{"
                           "\"GET /c/{id}\":{\"status\":200,\"contract\":\"c\"},"
                           "\"GET /d\":{\"status\":200,\"contract\":\"d\"}}}";
    const char *gone = HEAD "\"contracts\":{},\"routes\":{}}";
    const char *renamed = HEAD "\"contracts\":{\"c\":{\"owner\":\"o\",\"status\":\"deprecated\","
                               "\"sunset\":\"2027-01-31\"},\"d\":{\"owner\":\"o\",\"status\":\"draft\"}},"
                               "\"routes\":{\"GET /c/{other}\":{\"status\":200,\"contract\":\"c\"},"
                               "\"GET /d\":{\"status\":201,\"contract\":\"d\"}}}";
    struct contract_changes changes;
    struct bench b;
    bench_begin(&b);
    changes_of(&b, old, gone, "2027-03-30", &changes);
    assert_int_equal(changes.count, 4); /* two contracts, two routes */
    assert_int_equal(changes.breaking, 2);
    changes_of(&b, old, gone, "2027-03-31", &changes);
    assert_int_equal(changes.breaking, 0);
    /* a parameter of the path has no name for a caller; a day may not come earlier */
    changes_of(&b, old, renamed, "2026-11-23", &changes);
    assert_int_equal(changes.breaking, 1);
    assert_int_equal(changes.first->rule, RULE_SUNSET);
    assert_int_equal(changes.last->rule, RULE_STATUS);
    assert_true(str_is(changes.last->pardon, "a draft promises nothing"));
    bench_end(&b);
}

static void what_is_no_snapshot_is_refused(void **state) {
    (void)state;
    static const char *const texts[] = {
        "", "[]", "{}", "{\"format\":2}", "{\"format\":1,\"shapes\":[]}",
        "{\"format\":1,\"shapes\":{\"a\":{\"members\":{\"b\":{\"kind\":\"lump\"}}}}}",
        "{\"format\":1,\"shapes\":{\"a\":{\"members\":{\"b\":{\"kind\":\"object\",\"of\":\"z\"}}}}}",
        "{\"format\":1,\"shapes\":{\"a\":{\"members\":{\"b\":{\"kind\":\"enum\"}}}}}",
        HEAD "\"contracts\":{},\"routes\":{\"GET /a\":3}}",
        HEAD "\"contracts\":{},\"routes\":{\"GET /a\":{\"answer\":\"nowhere\"}}}",
        HEAD "\"contracts\":{}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct snapshot snapshot;
        struct bench b;
        bench_begin(&b);
        if (contract_snapshot_read(str_c(texts[i]), &b.arena, &snapshot, &b.fault) == OK)
            fail_msg("taken: %s", texts[i]);
        assert_true(b.fault.detail[0] != '\0');
        bench_end(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule_finds_what_breaks_it_and_nothing_else),
        cmocka_unit_test(a_document_that_is_closed_breaks_callers),
        cmocka_unit_test(snapshots_come_back_as_they_went),
        cmocka_unit_test(what_was_announced_may_end),
        cmocka_unit_test(what_is_no_snapshot_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
