/* ops: the routes of the operations side. */
#include "ops/ops.h"

#include "core/core.h"
#include "ops/audit_list.h"
#include "ops/ops_shapes.h"
#include "ops/overview.h"
#include "ops/read_model.h"
#include "ops/trace.h"

static enum err trace_query(struct query *query, struct fault *fault) {
    const struct ops_context *context = query->ctx;
    struct trace trace;
    struct reader *reader = query->reader;
    enum err err = trace_find(reader, core_registry(reader->core), query->args[0], query->arena,
                              &trace, fault);
    if (err != OK)
        return err;
    query->seq = trace.seq;
    return trace_write(&trace, &context->outlook, reader->parser, query->arena, query->out, fault);
}

const struct route ops_routes[] = {
    {.method = "GET",
     .path = "/ops/audit",
     .scope = SCOPE_AUDIT,
     .traffic = CLASS_OPS,
     .query = audit_query,
     .params = audit_params,
     .answer = &audit_line_shape,
     .flags = ROUTE_AUDITED,
     .help = "Who did what, when, from where: every change, every denied or refused call, reads of "
             "what is personal, administration; in the journal's order"},
    {.method = "GET",
     .path = "/ops/audit/anchor",
     .scope = SCOPE_AUDIT,
     .traffic = CLASS_OPS,
     .query = audit_anchor_query,
     .answer = &audit_anchor_shape,
     .help = "Hashes of the journal as it is, to be kept elsewhere: `penstock audit verify --anchor`"},
    {.method = "GET",
     .path = "/ops/overview",
     .scope = "ops:read",
     .traffic = CLASS_OPS,
     .query = overview_query,
     .answer = &overview_shape,
     .help = "The state of the hub at a glance: what waits for a person, what for another system"},
    {.method = "GET",
     .path = "/ops/read-model",
     .scope = "ops:read",
     .traffic = CLASS_OPS,
     .query = read_model_query,
     .answer = &read_model_shape,
     .help = "How far the tables for queries are behind the journal, and how far a rebuild is"},
    {.method = "POST",
     .path = "/ops/read-model/rebuild",
     .scope = "ops:rebuild",
     .traffic = CLASS_OPS,
     .query = read_model_rebuild_query,
     .answer = &read_model_shape,
     .status = 202,
     .refusals = ROUTE_REFUSES(ERR_CONFLICT),
     .help = "Makes the tables for queries anew from the journal, while the present ones answer"},
    {.method = "GET",
     .path = "/ops/trace/{id}",
     .scope = "ops:read",
     .traffic = CLASS_OPS,
     .query = trace_query,
     .answer = &trace_shape,
     .refusals = ROUTE_REFUSES(ERR_NOT_FOUND),
     .help = "The whole story behind any id a person holds: every match, its events in order, in "
             "words"},
    {0},
};
