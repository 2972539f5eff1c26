/* What a mapping asks the hub: cross-references, data, routes; what its errors tell of source and
 * target; the version of a mapping. The hub is a table of this test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "map/mapping.h"

static struct json_parser *parser;
static struct arena arena;
static struct mapping_problem problem;
static uint32_t asked;

static int set_up(void **state) {
    parser = json_parser_create();
    arena_init(&arena, 0);
    return parser ? 0 : -1;
}

static int tear_down(void **state) {
    json_parser_destroy(parser);
    arena_free(&arena);
    return 0;
}

static const struct json *parse(const char *text) {
    const struct json *out = NULL;
    struct fault fault = {0};
    assert_int_equal(json_parse(parser, &arena, str_c(text), false, &out, &fault), OK);
    return out;
}

static enum err hub_code(void *ctx, const struct mapping_code *ask, struct arena *into,
                         struct str *out, struct fault *fault) {
    static const char *const entries[][4] = {
        {"shop", "tax", "MwSt 19%", "DE-STD"}, {"shop", "payment-method", "visa", "card"},
        {"erp", "tax", "20", "DE-STD"},        {"shop", "location", "4711", "WH-HAM"},
    };
    assert_ptr_equal(ctx, &asked);
    asked++;
    *out = STR_NONE;
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        if (str_is(ask->system, entries[i][0]) && str_is(ask->kind, entries[i][1]) &&
            str_is(ask->text, entries[i][ask->out ? 3 : 2]))
            *out = arena_str(into, str_c(entries[i][ask->out ? 2 : 3]));
    }
    return str_is(ask->kind, "later") ? fault_set(fault, ERR_UNAVAILABLE, "not yet") : OK;
}

static enum err hub_look(void *ctx, const struct mapping_look *ask, struct arena *into,
                         const struct json **out, struct fault *fault) {
    (void)into;
    assert_ptr_equal(ctx, &asked);
    asked++;
    *out = NULL;
    if (!str_is(ask->what, "order"))
        return fault_set(fault, ERR_INVALID, "there is no look \"%.*s\"", STR_FMT(ask->what));
    if (ask->key_count == 2 && str_is(ask->keys[0], "web-de") && str_is(ask->keys[1], "10045"))
        *out = parse("{\"order_id\":\"ord_1\",\"state\":\"accepted\",\"lines\":[{\"sku\":\"A\"}]}");
    return OK;
}

static const struct mapping_hub hub = {.code = hub_code, .look = hub_look};

static const char document_text[] =
    "{\"tax\":\"MwSt 19%\",\"odd\":\"Luxury\",\"place\":4711,\"number\":\"10045\",\"currency\":\"EUR\","
    "\"when\":\"yesterday\",\"lines\":[{\"price\":\"1.00\",\"tax\":\"MwSt 19%\"},{\"price\":\"1.005\"},"
    "{\"price\":\"x\"}]}";

static const char *run_settings(const char *settings, const char *code, enum err want,
                                struct fault *fault) {
    struct mapping_sources *sources = mapping_sources_create();
    struct mapper *mapper = mapper_create(MAPPING_LIMITS_DEFAULT);
    const struct mapping_source *source;
    const struct json *out;
    struct buf text, answer;
    const char *result = NULL;
    buf_init(&text, 0);
    buf_init(&answer, 0);
    buf_printf(&text, strchr(code, '\n') ? "%s" : "return function(doc, settings) return {v = %s} end",
               code);
    fault_init(fault, &arena);
    asked = 0;
    mapper_hub(mapper, &hub, &asked);
    assert_int_equal(mapping_sources_add_text(sources, STR("shop/t.lua"), STR("1.2.0"), buf_str(&text),
                                              parse(settings), &source, fault), OK);
    assert_true(str_is(source->system, "shop"));
    enum err err = mapper_run(mapper, source, parse(document_text), &arena, &out, fault);
    problem = *mapper_problem(mapper);
    if (err != want)
        fail_msg("%s: %d and not %d: %s", code, err, want, fault->detail);
    if (!err) {
        json_write(&answer, out);
        result = arena_str(&arena, buf_str(&answer)).ptr;
    }
    mapper_destroy(mapper);
    mapping_sources_destroy(sources);
    buf_free(&text);
    buf_free(&answer);
    return result;
}

static void answers(const char *settings, const char *code, const char *want) {
    struct fault fault;
    assert_string_equal(run_settings(settings, code, OK, &fault), want);
}

static void says(const char *code, const char *want) {
    struct fault fault;
    run_settings("{}", code, ERR_INVALID, &fault);
    if (!strstr(fault.detail, want))
        fail_msg("%s: \"%s\" does not say \"%s\"", code, fault.detail, want);
}

static void test_code(void **state) {
    answers("{}", "code('tax', doc.tax)", "{\"v\":\"DE-STD\"}");
    answers("{}", "code('location', doc.place)", "{\"v\":\"WH-HAM\"}");
    answers("{}", "value_of('tax', 'DE-STD')", "{\"v\":\"MwSt 19%\"}");
    answers("{}", "value_of('tax', 'DE-STD', {system = 'erp'})", "{\"v\":\"20\"}");
    answers("{}", "code('tax', '20', {system = 'erp'})", "{\"v\":\"DE-STD\"}");
    says("code('tax')", "code: the value must be a text or an integer, got no value");
    says("code({}, 'x')", "code: the kind must be a text");
    says("code('tax', '')", "1 to 256 bytes");
    says("code('tax', 'x', 'erp')", "table expected");
}

static void test_unmapped(void **state) {
    struct fault fault;
    run_settings("{}", "code('tax', doc.odd)", ERR_INVALID, &fault);
    assert_string_equal(problem.kind, MAPPING_CODE_UNMAPPED);
    assert_true(str_is(problem.code.system, "shop") && str_is(problem.code.kind, "tax") &&
                str_is(problem.code.text, "Luxury") && !problem.code.out);
    assert_true(str_is(problem.source, "/odd"));
    assert_true(str_is(problem.target, "/v"));
    assert_string_equal(fault.detail,
                        "shop/t.lua:1: shop: the tax \"Luxury\" has no code in the hub: add it to the "
                        "cross-references (read at /odd) (for /v)");
    run_settings("{}", "value_of('tax', 'DE-RED', {system = 'erp'})", ERR_INVALID, &fault);
    assert_true(problem.code.out && str_is(problem.code.text, "DE-RED"));
    run_settings("{}", "fail('no')", ERR_INVALID, &fault);
    assert_string_equal(problem.kind, MAPPING_FAILED);
    /* never a guess, unless the settings say so */
    answers("{\"unmapped\":{\"tax\":\"same\"}}", "code('tax', doc.odd)", "{\"v\":\"Luxury\"}");
    answers("{\"unmapped\":{\"tax\":{\"code\":\"DE-STD\",\"value\":\"19\"}}}",
            "{code('tax', doc.odd), value_of('tax', 'X')}", "{\"v\":[\"DE-STD\",\"19\"]}");
    run_settings("{\"unmapped\":{\"sku\":\"same\",\"tax\":{\"value\":\"19\"}}}", "code('tax', doc.odd)",
                 ERR_INVALID, &fault);
    run_settings("{\"unmapped\":7}", "code('tax', doc.odd)", ERR_INVALID, &fault);
}

static void test_look(void **state) {
    struct fault fault;
    answers("{}", "look('order', 'web-de', doc.number).lines[1].sku", "{\"v\":\"A\"}");
    answers("{}", "look('order', 'web-de', 'none')", "{}");
    answers("{}", "look('order', 'web-de', '10045')", "{\"v\":{\"order_id\":\"ord_1\",\"state\":"
            "\"accepted\",\"lines\":[{\"sku\":\"A\"}]}}");
    says("look('weather', 'HAM')", "there is no look \"weather\"");
    says("look('order')", "a name and 1 to 4 keys");
    says("look('order', 'web-de', '10045').nope", "/nope is not in what look(\"order\") answered");
    says("return function(doc) local t = {}\nfor i = 1, 17 do t[i] = look('order', 'x', i) end return t end",
         "more than 16 in one run (map_looks_max)");
    /* the same question is asked once, so it has one answer */
    answers("{}", "return function(doc) local n = 0\nfor i = 1, 100 do if look('order', 'web-de', '10045') "
            "and code('tax', doc.tax) then n = n + 1 end end return {n = n} end", "{\"n\":100}");
    assert_int_equal(asked, 2);
    /* what is not at hand yet is no fault of the mapping */
    run_settings("{}", "code('later', 'x')", ERR_UNAVAILABLE, &fault);
    assert_string_equal(fault.detail, "shop/t.lua:1: not yet");
}

static void test_route(void **state) {
    answers("{}", "return function(doc)\nreturn route('order.capture', {id = doc.number}) end",
            "{\"command\":\"order.capture\",\"document\":{\"id\":\"10045\"}}");
    answers("{}", "return function(doc)\nreturn {route('a.b', {}), route('c.d', doc.lines[1])} end",
            "[{\"command\":\"a.b\",\"document\":{}},"
            "{\"command\":\"c.d\",\"document\":{\"price\":\"1.00\",\"tax\":\"MwSt 19%\"}}]");
    says("route({}, {})", "route: the name of a command comes first");
    says("route('', {})", "route: the command has no name");
    says("route('order.capture')", "route: a document comes second, got no value");
}

/* What a failure tells: file and line, where it was read, what it was made for. */
static void test_places(void **state) {
    static const char lines[] = "return function(doc)\n return {currency = doc.currency,\n"
                                "  lines = each(doc.lines, function(line)\n"
                                "   return {unit_price = money(line.price, doc.currency), n = 1}\n"
                                "  end)} end";
    says(lines, "shop/t.lua:4: money: \"1.005\" is no exact amount of EUR (read at /lines/1/price) "
                "(for /lines/1/unit_price)");
    assert_true(str_is(problem.source, "/lines/1/price"));
    assert_true(str_is(problem.target, "/lines/1/unit_price"));
    says("instant(doc.when)", "(read at /when) (for /v)");
    says("{a = {b = decimal(doc.lines[3].price)}}", "(read at /lines/2/price) (for /v/a/b)");
    says("{a = 1, b = {x = doc.lines[1].nope .. 'x'}}", "(for /v/b/x)");
    says("{a = 1, b = {x = doc.lines[1].nope + 1}}", "(for /v/b/x)");
    /* in the answer itself */
    says("{{price = 1.5}}", "has a fraction; numbers with decimals are texts, see decimal() (at /v/0/price)");
    says("{a = {b = function() end}}", "no data (a function?) (at /v/a/b)");
    says("{a = {1, nil, 3}}", "(at /v/a)");
    says("{['a/b'] = {['c~d'] = '\\xff'}}", "holds a text that is not UTF-8 (at /v/a~1b/c~0d)");
    assert_true(str_is(problem.target, "/v/a~1b/c~0d"));
    says("1.5", "(at /v)");
}

static void test_version(void **state) {
    struct mapping_sources *sources = mapping_sources_create();
    const struct mapping_source *a, *b, *c, *d;
    struct fault fault = {0};
    assert_int_equal(mapping_sources_add_text(sources, STR("s/a.lua"), STR("1.0.0"),
                                              STR("return function(doc) return doc end"), NULL, &a,
                                              &fault), OK);
    assert_int_equal(mapping_sources_add_text(sources, STR("s/b.lua"), STR("1.0.0"),
                                              STR("return function(doc) return doc end"), NULL, &b,
                                              &fault), OK);
    assert_int_equal(mapping_sources_add_text(sources, STR("s/a.lua"), STR("1.0.0"),
                                              STR("return function(doc) return {} end"), NULL, &c,
                                              &fault), OK);
    assert_int_equal(mapping_sources_add_text(sources, STR("s/a.lua"), STR_NONE,
                                              STR("return function(doc) return doc end"), NULL, &d,
                                              &fault), OK);
    assert_true(str_starts(a->version, STR("1.0.0+")) && a->version.len == 18);
    assert_true(str_eq(a->version, b->version));
    assert_false(str_eq(a->version, c->version));
    assert_int_equal(d->version.len, 12);
    mapping_sources_destroy(sources);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_code),  cmocka_unit_test(test_unmapped), cmocka_unit_test(test_look),
        cmocka_unit_test(test_route), cmocka_unit_test(test_places),   cmocka_unit_test(test_version),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
