/* journal_sqlite_priv: what journal_sqlite.c and journal_tidy.c share. */
#ifndef PENSTOCK_STORE_JOURNAL_SQLITE_PRIV_H
#define PENSTOCK_STORE_JOURNAL_SQLITE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/db.h"
#include "store/journal_sqlite.h"

#define JOURNAL_APPLICATION_ID 0x50534a4c /* "PSJL" */
#define PATH_BYTES 4096
#define READ_CHUNK_RECORDS 512

/* A connection to read with, and the chunk of rows that were read last. */
struct journal_conn {
    struct journal_conn *next; /* idle list */
    sqlite3 *db;
    bool owned; /* else it is the writer's (exclusive) */
    sqlite3_stmt *select;
    char *bytes; /* texts of the chunk */
    size_t len, cap;
    struct record records[READ_CHUNK_RECORDS];
    uint64_t sums[READ_CHUNK_RECORDS]; /* as stored beside them */
};

struct journal_sqlite {
    struct journal journal;
    char file[PATH_BYTES];
    char vfs[64];
    bool exclusive, read_only;
    int lock_fd;
    /* Held by an append, and by tidy for its last, short step. Where the journal is exclusive,
     * by whoever uses the one connection. */
    pthread_mutex_t gate;
    sqlite3 *writer;
    sqlite3_stmt *begin, *insert, *commit, *newest;
    _Atomic uint64_t last;
    _Atomic bool last_unknown; /* an append failed and reading back failed too */
    pthread_mutex_t pool_lock;
    struct journal_conn *idle;
    uint32_t idle_count;
    /* tidy's */
    sqlite3 *tidier;
    uint64_t wal_bytes_max;
    struct clock *clock;
    _Atomic uint32_t wal_pages;  /* in the WAL after the last commit */
    uint32_t tidied_pages;       /* of them copied to the file when tidy last ran */
    _Atomic uint64_t checkpoints, stall_us_max;
};

#define JOURNAL_PAGE_BYTES 16384
#define JOURNAL_FRAME_BYTES (JOURNAL_PAGE_BYTES + 24u) /* a page in the WAL, with its header */

/* From now on each commit of the writer tells how long the WAL is. */
void journal_wal_watch(struct journal_sqlite *j);
/* A connection to the segment. */
enum err journal_connect(struct journal_sqlite *j, bool create, sqlite3 **out,
                         struct fault *fault) WARN_UNUSED;
/* The checksum stored beside a record: a byte that changed on disk is found when it is read. */
uint64_t journal_record_sum(const struct record *record);
enum err journal_sqlite_tidy(struct journal *journal, bool *again, struct fault *fault);

#endif
