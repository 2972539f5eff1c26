/* Unit tests of base/yaml: what plain words become, what is refused and on which line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/yaml.h"

static struct arena arena;
static struct fault fault;

static int setup(void **state) {
    (void)state;
    arena_init(&arena, 0);
    return 0;
}
static int teardown(void **state) {
    (void)state;
    arena_free(&arena);
    return 0;
}

static enum err read_text(const char *text, struct yaml *yaml) {
    arena_reset(&arena);
    fault_init(&fault, &arena);
    return yaml_parse(&arena, STR("f.yaml"), str_c(text), yaml, &fault);
}

static void texts_become_json(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"", "null"}, {"# only a comment\n", "null"}, {"a: 1", "{\"a\":1}"},
        {"a: 1.50\nb: 1e3\nc: -0\n", "{\"a\":1.50,\"b\":1e3,\"c\":-0}"},
        {"- yes\n- 0x1f\n- 012\n- 1_000\n- .5\n- +1\n- 2026-11-23\n- 127.0.0.1:8480\n",
         "[\"yes\",\"0x1f\",\"012\",\"1_000\",\".5\",\"+1\",\"2026-11-23\",\"127.0.0.1:8480\"]"},
        {"[true, False, ~, null, '', \"1\", '~', !!str 5]",
         "[true,false,null,null,\"\",\"1\",\"~\",\"5\"]"},
        {"a:\n  - b: {c: d}\n  -\n  - [e]\n", "{\"a\":[{\"b\":{\"c\":\"d\"}},null,[\"e\"]]}"},
        {"1: a\ntrue: b\n", "{\"1\":\"a\",\"true\":\"b\"}"},
        {"a: &x {b: 1}\nc: [*x, *x]\n", "{\"a\":{\"b\":1},\"c\":[{\"b\":1},{\"b\":1}]}"},
        {"a: &x 1\nb: *x\nc: &x 2\nd: *x\n", "{\"a\":1,\"b\":1,\"c\":2,\"d\":2}"},
        {"text: |\n  two\n  lines\n", "{\"text\":\"two\\nlines\\n\"}"},
        {"---\na: \"\\u00e9\"\n...\n", "{\"a\":\"\xc3\xa9\"}"}, {"{}", "{}"}, {"[]", "[]"},
    };
    struct buf buf;
    buf_init(&buf, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct yaml yaml;
        if (read_text(rows[i][0], &yaml) != OK)
            fail_msg("%s: %s", rows[i][0], fault.detail);
        buf_clear(&buf);
        json_write(&buf, yaml.root);
        assert_string_equal(buf_cstr(&buf), rows[i][1]);
    }
    buf_free(&buf);
}

static void faults_name_file_and_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *pointer, *part;
    } rows[] = {
        {"a: 1\nb: 2\na: 3\n", "f.yaml:3", "already on line 1"},
        {"a: 1\n b: 2\n", "f.yaml:2", ""},
        {"a: [1, 2\nb: 3\n", "f.yaml:2", ""},
        {"a: 'x\n", "f.yaml:2", ""},
        {"? [a, b]\n: 1\n", "f.yaml:1", "a key must be"},
        {"a: 1\n---\nb: 2\n", "f.yaml:2", "second document"},
        {"a: !!int 5\n", "f.yaml:1", "not supported"},
        {"a: !mine {}\n", "f.yaml:1", "not supported"},
        {"a: *x\n", "f.yaml:1", "no anchor &x"},
        {"a: &x [1, *x]\n", "f.yaml:1", "inside of what it names"},
        {"a: \"\x01\"\n", "f.yaml:1", ""},
        {"a: \"\xff\"\n", "f.yaml:1", ""},
        {"a: &k x\n*k : 1\n", "f.yaml:2", "an alias can not be a key"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct yaml yaml;
        if (read_text(rows[i].text, &yaml) != ERR_INVALID)
            fail_msg("took %s", rows[i].text);
        assert_null(yaml.root);
        assert_int_equal(fault.count, 1);
        if (!str_is(fault.first->pointer, rows[i].pointer) || !strstr(fault.detail, rows[i].part))
            fail_msg("%s: %s", rows[i].text, fault.detail);
    }
}

static void growth_is_bounded(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 0);
    buf_lit(&buf, "l0: &l0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 9; i++) {
        buf_printf(&buf, "l%d: &l%d [", i, i);
        for (int k = 0; k < 10; k++)
            buf_printf(&buf, "%s*l%d", k ? "," : "", i - 1);
        buf_lit(&buf, "]\n");
    }
    struct yaml yaml;
    assert_int_equal(read_text(buf_cstr(&buf), &yaml), ERR_INVALID);
    assert_non_null(strstr(fault.detail, "more than 1000000 values"));
    buf_clear(&buf);
    for (int i = 0; i <= JSON_DEPTH_MAX; i++)
        buf_char(&buf, '[');
    assert_int_equal(read_text(buf_cstr(&buf), &yaml), ERR_INVALID);
    assert_non_null(strstr(fault.detail, "nested deeper"));
    buf_clear(&buf);
    for (int i = 0; i <= 100; i++)
        buf_printf(&buf, "- &a%d 1\n", i);
    assert_int_equal(read_text(buf_cstr(&buf), &yaml), ERR_INVALID);
    buf_clear(&buf);
    for (int i = 0; i < 20000; i++)
        buf_printf(&buf, "k%d: {location: S%d}\n", i, i);
    assert_int_equal(read_text(buf_cstr(&buf), &yaml), OK);
    assert_int_equal(yaml.root->count, 20000);
    assert_int_equal(yaml_line(&yaml, STR("/k19999/location")), 20000);
    buf_free(&buf);
}

static void pointers_find_their_lines(void **state) {
    (void)state;
    struct yaml yaml;
    assert_int_equal(read_text("a: 1\nb:\n  - x\n  - c: 2\n    d/e: 3\n    f~:\n      {g: 1}\n", &yaml), OK);
    static const struct {
        const char *pointer;
        uint32_t line;
    } rows[] = {{"", 1}, {"/a", 1}, {"/b", 2}, {"/b/0", 3}, {"/b/1", 4}, {"/b/1/c", 4},
                {"/b/1/d~1e", 5}, {"/b/1/f~0", 6}, {"/b/1/f~0/g", 7}, {"/b/1/missing", 4},
                {"/b/7", 2}, {"/nothing", 1}, {"/a/b/c", 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (yaml_line(&yaml, str_c(rows[i].pointer)) != rows[i].line)
            fail_msg("%s: line %u", rows[i].pointer, yaml_line(&yaml, str_c(rows[i].pointer)));
    struct fault to;
    fault_init(&to, &arena);
    fault_add(&fault, STR("/b/1/c"), "must be %d", 7);
    yaml_faults(&yaml, &fault, &to);
    assert_true(str_is(to.first->pointer, "f.yaml:4:/b/1/c"));
    assert_true(str_is(to.first->detail, "must be 7"));
}

static void files_and_memory(void **state) {
    (void)state;
    struct yaml yaml;
    arena_reset(&arena);
    fault_init(&fault, &arena);
    assert_int_equal(yaml_read(&arena, "/nonexistent/x.yaml", STR("x.yaml"), &yaml, &fault), ERR_NOT_FOUND);
    assert_int_equal(yaml_read(&arena, "/", STR("x.yaml"), &yaml, &fault), ERR_IO);
    bool done = false;
    for (uint64_t n = 1; n < 40 && !done; n++) {
        struct arena small;
        arena_init(&small, 0);
        struct fault f = {0};
        mem_fail_at(n, 1);
        enum err err = yaml_parse(&small, STR("f"), STR("a: &x 1\nb: [*x, {c: d, e: f}]\n"), &yaml, &f);
        mem_fail_at(0, 0);
        assert_true(err == OK || err == ERR_NOMEM);
        done = err == OK;
        arena_free(&small);
    }
    assert_true(done);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_become_json),
        cmocka_unit_test(faults_name_file_and_line),
        cmocka_unit_test(growth_is_bounded),
        cmocka_unit_test(pointers_find_their_lines),
        cmocka_unit_test(files_and_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
