/* contract_snapshot: writes and reads snapshots (contract_compare.c compares them). */
#include "gateway/contract_snapshot.h"

#include <stdlib.h>

#include "gateway/openapi_priv.h"

#define FORMAT 1
#define PARAMS_MAX 64

/* --- writing ---------------------------------------------------------------------------------- */

struct route_row {
    const struct route *route;
};
struct route_rows {
    struct route_row rows[API_ROUTES_MAX];
    uint32_t count;
};

static int route_cmp(const void *a, const void *b) {
    const struct route_row *x = a, *y = b;
    int order = strcmp(x->route->path, y->route->path);
    return order ? order : strcmp(x->route->method, y->route->method);
}

static void routes_take(struct route_rows *list, const struct route *route) {
    for (; route && route->method; route++) {
        must(list->count < API_ROUTES_MAX);
        list->rows[list->count++] = (struct route_row){route};
    }
}

static void text_member(struct buf *out, const char *name, const char *value) {
    if (!value)
        return;
    buf_printf(out, ",\"%s\":", name);
    buf_json_str(out, str_c(value));
}

static void contracts_write(const struct contract *contract, struct buf *out) {
    buf_lit(out, "\"contracts\":{");
    for (bool first = true; contract && contract->name; contract++, first = false) {
        buf_printf(out, "%s\n\"%s\":{\"owner\":\"%s\"", first ? "" : ",", contract->name,
                   contract->owner);
        text_member(out, "version", contract->version);
        text_member(out, "status", contract_status_names[contract->status]);
        text_member(out, "since", contract->since);
        text_member(out, "deprecated", contract->deprecated);
        text_member(out, "sunset", contract->sunset);
        buf_printf(out, ",\"availability_ppm\":%d,\"p99_ms\":%d}", contract->availability_ppm,
                   contract->p99_ms);
    }
    buf_lit(out, "}");
}

/* Parameters are compared as if they were the members of a document. */
static void params_write(const struct route *route, struct buf *out) {
    static const enum shape_kind kinds[] = {[QUERY_TEXT] = SHAPE_TEXT, [QUERY_WHOLE] = SHAPE_INTEGER,
                                            [QUERY_TIME] = SHAPE_INSTANT, [QUERY_WORD] = SHAPE_ENUM};
    struct shape_field fields[PARAMS_MAX] = {0};
    struct shape shape = {.name = "params", .fields = fields};
    bool repeated = false;
    for (const struct query_param *p = route->params; p && p->name; p++) {
        must(shape.count < PARAMS_MAX);
        fields[shape.count++] = (struct shape_field){
            .name = p->name, .kind = kinds[p->kind], .min = p->min, .max = p->max,
            .values = p->values, .flags = p->required ? SHAPE_REQUIRED : 0};
        repeated |= p->repeated;
    }
    if (shape.count == 0)
        return;
    buf_char(out, ',');
    shape_snapshot_write(&shape, out);
    if (!repeated)
        return;
    buf_lit(out, ",\"repeated\":[");
    bool first = true;
    for (const struct query_param *p = route->params; p->name; p++)
        if (p->repeated) {
            buf_printf(out, "%s\"%s\"", first ? "" : ",", p->name);
            first = false;
        }
    buf_char(out, ']');
}

static bool body_required(const struct shape *body) {
    for (uint32_t i = 0; body && i < body->count; i++)
        if (body->fields[i].flags & SHAPE_REQUIRED)
            return true;
    return false;
}

static void route_write(const struct contract *contracts_table, const struct route *route,
                        struct buf *out) {
    const struct contract *contract = contract_of_path(contracts_table, route->path);
    const struct shape *body = openapi_body(route);
    buf_printf(out, "\"%s %s\":{\"status\":%d", route->method, route->path,
               route->status ? route->status : 200);
    text_member(out, "contract", contract ? contract->name : NULL);
    text_member(out, "scope", route->scope);
    text_member(out, "sunset", route->sunset);
    text_member(out, "body", body ? body->name : NULL);
    if (body_required(body))
        buf_lit(out, ",\"body_required\":true");
    if (route->flags & ROUTE_BULK)
        buf_lit(out, ",\"bulk\":true");
    if (openapi_is_list(route))
        buf_lit(out, ",\"list\":true");
    text_member(out, "answer", route->answer ? route->answer->name : NULL);
    params_write(route, out);
    buf_char(out, '}');
}

static void events_write(const struct api_tables *tables, struct buf *out) {
    bool first = true;
    buf_lit(out, "\"events\":{");
    for (const struct capability *const *c = tables->capabilities; *c; c++)
        for (const struct event_type *const *e = (*c)->events; e && *e; e++) {
            const struct contract *contract = contract_of_event(tables->contracts, (*e)->name);
            buf_printf(out, "%s\n\"%s\":{\"type\":\"" EVENT_TYPE_PREFIX "%s" EVENT_TYPE_SUFFIX "\"",
                       first ? "" : ",", (*e)->name, (*e)->name);
            text_member(out, "contract", contract ? contract->name : NULL);
            text_member(out, "data", (*e)->shape ? (*e)->shape->name : NULL);
            buf_char(out, '}');
            first = false;
        }
    buf_char(out, '}');
}

static int shape_cmp(const void *a, const void *b) {
    return strcmp((*(const struct shape *const *)a)->name, (*(const struct shape *const *)b)->name);
}

static void shapes_write(const struct api_tables *tables, const struct route_rows *list,
                         struct buf *out) {
    struct api_shapes set = {.count = 0};
    for (uint32_t i = 0; i < list->count; i++) {
        api_shapes_add(&set, openapi_body(list->rows[i].route));
        api_shapes_add(&set, list->rows[i].route->answer);
    }
    for (const struct capability *const *c = tables->capabilities; *c; c++)
        for (const struct event_type *const *e = (*c)->events; e && *e; e++)
            api_shapes_add(&set, (*e)->shape);
    qsort(set.shapes, set.count, sizeof set.shapes[0], shape_cmp);
    buf_lit(out, "\"shapes\":{");
    for (uint32_t i = 0; i < set.count; i++) {
        buf_str_add(out, str_c(i > 0 ? ",\n" : "\n"));
        shape_snapshot_write(set.shapes[i], out);
    }
    buf_char(out, '}');
}

void contract_snapshot_write(const struct api_tables *tables, const char *version, struct buf *out) {
    struct route_rows list = {.count = 0};
    for (const struct capability *const *c = tables->capabilities; *c; c++)
        routes_take(&list, (*c)->routes);
    for (const struct api_extra *e = tables->extras; e && e->name; e++)
        routes_take(&list, e->routes);
    qsort(list.rows, list.count, sizeof list.rows[0], route_cmp);
    buf_printf(out, "{\"format\":%d,\"penstock\":\"%s\",\n", FORMAT, version);
    contracts_write(tables->contracts, out);
    buf_lit(out, ",\n\"routes\":{");
    for (uint32_t i = 0; i < list.count; i++) {
        buf_str_add(out, str_c(i > 0 ? ",\n" : "\n"));
        route_write(tables->contracts, list.rows[i].route, out);
    }
    buf_lit(out, "},\n");
    events_write(tables, out);
    buf_lit(out, ",\n");
    shapes_write(tables, &list, out);
    buf_lit(out, "}\n");
}

/* --- reading ---------------------------------------------------------------------------------- */

struct reading {
    struct arena *arena;
    struct snapshot *out;
    struct fault *fault;
};

static int64_t number(const struct json *object, const char *name) {
    const struct json *value = json_member(object, str_c(name));
    int64_t n = 0;
    return value && json_i64(value, &n) ? n : 0;
}

static bool flag(const struct json *object, const char *name) {
    const struct json *value = json_member(object, str_c(name));
    return value && value->kind == JSON_BOOL && value->count;
}

/* The shape that a member names; *err where the snapshot lacks it. */
static const struct shape *named_shape(struct reading *r, const struct json *object,
                                       const char *name, enum err *err) {
    struct str wanted = json_member_str(object, str_c(name));
    const struct shape *shape = wanted.ptr ? shape_set_find(&r->out->shapes, wanted) : NULL;
    if (wanted.ptr && !shape && *err == OK)
        *err = fault_set(r->fault, ERR_INVALID, "the snapshot lacks the shape %.*s", STR_FMT(wanted));
    return shape;
}

static enum err contract_read(struct reading *r, struct str name, const struct json *object,
                              uint32_t index) {
    r->out->contracts[index] = (struct snapshot_contract){
        .name = name, .owner = json_member_str(object, STR("owner")),
        .version = json_member_str(object, STR("version")),
        .status = json_member_str(object, STR("status")),
        .deprecated = json_member_str(object, STR("deprecated")),
        .sunset = json_member_str(object, STR("sunset")),
        .availability_ppm = number(object, "availability_ppm"), .p99_ms = number(object, "p99_ms")};
    return OK;
}

static enum err route_read(struct reading *r, struct str name, const struct json *object,
                           uint32_t index) {
    struct str path = name, method = str_cut(&path, ' ');
    const struct json *params = json_member(object, STR("params"));
    struct snapshot_route *route = &r->out->routes[index];
    struct shape_set set;
    enum err err = OK;
    *route = (struct snapshot_route){
        .method = method, .path = path, .scope = json_member_str(object, STR("scope")),
        .contract = json_member_str(object, STR("contract")), .status = number(object, "status"),
        .body = named_shape(r, object, "body", &err), .answer = named_shape(r, object, "answer", &err),
        .body_required = flag(object, "body_required"), .bulk = flag(object, "bulk"),
        .list = flag(object, "list"), .repeated = json_member(object, STR("repeated")),
        .sunset = json_member_str(object, STR("sunset"))};
    if (route->repeated && route->repeated->kind != JSON_ARRAY)
        route->repeated = NULL;
    if (err == OK && params) {
        /* "params":{"members":…} is one shape: read it as a set of one */
        struct json *one = arena_array(r->arena, params->next + 2, sizeof *one);
        if (!one)
            return fault_set(r->fault, ERR_NOMEM, "no memory for the snapshot");
        one[0] = (struct json){.kind = JSON_OBJECT, .count = 1, .next = params->next + 2};
        one[1] = (struct json){.kind = JSON_STRING, .text = STR("params"), .next = 1};
        memcpy(&one[2], params, params->next * sizeof *one);
        err = shape_snapshot_read(one, r->arena, &set, r->fault);
        route->params = err == OK ? set.items[0] : NULL;
    }
    return err;
}

static enum err event_read(struct reading *r, struct str name, const struct json *object,
                           uint32_t index) {
    enum err err = OK;
    r->out->events[index] = (struct snapshot_event){
        .name = name, .contract = json_member_str(object, STR("contract")),
        .data = named_shape(r, object, "data", &err)};
    return err;
}

/* Every member of root's object `name`, through `read`. */
static enum err members_read(struct reading *r, const struct json *root, const char *name,
                             void *rows, size_t size, uint32_t *count,
                             enum err (*read)(struct reading *, struct str, const struct json *,
                                              uint32_t)) {
    const struct json *object = json_member(root, str_c(name));
    enum err err = OK;
    if (!object || object->kind != JSON_OBJECT)
        return fault_set(r->fault, ERR_INVALID, "the snapshot has no %s", name);
    *(void **)rows = arena_array(r->arena, object->count + 1, size);
    if (!*(void **)rows)
        return fault_set(r->fault, ERR_NOMEM, "no memory for the snapshot");
    *count = object->count;
    const struct json *at = json_first(object);
    for (uint32_t i = 0; i < object->count && err == OK; i++) {
        const struct json *value = json_next(at);
        err = value->kind == JSON_OBJECT
                  ? read(r, at->text, value, i)
                  : fault_set(r->fault, ERR_INVALID, "the snapshot's %.*s is no object",
                              STR_FMT(at->text));
        at = json_next(value);
    }
    return err;
}

enum err contract_snapshot_read(struct str text, struct arena *arena, struct snapshot *out,
                                struct fault *fault) {
    struct reading r = {arena, out, fault};
    struct json_parser *parser = json_parser_create();
    const struct json *root, *shapes = NULL;
    enum err err = parser ? json_parse(parser, arena, text, false, &root, fault)
                          : fault_set(fault, ERR_NOMEM, "no memory for the snapshot");
    json_parser_destroy(parser);
    *out = (struct snapshot){.version = STR_NONE};
    if (err == OK && (root->kind != JSON_OBJECT || number(root, "format") != FORMAT))
        err = fault_set(fault, ERR_INVALID, "it is no snapshot of contracts of format %d: make one with "
                                            "`penstock contracts export`", FORMAT);
    if (err != OK)
        return err;
    out->version = json_member_str(root, STR("penstock"));
    shapes = json_member(root, STR("shapes"));
    err = shapes ? shape_snapshot_read(shapes, arena, &out->shapes, fault)
                 : fault_set(fault, ERR_INVALID, "the snapshot has no shapes");
    if (err == OK)
        err = members_read(&r, root, "contracts", &out->contracts, sizeof *out->contracts,
                           &out->contract_count, contract_read);
    if (err == OK)
        err = members_read(&r, root, "routes", &out->routes, sizeof *out->routes, &out->route_count,
                           route_read);
    if (err == OK)
        err = members_read(&r, root, "events", &out->events, sizeof *out->events, &out->event_count,
                           event_read);
    return err;
}
