/* arena: memory that is freed all at once. One per request, event or attempt, with a cap
 * in bytes. Not thread-safe: one owner at a time. */
#ifndef PENSTOCK_BASE_ARENA_H
#define PENSTOCK_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct arena_chunk;
struct arena {
    struct arena_chunk *chunk; /* the newest */
    char *at, *end;            /* free space in it */
    size_t used, cap;          /* bytes taken from mem, and their limit */
    bool full;                 /* since the last reset something was refused that was beyond cap */
};

/* cap 0 means ARENA_CAP_DEFAULT. Takes no memory yet. */
#define ARENA_CAP_DEFAULT ((size_t)64 << 20)
void arena_init(struct arena *arena, size_t cap);
/* Frees all but one chunk of usual size, which the next use takes over. */
void arena_reset(struct arena *arena);
void arena_free(struct arena *arena);

/* Zeroed and 16-byte aligned; NULL when over the cap or out of memory. */
void *arena_alloc(struct arena *arena, size_t size);
/* As arena_alloc, bytes not cleared, alignment 1. */
char *arena_bytes(struct arena *arena, size_t size);
/* count * size, NULL on overflow. */
void *arena_array(struct arena *arena, size_t count, size_t size);
/* A copy, with a NUL behind it that len does not count. Absent stays absent;
 * absent is also the answer when memory is out and s was not empty. */
struct str arena_str(struct arena *arena, struct str s);
struct str arena_printf(struct arena *arena, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#define arena_new(arena, type) ((type *)arena_alloc((arena), sizeof(type)))

#endif
