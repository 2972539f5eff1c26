/* TLS of the HTTP server, spoken to by OpenSSL's client: what is told of a client's certificate,
 * half-closed connections, memory that is short; and our own client, which trusts nobody unseen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../support/temp.h"
#include "base/mem.h"
#include "connect/driver_http.h"
#include "gateway/http.h"
#include "gateway/http_tls.h"

static char *dir, certificate[320], key[320], ca[320], other_ca[320];
static struct made {
    X509 *x509;
    EVP_PKEY *key;
} authority, stranger, hub_pair, till, fake;

/* --- certificates --------------------------------------------------------------------------- */

static void extension(X509 *x509, int nid, const char *value) {
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, x509, x509, NULL, NULL, 0);
    X509_EXTENSION *made = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(made);
    X509_add_ext(x509, made, -1);
    X509_EXTENSION_free(made);
}

static struct made make(const char *name, const char *names, const struct made *issuer) {
    static long serial;
    struct made made = {.x509 = X509_new(), .key = EVP_EC_gen("P-256")};
    X509_NAME *subject = X509_get_subject_name(made.x509);
    X509_set_version(made.x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(made.x509), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(made.x509), -60);
    X509_gmtime_adj(X509_getm_notAfter(made.x509), 86400);
    X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8, (const unsigned char *)"L\xc3\xa4" "den, GmbH",
                               -1, -1, 0);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(made.x509, issuer ? X509_get_subject_name(issuer->x509) : subject);
    X509_set_pubkey(made.x509, made.key);
    extension(made.x509, NID_basic_constraints, issuer ? "CA:FALSE" : "critical,CA:TRUE");
    if (names)
        extension(made.x509, NID_subject_alt_name, names);
    assert_true(X509_sign(made.x509, issuer ? issuer->key : made.key, EVP_sha256()) > 0);
    return made;
}

static void put(char path[320], const char *name, const struct made *made, bool private) {
    snprintf(path, 320, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    if (private)
        PEM_write_PrivateKey(file, made->key, NULL, NULL, 0, NULL, NULL);
    else
        PEM_write_X509(file, made->x509);
    fclose(file);
}

static int set_up(void **state) {
    dir = temp_folder();
    authority = make("CA", NULL, NULL);
    stranger = make("CA", NULL, NULL);
    hub_pair = make("hub", "DNS:hub.example,DNS:localhost", &authority);
    till = make("till-7", "DNS:till-7.example,DNS:t7.example,URI:spiffe://shop/till/7,"
                          "email:till@shop.example,IP:10.0.0.7", &authority);
    fake = make("till-7", "DNS:till-7.example", &stranger);
    put(ca, "ca.pem", &authority, false);
    put(other_ca, "other.pem", &stranger, false);
    put(certificate, "hub.pem", &hub_pair, false);
    put(key, "hub.key", &hub_pair, true);
    return 0;
}

static int tear_down(void **state) {
    struct made *all[] = {&authority, &stranger, &hub_pair, &till, &fake};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        X509_free(all[i]->x509);
        EVP_PKEY_free(all[i]->key);
    }
    temp_remove(dir);
    return 0;
}

/* --- the server ----------------------------------------------------------------------------- */

static struct http_server *server;
static struct http_tls *tls;

static void handle(struct http_exchange *ex, void *ctx) {
    const struct http_peer *peer = http_exchange_peer(ex);
    char text[1024];
    assert_true(http_exchange_secure(ex));
    snprintf(text, sizeof text, "(none)");
    if (peer)
        snprintf(text, sizeof text, "%.*s|%u %.*s %.*s|%u %.*s|%u %.*s|%s|%d",
                 STR_FMT(peer->subject), peer->dns_count, STR_FMT(peer->dns[0]),
                 STR_FMT(peer->dns[peer->dns_count - 1]), peer->uri_count, STR_FMT(peer->uris[0]),
                 peer->email_count, STR_FMT(peer->emails[0]), peer->fingerprint,
                 peer->expires_s > 1700000000);
    http_answer(ex, 200, STR("text/plain"), str_c(text));
}

static struct http_tls_options tls_options(const struct http_tls_pair *pair) {
    return (struct http_tls_options){.pairs = pair, .count = 1, .resume_s = 3600,
                                     .client = HTTP_TLS_CLIENT_OPTIONAL, .client_ca = ca};
}

static int start(void **state) {
    const struct http_tls_pair pair = {certificate, key};
    struct http_tls_options options = tls_options(&pair);
    struct fault fault = {0};
    if (http_tls_create(&options, &tls, &fault) != OK)
        fail_msg("%s", fault.detail);
    const struct http_listen listen[] = {{.tls = tls}};
    struct http_options http = {.listen = listen, .listen_count = 1, .threads = 2, .handle = handle,
                                .limits = {.handshake_timeout_ms = 5000, .write_timeout_ms = 160}};
    if (http_server_start(&http, &server, &fault) != OK)
        fail_msg("%s", fault.detail);
    return 0;
}

static int stop(void **state) {
    http_server_stop(server);
    http_tls_destroy(tls);
    return 0;
}

/* --- a client ------------------------------------------------------------------------------- */

static int dial(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(http_server_port(server))};
    struct timeval limit = {.tv_sec = 20};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static SSL_CTX *client_context(int version, const struct made *shown) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    assert_int_equal(SSL_CTX_load_verify_file(context, ca), 1);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_min_proto_version(context, version);
    SSL_CTX_set_max_proto_version(context, version);
    if (shown) {
        assert_int_equal(SSL_CTX_use_certificate(context, shown->x509), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(context, shown->key), 1);
    }
    return context;
}

/* Sends, says goodbye, and reads to the end. The text is NULL where the hub broke off. From the
 * fail-th allocation, where not 0, memory is short once, here or there. */
static const char *converse(int version, const struct made *shown, const char *request,
                            uint64_t fail) {
    static char text[8192];
    SSL_CTX *context = client_context(version, shown);
    SSL *ssl = SSL_new(context);
    int fd = dial(), n, len = 0;
    bool fine = SSL_set_fd(ssl, fd) == 1;
    if (fail)
        mem_fail_at(fail, 0);
    fine = fine && SSL_connect(ssl) == 1 && SSL_write(ssl, request, (int)strlen(request)) > 0;
    if (fine)
        SSL_shutdown(ssl);
    while (fine && (n = SSL_read(ssl, text + len, (int)sizeof text - 1 - len)) > 0)
        len += n;
    text[len] = '\0';
    fine = fine && SSL_get_error(ssl, 0) == SSL_ERROR_ZERO_RETURN; /* its own goodbye has come */
    mem_fail_at(0, 0);
    SSL_free(ssl);
    SSL_CTX_free(context);
    close(fd);
    return fine ? text : NULL;
}

#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static void tells_who_is_there(void **state) {
    unsigned char digest[32];
    char wanted[512], hex[65];
    X509_digest(till.x509, EVP_sha256(), digest, NULL);
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    snprintf(wanted, sizeof wanted,
             "\r\n\r\nCN=till-7,O=L\xc3\xa4" "den\\, GmbH|2 till-7.example t7.example|1 "
             "spiffe://shop/till/7|1 till@shop.example|%s|1", hex);
    for (int v = 0; v < 2; v++) {
        const char *text = converse(versions[v], &till, GET, 0);
        assert_non_null(text);
        if (!strstr(text, wanted))
            fail_msg("%s\nand not %s", text, wanted);
        text = converse(versions[v], NULL, GET, 0);
        assert_true(text && strstr(text, "(none)"));
        assert_null(converse(versions[v], &fake, GET, 0));
    }
}

/* A client that has said goodbye still hears the answers to what it asked before. */
static void answers_after_a_goodbye(void **state) {
    for (int v = 0; v < 2; v++) {
        const char *text = converse(versions[v], NULL, GET GET GET, 0);
        int count = 0;
        for (const char *at = text; at && (at = strstr(at, "(none)")); at++)
            count++;
        assert_int_equal(count, 3);
    }
}

/* Whichever allocation fails: that connection ends, the next ones do not. */
static void memory_may_be_short(void **state) {
    const struct http_tls_pair pair = {certificate, key};
    struct http_tls_options options = tls_options(&pair);
    uint32_t failed = 0;
    for (uint64_t n = 1; n < 900; n += 1 + n / 30)
        failed += converse(versions[n % 2], &till, GET, n) == NULL;
    assert_true(failed > 3);
    for (int v = 0; v < 2; v++)
        assert_non_null(converse(versions[v], &till, GET, 0));
    for (uint64_t n = 1, ended = 0; !ended; n += 1 + n / 16) {
        struct fault fault = {0};
        struct http_tls *made;
        mem_fail_at(n, 0);
        enum err err = http_tls_create(&options, &made, &fault);
        ended = mem_count() < n;
        mem_fail_at(0, 0);
        assert_true(ended ? err == OK : err != OK || made != NULL);
        http_tls_destroy(made);
    }
}

/* Idle connections rest, and go on as if nothing had been; also those that are closed at rest. */
static void rests_when_idle(void **state) {
    enum { COUNT = 20 };
    SSL_CTX *contexts[2] = {client_context(versions[0], &till), client_context(versions[1], NULL)};
    SSL *ssl[COUNT];
    char text[1024];
    for (int i = 0; i < COUNT; i++) {
        ssl[i] = SSL_new(contexts[i % 2]);
        SSL_set_fd(ssl[i], dial());
        assert_int_equal(SSL_connect(ssl[i]), 1);
    }
    for (int turn = 0; turn < 3; turn++) {
        for (int i = 0; i < COUNT; i++) {
            assert_true(SSL_write(ssl[i], GET, sizeof GET - 1) > 0);
            int n = SSL_read(ssl[i], text, sizeof text - 1);
            assert_true(n > 0);
            text[n] = '\0';
            assert_non_null(strstr(text, i % 2 ? "(none)" : "CN=till-7"));
        }
        for (int wait = 0; wait < 1000 && http_server_stats(server)->resting < COUNT; wait++)
            usleep(10000);
        assert_int_equal(http_server_stats(server)->resting, COUNT);
    }
    for (int i = 0; i < COUNT; i++) { /* half of them say goodbye, half stay for the server's end */
        int fd = SSL_get_fd(ssl[i]);
        if (i < COUNT / 2) {
            SSL_shutdown(ssl[i]);
            assert_int_equal(SSL_read(ssl[i], text, sizeof text), 0);
            assert_int_equal(SSL_get_error(ssl[i], 0), SSL_ERROR_ZERO_RETURN);
            SSL_free(ssl[i]);
            close(fd);
        }
    }
    http_server_drain(server);
    for (int i = COUNT / 2; i < COUNT; i++) {
        int fd = SSL_get_fd(ssl[i]);
        assert_int_equal(SSL_read(ssl[i], text, sizeof text), 0);
        assert_int_equal(SSL_get_error(ssl[i], 0), SSL_ERROR_ZERO_RETURN);
        SSL_free(ssl[i]);
        close(fd);
    }
    SSL_CTX_free(contexts[0]);
    SSL_CTX_free(contexts[1]);
}

/* Certificates are read anew while others connect. */
static void *connects(void *arg) {
    _Atomic int *left = arg;
    while (atomic_load(left) > 0) {
        SSL_CTX *context = client_context(TLS1_3_VERSION, &till);
        SSL *ssl = SSL_new(context);
        char text[512];
        int fd = dial();
        SSL_set_fd(ssl, fd);
        must(SSL_connect(ssl) == 1 && SSL_write(ssl, GET, sizeof GET - 1) > 0 &&
             SSL_read(ssl, text, sizeof text) > 0);
        SSL_free(ssl);
        SSL_CTX_free(context);
        close(fd);
    }
    return NULL;
}

static void reads_files_anew(void **state) {
    _Atomic int left = 40;
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, connects, &left), 0);
    for (; atomic_load(&left) > 0; atomic_fetch_sub(&left, 1)) {
        struct fault fault = {0};
        assert_false(http_tls_stale(tls));
        put(certificate, "hub.pem", &hub_pair, false);
        assert_true(http_tls_stale(tls));
        assert_int_equal(http_tls_reload(tls, &fault), OK);
        usleep(2000);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

/* --- going out ------------------------------------------------------------------------------ */

static void on_done(void *ctx, const struct net_answer *answer) {
    *(struct net_answer *)ctx = *answer;
}

/* Of a call to our server under that name; trusted: whose certificates. */
static struct net_answer call(const char *name, const char *trusted) {
    struct net_answer answer = {0};
    struct fault fault = {0};
    struct net *net;
    uv_loop_t loop;
    char url[128];
    assert_int_equal(uv_loop_init(&loop), 0);
    struct driver_http_options options = {.loop = &loop, .clock = &clock_system, .calls_max = 4,
                                          .ca_file = trusted};
    if (driver_http_create(&options, &net, &fault) != OK) { /* where memory fails on purpose */
        assert_int_equal(uv_loop_close(&loop), 0);
        return (struct net_answer){.error = NET_FAILED};
    }
    snprintf(url, sizeof url, "https://%s:%u/", name, http_server_port(server));
    struct net_request request = {.method = STR("POST"), .url = str_c(url), .body = STR("{}"),
                                  .timeout_ms = 10000};
    if (net_send(net, &request, on_done, &answer, NULL, &fault) != OK)
        answer = (struct net_answer){.error = NET_FAILED, .detail = "not taken"};
    while (answer.detail[0] == '\0' && answer.status == 0)
        uv_run(&loop, UV_RUN_ONCE);
    net_close(net);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return answer;
}

/* Nothing of a request leaves before the certificate was found to be right. */
static void trusts_nobody_unseen(void **state) {
    struct net_answer answer = call("localhost", ca);
    assert_int_equal(answer.error, NET_OK);
    assert_int_equal(answer.status, 200);
    static const struct {
        const char *name;
        const char *trusted;
    } wrong[] = {{"localhost", NULL}, {"localhost", other_ca}, {"127.0.0.1", ca}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        answer = call(wrong[i].name, wrong[i].trusted);
        assert_int_equal(answer.error, NET_TLS);
        assert_false(answer.sent);
        assert_int_equal(answer.status, 0);
    }
}

/* However short memory is: who is not trusted stays untrusted, and nothing is sent to them. */
static void trusts_nobody_for_want_of_memory(void **state) {
    uint32_t failed = 0;
    for (uint64_t n = 1, ended = 0; !ended; n += 1 + n / 16) {
        mem_fail_at(n, 0);
        struct net_answer answer = call("localhost", other_ca);
        ended = mem_count() < n;
        mem_fail_at(0, 0);
        assert_true(answer.error != NET_OK && !answer.sent && answer.status == 0);
    }
    for (uint64_t n = 1; n < 2000; n += 1 + n / 16) {
        mem_fail_at(n, 0);
        struct net_answer answer = call("localhost", ca);
        mem_fail_at(0, 0);
        assert_true(answer.error == NET_OK ? answer.status == 200 : answer.status == 0);
        failed += answer.error != NET_OK;
    }
    assert_true(failed > 10);
    assert_int_equal(call("localhost", ca).status, 200);
}

int main(void) {
    http_tls_memory_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tells_who_is_there, start, stop),
        cmocka_unit_test_setup_teardown(answers_after_a_goodbye, start, stop),
        cmocka_unit_test_setup_teardown(memory_may_be_short, start, stop),
        cmocka_unit_test_setup_teardown(rests_when_idle, start, stop),
        cmocka_unit_test_setup_teardown(reads_files_anew, start, stop),
        cmocka_unit_test_setup_teardown(trusts_nobody_unseen, start, stop),
        cmocka_unit_test_setup_teardown(trusts_nobody_for_want_of_memory, start, stop),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
