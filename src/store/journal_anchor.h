/* journal_anchor: a few words about a journal that are kept elsewhere (another machine, paper), by
 * which it is told later whether anything before them was changed, removed or inserted.
 *
 * Each sealed segment holds the SHA-256 of the one before it, so that the hash of the newest
 * stands for all of them; but who can write every file can make the whole chain anew. The anchor
 * is what such a one can not reach: the newest sealed segment's hash, and the SHA-256 over the
 * records behind it (journal_verify.h's digest), which lie in a file that still changes. */
#ifndef PENSTOCK_STORE_JOURNAL_ANCHOR_H
#define PENSTOCK_STORE_JOURNAL_ANCHOR_H

#include "base/json.h"
#include "store/journal_sqlite.h"
#include "store/journal_verify.h"

struct journal_anchor {
    int64_t at_us;
    uint64_t seq;     /* the last record it speaks of */
    uint64_t segment; /* the newest sealed one; 0: none was */
    char sha256[SEGMENT_HASH_TEXT];
    uint64_t tail_from; /* the records from here to seq have tail_sha256 */
    char tail_sha256[JOURNAL_DIGEST_TEXT];
};

/* Of the journal as it is; reads the records behind the newest sealed segment. */
enum err journal_anchor_make(struct journal *journal, struct clock *clock,
                             struct journal_anchor *out, struct fault *fault) WARN_UNUSED;
/* One line of JSON, without the line's end. */
void journal_anchor_write(const struct journal_anchor *anchor, struct buf *out);
/* False: it is none. */
bool journal_anchor_read(const struct json *line, struct journal_anchor *out);

/* Whether the journal is what the anchor says. ERR_CONFLICT: it is not, with what is wrong;
 * ERR_UNAVAILABLE: the records are in an archive that is not there, or were removed by retention.
 * Says nothing of the files behind the chain's table: journal_chain_verify does. */
enum err journal_anchor_check(struct journal *journal, const struct journal_anchor *anchor,
                              struct fault *fault) WARN_UNUSED;

#endif
