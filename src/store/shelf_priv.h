/* shelf_priv: what the files of the shelf share: shelf_sqlite.c (life, writing), shelf_chunk.c
 * (how entries lie in a row), shelf_run.c (runs, views, the tables), shelf_merge.c (many runs
 * into one), shelf_read.c (get, each).
 *
 * Always true:
 * - A chunk is never changed: written once under an id that is never used again, deleted only
 *   when no view holds its run. So a reader needs no long transaction, only a view.
 * - A view lists the live runs of a space, newest first; of one key the first run's entry counts.
 * - Memory changes only after the transaction that says the same to the file has committed. */
#ifndef PENSTOCK_STORE_SHELF_PRIV_H
#define PENSTOCK_STORE_SHELF_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/db.h"
#include "store/shelf_filter.h"
#include "store/shelf_sqlite.h"

#define SHELF_APPLICATION_ID 0x50535348 /* "PSSH" */
#define SHELF_LAYOUT 1u                 /* of tables and chunks; beside the caller's format */
#define SHELF_PAGE_BYTES 16384
#define SHELF_FRAME_BYTES (SHELF_PAGE_BYTES + 24u) /* a page in the WAL */
/* A chunk with its row's header fills one page; a longer value has a chunk for itself. */
#define SHELF_CHUNK_BYTES (SHELF_PAGE_BYTES - 64u)
#define SHELF_CHUNK_KEYS 1024u
#define SHELF_RUN_CHUNKS_MAX (1u << 24)
#define SHELF_GONE UINT32_MAX /* in place of a value's length */
#define SHELF_FAN 8u          /* runs merged into one */
#define SHELF_LEVELS 16u
#define SHELF_RUNS_MAX 64u /* of a space; a write then merges first */
/* Index and filter of a run with so few chunks are made again from these when it is opened. */
#define SHELF_CHUNKS_SMALL 4u
#define PATH_BYTES 4096

enum run_state { RUN_LIVE, RUN_BUILDING, RUN_DEAD };

/* A connection and its statements. Used by one thread at a time. */
struct shelf_conn {
    struct shelf_conn *next; /* idle list */
    sqlite3 *db;
    sqlite3_stmt *chunk; /* its data by id */
    char *bytes;         /* for get, and for loading */
    size_t cap;
};

/* --- shelf_chunk.c ----------------------------------------------------------------------- */

/* A chunk's row: u64 checksum (seeded with its id), u32 count, u32 length of each value or
 * SHELF_GONE; then the keys (hi, lo), sorted; the lengths, where they differ (SHELF_GONE: the
 * entity is gone); the values. In this machine's byte order: the file stays on it. */
struct shelf_chunk {
    uint32_t count, fixed_len;
    const char *keys, *lens, *values;
};
static inline uint64_t load64(const char *at) {
    uint64_t v;
    memcpy(&v, at, sizeof v);
    return v;
}
static inline uint32_t load32(const char *at) {
    uint32_t v;
    memcpy(&v, at, sizeof v);
    return v;
}
static inline struct hash128 chunk_key(const struct shelf_chunk *c, uint32_t at) {
    return (struct hash128){.hi = load64(c->keys + 16 * (size_t)at),
                            .lo = load64(c->keys + 16 * (size_t)at + 8)};
}
static inline uint32_t chunk_len(const struct shelf_chunk *c, uint32_t at) {
    return c->fixed_len != SHELF_GONE ? c->fixed_len : load32(c->lens + 4 * (size_t)at);
}
static inline int key_cmp(struct hash128 a, struct hash128 b) {
    if (a.hi != b.hi)
        return a.hi < b.hi ? -1 : 1;
    return (a.lo > b.lo) - (a.lo < b.lo);
}
static inline int64_t chunk_id(int64_t run, uint32_t chunk) { return run << 24 | chunk; }

struct shelf_run;
/* Reads a chunk into *bytes (grown as needed) and checks it. ERR_DAMAGED, ERR_IO, ERR_NOMEM. */
enum err chunk_load(struct shelf_conn *conn, const struct shelf_run *run, uint32_t chunk,
                    char **bytes, size_t *cap, struct shelf_chunk *out,
                    struct fault *fault) WARN_UNUSED;
/* The value under key: its length (SHELF_GONE too) and place. False: it has none. */
bool chunk_find(const struct shelf_chunk *chunk, struct hash128 key, uint32_t *len,
                const char **value);

/* Makes the chunks of one run, from entries in order of key. */
struct shelf_builder {
    struct shelf_sqlite *shelf;
    struct shelf_run *run; /* being made: its index, filter and counts */
    uint32_t count, uniform_len;
    bool uniform;
    struct hash128 keys[SHELF_CHUNK_KEYS];
    uint32_t lens[SHELF_CHUNK_KEYS];
    char *values, *out;
    size_t values_len, values_cap, out_cap;
    uint32_t firsts_cap;
};
/* value.ptr NULL: gone. Inside a transaction, as flush. */
enum err builder_add(struct shelf_builder *b, struct hash128 key, struct str value,
                     struct fault *fault) WARN_UNUSED;
enum err builder_flush(struct shelf_builder *b, struct fault *fault) WARN_UNUSED;
void builder_free(struct shelf_builder *b);

/* The entries of many runs in order of key, the newest of each key. */
struct shelf_cursor {
    struct shelf_run *run;
    uint32_t next, at; /* chunk to load next; entry of the present one */
    struct shelf_chunk chunk;
    const char *value; /* of the present entry */
    char *bytes;
    size_t cap;
};
struct shelf_merger {
    struct shelf_conn *conn;
    uint32_t count, heap_count;
    struct shelf_cursor *cursors; /* newest run first */
    struct shelf_head {
        struct hash128 key;
        uint32_t cursor;
    } *heap;
};
/* Runs newest first; they must stay until merger_free. */
enum err merger_make(struct shelf_merger *m, struct shelf_conn *conn, struct shelf_run **runs,
                     uint32_t count, struct fault *fault) WARN_UNUSED;
void merger_free(struct shelf_merger *m);
static inline bool merger_done(const struct shelf_merger *m) { return m->heap_count == 0; }
/* The present entry; ptr NULL: gone. Valid until merger_next. */
static inline struct hash128 merger_entry(const struct shelf_merger *m, struct str *value) {
    const struct shelf_cursor *c = &m->cursors[m->heap[0].cursor];
    uint32_t len = chunk_len(&c->chunk, c->at);
    *value = len == SHELF_GONE ? STR_NONE : str_of(c->value, len);
    return m->heap[0].key;
}
/* On to the next key. *read: bytes of entries that were passed. */
enum err merger_next(struct shelf_merger *m, uint64_t *read, struct fault *fault) WARN_UNUSED;

/* --- shelf_run.c ------------------------------------------------------------------------- */

struct shelf_run {
    _Atomic uint32_t refs;
    struct shelf_run *next; /* list of the dead */
    int64_t id;
    uint32_t space, level, chunks;
    uint64_t entries, bytes;
    int64_t newest_us; /* latest time of a value, where these expire */
    struct hash128 *firsts; /* key of each chunk's first entry */
    struct filter filter;
    size_t memory; /* counted in the shelf's */
    bool merging;
};
struct shelf_view {
    _Atomic uint32_t refs;
    uint32_t count;
    struct shelf_run *runs[]; /* newest first; held */
};

struct shelf_merge; /* shelf_merge.c */

struct shelf_space_state {
    char name[64];
    bool sparse, expires;
    int64_t id; /* in the file */
    struct shelf_view *view; /* changed under `views`; read under it or by the writing thread */
    struct shelf_merge *merges[SHELF_LEVELS]; /* under way; else NULL */
};

struct shelf_sqlite {
    struct shelf shelf;
    char file[PATH_BYTES], vfs[64];
    bool exclusive, broken; /* broken: a sync failed; nothing more goes to this file */
    uint32_t format, space_count;
    struct shelf_space_state spaces[SHELF_SPACES_MAX];
    uint64_t wal_bytes_max;
    /* Held for reading by who uses files, for writing by reset. */
    pthread_rwlock_t life;
    pthread_rwlock_t views; /* held for moments */
    pthread_mutex_t pool_lock;
    struct shelf_conn *idle;
    uint32_t idle_count;
    /* The writing thread's. */
    struct shelf_conn writer;
    sqlite3_stmt *begin, *commit, *meta_put, *run_put, *run_delete, *chunk_put, *chunks_delete,
        *part_put, *parts_delete;
    struct shelf_run *dead; /* their rows are still to be deleted */
    int64_t next_run;
    uint64_t runs_sum, runs_sum_next; /* of the live rows: committed; in this transaction */
    uint32_t turn;                    /* whose merge is next */
    uint32_t wal_pages, wal_copied;
    uint64_t written_bytes;
    _Atomic uint64_t seq;
    _Atomic int64_t forget_us; /* values older than that are gone */
    _Atomic size_t memory;
};

/* A run object of a space: next id, one reference. NULL: no memory. */
struct shelf_run *run_create(struct shelf_sqlite *s, uint32_t space, uint32_t level);
void run_release(struct shelf_sqlite *s, struct shelf_run *run);
/* Counts its memory, now that it is complete. */
void run_weigh(struct shelf_sqlite *s, struct shelf_run *run);
/* Makes its filter, for so many keys. */
bool run_filter_make(struct shelf_sqlite *s, struct shelf_run *run, uint64_t keys);
void run_filter_fit(struct shelf_sqlite *s, struct shelf_run *run);
/* Its row; a live one counts in runs_sum_next. */
enum err run_put(struct shelf_sqlite *s, const struct shelf_run *run, enum run_state state,
                 struct fault *fault) WARN_UNUSED;
/* What the row of a live run adds to the sum. */
uint64_t run_sum(const struct shelf_sqlite *s, const struct shelf_run *run);
/* Index and filter in rows of their own, up to `budget` bytes; *part counts what is there. */
enum err run_parts_put(struct shelf_sqlite *s, const struct shelf_run *run, uint32_t *part,
                       uint64_t budget, bool *done, struct fault *fault) WARN_UNUSED;
/* All runs of the file, into views and the list of the dead; spaces that are not ours die. */
enum err runs_load(struct shelf_sqlite *s, struct fault *fault) WARN_UNUSED;
/* Deletes about as many bytes of dead runs. *more: there are others, which nobody holds. */
enum err dead_delete(struct shelf_sqlite *s, uint64_t budget, bool *more,
                     struct fault *fault) WARN_UNUSED;
void dead_add(struct shelf_sqlite *s, struct shelf_run *run); /* takes over a reference */
/* After the transaction: forgets those of which nothing is left in the file. */
void dead_sweep(struct shelf_sqlite *s, bool committed);

struct shelf_view *view_create(uint32_t count); /* runs to be filled in, each held */
struct shelf_view *view_hold(struct shelf_sqlite *s, uint32_t space);
void view_release(struct shelf_sqlite *s, struct shelf_view *view);
/* The new view takes the place of the old one, which is released. NULL entries: unchanged. */
void views_publish(struct shelf_sqlite *s, struct shelf_view *fresh[SHELF_SPACES_MAX]);

/* --- shelf_merge.c ----------------------------------------------------------------------- */

enum err shelf_sqlite_tidy(struct shelf *shelf, bool *again, struct fault *fault);
/* Merges until no space has too many runs. */
enum err merges_relieve(struct shelf_sqlite *s, struct fault *fault) WARN_UNUSED;
/* Forgets merges under way; what they wrote is left to be deleted. */
void merges_drop(struct shelf_sqlite *s);
/* Whether the value's time is over. */
static inline bool value_expired(const struct shelf_space_state *space, struct str value,
                                 int64_t forget_us) {
    return space->expires && value.ptr &&
           (value.len < 8 || (int64_t)load64(value.ptr) < forget_us);
}

/* --- shelf_read.c ------------------------------------------------------------------------ */

enum err shelf_sqlite_get(struct shelf *shelf, uint32_t space, struct hash128 key,
                          struct arena *arena, struct str *value, struct fault *fault);
enum err shelf_sqlite_each(struct shelf *shelf, uint32_t space, shelf_visit *visit, void *ctx,
                           struct fault *fault);
bool shelf_sqlite_maybe(struct shelf *shelf, uint32_t space, struct hash128 key);
/* Closes connections that nobody uses. */
void pool_drain(struct shelf_sqlite *s);

/* --- shelf_sqlite.c ---------------------------------------------------------------------- */

enum err shelf_connect(struct shelf_sqlite *s, bool create, bool *damaged, sqlite3 **out,
                       struct fault *fault) WARN_UNUSED;
enum err conn_prepare(struct shelf_conn *conn, struct fault *fault) WARN_UNUSED;
void conn_finish(struct shelf_conn *conn); /* statements and bytes, not the connection */
/* ERR_DAMAGED where nothing may go to the file any more. */
enum err shelf_usable(struct shelf_sqlite *s, struct fault *fault) WARN_UNUSED;
enum err shelf_begin(struct shelf_sqlite *s, struct fault *fault) WARN_UNUSED;
/* Writes the meta row with this seq and the new sum of runs, and commits. */
enum err shelf_commit(struct shelf_sqlite *s, uint64_t seq, int64_t forget_us,
                      struct fault *fault) WARN_UNUSED;
/* After an error: nothing of it stays. Says ERR_DAMAGED where that is the cause. */
enum err shelf_rollback(struct shelf_sqlite *s, enum err err, struct fault *fault);
/* err, or ERR_DAMAGED where SQLite says that the file is. */
enum err shelf_err(sqlite3 *db, enum err err, struct fault *fault);

#endif
