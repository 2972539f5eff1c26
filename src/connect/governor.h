/* governor: keeps one remote account within its limits: rate and burst, calls at once, calls a day,
 * times at which it takes none; and finds out what it takes where nobody said, or what was said is too
 * much. Pure: time comes in, as a tick and as wall clock.
 *
 * Rate: a bucket of `burst` calls that fills evenly (GCRA: ITU-T I.371, annex A); at first it holds one, because
 * what a life before has asked for is not known. Adapting: an answer that
 * says "too much" halves the rate (and what may be at once) and lets nothing go for a while; each second
 * of success gives a part of it back: additive increase, multiplicative decrease (Chiu and Jain, 1989).
 * Where no rate was declared, there is none until the first "too much", which is met with half of what
 * went through before it.
 *
 * What always holds: never more calls at once than declared, never more in any span than rate × span +
 * burst (and one more for each restart in it), never more in a day than the quota, none within a
 * maintenance window; it adapts below what is declared, never above. */
#ifndef PENSTOCK_CONNECT_GOVERNOR_H
#define PENSTOCK_CONNECT_GOVERNOR_H

#include "base/rng.h"
#include "base/zone.h"
#include "connect/throttle.h"

/* Calendar times in the account's zone at which it takes no calls. */
struct governor_window {
    uint8_t days;            /* bit 0: Monday … bit 6: Sunday */
    const int32_t *dates;    /* besides: days since 1970-01-01 */
    uint32_t date_count;
    int32_t from_min, to_min; /* of the day, [from, to); to <= from: until that time of the next day */
};

struct governor_limits {
    int64_t calls, per_ms, burst; /* calls 0: no rate is declared; burst at least 1 */
    uint32_t concurrency;         /* 0: not declared */
    int64_t quota_per_day;        /* 0: none */
    const struct zone *zone;      /* of days and windows; NULL: UTC */
    const struct governor_window *windows;
    uint32_t window_count;
    bool fixed;                   /* what is declared is neither adapted nor are hints believed */
};

struct governor_time {
    int64_t tick_us, wall_us;
};

struct governor {
    struct governor_limits limits; /* what it points to is the caller's */
    int64_t tat_ns;       /* theoretical arrival time: tick at which the bucket is full again */
    int64_t gap_ns;       /* between calls at an even pace, undiminished; 0: no rate */
    int64_t burst;
    int64_t factor;       /* of the rate, in GOVERNOR_ONE */
    int64_t window_c;     /* calls at once, in GOVERNOR_ONE; of a declared concurrency */
    uint32_t out;         /* under way */
    bool found;           /* the rate was not declared, but found out */
    uint32_t refused;     /* "too much" in a row */
    int64_t pause_us;     /* nothing before it */
    int64_t cut_us;       /* when it was last halved: calls from before say nothing new */
    int64_t grown_us;     /* since when it grows */
    int64_t span_us, span_ok, rate_ok_mps; /* what goes through: this second, the one before */
    int64_t day_end_s;    /* of the quota's day; 0: not known yet */
    int64_t used;         /* of the quota, this day */
};
#define GOVERNOR_ONE 1024

/* Begins with a full bucket. */
void governor_init(struct governor *governor, const struct governor_limits *limits, struct governor_time now);
/* Other limits from now on; what is under way and was used stays. */
void governor_limits_set(struct governor *governor, const struct governor_limits *limits,
                         struct governor_time now);

/* Why no call may go. SHUT ones may last: who can do something else should. */
enum governor_says {
    GOVERNOR_GO,
    GOVERNOR_BUSY,   /* as many are under way as may be */
    GOVERNOR_PACE,   /* a moment, by the rate */
    GOVERNOR_PAUSED, /* the other side asked for it */
    GOVERNOR_WINDOW,
    GOVERNOR_QUOTA,
};
const char *governor_says_name(enum governor_says says);
/* Whether a call may go now. *due_us: the tick at which asking again makes sense, by time alone;
 * INT64_MAX: when one that is under way has ended. */
enum governor_says governor_ask(struct governor *governor, struct governor_time now, int64_t *due_us);
/* One goes: after GOVERNOR_GO. */
void governor_take(struct governor *governor, struct governor_time now);

enum governor_end {
    GOVERNOR_DONE,   /* it was taken: it counts for what goes through */
    GOVERNOR_NOTHING, /* no answer, or one that says nothing of limits */
    GOVERNOR_TOO_MUCH,
};
/* One that went at began_us has ended. retry_after_ms: -1 where it was not said; hint: NULL likewise. */
void governor_end(struct governor *governor, enum governor_end end, int64_t began_us,
                  int64_t retry_after_ms, const struct throttle_hint *hint, struct rng *rng,
                  struct governor_time now);
/* Of an earlier life, whose day ended then (seconds since 1970). */
void governor_restore(struct governor *governor, int64_t used, int64_t day_end_s);

/* For people and metrics. Tokens: calls that could go at once; INT64_MAX: no rate. Rate in thousandths
 * of a call a second; 0: none. */
int64_t governor_tokens(const struct governor *governor, int64_t tick_us);
int64_t governor_rate_mps(const struct governor *governor);
uint32_t governor_concurrency(const struct governor *governor); /* as it is now; 0: any */
/* Whether it is within a maintenance window; *end_us: when that ends, wall clock. */
bool governor_in_window(const struct governor_limits *limits, int64_t wall_us, int64_t *end_us);

#endif
