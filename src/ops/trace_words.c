/* trace_words: says in words what an event means. A sentence per event type where we have one,
 * else the public members of its shape. Personal members are never said. */
#include "ops/trace.h"

#include "retail/money.h"

/* A sentence: text with {pointer} from the event's data; {pointer$} is money in the currency of
 * the same document, {pointer#} the number of elements, {@} the event's subject. What stands
 * between [ and ] is left out where a pointer in it leads nowhere. */
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
    if (form == '$' || form == '#')
        pointer.len--;
    const struct json *value = pointed(data, pointer);
    if (!value || value->kind == JSON_NULL)
        return false;
    if (form == '#')
        buf_u64(out, value->count);
    else if (form == '$' && json_i64(value, &minor))
        money_say(out, minor, currency_near(data, pointer));
    else if (value->kind == JSON_BOOL)
        buf_printf(out, "%s", value->count ? "yes" : "no");
    else if (value->kind == JSON_STRING || value->kind == JSON_NUMBER)
        buf_str_add(out, value->text);
    else
        return false;
    return true;
}

static void sentence_say(struct str text, const struct trace_event *event, const struct json *data,
                         struct buf *out) {
    size_t mark = 0;   /* where an optional part began in out */
    bool whole = true; /* everything in it was found */
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '[') {
            mark = out->len;
            whole = true;
        } else if (c == ']') {
            if (!whole)
                out->len = mark;
        } else if (c == '{') {
            struct str rest = str_of(text.ptr + i + 1, text.len - i - 1);
            struct str place = str_cut(&rest, '}');
            if (!place_say(place, event, data, out)) {
                whole = false;
                buf_char(out, '?');
            }
            i += place.len + 1;
        } else {
            buf_char(out, c);
        }
    }
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
