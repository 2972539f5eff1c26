/* lane: see lane.h. Owns a ring of the events read ahead, the lanes (an array with a free list,
 * found by key through a map), a FIFO of lanes that are ready and a heap of those that wait. */
#include "deliver/lane.h"

#include <string.h>

#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/planted.h"

enum lane_state { LANE_FREE, LANE_READY, LANE_OUT, LANE_ANSWERED, LANE_WAITING, LANE_HELD };

struct entry {
    uint64_t seq;
    uint32_t next; /* of the same lane, as ring index; LANE_NONE at the end */
    bool done;     /* or listed */
    bool lookup;
};

struct lane {
    uint64_t hash;
    char *key;
    uint32_t key_len, key_cap;
    uint32_t head, tail; /* ring indexes; LANE_NONE for a listed lane */
    uint32_t link;       /* next in the ready queue, or next free */
    uint32_t heap_at;
    uint64_t seq;        /* of the first event */
    uint64_t listed_to;  /* last seq that is a row of the store */
    uint64_t replay;     /* its first event is a replayed one, of this replay: not in the ring; 0: none */
    int64_t first_us;    /* first failed attempt that counts; 0: none */
    int64_t due_us;
    int64_t settled_us;
    uint32_t attempts;
    uint8_t state;
    bool listed, lookup;
};

struct lanes {
    struct lane_policy policy;
    struct rng *rng;
    struct entry *ring;
    uint32_t ring_mask, ring_first, ring_count;
    uint64_t read_to;
    int64_t settled_us; /* of what an earlier life may have sent */
    struct lane *lanes;
    uint32_t lane_count, lane_cap, lane_free;
    struct map map;
    uint32_t ready_first, ready_last, ready_count;
    uint32_t *heap;
    uint32_t heap_count, heap_cap;
    uint32_t out, answered, held, listed;
    struct lane_ledger ledger;
    int64_t next_send_us; /* rate: not before */
    int64_t pause_us;     /* throttled: not before */
    /* breaker */
    uint32_t unreachable; /* in a row */
    uint32_t probes;      /* failed in a row while open */
    bool broken;
    uint32_t probe; /* lane that is out as a probe, or LANE_NONE */
    int64_t probe_us;
};

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
    lanes->lane_free = lanes->ready_first = lanes->ready_last = lanes->probe = LANE_NONE;
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

/* --- lanes by key ------------------------------------------------------------------------ */

static bool lane_eq(const void *ctx, uint32_t index, const void *key) {
    const struct lane *lane = &((const struct lanes *)ctx)->lanes[index];
    const struct str *k = key;
    return lane->key_len == k->len && memcmp(lane->key, k->ptr, k->len) == 0;
}

static uint64_t lane_hash(const void *ctx, uint32_t index) {
    return ((const struct lanes *)ctx)->lanes[index].hash;
}

static uint32_t lane_find(const struct lanes *lanes, struct str key, uint64_t hash) {
    return map_find(&lanes->map, hash, lane_eq, lanes, &key);
}

/* A free lane's index, or LANE_NONE. There is always heap room for all lanes. */
static uint32_t lane_slot(struct lanes *lanes) {
    if (lanes->lane_free != LANE_NONE)
        return lanes->lane_free;
    if (lanes->lane_count == lanes->lane_cap) {
        uint32_t cap = lanes->lane_cap ? lanes->lane_cap * 2 : 64;
        struct lane *more = mem_resize(lanes->lanes, cap * sizeof *more);
        if (more == NULL)
            return LANE_NONE;
        lanes->lanes = more;
        uint32_t *heap = mem_resize(lanes->heap, cap * sizeof *heap);
        if (heap == NULL)
            return LANE_NONE;
        lanes->heap = heap;
        lanes->heap_cap = lanes->lane_cap = cap;
    }
    uint32_t i = lanes->lane_count++;
    lanes->lanes[i] = (struct lane){.link = LANE_NONE, .state = LANE_FREE};
    lanes->lane_free = i;
    return i;
}

static uint32_t lane_make(struct lanes *lanes, struct str key, uint64_t hash) {
    uint32_t i = lane_slot(lanes);
    if (i == LANE_NONE)
        return LANE_NONE;
    struct lane *lane = &lanes->lanes[i];
    if (lane->key_cap < key.len || lane->key == NULL) {
        uint32_t cap = key.len < 32 ? 32 : (uint32_t)key.len;
        char *bytes = mem_resize(lane->key, cap);
        if (bytes == NULL)
            return LANE_NONE;
        lane->key = bytes;
        lane->key_cap = cap;
    }
    if (key.len > 0)
        memcpy(lane->key, key.ptr, key.len);
    lane->key_len = (uint32_t)key.len;
    lane->hash = hash;
    if (!map_add(&lanes->map, hash, i, lane_hash, lanes))
        return LANE_NONE;
    lanes->lane_free = lane->link;
    lane->link = LANE_NONE;
    lane->head = lane->tail = LANE_NONE;
    lane->seq = lane->listed_to = lane->replay = 0;
    lane->first_us = lane->due_us = 0;
    lane->settled_us = lanes->settled_us;
    lane->attempts = 0;
    lane->listed = lane->lookup = false;
    return i;
}

static void lane_drop(struct lanes *lanes, uint32_t i) {
    struct lane *lane = &lanes->lanes[i];
    must(map_remove(&lanes->map, lane->hash, i));
    lane->state = LANE_FREE;
    lane->link = lanes->lane_free;
    lanes->lane_free = i;
}

/* --- ready queue and heap ---------------------------------------------------------------- */

static void ready_push(struct lanes *lanes, uint32_t i, bool front) {
    struct lane *lane = &lanes->lanes[i];
    lane->state = LANE_READY;
    lane->link = LANE_NONE;
    if (lanes->ready_first == LANE_NONE) {
        lanes->ready_first = lanes->ready_last = i;
    } else if (front) {
        lane->link = lanes->ready_first;
        lanes->ready_first = i;
    } else {
        lanes->lanes[lanes->ready_last].link = i;
        lanes->ready_last = i;
    }
    lanes->ready_count++;
}

static uint32_t ready_pop(struct lanes *lanes) {
    uint32_t i = lanes->ready_first;
    if (i == LANE_NONE)
        return LANE_NONE;
    lanes->ready_first = lanes->lanes[i].link;
    if (lanes->ready_first == LANE_NONE)
        lanes->ready_last = LANE_NONE;
    lanes->lanes[i].link = LANE_NONE;
    lanes->ready_count--;
    return i;
}

static bool heap_less(const struct lanes *lanes, uint32_t a, uint32_t b) {
    const struct lane *la = &lanes->lanes[a], *lb = &lanes->lanes[b];
    return la->due_us != lb->due_us ? la->due_us < lb->due_us : la->seq < lb->seq;
}

static void heap_set(struct lanes *lanes, uint32_t at, uint32_t i) {
    lanes->heap[at] = i;
    lanes->lanes[i].heap_at = at;
}

static void heap_sift(struct lanes *lanes, uint32_t at) {
    uint32_t i = lanes->heap[at];
    while (at > 0 && heap_less(lanes, i, lanes->heap[(at - 1) / 2])) {
        heap_set(lanes, at, lanes->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        uint32_t child = at * 2 + 1;
        if (child >= lanes->heap_count)
            break;
        if (child + 1 < lanes->heap_count &&
            heap_less(lanes, lanes->heap[child + 1], lanes->heap[child]))
            child++;
        if (!heap_less(lanes, lanes->heap[child], i))
            break;
        heap_set(lanes, at, lanes->heap[child]);
        at = child;
    }
    heap_set(lanes, at, i);
}

static void wait_push(struct lanes *lanes, uint32_t i, int64_t due_us) {
    lanes->lanes[i].state = LANE_WAITING;
    lanes->lanes[i].due_us = due_us;
    must(lanes->heap_count < lanes->heap_cap);
    lanes->heap[lanes->heap_count] = i;
    lanes->lanes[i].heap_at = lanes->heap_count++;
    heap_sift(lanes, lanes->heap_count - 1);
}

static void wait_remove(struct lanes *lanes, uint32_t i) {
    uint32_t at = lanes->lanes[i].heap_at;
    must(at < lanes->heap_count && lanes->heap[at] == i);
    uint32_t last = lanes->heap[--lanes->heap_count];
    if (last != i) {
        heap_set(lanes, at, last);
        heap_sift(lanes, at);
    }
}

/* --- feeding ----------------------------------------------------------------------------- */

bool lanes_room(const struct lanes *lanes) { return lanes->ring_count < lanes->policy.window_max; }

enum lane_added lanes_add(struct lanes *lanes, uint64_t seq, struct str key, bool lookup) {
    must(seq > lanes->read_to);
    uint64_t hash = hash64(key, 0);
    uint32_t i = lane_find(lanes, key, hash);
    if (i != MAP_NONE && lanes->lanes[i].listed) {
        struct lane *lane = &lanes->lanes[i];
        bool known = seq <= lane->listed_to;
        if (!known) {
            lane->listed_to = seq;
            lanes->ledger.taken++;
            lanes->ledger.listed++;
        } else {
            lanes->ledger.again++;
        }
        lanes->read_to = seq;
        return known ? LANE_KNOWN : LANE_LISTED;
    }
    if (!lanes_room(lanes))
        return LANE_FULL;
    bool fresh = i == MAP_NONE;
    if (fresh && (i = lane_make(lanes, key, hash)) == LANE_NONE)
        return LANE_FULL;
    uint32_t at = (lanes->ring_first + lanes->ring_count++) & lanes->ring_mask;
    lanes->ring[at] = (struct entry){.seq = seq, .next = LANE_NONE, .lookup = lookup};
    struct lane *lane = &lanes->lanes[i];
    if (fresh) {
        lane->head = at;
        lane->seq = seq;
        lane->lookup = lookup;
        ready_push(lanes, i, false);
    } else if (lane->head == LANE_NONE) { /* behind a replayed one */
        lane->head = at;
    } else {
        lanes->ring[lane->tail].next = at;
    }
    lane->tail = at;
    lanes->read_to = seq;
    lanes->ledger.taken++;
    lanes->ledger.waiting++;
    return LANE_ADDED;
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
    lanes->ledger.waiting++;
    ready_push(lanes, i, false);
    return true;
}

void lanes_known(struct lanes *lanes, uint64_t seq) {
    must(seq > lanes->read_to);
    lanes->read_to = seq;
    lanes->ledger.taken++;
    lanes->ledger.delivered++;
}

void lanes_pass(struct lanes *lanes, uint64_t seq) {
    if (seq > lanes->read_to)
        lanes->read_to = seq;
}

enum err lanes_load(struct lanes *lanes, struct str key, uint64_t seq, uint64_t last,
                    uint32_t attempts, int64_t due_us, int64_t now_us) {
    must(seq > 0 && last >= seq);
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
    int64_t at = lanes->pause_us > lanes->next_send_us ? lanes->pause_us : lanes->next_send_us;
    return lanes->broken && lanes->probe_us > at ? lanes->probe_us : at;
}

static bool gate_shut(const struct lanes *lanes) {
    return lanes->out >= lanes->policy.concurrency || (lanes->broken && lanes->probe != LANE_NONE);
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
    struct lane *lane = &lanes->lanes[i];
    lane->state = LANE_OUT;
    lanes->out++;
    if (lanes->broken)
        lanes->probe = i;
    if (lanes->policy.rate_per_s > 0) {
        /* a burst of what a tenth of a second allows, then evenly */
        int64_t gap_us = 1000000 / lanes->policy.rate_per_s;
        int64_t earliest = now_us - 100000;
        lanes->next_send_us = (lanes->next_send_us > earliest ? lanes->next_send_us : earliest) + gap_us;
    }
    *job = (struct lane_job){.lane = i,
                             .seq = lane->seq,
                             .key = str_of(lane->key, lane->key_len),
                             .attempt = lane->attempts + 1,
                             .lookup = lane->lookup,
                             .settled_us = lane->settled_us,
                             .probe = lanes->broken,
                             .listed = lane->listed,
                             .replay = lane->replay};
    return true;
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

static void lane_back(struct lanes *lanes, uint32_t i) {
    struct lane *lane = lane_taken(lanes, i);
    if (lane->state == LANE_OUT)
        lanes->out--;
    else
        lanes->answered--;
    if (lanes->probe == i)
        lanes->probe = LANE_NONE;
}

/* min(max, first * factor^n); pause_make spreads it by jitter, in microseconds. */
static int64_t pause_ms(const struct lanes *lanes, uint32_t n, int64_t max_ms) {
    int64_t ms = lanes->policy.first_ms;
    for (uint32_t k = 0; k < n && ms < max_ms; k++)
        ms = ms > max_ms / lanes->policy.factor ? max_ms : ms * lanes->policy.factor;
    return ms > max_ms ? max_ms : ms;
}

static int64_t pause_make(struct lanes *lanes, uint32_t n, int64_t max_ms) {
    int64_t us = pause_ms(lanes, n, max_ms) * 1000;
    return lanes->policy.jitter ? (int64_t)rng_below(lanes->rng, (uint64_t)us + 1) : us;
}

/* Before the attempt after the n-th, 0 first. */
static int64_t retry_pause(struct lanes *lanes, uint32_t n) {
    const struct lane_policy *policy = &lanes->policy;
    if (policy->pauses_ms == NULL)
        return pause_make(lanes, n, policy->max_ms);
    int64_t us = policy->pauses_ms[n < policy->pause_count ? n : policy->pause_count - 1] * 1000;
    return us + (int64_t)rng_below(lanes->rng, (uint64_t)us / 10 + 1);
}

static void ring_trim(struct lanes *lanes) {
    while (lanes->ring_count > 0 && lanes->ring[lanes->ring_first].done) {
        lanes->ring_first = (lanes->ring_first + 1) & lanes->ring_mask;
        lanes->ring_count--;
    }
}

/* The first event of an unlisted lane is done: the next, or the lane goes. */
static void lane_advance(struct lanes *lanes, uint32_t i) {
    struct lane *lane = &lanes->lanes[i];
    lanes->ledger.waiting--;
    lanes->ledger.delivered++;
    if (lane->replay != 0) {
        lane->replay = 0;
    } else {
        struct entry *entry = &lanes->ring[lane->head];
        entry->done = true;
        lane->head = entry->next;
    }
    if (lane->head == LANE_NONE) {
        lane_drop(lanes, i);
    } else {
        lane->seq = lanes->ring[lane->head].seq;
        lane->lookup = lanes->ring[lane->head].lookup;
        lane->attempts = 0;
        lane->first_us = 0;
        ready_push(lanes, i, false);
    }
    ring_trim(lanes);
}

static void breaker_closed(struct lanes *lanes) {
    lanes->unreachable = lanes->probes = 0;
    lanes->broken = false;
}

/* One more without an answer. Opens the breaker, or puts the next probe off; deliveries that
 * were out together when the remote went away count as one probe. */
static void breaker_count(struct lanes *lanes, int64_t retry_after_ms, int64_t now_us) {
    if (++lanes->unreachable < lanes->policy.breaker_after && !lanes->broken)
        return;
    if (!lanes->broken || now_us >= lanes->probe_us) {
        int64_t pause = pause_ms(lanes, lanes->probes, lanes->policy.probe_max_ms);
        lanes->probe_us = now_us + 1000 * (retry_after_ms > pause ? retry_after_ms : pause);
        lanes->probes++;
    }
    lanes->broken = true;
}

/* Nobody there: the lane keeps its turn and its attempts. */
static enum lane_verdict end_unreachable(struct lanes *lanes, uint32_t i, int64_t now_us) {
    if (lanes->broken) {
        ready_push(lanes, i, true);
        lanes->lanes[i].due_us = lanes->probe_us;
    } else {
        int64_t pause = pause_make(lanes, lanes->unreachable - 1, lanes->policy.probe_max_ms);
        wait_push(lanes, i, now_us + pause);
    }
    return LANE_RETRY;
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
    const struct lane_policy *policy = &lanes->policy;
    if (outcome == LANE_UNREACHABLE || outcome == LANE_AMBIGUOUS)
        breaker_count(lanes, retry_after_ms, now_us);
    else /* an answer that makes sense: somebody is there */
        breaker_closed(lanes);
    if (outcome == LANE_UNREACHABLE)
        return end_unreachable(lanes, i, now_us);
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
    if (outcome == LANE_THROTTLED) {
        int64_t pause = pause_make(lanes, lane->attempts, policy->max_ms);
        lanes->pause_us = now_us + (retry_after_ms * 1000 > pause ? retry_after_ms * 1000 : pause);
        ready_push(lanes, i, true);
        lane->due_us = lanes->pause_us;
        return LANE_RETRY;
    }
    lane->attempts++;
    if (lane->first_us == 0)
        lane->first_us = now_us;
    bool over = outcome == LANE_FINAL ||
                (policy->attempts_max > 0 && lane->attempts >= policy->attempts_max) ||
                (policy->age_max_us > 0 && now_us - lane->first_us >= policy->age_max_us);
    if (over && (lane->listed || lanes->listed < policy->listed_max)) {
        lane->state = LANE_HELD; /* until lanes_list says so too */
        lanes->held++;
        return LANE_HOLD;
    }
    int64_t pause = over ? policy->max_ms * 1000 : retry_pause(lanes, lane->attempts - 1);
    if (retry_after_ms * 1000 > pause)
        pause = retry_after_ms * 1000;
    if (PLANTED(LANE_ORDER))
        lane_swap(lanes, lane);
    wait_push(lanes, i, now_us + pause);
    return LANE_RETRY;
}

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
        lanes->ring[at].done = true;
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
    lane->attempts = 0;
    lane->first_us = 0;
    lane->lookup = true;
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
    lane->attempts = 0;
    lane->first_us = 0;
    ready_push(lanes, i, false);
}

void lanes_hurry(struct lanes *lanes) {
    while (lanes->heap_count > 0) {
        uint32_t i = lanes->heap[0];
        wait_remove(lanes, i);
        ready_push(lanes, i, false);
    }
    breaker_closed(lanes);
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
    counts.window = lanes->ring_count;
    return counts;
}

const struct lane_ledger *lanes_ledger(const struct lanes *lanes) { return &lanes->ledger; }
