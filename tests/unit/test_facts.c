/* What partners say that is no command of the hub's: kept once per version, the older never over
 * the newer, and the state is the same after a replay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../support/partner.h"

static struct cell cell;
static struct partner shop;

static const struct partner_file files[] = {
    {"connector.yaml",
     "connector: shop\nversion: \"1\"\nowner: web\nreceive:\n"
     "  - topic: refunds\n    signature: {scheme: none}\n"
     "    mapping: fact.lua\n    command: fact.keep\n"
     "  - topic: dated\n    signature: {scheme: none}\n    key: {member: id}\n"
     "    version: {member: at}\n    mapping: fact.lua\n    command: fact.keep\n"},
    {"fact.lua",
     "return function(doc) return {kind = opt(doc, 'kind') or 'refund', key = tostring(doc.id),\n"
     "  version = opt(doc, 'v') and tostring(doc.v) or nil, refs = {'4711'},\n"
     "  customer_id = opt(doc, 'customer'),\n"
     "  personal = opt(doc, 'mail') and {mail = doc.mail} or nil,\n"
     "  document = {amount = doc.amount}} end\n"}};

static int set_up_with(void (*open)(struct cell *, uint64_t)) {
    open(&cell, 1);
    return partner_open(&shop, &cell, "shop", files, 2) ? 0 : -1;
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

static void says(const char *topic, const char *body) {
    partner_send(&shop, topic, body);
    partner_settle(&shop);
}

static void kept_is(uint32_t n) { assert_int_equal(partner_events(&shop, "fact.kept", ""), n); }
static void settled_is(const char *outcome, uint32_t n) {
    assert_int_equal(partner_events(&shop, "payload.settled", outcome), n);
}

static void test_versions(void **state) {
    (void)state;
    says("refunds", "{\"id\":17,\"v\":2,\"amount\":100}");
    kept_is(1);
    assert_int_equal(partner_events(&shop, "fact.kept",
                                    "{\"connector\":\"shop\",\"kind\":\"refund\",\"key\":\"17\","
                                    "\"version\":\"2\",\"refs\":[\"4711\"],"
                                    "\"document\":{\"amount\":100},\"digest\":\""), 1);
    says("refunds", "{\"id\":17,\"v\":2,\"amount\":100}");
    kept_is(1);
    settled_is("nothing-new", 1);
    partner_again(&shop, true);
    says("refunds", "{\"id\":17,\"v\":1,\"amount\":90}");
    kept_is(1);
    settled_is("\"stale\",\"reason\":\"shop/refund/17 is older (version 1) than what was kept (version 2)\"",
               1);
    says("refunds", "{\"id\":17,\"v\":3,\"amount\":100}"); /* newer, the same words */
    says("refunds", "{\"id\":17,\"v\":3,\"amount\":80}");  /* another, as new: the later counts */
    kept_is(3);
    partner_again(&shop, false);
    says("refunds", "{\"id\":17,\"v\":3,\"amount\":80}");
    kept_is(3);
    settled_is("nothing-new", 2);
    says("refunds", "{\"id\":17,\"kind\":\"payment\",\"v\":1,\"amount\":1}"); /* another kind */
    kept_is(4);
    partner_again(&shop, true);
}

static void test_without_versions(void **state) {
    (void)state;
    says("refunds", "{\"id\":1,\"amount\":1}");
    says("refunds", "{\"id\":1,\"amount\":2}");
    says("refunds", "{\"id\":1,\"amount\":2}");
    says("refunds", "{\"id\":1,\"amount\":1}");
    kept_is(3);
    settled_is("nothing-new", 1);
    partner_again(&shop, true);
}

/* The version of the message is that of the fact, unless the mapping says another. */
static void test_version_of_the_message(void **state) {
    (void)state;
    says("dated", "{\"id\":5,\"at\":\"2026-11-23T10:00:00Z\",\"amount\":1}");
    assert_int_equal(partner_events(&shop, "fact.kept", "\"version\":\"2026-11-23T10:00:00Z\""), 1);
    says("dated", "{\"id\":5,\"at\":\"2026-11-23T09:00:00Z\",\"amount\":2}");
    kept_is(1);
    settled_is("stale", 1);
    says("dated", "{\"id\":5,\"at\":\"2026-11-23T11:00:00Z\",\"amount\":2}");
    kept_is(2);
    partner_again(&shop, true);
}

static void test_checks(void **state) {
    (void)state;
    says("refunds", "{\"id\":1,\"amount\":1,\"mail\":\"a@b.example\"}");
    assert_int_equal(partner_events(&shop, "exception.raised", "/customer_id"), 1);
    says("refunds", "{\"id\":1,\"amount\":1,\"kind\":\"a/b\"}");
    assert_int_equal(partner_events(&shop, "exception.raised", "must not have a slash"), 1);
    kept_is(0);
    says("refunds", "{\"id\":1,\"amount\":1,\"mail\":\"a@b.example\",\"customer\":\"C-1\"}");
    kept_is(1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_versions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_versions, set_up_shelved, tear_down),
        cmocka_unit_test_setup_teardown(test_without_versions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_versions, set_up_shelved, tear_down),
        cmocka_unit_test_setup_teardown(test_version_of_the_message, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_checks, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
