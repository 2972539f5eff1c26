/* signature: the schemes, and the headers of those that sign a body. Digests are
 * signature_mac.c's. */
#include <stdio.h>

#include "base/clock.h"
#include "connect/signature_priv.h"

#define TOLERANCE_DEFAULT_S 300
/* A header names at most so many signatures (rotation at the sender). */
#define HEADER_SIGNATURES_MAX 16

const char *const signature_schemes[] = {
#define SIGNATURE(symbol, name, verify, key, digest, header, dedup_header, dedup_member, help) name,
#include "connect/signatures.def"
#undef SIGNATURE
    NULL,
};

static struct str header_of(const struct signature_message *message, struct str name) {
    return str_trim(message->headers->header(message->headers->ctx, name));
}

/* The header that has the signature, and its name. */
static struct str signature_header(const struct connector_signature *signature,
                                   const struct signature_message *message, struct str *name) {
    *name = signature->header.len ? signature->header : str_c(scheme_of(signature)->header);
    struct str value = header_of(message, *name);
    return value.len ? value : STR_NONE;
}

static enum err refuse_missing(struct fault *fault, struct str name) {
    return fault_set(fault, ERR_UNAUTHENTICATED, "the header %.*s is missing", STR_FMT(name));
}

static enum err check_time(const struct connector_signature *signature, int64_t seconds,
                           int64_t now_us, struct fault *fault) {
    int64_t tolerance = signature->tolerance_s > 0 ? signature->tolerance_s : TOLERANCE_DEFAULT_S;
    int64_t now = now_us / 1000000;
    if (seconds < 0 || seconds > now + tolerance || seconds < now - tolerance)
        return signature_refuse(fault, "the signature's time is too far from now");
    return OK;
}

/* --- one function per kind of scheme ----------------------------------------------------- */

static enum err verify_none(const struct connector_signature *signature,
                            const struct signature_message *message, struct fault *fault) {
    (void)signature;
    (void)message;
    (void)fault;
    return OK;
}

/* The signature is the header's value, over these parts. */
static enum err verify_parts(const struct connector_signature *signature,
                             const struct signature_message *message, const struct str *parts,
                             size_t count, struct fault *fault) {
    struct str name, given = signature_header(signature, message, &name);
    if (!given.ptr)
        return refuse_missing(fault, name);
    if (signature->prefix.len > 0) {
        if (!str_starts(given, signature->prefix))
            return signature_refuse(fault, "the signature does not have its prefix");
        given = str_of(given.ptr + signature->prefix.len, given.len - signature->prefix.len);
    }
    return signatures_compare(signature, parts, count, &given, 1, fault);
}

static enum err verify_body(const struct connector_signature *signature,
                            const struct signature_message *message, struct fault *fault) {
    return verify_parts(signature, message, &message->body, 1, fault);
}

/* Over the address that the message was sent to, as Square knows it, and the body. */
static enum err verify_square(const struct connector_signature *signature,
                              const struct signature_message *message, struct fault *fault) {
    struct str parts[] = {signature->url, message->body};
    if (!signature->url.len)
        return signature_refuse(fault, "no notification url is set for this webhook; see "
                                       "`penstock check`");
    return verify_parts(signature, message, parts, 2, fault);
}

/* "t=1492774577,v1=5257…,v1=…,v0=…": unknown schemes are passed over. */
static enum err verify_stripe(const struct connector_signature *signature,
                              const struct signature_message *message, struct fault *fault) {
    struct str name, rest = signature_header(signature, message, &name), time = STR_NONE;
    struct str given[HEADER_SIGNATURES_MAX];
    size_t count = 0;
    if (!rest.ptr)
        return refuse_missing(fault, name);
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
        return signature_refuse(fault,
                                "the signature header has no time (t=) or no signature (v1=)");
    enum err err = check_time(signature, seconds, message->now_us, fault);
    struct str parts[] = {time, STR("."), message->body};
    return err ? err : signatures_compare(signature, parts, 3, given, count, fault);
}

/* "v1,BASE64 v1a,BASE64 …": those of a version, at most HEADER_SIGNATURES_MAX. */
static size_t standard_given(struct str rest, const char *version, struct str *given) {
    size_t count = 0;
    while (rest.ptr && count < HEADER_SIGNATURES_MAX) {
        struct str value = str_cut(&rest, ' ');
        struct str its = str_cut(&value, ',');
        if (str_is(its, version) && value.ptr)
            given[count++] = value;
    }
    return count;
}

static enum err verify_standard(const struct connector_signature *signature,
                                const struct signature_message *message, struct fault *fault) {
    struct str id = header_of(message, STR("webhook-id"));
    struct str time = header_of(message, STR("webhook-timestamp"));
    struct str name, header = signature_header(signature, message, &name);
    struct str given[HEADER_SIGNATURES_MAX], signed_public[HEADER_SIGNATURES_MAX];
    int64_t seconds;
    if (!id.len || !time.len || !header.ptr)
        return signature_refuse(fault,
                                "webhook-id, webhook-timestamp or webhook-signature is missing");
    if (!str_i64(time, &seconds))
        return signature_refuse(fault, "webhook-timestamp is no number of seconds");
    enum err err = check_time(signature, seconds, message->now_us, fault);
    if (err)
        return err;
    size_t count = standard_given(header, "v1", given);
    size_t public_count = standard_given(header, "v1a", signed_public);
    if (count + public_count == 0)
        return signature_refuse(fault, "webhook-signature has no signature of version v1 or v1a");
    struct str parts[] = {id, STR("."), time, STR("."), message->body};
    err = signatures_compare(signature, parts, 5, given, count, fault);
    if (err == ERR_UNAUTHENTICATED && public_count > 0)
        err = signatures_compare_public(signature, parts, 5, signed_public, public_count, fault);
    return err;
}

/* --- the table --------------------------------------------------------------------------- */

static const struct scheme schemes[] = {
#define SIGNATURE(symbol, name, verify, key, digest, header, dedup_header, dedup_member, help)     \
    [symbol] = {name, verify, key, digest, header, dedup_header, dedup_member},
#include "connect/signatures.def"
#undef SIGNATURE
};

const struct scheme *scheme_of(const struct connector_signature *signature) {
    return &schemes[signature->scheme];
}

enum err signature_verify(const struct connector_signature *signature,
                          const struct signature_message *message, struct fault *fault) {
    if (signature->scheme != SIGNATURE_NONE && signature->secret_count == 0)
        return signature_refuse(fault, "no secret is set for this webhook; see `penstock check`");
    return scheme_of(signature)->verify(signature, message, fault);
}

bool signature_needs_header(enum signature_scheme scheme) {
    return schemes[scheme].verify == verify_body && !schemes[scheme].header;
}

struct connector_place signature_dedup(enum signature_scheme scheme) {
    return (struct connector_place){.header = str_c(schemes[scheme].dedup_header),
                                    .member = str_c(schemes[scheme].dedup_member)};
}

const char *signature_secret_wrong(enum signature_scheme scheme, struct str secret) {
    enum key_form form = schemes[scheme].key;
    struct arena arena;
    arena_init(&arena, 16 * SECRET_BYTES_MAX);
    if (secret.len > SECRET_BYTES_MAX)
        return "is longer than 1024 bytes";
    bool public = form == KEY_WHSEC && str_starts(secret, PUBLIC_KEY_PREFIX);
    if (public)
        secret = str_of(secret.ptr + PUBLIC_KEY_PREFIX.len, secret.len - PUBLIC_KEY_PREFIX.len);
    struct str key = key_bytes(form, secret, &arena);
    bool good = key.ptr && (!public || key.len == 32);
    arena_free(&arena);
    if (good)
        return NULL;
    return form == KEY_HEX ? "is no key in hexadecimal digits"
                           : "is no base64 (behind whsec_, or whpk_ for an Ed25519 key of 32 bytes)";
}

enum err signature_write(enum signature_scheme scheme, struct str secret, struct str id,
                         int64_t seconds, struct str body, struct buf *out, struct fault *fault) {
    struct arena arena;
    arena_init(&arena, 16 * SECRET_BYTES_MAX);
    char number[24], room[DIGEST_ROOM];
    int len = snprintf(number, sizeof number, "%lld", (long long)seconds);
    struct str parts[] = {id, STR("."), str_of(number, (size_t)len), STR("."), body};
    size_t from = scheme == SIGNATURE_STANDARD_WEBHOOKS ? 0 : scheme == SIGNATURE_STRIPE ? 2 : 4;
    struct str key = key_bytes(schemes[scheme].key, secret, &arena), digest = STR_NONE;
    if (key.ptr)
        digest = digest_text(schemes[scheme].digest, key, parts + from, 5 - from, room);
    arena_free(&arena);
    if (!digest.ptr)
        return signature_broken(fault);
    if (scheme == SIGNATURE_STRIPE)
        buf_printf(out, "t=%lld,v1=", (long long)seconds);
    else if (scheme == SIGNATURE_STANDARD_WEBHOOKS)
        buf_lit(out, "v1,");
    buf_str_add(out, digest);
    return buf_ok(out) ? OK : fault_set(fault, ERR_NOMEM, "no memory for a signature");
}
