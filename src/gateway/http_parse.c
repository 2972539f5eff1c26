/* http_parse: see http_parse.h. Owns nothing: the message belongs to the exchange.
 *
 * What holds always: llhttp is given the head in one piece that our own check has found to end
 * where llhttp must find its end; a request that two parsers could read differently is refused. */
#include "gateway/http_parse.h"

#include "base/json.h"
#include "base/mem.h"
#include "gateway/http_chars.h"

#define KEEP_BYTES ((size_t)64 << 10) /* larger buffers are given back after the message */
#define TURN_BYTES ((size_t)256 << 10) /* unpacked, before others have their turn */
#define BLANK_LINES_MAX 4             /* before a request line; RFC 9112 section 2.2 asks for 1 */

static int on_target(llhttp_t *ll, const char *at, size_t len);
static int on_field(llhttp_t *ll, const char *at, size_t len);
static int on_value(llhttp_t *ll, const char *at, size_t len);
static int on_head(llhttp_t *ll);

static const llhttp_settings_t llhttp_callbacks = {
    .on_url = on_target,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_head,
};

void http_message_init(struct http_message *message, const struct http_limits *limits,
                       _Atomic uint64_t *bodies_bytes) {
    memset(message, 0, sizeof *message);
    message->bodies_bytes = bodies_bytes;
    buf_init(&message->head, limits->header_bytes_max + 1);
    buf_init(&message->body, limits->body_bytes_max + JSON_PADDING);
}

static void body_uncharge(struct http_message *message) {
    if (message->charged > 0)
        atomic_fetch_sub_explicit(message->bodies_bytes, message->charged, memory_order_relaxed);
    message->charged = 0;
}

/* Counts what a body has grown to; what is short is bounded by the number of connections. */
static bool body_charge(struct http_parser *parser) {
    struct http_message *m = parser->message;
    size_t more = m->body.cap - m->charged;

    if (!m->bodies_bytes || m->body.cap <= KEEP_BYTES || more == 0)
        return true;
    m->charged += more;
    return atomic_fetch_add_explicit(m->bodies_bytes, more, memory_order_relaxed) + more <=
           parser->limits->bodies_bytes_max;
}

void http_message_reset(struct http_message *message) {
    struct buf head = message->head, body = message->body;
    struct http_header *headers = message->headers;
    _Atomic uint64_t *bodies_bytes = message->bodies_bytes;

    body_uncharge(message);
    http_gunzip_destroy(message->gunzip);
    if (head.cap > KEEP_BYTES)
        buf_free(&head);
    if (body.cap > KEEP_BYTES)
        buf_free(&body);
    buf_clear(&head);
    buf_clear(&body);
    memset(message, 0, sizeof *message);
    message->head = head;
    message->body = body;
    message->headers = headers;
    message->bodies_bytes = bodies_bytes;
    message->request.headers = headers;
    message->request.body = STR("");
    message->request.method = HTTP_METHOD_OTHER;
}

void http_message_free(struct http_message *message) {
    body_uncharge(message);
    http_gunzip_destroy(message->gunzip);
    buf_free(&message->head);
    buf_free(&message->body);
    mem_free(message->headers);
}

void http_parser_init(struct http_parser *parser, const struct http_limits *limits) {
    memset(parser, 0, sizeof *parser);
    parser->limits = limits;
}

void http_parser_begin(struct http_parser *parser, struct http_message *message) {
    http_parser_init(parser, parser->limits);
    http_message_reset(message);
    parser->message = message;
    llhttp_init(&parser->ll, HTTP_REQUEST, &llhttp_callbacks);
    parser->ll.data = parser;
}

bool http_parser_begun(const struct http_parser *parser) {
    return parser->message && (parser->at != HTTP_AT_HEAD || parser->message->head.len > 0);
}

static enum http_step refuse(struct http_parser *parser, enum err err, const char *detail) {
    if (parser->err == OK) {
        parser->err = err;
        parser->detail = detail;
    }
    return HTTP_STEP_REFUSED;
}

/* --- the head ----------------------------------------------------------------------------- */

/* One line of the head, [line, end) without its line end. */
static bool line_ok(struct http_parser *parser, const char *line, size_t len, bool first) {
    if (memchr(line, '\r', len)) {
        refuse(parser, ERR_BAD_REQUEST, "a carriage return stands alone in the header section");
        return false;
    }
    if (!first && (line[0] == ' ' || line[0] == '\t')) {
        refuse(parser, ERR_BAD_REQUEST, "folded header fields are not taken");
        return false;
    }
    return true;
}

/* Looks for the end of the head in what is there. True and *end where it is found; false for
 * more, or where parser->err is set. */
static bool head_end(struct http_parser *parser, size_t *end) {
    struct buf *head = &parser->message->head;

    while (parser->scanned < head->len) {
        const char *from = head->data + parser->scanned;
        const char *lf = memchr(from, '\n', head->len - parser->scanned);
        size_t len;

        if (!lf) {
            parser->scanned = head->len;
            return false;
        }
        len = (size_t)(lf - head->data) - parser->line;
        if (len == 0 || lf[-1] != '\r') {
            refuse(parser, ERR_BAD_REQUEST, "a line of the header section ends without CR LF");
            return false;
        }
        len--;
        parser->scanned = (size_t)(lf - head->data) + 1;
        if (len == 0 && parser->line > 0) {
            *end = parser->scanned;
            return true;
        }
        if (len == 0) { /* an empty line before the request line: forget it */
            if (++parser->blank_lines > BLANK_LINES_MAX) {
                refuse(parser, ERR_BAD_REQUEST, "empty lines stand before the request line");
                return false;
            }
            head->len -= parser->scanned;
            memmove(head->data, head->data + parser->scanned, head->len);
            parser->scanned = 0;
            continue;
        }
        if (!line_ok(parser, head->data + parser->line, len, parser->line == 0))
            return false;
        parser->line = parser->scanned;
    }
    return false;
}

/* method SP target SP HTTP/d.d, one space each (RFC 9112 section 3). */
static bool request_line_ok(struct http_parser *parser) {
    struct http_request *request = &parser->message->request;
    const char *line = parser->message->head.data;
    const char *end = memchr(line, '\r', parser->message->head.len);
    const char *space = memchr(line, ' ', (size_t)(end - line));
    const char *last = memrchr(line, ' ', (size_t)(end - line));

    for (const char *c = line; c < (space ? space : end); c++)
        if (!http_char_is(*c, HTTP_CHAR_TOKEN)) {
            refuse(parser, ERR_BAD_REQUEST, "this is no HTTP request");
            return false;
        }
    if (!space || space == line || space == last || last == space + 1 ||
        memchr(space + 1, ' ', (size_t)(last - space - 1))) {
        refuse(parser, ERR_BAD_REQUEST, "the request line is not: method, target, version");
        return false;
    }
    request->method_name = str_of(line, (size_t)(space - line));
    request->target = str_of(space + 1, (size_t)(last - space - 1));
    if (end - last != 9 || memcmp(last + 1, "HTTP/", 5) != 0 || last[7] != '.') {
        refuse(parser, ERR_BAD_REQUEST, "the request line does not end in an HTTP version");
        return false;
    }
    if (last[6] != '1' || (last[8] != '0' && last[8] != '1')) {
        refuse(parser, ERR_HTTP_VERSION, "HTTP/1.1 and HTTP/1.0 are spoken here");
        return false;
    }
    request->minor = (uint8_t)(last[8] - '0');
    if (request->target.len > parser->limits->target_bytes_max) {
        refuse(parser, ERR_URI_TOO_LONG, "the request target is longer than target_bytes_max");
        return false;
    }
    return true;
}

static int on_target(llhttp_t *ll, const char *at, size_t len) { return 0; }

static int on_field(llhttp_t *ll, const char *at, size_t len) {
    struct http_parser *parser = ll->data;
    struct http_message *m = parser->message;

    if (parser->field_open) { /* the name goes on */
        struct str *name = &m->headers[m->request.header_count - 1].name;

        must(name->ptr + name->len == at);
        name->len += len;
        return 0;
    }
    if (m->request.header_count >= parser->limits->header_count_max) {
        refuse(parser, ERR_HEADERS, "there are more header fields than header_count_max");
        return -1;
    }
    m->headers[m->request.header_count++] = (struct http_header){str_of(at, len), STR("")};
    parser->field_open = true;
    return 0;
}

static int on_value(llhttp_t *ll, const char *at, size_t len) {
    struct http_parser *parser = ll->data;
    struct http_message *m = parser->message;

    must(m->request.header_count > 0);
    struct str *value = &m->headers[m->request.header_count - 1].value;
    if (parser->field_open || value->len == 0)
        *value = str_of(at, len);
    else
        value->len = (size_t)(at + len - value->ptr);
    parser->field_open = false;
    return 0;
}

static int on_head(llhttp_t *ll) {
    struct http_parser *parser = ll->data;

    parser->at = HTTP_AT_BODY;
    return HPE_PAUSED; /* the body is ours, and nothing is upgraded to */
}

/* What llhttp refused, in our words. */
static enum http_step refuse_llhttp(struct http_parser *parser, enum llhttp_errno error) {
    const char *reason;

    if (parser->err != OK)
        return HTTP_STEP_REFUSED;
    switch (error) {
    case HPE_INVALID_METHOD:
        return refuse(parser, ERR_METHOD_UNKNOWN, "the method is none that HTTP servers know");
    case HPE_INVALID_VERSION:
    case HPE_PAUSED_H2_UPGRADE:
        return refuse(parser, ERR_HTTP_VERSION, "HTTP/1.1 and HTTP/1.0 are spoken here");
    case HPE_UNEXPECTED_CONTENT_LENGTH:
        return refuse(parser, ERR_BAD_REQUEST,
                      "Content-Length is given twice or beside Transfer-Encoding");
    case HPE_INVALID_CONTENT_LENGTH:
        return refuse(parser, ERR_BAD_REQUEST, "Content-Length is not a number of bytes");
    default:
        reason = llhttp_get_error_reason(&parser->ll);
        return refuse(parser, ERR_BAD_REQUEST,
                      reason && *reason ? reason : "the request is not HTTP");
    }
}

/* The head is whole: have it parsed. */
static enum http_step head_parse(struct http_parser *parser) {
    struct http_message *m = parser->message;
    enum llhttp_errno error;
    const char *detail = NULL;
    enum err err;

    if (!m->headers) {
        m->headers = mem_alloc(sizeof *m->headers * parser->limits->header_count_max);
        m->request.headers = m->headers;
        if (!m->headers)
            return refuse(parser, ERR_NOMEM, "no memory for the header fields");
    }
    if (!request_line_ok(parser))
        return HTTP_STEP_REFUSED;
    error = llhttp_execute(&parser->ll, m->head.data, m->head.len);
    if (error != HPE_PAUSED)
        return error != HPE_OK ? refuse_llhttp(parser, error)
                               : refuse(parser, ERR_BAD_REQUEST,
                                        "the header section does not end where it should");
    err = http_head_read(m, &detail);
    if (err != OK)
        return refuse(parser, err, detail);
    parser->left = m->content_length;
    parser->at = m->request.has_body ? HTTP_AT_BODY : HTTP_AT_END;
    http_chunk_init(&parser->chunk, (uint32_t)parser->limits->header_bytes_max,
                    parser->limits->header_count_max);
    return HTTP_STEP_HEAD;
}

static enum http_step head_step(struct http_parser *parser, struct str *in) {
    struct buf *head = &parser->message->head;
    size_t before = head->len, room = parser->limits->header_bytes_max + 1 - before;
    size_t take = in->len < room ? in->len : room, end = 0, dropped = before;

    if (take == 0 && in->len == 0)
        return HTTP_STEP_MORE;
    buf_add(head, in->ptr, take);
    if (!buf_ok(head))
        return refuse(parser, ERR_NOMEM, "no memory for the header section");
    dropped = before + take;
    if (!head_end(parser, &end)) {
        *in = str_of(in->ptr + take, in->len - take);
        if (parser->err != OK)
            return HTTP_STEP_REFUSED;
        if (head->len <= parser->limits->header_bytes_max)
            return HTTP_STEP_MORE;
        if (parser->line == 0)
            return refuse(parser, ERR_URI_TOO_LONG, "the request line does not end");
        return refuse(parser, ERR_HEADERS, "the header section is longer than header_bytes_max");
    }
    dropped -= head->len; /* blank lines taken out at the front */
    *in = str_of(in->ptr + (end + dropped - before), in->len - (end + dropped - before));
    head->len = end;
    if (end > parser->limits->header_bytes_max)
        return refuse(parser, ERR_HEADERS, "the header section is longer than header_bytes_max");
    return head_parse(parser);
}

/* --- the body ----------------------------------------------------------------------------- */

static bool body_keep(struct http_parser *parser, struct str part) {
    struct http_message *m = parser->message;

    if (m->body.len + part.len > parser->limits->body_bytes_max) {
        refuse(parser, ERR_TOO_LARGE, "the body is longer than body_bytes_max");
        return false;
    }
    if (m->body.len == 0 && m->content_length > 0 && m->content_length <= KEEP_BYTES)
        buf_reserve(&m->body, (size_t)m->content_length + JSON_PADDING);
    buf_add(&m->body, part.ptr, part.len);
    if (!buf_ok(&m->body))
        refuse(parser, ERR_NOMEM, "no memory for the body");
    else if (!body_charge(parser))
        refuse(parser, ERR_UNAVAILABLE, "the bodies under way take more than bodies_bytes_max");
    return parser->err == OK;
}

/* A part of the body without coding. */
static bool body_plain(void *ctx, struct str part) {
    struct http_parser *parser = ctx;
    struct http_message *m = parser->message;

    if (!m->part)
        return body_keep(parser, part);
    m->part(m->part_ctx, part);
    m->turn_bytes += part.len;
    return true;
}

/* A part of the body without what framed it. */
static bool body_part(struct http_parser *parser, struct str part) {
    struct http_message *m = parser->message;
    const char *detail = NULL;
    enum err err;

    if (m->discard)
        return true;
    if (!m->gunzip)
        return body_plain(parser, part);
    err = http_gunzip_part(m->gunzip, part, body_plain, parser, &detail);
    if (err != OK)
        refuse(parser, err, detail);
    return parser->err == OK;
}

/* How much of the body is looked at before somebody is asked whether he can take more. */
static size_t part_max(const struct http_message *m) {
    return m->gunzip && m->part ? HTTP_GUNZIP_SLICE : SIZE_MAX;
}
/* Little that swells to much must not keep the loop from everybody else. */
static bool paused(const struct http_message *m) {
    return (m->paused && *m->paused) || (m->gunzip && m->turn_bytes > TURN_BYTES);
}

static enum http_step body_done(struct http_parser *parser) {
    struct http_message *m = parser->message;

    if (m->gunzip && !m->discard && !http_gunzip_whole(m->gunzip))
        return refuse(parser, ERR_BAD_REQUEST, "the gzip body is cut off");
    parser->at = HTTP_AT_END;
    if (m->body.len > 0) {
        if (!buf_reserve(&m->body, JSON_PADDING))
            return refuse(parser, ERR_NOMEM, "no memory for the body");
        memset(m->body.data + m->body.len, 0, JSON_PADDING);
        m->request.body = buf_str(&m->body);
    }
    return HTTP_STEP_DONE;
}

static enum http_step length_step(struct http_parser *parser, struct str *in) {
    size_t most = part_max(parser->message);

    while (in->len > 0 && !paused(parser->message)) {
        size_t n = in->len < most ? in->len : most;

        n = parser->left < n ? (size_t)parser->left : n;
        struct str part = str_of(in->ptr, n);

        *in = str_of(in->ptr + n, in->len - n);
        parser->left -= n;
        if (!body_part(parser, part))
            return HTTP_STEP_REFUSED;
        if (parser->left == 0)
            return body_done(parser);
    }
    return HTTP_STEP_MORE;
}

static enum http_step chunked_step(struct http_parser *parser, struct str *in) {
    size_t most = part_max(parser->message);
    struct str part;

    while (!paused(parser->message)) {
        switch (http_chunk_next(&parser->chunk, in, most, &part)) {
        case HTTP_CHUNK_DATA:
            if (!body_part(parser, part))
                return HTTP_STEP_REFUSED;
            break;
        case HTTP_CHUNK_MORE:
            return HTTP_STEP_MORE;
        case HTTP_CHUNK_END:
            return body_done(parser);
        case HTTP_CHUNK_BAD:
            return refuse(parser, parser->chunk.err, parser->chunk.detail);
        }
    }
    return HTTP_STEP_MORE;
}

enum http_step http_parse(struct http_parser *parser, struct str *in) {
    if (parser->err != OK)
        return HTTP_STEP_REFUSED;
    switch (parser->at) {
    case HTTP_AT_HEAD:
        return head_step(parser, in);
    case HTTP_AT_BODY:
        parser->message->turn_bytes = 0;
        return parser->message->chunked ? chunked_step(parser, in) : length_step(parser, in);
    default:
        return body_done(parser);
    }
}
