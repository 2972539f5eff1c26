/* session: signing in where a system wants it: one session a connector, opened when the first
 * delivery needs it, and opened anew after an answer that says it has ended.
 *
 * What always holds: at most one sign-in of a connector is under way, whoever waits; the value is
 * kept in memory alone and never logged; a system that refuses a session it has just given is not
 * asked again at once. */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "deliver/deliver_priv.h"

#define SESSION_VALUE_MAX 8192

enum err sessions_create(struct deliver *d, struct fault *fault) {
    const struct connectors *connectors = d->options.connectors;
    d->sessions = mem_zalloc(sizeof *d->sessions * (connectors->count + 1));
    if (d->sessions == NULL)
        return fault_set(fault, ERR_NOMEM, "no memory for sessions");
    for (uint32_t i = 0; i < connectors->count; i++)
        if (connectors->items[i]->session != NULL) {
            struct session *session = &d->sessions[d->session_count++];
            session->deliver = d;
            session->connector = connectors->items[i];
            arena_init(&session->arena, (size_t)4 << 20);
        }
    for (uint32_t i = 0; i < d->count; i++)
        for (uint32_t k = 0; k < d->session_count; k++)
            if (d->subs[i].send->connector == d->sessions[k].connector)
                d->subs[i].session = &d->sessions[k];
    return OK;
}

void sessions_destroy(struct deliver *d) {
    for (uint32_t i = 0; i < d->session_count; i++) {
        if (d->sessions[i].value != NULL)
            explicit_bzero(d->sessions[i].value, strlen(d->sessions[i].value));
        mem_free(d->sessions[i].value);
        arena_free(&d->sessions[i].arena);
    }
    mem_free(d->sessions);
    d->sessions = NULL;
    d->session_count = 0;
}

static void value_drop(struct session *session) {
    session->state = SESSION_NONE;
    session->proven = false;
    session->generation++;
}

/* All who wait go on, or end. */
static void waiting_release(struct session *session, enum lane_outcome outcome, int status,
                            struct str cause) {
    struct attempt *attempt = session->waiting;
    session->waiting = NULL;
    while (attempt != NULL) {
        struct attempt *next = attempt->next;
        attempt->next = NULL;
        if (session->state == SESSION_OPEN)
            attempt_begin(attempt);
        else
            attempt_finish(attempt, outcome, -1, status, arena_str(&attempt->arena, cause));
        attempt = next;
    }
}

static void open_failed(struct session *session, int status, struct str why) {
    struct str cause = arena_printf(&session->arena, "signing in: %.*s", STR_FMT(why));
    session->state = SESSION_NONE;
    log_line(LOG_WARN, "deliver", "signing in failed", "connector=%.*s error=%s",
             STR_FMT(session->connector->name), log_quote(cause));
    waiting_release(session, LANE_UNREACHABLE, status, cause);
}

static enum err value_take(struct session *session, struct str body, struct fault *fault) {
    struct deliver *d = session->deliver;
    const struct json *answer, *out;
    enum err err = json_parse(d->parser, &session->arena, body, false, &answer, fault);
    if (err == OK)
        err = mapper_run(d->mapper, session->connector->session->source, answer, &session->arena,
                         &out, fault);
    if (err != OK)
        return err;
    struct str value = out->kind == JSON_OBJECT ? json_member_str(out, STR("value")) : STR_NONE;
    bool good = value.len > 0 && value.len <= SESSION_VALUE_MAX;
    for (size_t i = 0; good && i < value.len; i++)
        good = (unsigned char)value.ptr[i] >= 0x20 && value.ptr[i] != 0x7f;
    if (!good)
        return fault_set(fault, ERR_INVALID, "the mapping must answer {value = \"…\"}, what the "
                                             "header gets");
    mem_free(session->value);
    session->value = mem_alloc(value.len + 1);
    if (session->value == NULL)
        return fault_set(fault, ERR_NOMEM, "no memory for a session");
    memcpy(session->value, value.ptr, value.len);
    session->value[value.len] = '\0';
    return OK;
}

static void opened(void *ctx, const struct net_answer *answer) {
    struct session *session = ctx;
    struct fault fault;
    session->call = NULL;
    fault_init(&fault, &session->arena);
    if (answer->error != NET_OK) {
        open_failed(session, 0, str_c(answer->detail));
    } else if (answer->status < 200 || answer->status > 299) {
        open_failed(session, answer->status,
                    arena_printf(&session->arena, "status %d", answer->status));
    } else if (value_take(session, answer->body, &fault) != OK) {
        open_failed(session, answer->status, str_c(fault.detail));
    } else {
        session->state = SESSION_OPEN;
        session->proven = false;
        waiting_release(session, LANE_SUCCESS, 0, STR_NONE);
    }
}

static void session_open(struct session *session) {
    const struct connector_session *how = session->connector->session;
    struct deliver *d = session->deliver;
    struct fault fault = {0};
    arena_reset(&session->arena);
    struct net_header *headers =
        arena_array(&session->arena, how->request->header_count + 2, sizeof *headers);
    session->state = SESSION_OPENING;
    if (headers == NULL) {
        open_failed(session, 0, STR("no memory"));
        return;
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < how->request->header_count; i++)
        headers[count++] = (struct net_header){how->request->headers[i].name,
                                               how->request->headers[i].value};
    headers[count++] = (struct net_header){STR("Accept"), STR("application/json")};
    if (how->body.ptr != NULL)
        headers[count++] = (struct net_header){STR("Content-Type"), STR("application/json")};
    struct net_request request = {.method = how->request->method,
                                  .url = how->request->url,
                                  .headers = headers,
                                  .header_count = count,
                                  .body = how->body,
                                  .timeout_ms = how->timeout_ms};
    if (net_send(d->net, &request, opened, session, &session->call, &fault) != OK)
        open_failed(session, 0, str_c(fault.detail));
}

bool session_wait(struct attempt *attempt) {
    struct session *session = attempt->sub->session;
    if (session == NULL || session->state == SESSION_OPEN)
        return false;
    attempt->next = session->waiting;
    session->waiting = attempt;
    if (session->state == SESSION_NONE)
        session_open(session);
    return true;
}

bool session_header(struct attempt *attempt, struct net_header *header) {
    struct session *session = attempt->sub->session;
    if (session == NULL || session->state != SESSION_OPEN)
        return false;
    attempt->session_generation = session->generation;
    header->name = session->connector->session->header;
    header->value = arena_str(&attempt->arena, str_c(session->value));
    return header->value.ptr != NULL;
}

bool session_refused(struct attempt *attempt, const struct net_answer *answer) {
    struct session *session = attempt->sub->session;
    if (session == NULL || answer->error != NET_OK)
        return false;
    bool current = attempt->session_generation == session->generation;
    if (answer->status != 401) {
        session->proven = session->proven || current;
        return false;
    }
    bool ended = !current || session->proven;
    if (current)
        value_drop(session);
    return ended;
}
