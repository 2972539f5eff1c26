/* source_nats: reads a JetStream stream with a durable pull consumer. Owns the connection.
 *
 * Order: what an earlier reader took and did not acknowledge comes again before what is new, because nothing
 * is asked for until the server has given up waiting for that reader. A connection that is lost is not mended:
 * the source is closed, and another one begins likewise. */
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "connect/nats_options.h"
#include "connect/stream_source.h"

#define ACK_WAIT_MS INT64_C(10000)
#define ACK_SLACK_MS INT64_C(500) /* the server looks for what is overdue by a clock of its own */
#define API_WAIT_MS 3000
#define MS_NS INT64_C(1000000)
#define FLUSH_MS 3000
#define MORE_MS INT64_C(10) /* how long those behind the first one are waited for */

struct source {
    struct stream_source source;
    struct clock *clock;
    int64_t bytes_max, ready_us; /* tick: nothing is asked for before it */
    natsConnection *connection;
    jsCtx *js;
    natsSubscription *sub;
    char stream[256];
};

static enum err lost(natsStatus s, const char *what, struct fault *fault) {
    char text[NATS_WORDS_MAX];
    return fault_set(fault, ERR_UNAVAILABLE, "%s: %s", what, nats_failed(s, text).ptr);
}

/* What the JetStream API answered. */
static enum err refused(const struct source *source, natsStatus s, jsErrCode code, const char *what,
                        struct fault *fault) {
    if (code == JSStreamNotFoundErr)
        return fault_set(fault, ERR_UNAVAILABLE, "the NATS server has no stream %s", source->stream);
    if (s == NATS_NO_RESPONDERS || code == JSNotEnabledErr || code == JSNotEnabledForAccountErr)
        return fault_set(fault, ERR_UNAVAILABLE, "the NATS server has no JetStream for this account");
    return lost(s, what, fault);
}

static void source_close(struct stream_source *base) {
    struct source *source = (struct source *)base;
    natsSubscription_Destroy(source->sub);
    jsCtx_Destroy(source->js);
    natsConnection_Destroy(source->connection);
    mem_free(source);
}

/* --- opening --------------------------------------------------------------------------------- */

static enum err consumer_make(struct source *source, const struct stream_source_options *how,
                              struct arena *arena, jsConsumerInfo **info, struct fault *fault) {
    const struct connector_stream *stream = how->stream;
    jsConsumerConfig config;
    jsErrCode code = 0;
    jsConsumerConfig_Init(&config);
    config.Durable = arena_str(arena, how->group).ptr;
    config.Description = "Penstock";
    config.AckPolicy = js_AckExplicit;
    config.AckWait = ACK_WAIT_MS * MS_NS;
    config.MaxAckPending = stream->in_flight;
    config.DeliverPolicy = stream->start == STREAM_START_NEW ? js_DeliverNew : js_DeliverAll;
    if (stream->subject.len)
        config.FilterSubject = arena_str(arena, stream->subject).ptr;
    natsStatus s = config.Durable ? js_AddConsumer(info, source->js, source->stream, &config, NULL, &code)
                                  : NATS_NO_MEMORY;
    return s == NATS_OK ? OK : refused(source, s, code, "the durable consumer can not be made", fault);
}

static enum err consumer_find(struct source *source, const struct stream_source_options *how,
                              struct arena *arena, jsConsumerInfo **info, struct fault *fault) {
    jsErrCode code = 0;
    struct str group = arena_str(arena, how->group);
    natsStatus s = group.ptr ? js_GetConsumerInfo(info, source->js, source->stream, group.ptr, NULL, &code)
                             : NATS_NO_MEMORY;
    if (s == NATS_NOT_FOUND && code != JSStreamNotFoundErr)
        return consumer_make(source, how, arena, info, fault);
    return s == NATS_OK ? OK : refused(source, s, code, "the durable consumer can not be asked for", fault);
}

/* What is there must be what connector.yaml says, where that decides what is read and how often. */
static enum err consumer_check(struct source *source, const struct stream_source_options *how,
                               const jsConsumerInfo *info, struct fault *fault) {
    const jsConsumerConfig *config = info->Config;
    struct str filter = str_c(config->FilterSubject);
    if (config->AckPolicy != js_AckExplicit || config->DeliverSubject)
        return fault_set(fault, ERR_INVALID, "the consumer %.*s is there and is none that is pulled and acknowledged "
                                             "one by one: name another group", STR_FMT(how->group));
    if (!str_eq(filter, how->stream->subject))
        return fault_set(fault, ERR_INVALID, "the consumer %.*s is there and reads \"%.*s\": name another group, or "
                                             "the same subject", STR_FMT(how->group), STR_FMT(filter));
    int64_t wait_ms = info->NumAckPending > 0 ? config->AckWait / MS_NS + ACK_SLACK_MS : 0;
    source->ready_us = clock_tick_us(source->clock) + wait_ms * 1000;
    return OK;
}

static enum err source_begin(struct stream_source *base, const struct stream_source_options *how,
                             struct arena *arena, struct fault *fault) {
    struct source *source = (struct source *)base;
    const struct connector_stream *stream = how->stream;
    natsOptions *options = NULL;
    jsConsumerInfo *info = NULL;
    jsSubOptions bind;
    jsOptions api;
    jsErrCode code = 0;
    enum err err = nats_options_make(&stream->address, stream->authorization, arena, &options, fault);
    if (err != OK)
        return err;
    source->clock = how->clock;
    snprintf(source->stream, sizeof source->stream, "%.*s", STR_FMT(stream->address.path));
    natsStatus s = natsConnection_Connect(&source->connection, options);
    err = s == NATS_OK ? OK : lost(s, "no connection", fault);
    natsOptions_Destroy(options);
    if (err != OK)
        return err;
    struct str domain = stream_url_option(&stream->address, "domain", arena);
    jsOptions_Init(&api);
    api.Wait = API_WAIT_MS;
    api.Domain = domain.len ? domain.ptr : NULL;
    s = natsConnection_JetStream(&source->js, source->connection, &api);
    if (s != NATS_OK)
        return lost(s, "no JetStream", fault);
    err = consumer_find(source, how, arena, &info, fault);
    if (err == OK)
        err = consumer_check(source, how, info, fault);
    jsConsumerInfo_Destroy(info);
    if (err != OK)
        return err;
    jsSubOptions_Init(&bind);
    bind.Stream = source->stream;
    bind.Consumer = arena_str(arena, how->group).ptr;
    s = js_PullSubscribe(&source->sub, source->js, stream->subject.len ? arena_str(arena, stream->subject).ptr : NULL,
                         bind.Consumer, NULL, &bind, &code);
    int64_t longest = natsConnection_GetMaxPayload(source->connection) + 65536;
    source->bytes_max = how->bytes_max > longest ? how->bytes_max : longest;
    return s == NATS_OK ? OK : refused(source, s, code, "the durable consumer can not be read", fault);
}

/* --- messages ------------------------------------------------------------------------------------ */

/* NATS tells names apart by case: as they are written. */
static struct str message_header(const struct stream_message *message, struct str name) {
    char text[128];
    const char *value = NULL;
    if (name.len >= sizeof text)
        return STR_NONE;
    snprintf(text, sizeof text, "%.*s", STR_FMT(name));
    return natsMsgHeader_Get(message->handle, text, &value) == NATS_OK ? str_c(value) : STR_NONE;
}

static void message_read(struct source *source, natsMsg *msg, struct stream_message *out, int64_t *waiting) {
    jsMsgMetaData *meta = NULL;
    *out = (struct stream_message){.handle = msg, .key = str_c(natsMsg_GetSubject(msg))};
    out->body = str_of(natsMsg_GetData(msg), (size_t)natsMsg_GetDataLength(msg));
    if (!out->body.ptr)
        out->body = STR("");
    if (natsMsg_GetMetaData(&meta, msg) == NATS_OK) {
        snprintf(out->place, sizeof out->place, "%s:%llu", source->stream, (unsigned long long)meta->Sequence.Stream);
        *waiting = meta->NumPending > INT64_MAX ? INT64_MAX : (int64_t)meta->NumPending;
    }
    jsMsgMetaData_Destroy(meta);
    out->id = message_header(out, STR("Nats-Msg-Id"));
    if (!out->id.len)
        out->id = message_header(out, STR("ce-id"));
    out->content_type = message_header(out, STR("Content-Type"));
}

static void source_drop(struct stream_source *base, struct stream_message *messages, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        natsMsg_Destroy(messages[i].handle);
}

/* At most `max` more behind the *count that are in `out`. */
static natsStatus some_fetch(struct source *source, struct stream_message *out, uint32_t max, int64_t wait_ms,
                             uint32_t *count, int64_t *waiting) {
    natsMsgList list = {0};
    jsFetchRequest request;
    jsFetchRequest_Init(&request);
    request.Batch = (int)max;
    request.MaxBytes = source->bytes_max;
    request.Expires = wait_ms * MS_NS;
    natsStatus s = natsSubscription_FetchRequest(&list, source->sub, &request);
    for (int i = 0; s == NATS_OK && i < list.Count && i < (int)max; i++) {
        message_read(source, list.Msgs[i], &out[(*count)++], waiting);
        list.Msgs[i] = NULL;
    }
    natsMsgList_Destroy(&list);
    return s == NATS_TIMEOUT || s == NATS_NOT_FOUND ? NATS_OK : s; /* none are there */
}

static enum err source_fetch(struct stream_source *base, struct stream_message *out, uint32_t max,
                             int64_t wait_ms, uint32_t *count, int64_t *waiting, struct fault *fault) {
    struct source *source = (struct source *)base;
    *count = 0;
    int64_t early_us = source->ready_us - clock_tick_us(source->clock);
    if (natsConnection_IsClosed(source->connection))
        return lost(NATS_CONNECTION_CLOSED, "the connection was lost", fault);
    if (early_us > 0) {
        nats_Sleep(early_us / 1000 < wait_ms ? early_us / 1000 + 1 : wait_ms);
        return OK;
    }
    /* a request for many is answered when all are there, or its time is up: so one is waited for, then a
     * moment for more; what comes later than that waits in the library for the next time */
    natsStatus s = some_fetch(source, out, 1, wait_ms, count, waiting);
    if (s == NATS_OK && *count == 1 && max > 1)
        s = some_fetch(source, out, max - 1, MORE_MS, count, waiting);
    if (s == NATS_OK && *count == 0)
        *waiting = 0;
    if (s == NATS_OK)
        return OK;
    source_drop(base, out, *count);
    return lost(s, "nothing can be fetched", fault);
}

static void source_busy(struct stream_source *base, const struct stream_message *messages, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (natsMsg_InProgress(messages[i].handle, NULL) != NATS_OK)
            return; /* the connection is lost, as the next fetch says */
}

static enum err source_done(struct stream_source *base, struct stream_message *messages, uint32_t count,
                            struct fault *fault) {
    struct source *source = (struct source *)base;
    natsStatus s = NATS_OK;
    for (uint32_t i = 0; s == NATS_OK && i < count; i++)
        s = natsMsg_Ack(messages[i].handle, NULL);
    source_drop(base, messages, count);
    /* said before more is asked for, and before a clean end */
    if (s == NATS_OK)
        s = natsConnection_FlushTimeout(source->connection, FLUSH_MS);
    return s == NATS_OK ? OK : lost(s, "nothing can be acknowledged", fault);
}

static const struct stream_source_ops source_ops = {
    .size = sizeof(struct source), .begin = source_begin,
    .fetch = source_fetch, .header = message_header, .busy = source_busy, .done = source_done,
    .drop = source_drop, .close = source_close,
};

enum err source_nats_open(const struct stream_source_options *options, struct stream_source **out,
                          struct fault *fault) {
    return stream_source_open(&source_ops, options, out, fault);
}
