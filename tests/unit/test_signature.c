/* Webhook signatures: vectors of the platforms' own tests where the shared folder is there, of
 * our own everywhere, and what a forger or a slow clock would send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/encode.h"
#include "base/json.h"
#include "connect/signature.h"

struct header {
    const char *name;
    const char *value;
};

static struct str header_find(void *ctx, struct str name) {
    for (const struct header *h = ctx; h->name; h++) {
        if (str_eq_nocase(str_c(h->name), name))
            return str_c(h->value);
    }
    return STR_NONE;
}

#define NOW_S INT64_C(1700000000)

static enum err verify(struct connector_signature *signature, struct str secret,
                       const struct header *headers, struct str body, int64_t now_s,
                       struct fault *fault) {
    struct receive_header_source source = {header_find, (void *)headers};
    signature->secrets = &secret;
    signature->secret_count = 1;
    signature->tolerance_s = 300;
    return signature_verify(signature, &source, body, now_s * 1000000, fault);
}

static void signs(enum signature_scheme scheme, const char *header, struct str secret) {
    struct connector_signature signature = {.scheme = scheme, .header = str_c(header)};
    struct fault fault = {0};
    struct buf out;
    struct str body = STR("{\"id\":1}");
    buf_init(&out, 0);
    assert_int_equal(signature_write(scheme, secret, STR("msg_1"), NOW_S, body, &out, &fault), OK);
    char number[24];
    snprintf(number, sizeof number, "%lld", (long long)NOW_S);
    struct header headers[] = {{header, buf_cstr(&out)}, {"webhook-id", "msg_1"},
                               {"webhook-timestamp", number}, {NULL, NULL}};
    assert_int_equal(verify(&signature, secret, headers, body, NOW_S, &fault), OK);
    assert_int_equal(verify(&signature, secret, headers, STR("{\"id\":2}"), NOW_S, &fault),
                     ERR_UNAUTHENTICATED);
    assert_int_equal(verify(&signature, secret, headers, STR(""), NOW_S, &fault),
                     ERR_UNAUTHENTICATED);
    struct str other = scheme == SIGNATURE_STANDARD_WEBHOOKS
                           ? STR("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA") : STR("other");
    assert_int_equal(verify(&signature, other, headers, body, NOW_S, &fault), ERR_UNAUTHENTICATED);
    headers[0].value = "";
    assert_int_equal(verify(&signature, secret, headers, body, NOW_S, &fault),
                     ERR_UNAUTHENTICATED);
    headers[0].name = "x-other";
    assert_int_equal(verify(&signature, secret, headers, body, NOW_S, &fault),
                     ERR_UNAUTHENTICATED);
    buf_free(&out);
}

static void test_round(void **state) {
    signs(SIGNATURE_HMAC_SHA256_BASE64, "X-Shopify-Hmac-Sha256", STR("hush"));
    signs(SIGNATURE_HMAC_SHA256_HEX, "X-Signature", STR("hush"));
    signs(SIGNATURE_STRIPE, "Stripe-Signature", STR("whsec_hush"));
    signs(SIGNATURE_STANDARD_WEBHOOKS, "webhook-signature",
          STR("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
}

/* RFC 4231, test case 2: HMAC-SHA-256 of "what do ya want for nothing?" under "Jefe". */
static void test_known(void **state) {
    struct connector_signature hex = {.scheme = SIGNATURE_HMAC_SHA256_HEX, .header = STR("x-sig"),
                                      .prefix = STR("sha256=")};
    struct header headers[] = {
        {"X-Sig", "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
        {NULL, NULL}};
    struct fault fault = {0};
    struct str body = STR("what do ya want for nothing?");
    assert_int_equal(verify(&hex, STR("Jefe"), headers, body, NOW_S, &fault), OK);
    headers[0].value = "sha256=5BDCC146BF60754E6A042426089575C75A003F089D2739839DEC58B964EC3843";
    assert_int_equal(verify(&hex, STR("Jefe"), headers, body, NOW_S, &fault), OK);
    headers[0].value = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_int_equal(verify(&hex, STR("Jefe"), headers, body, NOW_S, &fault), ERR_UNAUTHENTICATED);
    struct connector_signature base64 = {.scheme = SIGNATURE_HMAC_SHA256_BASE64,
                                         .header = STR("x-sig")};
    headers[0].value = "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=";
    assert_int_equal(verify(&base64, STR("Jefe"), headers, body, NOW_S, &fault), OK);
}

static void test_time(void **state) {
    struct connector_signature stripe = {.scheme = SIGNATURE_STRIPE};
    struct fault fault = {0};
    struct str body = STR("{}"), secret = STR("whsec_x");
    struct buf out;
    buf_init(&out, 0);
    assert_int_equal(signature_write(SIGNATURE_STRIPE, secret, STR_NONE, NOW_S, body, &out, &fault),
                     OK);
    struct header headers[] = {{"stripe-signature", buf_cstr(&out)}, {NULL, NULL}};
    assert_int_equal(verify(&stripe, secret, headers, body, NOW_S + 300, &fault), OK);
    assert_int_equal(verify(&stripe, secret, headers, body, NOW_S - 300, &fault), OK);
    assert_int_equal(verify(&stripe, secret, headers, body, NOW_S + 301, &fault),
                     ERR_UNAUTHENTICATED);
    assert_int_equal(verify(&stripe, secret, headers, body, NOW_S - 301, &fault),
                     ERR_UNAUTHENTICATED);
    static const char *const broken[] = {"t=,v1=", "v1=00", "t=1700000000", "t=x,v1=00", ",,,,", "=",
                                         "t=9223372036854775807,v1=00", "t=-1,v1=00"};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        headers[0].value = broken[i];
        assert_int_equal(verify(&stripe, secret, headers, body, NOW_S, &fault),
                         ERR_UNAUTHENTICATED);
    }
    buf_free(&out);
}

/* While a secret is changed, several are active; so are several signatures. */
static void test_rotation(void **state) {
    struct connector_signature stripe = {.scheme = SIGNATURE_STRIPE, .tolerance_s = 300};
    struct str secrets[] = {STR("old"), STR("new")};
    struct fault fault = {0};
    struct buf out;
    buf_init(&out, 0);
    buf_lit(&out, "v0=abc,v1=00ff,");
    assert_int_equal(signature_write(SIGNATURE_STRIPE, secrets[1], STR_NONE, NOW_S, STR("{}"), &out,
                                     &fault), OK);
    struct header headers[] = {{"Stripe-Signature", buf_cstr(&out)}, {NULL, NULL}};
    struct receive_header_source source = {header_find, headers};
    stripe.secrets = secrets;
    stripe.secret_count = 2;
    assert_int_equal(signature_verify(&stripe, &source, STR("{}"), NOW_S * 1000000, &fault), OK);
    stripe.secret_count = 1;
    assert_int_equal(signature_verify(&stripe, &source, STR("{}"), NOW_S * 1000000, &fault),
                     ERR_UNAUTHENTICATED);
    stripe.secret_count = 0;
    assert_int_equal(signature_verify(&stripe, &source, STR("{}"), NOW_S * 1000000, &fault),
                     ERR_UNAUTHENTICATED);
    assert_non_null(strstr(fault.detail, "no secret is set"));
    stripe.scheme = SIGNATURE_NONE;
    assert_int_equal(signature_verify(&stripe, &source, STR("{}"), 0, &fault), OK);
    buf_free(&out);
}

static void test_base64(void **state) {
    struct arena arena;
    arena_init(&arena, 0);
    static const char *const texts[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"};
    static const char *const coded[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    for (size_t i = 0; i < 7; i++) { /* RFC 4648 section 10 */
        struct buf out;
        buf_init(&out, 0);
        base64_write(&out, str_c(texts[i]));
        assert_true(str_is(buf_str(&out), coded[i]));
        struct str back = base64_read(&arena, str_c(coded[i]));
        assert_non_null(back.ptr);
        assert_true(str_is(back, texts[i]));
        buf_free(&out);
    }
    static const char *const wrong[] = {"Z", "Zg", "Zg=", "Zh==", "Zm9=", "====", "Z===", "Zg==Zg==", "Zm 9"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_null(base64_read(&arena, str_c(wrong[i])).ptr);
    assert_true(utf8_valid(STR("Grüße 煎茶 🎉")));
    assert_false(utf8_valid(STR("\xc0\xaf")));
    assert_false(utf8_valid(STR("\xed\xa0\x80")));
    assert_false(utf8_valid(STR("\xf4\x90\x80\x80")));
    assert_false(utf8_valid(STR("abcdefgh\xe2\x82")));
    arena_free(&arena);
}

/* Vectors from the platforms' own libraries, where the shared folder lies beside the sources. */
static void test_shared(void **state) {
    FILE *file = fopen(PENSTOCK_SOURCE_ROOT "/../shared/data/10-schemas/signature_vectors.json", "rb");
    if (!file)
        skip();
    static char text[65536];
    size_t len = fread(text, 1, sizeof text, file);
    fclose(file);
    struct arena arena;
    struct fault fault = {0};
    struct json_parser *parser = json_parser_create();
    const struct json *all;
    uint32_t checked = 0;
    arena_init(&arena, 0);
    assert_int_equal(json_parse(parser, &arena, str_of(text, len), false, &all, &fault), OK);
    const struct json *v = json_first(all);
    for (uint32_t i = 0; i < all->count; i++, v = json_next(v)) {
        if (!str_is(json_member_str(v, STR("platform")), "standard-webhooks"))
            continue;
        struct connector_signature signature = {.scheme = SIGNATURE_STANDARD_WEBHOOKS};
        int64_t seconds;
        struct str time = arena_str(&arena, json_member_str(v, STR("webhook_timestamp")));
        struct header headers[] = {
            {"webhook-id", arena_str(&arena, json_member_str(v, STR("webhook_id"))).ptr},
            {"webhook-timestamp", time.ptr},
            {"webhook-signature", arena_str(&arena, json_member_str(v, STR("signature"))).ptr},
            {NULL, NULL}};
        assert_true(str_i64(time, &seconds));
        assert_int_equal(verify(&signature, json_member_str(v, STR("key")), headers,
                                json_member_str(v, STR("body")), seconds, &fault), OK);
        checked++;
    }
    assert_true(checked > 0);
    json_parser_destroy(parser);
    arena_free(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round),    cmocka_unit_test(test_known),
        cmocka_unit_test(test_time),     cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_base64),   cmocka_unit_test(test_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
