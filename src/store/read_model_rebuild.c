/* read_model_rebuild: a second file beside the present one, filled from the journal, and the
 * switch.
 *
 * The file is filled without a journal of its own and without indexes, then made safe, then
 * brought up to date like any other; what is left of the way is small by then, and whoever steps
 * the model goes it and puts the new file in the place of the old one. Until then nothing of the
 * old one is touched. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "store/read_model_priv.h"

#define REBUILD_BATCH_EVENTS 50000u
#define REBUILD_NEAR_EVENTS 200000u /* behind the tail by less: time to make it safe */
#define REBUILD_NICE 10             /* selling comes first */

const char *const read_model_rebuild_states[] = {
    [REBUILD_NONE] = "none",         [REBUILD_FILLING] = "filling",
    [REBUILD_INDEXING] = "indexing", [REBUILD_CATCHING_UP] = "catching-up",
    [REBUILD_DONE] = "done",         [REBUILD_FAILED] = "failed",
};

/* --- building ---------------------------------------------------------------------------- */

struct building {
    struct read_model *model, *next;
    void (*progress)(void *ctx, uint64_t seq);
    void *ctx;
};

static void state_set(struct read_model *model, int state) {
    pthread_mutex_lock(&model->lock);
    model->rebuild.now.state = state;
    pthread_mutex_unlock(&model->lock);
}

/* Steps until no more than `near` events are left. */
static enum err building_fill(struct building *b, uint64_t near, struct fault *fault) {
    struct read_model *next = b->next;
    for (bool more = true; more && read_model_seq(next) + near < tail_last(next->options.tail);) {
        if (atomic_load(&b->model->rebuild.stop))
            return fault_set(fault, ERR_UNAVAILABLE, "the hub is stopping");
        enum err err = read_model_step(next, &more, fault);
        if (err != OK)
            return err;
        if (b->progress)
            b->progress(b->ctx, read_model_seq(next));
    }
    return OK;
}

static void building_end(struct building *b) {
    pthread_mutex_lock(&b->model->lock);
    b->model->rebuild.building = NULL;
    pthread_mutex_unlock(&b->model->lock);
    if (!b->next)
        return;
    struct read_model gone = {.options = b->next->options};
    snprintf(gone.path, sizeof gone.path, "%s", b->next->path);
    read_model_close(b->next);
    b->next = NULL;
    model_file_delete(&gone);
}

/* A whole file, up to date but for the last events. */
static enum err building_make(struct building *b, struct fault *fault) {
    struct read_model *model = b->model;
    struct read_model_options options = model->options;
    char path[MODEL_PATH_BYTES + sizeof MODEL_NEXT];
    snprintf(path, sizeof path, "%s" MODEL_NEXT, model->path);
    options.path = path;
    if (options.batch_events < REBUILD_BATCH_EVENTS)
        options.batch_events = REBUILD_BATCH_EVENTS;
    state_set(model, REBUILD_FILLING);
    enum err err = model_open(&options, true, &b->next, fault);
    if (err != OK)
        return err;
    pthread_mutex_lock(&model->lock);
    model->rebuild.building = b->next;
    pthread_mutex_unlock(&model->lock);
    err = building_fill(b, REBUILD_NEAR_EVENTS, fault);
    if (err == OK && read_model_seq(b->next) == 0) /* a short journal: the indexes need a table */
        err = building_fill(b, 0, fault);
    state_set(model, REBUILD_INDEXING);
    if (err == OK)
        err = model_file_settle(b->next, fault);
    state_set(model, REBUILD_CATCHING_UP);
    return err == OK ? building_fill(b, model->options.batch_events, fault) : err;
}

/* Whoever steps the model: the last events, and the switch. */
static enum err building_take(struct read_model *model, struct read_model *next,
                              struct fault *fault) {
    enum err err = OK;
    for (bool more = true; err == OK && more && read_model_seq(next) < read_model_seq(model);)
        err = read_model_step(next, &more, fault);
    return err == OK ? model_file_replace(model, next, fault) : err;
}

/* The last that its thread does with the lock: who sees it done may begin another. */
static void rebuild_tell(struct read_model *model, enum err err, const struct fault *fault) {
    struct read_model_rebuilding *now = &model->rebuild.now;
    pthread_mutex_lock(&model->lock);
    now->state = err == OK ? REBUILD_DONE : REBUILD_FAILED;
    now->took_us = clock_tick_us(model->options.clock) - model->rebuild.began_us;
    now->seq = read_model_seq(model);
    snprintf(now->reason, sizeof now->reason, "%s", err == OK ? "" : fault->detail);
    model->rebuild.running = false;
    pthread_mutex_unlock(&model->lock);
    if (err == OK) {
        atomic_fetch_add(&model->rebuilds, 1);
        log_line(LOG_INFO, "store", "the read model was made anew", "seq=%llu took_ms=%lld",
                 (unsigned long long)read_model_seq(model), (long long)now->took_us / 1000);
    } else if (!atomic_load(&model->rebuild.stop)) {
        log_line(LOG_ERROR, "store", "the read model can not be made anew", "reason=%s",
                 log_quote(str_c(fault->detail)));
    }
}

static void rebuild_begin(struct read_model *model) {
    pthread_mutex_lock(&model->lock);
    model->rebuild.now = (struct read_model_rebuilding){.state = REBUILD_FILLING};
    model->rebuild.began_us = clock_tick_us(model->options.clock);
    pthread_mutex_unlock(&model->lock);
}

/* --- without the thread ------------------------------------------------------------------ */

static enum err rebuild_in_place(struct read_model *model, struct fault *fault) {
    enum err err = model_file_reset(model, fault);
    for (bool more = true; err == OK && more;)
        err = read_model_step(model, &more, fault);
    return err;
}

enum err read_model_rebuild(struct read_model *model, void (*progress)(void *ctx, uint64_t seq),
                            void *ctx, struct fault *fault) {
    struct building b = {.model = model, .progress = progress, .ctx = ctx};
    struct fault own = {0};
    enum err err;
    must(!model->running);
    rebuild_begin(model);
    if (model->vfs[0] || model->options.exclusive) {
        err = rebuild_in_place(model, &own);
    } else {
        err = building_make(&b, &own);
        if (err == OK)
            err = building_fill(&b, 0, &own);
        if (err == OK)
            err = building_take(model, b.next, &own);
        building_end(&b);
    }
    rebuild_tell(model, err, &own);
    return err == OK ? OK : fault_set(fault, err, "%s", own.detail);
}

/* --- beside the thread ------------------------------------------------------------------- */

/* Hands the new file over and waits until it was taken, or the hub stops. */
static enum err building_give(struct building *b, struct fault *fault) {
    struct model_rebuild *rebuild = &b->model->rebuild;
    enum err err = OK;
    pthread_mutex_lock(&b->model->lock);
    rebuild->next = b->next;
    pthread_cond_signal(&b->model->work);
    /* While it is being taken it must stay, stop or not. */
    while (rebuild->next && (rebuild->taking || !atomic_load(&rebuild->stop)))
        pthread_cond_wait(&b->model->done, &b->model->lock);
    if (rebuild->next) {
        rebuild->next = NULL;
        err = fault_set(fault, ERR_UNAVAILABLE, "the hub is stopping");
    } else {
        err = rebuild->taken;
        *fault = rebuild->taken_fault;
    }
    pthread_mutex_unlock(&b->model->lock);
    return err;
}

void model_rebuild_take(struct read_model *model) {
    pthread_mutex_lock(&model->lock);
    struct read_model *next = model->rebuild.next;
    model->rebuild.taking = next != NULL;
    pthread_mutex_unlock(&model->lock);
    if (!next)
        return;
    struct fault fault = {0};
    enum err err = building_take(model, next, &fault);
    pthread_mutex_lock(&model->lock);
    model->rebuild.next = NULL;
    model->rebuild.taking = false;
    model->rebuild.taken = err;
    if (err == OK)
        atomic_store(&model->rebuild.wanted, false);
    model->rebuild.taken_fault = fault;
    pthread_cond_broadcast(&model->done);
    pthread_mutex_unlock(&model->lock);
}

static void *rebuild_main(void *arg) {
    pthread_setname_np(pthread_self(), "rebuild");
    (void)setpriority(PRIO_PROCESS, 0, REBUILD_NICE); /* of this thread alone, on Linux */
    struct building b = {.model = arg};
    struct fault fault = {0};
    enum err err = building_make(&b, &fault);
    if (err == OK)
        err = building_give(&b, &fault);
    building_end(&b);
    rebuild_tell(b.model, err, &fault);
    return NULL;
}

/* Lock held. */
static void rebuild_join(struct model_rebuild *rebuild) {
    if (rebuild->joinable)
        pthread_join(rebuild->thread, NULL); /* it has let go of the lock for good */
    rebuild->joinable = false;
}

enum err read_model_rebuild_start(struct read_model *model, struct fault *fault) {
    struct model_rebuild *rebuild = &model->rebuild;
    enum err err = OK;
    pthread_mutex_lock(&model->lock);
    if (!model->running || model->stop)
        err = fault_set(fault, ERR_UNAVAILABLE, "the hub is stopping");
    else if (rebuild->running)
        err = fault_set(fault, ERR_CONFLICT, "the read model is being made anew already");
    if (err == OK) {
        rebuild_join(rebuild);
        rebuild->now = (struct read_model_rebuilding){.state = REBUILD_FILLING};
        rebuild->began_us = clock_tick_us(model->options.clock);
        atomic_store(&rebuild->stop, false);
        rebuild->running = rebuild->joinable =
            pthread_create(&rebuild->thread, NULL, rebuild_main, model) == 0;
        if (!rebuild->running)
            err = fault_set(fault, ERR_NOMEM, "the thread of the rebuild can not be started");
    }
    pthread_mutex_unlock(&model->lock);
    return err;
}

void model_rebuild_wanted(struct read_model *model) {
    struct fault fault = {0};
    if (!atomic_load(&model->rebuild.wanted) || model->vfs[0] || !model->db)
        return;
    pthread_mutex_lock(&model->lock);
    bool wait = model->rebuild.now.state == REBUILD_FAILED &&
                clock_tick_us(model->options.clock) - model->rebuild.began_us < 60000000;
    pthread_mutex_unlock(&model->lock);
    if (wait || !atomic_exchange(&model->rebuild.wanted, false))
        return;
    if (read_model_rebuild_start(model, &fault) == OK)
        log_line(LOG_ERROR, "store", "the read model is damaged: another is being made from the"
                                     " journal", "seq=%llu",
                 (unsigned long long)read_model_seq(model));
}

void model_rebuild_stop(struct read_model *model) {
    struct model_rebuild *rebuild = &model->rebuild;
    pthread_mutex_lock(&model->lock);
    atomic_store(&rebuild->stop, true);
    pthread_cond_broadcast(&model->done);
    bool joinable = rebuild->joinable;
    rebuild->joinable = false;
    pthread_mutex_unlock(&model->lock);
    if (joinable)
        pthread_join(rebuild->thread, NULL);
}

void read_model_rebuild_look(struct read_model *model, struct read_model_rebuilding *out) {
    const struct model_rebuild *rebuild = &model->rebuild;
    pthread_mutex_lock(&model->lock);
    *out = rebuild->now;
    if (rebuild->building)
        out->seq = read_model_seq(rebuild->building);
    if (out->state != REBUILD_NONE && out->state < REBUILD_DONE)
        out->took_us = clock_tick_us(model->options.clock) - rebuild->began_us;
    pthread_mutex_unlock(&model->lock);
    out->target = tail_last(model->options.tail);
}
