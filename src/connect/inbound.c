/* inbound: the workers: following, slots, answers, threads. See inbound.h. */
#include "connect/inbound_priv.h"

#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "connect/connector_fit.h"
#include "domain/exceptions.h"

#define RETRY_FIRST_US 50000
#define RETRY_MAX_US 5000000
#define READ_MAX 256 /* records in one look at the tail */

/* --- slots ----------------------------------------------------------------------------- */

static int64_t tick(const struct worker *w) { return clock_tick_us(core_clock(w->inbound->core)); }

static void slot_free(struct slot *slot) {
    slot_span_end(slot);
    slot->phase = SLOT_FREE;
    slot->worker->keys[slot - slot->worker->slots] = 0;
    slot->worker->full = false;
    connector_release(slot->connector);
    slot->connector = NULL;
    parcel_free(slot->parcel);
    slot->parcel = NULL;
    atomic_fetch_sub(&slot->worker->inbound->under_way, 1);
    arena_reset(&slot->arena);
}

static void slot_wait(struct slot *slot, const struct fault *fault) {
    int64_t pause = RETRY_FIRST_US;
    for (uint32_t i = 0; i < slot->attempts && pause < RETRY_MAX_US; i++)
        pause *= 2;
    slot->attempts++;
    slot->worker->waiting += slot->phase != SLOT_WAIT;
    slot->phase = SLOT_WAIT;
    slot->due_us = tick(slot->worker) + (pause < RETRY_MAX_US ? pause : RETRY_MAX_US);
    if (slot->attempts % 8 == 0)
        log_line(LOG_WARN, "connect", "payload waits",
                 "seq=%llu attempts=%u detail=%s correlation=%s%s", (unsigned long long)slot->seq,
                 slot->attempts, log_quote(str_c(fault->detail)), log_quote(slot->correlation),
                 log_trace(slot->traceparent));
}

static void slot_submit(struct slot *slot) {
    struct fault fault = {0};
    struct worker *w = slot->worker;
    enum err err = slot->prepared ? OK : slot_prepare(slot, &fault);
    slot->prepared = err == OK;
    slot->looking = err == ERR_UNAVAILABLE && slot->looks.wanted.what.ptr;
    if (slot->looking) { /* the mapping wants to see an order: first that, then all of it again */
        w->asking.looks = &slot->looks;
        err = asking_fetch(&w->asking, &slot->arena, &slot->command, &fault);
        slot->command.correlation = slot->correlation;
        slot->command.if_match = -1;
    }
    if (!err) {
        slot->command.answer = (struct answer){0}; /* of an attempt before */
        slot->command.next = NULL;
        slot->command.origin = &slot->worker->origin;
        slot->command.origin_ctx = slot;
        w->waiting -= slot->phase == SLOT_WAIT;
        slot->phase = SLOT_SENT; /* before: the answer may be there when submit returns */
        err = core_submit(slot->worker->inbound->core, &slot->command, &fault);
    }
    if (err)
        slot_wait(slot, &fault);
}

/* The payload is done with, one way or the other. */
static void slot_count(const struct slot *slot) {
    static const enum connector_processed kinds[] = {[STEP_PROCESS] = PROCESSED_MAPPED,
                                                     [STEP_RAISE] = PROCESSED_FAILED,
                                                     [STEP_SETTLE] = PROCESSED_KNOWN,
                                                     [STEP_REPAIR] = PROCESSED_MAPPED};
    const struct connector *connector = slot->connector;
    if (!connector)
        return;
    struct connector_counters *counters = connector->counters;
    int64_t now_us = clock_now_us(core_clock(slot->worker->inbound->core));
    atomic_fetch_add_explicit(&counters->processed[kinds[slot->step]], 1, memory_order_relaxed);
    atomic_store_explicit(slot->step == STEP_RAISE ? &counters->failed_us : &counters->processed_us,
                          now_us, memory_order_relaxed);
    histogram_us_shared(&counters->processing_us, now_us - slot->stored_us);
}

/* What the mapping wanted to look at is there. */
static void slot_looked(struct slot *slot) {
    struct worker *w = slot->worker;
    struct fault fault = {0};
    slot->looking = false;
    w->asking.looks = &slot->looks;
    enum err err = asking_fetched(&w->asking, w->inbound->tail, &slot->command, &slot->arena, &fault);
    if (err)
        slot_wait(slot, &fault);
    else
        slot_submit(slot);
}

/* Whether what was recorded before with another content is nothing new to the topic. */
static bool known_ignored(const struct slot *slot) {
    const struct connector_receive *receive =
        slot->connector && slot->payload ? connector_taken(slot->connector, slot->payload->topic) : NULL;
    return receive && receive->known == KNOWN_IGNORE;
}

/* What a backstop brought took effect, so the webhook had not brought it. */
static bool repairs(const struct slot *slot) {
    const struct connector_receive *receive =
        slot->connector && slot->payload ? connector_taken(slot->connector, slot->payload->topic) : NULL;
    return slot->step == STEP_PROCESS && slot->effect && receive && receive->backstop.len > 0;
}

static void slot_next(struct slot *slot, enum slot_step step) {
    slot->step = step;
    slot->attempts = 0;
    slot->prepared = false;
    slot_submit(slot);
}

/* The writer answered. */
static void slot_answered(struct slot *slot) {
    const struct answer *answer = &slot->command.answer;
    if (slot->looking) {
        slot_looked(slot);
        return;
    }
    if (answer->err == OK) {
        slot->effect = slot->effect || (slot->step == STEP_PROCESS && !answer->replayed && !answer->ended);
        if (slot->step == STEP_PROCESS && slot->source.more && !answer->ended) {
            slot->route++; /* done, now or before: the next one's turn */
            slot->attempts = 0;
            slot->prepared = false;
            slot_submit(slot);
            return;
        }
        if (slot->step == STEP_PROCESS && answer->replayed) {
            slot_bind(slot, answer->replay_seq);
            slot_next(slot, STEP_SETTLE);
        } else if (repairs(slot)) {
            slot_next(slot, STEP_REPAIR);
        } else {
            if (slot->step == STEP_REPAIR)
                traffic_repaired(&slot->connector->counters->traffic, slot->payload->topic,
                                 clock_now_us(core_clock(slot->worker->inbound->core)));
            slot_count(slot);
            slot_free(slot);
        }
        return;
    }
    struct fault fault = answer->fault;
    if (slot->step == STEP_PROCESS && answer->err == ERR_DUPLICATE && known_ignored(slot)) {
        if (answer->replay_seq)
            slot_bind(slot, answer->replay_seq);
        slot->known = true;
        slot->nothing = STR("it was recorded before");
        slot_next(slot, STEP_SETTLE);
        return;
    }
    if (slot->step == STEP_PROCESS && err_info(answer->err)->disposition == FINAL) {
        fault.err = answer->err;
        if (answer->replay_seq)
            slot_bind(slot, answer->replay_seq);
        slot_raise(slot, "refused", &fault);
        slot_submit(slot);
        return;
    }
    slot_wait(slot, &fault);
}

/* A free slot for a payload of this key; NULL where there is none or the key is under way. */
static struct slot *slot_take(struct worker *w, uint64_t key_hash) {
    uint32_t found = w->slot_count;
    uint64_t key = key_hash ? key_hash : 1;
    for (uint32_t i = w->slot_count; i > 0; i--) {
        if (w->keys[i - 1] == key)
            return NULL;
        found = w->keys[i - 1] ? found : i - 1;
    }
    if (found == w->slot_count)
        return NULL;
    w->keys[found] = key;
    return &w->slots[found];
}

/* --- following ------------------------------------------------------------------------- */

struct edition_read {
    struct slot *slot;
    enum err err;
    struct fault *fault;
};
static bool edition_visit(void *ctx, const struct record *record) {
    struct edition_read *read = ctx;
    read->err = slot_edition(read->slot, record, read->fault);
    return false;
}

/* In place of what came, the version that a person made of it. */
static enum err load_edition(struct worker *w, struct slot *slot, struct fault *fault) {
    struct edition_read read = {.slot = slot, .fault = fault};
    uint64_t next;
    enum err err = tail_read(w->inbound->tail, slot->edition, 1, edition_visit, &read, &next, fault);
    return err ? err : read.err;
}

/* Starts a payload; false where it has to wait for a slot. */
static bool start_record(struct worker *w, const struct record *record, uint64_t edition) {
    uint64_t key_hash = hash64(record->subject, 0);
    if (w->inbound->worker_count > 1 && key_hash % w->inbound->worker_count != w->number)
        return true;
    struct slot *slot = slot_take(w, key_hash);
    if (!slot) {
        w->full = true;
        return false;
    }
    struct fault fault = {0};
    slot->attempts = 0;
    slot->step = STEP_PROCESS;
    slot->prepared = false;
    slot->problem = NULL;
    slot->unmapped = (struct mapping_problem){0};
    slot->route = 0;
    slot->looks = (struct asking_looks){0};
    slot->looking = false;
    slot->correlation = slot->traceparent = slot->person = slot->nothing = STR_NONE;
    slot->known = slot->effect = false;
    slot->traced = false;
    atomic_fetch_add(&w->inbound->under_way, 1);
    enum err err = slot_load(slot, record, &fault);
    slot->edition = edition;
    if (err == OK && slot->payload && edition)
        err = load_edition(w, slot, &fault);
    if (err == OK && slot->payload) {
        slot_submit(slot);
        return true;
    }
    if (err != OK && err_info(err)->disposition == RETRYABLE) { /* the disk, memory: later */
        slot_free(slot);
        w->full = true;
        w->again_us = tick(w) + RETRY_FIRST_US;
        return false;
    }
    if (err == OK) { /* a retry that names what is no payload */
        slot->step = STEP_SETTLE;
    } else {
        fault.err = err;
        slot_raise(slot, "payload-unreadable", &fault);
    }
    slot_submit(slot);
    return true;
}

struct follow {
    struct worker *worker;
    uint32_t started;
    bool all; /* any record, not only payloads */
    uint64_t edition;
};

static uint64_t member_seq(const struct json *object, const char *name) {
    const struct json *value = json_member(object, str_c(name));
    int64_t seq;
    return value && json_i64(value, &seq) && seq > 0 ? (uint64_t)seq : 0;
}

/* What a payload.retried or payload.released names, read from its data: {"payload_seq":42}. */
static void again_set(struct worker *w, const struct record *record) {
    struct arena arena;
    struct fault ignored = {0};
    const struct json *data;
    arena_init(&arena, 0);
    if (json_parse(w->parser, &arena, record->data, false, &data, &ignored) == OK &&
        data->kind == JSON_OBJECT) {
        w->again = member_seq(data, "payload_seq");
        w->again_edition = member_seq(data, "edition_seq");
    }
    arena_free(&arena);
}

static bool follow_visit(void *ctx, const struct record *record) {
    struct follow *follow = ctx;
    struct worker *w = follow->worker;
    if (follow->all || str_is(record->type, EVENT_PAYLOAD_RECEIVED)) {
        if (!start_record(w, record, follow->edition))
            return false;
        follow->started++;
    } else if (str_is(record->type, EVENT_PAYLOAD_RETRIED) ||
               str_is(record->type, EVENT_PAYLOAD_RELEASED)) {
        again_set(w, record);
    }
    if (!follow->all)
        w->from = record->seq + 1;
    return w->again == 0;
}

/* Reads one record by its seq. True: it was started, or is not ours. */
static bool start_seq(struct worker *w, uint64_t seq, uint64_t edition, uint32_t *started) {
    struct follow follow = {.worker = w, .all = true, .edition = edition};
    struct fault fault = {0};
    uint64_t next, again = w->again;
    w->again = 0;
    enum err err = tail_read(w->inbound->tail, seq, 1, follow_visit, &follow, &next, &fault);
    w->again = again;
    if (err) {
        w->again_us = tick(w) + RETRY_FIRST_US;
        log_line(LOG_ERROR, "connect", "the journal can not be read", "seq=%llu detail=%s",
                 (unsigned long long)seq, log_quote(str_c(fault.detail)));
    }
    *started += follow.started;
    return err == OK && !w->full;
}

/* Starts what can be started; how many. */
static uint32_t worker_follow(struct worker *w) {
    struct inbound *inbound = w->inbound;
    uint32_t started = 0;
    while (!w->full && w->pending_at < inbound->pending_count) {
        if (!start_seq(w, inbound->pending[w->pending_at], inbound->editions[w->pending_at],
                       &started))
            return started;
        w->pending_at++;
    }
    while (!w->full && (w->again || w->from <= tail_last(inbound->tail))) {
        if (w->again) {
            if (!start_seq(w, w->again, w->again_edition, &started))
                return started;
            w->again = 0;
            continue;
        }
        struct follow follow = {.worker = w};
        struct fault fault = {0};
        uint64_t next, before = w->from;
        enum err err = tail_read(inbound->tail, before, READ_MAX, follow_visit, &follow, &next,
                                 &fault);
        started += follow.started;
        if (err) {
            w->again_us = tick(w) + RETRY_FIRST_US;
            log_line(LOG_ERROR, "connect", "the journal can not be read", "seq=%llu detail=%s",
                     (unsigned long long)before, log_quote(str_c(fault.detail)));
            return started;
        }
        if (w->from == before)
            break;
    }
    return started;
}

/* --- a round --------------------------------------------------------------------------- */

static void worker_wake(struct worker *w) {
    if (!w->signalled) {
        w->signalled = true;
        pthread_cond_signal(&w->wake);
    }
}

/* On the writer's thread. */
static void worker_deliver(struct command_origin *origin, struct command *first) {
    struct worker *w = (struct worker *)origin;
    struct command *last = first;
    while (last->next)
        last = last->next;
    pthread_mutex_lock(&w->lock);
    if (w->done_last)
        w->done_last->next = first;
    else
        w->done_first = first;
    w->done_last = last;
    worker_wake(w);
    pthread_mutex_unlock(&w->lock);
}

static void worker_published(struct tail_follower *follower) {
    struct worker *w = (struct worker *)((char *)follower - offsetof(struct worker, follower));
    pthread_mutex_lock(&w->lock);
    worker_wake(w);
    pthread_mutex_unlock(&w->lock);
}

static uint32_t worker_answers(struct worker *w) {
    pthread_mutex_lock(&w->lock);
    struct command *command = w->done_first;
    w->done_first = w->done_last = NULL;
    pthread_mutex_unlock(&w->lock);
    uint32_t n = 0;
    while (command) {
        struct command *next = command->next; /* the slot may be used again at once */
        slot_answered(command->origin_ctx);
        command = next;
        n++;
    }
    return n;
}

/* Tries again what is due; *due: when the next one is. */
static uint32_t worker_retries(struct worker *w, int64_t now_us, int64_t *due) {
    uint32_t n = 0;
    *due = INT64_MAX;
    if (w->again_us != 0 && w->again_us <= now_us) {
        w->again_us = 0;
        w->full = false;
    }
    for (uint32_t i = 0; i < w->slot_count && w->waiting > 0; i++) {
        struct slot *slot = &w->slots[i];
        if (slot->phase == SLOT_WAIT && slot->due_us <= now_us) {
            slot_submit(slot);
            n++;
        }
        if (slot->phase == SLOT_WAIT && slot->due_us < *due)
            *due = slot->due_us;
    }
    return n;
}

static bool mapping_wanted(void *ctx, uint64_t id) { return connectors_have_mapping(ctx, id); }

/* Takes up what inbound_renew left. */
static void worker_renew(struct worker *w) {
    struct inbound *inbound = w->inbound;
    if (atomic_load(&inbound->generation) == w->generation)
        return;
    const struct connectors *before = w->connectors;
    pthread_mutex_lock(&inbound->lock);
    w->connectors = connectors_take(inbound->connectors);
    w->generation = atomic_load(&inbound->generation);
    pthread_mutex_unlock(&inbound->lock);
    mapper_keep(w->mapper, mapping_wanted, (void *)(uintptr_t)w->connectors);
    connectors_release(before);
}

static uint32_t worker_step(struct worker *w, int64_t *due, bool start) {
    worker_renew(w);
    uint32_t n = worker_answers(w);
    n += worker_retries(w, tick(w), due);
    if (start)
        n += worker_follow(w);
    if (w->again_us != 0 && w->again_us < *due)
        *due = w->again_us;
    if (w->number == 0 && w->connectors->parcels) {
        int64_t sweep_us = parcels_sweep(w->connectors->parcels, tick(w));
        *due = sweep_us < *due ? sweep_us : *due;
    }
    return n;
}

uint32_t inbound_step(struct inbound *inbound) {
    uint32_t n = 0;
    int64_t due;
    for (uint32_t i = 0; i < inbound->worker_count; i++)
        n += worker_step(&inbound->workers[i], &due, true);
    return n;
}

void inbound_renew(struct inbound *inbound, const struct connectors *connectors) {
    connectors_offer(&inbound->connectors, &inbound->lock, connectors);
    atomic_fetch_add(&inbound->generation, 1);
    for (uint32_t i = 0; i < inbound->worker_count; i++) { /* so that the version before can go */
        struct worker *w = &inbound->workers[i];
        pthread_mutex_lock(&w->lock);
        worker_wake(w);
        pthread_mutex_unlock(&w->lock);
    }
}

uint32_t inbound_under_way(const struct inbound *inbound) {
    return atomic_load(&inbound->under_way);
}

/* --- threads --------------------------------------------------------------------------- */

static bool worker_busy(const struct worker *w) {
    for (uint32_t i = 0; i < w->slot_count; i++) {
        if (w->slots[i].phase == SLOT_SENT)
            return true;
    }
    return false;
}

/* Waits for a signal, at most until `due` (tick). True when stopping. */
static bool worker_sleep(struct worker *w, int64_t due) {
    pthread_mutex_lock(&w->lock);
    if (!w->signalled && due != INT64_MAX) {
        int64_t until_us = clock_tick_us(&clock_system) + (due - tick(w));
        struct timespec until = {.tv_sec = until_us / 1000000,
                                 .tv_nsec = until_us % 1000000 * 1000};
        pthread_cond_timedwait(&w->wake, &w->lock, &until);
    }
    while (!w->signalled && !w->stopping && due == INT64_MAX)
        pthread_cond_wait(&w->wake, &w->lock);
    w->signalled = false;
    bool stopping = w->stopping;
    pthread_mutex_unlock(&w->lock);
    return stopping;
}

static void *worker_run(void *arg) {
    pthread_setname_np(pthread_self(), "inbound");
    struct worker *w = arg;
    int64_t due;
    bool stopping = false;
    while (!stopping || worker_busy(w)) {
        uint32_t n = worker_step(w, &due, !stopping);
        if (n == 0)
            stopping = worker_sleep(w, stopping ? tick(w) + RETRY_FIRST_US : due) || stopping;
    }
    return NULL;
}

enum err inbound_start(struct inbound *inbound, struct fault *fault) {
    for (uint32_t i = 0; i < inbound->worker_count; i++) {
        struct worker *w = &inbound->workers[i];
        if (pthread_create(&w->thread, NULL, worker_run, w) != 0) {
            inbound_stop(inbound);
            return fault_set(fault, ERR_NOMEM, "a worker's thread can not be started");
        }
        w->running = true;
    }
    return OK;
}

void inbound_stop(struct inbound *inbound) {
    for (uint32_t i = 0; inbound && i < inbound->worker_count; i++) {
        struct worker *w = &inbound->workers[i];
        if (!w->running)
            continue;
        pthread_mutex_lock(&w->lock);
        w->stopping = true;
        worker_wake(w);
        pthread_mutex_unlock(&w->lock);
        pthread_join(w->thread, NULL);
        w->running = false;
    }
}

/* --- making ---------------------------------------------------------------------------- */

static enum err worker_init(struct worker *w, struct inbound *inbound, uint32_t number) {
    const struct settings *settings = &core_config(inbound->core)->settings;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    w->origin.deliver = worker_deliver;
    w->follower.wake = worker_published;
    w->inbound = inbound;
    w->connectors = connectors_take(inbound->connectors);
    w->generation = atomic_load(&inbound->generation);
    w->number = number;
    w->from = core_seq(inbound->core) + 1;
    w->parser = json_parser_create();
    w->mapper = mapper_create((struct mapping_limits){
        .instructions_max = settings->map_instructions_max, .bytes_max = settings->map_bytes_max,
        .looks_max = settings->map_looks_max});
    w->slots = mem_zalloc((size_t)settings->inbound_inflight_max * sizeof *w->slots);
    w->keys = mem_zalloc((size_t)settings->inbound_inflight_max * sizeof *w->keys);
    if (!w->parser || !w->mapper || !w->slots || !w->keys)
        return ERR_NOMEM;
    w->slot_count = (uint32_t)settings->inbound_inflight_max;
    for (uint32_t i = 0; i < w->slot_count; i++) {
        w->slots[i].worker = w;
        arena_init(&w->slots[i].arena, 0);
    }
    w->asking = (struct asking){.core = inbound->core, .parser = w->parser};
    mapper_hub(w->mapper, &asking_hub, &w->asking);
    tail_follow(inbound->tail, &w->follower);
    return OK;
}

/* Every topic's commands exist and take a document. */
static enum err check_commands(struct inbound *inbound, struct fault *fault) {
    enum err err = OK;
    for (uint32_t i = 0; !err && i < inbound->connectors->count; i++)
        err = connector_commands(inbound->connectors->items[i], core_registry(inbound->core), fault);
    return err;
}

static enum err read_pending(struct inbound *inbound, struct fault *fault) {
    const void *state = core_state(inbound->core, &inbound_capability);
    const void *cases = core_state(inbound->core, &exceptions_capability);
    uint64_t part[256], from = 0;
    for (uint32_t n = 1; n > 0; from = part[n - 1] + 1) {
        n = inbound_pending(state, from, part, 256);
        if (n == 0)
            break;
        void *more = mem_resize(inbound->pending,
                                (inbound->pending_count + n) * sizeof *inbound->pending);
        if (!more)
            return fault_set(fault, ERR_NOMEM, "no memory for the pending payloads");
        inbound->pending = more;
        memcpy(inbound->pending + inbound->pending_count, part, n * sizeof *part);
        more = mem_resize(inbound->editions,
                          (inbound->pending_count + n) * sizeof *inbound->editions);
        if (!more)
            return fault_set(fault, ERR_NOMEM, "no memory for the pending payloads");
        inbound->editions = more;
        for (uint32_t i = 0; i < n; i++)
            inbound->editions[inbound->pending_count + i] = exceptions_edition(cases, part[i]);
        inbound->pending_count += n;
    }
    return OK;
}

enum err inbound_create(const struct inbound_options *options, struct inbound **out,
                        struct fault *fault) {
    struct inbound *inbound = mem_zalloc(sizeof *inbound);
    if (!inbound)
        return fault_set(fault, ERR_NOMEM, "no memory for the inbound workers");
    inbound->core = options->core;
    inbound->tail = options->tail;
    inbound->connectors = connectors_take(options->connectors);
    pthread_mutex_init(&inbound->lock, NULL);
    enum err err = check_commands(inbound, fault);
    if (!err)
        err = read_pending(inbound, fault);
    uint32_t count = (uint32_t)core_config(options->core)->settings.inbound_workers;
    if (!err) {
        inbound->workers = mem_zalloc(count * sizeof *inbound->workers);
        if (!inbound->workers)
            err = fault_set(fault, ERR_NOMEM, "no memory for the inbound workers");
    }
    for (uint32_t i = 0; !err && i < count; i++) {
        inbound->worker_count++;
        if (worker_init(&inbound->workers[i], inbound, i) != OK)
            err = fault_set(fault, ERR_NOMEM, "no memory for the inbound workers");
    }
    if (err) {
        inbound_destroy(inbound);
        return err;
    }
    *out = inbound;
    return OK;
}

static void slot_end(struct slot *slot) {
    connector_release(slot->connector);
    parcel_free(slot->parcel);
    arena_free(&slot->arena);
}

void inbound_destroy(struct inbound *inbound) {
    if (!inbound)
        return;
    for (uint32_t i = 0; i < inbound->worker_count; i++) {
        struct worker *w = &inbound->workers[i];
        tail_unfollow(inbound->tail, &w->follower);
        for (uint32_t k = 0; k < w->slot_count; k++)
            slot_end(&w->slots[k]);
        connectors_release(w->connectors);
        mem_free(w->slots);
        mem_free(w->keys);
        json_parser_destroy(w->parser);
        mapper_destroy(w->mapper);
        pthread_cond_destroy(&w->wake);
        pthread_mutex_destroy(&w->lock);
    }
    connectors_release(inbound->connectors);
    pthread_mutex_destroy(&inbound->lock);
    mem_free(inbound->workers);
    mem_free(inbound->pending);
    mem_free(inbound->editions);
    mem_free(inbound);
}
