/* exceptions: see exceptions.h. Reading: lists, figures, one case. */
#include "ops/exceptions_priv.h"

#include "base/clock.h"
#include "core/core.h"
#include "core/seal.h"

#define WAIT_MS 5000
#define PAGE 200

/* --- rows -------------------------------------------------------------------------------------- */

static enum err rows_wait(struct query *query, struct fault *fault) {
    struct reader *reader = query->reader;
    query->seq = core_seq(reader->core);
    return reader->ops->wait(reader, query->seq, WAIT_MS, fault);
}

static bool row_copy(struct arena *arena, const struct row_value *v, struct case_row *out) {
    struct { uint32_t column; struct str *to; } texts[] = {
        {CASE_ID, &out->id}, {CASE_KIND, &out->kind}, {CASE_SUBJECT, &out->subject},
        {CASE_STATE, &out->state}, {CASE_OWNER, &out->owner}, {CASE_CONNECTOR, &out->connector},
        {CASE_TOPIC, &out->topic}, {CASE_LANE, &out->lane}, {CASE_CAUSE, &out->cause}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        *texts[i].to = v[texts[i].column].text.ptr ? arena_str(arena, v[texts[i].column].text)
                                                   : STR_NONE;
        if (v[texts[i].column].text.ptr && !texts[i].to->ptr)
            return false;
    }
    out->raised_us = v[CASE_RAISED].integer;
    out->updated_us = v[CASE_UPDATED].integer;
    out->seq = v[CASE_SEQ].integer;
    out->payload_seq = v[CASE_PAYLOAD_SEQ].integer;
    out->edition_seq = v[CASE_EDITION_SEQ].integer;
    out->version = v[CASE_VERSION].integer;
    out->attempts = v[CASE_ATTEMPTS].integer;
    out->changed_seq = v[CASE_CHANGED_SEQ].integer;
    return true;
}

struct rows {
    struct query *query;
    struct case_row *items;
    uint32_t count, limit;
    bool full; /* no memory */
};

static bool rows_visit(void *ctx, const struct row_value *values) {
    struct rows *rows = ctx;
    rows->full = !row_copy(rows->query->arena, values, &rows->items[rows->count]);
    rows->count += !rows->full;
    return !rows->full && rows->count < rows->limit;
}

static bool text_has(struct str text, struct str part) {
    if (part.len > text.len)
        return false;
    for (size_t i = 0; i + part.len <= text.len; i++)
        if (str_eq_nocase(str_of(text.ptr + i, part.len), part))
            return true;
    return false;
}

static bool row_says(const struct case_row *row, struct str text) {
    return !text.len || text_has(row->cause, text) || text_has(row->subject, text) ||
           text_has(row->lane, text) || text_has(row->id, text);
}

static uint32_t filters_make(const struct case_filter *f, struct row_filter *out) {
    const struct { uint32_t column; struct str value; } equal[] = {
        {CASE_STATE, f->state}, {CASE_KIND, f->kind}, {CASE_OWNER, f->owner},
        {CASE_CONNECTOR, f->connector}, {CASE_SUBJECT, f->subject}};
    uint32_t n = 0;
    for (size_t i = 0; i < sizeof equal / sizeof *equal; i++)
        if (equal[i].value.ptr)
            out[n++] = (struct row_filter){equal[i].column, ROW_EQ, row_text(equal[i].value)};
    if (f->since_us)
        out[n++] = (struct row_filter){CASE_RAISED, ROW_GE, row_int(f->since_us)};
    if (f->updated_since_us)
        out[n++] = (struct row_filter){CASE_UPDATED, ROW_GE, row_int(f->updated_since_us)};
    return n;
}

enum err cases_each(struct query *query, const struct case_filter *filter, struct str cursor,
                    uint32_t limit, bool (*visit)(void *ctx, const struct case_row *row), void *ctx,
                    struct str *next, struct fault *fault) {
    struct row_filter filters[8];
    struct reader *reader = query->reader;
    struct row_query rows = {.table = &exceptions_table, .filters = filters, .cursor = cursor,
                             .filter_count = filters_make(filter, filters),
                             .sort_column = CASE_UPDATED};
    struct rows page = {.query = query,
                        .items = arena_array(query->arena, PAGE, sizeof *page.items)};
    if (!page.items)
        return fault_set(fault, ERR_NOMEM, "no memory for the list");
    for (uint32_t looked = 0; limit > 0 && looked < EXCEPTIONS_SCAN_MAX; looked += page.count) {
        rows.limit = limit < PAGE ? limit : PAGE;
        page.limit = rows.limit;
        page.count = 0;
        enum err err = reader->ops->list(reader, &rows, query->arena, rows_visit, &page, next, fault);
        if (err != OK || page.full)
            return err != OK ? err : fault_set(fault, ERR_NOMEM, "no memory for the list");
        for (uint32_t i = 0; i < page.count; i++) {
            if (!row_says(&page.items[i], filter->text))
                continue;
            if (!visit(ctx, &page.items[i]))
                return OK;
            limit -= limit > 0;
        }
        rows.cursor = *next;
        if (!next->ptr)
            break;
    }
    return OK;
}

static bool one_visit(void *ctx, const struct row_value *values) {
    struct rows *rows = ctx;
    return rows_visit(rows, values) && false;
}

enum err case_read(struct query *query, struct str id, struct case_row *out, struct fault *fault) {
    struct reader *reader = query->reader;
    struct row_filter filter = {CASE_ID, ROW_EQ, row_text(id)};
    struct row_query rows = {.table = &exceptions_table, .filters = &filter, .filter_count = 1,
                             .sort_column = CASE_UPDATED, .limit = 1};
    struct rows page = {.query = query, .items = out, .limit = 1};
    struct str next;
    enum err err = rows_wait(query, fault);
    if (err == OK)
        err = reader->ops->list(reader, &rows, query->arena, one_visit, &page, &next, fault);
    if (err == OK && page.full)
        err = fault_set(fault, ERR_NOMEM, "no memory for the case");
    return err != OK     ? err
           : page.count ? OK
                        : fault_set(fault, ERR_NOT_FOUND, "there is no exception %.*s",
                                    (int)(id.len < 64 ? id.len : 64), id.ptr);
}

/* --- a row as JSON ----------------------------------------------------------------------------- */

struct data_copy {
    struct arena *arena;
    struct str data;
};
static bool data_visit(void *ctx, const struct record *record) {
    struct data_copy *copy = ctx;
    copy->data = arena_str(copy->arena, record->data);
    return false;
}

/* The case as it was raised. */
static void raised_write(struct query *query, const struct case_row *row) {
    struct data_copy copy = {.arena = query->arena};
    struct fault fault;
    uint64_t next;
    fault_init(&fault, NULL);
    if (journal_read(query->reader->journal, (uint64_t)row->seq, 1, data_visit, &copy, &next,
                     &fault) == OK && copy.data.len) {
        buf_lit(query->out, ",\"case\":");
        buf_str_add(query->out, copy.data);
    }
}

static void member_at(struct query *query, const char *name, int64_t us) {
    buf_printf(query->out, ",\"%s\":\"", name);
    instant_write(query->out, (struct instant){.us = us});
    buf_char(query->out, '"');
}

/* Its members, without the brackets. */
static void members_write(struct query *query, const struct case_row *row) {
    struct buf *out = query->out;
    buf_lit(out, "\"exception_id\":");
    buf_json_str(out, row->id);
    query_member(query, "kind", row->kind);
    query_member(query, "subject", row->subject);
    query_member(query, "state", row->state);
    query_member(query, "owner", row->owner);
    member_at(query, "raised_at", row->raised_us);
    member_at(query, "updated_at", row->updated_us);
    int64_t age_s = (query->now_us - row->raised_us) / 1000000;
    buf_printf(out, ",\"age_s\":%lld,\"version\":%lld,\"attempts\":%lld",
               (long long)(age_s > 0 ? age_s : 0), (long long)row->version,
               (long long)row->attempts);
    query_member(query, "cause", row->cause);
    query_member(query, "connector", row->connector);
    query_member(query, "topic", row->topic);
    query_member(query, "lane", row->lane);
    raised_write(query, row);
}

void case_write(struct query *query, const struct case_row *row) {
    buf_char(query->out, '{');
    members_write(query, row);
    buf_char(query->out, '}');
}

/* --- lists ------------------------------------------------------------------------------------- */

static enum err time_read(struct query *query, const char *name, int64_t *out,
                          struct fault *fault) {
    struct str text = query_value(query, name);
    struct instant at;
    if (!text.ptr)
        return OK;
    if (!instant_parse(text, &at)) {
        fault_add(fault, str_c(name), "must be a time as RFC 3339 says, with offset");
        return ERR_INVALID;
    }
    *out = at.us;
    return OK;
}

static bool listing_visit(void *ctx, const struct case_row *row) {
    struct query *query = ctx;
    list_next(query->out);
    case_write(query, row);
    return buf_ok(query->out);
}

static enum err cases_query(struct query *query, struct fault *fault) {
    struct case_filter filter = {
        .state = query_value(query, "state"), .kind = query_value(query, "kind"),
        .owner = query_value(query, "owner"), .connector = query_value(query, "connector"),
        .subject = query_value(query, "subject"), .text = query_value(query, "text")};
    uint32_t limit = 0;
    enum err err = query_limit(query, 100, 1000, &limit, fault);
    if (err == OK)
        err = time_read(query, "since", &filter.since_us, fault);
    if (err == OK)
        err = time_read(query, "updated_since", &filter.updated_since_us, fault);
    if (err != OK)
        return err;
    list_begin(query->out);
    err = cases_each(query, &filter, query_value(query, "cursor"), limit, listing_visit, query,
                     &query->next_cursor, fault);
    list_end(query->out, query->next_cursor);
    return err;
}

/* Open cases by kind and owner. */
#define KINDS_MAX 200
struct counting {
    struct case_count {
        struct str kind, owner;
        uint32_t count;
        int64_t oldest_us;
    } items[KINDS_MAX];
    uint32_t kinds;
};
static bool count_visit(void *ctx, const struct case_row *row) {
    struct counting *c = ctx;
    uint32_t i = 0;
    while (i < c->kinds &&
           !(str_eq(c->items[i].kind, row->kind) && str_eq(c->items[i].owner, row->owner)))
        i++;
    if (i == c->kinds && i < KINDS_MAX)
        c->items[c->kinds++] = (struct case_count){row->kind, row->owner, 0, row->raised_us};
    if (i < KINDS_MAX) {
        c->items[i].count++;
        if (row->raised_us < c->items[i].oldest_us)
            c->items[i].oldest_us = row->raised_us;
    }
    return true;
}

static enum err counts_query(struct query *query, struct fault *fault) {
    struct counting *c = arena_new(query->arena, struct counting);
    struct case_filter filter = {.state = STR("open")};
    struct str next = STR_NONE;
    enum err err = c ? cases_each(query, &filter, STR_NONE, EXCEPTIONS_SCAN_MAX, count_visit, c,
                                  &next, fault)
                     : fault_set(fault, ERR_NOMEM, "no memory for the counts");
    list_begin(query->out);
    for (uint32_t i = 0; err == OK && i < c->kinds; i++) {
        list_next(query->out);
        buf_lit(query->out, "{\"kind\":");
        buf_json_str(query->out, c->items[i].kind);
        query_member(query, "owner", c->items[i].owner.len ? c->items[i].owner : STR_NONE);
        buf_printf(query->out, ",\"open\":%u", c->items[i].count);
        member_at(query, "oldest_at", c->items[i].oldest_us);
        buf_char(query->out, '}');
    }
    list_end(query->out, STR_NONE);
    return err;
}

/* --- one case ---------------------------------------------------------------------------------- */

/* Who did what: the events about the case, in words. */
static enum err history_write(struct query *query, const struct case_row *row, struct fault *fault) {
    struct trace trace;
    struct reader *reader = query->reader;
    uint32_t count = 0;
    enum err err = trace_find(reader, core_registry(reader->core), row->id, query->arena, &trace,
                              fault);
    if (err != OK)
        return err;
    buf_lit(query->out, ",\"events\":[");
    for (uint32_t i = 0; i < trace.count; i++) {
        const struct trace_event *event = &trace.events[i];
        buf_printf(query->out, "%s{\"seq\":%llu,\"type\":", count++ ? "," : "",
                   (unsigned long long)event->record.seq);
        buf_json_str(query->out, event->record.type);
        query_member(query, "subject", event->record.subject);
        member_at(query, "at", event->record.time_us);
        query_member(query, "actor", event->meta->actor.len ? event->meta->actor : STR_NONE);
        buf_lit(query->out, ",\"words\":");
        struct buf words;
        buf_init(&words, 8192);
        trace_words(event, reader->parser, query->arena, &words);
        buf_json_str(query->out, buf_ok(&words) ? buf_str(&words) : event->record.type);
        buf_free(&words);
        buf_char(query->out, '}');
    }
    buf_char(query->out, ']');
    return OK;
}

/* The newest words of what to do, and the very commands. */
struct action_read {
    struct query *query;
    struct str action;
};
static bool action_visit(void *ctx, const struct record *record) {
    struct action_read *read = ctx;
    struct query *query = read->query;
    const struct json *data;
    struct fault ignored = {0};
    struct str copy = arena_str(query->arena, record->data);
    if (copy.ptr && json_parse(query->reader->parser, query->arena, copy, false, &data, &ignored) == OK) {
        struct str action = json_member_str(data, STR("action"));
        if (action.len)
            read->action = action;
    }
    return false;
}

static void command_add(struct buf *out, bool *first, const char *verb, struct str id,
                        const char *rest) {
    buf_printf(out, "%s\"penstock exceptions %s %.*s%s\"", *first ? "" : ",", verb, STR_FMT(id),
               rest);
    *first = false;
}

static void action_write(struct query *query, const struct case_row *row) {
    struct action_read read = {.query = query};
    struct fault ignored = {0};
    uint64_t next;
    bool first = true, waits = row->payload_seq > 0 && !str_is(row->kind, "shortage") &&
                               !str_is(row->kind, "card-data");
    (void)!journal_read(query->reader->journal, (uint64_t)row->seq, 1, action_visit, &read, &next,
                        &ignored);
    if (row->changed_seq > row->seq)
        (void)!journal_read(query->reader->journal, (uint64_t)row->changed_seq, 1, action_visit,
                            &read, &next, &ignored);
    query_member(query, "action", read.action);
    buf_lit(query->out, ",\"commands\":[");
    if (str_is(row->state, "open")) {
        if (waits) {
            command_add(query->out, &first, "retry", row->id, "");
            command_add(query->out, &first, "fix", row->id, " --set /POINTER=VALUE");
            command_add(query->out, &first, "discard", row->id, " --reason 'why'");
        } else {
            command_add(query->out, &first, "resolve", row->id, " --reason 'what was done'");
        }
    }
    buf_char(query->out, ']');
}

static enum err case_query(struct query *query, struct fault *fault) {
    struct case_row row;
    struct message message;
    enum err err = case_read(query, query->args[0], &row, fault);
    if (err != OK)
        return err;
    buf_char(query->out, '{');
    members_write(query, &row);
    action_write(query, &row);
    struct str original = query_value(query, "original");
    bool has = row.payload_seq > 0;
    if (has)
        err = message_read(query, &row, str_is(original, "true"), query->reader->keyring, &message,
                           fault);
    if (has && err == OK)
        err = message_write(query, &row, &message, fault);
    if (has && err == OK) { /* with the bytes, whoever asks: what is said of them is masked */
        err = message_read(query, &row, str_is(original, "true"), core_keyring(query->reader->core),
                           &message, fault);
        if (err == OK && str_is(row.state, "open")) {
            buf_lit(query->out, ",\"preview\":");
            preview_write(query, &message, query->out);
        }
    }
    if (err == OK)
        err = history_write(query, &row, fault);
    buf_char(query->out, '}');
    return err;
}

/* --- routes ------------------------------------------------------------------------------------ */

static const struct query_param list_params[] = {
    {"state", false, false, "open, resolved or discarded"},
    {"kind", false, false, "Only this kind"},
    {"owner", false, false, "Only this team's"},
    {"connector", false, false, "Only about messages of this one"},
    {"subject", false, false, "Only about this: an order, a payload"},
    {"text", false, false, "Only where cause, subject or key say this, in any case"},
    {"since", false, false, "Only those raised then or later", QUERY_TIME},
    {"updated_since", false, false, "Only those changed then or later", QUERY_TIME},
    {"limit", false, false, "Items on a page, 1 to 1000 (100)", QUERY_WHOLE, 1, 1000},
    {"cursor", false, false, "next_cursor of the page before"},
    {NULL, false, false, NULL},
};
static const char *const originals[] = {"true", "false", NULL};
static const struct query_param show_params[] = {
    {"original", false, false, "true: the message as it came, not its newest version", QUERY_WORD,
     .values = originals},
    {NULL, false, false, NULL},
};
#define CASE "/ops/exceptions/{exception_id}"
#define REFUSED ROUTE_REFUSES(ERR_NOT_FOUND, ERR_CONFLICT, ERR_STALE)

const struct route exceptions_routes[] = {
    {.method = "GET", .path = "/ops/exceptions", .scope = "ops:read", .traffic = CLASS_OPS,
     .query = cases_query, .params = list_params, .answer = &case_item_shape,
     .help = "Cases that need, or needed, a person's decision"},
    {.method = "GET", .path = "/ops/exception-counts", .scope = "ops:read", .traffic = CLASS_OPS,
     .query = counts_query, .answer = &case_count_shape, .flags = ROUTE_LIST,
     .help = "Open cases by kind and owner, with the age of the oldest"},
    {.method = "GET", .path = CASE, .scope = "ops:read", .traffic = CLASS_OPS,
     .query = case_query, .params = show_params, .answer = &case_story_shape,
     .refusals = ROUTE_REFUSES(ERR_NOT_FOUND),
     .help = "One case with its message and versions, what the present mapping makes of it, and who "
             "did what",
     .more = "The message itself is shown to callers that may see what is personal; the audit tells "
             "of it."},
    {.method = "POST", .path = CASE "/retry", .scope = "ops:resolve", .traffic = CLASS_OPS,
     .query = case_retry_query, .body = &case_retry_body_shape, .flags = ROUTE_BODY_MAY,
     .answer = &case_decided_shape, .status = 202, .refusals = REFUSED,
     .help = "Process the message of a case once more"},
    {.method = "POST", .path = CASE "/fix", .scope = "ops:resolve", .traffic = CLASS_OPS,
     .query = case_fix_query, .body = &case_fix_body_shape, .answer = &case_decided_shape,
     .status = 202, .refusals = REFUSED,
     .help = "Put the message of a case right and process it; what came is kept beside it",
     .more = "With dry_run, nothing is done: `preview` says what the mapping would make of it."},
    {.method = "POST", .path = CASE "/discard", .scope = "ops:resolve", .traffic = CLASS_OPS,
     .flags = ROUTE_TWO_PERSONS, .query = case_discard_query, .body = &case_discard_body_shape,
     .answer = &resolution_shape, .refusals = REFUSED,
     .help = "Give a case up with a reason; what waited for it goes on without its message"},
    {.method = "POST", .path = CASE "/resolve", .scope = "ops:resolve", .traffic = CLASS_OPS,
     .flags = ROUTE_TWO_PERSONS, .query = case_resolve_query, .body = &case_resolve_body_shape,
     .answer = &resolution_shape, .refusals = REFUSED, .help = "Close a case with a reason"},
    {.method = "POST", .path = "/ops/exceptions/bulk", .scope = "ops:resolve",
     .traffic = CLASS_OPS, .flags = ROUTE_TWO_PERSONS | ROUTE_LINES, .query = cases_bulk_query,
     .body = &case_bulk_body_shape, .answer = &case_bulk_line_shape,
     .help = "Retry, fix or discard many cases: those named, or all that a filter finds; a line of "
             "NDJSON for each"},
    {.method = NULL},
};
