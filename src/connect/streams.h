/* streams: reads what other systems publish to NATS JetStream and to Kafka: section `streams` of
 * connector.yaml. Each message goes through the same entrance as a webhook (inbound.receive): stored before
 * anything looks at what it says.
 *
 * What always holds: a message is acknowledged, or its offset committed, only when it is durable in the
 * journal; what comes twice (a crash, a lost acknowledgement) is known by its id and its bytes; messages go
 * in in the order of their stream; one that can not be taken becomes an exception that names its place and
 * stops nothing; at most `in_flight` of a stream are in memory.
 *
 * Each stream has a thread of its own, which waits for the other side and for the journal; in the simulator
 * it is a step, and the other side one of its own. */
#ifndef PENSTOCK_CONNECT_STREAMS_H
#define PENSTOCK_CONNECT_STREAMS_H

#include "connect/connector_streams.h"
#include "core/core.h"

#define STREAMS_MAX 64 /* more are not read, and say so */

struct stream_source;
struct stream_source_options;
struct streams_options {
    struct core *core;
    const struct config *config;
    const struct connectors *connectors; /* at first; taken */
    struct clock *clock;
    /* What a stream is read from; NULL: what its address says, over the network. */
    enum err (*open)(void *ctx, const struct stream_source_options *options, struct stream_source **out,
                     struct fault *fault);
    void *open_ctx;
};
struct streams;
enum err streams_create(const struct streams_options *options, struct streams **out,
                        struct fault *fault) WARN_UNUSED;
/* After streams_stop. */
void streams_destroy(struct streams *streams); /* or NULL */
enum err streams_start(struct streams *streams, struct fault *fault) WARN_UNUSED;
/* In place of streams_start: one step of each stream on the caller's thread, which waits nowhere but in the
 * sources. Answers for how many us there is nothing to do; -1: once they are to stop, and nothing is under way. */
int64_t streams_step(struct streams *streams);
/* Waits for what the core has; what is not acknowledged then comes again. */
void streams_stop(struct streams *streams);
/* Any thread: from now on the streams are those of these connectors. */
void streams_renew(struct streams *streams, const struct connectors *connectors);

/* --- seeing, any thread -------------------------------------------------------------------- */
enum stream_state { STREAM_UNUSABLE, STREAM_CONNECTING, STREAM_READING, STREAM_FAILING };
struct stream_stats {
    struct str connector, topic;
    enum stream_state state;
    char place[128];      /* of the last message that is done; empty: none yet */
    uint64_t messages;    /* that were read and are done, since the start, as the rest */
    uint64_t taken;       /* of these: new */
    uint64_t known;       /* of these: were there already */
    uint64_t bad;         /* of these: could not be taken, and are exceptions */
    uint64_t failures;    /* how often the stream was lost, or could not be reached */
    int64_t waiting;      /* as the other side said last; -1: not known */
    int64_t done_us, failed_us; /* wall clock; 0: none */
    char error[300];
};
uint32_t streams_list(struct streams *streams, struct stream_stats *out, uint32_t max);
void streams_figures(struct streams *streams, struct metrics *out);

/* Routes of the operations side: /ops/streams; their ctx is the streams. */
extern const struct route streams_routes[];

#endif
