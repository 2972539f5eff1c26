/* document: the partner's document as a mapping sees it, without copying it: a ref is a pointer
 * to a node, read through its metatable. Reading what is not there is an error that names the
 * place; null reads as nil; nothing can be written. */
#include "map/map_priv.h"

#include <stdlib.h>

#include "base/mem.h"

static void log_read(struct sandbox *sb, const struct json *node) {
    struct read_log *log = sb->reads;
    if (log->count == log->cap) {
        uint32_t cap = log->cap ? log->cap * 2 : 256;
        void *more = cap <= READS_MAX ? mem_resize(log->nodes, cap * sizeof *log->nodes) : NULL;
        if (!more)
            return; /* a trace of so many reads helps nobody */
        log->nodes = more;
        log->cap = cap;
    }
    log->nodes[log->count++] = node;
}

void document_push(lua_State *L, const struct json *node) {
    struct sandbox *sb = sandbox_of(L);
    if (sb->reads && node->kind != JSON_OBJECT && node->kind != JSON_ARRAY)
        log_read(sb, node);
    int64_t number;
    switch (node->kind) {
    case JSON_NULL: lua_pushnil(L); return;
    case JSON_BOOL: lua_pushboolean(L, node->count != 0); return;
    case JSON_STRING: lua_pushlstring(L, node->text.ptr, node->text.len); return;
    case JSON_NUMBER:
        if (json_i64(node, &number))
            lua_pushinteger(L, number);
        else
            lua_pushlstring(L, node->text.ptr, node->text.len);
        return;
    default: break;
    }
    struct ref *ref = lua_newuserdatauv(L, sizeof *ref, 0);
    ref->node = node;
    lua_rawgeti(L, LUA_REGISTRYINDEX, node->kind == JSON_OBJECT ? META_OBJECT : META_LIST);
    lua_setmetatable(L, -2);
}

/* --- pointers -------------------------------------------------------------------------- */

void pointer_part(struct buf *out, struct str name) {
    buf_char(out, '/');
    for (size_t i = 0; i < name.len; i++) { /* RFC 6901 */
        if (name.ptr[i] == '~')
            buf_lit(out, "~0");
        else if (name.ptr[i] == '/')
            buf_lit(out, "~1");
        else
            buf_char(out, name.ptr[i]);
    }
}

static bool pointer_write(struct buf *out, const struct json *root, const struct json *node) {
    while (root != node) {
        bool object = root->kind == JSON_OBJECT;
        if ((!object && root->kind != JSON_ARRAY) || node < root || node >= root + root->next)
            return false;
        const struct json *at = json_first(root), *next = NULL;
        for (uint32_t i = 0; i < root->count && !next; i++) {
            const struct json *value = object ? json_next(at) : at;
            if (node >= value && node < value + value->next) {
                if (object)
                    pointer_part(out, at->text);
                else
                    buf_printf(out, "/%u", i);
                next = value;
            }
            at = json_next(value);
        }
        if (!next)
            return false; /* a name, which has no pointer of its own */
        root = next;
    }
    return true;
}

struct str document_pointer(struct arena *arena, const struct json *root,
                            const struct json *node) {
    struct buf out;
    buf_init(&out, 65536);
    bool found = pointer_write(&out, root, node);
    struct str s = found && buf_ok(&out) ? arena_str(arena, buf_str(&out)) : STR_NONE;
    buf_free(&out);
    return s;
}

/* The look whose answer holds the node, or NULL. */
static const struct asked *asked_of(const struct sandbox *sb, const struct json *node) {
    for (uint32_t i = 0; i < sb->asked_count; i++) {
        const struct json *root = sb->asked[i].node;
        if (root && node >= root && node < root + root->next)
            return &sb->asked[i];
    }
    return NULL;
}

/* Raises the error of a member that is not there. */
static int missing(lua_State *L, const struct json *container, struct str name) {
    struct sandbox *sb = sandbox_of(L);
    const struct json *settings = sb->settings;
    struct buf at;
    buf_init(&at, 4096);
    bool of_settings = container >= settings && container < settings + settings->next;
    if (call_begin(L, "", CALL_ANY, 0)) {
        buf_free(&at);
        return 1;
    }
    const struct asked *from = of_settings ? NULL : asked_of(sb, container);
    if (!pointer_write(&at, of_settings ? settings : from ? from->node : sb->document, container))
        buf_clear(&at);
    pointer_part(&at, name);
    char text[256];
    snprintf(text, sizeof text, "%.*s", STR_FMT(buf_str(&at)));
    buf_free(&at); /* before the error unwinds */
    if (of_settings)
        return luaL_error(L, "the setting %s is not set in the connector", text + 1);
    if (from)
        return luaL_error(L, "%s is not in what look(\"%s\") answered; read it with opt() if it may be "
                          "missing", text, lua_pushlstring(L, from->asked_look.what.ptr,
                                                           from->asked_look.what.len));
    sb->problem->source = arena_str(sb->arena, str_c(text));
    if (sb->fault && sb->fault->arena)
        fault_add(sb->fault, arena_str(sb->arena, str_c(text)), "is read by %.*s, but is not in the document",
                  STR_FMT(sb->source->name));
    return luaL_error(L, "%s is not in the document; read it with opt() if it may be missing",
                      text);
}

/* --- metatables ------------------------------------------------------------------------ */

static const struct json *list_item(const struct json *list, lua_Integer i) {
    if (i < 1 || i > (lua_Integer)list->count)
        return NULL;
    const struct json *item = json_first(list);
    while (--i > 0)
        item = json_next(item);
    return item;
}

static int object_index(lua_State *L) {
    const struct json *node = ((struct ref *)lua_touserdata(L, 1))->node;
    if (lua_type(L, 2) != LUA_TSTRING)
        return luaL_error(L, "a member of an object is read by its name");
    struct str name;
    name.ptr = lua_tolstring(L, 2, &name.len);
    const struct json *value = json_member(node, name);
    if (!value)
        return missing(L, node, name);
    document_push(L, value);
    return 1;
}

static int list_index(lua_State *L) {
    const struct json *node = ((struct ref *)lua_touserdata(L, 1))->node;
    if (!lua_isinteger(L, 2))
        return luaL_error(L, "an element of a list is read by its number, from 1");
    lua_Integer i = lua_tointeger(L, 2);
    sandbox_charge(L, i > 0 && i <= (lua_Integer)node->count ? i / 16 : 0);
    const struct json *value = list_item(node, i);
    if (!value) {
        char number[32];
        snprintf(number, sizeof number, "%lld", (long long)i - 1);
        return missing(L, node, str_c(number));
    }
    document_push(L, value);
    return 1;
}

static int ref_len(lua_State *L) {
    lua_pushinteger(L, ((struct ref *)lua_touserdata(L, 1))->node->count);
    return 1;
}

static int ref_eq(lua_State *L) {
    struct ref *a = document_at(L, 1), *b = document_at(L, 2);
    lua_pushboolean(L, a && b && a->node == b->node);
    return 1;
}

static int ref_write(lua_State *L) {
    return luaL_error(L, "the document can not be changed");
}

static void register_meta(lua_State *L, int key, const char *name, lua_CFunction index) {
    lua_newtable(L);
    lua_pushcfunction(L, index);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, ref_len);
    lua_setfield(L, -2, "__len");
    lua_pushcfunction(L, ref_eq);
    lua_setfield(L, -2, "__eq");
    lua_pushcfunction(L, ref_write);
    lua_setfield(L, -2, "__newindex");
    lua_pushstring(L, name); /* in Lua's own messages */
    lua_setfield(L, -2, "__name");
    lua_rawseti(L, LUA_REGISTRYINDEX, key);
}

void document_register(lua_State *L) {
    register_meta(L, META_OBJECT, "object", object_index);
    register_meta(L, META_LIST, "list", list_index);
    lua_newtable(L);
    lua_rawseti(L, LUA_REGISTRYINDEX, META_MARK);
}

/* --- functions ------------------------------------------------------------------------- */

/* The member or element `part` of a node, or NULL. */
static const struct json *node_part(const struct json *node, struct str part) {
    if (node->kind == JSON_OBJECT)
        return json_member(node, part);
    int64_t i;
    if (node->kind == JSON_ARRAY && str_i64(part, &i))
        return list_item(node, i);
    return NULL;
}

/* opt(value, "a.b" [, default]): what is there, or default (nil). */
static int map_opt(lua_State *L) {
    if (lua_isnil(L, 1)) {
        lua_settop(L, 3);
        return 1;
    }
    struct ref *ref = document_at(L, 1);
    luaL_argexpected(L, ref, 1, "object, list or nil");
    struct str rest;
    rest.ptr = luaL_checklstring(L, 2, &rest.len);
    const struct json *node = ref->node;
    while (rest.ptr && node) {
        struct str part = str_cut(&rest, '.');
        node = node_part(node, part);
    }
    if (!node || node->kind == JSON_NULL) {
        if (node && sandbox_of(L)->reads)
            log_read(sandbox_of(L), node);
        lua_settop(L, 3);
        return 1;
    }
    document_push(L, node);
    return 1;
}

/* get(value, "name"): the member of exactly this name, nil where it is missing or null. */
static int map_get(lua_State *L) {
    if (lua_isnil(L, 1))
        return 1;
    struct ref *ref = document_at(L, 1);
    luaL_argexpected(L, ref && ref->node->kind == JSON_OBJECT, 1, "object or nil");
    struct str name;
    name.ptr = luaL_checklstring(L, 2, &name.len);
    const struct json *value = json_member(ref->node, name);
    if (value)
        document_push(L, value);
    else
        lua_pushnil(L);
    return 1;
}

/* list{…}: the same table, written as a JSON list even when it is empty. */
static int map_list(lua_State *L) {
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, META_MARK);
    lua_setmetatable(L, 1);
    return 1;
}

/* Pushes element i (from 1) of the list at index 1: a ref or a table. For refs `at` is a
 * pointer kept by the caller, so that walking a list is one step an element. */
static void push_element(lua_State *L, const struct json **at, lua_Integer i) {
    if (*at) {
        document_push(L, *at);
        *at = json_next(*at);
    } else {
        lua_rawgeti(L, 1, i);
    }
}

/* Checks that index 1 is a list (or nil: none); answers its length. */
static lua_Integer list_length(lua_State *L, const struct json **first) {
    *first = NULL;
    if (lua_isnoneornil(L, 1))
        return 0;
    struct ref *ref = document_at(L, 1);
    if (ref) {
        luaL_argexpected(L, ref->node->kind == JSON_ARRAY, 1, "list");
        *first = json_first(ref->node);
        return ref->node->count;
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    return (lua_Integer)lua_rawlen(L, 1);
}

/* each(list, fn): a list of what fn(element, position) answers, nil left out. */
static int map_each(lua_State *L) {
    const struct json *at;
    lua_Integer n = list_length(L, &at), made = 0;
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    lua_createtable(L, n < 1024 ? (int)n : 1024, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, META_MARK);
    lua_setmetatable(L, 3);
    for (lua_Integer i = 1; i <= n; i++) {
        sandbox_charge(L, 4);
        lua_pushvalue(L, 2);
        push_element(L, &at, i);
        lua_pushinteger(L, i);
        lua_call(L, 2, 1);
        if (lua_isnil(L, -1))
            lua_pop(L, 1);
        else
            lua_rawseti(L, 3, ++made);
    }
    return 1;
}

/* sum(list, fn): the sum of the integers that fn answers, exact. */
static int map_sum(lua_State *L) {
    const struct json *at;
    lua_Integer n = list_length(L, &at);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    int64_t total = 0;
    for (lua_Integer i = 1; i <= n; i++) {
        sandbox_charge(L, 4);
        lua_pushvalue(L, 2);
        push_element(L, &at, i);
        lua_pushinteger(L, i);
        lua_call(L, 2, 1);
        if (!lua_isnil(L, -1)) {
            if (!lua_isinteger(L, -1))
                return luaL_error(L, "sum() adds integers, got %s", luaL_typename(L, -1));
            if (__builtin_add_overflow(total, lua_tointeger(L, -1), &total))
                return luaL_error(L, "the sum does not fit 64 bits");
        }
        lua_pop(L, 1);
    }
    lua_pushinteger(L, total);
    return 1;
}

/* Upvalues: the next element, how many are left, the position before it. */
static int ipairs_ref_next(lua_State *L) {
    const struct json *at = lua_touserdata(L, lua_upvalueindex(1));
    lua_Integer left = lua_tointeger(L, lua_upvalueindex(2));
    lua_Integer i = lua_tointeger(L, lua_upvalueindex(3)) + 1;
    sandbox_charge(L, 2);
    if (left == 0)
        return 0;
    lua_pushlightuserdata(L, (void *)json_next(at));
    lua_replace(L, lua_upvalueindex(1));
    lua_pushinteger(L, left - 1);
    lua_replace(L, lua_upvalueindex(2));
    lua_pushinteger(L, i);
    lua_pushvalue(L, -1);
    lua_replace(L, lua_upvalueindex(3));
    document_push(L, at);
    return 2;
}

static int ipairs_next(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer i = luaL_checkinteger(L, 2) + 1;
    sandbox_charge(L, 2);
    lua_pushinteger(L, i);
    return lua_rawgeti(L, 1, i) == LUA_TNIL ? 0 : 2;
}

static int map_ipairs(lua_State *L) {
    struct ref *ref = document_at(L, 1);
    if (ref) {
        luaL_argexpected(L, ref->node->kind == JSON_ARRAY, 1, "list");
        lua_pushlightuserdata(L, (void *)json_first(ref->node));
        lua_pushinteger(L, ref->node->count);
        lua_pushinteger(L, 0);
        lua_pushcclosure(L, ipairs_ref_next, 3);
        return 1;
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_pushcfunction(L, ipairs_next);
    lua_pushvalue(L, 1);
    lua_pushinteger(L, 0);
    return 3;
}

/* A key of a table: integers first, then texts by byte. */
struct sort_key {
    lua_Integer number;
    struct str text; /* absent: number */
    const struct json *value; /* of a ref */
};

static int sort_key_cmp(const void *pa, const void *pb) {
    const struct sort_key *a = pa, *b = pb;
    if (!a->text.ptr || !b->text.ptr) {
        if (a->text.ptr || b->text.ptr)
            return a->text.ptr ? 1 : -1;
        return (a->number > b->number) - (a->number < b->number);
    }
    size_t n = a->text.len < b->text.len ? a->text.len : b->text.len;
    int cmp = memcmp(a->text.ptr, b->text.ptr, n);
    return cmp ? cmp : (a->text.len > b->text.len) - (a->text.len < b->text.len);
}

static uint32_t table_count(lua_State *L, int index) {
    uint32_t n = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
        n++;
    sandbox_charge(L, n);
    return n;
}

static void table_keys(lua_State *L, int index, struct sort_key *keys) {
    uint32_t i = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        keys[i] = (struct sort_key){0};
        if (lua_isinteger(L, -2))
            keys[i].number = lua_tointeger(L, -2);
        else if (lua_type(L, -2) == LUA_TSTRING)
            keys[i].text.ptr = lua_tolstring(L, -2, &keys[i].text.len);
        else
            luaL_error(L, "a table with keys other than texts and integers has no order");
        i++;
    }
}

static int pairs_next(lua_State *L) {
    struct sort_key *keys = lua_touserdata(L, lua_upvalueindex(2));
    uint32_t count = (uint32_t)lua_tointeger(L, lua_upvalueindex(3));
    uint32_t i = (uint32_t)lua_tointeger(L, lua_upvalueindex(4));
    for (; i < count; i++) {
        sandbox_charge(L, 2);
        lua_settop(L, 0);
        if (keys[i].text.ptr)
            lua_pushlstring(L, keys[i].text.ptr, keys[i].text.len);
        else
            lua_pushinteger(L, keys[i].number);
        if (keys[i].value) {
            document_push(L, keys[i].value);
        } else {
            lua_pushvalue(L, 1);
            lua_rawget(L, lua_upvalueindex(1));
        }
        if (keys[i].value || !lua_isnil(L, 2))
            break; /* what was taken out meanwhile is passed over */
    }
    lua_pushinteger(L, (lua_Integer)i + 1);
    lua_replace(L, lua_upvalueindex(4));
    return i < count ? 2 : 0;
}

/* pairs(x): in the order of sorted keys, whatever the table's history. */
static int map_pairs(lua_State *L) {
    struct ref *ref = document_at(L, 1);
    if (!ref)
        luaL_checktype(L, 1, LUA_TTABLE);
    if (ref && ref->node->kind == JSON_ARRAY)
        return map_ipairs(L);
    lua_settop(L, 1);
    uint32_t count = ref ? ref->node->count : table_count(L, 1);
    struct sort_key *keys = lua_newuserdatauv(L, (count + 1) * sizeof *keys, 0);
    if (ref) {
        const struct json *at = json_first(ref->node);
        for (uint32_t i = 0; i < count; i++) {
            keys[i] = (struct sort_key){.text = at->text, .value = json_next(at)};
            at = json_next(json_next(at));
        }
    } else {
        table_keys(L, 1, keys);
    }
    sandbox_charge(L, (int64_t)count * 4);
    qsort(keys, count, sizeof *keys, sort_key_cmp);
    lua_pushinteger(L, count);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, pairs_next, 4);
    return 1;
}

/* type(x): as Lua's, "object" and "list" for parts of the document. */
static int map_type(lua_State *L) {
    luaL_checkany(L, 1);
    struct ref *ref = document_at(L, 1);
    if (ref)
        lua_pushstring(L, ref->node->kind == JSON_OBJECT ? "object" : "list");
    else
        lua_pushstring(L, luaL_typename(L, 1));
    return 1;
}

const luaL_Reg document_functions[] = {
    {"opt", map_opt},     {"get", map_get},         {"list", map_list},   {"each", map_each}, {"sum", map_sum},
    {"ipairs", map_ipairs}, {"pairs", map_pairs}, {"type", map_type}, {NULL, NULL},
};
