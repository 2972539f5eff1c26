/* Unit tests of src/shape: every kind's good and bad values, pointers, round trips over random
 * documents, and the schema. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/rng.h"
#include "shape/pick.h"
#include "shape/shape.h"

struct leaf {
    uint64_t has;
    struct str code;
    int64_t amount;
};
enum leaf_row { LEAF_CODE, LEAF_AMOUNT };
static const struct shape_field leaf_fields[] = {
    {.name = "code", .kind = SHAPE_CODE, .flags = SHAPE_REQUIRED, .offset = offsetof(struct leaf, code),
     .max = 8, .since = 1, .help = "A code"},
    {.name = "amount", .kind = SHAPE_MONEY, .offset = offsetof(struct leaf, amount), .since = 1},
};
SHAPE_DEFINE(leaf_shape, "leaf", struct leaf, "A leaf", leaf_fields);

struct tree {
    uint64_t has;
    struct str id, code, text, secret;
    int64_t money, bounded, integer, qty, rate;
    struct instant at, local;
    int32_t day, colour;
    bool flag;
    struct leaf *leaf;
    struct shape_list leaves, names;
    const struct json *ext;
    struct str raw;
    int64_t version;
};
enum tree_row {
    T_ID, T_CODE, T_TEXT, T_SECRET, T_MONEY, T_BOUNDED, T_INTEGER, T_QTY, T_RATE, T_AT, T_LOCAL,
    T_DAY, T_COLOUR, T_FLAG, T_LEAF, T_LEAVES, T_NAMES, T_EXT, T_RAW, T_VERSION, T_COUNT,
};
static const char *const colours[] = {"red", "green", "blue", NULL};
#define AT(member) .offset = offsetof(struct tree, member), .since = 1
static const struct shape_field tree_fields[] = {
    [T_ID] = {.name = "id", .kind = SHAPE_ID, .flags = SHAPE_REQUIRED, AT(id), .help = "Which"},
    [T_CODE] = {.name = "co/de~", .kind = SHAPE_CODE, AT(code)},
    [T_TEXT] = {.name = "text", .kind = SHAPE_TEXT, AT(text), .max = 200},
    [T_SECRET] = {.name = "secret", .kind = SHAPE_INTEGER, AT(secret), .privacy = PERSONAL},
    [T_MONEY] = {.name = "money", .kind = SHAPE_MONEY, AT(money)},
    [T_BOUNDED] = {.name = "bounded", .kind = SHAPE_MONEY, AT(bounded), .min = -5, .max = 100},
    [T_INTEGER] = {.name = "integer", .kind = SHAPE_INTEGER, AT(integer)},
    [T_QTY] = {.name = "qty", .kind = SHAPE_DECIMAL, AT(qty), .min = 1, .max = 5000000},
    [T_RATE] = {.name = "rate", .kind = SHAPE_RATE, AT(rate)},
    [T_AT] = {.name = "at", .kind = SHAPE_INSTANT, AT(at)},
    [T_LOCAL] = {.name = "local", .kind = SHAPE_INSTANT, .flags = SHAPE_LOCAL_OK, AT(local)},
    [T_DAY] = {.name = "day", .kind = SHAPE_DATE, AT(day)},
    [T_COLOUR] = {.name = "colour", .kind = SHAPE_ENUM, AT(colour), .values = colours},
    [T_FLAG] = {.name = "flag", .kind = SHAPE_BOOL, AT(flag)},
    [T_LEAF] = {.name = "leaf", .kind = SHAPE_OBJECT, AT(leaf), .shape = &leaf_shape},
    [T_LEAVES] = {.name = "leaves", .kind = SHAPE_LIST, AT(leaves), .min = 1, .max = 5,
                  .shape = &leaf_shape},
    [T_NAMES] = {.name = "names", .kind = SHAPE_LIST, AT(names), .max = 3},
    [T_EXT] = {.name = "ext", .kind = SHAPE_OPEN, AT(ext)},
    [T_RAW] = {.name = "raw", .kind = SHAPE_RAW, AT(raw)},
    [T_VERSION] = {.name = "version", .kind = SHAPE_INTEGER, .flags = SHAPE_READ_ONLY, AT(version)},
};
SHAPE_DEFINE(tree_shape, "tree", struct tree, "A tree", tree_fields);

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

static enum err read_as(bool load, const char *text, struct tree **out) {
    arena_reset(&arena);
    fault_init(&fault, &arena);
    const struct json *root;
    if (json_parse(parser, &arena, str_c(text), false, &root, &fault) != OK)
        fail_msg("the test's own JSON is bad: %s: %s", text, fault.detail);
    void *doc;
    enum err err = load ? shape_load(&tree_shape, root, &arena, &doc, &fault)
                        : shape_decode(&tree_shape, root, &arena, STR(""), &doc, &fault);
    *out = doc;
    assert_true((err == OK) == (doc != NULL));
    assert_true((err == OK) == (fault.count == 0));
    return err;
}

static void good_values_arrive(void **state) {
    (void)state;
    struct tree *t;
    assert_int_equal(
        read_as(false,
                "{\"text\":\"two\\nlines\",\"id\":\"A 1\",\"co/de~\":\"a/b:c-1_.\",\"money\":-1999,"
                "\"bounded\":100,\"integer\":-9223372036854775808,\"qty\":\"2.50\",\"rate\":\"0.19\","
                "\"at\":\"2026-11-23T09:15:00+01:00\",\"local\":\"2026-11-24T00:00:00\","
                "\"day\":\"1970-01-02\",\"colour\":\"blue\",\"flag\":true,"
                "\"leaf\":{\"code\":\"x\",\"amount\":0},\"leaves\":[{\"code\":\"a\"},{\"code\":\"b\"}],"
                "\"names\":[\"n\"],\"ext\":{\"a\":[1.50]},\"raw\":{ \"b\" : \"c\" },\"secret\":null}",
                &t), OK);
    assert_true(str_is(t->id, "A 1") && str_is(t->code, "a/b:c-1_.") && str_is(t->text, "two\nlines"));
    assert_int_equal(t->money, -1999);
    assert_int_equal(t->bounded, 100);
    assert_true(t->integer == INT64_MIN);
    assert_int_equal(t->qty, 2500000);
    assert_int_equal(t->rate, 190000000);
    assert_int_equal(t->at.offset_min, 60);
    assert_int_equal(t->local.offset_min, SHAPE_NO_OFFSET);
    assert_int_equal(t->day, 1);
    assert_int_equal(t->colour, 2);
    assert_true(t->flag);
    assert_true(shape_has(t->leaf, LEAF_AMOUNT) && t->leaf->amount == 0);
    assert_int_equal(t->leaves.count, 2);
    assert_true(str_is(list_at(t->leaves, struct leaf, 1)->code, "b"));
    assert_false(shape_has(list_at(t->leaves, struct leaf, 1), LEAF_AMOUNT));
    assert_true(str_is(*list_at(t->names, struct str, 0), "n"));
    assert_true(str_is(t->raw, "{ \"b\" : \"c\" }"));
    assert_false(shape_has(t, T_SECRET) || shape_has(t, T_VERSION));
    struct buf buf;
    buf_init(&buf, 0);
    shape_encode(&tree_shape, t, &buf);
    assert_string_equal(
        buf_cstr(&buf),
        "{\"id\":\"A 1\",\"co/de~\":\"a/b:c-1_.\",\"text\":\"two\\nlines\",\"money\":-1999,"
        "\"bounded\":100,\"integer\":-9223372036854775808,\"qty\":\"2.5\",\"rate\":\"0.19\","
        "\"at\":\"2026-11-23T09:15:00+01:00\",\"local\":\"2026-11-24T00:00:00\","
        "\"day\":\"1970-01-02\",\"colour\":\"blue\",\"flag\":true,"
        "\"leaf\":{\"code\":\"x\",\"amount\":0},\"leaves\":[{\"code\":\"a\"},{\"code\":\"b\"}],"
        "\"names\":[\"n\"],\"ext\":{\"a\":[1.50]},\"raw\":{ \"b\" : \"c\" }}");
    buf_free(&buf);
}

static bool has_fault(const char *pointer, const char *detail) {
    for (struct fault_item *item = fault.first; item; item = item->next)
        if (str_is(item->pointer, pointer) && (!detail || str_is(item->detail, detail)))
            return true;
    return false;
}

#define ZEROS32 "/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0"
#define LONG16 "0123456789abcdef"
#define LONG128 LONG16 LONG16 LONG16 LONG16 LONG16 LONG16 LONG16 LONG16
static const struct {
    const char *json, *pointer, *detail;
} bad[] = {
    {"[]", "", "must be an object, not an array"},
    {"null", "", "must be an object, not null"},
    {"{}", "/id", "is required"},
    {"{\"id\":null}", "/id", "is required, and must not be null"},
    {"{\"id\":\"\"}", "/id", "must not be empty"},
    {"{\"id\":7}", "/id", "must be a string, not a number"},
    {"{\"id\":\" a\"}", "/id", "must not begin or end with a space"},
    {"{\"id\":\"a\\tb\"}", "/id", "must not hold control characters"},
    {"{\"id\":\"a\\u0085b\"}", "/id", "must not hold control characters"},
    {"{\"id\":\"" LONG128 "x\"}", "/id", "must have at most 128 bytes, not 129"},
    {"{\"id\":\"a\",\"id\":\"b\"}", "/id", "is given twice"},
    {"{\"id\":\"a\",\"money\":null,\"money\":1}", "/money", "is given twice"},
    {"{\"id\":\"a\",\"idd\":1}", "/idd", "is not a member of tree"},
    {"{\"id\":\"a\",\"i\":1}", "/i", "is not a member of tree"},
    {"{\"id\":\"a\",\"\":1}", "/", "is not a member of tree"},
    {"{\"id\":\"a\",\"id\\u0000x\":1}", NULL, "is not a member of tree"},
    {"{\"id\":\"a\",\"a/b~c\":1}", "/a~1b~0c", "is not a member of tree"},
    {"{\"id\":\"a\",\"version\":3}", "/version", "is set by the hub"},
    {"{\"id\":\"a\",\"co/de~\":\"a b\"}", "/co~1de~0", "may hold only letters, digits and . _ : / -"},
    {"{\"id\":\"a\",\"co/de~\":\"\"}", "/co~1de~0", "must not be empty"},
    {"{\"id\":\"a\",\"co/de~\":\"\xc3\xa9\"}", "/co~1de~0", NULL},
    {"{\"id\":\"a\",\"text\":\"a\\u0007\"}", "/text", "must not hold control characters"},
    {"{\"id\":\"a\",\"text\":\"\\u0000\"}", "/text", NULL},
    {"{\"id\":\"a\",\"text\":{}}", "/text", "must be a string, not an object"},
    {"{\"id\":\"a\",\"money\":19.99}", "/money", "must be an integer of minor units, not 19.99"},
    {"{\"id\":\"a\",\"money\":1e2}", "/money", "must be an integer of minor units, not 1e2"},
    {"{\"id\":\"a\",\"money\":1.0}", "/money", "must be an integer of minor units, not 1.0"},
    {"{\"id\":\"a\",\"money\":\"1999\"}", "/money", "must be an integer of minor units, not \"1999\""},
    {"{\"id\":\"a\",\"money\":9223372036854775808}", "/money", "is out of range: an integer has 64 bits"},
    {"{\"id\":\"a\",\"money\":true}", "/money", "must be an integer of minor units, not true"},
    {"{\"id\":\"a\",\"bounded\":101}", "/bounded", "must be at most 100"},
    {"{\"id\":\"a\",\"bounded\":-6}", "/bounded", "must be at least -5"},
    {"{\"id\":\"a\",\"integer\":1.5}", "/integer", "must be an integer, not 1.5"},
    {"{\"id\":\"a\",\"secret\":\"1234\"}", "/secret", "must be an integer, not a string"},
    {"{\"id\":\"a\",\"qty\":2}", "/qty",
     "must be a decimal number in a string, such as \"2.5\", not a number"},
    {"{\"id\":\"a\",\"qty\":\"0\"}", "/qty", "must be at least 0.000001"},
    {"{\"id\":\"a\",\"qty\":\"5.000001\"}", "/qty", "must be at most 5"},
    {"{\"id\":\"a\",\"qty\":\"1.0000001\"}", "/qty",
     "must be a decimal number with at most 6 decimals, such as \"2.5\", not \"1.0000001\""},
    {"{\"id\":\"a\",\"qty\":\"two\"}", "/qty", NULL},
    {"{\"id\":\"a\",\"qty\":\"1e1\"}", "/qty", NULL},
    {"{\"id\":\"a\",\"rate\":\"0,19\"}", "/rate",
     "must be a decimal number with at most 9 decimals, such as \"0.19\", not \"0,19\""},
    {"{\"id\":\"a\",\"rate\":0.19}", "/rate", NULL},
    {"{\"id\":\"a\",\"at\":\"2026-11-23T09:15:00\"}", "/at",
     "must be a time with offset such as \"2026-11-23T09:15:00+01:00\" (RFC 3339), not "
     "\"2026-11-23T09:15:00\""},
    {"{\"id\":\"a\",\"at\":\"2026-02-30T09:15:00Z\"}", "/at", NULL},
    {"{\"id\":\"a\",\"at\":1700000000}", "/at", NULL},
    {"{\"id\":\"a\",\"local\":\"2026-11-23\"}", "/local", NULL},
    {"{\"id\":\"a\",\"day\":\"2026-02-29\"}", "/day",
     "must be a date such as \"2026-11-23\", not \"2026-02-29\""},
    {"{\"id\":\"a\",\"colour\":\"pink\"}", "/colour",
     "must be one of \"red\", \"green\", \"blue\", not \"pink\""},
    {"{\"id\":\"a\",\"colour\":0}", "/colour", NULL},
    {"{\"id\":\"a\",\"flag\":\"true\"}", "/flag", "must be true or false, not \"true\""},
    {"{\"id\":\"a\",\"flag\":1}", "/flag", NULL},
    {"{\"id\":\"a\",\"leaf\":[]}", "/leaf", "must be an object, not an array"},
    {"{\"id\":\"a\",\"leaf\":{}}", "/leaf/code", "is required"},
    {"{\"id\":\"a\",\"leaves\":{}}", "/leaves", "must be an array, not an object"},
    {"{\"id\":\"a\",\"leaves\":[]}", "/leaves", "must have at least 1 element, not 0"},
    {"{\"id\":\"a\",\"leaves\":[1]}", "/leaves/0", "must be an object, not a number"},
    {"{\"id\":\"a\",\"leaves\":[{\"code\":\"a\"},{\"amount\":1}]}", "/leaves/1/code", "is required"},
    {"{\"id\":\"a\",\"leaves\":[{\"code\":\"123456789\"}]}", "/leaves/0/code", NULL},
    {"{\"id\":\"a\",\"names\":[\"a\",\"b\",\"c\",\"d\"]}", "/names",
     "must have at most 3 elements, not 4"},
    {"{\"id\":\"a\",\"names\":[\"a\",3]}", "/names/1", "must be a string, not a number"},
    {"{\"id\":\"a\",\"names\":[\"\"]}", "/names/0", "must not be empty"},
    {"{\"id\":\"a\",\"ext\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}",
     "/ext" ZEROS32, "is nested deeper than 32 levels"},
    {"{\"id\":\"a\",\"ext\":{\"a\":[1,{\"b\":1,\"c\":2,\"b\":3}]}}", "/ext/a/1/b", "is given twice"},
    {"{\"id\":\"a\",\"ext\":{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1,"
     "\"j\":1,\"k\":1,\"l\":1,\"m\":1,\"n\":1,\"o\":1,\"p\":1,\"\\u0061\":1}}", "/ext/a",
     "is given twice"},
};

static void bad_values_are_refused_with_their_pointer(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct tree *t;
        assert_int_equal(read_as(false, bad[i].json, &t), ERR_INVALID);
        if (fault.count != 1)
            fail_msg("%s: %u faults", bad[i].json, fault.count);
        if (bad[i].pointer && !has_fault(bad[i].pointer, bad[i].detail))
            fail_msg("%s: %.*s: %.*s", bad[i].json, STR_FMT(fault.first->pointer),
                     STR_FMT(fault.first->detail));
    }
    struct tree *t;
    assert_int_equal(read_as(false, "{\"id\":\"a\",\"ext\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]"
                                    "]]]]]]]]]]]]]]]]]]}", &t), OK);
}

static void all_faults_are_reported(void **state) {
    (void)state;
    struct tree *t;
    assert_int_equal(read_as(false,
                             "{\"money\":1.5,\"x\":1,\"leaves\":[{\"amount\":\"1\",\"y\":2},3],"
                             "\"names\":[\"\",\"ok\",7],\"leaf\":{\"code\":\"a b\"}}", &t),
                     ERR_INVALID);
    assert_int_equal(fault.count, 10);
    static const char *const pointers[] = {
        "/id", "/money", "/x", "/leaves/0/amount", "/leaves/0/y", "/leaves/0/code", "/leaves/1",
        "/names/0", "/names/2", "/leaf/code"};
    for (size_t i = 0; i < sizeof pointers / sizeof pointers[0]; i++)
        assert_true(has_fault(pointers[i], NULL));
    struct buf buf;
    buf_init(&buf, 0);
    buf_lit(&buf, "{\"id\":\"a\"");
    for (int i = 0; i < 5000; i++)
        buf_printf(&buf, ",\"unknown%d\":1", i);
    buf_char(&buf, '}');
    assert_int_equal(read_as(false, buf_cstr(&buf), &t), ERR_INVALID);
    assert_int_equal(fault.count, 5000);
    uint32_t listed = 0;
    for (struct fault_item *item = fault.first; item; item = item->next)
        listed++;
    assert_int_equal(listed, FAULT_ITEMS_MAX);
    buf_free(&buf);
}

static void the_root_pointer_is_a_prefix_and_long_names_are_cut(void **state) {
    (void)state;
    arena_reset(&arena);
    const struct json *root;
    assert_int_equal(json_parse(parser, &arena, STR("{\"" LONG128 LONG128 "\":1}"), false, &root, NULL), OK);
    fault_init(&fault, &arena);
    void *doc;
    assert_int_equal(shape_decode(&tree_shape, root, &arena, STR("/orders/3"), &doc, &fault), ERR_INVALID);
    assert_true(has_fault("/orders/3/id", "is required"));
    assert_true(has_fault("/orders/3/" LONG128, NULL));
    assert_int_equal(shape_decode(&tree_shape, root, &arena, STR(""), &doc, NULL), ERR_INVALID);
}

static void what_the_hub_wrote_is_taken_back(void **state) {
    (void)state;
    struct tree *t;
    assert_int_equal(read_as(true, "{\"id\":\"a\",\"version\":3,\"newer\":{\"x\":1},\"raw\":null}", &t), OK);
    assert_int_equal(t->version, 3);
    assert_true(str_is(t->raw, "null"));
    assert_int_equal(read_as(true, "{\"id\":\"a\",\"raw\":\"q\\\"\"}", &t), OK);
    assert_true(str_is(t->raw, "\"q\\\"\""));
    assert_int_equal(read_as(true, "{\"id\":\"a\",\"raw\":1.50}", &t), OK);
    assert_true(str_is(t->raw, "1.50"));
    assert_int_equal(read_as(true, "{\"version\":3}", &t), ERR_INVALID);
    assert_int_equal(read_as(true, "{\"id\":\"a\",\"version\":\"3\"}", &t), ERR_INVALID);
}

/* --- round trip ------------------------------------------------------------------------ */
static struct rng_seeded rng;
static uint64_t below(uint64_t n) { return rng_below(&rng.rng, n); }
static int64_t any_i64(void) { return (int64_t)rng_u64(&rng.rng) >> below(64); }
static struct str any_text(const char *const *parts, uint64_t count, uint64_t least, uint64_t most) {
    struct str s = STR("");
    for (uint64_t n = least + below(most - least + 1); n > 0; n--)
        s = arena_printf(&arena, "%.*s%s", STR_FMT(s), parts[below(count)]);
    return s;
}
static struct leaf any_leaf(void) {
    static const char *const parts[] = {"a", "Z", "0", ".", "/"};
    struct leaf leaf = {.code = any_text(parts, 5, 1, 8)};
    shape_mark(&leaf, LEAF_CODE);
    if (below(2)) {
        leaf.amount = any_i64();
        shape_mark(&leaf, LEAF_AMOUNT);
    }
    return leaf;
}
static void any_tree(struct tree *t) {
    static const char *const parts[] = {"a", "\xc3\xa9", "\"", "\\", "\n", " x ", "\xf0\x9f\x98\x80",
                                        "</", "\x7f", "\t"};
    static const char *const plain[] = {"a", "\xc3\xa9", "\"", "\\", "a b", "~"};
    *t = (struct tree){.has = rng_u64(&rng.rng) & ((UINT64_C(1) << T_COUNT) - 1)};
    shape_mark(t, T_ID);
    t->has &= ~(UINT64_C(1) << T_SECRET);
    t->id = any_text(plain, 6, 1, 10);
    t->code = any_leaf().code;
    t->text = any_text(parts, 10, 0, 20);
    t->money = any_i64();
    t->bounded = (int64_t)below(106) - 5;
    t->integer = any_i64();
    t->qty = 1 + (int64_t)below(5000000);
    t->rate = any_i64();
    t->at = (struct instant){(int64_t)below(UINT64_C(4000000000000000)), (int16_t)((int)below(2879) - 1439)};
    t->local = (struct instant){(int64_t)below(UINT64_C(4000000000000000)),
                                below(2) ? SHAPE_NO_OFFSET : 0};
    t->day = (int32_t)below(100000) - 50000;
    t->colour = (int32_t)below(3);
    t->flag = below(2);
    t->leaf = arena_new(&arena, struct leaf);
    *t->leaf = any_leaf();
    t->leaves.count = 1 + (uint32_t)below(5);
    t->leaves.items = arena_array(&arena, t->leaves.count, sizeof(struct leaf));
    for (uint32_t i = 0; i < t->leaves.count; i++)
        *list_at(t->leaves, struct leaf, i) = any_leaf();
    t->names.count = (uint32_t)below(4);
    t->names.items = arena_array(&arena, t->names.count + 1, sizeof(struct str));
    for (uint32_t i = 0; i < t->names.count; i++)
        *list_at(t->names, struct str, i) = any_text(parts, 10, 1, 5);
    assert_int_equal(json_parse(parser, &arena, STR("{\"x\":[1,{\"y\":null}]}"), false, &t->ext, NULL), OK);
    t->raw = below(2) ? STR("[ 1,2 ]") : STR("\"x\"");
    t->version = any_i64();
}
static void leaf_equal(const struct leaf *a, const struct leaf *b) {
    assert_true(a->has == b->has && str_eq(a->code, b->code) && a->amount == b->amount);
}
#define SAME(row, test) assert_true(!shape_has(a, row) || (test))
static void tree_equal(const struct tree *a, const struct tree *b) {
    assert_true(a->has == b->has);
    SAME(T_ID, str_eq(a->id, b->id));
    SAME(T_CODE, str_eq(a->code, b->code));
    SAME(T_TEXT, str_eq(a->text, b->text));
    SAME(T_MONEY, a->money == b->money);
    SAME(T_BOUNDED, a->bounded == b->bounded);
    SAME(T_INTEGER, a->integer == b->integer);
    SAME(T_QTY, a->qty == b->qty);
    SAME(T_RATE, a->rate == b->rate);
    SAME(T_AT, a->at.us == b->at.us && a->at.offset_min == b->at.offset_min);
    SAME(T_LOCAL, a->local.us == b->local.us && a->local.offset_min == b->local.offset_min);
    SAME(T_DAY, a->day == b->day);
    SAME(T_COLOUR, a->colour == b->colour);
    SAME(T_FLAG, a->flag == b->flag);
    SAME(T_RAW, str_eq(a->raw, b->raw));
    SAME(T_VERSION, a->version == b->version);
    SAME(T_LEAVES, a->leaves.count == b->leaves.count);
    SAME(T_NAMES, a->names.count == b->names.count);
    if (shape_has(a, T_LEAF))
        leaf_equal(a->leaf, b->leaf);
    for (uint32_t i = 0; shape_has(a, T_LEAVES) && i < a->leaves.count; i++)
        leaf_equal(list_at(a->leaves, struct leaf, i), list_at(b->leaves, struct leaf, i));
    for (uint32_t i = 0; shape_has(a, T_NAMES) && i < a->names.count; i++)
        assert_true(str_eq(*list_at(a->names, struct str, i), *list_at(b->names, struct str, i)));
}

static void decode_of_encode_is_the_same(void **state) {
    (void)state;
    rng_seeded_init(&rng, 3);
    struct buf text, again;
    buf_init(&text, 0);
    buf_init(&again, 0);
    for (int i = 0; i < 5000; i++) {
        arena_reset(&arena);
        fault_init(&fault, &arena);
        struct tree t;
        any_tree(&t);
        buf_clear(&text);
        buf_clear(&again);
        shape_encode(&tree_shape, &t, &text);
        const struct json *root;
        void *back;
        assert_int_equal(json_parse(parser, &arena, buf_str(&text), false, &root, &fault), OK);
        if (shape_load(&tree_shape, root, &arena, &back, &fault) != OK)
            fail_msg("%s: %s", fault.detail, buf_cstr(&text));
        tree_equal(&t, back);
        shape_encode(&tree_shape, back, &again);
        assert_true(str_eq(buf_str(&text), buf_str(&again)));
    }
    buf_free(&text);
    buf_free(&again);
}

static void memory_running_out_is_an_answer(void **state) {
    (void)state;
    bool done = false;
    for (uint64_t n = 1; n < 50 && !done; n++) {
        struct arena nodes, small;
        arena_init(&nodes, 0);
        arena_init(&small, 0);
        const struct json *root;
        assert_int_equal(json_parse(parser, &nodes,
                                    STR("{\"id\":\"a\",\"raw\":\"x\",\"leaf\":{\"code\":\"c\"},\"leaves\":"
                                        "[{\"code\":\"a\"}],\"names\":[\"n\"]}"), false, &root, NULL), OK);
        void *doc;
        struct fault f = {0};
        mem_fail_at(n, 1);
        enum err err = shape_decode(&tree_shape, root, &small, STR(""), &doc, &f);
        mem_fail_at(0, 0);
        assert_true(err == OK || err == ERR_NOMEM);
        done = err == OK;
        arena_free(&small);
        arena_free(&nodes);
    }
    assert_true(done);
}

static void schema_says_what_decode_checks(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 0);
    shape_schema(&tree_shape, &buf);
    assert_true(buf_ok(&buf));
    arena_reset(&arena);
    const struct json *root;
    assert_int_equal(json_parse(parser, &arena, buf_str(&buf), false, &root, &fault), OK);
    const struct json *properties = json_member(root, STR("properties"));
    assert_int_equal(properties->count, T_COUNT);
    assert_true(str_is(json_member_str(root, STR("$schema")), "https://json-schema.org/draft/2020-12/schema"));
    assert_int_equal(json_member(root, STR("required"))->count, 1);
    assert_int_equal(json_member(root, STR("additionalProperties"))->count, 0);
    const struct json *bounded = json_member(properties, STR("bounded"));
    int64_t n;
    assert_true(json_i64(json_member(bounded, STR("minimum")), &n) && n == -5);
    assert_true(json_i64(json_member(bounded, STR("maximum")), &n) && n == 100);
    assert_true(str_is(json_member_str(json_member(properties, STR("qty")), STR("x-minimum")), "0.000001"));
    assert_int_equal(json_member(json_member(properties, STR("colour")), STR("enum"))->count, 3);
    assert_true(str_is(json_member_str(json_member(properties, STR("leaf")), STR("$ref")), "#/$defs/leaf"));
    assert_true(str_is(json_member_str(json_member(properties, STR("id")), STR("description")), "Which"));
    assert_true(str_is(json_member_str(json_member(properties, STR("secret")), STR("x-privacy")), "personal"));
    assert_int_equal(json_member(json_member(properties, STR("version")), STR("readOnly"))->count, 1);
    const struct json *leaf = json_member(json_member(root, STR("$defs")), STR("leaf"));
    assert_int_equal(json_member(leaf, STR("properties"))->count, 2);
    const struct shape *list[4];
    assert_int_equal(shape_collect(&tree_shape, list, 0, 4), 2);
    assert_int_equal(shape_collect(&leaf_shape, list, 2, 4), 2);
    buf_free(&buf);
}

/* --- pick ---------------------------------------------------------------------------------- */

static const char *const picked[] = {"id", "money", "colour", "flag", "leaf/amount", "version",
                                     NULL};

/* Whether a text can be picked from, and then says what parsing it says. */
static bool picks(const char *text) {
    struct shape_pick pick;
    struct tree *parsed;
    void *doc;
    shape_pick_make(&pick, &tree_shape, picked);
    if (read_as(true, text, &parsed) != OK)
        fail_msg("the test's own document is bad: %s", text);
    /* A copy without a byte behind it: what reads on is found by the address sanitizer. */
    size_t len = strlen(text);
    char *copy = mem_alloc(len);
    memcpy(copy, text, len);
    bool read = shape_pick_read(&pick, str_of(copy, len), &arena, &doc);
    const struct tree *t = doc;
    if (read) {
        uint64_t wanted = 1u << T_ID | 1u << T_MONEY | 1u << T_COLOUR | 1u << T_FLAG |
                          1u << T_LEAF | 1u << T_VERSION;
        assert_int_equal(t->has, parsed->has & wanted);
        assert_true(str_eq(t->id, parsed->id));
        assert_true(t->money == parsed->money && t->version == parsed->version);
        assert_true(t->colour == parsed->colour && t->flag == parsed->flag);
        assert_true(!t->leaf == !parsed->leaf);
        if (t->leaf) {
            assert_int_equal(t->leaf->has, parsed->leaf->has & 1u << LEAF_AMOUNT);
            assert_true(t->leaf->amount == parsed->leaf->amount);
        }
    }
    mem_free(copy);
    return read;
}

static const char plain[] =
    "{\"id\":\"A 1\",\"co/de~\":\"c\",\"text\":\"a, b: {c} [d]\",\"money\":-1999,\"bounded\":5,"
    "\"qty\":\"2.50\",\"at\":\"2026-11-23T09:15:00+01:00\",\"colour\":\"blue\",\"flag\":true,"
    "\"leaf\":{\"code\":\"c\",\"amount\":7},\"leaves\":[{\"code\":\"x\"},{\"code\":\"y\","
    "\"amount\":1}],\"names\":[\"}\",\"]]]\",\"a name as long as a block of sixty-four bytes, and "
    "then {more}\"],\"ext\":{\"deep\":[[[[{}]]],{\"version\":1}]},\"raw\":{\"a\":[1,2]},"
    "\"version\":3}";

static void picked_members_are_those_that_parsing_finds(void **state) {
    (void)state;
    assert_true(picks(plain));
    assert_true(picks("{\"id\":\"a\"}"));
    assert_true(picks("{\"id\":\"a\",\"colour\":\"red\",\"flag\":false}"));
    assert_true(picks("{\"id\":\"a\",\"leaf\":{\"code\":\"c\"},\"version\":9}"));
    assert_true(picks("{\"id\":\"a\",\"ext\":{},\"version\":9}"));
    /* what is passed over, of every length around a block's */
    static const char ones[] = "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,";
    for (int n = 0; n < 67; n++)
        for (int m = 0; m < 34; m++) {
            char text[600];
            snprintf(text, sizeof text,
                     "{\"id\":\"a\",\"ext\":[\"%.*s}]\",{\"x\":[%.*s0]}],\"version\":4}", n, ones,
                     2 * m, ones);
            assert_true(picks(text));
        }
}

static void what_is_not_plain_is_left_to_the_parser(void **state) {
    (void)state;
    assert_false(picks("{ \"id\":\"a\",\"version\":1}"));
    assert_false(picks("{\"id\": \"a\",\"version\":1}"));
    assert_false(picks("{\"version\":1,\"id\":\"a\"}"));
    assert_false(picks("{\"id\":\"a\\u0041\",\"version\":1}"));
    assert_false(picks("{\"id\":\"a\",\"text\":\"\\n\",\"version\":1}"));
    assert_false(picks("{\"id\":\"a\",\"ext\":{\"a\":\"\\\"}\"},\"version\":1}"));
    assert_false(picks("{\"id\":\"a\",\"unknown\":1,\"version\":1}"));
    assert_false(picks("{\"id\":\"a\",\"money\":null,\"version\":1}"));
}

/* Text that is cut or changed anywhere may be refused or not, but nothing outside is read. */
static void a_pick_stays_inside_a_broken_text(void **state) {
    (void)state;
    struct shape_pick pick;

    rng_seeded_init(&rng, 11);
    shape_pick_make(&pick, &tree_shape, picked);
    for (int round = 0; round < 20000; round++) {
        size_t len = rng_below(&rng.rng, sizeof plain);
        char *copy = mem_alloc(len + 1);
        memcpy(copy, plain, len);
        for (uint64_t n = rng_below(&rng.rng, 3); len > 0 && n > 0; n--)
            copy[rng_below(&rng.rng, len)] = "\"{}[],:\\0a"[rng_below(&rng.rng, 10)];
        char *exact = mem_resize(copy, len > 0 ? len : 1);
        void *doc;
        arena_reset(&arena);
        bool read = shape_pick_read(&pick, str_of(exact, len), &arena, &doc);
        (void)read;
        mem_free(exact);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_values_arrive),
        cmocka_unit_test(bad_values_are_refused_with_their_pointer),
        cmocka_unit_test(all_faults_are_reported),
        cmocka_unit_test(the_root_pointer_is_a_prefix_and_long_names_are_cut),
        cmocka_unit_test(what_the_hub_wrote_is_taken_back),
        cmocka_unit_test(decode_of_encode_is_the_same),
        cmocka_unit_test(memory_running_out_is_an_answer),
        cmocka_unit_test(schema_says_what_decode_checks),
        cmocka_unit_test(picked_members_are_those_that_parsing_finds),
        cmocka_unit_test(what_is_not_plain_is_left_to_the_parser),
        cmocka_unit_test(a_pick_stays_inside_a_broken_text),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
