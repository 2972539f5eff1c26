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
#include "connect/replay.h"
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

static struct json_parser *parser;

static enum err check(const struct connector_signature *signature, const struct header *headers,
                      struct str body, int64_t now_s, struct fault *fault) {
    struct receive_header_source source = {header_find, (void *)headers};
    struct signature_message message = {&source, body, parser, now_s * 1000000};
    return signature_verify(signature, &message, fault);
}

static enum err verify(struct connector_signature *signature, struct str secret,
                       const struct header *headers, struct str body, int64_t now_s,
                       struct fault *fault) {
    signature->secrets = &secret;
    signature->secret_count = 1;
    signature->tolerance_s = 300;
    return check(signature, headers, body, now_s, fault);
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
    signs(SIGNATURE_SHOPIFY, "X-Shopify-Hmac-Sha256", STR("hush"));
    signs(SIGNATURE_WOOCOMMERCE, "X-WC-Webhook-Signature", STR("hush"));
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
    stripe.secrets = secrets;
    stripe.secret_count = 2;
    assert_int_equal(check(&stripe, headers, STR("{}"), NOW_S, &fault), OK);
    stripe.secret_count = 1;
    assert_int_equal(check(&stripe, headers, STR("{}"), NOW_S, &fault), ERR_UNAUTHENTICATED);
    stripe.secret_count = 0;
    assert_int_equal(check(&stripe, headers, STR("{}"), NOW_S, &fault), ERR_UNAUTHENTICATED);
    assert_non_null(strstr(fault.detail, "no secret is set"));
    stripe.scheme = SIGNATURE_NONE;
    assert_int_equal(check(&stripe, headers, STR("{}"), 0, &fault), OK);
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

/* Square signs the address, too: the same body sent to another one does not fit. */
static void test_square(void **state) {
    struct connector_signature square = {.scheme = SIGNATURE_SQUARE,
                                         .url = STR("https://shop.example/x/square/orders")};
    struct fault fault = {0};
    struct buf out;
    struct str secret = STR("k-1"), body = STR("{\"event_id\":\"e1\"}");
    buf_init(&out, 0);
    assert_int_equal(signature_write(SIGNATURE_SQUARE, secret, STR_NONE, 0,
                                     STR("https://shop.example/x/square/orders{\"event_id\":\"e1\"}"),
                                     &out, &fault), OK);
    struct header headers[] = {{"X-Square-HmacSha256-Signature", buf_cstr(&out)}, {NULL, NULL}};
    assert_int_equal(verify(&square, secret, headers, body, NOW_S, &fault), OK);
    assert_int_equal(verify(&square, secret, headers, STR("{}"), NOW_S, &fault), ERR_UNAUTHENTICATED);
    square.url = STR("https://shop.example/x/square/order");
    assert_int_equal(verify(&square, secret, headers, body, NOW_S, &fault), ERR_UNAUTHENTICATED);
    square.url = STR_NONE;
    assert_int_equal(verify(&square, secret, headers, body, NOW_S, &fault), ERR_UNAUTHENTICATED);
    assert_non_null(strstr(fault.detail, "url"));
    buf_free(&out);
}

/* Standard Webhooks, asymmetric: the key is that of bytes 0 to 31 as a seed (RFC 8032), computed
 * apart from this program. */
static void test_public_key(void **state) {
    struct connector_signature standard = {.scheme = SIGNATURE_STANDARD_WEBHOOKS};
    struct fault fault = {0};
    struct str key = STR("whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=");
    struct header headers[] = {
        {"webhook-id", "msg_1"}, {"webhook-timestamp", "1700000000"},
        {"webhook-signature",
         "v1,AAAA v1a,9PZAq/IcnQ+ZXCVJALBruhMq0b1PynD9hbfP+oMimx5rOOMatWhavgQu1YYKy5iSYkNIc2wr6KJsnMAAo4/GAQ=="},
        {NULL, NULL}};
    assert_int_equal(verify(&standard, key, headers, STR("{\"id\":1}"), NOW_S, &fault), OK);
    assert_int_equal(verify(&standard, key, headers, STR("{\"id\":2}"), NOW_S, &fault),
                     ERR_UNAUTHENTICATED);
    assert_int_equal(verify(&standard, key, headers, STR("{\"id\":1}"), NOW_S + 301, &fault),
                     ERR_UNAUTHENTICATED);
    assert_int_equal(verify(&standard, STR("whpk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), headers,
                            STR("{\"id\":1}"), NOW_S, &fault), ERR_UNAUTHENTICATED);
    /* a public key is no shared secret: who knows it can not sign with it */
    struct buf out;
    buf_init(&out, 0);
    assert_int_not_equal(signature_write(SIGNATURE_STANDARD_WEBHOOKS, key, STR("msg_1"), NOW_S,
                                         STR("{\"id\":1}"), &out, &fault), OK);
    headers[2].value = "v1,9PZAq/IcnQ+ZXCVJALBruhMq0b1PynD9hbfP+oMimx5rOOMatWhavgQu1YYKy5iSYkNIc2wr6KJsnMAAo4/GAQ==";
    assert_int_equal(verify(&standard, key, headers, STR("{\"id\":1}"), NOW_S, &fault),
                     ERR_UNAUTHENTICATED);
    buf_free(&out);
}

#define ADYEN_KEY STR("0f1e2d3c4b5a69788796a5b4c3d2e1f00F1E2D3C4B5A69788796A5B4C3D2E1F0")
#define ITEM(more, signature)                                                                      \
    "{\"NotificationRequestItem\":{\"additionalData\":{\"hmacSignature\":\"" signature "\"},"      \
    "\"amount\":{\"value\":4488,\"currency\":\"EUR\"},\"merchantAccountCode\":\"Shop\","           \
    "\"merchantReference\":\"o-1\",\"success\":\"true\"," more "}}"
#define ITEM_1 ITEM("\"pspReference\":\"PSP-1\",\"originalReference\":null,"                       \
                    "\"eventCode\":\"AUTHORISATION\"", "SDmahVbbshhosXJwNn+o9MP/cD+6zyzxlTXE+h8FkX8=")
#define ITEM_2 ITEM("\"pspReference\":\"PSP-2\",\"originalReference\":\"PSP-1\","                  \
                    "\"eventCode\":\"CAPTURE\"", "bRQwGeRWiRpTD7hzlBhVXH7h14CmDU4aLomYmY40sSg=")

static void test_adyen(void **state) {
    struct connector_signature adyen = {.scheme = SIGNATURE_ADYEN};
    struct header none[] = {{NULL, NULL}};
    struct fault fault = {0};
    static const char *const good[] = {
        "{\"live\":\"false\",\"notificationItems\":[" ITEM_1 "]}",
        "{\"notificationItems\":[" ITEM_1 "," ITEM_2 "]}",
    };
    static const char *const wrong[] = {
        "", "[]", "{}", "{\"notificationItems\":[]}", "{\"notificationItems\":[1]}",
        "{\"notificationItems\":[{\"NotificationRequestItem\":{}}]}", "{\"notificationItems\":[" ITEM_1,
        /* one of two is not signed, or is the other's */
        "{\"notificationItems\":[" ITEM_1 ",{\"NotificationRequestItem\":{\"eventCode\":\"CAPTURE\"}}]}",
        "{\"notificationItems\":[" ITEM_1 "," ITEM("\"pspReference\":\"PSP-2\",\"originalReference\":"
            "\"PSP-1\",\"eventCode\":\"CAPTURE\"", "SDmahVbbshhosXJwNn+o9MP/cD+6zyzxlTXE+h8FkX8=") "]}",
        /* a signed member once more, for whoever reads the last one */
        "{\"notificationItems\":[" ITEM("\"pspReference\":\"PSP-1\",\"eventCode\":\"AUTHORISATION\","
            "\"amount\":{\"value\":1,\"currency\":\"EUR\"}", "SDmahVbbshhosXJwNn+o9MP/cD+6zyzxlTXE+h8FkX8=") "]}",
        "{\"notificationItems\":[" ITEM("\"pspReference\":\"PSP-1\",\"eventCode\":\"AUTHORISATION\","
            "\"success\":\"false\"", "SDmahVbbshhosXJwNn+o9MP/cD+6zyzxlTXE+h8FkX8=") "]}",
        "{\"notificationItems\":[" ITEM_1 "],\"notificationItems\":[{}]}",
        /* a member that is no scalar */
        "{\"notificationItems\":[" ITEM("\"pspReference\":[\"PSP-1\"],\"eventCode\":\"AUTHORISATION\"",
            "SDmahVbbshhosXJwNn+o9MP/cD+6zyzxlTXE+h8FkX8=") "]}",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(verify(&adyen, ADYEN_KEY, none, str_c(good[i]), NOW_S, &fault), OK);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(verify(&adyen, ADYEN_KEY, none, str_c(wrong[i]), NOW_S, &fault),
                         ERR_UNAUTHENTICATED);
    assert_int_equal(verify(&adyen, STR("00"), none, str_c(good[0]), NOW_S, &fault),
                     ERR_UNAUTHENTICATED);
    struct connector_signature header = {.scheme = SIGNATURE_ADYEN_HEADER};
    struct buf out;
    buf_init(&out, 0);
    assert_int_equal(signature_write(SIGNATURE_ADYEN_HEADER, ADYEN_KEY, STR_NONE, 0, STR("{}"), &out,
                                     &fault), OK);
    struct header headers[] = {{"hmacsignature", buf_cstr(&out)}, {NULL, NULL}};
    assert_int_equal(verify(&header, ADYEN_KEY, headers, STR("{}"), NOW_S, &fault), OK);
    assert_int_equal(verify(&header, ADYEN_KEY, headers, STR("[]"), NOW_S, &fault),
                     ERR_UNAUTHENTICATED);
    buf_free(&out);
}

static void test_secrets(void **state) {
    static const struct {
        enum signature_scheme scheme;
        const char *secret;
        bool good;
    } rows[] = {
        {SIGNATURE_SHOPIFY, "anything at all", true},
        {SIGNATURE_STANDARD_WEBHOOKS, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", true},
        {SIGNATURE_STANDARD_WEBHOOKS, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", true},
        {SIGNATURE_STANDARD_WEBHOOKS, "whsec_not base 64", false},
        {SIGNATURE_STANDARD_WEBHOOKS, "whsec_", false},
        {SIGNATURE_STANDARD_WEBHOOKS, "whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=", true},
        {SIGNATURE_STANDARD_WEBHOOKS, "whpk_AAAA", false},
        {SIGNATURE_ADYEN, "0f1E", true},
        {SIGNATURE_ADYEN, "0f1", false},
        {SIGNATURE_ADYEN_HEADER, "0g", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_true(!signature_secret_wrong(rows[i].scheme, str_c(rows[i].secret)) == rows[i].good);
    assert_true(signature_needs_header(SIGNATURE_HMAC_SHA256_HEX));
    assert_false(signature_needs_header(SIGNATURE_WOOCOMMERCE));
    assert_false(signature_needs_header(SIGNATURE_ADYEN));
    assert_true(str_is(signature_dedup(SIGNATURE_STANDARD_WEBHOOKS).header, "webhook-id"));
    assert_true(str_is(signature_dedup(SIGNATURE_STRIPE).member, "id"));
}

/* The same bytes within the window keep the id they came with; a flood pushes the oldest out. */
static void test_replay(void **state) {
    struct replay *replay;
    struct fault fault = {0};
    struct arena arena;
    struct hash128 one = {1, 2}, other = {1, 3};
    int64_t window = 300 * INT64_C(1000000), now = NOW_S * 1000000;
    arena_init(&arena, 0);
    assert_int_equal(replay_create(&replay, &fault), OK);
    assert_true(str_is(replay_id(replay, one, STR("a"), now, window, &arena), "a"));
    assert_true(str_is(replay_id(replay, one, STR("b"), now + window, window, &arena), "a"));
    assert_true(str_is(replay_id(replay, other, STR("c"), now, window, &arena), "c"));
    assert_true(str_is(replay_id(replay, one, STR("d"), now + window + 1, window, &arena), "d"));
    assert_true(str_is(replay_id(replay, one, STR("e"), now + window + 2, window, &arena), "d"));
    for (uint64_t i = 0; i < 3 * REPLAY_ENTRIES; i++)
        replay_id(replay, (struct hash128){i, 9}, STR("x"), now + window + 3 + (int64_t)i, window, &arena);
    assert_true(str_is(replay_id(replay, one, STR("f"), now + window + 9, window, &arena), "f"));
    replay_release(replay);
    arena_free(&arena);
}

/* --- vectors from the platforms' own libraries, where the shared folder lies beside the sources */

struct vector {
    struct arena arena;
    const struct json *v;
};

static struct str vector_text(struct vector *vector, const char *name) {
    return arena_str(&vector->arena, json_member_str(vector->v, str_c(name)));
}

/* Whether there was something to check. */
static bool vector_check(struct vector *vector) {
    struct str platform = vector_text(vector, "platform"), key = vector_text(vector, "key");
    struct str body = vector_text(vector, "body"), given = vector_text(vector, "signature");
    struct fault fault = {0};
    if (str_is(platform, "adyen")) {
        struct buf out;
        buf_init(&out, 0);
        assert_int_equal(signature_write(SIGNATURE_ADYEN, key, STR_NONE, 0,
                                         vector_text(vector, "data_to_sign"), &out, &fault), OK);
        assert_true(str_eq(buf_str(&out), given));
        buf_free(&out);
        return true;
    }
    struct connector_signature signature = {.url = vector_text(vector, "url")};
    struct str time = vector_text(vector, "webhook_timestamp"), id = vector_text(vector, "webhook_id");
    int64_t seconds = 0;
    bool standard = str_is(platform, "standard-webhooks");
    assert_true(standard || str_is(platform, "square"));
    signature.scheme = standard ? SIGNATURE_STANDARD_WEBHOOKS : SIGNATURE_SQUARE;
    struct header headers[] = {
        {standard ? "webhook-signature" : "x-square-hmacsha256-signature", given.ptr},
        {standard ? "webhook-id" : NULL, id.ptr}, {"webhook-timestamp", time.ptr}, {NULL, NULL}};
    assert_true(!standard || str_i64(time, &seconds));
    assert_int_equal(verify(&signature, key, headers, body, seconds, &fault), OK);
    assert_int_equal(verify(&signature, key, headers, STR("{}"), seconds, &fault), ERR_UNAUTHENTICATED);
    return true;
}

static void test_shared(void **state) {
    FILE *file = fopen(PENSTOCK_SOURCE_ROOT "/../shared/data/10-schemas/signature_vectors.json", "rb");
    if (!file)
        return; /* nothing more than ours to look at */
    static char text[65536];
    size_t len = fread(text, 1, sizeof text, file);
    fclose(file);
    struct arena arena;
    struct fault fault = {0};
    const struct json *all;
    uint32_t checked = 0;
    arena_init(&arena, 0);
    assert_int_equal(json_parse(parser, &arena, str_of(text, len), false, &all, &fault), OK);
    const struct json *v = json_first(all);
    for (uint32_t i = 0; i < all->count; i++, v = json_next(v)) {
        struct vector vector = {.v = v};
        arena_init(&vector.arena, 0);
        checked += vector_check(&vector);
        arena_free(&vector.arena);
    }
    assert_true(checked > 0 && checked == all->count);
    arena_free(&arena);
}

static int parser_make(void **state) {
    parser = json_parser_create();
    return parser ? 0 : -1;
}

static int parser_end(void **state) {
    json_parser_destroy(parser);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round),    cmocka_unit_test(test_known),
        cmocka_unit_test(test_time),     cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_base64),   cmocka_unit_test(test_square),
        cmocka_unit_test(test_public_key), cmocka_unit_test(test_adyen),
        cmocka_unit_test(test_secrets),  cmocka_unit_test(test_replay),
        cmocka_unit_test(test_shared),
    };
    return cmocka_run_group_tests(tests, parser_make, parser_end);
}
