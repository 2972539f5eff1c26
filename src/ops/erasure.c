/* erasure: see erasure.h. Owns the lock that lets one erasure go at a time.
 *
 * Which documents are a person's: those whose event names it in its meta; orders are found by the
 * person, other events by the order; a payload is the person's whose order, exception or
 * settlement names the payload as its cause. */
#include "ops/erasure.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "core/seal.h"
#include "domain/customers.h"
#include "domain/exceptions.h"
#include "domain/inbound.h"
#include "ops/ask.h"

#define COMMAND_EVENTS_MAX 64u
#define REFS_MAX (1u << 20)   /* commands looked at under one id */
#define WAIT_MS 30000         /* for the read model */
#define ARENA_BYTES ((size_t)1 << 30)

struct erasure {
    struct erasure_options options;
    pthread_mutex_t lock;
    uint64_t until; /* erasures up to it are of earlier lives; 0: they are all done */
};

enum err erasure_create(const struct erasure_options *options, struct erasure **out,
                        struct fault *fault) {
    struct erasure *erasure = mem_zalloc(sizeof *erasure);
    must(core_keyring(options->core));
    *out = erasure;
    if (!erasure)
        return fault_set(fault, ERR_NOMEM, "no memory for erasures");
    erasure->options = *options;
    erasure->until = core_seq(options->core);
    pthread_mutex_init(&erasure->lock, NULL);
    return OK;
}

void erasure_destroy(struct erasure *erasure) {
    if (!erasure)
        return;
    pthread_mutex_destroy(&erasure->lock);
    mem_free(erasure);
}

/* --- finding ------------------------------------------------------------------------------ */

/* Numbers, in a list that grows. */
struct numbers {
    uint64_t *items;
    uint32_t count, cap;
};
static bool number_add(struct numbers *list, uint64_t number) {
    if (list->count == list->cap) {
        uint32_t cap = list->cap ? list->cap * 2 : 64;
        uint64_t *items = mem_resize(list->items, cap * sizeof *items);
        if (!items)
            return false;
        list->items = items;
        list->cap = cap;
    }
    list->items[list->count++] = number;
    return true;
}

struct finding {
    struct reader *reader;
    struct str person;
    struct str order;     /* whose events are looked at; absent: all under the person */
    uint64_t before;      /* seq of the erasure */
    struct arena arena;   /* of orders' ids */
    struct arena scratch; /* of one command's events */
    struct numbers keys, seqs, payloads;
    struct order_id {
        struct order_id *next;
        struct str id;
    } *orders;
    struct str other; /* another person that the events under this id are of */
    uint64_t first; /* of the command that is read */
    bool known;
    enum err err;
    struct fault *fault;
};

static bool find_nomem(struct finding *f) {
    f->err = fault_set(f->fault, ERR_NOMEM, "no memory to find what is to be erased");
    return false;
}

static bool order_note(struct finding *f, struct str id) {
    struct order_id *order = f->orders;
    while (order && !str_eq(order->id, id))
        order = order->next;
    if (order || f->order.ptr || str_eq(id, f->person))
        return true;
    order = arena_new(&f->arena, struct order_id);
    if (!order || !(order->id = arena_str(&f->arena, id)).ptr)
        return find_nomem(f);
    order->next = f->orders;
    f->orders = order;
    return true;
}

/* One event under the person or one of its orders. */
static bool event_look(void *ctx, const struct record *record) {
    struct finding *f = ctx;
    struct event_meta meta;
    arena_reset(&f->scratch);
    if (record->seq >= f->before)
        return false;
    f->err = event_meta_load(record->meta, f->reader->parser, &f->scratch, &meta, f->fault);
    if (f->err != OK)
        return false;
    if ((meta.first > 0 ? (uint64_t)meta.first : record->seq) != f->first)
        return false; /* the next command's */
    if (f->order.ptr && !number_add(&f->seqs, record->seq))
        return find_nomem(f);
    bool person = str_eq(meta.person, f->person);
    if (meta.person.len && !person && meta.sealed.len && !f->order.ptr && !f->other.ptr)
        f->other = arena_str(&f->arena, meta.person);
    if (!person && !(f->order.ptr && str_eq(meta.person, f->order)))
        return true;
    f->known = true;
    if (!number_add(&f->seqs, record->seq) ||
        (meta.sealed.len && !number_add(&f->keys, (uint64_t)meta.key)) ||
        (meta.cause > 0 && !number_add(&f->payloads, (uint64_t)meta.cause)))
        return find_nomem(f);
    return order_note(f, record->subject);
}

static enum err commands_look(struct finding *f, struct str id) {
    uint64_t *firsts = mem_alloc(REFS_MAX * sizeof *firsts), next;
    uint32_t count = 0;
    if (!firsts)
        return fault_set(f->fault, ERR_NOMEM, "no memory to find what is to be erased");
    enum err err = f->reader->ops->refs(f->reader, id, firsts, REFS_MAX, &count, f->fault);
    if (err == OK && count == REFS_MAX)
        err = fault_set(f->fault, ERR_TOO_LARGE, "there are more than %u events under this id",
                        REFS_MAX);
    for (uint32_t i = 0; err == OK && i < count && firsts[i] < f->before; i++) {
        f->first = firsts[i];
        err = journal_read(f->reader->journal, firsts[i], COMMAND_EVENTS_MAX, event_look, f, &next,
                           f->fault);
        if (err == OK)
            err = f->err;
    }
    mem_free(firsts);
    return err;
}

/* The message, or a version that somebody made of it. */
static bool payload_look(void *ctx, const struct record *record) {
    struct finding *f = ctx;
    struct event_meta meta;
    bool edited = str_is(record->type, EVENT_PAYLOAD_EDITED);
    if (!edited && !str_is(record->type, EVENT_PAYLOAD_RECEIVED))
        return false;
    arena_reset(&f->scratch);
    f->err = event_meta_load(record->meta, f->reader->parser, &f->scratch, &meta, f->fault);
    if (f->err == OK && meta.sealed.len && !number_add(&f->keys, (uint64_t)meta.key))
        return find_nomem(f);
    return false;
}

/* payload.edited is found under the message's id, which its first event tells (project). */
struct payload_id {
    struct finding *f;
    struct str id;
};
static bool payload_id_look(void *ctx, const struct record *record) {
    struct payload_id *out = ctx;
    const struct json *data;
    struct arena *arena = &out->f->arena;
    struct str text = arena_str(arena, record->data);
    if (str_is(record->type, EVENT_PAYLOAD_RECEIVED) && text.ptr &&
        json_parse(out->f->reader->parser, arena, text, false, &data, out->f->fault) == OK)
        out->id = json_member_str(data, STR("payload_id"));
    return false;
}

#define VERSIONS_MAX 1000
static enum err versions_look(struct finding *f, uint64_t seq) {
    struct payload_id id = {.f = f};
    uint64_t *seqs = arena_array(&f->arena, VERSIONS_MAX, sizeof *seqs), next;
    uint32_t count = 0;
    if (!seqs)
        return fault_set(f->fault, ERR_NOMEM, "no memory to find what is to be erased");
    enum err err = journal_read(f->reader->journal, seq, 1, payload_id_look, &id, &next, f->fault);
    if (err == OK && id.id.len)
        err = f->reader->ops->refs(f->reader, id.id, seqs, VERSIONS_MAX, &count, f->fault);
    for (uint32_t i = 0; err == OK && i < count; i++)
        if (seqs[i] != seq) {
            err = journal_read(f->reader->journal, seqs[i], 1, payload_look, f, &next, f->fault);
            err = err == OK ? f->err : err;
        }
    return err;
}

/* All that is the person's and older than `before`, which the read model has reached. */
static enum err person_find(struct finding *f) {
    enum err err = commands_look(f, f->person);
    for (struct order_id *order = f->orders; err == OK && order; order = order->next) {
        f->order = order->id;
        err = commands_look(f, order->id);
    }
    f->order = STR_NONE;
    for (uint32_t i = 0; err == OK && i < f->payloads.count; i++) {
        uint64_t next;
        err = journal_read(f->reader->journal, f->payloads.items[i], 1, payload_look, f, &next,
                           f->fault);
        if (err == OK)
            err = f->err;
        if (err == OK)
            err = versions_look(f, f->payloads.items[i]);
    }
    return err;
}

static void finding_begin(struct finding *f, struct reader *reader, struct str person,
                          uint64_t before, struct fault *fault) {
    *f = (struct finding){.reader = reader, .person = person, .before = before, .fault = fault};
    arena_init(&f->arena, ARENA_BYTES);
    arena_init(&f->scratch, ARENA_BYTES);
}

static void finding_end(struct finding *f) {
    arena_free(&f->arena);
    arena_free(&f->scratch);
    mem_free(f->keys.items);
    mem_free(f->seqs.items);
    mem_free(f->payloads.items);
}

/* --- destroying --------------------------------------------------------------------------- */

static int number_order(const void *a, const void *b) {
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

/* Each once: an event is found under the person and under its order. */
static void numbers_sort(struct numbers *list) {
    uint32_t count = 0;
    if (list->count == 0)
        return;
    qsort(list->items, list->count, sizeof *list->items, number_order);
    for (uint32_t i = 0; i < list->count; i++)
        if (count == 0 || list->items[count - 1] != list->items[i])
            list->items[count++] = list->items[i];
    list->count = count;
}

/* Those of the keys that are still there. */
static uint32_t keys_live(struct erasure *erasure, struct numbers *keys) {
    struct keyring *keyring = core_keyring(erasure->options.core);
    struct seal_key key;
    struct fault ignored = {0};
    uint32_t count = 0;
    numbers_sort(keys);
    for (uint32_t i = 0; i < keys->count; i++)
        if (keyring->ops->find(keyring, keys->items[i], &key, &ignored) != ERR_NOT_FOUND)
            keys->items[count++] = keys->items[i]; /* one that can not be read counts as there */
    key = (struct seal_key){0};
    return keys->count = count;
}

/* Lock held. What the erasure at `seq` asks for. */
static enum err erasure_do(struct erasure *erasure, struct reader *reader, struct str person,
                           uint64_t seq, uint32_t *documents, struct fault *fault) {
    struct keyring *keyring = core_keyring(erasure->options.core);
    struct finding f;
    enum err err = reader->ops->wait(reader, seq, WAIT_MS, fault);
    if (err != OK)
        return err;
    finding_begin(&f, reader, person, seq, fault);
    err = person_find(&f);
    numbers_sort(&f.seqs);
    if (err == OK && erasure->options.deliver)
        err = deliver_forget(erasure->options.deliver, f.seqs.items, f.seqs.count, fault);
    if (err == OK) {
        *documents = keys_live(erasure, &f.keys);
        err = keyring->ops->destroy(keyring, f.keys.items, f.keys.count, seq, fault);
    }
    finding_end(&f);
    return err;
}

/* --- those of earlier lives --------------------------------------------------------------- */

struct listed {
    struct arena *arena;
    struct str person;
    uint64_t seq;
    int64_t erased_us;
};
static bool listed_visit(void *ctx, const struct row_value *values) {
    struct listed *listed = ctx;
    listed->person = arena_str(listed->arena, values[ERASURES_PERSON].text);
    listed->seq = (uint64_t)values[ERASURES_SEQ].integer;
    listed->erased_us = values[ERASURES_AT].integer;
    return false;
}

/* Lock held. The first erasure that is not done. */
static enum err step_locked(struct erasure *erasure, struct reader *reader, bool *again,
                            struct fault *fault) {
    struct keyring *keyring = core_keyring(erasure->options.core);
    struct arena arena;
    struct str cursor;
    uint32_t documents = 0;
    *again = false;
    if (erasure->until <= keyring->ops->erased(keyring))
        erasure->until = 0;
    if (erasure->until == 0)
        return OK;
    enum err err = reader->ops->wait(reader, erasure->until, WAIT_MS, fault);
    if (err != OK)
        return err;
    arena_init(&arena, ARENA_BYTES);
    struct listed listed = {.arena = &arena};
    struct row_filter after = {ERASURES_SEQ, ROW_GT,
                               row_int((int64_t)keyring->ops->erased(keyring))};
    struct row_query rows = {.table = &erasures_table, .filters = &after, .filter_count = 1,
                             .sort_column = ERASURES_SEQ, .limit = 1};
    err = reader->ops->list(reader, &rows, &arena, listed_visit, &listed, &cursor, fault);
    if (err == OK && listed.seq == 0)
        erasure->until = 0;
    else if (err == OK) {
        err = erasure_do(erasure, reader, listed.person, listed.seq, &documents, fault);
        *again = err == OK;
        if (err == OK && documents > 0)
            log_line(LOG_INFO, "ops", "an erasure was ended that had begun before the start",
                     "seq=%llu documents=%u", (unsigned long long)listed.seq, documents);
    }
    arena_free(&arena);
    return err;
}

enum err erasure_step(struct erasure *erasure, struct reader *reader, bool *again,
                      struct fault *fault) {
    uint64_t reached = 0;
    *again = false;
    pthread_mutex_lock(&erasure->lock);
    enum err err = reader->ops->seq(reader, &reached, fault);
    if (err == OK && reached >= erasure->until)
        err = step_locked(erasure, reader, again, fault);
    pthread_mutex_unlock(&erasure->lock);
    return err;
}

void erasure_expect(struct erasure *erasure, uint64_t seq) {
    pthread_mutex_lock(&erasure->lock);
    if (erasure->until < seq)
        erasure->until = seq;
    pthread_mutex_unlock(&erasure->lock);
}

bool erasure_pending(struct erasure *erasure) {
    pthread_mutex_lock(&erasure->lock);
    bool pending = erasure->until > 0;
    pthread_mutex_unlock(&erasure->lock);
    return pending;
}

/* --- asking for one ----------------------------------------------------------------------- */

/* The journal says it. */
static enum err erase_record(struct erasure *erasure, struct str person,
                             const struct erasure_by *by, struct arena *arena,
                             struct customer_erasure *out, struct fault *fault) {
    struct command command;
    enum err err = command_prepare(erasure->options.core, &customer_erase_command, arena, out,
                                   &command, fault);
    if (err != OK)
        return err;
    command.args[0] = person;
    command.actor = by->actor;
    command.correlation = by->correlation;
    command.from = by->from;
    return ask_core(erasure->options.core, &command, fault);
}

/* Whether there is anything to erase; when it was erased last. */
static enum err person_look(struct erasure *erasure, struct reader *reader, struct str person,
                            struct arena *arena, bool *live, struct erasure_result *out,
                            struct fault *fault) {
    struct finding f;
    struct str cursor;
    struct listed listed = {.arena = arena};
    struct row_filter same = {ERASURES_PERSON, ROW_EQ, row_text(person)};
    struct row_query rows = {.table = &erasures_table, .filters = &same, .filter_count = 1,
                             .sort_column = ERASURES_SEQ, .limit = 1};
    enum err err = reader->ops->wait(reader, core_seq(erasure->options.core), WAIT_MS, fault);
    if (err == OK)
        err = reader->ops->list(reader, &rows, arena, listed_visit, &listed, &cursor, fault);
    if (err != OK)
        return err;
    finding_begin(&f, reader, person, UINT64_MAX, fault);
    err = person_find(&f);
    *live = err == OK && keys_live(erasure, &f.keys) > 0;
    out->seq = listed.seq;
    out->erased_us = listed.erased_us;
    if (err == OK && !f.known && f.other.len)
        err = fault_set(fault, ERR_CONFLICT, "it belongs to %.*s: erase that",
                        (int)(f.other.len < 100 ? f.other.len : 100), f.other.ptr);
    else if (err == OK && !f.known && listed.seq == 0)
        err = fault_set(fault, ERR_NOT_FOUND, "nobody is known as %.*s",
                        (int)(person.len < 100 ? person.len : 100), person.ptr);
    finding_end(&f);
    return err;
}

static enum err run_locked(struct erasure *erasure, struct reader *reader, struct str person,
                           const struct erasure_by *by, struct arena *arena,
                           struct erasure_result *out, struct fault *fault) {
    bool again = true, live = false;
    enum err err = OK;
    while (err == OK && again) /* in the order of the journal */
        err = step_locked(erasure, reader, &again, fault);
    if (err == OK)
        err = person_look(erasure, reader, person, arena, &live, out, fault);
    if (err != OK || (!live && out->seq != 0))
        return err;
    struct customer_erasure asked = {.has = 0};
    err = erase_record(erasure, person, by, arena, &asked, fault);
    if (err != OK)
        return err;
    out->seq = asked.seq;
    out->erased_us = asked.erased_us;
    err = erasure_do(erasure, reader, person, asked.seq, &out->documents, fault);
    if (err != OK) /* it is asked for: what is left is done with the next one, or by the steps */
        erasure->until = asked.seq;
    return err;
}

enum err erasure_run(struct erasure *erasure, struct reader *reader, struct str person,
                     const struct erasure_by *by, struct arena *arena,
                     struct erasure_result *out, struct fault *fault) {
    *out = (struct erasure_result){0};
    pthread_mutex_lock(&erasure->lock);
    enum err err = run_locked(erasure, reader, person, by, arena, out, fault);
    pthread_mutex_unlock(&erasure->lock);
    return err;
}

/* --- the route ---------------------------------------------------------------------------- */

static enum err erase_query(struct query *query, struct fault *fault) {
    struct erasure_result result;
    struct erasure_by by = {query->actor, query->correlation, query->from};
    enum err err = erasure_run(query->ctx, query->reader, query->args[0], &by, query->arena,
                               &result, fault);
    if (err != OK)
        return err;
    buf_lit(query->out, "{\"customer_id\":");
    buf_json_str(query->out, query->args[0]);
    buf_lit(query->out, ",\"erased_at\":\"");
    instant_write(query->out, (struct instant){.us = result.erased_us});
    buf_printf(query->out, "\",\"seq\":%llu,\"documents\":%u}", (unsigned long long)result.seq,
               result.documents);
    query->seq = result.seq;
    return OK;
}

const struct route erasure_routes[] = {
    {.method = "DELETE", .path = "/v1/customers/{customer_id}", .scope = "customers:erase",
     .traffic = CLASS_OPS, .flags = ROUTE_TWO_PERSONS, .query = erase_query, .answer = &customer_erasure_shape,
     .refusals = ROUTE_REFUSES(ERR_NOT_FOUND, ERR_CONFLICT),
     .help = "Erase a person: a customer's number, a guest's order, or a payload. What is personal "
             "of it can not be read any more, orders and books stay"},
    {.method = NULL},
};
