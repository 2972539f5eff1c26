/* metric: see metric.h. Samples of a family are kept together until the end, because the text
 * format wants them so and they come from many places. */
#include "base/metric.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/err.h"

const struct metric_info metric_table[METRIC_ROWS] = {
#define METRIC(id, name, kind, unit, labels, help) {name, METRIC_##kind, unit, labels, help},
#include "base/metric.def"
#undef METRIC
};
const char *const metric_kind_names[] = {"counter", "gauge", "histogram"};

const int64_t histogram_us_bounds[HISTOGRAM_BUCKETS] = {
    100,   250,    500,    1000,   2500,    5000,    10000,    25000,
    50000, 100000, 250000, 500000, 1000000, 2500000, 10000000, INT64_MAX,
};
const int64_t histogram_count_bounds[HISTOGRAM_BUCKETS] = {
    1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, INT64_MAX,
};

void metrics_init(struct metrics *metrics) {
    for (int i = 0; i < METRIC_ROWS; i++)
        buf_init(&metrics->samples[i], 0);
}

void metrics_write(struct metrics *metrics, struct buf *out) {
    for (int i = 0; i < METRIC_ROWS; i++) {
        const struct metric_info *row = &metric_table[i];
        struct buf *samples = &metrics->samples[i];
        if (samples->len > 0) {
            buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", row->name, row->help, row->name,
                       metric_kind_names[row->kind]);
            buf_str_add(out, buf_str(samples));
        }
        out->failed |= samples->failed;
        buf_free(samples);
    }
}

/* Backslash, quote and line end are the format's escapes; nothing else is one. */
static void label_write(struct buf *out, struct str value) {
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        if (c == '\n')
            buf_lit(out, "\\n");
        else if (c == '\\' || c == '"')
            buf_add(out, (const char[]){'\\', c}, 2);
        else
            buf_char(out, c);
    }
}

/* name_suffix{a="…",le="…"} and a space. */
static void sample_begin(struct buf *out, const struct metric_info *row, const char *suffix,
                         const struct str *labels, const char *le) {
    struct str rest = str_c(row->labels);
    int n = 0;
    must((rest.len > 0) == (labels != NULL));
    buf_str_add(out, str_c(row->name));
    buf_str_add(out, str_c(suffix));
    while (rest.ptr && rest.len > 0) {
        struct str name = str_cut(&rest, ',');
        must(n < METRIC_LABELS_MAX);
        buf_char(out, n == 0 ? '{' : ',');
        buf_str_add(out, name);
        buf_lit(out, "=\"");
        label_write(out, labels[n++]);
        buf_char(out, '"');
    }
    if (le)
        buf_printf(out, "%cle=\"%s\"", n++ == 0 ? '{' : ',', le);
    if (n > 0)
        buf_char(out, '}');
    buf_char(out, ' ');
}

/* Its values are given in millionths. */
static bool in_seconds(const struct metric_info *row) {
    return str_is(str_c(row->unit), "seconds") || str_is(str_c(row->unit), "ratio");
}

/* Microseconds as seconds: no more digits than there are. */
static void seconds_write(struct buf *out, uint64_t us) {
    char text[32];
    int len = snprintf(text, sizeof text, "%" PRIu64 ".%06" PRIu64, us / 1000000, us % 1000000);
    while (text[len - 1] == '0')
        len--;
    if (text[len - 1] == '.')
        len--;
    buf_add(out, text, (size_t)len);
}

static void value_write(struct buf *out, const struct metric_info *row, uint64_t value) {
    if (in_seconds(row))
        seconds_write(out, value);
    else
        buf_u64(out, value);
    buf_char(out, '\n');
}

void metric_add(struct metrics *metrics, enum metric id, const struct str *labels,
                uint64_t value) {
    const struct metric_info *row = &metric_table[id];
    struct buf *out = &metrics->samples[id];
    must(row->kind != METRIC_HISTOGRAM);
    sample_begin(out, row, "", labels, NULL);
    value_write(out, row, value);
}

void metric_queue(struct metrics *metrics, const char *queue, uint64_t length, uint64_t limit) {
    const struct str labels[] = {str_c(queue)};
    metric_add(metrics, METRIC_QUEUE_LENGTH, labels, length);
    metric_add(metrics, METRIC_QUEUE_LIMIT, labels, limit);
}

void histogram_us_shared(struct histogram *histogram, int64_t us) {
    int b = 0;
    while (us > histogram_us_bounds[b])
        b++;
    atomic_fetch_add_explicit(&histogram->buckets[b], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&histogram->sum, us > 0 ? (uint64_t)us : 0, memory_order_relaxed);
}

void histogram_read(const struct histogram *histogram, struct histogram_sum *into) {
    for (int b = 0; b < HISTOGRAM_BUCKETS; b++)
        into->buckets[b] += counter_read(&histogram->buckets[b]);
    into->sum += counter_read(&histogram->sum);
}

uint64_t histogram_total(const struct histogram_sum *sum) {
    uint64_t total = 0;
    for (int b = 0; b < HISTOGRAM_BUCKETS; b++)
        total += sum->buckets[b];
    return total;
}

static void bound_write(struct buf *out, const struct metric_info *row, int64_t bound) {
    buf_clear(out);
    if (bound == INT64_MAX)
        buf_lit(out, "+Inf");
    else if (in_seconds(row))
        seconds_write(out, (uint64_t)bound);
    else
        buf_i64(out, bound);
}

void metric_histogram(struct metrics *metrics, enum metric id, const struct str *labels,
                      const struct histogram_sum *sum) {
    const struct metric_info *row = &metric_table[id];
    const int64_t *bounds = in_seconds(row) ? histogram_us_bounds : histogram_count_bounds;
    struct buf *out = &metrics->samples[id], le;
    uint64_t total = 0;
    must(row->kind == METRIC_HISTOGRAM);
    buf_init(&le, 64);
    for (int b = 0; b < HISTOGRAM_BUCKETS; b++) {
        total += sum->buckets[b];
        bound_write(&le, row, bounds[b]);
        sample_begin(out, row, "_bucket", labels, buf_cstr(&le));
        buf_u64(out, total);
        buf_char(out, '\n');
    }
    buf_free(&le);
    sample_begin(out, row, "_sum", labels, NULL);
    value_write(out, row, sum->sum);
    sample_begin(out, row, "_count", labels, NULL);
    buf_u64(out, total);
    buf_char(out, '\n');
}

/* --- the list ------------------------------------------------------------------------------ */

void metric_list_text(struct buf *out) {
    buf_printf(out, "%-46s %-10s %-12s %-32s %s\n", "NAME", "KIND", "UNIT", "LABELS", "WHAT");
    for (int i = 0; i < METRIC_ROWS; i++) {
        const struct metric_info *row = &metric_table[i];
        buf_printf(out, "%-46s %-10s %-12s %-32s %s\n", row->name, metric_kind_names[row->kind],
                   row->unit, row->labels[0] ? row->labels : "-", row->help);
    }
}

void metric_list_markdown(struct buf *out) {
    buf_lit(out, "# Metrics\n\n"
                 "What `GET /metrics` tells, in Prometheus' text format. This page is printed by\n"
                 "`penstock metrics --list --markdown`. Families without a sample are left out.\n"
                 "[operations.md](operations.md) says how to collect and watch them.\n\n"
                 "| metric | kind | unit | labels | what |\n| --- | --- | --- | --- | --- |\n");
    for (int i = 0; i < METRIC_ROWS; i++) {
        const struct metric_info *row = &metric_table[i];
        buf_printf(out, "| `%s` | %s | %s | %s | %s |\n", row->name, metric_kind_names[row->kind],
                   row->unit, row->labels, row->help);
    }
}

static void member_write(struct buf *out, const char *name, const char *value, const char *end) {
    buf_printf(out, "\"%s\":", name);
    buf_json_str(out, str_c(value));
    buf_str_add(out, str_c(end));
}

void metric_list_json(struct buf *out) {
    buf_lit(out, "{\"items\":[");
    for (int i = 0; i < METRIC_ROWS; i++) {
        const struct metric_info *row = &metric_table[i];
        struct str rest = str_c(row->labels);
        buf_str_add(out, i > 0 ? STR(",{") : STR("{"));
        member_write(out, "name", row->name, ",");
        member_write(out, "kind", metric_kind_names[row->kind], ",");
        member_write(out, "unit", row->unit, ",");
        buf_lit(out, "\"labels\":[");
        for (bool first = true; rest.ptr && rest.len > 0; first = false) {
            if (!first)
                buf_char(out, ',');
            buf_json_str(out, str_cut(&rest, ','));
        }
        buf_lit(out, "],");
        member_write(out, "help", row->help, "}");
    }
    buf_lit(out, "]}\n");
}
