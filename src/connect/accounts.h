/* accounts: the governor of each remote account (a connector) and the breaker of each of its endpoints (the
 * origin of a URL, as https://erp.example:8443), one set for all threads of a hub: deliveries, operations
 * and polls share them. gate.h is how calls go through them.
 *
 * What always holds: what waits is ordered by class, within a class by turns among those who wait; nobody
 * blocks: who must wait is woken; every call that went is counted, whoever made it.
 *
 * Breakers that are open and what is used of quotas outlive a restart: who owns delivery's progress keeps
 * them as notes (accounts_notes, accounts_restore) and tells the journal of breakers that open and close
 * (accounts_change). */
#ifndef PENSTOCK_CONNECT_ACCOUNTS_H
#define PENSTOCK_CONNECT_ACCOUNTS_H

#include "base/clock.h"
#include "base/metric.h"
#include "base/rng.h"
#include "connect/account.h"

struct accounts;
struct accounts_options {
    struct clock *clock;
    struct rng *rng;
    struct breaker_policy breaker; /* where a connector says no other */
};
struct accounts *accounts_create(const struct accounts_options *options);
/* When no net uses them any more. */
void accounts_destroy(struct accounts *accounts);
/* What connectors do not say. */
struct breaker_policy accounts_breaker(uint32_t after, int64_t probe_max_ms);

/* Any thread. Whether a call to this URL would go, or wait for a moment; false: *due_us (tick) is when asking
 * again makes sense, INT64_MAX: once a call of the flow that waits has gone. */
bool accounts_room(struct accounts *accounts, const struct connector *connector, struct str url,
                   const struct net_flow *flow, int64_t *due_us);
/* Any thread. Whether the breaker of this URL is open or half-open. */
bool accounts_broken(struct accounts *accounts, const struct connector *connector, struct str url);
/* Any thread. A call to this URL could not even be made, because nobody gave what it takes to make one (a
 * token): for the breaker as good as no answer. */
void accounts_failed(struct accounts *accounts, const struct connector *connector, struct str url,
                     struct str cause);
/* Any thread. Somebody says that it was mended: the next call tries it, and no pause holds it up. */
void accounts_mended(struct accounts *accounts, const struct connector *connector, struct str url);
/* Any thread. */
void accounts_figures(struct accounts *accounts, struct metrics *out);

/* --- what outlives a restart, and is told ------------------------------------------------------- */
#define ACCOUNTS_NOTE_NAME_MAX 400
#define ACCOUNTS_NOTE_MAX 300
/* Who does that: `wake`, from any thread, when there is something to note or to tell; it only signals. What
 * is used of a quota is then never more than what its notes say. */
void accounts_keeper_set(struct accounts *accounts, void (*wake)(void *ctx), void *ctx);
/* Visits what has changed since the last time; `text` absent: the note goes. */
void accounts_notes(struct accounts *accounts, void (*visit)(void *ctx, struct str name, struct str text),
                    void *ctx);
bool accounts_notes_due(struct accounts *accounts);
/* What was visited is on disk. */
void accounts_notes_kept(struct accounts *accounts);
/* What was visited did not reach the disk: all is visited again. */
void accounts_notes_lost(struct accounts *accounts);
/* A note of an earlier life, before the first call. What can not be read is passed over. */
void accounts_restore(struct accounts *accounts, struct str name, struct str text);

/* A breaker that opened or closed, in the order in which they did for each endpoint. */
struct accounts_change {
    bool opened;
    char connector[128], endpoint[256], cause[200];
    int64_t at_us, since_us; /* wall clock; since: when it opened */
    uint32_t failures;       /* in a row, that opened it */
};
/* The first that was not told yet, and is on disk: what the journal knows to be open, the next life knows, too.
 * False: there is none. */
bool accounts_change(struct accounts *accounts, struct accounts_change *out);
/* The journal knows it. */
void accounts_change_told(struct accounts *accounts, const struct accounts_change *change);

#endif
