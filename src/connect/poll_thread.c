/* poll_thread: polling on a thread of its own, with a libuv loop that its HTTP driver shares. One step
 * is made before the loop waits, whenever something happened. */
#include "base/log.h"
#include "connect/driver_http.h"
#include "connect/expects.h"
#include "connect/poll_priv.h"

static void woken(uv_async_t *async) { (void)async; /* that the loop turns is enough */ }
static void wake_loop(void *ctx) { uv_async_send(&((struct poller *)ctx)->async); }
static void timer_due(uv_timer_t *timer) { (void)timer; }
static void closed(uv_handle_t *handle) { (void)handle; }

static void handles_close(struct poller *poller) {
    uv_close((uv_handle_t *)&poller->async, closed);
    uv_close((uv_handle_t *)&poller->timer, closed);
    uv_close((uv_handle_t *)&poller->prepare, closed);
}

static bool under_way(const struct poller *poller) {
    for (uint32_t i = 0; i < poller->count; i++)
        if (poller->entries[i]->busy > 0 || poller->entries[i]->call)
            return true;
    return expects_busy(poller->expects) > 0;
}

/* Ends all calls; nobody starts one, or looks after it, from here on. */
static void net_end(struct poller *poller) {
    if (poller->own_net) {
        net_close(poller->net);
        poller->net = NULL;
    }
    poller->own_net = false;
}

static void before_wait(uv_prepare_t *prepare) {
    struct poller *poller = prepare->data;
    if (atomic_load(&poller->stop) && !poller->stopping) {
        poller->stopping = true;
        net_end(poller);
    }
    poller_step(poller);
    if (poller->stopping && !under_way(poller)) {
        poller_wake_set(poller, NULL, NULL);
        uv_prepare_stop(prepare);
        handles_close(poller);
        return;
    }
    int64_t next_us = poller_next_us(poller);
    if (next_us == INT64_MAX) {
        uv_timer_stop(&poller->timer);
        return;
    }
    int64_t wait_us = next_us - clock_tick_us(poller->options.clock);
    uv_update_time(&poller->loop);
    uv_timer_start(&poller->timer, timer_due, wait_us > 0 ? (uint64_t)(wait_us + 999) / 1000 : 0, 0);
}

static void *poller_thread(void *arg) {
    pthread_setname_np(pthread_self(), "poll");
    struct poller *poller = arg;
    uv_run(&poller->loop, UV_RUN_DEFAULT);
    return NULL;
}

enum err poller_start(struct poller *poller, struct fault *fault) {
    uint32_t calls = (uint32_t)poller->options.config->settings.poll_calls_max;
    if (uv_loop_init(&poller->loop) != 0)
        return fault_set(fault, ERR_NOMEM, "no memory for the loop of polls");
    struct driver_http_options options = {.loop = &poller->loop, .clock = poller->options.clock,
                                          .calls_max = calls, .connections_max = calls};
    if (!poller->net) {
        enum err err = driver_http_create(&options, &poller->net, fault);
        if (err != OK) {
            uv_loop_close(&poller->loop);
            return err;
        }
        poller->own_net = true;
        err = poller_net_wrap(poller, true, fault);
        if (err != OK) {
            net_end(poller);
            uv_run(&poller->loop, UV_RUN_DEFAULT);
            uv_loop_close(&poller->loop);
            return err;
        }
    }
    if (uv_async_init(&poller->loop, &poller->async, woken) != 0) {
        net_end(poller);
        uv_run(&poller->loop, UV_RUN_DEFAULT);
        uv_loop_close(&poller->loop);
        return fault_set(fault, ERR_IO, "no file descriptor left for the loop of polls");
    }
    uv_timer_init(&poller->loop, &poller->timer);
    uv_prepare_init(&poller->loop, &poller->prepare);
    poller->prepare.data = poller;
    uv_prepare_start(&poller->prepare, before_wait);
    poller_wake_set(poller, wake_loop, poller);
    wake_loop(poller);
    if (pthread_create(&poller->thread, NULL, poller_thread, poller) != 0) {
        poller_wake_set(poller, NULL, NULL);
        net_end(poller);
        handles_close(poller);
        uv_run(&poller->loop, UV_RUN_DEFAULT);
        uv_loop_close(&poller->loop);
        return fault_set(fault, ERR_NOMEM, "no thread for polls");
    }
    poller->started = true;
    return OK;
}

void poller_stop(struct poller *poller) {
    if (!poller->started)
        return;
    atomic_store(&poller->stop, true);
    poller_wake(poller);
    pthread_join(poller->thread, NULL);
    uv_loop_close(&poller->loop);
    poller->started = false;
}
