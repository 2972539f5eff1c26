/* The inside of streams: streams.c (which there are, their threads), stream_batch.c (messages on their way
 * into the journal), streams_ops.c. */
#ifndef PENSTOCK_CONNECT_STREAMS_PRIV_H
#define PENSTOCK_CONNECT_STREAMS_PRIV_H

#include <pthread.h>

#include "connect/stream_source.h"
#include "connect/streams.h"

struct stream_entry;
struct stream_slot {
    struct stream_entry *entry;
    enum { STREAM_SUBMIT, STREAM_CORE, STREAM_DONE } state;
    bool exception; /* the command tells a person, in place of the message */
    bool known;
    struct arena arena;
    struct command command;
};

/* One stream. Its thread owns all that is not said to be under the lock. */
struct stream_entry {
    struct streams *streams;
    const struct connector_stream *stream;      /* its connector is taken */
    const struct connector_stream *next_stream; /* under the lock; likewise */
    bool retired, wanted_on;                    /* under the lock */
    bool started;
    struct str name;      /* "shop/orders" */
    pthread_t thread;
    pthread_cond_t wake;
    struct command_origin origin;
    struct command *answers, *answers_last; /* under the lock */
    struct stream_source *source;           /* NULL: not open */
    struct json_parser *parser;
    struct stream_message *messages;
    struct stream_slot *slots;
    uint32_t room, count, undone;
    bool batch;           /* messages are on their way: what follows is of them */
    bool good;            /* as far as is known */
    uint64_t epoch;       /* of the core, in which they are submitted */
    int64_t busy_us;      /* tick: the other side hears that it takes longer */
    int64_t pause_us, open_us; /* before it is opened again: how long, and the tick until then */
    struct stream_stats stats, shown; /* shown: under the lock */
};

struct streams {
    struct streams_options options;
    struct stream_entry *entries[STREAMS_MAX];
    uint32_t count;
    bool stopping, started; /* stopping: under the lock */
    pthread_mutex_t lock;
};

/* stream_batch.c: what was fetched into entry->messages goes into the journal. */
void stream_batch_begin(struct stream_entry *entry);
/* Takes up what was answered, submits what is left, but for `stopping`; never waits. */
enum stream_batch_state {
    STREAM_BATCH_ON,
    STREAM_BATCH_DONE,  /* all of it is there */
    STREAM_BATCH_FAILED /* it ended otherwise: the messages are to come again */
};
enum stream_batch_state stream_batch_step(struct stream_entry *entry, bool stopping);
/* streams.c */
struct command *stream_answers(struct stream_entry *entry);

#endif
