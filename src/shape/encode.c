/* encode: writes the struct of a shape as JSON, members in the table's order: all of it, what
 * is not personal, or what is. The two parts together always make the whole. */
#include "shape/shape_priv.h"

/* Of which fields an encoding consists. */
enum part { PART_WHOLE, PART_PUBLIC };

static void part_encode(const struct shape *shape, const void *doc, enum part part,
                        struct buf *out);

static void instant_put(struct buf *out, struct instant at) {
    if (at.offset_min != SHAPE_NO_OFFSET) {
        instant_write(out, at);
        return;
    }
    size_t before = out->len;
    instant_write(out, (struct instant){.us = at.us});
    if (buf_ok(out) && out->len > before)
        out->len--; /* the Z */
}

static void list_write(const struct shape_field *field, const struct shape_list *list,
                       enum part part, struct buf *out) {
    buf_char(out, '[');
    for (uint32_t i = 0; i < list->count; i++) {
        if (i > 0)
            buf_char(out, ',');
        if (field->shape)
            part_encode(field->shape, (const char *)list->items + field->shape->size * i, part,
                        out);
        else
            buf_json_str(out, *list_at(*list, struct str, i));
    }
    buf_char(out, ']');
}

static void field_write(const struct shape_field *field, const void *at, enum part part,
                        struct buf *out) {
    switch (field->kind) {
    case SHAPE_ID:
    case SHAPE_CODE:
    case SHAPE_TEXT: buf_json_str(out, *(const struct str *)at); break;
    case SHAPE_MONEY:
    case SHAPE_INTEGER: buf_i64(out, *(const int64_t *)at); break;
    case SHAPE_DECIMAL:
    case SHAPE_RATE:
        buf_char(out, '"');
        decimal_write(out, *(const int64_t *)at, shape_scale(field));
        buf_char(out, '"');
        break;
    case SHAPE_INSTANT:
        buf_char(out, '"');
        instant_put(out, *(const struct instant *)at);
        buf_char(out, '"');
        break;
    case SHAPE_DATE:
        buf_char(out, '"');
        date_write(out, *(const int32_t *)at);
        buf_char(out, '"');
        break;
    case SHAPE_ENUM: {
        int32_t value = *(const int32_t *)at;
        must(value >= 0);
        for (int32_t i = 0; i < value; i++)
            must(field->values[i]);
        must(field->values[value]);
        buf_json_str(out, str_c(field->values[value]));
        break;
    }
    case SHAPE_BOOL: buf_str_add(out, *(const bool *)at ? STR("true") : STR("false")); break;
    case SHAPE_OBJECT: part_encode(field->shape, *(const void *const *)at, part, out); break;
    case SHAPE_LIST: list_write(field, at, part, out); break;
    case SHAPE_OPEN: json_write(out, *(const struct json *const *)at); break;
    case SHAPE_RAW: {
        struct str raw = *(const struct str *)at;
        buf_str_add(out, raw.len ? raw : STR("null"));
        break;
    }
    }
}

static bool name_write(char before, const char *name, struct buf *out) {
    size_t len = strlen(name);
    if (!buf_reserve(out, len + 4))
        return false;
    char *at = out->data + out->len;
    *at++ = before;
    *at++ = '"';
    memcpy(at, name, len);
    memcpy(at + len, "\":", 2);
    out->len += len + 4;
    return true;
}

static void part_encode(const struct shape *shape, const void *doc, enum part part,
                        struct buf *out) {
    char before = '{';
    for (uint64_t has = *(const uint64_t *)doc; has; has &= has - 1) {
        uint32_t row = (uint32_t)__builtin_ctzll(has);
        must(row < shape->count);
        const struct shape_field *field = &shape->fields[row];
        if (part == PART_PUBLIC && field->privacy == PERSONAL)
            continue;
        if (!name_write(before, field->name, out))
            return;
        before = ',';
        field_write(field, (const char *)doc + field->offset, part, out);
    }
    if (before == '{')
        buf_char(out, '{');
    buf_char(out, '}');
}

void shape_encode(const struct shape *shape, const void *doc, struct buf *out) {
    part_encode(shape, doc, PART_WHOLE, out);
}

void shape_encode_public(const struct shape *shape, const void *doc, struct buf *out) {
    part_encode(shape, doc, PART_PUBLIC, out);
}

/* --- the personal part ------------------------------------------------------------------ */

static bool items_personal(const struct shape_field *field, const struct shape_list *list,
                           struct buf *out) {
    char before = '{';
    for (uint32_t i = 0; i < list->count; i++) {
        size_t start = out->len;
        buf_char(out, before);
        buf_char(out, '"');
        buf_u64(out, i);
        buf_lit(out, "\":");
        if (shape_encode_personal(field->shape,
                                  (const char *)list->items + field->shape->size * i, out))
            before = ',';
        else
            out->len = start;
    }
    if (before == ',')
        buf_char(out, '}');
    return before == ',';
}

bool shape_encode_personal(const struct shape *shape, const void *doc, struct buf *out) {
    size_t begin = out->len;
    char before = '{';
    for (uint64_t has = *(const uint64_t *)doc; has; has &= has - 1) {
        uint32_t row = (uint32_t)__builtin_ctzll(has);
        must(row < shape->count);
        const struct shape_field *field = &shape->fields[row];
        const void *at = (const char *)doc + field->offset;
        bool within = field->kind == SHAPE_OBJECT || (field->kind == SHAPE_LIST && field->shape);
        size_t start = out->len;
        if ((field->privacy != PERSONAL && !within) || !name_write(before, field->name, out))
            continue;
        if (field->privacy == PERSONAL)
            field_write(field, at, PART_WHOLE, out);
        else if (!(field->kind == SHAPE_OBJECT
                       ? shape_encode_personal(field->shape, *(const void *const *)at, out)
                       : items_personal(field, at, out))) {
            out->len = start;
            continue;
        }
        before = ',';
    }
    if (before == ',')
        buf_char(out, '}');
    else
        out->len = begin;
    return before == ',';
}
