/* deliver_bulk: see deliver_bulk.h. Owns nothing. Each delivery is decided by itself, through
 * deliver_retry and deliver_discard: what is refused (somebody else decided meanwhile, it goes on
 * already) stops no other. */
#include "deliver/deliver_bulk.h"

#include <stdio.h>

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
           (!f->text.len || text_has(row->cause, f->text));
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
    struct str subscription, type, subject, key, text;
    bool all;
    struct str reason;
    int64_t limit;
    bool dry_run;
};
enum { BULK_ACTION, BULK_IDS, BULK_SUBSCRIPTION, BULK_TYPE, BULK_SUBJECT, BULK_KEY, BULK_TEXT, BULK_ALL,
       BULK_REASON, BULK_LIMIT, BULK_DRY_RUN };
enum { ACTION_RETRY, ACTION_DISCARD };

static const char *const actions[] = {"retry", "discard", NULL};
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
    B(BULK_ALL, all, SHAPE_BOOL, "All that are held"),
    B(BULK_REASON, reason, SHAPE_TEXT, "Why; discard needs it"),
    B(BULK_LIMIT, limit, SHAPE_INTEGER, "At most so many (1000)", .min = 1, .max = HELD_BULK_MAX),
    B(BULK_DRY_RUN, dry_run, SHAPE_BOOL, "Only say which"),
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
};
SHAPE_DEFINE_SAID(held_bulk_line_shape, "held_bulk_line", "What became of one delivery", line_rows);

static bool has_filter(const struct held_bulk *b) {
    return b->subscription.ptr || b->type.ptr || b->subject.ptr || b->key.ptr || b->text.ptr || b->all;
}

static enum err bulk_read(struct query *query, struct held_bulk *out, struct fault *fault) {
    void *body;
    enum err err = query_body(query, &held_bulk_shape, &body, fault);
    if (err != OK)
        return err;
    *out = *(struct held_bulk *)body;
    if (out->action == ACTION_DISCARD && !out->reason.len && !out->dry_run)
        fault_add(fault, STR("/reason"), "giving deliveries up needs a reason");
    if ((out->ids.count > 0) == has_filter(out))
        fault_add(fault, STR("/ids"), "name deliveries, or filter (all: true is every one), not both");
    if (!fault->first)
        return OK;
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
    uint32_t count, cap;
    bool full; /* no memory */
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
    snprintf(id, sizeof id, "%.*s:%llu", STR_FMT(row->subscription), (unsigned long long)row->seq);
    return found_add(found, str_c(id), row->cause);
}

static enum err bulk_find(struct found *found, const struct held_bulk *b, struct fault *fault) {
    found->filter = (struct held_filter){.subscription = b->subscription, .type = b->type,
                                         .subject = b->subject, .key = b->key, .text = b->text,
                                         .state = STR("held")};
    for (uint32_t i = 0; i < b->ids.count && found->count < found->cap; i++)
        if (!found_add(found, *list_at(b->ids, struct str, i), STR("")))
            break;
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

static void one_decide(struct query *query, const struct held_bulk *b, const struct one *one,
                       uint32_t line) {
    struct buf *out = query->out;
    struct str subscription;
    uint64_t seq;
    struct fault fault;
    fault_init(&fault, query->arena);
    enum err err = OK;
    if (!held_id(one->id, &subscription, &seq))
        err = fault_set(&fault, ERR_NOT_FOUND, "no such delivery is held");
    else if (!b->dry_run && b->action == ACTION_DISCARD)
        err = deliver_discard(query->ctx, subscription, seq, query->actor, b->reason, &fault);
    else if (!b->dry_run)
        err = deliver_retry(query->ctx, subscription, seq, query->actor, b->reason, &fault);
    buf_printf(out, "{\"line\":%u,\"id\":", line);
    buf_json_str(out, one->id);
    buf_printf(out, ",\"status\":%d", err == OK ? 200 : err_info(err)->status);
    if (err != OK)
        problem(out, err, &fault);
    else if (b->dry_run)
        query_member(query, "cause", one->cause);
    else
        buf_printf(out, ",\"answer\":{\"state\":\"%s\"}",
                   b->action == ACTION_DISCARD ? "discarded" : "retrying");
    buf_lit(out, "}\n");
}

enum err held_bulk_query(struct query *query, struct fault *fault) {
    struct held_bulk body = {0};
    enum err err = bulk_read(query, &body, fault);
    if (err != OK)
        return err;
    struct found found = {.query = query, .cap = shape_has(&body, BULK_LIMIT) ? (uint32_t)body.limit
                                                                              : HELD_BULK_MAX};
    found.items = arena_array(query->arena, found.cap, sizeof *found.items);
    if (!found.items)
        return fault_set(fault, ERR_NOMEM, "no memory for the deliveries");
    err = bulk_find(&found, &body, fault);
    query->media_type = "application/x-ndjson";
    for (uint32_t i = 0; err == OK && i < found.count; i++)
        one_decide(query, &body, &found.items[i], i + 1);
    return err;
}
