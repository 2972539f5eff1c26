/* country: codes of countries (ISO 3166-1 alpha-2). */
#ifndef PENSTOCK_RETAIL_COUNTRY_H
#define PENSTOCK_RETAIL_COUNTRY_H

#include <stdbool.h>

#include "base/str.h"

/* "DE"; false for lower case and for what is no country. */
bool country_valid(struct str code);

#endif
