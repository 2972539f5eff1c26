/* connector: the tables of connector.yaml; reading is in connector_load.c. */
#include "connect/connector_priv.h"
#include "connect/expect.h"

#include "connect/signature.h"

/* A row whose member of the struct is not called like the member of the document. */
#define ROW_AS(as, type, member, kind_, help_text, ...)                                            \
    {.name = as, .kind = kind_, .offset = offsetof(type, member), .since = 1, .help = help_text,   \
     ##__VA_ARGS__}

static const struct shape_field signature_rows[] = {
    SHAPE_ROW(struct connector_signature, scheme, SHAPE_ENUM, "How the sender signs",
              .flags = SHAPE_REQUIRED, .values = signature_schemes),
    SHAPE_ROW(struct connector_signature, header, SHAPE_CODE, "Header that holds the signature"),
    SHAPE_ROW(struct connector_signature, prefix, SHAPE_TEXT,
              "Text before the digest in the header, as \"sha256=\"", .max = 64),
    ROW_AS("secret", struct connector_signature, secret_open, SHAPE_OPEN,
           "The shared secret, as ${env:NAME} or ${file:PATH}; a list while it is changed",
           .privacy = SECRET),
    SHAPE_ROW(struct connector_signature, tolerance_s, SHAPE_INTEGER,
              "Seconds a signed time may be off (stripe, standard-webhooks)", .min = 1,
              .max = 86400),
    SHAPE_ROW(struct connector_signature, url, SHAPE_TEXT,
              "The address of this webhook as it is registered at the sender (square)", .min = 1,
              .max = 2048),
    SHAPE_ROW(struct connector_signature, replay_window_s, SHAPE_INTEGER,
              "Seconds in which the same signed bytes are the same message, whatever its id; 0: "
              "never (0)", .min = 0, .max = 86400),
};
static SHAPE_DEFINE(signature_shape, "connector_signature", struct connector_signature,
                    "How a webhook is known to be genuine", signature_rows);

static const struct shape_field place_rows[] = {
    [PLACE_HEADER] = SHAPE_ROW(struct connector_place, header, SHAPE_CODE, "A request header"),
    [PLACE_MEMBER] = SHAPE_ROW(struct connector_place, member, SHAPE_TEXT,
                               "A member of the payload, as \"id\" or \"order.id\"", .min = 1,
                               .max = 256),
};
SHAPE_DEFINE(connector_place_shape, "connector_place", struct connector_place,
             "Where a value is found: header or member", place_rows);

static const struct shape_field only_rows[] = {
    SHAPE_ROW(struct connector_only, member, SHAPE_TEXT, "A member of the payload, as \"state\" or \"order.state\"",
              .flags = SHAPE_REQUIRED, .min = 1, .max = 256),
    SHAPE_ROW(struct connector_only, values, SHAPE_LIST, "What it may be", .flags = SHAPE_REQUIRED, .min = 1,
              .max = 64),
};
static SHAPE_DEFINE(only_shape, "connector_only", struct connector_only,
                    "Which messages ask for something", only_rows);
static const char *const knowns[] = {"refuse", "ignore", NULL};

static const struct shape_field receive_rows[] = {
    SHAPE_ROW(struct connector_receive, topic, SHAPE_CODE,
              "Last part of the path: POST /x/{connector}/{topic}", .flags = SHAPE_REQUIRED),
    SHAPE_ROW(struct connector_receive, signature, SHAPE_OBJECT, "How it is signed",
              .flags = SHAPE_REQUIRED, .shape = &signature_shape),
    SHAPE_ROW(struct connector_receive, dedup, SHAPE_OBJECT,
              "The sender's id of the message; left out: where the scheme of its signature has it",
              .shape = &connector_place_shape),
    SHAPE_ROW(struct connector_receive, key, SHAPE_OBJECT,
              "Messages with one key are processed in order", .shape = &connector_place_shape),
    SHAPE_ROW(struct connector_receive, version, SHAPE_OBJECT,
              "Version or time (RFC 3339) of what the key names: older than applied is stale",
              .shape = &connector_place_shape),
    SHAPE_ROW(struct connector_receive, mapping, SHAPE_CODE, "File beside this one: \"order.lua\"",
              .flags = SHAPE_REQUIRED),
    SHAPE_ROW(struct connector_receive, command, SHAPE_CODE, "What it asks of the hub"),
    SHAPE_ROW(struct connector_receive, commands, SHAPE_LIST,
              "In place of command, where the mapping says with route() what it asks: all it may",
              .min = 1, .max = 32),
    SHAPE_ROW(struct connector_receive, only, SHAPE_OBJECT,
              "Messages whose member is one of the values; the others are nothing to do", .shape = &only_shape),
    SHAPE_ROW(struct connector_receive, known, SHAPE_ENUM,
              "What was recorded before with another content: refuse (a person is asked), ignore (nothing new) "
              "(refuse)", .values = knowns),
    SHAPE_ROW(struct connector_receive, expect, SHAPE_OBJECT, "What should come; else a person is told",
              .shape = &connector_expect_shape),
};
static SHAPE_DEFINE(receive_shape, "connector_receive", struct connector_receive,
                    "A webhook", receive_rows);

static const struct shape_field limits_rows[] = {
    SHAPE_ROW(struct connector_limits, concurrency, SHAPE_INTEGER, "Requests at once (4)",
              .min = 1, .max = 1024),
    SHAPE_ROW(struct connector_limits, rate_per_s, SHAPE_INTEGER,
              "Requests in a second; 0: no limit (0)", .min = 0, .max = 1000000),
};
SHAPE_DEFINE(connector_limits_shape, "connector_limits", struct connector_limits,
                    "What the other side can take", limits_rows);

#define METHOD_URL_HEADERS(type)                                                                   \
    SHAPE_ROW(type, method, SHAPE_CODE, "HTTP method"),                                            \
    SHAPE_ROW(type, url, SHAPE_TEXT, "With ${…} and {…}", .flags = SHAPE_REQUIRED, .min = 1),      \
    ROW_AS("headers", type, headers_open, SHAPE_OPEN, "Header names and texts")

static const struct shape_field request_rows[] = {METHOD_URL_HEADERS(struct connector_request)};
SHAPE_DEFINE(connector_request_shape, "connector_request", struct connector_request,
                    "What is sent", request_rows);

static const struct shape_field lookup_rows[] = {
    METHOD_URL_HEADERS(struct connector_lookup),
    SHAPE_ROW(struct connector_lookup, found, SHAPE_TEXT,
              "JSON Pointer: it is there when this member is there and not null",
              .flags = SHAPE_REQUIRED, .min = 1),
    SHAPE_ROW(struct connector_lookup, reference, SHAPE_TEXT,
              "JSON Pointer: the system's own number"),
    SHAPE_ROW(struct connector_lookup, settle_ms, SHAPE_INTEGER,
              "How long a request that was given up may still be at work there: \"not found\" is "
              "believed only after it (2000)",
              .min = 1, .max = 600000),
};
static SHAPE_DEFINE(lookup_shape, "connector_lookup", struct connector_lookup,
                    "How to ask whether it is there, before posting again", lookup_rows);

static const struct shape_field session_token_rows[] = {
    SHAPE_ROW(struct connector_session_token, header, SHAPE_CODE, "Header of the answer that has it",
              .flags = SHAPE_REQUIRED),
    SHAPE_ROW(struct connector_session_token, prefix, SHAPE_TEXT, "What it is sent behind: \"Bearer \"",
              .min = 1, .max = 32),
};
static SHAPE_DEFINE(session_token_shape, "connector_session_token", struct connector_session_token,
                    "Where the answer has the session", session_token_rows);

static const struct shape_field session_ended_rows[] = {
    SHAPE_ROW(struct connector_session_ended, at, SHAPE_TEXT, "JSON Pointer into an answer of success",
              .flags = SHAPE_REQUIRED, .min = 2, .max = 256),
    SHAPE_ROW(struct connector_session_ended, is, SHAPE_TEXT, "The text that is there then",
              .flags = SHAPE_REQUIRED, .min = 1, .max = 256),
};
static SHAPE_DEFINE(session_ended_shape, "connector_session_ended", struct connector_session_ended,
                    "An answer that says that the session has ended", session_ended_rows);

static const struct shape_field session_rows[] = {
    SHAPE_ROW(struct connector_session, request, SHAPE_OBJECT, "The call that signs in",
              .flags = SHAPE_REQUIRED, .shape = &connector_request_shape),
    ROW_AS("body", struct connector_session, body_open, SHAPE_OPEN,
           "Its document; texts may be ${env:NAME} or ${file:PATH}"),
    SHAPE_ROW(struct connector_session, mapping, SHAPE_CODE,
              "File beside this one: its answer to {value = \"…\"}, the header's value"),
    SHAPE_ROW(struct connector_session, token, SHAPE_OBJECT, "In place of a mapping: where it stands",
              .shape = &session_token_shape),
    SHAPE_ROW(struct connector_session, ended, SHAPE_OBJECT,
              "Besides status 401: an answer that says that it has ended", .shape = &session_ended_shape),
    SHAPE_ROW(struct connector_session, header, SHAPE_CODE, "Header that gets it (Authorization)"),
    SHAPE_ROW(struct connector_session, timeout_ms, SHAPE_INTEGER, "Time to sign in (10000)",
              .min = 10, .max = 600000),
};
SHAPE_DEFINE(connector_session_shape, "connector_session", struct connector_session,
                    "How to sign in; again after an answer 401, or `ended`", session_rows);

static const char *const send_keys[] = {"subject", "none", "sku", NULL};
static const char *const send_conflates[] = {"none", "latest", NULL};
static const char *const send_replays[] = {"same", "again", NULL};
static const struct shape_field send_rows[] = {
    [SEND_SUBSCRIPTION] = SHAPE_ROW(struct connector_send, subscription, SHAPE_CODE,
                                    "Its name, unique in the hub", .flags = SHAPE_REQUIRED),
    [SEND_ENABLED] = SHAPE_ROW(struct connector_send, enabled, SHAPE_BOOL,
                               "false: checked, but not followed (true)"),
    [SEND_EVENTS] = SHAPE_ROW(struct connector_send, events, SHAPE_LIST,
                              "Event types: order.captured, order.*", .flags = SHAPE_REQUIRED,
                              .min = 1, .max = 64),
    [SEND_KEY] = SHAPE_ROW(struct connector_send, key, SHAPE_ENUM,
                           "subject: what is about one thing goes out in order; none: no order; sku: of "
                           "availability.changed, all locations together (subject)",
                           .values = send_keys),
    [SEND_CONFLATE] = SHAPE_ROW(struct connector_send, conflate, SHAPE_ENUM,
                                "latest: the newest of a key takes the place of those that have not gone "
                                "out, and what the system has already is not sent (none)",
                                .values = send_conflates),
    [SEND_BATCH] = SHAPE_ROW(struct connector_send, batch, SHAPE_OBJECT, "Several in one call",
                             .shape = &connector_batch_shape),
    [SEND_PERSONAL] = SHAPE_ROW(struct connector_send, personal, SHAPE_BOOL,
                                "true: may see names, addresses and what else is personal (false)"),
    [SEND_MAPPING] = SHAPE_ROW(struct connector_send, mapping, SHAPE_CODE,
                               "File beside this one: \"post_order.lua\""),
    [SEND_SCRIPT] = SHAPE_ROW(struct connector_send, script, SHAPE_CODE,
                              "File beside this one that says call after call what is sent, each by what "
                              "the ones before answered; in place of mapping and lookup"),
    [SEND_SETTLE_MS] = SHAPE_ROW(struct connector_send, settle_ms, SHAPE_INTEGER,
                                 "With script: how long a call that was given up may still be at work there; "
                                 "the script starts again after it (2000)", .min = 1, .max = 600000),
    [SEND_REQUEST] = SHAPE_ROW(struct connector_send, request, SHAPE_OBJECT, "What is sent",
                               .flags = SHAPE_REQUIRED, .shape = &connector_request_shape),
    [SEND_LOOKUP] = SHAPE_ROW(struct connector_send, lookup, SHAPE_OBJECT,
                              "How to ask whether it is there already", .shape = &lookup_shape),
    [SEND_REFERENCE] = SHAPE_ROW(struct connector_send, reference, SHAPE_TEXT,
                                 "JSON Pointer into the answer: the system's own number"),
    [SEND_OUTCOME] = SHAPE_ROW(struct connector_send, outcome, SHAPE_OBJECT,
                               "What a status means", .shape = &connector_outcome_shape),
    [SEND_RETRY] = SHAPE_ROW(struct connector_send, retry, SHAPE_OBJECT, "When again",
                             .shape = &connector_retry_shape),
    [SEND_LIMITS] = SHAPE_ROW(struct connector_send, limits, SHAPE_OBJECT,
                              "What the other side can take", .shape = &connector_limits_shape),
    [SEND_STOP] = SHAPE_ROW(struct connector_send, stop, SHAPE_OBJECT,
                            "When it stops by itself, until a person starts it", .shape = &connector_stop_shape),
    [SEND_EXPECT] = SHAPE_ROW(struct connector_send, expect, SHAPE_OBJECT,
                              "Deliveries that should go; where they do not, a person is told",
                              .shape = &connector_expect_shape),
    [SEND_TIMEOUT_MS] = SHAPE_ROW(struct connector_send, timeout_ms, SHAPE_INTEGER,
                                  "Time of one attempt (10000)", .min = 10, .max = 600000),
    [SEND_REPLAY] = SHAPE_ROW(struct connector_send, replay, SHAPE_ENUM,
                              "same (default): a replayed event goes out under its own id, and is looked up "
                              "first; again: it may also be sent as a new one, where who replays asks for it",
                              .values = send_replays),
    [SEND_PRIORITY] = SHAPE_ROW(struct connector_send, priority, SHAPE_ENUM,
                                "What goes first where the account can not take all: customer, stock, catalogue, "
                                "ledger (by its events: stock, prices and products, else ledger)",
                                .values = account_priorities),
};
static SHAPE_DEFINE(send_shape, "connector_send", struct connector_send,
                    "What goes out", send_rows);

static const struct shape_field connector_rows[] = {
    [CONNECTOR_NAME] = ROW_AS("connector", struct connector, name, SHAPE_CODE,
                              "Its name: the folder's", .flags = SHAPE_REQUIRED),
    [CONNECTOR_VERSION] = SHAPE_ROW(struct connector, version, SHAPE_CODE, "Its own version",
                                    .flags = SHAPE_REQUIRED),
    [CONNECTOR_OWNER] = SHAPE_ROW(struct connector, owner, SHAPE_CODE,
                                  "The team that answers for it", .flags = SHAPE_REQUIRED),
    [CONNECTOR_SERVICE_LEVEL] = SHAPE_ROW(struct connector, service_level, SHAPE_TEXT,
                                          "What is promised to and expected of the system"),
    [CONNECTOR_DESCRIPTION] = SHAPE_ROW(struct connector, description, SHAPE_TEXT,
                                        "What it connects"),
    [CONNECTOR_SETTINGS] = ROW_AS("settings", struct connector, settings_open, SHAPE_OPEN,
                                  "Values for ${setting:NAME} and for its mappings"),
    [CONNECTOR_SESSION] = SHAPE_ROW(struct connector, session, SHAPE_OBJECT,
                                    "As auth: {session: …}, which is how it is written now",
                                    .shape = &connector_session_shape),
    [CONNECTOR_ACCOUNT] = SHAPE_ROW(struct connector, account, SHAPE_OBJECT,
                                    "What the account takes of all calls together", .shape = &connector_account_shape),
    [CONNECTOR_AUTH] = SHAPE_ROW(struct connector, auth, SHAPE_OBJECT,
                                 "How calls say who makes them", .shape = &connector_auth_shape),
    [CONNECTOR_RECEIVE] = SHAPE_ROW(struct connector, receive, SHAPE_LIST, "Webhooks in",
                                    .shape = &receive_shape, .max = 256),
    [CONNECTOR_POLL] = SHAPE_ROW(struct connector, poll, SHAPE_LIST, "What is asked for",
                                 .shape = &connector_poll_shape, .max = 256),
    [CONNECTOR_FILES] = SHAPE_ROW(struct connector, files, SHAPE_LIST, "Files in",
                                  .shape = &connector_files_shape, .max = 256),
    [CONNECTOR_STREAMS] = SHAPE_ROW(struct connector, streams, SHAPE_LIST, "Streams in: NATS, Kafka",
                                    .shape = &connector_stream_shape, .max = 64),
    [CONNECTOR_SEND] = SHAPE_ROW(struct connector, send, SHAPE_LIST, "What goes out",
                                 .shape = &send_shape, .max = 256),
    [CONNECTOR_OPERATIONS] = SHAPE_ROW(struct connector, operations, SHAPE_LIST,
                                       "What it does for callers who wait",
                                       .shape = &connector_operation_shape, .max = 256),
};
SHAPE_DEFINE(connector_shape, "connector", struct connector, "One external system",
             connector_rows);

/* --- asking ---------------------------------------------------------------------------- */

const struct connector *connector_find(const struct connectors *connectors, struct str name) {
    for (uint32_t i = 0; i < connectors->count; i++) {
        if (str_eq(connectors->items[i]->name, name))
            return connectors->items[i];
    }
    return NULL;
}

static void topic_figures(const struct connector *connector, const struct connector_receive *take,
                          struct metrics *out) {
    const struct traffic_topic *topic = traffic_find(&connector->counters->traffic, take->topic);
    const struct str labels[] = {connector->name, take->topic};
    metric_add(out, METRIC_TOPIC_RECEIVED, labels, topic ? counter_read(&topic->received) : 0);
    if (take->backstop.len)
        metric_add(out, METRIC_BACKSTOP_REPAIRS, labels, topic ? counter_read(&topic->repaired) : 0);
    if (take->expect)
        metric_add(out, METRIC_TRAFFIC_ABSENT, labels, topic && atomic_load(&topic->absent_us) > 0);
}

static void sent_figures(const struct connector *connector, struct metrics *out) {
    for (uint32_t i = 0; i < connector->send.count; i++) {
        const struct connector_send *send = list_at(connector->send, struct connector_send, i);
        const struct traffic_topic *sent =
            send->expect ? traffic_find(&connector->counters->sent, send->subscription) : NULL;
        if (send->expect)
            metric_add(out, METRIC_TRAFFIC_ABSENT, METRIC_LABELS(connector->name, send->subscription),
                       sent && atomic_load(&sent->absent_us) > 0);
    }
}

void connectors_figures(const struct connectors *connectors, struct metrics *out) {
    static const char *const kinds[PROCESSED_KINDS] = {"mapped", "known", "failed"};
    for (uint32_t i = 0; i < connectors->count; i++) {
        const struct connector *connector = connectors->items[i];
        const struct connector_counters *counters = connector->counters;
        struct histogram_sum processing = {0};
        if (connector->taken_count == 0)
            continue;
        const struct str name[] = {connector->name};
        metric_add(out, METRIC_CONNECTOR_RECEIVED, name, counter_read(&counters->received));
        metric_add(out, METRIC_CONNECTOR_REJECTED, name, counter_read(&counters->rejected));
        for (int k = 0; k < PROCESSED_KINDS; k++)
            metric_add(out, METRIC_CONNECTOR_PROCESSED, METRIC_LABELS(name[0], str_c(kinds[k])),
                       counter_read(&counters->processed[k]));
        histogram_read(&counters->processing_us, &processing);
        metric_histogram(out, METRIC_CONNECTOR_SECONDS, name, &processing);
        for (uint32_t k = 0; k < connector->taken_count; k++)
            topic_figures(connector, connector->taken[k], out);
        sent_figures(connector, out);
    }
}

const struct connector_receive *connector_topic(const struct connector *connector,
                                                struct str topic) {
    for (uint32_t i = 0; i < connector->receive.count; i++) {
        const struct connector_receive *receive =
            list_at(connector->receive, struct connector_receive, i);
        if (str_eq(receive->topic, topic))
            return receive;
    }
    return NULL;
}

const struct connector_receive *connector_taken(const struct connector *connector,
                                                struct str topic) {
    for (uint32_t i = 0; i < connector->taken_count; i++)
        if (str_eq(connector->taken[i]->topic, topic))
            return connector->taken[i];
    return NULL;
}

const struct connector_send *connector_subscription(const struct connectors *connectors,
                                                    struct str name) {
    for (uint32_t i = 0; i < connectors->count; i++) {
        const struct connector *connector = connectors->items[i];
        for (uint32_t k = 0; k < connector->send.count; k++) {
            const struct connector_send *send = list_at(connector->send, struct connector_send, k);
            if (str_eq(send->subscription, name))
                return send;
        }
    }
    return NULL;
}

/* "order.*" takes every type that starts with "order."; "*" takes all. */
bool connector_wants(const struct connector_send *send, struct str event_type) {
    if (event_private(event_type))
        return false;
    for (uint32_t i = 0; i < send->events.count; i++) {
        struct str want = *list_at(send->events, struct str, i);
        if (want.len > 0 && want.ptr[want.len - 1] == '*') {
            if (str_starts(event_type, str_of(want.ptr, want.len - 1)))
                return true;
        } else if (str_eq(want, event_type)) {
            return true;
        }
    }
    return false;
}
