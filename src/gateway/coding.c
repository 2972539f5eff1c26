/* coding: gzip for the gateway: which bodies come in it, which answers leave in it.
 *
 * In: JSON documents and NDJSON, and webhooks, whose signature is over the bytes as they were sent
 * (what platforms sign is the content of their message, RFC 9110 section 6.4, which is coded
 * content); they are unpacked once it was found good, so that a stranger costs no more than a hash.
 *
 * Out: answers to GET of gzip_answer_bytes_min and more, and results of bulk calls. Not problems,
 * answers to commands, or tokens; not server-sent events, which want each event at once. What is
 * packed tells by its length what repeats in it (BREACH: a secret beside text that an attacker
 * chooses, asked for by a browser in the victim's name, over and over). Our callers are programs
 * whose secret is in a header and in no answer; where a caller is a browser, it sends a cookie,
 * and an answer to that is never packed.
 *
 * Packing a page takes milliseconds: it happens on the worker that read it; on a loop thread, only
 * what is short. */
#include "gateway/gateway_priv.h"
#include "gateway/http_gzip.h"

#define LOOP_BYTES_MAX ((size_t)128 << 10) /* 0.8 ms; /metrics, which no worker writes, fits */

static const struct http_request *request_of(const struct call *call) {
    return http_exchange_request(call->ex);
}

/* --- in ------------------------------------------------------------------------------------ */

/* All Content-Encoding fields are one list. */
enum err coding_read(struct call *call, bool *gzip) {
    const struct http_request *request = request_of(call);
    uint32_t codings = 0;

    *gzip = false;
    for (uint32_t i = 0; i < request->header_count; i++) {
        struct str rest = request->headers[i].value, name;

        if (request->headers[i].name.len != 16 ||
            !str_eq_nocase(request->headers[i].name, STR("content-encoding")))
            continue;
        while (rest.ptr) {
            name = str_trim(str_cut(&rest, ','));
            if (name.len == 0 || str_eq_nocase(name, STR("identity")))
                continue;
            *gzip = str_eq_nocase(name, STR("gzip")) || str_eq_nocase(name, STR("x-gzip"));
            if (!*gzip || ++codings > 1)
                return fault_set(&call->fault, ERR_CONTENT_CODING,
                                 "send the body as it is, or in gzip, once: not %.*s",
                                 STR_FMT(request->headers[i].value));
        }
    }
    return OK;
}

enum err coding_unpack(struct call *call, struct str sent, struct str *body, struct fault *fault) {
    const struct settings *settings = &call->gateway->config->settings;
    const char *detail;
    struct buf out;
    char *copy;
    enum err err;

    buf_init(&out, (size_t)settings->body_bytes_max);
    err = http_gunzip_all(sent, (uint32_t)settings->gzip_ratio_max, &out, &detail);
    copy = err == OK ? arena_bytes(http_exchange_arena(call->ex), out.len + JSON_PADDING) : NULL;
    if (err == OK && !copy) {
        err = ERR_NOMEM;
        detail = "no memory for the body";
    }
    if (err == OK) {
        memcpy(copy, buf_str(&out).ptr, out.len);
        memset(copy + out.len, 0, JSON_PADDING);
        *body = str_of(copy, out.len);
    }
    buf_free(&out);
    return err == OK ? OK : fault_set(fault, err, "%s", detail);
}

/* --- out ----------------------------------------------------------------------------------- */

/* An answer of this length may be packed, for those that want it. */
static bool eligible(const struct call *call, size_t len) {
    int64_t least = call->gateway->config->settings.gzip_answer_bytes_min;
    enum http_method method = request_of(call)->method;

    return least > 0 && len >= (size_t)least &&
           (method == HTTP_METHOD_GET || method == HTTP_METHOD_HEAD) &&
           !http_request_header(request_of(call), "Cookie").ptr;
}

/* All Accept-Encoding fields are one list; the first that has gzip decides. */
static bool accepted(const struct call *call) {
    const struct http_request *request = request_of(call);

    for (uint32_t i = 0; i < request->header_count; i++)
        if (request->headers[i].name.len == 15 &&
            str_eq_nocase(request->headers[i].name, STR("accept-encoding")))
            return http_gzip_accepted(request->headers[i].value);
    return false;
}

bool coding_pack(const struct call *call, struct str body, struct buf *out) {
    if (!eligible(call, body.len) || !accepted(call))
        return false;
    buf_init(out, 0);
    if (http_gzip_all(body, out) && out->len < body.len)
        return true;
    buf_free(out);
    return false;
}

bool coding_wants_worker(const struct call *call, struct str body) {
    return body.len > LOOP_BYTES_MAX && eligible(call, body.len) && accepted(call);
}

void coding_answer(struct call *call, struct str body, struct coded *coded) {
    *coded = (struct coded){.body = body};
    coded->varies = eligible(call, body.len);
    if (!coded->varies || !accepted(call))
        return;
    if (call->query.packed.ptr) {
        coded->packed = true;
        coded->body = call->query.packed;
    } else if (body.len <= LOOP_BYTES_MAX) {
        struct buf *scratch = &call->loop->packed;

        buf_clear(scratch);
        coded->packed = http_gzip_all(body, scratch) && scratch->len < body.len;
        if (coded->packed)
            coded->body = buf_str(scratch);
    }
}

bool coding_streams(const struct call *call) {
    return call->gateway->config->settings.gzip_answer_bytes_min > 0 && accepted(call) &&
           !http_request_header(request_of(call), "Cookie").ptr;
}
