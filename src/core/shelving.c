/* shelving: the state on its way to the shelf and back.
 *
 * At a batch boundary the writer copies what has changed into a flush; another thread writes it,
 * in one transaction with the seq it reflects; then what it holds may leave memory. What a
 * command names is looked up before the writer gets it, by the thread that submits it where
 * memory can tell that it does not exist, by the loader where the disk must be asked.
 *
 * Always true: a flush holds what durable events made of the state, all of it up to its seq;
 * commands of one origin reach the writer in the order they were submitted. */
#include "core/core_priv.h"

#include <errno.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"

#define FLUSH_IDLE_US 1000000 /* an idle hub writes what is left after so long */
#define SHELF_RETRY_MS 250
#define EVICT_SHARE 128 /* of the room is freed at once: some thousand entities, a few ms */
#define EVICTABLE_BYTES_MIN ((size_t)1 << 20)

/* --- a flush ------------------------------------------------------------------------------- */

static bool flush_entry(struct flush *flush, uint32_t space, struct hash128 key, size_t at) {
    if (!ENTITY_ROOM(flush->entries, flush->count, flush->cap))
        return false;
    /* The text moves while it grows: offsets until flush_seal. */
    flush->entries[flush->count++] = (struct shelf_entry){
        .space = space, .key = key,
        .value = at == SIZE_MAX ? STR_NONE
                                : str_of((const char *)(uintptr_t)(at + 1), flush->text.len - at)};
    return true;
}

static void flush_seal(struct flush *flush) {
    for (uint32_t i = 0; i < flush->count; i++) {
        struct str *value = &flush->entries[i].value;
        if (value->ptr)
            value->ptr = flush->text.data + ((uintptr_t)value->ptr - 1);
    }
}

static bool flush_loose(struct flush *flush, const struct entity_set *set, uint32_t space) {
    for (uint32_t i = 0; i < set->loose_count; i++) {
        const struct loose *loose = &set->loose[i];
        size_t at = SIZE_MAX;
        if (!loose->there && loose->put_first)
            continue;
        if (loose->there) {
            at = flush->text.len;
            buf_add(&flush->text, set->loose_text.data + loose->at, loose->len);
        }
        if (!flush_entry(flush, space, loose->key, at))
            return false;
    }
    return buf_ok(&flush->text);
}

static bool flush_dirty(struct flush *flush, const struct entity_set *set, uint32_t space) {
    const struct entity_kind *kind = set->kind;
    for (uint32_t i = 0; i < set->gone_count; i++)
        if (!flush_entry(flush, space, set->gone[i], SIZE_MAX))
            return false;
    for (uint32_t i = 0; i < set->dirty_count; i++) {
        uint32_t slot = set->dirty[i];
        size_t at = flush->text.len;
        if (!(set->marks[slot] & MARK_DIRTY))
            continue;
        kind->save(set->part, slot, &flush->text);
        if (!flush_entry(flush, space, kind->key(set->part, slot), at))
            return false;
    }
    return buf_ok(&flush->text);
}

/* From now on what changes belongs to the next flush. */
static void set_taken(struct entity_set *set, struct flush_slots *taken, uint32_t number) {
    for (uint32_t i = 0; i < set->dirty_count; i++) {
        uint32_t slot = set->dirty[i];
        if (set->marks[slot] & MARK_DIRTY)
            set->marks[slot] = MARK_WRITTEN | number;
    }
    /* The lists change places: no copy. */
    uint32_t *slots = taken->slots, cap = taken->cap;
    *taken = (struct flush_slots){set->dirty, set->dirty_count, set->dirty_cap};
    set->dirty = slots;
    set->dirty_count = 0;
    set->dirty_cap = cap;
    set->gone_count = set->loose_count = 0;
    map_free(&set->loose_map);
    map_init(&set->loose_map);
    buf_clear(&set->loose_text);
}

static bool flush_fill(struct state *state, struct flush *flush) {
    struct entities *entities = &state->entities;
    size_t at = flush->text.len;
    pack_int(&flush->text, state->time_us);
    pack_uint(&flush->text, state->sum);
    bool ok = flush_entry(flush, entity_space(entities, &clock_entity), (struct hash128){0}, at);
    for (uint32_t i = 0; ok && i < entities->count; i++)
        ok = flush_loose(flush, &entities->sets[i], i) && flush_dirty(flush, &entities->sets[i], i);
    return ok;
}

/* Copies what has changed. False: no memory for it now; nothing has happened. */
static bool flush_build(struct core *core, struct state *state, uint64_t seq) {
    struct entities *entities = &state->entities;
    struct flush *flush = &core->flush;
    flush->count = 0;
    buf_clear(&flush->text);
    if (!flush->taken)
        flush->taken = mem_zalloc(entities->count * sizeof *flush->taken);
    if (!flush->taken || !flush_fill(state, flush))
        return false;
    flush_seal(flush);
    entities->flush_number = (entities->flush_number + 1) & MARK_FLUSH;
    for (uint32_t i = 0; i < entities->count; i++)
        set_taken(&entities->sets[i], &flush->taken[i], entities->flush_number);
    flush->number = entities->flush_number;
    flush->seq = seq;
    flush->forget_us = state->time_us - core_idempotency_us(core);
    core->flushed_seq = seq;
    core->flush_tick_us = clock_tick_us(core->clock);
    return true;
}

/* It is written: what did not change since may leave memory. */
static void flush_finish(struct flush *flush, struct state *state) {
    struct entities *entities = &state->entities;
    uint32_t mark = MARK_WRITTEN | flush->number;
    for (uint32_t i = 0; i < entities->count; i++) {
        struct entity_set *set = &entities->sets[i];
        for (uint32_t k = 0; set->kind->evict && k < flush->taken[i].count; k++) {
            uint32_t slot = flush->taken[i].slots[k];
            /* Without memory for the ring it stays until it is written the next time. */
            if (set->marks[slot] == mark && entity_written(set, slot, mark) != OK)
                break;
        }
        flush->taken[i].count = 0;
    }
    if (flush->text.cap > ((size_t)64 << 20)) /* a rare huge one must not keep its memory */
        buf_free(&flush->text);
}

void flush_init(struct flush *flush) {
    *flush = (struct flush){0};
    buf_init(&flush->text, SIZE_MAX / 4);
}

void flush_free(struct flush *flush, uint32_t sets) {
    for (uint32_t i = 0; flush->taken && i < sets; i++)
        mem_free(flush->taken[i].slots);
    mem_free(flush->taken);
    mem_free(flush->entries);
    buf_free(&flush->text);
}

/* Writes the flush that is ready. Holds shelf_lock. */
static enum err flush_write(struct core *core, struct fault *fault) {
    struct flush *flush = &core->flush;
    enum err err = core->shelf->ops->write(core->shelf, flush->seq, flush->forget_us,
                                           flush->entries, flush->count, fault);
    if (err == ERR_DAMAGED)
        atomic_store(&core->shelf_lost, true);
    if (err == OK) {
        atomic_store(&core->shelf_seq, flush->seq);
        atomic_store(&core->flush_state, FLUSH_DONE);
    }
    return err;
}

/* --- the writer's side ----------------------------------------------------------------------- */

static size_t resident_bytes(const struct core *core, const struct state *state) {
    size_t bytes = core->shelf->ops->memory(core->shelf);
    for (uint32_t i = 0; i < core->registry->count; i++)
        if (core->registry->capabilities[i]->memory)
            bytes += core->registry->capabilities[i]->memory(state->parts[i]);
    return bytes;
}

/* Keeps the bound of the configuration. */
static void core_evict(struct core *core, struct state *state) {
    size_t most = (size_t)core->config->settings.state_bytes_max;
    size_t fixed = resident_bytes(core, state);
    size_t least = most < EVICTABLE_BYTES_MIN ? most : EVICTABLE_BYTES_MIN;
    size_t room = most > fixed + least ? most - fixed : least;
    /* In rounds, not a few with every batch: each one voids what was looked up before it. */
    if (entities_bytes(&state->entities) > room)
        entities_evict(&state->entities, room - room / EVICT_SHARE);
    atomic_store(&core->evicted_ms, state->entities.evicted_ms);
    atomic_store(&core->evictions, state->entities.evictions);
    atomic_store(&core->loads, state->entities.loads);
    atomic_store(&core->writer_loads, state->entities.writer_loads);
    atomic_store(&core->state_bytes, fixed + entities_bytes(&state->entities));
}

/* Without end the state can not lag: a restart would replay for ever, memory would fill. */
static void core_lag_check(struct core *core) {
    uint64_t written = atomic_load(&core->shelf_seq);
    bool late = core->seq - written > (uint64_t)core->config->settings.state_lag_events_max;
    if (late && !atomic_load(&core->shelf_late))
        log_line(LOG_ERROR, "core", "the written state lags: new commands are refused until it has "
                 "caught up", "seq=%llu written=%llu", (unsigned long long)core->seq,
                 (unsigned long long)written);
    atomic_store(&core->shelf_late, late);
}

static bool flush_due(const struct core *core) {
    uint64_t events = core->seq - core->flushed_seq;
    if (events == 0)
        return false;
    return events >= (uint64_t)core->config->settings.state_flush_events ||
           clock_tick_us(core->clock) - core->flush_tick_us >= FLUSH_IDLE_US;
}

void core_shelve(struct core *core) {
    if (!core->shelf || core->broken)
        return;
    if (atomic_load(&core->shelf_lost)) { /* made again from the journal before the next batch */
        core->broken = true;
        return;
    }
    if (atomic_load(&core->flush_state) == FLUSH_DONE) {
        flush_finish(&core->flush, core->state);
        atomic_store(&core->flush_state, FLUSH_NONE);
    }
    core_evict(core, core->state);
    core_lag_check(core);
    if (atomic_load(&core->flush_state) != FLUSH_NONE || !flush_due(core) ||
        !flush_build(core, core->state, core->seq))
        return;
    atomic_store(&core->flush_state, FLUSH_READY);
    pthread_mutex_lock(&core->shelf_wake_lock);
    pthread_cond_signal(&core->shelf_wake);
    pthread_mutex_unlock(&core->shelf_wake_lock);
}

/* Writes at once; what can not be written stays ready for the shelf's thread. Holds shelf_lock. */
static bool flush_now(struct core *core, struct state *state) {
    struct fault fault;
    bool again = true;
    fault_init(&fault, NULL);
    enum err err = flush_write(core, &fault);
    if (err != OK) {
        log_line(LOG_WARN, "core", "the state could not be written; replay goes on without",
                 "detail=%s", log_quote(str_c(fault.detail)));
        return false;
    }
    flush_finish(&core->flush, state);
    atomic_store(&core->flush_state, FLUSH_NONE);
    while (err == OK && again)
        err = core->shelf->ops->tidy(core->shelf, &again, &fault);
    if (err == ERR_DAMAGED)
        atomic_store(&core->shelf_lost, true);
    return true;
}

enum err core_shelve_replayed(struct core *core, struct state *state, uint64_t seq,
                              struct fault *fault) {
    enum err err = OK;
    bool written = false;
    if (!core->shelf ||
        seq - core->flushed_seq < (uint64_t)core->config->settings.state_flush_events)
        return OK;
    pthread_mutex_lock(&core->shelf_lock);
    if (atomic_load(&core->flush_state) == FLUSH_NONE) {
        if (flush_build(core, state, seq))
            atomic_store(&core->flush_state, FLUSH_READY);
        else
            err = fault_set(fault, ERR_NOMEM, "no memory to write the state");
    }
    if (err == OK)
        written = flush_now(core, state);
    if (atomic_load(&core->shelf_lost))
        err = fault_set(fault, ERR_DAMAGED, "the written state is damaged");
    pthread_mutex_unlock(&core->shelf_lock);
    if (written)
        core_evict(core, state);
    return err;
}

bool core_shelf_settle(struct core *core) {
    struct fault fault;
    fault_init(&fault, NULL);
    if (!core->shelf)
        return true;
    pthread_mutex_lock(&core->shelf_lock);
    bool lost = atomic_load(&core->flush_state) == FLUSH_READY && flush_write(core, &fault) != OK;
    if (lost)
        log_line(LOG_WARN, "core", "the state could not be written", "detail=%s",
                 log_quote(str_c(fault.detail)));
    for (uint32_t i = 0; core->flush.taken && i < core->kind_count; i++)
        core->flush.taken[i].count = 0;
    atomic_store(&core->flush_state, FLUSH_NONE);
    pthread_mutex_unlock(&core->shelf_lock);
    return !lost;
}

/* --- the shelf's thread ------------------------------------------------------------------------ */

enum err core_shelf_step(struct core *core, bool *again, struct fault *fault) {
    *again = false;
    if (!core->shelf)
        return OK;
    pthread_mutex_lock(&core->shelf_lock);
    enum err err = OK;
    if (atomic_load(&core->flush_state) == FLUSH_READY) {
        int64_t from_us = clock_tick_us(core->clock);
        err = flush_write(core, fault);
        histogram_us(&core->counters.flush_us, clock_tick_us(core->clock) - from_us);
    }
    if (err == OK)
        err = core->shelf->ops->tidy(core->shelf, again, fault);
    if (err == ERR_DAMAGED)
        atomic_store(&core->shelf_lost, true);
    pthread_mutex_unlock(&core->shelf_lock);
    return err;
}

/* Sleeps until there is something to write, or for a while. False: stop. */
static bool shelf_await(struct core *core, bool failed) {
    int64_t at = clock_tick_us(&clock_system) + (failed ? SHELF_RETRY_MS * 1000 : 1000000);
    struct timespec until = {.tv_sec = at / 1000000, .tv_nsec = at % 1000000 * 1000};
    pthread_mutex_lock(&core->shelf_wake_lock);
    while (core->shelf_running && (failed || atomic_load(&core->flush_state) != FLUSH_READY))
        if (pthread_cond_timedwait(&core->shelf_wake, &core->shelf_wake_lock, &until) != 0)
            break;
    bool go_on = core->shelf_running;
    pthread_mutex_unlock(&core->shelf_wake_lock);
    return go_on;
}

static void *shelf_run(void *arg) {
    pthread_setname_np(pthread_self(), "shelf");
    struct core *core = arg;
    bool failed = false;
    while (shelf_await(core, failed)) {
        bool again = true, failed_before = failed;
        struct fault fault;
        fault_init(&fault, NULL);
        failed = false;
        while (again && !failed)
            failed = core_shelf_step(core, &again, &fault) != OK;
        if (failed && !failed_before)
            log_line(LOG_ERROR, "core", "the state can not be written; it is tried again",
                     "detail=%s", log_quote(str_c(fault.detail)));
        if (!failed && failed_before)
            log_line(LOG_INFO, "core", "the state is written again", NULL);
    }
    return NULL;
}

/* --- the loader ---------------------------------------------------------------------------------- */

static uint32_t core_space(const struct core *core, const struct entity_kind *kind) {
    uint32_t space = 0;
    while (space < core->kind_count && core->kinds[space] != kind)
        space++;
    must(space < core->kind_count);
    return space;
}

void command_need(struct command *command, const struct entity_kind *kind, struct hash128 key) {
    if (command->need_count < ENTITY_NEEDS_MAX)
        command->needs[command->need_count++] =
            (struct entity_need){.kind = kind, .key = key};
}

bool core_must_load(struct core *core, struct command *command) {
    bool load = false;
    if (!core->shelf)
        return false;
    for (uint32_t i = 0; i < command->need_count; i++) {
        struct entity_need *need = &command->needs[i];
        uint64_t ms = entity_ms(need->kind, need->key);
        if (ms > atomic_load(&core->evicted_ms)) {
            /* In memory or nowhere: nothing to look up. */
            command->needs[i--] = command->needs[--command->need_count];
            continue;
        }
        need->space = core_space(core, need->kind);
        need->evictions = atomic_load(&core->evictions);
        need->load = core->shelf->ops->maybe(core->shelf, need->space, need->key);
        load |= need->load;
    }
    return load;
}

static void command_load(struct core *core, struct command *command) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < command->need_count; i++) {
        struct entity_need *need = &command->needs[i];
        struct fault fault;
        fault_init(&fault, NULL);
        /* What fails here fails again on the writer's thread, and is answered there. */
        if (need->load && core->shelf->ops->get(core->shelf, need->space, need->key,
                                                command->arena, &need->bytes, &fault) != OK)
            continue;
        command->needs[kept++] = *need;
    }
    command->need_count = kept;
}

bool core_load_step(struct core *core) {
    pthread_mutex_lock(&core->lock);
    struct command *first = core->loading_first;
    core->loading_first = core->loading_last = NULL;
    pthread_mutex_unlock(&core->lock);
    for (struct command *command = first; command; command = command->next)
        command_load(core, command);
    if (!first)
        return false;
    pthread_mutex_lock(&core->lock);
    uint32_t before = core->queue.count;
    for (struct command *command = first, *next; command; command = next) {
        next = command->next;
        command->origin->loading--;
        core->loading--;
        queue_put(&core->queue, command);
    }
    if (before < core->wake_at && core->queue.count >= core->wake_at)
        pthread_cond_signal(&core->wake);
    pthread_mutex_unlock(&core->lock);
    return true;
}

static void *loader_run(void *arg) {
    pthread_setname_np(pthread_self(), "loader");
    struct core *core = arg;
    for (;;) {
        pthread_mutex_lock(&core->lock);
        while (!core->loading_first && !core->loader_stopping)
            pthread_cond_wait(&core->loader_wake, &core->lock);
        bool stop = !core->loading_first;
        pthread_mutex_unlock(&core->lock);
        if (stop)
            return NULL;
        core_load_step(core);
    }
}

/* --- life ------------------------------------------------------------------------------------------ */

enum err core_shelf_start(struct core *core, struct fault *fault) {
    if (!core->shelf)
        return OK;
    core->shelf_running = true;
    if (pthread_create(&core->shelf_thread, NULL, shelf_run, core) != 0) {
        core->shelf_running = false;
        return fault_set(fault, ERR_NOMEM, "the thread that writes the state can not be started");
    }
    if (pthread_create(&core->loader_thread, NULL, loader_run, core) != 0)
        return fault_set(fault, ERR_NOMEM, "the thread that loads state can not be started");
    core->loader_running = true;
    return OK;
}

void core_loader_stop(struct core *core) {
    if (!core->loader_running)
        return;
    pthread_mutex_lock(&core->lock);
    core->loader_stopping = true;
    pthread_cond_signal(&core->loader_wake);
    pthread_mutex_unlock(&core->lock);
    pthread_join(core->loader_thread, NULL);
    core->loader_running = false;
}

void core_shelf_stop(struct core *core) {
    if (!core->shelf_running)
        return;
    pthread_mutex_lock(&core->shelf_wake_lock);
    core->shelf_running = false;
    pthread_cond_signal(&core->shelf_wake);
    pthread_mutex_unlock(&core->shelf_wake_lock);
    pthread_join(core->shelf_thread, NULL);
}

void core_shelve_rest(struct core *core) {
    struct fault fault;
    bool again;
    fault_init(&fault, NULL);
    if (!core->shelf || !core->state || core->broken || core->running)
        return;
    /* What was not written is not marked as changed any more: no later flush may follow it. */
    if (!core_shelf_settle(core) || core->seq == core->flushed_seq || !flush_build(core, core->state, core->seq))
        return;
    atomic_store(&core->flush_state, FLUSH_READY);
    if (core_shelf_step(core, &again, &fault) != OK)
        log_line(LOG_WARN, "core", "the state could not be written: the next start replays more",
                 "detail=%s", log_quote(str_c(fault.detail)));
}
