/* ask: what a mapping asks the hub: cross-references (code, value_of) and data (look); and route,
 * which says what becomes of its answer. Each question is asked once in a run and its answer kept
 * until the run ends, so that a run sees one state of the hub however often it asks. */
#include "map/map_priv.h"

#include "base/hash.h"
#include "base/mem.h"

#define ASKED_MAX 4096  /* questions kept in a run; further ones are asked anew */
#define CODE_STEPS 20   /* what a question costs of the budget */
#define LOOK_STEPS 2000
#define CODE_TEXT_MAX 256

static uint64_t code_hash(const struct mapping_code *code) {
    uint64_t hash = hash64(code->system, code->out);
    hash = hash64(code->kind, hash);
    return hash64(code->text, hash);
}

static uint64_t look_hash(const struct mapping_look *look) {
    uint64_t hash = hash64(look->what, look->key_count);
    for (uint32_t i = 0; i < look->key_count; i++)
        hash = hash64(look->keys[i], hash);
    return hash;
}

static bool look_eq(const struct mapping_look *a, const struct mapping_look *b) {
    if (!str_eq(a->what, b->what) || a->key_count != b->key_count)
        return false;
    for (uint32_t i = 0; i < a->key_count; i++) {
        if (!str_eq(a->keys[i], b->keys[i]))
            return false;
    }
    return true;
}

static const struct asked *asked_find(const struct sandbox *sb, const struct asked *ask) {
    for (uint32_t i = 0; i < sb->asked_count; i++) {
        const struct asked *at = &sb->asked[i];
        if (at->hash != ask->hash || at->look != ask->look)
            continue;
        if (ask->look ? look_eq(&at->asked_look, &ask->asked_look)
                      : at->code.out == ask->code.out && str_eq(at->code.text, ask->code.text) &&
                            str_eq(at->code.kind, ask->code.kind) &&
                            str_eq(at->code.system, ask->code.system))
            return at;
    }
    return NULL;
}

static void asked_keep(lua_State *L, struct sandbox *sb, const struct asked *ask) {
    if (sb->asked_count == ASKED_MAX)
        return;
    if (!MEM_ROOM(sb->asked, sb->asked_count, sb->asked_cap, 16)) {
        sb->nomem = true;
        luaL_error(L, "no memory for what the mapping asks");
    }
    sb->asked[sb->asked_count++] = *ask;
}

/* Ends the run with what the hub said. */
static int ask_failed(lua_State *L, struct sandbox *sb, enum err err, const struct fault *fault) {
    sb->hub_err = err;
    return luaL_error(L, "%s", fault->detail);
}

/* --- cross-references ------------------------------------------------------------------------ */

static struct str code_text(lua_State *L, int index, const char *name, const char *what) {
    struct str s;
    if (lua_type(L, index) != LUA_TSTRING && !lua_isinteger(L, index))
        luaL_error(L, "%s: the %s must be a text or an integer, got %s", name, what,
                   luaL_typename(L, index));
    s.ptr = lua_tolstring(L, index, &s.len); /* an integer becomes a text in place */
    if (s.len == 0 || s.len > CODE_TEXT_MAX)
        luaL_error(L, "%s: the %s must have 1 to %d bytes", name, what, CODE_TEXT_MAX);
    return s;
}

static struct mapping_code code_args(lua_State *L, bool out) {
    struct sandbox *sb = sandbox_of(L);
    const char *name = out ? "value_of" : "code";
    struct mapping_code code = {.system = sb->source->system, .out = out};
    code.kind = code_text(L, 1, name, "kind");
    code.text = code_text(L, 2, name, out ? "code" : "value");
    if (!lua_isnoneornil(L, 3)) {
        luaL_checktype(L, 3, LUA_TTABLE);
        lua_pushliteral(L, "system");
        if (lua_rawget(L, 3) != LUA_TNIL)
            code.system = code_text(L, lua_gettop(L), name, "system");
        /* the text stays where it is: the table holds it */
        lua_pop(L, 1);
    }
    return code;
}

/* What the connector's settings say of a kind's entries that are not there: `unmapped: {sku: same,
 * tax: {code: DE-STD, value: "19"}}`. Absent: nothing, it is an exception. */
static struct str code_unmapped(const struct sandbox *sb, const struct mapping_code *code) {
    const struct json *kinds = json_member(sb->settings, STR("unmapped"));
    const struct json *rule =
        kinds && kinds->kind == JSON_OBJECT ? json_member(kinds, code->kind) : NULL;
    if (!rule)
        return STR_NONE;
    if (rule->kind == JSON_STRING && str_is(rule->text, "same"))
        return code->text;
    const struct json *given =
        rule->kind == JSON_OBJECT ? json_member(rule, code->out ? STR("value") : STR("code")) : NULL;
    return given && (given->kind == JSON_STRING || given->kind == JSON_NUMBER) ? given->text
                                                                               : STR_NONE;
}

static int code_missing(lua_State *L, struct sandbox *sb, const struct mapping_code *code) {
    struct arena *arena = sb->arena;
    sb->problem->kind = MAPPING_CODE_UNMAPPED;
    sb->problem->code = (struct mapping_code){.system = arena_str(arena, code->system),
                                              .kind = arena_str(arena, code->kind),
                                              .text = arena_str(arena, code->text),
                                              .out = code->out};
    const char *what = code->out ? "value there" : "code in the hub";
    struct str words = arena_printf(arena, "%.*s: the %.*s \"%.*s\" has no %s: add it to the "
                                    "cross-references", STR_FMT(code->system), STR_FMT(code->kind),
                                    STR_FMT(code->text), what);
    return luaL_error(L, "%s", words.ptr ? words.ptr : "the code is not mapped");
}

static int code_ask(lua_State *L, bool out) {
    struct sandbox *sb = sandbox_of(L);
    call_inside(L, out ? "value_of" : "code");
    struct asked ask = {.code = code_args(L, out)};
    sandbox_charge(L, CODE_STEPS);
    ask.hash = code_hash(&ask.code);
    const struct asked *before = asked_find(sb, &ask);
    if (before) {
        ask.text = before->text;
    } else {
        struct fault fault = {0};
        enum err err = sb->hub && sb->hub->code
                           ? sb->hub->code(sb->hub_ctx, &ask.code, sb->arena, &ask.text, &fault)
                           : OK;
        if (err)
            return ask_failed(L, sb, err, &fault);
        if (!ask.text.ptr)
            ask.text = code_unmapped(sb, &ask.code);
        if (!ask.text.ptr)
            return code_missing(L, sb, &ask.code);
        asked_keep(L, sb, &ask);
    }
    lua_pushlstring(L, ask.text.ptr, ask.text.len);
    return call_end(L);
}

/* code(kind, value [, {system = …}]): the hub's code of what the system calls value. */
static int map_code(lua_State *L) {
    return call_begin(L, "code", CALL_TEXT, 2) ? 1 : code_ask(L, false);
}

/* value_of(kind, code [, {system = …}]): what the system calls the hub's code. */
static int map_value_of(lua_State *L) {
    return call_begin(L, "value_of", CALL_TEXT, 2) ? 1 : code_ask(L, true);
}

/* --- data --------------------------------------------------------------------------------------- */

static struct mapping_look look_args(lua_State *L) {
    struct mapping_look look = {.what = code_text(L, 1, "look", "name")};
    int n = lua_gettop(L);
    if (n - 1 > MAPPING_LOOK_KEYS_MAX || n < 2)
        luaL_error(L, "look: a name and 1 to %d keys", MAPPING_LOOK_KEYS_MAX);
    for (int i = 2; i <= n; i++)
        look.keys[look.key_count++] = code_text(L, i, "look", "key");
    return look;
}

/* look(what, key …): what the hub knows of it, or nil. */
static int map_look(lua_State *L) {
    if (call_begin(L, "look", CALL_ANY, 2))
        return 1;
    struct sandbox *sb = sandbox_of(L);
    call_inside(L, "look");
    struct asked ask = {.look = true, .asked_look = look_args(L)};
    sandbox_charge(L, LOOK_STEPS);
    ask.hash = look_hash(&ask.asked_look);
    const struct asked *before = asked_find(sb, &ask);
    if (before) {
        ask.node = before->node;
    } else {
        struct fault fault = {.detail = "a mapping without a hub can look at nothing: give it in "
                                        "NAME.look.json beside the fixture, or name a hub"};
        if (sb->look_count++ == sb->limits.looks_max)
            return luaL_error(L, "look: more than %I in one run (map_looks_max)",
                              (LUAI_UACINT)sb->limits.looks_max);
        enum err err = sb->hub && sb->hub->look
                           ? sb->hub->look(sb->hub_ctx, &ask.asked_look, sb->arena, &ask.node, &fault)
                           : ERR_INVALID;
        if (err)
            return ask_failed(L, sb, err, &fault);
        asked_keep(L, sb, &ask);
    }
    if (ask.node)
        document_push(L, ask.node);
    else
        lua_pushnil(L);
    return call_end(L);
}

/* --- routes ------------------------------------------------------------------------------------- */

/* route(command, document): the answer, or one of a list of answers, of a topic with `commands`. */
static int map_route(lua_State *L) {
    struct str command;
    if (lua_type(L, 1) != LUA_TSTRING)
        return luaL_error(L, "route: the name of a command comes first, got %s", luaL_typename(L, 1));
    command.ptr = lua_tolstring(L, 1, &command.len);
    if (command.len == 0)
        return luaL_error(L, "route: the command has no name");
    if (lua_type(L, 2) != LUA_TTABLE && !document_at(L, 2))
        return luaL_error(L, "route: a document comes second, got %s", luaL_typename(L, 2));
    lua_createtable(L, 0, 2);
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, "command");
    lua_pushvalue(L, 2);
    lua_setfield(L, -2, "document");
    return 1;
}

const luaL_Reg ask_functions[] = {
    {"code", map_code}, {"value_of", map_value_of}, {"look", map_look}, {"route", map_route},
    {NULL, NULL},
};
