/* route: a tree of path segments, built at start, read-only afterwards. See route.h. */
#include "gateway/route.h"

#include <stdio.h>

#include "base/encode.h"
#include "base/mem.h"

#define SEGMENTS_MAX 16
#define ALLOW_BYTES 64

struct node {
    struct str segment; /* of the template, in the table's own text; an argument's has braces */
    struct node *children, *next; /* fixed segments */
    struct node *arg;             /* any segment */
    struct route_entry *entries[HTTP_METHOD_OTHER];
    char allow[ALLOW_BYTES]; /* "" where the path is none of its own */
};

struct router {
    struct arena arena;
    struct node root;
    struct route_entry **entries;
    uint32_t count, cap;
    const char *scopes[ROUTE_SCOPES_MAX];
    uint32_t scope_count;
};

static const char *const method_names[HTTP_METHOD_OTHER] = {
    [HTTP_METHOD_GET] = "GET",       [HTTP_METHOD_HEAD] = "HEAD",
    [HTTP_METHOD_POST] = "POST",     [HTTP_METHOD_PUT] = "PUT",
    [HTTP_METHOD_PATCH] = "PATCH",   [HTTP_METHOD_DELETE] = "DELETE",
    [HTTP_METHOD_OPTIONS] = "OPTIONS",
};

struct router *router_create(void) {
    struct router *router = mem_zalloc(sizeof *router);

    if (router)
        arena_init(&router->arena, 0);
    return router;
}

void router_destroy(struct router *router) {
    if (!router)
        return;
    mem_free(router->entries);
    arena_free(&router->arena);
    mem_free(router);
}

/* --- building ------------------------------------------------------------------------------ */

static bool is_arg(struct str segment) { return segment.len > 0 && segment.ptr[0] == '{'; }

static struct node *node_child(struct router *router, struct node *node, struct str segment) {
    struct node *child;

    if (is_arg(segment)) {
        if (!node->arg && (node->arg = arena_new(&router->arena, struct node)))
            node->arg->segment = segment;
        return node->arg;
    }
    for (child = node->children; child; child = child->next)
        if (str_eq(child->segment, segment))
            return child;
    child = arena_new(&router->arena, struct node);
    if (child) {
        child->segment = segment;
        child->next = node->children;
        node->children = child;
    }
    return child;
}

static bool scope_index(struct router *router, const char *scope, uint32_t *out) {
    *out = ROUTE_OPEN;
    if (!scope)
        return true;
    for (uint32_t i = 0; i < router->scope_count; i++)
        if (str_is(str_c(scope), router->scopes[i])) {
            *out = i;
            return true;
        }
    if (router->scope_count == ROUTE_SCOPES_MAX)
        return false;
    *out = router->scope_count;
    router->scopes[router->scope_count++] = scope;
    return true;
}

static void allow_write(struct node *node) {
    size_t len = 0;

    node->allow[0] = '\0';
    for (int m = 0; m < HTTP_METHOD_OTHER; m++) {
        bool there = node->entries[m] || m == HTTP_METHOD_OPTIONS ||
                     (m == HTTP_METHOD_HEAD && node->entries[HTTP_METHOD_GET]);

        if (there)
            len += (size_t)snprintf(node->allow + len, sizeof node->allow - len, "%s%s",
                                    len ? ", " : "", method_names[m]);
        must(len < sizeof node->allow);
    }
}

static enum err entry_add(struct router *router, struct node *node, const struct route *route,
                          void *ctx, struct fault *fault) {
    struct route_entry *entry = arena_new(&router->arena, struct route_entry);
    int method = 0;

    while (method < HTTP_METHOD_OTHER && !str_is(str_c(route->method), method_names[method]))
        method++;
    if (method == HTTP_METHOD_OTHER)
        return fault_set(fault, ERR_INVALID, "route %s %s: unknown method", route->method,
                         route->path);
    if (node->entries[method])
        return fault_set(fault, ERR_CONFLICT, "route %s %s is there twice", route->method,
                         route->path);
    if (router->count == router->cap) {
        uint32_t cap = router->cap ? router->cap * 2 : 64;
        struct route_entry **more = mem_resize(router->entries, cap * sizeof *more);

        if (!more)
            return fault_set(fault, ERR_NOMEM, "no memory for the routes");
        router->entries = more;
        router->cap = cap;
    }
    if (!entry)
        return fault_set(fault, ERR_NOMEM, "no memory for the routes");
    *entry = (struct route_entry){.route = route, .ctx = ctx, .index = router->count};
    entry->idem = arena_printf(&router->arena, "%s %s", route->method, route->path);
    if (!entry->idem.ptr || !scope_index(router, route->scope, &entry->scope))
        return fault_set(fault, ERR_NOMEM, "there are more than %d scopes", ROUTE_SCOPES_MAX);
    router->entries[router->count++] = entry;
    node->entries[method] = entry;
    allow_write(node);
    return OK;
}

enum err router_add(struct router *router, const struct route *routes, void *ctx,
                    struct fault *fault) {
    for (const struct route *route = routes; route->method; route++) {
        struct str rest = str_c(route->path);
        struct node *node = &router->root;
        uint32_t args = 0, segments = 0;
        enum err err;

        if (rest.len == 0 || rest.ptr[0] != '/')
            return fault_set(fault, ERR_INVALID, "route %s does not begin with /", route->path);
        rest = str_of(rest.ptr + 1, rest.len - 1);
        while (rest.len > 0) {
            struct str segment = str_cut(&rest, '/');

            if (segment.len == 0 || ++segments > SEGMENTS_MAX ||
                (is_arg(segment) && (++args > COMMAND_ARGS_MAX ||
                                     segment.ptr[segment.len - 1] != '}' || segment.len < 3)))
                return fault_set(fault, ERR_INVALID, "route %s can not be read", route->path);
            node = node_child(router, node, segment);
            if (!node)
                return fault_set(fault, ERR_NOMEM, "no memory for the routes");
        }
        err = entry_add(router, node, route, ctx, fault);
        if (err != OK)
            return err;
    }
    return OK;
}

uint32_t router_count(const struct router *router) { return router->count; }
const struct route_entry *router_entry(const struct router *router, uint32_t index) {
    return index < router->count ? router->entries[index] : NULL;
}
enum err router_scope_add(struct router *router, const char *scope, uint32_t *index,
                          struct fault *fault) {
    return scope_index(router, scope, index)
               ? OK
               : fault_set(fault, ERR_NOMEM, "there are more than %d scopes", ROUTE_SCOPES_MAX);
}
uint32_t router_scope_count(const struct router *router) { return router->scope_count; }
const char *router_scope(const struct router *router, uint32_t index) {
    return index < router->scope_count ? router->scopes[index] : NULL;
}

/* --- decoding ------------------------------------------------------------------------------ */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decodes; false on a bad escape, control characters or what is not UTF-8. */
static bool decode(struct str in, bool form, struct arena *arena, struct str *out) {
    char *text = (char *)(uintptr_t)in.ptr;
    size_t len = in.len;

    if (memchr(in.ptr, '%', in.len) || (form && memchr(in.ptr, '+', in.len))) {
        text = arena_bytes(arena, in.len + 1);
        if (!text)
            return false;
        len = 0;
        for (size_t i = 0; i < in.len; i++) {
            char c = in.ptr[i];

            if (c == '%') {
                int high = i + 2 < in.len ? hex_digit(in.ptr[i + 1]) : -1;
                int low = i + 2 < in.len ? hex_digit(in.ptr[i + 2]) : -1;

                if (high < 0 || low < 0)
                    return false;
                c = (char)(high << 4 | low);
                i += 2;
            } else if (form && c == '+') {
                c = ' ';
            }
            text[len++] = c;
        }
    }
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    *out = str_of(text, len);
    return utf8_valid(*out);
}

/* --- matching ------------------------------------------------------------------------------ */

struct walk {
    struct str segments[SEGMENTS_MAX];
    uint32_t count;
    struct str args[COMMAND_ARGS_MAX];
};

/* The deepest fixed way first, then the argument's. */
static const struct node *node_find(const struct node *node, struct walk *walk, uint32_t at,
                                    uint32_t args, uint32_t *arg_count) {
    const struct node *found = NULL;

    if (at == walk->count) {
        *arg_count = args;
        return node->allow[0] ? node : NULL;
    }
    for (const struct node *child = node->children; child && !found; child = child->next)
        if (str_eq(child->segment, walk->segments[at]))
            found = node_find(child, walk, at + 1, args, arg_count);
    if (!found && node->arg && args < COMMAND_ARGS_MAX && walk->segments[at].len > 0) {
        found = node_find(node->arg, walk, at + 1, args + 1, arg_count);
        if (found)
            walk->args[args] = walk->segments[at];
    }
    return found;
}

enum err router_match(const struct router *router, enum http_method method, struct str path,
                      struct arena *arena, struct route_match *match, struct fault *fault) {
    struct str rest = path;
    struct walk walk;
    const struct node *node;

    *match = (struct route_match){0};
    walk.count = 0;
    if (path.len == 0 || path.ptr[0] != '/')
        return fault_set(fault, ERR_NOT_FOUND, "there is nothing at this path");
    rest = str_of(path.ptr + 1, path.len - 1);
    while (rest.ptr && !(walk.count == 0 && rest.len == 0)) {
        struct str segment = str_cut(&rest, '/');

        if (walk.count == SEGMENTS_MAX)
            return fault_set(fault, ERR_NOT_FOUND, "there is nothing at this path");
        if (!decode(segment, false, arena, &walk.segments[walk.count++]))
            return fault_set(fault, ERR_BAD_REQUEST,
                             "the path holds a bad escape, a control character or no UTF-8");
    }
    node = node_find(&router->root, &walk, 0, 0, &match->arg_count);
    if (!node)
        return fault_set(fault, ERR_NOT_FOUND, "there is nothing at this path");
    for (uint32_t i = 0; i < match->arg_count; i++)
        match->args[i] = walk.args[i];
    match->allow = node->allow;
    if (method < HTTP_METHOD_OTHER)
        match->entry = node->entries[method];
    if (method == HTTP_METHOD_HEAD && !match->entry) {
        match->entry = node->entries[HTTP_METHOD_GET];
        match->head = true;
    }
    if (!match->entry)
        return fault_set(fault, ERR_METHOD, "this path takes %s", node->allow);
    return OK;
}

/* --- query parameters ---------------------------------------------------------------------- */

static void name_the_known(const struct query_param *known, struct str name,
                           struct arena *arena, struct fault *fault) {
    struct str names = STR_NONE;

    for (const struct query_param *p = known; p->name; p++)
        names = names.ptr ? arena_printf(arena, "%.*s, %s", STR_FMT(names), p->name)
                          : arena_printf(arena, "%s", p->name);
    fault_add(fault, arena_printf(arena, "?%.*s", STR_FMT(name)),
              names.ptr ? "is not known here; known are: %.*s" : "is not known: none is taken%.*s",
              STR_FMT(names));
}

static void param_check(const struct query_param *known, const struct query_value *values,
                        uint32_t count, struct arena *arena, struct fault *fault) {
    const struct query_value *last = &values[count - 1];
    const struct query_param *param = known;

    while (param->name && !str_is(last->name, param->name))
        param++;
    if (!param->name) {
        name_the_known(known, last->name, arena, fault);
        return;
    }
    for (uint32_t i = 0; i + 1 < count && !param->repeated; i++)
        if (str_eq(values[i].name, last->name)) {
            fault_add(fault, arena_printf(arena, "?%s", param->name), "is given twice");
            return;
        }
}

enum err query_parse(struct str query, const struct query_param *known, struct arena *arena,
                     const struct query_value **values, uint32_t *count, struct fault *fault) {
    struct query_value *list;
    struct str rest = query;
    uint32_t n = 0, pieces = 1;

    *values = NULL;
    *count = 0;
    for (size_t i = 0; i < query.len; i++)
        pieces += query.ptr[i] == '&';
    if (pieces > QUERY_VALUES_MAX)
        return fault_set(fault, ERR_BAD_REQUEST, "there are more than %d query parameters",
                         QUERY_VALUES_MAX);
    list = arena_array(arena, pieces, sizeof *list);
    if (!list)
        return fault_set(fault, ERR_NOMEM, "no memory for the query parameters");
    while (rest.ptr && rest.len > 0) {
        struct str piece = str_cut(&rest, '&'), value = piece, name;

        if (piece.len == 0)
            continue;
        name = str_cut(&value, '=');
        if (!value.ptr)
            value = STR("");
        if (!decode(name, true, arena, &list[n].name) ||
            !decode(value, true, arena, &list[n].value)) {
            fault_add(fault, STR("?"), "holds a bad escape, a control character or no UTF-8");
            continue;
        }
        n++;
        if (known)
            param_check(known, list, n, arena, fault);
    }
    for (const struct query_param *p = known; p && p->name; p++) {
        bool there = !p->required;

        for (uint32_t i = 0; i < n && !there; i++)
            there = str_is(list[i].name, p->name);
        if (!there)
            fault_add(fault, arena_printf(arena, "?%s", p->name), "is required");
    }
    *values = list;
    *count = n;
    return fault->count > 0
               ? fault_set(fault, ERR_BAD_REQUEST, "the query parameters are not as they should be")
               : OK;
}
