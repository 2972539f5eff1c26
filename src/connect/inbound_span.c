/* inbound_span: the spans of a partner's message that is processed, where its trace is sampled: under
 * the span of the request that brought it; what comes of it goes on below. */
#include "connect/inbound_priv.h"

static int64_t now_us(const struct slot *slot) {
    return clock_now_us(core_clock(slot->worker->inbound->core));
}

void slot_span_begin(struct slot *slot) {
    slot->traced = span_sampled(slot->traceparent);
    if (!slot->traced)
        return;
    slot->began_us = now_us(slot);
    span_id_make(slot->span);
    slot->under = span_child(slot->under_text, slot->traceparent, slot->span);
}

void slot_mapped(const struct slot *slot, const struct connector_receive *receive, int64_t from_us,
                 bool failed) {
    if (!slot->traced)
        return;
    struct span *span = span_begin(SPAN_INTERNAL, slot->under, NULL, slot->span, from_us,
                                   now_us(slot));
    span_name(span, "map %.*s", STR_FMT(receive->mapping));
    span_text(span, "penstock.connector", slot->payload->connector);
    span_text(span, "penstock.mapping", receive->mapping);
    span_end(span, failed);
}

void slot_span_end(struct slot *slot) {
    static const char *const outcomes[] = {[STEP_PROCESS] = "mapped", [STEP_RAISE] = "failed",
                                           [STEP_SETTLE] = "known",
                                           [STEP_REPAIR] = "mapped"};
    const struct payload *payload = slot->payload;
    if (!slot->traced)
        return;
    struct span *span = span_begin(SPAN_CONSUMER, slot->traceparent, slot->span,
                                   traceparent_span(slot->traceparent), slot->began_us,
                                   now_us(slot));
    if (payload)
        span_name(span, "process %.*s/%.*s", STR_FMT(payload->connector), STR_FMT(payload->topic));
    else
        span_name(span, "process payload");
    span_text(span, "messaging.system", STR("penstock"));
    span_text(span, "messaging.operation.type", STR("process"));
    span_text(span, "messaging.operation.name", STR("map"));
    if (payload) {
        span_text(span, "messaging.destination.name", payload->topic);
        span_text(span, "messaging.message.id", payload->payload_id);
        span_text(span, "penstock.connector", payload->connector);
    }
    span_text(span, "messaging.message.conversation_id", slot->correlation);
    span_number(span, "penstock.seq", (int64_t)slot->seq);
    span_text(span, "penstock.outcome", str_c(outcomes[slot->step]));
    span_end(span, slot->step == STEP_RAISE);
    slot->traced = false;
}
