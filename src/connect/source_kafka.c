/* source_kafka: reads a Kafka topic as a member of a consumer group. Owns the consumer.
 *
 * Offsets are committed only for what is done, so after whatever end the group goes on at the first message that
 * is not. Where partitions went to another member meanwhile, the commit is refused, the source is lost and
 * opened again, and what both have taken is known by its id. */
#include <stdio.h>

#include "base/mem.h"
#include "connect/kafka_options.h"
#include "connect/stream_source.h"

#define SESSION_MS 6000
#define SESSION_MIN_MS 1000
#define SESSION_MAX_MS 300000

struct source {
    struct stream_source source;
    rd_kafka_t *kafka;
    int64_t bytes_max;
    bool down;     /* no broker answers, or a fatal error */
    char why[200];
};

static void erred(rd_kafka_t *kafka, int err, const char *reason, void *opaque) {
    struct source *source = opaque;
    snprintf(source->why, sizeof source->why, "%s: %.150s", rd_kafka_err2str((rd_kafka_resp_err_t)err), reason);
    source->down = source->down || err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || err == RD_KAFKA_RESP_ERR__FATAL ||
                   err == RD_KAFKA_RESP_ERR__AUTHENTICATION;
}

static void source_close(struct stream_source *base) {
    struct source *source = (struct source *)base;
    if (source->kafka) {
        if (!source->down)
            rd_kafka_consumer_close(source->kafka); /* leaves the group: others need not wait */
        rd_kafka_destroy_flags(source->kafka, source->down ? RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE : 0);
    }
    mem_free(source);
}

/* --- messages -------------------------------------------------------------------------------- */

static struct str message_header(const struct stream_message *message, struct str name) {
    rd_kafka_headers_t *headers;
    const void *value = NULL;
    char text[128];
    size_t size = 0;
    if (name.len >= sizeof text || rd_kafka_message_headers(message->handle, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return STR_NONE;
    snprintf(text, sizeof text, "%.*s", STR_FMT(name));
    if (rd_kafka_header_get_last(headers, text, &value, &size) != RD_KAFKA_RESP_ERR_NO_ERROR || !value)
        return STR_NONE;
    return str_of(value, size);
}

static void message_read(rd_kafka_message_t *record, struct stream_message *out) {
    *out = (struct stream_message){.handle = record, .body = str_of(record->payload, record->len),
                                   .key = str_of(record->key, record->key_len)};
    if (!out->body.ptr)
        out->body = STR("");
    snprintf(out->place, sizeof out->place, "%s/%d:%lld", rd_kafka_topic_name(record->rkt), (int)record->partition,
             (long long)record->offset);
    out->id = message_header(out, STR("ce_id"));
    out->content_type = message_header(out, STR("content-type"));
}

static void source_drop(struct stream_source *base, struct stream_message *messages, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        rd_kafka_message_destroy(messages[i].handle);
}

/* How many are behind those taken, in the partitions that are this member's, as far as it is known. */
static int64_t waiting_count(struct source *source) {
    rd_kafka_topic_partition_list_t *mine = NULL;
    int64_t waiting = 0;
    if (rd_kafka_assignment(source->kafka, &mine) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return -1;
    if (rd_kafka_position(source->kafka, mine) != RD_KAFKA_RESP_ERR_NO_ERROR)
        waiting = -1;
    for (int i = 0; waiting >= 0 && i < mine->cnt; i++) {
        const rd_kafka_topic_partition_t *p = &mine->elems[i];
        int64_t low = 0, high = 0;
        if (p->offset >= 0 && rd_kafka_get_watermark_offsets(source->kafka, p->topic, p->partition, &low, &high) ==
                                  RD_KAFKA_RESP_ERR_NO_ERROR && high > p->offset)
            waiting += high - p->offset;
    }
    rd_kafka_topic_partition_list_destroy(mine);
    return waiting;
}

static enum err source_fetch(struct stream_source *base, struct stream_message *out, uint32_t max,
                             int64_t wait_ms, uint32_t *count, int64_t *waiting, struct fault *fault) {
    struct source *source = (struct source *)base;
    int64_t bytes = 0;
    *count = 0;
    while (*count < max && bytes < source->bytes_max && !source->down) {
        rd_kafka_message_t *record = rd_kafka_consumer_poll(source->kafka, *count ? 0 : (int)wait_ms);
        if (!record)
            break;
        if (record->err) {
            snprintf(source->why, sizeof source->why, "%.190s", rd_kafka_message_errstr(record));
            source->down = record->err != RD_KAFKA_RESP_ERR__PARTITION_EOF;
            rd_kafka_message_destroy(record);
            continue;
        }
        bytes += (int64_t)record->len;
        message_read(record, &out[(*count)++]);
    }
    if (source->down) {
        source_drop(base, out, *count);
        *count = 0;
        return fault_set(fault, ERR_UNAVAILABLE, "the topic can not be read: %s", source->why);
    }
    *waiting = waiting_count(source);
    return OK;
}

static void source_busy(struct stream_source *base, const struct stream_message *messages, uint32_t count) {
    /* librdkafka answers for the member by itself, for max.poll.interval.ms; beyond that the commit is refused */
}

static enum err source_done(struct stream_source *base, struct stream_message *messages, uint32_t count,
                            struct fault *fault) {
    struct source *source = (struct source *)base;
    rd_kafka_topic_partition_list_t *offsets = rd_kafka_topic_partition_list_new(4);
    for (uint32_t i = 0; i < count; i++) {
        const rd_kafka_message_t *record = messages[i].handle;
        const char *topic = rd_kafka_topic_name(record->rkt);
        rd_kafka_topic_partition_t *p = rd_kafka_topic_partition_list_find(offsets, topic, record->partition);
        if (!p)
            p = rd_kafka_topic_partition_list_add(offsets, topic, record->partition);
        p->offset = record->offset + 1; /* in a partition they come in order */
    }
    rd_kafka_resp_err_t err = rd_kafka_commit(source->kafka, offsets, 0);
    rd_kafka_topic_partition_list_destroy(offsets);
    source_drop(base, messages, count);
    return err == RD_KAFKA_RESP_ERR_NO_ERROR
               ? OK
               : fault_set(fault, ERR_UNAVAILABLE, "the offset can not be committed: %s", rd_kafka_err2str(err));
}

/* --- opening --------------------------------------------------------------------------------------- */

/* How long a group waits for a member that was killed: brokers have bounds of their own for it
 * (group.min.session.timeout.ms, 6 s unless set). */
static enum err session_set(rd_kafka_conf_t *conf, const struct connector_stream *stream, struct arena *arena,
                            struct fault *fault) {
    struct str text = stream_url_option(&stream->address, "session_ms", arena);
    uint64_t ms = SESSION_MS;
    if (text.len && (!str_u64(text, &ms) || ms < SESSION_MIN_MS || ms > SESSION_MAX_MS))
        return fault_set(fault, ERR_INVALID, "session_ms is %d to %d", SESSION_MIN_MS, SESSION_MAX_MS);
    enum err err = kafka_option_number(conf, "session.timeout.ms", (int64_t)ms, fault);
    return err == OK ? kafka_option_number(conf, "heartbeat.interval.ms", (int64_t)ms / 4, fault) : err;
}

static enum err conf_make(const struct stream_source_options *how, struct source *source, struct arena *arena,
                          rd_kafka_conf_t **out, struct fault *fault) {
    const struct connector_stream *stream = how->stream;
    rd_kafka_conf_t *conf = NULL;
    struct str group = arena_str(arena, how->group);
    enum err err = kafka_options_make(&stream->address, stream->authorization, arena, &conf, fault);
    if (err != OK)
        return err;
    if (!group.ptr)
        err = fault_set(fault, ERR_NOMEM, "no memory for a stream");
    const struct {
        const char *name, *value;
    } options[] = {{"group.id", group.ptr},
                   {"enable.auto.commit", "false"},
                   {"enable.auto.offset.store", "false"},
                   {"auto.offset.reset", stream->start == STREAM_START_NEW ? "latest" : "earliest"}};
    for (size_t i = 0; err == OK && i < sizeof options / sizeof options[0]; i++)
        err = kafka_option(conf, options[i].name, options[i].value, fault);
    if (err == OK)
        err = session_set(conf, stream, arena, fault);
    if (err == OK)
        err = kafka_option_number(conf, "queued.max.messages.kbytes", how->bytes_max / 1024, fault);
    if (err != OK) {
        rd_kafka_conf_destroy(conf);
        return err;
    }
    rd_kafka_conf_set_error_cb(conf, erred);
    rd_kafka_conf_set_opaque(conf, source);
    *out = conf;
    return OK;
}

static enum err source_begin(struct stream_source *base, const struct stream_source_options *how,
                             struct arena *arena, struct fault *fault) {
    struct source *source = (struct source *)base;
    rd_kafka_conf_t *conf = NULL;
    char why[200];
    enum err err = conf_make(how, source, arena, &conf, fault);
    if (err != OK)
        return err;
    source->kafka = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    if (!source->kafka) {
        rd_kafka_conf_destroy(conf);
        return fault_set(fault, ERR_INVALID, "Kafka can not be used so: %s", why);
    }
    rd_kafka_poll_set_consumer(source->kafka);
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, how->stream->address.path.ptr, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t kafka_err = rd_kafka_subscribe(source->kafka, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    source->bytes_max = how->bytes_max;
    return kafka_err == RD_KAFKA_RESP_ERR_NO_ERROR
               ? OK
               : fault_set(fault, ERR_UNAVAILABLE, "the topic can not be read: %s", rd_kafka_err2str(kafka_err));
}

static const struct stream_source_ops source_ops = {
    .size = sizeof(struct source), .begin = source_begin,
    .fetch = source_fetch, .header = message_header, .busy = source_busy, .done = source_done,
    .drop = source_drop, .close = source_close,
};

enum err source_kafka_open(const struct stream_source_options *options, struct stream_source **out,
                           struct fault *fault) {
    return stream_source_open(&source_ops, options, out, fault);
}
