/* The inside of replays: replay.c (one under way), replay_ops.c (what people ask for and see). */
#ifndef PENSTOCK_DELIVER_REPLAY_PRIV_H
#define PENSTOCK_DELIVER_REPLAY_PRIV_H

#include "deliver/deliver_priv.h"
#include "deliver/replay.h"

#define REPLAY_WINDOW 512       /* events of one that are read ahead, and wait or are out */
#define REPLAY_READ_RECORDS 512 /* of the journal, in one step */
#define REPLAYS_KEPT 200        /* that are over */
#define REPLAYS_MAX 64          /* that are not */

struct replay_entry {
    uint64_t seq;
    char *key; /* used again */
    uint32_t key_len, key_cap;
    enum { ENTRY_WAITS, ENTRY_OUT, ENTRY_SENT, ENTRY_FOUND, ENTRY_HELD, ENTRY_SUPERSEDED } state;
};

/* One replay in memory, under deliver's lock; the loop alone changes it. */
struct replay_job {
    struct arena arena;
    struct replay row;
    bool dirty, telling;
    /* counting, and knowing the newest of each key */
    uint64_t scanned;
    bool mapped; /* scanned to the end */
    struct replay_keys *keys; /* NULL: not asked for */
    struct replay_type *types;
    /* sending */
    uint64_t read_to;
    struct replay_entry *window; /* a ring of REPLAY_WINDOW; NULL: not yet */
    uint32_t first, count, out;
    int64_t next_send_us, due_us;
    int64_t read_us; /* the journal is not read on before it: an archive is being unpacked */
};

static inline bool replay_over(const struct replay *r) {
    return r->state == REPLAY_COUNTED || r->state >= REPLAY_DONE;
}
/* Under the lock. NULL: none. */
struct replay_job *replay_find(const struct deliver *d, uint64_t id);
/* Takes the row (its texts are copied) as a new one. */
struct replay_job *replay_add(struct deliver *d, const struct replay *row);
void replay_drop(struct deliver *d, struct replay_job *job);
/* The one whose turn it is. */
void replay_pick(struct subscription *sub);
void replay_state_set(struct replay_job *job, enum replay_state state);
/* Tells the journal. `by` absent: nobody in particular. False: not now. */
bool replay_tell(struct subscription *sub, const struct replay_job *job, int32_t action, struct str by,
                 struct str reason, bool wait);

#endif
