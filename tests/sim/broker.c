/* broker: a message broker with books of its own, as JetStream is: what was published, by subject, and what of
 * it was acknowledged. What goes out of the hub is broker_log.c's.
 *
 * Into the hub: a producer publishes orders on a few subjects, now and then twice, now and then nonsense. The
 * hub reads them through the seam of sources (connect/stream_source.h): in order per subject, subjects in any
 * order, again what was not acknowledged, at once after a nak, else when the wait is over; it loses
 * acknowledgements, delivers what it was acknowledged once more, says nothing for a while, breaks connections. */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "broker_priv.h"
#include "connect/streams_priv.h"

#define SUBJECTS 4
#define ACK_WAIT_US INT64_C(10000000)
/* What the hub keeps of a message, at most; in memory of its own it is so small here alone. */
#define MESSAGE_BYTES_MAX ((size_t)200000)

/* The hub's one reader. */
struct reader_source {
    struct stream_source source;
    struct broker *broker;
    int64_t ready_us;        /* tick: what an earlier one has is given up then */
    uint32_t next[SUBJECTS]; /* in the books; what is before was handed out on this connection */
};

static int64_t sized(const struct sim *sim, const char *name, uint64_t bound) {
    return (int64_t)(hash64(str_c(name), sim->run->seed) % bound);
}

/* --- what is published to the hub ---------------------------------------------------------------- */

static void in_store(struct broker *b, uint32_t message) {
    struct sim *sim = b->sim;
    const struct message *m = b->messages[message];
    if (is_down(b) || unlucky(b, 20))
        return; /* the producer was told so, or hears nothing */
    for (uint32_t i = b->in_count; m->id[0] && i-- > 0;)
        if (b->in[i].message == message && sim->tick_us - b->in[i].at_us < b->window_us)
            return; /* it is known */
    b->in = grown(b->in, b->in_count, &b->in_cap, sizeof *b->in);
    b->in[b->in_count++] = (struct stored){.message = message, .at_us = sim->tick_us};
    observe(sim, "{\"stored\":{\"stream\":\"sim-broker/orders\",\"place\":\"IN:%u\",\"id\":\"%s\",\"key\":"
                 "\"shop.orders.%u\"}}", b->in_count, m->id, m->subject);
}

static void publish(struct sim *sim) {
    static const char *const nonsense[] = {"{\"oder\":{}}", "{\"order\":{\"channel\":\"web-de\"}}", "no JSON", ""};
    struct broker *b = sim->broker;
    if (b->message_count > 0 && chance(sim, 4) == 0) { /* the producer heard nothing, and says it again */
        uint32_t among = b->message_count < 8 ? b->message_count : 8;
        uint32_t again = b->message_count - 1 - (uint32_t)chance(sim, among);
        list_line(sim, "message %u is published once more", again + 1);
        in_store(b, again);
        return;
    }
    b->messages = grown(b->messages, b->message_count, &b->message_cap, sizeof *b->messages);
    struct message *m = b->messages[b->message_count++] = mem_zalloc(sizeof *m);
    must(m);
    m->subject = (uint32_t)chance(sim, SUBJECTS);
    if (chance(sim, 6) > 0)
        snprintf(m->id, sizeof m->id, "p%u", b->message_count);
    struct str order = STR_NONE, body = str_c(nonsense[chance(sim, 4)]);
    if (chance(sim, 6) > 0) {
        m->op = shop_offer(sim, &order);
        body = arena_printf(&sim->arena, "{\"order\":%.*s}", STR_FMT(order));
        mem_free((char *)(uintptr_t)order.ptr);
    }
    size_t len = body.len ? body.len : MESSAGE_BYTES_MAX + 1;
    char *copy = mem_alloc(len);
    must(copy);
    memset(copy, 'x', len);
    memcpy(copy, body.ptr, body.len);
    m->body = str_of(copy, len);
    list_line(sim, "message %u is published on shop.orders.%u", b->message_count, m->subject);
    in_store(b, b->message_count - 1);
}

void broker_publish(struct sim *sim) {
    for (uint64_t n = chance(sim, 3) == 0 ? 1 + chance(sim, 5) : 1; n > 0; n--)
        publish(sim);
}

/* --- the reader ------------------------------------------------------------------------------------ */

static struct stored *stored_of(struct broker *b, const struct stream_message *message) {
    return &b->in[(uintptr_t)message->handle - 1];
}

static void hand_out(struct broker *b, uint32_t i, struct stream_message *out, uint32_t *count) {
    struct stored *stored = &b->in[i];
    const struct message *m = b->messages[stored->message];
    struct stream_message *message = &out[(*count)++];
    *message = (struct stream_message){.handle = (void *)(uintptr_t)(i + 1), .body = m->body};
    if (m->id[0])
        message->id = str_c(m->id);
    static const char *const subjects[SUBJECTS] = {"shop.orders.0", "shop.orders.1", "shop.orders.2",
                                                   "shop.orders.3"};
    message->key = str_c(subjects[m->subject]);
    snprintf(message->place, sizeof message->place, "IN:%u", i + 1);
    stored->out = true;
    stored->due_us = b->sim->tick_us + ACK_WAIT_US;
}

/* The next one of the subject that is new on this connection; UINT32_MAX: there is none. */
static uint32_t next_of(struct reader_source *source, uint32_t subject) {
    const struct broker *b = source->broker;
    for (; source->next[subject] < b->in_count; source->next[subject]++) {
        const struct stored *stored = &b->in[source->next[subject]];
        if (!stored->acked && b->messages[stored->message]->subject == subject)
            return source->next[subject]++;
    }
    return UINT32_MAX;
}

static enum err lost(struct fault *fault, const char *what) {
    return fault_set(fault, ERR_UNAVAILABLE, "the broker: %s", what);
}

static enum err reader_fetch(struct stream_source *base, struct stream_message *out, uint32_t max, int64_t wait_ms,
                             uint32_t *count, int64_t *waiting, struct fault *fault) {
    struct reader_source *source = (struct reader_source *)base;
    struct broker *b = source->broker;
    struct sim *sim = b->sim;
    (void)wait_ms;
    *count = 0;
    *waiting = -1;
    if (is_down(b) || unlucky(b, 30))
        return lost(fault, "the connection was lost");
    if (sim->tick_us < source->ready_us || unlucky(b, 6))
        return OK;
    uint32_t want = b->well ? max : 1 + (uint32_t)chance(sim, max);
    for (uint32_t i = 0; i < b->in_count && *count < want; i++) { /* whose acknowledgement was lost */
        struct stored *stored = &b->in[i];
        bool before = i < source->next[b->messages[stored->message]->subject];
        if (before && stored->out && !stored->acked && stored->due_us <= sim->tick_us)
            hand_out(b, i, out, count);
    }
    if (*count < want && b->in_count > 0 && unlucky(b, 8)) { /* once more, for no reason */
        uint32_t i = (uint32_t)chance(sim, b->in_count);
        if (b->in[i].acked)
            hand_out(b, i, out, count);
    }
    for (uint32_t empty = 0; empty < 2 * SUBJECTS && *count < want;) {
        uint32_t i = next_of(source, (uint32_t)chance(sim, SUBJECTS));
        if (i == UINT32_MAX)
            empty++;
        else
            hand_out(b, i, out, count);
    }
    return OK;
}

static struct str reader_header(const struct stream_message *message, struct str name) {
    (void)name;
    return str_is(name, "Nats-Msg-Id") ? message->id : STR_NONE;
}

static void reader_busy(struct stream_source *base, const struct stream_message *messages, uint32_t count) {
    struct broker *b = ((struct reader_source *)base)->broker;
    for (uint32_t i = 0; i < count && !is_down(b); i++)
        stored_of(b, &messages[i])->due_us = b->sim->tick_us + ACK_WAIT_US;
}

static enum err reader_done(struct stream_source *base, struct stream_message *messages, uint32_t count,
                            struct fault *fault) {
    struct broker *b = ((struct reader_source *)base)->broker;
    struct sim *sim = b->sim;
    if (vfs_fault_crashed(sim->disk) || is_down(b))
        return lost(fault, "the connection was lost");
    for (uint32_t i = 0; i < count; i++) {
        struct stored *stored = stored_of(b, &messages[i]);
        if (stored->acked || unlucky(b, 12))
            continue;
        stored->acked = true;
        observe(sim, "{\"consumed\":{\"stream\":\"sim-broker/orders\",\"place\":\"%s\",\"durable\":%llu}}",
                messages[i].place, (unsigned long long)core_seq(sim->core));
    }
    return unlucky(b, 20) ? lost(fault, "the connection was lost") : OK;
}

/* It says that it will not have them, or just goes. */
static void reader_drop(struct stream_source *base, struct stream_message *messages, uint32_t count) {
    struct broker *b = ((struct reader_source *)base)->broker;
    if (vfs_fault_crashed(b->sim->disk) || is_down(b) || unlucky(b, 2))
        return;
    for (uint32_t i = 0; i < count; i++)
        stored_of(b, &messages[i])->out = false;
}

static void reader_close(struct stream_source *base) { mem_free(base); }

static const struct stream_source_ops reader_ops = {.fetch = reader_fetch, .header = reader_header,
                                                    .busy = reader_busy, .done = reader_done,
                                                    .drop = reader_drop, .close = reader_close};

static enum err reader_open(void *ctx, const struct stream_source_options *options, struct stream_source **out,
                            struct fault *fault) {
    struct broker *b = ctx;
    (void)options;
    if (is_down(b) || unlucky(b, 10))
        return lost(fault, "no connection");
    struct reader_source *source = mem_zalloc(sizeof *source);
    must(source);
    source->source.ops = &reader_ops;
    source->broker = b;
    for (uint32_t i = 0; i < b->in_count; i++)
        if (b->in[i].out && !b->in[i].acked && b->in[i].due_us > source->ready_us)
            source->ready_us = b->in[i].due_us;
    *out = &source->source;
    return OK;
}

enum err broker_streams(struct sim *sim, struct fault *fault) {
    struct streams_options options = {.core = sim->core, .config = &sim->config, .connectors = &sim->connectors,
                                      .clock = &sim->clock, .open = reader_open, .open_ctx = sim->broker};
    return streams_create(&options, &sim->streams, fault);
}

int64_t broker_streams_step(struct sim *sim) {
    for (uint32_t i = 0; i < sim->streams->count; i++)
        for (uint32_t k = 0; k < sim->streams->entries[i]->room; k++)
            sim->streams->entries[i]->slots[k].arena.cap = MESSAGE_BYTES_MAX;
    return streams_step(sim->streams);
}

/* --- its day ----------------------------------------------------------------------------------------- */

void broker_step(struct sim *sim) {
    struct broker *b = sim->broker;
    broker_work(sim);
    if (!is_down(b) && unlucky(b, 60)) {
        int64_t us = (int64_t)chance(sim, 60000000);
        b->down_until_us = sim->tick_us + us;
        list_line(sim, "the broker is down for %lld ms", (long long)us / 1000);
    }
    broker_call_step(b);
}

/* --- coming to rest ---------------------------------------------------------------------------------- */

void broker_heal(struct sim *sim) {
    sim->broker->well = true;
    sim->broker->down_until_us = 0;
}

void broker_settle_step(struct sim *sim) {
    struct broker *b = sim->broker;
    broker_work(sim);
    broker_streams_step(sim);
    for (uint32_t n = b->call_count; n > 0 && b->calls; n--)
        broker_call_step(b);
}

bool streams_rest(const struct streams *streams) {
    for (uint32_t i = 0; streams && i < streams->count; i++)
        if (streams->entries[i]->batch)
            return false;
    return true;
}

uint32_t broker_calls(const struct sim *sim) { return sim->broker->call_count; }

bool broker_quiet(const struct sim *sim) {
    const struct broker *b = sim->broker;
    for (uint32_t i = 0; i < b->in_count; i++)
        if (!b->in[i].acked)
            return false;
    return b->call_count == 0 && !b->ghosts && streams_rest(sim->streams);
}

void broker_tell(const struct sim *sim, struct buf *out) {
    const struct broker *b = sim->broker;
    uint32_t open = 0;
    for (uint32_t i = 0; i < b->in_count; i++)
        open += !b->in[i].acked;
    buf_printf(out, "; broker: %u of %u not acknowledged, %u calls", open, b->in_count, b->call_count);
    for (uint32_t i = 0; sim->streams && i < sim->streams->count; i++)
        buf_printf(out, ", %s", sim->streams->entries[i]->stats.error);
}

/* What it stored for a producer is as good as acknowledged. */
void broker_observe(struct sim *sim) {
    const struct broker *b = sim->broker;
    for (uint32_t i = 0; i < b->in_count; i++) {
        uint32_t op = b->messages[b->in[i].message]->op;
        if (op != 0)
            observe(sim, "{\"answered\":{\"op\":%u,\"status\":200}}", op);
    }
}

/* --- life --------------------------------------------------------------------------------------------- */

struct net *broker_net(struct broker *broker) { return &broker->net; }

struct broker *broker_create(struct sim *sim) {
    static const int64_t windows_us[] = {INT64_C(100000), INT64_C(2000000), INT64_C(120000000)};
    struct broker *b = mem_zalloc(sizeof *b);
    must(b);
    b->net.ops = &broker_ops;
    b->sim = sim;
    b->window_us = windows_us[sized(sim, "broker_window", 3)];
    b->skew_us = sized(sim, "broker_skew", 600) * 1000000;
    for (uint32_t i = 0; i < sim->connectors.count; i++)
        for (uint32_t k = 0; k < sim->connectors.items[i]->streams.count; k++)
            list_at(sim->connectors.items[i]->streams, struct connector_stream, k)->in_flight =
                1 + sized(sim, "broker_in_flight", 12);
    return b;
}

void broker_destroy(struct broker *b) {
    while (b->ghosts) {
        struct posted *ghost = b->ghosts;
        b->ghosts = ghost->next;
        mem_free(ghost);
    }
    for (uint32_t i = 0; i < b->message_count; i++) {
        mem_free((char *)(uintptr_t)b->messages[i]->body.ptr);
        mem_free(b->messages[i]);
    }
    mem_free(b->messages);
    mem_free(b->in);
    mem_free(b->out);
    mem_free(b);
}
