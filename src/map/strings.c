/* strings: the string library of a mapping. The stock functions where they are linear, our own
 * matcher (map/pattern.h) behind find, match, gmatch and gsub, bounded rep, and format without
 * what would tell an address. Texts have methods (s:lower()) but no arithmetic: "1.10" + 1 is
 * an error and not a float. */
#include "map/map_priv.h"

#include <lualib.h>

#include "map/pattern.h"

#define FORMAT_STEPS 50 /* of a conversion: a number with 99 decimals takes its time */
#define REP_BYTES_MAX ((size_t)1 << 20)

/* Upvalue 1: the stock function; charges by the length of the text. */
static int str_linear(lua_State *L) {
    size_t len = 0;
    if (lua_type(L, 1) == LUA_TSTRING)
        lua_tolstring(L, 1, &len);
    sandbox_charge(L, 1 + (int64_t)(len / 16));
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static int str_format(lua_State *L) {
    size_t len;
    const char *fmt = luaL_checklstring(L, 1, &len);
    int64_t conversions = 0;
    for (size_t i = 0; i + 1 < len; i++) {
        if (fmt[i] != '%')
            continue;
        i++;
        conversions++;
        while (i < len && strchr("-+ #0123456789.", fmt[i]) && fmt[i])
            i++;
        if (i < len && fmt[i] == 'p')
            return luaL_error(L, "format: %%p is not available");
    }
    for (int i = 2; i <= lua_gettop(L); i++) {
        int type = lua_type(L, i);
        if (type != LUA_TSTRING && type != LUA_TNUMBER && type != LUA_TBOOLEAN && type != LUA_TNIL)
            return luaL_error(L, "format: a %s has no text", luaL_typename(L, i));
    }
    sandbox_charge(L, 4 + (int64_t)(len / 16) + conversions * FORMAT_STEPS);
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static int str_rep(lua_State *L) {
    size_t len, sep_len;
    const char *s = luaL_checklstring(L, 1, &len);
    lua_Integer n = luaL_checkinteger(L, 2);
    const char *sep = luaL_optlstring(L, 3, "", &sep_len);
    if (n <= 0 || len + sep_len == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    if ((size_t)n > REP_BYTES_MAX / (len + sep_len))
        return luaL_error(L, "rep: more than %d bytes", (int)REP_BYTES_MAX);
    sandbox_charge(L, n);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (lua_Integer i = 0; i < n; i++) {
        luaL_addlstring(&b, s, len);
        if (i + 1 < n)
            luaL_addlstring(&b, sep, sep_len);
    }
    luaL_pushresult(&b);
    return 1;
}

/* --- patterns -------------------------------------------------------------------------- */

/* One match attempt at `at`; raises an error where the pattern is wrong or too dear. */
static bool attempt(lua_State *L, struct pattern *p, const char *at, const char **end) {
    switch (pattern_match(p, at, end)) {
    case PATTERN_FOUND: return true;
    case PATTERN_NONE: return false;
    case PATTERN_BAD: luaL_error(L, "malformed pattern: %s", p->fault); return false;
    default: sandbox_charge(L, sandbox_of(L)->steps + 1); return false;
    }
}

/* The first match from `at` on (at `at` alone where anchored), or false. */
static bool search(lua_State *L, struct pattern *p, bool anchored, const char **at,
                   const char **end) {
    const char *last = p->subject.ptr + p->subject.len;
    for (; *at <= last; (*at)++) {
        if (attempt(L, p, *at, end))
            return true;
        if (anchored)
            return false;
    }
    return false;
}

static void push_capture(lua_State *L, const struct pattern *p, uint32_t i, const char *start,
                         const char *end) {
    if (i >= p->level) {
        if (i != 0)
            luaL_error(L, "there is no capture %%%d", (int)i + 1);
        lua_pushlstring(L, start, (size_t)(end - start));
    } else if (p->captures[i].len == PATTERN_CAPTURE_POSITION) {
        lua_pushinteger(L, p->captures[i].start - p->subject.ptr + 1);
    } else {
        lua_pushlstring(L, p->captures[i].start, (size_t)p->captures[i].len);
    }
}

/* All captures; the whole match where there are none and `whole`. */
static int push_captures(lua_State *L, const struct pattern *p, const char *start, const char *end,
                         bool whole) {
    uint32_t n = p->level == 0 && whole ? 1 : p->level;
    luaL_checkstack(L, (int)n, "too many captures");
    for (uint32_t i = 0; i < n; i++)
        push_capture(L, p, i, start, end);
    return (int)n;
}

/* Subject and pattern from arguments 1 and 2; *anchored where the pattern starts with '^'. */
static void pattern_args(lua_State *L, int subject, int text, struct pattern *p, bool *anchored) {
    struct str s, t;
    s.ptr = luaL_checklstring(L, subject, &s.len);
    t.ptr = luaL_checklstring(L, text, &t.len);
    *anchored = t.len > 0 && t.ptr[0] == '^';
    if (*anchored)
        t = str_of(t.ptr + 1, t.len - 1);
    pattern_init(p, s, t, &sandbox_of(L)->steps);
}

/* Position argument (from 1, negative from the end) as an offset; past the end: len + 1. */
static size_t position_arg(lua_State *L, int index, size_t len) {
    lua_Integer at = luaL_optinteger(L, index, 1);
    if (at > 0)
        return (lua_Unsigned)at - 1 > len ? len + 1 : (size_t)at - 1;
    if (at == 0 || at < -(lua_Integer)len)
        return 0;
    return len + (size_t)at;
}

static int find_plain(lua_State *L, const struct pattern *p, size_t from, struct str what) {
    sandbox_charge(L, (int64_t)(p->subject.len / 16));
    const char *s = p->subject.ptr;
    const char *hit = what.len ? memmem(s + from, p->subject.len - from, what.ptr, what.len)
                               : s + from;
    if (!hit)
        return 0;
    lua_pushinteger(L, hit - s + 1);
    lua_pushinteger(L, hit - s + (lua_Integer)what.len);
    return 2;
}

static int find_or_match(lua_State *L, bool find) {
    struct pattern p;
    bool anchored;
    pattern_args(L, 1, 2, &p, &anchored);
    size_t from = position_arg(L, 3, p.subject.len);
    sandbox_charge(L, 1);
    if (from > p.subject.len) {
        lua_pushnil(L);
        return 1;
    }
    if (find && lua_toboolean(L, 4)) {
        struct str what;
        what.ptr = lua_tolstring(L, 2, &what.len);
        int n = find_plain(L, &p, from, what);
        if (n == 0)
            lua_pushnil(L);
        return n ? n : 1;
    }
    const char *at = p.subject.ptr + from, *end;
    if (!search(L, &p, anchored, &at, &end)) {
        lua_pushnil(L);
        return 1;
    }
    if (!find)
        return push_captures(L, &p, at, end, true);
    lua_pushinteger(L, at - p.subject.ptr + 1);
    lua_pushinteger(L, end - p.subject.ptr);
    return 2 + push_captures(L, &p, at, end, false);
}

static int str_find(lua_State *L) { return find_or_match(L, true); }
static int str_match(lua_State *L) { return find_or_match(L, false); }

/* Upvalues: subject, pattern, where to go on, end of the last match (-1: none). */
static int gmatch_next(lua_State *L) {
    struct pattern p;
    bool anchored;
    pattern_args(L, lua_upvalueindex(1), lua_upvalueindex(2), &p, &anchored);
    if (anchored) /* in gmatch '^' is no anchor (Lua manual): match it as a character */
        p.text = str_of(p.text.ptr - 1, p.text.len + 1);
    const char *last = p.subject.ptr + p.subject.len, *end;
    const char *at = p.subject.ptr + lua_tointeger(L, lua_upvalueindex(3));
    lua_Integer before = lua_tointeger(L, lua_upvalueindex(4));
    for (; at <= last; at++) {
        if (!attempt(L, &p, at, &end) || end - p.subject.ptr == before)
            continue;
        lua_pushinteger(L, end - p.subject.ptr);
        lua_pushvalue(L, -1);
        lua_replace(L, lua_upvalueindex(3));
        lua_replace(L, lua_upvalueindex(4));
        return push_captures(L, &p, at, end, true);
    }
    return 0;
}

static int str_gmatch(lua_State *L) {
    luaL_checkstring(L, 1);
    luaL_checkstring(L, 2);
    lua_settop(L, 2);
    lua_pushinteger(L, 0);
    lua_pushinteger(L, -1);
    lua_pushcclosure(L, gmatch_next, 4);
    return 1;
}

/* Adds the replacement text with its %0 to %9 and %%. */
static void add_text(lua_State *L, luaL_Buffer *b, const struct pattern *p, const char *start,
                     const char *end) {
    size_t len;
    const char *text = lua_tolstring(L, 3, &len);
    for (size_t i = 0; i < len; i++) {
        if (text[i] != '%') {
            luaL_addchar(b, text[i]);
            continue;
        }
        char c = ++i < len ? text[i] : 0;
        if (c == '%') {
            luaL_addchar(b, '%');
        } else if (c == '0') {
            luaL_addlstring(b, start, (size_t)(end - start));
        } else if (c >= '1' && c <= '9') {
            push_capture(L, p, (uint32_t)(c - '1'), start, end);
            luaL_tolstring(L, -1, NULL); /* a position becomes a text */
            lua_remove(L, -2);
            luaL_addvalue(b);
        } else {
            luaL_error(L, "gsub: '%%' in the replacement needs a digit or '%%' behind it");
        }
    }
}

/* Adds what stands for the match: text, table look-up or answer of a function. */
static void add_replacement(lua_State *L, luaL_Buffer *b, const struct pattern *p,
                            const char *start, const char *end) {
    switch (lua_type(L, 3)) {
    case LUA_TFUNCTION:
        lua_pushvalue(L, 3);
        lua_call(L, push_captures(L, p, start, end, true), 1);
        break;
    case LUA_TTABLE:
        push_capture(L, p, 0, start, end);
        lua_rawget(L, 3);
        break;
    default: add_text(L, b, p, start, end); return;
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        luaL_addlstring(b, start, (size_t)(end - start));
    } else if (lua_type(L, -1) == LUA_TSTRING || lua_isinteger(L, -1)) {
        luaL_addvalue(b);
    } else {
        luaL_error(L, "gsub: a %s can not stand for the match", luaL_typename(L, -1));
    }
}

static int str_gsub(lua_State *L) {
    struct pattern p;
    bool anchored;
    pattern_args(L, 1, 2, &p, &anchored);
    int type = lua_type(L, 3);
    luaL_argexpected(L, type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION ||
                     type == LUA_TTABLE, 3, "text, function or table");
    lua_Integer max = luaL_optinteger(L, 4, (lua_Integer)p.subject.len + 1), n = 0;
    const char *at = p.subject.ptr, *last = at + p.subject.len, *end, *before = NULL;
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    while (n < max) {
        sandbox_charge(L, 2);
        if (attempt(L, &p, at, &end) && end != before) {
            n++;
            add_replacement(L, &b, &p, at, end);
            at = before = end;
        } else if (at < last) {
            luaL_addchar(&b, *at++);
        } else {
            break;
        }
        if (anchored)
            break;
    }
    luaL_addlstring(&b, at, (size_t)(last - at));
    luaL_pushresult(&b);
    lua_pushinteger(L, n);
    return 2;
}

/* Trims white space at both ends. */
static int str_trim_text(lua_State *L) {
    size_t len, from = 0;
    const char *s = luaL_checklstring(L, 1, &len);
    while (from < len && (s[from] == ' ' || (s[from] >= '\t' && s[from] <= '\r')))
        from++;
    while (len > from && (s[len - 1] == ' ' || (s[len - 1] >= '\t' && s[len - 1] <= '\r')))
        len--;
    sandbox_charge(L, (int64_t)(len / 16));
    lua_pushlstring(L, s + from, len - from);
    return 1;
}

void strings_register(lua_State *L, int env) {
    static const char *const linear[] = {"byte", "char", "len", "lower", "reverse", "sub", "upper"};
    static const luaL_Reg own[] = {
        {"rep", str_rep},       {"find", str_find}, {"match", str_match},
        {"gmatch", str_gmatch}, {"gsub", str_gsub}, {"trim", str_trim_text}, {NULL, NULL},
    };
    lua_pushcfunction(L, luaopen_string);
    lua_call(L, 0, 1);
    lua_newtable(L);
    for (size_t i = 0; i < sizeof linear / sizeof linear[0]; i++) {
        lua_getfield(L, -2, linear[i]);
        lua_pushcclosure(L, str_linear, 1);
        lua_setfield(L, -2, linear[i]);
    }
    lua_getfield(L, -2, "format");
    lua_pushcclosure(L, str_format, 1);
    lua_setfield(L, -2, "format");
    luaL_setfuncs(L, own, 0);
    /* Replaces the metatable of texts, whose arithmetic would make floats of them. */
    lua_pushliteral(L, "");
    lua_newtable(L);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
    library_seal(L);
    lua_setfield(L, env, "string");
    lua_pop(L, 1);
}
