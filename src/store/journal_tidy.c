/* journal_tidy: the checkpoint of the journal's WAL, off the writer's path, and the checks that
 * look at a whole file.
 *
 * A passive checkpoint copies pages while appends go on, but under load it never meets the end
 * of the WAL, and only a WAL copied to its end can start over. So tidy copies passively until
 * little is left, then holds appends back for the rest (some MB at most). SQLite syncs the file
 * only when a checkpoint met the end, so tidy syncs what it copied by itself: else all of it
 * would be synced while appends wait (80 ms for 128 MiB where 10 are enough). What the rest
 * costs an append is in journal_sqlite_stats.stall_us_max. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "store/journal_sqlite_priv.h"

#define TIDY_PAGES_MIN 1024 /* less than 16 MiB to copy is not worth a sync */
#define TIDY_ROUNDS_MAX 6
#define TIDY_REST_PAGES 128 /* what may be copied while appends wait: 2 MiB */
#define TIDY_READERS_MS 20  /* how long appends wait for readers of the old WAL to end */

static int wal_seen(void *ctx, sqlite3 *db, const char *name, int pages) {
    (void)db, (void)name;
    struct journal_sqlite *j = ctx;
    uint32_t before = atomic_exchange(&j->wal_pages, (uint32_t)pages);
    if ((uint32_t)pages <= before) /* all of it was in the file: the commit began a new one */
        atomic_fetch_add(&j->checkpoints, 1);
    return SQLITE_OK;
}

void journal_wal_watch(struct journal_sqlite *j) { sqlite3_wal_hook(j->writer, wal_seen, j); }

static enum err checkpoint(struct journal_sqlite *j, sqlite3 *db, int mode, uint32_t *in_wal,
                           uint32_t *copied, struct fault *fault) {
    int log = 0, done = 0;
    int rc = sqlite3_wal_checkpoint_v2(db, NULL, mode, &log, &done);
    *in_wal = log > 0 ? (uint32_t)log : 0;
    *copied = done > 0 ? (uint32_t)done : 0;
    /* Busy is no error: readers hold pages of the WAL, or someone else checkpoints. */
    if (rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY)
        return OK;
    return db_fault(db, "checkpoint the journal", fault);
}

/* A passive round: copies what it can and makes that durable. Through SQLite's own handle: to
 * open and close the file beside it would drop the process's locks on it. */
static enum err copy_round(struct journal_sqlite *j, uint32_t *in_wal, uint32_t *copied,
                           struct fault *fault) {
    enum err err = checkpoint(j, j->tidier, SQLITE_CHECKPOINT_PASSIVE, in_wal, copied, fault);
    if (err != OK)
        return err;
    sqlite3_file *file = NULL;
    int rc = sqlite3_file_control(j->tidier, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (rc == SQLITE_OK && file && file->pMethods)
        rc = file->pMethods->xSync(file, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);
    if (rc != SQLITE_OK)
        return fault_set(fault, ERR_IO, "can not sync the journal (code %d)", rc);
    return OK;
}

/* Appends wait while the rest is copied; then the WAL starts over. */
static enum err wal_restart(struct journal_sqlite *j, uint32_t *in_wal, uint32_t *copied,
                            struct fault *fault) {
    pthread_mutex_lock(&j->gate);
    int64_t from = clock_tick_us(j->clock);
    sqlite3_busy_timeout(j->tidier, TIDY_READERS_MS);
    enum err err = checkpoint(j, j->tidier, SQLITE_CHECKPOINT_RESTART, in_wal, copied, fault);
    sqlite3_busy_timeout(j->tidier, 5000);
    bool restarted = err == OK && *copied == *in_wal;
    if (restarted)
        atomic_store(&j->wal_pages, 0);
    uint64_t took = (uint64_t)(clock_tick_us(j->clock) - from);
    pthread_mutex_unlock(&j->gate);
    if (took > atomic_load(&j->stall_us_max))
        atomic_store(&j->stall_us_max, took);
    if (restarted)
        atomic_fetch_add(&j->checkpoints, 1);
    return err;
}

static enum err tidy_shared(struct journal_sqlite *j, bool *again, struct fault *fault) {
    uint32_t in_wal, copied;
    enum err err = OK;
    if (!j->tidier)
        err = journal_connect(j, false, &j->tidier, fault);
    if (err == OK)
        err = copy_round(j, &in_wal, &copied, fault);
    if (err != OK)
        return err;
    bool full = (uint64_t)in_wal * JOURNAL_FRAME_BYTES >= j->wal_bytes_max;
    for (int i = 0; full && err == OK && in_wal - copied > TIDY_REST_PAGES && i < TIDY_ROUNDS_MAX;
         i++)
        err = copy_round(j, &in_wal, &copied, fault);
    if (err == OK && full)
        err = wal_restart(j, &in_wal, &copied, fault);
    j->tidied_pages = full && in_wal == copied ? 0 : copied;
    *again = full && in_wal != copied;
    return err;
}

enum err journal_sqlite_tidy(struct journal *journal, bool *again, struct fault *fault) {
    struct journal_sqlite *j = (struct journal_sqlite *)journal;
    *again = false;
    if (j->read_only)
        return OK;
    uint32_t pages = atomic_load_explicit(&j->wal_pages, memory_order_relaxed);
    if (pages < j->tidied_pages) /* the WAL started over by itself */
        j->tidied_pages = 0;
    if (!j->exclusive)
        return pages - j->tidied_pages < TIDY_PAGES_MIN ? OK : tidy_shared(j, again, fault);
    uint32_t in_wal, copied;
    pthread_mutex_lock(&j->gate);
    enum err err = checkpoint(j, j->writer, SQLITE_CHECKPOINT_PASSIVE, &in_wal, &copied, fault);
    pthread_mutex_unlock(&j->gate);
    return err;
}

void journal_sqlite_stats(struct journal *journal, struct journal_sqlite_stats *out) {
    struct journal_sqlite *j = (struct journal_sqlite *)journal;
    struct stat st;
    *out = (struct journal_sqlite_stats){
        .wal_bytes = (uint64_t)atomic_load(&j->wal_pages) * JOURNAL_FRAME_BYTES,
        .file_bytes = stat(j->file, &st) == 0 ? (uint64_t)st.st_size : 0,
        .checkpoints = atomic_load(&j->checkpoints),
        .stall_us_max = atomic_load(&j->stall_us_max),
    };
}

enum err journal_sqlite_check(struct journal *journal, struct fault *fault) {
    struct journal_sqlite *j = (struct journal_sqlite *)journal;
    sqlite3 *db = j->writer;
    enum err err = OK;
    if (j->exclusive)
        pthread_mutex_lock(&j->gate);
    else
        err = journal_connect(j, false, &db, fault);
    sqlite3_stmt *stmt = NULL;
    if (err == OK)
        err = db_prepare(db, "PRAGMA integrity_check(1)", &stmt, fault);
    if (err == OK) {
        int rc = sqlite3_step(stmt);
        struct str found = rc == SQLITE_ROW ? db_column_str(stmt, 0) : STR_NONE;
        if (rc != SQLITE_ROW)
            err = db_fault(db, "check the journal", fault);
        else if (!str_is(found, "ok"))
            err = fault_set(fault, ERR_IO, "the journal file is damaged: %.*s", STR_FMT(found));
    }
    sqlite3_finalize(stmt);
    if (j->exclusive)
        pthread_mutex_unlock(&j->gate);
    else
        db_close(db);
    return err;
}
