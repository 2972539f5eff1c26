/* traffic: see traffic.h. Topics are only ever added: readers take no lock. */
#include "connect/traffic.h"

#include <pthread.h>
#include <string.h>

static pthread_mutex_t adding = PTHREAD_MUTEX_INITIALIZER;

const struct traffic_topic *traffic_find(const struct traffic *traffic, struct str name) {
    uint32_t count = atomic_load_explicit(&traffic->count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++)
        if (str_is(name, traffic->topics[i].name))
            return &traffic->topics[i];
    return NULL;
}

struct traffic_topic *traffic_topic(struct traffic *traffic, struct str name) {
    const struct traffic_topic *found = traffic_find(traffic, name);
    if (found || name.len == 0 || name.len >= sizeof found->name)
        return (struct traffic_topic *)(uintptr_t)found;
    pthread_mutex_lock(&adding);
    found = traffic_find(traffic, name);
    uint32_t count = atomic_load(&traffic->count);
    if (!found && count < TRAFFIC_TOPICS_MAX) {
        struct traffic_topic *topic = &traffic->topics[count];
        memcpy(topic->name, name.ptr, name.len);
        atomic_store_explicit(&traffic->count, count + 1, memory_order_release);
        found = topic;
    }
    pthread_mutex_unlock(&adding);
    return (struct traffic_topic *)(uintptr_t)found;
}

void traffic_received(struct traffic *traffic, struct str name, int64_t now_us) {
    struct traffic_topic *topic = traffic_topic(traffic, name);
    if (!topic)
        return;
    atomic_fetch_add_explicit(&topic->received, 1, memory_order_relaxed);
    atomic_store_explicit(&topic->received_us, now_us, memory_order_relaxed);
}

void traffic_repaired(struct traffic *traffic, struct str name, int64_t now_us) {
    struct traffic_topic *topic = traffic_topic(traffic, name);
    if (!topic)
        return;
    atomic_fetch_add_explicit(&topic->repaired, 1, memory_order_relaxed);
    atomic_store_explicit(&topic->repaired_us, now_us, memory_order_relaxed);
}
