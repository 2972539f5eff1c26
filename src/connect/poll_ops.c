/* poll_ops: what people see of polls, and ask of them, over HTTP. Owns nothing. */
#include "base/clock.h"
#include "connect/poll_priv.h"

static const char *const states[] = {"unusable", "waiting", "running", "failing", NULL};
static const struct shape_field poll_rows[] = {
    SHAPE_SAID("connector", SHAPE_CODE, "Whose it is", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("topic", SHAPE_CODE, "What is fetched", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("state", SHAPE_ENUM, "How it fares", .flags = SHAPE_REQUIRED, .values = states),
    SHAPE_MAYBE("watermark", SHAPE_TEXT, "How far it has come"),
    SHAPE_COUNT("rounds", "Rounds that came to their end, since the start"),
    SHAPE_COUNT("calls", "Since the start"),
    SHAPE_COUNT("items", "That were fetched, since the start"),
    SHAPE_COUNT("taken", "Of these: new or changed"),
    SHAPE_COUNT("failures", "Since the start"),
    SHAPE_MAYBE("success_at", SHAPE_INSTANT, "The end of the last good round"),
    SHAPE_MAYBE("failed_at", SHAPE_INSTANT, "The last failure"),
    SHAPE_MAYBE("due_at", SHAPE_INSTANT, "When it calls again"),
    SHAPE_MAYBE("error", SHAPE_TEXT, "What the last failure was"),
};
static SHAPE_DEFINE_SAID(poll_item_shape, "poll", "What is fetched from another system", poll_rows);

static void stats_write(struct query *query, const struct poll_stats *stats) {
    struct buf *out = query->out;
    buf_lit(out, "{\"connector\":");
    buf_json_str(out, stats->connector);
    query_member(query, "topic", stats->topic);
    buf_printf(out, ",\"state\":\"%s\"", poll_state_name(stats->state));
    query_member(query, "watermark", stats->watermark[0] ? str_c(stats->watermark) : STR_NONE);
    buf_printf(out, ",\"rounds\":%llu,\"calls\":%llu,\"items\":%llu,\"taken\":%llu,\"failures\":%llu",
               (unsigned long long)stats->rounds, (unsigned long long)stats->calls,
               (unsigned long long)stats->items, (unsigned long long)stats->taken,
               (unsigned long long)stats->failures);
    instant_member(out, "success_at", stats->success_us);
    instant_member(out, "failed_at", stats->failed_us);
    instant_member(out, "due_at", stats->due_us);
    query_member(query, "error", stats->error[0] ? str_c(stats->error) : STR_NONE);
    buf_char(out, '}');
}

static enum err polls_query(struct query *query, struct fault *fault) {
    struct poll_stats *all = arena_array(query->arena, POLLS_MAX, sizeof *all);
    if (!all)
        return fault_set(fault, ERR_NOMEM, "no memory for the answer");
    uint32_t count = poller_list(query->ctx, all, POLLS_MAX);
    list_begin(query->out);
    for (uint32_t i = 0; i < count; i++) {
        list_next(query->out);
        stats_write(query, &all[i]);
    }
    list_end(query->out, STR_NONE);
    return OK;
}

static const struct shape_field run_rows[] = {
    SHAPE_SAID("connector", SHAPE_CODE, "Whose it is", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("topic", SHAPE_CODE, "What is fetched", .flags = SHAPE_REQUIRED),
};
static SHAPE_DEFINE_SAID(run_shape, "poll_run", "A round that begins now", run_rows);

static enum err run_query(struct query *query, struct fault *fault) {
    enum err err = poller_run(query->ctx, query->args[0], query->args[1], fault);
    if (err != OK)
        return err;
    buf_lit(query->out, "{\"connector\":");
    buf_json_str(query->out, query->args[0]);
    query_member(query, "topic", query->args[1]);
    buf_char(query->out, '}');
    query->status = 202;
    return OK;
}

const struct route poll_routes[] = {
    {.method = "GET", .path = "/ops/polls", .scope = "ops:read", .traffic = CLASS_OPS,
     .query = polls_query, .answer = &poll_item_shape, .flags = ROUTE_LIST,
     .help = "What is fetched from other systems, how far it has come and how it fares"},
    {.method = "POST", .path = "/ops/polls/{connector}/{topic}/run", .scope = "ops:retry",
     .traffic = CLASS_OPS, .query = run_query, .answer = &run_shape, .status = 202,
     .refusals = ROUTE_REFUSES(ERR_NOT_FOUND, ERR_CONFLICT),
     .help = "Fetch now, whatever the time table says"},
    {.method = NULL},
};
