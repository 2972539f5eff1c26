/* keys: the key file; see keys.h. */
#include "gateway/keys.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/encode.h"
#include "base/mem.h"
#include "gateway/key_notes.h"
#include "gateway/keys_priv.h"

#define KEYS_APPLICATION_ID 0x504b4b31 /* "PKK1" */
#define KEYS_VERSION 2

static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

/* Format 1: API keys alone. 2: they end and their use is noted; keys that sign tokens; a count of
 * the changes that those who cache must see. */
static const char schema[] =
    "CREATE TABLE IF NOT EXISTS api_key("
    "id TEXT PRIMARY KEY, name TEXT NOT NULL, scopes TEXT NOT NULL, hash BLOB NOT NULL,"
    "created_us INTEGER NOT NULL, revoked_us INTEGER NOT NULL DEFAULT 0,"
    "expires_us INTEGER NOT NULL DEFAULT 0, used_us INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;";
static const char schema_2[] =
    "CREATE TABLE IF NOT EXISTS signing_key("
    "kid TEXT PRIMARY KEY, private BLOB NOT NULL, created_us INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS change(one INTEGER PRIMARY KEY CHECK(one = 1),"
    "count INTEGER NOT NULL);"
    "INSERT OR IGNORE INTO change VALUES(1, 1);"
    "CREATE TRIGGER IF NOT EXISTS api_key_made AFTER INSERT ON api_key BEGIN"
    " UPDATE change SET count = count + 1; END;"
    "CREATE TRIGGER IF NOT EXISTS api_key_changed AFTER UPDATE OF scopes, hash, revoked_us,"
    " expires_us ON api_key BEGIN UPDATE change SET count = count + 1; END;"
    "CREATE TRIGGER IF NOT EXISTS signing_key_made AFTER INSERT ON signing_key BEGIN"
    " UPDATE change SET count = count + 1; END;"
    "CREATE TRIGGER IF NOT EXISTS signing_key_gone AFTER DELETE ON signing_key BEGIN"
    " UPDATE change SET count = count + 1; END;";
static const char upgrade_1[] =
    "ALTER TABLE api_key ADD COLUMN expires_us INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE api_key ADD COLUMN used_us INTEGER NOT NULL DEFAULT 0;"
    "PRAGMA user_version=2;";

#define COLUMNS "id, name, scopes, hash, created_us, revoked_us, expires_us, used_us"

static enum err statements(struct key_store *store, struct fault *fault) {
    const struct {
        sqlite3_stmt **stmt;
        const char *sql;
    } rows[] = {
        {&store->insert, "INSERT INTO api_key(" COLUMNS ") VALUES(?1, ?2, ?3, ?4, ?5, 0, ?6, 0)"},
        {&store->revoke, "UPDATE api_key SET revoked_us = ?2 WHERE revoked_us = 0 AND "
                         "(id = ?1 OR name = ?1)"},
        {&store->limit, "UPDATE api_key SET expires_us = ?2 WHERE id = ?1 AND "
                        "(expires_us = 0 OR expires_us > ?2)"},
        {&store->list, "SELECT " COLUMNS " FROM api_key ORDER BY created_us, id"},
        {&store->find, "SELECT " COLUMNS " FROM api_key WHERE id = ?1"},
        {&store->used, "UPDATE api_key SET used_us = ?2 WHERE id = ?1 AND "
                       "used_us <= ?2 - 60000000"},
        {&store->count, "SELECT count(*), count(*) FILTER (WHERE expires_us != 0 AND "
                        "expires_us < ?2) FROM api_key WHERE revoked_us = 0 AND "
                        "(expires_us = 0 OR expires_us > ?1)"},
        {&store->version, "PRAGMA data_version"},
        {&store->changes, "SELECT count FROM change"},
    };
    enum err err = OK;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && err == OK; i++)
        err = db_prepare(store->db, rows[i].sql, rows[i].stmt, fault);
    return err;
}

/* Looks again within the transaction: another may have been quicker. */
static enum err tables_make(struct key_store *store, struct fault *fault) {
    struct fault ignored = {0};
    int64_t version = 0;
    enum err err = db_i64(store->db, "PRAGMA user_version", 0, &version, fault);
    int64_t tables = 0;

    if (err == OK)
        err = db_i64(store->db, "SELECT count(*) FROM sqlite_schema WHERE name = 'change'", 0,
                     &tables, fault);
    if (err != OK || (version == KEYS_VERSION && tables > 0))
        return err;
    err = db_exec(store->db, "BEGIN IMMEDIATE", fault);
    if (err != OK)
        return err;
    err = db_exec(store->db, schema, fault);
    if (err == OK)
        err = db_i64(store->db, "PRAGMA user_version", 0, &version, fault);
    if (err == OK && version == 1)
        err = db_exec(store->db, upgrade_1, fault);
    if (err == OK)
        err = db_exec(store->db, schema_2, fault);
    if (err == OK)
        return db_exec(store->db, "COMMIT", fault);
    (void)!db_exec(store->db, "ROLLBACK", &ignored);
    return err;
}

enum err key_store_open(const char *path, struct key_store **out, struct fault *fault) {
    struct db_options options = {.create = true,
                                 .application_id = KEYS_APPLICATION_ID,
                                 .user_version = KEYS_VERSION,
                                 .oldest_version = 1};
    struct key_store *store = mem_zalloc(sizeof *store);
    mode_t mask;
    enum err err;

    *out = NULL;
    if (!store)
        return fault_set(fault, ERR_NOMEM, "no memory for the key file");
    mask = umask(077);
    err = db_open(path, &options, &store->db, fault);
    if (err == OK)
        err = tables_make(store, fault);
    if (err == OK)
        err = key_notes_attach(store->db, fault);
    umask(mask);
    if (err == OK)
        err = statements(store, fault);
    if (err != OK) {
        key_store_close(store);
        return err;
    }
    *out = store;
    return OK;
}

void key_store_close(struct key_store *store) {
    if (!store)
        return;
    sqlite3_finalize(store->insert);
    sqlite3_finalize(store->revoke);
    sqlite3_finalize(store->limit);
    sqlite3_finalize(store->list);
    sqlite3_finalize(store->find);
    sqlite3_finalize(store->used);
    sqlite3_finalize(store->count);
    sqlite3_finalize(store->version);
    sqlite3_finalize(store->changes);
    db_close(store->db);
    mem_free(store);
}

sqlite3 *key_store_db(struct key_store *store) { return store->db; }

/* len * 5 bits, rounded up, from bytes; what is missing at the end counts as zero. */
static void base32_write(const uint8_t *bytes, size_t size, char *out, size_t len) {
    for (size_t i = 0; i < len; i++) {
        size_t bit = i * 5;
        unsigned pair = (unsigned)bytes[bit / 8] << 8;

        if (bit / 8 + 1 < size)
            pair |= bytes[bit / 8 + 1];
        out[i] = alphabet[pair >> (11 - bit % 8) & 31];
    }
}

bool key_parse(struct str text, struct str *id, struct str *secret) {
    if (text.len != KEY_TEXT_LEN || !str_starts(text, STR("pk_")) ||
        text.ptr[3 + KEY_ID_LEN] != '_')
        return false;
    *id = str_of(text.ptr + 3, KEY_ID_LEN);
    *secret = str_of(text.ptr + 4 + KEY_ID_LEN, KEY_SECRET_LEN);
    return true;
}

static bool name_ok(struct str name) {
    if (name.len == 0 || name.len > KEY_NAME_MAX || !utf8_valid(name))
        return false;
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.ptr[i] < 0x20 || name.ptr[i] == 0x7f)
            return false;
    return true;
}

enum err key_create(struct key_store *store, const struct key_new *wanted, struct rng *rng,
                    struct clock *clock, struct arena *arena, struct str *key,
                    struct key_record *out, struct fault *fault) {
    uint8_t random[8 + 32];
    char *text = arena_bytes(arena, KEY_TEXT_LEN);
    struct str secret;

    if (!name_ok(wanted->name))
        return fault_set(fault, ERR_INVALID, "a key's name has 1 to %d printable characters",
                         KEY_NAME_MAX);
    if (!text)
        return fault_set(fault, ERR_NOMEM, "no memory for a key");
    rng_fill(rng, random, sizeof random);
    memcpy(text, "pk_", 3);
    base32_write(random, 8, text + 3, KEY_ID_LEN);
    text[3 + KEY_ID_LEN] = '_';
    base32_write(random + 8, 32, text + 4 + KEY_ID_LEN, KEY_SECRET_LEN);
    *key = str_of(text, KEY_TEXT_LEN);
    *out = (struct key_record){.name = wanted->name,
                               .scopes = wanted->scopes,
                               .created_us = clock_now_us(clock),
                               .expires_us = wanted->expires_us};
    must(key_parse(*key, &out->id, &secret));
    must(EVP_Digest(secret.ptr, secret.len, out->hash, NULL, EVP_sha256(), NULL) == 1);
    db_bind_str(store->insert, 1, out->id);
    db_bind_str(store->insert, 2, out->name);
    db_bind_str(store->insert, 3, out->scopes);
    sqlite3_bind_blob(store->insert, 4, out->hash, sizeof out->hash, SQLITE_STATIC);
    sqlite3_bind_int64(store->insert, 5, out->created_us);
    sqlite3_bind_int64(store->insert, 6, out->expires_us);
    return db_run(store->insert, fault);
}

/* The id in "pk_<id>" or a whole key; else what was given. */
static struct str id_of(struct str given) {
    struct str id = given, secret;

    if (!key_parse(given, &id, &secret) && given.len == 3 + KEY_ID_LEN &&
        str_starts(given, STR("pk_")))
        id = str_of(given.ptr + 3, KEY_ID_LEN);
    return id;
}

enum err key_revoke(struct key_store *store, struct str id_or_name, struct clock *clock,
                    uint32_t *count, struct fault *fault) {
    enum err err;

    db_bind_str(store->revoke, 1, id_of(id_or_name));
    sqlite3_bind_int64(store->revoke, 2, clock_now_us(clock));
    err = db_run(store->revoke, fault);
    *count = err == OK ? (uint32_t)sqlite3_changes(store->db) : 0;
    return err;
}

/* Within a transaction. */
static enum err rotate(struct key_store *store, struct str id, int64_t overlap_us,
                       struct key_new *wanted, struct rng *rng, struct clock *clock,
                       struct arena *arena, struct str *key, struct key_record *out,
                       struct fault *fault) {
    int64_t now_us = clock_now_us(clock);
    struct key_record old;
    enum err err = key_find(store, id, arena, &old, fault);

    if (err == OK && key_state(&old, now_us) != KEY_VALID)
        err = fault_set(fault, ERR_NOT_FOUND, "this key has ended already: make a new one");
    if (err != OK)
        return err;
    wanted->name = old.name;
    wanted->scopes = old.scopes;
    if (wanted->expires_us < 0)
        wanted->expires_us = old.expires_us ? now_us + (old.expires_us - old.created_us) : 0;
    err = key_create(store, wanted, rng, clock, arena, key, out, fault);
    if (err != OK)
        return err;
    db_bind_str(store->limit, 1, old.id);
    sqlite3_bind_int64(store->limit, 2, now_us + overlap_us);
    return db_run(store->limit, fault);
}

enum err key_rotate(struct key_store *store, struct str id, int64_t overlap_us, int64_t expires_us,
                    struct rng *rng, struct clock *clock, struct arena *arena, struct str *key,
                    struct key_record *out, struct fault *fault) {
    struct key_new wanted = {.expires_us = expires_us};
    struct fault ignored = {0};
    enum err err = db_exec(store->db, "BEGIN IMMEDIATE", fault);

    if (err != OK)
        return err;
    err = rotate(store, id_of(id), overlap_us, &wanted, rng, clock, arena, key, out, fault);
    if (err == OK)
        return db_exec(store->db, "COMMIT", fault);
    (void)!db_exec(store->db, "ROLLBACK", &ignored);
    return err;
}

static void record_read(sqlite3_stmt *row, struct key_record *out) {
    *out = (struct key_record){.id = db_column_str(row, 0),
                               .name = db_column_str(row, 1),
                               .scopes = db_column_str(row, 2),
                               .created_us = sqlite3_column_int64(row, 4),
                               .revoked_us = sqlite3_column_int64(row, 5),
                               .expires_us = sqlite3_column_int64(row, 6),
                               .used_us = sqlite3_column_int64(row, 7)};
    if (sqlite3_column_bytes(row, 3) == sizeof out->hash)
        memcpy(out->hash, sqlite3_column_blob(row, 3), sizeof out->hash);
    else
        out->revoked_us = 1; /* damaged: of no use to anybody */
}

enum err key_list(struct key_store *store, key_visit *visit, void *ctx, struct fault *fault) {
    int rc;

    while ((rc = sqlite3_step(store->list)) == SQLITE_ROW) {
        struct key_record record;

        record_read(store->list, &record);
        if (!visit(ctx, &record))
            break;
    }
    sqlite3_reset(store->list);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? OK
                                                 : db_fault(store->db, "list the keys", fault);
}

enum err key_find(struct key_store *store, struct str id, struct arena *arena,
                  struct key_record *out, struct fault *fault) {
    enum err err = OK;
    int rc;

    db_bind_str(store->find, 1, id);
    rc = sqlite3_step(store->find);
    if (rc == SQLITE_ROW) {
        record_read(store->find, out);
        out->id = arena_str(arena, out->id);
        out->name = arena_str(arena, out->name);
        out->scopes = arena_str(arena, out->scopes);
        if (!out->id.ptr || !out->name.ptr || !out->scopes.ptr)
            err = fault_set(fault, ERR_NOMEM, "no memory for a key");
    } else if (rc == SQLITE_DONE) {
        err = fault_set(fault, ERR_NOT_FOUND, "there is no such key");
    } else {
        err = db_fault(store->db, "read the keys", fault);
    }
    sqlite3_reset(store->find);
    return err;
}

static enum err i64_step(struct key_store *store, sqlite3_stmt *stmt, int64_t *out,
                         struct fault *fault) {
    int rc = sqlite3_step(stmt);

    *out = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
    sqlite3_reset(stmt);
    return rc == SQLITE_ROW ? OK : db_fault(store->db, "look at the keys", fault);
}

enum err key_version(struct key_store *store, int64_t *version, struct fault *fault) {
    int64_t data_version;
    enum err err = i64_step(store, store->version, &data_version, fault);

    if (err == OK && (data_version != store->data_version || store->change == 0)) {
        err = i64_step(store, store->changes, &store->change, fault);
        store->data_version = err == OK ? data_version : -1;
    }
    *version = store->change;
    return err;
}

enum err key_used(struct key_store *store, const struct key_use *uses, uint32_t count,
                  struct fault *fault) {
    enum err err = db_exec(store->db, "BEGIN IMMEDIATE", fault);
    struct fault ignored = {0};

    if (err != OK)
        return err;
    for (uint32_t i = 0; i < count && err == OK; i++) {
        db_bind_str(store->used, 1, str_of(uses[i].id, KEY_ID_LEN));
        sqlite3_bind_int64(store->used, 2, uses[i].us);
        err = db_run(store->used, fault);
    }
    if (err == OK)
        return db_exec(store->db, "COMMIT", fault);
    (void)!db_exec(store->db, "ROLLBACK", &ignored);
    return err;
}

enum err key_checkpoint(struct key_store *store, struct fault *fault) {
    int rc = sqlite3_wal_checkpoint_v2(store->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);

    return rc == SQLITE_OK || rc == SQLITE_BUSY ? OK : db_fault(store->db, "tidy the keys", fault);
}

enum err key_count(struct key_store *store, int64_t now_us, int64_t before_us, uint32_t *valid,
                   uint32_t *ending, struct fault *fault) {
    int rc;

    sqlite3_bind_int64(store->count, 1, now_us);
    sqlite3_bind_int64(store->count, 2, before_us);
    rc = sqlite3_step(store->count);
    if (rc == SQLITE_ROW) {
        *valid = (uint32_t)sqlite3_column_int64(store->count, 0);
        *ending = (uint32_t)sqlite3_column_int64(store->count, 1);
    }
    sqlite3_reset(store->count);
    return rc == SQLITE_ROW ? OK : db_fault(store->db, "count the keys", fault);
}
