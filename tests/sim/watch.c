/* watch: looks at the hub and changes nothing: what must hold at any moment, after a start, and at
 * the end, when everything there is goes to the oracle. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "core/seal.h"
#include "deliver/deliver_priv.h"
#include "deliver/subscribers.h"
#include "domain/list.h"
#include "broker.h"
#include "sim.h"
#include "store/journal_sqlite.h"

/* --- the feed ------------------------------------------------------------------------------------ */

/* What a follower of the events has seen, by seq: it must stay so for ever. */
static struct {
    uint64_t *hashes;
    uint64_t count;
    uint32_t cap;
} seen;

static uint64_t record_hash(const struct record *record) {
    return hash64(record->data,
                  hash64(record->meta, hash64(record->subject, hash64(record->type, record->seq))));
}

static bool feed_visit(void *ctx, const struct record *record) {
    struct sim *sim = ctx;
    if (record->seq <= seen.count)
        return true;
    if (record->seq != seen.count + 1)
        violate(sim, "feed", "event %llu follows %llu", (unsigned long long)record->seq,
                (unsigned long long)seen.count);
    if (seen.count == seen.cap) {
        seen.cap = seen.cap ? 2 * seen.cap : 1024;
        seen.hashes = mem_resize(seen.hashes, seen.cap * sizeof *seen.hashes);
        must(seen.hashes);
    }
    seen.hashes[seen.count++] = record_hash(record);
    if (str_is(record->type, "order.captured"))
        shop_order_seen(sim, record->subject);
    return true;
}

void watch_feed(struct sim *sim) {
    struct fault fault = {0};
    uint64_t next, before;
    do {
        before = seen.count;
        if (tail_read(sim->tail, seen.count + 1, 256, feed_visit, sim, &next, &fault) != OK)
            return; /* the disk did not let it be read: later */
    } while (seen.count > before);
}

/* --- at any moment ---------------------------------------------------------------------------------- */

void watch_disk(struct sim *sim) {
    static uint32_t calls;
    if (!sim->up || sim->dying || ++calls % 4 != 0)
        return;
    shop_read_stock(sim, calls / 4 % shop_sku_count(), "read");
}

static void ledgers_balance(struct sim *sim);

void watch_step(struct sim *sim) {
    struct fault fault = {0};
    uint64_t last;
    ledgers_balance(sim);
    hooks_watch(sim);
    sim->reloaded = sim->reloaded || sim->deliver->failed;
    if (!vfs_fault_crashed(sim->disk))
        calls_watch(sim);
    if (vfs_fault_crashed(sim->disk) || !core_ready(sim->core) ||
        journal_last(sim->journal, &last, &fault) != OK)
        return;
    if (read_model_seq(sim->read_model) > last)
        violate(sim, "read-model-ahead", "the read model is at %llu, the journal at %llu",
                (unsigned long long)read_model_seq(sim->read_model), (unsigned long long)last);
    if (core_seq(sim->core) > last || tail_last(sim->tail) > last)
        violate(sim, "ahead", "published is %llu, followers saw %llu, durable is %llu",
                (unsigned long long)core_seq(sim->core), (unsigned long long)tail_last(sim->tail),
                (unsigned long long)last);
}

/* --- the state ------------------------------------------------------------------------------------------ */

/* The first line in which two texts differ. */
static void tell_difference(struct sim *sim, const char *rule, const char *what, struct str a,
                            struct str b) {
    while (a.ptr || b.ptr) {
        struct str x = a.ptr ? str_cut(&a, '\n') : STR_NONE,
                   y = b.ptr ? str_cut(&b, '\n') : STR_NONE;
        if (!str_eq(x, y))
            violate(sim, rule, "%s: \"%.*s\", made anew it is \"%.*s\"", what, STR_FMT(x),
                    STR_FMT(y));
    }
    violate(sim, rule, "%s differ", what);
}

/* State rebuilt from an empty hub by replaying the whole journal equals the live state. */
static void state_equals_replay(struct sim *sim) {
    struct core_options options = {.capabilities = domain_capabilities,
                                   .config = &sim->config,
                                   .journal = sim->journal,
                                   .keyring = sim->keyring,
                                   .clock = &sim->clock,
                                   .rng = &sim->ids.rng};
    struct fault fault = {0};
    struct core *again = core_create(&options, &fault);
    if (!again && vfs_fault_crashed(sim->disk))
        return;
    if (!again)
        violate(sim, "replay", "the journal can not be replayed: %s", fault.detail);
    struct buf live, replayed;
    buf_init(&live, 0);
    buf_init(&replayed, 0);
    core_dump(sim->core, &live);
    core_dump(again, &replayed);
    if (!str_eq(buf_str(&live), buf_str(&replayed)))
        tell_difference(sim, "replay", "the state", buf_str(&live), buf_str(&replayed));
    buf_free(&live);
    buf_free(&replayed);
    core_destroy(again);
}

/* --- conservation ------------------------------------------------------------------------------------- */

/* In = delivered + discarded + superseded + listed + waiting, at any moment. */
static void ledgers_balance(struct sim *sim) {
    for (uint32_t i = 0; i < sim->deliver->count; i++) {
        const struct subscription *sub = sim->deliver->subs[i];
        struct lane_ledger is;
        subscription_ledger(sub, &is);
        if (is.taken != is.delivered + is.discarded + is.superseded + is.listed + is.waiting)
            violate(sim, "conservation", "%.*s: %llu in, %llu delivered, %llu discarded, %llu "
                    "superseded, %llu listed, %llu waiting", STR_FMT(sub->name),
                    (unsigned long long)is.taken, (unsigned long long)is.delivered,
                    (unsigned long long)is.discarded, (unsigned long long)is.superseded,
                    (unsigned long long)is.listed, (unsigned long long)is.waiting);
    }
}

static void ledgers_begin(struct sim *sim) {
    must(sim->deliver->count <= LEDGERS_MAX);
    sim->reloaded = false;
    sim->ledger_count = sim->deliver->count;
    sim->ledger_seq = core_seq(sim->core);
    for (uint32_t i = 0; i < sim->deliver->count; i++) {
        const struct subscription *sub = sim->deliver->subs[i];
        struct lane_ledger is;
        subscription_ledger(sub, &is);
        sim->ledgers[i] = (struct ledger_began){lanes_cursor(sub->lanes), is.listed};
    }
}

/* What is read again after a failure is counted once more: then there is nothing to compare with. */
static void ledger_range(const struct sim *sim, uint32_t i, char out[240]) {
    const struct subscription *sub = sim->deliver->subs[i];
    bool young = i >= sim->ledger_count; /* made in this life */
    uint64_t from = young ? subscription_after(sub) : sim->ledgers[i].from;
    out[0] = '\0';
    if (!sim->reloaded && !sub->send->conflate)
        snprintf(out, 240, ",\"from\":%llu,\"to\":%llu,\"before\":%llu,\"again\":%llu,\"replayed\":%llu,"
                 "\"loaded\":%llu", (unsigned long long)from, (unsigned long long)lanes_read_to(sub->lanes),
                 (unsigned long long)(young ? 0 : sim->ledgers[i].before),
                 (unsigned long long)lanes_ledger(sub->lanes)->again,
                 (unsigned long long)lanes_ledger(sub->lanes)->replayed,
                 (unsigned long long)(young ? 0 : sim->ledger_seq));
}

/* What the hub counts, to the oracle; and against what is on disk. */
void watch_rest(struct sim *sim) {
    struct deliver *d = sim->deliver;
    if (vfs_fault_crashed(sim->disk) || d->failed || progress_broken(d->progress))
        return;
    for (uint32_t i = 0; i < d->count; i++) {
        const struct subscription *sub = d->subs[i];
        struct lane_ledger is;
        struct fault fault = {0};
        uint64_t rows;
        char range[240];
        if (sub->lanes == NULL || sub->retired)
            continue;
        subscription_ledger(sub, &is);
        if (progress_count(d->progress, sub->name, &rows, &fault) == OK && rows != is.listed)
            violate(sim, "conservation", "%.*s: %llu are listed on disk, %llu in memory",
                    STR_FMT(sub->name), (unsigned long long)rows, (unsigned long long)is.listed);
        if (fetcher_has(sub->name))
            continue; /* other rules hold */
        ledger_range(sim, i, range);
        observe(sim,
                "{\"%s\":{\"subscription\":\"%.*s\",\"taken\":%llu,\"delivered\":%llu,"
                "\"discarded\":%llu,\"superseded\":%llu,\"listed\":%llu,\"waiting\":%llu%s}}",
                hooks_has(sub->name) ? "hook_ledger" : "ledger",
                STR_FMT(sub->name), (unsigned long long)is.taken, (unsigned long long)is.delivered,
                (unsigned long long)is.discarded, (unsigned long long)is.superseded,
                (unsigned long long)is.listed, (unsigned long long)is.waiting, range);
    }
}

void watch_start(struct sim *sim) {
    struct fault fault = {0};
    uint64_t last = 0;
    ledgers_begin(sim);
    if (journal_last(sim->journal, &last, &fault) != OK)
        return;
    if (last < shop_acknowledged(sim))
        violate(sim, "acknowledged-lost", "the journal ends at %llu, acknowledged was %llu",
                (unsigned long long)last, (unsigned long long)shop_acknowledged(sim));
    if (last < seen.count)
        violate(sim, "feed", "the journal ends at %llu, followers saw %llu",
                (unsigned long long)last, (unsigned long long)seen.count);
    if (core_seq(sim->core) != last)
        violate(sim, "replay", "the state is at %llu, the journal at %llu",
                (unsigned long long)core_seq(sim->core), (unsigned long long)last);
}

/* --- the read model ------------------------------------------------------------------------------------ */

struct dumping {
    struct buf *out;
    const struct table *table;
};
static bool row_dump(void *ctx, const struct row_value *values) {
    struct dumping *dumping = ctx;
    for (uint32_t i = 0; i < dumping->table->count; i++)
        if (dumping->table->columns[i].kind == COLUMN_TEXT)
            buf_printf(dumping->out, "|%.*s", STR_FMT(values[i].text));
        else
            buf_printf(dumping->out, "|%lld", (long long)values[i].integer);
    buf_char(dumping->out, '\n');
    return true;
}

static void refs_dump(struct sim *sim, struct str id, struct buf *out) {
    uint64_t seqs[512];
    uint32_t count = 0;
    struct fault fault = {0};
    if (sim->reader->ops->refs(sim->reader, id, seqs, 512, &count, &fault) != OK)
        violate(sim, "read-model", "refs of %.*s: %s", STR_FMT(id), fault.detail);
    buf_printf(out, "%.*s", STR_FMT(id));
    for (uint32_t i = 0; i < count; i++)
        buf_printf(out, " %llu", (unsigned long long)seqs[i]);
    buf_char(out, '\n');
}

static bool subject_dump(void *ctx, const struct record *record) {
    void **both = ctx;
    if (record->seq % 7 == 0)
        refs_dump(both[0], record->subject, both[1]);
    return true;
}

static void read_model_dump(struct sim *sim, struct buf *out) {
    struct arena arena;
    struct fault fault = {0};
    uint64_t next;
    arena_init(&arena, 0);
    for (const struct capability *const *c = domain_capabilities; *c; c++)
        for (const struct table *const *t = (*c)->tables; t && *t; t++) {
            struct dumping dumping = {out, *t};
            struct row_query query = {.table = *t, .limit = 1000000};
            struct str cursor;
            buf_printf(out, "[%s]\n", (*t)->name);
            if (sim->reader->ops->list(sim->reader, &query, &arena, row_dump, &dumping, &cursor,
                                       &fault) != OK)
                violate(sim, "read-model", "%s: %s", (*t)->name, fault.detail);
        }
    void *both[] = {sim, out};
    if (journal_read(sim->journal, 1, UINT32_MAX, subject_dump, both, &next, &fault) != OK)
        violate(sim, "journal", "can not be read: %s", fault.detail);
    arena_free(&arena);
}

static void read_model_equals_rebuilt(struct sim *sim) {
    struct buf live, again;
    struct fault fault = {0};
    buf_init(&live, 0);
    buf_init(&again, 0);
    read_model_dump(sim, &live);
    if (read_model_rebuild(sim->read_model, NULL, NULL, &fault) != OK)
        violate(sim, "read-model", "can not be rebuilt: %s", fault.detail);
    read_model_dump(sim, &again);
    if (!str_eq(buf_str(&live), buf_str(&again)))
        tell_difference(sim, "read-model", "the read model", buf_str(&live), buf_str(&again));
    buf_free(&live);
    buf_free(&again);
}

/* --- the journal, to the oracle -------------------------------------------------------------------------- */

/* Boxes of persons (core/seal.h): no key seals two; what was erased can not be opened, the rest
 * can. */
struct box {
    uint64_t seq, key;
    char person[64];
    bool payload; /* belongs to the person whose order came in with it, and is erased with that */
};
struct erased {
    uint64_t seq;
    char person[64];
};
struct boxes {
    struct box *items;
    struct erased *erased;
    uint32_t count, cap, erased_count, erased_cap;
};

static void *grown(void *items, uint32_t count, uint32_t *cap, size_t size) {
    if (count < *cap)
        return items;
    *cap = *cap ? 2 * *cap : 64;
    items = mem_resize(items, *cap * size);
    must(items);
    return items;
}

static void box_note(struct boxes *boxes, const struct record *record,
                     const struct event_meta *meta) {
    if (str_is(record->type, "customer.erased")) {
        boxes->erased =
            grown(boxes->erased, boxes->erased_count, &boxes->erased_cap, sizeof *boxes->erased);
        struct erased *erased = &boxes->erased[boxes->erased_count++];
        *erased = (struct erased){.seq = record->seq};
        snprintf(erased->person, sizeof erased->person, "%.*s", STR_FMT(record->subject));
    }
    if (meta->key <= 0)
        return;
    boxes->items = grown(boxes->items, boxes->count, &boxes->cap, sizeof *boxes->items);
    struct box *box = &boxes->items[boxes->count++];
    *box = (struct box){.seq = record->seq,
                        .key = (uint64_t)meta->key,
                        .payload = str_is(record->type, "payload.received")};
    snprintf(box->person, sizeof box->person, "%.*s", STR_FMT(meta->person));
}

static int box_order(const void *a, const void *b) {
    const struct box *x = a, *y = b;
    return x->key != y->key ? (x->key < y->key ? -1 : 1) : x->seq < y->seq ? -1 : x->seq > y->seq;
}

static void box_judge(struct sim *sim, const struct boxes *boxes, const struct box *box) {
    struct seal_key key;
    struct fault fault = {0};
    bool erased = false;
    for (uint32_t i = 0; i < boxes->erased_count; i++)
        erased = erased || (boxes->erased[i].seq > box->seq &&
                            strcmp(boxes->erased[i].person, box->person) == 0);
    enum err err = sim->keyring->ops->find(sim->keyring, box->key, &key, &fault);
    if (err != OK && err != ERR_NOT_FOUND)
        violate(sim, "sealed", "key %llu: %s", (unsigned long long)box->key, fault.detail);
    sim->result->destroyed += err != OK;
    if (erased && err == OK)
        violate(sim, "erased", "%s was erased, and event %llu can be opened", box->person,
                (unsigned long long)box->seq);
    if (!erased && err != OK && !(box->payload && boxes->erased_count > 0))
        violate(sim, "sealed", "event %llu of %s can not be opened: %s",
                (unsigned long long)box->seq, box->person, fault.detail);
}

static void boxes_judge(struct sim *sim, struct boxes *boxes) {
    if (boxes->count > 0)
        qsort(boxes->items, boxes->count, sizeof *boxes->items, box_order);
    for (uint32_t i = 1; i < boxes->count; i++)
        if (boxes->items[i].key == boxes->items[i - 1].key)
            violate(sim, "key-twice", "events %llu and %llu are sealed with one key",
                    (unsigned long long)boxes->items[i - 1].seq,
                    (unsigned long long)boxes->items[i].seq);
    for (uint32_t i = 0; i < boxes->count; i++)
        box_judge(sim, boxes, &boxes->items[i]);
    sim->result->boxes = boxes->count;
    mem_free(boxes->items);
    mem_free(boxes->erased);
}

struct events {
    struct boxes boxes;
    struct sim *sim;
    struct buf out;
    struct arena arena;
    uint64_t count;
};

static void number_observe(struct sim *sim, const struct record *record, struct arena *arena) {
    const struct json *data;
    struct fault fault = {0};
    if (json_parse(sim->parser, arena, record->data, false, &data, &fault) != OK)
        return;
    observe(sim, "{\"number\":{\"order_id\":\"%.*s\",\"number\":\"%.*s\"}}",
            STR_FMT(json_member_str(data, STR("order_id"))),
            STR_FMT(json_member_str(data, STR("reference"))));
}

static bool event_observe(void *ctx, const struct record *record) {
    struct events *events = ctx;
    struct sim *sim = events->sim;
    struct event_meta meta;
    struct fault fault = {0};
    events->count++;
    if (record->seq <= seen.count && seen.hashes[record->seq - 1] != record_hash(record))
        violate(sim, "feed", "event %llu is not the one that followers saw",
                (unsigned long long)record->seq);
    arena_reset(&events->arena);
    buf_clear(&events->out);
    buf_lit(&events->out, "{\"event\":");
    if (event_write_cloudevent(record, sim->config.cell, sim->keyring, sim->parser, &events->arena,
                               &events->out, &fault) != OK ||
        event_meta_load(record->meta, sim->parser, &events->arena, &meta, &fault) != OK)
        violate(sim, "journal", "event %llu can not be read: %s", (unsigned long long)record->seq,
                fault.detail);
    box_note(&events->boxes, record, &meta);
    if (meta.cause > 0) {
        events->out.len--;
        buf_printf(&events->out, ",\"penstockcause\":%lld}", (long long)meta.cause);
    }
    buf_char(&events->out, '}');
    observe_line(sim, buf_str(&events->out));
    if (str_is(record->type, "posting.posted"))
        number_observe(sim, record, &events->arena);
    return true;
}

static void events_observe(struct sim *sim) {
    struct events events = {.sim = sim};
    struct fault fault = {0};
    uint64_t next, last = 0;
    buf_init(&events.out, 0);
    arena_init(&events.arena, 0);
    if (journal_last(sim->journal, &last, &fault) != OK ||
        journal_read(sim->journal, 1, UINT32_MAX, event_observe, &events, &next, &fault) != OK)
        violate(sim, "journal", "can not be read: %s", fault.detail);
    if (events.count != last)
        violate(sim, "journal", "%llu events can be read, the last one is %llu",
                (unsigned long long)events.count, (unsigned long long)last);
    sim->result->events = (uint32_t)events.count;
    boxes_judge(sim, &events.boxes);
    buf_free(&events.out);
    arena_free(&events.arena);
}

static void segments_check(struct sim *sim) {
    struct segment segment;
    struct fault fault = {0};
    for (uint32_t i = 0; journal_sqlite_segment(sim->journal, i, &segment); i++) {
        sim->result->segments++;
        if (segment.state != SEGMENT_SEALED)
            continue;
        sim->result->sealed++;
        if (journal_sqlite_segment_check(sim->journal, &segment, NULL, NULL, &fault) != OK)
            violate(sim, "segment", "%s", fault.detail);
    }
}

static bool held_observe(void *ctx, const struct progress_row *row) {
    if (fetcher_has(row->subscription))
        violate(ctx, "fetch-lost", "seq %llu waits for a person", (unsigned long long)row->seq);
    if (hooks_has(row->subscription)) {
        observe(ctx, "{\"hook_held\":{\"delivery\":\"%.*s\",\"seq\":%llu}}", STR_FMT(row->subscription),
                (unsigned long long)row->seq);
        return true;
    }
    observe(ctx, "{\"held\":{\"subscription\":\"%.*s\",\"seq\":%llu}}", STR_FMT(row->subscription),
            (unsigned long long)row->seq);
    return true;
}

static void told(void *ctx, const char *rule, struct str text) {
    violate(ctx, rule, "%.*s", STR_FMT(text));
}

void watch_end(struct sim *sim) {
    struct fault fault = {0};
    watch_feed(sim);
    watch_step(sim);
    state_equals_replay(sim);
    events_observe(sim);
    segments_check(sim);
    shop_observe_orders(sim);
    for (uint32_t i = 0; i < shop_sku_count(); i++)
        shop_read_stock(sim, i, "position");
    partner_observe(sim);
    market_observe(sim);
    broker_observe(sim);
    fetcher_observe(sim);
    if (progress_rows(sim->deliver->progress, STR_NONE, STR_NONE, 0, false, UINT32_MAX >> 1,
                      held_observe, sim, &fault) != OK)
        violate(sim, "start", "%s", fault.detail);
    observe(sim, "{\"end\":{\"source\":\"WH-HAM\",\"erp\":\"erp-orders\",\"quiet_us\":%lld}}",
            (long long)sim->now_us);
    oracle_judge(sim->oracle, told, sim);
    read_model_equals_rebuilt(sim);
}
