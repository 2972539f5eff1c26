/* streams: see streams.h. Owns the streams of all connectors and a thread for each. */
#include "connect/streams.h"

#include <stdio.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/planted.h"
#include "connect/streams_priv.h"
#include "connect/topic_name.h"

#define FETCH_WAIT_MS 500
#define PAUSE_FIRST_US INT64_C(250000)
#define PAUSE_MAX_US INT64_C(30000000)
#define REST_US INT64_C(1000000) /* of a stream that is not to be read */
#define AGAIN_US INT64_C(50000)  /* the core is asked again to take a message */
#define OVER INT64_C(-1)

/* --- waiting ------------------------------------------------------------------------------- */

/* On the writer's thread. */
static void answered(struct command_origin *origin, struct command *first) {
    struct stream_entry *entry = (struct stream_entry *)((char *)origin - offsetof(struct stream_entry, origin));
    struct command *last = first;
    while (last->next)
        last = last->next;
    pthread_mutex_lock(&entry->streams->lock);
    if (entry->answers)
        entry->answers_last->next = first;
    else
        entry->answers = first;
    entry->answers_last = last;
    pthread_cond_signal(&entry->wake);
    pthread_mutex_unlock(&entry->streams->lock);
}

struct command *stream_answers(struct stream_entry *entry) {
    pthread_mutex_lock(&entry->streams->lock);
    struct command *first = entry->answers;
    entry->answers = entry->answers_last = NULL;
    pthread_mutex_unlock(&entry->streams->lock);
    return first;
}

/* Until there is something to do, or so long: while messages are on their way only their answers are that. */
static void entry_wait(struct stream_entry *entry, int64_t wait_us) {
    int64_t until_us = clock_tick_us(&clock_system) + wait_us; /* what the condition variable counts in */
    struct timespec until = {.tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000};
    pthread_mutex_lock(&entry->streams->lock);
    while (!entry->answers && (entry->batch || (!entry->streams->stopping && !entry->next_stream)) &&
           clock_tick_us(&clock_system) < until_us)
        pthread_cond_timedwait(&entry->wake, &entry->streams->lock, &until);
    pthread_mutex_unlock(&entry->streams->lock);
}

/* --- one stream ------------------------------------------------------------------------------ */

static void source_close(struct stream_entry *entry) {
    if (entry->source)
        entry->source->ops->close(entry->source);
    entry->source = NULL;
}

static void failed(struct stream_entry *entry, const char *why) {
    struct stream_stats *stats = &entry->stats;
    bool told = stats->state == STREAM_FAILING && strcmp(stats->error, why) == 0;
    if (stats->error != why)
        snprintf(stats->error, sizeof stats->error, "%s", why);
    stats->failed_us = clock_now_us(entry->streams->options.clock);
    stats->state = STREAM_FAILING;
    stats->failures++;
    source_close(entry);
    if (!told)
        log_line(LOG_WARN, "connect", "a stream can not be read", "stream=%.*s error=%s", STR_FMT(entry->name),
                 log_quote(str_c(stats->error)));
    entry->pause_us = entry->pause_us ? entry->pause_us * 2 : PAUSE_FIRST_US;
    if (entry->pause_us > PAUSE_MAX_US)
        entry->pause_us = PAUSE_MAX_US;
    entry->open_us = clock_tick_us(entry->streams->options.clock) + entry->pause_us;
}

static enum err source_open(struct stream_entry *entry, struct fault *fault) {
    const struct streams_options *streams = &entry->streams->options;
    const struct config *config = streams->config;
    char group[160];
    if (entry->stream->group.len)
        snprintf(group, sizeof group, "%.*s", STR_FMT(entry->stream->group));
    else
        snprintf(group, sizeof group, "penstock-%.*s", STR_FMT(config->cell));
    struct stream_source_options options = {.stream = entry->stream, .group = str_c(group),
                                            .clock = entry->streams->options.clock,
                                            .bytes_max = config->settings.stream_in_bytes_max};
    if (streams->open)
        return streams->open(streams->open_ctx, &options, &entry->source, fault);
    return entry->stream->address.kind == STREAM_KAFKA ? source_kafka_open(&options, &entry->source, fault)
                                                       : source_nats_open(&options, &entry->source, fault);
}

static void slots_free(struct stream_entry *entry) {
    for (uint32_t i = 0; entry->slots && i < entry->room; i++)
        arena_free(&entry->slots[i].arena);
    mem_free(entry->slots);
    mem_free(entry->messages);
    entry->slots = NULL;
    entry->messages = NULL;
    entry->room = 0;
}

static bool slots_make(struct stream_entry *entry) {
    uint32_t room = (uint32_t)entry->stream->in_flight;
    if (entry->room == room)
        return true;
    slots_free(entry);
    entry->slots = mem_zalloc(room * sizeof *entry->slots);
    entry->messages = mem_zalloc(room * sizeof *entry->messages);
    if (!entry->slots || !entry->messages) {
        slots_free(entry);
        return false;
    }
    entry->room = room;
    for (uint32_t i = 0; i < room; i++) {
        entry->slots[i].entry = entry;
        arena_init(&entry->slots[i].arena, 0);
    }
    return true;
}

static void stream_read(struct stream_entry *entry) {
    const struct stream_source_ops *ops = entry->source->ops;
    struct stream_stats *stats = &entry->stats;
    struct fault fault = {0};
    entry->count = 0;
    if (ops->fetch(entry->source, entry->messages, entry->room, FETCH_WAIT_MS, &entry->count, &stats->waiting,
                   &fault) != OK) {
        failed(entry, fault.detail);
        return;
    }
    if (stats->state != STREAM_READING && stats->failures > 0)
        log_line(LOG_INFO, "connect", "a stream is read again", "stream=%.*s", STR_FMT(entry->name));
    stats->state = STREAM_READING;
    entry->pause_us = 0;
    if (entry->count == 0)
        return;
    stream_batch_begin(entry);
}

/* On with the messages that are under way. */
static int64_t batch_step(struct stream_entry *entry) {
    const struct stream_source_ops *ops = entry->source->ops;
    struct fault fault = {0};
    pthread_mutex_lock(&entry->streams->lock);
    bool stopping = entry->streams->stopping;
    pthread_mutex_unlock(&entry->streams->lock);
    switch (stream_batch_step(entry, stopping)) {
    case STREAM_BATCH_ON:
        if (PLANTED(ACK_EARLY))
            (void)!ops->done(entry->source, entry->messages, entry->count, &fault);
        return AGAIN_US;
    case STREAM_BATCH_DONE:
        if (ops->done(entry->source, entry->messages, entry->count, &fault) != OK)
            failed(entry, fault.detail);
        break;
    case STREAM_BATCH_FAILED:
        ops->drop(entry->source, entry->messages, entry->count);
        if (!stopping)
            failed(entry, entry->stats.error);
    }
    return 0;
}

static bool readable(const struct connector_stream *stream) {
    return stream->enabled && stream->missing.len == 0;
}

/* Takes up another version; whether the stream is to be read. */
static bool entry_look(struct stream_entry *entry, bool *stopping) {
    const struct connector *before = NULL;
    pthread_mutex_lock(&entry->streams->lock);
    bool renewed = entry->next_stream != NULL, retired = entry->retired;
    if (renewed) {
        before = entry->stream->connector;
        entry->stream = entry->next_stream;
        entry->next_stream = NULL;
    }
    *stopping = entry->streams->stopping;
    entry->shown = entry->stats;
    pthread_mutex_unlock(&entry->streams->lock);
    if (renewed) {
        source_close(entry); /* before what it was opened for goes */
        entry->pause_us = entry->open_us = 0;
        connector_release(before);
    }
    return !retired && readable(entry->stream);
}

static void entry_open(struct stream_entry *entry) {
    struct fault fault = {0};
    if (!entry->pause_us)
        entry->stats.state = STREAM_CONNECTING;
    if (!slots_make(entry))
        failed(entry, "no memory for messages");
    else if (source_open(entry, &fault) != OK)
        failed(entry, fault.detail);
}

/* Never waits, but in its source. Answers for how long there is nothing to do; OVER: for ever. */
static int64_t entry_step(struct stream_entry *entry) {
    bool stopping = false;
    if (entry->batch)
        return batch_step(entry);
    bool usable = entry_look(entry, &stopping);
    if (stopping || !usable)
        source_close(entry);
    if (stopping)
        return OVER;
    if (!usable) {
        entry->stats.state = STREAM_UNUSABLE;
        return REST_US;
    }
    if (entry->source) {
        stream_read(entry);
        return entry->batch ? AGAIN_US : 0;
    }
    int64_t early_us = entry->open_us - clock_tick_us(entry->streams->options.clock);
    if (early_us > 0)
        return early_us;
    entry_open(entry);
    return 0;
}

static void *entry_thread(void *arg) {
    pthread_setname_np(pthread_self(), "stream");
    struct stream_entry *entry = arg;
    for (int64_t wait_us = 0; wait_us != OVER; wait_us = entry_step(entry))
        entry_wait(entry, wait_us);
    return NULL;
}

int64_t streams_step(struct streams *streams) {
    int64_t soonest_us = OVER;
    for (uint32_t i = 0; i < streams->count; i++) {
        int64_t wait_us = entry_step(streams->entries[i]);
        if (wait_us != OVER && (soonest_us == OVER || wait_us < soonest_us))
            soonest_us = wait_us;
    }
    return soonest_us;
}

/* --- which there are --------------------------------------------------------------------------- */

static void entry_free(struct stream_entry *entry) {
    slots_free(entry);
    connector_release(entry->stream ? entry->stream->connector : NULL);
    connector_release(entry->next_stream ? entry->next_stream->connector : NULL);
    json_parser_destroy(entry->parser);
    pthread_cond_destroy(&entry->wake);
    mem_free((char *)(uintptr_t)entry->name.ptr);
    mem_free(entry);
}

static enum err entry_make(struct streams *streams, const struct connector_stream *stream,
                           struct fault *fault) {
    if (streams->count == STREAMS_MAX) {
        log_line(LOG_ERROR, "connect", "a stream is not read: there are too many", "connector=%s topic=%s max=%d",
                 log_quote(stream->connector->name), log_quote(stream->topic), STREAMS_MAX);
        return OK;
    }
    struct stream_entry *entry = mem_zalloc(sizeof *entry);
    if (!entry)
        return fault_set(fault, ERR_NOMEM, "no memory for streams");
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&entry->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    entry->streams = streams;
    entry->origin.deliver = answered;
    entry->parser = json_parser_create();
    entry->stats.waiting = -1;
    if (!entry->parser || !topic_name_make(stream->connector->name, stream->topic, &entry->name,
                                           &entry->stats.connector, &entry->stats.topic)) {
        entry_free(entry);
        return fault_set(fault, ERR_NOMEM, "no memory for streams");
    }
    connector_take(stream->connector);
    entry->stream = stream;
    entry->shown = entry->stats;
    entry->wanted_on = true;
    streams->entries[streams->count++] = entry;
    return OK;
}

static enum err entry_start(struct stream_entry *entry, struct fault *fault) {
    if (entry->started || !readable(entry->next_stream ? entry->next_stream : entry->stream))
        return OK;
    if (pthread_create(&entry->thread, NULL, entry_thread, entry) != 0)
        return fault_set(fault, ERR_NOMEM, "no thread for a stream");
    entry->started = true;
    return OK;
}

static enum err stream_follow(struct streams *streams, const struct connector_stream *stream,
                              struct fault *fault) {
    struct stream_entry *entry = NULL;
    for (uint32_t i = 0; i < streams->count && !entry; i++)
        if (str_eq(streams->entries[i]->stats.connector, stream->connector->name) &&
            str_eq(streams->entries[i]->stats.topic, stream->topic))
            entry = streams->entries[i];
    if (!entry)
        return entry_make(streams, stream, fault);
    entry->wanted_on = true;
    if ((entry->next_stream ? entry->next_stream : entry->stream) == stream)
        return OK;
    if (entry->next_stream)
        connector_release(entry->next_stream->connector);
    connector_take(stream->connector);
    entry->next_stream = stream;
    return OK;
}

/* The caller has the lock, or is the only thread. */
static enum err streams_follow(struct streams *streams, const struct connectors *connectors,
                               struct fault *fault) {
    enum err err = OK;
    for (uint32_t i = 0; i < streams->count; i++)
        streams->entries[i]->wanted_on = false;
    for (uint32_t c = 0; c < connectors->count; c++)
        for (uint32_t i = 0; err == OK && i < connectors->items[c]->streams.count; i++)
            err = stream_follow(streams, list_at(connectors->items[c]->streams, struct connector_stream, i), fault);
    for (uint32_t i = 0; i < streams->count; i++)
        streams->entries[i]->retired = err == OK && !streams->entries[i]->wanted_on;
    for (uint32_t i = 0; err == OK && streams->started && i < streams->count; i++)
        err = entry_start(streams->entries[i], fault);
    for (uint32_t i = 0; i < streams->count; i++)
        pthread_cond_signal(&streams->entries[i]->wake);
    return err;
}

void streams_renew(struct streams *streams, const struct connectors *connectors) {
    struct fault fault = {0};
    pthread_mutex_lock(&streams->lock);
    enum err err = streams_follow(streams, connectors, &fault);
    pthread_mutex_unlock(&streams->lock);
    if (err != OK)
        log_line(LOG_ERROR, "connect", "the streams of new connectors are not all read", "error=%s",
                 log_quote(str_c(fault.detail)));
}

enum err streams_create(const struct streams_options *options, struct streams **out, struct fault *fault) {
    struct streams *streams = mem_zalloc(sizeof *streams);
    if (!streams)
        return fault_set(fault, ERR_NOMEM, "no memory for streams");
    streams->options = *options;
    pthread_mutex_init(&streams->lock, NULL);
    enum err err = streams_follow(streams, options->connectors, fault);
    if (err != OK) {
        streams_destroy(streams);
        return err;
    }
    *out = streams;
    return OK;
}

void streams_destroy(struct streams *streams) {
    if (!streams)
        return;
    for (uint32_t i = 0; i < streams->count; i++)
        entry_free(streams->entries[i]);
    pthread_mutex_destroy(&streams->lock);
    mem_free(streams);
}

enum err streams_start(struct streams *streams, struct fault *fault) {
    enum err err = OK;
    pthread_mutex_lock(&streams->lock);
    streams->started = true;
    for (uint32_t i = 0; err == OK && i < streams->count; i++)
        err = entry_start(streams->entries[i], fault);
    pthread_mutex_unlock(&streams->lock);
    return err;
}

void streams_stop(struct streams *streams) {
    pthread_mutex_lock(&streams->lock);
    streams->stopping = true;
    streams->started = false; /* nobody starts another one */
    for (uint32_t i = 0; i < streams->count; i++)
        pthread_cond_signal(&streams->entries[i]->wake);
    pthread_mutex_unlock(&streams->lock);
    for (uint32_t i = 0; i < streams->count; i++)
        if (streams->entries[i]->started)
            pthread_join(streams->entries[i]->thread, NULL);
}

/* --- seeing ---------------------------------------------------------------------------------------- */

uint32_t streams_list(struct streams *streams, struct stream_stats *out, uint32_t max) {
    uint32_t n = 0;
    pthread_mutex_lock(&streams->lock);
    for (uint32_t i = 0; i < streams->count && n < max; i++)
        if (!streams->entries[i]->retired)
            out[n++] = streams->entries[i]->shown;
    pthread_mutex_unlock(&streams->lock);
    return n;
}

void streams_figures(struct streams *streams, struct metrics *out) {
    pthread_mutex_lock(&streams->lock);
    for (uint32_t i = 0; i < streams->count; i++) {
        const struct stream_stats *stats = &streams->entries[i]->shown;
        const struct str labels[] = {stats->connector, stats->topic};
        if (streams->entries[i]->retired)
            continue;
        metric_add(out, METRIC_STREAM_MESSAGES, labels, stats->messages);
        metric_add(out, METRIC_STREAM_TAKEN, labels, stats->taken);
        metric_add(out, METRIC_STREAM_KNOWN, labels, stats->known);
        metric_add(out, METRIC_STREAM_BAD, labels, stats->bad);
        metric_add(out, METRIC_STREAM_FAILURES, labels, stats->failures);
        if (stats->waiting >= 0)
            metric_add(out, METRIC_STREAM_WAITING, labels, (uint64_t)stats->waiting);
    }
    pthread_mutex_unlock(&streams->lock);
}
