/* overview: counts from the read model, positions from core and read model. Reads only. */
#include "ops/overview.h"

#include <inttypes.h>

static const struct table *table_find(const struct registry *registry, const char *name) {
    for (const struct capability *const *c = registry_capabilities(registry); *c; c++)
        for (const struct table *const *t = (*c)->tables; t && *t; t++)
            if (strcmp((*t)->name, name) == 0)
                return *t;
    return NULL;
}

static bool row_count(void *ctx, const struct row_value *values) {
    (void)values;
    ++*(uint32_t *)ctx;
    return true;
}

enum err overview_count(struct query *query, const char *name, const char *column,
                        struct str value, uint32_t *count, struct fault *fault) {
    const struct table *table = table_find(core_registry(query->reader->core), name);
    struct row_filter filter = {.op = ROW_EQ, .value = row_text(value)};
    struct str next;
    must(table);
    while (filter.column < table->count &&
           strcmp(table->columns[filter.column].name, column) != 0)
        filter.column++;
    must(filter.column < table->count);
    struct row_query rows = {.table = table, .filters = &filter, .filter_count = 1,
                             .sort_column = 0, .limit = OVERVIEW_COUNT_MAX};
    *count = 0;
    return query->reader->ops->list(query->reader, &rows, query->arena, row_count, count, &next,
                                    fault);
}

/* What waits for other systems: one object per subscription. */
static void subscriptions_write(struct deliver *deliver, struct buf *out) {
    buf_lit(out, ",\"subscriptions\":[");
    uint32_t count = deliver_count(deliver);
    bool any = false;
    for (uint32_t i = 0; i < count; i++) {
        struct deliver_stats stats;
        if (!deliver_stats(deliver, i, &stats))
            continue;
        buf_printf(out, "%s{\"subscription\":", any ? "," : "");
        any = true;
        buf_json_str(out, stats.subscription);
        buf_printf(out, ",\"state\":\"%s\",\"behind\":%" PRIu64 ",\"waiting\":%" PRIu32
                        ",\"held\":%" PRIu32 "}",
                   deliver_state(&stats), stats.behind, stats.waiting, stats.held);
    }
    buf_char(out, ']');
}

enum err overview_query(struct query *query, struct fault *fault) {
    const struct ops_context *context = query->ctx;
    uint64_t newest = core_seq(context->core), reached = 0;
    uint32_t held = 0, open = 0, parked = 0;
    struct reader_lag lag;
    enum err err = query->reader->ops->seq(query->reader, &reached, fault);
    query->reader->ops->lag(query->reader, &lag);
    if (err == OK)
        err = overview_count(query, "orders", "state", STR("held"), &held, fault);
    if (err == OK)
        err = overview_count(query, "exceptions", "state", STR("open"), &open, fault);
    if (err == OK)
        err = overview_count(query, "parked", "state", STR("parked"), &parked, fault);
    if (err != OK)
        return err;
    query->seq = reached;
    struct buf *out = query->out;
    buf_printf(out, "{\"seq\":%" PRIu64 ",\"ready\":%s,\"started_at\":\"", newest,
               core_ready(context->core) ? "true" : "false");
    instant_write(out, (struct instant){.us = context->started_us / 1000 * 1000});
    buf_printf(out, "\",\"commands_waiting\":%" PRIu32 ",\"read_model\":{\"seq\":%" PRIu64
                    ",\"behind\":%" PRIu64 ",\"behind_ms\":%" PRId64
                    "},\"orders\":{\"held\":%" PRIu32
                    "},\"exceptions\":{\"open\":%" PRIu32 "},\"payloads\":{\"under_way\":%" PRIu32
                    ",\"parked\":%" PRIu32 "},\"counted_to\":%d",
               core_waiting(context->core), reached, newest > reached ? newest - reached : 0, lag.us / 1000, held,
               open, inbound_under_way(context->inbound), parked, OVERVIEW_COUNT_MAX);
    buf_printf(out, ",\"connectors\":{\"rejected\":%" PRIu32 "}",
               roster_rejected(context->outlook.roster));
    subscriptions_write(context->outlook.deliver, out);
    buf_char(out, '}');
    return OK;
}
