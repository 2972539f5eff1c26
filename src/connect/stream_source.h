/* stream_source: where messages are read from, as a seam: source_nats.c, source_kafka.c. One thread owns a
 * source and may wait in it.
 *
 * What always holds: messages come in the order of their stream (of their partition), and again from the
 * first one that is not done, after whatever end. */
#ifndef PENSTOCK_CONNECT_STREAM_SOURCE_H
#define PENSTOCK_CONNECT_STREAM_SOURCE_H

#include "connect/connector_streams.h"

#define STREAM_IN_FLIGHT_MAX 1000
#define STREAM_PLACE_BYTES 320

struct stream_message {
    struct str id;           /* by which its sender knows it; absent: it says none */
    char place[STREAM_PLACE_BYTES]; /* "ORDERS:42", "orders/0:42": where it is in the stream */
    struct str key;          /* subject, or record key; may be absent */
    struct str content_type; /* may be absent */
    struct str body;
    void *handle;            /* the source's own; what the texts point into */
};

struct stream_source_options {
    const struct connector_stream *stream;
    struct str group; /* as it is to be called */
    struct clock *clock;
    int64_t bytes_max; /* of messages fetched at once, but for one that is longer */
};

struct stream_source;
struct stream_source_ops {
    size_t size; /* of the source's own structure, of which a stream_source is the first member */
    /* Of one that is all zeros. Whatever it answers, close comes after it; the arena ends with it. */
    enum err (*begin)(struct stream_source *source, const struct stream_source_options *options,
                      struct arena *arena, struct fault *fault);
    /* At most `max` messages; *count 0: none came within wait_ms. *waiting: how many more there are, where it
     * is known. ERR_UNAVAILABLE: it is lost, and to be closed. */
    enum err (*fetch)(struct stream_source *source, struct stream_message *out, uint32_t max,
                      int64_t wait_ms, uint32_t *count, int64_t *waiting, struct fault *fault);
    /* A header by its name, or absent. */
    struct str (*header)(const struct stream_message *message, struct str name);
    /* What was fetched last takes longer: it is still being worked on. */
    void (*busy)(struct stream_source *source, const struct stream_message *messages, uint32_t count);
    /* All of what was fetched last is durable. The messages end with it. ERR_UNAVAILABLE: it could not be
     * said; they come again. */
    enum err (*done)(struct stream_source *source, struct stream_message *messages, uint32_t count,
                     struct fault *fault);
    /* The messages end unsaid: they come again. */
    void (*drop)(struct stream_source *source, struct stream_message *messages, uint32_t count);
    void (*close)(struct stream_source *source);
};
struct stream_source {
    const struct stream_source_ops *ops;
};

/* ERR_UNAVAILABLE: it can not be reached, or refuses; ERR_INVALID: it can not be so; ERR_NOMEM. */
enum err source_kafka_open(const struct stream_source_options *options, struct stream_source **out,
                           struct fault *fault) WARN_UNUSED;
enum err source_nats_open(const struct stream_source_options *options, struct stream_source **out,
                          struct fault *fault) WARN_UNUSED;
/* What both do with their operations. */
enum err stream_source_open(const struct stream_source_ops *ops, const struct stream_source_options *options,
                            struct stream_source **out, struct fault *fault) WARN_UNUSED;

#endif
