/* The part of test_deliver.c about versions of the connector; it uses what is above its place there. */
/* A version with memory of its own, which is gone with its last user; `wanted` false: a set in which
 * no connector has the subscription. */
static const struct connectors *version_make(bool wanted) {
    struct connector_own *own = mem_zalloc(sizeof *own);
    struct connectors *set = connectors_create(1);
    own->users = 1;
    arena_init(&own->arena, 0);
    own->sources = mapping_sources_create();
    struct connector *connector = arena_new(&own->arena, struct connector);
    struct connector_send *send = arena_new(&own->arena, struct connector_send);
    struct connector_request *request = arena_new(&own->arena, struct connector_request);
    *connector = hub.connector;
    *send = hub.send;
    *request = hub.request;
    connector->own = own;
    connector->name = arena_str(&own->arena, hub.connector.name);
    send->subscription = arena_str(&own->arena, hub.send.subscription);
    send->connector = connector;
    send->request = request;
    request->url = arena_str(&own->arena, hub.request.url);
    send->enabled = chance(80);
    send->limits = arena_new(&own->arena, struct connector_limits);
    send->limits->concurrency = 1 + (int64_t)rng_below(&dice.rng, 6);
    connector->send = wanted ? (struct shape_list){send, 1} : (struct shape_list){0};
    set->items[set->count++] = connector;
    return set;
}

static void version_next(bool wanted) {
    const struct connectors *set = version_make(wanted);
    deliver_renew(hub.deliver, set);
    connectors_release(set);
}

/* In the end it is there and enabled. */
static void version_last(void) {
    struct deliver_stats stats;
    do {
        version_next(true);
        deliver_step(hub.deliver);
    } while (!deliver_stats(hub.deliver, 0, &stats) || !stats.usable);
}

/* Versions come, change and go while things are under way: nothing is lost, nothing comes twice, the
 * order of each key stands, and what nobody uses any more is freed. */
static void run_with_versions(uint64_t seed, bool crashes, bool script) {
    hub_init(seed);
    if (script)
        hub_script();
    remote.drop = (uint32_t)rng_below(&dice.rng, 30);
    remote.fail = (uint32_t)rng_below(&dice.rng, 30);
    hub.config.settings.deliver_window = 16 + (int64_t)rng_below(&dice.rng, 40);
    hub_up();
    uint32_t total = 200;
    bool last = false;
    for (int i = 0; i < 400000; i++) {
        if (hub.made < total && chance(20))
            thing_new(12);
        if (hub.made == total && !last) {
            version_last();
            last = true;
        }
        if (last && all_done())
            break;
        if (!last && chance(4))
            version_next(chance(80));
        hub_step();
        if (crashes && chance(1) && chance(40)) {
            hub_crash();
            hub_up();
            last = false;
        }
    }
    assert_true(all_done());
    check_books();
    struct deliver_stats stats;
    assert_true(deliver_stats(hub.deliver, 0, &stats));
    if (!crashes) /* a version costs no look-up, no second attempt */
        assert_int_equal(deliver_count(hub.deliver), 1);
    hub_crash();
    hub_free();
}

static void versions_come_and_go(void **state) {
    for (uint64_t seed = 1; seed <= 10; seed++) {
        run_with_versions(seed, false, false);
        run_with_versions(seed + 100, true, seed % 2);
        run_with_versions(seed + 200, false, true);
    }
}

/* Without a look-up and without a key at the remote, a second post would be a second effect. */
static void a_new_version_posts_nothing_again(void **state) {
    hub_init(5);
    hub.send.lookup = NULL;
    hub_up();
    for (int i = 0; i < 300; i++) {
        thing_new(20);
        if (i % 7 == 0)
            version_next(i % 3 != 0);
        hub_step();
    }
    version_last();
    for (int i = 0; i < 20000 && !(memory.count > 300 && all_done()); i++)
        hub_step();
    assert_true(all_done());
    assert_int_equal(remote.posts, wanted_of("thing.made"));
    check_books();
    hub_crash();
    hub_free();
}
