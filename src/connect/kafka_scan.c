/* kafka_scan: see kafka_scan.h. */
#include "connect/kafka_scan.h"

#include <stdio.h>

#include "base/mem.h"

#define BATCH 256

struct hash128 kafka_record_id(struct str id) { return hash128(id, 0); }

void kafka_scan_clear(struct kafka_scan *scan) {
    map_free(&scan->map);
    map_init(&scan->map);
    mem_free(scan->records);
    scan->records = NULL;
    scan->count = scan->cap = 0;
    scan->from = scan->to = 0;
    scan->since_us = INT64_MAX;
    scan->asked_us = INT64_MIN;
}

size_t kafka_scan_bytes(const struct kafka_scan *scan) {
    return (size_t)scan->cap * sizeof *scan->records + (scan->map.slots ? ((size_t)scan->map.mask + 1) * 8 : 0);
}

/* --- ids ---------------------------------------------------------------------------------------- */

static bool record_is(const void *ctx, uint32_t index, const void *key) {
    return hash128_eq(((const struct kafka_scan *)ctx)->records[index].id, *(const struct hash128 *)key);
}

static uint64_t record_hash(const void *ctx, uint32_t index) {
    return ((const struct kafka_scan *)ctx)->records[index].id.lo;
}

static bool header_get(const rd_kafka_headers_t *headers, const char *name, struct str *value) {
    const void *bytes = NULL;
    size_t size = 0;
    if (rd_kafka_header_get_last(headers, name, &bytes, &size) != RD_KAFKA_RESP_ERR_NO_ERROR || !bytes)
        return false;
    *value = str_of(bytes, size);
    return true;
}

/* False when memory is out. */
static bool record_keep(struct kafka_scan *scan, const rd_kafka_message_t *message) {
    rd_kafka_headers_t *headers = NULL;
    struct str text;
    if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        !(header_get(headers, "penstock_id", &text) || header_get(headers, "ce_id", &text)))
        return true; /* somebody else's */
    struct hash128 id = kafka_record_id(text);
    if (map_find(&scan->map, id.lo, record_is, scan, &id) != MAP_NONE)
        return true;
    if (!MEM_ROOM(scan->records, scan->count, scan->cap, 1024))
        return false;
    scan->records[scan->count] = (struct kafka_record){.id = id, .offset = message->offset};
    if (!map_add(&scan->map, id.lo, scan->count, record_hash, scan))
        return false;
    scan->count++;
    return true;
}

/* --- asking the broker ---------------------------------------------------------------------------- */

/* Whether another try may help: nobody answered, or not who leads the partition now. */
static bool again(struct kafka_client *client, rd_kafka_resp_err_t err, int64_t until_us) {
    rd_kafka_poll(client->kafka, 0); /* what it says of its brokers */
    bool passing = err == RD_KAFKA_RESP_ERR__TIMED_OUT || err == RD_KAFKA_RESP_ERR__TRANSPORT ||
                   err == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION || err == RD_KAFKA_RESP_ERR__WAIT_CACHE ||
                   err == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
    return passing && !atomic_load(client->stop) && clock_tick_us(client->clock) < until_us;
}

#define EARLIEST INT64_C(-2) /* in place of a time (Kafka's ListOffsets) */
#define LATEST INT64_C(-1)
/* The first offset of what came at `ms` or later; -1: the broker knows of none, or can not say. (What the library has
 * for watermarks by name does not heed its time limit.) */
static rd_kafka_resp_err_t offset_at(struct kafka_scan *scan, struct kafka_client *client, int64_t ms,
                                     int64_t *offset) {
    int64_t until_us = clock_tick_us(client->clock) + KAFKA_SCAN_WAIT_MS * 1000;
    rd_kafka_resp_err_t err;
    do {
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
        rd_kafka_topic_partition_t *at =
            rd_kafka_topic_partition_list_add(list, rd_kafka_topic_name(scan->topic), scan->partition);
        at->offset = ms;
        err = rd_kafka_offsets_for_times(client->kafka, list, KAFKA_SCAN_CALL_MS);
        err = err == RD_KAFKA_RESP_ERR_NO_ERROR ? at->err : err;
        *offset = err == RD_KAFKA_RESP_ERR_NO_ERROR && at->offset >= 0 ? at->offset : -1;
        rd_kafka_topic_partition_list_destroy(list);
    } while (err != RD_KAFKA_RESP_ERR_NO_ERROR && again(client, err, until_us));
    return err;
}

static rd_kafka_resp_err_t watermarks(struct kafka_scan *scan, struct kafka_client *client, int64_t *low,
                                      int64_t *high) {
    rd_kafka_resp_err_t err = offset_at(scan, client, EARLIEST, low);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
        err = offset_at(scan, client, LATEST, high);
    return err == RD_KAFKA_RESP_ERR_NO_ERROR && (*low < 0 || *high < *low) ? RD_KAFKA_RESP_ERR__BAD_MSG : err;
}

/* --- reading --------------------------------------------------------------------------------------- */

static rd_kafka_resp_err_t batch_keep(struct kafka_scan *scan, rd_kafka_message_t **batch, size_t count, int64_t to,
                                      int64_t *at) {
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
    for (size_t i = 0; i < count; i++) {
        const rd_kafka_message_t *message = batch[i];
        bool end = message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
        if (err == RD_KAFKA_RESP_ERR_NO_ERROR && message->err && !end)
            err = message->err;
        else if (err == RD_KAFKA_RESP_ERR_NO_ERROR && end)
            *at = message->offset > *at ? message->offset : *at; /* markers of transactions are passed over */
        else if (err == RD_KAFKA_RESP_ERR_NO_ERROR && *at < to) {
            if (message->offset < to && !record_keep(scan, message))
                err = RD_KAFKA_RESP_ERR__FAIL; /* no memory */
            *at = message->offset + 1;
        }
        rd_kafka_message_destroy(batch[i]);
    }
    return err;
}

/* Keeps the ids of from … to - 1. */
static rd_kafka_resp_err_t range_read(struct kafka_scan *scan, struct kafka_client *client, int64_t from,
                                      int64_t to) {
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
    int64_t at = from, moved_us = clock_tick_us(client->clock);
    if (from >= to)
        return err;
    if (rd_kafka_consume_start(scan->topic, scan->partition, from) != 0)
        return rd_kafka_last_error();
    while (err == RD_KAFKA_RESP_ERR_NO_ERROR && at < to) {
        rd_kafka_message_t *batch[BATCH];
        ssize_t more = 0;
        batch[0] = rd_kafka_consume(scan->topic, scan->partition, 100);
        if (batch[0]) { /* and what is there besides: waits for nothing */
            more = rd_kafka_consume_batch(scan->topic, scan->partition, 0, batch + 1, BATCH - 1);
            err = batch_keep(scan, batch, 1 + (more > 0 ? (size_t)more : 0), to, &at);
            moved_us = clock_tick_us(client->clock);
        } else if (atomic_load(client->stop) ||
                   clock_tick_us(client->clock) - moved_us > KAFKA_SCAN_WAIT_MS * 1000) {
            err = RD_KAFKA_RESP_ERR__TIMED_OUT;
        }
        rd_kafka_poll(client->kafka, 0);
    }
    rd_kafka_consume_stop(scan->topic, scan->partition);
    return err;
}

/* --- asking ------------------------------------------------------------------------------------------ */

/* Up to the high watermark as it is now. */
static rd_kafka_resp_err_t scan_renew(struct kafka_scan *scan, struct kafka_client *client, int64_t records_max) {
    int64_t low = 0, high = 0, now_us = clock_tick_us(client->clock);
    rd_kafka_resp_err_t err = watermarks(scan, client, &low, &high);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        return err;
    bool fresh = scan->asked_us == INT64_MIN;
    /* another topic of that name, or so much came since that it is dearer to read than to begin anew */
    if (fresh || high < scan->to || low > scan->to || high - scan->from > 2 * records_max) {
        kafka_scan_clear(scan);
        scan->from = scan->to = high;
    }
    err = range_read(scan, client, scan->to, high);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        return err;
    scan->to = high;
    scan->asked_us = now_us;
    return err;
}

/* Down to where what came since the event begins, or where records_max of them are. *whole: all of them. */
static rd_kafka_resp_err_t scan_reach(struct kafka_scan *scan, struct kafka_client *client,
                                      const struct kafka_scan_ask *ask, bool *whole) {
    int64_t since_us = ask->since_us / KAFKA_SCAN_SLACK_US * KAFKA_SCAN_SLACK_US - KAFKA_SCAN_SLACK_US;
    int64_t low = 0, high = 0, begin = -1, least = scan->to - ask->records_max;
    *whole = true;
    if (ask->since_us && since_us >= scan->since_us)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_resp_err_t err = watermarks(scan, client, &low, &high);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR && ask->since_us)
        err = offset_at(scan, client, since_us > 0 ? since_us / 1000 : 0, &begin);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        return err;
    if (begin < 0 && ask->since_us)
        begin = ask->records_max < KAFKA_SCAN_TAIL ? least : scan->to - KAFKA_SCAN_TAIL;
    begin = begin > low ? begin : low; /* where nothing is known: all of it */
    *whole = begin >= least;
    int64_t from = *whole ? begin : least;
    err = range_read(scan, client, from, scan->from);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        return err;
    scan->from = from < scan->from ? from : scan->from;
    if (*whole && ask->since_us)
        scan->since_us = since_us;
    return err;
}

enum kafka_scan_end kafka_scan_ask(struct kafka_scan *scan, struct kafka_client *client,
                                   const struct kafka_scan_ask *ask, int64_t *offset, rd_kafka_resp_err_t *err) {
    bool whole = true;
    *err = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (scan->asked_us == INT64_MIN || ask->asked_us > scan->asked_us)
        *err = scan_renew(scan, client, ask->records_max);
    if (*err == RD_KAFKA_RESP_ERR_NO_ERROR)
        *err = scan_reach(scan, client, ask, &whole);
    if (*err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        kafka_scan_clear(scan); /* what was read of a range that has gaps says nothing */
        return KAFKA_SCAN_FAILED;
    }
    uint32_t found = map_find(&scan->map, ask->id.lo, record_is, scan, &ask->id);
    if (found == MAP_NONE)
        return whole ? KAFKA_SCAN_ABSENT : KAFKA_SCAN_BEYOND;
    *offset = scan->records[found].offset;
    return KAFKA_SCAN_FOUND;
}
