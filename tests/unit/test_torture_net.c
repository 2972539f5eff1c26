/* Torture of what goes over the network: over a server's start, requests in, and calls out, each call of the
 * system and of libraries fails in its turn, and each allocation, libuv's and libcurl's among them. A client
 * then has its answers, a refusal, or a closed connection, never a wrong answer; a call out ends once, tells
 * the truth about whether it was sent, and what leaves is whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../support/torture.h"
#include "connect/driver_http.h"
#include "gateway/http.h"

/* --- a server ------------------------------------------------------------------------------- */

static struct http_server *server;
static uv_loop_t loop;
static char answer[300000];
static struct seen {
    uint32_t asked, posted, whole;
} seen;

/* What came has come whole: a request that lost a header on its way is another request. */
static bool whole(const struct http_request *request) {
    return str_is(http_request_header(request, "Idempotency-Key"), "key-4711") &&
           str_is(http_request_header(request, "Authorization"), "Bearer of-a-token-that-is-somewhat-long") &&
           str_is(request->target, "/orders?from=here") && request->body.len == 20000;
}

/* Of a request that lost something, for messages. */
static void show(const struct http_request *request) {
    print_error("%.*s %.*s, %zu bytes\n", STR_FMT(request->method_name), STR_FMT(request->target), request->body.len);
    for (uint32_t i = 0; i < request->header_count; i++)
        print_error("%.*s: %.*s\n", STR_FMT(request->headers[i].name), STR_FMT(request->headers[i].value));
}

static void handle(struct http_exchange *ex, void *ctx) {
    const struct http_request *request = http_exchange_request(ex);
    seen.asked++;
    if (request->method == HTTP_METHOD_GET) {
        http_answer(ex, 200, STR("text/plain"), str_of(answer, sizeof answer));
        return;
    }
    seen.posted++;
    if (request->method == HTTP_METHOD_POST && whole(request))
        seen.whole++;
    else
        show(request);
    http_answer(ex, 201, STR("text/plain"), STR("made"));
}

static enum err start(int threads, struct fault *fault) {
    struct http_options options = {.handle = handle, .threads = threads, .loop = threads ? NULL : &loop};
    return http_server_start(&options, &server, fault);
}

static bool start_step(void) {
    struct fault fault = {0};
    uint32_t before = torture_descriptors();
    torture_arm();
    enum err err = start(2, &fault);
    bool met = torture_disarm();
    if (err == OK)
        http_server_stop(server);
    else
        assert_true(met && (err == ERR_IO || err == ERR_NOMEM) && fault.detail[0]);
    assert_int_equal(torture_descriptors(), before);
    return met;
}

static void server_starts(void **state) {
    assert_true(torture(TURN_ERROR, 50, 1, start_step) > 8);
    assert_true(torture(TURN_MEMORY, 50, 1, start_step) > 5);
}

/* --- requests in ---------------------------------------------------------------------------- */

static int dial(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(http_server_port(server))};
    int fd = socket(AF_INET, SOCK_STREAM, 0), little = 8192;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* Of the front of a transcript: an answer with that status and length, or as much as there is of one. */
static bool answered(struct str *text, int status, size_t len) {
    const char *end = memmem(text->ptr, text->len, "\r\n\r\n", 4);
    char wanted[64];
    if (!end)
        return false;
    size_t head = (size_t)(end + 4 - text->ptr);
    snprintf(wanted, sizeof wanted, "HTTP/1.1 %d ", status);
    if (!str_starts(*text, str_c(wanted)) || text->len < head + len)
        return false;
    text->ptr += head + len;
    text->len -= head + len;
    return true;
}

/* Two requests at once; what comes back until both are answered or the server closes. */
static struct str converse(int fd, bool *closed) {
    static char text[sizeof answer + 4096], request[21000];
    size_t len = 0;
    int n = snprintf(request, sizeof request,
                     "POST /orders?from=here HTTP/1.1\r\nHost: a\r\nIdempotency-Key: key-4711\r\n"
                     "Authorization: Bearer of-a-token-that-is-somewhat-long\r\nContent-Length: 20000\r\n\r\n");
    memset(request + n, 'x', 20000);
    (void)!send(fd, request, (size_t)n + 20000, MSG_NOSIGNAL);
    const char *get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    (void)!send(fd, get, strlen(get), MSG_NOSIGNAL);
    *closed = false;
    for (int i = 0; i < 20000 && !*closed; i++) {
        faulty_hold(false);
        uv_run(&loop, UV_RUN_NOWAIT);
        faulty_hold(true);
        ssize_t got = recv(fd, text + len, sizeof text - len, MSG_DONTWAIT);
        if (got > 0)
            len += (size_t)got;
        else if (got == 0 || (errno != EAGAIN && errno != EINTR))
            *closed = true;
        struct str all = str_of(text, len);
        if (got < 0 && answered(&all, 201, 4) && answered(&all, 200, sizeof answer))
            break;
        if (got < 0 && i > 200)
            usleep(200);
    }
    return str_of(text, len);
}

static bool requests_step(void) {
    struct fault fault = {0};
    bool closed;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(start(0, &fault), OK);
    faulty_hold(true);
    int fd = dial();
    seen = (struct seen){0};
    torture_arm();
    struct str text = converse(fd, &closed), rest = text;
    bool met = torture_disarm();
    bool posted = answered(&rest, 201, 4), got = posted && answered(&rest, 200, sizeof answer);
    assert_true(seen.posted <= 1 && seen.whole == seen.posted && seen.asked <= 2);
    assert_true(seen.posted >= posted);
    if (!got && (!met || turn > TURN_ERROR || !closed))
        fail_msg("%s %lu (%s): %zu bytes: %.*s", turn_names[turn], (unsigned long)turn_at, turn_failed, text.len,
                 (int)(text.len < 200 ? text.len : 200), text.ptr);
    close(fd);
    fd = dial();
    text = converse(fd, &closed); /* the next one is served */
    assert_true(answered(&text, 201, 4) && answered(&text, 200, sizeof answer));
    close(fd);
    for (int i = 0; i < 2000 && http_server_connections(server) > 0; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(i > 20 ? 1000 : 0);
    }
    assert_int_equal(http_server_connections(server), 0);
    faulty_hold(false);
    http_server_stop(server);
    assert_int_equal(uv_loop_close(&loop), 0);
    return met;
}

static void requests_come_in(void **state) {
    assert_true(torture(TURN_ERROR, 50, 1, requests_step) >= 7);
    assert_true(torture(TURN_AGAIN, 50, 1, requests_step) > 2);
    assert_true(torture(TURN_SHORT, 50, 1, requests_step) > 0);
    assert_true(torture(TURN_MEMORY, 50, 1, requests_step) > 8);
}

/* While no descriptor is to be had the loop waits, serves who is there, and takes in who came once there is. */
static void accept_waits_for_descriptors(void **state) {
    struct fault fault = {0};
    bool closed;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(start(0, &fault), OK);
    faulty_hold(true);
    int there = dial();
    for (int i = 0; i < 20; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    faulty_fail_at(1, FAULTY_ERROR, true);
    faulty_only("accept4");
    int waits = dial();
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    faulty_hold(false);
    for (uint64_t until = uv_hrtime() + 600000000; uv_hrtime() < until;)
        uv_run(&loop, UV_RUN_ONCE);
    faulty_hold(true);
    getrusage(RUSAGE_SELF, &after);
    uint64_t tries = faulty_count();
    print_message("%lu tries to accept in 0.6 s\n", (unsigned long)tries);
    assert_true(tries >= 3 && tries <= 8);
    struct str text = converse(there, &closed);
    assert_true(answered(&text, 201, 4) && answered(&text, 200, sizeof answer));
    faulty_fail_at(0, FAULTY_ERROR, false);
    text = converse(waits, &closed);
    assert_true(answered(&text, 201, 4) && answered(&text, 200, sizeof answer));
    close(there);
    close(waits);
    faulty_hold(false);
    http_server_stop(server);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* --- calls out ------------------------------------------------------------------------------ */

static struct heard {
    uint32_t ended;
    enum net_error error;
    bool sent;
    int status;
    char detail[200];
} heard;

static void on_done(void *ctx, const struct net_answer *got) {
    heard.ended++;
    heard.error = got->error;
    heard.sent = got->sent;
    heard.status = got->status;
    memcpy(heard.detail, got->detail, sizeof heard.detail);
}

/* A POST that has to come whole or not at all; what net_send said. */
static enum err post(struct net *net, struct fault *fault) {
    static char url[64], body[20000];
    static const struct net_header headers[] = {
        {{"Idempotency-Key", 15}, {"key-4711", 8}},
        {{"Authorization", 13}, {"Bearer of-a-token-that-is-somewhat-long", 39}}};
    snprintf(url, sizeof url, "http://127.0.0.1:%u/orders?from=here", http_server_port(server));
    struct net_request request = {.method = STR("POST"), .url = str_c(url), .headers = headers, .header_count = 2,
                                  .body = str_of(body, sizeof body), .timeout_ms = 3000};
    memset(body, 'x', sizeof body);
    seen = (struct seen){0};
    heard = (struct heard){0};
    enum err err = net_send(net, &request, on_done, NULL, NULL, fault);
    for (int i = 0; i < 20000 && err == OK && heard.ended == 0; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        if (i > 200)
            usleep(200);
    }
    for (int i = 0; i < 10; i++) /* what was on its way when the call ended comes, too */
        uv_run(&loop, UV_RUN_NOWAIT);
    return err;
}

static void post_check(enum err err, const struct fault *fault, bool met) {
    const char *why = err == OK ? heard.detail : fault->detail;
    bool good = seen.posted <= 1 && seen.whole == seen.posted; /* at most once, and whole */
    good = good && (err == OK ? heard.ended == 1 : heard.ended == 0 && seen.posted == 0);
    good = good && (err == OK || err == ERR_NOMEM); /* never as if the request were wrong */
    good = good && (seen.posted == 0 || heard.sent);
    good = good && (heard.status != 201 || seen.posted == 1);
    good = good && (met || heard.status == 201);
    if (!good)
        fail_msg("%s %lu (%s): err %d, ended %u, error %s, status %d, sent %d, %u posted, %u whole: %s",
                 turn_names[turn], (unsigned long)turn_at, turn_failed, err, heard.ended,
                 net_error_name(heard.error), heard.status, heard.sent, seen.posted, seen.whole, why);
}

static uint32_t slow;

static bool calls_step(void) {
    struct driver_http_options options = {.loop = &loop, .clock = &clock_system, .calls_max = 4,
                                          .ca_file = "/etc/ssl/certs/ca-certificates.crt"};
    struct fault fault = {0}, again = {0};
    struct net *net = NULL;
    uint32_t before = torture_descriptors();
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(start(0, &fault), OK);
    torture_arm();
    enum err err = driver_http_create(&options, &net, &fault);
    assert_true(err == OK || err == ERR_NOMEM || err == ERR_IO);
    int64_t from_us = clock_tick_us(&clock_system);
    for (int i = 0; i < 2 && net; i++) { /* the second on the connection of the first */
        err = post(net, &fault);
        if (faulty_last()[0])
            turn_failed = faulty_last();
        post_check(err, &fault, true);
    }
    slow += clock_tick_us(&clock_system) - from_us > 1000000;
    bool met = torture_disarm();
    if (!net) {
        assert_true(met);
        assert_int_equal(driver_http_create(&options, &net, &again), OK);
    }
    err = post(net, &again);
    post_check(err, &again, false);
    net_close(net);
    http_server_stop(server);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(torture_descriptors(), before);
    return met;
}

static void calls_go_out(void **state) {
    assert_true(torture(TURN_ERROR, 50, 1, calls_step) > 40);
    assert_true(torture(TURN_AGAIN, 50, 1, calls_step) > 2);
    assert_true(torture(TURN_SHORT, 50, 1, calls_step) > 0);
    assert_true(torture(TURN_MEMORY, 50, 1, calls_step) > 60);
    print_message("%u calls ended with their time\n", (unsigned)slow);
}

int main(void) {
    faulty_memory();
    must(uv_loop_init(&loop) == 0 && uv_loop_close(&loop) == 0); /* what libuv opens once for all */
    memset(answer, 'z', sizeof answer);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(server_starts),
        cmocka_unit_test(requests_come_in),
        cmocka_unit_test(accept_waits_for_descriptors),
        cmocka_unit_test(calls_go_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
