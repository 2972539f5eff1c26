/* decode: reads JSON nodes into the struct of a shape. Every fault is reported, with its
 * pointer; what is faulty leaves its member absent, so that one fault does not hide another.
 *
 * On the path of every order: members are looked for where the table expects them next, and
 * pointers are only put together when there is a fault. */
#include <stdio.h>
#include <stdlib.h>

#include "shape/shape_priv.h"

/* Where the decoder is: a chain up the stack, made into text only for a fault. */
struct place {
    const struct place *up;
    struct str name;    /* of a member; absent: an element */
    uint32_t index;     /* of an element */
    struct str pointer; /* of the root, as given */
};

struct decode {
    struct arena *arena;
    struct fault *fault;
    uint64_t faults;
    bool own; /* the hub wrote it: read-only members are taken, unknown ones passed over */
    bool nomem;
};

/* --- faults ---------------------------------------------------------------------------- */
#define SHOWN_MAX 64 /* bytes of the peer's text shown in a fault */

/* At most `most` bytes of s, cut between two characters. */
static struct str shown(struct str s, size_t most) {
    if (s.len <= most)
        return s;
    size_t len = most;
    while (len > 0 && ((unsigned char)s.ptr[len] & 0xC0) == 0x80)
        len--;
    return str_of(s.ptr, len);
}

static void pointer_write(struct buf *buf, const struct place *place) {
    if (!place->up) {
        buf_str_add(buf, place->pointer);
        return;
    }
    pointer_write(buf, place->up);
    buf_char(buf, '/');
    if (!place->name.ptr) {
        buf_u64(buf, place->index);
        return;
    }
    struct str name = shown(place->name, SHOWN_MAX * 2);
    for (size_t i = 0; i < name.len; i++) { /* RFC 6901 section 3 */
        if (name.ptr[i] == '~')
            buf_lit(buf, "~0");
        else if (name.ptr[i] == '/')
            buf_lit(buf, "~1");
        else
            buf_char(buf, name.ptr[i]);
    }
}

static void refuse(struct decode *d, const struct place *place, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
static void refuse(struct decode *d, const struct place *place, const char *fmt, ...) {
    d->faults++;
    if (!d->fault)
        return;
    if (d->fault->count >= FAULT_ITEMS_MAX) { /* only counted */
        fault_add(d->fault, STR(""), "%s", "");
        return;
    }
    struct buf pointer;
    buf_init(&pointer, 65536);
    pointer_write(&pointer, place);
    char detail[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(detail, sizeof detail, fmt, args);
    va_end(args);
    fault_add(d->fault, buf_str(&pointer), "%s", detail);
    buf_free(&pointer);
}

static const char *kind_words(const struct json *value) {
    switch ((enum json_kind)value->kind) {
    case JSON_NULL: return "null";
    case JSON_BOOL: return value->count ? "true" : "false";
    case JSON_NUMBER: return "a number";
    case JSON_STRING: return "a string";
    case JSON_ARRAY: return "an array";
    case JSON_OBJECT: return "an object";
    }
    return "something else";
}

/* The value in words, or itself where it is a public number or string. */
static void refuse_value(struct decode *d, const struct place *place,
                         const struct shape_field *field, const struct json *value,
                         const char *must_be) {
    bool number = value->kind == JSON_NUMBER;
    if (field->privacy != PUBLIC || (!number && value->kind != JSON_STRING)) {
        refuse(d, place, "must be %s, not %s", must_be, kind_words(value));
        return;
    }
    struct str text = shown(value->text, SHOWN_MAX);
    const char *quote = number ? "" : "\"";
    refuse(d, place, "must be %s, not %s%.*s%s%s", must_be, quote, STR_FMT(text), quote,
           text.len < value->text.len ? " …" : "");
}

/* --- text ------------------------------------------------------------------------------ */
/* '-' to ':' is - . / 0 to 9 : in ASCII. */
static inline bool code_char(unsigned char c) {
    return (unsigned)(c | 32) - 'a' < 26 || (unsigned)c - '-' <= ':' - '-' || c == '_';
}

/* Control characters that an id must not hold: U+0000 to U+001F, U+007F, U+0080 to U+009F,
 * the last in two bytes, C2 80 to C2 9F. */
static inline bool control_at(struct str text, size_t i) {
    unsigned char c = (unsigned char)text.ptr[i];
    return c < 0x20 || c == 0x7F ||
           (c == 0xC2 && i + 1 < text.len && (unsigned char)text.ptr[i + 1] < 0xA0);
}

static inline const char *text_wrong(enum shape_kind kind, struct str text) {
    if (kind == SHAPE_CODE) {
        for (size_t i = 0; i < text.len; i++)
            if (!code_char((unsigned char)text.ptr[i]))
                return "may hold only letters, digits and . _ : / -";
        return NULL;
    }
    if (kind == SHAPE_TEXT) {
        for (size_t i = 0; i < text.len; i++) {
            unsigned char c = (unsigned char)text.ptr[i];
            if (c < 0x20 && c != '\t' && c != '\n' && c != '\r')
                return "must not hold control characters";
        }
        return NULL;
    }
    for (size_t i = 0; i < text.len; i++)
        if (control_at(text, i))
            return "must not hold control characters";
    if (text.len && (text.ptr[0] == ' ' || text.ptr[text.len - 1] == ' '))
        return "must not begin or end with a space";
    return NULL;
}

bool shape_id_valid(struct str text) {
    return text.len >= 1 && text.len <= SHAPE_ID_MAX && !text_wrong(SHAPE_ID, text);
}

static bool text_check(struct decode *d, const struct place *place, enum shape_kind kind,
                       int64_t least, int64_t most, const struct json *value) {
    if (value->kind != JSON_STRING) {
        refuse(d, place, "must be a string, not %s", kind_words(value));
        return false;
    }
    int64_t len = (int64_t)value->text.len;
    if (len < least && len == 0) {
        refuse(d, place, "must not be empty");
        return false;
    }
    if (len < least || len > most) {
        refuse(d, place, "must have %s %lld bytes, not %lld", len < least ? "at least" : "at most",
               (long long)(len < least ? least : most), (long long)len);
        return false;
    }
    const char *wrong = text_wrong(kind, value->text);
    if (wrong)
        refuse(d, place, "%s", wrong);
    return !wrong;
}

/* --- numbers --------------------------------------------------------------------------- */
static bool bounds_check(struct decode *d, const struct place *place,
                         const struct shape_field *field, int64_t value) {
    if ((field->min == 0 && field->max == 0) || (value >= field->min && value <= field->max))
        return true;
    bool low = value < field->min;
    struct buf text;
    buf_init(&text, 64);
    decimal_write(&text, low ? field->min : field->max, shape_scale(field));
    refuse(d, place, "must be %s %s", low ? "at least" : "at most", buf_cstr(&text));
    buf_free(&text);
    return false;
}

static bool integer_read(struct decode *d, const struct place *place,
                         const struct shape_field *field, const struct json *value, int64_t *out) {
    const char *words =
        field->kind == SHAPE_MONEY ? "an integer of minor units" : "an integer";
    if (value->kind != JSON_NUMBER) {
        refuse_value(d, place, field, value, words);
        return false;
    }
    if (!str_i64(value->text, out)) {
        bool whole = !memchr(value->text.ptr, '.', value->text.len) &&
                     !memchr(value->text.ptr, 'e', value->text.len) &&
                     !memchr(value->text.ptr, 'E', value->text.len);
        if (whole)
            refuse(d, place, "is out of range: an integer has 64 bits");
        else
            refuse_value(d, place, field, value, words);
        return false;
    }
    return bounds_check(d, place, field, *out);
}

static bool decimal_read(struct decode *d, const struct place *place,
                         const struct shape_field *field, const struct json *value, int64_t *out) {
    int scale = shape_scale(field);
    if (value->kind != JSON_STRING) {
        refuse(d, place, "must be a decimal number in a string, such as \"%s\", not %s",
               scale == RATE_SCALE ? "0.19" : "2.5", kind_words(value));
        return false;
    }
    if (decimal_parse(value->text, scale, out))
        return bounds_check(d, place, field, *out);
    char words[96];
    snprintf(words, sizeof words, "a decimal number with at most %d decimals, such as \"%s\"",
             scale, scale == RATE_SCALE ? "0.19" : "2.5");
    refuse_value(d, place, field, value, words);
    return false;
}

/* --- times, enums ---------------------------------------------------------------------- */
static bool instant_read(struct decode *d, const struct place *place,
                         const struct shape_field *field, const struct json *value,
                         struct instant *out) {
    if (value->kind == JSON_STRING) {
        if (instant_parse(value->text, out))
            return true;
        char local[40];
        size_t len = value->text.len;
        if ((field->flags & SHAPE_LOCAL_OK) && len < sizeof local) {
            memcpy(local, value->text.ptr, len);
            local[len] = 'Z';
            if (instant_parse(str_of(local, len + 1), out)) {
                out->offset_min = SHAPE_NO_OFFSET;
                return true;
            }
        }
    }
    refuse_value(d, place, field, value,
                 field->flags & SHAPE_LOCAL_OK
                     ? "a time such as \"2026-11-23T09:15:00+01:00\" (RFC 3339)"
                     : "a time with offset such as \"2026-11-23T09:15:00+01:00\" (RFC 3339)");
    return false;
}

static bool enum_read(struct decode *d, const struct place *place,
                      const struct shape_field *field, const struct json *value, int32_t *out) {
    if (value->kind == JSON_STRING)
        for (int32_t i = 0; field->values[i]; i++)
            if (str_is(value->text, field->values[i])) {
                *out = i;
                return true;
            }
    char words[256] = "one of";
    size_t at = strlen(words);
    for (int32_t i = 0; field->values[i] && at < sizeof words; i++) {
        int n = snprintf(words + at, sizeof words - at, "%s \"%s\"", i ? "," : "",
                         field->values[i]);
        at += n > 0 ? (size_t)n : 0;
    }
    refuse_value(d, place, field, value, words);
    return false;
}

/* --- open and raw ---------------------------------------------------------------------- */
static int name_order(const void *a, const void *b) {
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

#define FEW 16 /* up to here comparing all pairs is quicker than sorting */

/* Refuses a name that an open object gives twice: readers would not agree what it means. */
static void names_check(struct decode *d, const struct place *place, const struct json *object) {
    struct str few[FEW], *names = few;
    uint32_t count = object->count;
    if (count > FEW && !(names = arena_array(d->arena, count, sizeof *names))) {
        d->nomem = true;
        return;
    }
    const struct json *key = json_first(object);
    for (uint32_t i = 0; i < count; i++, key = json_next(key + 1)) {
        names[i] = key->text;
        for (uint32_t k = 0; count <= FEW && k < i; k++)
            if (str_eq(names[k], names[i])) {
                struct place here = {.up = place, .name = names[i]};
                refuse(d, &here, "is given twice");
                break;
            }
    }
    if (count <= FEW)
        return;
    qsort(names, count, sizeof *names, name_order);
    for (uint32_t i = 1; i < count; i++)
        if (str_eq(names[i - 1], names[i])) {
            struct place here = {.up = place, .name = names[i]};
            refuse(d, &here, "is given twice");
        }
}

/* value is `depth` levels below the member itself. */
static void open_walk(struct decode *d, const struct place *place, const struct json *value,
                      int depth) {
    if (value->kind != JSON_ARRAY && value->kind != JSON_OBJECT)
        return;
    if (depth == SHAPE_OPEN_DEPTH_MAX) {
        refuse(d, place, "is nested deeper than %d levels", SHAPE_OPEN_DEPTH_MAX);
        return;
    }
    bool object = value->kind == JSON_OBJECT;
    if (object)
        names_check(d, place, value);
    const struct json *at = json_first(value);
    for (uint32_t i = 0; i < value->count && !d->nomem; i++) {
        struct place here = {.up = place, .name = object ? at->text : STR_NONE, .index = i};
        at += object;
        open_walk(d, &here, at, depth + 1);
        at = json_next(at);
    }
}

static bool open_check(struct decode *d, const struct place *place, const struct json *value) {
    uint64_t before = d->faults;
    if (!d->own)
        open_walk(d, place, value, 0);
    return d->faults == before && !d->nomem;
}

static bool raw_read(struct decode *d, const struct json *value, struct str *out) {
    bool container = value->kind == JSON_ARRAY || value->kind == JSON_OBJECT;
    if ((container || value->kind == JSON_NUMBER) && value->text.ptr) {
        *out = value->text;
        return true;
    }
    struct buf buf;
    buf_init(&buf, 0);
    json_write(&buf, value);
    *out = buf_ok(&buf) ? arena_str(d->arena, buf_str(&buf)) : STR_NONE;
    buf_free(&buf);
    d->nomem |= !out->ptr;
    return out->ptr != NULL;
}

/* --- objects and lists ----------------------------------------------------------------- */
static void object_read(struct decode *d, const struct place *place, const struct shape *shape,
                        const struct json *value, void *out);

static bool child_read(struct decode *d, const struct place *place, const struct shape *shape,
                       const struct json *value, void **out) {
    if (value->kind != JSON_OBJECT) {
        refuse(d, place, "must be an object, not %s", kind_words(value));
        return false;
    }
    *out = arena_alloc(d->arena, shape->size);
    if (!*out) {
        d->nomem = true;
        return false;
    }
    object_read(d, place, shape, value, *out);
    return true;
}

static bool list_read(struct decode *d, const struct place *place, const struct shape_field *field,
                      const struct json *value, struct shape_list *out) {
    if (value->kind != JSON_ARRAY) {
        refuse(d, place, "must be an array, not %s", kind_words(value));
        return false;
    }
    int64_t least = shape_least(field), most = shape_most(field);
    if (value->count < least || value->count > most) {
        bool few = value->count < least;
        refuse(d, place, "must have %s %lld element%s, not %u", few ? "at least" : "at most",
               (long long)(few ? least : most), (few ? least : most) == 1 ? "" : "s",
               value->count);
        return false;
    }
    const struct shape *shape = field->shape;
    size_t size = shape ? shape->size : sizeof(struct str);
    char *items = arena_array(d->arena, value->count, size);
    if (!items) {
        d->nomem = true;
        return false;
    }
    *out = (struct shape_list){items, value->count};
    const struct json *at = json_first(value);
    for (uint32_t i = 0; i < value->count && !d->nomem; i++, at = json_next(at)) {
        struct place here = {.up = place, .index = i};
        if (!shape) {
            if (text_check(d, &here, SHAPE_TEXT, 1, SHAPE_ITEM_BYTES_MAX, at))
                ((struct str *)(void *)items)[i] = at->text;
        } else if (at->kind == JSON_OBJECT) {
            object_read(d, &here, shape, at, items + size * i);
        } else {
            refuse(d, &here, "must be an object, not %s", kind_words(at));
        }
    }
    return true;
}

/* Answers whether the member is there and good. */
static bool field_read(struct decode *d, const struct place *place,
                       const struct shape_field *field, const struct json *value, void *at) {
    switch (field->kind) {
    case SHAPE_ID:
    case SHAPE_CODE:
    case SHAPE_TEXT:
        if (!text_check(d, place, field->kind, shape_least(field), shape_most(field), value))
            return false;
        *(struct str *)at = value->text;
        return true;
    case SHAPE_MONEY:
    case SHAPE_INTEGER: return integer_read(d, place, field, value, at);
    case SHAPE_DECIMAL:
    case SHAPE_RATE: return decimal_read(d, place, field, value, at);
    case SHAPE_INSTANT: return instant_read(d, place, field, value, at);
    case SHAPE_DATE:
        if (value->kind == JSON_STRING && date_parse(value->text, at))
            return true;
        refuse_value(d, place, field, value, "a date such as \"2026-11-23\"");
        return false;
    case SHAPE_ENUM: return enum_read(d, place, field, value, at);
    case SHAPE_BOOL:
        if (value->kind == JSON_BOOL) {
            *(bool *)at = value->count;
            return true;
        }
        refuse_value(d, place, field, value, "true or false");
        return false;
    case SHAPE_OBJECT: return child_read(d, place, field->shape, value, at);
    case SHAPE_LIST: return list_read(d, place, field, value, at);
    case SHAPE_OPEN:
        *(const struct json **)at = value;
        return open_check(d, place, value);
    case SHAPE_RAW: return raw_read(d, value, at);
    }
    return false;
}

static inline bool name_is(const char *name, struct str key) {
    for (size_t i = 0; i < key.len; i++)
        if (name[i] != key.ptr[i] || name[i] == '\0')
            return false;
    return name[key.len] == '\0';
}

/* The row of a member name, looked for from `expected` on; shape->count where there is none. */
static inline uint32_t row_find(const struct shape *shape, struct str key, uint32_t expected) {
    for (uint32_t row = expected; row < shape->count; row++)
        if (name_is(shape->fields[row].name, key))
            return row;
    for (uint32_t row = 0; row < expected; row++)
        if (name_is(shape->fields[row].name, key))
            return row;
    return shape->count;
}

static void missing_check(struct decode *d, const struct place *place, const struct shape *shape,
                          uint64_t seen) {
    uint64_t all = shape->count == 64 ? UINT64_MAX : (UINT64_C(1) << shape->count) - 1;
    for (uint64_t absent = all & ~seen; absent; absent &= absent - 1) {
        const struct shape_field *field = &shape->fields[__builtin_ctzll(absent)];
        /* A hub of an earlier version wrote no members of a later one. */
        if (!(field->flags & SHAPE_REQUIRED) || (d->own && field->since > 1) ||
            (!d->own && (field->flags & SHAPE_READ_ONLY)))
            continue;
        struct place here = {.up = place, .name = str_c(field->name)};
        refuse(d, &here, "is required");
    }
}

static void object_read(struct decode *d, const struct place *place, const struct shape *shape,
                        const struct json *value, void *out) {
    uint64_t has = 0, seen = 0;
    uint32_t expected = 0;
    const struct json *key = json_first(value);
    for (uint32_t i = 0; i < value->count && !d->nomem; i++) {
        const struct json *member = key + 1;
        struct place here = {.up = place, .name = key->text};
        uint32_t row = row_find(shape, key->text, expected);
        key = json_next(member);
        if (row == shape->count) {
            if (!shape->open && !d->own)
                refuse(d, &here, "is not a member of %s", shape->name);
            continue;
        }
        expected = row + 1;
        const struct shape_field *field = &shape->fields[row];
        uint64_t bit = UINT64_C(1) << row;
        if (seen & bit) {
            refuse(d, &here, "is given twice");
        } else if (!d->own && (field->flags & SHAPE_READ_ONLY)) {
            refuse(d, &here, "is set by the hub");
        } else if (member->kind == JSON_NULL && field->kind != SHAPE_RAW) {
            if (field->flags & SHAPE_REQUIRED)
                refuse(d, &here, "is required, and must not be null");
        } else if (field_read(d, &here, field, member, (char *)out + field->offset)) {
            has |= bit;
        }
        seen |= bit;
    }
    *(uint64_t *)out = has;
    missing_check(d, place, shape, seen);
}

static enum err decode(struct decode *d, const struct shape *shape, const struct json *value,
                       struct str pointer, void **out) {
    struct place root = {.pointer = pointer};
    *out = NULL;
    must(shape->count <= 64);
    void *doc = NULL;
    bool read = child_read(d, &root, shape, value, &doc);
    if (d->nomem)
        return fault_set(d->fault, ERR_NOMEM, "out of memory reading a document of type %s",
                         shape->name);
    if (!read || d->faults > 0)
        return ERR_INVALID;
    *out = doc;
    return OK;
}

enum err shape_decode(const struct shape *shape, const struct json *value, struct arena *arena,
                      struct str pointer, void **out, struct fault *fault) {
    struct decode d = {.arena = arena, .fault = fault};
    return decode(&d, shape, value, pointer, out);
}

enum err shape_load(const struct shape *shape, const struct json *value, struct arena *arena,
                    void **out, struct fault *fault) {
    struct decode d = {.arena = arena, .fault = fault, .own = true};
    return decode(&d, shape, value, STR(""), out);
}
