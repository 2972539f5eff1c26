/* Unit tests of base/decimal: forms, bounds, rounding, and agreement with 128-bit sums. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/decimal.h"
#include "base/rng.h"

static void parses_what_it_says(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int scale;
        int64_t value;
    } good[] = {
        {"0", 6, 0}, {"-0", 6, 0}, {"0.0", 6, 0}, {"2", 6, 2000000}, {"2.000", 6, 2000000},
        {"-1.25", 6, -1250000}, {"0.000001", 6, 1}, {"0.0000010000000000000000000000", 6, 1},
        {"0.19", 9, 190000000}, {"9223372036854775807", 0, INT64_MAX},
        {"-9223372036854775808", 0, INT64_MIN}, {"9223372036854.775807", 6, INT64_MAX},
        {"-9223372036854.775808", 6, INT64_MIN}, {"10", 0, 10}, {"100.10", 6, 100100000},
        {"1000000000000", 6, INT64_C(1000000000000000000)}, {"0.5", 1, 5}, {"305", 0, 305},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        int64_t value = 42;
        assert_true(decimal_parse(str_c(good[i].text), good[i].scale, &value));
        assert_int_equal(value, good[i].value);
        assert_true(decimal_parse_number(str_c(good[i].text), good[i].scale, &value));
        assert_int_equal(value, good[i].value);
    }
    static const struct {
        const char *text;
        int scale;
    } bad[] = {
        {"", 6}, {"-", 6}, {"+1", 6}, {" 1", 6}, {"1 ", 6}, {"01", 6}, {"00", 6}, {"-01", 6},
        {".5", 6}, {"5.", 6}, {"-.5", 6}, {"1e2", 6}, {"1,5", 6}, {"0x10", 6}, {"NaN", 6},
        {"1.0000001", 6}, {"0.0000000001", 9}, {"1.5", 0}, {"9223372036854775808", 0},
        {"-9223372036854775809", 0}, {"9223372036854.775808", 6}, {"1.2.3", 6}, {"--1", 6},
        {"99999999999999999999999999", 0}, {"1000000000000000000000", 6}, {"1-", 6},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int64_t value = 42;
        assert_false(decimal_parse(str_c(bad[i].text), bad[i].scale, &value));
        assert_int_equal(value, 42);
    }
}

static void parses_exponents_exactly(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int scale;
        int64_t value;
        bool good;
    } rows[] = {
        {"1e2", 0, 100, true}, {"1E+2", 0, 100, true}, {"100e-2", 0, 1, true},
        {"1.5e1", 0, 15, true}, {"1.5e0", 0, 0, false}, {"19.99e2", 0, 1999, true},
        {"1e-6", 6, 1, true}, {"1e-7", 6, 0, false}, {"10e-7", 6, 1, true},
        {"0e99999999999999999999", 6, 0, true}, {"0e-99999999999", 6, 0, true},
        {"1e99999999999999999999", 6, 0, false}, {"1e-99999999999999999999", 6, 0, false},
        {"1e18", 0, INT64_C(1000000000000000000), true}, {"1e19", 0, 0, false},
        {"-9.223372036854775808e18", 0, INT64_MIN, true}, {"9.223372036854775808e18", 0, 0, false},
        {"1e", 0, 0, false}, {"1e+", 0, 0, false}, {"1e1.5", 0, 0, false}, {"e5", 0, 0, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t value = -77;
        assert_int_equal(decimal_parse_number(str_c(rows[i].text), rows[i].scale, &value),
                         rows[i].good);
        assert_int_equal(value, rows[i].good ? rows[i].value : -77);
    }
}

static void written_text_reads_back(void **state) {
    (void)state;
    struct rng_seeded rng;
    rng_seeded_init(&rng, 7);
    struct buf buf;
    buf_init(&buf, 0);
    for (int i = 0; i < 20000; i++) {
        int64_t value = (int64_t)rng_u64(&rng.rng) >> rng_below(&rng.rng, 64);
        if (i < 4)
            value = i < 2 ? (i ? INT64_MAX : INT64_MIN) : (i == 2 ? 0 : -1);
        int scale = (int)rng_below(&rng.rng, 19);
        buf_clear(&buf);
        decimal_write(&buf, value, scale);
        int64_t back = 0;
        assert_true(decimal_parse(buf_str(&buf), scale, &back));
        assert_int_equal(back, value);
        char last = buf.data[buf.len - 1];
        assert_true(last != '.' && (last != '0' || !memchr(buf.data, '.', buf.len)));
    }
    buf_free(&buf);
}

static void halves_are_rounded_as_asked(void **state) {
    (void)state;
    static const struct {
        int64_t a, b, c, up, even;
    } rows[] = {
        {1, 1, 2, 1, 0},     {3, 1, 2, 2, 2},    {5, 1, 2, 3, 2},   {-1, 1, 2, -1, 0},
        {-3, 1, 2, -2, -2},  {-5, 1, 2, -3, -2}, {7, 1, 3, 2, 2},   {8, 1, 3, 3, 3},
        {-8, 1, 3, -3, -3},  {0, 5, 7, 0, 0},    {5, 1, 10, 1, 0},  {15, 1, 10, 2, 2},
        {4, 1, 10, 0, 0},    {-4, 1, 10, 0, 0},  {6, -1, 10, -1, -1},
        {1500000, 1999, 1000000, 2999, 2998}, /* 1.5 x 19.99 = 29.985 */
        {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX},
        {INT64_MIN, INT64_MAX, INT64_MAX, INT64_MIN, INT64_MIN},
        {INT64_MAX, 1, INT64_MAX, 1, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t out;
        assert_true(decimal_mul_div(rows[i].a, rows[i].b, rows[i].c, ROUND_HALF_UP, &out));
        assert_int_equal(out, rows[i].up);
        assert_true(decimal_mul_div(rows[i].a, rows[i].b, rows[i].c, ROUND_HALF_EVEN, &out));
        assert_int_equal(out, rows[i].even);
    }
    int64_t out = 5;
    assert_false(decimal_mul_div(INT64_MAX, 2, 1, ROUND_HALF_UP, &out));
    assert_false(decimal_mul_div(INT64_MIN, -1, 1, ROUND_HALF_UP, &out));
    assert_false(decimal_mul_div(1, 1, 0, ROUND_HALF_UP, &out));
    assert_false(decimal_mul_div(1, 1, -3, ROUND_HALF_UP, &out));
    assert_int_equal(out, 5);
    assert_false(decimal_add(INT64_MAX, 1, &out));
    assert_true(decimal_add(INT64_MAX, -1, &out));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses_what_it_says),
        cmocka_unit_test(parses_exponents_exactly),
        cmocka_unit_test(written_text_reads_back),
        cmocka_unit_test(halves_are_rounded_as_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
