/* kafka_look: whether a topic has a record with an id, asked of the partition that its key is in (kafka_scan.h).
 *
 * Owns a thread, and of that a consumer for one cluster and who calls: of no group, it commits nothing. Questions
 * are answered one after the other; one whose range was read for another costs a look into memory. What is known
 * and the consumer go after KAFKA_LOOK_KEEP_MS without a question. A question belongs to the look-up from
 * kafka_look_ask until kafka_look_take gives it back. */
#ifndef PENSTOCK_CONNECT_KAFKA_LOOK_H
#define PENSTOCK_CONNECT_KAFKA_LOOK_H

#include "connect/kafka_scan.h"
#include "connect/stream_url.h"

#define KAFKA_LOOK_KEEP_MS 30000
#define KAFKA_LOOK_BYTES_MAX ((size_t)96 << 20) /* of ids; of those above, the scan asked least recently goes */
#define KAFKA_LOOK_FETCH_KBYTES 8192            /* records on their way through memory */
#define KAFKA_LOOK_TOPICS_MAX 64
#define KAFKA_LOOK_PARTITIONS_MAX 64 /* looked through for a record without a key; of a topic with more, none */

struct kafka_question {
    struct kafka_question *next;
    char topic[250];
    struct str key; /* absent: the record has none, any partition may have it */
    struct hash128 id; /* kafka_record_id */
    int64_t since_us;  /* when its event happened; 0: not known */
    int64_t records_max;
    void *ctx;
    /* kept by the look-up */
    int64_t asked_us;
    atomic_bool dropped; /* nobody waits for it any more */
    /* the answer */
    enum kafka_scan_end end;
    int32_t partition;
    int64_t offset;
    rd_kafka_resp_err_t err;
    char why[160];
};

struct kafka_look;
struct kafka_look_options {
    const struct stream_url *url; /* brokers and options; read now */
    struct str authorization;
    struct clock *clock;
    void (*wake)(void *ctx); /* from the thread: there are answers; never once kafka_look_close has returned */
    void *wake_ctx;
};
/* ERR_INVALID: librdkafka does not take the options; ERR_NOMEM. */
enum err kafka_look_open(const struct kafka_look_options *options, struct arena *arena, struct kafka_look **out,
                         struct fault *fault) WARN_UNUSED;
void kafka_look_ask(struct kafka_look *look, struct kafka_question *question);
/* It need not be answered, but is given back. */
void kafka_look_drop(struct kafka_question *question);
/* What was answered or dropped, as a list; NULL: nothing. */
struct kafka_question *kafka_look_take(struct kafka_look *look);
/* Begins to end: what follows waits for less. */
void kafka_look_stop(struct kafka_look *look);
/* Waits for the thread, KAFKA_SCAN_CALL_MS or little more; questions not taken are their owner's again. */
void kafka_look_close(struct kafka_look *look);

#endif
