/* key_notes: see key_notes.h. */
#include "gateway/key_notes.h"

#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "gateway/keys.h"
#include "store/db.h"

#define ACTOR_MAX 160
#define NOW_US "CAST((julianday('now') - 2440587.5) * 86400000000.0 AS INTEGER)"

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS audit_pending("
    "id TEXT PRIMARY KEY, at_us INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,"
    "about TEXT, detail TEXT);"
    "CREATE TRIGGER IF NOT EXISTS api_key_created AFTER INSERT ON api_key BEGIN "
    "INSERT INTO audit_pending VALUES(lower(hex(randomblob(16))), new.created_us,"
    "penstock_actor(), 'key.created', 'pk_' || new.id, new.name || ': ' || new.scopes);"
    "END;"
    "CREATE TRIGGER IF NOT EXISTS api_key_revoked AFTER UPDATE OF revoked_us ON api_key "
    "WHEN old.revoked_us = 0 AND new.revoked_us <> 0 BEGIN "
    "INSERT INTO audit_pending VALUES(lower(hex(randomblob(16))), new.revoked_us,"
    "penstock_actor(), 'key.revoked', 'pk_' || new.id, new.name);"
    "END;"
    "CREATE TRIGGER IF NOT EXISTS api_key_ends AFTER UPDATE OF expires_us ON api_key "
    "WHEN old.expires_us <> new.expires_us BEGIN "
    "INSERT INTO audit_pending VALUES(lower(hex(randomblob(16))), " NOW_US ","
    "penstock_actor(), 'key.end_set', 'pk_' || new.id,"
    "new.name || ': ends ' || strftime('%Y-%m-%dT%H:%M:%SZ', new.expires_us / 1000000,"
    " 'unixepoch'));"
    "END;"
    "CREATE TRIGGER IF NOT EXISTS signing_key_created AFTER INSERT ON signing_key BEGIN "
    "INSERT INTO audit_pending VALUES(lower(hex(randomblob(16))), new.created_us,"
    "penstock_actor(), 'signing_key.created', new.kid, NULL);"
    "END;"
    "CREATE TRIGGER IF NOT EXISTS signing_key_removed AFTER DELETE ON signing_key BEGIN "
    "INSERT INTO audit_pending VALUES(lower(hex(randomblob(16))), " NOW_US ","
    "penstock_actor(), 'signing_key.removed', old.kid, NULL);"
    "END;";

/* Who sits at this program, as the operating system says. */
static void actor_write(sqlite3_context *ctx, int argc, sqlite3_value **argv) {
    char text[ACTOR_MAX], host[65] = "";
    const struct passwd *user = getpwuid(getuid());

    (void)argc;
    (void)argv;
    if (gethostname(host, sizeof host - 1) != 0)
        host[0] = '\0';
    if (user)
        snprintf(text, sizeof text, "os:%.80s@%s", user->pw_name, host);
    else
        snprintf(text, sizeof text, "os:%u@%s", (unsigned)getuid(), host);
    sqlite3_result_text(ctx, text, -1, SQLITE_TRANSIENT);
}

enum err key_notes_attach(sqlite3 *db, struct fault *fault) {
    if (sqlite3_create_function_v2(db, "penstock_actor", 0, SQLITE_UTF8 | SQLITE_INNOCUOUS, NULL,
                                   actor_write, NULL, NULL, NULL) != SQLITE_OK)
        return db_fault(db, "say who writes the keys", fault);
    return db_exec(db, schema, fault);
}

struct key_notes {
    struct key_store *store; /* the file */
    sqlite3 *db;
    sqlite3_stmt *add, *next, *done, *version;
    int64_t seen; /* version at which there was none */
};

enum err key_notes_open(const char *path, struct key_notes **out, struct fault *fault) {
    struct key_notes *notes = mem_zalloc(sizeof *notes);
    enum err err;

    *out = NULL;
    if (!notes)
        return fault_set(fault, ERR_NOMEM, "no memory for the notes of keys.db");
    notes->seen = -1;
    err = key_store_open(path, &notes->store, fault);
    if (err == OK) {
        notes->db = key_store_db(notes->store);
        err = db_prepare(notes->db,
                         "INSERT INTO audit_pending VALUES(lower(hex(randomblob(16))), ?1,"
                         " penstock_actor(), ?2, ?3, ?4)", &notes->add, fault);
    }
    if (err == OK)
        err = db_prepare(notes->db, "SELECT id, at_us, actor, action, about, detail"
                                    " FROM audit_pending ORDER BY at_us, id LIMIT 1",
                         &notes->next, fault);
    if (err == OK)
        err = db_prepare(notes->db, "DELETE FROM audit_pending WHERE id = ?1", &notes->done, fault);
    if (err == OK)
        err = db_prepare(notes->db, "PRAGMA data_version", &notes->version, fault);
    if (err != OK) {
        key_notes_close(notes);
        return err;
    }
    *out = notes;
    return OK;
}

void key_notes_close(struct key_notes *notes) {
    if (!notes)
        return;
    sqlite3_finalize(notes->add);
    sqlite3_finalize(notes->next);
    sqlite3_finalize(notes->done);
    sqlite3_finalize(notes->version);
    key_store_close(notes->store);
    mem_free(notes);
}

enum err key_notes_add(struct key_notes *notes, struct clock *clock, struct str action,
                       struct str about, struct str detail, struct fault *fault) {
    sqlite3_bind_int64(notes->add, 1, clock_now_us(clock));
    db_bind_str(notes->add, 2, action);
    db_bind_str(notes->add, 3, about);
    db_bind_str(notes->add, 4, detail);
    return db_run(notes->add, fault);
}

static enum err version_read(struct key_notes *notes, int64_t *out, struct fault *fault) {
    int rc = sqlite3_step(notes->version);

    *out = rc == SQLITE_ROW ? sqlite3_column_int64(notes->version, 0) : 0;
    sqlite3_reset(notes->version);
    return rc == SQLITE_ROW ? OK : db_fault(notes->db, "look at the keys", fault);
}

enum err key_notes_next(struct key_notes *notes, struct arena *arena, struct key_note *out,
                        bool *any, struct fault *fault) {
    int64_t version;
    enum err err = version_read(notes, &version, fault);
    int rc;

    *any = false;
    if (err != OK || version == notes->seen)
        return err;
    rc = sqlite3_step(notes->next);
    if (rc == SQLITE_ROW) {
        *any = true;
        *out = (struct key_note){
            .id = arena_str(arena, db_column_str(notes->next, 0)),
            .at_us = sqlite3_column_int64(notes->next, 1),
            .actor = arena_str(arena, db_column_str(notes->next, 2)),
            .action = arena_str(arena, db_column_str(notes->next, 3)),
            .about = arena_str(arena, db_column_str(notes->next, 4)),
            .detail = arena_str(arena, db_column_str(notes->next, 5)),
        };
        if (!out->id.ptr || !out->actor.ptr || !out->action.ptr)
            err = fault_set(fault, ERR_NOMEM, "no memory for a note of keys.db");
    } else if (rc == SQLITE_DONE) {
        notes->seen = version;
    } else {
        err = db_fault(notes->db, "read the notes of keys.db", fault);
    }
    sqlite3_reset(notes->next);
    return err;
}

enum err key_notes_done(struct key_notes *notes, struct str id, struct fault *fault) {
    db_bind_str(notes->done, 1, id);
    return db_run(notes->done, fault);
}
