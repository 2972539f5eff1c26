/* The mapping sandbox: what a mapping can do, what it can not, what it may cost, what it may
 * not keep; the pattern matcher against known answers; the trace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "map/mapping.h"
#include "map/pattern.h"

/* Of CPU, for one trick; sanitizers and valgrind take several times longer. */
#define TRICK_SECONDS 20.0

static struct json_parser *parser;
static struct arena arena;

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

static const char document_text[] =
    "{\"id\":820982911946154508,\"big\":123456789012345678901234567890,\"rate\":0.190,"
    "\"name\":\"Ann\",\"none\":null,\"yes\":true,\"tags\":[\"x\",\"y\",\"z\"],"
    "\"deep\":{\"a/b\":{\"c\":1}},\"empty\":[]}";

/* Runs an expression (or the body of a function, where it has a newline) over the document. */
static const char *run_with(struct mapping_limits limits, const char *code, struct fault *fault) {
    struct mapping_sources *sources = mapping_sources_create();
    struct mapper *mapper = mapper_create(limits);
    const struct mapping_source *source;
    const struct json *out;
    struct buf text, answer;
    const char *result = NULL;
    buf_init(&text, 0);
    buf_init(&answer, 0);
    buf_printf(&text, strchr(code, '\n') ? "%s" : "return function(doc, settings) return {v = %s} end",
               code);
    if (mapping_sources_add_text(sources, STR("t.lua"), STR_NONE, buf_str(&text),
                                 parse("{\"channel\":\"web-de\",\"codes\":{\"MwSt.\":\"DE-STD\"}}"),
                                 &source, fault) == OK &&
        mapper_run(mapper, source, parse(document_text), &arena, &out, fault) == OK) {
        json_write(&answer, out);
        result = arena_str(&arena, buf_str(&answer)).ptr;
    }
    mapper_destroy(mapper);
    mapping_sources_destroy(sources);
    buf_free(&text);
    buf_free(&answer);
    return result;
}

static void answers(const char *code, const char *want) {
    struct fault fault;
    fault_init(&fault, &arena);
    const char *got = run_with(MAPPING_LIMITS_DEFAULT, code, &fault);
    if (!got)
        fail_msg("%s: %s", code, fault.detail);
    assert_string_equal(got, want);
}

static void fails(const char *code, const char *want) {
    struct fault fault;
    struct mapping_limits limits = {.instructions_max = 200000, .bytes_max = 4 << 20};
    fault_init(&fault, &arena);
    const char *got = run_with(limits, code, &fault);
    if (got)
        fail_msg("%s: answered %s", code, got);
    assert_int_equal(fault.err, ERR_INVALID);
    if (!strstr(fault.detail, want))
        fail_msg("%s: \"%s\" does not say \"%s\"", code, fault.detail, want);
}

/* --- reading and writing --------------------------------------------------------------- */

static void test_read(void **state) {
    answers("doc.id", "{\"v\":820982911946154508}");
    answers("doc.big", "{\"v\":\"123456789012345678901234567890\"}");
    answers("doc.rate", "{\"v\":\"0.190\"}");
    answers("{doc.name, doc.yes, #doc.tags, doc.tags[2], type(doc), type(doc.tags)}",
            "{\"v\":[\"Ann\",true,3,\"y\",\"object\",\"list\"]}");
    answers("doc.none", "{}");
    answers("doc.tags", "{\"v\":[\"x\",\"y\",\"z\"]}");
    answers("doc.deep", "{\"v\":{\"a/b\":{\"c\":1}}}");
    answers("settings.channel", "{\"v\":\"web-de\"}");
    answers("get(settings.codes, 'MwSt.')", "{\"v\":\"DE-STD\"}");
    answers("doc.deep == doc.deep", "{\"v\":true}");
    answers("tostring(doc.id) .. '!'", "{\"v\":\"820982911946154508!\"}");
}

static void test_missing(void **state) {
    struct fault fault;
    fault_init(&fault, &arena);
    assert_null(run_with(MAPPING_LIMITS_DEFAULT, "doc.deep['a/b'].nope", &fault));
    assert_string_equal(fault.detail, "t.lua:1: /deep/a~1b/nope is not in the document; read it "
                                      "with opt() if it may be missing (for /v)");
    assert_int_equal(fault.count, 1);
    assert_true(str_is(fault.first->pointer, "/deep/a~1b/nope"));
    fails("doc.tags[4]", "/tags/3 is not in the document");
    fails("doc.tags[0]", "/tags/-1 is not in the document");
    fails("settings.nope", "the setting nope is not set");
    fails("doc.none.x", "attempt to index a nil value");
    answers("opt(doc, 'nope')", "{}");
    answers("{opt(doc, 'nope.x', 1), opt(doc, 'none', 2), opt(doc, 'name', 3), opt(nil, 'x', 4),"
            " opt(doc, 'tags.2')}", "{\"v\":[1,2,\"Ann\",4,\"y\"]}");
}

static void test_write(void **state) {
    answers("{b = 1, a = 2, [\"c\"] = {}}", "{\"v\":{\"a\":2,\"b\":1,\"c\":{}}}");
    answers("{list{}, list{1}, each({}, tostring), each(doc.tags, string.upper)}",
            "{\"v\":[[],[1],[],[\"X\",\"Y\",\"Z\"]]}");
    answers("math.mininteger", "{\"v\":-9223372036854775808}");
    fails("{[1] = 1, [3] = 3}", "neither a list without gaps nor an object");
    fails("{1, a = 2}", "neither a list without gaps nor an object");
    fails("{[true] = 1}", "neither a list without gaps nor an object");
    fails("1 / 2", "has a fraction");
    fails("print", "there is no 'print' in a mapping");
    fails("tostring", "no data");
    fails("(function() local t = {} t.t = t return t end)()", "nested too deep");
    fails("'\\xff'", "UTF-8");
    fails("return function()\nend", "must return a table");
    fails("return 1\n", "must return one function");
    fails("return function(\n", "t.lua:");
}

static void test_order(void **state) {
    const char *code = "(function() local r = list() for k, x in pairs({z = 1, [10] = 2, a = 3, [9] = 4}) "
                       "do r[#r + 1] = k .. '=' .. x end return r end)()";
    answers(code, "{\"v\":[\"9=4\",\"10=2\",\"a=3\",\"z=1\"]}");
    answers("(function() local r = list() for k in pairs(doc) do r[#r + 1] = k end return r end)()",
            "{\"v\":[\"big\",\"deep\",\"empty\",\"id\",\"name\",\"none\",\"rate\",\"tags\",\"yes\"]}");
    answers("(function() local r = list() for i, x in ipairs(doc.tags) do r[i] = i .. x end return r end)()",
            "{\"v\":[\"1x\",\"2y\",\"3z\"]}");
    answers("sum(doc.tags, function(x, i) return i end)", "{\"v\":6}");
}

static void test_helpers(void **state) {
    answers("{money('19.99', 'EUR'), money('1000.00', 'JPY'), money('1.5', 'KWD'), money(20, 'USD'), "
            "money('-0.01', 'EUR')}", "{\"v\":[1999,1000,1500,2000,-1]}");
    answers("{money_text(1999, 'EUR'), money_text(5, 'JPY')}", "{\"v\":[\"19.99\",\"5\"]}");
    answers("{filled('  a b\\t'), filled(' ') or 'none', filled(nil) or 'nil'}",
            "{\"v\":[\"a b\",\"none\",\"nil\"]}");
    answers("{code_of('VAT 19%'), code_of(' --Bank_transfer\xc3\xa4!', true), code_of('\xc3\xa4') or 'none'}",
            "{\"v\":[\"VAT-19\",\"bank_transfer\",\"none\"]}");
    answers("{rate_of(19), rate_of('8.875'), rate_of('0.1'), rate_of(0), rate_of('-1') or 'none'}",
            "{\"v\":[\"0.19\",\"0.08875\",\"0.001\",\"0\",\"none\"]}");
    answers("{listed({'a', 'b'}, 'b'), listed({}, 'b'), listed({1, 2}, '2')}", "{\"v\":[true,false,false]}");
    answers("{decimal('1.500'), decimal(3), decimal('0.0600000000000000001', 4), decimal('-1.25', 1), "
            "decimal('2.0', 0)}", "{\"v\":[\"1.5\",\"3\",\"0.06\",\"-1.3\",\"2\"]}");
    answers("mul_div(638, 100, 19)", "{\"v\":3358}");
    answers("{instant('2026-11-23T09:15:00+01:00'), instant('2026-11-23 09:15:00', 'Z')}",
            "{\"v\":[\"2026-11-23T09:15:00+01:00\",\"2026-11-23T09:15:00Z\"]}");
    fails("money('19.999', 'EUR')", "no exact amount of EUR");
    fails("money('x', 'EUR')", "no exact amount");
    fails("money('1', 'EURO')", "no currency");
    fails("money(nil, 'EUR')", "expected a number as text, got nil");
    fails("decimal('0.12345678901')", "no number with at most 9 decimals");
    fails("instant('yesterday')", "no RFC 3339");
    fails("fail('the order has no lines')", "t.lua:1: the order has no lines");
    fails("'1.5' + 1", "arithmetic on a string");
    answers("{tonumber('12'), tonumber('1.5') or 'none', ('  a b '):trim()}",
            "{\"v\":[12,\"none\",\"a b\"]}");
}

/* --- the walls ------------------------------------------------------------------------- */

static void test_walls(void **state) {
    static const char *const gone[] = {
        "io", "os", "debug", "load", "loadfile", "dofile", "loadstring", "require", "package",
        "pcall", "xpcall", "coroutine", "setmetatable", "getmetatable", "collectgarbage", "rawset",
        "rawget", "next", "print", "_G", "string.dump", "string.pack", "math.random", "table.move",
    };
    for (size_t i = 0; i < sizeof gone / sizeof gone[0]; i++)
        fails(gone[i], "in a mapping");
    fails("(function() x = 1 end)()", "'x' can not be set here");
    fails("(function() string.upper = 1 end)()", "'upper' can not be set here");
    fails("(function() doc.id = 1 end)()", "can not be changed");
    fails("string.format('%p', 'x')", "not available");
    fails("string.format('%s', {})", "has no text");
    fails("tostring({})", "has no text");
    fails("table.unpack({}, 1, 1e8)", "at most");
}

static void test_budget(void **state) {
    const char *over = "over the budget";
    fails("(function() while true do end end)()", over);
    fails("(function() local function f() return f() end return f() end)()", over);
    fails("('a'):rep(300):find('.-.-.-.-.-b')", over);
    fails("('a'):rep(300):gsub('.-.-.-.-.-b', 'c')", over);
    fails("(function() local t = {} for i = 1, 1e9 do t[i] = {} end end)()", over);
    fails("(function() local s = 'x' while true do s = s .. s end end)()", over);
    fails("(function() local s = 'x' while true do s = s .. 'y' end end)()", over);
    fails("(function() local t = {} for i = 1, 1e9 do table.insert(t, 1, i) end end)()", over);
    fails("(function() local s, n = ('x'):rep(1000000), 0 while n < s:len() do if s == s .. '' then n = n + 1 "
          "end end end)()", over);
    fails("('x'):rep(1e12)", "more than");
    answers("(''):rep(1e15)", "{\"v\":\"\"}");
    fails("(function() local function f() return 1 + f() end return f() end)()", over);
}

static double cpu_s(void) {
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* With the budgets as they are by default: whatever is tried, it ends, in a time that a worker can
 * bear, and with words; what was asked for is not there afterwards. */
static void ends(const char *code, const char *want) {
    struct fault fault;
    double before = cpu_s();
    fault_init(&fault, &arena);
    const char *got = run_with(MAPPING_LIMITS_DEFAULT, code, &fault);
    double took = cpu_s() - before;
    if (want ? !strstr(got ? got : fault.detail, want) : !got && !strstr(fault.detail, "t.lua") &&
                                                         !strstr(fault.detail, "budget"))
        fail_msg("%s: \"%s\" does not say \"%s\"", code, got ? got : fault.detail, want ? want : "t.lua");
    if (took > TRICK_SECONDS)
        fail_msg("%s: took %.1f s", code, took);
}

static void test_tricks(void **state) {
    const char *over = "over the budget";
    /* nothing catches an error, so nothing swallows the budget's */
    ends("(function() local t = list{1, 2, 3} table.sort(t, function() while true do end end) end)()", over);
    ends("('abc'):gsub('.', function() while true do end end)", over);
    ends("each({1}, function() while true do end end)", over);
    ends("sum({1}, function() while true do end end)", over);
    ends("(function() for _ in ('x'):gmatch('') do while true do end end end)()", over);
    ends("(function() local f f = function() return each({1}, f) end return f() end)()", NULL);
    ends("(function() local f f = function(s) return (s:gsub('.', f)) end return f('x') end)()", NULL);
    ends("(function() local t = list{3, 1, 2} table.sort(t, function() return table.sort(t) end) end)()", NULL);
    /* comparators that lie */
    ends("(function() local t = {} for i = 1, 2000 do t[i] = i end table.sort(t, function() return true end) "
         "return 1 end)()", NULL);
    ends("(function() local t = {} for i = 1, 2000 do t[i] = i % 7 end table.sort(t, function(a, b) "
         "t[#t + 1] = a return a < b end) return 1 end)()", NULL);
    ends("(function() local t = {1, 'a', {}} table.sort(t) end)()", "attempt to compare");
    /* each of each of each */
    ends("(function() local function n(l) return each({1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, function() return l > 0 "
         "and n(l - 1) or 1 end) end return n(12) end)()", over);
    /* an answer that says a thing more often than memory could hold */
    ends("(function() local t = {1} for i = 1, 60 do t = {t, t} end return t end)()", over);
    ends("(function() local s, t = ('x'):rep(1000000), {} for i = 1, 10000 do t[i] = s end return t end)()",
         "the answer is over the budget");
    ends("(function() local t = {} for i = 1, 2000000 do t[i] = doc end return t end)()", over);
    ends("(function() local t = {} t.t = t return t end)()", "nested too deep");
    /* long texts in C */
    ends("(function() local s = ('9'):rep(1000000) while true do tonumber(s) end end)()", over);
    ends("(function() local s = ('x'):rep(1000000) while true do s:rep(1) end end)()", NULL);
    ends("(function() local s, t = ('x'):rep(999999) .. 'a', ('x'):rep(999999) .. 'b' while s < t do end end)()",
         over);
    ends("(function() local s, t = ('x'):rep(900000), {} for i = 1, 500 do t[i] = s end table.sort(t) "
         "table.sort(t) table.sort(t) table.sort(t) return 1 end)()", NULL);
    ends("(function() local s = ('x'):rep(1000000) while true do s:find(s, 1, true) end end)()", over);
    ends("(function() local s = ('x'):rep(1000000) while true do s:byte(1, 900000) end end)()", NULL);
    ends("(function() local s = ('ab'):rep(500000) while true do s:gsub('a', 'b') end end)()", NULL);
    ends("(function() local t = {} for i = 1, 100 do t[i] = ('x'):rep(1000000) end return table.concat(t) end)()",
         over);
    ends("(function() local t, s = {}, ('x'):rep(1000000) for i = 1, 1000 do t[i] = s end while true do "
         "table.concat(t) end end)()", over);
    ends("(function() while true do string.format('%99.99f%99.99f', 1 << 60, 1 << 60) end end)()", NULL);
    ends("string.format('%1000d', 1)", "invalid");
    /* errors that are no texts */
    ends("error({})", NULL);
    ends("error()", NULL);
    ends("error(nil)", NULL);
    ends("assert(false, {})", NULL);
    ends("assert(nil)", "assertion failed");
    /* metatables can not be had, and __gc, __index, __close do nothing in a table */
    ends("{__gc = 1, __index = 2, __close = 3}", "\"__gc\":1");
    ends("(function() local t <close> = {} end)()", "t.lua");
    ends("('x').__index", NULL);
    ends("#doc.__len", "is not in the document");
    ends("list().__index == nil and 'none'", "none");
}

/* Nothing a document does is there for the next: not in locals of the file, not after errors. */
static void test_no_leak(void **state) {
    struct mapping_sources *sources = mapping_sources_create();
    struct mapper *mapper = mapper_create(MAPPING_LIMITS_DEFAULT);
    const struct mapping_source *source;
    struct fault fault = {0};
    const char *code = "local seen = {}\nlocal n = 0\nreturn function(doc)\n"
                       "  n = n + 1 seen[#seen + 1] = doc.name\n"
                       "  if doc.stop then error('stop') end\n"
                       "  return {n = n, seen = seen}\nend";
    assert_int_equal(mapping_sources_add_text(sources, STR("leak.lua"), STR_NONE, str_c(code), NULL, &source,
                                              &fault), OK);
    for (int i = 0; i < 1000; i++) {
        const struct json *out;
        struct buf text;
        bool stop = i % 3 == 1;
        enum err err = mapper_run(mapper, source,
                                  parse(stop ? "{\"name\":\"a\",\"stop\":true}"
                                             : "{\"name\":\"b\",\"stop\":false}"),
                                  &arena, &out, &fault);
        assert_int_equal(err, stop ? ERR_INVALID : OK);
        if (stop)
            continue;
        buf_init(&text, 0);
        json_write(&text, out);
        assert_true(str_is(buf_str(&text), "{\"n\":1,\"seen\":[\"b\"]}"));
        buf_free(&text);
    }
    mapper_destroy(mapper);
    mapping_sources_destroy(sources);
}

/* A document of 5000 lines maps within the default budget. */
static void test_large(void **state) {
    struct buf text;
    buf_init(&text, 0);
    buf_lit(&text, "{\"lines\":[");
    for (int i = 0; i < 5000; i++)
        buf_printf(&text, "%s{\"id\":%d,\"sku\":\"SKU-%d\",\"price\":\"%d.99\",\"tax\":[{\"a\":\"1.00\"}]}",
                   i ? "," : "", i, i, i);
    buf_lit(&text, "]}");
    const char *code =
        "return function(doc)\n"
        "  local lines = each(doc.lines, function(l)\n"
        "    return {line_id = tostring(l.id), sku = l.sku, total = money(l.price, 'EUR'),\n"
        "      taxes = each(l.tax, function(t) return {amount = money(t.a, 'EUR')} end)}\n"
        "  end)\n"
        "  return {lines = lines, n = #lines, total = sum(lines, function(l) return l.total end)}\n"
        "end";
    struct mapping_sources *sources = mapping_sources_create();
    struct mapper *mapper = mapper_create(MAPPING_LIMITS_DEFAULT);
    const struct mapping_source *source;
    const struct json *document, *out = NULL;
    struct fault fault = {0};
    int64_t n = 0;
    assert_int_equal(json_parse(parser, &arena, buf_str(&text), false, &document, &fault), OK);
    assert_int_equal(mapping_sources_add_text(sources, STR("l.lua"), STR_NONE, str_c(code), NULL, &source,
                                              &fault), OK);
    enum err err = mapper_run(mapper, source, document, &arena, &out, &fault);
    if (err)
        fail_msg("%s", fault.detail);
    assert_true(json_i64(json_member(out, STR("n")), &n) && n == 5000);
    mapper_destroy(mapper);
    mapping_sources_destroy(sources);
    buf_free(&text);
}

/* --- patterns -------------------------------------------------------------------------- */

static void test_patterns(void **state) {
    answers("{('key = value'):match('^(%w+)%s*=%s*(%w+)$')}", "{\"v\":[\"key\",\"value\"]}");
    answers("{('hello world'):find('o w')}", "{\"v\":[5,7]}");
    answers("{('hello'):find('l', 1, true)}", "{\"v\":[3,3]}");
    answers("{('hello'):find('xyz') or 'none', ('hello'):find('', 10) or 'none', ('hello'):find('')}",
            "{\"v\":[\"none\",\"none\",1,0]}");
    answers("{('THE (quick) fox'):find('%((%a+)%)')}", "{\"v\":[5,11,\"quick\"]}");
    answers("{('abc'):gsub('%w', '%0%0')}", "{\"v\":[\"aabbcc\",3]}");
    answers("{('hello world'):gsub('o', {o = '0'})}", "{\"v\":[\"hell0 w0rld\",2]}");
    answers("{('abc'):gsub('', '-')}", "{\"v\":[\"-a-b-c-\",4]}");
    answers("{('abc def'):gsub('%w+', string.upper, 1)}", "{\"v\":[\"ABC def\",1]}");
    answers("{('$name is $age'):gsub('%$(%w+)', {name = 'Ann'})}", "{\"v\":[\"Ann is $age\",2]}");
    answers("(('f(a(b)c)d'):match('%b()'))", "{\"v\":\"(a(b)c)\"}");
    answers("(('THE (quick) fox'):gsub('%f[%a]%a+', 'x'))", "{\"v\":\"x (x) x\"}");
    answers("{('abcabc'):match('(abc)%1')}", "{\"v\":[\"abc\"]}");
    answers("{('  x'):match('()x()')}", "{\"v\":[3,4]}");
    answers("{('2026-11-23'):match('(%d+)-(%d+)-(%d+)')}", "{\"v\":[\"2026\",\"11\",\"23\"]}");
    answers("{('[[x]]'):match('[]]+'), ('a-b'):match('[a%-]+'), ('x^y'):match('[%^y]+')}",
            "{\"v\":[\"]]\",\"a-\",\"^y\"]}");
    answers("{('aXb'):match('%u'), ('aXb'):match('%U+'), ('a1_'):match('[^%a]+')}",
            "{\"v\":[\"X\",\"a\",\"1_\"]}");
    answers("(function() local r = list() for k, x in ('a=1, b=2'):gmatch('(%w+)=(%w+)') do r[#r+1] = k .. x "
            "end return r end)()", "{\"v\":[\"a1\",\"b2\"]}");
    answers("{('aaab'):match('a-b'), ('aaa'):match('^a?a?a?a?$'), ('ab'):match('^(a*)(b-)$')}",
            "{\"v\":[\"aaab\",\"aaa\",\"a\",\"b\"]}");
    fails("('x'):match('(')", "a '(' without its ')'");
    fails("('x'):match(')')", "a ')' without its '('");
    fails("('x'):match('[a')", "a '[' without its ']'");
    fails("('x'):match('%')", "ends with '%'");
    fails("('x'):match('%1')", "not closed");
    fails("('x'):gsub('x', '%2')", "no capture");
    fails("('('):rep(40):match(('('):rep(40))", "captures");
}

static void test_pattern_steps(void **state) {
    char many[2000];
    memset(many, 'a', sizeof many);
    int64_t steps = 100000;
    struct pattern p;
    const char *end;
    pattern_init(&p, str_of(many, sizeof many), STR("a-a-a-a-a-a-a-b"), &steps);
    assert_int_equal(pattern_match(&p, many, &end), PATTERN_STEPS);
    assert_int_equal(steps, 0);
}

/* --- trace ----------------------------------------------------------------------------- */

static const struct mapping_trace_row *row_of(const struct mapping_trace *trace, const char *target) {
    for (uint32_t i = 0; i < trace->count; i++) {
        if (str_is(trace->rows[i].target, target))
            return &trace->rows[i];
    }
    fail_msg("no row %s", target);
    return NULL;
}

static void test_trace(void **state) {
    struct mapping_sources *sources = mapping_sources_create();
    struct mapper *mapper = mapper_create(MAPPING_LIMITS_DEFAULT);
    const struct mapping_source *source;
    const struct json *out;
    struct mapping_trace trace;
    struct fault fault = {0};
    const char *code = "return function(doc)\n"
                       "  return {currency = doc.currency, total = money(doc.a, doc.currency) + "
                       "money(doc.b, doc.currency),\n"
                       "    who = doc.first .. ' ' .. doc.last, fixed = 'x',\n"
                       "    lines = each(doc.lines, function(l) return {s = l.sku} end)}\nend";
    assert_int_equal(mapping_sources_add_text(sources, STR("t.lua"), STR_NONE, str_c(code), NULL, &source,
                                              &fault), OK);
    enum err err = mapper_trace(
        mapper, source,
        parse("{\"currency\":\"EUR\",\"a\":\"1.00\",\"b\":\"2.00\",\"first\":\"A\",\"last\":\"B\","
              "\"lines\":[{\"sku\":\"S1\",\"note\":\"n\"}],\"unused\":true}"),
        &arena, &out, &trace, &fault);
    assert_int_equal(err, OK);
    const struct mapping_trace_row *total = row_of(&trace, "/total");
    assert_true(total->exact);
    assert_int_equal(total->source_count, 2);
    assert_true(str_is(total->sources[0], "/a") && str_is(total->sources[1], "/b"));
    const struct mapping_trace_row *who = row_of(&trace, "/who");
    assert_int_equal(who->source_count, 2);
    const struct mapping_trace_row *sku = row_of(&trace, "/lines/0/s");
    assert_int_equal(sku->source_count, 1);
    assert_true(str_is(sku->sources[0], "/lines/0/sku"));
    assert_int_equal(row_of(&trace, "/currency")->source_count, 1);
    assert_int_equal(row_of(&trace, "/fixed")->source_count, 0);
    assert_int_equal(total->call_count, 2);
    assert_true(str_is(total->calls[0]->text, "money(\"1.00\", \"EUR\") = 100"));
    assert_int_equal(total->calls[1]->line, 2);
    assert_int_equal(who->call_count + sku->call_count, 0);
    assert_int_equal(trace.call_count, 2);
    assert_int_equal(trace.scalars, 8);
    assert_int_equal(trace.unread_count, 2);
    assert_true(str_is(trace.unread[0], "/lines/0/note") && str_is(trace.unread[1], "/unused"));
    mapper_destroy(mapper);
    mapping_sources_destroy(sources);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),     cmocka_unit_test(test_missing),
        cmocka_unit_test(test_write),    cmocka_unit_test(test_order),
        cmocka_unit_test(test_helpers),  cmocka_unit_test(test_walls),
        cmocka_unit_test(test_budget),   cmocka_unit_test(test_tricks),  cmocka_unit_test(test_no_leak),
        cmocka_unit_test(test_large),    cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_pattern_steps), cmocka_unit_test(test_trace),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
