/* intake: see intake.h. Owns one SQLite connection. Changes are made at once inside an open
 * transaction: so reads see them, and a failure of any of them is told by the next commit. */
#include "connect/intake.h"

#include "base/mem.h"
#include "store/db.h"

#define INTAKE_APPLICATION_ID 0x50454e49 /* "PENI" */
#define INTAKE_VERSION 1
#define COMMITS_TO_CHECKPOINT 64

enum statement { LOAD, NUMBER, NAME, SET, FIND, PUT, FORGET, COUNT, STATEMENTS };
static const char *const statements[STATEMENTS] = {
    [LOAD] = "SELECT value FROM progress WHERE name = ?1 AND value IS NOT NULL",
    [NUMBER] = "SELECT number FROM progress WHERE name = ?1",
    [NAME] = "INSERT INTO progress(name) VALUES(?1)",
    [SET] = "INSERT INTO progress(name, value) VALUES(?1, ?2)"
            " ON CONFLICT(name) DO UPDATE SET value = ?2",
    [FIND] = "SELECT content, times, round FROM seen WHERE number = ?1 AND hi = ?2 AND lo = ?3",
    [PUT] = "INSERT OR REPLACE INTO seen(number, hi, lo, content, times, round)"
            " VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    [FORGET] = "DELETE FROM seen WHERE number = ?1 AND round < ?2",
    [COUNT] = "SELECT count(*) FROM seen WHERE number = ?1",
};
static const char schema[] =
    "CREATE TABLE IF NOT EXISTS progress(number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    " value TEXT);"
    "CREATE TABLE IF NOT EXISTS seen(number INTEGER NOT NULL, hi INTEGER NOT NULL,"
    " lo INTEGER NOT NULL, content INTEGER NOT NULL, times INTEGER NOT NULL,"
    " round INTEGER NOT NULL, PRIMARY KEY(number, hi, lo)) WITHOUT ROWID;";

struct intake {
    sqlite3 *db;
    sqlite3_stmt *stmt[STATEMENTS];
    bool open;       /* a transaction is */
    enum err broken; /* a change since the last commit failed */
    struct fault why;
    uint32_t commits; /* since the last checkpoint */
};

enum err intake_open(const char *path, const char *vfs, struct intake **out, struct fault *fault) {
    struct intake *intake = mem_zalloc(sizeof *intake);
    if (!intake)
        return fault_set(fault, ERR_NOMEM, "no memory for the progress of polls");
    struct db_options options = {.vfs = vfs, .create = true, .exclusive = true,
                                 .application_id = INTAKE_APPLICATION_ID,
                                 .user_version = INTAKE_VERSION};
    enum err err = db_open(path, &options, &intake->db, fault);
    if (err == OK)
        err = db_exec(intake->db, schema, fault);
    for (int i = 0; err == OK && i < STATEMENTS; i++)
        err = db_prepare(intake->db, statements[i], &intake->stmt[i], fault);
    if (err != OK) {
        intake_close(intake);
        return err;
    }
    *out = intake;
    return OK;
}

void intake_close(struct intake *intake) {
    if (!intake)
        return;
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(intake->stmt[i]);
    db_close(intake->db);
    mem_free(intake);
}

/* --- changes ----------------------------------------------------------------------------- */

static void change_failed(struct intake *intake, enum err err, const struct fault *fault) {
    if (intake->broken == OK) {
        intake->broken = err;
        intake->why = *fault;
    }
}

static bool change_begin(struct intake *intake) {
    struct fault fault = {0};
    if (intake->broken != OK)
        return false;
    if (intake->open)
        return true;
    enum err err = db_exec(intake->db, "BEGIN IMMEDIATE", &fault);
    if (err != OK)
        change_failed(intake, err, &fault);
    intake->open = err == OK;
    return intake->open;
}

static void change_run(struct intake *intake, enum statement which) {
    struct fault fault = {0};
    enum err err = db_run(intake->stmt[which], &fault);
    if (err != OK)
        change_failed(intake, err, &fault);
}

void intake_set(struct intake *intake, struct str name, struct str value) {
    must(value.len <= INTAKE_VALUE_MAX);
    if (!change_begin(intake))
        return;
    db_bind_str(intake->stmt[SET], 1, name);
    db_bind_str(intake->stmt[SET], 2, value);
    change_run(intake, SET);
}

void intake_put(struct intake *intake, int64_t number, struct hash128 item,
                const struct intake_seen *seen) {
    sqlite3_stmt *stmt = intake->stmt[PUT];
    if (!change_begin(intake))
        return;
    sqlite3_bind_int64(stmt, 1, number);
    sqlite3_bind_int64(stmt, 2, (int64_t)item.hi);
    sqlite3_bind_int64(stmt, 3, (int64_t)item.lo);
    sqlite3_bind_int64(stmt, 4, (int64_t)seen->content);
    sqlite3_bind_int64(stmt, 5, seen->times);
    sqlite3_bind_int64(stmt, 6, seen->round);
    change_run(intake, PUT);
}

void intake_forget(struct intake *intake, int64_t number, int64_t before_round) {
    if (!change_begin(intake))
        return;
    sqlite3_bind_int64(intake->stmt[FORGET], 1, number);
    sqlite3_bind_int64(intake->stmt[FORGET], 2, before_round);
    change_run(intake, FORGET);
}

void intake_rollback(struct intake *intake) {
    struct fault ignored = {0};
    if (intake->open && db_exec(intake->db, "ROLLBACK", &ignored) != OK)
        ignored = (struct fault){0}; /* SQLite has undone it by itself */
    intake->open = false;
    intake->broken = OK;
}

enum err intake_commit(struct intake *intake, struct fault *fault) {
    enum err err = intake->broken;
    if (err != OK) {
        *fault = intake->why;
        intake_rollback(intake);
        return err;
    }
    if (!intake->open)
        return OK;
    err = db_exec(intake->db, "COMMIT", fault);
    if (err != OK) {
        intake_rollback(intake);
        return err;
    }
    intake->open = false;
    if (++intake->commits >= COMMITS_TO_CHECKPOINT) {
        intake->commits = 0;
        struct fault ignored = {0};
        if (db_exec(intake->db, "PRAGMA wal_checkpoint(TRUNCATE)", &ignored) != OK)
            intake->commits = COMMITS_TO_CHECKPOINT / 2; /* later, then */
    }
    return OK;
}

/* --- reading ----------------------------------------------------------------------------- */

static enum err read_failed(struct intake *intake, int rc, struct fault *fault) {
    return rc == SQLITE_ROW || rc == SQLITE_DONE
               ? OK
               : db_fault(intake->db, "read the progress of polls", fault);
}

enum err intake_load(struct intake *intake, struct str name, char value[INTAKE_VALUE_MAX + 1],
                     bool *known, struct fault *fault) {
    sqlite3_stmt *stmt = intake->stmt[LOAD];
    db_bind_str(stmt, 1, name);
    int rc = sqlite3_step(stmt);
    *known = rc == SQLITE_ROW;
    if (*known) {
        struct str text = db_column_str(stmt, 0);
        size_t len = text.len < INTAKE_VALUE_MAX ? text.len : INTAKE_VALUE_MAX;
        if (len)
            memcpy(value, text.ptr, len);
        value[len] = '\0';
    }
    enum err err = read_failed(intake, rc, fault);
    sqlite3_reset(stmt);
    return err;
}

enum err intake_number(struct intake *intake, struct str name, int64_t *number,
                       struct fault *fault) {
    sqlite3_stmt *stmt = intake->stmt[NUMBER];
    db_bind_str(stmt, 1, name);
    int rc = sqlite3_step(stmt);
    bool known = rc == SQLITE_ROW;
    *number = known ? sqlite3_column_int64(stmt, 0) : 0;
    enum err err = read_failed(intake, rc, fault);
    sqlite3_reset(stmt);
    if (err != OK || known)
        return err;
    if (change_begin(intake)) {
        db_bind_str(intake->stmt[NAME], 1, name);
        change_run(intake, NAME);
        *number = sqlite3_last_insert_rowid(intake->db);
    }
    return intake_commit(intake, fault);
}

enum err intake_find(struct intake *intake, int64_t number, struct hash128 item,
                     struct intake_seen *out, bool *known, struct fault *fault) {
    sqlite3_stmt *stmt = intake->stmt[FIND];
    sqlite3_bind_int64(stmt, 1, number);
    sqlite3_bind_int64(stmt, 2, (int64_t)item.hi);
    sqlite3_bind_int64(stmt, 3, (int64_t)item.lo);
    int rc = sqlite3_step(stmt);
    *known = rc == SQLITE_ROW;
    *out = (struct intake_seen){0};
    if (*known)
        *out = (struct intake_seen){.content = (uint64_t)sqlite3_column_int64(stmt, 0),
                                    .times = sqlite3_column_int64(stmt, 1),
                                    .round = sqlite3_column_int64(stmt, 2)};
    enum err err = read_failed(intake, rc, fault);
    sqlite3_reset(stmt);
    return err;
}

enum err intake_count(struct intake *intake, int64_t number, int64_t *count, struct fault *fault) {
    sqlite3_stmt *stmt = intake->stmt[COUNT];
    sqlite3_bind_int64(stmt, 1, number);
    int rc = sqlite3_step(stmt);
    *count = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
    enum err err = read_failed(intake, rc, fault);
    sqlite3_reset(stmt);
    return err;
}
