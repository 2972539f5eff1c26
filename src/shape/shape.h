/* shape: the static table that describes a document, and the engine that reads it.
 *
 * A document of a shape lives in a C struct whose first member is `uint64_t has`, a bit per
 * field (bit i = i-th row), so that an absent member is told from an empty one. One shape has
 * at most 64 fields. Everything a decoded struct points to lies in the arena it was decoded
 * into, or in the JSON text.
 *
 * C type by kind:
 *   ID, CODE, TEXT     struct str
 *   MONEY, INTEGER     int64_t (money: minor units of the document's currency)
 *   DECIMAL            int64_t, scale 6 (quantity), a string in JSON
 *   RATE               int64_t, scale 9, a string in JSON
 *   INSTANT            struct instant (RFC 3339 with offset)
 *   DATE               int32_t, days since 1970-01-01
 *   ENUM               int32_t, index into `values`
 *   BOOL               bool
 *   OBJECT             a pointer to the struct of `shape`
 *   LIST               struct shape_list of structs of `shape`, or of struct str where shape NULL
 *                      (each as TEXT of 1..SHAPE_ITEM_BYTES_MAX bytes)
 *   OPEN               const struct json * (anything, nested at most SHAPE_OPEN_DEPTH_MAX; `ext`)
 *   RAW                struct str: JSON text encoded before, written as it is; decodes into the
 *                      text of the member's value (used for a document inside an event)
 */
#ifndef PENSTOCK_SHAPE_SHAPE_H
#define PENSTOCK_SHAPE_SHAPE_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"

enum shape_kind {
    SHAPE_ID,   /* printable, no spaces at the ends, 1..max bytes (default 128) */
    SHAPE_CODE, /* [A-Za-z0-9._:/-]+, 1..max bytes (default 64) */
    SHAPE_TEXT, /* any Unicode but U+0000 to U+001F save \t \n \r, 0..max bytes (default 4096) */
    SHAPE_MONEY,
    SHAPE_INTEGER,
    SHAPE_DECIMAL,
    SHAPE_RATE,
    SHAPE_INSTANT,
    SHAPE_DATE,
    SHAPE_ENUM,
    SHAPE_BOOL,
    SHAPE_OBJECT,
    SHAPE_LIST,
    SHAPE_OPEN,
    SHAPE_RAW,
};

enum privacy { PUBLIC, PERSONAL, SECRET };

/* shape_field.flags */
#define SHAPE_REQUIRED 0x01u
#define SHAPE_READ_ONLY 0x02u /* set by the hub: refused in input, written in output */
#define SHAPE_LOCAL_OK 0x04u  /* INSTANT: the offset may be missing (a store's local time) */
#define SHAPE_NULL 0x08u      /* written as null where there is none (documents that are said) */

/* offset_min of an INSTANT that came without offset: us is then the wall clock's reading, as
 * if it were UTC, and whoever knows the zone makes an instant of it. Written without offset. */
#define SHAPE_NO_OFFSET INT16_MIN

#define SHAPE_ITEM_BYTES_MAX 1024
/* Below JSON_DEPTH_MAX, so that a document still reads inside an event. */
#define SHAPE_OPEN_DEPTH_MAX 32

struct shape;
struct shape_field {
    const char *name; /* JSON member */
    enum shape_kind kind;
    unsigned flags;
    uint32_t offset; /* of the C member */
    int64_t min, max; /* MONEY INTEGER DECIMAL RATE: value (both 0: no bound; scaled);
                         ID CODE TEXT: bytes (max 0: the kind's default);
                         LIST: number of elements (max 0: 1000) */
    const struct shape *shape;  /* OBJECT, LIST */
    const char *const *values;  /* ENUM: names, NULL-terminated; index is the C value */
    enum privacy privacy;
    const char *owner; /* system of record: "channel", "hub", "erp" …; NULL: the caller */
    int since;         /* contract version it came with, 1 first */
    const char *help;  /* one line, shown in schemas and docs */
};

struct shape {
    const char *name; /* "order" */
    const char *help;
    size_t size; /* of the C struct */
    const struct shape_field *fields;
    uint32_t count;
    bool open; /* unknown members are ignored, not refused (documents of others) */
};

struct shape_list {
    void *items; /* count elements, contiguous */
    uint32_t count;
};

/* A row: SHAPE_ROW(struct order, currency, SHAPE_CODE, "ISO 4217", .flags = SHAPE_REQUIRED). */
#define SHAPE_ROW(type, member, kind_, help_text, ...)                                             \
    {.name = #member, .kind = kind_, .offset = offsetof(type, member), .since = 1,                 \
     .help = help_text, ##__VA_ARGS__}
#define SHAPE_DEFINE(sym, doc_name, type, help_text, field_rows)                                   \
    const struct shape sym = {.name = doc_name,                                                    \
                              .help = help_text,                                                   \
                              .size = sizeof(type),                                                \
                              .fields = field_rows,                                                \
                              .count = sizeof field_rows / sizeof field_rows[0]}

/* Documents that a handler writes itself have no C struct: their shapes only say what they hold,
 * and are never decoded into. SHAPE_SAID("name", SHAPE_TEXT, "help", .flags = SHAPE_REQUIRED). */
#define SHAPE_SAID(name_, kind_, help_text, ...)                                                   \
    {.name = name_, .kind = kind_, .since = 1, .help = help_text, ##__VA_ARGS__}
#define SHAPE_ALWAYS(name_, kind_, help_text, ...)                                                 \
    SHAPE_SAID(name_, kind_, help_text, .flags = SHAPE_REQUIRED, ##__VA_ARGS__)
/* there always, perhaps null */
#define SHAPE_MAYBE(name_, kind_, help_text, ...)                                                  \
    SHAPE_SAID(name_, kind_, help_text, .flags = SHAPE_REQUIRED | SHAPE_NULL, ##__VA_ARGS__)
#define SHAPE_COUNT(name_, help_text)                                                              \
    SHAPE_ALWAYS(name_, SHAPE_INTEGER, help_text, .max = INT64_MAX)
#define SHAPE_DEFINE_SAID(sym, doc_name, help_text, field_rows)                                    \
    const struct shape sym = {.name = doc_name,                                                    \
                              .help = help_text,                                                   \
                              .fields = field_rows,                                                \
                              .count = sizeof field_rows / sizeof field_rows[0]}

/* Presence of a field, by its row number. Give rows names with an enum beside the table. */
#define shape_has(doc, row) (((doc)->has >> (row)) & 1u)
#define shape_mark(doc, row) ((void)((doc)->has |= UINT64_C(1) << (row)))
#define list_at(list, type, i) (&((type *)(list).items)[i])

/* Reads `value` into *out (zeroed struct of shape->size, in the arena). Every fault is added
 * to `fault` with its JSON Pointer, below `pointer` ("" at the root): missing (the pointer
 * names the member), unknown, duplicate, read-only, wrong kind, out of bounds. ERR_INVALID
 * where there was a fault, ERR_NOMEM. null is absent for an optional member. */
enum err shape_decode(const struct shape *shape, const struct json *value, struct arena *arena,
                      struct str pointer, void **out, struct fault *fault) WARN_UNUSED;

/* Whether text from elsewhere (a query parameter) could be a member of kind ID with no bound of its
 * own. The text is UTF-8. */
bool shape_id_valid(struct str text);

/* As shape_decode for what the hub itself wrote (events, read model): read-only members are
 * taken, unknown members passed over (an older program reads what a newer one wrote). */
enum err shape_load(const struct shape *shape, const struct json *value, struct arena *arena,
                    void **out, struct fault *fault) WARN_UNUSED;

/* Writes doc as JSON, members in the table's order, absent ones left out. Check buf_ok. */
void shape_encode(const struct shape *shape, const void *doc, struct buf *out);
/* The same in two parts: without the fields of privacy PERSONAL, and those alone, in the objects
 * that hold them; a list is then an object of its items by their number: {"customer":{"email":…},
 * "lines":{"2":{"ext":…}}}. Answers whether there was any; nothing is written where not. */
void shape_encode_public(const struct shape *shape, const void *doc, struct buf *out);
bool shape_encode_personal(const struct shape *shape, const void *doc, struct buf *out);

/* JSON Schema 2020-12 of the shape, with $defs for the shapes it uses. What JSON Schema has no
 * word for is in x-minimum, x-maximum (of decimals in strings), x-privacy, x-owner, x-since. */
void shape_schema(const struct shape *shape, struct buf *out);
/* The schema of this shape alone, as a member of a larger document; other shapes are referred
 * to as ref_prefix + name ("#/components/schemas/" in OpenAPI). */
void shape_schema_one(const struct shape *shape, const char *ref_prefix, struct buf *out);
/* Adds shape and all it uses to list (count entries so far, room for max), each once, users
 * before what they use; answers the new count. */
uint32_t shape_collect(const struct shape *shape, const struct shape **list, uint32_t count,
                       uint32_t max);

#endif
