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
    struct str path; /* of the file */
    struct str code; /* its text */
    const struct json *settings; /* object the mapping reads as `settings`; NULL: none */
    uint32_t index;  /* within its mapping_sources */
};

struct mapping_limits {
    int64_t instructions_max; /* settings map_instructions_max */
    int64_t bytes_max;        /* settings map_bytes_max */
};
#define MAPPING_LIMITS_DEFAULT                                                                     \
    ((struct mapping_limits){.instructions_max = 20000000, .bytes_max = 64 << 20})

/* A list of sources that belong together (one configuration). */
struct mapping_sources;
struct mapping_sources *mapping_sources_create(void);
void mapping_sources_destroy(struct mapping_sources *sources);
/* Reads and compiles `path`; the same path is read once. ERR_INVALID with file, line and
 * message where it does not compile; ERR_IO. settings must live as long as sources. */
enum err mapping_sources_add(struct mapping_sources *sources, struct str name, const char *path,
                             const struct json *settings, const struct mapping_source **out,
                             struct fault *fault) WARN_UNUSED;
/* As above for text that is at hand. */
enum err mapping_sources_add_text(struct mapping_sources *sources, struct str name, struct str code,
                                  const struct json *settings, const struct mapping_source **out,
                                  struct fault *fault) WARN_UNUSED;

/* What one thread runs mappings with: a pool of Lua states, one per mapping, made at first use.
 * Not shared between threads. */
struct mapper;
struct mapper *mapper_create(struct mapping_limits limits);
void mapper_destroy(struct mapper *mapper);

/* Runs the mapping on `document`; *out (in the arena) is what it answered: members sorted by
 * name, numbers as text. Strings may point into the document: keep both arenas as long.
 * ERR_INVALID: the mapping failed (fault->detail: file:line and what), went over its budget, or
 * read a member the document does not have; then one item's pointer is the JSON Pointer of
 * that member. ERR_NOMEM: our own memory. */
enum err mapper_run(struct mapper *mapper, const struct mapping_source *source,
                    const struct json *document, struct arena *arena, const struct json **out,
                    struct fault *fault) WARN_UNUSED;

/* Whether the answer is {nothing = "words"} and no more: the mapping of a message says that nothing
 * is to be done for it, and why. */
bool mapping_nothing(const struct json *answer, struct str *words);

/* --- trace: which members of the source each member of the target came from -------------- */
struct mapping_trace_row {
    struct str target;   /* JSON Pointer in the answer */
    struct str *sources; /* JSON Pointers in the document */
    uint32_t source_count;
    bool exact; /* by identity of the value; else by order of reading (approximate) */
};
struct mapping_trace {
    struct mapping_trace_row *rows;
    uint32_t count;
    struct str *unread; /* scalars of the document that were never read */
    uint32_t unread_count;
};
/* As mapper_run, slower, and tells. */
enum err mapper_trace(struct mapper *mapper, const struct mapping_source *source,
                      const struct json *document, struct arena *arena, const struct json **out,
                      struct mapping_trace *trace, struct fault *fault) WARN_UNUSED;

#endif
