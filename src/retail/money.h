/* money: currencies (ISO 4217) and their minor units. Amounts are int64 minor units. */
#ifndef PENSTOCK_RETAIL_MONEY_H
#define PENSTOCK_RETAIL_MONEY_H

#include "base/buf.h"
#include "base/decimal.h"
#include "base/str.h"

/* Decimals of the currency's minor unit (0, 2, 3, 4), or -1 where the code is none of the
 * active currencies of ISO 4217 list one. */
int currency_decimals(struct str code);
/* The currencies with so many decimals, sorted, in one text: "BHD IQD …"; NULL where none has. */
const char *currency_codes(int decimals);
/* "19.99" in EUR → 1999, exact: more decimals than the currency has must be zeros. False on
 * another form, lost digits, overflow or an unknown currency. */
bool money_parse(struct str text, struct str currency, int64_t *minor);
/* 1999 in EUR → "19.99". */
void money_write(struct buf *buf, int64_t minor, struct str currency);

#endif
