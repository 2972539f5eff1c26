/* lane_queue: where lanes are kept and found: an array with a free list, a map by key, a FIFO of lanes that
 * are ready, a heap of those that wait. Knows no rule of order. */
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "deliver/lane_priv.h"

/* --- lanes by key ------------------------------------------------------------------------ */

static bool lane_eq(const void *ctx, uint32_t index, const void *key) {
    const struct lane *lane = &((const struct lanes *)ctx)->lanes[index];
    const struct str *k = key;
    return lane->key_len == k->len && memcmp(lane->key, k->ptr, k->len) == 0;
}

static uint64_t lane_hash(const void *ctx, uint32_t index) {
    return ((const struct lanes *)ctx)->lanes[index].hash;
}

uint32_t lane_find(const struct lanes *lanes, struct str key, uint64_t hash) {
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

uint32_t lane_make(struct lanes *lanes, struct str key, uint64_t hash) {
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
    lane_afresh(lane);
    lane->due_us = 0;
    lane->settled_us = lanes->settled_us;
    lane->listed = lane->lookup = lane->alone = lane->released = false;
    return i;
}

void lane_drop(struct lanes *lanes, uint32_t i) {
    struct lane *lane = &lanes->lanes[i];
    must(map_remove(&lanes->map, lane->hash, i));
    lane->state = LANE_FREE;
    lane->link = lanes->lane_free;
    lanes->lane_free = i;
}

/* --- ready queue and heap ---------------------------------------------------------------- */

void ready_push(struct lanes *lanes, uint32_t i, bool front) {
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

uint32_t ready_pop(struct lanes *lanes) {
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

void heap_sift(struct lanes *lanes, uint32_t at) {
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

void wait_push(struct lanes *lanes, uint32_t i, int64_t due_us) {
    lanes->lanes[i].state = LANE_WAITING;
    lanes->lanes[i].due_us = due_us;
    must(lanes->heap_count < lanes->heap_cap);
    lanes->heap[lanes->heap_count] = i;
    lanes->lanes[i].heap_at = lanes->heap_count++;
    heap_sift(lanes, lanes->heap_count - 1);
}

void wait_remove(struct lanes *lanes, uint32_t i) {
    uint32_t at = lanes->lanes[i].heap_at;
    must(at < lanes->heap_count && lanes->heap[at] == i);
    uint32_t last = lanes->heap[--lanes->heap_count];
    if (last != i) {
        heap_set(lanes, at, last);
        heap_sift(lanes, at);
    }
}
