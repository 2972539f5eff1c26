/* json: a parsed JSON text (RFC 8259) as one flat array of nodes in an arena.
 *
 * Numbers keep their text, so nothing is ever rounded; strings are unescaped. A node's
 * children follow it; `next` skips a whole value. In an object, children are key, value, key,
 * value … (keys are JSON_STRING nodes). Duplicate keys are kept: who reads decides. Depth is
 * at most JSON_DEPTH_MAX. */
#ifndef PENSTOCK_BASE_JSON_H
#define PENSTOCK_BASE_JSON_H

#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#define JSON_DEPTH_MAX 64
#define JSON_PADDING 64 /* readable bytes behind the text that json_parse may look at */

enum json_kind { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json {
    struct str text; /* JSON_STRING: the text, unescaped; JSON_NUMBER: as written; JSON_ARRAY,
                        JSON_OBJECT: as written, with its brackets (absent where the nodes
                        were made from something else than JSON) */
    uint32_t count;  /* JSON_ARRAY: elements; JSON_OBJECT: members; JSON_BOOL: 0 or 1 */
    uint32_t next;   /* nodes from this one to the one behind its value (1 for scalars) */
    uint8_t kind;    /* enum json_kind */
};

/* Per thread, reusable: holds the parser's working memory. */
struct json_parser;
struct json_parser *json_parser_create(void);
void json_parser_destroy(struct json_parser *parser);

/* Parses text (UTF-8, at most 4 GiB). With `padded`, JSON_PADDING bytes behind text.len may be
 * read; else the text is copied first. ERR_MALFORMED with detail where it is not one JSON
 * value (bad grammar, bad UTF-8, half a surrogate pair, a byte order mark, anything behind the
 * value); ERR_TOO_LARGE beyond the depth, or where the arena's cap can not hold the nodes;
 * ERR_NOMEM. Strings without escapes may point into text itself: keep it as long as the nodes. */
enum err json_parse(struct json_parser *parser, struct arena *arena, struct str text, bool padded,
                    const struct json **out, struct fault *fault) WARN_UNUSED;

/* The node behind this value: `for (v = json_first(a), i = 0; i < a->count; i++, v = json_next(v))`. */
static inline const struct json *json_first(const struct json *container) { return container + 1; }
static inline const struct json *json_next(const struct json *value) { return value + value->next; }

/* The value of the (first) member `name`, or NULL. */
const struct json *json_member(const struct json *object, struct str name);
/* The value a JSON Pointer (RFC 6901) leads to; NULL where it is not there. */
const struct json *json_at(const struct json *doc, struct str pointer);
/* Text of a string member, or absent. */
struct str json_member_str(const struct json *object, struct str name);
/* An integer, exact; false where it is none (fraction, exponent, overflow, another kind). */
bool json_i64(const struct json *value, int64_t *out);
/* Writes it again, members in the order they came, numbers as written. */
void json_write(struct buf *buf, const struct json *value);
/* Writes `target` (NULL: nothing) as the JSON Merge Patch `patch` (RFC 7396) makes it: members that are null
 * there go, objects are merged, everything else takes the place of what was. */
void json_merge(struct buf *out, const struct json *target, const struct json *patch);
/* As json_write, a member a line, indented by two blanks; `depth` 0 for a whole document. */
void json_pretty(struct buf *out, const struct json *value, uint32_t depth);

#endif
