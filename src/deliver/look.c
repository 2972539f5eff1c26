/* look: what the mappings and scripts of deliveries can see of the hub besides what all mappings can
 * (connect/asking.h): look("order", order_id) is the order as it was captured.
 *
 * It is asked for through the writer and read from the journal: the run that wants it ends, and is made
 * again once it is there. What is personal is in it where the subscription may see it. */
#include "core/event.h"
#include "core/tail.h"
#include "deliver/deliver_priv.h"
#include "domain/orders.h"

static const struct attempt_look *look_find(const struct attempt *attempt, struct str order_id) {
    for (uint32_t i = 0; i < attempt->look_count; i++)
        if (str_eq(attempt->looks[i].order_id, order_id))
            return &attempt->looks[i];
    return NULL;
}

static enum err look_order(struct attempt *attempt, struct str order_id, const struct json **out,
                           struct fault *fault) {
    const struct attempt_look *known = look_find(attempt, order_id);
    if (known) {
        *out = known->order;
        return OK;
    }
    if (attempt->look_count == DELIVER_LOOKS_MAX)
        return fault_set(fault, ERR_INVALID, "look: at most %d orders in a delivery", DELIVER_LOOKS_MAX);
    attempt->look_wanted = arena_str(&attempt->arena, order_id);
    return attempt->look_wanted.ptr ? fault_set(fault, ERR_UNAVAILABLE, "the order is being read")
                                    : fault_set(fault, ERR_NOMEM, "no memory for a question");
}

static enum err look_code(void *ctx, const struct mapping_code *ask, struct arena *arena,
                          struct str *out, struct fault *fault) {
    return asking_hub.code(&((struct deliver *)ctx)->asking, ask, arena, out, fault);
}

static enum err look(void *ctx, const struct mapping_look *ask, struct arena *arena,
                     const struct json **out, struct fault *fault) {
    struct deliver *d = ctx;
    if (!str_is(ask->what, "order"))
        return asking_hub.look(&d->asking, ask, arena, out, fault);
    if (ask->key_count != 1 || !d->looking)
        return fault_set(fault, ERR_INVALID, "look(\"order\"): the hub's id of the order");
    return look_order(d->looking, ask->keys[0], out, fault);
}

const struct mapping_hub deliver_hub = {.code = look_code, .look = look};

enum err look_run(struct attempt *attempt, const struct json *document, const struct json **out,
                  struct fault *fault) {
    struct deliver *d = attempt->deliver;
    attempt->look_wanted = STR_NONE;
    d->looking = attempt;
    enum err err = mapper_run(d->mapper, attempt->send->source, document, &attempt->arena, out, fault);
    d->looking = NULL;
    return err;
}

/* --- orders ---------------------------------------------------------------------------------- */

bool look_fetch(struct attempt *attempt, void (*resume)(struct attempt *attempt)) {
    struct deliver *d = attempt->deliver;
    struct fault fault = {0};
    if (!attempt->look_wanted.len)
        return false;
    enum err err = order_ask(d->options.core, attempt->look_wanted, &attempt->arena, &attempt->command,
                             &fault);
    if (err != OK) {
        attempt_later(attempt, &fault);
        return true;
    }
    attempt->command.correlation = attempt->correlation;
    attempt->command.if_match = -1;
    attempt->command.origin = &d->origin;
    attempt->command.origin_ctx = attempt;
    attempt->look_resume = resume;
    attempt->stage = STAGE_LOOK;
    attempt_submit(attempt);
    return true;
}

struct order_reading {
    struct attempt *attempt;
    const struct json *order;
    enum err err;
    struct fault *fault;
};

static bool order_read(void *ctx, const struct record *record) {
    struct order_reading *reading = ctx;
    struct attempt *attempt = reading->attempt;
    struct deliver *d = attempt->deliver;
    const struct json *event = NULL;
    struct buf text;
    buf_init(&text, 0);
    reading->err = event_write_cloudevent(record, d->options.config->cell, attempt_keyring(attempt),
                                          d->parser, &attempt->arena, &text, reading->fault);
    struct str copy = buf_ok(&text) ? arena_str(&attempt->arena, buf_str(&text)) : STR_NONE;
    buf_free(&text);
    if (reading->err == OK)
        reading->err = copy.ptr ? json_parse(d->parser, &attempt->arena, copy, false, &event, reading->fault)
                                : fault_set(reading->fault, ERR_NOMEM, "no memory for an order");
    if (reading->err == OK)
        reading->order = json_at(event, STR("/data/order"));
    return false;
}

void look_fetched(struct attempt *attempt) {
    struct fault fault = {0};
    struct order_reading reading = {.attempt = attempt, .fault = &fault};
    enum err err = attempt->command.answer.err;
    uint64_t next;
    if (err == OK) {
        err = tail_read(attempt->deliver->options.tail, order_asked_seq(&attempt->command), 1,
                        order_read, &reading, &next, &fault);
        err = err == OK ? reading.err : err;
    } else if (err == ERR_NOT_FOUND) {
        err = OK; /* look() answers nil */
    } else {
        fault_set(&fault, err, "%s", attempt->command.answer.fault.detail);
    }
    if (err != OK) {
        attempt_later(attempt, &fault);
        return;
    }
    attempt->looks[attempt->look_count++] =
        (struct attempt_look){.order_id = attempt->look_wanted, .order = reading.order};
    attempt->stage = STAGE_SEND;
    attempt->look_resume(attempt);
}
