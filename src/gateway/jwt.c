/* jwt: reading and verifying tokens; see jwt.h. The key sets are in jwk.c. */
#include "gateway/jwt.h"

#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "base/encode.h"
#include "gateway/jwt_priv.h"

#define ES256_BYTES 64               /* r and s, RFC 7518 section 3.4 */
#define NUMERIC_DATE_MAX 253402300799 /* 9999-12-31T23:59:59Z */

const char *const jwt_alg_names[] = {"RS256", "PS256", "ES256", NULL};

static enum err bad(struct fault *fault, const char *why) {
    return fault_set(fault, ERR_UNAUTHENTICATED, "the token %s", why);
}

/* --- reading -------------------------------------------------------------------------------- */

bool jwt_looks_like(struct str text) {
    const char *first = text.len > 0 ? memchr(text.ptr, '.', text.len) : NULL;

    return first && memchr(first + 1, '.', text.len - (size_t)(first + 1 - text.ptr));
}

bool json_has_twins(const struct json *object) {
    const struct json *names[JWT_MEMBERS_MAX], *name = json_first(object);

    if (object->count > JWT_MEMBERS_MAX)
        return true;
    for (uint32_t i = 0; i < object->count; i++, name = json_next(name + 1)) {
        names[i] = name;
        for (uint32_t k = 0; k < i; k++)
            if (str_eq(names[k]->text, name->text))
                return true;
    }
    return false;
}

/* base64url(JSON object) without twins. */
static enum err part_read(struct json_parser *parser, struct arena *arena, struct str part,
                          const char *why, const struct json **out, struct fault *fault) {
    struct str text = base64url_read(arena, part);
    struct fault inner = {0};
    enum err err;

    if (!text.ptr || text.len == 0)
        return bad(fault, why);
    err = json_parse(parser, arena, text, false, out, &inner);
    if (err == ERR_NOMEM)
        return fault_set(fault, err, "no memory for a token");
    if (err != OK || (*out)->kind != JSON_OBJECT)
        return bad(fault, why);
    return json_has_twins(*out) ? bad(fault, "has a member twice, or too many") : OK;
}

/* A text member that may be missing; false where it is something else. */
static bool text_member(const struct json *object, struct str name, struct str *out) {
    const struct json *value = json_member(object, name);

    *out = value && value->kind == JSON_STRING ? value->text : STR_NONE;
    return !value || value->kind == JSON_STRING;
}

static enum err header_read(struct jwt *jwt, struct fault *fault) {
    struct str alg, cty;
    int i = 0;

    if (json_member(jwt->header, STR("crit")))
        return bad(fault, "has a critical extension, and none is known here");
    if (!text_member(jwt->header, STR("alg"), &alg) ||
        !text_member(jwt->header, STR("kid"), &jwt->kid) ||
        !text_member(jwt->header, STR("typ"), &jwt->typ) ||
        !text_member(jwt->header, STR("cty"), &cty) || jwt->kid.len > JWT_KID_MAX)
        return bad(fault, "has a header member of the wrong kind");
    while (jwt_alg_names[i] && !(alg.ptr && str_is(alg, jwt_alg_names[i])))
        i++;
    if (!jwt_alg_names[i])
        return bad(fault, "is not signed by RS256, PS256 or ES256");
    if (cty.ptr || json_member(jwt->header, STR("zip")))
        return bad(fault, "holds something else than claims");
    jwt->alg = (enum jwt_alg)i;
    return OK;
}

enum err jwt_parse(struct json_parser *parser, struct arena *arena, struct str text,
                   struct jwt *out, struct fault *fault) {
    struct str rest = text, header, claims;
    enum err err;

    *out = (struct jwt){0};
    if (text.len > JWT_BYTES_MAX)
        return fault_set(fault, ERR_UNAUTHENTICATED, "the token is longer than %d bytes",
                         JWT_BYTES_MAX);
    if (!text.ptr)
        return bad(fault, "is missing");
    header = str_cut(&rest, '.');
    claims = rest.ptr ? str_cut(&rest, '.') : STR_NONE;
    if (!claims.ptr || !rest.ptr || memchr(rest.ptr, '.', rest.len))
        return bad(fault, "is no signed JWT: three parts with two dots");
    out->signed_part = str_of(text.ptr, header.len + 1 + claims.len);
    err = part_read(parser, arena, header, "has a header that is no JSON object in base64url",
                    &out->header, fault);
    if (err == OK)
        err = header_read(out, fault);
    if (err == OK)
        err = part_read(parser, arena, claims, "has claims that are no JSON object in base64url",
                        &out->claims, fault);
    if (err != OK)
        return err;
    out->signature = base64url_read(arena, rest);
    if (!out->signature.ptr || out->signature.len == 0)
        return bad(fault, "has no signature in base64url");
    return text_member(out->claims, STR("iss"), &out->issuer) &&
                   text_member(out->claims, STR("sub"), &out->subject)
               ? OK
               : bad(fault, "has a claim iss or sub that is no text");
}

/* --- the signature -------------------------------------------------------------------------- */

/* r and s side by side to the DER that OpenSSL takes; 0 where it is not that. */
static int es256_der(struct str raw, unsigned char **der) {
    const unsigned char *at = (const unsigned char *)raw.ptr;
    ECDSA_SIG *pair = raw.len == ES256_BYTES ? ECDSA_SIG_new() : NULL;
    BIGNUM *r, *s;
    int len = 0;

    *der = NULL;
    if (!pair)
        return 0;
    r = BN_bin2bn(at, ES256_BYTES / 2, NULL);
    s = BN_bin2bn(at + ES256_BYTES / 2, ES256_BYTES / 2, NULL);
    if (r && s && !BN_is_zero(r) && !BN_is_zero(s) && ECDSA_SIG_set0(pair, r, s) == 1) {
        len = i2d_ECDSA_SIG(pair, der);
    } else {
        BN_free(r);
        BN_free(s);
    }
    ECDSA_SIG_free(pair);
    return len > 0 ? len : 0;
}

static bool padding_set(EVP_PKEY_CTX *ctx, enum jwt_alg alg) {
    if (alg == JWT_RS256)
        return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1;
    return alg == JWT_ES256 || /* PSS with a salt as long as the hash: RFC 7518 section 3.5 */
           (EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
            EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1);
}

static bool key_made(const struct jwk *key, const struct jwt *jwt) {
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_PKEY_CTX *ctx = NULL;
    struct str signature = jwt->signature;
    unsigned char *der = NULL;
    bool good = md && EVP_DigestVerifyInit(md, &ctx, EVP_sha256(), NULL, key->key) == 1 &&
                padding_set(ctx, jwt->alg);

    if (good && jwt->alg == JWT_ES256) {
        signature.len = (size_t)es256_der(jwt->signature, &der);
        signature.ptr = (const char *)der;
    }
    good = good && signature.len > 0 &&
           EVP_DigestVerify(md, (const unsigned char *)signature.ptr, signature.len,
                            (const unsigned char *)jwt->signed_part.ptr,
                            jwt->signed_part.len) == 1;
    OPENSSL_free(der);
    EVP_MD_CTX_free(md);
    return good;
}

enum err jwt_verify(const struct jwt *jwt, const struct jwk_set *keys, struct fault *fault) {
    const struct jwk *found = NULL;
    uint32_t matching = 0;

    for (uint32_t i = 0; i < keys->count; i++) {
        const struct jwk *key = &keys->keys[i];

        if (!(key->algs & JWT_MASK(jwt->alg)) ||
            (jwt->kid.ptr && !(key->kid.ptr && str_eq(key->kid, jwt->kid))))
            continue;
        matching++;
        found = key;
    }
    if (matching == 0)
        return fault_set(fault, ERR_NOT_FOUND, "the issuer has no %s key of this kid",
                         jwt_alg_names[jwt->alg]);
    if (matching > 1)
        return bad(fault, jwt->kid.ptr ? "names a kid that several keys have"
                                       : "names no kid, and the issuer has several keys");
    return key_made(found, jwt) ? OK : bad(fault, "has a signature that is not its issuer's");
}

/* --- the claims ----------------------------------------------------------------------------- */

bool jwt_seconds(const struct json *value, int64_t *out) {
    struct str text = value->text;
    const char *dot;

    if (value->kind != JSON_NUMBER)
        return false;
    dot = memchr(text.ptr, '.', text.len);
    if (dot) { /* JSON has digits behind it; an exponent is no date that anybody writes */
        for (const char *c = dot + 1; c < text.ptr + text.len; c++)
            if (*c < '0' || *c > '9')
                return false;
        text.len = (size_t)(dot - text.ptr);
    }
    return str_i64(text, out) && *out >= 0 && *out <= NUMERIC_DATE_MAX;
}

const struct json *jwt_claim(const struct jwt *jwt, struct str claim) {
    const struct json *at = jwt->claims;
    struct str rest = claim;

    if (claim.len == 0 || claim.ptr[0] != '/')
        return json_member(jwt->claims, claim);
    (void)str_cut(&rest, '/');
    while (rest.ptr && at) {
        struct str part = str_cut(&rest, '/');
        char name[256];
        size_t len = 0;

        if (at->kind != JSON_OBJECT || part.len > sizeof name)
            return NULL;
        for (size_t i = 0; i < part.len; i++) { /* ~1 is a slash, ~0 a tilde */
            bool escaped = part.ptr[i] == '~' && i + 1 < part.len;

            name[len++] = escaped ? (part.ptr[++i] == '1' ? '/' : '~') : part.ptr[i];
        }
        at = json_member(at, str_of(name, len));
    }
    return at;
}

static bool type_fits(struct str typ, enum jwt_type type) {
    static const struct str application = {"application/", 12};
    bool access;

    if (typ.len > application.len && str_eq_nocase(str_of(typ.ptr, application.len), application))
        typ = str_of(typ.ptr + application.len, typ.len - application.len); /* RFC 7515, 4.1.9 */
    access = typ.ptr && str_eq_nocase(typ, STR("at+jwt"));
    if (type == JWT_ACCESS_STRICT || access)
        return access && type != JWT_ID;
    return !typ.ptr || str_eq_nocase(typ, STR("JWT"));
}

static bool audience_fits(const struct json *aud, const struct jwt_rules *rules) {
    const struct json *one = aud;
    uint32_t count = 1;

    if (!aud)
        return false;
    if (aud->kind == JSON_ARRAY) {
        count = aud->count;
        one = json_first(aud);
    }
    for (uint32_t i = 0; i < count; i++, one = json_next(one))
        for (uint32_t k = 0; one->kind == JSON_STRING && k < rules->audience_count; k++)
            if (str_eq(one->text, rules->audiences[k]))
                return true;
    return false;
}

/* exp, nbf and iat against the clock, all in seconds. */
static enum err times_check(const struct jwt *jwt, int64_t leeway_s, int64_t now_s,
                            int64_t *expires_us, struct fault *fault) {
    const struct json *exp = json_member(jwt->claims, STR("exp"));
    const struct json *nbf = json_member(jwt->claims, STR("nbf"));
    const struct json *iat = json_member(jwt->claims, STR("iat"));
    int64_t exp_s, nbf_s = 0, iat_s = 0;

    if (!exp || !jwt_seconds(exp, &exp_s))
        return bad(fault, "has no claim exp that is a time");
    if ((nbf && !jwt_seconds(nbf, &nbf_s)) || (iat && !jwt_seconds(iat, &iat_s)))
        return bad(fault, "has a claim nbf or iat that is no time");
    if (now_s >= exp_s + leeway_s)
        return bad(fault, "has expired");
    if (now_s + leeway_s < nbf_s)
        return bad(fault, "is not valid yet");
    if (now_s + leeway_s < iat_s || iat_s > exp_s)
        return bad(fault, "was issued in the future, or after its own end");
    *expires_us = (exp_s + leeway_s) * 1000000;
    return OK;
}

enum err jwt_check(const struct jwt *jwt, const struct jwt_rules *rules, int64_t now_us,
                   int64_t *expires_us, struct fault *fault) {
    if (!type_fits(jwt->typ, rules->type))
        return bad(fault, "is of another type (typ) than is taken here");
    if (!jwt->issuer.ptr || !str_eq(jwt->issuer, rules->issuer))
        return bad(fault, "is of another issuer");
    if (!audience_fits(json_member(jwt->claims, STR("aud")), rules))
        return bad(fault, "is for another audience");
    if (!jwt->subject.ptr || jwt->subject.len == 0)
        return bad(fault, "names no subject (sub)");
    return times_check(jwt, rules->leeway_s, now_us / 1000000, expires_us, fault);
}
