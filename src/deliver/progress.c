/* progress: see progress.h. Owns one SQLite connection. Changes are made at once inside an open
 * transaction, which progress_flush commits: so reads see them, and a failure of any of them
 * is told by the next flush. */
#include "deliver/progress.h"

#include "base/mem.h"
#include "store/db.h"

#define PROGRESS_APPLICATION_ID 0x50454e44 /* "PEND" */
#define PROGRESS_VERSION 2 /* 1: one row for a subscription's seq, whatever its lane */

enum statement {
    SELECT_CURSOR, SET_CURSOR, LIST, UNLIST, NEXT, ROWS, LANES, FAILURE, FAILURES, TRIM,
    FORGET_CAUSE, FORGET_DETAIL, ACKED, ACK, UNACK, SUPERSEDE, COUNT, END, ENDED, PASSED, REPLAY_PUT, REPLAYS,
    REPLAY_DROP, SET_FAILING, END_FAILING, FAILING, DROP_CURSOR, DROP_LISTED, DROP_FAILURES, DROP_ENDED,
    DROP_ACKED, NOTE, UNNOTE, NOTES, EDIT, EDITED, UNEDIT, UNEDIT_BETWEEN, DROP_EDITS, MADE, MADES, DROP_MADE,
    STATEMENTS,
};

#define ROW_COLUMNS "subscription, lane, seq, subject, type, attempts, due_us, since_us, status, cause"
#define EDIT_OF                                                                                    \
    "(SELECT edit FROM edit e WHERE e.subscription = waiting.subscription AND e.seq = waiting.seq" \
    " AND e.lane = waiting.lane)"
#define HEADS                                                                                      \
    " AND (?3 = 0 OR NOT EXISTS (SELECT 1 FROM waiting b WHERE b.subscription = waiting.subscription"  \
    " AND b.lane = waiting.lane AND b.seq < waiting.seq))"

static const char *const statements[STATEMENTS] = {
    [SELECT_CURSOR] = "SELECT cursor, sent_to FROM subscription WHERE name = ?1",
    [SET_CURSOR] = "INSERT INTO subscription(name, cursor, sent_to) VALUES(?1, ?2, ?3)"
                   " ON CONFLICT(name) DO UPDATE SET cursor = ?2, sent_to = ?3",
    [LIST] = "INSERT INTO waiting(" ROW_COLUMNS ", replay)"
             " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
             " ON CONFLICT(subscription, seq, lane) DO UPDATE SET subject = ?4, type = ?5, attempts = ?6,"
             " due_us = ?7, since_us = CASE WHEN cause IS NULL THEN ?8 ELSE since_us END, status = ?9,"
             " cause = ?10, replay = ?11",
    [EDIT] = "INSERT OR REPLACE INTO edit(subscription, seq, lane, edit) VALUES(?1, ?2, ?3, ?4)",
    [EDITED] = "SELECT edit FROM edit WHERE subscription = ?1 AND seq = ?2 AND lane = ?3",
    [UNEDIT] = "DELETE FROM edit WHERE subscription = ?1 AND seq = ?2 AND lane = ?3",
    [UNEDIT_BETWEEN] = "DELETE FROM edit WHERE subscription = ?1 AND lane = ?2 AND seq > ?3 AND seq < ?4",
    [DROP_EDITS] = "DELETE FROM edit WHERE subscription = ?1",
    [UNLIST] = "DELETE FROM waiting WHERE subscription = ?1 AND seq = ?2 AND lane = ?3",
    [NEXT] = "SELECT min(seq) FROM waiting WHERE subscription = ?1 AND lane = ?2 AND seq > ?3",
    [ROWS] = "SELECT " ROW_COLUMNS ", replay, " EDIT_OF " FROM waiting WHERE (subscription, seq) > (?1, ?2)" HEADS
             " AND (?4 IS NULL OR subscription = ?4) ORDER BY subscription, seq, lane LIMIT ?5",
    [LANES] = "SELECT " ROW_COLUMNS ", replay, " EDIT_OF ", (SELECT max(seq) FROM waiting b WHERE b.subscription ="
              " waiting.subscription AND b.lane = waiting.lane) FROM waiting WHERE subscription = ?1"
              " AND seq = (SELECT min(seq) FROM waiting b WHERE b.subscription ="
              " waiting.subscription AND b.lane = waiting.lane) ORDER BY seq",
    [FAILURE] = "INSERT INTO failure(subscription, seq, at_us, attempt, outcome, status, detail)"
                " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [FAILURES] = "SELECT at_us, attempt, outcome, status, detail FROM failure"
                 " WHERE subscription = ?1 AND seq = ?2 ORDER BY id",
    [TRIM] = "DELETE FROM failure WHERE id <= ?1",
    [NOTE] = "INSERT OR REPLACE INTO note(name, text) VALUES(?1, ?2)",
    [UNNOTE] = "DELETE FROM note WHERE name = ?1",
    [NOTES] = "SELECT name, text FROM note ORDER BY name",
    [FORGET_CAUSE] = "UPDATE waiting SET cause = 'erased' WHERE seq = ?1 AND cause IS NOT NULL"
                     " AND subscription IN (SELECT name FROM subscription)",
    [ACKED] = "SELECT value FROM acknowledged WHERE subscription = ?1 AND lane = ?2",
    [ACK] = "INSERT OR REPLACE INTO acknowledged(subscription, lane, value) VALUES(?1, ?2, ?3)",
    [UNACK] = "DELETE FROM acknowledged WHERE subscription = ?1 AND lane = ?2",
    [REPLAY_PUT] = "INSERT OR REPLACE INTO replay(id, body) VALUES(?1, ?2)",
    [REPLAYS] = "SELECT body FROM replay ORDER BY id",
    [REPLAY_DROP] = "DELETE FROM replay WHERE id = ?1",
    [SUPERSEDE] = "DELETE FROM waiting WHERE subscription = ?1 AND lane = ?2 AND seq > ?3 AND seq < ?4",
    [FORGET_DETAIL] = "UPDATE failure SET detail = 'erased' WHERE seq = ?1"
                      " AND subscription IN (SELECT name FROM subscription)",
    [END] = "INSERT OR IGNORE INTO ended(subscription, seq, lane) VALUES(?1, ?2, ?3)",
    [ENDED] = "SELECT seq, lane FROM ended WHERE subscription = ?1 ORDER BY seq",
    [PASSED] = "DELETE FROM ended WHERE subscription = ?1 AND seq <= ?2",
    [COUNT] = "SELECT count(*) FROM waiting WHERE subscription = ?1",
    [SET_FAILING] = "INSERT OR REPLACE INTO failing(subscription, since_us) VALUES(?1, ?2)",
    [END_FAILING] = "DELETE FROM failing WHERE subscription = ?1",
    [FAILING] = "SELECT since_us FROM failing WHERE subscription = ?1",
    [DROP_CURSOR] = "DELETE FROM subscription WHERE name = ?1",
    [DROP_LISTED] = "DELETE FROM waiting WHERE subscription = ?1",
    [DROP_ENDED] = "DELETE FROM ended WHERE subscription = ?1",
    [DROP_ACKED] = "DELETE FROM acknowledged WHERE subscription = ?1",
    [MADE] = "INSERT OR IGNORE INTO made(subscription) VALUES(?1)",
    [MADES] = "SELECT subscription FROM made ORDER BY subscription",
    [DROP_MADE] = "DELETE FROM made WHERE subscription = ?1",
    [DROP_FAILURES] = "DELETE FROM failure WHERE subscription = ?1",
};

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS note(name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS subscription(name TEXT PRIMARY KEY, cursor INTEGER NOT NULL,"
    " sent_to INTEGER NOT NULL) WITHOUT ROWID;"
    /* one event may be for several lanes: availability.changed of an order's SKUs */
    "CREATE TABLE IF NOT EXISTS waiting(subscription TEXT NOT NULL, lane TEXT NOT NULL,"
    " seq INTEGER NOT NULL, subject TEXT, type TEXT, attempts INTEGER, due_us INTEGER,"
    " since_us INTEGER, status INTEGER, cause TEXT, replay INTEGER,"
    " PRIMARY KEY(subscription, seq, lane)) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS waiting_lane ON waiting(subscription, lane, seq);"
    "CREATE TABLE IF NOT EXISTS acknowledged(subscription TEXT NOT NULL, lane TEXT NOT NULL,"
    " value TEXT NOT NULL, PRIMARY KEY(subscription, lane)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS ended(subscription TEXT NOT NULL, seq INTEGER NOT NULL,"
    " lane TEXT NOT NULL, PRIMARY KEY(subscription, seq, lane)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS edit(subscription TEXT NOT NULL, seq INTEGER NOT NULL,"
    " lane TEXT NOT NULL, edit INTEGER NOT NULL, PRIMARY KEY(subscription, seq, lane)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS replay(id INTEGER PRIMARY KEY, body TEXT NOT NULL);"
    "CREATE TABLE IF NOT EXISTS failure(id INTEGER PRIMARY KEY, subscription TEXT NOT NULL,"
    " seq INTEGER NOT NULL, at_us INTEGER, attempt INTEGER, outcome TEXT, status INTEGER,"
    " detail TEXT);"
    "CREATE INDEX IF NOT EXISTS failure_of ON failure(subscription, seq);"
    "CREATE TABLE IF NOT EXISTS failing(subscription TEXT PRIMARY KEY, since_us INTEGER NOT NULL)"
    " WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS made(subscription TEXT PRIMARY KEY) WITHOUT ROWID;"
    /* what another system said of a person must not stay in a free page */
    "PRAGMA secure_delete=ON;";

/* What format 1 kept. */
static const char from_1[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE IF NOT EXISTS listed(" ROW_COLUMNS ");"
    "INSERT OR IGNORE INTO waiting(" ROW_COLUMNS ") SELECT " ROW_COLUMNS " FROM listed;"
    "DROP TABLE listed;"
    "PRAGMA user_version=2;"
    "COMMIT";

struct progress {
    sqlite3 *db;
    sqlite3_stmt *stmt[STATEMENTS];
    bool open;         /* a transaction is */
    enum err broken;   /* a change since the last flush failed */
    struct fault why;
    int64_t failure_id; /* newest */
    int64_t ended;      /* rows of that table, at most */
    int64_t edits;      /* likewise: 0 costs nothing where a delivery ends */
    uint32_t since_checkpoint;
};

enum err progress_open(const char *path, struct progress **out, struct fault *fault) {
    struct progress *progress = mem_zalloc(sizeof *progress);
    if (progress == NULL)
        return fault_set(fault, ERR_NOMEM, "no memory for delivery progress");
    struct db_options options = {.create = true,
                                 .exclusive = true,
                                 .application_id = PROGRESS_APPLICATION_ID,
                                 .user_version = PROGRESS_VERSION,
                                 .oldest_version = 1};
    int64_t version = 0;
    enum err err = db_open(path, &options, &progress->db, fault);
    if (err == OK)
        err = db_exec(progress->db, schema, fault);
    if (err == OK)
        err = db_i64(progress->db, "PRAGMA user_version", 0, &version, fault);
    if (err == OK && version == 1)
        err = db_exec(progress->db, from_1, fault);
    for (int i = 0; err == OK && i < STATEMENTS; i++)
        err = db_prepare(progress->db, statements[i], &progress->stmt[i], fault);
    if (err == OK)
        err = db_i64(progress->db, "SELECT max(id) FROM failure", 0, &progress->failure_id, fault);
    if (err == OK)
        err = db_i64(progress->db, "SELECT count(*) FROM ended", 0, &progress->ended, fault);
    if (err == OK)
        err = db_i64(progress->db, "SELECT count(*) FROM edit", 0, &progress->edits, fault);
    if (err != OK) {
        progress_close(progress);
        return err;
    }
    *out = progress;
    return OK;
}

void progress_close(struct progress *progress) {
    if (progress == NULL)
        return;
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(progress->stmt[i]);
    db_close(progress->db);
    mem_free(progress);
}

/* --- changes ------------------------------------------------------------------------------- */

static void change_failed(struct progress *progress, enum err err, const struct fault *fault) {
    if (progress->broken == OK) {
        progress->broken = err;
        progress->why = *fault;
    }
}

static bool change_begin(struct progress *progress) {
    if (progress->broken != OK)
        return false;
    struct fault fault = {0};
    if (progress->open && sqlite3_get_autocommit(progress->db)) {
        /* A read that the disk refused has undone all of it: what follows would stand alone. */
        fault_set(&fault, ERR_IO, "what was to be written together was undone by a read that failed");
        change_failed(progress, ERR_IO, &fault);
        return false;
    }
    if (progress->open)
        return true;
    enum err err = db_exec(progress->db, "BEGIN IMMEDIATE", &fault);
    if (err != OK)
        change_failed(progress, err, &fault);
    progress->open = err == OK;
    return progress->open;
}

static void change_run(struct progress *progress, enum statement which) {
    struct fault fault = {0};
    enum err err = db_run(progress->stmt[which], &fault);
    if (err != OK)
        change_failed(progress, err, &fault);
}

void progress_set(struct progress *progress, struct str subscription, uint64_t cursor,
                  uint64_t sent_to) {
    if (!change_begin(progress))
        return;
    sqlite3_stmt *stmt = progress->stmt[SET_CURSOR];
    db_bind_str(stmt, 1, subscription);
    sqlite3_bind_int64(stmt, 2, (int64_t)cursor);
    sqlite3_bind_int64(stmt, 3, (int64_t)sent_to);
    change_run(progress, SET_CURSOR);
    if (progress->ended == 0)
        return;
    stmt = progress->stmt[PASSED];
    db_bind_str(stmt, 1, subscription);
    sqlite3_bind_int64(stmt, 2, (int64_t)cursor);
    change_run(progress, PASSED);
}

void progress_failing_set(struct progress *progress, struct str subscription, int64_t since_us) {
    if (!change_begin(progress))
        return;
    enum statement which = since_us ? SET_FAILING : END_FAILING;
    db_bind_str(progress->stmt[which], 1, subscription);
    if (since_us)
        sqlite3_bind_int64(progress->stmt[which], 2, since_us);
    change_run(progress, which);
}

/* What can not be read counts from now on. */
int64_t progress_failing(struct progress *progress, struct str subscription) {
    sqlite3_stmt *stmt = progress->stmt[FAILING];
    db_bind_str(stmt, 1, subscription);
    int64_t since_us = sqlite3_step(stmt) == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
    sqlite3_reset(stmt);
    return since_us;
}

void progress_made(struct progress *progress, struct str subscription) {
    if (!change_begin(progress))
        return;
    db_bind_str(progress->stmt[MADE], 1, subscription);
    change_run(progress, MADE);
}

/* Read whole first: a visitor may change the table. There are at most subscriptions_max, and those that
 * were on their way out. */
enum err progress_made_visit(struct progress *progress, struct arena *arena,
                             void (*visit)(void *ctx, struct str subscription), void *ctx,
                             struct fault *fault) {
    sqlite3_stmt *stmt = progress->stmt[MADES];
    struct made_name {
        struct made_name *next;
        struct str name;
    } *first = NULL;
    int rc;
    bool room = true;
    while (room && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct made_name *one = arena_new(arena, struct made_name);
        if (one) {
            one->name = arena_str(arena, db_column_str(stmt, 0));
            one->next = first;
            first = one;
        }
        room = one && one->name.ptr;
    }
    sqlite3_reset(stmt);
    if (!room)
        return fault_set(fault, ERR_NOMEM, "no memory for the subscriptions");
    if (rc != SQLITE_DONE)
        return db_fault(progress->db, "read subscriptions", fault);
    for (; first != NULL; first = first->next)
        visit(ctx, first->name);
    return OK;
}

void progress_drop(struct progress *progress, struct str subscription) {
    static const enum statement all[] = {DROP_CURSOR, DROP_LISTED, DROP_FAILURES, END_FAILING,
                                         DROP_ENDED, DROP_ACKED, DROP_EDITS, DROP_MADE};
    for (size_t i = 0; i < sizeof all / sizeof *all && change_begin(progress); i++) {
        db_bind_str(progress->stmt[all[i]], 1, subscription);
        change_run(progress, all[i]);
    }
}

void progress_list(struct progress *progress, const struct progress_row *row) {
    if (!change_begin(progress))
        return;
    sqlite3_stmt *stmt = progress->stmt[LIST];
    db_bind_str(stmt, 1, row->subscription);
    db_bind_str(stmt, 2, row->lane);
    sqlite3_bind_int64(stmt, 3, (int64_t)row->seq);
    db_bind_str(stmt, 4, row->subject);
    db_bind_str(stmt, 5, row->type);
    sqlite3_bind_int64(stmt, 6, row->attempts);
    sqlite3_bind_int64(stmt, 7, row->due_us);
    sqlite3_bind_int64(stmt, 8, row->since_us);
    sqlite3_bind_int64(stmt, 9, row->status);
    db_bind_str(stmt, 10, row->cause);
    sqlite3_bind_int64(stmt, 11, (int64_t)row->replay);
    change_run(progress, LIST);
}

static void row_run(struct progress *progress, enum statement which, struct str subscription, struct str lane,
                     uint64_t seq) {
    sqlite3_stmt *stmt = progress->stmt[which];
    db_bind_str(stmt, 1, subscription);
    sqlite3_bind_int64(stmt, 2, (int64_t)seq);
    db_bind_str(stmt, 3, lane);
    change_run(progress, which);
}

void progress_unlist(struct progress *progress, struct str subscription, struct str lane, uint64_t seq) {
    if (!change_begin(progress))
        return;
    row_run(progress, UNLIST, subscription, lane, seq);
    if (progress->edits > 0)
        row_run(progress, UNEDIT, subscription, lane, seq);
}

void progress_edit_set(struct progress *progress, struct str subscription, struct str lane, uint64_t seq,
                       uint64_t edit) {
    if (!change_begin(progress))
        return;
    sqlite3_bind_int64(progress->stmt[EDIT], 4, (int64_t)edit);
    row_run(progress, EDIT, subscription, lane, seq);
    progress->edits++;
}

uint32_t progress_supersede(struct progress *progress, struct str subscription, struct str lane,
                            uint64_t after, uint64_t before) {
    if (!change_begin(progress))
        return 0;
    sqlite3_stmt *stmt = progress->stmt[SUPERSEDE];
    db_bind_str(stmt, 1, subscription);
    db_bind_str(stmt, 2, lane);
    sqlite3_bind_int64(stmt, 3, (int64_t)after);
    sqlite3_bind_int64(stmt, 4, (int64_t)before);
    change_run(progress, SUPERSEDE);
    uint32_t gone = progress->broken == OK ? (uint32_t)sqlite3_changes(progress->db) : 0;
    if (progress->edits > 0) {
        stmt = progress->stmt[UNEDIT_BETWEEN];
        db_bind_str(stmt, 1, subscription);
        db_bind_str(stmt, 2, lane);
        sqlite3_bind_int64(stmt, 3, (int64_t)after);
        sqlite3_bind_int64(stmt, 4, (int64_t)before);
        change_run(progress, UNEDIT_BETWEEN);
    }
    return gone;
}

void progress_acknowledge(struct progress *progress, struct str subscription, struct str lane,
                          struct str value) {
    enum statement which = value.ptr ? ACK : UNACK;
    if (!change_begin(progress))
        return;
    sqlite3_stmt *stmt = progress->stmt[which];
    db_bind_str(stmt, 1, subscription);
    db_bind_str(stmt, 2, lane);
    if (value.ptr)
        db_bind_str(stmt, 3, value);
    change_run(progress, which);
}

void progress_over(struct progress *progress, struct str subscription, struct str lane,
                   uint64_t seq) {
    if (!change_begin(progress))
        return;
    row_run(progress, END, subscription, lane, seq);
    progress->ended++;
}

void progress_failure(struct progress *progress, const struct progress_failure *failure) {
    if (!change_begin(progress))
        return;
    sqlite3_stmt *stmt = progress->stmt[FAILURE];
    db_bind_str(stmt, 1, failure->subscription);
    sqlite3_bind_int64(stmt, 2, (int64_t)failure->seq);
    sqlite3_bind_int64(stmt, 3, failure->at_us);
    sqlite3_bind_int64(stmt, 4, failure->attempt);
    db_bind_str(stmt, 5, failure->outcome);
    sqlite3_bind_int64(stmt, 6, failure->status);
    db_bind_str(stmt, 7, failure->detail);
    change_run(progress, FAILURE);
    if (++progress->failure_id % 1000 == 0 && progress->failure_id > PROGRESS_FAILURES_MAX) {
        sqlite3_bind_int64(progress->stmt[TRIM], 1, progress->failure_id - PROGRESS_FAILURES_MAX);
        change_run(progress, TRIM);
    }
}

void progress_note(struct progress *progress, struct str name, struct str text) {
    if (!change_begin(progress))
        return;
    enum statement which = text.ptr ? NOTE : UNNOTE;
    db_bind_str(progress->stmt[which], 1, name);
    if (text.ptr)
        db_bind_str(progress->stmt[which], 2, text);
    change_run(progress, which);
}

enum err progress_notes(struct progress *progress, bool (*visit)(void *ctx, struct str name, struct str text),
                        void *ctx, struct fault *fault) {
    sqlite3_stmt *stmt = progress->stmt[NOTES];
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
        if (!visit(ctx, db_column_str(stmt, 0), db_column_str(stmt, 1))) {
            rc = SQLITE_DONE;
            break;
        }
    sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? OK : db_fault(progress->db, "read notes of deliveries", fault);
}

bool progress_dirty(const struct progress *progress) {
    return progress->open || progress->broken != OK;
}

bool progress_broken(const struct progress *progress) { return progress->broken != OK; }

enum err progress_flush(struct progress *progress, struct fault *fault) {
    enum err err = progress->broken;
    if (err != OK)
        fault_set(fault, err, "%s", progress->why.detail);
    else if (progress->open)
        err = db_exec(progress->db, "COMMIT", fault);
    else
        return OK;
    if (err != OK && progress->open) /* may be gone already: then this fails, and is fine */
        sqlite3_exec(progress->db, "ROLLBACK", NULL, NULL, NULL);
    progress->open = false;
    progress->broken = OK;
    if (err == OK && ++progress->since_checkpoint >= 200) {
        progress->since_checkpoint = 0;
        sqlite3_wal_checkpoint_v2(progress->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    }
    return err;
}

enum err progress_forget(struct progress *progress, const uint64_t *seqs, uint32_t n,
                         struct fault *fault) {
    for (uint32_t i = 0; i < n && change_begin(progress); i++) {
        sqlite3_bind_int64(progress->stmt[FORGET_CAUSE], 1, (int64_t)seqs[i]);
        change_run(progress, FORGET_CAUSE);
        sqlite3_bind_int64(progress->stmt[FORGET_DETAIL], 1, (int64_t)seqs[i]);
        change_run(progress, FORGET_DETAIL);
    }
    enum err err = progress_flush(progress, fault);
    if (err != OK)
        return err;
    int rc = sqlite3_wal_checkpoint_v2(progress->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    return rc == SQLITE_OK ? OK : db_fault(progress->db, "write the WAL of deliveries back", fault);
}

void progress_replay_set(struct progress *progress, int64_t id, struct str body) {
    if (!change_begin(progress))
        return;
    sqlite3_bind_int64(progress->stmt[REPLAY_PUT], 1, id);
    db_bind_str(progress->stmt[REPLAY_PUT], 2, body);
    change_run(progress, REPLAY_PUT);
}

void progress_replay_drop(struct progress *progress, int64_t id) {
    if (!change_begin(progress))
        return;
    sqlite3_bind_int64(progress->stmt[REPLAY_DROP], 1, id);
    change_run(progress, REPLAY_DROP);
}

/* --- reading ------------------------------------------------------------------------------- */

enum err progress_load(struct progress *progress, struct str subscription,
                       struct progress_cursor *out, struct fault *fault) {
    sqlite3_stmt *stmt = progress->stmt[SELECT_CURSOR];
    *out = (struct progress_cursor){0};
    db_bind_str(stmt, 1, subscription);
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        out->cursor = (uint64_t)sqlite3_column_int64(stmt, 0);
        out->sent_to = (uint64_t)sqlite3_column_int64(stmt, 1);
        out->known = true;
    }
    sqlite3_reset(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? OK
                                                 : db_fault(progress->db, "read a cursor", fault);
}

enum err progress_next(struct progress *progress, struct str subscription, struct str lane,
                       uint64_t after, uint64_t *seq, struct fault *fault) {
    sqlite3_stmt *stmt = progress->stmt[NEXT];
    db_bind_str(stmt, 1, subscription);
    db_bind_str(stmt, 2, lane);
    sqlite3_bind_int64(stmt, 3, (int64_t)after);
    int rc = sqlite3_step(stmt);
    *seq = rc == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(stmt, 0) : 0;
    sqlite3_reset(stmt);
    return rc == SQLITE_ROW ? OK : db_fault(progress->db, "read a listed lane", fault);
}

enum err progress_edit(struct progress *progress, struct str subscription, struct str lane, uint64_t seq,
                       uint64_t *edit, struct fault *fault) {
    *edit = 0;
    if (progress->edits == 0)
        return OK;
    sqlite3_stmt *stmt = progress->stmt[EDITED];
    db_bind_str(stmt, 1, subscription);
    sqlite3_bind_int64(stmt, 2, (int64_t)seq);
    db_bind_str(stmt, 3, lane);
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        *edit = (uint64_t)sqlite3_column_int64(stmt, 0);
    sqlite3_reset(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? OK
                                                 : db_fault(progress->db, "read an edit of a delivery", fault);
}

enum err progress_acknowledged(struct progress *progress, struct str subscription, struct str lane,
                               struct arena *arena, struct str *out, struct fault *fault) {
    sqlite3_stmt *stmt = progress->stmt[ACKED];
    db_bind_str(stmt, 1, subscription);
    db_bind_str(stmt, 2, lane);
    int rc = sqlite3_step(stmt);
    *out = rc == SQLITE_ROW ? arena_str(arena, db_column_str(stmt, 0)) : STR_NONE;
    bool kept = rc != SQLITE_ROW || out->ptr != NULL;
    sqlite3_reset(stmt);
    if (!kept)
        return fault_set(fault, ERR_NOMEM, "no memory for what was acknowledged");
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? OK
                                                 : db_fault(progress->db, "read what was acknowledged", fault);
}

static struct progress_row row_read(sqlite3_stmt *stmt) {
    return (struct progress_row){
        .subscription = db_column_str(stmt, 0),
        .lane = db_column_str(stmt, 1),
        .seq = (uint64_t)sqlite3_column_int64(stmt, 2),
        .subject = db_column_str(stmt, 3),
        .type = db_column_str(stmt, 4),
        .attempts = (uint32_t)sqlite3_column_int64(stmt, 5),
        .due_us = sqlite3_column_int64(stmt, 6),
        .since_us = sqlite3_column_int64(stmt, 7),
        .status = (int32_t)sqlite3_column_int64(stmt, 8),
        .cause = db_column_str(stmt, 9),
        .replay = (uint64_t)sqlite3_column_int64(stmt, 10),
        .edit = (uint64_t)sqlite3_column_int64(stmt, 11),
    };
}

enum err progress_rows(struct progress *progress, struct str subscription,
                       struct str after_subscription, uint64_t after_seq, bool heads,
                       uint32_t limit, progress_visit *visit, void *ctx, struct fault *fault) {
    sqlite3_stmt *stmt = progress->stmt[ROWS];
    db_bind_str(stmt, 1, after_subscription.ptr ? after_subscription : STR(""));
    sqlite3_bind_int64(stmt, 2, (int64_t)after_seq);
    sqlite3_bind_int64(stmt, 3, heads);
    db_bind_str(stmt, 4, subscription);
    sqlite3_bind_int64(stmt, 5, limit);
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct progress_row row = row_read(stmt);
        if (!visit(ctx, &row)) {
            rc = SQLITE_DONE;
            break;
        }
    }
    sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? OK : db_fault(progress->db, "read listed deliveries", fault);
}

enum err progress_lanes(struct progress *progress, struct str subscription,
                        bool (*visit)(void *ctx, const struct progress_row *row, uint64_t last_seq),
                        void *ctx, struct fault *fault) {
    sqlite3_stmt *stmt = progress->stmt[LANES];
    db_bind_str(stmt, 1, subscription);
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct progress_row row = row_read(stmt);
        if (!visit(ctx, &row, (uint64_t)sqlite3_column_int64(stmt, 12))) {
            rc = SQLITE_DONE;
            break;
        }
    }
    sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? OK : db_fault(progress->db, "read listed lanes", fault);
}

enum err progress_over_visit(struct progress *progress, struct str subscription,
                        bool (*visit)(void *ctx, uint64_t seq, struct str lane), void *ctx,
                             struct fault *fault) {
    sqlite3_stmt *stmt = progress->stmt[ENDED];
    db_bind_str(stmt, 1, subscription);
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
        if (!visit(ctx, (uint64_t)sqlite3_column_int64(stmt, 0), db_column_str(stmt, 1))) {
            rc = SQLITE_DONE;
            break;
        }
    sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? OK : db_fault(progress->db, "read ended deliveries", fault);
}

enum err progress_count(struct progress *progress, struct str subscription, uint64_t *rows,
                        struct fault *fault) {
    sqlite3_stmt *stmt = progress->stmt[COUNT];
    db_bind_str(stmt, 1, subscription);
    bool read = sqlite3_step(stmt) == SQLITE_ROW;
    *rows = read ? (uint64_t)sqlite3_column_int64(stmt, 0) : 0;
    sqlite3_reset(stmt);
    return read ? OK : db_fault(progress->db, "count listed deliveries", fault);
}

enum err progress_failures(struct progress *progress, struct str subscription, uint64_t seq,
                           bool (*visit)(void *ctx, const struct progress_failure *failure),
                           void *ctx, struct fault *fault) {
    sqlite3_stmt *stmt = progress->stmt[FAILURES];
    db_bind_str(stmt, 1, subscription);
    sqlite3_bind_int64(stmt, 2, (int64_t)seq);
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct progress_failure failure = {
            .subscription = subscription,
            .seq = seq,
            .at_us = sqlite3_column_int64(stmt, 0),
            .attempt = (uint32_t)sqlite3_column_int64(stmt, 1),
            .outcome = db_column_str(stmt, 2),
            .status = (int32_t)sqlite3_column_int64(stmt, 3),
            .detail = db_column_str(stmt, 4),
        };
        if (!visit(ctx, &failure)) {
            rc = SQLITE_DONE;
            break;
        }
    }
    sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? OK : db_fault(progress->db, "read failed attempts", fault);
}

enum err progress_replays(struct progress *progress, bool (*visit)(void *ctx, struct str body), void *ctx,
                          struct fault *fault) {
    sqlite3_stmt *stmt = progress->stmt[REPLAYS];
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
        if (!visit(ctx, db_column_str(stmt, 0))) {
            rc = SQLITE_DONE;
            break;
        }
    sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? OK : db_fault(progress->db, "read replays", fault);
}
