/* read_model: see read_model.h. */
#include "ops/read_model.h"

#include <inttypes.h>

#include "ops/overview.h"
#include "store/read_model.h"

static void state_write(struct read_model *model, struct query *query) {
    struct read_model_rebuilding now;
    struct reader_lag lag;
    read_model_rebuild_look(model, &now);
    read_model_lag(model, &lag);
    query->seq = read_model_seq(model);
    buf_printf(query->out,
               "{\"seq\":%" PRIu64 ",\"behind\":%" PRIu64 ",\"behind_ms\":%" PRId64
               ",\"rebuild\":{\"state\":\"%s\",\"seq\":%" PRIu64 ",\"target\":%" PRIu64
               ",\"took_ms\":%" PRId64,
               query->seq, lag.events, lag.us / 1000, read_model_rebuild_states[now.state], now.seq,
               now.target, now.took_us / 1000);
    query_member(query, "reason", now.state == REBUILD_FAILED ? str_c(now.reason) : STR_NONE);
    buf_lit(query->out, "}}");
}

enum err read_model_query(struct query *query, struct fault *fault) {
    const struct ops_context *context = query->ctx;
    (void)fault;
    state_write(context->read_model, query);
    return OK;
}

enum err read_model_rebuild_query(struct query *query, struct fault *fault) {
    const struct ops_context *context = query->ctx;
    enum err err = read_model_rebuild_start(context->read_model, fault);
    if (err != OK)
        return err;
    state_write(context->read_model, query);
    query->status = 202;
    return OK;
}
