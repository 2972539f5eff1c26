/* Cross-references: what a set may say, that the state is the same after a replay and when it was
 * written down, and that mappings of a connector use them; the routes of a mapping, each once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "../support/partner.h"
#include "base/mem.h"
#include "domain/cross_references.h"

static struct cell cell;
static struct partner shop;

static const struct partner_file files[] = {
    {"connector.yaml",
     "connector: shop\nversion: \"1\"\nowner: web\nreceive:\n"
     "  - topic: counts\n    signature: {scheme: none}\n"
     "    mapping: count.lua\n    command: stock.count\n"
     "  - topic: many\n    signature: {scheme: none}\n"
     "    mapping: many.lua\n    commands: [stock.adjust, stock.count, fact.keep]\n"
     "  - topic: refunds\n    signature: {scheme: none}\n"
     "    mapping: refund.lua\n    command: fact.keep\n"},
    {"refund.lua",
     "return function(doc)\n"
     "  local order, again = look('order', 'web-de', doc.order), look('order', 'web-de', doc.order)\n"
     "  local other = look('order', 'web-de', 'other')\n"
     "  local stock = look('availability', 'A', 'WH-HAM').items[1].available\n"
     "  return {kind = 'refund', key = doc.id, document = {\n"
     "    known = order ~= nil, grand = order and order.totals.grand, same = order == again,\n"
     "    mail = order and opt(order, 'customer.email'), other = other, stock = stock}} end\n"},
    {"count.lua",
     "return function(doc) return {sku = code('sku', doc.item), location = code('location', doc.place),\n"
     "  on_hand = decimal(doc.n), counted_at = doc.at} end\n"},
    {"many.lua",
     "return function(doc) return each(doc.list, function(x)\n"
     "  if x.what == 'nothing' then return nil end\n"
     "  return route(x.what, x.doc) end) end\n"}};

static int set_up_with(void (*open)(struct cell *, uint64_t)) {
    open(&cell, 1);
    return partner_open(&shop, &cell, "shop", files, sizeof files / sizeof *files) ? 0 : -1;
}
static int set_up(void **state) {
    (void)state;
    return set_up_with(cell_open);
}
static int set_up_shelved(void **state) {
    (void)state;
    return set_up_with(cell_open_shelved);
}
static int tear_down(void **state) {
    (void)state;
    partner_close(&shop);
    cell_close(&cell);
    return 0;
}

static int set(const char *kind, const char *value, const char *code, const char *direction) {
    char json[256];
    snprintf(json, sizeof json,
             "{\"system\":\"shop\",\"kind\":\"%s\",\"value\":\"%s\",\"code\":\"%s\",\"direction\":\"%s\"}",
             kind, value, code, direction);
    return cell_run(&cell, "cross_reference.set", json, NULL, NULL);
}

static void found_is(const char *kind, const char *text, bool out, const char *want) {
    struct str found;
    core_read_begin(cell.core);
    const void *state = core_state(cell.core, &cross_references_capability);
    assert_int_equal(cross_reference_find(state, STR("shop"), str_c(kind), str_c(text), out, &cell.arena,
                                          &found), OK);
    core_read_end(cell.core);
    if (want ? !str_is(found, want) : found.ptr != NULL)
        fail_msg("%s %s: \"%.*s\" and not \"%s\"", kind, text, STR_FMT(found), want ? want : "nothing");
}

static void test_set(void **state) {
    (void)state;
    assert_int_equal(set("tax", "MwSt 19%", "DE-STD", "both"), 201);
    assert_int_equal(set("tax", "MwSt 19%", "DE-STD", "both"), 200);
    found_is("tax", "MwSt 19%", false, "DE-STD");
    found_is("tax", "DE-STD", true, "MwSt 19%");
    found_is("sku", "MwSt 19%", false, NULL);
    /* a code goes out as one value */
    assert_int_equal(set("tax", "USt 19", "DE-STD", "both"), 409);
    assert_int_equal(set("tax", "USt 19", "DE-STD", "out"), 409);
    assert_int_equal(set("tax", "USt 19", "DE-STD", "in"), 201);
    found_is("tax", "USt 19", false, "DE-STD");
    found_is("tax", "DE-STD", true, "MwSt 19%");
    /* several codes may go out as one value */
    assert_int_equal(set("pay", "1360", "card", "out"), 201);
    assert_int_equal(set("pay", "1360", "paypal", "out"), 201);
    found_is("pay", "card", true, "1360");
    found_is("pay", "paypal", true, "1360");
    found_is("pay", "1360", false, NULL);
    assert_int_equal(set("pay", "1370", "paypal", "out"), 200);
    found_is("pay", "paypal", true, "1370");
    partner_again(&shop, true);
    /* a value has one code: another takes its place, and what the old one went out as is gone */
    assert_int_equal(set("tax", "MwSt 19%", "DE-19", "both"), 200);
    assert_non_null(memmem(cell_body(&cell).ptr, cell_body(&cell).len, "\"version\":2", 11));
    found_is("tax", "MwSt 19%", false, "DE-19");
    found_is("tax", "DE-STD", true, NULL);
    found_is("tax", "DE-19", true, "MwSt 19%");
    assert_int_equal(set("tax", "USt 19", "DE-STD", "both"), 200);
    found_is("tax", "DE-STD", true, "USt 19");
    assert_int_equal(set("tax", "USt 19", "DE-STD", "in"), 200);
    found_is("tax", "DE-STD", true, NULL);
    partner_again(&shop, false);
    found_is("tax", "USt 19", false, "DE-STD");
    found_is("tax", "DE-STD", true, NULL);
    found_is("tax", "DE-19", true, "MwSt 19%");
    found_is("pay", "paypal", true, "1370");
    partner_again(&shop, true);
    assert_int_equal(set("tax", "", "DE-STD", "both"), 422);
    assert_int_equal(set("tax", "a", "", "both"), 422);
    assert_int_equal(set("tax", "a", "b", "sideways"), 422);
    assert_int_equal(set("t x", "a", "b", "both"), 422);
}

/* Many at random: what is found is what a table of this test says, also after restarts. */
static void test_random(void **state) {
    (void)state;
    static char codes[20][8];
    char code[8], value[8];
    memset(codes, 0, sizeof codes);
    uint64_t x = 7;
    for (int i = 0; i < 600; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        unsigned v = (unsigned)(x >> 33) % 20, c = (unsigned)(x >> 45) % 7;
        snprintf(value, sizeof value, "v%u", v);
        snprintf(code, sizeof code, "c%u", c);
        int status = set("unit", value, code, "in");
        assert_true(status == (strcmp(codes[v], code) == 0 ? 200 : codes[v][0] ? 200 : 201));
        memcpy(codes[v], code, sizeof code);
        if (i % 150 == 149)
            partner_again(&shop, i % 300 == 149);
        for (unsigned k = 0; k < 20; k++) {
            snprintf(value, sizeof value, "v%u", k);
            found_is("unit", value, false, codes[k][0] ? codes[k] : NULL);
        }
        arena_reset(&cell.arena);
    }
}

static void test_bound(void **state) {
    (void)state;
    cell.config.settings.cross_references_max = 2;
    assert_int_equal(set("sku", "1", "A", "both"), 201);
    assert_int_equal(set("sku", "2", "B", "both"), 201);
    assert_int_equal(set("sku", "3", "C", "both"), 409);
    assert_int_equal(set("sku", "2", "C", "both"), 200);
}

/* --- through a mapping --------------------------------------------------------------------- */

static void test_mapping(void **state) {
    (void)state;
    static const char count[] = "{\"item\":4711,\"place\":\"Lager 1\",\"n\":\"7\","
                                "\"at\":\"2026-11-23T08:00:00Z\"}";
    set("location", "Lager 1", "WH-HAM", "both");
    partner_send(&shop, "counts", count);
    partner_settle(&shop);
    assert_int_equal(partner_events(&shop, "stock.counted", ""), 0);
    assert_int_equal(partner_events(&shop, "exception.raised", "\"kind\":\"code-unmapped\""), 1);
    assert_int_equal(partner_events(&shop, "exception.raised",
                                    "\"unmapped\":{\"system\":\"shop\",\"kind\":\"sku\",\"value\":\"4711\","
                                    "\"source\":\"/item\",\"target\":\"/sku\"}"), 1);
    set("sku", "4711", "TEE-RED-M", "both");
    partner_send(&shop, "counts", count);
    partner_settle(&shop);
    assert_int_equal(partner_events(&shop, "stock.counted", "\"sku\":\"TEE-RED-M\""), 1);
    assert_string_equal(cell_stock(&cell, "TEE-RED-M", "WH-HAM"), "7/0/0");
}

#define ADJUST(sku, n) "{\"what\":\"stock.adjust\",\"doc\":{\"sku\":\"" sku "\",\"location\":\"WH-HAM\","     \
                       "\"delta\":\"" n "\",\"reason\":\"r\"}}"
#define KEEP(id) "{\"what\":\"fact.keep\",\"doc\":{\"kind\":\"refund\",\"key\":\"" id "\",\"document\":{}}}"

/* What was done of a message before it is not done again, whatever ended the first time. */
static void retry(void) {
    char seq[24];
    for (uint32_t i = 0; i < cell.journal.count; i++) {
        if (str_is(cell.journal.records[i].type, "payload.received"))
            snprintf(seq, sizeof seq, "%llu", (unsigned long long)cell.journal.records[i].seq);
    }
    assert_int_equal(cell_run(&cell, "inbound.retry", NULL, seq, NULL), 202);
    partner_settle(&shop);
}

static void test_routes(void **state) {
    (void)state;
    partner_send(&shop, "many", "{\"list\":[" ADJUST("A", "5") "," ADJUST("B", "2") "," KEEP("r1") "]}");
    partner_settle(&shop);
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "5/0/0");
    assert_string_equal(cell_stock(&cell, "B", "WH-HAM"), "2/0/0");
    assert_int_equal(partner_events(&shop, "fact.kept", "\"key\":\"r1\""), 1);
    retry();
    partner_again(&shop, true);
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "5/0/0");
    assert_string_equal(cell_stock(&cell, "B", "WH-HAM"), "2/0/0");
    assert_int_equal(partner_events(&shop, "payload.settled", ""), 1);
    /* the second is no document: the first is done, the third is not, and the case is raised once */
    partner_send(&shop, "many", "{\"list\":[" ADJUST("A", "1") "," ADJUST("", "1") "," KEEP("r2") "]}");
    partner_settle(&shop);
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "6/0/0");
    assert_int_equal(partner_events(&shop, "fact.kept", "\"key\":\"r2\""), 0);
    assert_int_equal(partner_events(&shop, "exception.raised", "document-invalid"), 1);
    retry();
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "6/0/0");
    assert_int_equal(partner_events(&shop, "exception.changed", "document-invalid"), 1);
    /* a fact that is known already in the middle of it */
    partner_send(&shop, "many", "{\"list\":[" ADJUST("A", "1") "," KEEP("r1") "," ADJUST("A", "1") "]}");
    partner_settle(&shop);
    assert_string_equal(cell_stock(&cell, "A", "WH-HAM"), "8/0/0");
    partner_again(&shop, false);
}

/* A mapping sees orders, though they are in the journal alone, and without what is personal. */
static void test_looks(void **state) {
    (void)state;
    cell_run_fact(&cell, "order.capture",
                  "{\"channel\":\"web-de\",\"channel_order_id\":\"10045\",\"placed_at\":"
                  "\"2026-11-23T09:15:00+01:00\",\"currency\":\"EUR\",\"customer\":{\"customer_id\":\"C-1\"},"
                  "\"lines\":[{\"line_id\":\"1\",\"sku\":\"A\",\"quantity\":\"1\",\"unit_price\":1999,"
                  "\"total\":1999}],\"totals\":{\"grand\":1999}}");
    partner_send(&shop, "refunds", "{\"id\":\"r1\",\"order\":\"10045\"}");
    partner_send(&shop, "refunds", "{\"id\":\"r2\",\"order\":\"10046\"}");
    partner_settle(&shop);
    assert_int_equal(partner_events(&shop, "fact.kept",
                                    "\"key\":\"r1\",\"document\":{\"grand\":1999,\"known\":true,"
                                    "\"same\":true,\"stock\":\"0\"}"), 1);
    assert_int_equal(partner_events(&shop, "fact.kept",
                                    "\"key\":\"r2\",\"document\":{\"known\":false,"), 1);
    partner_again(&shop, true);
}

/* The hub ends between two commands of a message: the rest is done after the start, nothing twice. */
static void test_routes_cut(void **state) {
    (void)state;
    for (int steps = 0; steps < 12; steps++) {
        char body[512], sku[8];
        snprintf(sku, sizeof sku, "S%d", steps);
        snprintf(body, sizeof body,
                 "{\"list\":[{\"what\":\"stock.adjust\",\"doc\":{\"sku\":\"%s\",\"location\":\"WH-HAM\","
                 "\"delta\":\"1\",\"reason\":\"r\"}},{\"what\":\"stock.adjust\",\"doc\":{\"sku\":\"%s\","
                 "\"location\":\"WH-HAM\",\"delta\":\"10\",\"reason\":\"r\"}},{\"what\":\"stock.adjust\","
                 "\"doc\":{\"sku\":\"%s\",\"location\":\"WH-HAM\",\"delta\":\"100\",\"reason\":\"r\"}}]}",
                 sku, sku, sku);
        partner_send(&shop, "many", body);
        for (int i = 0; i < steps; i++)
            i % 2 ? core_step(cell.core) : inbound_step(shop.inbound);
        partner_again(&shop, true);
        partner_settle(&shop);
        assert_string_equal(cell_stock(&cell, sku, "WH-HAM"), "111/0/0");
    }
}

static void test_routes_wrong(void **state) {
    (void)state;
    partner_send(&shop, "many", "{\"list\":[{\"what\":\"order.capture\",\"doc\":{}}]}");
    partner_settle(&shop);
    assert_int_equal(partner_events(&shop, "exception.raised",
                                    "routes to \\\"order.capture\\\", which is not among the topic's"), 1);
    partner_send(&shop, "many", "{\"list\":[{\"what\":\"nothing\"}]}");
    partner_settle(&shop);
    assert_int_equal(partner_events(&shop, "exception.raised", "the mapping names no command"), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_set, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_set, set_up_shelved, tear_down),
        cmocka_unit_test_setup_teardown(test_random, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_random, set_up_shelved, tear_down),
        cmocka_unit_test_setup_teardown(test_bound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mapping, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_routes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_routes, set_up_shelved, tear_down),
        cmocka_unit_test_setup_teardown(test_looks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_looks, set_up_shelved, tear_down),
        cmocka_unit_test_setup_teardown(test_routes_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_routes_wrong, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
