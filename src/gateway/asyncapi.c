/* asyncapi: prints the catalogue of events. Pure: tables in, text out. */
#include "gateway/asyncapi.h"

#include "gateway/contract.h"

struct asyncapi_event {
    const struct api_tables *tables;
    const struct event_type *type;
    const struct contract *contract; /* NULL where none covers it */
};

static void quoted(struct buf *out, const char *before, const char *name, const char *after) {
    buf_char(out, '"');
    buf_printf(out, "%s%s%s", before, name, after);
    buf_char(out, '"');
}

static void help_write(const char *member, const struct event_type *event, struct buf *out) {
    buf_printf(out, "\"%s\":", member);
    buf_json_str(out, str_c(event->help ? event->help : event->name));
}

static void contract_write(const struct contract *contract, struct buf *out) {
    if (!contract)
        return;
    buf_printf(out, ",\"tags\":[{\"name\":\"%s\"}],\"x-contract\":\"%s\",\"x-contract-version\":\"%s\","
                    "\"x-owner\":\"%s\"",
               contract->name, contract->name, contract->version, contract->owner);
    if (contract->sunset)
        buf_printf(out, ",\"x-sunset\":\"%s\"", contract->sunset);
}

static void channel_write(const struct asyncapi_event *event, struct buf *out) {
    const char *name = event->type->name;
    quoted(out, "", name, "");
    buf_lit(out, ":{\"address\":");
    quoted(out, EVENT_TYPE_PREFIX, name, EVENT_TYPE_SUFFIX);
    buf_char(out, ',');
    help_write("description", event->type, out);
    buf_lit(out, ",\"messages\":{");
    quoted(out, "", name, "");
    buf_lit(out, ":{\"$ref\":");
    quoted(out, "#/components/messages/", name, "");
    buf_lit(out, "}}}");
}

static void operation_write(const struct asyncapi_event *event, struct buf *out) {
    const char *name = event->type->name;
    quoted(out, "send.", name, "");
    buf_lit(out, ":{\"action\":\"send\",\"channel\":{\"$ref\":");
    quoted(out, "#/channels/", name, "");
    buf_lit(out, "},");
    help_write("summary", event->type, out);
    buf_printf(out, ",\"description\":\"Read it with GET /v1/events?type=%s (scope events:read)\"",
               name);
    contract_write(event->contract, out);
    buf_lit(out, ",\"messages\":[{\"$ref\":\"#/channels/");
    buf_printf(out, "%s/messages/%s\"}]}", name, name);
}

static void examples_write(const struct asyncapi_event *event, struct buf *out) {
    bool first = true;
    for (const struct api_example *e = event->tables->examples; e && e->name; e++) {
        if (e->method || strcmp(e->path, event->type->name) != 0)
            continue;
        buf_printf(out, "%s{\"name\":\"%s\",\"summary\":", first ? ",\"examples\":[" : ",", e->name);
        buf_json_str(out, str_c(e->title));
        buf_lit(out, ",\"payload\":");
        buf_str_add(out, str_c(e->answer));
        buf_char(out, '}');
        first = false;
    }
    if (!first)
        buf_char(out, ']');
}

static void message_write(const struct asyncapi_event *event, struct buf *out) {
    const char *name = event->type->name;
    quoted(out, "", name, "");
    buf_lit(out, ":{\"name\":");
    quoted(out, EVENT_TYPE_PREFIX, name, EVENT_TYPE_SUFFIX);
    buf_char(out, ',');
    help_write("title", event->type, out);
    buf_lit(out, ",\"contentType\":\"application/cloudevents+json\",\"correlationId\":{"
                 "\"location\":\"$message.payload#/correlationid\"},\"payload\":{\"allOf\":["
                 "{\"$ref\":\"#/components/schemas/cloudevent\"},{\"type\":\"object\","
                 "\"properties\":{\"type\":{\"const\":");
    quoted(out, EVENT_TYPE_PREFIX, name, EVENT_TYPE_SUFFIX);
    buf_char(out, '}');
    if (event->type->shape) {
        buf_lit(out, ",\"data\":{\"$ref\":");
        quoted(out, "#/components/schemas/", event->type->shape->name, "");
        buf_char(out, '}');
    }
    buf_lit(out, "}}]}");
    examples_write(event, out);
    buf_char(out, '}');
}

/* The events of all capabilities, each through `write`, comma between. */
static void events_write(const struct api_tables *tables, struct buf *out,
                         void (*write)(const struct asyncapi_event *, struct buf *)) {
    bool first = true;
    for (const struct capability *const *c = tables->capabilities; *c; c++)
        for (const struct event_type *const *e = (*c)->events; e && *e; e++) {
            struct asyncapi_event event = {tables, *e,
                                           contract_of_event(tables->contracts, (*e)->name)};
            if (!first)
                buf_char(out, ',');
            first = false;
            write(&event, out);
        }
}

/* A tag per contract that has events, and what they share. */
static void tags_write(const struct api_tables *tables, struct buf *out) {
    buf_lit(out, "\"tags\":[{\"name\":\"cloudevents\",\"description\":\"All of them are CloudEvents "
                 "1.0.2\"}");
    for (const struct contract *c = tables->contracts; c && c->name; c++) {
        if (!c->events)
            continue;
        buf_printf(out, ",{\"name\":\"%s\",\"description\":", c->name);
        buf_json_str(out, str_c(c->help));
        buf_lit(out, ",\"externalDocs\":{\"url\":\"" CONTRACT_SITE);
        buf_printf(out, "%s\"}", c->link);
        contract_members_write(c, out);
        buf_char(out, '}');
    }
    buf_char(out, ']');
}

void asyncapi_write(const struct api_tables *tables, const char *version, struct buf *out) {
    struct api_shapes set = {.count = 0};
    for (const struct capability *const *c = tables->capabilities; *c; c++)
        for (const struct event_type *const *e = (*c)->events; e && *e; e++)
            api_shapes_add(&set, (*e)->shape);
    buf_lit(out, "{\"asyncapi\":\"3.0.0\",\"info\":{\"title\":\"Penstock events\",\"version\":");
    buf_json_str(out, str_c(version));
    buf_lit(out, ",\"description\":\"Everything that happened in the hub, in the order it happened. "
                 "Read it as a feed with GET /v1/events (long poll or server-sent events). New "
                 "members in an event and new types of events are no breach of a contract: pass over "
                 "what you do not know.\",\"contact\":{\"name\":\"Penstock\",\"url\":\"" CONTRACT_SITE
                 "\"},\"license\":{\"name\":\"Apache-2.0\",\"url\":"
                 "\"https://www.apache.org/licenses/LICENSE-2.0\"},");
    tags_write(tables, out);
    buf_lit(out, "},\"servers\":{\"hub\":{\"host\":\"127.0.0.1:8480\",\"pathname\":\"/v1/events\","
                 "\"protocol\":\"http\",\"description\":\"A hub where `penstock serve` listens when "
                 "nothing else is said\",\"security\":[{\"type\":\"http\",\"scheme\":\"bearer\","
                 "\"description\":\"With the scope events:read\"}]}},"
                 "\"defaultContentType\":\"application/cloudevents+json\",\"channels\":{");
    events_write(tables, out, channel_write);
    buf_lit(out, "},\"operations\":{");
    events_write(tables, out, operation_write);
    buf_lit(out, "},\"components\":{\"messages\":{");
    events_write(tables, out, message_write);
    buf_lit(out, "},\"schemas\":{");
    api_envelope_write(out);
    if (set.count > 0)
        buf_char(out, ',');
    api_shapes_write(&set, "#/components/schemas/", out);
    buf_lit(out, "}}}\n");
}
