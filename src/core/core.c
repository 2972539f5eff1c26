/* core: the queue of commands, the commit, recovery, and the writer's thread. See core.h.
 *
 * What always holds: an answer leaves after the events it speaks of are durable and published;
 * after a failed append nothing is decided before the state was rebuilt from the journal. */
#include "core/core_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/planted.h"
#include "base/span.h"

#define REPLAY_CHUNK 4096
#define RETRY_BROKEN_MS 250
#define EPOCH_OVER "what came before it comes back first"

/* --- recovery ------------------------------------------------------------------------------ */

struct replay {
    struct core *core;
    struct state *state;
    struct json_parser *parser;
    struct arena arena;
    struct fault *fault;
    enum err err;
    uint64_t seq;
};

static bool replay_visit(void *ctx, const struct record *record) {
    struct replay *replay = ctx;
    struct event event;
    if (record->seq != replay->seq + 1) {
        replay->err = fault_set(replay->fault, ERR_IO, "the journal has no event %llu",
                                (unsigned long long)replay->seq + 1);
        return false;
    }
    arena_reset(&replay->arena);
    replay->err = event_from_record(replay->core->registry, record, replay->parser, &replay->arena,
                                    &event, replay->fault);
    if (replay->err == OK)
        replay->err = state_apply(replay->state, &event);
    if (replay->err != OK) {
        log_line(LOG_ERROR, "core", "event can not be applied", "seq=%llu type=%.*s detail=%s",
                 (unsigned long long)record->seq, STR_FMT(record->type),
                 log_quote(str_c(replay->fault ? replay->fault->detail : "")));
        return false;
    }
    replay->seq = record->seq;
    replay->state->sum = record_sum(record);
    return true;
}

static enum err replay_all(struct replay *replay) {
    struct core *core = replay->core;
    uint64_t last, next = replay->seq + 1;
    enum err err = journal_last(core->journal, &last, replay->fault);
    int64_t told_us = clock_tick_us(core->clock);
    while (err == OK && replay->seq < last) {
        err = journal_read(core->journal, next, REPLAY_CHUNK, replay_visit, replay, &next,
                           replay->fault);
        if (err == OK)
            err = replay->err;
        if (err == OK && next <= replay->seq)
            err = fault_set(replay->fault, ERR_IO, "the journal ends at %llu, not at %llu",
                            (unsigned long long)replay->seq, (unsigned long long)last);
        if (err == OK)
            err = core_shelve_replayed(core, replay->state, replay->seq, replay->fault);
        if (clock_tick_us(core->clock) - told_us > 1000000) {
            told_us = clock_tick_us(core->clock);
            log_line(LOG_INFO, "core", "replaying the journal", "seq=%llu of=%llu",
                     (unsigned long long)replay->seq, (unsigned long long)last);
        }
    }
    return err;
}

static bool sum_visit(void *ctx, const struct record *record) {
    *(uint64_t *)ctx = record_sum(record);
    return false;
}

/* Whether the newest event that the written state knows is the journal's. */
static enum err shelf_check(struct replay *replay, uint64_t seq) {
    uint64_t sum = 0, next;
    enum err err = journal_read(replay->core->journal, seq, 1, sum_visit, &sum, &next,
                                replay->fault);
    return err == OK && sum != replay->state->sum
               ? fault_set(replay->fault, ERR_DAMAGED, "the written state is of another journal")
               : err;
}

/* What was written of the state: replay goes on behind it. A shelf that knows more than the
 * journal belongs to another one, or the journal lost its end: it is emptied. */
static enum err replay_from_shelf(struct replay *replay) {
    struct core *core = replay->core;
    uint64_t last;
    enum err err = journal_last(core->journal, &last, replay->fault);
    if (err != OK || !core->shelf)
        return err;
    uint64_t seq = core->shelf->ops->seq(core->shelf);
    if (seq > last || atomic_load(&core->shelf_lost)) {
        log_line(LOG_WARN, "core", "the written state is made again from the journal",
                 "seq=%llu journal=%llu damaged=%d", (unsigned long long)seq,
                 (unsigned long long)last, atomic_load(&core->shelf_lost));
        err = core->shelf->ops->reset(core->shelf, replay->fault);
        seq = 0;
    }
    if (err == OK)
        atomic_store(&core->shelf_lost, false);
    atomic_store(&core->shelf_seq, seq);
    core->flushed_seq = replay->seq = seq;
    if (err == OK && seq > 0)
        err = entities_load_all(&replay->state->entities, true, replay->fault);
    if (err == OK && seq > 0)
        err = shelf_check(replay, seq);
    replay->state->entities.evicted_ms = (uint64_t)(replay->state->time_us / 1000);
    if (err == ERR_DAMAGED)
        atomic_store(&core->shelf_lost, true);
    return err;
}

static enum err replay_state(struct replay *replay) {
    struct core *core = replay->core;
    enum err err = state_create(core->registry, core->config, core->shelf, &replay->state);
    if (err != OK)
        return fault_set(replay->fault, err, "no memory to build the state");
    /* Numbers go on, so that what was looked up for the old state does not count for this one. */
    replay->state->entities.evictions = atomic_load(&core->evictions) + 1;
    replay->state->entities.loads = atomic_load(&core->loads);
    replay->state->entities.writer_loads = atomic_load(&core->writer_loads);
    err = replay_from_shelf(replay);
    if (err == OK)
        err = replay_all(replay);
    if (replay->state->entities.failed == ERR_DAMAGED)
        atomic_store(&core->shelf_lost, true);
    return err;
}

static void core_take_over(struct core *core, struct state *state, uint64_t seq) {
    for (uint32_t i = 0; i < core->registry->count; i++)
        if (core->registry->capabilities[i]->publish)
            core->registry->capabilities[i]->publish(state->parts[i]);
    pthread_rwlock_wrlock(&core->state_lock);
    struct state *old = core->state;
    core->state = state;
    pthread_rwlock_unlock(&core->state_lock);
    state_destroy(old);
    core->seq = seq;
    core->time_us = state->time_us;
    core->broken = false;
    atomic_store(&core->evicted_ms, state->entities.evicted_ms);
    atomic_store(&core->evictions, state->entities.evictions);
    atomic_store(&core->durable_seq, seq);
    atomic_store(&core->ready, true);
}

/* Builds the state anew from shelf and journal; the old one stays where it can not. */
static enum err core_rebuild(struct core *core, struct fault *fault) {
    struct replay replay = {.core = core, .fault = fault, .parser = json_parser_create()};
    enum err err = ERR_NOMEM;
    arena_init(&replay.arena, 0);
    if (!replay.parser)
        fault_set(fault, ERR_NOMEM, "no memory to build the state");
    /* Once more where the shelf proves to be damaged: it is emptied then. */
    for (int attempt = 0; replay.parser && attempt < 2; attempt++) {
        (void)core_shelf_settle(core); /* a flush of another state can not follow this one */
        replay.seq = 0;
        replay.err = OK;
        err = replay_state(&replay);
        if (err == OK)
            break;
        state_destroy(replay.state);
        replay.state = NULL;
        if (!atomic_load(&core->shelf_lost))
            break;
    }
    if (err == OK)
        core_take_over(core, replay.state, replay.seq);
    if (replay.parser)
        json_parser_destroy(replay.parser);
    arena_free(&replay.arena);
    return err;
}

/* --- answers -------------------------------------------------------------------------------- */

static void core_finish(struct core *core, struct command *command) {
    struct command_origin *origin = command->origin;
    command->answer.seq = atomic_load(&core->durable_seq);
    command->next = NULL;
    if (!origin->first) {
        origin->first = command;
        origin->next_dirty = core->dirty;
        core->dirty = origin;
    } else {
        origin->last->next = command;
    }
    origin->last = command;
}

static void core_deliver(struct core *core) {
    while (core->dirty) {
        struct command_origin *origin = core->dirty;
        struct command *first = origin->first;
        core->dirty = origin->next_dirty;
        origin->first = origin->last = NULL;
        origin->next_dirty = NULL;
        origin->deliver(origin, first);
    }
}

static void command_unavailable(struct command *command, const char *why) {
    struct answer *answer = &command->answer;
    *answer = (struct answer){0};
    fault_init(&answer->fault, command->arena);
    answer->err = fault_set(&answer->fault, ERR_UNAVAILABLE, "%s", why);
}

/* --- one round ------------------------------------------------------------------------------ */

static struct command *core_take(struct core *core, uint32_t max, uint32_t *count) {
    pthread_mutex_lock(&core->lock);
    struct command *first = queue_take(&core->queue, max, clock_tick_us(core->clock), count);
    pthread_mutex_unlock(&core->lock);
    return first;
}

static void state_publish(struct core *core) {
    for (uint32_t i = 0; i < core->registry->count; i++)
        if (core->registry->capabilities[i]->publish)
            core->registry->capabilities[i]->publish(core->state->parts[i]);
}

/* Makes the batch durable, then visible. */
static enum err core_commit(struct core *core, struct fault *fault) {
    struct batch *batch = &core->batch;
    if (batch->count == 0)
        return OK;
    batch_seal(batch);
    if (PLANTED(PUBLISH_EARLY))
        state_publish(core);
    if (PLANTED(READ_MODEL_AHEAD) && core->tail)
        tail_publish(core->tail, batch->records, batch->count);
    int64_t from_us = clock_tick_us(core->clock);
    enum err err = journal_append(core->journal, batch->records, batch->count, fault);
    histogram_us(&core->counters.append_us, clock_tick_us(core->clock) - from_us);
    histogram_count(&core->counters.batch_events, batch->count);
    if (err != OK) {
        counter_add(&core->counters.append_failures, 1);
        core->broken = true;
        return err;
    }
    core->state->sum = record_sum(&batch->records[batch->count - 1]);
    atomic_store(&core->durable_seq, core->seq);
    state_publish(core);
    if (core->tail && !PLANTED(READ_MODEL_AHEAD))
        tail_publish(core->tail, batch->records, batch->count);
    return OK;
}

static bool catch_up_visit(void *ctx, const struct record *record) {
    tail_publish(ctx, record, 1);
    return true;
}

/* An append that failed may have been written all the same: followers get to see it. */
static enum err core_catch_up(struct core *core, uint64_t published, struct fault *fault) {
    uint64_t next = published + 1;
    while (core->tail && next <= core->seq) {
        uint64_t from = next;
        enum err err = journal_read(core->journal, from, REPLAY_CHUNK, catch_up_visit, core->tail,
                                    &next, fault);
        if (err == OK && next <= from)
            err = fault_set(fault, ERR_IO, "event %llu can not be read", (unsigned long long)from);
        if (err != OK)
            return err;
    }
    return OK;
}

/* What was submitted in this epoch and is not decided yet comes back. */
static void epoch_end(struct core *core) {
    pthread_mutex_lock(&core->lock);
    core->epoch++;
    pthread_mutex_unlock(&core->lock);
}

uint64_t core_epoch(struct core *core) {
    pthread_mutex_lock(&core->lock);
    uint64_t epoch = core->epoch;
    pthread_mutex_unlock(&core->lock);
    return epoch;
}

/* Only where nothing came back that was before it. */
static void decide_in_order(struct core *core, struct command *command) {
    if (command->epoch != 0 && command->epoch != core->epoch) {
        command_unavailable(command, EPOCH_OVER);
        return;
    }
    core_decide_traced(core, command);
    if (command->epoch != 0 && command->answer.err != OK && err_info(command->answer.err)->disposition == RETRYABLE)
        epoch_end(core);
}

/* Keeps what is wrong for those who are refused; true where it is news, to be logged once. */
static bool core_trouble(struct core *core, const char *why) {
    pthread_mutex_lock(&core->lock);
    bool news = strcmp(core->why, why) != 0;
    snprintf(core->why, sizeof core->why, "%s", why);
    pthread_mutex_unlock(&core->lock);
    return news;
}

/* Lock held. */
static void why_write(const struct core *core, char out[256]) {
    snprintf(out, 256, "the hub can not write its journal%s%.200s", core->why[0] ? ": " : "",
             core->why);
}

void core_why(struct core *core, char out[256]) {
    pthread_mutex_lock(&core->lock);
    why_write(core, out);
    pthread_mutex_unlock(&core->lock);
}

/* After a failure: true when state and journal agree again. While nothing can be written there is
 * no use in rebuilding the state: the next append would fail like the last one. */
static bool core_mend(struct core *core) {
    struct fault fault;
    if (!core->broken)
        return true;
    atomic_store(&core->ready, false);
    fault_init(&fault, NULL);
    uint64_t published = atomic_load(&core->durable_seq);
    enum err err = journal_probe(core->journal, &fault);
    if (err != OK) {
        if (core_trouble(core, fault.detail))
            log_line(LOG_ERROR, "core", "new work is refused until the journal can be written",
                     "detail=%s", log_quote(str_c(fault.detail)));
        return false;
    }
    err = core_rebuild(core, &fault);
    if (err == OK)
        err = core_catch_up(core, published, &fault);
    if (err != OK) {
        core->broken = true;
        atomic_store(&core->ready, false);
        if (core_trouble(core, fault.detail))
            log_line(LOG_ERROR, "core", "the state can not be rebuilt", "detail=%s",
                     log_quote(str_c(fault.detail)));
        return false;
    }
    core_trouble(core, "");
    log_line(LOG_WARN, "core", "state rebuilt from the journal", "seq=%llu published=%llu",
             (unsigned long long)core->seq, (unsigned long long)published);
    return true;
}

/* Of commands that are about to be answered. */
static void commands_count(struct core_counters *counters, const struct command *first,
                           uint32_t count, bool committed) {
    uint64_t replayed = 0, refused = 0;
    if (count == 0)
        return;
    for (const struct command *command = first; committed && command; command = command->next) {
        refused += command->answer.err != OK;
        replayed += command->answer.err == OK && command->answer.replayed;
    }
    histogram_count(&counters->batch_commands, count);
    counter_add(committed ? &counters->done : &counters->failed, count - refused - replayed);
    counter_add(&counters->refused, refused);
    counter_add(&counters->replayed, replayed);
}

uint32_t core_step(struct core *core) {
    uint32_t count;
    struct fault fault;
    fault_init(&fault, NULL);
    if (!core->loader_running)
        core_load_step(core);
    bool usable = core_mend(core);
    if (usable)
        core_fire_timers(core, clock_now_us(core->clock));
    struct command *first =
        core_take(core, (uint32_t)core->config->settings.batch_commands_max, &count);
    for (struct command *command = first; usable && command; command = command->next) {
        decide_in_order(core, command);
        if (core->broken)
            break;
    }
    int64_t commit_us = spans_on() ? clock_now_us(core->clock) : 0;
    enum err err = core->broken ? ERR_UNAVAILABLE : core_commit(core, &fault);
    if (usable && err != OK && core_trouble(core, fault.detail))
        log_line(LOG_ERROR, "core", "batch not committed", "events=%u detail=%s",
                 core->batch.count, log_quote(str_c(fault.detail)));
    char why[256];
    if (err != OK) {
        core_why(core, why);
        epoch_end(core);
    }
    commands_count(&core->counters, first, count, err == OK);
    core_spans(core, first, count, commit_us, err == OK);
    for (struct command *command = first, *next; command; command = next) {
        next = command->next;
        if (err != OK)
            command_unavailable(command, why);
        core_finish(core, command);
    }
    batch_clear(&core->batch);
    arena_reset(&core->arena);
    core_deliver(core);
    core_shelve(core);
    return count;
}

enum err core_submit(struct core *core, struct command *command, struct fault *fault) {
    enum err err = OK;
    must(command->origin && command->arena && command->type);
    command->next = NULL;
    command->queued_us = clock_tick_us(core->clock);
    command->need_count = 0;
    command->decide_us = 0;
    core_need_keys(command);
    if (command->type->needs)
        command->type->needs(command);
    bool load = core_must_load(core, command);
    pthread_mutex_lock(&core->lock);
    if (core->stopping)
        err = fault_set(fault, ERR_UNAVAILABLE, "the hub is stopping");
    else if (command->epoch != 0 && command->epoch != core->epoch)
        err = fault_set(fault, ERR_UNAVAILABLE, EPOCH_OVER);
    else if (!atomic_load_explicit(&core->ready, memory_order_relaxed)) {
        char why[256];
        why_write(core, why);
        err = fault_set(fault, ERR_UNAVAILABLE, "%s", why);
    } else if (atomic_load_explicit(&core->shelf_late, memory_order_relaxed))
        err = fault_set(fault, ERR_UNAVAILABLE, "the hub can not write its state fast enough");
    else if (!queue_has_room(&core->queue, command->traffic, core->loading,
                             (uint64_t)core->config->settings.queue_commands_max))
        err = fault_set(fault, ERR_UNAVAILABLE, "too many commands are waiting");
    else if (load || command->origin->loading > 0) { /* behind those of its origin */
        if (core->loading_last)
            core->loading_last->next = command;
        else
            core->loading_first = command;
        core->loading_last = command;
        core->loading++;
        command->origin->loading++;
        pthread_cond_signal(&core->loader_wake);
    } else {
        queue_put(&core->queue, command);
        if (core->queue.count == core->wake_at)
            pthread_cond_signal(&core->wake);
    }
    pthread_mutex_unlock(&core->lock);
    return err;
}

/* --- the thread ------------------------------------------------------------------------------ */

static int64_t core_next_timer(const struct core *core) {
    int64_t next = INT64_MAX;
    for (uint32_t i = 0; i < core->registry->count; i++) {
        const struct capability *capability = core->registry->capabilities[i];
        if (!capability->timer_next)
            continue;
        int64_t due = capability->timer_next(core->state->parts[i]);
        if (due < next)
            next = due;
    }
    return next;
}

/* How long the writer may sleep, in microseconds; the wall clock may jump, so never long. */
static int64_t core_nap_us(struct core *core) {
    if (core->broken)
        return RETRY_BROKEN_MS * 1000;
    int64_t next = core_next_timer(core), now = clock_now_us(core->clock);
    int64_t nap = next == INT64_MAX ? 1000000 : next - now;
    return nap < 0 ? 0 : nap > 1000000 ? 1000000 : nap;
}

/* Sleeps until `wake_at` commands wait or the time is over. Holds the lock. */
static void core_nap(struct core *core, uint32_t wake_at, int64_t nap_us) {
    int64_t at = clock_tick_us(&clock_system) + nap_us;
    struct timespec until = {.tv_sec = at / 1000000, .tv_nsec = at % 1000000 * 1000};
    core->wake_at = wake_at;
    while (core->queue.count < wake_at && !(core->stopping && core->loading == 0))
        if (pthread_cond_timedwait(&core->wake, &core->lock, &until) != 0)
            return;
}

/* Waits for commands. Under load (the last batch answered many) those answered ask again at
 * about the same time: waiting a moment for half of them halves the number of commits. */
#define GATHER_FROM 8
static bool core_await(struct core *core, uint32_t answered) {
    int64_t nap_us = core_nap_us(core), gather_us = core->config->settings.commit_gather_us;
    pthread_mutex_lock(&core->lock);
    if (core->queue.count == 0 && nap_us > 0)
        core_nap(core, 1, nap_us);
    if (answered >= GATHER_FROM && gather_us > 0 && core->queue.count > 0)
        core_nap(core, answered / 2, gather_us < nap_us ? gather_us : nap_us);
    bool stop = core->stopping && core->queue.count + core->loading == 0;
    pthread_mutex_unlock(&core->lock);
    return !stop;
}

static void *core_run(void *arg) {
    pthread_setname_np(pthread_self(), "writer");
    struct core *core = arg;
    uint32_t answered = 0;
    while (core_await(core, answered)) {
        int64_t from_us = clock_tick_us(core->clock);
        answered = core_step(core);
        counter_add(&core->counters.busy_us, (uint64_t)(clock_tick_us(core->clock) - from_us));
    }
    return NULL;
}

enum err core_start(struct core *core, struct fault *fault) {
    must(!core->running);
    enum err err = core_shelf_start(core, fault);
    if (err != OK)
        return err;
    if (pthread_create(&core->thread, NULL, core_run, core) != 0)
        return fault_set(fault, ERR_NOMEM, "the writer's thread can not be started");
    core->running = true;
    return OK;
}

void core_stop(struct core *core) {
    pthread_mutex_lock(&core->lock);
    core->stopping = true;
    pthread_cond_signal(&core->wake);
    pthread_mutex_unlock(&core->lock);
    if (core->running)
        pthread_join(core->thread, NULL);
    core->running = false;
    core_loader_stop(core);
    core_shelf_stop(core);
    core_shelve_rest(core);
}

/* --- life -------------------------------------------------------------------------------------- */

struct core *core_create(const struct core_options *options, struct fault *fault) {
    struct core *core = mem_zalloc(sizeof *core);
    if (!core) {
        fault_set(fault, ERR_NOMEM, "no memory for the core");
        return NULL;
    }
    core->config = options->config;
    core->epoch = 1;
    core->journal = options->journal;
    core->keyring = options->keyring;
    core->shelf = options->shelf;
    core->tail = options->tail;
    core->clock = options->clock;
    core->rng = options->rng;
    batch_init(&core->batch);
    core->batch.seals = core->keyring != NULL;
    arena_init(&core->arena, 0);
    buf_init(&core->scratch, 0);
    pthread_rwlock_init(&core->state_lock, NULL);
    pthread_mutex_init(&core->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&core->wake, &attr);
    pthread_cond_init(&core->loader_wake, &attr);
    pthread_cond_init(&core->shelf_wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&core->shelf_lock, NULL);
    pthread_mutex_init(&core->shelf_wake_lock, NULL);
    flush_init(&core->flush);
    queue_init(&core->queue);
    core->kind_count = core_kinds(options->capabilities, core->kinds);
    core->flush_tick_us = clock_tick_us(options->clock);
    core->registry = registry_create(options->capabilities);
    if (!core->registry)
        fault_set(fault, ERR_NOMEM, "no memory for the core");
    if (!core->registry || core_rebuild(core, fault) != OK) {
        core_destroy(core);
        return NULL;
    }
    return core;
}

void core_destroy(struct core *core) {
    if (!core)
        return;
    core_stop(core);
    state_destroy(core->state);
    flush_free(&core->flush, core->kind_count);
    registry_destroy(core->registry);
    batch_free(&core->batch);
    arena_free(&core->arena);
    buf_free(&core->scratch);
    pthread_rwlock_destroy(&core->state_lock);
    pthread_mutex_destroy(&core->lock);
    pthread_mutex_destroy(&core->shelf_lock);
    pthread_mutex_destroy(&core->shelf_wake_lock);
    pthread_cond_destroy(&core->wake);
    pthread_cond_destroy(&core->loader_wake);
    pthread_cond_destroy(&core->shelf_wake);
    mem_free(core);
}

uint64_t core_seq(const struct core *core) { return atomic_load(&core->durable_seq); }
bool core_ready(const struct core *core) { return atomic_load(&core->ready); }
const struct registry *core_registry(const struct core *core) { return core->registry; }
const struct config *core_config(const struct core *core) { return core->config; }
struct clock *core_clock(const struct core *core) { return core->clock; }
struct rng *core_rng(const struct core *core) { return core->rng; }
struct keyring *core_keyring(const struct core *core) { return core->keyring; }

uint32_t core_waiting(struct core *core) {
    pthread_mutex_lock(&core->lock);
    uint32_t waiting = core->queue.count;
    pthread_mutex_unlock(&core->lock);
    return waiting;
}

void core_delays(struct core *core, int64_t out[TRAFFIC_CLASSES]) {
    pthread_mutex_lock(&core->lock);
    queue_delays(&core->queue, clock_tick_us(core->clock), out);
    pthread_mutex_unlock(&core->lock);
}

void core_read_begin(struct core *core) { pthread_rwlock_rdlock(&core->state_lock); }
void core_read_end(struct core *core) { pthread_rwlock_unlock(&core->state_lock); }

const void *core_state(const struct core *core, const struct capability *capability) {
    return state_of(core->state, capability);
}

void core_stats(const struct core *core, struct core_stats *out) {
    *out = (struct core_stats){.state_bytes = atomic_load(&core->state_bytes),
                               .written_seq = atomic_load(&core->shelf_seq),
                               .loads = atomic_load(&core->loads),
                               .writer_loads = atomic_load(&core->writer_loads),
                               .evictions = atomic_load(&core->evictions)};
}

static int line_order(const void *a, const void *b) {
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* Slots are not in the same order live and replayed. */
static void dump_sort(struct buf *text, struct buf *out) {
    uint32_t count = 0, n = 0;
    for (size_t i = 0; i < text->len; i++)
        count += text->data[i] == '\n';
    struct str *lines = mem_alloc((count + 1) * sizeof *lines);
    if (!lines || text->failed) {
        out->failed = true;
        mem_free(lines);
        return;
    }
    for (size_t at = 0; n < count; n++) {
        const char *end = memchr(text->data + at, '\n', text->len - at);
        lines[n] = str_of(text->data + at, (size_t)(end - (text->data + at)) + 1);
        at += lines[n].len;
    }
    qsort(lines, count, sizeof *lines, line_order);
    for (n = 0; n < count; n++)
        buf_str_add(out, lines[n]);
    mem_free(lines);
}

void core_dump(struct core *core, struct buf *out) {
    struct fault fault;
    struct buf text;
    struct state *state = core->state;
    fault_init(&fault, NULL);
    buf_init(&text, SIZE_MAX / 4);
    if (entities_load_all(&state->entities, false, &fault) != OK)
        out->failed = true;
    keys_dump(&state->natural, "natural", INT64_MIN, &text);
    keys_dump(&state->idempotent, "idempotent", state->time_us - core_idempotency_us(core), &text);
    dump_sort(&text, out);
    for (uint32_t i = 0; i < core->registry->count; i++) {
        const struct capability *capability = core->registry->capabilities[i];
        if (!capability->dump)
            continue;
        buf_printf(out, "[%s]\n", capability->name);
        buf_clear(&text);
        capability->dump(state->parts[i], &text);
        dump_sort(&text, out);
    }
    buf_free(&text);
}

/* The document as text: what is not personal, and what is (absent: nothing), which stays in `json`: once
 * it is sealed nobody needs it, and of a partner's message it is all but a few bytes. */
static enum err document_encode(struct core *core, struct command *out, struct buf *json,
                                struct str *personal, struct fault *fault) {
    const struct shape *shape = out->type->shape;
    buf_reserve(json, 4096);
    if (core->keyring)
        shape_encode_public(shape, out->body, json);
    else
        shape_encode(shape, out->body, json);
    size_t len = json->len;
    bool any = core->keyring && shape_encode_personal(shape, out->body, json);
    if (buf_ok(json))
        out->body_json = arena_str(out->arena, str_of(json->data, len));
    if (!out->body_json.ptr)
        return fault_set(fault, ERR_NOMEM, "no memory for the document");
    if (any)
        *personal = str_of(json->data + len, json->len - len);
    return OK;
}

/* Seals what is personal, here and not on the writer's thread. The fingerprint covers it as well,
 * blinded: it stays after the person was erased. */
static enum err document_seal(struct core *core, struct command *out, struct str personal,
                              struct fault *fault) {
    must(out->person.ptr);
    enum err err = seal_close(core->keyring, str_c(out->type->name), out->person, personal,
                              out->arena, &out->sealed, fault);
    if (err != OK)
        return err;
    struct hash128 hash = hash128(personal, out->fingerprint.lo);
    hash.hi ^= out->fingerprint.hi;
    out->fingerprint = core->keyring->ops->blind(core->keyring, hash);
    return OK;
}

/* Writes the body down, and seals what is personal of it. */
static enum err document_prepare(struct core *core, struct command *out, bool fact, struct fault *fault) {
    struct str personal = STR_NONE;
    struct buf json;
    buf_init(&json, 0);
    enum err err = document_encode(core, out, &json, &personal, fault);
    if (err == OK)
        out->fingerprint = hash128(out->body_json, 0);
    /* a fact may have come in a payload that says more than the document made of it */
    if (err == OK && out->type->person && (personal.ptr || fact)) {
        out->person = out->type->person(out->body, out->id, out->arena);
        if (!out->person.ptr)
            err = fault_set(fault, ERR_NOMEM, "no memory for the document");
    }
    if (err == OK && personal.ptr)
        err = document_seal(core, out, personal, fault);
    buf_free(&json);
    return err;
}

static enum err prepare(struct core *core, const struct command_type *type, struct arena *arena,
                        void *body, bool fact, struct command *out, struct fault *fault) {
    *out = (struct command){.type = type, .arena = arena, .body = body, .if_match = -1,
                            .fact = fact, .traffic = fact ? CLASS_STOCK : CLASS_CHECKOUT};
    out->now_us = clock_now_us(core->clock);
    out->id = id_make(core->rng, out->now_us);
    struct command_context context = {.config = core->config, .clock = core->clock, .fact = fact};
    enum err err = body && type->check ? type->check(&context, body, arena, fault) : OK;
    if (err != OK || !body || !type->shape || type->flags & COMMAND_READS)
        return err;
    return document_prepare(core, out, fact, fault);
}

enum err command_prepare(struct core *core, const struct command_type *type, struct arena *arena,
                         void *body, struct command *out, struct fault *fault) {
    return prepare(core, type, arena, body, false, out, fault);
}

enum err command_prepare_fact(struct core *core, const struct command_type *type,
                              struct arena *arena, void *body, struct command *out,
                              struct fault *fault) {
    return prepare(core, type, arena, body, true, out, fault);
}
