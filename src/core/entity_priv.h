/* The inside of entities: what the core keeps beside each kind. entity.c changes the sets,
 * shelving.c turns them into a flush and back. */
#ifndef PENSTOCK_CORE_ENTITY_PRIV_H
#define PENSTOCK_CORE_ENTITY_PRIV_H

#include "base/mem.h"
#include "base/rng.h"
#include "core/entity.h"
#include "core/shelf.h"

/* A slot's mark: 0 where it holds nothing the sets know of. */
#define MARK_DIRTY 0x80000000u   /* changed since the last flush took it */
#define MARK_WRITTEN 0x40000000u /* some version of it is, or is about to be, on the shelf */
#define MARK_FLUSH 0x3fffffffu   /* the flush that took it last */

struct written_slot {
    uint32_t slot, mark;
};
/* A key of a kind without slots that changed since the last flush. */
struct loose {
    struct hash128 key;
    size_t at, len; /* bytes in the set's text */
    bool put_first; /* it was new: dropped again, nothing needs to be written */
    bool there;
};

struct entity_set {
    const struct entity_kind *kind;
    void *part;
    uint32_t *marks;
    uint32_t mark_cap;
    uint32_t *dirty; /* a slot may stand in it twice or hold nothing any more: see its mark */
    uint32_t dirty_count, dirty_cap;
    struct hash128 *gone;
    uint32_t gone_count, gone_cap;
    struct loose *loose;
    uint32_t loose_count, loose_cap;
    struct map loose_map;
    struct buf loose_text;
    /* Slots in the order in which they were written or loaded: a ring. */
    struct written_slot *written;
    uint32_t written_first, written_count, written_cap;
    size_t bytes;   /* they take, for kinds that may leave memory */
};

/* The sets of one state. */
struct entities {
    struct shelf *shelf; /* NULL: nothing is written down */
    struct entity_set *sets;
    uint32_t count;
    uint32_t flush_number;
    uint64_t evictions; /* rounds of eviction so far */
    uint64_t evicted_ms; /* newest time of the timed keys that are not in memory */
    const struct entity_need *needs; /* of the command being decided */
    uint32_t need_count;
    struct arena arena; /* of bytes that were read */
    enum err failed;    /* the shelf could not be read: what was decided since is void */
    struct fault fault; /* its words */
    uint64_t loads, writer_loads;
};

struct entity_set *entity_set_of(struct entities *entities, const struct entity_kind *kind);
uint32_t entity_space(const struct entities *entities, const struct entity_kind *kind);
void entity_set_free(struct entity_set *set);
/* Brings an entity's bytes into memory, as written in the flush before. */
enum err entity_install(struct entities *entities, struct entity_set *set, struct hash128 key,
                        struct str bytes, uint32_t *slot) WARN_UNUSED;
/* The slot was taken by a flush, or loaded: it may be evicted from now on. */
enum err entity_written(struct entity_set *set, uint32_t slot, uint32_t mark) WARN_UNUSED;
/* Takes entities out of memory, oldest written first, until at most `bytes_max` are left of
 * those that may leave, or none of them is written. */
void entities_evict(struct entities *entities, size_t bytes_max);
size_t entities_bytes(const struct entities *entities);
/* The time in a timed kind's key, milliseconds since 1970; 0 for others. */
static inline uint64_t entity_ms(const struct entity_kind *kind, struct hash128 key) {
    return kind->flags & ENTITY_TIMED ? (uint64_t)id_key_ms(key) : 0;
}
/* What is on the shelf comes into memory: the resident kinds at a start, the others for dumps. */
enum err entities_load_all(struct entities *entities, bool resident, struct fault *fault)
    WARN_UNUSED;

#define ENTITY_ROOM(items, count, cap) MEM_ROOM(items, count, cap, 64)

#endif
