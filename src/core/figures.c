/* figures: what the core tells of itself, of its journal and of its capabilities in /metrics. */
#include "core/core_priv.h"

static void histogram_figure(const struct histogram *histogram, enum metric row,
                             struct metrics *out) {
    struct histogram_sum sum = {0};
    histogram_read(histogram, &sum);
    metric_histogram(out, row, NULL, &sum);
}

static void commands_figures(const struct core_counters *counters, struct metrics *out) {
    metric_add(out, METRIC_COMMANDS, METRIC_LABELS(STR("done")), counter_read(&counters->done));
    metric_add(out, METRIC_COMMANDS, METRIC_LABELS(STR("replayed")),
               counter_read(&counters->replayed));
    metric_add(out, METRIC_COMMANDS, METRIC_LABELS(STR("refused")),
               counter_read(&counters->refused));
    metric_add(out, METRIC_COMMANDS, METRIC_LABELS(STR("failed")), counter_read(&counters->failed));
    metric_add(out, METRIC_WRITER_BUSY, NULL, counter_read(&counters->busy_us));
    histogram_figure(&counters->batch_commands, METRIC_BATCH_COMMANDS, out);
    histogram_figure(&counters->batch_events, METRIC_BATCH_EVENTS, out);
}

static void journal_figures(const struct core *core, struct metrics *out) {
    struct journal_stats stats;
    journal_stats(core->journal, &stats);
    metric_add(out, METRIC_JOURNAL_SEGMENTS, NULL, stats.segments);
    metric_add(out, METRIC_JOURNAL_SEALED, NULL, stats.sealed);
    metric_add(out, METRIC_JOURNAL_ARCHIVED, NULL, stats.archived);
    metric_add(out, METRIC_JOURNAL_BYTES, NULL, stats.bytes);
    metric_add(out, METRIC_JOURNAL_WAL_BYTES, NULL, stats.wal_bytes);
    histogram_figure(&core->counters.append_us, METRIC_JOURNAL_APPEND_SECONDS, out);
    metric_histogram(out, METRIC_JOURNAL_SYNC_SECONDS, NULL, &stats.sync_us);
    metric_add(out, METRIC_JOURNAL_APPEND_FAILURES, NULL,
               counter_read(&core->counters.append_failures));
    metric_histogram(out, METRIC_JOURNAL_CHECKPOINT_SECONDS, NULL, &stats.checkpoint_us);
}

static void state_figures(const struct core *core, struct metrics *out) {
    struct core_stats stats;
    uint64_t seq = core_seq(core);
    core_stats(core, &stats);
    metric_add(out, METRIC_STATE_BYTES, NULL, stats.state_bytes);
    metric_add(out, METRIC_STATE_WRITTEN_SEQ, NULL, stats.written_seq);
    metric_add(out, METRIC_STATE_LAG, NULL, seq > stats.written_seq ? seq - stats.written_seq : 0);
    histogram_figure(&core->counters.flush_us, METRIC_STATE_FLUSH_SECONDS, out);
    metric_add(out, METRIC_STATE_LOADS, NULL, stats.loads);
    metric_add(out, METRIC_STATE_WRITER_LOADS, NULL, stats.writer_loads);
    metric_add(out, METRIC_STATE_EVICTIONS, NULL, stats.evictions);
}

static void queue_figures(struct core *core, struct metrics *out) {
    uint64_t limit = (uint64_t)core->config->settings.queue_commands_max;
    pthread_mutex_lock(&core->lock);
    uint32_t waiting = core->queue.count, loading = core->loading;
    pthread_mutex_unlock(&core->lock);
    metric_queue(out, "writer", waiting, limit);
    metric_queue(out, "loader", loading, limit);
}

void core_figures(struct core *core, struct metrics *out) {
    queue_figures(core, out);
    metric_add(out, METRIC_JOURNAL_SEQ, NULL, core_seq(core));
    commands_figures(&core->counters, out);
    journal_figures(core, out);
    state_figures(core, out);
    core_read_begin(core);
    for (const struct capability *const *c = registry_capabilities(core->registry); *c; c++)
        if ((*c)->metrics)
            (*c)->metrics(core_state(core, *c), out);
    core_read_end(core);
}
