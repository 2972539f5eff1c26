/* encode: see encode.h. */
#include "base/encode.h"

bool utf8_valid(struct str s) {
    const unsigned char *at = (const unsigned char *)s.ptr, *end = at + s.len;
    while (at < end) {
        uint64_t eight;
        while (end - at >= 8 && (memcpy(&eight, at, 8), (eight & 0x8080808080808080u) == 0))
            at += 8;
        if (at == end)
            return true;
        unsigned c = *at;
        if (c < 0x80) {
            at++;
            continue;
        }
        int more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
        if (c < 0xc2 || c > 0xf4 || end - at <= more)
            return false;
        unsigned second = at[1];
        /* RFC 3629 section 4: the second byte's range depends on the first */
        unsigned low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
        unsigned high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
        if (second < low || second > high)
            return false;
        for (int i = 2; i <= more; i++) {
            if ((at[i] & 0xc0) != 0x80)
                return false;
        }
        at += more + 1;
    }
    return true;
}

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_put(char *to, struct str data) {
    const unsigned char *at = (const unsigned char *)data.ptr;
    size_t left = data.len;
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
    size_t len = 0, whole = s.len - (pad ? 4 : 0);
    for (size_t i = 0; i < whole; i += 4, len += 3) {
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

void base16_write(struct buf *out, struct str data) {
    for (size_t i = 0; i < data.len; i++) {
        unsigned char c = (unsigned char)data.ptr[i];
        buf_char(out, "0123456789abcdef"[c >> 4]);
        buf_char(out, "0123456789abcdef"[c & 15]);
    }
}
