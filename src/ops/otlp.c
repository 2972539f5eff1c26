/* otlp: see otlp.h. One request under way at a time; all but the counters is the thread's own. */
#include "ops/otlp.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
#include <uv.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"
#include "connect/driver_http.h"

struct otlp {
    const struct config *config;
    struct clock *clock;
    struct arena arena;
    struct net_header *headers; /* room for one more: Content-Type */
    uint32_t header_count;
    struct str url;
    struct otlp_resource resource;
    char instance[64];
    uv_loop_t loop;
    uv_timer_t timer;
    uv_async_t stop;
    struct net *net;
    struct net_call *call; /* while under_way */
    pthread_t thread;
    struct buf body;
    uint32_t spans; /* in body */
    uint32_t tries; /* of it */
    bool under_way, stopping, told;
    int64_t stop_us; /* tick: the end, come what may */
    _Atomic uint64_t sent, failed;
};

static void pass(struct otlp *otlp);
static void on_timer(uv_timer_t *timer) { pass(timer->data); }

static void pass_in(struct otlp *otlp, int64_t ms) {
    uv_update_time(&otlp->loop);
    uv_timer_start(&otlp->timer, on_timer, (uint64_t)(ms > 0 ? ms : 0), 0);
}

static void closed(uv_handle_t *handle) {}

static void handles_close(struct otlp *otlp) {
    net_close(otlp->net);
    uv_close((uv_handle_t *)&otlp->timer, closed);
    uv_close((uv_handle_t *)&otlp->stop, closed);
}

static void take_one(void *ctx, const struct span *span) {
    struct otlp *otlp = ctx;
    otlp_span(&otlp->body, span, otlp->spans++ == 0);
}

/* The next batch, in body; false: there is nothing. */
static bool batch_take(struct otlp *otlp) {
    buf_clear(&otlp->body);
    otlp->spans = otlp->tries = 0;
    otlp_begin(&otlp->body, &otlp->resource);
    spans_take(OTLP_BATCH_SPANS, take_one, otlp);
    otlp_end(&otlp->body);
    if (otlp->spans > 0 && buf_ok(&otlp->body))
        return true;
    atomic_fetch_add(&otlp->failed, otlp->spans);
    otlp->spans = 0;
    return false;
}

/* Said once when it begins to fail, and once when it works again. */
static void failure_tell(struct otlp *otlp, int status, const char *detail) {
    if (!otlp->told)
        log_line(LOG_WARN, "ops", "the trace collector does not take spans",
                 "status=%d detail=%s", status, log_quote(str_c(detail)));
    otlp->told = true;
}

static void batch_end(struct otlp *otlp, bool sent) {
    atomic_fetch_add(sent ? &otlp->sent : &otlp->failed, otlp->spans);
    otlp->spans = 0;
    if (sent && otlp->told)
        log_line(LOG_INFO, "ops", "the trace collector takes spans again", NULL);
    otlp->told &= !sent;
}

/* As the protocol says: these alone are tried again. */
static bool is_retryable(const struct net_answer *answer) {
    return answer->error != NET_OK || answer->status == 429 || answer->status == 502 ||
           answer->status == 503 || answer->status == 504;
}

static void on_answer(void *ctx, const struct net_answer *answer) {
    struct otlp *otlp = ctx;
    bool sent = answer->error == NET_OK && answer->status >= 200 && answer->status < 300;
    otlp->under_way = false;
    if (!sent)
        failure_tell(otlp, answer->status, answer->detail);
    if (!sent && is_retryable(answer) && ++otlp->tries < OTLP_TRIES && !otlp->stopping) {
        int64_t pause = net_answer_retry_after_ms(answer, clock_now_us(otlp->clock));
        if (pause < 0)
            pause = (int64_t)OTLP_PAUSE_FIRST_MS << (otlp->tries - 1);
        pass_in(otlp, pause < OTLP_PAUSE_MAX_MS ? pause : OTLP_PAUSE_MAX_MS);
        return;
    }
    bool full = otlp->spans == OTLP_BATCH_SPANS;
    batch_end(otlp, sent);
    pass_in(otlp, full || otlp->stopping ? 0 : otlp->config->settings.trace_interval_ms);
}

static enum err batch_send(struct otlp *otlp, struct fault *fault) {
    int64_t timeout_ms = otlp->config->settings.trace_timeout_ms;
    if (otlp->stopping && timeout_ms > OTLP_FAREWELL_MS)
        timeout_ms = OTLP_FAREWELL_MS;
    struct net_request request = {.method = STR("POST"),
                                  .url = otlp->url,
                                  .headers = otlp->headers,
                                  .header_count = otlp->header_count,
                                  .body = buf_str(&otlp->body),
                                  .timeout_ms = timeout_ms};
    return net_send(otlp->net, &request, on_answer, otlp, &otlp->call, fault);
}

/* One turn: sends what waits, or takes and sends the next batch. */
static void pass(struct otlp *otlp) {
    struct fault fault = {0};
    bool late = otlp->stopping && clock_tick_us(otlp->clock) >= otlp->stop_us;
    if (otlp->under_way) {
        if (late)
            net_cancel(otlp->net, otlp->call);
        return;
    }
    if (late || (otlp->spans == 0 && !batch_take(otlp))) {
        atomic_fetch_add(&otlp->failed, otlp->spans);
        otlp->spans = 0;
        if (otlp->stopping)
            handles_close(otlp);
        else
            pass_in(otlp, otlp->config->settings.trace_interval_ms);
        return;
    }
    otlp->under_way = true;
    if (batch_send(otlp, &fault) == OK)
        return;
    otlp->under_way = false;
    failure_tell(otlp, 0, fault.detail);
    batch_end(otlp, false);
    pass_in(otlp, otlp->stopping ? 0 : otlp->config->settings.trace_interval_ms);
}

static void on_stop(uv_async_t *async) {
    struct otlp *otlp = async->data;
    otlp->stopping = true;
    otlp->stop_us = clock_tick_us(otlp->clock) + (int64_t)OTLP_FAREWELL_MS * 1000;
    if (otlp->under_way)
        pass_in(otlp, OTLP_FAREWELL_MS);
    else
        pass(otlp);
}

static void *otlp_run(void *arg) {
    struct otlp *otlp = arg;
    pthread_setname_np(pthread_self(), "traces");
    pass_in(otlp, otlp->config->settings.trace_interval_ms);
    uv_run(&otlp->loop, UV_RUN_DEFAULT);
    return NULL;
}

/* --- life ---------------------------------------------------------------------------------- */

static enum err prepare(struct otlp *otlp, struct fault *fault) {
    const struct config_telemetry *telemetry = &otlp->config->telemetry;
    struct str base = telemetry->endpoint;
    while (base.len > 0 && base.ptr[base.len - 1] == '/')
        base.len--;
    otlp->url = arena_printf(&otlp->arena, "%.*s/v1/traces", STR_FMT(base));
    enum err err = otlp_headers(telemetry->headers, &otlp->arena, &otlp->headers,
                                &otlp->header_count, fault);
    if (err != OK)
        return err;
    otlp->headers[otlp->header_count++] =
        (struct net_header){STR("Content-Type"), STR("application/json")};
    snprintf(otlp->instance, sizeof otlp->instance, "%lld-%ld",
             (long long)(clock_now_us(otlp->clock) / 1000), (long)getpid());
    otlp->resource = (struct otlp_resource){.service_name = telemetry->service_name,
                                            .service_version = STR(PENSTOCK_VERSION),
                                            .instance = str_c(otlp->instance),
                                            .cell = otlp->config->cell};
    return otlp->url.ptr ? OK : fault_set(fault, ERR_NOMEM, "no memory for the trace exporter");
}

static enum err loop_begin(struct otlp *otlp, struct fault *fault) {
    if (uv_loop_init(&otlp->loop) != 0)
        return fault_set(fault, ERR_NOMEM, "no memory for the trace exporter");
    if (uv_async_init(&otlp->loop, &otlp->stop, on_stop) != 0) {
        uv_loop_close(&otlp->loop);
        return fault_set(fault, ERR_IO, "no file descriptor left for the trace exporter");
    }
    struct driver_http_options driver = {
        .loop = &otlp->loop, .clock = otlp->clock, .calls_max = 1, .connections_max = 1};
    enum err err = driver_http_create(&driver, &otlp->net, fault);
    if (err != OK) {
        uv_close((uv_handle_t *)&otlp->stop, closed);
        uv_run(&otlp->loop, UV_RUN_DEFAULT);
        uv_loop_close(&otlp->loop);
        return err;
    }
    uv_timer_init(&otlp->loop, &otlp->timer);
    otlp->timer.data = otlp->stop.data = otlp;
    return OK;
}

enum err otlp_start(const struct config *config, struct clock *clock, struct otlp **out,
                    struct fault *fault) {
    *out = NULL;
    if (!config->telemetry.endpoint.ptr)
        return OK;
    struct otlp *otlp = mem_zalloc(sizeof *otlp);
    if (!otlp)
        return fault_set(fault, ERR_NOMEM, "no memory for the trace exporter");
    otlp->config = config;
    otlp->clock = clock;
    arena_init(&otlp->arena, 0);
    buf_init(&otlp->body, 0);
    enum err err = prepare(otlp, fault);
    if (err == OK)
        err = loop_begin(otlp, fault);
    if (err != OK) {
        arena_free(&otlp->arena);
        mem_free(otlp);
        return err;
    }
    struct spans_options spans = {
        .ring_spans = (uint32_t)config->settings.trace_ring_spans,
        .sample_per_million = (uint32_t)config->settings.trace_sample_per_million};
    spans_start(&spans);
    if (pthread_create(&otlp->thread, NULL, otlp_run, otlp) != 0) {
        otlp->thread = 0;
        handles_close(otlp);
        uv_run(&otlp->loop, UV_RUN_DEFAULT);
        otlp_stop(otlp);
        return fault_set(fault, ERR_NOMEM, "no thread for the trace exporter");
    }
    *out = otlp;
    return OK;
}

void otlp_stop(struct otlp *otlp) {
    if (!otlp)
        return;
    if (otlp->thread) {
        uv_async_send(&otlp->stop);
        pthread_join(otlp->thread, NULL);
    }
    spans_stop();
    uv_loop_close(&otlp->loop);
    buf_free(&otlp->body);
    arena_free(&otlp->arena);
    mem_free(otlp);
}

void otlp_figures(const struct otlp *otlp, struct metrics *out) {
    if (!otlp)
        return;
    metric_add(out, METRIC_SPANS, METRIC_LABELS(STR("sent")), atomic_load(&otlp->sent));
    metric_add(out, METRIC_SPANS, METRIC_LABELS(STR("failed")), atomic_load(&otlp->failed));
    metric_add(out, METRIC_SPANS, METRIC_LABELS(STR("dropped")), spans_dropped());
}
