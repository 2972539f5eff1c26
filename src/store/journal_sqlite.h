/* journal_sqlite: the journal of one cell as a chain of segments, each an SQLite file of its own.
 *
 * Layout, below the cell's data folder:
 *   lock                       held by the program that writes (flock), holds its pid
 *   journal/00000001.db        a segment: 16 KiB pages, table event by rowid, and meta
 *   journal/00000001.db.zst    a segment that was archived (unless it was sent elsewhere)
 *   journal/chain.db           what is known of the segments that are sealed: journal_chain.c
 *   journal/cache/             archived segments that were read lately, unpacked
 *
 * A segment is, in this order: made beforehand (empty), live (appended to, WAL mode), closed
 * (complete, its successor is live), sealed (one file without WAL that never changes again, its
 * SHA-256 in its successor and in chain.db), perhaps archived (compressed), perhaps removed
 * (retention; its hash is kept). Which of these it is follows from the files alone, so that
 * every step goes on after a crash where it was.
 *
 * The writer appends on one connection and never checkpoints; switching to the next segment is
 * exchanging two connections between two appends. tidy does the rest, step by step. Reads take a
 * connection each from a pool. What append has answered OK for is on disk (one fsync of the WAL
 * for the whole batch), and only that is ever visible to read and last. */
#ifndef PENSTOCK_STORE_JOURNAL_SQLITE_H
#define PENSTOCK_STORE_JOURNAL_SQLITE_H

#include "base/clock.h"
#include "core/journal.h"

struct journal_sqlite_options {
    struct str cell;    /* name of the cell; a journal of another one is refused */
    const char *vfs;    /* SQLite VFS to reach the disk by; NULL: the default (seam `disk`) */
    bool exclusive;     /* the simulator: one thread, no lock file, no folders, no shared memory;
                           path is then the prefix of the files' names: PATH-00000001.db … */
    bool read_only;     /* beside a running hub: no lock, appends and tidy are refused; an
                           absent cell takes any */
    bool maintain;      /* with read_only: segments may be archived, restored and removed
                           (journal_archive.h), by one program at a time */
    uint64_t segment_bytes; /* a segment is left once its file or its WAL is as long; 0: the
                               default below */
    struct clock *clock; /* for the statistics and the time of a seal; NULL: the system's */
};
#define JOURNAL_SEGMENT_BYTES_DEFAULT ((uint64_t)256 << 20)

/* path: the cell's data folder, made where it is missing (not when read_only). ERR_CONFLICT:
 * held by another program, of another cell, or no journal of ours; ERR_NOT_FOUND (read_only);
 * ERR_DAMAGED: a segment is missing between two others; ERR_IO; ERR_NOMEM. */
enum err journal_sqlite_open(const char *path, const struct journal_sqlite_options *options,
                             struct journal **out, struct fault *fault) WARN_UNUSED;

/* --- segments ----------------------------------------------------------------------------- */

enum segment_state { SEGMENT_LIVE, SEGMENT_CLOSED, SEGMENT_SEALED, SEGMENT_ARCHIVED,
                     SEGMENT_REMOVED };
#define SEGMENT_HASH_TEXT 65 /* SHA-256: 64 hex digits and a NUL */
struct segment {
    uint64_t number; /* from 1 */
    uint64_t first, last; /* seqs; the live one's last is UINT64_MAX */
    enum segment_state state;
    /* Known of sealed ones only: */
    int64_t first_time_us, last_time_us; /* of its records */
    uint64_t bytes;                      /* of the file */
    char sha256[SEGMENT_HASH_TEXT];      /* of the file, as `sha256sum` prints it */
    char before[SEGMENT_HASH_TEXT];      /* of the segment before; "" for the first */
};
/* "live", "closed" … */
const char *segment_state_name(enum segment_state state);
/* How many there are, and a copy of the i-th (from 0, oldest first); false beyond the end. Any
 * thread. */
uint32_t journal_sqlite_segment_count(struct journal *journal);
bool journal_sqlite_segment(struct journal *journal, uint32_t i, struct segment *out);

/* The lowest seq that is still needed: by deliveries, the read model, the written state. The hub
 * calls it as often as it likes; it only counts upwards, and tidy writes it down when it has
 * passed the end of a segment. Any thread. */
void journal_sqlite_floor(struct journal *journal, uint64_t seq);

/* Whether a sealed segment's file is what was sealed, names the segment before as its meta says,
 * and that is what chain.db says: ERR_DAMAGED with what is wrong and what to do; ERR_IO. Any
 * thread. progress is called with bytes read now and then; NULL: not. */
enum err journal_sqlite_segment_check(struct journal *journal, const struct segment *segment,
                                      void (*progress)(void *ctx, uint64_t bytes), void *ctx,
                                      struct fault *fault) WARN_UNUSED;

/* SQLite's integrity_check of the segments that are not sealed: ERR_IO with what it found first.
 * Any thread. */
enum err journal_sqlite_check(struct journal *journal, struct fault *fault) WARN_UNUSED;

struct journal_sqlite_stats {
    struct journal_stats all;
    uint64_t switches;      /* to another segment, since the journal was opened */
    uint64_t switch_us_max; /* the longest time one took of an append */
};
/* Any thread. */
void journal_sqlite_stats(struct journal *journal, struct journal_sqlite_stats *out);

#endif
