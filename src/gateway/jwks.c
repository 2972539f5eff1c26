/* jwks: see jwks.h. Owns one slot per source: its set, when it was fetched, when it is due. */
#include "gateway/jwks.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"

#define RETRY_FIRST_US INT64_C(1000000)
#define RETRY_MAX_US INT64_C(60000000)

struct slot {
    struct jwks *jwks;
    const struct jwks_source *source;
    _Atomic uint64_t generation;
    /* under the lock */
    struct jwk_set *set;
    struct hash128 print; /* of the set's text */
    int64_t fetched_us;   /* clock_tick_us of the last good fetch; -1: none */
    int64_t due_us;
    int64_t asked_us;     /* beginning, then end of the last fetch because of an unknown kid */
    bool asked;           /* the one under way, or about to begin, is such a one */
    int64_t retry_us;     /* after a failure */
    uint64_t fetches, failures;
    bool under_way;
    /* the owner's alone */
    struct net_call *call;
    struct net *net;
    struct net_request request;
    struct net_header accept;
};

struct jwks {
    struct jwks_options options;
    pthread_mutex_t lock;
    struct json_parser *parser;
    struct slot slots[JWKS_SOURCES_MAX];
};

/* --- what came ------------------------------------------------------------------------------ */

/* Under the lock: a fetch has ended. Who waited for it must not begin another. */
static void slot_ended(struct slot *slot) {
    if (slot->asked)
        slot->asked_us = clock_tick_us(slot->jwks->options.clock);
    slot->asked = slot->under_way = false;
}

/* Under the lock. */
static void slot_replace(struct slot *slot, struct jwk_set *set) {
    struct jwk_set *old = slot->set;

    slot->set = set;
    atomic_fetch_add_explicit(&slot->generation, 1, memory_order_release);
    jwk_set_unref(old);
}

static enum err slot_take(struct slot *slot, struct str text, struct fault *fault) {
    struct jwks *jwks = slot->jwks;
    struct hash128 print = hash128(text, 0);
    int64_t now_us = clock_tick_us(jwks->options.clock);
    struct jwk_set *set = NULL;
    enum err err = OK;
    bool same;

    pthread_mutex_lock(&jwks->lock);
    same = slot->set && hash128_eq(print, slot->print);
    pthread_mutex_unlock(&jwks->lock);
    if (!same)
        err = jwk_set_parse(jwks->parser, text, slot->source->algs, &set, fault);
    if (err != OK)
        return err;
    pthread_mutex_lock(&jwks->lock);
    if (!same)
        slot_replace(slot, set);
    slot->print = print;
    slot->fetched_us = now_us;
    slot->due_us = now_us + jwks->options.refresh_s * 1000000;
    slot->retry_us = RETRY_FIRST_US;
    slot->fetches++;
    slot_ended(slot);
    pthread_mutex_unlock(&jwks->lock);
    return OK;
}

static void slot_failed(struct slot *slot, const char *why) {
    struct jwks *jwks = slot->jwks;
    bool first;

    pthread_mutex_lock(&jwks->lock);
    first = slot->retry_us == RETRY_FIRST_US;
    slot->failures++;
    slot->due_us = clock_tick_us(jwks->options.clock) + slot->retry_us;
    slot->retry_us = slot->retry_us * 2 < RETRY_MAX_US ? slot->retry_us * 2 : RETRY_MAX_US;
    slot_ended(slot);
    pthread_mutex_unlock(&jwks->lock);
    if (first)
        log_line(LOG_WARN, "gateway", "the keys of an issuer can not be fetched: those at hand stay "
                 "in use", "issuer=%s detail=%s", log_quote(slot->source->name),
                 log_quote(str_c(why)));
}

static void fetched(void *ctx, const struct net_answer *answer) {
    struct slot *slot = ctx;
    struct fault fault = {0};
    char why[64];

    slot->call = NULL;
    if (answer->error == NET_CANCELLED) {
        slot->under_way = false; /* it is ending */
    } else if (answer->error != NET_OK) {
        slot_failed(slot, answer->detail);
    } else if (answer->status != 200) {
        snprintf(why, sizeof why, "it answered %d", answer->status);
        slot_failed(slot, why);
    } else if (slot_take(slot, answer->body, &fault) != OK) {
        slot_failed(slot, fault.detail);
    }
}

/* --- asking for it -------------------------------------------------------------------------- */

static enum err file_take(struct slot *slot, struct fault *fault) {
    char path[4096];
    struct buf text;
    FILE *file;
    enum err err = OK;

    if (slot->source->file.len >= sizeof path)
        return fault_set(fault, ERR_IO, "the path of a key set is too long");
    snprintf(path, sizeof path, "%.*s", STR_FMT(slot->source->file));
    file = fopen(path, "rbe");
    if (!file)
        return fault_set(fault, ERR_IO, "can not read %.200s", path);
    buf_init(&text, JWK_SET_BYTES_MAX + 1);
    while (!feof(file) && !ferror(file) && buf_reserve(&text, 4096))
        text.len += fread(text.data + text.len, 1, 4096, file);
    if (ferror(file))
        err = fault_set(fault, ERR_IO, "can not read %.200s", path);
    fclose(file);
    if (err == OK)
        err = buf_ok(&text) ? slot_take(slot, buf_str(&text), fault)
                            : fault_set(fault, ERR_TOO_LARGE, "%.200s is longer than a key set",
                                        path);
    buf_free(&text);
    return err;
}

static void slot_fetch(struct slot *slot, struct net *net) {
    struct fault fault = {0};
    enum err err;

    if (!slot->source->url.ptr) {
        err = file_take(slot, &fault);
    } else {
        slot->accept = (struct net_header){STR("Accept"),
                                           STR("application/jwk-set+json, application/json")};
        slot->request = (struct net_request){.method = STR("GET"),
                                             .url = slot->source->url,
                                             .headers = &slot->accept,
                                             .header_count = 1,
                                             .timeout_ms = slot->jwks->options.timeout_ms,
                                             .answer_bytes_max = JWK_SET_BYTES_MAX};
        slot->net = net;
        err = net_send(net, &slot->request, fetched, slot, &slot->call, &fault);
    }
    if (err != OK)
        slot_failed(slot, fault.detail);
}

/* Gives up a set that is too old; says whether a fetch is to begin now. */
static bool slot_due(struct slot *slot, int64_t now_us) {
    struct jwks *jwks = slot->jwks;
    bool due, dropped = false;

    pthread_mutex_lock(&jwks->lock);
    due = !slot->under_way && now_us >= slot->due_us;
    if (due)
        slot->under_way = true;
    if (slot->set && now_us - slot->fetched_us > jwks->options.stale_s * 1000000) {
        slot_replace(slot, NULL);
        dropped = true;
    }
    pthread_mutex_unlock(&jwks->lock);
    if (dropped)
        log_line(LOG_ERROR, "gateway", "the keys of an issuer are too old: its tokens are refused",
                 "issuer=%s", log_quote(slot->source->name));
    return due;
}

int64_t jwks_step(struct jwks *jwks, struct net *net) {
    int64_t next_us = INT64_MAX;

    for (uint32_t i = 0; i < jwks->options.count; i++) {
        struct slot *slot = &jwks->slots[i];

        if (slot_due(slot, clock_tick_us(jwks->options.clock)))
            slot_fetch(slot, net);
        pthread_mutex_lock(&jwks->lock);
        if (!slot->under_way && slot->due_us < next_us)
            next_us = slot->due_us;
        pthread_mutex_unlock(&jwks->lock);
    }
    return next_us;
}

/* --- any thread ----------------------------------------------------------------------------- */

struct jwk_set *jwks_get(struct jwks *jwks, uint32_t source) {
    struct jwk_set *set;

    must(source < jwks->options.count);
    pthread_mutex_lock(&jwks->lock);
    set = jwk_set_ref(jwks->slots[source].set);
    pthread_mutex_unlock(&jwks->lock);
    return set;
}

uint64_t jwks_generation(const struct jwks *jwks, uint32_t source) {
    return atomic_load_explicit(&jwks->slots[source].generation, memory_order_acquire);
}

bool jwks_ask(struct jwks *jwks, uint32_t source) {
    struct slot *slot = &jwks->slots[source];
    int64_t now_us = clock_tick_us(jwks->options.clock);
    bool coming, wake = false;

    pthread_mutex_lock(&jwks->lock);
    coming = slot->under_way || slot->due_us <= now_us;
    if (!coming && now_us - slot->asked_us >= jwks->options.ask_ms * 1000) {
        slot->due_us = slot->asked_us = now_us;
        slot->asked = coming = wake = true;
    }
    pthread_mutex_unlock(&jwks->lock);
    if (wake && jwks->options.wake)
        jwks->options.wake(jwks->options.wake_ctx);
    return coming;
}

bool jwks_busy(struct jwks *jwks) {
    int64_t now_us = clock_tick_us(jwks->options.clock);
    bool busy = false;

    pthread_mutex_lock(&jwks->lock);
    for (uint32_t i = 0; i < jwks->options.count && !busy; i++)
        busy = jwks->slots[i].under_way || jwks->slots[i].due_us <= now_us;
    pthread_mutex_unlock(&jwks->lock);
    return busy;
}

void jwks_stats(struct jwks *jwks, uint32_t source, struct jwks_stats *out) {
    struct slot *slot = &jwks->slots[source];

    pthread_mutex_lock(&jwks->lock);
    *out = (struct jwks_stats){.fetches = slot->fetches,
                               .failures = slot->failures,
                               .keys = slot->set ? jwk_set_count(slot->set) : 0,
                               .age_us = slot->fetched_us < 0
                                             ? -1
                                             : clock_tick_us(jwks->options.clock) -
                                                   slot->fetched_us};
    pthread_mutex_unlock(&jwks->lock);
}

/* --- begin and end -------------------------------------------------------------------------- */

enum err jwks_create(const struct jwks_options *options, struct jwks **out, struct fault *fault) {
    struct jwks *jwks = mem_zalloc(sizeof *jwks);
    int64_t now_us = clock_tick_us(options->clock);
    enum err err = OK;

    *out = NULL;
    must(options->count <= JWKS_SOURCES_MAX);
    if (!jwks)
        return fault_set(fault, ERR_NOMEM, "no memory for the keys of issuers");
    jwks->options = *options;
    pthread_mutex_init(&jwks->lock, NULL);
    jwks->parser = json_parser_create();
    if (!jwks->parser)
        err = fault_set(fault, ERR_NOMEM, "no memory for the keys of issuers");
    for (uint32_t i = 0; i < options->count && err == OK; i++) {
        struct slot *slot = &jwks->slots[i];

        slot->jwks = jwks;
        slot->source = &options->sources[i];
        slot->fetched_us = -1;
        slot->due_us = now_us;
        slot->asked_us = now_us - options->ask_ms * 1000;
        slot->retry_us = RETRY_FIRST_US;
        if (!slot->source->url.ptr)
            err = file_take(slot, fault);
    }
    if (err != OK) {
        jwks_destroy(jwks);
        return err;
    }
    *out = jwks;
    return OK;
}

void jwks_destroy(struct jwks *jwks) {
    if (!jwks)
        return;
    for (uint32_t i = 0; i < jwks->options.count; i++) {
        if (jwks->slots[i].call)
            net_cancel(jwks->slots[i].net, jwks->slots[i].call);
        jwk_set_unref(jwks->slots[i].set);
    }
    json_parser_destroy(jwks->parser);
    pthread_mutex_destroy(&jwks->lock);
    mem_free(jwks);
}
