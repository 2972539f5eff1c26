/* arena: see arena.h. Chunks form a list, newest first; sizes double from 4 KiB up to
 * 256 KiB, larger requests get a chunk of their own size. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

#define CHUNK_FIRST ((size_t)4096)
#define CHUNK_KEEP ((size_t)65536) /* the largest chunk arena_reset keeps */
#define CHUNK_MAX ((size_t)262144)

struct arena_chunk {
    struct arena_chunk *older;
    size_t size; /* of the whole chunk, header included */
};
#define CHUNK_HEADER ((sizeof(struct arena_chunk) + 15) & ~(size_t)15)

void arena_init(struct arena *arena, size_t cap) {
    *arena = (struct arena){.cap = cap ? cap : ARENA_CAP_DEFAULT};
}

static void arena_enter(struct arena *arena, struct arena_chunk *chunk) {
    arena->chunk = chunk;
    arena->at = (char *)chunk + CHUNK_HEADER;
    arena->end = (char *)chunk + chunk->size;
}

static void chunks_free(struct arena_chunk *chunk) {
    while (chunk) {
        struct arena_chunk *older = chunk->older;
        mem_free(chunk);
        chunk = older;
    }
}

void arena_free(struct arena *arena) {
    chunks_free(arena->chunk);
    arena_init(arena, arena->cap);
}

void arena_reset(struct arena *arena) {
    struct arena_chunk *keep = arena->chunk;
    arena->full = false;
    if (!keep)
        return;
    if (mem_tortured()) {
        arena_free(arena);
        return;
    }
    /* The newest is the largest of the doubling ones, unless it was made for one big piece. */
    if (keep->size > CHUNK_KEEP) {
        while (keep && keep->size > CHUNK_KEEP) {
            struct arena_chunk *older = keep->older;
            mem_free(keep);
            keep = older;
        }
        if (!keep) {
            arena_init(arena, arena->cap);
            return;
        }
    }
    chunks_free(keep->older);
    keep->older = NULL;
    arena->used = keep->size;
    arena_enter(arena, keep);
}

static bool arena_more(struct arena *arena, size_t need) {
    size_t size = arena->chunk ? arena->chunk->size * 2 : CHUNK_FIRST;
    if (size > CHUNK_MAX)
        size = CHUNK_MAX;
    if (need > SIZE_MAX - CHUNK_HEADER - 16) {
        arena->full = true;
        mem_refuse();
        return false;
    }
    need += CHUNK_HEADER + 16;
    if (size < need || mem_tortured())
        size = need;
    if (arena->used + size > arena->cap) {
        size = need; /* what is left may still hold it */
        if (size > arena->cap || arena->used > arena->cap - size) {
            arena->full = true;
            mem_refuse();
            return false;
        }
    }
    struct arena_chunk *chunk = mem_alloc(size);
    if (!chunk)
        return false;
    chunk->older = arena->chunk;
    chunk->size = size;
    arena->used += size;
    arena_enter(arena, chunk);
    return true;
}

void *arena_alloc(struct arena *arena, size_t size) {
    char *at = (char *)(((uintptr_t)arena->at + 15) & ~(uintptr_t)15);
    if (!arena->at || at > arena->end || (size_t)(arena->end - at) < size) {
        if (!arena_more(arena, size))
            return NULL;
        at = (char *)(((uintptr_t)arena->at + 15) & ~(uintptr_t)15);
    }
    arena->at = at + size;
    memset(at, 0, size);
    return at;
}

char *arena_bytes(struct arena *arena, size_t size) {
    if (!arena->at || (size_t)(arena->end - arena->at) < size) {
        if (!arena_more(arena, size))
            return NULL;
    }
    char *at = arena->at;
    arena->at += size;
    return at;
}

void *arena_array(struct arena *arena, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    return arena_alloc(arena, bytes);
}

struct str arena_str(struct arena *arena, struct str s) {
    if (!s.ptr)
        return STR_NONE;
    char *copy = s.len < SIZE_MAX ? arena_bytes(arena, s.len + 1) : NULL;
    if (!copy)
        return STR_NONE;
    if (s.len)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return str_of(copy, s.len);
}

struct str arena_printf(struct arena *arena, const char *fmt, ...) {
    va_list args, again;
    size_t room = arena->at ? (size_t)(arena->end - arena->at) : 0;
    va_start(args, fmt);
    va_copy(again, args);
    int len = vsnprintf(arena->at, room, fmt, args); /* mostly there is room for it */
    va_end(args);
    must(len >= 0);
    char *text = arena_bytes(arena, (size_t)len + 1);
    if (text && (size_t)len >= room)
        vsnprintf(text, (size_t)len + 1, fmt, again);
    va_end(again);
    return text ? str_of(text, (size_t)len) : STR_NONE;
}
