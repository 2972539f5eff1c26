/* The writer's queue: lanes by class, a share for each, bulk beside others, room, waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/queue_priv.h"

static struct command commands[4096];
static uint32_t made;

static void put(struct queue *queue, enum traffic_class traffic, uint32_t count, int64_t at_us) {
    for (uint32_t i = 0; i < count; i++) {
        struct command *command = &commands[made++];
        assert_true(made <= sizeof commands / sizeof commands[0]);
        *command = (struct command){.traffic = traffic, .queued_us = at_us};
        queue_put(queue, command);
    }
}

/* Takes; counts by class, and checks that each lane keeps its order and that lanes come in theirs. */
static uint32_t take(struct queue *queue, uint32_t max, int64_t now_us,
                     uint32_t counts[TRAFFIC_CLASSES]) {
    uint32_t count, n = 0;
    struct command *last[TRAFFIC_CLASSES] = {0};
    for (int i = 0; i < TRAFFIC_CLASSES; i++)
        counts[i] = 0;
    for (struct command *c = queue_take(queue, max, now_us, &count); c; c = c->next, n++) {
        assert_true(!last[c->traffic] || last[c->traffic] < c);
        last[c->traffic] = c;
        counts[c->traffic]++;
        if (c->next && c->next->traffic != c->traffic)
            assert_int_equal(counts[c->next->traffic], 0);
    }
    assert_int_equal(n, count);
    assert_true(count <= max);
    return count;
}

static void test_the_most_important_come_first_and_all_get_a_share(void **state) {
    struct queue queue;
    uint32_t counts[TRAFFIC_CLASSES], bulk = 0, stock = 0;
    queue_init(&queue);
    made = 0;
    put(&queue, CLASS_BULK, 1000, 0);
    put(&queue, CLASS_STOCK, 500, 0);
    put(&queue, CLASS_CHECKOUT, 1000, 0);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(take(&queue, 128, 10, counts), 128);
        assert_true(counts[CLASS_CHECKOUT] >= 96);
        bulk += counts[CLASS_BULK];
        stock += counts[CLASS_STOCK];
    }
    assert_int_equal(bulk, 8 * 8); /* one in sixteen, each */
    assert_int_equal(stock, 8 * 8);
}

static void test_bulk_beside_others_keeps_commits_short(void **state) {
    struct queue queue;
    uint32_t counts[TRAFFIC_CLASSES];
    queue_init(&queue);
    made = 0;
    put(&queue, CLASS_BULK, 3000, 0);
    take(&queue, 1024, 10, counts); /* alone: as many as fit */
    assert_int_equal(counts[CLASS_BULK], 1024);
    put(&queue, CLASS_CHECKOUT, 3, 0);
    take(&queue, 1024, 10, counts);
    assert_int_equal(counts[CLASS_CHECKOUT], 3);
    assert_int_equal(counts[CLASS_BULK], 128);
    take(&queue, 1024, 10, counts); /* others were there just now */
    assert_int_equal(counts[CLASS_BULK], 128);
    for (int i = 0; i < 6; i++)
        take(&queue, 128, 10, counts);
    take(&queue, 1024, 10, counts);
    assert_true(counts[CLASS_BULK] > 128);
}

static void test_a_batch_of_one_starves_nobody_important(void **state) {
    struct queue queue;
    uint32_t counts[TRAFFIC_CLASSES];
    queue_init(&queue);
    made = 0;
    put(&queue, CLASS_CHECKOUT, 2, 0);
    put(&queue, CLASS_BULK, 2, 0);
    assert_int_equal(take(&queue, 1, 0, counts), 1);
    assert_int_equal(counts[CLASS_CHECKOUT], 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(take(&queue, 1, 0, counts), 1);
    assert_int_equal(take(&queue, 1, 0, counts), 0);
    assert_int_equal(queue.count, 0);
}

static void test_the_less_important_leave_room(void **state) {
    struct queue queue;
    queue_init(&queue);
    made = 0;
    put(&queue, CLASS_BULK, 50, 0);
    assert_false(queue_has_room(&queue, CLASS_BULK, 0, 100));
    assert_true(queue_has_room(&queue, CLASS_CATALOGUE, 0, 100));
    assert_false(queue_has_room(&queue, CLASS_CATALOGUE, 15, 100)); /* what is being loaded counts */
    assert_true(queue_has_room(&queue, CLASS_CHECKOUT, 49, 100));
    assert_false(queue_has_room(&queue, CLASS_CHECKOUT, 50, 100));
}

static void test_the_shortest_wait_is_told_once(void **state) {
    struct queue queue;
    int64_t waits[TRAFFIC_CLASSES];
    uint32_t counts[TRAFFIC_CLASSES];
    queue_init(&queue);
    made = 0;
    queue_delays(&queue, 500, waits);
    assert_int_equal(waits[CLASS_CHECKOUT], 0);
    put(&queue, CLASS_CHECKOUT, 1, 1000);
    take(&queue, 10, 1700, counts);
    put(&queue, CLASS_CHECKOUT, 1, 2000);
    take(&queue, 10, 2300, counts);
    put(&queue, CLASS_BULK, 1, 2000);
    queue_delays(&queue, 9000, waits);
    assert_int_equal(waits[CLASS_CHECKOUT], 300);
    assert_int_equal(waits[CLASS_BULK], 7000); /* not taken at all: how long it waits by now */
    queue_delays(&queue, 9000, waits);
    assert_int_equal(waits[CLASS_CHECKOUT], 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_most_important_come_first_and_all_get_a_share),
        cmocka_unit_test(test_bulk_beside_others_keeps_commits_short),
        cmocka_unit_test(test_a_batch_of_one_starves_nobody_important),
        cmocka_unit_test(test_the_less_important_leave_room),
        cmocka_unit_test(test_the_shortest_wait_is_told_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
