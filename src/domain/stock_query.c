/* availability: answered on the caller's thread from published values, never behind the
 * writer. */
#include "base/decimal.h"
#include "core/core.h"
#include "domain/stock_priv.h"

/* Bounds of one question: SKUs times locations. */
#define AVAILABILITY_ITEMS_MAX 10000

struct availability {
    uint64_t has;
    struct str sku, location;
    int64_t on_hand, held, committed, reserved, safety, in_transit, available, version;
};
static const struct shape_field availability_rows[] = {
    SHAPE_ROW(struct availability, sku, SHAPE_ID, "Stock keeping unit"),
    SHAPE_ROW(struct availability, location, SHAPE_CODE, "Where"),
    SHAPE_ROW(struct availability, on_hand, SHAPE_DECIMAL, "What is there"),
    SHAPE_ROW(struct availability, held, SHAPE_DECIMAL, "Held by carts"),
    SHAPE_ROW(struct availability, committed, SHAPE_DECIMAL, "Promised to orders"),
    SHAPE_ROW(struct availability, reserved, SHAPE_DECIMAL, "held + committed"),
    SHAPE_ROW(struct availability, safety, SHAPE_DECIMAL, "Kept back"),
    SHAPE_ROW(struct availability, in_transit, SHAPE_DECIMAL, "On its way there"),
    SHAPE_ROW(struct availability, available, SHAPE_DECIMAL,
              "What can be promised: on hand - reserved - safety"),
    SHAPE_ROW(struct availability, version, SHAPE_INTEGER,
              "Counted up with every change; 0: nothing known yet"),
};
SHAPE_DEFINE(availability_shape, "availability", struct availability,
             "What can be promised at a position", availability_rows);

struct availability_answer {
    struct query *query;
    const struct stock_state *state;
    uint32_t count;
    bool too_many;
};

static void item_add(struct availability_answer *answer, struct str sku, struct str location,
                     const struct position *position) {
    const struct stock_values *values = &position->seen;
    struct availability item = {.has = (1u << (sizeof availability_rows /
                                               sizeof *availability_rows)) - 1,
                                .sku = sku,
                                .location = location,
                                .on_hand = values->on_hand,
                                .held = values->held,
                                .committed = values->committed,
                                .reserved = values->held + values->committed,
                                .version = position->version_seen};
    item.available = item.on_hand - item.reserved - item.safety;
    if (answer->count++)
        buf_char(answer->query->out, ',');
    answer->too_many |= answer->count > AVAILABILITY_ITEMS_MAX;
    shape_encode(&availability_shape, &item, answer->query->out);
}

/* All positions of a SKU that the hub has seen, in the order locations came to be known. */
static void sku_everywhere(struct availability_answer *answer, struct str sku) {
    const struct stock_state *s = answer->state;
    uint32_t id = name_find(&s->skus, sku);
    for (uint32_t i = 0; id != MAP_NONE && i < s->locations.count && !answer->too_many; i++) {
        uint32_t position = position_find_ids(s, id, i);
        if (position != MAP_NONE && s->positions[position].version_seen)
            item_add(answer, sku, s->locations.items[i], &s->positions[position]);
    }
}

static void sku_at(struct availability_answer *answer, struct str sku, struct str location) {
    static const struct position nothing = {0};
    uint32_t position = position_find(answer->state, sku, location);
    item_add(answer, sku, location,
             position == MAP_NONE ? &nothing : &answer->state->positions[position]);
}

static enum err availability_check(const struct query *query, uint32_t *locations,
                                   struct fault *fault) {
    uint32_t skus = 0;
    *locations = 0;
    for (uint32_t i = 0; i < query->value_count; i++) {
        const struct query_value *v = &query->values[i];
        if (str_is(v->name, "sku")) {
            skus++;
            if (!shape_id_valid(v->value))
                fault_add(fault, STR("sku"), "can not be a SKU: 1 to 128 bytes, printable, no space at "
                                             "the ends");
        }
        if (!str_is(v->name, "location"))
            continue;
        ++*locations;
        if (!config_location(core_config(query->reader->core), v->value))
            fault_add(fault, STR("location"), "there is no location %.*s in the configuration",
                      (int)(v->value.len < 64 ? v->value.len : 64), v->value.ptr);
    }
    if (skus == 0)
        fault_add(fault, STR("sku"), "is missing");
    if (fault->count)
        return ERR_INVALID;
    return OK;
}

enum err stock_availability(struct query *query, struct fault *fault) {
    struct core *core = query->reader->core;
    uint32_t locations;
    enum err err = availability_check(query, &locations, fault);
    if (err != OK)
        return err;
    query->seq = core_seq(core);
    buf_lit(query->out, "{\"items\":[");
    core_read_begin(core);
    struct stock_state *s = (struct stock_state *)(uintptr_t)core_state(core, &stock_capability);
    struct availability_answer answer = {.query = query, .state = s};
    pthread_rwlock_rdlock(&s->lock);
    for (uint32_t i = 0; i < query->value_count && !answer.too_many; i++) {
        if (!str_is(query->values[i].name, "sku"))
            continue;
        if (!locations)
            sku_everywhere(&answer, query->values[i].value);
        for (uint32_t k = 0; locations && k < query->value_count && !answer.too_many; k++)
            if (str_is(query->values[k].name, "location"))
                sku_at(&answer, query->values[i].value, query->values[k].value);
    }
    pthread_rwlock_unlock(&s->lock);
    core_read_end(core);
    buf_lit(query->out, "]}");
    if (answer.too_many)
        return fault_set(fault, ERR_TOO_LARGE, "more than %d positions: ask for fewer at a time",
                         AVAILABILITY_ITEMS_MAX);
    return OK;
}
