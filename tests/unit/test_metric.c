/* The writer of Prometheus text: grouping, escapes, seconds, cumulated buckets, and the table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/metric.h"

static struct metrics metrics;
static struct buf out;

static int start(void **state) {
    metrics_init(&metrics);
    buf_init(&out, 0);
    return 0;
}
static int stop(void **state) {
    buf_free(&out);
    return 0;
}

static const char *written(void) {
    metrics_write(&metrics, &out);
    assert_true(buf_ok(&out));
    return buf_cstr(&out);
}

static void test_a_family_is_written_once_however_it_came(void **state) {
    metric_queue(&metrics, "writer", 3, 10);
    metric_add(&metrics, METRIC_FEEDS, NULL, 7);
    metric_queue(&metrics, "loader", 4, 20);
    const char *text = written();
    assert_non_null(strstr(text, "penstock_queue_length{queue=\"writer\"} 3\n"
                                 "penstock_queue_length{queue=\"loader\"} 4\n"));
    assert_non_null(strstr(text, "penstock_queue_limit{queue=\"writer\"} 10\n"
                                 "penstock_queue_limit{queue=\"loader\"} 20\n"));
    assert_non_null(strstr(text, "# TYPE penstock_feeds gauge\npenstock_feeds 7\n"));
    assert_null(strstr(strstr(text, "# TYPE penstock_queue_length") + 1,
                       "# TYPE penstock_queue_length"));
    assert_null(strstr(text, "penstock_connections")); /* nothing was said of them */
}

static void test_labels_are_escaped(void **state) {
    metric_queue(&metrics, "a\"b\\c\nd", 1, 2);
    assert_non_null(strstr(written(), "penstock_queue_length{queue=\"a\\\"b\\\\c\\nd\"} 1\n"));
}

static void test_seconds_are_exact(void **state) {
    static const struct { uint64_t us; const char *text; } cases[] = {
        {0, " 0\n"}, {1, " 0.000001\n"}, {1500000, " 1.5\n"}, {10000000, " 10\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        metrics_init(&metrics);
        buf_clear(&out);
        metric_add(&metrics, METRIC_READ_MODEL_LAG_SECONDS, NULL, cases[i].us);
        const char *value = strrchr(written(), ' ');
        assert_string_equal(value, cases[i].text);
    }
}

static void test_buckets_are_cumulated(void **state) {
    static struct histogram one, two;
    struct histogram_sum sum = {0};
    histogram_us(&one, 100);   /* a bound belongs to its bucket */
    histogram_us(&one, 101);
    histogram_us(&two, 3000);
    histogram_us(&two, 99000000);
    histogram_us(&two, -5); /* a clock that was set back */
    histogram_read(&one, &sum);
    histogram_read(&two, &sum);
    assert_int_equal(histogram_total(&sum), 5);
    metric_histogram(&metrics, METRIC_HTTP_SECONDS, METRIC_LABELS(STR("ops")), &sum);
    const char *text = written();
    assert_non_null(strstr(text, "_bucket{class=\"ops\",le=\"0.0001\"} 2\n"));
    assert_non_null(strstr(text, "_bucket{class=\"ops\",le=\"0.00025\"} 3\n"));
    assert_non_null(strstr(text, "_bucket{class=\"ops\",le=\"0.005\"} 4\n"));
    assert_non_null(strstr(text, "_bucket{class=\"ops\",le=\"10\"} 4\n"));
    assert_non_null(strstr(text, "_bucket{class=\"ops\",le=\"+Inf\"} 5\n"));
    assert_non_null(strstr(text, "_sum{class=\"ops\"} 99.003201\n"));
    assert_non_null(strstr(text, "_count{class=\"ops\"} 5\n"));
}

static bool ends(const char *text, const char *end) {
    size_t len = strlen(text), n = strlen(end);
    return len > n && strcmp(text + len - n, end) == 0;
}

/* The conventions of Prometheus, for each row. */
static void test_the_table_keeps_the_conventions(void **state) {
    for (int i = 0; i < METRIC_ROWS; i++) {
        const struct metric_info *row = &metric_table[i];
        struct str rest = str_c(row->labels);
        int labels = 0;
        assert_true(str_starts(str_c(row->name), STR("penstock_")) ||
                    str_starts(str_c(row->name), STR("process_")));
        assert_int_equal(row->kind == METRIC_COUNTER, ends(row->name, "_total"));
        assert_true(strlen(row->help) > 10 && !strchr(row->help, '\n') && !strchr(row->help, '\\'));
        assert_true(strlen(row->unit) > 0);
        if (strcmp(row->unit, "seconds") == 0 || strcmp(row->unit, "bytes") == 0)
            assert_non_null(strstr(row->name, row->unit));
        for (; rest.ptr && rest.len > 0; labels++)
            assert_true(str_cut(&rest, ',').len > 0);
        assert_true(labels <= METRIC_LABELS_MAX);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(row->name, metric_table[k].name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_family_is_written_once_however_it_came, start, stop),
        cmocka_unit_test_setup_teardown(test_labels_are_escaped, start, stop),
        cmocka_unit_test_setup_teardown(test_seconds_are_exact, start, stop),
        cmocka_unit_test_setup_teardown(test_buckets_are_cumulated, start, stop),
        cmocka_unit_test_setup_teardown(test_the_table_keeps_the_conventions, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
