/* stop_ops: subscriptions that stand still, over HTTP: which, and stopping and starting them. Owns
 * nothing. */
#include "deliver/deliver_shapes.h"
#include "deliver/deliver_ops.h"
#include "deliver/stop.h"

void stopped_write(struct buf *out, const struct deliver_stats *stats) {
    if (!stats->stopped)
        return;
    buf_printf(out, ",\"stopped\":{\"why\":\"%s\"", stop_whys[stats->stop.why]);
    instant_member(out, "since", stats->stop.since_us);
    buf_json_member(out, "cause", str_c(stats->stop.cause));
    buf_json_member(out, "by", str_c(stats->stop.by));
    buf_char(out, '}');
}

static enum err subscription_switch(struct query *query, bool stop, struct fault *fault) {
    struct str name = query->args[0];
    void *decision;
    enum err err = query_body(query, &subscription_switch_shape, &decision, fault);
    if (err != OK)
        return err;
    struct str reason = ((const struct ops_decision *)decision)->reason;
    err = stop ? deliver_subscription_stop(query->ctx, name, query->actor, reason, fault)
               : deliver_subscription_start(query->ctx, name, query->actor, reason, fault);
    if (err != OK)
        return err;
    buf_lit(query->out, "{\"subscription\":");
    buf_json_str(query->out, name);
    buf_printf(query->out, ",\"state\":\"%s\"}", stop ? "stopped" : "started");
    return OK;
}

enum err subscription_stop_query(struct query *query, struct fault *fault) {
    return subscription_switch(query, true, fault);
}

enum err subscription_start_query(struct query *query, struct fault *fault) {
    return subscription_switch(query, false, fault);
}
