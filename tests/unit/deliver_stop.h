/* The part of test_deliver.c about subscriptions that stand still; it uses what is above its place there. */
static bool held_first(void *ctx, const struct progress_row *row) {
    if (!progress_row_held(row))
        return true;
    *(uint64_t *)ctx = row->seq;
    return false;
}
static uint64_t held_any(void) {
    uint64_t seq = 0;
    struct fault fault = {0};
    assert_int_equal(deliver_held(hub.deliver, STR_NONE, 0, 1000, held_first, &seq, &fault), OK);
    return seq;
}

struct switching {
    bool stop;
    enum err err;
};
static void switch_call(void *ctx) {
    struct switching *s = ctx;
    struct fault fault = {0};
    s->err = s->stop ? deliver_subscription_stop(hub.deliver, STR("erp-things"), STR("key_1"), STR("test"), &fault)
                     : deliver_subscription_start(hub.deliver, STR("erp-things"), STR("key_1"), STR("mended"),
                                                  &fault);
}
static enum err switched(bool stop) {
    struct switching s = {.stop = stop};
    beside(switch_call, &s, hub_step);
    return s.err;
}

static void a_share_of_failures_is_counted(void **state) {
    struct connector_stop policy = {.share = 200000000, .of_last = 10, .at_least = 5};
    struct stop_window window = {0};
    assert_false(stop_window_add(&window, NULL, true));
    for (int i = 0; i < 4; i++) /* too few have ended */
        assert_false(stop_window_add(&window, &policy, true));
    assert_true(stop_window_add(&window, &policy, true));
    for (int i = 0; i < 9; i++)
        assert_false(stop_window_add(&window, &policy, false));
    assert_int_equal(window.held, 1); /* of the last ten: the others are forgotten */
    assert_false(stop_window_add(&window, &policy, false));
    assert_false(stop_window_add(&window, &policy, true));
    assert_false(stop_window_add(&window, &policy, true)); /* 2 of 10 is the share, and not more */
    assert_true(stop_window_add(&window, &policy, true));
    policy.share = 1000000000; /* 1: never */
    for (int i = 0; i < 50; i++)
        assert_false(stop_window_add(&window, &policy, true));
    policy.of_last = 3; /* fewer than before: from the beginning */
    assert_false(stop_window_add(&window, &policy, true));
    assert_int_equal(window.count, 1);
}

/* Every key is refused: it stops after a few, and what comes waits in the journal; over ends of the
 * process; what is started goes on in order, and nothing is missing. */
static void what_fails_stops_itself(void **state) {
    struct connector_stop policy = {.share = 500000000, .of_last = 20, .at_least = 5};
    struct deliver_stats stats;
    hub_init(23);
    hub.send.stop = &policy;
    hub_up();
    for (int i = 0; i < 40; i++)
        thing_new(60);
    settle();
    uint64_t good = remote.posts;
    assert_true(good > 20);
    remote.fail_all = true; /* a wrong deployment: nothing is understood any more */
    for (int i = 0; i < 300; i++)
        thing_new(60);
    settle();
    deliver_stats(hub.deliver, 0, &stats);
    assert_true(stats.stopped);
    assert_int_equal(stats.stop.why, STOP_FAILURES);
    assert_non_null(strstr(stats.stop.cause, "deliveries were held"));
    uint32_t held = stats.held;
    assert_in_range(held, 10, 10 + 4 + 1); /* more than half of 20, and what was under way */
    assert_int_equal(wanted_of("subscription.stopped"), 1);
    assert_int_equal(wanted_of("exception.raised"), 1);
    assert_true(stats.behind > 200);
    assert_in_range(stats.oldest_us, INT64_C(1790000000000000), fake_now(NULL));
    hub_crash();
    hub_up();
    for (int i = 0; i < 50; i++)
        thing_new(60);
    settle();
    deliver_stats(hub.deliver, 0, &stats);
    assert_true(stats.stopped);
    assert_int_equal(stats.held, held); /* nothing more was tried */
    assert_int_equal(wanted_of("subscription.stopped"), 1);
    assert_int_equal(switched(true), ERR_CONFLICT);
    /* mended: a person starts it, and lets go what was held */
    remote.fail_all = false;
    assert_int_equal(switched(false), OK);
    assert_int_equal(switched(false), ERR_CONFLICT);
    for (uint64_t seq; (seq = held_any()) != 0;) {
        assert_int_equal(decision(seq, false), OK);
        settle();
    }
    settle();
    assert_int_equal(wanted_of("subscription.started"), 1);
    assert_int_equal(wanted_of("exception.resolved"), 1);
    assert_true(all_done());
    check_books();
    /* a person stops it: nothing goes; and starts it after the end of a process */
    assert_int_equal(switched(true), OK);
    uint32_t posts = remote.posts;
    for (int i = 0; i < 20; i++)
        thing_new(5);
    settle();
    assert_int_equal(remote.posts, posts);
    hub_crash();
    hub_up();
    assert_int_equal(switched(false), OK);
    settle();
    assert_true(all_done());
    check_books();
    assert_int_equal(wanted_of("exception.raised"), 1);
    hub_crash();
    hub_free();
}
