/* figures: see figures.h. */
#include "ops/figures.h"

#include "deliver/operate.h"

#include "base/log.h"
#include "ops/otlp.h"
#include "ops/overview.h"
#include "store/persons.h"
#include "store/read_model.h"

static void read_model_figures(struct read_model *model, struct metrics *out) {
    struct read_model_stats stats;
    struct read_model_rebuilding rebuilding;
    read_model_stats(model, &stats);
    metric_add(out, METRIC_READ_MODEL_EVENTS, NULL, stats.events);
    metric_add(out, METRIC_READ_MODEL_ROWS, NULL, stats.rows);
    metric_add(out, METRIC_READ_MODEL_TRANSACTIONS, NULL, stats.transactions);
    metric_add(out, METRIC_READ_MODEL_BUSY, NULL, stats.busy_us);
    metric_add(out, METRIC_READ_MODEL_SKIPPED, NULL, stats.skipped);
    metric_add(out, METRIC_READ_MODEL_REBUILDS, NULL, stats.rebuilds);
    read_model_rebuild_look(model, &rebuilding);
    bool running = rebuilding.state == REBUILD_FILLING || rebuilding.state == REBUILD_INDEXING ||
                   rebuilding.state == REBUILD_CATCHING_UP;
    metric_add(out, METRIC_READ_MODEL_REBUILDING, NULL, running);
    if (running)
        metric_add(out, METRIC_READ_MODEL_REBUILD_SEQ, NULL, rebuilding.seq);
}

static void keyring_figures(struct keyring *keyring, struct metrics *out) {
    struct persons_stats stats;
    persons_stats(keyring, &stats);
    metric_add(out, METRIC_KEYRING_READY, NULL, stats.ready);
    metric_add(out, METRIC_KEYRING_TAKEN, NULL, stats.taken);
    metric_add(out, METRIC_KEYRING_WAITED, NULL, stats.waited);
    metric_add(out, METRIC_KEYRING_DESTROYED, NULL, stats.destroyed);
}

static void log_figures(struct metrics *out) {
    for (int level = 0; level < LOG_LEVELS; level++) {
        const char *name = log_level_name((enum log_level)level);
        metric_add(out, METRIC_LOG_LINES, METRIC_LABELS(str_c(name)),
                   log_lines((enum log_level)level));
    }
}

void figures_write(void *ctx, struct metrics *out) {
    struct figures *figures = ctx;
    const struct settings *settings = &core_config(figures->core)->settings;
    metric_queue(out, "inbound", inbound_under_way(figures->inbound),
                 (uint64_t)(settings->inbound_workers * settings->inbound_inflight_max));
    const struct connectors *connectors = roster_take(figures->roster);
    connectors_figures(connectors, out);
    connectors_release(connectors);
    if (figures->operate)
        operate_figures(figures->operate, out);
    if (figures->auth)
        auth_figures(figures->auth, out);
    if (figures->accounts)
        accounts_figures(figures->accounts, out);
    deliver_figures(figures->deliver, out);
    if (figures->poller)
        poller_figures(figures->poller, out);
    if (figures->drop)
        drop_figures(figures->drop, out);
    if (figures->streams)
        streams_figures(figures->streams, out);
    read_model_figures(figures->read_model, out);
    keyring_figures(figures->keyring, out);
    otlp_figures(figures->otlp, out);
    log_figures(out);
    process_figures(out);
    if (atomic_load(&figures->counted)) {
        metric_add(out, METRIC_EXCEPTIONS_OPEN, NULL, atomic_load(&figures->exceptions_open));
        metric_add(out, METRIC_ORDERS_HELD, NULL, atomic_load(&figures->orders_held));
    }
    atomic_store(&figures->wanted, true);
}

enum err figures_count(struct figures *figures, struct fault *fault) {
    uint32_t open = 0, held = 0;
    if (!atomic_exchange(&figures->wanted, false))
        return OK;
    struct reader *reader = read_model_reader_create(figures->read_model, figures->core, fault);
    struct arena arena;
    arena_init(&arena, 0);
    struct query query = {.reader = reader, .arena = &arena};
    enum err err = reader ? OK : ERR_NOMEM;
    if (err == OK)
        err = overview_count(&query, "exceptions", "state", STR("open"), &open, fault);
    if (err == OK)
        err = overview_count(&query, "orders", "state", STR("held"), &held, fault);
    if (err == OK) {
        atomic_store(&figures->exceptions_open, open);
        atomic_store(&figures->orders_held, held);
        atomic_store(&figures->counted, true);
    }
    if (reader)
        read_model_reader_destroy(reader);
    arena_free(&arena);
    return err;
}
