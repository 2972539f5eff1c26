/* Unit test of routes that end, through a real gateway on a socket: Deprecation and Sunset in every
 * answer, and 410 after the day where the hub is told so. The tables are the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "../support/cell.h"
#include "../support/temp.h"
#include "domain/list.h"
#include "gateway/contract.h"
#include "gateway/gateway.h"

#define BEFORE_US INT64_C(1796083200000000) /* 2026-12-01, deprecated from then on */
#define SUNSET_US INT64_C(1806451200000000) /* 2027-03-31 */

static enum err hello_query(struct query *query, struct fault *fault) {
    (void)fault;
    buf_lit(query->out, "{\"hello\":true}");
    return OK;
}

static const struct route old_routes[] = {
    {.method = "GET", .path = "/v0/hello", .query = hello_query, .flags = ROUTE_INLINE},
    {.method = "GET", .path = "/v9/hello", .query = hello_query, .flags = ROUTE_INLINE},
    {.method = "GET", .path = "/v9/row", .query = hello_query, .flags = ROUTE_INLINE,
     .deprecated = "2026-12-01"},
    {0},
};
static const struct contract table[] = {
    {.name = "greeting", .owner = "x", .link = "docs/contracts.md", .deprecated = "2026-12-01",
     .sunset = "2027-03-31", .paths = (const char *const[]){"/v0", NULL}},
    {.name = "new", .owner = "x", .link = "docs/contracts.md",
     .paths = (const char *const[]){"/v9", NULL}},
    {0},
};

static enum err seq_read(struct reader *r, uint64_t *seq, struct fault *fault) {
    (void)r, (void)fault;
    *seq = 0;
    return OK;
}
static void lag_read(struct reader *r, struct reader_lag *out) {
    (void)r;
    *out = (struct reader_lag){0};
}
static const struct reader_ops reader_ops = {.seq = seq_read, .lag = lag_read};
static struct reader *reader_make(void *ctx, struct fault *fault) {
    static struct reader readers[16];
    static uint32_t count;
    struct cell *cell = ctx;
    (void)fault;
    must(count < 16);
    readers[count] = (struct reader){.ops = &reader_ops, .core = cell->core};
    return &readers[count++];
}
static void reader_end(struct reader *reader) { (void)reader; }

static struct {
    struct cell cell;
    struct gateway *gateway;
    char *folder;
    char keys[512];
    struct config_auth auth;
} t;

/* The whole answer as text. */
static const char *get(const char *path) {
    static char answer[8192];
    char request[256];
    size_t len = 0;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(gateway_port(t.gateway, 0)),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", path);
    assert_int_equal(send(fd, request, (size_t)size, 0), size);
    for (ssize_t n; len + 1 < sizeof answer &&
                    (n = recv(fd, answer + len, sizeof answer - 1 - len, 0)) > 0;)
        len += (size_t)n;
    answer[len] = '\0';
    close(fd);
    return answer;
}

static void gateway_begin(int64_t now_us, bool refuse) {
    static struct str address = {"127.0.0.1:0", 11};
    static const struct http_listen listen = {.host = "127.0.0.1"};
    static const struct gateway_table tables[] = {{old_routes, NULL}, {0}};
    static const struct api_tables api = {.capabilities = domain_capabilities, .contracts = table};
    struct fault fault = {0};
    cell_open(&t.cell, 1);
    t.cell.now_us = now_us;
    t.cell.config.settings.refuse_after_sunset = refuse;
    t.cell.config.settings.loop_threads = 1;
    t.cell.config.auth = &t.auth;
    t.cell.config.time_zone = STR("UTC");
    t.cell.config.listen = (struct shape_list){.items = &address, .count = 1};
    t.folder = temp_folder();
    snprintf(t.keys, sizeof t.keys, "%s/keys.db", t.folder);
    struct gateway_options options = {.core = t.cell.core, .tail = t.cell.tail,
                                      .config = &t.cell.config, .keys_path = t.keys,
                                      .listen = &listen, .listen_count = 1,
                                      .readers = {reader_make, reader_end, &t.cell},
                                      .tables = tables, .api = &api};
    if (gateway_start(&options, &t.gateway, &fault) != OK)
        fail_msg("%s", fault.detail);
}

static void gateway_end(void) {
    gateway_stop(t.gateway);
    cell_close(&t.cell);
    temp_remove(t.folder);
}

static void answers_say_that_a_route_ends(void **state) {
    (void)state;
    gateway_begin(BEFORE_US, true);
    const char *answer = get("/v0/hello");
    assert_non_null(strstr(answer, "HTTP/1.1 200 "));
    assert_non_null(strstr(answer, "\r\nDeprecation: @1796083200\r\n"));
    assert_non_null(strstr(answer, "\r\nSunset: Wed, 31 Mar 2027 00:00:00 GMT\r\n"));
    assert_non_null(strstr(answer, "rel=\"sunset\""));
    answer = get("/v9/hello");
    assert_non_null(strstr(answer, "HTTP/1.1 200 "));
    assert_null(strstr(answer, "Deprecation"));
    assert_null(strstr(answer, "Sunset"));
    answer = get("/v9/row"); /* by its own row, with no end */
    assert_non_null(strstr(answer, "\r\nDeprecation: @1796083200\r\n"));
    assert_null(strstr(answer, "Sunset"));
    gateway_end();
}

static void after_its_sunset_a_route_is_gone_where_the_hub_is_told_so(void **state) {
    (void)state;
    gateway_begin(SUNSET_US - 1, true);
    assert_non_null(strstr(get("/v0/hello"), "HTTP/1.1 200 "));
    gateway_end();
    gateway_begin(SUNSET_US, true);
    const char *answer = get("/v0/hello");
    assert_non_null(strstr(answer, "HTTP/1.1 410 Gone\r\n"));
    assert_non_null(strstr(answer, "\r\nSunset: Wed, 31 Mar 2027 00:00:00 GMT\r\n"));
    assert_non_null(strstr(answer, "problems/gone"));
    assert_non_null(strstr(get("/v9/row"), "HTTP/1.1 200 "));
    gateway_end();
    gateway_begin(SUNSET_US, false);
    assert_non_null(strstr(get("/v0/hello"), "HTTP/1.1 200 "));
    gateway_end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_say_that_a_route_ends),
        cmocka_unit_test(after_its_sunset_a_route_is_gone_where_the_hub_is_told_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
