/* judge: the rules but for those of stock. See oracle.h for their names. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/decimal.h"
#include "oracle_priv.h"

/* The event that says that a request took effect. */
static const char *const kinds[OP_KINDS] = {
    [OP_ORDER] = "order.captured",      [OP_CANCEL] = "order.cancelled",
    [OP_SHIPMENT] = "order.shipped",    [OP_COUNT] = "stock.counted",
    [OP_ADJUSTMENT] = "stock.adjusted", [OP_RECEIPT] = "stock.received",
    [OP_HOLD] = "stock.reserved",       [OP_RELEASE] = "stock.released",
    [OP_PAYLOAD] = "payload.received",
};

void oracle_violate(struct oracle *o, const char *rule, const char *fmt, ...) {
    char text[2048];
    va_list args;
    uint32_t at = index_of(&o->rules, str_c(rule), true);
    must(at < sizeof o->told / sizeof *o->told);
    o->found++;
    if (o->told[at]++ >= ORACLE_LISTED_MAX)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    o->tell(o->ctx, rule, str_c(text));
}

static struct str natural_key(struct oracle *o, const struct json *order) {
    return joined(o, member_str(order, "channel"), member_str(order, "channel_order_id"));
}

/* --- which request each event is of ----------------------------------------------------------- */

/* Several requests may have one correlation id (a bulk) or one natural key (a wrong double). */
struct request_names {
    struct index names;
    struct list of; /* of uint32_t: the first op of each name */
};
static void name_op(struct request_names *names, struct str name, uint32_t op) {
    uint32_t before = names->names.count, at = index_of(&names->names, name, true);
    if (at == before)
        *LIST_ADD(&names->of, uint32_t) = op;
    else if (op != NONE)
        LIST_AT(&names->of, uint32_t, at) = op; /* the last one */
}
static uint32_t named_op(const struct request_names *names, struct str name) {
    uint32_t at = index_of((struct index *)&names->names, name, false);
    return at == NONE ? NONE : LIST_AT(&names->of, uint32_t, at);
}
static void names_free(struct request_names *names) {
    index_free(&names->names);
    free(names->of.items);
}

static void tie_effects(struct oracle *o) {
    struct request_names orders = {0}, others = {0};
    for (uint32_t i = 0; i < o->ops.count; i++) {
        struct op *op = op_at(o, i);
        op->effects = 0;
        op->effect = NONE;
        if (op->kind == OP_ORDER &&
            (op->fate != FATE_REFUSED || named_op(&orders, natural_key(o, op->body)) == NONE))
            name_op(&orders, natural_key(o, op->body), i);
        else if (op->kind != OP_ORDER)
            name_op(&others, op->correlation, i);
    }
    for (uint32_t i = 0; i < o->events.count; i++) {
        struct event_seen *event = event_at(o, i);
        event->op = NONE;
        uint32_t at = str_is(event->kind, kinds[OP_ORDER])
                          ? named_op(&orders, natural_key(o, member(event->data, "order")))
                          : named_op(&others, event->correlation);
        if (at == NONE || !str_is(event->kind, kinds[op_at(o, at)->kind]))
            continue;
        struct op *op = op_at(o, at);
        if (op->effects++ == 0) {
            op->effect = i;
            event->op = at;
        }
    }
    names_free(&orders);
    names_free(&others);
}

/* --- the feed, and what requests were told ---------------------------------------------------- */

static void judge_feed(struct oracle *o) {
    struct index ids = {0};
    for (uint32_t i = 0; i < o->events.count; i++)
        if (event_at(o, i)->seq != i + 1) {
            oracle_violate(o, "hole", "seq %llu where %u was due",
                           (unsigned long long)event_at(o, i)->seq, i + 1);
            break;
        }
    for (uint32_t i = 0; i < o->events.count; i++) {
        uint32_t before = ids.count;
        if (index_of(&ids, event_at(o, i)->id, true) != before)
            oracle_violate(o, "hole", "event id %.*s again at seq %llu",
                           STR_FMT(event_at(o, i)->id), (unsigned long long)event_at(o, i)->seq);
    }
    index_free(&ids);
}

static void judge_fates(struct oracle *o) {
    struct index touched = {0};
    struct request_names keys = {0};
    for (uint32_t i = 0; i < o->events.count; i++)
        if (!str_is(event_at(o, i)->kind, "audit.noted")) /* all that a refusal may leave behind */
            index_of(&touched, event_at(o, i)->correlation, true);
    for (uint32_t i = 0; i < o->ops.count; i++) {
        struct op *op = op_at(o, i);
        if (op->effects > 1)
            oracle_violate(o, "doubled", "%u effects of %.*s", op->effects, STR_FMT(op->text));
        if (op->fate == FATE_ACKNOWLEDGED && op->effects == 0)
            oracle_violate(o, "acknowledged-lost", "%.*s", STR_FMT(op->text));
        if (op->fate == FATE_REFUSED &&
            (op->effects > 0 || index_of(&touched, op->correlation, false) != NONE))
            oracle_violate(o, "refused-stored", "%.*s", STR_FMT(op->text));
        if (op->other)
            oracle_violate(o, "other-answer", "%.*s and %.*s for %.*s", STR_FMT(op->answer->text),
                           STR_FMT(op->other->text), STR_FMT(op->text));
        if (!op->key.ptr || !op->answer || op->fact)
            continue;
        uint32_t other = named_op(&keys, op->key);
        if (other != NONE)
            oracle_violate(o, "key-reused", "%.*s and %.*s were both acknowledged",
                           STR_FMT(op_at(o, other)->text), STR_FMT(op->text));
        name_op(&keys, op->key, i);
    }
    index_free(&touched);
    names_free(&keys);
}

/* --- orders ------------------------------------------------------------------------------------- */

/* Whether the order that is there is the one that was sent, line by line. */
static bool same_order(struct oracle *o, const struct json *sent, const struct json *found) {
    const struct json *a = member(sent, "lines"), *b = member(found, "lines");
    if (!str_eq(natural_key(o, sent), natural_key(o, found)) ||
        !str_eq(member_str(sent, "currency"), member_str(found, "currency")) ||
        !str_eq(member_str(member(sent, "totals"), "grand"),
                member_str(member(found, "totals"), "grand")) ||
        !a || !b || a->count != b->count)
        return false;
    const struct json *x = json_first(a), *y = json_first(b);
    for (uint32_t i = 0; i < a->count; i++) {
        if (!str_eq(member_str(x, "sku"), member_str(y, "sku")) ||
            member_quantity(x, "quantity", 0) != member_quantity(y, "quantity", 0) ||
            !str_eq(member_str(x, "total"), member_str(y, "total")))
            return false;
        x = json_next(x);
        y = json_next(y);
    }
    return true;
}

static void judge_one_order(struct oracle *o, const struct op *op) {
    struct str id = event_at(o, op->effect)->subject;
    uint32_t at = index_of(&o->order_ids, id, false);
    if (at == NONE) {
        oracle_violate(o, "not-whole", "%.*s has its event but is not there: %.*s", STR_FMT(id),
                       STR_FMT(op->text));
        return;
    }
    const struct json *document = LIST_AT(&o->orders, struct order_seen, at).document;
    if (!same_order(o, op->body, document))
        oracle_violate(o, "not-whole", "%.*s for %.*s", STR_FMT(document->text), STR_FMT(op->text));
    if (op->fact || !op->answer)
        return;
    const struct json *answers[] = {op->answer, op->other};
    for (int i = 0; i < 2; i++)
        if (answers[i] && !str_eq(member_str(answers[i], "order_id"), id))
            oracle_violate(o, "other-answer", "%.*s for %.*s, the order is %.*s",
                           STR_FMT(answers[i]->text), STR_FMT(op->text), STR_FMT(id));
}

static void judge_orders(struct oracle *o) {
    struct index ours = {0}, names = {0};
    for (uint32_t i = 0; i < o->ops.count; i++) {
        const struct op *op = op_at(o, i);
        if (op->kind != OP_ORDER || op->effects == 0)
            continue;
        index_of(&ours, event_at(o, op->effect)->subject, true);
        judge_one_order(o, op);
    }
    for (uint32_t i = 0; i < o->events.count; i++) {
        const struct event_seen *event = event_at(o, i);
        if (str_is(event->kind, kinds[OP_ORDER]) && event->op == NONE &&
            index_of(&ours, event->subject, false) == NONE)
            oracle_violate(o, "invented", "order %.*s at %llu", STR_FMT(event->subject),
                           (unsigned long long)event->seq);
    }
    for (uint32_t i = 0; i < o->orders.count; i++) {
        const struct order_seen *order = &LIST_AT(&o->orders, struct order_seen, i);
        uint32_t before = names.count;
        if (index_of(&names, natural_key(o, order->document), true) != before)
            oracle_violate(o, "doubled", "%.*s has the name of another order",
                           STR_FMT(order->order_id));
        if (index_of(&ours, order->order_id, false) == NONE)
            oracle_violate(o, "invented", "order %.*s in the list", STR_FMT(order->order_id));
    }
    index_free(&ours);
    index_free(&names);
}

static void judge_versions(struct oracle *o) {
    struct index orders = {0};
    struct list reached = {0}; /* of int64_t */
    for (uint32_t i = 0; i < o->events.count; i++) {
        const struct event_seen *event = event_at(o, i);
        if (!str_starts(event->kind, STR("order.")))
            continue;
        uint32_t before = orders.count, at = index_of(&orders, event->subject, true);
        if (at == before)
            *LIST_ADD(&reached, int64_t) = 0;
        int64_t *last = &LIST_AT(&reached, int64_t, at);
        bool captured = str_is(event->kind, kinds[OP_ORDER]);
        int64_t version = member_i64(event->data, "version", captured ? 1 : 0);
        if (version != *last + 1)
            oracle_violate(o, "version", "%.*s went from %lld to %lld at seq %llu",
                           STR_FMT(event->subject), (long long)*last, (long long)version,
                           (unsigned long long)event->seq);
        *last = version;
    }
    for (uint32_t i = 0; i < o->orders.count; i++) {
        const struct order_seen *order = &LIST_AT(&o->orders, struct order_seen, i);
        uint32_t at = index_of(&orders, order->order_id, false);
        int64_t last = at == NONE ? 0 : LIST_AT(&reached, int64_t, at);
        if (last != member_i64(order->document, "version", 0))
            oracle_violate(o, "version", "%.*s is at %lld, its events at %lld",
                           STR_FMT(order->order_id),
                           (long long)member_i64(order->document, "version", 0), (long long)last);
    }
    index_free(&orders);
    free(reached.items);
}

/* --- the ERP's books ------------------------------------------------------------------------------ */

struct sums {
    int64_t hub, erp;
};
static struct sums *sum_of(struct index *currencies, struct list *sums, struct str currency) {
    uint32_t before = currencies->count, at = index_of(currencies, currency, true);
    if (at == before)
        LIST_ADD(sums, struct sums);
    return &LIST_AT(sums, struct sums, at);
}

/* What people were asked about, and what they let go: (subscription, seq). */
struct excused {
    struct index pairs;
};
struct str pair_text(struct oracle *o, struct str subscription, uint64_t seq) {
    return arena_printf(&o->arena, "%.*s:%llu", STR_FMT(subscription), (unsigned long long)seq);
}
static void excused_find(struct oracle *o, struct excused *excused) {
    *excused = (struct excused){0};
    for (uint32_t i = 0; i < o->held.count; i++) {
        const struct effect *held = &LIST_AT(&o->held, struct effect, i);
        index_of(&excused->pairs,
                 pair_text(o, o->subscriptions_by_name.keys[held->subscription], held->seq), true);
    }
    for (uint32_t i = 0; i < o->events.count; i++) {
        const struct event_seen *event = event_at(o, i);
        if (str_is(event->kind, "delivery.released") &&
            str_is(member_str(event->data, "action"), "discard"))
            index_of(&excused->pairs,
                     pair_text(o, member_str(event->data, "subscription"),
                               (uint64_t)member_i64(event->data, "event_seq", 0)),
                     true);
    }
}
static bool is_excused(struct oracle *o, const struct excused *excused, struct str subscription,
                       uint64_t seq) {
    return index_of((struct index *)&excused->pairs, pair_text(o, subscription, seq), false) !=
           NONE;
}

/* What the hub captured, and whether the books have it once. */
struct books {
    struct index orders;     /* in the books */
    struct list rows;        /* of uint32_t: how many, by order */
    struct index numbers;    /* the hub knows one of */
    struct list last_number; /* of uint32_t */
    struct index captured, currencies;
    struct list sums;
};

static void books_fill(struct oracle *o, struct books *books) {
    *books = (struct books){0};
    for (uint32_t i = 0; i < o->booked.count; i++) {
        const struct booked *row = &LIST_AT(&o->booked, struct booked, i);
        uint32_t before = books->orders.count, at = index_of(&books->orders, row->order_id, true);
        if (at == before)
            LIST_ADD(&books->rows, uint32_t);
        LIST_AT(&books->rows, uint32_t, at)++;
        sum_of(&books->currencies, &books->sums, row->currency)->erp += row->total;
    }
    for (uint32_t i = 0; i < o->numbers.count; i++) {
        uint32_t before = books->numbers.count;
        uint32_t at =
            index_of(&books->numbers, LIST_AT(&o->numbers, struct number_seen, i).order_id, true);
        if (at == before)
            LIST_ADD(&books->last_number, uint32_t);
        LIST_AT(&books->last_number, uint32_t, at) = i;
    }
}

static void books_free(struct books *books) {
    index_free(&books->orders);
    index_free(&books->numbers);
    index_free(&books->captured);
    index_free(&books->currencies);
    free(books->rows.items);
    free(books->last_number.items);
    free(books->sums.items);
}

static void judge_row(struct oracle *o, const struct books *books, const struct booked *row) {
    uint32_t at = index_of(&o->order_ids, row->order_id, false);
    uint32_t known = index_of((struct index *)&books->numbers, row->order_id, false);
    struct str number = STR_NONE;
    if (index_of((struct index *)&books->captured, row->order_id, false) == NONE) {
        oracle_violate(o, "erp-invented", "%.*s, %.*s", STR_FMT(row->order_id),
                       STR_FMT(row->number));
        return;
    }
    if (at == NONE)
        return; /* another rule tells */
    const struct json *order = LIST_AT(&o->orders, struct order_seen, at).document;
    int64_t grand = member_i64(member(order, "totals"), "grand", INT64_MIN + 1);
    if (row->total != grand || !str_eq(row->currency, member_str(order, "currency")))
        oracle_violate(o, "erp-total", "%.*s: %lld %.*s is booked for %lld", STR_FMT(row->order_id),
                       (long long)row->total, STR_FMT(row->currency), (long long)grand);
    if (known != NONE)
        number =
            LIST_AT(&o->numbers, struct number_seen, LIST_AT(&books->last_number, uint32_t, known))
                .number;
    if (!str_eq(number, row->number))
        oracle_violate(o, "erp-number", "%.*s is %.*s there, the hub knows %.*s",
                       STR_FMT(row->order_id), STR_FMT(row->number), STR_FMT(number));
}

static void judge_erp(struct oracle *o, const struct excused *excused) {
    struct books books;
    books_fill(o, &books);
    for (uint32_t i = 0; i < o->events.count; i++) {
        const struct event_seen *event = event_at(o, i);
        uint32_t before = books.captured.count;
        if (!str_is(event->kind, kinds[OP_ORDER]) ||
            index_of(&books.captured, event->subject, true) != before)
            continue;
        uint32_t row = index_of(&books.orders, event->subject, false);
        uint32_t rows = row == NONE ? 0 : LIST_AT(&books.rows, uint32_t, row);
        bool known = is_excused(o, excused, o->erp, event->seq);
        if (rows == 0 && !known)
            oracle_violate(o, "erp-missing", "%.*s", STR_FMT(event->subject));
        if (rows > 1)
            oracle_violate(o, "erp-doubled", "%.*s is %u times in the books",
                           STR_FMT(event->subject), rows);
        uint32_t at = index_of(&o->order_ids, event->subject, false);
        if (at == NONE || (rows == 0 && known))
            continue;
        const struct json *order = LIST_AT(&o->orders, struct order_seen, at).document;
        sum_of(&books.currencies, &books.sums, member_str(order, "currency"))->hub +=
            member_i64(member(order, "totals"), "grand", 0);
    }
    for (uint32_t i = 0; i < o->booked.count; i++)
        judge_row(o, &books, &LIST_AT(&o->booked, struct booked, i));
    for (uint32_t i = 0; i < books.currencies.count; i++) {
        const struct sums *sums = &LIST_AT(&books.sums, struct sums, i);
        if (sums->hub != sums->erp)
            oracle_violate(o, "money", "%.*s: hub %lld, ERP %lld",
                           STR_FMT(books.currencies.keys[i]), (long long)sums->hub,
                           (long long)sums->erp);
    }
    books_free(&books);
}

/* --- deliveries ------------------------------------------------------------------------------------- */

bool subscription_wants(const struct subscription_seen *subscription, struct str kind) {
    const struct json *pattern = subscription->events ? json_first(subscription->events) : NULL;
    for (uint32_t i = 0; pattern && i < subscription->events->count; i++) {
        struct str text = pattern->text;
        if (text.len > 1 && text.ptr[text.len - 1] == '*'
                ? str_starts(kind, str_of(text.ptr, text.len - 1))
                : str_eq(kind, text))
            return true;
        pattern = json_next(pattern);
    }
    return false;
}

/* One subscription's effects: each wanted event once, per lane in order. */
static void judge_subscription(struct oracle *o, uint32_t which, const struct excused *excused) {
    const struct subscription_seen *sub =
        &LIST_AT(&o->subscriptions, struct subscription_seen, which);
    struct index lanes = {0};
    struct list last = {0}; /* of uint64_t, by lane */
    uint8_t *done = calloc(o->events.count + 1, 1);
    must(done);
    for (uint32_t i = 0; i < o->effects.count; i++) {
        const struct effect *effect = &LIST_AT(&o->effects, struct effect, i);
        if (effect->subscription != which)
            continue;
        if (effect->seq == 0 || effect->seq > o->events.count ||
            !subscription_wants(sub, event_at(o, (uint32_t)effect->seq - 1)->kind)) {
            oracle_violate(o, "effect-invented", "%.*s did something for seq %llu",
                           STR_FMT(sub->name), (unsigned long long)effect->seq);
            continue;
        }
        if (done[effect->seq]++)
            oracle_violate(o, "effect-doubled", "%.*s, seq %llu", STR_FMT(sub->name),
                           (unsigned long long)effect->seq);
        if (effect->replay)
            continue; /* what was given up before, in the place that it has now */
        uint32_t before = lanes.count, at = index_of(&lanes, effect->lane, true);
        if (at == before)
            *LIST_ADD(&last, uint64_t) = 0;
        if (LIST_AT(&last, uint64_t, at) > effect->seq)
            oracle_violate(o, "lane-order", "%.*s, lane %.*s: seq %llu behind %llu",
                           STR_FMT(sub->name), STR_FMT(effect->lane),
                           (unsigned long long)effect->seq,
                           (unsigned long long)LIST_AT(&last, uint64_t, at));
        LIST_AT(&last, uint64_t, at) = effect->seq;
    }
    for (uint32_t i = 0; o->quiet && i < o->events.count; i++) {
        const struct event_seen *event = event_at(o, i);
        if (subscription_wants(sub, event->kind) && !done[event->seq <= o->events.count ? event->seq : 0] &&
            !is_excused(o, excused, sub->name, event->seq))
            oracle_violate(o, "undelivered", "%.*s, seq %llu (%.*s)", STR_FMT(sub->name),
                           (unsigned long long)event->seq, STR_FMT(event->kind));
    }
    free(done);
    free(last.items);
    index_free(&lanes);
}

/* --- what partners sent ------------------------------------------------------------------------------- */

/* Every payload stored led to an order of its number, or to an exception or a note that names it. */
static void judge_payloads(struct oracle *o) {
    struct index settled = {0};
    for (uint32_t i = 0; i < o->events.count; i++) {
        const struct event_seen *event = event_at(o, i);
        struct str seq = member_str(event->data, "payload_seq");
        if (seq.ptr && !str_is(event->kind, "payload.retried"))
            index_of(&settled, seq, true);
        if (event->cause.ptr)
            index_of(&settled, event->cause, true);
    }
    for (uint32_t i = 0; o->quiet && i < o->events.count; i++) {
        const struct event_seen *event = event_at(o, i);
        struct str seq = arena_printf(&o->arena, "%llu", (unsigned long long)event->seq);
        if (str_is(event->kind, kinds[OP_PAYLOAD]) && index_of(&settled, seq, false) == NONE)
            oracle_violate(o, "payload", "nothing followed from the payload at seq %.*s",
                           STR_FMT(seq));
    }
    index_free(&settled);
}

uint32_t oracle_judge(struct oracle *o, oracle_tell *tell, void *ctx) {
    struct excused excused;
    o->tell = tell;
    o->ctx = ctx;
    o->found = 0;
    memset(o->told, 0, sizeof o->told);
    tie_effects(o);
    judge_feed(o);
    judge_fates(o);
    judge_orders(o);
    judge_versions(o);
    judge_stock(o);
    excused_find(o, &excused);
    if (o->erp.ptr)
        judge_erp(o, &excused);
    judge_streams(o);
    for (uint32_t i = 0; i < o->subscriptions.count; i++)
        judge_subscription(o, i, &excused);
    judge_ledgers(o);
    judge_discards(o);
    judge_values(o);
    judge_fetches(o);
    judge_hooks(o);
    judge_stops(o);
    judge_accounts(o);
    judge_payloads(o);
    index_free(&excused.pairs);
    return o->found;
}
