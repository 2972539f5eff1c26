/* facts: what partners say that is no command of the hub's (yet): a refund, a payment, a till sale,
 * a product, a price. It is kept as a canonical document under the partner's own key, in the
 * newest version, to be followed (events), listed and traced. A capability that learns to do more
 * with a kind of fact follows its events. */
#ifndef PENSTOCK_DOMAIN_FACTS_H
#define PENSTOCK_DOMAIN_FACTS_H

#include "core/capability.h"

extern const struct capability facts_capability;

/* Body of command fact.keep and data of event fact.kept. Natural key: connector, kind and key,
 * which is also the subject of the event ("shop/refund/17"). What is older than what was kept under
 * it is settled as stale, the same again as nothing-new; everything else is another fact.kept. */
struct fact {
    uint64_t has;
    struct str connector;       /* who says so; set by the hub */
    struct str kind;            /* "refund", "payment", "product" …; without "/" */
    struct str key;             /* the partner's own number of it */
    struct str version;         /* number or time; absent: that of the message it came in */
    struct instant happened_at; /* as the partner says */
    struct str customer_id;     /* whom it is about; absent: the fact is its own person, and has
                                   nothing `personal` */
    struct shape_list refs;     /* of struct str: other numbers that trace finds it under */
    const struct json *document; /* what is known of it, without what is personal */
    const struct json *personal; /* the rest: names, addresses, mail, phones; sealed */
    struct str digest;           /* of all of it; set by the hub */
};
enum fact_row {
    FACT_CONNECTOR, FACT_KIND, FACT_KEY, FACT_VERSION, FACT_HAPPENED_AT, FACT_CUSTOMER_ID,
    FACT_REFS, FACT_DOCUMENT, FACT_PERSONAL, FACT_DIGEST,
};
extern const struct shape fact_shape;

/* A fact: from partners' messages alone, it has no route. */
extern const struct command_type fact_keep_command;

#endif
