/* Lanes where the newest of a key is all that counts: what supersedes what, the window counted in keys,
 * several keys of one event, a batch that ends together; then all of it at random, with a store of rows and
 * crashes, against a model that knows the newest of each key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "deliver/lane.h"

static struct rng_seeded rng;
#define KEYS 40 /* of the random runs */

static struct lane_policy policy(void) {
    struct lane_policy p = {.window_max = 4 * KEYS, .listed_max = 100, .concurrency = 8, .conflate = true};
    for (int i = LANE_RETRYABLE; i <= LANE_UNREACHABLE; i++)
        p.again[i] = (struct lane_schedule){.first_ms = 100, .max_ms = 1000, .factor = 2};
    p.again[LANE_UNREACHABLE].max_ms = 500;
    return p;
}

static struct lanes *lanes_new(void) {
    struct lane_policy p = policy();
    rng_seeded_init(&rng, 7);
    struct lanes *lanes = lanes_create(&p, &rng.rng, 0, 0);
    assert_non_null(lanes);
    return lanes;
}

static enum lane_added put(struct lanes *lanes, uint64_t seq, const char *key, struct lane_before *before) {
    struct lane_before ignored;
    return lanes_put(lanes, &(struct lane_event){.seq = seq, .key = str_c(key)}, 0, before ? before : &ignored);
}

static struct lane_job take(struct lanes *lanes, int64_t now_us, uint64_t seq) {
    struct lane_job job;
    assert_true(lanes_take(lanes, now_us, &job));
    assert_int_equal(job.seq, seq);
    return job;
}

static void none(void *ctx, uint64_t seq) {}

static void balanced(const struct lanes *lanes) {
    const struct lane_ledger *is = lanes_ledger(lanes);
    assert_int_equal(is->taken, is->delivered + is->discarded + is->superseded + is->listed + is->waiting);
}

static void the_newest_waits_in_the_turn_of_the_oldest(void **state) {
    struct lanes *lanes = lanes_new();
    for (uint64_t seq = 1; seq <= 1000; seq++) /* far more than the window has places */
        assert_int_equal(put(lanes, seq, seq % 2 ? "a" : "b", NULL), LANE_ADDED);
    assert_int_equal(lanes_cursor(lanes), 998);
    assert_int_equal(lanes_ledger(lanes)->superseded, 998);
    struct lane_job a = take(lanes, 0, 999), b = take(lanes, 0, 1000);
    assert_int_equal(put(lanes, 1001, "a", NULL), LANE_ADDED); /* 999 is out: behind it */
    assert_int_equal(put(lanes, 1002, "a", NULL), LANE_ADDED); /* in place of 1001 */
    assert_int_equal(lanes_end(lanes, b.lane, LANE_SUCCESS, -1, 0), LANE_DONE);
    assert_int_equal(lanes_cursor(lanes), 998);
    assert_int_equal(lanes_end(lanes, a.lane, LANE_SUCCESS, -1, 0), LANE_DONE);
    assert_int_equal(lanes_cursor(lanes), 1001);
    take(lanes, 0, 1002);
    assert_int_equal(lanes_ledger(lanes)->superseded, 999);
    balanced(lanes);
    lanes_destroy(lanes);
}

static void what_may_have_been_sent_is_not_forgotten(void **state) {
    struct lanes *lanes = lanes_new();
    struct lane_before before;
    struct lane_event old = {.seq = 1, .key = STR("a"), .lookup = true};
    assert_int_equal(lanes_put(lanes, &old, 0, &before), LANE_ADDED);
    assert_int_equal(put(lanes, 2, "a", NULL), LANE_ADDED);
    struct lane_job job = take(lanes, 0, 2);
    assert_true(job.lookup);
    assert_int_equal(put(lanes, 3, "a", NULL), LANE_ADDED);
    assert_int_equal(lanes_end(lanes, job.lane, LANE_FINAL, -1, 0), LANE_RETRY); /* 3 goes in its place */
    assert_int_equal(lanes_seq(lanes, job.lane), 3);
    assert_int_equal(lanes_cursor(lanes), 2);
    assert_false(lanes_take(lanes, 1000, &job)); /* not at once: this key just failed */
    job = take(lanes, 100000, 3);
    assert_true(job.lookup);
    assert_int_equal(job.attempt, 2);
    balanced(lanes);
    lanes_destroy(lanes);
}

static void a_held_one_gives_way(void **state) {
    struct lanes *lanes = lanes_new();
    struct lane_before before = {0};
    put(lanes, 1, "a", NULL);
    struct lane_job job = take(lanes, 0, 1);
    assert_int_equal(lanes_end(lanes, job.lane, LANE_FINAL, -1, 0), LANE_HOLD);
    lanes_list(lanes, job.lane, true, none, NULL);
    assert_int_equal(put(lanes, 5, "a", &before), LANE_SUPERSEDES);
    assert_true(before.held);
    assert_int_equal(before.seq, 1); /* its row stays until the journal knows */
    assert_int_equal(lanes_counts(lanes).held, 0);
    assert_int_equal(put(lanes, 7, "a", &before), LANE_SUPERSEDES);
    assert_false(before.held);
    assert_int_equal(before.seq, 4); /* 5 goes */
    lanes_superseded(lanes, 2);
    assert_false(lanes_take(lanes, 150000, &job)); /* its failures have come to a pause */
    job = take(lanes, 200000, 7);
    assert_true(job.listed);
    assert_int_equal(lanes_end(lanes, job.lane, LANE_SUCCESS, -1, 0), LANE_DONE);
    lanes_refill(lanes, job.lane, 0);
    balanced(lanes);
    assert_int_equal(lanes_ledger(lanes)->superseded, 2);
    lanes_destroy(lanes);
}

static void an_event_of_several_keys_is_read_with_its_last(void **state) {
    struct lanes *lanes = lanes_new();
    struct lane_before before;
    struct lane_event event = {.seq = 4, .key = STR("a"), .more = true};
    assert_int_equal(lanes_put(lanes, &event, 0, &before), LANE_ADDED);
    struct lane_job a = take(lanes, 0, 4);
    assert_int_equal(lanes_end(lanes, a.lane, LANE_SUCCESS, -1, 0), LANE_DONE);
    assert_int_equal(lanes_cursor(lanes), 3); /* b of it has not been read */
    event.key = STR("b");
    assert_int_equal(lanes_put(lanes, &event, 0, &before), LANE_ADDED);
    lanes_pass(lanes, 4);
    assert_int_equal(lanes_cursor(lanes), 3);
    struct lane_job b = take(lanes, 0, 4);
    assert_true(str_is(b.key, "b"));
    assert_int_equal(lanes_end(lanes, b.lane, LANE_SUCCESS, -1, 0), LANE_DONE);
    assert_int_equal(lanes_cursor(lanes), 4);
    lanes_destroy(lanes);
}

static void members_of_a_call_count_as_one(void **state) {
    struct lanes *lanes = lanes_new();
    struct lane_job jobs[4];
    for (uint64_t i = 0; i < 4; i++) {
        char key[4];
        snprintf(key, sizeof key, "k%u", (unsigned)i);
        put(lanes, i + 1, key, NULL);
        jobs[i] = take(lanes, 0, i + 1);
    }
    lanes_together(lanes, true);
    for (int i = 0; i < 4; i++)
        assert_int_equal(lanes_end(lanes, jobs[i].lane, LANE_UNREACHABLE, -1, 0), LANE_RETRY);
    lanes_together(lanes, false);
    struct lane_job job; /* one call that found nobody, not four: each waits the first pause */
    assert_false(lanes_take(lanes, 99999, &job));
    for (int i = 0; i < 4; i++)
        assert_true(lanes_take(lanes, 100000, &job));
    lanes_destroy(lanes);
}

/* --- at random ------------------------------------------------------------------------------ */

#define EVENTS 4000
static struct model {
    struct lanes *lanes;
    uint64_t newest[KEYS], there[KEYS]; /* read; what the remote has: never goes back */
    struct { uint64_t seq; uint32_t key; } rows[EVENTS];
    uint32_t row_count;
    uint64_t keys_of[EVENTS + 1]; /* bits of keys */
    uint64_t cursor, read;        /* on disk; of the journal */
    uint32_t listing;
} model;

static uint32_t key_of(struct str key) {
    uint64_t n;
    assert_true(str_u64(str_of(key.ptr + 1, key.len - 1), &n));
    return (uint32_t)n;
}

static void row_add(void *ctx, uint64_t seq) {
    model.rows[model.row_count].seq = seq;
    model.rows[model.row_count++].key = model.listing;
}

static uint64_t rows_drop(uint32_t key, uint64_t after, uint64_t before) {
    uint64_t dropped = 0;
    for (uint32_t i = 0; i < model.row_count;) {
        bool gone = model.rows[i].key == key && model.rows[i].seq > after && model.rows[i].seq < before;
        dropped += gone;
        if (gone)
            model.rows[i] = model.rows[--model.row_count];
        else
            i++;
    }
    return dropped;
}

/* What the cursor has passed of a key is there, or a row, or superseded by what is still to come. */
static void cursor_check(void) {
    uint64_t cursor = lanes_cursor(model.lanes);
    assert_true(cursor >= model.cursor);
    for (uint32_t key = 0; key < KEYS; key++) {
        uint64_t last = 0;
        for (uint64_t seq = cursor; seq > 0 && !last; seq--)
            last = model.keys_of[seq] >> key & 1 ? seq : 0;
        bool listed = false;
        for (uint32_t i = 0; i < model.row_count; i++)
            listed |= model.rows[i].key == key && model.rows[i].seq >= last;
        assert_true(last <= model.there[key] || listed || model.newest[key] > cursor);
    }
    balanced(model.lanes);
}

static void read_some(int64_t now_us, uint32_t n) {
    for (uint64_t seq = lanes_read_to(model.lanes) + 1; n-- > 0 && seq <= EVENTS; seq++) {
        for (uint32_t key = 0; key < KEYS; key++) {
            char name[8];
            snprintf(name, sizeof name, "k%u", (unsigned)key);
            struct lane_before before = {0};
            struct lane_event event = {.seq = seq, .key = str_c(name), .more = true, .lookup = seq <= model.read};
            if (!(model.keys_of[seq] >> key & 1))
                continue;
            enum lane_added added = lanes_put(model.lanes, &event, now_us, &before);
            if (added == LANE_FULL)
                return; /* those before it are put once more: they supersede themselves */
            if (seq > model.newest[key])
                model.newest[key] = seq;
            model.listing = key;
            if (added == LANE_SUPERSEDES) {
                lanes_superseded(model.lanes, rows_drop(key, before.held ? 0 : before.seq, seq));
                row_add(NULL, seq);
            }
            assert_true(added != LANE_LISTED);
        }
        lanes_pass(model.lanes, seq);
    }
}

static void send_one(int64_t now_us, bool healthy) {
    struct lane_job job;
    if (!lanes_take(model.lanes, now_us, &job))
        return;
    uint32_t key = key_of(job.key);
    static const enum lane_outcome outcomes[] = {LANE_SUCCESS,     LANE_SUCCESS,   LANE_RETRYABLE, LANE_AMBIGUOUS,
                                                 LANE_UNREACHABLE, LANE_THROTTLED, LANE_FINAL};
    enum lane_outcome outcome = healthy ? LANE_SUCCESS : outcomes[rng_below(&rng.rng, 7)];
    assert_true(job.seq >= model.there[key]); /* never back */
    if (outcome == LANE_SUCCESS || outcome == LANE_AMBIGUOUS)
        model.there[key] = job.seq;
    if (rng_below(&rng.rng, 2) == 0) /* others come while it is out */
        read_some(now_us, 5);
    enum lane_verdict verdict = lanes_end(model.lanes, job.lane, outcome, -1, now_us);
    model.listing = key;
    if (verdict == LANE_HOLD) {
        if (!job.listed)
            lanes_list(model.lanes, job.lane, true, row_add, NULL);
    } else if (verdict == LANE_DONE && job.listed) {
        lanes_superseded(model.lanes, rows_drop(key, 0, job.seq));
        rows_drop(key, job.seq - 1, job.seq + 1);
        uint64_t next = 0;
        for (uint32_t i = 0; i < model.row_count; i++)
            next = model.rows[i].key == key ? model.rows[i].seq : next;
        lanes_refill(model.lanes, job.lane, next);
    } else if (verdict == LANE_RETRY && job.listed && lanes_seq(model.lanes, job.lane) != job.seq) {
        lanes_superseded(model.lanes, rows_drop(key, 0, lanes_seq(model.lanes, job.lane)));
    }
}

/* Memory is gone; rows and cursor, which go to disk together, are not. */
static void crash(int64_t now_us) {
    struct lane_policy p = policy();
    model.cursor = lanes_cursor(model.lanes);
    if (lanes_read_to(model.lanes) > model.read)
        model.read = lanes_read_to(model.lanes);
    lanes_destroy(model.lanes);
    model.lanes = lanes_create(&p, &rng.rng, model.cursor, 0);
    for (uint32_t key = 0; key < KEYS; key++) {
        char name[8];
        snprintf(name, sizeof name, "k%u", (unsigned)key);
        uint64_t first = 0, last = 0;
        for (uint32_t i = 0; i < model.row_count; i++)
            if (model.rows[i].key == key) {
                first = first && first < model.rows[i].seq ? first : model.rows[i].seq;
                last = last > model.rows[i].seq ? last : model.rows[i].seq;
            }
        if (first)
            assert_int_equal(lanes_load(model.lanes, str_c(name), first, last, 1, now_us | 1, now_us), OK);
    }
    lanes_loaded(model.lanes, model.row_count);
    while (lanes_read_to(model.lanes) < model.read) /* as batch.c does before it sends anything */
        read_some(now_us, 8);
}

static void the_newest_arrives_whatever_happens(void **state) {
    for (uint64_t seed = 1; seed <= 60; seed++) {
        memset(&model, 0, sizeof model);
        model.lanes = lanes_new();
        rng_seeded_init(&rng, seed);
        for (uint64_t seq = 1; seq <= EVENTS; seq++)
            model.keys_of[seq] = (UINT64_C(1) << rng_below(&rng.rng, KEYS)) |
                                 (rng_below(&rng.rng, 4) ? 0 : UINT64_C(1) << rng_below(&rng.rng, KEYS));
        int64_t now_us = 1;
        for (uint32_t turn = 0; turn < 60000 && lanes_read_to(model.lanes) < EVENTS; turn++) {
            now_us += (int64_t)rng_below(&rng.rng, 20000);
            read_some(now_us, (uint32_t)rng_below(&rng.rng, 8));
            for (uint64_t n = rng_below(&rng.rng, 6); n > 0; n--)
                send_one(now_us, false);
            if (turn % 64 == 0)
                cursor_check();
            if (rng_below(&rng.rng, 300) == 0)
                crash(now_us);
        }
        assert_int_equal(lanes_read_to(model.lanes), EVENTS);
        crash(now_us); /* what is held goes, too */
        for (uint32_t turn = 0; turn < 20000; turn++) {
            now_us += 20000;
            read_some(now_us, 8);
            send_one(now_us, true);
        }
        assert_memory_equal(model.there, model.newest, sizeof model.there);
        assert_int_equal(lanes_cursor(model.lanes), EVENTS);
        assert_int_equal(model.row_count, 0);
        cursor_check();
        lanes_destroy(model.lanes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_waits_in_the_turn_of_the_oldest),
        cmocka_unit_test(what_may_have_been_sent_is_not_forgotten),
        cmocka_unit_test(a_held_one_gives_way),
        cmocka_unit_test(an_event_of_several_keys_is_read_with_its_last),
        cmocka_unit_test(members_of_a_call_count_as_one),
        cmocka_unit_test(the_newest_arrives_whatever_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
