/* subscribers: subscriptions that others make through the API: what they want to be told of, and
 * how: a webhook (an address that is posted to) or pull (they fetch, and acknowledge). Delivery
 * follows them from this state (deliver/subscribers.c), as it follows those of connectors.
 *
 * What always holds: no secret is in the journal: a secret is made of the cell's own secret, the
 * subscription and the number that stands in the journal (subscriber_secret_make), and shown in the
 * answer that made it alone. A subscription that was deleted and made again is another one: it has
 * another `delivery`. Whether it stands still is said by its delivery's stop (stops.h), and shown with
 * it. */
#ifndef PENSTOCK_DOMAIN_SUBSCRIBERS_H
#define PENSTOCK_DOMAIN_SUBSCRIBERS_H

#include "core/capability.h"
#include "domain/stops.h"

extern const struct capability subscribers_capability;

enum subscriber_kind { SUBSCRIBER_WEBHOOK, SUBSCRIBER_PULL };
enum subscriber_state { SUBSCRIBER_ACTIVE, SUBSCRIBER_STOPPED };

struct subscriber_key {
    uint64_t has;
    struct str id;
    struct instant since, until; /* until: absent while it is the newest */
};
enum subscriber_key_row { SUBSCRIBER_KEY_ID, SUBSCRIBER_KEY_SINCE, SUBSCRIBER_KEY_UNTIL };

#define SUBSCRIBER_NAME_MAX 40
#define SUBSCRIBER_EVENTS_MAX 64
#define SUBSCRIBER_KEYS_MAX 256
#define SUBSCRIBER_SECRETS_MAX 4
/* Body of subscriber.create, data of all events of a subscription, answer. */
struct subscriber {
    uint64_t has;
    struct str name;
    int32_t kind;             /* enum subscriber_kind */
    struct str url;           /* webhooks */
    struct shape_list events; /* of struct str: "order.captured", "order.*" */
    struct shape_list keys;   /* of struct str: subjects, or their beginnings with "*"; none: all */
    bool personal;
    struct str owner, description;
    int64_t after;            /* events with a greater seq are for it */
    /* the hub's */
    int32_t state;            /* enum subscriber_state; shown (subscriber_show), not kept */
    struct stopped_doc *stopped; /* likewise; NULL: it is not */
    struct str delivery;      /* its name among the deliveries: "crm:4711" */
    struct str created_by;
    struct instant created_at, changed_at;
    int64_t version;
    struct shape_list secrets; /* of struct subscriber_key, oldest first; webhooks */
    struct str secret;         /* in the answer that made it alone */
};
enum subscriber_row {
    SUBSCRIBER_NAME, SUBSCRIBER_KIND, SUBSCRIBER_URL, SUBSCRIBER_EVENTS, SUBSCRIBER_KEYS,
    SUBSCRIBER_PERSONAL, SUBSCRIBER_OWNER, SUBSCRIBER_DESCRIPTION, SUBSCRIBER_AFTER, SUBSCRIBER_STATE,
    SUBSCRIBER_STOPPED_AS, SUBSCRIBER_DELIVERY, SUBSCRIBER_CREATED_BY, SUBSCRIBER_CREATED_AT,
    SUBSCRIBER_CHANGED_AT, SUBSCRIBER_VERSION, SUBSCRIBER_SECRETS, SUBSCRIBER_SECRET,
};
extern const struct shape subscriber_shape;

/* A copy of it with what is true of it now, by its stops; texts in the arena. */
enum err subscriber_show(const struct subscriber *doc, const void *stops, struct arena *arena,
                         struct subscriber *out) WARN_UNUSED;

struct decision;
/* Whether there is one of this name among the deliveries. */
bool subscriber_followed(const struct decision *decision, struct str delivery);
extern const struct event_type subscriber_deleted_event;

/* Subject is the name; goes to this subscription alone, whatever it wants. */
#define EVENT_SUBSCRIBER_TESTED "subscriber.tested"

/* One as of a commit: never changes, and lives while somebody uses it. Any thread. */
struct subscriber_entry {
    struct subscriber doc;
    uint64_t seq; /* of the event that made it so */
};
const struct subscriber_entry *subscriber_take(const struct subscriber_entry *entry);
void subscriber_release(const struct subscriber_entry *entry); /* or NULL */

/* Answers the one that args[0] names, as it is now. */
enum err subscriber_query(struct query *query, struct fault *fault) WARN_UNUSED;

/* Differs where the subscriptions or any of their members do, over a state that is built anew as well; 0: there
 * are none. Any thread. */
uint64_t subscribers_version(const void *part);
/* Those there are, in order of their names; each is to be released. Between core_read_begin and
 * core_read_end. ERR_NOMEM. */
enum err subscribers_all(const void *part, const struct subscriber_entry ***out,
                         uint32_t *count) WARN_UNUSED;
/* NULL: there is none. To be released. Likewise. */
const struct subscriber_entry *subscriber_find(const void *part, struct str name);

/* A secret as Standard Webhooks 1.0 writes it, "whsec_" and base64 of 32 bytes, in the arena; absent: no
 * memory. Without a keyring (a cell for tests) it is none: anyone can make it. */
struct str subscriber_secret_make(struct keyring *keyring, struct str delivery, struct str id,
                                  struct arena *arena);

#endif
