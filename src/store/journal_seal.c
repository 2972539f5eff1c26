/* journal_seal: makes of a closed segment one file that never changes again, and links it into
 * the chain. One step a call, in this order:
 *
 *   open    a connection that may write the segment
 *   mark    nothing can be appended to it any more, by any program
 *   copy    all of the WAL into the file, the WAL emptied
 *   flip    journal mode DELETE: the file stands alone; waits until nobody else has it open
 *   sync    file and folder
 *   hash    SHA-256 of the file
 *   record  the hash into the meta table of the successor, then into chain.db
 *
 * The hash is of the file's bytes, because that is the quickest to verify (1.7 GB/s here, where
 * walking the records is bound by their number), needs no SQLite to be checked (`sha256sum` prints
 * the same), and covers all that SQLite keeps beside the records. Nothing opens the file for
 * writing afterwards, so nothing moves a page in it. Two copies of a journal made by export and
 * import differ in their pages: those are compared by the digest over the records (journal_verify.h).
 *
 * Until the record in chain.db every step may be done again: a crash leads back to open, which
 * finds out from the file whether mark, copy and flip are already done. */
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/planted.h"
#include "store/journal_sqlite_priv.h"

#define HASH_STEP_BYTES ((uint64_t)64 << 20) /* in one call: 40 ms */

void seal_end(struct journal_sqlite *j) {
    db_close(j->seal.db);
    EVP_MD_CTX_free(j->seal.hash);
    j->seal = (struct seal){0};
}

/* --- open, mark, copy, flip ---------------------------------------------------------------- */

static enum err journal_mode(sqlite3 *db, const char *sql, bool *is_delete, struct fault *fault) {
    sqlite3_stmt *stmt;
    enum err err = db_prepare(db, sql, &stmt, fault);
    if (err != OK)
        return err;
    int rc = sqlite3_step(stmt);
    *is_delete = rc == SQLITE_ROW && str_is(db_column_str(stmt, 0), "delete");
    if (rc == SQLITE_ROW) /* the change is committed behind the row that tells of it, and may fail */
        rc = sqlite3_step(stmt);
    *is_delete = *is_delete && rc == SQLITE_DONE;
    if (rc != SQLITE_DONE && (rc & 0xff) != SQLITE_BUSY && (rc & 0xff) != SQLITE_LOCKED)
        err = db_fault(db, "seal the journal segment", fault);
    sqlite3_finalize(stmt);
    return err;
}

static enum err seal_open(struct journal_sqlite *j, const struct segment *closed,
                          struct fault *fault) {
    struct seal *seal = &j->seal;
    bool flipped = false;
    enum err err = OK;
    seal->segment = *closed;
    pool_drop(j, closed->number);
    if (!j->old.db)
        err = segment_open(j, closed->number, false, &j->old, fault);
    if (err == OK && j->tidier && j->tidier_number == closed->number) {
        db_close(j->tidier);
        j->tidier = NULL;
    }
    if (err == OK)
        err = journal_mode(j->old.db, "PRAGMA journal_mode", &flipped, fault);
    if (err == OK && flipped)
        segment_close(&j->old);
    if (err == OK)
        seal->step = flipped ? SEAL_SYNC : SEAL_MARK;
    return err;
}

static enum err seal_mark(struct journal_sqlite *j, struct fault *fault) {
    enum err err = db_exec(j->old.db,
                           "CREATE TRIGGER IF NOT EXISTS closed BEFORE INSERT ON event BEGIN"
                           " SELECT RAISE(ABORT, 'this journal segment is closed'); END",
                           fault);
    if (PLANTED(SEAL_SHORT) && err == OK)
        err = db_exec(j->old.db, "DELETE FROM event WHERE seq=(SELECT max(seq) FROM event)", fault);
    if (err == OK)
        j->seal.step = SEAL_COPY;
    return err;
}

static enum err seal_copy(struct journal_sqlite *j, bool *again, struct fault *fault) {
    uint32_t in_wal, copied;
    enum err err = wal_checkpoint(j->old.db, SQLITE_CHECKPOINT_TRUNCATE, &in_wal, &copied, fault);
    if (err == OK && in_wal == copied)
        j->seal.step = SEAL_FLIP;
    else
        *again = false; /* a reader is in the way */
    return err;
}

static enum err seal_flip(struct journal_sqlite *j, bool *again, struct fault *fault) {
    bool flipped = false;
    pool_drop(j, j->old.number);
    enum err err = journal_mode(j->old.db, "PRAGMA journal_mode=DELETE", &flipped, fault);
    if (err == OK && flipped) {
        segment_close(&j->old);
        j->seal.step = SEAL_SYNC;
    } else if (err != OK) {
        /* A write failed within it: the file may be changed and its rollback journal left behind, while
         * this connection takes it for done. Who opens it anew puts it back first. */
        segment_close(&j->old);
        j->seal.step = SEAL_OPEN;
    } else {
        *again = false; /* someone has the file open */
    }
    return err;
}

/* --- sync, hash, record -------------------------------------------------------------------- */

static enum err record_time(sqlite3 *db, uint64_t seq, int64_t *time_us, struct fault *fault) {
    char sql[64];
    snprintf(sql, sizeof sql, "SELECT time FROM event WHERE seq=%llu", (unsigned long long)seq);
    return db_i64(db, sql, 0, time_us, fault);
}

enum err segment_before(sqlite3 *db, char out[SEGMENT_HASH_TEXT], struct fault *fault) {
    sqlite3_stmt *stmt;
    enum err err = db_prepare(db, "SELECT value FROM meta WHERE name='before'", &stmt, fault);
    if (err != OK)
        return err;
    out[0] = '\0';
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        snprintf(out, SEGMENT_HASH_TEXT, "%.*s", STR_FMT(db_column_str(stmt, 0)));
    else if (rc != SQLITE_DONE)
        err = db_fault(db, "read the hash of the segment before", fault);
    sqlite3_finalize(stmt);
    return err;
}

/* What the file holds must be what was appended: a segment that lost a record is never sealed. */
static enum err seal_range(struct seal *seal, struct fault *fault) {
    uint64_t first, last;
    struct segment *segment = &seal->segment;
    enum err err = segment_range(seal->db, &first, &last, fault);
    if (err == OK && (first != segment->first || last != segment->last))
        err = fault_set(fault, ERR_DAMAGED,
                        "journal segment %llu holds records %llu to %llu, it should hold %llu to "
                        "%llu: it is not sealed",
                        (unsigned long long)segment->number, (unsigned long long)first,
                        (unsigned long long)last, (unsigned long long)segment->first,
                        (unsigned long long)segment->last);
    return err;
}

static enum err seal_sync(struct journal_sqlite *j, struct fault *fault) {
    struct seal *seal = &j->seal;
    struct segment *segment = &seal->segment;
    enum err err = OK;
    if (!seal->db)
        err = segment_connect(j, segment->number, true, &seal->db, fault);
    if (err == OK)
        err = seal_range(seal, fault);
    if (err == OK)
        err = segment_sync(seal->db, fault);
    if (err == OK && j->folder[0])
        err = db_folder_sync(j->folder, fault);
    if (err == OK)
        err = record_time(seal->db, segment->first, &segment->first_time_us, fault);
    if (err == OK)
        err = record_time(seal->db, segment->last, &segment->last_time_us, fault);
    if (err == OK)
        err = segment_before(seal->db, segment->before, fault);
    if (err == OK)
        seal->step = SEAL_HASH;
    return err;
}

static enum err seal_hash(struct journal_sqlite *j, struct fault *fault) {
    struct seal *seal = &j->seal;
    bool end = false;
    if (!seal->hash) {
        seal->hash = EVP_MD_CTX_new();
        if (!seal->hash || EVP_DigestInit_ex(seal->hash, EVP_sha256(), NULL) != 1)
            return fault_set(fault, ERR_NOMEM, "no memory to hash a journal segment");
    }
    enum err err = segment_hash_some(seal->db, seal->hash, &seal->hashed,
                                     seal->hashed + HASH_STEP_BYTES, &end, fault);
    if (err != OK || !end)
        return err;
    segment_hash_end(seal->hash, seal->segment.sha256);
    seal->hash = NULL;
    seal->segment.bytes = seal->hashed;
    seal->step = SEAL_RECORD;
    return OK;
}

/* Into the successor's meta. Where that is live, appends wait for one commit. */
static enum err successor_tell(struct journal_sqlite *j, const char *sha256, uint64_t number,
                               struct fault *fault) {
    sqlite3_stmt *stmt = NULL;
    pthread_mutex_lock(&j->gate);
    enum err err = OK;
    if (j->live.number == number)
        err = db_prepare(j->live.db, "INSERT OR REPLACE INTO meta VALUES('before', ?)", &stmt,
                         fault);
    if (err == OK && stmt) {
        db_bind_str(stmt, 1, str_c(sha256));
        err = db_run(stmt, fault);
        j->settled = j->settled && err == OK;
    }
    sqlite3_finalize(stmt);
    pthread_mutex_unlock(&j->gate);
    return err;
}

static enum err seal_record(struct journal_sqlite *j, struct fault *fault) {
    struct seal *seal = &j->seal;
    seal->segment.state = SEGMENT_SEALED;
    enum err err =
        successor_tell(j, seal->segment.sha256, seal->segment.number + 1, fault);
    if (err == OK)
        err = chain_add(j, &seal->segment, fault);
    if (err == OK)
        seal_end(j);
    return err;
}

enum err seal_next(struct journal_sqlite *j, const struct segment *closed, bool *again,
                   struct fault *fault) {
    *again = true;
    switch (j->seal.step) {
    case SEAL_OPEN:
        return seal_open(j, closed, fault);
    case SEAL_MARK:
        return seal_mark(j, fault);
    case SEAL_COPY:
        return seal_copy(j, again, fault);
    case SEAL_FLIP:
        return seal_flip(j, again, fault);
    case SEAL_SYNC:
        return seal_sync(j, fault);
    case SEAL_HASH:
        return seal_hash(j, fault);
    case SEAL_RECORD:
        return seal_record(j, fault);
    }
    return OK;
}
