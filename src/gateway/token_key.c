/* token_key: see token_key.h. The private keys come from OpenSSL's own generator, which ECDSA
 * draws from at each signature, too. */
#include "gateway/token_key.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdatomic.h>

#include "base/encode.h"
#include "base/mem.h"
#include "gateway/keys_priv.h"

#define COORDINATE 32
#define KID_LEN 43 /* base64url of a SHA-256 */

struct token_keys {
    _Atomic uint32_t refs;
    EVP_PKEY *signer;
    char kid[KID_LEN];
    struct jwk_set *set;
    struct buf jwks;
};

struct row {
    char kid[KID_LEN];
    EVP_PKEY *key;
    int64_t created_us;
};

/* --- one key -------------------------------------------------------------------------------- */

/* Members of the JWK in the order of its thumbprint (RFC 7638 section 3.2). */
static enum err jwk_write(EVP_PKEY *key, struct buf *out, struct fault *fault) {
    unsigned char x[COORDINATE], y[COORDINATE];
    BIGNUM *bx = NULL, *by = NULL;
    bool good = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_X, &bx) == 1 &&
                EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_Y, &by) == 1 &&
                BN_bn2binpad(bx, x, sizeof x) == COORDINATE &&
                BN_bn2binpad(by, y, sizeof y) == COORDINATE;

    BN_free(bx);
    BN_free(by);
    if (!good)
        return fault_set(fault, ERR_DAMAGED, "a key to sign tokens with is no EC key on P-256");
    buf_lit(out, "\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"");
    base64url_write(out, str_of((char *)x, sizeof x));
    buf_lit(out, "\",\"y\":\"");
    base64url_write(out, str_of((char *)y, sizeof y));
    buf_char(out, '"');
    return buf_ok(out) ? OK : fault_set(fault, ERR_NOMEM, "no memory for a key");
}

static enum err kid_make(EVP_PKEY *key, char kid[KID_LEN], struct fault *fault) {
    unsigned char print[32];
    struct buf text, coded;
    enum err err;

    buf_init(&text, 4096);
    buf_init(&coded, 4096);
    buf_char(&text, '{');
    err = jwk_write(key, &text, fault);
    buf_char(&text, '}');
    if (err == OK) {
        must(EVP_Digest(text.data, text.len, print, NULL, EVP_sha256(), NULL) == 1);
        base64url_write(&coded, str_of((char *)print, sizeof print));
        if (coded.len == KID_LEN)
            memcpy(kid, coded.data, KID_LEN);
        else
            err = fault_set(fault, ERR_NOMEM, "no memory for a key");
    }
    buf_free(&text);
    buf_free(&coded);
    return err;
}

static enum err key_insert(struct key_store *store, int64_t now_us, struct fault *fault) {
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    unsigned char *der = NULL;
    int len = key ? i2d_PrivateKey(key, &der) : 0;
    sqlite3_stmt *stmt = NULL;
    char kid[KID_LEN];
    enum err err = len > 0 ? kid_make(key, kid, fault)
                           : fault_set(fault, ERR_NOMEM, "a key to sign tokens can not be made");

    if (err == OK)
        err = db_prepare(store->db, "INSERT INTO signing_key(kid, private, created_us) "
                                    "VALUES(?1, ?2, ?3)", &stmt, fault);
    if (err == OK) {
        db_bind_str(stmt, 1, str_of(kid, KID_LEN));
        sqlite3_bind_blob(stmt, 2, der, len, SQLITE_STATIC);
        sqlite3_bind_int64(stmt, 3, now_us);
        err = db_run(stmt, fault);
    }
    sqlite3_finalize(stmt);
    OPENSSL_clear_free(der, (size_t)(len > 0 ? len : 0));
    EVP_PKEY_free(key);
    return err;
}

/* --- those of the file ---------------------------------------------------------------------- */

/* Oldest first. */
static enum err rows_read(struct key_store *store, struct row *rows, uint32_t *count,
                          struct fault *fault) {
    sqlite3_stmt *stmt;
    int rc = SQLITE_DONE;
    enum err err = db_prepare(store->db, "SELECT kid, private, created_us FROM signing_key "
                                         "ORDER BY created_us, kid", &stmt, fault);

    *count = 0;
    while (err == OK && *count < TOKEN_KEYS_MAX && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct row *row = &rows[*count];
        struct str kid = db_column_str(stmt, 0);
        const unsigned char *der = sqlite3_column_blob(stmt, 1);

        row->created_us = sqlite3_column_int64(stmt, 2);
        row->key = der ? d2i_AutoPrivateKey(NULL, &der, sqlite3_column_bytes(stmt, 1)) : NULL;
        if (!row->key || kid.len != KID_LEN) {
            EVP_PKEY_free(row->key);
            err = fault_set(fault, ERR_DAMAGED, "a key to sign tokens with is damaged: "
                            "`penstock key signing rotate --now` makes another");
            break;
        }
        memcpy(row->kid, kid.ptr, KID_LEN);
        (*count)++;
    }
    if (err == OK && rc != SQLITE_ROW && rc != SQLITE_DONE)
        err = db_fault(store->db, "read the keys to sign tokens with", fault);
    sqlite3_finalize(stmt);
    return err;
}

static void rows_free(struct row *rows, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        EVP_PKEY_free(rows[i].key);
}

static enum err rows_drop(struct key_store *store, int64_t before_us, struct fault *fault) {
    sqlite3_stmt *stmt = NULL;
    enum err err = db_prepare(store->db, "DELETE FROM signing_key WHERE created_us < ?1", &stmt,
                              fault);

    if (err == OK) {
        sqlite3_bind_int64(stmt, 1, before_us);
        err = db_run(stmt, fault);
    }
    sqlite3_finalize(stmt);
    return err;
}

enum err token_key_rotate(struct key_store *store, struct clock *clock, bool alone,
                          struct fault *fault) {
    struct fault ignored = {0};
    int64_t count = 0;
    enum err err = db_exec(store->db, "BEGIN IMMEDIATE", fault);

    if (err != OK)
        return err;
    if (alone)
        err = rows_drop(store, INT64_MAX, fault);
    if (err == OK)
        err = db_i64(store->db, "SELECT count(*) FROM signing_key", 0, &count, fault);
    if (err == OK && count >= TOKEN_KEYS_MAX)
        err = fault_set(fault, ERR_CONFLICT, "there are %d keys already: older ones go as their "
                        "tokens end", TOKEN_KEYS_MAX);
    if (err == OK)
        err = key_insert(store, clock_now_us(clock), fault);
    if (err == OK)
        return db_exec(store->db, "COMMIT", fault);
    (void)!db_exec(store->db, "ROLLBACK", &ignored);
    return err;
}

/* --- snapshots ------------------------------------------------------------------------------ */

struct token_keys *token_keys_ref(struct token_keys *keys) {
    if (keys)
        atomic_fetch_add_explicit(&keys->refs, 1, memory_order_relaxed);
    return keys;
}

void token_keys_unref(struct token_keys *keys) {
    if (!keys || atomic_fetch_sub_explicit(&keys->refs, 1, memory_order_acq_rel) != 1)
        return;
    EVP_PKEY_free(keys->signer);
    jwk_set_unref(keys->set);
    buf_free(&keys->jwks);
    mem_free(keys);
}

struct jwk_set *token_keys_set(struct token_keys *keys) { return keys->set; }
struct str token_keys_jwks(const struct token_keys *keys) { return buf_str(&keys->jwks); }

/* The newest that was published long enough ago, else the oldest. */
static const struct row *row_signs(const struct row *rows, uint32_t count, int64_t now_us) {
    const struct row *signs = &rows[0];

    for (uint32_t i = 1; i < count; i++)
        if (rows[i].created_us <= now_us - TOKEN_KEY_LEAD_S * INT64_C(1000000))
            signs = &rows[i];
    return signs;
}

static enum err snapshot(const struct row *rows, uint32_t count, int64_t now_us,
                         struct json_parser *parser, struct token_keys **out,
                         struct fault *fault) {
    const struct row *signs = row_signs(rows, count, now_us);
    struct token_keys *keys = mem_zalloc(sizeof *keys);
    enum err err = OK;

    if (!keys)
        return fault_set(fault, ERR_NOMEM, "no memory for keys");
    atomic_init(&keys->refs, 1);
    buf_init(&keys->jwks, JWK_SET_BYTES_MAX);
    EVP_PKEY_up_ref(signs->key);
    keys->signer = signs->key;
    memcpy(keys->kid, signs->kid, KID_LEN);
    buf_lit(&keys->jwks, "{\"keys\":[");
    for (uint32_t i = 0; i < count && err == OK; i++) {
        buf_str_add(&keys->jwks, i ? STR(",{") : STR("{"));
        buf_printf(&keys->jwks, "\"kid\":\"%.*s\",\"use\":\"sig\",\"alg\":\"ES256\",", KID_LEN,
                   rows[i].kid);
        err = jwk_write(rows[i].key, &keys->jwks, fault);
        buf_char(&keys->jwks, '}');
    }
    buf_lit(&keys->jwks, "]}");
    if (err == OK)
        err = jwk_set_parse(parser, buf_str(&keys->jwks), JWT_MASK(JWT_ES256), &keys->set, fault);
    if (err != OK) {
        token_keys_unref(keys);
        return err;
    }
    *out = keys;
    return OK;
}

/* Drops those whose successor has signed for longer than a token lives. */
static enum err rows_tidy(struct key_store *store, struct row *rows, uint32_t *count,
                          const struct token_key_rules *rules, int64_t now_us,
                          struct fault *fault) {
    int64_t over_us = now_us - rules->life_us - TOKEN_KEY_LEAD_S * INT64_C(1000000);
    uint32_t last = *count - 1; /* the newest that is old enough */
    enum err err;

    while (last > 0 && rows[last].created_us >= over_us)
        last--;
    if (last == 0)
        return OK;
    err = rows_drop(store, rows[last].created_us, fault);
    rows_free(rows, *count);
    *count = 0;
    return err == OK ? rows_read(store, rows, count, fault) : err;
}

enum err token_keys_load(struct key_store *store, const struct token_key_rules *rules,
                         struct clock *clock, struct json_parser *parser, struct token_keys **out,
                         struct fault *fault) {
    struct row rows[TOKEN_KEYS_MAX];
    int64_t now_us = clock_now_us(clock);
    uint32_t count = 0;
    enum err err = rows_read(store, rows, &count, fault);

    *out = NULL;
    if (err == OK && count < TOKEN_KEYS_MAX &&
        (count == 0 || now_us - rows[count - 1].created_us > rules->age_us)) {
        rows_free(rows, count);
        count = 0;
        err = token_key_rotate(store, clock, false, fault);
        if (err == OK)
            err = rows_read(store, rows, &count, fault);
    }
    if (err == OK)
        err = rows_tidy(store, rows, &count, rules, now_us, fault);
    if (err == OK)
        err = snapshot(rows, count, now_us, parser, out, fault);
    rows_free(rows, count);
    return err;
}

/* --- signing -------------------------------------------------------------------------------- */

static bool signature_make(const struct token_keys *keys, struct str text, unsigned char raw[64]) {
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    unsigned char der[128];
    const unsigned char *at = der;
    size_t len = sizeof der;
    bool good = md && EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, keys->signer) == 1 &&
                EVP_DigestSign(md, der, &len, (const unsigned char *)text.ptr, text.len) == 1;
    ECDSA_SIG *pair = good ? d2i_ECDSA_SIG(NULL, &at, (long)len) : NULL;

    good = pair && BN_bn2binpad(ECDSA_SIG_get0_r(pair), raw, COORDINATE) == COORDINATE &&
           BN_bn2binpad(ECDSA_SIG_get0_s(pair), raw + COORDINATE, COORDINATE) == COORDINATE;
    ECDSA_SIG_free(pair);
    EVP_MD_CTX_free(md);
    return good;
}

enum err token_sign(const struct token_keys *keys, struct str claims, struct buf *out,
                    struct fault *fault) {
    char header[128];
    unsigned char raw[2 * COORDINATE];
    size_t from = out->len;
    int len = snprintf(header, sizeof header,
                       "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"%.*s\"}", KID_LEN, keys->kid);

    must(len > 0 && (size_t)len < sizeof header);
    base64url_write(out, str_of(header, (size_t)len));
    buf_char(out, '.');
    base64url_write(out, claims);
    if (!buf_ok(out))
        return fault_set(fault, ERR_NOMEM, "no memory for a token");
    if (!signature_make(keys, str_of(out->data + from, out->len - from), raw))
        return fault_set(fault, ERR_INTERNAL, "a token can not be signed");
    buf_char(out, '.');
    base64url_write(out, str_of((char *)raw, sizeof raw));
    return buf_ok(out) ? OK : fault_set(fault, ERR_NOMEM, "no memory for a token");
}
