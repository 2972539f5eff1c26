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

/* What a helper answers, as far as a trial must know. */
enum call_kind { CALL_TEXT, CALL_INTEGER, CALL_INSTANT, CALL_ANY };

struct path_part {
    const char *name;
    size_t len;
    uint32_t index;
};

struct asked;
struct call_log;
struct trial;

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
    size_t out_bytes; /* of it: what a mapping says many times is written as often */
    struct fault *fault;
    bool nomem; /* our own memory, not the mapping's */
    struct mapping_problem *problem;
    /* where in the answer output.c is: a name, or (len 0 and no name) a position */
    struct path_part path[JSON_DEPTH_MAX];
    uint32_t path_len;
    /* what it asks the hub: each once in a run, so that the same question has the same answer */
    const struct mapping_hub *hub;
    void *hub_ctx;
    enum err hub_err; /* that ended the run; OK: none did */
    struct asked *asked;
    uint32_t asked_count, asked_cap, look_count;
    /* calls of helpers, and members missed, counted from 1: the same call has the same number in
     * every run over the same document */
    uint32_t call;
    const char *call_name; /* of the one under way or that failed; NULL: none */
    const struct trial *trial; /* answers one call in its place; NULL: none */
    /* tracing: scalars read, in order; NULL when off */
    struct read_log *reads;
    struct call_log *calls;
    enum call_kind call_kind;
    char call_arg[128]; /* while reads are noted: what the call is about, cut */
};

/* ask.c: a question to the hub and its answer. */
struct asked {
    bool look;
    uint64_t hash;
    struct mapping_code code;   /* or … */
    struct mapping_look asked_look;
    struct str text;            /* of code; absent: none */
    const struct json *node;    /* of look; NULL: none */
};
extern const luaL_Reg ask_functions[];

/* A run in which call `at` answers `value` (JSON_NUMBER: an integer, or JSON_STRING) unasked: what
 * changes in the answer is what is made of it. */
#define TRIAL_OTHERS_MAX 16
struct trial {
    uint32_t at;
    struct json value;
    uint32_t others[TRIAL_OTHERS_MAX]; /* answer something that fits, always the same */
    uint32_t other_count;
};
/* Calls of a traced run. */
#define CALLS_MAX 10000
struct call_entry {
    const char *name;
    struct str text;    /* money("19.99", "EUR") = 1999 */
    struct json answer; /* JSON_NULL: no text, no integer */
    uint32_t number;
    int line;
};
struct call_log {
    struct arena *arena;
    struct call_entry *items;
    uint32_t count, cap;
};

/* calls.c. Begin: true where a trial has answered, and the helper returns 1 at once. `about`: stack
 * index of the argument the call is about. End: the answer is on top; returns 1. */
bool call_started(lua_State *L, struct sandbox *sandbox, enum call_kind kind, int about);
int call_noted(lua_State *L, struct sandbox *sandbox);

/* explain.c: the mapping failed in a helper or at a missing member: finds out by further runs where
 * that came from and what it was made for. */
void sandbox_explain(struct sandbox *sandbox, const struct json *document, struct fault *fault);

/* Runs with the trial, and where a call fails again with that one answered, too. False: it fails
 * otherwise. */
bool trial_run(struct sandbox *sandbox, const struct json *document, struct trial *trial,
               struct arena *arena, const struct json **out);

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

/* What asks the hub, or makes a part of the answer, has neither while the file itself runs. */
static inline void call_inside(lua_State *L, const char *name) {
    if (!sandbox_of(L)->arena)
        luaL_error(L, "%s: only within the function that the file returns", name);
}
static inline bool call_begin(lua_State *L, const char *name, enum call_kind kind, int about) {
    struct sandbox *sb = sandbox_of(L);
    sb->call++;
    sb->call_name = name;
    return (sb->trial || sb->reads) && call_started(L, sb, kind, about);
}
static inline int call_end(lua_State *L) {
    struct sandbox *sb = sandbox_of(L);
    if (sb->calls)
        return call_noted(L, sb);
    sb->call_name = NULL;
    return 1;
}

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
/* Adds "/name" (RFC 6901). */
void pointer_part(struct buf *out, struct str name);

/* output.c: the answer of a mapping, on top of the stack, as nodes in sandbox->nodes. */
void output_write(lua_State *L, struct sandbox *sandbox);

/* library.c, strings.c, helpers.c: what the environment (a table at index env) offers. */
void library_register(lua_State *L, int env);
void strings_register(lua_State *L, int env);
extern const luaL_Reg helper_functions[];
/* Replaces the table on top of the stack by one through which it can be read, not written. */
void library_seal(lua_State *L);

#endif
