/* breaker: whether calls to one endpoint (an origin of one account) make sense now. Pure: time comes in
 * as microseconds of a tick.
 *
 *     closed ──(failures in a row)──▶ open ──(pause over)──▶ half-open: one call, the probe
 *        ▲                             ▲                        │
 *        └──────── it is answered ─────┼────────────────────────┤
 *                                      └── longer pause ── it is not
 *
 * What always holds: while it is not closed at most one probe is out; calls that began before it opened,
 * or before the last probe failed, lengthen no pause; any answer that makes sense closes it. */
#ifndef PENSTOCK_CONNECT_BREAKER_H
#define PENSTOCK_CONNECT_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"

struct breaker_policy {
    uint32_t after;           /* failures in a row that open it; at least 1 */
    int64_t first_ms, max_ms; /* pause before the first probe; longest pause: it doubles */
};

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };
struct breaker {
    uint32_t failures; /* in a row, while closed */
    uint32_t probes;   /* that failed in a row, while open */
    bool open, probing;
    int64_t probe_us;   /* when the next probe may go */
    int64_t out_us;     /* when the one that is out went: those of before it closed and opened again are none */
    int64_t counted_us; /* calls begun before it say nothing new */
};
const char *breaker_state_name(enum breaker_state state);

/* Half-open: its pause is over, or its probe is out. */
enum breaker_state breaker_state(const struct breaker *breaker, int64_t now_us);
/* Whether a call may go now; *probe: it is the one that tries. */
bool breaker_take(struct breaker *breaker, int64_t now_us, bool *probe);
/* What breaker_take would say, without taking. */
bool breaker_lets(const struct breaker *breaker, int64_t now_us);
/* When breaker_lets changes by time alone; INT64_MAX while a probe is out, 0 while closed. */
int64_t breaker_due_us(const struct breaker *breaker);

enum breaker_end { BREAKER_GOOD, BREAKER_BAD, BREAKER_SAYS_NOTHING };
enum breaker_change { BREAKER_SAME, BREAKER_OPENED, BREAKER_CLOSED_AGAIN };
/* A call ended that breaker_take let go at began_us. retry_after_ms: what the other side asked for, -1
 * where it did not. */
enum breaker_change breaker_end(struct breaker *breaker, const struct breaker_policy *policy,
                                struct rng *rng, bool probe, int64_t began_us, enum breaker_end end,
                                int64_t retry_after_ms, int64_t now_us);
/* As it was in an earlier life: a probe goes at once. */
void breaker_restore(struct breaker *breaker, const struct breaker_policy *policy, int64_t now_us);

#endif
