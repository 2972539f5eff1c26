/* journal_tidy: what keeps the journal in shape off the writer's path: the live segment's WAL is
 * copied into its file as it grows, the next segment is made beforehand, and the one that was
 * left is sealed (journal_seal.c).
 *
 * A checkpoint inside COMMIT costs 180 to 950 ms, and under load one that lets appends go on
 * never meets the end of the WAL, so the WAL never starts over. Here it need not: switching to
 * another segment bounds it, and nothing keeps an append waiting. Copying as the WAL grows
 * leaves little to do when the segment is closed, and little to read at a start. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "store/journal_sqlite_priv.h"

#define TIDY_PAGES_MIN 1024 /* less than 16 MiB to copy is not worth a sync */

static int wal_seen(void *ctx, sqlite3 *db, const char *name, int pages) {
    (void)db, (void)name;
    struct journal_sqlite *j = ctx;
    atomic_store(&j->wal_pages, (uint32_t)pages);
    return SQLITE_OK;
}

void wal_watch(struct journal_sqlite *j) { sqlite3_wal_hook(j->live.db, wal_seen, j); }

enum err wal_checkpoint(sqlite3 *db, int mode, uint32_t *in_wal, uint32_t *copied,
                        struct fault *fault) {
    int log = 0, done = 0;
    int rc = sqlite3_wal_checkpoint_v2(db, NULL, mode, &log, &done);
    *in_wal = log > 0 ? (uint32_t)log : 0;
    *copied = done > 0 ? (uint32_t)done : 0;
    /* Busy is no error: readers hold pages of the WAL, or someone else checkpoints. */
    if (rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY)
        return OK;
    return db_fault(db, "checkpoint the journal", fault);
}

enum err segment_sync(sqlite3 *db, struct fault *fault) {
    sqlite3_file *file = NULL;
    int rc = sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (rc == SQLITE_OK && file && file->pMethods)
        rc = file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
    if (rc != SQLITE_OK)
        return fault_set(fault, ERR_IO, "can not sync the journal (code %d)", rc);
    return OK;
}

/* --- the live segment --------------------------------------------------------------------- */

/* A connection of tidy's own to the segment that is live now. */
static enum err tidier_open(struct journal_sqlite *j, struct fault *fault) {
    struct segment live;
    struct segment_file file;
    enum err err = chain_find(j, UINT64_MAX, &live, fault);
    if (err != OK || (j->tidier && j->tidier_number == live.number))
        return err;
    db_close(j->tidier);
    j->tidier = NULL;
    err = segment_open(j, live.number, false, &file, fault);
    j->tidier = file.db;
    j->tidier_number = live.number;
    j->tidied_pages = 0;
    return err;
}

/* Copies what it can of the WAL, and makes that durable: SQLite would only sync the file when
 * the copy met the WAL's end. */
static enum err live_copy(struct journal_sqlite *j, struct fault *fault) {
    uint32_t in_wal, copied;
    int64_t from_us = clock_tick_us(j->clock);
    enum err err = tidier_open(j, fault);
    if (err == OK)
        err = wal_checkpoint(j->tidier, SQLITE_CHECKPOINT_PASSIVE, &in_wal, &copied, fault);
    if (err == OK)
        err = segment_sync(j->tidier, fault);
    if (err == OK) {
        j->tidied_pages = copied;
        histogram_us(&j->checkpoint_us, clock_tick_us(j->clock) - from_us);
    }
    return err;
}

static enum err live_tidy(struct journal_sqlite *j, struct fault *fault) {
    if (!j->exclusive) {
        uint32_t pages = atomic_load_explicit(&j->wal_pages, memory_order_relaxed);
        if (pages < j->tidied_pages) /* the WAL started over, or is another */
            j->tidied_pages = 0;
        return pages - j->tidied_pages < TIDY_PAGES_MIN ? OK : live_copy(j, fault);
    }
    uint32_t in_wal, copied;
    pthread_mutex_lock(&j->gate);
    enum err err =
        wal_checkpoint(j->live.db, SQLITE_CHECKPOINT_PASSIVE, &in_wal, &copied, fault);
    pthread_mutex_unlock(&j->gate);
    return err;
}

/* --- the next segment --------------------------------------------------------------------- */

/* Soon enough that it is there when the live one is full; not while there is one to be sealed
 * (a switch may have come since tidy looked), so that there is never more than one. */
static bool next_is_due(struct journal_sqlite *j) {
    pthread_mutex_lock(&j->gate);
    uint64_t wal = (uint64_t)atomic_load(&j->wal_pages) * JOURNAL_FRAME_BYTES;
    uint64_t bytes = j->live_bytes > wal ? j->live_bytes : wal;
    bool due = !j->next.db && !j->old.db && bytes >= j->segment_bytes / 4;
    pthread_mutex_unlock(&j->gate);
    return due;
}

/* Made, with its tables in the file itself, and durable, name and all, before it is offered. */
static enum err next_make(struct journal_sqlite *j, struct fault *fault) {
    struct segment live;
    struct segment_file made = {0};
    uint32_t in_wal, copied;
    enum err err = chain_reserve(j, fault);
    if (err == OK)
        err = chain_find(j, UINT64_MAX, &live, fault);
    if (err == OK)
        err = segment_open(j, live.number + 1, true, &made, fault);
    if (err == OK)
        err = wal_checkpoint(made.db, SQLITE_CHECKPOINT_TRUNCATE, &in_wal, &copied, fault);
    if (err == OK)
        err = segment_sync(made.db, fault);
    if (err == OK && j->folder[0])
        err = db_folder_sync(j->folder, fault);
    if (err != OK) {
        segment_close(&made);
        return err;
    }
    pthread_mutex_lock(&j->gate);
    j->next = made;
    pthread_mutex_unlock(&j->gate);
    return OK;
}

/* --- what is to be done ------------------------------------------------------------------- */

/* The live segment has a record: only then the one before it is closed for good (after a crash,
 * an empty one would have been made beforehand). */
static bool live_is_begun(struct journal_sqlite *j) {
    pthread_mutex_lock(&j->gate);
    bool begun = j->settled || (!atomic_load(&j->last_unknown) &&
                                atomic_load(&j->last) > j->live.base);
    pthread_mutex_unlock(&j->gate);
    return begun;
}

enum err journal_sqlite_tidy(struct journal *journal, bool *again, struct fault *fault) {
    struct journal_sqlite *j = journal_of(journal);
    struct segment closed;
    *again = false;
    if (j->read_only)
        return OK;
    cache_bring(j);
    if (chain_closed(j, &closed)) {
        enum err err = live_is_begun(j) ? seal_next(j, &closed, again, fault) : OK;
        return err == OK && !*again ? live_tidy(j, fault) : err;
    }
    if (next_is_due(j)) {
        *again = true;
        return next_make(j, fault);
    }
    enum err err = chain_floor(j, fault);
    return err == OK ? live_tidy(j, fault) : err;
}

/* --- statistics --------------------------------------------------------------------------- */

void journal_stats_read(struct journal *journal, struct journal_stats *out) {
    struct journal_sqlite *j = journal_of(journal);
    struct stat st;
    char path[PATH_BYTES];
    *out = (struct journal_stats){
        .wal_bytes = (uint64_t)atomic_load(&j->wal_pages) * JOURNAL_FRAME_BYTES};
    histogram_read(&j->sync_us, &out->sync_us);
    histogram_read(&j->checkpoint_us, &out->checkpoint_us);
    pthread_mutex_lock(&j->pool_lock);
    segment_path(j, j->segments[j->segment_count - 1].number, path);
    for (uint32_t i = 0; i < j->segment_count; i++) {
        const struct segment *segment = &j->segments[i];
        out->segments += segment->state != SEGMENT_REMOVED;
        out->sealed += segment->state == SEGMENT_SEALED || segment->state == SEGMENT_ARCHIVED;
        out->archived += segment->state == SEGMENT_ARCHIVED;
        out->bytes += segment->state != SEGMENT_REMOVED ? segment->bytes : 0;
    }
    pthread_mutex_unlock(&j->pool_lock);
    out->bytes += stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

void journal_sqlite_stats(struct journal *journal, struct journal_sqlite_stats *out) {
    struct journal_sqlite *j = journal_of(journal);
    journal_stats_read(journal, &out->all);
    out->switches = atomic_load(&j->switches);
    out->switch_us_max = atomic_load(&j->switch_us_max);
}

/* --- structure ---------------------------------------------------------------------------- */

static enum err structure_check(sqlite3 *db, uint64_t number, struct fault *fault) {
    sqlite3_stmt *stmt = NULL;
    enum err err = db_prepare(db, "PRAGMA integrity_check(1)", &stmt, fault);
    if (err != OK)
        return err;
    int rc = sqlite3_step(stmt);
    struct str found = rc == SQLITE_ROW ? db_column_str(stmt, 0) : STR_NONE;
    if (rc != SQLITE_ROW)
        err = db_fault(db, "check the journal", fault);
    else if (!str_is(found, "ok"))
        err = fault_set(fault, ERR_IO, "journal segment %llu is damaged: %.*s",
                        (unsigned long long)number, STR_FMT(found));
    sqlite3_finalize(stmt);
    return err;
}

enum err journal_sqlite_check(struct journal *journal, struct fault *fault) {
    struct journal_sqlite *j = journal_of(journal);
    struct segment segment;
    enum err err = OK;
    for (uint32_t i = 0; err == OK && journal_sqlite_segment(journal, i, &segment); i++) {
        sqlite3 *db = NULL;
        if (segment.state > SEGMENT_CLOSED)
            continue;
        if (j->exclusive) {
            pthread_mutex_lock(&j->gate);
            db = segment.state == SEGMENT_LIVE ? j->live.db : j->old.db;
            err = db ? structure_check(db, segment.number, fault) : OK;
            pthread_mutex_unlock(&j->gate);
            continue;
        }
        err = segment_connect(j, segment.number, false, &db, fault);
        if (err == OK)
            err = structure_check(db, segment.number, fault);
        db_close(db);
    }
    return err;
}
