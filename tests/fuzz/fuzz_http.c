/* Requests as bytes: the first byte says in how large pieces the rest arrives. What holds: every
 * slice of a request lies within its head, a body is as long as its bounds allow, and the same
 * bytes mean the same however they are split. */
#include <stdint.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "gateway/http_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct http_limits limits = {.header_bytes_max = 2048,
                                          .target_bytes_max = 512,
                                          .header_count_max = 20,
                                          .body_bytes_max = 8192};

struct outcome {
    uint64_t messages, fingerprint;
    enum err err;
};

static bool inside(const struct http_message *m, struct str s) {
    return s.len == 0 || (s.ptr >= m->head.data && s.ptr + s.len <= m->head.data + m->head.len);
}

static void look_at(const struct http_message *m, struct outcome *out) {
    const struct http_request *r = &m->request;

    must(inside(m, r->method_name) && r->target.len > 0 && r->target.len <= 512);
    must(r->header_count <= 20 && r->body.len <= 8192);
    for (uint32_t i = 0; i < r->header_count; i++) {
        must(inside(m, r->headers[i].name) && inside(m, r->headers[i].value));
        must(!r->headers[i].value.len || !memchr(r->headers[i].value.ptr, '\n', r->headers[i].value.len));
        out->fingerprint = hash64(r->headers[i].value, out->fingerprint);
    }
    for (size_t i = 0; r->body.len > 0 && i < JSON_PADDING; i++)
        must(r->body.ptr[r->body.len + i] == 0);
    out->fingerprint = hash64(r->target, hash64(r->body, out->fingerprint));
    out->messages++;
}

static struct outcome run(const uint8_t *data, size_t size, size_t piece) {
    struct outcome out = {0};
    struct http_parser parser;
    struct http_message message;
    bool begun = false;

    http_message_init(&message, &limits, NULL);
    http_parser_init(&parser, &limits);
    for (size_t at = 0; at < size && out.err == OK; at += piece) {
        size_t len = size - at < piece ? size - at : piece;
        char *copy = mem_alloc(len); /* of its own, so that the sanitizer sees its end */
        struct str in = str_of(copy, len);
        enum http_step step = HTTP_STEP_MORE;

        must(copy != NULL);
        memcpy(copy, data + at, len);
        while (in.len > 0 || step == HTTP_STEP_HEAD) {
            if (!begun)
                http_parser_begin(&parser, &message);
            begun = true;
            step = http_parse(&parser, &in);
            if (step == HTTP_STEP_MORE)
                break;
            if (step == HTTP_STEP_REFUSED) {
                must(parser.err != OK && parser.detail != NULL);
                out.err = parser.err;
                break;
            }
            if (step == HTTP_STEP_DONE) {
                look_at(&message, &out);
                begun = false;
            }
        }
        mem_free(copy);
    }
    http_message_free(&message);
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2 || size > 65536)
        return 0;
    struct outcome whole = run(data + 1, size - 1, size);
    struct outcome split = run(data + 1, size - 1, 1 + data[0]);

    must(whole.messages == split.messages && whole.fingerprint == split.fingerprint);
    must((whole.err == OK) == (split.err == OK));
    return 0;
}
