/* mem: see mem.h. The torture counter is atomic: threads share it. */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>

static _Atomic uint64_t mem_counter;
static _Atomic uint64_t mem_limit; /* 0: off */
static _Atomic int mem_sticky, mem_held;
static _Thread_local uint64_t mem_refusals;

void mem_fail_at(uint64_t n, int sticky) {
    atomic_store(&mem_counter, 0);
    atomic_store(&mem_sticky, sticky);
    atomic_store(&mem_limit, n);
}

bool mem_tortured(void) { return atomic_load_explicit(&mem_limit, memory_order_relaxed) != 0; }

void mem_fail_hold(bool hold) { atomic_fetch_add(&mem_held, hold ? 1 : -1); }

uint64_t mem_count(void) { return atomic_load(&mem_counter); }

static int mem_refuses(void) {
    uint64_t limit = atomic_load_explicit(&mem_limit, memory_order_relaxed);
    if (limit == 0 || atomic_load(&mem_held) > 0)
        return 0;
    uint64_t n = atomic_fetch_add(&mem_counter, 1) + 1;
    return n == limit || (n > limit && atomic_load(&mem_sticky));
}

static void *counted(void *made) {
    mem_refusals += made == NULL;
    return made;
}

void *mem_alloc(size_t size) { return counted(mem_refuses() ? NULL : malloc(size ? size : 1)); }
void *mem_zalloc(size_t size) { return counted(mem_refuses() ? NULL : calloc(1, size ? size : 1)); }
void *mem_resize(void *ptr, size_t size) {
    return counted(mem_refuses() ? NULL : realloc(ptr, size ? size : 1));
}
void mem_refuse(void) { mem_refusals++; }
uint64_t mem_refused(void) { return mem_refusals; }
void mem_free(void *ptr) { free(ptr); }

bool mem_room(void **items, uint32_t count, uint32_t *cap, uint32_t least, size_t size) {
    if (count < *cap)
        return true;
    if (*cap >= UINT32_MAX / 2)
        return false;
    uint32_t more = *cap ? *cap * 2 : least;
    void *fresh = mem_resize(*items, (size_t)more * size);
    if (!fresh)
        return false;
    *items = fresh;
    *cap = more;
    return true;
}
