/* driver_kafka: see driver_kafka.h. Owns the calls under way, and for each account a producer and, where something
 * was in doubt, a look-up. Both signal through one uv_async; what they say is taken on the loop's thread. */
#include "connect/driver_kafka.h"

#include <stdio.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/mem.h"
#include "connect/kafka_look.h"
#include "connect/kafka_options.h"

#define BUFFER_KBYTES 65536
#define TICK_MS 20 /* how exact a look-up's time limit is */

struct producer {
    rd_kafka_t *kafka;
    rd_kafka_queue_t *queue;
    struct hash128 print; /* of brokers, options, credentials and time limit */
    uint32_t calls;
    int64_t used_us;
    bool broken; /* a fatal error: it is of no use any more */
    char why[160]; /* what it said last of its brokers */
};

struct looker {
    struct kafka_look *look;
    struct hash128 print; /* of brokers, options and credentials */
    uint32_t calls;
    int64_t used_us;
};

struct net_call {
    struct driver_kafka *driver;
    struct net_call *next, *prev; /* under way */
    struct producer *producer; /* or it is a question: */
    struct looker *looker;
    struct kafka_question question;
    int64_t deadline_us;
    net_done *done; /* NULL: was given up */
    void *ctx;
    int64_t started_us;
};

struct driver_kafka {
    struct net net;
    struct clock *clock;
    uv_async_t async;
    uv_timer_t timer; /* runs while something is looked up */
    struct net_call *calls;
    uint32_t count, calls_max, looking, handles;
    struct producer producers[DRIVER_KAFKA_PRODUCERS_MAX];
    struct looker lookers[DRIVER_KAFKA_LOOKERS_MAX];
    bool reading, closing;
};

static void tick(uv_timer_t *timer);

/* --- ending a call --------------------------------------------------------------------------- */

static void call_link(struct net_call *call) {
    struct driver_kafka *driver = call->driver;
    call->next = driver->calls;
    if (call->next)
        call->next->prev = call;
    driver->calls = call;
    *(call->looker ? &call->looker->calls : &call->producer->calls) += 1;
    *(call->looker ? &call->looker->used_us : &call->producer->used_us) = call->started_us;
    driver->count++;
    if (call->looker && driver->looking++ == 0)
        uv_timer_start(&driver->timer, tick, TICK_MS, TICK_MS);
}

static void call_unlink(struct net_call *call) {
    struct driver_kafka *driver = call->driver;
    if (call->prev)
        call->prev->next = call->next;
    else
        driver->calls = call->next;
    if (call->next)
        call->next->prev = call->prev;
    *(call->looker ? &call->looker->calls : &call->producer->calls) -= 1;
    driver->count--;
    if (call->looker && --driver->looking == 0)
        uv_timer_stop(&driver->timer);
}

static void call_free(struct net_call *call) {
    mem_free((void *)(uintptr_t)call->question.key.ptr);
    mem_free(call);
}

static void call_tell(struct net_call *call, struct net_answer *answer) {
    net_done *done = call->done;
    call->done = NULL;
    answer->elapsed_us = clock_tick_us(call->driver->clock) - call->started_us;
    if (done)
        done(call->ctx, answer);
}

static void answer_write(struct net_answer *answer, int status, struct buf *body) {
    static const struct net_header json[] = {{{"Content-Type", 12}, {"application/json", 16}}};
    *answer = (struct net_answer){.status = status, .sent = status == 200, .headers = json, .header_count = 1,
                                  .body = buf_str(body)};
}

/* Whose fault it is, as a status; 0: it is of the way there. */
static int error_status(rd_kafka_resp_err_t err) {
    switch (err) {
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
        return 413;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
        return 401;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        return 503;
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
        return 400;
    default:
        return 0;
    }
}

static void stored_write(struct net_answer *answer, struct buf *body, const char *topic, int32_t partition,
                         int64_t offset) {
    buf_lit(body, "{\"topic\":");
    buf_json_str(body, str_c(topic));
    buf_printf(body, ",\"partition\":%d,\"offset\":%lld}", (int)partition, (long long)offset);
    answer_write(answer, 200, body);
}

static void refused_write(struct net_answer *answer, struct buf *body, int status, const char *words) {
    buf_lit(body, "{\"error\":");
    buf_json_str(body, str_c(words));
    buf_char(body, '}');
    answer_write(answer, status, body);
}

static void call_reported(struct net_call *call, const rd_kafka_message_t *report) {
    struct net_answer answer;
    struct buf body;
    int status = report->err ? error_status(report->err) : 200;
    buf_init(&body, 65536);
    if (!report->err) {
        stored_write(&answer, &body, rd_kafka_topic_name(report->rkt), report->partition, report->offset);
    } else if (status) {
        refused_write(&answer, &body, status, rd_kafka_err2str(report->err));
    } else {
        bool sent = rd_kafka_message_status(report) != RD_KAFKA_MSG_STATUS_NOT_PERSISTED;
        bool late = report->err == RD_KAFKA_RESP_ERR__MSG_TIMED_OUT;
        answer = (struct net_answer){.error = late ? NET_TIMEOUT : sent ? NET_RESET : NET_REFUSED, .sent = sent};
        snprintf(answer.detail, sizeof answer.detail, "%s%s%s", rd_kafka_err2str(report->err),
                 call->producer->why[0] ? ": " : "", call->producer->why);
    }
    call_unlink(call);
    call_tell(call, &answer);
    buf_free(&body);
    call_free(call);
}

static void call_looked(struct net_call *call) {
    const struct kafka_question *question = &call->question;
    struct net_answer answer = {.error = NET_REFUSED};
    struct buf body;
    char words[400];
    int status = error_status(question->err);
    buf_init(&body, 65536);
    switch (question->end) {
    case KAFKA_SCAN_FOUND:
        stored_write(&answer, &body, question->topic, question->partition, question->offset);
        break;
    case KAFKA_SCAN_ABSENT:
        refused_write(&answer, &body, 404, "the topic does not have it");
        break;
    case KAFKA_SCAN_BEYOND:
        snprintf(words, sizeof words, "not among the newest %lld records of partition %d, and more came since it may "
                 "have been sent: raise look_records, or look for it and release or discard it",
                 (long long)question->records_max, (int)question->partition);
        refused_write(&answer, &body, 422, words);
        break;
    case KAFKA_SCAN_FAILED:
        snprintf(words, sizeof words, "%s%s%s", rd_kafka_err2str(question->err), question->why[0] ? ": " : "",
                 question->why);
        if (status)
            refused_write(&answer, &body, status, words);
        else
            snprintf(answer.detail, sizeof answer.detail, "%.190s", words);
    }
    call_unlink(call);
    call_tell(call, &answer);
    buf_free(&body);
    call_free(call);
}

/* Both are called within rd_kafka_poll, on the loop's thread. */
static void reported(rd_kafka_t *kafka, const rd_kafka_message_t *report, void *opaque) {
    struct producer *producer = opaque;
    producer->why[0] = report->err ? producer->why[0] : '\0';
    call_reported(report->_private, report);
}

static void erred(rd_kafka_t *kafka, int err, const char *reason, void *opaque) {
    struct producer *producer = opaque;
    producer->broken = producer->broken || err == RD_KAFKA_RESP_ERR__FATAL;
    if (err != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || !producer->why[0])
        snprintf(producer->why, sizeof producer->why, "%.150s", reason);
}

static void woken(uv_async_t *async) {
    struct driver_kafka *driver = async->data;
    driver->reading = true;
    for (uint32_t i = 0; i < DRIVER_KAFKA_PRODUCERS_MAX; i++)
        while (driver->producers[i].kafka && rd_kafka_poll(driver->producers[i].kafka, 0) > 0)
            ;
    for (uint32_t i = 0; i < DRIVER_KAFKA_LOOKERS_MAX; i++) {
        struct kafka_question *answered = driver->lookers[i].look ? kafka_look_take(driver->lookers[i].look) : NULL;
        while (answered) {
            struct kafka_question *next = answered->next;
            call_looked(answered->ctx);
            answered = next;
        }
    }
    driver->reading = false;
}

/* What was asked is read to its end all the same, for who asks again. */
static void tick(uv_timer_t *timer) {
    struct driver_kafka *driver = timer->data;
    int64_t now_us = clock_tick_us(driver->clock);
    for (struct net_call *call = driver->calls; call; call = call->next) {
        struct net_answer answer = {.error = NET_TIMEOUT,
                                    .detail = "no broker answers, or what came since is not read yet"};
        if (!call->looker || !call->done || call->deadline_us > now_us)
            continue;
        kafka_look_drop(&call->question);
        call_tell(call, &answer);
    }
}

/* On a thread of the library, or of a look-up. */
static void wake_loop(void *ctx) { uv_async_send(ctx); }

/* On a thread of the library. */
static void events_there(rd_kafka_t *kafka, void *opaque) { uv_async_send(opaque); }

/* --- producers ------------------------------------------------------------------------------------ */

static void producer_close(struct producer *producer) {
    rd_kafka_purge(producer->kafka, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_queue_cb_event_enable(producer->queue, NULL, NULL);
    rd_kafka_flush(producer->kafka, 100); /* reports of what was purged: ends those calls */
    rd_kafka_queue_destroy(producer->queue);
    rd_kafka_destroy(producer->kafka);
    *producer = (struct producer){0};
}

static enum err producer_open(struct driver_kafka *driver, struct producer *producer,
                              const struct stream_url *url, struct str authorization, int64_t timeout_ms,
                              struct arena *arena, struct fault *fault) {
    rd_kafka_conf_t *conf = NULL;
    char why[200];
    enum err err = kafka_options_make(url, authorization, arena, &conf, fault);
    if (err != OK)
        return err;
    const struct {
        const char *name, *value;
    } options[] = {{"enable.idempotence", "true"}, {"acks", "all"}, {"partitioner", "murmur2_random"},
                   {"linger.ms", "1"}};
    for (size_t i = 0; err == OK && i < sizeof options / sizeof options[0]; i++)
        err = kafka_option(conf, options[i].name, options[i].value, fault);
    if (err == OK)
        err = kafka_option_number(conf, "message.timeout.ms", timeout_ms, fault);
    if (err == OK)
        err = kafka_option_number(conf, "queue.buffering.max.kbytes", BUFFER_KBYTES, fault);
    rd_kafka_conf_set_dr_msg_cb(conf, reported);
    rd_kafka_conf_set_error_cb(conf, erred);
    rd_kafka_conf_set_opaque(conf, producer);
    if (err == OK)
        producer->kafka = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!producer->kafka) {
        rd_kafka_conf_destroy(conf);
        return err != OK ? err : fault_set(fault, ERR_INVALID, "Kafka can not be used so: %s", why);
    }
    producer->queue = rd_kafka_queue_get_main(producer->kafka);
    rd_kafka_queue_cb_event_enable(producer->queue, events_there, &driver->async);
    return OK;
}

/* Of who calls whom how. */
static struct hash128 print_of(const struct stream_url *url, struct str authorization, int64_t timeout_ms,
                               struct arena *arena) {
    struct hash128 print = hash128(url->hosts, (uint64_t)timeout_ms * 2 + url->tls);
    static const char *const named[] = {"ca", "cert", "cert_key", "sasl"};
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++)
        print = hash128(stream_url_option(url, named[i], arena), print.hi ^ print.lo);
    return hash128(authorization, print.hi ^ print.lo);
}

static enum err producer_of(struct driver_kafka *driver, const struct stream_url *url,
                            struct str authorization, int64_t timeout_ms, struct arena *arena,
                            struct producer **out, struct fault *fault) {
    struct producer *room = NULL;
    struct hash128 print = print_of(url, authorization, timeout_ms, arena);
    for (uint32_t i = 0; i < DRIVER_KAFKA_PRODUCERS_MAX; i++) {
        struct producer *producer = &driver->producers[i];
        *out = producer;
        if (producer->kafka && !producer->broken && hash128_eq(producer->print, print))
            return OK;
        if (!producer->kafka || (producer->calls == 0 && !driver->reading &&
                                 (!room || (room->kafka && producer->used_us < room->used_us))))
            room = !room || room->kafka ? producer : room;
    }
    if (!room)
        return fault_set(fault, ERR_UNAVAILABLE, "as many producers as there may be are in use");
    if (room->kafka)
        producer_close(room);
    enum err err = producer_open(driver, room, url, authorization, timeout_ms, arena, fault);
    room->print = print;
    *out = room;
    return err;
}

static enum err looker_of(struct driver_kafka *driver, const struct stream_url *url, struct str authorization,
                          struct arena *arena, struct looker **out, struct fault *fault) {
    struct looker *room = NULL;
    struct hash128 print = print_of(url, authorization, 0, arena);
    for (uint32_t i = 0; i < DRIVER_KAFKA_LOOKERS_MAX; i++) {
        struct looker *looker = &driver->lookers[i];
        *out = looker;
        if (looker->look && hash128_eq(looker->print, print))
            return OK;
        if (!looker->look || (looker->calls == 0 && (!room || (room->look && looker->used_us < room->used_us))))
            room = !room || room->look ? looker : room;
    }
    if (!room)
        return fault_set(fault, ERR_UNAVAILABLE, "as many look-ups as there may be are under way");
    if (room->look)
        kafka_look_close(room->look); /* it has nothing to do: at once */
    *room = (struct looker){.print = print};
    *out = room;
    return kafka_look_open(&(struct kafka_look_options){.url = url, .authorization = authorization,
                                                        .clock = driver->clock, .wake = wake_loop,
                                                        .wake_ctx = &driver->async},
                           arena, &room->look, fault);
}

/* --- beginning ------------------------------------------------------------------------------------- */

static struct str header_of(const struct net_request *request, const char *name) {
    for (uint32_t i = 0; i < request->header_count; i++)
        if (str_eq_nocase(request->headers[i].name, str_c(name)))
            return request->headers[i].value;
    return STR_NONE;
}

static rd_kafka_headers_t *headers_make(const struct net_request *request) {
    rd_kafka_headers_t *headers = rd_kafka_headers_new(request->header_count);
    bool own = !str_eq(header_of(request, "penstock_id"), header_of(request, "ce_id"));
    for (uint32_t i = 0; i < request->header_count; i++) {
        const struct net_header *header = &request->headers[i];
        if (str_eq_nocase(header->name, STR("Authorization")) || str_eq_nocase(header->name, STR("Accept")) ||
            (!own && str_eq_nocase(header->name, STR("penstock_id"))))
            continue; /* who calls is said to the broker, not to those who read the topic */
        bool type = str_eq_nocase(header->name, STR("Content-Type")); /* as the CloudEvents binding has it */
        rd_kafka_header_add(headers, type ? "content-type" : header->name.ptr, (ssize_t)header->name.len,
                            header->value.ptr ? header->value.ptr : "", (ssize_t)header->value.len);
    }
    return headers;
}

static enum err produce(struct net_call *call, const struct net_request *request, const struct stream_url *url,
                        struct str key, struct fault *fault) {
    rd_kafka_headers_t *headers = headers_make(request);
    rd_kafka_resp_err_t err =
        rd_kafka_producev(call->producer->kafka, RD_KAFKA_V_TOPIC(url->path.ptr),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                          RD_KAFKA_V_KEY(key.ptr, key.len), RD_KAFKA_V_VALUE((void *)(uintptr_t)request->body.ptr,
                                                                            request->body.len),
                          RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_OPAQUE(call), RD_KAFKA_V_END);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
        return OK;
    rd_kafka_headers_destroy(headers);
    call->producer->broken = call->producer->broken || err == RD_KAFKA_RESP_ERR__FATAL;
    bool final = err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE || err == RD_KAFKA_RESP_ERR__INVALID_ARG;
    return fault_set(fault, final ? ERR_INVALID : ERR_UNAVAILABLE, "Kafka does not take it: %s",
                     rd_kafka_err2str(err));
}

static enum err look_begin(struct net_call *call, const struct net_request *request, const struct stream_url *url,
                           struct arena *arena, struct fault *fault) {
    struct kafka_question *question = &call->question;
    struct str id = header_of(request, "penstock_id"), key = stream_url_option(url, "key", arena);
    struct str records = stream_url_option(url, "look_records", arena);
    struct instant at;
    uint64_t records_max = KAFKA_LOOK_RECORDS;
    id = id.len ? id : header_of(request, "ce_id");
    if (!id.len)
        return fault_set(fault, ERR_INVALID, "a look-up in a topic needs the header ce_id");
    if (records.len && (!str_u64(records, &records_max) || records_max > KAFKA_LOOK_RECORDS_MAX))
        return fault_set(fault, ERR_INVALID, "look_records is %d to %d", KAFKA_LOOK_RECORDS_MIN,
                         KAFKA_LOOK_RECORDS_MAX);
    if (key.ptr) {
        char *copy = mem_alloc(key.len + 1);
        if (!copy)
            return fault_set(fault, ERR_NOMEM, "no memory for a look-up");
        memcpy(copy, key.ptr, key.len);
        question->key = str_of(copy, key.len);
    }
    snprintf(question->topic, sizeof question->topic, "%s", url->path.ptr);
    question->id = kafka_record_id(id);
    question->since_us = instant_parse(header_of(request, "ce_time"), &at) ? at.us : 0;
    question->records_max = (int64_t)records_max;
    question->ctx = call;
    call->deadline_us = clock_tick_us(call->driver->clock) + request->timeout_ms * 1000;
    return looker_of(call->driver, url, header_of(request, "Authorization"), arena, &call->looker, fault);
}

static enum err call_begin(struct net_call *call, const struct net_request *request, struct arena *arena,
                           struct fault *fault) {
    struct stream_url url;
    enum err err = stream_url_read(request->url, arena, &url, fault);
    if (err != OK)
        return err;
    if (url.kind != STREAM_KAFKA || !stream_topic_good(url.path))
        return fault_set(fault, ERR_INVALID, "%.200s is no topic that can be produced to", url.path.ptr);
    if (str_is(request->method, "GET"))
        return look_begin(call, request, &url, arena, fault);
    err = producer_of(call->driver, &url, header_of(request, "Authorization"), request->timeout_ms, arena,
                      &call->producer, fault);
    return err == OK ? produce(call, request, &url, stream_url_option(&url, "key", arena), fault) : err;
}

static enum err kafka_send(struct net *net, const struct net_request *request, net_done *done, void *ctx,
                           struct net_call **out, struct fault *fault) {
    struct driver_kafka *driver = (struct driver_kafka *)net;
    if (driver->closing || driver->count >= driver->calls_max)
        return fault_set(fault, ERR_UNAVAILABLE, "too many records are under way");
    struct net_call *call = mem_zalloc(sizeof *call);
    if (!call)
        return fault_set(fault, ERR_NOMEM, "no memory for a record");
    struct arena arena;
    arena_init(&arena, 0);
    call->driver = driver;
    enum err err = call_begin(call, request, &arena, fault);
    arena_free(&arena);
    if (err != OK) {
        call_free(call);
        return err;
    }
    call->done = done;
    call->ctx = ctx;
    call->started_us = clock_tick_us(driver->clock);
    call_link(call);
    if (call->looker)
        kafka_look_ask(call->looker->look, &call->question);
    if (out)
        *out = call;
    return OK;
}

/* It may be on its way: its report is awaited, and tells nobody. */
static void kafka_cancel(struct net *net, struct net_call *call) {
    struct net_answer answer = {.error = NET_CANCELLED, .sent = !call->looker, .detail = "the call was given up"};
    if (call->looker)
        kafka_look_drop(&call->question);
    call_tell(call, &answer);
}

static void handle_closed(uv_handle_t *handle) {
    struct driver_kafka *driver = handle->data;
    if (--driver->handles > 0)
        return;
    while (driver->calls) { /* whose reports did not come any more */
        struct net_call *next = driver->calls->next;
        call_free(driver->calls);
        driver->calls = next;
    }
    mem_free(driver);
}

static void kafka_close(struct net *net) {
    struct driver_kafka *driver = (struct driver_kafka *)net;
    driver->closing = true;
    for (struct net_call *call = driver->calls; call; call = call->next)
        kafka_cancel(net, call);
    for (uint32_t i = 0; i < DRIVER_KAFKA_PRODUCERS_MAX; i++)
        if (driver->producers[i].kafka)
            producer_close(&driver->producers[i]);
    for (uint32_t i = 0; i < DRIVER_KAFKA_LOOKERS_MAX; i++)
        if (driver->lookers[i].look)
            kafka_look_stop(driver->lookers[i].look);
    for (uint32_t i = 0; i < DRIVER_KAFKA_LOOKERS_MAX; i++)
        if (driver->lookers[i].look)
            kafka_look_close(driver->lookers[i].look);
    uv_close((uv_handle_t *)&driver->async, handle_closed);
    uv_close((uv_handle_t *)&driver->timer, handle_closed);
}

static const struct net_ops kafka_ops = {.send = kafka_send, .cancel = kafka_cancel, .close = kafka_close};

enum err driver_kafka_create(const struct driver_kafka_options *options, struct net **out,
                             struct fault *fault) {
    struct driver_kafka *driver = mem_zalloc(sizeof *driver);
    if (!driver || uv_async_init(options->loop, &driver->async, woken) != 0) {
        mem_free(driver);
        return fault_set(fault, ERR_NOMEM, "no memory for the Kafka driver");
    }
    driver->net.ops = &kafka_ops;
    driver->clock = options->clock;
    driver->calls_max = options->calls_max ? options->calls_max : 1024;
    uv_timer_init(options->loop, &driver->timer);
    driver->async.data = driver->timer.data = driver;
    driver->handles = 2;
    *out = &driver->net;
    return OK;
}
