/* Lanes: order per key, holding, parking, retry pauses, the breaker, the cursor; then all of it
 * at random against a model that knows what may never happen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "deliver/lane.h"

static struct rng_seeded rng;

static struct lane_policy policy(void) {
    struct lane_policy p = {.window_max = 64, .listed_max = 100, .concurrency = 8};
    for (int i = LANE_RETRYABLE; i <= LANE_UNREACHABLE; i++)
        p.again[i] = (struct lane_schedule){.first_ms = 100, .max_ms = 1000, .factor = 2};
    p.again[LANE_UNREACHABLE].max_ms = 500;
    return p;
}

static struct lanes *lanes_new(struct lane_policy p) {
    rng_seeded_init(&rng, 7);
    struct lanes *lanes = lanes_create(&p, &rng.rng, 0, 5000);
    assert_non_null(lanes);
    return lanes;
}

static struct lane_job take(struct lanes *lanes, int64_t now_us, uint64_t seq) {
    struct lane_job job;
    assert_true(lanes_take(lanes, now_us, &job));
    assert_int_equal(job.seq, seq);
    return job;
}

static void take_none(struct lanes *lanes, int64_t now_us) {
    struct lane_job job;
    assert_false(lanes_take(lanes, now_us, &job));
}

static void end(struct lanes *lanes, uint32_t lane, enum lane_outcome outcome, int64_t now_us,
                enum lane_verdict verdict) {
    assert_int_equal(lanes_end(lanes, lane, outcome, -1, now_us), verdict);
}

static void collect(void *ctx, uint64_t seq) {
    uint64_t *seqs = ctx;
    seqs[++seqs[0]] = seq;
}

static void one_key_goes_in_order(void **state) {
    struct lanes *lanes = lanes_new(policy());
    assert_int_equal(lanes_add(lanes, 1, STR("a"), false), LANE_ADDED);
    assert_int_equal(lanes_add(lanes, 2, STR("a"), false), LANE_ADDED);
    assert_int_equal(lanes_add(lanes, 5, STR("b"), false), LANE_ADDED);
    lanes_pass(lanes, 9);
    struct lane_job a = take(lanes, 0, 1), b = take(lanes, 0, 5);
    assert_true(str_is(b.key, "b"));
    take_none(lanes, 0); /* 2 waits for 1 */
    assert_int_equal(lanes_cursor(lanes), 0);
    end(lanes, b.lane, LANE_SUCCESS, 0, LANE_DONE);
    assert_int_equal(lanes_cursor(lanes), 0);
    end(lanes, a.lane, LANE_SUCCESS, 0, LANE_DONE);
    assert_int_equal(lanes_cursor(lanes), 1);
    a = take(lanes, 0, 2);
    assert_int_equal(lanes_next_us(lanes, 0), INT64_MAX);
    end(lanes, a.lane, LANE_SUCCESS, 0, LANE_DONE);
    assert_int_equal(lanes_cursor(lanes), 9);
    lanes_destroy(lanes);
}

static void a_final_failure_holds_its_lane_alone(void **state) {
    struct lanes *lanes = lanes_new(policy());
    uint64_t seqs[8] = {0};
    assert_int_equal(lanes_add(lanes, 1, STR("a"), false), LANE_ADDED);
    assert_int_equal(lanes_add(lanes, 2, STR("b"), false), LANE_ADDED);
    assert_int_equal(lanes_add(lanes, 3, STR("a"), false), LANE_ADDED);
    struct lane_job a = take(lanes, 0, 1), b = take(lanes, 0, 2);
    end(lanes, a.lane, LANE_FINAL, 0, LANE_HOLD);
    lanes_list(lanes, a.lane, true, collect, seqs);
    assert_int_equal(seqs[0], 2);
    assert_int_equal(seqs[1], 1);
    assert_int_equal(seqs[2], 3);
    assert_int_equal(lanes_cursor(lanes), 1);
    end(lanes, b.lane, LANE_SUCCESS, 0, LANE_DONE);
    assert_int_equal(lanes_cursor(lanes), 3);
    assert_int_equal(lanes_add(lanes, 4, STR("a"), false), LANE_LISTED);
    assert_int_equal(lanes_add(lanes, 5, STR("c"), false), LANE_ADDED);
    struct lane_job c = take(lanes, INT64_MAX / 2, 5); /* no time sets a held lane free */
    end(lanes, c.lane, LANE_SUCCESS, 0, LANE_DONE);
    take_none(lanes, INT64_MAX / 2);
    assert_int_equal(lanes_counts(lanes).held, 1);
    /* a person says: again. Then everything behind it follows in order. */
    uint32_t held = lanes_held(lanes, STR("a"));
    assert_int_not_equal(held, LANE_NONE);
    lanes_release(lanes, held);
    a = take(lanes, 0, 1);
    assert_true(a.listed);
    assert_int_equal(a.attempt, 1);
    lanes_answered(lanes, a.lane);
    end(lanes, a.lane, LANE_SUCCESS, 0, LANE_DONE);
    lanes_refill(lanes, a.lane, 3);
    a = take(lanes, 0, 3);
    end(lanes, a.lane, LANE_FINAL, 0, LANE_HOLD);
    lanes_list(lanes, a.lane, true, collect, seqs);
    assert_int_equal(seqs[0], 2); /* already listed: no new rows */
    lanes_refill(lanes, a.lane, 4); /* discarded */
    a = take(lanes, 0, 4);
    end(lanes, a.lane, LANE_SUCCESS, 0, LANE_DONE);
    lanes_refill(lanes, a.lane, 0);
    assert_int_equal(lanes_held(lanes, STR("a")), LANE_NONE);
    assert_int_equal(lanes_add(lanes, 6, STR("a"), false), LANE_ADDED); /* an ordinary lane again */
    lanes_destroy(lanes);
}

static void retries_wait_longer_each_time(void **state) {
    struct lanes *lanes = lanes_new(policy());
    assert_int_equal(lanes_add(lanes, 1, STR("a"), false), LANE_ADDED);
    int64_t now = 0, pauses[] = {100, 200, 400, 800, 1000, 1000};
    for (uint32_t i = 0; i < 6; i++) {
        struct lane_job a = take(lanes, now, 1);
        assert_int_equal(a.attempt, i + 1);
        assert_int_equal(a.lookup, i > 0); /* once ambiguous, always looked up */
        end(lanes, a.lane, LANE_AMBIGUOUS, now, LANE_RETRY);
        int64_t due = now + pauses[i] * 1000;
        assert_int_equal(lanes_next_us(lanes, now), due);
        take_none(lanes, due - 1);
        now = due;
    }
    struct lane_job a = take(lanes, now, 1);
    assert_int_equal(lanes_end(lanes, a.lane, LANE_RETRYABLE, 7000, now), LANE_RETRY);
    assert_int_equal(lanes_next_us(lanes, now), now + 7000000); /* Retry-After is longer */
    lanes_destroy(lanes);
}

static void attempts_and_age_have_an_end(void **state) {
    struct lane_policy p = policy();
    p.again[LANE_RETRYABLE].attempts_max = 2;
    struct lanes *lanes = lanes_new(p);
    assert_int_equal(lanes_add(lanes, 1, STR("a"), false), LANE_ADDED);
    struct lane_job a = take(lanes, 0, 1);
    end(lanes, a.lane, LANE_RETRYABLE, 0, LANE_RETRY);
    a = take(lanes, 1000000, 1);
    end(lanes, a.lane, LANE_RETRYABLE, 1000000, LANE_HOLD);
    lanes_destroy(lanes);
    p.again[LANE_RETRYABLE].attempts_max = 0;
    p.again[LANE_RETRYABLE].age_max_us = 5000000;
    lanes = lanes_new(p);
    assert_int_equal(lanes_add(lanes, 1, STR("a"), false), LANE_ADDED);
    a = take(lanes, 0, 1);
    end(lanes, a.lane, LANE_RETRYABLE, 1, LANE_RETRY);
    a = take(lanes, 4000000, 1);
    end(lanes, a.lane, LANE_RETRYABLE, 4000000, LANE_RETRY);
    a = take(lanes, 6000000, 1);
    end(lanes, a.lane, LANE_RETRYABLE, 6000000, LANE_HOLD);
    lanes_destroy(lanes);
}

static void an_outage_costs_no_attempts(void **state) {
    struct lanes *lanes = lanes_new(policy());
    assert_int_equal(lanes_add(lanes, 1, STR("a"), false), LANE_ADDED);
    int64_t now = 0, pauses[] = {100, 200, 400, 500, 500};
    for (uint32_t i = 0; i < 5; i++) {
        struct lane_job a = take(lanes, now, 1);
        assert_int_equal(a.attempt, 1);
        end(lanes, a.lane, LANE_UNREACHABLE, now, LANE_RETRY);
        now += pauses[i] * 1000;
        take_none(lanes, now - 1);
        assert_int_equal(lanes_next_us(lanes, 0), now);
    }
    /* its breaker is open: who is let go keeps his turn and waits for no time of his own */
    lanes_broken_set(lanes, true);
    assert_true(lanes_counts(lanes).broken);
    struct lane_job a = take(lanes, now, 1);
    end(lanes, a.lane, LANE_UNREACHABLE, now, LANE_RETRY);
    a = take(lanes, now, 1);
    assert_int_equal(a.attempt, 1);
    /* turned away before anything was sent */
    lanes_later(lanes, a.lane, now + 7000);
    take_none(lanes, now + 6999);
    a = take(lanes, now + 7000, 1);
    assert_int_equal(a.attempt, 1);
    assert_false(a.lookup);
    end(lanes, a.lane, LANE_SUCCESS, now + 7000, LANE_DONE);
    lanes_destroy(lanes);
}

/* Pauses and ends are of what happened, each its own. */
static void each_outcome_has_its_schedule(void **state) {
    struct lane_policy p = policy();
    p.again[LANE_AMBIGUOUS] = (struct lane_schedule){.first_ms = 5000, .max_ms = 9000, .factor = 3, .attempts_max = 3};
    p.again[LANE_THROTTLED] = (struct lane_schedule){.first_ms = 30, .max_ms = 40, .factor = 2, .age_max_us = 90000};
    p.again[LANE_UNREACHABLE].attempts_max = 2;
    struct lanes *lanes = lanes_new(p);
    assert_int_equal(lanes_add(lanes, 1, STR("a"), false), LANE_ADDED);
    struct lane_job a = take(lanes, 0, 1);
    end(lanes, a.lane, LANE_AMBIGUOUS, 0, LANE_RETRY);
    assert_int_equal(lanes_next_us(lanes, 0), 5000000);
    int64_t now = 5000000;
    a = take(lanes, now, 1);
    end(lanes, a.lane, LANE_THROTTLED, now, LANE_RETRY);
    assert_int_equal(lanes_next_us(lanes, now), now + 30000);
    a = take(lanes, now += 30000, 1);
    assert_int_equal(a.attempt, 2); /* "too much" is no attempt */
    end(lanes, a.lane, LANE_THROTTLED, now, LANE_RETRY);
    assert_int_equal(lanes_next_us(lanes, now), now + 40000);
    a = take(lanes, now += 60000, 1);
    end(lanes, a.lane, LANE_THROTTLED, now, LANE_HOLD); /* 90 ms after its first */
    lanes_destroy(lanes);

    lanes = lanes_new(p);
    assert_int_equal(lanes_add(lanes, 1, STR("a"), false), LANE_ADDED);
    a = take(lanes, 0, 1);
    end(lanes, a.lane, LANE_RETRYABLE, 0, LANE_RETRY);
    assert_int_equal(lanes_next_us(lanes, 0), 100000);
    a = take(lanes, 100000, 1);
    end(lanes, a.lane, LANE_AMBIGUOUS, 100000, LANE_RETRY);
    assert_int_equal(lanes_next_us(lanes, 0), 9100000); /* the second attempt: 3 x 5 s, at most 9 */
    a = take(lanes, 9100000, 1);
    end(lanes, a.lane, LANE_AMBIGUOUS, 9100000, LANE_HOLD); /* the third */
    lanes_destroy(lanes);

    lanes = lanes_new(p);
    assert_int_equal(lanes_add(lanes, 1, STR("a"), false), LANE_ADDED);
    a = take(lanes, 0, 1);
    end(lanes, a.lane, LANE_UNREACHABLE, 0, LANE_RETRY);
    a = take(lanes, 100000, 1);
    end(lanes, a.lane, LANE_UNREACHABLE, 100000, LANE_HOLD);
    lanes_destroy(lanes);
}

static void throttling_stops_all_lanes(void **state) {
    struct lanes *lanes = lanes_new(policy());
    assert_int_equal(lanes_add(lanes, 1, STR("a"), false), LANE_ADDED);
    assert_int_equal(lanes_add(lanes, 2, STR("b"), false), LANE_ADDED);
    struct lane_job a = take(lanes, 0, 1);
    assert_int_equal(lanes_end(lanes, a.lane, LANE_THROTTLED, 2000, 0), LANE_RETRY);
    take_none(lanes, 1999999);
    assert_int_equal(lanes_next_us(lanes, 0), 2000000);
    a = take(lanes, 2000000, 1);
    assert_int_equal(a.attempt, 1);
    lanes_destroy(lanes);
}

static void concurrency_and_rate_are_kept(void **state) {
    struct lane_policy p = policy();
    p.concurrency = 2;
    p.rate_per_s = 10;
    struct lanes *lanes = lanes_new(p);
    assert_int_equal(lanes_add(lanes, 1, STR("a"), false), LANE_ADDED);
    assert_int_equal(lanes_add(lanes, 2, STR("b"), false), LANE_ADDED);
    assert_int_equal(lanes_add(lanes, 3, STR("c"), false), LANE_ADDED);
    int64_t now = 10000000;
    struct lane_job a = take(lanes, now, 1);
    struct lane_job b = take(lanes, now + 100000, 2);
    take_none(lanes, now + 300000); /* two are out */
    lanes_answered(lanes, a.lane);
    struct lane_job c = take(lanes, now + 300000, 3);
    end(lanes, a.lane, LANE_SUCCESS, now, LANE_DONE);
    end(lanes, b.lane, LANE_SUCCESS, now, LANE_DONE);
    end(lanes, c.lane, LANE_SUCCESS, now, LANE_DONE);
    uint64_t seq = 4;
    uint32_t taken = 0;
    for (int64_t at = now + 1000000; at < now + 3000000; at += 1000) {
        char key[24];
        snprintf(key, sizeof key, "%u", (unsigned)seq);
        if (lanes_add(lanes, seq, str_c(key), false) == LANE_ADDED)
            seq++;
        struct lane_job job;
        if (lanes_take(lanes, at, &job)) {
            taken++;
            end(lanes, job.lane, LANE_SUCCESS, at, LANE_DONE);
        }
    }
    assert_in_range(taken, 19, 22);
    lanes_destroy(lanes);
}

static void a_stuck_lane_is_parked(void **state) {
    struct lane_policy p = policy();
    p.window_max = 4;
    struct lanes *lanes = lanes_new(p);
    uint64_t seqs[8] = {0};
    assert_int_equal(lanes_add(lanes, 1, STR("a"), false), LANE_ADDED);
    assert_int_equal(lanes_add(lanes, 2, STR("a"), false), LANE_ADDED);
    assert_int_equal(lanes_add(lanes, 3, STR("b"), false), LANE_ADDED);
    struct lane_job a = take(lanes, 0, 1), b = take(lanes, 0, 3);
    end(lanes, a.lane, LANE_RETRYABLE, 0, LANE_RETRY);
    end(lanes, b.lane, LANE_SUCCESS, 0, LANE_DONE);
    assert_int_equal(lanes_stuck(lanes), LANE_NONE);
    assert_int_equal(lanes_add(lanes, 4, STR("c"), false), LANE_ADDED);
    assert_int_equal(lanes_add(lanes, 5, STR("d"), false), LANE_FULL);
    uint32_t stuck = lanes_stuck(lanes);
    assert_int_equal(stuck, a.lane);
    lanes_list(lanes, stuck, false, collect, seqs);
    assert_int_equal(seqs[0], 2);
    assert_int_equal(lanes_cursor(lanes), 3);
    assert_int_equal(lanes_add(lanes, 5, STR("d"), false), LANE_ADDED);
    assert_int_equal(lanes_add(lanes, 6, STR("a"), false), LANE_LISTED);
    assert_int_equal(lanes_counts(lanes).parked, 1);
    take(lanes, 0, 4);
    take(lanes, 0, 5);
    a = take(lanes, 100000, 1); /* goes on by itself */
    assert_int_equal(a.attempt, 2);
    end(lanes, a.lane, LANE_SUCCESS, 0, LANE_DONE);
    lanes_refill(lanes, a.lane, 2);
    take(lanes, 0, 2);
    lanes_destroy(lanes);
}

static void not_found_is_believed_only_when_settled(void **state) {
    struct lanes *lanes = lanes_new(policy()); /* an earlier life's sendings settle at 5000 */
    assert_int_equal(lanes_add(lanes, 1, STR("a"), true), LANE_ADDED);
    assert_int_equal(lanes_add(lanes, 2, STR("b"), false), LANE_ADDED);
    struct lane_job a = take(lanes, 1000, 1), b = take(lanes, 1000, 2);
    assert_true(a.lookup);
    assert_int_equal(a.settled_us, 5000);
    end(lanes, a.lane, LANE_UNSETTLED, 1000, LANE_RETRY);
    take_none(lanes, 4999);
    a = take(lanes, 5000, 1);
    assert_int_equal(a.attempt, 1); /* no attempt of its own */
    end(lanes, a.lane, LANE_SUCCESS, 5000, LANE_DONE);
    lanes_suspect(lanes, b.lane, 900000);
    end(lanes, b.lane, LANE_AMBIGUOUS, 6000, LANE_RETRY);
    b = take(lanes, 200000, 2);
    assert_true(b.lookup);
    assert_int_equal(b.settled_us, 900000);
    end(lanes, b.lane, LANE_UNSETTLED, 200000, LANE_RETRY);
    assert_int_equal(lanes_next_us(lanes, 200000), 900000);
    b = take(lanes, 900000, 2);
    lanes_absent(lanes, b.lane); /* it was sent, and refused: nothing is in doubt */
    end(lanes, b.lane, LANE_THROTTLED, 900000, LANE_RETRY);
    b = take(lanes, 2000000, 2);
    assert_false(b.lookup);
    end(lanes, b.lane, LANE_AMBIGUOUS, 2000000, LANE_RETRY);
    b = take(lanes, 100000000, 2);
    assert_true(b.lookup);
    end(lanes, b.lane, LANE_SUCCESS, 100000000, LANE_DONE);
    lanes_destroy(lanes);
}

static void listed_lanes_come_back_after_a_restart(void **state) {
    struct lanes *lanes = lanes_new(policy());
    assert_int_equal(lanes_load(lanes, STR("a"), 3, 9, 2, 0, 50), OK);
    assert_int_equal(lanes_load(lanes, STR("b"), 4, 4, 5, 1000, 50), OK);
    assert_int_equal(lanes_add(lanes, 5, STR("a"), true), LANE_KNOWN);
    assert_int_equal(lanes_add(lanes, 11, STR("a"), true), LANE_LISTED);
    assert_int_equal(lanes_add(lanes, 12, STR("c"), true), LANE_ADDED);
    struct lane_job c = take(lanes, 0, 12);
    assert_true(c.lookup);
    struct lane_job b = take(lanes, 1000, 4);
    assert_true(b.lookup);
    assert_int_equal(b.attempt, 6);
    take_none(lanes, INT64_MAX / 2);
    lanes_destroy(lanes);
}

/* A replayed event has its key's lane alone, and what is read meanwhile waits behind it. */
static void a_replayed_event_waits_its_turn(void **state) {
    struct lanes *lanes = lanes_new(policy());
    lanes_pass(lanes, 9);
    assert_int_equal(lanes_add(lanes, 10, STR("a"), false), LANE_ADDED);
    assert_false(lanes_replay(lanes, 3, STR("a"), 1, true)); /* a live one waits */
    struct lane_job a = take(lanes, 0, 10);
    assert_false(lanes_replay(lanes, 3, STR("a"), 1, true)); /* it is out */
    end(lanes, a.lane, LANE_SUCCESS, 0, LANE_DONE);
    assert_true(lanes_replay(lanes, 3, STR("a"), 1, true));
    assert_false(lanes_replay(lanes, 4, STR("a"), 1, true)); /* one after the other */
    assert_int_equal(lanes_add(lanes, 11, STR("a"), false), LANE_ADDED);
    assert_int_equal(lanes_add(lanes, 12, STR("a"), false), LANE_ADDED);
    a = take(lanes, 0, 3);
    assert_int_equal(a.replay, 1);
    assert_true(a.lookup);
    take_none(lanes, 0); /* 11 waits for it */
    assert_int_equal(lanes_cursor(lanes), 10);
    end(lanes, a.lane, LANE_SUCCESS, 0, LANE_DONE);
    a = take(lanes, 0, 11);
    assert_int_equal(a.replay, 0);
    assert_false(a.lookup);
    end(lanes, a.lane, LANE_SUCCESS, 0, LANE_DONE);
    a = take(lanes, 0, 12);
    end(lanes, a.lane, LANE_SUCCESS, 0, LANE_DONE);
    assert_int_equal(lanes_cursor(lanes), 12);
    lanes_destroy(lanes);
}

static void a_replayed_event_is_held_before_what_waits_behind_it(void **state) {
    struct lanes *lanes = lanes_new(policy());
    uint64_t seqs[8] = {0};
    lanes_pass(lanes, 9);
    assert_true(lanes_replay(lanes, 3, STR("a"), 1, true));
    assert_int_equal(lanes_add(lanes, 10, STR("a"), false), LANE_ADDED);
    struct lane_job a = take(lanes, 0, 3);
    end(lanes, a.lane, LANE_FINAL, 0, LANE_HOLD);
    lanes_list(lanes, a.lane, true, collect, seqs);
    assert_int_equal(seqs[0], 2);
    assert_int_equal(seqs[1], 3);
    assert_int_equal(seqs[2], 10);
    assert_int_equal(lanes_cursor(lanes), 10);
    assert_false(lanes_replay(lanes, 4, STR("a"), 1, true)); /* its key is held */
    assert_int_equal(lanes_replay_of(lanes, a.lane), 1);
    lanes_release(lanes, a.lane);
    a = take(lanes, 0, 3);
    assert_int_equal(a.replay, 1);
    end(lanes, a.lane, LANE_SUCCESS, 0, LANE_DONE);
    lanes_refill(lanes, a.lane, 10);
    a = take(lanes, 0, 10);
    assert_int_equal(a.replay, 0);
    end(lanes, a.lane, LANE_SUCCESS, 0, LANE_DONE);
    lanes_refill(lanes, a.lane, 0);
    assert_true(lanes_replay(lanes, 4, STR("a"), 1, true));
    lanes_destroy(lanes);
}

static void a_replayed_event_with_a_full_window_behind_it_is_parked(void **state) {
    struct lane_policy p = policy();
    p.window_max = 2;
    struct lanes *lanes = lanes_new(p);
    uint64_t seqs[8] = {0};
    lanes_pass(lanes, 9);
    assert_true(lanes_replay(lanes, 3, STR("a"), 1, true));
    assert_int_equal(lanes_add(lanes, 10, STR("a"), false), LANE_ADDED);
    assert_int_equal(lanes_add(lanes, 11, STR("a"), false), LANE_ADDED);
    assert_int_equal(lanes_add(lanes, 12, STR("b"), false), LANE_FULL);
    struct lane_job a = take(lanes, 0, 3);
    end(lanes, a.lane, LANE_RETRYABLE, 0, LANE_RETRY);
    uint32_t stuck = lanes_stuck(lanes);
    assert_int_equal(stuck, a.lane);
    lanes_list(lanes, stuck, false, collect, seqs);
    assert_int_equal(seqs[0], 3);
    assert_int_equal(seqs[1], 3);
    assert_int_equal(lanes_cursor(lanes), 11);
    assert_int_equal(lanes_add(lanes, 12, STR("b"), false), LANE_ADDED);
    lanes_destroy(lanes);
    /* after a restart it is known again for what it is */
    lanes = lanes_new(policy());
    lanes_pass(lanes, 11);
    assert_int_equal(lanes_load(lanes, STR("a"), 3, 11, 1, 1, 0), OK);
    lanes_replayed(lanes, STR("a"), 7);
    a = take(lanes, 1, 3);
    assert_int_equal(a.replay, 7);
    lanes_destroy(lanes);
}

/* --- at random -------------------------------------------------------------------------- */
#define KEYS 12
#define EVENTS 4000

struct world {
    struct lanes *lanes;
    uint64_t added;                /* newest seq */
    uint8_t key_of[EVENTS + 1];
    bool done[EVENTS + 1], row[EVENTS + 1], out[EVENTS + 1];
    struct lane_job jobs[8];
    uint32_t job_count;
};

static void world_row(void *ctx, uint64_t seq) {
    struct world *w = ctx;
    assert_false(w->row[seq]);
    assert_false(w->done[seq]);
    w->row[seq] = true;
}

static uint64_t world_next_row(const struct world *w, uint64_t after) {
    for (uint64_t s = after + 1; s <= w->added; s++)
        if (w->row[s] && w->key_of[s] == w->key_of[after])
            return s;
    return 0;
}

static void world_check_cursor(const struct world *w) {
    uint64_t cursor = lanes_cursor(w->lanes);
    for (uint64_t s = 1; s <= cursor; s++)
        assert_true(w->done[s] || w->row[s]);
}

static void world_taken(struct world *w, const struct lane_job *job) {
    assert_false(w->done[job->seq]);
    assert_false(w->out[job->seq]);
    for (uint64_t s = 1; s < job->seq; s++) /* strictly in order */
        assert_true(w->done[s] || w->key_of[s] != w->key_of[job->seq]);
    w->out[job->seq] = true;
    w->jobs[w->job_count++] = *job;
}

static void world_end(struct world *w, struct rng *dice, int64_t now_us) {
    uint32_t i = (uint32_t)rng_below(dice, w->job_count);
    struct lane_job job = w->jobs[i];
    w->jobs[i] = w->jobs[--w->job_count];
    w->out[job.seq] = false;
    uint64_t roll = rng_below(dice, 100);
    enum lane_outcome outcome = roll < 60   ? LANE_SUCCESS
                                : roll < 75 ? LANE_RETRYABLE
                                : roll < 85 ? LANE_AMBIGUOUS
                                : roll < 90 ? LANE_UNREACHABLE
                                : roll < 93 ? LANE_THROTTLED
                                            : LANE_FINAL;
    if (roll == 99) {
        lanes_return(w->lanes, job.lane);
        return;
    }
    if (roll % 2)
        lanes_answered(w->lanes, job.lane);
    enum lane_verdict verdict = lanes_end(w->lanes, job.lane, outcome, -1, now_us);
    if (verdict == LANE_DONE) {
        w->done[job.seq] = true;
        assert_int_equal(w->row[job.seq], job.listed);
        w->row[job.seq] = false;
        if (job.listed)
            lanes_refill(w->lanes, job.lane, world_next_row(w, job.seq));
    } else if (verdict == LANE_HOLD) {
        lanes_list(w->lanes, job.lane, true, world_row, w);
        assert_true(w->row[job.seq]);
    }
}

static void world_person(struct world *w, struct rng *dice) {
    char key[8];
    snprintf(key, sizeof key, "%u", (unsigned)rng_below(dice, KEYS));
    uint32_t held = lanes_held(w->lanes, str_c(key));
    if (held == LANE_NONE)
        return;
    if (rng_below(dice, 2)) {
        lanes_release(w->lanes, held);
        return;
    }
    /* discard its first row */
    uint8_t number = (uint8_t)(key[1] ? (key[0] - '0') * 10 + key[1] - '0' : key[0] - '0');
    for (uint64_t s = 1; s <= w->added; s++)
        if (w->row[s] && w->key_of[s] == number) {
            w->row[s] = false;
            w->done[s] = true;
            lanes_refill(w->lanes, held, world_next_row(w, s));
            return;
        }
    fail_msg("a held lane without rows");
}

static void random_run(uint64_t seed) {
    static struct world w;
    struct rng_seeded dice;
    rng_seeded_init(&dice, seed);
    struct lane_policy p = policy();
    p.window_max = 24;
    p.again[LANE_RETRYABLE].attempts_max = p.again[LANE_AMBIGUOUS].attempts_max = (uint32_t)rng_below(&dice.rng, 5);
    p.jitter = rng_below(&dice.rng, 2);
    memset(&w, 0, sizeof w);
    w.lanes = lanes_new(p);
    int64_t now = 0;
    for (uint32_t step = 0; step < 2000000; step++) {
        now += (int64_t)rng_below(&dice.rng, 60000);
        if (w.added < EVENTS) {
            uint8_t k = (uint8_t)rng_below(&dice.rng, KEYS);
            char key[8];
            snprintf(key, sizeof key, "%u", k);
            enum lane_added added = lanes_add(w.lanes, w.added + 1, str_c(key), false);
            assert_int_not_equal(added, LANE_KNOWN);
            if (added != LANE_FULL)
                w.key_of[++w.added] = k;
            if (added == LANE_LISTED)
                world_row(&w, w.added);
        }
        uint32_t stuck = lanes_stuck(w.lanes);
        if (stuck != LANE_NONE)
            lanes_list(w.lanes, stuck, false, world_row, &w);
        struct lane_job job;
        bool taken = w.job_count < 8 && lanes_take(w.lanes, now, &job);
        if (taken)
            world_taken(&w, &job);
        if (w.job_count > 0 && rng_below(&dice.rng, 2))
            world_end(&w, &dice.rng, now);
        if (rng_below(&dice.rng, 20) == 0)
            world_person(&w, &dice.rng);
        if (step % 64 == 0)
            world_check_cursor(&w);
        if (w.added == EVENTS && lanes_cursor(w.lanes) == EVENTS && w.job_count == 0) {
            struct lane_counts counts = lanes_counts(w.lanes);
            if (counts.held + counts.parked + counts.ready + counts.waiting == 0)
                break;
        }
    }
    for (uint64_t s = 1; s <= EVENTS; s++)
        assert_true(w.done[s]);
    assert_int_equal(lanes_cursor(w.lanes), EVENTS);
    lanes_destroy(w.lanes);
}

static void nothing_is_lost_or_out_of_order_at_random(void **state) {
    for (uint64_t seed = 1; seed <= 12; seed++)
        random_run(seed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_key_goes_in_order),
        cmocka_unit_test(a_final_failure_holds_its_lane_alone),
        cmocka_unit_test(retries_wait_longer_each_time),
        cmocka_unit_test(attempts_and_age_have_an_end),
        cmocka_unit_test(an_outage_costs_no_attempts),
        cmocka_unit_test(each_outcome_has_its_schedule),
        cmocka_unit_test(throttling_stops_all_lanes),
        cmocka_unit_test(concurrency_and_rate_are_kept),
        cmocka_unit_test(a_stuck_lane_is_parked),
        cmocka_unit_test(not_found_is_believed_only_when_settled),
        cmocka_unit_test(listed_lanes_come_back_after_a_restart),
        cmocka_unit_test(a_replayed_event_waits_its_turn),
        cmocka_unit_test(a_replayed_event_is_held_before_what_waits_behind_it),
        cmocka_unit_test(a_replayed_event_with_a_full_window_behind_it_is_parked),
        cmocka_unit_test(nothing_is_lost_or_out_of_order_at_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
