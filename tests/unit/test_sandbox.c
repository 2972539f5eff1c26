/* The stand-in ERP: it checks sums as an ERP does, its books survive the end of the process,
 * they tell of duplicates, and its faults are what they say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/decimal.h"
#include "connect/driver_http.h"
#include "ops/sandbox_books.h"
#include "ops/sandbox_erp.h"
#include "ops/sandbox_order.h"

static char path[64];
static const char *file_new(void) {
    snprintf(path, sizeof path, "/tmp/penstock-books-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    return path;
}

static struct booked order(const char *id, const char *channel, int64_t grand) {
    return (struct booked){.external_id = str_c(id), .channel = str_c(channel),
                           .currency = STR("EUR"), .grand = grand, .tax = grand / 10, .lines = 1};
}

static void post(struct books *books, const char *id, const char *channel, int64_t grand) {
    struct booked o = order(id, channel, grand);
    uint32_t index;
    struct fault fault = {0};
    assert_int_equal(books_post(books, &o, &index, &fault), OK);
}

static struct books *books_of(const char *file) {
    struct books *books = NULL;
    struct fault fault = {0};
    if (books_open(file, &books, &fault) != OK)
        fail_msg("%s", fault.detail);
    return books;
}

static void totals_are(struct books *books, const char *text) {
    struct buf out;
    buf_init(&out, 0);
    books_totals(books, &out);
    assert_string_equal(buf_cstr(&out), text);
    buf_free(&out);
}

#define TOTALS                                                                                     \
    "{\"orders\":4,\"duplicates\":1,\"currencies\":[{\"currency\":\"EUR\",\"orders\":4,"            \
    "\"grand\":\"10.70\",\"tax\":\"1.07\"}],\"channels\":[{\"currency\":\"EUR\","                   \
    "\"channel\":\"web\",\"orders\":3,\"grand\":\"7.00\",\"tax\":\"0.70\"},{\"currency\":\"EUR\","  \
    "\"channel\":\"till\",\"orders\":1,\"grand\":\"3.70\",\"tax\":\"0.37\"}]}"

static void books_outlive_the_process(void **state) {
    const char *file = file_new();
    struct books *books = books_of(file);
    post(books, "a", "web", 100);
    post(books, "b", "web", 200);
    post(books, "c", "till", 370);
    post(books, "b", "web", 400);
    totals_are(books, TOTALS);
    /* no closing: the process ends here. A torn line was never acknowledged. */
    FILE *torn = fopen(file, "a");
    fputs("{\"external_id\":\"d\",\"chan", torn);
    fclose(torn);
    struct books *again = books_of(file);
    totals_are(again, TOTALS);
    post(again, "d", "web", 5);
    books_close(again);
    again = books_of(file);
    assert_int_equal(books_count(again), 5);
    uint32_t found = books_find(again, STR("b"));
    assert_int_equal(books_at(again, found)->number, 4);
    assert_int_equal(books_at(again, books_at(again, found)->earlier)->number, 2);
    assert_int_equal(books_number(again, STR("SO-000005")), 4);
    assert_int_equal(books_number(again, STR("SO-000006")), BOOKS_NONE);
    assert_int_equal(books_find(again, STR("e")), BOOKS_NONE);
    books_close(again);
    books_close(books);
    unlink(file);
}

static void a_foreign_file_is_refused(void **state) {
    const char *file = file_new();
    FILE *out = fopen(file, "w");
    fputs("to whom it may concern\n", out);
    fclose(out);
    struct books *books;
    struct fault fault = {0};
    assert_int_equal(books_open(file, &books, &fault), ERR_INVALID);
    unlink(file);
}

#define LINES "\"external_id\":\"x\",\"currency\":\"EUR\",\"lines\":[{\"amount\":\"1.50\"},{\"amount\":\"2\"}]"
static void orders_are_checked(void **state) {
    static const struct {
        const char *text, *fault; /* NULL: taken */
    } rows[] = {
        {"{" LINES ",\"totals\":{\"lines\":\"3.50\",\"grand\":\"3.50\"}}", NULL},
        {"{" LINES ",\"charges\":[{\"amount\":\"0.50\"}],\"totals\":{\"lines\":\"3.50\","
         "\"charges\":\"0.5\",\"rounding\":\"-0.01\",\"tax\":\"0.10\",\"grand\":\"3.99\"}}", NULL},
        {"{" LINES ",\"tax_included\":false,\"totals\":{\"lines\":\"3.50\",\"tax\":\"0.10\","
         "\"grand\":\"3.60\"}}", NULL},
        {"{" LINES ",\"totals\":{\"lines\":\"3.51\",\"grand\":\"3.51\"}}",
         "the lines add up to 3.50, but the order says 3.51 EUR"},
        {"{" LINES ",\"totals\":{\"lines\":\"3.50\",\"grand\":\"3.60\"}}",
         "everything adds up to 3.50, but the order says 3.60 EUR"},
        {"{" LINES ",\"totals\":{\"lines\":\"3.50\",\"charges\":\"1\",\"grand\":\"4.50\"}}",
         "the charges add up to 0.00, but the order says 1.00 EUR"},
        {"{" LINES ",\"totals\":{\"lines\":\"3.505\",\"grand\":\"3.50\"}}",
         "lines: \"3.505\" is no amount of EUR"},
        {"{" LINES "}", "totals are missing"},
        {"{\"external_id\":\"x\",\"currency\":\"EUR\",\"lines\":[],\"totals\":{}}",
         "an order needs a line"},
        {"{\"external_id\":\"x\",\"currency\":\"XXQ\"}", "currency is missing or unknown"},
        {"{\"currency\":\"EUR\"}", "external_id is missing"},
        {"[]", "an order is an object"},
    };
    struct json_parser *parser = json_parser_create();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct arena arena;
        struct fault fault = {0};
        const struct json *doc;
        struct booked booked;
        arena_init(&arena, 0);
        assert_int_equal(json_parse(parser, &arena, str_c(rows[i].text), false, &doc, &fault), OK);
        enum err err = sandbox_order_read(doc, &booked, &fault);
        assert_int_equal(err, rows[i].fault ? ERR_INVALID : OK);
        assert_string_equal(fault.detail, rows[i].fault ? rows[i].fault : "");
        arena_free(&arena);
    }
    json_parser_destroy(parser);
}

/* --- over HTTP --------------------------------------------------------------------------- */

struct got {
    bool done;
    struct net_answer answer;
    char body[4096];
};
static void got_it(void *ctx, const struct net_answer *answer) {
    struct got *got = ctx;
    got->done = true;
    got->answer = *answer;
    snprintf(got->body, sizeof got->body, "%.*s", STR_FMT(answer->body));
}

static uv_loop_t loop;
static struct net *net;
static struct sandbox_erp *erp;

static struct got call(const char *method, const char *where, const char *body) {
    char url[128];
    struct got got = {0};
    struct fault fault = {0};
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", sandbox_erp_port(erp), where);
    struct net_request request = {.method = str_c(method), .url = str_c(url), .body = str_c(body),
                                  .timeout_ms = 5000};
    assert_int_equal(net_send(net, &request, got_it, &got, NULL, &fault), OK);
    while (!got.done)
        uv_run(&loop, UV_RUN_ONCE);
    return got;
}

static void erp_up(const struct sandbox_erp_options *options) {
    struct fault fault = {0};
    assert_int_equal(uv_loop_init(&loop), 0);
    struct driver_http_options driver = {.loop = &loop, .clock = &clock_system};
    assert_int_equal(driver_http_create(&driver, &net, &fault), OK);
    assert_int_equal(sandbox_erp_start(options, &erp, &fault), OK);
}

static void erp_down(void) {
    net_close(net);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    sandbox_erp_stop(erp);
}

#define GOOD "{" LINES ",\"totals\":{\"lines\":\"3.50\",\"grand\":\"3.50\"}}"

static void it_books_and_answers(void **state) {
    erp_up(&(struct sandbox_erp_options){0});
    struct got got = call("POST", "/orders", GOOD);
    assert_int_equal(got.answer.status, 201);
    assert_non_null(strstr(got.body, "\"number\":\"SO-000001\""));
    got = call("GET", "/orders?external_id=x", NULL);
    assert_int_equal(got.answer.status, 200);
    assert_non_null(strstr(got.body, "{\"items\":[{\"number\":\"SO-000001\""));
    got = call("GET", "/orders?external_id=%79", NULL);
    assert_string_equal(got.body, "{\"items\":[]}");
    got = call("GET", "/orders/SO-000001", NULL);
    assert_int_equal(got.answer.status, 200);
    assert_int_equal(call("GET", "/orders/SO-000002", NULL).answer.status, 404);
    assert_int_equal(call("POST", "/orders", "{").answer.status, 400);
    assert_int_equal(call("POST", "/orders", "{}").answer.status, 422);
    assert_int_equal(call("POST", "/orders", GOOD).answer.status, 201); /* once more: booked twice */
    got = call("GET", "/totals", NULL);
    assert_non_null(strstr(got.body, "{\"orders\":2,\"duplicates\":1,"));
    got = call("POST", "/control", "{\"idempotent\":true}");
    assert_int_equal(got.answer.status, 200);
    got = call("POST", "/orders", GOOD);
    assert_int_equal(got.answer.status, 200);
    assert_non_null(strstr(got.body, "\"number\":\"SO-000002\""));
    got = call("GET", "/orders?after=1&limit=5", NULL);
    assert_non_null(strstr(got.body, "{\"items\":[{\"number\":\"SO-000002\""));
    assert_non_null(strstr(got.body, "\"next_after\":null"));
    erp_down();
}

static void its_faults_are_set(void **state) {
    erp_up(&(struct sandbox_erp_options){.control.fail_rate = RATE_ONE, .seed = 3});
    assert_int_equal(call("POST", "/orders", GOOD).answer.status, 500);
    call("POST", "/control", "{\"fail_rate\":0,\"ambiguous_rate\":\"1\"}");
    struct got got = call("POST", "/orders", GOOD);
    assert_int_equal(got.answer.error, NET_RESET);
    assert_true(got.answer.sent);
    assert_non_null(strstr(call("GET", "/totals", NULL).body, "{\"orders\":1,")); /* it did it */
    call("POST", "/control", "{\"ambiguous_rate\":\"0\",\"latency_ms\":[60,80]}");
    got = call("POST", "/orders", GOOD);
    assert_int_equal(got.answer.status, 201);
    assert_in_range(got.answer.elapsed_us, 55000, 500000);
    call("POST", "/control", "{\"latency_ms\":0,\"rate_limit\":1}");
    assert_int_equal(call("POST", "/orders", GOOD).answer.status, 201);
    call("POST", "/orders", GOOD);
    got = call("POST", "/orders", GOOD);
    assert_int_equal(got.answer.status, 429);
    call("POST", "/control", "{\"rate_limit\":0,\"outage_s\":100}");
    assert_int_equal(call("POST", "/orders", GOOD).answer.error, NET_RESET);
    assert_int_equal(call("GET", "/orders?external_id=x", NULL).answer.error, NET_RESET);
    got = call("GET", "/control", NULL);
    assert_non_null(strstr(got.body, "\"outage\":true"));
    call("POST", "/control", "{\"outage_s\":0}");
    assert_int_equal(call("POST", "/orders", GOOD).answer.status, 201);
    assert_int_equal(call("POST", "/control", "{\"speed\":1}").answer.status, 422);
    assert_int_equal(call("POST", "/control", "{\"fail_rate\":2}").answer.status, 422);
    erp_down();
}

static void rates_are_read(void **state) {
    int64_t rate;
    assert_true(sandbox_rate_parse(STR("0.05"), &rate) && rate == 50000000);
    assert_true(sandbox_rate_parse(STR("5%"), &rate) && rate == 50000000);
    assert_true(sandbox_rate_parse(STR("100%"), &rate) && rate == RATE_ONE);
    assert_false(sandbox_rate_parse(STR("1.1"), &rate));
    assert_false(sandbox_rate_parse(STR("-0.1"), &rate));
    assert_false(sandbox_rate_parse(STR("%"), &rate));
    assert_false(sandbox_rate_parse(STR("often"), &rate));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(books_outlive_the_process),
        cmocka_unit_test(a_foreign_file_is_refused),
        cmocka_unit_test(orders_are_checked),
        cmocka_unit_test(it_books_and_answers),
        cmocka_unit_test(its_faults_are_set),
        cmocka_unit_test(rates_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
