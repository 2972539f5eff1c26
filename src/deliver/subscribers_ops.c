/* subscribers_ops: what callers ask of a subscription that delivery knows: how far it is, and that
 * what failed is sent again. Owns nothing. */
#include "base/clock.h"
#include "base/json.h"
#include "deliver/deliver_shapes.h"
#include "deliver/pull.h"
#include "deliver/stop.h"
#include "domain/subscribers.h"

/* Its name among the deliveries, in the arena. */
static enum err delivery_of(struct query *query, struct str *delivery, struct fault *fault) {
    struct deliver *d = query->ctx;
    core_read_begin(d->options.core);
    const struct subscriber_entry *entry =
        subscriber_find(core_state(d->options.core, &subscribers_capability), query->args[0]);
    core_read_end(d->options.core);
    if (entry == NULL)
        return fault_set(fault, ERR_NOT_FOUND, "there is no subscription %.*s",
                         (int)(query->args[0].len < 64 ? query->args[0].len : 64), query->args[0].ptr);
    *delivery = arena_str(query->arena, entry->doc.delivery);
    subscriber_release(entry);
    return delivery->ptr ? OK : fault_set(fault, ERR_NOMEM, "no memory for the answer");
}

static enum err progress_query(struct query *query, struct fault *fault) {
    struct deliver *d = query->ctx;
    struct str delivery;
    enum err err = delivery_of(query, &delivery, fault);
    if (err != OK)
        return err;
    uint32_t count = deliver_count(d);
    for (uint32_t i = 0; i < count; i++) {
        struct deliver_stats stats;
        if (deliver_stats(d, i, &stats) && str_eq(stats.subscription, delivery)) {
            deliver_stats_write(query->out, &stats);
            return OK;
        }
    }
    return fault_set(fault, ERR_UNAVAILABLE, "it is being taken up: ask again");
}

/* --- standing still ---------------------------------------------------------------------------- */

static const struct shape_field start_rows[] = {
    SHAPE_ROW(struct ops_decision, reason, SHAPE_TEXT, "Why; kept with the event", .max = 1024),
};
static SHAPE_DEFINE(made_start_shape, "subscription_go_on", struct ops_decision,
                    "Starting a subscription that stands still", start_rows);

/* One that was made a moment ago delivery may not know yet: it does from its next round on. Stopping
 * what is stopped, or starting what goes, changes nothing. */
static enum err made_switch(struct query *query, bool stop, struct fault *fault) {
    struct deliver *d = query->ctx;
    struct str delivery;
    void *body = NULL;
    enum err err = query_body(query, stop ? &subscription_switch_shape : &made_start_shape, &body, fault);
    if (err == OK)
        err = delivery_of(query, &delivery, fault);
    if (err != OK)
        return err;
    struct str reason = ((const struct ops_decision *)body)->reason;
    err = ERR_NOT_FOUND;
    for (int i = 0; i < 2 && err == ERR_NOT_FOUND; i++) {
        struct fault one = {0};
        err = stop ? deliver_subscription_stop(d, delivery, query->actor, reason, &one)
                   : deliver_subscription_start(d, delivery, query->actor, reason, &one);
        if (err != OK && err != ERR_CONFLICT)
            (void)fault_set(fault, err, "%s", one.detail);
    }
    return err == OK || err == ERR_CONFLICT ? subscriber_query(query, fault) : err;
}
static enum err made_stop_query(struct query *query, struct fault *fault) {
    return made_switch(query, true, fault);
}
static enum err made_start_query(struct query *query, struct fault *fault) {
    return made_switch(query, false, fault);
}

/* --- sending again ----------------------------------------------------------------------------- */

struct recover {
    uint64_t has;
    struct instant since;
    int64_t since_seq;
};
enum { RECOVER_SINCE, RECOVER_SINCE_SEQ };
static const struct shape_field recover_rows[] = {
    [RECOVER_SINCE] = SHAPE_ROW(struct recover, since, SHAPE_INSTANT,
                                "Events recorded from then on (all); not in the future"),
    [RECOVER_SINCE_SEQ] = SHAPE_ROW(struct recover, since_seq, SHAPE_INTEGER,
                                    "Events from this seq on (all); one that the journal has, instead of `since`",
                                    .min = 1, .max = INT64_MAX),
};
static SHAPE_DEFINE(recover_shape, "subscription_recover", struct recover, "What is to be sent again",
                    recover_rows);
static const struct shape_field recovered_rows[] = {
    SHAPE_SAID("recovered", SHAPE_INTEGER, "Deliveries that are sent again, and what waits behind each",
               .flags = SHAPE_REQUIRED),
    SHAPE_SAID("more", SHAPE_BOOL, "There are more: call again", .flags = SHAPE_REQUIRED),
};
static SHAPE_DEFINE_SAID(recovered_shape, "subscription_recovered", "What is sent again", recovered_rows);

/* A place that is not there yet is a mistake of who asks, and not "nothing failed since". */
static enum err recover_check(const struct deliver *d, const struct recover *asked, struct fault *fault) {
    uint64_t last = tail_last(d->options.tail);
    if (shape_has(asked, RECOVER_SINCE) && shape_has(asked, RECOVER_SINCE_SEQ))
        fault_add(fault, STR("/since_seq"), "either since or since_seq, not both");
    else if (shape_has(asked, RECOVER_SINCE) && asked->since.us > clock_now_us(d->options.clock))
        fault_add(fault, STR("/since"), "is in the future");
    else if (shape_has(asked, RECOVER_SINCE_SEQ) && (uint64_t)asked->since_seq > last)
        fault_add(fault, STR("/since_seq"), "is beyond the journal, which ends at %llu",
                  (unsigned long long)last);
    return fault->count ? fault_set(fault, ERR_INVALID, "from where on?") : OK;
}

static enum err recover_query(struct query *query, struct fault *fault) {
    struct str delivery;
    void *body = NULL;
    uint64_t recovered;
    bool more;
    enum err err = query_body(query, &recover_shape, &body, fault);
    const struct recover *asked = body;
    if (err == OK)
        err = recover_check(query->ctx, asked, fault);
    if (err == OK)
        err = delivery_of(query, &delivery, fault);
    if (err == OK)
        err = subscriber_recover(query->ctx, delivery, (uint64_t)asked->since_seq, asked->since.us,
                                 query->actor, &recovered, &more, fault);
    if (err == OK)
        buf_printf(query->out, "{\"recovered\":%llu,\"more\":%s}", (unsigned long long)recovered,
                   more ? "true" : "false");
    return err;
}

/* --- pulling: answered by gateway/pull_stage.c ------------------------------------------------ */

enum err pull_query(struct query *query, struct fault *fault) {
    return fault_set(fault, ERR_INTERNAL, "delivery answers this");
}

#define LEASES                                                                                     \
    SHAPE_ROW(struct pull_body, leases, SHAPE_LIST, "Leases, as pull answered them",               \
              .flags = SHAPE_REQUIRED, .min = 1, .max = PULL_BATCH_MAX)
#define LEASE_S                                                                                    \
    SHAPE_ROW(struct pull_body, lease_s, SHAPE_INTEGER,                                            \
              "Seconds until the events are handed out again, to whoever asks (60)", .min = 1, .max = 43200)
static const struct shape_field take_rows[] = {
    SHAPE_ROW(struct pull_body, max, SHAPE_INTEGER, "Events at most (10)", .min = 1, .max = PULL_BATCH_MAX),
    SHAPE_ROW(struct pull_body, wait_s, SHAPE_INTEGER, "Seconds to wait where there are none (0)", .min = 0,
              .max = 20),
    LEASE_S,
};
SHAPE_DEFINE(pull_take_shape, "pull", struct pull_body, "How many events, and for how long", take_rows);
static const struct shape_field ack_rows[] = {LEASES};
SHAPE_DEFINE(pull_ack_shape, "pull_ack", struct pull_body, "What is done", ack_rows);
static const struct shape_field nack_rows[] = {
    LEASES,
    SHAPE_ROW(struct pull_body, delay_s, SHAPE_INTEGER,
              "Seconds before they are handed out again (1, and longer each time)", .min = 0, .max = 86400),
};
SHAPE_DEFINE(pull_nack_shape, "pull_nack", struct pull_body, "What is given back", nack_rows);
static const struct shape_field extend_rows[] = {LEASES, LEASE_S};
SHAPE_DEFINE(pull_extend_shape, "pull_extend", struct pull_body, "What takes longer", extend_rows);

static const struct shape_field item_rows[] = {
    SHAPE_SAID("lease", SHAPE_TEXT, "To be named in ack, nack, extend", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("delivery", SHAPE_INTEGER, "How often it was handed out, this time too",
               .flags = SHAPE_REQUIRED),
    SHAPE_SAID("event", SHAPE_OPEN, "The CloudEvent; its id is the same each time",
               .flags = SHAPE_REQUIRED),
};
static SHAPE_DEFINE_SAID(item_shape, "pulled_event", "An event, leased", item_rows);
static const struct shape_field pulled_rows[] = {
    SHAPE_SAID("items", SHAPE_LIST, "Events, at most one of a key", .shape = &item_shape,
               .flags = SHAPE_REQUIRED),
    SHAPE_SAID("lease_until", SHAPE_INSTANT, "When the leases end", .flags = SHAPE_REQUIRED),
};
static SHAPE_DEFINE_SAID(pulled_shape, "pulled", "Events that were handed out", pulled_rows);
static const struct shape_field leases_rows[] = {
    SHAPE_SAID("leases", SHAPE_INTEGER, "How many were named", .flags = SHAPE_REQUIRED),
};
static SHAPE_DEFINE_SAID(leases_shape, "pull_leases", "Leases that were dealt with", leases_rows);

#define PATH "/v1/subscriptions/{name}"
#define PULLS                                                                                      \
    .scope = "subscriptions:pull", .traffic = CLASS_BULK, .query = pull_query,                     \
    .refusals = ROUTE_REFUSES(ERR_NOT_FOUND, ERR_CONFLICT)
const struct route subscriber_routes_delivered[] = {
    {.method = "GET", .path = PATH "/progress", .scope = "subscriptions:read", .traffic = CLASS_OPS,
     .query = progress_query, .answer = &subscription_shape, .refusals = ROUTE_REFUSES(ERR_NOT_FOUND),
     .help = "How far a subscription is, and how it fares"},
    {.method = "POST", .path = PATH "/stop", .scope = "subscriptions:write", .traffic = CLASS_OPS,
     .query = made_stop_query, .body = &subscription_switch_shape, .answer = &subscriber_shape,
     .refusals = ROUTE_REFUSES(ERR_NOT_FOUND),
     .help = "Let a subscription stand still, with a reason; what it wants waits in the journal"},
    {.method = "POST", .path = PATH "/start", .scope = "subscriptions:write", .traffic = CLASS_OPS,
     .query = made_start_query, .body = &made_start_shape, .answer = &subscriber_shape,
     .flags = ROUTE_BODY_MAY, .refusals = ROUTE_REFUSES(ERR_NOT_FOUND),
     .help = "Let a subscription that stands still go on where it stood, whatever stopped it"},
    {.method = "POST", .path = PATH "/recover", .scope = "subscriptions:write", .traffic = CLASS_OPS,
     .query = recover_query, .body = &recover_shape, .answer = &recovered_shape,
     .flags = ROUTE_BODY_MAY | ROUTE_AUDITED, .refusals = ROUTE_REFUSES(ERR_NOT_FOUND),
     .help = "Send again what failed and is held, from a time or an event on"},
    {.method = "POST", .path = PATH "/pull", PULLS, .body = &pull_take_shape, .answer = &pulled_shape,
     .flags = ROUTE_BODY_MAY, .help = "Events that wait, each leased for a time: of a key one at a time"},
    {.method = "POST", .path = PATH "/ack", PULLS, .body = &pull_ack_shape, .answer = &leases_shape,
     .help = "Leased events are done: they are not handed out again. May be said twice",
     .more = "After its lease ended an event can still be acknowledged, as long as nobody else has it; "
             "else 409, and nothing of the call happens."},
    {.method = "POST", .path = PATH "/nack", PULLS, .body = &pull_nack_shape, .answer = &leases_shape,
     .help = "Give leased events back, to be handed out again"},
    {.method = "POST", .path = PATH "/extend", PULLS, .body = &pull_extend_shape,
     .answer = &leases_shape, .help = "Let leases end so many seconds from now"},
    {.method = NULL},
};
