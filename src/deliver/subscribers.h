/* subscribers: the subscriptions that others made through the API (domain/subscribers.h), among those
 * of connectors: which there are, and what is particular to a webhook: it is signed, it says how long
 * it has failed, and one that failed for too long, or says that it is gone, is stopped (stop.h).
 *
 * What always holds: at least once, in order per key, under the same id; nothing is given up but the
 * subscription itself. */
#ifndef PENSTOCK_DELIVER_SUBSCRIBERS_H
#define PENSTOCK_DELIVER_SUBSCRIBERS_H

#include "connect/webhook.h"
#include "deliver/deliver_priv.h"

/* Those of the state into d->made; the loop's thread, or the only one. *changed: others than before. */
enum err subscribers_look(struct deliver *d, bool *changed, struct fault *fault) WARN_UNUSED;
/* Each round: follows what has changed, and forgets what is gone. */
void subscribers_step(struct deliver *d);
void subscribers_end(struct deliver *d);
/* At the start, once they are followed: what an earlier life kept of those that were removed, and could
 * not throw away any more, goes now. */
enum err subscribers_purge(struct deliver *d, struct fault *fault) WARN_UNUSED;

/* Another version of it holds: what waits goes at once, and nothing counts as failed yet. Under the
 * lock. */
void subscriber_changed(struct subscription *sub);
/* It stands still: how long it failed before counts no more. Under the lock. */
void subscriber_rests(struct subscription *sub);
/* Since when it has failed, as the progress store has it. */
int64_t subscriber_failing(const struct subscription *sub);

/* Whether it is of a type and about a subject that it wants, whenever it happened. */
bool send_takes(const struct connector_send *send, const struct record *record);
/* Whether the event is for this subscription, whoever made it. */
bool subscription_takes(const struct subscription *sub, const struct record *record);
/* Where it begins at the earliest; 0: anywhere. */
uint64_t subscription_after(const struct subscription *sub);

/* Headers of a webhook's request, at most WEBHOOK_HEADERS, into `out`; answers how many. */
#define WEBHOOK_HEADERS 3
enum err webhook_headers(struct attempt *attempt, struct str body, struct net_header *out,
                         uint32_t *count, struct fault *fault) WARN_UNUSED;
/* net_request.wanted of a webhook: its subscription is still as it was when the request was made. */
bool webhook_wanted(void *ctx);
/* net_done of a webhook. */
void webhook_done(void *ctx, const struct net_answer *answer);
/* Pauses between attempts, by the standard; NULL: as the policy says. */
const int64_t *subscription_pauses(const struct connector_send *send, uint32_t *count);

/* Sends what is held of one made through the API again, from that event on: those that are first of
 * their keys, and with them what waits behind. Any thread but the loop's. ERR_NOT_FOUND: there is no
 * such one. */
enum err subscriber_recover(struct deliver *d, struct str name, uint64_t since_seq, int64_t since_us,
                            struct str by, uint64_t *recovered, bool *more,
                            struct fault *fault) WARN_UNUSED;

#endif
