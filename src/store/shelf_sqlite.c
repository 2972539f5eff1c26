/* shelf_sqlite: see shelf_sqlite.h. Opening, writing, emptying.
 *
 * Always true: table meta's one row, the live rows of table run and the chunks they name are of
 * the same moment; the row's own sum and that of the runs say so. */
#include "store/shelf_sqlite.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "store/shelf_priv.h"

#define WRITER_CACHE_BYTES (8 << 20)
#define META_SEED UINT64_C(0x7368656c666d7431)

static struct shelf_sqlite *shelf_of(struct shelf *shelf) { return (struct shelf_sqlite *)shelf; }

/* --- transactions -------------------------------------------------------------------------- */

enum err shelf_err(sqlite3 *db, enum err err, struct fault *fault) {
    if (err != ERR_IO || !db || !db_is_damage(sqlite3_errcode(db)))
        return err;
    if (fault)
        fault->err = ERR_DAMAGED;
    return ERR_DAMAGED;
}

enum err shelf_usable(struct shelf_sqlite *s, struct fault *fault) {
    if (s->writer.db && !s->broken)
        return OK;
    return fault_set(fault, ERR_DAMAGED,
                     "the written state can not be trusted after an error of the disk: it has to "
                     "be emptied");
}

enum err shelf_begin(struct shelf_sqlite *s, struct fault *fault) {
    s->runs_sum_next = s->runs_sum;
    return db_run(s->begin, fault);
}

static int64_t meta_format(const struct shelf_sqlite *s) {
    return (int64_t)SHELF_LAYOUT << 32 | s->format;
}
static int64_t meta_sum(const int64_t fields[4]) {
    return (int64_t)hash64(str_of((const char *)fields, 4 * sizeof fields[0]), META_SEED);
}

enum err shelf_commit(struct shelf_sqlite *s, uint64_t seq, int64_t forget_us,
                      struct fault *fault) {
    int64_t fields[4] = {meta_format(s), (int64_t)seq, forget_us, (int64_t)s->runs_sum_next};
    for (int i = 0; i < 4; i++)
        sqlite3_bind_int64(s->meta_put, i + 1, fields[i]);
    sqlite3_bind_int64(s->meta_put, 5, meta_sum(fields));
    enum err err = db_run(s->meta_put, fault);
    if (err == OK)
        err = db_run(s->commit, fault);
    if (err != OK)
        return err;
    s->runs_sum = s->runs_sum_next;
    dead_sweep(s, true);
    return OK;
}

/* A sync that failed may have lost pages of the WAL for good, whatever later ones say: copying
 * them into the file would mix states. What is in the file now stays as it is. */
enum err shelf_rollback(struct shelf_sqlite *s, enum err err, struct fault *fault) {
    sqlite3 *db = s->writer.db;
    int rc = sqlite3_extended_errcode(db);
    if (rc == SQLITE_IOERR_FSYNC || rc == SQLITE_IOERR_DIR_FSYNC) {
        s->broken = true;
        (void)sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        err = ERR_DAMAGED;
        if (fault)
            fault->err = err;
    }
    err = shelf_err(db, err, fault);
    if (!sqlite3_get_autocommit(db))
        (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    dead_sweep(s, false);
    return err;
}

/* --- the file ------------------------------------------------------------------------------ */

enum err shelf_connect(struct shelf_sqlite *s, bool create, bool *damaged, sqlite3 **out,
                       struct fault *fault) {
    struct db_options options = {
        .vfs = s->vfs[0] ? s->vfs : NULL,
        .create = create,
        .exclusive = s->exclusive,
        .page_bytes = SHELF_PAGE_BYTES,
        .cache_bytes = create ? WRITER_CACHE_BYTES : 0,
        .synchronous = "NORMAL",
        .application_id = SHELF_APPLICATION_ID,
        .user_version = 1,
        .damaged = damaged,
    };
    return db_open(s->file, &options, out, fault);
}

enum err conn_prepare(struct shelf_conn *conn, struct fault *fault) {
    return db_prepare(conn->db, "SELECT data FROM chunk WHERE id=?", &conn->chunk, fault);
}

void conn_finish(struct shelf_conn *conn) {
    sqlite3_finalize(conn->chunk);
    mem_free(conn->bytes);
    conn->chunk = NULL;
    conn->bytes = NULL;
    conn->cap = 0;
}

static int wal_seen(void *ctx, sqlite3 *db, const char *name, int pages) {
    (void)db, (void)name;
    struct shelf_sqlite *s = ctx;
    if ((uint32_t)pages < s->wal_pages) /* it started over */
        s->wal_copied = 0;
    s->wal_pages = (uint32_t)pages;
    return SQLITE_OK;
}

static enum err schema_make(struct shelf_sqlite *s, struct fault *fault) {
    enum err err = db_exec(s->writer.db,
                           "BEGIN IMMEDIATE;"
                           "CREATE TABLE IF NOT EXISTS meta(id INTEGER PRIMARY KEY, format INTEGER"
                           " NOT NULL, seq INTEGER NOT NULL, forget_us INTEGER NOT NULL,"
                           " runs_sum INTEGER NOT NULL, sum INTEGER NOT NULL);"
                           "CREATE TABLE IF NOT EXISTS space(id INTEGER PRIMARY KEY,"
                           " name TEXT NOT NULL UNIQUE, expires INTEGER NOT NULL);"
                           "CREATE TABLE IF NOT EXISTS run(run INTEGER PRIMARY KEY,"
                           " space INTEGER NOT NULL, level INTEGER NOT NULL,"
                           " state INTEGER NOT NULL, chunks INTEGER NOT NULL,"
                           " entries INTEGER NOT NULL, bytes INTEGER NOT NULL,"
                           " blocks INTEGER NOT NULL, newest INTEGER NOT NULL);"
                           "CREATE TABLE IF NOT EXISTS chunk(id INTEGER PRIMARY KEY,"
                           " data BLOB NOT NULL);"
                           "CREATE TABLE IF NOT EXISTS part(id INTEGER PRIMARY KEY,"
                           " data BLOB NOT NULL);"
                           "COMMIT",
                           fault);
    if (!sqlite3_get_autocommit(s->writer.db))
        (void)sqlite3_exec(s->writer.db, "ROLLBACK", NULL, NULL, NULL);
    return err;
}

static enum err writer_prepare(struct shelf_sqlite *s, struct fault *fault) {
    const struct {
        sqlite3_stmt **stmt;
        const char *sql;
    } all[] = {
        {&s->begin, "BEGIN IMMEDIATE"},
        {&s->commit, "COMMIT"},
        {&s->meta_put, "INSERT OR REPLACE INTO meta VALUES(1,?,?,?,?,?)"},
        {&s->run_put, "INSERT OR REPLACE INTO run VALUES(?,?,?,?,?,?,?,?,?)"},
        {&s->run_delete, "DELETE FROM run WHERE run=?"},
        {&s->chunk_put, "INSERT INTO chunk VALUES(?,?)"},
        {&s->chunks_delete, "DELETE FROM chunk WHERE id IN"
                            " (SELECT id FROM chunk WHERE id >= ? AND id < ? LIMIT ?)"},
        {&s->part_put, "INSERT INTO part VALUES(?,?)"},
        {&s->parts_delete, "DELETE FROM part WHERE id IN"
                           " (SELECT id FROM part WHERE id >= ? AND id < ? LIMIT ?)"},
    };
    enum err err = conn_prepare(&s->writer, fault);
    for (size_t i = 0; err == OK && i < sizeof all / sizeof all[0]; i++)
        err = db_prepare(s->writer.db, all[i].sql, all[i].stmt, fault);
    return err;
}

static void writer_close(struct shelf_sqlite *s) {
    sqlite3_stmt **all[] = {&s->begin, &s->commit, &s->meta_put, &s->run_put, &s->run_delete,
                            &s->chunk_put, &s->chunks_delete, &s->part_put, &s->parts_delete};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        sqlite3_finalize(*all[i]);
        *all[i] = NULL;
    }
    conn_finish(&s->writer);
    db_close(s->writer.db);
    s->writer.db = NULL;
}

/* Removes the file. Its WAL goes last: without its file it means nothing, whereas a file whose
 * WAL is gone may be half a checkpoint. */
static enum err file_delete(struct shelf_sqlite *s, struct fault *fault) {
    sqlite3_vfs *vfs = sqlite3_vfs_find(s->vfs[0] ? s->vfs : NULL);
    const char *tails[] = {"", "-wal", "-shm", "-journal"};
    for (int i = 0; vfs && i < 4; i++) {
        char name[PATH_BYTES + 16];
        snprintf(name, sizeof name, "%s%s", s->file, tails[i]);
        int rc = vfs->xDelete(vfs, name, i == 0);
        if (rc != SQLITE_OK && rc != SQLITE_IOERR_DELETE_NOENT)
            return fault_set(fault, ERR_IO, "can not remove %s (code %d)", name, rc);
    }
    return OK;
}

/* --- what the file holds ------------------------------------------------------------------- */

/* *known: there is a meta row, and its format is ours. */
static enum err meta_load(struct shelf_sqlite *s, bool *known, bool *other, struct fault *fault) {
    sqlite3_stmt *stmt;
    enum err err = db_prepare(s->writer.db,
                              "SELECT format, seq, forget_us, runs_sum, sum FROM meta WHERE id=1",
                              &stmt, fault);
    if (err != OK)
        return err;
    int rc = sqlite3_step(stmt);
    int64_t fields[5] = {0};
    for (int i = 0; rc == SQLITE_ROW && i < 5; i++)
        fields[i] = sqlite3_column_int64(stmt, i);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        err = db_fault(s->writer.db, "read the written state", fault);
    else if (rc == SQLITE_ROW && meta_sum(fields) != fields[4])
        err = fault_set(fault, ERR_DAMAGED, "%s: its first row was changed on disk", s->file);
    sqlite3_finalize(stmt);
    *known = rc == SQLITE_ROW && fields[0] == meta_format(s);
    *other = rc == SQLITE_ROW && !*known;
    if (err != OK || !*known)
        return err;
    atomic_store(&s->seq, (uint64_t)fields[1]);
    atomic_store(&s->forget_us, fields[2]);
    s->runs_sum = (uint64_t)fields[3];
    return OK;
}

static enum err space_row(struct shelf_sqlite *s, const char *sql, const char *name, int64_t id,
                          bool expires, struct fault *fault) {
    sqlite3_stmt *stmt;
    enum err err = db_prepare(s->writer.db, sql, &stmt, fault);
    if (err != OK)
        return err;
    if (name)
        db_bind_str(stmt, 1, str_c(name));
    else
        sqlite3_bind_int64(stmt, 1, id);
    if (sqlite3_bind_parameter_count(stmt) > 1)
        sqlite3_bind_int64(stmt, 2, expires);
    err = db_run(stmt, fault);
    sqlite3_finalize(stmt);
    return err;
}

/* Rows of spaces that the list still has keep their id; the others go. */
static enum err spaces_match(struct shelf_sqlite *s, struct shelf_sqlite_opened *opened,
                             struct fault *fault) {
    sqlite3_stmt *stmt;
    enum err err = db_prepare(s->writer.db, "SELECT id, name, expires FROM space ORDER BY id",
                              &stmt, fault);
    if (err != OK)
        return err;
    int64_t gone[256];
    uint32_t gone_count = 0;
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct str name = db_column_str(stmt, 1);
        bool matched = false;
        for (uint32_t i = 0; i < s->space_count && !matched; i++) {
            struct shelf_space_state *space = &s->spaces[i];
            matched = str_is(name, space->name) &&
                      space->expires == (sqlite3_column_int64(stmt, 2) != 0);
            if (matched)
                space->id = sqlite3_column_int64(stmt, 0);
        }
        if (!matched && gone_count < 256)
            gone[gone_count++] = sqlite3_column_int64(stmt, 0);
    }
    if (rc != SQLITE_DONE)
        err = db_fault(s->writer.db, "read the written state", fault);
    sqlite3_finalize(stmt);
    opened->dropped = gone_count;
    for (uint32_t i = 0; err == OK && i < gone_count; i++)
        err = space_row(s, "DELETE FROM space WHERE id=?", NULL, gone[i], false, fault);
    return err;
}

static enum err spaces_sync(struct shelf_sqlite *s, struct shelf_sqlite_opened *opened,
                            struct fault *fault) {
    opened->fresh = 0;
    for (uint32_t i = 0; i < s->space_count; i++)
        s->spaces[i].id = 0;
    enum err err = spaces_match(s, opened, fault);
    for (uint32_t i = 0; err == OK && i < s->space_count; i++) {
        struct shelf_space_state *space = &s->spaces[i];
        if (space->id != 0)
            continue;
        opened->fresh |= UINT32_C(1) << i;
        /* An id is not given twice: runs of a dropped space may still lie in the file. */
        err = space_row(s,
                        "INSERT INTO space SELECT 1 + max(coalesce((SELECT max(id) FROM space), 0),"
                        " coalesce((SELECT max(space) FROM run), 0)), ?, ?",
                        space->name, 0, space->expires, fault);
        space->id = sqlite3_last_insert_rowid(s->writer.db);
    }
    return err;
}

static enum err content_load(struct shelf_sqlite *s, struct shelf_sqlite_opened *opened,
                             struct fault *fault) {
    enum err err = shelf_begin(s, fault);
    if (err == OK)
        err = spaces_sync(s, opened, fault);
    if (err == OK)
        err = runs_load(s, fault);
    if (err == OK)
        err = shelf_commit(s, atomic_load(&s->seq), atomic_load(&s->forget_us), fault);
    return err == OK ? OK : shelf_rollback(s, err, fault);
}

/* Connects and looks whose it is; an `other` format is for the caller to remove. */
static enum err file_open(struct shelf_sqlite *s, bool *known, bool *other, struct fault *fault) {
    bool damaged = false;
    *known = *other = false;
    s->broken = false;
    s->runs_sum = 0;
    s->wal_pages = s->wal_copied = 0;
    atomic_store(&s->seq, 0);
    atomic_store(&s->forget_us, INT64_MIN);
    enum err err = shelf_connect(s, true, &damaged, &s->writer.db, fault);
    if (err != OK) {
        s->writer.db = NULL;
        if (damaged && fault)
            fault->err = ERR_DAMAGED;
        return damaged ? ERR_DAMAGED : err;
    }
    sqlite3_wal_hook(s->writer.db, wal_seen, s);
    err = schema_make(s, fault);
    if (err == OK)
        err = meta_load(s, known, other, fault);
    if (err == OK && !*other)
        err = writer_prepare(s, fault);
    /* Statements of ours are right: one that can not be prepared met tables that are not. */
    if (err == ERR_INTERNAL && sqlite3_errcode(s->writer.db) == SQLITE_ERROR) {
        err = ERR_DAMAGED;
        if (fault)
            fault->err = err;
    }
    return shelf_err(s->writer.db, err, fault);
}

static enum err file_renew(struct shelf_sqlite *s, struct fault *fault) {
    bool known, other;
    if (s->writer.db) /* nothing of it is worth copying */
        (void)sqlite3_db_config(s->writer.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    writer_close(s);
    enum err err = file_delete(s, fault);
    return err == OK ? file_open(s, &known, &other, fault) : err;
}

static enum err shelf_load(struct shelf_sqlite *s, bool empty, struct shelf_sqlite_opened *opened,
                           struct fault *fault) {
    bool known, other;
    enum err err = file_open(s, &known, &other, fault);
    opened->found = known ? SHELF_KEPT : SHELF_NEW;
    if (empty && (err == ERR_DAMAGED || err == OK)) {
        opened->found = SHELF_EMPTIED;
        err = file_renew(s, fault);
    } else if (err == OK && other) {
        opened->found = SHELF_FORMAT;
        err = file_renew(s, fault);
    }
    return err == OK ? content_load(s, opened, fault) : err;
}

/* --- writing ------------------------------------------------------------------------------- */

struct sorted {
    struct hash128 key;
    uint32_t space, index;
};
static int sorted_cmp(const void *a, const void *b) {
    const struct sorted *x = a, *y = b;
    if (x->space != y->space)
        return x->space < y->space ? -1 : 1;
    int c = key_cmp(x->key, y->key);
    return c ? c : (x->index > y->index) - (x->index < y->index);
}

/* Sorted by space and key; of several under one key only the last. *n is their number. */
static struct sorted *entries_sort(const struct shelf_sqlite *s, const struct shelf_entry *entries,
                                   uint32_t *n) {
    struct sorted *all = mem_alloc(*n * sizeof *all);
    if (!all)
        return NULL;
    for (uint32_t i = 0; i < *n; i++) {
        must(entries[i].space < s->space_count);
        all[i] = (struct sorted){entries[i].key, entries[i].space, i};
    }
    if (*n > 1)
        qsort(all, *n, sizeof *all, sorted_cmp);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < *n; i++) {
        bool again = i + 1 < *n && all[i + 1].space == all[i].space &&
                     hash128_eq(all[i + 1].key, all[i].key);
        if (!again)
            all[kept++] = all[i];
    }
    *n = kept;
    return all;
}

/* That something is gone need not be said where nothing was. */
static bool gone_needless(const struct shelf_view *view, struct hash128 key) {
    for (uint32_t i = 0; i < view->count; i++)
        if (filter_test(&view->runs[i]->filter, key))
            return false;
    return true;
}

/* One space's part of a write: a run, and the view with it in front. *view stays NULL where
 * there is nothing to say. */
static enum err run_write(struct shelf_sqlite *s, struct shelf_builder *b,
                          const struct shelf_entry *entries, const struct sorted *sorted,
                          uint32_t n, struct shelf_view **view, struct fault *fault) {
    const struct shelf_view *old = s->spaces[sorted[0].space].view;
    struct shelf_run *run = b->run = run_create(s, sorted[0].space, 0);
    enum err err = run && run_filter_make(s, run, n) ? OK : ERR_NOMEM;
    b->firsts_cap = b->count = 0;
    b->values_len = 0;
    if (err != OK)
        fault_set(fault, err, "no memory to write the state down");
    for (uint32_t i = 0; err == OK && i < n; i++) {
        const struct shelf_entry *e = &entries[sorted[i].index];
        if (e->value.ptr && e->value.len > SHELF_VALUE_BYTES_MAX)
            err = fault_set(fault, ERR_TOO_LARGE, "an entity of %zu bytes is too large",
                            e->value.len);
        else if (e->value.ptr || !gone_needless(old, e->key))
            err = builder_add(b, e->key, e->value, fault);
    }
    if (err == OK)
        err = builder_flush(b, fault);
    bool some = err == OK && run->chunks > 0;
    uint32_t part = 0;
    for (bool done = false; some && err == OK && !done;)
        err = run_parts_put(s, run, &part, UINT64_MAX, &done, fault);
    if (some && err == OK)
        err = run_put(s, run, RUN_LIVE, fault);
    struct shelf_view *made = some && err == OK ? view_create(old->count + 1) : NULL;
    if (some && err == OK && !made)
        err = fault_set(fault, ERR_NOMEM, "no memory to write the state down");
    b->run = NULL;
    if (!made) {
        run_release(s, run);
        return err;
    }
    run_weigh(s, run);
    made->runs[made->count++] = run;
    for (uint32_t i = 0; i < old->count; i++) {
        atomic_fetch_add(&old->runs[i]->refs, 1);
        made->runs[made->count++] = old->runs[i];
    }
    *view = made;
    return OK;
}

static enum err runs_write(struct shelf_sqlite *s, const struct shelf_entry *entries,
                           const struct sorted *sorted, uint32_t n,
                           struct shelf_view *fresh[SHELF_SPACES_MAX], struct fault *fault) {
    struct shelf_builder *b = mem_alloc(sizeof *b);
    if (!b)
        return fault_set(fault, ERR_NOMEM, "no memory to write the state down");
    b->shelf = s;
    b->values = b->out = NULL;
    b->values_cap = b->out_cap = 0;
    enum err err = OK;
    for (uint32_t from = 0, to; err == OK && from < n; from = to) {
        uint32_t space = sorted[from].space;
        for (to = from + 1; to < n && sorted[to].space == space;)
            to++;
        err = run_write(s, b, entries, sorted + from, to - from, &fresh[space], fault);
    }
    builder_free(b);
    mem_free(b);
    return err;
}

static enum err sqlite_write(struct shelf *shelf, uint64_t seq, int64_t forget_us,
                             const struct shelf_entry *entries, uint32_t n,
                             struct fault *fault) {
    struct shelf_sqlite *s = shelf_of(shelf);
    struct shelf_view *fresh[SHELF_SPACES_MAX] = {0};
    enum err err = shelf_usable(s, fault);
    if (err == OK && seq < atomic_load(&s->seq))
        err = fault_set(fault, ERR_CONFLICT, "the written state is at %llu, beyond %llu",
                        (unsigned long long)atomic_load(&s->seq), (unsigned long long)seq);
    if (err == OK)
        err = merges_relieve(s, fault);
    if (err != OK)
        return err;
    int64_t before = atomic_load(&s->forget_us);
    forget_us = forget_us > before ? forget_us : before;
    struct sorted *sorted = n > 0 ? entries_sort(s, entries, &n) : NULL;
    if (n > 0 && !sorted)
        return fault_set(fault, ERR_NOMEM, "no memory to write the state down");
    err = shelf_begin(s, fault);
    if (err == OK && n > 0)
        err = runs_write(s, entries, sorted, n, fresh, fault);
    if (err == OK)
        err = shelf_commit(s, seq, forget_us, fault);
    mem_free(sorted);
    if (err != OK) {
        for (uint32_t i = 0; i < s->space_count; i++)
            view_release(s, fresh[i]);
        return shelf_rollback(s, err, fault);
    }
    atomic_store(&s->forget_us, forget_us);
    views_publish(s, fresh);
    atomic_store(&s->seq, seq);
    return OK;
}

/* --- life ---------------------------------------------------------------------------------- */

static enum err views_empty(struct shelf_sqlite *s, struct fault *fault) {
    struct shelf_view *fresh[SHELF_SPACES_MAX] = {0};
    bool made = true;
    for (uint32_t i = 0; i < s->space_count; i++)
        made = (fresh[i] = view_create(0)) != NULL && made;
    if (!made) {
        for (uint32_t i = 0; i < s->space_count; i++)
            view_release(s, fresh[i]);
        return fault_set(fault, ERR_NOMEM, "no memory for the written state");
    }
    views_publish(s, fresh);
    return OK;
}

static void dead_free(struct shelf_sqlite *s) {
    while (s->dead) {
        struct shelf_run *run = s->dead;
        s->dead = run->next;
        run_release(s, run);
    }
}

static enum err sqlite_reset(struct shelf *shelf, struct fault *fault) {
    struct shelf_sqlite *s = shelf_of(shelf);
    struct shelf_sqlite_opened opened;
    pthread_rwlock_wrlock(&s->life);
    enum err err = views_empty(s, fault);
    if (err == OK) {
        merges_drop(s);
        dead_free(s);
        pool_drain(s);
        err = file_renew(s, fault);
    }
    if (err == OK)
        err = content_load(s, &opened, fault);
    if (err != OK)
        s->broken = true;
    pthread_rwlock_unlock(&s->life);
    return err;
}

static uint64_t sqlite_seq(struct shelf *shelf) { return atomic_load(&shelf_of(shelf)->seq); }
static size_t sqlite_memory(struct shelf *shelf) { return atomic_load(&shelf_of(shelf)->memory); }

static void sqlite_close(struct shelf *shelf) {
    struct shelf_sqlite *s = shelf_of(shelf);
    merges_drop(s);
    dead_free(s);
    for (uint32_t i = 0; i < s->space_count; i++)
        view_release(s, s->spaces[i].view);
    pool_drain(s);
    writer_close(s); /* copies the WAL into the file and removes it */
    pthread_rwlock_destroy(&s->life);
    pthread_rwlock_destroy(&s->views);
    pthread_mutex_destroy(&s->pool_lock);
    mem_free(s);
}

static const struct shelf_ops sqlite_ops = {
    .write = sqlite_write,
    .maybe = shelf_sqlite_maybe,
    .get = shelf_sqlite_get,
    .each = shelf_sqlite_each,
    .tidy = shelf_sqlite_tidy,
    .reset = sqlite_reset,
    .seq = sqlite_seq,
    .memory = sqlite_memory,
    .close = sqlite_close,
};

static bool names_take(struct shelf_sqlite *s, const char *path,
                       const struct shelf_sqlite_options *options) {
    int len = snprintf(s->file, sizeof s->file, "%s", path);
    int vfs_len = snprintf(s->vfs, sizeof s->vfs, "%s", options->vfs ? options->vfs : "");
    must(options->space_count > 0 && options->space_count <= SHELF_SPACES_MAX);
    for (uint32_t i = 0; i < options->space_count; i++) {
        struct shelf_space_state *space = &s->spaces[i];
        must(strlen(options->spaces[i].name) < sizeof space->name);
        snprintf(space->name, sizeof space->name, "%s", options->spaces[i].name);
        space->sparse = options->spaces[i].sparse;
        space->expires = options->spaces[i].expires;
        for (uint32_t k = 0; k < i; k++)
            must(!str_eq(str_c(s->spaces[k].name), str_c(space->name)));
    }
    return len < (int)sizeof s->file && vfs_len < (int)sizeof s->vfs;
}

enum err shelf_sqlite_open(const char *path, const struct shelf_sqlite_options *options,
                           struct shelf **out, struct shelf_sqlite_opened *opened,
                           struct fault *fault) {
    struct shelf_sqlite_opened own_opened;
    struct fault own = {0};
    fault = fault ? fault : &own;
    opened = opened ? opened : &own_opened;
    *opened = (struct shelf_sqlite_opened){0};
    *out = NULL;
    struct shelf_sqlite *s = mem_zalloc(sizeof *s);
    if (!s)
        return fault_set(fault, ERR_NOMEM, "no memory for the written state");
    s->shelf.ops = &sqlite_ops;
    s->exclusive = options->exclusive;
    s->format = options->format;
    s->wal_bytes_max = options->wal_bytes ? options->wal_bytes : SHELF_WAL_BYTES_DEFAULT;
    pthread_rwlock_init(&s->life, NULL);
    pthread_rwlock_init(&s->views, NULL);
    pthread_mutex_init(&s->pool_lock, NULL);
    enum err err = OK;
    if (!names_take(s, path, options))
        err = fault_set(fault, ERR_INVALID, "the path %.80s… is too long", path);
    s->space_count = options->space_count;
    if (err == OK)
        err = shelf_load(s, options->empty, opened, fault);
    if (err != OK) {
        sqlite_close(&s->shelf);
        return err;
    }
    *out = &s->shelf;
    return OK;
}

void shelf_sqlite_stats(struct shelf *shelf, struct shelf_sqlite_stats *out) {
    struct shelf_sqlite *s = shelf_of(shelf);
    *out = (struct shelf_sqlite_stats){
        .written_bytes = s->written_bytes,
        .wal_bytes = (uint64_t)s->wal_pages * SHELF_FRAME_BYTES,
        .memory_bytes = atomic_load(&s->memory),
    };
    for (uint32_t i = 0; i < s->space_count; i++) {
        const struct shelf_view *view = s->spaces[i].view;
        out->runs += view->count;
        for (uint32_t k = 0; k < view->count; k++) {
            out->entries += view->runs[k]->entries;
            out->entry_bytes += view->runs[k]->bytes;
        }
    }
}
