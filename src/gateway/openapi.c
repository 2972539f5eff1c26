/* openapi: prints the description of the HTTP side: the document, and what its operations share
 * (one operation: openapi_operation.c). Pure: tables in, text out. */
#include <stdlib.h>

#include "gateway/contract.h"
#include "gateway/hub_shapes.h"
#include "gateway/openapi_priv.h"

struct openapi_routes {
    struct openapi_route rows[API_ROUTES_MAX];
    uint32_t count;
};

static void routes_take(struct openapi_routes *list, const struct api_tables *tables,
                        const struct route *route, const char *tag) {
    for (; route && route->method; route++) {
        must(list->count < API_ROUTES_MAX);
        list->rows[list->count] = (struct openapi_route){
            route, contract_of_path(tables->contracts, route->path), tag, list->count};
        list->count++;
    }
}

static int route_cmp(const void *a, const void *b) {
    const struct openapi_route *x = a, *y = b;
    int order = strcmp(x->route->path, y->route->path);
    return order ? order : (x->order > y->order) - (x->order < y->order);
}

/* The statuses of errors.def, each once, ascending; answers how many. */
uint32_t openapi_statuses(int *out, uint32_t max) {
    uint32_t count = 0;
    for (int status = 400; status < 600 && count < max; status++)
        for (enum err err = OK + 1; err < ERR_COUNT; err++)
            if (err_info(err)->status == status) {
                out[count++] = status;
                break;
            }
    return count;
}

/* --- what operations share -------------------------------------------------------------- */

void openapi_problem_headers_write(int status, bool ends, struct buf *out) {
    buf_lit(out, ",\"headers\":{\"Penstock-Correlation-Id\":{\"$ref\":"
                 "\"#/components/headers/Penstock-Correlation-Id\"},\"Penstock-Seq\":{\"$ref\":"
                 "\"#/components/headers/Penstock-Seq\"}");
    buf_lit(out, RATE_HEADERS);
    if (status == 401)
        buf_lit(out, ",\"WWW-Authenticate\":{\"$ref\":\"#/components/headers/WWW-Authenticate\"}");
    if (status == 429 || status == 503)
        buf_lit(out, ",\"Retry-After\":{\"$ref\":\"#/components/headers/Retry-After\"}");
    if (ends)
        buf_lit(out, ",\"Deprecation\":{\"$ref\":\"#/components/headers/Deprecation\"},"
                     "\"Sunset\":{\"$ref\":\"#/components/headers/Sunset\"}");
    buf_char(out, '}');
}

/* Those that some operation refers to; the others follow from the request line alone. */
static bool response_is_used(const struct openapi_routes *list, int status) {
    bool sends = false, scoped = false, asks = false, ends = false;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct route *route = list->rows[i].route;
        sends |= !openapi_is_get(route) && (openapi_body(route) || route->query);
        asks |= openapi_is_change(route) || openapi_body(route) || route->params;
        scoped |= route->scope != NULL;
        ends |= route->sunset || (list->rows[i].contract && list->rows[i].contract->sunset);
    }
    switch (status) {
    case 400: case 408: case 413: case 414: case 429: case 431: case 500: case 503:
        return list->count > 0;
    case 401: case 403: return scoped;
    case 410: return ends;
    case 415: return sends;
    case 422: return asks;
    default: return false;
    }
}

static void problem_responses_write(const struct openapi_routes *used, struct buf *out) {
    int list[STATUSES_MAX];
    uint32_t count = openapi_statuses(list, STATUSES_MAX);
    bool first = true;
    buf_lit(out, "\"responses\":{");
    for (uint32_t i = 0; i < count; i++) {
        struct buf text;
        if (!response_is_used(used, list[i]))
            continue;
        buf_init(&text, 0);
        for (enum err err = OK + 1; err < ERR_COUNT; err++)
            if (err_info(err)->status == list[i])
                buf_printf(&text, "%s%s (%s)", text.len ? "; " : "", err_info(err)->title,
                           err_info(err)->slug);
        buf_printf(out, "%s\"%d\":{\"description\":", first ? "" : ",", list[i]);
        buf_json_str(out, buf_str(&text));
        buf_free(&text);
        openapi_problem_headers_write(list[i], false, out);
        buf_lit(out, ",\"content\":{\"application/problem+json\":{\"schema\":{\"$ref\":\"" SCHEMAS
                     "problem\"}}}}");
        first = false;
    }
    buf_char(out, '}');
}

static void fixed_schemas_write(struct buf *out) {
    buf_lit(out,
            "\"problem\":{\"type\":\"object\",\"description\":\"RFC 9457\",\"required\":[\"type\","
            "\"title\",\"status\"],\"properties\":{\"type\":{\"type\":\"string\",\"format\":"
            "\"uri-reference\"},\"title\":{\"type\":\"string\"},\"status\":{\"type\":\"integer\"},"
            "\"detail\":{\"type\":\"string\"},\"correlation_id\":{\"type\":\"string\"},\"errors\":{"
            "\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"pointer\","
            "\"detail\"],\"properties\":{\"pointer\":{\"type\":\"string\",\"description\":"
            "\"JSON Pointer (RFC 6901) into the body; of a query parameter its name\"},"
            "\"detail\":{\"type\":\"string\"}}}}}},"
            "\"bulk_result\":{\"type\":\"object\",\"description\":\"One line of the answer to a bulk "
            "request\",\"required\":[\"line\",\"status\"],\"properties\":{\"line\":{\"type\":"
            "\"integer\",\"minimum\":1},\"status\":{\"type\":\"integer\"},\"answer\":{\"type\":"
            "\"object\"},\"problem\":{\"$ref\":\"" SCHEMAS "problem\"}}}");
}

/* Header parameters, each where an operation takes it. */
static void parameters_write(const struct openapi_routes *list, struct buf *out) {
    static const struct { const char *name, *help, *schema; } rows[] = {
        {"Idempotency-Key",
         "Makes a retry safe: the same key with the same body gets the first answer again, with "
         "another body 422. Its scope is API key and route. In a bulk call with the key K, line n has "
         "the key K:n",
         "{\"type\":\"string\",\"minLength\":1,\"maxLength\":255}"},
        {"If-Match", "Only if it still has this version: the ETag of an earlier answer; * means any",
         "{\"type\":\"string\"}"},
        {"Last-Event-ID", "The seq behind which a stream of events goes on", "{\"type\":\"string\"}"},
        {"Penstock-Wait-Seq",
         "Answer only when the read model has reached this seq (the Penstock-Seq of an earlier "
         "answer); 503 where it takes longer than wait_seq_ms",
         "{\"type\":\"integer\",\"minimum\":0}"},
        {"Penstock-Correlation-Id",
         "Joins everything that follows from this request; made where it is not given. "
         "X-Correlation-ID is taken too",
         "{\"type\":\"string\"}"},
        {"traceparent", "W3C Trace Context", "{\"type\":\"string\"}"},
    };
    bool wanted[sizeof rows / sizeof rows[0]] = {[4] = list->count > 0, [5] = list->count > 0};
    bool first = true;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct route *route = list->rows[i].route;
        wanted[0] |= openapi_is_change(route);
        for (const enum err *e = route->refusals; e && *e != OK; e++)
            wanted[1] |= *e == ERR_STALE || *e == ERR_IF_MATCH_NEEDED;
        wanted[2] |= strcmp(route->path, "/v1/events") == 0;
        wanted[3] |= openapi_is_get(route) && !(route->flags & ROUTE_INLINE) &&
                     (route->command || route->query);
    }
    buf_lit(out, ",\"parameters\":{");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!wanted[i])
            continue;
        buf_printf(out, "%s\"%s\":{\"name\":\"%s\",\"in\":\"header\",\"description\":",
                   first ? "" : ",", rows[i].name, rows[i].name);
        buf_json_str(out, str_c(rows[i].help));
        buf_printf(out, ",\"schema\":%s}", rows[i].schema);
        first = false;
    }
    buf_char(out, '}');
}

static void headers_write(const struct openapi_routes *list, struct buf *out) {
    static const struct { const char *name, *help, *schema; } rows[] = {
        {"Cache-Control", "no-store: what is answered is nobody else's", "{\"type\":\"string\"}"},
        {"Deprecation", "Since when the operation is deprecated (RFC 9745)",
         "{\"type\":\"string\",\"pattern\":\"^@[0-9]+$\"}"},
        {"Sunset", "When the operation ends (RFC 8594)", "{\"type\":\"string\"}"},
        {"ETag", "The version, for If-Match", "{\"type\":\"string\"}"},
        {"Idempotency-Replayed", "true: this is the first answer again",
         "{\"type\":\"string\",\"const\":\"true\"}"},
        {"Link", "rel=next: the next page; rel=deprecation, rel=sunset: what is said about the end "
                 "(RFC 8288)", "{\"type\":\"string\"}"},
        {"Penstock-Correlation-Id", "The correlation id of this request", "{\"type\":\"string\"}"},
        {"Penstock-Seq", "The position in the journal that this answer reflects",
         "{\"type\":\"integer\"}"},
        {"RateLimit", "What is left under the policies (draft-ietf-httpapi-ratelimit-headers)",
         "{\"type\":\"string\"}"},
        {"RateLimit-Policy", "The policies the request came under", "{\"type\":\"string\"}"},
        {"Retry-After", "Seconds after which to try again", "{\"type\":\"integer\"}"},
        {"WWW-Authenticate", "How to authenticate (RFC 9110, RFC 6750)", "{\"type\":\"string\"}"},
    };
    bool ends = false;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct openapi_route *row = &list->rows[i];
        ends |= row->route->deprecated || row->route->sunset ||
                (row->contract && (row->contract->deprecated || row->contract->sunset));
    }
    buf_lit(out, ",\"headers\":{");
    bool first = true;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!ends && (strcmp(rows[i].name, "Deprecation") == 0 || strcmp(rows[i].name, "Sunset") == 0))
            continue;
        buf_printf(out, "%s\"%s\":{\"description\":", first ? "" : ",", rows[i].name);
        first = false;
        buf_json_str(out, str_c(rows[i].help));
        buf_printf(out, ",\"schema\":%s}", rows[i].schema);
    }
    buf_char(out, '}');
}

/* "orders:write":"Capture an order …; Cancel …", each scope once, sorted as first used. */
static void scopes_write(const struct openapi_routes *list, struct buf *out) {
    bool first = true;
    for (uint32_t i = 0; i < list->count; i++) {
        const char *scope = list->rows[i].route->scope;
        bool seen = !scope;
        struct buf text;
        for (uint32_t k = 0; k < i && !seen; k++)
            seen = list->rows[k].route->scope && strcmp(list->rows[k].route->scope, scope) == 0;
        if (seen)
            continue;
        buf_init(&text, 0);
        for (uint32_t k = i; k < list->count; k++)
            if (list->rows[k].route->scope && strcmp(list->rows[k].route->scope, scope) == 0)
                buf_printf(&text, "%s%s %s", text.len ? ", " : "", list->rows[k].route->method,
                           list->rows[k].route->path);
        buf_printf(out, "%s\"%s\":", first ? "" : ",", scope);
        buf_json_str(out, buf_str(&text));
        buf_free(&text);
        first = false;
    }
}

static void security_schemes_write(const struct openapi_context *context,
                                   const struct openapi_routes *list, struct buf *out) {
    buf_lit(out, ",\"securitySchemes\":{\"bearer\":{\"type\":\"http\",\"scheme\":\"bearer\","
                 "\"description\":\"An API key of `penstock key create`, or an access token (JWT). "
                 "Each operation names the scope it needs (x-scope)\"}");
    if (context->oauth) {
        buf_lit(out, ",\"oauth2\":{\"type\":\"oauth2\",\"description\":\"The hub's own tokens, for "
                     "those without an identity provider\",\"flows\":{\"clientCredentials\":{"
                     "\"tokenUrl\":\"" OAUTH_TOKEN_PATH "\",\"scopes\":{");
        scopes_write(list, out);
        buf_lit(out, "}}}}");
    }
    buf_char(out, '}');
}

static void tag_write(struct buf *out, const char *name, const char *help, bool *first) {
    buf_printf(out, "%s{\"name\":\"%s\",\"description\":", *first ? "" : ",", name);
    buf_json_str(out, str_c(help));
    *first = false;
}

/* A tag per contract; routes that none covers are filed under their table's name. */
static void tags_write(const struct api_tables *tables, const struct openapi_routes *list,
                       struct buf *out) {
    bool first = true;
    buf_lit(out, "\"tags\":[");
    for (const struct contract *c = tables->contracts; c && c->name; c++) {
        bool used = false;
        for (uint32_t i = 0; i < list->count && !used; i++)
            used = list->rows[i].contract == c;
        if (!used)
            continue;
        tag_write(out, c->name, c->help, &first);
        buf_printf(out, ",\"externalDocs\":{\"url\":\"" CONTRACT_SITE "%s\"}", c->link);
        contract_members_write(c, out);
        buf_char(out, '}');
    }
    for (uint32_t i = 0; i < list->count; i++) {
        bool seen = list->rows[i].contract != NULL;
        for (uint32_t k = 0; k < i && !seen; k++)
            seen = !list->rows[k].contract && strcmp(list->rows[k].tag, list->rows[i].tag) == 0;
        if (seen)
            continue;
        tag_write(out, list->rows[i].tag, list->rows[i].tag, &first);
        buf_char(out, '}');
    }
    buf_char(out, ']');
}

static void paths_write(const struct openapi_context *context, const struct openapi_routes *list,
                        struct buf *out) {
    for (uint32_t i = 0; i < list->count; i++) {
        bool same = i > 0 && strcmp(list->rows[i].route->path, list->rows[i - 1].route->path) == 0;
        if (!same) {
            buf_printf(out, "%s", i > 0 ? "}," : "");
            buf_json_str(out, str_c(list->rows[i].route->path));
            buf_lit(out, ":{");
        } else {
            buf_char(out, ',');
        }
        openapi_operation_write(context, &list->rows[i], out);
    }
    if (list->count > 0)
        buf_char(out, '}');
}

void openapi_write(const struct api_tables *tables, const char *version, struct buf *out) {
    struct openapi_routes list = {.count = 0};
    struct api_shapes set = {.count = 0};
    struct openapi_context context = {.tables = tables};
    bool feed = false;
    for (const struct capability *const *c = tables->capabilities; *c; c++)
        routes_take(&list, tables, (*c)->routes, (*c)->name);
    for (const struct api_extra *e = tables->extras; e && e->name; e++)
        routes_take(&list, tables, e->routes, e->name);
    qsort(list.rows, list.count, sizeof list.rows[0], route_cmp);
    for (uint32_t i = 0; i < list.count; i++) {
        const struct route *route = list.rows[i].route;
        api_shapes_add(&set, route->answer);
        api_shapes_add(&set, openapi_body(route));
        if (strcmp(route->path, OAUTH_TOKEN_PATH) == 0) {
            context.oauth = true;
            api_shapes_add(&set, &token_error_shape);
        }
        feed |= openapi_is_list(route) && !route->answer;
    }
    buf_lit(out, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"Penstock\",\"version\":");
    buf_json_str(out, str_c(version));
    buf_lit(out, ",\"summary\":\"A retail integration hub\",\"description\":\"What may be asked of the "
                 "hub, and everything it can answer. Every operation may be refused with a problem "
                 "(RFC 9457). A path answers HEAD where it answers GET, OPTIONS with 204 and Allow, "
                 "other methods with 405. New members in answers are no breach of a contract: pass "
                 "over what you do not know.\",\"contact\":{\"name\":\"Penstock\",\"url\":\""
                 CONTRACT_SITE "\"},\"license\":{\"name\":\"Apache License 2.0\",\"url\":"
                 "\"https://www.apache.org/licenses/LICENSE-2.0\"}},\"jsonSchemaDialect\":"
                 "\"https://json-schema.org/draft/2020-12/schema\",\"servers\":[{\"url\":\"/\"}],"
                 "\"security\":[{\"bearer\":[]}],");
    tags_write(tables, &list, out);
    buf_lit(out, ",\"paths\":{");
    paths_write(&context, &list, out);
    buf_lit(out, "},\"components\":{\"schemas\":{");
    fixed_schemas_write(out);
    if (feed) {
        buf_char(out, ',');
        api_envelope_write(out);
    }
    if (set.count > 0)
        buf_char(out, ',');
    api_shapes_write(&set, SCHEMAS, out);
    buf_lit(out, "},");
    problem_responses_write(&list, out);
    parameters_write(&list, out);
    headers_write(&list, out);
    security_schemes_write(&context, &list, out);
    buf_lit(out, "}}\n");
}
