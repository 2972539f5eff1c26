/* The gate with the clock in hand: one account for several users on nets of their own, the order in which those
 * go who wait, what is closed to them, and what an account remembers over a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "connect/account.h"
#include "connect/gate.h"

static int64_t tick_us;
static int64_t fake_now(struct clock *clock) { return INT64_C(1795392000000000) + tick_us; } /* 2026-11-23 */
static int64_t fake_tick(struct clock *clock) { return tick_us; }
static struct clock fake_clock = {.now_us = fake_now, .tick_us = fake_tick};
static struct rng_seeded rng;

/* --- the other side: what was sent and has no answer yet, in the order in which it went ---------------- */

struct net_call {
    struct net_request request;
    net_done *done;
    void *ctx;
};
#define WIRE_MAX 64
static struct net_call *wire[WIRE_MAX];
static uint32_t wire_count;

static void wire_end(uint32_t at, struct net_answer answer) {
    struct net_call *call = wire[at];
    memmove(wire + at, wire + at + 1, (--wire_count - at) * sizeof(struct net_call *));
    call->done(call->ctx, &answer);
    mem_free(call);
}

static void answer(uint32_t at, int status) { wire_end(at, (struct net_answer){.sent = true, .status = status}); }

static void nobody_there(uint32_t at) { wire_end(at, (struct net_answer){.error = NET_REFUSED, .detail = "refused"}); }

static enum err wire_send(struct net *net, const struct net_request *request, net_done *done, void *ctx,
                          struct net_call **out, struct fault *fault) {
    struct net_call *call = mem_alloc(sizeof *call);
    assert_non_null(call);
    *call = (struct net_call){*request, done, ctx};
    assert_in_range(wire_count, 0, WIRE_MAX - 1);
    wire[wire_count++] = *out = call;
    return OK;
}

static void wire_cancel(struct net *net, struct net_call *call) {
    uint32_t at = 0;
    while (wire[at] != call)
        at++;
    wire_end(at, (struct net_answer){.error = NET_CANCELLED, .sent = true});
}

static void wire_close(struct net *net) {}
static const struct net_ops wire_ops = {wire_send, wire_cancel, wire_close};
static struct net wire_net = {&wire_ops};

/* --- this side -------------------------------------------------------------------------------------- */

static struct connector_account limits;
static struct connector connector, other;
static struct accounts *accounts;
static struct net *gates[2]; /* two threads of a hub, were there any */
static uint32_t wakes, woke[2], kept; /* all; of each gate; of who keeps notes */

static void woken(void *ctx) {
    wakes++;
    ++*(uint32_t *)ctx;
}

static void life_begin(void) {
    struct fault fault = {0};
    accounts = accounts_create(&(struct accounts_options){
        .clock = &fake_clock, .rng = &rng.rng, .breaker = {.after = 3, .first_ms = 1000, .max_ms = 8000}});
    assert_non_null(accounts);
    for (int i = 0; i < 2; i++)
        assert_int_equal(gate_create(&(struct gate_options){.net = &wire_net, .accounts = accounts, .wake = woken,
                                                            .wake_ctx = &woke[i]}, &gates[i], &fault), OK);
}

static void life_end(void) {
    while (wire_count > 0)
        wire_end(0, (struct net_answer){.error = NET_CANCELLED, .sent = true});
    for (int i = 0; i < 2; i++) {
        gate_drain(gates[i]);
        net_close(gates[i]);
    }
    accounts_destroy(accounts);
}

static int begin(void **state) {
    tick_us = 0;
    wakes = 0;
    rng_seeded_init(&rng, 5);
    limits = (struct connector_account){0};
    connector = (struct connector){.name = STR("erp"), .account = &limits};
    other = (struct connector){.name = STR("shop")};
    life_begin();
    return 0;
}

static int end(void **state) {
    life_end();
    return 0;
}

struct asked { /* a call as its caller knows it */
    const char *name;
    struct net_call *call;
    uint32_t ends;
    struct net_answer got;
    char detail[200];
    int64_t retry_after_ms;
};
static struct asked asked[WIRE_MAX];

static void asked_done(void *ctx, const struct net_answer *got) {
    struct asked *one = ctx;
    one->ends++;
    one->got = *got;
    one->call = NULL;
    one->retry_after_ms = net_answer_retry_after_ms(got, fake_now(NULL));
    snprintf(one->detail, sizeof one->detail, "%s", got->detail);
}

static struct asked *ask_by(uint32_t at, const struct connector *by, int gate, struct net_flow *flow,
                            const char *name) {
    struct fault fault = {0};
    struct asked *one = &asked[at];
    struct net_request request = {.connector = by, .flow = flow, .method = STR("POST"),
                                  .url = STR("http://erp.test:8000/rpc"), .body = str_c(name), .timeout_ms = 5000};
    *one = (struct asked){.name = name};
    assert_int_equal(net_send(gates[gate], &request, asked_done, one, &one->call, &fault), OK);
    assert_int_equal(one->ends, 0); /* never from within */
    return one;
}

static struct asked *ask(uint32_t at, int gate, struct net_flow *flow, const char *name) {
    return ask_by(at, &connector, gate, flow, name);
}

static void step(void) {
    gate_step(gates[0]);
    gate_step(gates[1]);
}

/* What went, answered at once, one after the other as it may. */
static void went(const char *names) {
    char text[WIRE_MAX * 4] = "";
    for (step(); wire_count > 0; step()) {
        size_t len = strlen(text);
        snprintf(text + len, sizeof text - len, "%s%.*s", len ? " " : "", STR_FMT(wire[0]->request.body));
        answer(0, 200);
    }
    assert_string_equal(text, names);
}

static void one_account_for_all_its_users(void **state) {
    static struct net_flow flows[3] = {{.class = NET_LEDGER}, {.class = NET_LEDGER}, {.class = NET_LEDGER}};
    limits.limits.concurrency = 2;
    ask(0, 0, &flows[0], "a"); /* a delivery */
    ask(1, 1, &flows[1], "b"); /* a poll, on another thread */
    ask(2, 0, &flows[2], "c"); /* an operation */
    ask_by(3, &other, 0, NULL, "d"); /* nothing is said of that one */
    assert_int_equal(wire_count, 3);
    assert_string_equal(wire[2]->request.body.ptr, "d");
    wakes = 0;
    answer(1, 200); /* b ended on its thread: the other is woken for c */
    assert_int_equal(wakes, 1);
    assert_int_equal(gate_next_us(gates[0]), tick_us);
    assert_int_equal(gate_next_us(gates[1]), INT64_MAX);
    step();
    assert_int_equal(wire_count, 3);
    went("a d c");
    for (int i = 0; i < 4; i++)
        assert_true(asked[i].ends == 1 && asked[i].got.means == OUTCOME_SUCCESS);
}

static void a_waiting_customer_goes_first(void **state) {
    static struct net_flow ledger = {.class = NET_LEDGER}, stock = {.class = NET_STOCK};
    static struct net_flow customer = {.class = NET_CUSTOMER};
    limits.limits.concurrency = 1;
    ask(0, 0, &ledger, "l1");
    ask(1, 0, &ledger, "l2");
    ask(2, 0, NULL, "nobody");
    ask(3, 0, &stock, "s1");
    ask(4, 1, &stock, "s2");
    ask(5, 1, &customer, "c1");
    went("l1 c1 s1 s2 l2 nobody");
}

static void turns_within_a_class(void **state) {
    static struct net_flow many = {.class = NET_LEDGER}, few = {.class = NET_LEDGER}, one = {.class = NET_LEDGER};
    static const char *const names[] = {"m1", "m2", "m3", "m4", "m5"};
    limits.limits.concurrency = 1;
    for (uint32_t i = 0; i < 5; i++)
        ask(i, 0, &many, names[i]);
    ask(5, 1, &few, "f1");
    ask(6, 1, &few, "f2");
    ask(7, 0, &one, "o1");
    went("m1 m2 f1 o1 m3 f2 m4 m5"); /* in order within a flow; nobody waits for another's whole queue */
}

static void the_rate_is_kept_over_all(void **state) {
    static struct net_flow flows[4] = {
        {.class = NET_LEDGER}, {.class = NET_STOCK}, {.class = NET_LEDGER}, {.class = NET_CUSTOMER}};
    uint32_t sent = 0, asking = 0;
    limits.limits = (struct governor_limits){.calls = 10, .per_ms = 1000, .burst = 3};
    for (; asking < 40; asking++)
        ask(asking, (int)(asking % 2), &flows[asking % 4], "x");
    while (tick_us < 2000000) {
        for (step(); wire_count > 0; sent++)
            answer(0, 200);
        int64_t next = gate_next_us(gates[0]), second = gate_next_us(gates[1]);
        next = second < next ? second : next;
        assert_true(next > tick_us && next - tick_us <= 100000); /* it sleeps, and not for too long */
        tick_us = next;
    }
    assert_in_range(sent, 20, 21); /* begun with one, not with a burst */
    uint32_t ends = 0;
    for (uint32_t i = 0; i < 40; i++)
        ends += asked[i].ends;
    assert_int_equal(ends, sent);
}

/* One of gate 0 waits for the end of one of gate 1, whose thread then finds out when it may go. */
static void due_for_the_other(int status, int64_t due_us) {
    static struct net_flow poll = {.class = NET_LEDGER}, delivery = {.class = NET_LEDGER};
    limits.limits = (struct governor_limits){.concurrency = 1, .calls = 10, .per_ms = 1000, .burst = 1};
    ask(0, 1, &poll, "poll");
    ask(1, 0, &delivery, "delivery");
    assert_int_equal(gate_next_us(gates[0]), INT64_MAX);
    woke[0] = 0;
    answer(0, status);
    assert_true(woke[0] > 0);
    while (wire_count == 0) {
        assert_in_range(gate_next_us(gates[0]), tick_us + 1, due_us);
        tick_us = gate_next_us(gates[0]);
        gate_step(gates[0]);
    }
    went("delivery");
}

static void what_another_thread_finds_out_wakes_who_waits(void **state) { due_for_the_other(200, 100000); }

static void a_pause_of_another_thread_wakes_who_waits(void **state) { due_for_the_other(429, 450000); }

static void who_is_well_again_is_called_at_once(void **state) {
    static const struct net_header soon = {{"Retry-After", 11}, {"1", 1}};
    static struct net_flow flow = {.class = NET_LEDGER};
    ask(0, 0, &flow, "a");
    wire_end(0, (struct net_answer){.sent = true, .status = 429, .headers = &soon, .header_count = 1});
    ask(1, 0, &flow, "b");
    assert_int_equal(gate_next_us(gates[0]), 1000000);
    woke[0] = 0;
    accounts_mended(accounts, &connector, STR("http://erp.test:8000/"));
    assert_int_equal(woke[0], 1);
    assert_int_equal(gate_next_us(gates[0]), tick_us);
    went("b");
}

static void who_is_cancelled_leaves_the_line(void **state) {
    static struct net_flow flow = {.class = NET_LEDGER};
    limits.limits.concurrency = 1;
    ask(0, 0, &flow, "a");
    ask(1, 0, &flow, "b");
    ask(2, 0, &flow, "c");
    ask(3, 0, &flow, "d");
    net_cancel(gates[0], asked[2].call);
    assert_true(asked[2].ends == 1 && asked[2].got.error == NET_CANCELLED && !asked[2].got.sent);
    assert_string_equal(asked[2].detail, GATE_NO_TURN);
    answer(0, 200); /* b may go, and is cancelled before it does: d goes instead */
    net_cancel(gates[0], asked[1].call);
    assert_int_equal(flow.waiting, 0);
    went("d");
    assert_true(asked[1].ends == 1 && asked[3].ends == 1);
}

static void a_pause_that_lasts_closes_a_short_one_waits(void **state) {
    static const struct net_header soon = {{"Retry-After", 11}, {"1", 1}}, later = {{"Retry-After", 11}, {"60", 2}};
    static struct net_flow flow = {.class = NET_LEDGER};
    int64_t due;
    ask(0, 0, &flow, "a");
    wire_end(0, (struct net_answer){.sent = true, .status = 429, .headers = &soon, .header_count = 1});
    assert_int_equal(asked[0].got.means, OUTCOME_THROTTLED);
    ask(1, 1, NULL, "b"); /* another user of the same account */
    step();
    assert_true(wire_count == 0 && asked[1].ends == 0);
    tick_us = 1000000;
    step();
    assert_int_equal(wire_count, 1);
    wire_end(0, (struct net_answer){.sent = true, .status = 429, .headers = &later, .header_count = 1});
    ask(2, 0, &flow, "c");
    step();
    assert_true(asked[2].ends == 1 && asked[2].got.error == NET_CLOSED && !asked[2].got.sent);
    assert_in_range(asked[2].retry_after_ms, 59000, 60000);
    assert_false(accounts_room(accounts, &connector, STR("http://erp.test:8000/other"), &flow, &due));
    assert_int_equal(due, 61000000);
    assert_true(accounts_room(accounts, &other, STR("http://erp.test:8000/other"), &flow, &due));
}

/* --- over a restart ------------------------------------------------------------------------------------ */

#define NOTES_MAX 8
static struct { char name[ACCOUNTS_NOTE_NAME_MAX], text[ACCOUNTS_NOTE_MAX]; } disk[NOTES_MAX];
static uint32_t disk_count;

static void note(void *ctx, struct str name, struct str text) {
    uint32_t at = 0;
    while (at < disk_count && !str_is(name, disk[at].name))
        at++;
    if (!text.ptr) {
        if (at < disk_count)
            disk[at] = disk[--disk_count];
        return;
    }
    must(at < NOTES_MAX);
    disk_count += at == disk_count;
    snprintf(disk[at].name, sizeof disk[at].name, "%.*s", STR_FMT(name));
    snprintf(disk[at].text, sizeof disk[at].text, "%.*s", STR_FMT(text));
}

static void keep(void) {
    if (!accounts_notes_due(accounts))
        return;
    accounts_notes(accounts, note, NULL);
    accounts_notes_kept(accounts);
}

/* As after kill -9: of what was, only the notes are left. */
static void again(void) {
    life_end();
    life_begin();
    for (uint32_t i = 0; i < disk_count; i++)
        accounts_restore(accounts, str_c(disk[i].name), str_c(disk[i].text));
    accounts_keeper_set(accounts, woken, &kept);
}

static void a_used_quota_stays_used(void **state) {
    static struct net_flow flow = {.class = NET_LEDGER};
    uint32_t sent = 0;
    limits.limits.quota_per_day = 300; /* may be 3 ahead of the disk */
    disk_count = 0;
    accounts_keeper_set(accounts, woken, &kept);
    ask(0, 0, &flow, "first");
    step();
    assert_int_equal(wire_count, 0); /* nothing is used that the disk does not know of */
    for (int life = 0; life < 5; life++, again())
        for (int i = 0; i < 100; i++) {
            if (life > 0 || i > 0)
                ask(0, 0, &flow, "x");
            if (i % 7 != 6 || life % 2)
                keep();
            tick_us += 10000;
            for (step(); wire_count > 0; sent++)
                answer(0, 200);
            if (asked[0].ends == 0)
                net_cancel(gates[0], asked[0].call);
        }
    assert_in_range(sent, 260, 300); /* a crash costs a part of it, never more than all of it is used */
    struct asked *last = ask(1, 0, &flow, "more");
    step();
    assert_true(last->ends == 1 && last->got.error == NET_CLOSED);
    assert_non_null(strstr(last->detail, "quota"));
    tick_us = INT64_C(86400000000);
    ask(2, 0, &flow, "tomorrow");
    keep();
    tick_us += 10000;
    went("tomorrow");
}

static void nothing_kept_nothing_used(void **state) {
    static struct net_flow flow = {.class = NET_LEDGER};
    limits.limits.quota_per_day = 300;
    disk_count = 0;
    accounts_keeper_set(accounts, woken, &kept);
    ask(0, 0, &flow, "a");
    accounts_notes(accounts, note, NULL);
    accounts_notes_lost(accounts); /* the disk is full */
    tick_us += 10000;
    step();
    assert_int_equal(wire_count, 0);
    assert_true(accounts_notes_due(accounts));
    keep();
    tick_us += 10000;
    went("a");
}

static void an_open_breaker_stays_open(void **state) {
    static struct net_flow flow = {.class = NET_LEDGER};
    struct accounts_change change;
    disk_count = 0;
    accounts_keeper_set(accounts, woken, &kept);
    for (uint32_t i = 0; i < 3; i++) { /* every call counts, whoever makes it */
        ask(i, (int)(i % 2), i == 1 ? NULL : &flow, "a");
        nobody_there(0);
    }
    struct asked *shut = ask(3, 1, NULL, "b");
    step();
    assert_true(shut->ends == 1 && shut->got.error == NET_CLOSED && wire_count == 0);
    assert_true(accounts_broken(accounts, &connector, STR("http://erp.test:8000/else")));
    assert_false(accounts_broken(accounts, &connector, STR("http://erp.test:8001/")));
    keep(); /* killed before the journal was told */
    assert_int_equal(disk_count, 1);
    again();
    assert_true(accounts_broken(accounts, &connector, STR("http://erp.test:8000/")));
    assert_true(accounts_change(accounts, &change));
    assert_true(change.opened && change.failures == 3);
    assert_string_equal(change.connector, "erp");
    assert_string_equal(change.endpoint, "http://erp.test:8000");
    assert_string_equal(change.cause, "refused: refused");
    accounts_change_told(accounts, &change);
    keep();
    again();
    assert_false(accounts_change(accounts, &change)); /* told once */
    ask(0, 0, &flow, "probe");
    ask(1, 1, NULL, "second");
    step();
    assert_int_equal(wire_count, 1); /* one tries, not all at once */
    assert_true(asked[1].ends == 1 && asked[1].got.error == NET_CLOSED);
    answer(0, 200);
    assert_false(accounts_change(accounts, &change)); /* not before it is on disk */
    keep();
    assert_true(accounts_change(accounts, &change) && !change.opened);
    accounts_change_told(accounts, &change);
    keep();
    assert_int_equal(disk_count, 0);
    again();
    assert_false(accounts_broken(accounts, &connector, STR("http://erp.test:8000/")));
}

static void opened_while_told_and_closed_again(void **state) {
    static struct net_flow flow = {.class = NET_LEDGER};
    struct accounts_change change;
    disk_count = 0;
    accounts_keeper_set(accounts, woken, &wakes);
    for (uint32_t i = 0; i < 3; i++) {
        ask(i, 0, &flow, "a");
        nobody_there(0);
    }
    keep();
    assert_true(accounts_change(accounts, &change) && change.opened);
    tick_us += 1000000; /* the probe goes and is answered while the journal is being told */
    ask(3, 0, &flow, "probe");
    answer(0, 200);
    keep();
    assert_int_equal(disk_count, 1); /* who is killed now tells it in his next life */
    assert_false(accounts_notes_due(accounts));
    accounts_change_told(accounts, &change);
    assert_true(accounts_notes_due(accounts));
    keep();
    assert_true(accounts_change(accounts, &change) && !change.opened);
    keep();
    again(); /* killed: nobody knows whether the journal heard of it */
    assert_true(accounts_change(accounts, &change) && !change.opened);
}

/* Its turn had come, and before its thread let it go another call was told to wait, or nobody was there. */
static void a_turn_that_came_may_be_over(void **state) {
    static struct net_flow flow = {.class = NET_LEDGER};
    limits.limits.concurrency = 2;
    limits.limits.fixed = true;
    ask(0, 0, &flow, "a");
    ask(1, 0, &flow, "b");
    struct asked *granted = ask(2, 1, NULL, "c");
    answer(0, 200); /* now it may go, on the other thread */
    struct net_header seven = {STR("Retry-After"), STR("7")};
    wire_end(0, (struct net_answer){.sent = true, .status = 429, .headers = &seven, .header_count = 1});
    step();
    assert_int_equal(wire_count, 0);
    assert_true(granted->ends == 1 && granted->got.error == NET_CLOSED);
    assert_int_equal(granted->retry_after_ms, 7000);
    tick_us += 7000000;
    ask(3, 1, NULL, "d"); /* its place is free again */
    ask(4, 1, NULL, "e");
    assert_int_equal(wire_count, 2);
    answer(0, 200);
    answer(0, 200);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(one_account_for_all_its_users),
        TEST(a_waiting_customer_goes_first),
        TEST(turns_within_a_class),
        TEST(the_rate_is_kept_over_all),
        TEST(what_another_thread_finds_out_wakes_who_waits),
        TEST(a_pause_of_another_thread_wakes_who_waits),
        TEST(who_is_well_again_is_called_at_once),
        TEST(who_is_cancelled_leaves_the_line),
        TEST(a_pause_that_lasts_closes_a_short_one_waits),
        TEST(a_used_quota_stays_used),
        TEST(nothing_kept_nothing_used),
        TEST(an_open_breaker_stays_open),
        TEST(opened_while_told_and_closed_again),
        TEST(a_turn_that_came_may_be_over),
    };
    return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}
