/* encode: writes the struct of a shape as JSON, members in the table's order. */
#include "shape/shape_priv.h"

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
                       struct buf *out) {
    buf_char(out, '[');
    for (uint32_t i = 0; i < list->count; i++) {
        if (i > 0)
            buf_char(out, ',');
        if (field->shape)
            shape_encode(field->shape, (const char *)list->items + field->shape->size * i, out);
        else
            buf_json_str(out, *list_at(*list, struct str, i));
    }
    buf_char(out, ']');
}

static void field_write(const struct shape_field *field, const void *at, struct buf *out) {
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
    case SHAPE_OBJECT: shape_encode(field->shape, *(const void *const *)at, out); break;
    case SHAPE_LIST: list_write(field, at, out); break;
    case SHAPE_OPEN: json_write(out, *(const struct json *const *)at); break;
    case SHAPE_RAW: {
        struct str raw = *(const struct str *)at;
        buf_str_add(out, raw.len ? raw : STR("null"));
        break;
    }
    }
}

void shape_encode(const struct shape *shape, const void *doc, struct buf *out) {
    char before = '{';
    for (uint64_t has = *(const uint64_t *)doc; has; has &= has - 1) {
        uint32_t row = (uint32_t)__builtin_ctzll(has);
        must(row < shape->count);
        const struct shape_field *field = &shape->fields[row];
        size_t len = strlen(field->name);
        if (!buf_reserve(out, len + 4))
            return;
        char *at = out->data + out->len;
        *at++ = before;
        *at++ = '"';
        memcpy(at, field->name, len);
        memcpy(at + len, "\":", 2);
        out->len += len + 4;
        before = ',';
        field_write(field, (const char *)doc + field->offset, out);
    }
    if (before == '{')
        buf_char(out, '{');
    buf_char(out, '}');
}
