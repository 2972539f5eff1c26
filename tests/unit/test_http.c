/* The HTTP server: what it refuses that llhttp would take, how messages may be split, and over
 * real sockets: keep-alive, pipelining, late answers, streams with slow readers, timeouts, drain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/json.h"
#include "gateway/http.h"
#include "gateway/http_parse.h"

static const struct http_limits limits = {.header_bytes_max = 1024,
                                          .target_bytes_max = 200,
                                          .header_count_max = 16,
                                          .body_bytes_max = 4096};

/* --- the parser --------------------------------------------------------------------------- */

struct parsed {
    enum err err;
    const char *detail;
    uint32_t messages;
    char method[16], target[256], body[4096];
    size_t body_len;
    uint32_t header_count;
    bool keep_alive, unfinished;
};

/* Parses all messages in text, handed over in pieces of `piece` bytes. */
static struct parsed parse(const char *text, size_t len, size_t piece) {
    struct parsed out = {0};
    struct http_parser parser;
    struct http_message message;
    bool begun = false;

    http_message_init(&message, &limits, NULL);
    http_parser_init(&parser, &limits);
    for (size_t at = 0; at < len && out.err == OK; at += piece) {
        struct str in = str_of(text + at, len - at < piece ? len - at : piece);
        char *copy = malloc(in.len); /* so that a read behind the piece is seen */
        enum http_step step = HTTP_STEP_MORE;

        memcpy(copy, in.ptr, in.len);
        in.ptr = copy;
        while (in.len > 0 || step == HTTP_STEP_HEAD) {
            if (!begun)
                http_parser_begin(&parser, &message);
            begun = true;
            step = http_parse(&parser, &in);
            if (step == HTTP_STEP_MORE)
                break;
            if (step == HTTP_STEP_REFUSED) {
                out.err = parser.err;
                out.detail = parser.detail;
                break;
            }
            if (step == HTTP_STEP_HEAD)
                continue;
            out.messages++;
            begun = false;
            snprintf(out.method, sizeof out.method, "%.*s", STR_FMT(message.request.method_name));
            snprintf(out.target, sizeof out.target, "%.*s", STR_FMT(message.request.target));
            out.body_len = message.request.body.len;
            memcpy(out.body, message.request.body.ptr, out.body_len);
            out.header_count = message.request.header_count;
            out.keep_alive = message.keep_alive;
            if (out.body_len > 0) /* the padding is there and cleared */
                for (int i = 0; i < JSON_PADDING; i++)
                    assert_int_equal(message.request.body.ptr[out.body_len + (size_t)i], 0);
        }
        free(copy);
    }
    out.unfinished = begun;
    http_message_free(&message);
    return out;
}

#define H "Host: a\r\n"
static const struct {
    const char *text;
    enum err err;
} refused[] = {
    {"GET / HTTP/1.1\n" H "\r\n", ERR_BAD_REQUEST},
    {"GET / HTTP/1.1\r\nHost: a\n\r\n", ERR_BAD_REQUEST},
    {"GET / HTTP/1.1\r\n" H "\n", ERR_BAD_REQUEST},
    {"\nGET / HTTP/1.1\r\n" H "\r\n", ERR_BAD_REQUEST},
    {"\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n", ERR_BAD_REQUEST},
    {"GET / HTTP/1.1\r\n" H "X: a\rY: b\r\n\r\n", ERR_BAD_REQUEST},
    {"GET / HTTP/1.1\r\n" H "X: a\r\r\n\r\n", ERR_BAD_REQUEST},
    {"GET / HTTP/1.1\rHost: a\r\n\r\n", ERR_BAD_REQUEST},
    {"GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n", ERR_BAD_REQUEST},
    {"GET / HTTP/1.1\r\n" H "X: a\r\n\tb\r\n\r\n", ERR_BAD_REQUEST},
    {"GET / HTTP/1.1\r\n X: a\r\n" H "\r\n", ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Content-Length:\r\n 5\r\n\r\nhello", ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", ERR_BAD_REQUEST},
    {"GET / HTTP/1.1\r\n\r\n", ERR_BAD_REQUEST},
    {"GET / HTTP/1.1\r\n" H H "\r\n", ERR_BAD_REQUEST},
    {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", ERR_BAD_REQUEST},
    {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", ERR_BAD_REQUEST},
    {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
     ERR_BAD_REQUEST},
    {"POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
     ERR_TRANSFER_CODING},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n", ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
     "0\r\n\r\n", ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n", ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
     ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\nhello", ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\nhello", ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Content-Length: -5\r\n\r\nhello", ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 0x5\r\n\r\nhello", ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Content-Length: \r\n\r\nhello", ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999\r\n\r\n", ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Content-Length : 5\r\n\r\nhello", ERR_BAD_REQUEST},
    {"GET / HTTP/1.1\r\n" H "X Y: 1\r\n\r\n", ERR_BAD_REQUEST},
    {"GET / HTTP/1.1\r\n" H ": 1\r\n\r\n", ERR_BAD_REQUEST},
    {"GET / HTTP/1.1\r\n" H "NoColon\r\n\r\n", ERR_BAD_REQUEST},
    {"GET / HTTP/1.1\r\n" H "X: a\x01\r\n\r\n", ERR_BAD_REQUEST},
    {"GET / HTTP/1.1\r\n" H "X: a\x7f\r\n\r\n", ERR_BAD_REQUEST},
    {"GET /\x01 HTTP/1.1\r\n" H "\r\n", ERR_BAD_REQUEST},
    {"GET /#x HTTP/1.1\r\n" H "\r\n", ERR_BAD_REQUEST},
    {"GET x HTTP/1.1\r\n" H "\r\n", ERR_BAD_REQUEST},
    {"GET * HTTP/1.1\r\n" H "\r\n", ERR_BAD_REQUEST},
    {"GET / HTTP/0.9\r\n" H "\r\n", ERR_HTTP_VERSION},
    {"GET / HTTP/2.0\r\n" H "\r\n", ERR_HTTP_VERSION},
    {"GET / HTTP/1.2\r\n" H "\r\n", ERR_HTTP_VERSION},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ERR_HTTP_VERSION},
    {"GET / HTTP/11\r\n" H "\r\n", ERR_BAD_REQUEST},
    {"GET / http/1.1\r\n" H "\r\n", ERR_BAD_REQUEST},
    {"GET /\r\n\r\n", ERR_BAD_REQUEST},
    {"GET  / HTTP/1.1\r\n" H "\r\n", ERR_BAD_REQUEST},
    {"GET /  HTTP/1.1\r\n" H "\r\n", ERR_BAD_REQUEST},
    {"GET / HTTP/1.1 \r\n" H "\r\n", ERR_BAD_REQUEST},
    {"GET\t/\tHTTP/1.1\r\n" H "\r\n", ERR_BAD_REQUEST},
    {"SOURCE /x ICE/1.0\r\n" H "\r\n", ERR_BAD_REQUEST},
    {"OPTIONS * RTSP/1.0\r\n" H "\r\n", ERR_BAD_REQUEST},
    {"FROB / HTTP/1.1\r\n" H "\r\n", ERR_METHOD_UNKNOWN},
    {"get / HTTP/1.1\r\n" H "\r\n", ERR_METHOD_UNKNOWN},
    {"\x16\x03\x01\x02\r\n\r\n", ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
     ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
     ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\n\n",
     ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\n\r\n",
     ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX0\r\n\r\n",
     ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
     ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
     ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
     "fffffffffffffffff\r\nhello\r\n0\r\n\r\n", ERR_BAD_REQUEST},
    {"POST / HTTP/1.1\r\n" H "Content-Type: a/b\r\nContent-Type: c/d\r\n\r\n", ERR_BAD_REQUEST},
};

static void refuses(void **state) {
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        for (size_t piece = 1; piece <= 4096; piece = piece == 1 ? 7 : piece == 7 ? 4096 : 9999) {
            struct parsed p = parse(refused[i].text, strlen(refused[i].text), piece);

            if (p.err != refused[i].err || p.detail == NULL || p.messages > 0)
                fail_msg("row %zu in pieces of %zu: err %d (%s), %u messages: %s", i, piece,
                         p.err, p.detail ? p.detail : "-", p.messages, refused[i].text);
        }
}

static char made[8192];
static void text_set(const char *more) { snprintf(made, sizeof made, "%s", more); }
static void text_add(const char *more) {
    snprintf(made + strlen(made), sizeof made - strlen(made), "%s", more);
}

static void bounds(void **state) {
    text_set("GET /");
    memset(made + 5, 'a', 300);
    made[305] = '\0';
    text_add(" HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(parse(made, strlen(made), 4096).err, ERR_URI_TOO_LONG);
    memset(made + 5, 'a', 4000); /* a request line without end */
    assert_int_equal(parse(made, 4005, 4096).err, ERR_URI_TOO_LONG);
    assert_int_equal(parse(made, 4005, 100).err, ERR_URI_TOO_LONG);
    text_set("GET / HTTP/1.1\r\n" H "X: ");
    memset(made + strlen(made), 'a', 2000);
    assert_int_equal(parse(made, 1500, 4096).err, ERR_HEADERS);
    assert_int_equal(parse(made, 1500, 9).err, ERR_HEADERS);
    text_set("GET / HTTP/1.1\r\n" H);
    for (int i = 0; i < 17; i++)
        text_add("X: 1\r\n");
    text_add("\r\n");
    assert_int_equal(parse(made, strlen(made), 4096).err, ERR_HEADERS);
    /* A chunked body has no length to look at beforehand. */
    text_set("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1388\r\n");
    memset(made + strlen(made), 'b', 5000);
    assert_int_equal(parse(made, 5060, 4096).err, ERR_TOO_LARGE);
    /* Chunk extensions can not be an endless body of their own. */
    text_set("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1;");
    memset(made + strlen(made), 'e', 3000);
    assert_int_equal(parse(made, 3000, 4096).err, ERR_TOO_LARGE);
    assert_int_equal(parse(made, 3000, 50).err, ERR_TOO_LARGE);
}

static void takes(void **state) {
    static const char several[] =
        "\r\nPOST /v1/orders?a=b HTTP/1.1\r\nhOST: example.org:8480\r\nContent-Length: 7\r\n"
        "X-Empty:\r\nX-Space:   padded \t\r\n\r\n{\"a\":1}"
        "POST http://example.org/x HTTP/1.1\r\nHost: example.org\r\n"
        "Transfer-Encoding: Chunked\r\nConnection: keep-alive\r\n\r\n"
        "3;ext=1\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Sum: 1\r\n\r\n"
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"
        "DELETE /z HTTP/1.0\r\n\r\n";

    for (size_t piece = 1; piece < sizeof several; piece++) {
        struct parsed p = parse(several, sizeof several - 1, piece);

        if (p.err != OK)
            fail_msg("in pieces of %zu: %s", piece, p.detail);
        assert_int_equal(p.messages, 4);
        assert_false(p.unfinished);
        assert_string_equal(p.method, "DELETE");
        assert_false(p.keep_alive);
    }
    struct parsed p = parse(several, 153 - 8, 4096);
    assert_int_equal(p.messages, 1);
    assert_string_equal(p.target, "/v1/orders?a=b");
    assert_int_equal(p.body_len, 7);
    assert_memory_equal(p.body, "{\"a\":1}", 7);
    assert_int_equal(p.header_count, 4);
    assert_true(p.keep_alive);
}

/* --- the server --------------------------------------------------------------------------- */

struct later {
    uv_timer_t timer;
    struct http_exchange *ex;
};
static struct http_server *server;
static _Atomic int gone_count, ended_count, sink_bytes, sink_cut;

static void on_later_closed(uv_handle_t *handle) { free(handle->data); }
static void on_later(uv_timer_t *timer) {
    struct later *later = timer->data;
    struct http_exchange *ex = later->ex;

    http_answer(ex, 200, STR("text/plain"), http_exchange_request(ex)->query);
    uv_close((uv_handle_t *)timer, on_later_closed);
}

static void on_more(struct http_exchange *ex, void *ctx) {
    static char block[65536];
    uintptr_t left = (uintptr_t)http_exchange_data(ex);

    memset(block, 'z', sizeof block);
    while (left > 0) {
        left--;
        http_exchange_data_set(ex, (void *)left);
        if (!http_stream_write(ex, str_of(block, sizeof block)))
            return;
    }
    ended_count++;
    http_stream_end(ex, true);
}

static void on_gone(struct http_exchange *ex, void *ctx) {
    gone_count++;
    http_stream_end(ex, true);
}

static void handle(struct http_exchange *ex, void *ctx) {
    const struct http_request *request = http_exchange_request(ex);

    if (str_is(request->path, "/later")) {
        struct later *later = calloc(1, sizeof *later);
        int64_t ms = 0;

        assert_true(str_i64(request->query, &ms));
        later->ex = ex;
        later->timer.data = later;
        uv_timer_init(http_loop_uv(http_exchange_loop(ex)), &later->timer);
        uv_timer_start(&later->timer, on_later, (uint64_t)ms, 0);
    } else if (str_is(request->path, "/stream")) { /* 16 MiB */
        http_exchange_data_set(ex, (void *)(uintptr_t)256);
        http_answer_begin(ex, 200);
        http_stream_begin(ex, STR("text/plain"), on_more, NULL);
        on_more(ex, NULL);
    } else if (str_is(request->path, "/wait")) {
        http_answer_begin(ex, 200);
        http_stream_begin(ex, STR("text/plain"), NULL, NULL);
        http_gone_set(ex, on_gone, NULL);
        http_stream_write(ex, STR("x"));
    } else if (str_is(request->path, "/close")) {
        http_answer_close(ex);
        http_answer(ex, 200, STR("text/plain"), STR("bye"));
    } else if (str_is(request->path, "/from")) { /* who is there */
        char address[HTTP_ADDRESS_CHARS];
        assert_null(http_exchange_peer(ex));
        assert_false(http_exchange_secure(ex));
        http_answer(ex, 200, STR("text/plain"), http_exchange_address(ex, address));
    } else if (str_is(request->path, "/none")) {
        http_answer(ex, 204, STR_NONE, STR_NONE);
    } else {
        http_answer_begin(ex, 200);
        http_answer_header(ex, STR("X-Evil"), STR("a\r\nb"));
        http_answer_end(ex, STR("text/plain"),
                        request->body.len ? request->body : request->target);
    }
}

static void sink_data(struct http_exchange *ex, struct str part, void *ctx) {
    sink_bytes += (int)part.len;
}
static void sink_end(struct http_exchange *ex, bool complete, void *ctx) {
    if (!complete)
        sink_cut++;
    http_answer(ex, complete ? 200 : 400, STR("text/plain"), STR("sunk"));
}

static void head(struct http_exchange *ex, void *ctx) {
    const struct http_request *request = http_exchange_request(ex);
    static const struct http_body_sink sink = {.data = sink_data, .end = sink_end};

    if (str_is(request->path, "/denied"))
        http_answer(ex, 401, STR("text/plain"), STR("no"));
    else if (str_is(request->path, "/sink"))
        http_stream_body(ex, &sink);
}

static int start(void **state) {
    struct http_options options = {.threads = 2, .handle = handle, .head = head};
    struct fault fault = {0};

    options.limits = (struct http_limits){.header_timeout_ms = 300,
                                          .body_timeout_ms = 300,
                                          .idle_timeout_ms = 700,
                                          .write_timeout_ms = 2000,
                                          .body_bytes_max = 200000,
                                          .pipeline_max = 4};
    return http_server_start(&options, &server, &fault) == OK && http_server_port(server) ? 0 : -1;
}
static int stop(void **state) {
    http_server_stop(server);
    server = NULL;
    return 0;
}

static int dial(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(http_server_port(server))};
    struct timeval limit = {.tv_sec = 5};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
}
static void say(int fd, const char *words) {
    assert_int_equal(send(fd, words, strlen(words), MSG_NOSIGNAL), (ssize_t)strlen(words));
}
/* Reads until the peer closes, or `until` stands in what came. */
static const char *hear(int fd, const char *until) {
    static char got[65536];
    size_t len = 0;

    while (len < sizeof got - 1) {
        ssize_t n = recv(fd, got + len, sizeof got - 1 - len, 0);

        if (n < 0)
            fail_msg("nothing more came (%s); so far: %s", strerror(errno), got);
        if (n == 0)
            break;
        len += (size_t)n;
        got[len] = '\0';
        if (until && strstr(got, until))
            break;
    }
    got[len] = '\0';
    return got;
}
static void heard(const char *got, const char *wanted) {
    if (!strstr(got, wanted))
        fail_msg("\"%s\" is not in: %s", wanted, got);
}

static void keeps_alive(void **state) {
    int fd = dial();

    say(fd, "GET /one HTTP/1.1\r\n" H "\r\n");
    heard(hear(fd, "/one"), "HTTP/1.1 200 OK\r\nDate: ");
    say(fd, "POST /two HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\na");
    usleep(20000);
    say(fd, "bc");
    heard(hear(fd, "abc"), "X-Evil: a  b\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\n");
    say(fd, "HEAD /three HTTP/1.1\r\n" H "\r\nGET /none HTTP/1.1\r\n" H "\r\n");
    heard(hear(fd, "204 No Content"), "Content-Length: 6\r\n\r\nHTTP/1.1 204");
    say(fd, "GET /last HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
    heard(hear(fd, NULL), "Connection: close\r\n");
    close(fd);
    fd = dial();
    say(fd, "GET / HTTP/1.0\r\n\r\n");
    heard(hear(fd, NULL), "Connection: close\r\n");
    close(fd);
    fd = dial();
    say(fd, "GET /from HTTP/1.1\r\n" H "\r\n");
    heard(hear(fd, "0.1"), "\r\n\r\n127.0.0.1");
    close(fd);
    fd = dial();
    say(fd, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    heard(hear(fd, "\r\n\r\n/"), "Connection: keep-alive\r\n");
    close(fd);
}

/* More requests than may be under way, answered in the order they came, though the first takes
 * longest. */
static void answers_in_order(void **state) {
    int fd = dial();
    const char *got, *at;

    text_set("");
    for (int i = 0; i < 12; i++)
        snprintf(made + strlen(made), sizeof made - strlen(made),
                 "GET /later?%03d HTTP/1.1\r\n" H "\r\n", 130 - 10 * i);
    text_add("GET /close HTTP/1.1\r\n" H "\r\nGET /never HTTP/1.1\r\n" H "\r\n");
    say(fd, made);
    got = hear(fd, NULL);
    at = got;
    for (int i = 0; i < 12; i++) {
        char wanted[16];

        snprintf(wanted, sizeof wanted, "\r\n\r\n%03d", 130 - 10 * i);
        at = strstr(at, wanted);
        if (!at)
            fail_msg("answer %d is missing or out of order: %s", i, got);
    }
    heard(at, "bye");
    assert_null(strstr(got, "/never"));
    close(fd);
}

static void refuses_on_the_wire(void **state) {
    static const struct {
        const char *text, *answer;
    } rows[] = {
        {"GET / HTTP/1.1\n\n", "HTTP/1.1 400 Bad Request"},
        {"GET / HTTP/3.0\r\n\r\n", "HTTP/1.1 505 "},
        {"BREW / HTTP/1.1\r\n" H "\r\n", "HTTP/1.1 501 "},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 200001\r\n\r\n", "HTTP/1.1 413 "},
        {"POST /denied HTTP/1.1\r\n" H "Content-Length: 100000\r\n\r\nabc", "HTTP/1.1 401 "},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\nabc", "HTTP/1.1 408 "},
        {"POST / HTTP/1.1\r\n", "HTTP/1.1 408 "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int fd = dial();
        const char *got;

        say(fd, rows[i].text);
        got = hear(fd, NULL);
        heard(got, rows[i].answer);
        heard(got, "Connection: close\r\n");
        close(fd);
    }
    /* An early answer over a small body costs no connection. */
    int fd = dial();
    say(fd, "POST /denied HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nab");
    heard(hear(fd, "no"), "HTTP/1.1 401 ");
    say(fd, "cdeGET /next HTTP/1.1\r\n" H "\r\n");
    heard(hear(fd, "/next"), "200 OK");
    close(fd);
    fd = dial(); /* nothing said at all: closed without a word */
    assert_string_equal(hear(fd, NULL), "");
    close(fd);
}

static void continues(void **state) {
    int fd = dial();

    say(fd, "POST / HTTP/1.1\r\n" H "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    heard(hear(fd, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    say(fd, "hi");
    heard(hear(fd, "hi"), "HTTP/1.1 200 OK\r\n");
    say(fd, "POST /denied HTTP/1.1\r\n" H "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    heard(hear(fd, NULL), "HTTP/1.1 401 ");
    close(fd);
}

static void streams_bodies(void **state) {
    char part[8192];
    int fd = dial();

    sink_bytes = sink_cut = 0;
    say(fd, "POST /sink HTTP/1.1\r\n" H "Content-Length: 819200\r\n\r\n");
    memset(part, 'p', sizeof part);
    for (int i = 0; i < 100; i++)
        assert_int_equal(send(fd, part, sizeof part, MSG_NOSIGNAL), sizeof part);
    heard(hear(fd, "sunk"), "200 OK");
    assert_int_equal(sink_bytes, 819200);
    say(fd, "POST /sink HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n");
    heard(hear(fd, NULL), "400 Bad Request");
    assert_int_equal(sink_cut, 1);
    close(fd);
    fd = dial();
    say(fd, "POST /sink HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\nab");
    close(fd);
    for (int i = 0; i < 100 && sink_cut < 2; i++)
        usleep(10000);
    assert_int_equal(sink_cut, 2);
}

/* A reader that waits holds the source back, loses nothing, and a reader gone is told. */
static void streams_answers(void **state) {
    static char got[1 << 20];
    int fd = dial();
    size_t zs = 0;
    ssize_t n;

    ended_count = gone_count = 0;
    say(fd, "GET /stream HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
    usleep(300000);
    assert_int_equal(ended_count, 0); /* 16 MiB do not fit into the socket's buffers */
    while ((n = recv(fd, got, sizeof got, 0)) > 0)
        for (ssize_t i = 0; i < n; i++)
            zs += got[i] == 'z';
    assert_int_equal(zs, 256 * 65536);
    assert_int_equal(ended_count, 1);
    close(fd);
    fd = dial();
    say(fd, "GET /wait HTTP/1.1\r\n" H "\r\n");
    heard(hear(fd, "1\r\nx\r\n"), "Transfer-Encoding: chunked");
    close(fd);
    for (int i = 0; i < 100 && gone_count == 0; i++)
        usleep(10000);
    assert_int_equal(gone_count, 1);
}

/* A client gone while its answer is owed: the answer is taken and forgotten. */
static void outlives_clients(void **state) {
    for (int i = 0; i < 20; i++) {
        int fd = dial();

        say(fd, "GET /later?30 HTTP/1.1\r\n" H "\r\n");
        struct linger hard = {1, 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        close(fd);
    }
    int fd = dial(); /* gone before its body was whole: nobody owes an answer */
    say(fd, "POST /later?5 HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\nabc");
    usleep(20000);
    close(fd);
    fd = dial();
    say(fd, "GET /later?60 HTTP/1.1\r\n" H "\r\n");
    shutdown(fd, SHUT_WR); /* half closed: it still wants the answer */
    heard(hear(fd, NULL), "\r\n\r\n60");
    close(fd);
}

static void drains(void **state) {
    int busy = dial(), idle = dial();

    say(idle, "GET / HTTP/1.1\r\n" H "\r\n");
    hear(idle, "\r\n\r\n/");
    say(busy, "GET /later?200 HTTP/1.1\r\n" H "\r\n");
    usleep(30000);
    http_server_drain(server);
    assert_string_equal(hear(idle, NULL), "");
    heard(hear(busy, NULL), "Connection: close\r\n");
    for (int i = 0; i < 300 && http_server_connections(server) > 0; i++)
        usleep(10000);
    assert_int_equal(http_server_connections(server), 0);
    close(busy);
    close(idle);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(http_server_port(server))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_not_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    close(fd);
}

static void runs_on_a_callers_loop(void **state) {
    struct http_options options = {.handle = handle};
    struct fault fault = {0};
    uv_loop_t loop;

    uv_loop_init(&loop);
    options.loop = &loop;
    assert_int_equal(http_server_start(&options, &server, &fault), OK);
    int fd = dial();
    say(fd, "GET /mine HTTP/1.1\r\n" H "\r\n");
    for (int i = 0; i < 10; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    heard(hear(fd, "/mine"), "200 OK");
    close(fd);
    /* The port is taken: said so, and nothing leaks. */
    struct http_server *second = NULL;
    options.port = http_server_port(server);
    options.threads = 2;
    assert_int_equal(http_server_start(&options, &second, &fault), ERR_IO);
    assert_non_null(strstr(fault.detail, "in use"));
    http_server_stop(server);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses),
        cmocka_unit_test(bounds),
        cmocka_unit_test(takes),
        cmocka_unit_test_setup_teardown(keeps_alive, start, stop),
        cmocka_unit_test_setup_teardown(answers_in_order, start, stop),
        cmocka_unit_test_setup_teardown(refuses_on_the_wire, start, stop),
        cmocka_unit_test_setup_teardown(continues, start, stop),
        cmocka_unit_test_setup_teardown(streams_bodies, start, stop),
        cmocka_unit_test_setup_teardown(streams_answers, start, stop),
        cmocka_unit_test_setup_teardown(outlives_clients, start, stop),
        cmocka_unit_test_setup_teardown(drains, start, stop),
        cmocka_unit_test(runs_on_a_callers_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
