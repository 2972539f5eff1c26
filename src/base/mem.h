/* mem: the one place heap memory comes from, so that tests can make any allocation fail. */
#ifndef PENSTOCK_BASE_MEM_H
#define PENSTOCK_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As malloc, calloc, realloc, free; NULL when memory is out or the torture counter says so. */
void *mem_alloc(size_t size);
void *mem_zalloc(size_t size);
void *mem_resize(void *ptr, size_t size);
void mem_free(void *ptr);

/* Room in an array for one element behind its `count`: grows it twofold, to `least` at first.
 * False when memory is out, or beyond 2^31 elements: nothing changed. */
#define MEM_ROOM(items, count, cap, least) \
    mem_room((void **)&(items), (count), &(cap), (least), sizeof *(items))
bool mem_room(void **items, uint32_t count, uint32_t *cap, uint32_t least, size_t size);

/* How often memory was refused to this thread. Who reads something whole (a configuration) compares
 * before and after in place of looking at each piece: what is left out for want of memory must not
 * pass for what was written there. */
uint64_t mem_refused(void);
/* Who bounds memory below what there is (an arena's cap) has refused it, too. */
void mem_refuse(void);

/* Tests only: the n-th allocation from now fails (1 is the next); 0 switches it off.
 * With `sticky`, all after it fail too. */
void mem_fail_at(uint64_t n, int sticky);
/* Allocations since the last mem_fail_at. */
uint64_t mem_count(void);
/* Whether mem_fail_at is on: then arenas take each piece from here, so that each can fail. */
bool mem_tortured(void);
/* Tests only: what is allocated while it holds neither fails nor counts: a test's own doubles. */
void mem_fail_hold(bool hold);

#endif
