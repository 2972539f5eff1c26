/* streams_ops: what people see of streams, over HTTP. Owns nothing. */
#include "base/clock.h"
#include "connect/streams_priv.h"

static const char *const states[] = {"unusable", "connecting", "reading", "failing", NULL};
static const struct shape_field stream_rows[] = {
    SHAPE_SAID("connector", SHAPE_CODE, "Whose it is", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("topic", SHAPE_CODE, "What is in it", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("state", SHAPE_ENUM, "How it fares", .flags = SHAPE_REQUIRED, .values = states),
    SHAPE_MAYBE("place", SHAPE_TEXT, "Of the last message that is done"),
    SHAPE_COUNT("messages", "That are done, since the start"),
    SHAPE_COUNT("taken", "Of these: new"),
    SHAPE_COUNT("known", "Of these: were in the journal before"),
    SHAPE_COUNT("bad", "Of these: could not be taken, and are exceptions"),
    SHAPE_COUNT("failures", "Times that it was lost, or could not be reached, since the start"),
    SHAPE_MAYBE("waiting", SHAPE_INTEGER, "Messages that wait in it, as its server said last", .max = INT64_MAX),
    SHAPE_MAYBE("done_at", SHAPE_INSTANT, "When the last message was done"),
    SHAPE_MAYBE("failed_at", SHAPE_INSTANT, "The last failure"),
    SHAPE_MAYBE("error", SHAPE_TEXT, "What it was"),
};
static SHAPE_DEFINE_SAID(stream_shape, "stream", "A stream of another system that is read", stream_rows);

static void stats_write(struct query *query, const struct stream_stats *stats) {
    struct buf *out = query->out;
    buf_lit(out, "{\"connector\":");
    buf_json_str(out, stats->connector);
    query_member(query, "topic", stats->topic);
    query_member(query, "state", str_c(states[stats->state]));
    query_member(query, "place", stats->place[0] ? str_c(stats->place) : STR_NONE);
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = {{"messages", stats->messages}, {"taken", stats->taken}, {"known", stats->known},
                  {"bad", stats->bad}, {"failures", stats->failures}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        buf_printf(out, ",\"%s\":%llu", counts[i].name, (unsigned long long)counts[i].value);
    buf_lit(out, ",\"waiting\":");
    if (stats->waiting < 0)
        buf_lit(out, "null");
    else
        buf_i64(out, stats->waiting);
    instant_member(out, "done_at", stats->done_us);
    instant_member(out, "failed_at", stats->failed_us);
    query_member(query, "error", stats->error[0] ? str_c(stats->error) : STR_NONE);
    buf_char(out, '}');
}

static enum err streams_query(struct query *query, struct fault *fault) {
    struct stream_stats *all = arena_array(query->arena, STREAMS_MAX, sizeof *all);
    if (!all)
        return fault_set(fault, ERR_NOMEM, "no memory for the answer");
    uint32_t count = streams_list(query->ctx, all, STREAMS_MAX);
    list_begin(query->out);
    for (uint32_t i = 0; i < count; i++) {
        list_next(query->out);
        stats_write(query, &all[i]);
    }
    list_end(query->out, STR_NONE);
    return OK;
}

const struct route streams_routes[] = {
    {.method = "GET", .path = "/ops/streams", .scope = "ops:read", .traffic = CLASS_OPS,
     .query = streams_query, .answer = &stream_shape, .flags = ROUTE_LIST,
     .help = "Streams of other systems that are read, and how those fare"},
    {.method = NULL},
};
