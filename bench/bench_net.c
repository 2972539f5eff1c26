/* bench_net: what one call through the HTTP driver costs, without the hub around it.
 *
 *   bench_net PORT CALLS CONCURRENCY
 *
 * Posts CALLS documents of 300 bytes with the headers that a delivery has to 127.0.0.1:PORT (bench/sink.c
 * listens there), CONCURRENCY at a time, and prints calls per second and microseconds of CPU each. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "connect/driver_http.h"

static struct net *net;
static uint64_t calls, begun, ended, failed;
static struct net_request request;
static struct net_header headers[5];

static void headers_make(void) {
    headers[0] = (struct net_header){STR("Idempotency-Key"), STR("main-100")};
    headers[1] = (struct net_header){STR("X-Key"), STR("SKU-000001@WH-01")};
    headers[2] = (struct net_header){STR("Content-Type"), STR("application/json")};
    headers[3] = (struct net_header){STR("Accept"), STR("application/json")};
    headers[4] = (struct net_header){STR("X-Correlation-ID"), STR("0af7651916cd43dd8448eb211c80319c")};
}

static bool last;
static uv_prepare_t after;

static void call(void);

/* Outside of the driver, where it may be closed. */
static void after_round(uv_prepare_t *handle) {
    if (!last)
        return;
    net_close(net);
    uv_close((uv_handle_t *)handle, NULL);
}

static void done(void *ctx, const struct net_answer *answer) {
    failed += answer->error != NET_OK || answer->status != 201;
    ended++;
    if (begun < calls)
        call();
    last = ended == calls;
}

static void call(void) {
    struct fault fault = {0};
    begun++;
    if (net_send(net, &request, done, NULL, NULL, &fault) != OK) {
        fprintf(stderr, "bench_net: %s\n", fault.detail);
        exit(1);
    }
}

static double cpu_us(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e6 +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

int main(int argc, char **argv) {
    struct fault fault = {0};
    uv_loop_t loop;
    char url[64], body[301];
    if (argc != 4) {
        fprintf(stderr, "usage: bench_net PORT CALLS CONCURRENCY\n");
        return 2;
    }
    uint64_t concurrency = strtoull(argv[3], NULL, 10);
    calls = strtoull(argv[2], NULL, 10);
    snprintf(url, sizeof url, "http://127.0.0.1:%s/x", argv[1]);
    memset(body, 'x', 300);
    headers_make();
    request = (struct net_request){.method = STR("POST"), .url = str_c(url), .headers = headers,
                                   .header_count = sizeof headers / sizeof *headers,
                                   .body = str_of(body, 300), .timeout_ms = 10000};
    uv_loop_init(&loop);
    struct driver_http_options options = {.loop = &loop, .clock = &clock_system};
    if (driver_http_create(&options, &net, &fault) != OK)
        return 1;
    uv_prepare_init(&loop, &after);
    uv_prepare_start(&after, after_round);
    int64_t from_us = clock_tick_us(&clock_system);
    double before = cpu_us();
    for (uint64_t i = 0; i < concurrency && i < calls; i++)
        call();
    uv_run(&loop, UV_RUN_DEFAULT);
    double seconds = (double)(clock_tick_us(&clock_system) - from_us) / 1e6;
    printf("calls=%" PRIu64 " failed=%" PRIu64 " per_s=%.0f cpu_us=%.2f\n", calls, failed,
           (double)calls / seconds, (cpu_us() - before) / (double)calls);
    uv_loop_close(&loop);
    return 0;
}
