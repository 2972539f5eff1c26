/* auth_store: see auth_store.h. */
#include "connect/auth_store.h"

#include <stdio.h>

#include "store/db.h"

#define AUTH_APPLICATION_ID 0x504b4154 /* "PKAT" */
#define AUTH_VERSION 1

static const char schema[] = "PRAGMA secure_delete=ON;"
                             "CREATE TABLE IF NOT EXISTS refresh(connector TEXT PRIMARY KEY, origin TEXT"
                             " NOT NULL, token TEXT NOT NULL) WITHOUT ROWID;";

static void origin_write(char out[33], struct hash128 from) {
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)from.hi, (unsigned long long)from.lo);
}

static enum err store_open(const char *path, bool create, sqlite3 **db, struct fault *fault) {
    struct db_options options = {
        .create = create, .application_id = AUTH_APPLICATION_ID, .user_version = AUTH_VERSION};
    enum err err = db_open(path, &options, db, fault);
    return err == OK ? db_exec(*db, schema, fault) : err;
}

enum err auth_store_get(const char *path, struct str connector, struct hash128 from, struct arena *arena,
                        struct str *out, struct fault *fault) {
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    char origin[33];
    origin_write(origin, from);
    *out = STR_NONE;
    FILE *there = fopen(path, "rbe");
    if (there == NULL)
        return OK;
    fclose(there);
    enum err err = store_open(path, true, &db, fault);
    if (err == OK)
        err = db_prepare(db, "SELECT token FROM refresh WHERE connector = ?1 AND origin = ?2", &stmt, fault);
    if (err == OK) {
        db_bind_str(stmt, 1, connector);
        db_bind_str(stmt, 2, str_c(origin));
        int rc = sqlite3_step(stmt);
        if (rc == SQLITE_ROW)
            *out = arena_str(arena, db_column_str(stmt, 0));
        else if (rc != SQLITE_DONE)
            err = db_fault(db, "read a refresh token", fault);
    }
    sqlite3_finalize(stmt);
    db_close(db);
    return err;
}

enum err auth_store_put(const char *path, struct str connector, struct hash128 from, struct str token,
                        struct fault *fault) {
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    char origin[33];
    origin_write(origin, from);
    enum err err = store_open(path, true, &db, fault);
    if (err == OK)
        err = db_prepare(db, "INSERT OR REPLACE INTO refresh(connector, origin, token) VALUES(?1, ?2, ?3)",
                         &stmt, fault);
    if (err == OK) {
        db_bind_str(stmt, 1, connector);
        db_bind_str(stmt, 2, str_c(origin));
        db_bind_str(stmt, 3, token);
        err = db_run(stmt, fault);
    }
    sqlite3_finalize(stmt);
    db_close(db);
    return err;
}
