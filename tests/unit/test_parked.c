/* Messages that come before what they are about, twice, or late: none is lost, none is applied
 * twice, those of one order are applied in the order they came, whatever is stopped in between
 * and with the state written down or not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../support/webshop.h"
#include "base/mem.h"

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
        inbound_step(shop.inbound);
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
                inbound_step(shop.inbound);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        WEBSHOP_BOTH(test_in_order),
        WEBSHOP_BOTH(test_stopped_in_between),
        WEBSHOP_BOTH(test_time_limit),
        WEBSHOP_BOTH(test_stale),
        WEBSHOP_BOTH(test_retry_while_it_waits),
        WEBSHOP_BOTH(test_bound),
        WEBSHOP_BOTH(test_nothing_new),
        WEBSHOP_BOTH(test_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
