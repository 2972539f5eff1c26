/* kafka_scan: which records a partition has, by their ids, over a range of offsets that grows with what is asked.
 *
 * Kafka has no index of headers, so the range is read: but once for all who ask about it. Only ids and offsets are
 * kept. Blocks: of the one thread that asks (kafka_look.h). */
#ifndef PENSTOCK_CONNECT_KAFKA_SCAN_H
#define PENSTOCK_CONNECT_KAFKA_SCAN_H

#include <librdkafka/rdkafka.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/map.h"

#define KAFKA_SCAN_SLACK_US INT64_C(60000000) /* the broker's clock may be so far behind the hub's */
#define KAFKA_SCAN_TAIL INT64_C(10000) /* looked through where the broker knows of nothing since the event */
#define KAFKA_SCAN_CALL_MS 1000 /* for a question to a broker, between two looks at `stop` */
#define KAFKA_SCAN_WAIT_MS 5000 /* without an answer, or without a record while there are some: it is out of reach */

struct kafka_client {
    rd_kafka_t *kafka; /* a consumer, of no group */
    struct clock *clock;
    atomic_bool *stop; /* once true all ends as KAFKA_SCAN_FAILED, within KAFKA_SCAN_CALL_MS */
    char why[160];     /* what it said last of its brokers */
};

struct kafka_scan {
    struct kafka_scan *next;
    rd_kafka_topic_t *topic;
    int32_t partition;
    int64_t from, to;  /* offsets looked through: from … to - 1 */
    int64_t since_us;  /* of what came since then, nothing is before `from`; INT64_MAX: not known yet */
    int64_t asked_us;  /* `to` is the high watermark as of this tick, or later; INT64_MIN: not read yet */
    struct kafka_record *records;
    uint32_t count, cap;
    struct map map; /* of records by id */
};
struct kafka_record {
    struct hash128 id;
    int64_t offset;
};

enum kafka_scan_end {
    KAFKA_SCAN_FOUND,  /* *offset */
    KAFKA_SCAN_ABSENT,
    KAFKA_SCAN_BEYOND, /* not among the newest `records_max`, and more than those came since */
    KAFKA_SCAN_FAILED, /* *err says why; RD_KAFKA_RESP_ERR__TIMED_OUT and __TRANSPORT: no broker answers */
};
struct kafka_scan_ask {
    struct hash128 id;
    int64_t since_us;    /* when its event happened; 0: not known, then anything may be it */
    int64_t asked_us;    /* tick: all that was there then is looked through */
    int64_t records_max; /* offsets looked through at most */
};
/* What is the id of a record: its penstock_id, else its ce_id. */
struct hash128 kafka_record_id(struct str id);
enum kafka_scan_end kafka_scan_ask(struct kafka_scan *scan, struct kafka_client *client,
                                   const struct kafka_scan_ask *ask, int64_t *offset, rd_kafka_resp_err_t *err);
void kafka_scan_clear(struct kafka_scan *scan);
/* Memory of its ids. */
size_t kafka_scan_bytes(const struct kafka_scan *scan);

#endif
