/* kafka_look: see kafka_look.h. */
#include "connect/kafka_look.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "base/mem.h"
#include "connect/kafka_options.h"

#define COUNT_KEPT_US INT64_C(5000000) /* how long the number of partitions is taken for known */

struct topic {
    struct topic *next;
    rd_kafka_topic_t *handle;
    int32_t partitions;
    int64_t known_us;
};

struct kafka_look {
    rd_kafka_conf_t *conf; /* of its consumers */
    struct clock *clock;
    void (*wake)(void *ctx);
    void *wake_ctx;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ready;
    struct kafka_question *first, *last, *answered; /* under the lock */
    atomic_bool stop;
    /* of the thread alone */
    struct kafka_client client;
    struct topic *topics;
    struct kafka_scan *scans; /* the one asked last at first */
    uint32_t topic_count;
};

/* --- the consumer ------------------------------------------------------------------------------- */

/* Within rd_kafka_poll, on the thread. */
static void erred(rd_kafka_t *kafka, int err, const char *reason, void *opaque) {
    struct kafka_client *client = opaque;
    if (err != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || !client->why[0])
        snprintf(client->why, sizeof client->why, "%.150s", reason);
}

static void client_close(struct kafka_look *look) {
    while (look->scans) {
        struct kafka_scan *next = look->scans->next;
        kafka_scan_clear(look->scans);
        mem_free(look->scans);
        look->scans = next;
    }
    while (look->topics) {
        struct topic *next = look->topics->next;
        rd_kafka_topic_destroy(look->topics->handle);
        mem_free(look->topics);
        look->topics = next;
    }
    look->topic_count = 0;
    if (look->client.kafka)
        rd_kafka_destroy(look->client.kafka);
    look->client.kafka = NULL;
    look->client.why[0] = '\0';
}

static bool client_open(struct kafka_look *look) {
    char why[200];
    rd_kafka_conf_t *conf = look->client.kafka ? NULL : rd_kafka_conf_dup(look->conf);
    if (look->client.kafka)
        return true;
    look->client.kafka = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    if (look->client.kafka)
        return true;
    snprintf(look->client.why, sizeof look->client.why, "%.150s", why);
    rd_kafka_conf_destroy(conf);
    return false;
}

/* The number of partitions is that of now: where it grew since a record was sent, its key is in another one. */
static rd_kafka_resp_err_t topic_count(struct kafka_look *look, struct topic *topic) {
    int64_t now_us = clock_tick_us(look->clock), until_us = now_us + KAFKA_SCAN_WAIT_MS * 1000;
    const struct rd_kafka_metadata *known = NULL;
    rd_kafka_resp_err_t err;
    if (topic->partitions > 0 && now_us - topic->known_us < COUNT_KEPT_US)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    do {
        err = rd_kafka_metadata(look->client.kafka, 0, topic->handle, &known, KAFKA_SCAN_CALL_MS);
        rd_kafka_poll(look->client.kafka, 0);
    } while ((err == RD_KAFKA_RESP_ERR__TIMED_OUT || err == RD_KAFKA_RESP_ERR__TRANSPORT) &&
             !atomic_load(&look->stop) && clock_tick_us(look->clock) < until_us);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        return err;
    err = known->topic_cnt > 0 ? known->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    topic->partitions = err == RD_KAFKA_RESP_ERR_NO_ERROR ? known->topics[0].partition_cnt : 0;
    topic->known_us = now_us;
    rd_kafka_metadata_destroy(known);
    return err == RD_KAFKA_RESP_ERR_NO_ERROR && topic->partitions <= 0 ? RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                                                                       : err;
}

/* NULL: no memory. */
static struct topic *topic_of(struct kafka_look *look, const char *name) {
    struct topic *topic = look->topics;
    while (topic && strcmp(rd_kafka_topic_name(topic->handle), name) != 0)
        topic = topic->next;
    if (topic)
        return topic;
    topic = mem_zalloc(sizeof *topic);
    if (topic)
        topic->handle = rd_kafka_topic_new(look->client.kafka, name, NULL);
    if (!topic || !topic->handle) {
        mem_free(topic);
        return NULL;
    }
    topic->next = look->topics;
    look->topics = topic;
    look->topic_count++;
    return topic;
}

/* --- scans ---------------------------------------------------------------------------------------- */

/* Of a partition; it is the first from now on. NULL: no memory. */
static struct kafka_scan *scan_of(struct kafka_look *look, struct topic *topic, int32_t partition) {
    struct kafka_scan **at = &look->scans;
    while (*at && ((*at)->topic != topic->handle || (*at)->partition != partition))
        at = &(*at)->next;
    struct kafka_scan *scan = *at;
    if (scan) {
        *at = scan->next;
    } else {
        scan = mem_zalloc(sizeof *scan);
        if (!scan)
            return NULL;
        scan->topic = topic->handle;
        scan->partition = partition;
        kafka_scan_clear(scan);
    }
    scan->next = look->scans;
    look->scans = scan;
    return scan;
}

/* All but the first, once they are too many together. */
static void scans_bound(struct kafka_look *look) {
    size_t bytes = 0;
    for (struct kafka_scan *scan = look->scans; scan; scan = scan->next) {
        bytes += kafka_scan_bytes(scan);
        if (bytes > KAFKA_LOOK_BYTES_MAX && scan != look->scans) {
            bytes -= kafka_scan_bytes(scan);
            kafka_scan_clear(scan);
        }
    }
}

/* --- answering ------------------------------------------------------------------------------------ */

static void failed(struct kafka_look *look, struct kafka_question *question, rd_kafka_resp_err_t err) {
    question->end = KAFKA_SCAN_FAILED;
    question->err = err;
    snprintf(question->why, sizeof question->why, "%s", look->client.why);
}

/* Since when what is asked of the topic happened at first: so that it is read once for all who wait. */
static int64_t since_of(struct kafka_look *look, const struct kafka_question *question) {
    int64_t since_us = question->since_us;
    pthread_mutex_lock(&look->lock);
    for (const struct kafka_question *other = look->first; other; other = other->next)
        if (!atomic_load(&other->dropped) && strcmp(other->topic, question->topic) == 0 && other->since_us > 0 &&
            other->since_us < since_us)
            since_us = other->since_us;
    pthread_mutex_unlock(&look->lock);
    return since_us;
}

static void answer(struct kafka_look *look, struct kafka_question *question) {
    struct topic *topic = topic_of(look, question->topic);
    rd_kafka_resp_err_t err = topic ? topic_count(look, topic) : RD_KAFKA_RESP_ERR__FAIL;
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        failed(look, question, err);
        return;
    }
    int32_t first = 0, end = topic->partitions;
    if (question->key.ptr) { /* as the producer's partitioner has it (driver_kafka.c) */
        first = rd_kafka_msg_partitioner_murmur2_random(topic->handle, question->key.ptr, question->key.len,
                                                        topic->partitions, NULL, NULL);
        end = first + 1;
    }
    question->end = KAFKA_SCAN_ABSENT;
    if (end - first > KAFKA_LOOK_PARTITIONS_MAX)
        return;
    struct kafka_scan_ask ask = {.id = question->id, .since_us = question->since_us,
                                 .asked_us = question->asked_us, .records_max = question->records_max};
    for (int32_t i = first; i < end; i++) {
        struct kafka_scan *scan = scan_of(look, topic, i);
        if (scan && scan->since_us == INT64_MAX)
            ask.since_us = since_of(look, question);
        enum kafka_scan_end found =
            scan ? kafka_scan_ask(scan, &look->client, &ask, &question->offset, &err) : KAFKA_SCAN_FAILED;
        if (found == KAFKA_SCAN_BEYOND && ask.since_us < question->since_us) { /* for the others it is too far */
            ask.since_us = question->since_us;
            found = kafka_scan_ask(scan, &look->client, &ask, &question->offset, &err);
        }
        scans_bound(look);
        question->partition = i;
        if (found == KAFKA_SCAN_FOUND) {
            question->end = found;
            return;
        }
        if (found == KAFKA_SCAN_FAILED) {
            failed(look, question, scan ? err : RD_KAFKA_RESP_ERR__FAIL);
            return;
        }
        if (found == KAFKA_SCAN_BEYOND)
            question->end = found;
    }
}

static void give_back(struct kafka_look *look, struct kafka_question *question) {
    pthread_mutex_lock(&look->lock);
    question->next = look->answered;
    look->answered = question;
    look->wake(look->wake_ctx);
    pthread_mutex_unlock(&look->lock);
}

/* The next one; NULL: it is to end, or nothing was asked for a while (*idle). */
static struct kafka_question *question_next(struct kafka_look *look, bool *idle) {
    int64_t until_ms = clock_tick_us(&clock_system) / 1000 + KAFKA_LOOK_KEEP_MS;
    struct timespec until = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
    int waited = 0;
    pthread_mutex_lock(&look->lock);
    while (!look->first && !atomic_load(&look->stop) && waited == 0)
        waited = look->client.kafka ? pthread_cond_timedwait(&look->ready, &look->lock, &until)
                                    : pthread_cond_wait(&look->ready, &look->lock);
    struct kafka_question *question = atomic_load(&look->stop) ? NULL : look->first;
    if (question) {
        look->first = question->next;
        look->last = look->first ? look->last : NULL;
        question->next = NULL;
    }
    *idle = waited != 0 && !question;
    pthread_mutex_unlock(&look->lock);
    return question;
}

/* A cluster that does not answer one answers nobody who waits: each would wait as long. */
static void fail_all(struct kafka_look *look, const struct kafka_question *one) {
    pthread_mutex_lock(&look->lock);
    while (look->first) {
        struct kafka_question *question = look->first;
        look->first = question->next;
        question->next = look->answered;
        look->answered = question;
        question->end = one->end;
        question->err = one->err;
        snprintf(question->why, sizeof question->why, "%s", one->why);
    }
    look->last = NULL;
    pthread_mutex_unlock(&look->lock);
}

static void *look_thread(void *arg) {
    struct kafka_look *look = arg;
    bool idle = false;
    while (!atomic_load(&look->stop)) {
        struct kafka_question *question = question_next(look, &idle);
        if (idle || (question && look->topic_count >= KAFKA_LOOK_TOPICS_MAX))
            client_close(look);
        if (!question)
            continue;
        if (atomic_load(&question->dropped))
            failed(look, question, RD_KAFKA_RESP_ERR__FAIL);
        else if (client_open(look))
            answer(look, question);
        else
            failed(look, question, RD_KAFKA_RESP_ERR__FAIL);
        if (question->end != KAFKA_SCAN_FAILED)
            look->client.why[0] = '\0';
        else if (question->err == RD_KAFKA_RESP_ERR__TIMED_OUT || question->err == RD_KAFKA_RESP_ERR__TRANSPORT)
            fail_all(look, question);
        give_back(look, question);
    }
    client_close(look);
    return NULL;
}

/* --- its owner ------------------------------------------------------------------------------------- */

void kafka_look_ask(struct kafka_look *look, struct kafka_question *question) {
    question->next = NULL;
    atomic_init(&question->dropped, false);
    question->asked_us = clock_tick_us(look->clock);
    pthread_mutex_lock(&look->lock);
    if (look->last)
        look->last->next = question;
    else
        look->first = question;
    look->last = question;
    pthread_cond_signal(&look->ready);
    pthread_mutex_unlock(&look->lock);
}

void kafka_look_drop(struct kafka_question *question) {
    atomic_store(&question->dropped, true);
}

struct kafka_question *kafka_look_take(struct kafka_look *look) {
    pthread_mutex_lock(&look->lock);
    struct kafka_question *first = look->answered;
    look->answered = NULL;
    pthread_mutex_unlock(&look->lock);
    return first;
}

static enum err conf_make(const struct kafka_look_options *options, struct arena *arena, rd_kafka_conf_t **out,
                          struct fault *fault) {
    enum err err = kafka_options_make(options->url, options->authorization, arena, out, fault);
    /* All that is there, also of a transaction under way: one of others would hold up what is behind it. */
    static const struct {
        const char *name, *value;
    } how[] = {{"isolation.level", "read_uncommitted"}, {"enable.partition.eof", "true"},
               {"enable.auto.commit", "false"},         {"auto.offset.reset", "error"},
               {"fetch.wait.max.ms", "1"},              {"fetch.error.backoff.ms", "100"},
               {"queued.min.messages", "10000"}};
    if (err != OK)
        return err;
    for (size_t i = 0; err == OK && i < sizeof how / sizeof how[0]; i++)
        err = kafka_option(*out, how[i].name, how[i].value, fault);
    if (err == OK)
        err = kafka_option_number(*out, "queued.max.messages.kbytes", KAFKA_LOOK_FETCH_KBYTES, fault);
    if (err == OK)
        err = kafka_option_number(*out, "fetch.max.bytes", KAFKA_LOOK_FETCH_KBYTES * 1024, fault);
    if (err != OK)
        rd_kafka_conf_destroy(*out);
    return err;
}

enum err kafka_look_open(const struct kafka_look_options *options, struct arena *arena, struct kafka_look **out,
                         struct fault *fault) {
    rd_kafka_conf_t *conf = NULL;
    enum err err = conf_make(options, arena, &conf, fault);
    if (err != OK)
        return err;
    struct kafka_look *look = mem_zalloc(sizeof *look);
    if (!look) {
        rd_kafka_conf_destroy(conf);
        return fault_set(fault, ERR_NOMEM, "no memory for a look-up");
    }
    rd_kafka_conf_set_error_cb(conf, erred);
    rd_kafka_conf_set_opaque(conf, &look->client);
    look->conf = conf;
    look->clock = look->client.clock = options->clock;
    look->wake = options->wake;
    look->wake_ctx = options->wake_ctx;
    atomic_init(&look->stop, false);
    look->client.stop = &look->stop;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&look->lock, NULL);
    pthread_cond_init(&look->ready, &monotonic);
    pthread_condattr_destroy(&monotonic);
    *out = look;
    if (pthread_create(&look->thread, NULL, look_thread, look) == 0)
        return OK;
    pthread_cond_destroy(&look->ready);
    pthread_mutex_destroy(&look->lock);
    rd_kafka_conf_destroy(conf);
    mem_free(look);
    return fault_set(fault, ERR_NOMEM, "no thread for a look-up");
}

void kafka_look_stop(struct kafka_look *look) {
    pthread_mutex_lock(&look->lock);
    atomic_store(&look->stop, true);
    pthread_cond_signal(&look->ready);
    pthread_mutex_unlock(&look->lock);
}

void kafka_look_close(struct kafka_look *look) {
    kafka_look_stop(look);
    pthread_join(look->thread, NULL);
    pthread_cond_destroy(&look->ready);
    pthread_mutex_destroy(&look->lock);
    rd_kafka_conf_destroy(look->conf);
    mem_free(look);
}
