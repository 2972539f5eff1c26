/* The log: values from outside stay values, lines stay lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/span.h"

static void test_values(void **state) {
    static const struct { struct str value; const char *text; } cases[] = {
        {{"plain-1.2", 9}, "plain-1.2"},
        {{"", 0}, "\"\""},
        {{"two words", 9}, "\"two words\""},
        {{"a=b", 3}, "\"a=b\""},
        {{"\"\\", 2}, "\"\\\"\\\\\""},
        {{"a\nb\r\tc\x1b[2J", 10}, "\"a\\nb\\u000d\\u0009c\\u001b[2J\""},
        {{"\x7f", 1}, "\"\\u007f\""},
        {{"gr\xc3\xbc\xc3\x9f", 6}, "\"gr\xc3\xbc\xc3\x9f\""},
        {{"\xc2\x9b" "2J", 4}, "\"\\u009b2J\""}, /* CSI as one character */
        {{"\xc2\xa0", 2}, "\"\xc2\xa0\""},
        {{"a\xff\xc3", 3}, "\"a??\""},
        {{"a\0b", 3}, "\"a\\u0000b\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(log_quote(cases[i].value), cases[i].text);
}

static void test_a_long_value_is_cut_at_a_character(void **state) {
    char text[3000];
    for (size_t i = 0; i < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xbc", 2);
    const char *quoted = log_quote(str_of(text + 1, sizeof text - 1)); /* begins with half of one */
    assert_int_equal(quoted[1], '?');
    quoted = log_quote(str_of(text, 1025));
    assert_int_equal(strlen(quoted), 1026);
    assert_null(strchr(quoted, '?'));
    memset(text, 1, sizeof text);
    assert_int_equal(strlen(log_quote(str_of(text, sizeof text))), 6 * 1024 + 2);
}

/* What log_line writes, by way of a file in place of stderr. */
static char *line_of(const char *value) {
    char path[] = "/tmp/penstock-log-XXXXXX";
    int fd = mkstemp(path), saved = dup(STDERR_FILENO);
    static char text[400000];
    dup2(fd, STDERR_FILENO);
    log_line(LOG_WARN, "test", "a message", "n=%d value=%s", 7, value);
    dup2(saved, STDERR_FILENO);
    close(saved);
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    assert_true(n > 0);
    text[n] = '\0';
    close(fd);
    unlink(path);
    return text;
}

static void test_a_line(void **state) {
    uint64_t before = log_lines(LOG_WARN);
    const char *line = line_of(log_quote(STR("x y")));
    assert_int_equal(strncmp(line, "ts=2", 4), 0);
    assert_non_null(strstr(line, " level=warn part=test msg=\"a message\" n=7 value=\"x y\"\n"));
    assert_int_equal(log_lines(LOG_WARN), before + 1);
}

static void test_pairs_are_whole_or_left_out(void **state) {
    static char value[70000];
    memset(value, 'x', sizeof value - 1);
    const char *line = line_of(value);
    assert_non_null(strstr(line, "msg=\"a message\" left_out=too-long\n"));
    value[60000] = '\0';
    line = line_of(value);
    assert_int_equal(line[strlen(line) - 1], '\n');
    assert_int_equal(line[strlen(line) - 2], 'x');
}

static void test_the_trace_is_told_where_it_is_sampled(void **state) {
    struct str yes = STR("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_string_equal(log_trace(yes), "");
    spans_start(&(struct spans_options){.ring_spans = 2});
    assert_string_equal(log_trace(yes), " trace_id=0af7651916cd43dd8448eb211c80319c"
                                        " span_id=b7ad6b7169203331");
    assert_string_equal(log_trace(STR_NONE), "");
    spans_stop();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_a_long_value_is_cut_at_a_character),
        cmocka_unit_test(test_a_line),
        cmocka_unit_test(test_pairs_are_whole_or_left_out),
        cmocka_unit_test(test_the_trace_is_told_where_it_is_sampled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
