/* mapping: a Lua 5.4 function from one document to another, in a sandbox: no way out, a budget
 * of instructions and of memory for every run, nothing kept from one run to the next, the same
 * answer for the same input always. docs/mappings.md is the reference for who writes one.
 *
 * A mapping file answers one function; it is called with the document (and the settings of its
 * connector) and answers a table, which becomes a JSON document with sorted members:
 *     return function(doc, settings) return {channel = settings.channel, …} end
 *
 * Numbers: JSON integers that fit 64 bits are Lua integers; every other number (fraction,
 * exponent, larger) is a string of exactly the text that was sent. Floats do not exist: the
 * result of `/` may not leave the mapping. */
#ifndef PENSTOCK_MAP_MAPPING_H
#define PENSTOCK_MAP_MAPPING_H

#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"

/* The text of a mapping, compiled once to check it. Immutable, shared by all threads. */
struct mapping_source {
    struct str name; /* "shopify/order.lua": in errors */
    struct str system;  /* "shopify": whose codes code() and value_of() mean */
    struct str version; /* "1.0.0+5f3a90c21b7e": its connector's and a hash of the text; what came of
                           it is recorded under this */
    struct str path; /* of the file */
    struct str code; /* its text */
    const struct json *settings; /* object the mapping reads as `settings`; NULL: none */
    uint32_t index;  /* within its mapping_sources */
    uint64_t id;     /* of no other source of this process, not even of a version before */
};

struct mapping_limits {
    int64_t instructions_max; /* settings map_instructions_max */
    int64_t bytes_max;        /* settings map_bytes_max */
    int64_t looks_max;        /* settings map_looks_max; 0: none */
};
#define MAPPING_LOOKS_DEFAULT 16
#define MAPPING_LIMITS_DEFAULT                                                                     \
    ((struct mapping_limits){.instructions_max = 20000000, .bytes_max = 64 << 20,                  \
                             .looks_max = MAPPING_LOOKS_DEFAULT})

/* --- what a mapping may ask of the hub ----------------------------------------------------- */

/* An entry of the cross-references (domain/cross_references.h). */
struct mapping_code {
    struct str system, kind; /* "shopify", "tax" */
    struct str text;         /* the system's value; with `out` the hub's code */
    bool out;                /* value_of(): the hub's code → the system's value */
};
#define MAPPING_LOOK_KEYS_MAX 4
struct mapping_look {
    struct str what; /* "order" */
    struct str keys[MAPPING_LOOK_KEYS_MAX];
    uint32_t key_count;
};
/* Who runs mappings says how they reach the hub: a worker by its state, the command line by fixtures
 * or another hub. Answers go into the arena, which lives as long as the run's answer. Errors end the
 * run with that error: ERR_UNAVAILABLE where the answer is not at hand yet (the run is then made again
 * from its start, once it is), ERR_INVALID where the question is wrong. */
struct mapping_hub {
    /* *out absent: there is no such entry. */
    enum err (*code)(void *ctx, const struct mapping_code *ask, struct arena *arena,
                     struct str *out, struct fault *fault);
    /* *out NULL: there is no such thing. */
    enum err (*look)(void *ctx, const struct mapping_look *ask, struct arena *arena,
                     const struct json **out, struct fault *fault);
};

/* A list of sources that belong together (one configuration). */
struct mapping_sources;
struct mapping_sources *mapping_sources_create(void);
void mapping_sources_destroy(struct mapping_sources *sources);
/* Reads and compiles `path`; the same path is read once. `name` is SYSTEM/FILE, `version` of its
 * connector (may be absent). ERR_INVALID with file, line and message where it does not compile;
 * ERR_IO. settings must live as long as sources. */
enum err mapping_sources_add(struct mapping_sources *sources, struct str name, struct str version,
                             const char *path, const struct json *settings,
                             const struct mapping_source **out, struct fault *fault) WARN_UNUSED;
/* As above for text that is at hand. */
enum err mapping_sources_add_text(struct mapping_sources *sources, struct str name,
                                  struct str version, struct str code, const struct json *settings,
                                  const struct mapping_source **out,
                                  struct fault *fault) WARN_UNUSED;

/* The i-th, in the order they were added; NULL behind the last. */
const struct mapping_source *mapping_sources_at(const struct mapping_sources *sources, uint32_t i);
/* Whether one of them has the id. */
bool mapping_sources_have(const struct mapping_sources *sources, uint64_t id);

/* What one thread runs mappings with: a pool of Lua states, one per mapping, made at first use.
 * Not shared between threads. */
struct mapper;
struct mapper *mapper_create(struct mapping_limits limits);
void mapper_destroy(struct mapper *mapper);
/* Whom code(), value_of() and look() of the runs that follow ask; `ctx` is handed to the functions.
 * NULL: nobody, and they fail. */
void mapper_hub(struct mapper *mapper, const struct mapping_hub *hub, void *ctx);
/* Forgets what it made for mappings that are not wanted any more. */
void mapper_keep(struct mapper *mapper, bool (*wanted)(void *ctx, uint64_t id), void *ctx);

/* Runs the mapping on `document`; *out (in the arena) is what it answered: members sorted by
 * name, numbers as text. Strings may point into the document: keep both arenas as long.
 * ERR_INVALID: the mapping failed (fault->detail: file:line and what), went over its budget, or
 * read a member the document does not have; then one item's pointer is the JSON Pointer of
 * that member. ERR_NOMEM: our own memory. */
enum err mapper_run(struct mapper *mapper, const struct mapping_source *source,
                    const struct json *document, struct arena *arena, const struct json **out,
                    struct fault *fault) WARN_UNUSED;

/* What was wrong with the run before, which failed with ERR_INVALID; valid until the next one. */
struct mapping_problem {
    const char *kind; /* of the exception: "mapping-failed", "code-unmapped" */
    struct mapping_code code; /* of code-unmapped: the entry that is missing */
    struct str source; /* JSON Pointer of the value it failed at; absent: not known */
    struct str target; /* JSON Pointer of the member of the answer it was made for; absent: not known */
};
#define MAPPING_FAILED "mapping-failed"
#define MAPPING_CODE_UNMAPPED "code-unmapped"
const struct mapping_problem *mapper_problem(const struct mapper *mapper);

/* Whether the answer is {nothing = "words"} and no more: the mapping of a message says that nothing
 * is to be done for it, and why. */
bool mapping_nothing(const struct json *answer, struct str *words);

/* Of a topic with several commands: how many routes the answer of its mapping has, one route() or a
 * list of them; 0: it is none. */
struct mapping_route {
    struct str command;
    const struct json *document;
};
uint32_t mapping_routes(const struct json *answer);
/* The route at `index`, from 0; false where that is none. */
bool mapping_route(const struct json *answer, uint32_t index, struct mapping_route *out);

/* --- trace: which members of the source each member of the target came from -------------- */
struct mapping_trace_row {
    struct str target;   /* JSON Pointer in the answer */
    struct str *sources; /* JSON Pointers in the document */
    uint32_t source_count;
    bool exact; /* found by changing them; else by equal text */
    const struct mapping_call **calls; /* of helpers, whose answers it is made of */
    uint32_t call_count;
};
/* A call of money, decimal, code, look … in the run. */
struct mapping_call {
    const char *name;
    struct str text; /* money("19.99", "EUR") = 1999 */
    uint32_t line;   /* of the mapping; 0: not known */
};
struct mapping_trace {
    struct mapping_trace_row *rows;
    uint32_t count;
    struct mapping_call *calls; /* all, in order */
    uint32_t call_count;
    struct str *unread; /* scalars of the document that were never read */
    uint32_t unread_count;
    uint32_t scalars;   /* of the document, read or not */
};
/* As mapper_run, slower, and tells. */
enum err mapper_trace(struct mapper *mapper, const struct mapping_source *source,
                      const struct json *document, struct arena *arena, const struct json **out,
                      struct mapping_trace *trace, struct fault *fault) WARN_UNUSED;
/* [{"target":"/a","sources":["/b"]},…]: targets and their sources, the first MAPPING_TRACE_WRITTEN_MAX. */
void mapping_trace_write(const struct mapping_trace *trace, struct buf *out);
#define MAPPING_TRACE_WRITTEN_MAX 200

#endif
