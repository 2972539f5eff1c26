/* limit: see limit.h. Owns the compiled policies, the two tables, the thread that writes quotas.
 *
 * Policies are numbers; which of them hold for a route and class, and which beat which, are masks made
 * at start. What a caller's name has to do with it is remembered per loop. */
#include "gateway/limit.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/zone.h"
#include "gateway/quota.h"

#define CALLERS_KEPT 1024 /* of a view; direct mapped */

struct policy {
    struct config_limit row;
    uint64_t salt;  /* makes a key of its own for each caller */
    uint64_t beats; /* less particular ones of the same name */
    uint64_t scopes[ROUTE_SCOPES_MAX / 64];
    int64_t cost_ns, full_ns;
    struct str text; /* "default";q=100;w=60 */
    _Atomic uint64_t refused;
};

struct limiter {
    const struct config *config;
    struct clock *clock;
    struct arena arena;
    struct zone *zone;
    uint32_t count, routes;
    struct policy *policies;
    uint64_t by[3], named, scoped, quotas; /* masks */
    uint64_t (*where)[TRAFFIC_CLASSES];    /* by route */
    uint64_t seed;
    struct limit_table *buckets, *counts;
    /* the writer of quotas */
    struct quota_file *file;
    pthread_t thread;
    bool running, stopping;
    pthread_mutex_t lock;
    pthread_cond_t wake;
};

struct limit_view {
    struct limiter *limiter;
    struct known {
        uint64_t id, mask; /* policies that name this caller */
    } known[CALLERS_KEPT];
    struct {
        int64_t start_s, end_s;
    } periods[3];
    uint32_t refused; /* policy of the last refusal */
};

#define BIT(i) (UINT64_C(1) << (i))

/* --- compiling ------------------------------------------------------------------------------ */

static int particular(const struct config_limit *row) {
    return (row->callers.count > 0) * 8 + (row->scopes.count > 0) * 4 +
           (row->routes.count > 0 || row->connectors.count > 0) * 2 + (row->classes.count > 0);
}

static void beats_make(struct limiter *limiter) {
    for (uint32_t i = 0; i < limiter->count; i++)
        for (uint32_t k = 0; k < limiter->count; k++) {
            const struct config_limit *a = &limiter->policies[i].row, *b = &limiter->policies[k].row;
            int more = particular(a) - particular(b);
            if (i != k && str_eq(a->policy, b->policy) && (more > 0 || (more == 0 && i < k)))
                limiter->policies[i].beats |= BIT(k);
        }
}

static bool names(struct shape_list list, struct str a, struct str b) {
    for (uint32_t i = 0; i < list.count; i++)
        if (str_eq(*list_at(list, struct str, i), a) || str_eq(*list_at(list, struct str, i), b))
            return true;
    return list.count == 0;
}

static bool scopes_make(struct policy *policy, const struct router *router) {
    for (uint32_t k = 0; k < policy->row.scopes.count; k++) {
        bool found = false;
        for (uint32_t i = 0; i < router_scope_count(router); i++)
            if (str_is(*list_at(policy->row.scopes, struct str, k), router_scope(router, i))) {
                policy->scopes[i / 64] |= BIT(i % 64);
                found = true;
            }
        if (!found)
            return false;
    }
    return true;
}

static enum err where_make(struct limiter *limiter, const struct router *router, uint32_t p,
                           struct fault *fault) {
    const struct config_limit *row = &limiter->policies[p].row;
    uint32_t found = 0;
    for (uint32_t r = 0; r < limiter->routes; r++) {
        bool here = names(row->routes, router_entry(router, r)->idem, STR_NONE);
        found += here;
        for (int c = 0; here && c < TRAFFIC_CLASSES; c++)
            if (names(row->classes, str_c(traffic_class_names[c]), STR_NONE))
                limiter->where[r][c] |= BIT(p);
    }
    if (found < row->routes.count)
        return fault_set(fault, ERR_INVALID, "limits: the policy \"%.*s\" names a route that there "
                                             "is not; `penstock openapi` lists them",
                         STR_FMT(row->policy));
    return OK;
}

static enum err policy_make(struct limiter *limiter, const struct config_limit *row,
                            const struct router *router, struct fault *fault) {
    static const int period_s[] = {3600, 86400, 2592000};
    uint32_t p = limiter->count;
    struct policy *policy = &limiter->policies[p];
    if (p == LIMIT_POLICIES_MAX)
        return fault_set(fault, ERR_INVALID, "limits: more than %d policies", LIMIT_POLICIES_MAX);
    policy->row = *row;
    policy->salt = hash64(row->policy, (uint64_t)particular(row) + 1);
    if (!scopes_make(policy, router))
        return fault_set(fault, ERR_INVALID, "limits: the policy \"%.*s\" names a scope that there "
                                             "is not; `penstock key scopes` lists them",
                         STR_FMT(row->policy));
    if (shape_has(row, LIMIT_QUOTA)) {
        limiter->quotas |= BIT(p);
        policy->text = arena_printf(&limiter->arena, "\"%.*s\";q=%lld;w=%d", STR_FMT(row->policy),
                                    (long long)row->quota, period_s[row->period]);
    } else {
        policy->cost_ns = (row->window_s * 1000000000 + row->rate - 1) / row->rate;
        policy->full_ns = policy->cost_ns * row->burst;
        policy->text = arena_printf(&limiter->arena, "\"%.*s\";q=%lld;w=%lld", STR_FMT(row->policy),
                                    (long long)row->rate, (long long)row->window_s);
    }
    limiter->by[row->by] |= BIT(p);
    if (row->callers.count > 0 || row->connectors.count > 0)
        limiter->named |= BIT(p);
    if (row->scopes.count > 0)
        limiter->scoped |= BIT(p);
    limiter->count++;
    return policy->text.ptr ? where_make(limiter, router, p, fault)
                            : fault_set(fault, ERR_NOMEM, "no memory for the limits");
}

static enum err policies_make(struct limiter *limiter, const struct limiter_options *options,
                              struct fault *fault) {
    const struct shape_list *list = &options->config->limits;
    enum err err = OK;
    limiter->routes = router_count(options->router);
    limiter->policies = arena_array(&limiter->arena, LIMIT_POLICIES_MAX, sizeof(struct policy));
    limiter->where = arena_array(&limiter->arena, limiter->routes + 1, sizeof *limiter->where);
    if (!limiter->policies || !limiter->where)
        return fault_set(fault, ERR_NOMEM, "no memory for the limits");
    if (!options->config->settings.limits_enabled)
        return OK;
    for (uint32_t i = 0; i < list->count && err == OK; i++)
        err = policy_make(limiter, list_at(*list, struct config_limit, i), options->router, fault);
    for (const struct config_limit *row = limit_built_in; row->policy.ptr && err == OK; row++)
        err = policy_make(limiter, row, options->router, fault);
    beats_make(limiter);
    return err;
}

/* --- the writer of quotas -------------------------------------------------------------------- */

static void quotas_write(struct limiter *limiter) {
    struct fault fault = {0};
    uint32_t count;
    if (quota_file_write(limiter->file, limiter->counts, clock_now_us(limiter->clock) / 1000000,
                         &count, &fault) != OK)
        log_line(LOG_WARN, "gateway", "quotas can not be written: a restart would forget them",
                 "detail=%s", log_quote(str_c(fault.detail)));
}

static void *writer_run(void *arg) {
    struct limiter *limiter = arg;
    pthread_setname_np(pthread_self(), "quotas");
    pthread_mutex_lock(&limiter->lock);
    while (!limiter->stopping) {
        int64_t at_us = clock_tick_us(&clock_system) + LIMIT_WRITE_MS * 1000;
        struct timespec until = {.tv_sec = at_us / 1000000, .tv_nsec = at_us % 1000000 * 1000};
        pthread_cond_timedwait(&limiter->wake, &limiter->lock, &until);
        pthread_mutex_unlock(&limiter->lock);
        quotas_write(limiter);
        pthread_mutex_lock(&limiter->lock);
    }
    pthread_mutex_unlock(&limiter->lock);
    return NULL;
}

static enum err quotas_start(struct limiter *limiter, const char *path, struct fault *fault) {
    enum err err = quota_file_open(path, &rng_system, &limiter->file, fault);
    if (err == OK)
        err = quota_file_load(limiter->file, limiter->counts,
                              clock_now_us(limiter->clock) / 1000000, fault);
    if (err != OK)
        return err;
    limiter->seed = quota_file_seed(limiter->file);
    if (pthread_create(&limiter->thread, NULL, writer_run, limiter) != 0)
        return fault_set(fault, ERR_NOMEM, "the thread that writes quotas can not be started");
    limiter->running = true;
    return OK;
}

/* --- life ----------------------------------------------------------------------------------- */

enum err limiter_create(const struct limiter_options *options, struct limiter **out,
                        struct fault *fault) {
    pthread_condattr_t attr;
    *out = NULL;
    struct limiter *limiter = mem_zalloc(sizeof *limiter);
    if (!limiter)
        return fault_set(fault, ERR_NOMEM, "no memory for the limits");
    limiter->config = options->config;
    limiter->clock = options->clock;
    arena_init(&limiter->arena, 0);
    pthread_mutex_init(&limiter->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&limiter->wake, &attr);
    pthread_condattr_destroy(&attr);
    limiter->seed = rng_u64(&rng_system);
    uint32_t kept = (uint32_t)options->config->settings.limit_callers_max;
    enum err err = policies_make(limiter, options, fault);
    if (err == OK) {
        limiter->buckets = limit_table_create(LIMIT_BUCKETS, kept, LIMIT_POLICIES_MAX);
        limiter->counts = limit_table_create(LIMIT_COUNTS, limiter->quotas ? kept : 8,
                                             LIMIT_POLICIES_MAX);
        if (!limiter->buckets || !limiter->counts)
            err = fault_set(fault, ERR_NOMEM, "no memory for the limits");
    }
    if (err == OK && !str_is(options->config->time_zone, "UTC"))
        err = zone_load(options->config->time_zone, &limiter->zone, fault);
    if (err == OK && limiter->quotas && options->path)
        err = quotas_start(limiter, options->path, fault);
    if (err != OK) {
        limiter_destroy(limiter);
        return err;
    }
    *out = limiter;
    return OK;
}

void limiter_destroy(struct limiter *limiter) {
    if (!limiter)
        return;
    if (limiter->running) {
        pthread_mutex_lock(&limiter->lock);
        limiter->stopping = true;
        pthread_cond_signal(&limiter->wake);
        pthread_mutex_unlock(&limiter->lock);
        pthread_join(limiter->thread, NULL);
        quotas_write(limiter);
    }
    quota_file_close(limiter->file);
    limit_table_destroy(limiter->buckets);
    limit_table_destroy(limiter->counts);
    zone_destroy(limiter->zone);
    pthread_mutex_destroy(&limiter->lock);
    pthread_cond_destroy(&limiter->wake);
    arena_free(&limiter->arena);
    mem_free(limiter);
}

struct limit_view *limit_view_create(struct limiter *limiter) {
    struct limit_view *view = mem_zalloc(sizeof *view);
    if (view)
        view->limiter = limiter;
    return view;
}

void limit_view_destroy(struct limit_view *view) { mem_free(view); }

/* --- which policies ------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h) { /* the finaliser of MurmurHash3 */
    h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
    h = (h ^ h >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    h ^= h >> 33;
    return h ? h : 1;
}

/* Policies that name the caller, of those that name any. */
static uint64_t known_mask(struct limit_view *view, const struct limit_who *who, uint64_t id) {
    struct limiter *limiter = view->limiter;
    struct known *known = &view->known[id % CALLERS_KEPT];
    if (limiter->named == 0 || known->id == id)
        return limiter->named == 0 ? 0 : known->mask;
    known->id = id;
    known->mask = 0;
    for (uint32_t p = 0; p < limiter->count; p++) {
        const struct config_limit *row = &limiter->policies[p].row;
        struct shape_list list = row->by == LIMIT_BY_CONNECTOR ? row->connectors : row->callers;
        if (limiter->named & BIT(p) && row->by == (int)who->by && names(list, who->id, who->name))
            known->mask |= BIT(p);
    }
    return known->mask;
}

static uint64_t scoped_mask(const struct limiter *limiter, const uint64_t *scopes) {
    uint64_t mask = 0;
    for (uint64_t rest = scopes ? limiter->scoped : 0; rest; rest &= rest - 1) {
        uint32_t p = (uint32_t)__builtin_ctzll(rest);
        for (uint32_t i = 0; i < ROUTE_SCOPES_MAX / 64; i++)
            if (limiter->policies[p].scopes[i] & scopes[i])
                mask |= BIT(p);
    }
    return mask;
}

void limit_find(struct limit_view *view, const struct limit_who *who,
                const struct limit_where *where, struct limit_set *out) {
    struct limiter *limiter = view->limiter;
    uint64_t mask = limiter->where[where->route][where->traffic] & limiter->by[who->by];
    out->count = 0;
    if (mask == 0)
        return;
    out->key = hash64(who->id, limiter->seed + (uint64_t)who->by);
    if (mask & limiter->named)
        mask &= known_mask(view, who, out->key) | ~limiter->named;
    if (mask & limiter->scoped)
        mask &= scoped_mask(limiter, who->scopes) | ~limiter->scoped;
    for (uint64_t rest = mask; rest; rest &= rest - 1)
        mask &= ~limiter->policies[__builtin_ctzll(rest)].beats;
    for (; mask && out->count < LIMIT_HITS_MAX; mask &= mask - 1)
        out->hits[out->count++] = (struct limit_hit){.policy = (uint8_t)__builtin_ctzll(mask)};
}

/* --- asking --------------------------------------------------------------------------------- */

static void period_find(struct limit_view *view, int32_t period, struct limit_ask *ask) {
    int64_t *start = &view->periods[period].start_s, *end = &view->periods[period].end_s;
    if (ask->now < *start || ask->now >= *end)
        zone_period_of(view->limiter->zone, (enum zone_period)period, ask->now, start, end);
    ask->start = *start;
    ask->end = *end;
}

static struct limit_table *ask_make(struct limit_view *view, const struct limit_set *set,
                                    const struct limit_hit *hit, uint64_t units,
                                    struct limit_ask *ask) {
    struct limiter *limiter = view->limiter;
    const struct policy *policy = &limiter->policies[hit->policy];
    *ask = (struct limit_ask){.key = mix(set->key ^ policy->salt), .spare = hit->policy,
                              .units = units};
    if (limiter->quotas & BIT(hit->policy)) {
        ask->now = clock_now_us(limiter->clock) / 1000000;
        ask->full = policy->row.quota;
        period_find(view, policy->row.period, ask);
        return limiter->counts;
    }
    ask->now = clock_tick_us(limiter->clock) * 1000;
    ask->cost = policy->cost_ns;
    ask->full = policy->full_ns;
    return limiter->buckets;
}

static void hit_note(const struct limiter *limiter, struct limit_hit *hit,
                     const struct limit_left *left) {
    bool quota = limiter->quotas & BIT(hit->policy);
    hit->units = left->units;
    hit->fresh_s = quota ? left->fresh : (left->fresh + 999999999) / 1000000000;
}

static int64_t left_wait_us(const struct limiter *limiter, const struct limit_hit *hit,
                            const struct limit_left *left) {
    return limiter->quotas & BIT(hit->policy) ? left->wait * 1000000 : (left->wait + 999) / 1000;
}

static enum err refuse(struct limit_view *view, const struct limit_hit *hit, int64_t wait_us,
                       struct fault *fault) {
    static const char *const periods[] = {"an hour", "a day", "a month"};
    static const char *const units[] = {"documents", "calls"};
    struct policy *policy = &view->limiter->policies[hit->policy];
    const struct config_limit *row = &policy->row;
    long long wait_s = (wait_us + 999999) / 1000000;
    view->refused = hit->policy;
    if (shape_has(row, LIMIT_QUOTA))
        return fault_set(fault, ERR_RATE, "over the policy \"%.*s\": %lld %s %s; it begins anew in "
                                          "%lld s", STR_FMT(row->policy), (long long)row->quota,
                         units[row->unit], periods[row->period], wait_s);
    return fault_set(fault, ERR_RATE, "over the policy \"%.*s\": %lld %s in %lld s, %lld at once; "
                                      "try again in %lld s", STR_FMT(row->policy),
                     (long long)row->rate, units[row->unit], (long long)row->window_s,
                     (long long)row->burst, wait_s);
}

static bool counts_unit(const struct limiter *limiter, const struct limit_hit *hit,
                        unsigned units) {
    return units & (limiter->policies[hit->policy].row.unit == LIMIT_UNIT_CALLS ? LIMIT_CALLS
                                                                                 : LIMIT_DOCUMENTS);
}

/* Looks at each; the one that keeps waiting longest refuses, unless it slows. */
static enum err look(struct limit_view *view, struct limit_set *set, unsigned units,
                     int64_t slow_us, int64_t *wait_us, struct fault *fault) {
    struct limiter *limiter = view->limiter;
    const struct limit_hit *worst = NULL;
    *wait_us = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        struct limit_hit *hit = &set->hits[i];
        struct limit_ask ask;
        struct limit_table *table = ask_make(view, set, hit, counts_unit(limiter, hit, units), &ask);
        struct limit_left left = limit_look(table, &ask);
        int64_t us = left_wait_us(limiter, hit, &left);
        bool slows = limiter->policies[hit->policy].row.over == LIMIT_OVER_SLOW && us <= slow_us;
        left.units += left.admitted ? ask.units : 0; /* nothing was taken yet */
        hit_note(limiter, hit, &left);
        if (left.admitted || slows || us < *wait_us)
            continue;
        worst = hit;
        *wait_us = us;
    }
    return worst ? refuse(view, worst, *wait_us, fault) : OK;
}

static enum err refused_count(struct limit_view *view, enum err err) {
    if (err != OK)
        atomic_fetch_add_explicit(&view->limiter->policies[view->refused].refused, 1,
                                  memory_order_relaxed);
    return err;
}

enum err limit_ask_slow(struct limit_view *view, struct limit_set *set, unsigned units,
                        int64_t max_us, int64_t *wait_us, struct fault *fault) {
    struct limiter *limiter = view->limiter;
    enum err err = OK;
    *wait_us = 0;
    if (set->count > 1 || max_us > 0) /* a single one is looked at by taking it */
        err = look(view, set, units, max_us, wait_us, fault);
    for (uint32_t i = 0; i < set->count && err == OK; i++) {
        struct limit_hit *hit = &set->hits[i];
        bool slows = limiter->policies[hit->policy].row.over == LIMIT_OVER_SLOW && max_us > 0;
        struct limit_ask ask;
        struct limit_table *table = ask_make(view, set, hit, counts_unit(limiter, hit, units), &ask);
        struct limit_left left;
        if (ask.units == 0 && set->count > 1)
            continue; /* looked at above */
        left = slows ? limit_borrow(table, &ask) : limit_take(table, &ask);
        hit_note(limiter, hit, &left);
        int64_t us = left_wait_us(limiter, hit, &left);
        if (us > *wait_us)
            *wait_us = us;
        if (!left.admitted)
            err = refuse(view, hit, us, fault);
    }
    return refused_count(view, err);
}

enum err limit_ask_for(struct limit_view *view, struct limit_set *set, unsigned units,
                       int64_t *wait_us, struct fault *fault) {
    return limit_ask_slow(view, set, units, 0, wait_us, fault);
}

enum err limit_may(struct limit_view *view, struct limit_set *set, int64_t *wait_us,
                   struct fault *fault) {
    return refused_count(view, look(view, set, LIMIT_ANY, 0, wait_us, fault));
}

bool limit_refused_by_quota(const struct limit_view *view, const struct limit_set *set) {
    return view->limiter->quotas & BIT(view->refused);
}

/* --- telling -------------------------------------------------------------------------------- */

void limit_policy_write(const struct limit_view *view, const struct limit_set *set,
                        struct buf *out) {
    for (uint32_t i = 0; i < set->count; i++) {
        if (i > 0)
            buf_lit(out, ", ");
        buf_str_add(out, view->limiter->policies[set->hits[i].policy].text);
    }
}

void limit_left_write(const struct limit_view *view, const struct limit_set *set,
                      struct buf *out) {
    for (uint32_t i = 0; i < set->count; i++) {
        const struct limit_hit *hit = &set->hits[i];
        if (i > 0)
            buf_lit(out, ", ");
        buf_char(out, '"');
        buf_str_add(out, view->limiter->policies[hit->policy].row.policy);
        buf_lit(out, "\";r=");
        buf_u64(out, hit->units);
        buf_lit(out, ";t=");
        buf_i64(out, hit->fresh_s);
    }
}

void limiter_figures(struct limiter *limiter, struct metrics *out) {
    for (uint32_t p = 0; p < limiter->count; p++) {
        const struct policy *policy = &limiter->policies[p];
        uint64_t refused = atomic_load_explicit(&policy->refused, memory_order_relaxed);
        bool before = false; /* policies of one name are one figure */
        for (uint32_t k = 0; k < limiter->count; k++) {
            if (k == p || !str_eq(limiter->policies[k].row.policy, policy->row.policy))
                continue;
            before |= k < p;
            refused += atomic_load_explicit(&limiter->policies[k].refused, memory_order_relaxed);
        }
        if (!before)
            metric_add(out, METRIC_LIMIT_REFUSED, METRIC_LABELS(policy->row.policy), refused);
    }
    metric_add(out, METRIC_LIMIT_TRACKED, METRIC_LABELS(STR("rates")),
               limit_table_used(limiter->buckets, clock_tick_us(limiter->clock) * 1000));
    metric_add(out, METRIC_LIMIT_TRACKED, METRIC_LABELS(STR("quotas")),
               limit_table_used(limiter->counts, clock_now_us(limiter->clock) / 1000000));
}
