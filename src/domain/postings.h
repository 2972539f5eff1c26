/* postings: what went to the books: which event was posted to which system, and the number that
 * system gave it. One posting per subscription and event, whatever is told how often. */
#ifndef PENSTOCK_DOMAIN_POSTINGS_H
#define PENSTOCK_DOMAIN_POSTINGS_H

#include "core/capability.h"

extern const struct capability postings_capability;
extern const struct event_type posting_posted_event;

/* Body of command posting.record and data of event posting.posted. */
struct posting {
    uint64_t has;
    struct str subscription;
    struct str connector;
    int64_t event_seq;    /* of the event that was posted */
    struct str order_id;  /* its subject */
    struct str reference; /* the system's own number */
    int64_t attempts;     /* sendings it took, this life of the hub */
    bool found;           /* it was there already: found by a look-up, not by the post's answer */
    struct str mapping, mapping_version; /* that made the document: mapping_source.name, .version;
                                            absent: the event went as it is */
};
enum posting_row {
    POSTING_SUBSCRIPTION, POSTING_CONNECTOR, POSTING_EVENT_SEQ, POSTING_ORDER_ID,
    POSTING_REFERENCE, POSTING_ATTEMPTS, POSTING_FOUND,
    POSTING_MAPPING, POSTING_MAPPING_VERSION,
};
extern const struct shape posting_shape;

/* Internal command, body struct posting. Told again for the same subscription and event_seq it
 * answers OK and changes nothing. ERR_CONFLICT beyond POSTINGS_SUBSCRIPTIONS_MAX subscriptions. */
extern const struct command_type posting_record_command;
#define POSTINGS_SUBSCRIPTIONS_MAX 256

/* Whether this event was posted. Any thread, between core_read_begin and core_read_end; may
 * tell of a posting that is decided and not yet durable. */
bool posting_known(const void *state, struct str subscription, uint64_t event_seq);

#endif
