/* journal_archive: sealed segments compressed, kept elsewhere, brought back, and removed when
 * neither anybody's work nor the law needs them. For a journal opened with `maintain`, also beside
 * the program that writes it: that one meets the change when it next looks for the segment.
 *
 * Every step leaves the segment somewhere whole: the archive is written, synced and read back
 * before chain.db names it, and only then the file is deleted; bringing back likewise. */
#ifndef PENSTOCK_STORE_JOURNAL_ARCHIVE_H
#define PENSTOCK_STORE_JOURNAL_ARCHIVE_H

#include "store/journal_sqlite.h"
#include "store/segment_pack.h"

/* Compresses a sealed segment into `folder` (NULL: beside the segments) as 00000001.db.zst and
 * deletes its file. ERR_DAMAGED: it is not what was sealed, and stays; ERR_CONFLICT: it is not
 * sealed, or another file of that name is there; ERR_IO. */
enum err journal_segment_archive(struct journal *journal, const struct segment *segment,
                                 const char *folder, const struct pack_progress *progress,
                                 struct fault *fault) WARN_UNUSED;
/* Brings an archived segment back among the others and deletes the archive, unless it is taken
 * from another folder than it is known to be in (`folder`, NULL: where it is known to be).
 * ERR_UNAVAILABLE: it is not there; ERR_DAMAGED, ERR_IO. */
enum err journal_segment_restore(struct journal *journal, const struct segment *segment,
                                 const char *folder, const struct pack_progress *progress,
                                 struct fault *fault) WARN_UNUSED;
/* Deletes a sealed or archived segment for good; its hash is kept, so that the chain can still be
 * verified from its successor on. All before it must be removed already, and it must lie wholly
 * below the floor that the hub has set: else ERR_CONFLICT. */
enum err journal_segment_remove(struct journal *journal, const struct segment *segment,
                                struct fault *fault) WARN_UNUSED;

/* Reads an archive through: whether it is the segment. ERR_UNAVAILABLE, ERR_DAMAGED, ERR_IO. */
enum err journal_archive_check(struct journal *journal, const struct segment *segment,
                               const struct pack_progress *progress,
                               struct fault *fault) WARN_UNUSED;
/* Where an archived segment is, and how long; "" where it is not archived. */
enum err journal_archive_place(struct journal *journal, uint64_t number, char *path, size_t size,
                               uint64_t *bytes, struct fault *fault) WARN_UNUSED;

/* The floor as tidy wrote it down; 0: never. */
enum err journal_floor_read(struct journal *journal, uint64_t *seq, struct fault *fault) WARN_UNUSED;

#endif
