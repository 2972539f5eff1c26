/* jwk: key sets; see jwt.h. Owns the OpenSSL form of each key, made once when a set is read, so
 * that verifying a token parses no key. */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <stdatomic.h>

#include "base/encode.h"
#include "base/mem.h"
#include "gateway/jwt_priv.h"

#define EC_COORDINATE 32 /* bytes, of P-256 (RFC 7518 section 6.2.1.2) */

struct jwk_set *jwk_set_ref(struct jwk_set *set) {
    if (set)
        atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    return set;
}

void jwk_set_unref(struct jwk_set *set) {
    if (!set || atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < set->count; i++)
        EVP_PKEY_free(set->keys[i].key);
    arena_free(&set->arena);
    mem_free(set);
}

uint32_t jwk_set_count(const struct jwk_set *set) { return set->count; }

bool jwk_set_has(const struct jwk_set *set, struct str kid) {
    for (uint32_t i = 0; i < set->count; i++)
        if (kid.ptr && set->keys[i].kid.ptr && str_eq(set->keys[i].kid, kid))
            return true;
    return false;
}

/* --- one key -------------------------------------------------------------------------------- */

static EVP_PKEY *key_of(const char *kind, OSSL_PARAM_BLD *build) {
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, kind, NULL), *check = NULL;
    EVP_PKEY *key = NULL;

    if (params && ctx && EVP_PKEY_fromdata_init(ctx) == 1 &&
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) == 1)
        check = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    if (!check || EVP_PKEY_public_check(check) != 1) { /* on the curve; an RSA modulus that is one */
        EVP_PKEY_free(key);
        key = NULL;
    }
    EVP_PKEY_CTX_free(check);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return key;
}

static EVP_PKEY *ec_key(struct arena *arena, const struct json *jwk) {
    struct str x = base64url_read(arena, json_member_str(jwk, STR("x")));
    struct str y = base64url_read(arena, json_member_str(jwk, STR("y")));
    unsigned char point[1 + 2 * EC_COORDINATE] = {4}; /* uncompressed, SEC 1 section 2.3.3 */
    OSSL_PARAM_BLD *build;
    EVP_PKEY *key = NULL;

    if (!str_is(json_member_str(jwk, STR("crv")), "P-256") || x.len != EC_COORDINATE ||
        y.len != EC_COORDINATE)
        return NULL;
    memcpy(point + 1, x.ptr, EC_COORDINATE);
    memcpy(point + 1 + EC_COORDINATE, y.ptr, EC_COORDINATE);
    build = OSSL_PARAM_BLD_new();
    if (build &&
        OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point) == 1)
        key = key_of("EC", build);
    OSSL_PARAM_BLD_free(build);
    return key;
}

static EVP_PKEY *rsa_key(struct arena *arena, const struct json *jwk) {
    struct str n = base64url_read(arena, json_member_str(jwk, STR("n")));
    struct str e = base64url_read(arena, json_member_str(jwk, STR("e")));
    BIGNUM *modulus = NULL, *exponent = NULL;
    OSSL_PARAM_BLD *build = NULL;
    EVP_PKEY *key = NULL;

    if (n.len < JWK_RSA_BITS_MIN / 8 || n.len > JWK_RSA_BITS_MAX / 8 || e.len < 1 || e.len > 4)
        return NULL;
    modulus = BN_bin2bn((const unsigned char *)n.ptr, (int)n.len, NULL);
    exponent = BN_bin2bn((const unsigned char *)e.ptr, (int)e.len, NULL);
    if (modulus && exponent && BN_num_bits(modulus) >= JWK_RSA_BITS_MIN && BN_is_odd(modulus) &&
        BN_is_odd(exponent) && !BN_is_one(exponent))
        build = OSSL_PARAM_BLD_new();
    if (build && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exponent) == 1)
        key = key_of("RSA", build);
    OSSL_PARAM_BLD_free(build);
    BN_free(modulus);
    BN_free(exponent);
    return key;
}

static bool ops_verify(const struct json *jwk) {
    const struct json *ops = json_member(jwk, STR("key_ops"));

    if (!ops)
        return true;
    const struct json *op = json_first(ops);
    for (uint32_t i = 0; ops->kind == JSON_ARRAY && i < ops->count; i++, op = json_next(op))
        if (op->kind == JSON_STRING && str_is(op->text, "verify"))
            return true;
    return false;
}

/* The algorithms that a key is for, by its kind and, where it says so, by its alg. */
static unsigned key_algs(const struct json *jwk) {
    struct str kind = json_member_str(jwk, STR("kty"));
    const struct json *alg = json_member(jwk, STR("alg")), *use = json_member(jwk, STR("use"));
    unsigned algs = str_is(kind, "EC")    ? JWT_MASK(JWT_ES256)
                    : str_is(kind, "RSA") ? JWT_MASK(JWT_RS256) | JWT_MASK(JWT_PS256)
                                          : 0;

    if ((use && !(use->kind == JSON_STRING && str_is(use->text, "sig"))) || !ops_verify(jwk) ||
        json_member(jwk, STR("d")))
        return 0;
    for (int i = 0; alg && i < JWT_ALGS; i++)
        if (alg->kind != JSON_STRING || !str_is(alg->text, jwt_alg_names[i]))
            algs &= ~JWT_MASK(i);
    return algs;
}

static enum err key_add(struct jwk_set *set, const struct json *jwk, unsigned algs,
                        struct fault *fault) {
    const struct json *kid = json_member(jwk, STR("kid"));
    struct jwk *key = &set->keys[set->count];
    struct arena scratch;

    algs &= key_algs(jwk);
    if (algs == 0 || json_has_twins(jwk) ||
        (kid && (kid->kind != JSON_STRING || kid->text.len > JWT_KID_MAX)))
        return OK; /* not one for us */
    uint64_t refused = mem_refused();
    arena_init(&scratch, 0); /* less than the document is */
    *key = (struct jwk){.algs = algs};
    key->key = algs & JWT_MASK(JWT_ES256) ? ec_key(&scratch, jwk) : rsa_key(&scratch, jwk);
    arena_free(&scratch);
    if (!key->key) /* a set that lacks a key for want of memory would turn its bearers away */
        return mem_refused() == refused ? OK : fault_set(fault, ERR_NOMEM, "no memory for a key set");
    set->count++; /* from here on the set frees it */
    if (kid) {
        key->kid = arena_str(&set->arena, kid->text);
        if (!key->kid.ptr)
            return fault_set(fault, ERR_NOMEM, "no memory for a key set");
    }
    return OK;
}

/* --- a set ---------------------------------------------------------------------------------- */

static enum err keys_add(struct jwk_set *set, const struct json *root, unsigned algs,
                         struct fault *fault) {
    const struct json *keys = root->kind == JSON_OBJECT ? json_member(root, STR("keys")) : NULL;
    enum err err = OK;

    if (!keys || keys->kind != JSON_ARRAY)
        return fault_set(fault, ERR_INVALID, "a key set is {\"keys\":[…]} (RFC 7517)");
    if (keys->count > JWK_SET_KEYS_MAX)
        return fault_set(fault, ERR_TOO_LARGE, "a key set has at most %d keys", JWK_SET_KEYS_MAX);
    const struct json *key = json_first(keys);
    for (uint32_t i = 0; i < keys->count && err == OK; i++, key = json_next(key))
        if (key->kind == JSON_OBJECT)
            err = key_add(set, key, algs, fault);
    if (err == OK && set->count == 0)
        return fault_set(fault, ERR_INVALID,
                         "the key set holds no public key to verify with (RSA of %d bits and more, "
                         "or EC P-256)", JWK_RSA_BITS_MIN);
    return err;
}

enum err jwk_set_parse(struct json_parser *parser, struct str text, unsigned algs,
                       struct jwk_set **out, struct fault *fault) {
    struct jwk_set *set;
    const struct json *root;
    struct arena arena;
    enum err err;

    *out = NULL;
    if (text.len > JWK_SET_BYTES_MAX)
        return fault_set(fault, ERR_TOO_LARGE, "a key set has at most %d bytes", JWK_SET_BYTES_MAX);
    set = mem_zalloc(sizeof *set);
    if (!set)
        return fault_set(fault, ERR_NOMEM, "no memory for a key set");
    atomic_init(&set->refs, 1);
    arena_init(&set->arena, 1 << 20);
    arena_init(&arena, 16 << 20);
    err = json_parse(parser, &arena, text, false, &root, fault);
    if (err == OK)
        err = keys_add(set, root, algs, fault);
    arena_free(&arena);
    if (err != OK) {
        jwk_set_unref(set);
        return err;
    }
    *out = set;
    return OK;
}
