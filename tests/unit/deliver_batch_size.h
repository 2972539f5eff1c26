/* A part of test_deliver: batches for a system that takes only so many in a call. */

/* Takes `most` in a call; more, it refuses by 413. It books things by their number. `large_key`: what is of k13
 * is too large by itself. */
static struct taker {
    uint32_t most, calls, refused, largest;
    bool large_key;
} taker;

static uint32_t members_in(struct str body) {
    uint32_t n = 0;
    for (const char *at = body.ptr; (at = memmem(at, (size_t)(body.ptr + body.len - at), "\"key\":", 6)); at++)
        n++;
    return n;
}

static void taker_answer(struct net_call *call) {
    struct str body = call->copy.body;
    uint32_t n = members_in(body);
    bool large = n > taker.most || (taker.large_key && memmem(body.ptr, body.len, "\"key\":\"k13\"", 11));
    struct net_answer answer = {.sent = true, .status = large ? 413 : 200};
    answer.body = large ? STR("{\"large\":true}") : STR("{}");
    taker.calls++;
    taker.refused += large;
    taker.largest = n > taker.largest ? n : taker.largest;
    const char *end = body.ptr + body.len;
    for (const char *at = body.ptr; !large && (at = memmem(at, (size_t)(end - at), "\"number\":", 9)); at++)
        remote.booked[strtoull(at + 9, NULL, 10)]++;
    call_answer(call, &answer);
}

static void taker_settle(void) {
    for (int i = 0; i < 20000; i++) {
        core_step(hub.core);
        deliver_step(hub.deliver);
        while (remote.count > 0)
            taker_answer(call_take());
        tick_us += 5000;
    }
}

static struct connector_batch taker_batch;

static void taker_begin(uint64_t seed, uint32_t most) {
    taker = (struct taker){.most = most};
    taker_batch = (struct connector_batch){.max_items = 100, .max_bytes = 1 << 20, .idempotent = true};
    hub_init(seed);
    hub.send.batch = &taker_batch;
    hub.send.lookup = NULL;
    hub.send.reference = STR_NONE;
    hub.limits = (struct connector_limits){.concurrency = 4};
    hub.connector.account = &hub.account;
    hub.account = (struct connector_account){0};
}

static uint32_t once(void) {
    uint32_t n = 0;
    for (uint32_t i = 0; i <= hub.made; i++) {
        assert_in_range(remote.booked[i], 0, 1);
        n += remote.booked[i];
    }
    return n;
}

static void things_new(uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        thing_new(10000);
        core_step(hub.core);
    }
}

static void a_batch_keeps_to_the_account(void **state) {
    taker_begin(31, 1000);
    hub.account.batch_max = 30;
    hub_up();
    things_new(3000);
    taker_settle();
    assert_int_equal(once(), wanted_of("thing.made"));
    assert_int_equal(taker.largest, 30);
    assert_int_equal(taker.refused, 0);
    assert_in_range(taker.calls, wanted_of("thing.made") / 30, wanted_of("thing.made") / 25);
    hub_crash();
    hub_free();
}

/* The calls of a batch are calls of the account like all others: its rate holds. */
static void a_batch_goes_at_the_pace_of_the_account(void **state) {
    taker_begin(32, 1000);
    hub.account.limits = (struct governor_limits){.calls = 2, .per_ms = 1000, .burst = 1};
    hub.account.batch_max = 10;
    hub_up();
    int64_t began_us = tick_us;
    things_new(3000);
    taker_settle(); /* 100 s */
    assert_in_range(taker.calls, 190, (tick_us - began_us) / 500000 + 1);
    assert_int_equal(once(), taker.calls * 10);
    hub_crash();
    hub_free();
}

static void what_is_too_large_goes_in_smaller_calls(void **state) {
    taker_begin(33, 37);
    hub_up();
    things_new(8000);
    taker_settle();
    assert_int_equal(once(), wanted_of("thing.made"));
    assert_int_equal(wanted_of("delivery.held"), 0);
    struct deliver_stats stats;
    deliver_stats(hub.deliver, 0, &stats);
    assert_int_equal(stats.failed, 0);
    assert_in_range(stats.batch_members, 37 / 2, 37);
    assert_in_range(taker.refused, 2, 40); /* four at once each time: found out, and tried again now and then */
    assert_true(taker.calls < wanted_of("thing.made") / 25);
    taker.most = 1000; /* it takes more again */
    things_new(9000);
    taker_settle();
    deliver_stats(hub.deliver, 0, &stats);
    assert_true(stats.batch_members > 37);
    assert_int_equal(once(), wanted_of("thing.made"));
    hub_crash();
    hub_free();
}

static void one_that_is_too_large_alone_is_held(void **state) {
    taker_begin(34, 1000);
    taker.large_key = true;
    hub_up();
    things_new(500);
    for (int i = 0; i < 500; i++) {
        thing_new(20);
        core_step(hub.core);
    }
    taker_settle();
    uint32_t of_key = 0;
    for (uint32_t i = 0; i < memory.count; i++)
        of_key += str_is(memory.records[i].type, "thing.made") && str_is(memory.records[i].subject, "k13");
    assert_true(of_key > 0);
    assert_int_equal(wanted_of("delivery.held"), 1);
    assert_int_equal(once(), wanted_of("thing.made") - of_key);
    hub_crash();
    hub_free();
}
