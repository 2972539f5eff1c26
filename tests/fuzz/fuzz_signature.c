/* Any bytes as a signed webhook: the scheme, then the signature's header, id, time and body,
 * separated by line ends. A forger without the secret is never let in, whatever the bytes; what is
 * signed with it is, and is not when a byte of it changes. */
#include "fuzz.h"

#include "connect/signature.h"

#define NOW_US INT64_C(1700000000000000)
#define URL "https://shop.example/x/fuzz/orders"

struct pieces {
    struct str signature, id, time;
};

static struct str header_find(void *ctx, struct str name) {
    const struct pieces *p = ctx;
    if (str_eq_nocase(name, STR("x-sig")))
        return p->signature;
    if (str_eq_nocase(name, STR("webhook-id")))
        return p->id;
    return str_eq_nocase(name, STR("webhook-timestamp")) ? p->time : STR_NONE;
}

static struct json_parser *parser;

static enum err verify(const struct connector_signature *signature, struct pieces *p,
                       struct str body) {
    struct receive_header_source headers = {header_find, p};
    struct signature_message message = {&headers, body, parser, NOW_US};
    struct fault fault = {0};
    enum err err = signature_verify(signature, &message, &fault);
    must(err == OK || (err == ERR_UNAUTHENTICATED && fault.detail[0] != '\0'));
    return err;
}

/* The same body signed by who has the secret. */
static void genuine(const struct connector_signature *signature, struct str body) {
    enum signature_scheme scheme = (enum signature_scheme)signature->scheme;
    struct pieces p = {.id = STR("msg_1"), .time = STR("1700000000")};
    struct fault fault = {0};
    struct buf what, header;
    buf_init(&what, 0);
    buf_init(&header, 0);
    if (scheme == SIGNATURE_SQUARE)
        buf_lit(&what, URL);
    buf_str_add(&what, body);
    if (signature->prefix.len && scheme != SIGNATURE_STRIPE && scheme != SIGNATURE_STANDARD_WEBHOOKS)
        buf_str_add(&header, signature->prefix);
    must(signature_write(scheme, signature->secrets[0], p.id, NOW_US / 1000000, buf_str(&what),
                         &header, &fault) == OK);
    p.signature = buf_str(&header);
    must(verify(signature, &p, body) == OK);
    buf_char(&what, ' ');
    must(verify(signature, &p, str_of(what.data + what.len - body.len - 1, body.len + 1)) != OK);
    buf_free(&what);
    buf_free(&header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1)
        return 0;
    if (!parser)
        parser = json_parser_create();
    must(parser);
    struct str rest = str_of((const char *)data + 1, size - 1);
    struct pieces p = {.signature = str_cut(&rest, '\n')};
    if (rest.ptr)
        p.id = str_cut(&rest, '\n');
    if (rest.ptr)
        p.time = str_cut(&rest, '\n');
    struct str body = rest.ptr ? rest : STR("");
    /* a key in each form: text, base64, hex, public (whose private half nobody has: a signature in
     * the corpus that was once genuine would be found again) */
    struct str secrets[] = {STR("c2VjcmV0LW9mLXRoZS1mdXp6ZXItMDE="), STR("not base 64"),
                            STR("0123456789abcdef"),
                            STR("whpk_kv4RQFhJkQphW6Zt5DsuRMTwA6XRidP25Kd2QFf2/Gw=")};
    struct connector_signature signature = {
        .scheme = 1 + (data[0] & 0x7f) % (SIGNATURE_SCHEMES - 1), .header = STR("x-sig"),
        .prefix = data[0] & 0x80 ? STR("sha256=") : STR_NONE, .tolerance_s = 300, .url = STR(URL),
        .secrets = secrets, .secret_count = sizeof secrets / sizeof *secrets};
    must(verify(&signature, &p, body) == ERR_UNAUTHENTICATED);
    if (signature.scheme == SIGNATURE_ADYEN)
        return 0; /* its signature is in the body */
    if (signature.scheme == SIGNATURE_ADYEN_HEADER)
        signature.secrets = secrets + 2, signature.secret_count = 1;
    genuine(&signature, body);
    return 0;
}
