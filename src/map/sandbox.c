/* sandbox: making, running and resetting one Lua state. Nothing that raises a Lua error is
 * called outside lua_pcall, and nothing inside it holds a resource. */
#include "map/map_priv.h"

#include <sys/mman.h>

#include "base/mem.h"

#define REGION_ALIGN 16
#define HOOK_EVERY 1000
/* Memory that a run of usual size touches: what lies above is given back to the system. */
#define REGION_KEEP ((size_t)4 << 20)
#define TEXT_CHEAP 4096

/* Lua's allocator (Lua 5.4 Reference Manual, lua_Alloc). With ptr NULL, osize is the kind of
 * object. */
static void *region_alloc(void *ud, void *ptr, size_t osize, size_t nsize) {
    struct sandbox *sb = ud;
    size_t was = ptr ? (osize + REGION_ALIGN - 1) & ~(size_t)(REGION_ALIGN - 1) : 0;
    bool top = ptr && (char *)ptr + was == sb->region + sb->used;
    if (nsize > sb->size)
        return NULL;
    size_t want = (nsize + REGION_ALIGN - 1) & ~(size_t)(REGION_ALIGN - 1);
    if (nsize == 0) {
        if (top)
            sb->used -= was;
        return NULL;
    }
    if (ptr && want <= was) {
        if (top)
            sb->used -= was - want;
        return ptr;
    }
    if (top) {
        if (want - was > sb->size - sb->used)
            return NULL;
        sb->used += want - was;
        return ptr;
    }
    if (want > sb->size - sb->used)
        return NULL;
    char *out = sb->region + sb->used;
    sb->used += want;
    if (ptr)
        memcpy(out, ptr, osize);
    else if (osize == LUA_TSTRING && nsize > sb->text_max)
        sb->text_max = nsize;
    return out;
}

void sandbox_charge(lua_State *L, int64_t steps) {
    struct sandbox *sb = sandbox_of(L);
    sb->steps -= steps;
    if (sb->steps < 0) {
        sb->steps = 0;
        luaL_error(L, "over the budget of %I instructions",
                   (LUAI_UACINT)sb->limits.instructions_max);
    }
}

/* Every HOOK_EVERY instructions. One instruction may compare or join texts, so each costs more
 * while long texts are about: the purse bounds time, not only counts. */
static void budget_hook(lua_State *L, lua_Debug *unused) {
    sandbox_charge(L, HOOK_EVERY * (1 + (int64_t)(sandbox_of(L)->text_max / TEXT_CHEAP)));
}

/* Protected: libraries, environment, the compiled mapping. */
static int sandbox_prepare(lua_State *L) {
    struct sandbox *sb = lua_touserdata(L, 1);
    document_register(L);
    lua_newtable(L); /* the globals */
    int env = lua_gettop(L);
    for (const luaL_Reg *f = document_functions; f->name; f++) {
        lua_pushcfunction(L, f->func);
        lua_setfield(L, env, f->name);
    }
    for (const luaL_Reg *f = helper_functions; f->name; f++) {
        lua_pushcfunction(L, f->func);
        lua_setfield(L, env, f->name);
    }
    for (const luaL_Reg *f = ask_functions; f->name; f++) {
        lua_pushcfunction(L, f->func);
        lua_setfield(L, env, f->name);
    }
    library_register(L, env);
    strings_register(L, env);
    library_seal(L);
    lua_rawseti(L, LUA_REGISTRYINDEX, REGISTRY_ENV);
    char name[256];
    snprintf(name, sizeof name, "@%.*s", STR_FMT(sb->source->name));
    if (luaL_loadbufferx(L, sb->source->code.ptr, sb->source->code.len, name, "t") != LUA_OK)
        return lua_error(L);
    lua_rawseti(L, LUA_REGISTRYINDEX, REGISTRY_CHUNK);
    return 0;
}

/* Protected: runs the file, once for all runs, and keeps the function it answers. */
static int sandbox_load(lua_State *L) {
    struct sandbox *sb = lua_touserdata(L, 1);
    lua_settop(L, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, REGISTRY_CHUNK);
    lua_rawgeti(L, LUA_REGISTRYINDEX, REGISTRY_ENV);
    if (!lua_setupvalue(L, 1, 1))
        lua_pop(L, 1);
    lua_call(L, 0, 1);
    if (lua_type(L, 1) != LUA_TFUNCTION)
        return luaL_error(L, "%s: a mapping file must return one function",
                          lua_pushlstring(L, sb->source->name.ptr, sb->source->name.len));
    lua_rawseti(L, LUA_REGISTRYINDEX, REGISTRY_CHUNK);
    return 0;
}

static enum err sandbox_fault(struct sandbox *sb, struct fault *fault) {
    lua_State *L = sb->lua;
    const char *message = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    if (!message)
        message = "the mapping raised something that is not a text";
    if (strcmp(message, "not enough memory") == 0)
        return fault_set(fault, ERR_INVALID, "%.*s: over the budget of %lld bytes",
                         STR_FMT(sb->source->name), (long long)sb->limits.bytes_max);
    struct str name = sb->source->name;
    if (memmem(message, strlen(message), name.ptr, name.len))
        return fault_set(fault, ERR_INVALID, "%s", message);
    return fault_set(fault, ERR_INVALID, "%.*s: %s", STR_FMT(name), message);
}

/* The hub's error stands; the words are in place. */
static enum err sandbox_refused(struct sandbox *sb, struct fault *fault) {
    if (fault)
        fault->err = sb->hub_err;
    return sb->hub_err;
}

static enum err sandbox_start(struct sandbox *sb, struct fault *fault) {
    sb->lua = lua_newstate(region_alloc, sb);
    if (!sb->lua)
        return fault_set(fault, ERR_NOMEM, "no memory for a Lua state");
    lua_State *L = sb->lua;
    *(struct sandbox **)lua_getextraspace(L) = sb;
    lua_gc(L, LUA_GCSTOP);
    lua_pushcfunction(L, sandbox_prepare);
    lua_pushlightuserdata(L, sb);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        return sandbox_fault(sb, fault);
    lua_sethook(L, budget_hook, LUA_MASKCOUNT, HOOK_EVERY);
    lua_pushcfunction(L, sandbox_load);
    lua_pushlightuserdata(L, sb);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        return sandbox_fault(sb, fault);
    sb->image_size = sb->used;
    sb->image = mem_alloc(sb->used);
    if (!sb->image)
        return fault_set(fault, ERR_NOMEM, "no memory for a Lua state");
    memcpy(sb->image, sb->region, sb->used);
    return OK;
}

enum err sandbox_create(const struct mapping_source *source, struct mapping_limits limits,
                        struct sandbox **out, struct fault *fault) {
    struct sandbox *sb = mem_zalloc(sizeof *sb);
    if (!sb)
        return fault_set(fault, ERR_NOMEM, "no memory for a mapping");
    sb->source = source;
    sb->limits = limits;
    sb->steps = limits.instructions_max;
    /* What the libraries and the mapping itself need comes on top of the run's own. */
    sb->size = (size_t)limits.bytes_max + ((size_t)1 << 20) + 16 * source->code.len;
    sb->region = mem_alloc(sb->size);
    enum err err = sb->region ? sandbox_start(sb, fault)
                              : fault_set(fault, ERR_NOMEM, "no memory for a mapping");
    if (err) {
        sandbox_destroy(sb);
        return err;
    }
    sb->size = sb->image_size + (size_t)limits.bytes_max;
    *out = sb;
    return OK;
}

/* No lua_close: all that the state owns is the region. */
void sandbox_destroy(struct sandbox *sb) {
    if (!sb)
        return;
    mem_free(sb->region);
    mem_free(sb->image);
    mem_free(sb->nodes);
    mem_free(sb->asked);
    mem_free(sb);
}

static void sandbox_reset(struct sandbox *sb) {
    if (sb->used > REGION_KEEP) {
        uintptr_t from = ((uintptr_t)sb->region + REGION_KEEP + 4095) & ~(uintptr_t)4095;
        uintptr_t to = ((uintptr_t)sb->region + sb->used) & ~(uintptr_t)4095;
        if (to > from)
            madvise((void *)from, to - from, MADV_DONTNEED);
    }
    memcpy(sb->region, sb->image, sb->image_size);
    sb->used = sb->image_size;
    sb->steps = sb->limits.instructions_max;
    sb->text_max = 0;
    sb->node_count = 0;
    sb->path_len = 0;
    sb->out_bytes = 0;
    sb->hub_err = OK;
    sb->asked_count = sb->look_count = 0;
    sb->call = 0;
    sb->call_name = NULL;
    sb->nomem = false;
}

/* Protected: runs the function that the file answered, then writes down the result. */
static int sandbox_call(lua_State *L) {
    struct sandbox *sb = lua_touserdata(L, 1);
    lua_settop(L, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, REGISTRY_CHUNK);
    document_push(L, sb->document);
    document_push(L, sb->settings);
    lua_call(L, 2, 1);
    output_write(L, sb);
    return 0;
}

enum err sandbox_run(struct sandbox *sb, const struct json *document, struct arena *arena,
                     const struct json **out, struct fault *fault) {
    sandbox_reset(sb);
    static const struct json no_settings = {.kind = JSON_OBJECT, .next = 1};
    sb->document = document;
    sb->settings = sb->source->settings ? sb->source->settings : &no_settings;
    sb->arena = arena;
    sb->fault = fault;
    lua_State *L = sb->lua;
    lua_pushcfunction(L, sandbox_call);
    lua_pushlightuserdata(L, sb);
    int status = lua_pcall(L, 1, 0, 0);
    if (sb->used > sb->peak)
        sb->peak = sb->used;
    if (sb->nomem)
        return fault_set(fault, ERR_NOMEM, "no memory for the answer of a mapping");
    if (status != LUA_OK) {
        enum err err = sandbox_fault(sb, fault);
        return sb->hub_err == OK || sb->hub_err == ERR_INVALID
                   ? err : sandbox_refused(sb, fault);
    }
    struct json *nodes = arena_array(arena, sb->node_count, sizeof *nodes);
    if (!nodes)
        return fault_set(fault, ERR_NOMEM, "no memory for the answer of a mapping");
    memcpy(nodes, sb->nodes, sb->node_count * sizeof *nodes);
    *out = nodes;
    return OK;
}
