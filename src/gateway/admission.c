/* admission: see admission.h. Owns what each loop counts, the shares that the control step sets, and
 * the figures. The control step is run by whichever thread first finds that an interval is over. */
#include "gateway/admission.h"

#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/limits.h"

#define CALLERS 4096 /* that a loop counts apart */
#define LEAST 0.01   /* less than that is nothing */
#define LASTS 2      /* intervals in a row before anything is shed */
#define LINES 64     /* of a bulk call under way, at once, while bulk is shed */
#define ADJACENT_US 50
#define BUCKETS 24
#define FAR 3 /* times what the least caller asks: so much is nobody's flood */

/* Least important first. */
static const enum traffic_class order[TRAFFIC_CLASSES] = {CLASS_BULK, CLASS_OPS, CLASS_CATALOGUE,
                                                          CLASS_STOCK, CLASS_CHECKOUT};

struct caller {
    uint64_t id;
    uint32_t window; /* in which `now` was counted */
    uint32_t now, last; /* last: as if its window had taken an interval */
};
/* What callers of a class asked in the last whole window, thrown together by size. */
struct asked {
    uint32_t counts[BUCKETS];
    double sums[BUCKETS], least; /* least: of one caller */
    uint32_t callers;
};

/* One thread's, save what is atomic. */
struct loop {
    struct caller callers[CALLERS];
    uint32_t active[CALLERS], active_count; /* places counted in this window */
    uint32_t window;
    int64_t window_us;              /* when it began */
    double scale;                   /* interval / how long the last window took, 1 at most */
    struct asked asked[TRAFFIC_CLASSES];
    double share[TRAFFIC_CLASSES];  /* calls of one caller in an interval; < 0: any number */
    uint32_t steps;                 /* the step that shares were made for */
    uint32_t reserve;               /* calls of ops that are let in in this window */
    int64_t woke_us, rested_us, before_us; /* this turn began; the last ended; took so long */
    bool turning;
    /* Waits of this interval: of calls (0), and of the writer's answers to be taken up (1), which
     * also shows when the thread itself waits for a CPU. */
    struct {
        _Atomic uint64_t count, above, sum_us;
    } waits[2];
    _Atomic uint64_t arrived[TRAFFIC_CLASSES], shed[TRAFFIC_CLASSES];
};

struct admission {
    const struct settings *settings;
    struct clock *clock;
    uint32_t loop_count;
    void (*writer)(void *ctx, int64_t out_us[TRAFFIC_CLASSES]);
    void *ctx;
    struct loop *loops;
    _Atomic int64_t step_us; /* when the last step was */
    _Atomic bool stepping;
    _Atomic uint32_t steps; /* that changed something */
    _Atomic int64_t worker_us[TRAFFIC_CLASSES];
    /* Set by the step, read by all: parts per million. */
    _Atomic uint32_t taken[TRAFFIC_CLASSES]; /* of what arrives */
    _Atomic uint32_t fair[TRAFFIC_CLASSES];  /* the same, but only at the cost of who asks most */
    _Atomic uint32_t pressure;
    _Atomic int64_t delay_us[TRAFFIC_CLASSES][3]; /* as of the last step: loop, writer, worker */
    /* The step's own. */
    double part[TRAFFIC_CLASSES], fairness[TRAFFIC_CLASSES];
    uint64_t arrived[TRAFFIC_CLASSES], fresh[TRAFFIC_CLASSES];
    uint32_t late; /* intervals in a row */
    double worst;  /* of the last one */
};
#define WHOLE 1000000u

/* --- life ------------------------------------------------------------------------------------ */

struct admission *admission_create(const struct admission_options *options) {
    struct admission *admission = mem_zalloc(sizeof *admission);
    if (!admission)
        return NULL;
    admission->settings = options->settings;
    admission->clock = options->clock;
    admission->loop_count = options->loops;
    admission->writer = options->writer;
    admission->ctx = options->ctx;
    admission->loops = mem_zalloc(options->loops * sizeof *admission->loops);
    if (!admission->loops) {
        mem_free(admission);
        return NULL;
    }
    for (int c = 0; c < TRAFFIC_CLASSES; c++) {
        admission->part[c] = admission->fairness[c] = 1;
        atomic_store(&admission->taken[c], WHOLE);
        atomic_store(&admission->fair[c], WHOLE);
        atomic_store(&admission->worker_us[c], INT64_MAX);
        for (uint32_t i = 0; i < options->loops; i++)
            admission->loops[i].share[c] = -1;
    }
    return admission;
}

void admission_destroy(struct admission *admission) {
    if (!admission)
        return;
    mem_free(admission->loops);
    mem_free(admission);
}

int admission_retry_s(enum traffic_class traffic) {
    static const int seconds[TRAFFIC_CLASSES] = {[CLASS_CHECKOUT] = 1, [CLASS_STOCK] = 2,
                                                 [CLASS_CATALOGUE] = 5, [CLASS_BULK] = 10,
                                                 [CLASS_OPS] = 5};
    return seconds[traffic];
}

/* --- the control step -------------------------------------------------------------------------- */

static int64_t target_us(const struct settings *s, int c) {
    const int64_t ms[TRAFFIC_CLASSES] = {
        [CLASS_CHECKOUT] = s->admission_checkout_ms, [CLASS_STOCK] = s->admission_stock_ms,
        [CLASS_CATALOGUE] = s->admission_catalogue_ms, [CLASS_BULK] = s->admission_bulk_ms,
        [CLASS_OPS] = s->admission_ops_ms};
    return ms[c] * 1000;
}

struct seen {
    int64_t loop_us, writer_us[TRAFFIC_CLASSES], worker_us[TRAFFIC_CLASSES];
    double over[TRAFFIC_CLASSES];    /* times the class's own target */
    double worried[TRAFFIC_CLASSES]; /* times what it may wait beside less important ones */
};

/* The mean wait on the loop where it is the longest, of those where most waited too long; else what
 * is usual there. */
static int64_t loops_see(struct admission *admission) {
    int64_t longest_us = 0, protect_us = admission->settings->admission_protect_ms * 1000;
    for (uint32_t i = 0; i < admission->loop_count * 2; i++) {
        struct loop *loop = &admission->loops[i / 2];
        uint64_t count = atomic_exchange(&loop->waits[i % 2].count, 0);
        uint64_t above = atomic_exchange(&loop->waits[i % 2].above, 0);
        uint64_t sum_us = atomic_exchange(&loop->waits[i % 2].sum_us, 0);
        int64_t mean_us = count > 0 ? (int64_t)(sum_us / count) : 0;
        if (above * 2 <= count && mean_us > protect_us) /* few, but long: a burst */
            mean_us = protect_us;
        longest_us = mean_us > longest_us ? mean_us : longest_us;
    }
    return longest_us;
}

static void step_see(struct admission *admission, struct seen *seen) {
    double protect_us = (double)admission->settings->admission_protect_ms * 1000;
    *seen = (struct seen){.loop_us = loops_see(admission)};
    admission->writer(admission->ctx, seen->writer_us);
    for (int c = 0; c < TRAFFIC_CLASSES; c++) {
        uint64_t arrived = 0;
        int64_t worker = atomic_exchange(&admission->worker_us[c], INT64_MAX);
        seen->worker_us[c] = worker == INT64_MAX ? 0 : worker;
        for (uint32_t i = 0; i < admission->loop_count; i++)
            arrived += counter_read(&admission->loops[i].arrived[c]);
        admission->fresh[c] = arrived - admission->arrived[c];
        admission->arrived[c] = arrived;
        int64_t most = seen->loop_us > seen->writer_us[c] ? seen->loop_us : seen->writer_us[c];
        most = most > seen->worker_us[c] ? most : seen->worker_us[c];
        if (admission->fresh[c] > 0) {
            /* A commit under way is no queue: the writer may take its time four times over. */
            double writer = (double)seen->writer_us[c] / 4, loop = (double)seen->loop_us;
            seen->over[c] = (double)most / (double)target_us(admission->settings, c);
            if (c != CLASS_BULK && c != CLASS_OPS) /* nobody waits for these */
                seen->worried[c] = (loop > writer ? loop : writer) / protect_us;
        }
        atomic_store(&admission->delay_us[c][0], admission->fresh[c] > 0 ? seen->loop_us : 0);
        atomic_store(&admission->delay_us[c][1], seen->writer_us[c]);
        atomic_store(&admission->delay_us[c][2], seen->worker_us[c]);
    }
}

static double less(double part, double times) {
    part *= times > 4 ? 0.25 : 0.5;
    return part < LEAST ? 0 : part;
}

/* Sheds more for the class at `rank` of the order: of the least important one that still gets in.
 * False: there is none before it. */
static bool shed_below(struct admission *admission, int rank, double times) {
    for (int i = 0; i < rank; i++) {
        int c = order[i];
        if (admission->fresh[c] == 0 || admission->part[c] == 0)
            continue;
        admission->part[c] = less(admission->part[c], times);
        return true;
    }
    return false;
}

static void step_shed(struct admission *admission, const struct seen *seen) {
    for (int i = TRAFFIC_CLASSES - 1; i >= 0; i--) {
        int c = order[i];
        bool over = seen->over[c] > 1, worried = seen->worried[c] > 1;
        if (!over && !worried)
            continue;
        if (shed_below(admission, i, worried ? seen->worried[c] : 1))
            return;
        if (over) /* nobody left to give way: some of its own */
            admission->part[c] = less(admission->part[c], 1);
        if (worried)
            admission->fairness[c] = less(admission->fairness[c], 1);
        return;
    }
}

static double more(int c, double part) {
    static const double factors[TRAFFIC_CLASSES] = {[CLASS_CHECKOUT] = 2, [CLASS_STOCK] = 1.5,
                                                    [CLASS_CATALOGUE] = 1.15, [CLASS_BULK] = 1.15,
                                                    [CLASS_OPS] = 1.5};
    part = part * factors[c] + LEAST / 2;
    return part > 1 ? 1 : part;
}

/* The most important first; slowly, because each step is a trial. */
static void step_relax(struct admission *admission) {
    for (int i = TRAFFIC_CLASSES - 1; i >= 0; i--) {
        int c = order[i];
        if (admission->part[c] == 1 && admission->fairness[c] == 1)
            continue;
        bool asked = admission->fresh[c] > 0;
        /* by leaps: it is a part of what is asked now, and that may be little by then */
        admission->fairness[c] = more(c, admission->fairness[c] * 2);
        admission->part[c] = more(c, admission->part[c]);
        if (asked) /* who does not ask any more keeps nobody waiting */
            return;
    }
}

static void step_publish(struct admission *admission, double worst) {
    double shed = 0;
    bool any = false;
    for (int c = 0; c < TRAFFIC_CLASSES; c++) {
        uint32_t before = atomic_load(&admission->taken[c]);
        uint32_t part = (uint32_t)(admission->part[c] * WHOLE);
        uint32_t fair = (uint32_t)(admission->fairness[c] * WHOLE);
        bool was = before < WHOLE || atomic_load(&admission->fair[c]) < WHOLE;
        bool is = part < WHOLE || fair < WHOLE;
        atomic_store(&admission->taken[c], part);
        atomic_store(&admission->fair[c], fair);
        shed += 1 - (admission->part[c] < admission->fairness[c] ? admission->part[c]
                                                                 : admission->fairness[c]);
        any |= is;
        if (was != is)
            log_line(LOG_WARN, "gateway", is ? "overloaded: calls are shed" : "nothing is shed any more",
                     "class=%s", traffic_class_names[c]);
    }
    double pressure = worst > 1 ? 0.5 : worst / 2;
    if (any)
        pressure = 0.5 + shed / TRAFFIC_CLASSES / 2;
    atomic_store(&admission->pressure, (uint32_t)(pressure * WHOLE));
    atomic_fetch_add(&admission->steps, any);
}

static void step(struct admission *admission) {
    struct seen seen;
    double worst = 0;
    step_see(admission, &seen);
    for (int c = 0; c < TRAFFIC_CLASSES; c++) {
        worst = seen.over[c] > worst ? seen.over[c] : worst;
        worst = seen.worried[c] > worst ? seen.worried[c] : worst;
    }
    admission->late = worst > 1 ? admission->late + 1 : 0;
    bool shrinks = worst < 0.9 * admission->worst; /* enough is shed: what there is drains */
    admission->worst = worst;
    if (admission->late >= LASTS && !shrinks)
        step_shed(admission, &seen);
    else if (worst < 0.5)
        step_relax(admission);
    step_publish(admission, worst);
}

static void step_at(struct admission *admission, int64_t now_us) {
    int64_t interval_us = admission->settings->admission_interval_ms * 1000;
    int64_t last_us = atomic_load_explicit(&admission->step_us, memory_order_relaxed);
    if (now_us - last_us < interval_us || atomic_exchange(&admission->stepping, true))
        return;
    last_us = atomic_load(&admission->step_us);
    if (last_us == 0 || now_us - last_us > 60 * interval_us) /* long quiet */
        for (int c = 0; last_us > 0 && c < TRAFFIC_CLASSES; c++)
            admission->part[c] = admission->fairness[c] = 1;
    if (now_us - last_us >= interval_us) {
        step(admission);
        atomic_store(&admission->step_us, now_us);
    }
    atomic_store(&admission->stepping, false);
}

void admission_tick(struct admission *admission) {
    if (admission->settings->admission_enabled)
        step_at(admission, clock_tick_us(admission->clock));
}

/* --- one loop ---------------------------------------------------------------------------------- */

static void wait_note(struct admission *admission, struct loop *loop, int kind, int64_t us) {
    us = us > 0 ? us : 0;
    atomic_fetch_add_explicit(&loop->waits[kind].count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&loop->waits[kind].sum_us, (uint64_t)us, memory_order_relaxed);
    if (us > admission->settings->admission_protect_ms * 1000)
        atomic_fetch_add_explicit(&loop->waits[kind].above, 1, memory_order_relaxed);
}

void admission_answers_waited(struct admission *admission, uint32_t index, int64_t us) {
    wait_note(admission, &admission->loops[index], 1, us);
}

void admission_loop_woke(struct admission *admission, uint32_t index) {
    struct loop *loop = &admission->loops[index];
    if (loop->turning)
        return;
    loop->turning = true;
    loop->woke_us = clock_tick_us(admission->clock);
    /* Events that were there at once may have come at any time of the turn before. */
    loop->before_us = loop->woke_us - loop->rested_us < ADJACENT_US ? loop->before_us : 0;
}

void admission_loop_rests(struct admission *admission, uint32_t index) {
    struct loop *loop = &admission->loops[index];
    loop->rested_us = clock_tick_us(admission->clock);
    loop->before_us = loop->turning ? loop->rested_us - loop->woke_us : 0;
    loop->turning = false;
}

void admission_worker_waited(struct admission *admission, enum traffic_class traffic, int64_t us) {
    _Atomic int64_t *least = &admission->worker_us[traffic];
    int64_t before = atomic_load_explicit(least, memory_order_relaxed);
    while (us < before && !atomic_compare_exchange_weak(least, &before, us)) {
    }
}

/* How many calls each caller may have so that `part` of all are taken: theta with
 * sum(min(n, theta)) = part * sum(n). Callers are thrown together by the size of their numbers. */
static double share_of(const struct asked *asked, double part) {
    double total = 0, below = 0;
    uint32_t above = 0;
    for (int b = 0; b < BUCKETS; b++) {
        total += asked->sums[b];
        above += asked->counts[b];
    }
    double wanted = total * part;
    for (int b = 0; b < BUCKETS; b++) {
        if (asked->counts[b] == 0)
            continue;
        double mean = asked->sums[b] / asked->counts[b];
        if (below + mean * above >= wanted)
            return (wanted - below) / above;
        below += asked->sums[b];
        above -= asked->counts[b];
    }
    return -1;
}

static uint64_t place_id(uint64_t caller, enum traffic_class traffic) {
    return (caller ^ (uint64_t)(traffic + 1) * UINT64_C(0x9e3779b97f4a7c15)) << 3 | (traffic + 1);
}

/* What each caller may have of a class, from what was asked in the last window. */
static void shares_make(struct admission *admission, struct loop *loop) {
    loop->steps = atomic_load_explicit(&admission->steps, memory_order_relaxed);
    for (int c = 0; c < TRAFFIC_CLASSES; c++) {
        const struct asked *asked = &loop->asked[c];
        double part = atomic_load_explicit(&admission->taken[c], memory_order_relaxed) / 1e6;
        double fair = atomic_load_explicit(&admission->fair[c], memory_order_relaxed) / 1e6;
        double share = part < 1 ? share_of(asked, part) : -1;
        if (fair < 1 && asked->callers > 1) { /* only who asks far more than the least one does */
            double beside = share_of(asked, fair);
            beside = beside >= 0 && beside < FAR * asked->least ? FAR * asked->least : beside;
            share = share < 0 || (beside >= 0 && beside < share) ? beside : share;
        }
        loop->share[c] = share;
    }
}

/* A window has ended: what callers asked in it. */
static void asked_make(struct loop *loop) {
    memset(loop->asked, 0, sizeof loop->asked);
    for (uint32_t i = 0; i < loop->active_count; i++) {
        const struct caller *caller = &loop->callers[loop->active[i]];
        struct asked *asked = &loop->asked[(caller->id & 7) - 1];
        double n = caller->now * loop->scale;
        int b = 31 - __builtin_clz((uint32_t)n | 1);
        b = b < BUCKETS ? b : BUCKETS - 1;
        asked->callers++;
        asked->counts[b]++;
        asked->sums[b] += n;
        if (asked->least == 0 || n < asked->least)
            asked->least = n;
    }
}

static void window_turn(struct admission *admission, struct loop *loop, int64_t now_us) {
    const struct settings *s = admission->settings;
    int64_t interval_us = s->admission_interval_ms * 1000, took_us = now_us - loop->window_us;
    if (took_us >= interval_us) {
        loop->scale = (double)interval_us / (double)took_us;
        asked_make(loop);
        loop->active_count = 0;
        loop->window++;
        loop->window_us = now_us;
        int64_t reserve = s->admission_ops_reserve * s->admission_interval_ms / 1000 /
                          admission->loop_count;
        loop->reserve = s->admission_ops_reserve == 0 ? 0 : reserve > 0 ? (uint32_t)reserve : 1;
    } else if (loop->steps == atomic_load_explicit(&admission->steps, memory_order_relaxed)) {
        return;
    }
    shares_make(admission, loop);
}

/* The caller's place, its number of this window one higher. Where two meet, both count as one. */
static const struct caller *caller_count(struct loop *loop, uint64_t id) {
    struct caller *caller = &loop->callers[(id * UINT64_C(0x9e3779b97f4a7c15)) >> 52];
    if (caller->id != id && caller->window != loop->window)
        *caller = (struct caller){.id = id, .window = loop->window - 1};
    if (caller->window != loop->window) {
        caller->last = caller->window + 1 == loop->window
                           ? (uint32_t)(caller->now * loop->scale + 0.5) : 0;
        caller->now = 0;
        caller->window = loop->window;
        if (loop->active_count < CALLERS)
            loop->active[loop->active_count++] = (uint32_t)(caller - loop->callers);
    }
    caller->now++;
    return caller;
}

static bool by_chance(struct rng *rng, double chance) {
    return (double)(rng_u64(rng) >> 11) * 0x1p-53 < chance;
}

static bool admits(const struct loop *loop, enum traffic_class traffic,
                   const struct caller *caller, double part, double intervals, struct rng *rng) {
    double share = loop->share[traffic];
    double now = caller->now / (intervals > 1 ? intervals : 1);
    double asked = caller->last > now ? caller->last : now;
    if (part == 0)
        return false;
    return share < 0 || asked <= share || by_chance(rng, share / asked);
}

bool admission_admits(struct admission *admission, uint32_t index, enum traffic_class traffic,
                      uint64_t id, struct rng *rng) {
    struct loop *loop = &admission->loops[index];
    int64_t now_us = clock_tick_us(admission->clock);
    if (!admission->settings->admission_enabled)
        return true;
    admission_loop_woke(admission, index);
    wait_note(admission, loop, 0, now_us - loop->woke_us + loop->before_us);
    step_at(admission, now_us);
    window_turn(admission, loop, now_us);
    counter_add(&loop->arrived[traffic], 1);
    const struct caller *caller = caller_count(loop, place_id(id, traffic));
    uint32_t taken = atomic_load_explicit(&admission->taken[traffic], memory_order_relaxed);
    uint32_t fair = atomic_load_explicit(&admission->fair[traffic], memory_order_relaxed);
    if (taken == WHOLE && fair == WHOLE)
        return true;
    double intervals = (double)(now_us - loop->window_us) /
                       (double)(admission->settings->admission_interval_ms * 1000);
    if (admits(loop, traffic, caller, taken / 1e6, intervals, rng))
        return true;
    if (traffic == CLASS_OPS && loop->reserve > 0) {
        loop->reserve--;
        return true;
    }
    counter_add(&loop->shed[traffic], 1);
    return false;
}

uint32_t admission_bulk_lines(struct admission *admission, uint32_t index, struct rng *rng) {
    uint32_t taken = atomic_load_explicit(&admission->taken[CLASS_BULK], memory_order_relaxed);
    if (taken == WHOLE || !admission->settings->admission_enabled)
        return UINT32_MAX;
    step_at(admission, clock_tick_us(admission->clock));
    /* They count as arriving, so that shedding them is known to have an effect; a few get through in
     * any case, so that a call under way ends some day. */
    counter_add(&admission->loops[index].arrived[CLASS_BULK], 1);
    double part = taken / 1e6;
    return by_chance(rng, part > LEAST ? part : LEAST) ? LINES : 0;
}

/* --- figures ----------------------------------------------------------------------------------- */

void admission_figures(struct admission *admission, struct metrics *out) {
    static const char *const queues[3] = {"loop", "writer", "worker"};
    admission_tick(admission);
    metric_add(out, METRIC_ADMISSION_PRESSURE, NULL, atomic_load(&admission->pressure));
    for (int c = 0; c < TRAFFIC_CLASSES; c++) {
        struct str class = str_c(traffic_class_names[c]);
        uint64_t shed = 0;
        uint32_t taken = atomic_load(&admission->taken[c]), fair = atomic_load(&admission->fair[c]);
        for (uint32_t i = 0; i < admission->loop_count; i++)
            shed += counter_read(&admission->loops[i].shed[c]);
        metric_add(out, METRIC_ADMISSION_SHED, METRIC_LABELS(class), shed);
        metric_add(out, METRIC_ADMISSION_TAKEN, METRIC_LABELS(class), taken < fair ? taken : fair);
        for (int q = 0; q < 3; q++)
            metric_add(out, METRIC_QUEUE_DELAY, METRIC_LABELS(class, str_c(queues[q])),
                       (uint64_t)atomic_load(&admission->delay_us[c][q]));
    }
}
