/* command_span: the spans of a command whose trace is sampled: that it was decided, and that its
 * batch was committed. Children of whoever issued it; the writer's thread. */
#include "base/span.h"
#include "core/core_priv.h"

void core_decide_traced(struct core *core, struct command *command) {
    if (!span_sampled(command->traceparent)) {
        core_decide(core, command);
        return;
    }
    command->decide_us = clock_now_us(core->clock);
    core_decide(core, command);
    command->decided_us = clock_now_us(core->clock);
}

static const char *outcome_of(const struct command *command) {
    if (command->answer.err != OK)
        return "refused";
    return command->answer.replayed ? "replayed" : "done";
}

static void command_span(const struct command *command) {
    struct str traceparent = command->traceparent;
    struct span *span = span_begin(SPAN_INTERNAL, traceparent, NULL, traceparent_span(traceparent),
                                   command->decide_us, command->decided_us);
    span_name(span, "decide %s", command->type->name);
    span_text(span, "penstock.command", str_c(command->type->name));
    span_text(span, "penstock.outcome", str_c(outcome_of(command)));
    if (command->answer.err != OK)
        span_text(span, "penstock.error", str_c(err_info(command->answer.err)->slug));
    span_number(span, "penstock.waited_us", command->decide_us - command->now_us);
    span_end(span, false);
}

static void commit_span(const struct core *core, const struct command *command, uint32_t commands,
                        int64_t from_us, int64_t to_us, bool committed) {
    struct str traceparent = command->traceparent;
    struct span *span = span_begin(SPAN_INTERNAL, traceparent, NULL, traceparent_span(traceparent),
                                   from_us, to_us);
    span_name(span, "commit");
    span_number(span, "penstock.batch.commands", commands);
    span_number(span, "penstock.batch.events", core->batch.count);
    span_number(span, "penstock.seq", (int64_t)core->seq);
    span_end(span, !committed);
}

void core_spans(const struct core *core, const struct command *first, uint32_t commands,
                int64_t from_us, bool committed) {
    int64_t now_us = 0;
    if (!spans_on())
        return;
    for (const struct command *command = first; command; command = command->next) {
        if (!command->decide_us)
            continue;
        now_us = now_us ? now_us : clock_now_us(core->clock);
        command_span(command);
        if (core->batch.count > 0 && !(command->type->flags & COMMAND_READS))
            commit_span(core, command, commands, from_us, now_us, committed);
    }
}
