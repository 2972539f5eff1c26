/* openapi_operation: one operation of the OpenAPI document: what it takes, who may, and every
 * answer it can give. Pure: rows in, text out. */
#include <ctype.h>

#include "gateway/contract.h"
#include "gateway/openapi_priv.h"

bool openapi_is_get(const struct route *route) { return strcmp(route->method, "GET") == 0; }

bool openapi_is_change(const struct route *route) {
    return route->command && !(route->command->flags & COMMAND_READS);
}

bool openapi_has_param(const struct route *route, const char *name) {
    for (const struct query_param *p = route->params; p && p->name; p++)
        if (strcmp(p->name, name) == 0)
            return true;
    return false;
}

bool openapi_is_list(const struct route *route) {
    return (route->flags & ROUTE_LIST) || (openapi_is_get(route) && openapi_has_param(route, "limit"));
}

const struct shape *openapi_body(const struct route *route) {
    if (openapi_is_get(route) || strcmp(route->method, "DELETE") == 0)
        return NULL;
    return route->command ? route->command->shape : route->body;
}

/* The answer may be left out of the shape's necessary members: "cancel all of it" needs no words. */
static bool body_needed(const struct route *route) {
    const struct shape *shape = openapi_body(route);
    for (uint32_t i = 0; shape && i < shape->count; i++)
        if (shape->fields[i].flags & SHAPE_REQUIRED)
            return !(route->flags & ROUTE_BODY_MAY);
    return false;
}

/* What is not (only) JSON, by path. `takes`: of the body; else of the answer. */
static const struct media {
    const char *path, *media;
    bool takes, alone; /* alone: never JSON */
    const char *help;
} medias[] = {
    {"/.well-known/jwks.json", "application/jwk-set+json", false, true, "Keys"},
    {"/metrics", "text/plain", false, true, "Figures in the text format of Prometheus"},
    {"/v1/events", "text/event-stream", false, false,
     "With `Accept: text/event-stream`: each event as it happens, `id` is its seq, `data` the "
     "CloudEvent"},
    {"/x/{connector}/{topic}", "*/*", true, true, "Whatever the partner sends, kept as it came"},
    {"/x/{connector}/{topic}/{part}", "*/*", true, true,
     "Whatever the partner sends, kept as it came"},
    {"/oauth2/token", "application/x-www-form-urlencoded", true, true,
     "grant_type=client_credentials and, if less than all is wanted, scope (RFC 6749, section 4.4)"},
};

static const struct media *media_of(const struct route *route, bool takes) {
    for (size_t i = 0; i < sizeof medias / sizeof medias[0]; i++)
        if (medias[i].takes == takes && strcmp(medias[i].path, route->path) == 0)
            return &medias[i];
    return NULL;
}

static bool is_token(const struct route *route) {
    return strcmp(route->path, OAUTH_TOKEN_PATH) == 0;
}
static bool is_signin(const struct route *route) {
    static const char *const paths[] = {"/ops/login", "/ops/callback", "/ops/me", "/ops/logout"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        if (strcmp(paths[i], route->path) == 0)
            return true;
    return false;
}
static bool is_webhook(const struct route *route) { return strncmp(route->path, "/x/", 3) == 0; }

/* --- examples --------------------------------------------------------------------------------- */

static bool example_is_of(const struct api_example *e, const struct route *route) {
    return e->method && strcmp(e->method, route->method) == 0 && strcmp(e->path, route->path) == 0;
}

/* A request that is wrong on purpose is not shown as one to send. */
static bool is_wrong(const struct api_example *e) { return e->status == 400 || e->status == 422; }

/* ,"examples":{…} of a body (status 0) or of the answer with this status, for one media type. */
static void examples_write(const struct openapi_context *context, const struct route *route,
                           int status, const char *media, struct buf *out) {
    bool first = true;
    for (const struct api_example *e = context->tables->examples; e && e->name; e++) {
        const char *text = status ? e->answer : e->body;
        const char *type = status ? e->answer_media : e->body_media;
        if (!example_is_of(e, route) || !text || (status ? status != e->status : is_wrong(e)) ||
            strcmp(type, media) != 0)
            continue;
        buf_printf(out, "%s\"%s\":{\"summary\":", first ? ",\"examples\":{" : ",", e->name);
        buf_json_str(out, str_c(e->title));
        buf_lit(out, ",\"value\":");
        buf_str_add(out, str_c(text));
        buf_char(out, '}');
        first = false;
    }
    if (!first)
        buf_char(out, '}');
}

static bool has_example(const struct openapi_context *context, const struct route *route,
                        int status) {
    for (const struct api_example *e = context->tables->examples; e && e->name; e++)
        if (example_is_of(e, route) && e->status == status)
            return true;
    return false;
}

/* ,"example":… of a parameter: that of the first example that has it. */
static void param_example_write(const struct openapi_context *context, const struct route *route,
                                const char *name, size_t len, struct buf *out) {
    for (const struct api_example *e = context->tables->examples; e && e->name; e++)
        if (example_is_of(e, route) && !is_wrong(e))
            for (const struct api_example_param *p = e->params; p && p->name; p++)
                if (strlen(p->name) == len && memcmp(p->name, name, len) == 0) {
                    buf_lit(out, ",\"example\":");
                    buf_str_add(out, str_c(p->value));
                    return;
                }
}

/* --- parameters ------------------------------------------------------------------------------- */

static void operation_id_write(const struct route *route, struct buf *out) {
    buf_lit(out, "\"operationId\":\"");
    for (const char *c = route->method; *c; c++)
        buf_char(out, (char)tolower((unsigned char)*c));
    bool gap = true;
    for (const char *c = route->path; *c; c++) {
        if (!isalnum((unsigned char)*c)) {
            gap = true;
            continue;
        }
        if (gap)
            buf_char(out, '_');
        gap = false;
        buf_char(out, *c);
    }
    buf_char(out, '"');
}

static struct str path_param_help(struct str name) {
    static const struct { const char *name, *help; } known[] = {
        {"connector", "The connector, as its folder is named"},
        {"customer_id", "A customer's number, a guest's order or a payload"},
        {"exception_id", "The case, as /ops/exceptions lists it"},
        {"id", "The id, as the list of them names it"},
        {"order_id", "The hub's id of the order, from the answer to its capture"},
        {"part", "What stands behind the slash of the platform's topic"},
        {"reservation_id", "The hold, from the answer that made it"},
        {"seq", "The position in the journal"},
        {"topic", "The topic, as the connector names it"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (str_is(name, known[i].name))
            return str_c(known[i].help);
    return name;
}

static void path_params_write(const struct openapi_context *context, const struct route *route,
                              struct buf *out, bool *first) {
    for (const char *c = strchr(route->path, '{'); c; c = strchr(c, '{')) {
        size_t len = strcspn(++c, "}");
        buf_printf(out, "%s{\"name\":\"%.*s\",\"in\":\"path\",\"required\":true,\"description\":",
                   *first ? "" : ",", (int)len, c);
        buf_json_str(out, path_param_help(str_of(c, len)));
        buf_lit(out, ",\"schema\":{\"type\":\"string\",\"minLength\":1}");
        param_example_write(context, route, c, len, out);
        buf_char(out, '}');
        *first = false;
    }
}

static void query_params_write(const struct openapi_context *context, const struct route *route,
                               struct buf *out, bool *first) {
    for (const struct query_param *p = route->params; p && p->name; p++) {
        buf_printf(out, "%s{\"name\":\"%s\",\"in\":\"query\",\"required\":%s,\"description\":",
                   *first ? "" : ",", p->name, p->required ? "true" : "false");
        *first = false;
        buf_json_str(out, str_c(p->help ? p->help : p->name));
        if (p->repeated)
            buf_lit(out, ",\"style\":\"form\",\"explode\":true,\"schema\":{\"type\":\"array\","
                         "\"items\":");
        else
            buf_lit(out, ",\"schema\":");
        api_param_schema_write(p, out);
        if (p->repeated)
            buf_char(out, '}');
        param_example_write(context, route, p->name, strlen(p->name), out);
        buf_char(out, '}');
    }
}

static void header_ref(struct buf *out, const char *name, bool *first) {
    buf_printf(out, "%s{\"$ref\":\"#/components/parameters/%s\"}", *first ? "" : ",", name);
    *first = false;
}

/* A change of what has a version may be tied to it. */
static bool takes_if_match(const struct route *route) {
    for (const enum err *e = route->refusals; e && *e != OK; e++)
        if (*e == ERR_STALE || *e == ERR_IF_MATCH_NEEDED)
            return true;
    return false;
}

static void parameters_write(const struct openapi_context *context, const struct route *route,
                             struct buf *out) {
    bool first = true;
    buf_lit(out, ",\"parameters\":[");
    path_params_write(context, route, out, &first);
    query_params_write(context, route, out, &first);
    if (openapi_is_change(route))
        header_ref(out, "Idempotency-Key", &first);
    if (takes_if_match(route))
        header_ref(out, "If-Match", &first);
    if (openapi_is_get(route) && !(route->flags & ROUTE_INLINE) && (route->command || route->query))
        header_ref(out, "Penstock-Wait-Seq", &first);
    if (strcmp(route->path, "/v1/events") == 0)
        header_ref(out, "Last-Event-ID", &first);
    header_ref(out, "Penstock-Correlation-Id", &first);
    header_ref(out, "traceparent", &first);
    buf_char(out, ']');
}

/* --- bodies and answers ----------------------------------------------------------------------- */

static void schema_ref(struct buf *out, const struct shape *shape) {
    if (shape)
        buf_printf(out, "{\"$ref\":\"" SCHEMAS "%s\"}", shape->name);
    else
        buf_lit(out, "{\"type\":\"object\"}");
}

static void body_write(const struct openapi_context *context, const struct route *route,
                       struct buf *out) {
    const struct shape *shape = openapi_body(route);
    const struct media *media = media_of(route, true);
    if (media) {
        buf_printf(out, ",\"requestBody\":{\"required\":true,\"content\":{\"%s\":{\"schema\":{"
                        "\"description\":", media->media);
        buf_json_str(out, str_c(media->help));
        buf_char(out, '}');
        examples_write(context, route, 0, media->media, out);
        buf_lit(out, "}}}");
        return;
    }
    if (!shape)
        return;
    buf_printf(out, ",\"requestBody\":{\"required\":%s,\"content\":{\"application/json\":{"
                    "\"schema\":", body_needed(route) ? "true" : "false");
    schema_ref(out, shape);
    examples_write(context, route, 0, "application/json", out);
    buf_char(out, '}');
    if (route->flags & ROUTE_BULK) {
        buf_lit(out, ",\"application/x-ndjson\":{\"schema\":{\"type\":\"string\",\"description\":\"One "
                     "document a line, each of this schema\",\"contentMediaType\":"
                     "\"application/json\",\"contentSchema\":");
        schema_ref(out, shape);
        buf_char(out, '}');
        examples_write(context, route, 0, "application/x-ndjson", out);
        buf_char(out, '}');
    }
    buf_lit(out, "}}");
}

static void end_headers_write(bool ends, struct buf *out) {
    if (ends)
        buf_lit(out, ",\"Deprecation\":{\"$ref\":\"#/components/headers/Deprecation\"},"
                     "\"Sunset\":{\"$ref\":\"#/components/headers/Sunset\"}");
}

static bool has_version(const struct shape *shape) {
    for (uint32_t i = 0; shape && i < shape->count; i++)
        if (strcmp(shape->fields[i].name, "version") == 0)
            return true;
    return false;
}

static void success_headers_write(const struct openapi_route *row, int status, struct buf *out) {
    const struct route *route = row->route;
    bool ends = route->deprecated || route->sunset ||
                (row->contract && (row->contract->deprecated || row->contract->sunset));
    buf_lit(out, ",\"headers\":{\"Penstock-Correlation-Id\":{\"$ref\":"
                 "\"#/components/headers/Penstock-Correlation-Id\"},\"Penstock-Seq\":{\"$ref\":"
                 "\"#/components/headers/Penstock-Seq\"}" RATE_HEADERS);
    if (status == 302 || status == 303)
        buf_lit(out, ",\"Location\":{\"description\":\"Where the browser goes\",\"schema\":{"
                     "\"type\":\"string\"}}");
    if (is_signin(route))
        buf_lit(out, ",\"Set-Cookie\":{\"description\":\"Of the sign-in or the session\",\"schema\":{"
                     "\"type\":\"string\"}}");
    if (strcmp(route->path, OAUTH_TOKEN_PATH) == 0 || strcmp(route->path, "/v1/events") == 0 ||
        is_signin(route))
        buf_lit(out, ",\"Cache-Control\":{\"$ref\":\"#/components/headers/Cache-Control\"}");
    if (openapi_is_change(route) && status == 200)
        buf_lit(out, ",\"Idempotency-Replayed\":{\"$ref\":"
                     "\"#/components/headers/Idempotency-Replayed\"}");
    if (has_version(route->answer) && !openapi_is_list(route))
        buf_lit(out, ",\"ETag\":{\"$ref\":\"#/components/headers/ETag\"}");
    if (openapi_is_list(route) || ends)
        buf_lit(out, ",\"Link\":{\"$ref\":\"#/components/headers/Link\"}");
    end_headers_write(ends, out);
    buf_char(out, '}');
}

static void json_answer_write(const struct openapi_context *context, const struct route *route,
                              int status, struct buf *out) {
    if (route->flags & ROUTE_LINES) {
        buf_lit(out, "\"application/x-ndjson\":{\"schema\":{\"type\":\"string\",\"description\":"
                     "\"A line for each\",\"contentMediaType\":\"application/json\",\"contentSchema\":");
        schema_ref(out, route->answer);
        buf_char(out, '}');
        examples_write(context, route, status, "application/x-ndjson", out);
        buf_char(out, '}');
        return;
    }
    buf_lit(out, "\"application/json\":{\"schema\":");
    if (openapi_is_list(route)) {
        buf_lit(out, "{\"type\":\"object\",\"required\":[\"items\"],\"additionalProperties\":false,"
                     "\"properties\":{\"items\":{\"type\":\"array\",\"items\":");
        if (route->answer)
            schema_ref(out, route->answer);
        else
            buf_lit(out, "{\"$ref\":\"" SCHEMAS "cloudevent\"}");
        buf_lit(out, "},\"next_cursor\":{\"type\":[\"string\",\"null\"],\"description\":\"Give it "
                     "as ?cursor= for the next page; null or absent at the end\"}}}");
    } else {
        schema_ref(out, route->answer);
    }
    examples_write(context, route, status, "application/json", out);
    buf_char(out, '}');
}

static void bulk_answer_write(const struct openapi_context *context, const struct route *route,
                              struct buf *out) {
    buf_lit(out, ",\"application/x-ndjson\":{\"schema\":{\"type\":\"string\",\"description\":\"One "
                 "result a line, in the order of the lines sent, each of this schema\","
                 "\"contentMediaType\":\"application/json\",\"contentSchema\":{\"allOf\":[{\"$ref\":\""
                 SCHEMAS "bulk_result\"},{\"properties\":{\"answer\":");
    schema_ref(out, route->answer);
    buf_lit(out, "}}]}}");
    examples_write(context, route, 200, "application/x-ndjson", out);
    buf_char(out, '}');
}

static void success_write(const struct openapi_context *context, const struct openapi_route *row,
                          int status, const char *help, struct buf *out) {
    const struct route *route = row->route;
    const struct media *media = media_of(route, false);
    buf_printf(out, "\"%d\":{\"description\":", status);
    buf_json_str(out, str_c(help));
    success_headers_write(row, status, out);
    buf_lit(out, ",\"content\":{");
    if (!media || !media->alone)
        json_answer_write(context, route, status, out);
    if (media && media->alone && route->answer) {
        buf_printf(out, "\"%s\":{\"schema\":", media->media);
        schema_ref(out, route->answer);
        buf_char(out, '}');
    } else if (media) {
        buf_printf(out, "%s\"%s\":{\"schema\":{\"type\":\"string\",\"description\":",
                   media->alone ? "" : ",", media->media);
        buf_json_str(out, str_c(media->help));
        buf_lit(out, "}}");
    }
    if (status == 200 && (route->flags & ROUTE_BULK))
        bulk_answer_write(context, route, out);
    buf_lit(out, "}}");
}

static void successes_write(const struct openapi_context *context, const struct openapi_route *row,
                            struct buf *out) {
    const struct route *route = row->route;
    int status = route->status ? route->status : 200;
    bool again = openapi_is_change(route) && status != 200;
    if (again) {
        success_write(context, row, 200,
                      route->flags & ROUTE_BULK
                          ? "Done before: the first answer again. Of a bulk call: a result a line"
                          : "Done before: the first answer again", out);
        buf_char(out, ',');
    }
    success_write(context, row, status,
                  status == 201   ? "Done"
                  : status == 202 ? "Taken; more follows"
                  : status / 100 == 3 ? "Go on there"
                                  : "The answer",
                  out);
}

/* --- refusals --------------------------------------------------------------------------------- */

static bool refused_by_state(const struct route *route, int status) {
    for (const enum err *e = route->refusals; e && *e != OK; e++)
        if (err_info(*e)->status == status)
            return true;
    return false;
}

/* A status that follows from the row itself. */
static bool status_follows(const struct openapi_route *row, int status) {
    const struct route *route = row->route;
    bool sends = !openapi_is_get(route) && (openapi_body(route) || route->query);
    switch (status) {
    case 400: case 408: case 413: case 414: case 429: case 431: case 500: case 503: return true;
    case 401: return route->scope || is_webhook(route) || is_token(route);
    case 403: return route->scope != NULL;
    case 410: return route->sunset || (row->contract && row->contract->sunset);
    case 415: return sends && !is_webhook(route);
    case 422: return openapi_is_change(route) || openapi_body(route) || route->params;
    default: return false;
    }
}

/* A refusal in the words of this route's own errors, or, where the status follows from the row,
 * of all that have it. */
static void refusal_write(const struct route *route, int status, struct buf *out) {
    bool own = refused_by_state(route, status);
    struct buf text, slugs;
    buf_init(&text, 0);
    buf_init(&slugs, 0);
    for (enum err err = OK + 1; err < ERR_COUNT; err++) {
        bool given = !own;
        for (const enum err *e = route->refusals; own && *e != OK; e++)
            given |= *e == err;
        if (!given || err_info(err)->status != status)
            continue;
        buf_printf(&text, "%s%s (%s)", text.len ? "; " : "", err_info(err)->title,
                   err_info(err)->slug);
        buf_printf(&slugs, "%s\"%s\"", slugs.len ? "," : "", err_info(err)->slug);
    }
    buf_printf(out, ",\"%d\":{\"description\":", status);
    buf_json_str(out, buf_str(&text));
    buf_lit(out, ",\"x-problems\":[");
    buf_str_add(out, buf_str(&slugs));
    buf_char(out, ']');
    buf_free(&text);
    buf_free(&slugs);
    openapi_problem_headers_write(status, route->deprecated || route->sunset, out);
    buf_lit(out, ",\"content\":{\"application/problem+json\":{\"schema\":{\"$ref\":\"" SCHEMAS
                 "problem\"}");
}

/* OAuth has a form of its own for refusals; what never reached the endpoint is a problem. */
static void token_refusal_write(int status, struct buf *out) {
    buf_printf(out, ",\"%d\":{\"description\":\"No token (RFC 6749, section 5.2)\"", status);
    openapi_problem_headers_write(status, false, out);
    out->len--; /* one more header */
    buf_lit(out, ",\"Cache-Control\":{\"$ref\":\"#/components/headers/Cache-Control\"}},\"content\":{"
                 "\"application/json\":{\"schema\":{\"$ref\":\"" SCHEMAS "token_error\"}},"
                 "\"application/problem+json\":{\"schema\":{\"$ref\":\"" SCHEMAS "problem\"}}}}");
}

static void responses_write(const struct openapi_context *context, const struct openapi_route *row,
                            struct buf *out) {
    const struct route *route = row->route;
    int list[STATUSES_MAX];
    uint32_t count = openapi_statuses(list, STATUSES_MAX);
    buf_lit(out, ",\"responses\":{");
    successes_write(context, row, out);
    for (uint32_t i = 0; i < count; i++) {
        if (refused_by_state(route, list[i]) || has_example(context, route, list[i])) {
            refusal_write(route, list[i], out);
            examples_write(context, route, list[i], "application/problem+json", out);
            buf_lit(out, "}}}");
        } else if (is_token(route) && (list[i] == 400 || list[i] == 401 || list[i] == 429 ||
                                       list[i] == 503)) {
            token_refusal_write(list[i], out);
        } else if (status_follows(row, list[i])) {
            buf_printf(out, ",\"%d\":{\"$ref\":\"#/components/responses/%d\"}", list[i], list[i]);
        }
    }
    buf_char(out, '}');
}

/* --- the whole -------------------------------------------------------------------------------- */

static void contract_write(const struct contract *contract, const struct route *route,
                           struct buf *out) {
    const char *sunset = route->sunset ? route->sunset : contract ? contract->sunset : NULL;
    if (route->deprecated || (contract && contract->deprecated))
        buf_lit(out, ",\"deprecated\":true");
    if (sunset)
        buf_printf(out, ",\"x-sunset\":\"%s\"", sunset);
    if (!contract)
        return;
    buf_printf(out, ",\"x-contract\":\"%s\",\"x-contract-version\":\"%s\",\"x-owner\":\"%s\"",
               contract->name, contract->version, contract->owner);
}

static void security_write(const struct openapi_context *context, const struct route *route,
                           struct buf *out) {
    if (!route->scope) {
        buf_lit(out, ",\"security\":[]");
        return;
    }
    buf_lit(out, ",\"security\":[");
    if (context->oauth)
        buf_printf(out, "{\"oauth2\":[\"%s\"]},", route->scope);
    buf_printf(out, "{\"bearer\":[]}],\"x-scope\":\"%s\"", route->scope);
}

static void description_write(const struct route *route, struct buf *out) {
    struct buf text;
    buf_init(&text, 0);
    buf_str_add(&text, str_c(route->command && route->command->help ? route->command->help
                                                                    : route->help));
    buf_char(&text, '.');
    if (route->more)
        buf_printf(&text, " %s", route->more);
    if (route->scope)
        buf_printf(&text, " Needs the scope `%s`.", route->scope);
    if (route->flags & ROUTE_BULK)
        buf_lit(&text, " As NDJSON: a document a line, a result a line; a bad line stops no other.");
    buf_lit(out, ",\"description\":");
    buf_json_str(out, buf_str(&text));
    buf_free(&text);
}

void openapi_operation_write(const struct openapi_context *context, const struct openapi_route *row,
                             struct buf *out) {
    const struct route *route = row->route;
    buf_char(out, '"');
    for (const char *c = route->method; *c; c++)
        buf_char(out, (char)tolower((unsigned char)*c));
    buf_lit(out, "\":{");
    operation_id_write(route, out);
    buf_printf(out, ",\"tags\":[\"%s\"],\"summary\":",
               row->contract ? row->contract->name : row->tag);
    buf_json_str(out, str_c(route->help));
    description_write(route, out);
    contract_write(row->contract, route, out);
    security_write(context, route, out);
    parameters_write(context, route, out);
    body_write(context, route, out);
    responses_write(context, row, out);
    buf_char(out, '}');
}
