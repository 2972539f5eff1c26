/* deliver_thread: delivery on a thread of its own, with a libuv loop that its drivers share.
 * One round (deliver_step) is made before the loop waits, whenever something happened. */
#include "base/log.h"
#include "connect/driver_net.h"
#include "deliver/pull.h"

static void woken(uv_async_t *async) { /* that the loop turns is enough: see before_wait */ }

static void wake_loop(void *ctx) { uv_async_send(&((struct deliver *)ctx)->async); }

static void timer_due(uv_timer_t *timer) { /* likewise */ }

static void calls_cancel(struct deliver *d);

static void drain_over(uv_timer_t *timer) {
    struct deliver *d = timer->data;
    d->drained = true;
    calls_cancel(d);
}

static void closed(uv_handle_t *handle) {}

static void handles_close(struct deliver *d) {
    calls_cancel(d);
    uv_close((uv_handle_t *)&d->async, closed);
    uv_close((uv_handle_t *)&d->timer, closed);
    uv_close((uv_handle_t *)&d->drain_timer, closed);
    uv_close((uv_handle_t *)&d->prepare, closed);
}

/* A clean end: what is in doubt now is known by name, nothing else needs a look-up later. */
static void farewell(struct deliver *d) {
    struct fault fault = {0};
    pthread_mutex_lock(&d->lock);
    for (uint32_t i = 0; i < d->count && !d->failed; i++) {
        struct subscription *sub = d->subs[i];
        if (sub->lanes != NULL)
            progress_set(d->progress, sub->name, lanes_cursor(sub->lanes),
                         lanes_suspect_to(sub->lanes));
    }
    replays_save(d);
    if (!d->failed && progress_flush(d->progress, &fault) != OK)
        log_line(LOG_ERROR, "deliver", "progress could not be written at the end", "error=%s",
                 log_quote(str_c(fault.detail)));
    pthread_mutex_unlock(&d->lock);
}

static void before_wait(uv_prepare_t *prepare) {
    struct deliver *d = prepare->data;
    int64_t drain_ms = d->drain_ms;
    if (drain_ms >= 0 && !d->stopping) {
        d->stopping = true;
        uv_timer_start(&d->drain_timer, drain_over, (uint64_t)drain_ms, 0);
    }
    deliver_step(d);
    if (d->stopping && d->out == 0) {
        pull_close(d);
        farewell(d);
        deliver_wake_set(d, NULL, NULL); /* commits go on: nobody may wake what is closed */
        uv_prepare_stop(prepare);
        handles_close(d);
        return;
    }
    int64_t next_us = deliver_next_us(d);
    if (next_us == INT64_MAX) {
        uv_timer_stop(&d->timer);
        return;
    }
    int64_t wait_us = next_us - clock_tick_us(d->options.clock);
    uv_update_time(&d->loop);
    uv_timer_start(&d->timer, timer_due, wait_us > 0 ? (uint64_t)(wait_us + 999) / 1000 : 0, 0);
}

static void *deliver_run(void *arg) {
    pthread_setname_np(pthread_self(), "deliver");
    struct deliver *d = arg;
    uv_run(&d->loop, UV_RUN_DEFAULT);
    return NULL;
}

/* Attempts under way are found through the driver: each call ends with NET_CANCELLED. */
static void calls_cancel(struct deliver *d) {
    if (d->own_net) {
        /* closing cancels all; a new driver is not needed any more */
        struct net *net = d->net;
        d->own_net = false;
        net_close(net);
        d->net = NULL;
    }
}

enum err deliver_start(struct deliver *d, struct fault *fault) {
    if (uv_loop_init(&d->loop) != 0)
        return fault_set(fault, ERR_NOMEM, "no memory for the delivery loop");
    if (d->net == NULL) {
        struct driver_http_options options = {
            .loop = &d->loop,
            .clock = d->options.clock,
            .calls_max = (uint32_t)d->options.config->settings.deliver_calls_max,
            .connections_max = (uint32_t)d->options.config->settings.deliver_calls_max};
        enum err err = driver_net_create(&options, &d->net, fault);
        if (err == OK && (err = deliver_net_wrap(d, true, fault)) != OK) {
            net_close(d->net);
            d->net = NULL;
            uv_run(&d->loop, UV_RUN_DEFAULT);
        }
        if (err != OK) {
            uv_loop_close(&d->loop);
            return err;
        }
        d->own_net = true;
    }
    if (uv_async_init(&d->loop, &d->async, woken) != 0) {
        calls_cancel(d);
        uv_run(&d->loop, UV_RUN_DEFAULT);
        uv_loop_close(&d->loop);
        return fault_set(fault, ERR_IO, "no file descriptor left for the delivery loop");
    }
    uv_timer_init(&d->loop, &d->timer);
    uv_timer_init(&d->loop, &d->drain_timer);
    uv_prepare_init(&d->loop, &d->prepare);
    d->drain_timer.data = d->prepare.data = d;
    uv_prepare_start(&d->prepare, before_wait);
    deliver_wake_set(d, wake_loop, d);
    wake_loop(d);
    if (pthread_create(&d->thread, NULL, deliver_run, d) != 0) {
        deliver_wake_set(d, NULL, NULL);
        handles_close(d);
        uv_run(&d->loop, UV_RUN_DEFAULT);
        uv_loop_close(&d->loop);
        return fault_set(fault, ERR_NOMEM, "no thread for delivery");
    }
    d->started = true;
    return OK;
}

void deliver_stop(struct deliver *d, int64_t drain_ms) {
    if (!d->started)
        return;
    d->drain_ms = drain_ms < 0 ? 0 : drain_ms;
    deliver_wake(d);
    pthread_join(d->thread, NULL);
    uv_loop_close(&d->loop);
    d->started = false;
}
