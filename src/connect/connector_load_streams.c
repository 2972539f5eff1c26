/* connector_load_streams: what connector.yaml says of streams: deliveries whose request has the address of
 * one. */
#include "connect/auth.h"
#include "connect/connector_priv.h"
#include "connect/stream_url.h"

/* The attributes of the event, where the CloudEvents bindings for NATS and for Kafka have them (binary
 * mode); what stands in connector.yaml goes before. */
static const struct {
    const char *nats, *kafka, *value;
} attributes[] = {
    {"Nats-Msg-Id", NULL, "{event.id}"}, /* by which JetStream knows one that it has */
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

static bool headers_add(struct loader *l, struct connector_request *request, enum stream_kind kind) {
    struct connector_header *all =
        arena_array(l->arena, request->header_count + ATTRIBUTES, sizeof *all);
    uint32_t count = 0;
    if (!all)
        return false;
    for (uint32_t i = 0; i < request->header_count; i++)
        all[count++] = request->headers[i];
    for (uint32_t i = 0; i < ATTRIBUTES; i++) {
        const char *name = kind == STREAM_NATS ? attributes[i].nats : attributes[i].kafka;
        if (name && !header_there(request, name))
            all[count++] = (struct connector_header){str_c(name), str_c(attributes[i].value)};
    }
    request->headers = all;
    request->header_count = count;
    return true;
}

/* Is it there? The same request, as a question (driver_nats.h). */
static bool lookup_add(struct loader *l, struct connector_send *send) {
    struct connector_lookup *lookup = arena_new(l->arena, struct connector_lookup);
    if (!lookup)
        return false;
    lookup->request = *send->request;
    lookup->request.method = STR("GET");
    lookup->found = STR("/seq");
    lookup->reference = send->reference;
    lookup->settle_ms = 2000;
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
    if (!headers_add(l, request, url.kind) || (url.kind == STREAM_NATS && !lookup_add(l, send)))
        yaml_fault(&l->yaml, l->fault, at, "no memory for connectors");
}
