/* approvals: see approvals.h. */
#include "domain/approvals.h"

#include <string.h>

#include "base/mem.h"

static const struct shape_field request_rows[] = {
    [APPROVAL_ID] = SHAPE_ROW(struct approval_request, approval_id, SHAPE_ID, "The hub's id of it"),
    [APPROVAL_METHOD] = SHAPE_ROW(struct approval_request, method, SHAPE_CODE, "Of the call",
                                  .flags = SHAPE_REQUIRED),
    [APPROVAL_PATH] = SHAPE_ROW(struct approval_request, path, SHAPE_ID, "Of the route",
                                .flags = SHAPE_REQUIRED),
    [APPROVAL_ARGS] = SHAPE_ROW(struct approval_request, args, SHAPE_LIST, "What stood in the path"),
    [APPROVAL_QUERY] = SHAPE_ROW(struct approval_request, query, SHAPE_TEXT, "Behind the '?'",
                                 .max = 65536),
    [APPROVAL_BODY] = SHAPE_ROW(struct approval_request, body, SHAPE_TEXT, "The call's body",
                                .max = INT64_C(1) << 30, .privacy = PERSONAL),
    [APPROVAL_FINGERPRINT] = SHAPE_ROW(struct approval_request, fingerprint, SHAPE_CODE,
                                       "Of the body"),
    [APPROVAL_REQUESTED_BY] = SHAPE_ROW(struct approval_request, requested_by, SHAPE_TEXT,
                                        "Who asks: the key's name, the token's subject",
                                        .flags = SHAPE_REQUIRED, .max = APPROVAL_PERSON_MAX),
    [APPROVAL_REQUESTER] = SHAPE_ROW(struct approval_request, requester, SHAPE_TEXT, "The actor",
                                     .flags = SHAPE_REQUIRED, .max = APPROVAL_PERSON_MAX),
    [APPROVAL_EXPIRES_AT] = SHAPE_ROW(struct approval_request, expires_at, SHAPE_INSTANT,
                                      "Until when it can be approved"),
    [APPROVAL_STATE] = SHAPE_ROW(struct approval_request, state, SHAPE_CODE, "pending"),
};
SHAPE_DEFINE(approval_request_shape, "approval_request", struct approval_request,
             "A call that waits for a second person", request_rows);

static const struct shape_field step_rows[] = {
    [STEP_ID] = SHAPE_ROW(struct approval_step, approval_id, SHAPE_ID, "Which",
                          .flags = SHAPE_REQUIRED),
    [STEP_STATE] = SHAPE_ROW(struct approval_step, state, SHAPE_CODE,
                             "approved, rejected, executed or failed", .flags = SHAPE_REQUIRED),
    [STEP_BY] = SHAPE_ROW(struct approval_step, by, SHAPE_TEXT, "The second person",
                          .max = APPROVAL_PERSON_MAX),
    [STEP_ACTOR] = SHAPE_ROW(struct approval_step, actor, SHAPE_TEXT, "As what it called",
                             .max = APPROVAL_PERSON_MAX),
    [STEP_REASON] = SHAPE_ROW(struct approval_step, reason, SHAPE_TEXT, "Why"),
    [STEP_REQUESTER] = SHAPE_ROW(struct approval_step, requester, SHAPE_TEXT, "The first actor",
                                 .max = APPROVAL_PERSON_MAX),
    [STEP_REQUESTED_BY] = SHAPE_ROW(struct approval_step, requested_by, SHAPE_TEXT,
                                    "The first person", .max = APPROVAL_PERSON_MAX),
    [STEP_REQUEST_SEQ] = SHAPE_ROW(struct approval_step, request_seq, SHAPE_INTEGER,
                                   "seq of approval.requested"),
    [STEP_AGAIN] = SHAPE_ROW(struct approval_step, again, SHAPE_BOOL,
                             "In answers: it was approved before, and perhaps carried out"),
};
SHAPE_DEFINE(approval_step_shape, "approval_step", struct approval_step,
             "How far a call is that needed a second person", step_rows);

/* --- state ---------------------------------------------------------------------------------- */

struct waiting {
    struct id128 id;
    uint64_t seq; /* of approval.requested */
    int64_t expires_us;
    bool approved; /* and not carried out yet */
    uint32_t person_len, actor_len;
    char person[APPROVAL_PERSON_MAX], actor[APPROVAL_PERSON_MAX];
};
struct approvals_state {
    struct waiting *items; /* in the order they were asked for */
    uint32_t count, cap;
};

static struct waiting *waiting_find(const struct approvals_state *s, struct str approval_id) {
    struct id128 id;
    if (id_parse(approval_id, "apr_", &id))
        for (uint32_t i = 0; i < s->count; i++)
            if (memcmp(&s->items[i].id, &id, sizeof id) == 0)
                return &s->items[i];
    return NULL;
}

static uint32_t text_take(char *to, struct str from) {
    uint32_t len = from.len < APPROVAL_PERSON_MAX ? (uint32_t)from.len : APPROVAL_PERSON_MAX;
    memcpy(to, from.ptr ? from.ptr : "", len);
    return len;
}

static struct waiting *waiting_add(struct approvals_state *s) {
    if (!MEM_ROOM(s->items, s->count, s->cap, 8))
        return NULL;
    s->items[s->count] = (struct waiting){.seq = 0};
    return &s->items[s->count++];
}

static void waiting_save(const struct waiting *w, struct buf *out) {
    pack_uint(out, w->seq);
    pack_int(out, w->expires_us);
    pack_uint(out, w->approved);
    pack_str(out, str_of(w->person, w->person_len));
    pack_str(out, str_of(w->actor, w->actor_len));
}

static enum err waiting_load(void *part, struct hash128 key, struct str bytes, uint32_t *slot) {
    struct unpack in = unpack_of(bytes);
    struct waiting w = {.id = id_of_key(key)};
    (void)slot;
    w.seq = unpack_uint(&in);
    w.expires_us = unpack_int(&in);
    w.approved = unpack_uint(&in) != 0;
    w.person_len = text_take(w.person, unpack_str(&in));
    w.actor_len = text_take(w.actor, unpack_str(&in));
    if (unpack_end(&in) != OK)
        return ERR_DAMAGED;
    struct waiting *to = waiting_add(part);
    if (!to)
        return ERR_NOMEM;
    *to = w;
    return OK;
}

static const struct entity_kind waiting_entity = {
    .name = "approval", .flags = ENTITY_RESIDENT, .help = "Calls that wait for a second person",
    .load = waiting_load};
static const struct entity_kind *const approval_entities[] = {&waiting_entity, NULL};

static enum err waiting_put(struct state *state, const struct waiting *w) {
    struct buf bytes;
    buf_init(&bytes, 4096);
    waiting_save(w, &bytes);
    enum err err = buf_ok(&bytes)
                       ? entity_put(state, &waiting_entity, id_key(w->id), buf_str(&bytes))
                       : ERR_NOMEM;
    buf_free(&bytes);
    return err;
}

static enum err waiting_drop(struct state *state, struct waiting *w) {
    struct approvals_state *s = state_of(state, &approvals_capability);
    struct hash128 key = id_key(w->id);
    s->count--;
    memmove(w, w + 1, (size_t)(s->items + s->count - w) * sizeof *w);
    return entity_drop(state, &waiting_entity, key);
}

/* What nobody approved in time goes, where the next one comes. */
static enum err requested_apply(struct state *state, const struct event *event) {
    struct approvals_state *s = state_of(state, &approvals_capability);
    const struct approval_request *r = event->data;
    enum err err = OK;
    for (uint32_t i = s->count; err == OK && i-- > 0;)
        if (!s->items[i].approved && s->items[i].expires_us <= event->time_us)
            err = waiting_drop(state, &s->items[i]);
    struct waiting *w = err == OK ? waiting_add(s) : NULL;
    if (!w)
        return err == OK ? ERR_NOMEM : err;
    must(id_parse(r->approval_id, "apr_", &w->id));
    w->seq = event->seq;
    w->expires_us = r->expires_at.us;
    w->person_len = text_take(w->person, r->requested_by);
    w->actor_len = text_take(w->actor, r->requester);
    return waiting_put(state, w);
}

static enum err decided_apply(struct state *state, const struct event *event) {
    struct approvals_state *s = state_of(state, &approvals_capability);
    const struct approval_step *step = event->data;
    struct waiting *w = waiting_find(s, step->approval_id);
    if (!w)
        return OK;
    if (!str_is(step->state, "approved"))
        return waiting_drop(state, w);
    w->approved = true;
    enum err err = entity_drop(state, &waiting_entity, id_key(w->id));
    return err == OK ? waiting_put(state, w) : err;
}

static enum err executed_apply(struct state *state, const struct event *event) {
    struct approvals_state *s = state_of(state, &approvals_capability);
    struct waiting *w = waiting_find(s, ((const struct approval_step *)event->data)->approval_id);
    return w ? waiting_drop(state, w) : OK;
}

static void approvals_free(void *part) { mem_free(((struct approvals_state *)part)->items); }

static void approvals_dump(const void *part, struct buf *out) {
    const struct approvals_state *s = part;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct waiting *w = &s->items[i];
        buf_printf(out, "%llu until=%lld approved=%d by %.*s (%.*s)\n", (unsigned long long)w->seq,
                   (long long)w->expires_us, w->approved, (int)w->person_len, w->person,
                   (int)w->actor_len, w->actor);
    }
}

/* --- read model ------------------------------------------------------------------------------ */

static const struct table_column approvals_columns[APPROVALS_COLUMNS] = {
    [APPROVALS_ID] = {"approval_id", COLUMN_TEXT, "apr_…"},
    [APPROVALS_STATE] = {"state", COLUMN_TEXT, "pending, approved, rejected, executed or failed"},
    [APPROVALS_METHOD] = {"method", COLUMN_TEXT, "Of the call"},
    [APPROVALS_PATH] = {"path", COLUMN_TEXT, "Of the route"},
    [APPROVALS_ABOUT] = {"about", COLUMN_TEXT, "What stood in the path"},
    [APPROVALS_REQUESTED_BY] = {"requested_by", COLUMN_TEXT, "The first person"},
    [APPROVALS_REQUESTER] = {"requester", COLUMN_TEXT, "As what it called"},
    [APPROVALS_REQUESTED] = {"requested_us", COLUMN_INTEGER, "When", UNIT_INSTANT_US},
    [APPROVALS_EXPIRES] = {"expires_us", COLUMN_INTEGER, "Until when it can be approved",
                           UNIT_INSTANT_US},
    [APPROVALS_BY] = {"decided_by", COLUMN_TEXT, "The second person"},
    [APPROVALS_ACTOR] = {"decider", COLUMN_TEXT, "As what it called"},
    [APPROVALS_REASON] = {"reason", COLUMN_TEXT, "Why"},
    [APPROVALS_UPDATED] = {"updated_us", COLUMN_INTEGER, "Last change", UNIT_INSTANT_US},
    [APPROVALS_SEQ] = {"seq", COLUMN_INTEGER, "Of approval.requested"},
};
static const char *const approvals_indexes[] = {"updated_us, approval_id", NULL};
const struct table approvals_table = {.name = "approvals",
                                      .help = "Calls that need a second person",
                                      .columns = approvals_columns,
                                      .count = APPROVALS_COLUMNS,
                                      .key_columns = 1,
                                      .indexes = approvals_indexes};
static const struct table *const approvals_tables[] = {&approvals_table, NULL};

static void requested_project(struct rows *rows, const struct event *event) {
    const struct approval_request *r = event->data;
    struct row_value values[APPROVALS_COLUMNS] = {
        [APPROVALS_ID] = row_text(r->approval_id),
        [APPROVALS_STATE] = row_text(STR("pending")),
        [APPROVALS_METHOD] = row_text(r->method),
        [APPROVALS_PATH] = row_text(r->path),
        [APPROVALS_ABOUT] = row_text(r->args.count ? *list_at(r->args, struct str, 0) : STR_NONE),
        [APPROVALS_REQUESTED_BY] = row_text(r->requested_by),
        [APPROVALS_REQUESTER] = row_text(r->requester),
        [APPROVALS_REQUESTED] = row_int(event->time_us),
        [APPROVALS_EXPIRES] = row_int(r->expires_at.us),
        [APPROVALS_UPDATED] = row_int(event->time_us),
        [APPROVALS_SEQ] = row_int((int64_t)event->seq),
    };
    rows_put(rows, &approvals_table, UINT64_MAX, values);
}

static void step_project(struct rows *rows, const struct event *event) {
    const struct approval_step *step = event->data;
    uint64_t set = UINT64_C(1) << APPROVALS_STATE | UINT64_C(1) << APPROVALS_UPDATED;
    struct row_value values[APPROVALS_COLUMNS] = {
        [APPROVALS_ID] = row_text(step->approval_id),
        [APPROVALS_STATE] = row_text(step->state),
        [APPROVALS_BY] = row_text(step->by),
        [APPROVALS_ACTOR] = row_text(step->actor),
        [APPROVALS_REASON] = row_text(step->reason),
        [APPROVALS_UPDATED] = row_int(event->time_us),
    };
    if (step->by.len)
        set |= UINT64_C(1) << APPROVALS_BY | UINT64_C(1) << APPROVALS_ACTOR;
    if (step->reason.len)
        set |= UINT64_C(1) << APPROVALS_REASON;
    rows_put(rows, &approvals_table, set, values);
}

/* --- events and commands ---------------------------------------------------------------------- */

static const struct event_type requested_event = {
    .name = "approval.requested", .shape = &approval_request_shape, .apply = requested_apply,
    .project = requested_project, .help = "A call waits for a second person; for the audit alone"};
static const struct event_type decided_event = {
    .name = "approval.decided", .shape = &approval_step_shape, .apply = decided_apply,
    .project = step_project, .help = "A second person approved or rejected a call; for the audit alone"};
static const struct event_type executed_event = {
    .name = "approval.executed", .shape = &approval_step_shape, .apply = executed_apply,
    .project = step_project, .help = "An approved call was carried out, or failed; for the audit alone"};
static const struct event_type *const approvals_events[] = {&requested_event, &decided_event,
                                                            &executed_event, NULL};

/* The body is its own subject: it is gone with its key. */
static struct str request_person(const void *body, struct id128 id, struct arena *arena) {
    (void)body;
    return id_text(arena, "apr_", id);
}

static enum err request_decide(struct decision *decision, const struct command *command) {
    const struct approvals_state *s = decision_state(decision, &approvals_capability);
    struct arena *arena = decision_arena(decision);
    struct str id = id_text(arena, "apr_", decision_id(decision));
    struct approval_request *r;
    uint32_t waiting = 0;
    for (uint32_t i = 0; i < s->count; i++)
        waiting += s->items[i].approved || s->items[i].expires_us > command->now_us;
    if (waiting >= APPROVALS_OPEN_MAX)
        return decision_refuse(decision, ERR_CONFLICT, "%d calls wait for a second person already",
                               APPROVALS_OPEN_MAX);
    struct event *event = id.ptr ? decision_event(decision, &requested_event, id, (void **)&r) : NULL;
    if (!event)
        return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
    *r = *(const struct approval_request *)command->body;
    r->approval_id = id;
    r->state = STR("pending");
    r->fingerprint = arena_printf(arena, "%016llx%016llx",
                                  (unsigned long long)command->fingerprint.hi,
                                  (unsigned long long)command->fingerprint.lo);
    shape_mark(r, APPROVAL_FINGERPRINT);
    shape_mark(r, APPROVAL_ID);
    shape_mark(r, APPROVAL_STATE);
    decision_seal(decision, event, STR_NONE);
    struct approval_request answer = *r;
    answer.has &= ~(UINT64_C(1) << APPROVAL_BODY);
    return decision_answer(decision, 202, &approval_request_shape, &answer);
}
const struct command_type approval_request_command = {
    .name = "approval.request", .shape = &approval_request_shape, .decide = request_decide,
    .person = request_person, .flags = COMMAND_INTERNAL,
    .help = "Keeps a call for a second person to decide"};

static bool same_person(const struct waiting *w, const struct approval_step *step) {
    return str_eq_nocase(str_of(w->person, w->person_len), step->by) ||
           str_eq(str_of(w->actor, w->actor_len), step->actor);
}

/* The event, or where again is true the answer alone. */
static enum err step_make(struct decision *decision, const struct event_type *type,
                          const struct waiting *w, const struct approval_step *given, bool again) {
    struct approval_step answer = *given, *step;
    answer.requester = arena_str(decision_arena(decision), str_of(w->actor, w->actor_len));
    answer.requested_by = arena_str(decision_arena(decision), str_of(w->person, w->person_len));
    answer.request_seq = (int64_t)w->seq;
    shape_mark(&answer, STEP_REQUESTER);
    shape_mark(&answer, STEP_REQUESTED_BY);
    shape_mark(&answer, STEP_REQUEST_SEQ);
    if (!again) {
        if (!decision_event(decision, type, given->approval_id, (void **)&step))
            return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
        *step = answer;
    } else {
        answer.again = true;
        shape_mark(&answer, STEP_AGAIN);
    }
    return decision_answer(decision, 200, &approval_step_shape, &answer);
}

static enum err decide_decide(struct decision *decision, const struct command *command) {
    const struct approvals_state *s = decision_state(decision, &approvals_capability);
    const struct approval_step *given = command->body;
    const struct waiting *w = waiting_find(s, given->approval_id);
    bool approve = str_is(given->state, "approved");
    if (!w)
        return decision_refuse(decision, ERR_CONFLICT,
                               "no call waits under this id: it was decided, or there was none");
    if (approve && same_person(w, given))
        return decision_refuse(decision, ERR_FORBIDDEN,
                               "another person must approve it than %.*s, who asked",
                               (int)w->person_len, w->person);
    if (w->approved && !approve)
        return decision_refuse(decision, ERR_CONFLICT, "it is approved already, and may be carried out: approve it "
                               "again where it is not done");
    if (!w->approved && w->expires_us <= command->now_us)
        return decision_refuse(decision, ERR_CONFLICT, "nobody approved it in time: ask again");
    return step_make(decision, &decided_event, w, given, w->approved);
}
const struct command_type approval_decide_command = {
    .name = "approval.decide", .shape = &approval_step_shape, .decide = decide_decide,
    .flags = COMMAND_INTERNAL, .help = "Approves or rejects a call that waits for a second person"};

static enum err close_decide(struct decision *decision, const struct command *command) {
    const struct approvals_state *s = decision_state(decision, &approvals_capability);
    const struct approval_step *given = command->body;
    const struct waiting *w = waiting_find(s, given->approval_id);
    if (!w || !w->approved)
        return decision_answer(decision, 200, &approval_step_shape, given);
    return step_make(decision, &executed_event, w, given, false);
}
const struct command_type approval_close_command = {
    .name = "approval.close", .shape = &approval_step_shape, .decide = close_decide,
    .flags = COMMAND_INTERNAL, .help = "Tells that an approved call was carried out"};
static const struct command_type *const approvals_commands[] = {
    &approval_request_command, &approval_decide_command, &approval_close_command, NULL};

const struct capability approvals_capability = {
    .name = "approvals",
    .help = "Calls that need a second person",
    .commands = approvals_commands,
    .events = approvals_events,
    .tables = approvals_tables,
    .entities = approval_entities,
    .state_size = sizeof(struct approvals_state),
    .state_free = approvals_free,
    .dump = approvals_dump,
};
