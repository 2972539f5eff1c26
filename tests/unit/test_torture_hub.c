/* Torture of the whole hub, with its threads, in one process: each call of the system and of libraries fails in
 * its turn, and each allocation, while it starts and while orders and counts come in (over HTTP, from a file, from
 * a poll) and go out to another system's books. A start succeeds, or says why and leaves nothing open, and the
 * next one works. Of what comes in the sender is told the truth; at the end each order is in the hub and in the
 * books once, and the stock is what the orders leave of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../support/temp.h"
#include "../support/torture.h"
#include "base/json.h"
#include "base/log.h"
#include "cli/hub.h"
#include "gateway/http.h"
#include "gateway/keys.h"

static char *dir, bearer[KEY_TEXT_LEN + 1];

/* --- the books, and a market that is polled ----------------------------------------------------- */

static struct books {
    struct http_server *server;
    pthread_mutex_t lock;
    char orders[4096][64]; /* ids */
    uint32_t count;
    uint32_t offered; /* orders m-1 … that the market lists */
    bool twice;       /* an order was posted that was there already */
} books = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Whether the order is there; `post`: it is from now on. */
static bool books_has(struct str id, bool post) {
    uint32_t at = 0;
    while (at < books.count && !str_is(id, books.orders[at]))
        at++;
    bool there = at < books.count;
    books.twice = books.twice || (post && there);
    if (post && !there) {
        must(books.count < 4096 && id.len < sizeof books.orders[0]);
        snprintf(books.orders[books.count++], sizeof books.orders[0], "%.*s", STR_FMT(id));
    }
    return there || post;
}

static void market_list(struct http_exchange *ex) {
    static char text[131072];
    uint32_t from = 0;
    int len = snprintf(text, sizeof text, "{\"items\":[");
    for (uint32_t i = from + 1; i <= books.offered; i++)
        len += snprintf(text + len, sizeof text - (size_t)len, "%s{\"number\":\"m-%u\"}", i > from + 1 ? "," : "", i);
    len += snprintf(text + len, sizeof text - (size_t)len, "]}");
    http_answer(ex, 200, STR("application/json"), str_of(text, (size_t)len));
}

/* POST /orders/ID, GET /orders/ID, GET /market. It holds: it is another program. */
static void books_handle(struct http_exchange *ex, void *ctx) {
    const struct http_request *request = http_exchange_request(ex);
    bool post = request->method == HTTP_METHOD_POST;
    faulty_hold(true);
    pthread_mutex_lock(&books.lock);
    if (str_is(request->path, "/market")) {
        market_list(ex);
    } else {
        bool there = books_has(str_of(request->path.ptr + 8, request->path.len - 8), post);
        http_answer(ex, post ? 201 : there ? 200 : 404, STR("application/json"),
                    there ? STR("{\"id\":\"N-1\"}") : STR("{}"));
    }
    pthread_mutex_unlock(&books.lock);
    faulty_hold(false);
}

static uint32_t books_count(const char *id) {
    pthread_mutex_lock(&books.lock);
    uint32_t count = id ? books_has(str_c(id), false) : books.count;
    pthread_mutex_unlock(&books.lock);
    return count;
}

/* --- a configuration ---------------------------------------------------------------------------- */

static void put(const char *name, const char *text) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void folder(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

static const char order_lua[] =
    "return function(doc) return {channel = 'web', channel_order_id = opt(doc, 'number') or doc.row.number,\n"
    "  placed_at = '2026-11-23T09:15:00Z', currency = 'EUR', totals = {grand = 10},\n"
    "  lines = {{line_id = '1', sku = 'A', quantity = '2', unit_price = 5, total = 10}}} end\n";

static void configure(void) {
    char yaml[2048];
    snprintf(yaml, sizeof yaml,
             "connector: books\nversion: \"1\"\nowner: finance\nsend:\n"
             "  - subscription: books\n    events: [order.captured]\n    mapping: post.lua\n"
             "    request: {method: POST, url: \"http://127.0.0.1:%u/orders/{event.subject}\"}\n"
             "    lookup: {method: GET, url: \"http://127.0.0.1:%u/orders/{event.subject}\", found: /id,\n"
             "             settle_ms: 20}\n"
             "    retry: {first_ms: 5, max_ms: 50, factor: 2, jitter: none}\n"
             "poll:\n  - topic: market\n    every_s: 1\n    request: {url: \"http://127.0.0.1:%u/market\"}\n"
             "    items: /items\n    key: {member: number}\n    mapping: order.lua\n    command: order.capture\n"
             "files:\n  - topic: drop\n    folder: \"%s/drop\"\n    pattern: \"*.csv\"\n    every_s: 1\n"
             "    ready: {done: .done}\n    key: {member: row.number}\n    mapping: order.lua\n"
             "    command: order.capture\n",
             http_server_port(books.server), http_server_port(books.server), http_server_port(books.server), dir);
    folder("connectors");
    folder("connectors/books");
    folder("drop");
    put("penstock.yaml", "cell: torture\nlocations: l.yaml\nchannels:\n  - {channel: web, time_zone: Europe/Berlin,"
                         " currency: EUR, sourcing: [WH], on_shortage: refuse}\n"
                         "settings: {loop_threads: 1, worker_threads: 2, inbound_workers: 1,"
                         " deliver_breaker_after: 1000}\n");
    put("l.yaml", "- {location: WH, kind: warehouse, name: W, time_zone: Europe/Berlin}\n");
    put("connectors/books/connector.yaml", yaml);
    put("connectors/books/order.lua", order_lua);
    put("connectors/books/post.lua", "return function(doc) return {number = doc.data.order.channel_order_id} end\n");
}

static int set_up(void **state) {
    struct http_options options = {.handle = books_handle, .threads = 1};
    struct fault fault = {0};
    struct key_store *keys;
    struct key_record made;
    struct key_new wanted = {.name = STR("torture"), .scopes = STR("*")};
    struct arena arena;
    struct str key;
    char path[512];
    faulty_disk();
    faulty_memory();
    dir = temp_folder();
    assert_int_equal(http_server_start(&options, &books.server, &fault), OK);
    configure();
    folder("data");
    snprintf(path, sizeof path, "%s/data/keys.db", dir);
    arena_init(&arena, 0);
    assert_int_equal(key_store_open(path, &keys, &fault), OK);
    assert_int_equal(key_create(keys, &wanted, &rng_system, &clock_system, &arena, &key, &made, &fault), OK);
    snprintf(bearer, sizeof bearer, "%.*s", STR_FMT(key));
    key_store_close(keys);
    arena_free(&arena);
    return 0;
}

static int tear_down(void **state) {
    http_server_stop(books.server);
    temp_remove(dir);
    return 0;
}

/* --- a client ----------------------------------------------------------------------------------- */

static struct hub *hub;

static enum err start(struct fault *fault) {
    struct hub_options options = {.dir = dir, .listen = "127.0.0.1:0"};
    return hub_start(&options, &hub, fault);
}

/* The status, 0 where the connection ended without; what it said. The caller holds. */
static int ask(const char *method, const char *target, const char *key, const char *body, char *out, size_t size) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {.tv_sec = 10};
    char request[4096];
    size_t len = 0;
    ssize_t n;
    int fd = socket(AF_INET, SOCK_STREAM, 0), status = 0;
    to.sin_port = htons((uint16_t)strtoul(strrchr(hub_url(hub), ':') + 1, NULL, 10));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    snprintf(request, sizeof request,
             "%s %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer %s\r\nIdempotency-Key: %s\r\n"
             "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", method, target, bearer, key,
             strlen(body), body);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 &&
        send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request))
        while (len < size - 1 && (n = recv(fd, out + len, size - 1 - len, 0)) > 0)
            len += (size_t)n;
    out[len] = '\0';
    close(fd);
    if (strncmp(out, "HTTP/1.1 ", 9) == 0)
        status = (int)strtoul(out + 9, NULL, 10);
    return status;
}

#define ORDER                                                                                                \
    "{\"channel\":\"web\",\"channel_order_id\":\"%s\",\"placed_at\":\"2026-11-23T09:15:00Z\","              \
    "\"currency\":\"EUR\",\"customer\":{\"email\":\"a@example.org\"},\"lines\":[{\"line_id\":\"1\",\"sku\":\"A\","  \
    "\"quantity\":\"2\",\"unit_price\":5,\"total\":10}],\"totals\":{\"grand\":10}}"

static int order(const char *number, char id[64]) {
    char body[1024], out[8192];
    snprintf(body, sizeof body, ORDER, number);
    int status = ask("POST", "/v1/orders", number, body, out, sizeof out);
    const char *at = strstr(out, "\"order_id\":\"");
    id[0] = '\0';
    if (at)
        snprintf(id, 64, "%.*s", (int)strcspn(at + 12, "\""), at + 12);
    return status;
}

/* --- starting --------------------------------------------------------------------------------------- */

/* Once the books' server has let go of the connections of the hub before. */
static uint32_t descriptors(void) {
    for (int i = 0; i < 1000 && http_server_connections(books.server) > 0; i++)
        usleep(1000);
    return torture_descriptors();
}

static bool start_step(void) {
    struct fault fault;
    struct arena arena;
    arena_init(&arena, 0);
    fault_init(&fault, &arena);
    uint32_t before = descriptors();
    torture_arm();
    enum err err = start(&fault);
    bool met = torture_disarm();
    if (err == OK)
        hub_stop(hub);
    else if (!met || !fault.detail[0] || err == ERR_CONFLICT ||
             (err == ERR_INVALID && !strstr(fault.detail, "can not read")))
        fail_msg("%s %lu (%s): %s: %s", turn_names[turn], (unsigned long)turn_at, turn_failed, err_info(err)->slug,
                 fault.detail);
    arena_free(&arena);
    uint32_t after = descriptors();
    if (after != before)
        fail_msg("%s %lu (%s): %u descriptors before, %u after", turn_names[turn], (unsigned long)turn_at,
                 turn_failed, before, after);
    return met;
}

/* While nothing fails. */
static void start_well(void) {
    struct fault fault;
    struct arena arena;
    arena_init(&arena, 0);
    fault_init(&fault, &arena);
    if (start(&fault) != OK) {
        for (const struct fault_item *item = fault.first; item; item = item->next)
            print_error("%.*s: %.*s\n", STR_FMT(item->pointer), STR_FMT(item->detail));
        fail_msg("%s", fault.detail);
    }
    arena_free(&arena);
}

static void hub_starts(void **state) {
    start_well(); /* what is made at the first start */
    hub_stop(hub);
    assert_true(torture(TURN_ERROR, 4, 9, start_step) > 20);
    assert_true(torture(TURN_MEMORY, 4, 43, start_step) > 20);
    start_well();
    hub_stop(hub);
}

/* --- at work ------------------------------------------------------------------------------------------ */

#define STEPS_MAX 150 /* of a kind, by default */

static uint32_t orders, steps; /* that there must be in the end; in this round */

/* A file with an order. */
static void drop(const char *number) {
    char name[64], text[64];
    snprintf(name, sizeof name, "drop/%s.csv", number);
    snprintf(text, sizeof text, "number\n%s\n", number);
    put(name, text);
    snprintf(name, sizeof name, "drop/%s.csv.done", number);
    put(name, "");
    orders++;
}

static bool work_step(void) {
    char number[32], id[64];
    snprintf(number, sizeof number, "h-%d-%lu", turn, (unsigned long)turn_at);
    faulty_hold(true);
    if (steps++ % 4 == 0) {
        char file[32];
        snprintf(file, sizeof file, "f-%d-%lu", turn, (unsigned long)turn_at);
        drop(file);
        pthread_mutex_lock(&books.lock);
        books.offered++;
        pthread_mutex_unlock(&books.lock);
        orders++;
    }
    torture_arm();
    int status = order(number, id);
    for (int i = 0; i < 40 && !torture_met() && !(id[0] && books_count(id)); i++)
        usleep(5000);
    bool met = torture_disarm();
    if (status != 201 && status != 0 && status / 100 != 5)
        fail_msg("%s %lu (%s): status %d", turn_names[turn], (unsigned long)turn_at, turn_failed, status);
    for (int i = 0; i < 100 && status / 100 != 2; i++) { /* with the same Idempotency-Key */
        usleep(i ? 20000 : 0);
        status = order(number, id);
    }
    if (status / 100 != 2 || !id[0])
        fail_msg("%s %lu (%s): not taken afterwards: status %d", turn_names[turn], (unsigned long)turn_at,
                 turn_failed, status);
    orders++;
    faulty_hold(false);
    return met && (steps < STEPS_MAX || getenv("PENSTOCK_TORTURE"));
}

/* A number that follows `name` in what the hub answers; -1: there is none. */
static long told(const char *target, const char *name) {
    static char out[65536];
    int status = ask("GET", target, "look", "", out, sizeof out);
    const char *at = status == 200 ? strstr(out, name) : NULL;
    return at ? strtol(at + strlen(name), NULL, 10) : -1;
}

static void books_wait(int ms) {
    for (int i = 0; i < ms / 20 && books_count(NULL) < orders; i++)
        usleep(20000);
}

static void books_agree(void) {
    books_wait(30000);
    if (books_count(NULL) != orders || books.twice) {
        static const char *const seen[] = {"/ops/held", "/ops/exceptions", "/ops/files", "/ops/polls"};
        static char out[65536];
        for (size_t i = 0; i < sizeof seen / sizeof *seen; i++)
            if (ask("GET", seen[i], "look", "", out, sizeof out) == 200)
                print_error("%s: %.2000s\n", seen[i], strstr(out, "\r\n\r\n"));
    }
    if (books_count(NULL) != orders || books.twice)
        fail_msg("%u orders, %u in the books%s", orders, books_count(NULL),
                 books.twice ? ", one was posted twice" : "");
    long available = told("/v1/availability?sku=A", "\"available\":\"");
    assert_int_equal(available, 1000000 - 2 * (long)orders);
    assert_int_equal(told("/ops/exceptions", "\"items\":[]"), 0); /* memory and disk are no case for a person */
    assert_int_equal(told("/ops/held", "\"items\":[]"), 0);
}

static void hub_works(void **state) {
    char out[8192];
    static const struct {
        enum turn turn;
        uint32_t stride;
    } rounds[] = {{TURN_ERROR, 3}, {TURN_AGAIN, 3}, {TURN_SHORT, 3}, {TURN_MEMORY, 11}};
    start_well();
    faulty_hold(true);
    assert_int_equal(ask("POST", "/v1/stock/counts", "count-1",
                         "{\"sku\":\"A\",\"location\":\"WH\",\"on_hand\":\"1000000\"}", out, sizeof out), 201);
    faulty_hold(false);
    for (size_t i = 0; i < sizeof rounds / sizeof rounds[0]; i++) {
        steps = 0;
        torture(rounds[i].turn, 8, rounds[i].stride, work_step);
    }
    books_wait(4000); /* not more: a file that could not be read on is looked at again a minute later */
    hub_stop(hub);
    for (int i = 0; i < 2; i++) { /* then from what the one before has left */
        start_well();
        faulty_hold(true);
        books_agree();
        faulty_hold(false);
        hub_stop(hub);
    }
}

int main(void) {
    log_level_set(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hub_starts),
        cmocka_unit_test(hub_works),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
