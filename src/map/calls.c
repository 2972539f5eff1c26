/* calls: the calls of helpers in a run, numbered: noted for a trace, and answered in the helper's
 * place where a trial wants to see what is made of one. */
#include "map/map_priv.h"

#include "base/mem.h"

#define ARG_SHOWN 60 /* bytes of a text in a note */

/* What the call is about, for who explains a failure. */
static void about_keep(lua_State *L, struct sandbox *sb, int about) {
    sb->call_arg[0] = '\0';
    if (about == 0)
        return;
    if (lua_isinteger(L, about))
        snprintf(sb->call_arg, sizeof sb->call_arg, "%lld", (long long)lua_tointeger(L, about));
    else if (lua_type(L, about) == LUA_TSTRING)
        snprintf(sb->call_arg, sizeof sb->call_arg, "%s", lua_tostring(L, about));
}

static const struct json stand_ins[] = {
    [CALL_TEXT] = {{"1", 1}, 0, 1, JSON_STRING},
    [CALL_INTEGER] = {{"1", 1}, 0, 1, JSON_NUMBER},
    [CALL_INSTANT] = {{"2000-01-01T00:00:00Z", 20}, 0, 1, JSON_STRING},
    [CALL_ANY] = {{"1", 1}, 0, 1, JSON_STRING},
};

bool call_started(lua_State *L, struct sandbox *sb, enum call_kind kind, int about) {
    sb->call_kind = kind;
    if (sb->reads)
        about_keep(L, sb, about);
    const struct trial *trial = sb->trial;
    const struct json *value = trial && trial->at == sb->call ? &trial->value : NULL;
    for (uint32_t i = 0; trial && !value && i < trial->other_count; i++) {
        if (trial->others[i] == sb->call)
            value = &stand_ins[kind];
    }
    if (!value)
        return false;
    int64_t number;
    if (value->kind == JSON_NUMBER && json_i64(value, &number))
        lua_pushinteger(L, number);
    else
        lua_pushlstring(L, value->text.ptr, value->text.len);
    sb->call_name = NULL;
    return true;
}

static void note_value(lua_State *L, int index, struct buf *out) {
    size_t len;
    switch (lua_type(L, index)) {
    case LUA_TSTRING: {
        const char *text = lua_tolstring(L, index, &len);
        buf_char(out, '"');
        buf_add(out, text, len < ARG_SHOWN ? len : ARG_SHOWN);
        buf_str_add(out, len < ARG_SHOWN ? STR("\"") : STR("…\""));
        break;
    }
    case LUA_TNUMBER:
        if (lua_isinteger(L, index))
            buf_printf(out, "%lld", (long long)lua_tointeger(L, index));
        break;
    case LUA_TBOOLEAN: buf_str_add(out, lua_toboolean(L, index) ? STR("true") : STR("false")); break;
    case LUA_TNIL: buf_lit(out, "nil"); break;
    default: buf_lit(out, "{…}");
    }
}

static struct json note_answer(lua_State *L, struct arena *arena) {
    struct json answer = {.next = 1, .kind = JSON_NULL};
    if (lua_isinteger(L, -1)) {
        answer.kind = JSON_NUMBER;
        answer.text = arena_printf(arena, "%lld", (long long)lua_tointeger(L, -1));
    } else if (lua_type(L, -1) == LUA_TSTRING) {
        answer.kind = JSON_STRING;
        struct str text;
        text.ptr = lua_tolstring(L, -1, &text.len);
        answer.text = arena_str(arena, text);
    }
    return answer;
}

int call_noted(lua_State *L, struct sandbox *sb) {
    struct call_log *log = sb->calls;
    const char *name = sb->call_name;
    sb->call_name = NULL;
    if (log->count == log->cap) {
        uint32_t cap = log->cap ? log->cap * 2 : 64;
        void *more = cap <= CALLS_MAX ? mem_resize(log->items, cap * sizeof *log->items) : NULL;
        if (!more)
            return 1; /* a trace of so many calls helps nobody */
        log->items = more;
        log->cap = cap;
    }
    struct buf text;
    lua_Debug at = {.currentline = 0};
    buf_init(&text, 1024);
    buf_printf(&text, "%s(", name);
    for (int i = 1; i < lua_gettop(L); i++) {
        if (i > 1)
            buf_lit(&text, ", ");
        note_value(L, i, &text);
    }
    buf_lit(&text, ") = ");
    note_value(L, -1, &text);
    if (lua_getstack(L, 1, &at))
        lua_getinfo(L, "l", &at);
    log->items[log->count++] = (struct call_entry){
        .name = name, .number = sb->call, .line = at.currentline,
        .text = buf_ok(&text) ? arena_str(log->arena, buf_str(&text)) : str_c(name),
        .answer = note_answer(L, log->arena)};
    buf_free(&text);
    return 1;
}
