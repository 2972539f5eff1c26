/* Unit tests of src/base but for json, decimal and yaml, which have their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"

static void arena_is_aligned_capped_and_reused(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 100000);
    for (int i = 1; i < 300; i++) {
        char *at = arena_alloc(&arena, (size_t)i);
        assert_non_null(at);
        assert_int_equal((uintptr_t)at % 16, 0);
        for (int k = 0; k < i; k++)
            assert_int_equal(at[k], 0);
        memset(at, 0xee, (size_t)i);
        arena_bytes(&arena, 3);
    }
    assert_null(arena_alloc(&arena, 100000));
    assert_null(arena_array(&arena, SIZE_MAX / 2, 3));
    arena_reset(&arena);
    assert_true(arena.used <= 65536);
    struct str s = arena_printf(&arena, "%d-%s", 7, "x");
    assert_true(str_is(s, "7-x"));
    arena_free(&arena);
}

static void arena_and_buf_survive_failed_allocations(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 0);
    mem_fail_at(1, 1);
    assert_null(arena_alloc(&arena, 10));
    assert_null(arena_str(&arena, STR("abc")).ptr);
    struct buf buf;
    buf_init(&buf, 0);
    buf_lit(&buf, "abc");
    assert_false(buf_ok(&buf));
    mem_fail_at(0, 0);
    buf_clear(&buf);
    buf_lit(&buf, "abc");
    assert_true(buf_ok(&buf));
    buf_free(&buf);
    arena_free(&arena);
}

static void str_numbers_and_cuts(void **state) {
    (void)state;
    int64_t i;
    uint64_t u;
    assert_true(str_i64(STR("-9223372036854775808"), &i) && i == INT64_MIN);
    assert_false(str_i64(STR("9223372036854775808"), &i));
    assert_true(str_u64(STR("18446744073709551615"), &u) && u == UINT64_MAX);
    assert_false(str_u64(STR("18446744073709551616"), &u));
    assert_false(str_i64(STR(""), &i));
    assert_false(str_i64(STR("-"), &i));
    assert_false(str_i64(STR("1 "), &i));
    struct str rest = STR("a,b,,c");
    assert_true(str_is(str_cut(&rest, ','), "a"));
    assert_true(str_is(str_cut(&rest, ','), "b"));
    assert_true(str_is(str_cut(&rest, ','), ""));
    assert_true(str_is(str_cut(&rest, ','), "c"));
    assert_null(rest.ptr);
    assert_true(str_cmp(STR("a"), STR("ab")) < 0);
    assert_true(str_is(str_trim(STR(" \tx ")), "x"));
    assert_true(str_eq_secret(STR("abc"), STR("abc")));
    assert_false(str_eq_secret(STR("abc"), STR("abd")));
}

static void buf_escapes_json_and_keeps_its_maximum(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 64);
    buf_json_str(&buf, STR("a\"\\\n\x01\x7fz"));
    assert_true(str_is(buf_str(&buf), "\"a\\\"\\\\\\n\\u0001\x7fz\""));
    buf_clear(&buf);
    buf_i64(&buf, INT64_MIN);
    assert_true(str_is(buf_str(&buf), "-9223372036854775808"));
    for (int i = 0; i < 10; i++)
        buf_lit(&buf, "0123456789");
    assert_false(buf_ok(&buf));
    assert_true(buf.len <= 64);
    buf_free(&buf);
}

static struct str instant_again(struct buf *buf, const char *text) {
    struct instant at;
    if (!instant_parse(str_c(text), &at))
        return STR_NONE;
    buf_clear(buf);
    instant_write(buf, at);
    return buf_str(buf);
}

/* Every byte at every place of a text, beside letters and beside bytes of UTF-8. */
static void every_byte_is_escaped_wherever_it_stands(void **state) {
    (void)state;
    static const char hex[] = "0123456789abcdef";
    char text[40];
    for (int around = 0; around < 2; around++)
        for (size_t len = 1; len <= sizeof text; len += 3)
            for (size_t at = 0; at < len; at++)
                for (int byte = 0; byte < 256; byte++) {
                    struct buf got, want;
                    memset(text, around ? 0xc3 : 'a', sizeof text);
                    text[at] = (char)byte;
                    buf_init(&got, 0);
                    buf_init(&want, 0);
                    buf_json_str(&got, str_of(text, len));
                    buf_char(&want, '"');
                    buf_add(&want, text, at);
                    static const char named[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";
                    const char *name = byte ? strchr(named, byte) : NULL;
                    if (name)
                        buf_printf(&want, "\\%c", letters[name - named]);
                    else if (byte < 0x20)
                        buf_printf(&want, "\\u00%c%c", hex[byte >> 4], hex[byte & 15]);
                    else
                        buf_char(&want, (char)byte);
                    buf_add(&want, text + at + 1, len - at - 1);
                    buf_char(&want, '"');
                    assert_int_equal(got.len, want.len);
                    assert_memory_equal(got.data, want.data, want.len);
                    buf_free(&got);
                    buf_free(&want);
                }
}

static void instants_are_read_and_written(void **state) {
    (void)state;
    static const char *const same[] = {
        "2026-11-23T09:15:00+01:00", "1970-01-01T00:00:00Z",      "2024-02-29T23:59:59.999999Z",
        "0001-01-01T00:00:00Z",      "9999-12-31T23:59:59-12:00", "2026-11-23T09:15:00.5+05:30",
        "1969-12-31T23:59:59.5Z",
    };
    static const char *const wrong[] = {
        "",
        "2026-11-23",
        "2026-11-23T09:15:00",
        "2026-11-23 09:15:00Z",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-11-31T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T23:59:60Z",
        "2026-11-23T09:15:00.Z",
        "2026-11-23T09:15:00.1234567Z",
        "2026-11-23T09:15:00+0100",
        "2026-11-23T09:15:00+24:00",
        "2026-11-23T09:15:00Zx",
        "2026-11-23T09:15:00+01:0",
        "+026-11-23T09:15:00Z",
    };
    struct buf buf;
    buf_init(&buf, 0);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        assert_true(str_is(instant_again(&buf, same[i]), same[i]));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_null(instant_again(&buf, wrong[i]).ptr);
    struct instant at;
    assert_true(instant_parse(STR("2026-11-23T09:15:00+01:00"), &at));
    assert_int_equal(at.us, INT64_C(1795421700000000));
    int32_t days;
    for (int32_t d = -719000; d < 800000; d += 17) {
        buf_clear(&buf);
        date_write(&buf, d);
        assert_true(date_parse(buf_str(&buf), &days) && days == d);
    }
    assert_true(date_parse(STR("1970-01-01"), &days) && days == 0);
    buf_free(&buf);
}

static void ids_sort_by_time_and_read_back(void **state) {
    (void)state;
    struct rng_seeded rng;
    rng_seeded_init(&rng, 1);
    struct arena arena;
    arena_init(&arena, 0);
    struct str before = STR("");
    for (int64_t t = 1; t < 2000; t++) {
        struct id128 id = id_make(&rng.rng, t * 1000000), again;
        struct str text = id_text(&arena, "ord_", id);
        assert_int_equal(text.len, 4 + ID_TEXT_LEN);
        assert_true(str_cmp(before, text) < 0);
        assert_true(id_parse(text, "ord_", &again));
        assert_memory_equal(&id, &again, sizeof id);
        assert_false(id_parse(text, "sal_", &again));
        before = text;
    }
    struct id128 id;
    assert_false(id_parse(STR("ord_8zzzzzzzzzzzzzzzzzzzzzzzzz"), "ord_", &id));
    assert_false(id_parse(STR("ord_0zzzzzzzzzzzzzzzzzzzzzzzzU"), "ord_", &id));
    uint64_t seen[4] = {0};
    for (int i = 0; i < 4000; i++)
        seen[rng_below(&rng.rng, 4)]++;
    for (int i = 0; i < 4; i++)
        assert_in_range(seen[i], 850, 1150);
    arena_free(&arena);
}

static uint64_t number_hash(uint64_t value) {
    return hash64(str_of((const char *)&value, sizeof value), 1);
}
static bool number_eq(const void *ctx, uint32_t index, const void *key) {
    return ((const uint64_t *)ctx)[index] == *(const uint64_t *)key;
}
static uint64_t number_hash_of(const void *ctx, uint32_t index) {
    return number_hash(((const uint64_t *)ctx)[index]);
}

static void map_agrees_with_an_array(void **state) {
    (void)state;
    enum { N = 20000 };
    static uint64_t values[N];
    static bool in[N];
    struct map map;
    map_init(&map);
    struct rng_seeded rng;
    rng_seeded_init(&rng, 7);
    uint32_t count = 0;
    for (uint32_t i = 0; i < N; i++)
        values[i] = i * 977;
    for (int step = 0; step < 200000; step++) {
        uint32_t i = (uint32_t)rng_below(&rng.rng, N);
        uint64_t hash = number_hash(values[i]);
        uint32_t found = map_find(&map, hash, number_eq, values, &values[i]);
        assert_int_equal(found, in[i] ? i : MAP_NONE);
        if (in[i]) {
            assert_true(map_remove(&map, hash, i));
            assert_false(map_remove(&map, hash, i));
            count--;
        } else {
            assert_true(map_add(&map, hash, i, number_hash_of, values));
            count++;
        }
        in[i] = !in[i];
        assert_int_equal(map.count, count);
    }
    map_free(&map);
}

static void faults_are_listed_bounded_and_counted(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 0);
    struct fault fault;
    fault_init(&fault, &arena);
    for (int i = 0; i < FAULT_ITEMS_MAX + 50; i++)
        fault_add(&fault, STR("/lines/0/sku"), "is missing %d", i);
    uint32_t listed = 0;
    for (struct fault_item *item = fault.first; item; item = item->next)
        listed++;
    assert_int_equal(listed, FAULT_ITEMS_MAX);
    assert_int_equal(fault.count, FAULT_ITEMS_MAX + 50);
    assert_int_equal(fault.err, ERR_INVALID);
    assert_string_equal(fault.detail, "/lines/0/sku: is missing 0");
    assert_int_equal(fault_set(NULL, ERR_IO, "x"), ERR_IO);
    for (int e = OK; e < ERR_COUNT; e++)
        assert_in_range(err_info((enum err)e)->status, 200, 599);
    arena_free(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_is_aligned_capped_and_reused),
        cmocka_unit_test(arena_and_buf_survive_failed_allocations),
        cmocka_unit_test(str_numbers_and_cuts),
        cmocka_unit_test(buf_escapes_json_and_keeps_its_maximum),
        cmocka_unit_test(every_byte_is_escaped_wherever_it_stands),
        cmocka_unit_test(instants_are_read_and_written),
        cmocka_unit_test(ids_sort_by_time_and_read_back),
        cmocka_unit_test(map_agrees_with_an_array),
        cmocka_unit_test(faults_are_listed_bounded_and_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
