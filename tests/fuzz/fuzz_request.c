/* A whole request through the stages of the gateway that look at foreign bytes: head, body (out of
 * gzip where it says so), route, preconditions, query, and the document or lines to what they are. All
 * routes of all capabilities and of the gateway itself.
 *
 * What holds: a refusal names its fault; an argument is text without control characters. */
#include "fuzz.h"

#include "base/json.h"
#include "base/mem.h"
#include "domain/list.h"
#include "gateway/gateway_priv.h"
#include "gateway/http_gzip.h"
#include "gateway/http_parse.h"
#include "shape/shape.h"

static const struct http_limits limits = {.header_bytes_max = 4096,
                                          .target_bytes_max = 2048,
                                          .header_count_max = 40,
                                          .body_bytes_max = 65536};
static const struct query_param no_params[] = {{0}};

static struct {
    struct router *router;
    struct json_parser *parser;
    struct rng_seeded rng;
} made;

static void make_once(void) {
    struct fault fault = {0};

    if (made.router)
        return;
    made.router = router_create();
    made.parser = json_parser_create();
    must(made.router && made.parser);
    rng_seeded_init(&made.rng, 1);
    for (size_t i = 0; domain_capabilities[i]; i++)
        if (domain_capabilities[i]->routes)
            must(router_add(made.router, domain_capabilities[i]->routes, NULL, &fault) == OK);
    must(router_add(made.router, hub_routes, NULL, &fault) == OK);
}

static void decode(const struct route *route, struct str text, struct arena *arena) {
    const struct json *document;
    struct fault fault;
    void *body = NULL;

    fault_init(&fault, arena);
    if (json_parse(made.parser, arena, text, true, &document, &fault) != OK) {
        must(fault.err != OK);
        return;
    }
    enum err err = shape_decode(route->command->shape, document, arena, STR(""), &body, &fault);
    must(err == OK ? body != NULL : fault.err == err);
    must(err != ERR_INVALID || fault.count > 0);
}

static void decode_lines(const struct route *route, struct str text, struct arena *arena) {
    while (text.ptr) {
        struct str line = str_cut(&text, '\n');
        char *copy = arena_bytes(arena, line.len + JSON_PADDING);

        if (!copy)
            return;
        memcpy(copy, line.ptr ? line.ptr : "", line.len);
        memset(copy + line.len, 0, JSON_PADDING);
        decode(route, str_of(copy, line.len), arena);
    }
}

static void look_at(const struct http_message *m) {
    const struct http_request *request = &m->request;
    struct call_context context;
    struct route_match match = {0};
    struct query query = {0};
    struct arena arena;
    struct fault fault;

    arena_init(&arena, 0);
    fault_init(&fault, &arena);
    must(context_read(request, &made.rng.rng, &arena, &context, &fault) == OK);
    must(context.correlation.len > 0 && context.correlation.len <= CORRELATION_MAX);
    enum err err = router_match(made.router, request->method, request->path, &arena, &match, &fault);
    must(err == OK ? match.entry != NULL : fault.err == err);
    for (uint32_t i = 0; i < match.arg_count; i++)
        for (size_t at = 0; at < match.args[i].len; at++)
            must((unsigned char)match.args[i].ptr[at] >= 0x20);
    if (err == OK)
        err = preconditions_read(request, &arena, &context, &fault);
    (void)http_gzip_accepted(http_request_header(request, "Accept-Encoding"));
    if (err == OK) {
        const struct route *route = match.entry->route;
        const struct command_type *type = route->command;

        query.arena = &arena;
        err = query_parse(request->query, route->params ? route->params : no_params, &arena,
                          &query.values, &query.value_count, &fault);
        if (err == OK && route->bind) {
            void *body = arena_alloc(&arena, type->shape->size);

            must(body != NULL);
            (void)!route->bind(&query, body, &arena, &fault);
        } else if (type && type->shape && request->body.len > 0) {
            decode(route, request->body, &arena);
            if (route->flags & ROUTE_BULK)
                decode_lines(route, request->body, &arena);
        }
    }
    must(err == OK || fault.err != OK);
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct http_parser parser;
    struct http_message message;
    struct str in = str_of((const char *)data, size);
    enum http_step step = HTTP_STEP_MORE;

    if (size > 131072)
        return 0;
    make_once();
    http_message_init(&message, &limits, NULL);
    http_parser_init(&parser, &limits);
    http_parser_begin(&parser, &message);
    while (in.len > 0 || step == HTTP_STEP_HEAD) {
        step = http_parse(&parser, &in);
        if (step == HTTP_STEP_HEAD && message.request.has_body &&
            http_request_header(&message.request, "Content-Encoding").ptr)
            must((message.gunzip = http_gunzip_create(200)));
        if (step == HTTP_STEP_DONE)
            look_at(&message);
        if (step == HTTP_STEP_DONE)
            http_parser_begin(&parser, &message);
        if (step == HTTP_STEP_MORE || step == HTTP_STEP_REFUSED)
            break;
    }
    http_message_free(&message);
    return 0;
}
