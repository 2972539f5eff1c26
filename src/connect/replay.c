/* replay: see replay.h. A table of sets: an entry lies in the set that its hash names, and takes
 * the place of the oldest there. */
#include "connect/replay.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/mem.h"

#define WAYS 8
#define SETS (REPLAY_ENTRIES / WAYS)

struct entry {
    struct hash128 bytes;
    int64_t at_us; /* 0: free */
    uint8_t len;
    char id[REPLAY_ID_BYTES];
};

struct replay {
    _Atomic uint32_t users;
    pthread_mutex_t lock;
    struct entry entries[SETS][WAYS];
};

enum err replay_create(struct replay **out, struct fault *fault) {
    *out = mem_zalloc(sizeof **out);
    if (!*out)
        return fault_set(fault, ERR_NOMEM, "no memory for the messages that came last");
    (*out)->users = 1;
    must(pthread_mutex_init(&(*out)->lock, NULL) == 0);
    return OK;
}

struct replay *replay_take(struct replay *replay) {
    must(atomic_fetch_add(&replay->users, 1) > 0);
    return replay;
}

void replay_release(struct replay *replay) {
    if (!replay || atomic_fetch_sub(&replay->users, 1) > 1)
        return;
    pthread_mutex_destroy(&replay->lock);
    mem_free(replay);
}

struct str replay_id(struct replay *replay, struct hash128 bytes, struct str id, int64_t now_us,
                     int64_t window_us, struct arena *arena) {
    struct entry *set = replay->entries[bytes.lo % SETS], *found = NULL, *oldest = set;
    if (id.len > REPLAY_ID_BYTES)
        return id;
    pthread_mutex_lock(&replay->lock);
    for (struct entry *e = set; e < set + WAYS && !found; e++) {
        if (e->at_us && hash128_eq(e->bytes, bytes) && now_us - e->at_us <= window_us)
            found = e;
        if (e->at_us < oldest->at_us || hash128_eq(e->bytes, bytes))
            oldest = e;
    }
    struct str first = id;
    if (found) {
        first = arena_str(arena, str_of(found->id, found->len));
    } else {
        *oldest = (struct entry){.bytes = bytes, .at_us = now_us ? now_us : 1,
                                 .len = (uint8_t)id.len};
        if (id.len)
            memcpy(oldest->id, id.ptr, id.len);
    }
    pthread_mutex_unlock(&replay->lock);
    return first.ptr ? first : id;
}
