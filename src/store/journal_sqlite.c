/* journal_sqlite: see journal_sqlite.h. Opening, appending, reading; the checkpoint is in
 * journal_tidy.c.
 *
 * Always true: table event has the seqs 1, 2, 3 … without a hole, in the order they were
 * appended, and a row never changes. */
#include "store/journal_sqlite_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"

#define WRITER_CACHE_BYTES (16 << 20) /* a batch of 1 024 orders and the interior pages */
#define IDLE_READERS_MAX 16
#define READ_CHUNK_BYTES (1u << 20)

static struct journal_sqlite *journal_of(struct journal *journal) {
    return (struct journal_sqlite *)journal;
}

/* --- opening ---------------------------------------------------------------------------- */

/* One program writes a cell. The lock goes with the process, however it ends. */
static enum err lock_take(struct journal_sqlite *j, const char *path, struct fault *fault) {
    char name[PATH_BYTES];
    snprintf(name, sizeof name, "%s/lock", path);
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return fault_set(fault, ERR_IO, "can not open %s: %s", name, strerror(errno));
    char pid[32] = "";
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
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
        err = lock_take(j, path, fault);
    return err;
}

enum err journal_connect(struct journal_sqlite *j, bool create, sqlite3 **out,
                         struct fault *fault) {
    struct db_options options = {
        .vfs = j->vfs[0] ? j->vfs : NULL,
        .create = create,
        .read_only = j->read_only,
        .exclusive = j->exclusive,
        .page_bytes = JOURNAL_PAGE_BYTES,
        .cache_bytes = create ? WRITER_CACHE_BYTES : 0,
        .application_id = JOURNAL_APPLICATION_ID,
        .user_version = 1,
    };
    return db_open(j->file, &options, out, fault);
}

/* Tables of a new file; the cell's name of an old one. In one transaction, so that a crash
 * leaves a new file empty or complete. */
static enum err schema_make(struct journal_sqlite *j, struct str cell, struct fault *fault) {
    enum err err = db_exec(j->writer,
                           "BEGIN IMMEDIATE;"
                           "CREATE TABLE IF NOT EXISTS event(seq INTEGER PRIMARY KEY,"
                           " time INTEGER NOT NULL, type TEXT NOT NULL, subject TEXT NOT NULL,"
                           " meta TEXT NOT NULL, data TEXT NOT NULL, sum INTEGER NOT NULL);"
                           "CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY,"
                           " value TEXT NOT NULL) WITHOUT ROWID",
                           fault);
    sqlite3_stmt *stmt = NULL;
    if (err == OK)
        err = db_prepare(j->writer, "INSERT OR IGNORE INTO meta VALUES('cell', ?)", &stmt, fault);
    if (err == OK) {
        db_bind_str(stmt, 1, cell);
        err = db_run(stmt, fault);
    }
    sqlite3_finalize(stmt);
    if (err == OK)
        err = db_exec(j->writer, "COMMIT", fault);
    if (!sqlite3_get_autocommit(j->writer))
        (void)sqlite3_exec(j->writer, "ROLLBACK", NULL, NULL, NULL);
    return err;
}

static enum err cell_check(sqlite3 *db, struct str cell, struct fault *fault) {
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

static enum err writer_prepare(struct journal_sqlite *j, struct fault *fault) {
    enum err err = db_prepare(j->writer, "BEGIN IMMEDIATE", &j->begin, fault);
    if (err == OK)
        err = db_prepare(j->writer, "COMMIT", &j->commit, fault);
    if (err == OK)
        err = db_prepare(j->writer, "INSERT INTO event VALUES(?,?,?,?,?,?,?)", &j->insert, fault);
    if (err == OK)
        err = db_prepare(j->writer, "SELECT seq FROM event ORDER BY seq DESC LIMIT 1", &j->newest,
                         fault);
    if (err == OK)
        journal_wal_watch(j);
    /* A batch larger than the cache must not reach the WAL before it is complete. */
    if (err == OK)
        err = db_exec(j->writer, "PRAGMA cache_spill=OFF", fault);
    return err;
}

static enum err newest_seq(sqlite3 *db, sqlite3_stmt *stmt, uint64_t *seq, struct fault *fault) {
    int rc = sqlite3_step(stmt);
    enum err err = OK;
    *seq = rc == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(stmt, 0) : 0;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        err = db_fault(db, "read the journal's newest record", fault);
    sqlite3_reset(stmt);
    return err;
}

static enum err writer_open(struct journal_sqlite *j, const char *path, struct str cell,
                            struct fault *fault) {
    enum err err = j->exclusive ? OK : folders_make(j, path, fault);
    if (err == OK)
        err = journal_connect(j, true, &j->writer, fault);
    if (err == OK)
        err = schema_make(j, cell, fault);
    if (err == OK)
        err = cell_check(j->writer, cell, fault);
    if (err == OK)
        err = writer_prepare(j, fault);
    if (err == OK && !j->exclusive) {
        char folder[PATH_BYTES];
        snprintf(folder, sizeof folder, "%s/journal", path);
        err = db_folder_sync(folder, fault);
    }
    uint64_t last = 0;
    if (err == OK)
        err = newest_seq(j->writer, j->newest, &last, fault);
    atomic_store(&j->last, last);
    return err;
}

/* --- connections to read with ----------------------------------------------------------- */

static void conn_destroy(struct journal_conn *conn) {
    if (!conn)
        return;
    sqlite3_finalize(conn->select);
    if (conn->owned)
        db_close(conn->db);
    mem_free(conn->bytes);
    mem_free(conn);
}

static struct journal_conn *conn_create(struct journal_sqlite *j, struct fault *fault) {
    struct journal_conn *conn = mem_zalloc(sizeof *conn);
    if (!conn) {
        fault_set(fault, ERR_NOMEM, "no memory to read the journal");
        return NULL;
    }
    enum err err = OK;
    if (j->exclusive) {
        conn->db = j->writer;
    } else {
        err = journal_connect(j, false, &conn->db, fault);
        conn->owned = err == OK;
    }
    if (err == OK)
        err = db_prepare(conn->db,
                         "SELECT seq, time, type, subject, meta, data, sum FROM event"
                         " WHERE seq >= ? ORDER BY seq LIMIT ?",
                         &conn->select, fault);
    if (err == OK)
        return conn;
    conn_destroy(conn);
    return NULL;
}

static struct journal_conn *conn_take(struct journal_sqlite *j, struct fault *fault) {
    pthread_mutex_lock(&j->pool_lock);
    struct journal_conn *conn = j->idle;
    if (conn) {
        j->idle = conn->next;
        j->idle_count--;
    }
    pthread_mutex_unlock(&j->pool_lock);
    return conn ? conn : conn_create(j, fault);
}

static void conn_give(struct journal_sqlite *j, struct journal_conn *conn) {
    pthread_mutex_lock(&j->pool_lock);
    bool keep = j->idle_count < IDLE_READERS_MAX;
    if (keep) {
        conn->next = j->idle;
        j->idle = conn;
        j->idle_count++;
    }
    pthread_mutex_unlock(&j->pool_lock);
    if (!keep)
        conn_destroy(conn);
}

uint64_t journal_record_sum(const struct record *record) {
    uint64_t sum = hash64(record->type, record->seq);
    sum = hash64(record->subject, sum ^ (uint64_t)record->time_us);
    sum = hash64(record->meta, sum);
    return hash64(record->data, sum);
}

/* --- reading ---------------------------------------------------------------------------- */

/* Room for `more` bytes in the chunk. Pointers into it are made when it is complete. */
static bool chunk_reserve(struct journal_conn *conn, size_t more) {
    if (conn->cap - conn->len >= more)
        return true;
    size_t cap = conn->cap ? conn->cap : 65536;
    while (cap - conn->len < more)
        cap *= 2;
    char *bytes = mem_resize(conn->bytes, cap);
    if (!bytes)
        return false;
    conn->bytes = bytes;
    conn->cap = cap;
    return true;
}

/* Copies one row's texts; the records hold offsets until chunk_finish. */
static bool chunk_add(struct journal_conn *conn, struct record *record) {
    struct str *texts[] = {&record->type, &record->subject, &record->meta, &record->data};
    record->seq = (uint64_t)sqlite3_column_int64(conn->select, 0);
    record->time_us = sqlite3_column_int64(conn->select, 1);
    for (int i = 0; i < 4; i++) {
        struct str text = db_column_str(conn->select, 2 + i);
        if (!chunk_reserve(conn, text.len + 1))
            return false;
        memcpy(conn->bytes + conn->len, text.ptr ? text.ptr : "", text.len);
        conn->bytes[conn->len + text.len] = '\0';
        texts[i]->len = text.len;
        conn->len += text.len + 1;
    }
    return true;
}

static void chunk_finish(struct journal_conn *conn, struct record *records, uint32_t n) {
    const char *at = conn->bytes;
    for (uint32_t i = 0; i < n; i++) {
        struct str *texts[] = {&records[i].type, &records[i].subject, &records[i].meta,
                               &records[i].data};
        for (int k = 0; k < 4; k++) {
            texts[k]->ptr = at;
            at += texts[k]->len + 1;
        }
    }
}

/* Reads up to `want` rows into the connection's chunk and ends the read transaction: whoever
 * visits them may take its time without keeping the WAL from starting over. */
static enum err chunk_read(struct journal_sqlite *j, struct journal_conn *conn, uint64_t from,
                           uint32_t want, struct record *records, uint32_t *n,
                           struct fault *fault) {
    *n = 0;
    conn->len = 0;
    if (j->exclusive)
        pthread_mutex_lock(&j->gate);
    sqlite3_bind_int64(conn->select, 1, (int64_t)from);
    sqlite3_bind_int64(conn->select, 2, want);
    enum err err = OK;
    while (*n < want && conn->len < READ_CHUNK_BYTES) {
        int rc = sqlite3_step(conn->select);
        if (rc == SQLITE_DONE)
            break;
        if (rc != SQLITE_ROW) {
            err = db_fault(conn->db, "read the journal", fault);
            break;
        }
        if (!chunk_add(conn, &records[*n])) {
            err = fault_set(fault, ERR_NOMEM, "no memory to read the journal");
            break;
        }
        conn->sums[*n] = (uint64_t)sqlite3_column_int64(conn->select, 6);
        ++*n;
    }
    sqlite3_reset(conn->select);
    if (j->exclusive)
        pthread_mutex_unlock(&j->gate);
    chunk_finish(conn, records, *n);
    return err;
}

/* How many of the records are whole; not even the first: ERR_DAMAGED. Those before a damaged one
 * are still given out. */
static enum err chunk_check(const struct journal_conn *conn, uint32_t *n, struct fault *fault) {
    for (uint32_t i = 0; i < *n; i++) {
        if (journal_record_sum(&conn->records[i]) == conn->sums[i])
            continue;
        uint64_t seq = conn->records[i].seq;
        *n = i;
        return i > 0 ? OK
                     : fault_set(fault, ERR_DAMAGED,
                                 "record %llu of the journal does not match its checksum: it was "
                                 "changed on disk",
                                 (unsigned long long)seq);
    }
    return OK;
}

static enum err sqlite_read(struct journal *journal, uint64_t from, uint32_t limit,
                            journal_visit *visit, void *ctx, uint64_t *next,
                            struct fault *fault) {
    struct journal_sqlite *j = journal_of(journal);
    *next = from ? from : 1;
    struct journal_conn *conn = conn_take(j, fault);
    if (!conn)
        return fault ? fault->err : ERR_IO;
    struct record *records = conn->records;
    enum err err = OK;
    bool go_on = true;
    while (limit > 0 && go_on && err == OK) {
        uint32_t n, want = limit < READ_CHUNK_RECORDS ? limit : READ_CHUNK_RECORDS;
        err = chunk_read(j, conn, *next, want, records, &n, fault);
        if (err == OK)
            err = chunk_check(conn, &n, fault);
        if (err != OK || n == 0)
            break;
        for (uint32_t i = 0; i < n && go_on; i++) {
            *next = records[i].seq + 1;
            go_on = visit(ctx, &records[i]);
        }
        limit -= n;
    }
    conn_give(j, conn);
    return err;
}

static enum err sqlite_last(struct journal *journal, uint64_t *seq, struct fault *fault) {
    struct journal_sqlite *j = journal_of(journal);
    *seq = atomic_load(&j->last);
    if (!j->read_only && !atomic_load(&j->last_unknown))
        return OK;
    /* Another program writes (read_only), or the last append went wrong: ask the file. */
    struct journal_conn *conn = conn_take(j, fault);
    if (!conn)
        return fault ? fault->err : ERR_IO;
    if (j->exclusive)
        pthread_mutex_lock(&j->gate);
    int64_t newest = 0;
    enum err err = db_i64(conn->db, "SELECT max(seq) FROM event", 0, &newest, fault);
    if (j->exclusive)
        pthread_mutex_unlock(&j->gate);
    *seq = (uint64_t)newest;
    conn_give(j, conn);
    return err;
}

/* --- appending -------------------------------------------------------------------------- */

static enum err insert_all(struct journal_sqlite *j, const struct record *records, uint32_t n,
                           struct fault *fault) {
    sqlite3_stmt *stmt = j->insert;
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
            enum err err = db_fault(j->writer, "append to the journal", fault);
            sqlite3_reset(stmt);
            return err;
        }
        sqlite3_reset(stmt);
    }
    return OK;
}

/* Rolls back and reads what the file holds: the only truth after an error. */
static void append_undo(struct journal_sqlite *j) {
    if (!sqlite3_get_autocommit(j->writer))
        (void)sqlite3_exec(j->writer, "ROLLBACK", NULL, NULL, NULL);
    uint64_t last;
    struct fault fault = {0};
    bool known = newest_seq(j->writer, j->newest, &last, &fault) == OK;
    if (known)
        atomic_store(&j->last, last);
    atomic_store(&j->last_unknown, !known);
}

static enum err append_locked(struct journal_sqlite *j, const struct record *records, uint32_t n,
                              struct fault *fault) {
    enum err err = db_run(j->begin, fault);
    uint64_t last = 0;
    if (err == OK)
        err = newest_seq(j->writer, j->newest, &last, fault);
    if (err == OK && records[0].seq != last + 1)
        err = fault_set(fault, ERR_CONFLICT,
                        "the journal is at %llu, expected %llu: another writer appended to it",
                        (unsigned long long)last, (unsigned long long)records[0].seq - 1);
    if (err == OK)
        err = insert_all(j, records, n, fault);
    if (err == OK)
        err = db_run(j->commit, fault);
    if (err != OK) {
        append_undo(j);
        return err;
    }
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
    while (j->idle) {
        struct journal_conn *conn = j->idle;
        j->idle = conn->next;
        conn_destroy(conn);
    }
    db_close(j->tidier);
    sqlite3_finalize(j->begin);
    sqlite3_finalize(j->commit);
    sqlite3_finalize(j->insert);
    sqlite3_finalize(j->newest);
    db_close(j->writer); /* the last one copies the WAL into the file and removes it */
    if (j->lock_fd >= 0)
        close(j->lock_fd);
    pthread_mutex_destroy(&j->gate);
    pthread_mutex_destroy(&j->pool_lock);
    mem_free(j);
}

static const struct journal_ops sqlite_ops = {
    .append = sqlite_append,
    .read = sqlite_read,
    .last = sqlite_last,
    .tidy = journal_sqlite_tidy,
    .close = sqlite_close,
};

/* Beside a running hub, or after it: look, touch nothing. */
static enum err reader_open(struct journal_sqlite *j, struct str cell, struct fault *fault) {
    struct stat st;
    if (!j->vfs[0] && stat(j->file, &st) != 0)
        return fault_set(fault, ERR_NOT_FOUND, "there is no journal at %s", j->file);
    struct journal_conn *conn = conn_take(j, fault);
    if (!conn)
        return fault ? fault->err : ERR_IO;
    enum err err = cell_check(conn->db, cell, fault);
    conn_give(j, conn);
    return err;
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
    j->clock = options->clock ? options->clock : &clock_system;
    j->wal_bytes_max = options->wal_bytes ? options->wal_bytes : JOURNAL_WAL_BYTES_DEFAULT;
    pthread_mutex_init(&j->gate, NULL);
    pthread_mutex_init(&j->pool_lock, NULL);
    int len = snprintf(j->file, sizeof j->file, j->exclusive ? "%s-00000001.db" :
                       "%s/journal/00000001.db", path);
    int vfs_len = snprintf(j->vfs, sizeof j->vfs, "%s", options->vfs ? options->vfs : "");
    enum err err;
    struct fault own = {0};
    if (!fault)
        fault = &own;
    if (len >= (int)sizeof j->file || vfs_len >= (int)sizeof j->vfs)
        err = fault_set(fault, ERR_INVALID, "the path %.80s… is too long", path);
    else if (j->read_only)
        err = reader_open(j, options->cell, fault);
    else
        err = writer_open(j, path, options->cell, fault);
    if (err != OK) {
        sqlite_close(&j->journal);
        return err;
    }
    *out = &j->journal;
    return OK;
}
