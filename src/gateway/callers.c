/* callers: see callers.h. The thread turns a libuv loop that its HTTP driver shares: one round a
 * second, and whenever a loop asks for a key set. */
#include "gateway/callers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "base/log.h"
#include "base/mem.h"
#include "connect/driver_http.h"
#include "gateway/operators.h"

#define ROUND_MS 1000
#define ROUNDS_KEYS 3600 /* between two looks at the age of keys */
#define ROUNDS_COUNT 60  /* between two counts of keys near their end, and checkpoints of the file */
#define ROUNDS_USES 5    /* between two writes of when keys were used */
#define USES_MAX 4096

struct callers {
    struct callers_options options;
    struct jwks_source sources[CONFIG_ISSUERS_MAX];
    uint32_t source_count;
    struct jwks *jwks;
    pthread_mutex_t lock;
    /* under the lock */
    struct token_keys *token_keys;
    struct key_use *uses;
    uint32_t use_count;
    _Atomic uint64_t token_generation;
    _Atomic uint32_t keys_valid, keys_ending;
    /* the thread's alone, once it runs */
    struct key_store *store;
    struct json_parser *parser;
    struct key_use *writing;
    int64_t version;
    uint32_t round;
    bool write_failed;
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t async;
    uv_timer_t timer;
    struct net *net;
    _Atomic bool stopping;
    bool started;
};

/* --- any thread ----------------------------------------------------------------------------- */

struct jwks *callers_jwks(struct callers *callers) { return callers->jwks; }
struct str callers_issuer(const struct callers *callers) { return callers->options.issuer; }

struct token_keys *callers_token_keys(struct callers *callers) {
    struct token_keys *keys;

    pthread_mutex_lock(&callers->lock);
    keys = token_keys_ref(callers->token_keys);
    pthread_mutex_unlock(&callers->lock);
    return keys;
}

uint64_t callers_token_generation(const struct callers *callers) {
    return atomic_load_explicit(&callers->token_generation, memory_order_acquire);
}

bool callers_used(struct callers *callers, struct str id, int64_t us) {
    bool room;

    must(id.len == KEY_ID_LEN);
    pthread_mutex_lock(&callers->lock);
    room = callers->use_count < USES_MAX;
    if (room) {
        struct key_use *use = &callers->uses[callers->use_count++];

        memcpy(use->id, id.ptr, KEY_ID_LEN);
        use->us = us;
    }
    pthread_mutex_unlock(&callers->lock);
    return room;
}

void callers_figures(struct callers *callers, struct metrics *out) {
    metric_add(out, METRIC_API_KEYS, NULL, atomic_load(&callers->keys_valid));
    metric_add(out, METRIC_API_KEYS_ENDING, NULL, atomic_load(&callers->keys_ending));
    for (uint32_t i = 0; i < callers->source_count; i++) {
        const struct str *name = METRIC_LABELS(callers->sources[i].name);
        struct jwks_stats stats;

        jwks_stats(callers->jwks, i, &stats);
        metric_add(out, METRIC_ISSUER_KEYS, name, stats.keys);
        metric_add(out, METRIC_ISSUER_FETCHES, name, stats.fetches);
        metric_add(out, METRIC_ISSUER_FAILURES, name, stats.failures);
        if (stats.age_us >= 0)
            metric_add(out, METRIC_ISSUER_AGE_SECONDS, name, (uint64_t)stats.age_us);
    }
}

/* --- what the thread does ------------------------------------------------------------------- */

static enum err token_keys_renew(struct callers *callers, struct fault *fault) {
    const struct settings *s = &callers->options.config->settings;
    struct token_key_rules rules = {.age_us = s->token_key_days * 86400 * INT64_C(1000000),
                                    .life_us = INT64_C(86400000000) + 60000000};
    struct token_keys *keys, *old;
    enum err err = token_keys_load(callers->store, &rules, callers->options.clock, callers->parser,
                                   &keys, fault);

    if (err != OK)
        return err;
    pthread_mutex_lock(&callers->lock);
    old = callers->token_keys;
    callers->token_keys = keys;
    pthread_mutex_unlock(&callers->lock);
    token_keys_unref(old);
    atomic_fetch_add_explicit(&callers->token_generation, 1, memory_order_release);
    return OK;
}

static enum err uses_write(struct callers *callers, struct fault *fault) {
    uint32_t count;

    pthread_mutex_lock(&callers->lock);
    count = callers->use_count;
    memcpy(callers->writing, callers->uses, count * sizeof *callers->uses);
    callers->use_count = 0;
    pthread_mutex_unlock(&callers->lock);
    return count ? key_used(callers->store, callers->writing, count, fault) : OK;
}

static enum err keys_count(struct callers *callers, struct fault *fault) {
    int64_t now_us = clock_now_us(callers->options.clock);
    int64_t warn_us = callers->options.config->settings.key_warn_days * 86400 * INT64_C(1000000);
    uint32_t valid, ending;
    enum err err = key_count(callers->store, now_us, now_us + warn_us, &valid, &ending, fault);

    if (err == OK) {
        atomic_store(&callers->keys_valid, valid);
        atomic_store(&callers->keys_ending, ending);
    }
    return err;
}

static void callers_round(struct callers *callers) {
    struct fault fault = {0};
    int64_t version = callers->version;
    enum err err = key_version(callers->store, &version, &fault);
    bool changed = version != callers->version;

    if (err == OK && (changed || callers->round % ROUNDS_KEYS == ROUNDS_KEYS - 1))
        err = token_keys_renew(callers, &fault);
    if (err == OK && (changed || callers->round % ROUNDS_COUNT == 0))
        err = keys_count(callers, &fault);
    if (err == OK)
        callers->version = version;
    if (err == OK && callers->round % ROUNDS_USES == ROUNDS_USES - 1)
        err = uses_write(callers, &fault);
    if (err == OK && callers->round % ROUNDS_COUNT == ROUNDS_COUNT - 1)
        err = key_checkpoint(callers->store, &fault);
    callers->round++;
    if (err != OK && !callers->write_failed)
        log_line(LOG_WARN, "gateway", "the key file can not be read or written", "detail=%s",
                 log_quote(str_c(fault.detail)));
    callers->write_failed = err != OK;
}

/* --- its loop ------------------------------------------------------------------------------- */

static void closed(uv_handle_t *handle) {}

static void fetch(struct callers *callers) {
    jwks_step(callers->jwks, callers->net);
    if (callers->options.operators)
        operators_step(callers->options.operators, callers->net);
}

static void woken(uv_async_t *async) {
    struct callers *callers = async->data;

    if (!atomic_load(&callers->stopping)) {
        fetch(callers);
        return;
    }
    if (callers->options.operators)
        operators_stop(callers->options.operators);
    jwks_destroy(callers->jwks); /* with what it has under way on this net */
    callers->jwks = NULL;
    net_close(callers->net);
    uv_close((uv_handle_t *)&callers->timer, closed);
    uv_close((uv_handle_t *)&callers->async, closed);
}

static void due(uv_timer_t *timer) {
    struct callers *callers = timer->data;

    callers_round(callers);
    fetch(callers);
}

static void wake(void *ctx) {
    struct callers *callers = ctx;

    uv_async_send(&callers->async);
}

static void *callers_run(void *arg) {
    struct callers *callers = arg;

    pthread_setname_np(pthread_self(), "callers");
    uv_run(&callers->loop, UV_RUN_DEFAULT);
    return NULL;
}

enum err callers_start(struct callers *callers, struct fault *fault) {
    struct driver_http_options driver = {.loop = &callers->loop,
                                         .clock = callers->options.clock,
                                         .calls_max = CONFIG_ISSUERS_MAX + SIGNINS_MAX + 2,
                                         .connections_max = CONFIG_ISSUERS_MAX};
    enum err err;

    if (uv_loop_init(&callers->loop) != 0)
        return fault_set(fault, ERR_NOMEM, "no memory for a loop");
    err = driver_http_create(&driver, &callers->net, fault);
    if (err != OK) {
        uv_loop_close(&callers->loop);
        return err;
    }
    if (uv_async_init(&callers->loop, &callers->async, woken) != 0) {
        net_close(callers->net);
        uv_run(&callers->loop, UV_RUN_DEFAULT);
        uv_loop_close(&callers->loop);
        return fault_set(fault, ERR_IO, "no file descriptor left for the loop that fetches keys");
    }
    uv_timer_init(&callers->loop, &callers->timer);
    callers->async.data = callers->timer.data = callers;
    uv_timer_start(&callers->timer, due, 0, ROUND_MS);
    if (callers->options.operators)
        operators_wake_set(callers->options.operators, wake, callers);
    callers->started = true; /* from here on its handles are closed on its loop */
    if (pthread_create(&callers->thread, NULL, callers_run, callers) != 0) {
        atomic_store(&callers->stopping, true);
        woken(&callers->async);
        uv_run(&callers->loop, UV_RUN_DEFAULT);
        uv_loop_close(&callers->loop);
        callers->started = false;
        return fault_set(fault, ERR_NOMEM, "no thread for the keys of callers");
    }
    return OK;
}

/* --- begin and end -------------------------------------------------------------------------- */

static void sources_make(struct callers *callers) {
    const struct shape_list *issuers = &callers->options.config->auth->issuers;

    for (uint32_t i = 0; i < issuers->count; i++) {
        const struct config_issuer *issuer = list_at(*issuers, struct config_issuer, i);

        callers->sources[callers->source_count++] = (struct jwks_source){
            .name = issuer->name,
            .url = issuer->jwks_url,
            .file = issuer->jwks_path,
            .algs = issuer->algs};
    }
}

enum err callers_create(const struct callers_options *options, struct callers **out,
                        struct fault *fault) {
    const struct settings *s = &options->config->settings;
    struct callers *callers = mem_zalloc(sizeof *callers);
    enum err err;

    *out = NULL;
    if (!callers)
        return fault_set(fault, ERR_NOMEM, "no memory for the keys of callers");
    callers->options = *options;
    pthread_mutex_init(&callers->lock, NULL);
    callers->uses = mem_alloc(USES_MAX * sizeof *callers->uses);
    callers->writing = mem_alloc(USES_MAX * sizeof *callers->writing);
    callers->parser = json_parser_create();
    sources_make(callers);
    struct jwks_options jwks = {.sources = callers->sources,
                                .count = callers->source_count,
                                .clock = options->clock,
                                .refresh_s = s->jwks_refresh_s,
                                .stale_s = s->jwks_stale_s,
                                .ask_ms = s->jwks_ask_ms,
                                .timeout_ms = s->jwks_timeout_ms,
                                .wake = wake,
                                .wake_ctx = callers};
    err = callers->uses && callers->writing && callers->parser
              ? jwks_create(&jwks, &callers->jwks, fault)
              : fault_set(fault, ERR_NOMEM, "no memory for the keys of callers");
    if (err == OK)
        err = key_store_open(options->keys_path, &callers->store, fault);
    if (err == OK)
        err = token_keys_renew(callers, fault);
    if (err != OK) {
        callers_destroy(callers);
        return err;
    }
    *out = callers;
    return OK;
}

void callers_destroy(struct callers *callers) {
    struct fault fault = {0};

    if (!callers)
        return;
    if (callers->started) {
        atomic_store(&callers->stopping, true);
        uv_async_send(&callers->async);
        pthread_join(callers->thread, NULL);
        uv_loop_close(&callers->loop);
        if (uses_write(callers, &fault) != OK)
            log_line(LOG_WARN, "gateway", "the last use of keys can not be written", "detail=%s",
                     log_quote(str_c(fault.detail)));
    }
    jwks_destroy(callers->jwks);
    key_store_close(callers->store);
    token_keys_unref(callers->token_keys);
    json_parser_destroy(callers->parser);
    mem_free(callers->uses);
    mem_free(callers->writing);
    pthread_mutex_destroy(&callers->lock);
    mem_free(callers);
}
