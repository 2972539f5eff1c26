/* persons: see persons.h. Owns persons.db, by one connection that has the file to itself.
 *
 * Three locks: `pool` of what is ready to be taken and `cache` of whole blocks, held for less than a
 * microsecond; `file` of the connection, held while the disk works. `file` is taken first. What is
 * put into the cache, or out of it, is so under `file`: nothing destroyed comes back. */
#include "store/persons.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/planted.h"
#include "store/db.h"
#include "store/key_tree.h"

#define PERSONS_APPLICATION_ID 0x50454e50 /* "PENP" */
#define PERSONS_VERSION 1
#define READY_MAX 4096u /* blocks */
#define ROOTS_CACHED 256u
/* Block numbers are milliseconds since 2020, or what follows the last one: below 2^41 until 2089,
 * so that a key's number is exact in JSON. */
#define EPOCH_MS INT64_C(1577836800000)

enum statement { NODE_ADD, NODE_GET, NODE_DELETE, NEXT_SET, ERASED_SET, STATEMENTS };
static const char *const statements[STATEMENTS] = {
    [NODE_ADD] = "INSERT INTO node(block, level, place, secret) VALUES(?1, ?2, ?3, ?4)",
    [NODE_GET] = "SELECT secret FROM node WHERE block = ?1 AND level = ?2 AND place = ?3",
    [NODE_DELETE] = "DELETE FROM node WHERE block = ?1 AND level = ?2 AND place = ?3",
    [NEXT_SET] = "UPDATE cell SET next_block = ?1",
    [ERASED_SET] = "UPDATE cell SET erased_seq = max(erased_seq, ?1)",
};
static const char schema[] =
    "CREATE TABLE IF NOT EXISTS cell(one INTEGER PRIMARY KEY CHECK(one = 1),"
    " next_block INTEGER NOT NULL, erased_seq INTEGER NOT NULL, secret BLOB NOT NULL);"
    "CREATE TABLE IF NOT EXISTS node(block INTEGER, level INTEGER, place INTEGER,"
    " secret BLOB NOT NULL, PRIMARY KEY(block, level, place)) WITHOUT ROWID;";

struct root {
    int64_t block; /* 0: none */
    uint8_t bytes[KEY_NODE_BYTES];
};

struct persons {
    struct keyring keyring;
    struct clock *clock;
    uint32_t blocks_ready; /* wanted */

    pthread_mutex_t file;
    sqlite3 *db;
    sqlite3_stmt *stmt[STATEMENTS];
    int64_t next_block;
    bool fresh;
    bool wrapped; /* secrets in the file are, under `master` */
    uint8_t master[SEAL_KEY_BYTES];
    uint8_t secret[SEAL_KEY_BYTES];

    pthread_mutex_t cache;
    struct root cached[ROOTS_CACHED]; /* whole blocks, by number */

    pthread_mutex_t pool;
    int64_t block; /* the one being handed out */
    struct key_walk walk;
    struct root *ready; /* a ring */
    uint32_t first, count;

    _Atomic uint64_t erased_seq;
    _Atomic uint64_t taken, made, found, destroyed, waited;
};

static struct persons *persons_of(struct keyring *k) { return (struct persons *)k; }

/* --- nodes in the file; `file` held ---------------------------------------------------------- */

/* A secret as it stands in the file. */
struct stored {
    uint8_t bytes[SEAL_WRAPPED_BYTES];
    int len;
};

static bool secret_put(struct persons *p, const char *what, const uint8_t secret[SEAL_KEY_BYTES],
                       struct stored *out) {
    out->len = p->wrapped ? SEAL_WRAPPED_BYTES : SEAL_KEY_BYTES;
    if (p->wrapped)
        return seal_wrap(p->master, str_c(what), p->keyring.rng, secret, out->bytes);
    memcpy(out->bytes, secret, SEAL_KEY_BYTES);
    return true;
}

/* Column `at` of the row; false where it is not what was written. */
static bool secret_get(struct persons *p, const char *what, sqlite3_stmt *stmt, int at,
                       uint8_t out[SEAL_KEY_BYTES]) {
    const void *blob = sqlite3_column_blob(stmt, at);
    int len = sqlite3_column_bytes(stmt, at);
    if (p->wrapped)
        return len == SEAL_WRAPPED_BYTES && seal_unwrap(p->master, str_c(what), blob, out);
    if (len == SEAL_KEY_BYTES)
        memcpy(out, blob, SEAL_KEY_BYTES);
    return len == SEAL_KEY_BYTES;
}

/* What a node's secret is bound to. */
struct node_name {
    char text[64];
};
static struct node_name node_name(int64_t block, uint32_t level, uint32_t place) {
    struct node_name name;
    snprintf(name.text, sizeof name.text, "node %lld %u %u", (long long)block, level, place);
    return name;
}

static enum err node_add(struct persons *p, int64_t block, const struct key_node *node,
                         struct fault *fault) {
    sqlite3_stmt *stmt = p->stmt[NODE_ADD];
    struct stored stored;
    if (!secret_put(p, node_name(block, node->level, node->index).text, node->bytes, &stored))
        return fault_set(fault, ERR_NOMEM, "no memory for a key");
    sqlite3_bind_int64(stmt, 1, block);
    sqlite3_bind_int(stmt, 2, (int)node->level);
    sqlite3_bind_int(stmt, 3, (int)node->index);
    sqlite3_bind_blob(stmt, 4, stored.bytes, stored.len, SQLITE_STATIC);
    enum err err = db_run(stmt, fault);
    sqlite3_clear_bindings(stmt);
    OPENSSL_cleanse(&stored, sizeof stored);
    return err;
}

static enum err node_delete(struct persons *p, int64_t block, const struct key_node *node,
                            struct fault *fault) {
    sqlite3_stmt *stmt = p->stmt[NODE_DELETE];
    sqlite3_bind_int64(stmt, 1, block);
    sqlite3_bind_int(stmt, 2, (int)node->level);
    sqlite3_bind_int(stmt, 3, (int)node->index);
    return db_run(stmt, fault);
}

static enum err node_get(struct persons *p, int64_t block, uint32_t leaf, uint32_t level,
                         struct key_node *out, struct fault *fault) {
    sqlite3_stmt *stmt = p->stmt[NODE_GET];
    *out = (struct key_node){.level = level, .index = key_tree_index(leaf, level)};
    sqlite3_bind_int64(stmt, 1, block);
    sqlite3_bind_int(stmt, 2, (int)level);
    sqlite3_bind_int(stmt, 3, (int)out->index);
    int rc = sqlite3_step(stmt);
    enum err err = rc == SQLITE_DONE ? ERR_NOT_FOUND : OK;
    if (rc == SQLITE_ROW &&
        !secret_get(p, node_name(block, level, out->index).text, stmt, 0, out->bytes))
        err = fault_set(fault, ERR_DAMAGED, "the key store is damaged: a key is not what was "
                        "written");
    else if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        err = db_fault(p->db, "read a key", fault);
    sqlite3_reset(stmt);
    return err;
}

/* The root of a block, where it is in memory. */
static bool cache_get(struct persons *p, int64_t block, struct key_node *out) {
    struct root *cached = &p->cached[(uint64_t)block % ROOTS_CACHED];
    *out = (struct key_node){0};
    pthread_mutex_lock(&p->cache);
    bool found = cached->block == block;
    if (found)
        memcpy(out->bytes, cached->bytes, KEY_NODE_BYTES);
    pthread_mutex_unlock(&p->cache);
    return found;
}

static void cache_put(struct persons *p, int64_t block, const uint8_t root[KEY_NODE_BYTES]) {
    struct root *cached = &p->cached[(uint64_t)block % ROOTS_CACHED];
    pthread_mutex_lock(&p->cache);
    cached->block = block;
    memcpy(cached->bytes, root, KEY_NODE_BYTES);
    pthread_mutex_unlock(&p->cache);
}

static void cache_drop(struct persons *p, int64_t block) {
    struct root *cached = &p->cached[(uint64_t)block % ROOTS_CACHED];
    pthread_mutex_lock(&p->cache);
    if (cached->block == block)
        OPENSSL_cleanse(cached, sizeof *cached);
    pthread_mutex_unlock(&p->cache);
}

/* The node from which the leaf can be made. ERR_NOT_FOUND: it was destroyed, or never was. */
static enum err node_above(struct persons *p, int64_t block, uint32_t leaf, struct key_node *out,
                           struct fault *fault) {
    enum err err = ERR_NOT_FOUND;
    for (uint32_t level = 0; err == ERR_NOT_FOUND && level <= KEY_TREE_LEVELS; level++)
        err = node_get(p, block, leaf, level, out, fault);
    return err;
}

static enum err transaction_end(struct persons *p, enum err err, struct fault *fault) {
    if (err == OK)
        err = db_exec(p->db, "COMMIT", fault);
    if (err != OK && !sqlite3_get_autocommit(p->db))
        (void)sqlite3_exec(p->db, "ROLLBACK", NULL, NULL, NULL);
    return err;
}

/* Everything from the WAL into the file, and the WAL to nothing. */
static enum err wal_empty(struct persons *p, struct fault *fault) {
    int rc = sqlite3_wal_checkpoint_v2(p->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    return rc == SQLITE_OK ? OK : db_fault(p->db, "write the key store's WAL back", fault);
}

/* --- making ahead ---------------------------------------------------------------------------- */

/* `file` held: n new blocks, durable, then ready. */
static enum err blocks_make(struct persons *p, uint32_t n, struct fault *fault) {
    struct root roots[64];
    if (n > sizeof roots / sizeof *roots)
        n = sizeof roots / sizeof *roots;
    int64_t block = clock_now_us(p->clock) / 1000 - EPOCH_MS;
    if (block < p->next_block)
        block = p->next_block;
    enum err err = db_exec(p->db, "BEGIN IMMEDIATE", fault);
    if (err != OK)
        return err;
    for (uint32_t i = 0; err == OK && i < n; i++) {
        struct key_node node = {0};
        rng_fill(p->keyring.rng, node.bytes, sizeof node.bytes);
        roots[i].block = block + i;
        memcpy(roots[i].bytes, node.bytes, sizeof node.bytes);
        err = node_add(p, roots[i].block, &node, fault);
        OPENSSL_cleanse(&node, sizeof node);
    }
    sqlite3_bind_int64(p->stmt[NEXT_SET], 1, block + n);
    if (err == OK)
        err = db_run(p->stmt[NEXT_SET], fault);
    err = transaction_end(p, err, fault);
    for (uint32_t i = 0; err == OK && i < n; i++)
        cache_put(p, roots[i].block, roots[i].bytes);
    pthread_mutex_lock(&p->pool);
    for (uint32_t i = 0; err == OK && i < n && p->count < READY_MAX; i++)
        p->ready[(p->first + p->count++) % READY_MAX] = roots[i];
    pthread_mutex_unlock(&p->pool);
    OPENSSL_cleanse(roots, sizeof roots);
    /* A commit that failed may have been written all the same: its numbers are not used again. */
    p->next_block = block + n;
    if (err == OK)
        atomic_fetch_add(&p->made, (uint64_t)n * KEY_TREE_LEAVES);
    return err;
}

static uint32_t blocks_wanted(struct persons *p) {
    pthread_mutex_lock(&p->pool);
    uint32_t count = p->count;
    pthread_mutex_unlock(&p->pool);
    return count < p->blocks_ready ? p->blocks_ready - count : 0;
}

static enum err persons_tidy(struct keyring *k, bool *again, struct fault *fault) {
    struct persons *p = persons_of(k);
    *again = false;
    uint32_t wanted = blocks_wanted(p);
    if (wanted == 0 || wanted < (p->blocks_ready + 1) / 2)
        return OK;
    pthread_mutex_lock(&p->file);
    enum err err = blocks_make(p, wanted, fault);
    if (err == OK)
        err = wal_empty(p, fault);
    pthread_mutex_unlock(&p->file);
    *again = err == OK && blocks_wanted(p) > 0;
    return err;
}

/* --- taking ---------------------------------------------------------------------------------- */

/* `pool` held. The one place that decides which key comes next: the one behind the last, never one
 * that was taken before. False where none is ready. */
static bool key_next(struct persons *p, struct seal_key *out) {
    while (p->walk.next >= KEY_TREE_LEAVES) {
        if (p->count == 0)
            return false;
        struct root *root = &p->ready[p->first];
        p->first = (p->first + 1) % READY_MAX;
        p->count--;
        if (root->block == 0)
            continue; /* taken back */
        p->block = root->block;
        key_walk_begin(&p->walk, root->bytes);
        OPENSSL_cleanse(root, sizeof *root);
    }
    out->number = (uint64_t)p->block << KEY_TREE_LEVELS | p->walk.next;
    return key_walk_next(&p->walk, out->bytes);
}

static bool key_try(struct persons *p, struct seal_key *out) {
    pthread_mutex_lock(&p->pool);
    bool taken = key_next(p, out);
    pthread_mutex_unlock(&p->pool);
    if (taken)
        atomic_fetch_add_explicit(&p->taken, 1, memory_order_relaxed);
    return taken;
}

static enum err persons_take(struct keyring *k, struct seal_key *out, struct fault *fault) {
    struct persons *p = persons_of(k);
    if (key_try(p, out))
        return OK;
    enum err err = OK;
    pthread_mutex_lock(&p->file); /* another one may have made some meanwhile */
    bool taken = key_try(p, out);
    if (!taken) {
        atomic_fetch_add(&p->waited, 1);
        err = blocks_make(p, 1, fault);
        taken = err == OK && key_try(p, out);
    }
    pthread_mutex_unlock(&p->file);
    if (taken)
        return OK;
    return err != OK ? err : fault_set(fault, ERR_UNAVAILABLE, "no key is ready to seal with");
}

/* --- finding --------------------------------------------------------------------------------- */

/* The node that is left above the key, from which it can be made. */
static enum err above_find(struct persons *p, uint64_t number, struct key_node *out, struct fault *fault) {
    int64_t block = (int64_t)(number >> KEY_TREE_LEVELS);
    uint32_t leaf = (uint32_t)number & (KEY_TREE_LEAVES - 1);
    if (block < 1)
        return fault_set(fault, ERR_NOT_FOUND, "there is no such key");
    enum err err = OK;
    if (!cache_get(p, block, out)) {
        pthread_mutex_lock(&p->file);
        err = node_above(p, block, leaf, out, fault);
        if (err == OK && out->level == 0)
            cache_put(p, block, out->bytes);
        pthread_mutex_unlock(&p->file);
    }
    return err == ERR_NOT_FOUND ? fault_set(fault, err, "the key was destroyed") : err;
}

static enum err persons_find(struct keyring *k, uint64_t number, struct seal_key *out,
                             struct fault *fault) {
    struct persons *p = persons_of(k);
    struct key_node above;
    enum err err = above_find(p, number, &above, fault);
    out->number = number;
    if (err == OK && !key_tree_leaf(&above, (uint32_t)number & (KEY_TREE_LEAVES - 1), out->bytes))
        err = fault_set(fault, ERR_NOMEM, "no memory for a key");
    OPENSSL_cleanse(&above, sizeof above);
    if (err != ERR_NOT_FOUND)
        atomic_fetch_add_explicit(&p->found, 1, memory_order_relaxed);
    return err;
}

static enum err persons_have(struct keyring *k, uint64_t number, struct fault *fault) {
    struct key_node above;
    enum err err = above_find(persons_of(k), number, &above, fault);
    OPENSSL_cleanse(&above, sizeof above);
    return err;
}

/* --- destroying ------------------------------------------------------------------------------ */

/* What is in memory of a block: the rest of it is not handed out. */
static void block_forget(struct persons *p, int64_t block) {
    cache_drop(p, block);
    pthread_mutex_lock(&p->pool);
    if (PLANTED(KEY_REUSE) && p->block != 0) {
        p->walk.next = 0;
    } else if (p->block == block) {
        OPENSSL_cleanse(&p->walk, sizeof p->walk);
        p->walk.next = KEY_TREE_LEAVES;
        p->block = 0;
    }
    for (uint32_t i = 0; i < p->count; i++) /* never used: only a forged number leads there */
        if (p->ready[(p->first + i) % READY_MAX].block == block)
            OPENSSL_cleanse(&p->ready[(p->first + i) % READY_MAX], sizeof *p->ready);
    pthread_mutex_unlock(&p->pool);
}

/* Inside a transaction. */
static enum err key_destroy(struct persons *p, uint64_t number, struct fault *fault) {
    int64_t block = (int64_t)(number >> KEY_TREE_LEVELS);
    uint32_t leaf = (uint32_t)number & (KEY_TREE_LEAVES - 1), count = 0;
    struct key_node above, stay[KEY_TREE_LEVELS];
    block_forget(p, block);
    enum err err = node_above(p, block, leaf, &above, fault);
    if (err != OK)
        return err == ERR_NOT_FOUND ? OK : err;
    if (!key_tree_punch(&above, leaf, stay, &count))
        err = fault_set(fault, ERR_NOMEM, "no memory to destroy a key");
    if (err == OK)
        err = node_delete(p, block, &above, fault);
    for (uint32_t i = 0; err == OK && i < count; i++)
        err = node_add(p, block, &stay[i], fault);
    OPENSSL_cleanse(&above, sizeof above);
    OPENSSL_cleanse(stay, sizeof stay);
    if (err == OK)
        atomic_fetch_add(&p->destroyed, 1);
    return err;
}

/* Deleted rows are zeroed (secure_delete); but cells that moved between pages may have left copies
 * in gaps: VACUUM writes every page anew, and the WAL is emptied last. */
static enum err traces_remove(struct persons *p, struct fault *fault) {
    enum err err = db_exec(p->db, "VACUUM", fault);
    return err == OK ? wal_empty(p, fault) : err;
}

static enum err erased_set(struct persons *p, uint64_t seq, struct fault *fault) {
    sqlite3_bind_int64(p->stmt[ERASED_SET], 1, (int64_t)seq);
    enum err err = db_run(p->stmt[ERASED_SET], fault);
    if (err == OK && seq > atomic_load(&p->erased_seq))
        atomic_store(&p->erased_seq, seq);
    return err;
}

static enum err persons_destroy(struct keyring *k, const uint64_t *numbers, uint32_t n,
                                uint64_t seq, struct fault *fault) {
    struct persons *p = persons_of(k);
    pthread_mutex_lock(&p->file);
    enum err err = db_exec(p->db, "BEGIN IMMEDIATE", fault);
    if (err == OK) {
        for (uint32_t i = 0; err == OK && i < n; i++)
            err = key_destroy(p, numbers[i], fault);
        err = transaction_end(p, err, fault);
    }
    if (err == OK)
        err = traces_remove(p, fault);
    if (err == OK) /* only now: a crash before this line does all of it again */
        err = erased_set(p, seq, fault);
    pthread_mutex_unlock(&p->file);
    return err;
}

static uint64_t persons_erased(struct keyring *k) {
    return atomic_load(&persons_of(k)->erased_seq);
}

/* --- blinding -------------------------------------------------------------------------------- */

/* HMAC would do; one AES block of the hash under the secret is the same to who has not the
 * secret, at a tenth of the cost. See seal_blind. */
static struct hash128 persons_blind(struct keyring *k, struct hash128 hash) {
    return seal_blind(persons_of(k)->secret, hash);
}

/* --- life ------------------------------------------------------------------------------------ */

static void persons_close(struct keyring *k) {
    struct persons *p = persons_of(k);
    if (!p)
        return;
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(p->stmt[i]);
    db_close(p->db);
    if (p->ready)
        OPENSSL_cleanse(p->ready, READY_MAX * sizeof *p->ready);
    mem_free(p->ready);
    pthread_mutex_destroy(&p->file);
    pthread_mutex_destroy(&p->cache);
    pthread_mutex_destroy(&p->pool);
    OPENSSL_cleanse(p, sizeof *p);
    mem_free(p);
}

static const struct keyring_ops persons_ops = {
    .take = persons_take,
    .find = persons_find,
    .have = persons_have,
    .destroy = persons_destroy,
    .erased = persons_erased,
    .blind = persons_blind,
    .tidy = persons_tidy,
    .close = persons_close,
};

static enum err cell_write(struct persons *p, const char *sql, struct fault *fault) {
    sqlite3_stmt *stmt;
    struct stored stored;
    if (!secret_put(p, "cell", p->secret, &stored))
        return fault_set(fault, ERR_NOMEM, "no memory for a key");
    enum err err = db_prepare(p->db, sql, &stmt, fault);
    if (err != OK)
        return err;
    sqlite3_bind_blob(stmt, 1, stored.bytes, stored.len, SQLITE_STATIC);
    err = db_run(stmt, fault);
    sqlite3_finalize(stmt);
    OPENSSL_cleanse(&stored, sizeof stored);
    return err;
}

static enum err nodes_copy(struct persons *p, struct fault *fault) {
    sqlite3_stmt *stmt;
    enum err err = db_prepare(p->db, "SELECT block, level, place, secret FROM was", &stmt, fault);
    int rc = SQLITE_DONE;
    while (err == OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct key_node node = {.level = (uint32_t)sqlite3_column_int(stmt, 1),
                                .index = (uint32_t)sqlite3_column_int(stmt, 2)};
        if (sqlite3_column_bytes(stmt, 3) != KEY_NODE_BYTES)
            err = fault_set(fault, ERR_DAMAGED, "the key store is damaged");
        else
            memcpy(node.bytes, sqlite3_column_blob(stmt, 3), KEY_NODE_BYTES);
        if (err == OK)
            err = node_add(p, sqlite3_column_int64(stmt, 0), &node, fault);
        OPENSSL_cleanse(&node, sizeof node);
    }
    if (err == OK && rc != SQLITE_DONE)
        err = db_fault(p->db, "read the keys", fault);
    sqlite3_finalize(stmt);
    return err;
}

/* A file whose secrets stand there as they are is written anew, under the master key. */
static enum err secrets_wrap(struct persons *p, struct fault *fault) {
    enum err err = db_exec(p->db, "BEGIN IMMEDIATE; ALTER TABLE node RENAME TO was", fault);
    if (err == OK)
        err = db_exec(p->db, schema, fault);
    p->wrapped = true;
    if (err == OK)
        err = nodes_copy(p, fault);
    if (err == OK)
        err = db_exec(p->db, "DROP TABLE was", fault);
    if (err == OK)
        err = cell_write(p, "UPDATE cell SET secret = ?1", fault);
    err = transaction_end(p, err, fault);
    return err == OK ? traces_remove(p, fault) : err;
}

/* The one row of `cell`, made at first use. */
static enum err cell_load(struct persons *p, bool master, struct fault *fault) {
    sqlite3_stmt *stmt;
    bool plain = false;
    rng_fill(p->keyring.rng, p->secret, sizeof p->secret);
    p->wrapped = master;
    enum err err = cell_write(p, "INSERT OR IGNORE INTO cell VALUES(1, 1, 0, ?1)", fault);
    p->fresh = err == OK && sqlite3_changes(p->db) > 0;
    if (err == OK)
        err = db_prepare(p->db, "SELECT next_block, erased_seq, secret FROM cell", &stmt, fault);
    if (err != OK)
        return err;
    if (sqlite3_step(stmt) == SQLITE_ROW) {
        plain = sqlite3_column_bytes(stmt, 2) == SEAL_KEY_BYTES;
        p->next_block = sqlite3_column_int64(stmt, 0);
        atomic_store(&p->erased_seq, (uint64_t)sqlite3_column_int64(stmt, 1));
        p->wrapped = !plain;
        if (!plain && !master)
            err = fault_set(fault, ERR_CONFLICT, "persons.db is under a master key: give it in "
                            "PENSTOCK_PERSONS_KEY or PENSTOCK_PERSONS_KEY_FILE");
        else if (!secret_get(p, "cell", stmt, 2, p->secret))
            err = fault_set(fault, ERR_CONFLICT, "persons.db is under another master key, or "
                            "damaged");
    } else {
        err = fault_set(fault, ERR_DAMAGED, "the key store is damaged: it has no secret");
    }
    sqlite3_finalize(stmt);
    return err == OK && plain && master ? secrets_wrap(p, fault) : err;
}

static enum err persons_init(struct persons *p, const struct persons_options *options,
                             struct fault *fault) {
    struct db_options db = {.vfs = options->vfs,
                            .create = true,
                            .exclusive = true,
                            .application_id = PERSONS_APPLICATION_ID,
                            .user_version = PERSONS_VERSION};
    enum err err = db_open(options->path, &db, &p->db, fault);
    if (err == OK)
        err = db_exec(p->db, "PRAGMA secure_delete=ON", fault);
    if (err == OK)
        err = db_exec(p->db, schema, fault);
    for (int i = 0; err == OK && i < STATEMENTS; i++)
        err = db_prepare(p->db, statements[i], &p->stmt[i], fault);
    if (err == OK)
        err = cell_load(p, options->master != NULL, fault);
    return err;
}

enum err persons_open(const struct persons_options *options, struct keyring **out,
                      struct fault *fault) {
    struct persons *p = mem_zalloc(sizeof *p);
    *out = NULL;
    if (!p)
        return fault_set(fault, ERR_NOMEM, "no memory for the key store");
    p->keyring = (struct keyring){.ops = &persons_ops, .rng = options->rng};
    p->clock = options->clock;
    p->blocks_ready = (options->ready + KEY_TREE_LEAVES - 1) / KEY_TREE_LEAVES;
    if (p->blocks_ready > READY_MAX)
        p->blocks_ready = READY_MAX;
    p->walk.next = KEY_TREE_LEAVES;
    if (options->master)
        memcpy(p->master, options->master, sizeof p->master);
    pthread_mutex_init(&p->file, NULL);
    pthread_mutex_init(&p->cache, NULL);
    pthread_mutex_init(&p->pool, NULL);
    p->ready = mem_zalloc(READY_MAX * sizeof *p->ready);
    enum err err = p->ready ? persons_init(p, options, fault)
                            : fault_set(fault, ERR_NOMEM, "no memory for the key store");
    if (err != OK) {
        persons_close(&p->keyring);
        return err;
    }
    *out = &p->keyring;
    return OK;
}

void persons_stats(struct keyring *keyring, struct persons_stats *out) {
    struct persons *p = persons_of(keyring);
    *out = (struct persons_stats){.taken = atomic_load(&p->taken),
                                  .made = atomic_load(&p->made),
                                  .found = atomic_load(&p->found),
                                  .destroyed = atomic_load(&p->destroyed),
                                  .waited = atomic_load(&p->waited),
                                  .fresh = p->fresh};
    pthread_mutex_lock(&p->pool);
    out->ready = p->count * KEY_TREE_LEAVES + (KEY_TREE_LEAVES - p->walk.next);
    pthread_mutex_unlock(&p->pool);
}
