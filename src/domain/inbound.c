/* inbound: see inbound.h. State: the seqs of pending payloads, ascending. Those at the front
 * are settled first, so the list is an array with a moving start; a settled one in the middle
 * is taken out, which moves what lies before or behind it, whichever is less. */
#include "domain/inbound_priv.h"

#include "base/encode.h"
#include "base/mem.h"
#include "domain/exceptions.h"
#include "domain/items.h"

static const struct shape_field payload_rows[] = {
    [PAYLOAD_ID] = SHAPE_ROW(struct payload, payload_id, SHAPE_ID, "The hub's id of the payload",
                             .flags = SHAPE_READ_ONLY, .owner = "hub"),
    [PAYLOAD_CONNECTOR] = SHAPE_ROW(struct payload, connector, SHAPE_CODE, "Who sent it",
                                    .flags = SHAPE_REQUIRED),
    [PAYLOAD_TOPIC] = SHAPE_ROW(struct payload, topic, SHAPE_CODE, "What it is",
                                .flags = SHAPE_REQUIRED),
    [PAYLOAD_DEDUP_ID] = SHAPE_ROW(struct payload, dedup_id, SHAPE_TEXT,
                                   "The sender's id of the message", .max = 256),
    [PAYLOAD_KEY] = SHAPE_ROW(struct payload, key, SHAPE_TEXT,
                              "Payloads with one key are processed in order", .max = 256),
    [PAYLOAD_CONTENT_TYPE] = SHAPE_ROW(struct payload, content_type, SHAPE_TEXT,
                                       "Content-Type as sent", .max = 256),
    [PAYLOAD_DOCUMENT] = SHAPE_ROW(struct payload, document, SHAPE_RAW,
                                   "The payload as it came, where it is JSON",
                                   .privacy = PERSONAL),
    [PAYLOAD_TEXT] = SHAPE_ROW(struct payload, text, SHAPE_TEXT, "The payload as it came, where it is another text",
                               .max = PAYLOAD_BYTES_MAX, .privacy = PERSONAL),
    [PAYLOAD_BASE64] = SHAPE_ROW(struct payload, base64, SHAPE_TEXT,
                                 "The payload as it came, where it is no text",
                                 .max = 2 * PAYLOAD_BYTES_MAX, .privacy = PERSONAL),
    [PAYLOAD_VERSION] = SHAPE_ROW(struct payload, version, SHAPE_TEXT,
                                  "Version or time of what the key names, as the sender says",
                                  .max = 256),
    [PAYLOAD_BACKSTOP] = SHAPE_ROW(struct payload, backstop, SHAPE_CODE,
                                   "It was fetched in case the webhook of this topic did not bring it"),
};
SHAPE_DEFINE(payload_shape, "payload", struct payload, "What a partner sent", payload_rows);

static const struct shape_field settle_rows[] = {
    [SETTLE_PAYLOAD_SEQ] = SHAPE_ROW(struct payload_settle, payload_seq, SHAPE_INTEGER,
                                     "seq of the event that keeps the payload",
                                     .flags = SHAPE_REQUIRED, .min = 1, .max = INT64_MAX),
    [SETTLE_OUTCOME] = SHAPE_ROW(struct payload_settle, outcome, SHAPE_CODE,
                                 "What became of it: replayed, ignored, stale, nothing-new",
                                 .flags = SHAPE_REQUIRED),
    [SETTLE_REASON] = SHAPE_ROW(struct payload_settle, reason, SHAPE_TEXT, "Why, in words"),
};
static SHAPE_DEFINE(payload_settle_shape, "payload_settle", struct payload_settle,
                    "A payload from which nothing new followed", settle_rows);

static const struct shape_field retry_rows[] = {
    [RETRY_PAYLOAD_SEQ] = SHAPE_ROW(struct payload_retry, payload_seq, SHAPE_INTEGER,
                                    "seq of the event that keeps the payload",
                                    .flags = SHAPE_READ_ONLY, .owner = "hub"),
    [RETRY_EDITION_SEQ] = SHAPE_ROW(struct payload_retry, edition_seq, SHAPE_INTEGER,
                                    "seq of the version of it that is processed, where a person made one",
                                    .flags = SHAPE_READ_ONLY, .owner = "hub"),
};
SHAPE_DEFINE(payload_retry_shape, "payload_retry", struct payload_retry,
             "A payload that is processed once more", retry_rows);

/* --- state ----------------------------------------------------------------------------- */

static void inbound_free(void *part) {
    struct inbound_state *s = part;
    mem_free(s->seqs);
    parked_free(&s->parked);
    partners_free(&s->partners);
}

/* Position of seq, or of the first one above it. */
static uint32_t pending_lower(const struct inbound_state *s, uint64_t seq) {
    uint32_t low = s->first, high = s->end;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (s->seqs[mid] < seq)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool pending_has(const struct inbound_state *s, uint64_t seq) {
    uint32_t at = pending_lower(s, seq);
    return at < s->end && s->seqs[at] == seq;
}

static bool pending_room(struct inbound_state *s) {
    if (s->end < s->cap)
        return true;
    if (s->first > s->cap / 2) {
        memmove(s->seqs, s->seqs + s->first, (s->end - s->first) * sizeof *s->seqs);
        s->end -= s->first;
        s->first = 0;
        return true;
    }
    return MEM_ROOM(s->seqs, s->end, s->cap, 256);
}

static enum err pending_add(struct inbound_state *s, uint64_t seq) {
    if (!pending_room(s))
        return ERR_NOMEM;
    uint32_t at = pending_lower(s, seq);
    if (at < s->end && s->seqs[at] == seq)
        return OK;
    memmove(s->seqs + at + 1, s->seqs + at, (s->end - at) * sizeof *s->seqs);
    s->seqs[at] = seq;
    s->end++;
    return OK;
}

static void pending_remove(struct inbound_state *s, uint64_t seq) {
    uint32_t at = pending_lower(s, seq);
    if (at == s->end || s->seqs[at] != seq)
        return;
    if (at - s->first < s->end - at) {
        memmove(s->seqs + s->first + 1, s->seqs + s->first, (at - s->first) * sizeof *s->seqs);
        s->first++;
    } else {
        memmove(s->seqs + at, s->seqs + at + 1, (s->end - at - 1) * sizeof *s->seqs);
        s->end--;
    }
    if (s->first == s->end)
        s->first = s->end = 0;
}

uint32_t inbound_pending(const void *state, uint64_t from, uint64_t *seqs, uint32_t max) {
    const struct inbound_state *s = state;
    uint32_t at = pending_lower(s, from);
    uint32_t n = s->end - at < max ? s->end - at : max;
    if (n > 0)
        memcpy(seqs, s->seqs + at, n * sizeof *seqs);
    return n;
}

static void inbound_dump(const void *part, struct buf *out) {
    const struct inbound_state *s = part;
    for (uint32_t i = s->first; i < s->end; i++)
        buf_printf(out, "pending %llu\n", (unsigned long long)s->seqs[i]);
    parked_dump(&s->parked, out);
    partners_dump(&s->partners, out);
}

/* A payload that waits is a key alone: its seq. */
static struct hash128 pending_key(uint64_t seq) { return entity_number_key(0, seq); }

static enum err pending_load(void *part, struct hash128 key, struct str bytes, uint32_t *slot) {
    (void)bytes;
    (void)slot;
    return pending_add(part, key.lo);
}

static const struct entity_kind pending_entity = {
    .name = "payload.pending", .flags = ENTITY_RESIDENT,
    .help = "Messages that wait to be processed", .load = pending_load};
static const struct entity_kind *const inbound_entities[] = {&pending_entity, &parked_entity,
                                                             &partner_entity, NULL};

enum err pending_begin(struct state *state, uint64_t seq) {
    struct inbound_state *s = state_of(state, &inbound_capability);
    if (pending_has(s, seq))
        return OK;
    enum err err = pending_add(s, seq);
    return err == OK ? entity_put(state, &pending_entity, pending_key(seq), str_of("", 0)) : err;
}

enum err pending_end(struct state *state, uint64_t seq) {
    struct inbound_state *s = state_of(state, &inbound_capability);
    if (!pending_has(s, seq))
        return OK;
    pending_remove(s, seq);
    return entity_drop(state, &pending_entity, pending_key(seq));
}

/* --- events ---------------------------------------------------------------------------- */

static enum err received_apply(struct state *state, const struct event *event) {
    return pending_begin(state, event->seq);
}

static void received_project(struct rows *rows, const struct event *event) {
    const struct payload *p = event->data;
    rows_ref(rows, p->payload_id);
    if (p->dedup_id.len)
        rows_ref(rows, p->dedup_id);
    if (p->key.len) /* found under the partner's number, also where nothing came of it */
        rows_ref(rows, p->key);
}

static enum err settled_apply(struct state *state, const struct event *event) {
    const struct payload_settle *settle = event->data;
    return pending_end(state, (uint64_t)settle->payload_seq);
}

static enum err retried_apply(struct state *state, const struct event *event) {
    const struct payload_retry *retry = event->data;
    return pending_begin(state, (uint64_t)retry->payload_seq);
}

static const char *const received_reads[] = {"payload_id", "dedup_id", "key", NULL};
static const struct event_type payload_received_event = {
    .name = EVENT_PAYLOAD_RECEIVED, .shape = &payload_shape, .apply = received_apply,
    .project = received_project, .project_reads = received_reads,
    .help = "A partner's message was stored, as it came"};
const struct event_type payload_settled_event = {
    .name = "payload.settled", .shape = &payload_settle_shape, .apply = settled_apply,
    .help = "A stored message brought nothing new"};
static const struct event_type payload_retried_event = {
    .name = EVENT_PAYLOAD_RETRIED, .shape = &payload_retry_shape, .apply = retried_apply,
    .help = "A stored message is to be processed once more"};
static const struct shape_field repair_rows[] = {
    [REPAIR_PAYLOAD_SEQ] = SHAPE_ROW(struct payload_repair, payload_seq, SHAPE_INTEGER,
                                     "seq of the event that keeps what was fetched", .flags = SHAPE_REQUIRED,
                                     .min = 1, .max = INT64_MAX),
    [REPAIR_PAYLOAD_ID] = SHAPE_ROW(struct payload_repair, payload_id, SHAPE_ID, "The hub's id of it"),
    [REPAIR_CONNECTOR] = SHAPE_ROW(struct payload_repair, connector, SHAPE_CODE, "Whose", .flags = SHAPE_REQUIRED),
    [REPAIR_TOPIC] = SHAPE_ROW(struct payload_repair, topic, SHAPE_CODE, "The poll that fetched it",
                               .flags = SHAPE_REQUIRED),
    [REPAIR_BACKSTOP] = SHAPE_ROW(struct payload_repair, backstop, SHAPE_CODE,
                                  "The webhook that had not brought it", .flags = SHAPE_REQUIRED),
};
static SHAPE_DEFINE(repair_shape, "payload_repair", struct payload_repair,
                    "Something that a webhook did not bring, and a backstop poll did", repair_rows);
static const struct event_type payload_repaired_event = {
    .name = "payload.repaired", .shape = &repair_shape,
    .help = "A backstop poll brought what a webhook had not"};

static const struct event_type *const inbound_events[] = {
    &payload_received_event, &payload_settled_event,  &payload_retried_event, &payload_repaired_event,
    &payload_parked_event,   &payload_released_event, &payload_expired_event, NULL};

/* Somebody is asked about a message that waited in vain, or that failed again while it waits: it
 * waits on (inbound_parked.c). */
static bool waits_on(const struct inbound_state *s, const struct event *event) {
    return event->type == &payload_parked_event || event->type == &payload_expired_event ||
           (event->type == &exception_raised_event &&
            str_is(((const struct exception *)event->data)->kind, "parent-missing")) ||
           (event->type == &exception_changed_event &&
            parked_waits(&s->parked, (uint64_t)event->meta.cause));
}

/* What followed from a pending payload settles it, whatever it is. A retry names its payload
 * in its data, not as its cause. */
static enum err inbound_observe(struct state *state, const struct event *event) {
    struct inbound_state *s = state_of(state, &inbound_capability);
    if (event->type == &exception_resolved_event) {
        /* given up while it waited for another one: it does not come again */
        int64_t seq = ((const struct resolution *)event->data)->payload_seq;
        return seq > 0 && s->parked.live ? parked_end(state, (uint64_t)seq) : OK;
    }
    if (event->meta.cause <= 0 || event->type == &payload_parked_event ||
        (event->meta.more > 0 && event->type != &payload_settled_event))
        return OK;
    uint64_t seq = (uint64_t)event->meta.cause;
    enum err err = pending_end(state, seq);
    if (err == OK && waits_on(s, event))
        return OK;
    if (err == OK && s->parked.live)
        err = parked_end(state, seq);
    if (err == OK && event->type != &payload_settled_event &&
        event->type != &exception_raised_event && event->type != &exception_changed_event)
        err = partner_applied(state, event);
    return err;
}

static void inbound_publish(void *part) {
    struct parked_state *parked = &((struct inbound_state *)part)->parked;
    atomic_store_explicit(&parked->seen, parked->live, memory_order_relaxed);
}

static void inbound_metrics(const void *part, struct metrics *out) {
    const struct parked_state *parked = &((const struct inbound_state *)part)->parked;
    metric_add(out, METRIC_PAYLOADS_PARKED, NULL,
               atomic_load_explicit(&parked->seen, memory_order_relaxed));
}

/* --- commands -------------------------------------------------------------------------- */

/* What the sender gets. */
struct payload_answer {
    uint64_t has;
    struct str payload_id;
    int64_t seq;
};
static const struct shape_field answer_rows[] = {
    SHAPE_ROW(struct payload_answer, payload_id, SHAPE_ID, "The hub's id of the payload"),
    SHAPE_ROW(struct payload_answer, seq, SHAPE_INTEGER, "seq of the event that keeps it"),
};
SHAPE_DEFINE(payload_answer_shape, "payload_answer", struct payload_answer,
                    "A message was stored", answer_rows);

/* "shopify/orders-create/ID/<hash of all of it>" */
static struct str natural_key(struct arena *arena, const struct payload *p,
                              struct hash128 fingerprint) {
    return arena_printf(arena, "%.*s/%.*s/%.*s/%016llx%016llx", STR_FMT(p->connector),
                        STR_FMT(p->topic), STR_FMT(p->dedup_id),
                        (unsigned long long)fingerprint.hi, (unsigned long long)fingerprint.lo);
}

static void receive_needs(struct command *command) {
    const struct payload *given = command->body;
    struct str key = given->dedup_id.len > 0
                         ? natural_key(command->arena, given, command->fingerprint)
                         : STR_NONE;
    if (key.ptr)
        command_need_first(command, "payload", key);
    if (given->backstop.len && given->version.len && given->key.len)
        partner_need(command, given->connector, given->key);
}

static enum err receive_decide(struct decision *decision, const struct command *command) {
    const struct payload *given = command->body;
    struct arena *arena = decision_arena(decision);
    enum err err;
    if (given->dedup_id.len > 0) {
        struct str key = natural_key(arena, given, command->fingerprint);
        if (!key.ptr)
            return decision_refuse(decision, ERR_NOMEM, "no memory for the payload");
        if (!decision_first(decision, "payload", key, &err))
            return err;
    }
    if (given->backstop.len && given->version.len && given->key.len &&
        partner_has(decision, given->connector, given->key, given->version)) {
        struct payload_answer nothing = {.has = 2, .seq = (int64_t)decision_seq(decision)};
        return decision_answer(decision, 204, &payload_answer_shape, &nothing);
    }
    struct str id = id_text(arena, "pay_", command->id);
    /* one subject per key: the feed keeps their order */
    struct str subject = given->key.len > 0 ? arena_printf(arena, "%.*s/%.*s",
                                                           STR_FMT(given->connector),
                                                           STR_FMT(given->key))
                                            : id;
    struct payload *payload;
    struct event *event = id.ptr && subject.ptr
                              ? decision_event(decision, &payload_received_event, subject,
                                               (void **)&payload)
                              : NULL;
    if (!event)
        return decision_refuse(decision, ERR_NOMEM, "no memory for the payload");
    decision_seal(decision, event, STR_NONE);
    *payload = *given;
    payload->payload_id = id;
    shape_mark(payload, PAYLOAD_ID);
    struct payload_answer answer = {.has = 3, .payload_id = id,
                                    .seq = (int64_t)decision_seq(decision)};
    return decision_answer(decision, 200, &payload_answer_shape, &answer);
}
/* Whose it is shows only when it is mapped: until then it is its own. */
static struct str receive_person(const void *body, struct id128 id, struct arena *arena) {
    (void)body;
    return id_text(arena, "pay_", id);
}

const struct command_type inbound_receive_command = {
    .name = "inbound.receive", .shape = &payload_shape, .decide = receive_decide,
    .person = receive_person,
    .needs = receive_needs,
    .flags = COMMAND_INTERNAL, .help = "Stores a partner's message"};

static enum err repair_decide(struct decision *decision, const struct command *command) {
    const struct payload_repair *given = command->body;
    struct payload_repair *repair;
    struct str subject = arena_printf(decision_arena(decision), "payload-%lld", (long long)given->payload_seq);
    if (!subject.ptr || !decision_event(decision, &payload_repaired_event, subject, (void **)&repair))
        return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
    *repair = *given;
    return decision_answer(decision, 201, &repair_shape, repair);
}
const struct command_type inbound_repair_command = {
    .name = "inbound.repair", .shape = &repair_shape, .decide = repair_decide,
    .flags = COMMAND_INTERNAL, .help = "Notes that a backstop brought what a webhook had not"};

enum err payload_settle_now(struct decision *decision, const struct command *command,
                            const char *outcome, struct str reason, struct str person) {
    struct payload_settle *settle;
    struct str subject = arena_printf(decision_arena(decision), "payload-%llu",
                                      (unsigned long long)command->cause_seq);
    struct event *event =
        subject.ptr && reason.ptr
            ? decision_event(decision, &payload_settled_event, subject, (void **)&settle)
            : NULL;
    if (!event)
        return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
    decision_seal_none(decision);
    decision_ended(decision);
    *settle = (struct payload_settle){.has = 7, .payload_seq = (int64_t)command->cause_seq,
                                      .outcome = str_c(outcome), .reason = reason};
    if (person.len) {
        event->meta.person = arena_str(decision_arena(decision), person);
        shape_mark(&event->meta, EVENT_META_PERSON);
    }
    return decision_answer(decision, 200, &payload_settle_shape, settle);
}

/* Further commands of the message follow: they, and not this one, settle it. */
static enum err part_done(struct decision *decision, const struct command *command,
                          const char *outcome, struct str reason) {
    struct payload_settle part = {.has = 7, .payload_seq = (int64_t)command->cause_seq,
                                  .outcome = str_c(outcome), .reason = reason};
    decision_seal_none(decision);
    return decision_answer(decision, 200, &payload_settle_shape, &part);
}

enum err inbound_nothing_new(struct decision *decision, const struct command *command,
                             struct str reason, struct str person) {
    if (command->source->more)
        return part_done(decision, command, "nothing-new", reason);
    return payload_settle_now(decision, command, "nothing-new", reason, person);
}

enum err inbound_stale(struct decision *decision, const struct command *command, struct str reason,
                       struct str person) {
    if (command->source->more)
        return part_done(decision, command, "stale", reason);
    return payload_settle_now(decision, command, "stale", reason, person);
}

static enum err settle_decide(struct decision *decision, const struct command *command) {
    const struct inbound_state *s = decision_state(decision, &inbound_capability);
    const struct payload_settle *given = command->body;
    struct payload_settle *settle;
    if (!pending_has(s, (uint64_t)given->payload_seq))
        return decision_answer(decision, 200, &payload_settle_shape, given);
    struct str subject = arena_printf(decision_arena(decision), "payload-%lld",
                                      (long long)given->payload_seq);
    if (!subject.ptr ||
        !decision_event(decision, &payload_settled_event, subject, (void **)&settle))
        return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
    *settle = *given;
    return decision_answer(decision, 200, &payload_settle_shape, settle);
}
const struct command_type inbound_settle_command = {
    .name = "inbound.settle", .shape = &payload_settle_shape, .decide = settle_decide,
    .flags = COMMAND_INTERNAL, .help = "Notes that a message brought nothing new"};

bool inbound_is_pending(const struct state *state, uint64_t seq) {
    return pending_has(state_part(state, &inbound_capability), seq);
}

static struct payload_retry *retry_event(struct decision *decision, uint64_t seq,
                                         uint64_t edition_seq) {
    struct payload_retry *retry;
    struct str subject = arena_printf(decision_arena(decision), "payload-%llu",
                                      (unsigned long long)seq);
    if (!subject.ptr ||
        !decision_event(decision, &payload_retried_event, subject, (void **)&retry))
        return NULL;
    retry->payload_seq = (int64_t)seq;
    shape_mark(retry, RETRY_PAYLOAD_SEQ);
    if (edition_seq) {
        retry->edition_seq = (int64_t)edition_seq;
        shape_mark(retry, RETRY_EDITION_SEQ);
    }
    return retry;
}

enum err inbound_again(struct decision *decision, uint64_t seq, uint64_t edition_seq) {
    return retry_event(decision, seq, edition_seq)
               ? OK
               : decision_refuse(decision, ERR_NOMEM, "no memory for the event");
}

static enum err retry_decide(struct decision *decision, const struct command *command) {
    const struct inbound_state *s = decision_state(decision, &inbound_capability);
    int64_t seq;
    if (!str_i64(command->args[0], &seq) || seq < 1)
        return decision_refuse(decision, ERR_NOT_FOUND, "a payload is named by its seq");
    if (pending_has(s, (uint64_t)seq))
        return decision_refuse(decision, ERR_CONFLICT, "the payload is being processed");
    const struct payload_retry *retry = retry_event(
        decision, (uint64_t)seq,
        exceptions_edition(decision_state(decision, &exceptions_capability), (uint64_t)seq));
    if (!retry)
        return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
    return decision_answer(decision, 202, &payload_retry_shape, retry);
}
const struct command_type inbound_retry_command = {
    .name = "inbound.retry", .shape = NULL, .decide = retry_decide,
    .help = "Processes a stored message once more"};

static const struct command_type *const inbound_commands[] = {
    &inbound_receive_command, &inbound_settle_command, &inbound_retry_command, &inbound_repair_command,
    &inbound_release_command, &inbound_expire_command, NULL};

static const struct table *const inbound_tables[] = {&parked_table, NULL};
static const struct query_param parked_params[] = {
    {"state", false, false, "parked (default), released or expired"},
    {"connector", false, false, "Only this one's"},
    {"limit", false, false, "Items on a page, 1 to 1000 (100)", QUERY_WHOLE, 1, 1000},
    {"cursor", false, false, "next_cursor of the page before"},
    {NULL, false, false, NULL},
};

static const struct route inbound_routes[] = {
    {.method = "GET", .path = "/ops/parked", .scope = "ops:read", .traffic = CLASS_OPS,
     .query = parked_query, .params = parked_params, .answer = &parked_item_shape,
     .help = "Messages that wait for what they are about, as a cancellation for its order"},
    {.method = "POST", .path = "/ops/payloads/{seq}/retry", .scope = "ops:replay",
     .traffic = CLASS_OPS, .command = &inbound_retry_command, .answer = &payload_retry_shape,
     .status = 202, .refusals = ROUTE_REFUSES(ERR_NOT_FOUND, ERR_CONFLICT),
     .help = "Process a stored message once more, after its mapping was mended"},
    {.method = NULL},
};

const struct capability inbound_capability = {
    .name = "inbound",
    .help = "What partners sent, and which of it waits to be processed",
    .commands = inbound_commands,
    .events = inbound_events,
    .routes = inbound_routes,
    .state_size = sizeof(struct inbound_state),
    .state_free = inbound_free,
    .entities = inbound_entities,
    .tables = inbound_tables,
    .observe = inbound_observe,
    .admit = lane_admit,
    .react = parked_react,
    .publish = inbound_publish,
    .metrics = inbound_metrics,
    .timer_next = parked_timer_next,
    .timer_fire = parked_timer_fire,
    .dump = inbound_dump,
};
