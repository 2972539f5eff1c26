/* lane: see lane.h. Owns the rules of order, a ring of the events read ahead, the breaker; lanes are kept
 * and found by lane_queue.c. */
#include "deliver/lane_priv.h"

#include <string.h>

#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/planted.h"

#define WINDOW_MAX (UINT32_C(1) << 24)

const char *lane_outcome_name(enum lane_outcome outcome) {
    switch (outcome) {
    case LANE_SUCCESS: return "success";
    case LANE_RETRYABLE: return "retryable";
    case LANE_AMBIGUOUS: return "ambiguous";
    case LANE_THROTTLED: return "throttled";
    case LANE_UNREACHABLE: return "unreachable";
    case LANE_UNSETTLED: return "unsettled";
    case LANE_FINAL: return "final";
    }
    return "unknown";
}

struct lanes *lanes_create(const struct lane_policy *policy, struct rng *rng, uint64_t cursor,
                           int64_t settled_us) {
    must(policy->window_max > 0 && policy->window_max <= WINDOW_MAX && policy->concurrency > 0);
    uint32_t size = 16;
    while (size < policy->window_max)
        size *= 2;
    struct lanes *lanes = mem_zalloc(sizeof *lanes);
    struct entry *ring = mem_zalloc(size * sizeof *ring);
    if (lanes == NULL || ring == NULL) {
        mem_free(lanes);
        mem_free(ring);
        return NULL;
    }
    lanes->policy = *policy;
    lanes->rng = rng;
    lanes->ring = ring;
    lanes->ring_mask = size - 1;
    lanes->read_to = cursor;
    lanes->settled_us = settled_us;
    lanes->lane_free = lanes->ready_first = lanes->ready_last = LANE_NONE;
    map_init(&lanes->map);
    return lanes;
}

void lanes_policy_set(struct lanes *lanes, const struct lane_policy *policy) {
    must(policy->window_max == lanes->policy.window_max && policy->concurrency > 0);
    lanes->policy = *policy;
}

void lanes_destroy(struct lanes *lanes) {
    if (lanes == NULL)
        return;
    for (uint32_t i = 0; i < lanes->lane_count; i++)
        mem_free(lanes->lanes[i].key);
    mem_free(lanes->lanes);
    mem_free(lanes->heap);
    mem_free(lanes->ring);
    map_free(&lanes->map);
    mem_free(lanes);
}

/* min(max, first * factor^n); pause_make spreads it by jitter, in microseconds. */
static int64_t pause_ms(const struct lanes *lanes, enum lane_outcome outcome, uint32_t n) {
    const struct lane_schedule *again = &lanes->policy.again[outcome];
    int64_t ms = again->first_ms;
    for (uint32_t k = 0; k < n && ms < again->max_ms; k++)
        ms = ms > again->max_ms / again->factor ? again->max_ms : ms * again->factor;
    return ms > again->max_ms ? again->max_ms : ms;
}

/* --- feeding ----------------------------------------------------------------------------- */

static void ring_trim(struct lanes *lanes) {
    while (lanes->ring_count > 0 && lanes->ring[lanes->ring_first].done) {
        lanes->ring_first = (lanes->ring_first + 1) & lanes->ring_mask;
        lanes->ring_count--;
    }
}

static void entry_done(struct lanes *lanes, uint32_t at) {
    lanes->ring[at].done = true;
    lanes->live--;
}

/* What is done goes out of the middle of the ring, too. At most every half window of events. */
static void ring_compact(struct lanes *lanes) {
    uint32_t to = lanes->ring_first, count = 0;
    for (uint32_t k = 0; k < lanes->ring_count; k++) {
        const struct entry *entry = &lanes->ring[(lanes->ring_first + k) & lanes->ring_mask];
        if (!entry->done)
            lanes->lanes[entry->lane].head = lanes->lanes[entry->lane].tail = LANE_NONE;
    }
    for (uint32_t k = 0; k < lanes->ring_count; k++) {
        struct entry entry = lanes->ring[(lanes->ring_first + k) & lanes->ring_mask];
        if (entry.done)
            continue;
        struct lane *lane = &lanes->lanes[entry.lane];
        entry.next = LANE_NONE;
        lanes->ring[to] = entry;
        if (lane->head == LANE_NONE)
            lane->head = to;
        else
            lanes->ring[lane->tail].next = to;
        lane->tail = to;
        to = (to + 1) & lanes->ring_mask;
        count++;
    }
    lanes->ring_count = count;
}

bool lanes_room(const struct lanes *lanes) {
    return lanes->ring_count < lanes->policy.window_max ||
           (lanes->policy.conflate && lanes->live <= lanes->policy.window_max / 2);
}

static bool lane_is_out(const struct lane *lane) {
    return lane->state == LANE_OUT || lane->state == LANE_ANSWERED;
}

/* What waits of an unlisted lane and is not out gives way to `event`, which is added next. */
static void waiting_drop(struct lanes *lanes, struct lane *lane, struct lane_event *event) {
    bool out = lane_is_out(lane) && lane->replay == 0; /* a replayed one is not in the ring */
    uint32_t at = out ? lanes->ring[lane->head].next : lane->head;
    event->lookup |= !out && lane->replay == 0 && lane->lookup;
    for (; at != LANE_NONE; at = lanes->ring[at].next) {
        event->lookup |= lanes->ring[at].lookup;
        entry_done(lanes, at);
        lanes->ledger.waiting--;
        lanes->ledger.superseded++;
    }
    if (out) {
        lanes->ring[lane->head].next = LANE_NONE;
        lane->tail = lane->head;
    } else {
        lane->head = lane->tail = LANE_NONE;
    }
    ring_trim(lanes);
}

/* A listed lane where the newest counts: its rows give way. One that was held goes again, after the
 * pause that its failures have come to: else a key that the remote does not take would be tried with
 * every event. */
static void listed_supersede(struct lanes *lanes, uint32_t i, const struct lane_event *event,
                             int64_t now_us, struct lane_before *before) {
    struct lane *lane = &lanes->lanes[i];
    before->held = lane->state == LANE_HELD;
    before->seq = before->held || lane_is_out(lane) ? lane->seq : lane->seq - 1;
    lane->listed_to = event->seq;
    lane->lookup |= event->lookup;
    if (lane_is_out(lane))
        return;
    lane->seq = event->seq;
    if (lane->state == LANE_WAITING)
        heap_sift(lanes, lane->heap_at);
    if (before->held) {
        lanes->held--;
        lane->first_us = 0;
        wait_push(lanes, i, now_us + pause_ms(lanes, LANE_RETRYABLE, lane->attempts) * 1000);
    }
}

static enum lane_added listed_put(struct lanes *lanes, uint32_t i, const struct lane_event *event,
                                  int64_t now_us, struct lane_before *before) {
    struct lane *lane = &lanes->lanes[i];
    bool known = event->seq <= lane->listed_to;
    lanes->read_to = event->more ? event->seq - 1 : event->seq;
    if (known) {
        lanes->ledger.again++;
        return LANE_KNOWN;
    }
    lanes->ledger.taken++;
    lanes->ledger.listed++;
    if (lanes->policy.conflate && lane->replay == 0) {
        listed_supersede(lanes, i, event, now_us, before);
        return LANE_SUPERSEDES;
    }
    lane->listed_to = event->seq;
    return LANE_LISTED;
}

enum lane_added lanes_put(struct lanes *lanes, const struct lane_event *given, int64_t now_us,
                          struct lane_before *before) {
    must(given->seq > lanes->read_to);
    struct lane_event event = *given;
    uint64_t hash = hash64(event.key, 0);
    uint32_t i = lane_find(lanes, event.key, hash);
    if (i != MAP_NONE && lanes->lanes[i].listed)
        return listed_put(lanes, i, &event, now_us, before);
    if (!lanes_room(lanes))
        return LANE_FULL;
    bool fresh = i == MAP_NONE;
    if (fresh && (i = lane_make(lanes, event.key, hash)) == LANE_NONE)
        return LANE_FULL;
    struct lane *lane = &lanes->lanes[i];
    if (!fresh && lanes->policy.conflate)
        waiting_drop(lanes, lane, &event);
    if (lanes->ring_count >= lanes->policy.window_max)
        ring_compact(lanes);
    uint32_t at = (lanes->ring_first + lanes->ring_count++) & lanes->ring_mask;
    lanes->ring[at] = (struct entry){.seq = event.seq, .next = LANE_NONE, .lane = i, .lookup = event.lookup};
    lanes->live++;
    if (lane->head == LANE_NONE) {
        lane->head = at;
        if (lane->replay == 0) { /* else it is behind a replayed one */
            lane->seq = event.seq;
            lane->lookup = event.lookup;
        }
    } else {
        lanes->ring[lane->tail].next = at;
    }
    lane->tail = at;
    if (fresh)
        ready_push(lanes, i, false);
    else if (lane->state == LANE_WAITING)
        heap_sift(lanes, lane->heap_at);
    lanes->read_to = event.more ? event.seq - 1 : event.seq;
    lanes->ledger.taken++;
    lanes->ledger.waiting++;
    return LANE_ADDED;
}

enum lane_added lanes_add(struct lanes *lanes, uint64_t seq, struct str key, bool lookup) {
    struct lane_before before = {0};
    return lanes_put(lanes, &(struct lane_event){.seq = seq, .key = key, .lookup = lookup}, 0, &before);
}

bool lanes_replay(struct lanes *lanes, uint64_t seq, struct str key, uint64_t replay, bool lookup) {
    must(seq > 0 && seq <= lanes_cursor(lanes) && replay > 0);
    uint64_t hash = hash64(key, 0);
    if (lane_find(lanes, key, hash) != MAP_NONE)
        return false;
    uint32_t i = lane_make(lanes, key, hash);
    if (i == LANE_NONE)
        return false;
    struct lane *lane = &lanes->lanes[i];
    lane->seq = seq;
    lane->lookup = lookup;
    lane->replay = replay;
    lanes->ledger.taken++;
    lanes->ledger.replayed++;
    lanes->ledger.waiting++;
    ready_push(lanes, i, false);
    return true;
}

void lanes_superseded(struct lanes *lanes, uint64_t rows) {
    must(lanes->ledger.listed >= rows);
    lanes->ledger.listed -= rows;
    lanes->ledger.superseded += rows;
}

void lanes_known(struct lanes *lanes, uint64_t seq, bool more) {
    must(seq > lanes->read_to);
    lanes->read_to = more ? seq - 1 : seq;
    lanes->ledger.taken++;
    lanes->ledger.delivered++;
}

void lanes_again(struct lanes *lanes, uint64_t seq, bool more) {
    must(seq > lanes->read_to);
    lanes->read_to = more ? seq - 1 : seq;
    lanes->ledger.again++;
}

void lanes_pass(struct lanes *lanes, uint64_t seq) {
    if (seq > lanes->read_to)
        lanes->read_to = seq;
}

enum err lanes_load(struct lanes *lanes, struct str key, uint64_t seq, uint64_t last,
                    uint32_t attempts, int64_t due_us, int64_t now_us) {
    must(seq > 0 && last >= seq);
    if (lanes->policy.conflate && last > seq) { /* what is behind it counts */
        seq = last;
        due_us = now_us | 1;
    }
    uint64_t hash = hash64(key, 0);
    must(lane_find(lanes, key, hash) == MAP_NONE);
    uint32_t i = lane_make(lanes, key, hash);
    if (i == LANE_NONE)
        return ERR_NOMEM;
    struct lane *lane = &lanes->lanes[i];
    lane->seq = seq;
    lane->listed_to = last;
    lane->attempts = attempts;
    lane->first_us = attempts > 0 ? now_us : 0;
    lane->listed = true;
    lane->lookup = true; /* nobody knows how its last attempt ended */
    lanes->listed++;
    if (due_us == 0) {
        lane->state = LANE_HELD;
        lanes->held++;
    } else {
        wait_push(lanes, i, due_us);
    }
    return OK;
}

void lanes_replayed(struct lanes *lanes, struct str key, uint64_t replay) {
    uint32_t i = lane_find(lanes, key, hash64(key, 0));
    must(i != MAP_NONE && lanes->lanes[i].listed);
    lanes->lanes[i].replay = replay;
}

void lanes_loaded(struct lanes *lanes, uint64_t rows) {
    must(lanes->ledger.taken == 0);
    lanes->ledger.taken = lanes->ledger.listed = rows;
}

/* --- working ----------------------------------------------------------------------------- */

/* When the next delivery may go, as far as all lanes are concerned. */
static int64_t gate_us(const struct lanes *lanes) {
    return lanes->pause_us > lanes->next_send_us ? lanes->pause_us : lanes->next_send_us;
}

static bool gate_shut(const struct lanes *lanes) {
    return lanes->out >= lanes->policy.concurrency;
}

static struct lane_job job_of(struct lanes *lanes, uint32_t i) {
    struct lane *lane = &lanes->lanes[i];
    lane->state = LANE_OUT;
    lanes->out++;
    return (struct lane_job){.lane = i, .seq = lane->seq, .key = str_of(lane->key, lane->key_len),
                             .attempt = lane->attempts + 1, .lookup = lane->lookup,
                             .settled_us = lane->settled_us, .listed = lane->listed,
                             .released = lane->released, .alone = lane->alone, .replay = lane->replay};
}

bool lanes_take(struct lanes *lanes, int64_t now_us, struct lane_job *job) {
    while (lanes->heap_count > 0 && lanes->lanes[lanes->heap[0]].due_us <= now_us) {
        uint32_t due = lanes->heap[0];
        wait_remove(lanes, due);
        ready_push(lanes, due, false);
    }
    if (gate_shut(lanes) || now_us < gate_us(lanes))
        return false;
    uint32_t i = ready_pop(lanes);
    if (i == LANE_NONE)
        return false;
    if (lanes->policy.rate_per_s > 0) {
        /* a burst of what a tenth of a second allows, then evenly */
        int64_t gap_us = 1000000 / lanes->policy.rate_per_s;
        int64_t earliest = now_us - 100000;
        lanes->next_send_us = (lanes->next_send_us > earliest ? lanes->next_send_us : earliest) + gap_us;
    }
    *job = job_of(lanes, i);
    return true;
}

static void ready_remove(struct lanes *lanes, uint32_t i) {
    uint32_t *at = &lanes->ready_first, before = LANE_NONE;
    while (*at != i) {
        must(*at != LANE_NONE);
        before = *at;
        at = &lanes->lanes[before].link;
    }
    *at = lanes->lanes[i].link;
    if (lanes->ready_last == i)
        lanes->ready_last = before;
    lanes->lanes[i].link = LANE_NONE;
    lanes->ready_count--;
}

enum lane_claimed lanes_claim(struct lanes *lanes, uint64_t seq, struct str key, struct lane_job *job) {
    uint32_t i = lane_find(lanes, key, hash64(key, 0));
    if (seq > lanes->read_to)
        return LANE_UNREAD;
    if (i == MAP_NONE || lanes->lanes[i].seq > seq)
        return LANE_SETTLED;
    if (lanes->lanes[i].seq < seq)
        return LANE_BEHIND;
    switch (lanes->lanes[i].state) {
    case LANE_READY: ready_remove(lanes, i); break;
    case LANE_WAITING: wait_remove(lanes, i); break;
    case LANE_HELD: return LANE_KEPT;
    default: return LANE_BUSY;
    }
    *job = job_of(lanes, i);
    return LANE_CLAIMED;
}

static struct lane *lane_taken(struct lanes *lanes, uint32_t i) {
    must(i < lanes->lane_count);
    struct lane *lane = &lanes->lanes[i];
    must(lane->state == LANE_OUT || lane->state == LANE_ANSWERED);
    return lane;
}

void lanes_answered(struct lanes *lanes, uint32_t i) {
    struct lane *lane = lane_taken(lanes, i);
    must(lane->state == LANE_OUT);
    lane->state = LANE_ANSWERED;
    lanes->out--;
    lanes->answered++;
}

void lanes_suspect(struct lanes *lanes, uint32_t i, int64_t settled_us) {
    struct lane *lane = lane_taken(lanes, i);
    lane->lookup = true;
    if (settled_us > lane->settled_us)
        lane->settled_us = settled_us;
}

void lanes_absent(struct lanes *lanes, uint32_t i) { lane_taken(lanes, i)->lookup = false; }

static void lane_back(struct lanes *lanes, uint32_t i) {
    struct lane *lane = lane_taken(lanes, i);
    if (lane->state == LANE_OUT)
        lanes->out--;
    else
        lanes->answered--;
}

static int64_t pause_make(struct lanes *lanes, enum lane_outcome outcome, uint32_t n) {
    const struct lane_policy *policy = &lanes->policy;
    if (policy->pauses_ms != NULL && (outcome == LANE_RETRYABLE || outcome == LANE_AMBIGUOUS)) {
        int64_t at_us = policy->pauses_ms[n < policy->pause_count ? n : policy->pause_count - 1] * 1000;
        return at_us + (int64_t)rng_below(lanes->rng, (uint64_t)at_us / 10 + 1);
    }
    int64_t us = pause_ms(lanes, outcome, n) * 1000;
    return policy->jitter ? (int64_t)rng_below(lanes->rng, (uint64_t)us + 1) : us;
}

/* The first event of an unlisted lane is done: the next, or the lane goes. */
static void lane_advance(struct lanes *lanes, uint32_t i) {
    struct lane *lane = &lanes->lanes[i];
    lanes->ledger.waiting--;
    lanes->ledger.delivered++;
    if (lane->replay != 0) {
        lane->replay = 0;
    } else {
        entry_done(lanes, lane->head);
        lane->head = lanes->ring[lane->head].next;
    }
    lane->alone = false;
    if (lane->head == LANE_NONE) {
        lane_drop(lanes, i);
    } else {
        lane->seq = lanes->ring[lane->head].seq;
        lane->lookup = lanes->ring[lane->head].lookup;
        lane_afresh(lane);
        ready_push(lanes, i, false);
    }
    ring_trim(lanes);
}

/* The newer event that waits behind the one that is out takes its place; false: there is none. */
static bool head_supersede(struct lanes *lanes, uint32_t i) {
    struct lane *lane = &lanes->lanes[i];
    if (!lanes->policy.conflate || lane->replay != 0)
        return false;
    if (lane->listed) {
        if (lane->listed_to == lane->seq)
            return false;
        lane->seq = lane->listed_to;
    } else {
        uint32_t next = lanes->ring[lane->head].next;
        if (next == LANE_NONE)
            return false;
        entry_done(lanes, lane->head);
        lanes->ledger.waiting--;
        lanes->ledger.superseded++;
        lane->head = next;
        lane->seq = lanes->ring[next].seq;
        lane->lookup |= lanes->ring[next].lookup;
        ring_trim(lanes);
    }
    lane->first_us = 0;
    return true;
}

void lanes_together(struct lanes *lanes, bool together) {
    lanes->together = together;
    lanes->counted = false;
}

void lanes_alone(struct lanes *lanes, uint32_t i) { lane_taken(lanes, i)->alone = true; }

/* Those that found nobody in a row; what went together, found him once. */
static void unreachable_note(struct lanes *lanes, enum lane_outcome outcome) {
    if (lanes->together && lanes->counted)
        return;
    lanes->counted = true;
    lanes->unreachable = outcome == LANE_UNREACHABLE ? lanes->unreachable + 1 : 0;
}

static int64_t later(int64_t now_us, int64_t pause_us, int64_t retry_after_ms) {
    return now_us + (retry_after_ms * 1000 > pause_us ? retry_after_ms * 1000 : pause_us);
}

/* A delivery that was sent, or was to be. Whether a person must look: it never will succeed, or its tries,
 * or its time, are over. What came to nobody is no try, and has limits of its own. */
static bool lane_failed(struct lanes *lanes, struct lane *lane, enum lane_outcome outcome, int64_t now_us) {
    bool nobody = outcome == LANE_THROTTLED || outcome == LANE_UNREACHABLE;
    uint32_t times = nobody ? ++lane->refused : ++lane->attempts;
    int64_t *first_us = nobody ? &lane->refused_us : &lane->first_us;
    if (*first_us == 0)
        *first_us = now_us;
    if (outcome == LANE_FINAL)
        return true;
    const struct lane_schedule *again = &lanes->policy.again[outcome];
    return (again->attempts_max > 0 && times >= again->attempts_max) ||
           (again->age_max_us > 0 && now_us - *first_us >= again->age_max_us);
}

static void lane_swap(struct lanes *lanes, struct lane *lane);

/* When it comes again, or, by the queue, when it may. */
static void lane_again(struct lanes *lanes, uint32_t i, enum lane_outcome outcome, int64_t retry_after_ms,
                       int64_t now_us) {
    struct lane *lane = &lanes->lanes[i];
    if (outcome == LANE_THROTTLED) {
        lanes->pause_us = lane->due_us =
            later(now_us, pause_make(lanes, outcome, lane->refused - 1), retry_after_ms);
        ready_push(lanes, i, true);
    } else if (outcome == LANE_UNREACHABLE && lanes->broken) {
        lane->due_us = now_us;
        ready_push(lanes, i, true); /* nobody is taken before its breaker lets somebody try */
    } else {
        if (PLANTED(LANE_ORDER))
            lane_swap(lanes, lane);
        bool nobody = outcome == LANE_UNREACHABLE;
        uint32_t n = nobody ? (lanes->unreachable > 0 ? lanes->unreachable : 1) : lane->attempts;
        wait_push(lanes, i, later(now_us, pause_make(lanes, outcome, n - 1), retry_after_ms));
    }
}

/* For a planted fault: the first two deliveries of a lane change places. */
static void lane_swap(struct lanes *lanes, struct lane *lane) {
    struct entry *first = lane->head == LANE_NONE ? NULL : &lanes->ring[lane->head];
    if (first == NULL || first->next == LANE_NONE || lane->replay != 0)
        return;
    uint64_t seq = first->seq;
    first->seq = lanes->ring[first->next].seq;
    lanes->ring[first->next].seq = seq;
    lane->seq = first->seq;
}

enum lane_verdict lanes_end(struct lanes *lanes, uint32_t i, enum lane_outcome outcome,
                            int64_t retry_after_ms, int64_t now_us) {
    lane_back(lanes, i);
    struct lane *lane = &lanes->lanes[i];
    unreachable_note(lanes, outcome);
    bool superseded = outcome != LANE_SUCCESS && head_supersede(lanes, i);
    if (PLANTED(RETRY_SUCCESS) && lane->attempts > 0 &&
        (outcome == LANE_RETRYABLE || outcome == LANE_AMBIGUOUS))
        outcome = LANE_SUCCESS;
    if (outcome == LANE_SUCCESS) {
        if (lane->listed)
            lane->state = LANE_OUT; /* until lanes_refill */
        else
            lane_advance(lanes, i);
        return LANE_DONE;
    }
    if (outcome == LANE_AMBIGUOUS)
        lane->lookup = true;
    if (outcome == LANE_UNSETTLED) {
        wait_push(lanes, i, lane->settled_us > now_us ? lane->settled_us : now_us);
        return LANE_RETRY;
    }
    bool over = lane_failed(lanes, lane, outcome, now_us) && !superseded;
    if (over && (lane->listed || lanes->listed < lanes->policy.listed_max)) {
        lane->state = LANE_HELD; /* until lanes_list says so too */
        lanes->held++;
        return LANE_HOLD;
    }
    if (over || outcome == LANE_FINAL)
        wait_push(lanes, i, later(now_us, over ? lanes->policy.again[LANE_RETRYABLE].max_ms * 1000
                                               : pause_make(lanes, LANE_RETRYABLE, lane->attempts - 1),
                                  retry_after_ms));
    else
        lane_again(lanes, i, outcome, retry_after_ms, now_us);
    return LANE_RETRY;
}

void lanes_later(struct lanes *lanes, uint32_t i, int64_t due_us) {
    lane_back(lanes, i);
    head_supersede(lanes, i);
    wait_push(lanes, i, due_us);
}

void lanes_broken_set(struct lanes *lanes, bool broken) { lanes->broken = broken; }

void lanes_return(struct lanes *lanes, uint32_t i) {
    lane_back(lanes, i);
    ready_push(lanes, i, true);
}

void lanes_list(struct lanes *lanes, uint32_t i, bool hold, void (*visit)(void *ctx, uint64_t seq),
                void *ctx) {
    struct lane *lane = &lanes->lanes[i];
    must(lane->state == (hold ? LANE_HELD : LANE_WAITING));
    if (lane->listed)
        return;
    lane->listed = true;
    lanes->listed++;
    if (lane->replay != 0) {
        lane->listed_to = lane->seq;
        lanes->ledger.waiting--;
        lanes->ledger.listed++;
        visit(ctx, lane->seq);
    }
    for (uint32_t at = lane->head; at != LANE_NONE; at = lanes->ring[at].next) {
        entry_done(lanes, at);
        lanes->ledger.waiting--;
        lanes->ledger.listed++;
        lane->listed_to = lanes->ring[at].seq;
        visit(ctx, lanes->ring[at].seq);
    }
    lane->head = lane->tail = LANE_NONE;
    ring_trim(lanes);
}

uint32_t lanes_stuck(const struct lanes *lanes) {
    if (lanes_room(lanes) || lanes->broken || lanes->listed >= lanes->policy.listed_max)
        return LANE_NONE;
    /* The lane whose first event is the oldest of the window. */
    uint64_t seq = lanes->ring[lanes->ring_first].seq;
    for (uint32_t at = 0; at < lanes->heap_count; at++) {
        const struct lane *lane = &lanes->lanes[lanes->heap[at]];
        if (!lane->listed && lane->head != LANE_NONE && lanes->ring[lane->head].seq == seq)
            return lanes->heap[at];
    }
    return LANE_NONE;
}

void lanes_refill(struct lanes *lanes, uint32_t i, uint64_t seq) {
    struct lane *lane = &lanes->lanes[i];
    must(lane->listed);
    lanes->ledger.listed--;
    if (lane->state == LANE_HELD) {
        lanes->held--;
        lanes->ledger.discarded += !PLANTED(UNCOUNTED);
    } else {
        must(lane->state == LANE_OUT); /* as lanes_end left it */
        lanes->ledger.delivered++;
    }
    if (seq == 0) {
        lanes->listed--;
        lane_drop(lanes, i);
        return;
    }
    must(seq > lane->seq && seq <= lane->listed_to);
    lane->seq = seq;
    lane->replay = 0; /* a replayed one is the oldest of its lane */
    lane_afresh(lane);
    lane->lookup = true;
    lane->alone = lane->released = false;
    ready_push(lanes, i, false);
}

uint32_t lanes_held(const struct lanes *lanes, struct str key) {
    uint32_t i = lane_find(lanes, key, hash64(key, 0));
    return i != MAP_NONE && lanes->lanes[i].state == LANE_HELD ? i : LANE_NONE;
}

void lanes_release(struct lanes *lanes, uint32_t i) {
    struct lane *lane = &lanes->lanes[i];
    must(lane->state == LANE_HELD && lane->listed);
    lanes->held--;
    lane_afresh(lane);
    lane->released = true;
    ready_push(lanes, i, false);
}

void lanes_hurry(struct lanes *lanes) {
    while (lanes->heap_count > 0) {
        uint32_t i = lanes->heap[0];
        wait_remove(lanes, i);
        ready_push(lanes, i, false);
    }
    lanes->broken = false;
    lanes->unreachable = 0;
    lanes->pause_us = 0;
}

/* --- asking ------------------------------------------------------------------------------ */

uint64_t lanes_cursor(const struct lanes *lanes) {
    return lanes->ring_count > 0 ? lanes->ring[lanes->ring_first].seq - !PLANTED(CURSOR_EARLY) : lanes->read_to;
}

uint64_t lanes_read_to(const struct lanes *lanes) { return lanes->read_to; }

uint64_t lanes_suspect_to(const struct lanes *lanes) {
    uint64_t to = lanes_cursor(lanes);
    for (uint32_t i = 0; i < lanes->ring_count; i++) {
        const struct entry *entry = &lanes->ring[(lanes->ring_first + i) & lanes->ring_mask];
        if (!entry->done && entry->lookup && entry->seq > to)
            to = entry->seq;
    }
    for (uint32_t i = 0; i < lanes->lane_count; i++) {
        const struct lane *lane = &lanes->lanes[i];
        if (lane->state != LANE_FREE && !lane->listed && lane->lookup && lane->seq > to)
            to = lane->seq;
    }
    return to;
}

int64_t lanes_next_us(const struct lanes *lanes, int64_t now_us) {
    if (gate_shut(lanes))
        return INT64_MAX;
    int64_t gate = gate_us(lanes);
    if (lanes->ready_count > 0)
        return gate > now_us ? gate : now_us;
    if (lanes->heap_count == 0)
        return INT64_MAX;
    int64_t due = lanes->lanes[lanes->heap[0]].due_us;
    return due > gate ? due : gate;
}

int64_t lanes_due_us(const struct lanes *lanes, uint32_t i) { return lanes->lanes[i].due_us; }

struct str lanes_key(const struct lanes *lanes, uint32_t i) {
    return str_of(lanes->lanes[i].key, lanes->lanes[i].key_len);
}

uint64_t lanes_seq(const struct lanes *lanes, uint32_t i) { return lanes->lanes[i].seq; }

bool lanes_listed(const struct lanes *lanes, uint32_t i) { return lanes->lanes[i].listed; }

uint64_t lanes_replay_of(const struct lanes *lanes, uint32_t i) { return lanes->lanes[i].replay; }

uint32_t lanes_attempts(const struct lanes *lanes, uint32_t i) { return lanes->lanes[i].attempts; }

struct lane_counts lanes_counts(const struct lanes *lanes) {
    struct lane_counts counts = {.out = lanes->out + lanes->answered,
                                 .ready = lanes->ready_count,
                                 .waiting = lanes->heap_count,
                                 .held = lanes->held,
                                 .parked = lanes->listed - lanes->held,
                                 .broken = lanes->broken};
    counts.window = lanes->policy.conflate ? lanes->live : lanes->ring_count;
    return counts;
}

const struct lane_ledger *lanes_ledger(const struct lanes *lanes) { return &lanes->ledger; }
