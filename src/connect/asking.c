/* asking: see asking.h. Holds nothing but what its callers gave. */
#include "connect/asking.h"

#include "core/tail.h"
#include "domain/cross_references.h"
#include "domain/orders.h"
#include "domain/stock.h"

static enum err asking_code(void *ctx, const struct mapping_code *ask, struct arena *arena,
                            struct str *out, struct fault *fault) {
    const struct asking *asking = ctx;
    core_read_begin(asking->core);
    enum err err = cross_reference_find(core_state(asking->core, &cross_references_capability),
                                        ask->system, ask->kind, ask->text, ask->out, arena, out);
    core_read_end(asking->core);
    return err ? fault_set(fault, err, "no memory for a code") : OK;
}

static enum err look_availability(const struct asking *asking, const struct mapping_look *ask,
                                  struct arena *arena, const struct json **out,
                                  struct fault *fault) {
    struct query_value values[2] = {{STR("sku"), ask->keys[0]}, {STR("location"), ask->keys[1]}};
    struct reader reader = {.core = asking->core, .parser = asking->parser};
    struct buf text;
    struct query query = {.arena = arena, .reader = &reader, .values = values,
                          .value_count = ask->key_count, .out = &text};
    if (ask->key_count > 2)
        return fault_set(fault, ERR_INVALID, "look(\"availability\"): a SKU, and perhaps a location");
    buf_init(&text, 0);
    fault->arena = arena;
    enum err err = stock_availability(&query, fault);
    if (err && fault->first)
        fault_set(fault, err, "look(\"availability\"): %.*s %.*s", STR_FMT(fault->first->pointer),
                  STR_FMT(fault->first->detail));
    struct str kept = !err && buf_ok(&text) ? arena_str(arena, buf_str(&text)) : STR_NONE;
    buf_free(&text);
    if (err)
        return err;
    return kept.ptr ? json_parse(asking->parser, arena, kept, false, out, fault)
                    : fault_set(fault, ERR_NOMEM, "no memory for a look");
}

static bool look_same(const struct mapping_look *a, const struct mapping_look *b) {
    bool same = a->key_count == b->key_count && str_eq(a->what, b->what);
    for (uint32_t i = 0; i < a->key_count && same; i++)
        same = str_eq(a->keys[i], b->keys[i]);
    return same;
}

static enum err look_order(struct asking_looks *looks, const struct mapping_look *ask,
                           struct arena *arena, const struct json **out, struct fault *fault) {
    if (ask->key_count > 2)
        return fault_set(fault, ERR_INVALID, "look(\"order\"): the hub's id, or channel and number there");
    for (uint32_t i = 0; i < looks->count; i++) {
        if (look_same(&looks->items[i].look, ask)) {
            *out = looks->items[i].answer;
            return OK;
        }
    }
    if (looks->count == ASKING_LOOKS_MAX)
        return fault_set(fault, ERR_INVALID, "look: at most %d orders for a document", ASKING_LOOKS_MAX);
    struct mapping_look wanted = {.what = arena_str(arena, ask->what), .key_count = ask->key_count};
    bool good = wanted.what.ptr;
    for (uint32_t i = 0; i < ask->key_count; i++) {
        wanted.keys[i] = arena_str(arena, ask->keys[i]);
        good = good && wanted.keys[i].ptr;
    }
    if (!good)
        return fault_set(fault, ERR_NOMEM, "no memory for a look");
    looks->wanted = wanted;
    return fault_set(fault, ERR_UNAVAILABLE, "the order is being read");
}

enum err asking_fetch(const struct asking *asking, struct arena *arena, struct command *out,
                      struct fault *fault) {
    const struct mapping_look *wanted = &asking->looks->wanted;
    return wanted->key_count == 1
               ? order_ask(asking->core, wanted->keys[0], arena, out, fault)
               : order_ask_number(asking->core, wanted->keys[0], wanted->keys[1], arena, out, fault);
}

struct order_reading {
    const struct asking *asking;
    struct arena *arena;
    const struct json *order;
    enum err err;
    struct fault *fault;
};
static bool order_read(void *ctx, const struct record *record) {
    struct order_reading *reading = ctx;
    const struct json *data = NULL;
    struct str text = arena_str(reading->arena, record->data);
    reading->err = text.ptr ? json_parse(reading->asking->parser, reading->arena, text, false, &data,
                                         reading->fault)
                            : fault_set(reading->fault, ERR_NOMEM, "no memory for a look");
    if (reading->err == OK && data->kind == JSON_OBJECT)
        reading->order = json_member(data, STR("order"));
    return false;
}

enum err asking_fetched(const struct asking *asking, struct tail *tail, const struct command *command,
                        struct arena *arena, struct fault *fault) {
    struct asking_looks *looks = asking->looks;
    struct order_reading reading = {.asking = asking, .arena = arena, .fault = fault};
    enum err err = command->answer.err;
    uint64_t next, seq = err == OK ? order_asked_seq(command) : 0;
    if (seq) {
        err = tail_read(tail, seq, 1, order_read, &reading, &next, fault);
        err = err == OK ? reading.err : err;
    } else if (err == ERR_NOT_FOUND) {
        err = OK; /* look() answers nil */
    } else if (err) {
        fault_set(fault, err, "%s", command->answer.fault.detail);
    }
    if (err)
        return err;
    looks->items[looks->count].look = looks->wanted;
    looks->items[looks->count++].answer = reading.order;
    looks->wanted = (struct mapping_look){0};
    return OK;
}

static enum err asking_look(void *ctx, const struct mapping_look *ask, struct arena *arena,
                            const struct json **out, struct fault *fault) {
    struct asking *asking = ctx;
    if (str_is(ask->what, "availability"))
        return look_availability(asking, ask, arena, out, fault);
    if (str_is(ask->what, "order") && asking->looks)
        return look_order(asking->looks, ask, arena, out, fault);
    return fault_set(fault, ERR_INVALID, "look: there is no \"%.*s\": order, availability",
                     (int)(ask->what.len < 64 ? ask->what.len : 64), ask->what.ptr);
}

const struct mapping_hub asking_hub = {.code = asking_code, .look = asking_look};
