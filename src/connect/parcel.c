/* parcel: see parcel.h. A ring in the order they came, and a map from ids to places in it. A parcel
 * that was taken leaves a gap, which goes when it is the oldest. The lock is held for a few hundred
 * nanoseconds, but for a sweep that has much to forget. */
#include "connect/parcel.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "base/mem.h"

struct parcels {
    _Atomic uint32_t users;
    pthread_mutex_t lock; /* of what follows */
    struct parcel *ring[PARCELS_MAX]; /* NULL: was taken */
    uint32_t first, count;            /* gaps included */
    size_t bytes;
    struct map by_id; /* to places in the ring */
};

enum err parcels_create(struct parcels **out, struct fault *fault) {
    *out = mem_zalloc(sizeof **out);
    if (!*out)
        return fault_set(fault, ERR_NOMEM, "no memory for payloads on their way");
    (*out)->users = 1;
    must(pthread_mutex_init(&(*out)->lock, NULL) == 0);
    return OK;
}

struct parcels *parcels_share(struct parcels *parcels) {
    must(atomic_fetch_add(&parcels->users, 1) > 0);
    return parcels;
}

void parcels_release(struct parcels *parcels) {
    if (!parcels || atomic_fetch_sub(&parcels->users, 1) > 1)
        return;
    for (uint32_t i = 0; i < PARCELS_MAX; i++)
        parcel_free(parcels->ring[i]);
    map_free(&parcels->by_id);
    pthread_mutex_destroy(&parcels->lock);
    mem_free(parcels);
}

struct parcel *parcel_create(void) {
    struct parcel *parcel = mem_zalloc(sizeof *parcel);
    if (parcel)
        arena_init(&parcel->arena, 0);
    return parcel;
}

void parcel_free(struct parcel *parcel) {
    if (!parcel)
        return;
    arena_free(&parcel->arena);
    mem_free(parcel);
}

static uint64_t hash_of(struct id128 id) { return id_key(id).hi; }

static bool place_eq(const void *ctx, uint32_t place, const void *key) {
    return memcmp(&((const struct parcels *)ctx)->ring[place]->id, key, sizeof(struct id128)) == 0;
}
static uint64_t place_hash(const void *ctx, uint32_t place) {
    return hash_of(((const struct parcels *)ctx)->ring[place]->id);
}

/* Lock held. Takes what is in this place out. */
static struct parcel *ring_clear(struct parcels *parcels, uint32_t place) {
    struct parcel *parcel = parcels->ring[place];
    must(map_remove(&parcels->by_id, hash_of(parcel->id), place));
    parcels->bytes -= parcel->arena.used;
    parcels->ring[place] = NULL;
    return parcel;
}

/* Lock held. Gaps at the beginning, and what is too old. */
static void ring_advance(struct parcels *parcels, int64_t tick_us) {
    while (parcels->count > 0) {
        struct parcel *oldest = parcels->ring[parcels->first];
        if (oldest && tick_us - oldest->put_us < PARCEL_KEEP_US)
            break;
        if (oldest)
            parcel_free(ring_clear(parcels, parcels->first));
        parcels->first = (parcels->first + 1) % PARCELS_MAX;
        parcels->count--;
    }
}

void parcels_put(struct parcels *parcels, struct parcel *parcel, struct id128 id, int64_t tick_us) {
    parcel->id = id;
    parcel->put_us = tick_us;
    pthread_mutex_lock(&parcels->lock);
    ring_advance(parcels, tick_us);
    uint32_t place = (parcels->first + parcels->count) % PARCELS_MAX;
    bool room = parcels->count < PARCELS_MAX && parcels->bytes + parcel->arena.used <= PARCELS_BYTES;
    if (room) {
        parcels->ring[place] = parcel;
        room = map_add(&parcels->by_id, hash_of(id), place, place_hash, parcels);
    }
    if (room) {
        parcels->count++;
        parcels->bytes += parcel->arena.used;
    } else if (parcels->ring[place] == parcel) {
        parcels->ring[place] = NULL;
    }
    pthread_mutex_unlock(&parcels->lock);
    if (!room)
        parcel_free(parcel);
}

struct parcel *parcels_take(struct parcels *parcels, struct id128 id) {
    pthread_mutex_lock(&parcels->lock);
    uint32_t place = map_find(&parcels->by_id, hash_of(id), place_eq, parcels, &id);
    struct parcel *parcel = place == MAP_NONE ? NULL : ring_clear(parcels, place);
    pthread_mutex_unlock(&parcels->lock);
    return parcel;
}

int64_t parcels_sweep(struct parcels *parcels, int64_t tick_us) {
    pthread_mutex_lock(&parcels->lock);
    ring_advance(parcels, tick_us);
    int64_t next = parcels->count > 0 ? parcels->ring[parcels->first]->put_us + PARCEL_KEEP_US : INT64_MAX;
    pthread_mutex_unlock(&parcels->lock);
    return next;
}
