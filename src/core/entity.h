/* entity: the pieces of state that are written down one by one: an order, a key that was used, a
 * stock position. A capability says how its kinds turn into bytes and back; the core writes
 * those that changed behind the journal, takes what is written out of memory when memory is
 * short, and brings it back when a command names it.
 *
 * An entity lies in a slot of its capability's own array; slots are reused. Without a shelf (a
 * core for tests) all of this does nothing and everything stays in memory. */
#ifndef PENSTOCK_CORE_ENTITY_H
#define PENSTOCK_CORE_ENTITY_H

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/map.h"

struct state;

/* To be counted up whenever the bytes of any kind change their meaning: an older file is then
 * thrown away and the state made again from the journal. */
#define ENTITY_FORMAT 3

#define ENTITY_RESIDENT 0x1u /* all of them are in memory, always: loaded at the start */
#define ENTITY_SPARSE 0x2u   /* most keys asked for do not exist */
#define ENTITY_EXPIRES 0x4u  /* bytes begin with an int64 time; see core/shelf.h */

#define ENTITY_TIMED 0x8u    /* keys are id_key of ids: newer than all that ever left memory, one is
                                in memory or nowhere */

struct entity_kind {
    const char *name; /* "order": of the space in the shelf; never changes */
    unsigned flags;
    const char *help;
    /* Bytes back to memory; *slot: where it lies now (kinds without slots leave it). Nothing is
     * marked as changed. ERR_DAMAGED (no such bytes were saved), ERR_NOMEM. */
    enum err (*load)(void *part, struct hash128 key, struct str bytes, uint32_t *slot);
    /* Kinds with slots (the others use entity_put): */
    struct hash128 (*key)(const void *part, uint32_t slot);
    void (*save)(const void *part, uint32_t slot, struct buf *out);
    /* Kinds that may leave memory: */
    uint32_t (*find)(const void *part, struct hash128 key); /* MAP_NONE: not in memory */
    void (*evict)(void *part, uint32_t slot);
    size_t (*bytes)(const void *part, uint32_t slot); /* it takes in memory; never changes */
};

/* What a command is about to need, looked up before the writer has it (command_type.needs). */
struct entity_need {
    const struct entity_kind *kind;
    struct hash128 key;
    /* The core's own: */
    uint32_t space;
    bool load;          /* the disk must be asked */
    struct str bytes;   /* ptr NULL: it is not on the shelf */
    uint64_t evictions; /* of the cell when it was looked up: later it may be wrong */
};
#define ENTITY_NEEDS_MAX 4

/* --- for decide, apply, observe ----------------------------------------------------------- */

/* The slot of an entity, loaded where it was not in memory; MAP_NONE: there is none. Loading may
 * move the capability's array: ask first, then point into it. */
uint32_t entity_get(const struct state *state, const struct entity_kind *kind, struct hash128 key);
/* Kinds without memory of their own (an index from another id): the bytes, until the next call;
 * ptr NULL: there is none. */
struct str entity_bytes(const struct state *state, const struct entity_kind *kind,
                        struct hash128 key);

/* Something could not be read: what looks absent may be there. The core discards what follows. */
bool state_unread(const struct state *state);

/* --- for apply and observe alone ------------------------------------------------------------ */

/* The entity in this slot is new, or has changed. */
enum err entity_changed(struct state *state, const struct entity_kind *kind, uint32_t slot)
    WARN_UNUSED;
/* It has gone for good; call it while the slot still holds it. */
enum err entity_gone(struct state *state, const struct entity_kind *kind, uint32_t slot) WARN_UNUSED;
/* The same for kinds without slots. A key is put once, and again only after it was dropped. */
enum err entity_put(struct state *state, const struct entity_kind *kind, struct hash128 key,
                    struct str bytes) WARN_UNUSED;
enum err entity_drop(struct state *state, const struct entity_kind *kind, struct hash128 key)
    WARN_UNUSED;

/* A number as a key: shelves want keys evenly spread. The number itself is in lo. */
static inline struct hash128 entity_number_key(uint64_t kind, uint64_t number) {
    return (struct hash128){.lo = number, .hi = kind ^ number * UINT64_C(0x9e3779b97f4a7c15)};
}

/* --- bytes ------------------------------------------------------------------------------------ */

/* Integers in as few bytes as they need (7 bits a byte, lowest first; signed ones zigzag), texts
 * with their length before them. */
void pack_uint(struct buf *out, uint64_t value);
void pack_int(struct buf *out, int64_t value);
void pack_str(struct buf *out, struct str text);
void pack_hash(struct buf *out, struct hash128 hash);

struct unpack {
    const char *at, *end;
    bool failed; /* read past the end: what was answered since is 0 or empty */
};
static inline struct unpack unpack_of(struct str bytes) {
    return (struct unpack){.at = bytes.ptr, .end = bytes.ptr + bytes.len};
}
uint64_t unpack_uint(struct unpack *in);
int64_t unpack_int(struct unpack *in);
struct str unpack_str(struct unpack *in); /* points into the bytes */
struct hash128 unpack_hash(struct unpack *in);
/* ERR_DAMAGED unless all of it was read and nothing was missing. */
enum err unpack_end(const struct unpack *in) WARN_UNUSED;

#endif
