/* Payloads handed from the door to the workers in memory: bounds of that, and that what is processed is
 * the same with it and without, sealed, erased, sent twice and after a restart. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../support/partner.h"
#include "../support/temp.h"
#include "base/mem.h"
#include "connect/parcel.h"
#include "store/persons.h"

/* --- the table ------------------------------------------------------------------------------ */

static struct id128 id_of(uint32_t n) {
    struct id128 id = {{0}};
    memcpy(id.bytes + 8, &n, sizeof n);
    return id;
}

static void put(struct parcels *parcels, uint32_t n, size_t bytes, int64_t now_us) {
    struct parcel *parcel = parcel_create();
    assert_non_null(arena_bytes(&parcel->arena, bytes));
    parcels_put(parcels, parcel, id_of(n), now_us);
}

static bool take(struct parcels *parcels, uint32_t n) {
    struct parcel *parcel = parcels_take(parcels, id_of(n));
    bool found = parcel != NULL;
    if (found)
        assert_memory_equal(parcel->id.bytes, id_of(n).bytes, sizeof parcel->id.bytes);
    parcel_free(parcel);
    return found;
}

static void test_count(void **state) {
    struct parcels *parcels;
    struct fault fault = {0};
    assert_int_equal(parcels_create(&parcels, &fault), OK);
    for (uint32_t n = 0; n < PARCELS_MAX + 5; n++)
        put(parcels, n, 16, 100);
    for (uint32_t n = PARCELS_MAX; n < PARCELS_MAX + 5; n++)
        assert_false(take(parcels, n)); /* no room: not kept */
    assert_true(take(parcels, 7));
    assert_false(take(parcels, 7)); /* once */
    put(parcels, 5000, 16, 100);
    assert_false(take(parcels, 5000)); /* the gap is not at the beginning */
    assert_true(take(parcels, 0));
    put(parcels, 5001, 16, 100);
    assert_true(take(parcels, 5001));
    for (uint32_t n = 1; n < PARCELS_MAX; n++)
        assert_int_equal(take(parcels, n), n != 7);
    assert_int_equal(parcels_sweep(parcels, 100), INT64_MAX);
    parcels_release(parcels);
}

static void test_bytes(void **state) {
    struct parcels *parcels;
    struct fault fault = {0};
    assert_int_equal(parcels_create(&parcels, &fault), OK);
    put(parcels, 1, PARCELS_BYTES - 1000, 0);
    put(parcels, 2, 2000, 0);
    assert_false(take(parcels, 2));
    put(parcels, 3, 100, PARCEL_KEEP_US); /* by then the first is too old */
    assert_false(take(parcels, 1));
    assert_true(take(parcels, 3));
    put(parcels, 4, PARCELS_BYTES - 1000, PARCEL_KEEP_US);
    assert_true(take(parcels, 4));
    put(parcels, 5, 64, 0);
    parcels_release(parcels_share(parcels));
    assert_true(take(parcels, 5));
    put(parcels, 6, 64, 0);
    parcels_release(parcels); /* with what is in it */
}

/* Against a list that is searched from its beginning. */
static void test_model(void **state) {
    enum { IDS = 40 };
    struct rng_seeded rng;
    struct parcels *parcels;
    struct fault fault = {0};
    int64_t put_us[IDS], now_us = 1;
    rng_seeded_init(&rng, 11);
    assert_int_equal(parcels_create(&parcels, &fault), OK);
    for (uint32_t i = 0; i < IDS; i++)
        put_us[i] = -1;
    for (int round = 0; round < 20000; round++) {
        uint32_t n = (uint32_t)rng_below(&rng.rng, IDS);
        uint64_t what = rng_below(&rng.rng, 8);
        if (what == 0)
            now_us += (int64_t)rng_below(&rng.rng, (uint64_t)PARCEL_KEEP_US / 8);
        if (what <= 4 && put_us[n] < 0) {
            put(parcels, n, 16, now_us);
            put_us[n] = now_us;
        } else if (what > 4) {
            bool there = take(parcels, n);
            if (put_us[n] < 0 || now_us - put_us[n] < PARCEL_KEEP_US)
                assert_int_equal(there, put_us[n] >= 0); /* what is too old may be there still */
            put_us[n] = -1;
        }
        int64_t oldest_us = INT64_MAX, next_us = parcels_sweep(parcels, now_us);
        for (uint32_t i = 0; i < IDS; i++) {
            if (put_us[i] >= 0 && now_us - put_us[i] >= PARCEL_KEEP_US)
                put_us[i] = -1;
            if (put_us[i] >= 0 && put_us[i] < oldest_us)
                oldest_us = put_us[i];
        }
        assert_int_equal(next_us, oldest_us == INT64_MAX ? INT64_MAX : oldest_us + PARCEL_KEEP_US);
    }
    parcels_release(parcels);
}

/* Two doors and a worker at once: each parcel is taken once at most, whole, and none is lost but for room. */
enum { DOORS = 2, EACH = 20000 };
struct door {
    struct parcels *parcels;
    uint32_t first;
    _Atomic uint32_t *put; /* so many were handed over */
};

static void *door_run(void *arg) {
    struct door *door = arg;
    for (uint32_t n = 0; n < EACH; n++) {
        put(door->parcels, door->first + n, 16 + n % 5000, n);
        atomic_fetch_add(door->put, 1);
    }
    return NULL;
}

static void test_threads(void **state) {
    struct parcels *parcels;
    struct fault fault = {0};
    pthread_t threads[DOORS];
    struct door doors[DOORS];
    _Atomic uint32_t handed = 0;
    uint32_t next[DOORS] = {0}, taken = 0;
    assert_int_equal(parcels_create(&parcels, &fault), OK);
    for (uint32_t d = 0; d < DOORS; d++) {
        doors[d] = (struct door){parcels, d * EACH, &handed};
        assert_int_equal(pthread_create(&threads[d], NULL, door_run, &doors[d]), 0);
    }
    while (atomic_load(&handed) < DOORS * EACH)
        for (uint32_t d = 0; d < DOORS; d++)
            if (next[d] < EACH && take(parcels, d * EACH + next[d])) {
                taken++;
                next[d]++;
            } else if (next[d] + PARCELS_MAX < EACH && atomic_load(&handed) > DOORS * (next[d] + PARCELS_MAX)) {
                next[d]++; /* it came when there was no room */
            }
    for (uint32_t d = 0; d < DOORS; d++)
        assert_int_equal(pthread_join(threads[d], NULL), 0);
    for (uint32_t n = 0; n < DOORS * EACH; n++)
        taken += take(parcels, n);
    assert_in_range(taken, 1, DOORS * EACH);
    assert_int_equal(parcels_sweep(parcels, 0), INT64_MAX);
    parcels_release(parcels);
}

/* --- in the hub ------------------------------------------------------------------------------ */

static const struct partner_file files[] = {
    {"connector.yaml", "connector: shop\nversion: \"1\"\nowner: ecommerce\n"
                       "receive:\n"
                       "  - topic: orders\n    signature: {scheme: none}\n    key: {member: id}\n"
                       "    dedup: {member: event}\n    mapping: order.lua\n    command: order.capture\n"},
    {"order.lua", "return function(doc)\n"
                  "  local n = money(doc.price, 'EUR')\n"
                  "  return {channel = 'web-de', channel_order_id = tostring(doc.id),\n"
                  "    placed_at = '2026-11-23T09:15:00Z', currency = 'EUR',\n"
                  "    customer = {name = doc.name, email = doc.email},\n"
                  "    lines = {{sku = 'A', quantity = '1', unit_price = n, total = n}},\n"
                  "    totals = {grand = n}}\nend\n"},
};

struct hub {
    struct cell cell;
    struct partner partner;
    struct keyring *keyring;
    char *folder;
};

static int hub_open(void **state) {
    struct hub *hub = mem_zalloc(sizeof *hub);
    char path[4096];
    struct fault fault = {0};
    hub->folder = temp_folder();
    snprintf(path, sizeof path, "%s/persons.db", hub->folder);
    struct persons_options options = {.path = path, .clock = &clock_system, .rng = &rng_system, .ready = 1};
    if (persons_open(&options, &hub->keyring, &fault) != OK)
        return -1;
    cell_open_sealed(&hub->cell, 1, hub->keyring);
    *state = hub;
    return partner_open(&hub->partner, &hub->cell, "shop", files, sizeof files / sizeof *files) ? 0 : -1;
}

static int hub_close(void **state) {
    struct hub *hub = *state;
    partner_close(&hub->partner);
    cell_close(&hub->cell);
    keyring_close(hub->keyring);
    temp_remove(hub->folder);
    mem_free(hub);
    return 0;
}

#define BODY(id) "{\"event\":\"e" #id "\",\"id\":" #id ",\"price\":\"19.99\",\"name\":\"Zo\\u00eb \\\"Z\\\" Quist\"," \
                 "\"email\":\"zoe@example.org\"}"

static uint64_t opened(const struct hub *hub) {
    struct persons_stats stats;
    persons_stats(hub->keyring, &stats);
    return stats.found;
}

static uint32_t captured(const struct hub *hub) { return partner_events(&hub->partner, "order.captured", ""); }

/* The order's personal part, opened; in the arena. */
static struct str customer_of(struct hub *hub, const char *type) {
    const struct journal_mem *journal = &hub->cell.journal;
    struct event_meta meta;
    struct str text = STR_NONE;
    for (uint32_t i = journal->count; i > 0 && !text.ptr; i--)
        if (str_is(journal->records[i - 1].type, type)) {
            assert_int_equal(event_meta_load(journal->records[i - 1].meta, hub->cell.parser, &hub->cell.arena,
                                             &meta, NULL), OK);
            assert_int_equal(seal_open(hub->keyring, &meta, &hub->cell.arena, &text, NULL), OK);
        }
    return text;
}

/* Nobody has them any more, as after a long while. */
static void lose(struct hub *hub) {
    assert_int_equal(parcels_sweep(hub->partner.connectors->parcels, INT64_MAX), INT64_MAX);
}

static void test_same(void **state) {
    struct hub *hub = *state;
    partner_send(&hub->partner, "orders", BODY(1));
    partner_settle(&hub->partner);
    assert_int_equal(captured(hub), 1);
    assert_int_equal(opened(hub), 0); /* the box stayed closed */
    struct str handed = customer_of(hub, "order.captured");
    assert_true(memmem(handed.ptr, handed.len, "Zoë \\\"Z\\\" Quist", 15) != NULL);
    handed.ptr = strndup(handed.ptr, handed.len);

    uint64_t before = opened(hub);
    partner_send(&hub->partner, "orders", BODY(2));
    lose(hub);
    partner_settle(&hub->partner);
    assert_int_equal(captured(hub), 2);
    assert_int_equal(opened(hub), before + 1);
    assert_true(str_eq(customer_of(hub, "order.captured"), handed));
    free((char *)(uintptr_t)handed.ptr);
}

/* What is no JSON on one line is stored otherwise, and read from there. */
static void test_lines(void **state) {
    struct hub *hub = *state;
    partner_send(&hub->partner, "orders",
                 "{\"event\":\"e1\",\"id\":1,\n\"price\":\"1.00\",\"name\":\"A\",\"email\":\"a@b.org\"}");
    partner_settle(&hub->partner);
    assert_int_equal(captured(hub), 1);
    assert_int_equal(opened(hub), 1);
    assert_int_equal(parcels_sweep(hub->partner.connectors->parcels, hub->cell.now_us), INT64_MAX);
}

/* Erased between door and worker: it is gone, though it is in memory still. */
static void test_erased(void **state) {
    struct hub *hub = *state;
    struct event_meta meta;
    partner_send(&hub->partner, "orders", BODY(1));
    assert_int_equal(event_meta_load(hub->cell.journal.records[0].meta, hub->cell.parser, &hub->cell.arena, &meta,
                                     NULL), OK);
    uint64_t key = (uint64_t)meta.key;
    assert_int_equal(hub->keyring->ops->destroy(hub->keyring, &key, 1, 1, NULL), OK);
    partner_settle(&hub->partner);
    assert_int_equal(captured(hub), 0);
    assert_int_equal(partner_events(&hub->partner, "exception.raised", "was erased"), 1);
}

/* The one that came second is not processed, and its parcel does not stay. */
static void test_twice(void **state) {
    struct hub *hub = *state;
    partner_send(&hub->partner, "orders", BODY(1));
    partner_settle(&hub->partner);
    partner_send(&hub->partner, "orders", BODY(1));
    partner_settle(&hub->partner);
    assert_int_equal(captured(hub), 1);
    struct parcels *parcels = hub->partner.connectors->parcels;
    assert_int_equal(parcels_sweep(parcels, hub->cell.now_us), hub->cell.now_us + PARCEL_KEEP_US);
    hub->cell.now_us += PARCEL_KEEP_US;
    inbound_step(hub->partner.inbound);
    assert_int_equal(parcels_sweep(parcels, INT64_MIN), INT64_MAX);
}

static void test_crash(void **state) {
    struct hub *hub = *state;
    for (int crash = 0; crash < 2; crash++) {
        partner_send(&hub->partner, "orders", crash ? BODY(2) : BODY(1));
        if (crash)
            lose(hub);
        partner_again(&hub->partner, true);
        partner_settle(&hub->partner);
        assert_int_equal(captured(hub), crash + 1);
    }
    partner_again(&hub->partner, true);
    partner_settle(&hub->partner);
    assert_int_equal(captured(hub), 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_count),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_threads),
        cmocka_unit_test_setup_teardown(test_same, hub_open, hub_close),
        cmocka_unit_test_setup_teardown(test_lines, hub_open, hub_close),
        cmocka_unit_test_setup_teardown(test_erased, hub_open, hub_close),
        cmocka_unit_test_setup_teardown(test_twice, hub_open, hub_close),
        cmocka_unit_test_setup_teardown(test_crash, hub_open, hub_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
