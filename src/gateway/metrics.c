/* metrics: GET /metrics: the gateway's own figures, and those of everybody it knows. What each one
 * means is a row of base/metric.def. */
#include "gateway/gateway_priv.h"
#include "gateway/http_tls.h"

static const char *const class_names[GATEWAY_CLASSES] = {"checkout", "stock", "catalogue",
                                                         "bulk",     "ops",   "none"};

void counters_count(struct gateway_loop *loop, const struct route_entry *entry, int status,
                    int64_t us) {
    uint32_t route = entry ? entry->index : loop->gateway->route_count;
    int class = entry ? (int)entry->route->traffic : GATEWAY_CLASSES - 1;
    struct route_counters *counters = &loop->routes[route];

    status = status < GATEWAY_STATUSES ? status : 0;
    counter_add(&loop->counters.requests[class][status], 1);
    counter_add(&counters->statuses[status / 100], 1);
    histogram_us(&counters->seconds, us);
}

static void on_turn(uv_prepare_t *prepare) {
    struct gateway_loop *loop = prepare->data;
    int64_t now_us = clock_tick_us(loop->gateway->clock);
    uint64_t idle_ns = uv_metrics_idle_time(prepare->loop);

    histogram_us(&loop->turns_us, now_us - loop->turn_us - (int64_t)((idle_ns - loop->idle_ns) / 1000));
    loop->turn_us = now_us;
    loop->idle_ns = idle_ns;
}

void turns_begin(struct gateway_loop *loop) {
    uv_loop_t *uv = http_loop_uv(loop->http);

    loop->turn_us = clock_tick_us(loop->gateway->clock);
    loop->idle_ns = uv_metrics_idle_time(uv);
    uv_prepare_init(uv, &loop->turn);
    uv_prepare_start(&loop->turn, on_turn);
}

static uint64_t sum(const struct gateway *gateway, size_t offset) {
    uint64_t total = 0;

    for (uint32_t i = 0; i < gateway->loop_count; i++)
        total += counter_read((_Atomic uint64_t *)((char *)&gateway->loops[i].counters + offset));
    return total;
}
#define COUNTER(member) offsetof(struct gateway_counters, member)

static void classes_write(const struct gateway *gateway, struct metrics *out) {
    struct histogram_sum seconds[GATEWAY_CLASSES] = {0};

    for (uint32_t r = 0; r <= gateway->route_count; r++) {
        const struct route_entry *entry = router_entry(gateway->router, r);
        int class = entry ? (int)entry->route->traffic : GATEWAY_CLASSES - 1;

        for (uint32_t i = 0; i < gateway->loop_count; i++)
            histogram_read(&gateway->loops[i].routes[r].seconds, &seconds[class]);
    }
    for (int c = 0; c < GATEWAY_CLASSES; c++) {
        struct str name = str_c(class_names[c]);

        for (int s = 0; s < GATEWAY_STATUSES; s++) {
            char status[8];
            uint64_t n = sum(gateway, COUNTER(requests) +
                                          sizeof(uint64_t) * (size_t)(c * GATEWAY_STATUSES + s));

            if (n == 0)
                continue;
            snprintf(status, sizeof status, "%d", s);
            metric_add(out, METRIC_HTTP_REQUESTS, METRIC_LABELS(name, str_c(status)), n);
        }
        metric_histogram(out, METRIC_HTTP_SECONDS, METRIC_LABELS(name), &seconds[c]);
    }
}

/* Routes nobody has called are left out: most of them, at most hubs. */
static void route_write(const struct gateway *gateway, uint32_t r, struct metrics *out) {
    static const char *const statuses[] = {"other", "1xx", "2xx", "3xx", "4xx", "5xx"};
    const struct route_entry *entry = router_entry(gateway->router, r);
    struct str method = entry ? str_c(entry->route->method) : STR("any");
    struct str path = entry ? str_c(entry->route->path) : STR("none");
    struct histogram_sum seconds = {0};

    for (uint32_t i = 0; i < gateway->loop_count; i++)
        histogram_read(&gateway->loops[i].routes[r].seconds, &seconds);
    if (histogram_total(&seconds) == 0)
        return;
    for (int s = 0; s < GATEWAY_STATUSES / 100; s++) {
        uint64_t n = 0;

        for (uint32_t i = 0; i < gateway->loop_count; i++)
            n += counter_read(&gateway->loops[i].routes[r].statuses[s]);
        if (n > 0)
            metric_add(out, METRIC_HTTP_ROUTE_REQUESTS,
                       METRIC_LABELS(method, path, str_c(statuses[s])), n);
    }
    metric_histogram(out, METRIC_HTTP_ROUTE_SECONDS, METRIC_LABELS(method, path), &seconds);
}

static void loops_write(const struct gateway *gateway, struct metrics *out) {
    for (uint32_t i = 0; i < gateway->loop_count; i++) {
        char name[16];
        struct histogram_sum turns = {0};

        snprintf(name, sizeof name, "%u", i);
        histogram_read(&gateway->loops[i].turns_us, &turns);
        metric_histogram(out, METRIC_LOOP_TURN_SECONDS, METRIC_LABELS(str_c(name)), &turns);
    }
}

static void workers_write(const struct gateway *gateway, struct metrics *out) {
    uint64_t jobs = 0;

    for (uint32_t i = 0; i < gateway->loop_count; i++)
        jobs += atomic_load_explicit(&gateway->loops[i].jobs, memory_order_relaxed);
    metric_queue(out, "workers", jobs, (uint64_t)GATEWAY_JOBS_MAX * gateway->loop_count);
}

static void connections_write(const struct gateway *gateway, struct metrics *out) {
    const struct http_stats *stats = http_server_stats(gateway->server);
    const struct gateway_options *options = &gateway->options;

    metric_add(out, METRIC_CONNECTIONS, NULL, http_server_connections(gateway->server));
    metric_add(out, METRIC_CONNECTIONS_TOTAL, NULL, counter_read(&stats->accepted));
    metric_add(out, METRIC_CONNECTIONS_REFUSED, METRIC_LABELS(STR("full")),
               counter_read(&stats->refused_full));
    metric_add(out, METRIC_CONNECTIONS_REFUSED, METRIC_LABELS(STR("address")),
               counter_read(&stats->refused_address));
    metric_add(out, METRIC_CONNECTIONS_DISPLACED, NULL, counter_read(&stats->displaced));
    for (uint32_t i = 0; i < options->listen_count; i++)
        if (options->listen[i].tls) {
            const _Atomic uint64_t *const counts[] = {
                &stats->handshakes_whole, &stats->handshakes_resumed, &stats->handshakes_failed,
                &stats->handshakes_crowded};
            static const char *const names[] = {"whole", "resumed", "failed", "crowded"};

            for (int k = 0; k < 4; k++)
                metric_add(out, METRIC_TLS_HANDSHAKES, METRIC_LABELS(str_c(names[k])),
                           counter_read(counts[k]));
            metric_add(out, METRIC_TLS_HANDSHAKES_OPEN, NULL, stats->shaking);
            metric_add(out, METRIC_TLS_EXPIRY, NULL,
                       (uint64_t)http_tls_expires_s(options->listen[i].tls) * 1000000);
            break;
        }
}

static void callers_write(const struct gateway *gateway, struct metrics *out) {
    uint64_t refused = 0, verified = 0;

    for (uint32_t i = 0; i < gateway->loop_count; i++) {
        const struct auth_counters *counters = auth_counters(gateway->loops[i].auth);

        refused += counter_read(&counters->refused);
        verified += counter_read(&counters->verified);
    }
    metric_add(out, METRIC_CALLERS_REFUSED, NULL, refused);
    metric_add(out, METRIC_TOKENS_VERIFIED, NULL, verified);
    metric_add(out, METRIC_TOKENS_MADE, NULL, sum(gateway, COUNTER(tokens)));
    callers_figures(gateway->callers, out);
}

static void gateway_write(struct gateway *gateway, struct metrics *out) {
    classes_write(gateway, out);
    for (uint32_t r = 0; r <= gateway->route_count; r++)
        route_write(gateway, r, out);
    connections_write(gateway, out);
    metric_add(out, METRIC_FEEDS, NULL, sum(gateway, COUNTER(feeds)));
    metric_add(out, METRIC_BULK_LINES, NULL, sum(gateway, COUNTER(bulk_lines)));
    metric_add(out, METRIC_CARDS, METRIC_LABELS(STR("refused")), sum(gateway, COUNTER(cards_refused)));
    metric_add(out, METRIC_CARDS, METRIC_LABELS(STR("masked")), sum(gateway, COUNTER(cards_masked)));
    metric_add(out, METRIC_BULK_WAITING, NULL, sum(gateway, COUNTER(bulks_held)));
    callers_write(gateway, out);
    loops_write(gateway, out);
    workers_write(gateway, out);
    metric_add(out, METRIC_READY, NULL,
               core_ready(gateway->options.core) && !atomic_load(&gateway->draining));
}

static void reader_write(struct reader *reader, struct metrics *out) {
    uint64_t seq = 0;
    struct reader_lag lag;
    struct fault ignored = {0};

    if (reader->ops->seq(reader, &seq, &ignored) == OK)
        metric_add(out, METRIC_READ_MODEL_SEQ, NULL, seq);
    reader->ops->lag(reader, &lag);
    metric_add(out, METRIC_READ_MODEL_LAG_EVENTS, NULL, lag.events);
    metric_add(out, METRIC_READ_MODEL_LAG_SECONDS, NULL, (uint64_t)lag.us);
}

enum err metrics_query(struct query *query, struct fault *fault) {
    struct gateway *gateway = query->ctx;
    struct gateway_options *options = &gateway->options;
    struct metrics out;

    query->media_type = "text/plain; version=0.0.4; charset=utf-8";
    metrics_init(&out);
    gateway_write(gateway, &out);
    limiter_figures(gateway->limiter, &out);
    admission_figures(gateway->admission, &out);
    busy_figures(gateway, &out);
    core_figures(options->core, &out);
    reader_write(query->reader, &out);
    if (options->figures)
        options->figures(options->figures_ctx, &out);
    metrics_write(&out, query->out);
    return OK;
}
