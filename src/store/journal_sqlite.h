/* journal_sqlite: the journal of one cell in SQLite files of its own.
 *
 * Layout, below the cell's data folder:
 *   lock                  held by the program that writes (flock), holds its pid
 *   journal/00000001.db   a segment: WAL mode, 16 KiB pages, table event by rowid, and meta
 * One segment for now; the number in the name is where a chain of sealed segments begins.
 *
 * The writer appends on one connection and never checkpoints; tidy does, on a second one; reads
 * take a connection each from a pool. What append has answered OK for is on disk (one fsync of
 * the WAL for the whole batch), and only that is ever visible to read and last. */
#ifndef PENSTOCK_STORE_JOURNAL_SQLITE_H
#define PENSTOCK_STORE_JOURNAL_SQLITE_H

#include "base/clock.h"
#include "core/journal.h"

struct journal_sqlite_options {
    struct str cell;    /* name of the cell; a journal of another one is refused */
    const char *vfs;    /* SQLite VFS to reach the disk by; NULL: the default (seam `disk`) */
    bool exclusive;     /* the simulator: one connection for all, no lock file, no folders, no
                           shared memory; path is then used as the segment's name prefix */
    bool read_only;     /* beside a running hub: no lock, appends and tidy are refused; an
                           absent cell takes any */
    uint64_t wal_bytes; /* the WAL starts over once it is longer; 0: the default below */
    struct clock *clock; /* for the statistics; NULL: the system's */
};
#define JOURNAL_WAL_BYTES_DEFAULT ((uint64_t)128 << 20)

/* path: the cell's data folder, made where it is missing (not when read_only). ERR_CONFLICT:
 * held by another program, of another cell, or no journal of ours; ERR_NOT_FOUND (read_only);
 * ERR_IO; ERR_NOMEM. */
enum err journal_sqlite_open(const char *path, const struct journal_sqlite_options *options,
                             struct journal **out, struct fault *fault) WARN_UNUSED;

/* SQLite's integrity_check of the segment: ERR_IO with what it found first. Any thread. Holds
 * back the WAL from starting over while it runs. */
enum err journal_sqlite_check(struct journal *journal, struct fault *fault) WARN_UNUSED;

struct journal_sqlite_stats {
    uint64_t wal_bytes;      /* length of the WAL in use */
    uint64_t file_bytes;     /* of the segment, without WAL */
    uint64_t checkpoints;    /* times the WAL started over */
    uint64_t stall_us_max;   /* longest time an append was kept waiting for that */
};
/* Any thread. */
void journal_sqlite_stats(struct journal *journal, struct journal_sqlite_stats *out);

#endif
