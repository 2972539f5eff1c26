/* trace_waiting: what of a story is still to be delivered, to whom, and why it waits. From the
 * connectors (who wants the event), the story itself (what was posted) and the progress of
 * delivery (what is held or retried). Reads only. */
#include "deliver/progress.h"
#include "ops/trace.h"

#define POSTED_MAX 256

struct waiting {
    const struct trace *trace;
    const struct trace_story *story;
    const struct trace_outlook *outlook;
    struct posted {
        struct str subscription;
        uint64_t seq;
    } posted[POSTED_MAX];
    uint32_t posted_count, written;
    struct buf *out;
};

static void posted_collect(struct waiting *w, struct json_parser *parser, struct arena *arena) {
    for (uint32_t i = 0; i < w->story->count && w->posted_count < POSTED_MAX; i++) {
        const struct trace_event *event = &w->trace->events[w->story->first + i];
        const struct json *data;
        struct fault fault = {0};
        int64_t seq;
        if (!str_is(event->record.type, "posting.posted") ||
            json_parse(parser, arena, event->record.data, false, &data, &fault) != OK ||
            data->kind != JSON_OBJECT)
            continue;
        const struct json *of = json_member(data, STR("event_seq"));
        if (of && json_i64(of, &seq))
            w->posted[w->posted_count++] =
                (struct posted){json_member_str(data, STR("subscription")), (uint64_t)seq};
    }
}

static bool was_posted(const struct waiting *w, struct str subscription, uint64_t seq) {
    for (uint32_t i = 0; i < w->posted_count; i++)
        if (w->posted[i].seq == seq && str_eq(w->posted[i].subscription, subscription))
            return true;
    return false;
}

static void text_member(struct buf *out, const char *name, struct str text) {
    if (text.len == 0)
        return;
    buf_printf(out, ",\"%s\":", name);
    buf_json_str(out, text);
}

static void waiting_write(struct waiting *w, const struct connector_send *send, uint64_t seq,
                          const char *state, uint32_t attempts, struct str cause) {
    buf_printf(w->out, "%s{\"event_seq\":%llu,\"state\":\"%s\",\"attempts\":%u",
               w->written++ > 0 ? "," : "", (unsigned long long)seq, state, attempts);
    text_member(w->out, "subscription", send->subscription);
    text_member(w->out, "connector", send->connector->name);
    text_member(w->out, "cause", cause);
    buf_char(w->out, '}');
}

struct listed {
    struct waiting *w;
    const struct connector_send *send;
    uint64_t seq;
};

static bool listed_visit(void *ctx, const struct progress_row *row) {
    struct listed *listed = ctx;
    if (row->seq == listed->seq && str_eq(row->subscription, listed->send->subscription))
        waiting_write(listed->w, listed->send, row->seq, row->due_us > 0 ? "retrying" : "held",
                      row->attempts, row->cause);
    return false;
}

/* One event, one subscription that wants it and did not say that it has it. */
static enum err subscription_look(struct waiting *w, const struct connector_send *send,
                                  uint64_t seq, struct fault *fault) {
    struct deliver *deliver = w->outlook->deliver;
    struct deliver_stats stats = {0};
    bool found = false;
    for (uint32_t i = 0; i < deliver_count(deliver) && !found; i++) {
        found = deliver_stats(deliver, i, &stats) && str_eq(stats.subscription, send->subscription);
    }
    if (!found || !stats.usable)
        return OK;
    if (seq > stats.cursor) {
        /* an error that was followed by a success is over */
        bool failing = stats.broken || stats.failed_us > stats.delivered_us;
        waiting_write(w, send, seq, stats.stopped ? "stopped" : stats.broken ? "unreachable" : "waiting", 0,
                      failing ? str_c(stats.error) : STR_NONE);
        return OK;
    }
    struct listed listed = {w, send, seq};
    return deliver_held(deliver, send->subscription, seq - 1, 1, listed_visit, &listed, fault);
}

enum err trace_waiting_write(const struct trace *trace, const struct trace_story *story,
                             const struct trace_outlook *outlook, struct json_parser *parser,
                             struct arena *arena, struct buf *out, struct fault *fault) {
    struct waiting *w = arena_new(arena, struct waiting);
    enum err err = OK;
    if (!w)
        return fault_set(fault, ERR_NOMEM, "out of memory");
    *w = (struct waiting){.trace = trace, .story = story, .outlook = outlook, .out = out};
    posted_collect(w, parser, arena);
    const struct connectors *connectors = roster_take(outlook->roster);
    for (uint32_t i = 0; i < story->count; i++) {
        const struct record *record = &trace->events[story->first + i].record;
        for (uint32_t c = 0; c < connectors->count; c++) {
            const struct connector *connector = connectors->items[c];
            for (uint32_t s = 0; err == OK && s < connector->send.count; s++) {
                const struct connector_send *send =
                    list_at(connector->send, struct connector_send, s);
                if (connector_wants(send, record->type) &&
                    !was_posted(w, send->subscription, record->seq))
                    err = subscription_look(w, send, record->seq, fault);
            }
        }
    }
    connectors_release(connectors);
    return err;
}
