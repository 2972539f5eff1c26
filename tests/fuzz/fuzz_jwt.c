/* Any bytes as a token, and as a key set. No token verifies but the one that the key set's owner
 * signed (RFC 7515, appendix A.3): whatever else a text says, it is refused. */
#include "fuzz.h"

#include "gateway/jwt.h"

static const char es256_keys[] =
    "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}";
static const char es256_signed[] =
    "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9p"
    "c19yb290Ijp0cnVlfQ";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct json_parser *parser;
    static struct jwk_set *keys;
    struct str text = str_of((const char *)data, size);
    static const struct str audience = {"hub", 3};
    struct jwt_rules rules = {.issuer = STR("joe"), .audiences = &audience, .audience_count = 1};
    struct jwk_set *set = NULL;
    struct fault fault = {0};
    struct arena arena;
    struct jwt jwt;
    int64_t until_us;

    if (!parser) {
        parser = json_parser_create();
        must(jwk_set_parse(parser, str_c(es256_keys), JWT_MASK_ALL, &keys, &fault) == OK);
    }
    arena_init(&arena, 1 << 22);
    if (jwt_parse(parser, &arena, text, &jwt, &fault) == OK) {
        if (jwt_verify(&jwt, keys, &fault) == OK)
            must(str_is(jwt.signed_part, es256_signed));
        must(jwt_check(&jwt, &rules, 0, &until_us, &fault) != OK || until_us > 0);
        (void)jwt_claim(&jwt, STR("/a/b~1c"));
    }
    if (jwk_set_parse(parser, text, JWT_MASK_ALL, &set, &fault) == OK)
        must(jwk_set_count(set) > 0);
    jwk_set_unref(set);
    arena_free(&arena);
    return 0;
}
