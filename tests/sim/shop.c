/* shop: who sends commands: tills, web shops, a warehouse. Each request is kept with what was
 * answered, so that it can be sent again where the answer was lost, or out of impatience, and the
 * oracle is told both. What they know of orders and holds is what they were answered. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "connect/receive.h"
#include "domain/customers.h"
#include "domain/list.h"
#include "broker.h"
#include "sim.h"

#define SKUS 5
#define RETRY_WITHIN_US (INT64_C(5) * 86400 * 1000000) /* less than idempotency_days */

struct request {
    uint32_t number;
    const char *kind; /* as the oracle has it */
    const char *type; /* of the command; NULL: a webhook */
    struct str body;  /* as it is sent; own memory */
    char target[64], key[24];
    bool pending, acknowledged, settled; /* settled: its last answer was certain */
    bool offered;    /* never sent: it is fetched */
    bool keyless;    /* sent without its key: nobody knows whether that was used */
    int64_t sent_us; /* first */
};

/* A command that the hub has. */
struct sending {
    struct sending *next;
    struct sim *sim;
    uint32_t request; /* in requests; NONE: a look at `order` */
    uint32_t order;
    const struct customer_erasure *erasure; /* NULL: it is none */
    struct arena arena;
    struct command command;
};
#define NONE UINT32_MAX

struct known_order {
    char id[64];
    int64_t version; /* at least */
    bool gone;       /* nothing left to do with it */
};

struct shop {
    struct command_origin origin; /* first */
    struct sim *sim;
    struct request *requests;
    uint32_t count, cap;
    struct sending *sendings;
    struct known_order *orders;
    uint32_t order_count, order_cap;
    char (*holds)[64];
    uint32_t hold_count, hold_cap;
    uint64_t acknowledged; /* highest seq */
    uint32_t unknown;
};

static void *grown(void *items, uint32_t count, uint32_t *cap, size_t size) {
    if (count < *cap)
        return items;
    *cap = *cap ? 2 * *cap : 64;
    items = mem_resize(items, *cap * size);
    must(items);
    return items;
}

/* --- answers ---------------------------------------------------------------------------------- */

static void keep_order(struct shop *shop, struct str id, int64_t version) {
    if (!id.ptr || id.len >= 64)
        return;
    for (uint32_t i = 0; i < shop->order_count; i++)
        if (str_is(id, shop->orders[i].id)) {
            if (version > shop->orders[i].version)
                shop->orders[i].version = version;
            return;
        }
    shop->orders = grown(shop->orders, shop->order_count, &shop->order_cap, sizeof *shop->orders);
    struct known_order *order = &shop->orders[shop->order_count++];
    *order = (struct known_order){.version = version};
    memcpy(order->id, id.ptr, id.len);
}

static void keep_answer(struct shop *shop, struct str body) {
    struct sim *sim = shop->sim;
    const struct json *doc;
    struct fault fault = {0};
    int64_t version = 0;
    if (json_parse(sim->parser, &sim->arena, body, false, &doc, &fault) != OK)
        violate(sim, "answer", "an answer is no JSON: %.*s", STR_FMT(body));
    const struct json *value = doc->kind == JSON_OBJECT ? json_member(doc, STR("version")) : NULL;
    if (value && json_i64(value, &version))
        keep_order(shop, json_member_str(doc, STR("order_id")), version);
    struct str hold =
        doc->kind == JSON_OBJECT ? json_member_str(doc, STR("reservation_id")) : STR_NONE;
    if (!hold.ptr || hold.len >= 64)
        return;
    shop->holds = grown(shop->holds, shop->hold_count, &shop->hold_cap, sizeof *shop->holds);
    memset(shop->holds[shop->hold_count], 0, 64);
    memcpy(shop->holds[shop->hold_count++], hold.ptr, hold.len);
}

static void request_lost(struct shop *shop, struct request *request) {
    request->settled = false;
    observe(shop->sim, "{\"answered\":{\"op\":%u,\"status\":null}}", request->number);
}

static void request_answered(struct shop *shop, struct request *request,
                             const struct answer *answer) {
    int status = answer->err == OK ? answer->status : err_info(answer->err)->status;
    bool certain = answer->err == OK || err_info(answer->err)->disposition == FINAL;
    if (!certain || status >= 500) {
        request_lost(shop, request);
        return;
    }
    request->settled = true;
    if (answer->err != OK) {
        observe(shop->sim, "{\"answered\":{\"op\":%u,\"status\":%d}}", request->number, status);
        return;
    }
    request->acknowledged = true;
    if (answer->seq > shop->acknowledged)
        shop->acknowledged = answer->seq;
    observe(shop->sim, "{\"answered\":{\"op\":%u,\"status\":%d,\"document\":%.*s}}",
            request->number, status, STR_FMT(answer->body));
    keep_answer(shop, answer->body);
}

/* What was acknowledged is there, and at least as new. */
static void order_answered(struct shop *shop, struct known_order *order,
                           const struct answer *answer, struct str kind) {
    struct sim *sim = shop->sim;
    const struct json *doc;
    struct fault fault = {0};
    int64_t version = 0;
    if (answer->err == ERR_NOT_FOUND)
        violate(sim, "order-lost", "%s was acknowledged and is not there", order->id);
    if (answer->err != OK)
        return; /* the disk did not let it be read */
    if (json_parse(sim->parser, &sim->arena, answer->body, false, &doc, &fault) != OK ||
        !json_member(doc, STR("version")) ||
        !json_i64(json_member(doc, STR("version")), &version) || version < order->version)
        violate(sim, "order-stale", "%s is at version %lld, acknowledged was %lld", order->id,
                (long long)version, (long long)order->version);
    order->version = version;
    if (kind.ptr)
        observe(sim, "{\"%.*s\":%.*s}", STR_FMT(kind), STR_FMT(answer->body));
}

static void sending_end(struct shop *shop, struct sending *sending) {
    struct sending **at = &shop->sendings;
    while (*at != sending)
        at = &(*at)->next;
    *at = sending->next;
    arena_free(&sending->arena);
    mem_free(sending);
}

static void answers_came(struct command_origin *origin, struct command *first) {
    struct shop *shop = (struct shop *)origin;
    struct sim *sim = shop->sim;
    for (struct command *command = first, *next; command; command = next) {
        struct sending *sending = command->origin_ctx;
        struct fault fault = {0};
        next = command->next;
        if (!sim->dying && command_unfinished(command))
            command->answer.err = command_finish(sim->reader, command, &fault);
        if (sending->erasure) {
            if (!sim->dying && command->answer.err == OK)
                erasure_expect(sim->erasure, sending->erasure->seq);
        } else if (sending->request == NONE) {
            if (!sim->dying)
                order_answered(shop, &shop->orders[sending->order], &command->answer, STR_NONE);
        } else {
            struct request *request = &shop->requests[sending->request];
            request->pending = false;
            if (sim->dying || chance(sim, 12) == 0) /* a connection broke */
                request_lost(shop, request);
            else
                request_answered(shop, request, &command->answer);
        }
        sending_end(shop, sending);
    }
}

void shop_lost(struct sim *sim) {
    struct shop *shop = sim->shop;
    while (shop->sendings) {
        struct sending *sending = shop->sendings;
        if (sending->request != NONE) {
            shop->requests[sending->request].pending = false;
            request_lost(shop, &shop->requests[sending->request]);
        }
        sending_end(shop, sending);
    }
}

/* --- sending ------------------------------------------------------------------------------------ */

static struct sending *sending_new(struct shop *shop) {
    struct sending *sending = mem_zalloc(sizeof *sending);
    must(sending);
    sending->sim = shop->sim;
    sending->request = NONE;
    arena_init(&sending->arena, 0);
    sending->next = shop->sendings;
    shop->sendings = sending;
    return sending;
}

static void submit(struct sending *sending, struct fault *fault, enum err *err) {
    sending->command.origin = &sending->sim->shop->origin;
    sending->command.origin_ctx = sending;
    if (*err == OK)
        *err = core_submit(sending->sim->core, &sending->command, fault);
}

static struct str no_header(void *ctx, struct str name) {
    (void)ctx;
    (void)name;
    return STR_NONE;
}

/* Body to command; ERR_… as the gateway would answer. */
static enum err prepare(struct sending *sending, const struct request *request,
                        struct fault *fault) {
    struct sim *sim = sending->sim;
    struct arena *arena = &sending->arena;
    struct str text = arena_str(arena, request->body);
    if (!request->type) {
        static const struct receive_header_source headers = {no_header, NULL};
        return receive_prepare(sim->core, &sim->connectors, STR("sim-partner"), STR("orders"),
                               &headers, text, sim->parser, arena, &sending->command, fault);
    }
    const struct command_type *type =
        registry_command(core_registry(sim->core), str_c(request->type));
    const struct json *value;
    void *body = NULL;
    must(type);
    enum err err = OK;
    if (type->shape) {
        err = json_parse(sim->parser, arena, text, false, &value, fault);
        if (err == OK)
            err = shape_decode(type->shape, value, arena, STR(""), &body, fault);
    }
    if (err == OK)
        err = command_prepare(sim->core, type, arena, body, &sending->command, fault);
    return err;
}

static void request_send(struct shop *shop, uint32_t at, bool with_key) {
    struct request *request = &shop->requests[at];
    struct sending *sending = sending_new(shop);
    struct fault fault;
    fault_init(&fault, &sending->arena);
    sending->request = at;
    request->pending = true;
    request->keyless = request->keyless || !with_key;
    enum err err = prepare(sending, request, &fault);
    if (err == OK) {
        struct command *command = &sending->command;
        command->correlation = arena_printf(&sending->arena, "c%u", request->number);
        if (request->type)
            command->actor = STR("key_shop");
        if (request->target[0])
            command->args[0] = arena_str(&sending->arena, str_c(request->target));
        if (with_key && request->key[0] && request->type) {
            command->idem_scope = STR("key_shop");
            command->idem_key = arena_str(&sending->arena, str_c(request->key));
        }
    }
    submit(sending, &fault, &err);
    if (err == OK)
        return;
    struct answer answer = {.err = err};
    request->pending = false;
    request_answered(shop, request, &answer);
    sending_end(shop, sending);
}

/* A new request; `body` is what is sent, `judged` what the oracle is to know of it. */
static uint32_t request_note(struct shop *shop, const char *kind, const char *type, struct str body,
                             struct str judged, const char *target, const char *key) {
    struct sim *sim = shop->sim;
    shop->requests = grown(shop->requests, shop->count, &shop->cap, sizeof *shop->requests);
    struct request *request = &shop->requests[shop->count++];
    *request =
        (struct request){.number = shop->count, .kind = kind, .type = type, .sent_us = sim->now_us};
    char *copy = mem_alloc(body.len + 1);
    must(copy);
    memcpy(copy, body.ptr, body.len);
    request->body = str_of(copy, body.len);
    snprintf(request->target, sizeof request->target, "%s", target ? target : "");
    if (key)
        snprintf(request->key, sizeof request->key, "%s", key);
    else if (chance(sim, 4) > 0)
        snprintf(request->key, sizeof request->key, "k%u", request->number);
    observe(sim,
            "{\"sent\":{\"op\":%u,\"kind\":\"%s\",\"key\":%s%s%s,\"correlation\":\"c%u\","
            "\"target\":\"%s\",\"fact\":%s,\"body\":%.*s}}",
            request->number, kind, request->key[0] ? "\"" : "",
            request->key[0] ? request->key : "null", request->key[0] ? "\"" : "", request->number,
            request->target, type ? "false" : "true", STR_FMT(judged));
    list_line(sim, "%s %s%s%.*s", kind, request->target, request->target[0] ? " " : "",
              STR_FMT(judged));
    sim->result->commands++;
    return shop->count - 1;
}

static void request_new(struct shop *shop, const char *kind, const char *type, struct str body,
                        struct str judged, const char *target, const char *key) {
    request_send(shop, request_note(shop, kind, type, body, judged, target, key), true);
}

/* --- what they ask for ---------------------------------------------------------------------------- */

static const char *const places[] = {"WH-HAM", "WH-BER", "S01"};
static const char *place(struct sim *sim) { return places[chance(sim, 3) ? chance(sim, 2) : 2]; }
static unsigned sku(struct sim *sim) { return (unsigned)chance(sim, SKUS); }

/* An order of one to three SKUs; `wrong`: its sums do not add up. */
static struct str order_body(struct sim *sim, const char *prefix, bool wrong) {
    static const char *const shops[] = {"web-de", "web-de", "hold", "back"};
    struct shop *shop = sim->shop;
    struct buf out;
    unsigned first = sku(sim), lines = 1 + (unsigned)chance(sim, 3);
    int64_t grand = 0;
    buf_init(&out, 0);
    buf_printf(&out,
               "{\"channel\":\"%s\",\"channel_order_id\":\"%s%u\",\"placed_at\":"
               "\"2026-11-23T09:15:00+01:00\",\"currency\":\"EUR\"",
               shops[chance(sim, 4)], prefix, shop->count);
    if (chance(sim, 3) > 0)
        buf_printf(&out,
                   ",\"customer\":{\"customer_id\":\"cust-%u\",\"email\":\"p%u@example.net\","
                   "\"name\":\"Person %u\"}",
                   shop->count % 7, shop->count % 7, shop->count % 7);
    buf_lit(&out, ",\"lines\":[");
    for (unsigned i = 0; i < lines; i++) {
        int64_t quantity = 1 + (int64_t)chance(sim, 4), price = 100 + (int64_t)chance(sim, 9900);
        grand += quantity * price;
        buf_printf(&out,
                   "%s{\"line_id\":\"%u\",\"sku\":\"SKU-%u\",\"quantity\":\"%lld\","
                   "\"unit_price\":%lld,\"total\":%lld",
                   i ? "," : "", i + 1, (first + i) % SKUS, (long long)quantity, (long long)price,
                   (long long)(quantity * price));
        if (shop->hold_count > 0 && chance(sim, 4) == 0)
            buf_printf(&out, ",\"reservation_id\":\"%s\"",
                       shop->holds[shop->hold_count - 1 -
                                   chance(sim, shop->hold_count < 8 ? shop->hold_count : 8)]);
        buf_char(&out, '}');
    }
    buf_printf(&out, "],\"totals\":{\"grand\":%lld}}", (long long)(grand + (wrong ? 777 : 0)));
    struct str text = arena_str(&sim->arena, buf_str(&out));
    buf_free(&out);
    return text;
}

uint32_t shop_offer(struct sim *sim, struct str *order) {
    struct shop *shop = sim->shop;
    struct str body = order_body(sim, "M", false);
    uint32_t at = request_note(shop, "order", NULL, body, body, NULL, NULL);
    struct request *request = &shop->requests[at];
    char *copy = mem_alloc(body.len);
    must(copy);
    memcpy(copy, body.ptr, body.len);
    *order = str_of(copy, body.len);
    request->settled = request->offered = true;
    return request->number;
}

static void send_webhook(struct sim *sim) {
    struct shop *shop = sim->shop;
    uint64_t kind = chance(sim, 8);
    struct str order = order_body(sim, "W", kind == 1);
    struct str message =
        arena_printf(&sim->arena, "{\"message\":\"m%u\",\"number\":\"n%llu\"%s%.*s}", shop->count,
                     (unsigned long long)chance(sim, 4),
                     kind == 0 ? ",\"oder\":" : ",\"order\":", STR_FMT(order));
    if (kind < 2)
        request_new(shop, "payload", NULL, message, message, NULL, NULL);
    else
        request_new(shop, "order", NULL, message, order, NULL, NULL);
}

/* One of the newest orders; NULL: none is known. */
static const char *some_order(struct sim *sim) {
    struct shop *shop = sim->shop;
    uint32_t among = shop->order_count < 12 ? shop->order_count : 12;
    return among ? shop->orders[shop->order_count - 1 - chance(sim, among)].id : NULL;
}

static void send_change(struct sim *sim, bool ship) {
    const char *order = some_order(sim);
    struct str body = STR("{}");
    if (!order)
        return;
    if (chance(sim, 2) == 0)
        body = arena_printf(&sim->arena, "{\"lines\":[{\"line_id\":\"%u\",\"quantity\":\"%u\"}]}",
                            1 + (unsigned)chance(sim, 3), 1 + (unsigned)chance(sim, 3));
    request_new(sim->shop, ship ? "shipment" : "cancel", ship ? "order.ship" : "order.cancel", body,
                body, order, NULL);
}

static void send_stock(struct sim *sim, enum step_kind kind) {
    struct arena *arena = &sim->arena;
    struct shop *shop = sim->shop;
    struct str body;
    switch (kind) {
    case STEP_COUNT:
        body = arena_printf(arena, "{\"sku\":\"SKU-%u\",\"location\":\"%s\",\"on_hand\":\"%u\"}",
                            sku(sim), place(sim), (unsigned)chance(sim, 40));
        request_new(shop, "count", "stock.count", body, body, NULL, NULL);
        break;
    case STEP_ADJUST: {
        int delta = (int)chance(sim, 13) - 6;
        body = arena_printf(arena,
                            "{\"sku\":\"SKU-%u\",\"location\":\"%s\",\"delta\":\"%d\","
                            "\"reason\":\"found\"}",
                            sku(sim), place(sim), delta ? delta : 7);
        request_new(shop, "adjustment", "stock.adjust", body, body, NULL, NULL);
        break;
    }
    case STEP_RECEIVE:
        body = arena_printf(
            arena,
            "{\"location\":\"%s\",\"receipt_reference\":\"R%u\",\"items\":[{\"sku\":"
            "\"SKU-%u\",\"quantity\":\"%u\"},{\"sku\":\"SKU-%u\",\"quantity\":\"1.5\"}]}",
            place(sim), shop->count, sku(sim), 1 + (unsigned)chance(sim, 30), sku(sim));
        request_new(shop, "receipt", "stock.receive", body, body, NULL, NULL);
        break;
    default: must_failed("a step of the shop", __FILE__, __LINE__);
    }
}

static void send_hold(struct sim *sim) {
    bool channel = chance(sim, 2);
    struct str body = arena_printf(
        &sim->arena, "{\"%s\":\"%s\",\"sku\":\"SKU-%u\",\"quantity\":\"%u\",\"expires_in_s\":%u}",
        channel ? "channel" : "location", channel ? "web-de" : place(sim), sku(sim),
        1 + (unsigned)chance(sim, 5), 1 + (unsigned)chance(sim, 900));
    request_new(sim->shop, "hold", "stock.hold", body, body, NULL, NULL);
}

static void send_release(struct sim *sim) {
    struct shop *shop = sim->shop;
    if (shop->hold_count == 0)
        return;
    uint64_t among = shop->hold_count < 6 ? shop->hold_count : 6;
    request_new(shop, "release", "stock.release", STR("{}"), STR("{}"),
                shop->holds[shop->hold_count - 1 - chance(sim, among)], NULL);
}

/* A customer, or a guest by the order. */
static void send_erase(struct sim *sim) {
    struct sending *sending = sending_new(sim->shop);
    struct fault fault = {0};
    const char *order = chance(sim, 3) == 0 ? some_order(sim) : NULL;
    struct str person =
        order ? str_c(order) : arena_printf(&sim->arena, "cust-%u", (unsigned)chance(sim, 7));
    struct customer_erasure *body = arena_new(&sending->arena, struct customer_erasure);
    must(body);
    sending->erasure = body;
    enum err err = command_prepare(sim->core, &customer_erase_command, &sending->arena, body,
                                   &sending->command, &fault);
    sending->command.args[0] = arena_str(&sending->arena, person);
    sending->command.actor = STR("key_ops");
    list_line(sim, "erase %.*s", STR_FMT(person));
    submit(sending, &fault, &err);
    if (err != OK)
        sending_end(sim->shop, sending);
}

/* --- once more -------------------------------------------------------------------------------------- */

static bool may_repeat(const struct shop *shop, const struct request *request) {
    return !request->pending && !request->offered && shop->sim->latest_us - request->sent_us < RETRY_WITHIN_US &&
           (request->key[0] || !request->type || request->settled);
}

/* Without an Idempotency-Key a request must not be repeated, but for those with natural keys. */
static bool has_natural_key(const struct request *request) {
    return !request->type || str_is(str_c(request->kind), "order") ||
           str_is(str_c(request->kind), "receipt");
}

static void send_again(struct sim *sim) {
    struct shop *shop = sim->shop;
    if (shop->count == 0)
        return;
    uint32_t from = (uint32_t)chance(sim, shop->count);
    for (uint32_t i = 0; i < shop->count; i++) { /* what is unknown first */
        struct request *request = &shop->requests[(from + i) % shop->count];
        bool wanted = !request->settled || i > 6;
        if (!wanted || !may_repeat(shop, request) || !(request->key[0] || has_natural_key(request)))
            continue;
        bool with_key = !has_natural_key(request) || chance(sim, 3) > 0;
        list_line(sim, "%s c%u once more%s", request->kind, request->number,
                  with_key ? "" : ", without its key");
        request_send(shop, (from + i) % shop->count, with_key);
        return;
    }
}

/* Another request under a key that was used: must be refused. */
static void send_other(struct sim *sim) {
    struct shop *shop = sim->shop;
    for (uint32_t i = 0; i < shop->count; i++) {
        struct request *request = &shop->requests[shop->count - 1 - i];
        if (!request->acknowledged || request->keyless || !request->key[0] || !request->type ||
            sim->latest_us - request->sent_us >= RETRY_WITHIN_US)
            continue;
        struct str body = arena_printf(&sim->arena,
                                       "{\"sku\":\"SKU-%u\",\"location\":\"S01\",\"delta\":\"%u\","
                                       "\"reason\":\"another %u\"}",
                                       sku(sim), 1 + (unsigned)chance(sim, 9), shop->count);
        char key[24];
        snprintf(key, sizeof key, "%s", request->key);
        request_new(shop, "adjustment", "stock.adjust", body, body, NULL, key);
        return;
    }
}

uint32_t shop_retry_all(struct sim *sim) {
    struct shop *shop = sim->shop;
    uint32_t unknown = 0;
    for (uint32_t i = 0; i < shop->count; i++) {
        struct request *request = &shop->requests[i];
        if (request->settled)
            continue;
        if (!request->pending && !(request->key[0] || has_natural_key(request)))
            continue; /* nobody will ever know */
        unknown++;
        if (!request->pending)
            request_send(shop, i, true);
    }
    return unknown;
}

/* --- looking ------------------------------------------------------------------------------------------ */

uint32_t shop_sku_count(void) { return SKUS; }
uint64_t shop_acknowledged(const struct sim *sim) { return sim->shop->acknowledged; }

static const struct route *availability_route(void) {
    for (const struct capability *const *c = domain_capabilities; *c; c++)
        for (const struct route *r = (*c)->routes; r && r->method; r++)
            if (str_is(str_c(r->path), "/v1/availability"))
                return r;
    must_failed("availability has a route", __FILE__, __LINE__);
}

void shop_read_stock(struct sim *sim, uint32_t number, const char *kind) {
    char name[16];
    snprintf(name, sizeof name, "SKU-%u", number);
    struct reader reader = {.core = sim->core};
    struct query_value value = {STR("sku"), str_c(name)};
    struct arena arena;
    struct fault fault = {0};
    struct buf out;
    arena_init(&arena, 0);
    buf_init(&out, 0);
    struct query query = {
        .arena = &arena, .reader = &reader, .values = &value, .value_count = 1, .out = &out};
    if (availability_route()->query(&query, &fault) != OK)
        violate(sim, "answer", "availability: %s", fault.detail);
    struct json_parser *parser = json_parser_create();
    const struct json *doc;
    must(parser && json_parse(parser, &arena, buf_str(&out), false, &doc, &fault) == OK);
    const struct json *items = json_member(doc, STR("items")), *item = json_first(items);
    for (uint32_t i = 0; i < items->count; i++) {
        observe(sim, "{\"%s\":{\"seq\":%llu,%.*s}", kind, (unsigned long long)query.seq,
                (int)item->text.len - 1, item->text.ptr + 1);
        item = json_next(item);
    }
    json_parser_destroy(parser);
    buf_free(&out);
    arena_free(&arena);
}

static enum err look_prepare(struct sending *sending, struct str id, struct fault *fault) {
    const struct command_type *type =
        registry_command(core_registry(sending->sim->core), STR("order.get"));
    must(type);
    void *body = arena_alloc(&sending->arena, type->shape->size);
    must(body);
    enum err err =
        command_prepare(sending->sim->core, type, &sending->arena, body, &sending->command, fault);
    sending->command.args[0] = arena_str(&sending->arena, id);
    return err;
}

static void look(struct sim *sim) {
    struct shop *shop = sim->shop;
    if (shop->order_count == 0)
        return;
    struct sending *sending = sending_new(shop);
    struct fault fault = {0};
    sending->order = (uint32_t)chance(sim, shop->order_count);
    enum err err = look_prepare(sending, str_c(shop->orders[sending->order].id), &fault);
    submit(sending, &fault, &err);
    if (err != OK)
        sending_end(shop, sending);
}

static void look_answered(struct command_origin *origin, struct command *first) {
    (void)origin;
    must(!first->next);
}

void shop_observe_orders(struct sim *sim) {
    struct shop *shop = sim->shop;
    struct command_origin origin = {.deliver = look_answered};
    for (uint32_t i = 0; i < shop->order_count; i++) {
        struct sending *sending = sending_new(shop);
        struct fault fault = {0};
        enum err err = look_prepare(sending, str_c(shop->orders[i].id), &fault);
        sending->command.origin = &origin;
        if (err == OK)
            err = core_submit(sim->core, &sending->command, &fault);
        core_step(sim->core);
        if (err == OK && command_unfinished(&sending->command))
            sending->command.answer.err = command_finish(sim->reader, &sending->command, &fault);
        if (err != OK || sending->command.answer.err != OK)
            violate(sim, "order-lost", "%s: %s", shop->orders[i].id,
                    err == OK && !fault.detail[0] ? sending->command.answer.fault.detail
                                                  : fault.detail);
        order_answered(shop, &shop->orders[i], &sending->command.answer, STR("order"));
        sending_end(shop, sending);
    }
}

/* --- steps ---------------------------------------------------------------------------------------------- */

void shop_step(struct sim *sim, enum step_kind kind) {
    struct shop *shop = sim->shop;
    struct str body;
    switch (kind) {
    case STEP_ORDER:
        body = order_body(sim, "O", false);
        request_new(shop, "order", "order.capture", body, body, NULL, NULL);
        break;
    case STEP_WEBHOOK: send_webhook(sim); break;
    case STEP_CANCEL:
    case STEP_SHIP: send_change(sim, kind == STEP_SHIP); break;
    case STEP_HOLD: send_hold(sim); break;
    case STEP_RELEASE: send_release(sim); break;
    case STEP_ERASE: send_erase(sim); break;
    case STEP_MARKET: market_step(sim); break;
    case STEP_PUBLISH: broker_publish(sim); break;
    case STEP_AGAIN: send_again(sim); break;
    case STEP_OTHER: send_other(sim); break;
    case STEP_READ: shop_read_stock(sim, sku(sim), "read"); break;
    case STEP_LOOK: look(sim); break;
    default: send_stock(sim, kind);
    }
}

struct shop *shop_create(struct sim *sim) {
    struct shop *shop = mem_zalloc(sizeof *shop);
    must(shop);
    shop->origin.deliver = answers_came;
    shop->sim = sim;
    return shop;
}

void shop_order_seen(struct sim *sim, struct str id) { keep_order(sim->shop, id, 1); }

void shop_destroy(struct shop *shop) {
    for (uint32_t i = 0; i < shop->count; i++)
        mem_free((void *)(uintptr_t)shop->requests[i].body.ptr);
    mem_free(shop->requests);
    mem_free(shop->orders);
    mem_free(shop->holds);
    mem_free(shop);
}
