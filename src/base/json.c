/* json: see json.h. simdjson finds where tokens start (json_simdjson.cc); the walk here
 * checks the grammar of RFC 8259 and writes the nodes, in one pass.
 *
 * Holds always: a token is what lies between its offset and the next one less white space,
 * so it is judged whole and nothing behind the text is ever looked at. */
#include "base/json.h"

#include <stdalign.h>

#include "base/encode.h"
#include "base/json_priv.h"
#include "base/mem.h"

struct json_parser {
    struct json_index *index;
};

struct json_parser *json_parser_create(void) {
    struct json_parser *parser = mem_zalloc(sizeof *parser);
    if (!parser)
        return NULL;
    parser->index = json_index_create();
    if (!parser->index) {
        mem_free(parser);
        return NULL;
    }
    return parser;
}

void json_parser_destroy(struct json_parser *parser) {
    if (!parser)
        return;
    json_index_destroy(parser->index);
    mem_free(parser);
}

struct walk {
    struct arena *arena;
    struct fault *fault;
    const char *text;
    const char *backslash;   /* the next one at or behind the token, or the end of the text */
    const uint32_t *at;      /* offset of the token under the walk; *end is the text's length */
    const uint32_t *end;
    struct json *nodes;
    uint32_t count, room;
    uint32_t depth;
    uint32_t open[JSON_DEPTH_MAX]; /* nodes of the containers around the walk */
};

/* Where it is, in words: people count lines, programs bytes. */
static enum err refuse_at(struct fault *fault, const char *text, size_t offset, const char *what) {
    size_t line = 1, start = 0;
    for (size_t i = 0; i < offset; i++)
        if (text[i] == '\n') {
            line++;
            start = i + 1;
        }
    return fault_set(fault, ERR_MALFORMED, "%s at line %zu, column %zu (byte %zu)", what, line,
                     offset - start + 1, offset);
}

static enum err walk_refuse(struct walk *walk, const char *what) {
    return refuse_at(walk->fault, walk->text, *walk->at, what);
}

static inline bool space_is(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
static inline bool digit_is(char c) { return c >= '0' && c <= '9'; }

/* The token under the walk, without the white space behind it. */
static inline struct str walk_token(const struct walk *walk) {
    uint32_t start = walk->at[0], end = walk->at[1];
    while (end > start && space_is(walk->text[end - 1]))
        end--;
    return str_of(walk->text + start, end - start);
}

static inline struct json *walk_node(struct walk *walk, enum json_kind kind) {
    must(walk->count < walk->room);
    struct json *node = &walk->nodes[walk->count++];
    *node = (struct json){.next = 1, .kind = (uint8_t)kind};
    return node;
}

/* Four hexadecimal digits; -1 where they are none. */
static int32_t hex_four(const char *at, const char *end) {
    int32_t value = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        int digit = digit_is(c)                ? c - '0'
                    : (c >= 'a' && c <= 'f')   ? c - 'a' + 10
                    : (c >= 'A' && c <= 'F')   ? c - 'A' + 10
                                               : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

static char *utf8_put(char *out, int32_t c) {
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xC0 | c >> 6);
        *out++ = (char)(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        *out++ = (char)(0xE0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 0x3F));
        *out++ = (char)(0x80 | (c & 0x3F));
    } else {
        *out++ = (char)(0xF0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 0x3F));
        *out++ = (char)(0x80 | (c >> 6 & 0x3F));
        *out++ = (char)(0x80 | (c & 0x3F));
    }
    return out;
}

/* \uXXXX with *at behind the u; a pair of surrogates is one character, half a pair none. */
static const char *unescape_u(const char **at, const char *end, char **out) {
    int32_t c = hex_four(*at, end);
    if (c < 0)
        return "a \\u escape needs four hexadecimal digits";
    *at += 4;
    if (c >= 0xDC00 && c <= 0xDFFF)
        return "a \\u escape is the second half of a surrogate pair without the first";
    if (c >= 0xD800 && c <= 0xDBFF) {
        int32_t low = end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u'
                          ? hex_four(*at + 2, end)
                          : -1;
        if (low < 0xDC00 || low > 0xDFFF)
            return "a \\u escape is the first half of a surrogate pair without the second";
        *at += 6;
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
    }
    *out = utf8_put(*out, c);
    return NULL;
}

/* Escapes only ever shrink, so the raw length is room enough. NULL, or what is wrong. */
static const char *unescape(struct str raw, char *out, size_t *len) {
    const char *at = raw.ptr, *end = raw.ptr + raw.len;
    char *start = out;
    while (at < end) {
        if (*at != '\\') {
            *out++ = *at++;
            continue;
        }
        if (++at == end)
            return "an escape is cut off";
        char c = *at++;
        switch (c) {
        case '"':
        case '\\':
        case '/': *out++ = c; break;
        case 'b': *out++ = '\b'; break;
        case 'f': *out++ = '\f'; break;
        case 'n': *out++ = '\n'; break;
        case 'r': *out++ = '\r'; break;
        case 't': *out++ = '\t'; break;
        case 'u': {
            const char *wrong = unescape_u(&at, end, &out);
            if (wrong)
                return wrong;
            break;
        }
        default: return "an unknown escape";
        }
    }
    *len = (size_t)(out - start);
    return NULL;
}

static enum err walk_escapes(struct walk *walk, struct json *node, struct str raw) {
    const char *text_end = walk->text + *walk->end;
    char *out = arena_bytes(walk->arena, raw.len + 1);
    if (!out)
        return fault_set(walk->fault, ERR_NOMEM, "out of memory");
    const char *wrong = unescape(raw, out, &node->text.len);
    if (wrong)
        return walk_refuse(walk, wrong);
    out[node->text.len] = '\0';
    node->text.ptr = out;
    const char *behind = raw.ptr + raw.len;
    walk->backslash = memchr(behind, '\\', (size_t)(text_end - behind));
    if (!walk->backslash)
        walk->backslash = text_end;
    return OK;
}

static inline enum err walk_string(struct walk *walk) {
    struct str token = walk_token(walk);
    if (token.len < 2 || token.ptr[token.len - 1] != '"')
        return walk_refuse(walk, "a string is not closed");
    struct json *node = walk_node(walk, JSON_STRING);
    node->text = str_of(token.ptr + 1, token.len - 2);
    if (walk->backslash < token.ptr + token.len) {
        enum err err = walk_escapes(walk, node, node->text);
        if (err != OK)
            return err;
    }
    walk->at++;
    return OK;
}

/* -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)? */
static bool number_is(struct str token) {
    const char *at = token.ptr, *end = token.ptr + token.len;
    if (at < end && *at == '-')
        at++;
    const char *start = at;
    while (at < end && digit_is(*at))
        at++;
    if (at == start || (*start == '0' && at - start > 1))
        return false;
    if (at < end && *at == '.') {
        for (start = ++at; at < end && digit_is(*at);)
            at++;
        if (at == start)
            return false;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '+' || *at == '-'))
            at++;
        for (start = at; at < end && digit_is(*at);)
            at++;
        if (at == start)
            return false;
    }
    return at == end;
}

static inline enum err walk_literal(struct walk *walk) {
    struct str token = walk_token(walk);
    if (str_eq(token, STR("true")) || str_eq(token, STR("false")))
        walk_node(walk, JSON_BOOL)->count = token.len == 4;
    else if (str_eq(token, STR("null")))
        walk_node(walk, JSON_NULL);
    else
        return walk_refuse(walk, "a value was expected, this is none");
    walk->at++;
    return OK;
}

static inline enum err walk_scalar(struct walk *walk, char c) {
    if (c == '"')
        return walk_string(walk);
    if (c != '-' && !digit_is(c))
        return walk_literal(walk);
    struct str token = walk_token(walk);
    if (!number_is(token))
        return walk_refuse(walk, "this is not a number as JSON writes it");
    walk_node(walk, JSON_NUMBER)->text = token;
    walk->at++;
    return OK;
}

/* Deeper than we go. A text that is only a heap of open brackets is no JSON at all. */
static enum err walk_too_deep(struct walk *walk) {
    int64_t depth = walk->depth;
    for (const uint32_t *at = walk->at; at < walk->end; at++) {
        char c = walk->text[*at];
        depth += (c == '[' || c == '{') - (c == ']' || c == '}');
    }
    if (depth != 0)
        return walk_refuse(walk, "brackets are not balanced, and nested too deeply");
    return fault_set(walk->fault, ERR_TOO_LARGE, "nested deeper than %d levels", JSON_DEPTH_MAX);
}

static inline bool closes(char c, uint8_t kind) {
    return c == (kind == JSON_OBJECT ? '}' : ']');
}

/* The closing bracket under the walk ends the node. */
static inline void container_close(struct walk *walk, struct json *node) {
    node->next = walk->count - (uint32_t)(node - walk->nodes);
    node->text.len = (size_t)(walk->text + *walk->at + 1 - node->text.ptr);
    walk->at++;
}

/* A scalar, an empty container, or the opening of one that is not (*opened). */
static inline enum err walk_value(struct walk *walk, bool *opened) {
    *opened = false;
    if (walk->at == walk->end)
        return walk_refuse(walk, "the text ends where a value was expected");
    const char *start = walk->text + *walk->at;
    if (*start != '{' && *start != '[')
        return walk_scalar(walk, *start);
    if (walk->depth == JSON_DEPTH_MAX)
        return walk_too_deep(walk);
    struct json *node = walk_node(walk, *start == '{' ? JSON_OBJECT : JSON_ARRAY);
    node->text.ptr = start;
    walk->at++;
    if (walk->at < walk->end && closes(walk->text[*walk->at], node->kind)) {
        container_close(walk, node);
        return OK;
    }
    walk->open[walk->depth++] = (uint32_t)(node - walk->nodes);
    *opened = true;
    return OK;
}

static inline enum err walk_key(struct walk *walk) {
    if (walk->at == walk->end || walk->text[*walk->at] != '"')
        return walk_refuse(walk, "a member name in quotes was expected");
    enum err err = walk_string(walk);
    if (err != OK)
        return err;
    if (walk->at == walk->end || walk->text[*walk->at] != ':')
        return walk_refuse(walk, "a colon was expected behind the member name");
    walk->at++;
    return OK;
}

/* Behind a value: closes what ends here, up to a comma or the end of the text (*done). */
static inline enum err walk_behind(struct walk *walk, bool *done) {
    while (walk->depth > 0) {
        struct json *parent = &walk->nodes[walk->open[walk->depth - 1]];
        parent->count++;
        if (walk->at == walk->end)
            return walk_refuse(walk, parent->kind == JSON_OBJECT
                                         ? "the text ends before an object is closed"
                                         : "the text ends before an array is closed");
        char c = walk->text[*walk->at];
        if (c == ',') {
            walk->at++;
            return OK;
        }
        if (!closes(c, parent->kind))
            return walk_refuse(walk, parent->kind == JSON_OBJECT ? "a comma or } was expected"
                                                                 : "a comma or ] was expected");
        container_close(walk, parent);
        walk->depth--;
    }
    *done = true;
    return walk->at == walk->end ? OK : walk_refuse(walk, "something follows the value");
}

static enum err walk_run(struct walk *walk) {
    bool done = false;
    while (!done) {
        bool opened;
        enum err err = walk_value(walk, &opened);
        if (err == OK && !opened)
            err = walk_behind(walk, &done);
        if (err == OK && !done && walk->nodes[walk->open[walk->depth - 1]].kind == JSON_OBJECT)
            err = walk_key(walk);
        if (err != OK)
            return err;
    }
    return OK;
}

/* The first byte that belongs to no character. */
static size_t utf8_bad_at(struct str text) {
    size_t at = 0;
    while (at < text.len) {
        unsigned char c = (unsigned char)text.ptr[at];
        size_t len = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
        if (len > text.len - at || (len > 1 && !utf8_valid(str_of(text.ptr + at, len))))
            break;
        at += len;
    }
    return at;
}

/* The first control character within a string, or where the string begins that never ends. */
static size_t string_bad_at(struct str text, bool control) {
    bool in = false;
    size_t opened = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (in && control && c < 0x20)
            return i;
        if (in && c == '\\') {
            i++;
        } else if (c == '"') {
            in = !in;
            opened = i;
        }
    }
    return opened;
}

static enum err index_refuse(enum json_index_result result, struct str text, struct fault *fault) {
    switch (result) {
    case JSON_INDEX_EMPTY: return fault_set(fault, ERR_MALFORMED, "the text is empty");
    case JSON_INDEX_UTF8:
        return refuse_at(fault, text.ptr, utf8_bad_at(text), "the text is not valid UTF-8");
    case JSON_INDEX_UNCLOSED:
        return refuse_at(fault, text.ptr, string_bad_at(text, false), "a string is not closed");
    case JSON_INDEX_CONTROL:
        return refuse_at(fault, text.ptr, string_bad_at(text, true),
                         "a control character in a string must be written as an escape");
    case JSON_INDEX_NOMEM: return fault_set(fault, ERR_NOMEM, "out of memory");
    default:
        return fault_set(fault, ERR_INTERNAL, "simdjson failed on a text of %zu bytes", text.len);
    }
}

/* Every node but the root's is followed by a comma, a colon or the closing bracket of its
 * container, so a well-formed text of n tokens has at most (n + 1) / 2 nodes; one that breaks
 * off has at most half a node more per container still open, and one for the token under the
 * walk. walk_node checks that this holds. */
static uint32_t nodes_most(uint32_t tokens) { return tokens / 2 + JSON_DEPTH_MAX / 2 + 4; }

enum err json_parse(struct json_parser *parser, struct arena *arena, struct str text, bool padded,
                    const struct json **out, struct fault *fault) {
    *out = NULL;
    if (text.len > UINT32_MAX - JSON_PADDING)
        return fault_set(fault, ERR_TOO_LARGE, "a JSON text of more than 4 GiB");
    if (text.len == 0)
        return index_refuse(JSON_INDEX_EMPTY, text, fault);
    if (!padded) {
        text = arena_str(arena, text);
        if (!text.ptr)
            return fault_set(fault, ERR_NOMEM, "out of memory");
    }
    struct walk walk = {.arena = arena, .fault = fault, .text = text.ptr};
    uint32_t tokens = 0;
    enum json_index_result result =
        json_index_run(parser->index, text.ptr, text.len, &walk.at, &tokens);
    if (result != JSON_INDEX_OK)
        return index_refuse(result, text, fault);
    walk.end = walk.at + tokens;
    walk.room = nodes_most(tokens);
    size_t bytes = (size_t)walk.room * sizeof(struct json) + alignof(struct json);
    char *room = arena_bytes(arena, bytes);
    if (!room && bytes > arena->cap - arena->used) /* the text's fault, not the machine's */
        return fault_set(fault, ERR_TOO_LARGE, "too many values (about %u)", tokens / 2);
    if (!room)
        return fault_set(fault, ERR_NOMEM, "out of memory");
    uintptr_t up = (uintptr_t)alignof(struct json) - 1;
    walk.nodes = (struct json *)(((uintptr_t)room + up) & ~up);
    walk.backslash = memchr(text.ptr, '\\', text.len);
    if (!walk.backslash)
        walk.backslash = text.ptr + text.len;
    enum err err = walk_run(&walk);
    if (err == OK)
        *out = walk.nodes;
    return err;
}

const struct json *json_member(const struct json *object, struct str name) {
    if (!object || object->kind != JSON_OBJECT)
        return NULL;
    const struct json *key = json_first(object);
    for (uint32_t i = 0; i < object->count; i++) {
        const struct json *value = key + 1;
        /* most names of one length differ in their last letter */
        if (key->text.len == name.len &&
            (name.len == 0 || (key->text.ptr[name.len - 1] == name.ptr[name.len - 1] &&
                               memcmp(key->text.ptr, name.ptr, name.len) == 0)))
            return value;
        key = json_next(value);
    }
    return NULL;
}

static struct str pointer_part(struct arena *arena, struct str part) {
    char *out = arena_bytes(arena, part.len + 1);
    size_t n = 0;
    for (size_t i = 0; out && i < part.len; i++) {
        char c = part.ptr[i];
        if (c == '~' && i + 1 < part.len)
            c = part.ptr[++i] == '1' ? '/' : '~';
        out[n++] = c;
    }
    return str_of(out, n);
}

const struct json *json_at(const struct json *doc, struct str pointer) {
    struct arena arena;
    arena_init(&arena, 65536);
    struct str rest = pointer;
    if (rest.len > 0 && rest.ptr[0] == '/')
        rest = str_of(rest.ptr + 1, rest.len - 1);
    else if (rest.len > 0)
        doc = NULL;
    else
        rest = STR_NONE;
    while (doc != NULL && rest.ptr != NULL) {
        struct str part = pointer_part(&arena, str_cut(&rest, '/'));
        uint64_t index;
        if (doc->kind == JSON_OBJECT) {
            doc = json_member(doc, part);
        } else if (doc->kind == JSON_ARRAY && str_u64(part, &index) && index < doc->count) {
            doc = json_first(doc);
            while (index-- > 0)
                doc = json_next(doc);
        } else {
            doc = NULL;
        }
    }
    arena_free(&arena);
    return doc;
}

struct str json_member_str(const struct json *object, struct str name) {
    const struct json *value = json_member(object, name);
    return value && value->kind == JSON_STRING ? value->text : STR_NONE;
}

bool json_i64(const struct json *value, int64_t *out) {
    return value && value->kind == JSON_NUMBER && str_i64(value->text, out);
}

void json_write(struct buf *buf, const struct json *value) {
    bool object = value->kind == JSON_OBJECT;
    switch ((enum json_kind)value->kind) {
    case JSON_NULL: buf_lit(buf, "null"); return;
    case JSON_BOOL: buf_str_add(buf, value->count ? STR("true") : STR("false")); return;
    case JSON_NUMBER: buf_str_add(buf, value->text); return;
    case JSON_STRING: buf_json_str(buf, value->text); return;
    case JSON_ARRAY:
    case JSON_OBJECT: break;
    }
    buf_char(buf, object ? '{' : '[');
    const struct json *at = json_first(value);
    for (uint32_t i = 0; i < value->count; i++) {
        if (i > 0)
            buf_char(buf, ',');
        if (object) {
            buf_json_str(buf, at->text);
            buf_char(buf, ':');
            at++;
        }
        json_write(buf, at);
        at = json_next(at);
    }
    buf_char(buf, object ? '}' : ']');
}

static void indent(struct buf *out, uint32_t depth) {
    buf_char(out, '\n');
    for (uint32_t i = 0; i < depth; i++)
        buf_lit(out, "  ");
}

void json_pretty(struct buf *out, const struct json *value, uint32_t depth) {
    bool object = value->kind == JSON_OBJECT;
    if ((!object && value->kind != JSON_ARRAY) || value->count == 0) {
        json_write(out, value);
        return;
    }
    buf_char(out, object ? '{' : '[');
    const struct json *at = json_first(value);
    for (uint32_t i = 0; i < value->count; i++) {
        if (i > 0)
            buf_char(out, ',');
        indent(out, depth + 1);
        if (object) {
            buf_json_str(out, at->text);
            buf_lit(out, ": ");
            at = json_next(at);
        }
        json_pretty(out, at, depth + 1);
        at = json_next(at);
    }
    indent(out, depth);
    buf_char(out, object ? '}' : ']');
}
