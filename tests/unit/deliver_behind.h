/* A part of test_deliver: what is told of a subscription that is behind. */
/* While nobody is there: how many of those it wants wait, of what size, since when; then how fast it drains. */
static void how_far_behind_is_told(void **state) {
    struct deliver_stats stats;
    hub_init(3);
    remote.down = true;
    hub.config.settings.deliver_window = 64;
    hub_up();
    while (hub.made < 3000) {
        thing_new(20);
        core_step(hub.core);
    }
    int64_t since_us = tick_us;
    for (int i = 0; i < 4000; i++)
        hub_step();
    uint32_t wanted = wanted_of("thing.made");
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < memory.count; i++)
        if (str_is(memory.records[i].type, "thing.made"))
            bytes += backlog_bytes_of(&memory.records[i]);
    deliver_stats(hub.deliver, 0, &stats);
    assert_true(stats.behind_known && stats.behind_estimated);
    assert_int_equal(stats.behind, memory.count);
    assert_in_range(stats.behind_events, wanted * 9 / 10, wanted * 11 / 10);
    assert_in_range(stats.behind_bytes, bytes * 9 / 10, bytes * 11 / 10);
    assert_in_range(stats.oldest_age_us, tick_us - since_us, tick_us + 1);
    assert_int_equal(stats.done_in_us, -1);
    assert_int_equal(stats.done_us, 0);
    remote.down = false;
    bool paced = false;
    for (int i = 0; i < 400000 && !all_done(); i++) {
        hub_step();
        deliver_stats(hub.deliver, 0, &stats);
        paced = paced || (stats.drain_events_per_s > 0 && stats.drain_per_s > 0 && stats.done_in_us > 0 &&
                          stats.done_us > fake_now(NULL));
    }
    assert_true(paced);
    for (int i = 0; i < 1000; i++)
        hub_step();
    deliver_stats(hub.deliver, 0, &stats);
    assert_int_equal(stats.behind_events + stats.behind_bytes, 0);
    assert_false(stats.behind_estimated);
    assert_int_equal(stats.oldest_age_us + stats.done_in_us, 0);
    tick_us += INT64_C(3600000000); /* an hour without a round: what was the pace is none any more */
    deliver_stats(hub.deliver, 0, &stats);
    assert_int_equal(stats.drain_events_per_s + stats.rate_per_s, 0);
    hub_crash();
    hub_free();
}

/* What is to be sent is in an archive that has to be unpacked first: that is asked for, and delivery turns on. */
static void nobody_waits_for_an_archive(void **state) {
    struct deliver_stats stats;
    hub_init(5);
    remote.down = true;
    hub_up();
    while (hub.made < 600) {
        thing_new(20);
        core_step(hub.core);
    }
    for (int i = 0; i < 500; i++)
        hub_step();
    hub_crash();
    remote.down = false;
    hub_up(); /* nothing of it is in memory now */
    memory.cold_to = memory.count;
    int64_t began_us = tick_us;
    for (int i = 0; i < 2000; i++)
        hub_step();
    assert_in_range(memory.brought, 10, (tick_us - began_us) / DELIVER_COLD_US + 1); /* it does not spin */
    deliver_stats(hub.deliver, 0, &stats);
    assert_int_equal(stats.behind, memory.count);
    memory.cold_to = 0;
    for (int i = 0; i < 400000 && !all_done(); i++)
        hub_step();
    check_books();
    hub_crash();
    hub_free();
}
