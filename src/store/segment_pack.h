/* segment_pack: a segment's file compressed with Zstandard (RFC 8878) and back. Plain files, not
 * SQLite's: sealed segments never change, so copying one needs nobody's leave. */
#ifndef PENSTOCK_STORE_SEGMENT_PACK_H
#define PENSTOCK_STORE_SEGMENT_PACK_H

#include "store/journal_sqlite.h"

struct pack_progress {
    void (*tell)(void *ctx, uint64_t bytes); /* of the segment, so far; NULL: not */
    void *ctx;
};
/* Compresses the file `from` into `to`, which is there whole and durable or not at all. It must be
 * the segment, by length and SHA-256: else ERR_DAMAGED. ERR_IO, ERR_NOMEM. */
enum err segment_pack(const char *from, const char *to, const struct segment *segment,
                      const struct pack_progress *progress, struct fault *fault) WARN_UNUSED;
/* The other way round. `to` NULL: only looks whether it is the segment. ERR_NOT_FOUND where `from`
 * is missing. */
enum err segment_unpack(const char *from, const char *to, const struct segment *segment,
                        const struct pack_progress *progress, struct fault *fault) WARN_UNUSED;

#endif
