/* Cases and what waits for them: messages of a key keep their order past one that a person has to
 * decide; a retry, another version of the message or a discard lets go what waited; over restarts and
 * kills at every step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../support/webshop.h"

static int decide(const char *command, const char *body) {
    char id[64];
    snprintf(id, sizeof id, "%s", raised());
    return cell_run(&cell, command, body, id, NULL);
}
static int discard(void) { return decide("exception.resolve", "{\"reason\":\"a test\"}"); }

static void order(const char *body) {
    assert_int_equal(cell_run_fact(&cell, "stock.count",
                                   "{\"sku\":\"A\",\"location\":\"WH-HAM\",\"on_hand\":\"100000\"}"),
                     201);
    send("orders", body);
}

/* An order, a message about it that fails, and three behind it. */
static void one_that_fails(void) {
    order("{\"id\":1,\"v\":1}");
    settle();
    send("late", "{\"id\":1,\"ref\":\"a\",\"n\":\"x\"}");
    send("late", "{\"id\":1,\"ref\":\"b\",\"n\":1}");
    send("late", "{\"id\":1,\"ref\":\"c\",\"n\":1000}"); /* more than there are */
    send("late", "{\"id\":1,\"ref\":\"d\",\"n\":1}");
    send("late", "{\"id\":2,\"ref\":\"z\",\"n\":\"x\"}"); /* another key's */
    order("{\"id\":3,\"v\":1}");
    settle();
}

/* --- tests --------------------------------------------------------------------------------- */

static void test_later_ones_wait(void **state) {
    one_that_fails();
    assert_string_equal(cuts(), "");
    assert_int_equal(events("order.captured", ""), 2);
    assert_int_equal(events("exception.raised", ""), 2); /* of those behind it, none */
    assert_int_equal(events("exception.raised", "\"lane\":\"shop/1\""), 1);
    assert_int_equal(events("exception.raised", "\"mapping\":\"shop/cut.lua\""), 2);
    assert_int_equal(events("payload.parked", "earlier message of shop/1"), 3);
    again(true);
    settle();
    assert_string_equal(cuts(), "");
    again(false);
}

static void test_discard_lets_go(void **state) {
    char first[64];
    order("{\"id\":1,\"v\":1}");
    send("late", "{\"id\":1,\"ref\":\"a\",\"n\":\"x\"}");
    settle();
    snprintf(first, sizeof first, "%s", raised());
    send("late", "{\"id\":1,\"ref\":\"b\",\"n\":1}");
    send("late", "{\"id\":1,\"ref\":\"c\",\"n\":1000}");
    send("late", "{\"id\":1,\"ref\":\"d\",\"n\":1}");
    settle();
    assert_int_equal(cell_run(&cell, "exception.resolve", "{\"reason\":\"no\"}", first, NULL), 200);
    again(true); /* between the decision and what follows of it */
    settle();
    assert_string_equal(cuts(), "b"); /* c fails, and d waits for it */
    assert_int_equal(events("exception.raised", ""), 2);
    assert_int_equal(cell_run(&cell, "exception.resolve", "{\"reason\":\"no\"}", first, NULL), 409);
    assert_int_equal(discard(), 200);
    settle();
    assert_string_equal(cuts(), "bd");
    assert_int_equal(events("exception.resolved", "\"lane\":\"shop/1\""), 2);
    again(true);
    send("late", "{\"id\":1,\"ref\":\"e\",\"n\":1}"); /* nothing is in its way */
    settle();
    assert_string_equal(cuts(), "bde");
}

static void test_retry_fails_again(void **state) {
    order("{\"id\":1,\"v\":1}");
    send("late", "{\"id\":1,\"ref\":\"a\",\"n\":\"x\"}");
    settle();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(decide("exception.retry", "{\"by\":\"ann\"}"), 202);
        assert_int_equal(decide("exception.retry", "{}"), 409); /* it is being processed */
        assert_int_equal(discard(), 409);
        again(true);
        settle();
    }
    assert_int_equal(events("exception.raised", ""), 1);
    assert_int_equal(events("exception.changed", "\"change\":\"retried\""), 3);
    assert_int_equal(events("exception.changed", "\"change\":\"failed\""), 3);
    assert_int_equal(events("exception.changed", "\"attempts\":3,\"version\":7"), 1);
    assert_int_equal(discard(), 200);
    assert_int_equal(events("exception.resolved", "\"version\":8"), 1);
    assert_int_equal(decide("exception.retry", "{}"), 409);
    assert_int_equal(cell_run(&cell, "exception.retry", "{}", "exc_nope", NULL), 404);
    again(false);
}

static void test_edit(void **state) {
    one_that_fails();
    for (uint32_t i = 0; i < cell.journal.count; i++) { /* not of shop/2 */
        const struct record *record = &cell.journal.records[i];
        char id[64];
        if (!str_is(record->type, "exception.raised") || !says(record->data, "shop/1"))
            continue;
        snprintf(id, sizeof id, "%.*s", STR_FMT(record->subject));
        assert_int_equal(cell_run(&cell, "exception.edit",
                                  "{\"payload_id\":\"pay_1\",\"reason\":\"typed\",\"by\":\"ann\","
                                  "\"document\":{\"id\":1,\"ref\":\"a\",\"n\":\"y\"}}",
                                  id, NULL), 202);
        again(true);
        settle();
        assert_string_equal(cuts(), ""); /* as wrong as before */
        assert_int_equal(cell_run(&cell, "exception.edit",
                                  "{\"payload_id\":\"pay_1\",\"document\":{\"id\":1,\"ref\":\"a\","
                                  "\"n\":2}}", id, NULL), 202);
        break;
    }
    again(true); /* the newest version is what is processed after a kill */
    settle();
    assert_string_equal(cuts(), "ab");
    assert_int_equal(events("payload.edited", ""), 2);
    assert_int_equal(events("exception.resolved", "\"resolution\":\"fixed\""), 1);
    assert_int_equal(discard(), 200); /* c, which has more than there are */
    settle();
    assert_string_equal(cuts(), "abd");
    again(true);
    settle();
    assert_string_equal(cuts(), "abd");
}

/* What came later is not processed before it, whoever asks for it. */
static void test_later_one_is_retried(void **state) {
    one_that_fails();
    for (uint32_t i = 0, n = cell.journal.count; i < n; i++) {
        char seq[32];
        if (!str_is(cell.journal.records[i].type, "payload.parked"))
            continue;
        const char *at = memmem(cell.journal.records[i].data.ptr, cell.journal.records[i].data.len,
                                "\"payload_seq\":", 14);
        snprintf(seq, sizeof seq, "%ld", atol(at + 14));
        assert_int_equal(cell_run(&cell, "inbound.retry", NULL, seq, NULL), 202);
        settle();
        again(true);
    }
    assert_string_equal(cuts(), "");
}

/* A case that closes by itself: the message goes through another way. */
static void test_by_itself(void **state) {
    send("late", "{\"id\":1,\"ref\":\"a\",\"n\":1}"); /* waits for its order */
    settle();
    cell.now_us += INT64_C(4000) * 1000000;
    settle();
    assert_int_equal(events("exception.raised", "parent-missing"), 1);
    assert_int_equal(decide("exception.retry", "{}"), 202); /* in vain */
    settle();
    assert_int_equal(events("exception.changed", "there is no order web-de/1"), 1);
    again(true);
    order("{\"id\":1,\"v\":1}");
    settle();
    assert_string_equal(cuts(), "a");
    assert_int_equal(events("exception.resolved", ""), 1);
    again(true);
}

/* An order that is short of goods is not when it is cancelled. */
static void test_shortage(void **state) {
    char order[64] = "";
    cell.config.settings.inbound_key_waits = 1;
    send("orders", "{\"id\":1,\"v\":1}");
    settle();
    if (events("exception.raised", "\"kind\":\"shortage\"") == 0)
        fail_msg("the order is not short");
    for (uint32_t i = 0; i < cell.journal.count; i++)
        if (str_is(cell.journal.records[i].type, "order.captured"))
            snprintf(order, sizeof order, "%.*s", STR_FMT(cell.journal.records[i].subject));
    assert_int_equal(decide("exception.retry", "{}"), 409); /* no message waits for it */
    assert_int_equal(cell_run(&cell, "order.cancel", "{\"reason\":\"no\"}", order, NULL), 200);
    assert_int_equal(events("exception.resolved", "\"resolution\":\"cancelled\""), 1);
    again(true);
}

static void test_not_wanted(void **state) {
    cell.config.settings.inbound_key_waits = 0;
    one_that_fails();
    assert_string_equal(cuts(), "bd");
    assert_int_equal(events("exception.raised", ""), 3);
    assert_int_equal(events("payload.parked", ""), 0);
    again(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WEBSHOP_BOTH(test_later_ones_wait),
        WEBSHOP_BOTH(test_discard_lets_go),
        WEBSHOP_BOTH(test_retry_fails_again),
        WEBSHOP_BOTH(test_edit),
        WEBSHOP_BOTH(test_later_one_is_retried),
        WEBSHOP_BOTH(test_by_itself),
        WEBSHOP_BOTH(test_shortage),
        WEBSHOP_BOTH(test_not_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
