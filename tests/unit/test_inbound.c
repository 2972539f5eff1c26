/* Webhooks from their bytes to the order: stored once, processed once, in order per key, again
 * after a restart, and never lost when something fails. */
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
#include "connect/signature.h"

static char dir[128];
static struct cell cell;
static struct connectors *connectors;
static struct inbound *inbound;

static const char yaml[] =
    "connector: shop\nversion: \"1\"\nowner: ecommerce\n"
    "receive:\n"
    "  - topic: orders\n"
    "    signature: {scheme: hmac-sha256-base64, header: X-Sig, secret: \"${env:INBOUND_TEST_SECRET}\"}\n"
    "    dedup: {header: X-Id}\n    key: {member: id}\n"
    "    mapping: order.lua\n    command: order.capture\n";
static const char lua[] =
    "return function(doc)\n"
    "  if opt(doc, 'off') == 'unpaid' then return {nothing = 'order ' .. doc.id .. ' is not paid'} end\n"
    "  local n = money(doc.price, 'EUR')\n"
    "  return {channel = 'web-de', channel_order_id = tostring(doc.id), placed_at = '2026-11-23T09:15:00Z',\n"
    "    currency = 'EUR', lines = {{sku = 'A', quantity = '1', unit_price = n, total = n}},\n"
    "    totals = {grand = n + (opt(doc, 'off') or 0)}}\nend\n";

static void write_file(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/connectors/shop/%s", dir, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void remove_all(void) {
    static const char *const names[] = {"connectors/shop/connector.yaml", "connectors/shop/order.lua",
                                        "connectors/shop", "connectors"};
    char path[256];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        remove(path);
    }
    rmdir(dir);
}

static void open_inbound(void) {
    struct fault fault;
    fault_init(&fault, &cell.arena);
    struct inbound_options options = {cell.core, cell.tail, connectors};
    assert_int_equal(inbound_create(&options, &inbound, &fault), OK);
}

static int set_up(void **state) {
    char path[256];
    struct fault fault = {0};
    snprintf(dir, sizeof dir, "/tmp/penstock-inbound-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/connectors", dir);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/connectors/shop", dir);
    mkdir(path, 0755);
    setenv("INBOUND_TEST_SECRET", "hush", 1);
    write_file("connector.yaml", yaml);
    write_file("order.lua", lua);
    cell_open(&cell, 1);
    if (connectors_load(dir, &connectors, &fault) != OK)
        return -1;
    open_inbound();
    return 0;
}

static int tear_down(void **state) {
    inbound_destroy(inbound);
    connectors_release(connectors);
    cell_close(&cell);
    remove_all();
    return 0;
}

/* --- sending --------------------------------------------------------------------------- */

struct sent_headers {
    struct str signature, id;
};

static struct str header_find(void *ctx, struct str name) {
    const struct sent_headers *h = ctx;
    if (str_eq_nocase(name, STR("X-Sig")))
        return h->signature;
    return str_eq_nocase(name, STR("X-Id")) ? h->id : STR_NONE;
}

static enum err prepare(struct arena *arena, struct command *command, struct str body,
                        const char *id, const char *secret, struct fault *fault) {
    struct buf signature;
    buf_init(&signature, 0);
    assert_int_equal(signature_write(SIGNATURE_HMAC_SHA256_BASE64, str_c(secret), STR_NONE, 0, body,
                                     &signature, fault), OK);
    struct sent_headers headers = {arena_str(arena, buf_str(&signature)), str_c(id)};
    struct receive_header_source source = {header_find, &headers};
    buf_free(&signature);
    enum err err = receive_prepare(cell.core, connectors, STR("shop"), STR("orders"), &source, body,
                                   cell.parser, arena, command, fault);
    command->correlation = STR("corr-1");
    return err;
}

/* Sends a webhook to its answer; the HTTP status. */
static int send_bytes(struct str body, const char *id, const char *secret) {
    struct fault fault;
    arena_reset(&cell.arena);
    fault_init(&fault, &cell.arena);
    enum err err = prepare(&cell.arena, &cell.command, body, id, secret, &fault);
    if (err)
        return err_info(err)->status;
    cell.command.origin = &cell.origin;
    cell.delivered = false;
    err = core_submit(cell.core, &cell.command, &fault);
    if (err)
        return err_info(err)->status;
    core_step(cell.core);
    assert_true(cell.delivered);
    err = cell.command.answer.err;
    return err ? err_info(err)->status : cell.command.answer.replayed ? 299 : cell.command.answer.status;
}

static int send(const char *body, const char *id) { return send_bytes(str_c(body), id, "hush"); }

static void settle(void) {
    for (int idle = 0; idle < 3;) {
        uint32_t n = inbound_step(inbound);
        n += core_step(cell.core);
        idle = n ? 0 : idle + 1;
    }
}

/* --- looking --------------------------------------------------------------------------- */

static uint32_t events(const char *type) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < cell.journal.count; i++)
        n += str_is(cell.journal.records[i].type, type);
    return n;
}

static struct str last_data(const char *type) {
    for (uint32_t i = cell.journal.count; i > 0; i--) {
        if (str_is(cell.journal.records[i - 1].type, type))
            return cell.journal.records[i - 1].data;
    }
    return STR_NONE;
}

static bool says(struct str data, const char *what) {
    return memmem(data.ptr, data.len, what, strlen(what)) != NULL;
}

static bool pending(void) {
    char *dump = cell_dump(&cell);
    bool any = strstr(dump, "pending ") != NULL;
    mem_free(dump);
    return any;
}

/* State rebuilt from the journal equals the live state. */
static void replay_equal(void) {
    char *live = cell_dump(&cell);
    inbound_destroy(inbound);
    cell_restart(&cell);
    open_inbound();
    char *again = cell_dump(&cell);
    assert_string_equal(live, again);
    mem_free(live);
    mem_free(again);
}

/* --- tests ----------------------------------------------------------------------------- */

static void test_order(void **state) {
    assert_int_equal(send("{\"id\":9007199254740993,\"price\":\"19.99\"}", "w1"), 200);
    assert_true(says(cell.command.answer.body, "{\"payload_id\":\"pay_"));
    assert_true(says(cell.command.answer.body, "\"seq\":1}"));
    assert_true(pending());
    assert_int_equal(events("order.captured"), 0);
    settle();
    assert_int_equal(events("order.captured"), 1);
    assert_true(says(last_data("order.captured"), "\"channel_order_id\":\"9007199254740993\""));
    assert_true(says(last_data("payload.received"), "\"document\":{\"id\":9007199254740993,"));
    for (uint32_t i = 0; i < cell.journal.count; i++)
        assert_true(says(cell.journal.records[i].meta, "corr-1"));
    assert_false(pending());
    assert_int_equal(inbound_under_way(inbound), 0);
    replay_equal();
}

static void test_twice(void **state) {
    const char *body = "{\"id\":1,\"price\":\"1.00\"}";
    assert_int_equal(send(body, "w1"), 200);
    assert_int_equal(send(body, "w1"), 299); /* replayed, before it is processed … */
    settle();
    assert_int_equal(send(body, "w1"), 299); /* … and after */
    assert_int_equal(events("payload.received"), 1);
    assert_int_equal(send(body, "w2"), 200); /* another message, the same order */
    settle();
    assert_int_equal(events("payload.received"), 2);
    assert_int_equal(events("order.captured"), 1);
    assert_int_equal(events("payload.settled"), 1);
    assert_int_equal(send("{\"id\":1,\"price\":\"2.00\"}", "w1"), 200); /* a used id: kept as well */
    settle();
    assert_int_equal(events("order.captured"), 1);
    assert_true(says(last_data("exception.raised"), "\"kind\":\"refused\""));
    assert_false(pending());
    replay_equal();
}

static void test_refused(void **state) {
    assert_int_equal(send_bytes(STR("{\"id\":1}"), "w1", "wrong"), 401);
    struct fault fault = {0};
    struct sent_headers headers = {0};
    struct receive_header_source source = {header_find, &headers};
    assert_int_equal(receive_prepare(cell.core, connectors, STR("shop"), STR("nope"), &source, STR("{}"),
                                     cell.parser, &cell.arena, &cell.command, &fault), ERR_NOT_FOUND);
    assert_int_equal(receive_prepare(cell.core, connectors, STR("nope"), STR("orders"), &source, STR("{}"),
                                     cell.parser, &cell.arena, &cell.command, &fault), ERR_NOT_FOUND);
    assert_int_equal(cell.journal.count, 0);
}

static void raises(const char *kind, const char *detail) {
    uint32_t before = events("exception.raised");
    settle();
    assert_int_equal(events("exception.raised"), before + 1);
    struct str data = last_data("exception.raised");
    if (!says(data, kind) || !says(data, detail) || !says(data, "\"owner\":\"ecommerce\""))
        fail_msg("%.*s", STR_FMT(data));
    assert_false(pending());
}

static void test_exceptions(void **state) {
    assert_int_equal(send("not json", "w1"), 200);
    raises("payload-malformed", "\"payload_seq\":1");
    assert_int_equal(send_bytes(str_of("\xff\x00\x01", 3), "w2", "hush"), 200);
    assert_true(says(last_data("payload.received"), "\"base64\":\"/wAB\""));
    raises("payload-malformed", "");
    assert_int_equal(send("{\n\"id\": 7,\n\"price\": \"1.00\"}", "w3"), 200);
    assert_true(says(last_data("payload.received"), "\"text\":\"{\\n"));
    settle();
    assert_int_equal(events("order.captured"), 1);
    assert_int_equal(send("{\"id\":2}", "w4"), 200);
    raises("mapping-failed", "/price");
    assert_int_equal(send("{\"id\":3,\"price\":\"1.005\"}", "w5"), 200);
    raises("mapping-failed", "no exact amount of EUR");
    assert_int_equal(send("{\"id\":4,\"price\":\"1.00\",\"off\":6}", "w6"), 200);
    raises("document-invalid", "/totals/grand");
    assert_int_equal(send("{\"id\":5,\"price\":\"1.00\",\"off\":5}", "w7"), 200);
    settle(); /* within the rounding bound */
    assert_int_equal(events("order.captured"), 2);
    char deep[400] = "{\"id\":6,\"price\":";
    for (int i = 0; i < 60; i++)
        strcat(deep, "[");
    for (int i = 0; i < 60; i++)
        strcat(deep, "]");
    strcat(deep, "}");
    assert_int_equal(send(deep, "w8"), 200);
    raises("mapping-failed", "");
    assert_int_equal(send("", "w9"), 200);
    raises("payload-malformed", "");
    replay_equal();
}

/* The mapping says that a message asks for nothing: no exception, and nothing is applied by it. */
static void test_nothing(void **state) {
    assert_int_equal(send("{\"id\":1,\"price\":\"1.00\",\"off\":\"unpaid\"}", "w1"), 200);
    settle();
    assert_int_equal(events("order.captured"), 0);
    assert_int_equal(events("exception.raised"), 0);
    assert_int_equal(events("payload.settled"), 1);
    assert_true(says(last_data("payload.settled"), "\"outcome\":\"ignored\""));
    assert_true(says(last_data("payload.settled"), "order 1 is not paid"));
    assert_false(pending());
    assert_int_equal(send("{\"id\":1,\"price\":\"1.00\"}", "w2"), 200);
    assert_int_equal(send("{\"id\":1,\"price\":\"1.00\"}", "w3"), 200);
    settle();
    assert_int_equal(events("order.captured"), 1);
    assert_int_equal(events("payload.settled"), 2);
    assert_true(says(last_data("payload.settled"), "\"outcome\":\"replayed\""));
    replay_equal();
}

static void test_restart(void **state) {
    char body[64], id[16];
    for (int i = 0; i < 20; i++) {
        snprintf(body, sizeof body, "{\"id\":%d,\"price\":\"1.00\"}", i);
        snprintf(id, sizeof id, "w%d", i);
        assert_int_equal(send(body, id), 200);
        if (i == 9)
            inbound_step(inbound); /* submitted, not answered: all of it is forgotten */
    }
    inbound_destroy(inbound);
    cell_restart(&cell);
    open_inbound();
    settle();
    assert_int_equal(events("order.captured"), 20);
    assert_false(pending());
    replay_equal();
    settle();
    assert_int_equal(events("order.captured"), 20);
}

static void test_journal_fails(void **state) {
    assert_int_equal(send("{\"id\":1,\"price\":\"1.00\"}", "w1"), 200);
    cell.journal.fail_appends = 3;
    for (int i = 0; i < 50 && events("order.captured") == 0; i++) {
        settle();
        cell.now_us += 1000000;
    }
    assert_int_equal(events("order.captured"), 1);
    assert_false(pending());
    cell.journal.fail_appends = 1;
    cell.journal.fail_after_write = true; /* written, though it was said to have failed */
    assert_int_equal(send("{\"id\":2,\"price\":\"1.00\"}", "w2") >= 500, true);
    for (int i = 0; i < 10; i++) {
        settle();
        cell.now_us += 1000000;
    }
    assert_int_equal(events("order.captured"), 2);
    assert_false(pending());
}

/* Of one key, the second is submitted when the first is settled. */
static void test_key_order(void **state) {
    assert_int_equal(send("{\"id\":1,\"price\":\"1.00\"}", "w1"), 200);
    assert_int_equal(send("{\"id\":1,\"price\":\"2.00\"}", "w2"), 200);
    assert_int_equal(send("{\"id\":2,\"price\":\"3.00\"}", "w3"), 200);
    inbound_step(inbound);
    assert_int_equal(inbound_under_way(inbound), 1);
    core_step(cell.core);
    inbound_step(inbound);
    assert_int_equal(inbound_under_way(inbound), 2);
    settle();
    assert_int_equal(events("order.captured"), 2);
    assert_int_equal(events("exception.raised"), 1 + 2); /* natural key; and two shortages */
    assert_false(pending());
}

static void test_retry(void **state) {
    assert_int_equal(send("{\"id\":1}", "w1"), 200);
    raises("mapping-failed", "/price");
    inbound_destroy(inbound);
    connectors_release(connectors);
    struct fault fault = {0};
    write_file("order.lua", "return function(doc) return {channel = 'web-de', channel_order_id = tostring(doc.id),\n"
               "placed_at = '2026-11-23T09:15:00Z', currency = 'EUR', totals = {grand = 100},\n"
               "lines = {{sku = 'A', quantity = '1', unit_price = 100, total = 100}}} end\n");
    assert_int_equal(connectors_load(dir, &connectors, &fault), OK);
    open_inbound();
    settle();
    assert_int_equal(events("order.captured"), 0);
    assert_int_equal(cell_run(&cell, "inbound.retry", NULL, "1", NULL), 202);
    assert_int_equal(cell_run(&cell, "inbound.retry", NULL, "1", NULL), 409);
    assert_int_equal(cell_run(&cell, "inbound.retry", NULL, "x", NULL), 404);
    assert_int_equal(cell_run(&cell, "inbound.retry", NULL, "2", NULL), 202); /* the exception */
    settle();
    assert_int_equal(events("order.captured"), 1);
    assert_true(says(last_data("payload.settled"), "\"ignored\""));
    assert_false(pending());
    replay_equal();
}

/* Answers come on the writer's thread. */
static _Atomic uint32_t answered;

static void count_answers(struct command_origin *origin, struct command *first) {
    for (; first; first = first->next)
        answered++;
}

/* More payloads than slots, two of each key, on real threads. */
static void test_threads(void **state) {
    enum { COUNT = 300 };
    static struct command commands[COUNT];
    static struct arena arenas[COUNT];
    struct fault fault = {0};
    inbound_destroy(inbound);
    cell.config.settings.inbound_workers = 3;
    cell.config.settings.inbound_inflight_max = 4;
    cell.rng.rng.fill = rng_system.fill; /* a seeded source is one thread's */
    open_inbound();
    assert_int_equal(core_start(cell.core, &fault), OK);
    assert_int_equal(inbound_start(inbound, &fault), OK);
    struct command_origin origin = {.deliver = count_answers};
    answered = 0;
    for (int i = 0; i < COUNT; i++) {
        char body[64], id[16];
        snprintf(body, sizeof body, "{\"id\":%d,\"price\":\"1.00\"}", i / 2);
        snprintf(id, sizeof id, "w%d", i);
        arena_init(&arenas[i], 0);
        assert_int_equal(prepare(&arenas[i], &commands[i], arena_str(&arenas[i], str_c(body)),
                                 arena_str(&arenas[i], str_c(id)).ptr, "hush", &fault), OK);
        commands[i].origin = &origin;
        assert_int_equal(core_submit(cell.core, &commands[i], &fault), OK);
    }
    uint32_t quiet = 0;
    for (int i = 0; i < 20000 && quiet < 20; i++) {
        usleep(1000);
        uint64_t seq = core_seq(cell.core);
        quiet = answered == COUNT && seq >= COUNT * 2 && inbound_under_way(inbound) == 0 ? quiet + 1 : 0;
    }
    inbound_stop(inbound);
    core_stop(cell.core);
    assert_int_equal(events("payload.received"), COUNT);
    assert_int_equal(events("order.captured"), COUNT / 2);
    assert_int_equal(events("payload.settled"), COUNT / 2);
    assert_false(pending());
    for (int i = 0; i < COUNT; i++)
        arena_free(&arenas[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_twice, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_exceptions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_restart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_journal_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_key_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_retry, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_threads, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
