/* approvals: see approvals.h. */
#include "ops/approvals.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "core/seal.h"
#include "domain/approvals.h"
#include "gateway/route.h"
#include "ops/ask.h"

#define WAIT_MS 5000
#define TWICE " (it was approved before and may have been carried out then: the audit says)"
#define HINT_RUNNING "it is being carried out"
#define HINT_AGAIN "it is approved and not carried out: approve it again"

void approvals_init(struct approvals *approvals, struct core *core,
                    const struct gateway_table *tables) {
    *approvals = (struct approvals){.core = core, .tables = tables};
    pthread_mutex_init(&approvals->lock, NULL);
}

void approvals_end(struct approvals *approvals) {
    if (approvals->core)
        pthread_mutex_destroy(&approvals->lock);
}

/* --- one at a time -------------------------------------------------------------------------- */

static bool running_begin(struct approvals *a, struct str id) {
    int free_slot = -1;
    bool taken = id.len >= sizeof a->running[0];
    pthread_mutex_lock(&a->lock);
    for (int i = 0; i < APPROVALS_RUNNING_MAX; i++) {
        taken = taken || str_is(id, a->running[i]);
        if (!a->running[i][0])
            free_slot = i;
    }
    taken = taken || free_slot < 0;
    if (!taken)
        snprintf(a->running[free_slot], sizeof a->running[0], "%.*s", STR_FMT(id));
    pthread_mutex_unlock(&a->lock);
    return !taken;
}

static bool is_running(struct approvals *a, struct str id) {
    bool running = false;
    pthread_mutex_lock(&a->lock);
    for (int i = 0; i < APPROVALS_RUNNING_MAX; i++)
        running = running || str_is(id, a->running[i]);
    pthread_mutex_unlock(&a->lock);
    return running;
}

static void running_end(struct approvals *a, struct str id) {
    pthread_mutex_lock(&a->lock);
    for (int i = 0; i < APPROVALS_RUNNING_MAX; i++)
        if (str_is(id, a->running[i]))
            a->running[i][0] = '\0';
    pthread_mutex_unlock(&a->lock);
}

/* --- steps ----------------------------------------------------------------------------------- */

static enum err step_ask(struct query *query, const struct command_type *type,
                         struct approval_step *step, const struct json **answer,
                         struct fault *fault) {
    struct approvals *a = query->ctx;
    struct command command;
    shape_mark(step, STEP_ID);
    shape_mark(step, STEP_STATE);
    shape_mark(step, STEP_BY);
    shape_mark(step, STEP_ACTOR);
    if (step->reason.len)
        shape_mark(step, STEP_REASON);
    enum err err = command_prepare(a->core, type, query->arena, step, &command, fault);
    if (err != OK)
        return err;
    command.actor = query->actor;
    command.from = query->from;
    command.correlation = query->correlation;
    err = ask_core(a->core, &command, fault);
    if (err == OK)
        err = json_parse(query->reader->parser, query->arena, command.answer.body, false, answer,
                         fault);
    query->seq = command.answer.seq;
    return err;
}

static struct approval_step step_of(const struct query *query, const char *state,
                                    struct str reason) {
    return (struct approval_step){.approval_id = query->args[0], .state = str_c(state),
                                  .by = query->person, .actor = query->actor, .reason = reason};
}

/* {"reason":"…"}, which may be left out. */
static enum err reason_read(struct query *query, struct str *reason, struct fault *fault) {
    const struct json *body;
    *reason = STR_NONE;
    if (query->body.len == 0)
        return OK;
    enum err err = json_parse(query->reader->parser, query->arena, query->body, true, &body, fault);
    if (err == OK && body->kind != JSON_OBJECT)
        err = fault_set(fault, ERR_INVALID, "the body is not {\"reason\":\"…\"}");
    if (err == OK)
        *reason = arena_str(query->arena, json_member_str(body, STR("reason")));
    if (err == OK && reason->len > 4096)
        err = fault_set(fault, ERR_INVALID, "the reason is longer than 4096 bytes");
    return err;
}

/* --- carrying out ---------------------------------------------------------------------------- */

struct kept {
    struct query *query;
    struct keyring *keyring;
    const struct json *call;
    enum err err;
    struct fault *fault;
};

static bool kept_visit(void *ctx, const struct record *record) {
    struct kept *kept = ctx;
    struct reader *reader = kept->query->reader;
    struct str data;
    kept->err = seal_record(kept->keyring, record, reader->parser, kept->query->arena, &data,
                            kept->fault);
    if (kept->err == OK)
        data = arena_str(kept->query->arena, data);
    if (kept->err == OK)
        kept->err = json_parse(reader->parser, kept->query->arena, data, false, &kept->call,
                               kept->fault);
    return false;
}

/* The call as it was asked for; with its body where keyring opens it. */
static enum err call_read(struct query *query, uint64_t seq, struct keyring *keyring,
                          const struct json **call, struct fault *fault) {
    struct kept kept = {.query = query, .keyring = keyring, .err = ERR_NOT_FOUND, .fault = fault};
    uint64_t next;
    enum err err = journal_read(query->reader->journal, seq, 1, kept_visit, &kept, &next, fault);
    *call = kept.call;
    return err == OK ? kept.err : err;
}

static const struct route *route_of(const struct approvals *a, const struct json *call,
                                    void **ctx) {
    struct str method = json_member_str(call, STR("method")), path = json_member_str(call, STR("path"));
    for (const struct gateway_table *t = a->tables; t->routes; t++)
        for (const struct route *r = t->routes; r->method; r++)
            if (r->flags & ROUTE_TWO_PERSONS && str_is(method, r->method) && str_is(path, r->path)) {
                *ctx = t->ctx;
                return r;
            }
    return NULL;
}

/* Makes the call in both persons' names; its answer goes into out. */
static enum err call_run(struct query *query, const struct json *step, const struct json *call,
                         struct buf *out, struct fault *fault) {
    struct query inner = *query;
    const struct route *route = route_of(query->ctx, call, &inner.ctx);
    if (!route)
        return fault_set(fault, ERR_NOT_FOUND, "the hub has no such call any more");
    inner.actor = arena_printf(query->arena, "%.*s+%.*s",
                               STR_FMT(json_member_str(step, STR("requester"))),
                               STR_FMT(query->actor));
    inner.body = json_member_str(call, STR("body"));
    inner.body = inner.body.len ? arena_str(query->arena, inner.body) : STR("");
    inner.out = out;
    memset(inner.args, 0, sizeof inner.args);
    const struct json *args = json_member(call, STR("args"));
    const struct json *arg = args ? json_first(args) : NULL;
    for (uint32_t i = 0; args && i < args->count && i < COMMAND_ARGS_MAX; i++, arg = json_next(arg))
        inner.args[i] = arg->text;
    static const struct query_param none[] = {{0}};
    enum err err = query_parse(json_member_str(call, STR("query")),
                               route->params ? route->params : none, query->arena, &inner.values,
                               &inner.value_count, fault);
    return err == OK ? route->query(&inner, fault) : err;
}

static enum err approve_locked(struct query *query, struct str reason, struct fault *fault) {
    struct approvals *a = query->ctx;
    const struct json *step, *call, *closed;
    struct approval_step approve = step_of(query, "approved", reason);
    struct fault failure;
    struct buf out;
    int64_t seq = 0;
    enum err err = step_ask(query, &approval_decide_command, &approve, &step, fault);
    if (err == OK && !json_i64(json_member(step, STR("request_seq")), &seq))
        err = fault_set(fault, ERR_INTERNAL, "the approval has no request");
    if (err == OK)
        err = call_read(query, (uint64_t)seq, core_keyring(a->core), &call, fault);
    if (err != OK)
        return err;
    buf_init(&out, 0);
    fault_init(&failure, query->arena);
    enum err done = call_run(query, step, call, &out, &failure);
    bool again = done != OK && err_info(done)->disposition == RETRYABLE;
    struct approval_step close = step_of(query, done == OK ? "executed" : "failed",
                                         done == OK ? STR_NONE : str_c(err_info(done)->slug));
    if (!again)
        err = step_ask(query, &approval_close_command, &close, &closed, fault);
    const struct json *before = json_member(step, STR("again"));
    bool twice = before && before->kind == JSON_BOOL && before->count; /* of a run before nobody knows the end */
    buf_lit(query->out, "{\"approval_id\":");
    buf_json_str(query->out, query->args[0]);
    buf_printf(query->out, ",\"state\":\"%s\"", done == OK ? "executed" : again ? "approved" : "failed");
    if (done != OK) {
        buf_lit(query->out, ",\"reason\":");
        buf_json_str(query->out,
                     arena_printf(query->arena, "%s%s",
                                  failure.detail[0] ? failure.detail : err_info(done)->title,
                                  twice && !again ? TWICE : ""));
    } else if (out.len > 0) {
        buf_lit(query->out, ",\"answer\":");
        buf_str_add(query->out, buf_str(&out));
    }
    buf_char(query->out, '}');
    buf_free(&out);
    return err;
}

static enum err approve_query(struct query *query, struct fault *fault) {
    struct approvals *a = query->ctx;
    struct str reason;
    enum err err = reason_read(query, &reason, fault);
    if (err != OK)
        return err;
    if (!running_begin(a, query->args[0]))
        return fault_set(fault, ERR_CONFLICT, "it is being carried out, or too many others are");
    err = approve_locked(query, reason, fault);
    running_end(a, query->args[0]);
    return err;
}

static enum err reject_query(struct query *query, struct fault *fault) {
    const struct json *step;
    struct str reason;
    enum err err = reason_read(query, &reason, fault);
    struct approval_step reject = step_of(query, "rejected", reason);
    if (err == OK)
        err = step_ask(query, &approval_decide_command, &reject, &step, fault);
    if (err != OK)
        return err;
    buf_lit(query->out, "{\"approval_id\":");
    buf_json_str(query->out, query->args[0]);
    buf_lit(query->out, ",\"state\":\"rejected\"}");
    return OK;
}

/* --- asking ----------------------------------------------------------------------------------- */

static void approval_item(struct query *query, const struct row_value *v) {
    struct buf *out = query->out;
    struct str state = v[APPROVALS_STATE].text;
    if (str_is(state, "pending") && v[APPROVALS_EXPIRES].integer <= query->now_us)
        state = STR("expired");
    buf_lit(out, "{\"approval_id\":");
    buf_json_str(out, v[APPROVALS_ID].text);
    query_member(query, "state", state);
    query_member(query, "method", v[APPROVALS_METHOD].text);
    query_member(query, "path", v[APPROVALS_PATH].text);
    query_member(query, "about", v[APPROVALS_ABOUT].text);
    query_member(query, "requested_by", v[APPROVALS_REQUESTED_BY].text);
    query_member(query, "requester", v[APPROVALS_REQUESTER].text);
    instant_member(out, "requested_at", v[APPROVALS_REQUESTED].integer);
    instant_member(out, "expires_at", v[APPROVALS_EXPIRES].integer);
    query_member(query, "decided_by", v[APPROVALS_BY].text);
    query_member(query, "decider", v[APPROVALS_ACTOR].text);
    query_member(query, "reason", v[APPROVALS_REASON].text);
    bool approved = str_is(state, "approved");
    buf_printf(out, ",\"done\":%s", str_is(state, "executed") ? "true" : "false");
    query_member(query, "hint",
                 !approved                                        ? STR_NONE
                 : is_running(query->ctx, v[APPROVALS_ID].text) ? STR(HINT_RUNNING)
                                                                  : STR(HINT_AGAIN));
    buf_printf(out, ",\"seq\":%lld}", (long long)v[APPROVALS_SEQ].integer);
}

static enum err caught_up(struct query *query, struct fault *fault) {
    struct approvals *a = query->ctx;
    return query->reader->ops->wait(query->reader, core_seq(a->core), WAIT_MS, fault);
}

static enum err approvals_query(struct query *query, struct fault *fault) {
    static const struct query_filter by[] = {
        {"state", APPROVALS_STATE}, {"requested_by", APPROVALS_REQUESTED_BY}, {NULL, 0}};
    enum err err = caught_up(query, fault);
    return err == OK ? query_rows(query, &approvals_table, APPROVALS_UPDATED, by, approval_item, fault)
                     : err;
}

struct one {
    struct query *query;
    uint64_t seq;
};
static bool one_visit(void *ctx, const struct row_value *values) {
    struct one *one = ctx;
    approval_item(one->query, values);
    one->seq = (uint64_t)values[APPROVALS_SEQ].integer;
    return false;
}

static enum err approval_query(struct query *query, struct fault *fault) {
    struct one one = {.query = query};
    struct row_filter same = {APPROVALS_ID, ROW_EQ, row_text(query->args[0])};
    struct row_query rows = {.table = &approvals_table, .filters = &same, .filter_count = 1,
                             .sort_column = APPROVALS_UPDATED, .limit = 1};
    struct str cursor;
    const struct json *call;
    enum err err = caught_up(query, fault);
    if (err == OK)
        err = query->reader->ops->list(query->reader, &rows, query->arena, one_visit, &one, &cursor,
                                       fault);
    if (err == OK && one.seq == 0)
        err = fault_set(fault, ERR_NOT_FOUND, "there is no such approval");
    if (err == OK) /* the body for who may see it */
        err = call_read(query, one.seq, query->reader->keyring, &call, fault);
    if (err != OK)
        return err;
    query->out->len--; /* one more member */
    buf_lit(query->out, ",\"call\":");
    json_write(query->out, call);
    buf_char(query->out, '}');
    return OK;
}

#define MAY(name, kind, help, ...) SHAPE_SAID(name, kind, help, .flags = SHAPE_NULL, ##__VA_ARGS__)
static const struct shape_field approval_rows[] = {
    SHAPE_SAID("approval_id", SHAPE_ID, "The hub's id of it", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("state", SHAPE_CODE, "pending, expired, approved, rejected, executed or failed",
               .flags = SHAPE_REQUIRED),
    MAY("method", SHAPE_CODE, "Of the call"),
    MAY("path", SHAPE_ID, "Of the route"),
    MAY("about", SHAPE_TEXT, "What stood in the path"),
    MAY("requested_by", SHAPE_TEXT, "The first person"),
    MAY("requester", SHAPE_TEXT, "As what it called"),
    SHAPE_SAID("requested_at", SHAPE_INSTANT, "When"),
    SHAPE_SAID("expires_at", SHAPE_INSTANT, "Until when it can be approved"),
    MAY("decided_by", SHAPE_TEXT, "The second person"),
    MAY("decider", SHAPE_TEXT, "As what it called"),
    MAY("reason", SHAPE_TEXT, "Why"),
    SHAPE_SAID("done", SHAPE_BOOL, "Whether it was carried out"),
    MAY("hint", SHAPE_TEXT, "Of an approved one that is not: what to do"),
    SHAPE_SAID("seq", SHAPE_INTEGER, "Of approval.requested"),
    SHAPE_SAID("call", SHAPE_OPEN, "The call as it was asked for; its body with personal:read"),
    SHAPE_SAID("answer", SHAPE_OPEN, "What the call answered"),
};
SHAPE_DEFINE_SAID(approval_shape, "approval", "A call that needs a second person", approval_rows);

static const struct query_param list_params[] = {
    {"state", false, false, "pending, approved, rejected, executed or failed"},
    {"requested_by", false, false, "Only this person's"},
    {"limit", false, false, "Items on a page, 1 to 1000 (100)"},
    {"cursor", false, false, "next_cursor of the page before"},
    {0},
};
const struct route approvals_routes[] = {
    {.method = "GET", .path = "/ops/approvals", .scope = "ops:approve", .traffic = CLASS_OPS,
     .query = approvals_query, .params = list_params, .answer = &approval_shape,
     .help = "Calls that need a second person: waiting, decided, carried out"},
    {.method = "GET", .path = "/ops/approvals/{approval_id}", .scope = "ops:approve",
     .traffic = CLASS_OPS, .query = approval_query, .answer = &approval_shape,
     .refusals = ROUTE_REFUSES(ERR_NOT_FOUND),
     .help = "One of them, with the call"},
    {.method = "POST", .path = "/ops/approvals/{approval_id}/approve", .scope = "ops:approve",
     .traffic = CLASS_OPS, .query = approve_query, .answer = &approval_shape,
     .refusals = ROUTE_REFUSES(ERR_NOT_FOUND, ERR_CONFLICT, ERR_INVALID),
     .help = "The second person approves: the call is carried out now, in both names"},
    {.method = "POST", .path = "/ops/approvals/{approval_id}/reject", .scope = "ops:approve",
     .traffic = CLASS_OPS, .query = reject_query, .answer = &approval_shape,
     .refusals = ROUTE_REFUSES(ERR_NOT_FOUND, ERR_CONFLICT, ERR_INVALID),
     .help = "It is not to be done; who asked may take it back so"},
    {.method = NULL},
};
