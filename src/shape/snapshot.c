/* snapshot: tables of shapes as text and back, for comparisons with a release (compare.h). What a
 * snapshot keeps is what compare looks at; a member it does not know is passed over, so that an
 * older program can read what a newer one wrote. */
#include "shape/compare.h"

#include "shape/shape_priv.h"

static const char *const kind_names[] = SHAPE_KIND_NAMES;
static const char *const privacy_names[] = {
    [PUBLIC] = "public", [PERSONAL] = "personal", [SECRET] = "secret"};
static const struct { const char *name; unsigned flag; } flag_names[] = {
    {"required", SHAPE_REQUIRED}, {"read_only", SHAPE_READ_ONLY},
    {"local", SHAPE_LOCAL_OK}, {"null", SHAPE_NULL},
};
#define KINDS (sizeof kind_names / sizeof kind_names[0])
#define FLAGS (sizeof flag_names / sizeof flag_names[0])

/* --- writing ---------------------------------------------------------------------------------- */

static void bound_write(struct buf *out, const char *name, int64_t value) {
    buf_printf(out, ",\"%s\":%lld", name, (long long)value);
}

static void bounds_write(const struct shape_field *f, struct buf *out) {
    switch (f->kind) {
    case SHAPE_ID: case SHAPE_CODE: case SHAPE_TEXT: case SHAPE_LIST:
        if (shape_least(f) > 0)
            bound_write(out, "min", shape_least(f));
        bound_write(out, "max", shape_most(f));
        break;
    case SHAPE_MONEY: case SHAPE_INTEGER: case SHAPE_DECIMAL: case SHAPE_RATE:
        if (f->min == 0 && f->max == 0)
            break;
        bound_write(out, "min", f->min);
        bound_write(out, "max", f->max);
        break;
    default: break;
    }
}

static void field_write(const struct shape_field *f, struct buf *out) {
    buf_json_str(out, str_c(f->name));
    buf_printf(out, ":{\"kind\":\"%s\"", kind_names[f->kind]);
    for (size_t i = 0; i < FLAGS; i++)
        if (f->flags & flag_names[i].flag)
            buf_printf(out, ",\"%s\":true", flag_names[i].name);
    bounds_write(f, out);
    if (f->kind == SHAPE_ENUM) {
        buf_lit(out, ",\"values\":[");
        for (const char *const *v = f->values; *v; v++) {
            buf_str_add(out, str_c(v == f->values ? "" : ","));
            buf_json_str(out, str_c(*v));
        }
        buf_char(out, ']');
    }
    if (f->shape)
        buf_printf(out, ",\"of\":\"%s\"", f->shape->name);
    if (f->privacy != PUBLIC)
        buf_printf(out, ",\"privacy\":\"%s\"", privacy_names[f->privacy]);
    buf_char(out, '}');
}

void shape_snapshot_write(const struct shape *shape, struct buf *out) {
    buf_json_str(out, str_c(shape->name));
    buf_printf(out, ":{%s\"members\":{", shape->open ? "\"open\":true," : "");
    for (uint32_t i = 0; i < shape->count; i++) {
        if (i > 0)
            buf_char(out, ',');
        field_write(&shape->fields[i], out);
    }
    buf_lit(out, "}}");
}

/* --- reading ---------------------------------------------------------------------------------- */

struct reading {
    struct arena *arena;
    struct fault *fault;
    struct shape *shapes;
    uint32_t count;
};

static const char *text_keep(struct reading *r, struct str text) {
    return arena_printf(r->arena, "%.*s", STR_FMT(text)).ptr;
}

static bool flag_read(const struct json *object, const char *name) {
    const struct json *value = json_member(object, str_c(name));
    return value && value->kind == JSON_BOOL && value->count;
}

static enum err values_read(struct reading *r, const struct json *member, struct shape_field *f) {
    const struct json *list = json_member(member, STR("values"));
    const char **values;
    if (!list || list->kind != JSON_ARRAY)
        return fault_set(r->fault, ERR_INVALID, "the snapshot's enum %s has no values", f->name);
    values = arena_array(r->arena, list->count + 1, sizeof *values);
    if (!values)
        return fault_set(r->fault, ERR_NOMEM, "no memory for the snapshot");
    const struct json *value = json_first(list);
    for (uint32_t i = 0; i < list->count; i++, value = json_next(value))
        values[i] = text_keep(r, value->kind == JSON_STRING ? value->text : STR(""));
    f->values = values;
    return OK;
}

static enum err field_read(struct reading *r, struct str name, const struct json *member,
                           struct shape_field *f) {
    struct str kind, of, privacy;
    const struct json *bound;
    f->name = text_keep(r, name);
    if (member->kind != JSON_OBJECT)
        return fault_set(r->fault, ERR_INVALID, "the snapshot's member %.*s is no object",
                         STR_FMT(name));
    kind = json_member_str(member, STR("kind"));
    while (f->kind < KINDS && !str_is(kind, kind_names[f->kind]))
        f->kind++;
    if (f->kind == KINDS)
        return fault_set(r->fault, ERR_INVALID, "the snapshot's member %.*s is of no known kind: %.*s",
                         STR_FMT(name), STR_FMT(kind));
    for (size_t i = 0; i < FLAGS; i++)
        f->flags |= flag_read(member, flag_names[i].name) ? flag_names[i].flag : 0;
    if ((bound = json_member(member, STR("min"))) && !json_i64(bound, &f->min))
        return fault_set(r->fault, ERR_INVALID, "the snapshot's bound of %.*s is no number", STR_FMT(name));
    if ((bound = json_member(member, STR("max"))) && !json_i64(bound, &f->max))
        return fault_set(r->fault, ERR_INVALID, "the snapshot's bound of %.*s is no number", STR_FMT(name));
    privacy = json_member_str(member, STR("privacy"));
    f->privacy = str_is(privacy, "personal") ? PERSONAL : str_is(privacy, "secret") ? SECRET : PUBLIC;
    of = json_member_str(member, STR("of"));
    for (uint32_t i = 0; i < r->count && of.ptr; i++)
        if (str_is(of, r->shapes[i].name))
            f->shape = &r->shapes[i];
    if ((of.ptr || f->kind == SHAPE_OBJECT) && !f->shape)
        return fault_set(r->fault, ERR_INVALID, "the snapshot lacks the shape %.*s", STR_FMT(of));
    return f->kind == SHAPE_ENUM ? values_read(r, member, f) : OK;
}

static enum err shape_read(struct reading *r, const struct json *object, struct shape *shape) {
    const struct json *members =
        object->kind == JSON_OBJECT ? json_member(object, STR("members")) : NULL;
    struct shape_field *fields;
    enum err err = OK;
    if (!members || members->kind != JSON_OBJECT)
        return fault_set(r->fault, ERR_INVALID, "the snapshot's shape %s has no members", shape->name);
    fields = arena_array(r->arena, members->count + 1, sizeof *fields);
    if (!fields)
        return fault_set(r->fault, ERR_NOMEM, "no memory for the snapshot");
    shape->open = flag_read(object, "open");
    shape->fields = fields;
    shape->count = members->count;
    const struct json *at = json_first(members);
    for (uint32_t i = 0; i < members->count && err == OK; i++) {
        const struct json *member = json_next(at);
        err = field_read(r, at->text, member, &fields[i]);
        at = json_next(member);
    }
    return err;
}

enum err shape_snapshot_read(const struct json *object, struct arena *arena, struct shape_set *out,
                             struct fault *fault) {
    struct reading r = {.arena = arena, .fault = fault, .count = object->count};
    enum err err = OK;
    if (object->kind != JSON_OBJECT)
        return fault_set(fault, ERR_INVALID, "the snapshot's shapes are no object");
    r.shapes = arena_array(arena, object->count + 1, sizeof *r.shapes);
    out->items = arena_array(arena, object->count + 1, sizeof *out->items);
    out->count = object->count;
    if (!r.shapes || !out->items)
        return fault_set(fault, ERR_NOMEM, "no memory for the snapshot");
    const struct json *at = json_first(object);
    for (uint32_t i = 0; i < object->count; i++, at = json_next(json_next(at))) {
        r.shapes[i].name = text_keep(&r, at->text); /* names first: they refer to each other */
        out->items[i] = &r.shapes[i];
    }
    at = json_first(object);
    for (uint32_t i = 0; i < object->count && err == OK; i++) {
        const struct json *shape = json_next(at);
        err = shape_read(&r, shape, &r.shapes[i]);
        at = json_next(shape);
    }
    return err;
}

const struct shape *shape_set_find(const struct shape_set *set, struct str name) {
    for (uint32_t i = 0; i < set->count; i++)
        if (str_is(name, set->items[i]->name))
            return set->items[i];
    return NULL;
}
