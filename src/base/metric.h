/* metric: every figure the hub tells is a row of metric.def; this is the one way to write them.
 *
 * A scrape collects samples in any order (metrics_init, metric_add … from whoever knows a figure)
 * and writes them as Prometheus text (exposition format 0.0.4): families in the table's order, each
 * with its HELP and TYPE once; families without a sample are left out. To add a figure: a row in
 * metric.def and a call of metric_add where the others of its part are. docs/metrics.md is printed
 * from the table.
 *
 * What always holds: names, kinds and labels come from the table alone; values of rows whose unit
 * is "seconds" are given in microseconds, of "ratio" (0 to 1) in millionths; a sample gives a value
 * for each label of its row. */
#ifndef PENSTOCK_BASE_METRIC_H
#define PENSTOCK_BASE_METRIC_H

#include <stdatomic.h>

#include "base/buf.h"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };
enum metric {
#define METRIC(id, name, kind, unit, labels, help) METRIC_##id,
#include "base/metric.def"
#undef METRIC
    METRIC_ROWS
};
struct metric_info {
    const char *name; /* as Prometheus shows it, "penstock_…" */
    enum metric_kind kind;
    const char *unit;   /* "seconds", "bytes", or what is counted */
    const char *labels; /* "class,status"; "" where there are none */
    const char *help;   /* one line */
};
extern const struct metric_info metric_table[METRIC_ROWS];
extern const char *const metric_kind_names[]; /* as TYPE says them */
#define METRIC_LABELS_MAX 4

/* --- one scrape ---------------------------------------------------------------------------- */
struct metrics {
    struct buf samples[METRIC_ROWS];
};
void metrics_init(struct metrics *metrics);
/* Ends it. `out` has failed where memory was out. */
void metrics_write(struct metrics *metrics, struct buf *out);

/* `labels`: one value for each label of the row, in its order; NULL where it has none. */
void metric_add(struct metrics *metrics, enum metric row, const struct str *labels, uint64_t value);
/* A queue: how long it is, and where it takes no more. */
void metric_queue(struct metrics *metrics, const char *queue, uint64_t length, uint64_t limit);
#define METRIC_LABELS(...) ((const struct str[]){__VA_ARGS__})

/* --- histograms ------------------------------------------------------------------------------
 * Written by one thread, read by any; nothing waits. Two fixed sets of bounds: durations of
 * 100 us to 10 s (rows whose unit is "seconds"), and counts of 1 to 16384. */
#define HISTOGRAM_BUCKETS 16
struct histogram {
    _Atomic uint64_t buckets[HISTOGRAM_BUCKETS]; /* each its own, not cumulated */
    _Atomic uint64_t sum;                        /* microseconds, or counts */
};
extern const int64_t histogram_us_bounds[HISTOGRAM_BUCKETS];
extern const int64_t histogram_count_bounds[HISTOGRAM_BUCKETS];

/* A counter of one thread: a plain addition that others may read. */
static inline void counter_add(_Atomic uint64_t *counter, uint64_t n) {
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}
static inline uint64_t counter_read(const _Atomic uint64_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}
static inline void histogram_add(struct histogram *histogram, const int64_t *bounds,
                                 int64_t value) {
    int b = 0;
    while (value > bounds[b])
        b++;
    counter_add(&histogram->buckets[b], 1);
    counter_add(&histogram->sum, value > 0 ? (uint64_t)value : 0);
}
static inline void histogram_us(struct histogram *histogram, int64_t us) {
    histogram_add(histogram, histogram_us_bounds, us);
}
static inline void histogram_count(struct histogram *histogram, int64_t count) {
    histogram_add(histogram, histogram_count_bounds, count);
}
/* The same by several threads at once. */
void histogram_us_shared(struct histogram *histogram, int64_t us);
/* What was read of one or of several: the buckets are summed up. */
struct histogram_sum {
    uint64_t buckets[HISTOGRAM_BUCKETS], sum;
};
void histogram_read(const struct histogram *histogram, struct histogram_sum *into);
uint64_t histogram_total(const struct histogram_sum *sum);
/* The row's unit says which bounds it has. */
void metric_histogram(struct metrics *metrics, enum metric row, const struct str *labels,
                      const struct histogram_sum *sum);

/* --- the list ------------------------------------------------------------------------------ */
/* The table in columns, as a page of Markdown, and as JSON: {"items":[…]}. */
void metric_list_text(struct buf *out);
void metric_list_markdown(struct buf *out);
void metric_list_json(struct buf *out);

#endif
