/* Any bytes as the headers of a signed webhook: scheme, then the signature header, id, time and
 * body, separated by line ends. A forger without the secret is never let in, whatever the bytes. */
#include "fuzz.h"

#include "connect/signature.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1)
        return 0;
    struct str rest = str_of((const char *)data + 1, size - 1);
    struct pieces p = {.signature = str_cut(&rest, '\n')};
    if (rest.ptr)
        p.id = str_cut(&rest, '\n');
    if (rest.ptr)
        p.time = str_cut(&rest, '\n');
    struct str body = rest.ptr ? rest : STR("");
    struct str secrets[] = {STR("whsec_c2VjcmV0LW9mLXRoZS1mdXp6ZXItMDE="), STR("not base 64")};
    struct connector_signature signature = {
        .scheme = 1 + data[0] % SIGNATURE_STANDARD_WEBHOOKS, .header = STR("x-sig"),
        .prefix = data[0] & 0x80 ? STR("sha256=") : STR_NONE, .tolerance_s = 300,
        .secrets = secrets, .secret_count = 2};
    struct receive_header_source headers = {header_find, &p};
    struct fault fault = {0};
    enum err err = signature_verify(&signature, &headers, body, INT64_C(1700000000000000), &fault);
    must(err == ERR_UNAUTHENTICATED);
    must(fault.detail[0] != '\0');
    return 0;
}
