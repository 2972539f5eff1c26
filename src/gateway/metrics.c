/* metrics: the figures of the gateway and the core as Prometheus text (exposition format 0.0.4). */
#include "gateway/gateway_priv.h"

#include <inttypes.h>

static const char *const class_names[GATEWAY_CLASSES] = {"checkout", "stock", "catalogue",
                                                         "bulk",     "ops",   "none"};
static const char *const bucket_names[GATEWAY_BUCKETS] = {
    "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05",
    "0.1",    "0.25",  "0.5",    "1",     "2.5",  "+Inf"};

static uint64_t sum(const struct gateway *gateway, size_t offset) {
    uint64_t total = 0;

    for (uint32_t i = 0; i < gateway->loop_count; i++)
        total += atomic_load_explicit(
            (_Atomic uint64_t *)((char *)&gateway->loops[i].counters + offset),
            memory_order_relaxed);
    return total;
}
#define COUNTER(member) offsetof(struct gateway_counters, member)

static void head(struct buf *out, const char *name, const char *kind, const char *help) {
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

static void requests_write(const struct gateway *gateway, struct buf *out) {
    head(out, "penstock_http_requests_total", "counter",
         "Requests answered, by class of the route and status");
    for (int c = 0; c < GATEWAY_CLASSES; c++)
        for (int s = 0; s < GATEWAY_STATUSES; s++) {
            uint64_t n = sum(gateway, COUNTER(requests) +
                                          sizeof(uint64_t) * (size_t)(c * GATEWAY_STATUSES + s));

            if (n > 0)
                buf_printf(out,
                           "penstock_http_requests_total{class=\"%s\",status=\"%d\"} %" PRIu64 "\n",
                           class_names[c], s, n);
        }
}

static void seconds_write(const struct gateway *gateway, struct buf *out) {
    head(out, "penstock_http_request_seconds", "histogram",
         "Time from the complete header to the answer, by class of the route");
    for (int c = 0; c < GATEWAY_CLASSES; c++) {
        uint64_t total = 0, us = sum(gateway, COUNTER(seconds_us) + sizeof(uint64_t) * (size_t)c);

        for (int b = 0; b < GATEWAY_BUCKETS; b++) {
            total += sum(gateway, COUNTER(seconds) +
                                      sizeof(uint64_t) * (size_t)(c * GATEWAY_BUCKETS + b));
            buf_printf(out,
                       "penstock_http_request_seconds_bucket{class=\"%s\",le=\"%s\"} %" PRIu64 "\n",
                       class_names[c], bucket_names[b], total);
        }
        buf_printf(out,
                   "penstock_http_request_seconds_sum{class=\"%s\"} %" PRIu64 ".%06" PRIu64 "\n"
                   "penstock_http_request_seconds_count{class=\"%s\"} %" PRIu64 "\n",
                   class_names[c], us / 1000000, us % 1000000, class_names[c], total);
    }
}

static void one(struct buf *out, const char *name, const char *kind, const char *help,
                uint64_t value) {
    head(out, name, kind, help);
    buf_printf(out, "%s %" PRIu64 "\n", name, value);
}

static void journal_write(struct journal *journal, struct buf *out) {
    struct journal_stats stats;
    journal_stats(journal, &stats);
    one(out, "penstock_journal_segments", "gauge", "Files the journal consists of", stats.segments);
    one(out, "penstock_journal_segments_sealed", "gauge",
        "Of them sealed: finished, hashed, never changed again", stats.sealed);
    one(out, "penstock_journal_segments_archived", "gauge", "Of them archived (compressed)",
        stats.archived);
    one(out, "penstock_journal_bytes", "gauge", "Length of the journal's files, as sealed",
        stats.bytes);
    one(out, "penstock_journal_wal_bytes", "gauge", "Write-ahead log of the live segment",
        stats.wal_bytes);
}

static void state_write(const struct core *core, struct buf *out) {
    struct core_stats stats;
    core_stats(core, &stats);
    one(out, "penstock_state_bytes", "gauge", "Memory of the state", stats.state_bytes);
    one(out, "penstock_state_written_seq", "counter",
        "Seq that the written state reflects: a restart replays what lies behind",
        stats.written_seq);
    one(out, "penstock_state_loads_total", "counter", "Entities brought back into memory",
        stats.loads);
    one(out, "penstock_state_writer_loads_total", "counter",
        "Questions to the disk that the writer had to wait for", stats.writer_loads);
    one(out, "penstock_state_evictions_total", "counter", "Rounds of taking entities out of memory",
        stats.evictions);
}

enum err metrics_query(struct query *query, struct fault *fault) {
    struct gateway *gateway = query->ctx;
    struct core *core = gateway->options.core;
    struct buf *out = query->out;
    uint64_t read_seq = 0;
    struct reader_lag lag;

    query->media_type = "text/plain; version=0.0.4; charset=utf-8";
    requests_write(gateway, out);
    seconds_write(gateway, out);
    one(out, "penstock_connections", "gauge", "Connections open now",
        http_server_connections(gateway->server));
    one(out, "penstock_feeds", "gauge", "Event feeds open now (long polls and streams)",
        sum(gateway, COUNTER(feeds)));
    one(out, "penstock_bulk_lines_total", "counter", "Lines of bulk calls answered",
        sum(gateway, COUNTER(bulk_lines)));
    one(out, "penstock_queue_commands", "gauge", "Commands waiting for the writer",
        core_waiting(core));
    one(out, "penstock_journal_seq", "counter", "Newest durable seq of the journal",
        core_seq(core));
    journal_write(query->reader->journal, out);
    state_write(core, out);
    core_read_begin(core);
    for (const struct capability *const *c = registry_capabilities(core_registry(core)); *c; c++)
        if ((*c)->metrics)
            (*c)->metrics(core_state(core, *c), out);
    core_read_end(core);
    if (query->reader->ops->seq(query->reader, &read_seq, fault) == OK)
        one(out, "penstock_read_model_seq", "counter", "Seq that the read model has reached",
            read_seq);
    query->reader->ops->lag(query->reader, &lag);
    one(out, "penstock_read_model_lag_events", "gauge",
        "Durable events that the read model does not show yet", lag.events);
    head(out, "penstock_read_model_lag_seconds", "gauge", "How old what the read model shows is");
    buf_printf(out, "penstock_read_model_lag_seconds %" PRId64 ".%06" PRId64 "\n",
               lag.us / 1000000, lag.us % 1000000);
    one(out, "penstock_bulk_waiting", "gauge",
        "Bulk calls that wait until the read model has caught up", sum(gateway, COUNTER(bulks_held)));
    one(out, "penstock_ready", "gauge", "1 while the hub takes work",
        core_ready(core) && !atomic_load(&gateway->draining));
    return OK;
}
