/* read_model_file: the file of a read model: its schema, opening it, making it anew, and putting
 * a finished one in its place.
 *
 * Always true: the rows in the file are what project makes of the events 1 to `hub.seq`, and
 * hub.mark is the hash of the last of these; they change in one transaction. A file whose
 * hub.whole is 0 was left behind while it was being filled without a journal of its own. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "store/read_model_priv.h"
#include "store/reporting.h"

#define MODEL_FORMAT 2 /* of the file beside the capabilities' tables */
#define MODEL_PAGE_BYTES 4096
#define MODEL_CACHE_BYTES (32 << 20)

/* --- schema ----------------------------------------------------------------------------- */

static void schema_sql(const struct read_model *model, struct buf *out) {
    buf_lit(out, "CREATE TABLE hub(id INTEGER PRIMARY KEY CHECK(id = 1),"
                 " schema INTEGER NOT NULL, seq INTEGER NOT NULL, mark INTEGER NOT NULL,"
                 " whole INTEGER NOT NULL, views INTEGER NOT NULL);" REFS_SCHEMA);
    for (uint32_t i = 0; i < model->tables.count; i++)
        table_schema(model->tables.tables[i], out);
}
static void views_sql(const struct read_model *model, struct buf *out) {
    reporting_status(out);
    for (uint32_t i = 0; i < model->tables.count; i++)
        reporting_view(model->tables.tables[i], out);
}
static void indexes_sql(const struct read_model *model, struct buf *out) {
    for (uint32_t i = 0; i < model->tables.count; i++)
        table_indexes(model->tables.tables[i], out);
}

/* Runs all of it in one transaction, and frees it. */
static enum err schema_run(struct read_model *model, struct buf *sql, struct fault *fault) {
    const char *text = buf_cstr(sql);
    enum err err = text && buf_ok(sql) ? db_exec(model->db, "BEGIN IMMEDIATE", fault)
                                       : fault_set(fault, ERR_NOMEM, "no memory for a schema");
    if (err == OK)
        err = db_exec(model->db, text, fault);
    if (err == OK)
        err = db_exec(model->db, "COMMIT", fault);
    buf_free(sql);
    if (!sqlite3_get_autocommit(model->db))
        (void)sqlite3_exec(model->db, "ROLLBACK", NULL, NULL, NULL);
    return err;
}

/* A file that is filled from the beginning gets its indexes at the end, which is far quicker. */
static enum err schema_make(struct read_model *model, struct fault *fault) {
    struct buf sql;
    buf_init(&sql, 0);
    schema_sql(model, &sql);
    if (!model->scratch)
        indexes_sql(model, &sql);
    views_sql(model, &sql);
    buf_printf(&sql, "INSERT INTO hub VALUES(1, %lld, 0, 0, %d, %lld)", (long long)model->schema,
               !model->scratch, (long long)model->views);
    return schema_run(model, &sql, fault);
}

enum err model_schema_hash(struct read_model *model, struct fault *fault) {
    struct buf sql;
    buf_init(&sql, 0);
    schema_sql(model, &sql);
    indexes_sql(model, &sql);
    enum err err = buf_ok(&sql) ? OK : fault_set(fault, ERR_NOMEM, "no memory for a schema");
    model->schema = (int64_t)hash64(buf_str(&sql), MODEL_FORMAT);
    buf_clear(&sql);
    views_sql(model, &sql);
    err = buf_ok(&sql) ? err : fault_set(fault, ERR_NOMEM, "no memory for a schema");
    model->views = (int64_t)hash64(buf_str(&sql), MODEL_FORMAT);
    buf_free(&sql);
    return err;
}

static int view_drop(void *ctx, int n, char **values, char **names) {
    (void)n, (void)names;
    buf_printf(ctx, "DROP VIEW \"%s\";", values[0]);
    return 0;
}

/* The views of this program in place of those that the file has: no row is touched. */
static enum err views_renew(struct read_model *model, struct fault *fault) {
    int64_t views;
    enum err err = db_i64(model->db, "SELECT views FROM hub", 0, &views, fault);
    if (err != OK || views == model->views)
        return err;
    struct buf sql;
    buf_init(&sql, 0);
    if (sqlite3_exec(model->db, "SELECT name FROM sqlite_schema WHERE type='view'", view_drop,
                     &sql, NULL) != SQLITE_OK)
        err = db_fault(model->db, "read the views", fault);
    views_sql(model, &sql);
    buf_printf(&sql, "UPDATE hub SET views=%lld", (long long)model->views);
    if (err == OK)
        return schema_run(model, &sql, fault);
    buf_free(&sql);
    return err;
}

/* --- the file --------------------------------------------------------------------------- */

enum err model_connect(struct read_model *model, bool create, bool *damaged, sqlite3 **out,
                       struct fault *fault) {
    struct db_options options = {
        .vfs = model->vfs[0] ? model->vfs : NULL,
        .create = create,
        .exclusive = model->options.exclusive,
        .page_bytes = MODEL_PAGE_BYTES,
        .cache_bytes = create ? MODEL_CACHE_BYTES : 0,
        .synchronous = "NORMAL",
        .scratch = model->scratch,
        .application_id = MODEL_APPLICATION_ID,
        .user_version = 1,
        .damaged = damaged,
    };
    return db_open(model->path, &options, out, fault);
}

void model_file_close(struct read_model *model) {
    rows_bind(model->rows, NULL);
    refs_destroy(model->refs);
    sqlite3_finalize(model->begin);
    sqlite3_finalize(model->commit);
    sqlite3_finalize(model->reached);
    db_close(model->db);
    model->refs = NULL;
    model->begin = model->commit = model->reached = NULL;
    model->db = NULL;
}

/* Through the VFS, so that the simulator's disk is meant where it is in use. */
void model_file_delete(struct read_model *model) {
    sqlite3_vfs *vfs = sqlite3_vfs_find(model->vfs[0] ? model->vfs : NULL);
    /* First the file: a crash must not leave it without a WAL that it still needs. A WAL
     * without its file is thrown away by SQLite. */
    const char *ends[] = {"", "-wal", "-shm", "-journal"};
    for (int i = 0; vfs && i < 4; i++) {
        char name[MODEL_PATH_BYTES + 8];
        snprintf(name, sizeof name, "%s%s", model->path, ends[i]);
        (void)vfs->xDelete(vfs, name, 0);
    }
}

uint64_t model_record_mark(const struct record *record) {
    uint64_t mark = hash64(record->subject, (uint64_t)record->time_us);
    mark = hash64(record->type, mark);
    return hash64(record->meta, mark);
}

struct mark_found {
    uint64_t seq, mark;
    bool found;
};
static bool mark_visit(void *ctx, const struct record *record) {
    struct mark_found *found = ctx;
    found->found = record->seq == found->seq && model_record_mark(record) == found->mark;
    return false;
}

/* Whether the file belongs to these tables and to this journal; *why where it does not. */
static enum err file_fits(struct read_model *model, const char **why, struct fault *fault) {
    int64_t tables, schema, seq, mark, whole;
    *why = NULL;
    enum err err = db_i64(model->db, "SELECT count(*) FROM sqlite_schema", 0, &tables, fault);
    if (err != OK)
        return err;
    if (tables == 0) {
        *why = "new";
        return OK;
    }
    err = db_i64(model->db, "SELECT schema FROM hub", 0, &schema, fault);
    if (err != OK)
        return err;
    if (schema != model->schema) {
        *why = "its tables have changed";
        return OK;
    }
    err = db_i64(model->db, "SELECT seq FROM hub", 0, &seq, fault);
    if (err == OK)
        err = db_i64(model->db, "SELECT mark FROM hub", 0, &mark, fault);
    if (err == OK)
        err = db_i64(model->db, "SELECT whole FROM hub", 0, &whole, fault);
    if (err != OK)
        return err;
    if (!whole) {
        *why = "it was left unfinished";
        return OK;
    }
    struct mark_found found = {.seq = (uint64_t)seq, .mark = (uint64_t)mark, .found = seq == 0};
    uint64_t next;
    if (seq > 0)
        err = journal_read(model->options.journal, found.seq, 1, mark_visit, &found, &next, fault);
    if (err == OK && !found.found)
        *why = "it was made from another journal";
    atomic_store(&model->seq, (uint64_t)seq);
    return err;
}

static int wal_seen(void *ctx, sqlite3 *db, const char *name, int pages) {
    (void)db, (void)name;
    ((struct read_model *)ctx)->wal_pages = pages;
    return SQLITE_OK;
}

static enum err file_prepare(struct read_model *model, struct fault *fault) {
    enum err err = db_prepare(model->db, "BEGIN IMMEDIATE", &model->begin, fault);
    if (err == OK)
        err = db_prepare(model->db, "COMMIT", &model->commit, fault);
    if (err == OK)
        err = db_prepare(model->db, "UPDATE hub SET seq=?, mark=? WHERE id=1", &model->reached,
                         fault);
    if (err == OK)
        err = refs_create(model->db, &model->refs, fault);
    model->wal_pages = 0;
    if (err == OK)
        sqlite3_wal_hook(model->db, wal_seen, model);
    rows_bind(model->rows, model->db);
    model->refs_stale = true;
    return err;
}

/* The folder that path is in. */
static enum err folder_sync(const char *path, struct fault *fault) {
    char folder[MODEL_PATH_BYTES];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash)
        *slash = '\0';
    return db_folder_sync(!slash ? "." : folder[0] ? folder : "/", fault);
}

static enum err file_rename(struct read_model *model, const char *from, struct fault *fault) {
    enum err err = folder_sync(model->path, fault);
    if (err == OK && rename(from, model->path) != 0)
        err = fault_set(fault, ERR_IO, "can not rename %s: %s", from, strerror(errno));
    return err == OK ? folder_sync(model->path, fault) : err;
}

/* What a rebuild left behind that did not come to its end: where it had removed the old file
 * already, the new one is whole and takes its place; else it is of no use. */
static void leftovers_clear(struct read_model *model) {
    struct read_model next = {.options = model->options};
    struct fault fault = {0};
    if (model->vfs[0])
        return;
    snprintf(next.path, sizeof next.path, "%.*s" MODEL_NEXT, (int)MODEL_PATH_BYTES - 16,
             model->path);
    if (access(next.path, F_OK) != 0)
        return;
    if (access(model->path, F_OK) == 0) {
        model_file_delete(&next);
        return;
    }
    model_file_delete(model); /* a WAL of the one removed */
    if (file_rename(model, next.path, &fault) != OK)
        log_line(LOG_WARN, "store", "the new read model can not be taken", "reason=%s",
                 log_quote(str_c(fault.detail)));
}

/* Opens the file as it is. *why: it must be made anew. */
static enum err file_open(struct read_model *model, const char **why, struct fault *fault) {
    bool damaged = false;
    struct fault own = {0};
    enum err err = model_connect(model, true, &damaged, &model->db, &own);
    *why = NULL;
    if (err == OK)
        err = file_fits(model, why, &own);
    if (err == OK && !*why)
        err = views_renew(model, &own);
    if (err != OK && (damaged || (model->db && db_is_damage(sqlite3_errcode(model->db))))) {
        *why = "it is damaged";
        return OK;
    }
    if (err != OK && model->db && sqlite3_errcode(model->db) == SQLITE_ERROR) {
        *why = "its tables are not as expected";
        return OK;
    }
    if (err != OK)
        return fault_set(fault, err, "%s", own.detail);
    return *why ? OK : file_prepare(model, fault);
}

static void file_is_there(struct read_model *model) {
    atomic_store(&model->replacing, false);
    model_announce(model);
}

/* A new, empty file in place of the present one. */
enum err model_file_reset(struct read_model *model, struct fault *fault) {
    atomic_store(&model->replacing, true);
    model_readers_disconnect(model);
    model_file_close(model);
    model_file_delete(model);
    atomic_store(&model->seq, 0);
    enum err err = model_connect(model, true, NULL, &model->db, fault);
    if (err == OK)
        err = schema_make(model, fault);
    if (err == OK)
        err = file_prepare(model, fault);
    if (err == OK)
        file_is_there(model);
    else
        model_file_close(model);
    return err;
}

enum err model_file_begin(struct read_model *model, struct fault *fault) {
    const char *why;
    if (model->scratch)
        return model_file_reset(model, fault);
    leftovers_clear(model);
    enum err err = file_open(model, &why, fault);
    if (err != OK || !why)
        return err;
    bool fresh = strcmp(why, "new") == 0;
    if (!fresh) {
        log_line(LOG_WARN, "store", "filling the read model again from the journal", "reason=%s",
                 log_quote(str_c(why)));
        atomic_fetch_add(&model->rebuilds, 1);
    }
    return model_file_reset(model, fault);
}

/* --- a finished file in place of the present one ------------------------------------------- */

/* From now on a file like any other: everything on disk, then marked as whole. */
enum err model_file_settle(struct read_model *model, struct fault *fault) {
    struct buf sql;
    must(model->scratch);
    buf_init(&sql, 0);
    indexes_sql(model, &sql);
    enum err err = schema_run(model, &sql, fault);
    if (err == OK)
        err = db_exec(model->db, "PRAGMA synchronous=FULL; PRAGMA journal_mode=DELETE;"
                                 " UPDATE hub SET seq=seq; UPDATE hub SET whole=1", fault);
    model_file_close(model);
    model->scratch = false;
    if (err == OK)
        err = model_connect(model, true, NULL, &model->db, fault);
    return err == OK ? file_prepare(model, fault) : err;
}

/* Everything from the WAL into the file, and the file closed. */
static enum err file_shut(struct read_model *model, struct fault *fault) {
    int left = 0, copied = 0;
    enum err err = OK;
    if (sqlite3_wal_checkpoint_v2(model->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, &left, &copied) !=
        SQLITE_OK)
        err = db_fault(model->db, "finish the new read model", fault);
    else if (left > 0)
        err = fault_set(fault, ERR_UNAVAILABLE, "another program reads the new read model");
    model_file_close(model);
    return err;
}

/* Between the removal of the old file and the renaming there is only the new one, whole: a
 * crash there is mended by leftovers_clear. */
enum err model_file_replace(struct read_model *model, struct read_model *next,
                            struct fault *fault) {
    const char *why = NULL;
    enum err err = file_shut(next, fault);
    if (err != OK)
        return err;
    atomic_store(&model->replacing, true);
    model_readers_disconnect(model);
    model_file_close(model);
    model_file_delete(model);
    err = file_rename(model, next->path, fault);
    if (err == OK)
        err = file_open(model, &why, fault);
    if (err == OK && why)
        err = fault_set(fault, ERR_INTERNAL, "the new read model does not fit: %s", why);
    if (err == OK)
        file_is_there(model);
    else
        model_file_close(model);
    return err;
}

