/* JSON Web Tokens: the examples of RFC 7515, tokens of our own in every algorithm, and the
 * ways in which they are forged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../support/jose.h"

#define NOW_S 1700000000
#define NOW_US (NOW_S * INT64_C(1000000))
#define CLAIMS "{\"iss\":\"https://idp\",\"sub\":\"shop\",\"aud\":\"hub\",\"exp\":1700000300,\"iat\":1700000000}"

static struct arena arena;
static struct json_parser *parser;
static EVP_PKEY *ec, *ec_other, *rsa, *rsa_small;
static struct jwk_set *keys;
static const struct str audiences[] = {{"other", 5}, {"hub", 3}};
static const struct jwt_rules rules = {.issuer = {"https://idp", 11}, .audiences = audiences,
                                       .audience_count = 2, .leeway_s = 30};

static struct jwk_set *set_of(struct str text, unsigned algs) {
    struct fault fault = {0};
    struct jwk_set *set;

    if (jwk_set_parse(parser, text, algs, &set, &fault) != OK)
        assert_null(set);
    return set;
}

static int start(void **state) {
    arena_init(&arena, 0);
    parser = json_parser_create();
    ec = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    ec_other = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    rsa_small = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024);
    keys = set_of(arena_printf(&arena, "{\"keys\":[%.*s,%.*s,%.*s]}",
                               STR_FMT(jose_jwk(&arena, ec, "e1", "")),
                               STR_FMT(jose_jwk(&arena, ec_other, "e2", "\"use\":\"sig\",")),
                               STR_FMT(jose_jwk(&arena, rsa, "r1", ""))), JWT_MASK_ALL);
    return keys ? 0 : -1;
}
static int stop(void **state) {
    jwk_set_unref(keys);
    EVP_PKEY_free(ec);
    EVP_PKEY_free(ec_other);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(rsa_small);
    json_parser_destroy(parser);
    arena_free(&arena);
    return 0;
}

/* All of it, as a caller goes about it. */
static enum err token_check(const struct jwk_set *set, struct str text) {
    struct fault fault = {0};
    struct jwt jwt;
    int64_t expires_us;
    enum err err = jwt_parse(parser, &arena, text, &jwt, &fault);

    if (err == OK)
        err = jwt_verify(&jwt, set, &fault);
    if (err == OK)
        err = jwt_check(&jwt, &rules, NOW_US, &expires_us, &fault);
    assert_true(err == OK || fault.detail[0] != '\0');
    return err;
}

static enum err claims_check(const char *claims) {
    return token_check(keys, jose_sign(&arena, ec, JWT_ES256,
                                       "{\"alg\":\"ES256\",\"kid\":\"e1\"}", claims));
}
static enum err header_check(const char *header) {
    return token_check(keys, jose_sign(&arena, ec, JWT_ES256, header, CLAIMS));
}

static const char rfc_payload[] = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
                                  "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

static void rfc_examples(void **state) {
    /* RFC 7515, appendices A.2 and A.3 */
    struct jwk_set *set = set_of(STR(
        "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddx"
        "HmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGz"
        "jb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3"
        "qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXp"
        "oQ\",\"e\":\"AQAB\"},{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9"
        "uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}"), JWT_MASK_ALL);
    static const char rs_signature[] =
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5"
        "jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L"
        "07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUi"
        "pUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    static const char es_signature[] = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSA"
                                       "pmWQxfKTUJqPP3-Kg6NU1Q";
    struct str tokens[] = {
        arena_printf(&arena, "eyJhbGciOiJSUzI1NiJ9.%s.%s", rfc_payload, rs_signature),
        arena_printf(&arena, "eyJhbGciOiJFUzI1NiJ9.%s.%s", rfc_payload, es_signature)};

    assert_int_equal(jwk_set_count(set), 2);
    for (int i = 0; i < 2; i++) {
        struct fault fault = {0};
        struct jwt jwt;
        struct str changed = arena_str(&arena, tokens[i]);

        assert_int_equal(jwt_parse(parser, &arena, tokens[i], &jwt, &fault), OK);
        assert_int_equal(jwt_verify(&jwt, set, &fault), OK);
        assert_true(str_is(jwt.issuer, "joe"));
        ((char *)(uintptr_t)changed.ptr)[changed.len - 20] ^= 1;
        assert_int_equal(jwt_parse(parser, &arena, changed, &jwt, &fault), OK);
        assert_int_equal(jwt_verify(&jwt, set, &fault), ERR_UNAUTHENTICATED);
    }
    /* RFC 7519, section 6.1: an unsecured JWT; appendix A.1 of RFC 7515: HMAC */
    assert_int_equal(token_check(set, arena_printf(&arena, "eyJhbGciOiJub25lIn0.%s.", rfc_payload)),
                     ERR_UNAUTHENTICATED);
    assert_int_equal(token_check(set, arena_printf(&arena, "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
                     ".%s.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", rfc_payload)),
                     ERR_UNAUTHENTICATED);
    jwk_set_unref(set);
}

static void each_algorithm_is_taken_with_its_key_alone(void **state) {
    static const char *const names[] = {"RS256", "PS256", "ES256"};
    EVP_PKEY *signers[] = {rsa, rsa, ec};
    const char *kids[] = {"r1", "r1", "e1"};

    for (int alg = 0; alg < JWT_ALGS; alg++)
        for (int named = 0; named < JWT_ALGS; named++) {
            struct str header = arena_printf(&arena, "{\"alg\":\"%s\",\"kid\":\"%s\"}", names[named],
                                             kids[alg]);
            struct str token = jose_sign(&arena, signers[alg], (enum jwt_alg)alg, header.ptr, CLAIMS);

            /* another algorithm than the key is for is a key that is not there */
            enum err expected = named == alg ? OK
                                : (named == JWT_ES256) != (alg == JWT_ES256) ? ERR_NOT_FOUND
                                                                             : ERR_UNAUTHENTICATED;
            assert_int_equal(token_check(keys, token), expected);
        }
}

static void algorithms_are_pinned(void **state) {
    struct str one = jose_jwk(&arena, rsa, "r1", "\"alg\":\"PS256\",");
    struct jwk_set *set = set_of(arena_printf(&arena, "{\"keys\":[%.*s]}", STR_FMT(one)),
                                 JWT_MASK_ALL);
    struct str rs = jose_sign(&arena, rsa, JWT_RS256, "{\"alg\":\"RS256\",\"kid\":\"r1\"}", CLAIMS);
    struct str ps = jose_sign(&arena, rsa, JWT_PS256, "{\"alg\":\"PS256\",\"kid\":\"r1\"}", CLAIMS);

    assert_int_equal(token_check(set, rs), ERR_NOT_FOUND);
    assert_int_equal(token_check(set, ps), OK);
    jwk_set_unref(set);
    one = jose_jwk(&arena, rsa, "r1", "");
    set = set_of(arena_printf(&arena, "{\"keys\":[%.*s]}", STR_FMT(one)), JWT_MASK(JWT_RS256));
    assert_int_equal(token_check(set, rs), OK);
    assert_int_equal(token_check(set, ps), ERR_NOT_FOUND);
    jwk_set_unref(set);
    assert_null(set_of(arena_printf(&arena, "{\"keys\":[%.*s]}", STR_FMT(one)),
                       JWT_MASK(JWT_ES256)));
}

static void keys_that_are_none(void **state) {
    struct str e = jose_jwk(&arena, ec, "x", "\"use\":\"enc\",");
    struct str d = jose_jwk(&arena, ec, "x", "\"d\":\"AAAA\",");
    struct str ops = jose_jwk(&arena, ec, "x", "\"key_ops\":[\"sign\"],");
    struct str small = jose_jwk(&arena, rsa_small, "x", "");
    struct str twice = jose_jwk(&arena, ec, "x", "\"kid\":\"y\",");
    struct str none[] = {
        e, d, ops, small, twice, STR("{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}"), STR("{}"), STR("7"),
        STR("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"AAAA\"}"),
        /* not on the curve */
        STR("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\","
            "\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\"}"),
        STR("{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"AAAA\",\"y\":\"AAAA\"}"),
        STR("{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}"),
    };

    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_null(set_of(arena_printf(&arena, "{\"keys\":[%.*s]}", STR_FMT(none[i])),
                           JWT_MASK_ALL));
    assert_null(set_of(STR("{\"keys\":{}}"), JWT_MASK_ALL));
    assert_null(set_of(STR("[]"), JWT_MASK_ALL));
    assert_null(set_of(STR(""), JWT_MASK_ALL));
    /* one good key among them is enough */
    struct jwk_set *set = set_of(arena_printf(&arena, "{\"keys\":[%.*s,%.*s]}", STR_FMT(small),
                                              STR_FMT(jose_jwk(&arena, ec, "e1", ""))),
                                 JWT_MASK_ALL);
    assert_int_equal(jwk_set_count(set), 1);
    assert_true(jwk_set_has(set, STR("e1")));
    assert_false(jwk_set_has(set, STR("x")));
    jwk_set_unref(set);
}

static void headers(void **state) {
    assert_int_equal(header_check("{\"alg\":\"ES256\",\"kid\":\"e1\",\"typ\":\"at+jwt\"}"), OK);
    assert_int_equal(header_check("{\"alg\":\"ES256\",\"kid\":\"e1\",\"typ\":\"JWT\"}"), OK);
    assert_int_equal(header_check("{\"alg\":\"ES256\",\"kid\":\"e1\",\"typ\":\"application/AT+jwt\"}"), OK);
    /* what could lead to a key of the attacker's is not looked at */
    assert_int_equal(header_check("{\"alg\":\"ES256\",\"kid\":\"e1\",\"jku\":\"https://evil/\","
                                  "\"x5u\":\"https://evil/\",\"jwk\":{\"kty\":\"oct\"}}"), OK);
    assert_int_equal(header_check("{\"alg\":\"ES256\",\"kid\":\"e2\"}"), ERR_UNAUTHENTICATED);
    assert_int_equal(header_check("{\"alg\":\"ES256\",\"kid\":\"../../dev/null\"}"), ERR_NOT_FOUND);
    assert_int_equal(header_check("{\"alg\":\"ES256\"}"), ERR_UNAUTHENTICATED); /* of two, which? */
    static const char *const refused[] = {
        "{\"alg\":\"none\"}", "{\"alg\":\"None\"}", "{\"alg\":\"HS256\",\"kid\":\"e1\"}", "{\"kid\":\"e1\"}",
        "{\"alg\":\"es256\",\"kid\":\"e1\"}", "{\"alg\":7,\"kid\":\"e1\"}", "{\"alg\":\"ES256\",\"kid\":1}",
        "{\"alg\":\"ES256\",\"kid\":\"e1\",\"crit\":[\"exp\"]}", "{\"alg\":\"ES256\",\"kid\":\"e1\",\"crit\":[]}",
        "{\"alg\":\"ES256\",\"alg\":\"ES256\",\"kid\":\"e1\"}", "{\"alg\":\"ES256\",\"kid\":\"e1\",\"cty\":\"JWT\"}",
        "{\"alg\":\"ES256\",\"kid\":\"e1\",\"typ\":\"logout+jwt\"}",
        "{\"alg\":\"ES256\",\"kid\":\"e1\",\"zip\":\"DEF\"}",
        "{\"alg\":\"ES256\",\"kid\":\"e1\",\"typ\":7}", "[]", "7", "{", "",
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        assert_int_equal(header_check(refused[i]), ERR_UNAUTHENTICATED);
}

static void claims(void **state) {
#define BASE "\"iss\":\"https://idp\",\"sub\":\"shop\",\"aud\":\"hub\""
    static const char *const taken[] = {
        CLAIMS, "{" BASE ",\"exp\":1700000001.5}",
        "{" BASE ",\"exp\":1699999971}", /* within the leeway */
        "{" BASE ",\"exp\":1700000300,\"nbf\":1700000030,\"iat\":1700000030}",
        "{\"iss\":\"https://idp\",\"sub\":\"s\",\"aud\":[\"x\",\"hub\"],\"exp\":1700000300}",
    };
    static const char *const refused[] = {
        "{" BASE "}", "{" BASE ",\"exp\":1699999970}", "{" BASE ",\"exp\":\"1700000300\"}",
        "{" BASE ",\"exp\":-1}", "{" BASE ",\"exp\":17e8}", "{" BASE ",\"exp\":1e400}",
        "{" BASE ",\"exp\":999999999999999999999}", "{" BASE ",\"exp\":null}",
        "{" BASE ",\"exp\":1700000300,\"nbf\":1700000031}",
        "{" BASE ",\"exp\":1700000300,\"iat\":1700000031}",
        "{" BASE ",\"exp\":1700000010,\"iat\":1700000011}", /* issued after its end */
        "{" BASE ",\"exp\":1700000300,\"nbf\":\"soon\"}",
        "{" BASE ",\"exp\":1600000000,\"exp\":1700000300}",
        "{\"iss\":\"https://idp/\",\"sub\":\"s\",\"aud\":\"hub\",\"exp\":1700000300}",
        "{\"sub\":\"s\",\"aud\":\"hub\",\"exp\":1700000300}",
        "{\"iss\":[\"https://idp\"],\"sub\":\"s\",\"aud\":\"hub\",\"exp\":1700000300}",
        "{\"iss\":\"https://idp\",\"sub\":\"s\",\"aud\":\"hub2\",\"exp\":1700000300}",
        "{\"iss\":\"https://idp\",\"sub\":\"s\",\"aud\":[],\"exp\":1700000300}",
        "{\"iss\":\"https://idp\",\"sub\":\"s\",\"aud\":[[\"hub\"]],\"exp\":1700000300}",
        "{\"iss\":\"https://idp\",\"sub\":\"s\",\"exp\":1700000300}",
        "{\"iss\":\"https://idp\",\"aud\":\"hub\",\"exp\":1700000300}",
        "{\"iss\":\"https://idp\",\"sub\":\"\",\"aud\":\"hub\",\"exp\":1700000300}", "{}", "[]",
    };
#undef BASE
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        assert_int_equal(claims_check(taken[i]), OK);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        assert_int_equal(claims_check(refused[i]), ERR_UNAUTHENTICATED);
}

static struct str cut(struct str token, struct str *signature) {
    const char *dot = memrchr(token.ptr, '.', token.len);

    *signature = str_of(dot + 1, token.len - (size_t)(dot + 1 - token.ptr));
    return str_of(token.ptr, (size_t)(dot + 1 - token.ptr));
}

static void signatures(void **state) {
    struct str good = jose_sign(&arena, ec, JWT_ES256, "{\"alg\":\"ES256\",\"kid\":\"e1\"}", CLAIMS);
    struct str other = jose_sign(&arena, ec, JWT_ES256, "{\"alg\":\"ES256\",\"kid\":\"e1\"}",
                                 "{\"iss\":\"https://idp\",\"sub\":\"x\",\"aud\":\"hub\",\"exp\":1800000000}");
    struct str signature, swapped, text = cut(good, &signature), raw;
    unsigned char bytes[65] = {0};

    (void)cut(other, &swapped);
    assert_int_equal(token_check(keys, good), OK);
    raw = base64url_read(&arena, signature);
    assert_int_equal(raw.len, 64);
    memcpy(bytes, raw.ptr, 64);
    struct str zero = arena_str(&arena, str_of((char[64]){0}, 64));
    struct str forged[] = {
        swapped, STR(""), jose_b64(&arena, zero), jose_b64(&arena, str_of((char *)bytes, 63)),
        jose_b64(&arena, str_of((char *)bytes, 65)), arena_printf(&arena, "%.*s=", STR_FMT(signature)),
    };
    for (size_t i = 0; i < sizeof forged / sizeof forged[0]; i++)
        assert_int_equal(token_check(keys, arena_printf(&arena, "%.*s%.*s", STR_FMT(text),
                                                        STR_FMT(forged[i]))),
                         ERR_UNAUTHENTICATED);
    for (int half = 0; half < 2; half++) { /* r = 0, s = 0 */
        unsigned char zeroed[64];

        memcpy(zeroed, bytes, 64);
        memset(zeroed + 32 * half, 0, 32);
        assert_int_equal(token_check(keys, arena_printf(&arena, "%.*s%.*s", STR_FMT(text),
                         STR_FMT(jose_b64(&arena, str_of((char *)zeroed, 64))))),
                         ERR_UNAUTHENTICATED);
    }
    for (size_t i = 0; i < good.len; i++) { /* any one character changed */
        char *changed = arena_bytes(&arena, good.len);

        memcpy(changed, good.ptr, good.len);
        changed[i] = changed[i] == 'A' ? 'B' : 'A';
        assert_int_not_equal(token_check(keys, str_of(changed, good.len)), OK);
        assert_int_not_equal(token_check(keys, str_of(good.ptr, i)), OK);
    }
}

static void forms(void **state) {
    static const char *const refused[] = {"", ".", "..", "...", "a.b", "a.b.c", "a.b.c.d", "e30.e30.e30",
                                          "e30=.e30=.AAAA", " . . ", "eyJhbGciOiJFUzI1NiJ9..AAAA"};
    char *long_text = arena_bytes(&arena, JWT_BYTES_MAX + 1);
    struct buf many;

    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        assert_int_equal(token_check(keys, str_c(refused[i])), ERR_UNAUTHENTICATED);
    memset(long_text, '.', JWT_BYTES_MAX + 1);
    assert_int_equal(token_check(keys, str_of(long_text, JWT_BYTES_MAX + 1)), ERR_UNAUTHENTICATED);
    buf_init(&many, 0);
    buf_lit(&many, "{\"alg\":\"ES256\",\"kid\":\"e1\"");
    for (int i = 0; i < JWT_MEMBERS_MAX; i++)
        buf_printf(&many, ",\"m%d\":1", i);
    buf_lit(&many, "}");
    assert_int_equal(header_check(buf_cstr(&many)), ERR_UNAUTHENTICATED);
    buf_free(&many);
    assert_true(jwt_looks_like(STR("a.b.c")));
    assert_false(jwt_looks_like(STR("a.b")));
    assert_false(jwt_looks_like(STR("pk_abc")));
}

static void claims_are_found(void **state) {
    struct fault fault = {0};
    struct jwt jwt;
    struct str token = jose_sign(&arena, ec, JWT_ES256, "{\"alg\":\"ES256\"}",
                                 "{\"scope\":\"a b\",\"realm\":{\"roles\":[\"x\"]},\"a/b\":{\"c~d\":\"deep\"},"
                                 "\"https://x/roles\":\"url\"}");

    assert_int_equal(jwt_parse(parser, &arena, token, &jwt, &fault), OK);
    assert_true(str_is(jwt_claim(&jwt, STR("scope"))->text, "a b"));
    assert_int_equal(jwt_claim(&jwt, STR("/realm/roles"))->kind, JSON_ARRAY);
    assert_true(str_is(jwt_claim(&jwt, STR("/a~1b/c~0d"))->text, "deep"));
    assert_true(str_is(jwt_claim(&jwt, STR("https://x/roles"))->text, "url"));
    assert_null(jwt_claim(&jwt, STR("/realm/none")));
    assert_null(jwt_claim(&jwt, STR("/scope/deeper")));
    assert_null(jwt_claim(&jwt, STR("nothing")));
}

static void tokens_have_types(void **state) {
    static const struct { const char *typ; bool access, strict, id; } rows[] = {
        {"", true, false, true}, {",\"typ\":\"JWT\"", true, false, true},
        {",\"typ\":\"at+jwt\"", true, true, false}, {",\"typ\":\"dpop+jwt\"", false, false, false},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct str header = arena_printf(&arena, "{\"alg\":\"ES256\",\"kid\":\"e1\"%s}", rows[i].typ);
        struct str token = jose_sign(&arena, ec, JWT_ES256, header.ptr, CLAIMS);
        bool expected[] = {rows[i].access, rows[i].strict, rows[i].id};

        for (int type = JWT_ACCESS; type <= JWT_ID; type++) {
            struct jwt_rules typed = rules;
            struct fault fault = {0};
            struct jwt jwt;
            int64_t until_us = 0;

            typed.type = (enum jwt_type)type;
            assert_int_equal(jwt_parse(parser, &arena, token, &jwt, &fault), OK);
            assert_int_equal(jwt_check(&jwt, &typed, NOW_US, &until_us, &fault) == OK, expected[type]);
            assert_true(!expected[type] || until_us == INT64_C(1700000330000000));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rfc_examples),
        cmocka_unit_test(each_algorithm_is_taken_with_its_key_alone),
        cmocka_unit_test(algorithms_are_pinned),
        cmocka_unit_test(keys_that_are_none),
        cmocka_unit_test(headers),
        cmocka_unit_test(claims),
        cmocka_unit_test(signatures),
        cmocka_unit_test(forms),
        cmocka_unit_test(claims_are_found),
        cmocka_unit_test(tokens_have_types),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
