/* replay: see replay.h. A table of sets: an entry lies in the set that its hash names, and takes
 * the place of the oldest there. */
#include "connect/replay.h"

#include <pthread.h>

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
    pthread_mutex_t lock;
    struct entry entries[SETS][WAYS];
};

enum err replay_create(struct replay **out, struct fault *fault) {
    *out = mem_zalloc(sizeof **out);
    if (!*out)
        return fault_set(fault, ERR_NOMEM, "no memory for the messages that came last");
    must(pthread_mutex_init(&(*out)->lock, NULL) == 0);
    return OK;
}

void replay_destroy(struct replay *replay) {
    if (!replay)
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
