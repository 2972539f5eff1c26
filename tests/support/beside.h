/* beside: a call that waits for the loop that a test turns by hand: it runs on a thread of its own. */
#ifndef PENSTOCK_TESTS_SUPPORT_BESIDE_H
#define PENSTOCK_TESTS_SUPPORT_BESIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/err.h"

struct beside {
    void (*call)(void *ctx);
    void *ctx;
    _Atomic bool done;
};
static inline void *beside_run(void *arg) {
    struct beside *b = arg;
    b->call(b->ctx);
    b->done = true;
    return NULL;
}
/* Answers once the call has; `turn` is called as long as it has not. */
static inline void beside(void (*call)(void *ctx), void *ctx, void (*turn)(void)) {
    struct beside b = {.call = call, .ctx = ctx};
    pthread_t thread;
    must(pthread_create(&thread, NULL, beside_run, &b) == 0);
    while (!b.done)
        turn();
    pthread_join(thread, NULL);
}

#endif
