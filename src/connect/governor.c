/* governor: see governor.h. Owns nothing. */
#include "connect/governor.h"

#include "base/err.h"
#include "base/planted.h"
#include "base/rng.h"

#define FACTOR_MIN (GOVERNOR_ONE / 64)
#define GROW_US INT64_C(10000000)      /* until all of a declared rate is back */
#define FOUND_GROW_MPS 1000            /* at least so much a second, where the rate was found out */
#define FOUND_MPS_MIN 1000
#define FORGET_FACTOR 16               /* a found rate that has grown so much is none any more */
#define PAUSE_FIRST_MS 250
#define PAUSE_MAX_MS 60000
#define NS INT64_C(1000)
#define LATE_NS INT64_C(5000000) /* timers come late: so much of it is not lost for the pace */

const char *governor_says_name(enum governor_says says) {
    static const char *const names[] = {"open", "busy", "paced", "paused", "maintenance", "quota"};
    return names[says];
}

/* --- limits -------------------------------------------------------------------------------- */

static void rate_declared(struct governor *g) {
    const struct governor_limits *limits = &g->limits;
    g->found = false;
    g->gap_ns = limits->calls > 0 ? limits->per_ms * 1000000 / limits->calls : 0;
    if (limits->calls > 0 && g->gap_ns < 1)
        g->gap_ns = 1;
    g->burst = limits->burst > 0 ? limits->burst : 1;
    g->factor = GOVERNOR_ONE;
}

/* With so many calls in the bucket, or as many as it holds. */
static void bucket_fill(struct governor *g, int64_t tokens, struct governor_time now) {
    int64_t gap = g->gap_ns;
    g->tat_ns = now.tick_us * NS + (g->burst - (tokens < g->burst ? tokens : g->burst)) * gap;
}

void governor_init(struct governor *g, const struct governor_limits *limits, struct governor_time now) {
    *g = (struct governor){.limits = *limits, .cut_us = INT64_MIN, .grown_us = now.tick_us, .span_us = now.tick_us};
    rate_declared(g);
    bucket_fill(g, PLANTED(RESTART_BURSTS) ? g->burst : 1, now);
    g->window_c = (int64_t)limits->concurrency * GOVERNOR_ONE;
}

void governor_limits_set(struct governor *g, const struct governor_limits *limits, struct governor_time now) {
    const struct governor_limits *old = &g->limits;
    bool rate = old->calls != limits->calls || old->per_ms != limits->per_ms || old->burst != limits->burst;
    bool once = old->concurrency != limits->concurrency;
    bool days = old->zone != limits->zone;
    int64_t tokens = g->gap_ns > 0 ? governor_tokens(g, now.tick_us) : PLANTED(RESTART_BURSTS) ? limits->burst : 1;
    g->limits = *limits;
    if (rate) {
        rate_declared(g);
        bucket_fill(g, tokens, now);
    }
    if (once)
        g->window_c = (int64_t)limits->concurrency * GOVERNOR_ONE;
    if (days && g->used == 0)
        g->day_end_s = 0;
}

/* --- the calendar ---------------------------------------------------------------------------- */

static bool day_listed(const struct governor_window *window, int64_t day) {
    int64_t weekday = ((day + 3) % 7 + 7) % 7; /* 1970-01-01 was a Thursday */
    if (window->days >> weekday & 1)
        return true;
    for (uint32_t i = 0; i < window->date_count; i++)
        if (window->dates[i] == day)
            return true;
    return false;
}

/* Minutes from this one until the window's end; 0: not within it. */
static int64_t window_left_min(const struct governor_window *window, int64_t day, int64_t minute) {
    bool over = window->to_min <= window->from_min;
    int64_t to = window->to_min + (over ? 1440 : 0);
    if (day_listed(window, day) && minute >= window->from_min && minute < to)
        return to - minute;
    if (over && day_listed(window, day - 1) && minute < window->to_min)
        return window->to_min - minute;
    return 0;
}

bool governor_in_window(const struct governor_limits *limits, int64_t wall_us, int64_t *end_us) {
    if (limits->window_count == 0)
        return false;
    int64_t local_s = wall_us / 1000000 + zone_offset_s(limits->zone, wall_us / 1000000);
    int64_t day = local_s / 86400, minute = local_s % 86400 / 60, left = 0;
    for (uint32_t i = 0; i < limits->window_count; i++) {
        int64_t one = window_left_min(&limits->windows[i], day, minute);
        left = one > left ? one : left;
    }
    /* to the minute; where clocks change within it, it is asked again then */
    *end_us = (wall_us / 60000000 + left) * 60000000;
    return left > 0;
}

static void day_turn(struct governor *g, int64_t wall_us) {
    int64_t start_s, now_s = wall_us / 1000000;
    if (g->limits.quota_per_day == 0 || now_s < g->day_end_s)
        return;
    g->used = 0;
    zone_period_of(g->limits.zone, ZONE_DAY, now_s, &start_s, &g->day_end_s);
}

void governor_restore(struct governor *g, int64_t used, int64_t day_end_s) {
    g->used = used;
    g->day_end_s = day_end_s;
}

/* --- going ----------------------------------------------------------------------------------- */

static int64_t gap_now_ns(const struct governor *g) {
    return g->gap_ns > INT64_MAX / GOVERNOR_ONE ? g->gap_ns : g->gap_ns * GOVERNOR_ONE / g->factor;
}

uint32_t governor_concurrency(const struct governor *g) {
    return (uint32_t)(g->window_c / GOVERNOR_ONE);
}

enum governor_says governor_ask(struct governor *g, struct governor_time now, int64_t *due_us) {
    int64_t end_us, gap = gap_now_ns(g);
    day_turn(g, now.wall_us);
    *due_us = now.tick_us;
    if (governor_in_window(&g->limits, now.wall_us, &end_us)) {
        *due_us = now.tick_us + (end_us - now.wall_us);
        return GOVERNOR_WINDOW;
    }
    if (g->limits.quota_per_day > 0 && g->used >= g->limits.quota_per_day) {
        *due_us = now.tick_us + (g->day_end_s * 1000000 - now.wall_us);
        return GOVERNOR_QUOTA;
    }
    if (now.tick_us < g->pause_us) {
        *due_us = g->pause_us;
        return GOVERNOR_PAUSED;
    }
    if (g->window_c > 0 && g->out >= governor_concurrency(g)) {
        *due_us = INT64_MAX;
        return GOVERNOR_BUSY;
    }
    if (gap > 0 && g->tat_ns - (g->burst - 1) * gap > now.tick_us * NS) {
        *due_us = (g->tat_ns - (g->burst - 1) * gap + NS - 1) / NS;
        return GOVERNOR_PACE;
    }
    return GOVERNOR_GO;
}

void governor_take(struct governor *g, struct governor_time now) {
    int64_t gap = gap_now_ns(g), now_ns = now.tick_us * NS;
    day_turn(g, now.wall_us);
    g->out++;
    g->used += g->limits.quota_per_day > 0;
    if (gap == 0)
        return;
    int64_t floor = now_ns - (gap / 8 < LATE_NS ? gap / 8 : LATE_NS);
    g->tat_ns = (g->tat_ns > floor ? g->tat_ns : floor) + gap;
}

int64_t governor_tokens(const struct governor *g, int64_t tick_us) {
    int64_t gap = gap_now_ns(g), now_ns = tick_us * NS;
    if (gap == 0)
        return INT64_MAX;
    int64_t room = now_ns + g->burst * gap - (g->tat_ns > now_ns ? g->tat_ns : now_ns);
    return room > 0 ? room / gap : 0;
}

int64_t governor_rate_mps(const struct governor *g) {
    int64_t gap = gap_now_ns(g);
    return gap > 0 ? INT64_C(1000000000000) / gap : 0;
}

/* --- adapting -------------------------------------------------------------------------------- */

/* Another gap, the bucket as full as it was. */
static void rate_set(struct governor *g, int64_t gap_ns, int64_t burst, struct governor_time now) {
    int64_t tokens = governor_tokens(g, now.tick_us);
    g->gap_ns = gap_ns > 0 ? gap_ns : 1;
    g->burst = burst > 0 ? burst : 1;
    if (tokens > g->burst)
        tokens = g->burst;
    g->tat_ns = now.tick_us * NS + (g->burst - tokens) * gap_now_ns(g);
}

static void span_count(struct governor *g, int64_t calls, struct governor_time now) {
    int64_t span = now.tick_us - g->span_us;
    if (span >= 1000000) {
        g->rate_ok_mps = g->span_ok * 1000000000 / span;
        g->span_us = now.tick_us;
        g->span_ok = 0;
    }
    g->span_ok += calls;
}

/* Nobody declared a rate: half of what has gone through lately is one. */
static void rate_find(struct governor *g, struct governor_time now) {
    int64_t mps = g->rate_ok_mps > g->span_ok * 1000 ? g->rate_ok_mps : g->span_ok * 1000;
    mps = mps / 2 > FOUND_MPS_MIN ? mps / 2 : FOUND_MPS_MIN;
    g->found = true;
    g->factor = GOVERNOR_ONE;
    rate_set(g, INT64_C(1000000000000) / mps, 1, now);
}

/* Half the rate; what is missing in the bucket takes as much longer, else it would be full of what was
 * used already. */
static void factor_cut(struct governor *g, struct governor_time now) {
    int64_t missing_ns = g->tat_ns - now.tick_us * NS, factor = g->factor;
    g->factor = factor / 2 > FACTOR_MIN ? factor / 2 : FACTOR_MIN;
    if (PLANTED(BUCKET_REFILLED))
        g->tat_ns = now.tick_us * NS;
    else if (missing_ns > 0)
        g->tat_ns += missing_ns / g->factor * (factor - g->factor);
}

static void cut(struct governor *g, struct governor_time now) {
    g->cut_us = g->grown_us = now.tick_us;
    if (g->limits.fixed)
        return;
    if (g->gap_ns == 0)
        rate_find(g, now);
    else
        factor_cut(g, now);
    if (g->window_c > GOVERNOR_ONE)
        g->window_c = g->window_c / 2 > GOVERNOR_ONE ? g->window_c / 2 : GOVERNOR_ONE;
}

/* A success: what was cut grows again, by the time that has passed since the last one (at most a second,
 * so that a rest does not count as proof). */
static void grow(struct governor *g, struct governor_time now) {
    int64_t us = now.tick_us - g->grown_us, most = (int64_t)g->limits.concurrency * GOVERNOR_ONE;
    g->grown_us = now.tick_us;
    us = us < 0 ? 0 : us > 1000000 ? 1000000 : us;
    if (g->window_c < most) {
        g->window_c += most * us / GROW_US;
        g->window_c = g->window_c > most ? most : g->window_c;
    }
    if (g->factor < GOVERNOR_ONE) {
        int64_t more = GOVERNOR_ONE * us / GROW_US;
        if (more == 0)
            g->grown_us -= us; /* too little to count: not forgotten */
        g->factor = g->factor + more > GOVERNOR_ONE ? GOVERNOR_ONE : g->factor + more;
        return;
    }
    if (!g->found || g->limits.calls > 0 || us < 10000) {
        g->grown_us -= g->found && us < 10000 ? us : 0;
        return;
    }
    int64_t mps = INT64_C(1000000000000) / g->gap_ns;
    int64_t step = mps / 10 > FOUND_GROW_MPS ? mps / 10 : FOUND_GROW_MPS;
    mps += step * us / 1000000;
    if (mps > FORGET_FACTOR * (g->rate_ok_mps > FOUND_MPS_MIN ? g->rate_ok_mps : FOUND_MPS_MIN)) {
        g->gap_ns = 0; /* far above what is wanted: no limit is felt */
        g->found = false;
        return;
    }
    rate_set(g, INT64_C(1000000000000) / mps, 1, now);
}

static void pause(struct governor *g, int64_t retry_after_ms, struct rng *rng, struct governor_time now) {
    uint32_t more = g->refused < 8 ? g->refused : 8;
    int64_t ms = PAUSE_FIRST_MS << more;
    if (ms > PAUSE_MAX_MS)
        ms = PAUSE_MAX_MS;
    int64_t us = retry_after_ms >= 0 ? retry_after_ms * 1000
                                     : (int64_t)rng_below(rng, (uint64_t)ms * 1000 + 1);
    if (now.tick_us + us > g->pause_us && !PLANTED(PAUSE_FORGOTTEN))
        g->pause_us = now.tick_us + us;
}

/* What the other side says of its bucket is believed where it is less than ours. */
static void hint_take(struct governor *g, const struct throttle_hint *hint, struct governor_time now) {
    if (hint->restore_mps > 0) {
        int64_t gap = INT64_C(1000000000000) / hint->restore_mps;
        int64_t declared = g->limits.calls > 0 ? g->limits.per_ms * 1000000 / g->limits.calls : 0;
        int64_t burst = g->limits.calls > 0     ? g->burst
                        : hint->limit_m >= 1000 ? hint->limit_m / 1000
                                                : g->burst;
        gap = gap > declared ? gap : declared;
        g->found = false;
        if (gap != g->gap_ns || burst != g->burst)
            rate_set(g, gap, burst, now);
    }
    if (hint->remaining_m < 0)
        return;
    int64_t left = hint->remaining_m / 1000 - g->out; /* those under way may not be counted there yet */
    int64_t gap = gap_now_ns(g);
    left = left > 0 ? left : 0;
    if (left == 0 && hint->reset_ms > 0 && g->out == 0 && hint->restore_mps <= 0) {
        int64_t until = now.tick_us + hint->reset_ms * 1000;
        g->pause_us = until > g->pause_us ? until : g->pause_us;
    } else if (gap > 0 && left < governor_tokens(g, now.tick_us)) {
        g->tat_ns = now.tick_us * NS + (g->burst - left) * gap;
    } else if (gap == 0 && hint->reset_ms > 0 && hint->limit_m > 0 && hint->remaining_m * 8 < hint->limit_m) {
        int64_t even = hint->reset_ms * 1000 / (left + 1); /* few are left: spread over what remains */
        g->pause_us = now.tick_us + even > g->pause_us ? now.tick_us + even : g->pause_us;
    }
}

void governor_end(struct governor *g, enum governor_end end, int64_t began_us, int64_t retry_after_ms,
                  const struct throttle_hint *hint, struct rng *rng, struct governor_time now) {
    must(g->out > 0);
    g->out--;
    span_count(g, end == GOVERNOR_DONE, now);
    if (end == GOVERNOR_TOO_MUCH) {
        bool news = began_us >= g->cut_us;
        if (news)
            cut(g, now);
        if (news || retry_after_ms >= 0)
            pause(g, retry_after_ms, rng, now);
        g->refused += news;
    } else if (end == GOVERNOR_DONE) {
        g->refused = 0;
        if (!g->limits.fixed)
            grow(g, now);
    }
    if (hint && !g->limits.fixed)
        hint_take(g, hint, now);
}
