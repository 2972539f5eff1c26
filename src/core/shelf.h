/* shelf: the state written down, so that it may be larger than memory and need not be made again
 * from the whole journal at a start. Entities (an order, a key that was used, a stock position)
 * are bytes under a key, in named spaces; the shelf says which seq of the journal they reflect.
 * The core writes to it behind the journal; store/ implements it.
 *
 * Always true: entries and their seq are written together; the seq is never ahead of the
 * journal's; what was written and lost with a crash is older than what is left (an earlier
 * seq), never a part of it. */
#ifndef PENSTOCK_CORE_SHELF_H
#define PENSTOCK_CORE_SHELF_H

#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/str.h"

/* One kind of entity. The list is the core's, in order; an entry names a space by its index. */
struct shelf_space {
    const char *name; /* [a-z.]+, unique; what finds it again in the file */
    bool sparse;   /* most keys asked for are absent: answered from memory by a filter */
    bool expires;  /* values begin with an int64 time in microseconds, little endian: those
                      before shelf_write's forget_us may be dropped, and are not answered */
};
#define SHELF_SPACES_MAX 32

struct shelf_entry {
    uint32_t space;
    struct hash128 key;
    struct str value; /* ptr NULL: the entity is gone */
};

struct shelf;
typedef bool shelf_visit(void *ctx, struct hash128 key, struct str value); /* false: stop */

struct shelf_ops {
    /* Writes entries[0..n) and the seq they reflect, in one transaction. Of two with the same
     * space and key the later counts. `forget_us`: see expires. One thread at a time. On an
     * error nothing of it was written. */
    enum err (*write)(struct shelf *s, uint64_t seq, int64_t forget_us,
                      const struct shelf_entry *entries, uint32_t n, struct fault *fault);
    /* From memory alone, in well under a microsecond: false is certain, true is a guess (one in
     * a hundred wrong for sparse spaces; always true for others). Any thread. */
    bool (*maybe)(struct shelf *s, uint32_t space, struct hash128 key);
    /* The newest value (arena), ptr NULL where there is none. Any thread. ERR_DAMAGED: a value
     * was read that is not what was written. */
    enum err (*get)(struct shelf *s, uint32_t space, struct hash128 key, struct arena *arena,
                    struct str *value, struct fault *fault);
    /* Every entity of a space, in order of key, as it was at one moment. Any thread. */
    enum err (*each)(struct shelf *s, uint32_t space, shelf_visit *visit, void *ctx,
                     struct fault *fault);
    /* One bounded piece of housekeeping (merging), off the writer's path; *again: more to do.
     * Same thread as write. */
    enum err (*tidy)(struct shelf *s, bool *again, struct fault *fault);
    /* Empties it: seq 0. Same thread as write. */
    enum err (*reset)(struct shelf *s, struct fault *fault);
    uint64_t (*seq)(struct shelf *s); /* the seq its entries reflect; 0: empty. Any thread. */
    size_t (*memory)(struct shelf *s); /* bytes it holds in memory (filters). Any thread. */
    void (*close)(struct shelf *s);
};
/* An implementation embeds this first. */
struct shelf {
    const struct shelf_ops *ops;
};

#endif
