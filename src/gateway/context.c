/* context: see context.h. Pure but for the random span ids. */
#include "gateway/context.h"

#include "base/span.h"
#include "retail/cards.h"

static bool correlation_ok(struct str s) {
    if (s.len == 0 || s.len > CORRELATION_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] < 0x21 || s.ptr[i] > 0x7e)
            return false;
    return !cards_in_id(s, true); /* it goes everywhere */
}

static bool hex_lower(struct str s) {
    bool any = false;

    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];

        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        any |= c != '0';
    }
    return any;
}

bool traceparent_parse(struct str text, char trace_id[32], char flags[2]) {
    struct str version = str_of(text.ptr, 2);

    if (text.len < 55 || text.ptr[2] != '-' || text.ptr[35] != '-' || text.ptr[52] != '-')
        return false;
    if (!str_is(version, "00") && (!hex_lower(version) || str_is(version, "ff")))
        return false;
    if (text.len > 55 && (str_is(version, "00") || text.ptr[55] != '-'))
        return false;
    if (!hex_lower(str_of(text.ptr + 3, 32)) || !hex_lower(str_of(text.ptr + 36, 16)))
        return false;
    if (!hex_lower(str_of(text.ptr + 53, 2)) && !str_is(str_of(text.ptr + 53, 2), "00"))
        return false;
    memcpy(trace_id, text.ptr + 3, 32);
    memcpy(flags, text.ptr + 53, 2);
    return true;
}

static void hex_random(struct rng *rng, char *out, size_t digits) {
    static const char hex[] = "0123456789abcdef";

    for (size_t i = 0; i < digits; i += 16) {
        uint64_t word = rng_u64(rng) | 1; /* never all zeros */

        for (size_t d = i; d < digits && d < i + 16; d++, word >>= 4)
            out[d] = hex[word & 15];
    }
}

enum err context_read(const struct http_request *request, struct rng *rng, struct arena *arena,
                      struct call_context *out, struct fault *fault) {
    struct str given = http_request_header(request, "Penstock-Correlation-Id");
    struct str parent = http_request_header(request, "traceparent");
    char *text = arena_bytes(arena, 55);

    out->if_match = -1;
    if (!text)
        return fault_set(fault, ERR_NOMEM, "no memory for the request");
    memcpy(text, "00-", 3);
    if (parent.ptr && traceparent_parse(parent, text + 3, text + 53)) {
        out->parent_span = str_of(parent.ptr + 36, SPAN_ID_LEN);
    } else {
        hex_random(rng, text + 3, 32);
        memcpy(text + 53, spans_sample(text + 3) ? "01" : "00", 2);
    }
    text[35] = text[52] = '-';
    hex_random(rng, text + 36, 16);
    out->traceparent = str_of(text, 55);
    if (!correlation_ok(given))
        given = http_request_header(request, "X-Correlation-ID");
    out->correlation = correlation_ok(given) ? given : str_of(text + 3, 32);
    return OK;
}

/* sf-string (RFC 8941 section 3.3.3) or a bare word. */
static enum err idem_key_read(struct str text, struct arena *arena, struct str *out,
                              struct fault *fault) {
    bool quoted = text.len >= 2 && text.ptr[0] == '"' && text.ptr[text.len - 1] == '"';
    struct str inner = quoted ? str_of(text.ptr + 1, text.len - 2) : text;
    char *key = arena_bytes(arena, inner.len + 1);
    size_t len = 0;

    if (!key)
        return fault_set(fault, ERR_NOMEM, "no memory for the request");
    for (size_t i = 0; i < inner.len; i++) {
        char c = inner.ptr[i];

        if (quoted && c == '\\' && i + 1 < inner.len &&
            (inner.ptr[i + 1] == '"' || inner.ptr[i + 1] == '\\'))
            c = inner.ptr[++i];
        else if (c == '"' || (quoted && c == '\\') || c > 0x7e || c < (quoted ? 0x20 : 0x21))
            return fault_set(fault, ERR_BAD_REQUEST,
                             "Idempotency-Key is neither a quoted string nor a word");
        key[len++] = c;
    }
    if (len == 0 || len > IDEM_KEY_MAX)
        return fault_set(fault, ERR_BAD_REQUEST, "Idempotency-Key has 1 to %d characters",
                         IDEM_KEY_MAX);
    *out = str_of(key, len);
    return OK;
}

static bool if_match_read(struct str text, int64_t *out) {
    static const struct str gzip = {CODING_ETAG_SUFFIX, sizeof CODING_ETAG_SUFFIX - 1};
    uint64_t version;

    if (str_is(text, "*"))
        return true;
    if (text.len >= 2 && text.ptr[0] == '"' && text.ptr[text.len - 1] == '"')
        text = str_of(text.ptr + 1, text.len - 2);
    if (text.len > gzip.len &&
        str_eq(str_of(text.ptr + text.len - gzip.len, gzip.len), gzip))
        text.len -= gzip.len;
    if (text.len > 1 && text.ptr[0] == 'v')
        text = str_of(text.ptr + 1, text.len - 1);
    if (!str_u64(text, &version) || version > INT64_MAX)
        return false;
    *out = (int64_t)version;
    return true;
}

enum err preconditions_read(const struct http_request *request, struct arena *arena,
                            struct call_context *out, struct fault *fault) {
    struct str idem = STR_NONE, match = STR_NONE, wait = STR_NONE;

    for (uint32_t i = 0; i < request->header_count; i++) {
        const struct http_header *h = &request->headers[i];
        struct str *slot = NULL;

        if (h->name.len == 15 && str_eq_nocase(h->name, STR("idempotency-key")))
            slot = &idem;
        else if (h->name.len == 8 && str_eq_nocase(h->name, STR("if-match")))
            slot = &match;
        else if (h->name.len == 17 && str_eq_nocase(h->name, STR("penstock-wait-seq")))
            slot = &wait;
        if (!slot)
            continue;
        if (slot->ptr)
            return fault_set(fault, ERR_BAD_REQUEST, "%.*s is given twice", STR_FMT(h->name));
        *slot = h->value;
    }
    if (idem.ptr) {
        enum err err = idem_key_read(idem, arena, &out->idem_key, fault);

        if (err != OK)
            return err;
    }
    if (match.ptr && !if_match_read(match, &out->if_match))
        return fault_set(fault, ERR_BAD_REQUEST,
                         "If-Match is not one version as the ETag said it: \"7\"");
    if (wait.ptr && !str_u64(wait, &out->wait_seq))
        return fault_set(fault, ERR_BAD_REQUEST, "Penstock-Wait-Seq is not a seq");
    out->has_wait_seq = wait.ptr != NULL;
    return OK;
}
