/* journal_sqlite_priv: what the files journal_*.c share. */
#ifndef PENSTOCK_STORE_JOURNAL_SQLITE_PRIV_H
#define PENSTOCK_STORE_JOURNAL_SQLITE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/db.h"
#include "store/journal_sqlite.h"

#define JOURNAL_APPLICATION_ID 0x50534a4c /* "PSJL" */
#define CHAIN_APPLICATION_ID 0x50534a43   /* "PSJC" */
#define PATH_BYTES 4096
#define READ_CHUNK_RECORDS 512
#define JOURNAL_PAGE_BYTES 16384
#define JOURNAL_FRAME_BYTES (JOURNAL_PAGE_BYTES + 24u) /* a page in the WAL, with its header */

/* A connection to read with, and the chunk of rows that were read last. */
struct journal_conn {
    struct journal_conn *next; /* idle list, the one used last first */
    uint64_t number;           /* of the segment */
    sqlite3 *db;
    bool owned; /* else it is the one that writes (exclusive) */
    bool immutable;
    sqlite3_stmt *select;
    char *bytes; /* texts of the chunk */
    size_t len, cap;
    struct record records[READ_CHUNK_RECORDS];
    uint64_t sums[READ_CHUNK_RECORDS]; /* as stored beside them */
};

/* A segment that can be written. All zero: none. */
struct segment_file {
    uint64_t number;
    uint64_t base; /* the seq before its first */
    sqlite3 *db;
    sqlite3_stmt *begin, *insert, *commit, *newest;
};

/* The steps by which a closed segment is sealed: journal_seal.c. */
enum seal_step { SEAL_OPEN, SEAL_MARK, SEAL_COPY, SEAL_FLIP, SEAL_SYNC, SEAL_HASH, SEAL_RECORD };
struct seal {
    enum seal_step step;
    struct segment segment; /* what is known so far */
    sqlite3 *db;            /* open immutable, from SEAL_SYNC on */
    struct evp_md_ctx_st *hash;
    uint64_t hashed;
};

struct journal_sqlite {
    struct journal journal;
    char prefix[PATH_BYTES]; /* of the names of all its files */
    char folder[PATH_BYTES]; /* they are in; "" when exclusive */
    char vfs[64];
    char cell[256];
    bool exclusive, read_only, maintain;
    int lock_fd; /* of the program that writes, or of the one that maintains */
    uint64_t segment_bytes;
    struct clock *clock;
    /* Held by an append, and by tidy for short steps: what is below, up to the next lock. Where
     * the journal is exclusive, by whoever uses a connection. */
    pthread_mutex_t gate;
    struct segment_file live, next; /* next: made beforehand, or none */
    bool settled; /* the live segment's last append succeeded, so all in it is durable */
    uint64_t live_bytes; /* what the live segment's file will hold, about */
    _Atomic uint64_t last;
    _Atomic bool last_unknown; /* an append failed and reading back failed too */
    _Atomic uint32_t wal_pages; /* in the live WAL after the last commit */
    /* pool_lock: the table of segments, and idle connections. */
    pthread_mutex_t pool_lock;
    struct segment *segments; /* by number, oldest first, without a gap; the last one is live */
    uint32_t segment_count, segment_cap;
    struct journal_conn *idle;
    uint32_t idle_count;
    /* chain_lock: chain.db; NULL until there is something to say. */
    pthread_mutex_t chain_lock;
    sqlite3 *chain;
    _Atomic uint64_t floor; /* the lowest seq still needed, as the hub says; 0: not yet */
    uint64_t floor_written; /* tidy's */
    pthread_mutex_t cache_lock; /* while an archived segment is unpacked */
    _Atomic uint64_t cache_wanted, cache_failed; /* numbers: tidy unpacks it next; it could not; 0: none */
    /* tidy's */
    sqlite3 *tidier;       /* to the live segment; shared mode */
    uint64_t tidier_number;
    struct segment_file old; /* the closed segment, while it is being sealed; the switch puts it
                                there, under gate */
    struct seal seal;
    uint32_t tidied_pages; /* of the live WAL copied to the file when tidy last ran */
    _Atomic uint64_t switches, switch_us_max;
    struct histogram sync_us;       /* the writer's */
    struct histogram checkpoint_us; /* tidy's */
};

static inline struct journal_sqlite *journal_of(struct journal *journal) {
    return (struct journal_sqlite *)journal;
}

/* --- journal_sqlite.c --- */

/* The file of a segment. */
void segment_path(const struct journal_sqlite *j, uint64_t number, char out[PATH_BYTES]);
/* Through the VFS. */
bool file_exists(const struct journal_sqlite *j, const char *path);
enum err segment_open(struct journal_sqlite *j, uint64_t number, bool create,
                      struct segment_file *out, struct fault *fault) WARN_UNUSED;
void segment_close(struct segment_file *file);
/* The first and last seq of what is open; 0 and 0 where it is empty. */
enum err segment_range(sqlite3 *db, uint64_t *first, uint64_t *last,
                       struct fault *fault) WARN_UNUSED;
enum err segment_newest(const struct segment_file *file, uint64_t *seq,
                        struct fault *fault) WARN_UNUSED;
/* A connection that reads a segment's file among the others; immutable: it is sealed. */
enum err segment_connect(struct journal_sqlite *j, uint64_t number, bool immutable, sqlite3 **out,
                         struct fault *fault) WARN_UNUSED;
/* A connection that reads a segment wherever it is. Its state may have changed since the caller
 * looked; *segment is renewed then. */
enum err segment_reach(struct journal_sqlite *j, struct segment *segment, sqlite3 **out,
                       struct fault *fault) WARN_UNUSED;
enum err cell_check(sqlite3 *db, struct str cell, struct fault *fault) WARN_UNUSED;
/* From now on each commit to the live segment tells how long its WAL is. */
void wal_watch(struct journal_sqlite *j);

/* --- journal_read.c --- */

/* The checksum stored beside a record: a byte that changed on disk is found when it is read. */
uint64_t journal_record_sum(const struct record *record);
enum err journal_sqlite_read(struct journal *journal, uint64_t from, uint32_t limit,
                             journal_visit *visit, void *ctx, uint64_t *next,
                             struct fault *fault) WARN_UNUSED;
enum err journal_sqlite_last(struct journal *journal, uint64_t *seq,
                             struct fault *fault) WARN_UNUSED;
/* Closes idle connections to a segment; 0: to all. */
void pool_drop(struct journal_sqlite *j, uint64_t number);

/* --- journal_chain.c --- */

/* Fills the table of segments from chain.db, and from the files behind what it knows. */
enum err chain_load(struct journal_sqlite *j, struct fault *fault) WARN_UNUSED;
/* Room in the table for one segment more, so that a switch can not fail. */
enum err chain_reserve(struct journal_sqlite *j, struct fault *fault) WARN_UNUSED;
/* The live segment ends at `last` and number + 1 is live. */
void chain_switch(struct journal_sqlite *j, uint64_t last);
/* The segment that holds seq, or will. */
enum err chain_find(struct journal_sqlite *j, uint64_t seq, struct segment *out,
                    struct fault *fault) WARN_UNUSED;
bool chain_is_live(struct journal_sqlite *j, uint64_t number);
/* The oldest that is closed and not sealed; false where there is none. */
bool chain_closed(struct journal_sqlite *j, struct segment *out);
/* Looks for segments that another program began; *found whether there are any (read_only). */
enum err chain_follow(struct journal_sqlite *j, bool *found, struct fault *fault) WARN_UNUSED;
/* Reads chain.db again: another program archived, restored or removed segments. */
enum err chain_refresh(struct journal_sqlite *j, struct fault *fault) WARN_UNUSED;
/* A sealed segment, into chain.db and the table. */
enum err chain_add(struct journal_sqlite *j, const struct segment *segment,
                   struct fault *fault) WARN_UNUSED;
/* Where a segment is from now on, in chain.db and the table. */
enum err chain_place(struct journal_sqlite *j, uint64_t number, enum segment_state state,
                     const char *archive, uint64_t archive_bytes,
                     struct fault *fault) WARN_UNUSED;
/* Writes the floor down if it has passed the end of a segment. */
enum err chain_floor(struct journal_sqlite *j, struct fault *fault) WARN_UNUSED;
void chain_close(struct journal_sqlite *j);

/* --- journal_archive.c --- */

#define JOURNAL_CACHE_SEGMENTS 4
/* Deletes what a crash left half packed ("", below the journal's folder) or half unpacked
 * ("/cache"). */
void parts_remove(const struct journal_sqlite *j, const char *below);
/* The path of an archived segment's file, unpacked if it is not yet. */
enum err cache_fetch(struct journal_sqlite *j, const struct segment *segment,
                     char out[PATH_BYTES], struct fault *fault) WARN_UNUSED;
/* Of struct journal_ops: near. */
bool cache_near(struct journal *journal, uint64_t seq, bool bring);
/* Unpacks what was asked for, if anything was. */
void cache_bring(struct journal_sqlite *j);

/* --- journal_tidy.c, journal_seal.c --- */

enum err journal_sqlite_tidy(struct journal *journal, bool *again, struct fault *fault);
void journal_stats_read(struct journal *journal, struct journal_stats *out);
enum err wal_checkpoint(sqlite3 *db, int mode, uint32_t *in_wal, uint32_t *copied,
                        struct fault *fault) WARN_UNUSED;
/* fsync through SQLite's own handle: to open and close the file beside it would drop the
 * process's locks on it. */
enum err segment_sync(sqlite3 *db, struct fault *fault) WARN_UNUSED;
/* The next step of sealing the oldest closed segment. *again false: it has to wait for someone
 * who still reads the segment. */
enum err seal_next(struct journal_sqlite *j, const struct segment *closed, bool *again,
                   struct fault *fault) WARN_UNUSED;
void seal_end(struct journal_sqlite *j);

/* The hash of the segment before, from the meta of this one; "" for the first. */
enum err segment_before(sqlite3 *db, char out[SEGMENT_HASH_TEXT], struct fault *fault) WARN_UNUSED;

/* --- segment_hash.c --- */

/* Goes on with the file behind db from *at, at least to `until`; *end: all of it is in. */
enum err segment_hash_some(sqlite3 *db, struct evp_md_ctx_st *hash, uint64_t *at, uint64_t until,
                           bool *end, struct fault *fault) WARN_UNUSED;
/* The text, and frees. */
void segment_hash_end(struct evp_md_ctx_st *hash, char out[SEGMENT_HASH_TEXT]);

#endif
