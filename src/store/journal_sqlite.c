/* journal_sqlite: see journal_sqlite.h. Opening, appending, switching to the next segment; reading
 * is in journal_read.c, what happens behind appends in journal_tidy.c and journal_seal.c.
 *
 * Always true: the tables event of all segments together have the seqs 1, 2, 3 … without a hole,
 * in the order they were appended, and a row never changes. Nothing is appended to a segment
 * before everything in the one before it is durable. */
#include "store/journal_sqlite_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/planted.h"

#define ROW_BYTES 32 /* of a record beside its texts: seq, time, sum, lengths */
#define REACH_TRIES 3
#define WRITER_CACHE_BYTES (16 << 20) /* a batch of 1 024 orders and the interior pages */

/* --- files -------------------------------------------------------------------------------- */

void segment_path(const struct journal_sqlite *j, uint64_t number, char out[PATH_BYTES]) {
    must(snprintf(out, PATH_BYTES, "%s%08llu.db", j->prefix, (unsigned long long)number) <
         PATH_BYTES);
}

bool file_exists(const struct journal_sqlite *j, const char *path) {
    sqlite3_vfs *vfs = sqlite3_vfs_find(j->vfs[0] ? j->vfs : NULL);
    int there = 0;
    return vfs && vfs->xAccess(vfs, path, SQLITE_ACCESS_EXISTS, &there) == SQLITE_OK && there;
}

/* --- segments ----------------------------------------------------------------------------- */

static enum err file_connect(struct journal_sqlite *j, const char *path, bool immutable,
                             sqlite3 **out, struct fault *fault) {
    struct db_options options = {
        .vfs = j->vfs[0] ? j->vfs : NULL,
        .immutable = immutable,
        .read_only = !j->exclusive,
        .keep_mode = true,
        .exclusive = j->exclusive && !immutable,
        .application_id = JOURNAL_APPLICATION_ID,
        .user_version = 1,
    };
    return db_open(path, &options, out, fault);
}

enum err segment_connect(struct journal_sqlite *j, uint64_t number, bool immutable, sqlite3 **out,
                         struct fault *fault) {
    char path[PATH_BYTES];
    segment_path(j, number, path);
    return file_connect(j, path, immutable, out, fault);
}

enum err segment_reach(struct journal_sqlite *j, struct segment *segment, sqlite3 **out,
                       struct fault *fault) {
    char path[PATH_BYTES];
    enum err err = OK;
    for (int i = 0; i < REACH_TRIES; i++) {
        segment_path(j, segment->number, path);
        if (segment->state == SEGMENT_ARCHIVED)
            err = cache_fetch(j, segment, path, fault);
        if (err == OK)
            err = file_connect(j, path, segment->state >= SEGMENT_SEALED, out, fault);
        if (err == OK || file_exists(j, path))
            return err;
        /* Another program archived it, brought it back, or trimmed the cache. */
        struct fault refreshed = {0};
        if (chain_refresh(j, &refreshed) != OK)
            return err;
        enum err found = chain_find(j, segment->first, segment, &refreshed);
        if (found != OK)
            return fault_set(fault, found, "%s", refreshed.detail);
    }
    return err;
}

enum err segment_range(sqlite3 *db, uint64_t *first, uint64_t *last, struct fault *fault) {
    int64_t low = 0, high = 0;
    enum err err = db_i64(db, "SELECT min(seq) FROM event", 0, &low, fault);
    if (err == OK)
        err = db_i64(db, "SELECT max(seq) FROM event", 0, &high, fault);
    *first = (uint64_t)low;
    *last = (uint64_t)high;
    return err;
}

enum err cell_check(sqlite3 *db, struct str cell, struct fault *fault) {
    sqlite3_stmt *stmt;
    enum err err = db_prepare(db, "SELECT value FROM meta WHERE name='cell'", &stmt, fault);
    if (err != OK)
        return err;
    int rc = sqlite3_step(stmt);
    struct str held = rc == SQLITE_ROW ? db_column_str(stmt, 0) : STR_NONE;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        err = db_fault(db, "read the journal's cell", fault);
    else if (!held.ptr)
        err = fault_set(fault, ERR_CONFLICT, "the journal does not name its cell");
    else if (cell.ptr && !str_eq(held, cell))
        err = fault_set(fault, ERR_CONFLICT, "the journal is of cell \"%.*s\", not \"%.*s\"",
                        STR_FMT(held), STR_FMT(cell));
    sqlite3_finalize(stmt);
    return err;
}

/* Tables of a new file. In one transaction, so that a crash leaves a new file empty or
 * complete. */
static enum err schema_make(struct journal_sqlite *j, const struct segment_file *file,
                            struct fault *fault) {
    enum err err = db_exec(file->db,
                           "BEGIN IMMEDIATE;"
                           "CREATE TABLE IF NOT EXISTS event(seq INTEGER PRIMARY KEY,"
                           " time INTEGER NOT NULL, type TEXT NOT NULL, subject TEXT NOT NULL,"
                           " meta TEXT NOT NULL, data TEXT NOT NULL, sum INTEGER NOT NULL);"
                           "CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY,"
                           " value TEXT NOT NULL) WITHOUT ROWID",
                           fault);
    sqlite3_stmt *stmt = NULL;
    if (err == OK)
        err = db_prepare(file->db, "INSERT OR IGNORE INTO meta VALUES('cell', ?),('segment', ?)",
                         &stmt, fault);
    if (err == OK) {
        db_bind_str(stmt, 1, str_c(j->cell));
        sqlite3_bind_int64(stmt, 2, (int64_t)file->number);
        err = db_run(stmt, fault);
    }
    sqlite3_finalize(stmt);
    if (err == OK)
        err = db_exec(file->db, "COMMIT", fault);
    if (!sqlite3_get_autocommit(file->db))
        (void)sqlite3_exec(file->db, "ROLLBACK", NULL, NULL, NULL);
    return err;
}

static enum err segment_prepare(struct segment_file *file, struct fault *fault) {
    enum err err = db_prepare(file->db, "BEGIN IMMEDIATE", &file->begin, fault);
    if (err == OK)
        err = db_prepare(file->db, "COMMIT", &file->commit, fault);
    if (err == OK)
        err = db_prepare(file->db, "INSERT INTO event VALUES(?,?,?,?,?,?,?)", &file->insert,
                         fault);
    if (err == OK)
        err = db_prepare(file->db, "SELECT seq FROM event ORDER BY seq DESC LIMIT 1",
                         &file->newest, fault);
    /* A batch larger than the cache must not reach the WAL before it is complete. */
    if (err == OK)
        err = db_exec(file->db, "PRAGMA cache_spill=OFF", fault);
    return err;
}

enum err segment_open(struct journal_sqlite *j, uint64_t number, bool create,
                      struct segment_file *out, struct fault *fault) {
    char path[PATH_BYTES];
    struct db_options options = {
        .vfs = j->vfs[0] ? j->vfs : NULL,
        .create = create,
        .keep_mode = !create,
        .exclusive = j->exclusive,
        .page_bytes = JOURNAL_PAGE_BYTES,
        .cache_bytes = create ? WRITER_CACHE_BYTES : 0,
        .synchronous = PLANTED(SKIP_FSYNC) ? "OFF" : NULL,
        .application_id = JOURNAL_APPLICATION_ID,
        .user_version = 1,
    };
    *out = (struct segment_file){.number = number};
    segment_path(j, number, path);
    enum err err = db_open(path, &options, &out->db, fault);
    if (err == OK && create)
        err = schema_make(j, out, fault);
    if (err == OK)
        err = cell_check(out->db, str_c(j->cell), fault);
    if (err == OK && create)
        err = segment_prepare(out, fault);
    if (err != OK)
        segment_close(out);
    return err;
}

void segment_close(struct segment_file *file) {
    sqlite3_finalize(file->begin);
    sqlite3_finalize(file->commit);
    sqlite3_finalize(file->insert);
    sqlite3_finalize(file->newest);
    db_close(file->db); /* the last one copies the WAL into the file and removes it */
    *file = (struct segment_file){0};
}

enum err segment_newest(const struct segment_file *file, uint64_t *seq, struct fault *fault) {
    int rc = sqlite3_step(file->newest);
    enum err err = OK;
    *seq = rc == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(file->newest, 0) : file->base;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        err = db_fault(file->db, "read the journal's newest record", fault);
    sqlite3_reset(file->newest);
    return err;
}

/* --- opening ------------------------------------------------------------------------------ */

/* One program writes a cell. The lock goes with the process, however it ends. */
static enum err lock_take(struct journal_sqlite *j, const char *path, const char *file,
                          struct fault *fault) {
    char name[PATH_BYTES];
    if (snprintf(name, sizeof name, "%s/%s", path, file) >= (int)sizeof name)
        return fault_set(fault, ERR_INVALID, "the path %.80s… is too long", path);
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return fault_set(fault, ERR_IO, "can not open %s: %s", name, strerror(errno));
    char pid[32] = "";
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int reason = errno;
        if (reason != EWOULDBLOCK) {
            close(fd);
            return fault_set(fault, ERR_IO, "can not lock %s: %s", name, strerror(reason));
        }
        ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
        pid[n > 0 ? strcspn(pid, "\n") : 0] = '\0';
        close(fd);
        return fault_set(fault, ERR_CONFLICT, "%s is in use by another penstock (process %s)",
                         path, pid[0] ? pid : "unknown");
    }
    int len = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)len, 0) != len) {
        int reason = errno;
        close(fd);
        return fault_set(fault, ERR_IO, "can not write %s: %s", name, strerror(reason));
    }
    j->lock_fd = fd;
    return OK;
}

static enum err folders_make(struct journal_sqlite *j, const char *path, struct fault *fault) {
    char folder[PATH_BYTES];
    snprintf(folder, sizeof folder, "%s/journal", path);
    enum err err = db_folder(path, fault);
    if (err == OK)
        err = db_folder(folder, fault);
    if (err == OK)
        err = lock_take(j, path, "lock", fault);
    return err;
}

/* The live segment, by the table; and, where one connection serves all, the closed one. */
static enum err live_open(struct journal_sqlite *j, struct fault *fault) {
    struct segment live, closed;
    enum err err = chain_find(j, UINT64_MAX, &live, fault);
    if (err == OK)
        err = segment_open(j, live.number, true, &j->live, fault);
    if (err == OK && j->folder[0])
        err = db_folder_sync(j->folder, fault);
    if (err == OK && j->exclusive && chain_closed(j, &closed))
        err = segment_open(j, closed.number, false, &j->old, fault);
    int64_t pages = 0;
    if (err == OK)
        err = db_i64(j->live.db, "PRAGMA page_count", 0, &pages, fault);
    if (err != OK)
        return err;
    j->live.base = live.first - 1;
    j->live_bytes = (uint64_t)pages * JOURNAL_PAGE_BYTES;
    wal_watch(j);
    uint64_t last = 0;
    err = segment_newest(&j->live, &last, fault);
    atomic_store(&j->last, last);
    return err;
}

static enum err writer_open(struct journal_sqlite *j, const char *path, struct fault *fault) {
    enum err err = j->exclusive ? OK : folders_make(j, path, fault);
    if (err == OK)
        parts_remove(j, "/cache");
    if (err == OK)
        err = chain_load(j, fault);
    return err == OK ? live_open(j, fault) : err;
}

/* Beside a running hub, or after it: look, touch nothing. */
static enum err reader_open(struct journal_sqlite *j, struct fault *fault) {
    enum err err = chain_load(j, fault);
    struct segment first;
    char path[PATH_BYTES];
    must(err != OK || journal_sqlite_segment(&j->journal, 0, &first));
    if (err == OK && first.state == SEGMENT_LIVE) {
        segment_path(j, first.number, path);
        if (!file_exists(j, path))
            err = fault_set(fault, ERR_NOT_FOUND, "there is no journal at %s", path);
    }
    if (err == OK && j->maintain)
        err = lock_take(j, j->folder, "lock", fault);
    if (err == OK && j->maintain)
        parts_remove(j, "");
    return err;
}

/* --- appending -------------------------------------------------------------------------- */

static enum err insert_all(struct journal_sqlite *j, const struct record *records, uint32_t n,
                           struct fault *fault) {
    sqlite3_stmt *stmt = j->live.insert;
    for (uint32_t i = 0; i < n; i++) {
        const struct record *r = &records[i];
        must(r->seq == records[0].seq + i);
        sqlite3_bind_int64(stmt, 1, (int64_t)r->seq);
        sqlite3_bind_int64(stmt, 2, r->time_us);
        db_bind_str(stmt, 3, r->type);
        db_bind_str(stmt, 4, r->subject);
        db_bind_str(stmt, 5, r->meta);
        db_bind_str(stmt, 6, r->data);
        sqlite3_bind_int64(stmt, 7, (int64_t)journal_record_sum(r));
        if (sqlite3_step(stmt) != SQLITE_DONE) {
            enum err err = db_fault(j->live.db, "append to the journal", fault);
            sqlite3_reset(stmt);
            return err;
        }
        sqlite3_reset(stmt);
    }
    return OK;
}

/* Rolls back and reads what the file holds: the only truth after an error. */
static void append_undo(struct journal_sqlite *j) {
    if (!sqlite3_get_autocommit(j->live.db))
        (void)sqlite3_exec(j->live.db, "ROLLBACK", NULL, NULL, NULL);
    uint64_t last;
    struct fault fault = {0};
    bool known = segment_newest(&j->live, &last, &fault) == OK;
    if (known)
        atomic_store(&j->last, last);
    atomic_store(&j->last_unknown, !known);
    j->settled = false;
}

/* A segment is left only behind an append that succeeded: then all in it is durable, and
 * nothing of an append that failed can turn up in it again (its frames in the WAL were written
 * over). Else a crash might leave a hole between two segments, or the same seq in both. */
static bool switch_is_due(const struct journal_sqlite *j) {
    uint64_t wal = (uint64_t)atomic_load(&j->wal_pages) * JOURNAL_FRAME_BYTES;
    return j->next.db && j->settled &&
           (j->live_bytes >= j->segment_bytes || wal >= j->segment_bytes);
}

/* Two connections change places: nothing here waits for the disk. */
static void live_switch(struct journal_sqlite *j) {
    int64_t from = clock_tick_us(j->clock);
    uint64_t last = atomic_load(&j->last);
    must(!j->old.db);
    chain_switch(j, last);
    sqlite3_wal_hook(j->live.db, NULL, NULL);
    j->old = j->live;
    j->live = j->next;
    j->live.base = last;
    j->next = (struct segment_file){0};
    j->live_bytes = 0;
    j->settled = false;
    atomic_store(&j->wal_pages, 0);
    wal_watch(j);
    uint64_t took = (uint64_t)(clock_tick_us(j->clock) - from);
    atomic_fetch_add(&j->switches, 1);
    if (took > atomic_load(&j->switch_us_max))
        atomic_store(&j->switch_us_max, took);
}

static enum err append_locked(struct journal_sqlite *j, const struct record *records, uint32_t n,
                              struct fault *fault) {
    if (switch_is_due(j))
        live_switch(j);
    uint64_t last = 0;
    enum err err = db_run(j->live.begin, fault);
    if (err == OK)
        err = segment_newest(&j->live, &last, fault);
    if (err == OK && records[0].seq != last + 1)
        err = fault_set(fault, ERR_CONFLICT,
                        "the journal is at %llu, expected %llu: another writer appended to it",
                        (unsigned long long)last, (unsigned long long)records[0].seq - 1);
    if (err == OK)
        err = insert_all(j, records, n, fault);
    int64_t from_us = clock_tick_us(j->clock);
    if (err == OK)
        err = db_run(j->live.commit, fault);
    if (err != OK) {
        append_undo(j);
        return err;
    }
    histogram_us(&j->sync_us, clock_tick_us(j->clock) - from_us);
    j->settled = true;
    for (uint32_t i = 0; i < n; i++)
        j->live_bytes += records[i].type.len + records[i].subject.len + records[i].meta.len +
                         records[i].data.len + ROW_BYTES;
    atomic_store(&j->last_unknown, false);
    atomic_store(&j->last, records[n - 1].seq);
    return OK;
}

static enum err sqlite_append(struct journal *journal, const struct record *records, uint32_t n,
                              struct fault *fault) {
    struct journal_sqlite *j = journal_of(journal);
    if (j->read_only)
        return fault_set(fault, ERR_INTERNAL, "the journal is open for reading only");
    if (n == 0)
        return OK;
    pthread_mutex_lock(&j->gate);
    enum err err = append_locked(j, records, n, fault);
    pthread_mutex_unlock(&j->gate);
    return err;
}

/* --- life ------------------------------------------------------------------------------- */

static void sqlite_close(struct journal *journal) {
    struct journal_sqlite *j = journal_of(journal);
    seal_end(j);
    pool_drop(j, 0);
    db_close(j->tidier);
    segment_close(&j->old);
    segment_close(&j->next);
    segment_close(&j->live);
    chain_close(j);
    if (j->lock_fd >= 0)
        close(j->lock_fd);
    pthread_mutex_destroy(&j->gate);
    pthread_mutex_destroy(&j->pool_lock);
    pthread_mutex_destroy(&j->chain_lock);
    pthread_mutex_destroy(&j->cache_lock);
    mem_free(j->segments);
    mem_free(j);
}

#define PROBE_BYTES ((size_t)1 << 20) /* less room is soon used up again */

static enum err sqlite_probe(struct journal *journal, struct fault *fault) {
    struct journal_sqlite *j = (struct journal_sqlite *)journal;
    char path[PATH_BYTES];
    if (snprintf(path, sizeof path, "%sroom", j->prefix) >= (int)sizeof path)
        return OK;
    return db_room(path, j->vfs[0] ? j->vfs : NULL, PROBE_BYTES, fault);
}

static const struct journal_ops sqlite_ops = {
    .append = sqlite_append,
    .read = journal_sqlite_read,
    .last = journal_sqlite_last,
    .tidy = journal_sqlite_tidy,
    .probe = sqlite_probe,
    .close = sqlite_close,
    .stats = journal_stats_read,
    .near = cache_near,
};

/* Names of files; false where they are too long. */
static bool names_make(struct journal_sqlite *j, const char *path,
                       const struct journal_sqlite_options *options) {
    size_t size = sizeof j->prefix - 64; /* "00000001.db.zst", "cache/" … */
    return (size_t)snprintf(j->prefix, size, j->exclusive ? "%s-" : "%s/journal/", path) < size &&
           (size_t)snprintf(j->folder, sizeof j->folder, j->exclusive ? "" : "%s/journal", path) <
               sizeof j->folder &&
           (size_t)snprintf(j->vfs, sizeof j->vfs, "%s", options->vfs ? options->vfs : "") <
               sizeof j->vfs &&
           (size_t)snprintf(j->cell, sizeof j->cell, "%.*s", STR_FMT(options->cell)) <
               sizeof j->cell;
}

enum err journal_sqlite_open(const char *path, const struct journal_sqlite_options *options,
                             struct journal **out, struct fault *fault) {
    *out = NULL;
    struct journal_sqlite *j = mem_zalloc(sizeof *j);
    if (!j)
        return fault_set(fault, ERR_NOMEM, "no memory for the journal");
    j->journal.ops = &sqlite_ops;
    j->lock_fd = -1;
    j->exclusive = options->exclusive;
    j->read_only = options->read_only;
    j->maintain = options->maintain && options->read_only;
    j->clock = options->clock ? options->clock : &clock_system;
    j->segment_bytes =
        options->segment_bytes ? options->segment_bytes : JOURNAL_SEGMENT_BYTES_DEFAULT;
    pthread_mutex_init(&j->gate, NULL);
    pthread_mutex_init(&j->pool_lock, NULL);
    pthread_mutex_init(&j->chain_lock, NULL);
    pthread_mutex_init(&j->cache_lock, NULL);
    enum err err;
    struct fault own = {0};
    if (!fault)
        fault = &own;
    if (!names_make(j, path, options))
        err = fault_set(fault, ERR_INVALID, "the path %.80s… is too long", path);
    else
        err = j->read_only ? reader_open(j, fault) : writer_open(j, path, fault);
    if (err != OK) {
        sqlite_close(&j->journal);
        return err;
    }
    *out = &j->journal;
    return OK;
}
