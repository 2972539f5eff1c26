/* pan: payment card numbers (primary account numbers) in any text: 13 to 19 digits of an issuer's
 * range whose check digit holds (ISO/IEC 7812-1: issuer identification numbers and the Luhn
 * formula), alone or in the groups in which they are printed and typed.
 *
 * Not taken for one, wherever it stands: a number behind '+' of up to 15 digits (a telephone's,
 * E.164), the decimals of a fraction, part of an IBAN (ISO 13616), of a longer word of letters and
 * digits (hashes, tokens), of a longer number. What else looks like one (GTIN, order numbers)
 * depends on where it stands: retail/cards.h knows.
 *
 * A mask keeps the first six and the last four digits, the most that may be shown (PCI DSS 3.4).
 * Pure; looks at a text without any suspicious run of digits at about the speed of memory. */
#ifndef PENSTOCK_BASE_PAN_H
#define PENSTOCK_BASE_PAN_H

#include "base/str.h"

#define PAN_DIGITS_MIN 13
#define PAN_DIGITS_MAX 19

struct pan_place {
    size_t at, len;  /* from the first digit to the last */
    uint32_t digits;
    bool grouped; /* with separators, as people write them */
};

/* The first one at or behind `from`. */
bool pan_next(struct str text, size_t from, struct pan_place *out);
static inline bool pan_in(struct str text) {
    struct pan_place place;
    return pan_next(text, 0, &place);
}

/* Puts '*' for the digits between the first six and the last four. With `number`, it must stay a
 * number: zeros, so that its check digit does not hold any more. */
void pan_mask_at(char *text, const struct pan_place *place, bool number);
/* Where to look on behind one that was masked. What is left of it may be part of another one, and
 * what an IBAN or a word around it spoke for may stand alone now. */
static inline size_t pan_again(const struct pan_place *place) {
    return place->at > 64 ? place->at - 64 : 0;
}
/* All in a text; how many there were. */
size_t pan_mask(char *text, size_t len);

#endif
