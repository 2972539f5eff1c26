/* http_exchange: a request and its answer. Owns the text of the answer's head; what is queued
 * here leaves through http_conn.c. */
#include "gateway/http_priv.h"

#include <time.h>

#include "base/mem.h"

#define OUT_BYTES_MAX ((size_t)1 << 30)
#define KEEP_BYTES ((size_t)64 << 10)

struct http_exchange *http_exchange_take(struct http_loop *loop, struct http_conn *conn) {
    struct http_exchange *ex = loop->spare;

    if (ex) {
        loop->spare = ex->next;
        loop->spare_count--;
    } else {
        ex = mem_zalloc(sizeof *ex);
        if (!ex)
            return NULL;
        ex->loop = loop;
        arena_init(&ex->arena, loop->server->limits.arena_bytes_max);
        http_message_init(&ex->message, &loop->server->limits, &loop->server->bodies_bytes);
        buf_init(&ex->out, OUT_BYTES_MAX);
        buf_init(&ex->queued, OUT_BYTES_MAX);
    }
    ex->next = NULL;
    ex->conn = conn;
    return ex;
}

void http_exchange_free(struct http_exchange *ex) {
    arena_free(&ex->arena);
    http_message_free(&ex->message);
    buf_free(&ex->out);
    buf_free(&ex->queued);
    mem_free(ex);
}

void http_exchange_release(struct http_exchange *ex) {
    struct http_loop *loop = ex->loop;
    struct arena arena = ex->arena;
    struct http_message message = ex->message;
    struct buf out = ex->out, queued = ex->queued;

    http_gzip_destroy(ex->gzip);
    ex->gzip = NULL;
    if (loop->spare_count >= EXCHANGES_KEPT) {
        http_exchange_free(ex);
        return;
    }
    arena_reset(&arena);
    http_message_reset(&message);
    if (out.cap > KEEP_BYTES)
        buf_free(&out);
    if (queued.cap > KEEP_BYTES)
        buf_free(&queued);
    buf_clear(&out);
    buf_clear(&queued);
    memset(ex, 0, sizeof *ex);
    ex->loop = loop;
    ex->arena = arena;
    ex->message = message;
    ex->out = out;
    ex->queued = queued;
    ex->next = loop->spare;
    loop->spare = ex;
    loop->spare_count++;
}

const struct http_request *http_exchange_request(const struct http_exchange *ex) {
    return &ex->message.request;
}
struct arena *http_exchange_arena(struct http_exchange *ex) { return &ex->arena; }
void http_exchange_data_set(struct http_exchange *ex, void *data) { ex->data = data; }
void *http_exchange_data(const struct http_exchange *ex) { return ex->data; }
struct http_exchange *http_exchange_before(const struct http_exchange *ex) {
    struct http_exchange *before = NULL;

    if (!ex->conn || ex->conn->first == ex)
        return NULL;
    for (struct http_exchange *at = ex->conn->first; at && at != ex; at = at->next)
        before = at->ended ? before : at;
    return before;
}
struct http_loop *http_exchange_loop(const struct http_exchange *ex) { return ex->loop; }
bool http_closed(const struct http_exchange *ex) { return ex->conn == NULL; }

const struct http_peer *http_exchange_peer(const struct http_exchange *ex) {
    return ex->conn ? ex->conn->peer : NULL;
}
bool http_exchange_secure(const struct http_exchange *ex) { return ex->conn && ex->conn->secure; }

bool http_exchange_origin(const struct http_exchange *ex, struct inet_address *out) {
    if (ex->conn)
        memcpy(out->bytes, ex->conn->address, sizeof out->bytes);
    return ex->conn != NULL;
}

struct str http_exchange_address(const struct http_exchange *ex, char text[HTTP_ADDRESS_CHARS]) {
    struct inet_address address;

    text[0] = '\0';
    return http_exchange_origin(ex, &address) ? inet_write(&address, text) : STR("");
}

void http_gone_set(struct http_exchange *ex, void (*gone)(struct http_exchange *ex, void *ctx),
                   void *ctx) {
    ex->gone = gone;
    ex->gone_ctx = ctx;
}

struct str http_request_header(const struct http_request *request, const char *name) {
    struct str wanted = str_c(name);

    for (uint32_t i = 0; i < request->header_count; i++)
        if (request->headers[i].name.len == wanted.len &&
            str_eq_nocase(request->headers[i].name, wanted))
            return request->headers[i].value;
    return STR_NONE;
}

void http_stream_body(struct http_exchange *ex, const struct http_body_sink *sink) {
    must(!ex->received && !ex->sink_open);
    ex->sink = *sink;
    ex->sink_open = true;
}
bool http_body_gunzip(struct http_exchange *ex) {
    must(!ex->received && !ex->message.gunzip);
    ex->message.gunzip = http_gunzip_create(ex->loop->server->limits.gzip_ratio_max);
    return ex->message.gunzip != NULL;
}
enum err http_body_fault(const struct http_exchange *ex, const char **detail) {
    *detail = ex->body_detail;
    return ex->body_err;
}
void http_body_pause(struct http_exchange *ex) { ex->body_paused = true; }
void http_body_resume(struct http_exchange *ex) {
    if (!ex->body_paused)
        return;
    ex->body_paused = false;
    if (ex->conn)
        http_conn_dirty(ex->conn); /* reading goes on when the connection is looked at */
}

/* --- the answer --------------------------------------------------------------------------- */

const char *http_reason(int status) {
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"}, {201, "Created"}, {202, "Accepted"}, {204, "No Content"},
        {304, "Not Modified"}, {400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"},
        {404, "Not Found"}, {405, "Method Not Allowed"}, {406, "Not Acceptable"},
        {408, "Request Timeout"}, {409, "Conflict"}, {410, "Gone"}, {412, "Precondition Failed"},
        {413, "Content Too Large"}, {414, "URI Too Long"}, {415, "Unsupported Media Type"},
        {417, "Expectation Failed"}, {422, "Unprocessable Content"}, {428, "Precondition Required"},
        {429, "Too Many Requests"}, {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"}, {501, "Not Implemented"}, {502, "Bad Gateway"},
        {503, "Service Unavailable"}, {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Answer";
}

static struct str loop_date(struct http_loop *loop) {
    int64_t now_s = clock_now_us(loop->server->clock) / 1000000;

    if (now_s != loop->date_s || loop->date[0] == 0) {
        time_t t = (time_t)now_s;
        struct tm tm;

        gmtime_r(&t, &tm);
        strftime(loop->date, sizeof loop->date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        loop->date_s = now_s;
    }
    return str_of(loop->date, 29);
}

void http_answer_begin(struct http_exchange *ex, int status) {
    must(!ex->began && ex->handed);
    ex->began = true;
    ex->bodiless = status == 204 || status == 304;
    if (status == 200)
        buf_lit(&ex->queued, "HTTP/1.1 200 OK\r\nDate: ");
    else if (status == 201)
        buf_lit(&ex->queued, "HTTP/1.1 201 Created\r\nDate: ");
    else
        buf_printf(&ex->queued, "HTTP/1.1 %d %s\r\nDate: ", status, http_reason(status));
    buf_str_add(&ex->queued, loop_date(ex->loop));
    buf_lit(&ex->queued, "\r\n");
}

void http_answer_header(struct http_exchange *ex, struct str name, struct str value) {
    size_t from;

    buf_str_add(&ex->queued, name);
    buf_lit(&ex->queued, ": ");
    from = ex->queued.len;
    buf_str_add(&ex->queued, value);
    for (size_t i = from; i < ex->queued.len; i++) /* a value can not end the head */
        if ((unsigned char)ex->queued.data[i] < 0x20)
            ex->queued.data[i] = ' ';
    buf_lit(&ex->queued, "\r\n");
}

void http_answer_header_u64(struct http_exchange *ex, struct str name, uint64_t value) {
    buf_str_add(&ex->queued, name);
    buf_lit(&ex->queued, ": ");
    buf_u64(&ex->queued, value);
    buf_lit(&ex->queued, "\r\n");
}

void http_answer_close(struct http_exchange *ex) { ex->close = true; }

/* Answered before its body was read, and too much of it may come to read past it. */
static bool body_in_the_way(const struct http_exchange *ex) {
    const struct http_message *m = &ex->message;

    return !ex->received && !ex->sink_open && m->request.has_body &&
           (m->chunked || m->content_length > DISCARD_BYTES_MAX || m->expect_continue);
}

static void head_end_write(struct http_exchange *ex, struct str media_type) {
    if (media_type.len > 0) {
        buf_lit(&ex->queued, "Content-Type: ");
        buf_str_add(&ex->queued, media_type);
        buf_lit(&ex->queued, "\r\n");
    }
    if (!ex->message.keep_alive || body_in_the_way(ex) ||
        atomic_load_explicit(&ex->loop->server->draining, memory_order_relaxed))
        ex->close = true;
    if (ex->close)
        buf_lit(&ex->queued, "Connection: close\r\n");
    else if (ex->message.request.minor == 0)
        buf_lit(&ex->queued, "Connection: keep-alive\r\n");
}

/* The answer is complete: send it, or forget it where nobody reads it. */
static void answer_ended(struct http_exchange *ex) {
    ex->ended = true;
    ex->gone = NULL;
    if (ex->conn) {
        http_conn_dirty(ex->conn);
        return;
    }
    must(ex->loop->owed > 0);
    ex->loop->owed--;
    http_exchange_release(ex);
}

void http_answer_end(struct http_exchange *ex, struct str media_type, struct str body) {
    must(ex->began && !ex->ended && !ex->streamed);
    if (!ex->conn) {
        answer_ended(ex);
        return;
    }
    if (!ex->bodiless) {
        head_end_write(ex, media_type);
        buf_lit(&ex->queued, "Content-Length: ");
        buf_u64(&ex->queued, body.len);
        buf_lit(&ex->queued, "\r\n\r\n");
        if (ex->message.request.method != HTTP_METHOD_HEAD)
            buf_str_add(&ex->queued, body);
    } else {
        head_end_write(ex, STR_NONE);
        buf_lit(&ex->queued, "\r\n");
    }
    if (!buf_ok(&ex->queued))
        ex->cut = true;
    answer_ended(ex);
}

void http_answer(struct http_exchange *ex, int status, struct str media_type, struct str body) {
    http_answer_begin(ex, status);
    http_answer_end(ex, media_type, body);
}

void http_stream_begin(struct http_exchange *ex, struct str media_type,
                       void (*more)(struct http_exchange *ex, void *ctx), void *ctx) {
    must(ex->began && !ex->ended && !ex->streamed);
    ex->streamed = true;
    ex->more = more;
    ex->more_ctx = ctx;
    ex->chunked = ex->message.request.minor == 1;
    if (!ex->chunked) /* HTTP/1.0 knows the end by the close alone */
        ex->close = true;
    head_end_write(ex, media_type);
    if (ex->chunked)
        buf_lit(&ex->queued, "Transfer-Encoding: chunked\r\n");
    buf_lit(&ex->queued, "\r\n");
    if (ex->conn)
        http_conn_dirty(ex->conn);
}

size_t http_stream_unsent(const struct http_exchange *ex) {
    return ex->out.len - ex->sent + ex->queued.len;
}

void http_stream_want_more(struct http_exchange *ex) { ex->starved = true; }

void http_stream_gzip(struct http_exchange *ex) {
    must(ex->began && !ex->streamed && !ex->gzip);
    http_answer_header(ex, STR("Vary"), STR("Accept-Encoding"));
    ex->gzip = http_gzip_create();
    if (ex->gzip) /* else it leaves as it is */
        http_answer_header(ex, STR("Content-Encoding"), STR("gzip"));
}

/* A part as it leaves: packed, and as a chunk. */
static void part_queue(struct http_exchange *ex, struct str part, enum http_gzip_flush flush) {
    struct buf *packed = &ex->loop->packed;

    if (ex->gzip) {
        buf_clear(packed);
        if (!http_gzip_write(ex->gzip, part, flush, packed)) {
            ex->queued.failed = true; /* the end cuts the connection */
            return;
        }
        part = buf_str(packed);
    }
    if (part.len > 0 && ex->chunked)
        buf_printf(&ex->queued, "%zx\r\n", part.len);
    buf_str_add(&ex->queued, part);
    if (part.len > 0 && ex->chunked)
        buf_lit(&ex->queued, "\r\n");
}

bool http_stream_write(struct http_exchange *ex, struct str part) {
    must(ex->streamed && !ex->ended);
    if (!ex->conn || part.len == 0 || ex->message.request.method == HTTP_METHOD_HEAD)
        return true;
    part_queue(ex, part, HTTP_GZIP_FLUSH);
    http_conn_dirty(ex->conn);
    ex->starved = http_stream_unsent(ex) > ex->loop->server->limits.stream_bytes_max;
    return !ex->starved;
}

void http_stream_end(struct http_exchange *ex, bool complete) {
    must(ex->streamed && !ex->ended);
    if (complete && ex->gzip && ex->conn && ex->message.request.method != HTTP_METHOD_HEAD)
        part_queue(ex, STR(""), HTTP_GZIP_END);
    if (complete && ex->chunked && ex->message.request.method != HTTP_METHOD_HEAD)
        buf_lit(&ex->queued, "0\r\n\r\n");
    if (!complete || !buf_ok(&ex->queued))
        ex->cut = true;
    answer_ended(ex);
}

void http_cut(struct http_exchange *ex) {
    must(!ex->began && ex->handed);
    ex->began = true;
    ex->cut = true;
    answer_ended(ex);
}

/* What the server itself refuses. */
void http_exchange_refuse(struct http_exchange *ex, enum err err, const char *detail) {
    struct http_server *server = ex->loop->server;
    const struct err_info *info = err_info(err);
    struct buf body;

    ex->handed = true;
    ex->close = true;
    if (server->options.refuse) {
        server->options.refuse(ex, err, detail, server->options.ctx);
        return;
    }
    buf_init(&body, 4096);
    buf_printf(&body, "{\"type\":\"https://penstock.org/problems/%s\",\"title\":\"%s\",\"status\":%d",
               info->slug, info->title, info->status);
    buf_lit(&body, ",\"detail\":");
    buf_json_str(&body, str_c(detail));
    buf_lit(&body, "}");
    http_answer(ex, info->status, STR("application/problem+json"), buf_str(&body));
    buf_free(&body);
}
