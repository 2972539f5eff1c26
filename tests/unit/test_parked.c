/* Messages that come before what they are about, twice, or late: none is lost, none is applied
 * twice, those of one order are applied in the order they came, whatever is stopped in between
 * and with the state written down or not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../support/cell.h"
#include "base/mem.h"
#include "connect/inbound.h"
#include "connect/receive.h"

static char dir[128];
static struct cell cell;
static struct connectors *connectors;
static struct inbound *inbound;

/* Orders and what is cut of them; `cut` has a lane of its own per message, `late` the order's. */
static const char yaml[] =
    "connector: shop\nversion: \"1\"\nowner: ecommerce\nreceive:\n"
    "  - topic: orders\n    signature: {scheme: none}\n    key: {member: id}\n"
    "    version: {member: v}\n    mapping: order.lua\n    command: order.capture\n"
    "  - topic: late\n    signature: {scheme: none}\n    key: {member: id}\n"
    "    version: {member: v}\n    mapping: cut.lua\n    command: order.cancel_by_number\n"
    "  - topic: cut\n    signature: {scheme: none}\n"
    "    mapping: cut.lua\n    command: order.cancel_by_number\n";
static const char order_lua[] =
    "return function(doc) return {channel = 'web-de', channel_order_id = tostring(doc.id),\n"
    "  placed_at = '2026-11-23T09:15:00Z', currency = 'EUR', totals = {grand = 99},\n"
    "  lines = {{line_id = '1', sku = 'A', quantity = '99', unit_price = 1, total = 99}}} end\n";
static const char cut_lua[] =
    "return function(doc) return {channel = 'web-de', channel_order_id = tostring(doc.id),\n"
    "  reference = opt(doc, 'ref'), reason = opt(doc, 'ref'),\n"
    "  lines = opt(doc, 'n') and {{line_id = '1', quantity = tostring(doc.n)}} or nil} end\n";
static const struct {
    const char *name, *text;
} files[] = {{"connector.yaml", yaml}, {"order.lua", order_lua}, {"cut.lua", cut_lua}};

static void path_of(char path[256], const char *name) {
    snprintf(path, 256, "%s/connectors/shop/%s", dir, name);
}

static void open_inbound(void) {
    struct fault fault;
    fault_init(&fault, &cell.arena);
    struct inbound_options options = {cell.core, cell.tail, connectors};
    assert_int_equal(inbound_create(&options, &inbound, &fault), OK);
}

static int set_up_with(void (*open)(struct cell *, uint64_t)) {
    char path[256];
    struct fault fault = {0};
    snprintf(dir, sizeof dir, "/tmp/penstock-parked-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/connectors", dir);
    mkdir(path, 0755);
    path_of(path, "");
    mkdir(path, 0755);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        path_of(path, files[i].name);
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        fputs(files[i].text, file);
        fclose(file);
    }
    open(&cell, 1);
    if (connectors_load(dir, &connectors, &fault) != OK) {
        print_error("%s\n", fault.detail);
        return -1;
    }
    open_inbound();
    return 0;
}
static int set_up(void **state) { return set_up_with(cell_open); }
static int set_up_shelved(void **state) { return set_up_with(cell_open_shelved); }

static int tear_down(void **state) {
    char path[256];
    inbound_destroy(inbound);
    connectors_release(connectors);
    cell_close(&cell);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        path_of(path, files[i].name);
        remove(path);
    }
    path_of(path, "");
    rmdir(path);
    snprintf(path, sizeof path, "%s/connectors", dir);
    rmdir(path);
    rmdir(dir);
    return 0;
}

static struct str no_header(void *ctx, struct str name) { return STR_NONE; }

/* Sends a message to its answer. */
static void send(const char *topic, const char *body) {
    struct fault fault;
    struct receive_header_source source = {no_header, NULL};
    arena_reset(&cell.arena);
    fault_init(&fault, &cell.arena);
    assert_int_equal(receive_prepare(cell.core, connectors, STR("shop"), str_c(topic), &source,
                                     str_c(body), cell.parser, &cell.arena, &cell.command, &fault),
                     OK);
    cell.command.origin = &cell.origin;
    cell.delivered = false;
    assert_int_equal(core_submit(cell.core, &cell.command, &fault), OK);
    for (int i = 0; i < 100 && !cell.delivered; i++)
        core_step(cell.core);
    assert_true(cell.delivered);
    assert_int_equal(cell.command.answer.err, OK);
}

static void settle(void) {
    for (int idle = 0; idle < 3;) {
        uint32_t n = inbound_step(inbound);
        n += core_step(cell.core);
        idle = n ? 0 : idle + 1;
    }
}

static void again(bool crash) {
    char *live = cell_dump(&cell);
    inbound_destroy(inbound);
    crash ? cell_crash(&cell) : cell_restart(&cell);
    open_inbound();
    char *rebuilt = cell_dump(&cell);
    if (!cell.shelved) /* what left memory is in no dump */
        assert_string_equal(live, rebuilt);
    mem_free(live);
    mem_free(rebuilt);
}

static bool says(struct str data, const char *what) {
    return memmem(data.ptr, data.len, what, strlen(what)) != NULL;
}

static uint32_t events(const char *type, const char *what) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < cell.journal.count; i++)
        n += str_is(cell.journal.records[i].type, type) && says(cell.journal.records[i].data, what);
    return n;
}

/* The reasons of all cancellations, in order. */
static const char *cuts(void) {
    static char text[256];
    text[0] = '\0';
    for (uint32_t i = 0; i < cell.journal.count; i++) {
        struct str data = cell.journal.records[i].data;
        const char *at = str_is(cell.journal.records[i].type, "order.cancelled")
                             ? memmem(data.ptr, data.len, "\"reason\":\"", 10)
                             : NULL;
        if (at)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%c", at[10]);
    }
    return text;
}

/* The case that was raised last. */
static const char *raised(void) {
    static char id[64];
    for (uint32_t i = 0; i < cell.journal.count; i++)
        if (str_is(cell.journal.records[i].type, "exception.raised"))
            snprintf(id, sizeof id, "%.*s", STR_FMT(cell.journal.records[i].subject));
    return id;
}

/* --- tests --------------------------------------------------------------------------------- */

static void test_in_order(void **state) {
    send("cut", "{\"id\":1,\"ref\":\"a\",\"n\":1}");
    send("cut", "{\"id\":1,\"ref\":\"b\",\"n\":2}");
    send("late", "{\"id\":1,\"ref\":\"c\",\"n\":3,\"v\":2}");
    send("cut", "{\"id\":2,\"ref\":\"x\",\"n\":1}");
    settle();
    assert_int_equal(events("payload.parked", "order web-de/1"), 3);
    assert_int_equal(events("exception.raised", ""), 0);
    again(true);
    settle();
    send("orders", "{\"id\":1,\"v\":1}");
    send("cut", "{\"id\":1,\"ref\":\"d\",\"n\":4}"); /* before the order is processed */
    settle();
    assert_string_equal(cuts(), "abcd");
    assert_int_equal(events("payload.released", ""), 4);
    again(false);
    settle();
    send("cut", "{\"id\":1,\"ref\":\"b\",\"n\":2}"); /* told once more */
    settle();
    assert_string_equal(cuts(), "abcd");
    assert_int_equal(events("payload.settled", "replayed"), 1);
    send("orders", "{\"id\":2,\"v\":1}");
    settle();
    assert_string_equal(cuts(), "abcdx");
    again(true);
}

/* A stop between the release and what follows of it. */
static void test_stopped_in_between(void **state) {
    send("cut", "{\"id\":1,\"ref\":\"a\",\"n\":1}");
    send("cut", "{\"id\":1,\"ref\":\"b\",\"n\":1}");
    settle();
    send("orders", "{\"id\":1,\"v\":1}");
    for (int i = 0; i < 50 && events("payload.released", "") == 0; i++) {
        inbound_step(inbound);
        core_step(cell.core);
    }
    assert_int_equal(events("payload.released", ""), 1);
    again(true);
    settle();
    assert_string_equal(cuts(), "ab");
    again(false);
    settle();
    assert_string_equal(cuts(), "ab");
}

static void test_time_limit(void **state) {
    cell.config.settings.park_seconds_max = 60;
    send("cut", "{\"id\":1,\"ref\":\"a\",\"n\":1}");
    settle();
    cell.now_us += 30000000;
    send("cut", "{\"id\":1,\"ref\":\"b\",\"n\":1}");
    settle();
    again(true);
    cell.now_us += 31000000;
    settle();
    assert_int_equal(events("payload.expired", "\"payload_seq\":1,"), 1);
    assert_int_equal(events("exception.raised", "\"kind\":\"parent-missing\""), 1);
    assert_int_equal(events("exception.raised", "\"owner\":\"ecommerce\""), 1);
    again(true);
    send("orders", "{\"id\":1,\"v\":1}"); /* the second still waited, and so does the first */
    settle();
    assert_string_equal(cuts(), "ab");
    assert_int_equal(events("exception.resolved", "\"resolution\":\"processed\""), 1);
    cell.now_us += 100000000;
    settle();
    assert_int_equal(events("payload.expired", ""), 1);
    assert_int_equal(cell_run(&cell, "inbound.retry", NULL, "1", NULL), 202);
    settle();
    assert_string_equal(cuts(), "ab");
    again(false);
}

static void test_retry_while_it_waits(void **state) {
    send("cut", "{\"id\":1,\"ref\":\"a\",\"n\":1}");
    send("cut", "{\"id\":1,\"ref\":\"b\",\"n\":1}");
    settle();
    assert_int_equal(cell_run(&cell, "inbound.retry", NULL, "2", NULL), 202);
    settle();
    again(true);
    send("orders", "{\"id\":1,\"v\":1}");
    settle();
    assert_string_equal(cuts(), "ab");
    assert_int_equal(events("exception.raised", "refused"), 0);
}

static void test_bound(void **state) {
    cell.config.settings.parked_max = 2;
    for (int i = 0; i < 3; i++)
        send("cut", "{\"id\":1,\"ref\":\"a\",\"n\":1}");
    settle();
    assert_int_equal(events("payload.parked", ""), 2);
    assert_int_equal(events("exception.raised", "too many messages wait"), 1);
}

static void test_stale(void **state) {
    send("orders", "{\"id\":1,\"v\":3}");
    send("late", "{\"id\":1,\"v\":5,\"ref\":\"a\",\"n\":1}");
    settle();
    for (int i = 100; i < 140; i++) { /* others, so that the first ones leave memory */
        char body[64];
        snprintf(body, sizeof body, "{\"id\":%d,\"v\":1}", i);
        send("orders", body);
    }
    settle();
    again(true);
    send("late", "{\"id\":1,\"v\":4,\"ref\":\"b\",\"n\":1}");
    send("orders", "{\"id\":1,\"v\":4,\"other\":1}");
    send("late", "{\"id\":1,\"v\":5,\"ref\":\"c\",\"n\":1}"); /* of the same moment */
    send("late", "{\"id\":1,\"ref\":\"d\",\"n\":1}");         /* says no version */
    settle();
    assert_string_equal(cuts(), "acd");
    assert_int_equal(events("payload.settled", "shop/1 is older (version 4)"), 2);
    send("late", "{\"id\":1,\"v\":10,\"ref\":\"e\",\"n\":1}"); /* numbers, not texts */
    send("late", "{\"id\":1,\"v\":9,\"ref\":\"f\",\"n\":1}");
    settle();
    assert_string_equal(cuts(), "acde");
    /* times: offsets are minded; a number and a time can not be compared */
    send("late", "{\"id\":1,\"v\":\"2026-11-23T10:00:00+02:00\",\"ref\":\"g\",\"n\":1}");
    send("late", "{\"id\":1,\"v\":\"2026-11-23T08:00:01Z\",\"ref\":\"h\",\"n\":1}");
    send("late", "{\"id\":1,\"v\":\"2026-11-23T09:59:59+02:00\",\"ref\":\"i\",\"n\":1}");
    settle();
    assert_string_equal(cuts(), "acdegh");
    again(true);
    /* what failed is not applied: an older one may still come */
    send("orders", "{\"id\":2,\"v\":1}");
    send("late", "{\"id\":2,\"v\":9,\"ref\":\"j\",\"n\":1000}");
    send("late", "{\"id\":2,\"v\":8,\"ref\":\"k\",\"n\":1}");
    settle();
    assert_string_equal(cuts(), "acdegh"); /* it waits for a person's decision about the newer one */
    assert_int_equal(cell_run(&cell, "exception.resolve", "{\"reason\":\"not so many\"}", raised(), NULL),
                     200);
    settle();
    assert_string_equal(cuts(), "acdeghk");
}

/* A partner's cancellation of all of it, twice and under two ids. */
static void test_nothing_new(void **state) {
    send("cut", "{\"id\":1}");
    send("cut", "{\"id\":1,\"x\":2}");
    settle();
    send("orders", "{\"id\":1,\"v\":1}");
    settle();
    assert_int_equal(events("order.cancelled", ""), 1);
    assert_int_equal(events("payload.settled", "nothing-new"), 1);
    assert_int_equal(cell_run_fact(&cell, "order.cancel_by_number",
                                   "{\"channel\":\"web-de\",\"channel_order_id\":\"1\"}"), 409);
    assert_int_equal(cell_run_fact(&cell, "order.cancel_by_number",
                                   "{\"channel\":\"web-de\",\"channel_order_id\":\"9\"}"), 404);
    again(true);
}

/* Anything at any time: what was told of an order is applied once and in order. */
static void test_any_order(void **state) {
    enum { ORDERS = 6, CUTS = 4 };
    uint64_t dice = 7;
    for (int round = 0; round < 12; round++) {
        int sent[ORDERS] = {0}, created[ORDERS] = {0};
        for (int step = 0; step < 80; step++) {
            char body[80];
            dice = dice * UINT64_C(6364136223846793005) + 1442695040888963407u;
            int id = (int)(dice >> 40) % ORDERS, number = round * ORDERS + id;
            switch ((dice >> 33) % 8) {
            case 0:
                snprintf(body, sizeof body, "{\"id\":%d,\"v\":1}", number);
                send("orders", body);
                created[id] = 1;
                break;
            case 1:
                again((dice >> 60) & 1);
                break;
            case 2: case 3:
                settle();
                break;
            case 4:
                inbound_step(inbound);
                core_step(cell.core);
                break;
            default:
                if (sent[id] == CUTS)
                    break;
                snprintf(body, sizeof body, "{\"id\":%d,\"ref\":\"%c\",\"n\":1}", number,
                         'a' + sent[id]++);
                send("cut", body);
            }
        }
        for (int id = 0; id < ORDERS; id++) {
            char body[80];
            snprintf(body, sizeof body, "{\"id\":%d,\"v\":1}", round * ORDERS + id);
            if (!created[id])
                send("orders", body);
            settle();
        }
        uint32_t told = 0;
        for (int id = 0; id < ORDERS; id++)
            told += (uint32_t)sent[id];
        static uint32_t all;
        all = round ? all + told : told;
        assert_int_equal(events("order.cancelled", ""), all);
    }
    /* per order: a, b, c … */
    for (uint32_t i = 0; i < cell.journal.count; i++) {
        const struct record *record = &cell.journal.records[i];
        if (!str_is(record->type, "order.cancelled"))
            continue;
        const char *at = memmem(record->data.ptr, record->data.len, "\"reason\":\"", 10);
        char expected = 'a';
        for (uint32_t k = 0; k < i; k++)
            expected = (char)(expected + (str_is(cell.journal.records[k].type, "order.cancelled") &&
                                          str_eq(cell.journal.records[k].subject, record->subject)));
        assert_non_null(at);
        assert_int_equal(at[10], expected);
    }
    char *dump = cell_dump(&cell);
    assert_null(strstr(dump, "pending "));
    assert_null(strstr(dump, "parked "));
    mem_free(dump);
}

#define BOTH(test)                                                                                \
    cmocka_unit_test_setup_teardown(test, set_up, tear_down),                                     \
        cmocka_unit_test_setup_teardown(test, set_up_shelved, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        BOTH(test_in_order), BOTH(test_stopped_in_between),   BOTH(test_time_limit),
        BOTH(test_stale),    BOTH(test_retry_while_it_waits), BOTH(test_bound),
        BOTH(test_nothing_new), BOTH(test_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
