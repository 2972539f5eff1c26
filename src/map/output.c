/* output: what a mapping answered, as JSON nodes. Members sorted by name (bytes); a table with
 * elements 1 to n and nothing else is a list, so is one made by list() or each(); any other is
 * an object and its keys must be texts. Integers and texts, booleans and parts of the document
 * itself may be in it; fractions may not: they are texts. */
#include "map/map_priv.h"

#include <stdlib.h>

#include "base/encode.h"
#include "base/mem.h"

#define NODES_MAX (UINT32_C(1) << 30)
#define KEYS_INLINE 48
#define KEYS_SMALL 24u /* with their values on the stack */
/* Less than an arena of a worker holds: an answer too large is the mapping's fault, memory that is out
 * would be tried again for ever. */
#define OUT_BYTES_MAX ((size_t)32 << 20)

static void write_value(lua_State *L, struct sandbox *sb, uint32_t depth);

/* The answer may take half of the budget of memory, apart from the run itself: a few tables can say a
 * thing very often. */
static size_t out_bytes_max(const struct sandbox *sb) {
    size_t half = (size_t)sb->limits.bytes_max / 2;
    return half < OUT_BYTES_MAX ? half : OUT_BYTES_MAX;
}

static void out_charge(lua_State *L, struct sandbox *sb, size_t bytes) {
    sb->out_bytes += bytes;
    if (sb->out_bytes > out_bytes_max(sb))
        luaL_error(L, "%s: the answer is over the budget of %I bytes",
                   lua_pushlstring(L, sb->source->name.ptr, sb->source->name.len),
                   (LUAI_UACINT)out_bytes_max(sb));
}

/* A new node; its index. */
static uint32_t add_node(lua_State *L, struct sandbox *sb, enum json_kind kind, struct str text,
                         uint32_t count) {
    out_charge(L, sb, sizeof *sb->nodes);
    if (sb->node_count == sb->node_cap) {
        uint32_t cap = sb->node_cap ? sb->node_cap * 2 : 512;
        if (cap > NODES_MAX)
            luaL_error(L, "the answer has too many members");
        void *more = mem_resize(sb->nodes, cap * sizeof *sb->nodes);
        if (!more) {
            sb->nomem = true;
            luaL_error(L, "no memory for the answer");
        }
        sb->nodes = more;
        sb->node_cap = cap;
    }
    sb->nodes[sb->node_count] = (struct json){text, count, 1, (uint8_t)kind};
    return sb->node_count++;
}

/* JSON Pointer of what is being written. */
static struct str path_text(struct sandbox *sb) {
    struct buf out;
    buf_init(&out, 4096);
    for (uint32_t i = 0; i < sb->path_len; i++) {
        if (sb->path[i].name)
            pointer_part(&out, str_of(sb->path[i].name, sb->path[i].len));
        else
            buf_printf(&out, "/%u", sb->path[i].index);
    }
    struct str s = buf_ok(&out) ? arena_str(sb->arena, buf_str(&out)) : STR_NONE;
    buf_free(&out);
    return s;
}

/* `what` with the place in the answer behind it. */
static _Noreturn void refuse(lua_State *L, const char *what) {
    struct sandbox *sb = sandbox_of(L);
    struct str at = path_text(sb);
    if (at.len) {
        sb->problem->target = at;
        luaL_error(L, "%s: the answer %s (at %s)",
                   lua_pushlstring(L, sb->source->name.ptr, sb->source->name.len), what,
                   lua_pushlstring(L, at.ptr, at.len < 120 ? at.len : 120));
    }
    luaL_error(L, "%s: the answer %s",
               lua_pushlstring(L, sb->source->name.ptr, sb->source->name.len), what);
    abort(); /* luaL_error does not return */
}

/* Strings of Lua are bytes; those of JSON are UTF-8. */
static struct str keep_text(lua_State *L, struct sandbox *sb, const char *text, size_t len) {
    out_charge(L, sb, len);
    if (!utf8_valid(str_of(text, len)))
        refuse(L, "holds a text that is not UTF-8");
    char *copy = arena_bytes(sb->arena, len ? len : 1);
    if (!copy) {
        sb->nomem = true;
        luaL_error(L, "no memory for the answer");
    }
    memcpy(copy, text, len);
    return str_of(copy, len);
}

static void write_integer(lua_State *L, struct sandbox *sb, lua_Integer value) {
    char digits[24];
    size_t at = sizeof digits;
    uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
    do
        digits[--at] = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0)
        digits[--at] = '-';
    add_node(L, sb, JSON_NUMBER, keep_text(L, sb, digits + at, sizeof digits - at), 0);
}

/* A part of the document, unchanged. Its texts stay where they are. */
static void write_ref(lua_State *L, struct sandbox *sb, const struct json *node) {
    sandbox_charge(L, node->next);
    for (uint32_t i = 0; i < node->next; i++) {
        uint32_t at = add_node(L, sb, node[i].kind, node[i].text, node[i].count);
        sb->nodes[at].next = node[i].next;
    }
}

struct member_key {
    const char *name;
    size_t len;
    int index; /* of the key on the stack */
};

static int member_key_cmp(const void *pa, const void *pb) {
    const struct member_key *a = pa, *b = pb;
    int cmp = memcmp(a->name, b->name, a->len < b->len ? a->len : b->len);
    return cmp ? cmp : (a->len > b->len) - (a->len < b->len);
}

/* Most objects are small: no calls, no memory. */
static void sort_keys(struct member_key *keys, uint32_t n) {
    if (n > KEYS_INLINE) {
        qsort(keys, n, sizeof *keys, member_key_cmp);
        return;
    }
    for (uint32_t i = 1; i < n; i++) {
        struct member_key key = keys[i];
        uint32_t k = i;
        for (; k > 0 && member_key_cmp(&keys[k - 1], &key) > 0; k--)
            keys[k] = keys[k - 1];
        keys[k] = key;
    }
}

/* Writes the members, whose keys (or, `values`, whose values) stand on the stack at their index. */
static void write_members(lua_State *L, struct sandbox *sb, int table, struct member_key *keys, uint32_t n,
                          bool values, uint32_t depth) {
    sort_keys(keys, n);
    uint32_t object = add_node(L, sb, JSON_OBJECT, STR_NONE, n);
    for (uint32_t i = 0; i < n; i++) {
        sb->path[depth] = (struct path_part){.name = keys[i].name, .len = keys[i].len};
        sb->path_len = depth + 1;
        add_node(L, sb, JSON_STRING, keep_text(L, sb, keys[i].name, keys[i].len), 0);
        lua_pushvalue(L, keys[i].index);
        if (!values)
            lua_rawget(L, table);
        write_value(L, sb, depth + 1);
    }
    sb->path_len = depth;
    sb->nodes[object].next = sb->node_count - object;
}

/* Of the key at stack index `key`; what its member is read from stands at `index`. */
static void key_note(lua_State *L, int key, int index, struct member_key *out) {
    if (lua_type(L, key) != LUA_TSTRING)
        refuse(L, "has a table that is neither a list without gaps nor an object");
    out->name = lua_tolstring(L, key, &out->len);
    out->index = index;
}

/* The object at stack index `table` with n members. */
static void write_object(lua_State *L, struct sandbox *sb, int table, uint32_t n, uint32_t depth) {
    struct member_key few[KEYS_INLINE], *keys = few;
    if (n > LUAI_MAXSTACK / 2)
        refuse(L, "has an object with too many members");
    luaL_checkstack(L, (int)n + 8, "too many members");
    if (n > KEYS_INLINE)
        keys = lua_newuserdatauv(L, n * sizeof *keys, 0);
    uint32_t i = 0;
    lua_pushnil(L);
    while (lua_next(L, table)) {
        lua_pop(L, 1);
        key_note(L, -1, lua_gettop(L), &keys[i++]);
        lua_pushvalue(L, -1); /* for lua_next; the other copy stays */
    }
    write_members(L, sb, table, keys, n, false, depth);
}

/* The same where it has few members, in one walk; false: it has more, and nothing is written. */
static bool write_small(lua_State *L, struct sandbox *sb, int table, uint32_t depth) {
    struct member_key keys[KEYS_SMALL];
    uint32_t n = 0;
    luaL_checkstack(L, 2 * KEYS_SMALL + 8, "nested too deep");
    lua_pushnil(L);
    while (lua_next(L, table)) {
        if (n == KEYS_SMALL) {
            lua_settop(L, table);
            return false;
        }
        key_note(L, -2, lua_gettop(L), &keys[n++]);
        lua_pushvalue(L, -2); /* for lua_next; key and value stay */
    }
    sandbox_charge(L, 2 + (int64_t)n * 2);
    write_members(L, sb, table, keys, n, true, depth);
    return true;
}

static void write_list(lua_State *L, struct sandbox *sb, int table, lua_Unsigned n,
                       uint32_t depth) {
    uint32_t list = add_node(L, sb, JSON_ARRAY, STR_NONE, (uint32_t)n);
    for (lua_Unsigned i = 1; i <= n; i++) {
        sb->path[depth] = (struct path_part){.index = (uint32_t)i - 1};
        sb->path_len = depth + 1;
        if (lua_rawgeti(L, table, (lua_Integer)i) == LUA_TNIL)
            refuse(L, "has a list with a gap");
        write_value(L, sb, depth + 1);
    }
    sb->path_len = depth;
    sb->nodes[list].next = sb->node_count - list;
}

static bool is_marked(lua_State *L, int index) {
    if (!lua_getmetatable(L, index))
        return false;
    lua_rawgeti(L, LUA_REGISTRYINDEX, META_MARK);
    bool is = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return is;
}

static void write_table(lua_State *L, struct sandbox *sb, uint32_t depth) {
    int table = lua_gettop(L);
    lua_Unsigned n = lua_rawlen(L, table);
    uint32_t entries = 0;
    bool list = n > 0 || is_marked(L, table);
    if (!list && write_small(L, sb, table, depth)) {
        lua_settop(L, table);
        return;
    }
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
        entries++;
    sandbox_charge(L, 2 + (int64_t)entries * 2);
    if (list) {
        if (n != entries)
            refuse(L, "has a table that is neither a list without gaps nor an object");
        write_list(L, sb, table, n, depth);
    } else {
        write_object(L, sb, table, entries, depth);
    }
    lua_settop(L, table);
}

/* Writes the value on top of the stack and takes it away. */
static void write_value(lua_State *L, struct sandbox *sb, uint32_t depth) {
    sb->path_len = depth;
    if (depth > JSON_DEPTH_MAX - 1)
        refuse(L, "is nested too deep");
    size_t len;
    const char *text;
    struct ref *ref;
    luaL_checkstack(L, 8, "nested too deep");
    switch (lua_type(L, -1)) {
    case LUA_TNIL: add_node(L, sb, JSON_NULL, STR_NONE, 0); break;
    case LUA_TBOOLEAN:
        add_node(L, sb, JSON_BOOL, STR_NONE, (uint32_t)lua_toboolean(L, -1));
        break;
    case LUA_TNUMBER:
        if (!lua_isinteger(L, -1))
            refuse(L, "has a fraction; numbers with decimals are texts, see decimal()");
        write_integer(L, sb, lua_tointeger(L, -1));
        break;
    case LUA_TSTRING:
        text = lua_tolstring(L, -1, &len);
        add_node(L, sb, JSON_STRING, keep_text(L, sb, text, len), 0);
        break;
    case LUA_TUSERDATA:
        ref = lua_touserdata(L, -1);
        write_ref(L, sb, ref->node);
        break;
    case LUA_TTABLE: write_table(L, sb, depth); break;
    default: refuse(L, "has a value that is no data (a function?)");
    }
    lua_pop(L, 1);
}

void output_write(lua_State *L, struct sandbox *sb) {
    if (lua_isnil(L, -1))
        refuse(L, "is nil; a mapping must return a table");
    write_value(L, sb, 0);
}
