/* asyncapi: prints the catalogue of events. Pure: tables in, text out. */
#include "gateway/asyncapi.h"

static void quoted(struct buf *out, const char *before, const char *name, const char *after) {
    buf_char(out, '"');
    buf_printf(out, "%s%s%s", before, name, after);
    buf_char(out, '"');
}

/* CloudEvents 1.0.2, JSON format, with the extensions every event of the hub carries. */
static void envelope_write(struct buf *out) {
    buf_lit(out,
            "\"cloudevent\":{\"type\":\"object\",\"description\":\"The envelope every event comes in "
            "(CloudEvents 1.0.2, structured JSON)\",\"required\":[\"specversion\",\"id\",\"source\","
            "\"type\",\"time\",\"subject\",\"penstockseq\"],\"properties\":{"
            "\"specversion\":{\"const\":\"1.0\"},"
            "\"id\":{\"type\":\"string\",\"description\":\"Stable for ever: cell and position in the "
            "journal. A redelivery carries the same id\"},"
            "\"source\":{\"type\":\"string\",\"format\":\"uri-reference\",\"description\":"
            "\"/penstock/<cell>\"},"
            "\"type\":{\"type\":\"string\"},"
            "\"subject\":{\"type\":\"string\",\"description\":\"What the event is about; the order of "
            "events is kept per subject\"},"
            "\"time\":{\"type\":\"string\",\"format\":\"date-time\",\"description\":\"When the hub "
            "recorded it\"},"
            "\"datacontenttype\":{\"const\":\"application/json\"},"
            "\"penstockseq\":{\"type\":\"integer\",\"minimum\":1,\"description\":\"Position in the "
            "journal, without holes\"},"
            "\"correlationid\":{\"type\":\"string\",\"description\":\"Joins everything one business "
            "case did\"},"
            "\"traceparent\":{\"type\":\"string\",\"description\":\"W3C Trace Context of the "
            "request\"},"
            "\"partitionkey\":{\"type\":\"string\",\"description\":\"Equal to subject\"},"
            "\"data\":{\"type\":\"object\"}}}");
}

static void channel_write(const struct event_type *event, struct buf *out) {
    quoted(out, "", event->name, "");
    buf_lit(out, ":{\"address\":");
    quoted(out, EVENT_TYPE_PREFIX, event->name, EVENT_TYPE_SUFFIX);
    buf_lit(out, ",\"description\":");
    buf_json_str(out, str_c(event->help ? event->help : event->name));
    buf_lit(out, ",\"messages\":{");
    quoted(out, "", event->name, "");
    buf_lit(out, ":{\"$ref\":");
    quoted(out, "#/components/messages/", event->name, "");
    buf_lit(out, "}}}");
}

static void operation_write(const struct event_type *event, struct buf *out) {
    quoted(out, "send.", event->name, "");
    buf_lit(out, ":{\"action\":\"send\",\"channel\":{\"$ref\":");
    quoted(out, "#/channels/", event->name, "");
    buf_lit(out, "},\"summary\":");
    buf_json_str(out, str_c(event->help ? event->help : event->name));
    buf_lit(out, ",\"messages\":[{\"$ref\":\"#/channels/");
    buf_printf(out, "%s/messages/%s\"}]}", event->name, event->name);
}

static void message_write(const struct event_type *event, struct buf *out) {
    quoted(out, "", event->name, "");
    buf_lit(out, ":{\"name\":");
    quoted(out, EVENT_TYPE_PREFIX, event->name, EVENT_TYPE_SUFFIX);
    buf_lit(out, ",\"title\":");
    buf_json_str(out, str_c(event->help ? event->help : event->name));
    buf_lit(out, ",\"contentType\":\"application/cloudevents+json\",\"correlationId\":{"
                 "\"location\":\"$message.payload#/correlationid\"},\"payload\":{\"allOf\":["
                 "{\"$ref\":\"#/components/schemas/cloudevent\"},{\"type\":\"object\","
                 "\"properties\":{\"type\":{\"const\":");
    quoted(out, EVENT_TYPE_PREFIX, event->name, EVENT_TYPE_SUFFIX);
    buf_char(out, '}');
    if (event->shape) {
        buf_lit(out, ",\"data\":{\"$ref\":");
        quoted(out, "#/components/schemas/", event->shape->name, "");
        buf_char(out, '}');
    }
    buf_lit(out, "}}]}}");
}

/* The events of all capabilities, each through `write`, comma between. */
static void events_write(const struct api_tables *tables, struct buf *out,
                         void (*write)(const struct event_type *, struct buf *)) {
    bool first = true;
    for (const struct capability *const *c = tables->capabilities; *c; c++)
        for (const struct event_type *const *e = (*c)->events; e && *e; e++) {
            if (!first)
                buf_char(out, ',');
            first = false;
            write(*e, out);
        }
}

void asyncapi_write(const struct api_tables *tables, const char *version, struct buf *out) {
    struct api_shapes set = {.count = 0};
    for (const struct capability *const *c = tables->capabilities; *c; c++)
        for (const struct event_type *const *e = (*c)->events; e && *e; e++)
            api_shapes_add(&set, (*e)->shape);
    buf_lit(out, "{\"asyncapi\":\"3.0.0\",\"info\":{\"title\":\"Penstock events\",\"version\":");
    buf_json_str(out, str_c(version));
    buf_lit(out, ",\"description\":\"Everything that happened in the hub, in the order it happened. "
                 "Read it as a feed with GET /v1/events (long poll or server-sent events).\","
                 "\"license\":{\"name\":\"Apache-2.0\",\"url\":"
                 "\"https://www.apache.org/licenses/LICENSE-2.0\"}},"
                 "\"defaultContentType\":\"application/cloudevents+json\",\"channels\":{");
    events_write(tables, out, channel_write);
    buf_lit(out, "},\"operations\":{");
    events_write(tables, out, operation_write);
    buf_lit(out, "},\"components\":{\"messages\":{");
    events_write(tables, out, message_write);
    buf_lit(out, "},\"schemas\":{");
    envelope_write(out);
    if (set.count > 0)
        buf_char(out, ',');
    api_shapes_write(&set, "#/components/schemas/", out);
    buf_lit(out, "}}}\n");
}
