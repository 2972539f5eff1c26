/* conflate: where the newest value of a key is all that counts; see conflate.c. */
#ifndef PENSTOCK_DELIVER_CONFLATE_H
#define PENSTOCK_DELIVER_CONFLATE_H

#include "deliver/deliver_priv.h"

/* The event that the hub makes of stock events for who sends it. */
#define AVAILABILITY_CHANGED "availability.changed"

/* Under the lock. `row`, of a listed lane, takes the place of those that lanes_put said (LANE_SUPERSEDES). */
void superseded_list(struct subscription *sub, const struct progress_row *row,
                     const struct lane_before *before);
/* While lanes are loaded: the lane's first row is held, and what is behind it counts. */
void superseded_loaded(struct subscription *sub, const struct progress_row *row, uint64_t last_seq);

/* What the system has of the attempt's key now (JSON), or absent: nobody knows. Does nothing where
 * values are not conflated. */
void value_acknowledge(struct attempt *attempt, struct str value);
enum err value_acknowledged(struct attempt *attempt, struct str *out, struct fault *fault) WARN_UNUSED;

/* The keys whose availability the event changed, in the arena, each once (but of very many); none for
 * other events than those of stock. */
enum err availability_keys(struct deliver *d, const struct connector_send *send,
                           const struct record *record, struct arena *arena, struct str **out,
                           uint32_t *count, struct fault *fault) WARN_UNUSED;
/* The CloudEvent of the attempt's key, made of the stock event. Its data is as GET /v1/availability has
 * the position, now; with key sku {sku, available, items}. */
enum err availability_event(struct attempt *attempt, const struct record *record, struct str cell,
                            struct buf *out, struct fault *fault) WARN_UNUSED;

#endif
