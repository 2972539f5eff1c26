/* The HTTP driver against a server of sockets that does what it is told: answers, closes
 * without a word, is slow, sends too much, or dies under a kept connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connect/driver_http.h"

enum peer_act { ANSWER, SAY_NOTHING, BE_SLOW, ANSWER_THEN_DROP, SEND_MUCH };
static struct peer {
    pthread_t thread;
    int fd, port;
    enum peer_act act;
    _Atomic uint32_t requests, connections;
    _Atomic int client; /* the connection */
    char last[4096];
} peer;

/* What came last, as the peer's thread has left it. */
static pthread_mutex_t last_lock = PTHREAD_MUTEX_INITIALIZER;
static void last_keep(const char *text, size_t len) {
    pthread_mutex_lock(&last_lock);
    memcpy(peer.last, text, len + 1);
    pthread_mutex_unlock(&last_lock);
}
static const char *last(void) {
    static char copy[sizeof peer.last];
    pthread_mutex_lock(&last_lock);
    memcpy(copy, peer.last, sizeof copy);
    pthread_mutex_unlock(&last_lock);
    return copy;
}

static size_t request_read(int fd, char *out, size_t cap) {
    size_t len = 0;
    for (;;) {
        ssize_t n = recv(fd, out + len, cap - 1 - len, 0);
        if (n <= 0)
            return 0;
        len += (size_t)n;
        out[len] = '\0';
        const char *head = strstr(out, "\r\n\r\n");
        if (head == NULL)
            continue;
        const char *length = strstr(out, "Content-Length: ");
        size_t body = 0;
        for (const char *p = length ? length + 16 : ""; *p >= '0' && *p <= '9'; p++)
            body = body * 10 + (size_t)(*p - '0');
        if (len >= (size_t)(head + 4 - out) + body)
            return len;
    }
}

static void say(int fd, const char *text) {
    ssize_t n = send(fd, text, strlen(text), MSG_NOSIGNAL);
    (void)n;
}

static void *peer_run(void *arg) {
    for (;;) {
        int fd = accept(peer.fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        peer.connections++;
        peer.client = fd;
        char text[sizeof peer.last];
        size_t len;
        for (uint32_t i = 0; (len = request_read(fd, text, sizeof text)) > 0; i++) {
            last_keep(text, len);
            peer.requests++;
            if (peer.act == SAY_NOTHING || (peer.act == ANSWER_THEN_DROP && i == 1))
                break;
            if (peer.act == BE_SLOW)
                usleep(300000);
            if (peer.act == SEND_MUCH) {
                say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
                char block[1000];
                memset(block, 'x', sizeof block - 1);
                block[sizeof block - 1] = '\0';
                for (int k = 0; k < 100; k++)
                    say(fd, block);
            }
            say(fd, "HTTP/1.1 201 Created\r\nRetry-After:  7 \r\nX-Empty:\r\n"
                    "Content-Length: 14\r\n\r\n{\"number\": 42}");
        }
        close(fd);
    }
}

static void peer_start(enum peer_act act) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    memset(&peer, 0, sizeof peer);
    peer.act = act;
    peer.fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(peer.fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(peer.fd, 16), 0);
    assert_int_equal(getsockname(peer.fd, (struct sockaddr *)&at, &len), 0);
    peer.port = ntohs(at.sin_port);
    assert_int_equal(pthread_create(&peer.thread, NULL, peer_run, NULL), 0);
}

static void peer_stop(void) {
    shutdown(peer.fd, SHUT_RDWR);
    pthread_join(peer.thread, NULL);
    close(peer.fd);
}

/* --- the caller ------------------------------------------------------------------------ */
static uv_loop_t loop;
static struct net *net;
struct got {
    uint32_t count;
    struct net_answer answer;
    char body[64], retry[16];
    bool empty_seen;
};

static void got_it(void *ctx, const struct net_answer *answer) {
    struct got *got = ctx;
    got->count++;
    got->answer = *answer;
    snprintf(got->body, sizeof got->body, "%.*s", STR_FMT(answer->body));
    struct str retry = net_answer_header(answer, STR("retry-after"));
    snprintf(got->retry, sizeof got->retry, "%.*s", STR_FMT(retry));
    struct str empty = net_answer_header(answer, STR("x-empty"));
    got->empty_seen = empty.ptr != NULL && empty.len == 0;
}

static void net_open(void) {
    assert_int_equal(uv_loop_init(&loop), 0);
    struct fault fault = {0};
    struct driver_http_options options = {.loop = &loop, .clock = &clock_system, .calls_max = 4};
    assert_int_equal(driver_http_create(&options, &net, &fault), OK);
}

static void net_shut(void) {
    net_close(net);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static char url_text[64];
static struct str url_of(int port) {
    snprintf(url_text, sizeof url_text, "http://127.0.0.1:%d/orders", port);
    return str_c(url_text);
}

static const struct net_header json_header[] = {
    {{"Content-Type", 12}, {"application/json", 16}}, {{"Idempotency-Key", 15}, {"main-7", 6}}};

static struct net_request post(int port) {
    return (struct net_request){.method = STR("POST"),
                                .url = url_of(port),
                                .headers = json_header,
                                .header_count = 2,
                                .body = STR("{\"a\":1}"),
                                .timeout_ms = 2000};
}

static struct got call(const struct net_request *request) {
    struct got got = {0};
    struct fault fault = {0};
    assert_int_equal(net_send(net, request, got_it, &got, NULL, &fault), OK);
    assert_int_equal(got.count, 0); /* never before send returns */
    while (got.count == 0)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(got.count, 1);
    return got;
}

static void an_answer_comes_whole(void **state) {
    peer_start(ANSWER);
    net_open();
    struct net_request request = post(peer.port);
    struct got got = call(&request);
    assert_int_equal(got.answer.error, NET_OK);
    assert_true(got.answer.sent);
    assert_int_equal(got.answer.status, 201);
    assert_string_equal(got.body, "{\"number\": 42}");
    assert_string_equal(got.retry, "7");
    assert_true(got.empty_seen);
    assert_non_null(strstr(last(), "POST /orders HTTP/1.1\r\n"));
    assert_non_null(strstr(last(), "Idempotency-Key: main-7\r\n"));
    assert_non_null(strstr(last(), "Content-Type: application/json\r\n"));
    assert_null(strstr(last(), "Expect"));
    assert_non_null(strstr(last(), "\r\n\r\n{\"a\":1}"));
    net_shut();
    peer_stop();
}

static void connections_are_kept(void **state) {
    peer_start(ANSWER);
    net_open();
    struct net_request request = post(peer.port);
    for (int i = 0; i < 5; i++)
        assert_int_equal(call(&request).answer.status, 201);
    assert_int_equal(peer.requests, 5);
    assert_int_equal(peer.connections, 1);
    net_shut();
    peer_stop();
}

static void nothing(uv_timer_t *timer) {}

/* A handle serves call after call: nothing of one shows in the next. */
static void a_call_leaves_nothing_to_the_next(void **state) {
    peer_start(ANSWER);
    net_open();
    struct net_request full = post(peer.port), bare = full;
    bare.headers = NULL;
    bare.header_count = 0;
    bare.body = STR_NONE;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(call(&full).answer.status, 201);
        assert_non_null(strstr(last(), "Content-Length: 7\r\n"));
        assert_non_null(strstr(last(), "\r\n\r\n{\"a\":1}"));
        bare.method = STR("GET");
        assert_int_equal(call(&bare).answer.status, 201);
        assert_memory_equal(last(), "GET /orders HTTP/1.1\r\n", 22);
        assert_null(strstr(last(), "Content-"));
        assert_null(strstr(last(), "Idempotency-Key"));
        bare.method = STR("DELETE");
        assert_int_equal(call(&bare).answer.status, 201);
        assert_memory_equal(last(), "DELETE /orders HTTP/1.1\r\n", 25);
        assert_null(strstr(last(), "Content-"));
        full.method = i == 0 ? STR("PUT") : STR("POST");
        assert_int_equal(call(&full).answer.status, 201);
        assert_non_null(strstr(last(), i == 0 ? "PUT /orders" : "POST /orders"));
        assert_non_null(strstr(last(), "Idempotency-Key: main-7\r\n"));
    }
    assert_int_equal(peer.connections, 1);
    /* the answer to HEAD has no body; one that comes all the same ends the connection */
    bare.method = STR("HEAD");
    assert_int_equal(call(&bare).answer.status, 201);
    assert_int_equal(call(&full).answer.status, 201);
    assert_non_null(strstr(last(), "\r\n\r\n{\"a\":1}"));
    net_shut();
    peer_stop();
}

/* By name: libcurl's resolver uses descriptors of its own beside those of connections. */
static void a_name_is_looked_up(void **state) {
    peer_start(ANSWER);
    net_open();
    struct net_request request = post(peer.port);
    char url[64];
    snprintf(url, sizeof url, "http://localhost:%d/orders", peer.port);
    request.url = str_c(url);
    for (int i = 0; i < 5; i++)
        assert_int_equal(call(&request).answer.status, 201);
    assert_int_equal(peer.connections, 1);
    net_shut();
    peer_stop();
}

/* A connection that the other side closes while no call is on it does not keep the loop busy. */
static void a_connection_that_ends_idle_is_let_go(void **state) {
    peer_start(ANSWER);
    net_open();
    struct net_request request = post(peer.port);
    request.method = STR("GET");
    request.body = STR_NONE;
    assert_int_equal(call(&request).answer.status, 201);
    uv_timer_t timer;
    uv_timer_init(&loop, &timer);
    uint32_t turns = 0;
    shutdown(peer.client, SHUT_RDWR);
    for (int64_t until = clock_tick_us(&clock_system) + 50000; clock_tick_us(&clock_system) < until; turns++) {
        uv_timer_start(&timer, nothing, 10, 0);
        uv_run(&loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&timer, NULL);
    assert_in_range(turns, 1, 20);
    assert_int_equal(call(&request).answer.status, 201);
    net_shut();
    peer_stop();
}

static void nobody_there_was_not_sent(void **state) {
    peer_start(ANSWER);
    int port = peer.port;
    peer_stop();
    net_open();
    struct net_request request = post(port);
    struct got got = call(&request);
    assert_int_equal(got.answer.error, NET_REFUSED);
    assert_false(got.answer.sent);
    assert_int_equal(got.answer.status, 0);
    assert_true(strlen(got.answer.detail) > 0);
    request.url = STR("http://no-such-host.invalid/orders");
    got = call(&request);
    assert_int_equal(got.answer.error, NET_DNS);
    assert_false(got.answer.sent);
    net_shut();
}

static void silence_may_have_been_work(void **state) {
    peer_start(SAY_NOTHING);
    net_open();
    struct net_request request = post(peer.port);
    struct got got = call(&request);
    assert_int_equal(got.answer.error, NET_RESET);
    assert_true(got.answer.sent);
    assert_int_equal(peer.requests, 1);
    net_shut();
    peer_stop();
}

/* The trap: libcurl by itself would post again on a new connection. */
static void a_kept_connection_that_dies_is_not_posted_twice(void **state) {
    peer_start(ANSWER_THEN_DROP);
    net_open();
    struct net_request request = post(peer.port);
    assert_int_equal(call(&request).answer.status, 201);
    struct got got = call(&request);
    assert_int_equal(got.answer.error, NET_RESET);
    assert_true(got.answer.sent);
    assert_int_equal(peer.requests, 2);
    /* asking again is harmless */
    assert_int_equal(call(&request).answer.status, 201);
    request.method = STR("GET");
    request.body = STR_NONE;
    got = call(&request);
    assert_int_equal(got.answer.error, NET_OK);
    assert_int_equal(peer.requests, 5);
    net_shut();
    peer_stop();
}

static void time_is_bounded(void **state) {
    peer_start(BE_SLOW);
    net_open();
    struct net_request request = post(peer.port);
    request.timeout_ms = 50;
    struct got got = call(&request);
    assert_int_equal(got.answer.error, NET_TIMEOUT);
    assert_true(got.answer.sent);
    assert_in_range(got.answer.elapsed_us, 40000, 250000);
    net_shut();
    peer_stop();
}

static void answers_are_bounded(void **state) {
    peer_start(SEND_MUCH);
    net_open();
    struct net_request request = post(peer.port);
    request.answer_bytes_max = 5000;
    struct got got = call(&request);
    assert_int_equal(got.answer.error, NET_TOO_LARGE);
    assert_true(got.answer.sent);
    net_shut();
    peer_stop();
}

static void calls_are_bounded_and_cancelled(void **state) {
    peer_start(BE_SLOW);
    net_open();
    struct net_request request = post(peer.port);
    struct got got[5] = {0};
    struct fault fault = {0};
    struct net_call *first = NULL;
    for (int i = 0; i < 4; i++)
        assert_int_equal(net_send(net, &request, got_it, &got[i], i ? NULL : &first, &fault), OK);
    assert_int_equal(net_send(net, &request, got_it, &got[4], NULL, &fault), ERR_UNAVAILABLE);
    net_cancel(net, first);
    assert_int_equal(got[0].answer.error, NET_CANCELLED);
    assert_false(got[0].answer.sent);
    assert_int_equal(net_send(net, &request, got_it, &got[4], NULL, &fault), OK);
    net_shut(); /* cancels the rest */
    for (int i = 0; i < 5; i++)
        assert_int_equal(got[i].count, 1);
    assert_int_equal(got[4].answer.error, NET_CANCELLED);
    peer_stop();
}

static void nonsense_is_refused(void **state) {
    net_open();
    struct got got = {0};
    struct fault fault = {0};
    struct net_request request = post(1);
    struct net_header bad[] = {{{"X", 1}, {"a\r\nB: c", 7}}};
    request.headers = bad;
    request.header_count = 1;
    assert_int_equal(net_send(net, &request, got_it, &got, NULL, &fault), ERR_INVALID);
    request = post(1);
    request.timeout_ms = 0;
    assert_int_equal(net_send(net, &request, got_it, &got, NULL, &fault), ERR_INVALID);
    request = post(1);
    request.url = STR("file:///etc/hostname");
    struct got end = call(&request);
    assert_int_equal(end.answer.error, NET_FAILED);
    assert_false(end.answer.sent);
    net_shut();
}

static int64_t retry_after(const char *value) {
    struct net_header header = {STR("Retry-After"), str_c(value)};
    struct net_answer answer = {.headers = &header, .header_count = 1};
    return net_answer_retry_after_ms(&answer, INT64_C(784111777) * 1000000);
}

static void retry_after_is_read(void **state) {
    assert_int_equal(retry_after("120"), 120000);
    assert_int_equal(retry_after("0"), 0);
    assert_int_equal(retry_after("99999999999"), NET_RETRY_AFTER_MS_MAX);
    assert_int_equal(retry_after("Sun, 06 Nov 1994 08:49:47 GMT"), 10000);
    assert_int_equal(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), 0);
    assert_int_equal(retry_after("-1"), -1);
    assert_int_equal(retry_after("soon"), -1);
    assert_int_equal(retry_after(""), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_comes_whole),
        cmocka_unit_test(connections_are_kept),
        cmocka_unit_test(a_call_leaves_nothing_to_the_next),
        cmocka_unit_test(a_name_is_looked_up),
        cmocka_unit_test(a_connection_that_ends_idle_is_let_go),
        cmocka_unit_test(nobody_there_was_not_sent),
        cmocka_unit_test(silence_may_have_been_work),
        cmocka_unit_test(a_kept_connection_that_dies_is_not_posted_twice),
        cmocka_unit_test(time_is_bounded),
        cmocka_unit_test(answers_are_bounded),
        cmocka_unit_test(calls_are_bounded_and_cancelled),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(retry_after_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
