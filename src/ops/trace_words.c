/* trace_words: says in words what an event means. A sentence per event type where we have one,
 * else the public members of its shape. Personal members are never said. */
#include "ops/trace.h"

#include "retail/money.h"

#define LIST_SAID 6 /* elements of a list that are said; the rest is counted */

static const struct trace_sentence {
    const char *type, *text;
} trace_sentences[] = {
#include "ops/trace_words.def"
};

/* --- pointing --------------------------------------------------------------------------- */

/* RFC 6901 without escapes: the sentences are ours. */
static const struct json *pointed(const struct json *json, struct str pointer) {
    if (pointer.len == 0)
        return json;
    str_cut(&pointer, '/');
    while (json && pointer.ptr) {
        struct str part = str_cut(&pointer, '/');
        uint64_t index;
        if (json->kind == JSON_OBJECT) {
            json = json_member(json, part);
        } else if (json->kind == JSON_ARRAY && str_u64(part, &index) && index < json->count) {
            const struct json *item = json_first(json);
            while (index-- > 0)
                item = json_next(item);
            json = item;
        } else {
            return NULL;
        }
    }
    return json;
}

/* `currency` of the innermost document around the pointer. */
static struct str currency_near(const struct json *data, struct str pointer) {
    while (pointer.len > 0) {
        while (pointer.len > 0 && pointer.ptr[pointer.len - 1] != '/')
            pointer.len--;
        if (pointer.len > 0)
            pointer.len--;
        const struct json *around = pointed(data, pointer);
        struct str currency = around && around->kind == JSON_OBJECT
                                  ? json_member_str(around, STR("currency")) : STR_NONE;
        if (currency.len > 0)
            return currency;
    }
    return STR_NONE;
}

static void money_say(struct buf *out, int64_t minor, struct str currency) {
    if (currency.len > 0 && currency_decimals(currency) >= 0) {
        money_write(out, minor, currency);
        buf_char(out, ' ');
        buf_str_add(out, currency);
    } else {
        buf_i64(out, minor);
    }
}

/* --- sentences -------------------------------------------------------------------------- */

/* One {…}; false where it leads nowhere. */
static bool place_say(struct str place, const struct trace_event *event, const struct json *data,
                      struct buf *out) {
    int64_t minor;
    char form = place.len > 0 ? place.ptr[place.len - 1] : '\0';
    if (form == '@') {
        buf_str_add(out, event->record.subject);
        return true;
    }
    struct str pointer = place;
    if (form == '$' || form == '!' || form == '+')
        pointer.len--;
    const struct json *value = pointed(data, pointer);
    if (!value || value->kind == JSON_NULL)
        return false;
    if (form == '!')
        return value->kind == JSON_BOOL && value->count;
    if (form == '+' && (!json_i64(value, &minor) || minor < 2))
        return false;
    if (form == '$' && json_i64(value, &minor))
        money_say(out, minor, currency_near(data, pointer));
    else if (value->kind == JSON_STRING || value->kind == JSON_NUMBER)
        buf_str_add(out, value->text);
    else
        return false;
    return true;
}

static bool sentence_say(struct str text, const struct trace_event *event, const struct json *data,
                         struct buf *out);

/* (pointer|sentence); false where there is no such list, or an empty one. */
static bool list_say(struct str part, const struct trace_event *event, const struct json *data,
                     struct buf *out) {
    struct str pointer = str_cut(&part, '|');
    const struct json *list = pointed(data, pointer);
    if (!list || list->kind != JSON_ARRAY || list->count == 0)
        return false;
    const struct json *item = json_first(list);
    for (uint32_t i = 0; i < list->count && i < LIST_SAID; i++, item = json_next(item)) {
        if (i > 0)
            buf_lit(out, ", ");
        sentence_say(part, event, item, out);
    }
    if (list->count > LIST_SAID)
        buf_printf(out, " and %u more", (unsigned)(list->count - LIST_SAID));
    return true;
}

/* The part of text between `open` at its beginning and the matching `close`. */
static struct str enclosed(struct str text, char open, char close) {
    unsigned depth = 0;
    for (size_t i = 0; i < text.len; i++) {
        depth += text.ptr[i] == open;
        if (text.ptr[i] == close && --depth == 0)
            return str_of(text.ptr + 1, i - 1);
    }
    must(!"a sentence's brackets close");
    return STR_NONE;
}

/* False where a pointer outside [ ] leads nowhere; a '?' stands in its place. */
static bool sentence_say(struct str text, const struct trace_event *event, const struct json *data,
                         struct buf *out) {
    bool whole = true;
    for (size_t i = 0; i < text.len; i++) {
        struct str rest = str_of(text.ptr + i, text.len - i);
        size_t mark = out->len;
        struct str part = STR_NONE;
        bool said = true;
        if (*rest.ptr == '[') {
            part = enclosed(rest, '[', ']');
            if (!sentence_say(part, event, data, out))
                out->len = mark;
        } else if (*rest.ptr == '(' && rest.len > 1 && rest.ptr[1] == '/') {
            part = enclosed(rest, '(', ')');
            said = list_say(part, event, data, out);
        } else if (*rest.ptr == '{') {
            part = enclosed(rest, '{', '}');
            said = place_say(part, event, data, out);
        } else {
            buf_char(out, *rest.ptr);
        }
        if (part.ptr)
            i += part.len + 1;
        if (!said)
            buf_char(out, '?');
        whole = whole && said;
    }
    return whole;
}

/* --- without a sentence ----------------------------------------------------------------- */

static bool scalar_say(const struct shape_field *field, const struct json *value, struct str currency,
                       struct buf *out) {
    int64_t minor;
    switch (field->kind) {
    case SHAPE_MONEY:
        if (!json_i64(value, &minor))
            return false;
        money_say(out, minor, currency);
        return true;
    case SHAPE_LIST:
        buf_u64(out, value->count);
        return true;
    case SHAPE_OBJECT: case SHAPE_OPEN: case SHAPE_RAW:
        return false;
    default:
        if (value->kind == JSON_BOOL)
            buf_printf(out, "%s", value->count ? "yes" : "no");
        else
            buf_str_add(out, value->text);
        return true;
    }
}

static void shape_say(const struct shape *shape, const struct json *data, struct buf *out) {
    struct str currency = json_member_str(data, STR("currency"));
    const char *gap = ": ";
    for (uint32_t i = 0; i < shape->count; i++) {
        const struct shape_field *field = &shape->fields[i];
        const struct json *value = json_member(data, str_c(field->name));
        size_t mark = out->len;
        if (!value || value->kind == JSON_NULL || field->privacy != PUBLIC)
            continue;
        buf_printf(out, "%s%s ", gap, field->name);
        if (scalar_say(field, value, currency, out))
            gap = ", ";
        else
            out->len = mark;
    }
}

void trace_words(const struct trace_event *event, struct json_parser *parser, struct arena *arena,
                 struct buf *out) {
    const struct json *data = NULL;
    struct fault fault = {0};
    struct str type = event->record.type;
    if (json_parse(parser, arena, event->record.data, false, &data, &fault) != OK)
        data = NULL;
    for (size_t i = 0; data && i < sizeof trace_sentences / sizeof trace_sentences[0]; i++)
        if (str_is(type, trace_sentences[i].type)) {
            sentence_say(str_c(trace_sentences[i].text), event, data, out);
            return;
        }
    for (size_t i = 0; i < type.len; i++)
        buf_char(out, type.ptr[i] == '.' || type.ptr[i] == '_' ? ' ' : type.ptr[i]);
    if (data && data->kind == JSON_OBJECT && event->type && event->type->shape)
        shape_say(event->type->shape, data, out);
}
