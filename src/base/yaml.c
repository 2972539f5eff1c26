/* yaml: see yaml.h. libyaml's events, one after the other, into a growing array of nodes;
 * children follow their parent, so an alias is a copy of a run of nodes. */
#include "base/yaml.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "base/mem.h"

#define ANCHORS_MAX 100

struct load {
    struct arena *arena;
    struct fault *fault;
    struct str file;
    enum err err;
    struct json *nodes;
    uint32_t *lines;
    uint32_t count, room;
    uint32_t depth;
    uint32_t open[JSON_DEPTH_MAX];
    bool key_next[JSON_DEPTH_MAX]; /* in a mapping: a key is expected */
    struct {
        struct str name;
        uint32_t node;
        bool complete;
    } anchors[ANCHORS_MAX];
    uint32_t anchor_count;
};

static bool load_refuse(struct load *load, size_t line, const char *fmt, ...) PRINTF_LIKE(3, 4);
static bool load_refuse(struct load *load, size_t line, const char *fmt, ...) {
    char text[300], pointer[300];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    snprintf(pointer, sizeof pointer, "%.*s:%zu", STR_FMT(load->file), line);
    fault_add(load->fault, str_c(pointer), "%s", text);
    load->err = ERR_INVALID;
    return false;
}

static bool load_nomem(struct load *load) {
    load->err = fault_set(load->fault, ERR_NOMEM, "out of memory reading %.*s",
                          STR_FMT(load->file));
    return false;
}

static bool load_room(struct load *load, uint32_t more, size_t line) {
    if (more > YAML_NODES_MAX - load->count)
        return load_refuse(load, line, "more than %u values (aliases count as what they name)",
                           YAML_NODES_MAX);
    if (load->count + more <= load->room)
        return true;
    uint32_t room = load->room ? load->room : 256;
    while (room < load->count + more)
        room *= 2;
    struct json *nodes = mem_resize(load->nodes, room * sizeof *nodes);
    if (!nodes)
        return load_nomem(load);
    load->nodes = nodes;
    uint32_t *lines = mem_resize(load->lines, room * sizeof *lines);
    if (!lines)
        return load_nomem(load);
    load->lines = lines;
    load->room = room;
    return true;
}

static bool in_mapping(const struct load *load) {
    return load->depth > 0 && load->nodes[load->open[load->depth - 1]].kind == JSON_OBJECT;
}

static bool expects_key(const struct load *load) {
    return in_mapping(load) && load->key_next[load->depth - 1];
}

/* Behind a whole value (or key): what comes next in the container around it. */
static void value_done(struct load *load) {
    if (load->depth == 0)
        return;
    struct json *parent = &load->nodes[load->open[load->depth - 1]];
    if (parent->kind == JSON_ARRAY) {
        parent->count++;
        return;
    }
    bool *key_next = &load->key_next[load->depth - 1];
    parent->count += !*key_next;
    *key_next = !*key_next;
}

static bool number_is(struct str s) {
    size_t at = s.len > 0 && s.ptr[0] == '-', start = at;
    while (at < s.len && s.ptr[at] >= '0' && s.ptr[at] <= '9')
        at++;
    if (at == start || (s.ptr[start] == '0' && at - start > 1))
        return false;
    if (at < s.len && s.ptr[at] == '.') {
        for (start = ++at; at < s.len && s.ptr[at] >= '0' && s.ptr[at] <= '9';)
            at++;
        if (at == start)
            return false;
    }
    if (at < s.len && (s.ptr[at] == 'e' || s.ptr[at] == 'E')) {
        at++;
        at += at < s.len && (s.ptr[at] == '+' || s.ptr[at] == '-');
        for (start = at; at < s.len && s.ptr[at] >= '0' && s.ptr[at] <= '9';)
            at++;
        if (at == start)
            return false;
    }
    return at == s.len;
}

static void plain_resolve(struct json *node, struct str s) {
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    static const char *const bools[] = {"false", "False", "FALSE", "true", "True", "TRUE"};
    for (size_t i = 0; i < sizeof nulls / sizeof nulls[0]; i++)
        if (str_is(s, nulls[i])) {
            node->kind = JSON_NULL;
            return;
        }
    for (size_t i = 0; i < sizeof bools / sizeof bools[0]; i++)
        if (str_is(s, bools[i])) {
            node->kind = JSON_BOOL;
            node->count = i >= 3;
            return;
        }
    if (number_is(s))
        node->kind = JSON_NUMBER;
}

/* A new node, its anchor remembered. NULL where it may not stand here. */
static struct json *node_add(struct load *load, enum json_kind kind, const yaml_event_t *event,
                             const yaml_char_t *anchor) {
    size_t line = event->start_mark.line + 1;
    if (!load_room(load, 1, line))
        return NULL;
    if (anchor) {
        if (load->anchor_count == ANCHORS_MAX) {
            load_refuse(load, line, "more than %d anchors", ANCHORS_MAX);
            return NULL;
        }
        struct str name = arena_str(load->arena, str_c((const char *)anchor));
        if (!name.ptr) {
            load_nomem(load);
            return NULL;
        }
        load->anchors[load->anchor_count].name = name;
        load->anchors[load->anchor_count].complete = kind != JSON_ARRAY && kind != JSON_OBJECT;
        load->anchors[load->anchor_count++].node = load->count;
    }
    struct json *node = &load->nodes[load->count];
    *node = (struct json){.next = 1, .kind = (uint8_t)kind};
    load->lines[load->count++] = (uint32_t)line;
    return node;
}

static bool tag_is_string(const yaml_char_t *tag) {
    return strcmp((const char *)tag, YAML_STR_TAG) == 0 || strcmp((const char *)tag, "!") == 0;
}

static bool scalar_add(struct load *load, const yaml_event_t *event) {
    const yaml_char_t *tag = event->data.scalar.tag;
    size_t line = event->start_mark.line + 1;
    if (tag && !tag_is_string(tag))
        return load_refuse(load, line, "the tag %.60s is not supported", (const char *)tag);
    bool key = expects_key(load);
    struct json *node = node_add(load, JSON_STRING, event, event->data.scalar.anchor);
    if (!node)
        return false;
    node->text = arena_str(load->arena, str_of((const char *)event->data.scalar.value,
                                               event->data.scalar.length));
    if (!node->text.ptr)
        return load_nomem(load);
    if (!key && !tag && event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        plain_resolve(node, node->text);
        if (node->kind == JSON_NULL || node->kind == JSON_BOOL)
            node->text = STR_NONE;
    }
    value_done(load);
    return true;
}

static bool alias_add(struct load *load, const yaml_event_t *event) {
    struct str name = str_c((const char *)event->data.alias.anchor);
    size_t line = event->start_mark.line + 1;
    for (uint32_t i = load->anchor_count; i-- > 0;) { /* the latest of a name counts */
        if (!str_eq(load->anchors[i].name, name))
            continue;
        if (!load->anchors[i].complete)
            return load_refuse(load, line, "*%.*s is inside of what it names", STR_FMT(name));
        uint32_t from = load->anchors[i].node, n = load->nodes[from].next;
        if (expects_key(load))
            return load_refuse(load, line, "an alias can not be a key");
        if (!load_room(load, n, line))
            return false;
        memcpy(load->nodes + load->count, load->nodes + from, n * sizeof *load->nodes);
        for (uint32_t k = 0; k < n; k++)
            load->lines[load->count + k] = (uint32_t)line;
        load->count += n;
        value_done(load);
        return true;
    }
    return load_refuse(load, line, "there is no anchor &%.*s above", STR_FMT(name));
}

static bool container_open(struct load *load, const yaml_event_t *event) {
    bool mapping = event->type == YAML_MAPPING_START_EVENT;
    const yaml_char_t *tag = mapping ? event->data.mapping_start.tag : event->data.sequence_start.tag;
    const yaml_char_t *anchor =
        mapping ? event->data.mapping_start.anchor : event->data.sequence_start.anchor;
    size_t line = event->start_mark.line + 1;
    if (tag)
        return load_refuse(load, line, "the tag %.60s is not supported", (const char *)tag);
    if (expects_key(load))
        return load_refuse(load, line, "a key must be a plain or quoted text");
    if (load->depth == JSON_DEPTH_MAX)
        return load_refuse(load, line, "nested deeper than %d levels", JSON_DEPTH_MAX);
    if (!node_add(load, mapping ? JSON_OBJECT : JSON_ARRAY, event, anchor))
        return false;
    load->key_next[load->depth] = mapping;
    load->open[load->depth++] = load->count - 1;
    return true;
}

struct key_at {
    struct str text;
    uint32_t line;
};

static int key_order(const void *a, const void *b) {
    const struct key_at *x = a, *y = b;
    int order = str_cmp(x->text, y->text);
    return order ? order : (x->line > y->line) - (x->line < y->line);
}

static bool keys_unique(struct load *load, uint32_t mapping) {
    uint32_t count = load->nodes[mapping].count;
    if (count < 2)
        return true;
    struct key_at *keys = mem_alloc(count * sizeof *keys);
    if (!keys)
        return load_nomem(load);
    uint32_t at = mapping + 1;
    for (uint32_t i = 0; i < count; i++) {
        keys[i] = (struct key_at){load->nodes[at].text, load->lines[at]};
        at += 1 + load->nodes[at + 1].next;
    }
    qsort(keys, count, sizeof *keys, key_order);
    bool unique = true;
    for (uint32_t i = 1; i < count && unique; i++)
        if (str_eq(keys[i].text, keys[i - 1].text))
            unique = load_refuse(load, keys[i].line, "the key %.*s is already on line %u",
                                 (int)(keys[i].text.len < 80 ? keys[i].text.len : 80),
                                 keys[i].text.ptr, keys[i - 1].line);
    mem_free(keys);
    return unique;
}

static bool container_close(struct load *load) {
    uint32_t at = load->open[--load->depth];
    load->nodes[at].next = load->count - at;
    for (uint32_t i = 0; i < load->anchor_count; i++)
        if (load->anchors[i].node == at)
            load->anchors[i].complete = true;
    if (load->nodes[at].kind == JSON_OBJECT && !keys_unique(load, at))
        return false;
    value_done(load);
    return true;
}

static bool event_take(struct load *load, const yaml_event_t *event, uint32_t *documents) {
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (++*documents > 1)
            return load_refuse(load, event->start_mark.line + 1, "a second document begins here");
        return true;
    case YAML_SCALAR_EVENT: return scalar_add(load, event);
    case YAML_ALIAS_EVENT: return alias_add(load, event);
    case YAML_MAPPING_START_EVENT:
    case YAML_SEQUENCE_START_EVENT: return container_open(load, event);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT: return container_close(load);
    default: return true;
    }
}

static bool events_run(struct load *load, yaml_parser_t *parser) {
    uint32_t documents = 0;
    for (bool more = true; more;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event)) {
            if (parser->error == YAML_MEMORY_ERROR)
                return load_nomem(load);
            return load_refuse(load, parser->problem_mark.line + 1, "%s%s%s",
                               parser->problem ? parser->problem : "not valid YAML",
                               parser->context ? ", " : "", parser->context ? parser->context : "");
        }
        more = event.type != YAML_STREAM_END_EVENT;
        bool good = event_take(load, &event, &documents);
        yaml_event_delete(&event);
        if (!good)
            return false;
    }
    if (load->count > 0)
        return true;
    if (!load_room(load, 1, 1))
        return false;
    load->nodes[0] = (struct json){.next = 1, .kind = JSON_NULL};
    load->lines[0] = 1;
    load->count = 1;
    return true;
}

enum err yaml_parse(struct arena *arena, struct str file, struct str text, struct yaml *out,
                    struct fault *fault) {
    *out = (struct yaml){.file = arena_str(arena, file)};
    if (text.len > YAML_BYTES_MAX)
        return fault_set(fault, ERR_TOO_LARGE, "%.*s is larger than %zu bytes", STR_FMT(file),
                         YAML_BYTES_MAX);
    yaml_parser_t parser;
    struct load load = {.arena = arena, .fault = fault, .file = file};
    if (!yaml_parser_initialize(&parser)) {
        load_nomem(&load);
        return load.err;
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.ptr, text.len);
    bool good = events_run(&load, &parser);
    yaml_parser_delete(&parser);
    if (good) {
        struct json *nodes = arena_array(arena, load.count, sizeof *nodes);
        uint32_t *lines = arena_array(arena, load.count, sizeof *lines);
        if (nodes && lines && out->file.ptr) {
            memcpy(nodes, load.nodes, load.count * sizeof *nodes);
            memcpy(lines, load.lines, load.count * sizeof *lines);
            out->root = nodes;
            out->lines = lines;
        } else {
            load_nomem(&load);
        }
    }
    mem_free(load.nodes);
    mem_free(load.lines);
    return load.err;
}

enum err yaml_read(struct arena *arena, const char *path, struct str name, struct yaml *out,
                   struct fault *fault) {
    *out = (struct yaml){.file = name};
    FILE *file = fopen(path, "rbe");
    if (!file)
        return fault_set(fault, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path,
                         strerror(errno));
    struct buf text;
    buf_init(&text, YAML_BYTES_MAX + 1);
    char chunk[16384];
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, file)) > 0 && buf_ok(&text))
        buf_add(&text, chunk, n);
    enum err err = OK;
    if (ferror(file))
        err = fault_set(fault, ERR_IO, "%s: %s", path, strerror(errno));
    else if (!buf_ok(&text))
        err = fault_set(fault, ERR_TOO_LARGE, "%s is larger than %zu bytes", path, YAML_BYTES_MAX);
    fclose(file);
    if (err == OK)
        err = yaml_parse(arena, name, buf_str(&text), out, fault);
    buf_free(&text);
    return err;
}

/* Whether a part of a JSON Pointer (RFC 6901, escaped) is this name. */
static bool part_is(struct str part, struct str name) {
    size_t at = 0;
    for (size_t i = 0; i < part.len; i++, at++) {
        char c = part.ptr[i];
        if (c == '~' && i + 1 < part.len)
            c = part.ptr[++i] == '1' ? '/' : '~';
        if (at >= name.len || name.ptr[at] != c)
            return false;
    }
    return at == name.len;
}

static const struct json *child_find(const struct json *value, struct str part) {
    const struct json *at = json_first(value);
    uint64_t index;
    if (value->kind == JSON_OBJECT) {
        for (uint32_t i = 0; i < value->count; i++, at = json_next(at + 1))
            if (part_is(part, at->text))
                return at + 1;
    } else if (value->kind == JSON_ARRAY && str_u64(part, &index) && index < value->count) {
        while (index-- > 0)
            at = json_next(at);
        return at;
    }
    return NULL;
}

uint32_t yaml_line(const struct yaml *yaml, struct str pointer) {
    const struct json *value = yaml->root;
    if (!value)
        return 1;
    uint32_t line = yaml->lines[0];
    str_cut(&pointer, '/');
    while (pointer.ptr) {
        struct str part = str_cut(&pointer, '/');
        const struct json *child = child_find(value, part);
        if (!child)
            break;
        /* a member stands where its key stands */
        line = yaml->lines[child - yaml->root - (value->kind == JSON_OBJECT)];
        value = child;
    }
    return line;
}

void yaml_fault(const struct yaml *yaml, struct fault *to, struct str pointer, const char *fmt,
                ...) {
    char text[400], place[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    snprintf(place, sizeof place, "%.*s:%u:%.*s", STR_FMT(yaml->file), yaml_line(yaml, pointer),
             STR_FMT(pointer));
    fault_add(to, str_c(place), "%s", text);
}

void yaml_faults(const struct yaml *yaml, const struct fault *from, struct fault *to) {
    for (const struct fault_item *item = from->first; item; item = item->next)
        yaml_fault(yaml, to, item->pointer, "%.*s", STR_FMT(item->detail));
}
