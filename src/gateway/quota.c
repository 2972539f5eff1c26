/* quota: see quota.h. */
#include "gateway/quota.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "store/db.h"

#define QUOTA_APPLICATION_ID 0x504b5131 /* "PKQ1" */

struct quota_file {
    sqlite3 *db;
    sqlite3_stmt *put, *all, *forget;
    uint64_t seed;
};

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS quota(key INTEGER PRIMARY KEY, word INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS seed(seed INTEGER NOT NULL)";

static enum err file_prepare(struct quota_file *file, struct rng *rng, struct fault *fault) {
    char sql[96];
    int64_t seed;
    enum err err = db_exec(file->db, schema, fault);
    if (err == OK) {
        snprintf(sql, sizeof sql,
                 "INSERT INTO seed(seed) SELECT %lld WHERE NOT EXISTS (SELECT 1 FROM seed)",
                 (long long)(rng_u64(rng) >> 1));
        err = db_exec(file->db, sql, fault);
    }
    if (err == OK)
        err = db_i64(file->db, "SELECT seed FROM seed", 0, &seed, fault);
    if (err == OK) {
        file->seed = (uint64_t)seed;
        err = db_prepare(file->db, "INSERT INTO quota(key, word) VALUES(?1, ?2) ON CONFLICT(key) "
                                   "DO UPDATE SET word = excluded.word", &file->put, fault);
    }
    if (err == OK)
        err = db_prepare(file->db, "SELECT key, word FROM quota", &file->all, fault);
    if (err == OK)
        err = db_prepare(file->db, "DELETE FROM quota WHERE word < ?1", &file->forget, fault);
    return err;
}

static enum err file_open(const char *path, struct rng *rng, struct quota_file *file,
                          bool *damaged, struct fault *fault) {
    struct db_options options = {.create = true, .application_id = QUOTA_APPLICATION_ID,
                                 .user_version = 1, .synchronous = "NORMAL", .exclusive = true,
                                 .damaged = damaged};
    enum err err = db_open(path, &options, &file->db, fault);
    if (err == OK)
        sqlite3_wal_autocheckpoint(file->db, 64); /* a few pages a second: no thread for that */
    return err == OK ? file_prepare(file, rng, fault) : err;
}

enum err quota_file_open(const char *path, struct rng *rng, struct quota_file **out,
                         struct fault *fault) {
    bool damaged = false;
    *out = NULL;
    struct quota_file *file = mem_zalloc(sizeof *file);
    if (!file)
        return fault_set(fault, ERR_NOMEM, "no memory for the quotas");
    enum err err = file_open(path, rng, file, &damaged, fault);
    if (err == ERR_DAMAGED || (err != OK && damaged)) {
        char aside[4096];
        snprintf(aside, sizeof aside, "%s.damaged", path);
        quota_file_close(file);
        log_line(LOG_WARN, "gateway", "the file of quotas is damaged: they begin anew", "file=%s",
                 log_quote(str_c(path)));
        file = mem_zalloc(sizeof *file);
        if (!file || rename(path, aside) != 0) {
            mem_free(file);
            return fault_set(fault, ERR_IO, "%s is damaged and can not be set aside", path);
        }
        err = file_open(path, rng, file, &damaged, fault);
    }
    if (err != OK) {
        quota_file_close(file);
        return err;
    }
    *out = file;
    return OK;
}

void quota_file_close(struct quota_file *file) {
    if (!file)
        return;
    sqlite3_finalize(file->put);
    sqlite3_finalize(file->all);
    sqlite3_finalize(file->forget);
    db_close(file->db);
    mem_free(file);
}

uint64_t quota_file_seed(const struct quota_file *file) { return file->seed; }

enum err quota_file_load(struct quota_file *file, struct limit_table *table, int64_t now_s,
                         struct fault *fault) {
    int rc;
    while ((rc = sqlite3_step(file->all)) == SQLITE_ROW)
        limit_table_load(table, (uint64_t)sqlite3_column_int64(file->all, 0),
                         sqlite3_column_int64(file->all, 1), now_s);
    enum err err = rc == SQLITE_DONE ? OK : db_fault(file->db, "read the quotas", fault);
    sqlite3_reset(file->all);
    return err;
}

struct writing {
    struct quota_file *file;
    uint32_t count;
    enum err err;
    struct fault *fault;
};

static bool row_write(void *ctx, uint64_t key, int64_t word) {
    struct writing *writing = ctx;
    if (writing->count == 0)
        writing->err = db_exec(writing->file->db, "BEGIN", writing->fault);
    if (writing->err != OK)
        return false;
    writing->count++;
    sqlite3_bind_int64(writing->file->put, 1, (sqlite3_int64)key);
    sqlite3_bind_int64(writing->file->put, 2, word);
    writing->err = db_run(writing->file->put, writing->fault);
    return writing->err == OK;
}

enum err quota_file_write(struct quota_file *file, struct limit_table *table, int64_t now_s,
                          uint32_t *count, struct fault *fault) {
    struct writing writing = {.file = file, .fault = fault};
    *count = 0;
    limit_table_changes(table, row_write, &writing);
    if (writing.count == 0)
        return writing.err;
    if (writing.err == OK) {
        sqlite3_bind_int64(file->forget, 1, limit_word_before(now_s));
        writing.err = db_run(file->forget, fault);
    }
    if (writing.err == OK)
        writing.err = db_exec(file->db, "COMMIT", fault);
    if (writing.err != OK) {
        (void)!db_exec(file->db, "ROLLBACK", NULL);
        limit_table_unvisit(table);
    }
    *count = writing.err == OK ? writing.count : 0;
    return writing.err;
}
