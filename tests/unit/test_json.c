/* Unit tests of base/json: cases of RFC 8259, random documents written and read back, and
 * agreement on mutated texts with a second, plain reader in this file. JSONTestSuite
 * (Nicolas Seriot's collection) is run as well where its folder is at hand. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"

static struct json_parser *parser;
static struct arena arena;
static struct fault fault;

static int setup(void **state) {
    (void)state;
    parser = json_parser_create();
    arena_init(&arena, 0);
    return parser ? 0 : -1;
}
static int teardown(void **state) {
    (void)state;
    json_parser_destroy(parser);
    arena_free(&arena);
    return 0;
}

/* From a copy of exactly its size, so that reading beyond it shows under ASan. */
static enum err parse(struct str text, const struct json **out) {
    arena_reset(&arena);
    fault_init(&fault, NULL);
    char *copy = malloc(text.len ? text.len : 1);
    assert_non_null(copy);
    if (text.len)
        memcpy(copy, text.ptr, text.len);
    enum err err = json_parse(parser, &arena, str_of(copy, text.len), false, out, &fault);
    free(copy);
    assert_true((err == OK) == (*out != NULL));
    assert_true((err == OK) == (fault.detail[0] == '\0'));
    return err;
}

/* --- a plain reader to compare with ---------------------------------------------------- */
struct plain {
    const unsigned char *at, *end;
    int depth;
};
static void plain_space(struct plain *p) {
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r'))
        p->at++;
}
static bool plain_take(struct plain *p, const char *word) {
    size_t len = strlen(word);
    if ((size_t)(p->end - p->at) < len || memcmp(p->at, word, len) != 0)
        return false;
    p->at += len;
    return true;
}
static bool plain_utf8(struct plain *p) {
    unsigned c = *p->at;
    int more = c < 0x80 ? 0 : c >= 0xC2 && c <= 0xDF ? 1 : c >= 0xE0 && c <= 0xEF ? 2
             : c >= 0xF0 && c <= 0xF4                ? 3 : -1;
    if (more < 0 || p->end - p->at <= more)
        return false;
    for (int i = 1; i <= more; i++)
        if ((p->at[i] & 0xC0) != 0x80)
            return false;
    if ((c == 0xE0 && p->at[1] < 0xA0) || (c == 0xED && p->at[1] > 0x9F) ||
        (c == 0xF0 && p->at[1] < 0x90) || (c == 0xF4 && p->at[1] > 0x8F))
        return false;
    p->at += more + 1;
    return true;
}
static int plain_hex(struct plain *p) {
    int value = 0;
    for (int i = 0; i < 4; i++, p->at++) {
        if (p->at >= p->end)
            return -1;
        const char *digits = "0123456789abcdef";
        const char *found = *p->at ? strchr(digits, *p->at | (*p->at >= 'A' && *p->at <= 'F' ? 32 : 0)) : NULL;
        if (!found)
            return -1;
        value = value * 16 + (int)(found - digits);
    }
    return value;
}
static bool plain_string(struct plain *p) {
    if (!plain_take(p, "\""))
        return false;
    while (p->at < p->end) {
        if (*p->at == '"')
            return p->at++, true;
        if (*p->at < 0x20)
            return false;
        if (*p->at != '\\') {
            if (!plain_utf8(p))
                return false;
            continue;
        }
        p->at++;
        if (p->at >= p->end)
            return false;
        unsigned char c = *p->at++;
        if (c == 'u') {
            int high = plain_hex(p);
            if (high < 0 || (high >= 0xDC00 && high <= 0xDFFF))
                return false;
            if (high >= 0xD800 && high <= 0xDBFF) {
                int low = plain_take(p, "\\u") ? plain_hex(p) : -1;
                if (low < 0xDC00 || low > 0xDFFF)
                    return false;
            }
        } else if (c == 0 || !strchr("\"\\/bfnrt", c)) {
            return false;
        }
    }
    return false;
}
static bool plain_digits(struct plain *p) {
    const unsigned char *start = p->at;
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9')
        p->at++;
    return p->at > start;
}
static bool plain_number(struct plain *p) {
    plain_take(p, "-");
    if (!plain_take(p, "0") && !plain_digits(p))
        return false;
    if (plain_take(p, ".") && !plain_digits(p))
        return false;
    if (plain_take(p, "e") || plain_take(p, "E")) {
        if (!plain_take(p, "+"))
            plain_take(p, "-");
        return plain_digits(p);
    }
    return true;
}
static bool plain_value(struct plain *p) {
    plain_space(p);
    bool good;
    if (p->at >= p->end)
        return false;
    if (*p->at == '"') {
        good = plain_string(p);
    } else if (*p->at == '[' || *p->at == '{') {
        bool object = *p->at++ == '{';
        const char *close = object ? "}" : "]";
        if (++p->depth > JSON_DEPTH_MAX)
            return false;
        plain_space(p);
        good = true;
        if (!plain_take(p, close)) {
            do {
                plain_space(p);
                good = !object || (plain_string(p) && (plain_space(p), plain_take(p, ":")));
                good = good && plain_value(p);
            } while (good && plain_take(p, ","));
            good = good && plain_take(p, close);
        }
        p->depth--;
    } else {
        good = plain_take(p, "true") || plain_take(p, "false") || plain_take(p, "null") ||
               plain_number(p);
    }
    plain_space(p);
    return good;
}
static bool plain_accepts(struct str text) {
    struct plain p = {(const unsigned char *)text.ptr, (const unsigned char *)text.ptr + text.len, 0};
    return plain_value(&p) && p.at == p.end;
}

/* --- cases ----------------------------------------------------------------------------- */
static const char *const accepted[] = {
    "null", " true ", "false", "0", "-0", "1.5e+10", "\"\"", "\"a\"", "[]", "{}", "[ ]", "{ }",
    "[1]", "[1,2,[3]]", "{\"a\":1}", "{\"a\":{\"b\":[{}]}}", "\t\r\n [ 1 , 2 ] \n",
    "{\"a\":1,\"a\":2}", "[\"\\u00e9\\uD83D\\uDE00\"]", "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]",
    "[\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"]", "[123456789012345678901234567890.5e999]",
    "[\"\x7f\"]", "[\"\\u0000\"]", "\"a\\\\\"", "[\"a]\",\"}b\"]", "{\"\":0}",
    "[1E5,1e-5,0.1,0e1,-1]", "[[[[[[]]]]]]", "[\"\xef\xbf\xbf\"]",
};
static const char *const refused[] = {
    "", " ", "nul", "nulll", "True", "[", "]", "{", "}", "[1", "[1,", "[1,]", "[,1]", "[1 2]",
    "[1,,2]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{'a':1}", "{\"a\" 1}", "{\"a\",1}",
    "{1:1}", "{\"a\":1 \"b\":2}", "[1}", "{\"a\":1]", "1 2", "[]]", "[] []", "{}}", "\"a",
    "\"a\\\"", "a\"", "\"a\"b", "\"a\"\"b\"", "[\"a\"\"b\"]", "[\"a\"1]", "[1\"a\"]", "[tru\"e\"]",
    "01", "-01", "-", "+1", ".5", "5.", "1e", "1e+", "0x1", "1_0", "--1", "1.2.3", "Infinity",
    "NaN", "-Infinity", "1a", "[1a]", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\uD800\"",
    "\"\\uD800x\"", "\"\\uD800\\n\"", "\"\\uD800\\u0041\"", "\"\\uDC00\"", "\"\\uD83D\\uD83D\"",
    "\"\n\"", "\"\t\"", "[\"a\x01\"]", "[\"\xff\"]", "[\"\xc0\x80\"]", "[\"\xed\xa0\x80\"]",
    "[\"\xf4\x90\x80\x80\"]", "[\"\xe2\x82\"]", "\xc3\xa9", "\xef\xbb\xbf{}", "// c\n1",
    "/* c */ 1", "[1]//", "[1]\x0c", "\x0b[1]", "\xc2\xa0[1]", "[\\n]", "\\\"a\"", "[\"a\\", ":",
    ",", "[:]", "{:}", "{,}", "[\"a\":1]", "{\"a\":\"b\":1}", "{\"a\"::1}", "{[]:1}", "@", "[1]x",
    "{\"a\":1}{\"b\":2}", "[\"\\u\"]", "[\"\\uD83D\\u\"]", "*", "[1,\n1\n,1", "{\"a\":[1}",
};

static void grammar_of_rfc_8259(void **state) {
    (void)state;
    const struct json *value;
    for (size_t i = 0; i < sizeof accepted / sizeof accepted[0]; i++) {
        if (parse(str_c(accepted[i]), &value) != OK)
            fail_msg("refused %s: %s", accepted[i], fault.detail);
        assert_true(plain_accepts(str_c(accepted[i])));
    }
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        if (parse(str_c(refused[i]), &value) != ERR_MALFORMED)
            fail_msg("took %s", refused[i]);
        assert_false(plain_accepts(str_c(refused[i])));
    }
    assert_int_equal(parse(str_of("[1\0]", 4), &value), ERR_MALFORMED);
    assert_int_equal(parse(str_of("[1]\0", 4), &value), ERR_MALFORMED);
}

static void nodes_are_laid_out_as_documented(void **state) {
    (void)state;
    const struct json *root;
    assert_int_equal(parse(STR("{ \"a\" : [1, -2.50 ,\"x\\ty\"], \"b\":{\"c\":null},\"d\":true }"),
                           &root), OK);
    assert_int_equal(root->kind, JSON_OBJECT);
    assert_int_equal(root->count, 3);
    assert_int_equal(root->next, 12);
    const struct json *a = json_member(root, STR("a"));
    assert_int_equal(a->kind, JSON_ARRAY);
    assert_int_equal(a->count, 3);
    assert_int_equal(a->next, 4);
    assert_true(str_is(a->text, "[1, -2.50 ,\"x\\ty\"]"));
    const struct json *v = json_first(a);
    int64_t n;
    assert_true(json_i64(v, &n) && n == 1);
    v = json_next(v);
    assert_true(str_is(v->text, "-2.50"));
    assert_false(json_i64(v, &n));
    v = json_next(v);
    assert_int_equal(v->kind, JSON_STRING);
    assert_true(str_is(v->text, "x\ty"));
    assert_true(str_is(json_member(root, STR("b"))->text, "{\"c\":null}"));
    assert_int_equal(json_member(json_member(root, STR("b")), STR("c"))->kind, JSON_NULL);
    assert_int_equal(json_member(root, STR("d"))->count, 1);
    assert_null(json_member(root, STR("e")));
    assert_null(json_member(a, STR("e")));
    assert_null(json_member_str(root, STR("a")).ptr);
    struct buf buf;
    buf_init(&buf, 0);
    json_write(&buf, root);
    assert_true(str_is(buf_str(&buf), "{\"a\":[1,-2.50,\"x\\ty\"],\"b\":{\"c\":null},\"d\":true}"));
    buf_free(&buf);
    assert_int_equal(parse(STR("[9223372036854775807,9223372036854775808,1e2,\"1\",-9]"), &root), OK);
    v = json_first(root);
    assert_true(json_i64(v, &n) && n == INT64_MAX);
    assert_false(json_i64(v + 1, &n) || json_i64(v + 2, &n) || json_i64(v + 3, &n));
    assert_true(json_i64(v + 4, &n) && n == -9);
    assert_int_equal(parse(STR("[\"\\u0000\\u00e9\\u20ac\\uD83D\\uDE00\\/\"]"), &root), OK);
    assert_int_equal(json_first(root)->text.len, 11);
    assert_memory_equal(json_first(root)->text.ptr, "\0\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80/", 11);
}

static void depth_is_bounded(void **state) {
    (void)state;
    const struct json *root;
    char text[400];
    memset(text, '[', 200);
    memset(text + 200, ']', 200);
    assert_int_equal(parse(str_of(text + 200 - JSON_DEPTH_MAX, 2 * JSON_DEPTH_MAX), &root), OK);
    assert_int_equal(root->next, JSON_DEPTH_MAX);
    assert_int_equal(parse(str_of(text + 199 - JSON_DEPTH_MAX, 2 * JSON_DEPTH_MAX + 2), &root),
                     ERR_TOO_LARGE);
    assert_int_equal(parse(str_of(text, 200), &root), ERR_MALFORMED);
    assert_int_equal(parse(str_of(text, JSON_DEPTH_MAX), &root), ERR_MALFORMED);
    assert_int_equal(parse(str_of(text, 390), &root), ERR_MALFORMED);
}

static void too_many_values_for_the_cap_are_refused(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 0);
    buf_lit(&buf, "[0");
    for (int i = 0; i < 100000; i++)
        buf_lit(&buf, ",0");
    buf_char(&buf, ']');
    struct arena small;
    arena_init(&small, 1 << 20);
    const struct json *root;
    assert_int_equal(json_parse(parser, &small, buf_str(&buf), false, &root, NULL), ERR_TOO_LARGE);
    arena_free(&small);
    assert_int_equal(parse(buf_str(&buf), &root), OK);
    buf_free(&buf);
}

static void faults_say_where(void **state) {
    (void)state;
    const struct json *root;
    assert_int_equal(parse(STR("{\n  \"a\": 1,\n  \"b\": 019\n}"), &root), ERR_MALFORMED);
    assert_non_null(strstr(fault.detail, "line 3, column 8"));
    assert_int_equal(parse(STR("[1] x"), &root), ERR_MALFORMED);
    assert_string_equal(fault.detail, "something follows the value at line 1, column 5 (byte 4)");
}

/* --- random documents ------------------------------------------------------------------ */
static struct rng_seeded rng;
static uint64_t below(uint64_t n) { return rng_below(&rng.rng, n); }
static void random_space(struct buf *buf) {
    while (below(4) == 0)
        buf_char(buf, " \n\r\t"[below(4)]);
}
static void random_string(struct buf *loose, struct buf *tight) {
    static const char *const parts[][2] = {
        {"a", "a"}, {"sku", "sku"}, {"\xc3\xa9", "\xc3\xa9"}, {"\\u20AC", "\xe2\x82\xac"},
        {"\\uD83D\\uDE00", "\xf0\x9f\x98\x80"}, {"\\n", "\\n"}, {"\\\"", "\\\""}, {"\\\\", "\\\\"},
        {"\\/", "/"}, {"\\u0001", "\\u0001"}, {"{", "{"}, {"]", "]"}, {",", ","}, {" ", " "},
        {"\\u0061", "a"}, {"0123456789abcdef0123456789", "0123456789abcdef0123456789"},
    };
    buf_char(loose, '"');
    buf_char(tight, '"');
    for (uint64_t n = below(8); n > 0; n--) {
        uint64_t i = below(sizeof parts / sizeof parts[0]);
        buf_str_add(loose, str_c(parts[i][0]));
        buf_str_add(tight, str_c(parts[i][1]));
    }
    buf_char(loose, '"');
    buf_char(tight, '"');
}
static void random_value(struct buf *loose, struct buf *tight, int depth) {
    static const char *const scalars[] = {"null", "true", "false", "0", "-1", "19.99", "1e5",
                                          "12345678901234567890", "-0.0", "1.50E-7"};
    random_space(loose);
    uint64_t kind = below(depth > 6 ? 2 : 4);
    if (kind == 0) {
        struct str s = str_c(scalars[below(sizeof scalars / sizeof scalars[0])]);
        buf_str_add(loose, s);
        buf_str_add(tight, s);
    } else if (kind == 1) {
        random_string(loose, tight);
    } else {
        buf_char(loose, kind == 2 ? '[' : '{');
        buf_char(tight, kind == 2 ? '[' : '{');
        for (uint64_t i = 0, n = below(5); i < n; i++) {
            if (i > 0) {
                buf_char(loose, ',');
                buf_char(tight, ',');
            }
            if (kind == 3) {
                random_space(loose);
                random_string(loose, tight);
                random_space(loose);
                buf_char(loose, ':');
                buf_char(tight, ':');
            }
            random_value(loose, tight, depth + 1);
        }
        random_space(loose);
        buf_char(loose, kind == 2 ? ']' : '}');
        buf_char(tight, kind == 2 ? ']' : '}');
    }
    random_space(loose);
}

/* The node array holds together: counts and jumps agree. */
static uint32_t nodes_check(const struct json *value) {
    const struct json *at = json_first(value);
    if (value->kind == JSON_ARRAY || value->kind == JSON_OBJECT)
        for (uint32_t i = 0; i < value->count; i++) {
            if (value->kind == JSON_OBJECT) {
                assert_int_equal(at->kind, JSON_STRING);
                at++;
            }
            at += nodes_check(at);
        }
    assert_int_equal(at - value, value->next);
    return value->next;
}

static void random_documents_read_back_and_mutants_agree(void **state) {
    (void)state;
    static const char odd[] = "[]{}:,\"\\ \n0123456789.-+eEtrufalsn\x01\x7f\x80\xc3\xa9\xed\xff";
    rng_seeded_init(&rng, 11);
    struct buf loose, tight, again;
    buf_init(&loose, 0);
    buf_init(&tight, 0);
    buf_init(&again, 0);
    uint32_t taken = 0, turned_away = 0;
    for (int i = 0; i < 6000; i++) {
        buf_clear(&loose);
        buf_clear(&tight);
        buf_clear(&again);
        random_value(&loose, &tight, 0);
        const struct json *root;
        assert_int_equal(parse(buf_str(&loose), &root), OK);
        nodes_check(root);
        json_write(&again, root);
        assert_true(str_eq(buf_str(&again), buf_str(&tight)));
        for (int m = 0; m < 10; m++) {
            struct str text = buf_str(&loose);
            size_t at = (size_t)below(text.len);
            loose.data[at] = odd[below(sizeof odd - 1)];
            if (below(8) == 0)
                text.len = at;
            enum err err = parse(text, &root);
            bool good = plain_accepts(text);
            if ((err == OK) != good)
                fail_msg("%s what the plain reader does not: %.*s", err ? "refused" : "took",
                         STR_FMT(text));
            if (err == OK)
                nodes_check(root);
            taken += err == OK;
            turned_away += err != OK;
        }
    }
    assert_true(taken > 1000 && turned_away > 1000);
    buf_free(&loose);
    buf_free(&tight);
    buf_free(&again);
}

static void padded_text_is_used_in_place(void **state) {
    (void)state;
    char text[64 + JSON_PADDING];
    memset(text, '7', sizeof text); /* digits behind the end must not join the number */
    memcpy(text, "[\"abc\", 12", 10);
    const struct json *root;
    arena_reset(&arena);
    assert_int_equal(json_parse(parser, &arena, str_of(text, 10), true, &root, NULL), ERR_MALFORMED);
    memcpy(text, "[\"abc\",12]", 10);
    assert_int_equal(json_parse(parser, &arena, str_of(text, 10), true, &root, NULL), OK);
    assert_ptr_equal(json_first(root)->text.ptr, text + 2);
    assert_int_equal(json_parse(parser, &arena, str_of(text, 0), true, &root, NULL), ERR_MALFORMED);
    assert_int_equal(json_parse(parser, &arena, str_of("12", 2), true, &root, NULL), OK);
    assert_true(str_is(root->text, "12"));
}

static void large_and_small_texts_share_a_parser(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 0);
    buf_char(&buf, '[');
    for (int i = 0; i < 400000; i++)
        buf_printf(&buf, "%s{\"n\":%d}", i ? "," : "", i);
    buf_char(&buf, ']');
    for (int round = 0; round < 2; round++) {
        const struct json *root;
        assert_int_equal(parse(buf_str(&buf), &root), OK);
        assert_int_equal(root->count, 400000);
        assert_int_equal(root->next, 1200001);
        assert_int_equal(parse(STR("[1]"), &root), OK);
    }
    buf_free(&buf);
}

static void memory_running_out_is_an_answer(void **state) {
    (void)state;
    struct str text = STR("{\"a\":[1,2,\"x\\ny\",{\"b\":\"long \\u0041 string\"}]}");
    bool done = false;
    for (uint64_t n = 1; n < 20 && !done; n++) {
        struct arena small;
        arena_init(&small, 0);
        const struct json *root;
        mem_fail_at(n, 1);
        enum err err = json_parse(parser, &small, text, false, &root, NULL);
        mem_fail_at(0, 0);
        assert_true(err == OK || err == ERR_NOMEM);
        done = err == OK;
        arena_free(&small);
    }
    assert_true(done);
    mem_fail_at(1, 0);
    assert_null(json_parser_create());
    mem_fail_at(0, 0);
}

/* --- JSONTestSuite --------------------------------------------------------------------- */
static bool file_read(const char *path, struct buf *out) {
    FILE *file = fopen(path, "rb");
    if (!file)
        return false;
    char chunk[4096];
    size_t n;
    buf_clear(out);
    while ((n = fread(chunk, 1, sizeof chunk, file)) > 0)
        buf_add(out, chunk, n);
    fclose(file);
    return true;
}

static void json_test_suite(void **state) {
    (void)state;
    const char *shared = getenv("PENSTOCK_SHARED");
    char folder[512], path[1024];
    snprintf(folder, sizeof folder, "%s/data/10-jsontestsuite",
             shared ? shared : PENSTOCK_SOURCE_ROOT "/../shared");
    DIR *dir = opendir(folder);
    if (!dir) {
        skip();
        return;
    }
    struct buf text;
    buf_init(&text, 0);
    uint32_t good = 0, bad = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char what = entry->d_name[0];
        size_t len = strlen(entry->d_name);
        if (len < 6 || strcmp(entry->d_name + len - 5, ".json") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        assert_true(file_read(path, &text));
        const struct json *root;
        enum err err = parse(buf_str(&text), &root);
        if (what == 'y' && err != OK)
            fail_msg("%s refused: %s", entry->d_name, fault.detail);
        if (what == 'n' && err != ERR_MALFORMED)
            fail_msg("%s not refused as malformed (%d)", entry->d_name, err);
        good += what == 'y';
        bad += what == 'n';
    }
    closedir(dir);
    buf_free(&text);
    assert_true(good >= 50 && bad >= 50);
}

/* The cases of RFC 7396, appendix A, and of its section 3. */
static void merge_patches_of_rfc_7396(void **state) {
    static const char *const cases[][3] = {
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
        {"{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
        {"{\"a\":\"foo\"}", "null", "null"},
        {"{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
        {"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
        {"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
        {"{\"n\":1.50,\"big\":9007199254740993}", "{\"x\":2.0}", "{\"n\":1.50,\"big\":9007199254740993,\"x\":2.0}"},
        {"{\"a\":1}", "{\"b\":2,\"b\":3}", "{\"a\":1,\"b\":2}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena other;
        const struct json *target, *patch;
        struct buf out;
        arena_init(&other, 0);
        fault_init(&fault, NULL);
        assert_int_equal(json_parse(parser, &other, str_c(cases[i][0]), false, &target, &fault), OK);
        assert_int_equal(parse(str_c(cases[i][1]), &patch), OK);
        buf_init(&out, 0);
        json_merge(&out, target, patch);
        assert_string_equal(buf_cstr(&out), cases[i][2]);
        buf_free(&out);
        arena_free(&other);
    }
}

static void pointers_are_followed(void **state) {
    const struct json *doc;
    assert_int_equal(json_parse(parser, &arena,
                                STR("{\"a\":[{\"b/c\":1},null,{\"~\":\"x\"}],\"\":2}"), false, &doc,
                                &fault), OK);
    assert_true(str_is(json_at(doc, STR("/a/0/b~1c"))->text, "1"));
    assert_true(str_is(json_at(doc, STR("/a/2/~0"))->text, "x"));
    assert_true(str_is(json_at(doc, STR("/"))->text, "2"));
    assert_ptr_equal(json_at(doc, STR("")), doc);
    assert_int_equal(json_at(doc, STR("/a/1"))->kind, JSON_NULL);
    assert_null(json_at(doc, STR("/a/3")));
    assert_null(json_at(doc, STR("/a/x")));
    assert_null(json_at(doc, STR("a")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pointers_are_followed),
        cmocka_unit_test(merge_patches_of_rfc_7396),
        cmocka_unit_test(grammar_of_rfc_8259),
        cmocka_unit_test(nodes_are_laid_out_as_documented),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(too_many_values_for_the_cap_are_refused),
        cmocka_unit_test(faults_say_where),
        cmocka_unit_test(random_documents_read_back_and_mutants_agree),
        cmocka_unit_test(padded_text_is_used_in_place),
        cmocka_unit_test(large_and_small_texts_share_a_parser),
        cmocka_unit_test(memory_running_out_is_an_answer),
        cmocka_unit_test(json_test_suite),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
