/* connector_load_streams: what connector.yaml says of streams: section `streams`, and deliveries whose request
 * has the address of one. */
#include "base/planted.h"
#include "connect/auth.h"
#include "connect/connector_files.h"
#include "connect/connector_priv.h"
#include "connect/connector_streams.h"
#include "connect/stream_source.h"

/* The attributes of the event, where the CloudEvents bindings for NATS and for Kafka have them (binary
 * mode); what stands in connector.yaml goes before. */
static const struct {
    const char *nats, *kafka, *value;
} attributes[] = {
    {"Nats-Msg-Id", "penstock_id", "{event.id}"}, /* by which JetStream, or a look-up, knows one that is there */
    {"ce-specversion", "ce_specversion", "1.0"},
    {"ce-id", "ce_id", "{ce.id}"}, /* by which who reads the topic knows it */
    {"ce-source", "ce_source", "{ce.source}"},
    {"ce-type", "ce_type", "{ce.type}"},
    {"ce-subject", "ce_subject", "{ce.subject}"},
    {"ce-time", "ce_time", "{ce.time}"},
};
#define ATTRIBUTES (sizeof attributes / sizeof attributes[0])

static bool header_there(const struct connector_request *request, const char *name) {
    for (uint32_t i = 0; i < request->header_count; i++)
        if (str_eq_nocase(request->headers[i].name, str_c(name)))
            return true;
    return false;
}

static bool headers_add(struct loader *l, struct connector_request *request, enum stream_kind kind, bool asked) {
    struct connector_header *all =
        arena_array(l->arena, request->header_count + ATTRIBUTES, sizeof *all);
    uint32_t count = 0;
    if (!all)
        return false;
    for (uint32_t i = 0; i < request->header_count; i++)
        all[count++] = request->headers[i];
    uint32_t first = kind == STREAM_KAFKA && !asked ? 1 : 0; /* Kafka knows nothing by an id */
    for (uint32_t i = first; i < ATTRIBUTES; i++) {
        const char *name = kind == STREAM_NATS ? attributes[i].nats : attributes[i].kafka;
        if (name && !header_there(request, name))
            all[count++] = (struct connector_header){str_c(name), str_c(attributes[i].value)};
    }
    request->headers = all;
    request->header_count = count;
    return true;
}

#define SETTLE_MS 2000
#define SETTLE_MS_MAX 600000

/* Whether it is looked for where it is in doubt, and how. A value that is set (conflate) and a batch, whose
 * members are one record, may be there twice. */
static bool kafka_asked(struct loader *l, const struct connector_send *send, const struct stream_url *url,
                        struct str at, int64_t *settle_ms) {
    struct str look = stream_url_option(url, "look", l->arena);
    struct str records = stream_url_option(url, "look_records", l->arena);
    struct str settle = stream_url_option(url, "look_settle_ms", l->arena);
    uint64_t number = KAFKA_LOOK_RECORDS, ms = SETTLE_MS;
    if (look.ptr && !str_is(look, "on") && !str_is(look, "off"))
        yaml_fault(&l->yaml, l->fault, at, "look is on or off");
    if (records.ptr &&
        (!str_u64(records, &number) || number < KAFKA_LOOK_RECORDS_MIN || number > KAFKA_LOOK_RECORDS_MAX))
        yaml_fault(&l->yaml, l->fault, at, "look_records is %d to %d", KAFKA_LOOK_RECORDS_MIN,
                   KAFKA_LOOK_RECORDS_MAX);
    if (settle.ptr && (!str_u64(settle, &ms) || ms > SETTLE_MS_MAX))
        yaml_fault(&l->yaml, l->fault, at, "look_settle_ms is 0 to %d", SETTLE_MS_MAX);
    *settle_ms = (int64_t)ms;
    return !str_is(look, "off") && !send->conflate && !send->batch;
}

/* Is it there? The same request, as a question (driver_nats.h, driver_kafka.h). */
static bool lookup_add(struct loader *l, struct connector_send *send, const char *found, int64_t settle_ms) {
    struct connector_lookup *lookup = arena_new(l->arena, struct connector_lookup);
    if (!lookup)
        return false;
    lookup->request = *send->request;
    lookup->request.method = STR("GET");
    lookup->found = str_c(found);
    lookup->reference = send->reference;
    lookup->settle_ms = settle_ms;
    send->lookup = lookup;
    return true;
}

/* What an address must be, wherever it stands. */
static bool address_check(struct loader *l, struct str address, struct str at, struct stream_url *url) {
    struct fault fault = {0};
    struct str which;
    const struct connector_auth *auth = l->connector->auth;
    if (stream_url_read(address, l->arena, url, &fault) != OK) {
        yaml_fault(&l->yaml, l->fault, at, "%s", fault.detail);
        return false;
    }
    if (!stream_url_options_known(url, stream_url_options[url->kind], &which))
        yaml_fault(&l->yaml, l->fault, at, "%.*s is no parameter of such an address", STR_FMT(which));
    if (auth && auth->kind != AUTH_BASIC && auth->kind != AUTH_BEARER && auth->kind != AUTH_OAUTH2)
        yaml_fault(&l->yaml, l->fault, at, "a stream takes auth basic, bearer or oauth2: no other");
    return true;
}

void load_stream_send(struct loader *l, struct connector_send *send, uint32_t i) {
    struct connector_request *request = send->request;
    struct str at = load_pointer(l, "/send/%u/request/url", i);
    struct stream_url url;
    if (!address_check(l, request->url, at, &url))
        return;
    if (!str_is(request->method, "POST"))
        yaml_fault(&l->yaml, l->fault, load_pointer(l, "/send/%u/request/method", i),
                   "a stream is published to: leave the method out");
    if (send->script.len)
        yaml_fault(&l->yaml, l->fault, load_pointer(l, "/send/%u/script", i), "calls no streams");
    if (send->lookup)
        yaml_fault(&l->yaml, l->fault, load_pointer(l, "/send/%u/lookup", i),
                   "a stream is asked by the hub itself: leave it out");
    if (url.kind == STREAM_NATS && !stream_subject_good(url.path, false))
        yaml_fault(&l->yaml, l->fault, at, "behind the host must be a subject, without wildcards: "
                                           "nats://host/orders.{event.subject}");
    bool nats = url.kind == STREAM_NATS;
    int64_t settle_ms = SETTLE_MS;
    bool asked = (nats || kafka_asked(l, send, &url, at, &settle_ms)) && !PLANTED(STREAM_UNASKED);
    if (!headers_add(l, request, url.kind, asked) ||
        (asked && !lookup_add(l, send, nats ? "/seq" : "/offset", settle_ms)))
        yaml_fault(&l->yaml, l->fault, at, "no memory for connectors");
}

/* --- what comes in ----------------------------------------------------------------------------- */

static const char *const starts[] = {"all", "new", NULL};
enum stream_row {
    STREAM_TOPIC, STREAM_ENABLED, STREAM_URL, STREAM_SUBJECT, STREAM_GROUP, STREAM_START, STREAM_IN_FLIGHT,
    STREAM_DEDUP, STREAM_KEY_PLACE, STREAM_VERSION, STREAM_MAPPING, STREAM_COMMAND, STREAM_COMMANDS,
};
static const struct shape_field stream_rows[] = {
    [STREAM_TOPIC] = SHAPE_ROW(struct connector_stream, topic, SHAPE_CODE,
                               "Its name; no other topic of the connector has it", .flags = SHAPE_REQUIRED),
    [STREAM_ENABLED] = SHAPE_ROW(struct connector_stream, enabled, SHAPE_BOOL,
                                 "false: checked, but not read (true)"),
    [STREAM_URL] = SHAPE_ROW(struct connector_stream, url, SHAPE_TEXT,
                             "nats://host:4222/STREAM or kafka://host:9092/topic; +tls before :// asks for TLS",
                             .flags = SHAPE_REQUIRED, .min = 1, .max = 2048),
    [STREAM_SUBJECT] = SHAPE_ROW(struct connector_stream, subject, SHAPE_TEXT,
                                 "NATS: only what is on such subjects: shop.orders.>", .min = 1, .max = 256),
    [STREAM_GROUP] = SHAPE_ROW(struct connector_stream, group, SHAPE_CODE,
                               "Durable consumer, or consumer group, that remembers how far this hub has read "
                               "(penstock-CELL)"),
    [STREAM_START] = SHAPE_ROW(struct connector_stream, start, SHAPE_ENUM,
                               "Where a group begins that has read nothing yet: all, or what is new from then on "
                               "(all)", .values = starts),
    [STREAM_IN_FLIGHT] = SHAPE_ROW(struct connector_stream, in_flight, SHAPE_INTEGER,
                                   "Messages taken at once, before they are acknowledged (128)", .min = 1,
                                   .max = STREAM_IN_FLIGHT_MAX),
    [STREAM_DEDUP] = SHAPE_ROW(struct connector_stream, dedup, SHAPE_OBJECT,
                               "The sender's id of the message; left out: Nats-Msg-Id, ce-id or ce_id, else its "
                               "place in the stream", .shape = &connector_place_shape),
    [STREAM_KEY_PLACE] = SHAPE_ROW(struct connector_stream, key, SHAPE_OBJECT,
                                   "Messages with one key are processed in order; left out: the subject, or the "
                                   "record's key", .shape = &connector_place_shape),
    [STREAM_VERSION] = SHAPE_ROW(struct connector_stream, version, SHAPE_OBJECT,
                                 "Version or time of what the key names: older than applied is stale",
                                 .shape = &connector_place_shape),
    [STREAM_MAPPING] = SHAPE_ROW(struct connector_stream, mapping, SHAPE_CODE,
                                 "File beside this one: \"orders.lua\"", .flags = SHAPE_REQUIRED),
    [STREAM_COMMAND] = SHAPE_ROW(struct connector_stream, command, SHAPE_CODE, "What it asks of the hub"),
    [STREAM_COMMANDS] = SHAPE_ROW(struct connector_stream, commands, SHAPE_LIST,
                                  "In its place: those that route() of the mapping may name", .max = 16),
};
SHAPE_DEFINE(connector_stream_shape, "connector_stream", struct connector_stream,
             "What is read from a stream", stream_rows);

static void stream_fault(struct loader *l, uint32_t i, const char *what, const char *words) {
    yaml_fault(&l->yaml, l->fault, load_pointer(l, "/streams/%u/%s", i, what), "%s", words);
}

static bool topic_there(const struct loader *l, struct str topic, uint32_t before) {
    const struct connector *c = l->connector;
    bool there = connector_topic(c, topic) || load_polls_have(l, topic);
    for (uint32_t k = 0; k < c->files.count; k++)
        there = there || str_eq(list_at(c->files, struct connector_files, k)->topic, topic);
    for (uint32_t k = 0; k < before; k++)
        there = there || str_eq(list_at(c->streams, struct connector_stream, k)->topic, topic);
    return there;
}

static void place_check(struct loader *l, const struct connector_place *place, uint32_t i, const char *what) {
    if (place && !place->header.len == !place->member.len)
        stream_fault(l, i, what, "either header or member");
}

static void stream_address(struct loader *l, struct connector_stream *stream, uint32_t i) {
    const struct connector_auth *auth = l->connector->auth;
    if (!address_check(l, stream->url, load_pointer(l, "/streams/%u/url", i), &stream->address))
        return;
    bool nats = stream->address.kind == STREAM_NATS;
    /* a stream's name is a topic's but for the dot, which parts subjects */
    if (!stream_topic_good(stream->address.path) ||
        (nats && memchr(stream->address.path.ptr, '.', stream->address.path.len)))
        stream_fault(l, i, "url", nats ? "behind the host must be the name of a stream: nats://host:4222/ORDERS"
                                       : "behind the host must be a topic: kafka://host:9092/orders");
    if (stream->subject.len && (!nats || !stream_subject_good(stream->subject, true)))
        stream_fault(l, i, "subject", "is of NATS alone: shop.orders.>");
    if (nats && stream->group.len && memchr(stream->group.ptr, '.', stream->group.len))
        stream_fault(l, i, "group", "a durable consumer's name has no dot");
    if (auth && auth->kind == AUTH_BASIC)
        stream->authorization = auth->basic->value;
    else if (auth && auth->kind == AUTH_BEARER)
        stream->authorization = arena_printf(l->arena, "Bearer %.*s", STR_FMT(auth->bearer->token));
    else if (auth)
        stream_fault(l, i, "url", "what is read takes auth basic or bearer");
}

static enum err load_stream(struct loader *l, uint32_t i) {
    struct connector_stream *stream = list_at(l->connector->streams, struct connector_stream, i);
    struct buf missing;
    buf_init(&missing, LOAD_TEXT_BYTES_MAX);
    stream->connector = l->connector;
    if (!shape_has(stream, STREAM_ENABLED))
        stream->enabled = true;
    if (!stream->in_flight)
        stream->in_flight = 128;
    stream->url = load_text(l, stream->url, &missing, load_pointer(l, "/streams/%u/url", i)).text;
    if (stream->url.ptr)
        stream_address(l, stream, i);
    if (topic_there(l, stream->topic, i))
        stream_fault(l, i, "topic", "the topic is there twice");
    place_check(l, stream->dedup, i, "dedup");
    place_check(l, stream->key, i, "key");
    place_check(l, stream->version, i, "version");
    if (!stream->command.len == !stream->commands.count)
        stream_fault(l, i, "command",
                     "is needed, or commands in its place, where the mapping says which with route()");
    struct connector_place *key = stream->key ? stream->key : arena_new(l->arena, struct connector_place);
    if (!key)
        return fault_set(l->fault, ERR_NOMEM, "no memory for connectors");
    if (!stream->key)
        key->header = STR(STREAM_KEY);
    stream->take = (struct connector_receive){
        .topic = stream->topic, .dedup = stream->dedup, .key = key, .version = stream->version,
        .mapping = stream->mapping, .command = stream->command, .commands = stream->commands,
        .line = yaml_line(&l->yaml, load_pointer(l, "/streams/%u/command", i))};
    load_mapping(l, stream->mapping, load_pointer(l, "/streams/%u/mapping", i), &stream->take.source);
    load_note_auth(l, &missing);
    if (missing.len > 0) {
        stream->missing = arena_str(l->arena, buf_str(&missing));
        load_note_missing(&l->missing, "for", stream->topic);
    }
    buf_free(&missing);
    return OK;
}

enum err load_streams(struct loader *l) {
    enum err err = OK;
    for (uint32_t i = 0; err == OK && i < l->connector->streams.count; i++)
        err = load_stream(l, i);
    return err;
}
