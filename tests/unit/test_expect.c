/* Traffic that should come, with the clock in the test's hands: what counts as too little, in which hours;
 * raised once and closed once, also over a restart; a hub that did not run raises nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/cell.h"
#include "../support/temp.h"
#include "base/clock.h"
#include "connect/connector_priv.h"
#include "connect/expect.h"
#include "connect/expects.h"

#define MONDAY_US INT64_C(1795392000000000) /* 2026-11-23T00:00:00Z, a Monday */
#define HOUR_US INT64_C(3600000000)
#define S_US INT64_C(1000000)

static struct connector_expect plain(int64_t every_s, int64_t at_least) {
    return (struct connector_expect){.every_s = every_s, .at_least = at_least, .to_min = 1440};
}

/* Looks once a second over a span; how often it was raised and closed. */
struct seen { int raised, closed; };
static struct seen looks(struct expect_watch *watch, const struct connector_expect *e, uint64_t count,
                         int64_t *at_us, int64_t span_us) {
    struct seen seen = {0};
    for (int64_t end = *at_us + span_us; *at_us < end; *at_us += S_US) {
        enum expect_change change = expect_look(watch, e, count, *at_us, *at_us);
        seen.raised += change == EXPECT_RAISE;
        seen.closed += change == EXPECT_CLOSE;
    }
    return seen;
}

static void silence_is_raised_once_and_closed_by_what_comes(void **state) {
    struct connector_expect e = plain(600, 1);
    struct expect_watch w = {0};
    int64_t at = MONDAY_US;
    assert_int_equal(looks(&w, &e, 0, &at, 590 * S_US).raised, 0);
    assert_int_equal(looks(&w, &e, 1, &at, 590 * S_US).raised, 0); /* one came */
    struct seen seen = looks(&w, &e, 1, &at, 10 * HOUR_US);
    assert_true(seen.raised == 1 && seen.closed == 0);
    seen = looks(&w, &e, 2, &at, 100 * S_US);
    assert_true(seen.raised == 0 && seen.closed == 1);
    assert_int_equal(looks(&w, &e, 2, &at, HOUR_US).raised, 1); /* and again */
}

static void so_many_within_a_window(void **state) {
    struct connector_expect e = plain(3600, 10);
    struct expect_watch w = {0};
    int64_t at = MONDAY_US;
    struct seen seen = {0};
    for (uint64_t n = 0; n < 50; n++) /* one every five minutes: twelve an hour */
        seen.raised += looks(&w, &e, n, &at, 300 * S_US).raised;
    assert_int_equal(seen.raised, 0);
    for (uint64_t n = 50; n < 60; n++) /* one every ten: six */
        seen.raised += looks(&w, &e, n, &at, 600 * S_US).raised;
    assert_int_equal(seen.raised, 1);
}

static void only_hours_that_count(void **state) {
    struct connector_expect e = plain(3600, 1);
    struct fault fault = {0};
    e.from_min = 8 * 60;
    e.to_min = 20 * 60;
    e.day_bits = 0x1f; /* monday to friday */
    struct str except[] = {STR("2026-11-24")};
    e.except = (struct shape_list){except, 1};
    assert_int_equal(zone_load(STR("Europe/Berlin"), &e.zone, &fault), OK);
    assert_false(expect_open(&e, MONDAY_US + 6 * HOUR_US));               /* 07:00 there */
    assert_true(expect_open(&e, MONDAY_US + 7 * HOUR_US));                /* 08:00 */
    assert_true(expect_open(&e, MONDAY_US + 19 * HOUR_US - 1));
    assert_false(expect_open(&e, MONDAY_US + 19 * HOUR_US));              /* 20:00 */
    assert_false(expect_open(&e, MONDAY_US + 24 * HOUR_US + 9 * HOUR_US));  /* but not that day */
    assert_true(expect_open(&e, MONDAY_US + 48 * HOUR_US + 9 * HOUR_US));
    assert_false(expect_open(&e, MONDAY_US + 5 * 24 * HOUR_US + 9 * HOUR_US)); /* Saturday */
    /* the night and the closed Tuesday raise nothing; the time before them counts */
    struct expect_watch w = {0};
    int64_t at = MONDAY_US + 18 * HOUR_US + 30 * 60 * S_US; /* half an hour before the end */
    assert_int_equal(looks(&w, &e, 0, &at, 36 * HOUR_US).raised, 0); /* until Wednesday 06:30 UTC */
    assert_int_equal(looks(&w, &e, 0, &at, 59 * 60 * S_US).raised, 0);
    assert_int_equal(looks(&w, &e, 0, &at, 2 * 60 * S_US).raised, 1); /* 07:30 UTC: half an hour more */
    zone_destroy(e.zone);
    /* over midnight, the day is the one it began on */
    e = plain(60, 1);
    e.from_min = 22 * 60;
    e.to_min = 2 * 60;
    e.day_bits = 1; /* monday */
    assert_true(expect_open(&e, MONDAY_US + 23 * HOUR_US));
    assert_true(expect_open(&e, MONDAY_US + 25 * HOUR_US));
    assert_false(expect_open(&e, MONDAY_US + HOUR_US));
    assert_false(expect_open(&e, MONDAY_US + 47 * HOUR_US));
}

static void a_hub_that_stood_still_raises_nothing(void **state) {
    struct connector_expect e = plain(600, 1);
    struct expect_watch w = {0};
    int64_t at = MONDAY_US;
    looks(&w, &e, 0, &at, 300 * S_US);
    at += 10 * HOUR_US; /* it stood still */
    assert_int_equal(looks(&w, &e, 0, &at, 290 * S_US).raised, 0);
    assert_int_equal(looks(&w, &e, 0, &at, 20 * S_US).raised, 1);
    struct expect_watch fresh = {0}; /* it was down: all of the time from now on */
    assert_int_equal(looks(&fresh, &e, 0, &at, 590 * S_US).raised, 0);
    assert_int_equal(looks(&fresh, &e, 0, &at, 20 * S_US).raised, 1);
}

/* --- with the core: cases -------------------------------------------------------------------------- */

static int64_t tick;
static int64_t hand_now(struct clock *clock) { return MONDAY_US + tick; }
static int64_t hand_tick(struct clock *clock) { return tick; }
static struct clock hand = {.now_us = hand_now, .tick_us = hand_tick};
static void woken(void *ctx) { (void)ctx; }

static struct cell cell;
static struct expects *expects;
static struct intake *intake;
static char path[200];
static struct connector connector;
static struct connector_counters counters;
static struct connector *items[1] = {&connector};
static struct connectors set = {.items = items, .count = 1};

static void expects_open(void) {
    struct fault fault = {0};
    assert_int_equal(intake_open(path, NULL, &intake, &fault), OK);
    expects = expects_create(cell.core, &hand, intake, woken, NULL);
    assert_non_null(expects);
}

static void expects_shut(void) {
    while (expects_busy(expects))
        core_step(cell.core);
    expects_destroy(expects);
    intake_close(intake);
}

static void run(int64_t seconds) {
    for (int64_t i = 0; i < seconds; i++) {
        expects_step(expects, &set);
        while (core_step(cell.core) > 0)
            ;
        tick += S_US;
    }
}

static uint32_t events_of(const char *type) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < cell.journal.count; i++)
        n += str_is(cell.journal.records[i].type, type);
    return n;
}

static void a_case_is_raised_once_and_closes_itself(void **state) {
    static struct connector_expect e;
    static struct connector_receive take;
    static const struct connector_receive *taken[1] = {&take};
    e = plain(600, 1);
    take = (struct connector_receive){.topic = STR("orders"), .expect = &e};
    connector = (struct connector){.name = STR("shop"), .counters = &counters, .taken = taken, .taken_count = 1};
    cell_open(&cell, 1);
    char *dir = temp_folder();
    snprintf(path, sizeof path, "%s/intake.db", dir);
    expects_open();
    run(590);
    assert_int_equal(events_of("exception.raised"), 0);
    run(4000);
    assert_int_equal(events_of("exception.raised"), 1);
    const struct traffic_topic *t = traffic_find(&counters.traffic, STR("orders"));
    assert_true(atomic_load(&t->absent_us) > 0);
    expects_shut(); /* a restart: the case is open, and known */
    atomic_store(&((struct traffic_topic *)(uintptr_t)t)->absent_us, 0);
    expects_open();
    run(3000);
    assert_int_equal(events_of("exception.raised"), 1);
    assert_true(atomic_load(&t->absent_us) > 0);
    traffic_received(&counters.traffic, STR("orders"), hand_now(&hand));
    run(5);
    assert_int_equal(events_of("exception.resolved"), 1);
    assert_true(atomic_load(&t->absent_us) == 0);
    run(5);
    expects_shut();
    expects_open();
    run(500); /* closed stays closed, over a restart */
    assert_int_equal(events_of("exception.resolved"), 1);
    run(700);
    assert_int_equal(events_of("exception.raised"), 2); /* and the next silence is another case */
    take.expect = NULL; /* nothing is expected any more */
    run(5);
    assert_int_equal(events_of("exception.resolved"), 2);
    expects_shut();
    temp_remove(dir);
    cell_close(&cell);
}

/* A subscription that should deliver and does not is told of like a topic, beside one of the same name. */
static void what_should_go_is_looked_after_too(void **state) {
    static struct connector_expect e;
    static struct connector_send send;
    e = plain(600, 2);
    send = (struct connector_send){.subscription = STR("orders"), .enabled = true, .expect = &e};
    memset(&counters, 0, sizeof counters);
    connector = (struct connector){.name = STR("erp"), .counters = &counters, .send = {&send, 1}};
    cell_open(&cell, 1);
    char *dir = temp_folder();
    snprintf(path, sizeof path, "%s/intake.db", dir);
    expects_open();
    run(100);
    traffic_received(&counters.sent, STR("orders"), hand_now(&hand));
    run(100);
    const struct traffic_topic *t = traffic_find(&counters.sent, STR("orders"));
    assert_int_equal(atomic_load(&t->came), 1); /* one of two, and how much time is left */
    assert_in_range(atomic_load(&t->left_us), 399 * S_US, 402 * S_US);
    run(500);
    assert_int_equal(events_of("exception.raised"), 1);
    assert_true(atomic_load(&t->absent_us) > 0);
    const struct record *raised = &cell.journal.records[cell.journal.count - 1];
    assert_non_null(memmem(raised->data.ptr, raised->data.len, "Fewer than 2 deliveries of erp/orders went", 42));
    traffic_received(&counters.sent, STR("orders"), hand_now(&hand));
    traffic_received(&counters.sent, STR("orders"), hand_now(&hand));
    run(5);
    assert_int_equal(events_of("exception.resolved"), 1);
    run(1000);
    assert_int_equal(events_of("exception.raised"), 2);
    send.enabled = false; /* nobody expects anything of one that is turned off */
    run(1000);
    assert_int_equal(events_of("exception.resolved"), 2);
    assert_int_equal(events_of("exception.raised"), 2);
    expects_shut();
    temp_remove(dir);
    cell_close(&cell);
}

static void a_deadline_passes_over_hours_that_do_not_count(void **state) {
    struct connector_expect e = plain(600, 1);
    assert_int_equal(expect_deadline_us(&e, MONDAY_US + 5, 600 * S_US), MONDAY_US + 600 * S_US + 5);
    e.from_min = 8 * 60;
    e.to_min = 20 * 60;
    assert_int_equal(expect_deadline_us(&e, MONDAY_US + 9 * HOUR_US, HOUR_US), MONDAY_US + 10 * HOUR_US);
    assert_int_equal(expect_deadline_us(&e, MONDAY_US, HOUR_US), MONDAY_US + 9 * HOUR_US);
    assert_int_equal(expect_deadline_us(&e, MONDAY_US + 19 * HOUR_US + 30 * S_US, 2 * HOUR_US),
                     MONDAY_US + 33 * HOUR_US + 30 * S_US);
    e.day_bits = 1; /* Mondays */
    assert_int_equal(expect_deadline_us(&e, MONDAY_US + 21 * HOUR_US, HOUR_US), MONDAY_US + (7 * 24 + 9) * HOUR_US);
    assert_int_equal(expect_deadline_us(&e, MONDAY_US, 100 * 12 * HOUR_US), 0); /* too far away to say */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silence_is_raised_once_and_closed_by_what_comes),
        cmocka_unit_test(so_many_within_a_window),
        cmocka_unit_test(only_hours_that_count),
        cmocka_unit_test(a_hub_that_stood_still_raises_nothing),
        cmocka_unit_test(a_case_is_raised_once_and_closes_itself),
        cmocka_unit_test(what_should_go_is_looked_after_too),
        cmocka_unit_test(a_deadline_passes_over_hours_that_do_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
