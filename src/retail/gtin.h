/* gtin: GS1 trade item numbers. GTIN-8, -12, -13, -14 in, kept as 14 digits
 * (GS1 General Specifications, section 7.9: modulo 10 check digit). */
#ifndef PENSTOCK_RETAIL_GTIN_H
#define PENSTOCK_RETAIL_GTIN_H

#include <stdbool.h>

#include "base/str.h"

/* Writes 14 digits; false where length, digits or the check digit are wrong. */
bool gtin_normalise(struct str text, char out[14]);
/* GLN: 13 digits with the same check digit. */
bool gln_valid(struct str text);

#endif
