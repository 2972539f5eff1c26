/* yaml: a YAML text as the same flat nodes JSON gives (base/json.h), with the line of each.
 * For configuration files that people write.
 *
 * Plain scalars follow the core schema of YAML 1.2 as far as JSON has words for it: null, ~ and
 * nothing are null; true, false are booleans; what JSON calls a number is a number, kept as
 * written; everything else (yes, 0x1f, 1_000, 2026-11-23) is a string, as is all that is
 * quoted. Keys are strings. Aliases are copies of what they name. Refused: duplicate keys, keys
 * that are no scalars, tags but !!str, a second document, more than YAML_NODES_MAX nodes,
 * nesting beyond JSON_DEPTH_MAX. */
#ifndef PENSTOCK_BASE_YAML_H
#define PENSTOCK_BASE_YAML_H

#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"

#define YAML_BYTES_MAX ((size_t)16 << 20)
#define YAML_NODES_MAX 1000000u

struct yaml {
    struct str file;          /* name for faults, as given */
    const struct json *root;  /* JSON_NULL where the text holds nothing */
    const uint32_t *lines;    /* from 1, one per node */
};

/* Nodes and strings are in the arena; text may go afterwards. ERR_INVALID with one fault, whose
 * pointer is "file:line"; ERR_TOO_LARGE, ERR_NOMEM. */
enum err yaml_parse(struct arena *arena, struct str file, struct str text, struct yaml *out,
                    struct fault *fault) WARN_UNUSED;
/* As yaml_parse, of a file; ERR_NOT_FOUND, ERR_IO where it can not be read. `name` is what
 * faults call it. */
enum err yaml_read(struct arena *arena, const char *path, struct str name, struct yaml *out,
                   struct fault *fault) WARN_UNUSED;

/* Line of the node, or of the nearest around it, that a JSON Pointer names. */
uint32_t yaml_line(const struct yaml *yaml, struct str pointer);
/* Adds every item of `from` (pointers into yaml) to `to`, with pointer "file:line:/pointer". */
void yaml_faults(const struct yaml *yaml, const struct fault *from, struct fault *to);
/* The same for one fault found by hand. */
void yaml_fault(const struct yaml *yaml, struct fault *to, struct str pointer, const char *fmt,
                ...) PRINTF_LIKE(4, 5);

#endif
