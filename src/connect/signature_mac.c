/* signature_mac: HMAC-SHA256 (RFC 2104) and Ed25519 (RFC 8032) through OpenSSL. A digest is
 * written the way the header carries it and compared as text, in time that depends on lengths
 * alone. */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>

#include "base/encode.h"
#include "connect/signature_priv.h"

#define DIGEST_BYTES 32
#define PUBLIC_KEY_BYTES 32
#define PUBLIC_SIGNATURE_BYTES 64

/* A keyed-digest context that others are copied from: looking an algorithm up takes longer
 * than a digest of a small body. Lives as long as the process. */
static EVP_MAC_CTX *hmac_template;
static pthread_once_t hmac_once = PTHREAD_ONCE_INIT;

static void hmac_prepare(void) {
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA256", 0),
                           OSSL_PARAM_construct_end()};
    EVP_MAC_CTX *ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;
    if (ctx && EVP_MAC_CTX_set_params(ctx, params) == 1)
        hmac_template = ctx;
    else
        EVP_MAC_CTX_free(ctx);
    EVP_MAC_free(mac);
}

static bool hmac(struct str key, const struct str *parts, size_t count,
                 unsigned char out[DIGEST_BYTES]) {
    pthread_once(&hmac_once, hmac_prepare);
    EVP_MAC_CTX *ctx = hmac_template ? EVP_MAC_CTX_dup(hmac_template) : NULL;
    size_t len = 0;
    bool good = ctx && EVP_MAC_init(ctx, (const unsigned char *)key.ptr, key.len, NULL) == 1;
    for (size_t i = 0; i < count && good; i++)
        good = parts[i].len == 0 ||
               EVP_MAC_update(ctx, (const unsigned char *)parts[i].ptr, parts[i].len) == 1;
    good = good && EVP_MAC_final(ctx, out, &len, DIGEST_BYTES) == 1 && len == DIGEST_BYTES;
    EVP_MAC_CTX_free(ctx);
    return good;
}

enum err signature_refuse(struct fault *fault, const char *what) {
    return fault_set(fault, ERR_UNAUTHENTICATED, "%s", what);
}

enum err signature_broken(struct fault *fault) {
    return fault_set(fault, ERR_INTERNAL, "the digest could not be computed");
}

struct str digest_text(enum digest_form form, struct str key, const struct str *parts, size_t count,
                       char room[DIGEST_ROOM]) {
    struct buf out = {.data = room, .cap = DIGEST_ROOM, .max = DIGEST_ROOM};
    unsigned char digest[DIGEST_BYTES];
    if (!hmac(key, parts, count, digest))
        return STR_NONE;
    struct str bytes = str_of((const char *)digest, DIGEST_BYTES);
    if (form == DIGEST_HEX)
        base16_write(&out, bytes);
    else
        base64_write(&out, bytes);
    return buf_str(&out);
}

/* Hex digits in lower case, so that senders may write either. */
static struct str hex_lower(struct str s, char room[DIGEST_ROOM]) {
    if (s.len > 2 * DIGEST_BYTES)
        return s;
    for (size_t i = 0; i < s.len; i++)
        room[i] = s.ptr[i] >= 'A' && s.ptr[i] <= 'F' ? (char)(s.ptr[i] + 32) : s.ptr[i];
    return str_of(room, s.len);
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static struct str hex_read(struct str s, struct arena *arena) {
    char *out = s.len > 0 && s.len % 2 == 0 ? arena_bytes(arena, s.len / 2) : NULL;
    for (size_t i = 0; out && i < s.len; i += 2) {
        int high = hex_digit(s.ptr[i]), low = hex_digit(s.ptr[i + 1]);
        if (high < 0 || low < 0)
            return STR_NONE;
        out[i / 2] = (char)(high * 16 + low);
    }
    return out ? str_of(out, s.len / 2) : STR_NONE;
}

struct str key_bytes(enum key_form form, struct str secret, struct arena *arena) {
    if (form == KEY_TEXT)
        return secret;
    if (form == KEY_HEX)
        return hex_read(secret, arena);
    if (str_starts(secret, STR("whsec_")))
        secret = str_of(secret.ptr + 6, secret.len - 6);
    struct str key = base64_read(arena, secret);
    return key.len > 0 ? key : STR_NONE;
}

enum err signatures_compare(const struct connector_signature *signature, const struct str *parts,
                            size_t part_count, const struct str *given, size_t given_count,
                            struct fault *fault) {
    const struct scheme *scheme = scheme_of(signature);
    bool hex = scheme->digest == DIGEST_HEX, fits = false;
    struct arena arena;
    arena_init(&arena, 16 * SECRET_BYTES_MAX);
    for (uint32_t i = 0; i < signature->secret_count; i++) {
        struct str key = key_bytes(scheme->key, signature->secrets[i], &arena);
        if (!key.ptr)
            continue;
        char room[DIGEST_ROOM], lower[DIGEST_ROOM];
        struct str right = digest_text(scheme->digest, key, parts, part_count, room);
        if (!right.ptr) {
            arena_free(&arena);
            return signature_broken(fault);
        }
        for (size_t k = 0; k < given_count; k++)
            fits |= str_eq_secret(hex ? hex_lower(given[k], lower) : given[k], right);
    }
    arena_free(&arena);
    return fits ? OK : signature_refuse(fault, "the signature does not fit the body");
}

/* --- public keys ----------------------------------------------------------------------- */

static struct str joined(const struct str *parts, size_t count, struct arena *arena) {
    size_t len = 0;
    for (size_t i = 0; i < count; i++)
        len += parts[i].len;
    char *all = arena_bytes(arena, len ? len : 1);
    for (size_t i = 0, at = 0; all && i < count; at += parts[i].len, i++)
        if (parts[i].len)
            memcpy(all + at, parts[i].ptr, parts[i].len);
    return all ? str_of(all, len) : STR_NONE;
}

static bool public_fits(struct str key, struct str signature, struct str text) {
    if (key.len != PUBLIC_KEY_BYTES || signature.len != PUBLIC_SIGNATURE_BYTES)
        return false;
    EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL,
                                                 (const unsigned char *)key.ptr, key.len);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool fits = pkey && ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
                EVP_DigestVerify(ctx, (const unsigned char *)signature.ptr, signature.len,
                                 (const unsigned char *)text.ptr, text.len) == 1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    return fits;
}

enum err signatures_compare_public(const struct connector_signature *signature,
                                   const struct str *parts, size_t part_count,
                                   const struct str *given, size_t given_count,
                                   struct fault *fault) {
    struct arena arena;
    arena_init(&arena, 0);
    struct str text = joined(parts, part_count, &arena);
    bool fits = false;
    for (uint32_t i = 0; text.ptr && i < signature->secret_count && !fits; i++) {
        struct str secret = signature->secrets[i];
        if (!str_starts(secret, PUBLIC_KEY_PREFIX))
            continue;
        secret = str_of(secret.ptr + PUBLIC_KEY_PREFIX.len, secret.len - PUBLIC_KEY_PREFIX.len);
        struct str key = base64_read(&arena, secret);
        for (size_t k = 0; k < given_count && !fits; k++)
            fits = public_fits(key, base64_read(&arena, given[k]), text);
    }
    arena_free(&arena);
    if (!text.ptr)
        return fault_set(fault, ERR_NOMEM, "no memory to check a signature");
    return fits ? OK : signature_refuse(fault, "the signature does not fit the body");
}
