/* drop_ops: what people see of file drops, over HTTP. Owns nothing. */
#include "base/clock.h"
#include "connect/drop_priv.h"

static const char *const states[] = {"unusable", "waiting", "reading", "failing", NULL};
static const struct shape_field files_rows[] = {
    SHAPE_SAID("connector", SHAPE_CODE, "Whose they are", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("topic", SHAPE_CODE, "What is in them", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("state", SHAPE_ENUM, "How it fares", .flags = SHAPE_REQUIRED, .values = states),
    SHAPE_MAYBE("file", SHAPE_TEXT, "The one under way"),
    SHAPE_COUNT("files", "That came to their end, since the start"),
    SHAPE_COUNT("repeated", "Of these: were taken before"),
    SHAPE_COUNT("rejected", "Of these: went to error/, in part or whole"),
    SHAPE_COUNT("records", "That were read, since the start"),
    SHAPE_COUNT("taken", "Of these: new"),
    SHAPE_COUNT("bad", "What could not be read, since the start"),
    SHAPE_MAYBE("done_at", SHAPE_INSTANT, "When the last one came to its end"),
    SHAPE_MAYBE("failed_at", SHAPE_INSTANT, "The last failure"),
    SHAPE_MAYBE("error", SHAPE_TEXT, "What it was"),
};
static SHAPE_DEFINE_SAID(files_shape, "files", "A folder in which another system leaves files", files_rows);

static void stats_write(struct query *query, const struct drop_stats *stats) {
    struct buf *out = query->out;
    buf_lit(out, "{\"connector\":");
    buf_json_str(out, stats->connector);
    query_member(query, "topic", stats->topic);
    buf_printf(out, ",\"state\":\"%s\"", states[stats->state]);
    query_member(query, "file", stats->file[0] ? str_c(stats->file) : STR_NONE);
    buf_printf(out, ",\"files\":%llu,\"repeated\":%llu,\"rejected\":%llu,\"records\":%llu,\"taken\":%llu,"
               "\"bad\":%llu", (unsigned long long)stats->files, (unsigned long long)stats->repeated,
               (unsigned long long)stats->rejected, (unsigned long long)stats->records,
               (unsigned long long)stats->taken, (unsigned long long)stats->bad);
    instant_member(out, "done_at", stats->done_us);
    instant_member(out, "failed_at", stats->failed_us);
    query_member(query, "error", stats->error[0] ? str_c(stats->error) : STR_NONE);
    buf_char(out, '}');
}

static enum err files_query(struct query *query, struct fault *fault) {
    struct drop_stats *all = arena_array(query->arena, DROPS_MAX, sizeof *all);
    if (!all)
        return fault_set(fault, ERR_NOMEM, "no memory for the answer");
    uint32_t count = drop_list(query->ctx, all, DROPS_MAX);
    list_begin(query->out);
    for (uint32_t i = 0; i < count; i++) {
        list_next(query->out);
        stats_write(query, &all[i]);
    }
    list_end(query->out, STR_NONE);
    return OK;
}

const struct route drop_routes[] = {
    {.method = "GET", .path = "/ops/files", .scope = "ops:read", .traffic = CLASS_OPS,
     .query = files_query, .answer = &files_shape, .flags = ROUTE_LIST,
     .help = "Folders in which other systems leave files, and how those fared"},
    {.method = NULL},
};
