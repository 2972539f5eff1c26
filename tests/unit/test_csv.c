/* Records of delimited and fixed-width text, and numbers in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/buf.h"
#include "connect/csv.h"

/* "[a|b]2 …": fields, how many lines; a problem as "!words@column". */
static const char *all(const struct csv_dialect *dialect, struct str text, size_t window_max) {
    static char out[2000];
    struct arena arena;
    size_t at = 0;
    arena_init(&arena, 0);
    out[0] = '\0';
    for (;;) {
        struct csv_record r;
        enum csv_result result = csv_next(dialect, str_of(text.ptr + at, text.len - at),
                                          text.len - at < window_max, window_max, &arena, &r);
        if (result == CSV_END)
            break;
        assert_true(result == CSV_RECORD || result == CSV_EMPTY);
        at += r.bytes;
        size_t n = strlen(out);
        if (result == CSV_EMPTY)
            continue;
        n += (size_t)snprintf(out + n, sizeof out - n, "[");
        for (uint32_t i = 0; i < r.count; i++)
            n += (size_t)snprintf(out + n, sizeof out - n, "%s%.*s", i ? "|" : "", STR_FMT(r.fields[i]));
        n += (size_t)snprintf(out + n, sizeof out - n, "]%u", r.lines);
        if (r.problem)
            snprintf(out + n, sizeof out - n, "!%s@%u", r.problem, r.column);
    }
    arena_free(&arena);
    return out;
}
#define CSV(text) all(&(struct csv_dialect){.delimiter = ',', .quote = '"'}, STR(text), 1000)

static void test_rfc4180(void **state) {
    (void)state;
    assert_string_equal(CSV(""), "");
    assert_string_equal(CSV("a,b,c\r\n"), "[a|b|c]1");
    assert_string_equal(CSV("a,b\n\n\r\nc,d"), "[a|b]1[c|d]0");
    assert_string_equal(CSV(",\n,,\n"), "[|]1[||]1");
    assert_string_equal(CSV("\"a,b\",\"c\"\"d\",\"\"\n"), "[a,b|c\"d|]1");
    assert_string_equal(CSV("\"a\r\nb\",c\r\nd,e\r\n"), "[a\r\nb|c]2[d|e]1");
    assert_string_equal(CSV("a b, c ,d\"e\n"), "[a b| c |d\"e]1");
    assert_string_equal(CSV("a\rb,c\r\n"), "[a\rb|c]1");
    assert_string_equal(CSV("x,\"\"\"\"\n"), "[x|\"]1");
}

static void test_problems(void **state) {
    (void)state;
    assert_string_equal(CSV("a,\"b\"c,d\ne,f\n"), "[a|b]1!has text behind its closing quote@2[e|f]1");
    assert_string_equal(CSV("a,b\nc,\"d\ne,f\n"),
                        "[a|b]1[c]1!has a quote that is never closed@2[e|f]1");
    assert_string_equal(CSV("a,\xff,b\nc\n"),
                        "[a]1!is not in the encoding that is declared, or has control characters@2[c]1");
    assert_string_equal(CSV("a,\x01\n"),
                        "[a]1!is not in the encoding that is declared, or has control characters@2");
    struct csv_dialect small = {.delimiter = ',', .quote = '"'};
    assert_string_equal(all(&small, STR("\"aaaaaaaaaaaaaaaaaaaaaaaa\nb,c\nd,e\n"), 20),
                        "[]1!is longer than a record may be; is a quote not closed?@1[b|c]1[d|e]1");
}

static void test_dialects(void **state) {
    (void)state;
    struct csv_dialect semicolon = {.delimiter = ';', .quote = '\'', .encoding = CSV_WINDOWS1252,
                                    .trim = true};
    assert_string_equal(all(&semicolon, STR(" a ;' b ;';\xe4\x80\n"), 1000), "[a| b ;|ä€]1");
    struct csv_dialect latin = {.delimiter = '\t', .encoding = CSV_LATIN1};
    assert_string_equal(all(&latin, STR("\xfc\t\"x\"\n\x80\n"), 1000),
                        "[ü|\"x\"]1[]1!is not in the encoding that is declared, or has control characters@1");
    static const uint32_t widths[] = {3, 2, 4};
    struct csv_dialect fixed = {.widths = widths, .width_count = 3};
    assert_string_equal(all(&fixed, STR("ab 12 x\r\n\xc3\xa4\xc3\xb6\xc3\xbc""34wxyz\nabc12wxyz!\n"), 1000),
                        "[ab|12| x]1[äöü|34|wxyz]1[abc|12|wxyz]1!is longer than its columns@3");
}

static void test_decimals(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"1.234,50", ",", "1234.50"}, {"1,234.50", ".", "1234.50"}, {"-0,5", ",", "-0.5"},
        {"+7", ",", "7"},             {" 12 ", ".", "12"},          {"1'000'000", ".", "1000000"},
        {"1 000,00", ",", "1000.00"}, {"", ",", ""},                {"1.5", ",", NULL},
        {"1,2,3", ",", NULL},         {",5", ",", NULL},            {"5,", ",", NULL},
        {"-", ",", NULL},             {"1e3", ".", NULL},           {"1.2345,0", ",", NULL},
        {"12x", ".", NULL},           {"1.234", ",", "1234"},       {"--1", ".", NULL},
    };
    struct arena arena;
    arena_init(&arena, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str out = csv_decimal(str_c(cases[i][0]), cases[i][1][0], &arena);
        if (!cases[i][2] ? out.ptr != NULL : !str_is(out, cases[i][2]))
            fail_msg("%s: %.*s", cases[i][0], STR_FMT(out));
    }
    arena_free(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc4180),
        cmocka_unit_test(test_problems),
        cmocka_unit_test(test_dialects),
        cmocka_unit_test(test_decimals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
