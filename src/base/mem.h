/* mem: the one place heap memory comes from, so that tests can make any allocation fail. */
#ifndef PENSTOCK_BASE_MEM_H
#define PENSTOCK_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

/* As malloc, calloc, realloc, free; NULL when memory is out or the torture counter says so. */
void *mem_alloc(size_t size);
void *mem_zalloc(size_t size);
void *mem_resize(void *ptr, size_t size);
void mem_free(void *ptr);

/* Tests only: the n-th allocation from now fails (1 is the next); 0 switches it off.
 * With `sticky`, all after it fail too. */
void mem_fail_at(uint64_t n, int sticky);
/* Allocations since the last mem_fail_at. */
uint64_t mem_count(void);

#endif
