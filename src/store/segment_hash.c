/* segment_hash: SHA-256 of a segment's file, read through SQLite's own handle, in pieces; and
 * whether it is what it was when the segment was sealed. */
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "store/journal_archive.h"
#include "store/journal_sqlite_priv.h"

#define HASH_READ_BYTES (1 << 20)
#define HASH_STEP_BYTES ((uint64_t)16 << 20)

enum err segment_hash_some(sqlite3 *db, EVP_MD_CTX *hash, uint64_t *at, uint64_t until, bool *end,
                           struct fault *fault) {
    sqlite3_file *file = NULL;
    sqlite3_int64 size = 0;
    int rc = sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (rc == SQLITE_OK)
        rc = file->pMethods->xFileSize(file, &size);
    char *bytes = mem_alloc(HASH_READ_BYTES);
    if (!bytes)
        return fault_set(fault, ERR_NOMEM, "no memory to hash a journal segment");
    while (rc == SQLITE_OK && *at < (uint64_t)size && *at < until) {
        uint64_t left = (uint64_t)size - *at;
        int n = left < HASH_READ_BYTES ? (int)left : HASH_READ_BYTES;
        rc = file->pMethods->xRead(file, bytes, n, (sqlite3_int64)*at);
        if (rc != SQLITE_OK)
            break; /* the same again, the next time */
        must(EVP_DigestUpdate(hash, bytes, (size_t)n) == 1);
        *at += (uint64_t)n;
    }
    mem_free(bytes);
    *end = *at >= (uint64_t)size;
    return rc == SQLITE_OK
               ? OK
               : fault_set(fault, ERR_IO, "can not read a journal segment (code %d)", rc);
}

void segment_hash_end(EVP_MD_CTX *hash, char out[SEGMENT_HASH_TEXT]) {
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    must(EVP_DigestFinal_ex(hash, bytes, &len) == 1 && len == 32);
    for (unsigned i = 0; i < len; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    EVP_MD_CTX_free(hash);
}

/* --- check --------------------------------------------------------------------------------- */

static enum err file_hash(sqlite3 *db, void (*progress)(void *ctx, uint64_t bytes), void *ctx,
                          uint64_t *bytes, char out[SEGMENT_HASH_TEXT], struct fault *fault) {
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    if (!hash || EVP_DigestInit_ex(hash, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(hash);
        return fault_set(fault, ERR_NOMEM, "no memory to hash a journal segment");
    }
    bool end = false;
    enum err err = OK;
    for (*bytes = 0; err == OK && !end;) {
        err = segment_hash_some(db, hash, bytes, *bytes + HASH_STEP_BYTES, &end, fault);
        if (progress)
            progress(ctx, *bytes);
    }
    segment_hash_end(hash, out);
    return err;
}

/* What the segment before is said to be, by the table and by this segment's own meta. */
static enum err before_check(struct journal *journal, sqlite3 *db, const struct segment *segment,
                             struct fault *fault) {
    char before[SEGMENT_HASH_TEXT];
    struct segment first, other;
    enum err err = segment_before(db, before, fault);
    if (err == OK && strcmp(before, segment->before) != 0)
        err = fault_set(fault, ERR_DAMAGED,
                        "journal segment %llu names another segment before it than chain.db does",
                        (unsigned long long)segment->number);
    if (err == OK && journal_sqlite_segment(journal, 0, &first) &&
        segment->number > first.number &&
        journal_sqlite_segment(journal, (uint32_t)(segment->number - first.number - 1), &other) &&
        strcmp(other.sha256, segment->before) != 0)
        err = fault_set(fault, ERR_DAMAGED,
                        "journal segment %llu does not follow segment %llu: it was sealed behind "
                        "another one",
                        (unsigned long long)segment->number, (unsigned long long)other.number);
    return err;
}

enum err journal_sqlite_segment_check(struct journal *journal, const struct segment *segment,
                                      void (*progress)(void *ctx, uint64_t bytes), void *ctx,
                                      struct fault *fault) {
    struct journal_sqlite *j = journal_of(journal);
    sqlite3 *db;
    uint64_t bytes;
    char sha256[SEGMENT_HASH_TEXT];
    struct pack_progress pack = {progress, ctx};
    if (segment->state == SEGMENT_ARCHIVED)
        return journal_archive_check(journal, segment, &pack, fault);
    struct fault closed = {0};
    enum err err = segment_connect(j, segment->number, true, &db, &closed);
    if (err != OK)
        return fault_set(fault, err, "journal segment %llu (records %llu to %llu): %.150s; put back "
                                     "a copy of it from a backup",
                         (unsigned long long)segment->number, (unsigned long long)segment->first,
                         (unsigned long long)segment->last, closed.detail);
    err = file_hash(db, progress, ctx, &bytes, sha256, fault);
    if (err == OK && strcmp(sha256, segment->sha256) != 0)
        err = fault_set(fault, ERR_DAMAGED,
                        "journal segment %llu (records %llu to %llu) is not what was sealed: its "
                        "SHA-256 is %.16s…, not %.16s…; put back a copy of it from a backup",
                        (unsigned long long)segment->number, (unsigned long long)segment->first,
                        (unsigned long long)segment->last, sha256, segment->sha256);
    if (err == OK)
        err = before_check(journal, db, segment, fault);
    db_close(db);
    return err;
}
