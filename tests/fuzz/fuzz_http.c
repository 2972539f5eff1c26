/* Requests as bytes, one behind the other on a connection: heads, bodies with a length, chunked, in
 * gzip. The first two bytes say how the rest is cut into what arrives at once, and when the taker of a
 * streamed body pauses.
 *
 * What holds: every slice of a request lies within its head, a body is as long as its bounds allow,
 * and the same bytes mean the same however they are cut, and whether a body is kept, or taken as it
 * comes by somebody who pauses now and then. */
#include "fuzz.h"

#include "base/err.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "gateway/http_parse.h"

#define BODY_MAX 8192

static const struct http_limits limits = {.header_bytes_max = 2048,
                                          .target_bytes_max = 512,
                                          .header_count_max = 20,
                                          .body_bytes_max = BODY_MAX,
                                          .bodies_bytes_max = 1 << 20};

struct outcome {
    uint64_t messages, fingerprint;
    enum err err;
};

/* How a run takes what comes. */
struct taking {
    uint64_t seed;
    size_t piece; /* 0: drawn from the seed */
    bool streams;
};

struct sink {
    struct buf body;
    uint64_t random;
    bool paused, pauses;
};

static uint64_t draw(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static bool inside(const struct http_message *m, struct str s) {
    return s.len == 0 || (s.ptr >= m->head.data && s.ptr + s.len <= m->head.data + m->head.len);
}

static void look_at(const struct http_message *m, struct str body, struct outcome *out) {
    const struct http_request *r = &m->request;

    must(inside(m, r->method_name) && r->target.len > 0 && r->target.len <= 512);
    must(r->path.len > 0 && (r->path.ptr[0] == '/' || str_is(r->path, "*")));
    must(r->header_count <= 20);
    must(!(m->chunked && m->content_length > 0));
    for (uint32_t i = 0; i < r->header_count; i++) {
        struct str value = r->headers[i].value;

        must(inside(m, r->headers[i].name) && inside(m, value) && r->headers[i].name.len > 0);
        for (size_t at = 0; at < value.len; at++)
            must((unsigned char)value.ptr[at] >= 0x20 || value.ptr[at] == '\t');
        out->fingerprint = hash64(value, out->fingerprint);
    }
    out->fingerprint = hash64(r->path, hash64(r->query, hash64(body, out->fingerprint)));
    out->messages++;
}

static void take_part(void *ctx, struct str part) {
    struct sink *sink = ctx;

    must(part.len > 0);
    buf_str_add(&sink->body, part);
    sink->paused = sink->pauses && draw(&sink->random) % 4 == 0;
}

/* The head is there: as the gateway would, have it unpacked, and streamed where the run says so. */
static void head_seen(struct http_message *m, const struct taking *taking, struct sink *sink) {
    for (uint32_t i = 0; i < m->request.header_count; i++)
        if (str_eq_nocase(m->request.headers[i].name, STR("content-encoding")) && !m->gunzip &&
            m->request.has_body)
            m->gunzip = http_gunzip_create(20);
    if (!taking->streams)
        return;
    buf_clear(&sink->body);
    sink->paused = false;
    m->part = take_part;
    m->part_ctx = sink;
    m->paused = &sink->paused;
}

/* Everything that one arrival holds. */
static void take_arrival(struct http_parser *parser, struct http_message *m, struct str in,
                         bool *begun, const struct taking *taking, struct sink *sink,
                         struct outcome *out) {
    enum http_step step = HTTP_STEP_MORE;

    while (out->err == OK && (in.len > 0 || step == HTTP_STEP_HEAD)) {
        if (!*begun)
            http_parser_begin(parser, m);
        *begun = true;
        sink->paused = false; /* resumed */
        step = http_parse(parser, &in);
        must(step != HTTP_STEP_MORE || in.len == 0 || sink->paused ||
             m->turn_bytes > 0); /* others shall have their turn */
        if (step == HTTP_STEP_HEAD) {
            head_seen(m, taking, sink);
        } else if (step == HTTP_STEP_REFUSED) {
            must(parser->err != OK && parser->detail != NULL);
            out->err = parser->err;
        } else if (step == HTTP_STEP_DONE) {
            struct str body = taking->streams ? buf_str(&sink->body) : m->request.body;

            must(taking->streams || body.len <= BODY_MAX);
            for (size_t i = 0; !taking->streams && body.len > 0 && i < JSON_PADDING; i++)
                must(body.ptr[body.len + i] == 0);
            look_at(m, body, out);
            *begun = false;
        }
    }
}

static struct outcome run(const uint8_t *data, size_t size, struct taking taking) {
    struct outcome out = {0};
    struct sink sink = {.random = taking.seed, .pauses = taking.piece == 0};
    struct http_parser parser;
    struct http_message message;
    _Atomic uint64_t bodies = 0;
    bool begun = false;

    buf_init(&sink.body, 0);
    http_message_init(&message, &limits, &bodies);
    http_parser_init(&parser, &limits);
    for (size_t at = 0, len; at < size && out.err == OK; at += len) {
        char *copy;

        len = taking.piece ? taking.piece : 1 + draw(&taking.seed) % (draw(&taking.seed) % 64 + 1);
        len = len < size - at ? len : size - at;
        copy = mem_alloc(len); /* of its own, so that the sanitizer sees its end */
        must(copy != NULL);
        memcpy(copy, data + at, len);
        take_arrival(&parser, &message, str_of(copy, len), &begun, &taking, &sink, &out);
        mem_free(copy);
    }
    http_message_free(&message);
    must(atomic_load(&bodies) == 0);
    buf_free(&sink.body);
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3 || size > 65536)
        return 0;
    uint64_t seed = (uint64_t)data[0] << 8 | data[1];
    struct outcome whole = run(data + 2, size - 2, (struct taking){.piece = size});
    struct taking others[] = {{.piece = 1 + data[0]}, {.seed = seed}};

    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct outcome split = run(data + 2, size - 2, others[i]);

        must(whole.messages == split.messages && whole.fingerprint == split.fingerprint);
        must((whole.err == OK) == (split.err == OK));
    }
    /* Streamed, a body may be longer than one that is kept; else nothing differs. */
    struct outcome streamed = run(data + 2, size - 2, (struct taking){.seed = seed, .streams = true});
    if (whole.err == OK || (whole.err != ERR_TOO_LARGE && streamed.err == whole.err)) {
        must(streamed.messages == whole.messages && streamed.fingerprint == whole.fingerprint);
    }
    must(whole.err != OK || streamed.err == OK);
    return 0;
}
