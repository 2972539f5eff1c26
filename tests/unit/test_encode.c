/* Base 64 and JSON strings against the plainest way to write them, at every length and with every
 * byte at every place of a step: what goes many bytes at a time must end where one at a time does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/encode.h"
#include "base/rng.h"

#define LEN_MAX 200

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Bit by bit. */
static size_t base64_plain(const unsigned char *from, size_t len, char *to) {
    size_t n = 0;
    for (size_t bit = 0; bit < len * 8; bit += 6) {
        unsigned value = 0;
        for (size_t k = bit; k < bit + 6; k++)
            value = value << 1 | (k < len * 8 ? from[k / 8] >> (7 - k % 8) & 1u : 0u);
        to[n++] = digits[value];
    }
    while (n % 4)
        to[n++] = '=';
    return n;
}


static void test_base64_lengths(void **state) {
    struct rng_seeded rng;
    struct arena arena;
    rng_seeded_init(&rng, 20261124);
    arena_init(&arena, 0);
    for (size_t len = 0; len <= LEN_MAX; len++) {
        /* exactly so much memory: a byte read or written beside it is found by the sanitizers */
        unsigned char *from = malloc(len + 1);
        char *to = malloc(base64_len(len) + 1), right[2 * LEN_MAX];
        rng_fill(&rng.rng, from, len);
        base64_put(to, str_of((char *)from, len));
        assert_int_equal(base64_plain(from, len, right), base64_len(len));
        assert_memory_equal(to, right, base64_len(len));
        struct str back = base64_read(&arena, str_of(right, base64_len(len)));
        assert_non_null(back.ptr);
        assert_int_equal(back.len, len);
        assert_memory_equal(back.ptr, from, len);
        arena_reset(&arena);
        free(from);
        free(to);
    }
    arena_free(&arena);
}

/* Every byte that is no digit is refused, wherever it stands, and every digit is read as itself. */
static void test_base64_bytes(void **state) {
    struct arena arena;
    char text[132];
    arena_init(&arena, 0);
    for (size_t place = 0; place < sizeof text; place++)
        for (int c = 0; c < 256; c++) {
            memset(text, 'A', sizeof text);
            text[place] = (char)c;
            const char *digit = c ? strchr(digits, c) : NULL;
            bool padding = c == '=' && place == sizeof text - 1;
            struct str back = base64_read(&arena, str_of(text, sizeof text));
            assert_int_equal(back.ptr != NULL, digit != NULL || padding);
            if (digit) {
                unsigned value = 0;
                for (size_t k = place / 4 * 4; k < place / 4 * 4 + 4; k++)
                    value = value << 6 | (k == place ? (unsigned)(digit - digits) : 0u);
                const unsigned char *at = (const unsigned char *)back.ptr + place / 4 * 3;
                assert_int_equal(at[0] << 16 | at[1] << 8 | at[2], value);
            }
            arena_reset(&arena);
        }
    arena_free(&arena);
}

static void json_plain(struct buf *out, struct str s) {
    buf_char(out, '"');
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        const char *found = strchr("\bb\ff\nn\rr\tt", c);
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c < 0x20 && c && found)
            buf_printf(out, "\\%c", found[1]);
        else if (c < 0x20)
            buf_printf(out, "\\u%04x", c);
        else
            buf_char(out, (char)c);
    }
    buf_char(out, '"');
}

static void test_json_str(void **state) {
    struct buf out, right;
    buf_init(&out, 0);
    buf_init(&right, 0);
    for (size_t len = 0; len <= 70; len++)
        for (size_t place = 0; place <= len; place++)
            for (int c = 0; c < 256; c += place == len ? 256 : 1) {
                char *text = malloc(len + 1);
                memset(text, 'x', len);
                if (place < len)
                    text[place] = (char)c;
                if (place < len && place > 20)
                    text[place - 20] = (char)(c / 2); /* two in one text */
                buf_clear(&out);
                buf_clear(&right);
                buf_json_str(&out, str_of(text, len));
                json_plain(&right, str_of(text, len));
                assert_true(str_eq(buf_str(&out), buf_str(&right)));
                free(text);
            }
    buf_free(&out);
    buf_free(&right);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base64_lengths),
        cmocka_unit_test(test_base64_bytes),
        cmocka_unit_test(test_json_str),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
