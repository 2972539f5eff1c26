/* exceptions_decide: what a person decides about cases: the body is read, the case as it stands is
 * looked at, and a command decides. What was seen is what is decided: the command carries the
 * version of the case that was read, or the one the caller gave. */
#include "ops/exceptions_priv.h"

#include "base/mem.h"
#include "core/seal.h"
#include "gateway/problem.h"
#include "ops/ask.h"

#define TOGETHER 64 /* commands of a bulk call that share commits */

static enum err body_read(struct query *query, const struct shape *shape, void *out,
                          struct fault *fault) {
    void *body;
    enum err err = query_body(query, shape, &body, fault);
    if (err == OK)
        memcpy(out, body, shape->size);
    return err;
}

/* The version that is decided: If-Match, the body's, or the one that was found. */
static int64_t version_of(const struct query *query, const struct case_decision *decision,
                          const struct case_row *row) {
    if (query->if_match > 0)
        return query->if_match;
    return shape_has(decision, DECISION_VERSION) ? decision->version : row->version;
}

static enum err command_for(struct query *query, const struct command_type *type, void *body,
                            struct str id, int64_t version, struct command *out,
                            struct fault *fault) {
    enum err err = command_prepare(query->reader->core, type, query->arena, body, out, fault);
    if (err != OK)
        return err;
    out->args[0] = id;
    out->if_match = version;
    out->actor = query->actor;
    out->from = query->from;
    out->correlation = query->correlation;
    if (type->needs)
        type->needs(out);
    return OK;
}

/* --- what is asked for, as commands ---------------------------------------------------------------- */

static enum err make_retry(struct query *query, const struct case_row *row,
                           const struct case_decision *decision, struct command *out,
                           struct fault *fault) {
    struct exception_retry *retry = arena_new(query->arena, struct exception_retry);
    if (!retry)
        return fault_set(fault, ERR_NOMEM, "no memory for the command");
    retry->reason = decision->reason;
    retry->by = query->person;
    if (retry->reason.len)
        shape_mark(retry, CASE_RETRY_REASON);
    if (retry->by.len)
        shape_mark(retry, CASE_RETRY_BY);
    return command_for(query, &exception_retry_command, retry, row->id,
                       version_of(query, decision, row), out, fault);
}

static enum err make_close(struct query *query, const struct case_row *row,
                           const struct case_decision *decision, struct command *out,
                           struct fault *fault) {
    struct resolution *r = arena_new(query->arena, struct resolution);
    if (!r)
        return fault_set(fault, ERR_NOMEM, "no memory for the command");
    r->resolution = decision->resolution.len ? decision->resolution : STR(RESOLUTION_DISCARDED);
    r->reason = decision->reason;
    r->by = query->person;
    shape_mark(r, RESOLUTION_RESOLUTION);
    shape_mark(r, RESOLUTION_REASON);
    if (r->by.len)
        shape_mark(r, RESOLUTION_BY);
    return command_for(query, &exception_resolve_command, r, row->id,
                       version_of(query, decision, row), out, fault);
}

/* The sets of a decision, one after the other. */
static enum err sets_apply(struct query *query, const struct shape_list *sets,
                           struct message *message, struct payload_edit *edit,
                           struct fault *fault) {
    struct str *changed = arena_array(query->arena, sets->count, sizeof *changed);
    if (!changed)
        return fault_set(fault, ERR_NOMEM, "no memory for the message");
    for (uint32_t i = 0; i < sets->count; i++) {
        const struct case_set *set = list_at(*sets, struct case_set, i);
        struct str where = arena_printf(query->arena, "/set/%u", i);
        enum err err = OK;
        if (shape_has(set, SET_VALUE) == shape_has(set, SET_TEXT)) {
            fault_add(fault, where, "needs value or text, one of them");
            return ERR_INVALID;
        }
        if (!message->document)
            return fault_set(fault, ERR_INVALID,
                             "the message is no JSON: write the whole of it (document or text)");
        err = document_set(query, message->document, set->pointer,
                           shape_has(set, SET_VALUE) ? set->value : NULL, set->text, &message->text,
                           fault);
        if (err == OK && json_parse(query->reader->parser, query->arena, message->text, false,
                                    &message->document, fault) != OK)
            err = fault_set(fault, ERR_INVALID, "what stands at %.*s is no text: give JSON",
                            STR_FMT(set->pointer));
        if (err != OK)
            return err;
        changed[i] = set->pointer;
    }
    edit->changed = (struct shape_list){changed, sets->count};
    shape_mark(edit, EDIT_CHANGED);
    return OK;
}

/* The message as it is to be, into `message` and `edit`. */
static enum err edition_make(struct query *query, const struct case_row *row,
                             const struct case_decision *d, struct message *message,
                             struct payload_edit *edit, struct fault *fault) {
    uint32_t ways = (d->set.count > 0) + shape_has(d, DECISION_DOCUMENT) +
                    shape_has(d, DECISION_TEXT);
    if (ways != 1) {
        fault_add(fault, STR(""), "needs one of set, document, text");
        return ERR_INVALID;
    }
    if (row->payload_seq <= 0)
        return fault_set(fault, ERR_CONFLICT, "no message waits for this exception");
    enum err err = message_read(query, row, false, core_keyring(query->reader->core), message, fault);
    if (err == OK && d->set.count > 0) {
        err = sets_apply(query, &d->set, message, edit, fault);
    } else if (err == OK) {
        message->text = shape_has(d, DECISION_DOCUMENT) ? d->document : d->text;
        message->base64 = STR_NONE;
        struct fault none;
        fault_init(&none, NULL);
        if (json_parse(query->reader->parser, query->arena, message->text, false,
                       &message->document, &none) != OK)
            message->document = NULL;
    }
    return err;
}

static enum err make_fix(struct query *query, const struct case_row *row,
                         const struct case_decision *decision, struct message *message,
                         struct command *out, struct fault *fault) {
    struct payload_edit *edit = arena_new(query->arena, struct payload_edit);
    if (!edit)
        return fault_set(fault, ERR_NOMEM, "no memory for the command");
    enum err err = edition_make(query, row, decision, message, edit, fault);
    if (err != OK)
        return err;
    edit->payload_id = message->payload_id;
    edit->reason = decision->reason;
    edit->by = query->person;
    shape_mark(edit, EDIT_PAYLOAD_ID);
    if (edit->reason.len)
        shape_mark(edit, EDIT_REASON);
    if (edit->by.len)
        shape_mark(edit, EDIT_BY);
    struct buf line;
    buf_init(&line, (size_t)PAYLOAD_BYTES_MAX);
    if (message->document && !shape_has(decision, DECISION_TEXT)) {
        json_write(&line, message->document);
        edit->document = arena_str(query->arena, buf_str(&line));
        shape_mark(edit, EDIT_DOCUMENT);
    } else {
        edit->text = message->text;
        shape_mark(edit, EDIT_TEXT);
    }
    bool whole = buf_ok(&line) && (edit->document.ptr || edit->text.ptr);
    buf_free(&line);
    if (!whole)
        return fault_set(fault, ERR_NOMEM, "no memory for the message");
    if (decision->dry_run) /* no key is taken for what is not kept */
        return OK;
    return command_for(query, &exception_edit_command, edit, row->id,
                       version_of(query, decision, row), out, fault);
}

/* --- one ------------------------------------------------------------------------------------------- */

static enum err ask_one(struct query *query, struct command *command, int status,
                        struct fault *fault) {
    enum err err = ask_core(query->reader->core, command, fault);
    query->seq = command->answer.seq;
    query->status = status;
    if (err == OK)
        buf_str_add(query->out, command->answer.body);
    return err;
}

enum err case_retry_query(struct query *query, struct fault *fault) {
    struct case_decision decision;
    struct case_row row;
    struct command command;
    enum err err = body_read(query, &case_retry_body_shape, &decision, fault);
    if (err == OK)
        err = case_read(query, query->args[0], &row, fault);
    if (err == OK)
        err = make_retry(query, &row, &decision, &command, fault);
    return err == OK ? ask_one(query, &command, 202, fault) : err;
}

enum err case_fix_query(struct query *query, struct fault *fault) {
    struct case_decision decision;
    struct case_row row;
    struct command command;
    struct message message;
    enum err err = body_read(query, &case_fix_body_shape, &decision, fault);
    if (err == OK)
        err = case_read(query, query->args[0], &row, fault);
    if (err == OK)
        err = make_fix(query, &row, &decision, &message, &command, fault);
    if (err != OK || !decision.dry_run)
        return err == OK ? ask_one(query, &command, 202, fault) : err;
    buf_lit(query->out, "{\"exception_id\":");
    buf_json_str(query->out, row.id);
    buf_printf(query->out, ",\"version\":%lld,\"preview\":", (long long)row.version);
    preview_write(query, &message, query->out);
    buf_char(query->out, '}');
    query->status = 202;
    return OK;
}

static enum err close_query(struct query *query, const struct shape *shape, struct fault *fault) {
    struct case_decision decision;
    struct case_row row;
    struct command command;
    enum err err = body_read(query, shape, &decision, fault);
    if (err == OK)
        err = case_read(query, query->args[0], &row, fault);
    if (err == OK)
        err = make_close(query, &row, &decision, &command, fault);
    return err == OK ? ask_one(query, &command, 200, fault) : err;
}
enum err case_discard_query(struct query *query, struct fault *fault) {
    return close_query(query, &case_discard_body_shape, fault);
}
enum err case_resolve_query(struct query *query, struct fault *fault) {
    return close_query(query, &case_resolve_body_shape, fault);
}

/* --- many ------------------------------------------------------------------------------------------ */

struct bulk {
    struct query *query;
    struct case_bulk body;
    struct case_row *rows;
    uint32_t count, cap;
    struct fault *fault;
};

static bool bulk_visit(void *ctx, const struct case_row *row) {
    struct bulk *bulk = ctx;
    bulk->rows[bulk->count++] = *row;
    return bulk->count < bulk->cap;
}

/* What the filter finds, or what is named. */
static enum err bulk_find(struct bulk *bulk) {
    const struct case_bulk *b = &bulk->body;
    struct query *query = bulk->query;
    struct str next = STR_NONE;
    struct case_filter filter = {.state = b->state.ptr ? b->state : STR("open"), .kind = b->kind,
                                 .owner = b->owner, .connector = b->connector,
                                 .subject = b->subject, .text = b->text, .since_us = b->since.us};
    if (b->items.count == 0) {
        struct reader *reader = query->reader;
        query->seq = core_seq(reader->core);
        enum err err = reader->ops->wait(reader, query->seq, 5000, bulk->fault);
        return err == OK ? cases_each(query, &filter, STR_NONE, bulk->cap, bulk_visit, bulk, &next,
                                      bulk->fault)
                         : err;
    }
    for (uint32_t i = 0; i < b->items.count && bulk->count < bulk->cap; i++) {
        const struct case_choice *choice = list_at(b->items, struct case_choice, i);
        struct case_row *row = &bulk->rows[bulk->count++];
        struct fault none;
        fault_init(&none, NULL);
        enum err err = case_read(query, choice->exception_id, row, &none);
        if (err == ERR_NOT_FOUND) /* the command says so */
            *row = (struct case_row){.id = choice->exception_id};
        else if (err != OK)
            return fault_set(bulk->fault, err, "%s", none.detail);
        if (shape_has(choice, CHOICE_VERSION))
            row->version = choice->version;
    }
    return OK;
}

struct bulk_one {
    struct command command;
    struct message message;
    struct fault fault;
    enum err err; /* before it became a command */
};

static void one_make(struct bulk *bulk, const struct case_row *row, struct bulk_one *one) {
    const struct case_bulk *b = &bulk->body;
    struct case_decision decision = {.reason = b->reason, .set = b->set, .dry_run = b->dry_run};
    struct query *query = bulk->query;
    fault_init(&one->fault, query->arena);
    if (b->action == ACTION_FIX)
        one->err = make_fix(query, row, &decision, &one->message, &one->command, &one->fault);
    else if (b->dry_run)
        one->err = OK;
    else if (b->action == ACTION_RETRY)
        one->err = make_retry(query, row, &decision, &one->command, &one->fault);
    else
        one->err = make_close(query, row, &decision, &one->command, &one->fault);
}

static void one_write(struct bulk *bulk, uint32_t line, const struct case_row *row,
                      const struct bulk_one *one) {
    struct buf *out = bulk->query->out;
    bool dry = bulk->body.dry_run, retried = bulk->body.action != ACTION_DISCARD;
    enum err err = one->err != OK || dry ? one->err : one->command.answer.err;
    const struct fault *fault = one->err != OK ? &one->fault : &one->command.answer.fault;
    buf_printf(out, "{\"line\":%u,\"exception_id\":", line);
    buf_json_str(out, row->id);
    buf_printf(out, ",\"status\":%d", err != OK ? err_info(err)->status : retried ? 202 : 200);
    if (err != OK) {
        buf_lit(out, ",\"problem\":");
        problem_write(out, err, fault, bulk->query->correlation);
    } else if (dry) {
        query_member(bulk->query, "kind", row->kind);
        query_member(bulk->query, "cause", row->cause);
        if (bulk->body.action == ACTION_FIX) {
            buf_lit(out, ",\"preview\":");
            preview_write(bulk->query, &one->message, out);
        }
    } else {
        buf_lit(out, ",\"answer\":");
        buf_str_add(out, one->command.answer.body);
    }
    buf_lit(out, "}\n");
}

/* Some at a time: their commands share commits. */
static enum err bulk_part(struct bulk *bulk, uint32_t from, uint32_t to) {
    struct query *query = bulk->query;
    struct bulk_one *ones = arena_array(query->arena, TOGETHER, sizeof *ones);
    struct command *commands[TOGETHER];
    uint32_t n = 0;
    if (!ones)
        return fault_set(bulk->fault, ERR_NOMEM, "no memory for the commands");
    for (uint32_t i = from; i < to; i++) {
        one_make(bulk, &bulk->rows[i], &ones[i - from]);
        if (ones[i - from].err == OK && !bulk->body.dry_run)
            commands[n++] = &ones[i - from].command;
    }
    if (n > 0)
        ask_cores(query->reader->core, commands, n);
    for (uint32_t i = from; i < to; i++)
        one_write(bulk, i + 1, &bulk->rows[i], &ones[i - from]);
    return OK;
}

static enum err bulk_check(const struct case_bulk *b, struct fault *fault) {
    if (b->action == ACTION_DISCARD && !b->reason.len && !b->dry_run)
        fault_add(fault, STR("/reason"), "giving cases up needs a reason");
    if (b->action == ACTION_FIX && b->set.count == 0)
        fault_add(fault, STR("/set"), "says what to put right");
    if (b->items.count > 0 && (b->kind.ptr || b->owner.ptr || b->connector.ptr || b->subject.ptr ||
                               b->text.ptr || b->since.us || b->state.ptr))
        fault_add(fault, STR("/items"), "names cases, so there is nothing to filter by");
    if (b->items.count == 0 && !b->kind.ptr && !b->owner.ptr && !b->connector.ptr &&
        !b->subject.ptr && !b->text.ptr && !b->since.us && !b->state.ptr)
        fault_add(fault, STR(""), "needs items, or something to filter by (state: open is all)");
    if (fault->first)
        fault->err = ERR_INVALID;
    return fault->first ? ERR_INVALID : OK;
}

enum err cases_bulk_query(struct query *query, struct fault *fault) {
    struct bulk bulk = {.query = query, .fault = fault};
    enum err err = body_read(query, &case_bulk_body_shape, &bulk.body, fault);
    if (err == OK)
        err = bulk_check(&bulk.body, fault);
    if (err != OK)
        return err;
    bulk.cap = shape_has(&bulk.body, BULK_LIMIT) ? (uint32_t)bulk.body.limit : EXCEPTIONS_BULK_MAX;
    bulk.rows = arena_array(query->arena, bulk.cap, sizeof *bulk.rows);
    if (!bulk.rows)
        return fault_set(fault, ERR_NOMEM, "no memory for the cases");
    err = bulk_find(&bulk);
    query->media_type = "application/x-ndjson";
    for (uint32_t i = 0; err == OK && i < bulk.count; i += TOGETHER)
        err = bulk_part(&bulk, i, i + TOGETHER < bulk.count ? i + TOGETHER : bulk.count);
    return err;
}
