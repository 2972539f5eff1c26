/* journal_verify: reads a journal from end to end and tells whether it is whole: no seq is
 * missing or twice, every record reads as its type's shape says, none is older than the one
 * before it or follows from a later one. Computes the digest by which two copies of a journal are compared. */
#ifndef PENSTOCK_STORE_JOURNAL_VERIFY_H
#define PENSTOCK_STORE_JOURNAL_VERIFY_H

#include "core/capability.h"
#include "core/journal.h"
#include "store/journal_sqlite.h"

/* SHA-256 over records in order: per record seq and time_us as 8 bytes little-endian, then
 * type, subject, meta and data, each as its length in 8 bytes and its bytes. */
struct journal_digest;
struct journal_digest *journal_digest_create(void); /* NULL where memory is out */
void journal_digest_add(struct journal_digest *digest, const struct record *record);
#define JOURNAL_DIGEST_TEXT 65
/* 64 hex digits and a NUL; frees the digest. */
void journal_digest_end(struct journal_digest *digest, char out[JOURNAL_DIGEST_TEXT]);

#define JOURNAL_FAULTS_MAX 20
struct journal_report {
    uint64_t first_seq; /* the oldest that is kept; 1 unless retention removed some */
    uint64_t records, last_seq, bytes; /* bytes of the records' texts */
    int64_t first_time_us, last_time_us;
    uint64_t unknown; /* of types that this program does not know: not faults */
    uint64_t faults;  /* all of them; the first are listed */
    struct journal_report_fault {
        uint64_t seq;
        char detail[256];
    } listed[JOURNAL_FAULTS_MAX];
    char digest[JOURNAL_DIGEST_TEXT]; /* "" where the records were not read in full */
    /* Of journal_chain_verify: */
    uint64_t segments, archived, removed; /* of the journal, all of them; of those */
    uint64_t offline;                     /* archived, not there, so not checked */
    uint64_t hashed_bytes;
    char head[SEGMENT_HASH_TEXT]; /* SHA-256 of the newest sealed segment; "": none */
};

/* Whether one record reads as it should, beside its seq; *unknown where its type is not known. */
bool journal_record_check(const struct registry *registry, const struct record *record,
                          struct json_parser *parser, struct arena *arena, bool *unknown,
                          struct fault *fault);

/* progress is called now and then with the seq reached; NULL: not. Where the file can not be
 * read any further, that is the last fault of the report; an error means that nothing can be
 * said (ERR_NOMEM …). */
enum err journal_verify(struct journal *journal, const struct registry *registry,
                        void (*progress)(void *ctx, uint64_t seq), void *ctx,
                        struct journal_report *report, struct fault *fault) WARN_UNUSED;

/* The whole chain: every sealed segment's SHA-256, that each names the one before it, and the
 * records: that none is missing and each matches its checksum. With a registry also that each
 * reads as its type says, and the digest of all; without, archived segments are only hashed.
 * Otherwise as journal_verify. */
enum err journal_chain_verify(struct journal *journal, const struct registry *registry,
                              void (*progress)(void *ctx, uint64_t seq), void *ctx,
                              struct journal_report *report, struct fault *fault) WARN_UNUSED;

#endif
