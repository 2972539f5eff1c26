/* journal_file: a journal as a file of NDJSON, one record a line in order of seq, and a last
 * line {"records":N,"sha256":"…"} with the digest of store/journal_verify.h. */
#ifndef PENSTOCK_CLI_JOURNAL_FILE_H
#define PENSTOCK_CLI_JOURNAL_FILE_H

#include <stdio.h>

#include "core/capability.h"
#include "core/journal.h"

typedef void journal_progress(void *ctx, uint64_t seq);

/* Writes the records first to last. ERR_IO where out can not be written. */
enum err journal_file_write(struct journal *journal, uint64_t first, uint64_t last, FILE *out,
                            journal_progress *progress, void *ctx,
                            struct fault *fault) WARN_UNUSED;
/* Reads the whole file: seqs without a hole, every record as its type says, count and digest as
 * the last line says. ERR_INVALID with the line; ERR_IO. */
enum err journal_file_check(const char *path, const struct registry *registry, uint64_t *records,
                            journal_progress *progress, void *ctx,
                            struct fault *fault) WARN_UNUSED;
/* Appends all records of a file that was checked. ERR_CONFLICT: the journal is not empty. */
enum err journal_file_read(const char *path, struct journal *journal, uint64_t *records,
                           journal_progress *progress, void *ctx,
                           struct fault *fault) WARN_UNUSED;

#endif
