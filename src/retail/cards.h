/* cards: payment card numbers in documents (requirement: none enters). What base/pan.h takes for
 * one counts wherever it stands, in texts, numbers and member names, but for what the member's
 * name says of it:
 *
 *   gtin, ean, upc, barcode, isbn, sku …   13 or 14 digits with a GS1 check digit are an article
 *   phone, mobile, fax …                   up to 15 digits are a telephone's (E.164)
 *   id, …_id, …Id, tracking, imei …        a number written without separators is an identifier of
 *                                          somebody's, unless the caller is strict; not where the
 *                                          name speaks of a card ("card_id")
 *
 * Amounts and times need no rule: thirteen digits of minor units are sold by nobody, and times in
 * milli-, micro- or nanoseconds begin with a 1, as no card does. */
#ifndef PENSTOCK_RETAIL_CARDS_H
#define PENSTOCK_RETAIL_CARDS_H

#include "base/json.h"

/* Adds a fault for each text, number or member name of the document that holds a card number,
 * with its pointer, never the number; how many. `text` is what the document was parsed from, or
 * absent: it is looked at first, as a whole, which is all that most documents cost. */
uint32_t cards_find(const struct json *document, struct str text, bool strict, struct fault *fault);

/* Where they were, for people: pointers joined by ", ". */
#define CARDS_TOLD_BYTES 1000
struct cards_masked {
    uint32_t count;
    struct str where; /* in the arena */
};
/* As cards_find, and *out is the document with every number masked: the same nodes where there was
 * none, a copy in the arena otherwise (whose containers have no text of their own). ERR_NOMEM. */
enum err cards_mask(const struct json *document, struct str text, bool strict, struct arena *arena,
                    const struct json **out, struct cards_masked *found,
                    struct fault *fault) WARN_UNUSED;

/* Whether an identifier that comes outside of a document (a header, a part of a path) counts. */
bool cards_in_id(struct str id, bool strict);

#endif
