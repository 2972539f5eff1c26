/* openapi: prints the description of the HTTP side. Pure: tables in, text out. */
#include "gateway/openapi.h"

#include <ctype.h>
#include <stdlib.h>

#define SCHEMAS "#/components/schemas/"

struct openapi_route {
    const struct route *route;
    const char *tag;
    uint32_t order; /* keeps methods of one path as the tables have them */
};
struct openapi_routes {
    struct openapi_route rows[API_ROUTES_MAX];
    uint32_t count;
};

static void routes_take(struct openapi_routes *list, const struct route *route, const char *tag) {
    for (; route && route->method; route++) {
        must(list->count < API_ROUTES_MAX);
        list->rows[list->count] = (struct openapi_route){route, tag, list->count};
        list->count++;
    }
}

static int route_cmp(const void *a, const void *b) {
    const struct openapi_route *x = a, *y = b;
    int order = strcmp(x->route->path, y->route->path);
    return order ? order : (x->order > y->order) - (x->order < y->order);
}

static bool is_get(const struct route *route) { return strcmp(route->method, "GET") == 0; }

/* Whether the route takes a command that may change something. */
static bool is_change(const struct route *route) {
    return route->command && !(route->command->flags & COMMAND_READS);
}

/* A GET whose path does not end in a parameter, with a cursor or several keys to ask for,
 * answers {"items":[…]}. */
static bool is_list(const struct route *route) {
    size_t len = strlen(route->path);
    return is_get(route) && route->answer && len > 0 && route->path[len - 1] != '}';
}

static bool has_param(const struct route *route, const char *name) {
    for (const struct query_param *p = route->params; p && p->name; p++)
        if (strcmp(p->name, name) == 0)
            return true;
    return false;
}

/* Answers that are (also) something else than JSON, by path. */
static const struct openapi_media {
    const char *path, *media;
    bool alone; /* never JSON */
    const char *help;
} openapi_media[] = {
    {"/metrics", "text/plain", true, "Prometheus text"},
    {"/v1/events", "text/event-stream", false,
     "With `Accept: text/event-stream`: events as they happen, id is the seq"},
};

static const struct openapi_media *media_of(const struct route *route) {
    for (size_t i = 0; i < sizeof openapi_media / sizeof openapi_media[0]; i++)
        if (strcmp(openapi_media[i].path, route->path) == 0)
            return &openapi_media[i];
    return NULL;
}

/* --- one operation ---------------------------------------------------------------------- */

/* "order.capture" for commands, "get_v1_orders_order_id" for queries. */
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

static void path_params_write(const struct route *route, struct buf *out, bool *first) {
    for (const char *c = strchr(route->path, '{'); c; c = strchr(c, '{')) {
        size_t len = strcspn(++c, "}");
        buf_printf(out, "%s{\"name\":\"%.*s\",\"in\":\"path\",\"required\":true,"
                        "\"schema\":{\"type\":\"string\"}}",
                   *first ? "" : ",", (int)len, c);
        *first = false;
    }
}

static void query_params_write(const struct route *route, struct buf *out, bool *first) {
    for (const struct query_param *p = route->params; p && p->name; p++) {
        buf_printf(out, "%s{\"name\":\"%s\",\"in\":\"query\",\"required\":%s,\"description\":",
                   *first ? "" : ",", p->name, p->required ? "true" : "false");
        *first = false;
        buf_json_str(out, str_c(p->help ? p->help : p->name));
        if (p->repeated)
            buf_lit(out, ",\"style\":\"form\",\"explode\":true,\"schema\":{\"type\":\"array\","
                         "\"items\":{\"type\":\"string\"}}}");
        else
            buf_lit(out, ",\"schema\":{\"type\":\"string\"}}");
    }
}

static void header_ref(struct buf *out, const char *name, bool *first) {
    buf_printf(out, "%s{\"$ref\":\"#/components/parameters/%s\"}", *first ? "" : ",", name);
    *first = false;
}

static void parameters_write(const struct route *route, struct buf *out) {
    bool first = true;
    buf_lit(out, ",\"parameters\":[");
    path_params_write(route, out, &first);
    query_params_write(route, out, &first);
    if (is_change(route))
        header_ref(out, "Idempotency-Key", &first);
    if (is_get(route) && !(route->flags & ROUTE_INLINE) && (route->command || route->query))
        header_ref(out, "Penstock-Wait-Seq", &first);
    header_ref(out, "Penstock-Correlation-Id", &first);
    header_ref(out, "traceparent", &first);
    buf_char(out, ']');
}

static void schema_ref(struct buf *out, const struct shape *shape) {
    if (shape)
        buf_printf(out, "{\"$ref\":\"" SCHEMAS "%s\"}", shape->name);
    else
        buf_lit(out, "{\"type\":\"object\"}");
}

static void body_write(const struct route *route, struct buf *out) {
    if (!route->command || !route->command->shape || is_get(route) ||
        strcmp(route->method, "DELETE") == 0)
        return;
    buf_lit(out, ",\"requestBody\":{\"required\":true,\"content\":{\"application/json\":{"
                 "\"schema\":");
    schema_ref(out, route->command->shape);
    buf_char(out, '}');
    if (route->flags & ROUTE_BULK) {
        buf_lit(out, ",\"application/x-ndjson\":{\"schema\":{\"description\":\"One document a line; "
                     "the answer has one result line per line, in order\",\"allOf\":[");
        schema_ref(out, route->command->shape);
        buf_lit(out, "]}}");
    }
    buf_lit(out, "}}");
}

static void success_headers_write(const struct route *route, int status, struct buf *out) {
    buf_lit(out, ",\"headers\":{\"Penstock-Correlation-Id\":{\"$ref\":"
                 "\"#/components/headers/Penstock-Correlation-Id\"},\"Penstock-Seq\":{\"$ref\":"
                 "\"#/components/headers/Penstock-Seq\"}");
    if (is_change(route) && status == 200)
        buf_lit(out, ",\"Idempotency-Replayed\":{\"$ref\":"
                     "\"#/components/headers/Idempotency-Replayed\"}");
    if (has_param(route, "cursor"))
        buf_lit(out, ",\"Link\":{\"$ref\":\"#/components/headers/Link\"}");
    buf_char(out, '}');
}

static void json_answer_write(const struct route *route, struct buf *out) {
    buf_lit(out, "\"application/json\":{\"schema\":");
    if (is_list(route)) {
        buf_lit(out, "{\"type\":\"object\",\"required\":[\"items\"],\"properties\":{\"items\":{"
                     "\"type\":\"array\",\"items\":");
        schema_ref(out, route->answer);
        buf_char(out, '}');
        if (has_param(route, "cursor"))
            buf_lit(out, ",\"next_cursor\":{\"type\":[\"string\",\"null\"],\"description\":\"Give it "
                         "as ?cursor= for the next page; null or absent at the end\"}");
        buf_lit(out, "}}");
    } else {
        schema_ref(out, route->answer);
    }
    buf_char(out, '}');
}

static void success_write(const struct route *route, int status, struct buf *out) {
    const struct openapi_media *media = media_of(route);
    buf_printf(out, "\"%d\":{\"description\":", status);
    buf_json_str(out, str_c(route->help));
    success_headers_write(route, status, out);
    buf_lit(out, ",\"content\":{");
    if (!media || !media->alone)
        json_answer_write(route, out);
    if (media) {
        buf_printf(out, "%s\"%s\":{\"schema\":{\"type\":\"string\",\"description\":",
                   media->alone ? "" : ",", media->media);
        buf_json_str(out, str_c(media->help));
        buf_lit(out, "}}");
    }
    if (status == 200 && (route->flags & ROUTE_BULK))
        buf_lit(out, ",\"application/x-ndjson\":{\"schema\":{\"$ref\":\"" SCHEMAS
                     "bulk_result\"}}");
    buf_lit(out, "}}");
}

/* A status appears where the route can answer it. */
static bool status_applies(const struct route *route, int status) {
    bool body = route->command && route->command->shape && !is_get(route);
    switch (status) {
    case 401: case 403: return route->scope != NULL;
    case 404: return strchr(route->path, '{') != NULL;
    case 409: return is_change(route);
    case 413: case 415: return body;
    case 422: return body || route->params != NULL;
    case 400: return body || route->params != NULL;
    case 429: case 500: case 503: return true;
    default: return false;
    }
}

/* The statuses of errors.def, each once, ascending; answers how many. */
static uint32_t statuses(int *out, uint32_t max) {
    uint32_t count = 0;
    for (int status = 400; status < 600 && count < max; status++)
        for (enum err err = OK + 1; err < ERR_COUNT; err++)
            if (err_info(err)->status == status) {
                out[count++] = status;
                break;
            }
    return count;
}

static void responses_write(const struct route *route, struct buf *out) {
    int list[64];
    buf_lit(out, ",\"responses\":{");
    success_write(route, 200, out);
    if (is_change(route) && strcmp(route->method, "POST") == 0) {
        buf_char(out, ',');
        success_write(route, 201, out);
    }
    uint32_t count = statuses(list, sizeof list / sizeof list[0]);
    for (uint32_t i = 0; i < count; i++)
        if (status_applies(route, list[i]))
            buf_printf(out, ",\"%d\":{\"$ref\":\"#/components/responses/%d\"}", list[i], list[i]);
    buf_lit(out, ",\"default\":{\"$ref\":\"#/components/responses/problem\"}}");
}

static void operation_write(const struct openapi_route *row, struct buf *out) {
    const struct route *route = row->route;
    buf_char(out, '"');
    for (const char *c = route->method; *c; c++)
        buf_char(out, (char)tolower((unsigned char)*c));
    buf_lit(out, "\":{");
    operation_id_write(route, out);
    buf_printf(out, ",\"tags\":[\"%s\"],\"summary\":", row->tag);
    buf_json_str(out, str_c(route->help));
    if (route->command && route->command->help) {
        buf_lit(out, ",\"description\":");
        buf_json_str(out, str_c(route->command->help));
    }
    if (route->scope)
        buf_printf(out, ",\"security\":[{\"key\":[\"%s\"]}]", route->scope);
    else
        buf_lit(out, ",\"security\":[]");
    parameters_write(route, out);
    body_write(route, out);
    responses_write(route, out);
    buf_char(out, '}');
}

/* --- what operations share -------------------------------------------------------------- */

static void problem_responses_write(struct buf *out) {
    int list[64];
    uint32_t count = statuses(list, sizeof list / sizeof list[0]);
    buf_lit(out, "\"responses\":{\"problem\":{\"description\":\"A refusal or a fault (RFC 9457)\","
                 "\"content\":{\"application/problem+json\":{\"schema\":{\"$ref\":\"" SCHEMAS
                 "problem\"}}}}");
    for (uint32_t i = 0; i < count; i++) {
        struct buf text;
        buf_init(&text, 0);
        for (enum err err = OK + 1; err < ERR_COUNT; err++)
            if (err_info(err)->status == list[i])
                buf_printf(&text, "%s%s (%s)", text.len ? "; " : "", err_info(err)->title,
                           err_info(err)->slug);
        buf_printf(out, ",\"%d\":{\"description\":", list[i]);
        buf_json_str(out, buf_str(&text));
        buf_free(&text);
        if (list[i] == 429 || list[i] == 503)
            buf_lit(out, ",\"headers\":{\"Retry-After\":{\"description\":\"Seconds after which to "
                         "try again\",\"schema\":{\"type\":\"integer\"}}}");
        buf_lit(out, ",\"content\":{\"application/problem+json\":{\"schema\":{\"$ref\":\"" SCHEMAS
                     "problem\"}}}}");
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
            "\"detail\"],\"properties\":{\"pointer\":{\"type\":\"string\",\"format\":"
            "\"json-pointer\"},\"detail\":{\"type\":\"string\"}}}}}},"
            "\"bulk_result\":{\"type\":\"object\",\"description\":\"One line of the answer to a bulk "
            "request\",\"required\":[\"line\",\"status\"],\"properties\":{\"line\":{\"type\":"
            "\"integer\",\"minimum\":1},\"status\":{\"type\":\"integer\"},\"answer\":{\"type\":"
            "\"object\"},\"problem\":{\"$ref\":\"" SCHEMAS "problem\"}}}");
}

static void parameters_and_headers_write(struct buf *out) {
    buf_lit(out,
            ",\"parameters\":{\"Idempotency-Key\":{\"name\":\"Idempotency-Key\",\"in\":\"header\","
            "\"description\":\"Makes a retry safe: the same key with the same body gets the first "
            "answer again, with another body 422. Its scope is API key and route. In a bulk call with "
            "the key K, line n has the key K:n\",\"schema\":{"
            "\"type\":\"string\",\"minLength\":1,\"maxLength\":255}},"
            "\"Penstock-Wait-Seq\":{\"name\":\"Penstock-Wait-Seq\",\"in\":\"header\","
            "\"description\":\"Answer only when the read model has reached this seq (the "
            "Penstock-Seq of an earlier answer); 503 where it takes longer than wait_seq_ms\","
            "\"schema\":{\"type\":\"integer\",\"minimum\":0}},"
            "\"Penstock-Correlation-Id\":{\"name\":\"Penstock-Correlation-Id\",\"in\":\"header\","
            "\"description\":\"Joins everything that follows from this request; made where it is "
            "not given. X-Correlation-ID is taken too\",\"schema\":{\"type\":\"string\"}},"
            "\"traceparent\":{\"name\":\"traceparent\",\"in\":\"header\",\"description\":\"W3C Trace "
            "Context\",\"schema\":{\"type\":\"string\"}}},"
            "\"headers\":{\"Penstock-Correlation-Id\":{\"description\":\"The correlation id of this "
            "request\",\"schema\":{\"type\":\"string\"}},\"Penstock-Seq\":{\"description\":\"The "
            "position in the journal that this answer reflects\",\"schema\":{\"type\":\"integer\"}},"
            "\"Idempotency-Replayed\":{\"description\":\"true: this is the first answer again\","
            "\"schema\":{\"type\":\"string\",\"const\":\"true\"}},\"Link\":{\"description\":"
            "\"rel=next: the next page (RFC 8288)\",\"schema\":{\"type\":\"string\"}}},"
            "\"securitySchemes\":{\"key\":{\"type\":\"http\",\"scheme\":\"bearer\",\"description\":"
            "\"An API key of `penstock key create`. Each operation names the scope it needs\"}}}");
}

static void tags_write(const struct api_tables *tables, struct buf *out) {
    bool first = true;
    buf_lit(out, "\"tags\":[");
    for (const struct capability *const *c = tables->capabilities; *c; c++) {
        if (!(*c)->routes || !(*c)->routes->method)
            continue;
        buf_printf(out, "%s{\"name\":\"%s\",\"description\":", first ? "" : ",", (*c)->name);
        buf_json_str(out, str_c((*c)->help));
        buf_char(out, '}');
        first = false;
    }
    for (const struct api_extra *e = tables->extras; e && e->name; e++) {
        buf_printf(out, "%s{\"name\":\"%s\",\"description\":", first ? "" : ",", e->name);
        buf_json_str(out, str_c(e->help));
        buf_char(out, '}');
        first = false;
    }
    buf_char(out, ']');
}

static void paths_write(struct openapi_routes *list, struct buf *out) {
    qsort(list->rows, list->count, sizeof list->rows[0], route_cmp);
    for (uint32_t i = 0; i < list->count; i++) {
        bool same = i > 0 && strcmp(list->rows[i].route->path, list->rows[i - 1].route->path) == 0;
        if (!same) {
            buf_printf(out, "%s", i > 0 ? "}," : "");
            buf_json_str(out, str_c(list->rows[i].route->path));
            buf_lit(out, ":{");
        } else {
            buf_char(out, ',');
        }
        operation_write(&list->rows[i], out);
    }
    if (list->count > 0)
        buf_char(out, '}');
}

void openapi_write(const struct api_tables *tables, const char *version, struct buf *out) {
    struct openapi_routes list = {.count = 0};
    struct api_shapes set = {.count = 0};
    for (const struct capability *const *c = tables->capabilities; *c; c++)
        routes_take(&list, (*c)->routes, (*c)->name);
    for (const struct api_extra *e = tables->extras; e && e->name; e++)
        routes_take(&list, e->routes, e->name);
    for (uint32_t i = 0; i < list.count; i++) {
        api_shapes_add(&set, list.rows[i].route->answer);
        if (list.rows[i].route->command)
            api_shapes_add(&set, list.rows[i].route->command->shape);
    }
    buf_lit(out, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"Penstock\",\"version\":");
    buf_json_str(out, str_c(version));
    buf_lit(out, ",\"summary\":\"A retail integration hub\",\"license\":{\"name\":\"Apache License "
                 "2.0\",\"identifier\":\"Apache-2.0\"}},\"jsonSchemaDialect\":"
                 "\"https://json-schema.org/draft/2020-12/schema\",\"servers\":[{\"url\":\"/\"}],"
                 "\"security\":[{\"key\":[]}],");
    tags_write(tables, out);
    buf_lit(out, ",\"paths\":{");
    paths_write(&list, out);
    buf_lit(out, "},\"components\":{\"schemas\":{");
    fixed_schemas_write(out);
    if (set.count > 0)
        buf_char(out, ',');
    api_shapes_write(&set, SCHEMAS, out);
    buf_lit(out, "},");
    problem_responses_write(out);
    parameters_and_headers_write(out);
    buf_lit(out, "}\n");
}
