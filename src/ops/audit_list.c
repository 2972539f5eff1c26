/* audit_list: see audit_list.h. Reads only. */
#include "ops/audit_list.h"

#include <inttypes.h>

#include "base/json.h"
#include "core/core.h"
#include "domain/audit.h"
#include "store/journal_anchor.h"

#define CHUNK 2000
#define EVENTS_MAX 50 /* of one command, listed */
#define WAIT_MS 5000
#define DAY_US INT64_C(86400000000)

struct lister {
    struct audit_list *list;
    struct arena *arena;
    struct buf *out;
    struct fault *fault;
    uint64_t first; /* of the command whose line is open; 0: none */
    uint32_t events; /* of it */
    uint32_t scanned;
    bool wanted;     /* it matches, but for about */
    bool about;      /* about matches, too */
    size_t begun;    /* where its line begins in out */
    bool over;       /* the end of what was asked for */
    enum err err;
};

/* --- matching ------------------------------------------------------------------------------- */

static bool text_wanted(struct str want, struct str is) { return !want.ptr || str_eq(want, is); }

static bool route_wanted(struct str want, struct str is) {
    if (want.len > 0 && want.ptr[want.len - 1] == '*')
        return str_starts(is, str_of(want.ptr, want.len - 1));
    return text_wanted(want, is);
}

static bool meta_wanted(const struct audit_filter *f, const struct event_meta *meta) {
    return text_wanted(f->actor, meta->actor) && text_wanted(f->from, meta->from) &&
           text_wanted(f->correlation, meta->correlation);
}

/* --- lines ---------------------------------------------------------------------------------- */

static void line_head(struct lister *l, const struct record *record, const struct event_meta *meta) {
    struct buf *out = l->out;
    l->begun = out->len;
    if (l->list->count > 0 || l->list->sep == '\n')
        buf_add(out, l->list->count > 0 ? &l->list->sep : "", l->list->count > 0);
    buf_printf(out, "{\"seq\":%" PRIu64 ",\"time\":\"", record->seq);
    instant_write(out, (struct instant){.us = record->time_us});
    buf_char(out, '"');
    const struct {
        const char *name;
        struct str text;
    } members[] = {{"actor", meta->actor}, {"from", meta->from},
                   {"correlation_id", meta->correlation}};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        if (!members[i].text.len)
            continue;
        buf_printf(out, ",\"%s\":", members[i].name);
        buf_json_str(out, members[i].text);
    }
}

static void line_end(struct lister *l) {
    if (!l->first)
        return;
    if (l->wanted && l->about) {
        buf_lit(l->out, "]");
        if (l->events > EVENTS_MAX)
            buf_printf(l->out, ",\"more_events\":%u", l->events - EVENTS_MAX);
        buf_char(l->out, '}');
        l->list->count++;
    } else if (l->wanted) {
        l->out->len = l->begun;
    }
    l->first = 0;
}

static void event_write(struct lister *l, const struct record *record) {
    const struct audit_list *list = l->list;
    struct buf *out = l->out;
    l->about = l->about || text_wanted(list->filter.about, record->subject);
    if (l->events++ >= EVENTS_MAX)
        return;
    buf_printf(out, "%s{\"seq\":%" PRIu64 ",\"type\":", l->events > 1 ? "," : "", record->seq);
    buf_json_str(out, record->type);
    buf_lit(out, ",\"subject\":");
    buf_json_str(out, record->subject);
    uint64_t before = 0;
    if (list->reader)
        l->err = list->reader->ops->ref_before(list->reader, record->subject, l->first, &before,
                                               l->fault);
    if (before > 0)
        buf_printf(out, ",\"before\":%" PRIu64, before);
    buf_char(out, '}');
}

/* The data's members, as they stand in the journal, are the line's. */
static void note_write(struct lister *l, const struct record *record,
                       const struct event_meta *meta) {
    const struct audit_filter *f = &l->list->filter;
    const struct json *data;
    l->err = json_parse(l->list->parser, l->arena, record->data, false, &data, l->fault);
    if (l->err != OK || data->kind != JSON_OBJECT || record->data.len < 2)
        return;
    if (!text_wanted(f->kind, json_member_str(data, STR("kind"))) || !meta_wanted(f, meta) ||
        !text_wanted(f->about, json_member_str(data, STR("about"))) ||
        !route_wanted(f->route, json_member_str(data, STR("action"))))
        return;
    line_head(l, record, meta);
    buf_char(l->out, ',');
    buf_add(l->out, record->data.ptr + 1, record->data.len - 1);
    l->list->count++;
}

static void change_begin(struct lister *l, const struct record *record,
                         const struct event_meta *meta) {
    const struct audit_filter *f = &l->list->filter;
    l->first = record->seq;
    l->events = 0;
    l->about = false;
    l->wanted = text_wanted(f->kind, STR("change")) && meta_wanted(f, meta) &&
                route_wanted(f->route, meta->command);
    if (!l->wanted)
        return;
    line_head(l, record, meta);
    buf_lit(l->out, ",\"kind\":\"change\",\"action\":");
    buf_json_str(l->out, meta->command);
    buf_lit(l->out, ",\"events\":[");
}

static bool record_look(void *ctx, const struct record *record) {
    struct lister *l = ctx;
    struct audit_list *list = l->list;
    struct event_meta meta;
    l->scanned++;
    arena_reset(l->arena);
    l->err = event_meta_load(record->meta, list->parser, l->arena, &meta, l->fault);
    if (l->err != OK)
        return false;
    bool begins = meta.first <= 0 || (uint64_t)meta.first != l->first;
    if (begins) {
        line_end(l);
        l->over = list->filter.until_us && record->time_us >= list->filter.until_us;
        if (l->over || list->count >= list->limit || l->scanned > AUDIT_LIST_SCAN) {
            list->next = l->over ? 0 : record->seq;
            l->over = true;
            return false;
        }
        if (str_is(record->type, EVENT_AUDIT_NOTED))
            note_write(l, record, &meta);
        else
            change_begin(l, record, &meta);
    }
    if (l->err == OK && l->first && l->wanted)
        event_write(l, record);
    return l->err == OK && buf_ok(l->out);
}

/* --- where to begin ------------------------------------------------------------------------- */

static bool time_look(void *ctx, const struct record *record) {
    *(struct record *)ctx = (struct record){.seq = record->seq, .time_us = record->time_us};
    return false;
}

/* The first seq that is not older. */
static enum err seq_since(struct journal *journal, int64_t since_us, uint64_t *out,
                          struct fault *fault) {
    uint64_t low = 1, high = 0, next;
    enum err err = journal_last(journal, &high, fault);
    for (high++; err == OK && low < high;) {
        uint64_t middle = low + (high - low) / 2;
        struct record record = {0};
        err = journal_read(journal, middle, 1, time_look, &record, &next, fault);
        if (record.seq >= middle && record.seq < high && record.time_us < since_us)
            low = record.seq + 1;
        else
            high = middle;
    }
    *out = low;
    return err;
}

bool audit_time_parse(struct str text, int64_t *us) {
    struct instant at;
    int32_t days;
    if (date_parse(text, &days))
        *us = days * DAY_US;
    else if (instant_parse(text, &at))
        *us = at.us;
    else
        return false;
    return true;
}

/* --- listing -------------------------------------------------------------------------------- */

/* What was before is in the read model, when it has reached what is listed. */
static enum err caught_up(struct reader *reader, struct journal *journal, struct fault *fault) {
    uint64_t newest;
    enum err err = journal_last(journal, &newest, fault);
    return err == OK ? reader->ops->wait(reader, newest, WAIT_MS, fault) : err;
}

enum err audit_list_write(struct audit_list *list, struct arena *arena, struct buf *out,
                          struct fault *fault) {
    struct lister l = {.list = list, .arena = arena, .out = out, .fault = fault};
    enum err err = list->reader ? caught_up(list->reader, list->journal, fault) : OK;
    uint64_t at = list->from, next = 0;
    list->count = 0;
    list->next = 0;
    if (err == OK && at == 0)
        err = seq_since(list->journal, list->filter.since_us, &at, fault);
    for (; err == OK && !l.over; at = next) {
        err = journal_read(list->journal, at, CHUNK, record_look, &l, &next, fault);
        if (err == OK)
            err = l.err;
        if (next == at)
            break;
    }
    if (err == OK && !l.over)
        line_end(&l);
    if (err == OK && !buf_ok(out))
        err = fault_set(fault, ERR_NOMEM, "no memory for the audit");
    return err;
}

/* --- the route ------------------------------------------------------------------------------- */

const struct query_param audit_params[] = {
    {"since", false, false, "From this instant (or date, UTC) on"},
    {"until", false, false, "Before this instant (or date, UTC)"},
    {"kind", false, false, "change, denied, refused, read or admin"},
    {"actor", false, false, "Who: an API key's id, pk_…, a connector, a person"},
    {"from", false, false, "The client's address"},
    {"route", false, false, "The action: \"POST /v1/orders\", order.cancel; with * at its end: all "
                            "that begin so"},
    {"about", false, false, "What it was about: ord_…, SKU@LOCATION"},
    {"correlation", false, false, "Of this case"},
    {"limit", false, false, "Lines on a page, 1 to 1000 (100)"},
    {"cursor", false, false, "next_cursor of the page before"},
    {0},
};

static enum err time_param(const struct query *query, const char *name, int64_t *us,
                           struct fault *fault) {
    struct str text = query_value(query, name);
    if (!text.ptr || audit_time_parse(text, us))
        return OK;
    return fault_set(fault, ERR_BAD_REQUEST, "%s is neither an instant nor a date: 2026-01-31", name);
}

enum err audit_query(struct query *query, struct fault *fault) {
    struct str cursor = query_value(query, "cursor");
    struct audit_list list = {
        .journal = query->reader->journal,
        .reader = query->reader,
        .parser = query->reader->parser,
        .filter = {.kind = query_value(query, "kind"),
                   .actor = query_value(query, "actor"),
                   .from = query_value(query, "from"),
                   .route = query_value(query, "route"),
                   .about = query_value(query, "about"),
                   .correlation = query_value(query, "correlation")},
        .sep = ',',
    };
    struct arena arena;
    enum err err = query_limit(query, 100, 1000, &list.limit, fault);
    if (err == OK)
        err = time_param(query, "since", &list.filter.since_us, fault);
    if (err == OK)
        err = time_param(query, "until", &list.filter.until_us, fault);
    if (err == OK && cursor.ptr && (!str_u64(cursor, &list.from) || list.from == 0))
        err = fault_set(fault, ERR_BAD_REQUEST, "the cursor is not one that was given");
    if (err != OK)
        return err;
    arena_init(&arena, 0);
    list_begin(query->out);
    err = audit_list_write(&list, &arena, query->out, fault);
    arena_free(&arena);
    if (err == OK && list.next)
        query->next_cursor = arena_printf(query->arena, "%" PRIu64, list.next);
    list_end(query->out, query->next_cursor);
    return err;
}

enum err audit_anchor_query(struct query *query, struct fault *fault) {
    struct journal_anchor anchor;
    enum err err = journal_anchor_make(query->reader->journal, core_clock(query->reader->core),
                                       &anchor, fault);
    if (err == OK)
        journal_anchor_write(&anchor, query->out);
    return err;
}
