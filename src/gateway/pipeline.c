/* pipeline: the stages of a request. While only its head is there: correlation, route,
 * credentials, scope, media type, so that what is refused costs no body. Then: preconditions,
 * parameters, decoding, and either a command that goes to the core and comes back answered, or
 * a query, here or on a worker thread.
 *
 * What holds always: refusal by who may precedes refusal by validity precedes refusal by state;
 * a call is answered exactly once. */
#include "gateway/gateway_priv.h"
#include "gateway/token.h"

#include "base/log.h"
#include "connect/receive.h"
#include "gateway/client.h"

static const struct query_param no_params[] = {{0}};

static const struct http_request *request_of(const struct call *call) {
    return http_exchange_request(call->ex);
}

static bool from_read(struct call *call);

static struct call *call_begin(struct http_exchange *ex, struct gateway *gateway) {
    struct call *call = arena_new(http_exchange_arena(ex), struct call);
    struct gateway_loop *loop = loop_of(ex);

    if (!call)
        return NULL;
    call->gateway = gateway;
    call->loop = loop;
    call->ex = ex;
    fault_init(&call->fault, http_exchange_arena(ex));
    if (context_read(http_exchange_request(ex), &loop->rng.rng, http_exchange_arena(ex),
                     &call->context, &call->fault) != OK ||
        !from_read(call))
        return NULL;
    http_exchange_data_set(ex, call);
    return call;
}

static void answer_nomem(struct http_exchange *ex) {
    http_answer_begin(ex, 503);
    http_answer_header(ex, STR("Retry-After"), STR("1"));
    http_answer_end(ex, STR("application/problem+json"),
                    STR("{\"type\":\"https://penstock.org/problems/out-of-memory\",\"title\":"
                        "\"The hub has no memory left for this\",\"status\":503}"));
}

void call_refuse(struct http_exchange *ex, enum err err, const char *detail, void *ctx) {
    struct call *call = http_exchange_data(ex);
    struct fault fault = {0};

    if (!call)
        call = call_begin(ex, ctx);
    if (!call) {
        answer_nomem(ex);
        return;
    }
    err = fault_set(&fault, err, "%s", detail);
    call_problem(call, err, &fault);
}

/* --- with the head alone ------------------------------------------------------------------- */

#define FORM_TYPE "application/x-www-form-urlencoded"

static bool media_is(struct str content_type, const char *wanted) {
    struct str rest = content_type;

    return content_type.ptr && str_eq_nocase(str_trim(str_cut(&rest, ';')), str_c(wanted));
}

static enum err check_media(struct call *call, bool *bulk) {
    const struct http_request *request = request_of(call);
    const struct route *route = call->match.entry->route;
    bool form = route == hub_route_token, gzip;
    bool wants_body = route->command ? route->command->shape && !route->bind
                                     : request->has_body && request->method != HTTP_METHOD_GET;

    *bulk = false;
    if (!request->has_body || (!wants_body && !hub_route_receives(route)))
        return OK;
    if (coding_read(call, &gzip) != OK)
        return call->fault.err;
    if (hub_route_receives(route)) { /* what was signed is what was sent */
        call->unpacks = gzip;
        return OK;
    }
    *bulk = (route->flags & ROUTE_BULK) && media_is(request->content_type, "application/x-ndjson");
    if (*bulk || media_is(request->content_type, form ? FORM_TYPE : "application/json"))
        return !gzip || http_body_gunzip(call->ex)
                   ? OK
                   : fault_set(&call->fault, ERR_NOMEM, "no memory for the body");
    return fault_set(&call->fault, ERR_MEDIA_TYPE, "send Content-Type: %s%s",
                     form ? FORM_TYPE : "application/json",
                     route->flags & ROUTE_BULK ? " or application/x-ndjson" : "");
}

struct keyring *call_keyring(struct call *call) {
    return call->personal ? &call->keyring.keyring : NULL;
}

/* As much of where it came from as is kept. */
static bool from_read(struct call *call) {
    const struct config *config = call->gateway->config;
    struct inet_address address;
    char text[INET_TEXT_MAX];

    if (config->audit.addresses == AUDIT_ADDRESSES_NONE || !http_exchange_origin(call->ex, &address))
        return true;
    address = client_address(config, request_of(call), address);
    if (config->audit.addresses == AUDIT_ADDRESSES_NETWORK)
        address = inet_net_of(&address);
    call->from = arena_str(http_exchange_arena(call->ex), inet_write(&address, text));
    return call->from.ptr != NULL;
}

static void traffic_set(struct call *call) {
    const struct route *route = call->match.entry->route;
    bool bulk = (route->flags & ROUTE_BULK) &&
                media_is(request_of(call)->content_type, "application/x-ndjson");

    call->traffic = bulk ? CLASS_BULK : route->traffic;
}

/* Whether the route has ended, where the hub is told to refuse such calls. */
static enum err check_sunset(struct call *call) {
    const struct contract_notice *notice = call->gateway->notices[call->match.entry->index];

    if (!notice || !call->gateway->config->settings.refuse_after_sunset ||
        clock_now_us(call->gateway->clock) < notice->sunset_us)
        return OK;
    return fault_set(&call->fault, ERR_GONE, "this ended on %.*s",
                     STR_FMT(notice->sunset));
}

static enum err admit(struct call *call, bool *bulk) {
    const struct http_request *request = request_of(call);
    enum err err = router_match(call->gateway->router, request->method, request->path,
                                http_exchange_arena(call->ex), &call->match, &call->fault);

    if (err == OK)
        err = check_sunset(call);
    if (err == OK)
        traffic_set(call);
    if (err == OK)
        err = admission_check(call);
    if (err == OK)
        err = caller_check(call);
    if (err == OK)
        err = check_media(call, bulk);
    return err;
}

static void answer_options(struct call *call) {
    http_answer_begin(call->ex, 204);
    call_headers(call, core_seq(call->gateway->options.core));
    if (call->match.allow)
        http_answer_header(call->ex, STR("Allow"), str_c(call->match.allow));
    call_count(call, 204);
    http_answer_end(call->ex, STR_NONE, STR_NONE);
}

void call_head(struct http_exchange *ex, void *ctx) {
    struct call *call = call_begin(ex, ctx);
    bool bulk = false;
    enum err err;

    if (!call) {
        answer_nomem(ex);
        return;
    }
    err = admit(call, &bulk);
    if (request_of(call)->method == HTTP_METHOD_OPTIONS &&
        (err == ERR_METHOD || str_is(request_of(call)->path, "*")))
        answer_options(call);
    else if (err != OK)
        call_problem(call, err, &call->fault);
    else if (bulk)
        bulk_begin(call);
}

/* --- commands ------------------------------------------------------------------------------ */

/* Whether a document of this shape can not be empty. */
static bool shape_wants(const struct shape *shape) {
    for (uint32_t i = 0; i < shape->count; i++)
        if (shape->fields[i].flags & SHAPE_REQUIRED)
            return true;
    return false;
}

enum err command_decode(struct call *call, struct str text, struct arena *arena,
                        struct command *command, struct fault *fault) {
    const struct route *route = call->match.entry->route;
    const struct command_type *type = route->command;
    struct str masked = STR_NONE;
    void *body = NULL;
    enum err err = OK;

    if (route->bind) {
        body = arena_alloc(arena, type->shape->size);
        err = body ? route->bind(&call->query, body, arena, fault)
                   : fault_set(fault, ERR_NOMEM, "no memory for the request");
    } else if (type->shape) {
        static const char empty[2 + JSON_PADDING] = "{}";
        const struct str nothing = {empty, 2};
        const struct json *document;
        enum err cards = OK;

        if (text.len == 0 && !shape_wants(type->shape))
            text = nothing; /* "cancel all of it" needs no words */
        if (text.len == 0)
            return fault_set(fault, ERR_MALFORMED, "the body is empty");
        err = json_parse(call->loop->parser, arena, text, true, &document, fault);
        if (err == OK)
            cards = cards_check(call, text, arena, &document, &masked, fault);
        if (err == OK)
            err = shape_decode(type->shape, document, arena, STR(""), &body, fault);
        if (cards != OK && err != ERR_NOMEM)
            return cards;
        if (err == ERR_NOMEM && arena->full) /* the document's fault; else the machine's, and it may be sent again */
            err = fault_set(fault, ERR_TOO_LARGE,
                            "the document needs more memory than one request may take");
    }
    if (err == OK)
        err = command_prepare(call->gateway->options.core, type, arena, body, command, fault);
    if (err != OK)
        return err;
    for (uint32_t i = 0; i < call->match.arg_count; i++)
        command->args[i] = call->match.args[i];
    command->actor = call->actor;
    command->may_personal = call->personal;
    command->correlation = call->context.correlation;
    command->traceparent = call->context.traceparent;
    command->from = call->from;
    command->if_match = call->context.if_match;
    command->masked = masked;
    command->origin = &call->loop->origin;
    return OK;
}

static void command_told(struct call *call, void *ctx, enum err err) {
    struct buf packed = call->packed;

    if (err == OK)
        call_answer_command(call);
    else if (call->job.fault.err != OK)
        call_problem(call, err, &call->job.fault);
    else
        call_problem(call, fault_set(&call->fault, err, AUDIT_FAILED), &call->fault);
    buf_free(&packed);
}

static void command_finished(struct job *job) {
    struct call *call = (struct call *)((char *)job - offsetof(struct call, job));
    bool waits = false;
    enum err err = job->fault.err;

    if (err == OK)
        err = audit_shown(call, STR_NONE, command_told, NULL, &waits, &job->fault);
    if (!waits)
        command_told(call, NULL, err);
}

static void command_finish_run(struct job *job, struct reader *reader) {
    struct call *call = (struct call *)((char *)job - offsetof(struct call, job));
    struct answer *answer = &call->command.answer;

    reader->keyring = call_keyring(call);
    if (command_unfinished(&call->command))
        answer->err = command_finish(reader, &call->command, &answer->fault);
    if (answer->err == OK && coding_pack(call, answer->body, &call->packed))
        call->query.packed = buf_str(&call->packed);
}

/* The core has answered. */
static void call_completed(struct command *command) {
    struct call *call = command->origin_ctx;

    if (!command_unfinished(command) &&
        (command->answer.err != OK || !coding_wants_worker(call, command->answer.body))) {
        call_answer_command(call);
        return;
    }
    fault_init(&command->answer.fault, command->arena);
    call->job.run = command_finish_run;
    call->job.done = command_finished;
    if (job_start(&call->job, call->loop, call->traffic, &call->fault) == OK)
        return;
    if (command_unfinished(command))
        call_problem(call, ERR_UNAVAILABLE, &call->fault);
    else
        call_answer_command(call); /* it is done: better told at length than not at all */
}

static enum err command_submit(struct call *call) {
    call->issuer.completed = call_completed;
    call->command.origin = &call->loop->origin;
    call->command.origin_ctx = call;
    call->command.traffic = command_lane(call);
    return core_submit(call->gateway->options.core, &call->command, &call->fault);
}

static enum err command_make(struct call *call) {
    const struct http_request *request = request_of(call);
    struct arena *arena = http_exchange_arena(call->ex);
    enum err err =
        command_decode(call, request->body, arena, &call->command, &call->fault);

    if (err != OK || !call->context.idem_key.ptr ||
        (call->command.type->flags & COMMAND_READS))
        return err;
    call->command.idem_key = call->context.idem_key;
    call->command.idem_scope =
        arena_printf(arena, "%.*s %.*s", STR_FMT(call->actor), STR_FMT(call->match.entry->idem));
    return call->command.idem_scope.ptr
               ? OK
               : fault_set(&call->fault, ERR_NOMEM, "no memory for the request");
}

/* --- webhooks ------------------------------------------------------------------------------ */

static struct str header_of(void *ctx, struct str name) {
    const struct http_request *request = request_of(ctx);

    for (uint32_t i = 0; i < request->header_count; i++)
        if (str_eq_nocase(request->headers[i].name, name))
            return request->headers[i].value;
    return STR_NONE;
}

static enum err body_unpack(void *ctx, struct str sent, struct str *body, struct fault *fault) {
    return coding_unpack(ctx, sent, body, fault);
}

/* Platforms write topics as orders/create; connectors name them orders-create. */
static struct str receive_topic(struct call *call) {
    struct str topic = call->match.args[1];
    char *text;

    if (call->match.arg_count == 2 && !memchr(topic.ptr, '/', topic.len))
        return topic;
    if (call->match.arg_count > 2)
        topic = arena_printf(http_exchange_arena(call->ex), "%.*s/%.*s", STR_FMT(topic),
                             STR_FMT(call->match.args[2]));
    else
        topic = arena_str(http_exchange_arena(call->ex), topic);
    text = (char *)(uintptr_t)topic.ptr;
    for (size_t i = 0; i < topic.len; i++)
        if (text[i] == '/')
            text[i] = '-';
    return topic;
}

static enum err receive_make(struct call *call) {
    const struct http_request *request = request_of(call);
    struct receive_header_source headers = {header_of, call,
                                            call->unpacks ? body_unpack : NULL};
    struct gateway_options *options = &call->gateway->options;
    const struct connectors *connectors;
    enum err err;

    if (!options->roster)
        return fault_set(&call->fault, ERR_NOT_FOUND, "there are no connectors");
    connectors = roster_take(options->roster);
    err = receive_prepare(options->core, connectors, call->match.args[0], receive_topic(call),
                          &headers, request->body, call->loop->parser,
                          http_exchange_arena(call->ex), &call->command, &call->fault);
    connectors_release(connectors);
    if (err != OK)
        return err;
    if (call->command.masked.ptr)
        counter_add(&call->loop->counters.cards_masked, 1);
    call->command.correlation = call->context.correlation;
    call->command.traceparent = call->context.traceparent;
    call->command.from = call->from;
    return OK;
}

/* --- queries ------------------------------------------------------------------------------- */

static void query_answer(struct call *call) {
    struct query *query = &call->query;
    struct buf *out = query->out, body = call->body, packed = call->packed;
    uint64_t seq = query->seq ? query->seq : core_seq(call->gateway->options.core);
    struct fault fault = {0};

    if (call->err != OK) {
        call_problem(call, call->err, &call->fault);
    } else if (!buf_ok(out)) {
        call_problem(call, fault_set(&fault, ERR_NOMEM, "no memory for the answer"), &fault);
    } else {
        const char *type = query->media_type ? query->media_type : "application/json";

        audit_done(call);
        call_answer(call, query->status ? query->status : 200, str_c(type), buf_str(out), seq,
                    query->next_cursor, false);
    }
    buf_free(&body);
    buf_free(&packed);
}

static void query_told(struct call *call, void *ctx, enum err err) {
    if (err != OK)
        call->err = fault_set(&call->fault, err, AUDIT_FAILED);
    query_answer(call);
}

static void query_run(struct job *job, struct reader *reader) {
    struct call *call = (struct call *)((char *)job - offsetof(struct call, job));

    reader->keyring = call_keyring(call);
    call->query.reader = reader;
    call->err = call->match.entry->route->query(&call->query, &call->fault);
    if (call->err == OK && buf_ok(call->query.out) && !call->query.packed.ptr &&
        coding_pack(call, buf_str(call->query.out), &call->packed))
        call->query.packed = buf_str(&call->packed);
}

static void query_done(struct job *job) {
    struct call *call = (struct call *)((char *)job - offsetof(struct call, job));
    bool waits = false;

    if (job->fault.err != OK) {
        call->err = job->fault.err;
        call->fault = job->fault;
    }
    if (call->err == OK)
        call->err = audit_shown(call, STR_NONE, query_told, NULL, &waits, &call->fault);
    if (!waits)
        query_answer(call);
}

static enum err query_start(struct call *call) {
    const struct route *route = call->match.entry->route;

    if (route->flags & ROUTE_INLINE) {
        call->query.reader = call->loop->reader;
        call->query.reader->keyring = NULL; /* an answer that waits for the audit is no quick one */
        call->query.out = &call->loop->out;
        buf_clear(&call->loop->out);
        call->query.seq = core_seq(call->gateway->options.core);
        call->err = route->query(&call->query, &call->fault);
        query_answer(call);
        return OK;
    }
    buf_init(&call->body, 0);
    call->query.out = &call->body;
    call->job.run = query_run;
    call->job.done = query_done;
    return job_start(&call->job, call->loop, call->traffic, &call->fault);
}

/* Parameters of the path and behind the '?', for queries and for commands that are bound. */
static enum err query_make(struct call *call) {
    const struct http_request *request = request_of(call);
    const struct route_entry *entry = call->match.entry;
    const struct query_param *known = entry->route->params ? entry->route->params : no_params;
    struct query *query = &call->query;

    if ((entry->scope == ROUTE_OPEN && !entry->route->params) || operation_is(entry->route))
        known = NULL; /* probes and partners append what they like; operations say by themselves */
    query->arena = http_exchange_arena(call->ex);
    for (uint32_t i = 0; i < call->match.arg_count; i++)
        query->args[i] = call->match.args[i];
    query->now_us = clock_now_us(call->gateway->clock);
    query->ctx = entry->ctx;
    query->actor = call->actor;
    query->person = call->person;
    query->correlation = call->context.correlation;
    query->from = call->from;
    query->if_match = call->context.if_match;
    query->body = request->method == HTTP_METHOD_GET ? STR_NONE : request->body;
    return query_parse(request->query, known, query->arena, &query->values, &query->value_count,
                       &call->fault);
}

/* --- waiting for the read model ------------------------------------------------------------ */

static bool seq_reached(struct call *call) {
    struct reader *reader = call->loop->reader;
    uint64_t seq = 0;
    struct fault fault = {0};

    return reader->ops->seq(reader, &seq, &fault) == OK && seq >= call->context.wait_seq;
}

static void call_go(struct call *call) {
    bool query = call->match.entry->route->query && !call->asks;
    enum err err = query ? query_start(call) : command_submit(call);

    if (err != OK)
        call_problem(call, err, &call->fault);
}

void call_waiting_tick(struct gateway_loop *loop) {
    int64_t now_us = clock_tick_us(loop->gateway->clock);
    struct call **at = &loop->waiting, *call;

    while ((call = *at)) {
        bool reached = seq_reached(call);

        if (!reached && now_us < call->wait_until_us && !http_closed(call->ex)) {
            at = &call->next;
            continue;
        }
        *at = call->next;
        if (reached)
            call_go(call);
        else
            call_problem(call,
                         fault_set(&call->fault, ERR_UNAVAILABLE,
                                   "the read model has not reached seq %llu yet",
                                   (unsigned long long)call->context.wait_seq),
                         &call->fault);
    }
    loop_tick_set(loop);
}

/* Only what reads the read model has something to wait for. */
static bool must_wait(struct call *call) {
    const struct route *route = call->match.entry->route;

    if (!call->context.has_wait_seq || (route->query && (route->flags & ROUTE_INLINE)) ||
        (route->command && !(route->command->flags & COMMAND_READS)) || seq_reached(call))
        return false;
    call->wait_until_us = clock_tick_us(call->gateway->clock) +
                          call->gateway->config->settings.wait_seq_ms * 1000;
    call->next = call->loop->waiting;
    call->loop->waiting = call;
    loop_tick_set(call->loop);
    return true;
}

enum err call_prepare(struct call *call) {
    enum err err = preconditions_read(request_of(call), http_exchange_arena(call->ex),
                                      &call->context, &call->fault);

    if (err == OK)
        err = query_make(call);
    return err == OK ? cards_check_rest(call) : err;
}

/* --- with the whole request ---------------------------------------------------------------- */

void call_handle(struct http_exchange *ex, void *ctx) {
    struct call *call = http_exchange_data(ex);
    const struct route *route = call->match.entry->route;
    enum err err;

    if (caller_unsure(call) || limit_slowed(call))
        return;
    err = call_prepare(call);
    if (err == OK && route == hub_route_events) {
        feed_begin(call);
        return;
    }
    if (err == OK && route == hub_route_token) {
        token_begin(call);
        return;
    }
    if (err == OK && operation_is(route)) {
        operation_begin(call);
        return;
    }
    if (err == OK && pull_is(route)) {
        pull_begin(call);
        return;
    }
    if (err == OK && signin_is(route)) {
        signin_begin(call);
        return;
    }
    if (err == OK && hub_route_receives(route))
        err = receive_make(call);
    else if (err == OK && route->command)
        err = command_make(call);
    else if (err == OK && second_needed(call))
        err = second_make(call);
    if (err == ERR_UNAUTHENTICATED) /* a webhook's signature */
        limit_failed(call);
    if (err == ERR_CARD_DATA)
        cards_refuse(call);
    else if (err != OK)
        call_problem(call, err, &call->fault);
    else if (!must_wait(call))
        call_go(call);
}
