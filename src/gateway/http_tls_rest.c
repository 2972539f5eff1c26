/* http_tls_rest: OpenSSL's state of a connection, laid to rest while the connection is idle.
 *
 * Of each connection OpenSSL 3 keeps one struct of 7.6 KB (SSL), most of it room for records that
 * only some engines use: zeros. With all else it makes 15 KB for a connection that does nothing.
 * Here that struct lives in pages of its own; when a connection has been idle for a while, the
 * words of it that are not zero are copied away and the pages are given back to the kernel, and
 * before the next call into OpenSSL they are put where they were, so that every pointer holds.
 * Nothing here knows what the words mean.
 *
 * What holds always: a struct that rests is not touched by anybody (http_tls.c wakes it before each
 * call); where there is no room, or the hooks came too late, it is ordinary memory that never rests. */
#include <openssl/crypto.h>
#include <pthread.h>
#include <sys/mman.h>

#include "base/err.h"
#include "base/mem.h"
#include "gateway/http_tls_priv.h"

#define SLOT_BYTES ((size_t)8192)
#define SLOTS 65536u /* address space alone: 512 MiB */
#define LEAST_BYTES ((size_t)4096) /* smaller structs are not worth it */

struct tls_rest {
    uint32_t count;
    uint64_t words[]; /* a bit for each word of the struct, then those that are not zero */
};

static struct {
    pthread_mutex_t lock;
    char *from; /* NULL: no room */
    uint32_t begun; /* slots from here on were never used */
    uint32_t *free;
    uint32_t free_count;
    size_t size; /* of the struct; 0: none was made yet */
} room = {.lock = PTHREAD_MUTEX_INITIALIZER};
static _Thread_local bool wanted; /* the next large piece is a connection's struct */

static bool in_room(const void *ptr) {
    return room.from && (const char *)ptr >= room.from &&
           (const char *)ptr < room.from + SLOTS * SLOT_BYTES;
}

static void *slot_take(size_t size) {
    void *slot = NULL;

    pthread_mutex_lock(&room.lock);
    if (room.size == 0)
        room.size = size;
    if (size != room.size)
        slot = NULL;
    else if (room.free_count > 0)
        slot = room.from + room.free[--room.free_count] * SLOT_BYTES;
    else if (room.begun < SLOTS)
        slot = room.from + room.begun++ * SLOT_BYTES;
    pthread_mutex_unlock(&room.lock);
    return slot;
}

static void slot_give(void *slot) {
    madvise(slot, SLOT_BYTES, MADV_DONTNEED);
    pthread_mutex_lock(&room.lock);
    room.free[room.free_count++] = (uint32_t)((size_t)((char *)slot - room.from) / SLOT_BYTES);
    pthread_mutex_unlock(&room.lock);
}

static void *hook_alloc(size_t size, const char *file, int line) {
    if (wanted && size >= LEAST_BYTES && size <= SLOT_BYTES) {
        void *slot = slot_take(size);

        wanted = false;
        if (slot)
            return slot;
    }
    return mem_alloc(size);
}

static void hook_free(void *ptr, const char *file, int line) {
    if (in_room(ptr))
        slot_give(ptr);
    else
        mem_free(ptr);
}

static void *hook_resize(void *ptr, size_t size, const char *file, int line) {
    must(!in_room(ptr)); /* a connection's struct keeps its size */
    if (size > 0)
        return mem_resize(ptr, size);
    mem_free(ptr);
    return NULL;
}

void http_tls_memory_begin(void) {
    uint32_t *list = mem_alloc(SLOTS * sizeof *list);
    void *at = mmap(NULL, SLOTS * SLOT_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (list && at != MAP_FAILED && CRYPTO_set_mem_functions(hook_alloc, hook_resize, hook_free)) {
        madvise(at, SLOTS * SLOT_BYTES, MADV_NOHUGEPAGE);
        room.free = list;
        room.from = at;
        return;
    }
    if (at != MAP_FAILED)
        munmap(at, SLOTS * SLOT_BYTES);
    mem_free(list);
}

SSL *tls_rest_new(SSL_CTX *context) {
    SSL *ssl;

    wanted = room.from != NULL;
    ssl = SSL_new(context);
    wanted = false;
    return ssl;
}

struct tls_rest *tls_rest_begin(SSL *ssl) {
    const uint64_t *words = (const uint64_t *)(const void *)ssl;
    uint32_t total = (uint32_t)(room.size / 8), marks = (total + 63) / 64, n = 0;
    struct tls_rest *rest;

    if (!in_room(ssl) || room.size % 8 != 0)
        return NULL;
    for (uint32_t i = 0; i < total; i++)
        n += words[i] != 0;
    rest = mem_alloc(sizeof *rest + (marks + n) * sizeof(uint64_t));
    if (!rest)
        return NULL;
    memset(rest->words, 0, marks * sizeof(uint64_t));
    rest->count = n;
    n = marks;
    for (uint32_t i = 0; i < total; i++)
        if (words[i] != 0) {
            rest->words[i / 64] |= UINT64_C(1) << (i % 64);
            rest->words[n++] = words[i];
        }
    madvise(ssl, SLOT_BYTES, MADV_DONTNEED); /* reads as zero from here on */
    return rest;
}

void tls_rest_end(SSL *ssl, struct tls_rest *rest) {
    uint64_t *words = (uint64_t *)(void *)ssl;
    uint32_t total = (uint32_t)(room.size / 8), n = (total + 63) / 64;

    for (uint32_t i = 0; i < total; i++)
        if (rest->words[i / 64] >> (i % 64) & 1)
            words[i] = rest->words[n++];
    explicit_bzero(rest, sizeof *rest + n * sizeof(uint64_t));
    mem_free(rest);
}
