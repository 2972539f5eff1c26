/* deliver_ops: what people see of delivery and decide about it, over HTTP. Owns nothing. */
#include <stdio.h>

#include "base/clock.h"
#include "deliver/deliver_bulk.h"
#include "deliver/deliver_ops.h"
#include "deliver/deliver_priv.h"
#include "deliver/deliver_shapes.h"
#include "deliver/edit.h"

static void behind_write(struct buf *out, const struct deliver_stats *s) {
    if (s->behind_known)
        buf_printf(out, ",\"behind_events\":%llu,\"behind_bytes\":%llu", (unsigned long long)s->behind_events,
                   (unsigned long long)s->behind_bytes);
    else
        buf_lit(out, ",\"behind_events\":null,\"behind_bytes\":null");
    buf_printf(out, ",\"behind_estimated\":%s,\"behind_s\":%lld", s->behind_estimated ? "true" : "false",
               (long long)(s->oldest_age_us / 1000000));
    if (s->done_in_us < 0)
        buf_lit(out, ",\"done_in_s\":null");
    else
        buf_printf(out, ",\"done_in_s\":%lld", (long long)((s->done_in_us + 999999) / 1000000));
}

void deliver_stats_write(struct buf *out, const struct deliver_stats *s) {
    buf_lit(out, "{\"subscription\":");
    buf_json_str(out, s->subscription);
    buf_json_member(out, "connector", s->connector);
    buf_printf(out, ",\"state\":\"%s\"", deliver_state(s));
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"cursor", s->cursor},       {"last", s->last},         {"behind", s->behind},
        {"waiting", s->waiting},     {"out", s->out},           {"held", s->held},
        {"parked", s->parked},       {"delivered", s->delivered}, {"superseded", s->ledger.superseded},
        {"suppressed", s->suppressed}, {"attempts", s->attempts},
        {"failed", s->failed},       {"looked_up", s->looked_up}, {"found", s->found},
        {"rate_per_s", s->rate_per_s}, {"drain_per_s", s->drain_per_s},
        {"drain_events_per_s", s->drain_events_per_s},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        buf_printf(out, ",\"%s\":%llu", numbers[i].name, (unsigned long long)numbers[i].value);
    behind_write(out, s);
    instant_member(out, "oldest_at", s->oldest_us);
    instant_member(out, "done_at", s->done_us);
    instant_member(out, "delivered_at", s->delivered_us);
    instant_member(out, "failed_at", s->failed_us);
    buf_json_member(out, "error", str_c(s->error));
    stopped_write(out, s);
    buf_char(out, '}');
}

static enum err subscriptions_query(struct query *query, struct fault *fault) {
    struct deliver *d = query->ctx;
    uint32_t count = deliver_count(d);
    list_begin(query->out);
    for (uint32_t i = 0; i < count; i++) {
        struct deliver_stats stats;
        if (!deliver_stats(d, i, &stats))
            continue;
        list_next(query->out);
        deliver_stats_write(query->out, &stats);
    }
    list_end(query->out, STR_NONE);
    return OK;
}

struct held_list {
    struct query *query;
    struct held_filter filter;
    uint32_t count, limit;
    char next[128];
};

static void row_write(struct buf *out, const struct progress_row *row) {
    buf_printf(out, "{\"id\":\"%.*s:%llu\",\"subscription\":", STR_FMT(row->subscription),
               (unsigned long long)row->seq);
    buf_json_str(out, row->subscription);
    buf_printf(out, ",\"seq\":%llu", (unsigned long long)row->seq);
    buf_json_member(out, "type", row->type);
    buf_json_member(out, "subject", row->subject);
    buf_json_member(out, "key", row->lane);
    buf_printf(out, ",\"state\":\"%s\",\"attempts\":%u,\"status\":%d",
               progress_row_held(row) ? "held" : "retrying", row->attempts, row->status);
    buf_json_member(out, "cause", row->cause);
    instant_member(out, "since", row->since_us);
    instant_member(out, "next_attempt_at", row->due_us);
    if (row->replay != 0)
        buf_printf(out, ",\"replay\":%llu", (unsigned long long)row->replay);
    if (row->edit != 0)
        buf_printf(out, ",\"edit\":%llu", (unsigned long long)row->edit);
    buf_char(out, '}');
}

static bool held_visit(void *ctx, const struct progress_row *row) {
    struct held_list *list = ctx;
    if (!held_matches(&list->filter, row))
        return true;
    if (list->count == list->limit) {
        list->query->next_cursor = arena_str(list->query->arena, str_c(list->next));
        return false;
    }
    list->count++;
    list_next(list->query->out);
    row_write(list->query->out, row);
    snprintf(list->next, sizeof list->next, "%.*s:%llu", STR_FMT(row->subscription),
             (unsigned long long)row->seq);
    return true;
}

/* The filters that are no plain words. */
static enum err filter_read(struct query *query, struct held_filter *out, struct fault *fault) {
    struct str status = query_value(query, "status"), since = query_value(query, "since");
    struct str older = query_value(query, "older_than");
    struct instant at = {0};
    int64_t age_us = 0;
    if (status.ptr && !held_status_parse(status, &out->status))
        fault_add(fault, STR("status"), HELD_STATUS_WORDS);
    if (since.ptr && !instant_parse(since, &at))
        fault_add(fault, STR("since"), "must be a time as RFC 3339 says, with offset");
    if (older.ptr && !held_age_parse(older, &age_us))
        fault_add(fault, STR("older_than"), HELD_AGE_WORDS);
    out->since_us = at.us;
    out->until_us = older.ptr ? query->now_us - age_us : 0;
    return fault->first ? ERR_INVALID : OK;
}

static enum err held_query(struct query *query, struct fault *fault) {
    struct deliver *d = query->ctx;
    struct str cursor = query_value(query, "cursor"), after = STR_NONE;
    uint64_t after_seq = 0;
    struct held_list list = {
        .query = query,
        .filter = {.subscription = query_value(query, "subscription"), .type = query_value(query, "type"),
                   .subject = query_value(query, "subject"), .key = query_value(query, "key"),
                   .state = query_value(query, "state"), .text = query_value(query, "text")}};
    enum err err = query_limit(query, 100, 1000, &list.limit, fault);
    if (err == OK)
        err = filter_read(query, &list.filter, fault);
    if (err != OK)
        return err;
    if (cursor.ptr != NULL && !held_id(cursor, &after, &after_seq))
        return fault_set(fault, ERR_BAD_REQUEST, "the cursor is not one that was given");
    list_begin(query->out);
    err = deliver_held(d, after, after_seq, HELD_SCAN_MAX, held_visit, &list, fault);
    list_end(query->out, query->next_cursor);
    return err;
}

struct held_one {
    struct query *query;
    struct str subscription;
    uint64_t seq;
    bool found;
    uint32_t failures;
};

static bool held_one_visit(void *ctx, const struct progress_row *row) {
    struct held_one *one = ctx;
    one->found = row->seq == one->seq && str_eq(row->subscription, one->subscription);
    if (one->found)
        row_write(one->query->out, row);
    return false;
}

static bool failure_visit(void *ctx, const struct progress_failure *failure) {
    struct held_one *one = ctx;
    struct buf *out = one->query->out;
    buf_printf(out, "%s{\"attempt\":%u,\"outcome\":\"%.*s\",\"status\":%d",
               one->failures++ > 0 ? "," : "", failure->attempt, STR_FMT(failure->outcome),
               failure->status);
    instant_member(out, "at", failure->at_us);
    buf_json_member(out, "cause", failure->detail);
    buf_char(out, '}');
    return true;
}

static enum err held_show(struct query *query, struct fault *fault) {
    struct deliver *d = query->ctx;
    struct held_one one = {.query = query};
    enum err err = OK;
    if (held_id(query->args[0], &one.subscription, &one.seq) && one.seq > 0) {
        pthread_mutex_lock(&d->lock);
        err = progress_rows(d->progress, one.subscription, one.subscription, one.seq - 1, false, 1,
                            held_one_visit, &one, fault);
        if (err == OK && one.found) {
            query->out->len--; /* one more member */
            buf_lit(query->out, ",\"failures\":[");
            err = progress_failures(d->progress, one.subscription, one.seq, failure_visit, &one,
                                    fault);
            buf_lit(query->out, "]}");
        }
        pthread_mutex_unlock(&d->lock);
    }
    if (err == OK && !one.found)
        return fault_set(fault, ERR_NOT_FOUND, "no such delivery is held");
    return err;
}

static enum err decide(struct query *query, bool discard, struct fault *fault) {
    struct deliver *d = query->ctx;
    struct str subscription;
    uint64_t seq;
    void *decision;
    enum err err = query_body(query, discard ? &held_discard_shape : &held_retry_shape, &decision, fault);
    if (err != OK)
        return err;
    struct str reason = ((const struct ops_decision *)decision)->reason;
    if (!held_id(query->args[0], &subscription, &seq))
        return fault_set(fault, ERR_NOT_FOUND, "no such delivery is held");
    err = discard ? deliver_discard(d, subscription, seq, query->actor, reason, fault)
                  : deliver_retry(d, subscription, seq, query->actor, reason, fault);
    if (err == OK)
        buf_printf(query->out, "{\"id\":\"%.*s:%llu\",\"state\":\"%s\"}", STR_FMT(subscription),
                   (unsigned long long)seq, discard ? "discarded" : "retrying");
    return err;
}

static enum err held_retry(struct query *query, struct fault *fault) {
    return decide(query, false, fault);
}

static enum err held_discard(struct query *query, struct fault *fault) {
    return decide(query, true, fault);
}

static const char *const states[] = {"held", "retrying", NULL};
static const struct query_param list_params[] = {
    {"subscription", false, false, "Only of this one"},
    {"type", false, false, "Only of events of this type"},
    {"subject", false, false, "Only of events about this"},
    {"key", false, false, "Only of this lane"},
    {"state", false, false, "held or retrying", QUERY_WORD, .values = states},
    {"text", false, false, "Only where the cause says this, in any case"},
    {"status", false, false, "Only with this last answer: 422, 4xx, or 0: there was none"},
    {"since", false, false, "Only those listed then or later", QUERY_TIME},
    {"older_than", false, false, "Only those listed at least so long ago: 90s, 15m, 2h, 7d"},
    {"limit", false, false, "Items on a page, 1 to 1000 (100)", QUERY_WHOLE, 1, 1000},
    {"cursor", false, false, "next_cursor of the page before"},
    {NULL, false, false, NULL},
};
const struct route deliver_routes[] = {
    {.method = "GET", .path = "/ops/subscriptions", .scope = "ops:read", .traffic = CLASS_OPS,
     .query = subscriptions_query, .answer = &subscription_shape, .flags = ROUTE_LIST,
     .help = "What goes out, how far it is and how it fares"},
    {.method = "POST", .path = "/ops/subscriptions/{subscription}/stop", .scope = "ops:retry",
     .traffic = CLASS_OPS, .flags = ROUTE_TWO_PERSONS, .query = subscription_stop_query,
     .body = &subscription_switch_shape, .answer = &subscription_switched_shape,
     .refusals = ROUTE_REFUSES(ERR_NOT_FOUND, ERR_CONFLICT),
     .help = "Let a subscription stand still, with a reason; what it wants waits in the journal"},
    {.method = "POST", .path = "/ops/subscriptions/{subscription}/start", .scope = "ops:retry",
     .traffic = CLASS_OPS, .flags = ROUTE_TWO_PERSONS, .query = subscription_start_query,
     .body = &subscription_switch_shape, .answer = &subscription_switched_shape,
     .refusals = ROUTE_REFUSES(ERR_NOT_FOUND, ERR_CONFLICT),
     .help = "Let a stopped subscription go on where it stood, in order, with a reason"},
    {.method = "GET", .path = "/ops/held", .scope = "ops:read", .traffic = CLASS_OPS,
     .query = held_query, .params = list_params, .answer = &held_shape,
     .help = "Deliveries that are held or retried aside, first of their key"},
    {.method = "GET", .path = "/ops/held/{id}", .scope = "ops:read", .traffic = CLASS_OPS,
     .query = held_show, .answer = &held_story_shape,
     .refusals = ROUTE_REFUSES(ERR_NOT_FOUND), .help = "A held delivery and its failed attempts"},
    {.method = "POST", .path = "/ops/held/{id}/retry", .scope = "ops:retry", .traffic = CLASS_OPS,
     .query = held_retry, .body = &held_retry_shape, .answer = &held_decided_shape,
     .refusals = ROUTE_REFUSES(ERR_NOT_FOUND, ERR_CONFLICT),
     .help = "Send a held delivery again, and what waits behind it"},
    {.method = "POST", .path = "/ops/held/{id}/edit", .scope = "ops:retry", .traffic = CLASS_OPS,
     .flags = ROUTE_TWO_PERSONS, .query = held_edit_query, .body = &held_edit_shape, .answer = &held_edited_shape,
     .refusals = ROUTE_REFUSES(ERR_NOT_FOUND, ERR_CONFLICT),
     .help = "Change what goes out of a held delivery, with a reason, and send it again; the event stays what it is",
     .more = "With dry_run, nothing is done: `preview` shows what would go out."},
    {.method = "POST", .path = "/ops/held/{id}/discard", .scope = "ops:retry",
     .traffic = CLASS_OPS, .flags = ROUTE_TWO_PERSONS, .query = held_discard,
     .body = &held_discard_shape, .answer = &held_decided_shape, .refusals = ROUTE_REFUSES(ERR_NOT_FOUND, ERR_CONFLICT),
     .help = "Give a held delivery up for good, with a reason; what waits behind it goes on"},
    {.method = "POST", .path = "/ops/held/bulk", .scope = "ops:retry", .traffic = CLASS_OPS,
     .flags = ROUTE_TWO_PERSONS | ROUTE_LINES, .query = held_bulk_query, .body = &held_bulk_shape,
     .answer = &held_bulk_line_shape,
     .help = "Send again, edit or give up many held deliveries: those named, or all that a filter finds; a "
             "line of NDJSON for each"},
    {.method = NULL},
};
