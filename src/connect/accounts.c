/* accounts: see accounts.h. One lock, held for moments. */
#include "connect/accounts.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/planted.h"
#include "connect/accounts_priv.h"

#define PROBE_FIRST_MS 200
#define KEPT_WAIT_US INT64_C(5000)
#define ACCOUNT_SHUT_US INT64_C(2000000) /* a pause that is longer is no waiting for a turn */

struct breaker_policy accounts_breaker(uint32_t after, int64_t probe_max_ms) {
    return (struct breaker_policy){
        .after = after,
        .first_ms = probe_max_ms < PROBE_FIRST_MS ? probe_max_ms : PROBE_FIRST_MS,
        .max_ms = probe_max_ms};
}

struct governor_time accounts_now(const struct accounts *accounts) {
    return (struct governor_time){.tick_us = clock_tick_us(accounts->options.clock),
                                  .wall_us = clock_now_us(accounts->options.clock)};
}

struct accounts *accounts_create(const struct accounts_options *options) {
    struct accounts *accounts = mem_zalloc(sizeof *accounts);
    if (!accounts)
        return NULL;
    accounts->options = *options;
    pthread_mutex_init(&accounts->lock, NULL);
    map_init(&accounts->map);
    return accounts;
}

void accounts_destroy(struct accounts *accounts) {
    if (!accounts)
        return;
    for (uint32_t i = 0; i < accounts->count; i++) {
        mem_free((char *)(uintptr_t)accounts->endpoints[i]->origin.ptr);
        mem_free(accounts->endpoints[i]);
    }
    mem_free(accounts->endpoints);
    while (accounts->accounts) {
        struct account *account = accounts->accounts;
        accounts->accounts = account->next;
        connector_release(account->by);
        mem_free((char *)(uintptr_t)account->name.ptr);
        mem_free(account);
    }
    map_free(&accounts->map);
    pthread_mutex_destroy(&accounts->lock);
    mem_free(accounts);
}

/* --- which ------------------------------------------------------------------------------------- */

static struct str text_copy(struct str text) {
    char *copy = mem_alloc(text.len + 1);
    if (!copy)
        return STR_NONE;
    if (text.len)
        memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    return str_of(copy, text.len);
}

static struct account *account_named(struct accounts *accounts, struct str name) {
    struct account *account = accounts->accounts;
    while (account && !str_eq(account->name, name))
        account = account->next;
    if (account)
        return account;
    account = mem_zalloc(sizeof *account);
    if (!account || !(account->name = text_copy(name)).ptr) {
        mem_free(account);
        return NULL;
    }
    for (int i = 0; i < NET_CLASSES; i++)
        account->own[i].class = (enum net_class)i;
    account->breaker = accounts->options.breaker;
    governor_init(&account->governor, &(struct governor_limits){0}, accounts_now(accounts));
    account->next = accounts->accounts;
    accounts->accounts = account;
    return account;
}

/* By another version of its connector from now on. */
static void account_by(struct accounts *accounts, struct account *account, const struct connector *connector) {
    const struct connector_account *says = connector->account;
    const struct governor_limits none = {0};
    const struct account_breaker *breaker = says ? says->breaker : NULL;
    connector_take(connector);
    governor_limits_set(&account->governor, says ? &says->limits : &none, accounts_now(accounts));
    account->breaker = accounts->options.breaker;
    if (breaker && breaker->after)
        account->breaker.after = (uint32_t)breaker->after;
    if (breaker && breaker->first_ms)
        account->breaker.first_ms = breaker->first_ms;
    if (breaker && breaker->max_ms)
        account->breaker.max_ms = breaker->max_ms;
    connector_release(account->by);
    account->by = connector;
}

struct account *account_of(struct accounts *accounts, const struct connector *connector) {
    struct account *account = account_named(accounts, connector->name);
    if (account && account->by != connector)
        account_by(accounts, account, connector);
    return account;
}

struct str url_origin(struct str url) {
    const char *slashes = memmem(url.ptr ? url.ptr : "", url.len, "://", 3);
    size_t at = slashes ? (size_t)(slashes - url.ptr) + 3 : 0;
    while (at < url.len && !strchr("/?#", url.ptr[at]))
        at++;
    return str_of(url.ptr, at);
}

struct endpoint_key {
    const struct account *account;
    struct str origin;
};

static bool endpoint_eq(const void *ctx, uint32_t index, const void *key) {
    const struct endpoint *endpoint = ((const struct accounts *)ctx)->endpoints[index];
    const struct endpoint_key *k = key;
    return endpoint->account == k->account && str_eq(endpoint->origin, k->origin);
}

static uint64_t endpoint_hash(const void *ctx, uint32_t index) {
    return ((const struct accounts *)ctx)->endpoints[index]->hash;
}

struct endpoint *endpoint_of(struct accounts *accounts, struct account *account, struct str url) {
    struct endpoint_key key = {account, url_origin(url)};
    uint64_t hash = hash64(key.origin, hash64(account->name, 0));
    uint32_t at = map_find(&accounts->map, hash, endpoint_eq, accounts, &key);
    if (at != MAP_NONE)
        return accounts->endpoints[at];
    if (accounts->count == ACCOUNTS_ENDPOINTS_MAX)
        return accounts->endpoints[accounts->count - 1];
    struct endpoint *endpoint = NULL;
    if (MEM_ROOM(accounts->endpoints, accounts->count, accounts->cap, 16))
        endpoint = mem_zalloc(sizeof *endpoint);
    if (!endpoint || !(endpoint->origin = text_copy(key.origin)).ptr) {
        mem_free(endpoint);
        return NULL;
    }
    endpoint->account = account;
    endpoint->hash = hash;
    accounts->endpoints[accounts->count] = endpoint;
    if (!map_add(&accounts->map, hash, accounts->count, endpoint_hash, accounts)) {
        mem_free((char *)(uintptr_t)endpoint->origin.ptr);
        mem_free(endpoint);
        return NULL;
    }
    accounts->count++;
    return endpoint;
}

/* --- asking -------------------------------------------------------------------------------------- */

static int64_t quota_ahead(const struct account *account) {
    int64_t part = account->governor.limits.quota_per_day / QUOTA_AHEAD_PARTS;
    return part > 0 ? part : 1;
}

static void keeper_wake(struct accounts *accounts) {
    atomic_store(&accounts->notable, true);
    if (accounts->wake)
        accounts->wake(accounts->wake_ctx);
}

void accounts_keeper_set(struct accounts *accounts, void (*wake)(void *ctx), void *ctx) {
    pthread_mutex_lock(&accounts->lock);
    accounts->wake = wake;
    accounts->wake_ctx = ctx;
    pthread_mutex_unlock(&accounts->lock);
}

enum governor_says account_ask(struct accounts *accounts, struct account *account, struct governor_time now,
                               int64_t *due_us) {
    struct governor *governor = &account->governor;
    enum governor_says says = governor_ask(governor, now, due_us);
    if (governor->limits.quota_per_day == 0 || !accounts->wake)
        return says;
    if (account->kept_day_s != governor->day_end_s) {
        account->kept_day_s = governor->day_end_s;
        account->kept = 0;
    }
    if (!account->quota_dirty && account->kept < governor->limits.quota_per_day &&
        governor->used + quota_ahead(account) / 2 >= account->kept) {
        account->quota_dirty = true;
        keeper_wake(accounts);
    }
    if (says != GOVERNOR_GO || governor->used < account->kept)
        return says;
    *due_us = now.tick_us + KEPT_WAIT_US;
    return GOVERNOR_PACE;
}

void accounts_user_add(struct accounts *accounts, struct accounts_user *user) {
    pthread_mutex_lock(&accounts->lock);
    user->next = accounts->users;
    accounts->users = user;
    pthread_mutex_unlock(&accounts->lock);
}

void accounts_user_remove(struct accounts *accounts, struct accounts_user *user) {
    pthread_mutex_lock(&accounts->lock);
    struct accounts_user **at = &accounts->users;
    while (*at != user)
        at = &(*at)->next;
    *at = user->next;
    pthread_mutex_unlock(&accounts->lock);
}

void account_due(struct accounts *accounts, struct account *account, int64_t due_us,
                 const struct accounts_user *except) {
    bool sooner = due_us < account->due_us;
    account->due_us = due_us;
    for (struct accounts_user *user = sooner ? accounts->users : NULL; user; user = user->next)
        if (user != except && user->waiting > 0)
            user->wake(user->wake_ctx);
}

bool accounts_room(struct accounts *accounts, const struct connector *connector, struct str url,
                   const struct net_flow *flow, int64_t *due_us) {
    *due_us = INT64_MAX;
    if (flow && atomic_load_explicit(&flow->waiting, memory_order_relaxed) > 0)
        return false;
    pthread_mutex_lock(&accounts->lock);
    struct governor_time now = accounts_now(accounts);
    struct account *account = account_of(accounts, connector);
    struct endpoint *endpoint = account ? endpoint_of(accounts, account, url) : NULL;
    bool room = account && endpoint;
    if (endpoint && !breaker_lets(&endpoint->breaker, now.tick_us)) {
        /* who has the probe is woken by its end; the others look again, in case it is another thread's */
        *due_us = breaker_due_us(&endpoint->breaker);
        if (*due_us == INT64_MAX)
            *due_us = now.tick_us + account->breaker.first_ms * 1000;
        room = false;
    } else if (room) {
        enum governor_says says = account_ask(accounts, account, now, due_us);
        room = says < GOVERNOR_PAUSED || *due_us - now.tick_us < ACCOUNT_SHUT_US;
    }
    pthread_mutex_unlock(&accounts->lock);
    if (!account || !endpoint)
        *due_us = now.tick_us + ACCOUNT_SHUT_US; /* no memory */
    return room;
}

bool accounts_broken(struct accounts *accounts, const struct connector *connector, struct str url) {
    if (atomic_load_explicit(&accounts->open, memory_order_relaxed) == 0)
        return false;
    pthread_mutex_lock(&accounts->lock);
    struct account *account = account_of(accounts, connector);
    struct endpoint *endpoint = account ? endpoint_of(accounts, account, url) : NULL;
    bool broken = endpoint && endpoint->breaker.open;
    pthread_mutex_unlock(&accounts->lock);
    return broken;
}

/* --- breakers ------------------------------------------------------------------------------------ */

static void endpoint_changed(struct accounts *accounts, struct endpoint *endpoint) {
    struct account *account = endpoint->account;
    endpoint->changed_us = clock_now_us(accounts->options.clock);
    endpoint->dirty = true;
    keeper_wake(accounts);
    if (endpoint->breaker.open)
        atomic_fetch_add(&accounts->open, 1);
    else
        atomic_fetch_sub(&accounts->open, 1);
    if (endpoint->breaker.open)
        log_line(LOG_WARN, "connect", "the other system does not answer, it is left alone and probed",
                 "connector=%s endpoint=%s failures=%u error=%s", log_quote(account->name),
                 log_quote(endpoint->origin), endpoint->failures, log_quote(str_c(endpoint->cause)));
    else
        log_line(LOG_INFO, "connect", "the other system answers again", "connector=%s endpoint=%s",
                 log_quote(account->name), log_quote(endpoint->origin));
}

void endpoint_end(struct accounts *accounts, struct endpoint *endpoint, bool probe, int64_t began_us,
                  enum breaker_end end, int64_t retry_after_ms, struct str cause) {
    struct breaker *breaker = &endpoint->breaker;
    int64_t now_us = clock_tick_us(accounts->options.clock);
    enum breaker_change change = breaker_end(breaker, &endpoint->account->breaker, accounts->options.rng, probe,
                                             began_us, end, retry_after_ms, now_us);
    if (change == BREAKER_SAME)
        return;
    if (change == BREAKER_OPENED) {
        endpoint->since_us = clock_now_us(accounts->options.clock);
        endpoint->failures = breaker->failures;
        snprintf(endpoint->cause, sizeof endpoint->cause, "%.*s", STR_FMT(cause));
    }
    endpoint_changed(accounts, endpoint);
}

void accounts_failed(struct accounts *accounts, const struct connector *connector, struct str url,
                     struct str cause) {
    pthread_mutex_lock(&accounts->lock);
    struct account *account = account_of(accounts, connector);
    struct endpoint *endpoint = account ? endpoint_of(accounts, account, url) : NULL;
    if (endpoint)
        endpoint_end(accounts, endpoint, false, clock_tick_us(accounts->options.clock), BREAKER_BAD, -1, cause);
    pthread_mutex_unlock(&accounts->lock);
}

void accounts_mended(struct accounts *accounts, const struct connector *connector, struct str url) {
    pthread_mutex_lock(&accounts->lock);
    struct account *account = account_of(accounts, connector);
    struct endpoint *endpoint = account ? endpoint_of(accounts, account, url) : NULL;
    if (endpoint)
        endpoint->breaker.probe_us = clock_tick_us(accounts->options.clock);
    if (account) {
        account->governor.pause_us = 0;
        account_due(accounts, account, clock_tick_us(accounts->options.clock), NULL);
    }
    pthread_mutex_unlock(&accounts->lock);
}

static bool untold(const struct endpoint *endpoint) {
    return endpoint->told_unknown || endpoint->told_open != endpoint->breaker.open;
}

bool accounts_change(struct accounts *accounts, struct accounts_change *out) {
    bool found = false;
    if (!atomic_load(&accounts->notable))
        return false;
    pthread_mutex_lock(&accounts->lock);
    for (uint32_t i = 0; i < accounts->count && !found; i++) {
        struct endpoint *endpoint = accounts->endpoints[i];
        if (!untold(endpoint) || endpoint->dirty)
            continue;
        found = endpoint->told_unknown = true; /* until the journal has answered */
        *out = (struct accounts_change){.opened = endpoint->breaker.open, .at_us = endpoint->changed_us,
                                        .since_us = endpoint->since_us, .failures = endpoint->failures};
        snprintf(out->connector, sizeof out->connector, "%.*s", STR_FMT(endpoint->account->name));
        snprintf(out->endpoint, sizeof out->endpoint, "%.*s", STR_FMT(endpoint->origin));
        snprintf(out->cause, sizeof out->cause, "%s", endpoint->cause);
    }
    pthread_mutex_unlock(&accounts->lock);
    return found;
}

void accounts_change_told(struct accounts *accounts, const struct accounts_change *change) {
    pthread_mutex_lock(&accounts->lock);
    struct account *account = account_named(accounts, str_c(change->connector));
    struct endpoint *endpoint = account ? endpoint_of(accounts, account, str_c(change->endpoint)) : NULL;
    if (endpoint) {
        endpoint->told_open = change->opened;
        endpoint->told_unknown = false;
        endpoint->dirty = true;
        atomic_store(&accounts->notable, true); /* it may have changed again meanwhile */
    }
    pthread_mutex_unlock(&accounts->lock);
}

/* --- notes ----------------------------------------------------------------------------------------- */

bool accounts_notes_due(struct accounts *accounts) {
    bool due = false, told = true;
    if (!atomic_load(&accounts->notable))
        return false;
    pthread_mutex_lock(&accounts->lock);
    for (uint32_t i = 0; i < accounts->count && !due; i++) {
        due = accounts->endpoints[i]->dirty;
        told = told && !untold(accounts->endpoints[i]);
    }
    for (const struct account *account = accounts->accounts; account && !due; account = account->next)
        due = account->quota_dirty;
    if (!due && told)
        atomic_store(&accounts->notable, false);
    pthread_mutex_unlock(&accounts->lock);
    return due;
}

static void endpoint_note(struct endpoint *endpoint, void (*visit)(void *ctx, struct str name, struct str text),
                          void *ctx) {
    char name[ACCOUNTS_NOTE_NAME_MAX], text[ACCOUNTS_NOTE_MAX];
    /* what the next life has to tell all the same */
    bool told = endpoint->told_unknown ? !endpoint->breaker.open : endpoint->told_open;
    int name_len = snprintf(name, sizeof name, "breaker %.*s %.*s", STR_FMT(endpoint->account->name),
                            STR_FMT(endpoint->origin));
    int len = snprintf(text, sizeof text, "%s %s %lld %u %s", endpoint->breaker.open ? "open" : "closed",
                       told ? "open" : "closed", (long long)endpoint->since_us,
                       endpoint->failures, endpoint->cause);
    bool gone = !endpoint->breaker.open && !told;
    endpoint->dirty = false;
    if (name_len < (int)sizeof name && len < (int)sizeof text)
        visit(ctx, str_of(name, (size_t)name_len), gone ? STR_NONE : str_of(text, (size_t)len));
}

/* What is used and what may be used before the next note: after a crash, all of it counts as used. */
static void quota_note(struct account *account, void (*visit)(void *ctx, struct str name, struct str text),
                       void *ctx) {
    char name[ACCOUNTS_NOTE_NAME_MAX], text[64];
    int name_len = snprintf(name, sizeof name, "quota %.*s", STR_FMT(account->name));
    int64_t most = account->governor.limits.quota_per_day;
    account->noted = account->governor.used + quota_ahead(account);
    account->noted = account->noted > most ? most : account->noted;
    account->noted_day_s = account->governor.day_end_s;
    int len = snprintf(text, sizeof text, "%lld %lld", (long long)account->noted,
                       (long long)account->noted_day_s);
    account->quota_dirty = false;
    if (name_len < (int)sizeof name)
        visit(ctx, str_of(name, (size_t)name_len), str_of(text, (size_t)len));
}

void accounts_notes(struct accounts *accounts, void (*visit)(void *ctx, struct str name, struct str text),
                    void *ctx) {
    pthread_mutex_lock(&accounts->lock);
    for (uint32_t i = 0; i < accounts->count; i++)
        if (accounts->endpoints[i]->dirty)
            endpoint_note(accounts->endpoints[i], visit, ctx);
    for (struct account *account = accounts->accounts; account; account = account->next)
        if (account->quota_dirty)
            quota_note(account, visit, ctx);
    pthread_mutex_unlock(&accounts->lock);
}

void accounts_notes_kept(struct accounts *accounts) {
    pthread_mutex_lock(&accounts->lock);
    for (struct account *account = accounts->accounts; account; account = account->next)
        if (account->noted_day_s == account->kept_day_s)
            account->kept = account->noted;
    pthread_mutex_unlock(&accounts->lock);
}

void accounts_notes_lost(struct accounts *accounts) {
    pthread_mutex_lock(&accounts->lock);
    atomic_store(&accounts->notable, true);
    for (uint32_t i = 0; i < accounts->count; i++)
        accounts->endpoints[i]->dirty = true;
    for (struct account *account = accounts->accounts; account; account = account->next)
        account->quota_dirty = account->governor.limits.quota_per_day > 0;
    pthread_mutex_unlock(&accounts->lock);
}

static bool number_cut(struct str *rest, int64_t *out) { return str_i64(str_cut(rest, ' '), out) && *out >= 0; }

static void breaker_restored(struct accounts *accounts, struct account *account, struct str origin,
                             struct str text) {
    int64_t since, failures;
    bool open = str_is(str_cut(&text, ' '), "open"), told = str_is(str_cut(&text, ' '), "open");
    struct endpoint *endpoint = endpoint_of(accounts, account, origin);
    if (!endpoint || !number_cut(&text, &since) || !number_cut(&text, &failures))
        return;
    if (PLANTED(BREAKER_FORGOTTEN))
        open = false;
    atomic_fetch_add(&accounts->open, open);
    if (open)
        breaker_restore(&endpoint->breaker, &account->breaker, clock_tick_us(accounts->options.clock));
    endpoint->since_us = endpoint->changed_us = since;
    endpoint->failures = (uint32_t)failures;
    endpoint->told_open = told;
    endpoint->told_unknown = open && !told; /* the journal may know all the same */
    if (untold(endpoint))
        atomic_store(&accounts->notable, true);
    snprintf(endpoint->cause, sizeof endpoint->cause, "%.*s", STR_FMT(text));
}

void accounts_restore(struct accounts *accounts, struct str name, struct str text) {
    struct str kind = str_cut(&name, ' '), connector = str_cut(&name, ' ');
    int64_t used, day_end_s;
    if (!connector.len)
        return;
    pthread_mutex_lock(&accounts->lock);
    struct account *account = account_named(accounts, connector);
    if (account && str_is(kind, "breaker") && name.len) {
        breaker_restored(accounts, account, name, text);
    } else if (account && str_is(kind, "quota") && number_cut(&text, &used) && number_cut(&text, &day_end_s)) {
        governor_restore(&account->governor, used, day_end_s);
        account->kept = account->noted = used;
        account->kept_day_s = account->noted_day_s = day_end_s;
    }
    pthread_mutex_unlock(&accounts->lock);
}

/* --- figures ---------------------------------------------------------------------------------------- */

static void account_figures(struct accounts *accounts, struct account *account, struct metrics *out) {
    const struct governor *governor = &account->governor;
    const struct governor_limits *limits = &governor->limits;
    const struct str name[] = {account->name};
    struct governor_time now = accounts_now(accounts);
    int64_t ignored, tokens = governor_tokens(governor, now.tick_us);
    for (int i = 0; i < OUTCOME_KINDS; i++)
        metric_add(out, METRIC_ACCOUNT_CALLS, METRIC_LABELS(account->name, str_c(outcome_names[i])),
                   account->calls[i]);
    metric_add(out, METRIC_ACCOUNT_CLOSED, name, account->closed);
    metric_add(out, METRIC_ACCOUNT_OUT, name, governor->out);
    metric_add(out, METRIC_ACCOUNT_WAITING, name, account->waiting);
    metric_add(out, METRIC_ACCOUNT_SHUT, name,
               now.tick_us < governor->pause_us || governor_in_window(limits, now.wall_us, &ignored));
    if (tokens != INT64_MAX) {
        metric_add(out, METRIC_ACCOUNT_TOKENS, name, (uint64_t)tokens);
        metric_add(out, METRIC_ACCOUNT_RATE, name, (uint64_t)(governor_rate_mps(governor) * 60 / 1000));
    }
    if (limits->concurrency > 0)
        metric_add(out, METRIC_ACCOUNT_CONCURRENCY, name, governor_concurrency(governor));
    if (limits->quota_per_day > 0)
        metric_add(out, METRIC_ACCOUNT_QUOTA, name,
                   (uint64_t)(limits->quota_per_day > governor->used ? limits->quota_per_day - governor->used : 0));
}

void accounts_figures(struct accounts *accounts, struct metrics *out) {
    pthread_mutex_lock(&accounts->lock);
    int64_t now_us = clock_tick_us(accounts->options.clock);
    for (struct account *account = accounts->accounts; account; account = account->next)
        account_figures(accounts, account, out);
    for (uint32_t i = 0; i < accounts->count; i++) {
        const struct endpoint *endpoint = accounts->endpoints[i];
        static const uint64_t values[] = {[BREAKER_CLOSED] = 0, [BREAKER_HALF_OPEN] = 1, [BREAKER_OPEN] = 2};
        metric_add(out, METRIC_ENDPOINT_BREAKER, METRIC_LABELS(endpoint->account->name, endpoint->origin),
                   values[breaker_state(&endpoint->breaker, now_us)]);
    }
    pthread_mutex_unlock(&accounts->lock);
}
