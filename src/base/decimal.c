/* decimal: see decimal.h. */
#include "base/decimal.h"

/* Outside ISO C, in every compiler we build with. */
__extension__ typedef __int128 wide;

/* 10^0 to 10^18: all that fit an int64. */
static const int64_t powers[] = {
    1,
    10,
    100,
    1000,
    10000,
    100000,
    1000000,
    10000000,
    100000000,
    1000000000,
    10000000000,
    100000000000,
    1000000000000,
    10000000000000,
    100000000000000,
    1000000000000000,
    10000000000000000,
    100000000000000000,
    1000000000000000000,
};
#define POWER_MAX 18

static inline bool digit_is(char c) { return c >= '0' && c <= '9'; }

/* value * 10^n, for values without sign. */
static bool shift_left(uint64_t value, int64_t n, uint64_t *out) {
    if (value == 0 || n == 0) {
        *out = value;
        return true;
    }
    return n <= POWER_MAX && !__builtin_mul_overflow(value, (uint64_t)powers[n], out);
}

/* Digits as a whole number and the zeros behind its last digit other than 0, kept apart so
 * that any number of superfluous zeros is harmless. */
struct digits {
    uint64_t value;
    int64_t zeros;
};

static bool digits_take(struct digits *digits, char c) {
    if (c == '0') {
        digits->zeros += digits->value != 0;
        return true;
    }
    if (!shift_left(digits->value, digits->zeros + 1, &digits->value))
        return false;
    digits->zeros = 0;
    return !__builtin_add_overflow(digits->value, (uint64_t)(c - '0'), &digits->value);
}

/* The exponent at text + at to the end; beyond ±10000 it is only "very large". */
static bool exponent_parse(struct str text, size_t at, int64_t *out) {
    bool negative = false;
    if (at < text.len && (text.ptr[at] == '+' || text.ptr[at] == '-'))
        negative = text.ptr[at++] == '-';
    if (at == text.len)
        return false;
    int64_t value = 0;
    for (; at < text.len; at++) {
        if (!digit_is(text.ptr[at]))
            return false;
        if (value < 10000)
            value = value * 10 + (text.ptr[at] - '0');
    }
    *out = negative ? -value : value;
    return true;
}

static bool number_parse(struct str text, int scale, bool exponent_allowed, int64_t *out) {
    struct digits digits = {0, 0};
    size_t at = 0;
    bool negative = text.len > 0 && text.ptr[0] == '-';
    at += negative;
    size_t start = at;
    for (; at < text.len && digit_is(text.ptr[at]); at++)
        if (!digits_take(&digits, text.ptr[at]))
            return false;
    if (at == start || (text.ptr[start] == '0' && at - start > 1))
        return false;
    int64_t decimals = 0;
    if (at < text.len && text.ptr[at] == '.') {
        for (start = ++at; at < text.len && digit_is(text.ptr[at]); at++)
            if (!digits_take(&digits, text.ptr[at]))
                return false;
        decimals = (int64_t)(at - start);
        if (decimals == 0)
            return false;
    }
    int64_t exponent = 0;
    if (at < text.len && exponent_allowed && (text.ptr[at] == 'e' || text.ptr[at] == 'E')) {
        if (!exponent_parse(text, at + 1, &exponent))
            return false;
        at = text.len;
    }
    if (at != text.len)
        return false;
    uint64_t value = digits.value;
    if (value != 0) {
        int64_t shift = digits.zeros + exponent - decimals + scale;
        if (shift < 0 || !shift_left(value, shift, &value) ||
            value > (uint64_t)INT64_MAX + negative)
            return false;
    }
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

bool decimal_parse(struct str text, int scale, int64_t *out) {
    return number_parse(text, scale, false, out);
}

bool decimal_parse_number(struct str text, int scale, int64_t *out) {
    return number_parse(text, scale, true, out);
}

void decimal_write(struct buf *buf, int64_t value, int scale) {
    char text[64];
    size_t at = sizeof text;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    bool wrote = false;
    for (int i = 0; i < scale; i++, rest /= 10) {
        char digit = (char)('0' + rest % 10);
        if (!wrote && digit == '0')
            continue;
        wrote = true;
        text[--at] = digit;
    }
    if (wrote)
        text[--at] = '.';
    do {
        text[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (value < 0)
        text[--at] = '-';
    buf_add(buf, text + at, sizeof text - at);
}

bool decimal_mul_div(int64_t a, int64_t b, int64_t c, enum rounding rounding, int64_t *out) {
    if (c <= 0)
        return false;
    wide product = (wide)a * b;
    wide quotient = product / c, rest = product % c;
    int sign = product < 0 ? -1 : 1;
    wide twice = (rest < 0 ? -rest : rest) * 2;
    if (twice > c || (twice == c && (rounding == ROUND_HALF_UP || quotient % 2 != 0)))
        quotient += sign;
    if (quotient > INT64_MAX || quotient < INT64_MIN)
        return false;
    *out = (int64_t)quotient;
    return true;
}
