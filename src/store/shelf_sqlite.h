/* shelf_sqlite: core/shelf.h in an SQLite file of its own (data/state.db): sorted runs, merged
 * bit by bit, with a filter per run in memory.
 *
 * The file is in WAL mode with synchronous=NORMAL: a write does not wait for the disk, and after
 * a loss of power the newest writes may be missing, each as a whole: the journal has them. Every
 * byte that is read is checked; what does not match is ERR_DAMAGED, and costs a replay, no data.
 *
 * Keys must be evenly spread (hashes): filters and look-ups lay them out by their value. */
#ifndef PENSTOCK_STORE_SHELF_SQLITE_H
#define PENSTOCK_STORE_SHELF_SQLITE_H

#include "core/shelf.h"

struct shelf_sqlite_options {
    const char *vfs;    /* SQLite VFS to reach the disk by; NULL: the default (seam `disk`) */
    bool exclusive;     /* the simulator: one connection for all, without shared memory */
    const struct shelf_space *spaces; /* copied; names of at most 63 bytes */
    uint32_t space_count;             /* at most SHELF_SPACES_MAX */
    uint32_t format;    /* of the values; a file with another one is emptied */
    bool empty;         /* discard what is there, damaged or not (never a file of another kind) */
    uint64_t wal_bytes; /* tidy copies the WAL into the file once it is longer; 0: default */
};
#define SHELF_WAL_BYTES_DEFAULT ((uint64_t)16 << 20)
/* A longer value is refused (ERR_TOO_LARGE). */
#define SHELF_VALUE_BYTES_MAX ((size_t)64 << 20)

enum shelf_found {
    SHELF_KEPT,    /* what was there counts */
    SHELF_NEW,     /* there was none */
    SHELF_FORMAT,  /* there was one of another format: emptied */
    SHELF_EMPTIED, /* as the options asked */
};
struct shelf_sqlite_opened {
    enum shelf_found found;
    uint32_t fresh;   /* bit i: space i was not in the file (all, unless SHELF_KEPT) */
    uint32_t dropped; /* spaces that were in the file and are no longer in the list, or whose
                         `expires` changed: their entities are gone */
};

/* path: the file, made where it is missing. opened may be NULL. ERR_DAMAGED: open again with
 * `empty`; ERR_CONFLICT: the file is of another kind, and stays untouched; ERR_IO; ERR_NOMEM. */
enum err shelf_sqlite_open(const char *path, const struct shelf_sqlite_options *options,
                           struct shelf **out, struct shelf_sqlite_opened *opened,
                           struct fault *fault) WARN_UNUSED;

struct shelf_sqlite_stats {
    uint64_t runs;          /* live ones, of all spaces */
    uint64_t entries;       /* in them, superseded and gone ones too */
    uint64_t entry_bytes;   /* of their chunks */
    uint64_t written_bytes; /* in chunks and filters since it was opened, merges included */
    uint64_t wal_bytes;     /* length of the WAL in use */
    uint64_t memory_bytes;  /* as ops->memory */
};
/* Same thread as write. */
void shelf_sqlite_stats(struct shelf *shelf, struct shelf_sqlite_stats *out);

#endif
