/* judge_stock: what the requests that took effect, in order, make of the stock; and whether the
 * hub says the same. Positions are known by "SKU\nLOCATION". */
#include <stdlib.h>

#include "base/clock.h"
#include "oracle_priv.h"

struct movement {
    int64_t at_us, delta; /* of on hand */
};
struct position {
    struct values model;   /* from the requests */
    struct values told;    /* the sum of what stock events say */
    int64_t counted_us;    /* of the newest count */
    struct list movements; /* of struct movement */
};
struct line {
    struct str order_id, line_id, sku;
    int64_t open;
};
struct hold {
    struct str id;
    uint32_t first, count; /* in items */
    int64_t expires_us;    /* 0: not known */
    bool ended;
};
struct hold_item {
    struct str sku;
    uint32_t position;
    int64_t left;
};
struct model {
    struct oracle *o;
    struct index keys, hold_ids, line_ids;
    struct list positions, lines, holds, items;
};

static struct position *position_of(struct model *m, uint32_t at) {
    return &LIST_AT(&m->positions, struct position, at);
}
static uint32_t position_find(struct model *m, struct str sku, struct str location) {
    uint32_t before = m->keys.count;
    uint32_t at =
        index_of(&m->keys, joined(m->o, sku, location.ptr ? location : m->o->source), true);
    if (at == before)
        LIST_ADD(&m->positions, struct position)->counted_us = INT64_MIN;
    return at;
}
static struct str position_name(const struct model *m, uint32_t at) {
    struct str key = m->keys.keys[at], sku = str_cut(&key, '\n');
    return arena_printf(&m->o->arena, "%.*s@%.*s", STR_FMT(sku), STR_FMT(key));
}
static int64_t available(const struct values *v) { return v->on_hand - v->held - v->committed; }

/* More is promised there than before: it must be there. (A correction may find less than was
 * promised; that breaks no promise newly made.) */
static void promised(struct model *m, uint32_t at, const struct op *op,
                     const struct event_seen *event) {
    int64_t left = available(&position_of(m, at)->model);
    if (left < 0)
        oracle_violate(m->o, "oversold", "%.*s by %.*s at seq %llu: %.*s",
                       STR_FMT(position_name(m, at)), STR_FMT(quantity_text(m->o, -left)),
                       (unsigned long long)event->seq, STR_FMT(op->text));
}

static void moved(struct model *m, uint32_t at, int64_t at_us, int64_t delta) {
    struct position *p = position_of(m, at);
    p->model.on_hand += delta;
    *LIST_ADD(&p->movements, struct movement) = (struct movement){at_us, delta};
}

/* When the event says that it happened there. */
static int64_t occurred_us(const struct event_seen *event) {
    struct instant at;
    struct str text = member_str(event->data, "occurred_at");
    return text.ptr && instant_parse(text, &at) ? at.us : event->time_us;
}

/* Where the event says that the SKU is meant, or where the request does. */
static uint32_t place_of(struct model *m, const struct op *op, const struct event_seen *event,
                         struct str sku) {
    struct str location = member_str(op->body, "location");
    for
        EACH(change, member(event->data, "changes"))
    if (!location.ptr && str_eq(member_str(change, "sku"), sku))
        location = member_str(change, "location");
    return position_find(m, sku, location);
}

/* --- requests ----------------------------------------------------------------------------------- */

/* The count, and what moved after it. */
static void counted(struct model *m, const struct op *op, const struct event_seen *event) {
    uint32_t at = place_of(m, op, event, member_str(op->body, "sku"));
    struct position *p = position_of(m, at);
    int64_t at_us = occurred_us(event);
    if (at_us < p->counted_us)
        return; /* a newer one is known */
    p->counted_us = at_us;
    p->model.on_hand = member_quantity(op->body, "on_hand", 0);
    for (uint32_t i = 0; i < p->movements.count; i++)
        if (LIST_AT(&p->movements, struct movement, i).at_us > at_us)
            p->model.on_hand += LIST_AT(&p->movements, struct movement, i).delta;
}

static void adjusted(struct model *m, const struct op *op, const struct event_seen *event) {
    uint32_t at = place_of(m, op, event, member_str(op->body, "sku"));
    bool stated = member(op->body, "occurred_at") != NULL;
    if (!stated || occurred_us(event) > position_of(m, at)->counted_us)
        moved(m, at, occurred_us(event), member_quantity(op->body, "delta", 0));
}

static void received(struct model *m, const struct op *op, const struct event_seen *event) {
    struct str sku = member_str(op->body, "sku");
    if (sku.ptr)
        moved(m, place_of(m, op, event, sku), occurred_us(event),
              member_quantity(op->body, "quantity", 0));
    for
        EACH(item, member(op->body, "items"))
    moved(m, place_of(m, op, event, member_str(item, "sku")), occurred_us(event),
          member_quantity(item, "quantity", 0));
}

static void hold_item(struct model *m, const struct op *op, const struct event_seen *event,
                      const struct json *item) {
    struct str sku = member_str(item, "sku");
    uint32_t at = place_of(m, op, event, sku);
    int64_t quantity = member_quantity(item, "quantity", 0);
    position_of(m, at)->model.held += quantity;
    *LIST_ADD(&m->items, struct hold_item) = (struct hold_item){sku, at, quantity};
    promised(m, at, op, event);
}

static void held(struct model *m, const struct op *op, const struct event_seen *event) {
    struct str id = member_str(event->data, "reservation_id");
    struct hold hold = {.id = id.ptr ? id : member_str(op->answer, "reservation_id"),
                        .first = m->items.count};
    struct instant expires;
    struct str text = member_str(event->data, "expires_at");
    if (text.ptr && instant_parse(text, &expires))
        hold.expires_us = expires.us;
    if (member(op->body, "sku"))
        hold_item(m, op, event, op->body);
    for
        EACH(item, member(op->body, "items"))
    hold_item(m, op, event, item);
    hold.count = m->items.count - hold.first;
    uint32_t before = m->hold_ids.count;
    if (hold.id.ptr && index_of(&m->hold_ids, hold.id, true) == before)
        *LIST_ADD(&m->holds, struct hold) = hold;
}

static struct hold *hold_find(struct model *m, struct str id) {
    uint32_t at = id.ptr ? index_of(&m->hold_ids, id, false) : NONE;
    return at == NONE ? NULL : &LIST_AT(&m->holds, struct hold, at);
}

static void hold_end(struct model *m, struct hold *hold) {
    for (uint32_t i = hold->first; i < hold->first + hold->count; i++) {
        struct hold_item *item = &LIST_AT(&m->items, struct hold_item, i);
        position_of(m, item->position)->model.held -= item->left;
        item->left = 0;
    }
    hold->ended = true;
}

/* What a line takes out of the hold it names; answers how much at which position. */
static int64_t hold_take(struct model *m, struct str id, struct str sku, int64_t wanted,
                         uint32_t *position) {
    struct hold *hold = hold_find(m, id);
    int64_t left = 0, taken = 0;
    for (uint32_t i = hold ? hold->first : 0; hold && i < hold->first + hold->count; i++) {
        struct hold_item *item = &LIST_AT(&m->items, struct hold_item, i);
        if (str_eq(item->sku, sku) && item->left > 0 && wanted > 0) {
            int64_t take = item->left < wanted ? item->left : wanted;
            item->left -= take;
            wanted -= take;
            taken += take;
            *position = item->position;
            position_of(m, item->position)->model.held -= take;
        }
        left += item->left;
    }
    if (hold && left == 0)
        hold->ended = true;
    return taken;
}

/* Commits a line where the event says; else at the source. */
static void commit_line(struct model *m, const struct op *op, const struct event_seen *event,
                        struct str line_id, const struct json *line) {
    struct str sku = member_str(line, "sku");
    int64_t quantity = member_quantity(line, "quantity", 0), given = 0;
    uint32_t hold_at = NONE;
    int64_t from_hold = hold_take(m, member_str(line, "reservation_id"), sku, quantity, &hold_at);
    const struct json *reservations = member(event->data, "reservations");
    for
        EACH(reservation, reservations) {
            if (!str_eq(member_str(reservation, "line_id"), line_id))
                continue;
            uint32_t at = position_find(m, sku, member_str(reservation, "location"));
            int64_t more = member_quantity(reservation, "quantity", 0);
            given += more;
            position_of(m, at)->model.committed += more;
            if (at != hold_at || more > from_hold)
                promised(m, at, op, event);
        }
    if (!reservations) {
        uint32_t at = position_find(m, sku, STR_NONE);
        position_of(m, at)->model.committed += quantity;
        if (quantity > from_hold)
            promised(m, at, op, event);
    }
    if (given > quantity)
        oracle_violate(m->o, "oversold", "line %.*s got %.*s of %.*s: %.*s", STR_FMT(line_id),
                       STR_FMT(quantity_text(m->o, given)), STR_FMT(quantity_text(m->o, quantity)),
                       STR_FMT(op->text));
}

static void ordered(struct model *m, const struct op *op, const struct event_seen *event) {
    uint32_t n = 0;
    bool kept = str_is(member_str(event->data, "state"), "held");
    const struct json *stored = member(member(event->data, "order"), "lines");
    uint32_t ids = stored ? stored->count : 0;
    const struct json *same = ids > 0 ? json_first(stored) : NULL;
    for
        EACH(line, member(op->body, "lines")) {
            struct str id =
                member_str(same ? same : line, "line_id"); /* a mapping may give its own */
            n++;
            same = same && n < ids ? json_next(same) : NULL;
            if (!id.ptr)
                id = arena_printf(&m->o->arena, "%u", n);
            index_of(&m->line_ids, joined(m->o, event->subject, id), true);
            *LIST_ADD(&m->lines, struct line) = (struct line){
                event->subject, id, member_str(line, "sku"), member_quantity(line, "quantity", 0)};
            if (!kept) /* an order that is held promises nothing */
                commit_line(m, op, event, id, line);
        }
}

static struct line *line_find(struct model *m, struct str order_id, struct str line_id) {
    uint32_t at = index_of(&m->line_ids, joined(m->o, order_id, line_id), false);
    return at == NONE ? NULL : &LIST_AT(&m->lines, struct line, at);
}

static void line_taken(struct model *m, struct line *line, int64_t quantity, struct str location,
                       bool shipped, const struct event_seen *event) {
    uint32_t at = position_find(m, line->sku, location);
    line->open -= quantity;
    position_of(m, at)->model.committed -= quantity;
    if (shipped)
        moved(m, at, occurred_us(event), -quantity);
}

/* The parts as the request names them, at the source; for hubs whose events do not say. */
static void taken_as_asked(struct model *m, const struct op *op, const struct event_seen *event,
                           bool shipped) {
    const struct json *lines = member(op->body, "lines");
    struct str location = shipped ? member_str(op->body, "location") : STR_NONE;
    for
        EACH(part, lines) {
            struct line *line = line_find(m, event->subject, member_str(part, "line_id"));
            if (line)
                line_taken(m, line, member_quantity(part, "quantity", line->open), location,
                           shipped, event);
        }
    for (uint32_t i = 0; !lines && i < m->lines.count; i++) {
        struct line *line = &LIST_AT(&m->lines, struct line, i);
        if (str_eq(line->order_id, event->subject))
            line_taken(m, line, line->open, location, shipped, event);
    }
}

/* What was shipped or cancelled: where from, the event says; how much, the request. */
static void parts_taken(struct model *m, const struct op *op, const struct event_seen *event,
                        bool shipped) {
    const struct json *told = member(event->data, "lines"), *asked = member(op->body, "lines");
    struct event_seen moment = *event;
    if (shipped && member_str(event->data, "shipped_at").ptr) {
        struct instant at;
        if (instant_parse(member_str(event->data, "shipped_at"), &at))
            moment.time_us = at.us;
    }
    if (!told) {
        taken_as_asked(m, op, &moment, shipped);
        return;
    }
    int64_t sum = 0, wanted = 0;
    for
        EACH(part, told) {
            struct line *line = line_find(m, event->subject, member_str(part, "line_id"));
            int64_t quantity = member_quantity(part, "quantity", 0);
            sum += quantity;
            if (line && member_str(part, "location").ptr)
                line_taken(m, line, quantity, member_str(part, "location"), shipped, &moment);
            else if (line)
                line->open -= quantity; /* was never committed */
            if (line && line->open < 0)
                oracle_violate(m->o, "oversold",
                               "more of line %.*s went than was ordered, at seq %llu",
                               STR_FMT(line->line_id), (unsigned long long)event->seq);
        }
    bool whole = asked != NULL;
    for
        EACH(part, asked) {
            whole = whole && member(part, "quantity");
            wanted += member_quantity(part, "quantity", 0);
        }
    if (whole && sum != wanted)
        oracle_violate(m->o, "stock", "%.*s of %.*s at seq %llu: %.*s",
                       STR_FMT(quantity_text(m->o, sum)), STR_FMT(quantity_text(m->o, wanted)),
                       (unsigned long long)event->seq, STR_FMT(op->text));
}

static void took_effect(struct model *m, const struct op *op, const struct event_seen *event) {
    struct hold *hold;
    switch (op->kind) {
    case OP_COUNT: counted(m, op, event); break;
    case OP_ADJUSTMENT: adjusted(m, op, event); break;
    case OP_RECEIPT: received(m, op, event); break;
    case OP_HOLD: held(m, op, event); break;
    case OP_RELEASE:
        if ((hold = hold_find(m, op->target)) != NULL)
            hold_end(m, hold);
        break;
    case OP_ORDER: ordered(m, op, event); break;
    case OP_CANCEL:
    case OP_SHIPMENT: parts_taken(m, op, event, op->kind == OP_SHIPMENT); break;
    case OP_PAYLOAD:
    case OP_KINDS: break;
    }
}

/* --- the hub's own: timers, and what its events add up to --------------------------------------- */

static void expired(struct model *m, const struct event_seen *event) {
    struct hold *hold = hold_find(m, member_str(event->data, "reservation_id"));
    if (!hold || !str_is(event->kind, "stock.released") ||
        !str_is(member_str(event->data, "reason"), "expired"))
        return;
    if (hold->ended)
        oracle_violate(m->o, "timer", "%.*s ended twice, at seq %llu", STR_FMT(hold->id),
                       (unsigned long long)event->seq);
    if (event->time_us < hold->expires_us)
        oracle_violate(m->o, "timer", "%.*s ended too early, at seq %llu", STR_FMT(hold->id),
                       (unsigned long long)event->seq);
    hold_end(m, hold);
}

static void add_up(struct model *m, const struct event_seen *event) {
    if (!str_starts(event->kind, STR("stock.")))
        return;
    for
        EACH(change, member(event->data, "changes")) {
            struct position *p = position_of(
                m, position_find(m, member_str(change, "sku"), member_str(change, "location")));
            p->told.on_hand += member_quantity(change, "on_hand", 0);
            p->told.held += member_quantity(change, "held", 0);
            p->told.committed += member_quantity(change, "committed", 0);
        }
}

static bool differ(const struct values *a, const struct values *b) {
    return a->on_hand != b->on_hand || a->held != b->held || a->committed != b->committed;
}

static void tell_values(struct model *m, const char *rule, struct str name,
                        const struct values *hub, const struct values *mine, uint64_t seq) {
    oracle_violate(
        m->o, rule,
        "%.*s: on hand, held, committed are %.*s, %.*s, %.*s, should be %.*s, %.*s, %.*s%s",
        STR_FMT(name), STR_FMT(quantity_text(m->o, hub->on_hand)),
        STR_FMT(quantity_text(m->o, hub->held)), STR_FMT(quantity_text(m->o, hub->committed)),
        STR_FMT(quantity_text(m->o, mine->on_hand)), STR_FMT(quantity_text(m->o, mine->held)),
        STR_FMT(quantity_text(m->o, mine->committed)),
        seq ? (const char *)arena_printf(&m->o->arena, " at seq %llu", (unsigned long long)seq).ptr
            : "");
}

/* Reads made when the journal was at `seq`; they are in order of seq. */
static void judge_reads(struct model *m, uint32_t *next, uint64_t seq) {
    for (; *next < m->o->reads.count; ++*next) {
        const struct position_seen *read = &LIST_AT(&m->o->reads, struct position_seen, *next);
        if (read->seq > seq)
            return;
        uint32_t at = position_find(m, read->sku, read->location);
        const struct values *told = &position_of(m, at)->told;
        if (differ(&read->values, told))
            tell_values(m, "read", position_name(m, at), &read->values, told, read->seq);
    }
}

static void judge_positions(struct model *m) {
    struct oracle *o = m->o;
    struct values *seen = calloc(m->keys.count + o->positions.count + 1, sizeof *seen);
    must(seen);
    for (uint32_t i = 0; i < o->positions.count; i++) {
        const struct position_seen *p = &LIST_AT(&o->positions, struct position_seen, i);
        uint32_t at = position_find(m, p->sku, p->location);
        seen[at] = p->values;
        if (p->values.available != available(&p->values))
            oracle_violate(o, "stock", "%.*s at %.*s: %.*s available", STR_FMT(p->sku),
                           STR_FMT(p->location), STR_FMT(quantity_text(o, p->values.available)));
    }
    for (uint32_t i = 0; i < m->keys.count; i++) {
        const struct position *p = position_of(m, i);
        struct str name = position_name(m, i);
        if (differ(&seen[i], &p->model))
            tell_values(m, "stock", name, &seen[i], &p->model, 0);
        if (differ(&seen[i], &p->told))
            tell_values(m, "conserved", name, &seen[i], &p->told, 0);
    }
    free(seen);
}

static void model_free(struct model *m) {
    for (uint32_t i = 0; i < m->positions.count; i++)
        free(position_of(m, i)->movements.items);
    free(m->positions.items);
    free(m->lines.items);
    free(m->holds.items);
    free(m->items.items);
    index_free(&m->keys);
    index_free(&m->hold_ids);
    index_free(&m->line_ids);
}

void judge_stock(struct oracle *o) {
    struct model m = {.o = o};
    uint32_t read = 0;
    for (uint32_t i = 0; i < o->events.count; i++) {
        const struct event_seen *event = event_at(o, i);
        judge_reads(&m, &read, event->seq - 1);
        if (event->op != NONE)
            took_effect(&m, op_at(o, event->op), event);
        else
            expired(&m, event);
        add_up(&m, event);
    }
    judge_reads(&m, &read, UINT64_MAX);
    for (uint32_t i = 0; o->quiet && i < m.holds.count; i++) {
        const struct hold *hold = &LIST_AT(&m.holds, struct hold, i);
        if (!hold->ended && hold->expires_us != 0 && hold->expires_us <= o->quiet_us)
            oracle_violate(o, "timer", "%.*s should have ended by itself", STR_FMT(hold->id));
    }
    judge_positions(&m);
    model_free(&m);
}
