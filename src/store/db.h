/* db: the few things that every SQLite file of ours needs: opening it our way, running
 * statements, and turning SQLite's errors into enum err with a text a person can use.
 *
 * Every connection is opened without SQLite's own mutex: one thread uses it at a time. */
#ifndef PENSTOCK_STORE_DB_H
#define PENSTOCK_STORE_DB_H

#include <sqlite3.h>

#include "base/err.h"
#include "base/str.h"

struct db_options {
    const char *vfs;      /* name of an SQLite VFS; NULL: the default one (seam `disk`) */
    bool create;          /* make the file where it is missing */
    bool read_only;
    bool immutable;       /* the file never changes again: no locks, no WAL; implies read_only */
    bool keep_mode;       /* leave the file in the journal mode it has */
    bool exclusive;       /* this connection alone has the file: WAL without shared memory */
    bool scratch;         /* no journal, no sync, for this connection alone: quick to fill, and
                             rubbish after a crash, until someone makes it safe */
    int page_bytes;       /* of a new file; 0: SQLite's default */
    int cache_bytes;      /* 0: SQLite's default */
    const char *synchronous; /* "FULL", "NORMAL"; NULL: FULL */
    int32_t application_id;  /* what kind of file it is: written to a new one, else checked */
    int32_t user_version;    /* of its format, likewise; a newer one is refused */
    int32_t oldest_version;  /* formats from this one on are taken, too: the opener brings the file
                                up to user_version. 0: user_version alone */
    bool *damaged;        /* set where opening failed because the file is damaged; may be NULL */
};

/* Opens path in WAL mode with a busy timeout of 5 s and no automatic checkpoint. *out is NULL
 * on failure. ERR_IO, ERR_CONFLICT (a file of another kind or a newer format), ERR_NOT_FOUND (an
 * empty one, perhaps just being made, without create), ERR_NOMEM. */
enum err db_open(const char *path, const struct db_options *options, sqlite3 **out,
                 struct fault *fault) WARN_UNUSED;
/* NULL is fine. Statements must be finalised before. */
void db_close(sqlite3 *db);

/* All statements in sql, which must yield no rows that matter. */
enum err db_exec(sqlite3 *db, const char *sql, struct fault *fault) WARN_UNUSED;
enum err db_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out,
                    struct fault *fault) WARN_UNUSED;
/* Steps to the end, without looking at rows, and resets. */
enum err db_run(sqlite3_stmt *stmt, struct fault *fault) WARN_UNUSED;
/* The first column of the first row, `dflt` where there is no row or it is NULL. */
enum err db_i64(sqlite3 *db, const char *sql, int64_t dflt, int64_t *out,
                struct fault *fault) WARN_UNUSED;

/* The error that db met last. `doing` says what was tried: "append to the journal". */
enum err db_fault(sqlite3 *db, const char *doing, struct fault *fault);
/* Whether this thread's newest db_fault was about what a file holds, not about reading it. */
bool db_fault_damaged(void);
/* SQLite result code (extended) as enum err. */
enum err db_err(int rc);
/* Whether the code says that the file itself is damaged. */
bool db_is_damage(int rc);

/* The bytes must stay until the statement is reset. Absent binds NULL. */
static inline void db_bind_str(sqlite3_stmt *stmt, int at, struct str s) {
    if (s.ptr)
        sqlite3_bind_text64(stmt, at, s.ptr, s.len, SQLITE_STATIC, SQLITE_UTF8);
    else
        sqlite3_bind_null(stmt, at);
}
/* Until the next step. NULL answers absent. */
static inline struct str db_column_str(sqlite3_stmt *stmt, int at) {
    const char *text = (const char *)sqlite3_column_text(stmt, at);
    return text ? str_of(text, (size_t)sqlite3_column_bytes(stmt, at)) : STR_NONE;
}

/* Whether so many bytes can be written and synced now, in a file of this name that is gone
 * afterwards. ERR_IO with the reason; ERR_NOMEM. */
enum err db_room(const char *path, const char *vfs, size_t bytes, struct fault *fault) WARN_UNUSED;

/* `mkdir` where it is missing, with the folder above synced. ERR_IO. */
enum err db_folder(const char *path, struct fault *fault) WARN_UNUSED;
/* fsync of a folder: makes the names in it durable. */
enum err db_folder_sync(const char *path, struct fault *fault) WARN_UNUSED;

#endif
