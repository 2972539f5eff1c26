/* keys: the key file; see keys.h. */
#include "gateway/keys.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/encode.h"
#include "base/mem.h"
#include "store/db.h"

#define KEYS_APPLICATION_ID 0x504b4b31 /* "PKK1" */

static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

struct key_store {
    sqlite3 *db;
    sqlite3_stmt *insert, *revoke, *list, *find, *version;
};

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS api_key("
    "id TEXT PRIMARY KEY, name TEXT NOT NULL, scopes TEXT NOT NULL, hash BLOB NOT NULL,"
    "created_us INTEGER NOT NULL, revoked_us INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID";

#define COLUMNS "id, name, scopes, hash, created_us, revoked_us"

static enum err statements(struct key_store *store, struct fault *fault) {
    const struct {
        sqlite3_stmt **stmt;
        const char *sql;
    } rows[] = {
        {&store->insert, "INSERT INTO api_key(" COLUMNS ") VALUES(?1, ?2, ?3, ?4, ?5, 0)"},
        {&store->revoke, "UPDATE api_key SET revoked_us = ?2 WHERE revoked_us = 0 AND "
                         "(id = ?1 OR name = ?1)"},
        {&store->list, "SELECT " COLUMNS " FROM api_key ORDER BY created_us, id"},
        {&store->find, "SELECT " COLUMNS " FROM api_key WHERE id = ?1"},
        {&store->version, "PRAGMA data_version"},
    };
    enum err err = OK;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && err == OK; i++)
        err = db_prepare(store->db, rows[i].sql, rows[i].stmt, fault);
    return err;
}

enum err key_store_open(const char *path, struct key_store **out, struct fault *fault) {
    struct db_options options = {.create = true,
                                 .application_id = KEYS_APPLICATION_ID,
                                 .user_version = 1};
    struct key_store *store = mem_zalloc(sizeof *store);
    mode_t mask;
    enum err err;

    *out = NULL;
    if (!store)
        return fault_set(fault, ERR_NOMEM, "no memory for the key file");
    mask = umask(077);
    err = db_open(path, &options, &store->db, fault);
    if (err == OK)
        err = db_exec(store->db, schema, fault);
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
    sqlite3_finalize(store->list);
    sqlite3_finalize(store->find);
    sqlite3_finalize(store->version);
    db_close(store->db);
    mem_free(store);
}

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

enum err key_create(struct key_store *store, struct str name, struct str scopes, struct rng *rng,
                    struct clock *clock, struct arena *arena, struct str *key,
                    struct key_record *out, struct fault *fault) {
    uint8_t random[8 + 32];
    char *text = arena_bytes(arena, KEY_TEXT_LEN);
    struct str secret;

    if (!name_ok(name))
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
    must(key_parse(*key, &out->id, &secret));
    out->name = name;
    out->scopes = scopes;
    out->created_us = clock_now_us(clock);
    out->revoked_us = 0;
    must(EVP_Digest(secret.ptr, secret.len, out->hash, NULL, EVP_sha256(), NULL) == 1);
    db_bind_str(store->insert, 1, out->id);
    db_bind_str(store->insert, 2, name);
    db_bind_str(store->insert, 3, scopes);
    sqlite3_bind_blob(store->insert, 4, out->hash, sizeof out->hash, SQLITE_STATIC);
    sqlite3_bind_int64(store->insert, 5, out->created_us);
    return db_run(store->insert, fault);
}

enum err key_revoke(struct key_store *store, struct str id_or_name, struct clock *clock,
                    uint32_t *count, struct fault *fault) {
    struct str id = id_or_name, secret;
    enum err err;

    if (!key_parse(id_or_name, &id, &secret) && id.len == 3 + KEY_ID_LEN &&
        str_starts(id, STR("pk_")))
        id = str_of(id.ptr + 3, KEY_ID_LEN);
    db_bind_str(store->revoke, 1, id);
    sqlite3_bind_int64(store->revoke, 2, clock_now_us(clock));
    err = db_run(store->revoke, fault);
    *count = err == OK ? (uint32_t)sqlite3_changes(store->db) : 0;
    return err;
}

static void record_read(sqlite3_stmt *row, struct key_record *out) {
    *out = (struct key_record){.id = db_column_str(row, 0),
                               .name = db_column_str(row, 1),
                               .scopes = db_column_str(row, 2),
                               .created_us = sqlite3_column_int64(row, 4),
                               .revoked_us = sqlite3_column_int64(row, 5)};
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

enum err key_version(struct key_store *store, int64_t *version, struct fault *fault) {
    int rc = sqlite3_step(store->version);

    *version = rc == SQLITE_ROW ? sqlite3_column_int64(store->version, 0) : 0;
    sqlite3_reset(store->version);
    return rc == SQLITE_ROW ? OK : db_fault(store->db, "look at the keys", fault);
}
