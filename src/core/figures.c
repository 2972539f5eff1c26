/* figures: what the core tells of itself, of its journal and of its capabilities in /metrics. */
#include "core/core_priv.h"

static void journal_figures(struct journal *journal, struct metrics *out) {
    struct journal_stats stats;
    journal_stats(journal, &stats);
    metric_add(out, METRIC_JOURNAL_SEGMENTS, NULL, stats.segments);
    metric_add(out, METRIC_JOURNAL_SEALED, NULL, stats.sealed);
    metric_add(out, METRIC_JOURNAL_ARCHIVED, NULL, stats.archived);
    metric_add(out, METRIC_JOURNAL_BYTES, NULL, stats.bytes);
    metric_add(out, METRIC_JOURNAL_WAL_BYTES, NULL, stats.wal_bytes);
}

static void state_figures(const struct core *core, struct metrics *out) {
    struct core_stats stats;
    core_stats(core, &stats);
    metric_add(out, METRIC_STATE_BYTES, NULL, stats.state_bytes);
    metric_add(out, METRIC_STATE_WRITTEN_SEQ, NULL, stats.written_seq);
    metric_add(out, METRIC_STATE_LOADS, NULL, stats.loads);
    metric_add(out, METRIC_STATE_WRITER_LOADS, NULL, stats.writer_loads);
    metric_add(out, METRIC_STATE_EVICTIONS, NULL, stats.evictions);
}

static void queue_figures(struct core *core, struct metrics *out) {
    uint64_t limit = (uint64_t)core->config->settings.queue_commands_max;
    pthread_mutex_lock(&core->lock);
    uint32_t waiting = core->waiting, loading = core->loading;
    pthread_mutex_unlock(&core->lock);
    metric_queue(out, "writer", waiting, limit);
    metric_queue(out, "loader", loading, limit);
}

void core_figures(struct core *core, struct metrics *out) {
    queue_figures(core, out);
    metric_add(out, METRIC_JOURNAL_SEQ, NULL, core_seq(core));
    journal_figures(core->journal, out);
    state_figures(core, out);
    core_read_begin(core);
    for (const struct capability *const *c = registry_capabilities(core->registry); *c; c++)
        if ((*c)->metrics)
            (*c)->metrics(core_state(core, *c), out);
    core_read_end(core);
}
