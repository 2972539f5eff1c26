/* map_priv: what the files of this folder share: the sandbox a mapping runs in.
 *
 * One sandbox holds one Lua state with one compiled mapping. All its memory lies in one region
 * that is filled from the bottom and never given back piece by piece; the image of the region
 * taken when the sandbox was ready is copied back before each run. So a run starts from the
 * same bytes always, whatever the one before did, there is no garbage to collect, and the
 * region's size bounds what a run may allocate. */
#ifndef PENSTOCK_MAP_MAP_PRIV_H
#define PENSTOCK_MAP_MAP_PRIV_H

#include <lauxlib.h>
#include <lua.h>

#include <stdio.h>
#include <stdlib.h>

#include "map/mapping.h"

struct sandbox {
    /* the region */
    char *region;
    size_t size, used, peak;
    char *image; /* its first image_size bytes, as they were when ready */
    size_t image_size;
    /* the budget */
    int64_t steps;   /* instructions left; matcher and library charge the same purse */
    size_t text_max; /* longest text made in this run: see budget_hook */
    struct mapping_limits limits;
    /* the run */
    lua_State *lua;
    const struct mapping_source *source;
    const struct json *document; /* root, for the pointers in errors */
    const struct json *settings; /* never NULL while running */
    struct arena *arena;
    struct json *nodes; /* the answer while it grows: from mem */
    uint32_t node_count, node_cap;
    struct fault *fault;
    bool nomem; /* our own memory, not the mapping's */
    /* tracing: scalars read, in order; NULL when off */
    struct read_log *reads;
};

/* Scalars of the document that a traced run read, in order, each once or more. */
#define READS_MAX 100000
struct read_log {
    const struct json **nodes;
    uint32_t count, cap;
};

enum err sandbox_create(const struct mapping_source *source, struct mapping_limits limits,
                        struct sandbox **out, struct fault *fault) WARN_UNUSED;
void sandbox_destroy(struct sandbox *sandbox);
enum err sandbox_run(struct sandbox *sandbox, const struct json *document, struct arena *arena,
                     const struct json **out, struct fault *fault) WARN_UNUSED;

/* trace.c */
enum err sandbox_trace(struct sandbox *sandbox, const struct json *document, struct arena *arena,
                       const struct json **out, struct mapping_trace *trace,
                       struct fault *fault) WARN_UNUSED;

static inline struct sandbox *sandbox_of(lua_State *L) {
    return *(struct sandbox **)lua_getextraspace(L);
}
/* Takes n steps from the purse; raises the budget error when it is empty. */
void sandbox_charge(lua_State *L, int64_t steps);

/* A document of ours as Lua sees it: a userdata that holds nothing but this. */
struct ref {
    const struct json *node;
};
/* Registry keys of the two metatables of refs, and of the mark of a list made by the mapping. */
#define META_OBJECT 1001
#define META_LIST 1002
#define META_MARK 1003
#define REGISTRY_CHUNK 1004
#define REGISTRY_ENV 1005

/* document.c: refs and what walks them. */
void document_push(lua_State *L, const struct json *node);
/* The ref at a stack index, or NULL where there is another thing. */
static inline struct ref *document_at(lua_State *L, int index) {
    return lua_type(L, index) == LUA_TUSERDATA ? lua_touserdata(L, index) : NULL;
}
void document_register(lua_State *L); /* metatables */
extern const luaL_Reg document_functions[];
/* JSON Pointer of a node, below root; absent where it is not in it. */
struct str document_pointer(struct arena *arena, const struct json *root,
                            const struct json *node);

/* output.c: the answer of a mapping, on top of the stack, as nodes in sandbox->nodes. */
void output_write(lua_State *L, struct sandbox *sandbox);

/* library.c, strings.c, helpers.c: what the environment (a table at index env) offers. */
void library_register(lua_State *L, int env);
void strings_register(lua_State *L, int env);
extern const luaL_Reg helper_functions[];
/* Replaces the table on top of the stack by one through which it can be read, not written. */
void library_seal(lua_State *L);

#endif
