/* schema: prints shapes as JSON Schema 2020-12. What it promises is what decode checks, but
 * for lengths, which decode counts in bytes and JSON Schema in characters (never stricter). */
#include "shape/shape_priv.h"

uint32_t shape_collect(const struct shape *shape, const struct shape **list, uint32_t count,
                       uint32_t max) {
    for (uint32_t i = 0; i < count; i++)
        if (list[i] == shape)
            return count;
    must(count < max);
    list[count++] = shape;
    for (uint32_t i = 0; i < shape->count; i++)
        if (shape->fields[i].shape)
            count = shape_collect(shape->fields[i].shape, list, count, max);
    return count;
}

static void member(struct buf *out, const char *name, struct str text) {
    buf_char(out, ',');
    buf_json_str(out, str_c(name));
    buf_char(out, ':');
    buf_json_str(out, text);
}

static void member_int(struct buf *out, const char *name, int64_t value) {
    buf_char(out, ',');
    buf_json_str(out, str_c(name));
    buf_char(out, ':');
    buf_i64(out, value);
}

static void type_write(const struct shape_field *field, const char *type, struct buf *out) {
    bool may_null = field->flags & SHAPE_NULL;
    buf_printf(out, may_null ? "\"type\":[\"%s\",\"null\"]" : "\"type\":\"%s\"", type);
}

static void text_schema(const struct shape_field *field, struct buf *out) {
    static const char *const patterns[] = {
        [SHAPE_ID] = "^[^\\u0000-\\u0020\\u007f-\\u009f]"
                     "([^\\u0000-\\u001f\\u007f-\\u009f]*[^\\u0000-\\u0020\\u007f-\\u009f])?$",
        [SHAPE_CODE] = "^[A-Za-z0-9._:/-]+$",
        [SHAPE_TEXT] = "^[^\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f]*$",
    };
    type_write(field, "string", out);
    if (shape_least(field) > 0)
        member_int(out, "minLength", shape_least(field) > 1 ? shape_least(field) / 4 + 1 : 1);
    member_int(out, "maxLength", shape_most(field));
    member(out, "pattern", str_c(patterns[field->kind]));
}

static void decimal_schema(const struct shape_field *field, struct buf *out) {
    int scale = shape_scale(field);
    type_write(field, "string", out);
    buf_printf(out, ",\"pattern\":\"^-?(0|[1-9][0-9]*)(\\\\.[0-9]{1,%d}0*)?$\"", scale);
    if (field->min == 0 && field->max == 0)
        return;
    buf_lit(out, ",\"x-minimum\":\"");
    decimal_write(out, field->min, scale);
    buf_lit(out, "\",\"x-maximum\":\"");
    decimal_write(out, field->max, scale);
    buf_lit(out, "\"");
}

static void enum_schema(const struct shape_field *field, struct buf *out) {
    type_write(field, "string", out);
    buf_lit(out, ",\"enum\":[");
    for (int32_t i = 0; field->values[i]; i++) {
        if (i > 0)
            buf_char(out, ',');
        buf_json_str(out, str_c(field->values[i]));
    }
    buf_str_add(out, str_c(field->flags & SHAPE_NULL ? ",null]" : "]"));
}

static void ref_write(const struct shape *shape, const char *ref_prefix, struct buf *out) {
    buf_printf(out, "\"$ref\":\"%s%s\"", ref_prefix, shape->name);
}

static void list_schema(const struct shape_field *field, const char *ref_prefix,
                        struct buf *out) {
    buf_lit(out, "\"type\":\"array\",\"items\":{");
    if (field->shape)
        ref_write(field->shape, ref_prefix, out);
    else
        text_schema(&(struct shape_field){.kind = SHAPE_TEXT, .min = 1,
                                          .max = SHAPE_ITEM_BYTES_MAX}, out);
    buf_char(out, '}');
    if (shape_least(field) > 0)
        member_int(out, "minItems", shape_least(field));
    member_int(out, "maxItems", shape_most(field));
}

static void kind_schema(const struct shape_field *field, const char *ref_prefix, struct buf *out) {
    switch (field->kind) {
    case SHAPE_ID:
    case SHAPE_CODE:
    case SHAPE_TEXT: text_schema(field, out); break;
    case SHAPE_MONEY:
    case SHAPE_INTEGER: {
        bool bound = field->min != 0 || field->max != 0;
        type_write(field, "integer", out);
        buf_lit(out, ",\"format\":\"int64\"");
        member_int(out, "minimum", bound ? field->min : INT64_MIN);
        member_int(out, "maximum", bound ? field->max : INT64_MAX);
        break;
    }
    case SHAPE_DECIMAL:
    case SHAPE_RATE: decimal_schema(field, out); break;
    case SHAPE_INSTANT:
        type_write(field, "string", out);
        if (field->flags & SHAPE_LOCAL_OK)
            member(out, "pattern",
                   STR("^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,6})?"
                       "([Zz]|[+-][0-9]{2}:[0-9]{2})?$"));
        else
            buf_lit(out, ",\"format\":\"date-time\"");
        break;
    case SHAPE_DATE:
        type_write(field, "string", out);
        buf_lit(out, ",\"format\":\"date\"");
        break;
    case SHAPE_ENUM: enum_schema(field, out); break;
    case SHAPE_BOOL: type_write(field, "boolean", out); break;
    case SHAPE_OBJECT: ref_write(field->shape, ref_prefix, out); break;
    case SHAPE_LIST: list_schema(field, ref_prefix, out); break;
    case SHAPE_OPEN:
    case SHAPE_RAW: buf_lit(out, "\"$comment\":\"any JSON value\""); break;
    }
}

static void field_schema(const struct shape_field *field, const char *ref_prefix,
                         struct buf *out) {
    static const char *const classes[] = {
        [PUBLIC] = "public", [PERSONAL] = "personal", [SECRET] = "secret"};
    buf_json_str(out, str_c(field->name));
    buf_lit(out, ":{");
    kind_schema(field, ref_prefix, out);
    if (field->help)
        member(out, "description", str_c(field->help));
    if (field->flags & SHAPE_READ_ONLY)
        buf_lit(out, ",\"readOnly\":true");
    if (field->privacy != PUBLIC)
        member(out, "x-privacy", str_c(classes[field->privacy]));
    if (field->owner)
        member(out, "x-owner", str_c(field->owner));
    if (field->since > 1)
        member_int(out, "x-since", field->since);
    buf_char(out, '}');
}

static void object_schema(const struct shape *shape, const char *ref_prefix, struct buf *out) {
    buf_lit(out, "\"title\":");
    buf_json_str(out, str_c(shape->name));
    if (shape->help)
        member(out, "description", str_c(shape->help));
    buf_lit(out, ",\"type\":\"object\",\"properties\":{");
    for (uint32_t i = 0; i < shape->count; i++) {
        if (i > 0)
            buf_char(out, ',');
        field_schema(&shape->fields[i], ref_prefix, out);
    }
    buf_char(out, '}');
    const char *before = ",\"required\":[";
    for (uint32_t i = 0; i < shape->count; i++)
        if (shape->fields[i].flags & SHAPE_REQUIRED) {
            buf_str_add(out, str_c(before));
            buf_json_str(out, str_c(shape->fields[i].name));
            before = ",";
        }
    if (before[1] == '\0')
        buf_char(out, ']');
    if (!shape->open)
        buf_lit(out, ",\"additionalProperties\":false");
}

void shape_schema_one(const struct shape *shape, const char *ref_prefix, struct buf *out) {
    buf_char(out, '{');
    object_schema(shape, ref_prefix, out);
    buf_char(out, '}');
}

#define SHAPES_MAX 64 /* that one document uses */
void shape_schema(const struct shape *shape, struct buf *out) {
    const struct shape *list[SHAPES_MAX];
    uint32_t count = shape_collect(shape, list, 0, SHAPES_MAX);
    buf_lit(out, "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",");
    object_schema(shape, "#/$defs/", out);
    if (count > 1)
        buf_lit(out, ",\"$defs\":{");
    for (uint32_t i = 1; i < count; i++) {
        if (i > 1)
            buf_char(out, ',');
        buf_json_str(out, str_c(list[i]->name));
        buf_char(out, ':');
        shape_schema_one(list[i], "#/$defs/", out);
    }
    if (count > 1)
        buf_char(out, '}');
    buf_char(out, '}');
}
