/* deliver_bulk: see deliver_bulk.h. Owns nothing. Each delivery is decided by itself, through
 * deliver_retry, deliver_discard and edit_one: what is refused (somebody else decided meanwhile, it goes on
 * already) stops no other. */
#include "deliver/deliver_bulk.h"

#include <stdio.h>

#include "deliver/edit_priv.h"

#define PREVIEWS_MAX 10

static bool text_has(struct str text, struct str part) {
    for (size_t i = 0; i + part.len <= text.len; i++)
        if (str_eq_nocase(str_of(text.ptr + i, part.len), part))
            return true;
    return false;
}

static bool is(struct str wanted, struct str value) { return !wanted.ptr || str_eq(wanted, value); }

bool held_matches(const struct held_filter *f, const struct progress_row *row) {
    return is(f->subscription, row->subscription) && is(f->type, row->type) &&
           is(f->subject, row->subject) && is(f->key, row->lane) &&
           is(f->state, progress_row_held(row) ? STR("held") : STR("retrying")) &&
           (!f->status.given || (row->status >= f->status.from && row->status <= f->status.to)) &&
           (!f->since_us || row->since_us >= f->since_us) && (!f->until_us || row->since_us <= f->until_us) &&
           (!f->text.len || text_has(row->cause, f->text));
}

bool held_status_parse(struct str text, struct held_status *out) {
    uint64_t code;
    *out = (struct held_status){.given = true};
    if (text.len == 3 && text.ptr[0] >= '1' && text.ptr[0] <= '5' && str_is(str_of(text.ptr + 1, 2), "xx")) {
        out->from = (text.ptr[0] - '0') * 100;
        out->to = out->from + 99;
        return true;
    }
    if (!str_u64(text, &code) || code > 599 || (code < 100 && code != 0))
        return false;
    out->from = out->to = (int32_t)code;
    return true;
}

bool held_age_parse(struct str text, int64_t *us) {
    static const struct { char unit; int64_t s; } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    uint64_t count;
    for (size_t i = 0; text.len > 1 && i < sizeof units / sizeof *units; i++)
        if (text.ptr[text.len - 1] == units[i].unit) {
            if (!str_u64(str_of(text.ptr, text.len - 1), &count) || count > 1000000)
                return false;
            *us = (int64_t)count * units[i].s * 1000000;
            return true;
        }
    return false;
}

bool held_id(struct str id, struct str *subscription, uint64_t *seq) {
    size_t at = id.len;
    while (at > 0 && id.ptr[at - 1] != ':')
        at--;
    if (at < 2)
        return false;
    *subscription = str_of(id.ptr, at - 1);
    return str_u64(str_of(id.ptr + at, id.len - at), seq);
}

/* --- what is asked for --------------------------------------------------------------------------- */

struct held_bulk {
    uint64_t has;
    int32_t action;
    struct shape_list ids; /* of struct str */
    struct str subscription, type, subject, key, text, status, older_than;
    struct instant since;
    bool all;
    struct str reason, patch, mapping_version;
    int64_t limit;
    bool dry_run;
};
enum { BULK_ACTION, BULK_IDS, BULK_SUBSCRIPTION, BULK_TYPE, BULK_SUBJECT, BULK_KEY, BULK_TEXT, BULK_STATUS,
       BULK_SINCE, BULK_OLDER_THAN, BULK_ALL, BULK_REASON, BULK_PATCH, BULK_MAPPING_VERSION, BULK_LIMIT,
       BULK_DRY_RUN };
enum { ACTION_RETRY, ACTION_DISCARD, ACTION_EDIT };

static const char *const actions[] = {"retry", "discard", "edit", NULL};
#define B(row, member, kind, help, ...)                                                            \
    [row] = SHAPE_ROW(struct held_bulk, member, kind, help, ##__VA_ARGS__)
static const struct shape_field bulk_rows[] = {
    B(BULK_ACTION, action, SHAPE_ENUM, "What to do with each", .values = actions,
      .flags = SHAPE_REQUIRED),
    B(BULK_IDS, ids, SHAPE_LIST, "SUBSCRIPTION:SEQ each; else those that the filter finds",
      .max = HELD_BULK_MAX),
    B(BULK_SUBSCRIPTION, subscription, SHAPE_CODE, "Filter"),
    B(BULK_TYPE, type, SHAPE_CODE, "Filter: of the event"),
    B(BULK_SUBJECT, subject, SHAPE_TEXT, "Filter: of the event"),
    B(BULK_KEY, key, SHAPE_TEXT, "Filter: the lane"),
    B(BULK_TEXT, text, SHAPE_TEXT, "Filter: the cause says this, in any case", .max = 256),
    B(BULK_STATUS, status, SHAPE_TEXT, "Filter: HTTP status of the last answer: 422, 4xx, or 0: there was none",
      .max = 3),
    B(BULK_SINCE, since, SHAPE_INSTANT, "Filter: listed then or later"),
    B(BULK_OLDER_THAN, older_than, SHAPE_TEXT, "Filter: listed at least so long ago: 90s, 15m, 2h, 7d", .max = 8),
    B(BULK_ALL, all, SHAPE_BOOL, "All that are held"),
    B(BULK_REASON, reason, SHAPE_TEXT, "Why; discard and edit need it"),
    B(BULK_PATCH, patch, SHAPE_RAW, "edit: as POST /ops/held/{id}/edit has it, for each", .privacy = PERSONAL),
    B(BULK_MAPPING_VERSION, mapping_version, SHAPE_TEXT, "edit: likewise", .min = 1, .max = 256),
    B(BULK_LIMIT, limit, SHAPE_INTEGER, "At most so many (1000)", .min = 1, .max = HELD_BULK_MAX),
    B(BULK_DRY_RUN, dry_run, SHAPE_BOOL, "Only say which, and of how many"),
};
SHAPE_DEFINE(held_bulk_shape, "held_bulk", struct held_bulk, "A decision about many held deliveries",
             bulk_rows);

static const struct shape_field line_rows[] = {
    SHAPE_SAID("line", SHAPE_INTEGER, "From 1", .flags = SHAPE_REQUIRED, .max = INT64_MAX),
    SHAPE_SAID("id", SHAPE_TEXT, "SUBSCRIPTION:SEQ", .flags = SHAPE_REQUIRED, .max = SHAPE_ITEM_BYTES_MAX),
    SHAPE_SAID("status", SHAPE_INTEGER, "As a call about this one alone would have answered",
               .flags = SHAPE_REQUIRED),
    SHAPE_SAID("answer", SHAPE_OPEN, "Of success"),
    SHAPE_SAID("problem", SHAPE_OPEN, "Why it was refused (RFC 9457)"),
    SHAPE_SAID("cause", SHAPE_TEXT, "dry_run: why it is held", .max = 65536),
    SHAPE_SAID("found", SHAPE_INTEGER, "dry_run: how many the filter finds in all", .max = INT64_MAX),
    SHAPE_SAID("preview", SHAPE_OBJECT, "dry_run of an edit: what would go out, of the first ten",
               .shape = &edit_preview_shape),
};
SHAPE_DEFINE_SAID(held_bulk_line_shape, "held_bulk_line", "What became of one delivery", line_rows);

static bool has_filter(const struct held_bulk *b) {
    return b->subscription.ptr || b->type.ptr || b->subject.ptr || b->key.ptr || b->text.ptr || b->status.ptr ||
           shape_has(b, BULK_SINCE) || b->older_than.ptr || b->all;
}

static void filter_make(const struct held_bulk *b, int64_t now_us, struct held_filter *out, struct fault *fault) {
    int64_t age_us = 0;
    *out = (struct held_filter){.subscription = b->subscription, .type = b->type, .subject = b->subject,
                                .key = b->key, .text = b->text, .state = STR("held"),
                                .since_us = shape_has(b, BULK_SINCE) ? b->since.us : 0};
    if (b->status.ptr && !held_status_parse(b->status, &out->status))
        fault_add(fault, STR("/status"), HELD_STATUS_WORDS);
    if (b->older_than.ptr && !held_age_parse(b->older_than, &age_us))
        fault_add(fault, STR("/older_than"), HELD_AGE_WORDS);
    if (b->older_than.ptr)
        out->until_us = now_us - age_us;
}

static enum err bulk_read(struct query *query, struct held_bulk *out, struct held_filter *filter,
                          struct edit_asked *edit, struct fault *fault) {
    void *body;
    enum err err = query_body(query, &held_bulk_shape, &body, fault);
    if (err != OK)
        return err;
    *out = *(struct held_bulk *)body;
    *edit = (struct edit_asked){.reason = out->reason, .patch = out->patch, .dry_run = out->dry_run, .brief = true,
                                .mapping_version = out->mapping_version};
    filter_make(out, query->now_us, filter, fault);
    if (out->action == ACTION_DISCARD && !out->reason.len && !out->dry_run)
        fault_add(fault, STR("/reason"), "giving deliveries up needs a reason");
    if ((out->ids.count > 0) == has_filter(out))
        fault_add(fault, STR("/ids"), "name deliveries, or filter (all: true is every one), not both");
    if (out->action != ACTION_EDIT && (out->patch.ptr || out->mapping_version.ptr))
        fault_add(fault, STR("/action"), "a patch and a mapping_version are for edit");
    if (out->action == ACTION_EDIT)
        err = edit_asked_check(query, edit, fault);
    if (!fault->first)
        return err;
    fault->err = ERR_INVALID;
    return ERR_INVALID;
}

/* --- doing it ------------------------------------------------------------------------------------ */

struct found {
    struct query *query;
    struct held_filter filter;
    struct one {
        struct str id, cause;
    } *items;
    uint32_t count, cap, total;
    bool counting; /* also those beyond the cap */
    bool full;     /* no memory */
};

static bool found_add(struct found *found, struct str id, struct str cause) {
    struct one *one = &found->items[found->count];
    one->id = arena_str(found->query->arena, id);
    one->cause = arena_str(found->query->arena, cause.ptr ? cause : STR(""));
    found->full = !one->id.ptr || !one->cause.ptr;
    found->count += !found->full;
    return !found->full && found->count < found->cap;
}

static bool found_visit(void *ctx, const struct progress_row *row) {
    struct found *found = ctx;
    char id[160];
    if (!held_matches(&found->filter, row))
        return true;
    found->total++;
    if (found->count == found->cap)
        return true; /* counting */
    snprintf(id, sizeof id, "%.*s:%llu", STR_FMT(row->subscription), (unsigned long long)row->seq);
    return found_add(found, str_c(id), row->cause) || (found->counting && !found->full);
}

static enum err bulk_find(struct found *found, const struct held_bulk *b, struct fault *fault) {
    for (uint32_t i = 0; i < b->ids.count && found->count < found->cap; i++)
        if (!found_add(found, *list_at(b->ids, struct str, i), STR("")))
            break;
    found->total = b->ids.count;
    enum err err = b->ids.count > 0 ? OK
                                    : deliver_held(found->query->ctx, STR_NONE, 0, HELD_SCAN_MAX,
                                                   found_visit, found, fault);
    return err == OK && found->full ? fault_set(fault, ERR_NOMEM, "no memory for the deliveries") : err;
}

static void problem(struct buf *out, enum err err, const struct fault *fault) {
    const struct err_info *info = err_info(err);
    buf_printf(out, ",\"problem\":{\"type\":\"https://penstock.org/problems/%s\",\"title\":", info->slug);
    buf_json_str(out, str_c(info->title));
    buf_printf(out, ",\"status\":%d,\"detail\":", info->status);
    buf_json_str(out, str_c(fault->detail));
    buf_char(out, '}');
}

/* What is decided about many. */
struct deciding {
    struct query *query;
    const struct held_bulk *body;
    const struct edit_asked *edit;
    const struct found *found;
};

/* Of the delivery, or the preview of an edit: with what it has written. */
static enum err one_do(const struct deciding *all, struct str subscription, uint64_t seq, uint32_t line,
                       struct fault *fault) {
    struct query *query = all->query;
    const struct held_bulk *b = all->body;
    uint64_t edit_seq;
    if (b->dry_run && b->action == ACTION_EDIT && line <= PREVIEWS_MAX) {
        buf_lit(query->out, ",\"preview\":");
        return edit_preview(query, subscription, seq, all->edit, fault);
    }
    if (b->dry_run)
        return OK;
    if (b->action == ACTION_EDIT)
        return edit_one(query, subscription, seq, all->edit, &edit_seq, fault);
    return b->action == ACTION_DISCARD ? deliver_discard(query->ctx, subscription, seq, query->actor, b->reason, fault)
                                       : deliver_retry(query->ctx, subscription, seq, query->actor, b->reason, fault);
}

static void one_decide(const struct deciding *all, const struct one *one, uint32_t line) {
    struct query *query = all->query;
    struct buf *out = query->out;
    struct str subscription;
    uint64_t seq;
    struct fault fault;
    fault_init(&fault, query->arena);
    buf_printf(out, "{\"line\":%u,\"id\":", line);
    buf_json_str(out, one->id);
    size_t before = out->len;
    enum err err = held_id(one->id, &subscription, &seq)
                       ? one_do(all, subscription, seq, line, &fault)
                       : fault_set(&fault, ERR_NOT_FOUND, "no such delivery is held");
    if (err != OK) /* a preview that was begun */
        out->len = before;
    buf_printf(out, ",\"status\":%d", err == OK ? 200 : err_info(err)->status);
    if (err != OK)
        problem(out, err, &fault);
    else if (all->body->dry_run)
        query_member(query, "cause", one->cause);
    else
        buf_printf(out, ",\"answer\":{\"state\":\"%s\"}",
                   all->body->action == ACTION_DISCARD ? "discarded" : "retrying");
    if (all->body->dry_run)
        buf_printf(out, ",\"found\":%u", all->found->total);
    buf_lit(out, "}\n");
}

enum err held_bulk_query(struct query *query, struct fault *fault) {
    struct held_bulk body = {0};
    struct edit_asked edit;
    struct found found = {.query = query};
    enum err err = bulk_read(query, &body, &found.filter, &edit, fault);
    if (err != OK)
        return err;
    found.counting = body.dry_run;
    found.cap = shape_has(&body, BULK_LIMIT) ? (uint32_t)body.limit : HELD_BULK_MAX;
    found.items = arena_array(query->arena, found.cap, sizeof *found.items);
    if (!found.items)
        return fault_set(fault, ERR_NOMEM, "no memory for the deliveries");
    err = bulk_find(&found, &body, fault);
    query->media_type = "application/x-ndjson";
    struct deciding all = {query, &body, &edit, &found};
    for (uint32_t i = 0; err == OK && i < found.count; i++)
        one_decide(&all, &found.items[i], i + 1);
    return err;
}
