/* webhook: what goes out to a subscription that was made through the API, in the form in which
 * delivery knows those of connectors: a connector of one `send` entry, with what is particular to it
 * (struct webhook). Signed by Standard Webhooks 1.0.
 *
 * What always holds: a request carries the same webhook-id for one event, whenever it is sent; each
 * secret that counts at that time signs it, the newest first. */
#ifndef PENSTOCK_CONNECT_WEBHOOK_H
#define PENSTOCK_CONNECT_WEBHOOK_H

#include "connect/connector.h"

#define WEBHOOK_SECRETS_MAX 4
struct webhook_secret {
    struct str secret; /* "whsec_…" */
    int64_t until_us;  /* wall clock; 0: the newest */
};
/* Longest pause between two probes of one that does not answer. */
#define WEBHOOK_PROBE_MAX_MS INT64_C(300000)

struct webhook {
    struct str name;     /* as who made it knows it */
    uint64_t after;      /* events with a greater seq are for it */
    int64_t changed_us;  /* when it was made so, wall clock: what failed before counts no more */
    const struct str *keys; /* subjects, or their beginnings with "*" */
    uint32_t key_count;  /* 0: all */
    struct webhook_secret secrets[WEBHOOK_SECRETS_MAX];
    uint32_t secret_count;
    bool guarded;        /* public addresses alone */
    bool pull;           /* nothing is sent: they fetch */
};

/* Everything but `webhook` in `given` is copied from it; absent texts may stay so. */
struct webhook_given {
    struct str subscription, owner, url;
    const struct str *events;
    uint32_t event_count;
    bool enabled, personal;
    int64_t concurrency, timeout_ms;
    int64_t attempts_max; /* then it is held; of pull: times it is handed out */
    struct webhook webhook;
};
/* The caller is its first user (connector_release); the entry is the first of its `send`. ERR_NOMEM. */
enum err webhook_connector(const struct webhook_given *given, const struct connector **out,
                           struct fault *fault) WARN_UNUSED;

/* Whether an event of this subject is for it. */
bool webhook_wants_key(const struct webhook *webhook, struct str subject);

/* Value of the header webhook-signature: "v1,… v1,…". ERR_NOMEM, ERR_INTERNAL. */
enum err webhook_sign(const struct webhook *webhook, struct str id, int64_t now_us, struct str body,
                      struct buf *out, struct fault *fault) WARN_UNUSED;

/* Pauses of Standard Webhooks 1.0 ("Deliverability and reliability") between two attempts. */
extern const int64_t webhook_pauses_ms[];
extern const uint32_t webhook_pause_count;

#endif
