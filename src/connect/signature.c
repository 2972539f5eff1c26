/* signature: HMAC-SHA256 (RFC 2104) through OpenSSL's EVP_MAC, and the headers of the schemes.
 * The digest is written the way the header carries it and compared as text, in time that
 * depends on lengths alone. */
#include "connect/signature.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>

#include "base/clock.h"
#include "base/encode.h"

#define DIGEST_BYTES 32
#define TOLERANCE_DEFAULT_S 300
#define SECRET_BYTES_MAX 1024
/* A header names at most so many signatures (rotation at the sender). */
#define HEADER_SIGNATURES_MAX 16

const char *const signature_schemes[] = {
    "none", "hmac-sha256-base64", "hmac-sha256-hex", "stripe", "standard-webhooks", NULL,
};

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

/* HMAC-SHA256 over the parts, one behind the other. */
static bool hmac(struct str secret, const struct str *parts, size_t count,
                 unsigned char out[DIGEST_BYTES]) {
    pthread_once(&hmac_once, hmac_prepare);
    EVP_MAC_CTX *ctx = hmac_template ? EVP_MAC_CTX_dup(hmac_template) : NULL;
    size_t len = 0;
    bool good = ctx && EVP_MAC_init(ctx, (const unsigned char *)secret.ptr, secret.len, NULL) == 1;
    for (size_t i = 0; i < count && good; i++)
        good = parts[i].len == 0 ||
               EVP_MAC_update(ctx, (const unsigned char *)parts[i].ptr, parts[i].len) == 1;
    good = good && EVP_MAC_final(ctx, out, &len, DIGEST_BYTES) == 1 && len == DIGEST_BYTES;
    EVP_MAC_CTX_free(ctx);
    return good;
}

static enum err refuse(struct fault *fault, const char *what) {
    return fault_set(fault, ERR_UNAUTHENTICATED, "%s", what);
}

static enum err broken(struct fault *fault) {
    return fault_set(fault, ERR_INTERNAL, "the digest could not be computed");
}

static bool is_hex(enum signature_scheme scheme) {
    return scheme == SIGNATURE_HMAC_SHA256_HEX || scheme == SIGNATURE_STRIPE;
}

/* The digest as the header carries it; `room` holds its text. */
static struct str digest_text(const unsigned char digest[DIGEST_BYTES], bool hex, char room[72]) {
    struct buf out = {.data = room, .cap = 72, .max = 72};
    struct str bytes = str_of((const char *)digest, DIGEST_BYTES);
    if (hex)
        base16_write(&out, bytes);
    else
        base64_write(&out, bytes);
    return buf_str(&out);
}

/* Hex digits in lower case, so that senders may write either. */
static struct str hex_lower(struct str s, char room[72]) {
    if (s.len > 64)
        return s;
    for (size_t i = 0; i < s.len; i++)
        room[i] = s.ptr[i] >= 'A' && s.ptr[i] <= 'F' ? (char)(s.ptr[i] + 32) : s.ptr[i];
    return str_of(room, s.len);
}

/* The key's bytes. Standard Webhooks: base 64 behind "whsec_". */
static struct str secret_bytes(enum signature_scheme scheme, struct str secret,
                               struct arena *arena) {
    if (scheme != SIGNATURE_STANDARD_WEBHOOKS)
        return secret;
    if (str_starts(secret, STR("whsec_")))
        secret = str_of(secret.ptr + 6, secret.len - 6);
    return base64_read(arena, secret);
}

/* Whether any secret gives any of the signatures. All are tried, whatever fits. */
static enum err compare(const struct connector_signature *signature, const struct str *parts,
                        size_t part_count, const struct str *given, size_t given_count,
                        struct fault *fault) {
    bool hex = is_hex((enum signature_scheme)signature->scheme), fits = false;
    struct arena arena;
    arena_init(&arena, 16 * SECRET_BYTES_MAX);
    for (uint32_t i = 0; i < signature->secret_count; i++) {
        struct str key = secret_bytes((enum signature_scheme)signature->scheme,
                                      signature->secrets[i], &arena);
        unsigned char digest[DIGEST_BYTES];
        if (!key.ptr)
            continue;
        if (!hmac(key, parts, part_count, digest)) {
            arena_free(&arena);
            return broken(fault);
        }
        char room[72], lower[72];
        struct str right = digest_text(digest, hex, room);
        for (size_t k = 0; k < given_count; k++)
            fits |= str_eq_secret(hex ? hex_lower(given[k], lower) : given[k], right);
    }
    arena_free(&arena);
    return fits ? OK : refuse(fault, "the signature does not fit the body");
}

static struct str header_of(const struct receive_header_source *headers, struct str name) {
    return str_trim(headers->header(headers->ctx, name));
}

static enum err check_time(const struct connector_signature *signature, int64_t seconds,
                           int64_t now_us, struct fault *fault) {
    int64_t tolerance = signature->tolerance_s > 0 ? signature->tolerance_s : TOLERANCE_DEFAULT_S;
    int64_t now = now_us / 1000000;
    if (seconds < 0 || seconds > now + tolerance || seconds < now - tolerance)
        return refuse(fault, "the signature's time is too far from now");
    return OK;
}

static enum err verify_plain(const struct connector_signature *signature,
                             const struct receive_header_source *headers, struct str body,
                             struct fault *fault) {
    struct str given = header_of(headers, signature->header);
    if (!given.ptr || given.len == 0)
        return fault_set(fault, ERR_UNAUTHENTICATED, "the header %.*s is missing",
                         STR_FMT(signature->header));
    if (signature->prefix.len > 0) {
        if (!str_starts(given, signature->prefix))
            return refuse(fault, "the signature does not have its prefix");
        given = str_of(given.ptr + signature->prefix.len, given.len - signature->prefix.len);
    }
    return compare(signature, &body, 1, &given, 1, fault);
}

/* "t=1492774577,v1=5257…,v1=…,v0=…": unknown schemes are passed over. */
static enum err verify_stripe(const struct connector_signature *signature,
                              const struct receive_header_source *headers, struct str body,
                              int64_t now_us, struct fault *fault) {
    struct str name = signature->header.len ? signature->header : STR("Stripe-Signature");
    struct str rest = header_of(headers, name), time = STR_NONE;
    struct str given[HEADER_SIGNATURES_MAX];
    size_t count = 0;
    if (!rest.ptr)
        return fault_set(fault, ERR_UNAUTHENTICATED, "the header %.*s is missing", STR_FMT(name));
    while (rest.ptr) {
        struct str value = str_trim(str_cut(&rest, ','));
        struct str key = str_cut(&value, '=');
        if (str_is(key, "t"))
            time = value;
        else if (str_is(key, "v1") && value.ptr && count < HEADER_SIGNATURES_MAX)
            given[count++] = value;
    }
    int64_t seconds;
    if (!time.ptr || !str_i64(time, &seconds) || count == 0)
        return refuse(fault, "the signature header has no time (t=) or no signature (v1=)");
    enum err err = check_time(signature, seconds, now_us, fault);
    struct str parts[] = {time, STR("."), body};
    return err ? err : compare(signature, parts, 3, given, count, fault);
}

static enum err verify_standard(const struct connector_signature *signature,
                                const struct receive_header_source *headers, struct str body,
                                int64_t now_us, struct fault *fault) {
    struct str id = header_of(headers, STR("webhook-id"));
    struct str time = header_of(headers, STR("webhook-timestamp"));
    struct str rest = header_of(headers, signature->header.len ? signature->header
                                                               : STR("webhook-signature"));
    struct str given[HEADER_SIGNATURES_MAX];
    size_t count = 0;
    int64_t seconds;
    if (!id.ptr || !time.ptr || !rest.ptr)
        return refuse(fault, "webhook-id, webhook-timestamp or webhook-signature is missing");
    if (!str_i64(time, &seconds))
        return refuse(fault, "webhook-timestamp is no number of seconds");
    enum err err = check_time(signature, seconds, now_us, fault);
    if (err)
        return err;
    while (rest.ptr && count < HEADER_SIGNATURES_MAX) {
        struct str value = str_cut(&rest, ' ');
        struct str version = str_cut(&value, ',');
        if (str_is(version, "v1") && value.ptr)
            given[count++] = value;
    }
    if (count == 0)
        return refuse(fault, "webhook-signature has no signature of version v1");
    struct str parts[] = {id, STR("."), time, STR("."), body};
    return compare(signature, parts, 5, given, count, fault);
}

enum err signature_verify(const struct connector_signature *signature,
                          const struct receive_header_source *headers, struct str body,
                          int64_t now_us, struct fault *fault) {
    if (signature->scheme == SIGNATURE_NONE)
        return OK;
    if (signature->secret_count == 0)
        return refuse(fault, "no secret is set for this webhook; see `penstock check`");
    switch ((enum signature_scheme)signature->scheme) {
    case SIGNATURE_STRIPE: return verify_stripe(signature, headers, body, now_us, fault);
    case SIGNATURE_STANDARD_WEBHOOKS:
        return verify_standard(signature, headers, body, now_us, fault);
    default: return verify_plain(signature, headers, body, fault);
    }
}

enum err signature_write(enum signature_scheme scheme, struct str secret, struct str id,
                         int64_t seconds, struct str body, struct buf *out, struct fault *fault) {
    struct arena arena;
    arena_init(&arena, 16 * SECRET_BYTES_MAX);
    char number[24], room[72];
    struct str time = str_of(number, (size_t)snprintf(number, sizeof number, "%lld", (long long)seconds));
    struct str parts[] = {id, STR("."), time, STR("."), body};
    size_t from = scheme == SIGNATURE_STANDARD_WEBHOOKS ? 0 : scheme == SIGNATURE_STRIPE ? 2 : 4;
    unsigned char digest[DIGEST_BYTES];
    struct str key = secret_bytes(scheme, secret, &arena);
    bool good = key.ptr && hmac(key, parts + from, 5 - from, digest);
    arena_free(&arena);
    if (!good)
        return broken(fault);
    if (scheme == SIGNATURE_STRIPE)
        buf_printf(out, "t=%lld,v1=", (long long)seconds);
    else if (scheme == SIGNATURE_STANDARD_WEBHOOKS)
        buf_lit(out, "v1,");
    buf_str_add(out, digest_text(digest, is_hex(scheme), room));
    return buf_ok(out) ? OK : fault_set(fault, ERR_NOMEM, "no memory for a signature");
}
