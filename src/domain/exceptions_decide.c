/* exceptions_decide: raising a case, what a person decides about one, and what closes one by
 * itself. Pure. Every event about a case counts its version up. */
#include "domain/exceptions_priv.h"

#include "domain/inbound.h"
#include "domain/orders.h"
#include "domain/stops.h"
#include "domain/subscribers.h"

static const struct exceptions_state *state_read(const struct decision *decision) {
    return decision_state(decision, &exceptions_capability);
}

static struct str case_text(struct arena *arena, struct id128 id) {
    return id_text(arena, "exc_", id);
}

static enum err no_memory(struct decision *decision) {
    return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
}

/* --- raising --------------------------------------------------------------------------------- */

/* What is tried once more has failed once more. */
static enum err case_failed(struct decision *decision, const struct waiting *w,
                            const struct exception *e) {
    struct exception_change *change;
    struct str id = case_text(decision_arena(decision), w->id);
    if (!id.ptr || !decision_event(decision, &exception_changed_event, id, (void **)&change))
        return no_memory(decision);
    *change = (struct exception_change){
        .has = 1u << TRIED_EXCEPTION_ID | 1u << TRIED_CHANGE | 1u << TRIED_KIND |
               1u << TRIED_CAUSE | 1u << TRIED_ATTEMPTS | 1u << TRIED_VERSION,
        .exception_id = id, .change = CASE_FAILED, .kind = e->kind, .cause = e->cause,
        .action = e->action, .details = e->details, .mapping = e->mapping,
        .mapping_version = e->mapping_version, .attempts = w->attempts, .version = w->version + 1};
    if (shape_has(e, EXCEPTION_ACTION))
        shape_mark(change, TRIED_ACTION);
    if (shape_has(e, EXCEPTION_DETAILS))
        shape_mark(change, TRIED_DETAILS);
    if (shape_has(e, EXCEPTION_MAPPING))
        shape_mark(change, TRIED_MAPPING);
    if (shape_has(e, EXCEPTION_MAPPING_VERSION))
        shape_mark(change, TRIED_MAPPING_VERSION);
    return OK;
}

enum err exception_raise(struct decision *decision, const struct exception *exception,
                         uint32_t nth) {
    const struct waiting_state *s = &state_read(decision)->waiting;
    struct exception *e;
    struct arena *arena = decision_arena(decision);
    if (exception_waits(exception)) {
        uint32_t slot = waiting_of_payload(s, (uint64_t)exception->payload_seq);
        if (slot != MAP_NONE)
            return case_failed(decision, &s->items[slot], exception);
    }
    struct id128 id = decision_id(decision);
    id.bytes[ID_BYTES - 1] = (uint8_t)(id.bytes[ID_BYTES - 1] + nth);
    struct str text = case_text(arena, id);
    if (!text.ptr || !decision_event(decision, &exception_raised_event, text, (void **)&e))
        return decision_refuse(decision, ERR_NOMEM, "no memory for the exception");
    *e = *exception;
    e->exception_id = text;
    e->version = 1;
    shape_mark(e, EXCEPTION_ID);
    shape_mark(e, EXCEPTION_VERSION);
    return OK;
}

/* A message that comes behind one that waits for a person waits, whatever is wrong with it. */
static enum err raise_decide(struct decision *decision, const struct command *command) {
    const struct exception *e = command->body;
    bool parked = false;
    enum err err = inbound_behind(decision, command, &parked);
    return err == OK && !parked ? exception_raise(decision, e, 0) : err;
}
const struct command_type exception_raise_command = {
    .name = "exception.raise", .shape = &exception_shape, .decide = raise_decide,
    .flags = COMMAND_INTERNAL, .help = "Asks for a person's decision"};

/* --- a person decides ------------------------------------------------------------------------ */

/* The open case that args[0] names, as the person saw it. */
static enum err case_open(struct decision *decision, const struct command *command,
                          const struct waiting **out) {
    const struct exceptions_state *s = state_read(decision);
    struct str id = command->args[0];
    uint32_t slot = case_find(decision_whole_state(decision), id);
    if (slot == MAP_NONE)
        return decision_refuse(decision, ERR_NOT_FOUND, "there is no exception %.*s",
                               (int)(id.len < 64 ? id.len : 64), id.ptr);
    const struct open_case *c = &s->cases[slot];
    if (c->state != CASE_OPEN)
        return decision_refuse(decision, ERR_CONFLICT, "the exception is %s already",
                               c->state == CASE_DISCARDED ? "discarded" : "resolved");
    if (command->if_match > 0 && command->if_match != c->version)
        return decision_refuse(decision, ERR_STALE,
                               "the exception has version %lld, not %lld: look at it again",
                               (long long)c->version, (long long)command->if_match);
    uint32_t waiting = waiting_find(&s->waiting, c->id);
    must(waiting != MAP_NONE);
    *out = &s->waiting.items[waiting];
    return OK;
}

static enum err case_at_rest(struct decision *decision, const struct waiting *w) {
    return w->payload_seq && inbound_is_pending(decision_whole_state(decision), w->payload_seq)
               ? decision_refuse(decision, ERR_CONFLICT, "its message is being processed")
               : OK;
}

/* The same, with a message that can be processed again. */
static enum err case_again(struct decision *decision, const struct command *command,
                           const struct waiting **out) {
    enum err err = case_open(decision, command, out);
    if (err == OK && !(*out)->payload_seq)
        return decision_refuse(decision, ERR_CONFLICT,
                               "no message waits for this exception (%.*s): there is nothing to "
                               "process again",
                               STR_FMT((*out)->kind));
    return err == OK ? case_at_rest(decision, *out) : err;
}

/* exception.changed and payload.retried, and the answer. */
static enum err case_process(struct decision *decision, const struct waiting *w,
                             const struct exception_change *given) {
    struct exception_change *change;
    struct str id = case_text(decision_arena(decision), w->id);
    if (!id.ptr || !decision_event(decision, &exception_changed_event, id, (void **)&change))
        return no_memory(decision);
    *change = *given;
    change->exception_id = id;
    change->attempts = w->attempts + 1;
    change->version = w->version + 1;
    change->has |= 1u << TRIED_EXCEPTION_ID | 1u << TRIED_CHANGE | 1u << TRIED_ATTEMPTS |
                   1u << TRIED_VERSION;
    if (change->reason.len)
        shape_mark(change, TRIED_REASON);
    if (change->by.len)
        shape_mark(change, TRIED_BY);
    uint64_t edition = given->edition_seq ? (uint64_t)given->edition_seq : w->edition_seq;
    enum err err = inbound_again(decision, w->payload_seq, edition);
    return err == OK ? decision_answer(decision, 202, &exception_change_shape, change) : err;
}

static const struct shape_field retry_rows[] = {
    [CASE_RETRY_REASON] = SHAPE_ROW(struct exception_retry, reason, SHAPE_TEXT, "Why"),
    [CASE_RETRY_BY] = SHAPE_ROW(struct exception_retry, by, SHAPE_TEXT, "Who decided"),
};
static SHAPE_DEFINE(exception_retry_shape, "exception_retry_command", struct exception_retry,
                    "A case whose message is processed once more", retry_rows);

static enum err retry_decide(struct decision *decision, const struct command *command) {
    const struct exception_retry *given = command->body;
    const struct waiting *w;
    enum err err = case_again(decision, command, &w);
    return err == OK ? case_process(decision, w,
                                    &(struct exception_change){.change = CASE_RETRIED,
                                                               .reason = given->reason,
                                                               .by = given->by})
                     : err;
}
const struct command_type exception_retry_command = {
    .name = "exception.retry", .shape = &exception_retry_shape, .decide = retry_decide,
    .needs = case_needs, .flags = COMMAND_INTERNAL,
    .help = "Processes the message of a case once more"};

static enum err edit_decide(struct decision *decision, const struct command *command) {
    const struct payload_edit *given = command->body;
    const struct waiting *w;
    struct payload_edit *edit;
    enum err err = case_again(decision, command, &w);
    if (err != OK)
        return err;
    struct str subject = arena_printf(decision_arena(decision), "payload-%llu",
                                      (unsigned long long)w->payload_seq);
    uint64_t seq = decision_seq(decision);
    struct event *event = subject.ptr ? decision_event(decision, &payload_edited_event, subject,
                                                       (void **)&edit)
                                      : NULL;
    if (!event)
        return no_memory(decision);
    decision_seal(decision, event, STR_NONE);
    *edit = *given;
    edit->exception_id = command->args[0];
    edit->payload_seq = (int64_t)w->payload_seq;
    shape_mark(edit, EDIT_EXCEPTION_ID);
    shape_mark(edit, EDIT_PAYLOAD_SEQ);
    struct exception_change change = {.change = CASE_EDITED, .edition_seq = (int64_t)seq,
                                      .reason = given->reason, .by = given->by};
    shape_mark(&change, TRIED_EDITION_SEQ);
    return case_process(decision, w, &change);
}
/* Whose it is shows only when it is mapped: until then it is its own, as the message is. */
static struct str edit_person(const void *body, struct id128 id, struct arena *arena) {
    (void)body;
    return id_text(arena, "pay_", id);
}
const struct command_type exception_edit_command = {
    .name = "exception.edit", .shape = &payload_edit_shape, .decide = edit_decide,
    .person = edit_person, .needs = case_needs, .flags = COMMAND_INTERNAL,
    .help = "Processes another version of the message of a case"};

/* Its answer, where it is the command's own and not a reaction's. */
static enum err case_close(struct decision *decision, const struct waiting *w,
                           const struct resolution *given) {
    struct resolution *r;
    struct arena *arena = decision_arena(decision);
    struct str id = case_text(arena, w->id);
    if (!id.ptr || !decision_event(decision, &exception_resolved_event, id, (void **)&r))
        return no_memory(decision);
    *r = *given;
    r->exception_id = id;
    r->version = w->version + 1;
    if (!r->resolution.len)
        r->resolution = STR(RESOLUTION_DISCARDED);
    shape_mark(r, RESOLUTION_EXCEPTION_ID);
    shape_mark(r, RESOLUTION_VERSION);
    shape_mark(r, RESOLUTION_RESOLUTION);
    if (r->by.len)
        shape_mark(r, RESOLUTION_BY);
    if (w->payload_seq) {
        r->payload_seq = (int64_t)w->payload_seq;
        shape_mark(r, RESOLUTION_PAYLOAD_SEQ);
    }
    if (w->lane.len) {
        r->lane = arena_str(arena, w->lane);
        shape_mark(r, RESOLUTION_LANE);
    }
    return decision_answer(decision, 200, &resolution_shape, r);
}

static enum err resolve_decide(struct decision *decision, const struct command *command) {
    const struct waiting *w;
    enum err err = case_open(decision, command, &w);
    if (err == OK)
        err = case_at_rest(decision, w);
    return err == OK ? case_close(decision, w, command->body) : err;
}
const struct command_type exception_resolve_command = {
    .name = "exception.resolve", .shape = &resolution_shape, .decide = resolve_decide,
    .needs = case_needs, .flags = COMMAND_INTERNAL, .help = "Closes a case with a reason"};

/* --- by itself ------------------------------------------------------------------------------- */

static enum err close_decide(struct decision *decision, const struct command *command) {
    const struct waiting_state *s = &state_read(decision)->waiting;
    struct id128 id;
    must(id_parse(command->args[0], "exc_", &id));
    uint32_t slot = waiting_find(s, id);
    must(slot != MAP_NONE);
    return case_close(decision, &s->items[slot], command->body);
}
const struct command_type exception_close_command = {
    .name = "exception.close", .shape = &resolution_shape, .decide = close_decide,
    .flags = COMMAND_INTERNAL, .help = "Closes a case whose cause has gone"};

static enum err close_issue(struct decision *decision, uint32_t slot, const char *resolution,
                            struct str reason, uint64_t cause) {
    const struct waiting *w = &state_read(decision)->waiting.items[slot];
    struct arena *arena = decision_arena(decision);
    struct resolution *r = arena_new(arena, struct resolution);
    struct str id = case_text(arena, w->id);
    if (!r || !id.ptr || !reason.ptr)
        return ERR_NOMEM;
    *r = (struct resolution){.has = 1u << RESOLUTION_REASON | 1u << RESOLUTION_RESOLUTION,
                             .resolution = str_c(resolution), .reason = reason};
    return decision_issue(decision, &exception_close_command, r, id, cause);
}

/* Events that follow from a message and are no success of it. */
static bool says_nothing(const struct event_type *type) {
    return type == &exception_raised_event || type == &exception_changed_event ||
           type == &exception_resolved_event || str_is(str_c(type->name), "payload.parked") ||
           str_is(str_c(type->name), "payload.expired");
}

/* The message went through: what was asked for is done. */
static enum err message_react(struct decision *decision, const struct event *event) {
    const struct waiting_state *s = &state_read(decision)->waiting;
    if (event->meta.cause <= 0 || says_nothing(event->type) ||
        (event->meta.more > 0 && !str_is(str_c(event->type->name), "payload.settled")))
        return OK; /* or not all of it has */
    uint32_t slot = waiting_of_payload(s, (uint64_t)event->meta.cause);
    if (slot == MAP_NONE)
        return OK;
    const char *how = s->items[slot].edition_seq ? "fixed"
                      : s->items[slot].attempts  ? "retried"
                                                 : "processed";
    return close_issue(decision, slot, how,
                       arena_printf(decision_arena(decision), "its message was processed: %s",
                                    event->type->name),
                       event->seq);
}

/* An order that is cancelled, or complete, is short of nothing. */
static enum err order_react(struct decision *decision, const struct event *event) {
    const struct waiting_state *s = &state_read(decision)->waiting;
    if (event->type != &order_completed_event && event->type != &order_cancelled_event)
        return OK;
    const struct order_change *change = event->data;
    if (event->type == &order_cancelled_event && change->state != ORDER_CANCELLED)
        return OK;
    uint32_t slot = waiting_of_subject(s, event->subject);
    if (slot == MAP_NONE || !str_is(s->items[slot].kind, "shortage"))
        return OK;
    bool cancelled = event->type == &order_cancelled_event;
    return close_issue(decision, slot, cancelled ? "cancelled" : "processed",
                       cancelled ? STR("the order was cancelled") : STR("the order is complete"),
                       event->seq);
}

/* A subscription that was started does not stand still any more, and one that is gone waits for nobody. */
static enum err started_react(struct decision *decision, const struct event *event) {
    const struct waiting_state *s = &state_read(decision)->waiting;
    bool gone = event->type == &subscriber_deleted_event;
    if (!gone && event->type != &subscription_started_event)
        return OK;
    uint32_t slot = waiting_of_subject(
        s, gone ? ((const struct subscriber *)event->data)->delivery : event->subject);
    if (slot == MAP_NONE || !str_is(s->items[slot].kind, CASE_SUBSCRIPTION_STOPPED))
        return OK;
    return close_issue(decision, slot, gone ? "cancelled" : "started",
                       gone ? STR("the subscription was deleted") : STR("the subscription was started"),
                       event->seq);
}

/* What came in with card numbers was masked before anything was done with it: a person is told. */
static enum err cards_react(struct decision *decision, const struct event *event) {
    bool message = strcmp(event->type->name, EVENT_PAYLOAD_RECEIVED) == 0;
    struct exception e = {.kind = STR("card-data"),
                          .subject = message ? ((const struct payload *)event->data)->payload_id
                                             : event->subject,
                          .payload_seq = (int64_t)event->seq, .owner = STR("security"),
                          .action = STR("Find out why the sender sends card numbers; only the payment "
                                        "provider may have them")};
    e.cause = arena_printf(decision_arena(decision),
                           "What looks like a payment card number was masked at %.*s",
                           STR_FMT(event->meta.masked));
    if (!e.cause.ptr)
        return ERR_NOMEM;
    e.has = 1u << EXCEPTION_KIND | 1u << EXCEPTION_SUBJECT | 1u << EXCEPTION_CAUSE |
            1u << EXCEPTION_ACTION | 1u << EXCEPTION_OWNER | 1u << EXCEPTION_PAYLOAD_SEQ;
    /* no cause: what follows from a partner's message would settle it */
    return decision_issue(decision, &exception_raise_command, &e, STR_NONE, 0);
}

enum err exceptions_react(struct decision *decision, const struct event *event) {
    enum err err = OK;
    if (state_read(decision)->waiting.live)
        err = message_react(decision, event);
    if (err == OK && state_read(decision)->waiting.live)
        err = order_react(decision, event);
    if (err == OK && state_read(decision)->waiting.live)
        err = started_react(decision, event);
    if (err == OK && shape_has(&event->meta, EVENT_META_MASKED))
        err = cards_react(decision, event);
    return err;
}
