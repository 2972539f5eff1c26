/* drop: see drop.h. Owns the folders of all connectors, files.db, and the thread. */
#include <stdio.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "connect/drop_priv.h"

/* On the writer's thread. */
static void answered(struct command_origin *origin, struct command *first) {
    struct drop *drop = (struct drop *)((char *)origin - offsetof(struct drop, origin));
    struct command *last = first;
    while (last->next)
        last = last->next;
    pthread_mutex_lock(&drop->lock);
    if (drop->answers)
        drop->answers_last->next = first;
    else
        drop->answers = first;
    drop->answers_last = last;
    drop->woken = true;
    pthread_cond_signal(&drop->wake);
    pthread_mutex_unlock(&drop->lock);
}

static void answers_drain(struct drop *drop) {
    pthread_mutex_lock(&drop->lock);
    struct command *command = drop->answers;
    drop->answers = drop->answers_last = NULL;
    pthread_mutex_unlock(&drop->lock);
    while (command) {
        struct command *next = command->next;
        drop_answered(command->origin_ctx);
        command = next;
    }
}

enum err drop_create(const struct drop_options *options, struct drop **out, struct fault *fault) {
    struct drop *drop = mem_zalloc(sizeof *drop);
    if (!drop)
        return fault_set(fault, ERR_NOMEM, "no memory for files");
    drop->options = *options;
    drop->options.connectors = connectors_take(options->connectors);
    drop->origin.deliver = answered;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&drop->lock, NULL);
    pthread_cond_init(&drop->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    drop->parser = json_parser_create();
    enum err err = drop->parser ? intake_open(options->path, options->vfs, &drop->intake, fault)
                                : fault_set(fault, ERR_NOMEM, "no memory for files");
    if (err == OK)
        err = drops_follow(drop, options->connectors, fault);
    if (err != OK) {
        drop_destroy(drop);
        return err;
    }
    *out = drop;
    return OK;
}

void drop_destroy(struct drop *drop) {
    if (!drop)
        return;
    drops_free(drop);
    intake_close(drop->intake);
    json_parser_destroy(drop->parser);
    connectors_release(drop->options.connectors);
    connectors_release(drop->renewed);
    pthread_cond_destroy(&drop->wake);
    pthread_mutex_destroy(&drop->lock);
    mem_free(drop);
}

/* --- one step ------------------------------------------------------------------------------ */

/* Something of the file under way failed: nothing new of it is begun; what the core has is awaited. */
static void records_step(struct drop_entry *entry) {
    if (!entry->failed)
        records_go(entry);
    if (entry->state != DROP_RECORDS || entry->busy > 0)
        return;
    if (entry->failed)
        file_give_up(entry, entry->stats.error);
    else if (entry->file.ended)
        file_end(entry);
}

static bool entry_step(struct drop_entry *entry, bool stopping) {
    uint64_t before = entry->file.nth;
    if (entry->state == DROP_RECORDS && stopping) {
        drop_submit_again(entry);
        if (entry->busy == 0) {
            file_close(&entry->file);
            entry->state = DROP_IDLE;
        }
        return false;
    }
    if (stopping)
        return false;
    if (entry->state == DROP_RECORDS) {
        records_step(entry);
        return entry->state == DROP_IDLE || entry->file.nth != before;
    }
    if (entry->state == DROP_HASHING) {
        file_hash(entry);
        return true;
    }
    drop_entry_renew(entry);
    if (!drop_usable(entry)) {
        entry->stats.state = DROP_UNUSABLE;
        return false;
    }
    if (entry->stats.state == DROP_UNUSABLE)
        entry->stats.state = DROP_WAITING;
    /* what the core still has of a file that was given up comes back first */
    return entry->busy == 0 && entry->due_us <= clock_tick_us(entry->drop->options.clock) &&
           folder_look(entry);
}

bool drop_step(struct drop *drop) {
    bool again = false;
    pthread_mutex_lock(&drop->lock);
    bool stopping = drop->stopping;
    pthread_mutex_unlock(&drop->lock);
    answers_drain(drop);
    drops_renew(drop);
    for (uint32_t i = 0; i < drop->count; i++)
        again = entry_step(drop->entries[i], stopping) || again;
    pthread_mutex_lock(&drop->lock);
    for (uint32_t i = 0; i < drop->count; i++)
        drop->entries[i]->shown = drop->entries[i]->stats;
    pthread_mutex_unlock(&drop->lock);
    return again;
}

int64_t drop_next_us(const struct drop *drop) {
    int64_t next = INT64_MAX;
    for (uint32_t i = 0; i < drop->count; i++) {
        const struct drop_entry *entry = drop->entries[i];
        int64_t due = INT64_MAX;
        if (entry->state == DROP_HASHING)
            due = 0;
        else if (entry->state == DROP_RECORDS && entry->blocked)
            due = entry->again_us;
        else if (entry->state == DROP_IDLE && drop_usable(entry) && entry->busy == 0)
            due = entry->due_us;
        next = due < next ? due : next;
    }
    return next;
}

/* --- the thread ------------------------------------------------------------------------------ */

static bool under_way(const struct drop *drop) {
    for (uint32_t i = 0; i < drop->count; i++)
        if (drop->entries[i]->busy > 0)
            return true;
    return false;
}

/* False: it is to end. */
static bool drop_wait(struct drop *drop, bool again) {
    int64_t next_us = drop_next_us(drop), now_us = clock_tick_us(drop->options.clock);
    int64_t wait_us = next_us == INT64_MAX || next_us - now_us > 1000000 ? 1000000 : next_us - now_us;
    int64_t until_us = now_us + wait_us;
    pthread_mutex_lock(&drop->lock);
    if (!again && !drop->woken && wait_us > 0) {
        struct timespec until = {.tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000};
        pthread_cond_timedwait(&drop->wake, &drop->lock, &until);
    }
    drop->woken = false;
    bool stopping = drop->stopping;
    pthread_mutex_unlock(&drop->lock);
    return !stopping || under_way(drop);
}

static void *drop_thread(void *arg) {
    pthread_setname_np(pthread_self(), "files");
    struct drop *drop = arg;
    bool again = true;
    while (drop_wait(drop, again))
        again = drop_step(drop);
    return NULL;
}

enum err drop_start(struct drop *drop, struct fault *fault) {
    if (pthread_create(&drop->thread, NULL, drop_thread, drop) != 0)
        return fault_set(fault, ERR_NOMEM, "no thread for files");
    drop->started = true;
    return OK;
}

void drop_stop(struct drop *drop) {
    if (!drop->started)
        return;
    pthread_mutex_lock(&drop->lock);
    drop->stopping = drop->woken = true;
    pthread_cond_signal(&drop->wake);
    pthread_mutex_unlock(&drop->lock);
    pthread_join(drop->thread, NULL);
    drop->started = false;
}

/* --- from other threads ---------------------------------------------------------------------- */

void drop_renew(struct drop *drop, const struct connectors *connectors) {
    connectors_offer(&drop->renewed, &drop->lock, connectors);
    pthread_mutex_lock(&drop->lock);
    drop->woken = true;
    pthread_cond_signal(&drop->wake);
    pthread_mutex_unlock(&drop->lock);
}

uint32_t drop_list(struct drop *drop, struct drop_stats *out, uint32_t max) {
    uint32_t n = 0;
    pthread_mutex_lock(&drop->lock);
    for (uint32_t i = 0; i < drop->count && n < max; i++)
        if (!drop->entries[i]->retired)
            out[n++] = drop->entries[i]->shown;
    pthread_mutex_unlock(&drop->lock);
    return n;
}

void drop_figures(struct drop *drop, struct metrics *out) {
    pthread_mutex_lock(&drop->lock);
    for (uint32_t i = 0; i < drop->count; i++) {
        const struct drop_stats *stats = &drop->entries[i]->shown;
        const struct str labels[] = {stats->connector, stats->topic};
        if (drop->entries[i]->retired)
            continue;
        metric_add(out, METRIC_FILES_ENDED, labels, stats->files);
        metric_add(out, METRIC_FILES_REJECTED, labels, stats->rejected);
        metric_add(out, METRIC_FILES_RECORDS, labels, stats->records);
        metric_add(out, METRIC_FILES_TAKEN, labels, stats->taken);
        metric_add(out, METRIC_FILES_BAD, labels, stats->bad);
    }
    pthread_mutex_unlock(&drop->lock);
}
