/* library: the parts of Lua's own library a mapping has, made safe: what can spend time in C
 * pays for it from the budget, nothing tells an address or an order of hashing, nothing can be
 * written to. Left out on purpose: anything that loads, waits, catches errors, reaches the
 * system, or changes metatables. */
#include "map/map_priv.h"

#include <lualib.h>

#define INTEGER_TEXT_MAX 200

static const char *key_text(lua_State *L, int index) {
    return lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : "?";
}

static int sealed_write(lua_State *L) {
    return luaL_error(L, "'%s' can not be set here: use a local variable", key_text(L, 2));
}

static int sealed_missing(lua_State *L) {
    return luaL_error(L, "there is no '%s' in a mapping", key_text(L, 2));
}

void library_seal(lua_State *L) {
    lua_newtable(L); /* of the table itself: what is not in it */
    lua_pushcfunction(L, sealed_missing);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_newtable(L); /* what the mapping sees */
    lua_newtable(L);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, sealed_write);
    lua_setfield(L, -2, "__newindex");
    lua_setmetatable(L, -2);
    lua_replace(L, -2);
}

/* --- the basics ------------------------------------------------------------------------ */

static int lib_error(lua_State *L) {
    lua_settop(L, 1);
    if (lua_type(L, 1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_pushvalue(L, 1);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int lib_assert(lua_State *L) {
    luaL_checkany(L, 1);
    if (lua_toboolean(L, 1))
        return lua_gettop(L);
    return luaL_error(L, "%s", luaL_optstring(L, 2, "assertion failed"));
}

static int lib_select(lua_State *L) {
    int n = lua_gettop(L);
    if (lua_type(L, 1) == LUA_TSTRING && *lua_tostring(L, 1) == '#') {
        lua_pushinteger(L, n - 1);
        return 1;
    }
    lua_Integer i = luaL_checkinteger(L, 1);
    luaL_argcheck(L, i >= 1, 1, "out of range");
    return i >= n ? 0 : n - (int)i;
}

/* tostring(x): texts, integers, booleans and nil; nothing else has one true text. */
static int lib_tostring(lua_State *L) {
    luaL_checkany(L, 1);
    switch (lua_type(L, 1)) {
    case LUA_TNIL: lua_pushliteral(L, "nil"); return 1;
    case LUA_TBOOLEAN: lua_pushstring(L, lua_toboolean(L, 1) ? "true" : "false"); return 1;
    case LUA_TSTRING: lua_settop(L, 1); return 1;
    case LUA_TNUMBER:
        if (lua_isinteger(L, 1)) {
            lua_settop(L, 1);
            lua_tostring(L, 1);
            return 1;
        }
        return luaL_error(L, "tostring: a fraction; numbers with decimals are texts, see decimal()");
    default: return luaL_error(L, "tostring: a %s has no text", luaL_typename(L, 1));
    }
}

/* tonumber(x): an integer, or nil where the text is none. */
static int lib_tonumber(lua_State *L) {
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    if (lua_type(L, 1) == LUA_TSTRING) {
        size_t len;
        const char *text = lua_tolstring(L, 1, &len);
        /* a longer text is no integer, and would take its time */
        if (len > INTEGER_TEXT_MAX || !lua_stringtonumber(L, text))
            lua_pushnil(L);
    }
    if (!lua_isinteger(L, -1))
        lua_pushnil(L);
    return 1;
}

/* --- table ----------------------------------------------------------------------------- */

/* Upvalue 1: the stock function. Charges by the length of the list and the range asked for. */
static int lib_table(lua_State *L) {
    struct sandbox *sb = sandbox_of(L);
    struct ref *ref = document_at(L, 1);
    int64_t n = ref ? (int64_t)ref->node->count
                    : lua_type(L, 1) == LUA_TTABLE ? (int64_t)lua_rawlen(L, 1) : 0;
    sandbox_charge(L, 4 + n * (1 + (int64_t)(sb->text_max / 4096)));
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static int lib_sort(lua_State *L) {
    struct sandbox *sb = sandbox_of(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    sandbox_charge(L, (int64_t)lua_rawlen(L, 1) * 32 * (1 + (int64_t)(sb->text_max / 4096)));
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static int lib_unpack(lua_State *L) {
    lua_Integer from = luaL_optinteger(L, 2, 1), to = 0;
    struct ref *ref = document_at(L, 1);
    if (!ref)
        luaL_checktype(L, 1, LUA_TTABLE);
    to = luaL_optinteger(L, 3, ref ? ref->node->count : (lua_Integer)lua_rawlen(L, 1));
    if (from < 1 || to > 10000)
        return luaL_error(L, "unpack: from 1 to 10000 at most");
    sandbox_charge(L, to);
    lua_settop(L, 1);
    for (lua_Integer i = from; i <= to; i++) {
        luaL_checkstack(L, 2, "too many values");
        lua_geti(L, 1, i);
    }
    return lua_gettop(L) - 1;
}

/* Copies functions of the library table on top of the stack into a new one above it. */
static void pick(lua_State *L, const char *const *names, lua_CFunction wrap) {
    lua_newtable(L);
    for (; *names; names++) {
        lua_getfield(L, -2, *names);
        if (wrap)
            lua_pushcclosure(L, wrap, 1);
        lua_setfield(L, -2, *names);
    }
    lua_replace(L, -2);
}

static void open_library(lua_State *L, lua_CFunction open) {
    lua_pushcfunction(L, open);
    lua_call(L, 0, 1);
}

void library_register(lua_State *L, int env) {
    static const luaL_Reg basics[] = {
        {"error", lib_error},       {"assert", lib_assert},     {"select", lib_select},
        {"tostring", lib_tostring}, {"tonumber", lib_tonumber}, {NULL, NULL},
    };
    static const char *const table_names[] = {"insert", "remove", "concat", NULL};
    static const char *const math_names[] = {"abs",   "max",  "min",       "floor",      "ceil",
                                             "tointeger", "maxinteger", "mininteger", "ult", NULL};
    for (const luaL_Reg *f = basics; f->name; f++) {
        lua_pushcfunction(L, f->func);
        lua_setfield(L, env, f->name);
    }
    open_library(L, luaopen_table);
    lua_getfield(L, -1, "sort");
    lua_pushcclosure(L, lib_sort, 1);
    lua_insert(L, -2);
    pick(L, table_names, lib_table);
    lua_insert(L, -2);
    lua_setfield(L, -2, "sort");
    lua_pushcfunction(L, lib_unpack);
    lua_setfield(L, -2, "unpack");
    library_seal(L);
    lua_setfield(L, env, "table");
    open_library(L, luaopen_math);
    pick(L, math_names, NULL);
    library_seal(L);
    lua_setfield(L, env, "math");
}
