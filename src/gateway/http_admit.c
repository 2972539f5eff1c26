/* http_admit: how many connections each address has open, so that one client can not have all of
 * them. A table under a lock: an address enters on the loop that accepts and leaves on the one
 * that closes. An entry lives as long as it counts something; their number is bounded by that of
 * the connections. */
#include <pthread.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "gateway/http_priv.h"

#define SLOTS 4096

struct http_address {
    struct http_address *next;
    uint8_t net[16];
    _Atomic uint32_t open;
};

struct http_admit {
    pthread_mutex_t lock;
    uint32_t each_max;
    uint64_t seed; /* so that nobody can choose addresses that meet in one slot */
    struct http_address *slots[SLOTS];
};

struct http_admit *http_admit_create(uint32_t each_max) {
    struct http_admit *admit = mem_zalloc(sizeof *admit);

    if (!admit)
        return NULL;
    pthread_mutex_init(&admit->lock, NULL);
    admit->each_max = each_max;
    admit->seed = rng_u64(&rng_system);
    return admit;
}

void http_admit_destroy(struct http_admit *admit) {
    if (!admit)
        return;
    for (uint32_t i = 0; i < SLOTS; i++)
        while (admit->slots[i]) {
            struct http_address *next = admit->slots[i]->next;

            mem_free(admit->slots[i]);
            admit->slots[i] = next;
        }
    pthread_mutex_destroy(&admit->lock);
    mem_free(admit);
}

static struct http_address **slot_of(struct http_admit *admit, const uint8_t net[16]) {
    return &admit->slots[hash64(str_of((const char *)net, 16), admit->seed) % SLOTS];
}

struct http_address *http_admit_enter(struct http_admit *admit, const uint8_t address[16]) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct http_address **slot, *at;
    uint8_t net[16];

    memcpy(net, address, 16);
    if (memcmp(net, mapped, sizeof mapped) != 0)
        memset(net + 8, 0, 8);
    pthread_mutex_lock(&admit->lock);
    slot = slot_of(admit, net);
    for (at = *slot; at && memcmp(at->net, net, 16) != 0; at = at->next) {
    }
    if (at && at->open >= admit->each_max) {
        at = NULL;
    } else if (at) {
        at->open++;
    } else if ((at = mem_zalloc(sizeof *at))) {
        memcpy(at->net, net, 16);
        at->open = 1;
        at->next = *slot;
        *slot = at;
    }
    pthread_mutex_unlock(&admit->lock);
    return at;
}

void http_admit_leave(struct http_admit *admit, struct http_address *from) {
    pthread_mutex_lock(&admit->lock);
    if (--from->open == 0) {
        struct http_address **at = slot_of(admit, from->net);

        while (*at != from)
            at = &(*at)->next;
        *at = from->next;
        mem_free(from);
    }
    pthread_mutex_unlock(&admit->lock);
}

uint32_t http_admit_open(const struct http_address *from) {
    return atomic_load_explicit(&((struct http_address *)(uintptr_t)from)->open,
                                memory_order_relaxed);
}
