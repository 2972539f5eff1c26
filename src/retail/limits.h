/* limits: bounds that the canonical documents share. */
#ifndef PENSTOCK_RETAIL_LIMITS_H
#define PENSTOCK_RETAIL_LIMITS_H

#include "base/decimal.h"

/* One amount: 10^15 minor units, so that 5000 of them add up within 64 bits, and a reader that
 * holds numbers as IEEE 754 doubles still has them exactly (2^53). */
#define MONEY_MAX INT64_C(1000000000000000)
/* A thousand million pieces, kilos or metres. */
#define QUANTITY_MAX (INT64_C(1000000000) * QTY_ONE)
#define ORDER_LINES_MAX 5000
#define TAXES_MAX 20 /* tax lines of one line */

#endif
