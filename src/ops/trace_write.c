/* trace_write: a trace as JSON: one match per story, its events in order, each in words. */
#include "base/clock.h"
#include "ops/trace.h"

static void member_str(struct buf *out, const char *name, struct str value) {
    if (value.len == 0)
        return;
    buf_printf(out, ",\"%s\":", name);
    buf_json_str(out, value);
}

static void member_time(struct buf *out, const char *name, int64_t us) {
    buf_printf(out, ",\"%s\":\"", name);
    instant_write(out, (struct instant){.us = us});
    buf_char(out, '"');
}

static void event_write(const struct trace_event *event, struct json_parser *parser,
                        struct arena *arena, struct buf *out) {
    struct buf words;
    buf_init(&words, 0);
    buf_printf(out, "{\"seq\":%llu", (unsigned long long)event->record.seq);
    member_time(out, "time", event->record.time_us);
    buf_lit(out, ",\"type\":\"" EVENT_TYPE_PREFIX);
    buf_str_add(out, event->record.type);
    buf_lit(out, EVENT_TYPE_SUFFIX "\"");
    member_str(out, "subject", event->record.subject);
    member_str(out, "correlation_id", event->meta->correlation);
    member_str(out, "actor", event->meta->actor);
    member_str(out, "command", event->meta->command);
    member_str(out, "idempotency_key", event->meta->idem_key);
    if (event->meta->cause > 0)
        buf_printf(out, ",\"cause_seq\":%lld", (long long)event->meta->cause);
    buf_printf(out, ",\"match\":%s,\"what\":", event->match ? "true" : "false");
    trace_words(event, parser, arena, &words);
    buf_json_str(out, buf_str(&words));
    buf_char(out, '}');
    buf_free(&words);
}

/* Distinct values of the story's events, as a JSON array. */
static void distinct_write(const struct trace *trace, const struct trace_story *story,
                           struct str (*of)(const struct trace_event *), struct buf *out) {
    bool first = true;
    buf_char(out, '[');
    for (uint32_t i = 0; i < story->count; i++) {
        struct str value = of(&trace->events[story->first + i]);
        bool seen = value.len == 0;
        for (uint32_t k = 0; !seen && k < i; k++)
            seen = str_eq(of(&trace->events[story->first + k]), value);
        if (seen)
            continue;
        if (!first)
            buf_char(out, ',');
        first = false;
        buf_json_str(out, value);
    }
    buf_char(out, ']');
}

static struct str subject_of(const struct trace_event *event) { return event->record.subject; }
static struct str correlation_of(const struct trace_event *event) {
    return event->meta->correlation;
}

static enum err story_write(const struct trace *trace, const struct trace_story *story,
                            const struct trace_outlook *outlook, struct json_parser *parser,
                            struct arena *arena, struct buf *out, struct fault *fault) {
    enum err err = OK;
    buf_lit(out, "{\"subjects\":");
    distinct_write(trace, story, subject_of, out);
    buf_lit(out, ",\"correlation_ids\":");
    distinct_write(trace, story, correlation_of, out);
    member_time(out, "from", trace->events[story->first].record.time_us);
    member_time(out, "until", trace->events[story->first + story->count - 1].record.time_us);
    buf_lit(out, ",\"events\":[");
    for (uint32_t i = 0; i < story->count; i++) {
        if (i > 0)
            buf_char(out, ',');
        event_write(&trace->events[story->first + i], parser, arena, out);
    }
    buf_lit(out, "],\"waiting\":[");
    if (outlook)
        err = trace_waiting_write(trace, story, outlook, parser, arena, out, fault);
    buf_lit(out, "]}");
    return err;
}

enum err trace_write(const struct trace *trace, const struct trace_outlook *outlook,
                     struct json_parser *parser, struct arena *arena, struct buf *out,
                     struct fault *fault) {
    enum err err = OK;
    buf_lit(out, "{\"id\":");
    buf_json_str(out, trace->id);
    buf_printf(out, ",\"seq\":%llu,\"truncated\":%s,\"matches\":[", (unsigned long long)trace->seq,
               trace->truncated ? "true" : "false");
    for (uint32_t s = 0; err == OK && s < trace->story_count; s++) {
        if (s > 0)
            buf_char(out, ',');
        err = story_write(trace, &trace->stories[s], outlook, parser, arena, out, fault);
    }
    buf_lit(out, "]}");
    return err;
}
