/* decimal: exact numbers without floating point.
 *
 * A quantity is an int64 count of millionths (scale 6); a rate (tax, exchange) an int64 count
 * of billionths (scale 9); money an int64 count of the currency's minor units. Arithmetic is
 * in 128 bits and reports overflow. Text has no superfluous zeros: "2", "0.5", "-1.25". */
#ifndef PENSTOCK_BASE_DECIMAL_H
#define PENSTOCK_BASE_DECIMAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

#define QTY_SCALE 6
#define QTY_ONE INT64_C(1000000)
#define RATE_SCALE 9
#define RATE_ONE INT64_C(1000000000)

/* -?digits[.digits], no exponent, no leading '+', no leading zeros but "0" itself. False on
 * another form, more than `scale` significant decimals, or overflow. */
bool decimal_parse(struct str text, int scale, int64_t *out);
/* Also takes a JSON number's exponent form ("1e2"). */
bool decimal_parse_number(struct str text, int scale, int64_t *out);
void decimal_write(struct buf *buf, int64_t value, int scale);

/* How a half is rounded. Half away from zero is the trade's "commercial" rounding
 * (DIN 1333); half to even is IEEE 754's. */
enum rounding { ROUND_HALF_UP, ROUND_HALF_EVEN };
/* a * b / c, rounded; c > 0. False on overflow of the result. */
bool decimal_mul_div(int64_t a, int64_t b, int64_t c, enum rounding rounding, int64_t *out);
/* a + b; false on overflow. */
static inline bool decimal_add(int64_t a, int64_t b, int64_t *out) {
    return !__builtin_add_overflow(a, b, out);
}

#endif
