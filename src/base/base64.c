/* base64: base 64 (RFC 4648), see encode.h. Where the machine has AVX2 most of a long text goes 32
 * digits at a time: payloads are sealed and opened with it, and digit by digit it cost as much as to
 * encrypt them four times over. The rest of a text, and other machines, go three bytes at a time. */
#include "base/encode.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define WIDE 1
#include <immintrin.h>
#endif

#define WIDE_MIN 32 /* shorter texts are not worth the question what the machine has */

#ifdef WIDE
/* --- 24 bytes and 32 digits at a time ------------------------------------------------------- */

#define WIDE_TARGET __attribute__((target("avx2")))

static bool wide_have(void) { return __builtin_cpu_supports("avx2"); }

/* Values 0 to 63 as digits: to each what its range is away from its digits. */
WIDE_TARGET static __m256i digits_of(__m256i values) {
    /* 0: a to z; 1 to 10: 0 to 9; 11: +; 12: /; 13: A to Z */
    const __m256i away = _mm256_broadcastsi128_si256(_mm_setr_epi8(
        'a' - 26, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52,
        '0' - 52, '0' - 52, '+' - 62, '/' - 63, 'A', 0, 0));
    __m256i range = _mm256_subs_epu8(values, _mm256_set1_epi8(51));
    __m256i upper = _mm256_cmpgt_epi8(_mm256_set1_epi8(26), values);
    range = _mm256_or_si256(range, _mm256_and_si256(upper, _mm256_set1_epi8(13)));
    return _mm256_add_epi8(values, _mm256_shuffle_epi8(away, range));
}

/* As many whole steps as there are; answers how many bytes that took. Reads 28 bytes a step. */
WIDE_TARGET static size_t wide_put(char *to, const unsigned char *from, size_t len) {
    /* three bytes a, b, c of each group as b a c b: each of its four values lies in one half */
    const __m256i spread = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10));
    size_t at = 0;
    for (; len - at >= 28; at += 24, to += 32) {
        __m128i low = _mm_loadu_si128((const __m128i *)(const void *)(from + at));
        __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(from + at + 12));
        __m256i in = _mm256_shuffle_epi8(_mm256_set_m128i(high, low), spread);
        /* first and third value: shifted right by 10 and 6; second and fourth: left by 4 and 8 */
        __m256i odd = _mm256_mulhi_epu16(_mm256_and_si256(in, _mm256_set1_epi32(0x0fc0fc00)),
                                         _mm256_set1_epi32(0x04000040));
        __m256i even = _mm256_mullo_epi16(_mm256_and_si256(in, _mm256_set1_epi32(0x003f03f0)),
                                          _mm256_set1_epi32(0x01000010));
        _mm256_storeu_si256((__m256i *)(void *)to, digits_of(_mm256_or_si256(odd, even)));
    }
    return at;
}

/* All ones where a byte lies between the two (no byte above 127 does). */
WIDE_TARGET static __m256i between(__m256i c, char first, char last) {
    return _mm256_and_si256(_mm256_cmpgt_epi8(c, _mm256_set1_epi8((char)(first - 1))),
                            _mm256_cmpgt_epi8(_mm256_set1_epi8((char)(last + 1)), c));
}

/* Digits as values; false where one is none. */
WIDE_TARGET static bool values_of(__m256i c, __m256i *out) {
    __m256i upper = between(c, 'A', 'Z'), lower = between(c, 'a', 'z'), digit = between(c, '0', '9');
    __m256i plus = _mm256_cmpeq_epi8(c, _mm256_set1_epi8('+'));
    __m256i slash = _mm256_cmpeq_epi8(c, _mm256_set1_epi8('/'));
    __m256i letter = _mm256_or_si256(_mm256_and_si256(upper, _mm256_set1_epi8(-'A')),
                                     _mm256_and_si256(lower, _mm256_set1_epi8(26 - 'a')));
    __m256i sign = _mm256_or_si256(_mm256_and_si256(plus, _mm256_set1_epi8(62 - '+')),
                                   _mm256_and_si256(slash, _mm256_set1_epi8(63 - '/')));
    __m256i add = _mm256_or_si256(_mm256_or_si256(letter, sign),
                                  _mm256_and_si256(digit, _mm256_set1_epi8(52 - '0')));
    __m256i any = _mm256_or_si256(_mm256_or_si256(upper, lower),
                                  _mm256_or_si256(digit, _mm256_or_si256(plus, slash)));
    *out = _mm256_add_epi8(c, add);
    return _mm256_movemask_epi8(any) == -1;
}

/* As many whole steps as there are, up to a digit that is none; answers how many digits. */
WIDE_TARGET static size_t wide_read(char *to, const unsigned char *from, size_t len) {
    const __m256i gather = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1));
    size_t at = 0;
    __m256i values;
    for (; len - at >= 32; at += 32, to += 24) {
        if (!values_of(_mm256_loadu_si256((const __m256i *)(const void *)(from + at)), &values))
            break;
        /* two values as 12 bits, then two of those as 24 */
        __m256i pairs = _mm256_maddubs_epi16(values, _mm256_set1_epi32(0x01400140));
        __m256i groups = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x00011000));
        __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(groups, gather),
                                                    _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7));
        _mm_storeu_si128((__m128i *)(void *)to, _mm256_castsi256_si128(bytes));
        _mm_storel_epi64((__m128i *)(void *)(to + 16), _mm256_extracti128_si256(bytes, 1));
    }
    return at;
}
#else
static bool wide_have(void) { return false; }
static size_t wide_put(char *to, const unsigned char *from, size_t len) { return 0; }
static size_t wide_read(char *to, const unsigned char *from, size_t len) { return 0; }
#endif

/* --- the rest of it -------------------------------------------------------------------------- */

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_put(char *to, struct str data) {
    const unsigned char *at = (const unsigned char *)data.ptr;
    size_t left = data.len;
    if (left >= WIDE_MIN && wide_have()) {
        size_t done = wide_put(to, at, left);
        at += done;
        to += done / 3 * 4;
        left -= done;
    }
    for (; left >= 3; left -= 3, at += 3, to += 4) {
        uint32_t bits = (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2];
        to[0] = base64_digits[bits >> 18];
        to[1] = base64_digits[bits >> 12 & 63];
        to[2] = base64_digits[bits >> 6 & 63];
        to[3] = base64_digits[bits & 63];
    }
    if (left == 0)
        return;
    uint32_t bits = (uint32_t)at[0] << 16 | (left > 1 ? (uint32_t)at[1] << 8 : 0);
    to[0] = base64_digits[bits >> 18];
    to[1] = base64_digits[bits >> 12 & 63];
    to[2] = left > 1 ? base64_digits[bits >> 6 & 63] : '=';
    to[3] = '=';
}

void base64_write(struct buf *out, struct str data) {
    size_t len = base64_len(data.len);
    if (!buf_reserve(out, len))
        return;
    base64_put(out->data + out->len, data);
    out->len += len;
}

/* Value of a digit plus one; 0 for what is none. */
#define D(c, value) [c] = (value) + 1
static const uint8_t base64_values[256] = {
    D('A', 0),  D('B', 1),  D('C', 2),  D('D', 3),  D('E', 4),  D('F', 5),  D('G', 6),
    D('H', 7),  D('I', 8),  D('J', 9),  D('K', 10), D('L', 11), D('M', 12), D('N', 13),
    D('O', 14), D('P', 15), D('Q', 16), D('R', 17), D('S', 18), D('T', 19), D('U', 20),
    D('V', 21), D('W', 22), D('X', 23), D('Y', 24), D('Z', 25), D('a', 26), D('b', 27),
    D('c', 28), D('d', 29), D('e', 30), D('f', 31), D('g', 32), D('h', 33), D('i', 34),
    D('j', 35), D('k', 36), D('l', 37), D('m', 38), D('n', 39), D('o', 40), D('p', 41),
    D('q', 42), D('r', 43), D('s', 44), D('t', 45), D('u', 46), D('v', 47), D('w', 48),
    D('x', 49), D('y', 50), D('z', 51), D('0', 52), D('1', 53), D('2', 54), D('3', 55),
    D('4', 56), D('5', 57), D('6', 58), D('7', 59), D('8', 60), D('9', 61), D('+', 62),
    D('/', 63),
};
#undef D

struct str base64_read(struct arena *arena, struct str s) {
    if (s.len % 4 != 0 || !s.ptr)
        return STR_NONE;
    size_t pad = s.len == 0 ? 0 : (s.ptr[s.len - 1] == '=') + (s.ptr[s.len - 2] == '=');
    char *out = arena_bytes(arena, s.len / 4 * 3 + 1);
    if (!out)
        return STR_NONE;
    const unsigned char *at = (const unsigned char *)s.ptr;
    size_t whole = s.len - (pad ? 4 : 0);
    size_t done = whole >= WIDE_MIN && wide_have() ? wide_read(out, at, whole) : 0;
    size_t len = done / 4 * 3;
    for (size_t i = done; i < whole; i += 4, len += 3) {
        uint32_t d0 = base64_values[at[i]], d1 = base64_values[at[i + 1]],
                 d2 = base64_values[at[i + 2]], d3 = base64_values[at[i + 3]];
        if (!d0 | !d1 | !d2 | !d3)
            return STR_NONE;
        uint32_t bits = (d0 - 1) << 18 | (d1 - 1) << 12 | (d2 - 1) << 6 | (d3 - 1);
        out[len] = (char)(bits >> 16);
        out[len + 1] = (char)(bits >> 8);
        out[len + 2] = (char)bits;
    }
    if (pad == 0)
        return str_of(out, len);
    size_t digits = 4 - pad;
    uint32_t bits = 0;
    for (size_t k = 0; k < 4; k++) {
        uint32_t value = k < digits ? base64_values[at[whole + k]] : 1;
        if (value == 0)
            return STR_NONE;
        bits = bits << 6 | (value - 1);
    }
    if (bits & (digits == 3 ? 0xffu : 0xffffu))
        return STR_NONE; /* bits that stand for nothing */
    for (size_t k = 0; k + 1 < digits; k++)
        out[len++] = (char)(bits >> (16 - 8 * k));
    return str_of(out, len);
}

void base64url_write(struct buf *out, struct str data) {
    size_t from = out->len;
    base64_write(out, data);
    if (!buf_ok(out))
        return;
    while (out->len > from && out->data[out->len - 1] == '=')
        out->len--;
    for (size_t i = from; i < out->len; i++)
        out->data[i] = out->data[i] == '+' ? '-' : out->data[i] == '/' ? '_' : out->data[i];
}

struct str base64url_read(struct arena *arena, struct str s) {
    if (!s.ptr || s.len % 4 == 1)
        return STR_NONE;
    size_t padded = (s.len + 3) / 4 * 4;
    char *text = arena_bytes(arena, padded + 1);
    if (!text)
        return STR_NONE;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '+' || c == '/' || c == '=')
            return STR_NONE;
        text[i] = c == '-' ? '+' : c == '_' ? '/' : c;
    }
    memset(text + s.len, '=', padded - s.len);
    return base64_read(arena, str_of(text, padded));
}
