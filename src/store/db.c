/* db: see db.h. Owns SQLite's process-wide configuration; holds no other state. */
#include "base/mem.h"
#include "store/db.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"

/* Memory statistics take a process-wide mutex at each allocation inside SQLite, on every
 * thread; nobody reads them. A process that used SQLite before us keeps its configuration. */
static void db_configure(void) {
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    (void)sqlite3_initialize();
}

bool db_is_damage(int rc) {
    return (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB;
}

enum err db_err(int rc) {
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return OK;
    case SQLITE_NOMEM:
        return ERR_NOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return ERR_UNAVAILABLE;
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_IO;
    default:
        return ERR_INTERNAL;
    }
}

/* What the code means to who runs the hub. */
static const char *db_meaning(int rc) {
    if (rc == SQLITE_READONLY_ROLLBACK)
        return "a change of the file was cut off, and the file may not be written to take it back";
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return "the disk is full";
    case SQLITE_IOERR:
        return "the disk reported an error";
    case SQLITE_CANTOPEN:
        return "the file can not be opened";
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return "the file may not be written";
    case SQLITE_CORRUPT:
        return "the file is damaged";
    case SQLITE_NOTADB:
        return "the file is no SQLite database";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return "another program holds the file";
    case SQLITE_NOMEM:
        return "memory is out";
    default:
        return "SQLite failed";
    }
}

static _Thread_local int newest_code; /* extended */

bool db_fault_damaged(void) {
    return (newest_code & 0xff) == SQLITE_CORRUPT || (newest_code & 0xff) == SQLITE_NOTADB;
}

enum err db_fault(sqlite3 *db, const char *doing, struct fault *fault) {
    int rc = db ? sqlite3_extended_errcode(db) : SQLITE_NOMEM;
    newest_code = rc;
    int system = db ? sqlite3_system_errno(db) : 0;
    enum err err = db_err(rc);
    if (err == OK) /* asked without cause: never report success as a failure */
        err = ERR_INTERNAL;
    bool disk = (rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN;
    char reason[64] = "";
    if (disk && system != 0)
        snprintf(reason, sizeof reason, ", errno %d", system);
    return fault_set(fault, err, "can not %s: %s (%s, code %d%s)", doing, db_meaning(rc),
                     db ? sqlite3_errmsg(db) : "no connection", rc, reason);
}

enum err db_exec(sqlite3 *db, const char *sql, struct fault *fault) {
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK)
        return OK;
    char doing[64];
    snprintf(doing, sizeof doing, "run \"%.40s\"", sql);
    return db_fault(db, doing, fault);
}

enum err db_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out, struct fault *fault) {
    if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL) == SQLITE_OK)
        return OK;
    *out = NULL;
    char doing[64];
    snprintf(doing, sizeof doing, "prepare \"%.40s\"", sql);
    return db_fault(db, doing, fault);
}

enum err db_run(sqlite3_stmt *stmt, struct fault *fault) {
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
        continue;
    if (rc == SQLITE_DONE) {
        sqlite3_reset(stmt);
        return OK;
    }
    char doing[64];
    snprintf(doing, sizeof doing, "run \"%.40s\"", sqlite3_sql(stmt));
    enum err err = db_fault(sqlite3_db_handle(stmt), doing, fault);
    sqlite3_reset(stmt);
    return err;
}

enum err db_i64(sqlite3 *db, const char *sql, int64_t dflt, int64_t *out, struct fault *fault) {
    sqlite3_stmt *stmt;
    enum err err = db_prepare(db, sql, &stmt, fault);
    if (err != OK)
        return err;
    int rc = sqlite3_step(stmt);
    *out = dflt;
    if (rc == SQLITE_ROW && sqlite3_column_type(stmt, 0) != SQLITE_NULL)
        *out = sqlite3_column_int64(stmt, 0);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        err = db_fault(db, "read", fault);
    sqlite3_finalize(stmt);
    return err;
}

/* Whose file it is, and which format. A file without either is new if it has no tables. */
static enum err db_identify(sqlite3 *db, const char *path, const struct db_options *options,
                            struct fault *fault) {
    int64_t id, version, tables;
    enum err err = db_i64(db, "PRAGMA application_id", 0, &id, fault);
    if (err == OK)
        err = db_i64(db, "PRAGMA user_version", 0, &version, fault);
    if (err == OK)
        err = db_i64(db, "SELECT count(*) FROM sqlite_schema", 0, &tables, fault);
    if (err != OK)
        return err;
    if (id == 0 && version == 0 && tables == 0 && options->create) {
        /* Both or none, should the power fail in between. */
        char sql[128];
        snprintf(sql, sizeof sql,
                 "BEGIN IMMEDIATE; PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT",
                 (int)options->application_id, (int)options->user_version);
        return db_exec(db, sql, fault);
    }
    if (id == 0 && version == 0 && tables == 0)
        return fault_set(fault, ERR_NOT_FOUND, "%s is not made yet", path);
    if (id != options->application_id)
        return fault_set(fault, ERR_CONFLICT, "%s is a file of another kind (application id %lld)",
                         path, (long long)id);
    if (version != options->user_version &&
        !(options->oldest_version && version >= options->oldest_version &&
          version < options->user_version))
        return fault_set(fault, ERR_CONFLICT, "%s has format %lld, this program knows %d", path,
                         (long long)version, (int)options->user_version);
    return OK;
}

static enum err db_setup(sqlite3 *db, const char *path, const struct db_options *options,
                         struct fault *fault) {
    char sql[256];
    enum err err = OK;
    if (options->exclusive || options->scratch)
        err = db_exec(db, "PRAGMA locking_mode=EXCLUSIVE", fault);
    if (err == OK && options->page_bytes) {
        snprintf(sql, sizeof sql, "PRAGMA page_size=%d", options->page_bytes);
        err = db_exec(db, sql, fault);
    }
    if (err == OK)
        err = db_identify(db, path, options, fault);
    if (err == OK && !options->read_only && !options->immutable && !options->keep_mode)
        err = db_exec(db, options->scratch ? "PRAGMA journal_mode=OFF" : "PRAGMA journal_mode=WAL",
                      fault);
    if (err == OK) {
        /* Freed pages need no zeroing here: what is secret is sealed before it is stored. */
        snprintf(sql, sizeof sql,
                 "PRAGMA synchronous=%s; PRAGMA wal_autocheckpoint=0; PRAGMA secure_delete=OFF; "
                 "PRAGMA temp_store=MEMORY; PRAGMA trusted_schema=OFF",
                 options->scratch       ? "OFF"
                 : options->synchronous ? options->synchronous
                                        : "FULL");
        err = db_exec(db, sql, fault);
    }
    if (err == OK && options->cache_bytes) {
        snprintf(sql, sizeof sql, "PRAGMA cache_size=-%d", options->cache_bytes / 1024);
        err = db_exec(db, sql, fault);
    }
    return err;
}

/* A new file is for its owner alone: SQLite would leave that to the umask, and gives its WAL the
 * mode of the file. A file that exists is not opened here: to close it would drop the locks that
 * SQLite holds on it for the whole process. */
static void db_file_make(const char *path, const char *vfs_name) {
    const sqlite3_vfs *vfs = sqlite3_vfs_find(vfs_name);
    if (!vfs || strncmp(vfs->zName, "unix", 4) != 0)
        return; /* another disk than the machine's */
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
}

/* Immutable can only be asked for in a URI. */
static int db_open_file(const char *path, int flags, const struct db_options *options,
                        sqlite3 **out) {
    if (!options->immutable)
        return sqlite3_open_v2(path, out, flags, options->vfs);
    struct buf uri;
    buf_init(&uri, 0);
    buf_lit(&uri, "file:");
    for (const char *c = path; *c; c++) {
        if (strchr("%?#", *c))
            buf_printf(&uri, "%%%02x", (unsigned char)*c);
        else
            buf_char(&uri, *c);
    }
    buf_lit(&uri, "?immutable=1");
    buf_char(&uri, '\0');
    int rc = buf_ok(&uri)
                 ? sqlite3_open_v2(uri.data, out, flags | SQLITE_OPEN_URI, options->vfs)
                 : SQLITE_NOMEM;
    buf_free(&uri);
    return rc;
}

static enum err db_open_once(const char *path, const struct db_options *options, sqlite3 **out,
                             struct fault *fault) {
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    flags |= options->read_only || options->immutable ? SQLITE_OPEN_READONLY
                                                      : SQLITE_OPEN_READWRITE;
    if (options->create)
        flags |= SQLITE_OPEN_CREATE;
    if (options->create)
        db_file_make(path, options->vfs);
    sqlite3 *db = NULL;
    *out = NULL;
    enum err err = OK;
    if (db_open_file(path, flags, options, &db) != SQLITE_OK) {
        char doing[192];
        snprintf(doing, sizeof doing, "open %.150s", path);
        err = db_fault(db, doing, fault);
    }
    if (err == OK) {
        sqlite3_busy_timeout(db, 5000);
        err = db_setup(db, path, options, fault);
    }
    if (err != OK) {
        if (options->damaged)
            *options->damaged = db && db_is_damage(sqlite3_errcode(db));
        if (db && db_is_damage(sqlite3_errcode(db)))
            fault_set(fault, err, "%.150s can not be used: %.80s", path,
                      db_meaning(sqlite3_errcode(db)));
        sqlite3_close(db);
        return err;
    }
    *out = db;
    return OK;
}

enum err db_open(const char *path, const struct db_options *options, sqlite3 **out,
                 struct fault *fault) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, db_configure);
    newest_code = SQLITE_OK;
    enum err err = db_open_once(path, options, out, fault);
    if (err == OK || newest_code != SQLITE_READONLY_ROLLBACK)
        return err;
    /* An end of the process cut off a change and left its rollback journal. Whoever may write the file takes
     * that back by reading; by SQLite's own locks, so also beside a program that is just doing it. */
    struct db_options writable = *options;
    struct fault refused = {0};
    writable.read_only = writable.create = false;
    writable.keep_mode = true;
    if (db_open_once(path, &writable, out, &refused) == OK)
        db_close(*out);
    return db_open_once(path, options, out, fault);
}

void db_close(sqlite3 *db) {
    /* A statement left open is a mistake of ours: close would leak the file and its locks. */
    if (db)
        must(sqlite3_close(db) == SQLITE_OK);
}

enum err db_room(const char *path, const char *vfs_name, size_t bytes, struct fault *fault) {
    static const char zeros[65536];
    sqlite3_vfs *vfs = sqlite3_vfs_find(vfs_name);
    sqlite3_file *file = vfs ? mem_zalloc((size_t)vfs->szOsFile) : NULL;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_TEMP_DB |
                SQLITE_OPEN_DELETEONCLOSE;
    if (!file)
        return fault_set(fault, ERR_NOMEM, "no memory to look for room on the disk");
    int rc = vfs->xOpen(vfs, path, file, flags, &flags);
    for (size_t at = 0; rc == SQLITE_OK && at < bytes; at += sizeof zeros)
        rc = file->pMethods->xWrite(file, zeros, sizeof zeros, (sqlite3_int64)at);
    if (rc == SQLITE_OK)
        rc = file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
    if (file->pMethods)
        (void)file->pMethods->xClose(file);
    (void)vfs->xDelete(vfs, path, 0);
    mem_free(file);
    if (rc == SQLITE_OK)
        return OK;
    return fault_set(fault, ERR_IO, "can not write beside it: %s (%s, code %d)", db_meaning(rc),
                     path, rc);
}

enum err db_folder_sync(const char *path, struct fault *fault) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fault_set(fault, ERR_IO, "can not open folder %s: %s", path, strerror(errno));
    int failed = fsync(fd);
    int reason = errno;
    close(fd);
    if (failed)
        return fault_set(fault, ERR_IO, "can not sync folder %s: %s", path, strerror(reason));
    return OK;
}

enum err db_folder(const char *path, struct fault *fault) {
    if (mkdir(path, 0700) == 0) {
        char above[4096];
        snprintf(above, sizeof above, "%s/..", path);
        return db_folder_sync(above, fault);
    }
    struct stat st;
    if (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return OK;
    return fault_set(fault, ERR_IO, "can not make folder %s: %s", path, strerror(errno));
}
