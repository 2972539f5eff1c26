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

void base64_write(struct buf *out, struct str data) {
    const unsigned char *at = (const unsigned char *)data.ptr;
    for (size_t left = data.len; left > 0;) {
        size_t n = left < 3 ? left : 3;
        uint32_t bits = (uint32_t)at[0] << 16 | (n > 1 ? (uint32_t)at[1] << 8 : 0) |
                        (n > 2 ? at[2] : 0);
        char four[4] = {base64_digits[bits >> 18], base64_digits[bits >> 12 & 63],
                        n > 1 ? base64_digits[bits >> 6 & 63] : '=',
                        n > 2 ? base64_digits[bits & 63] : '='};
        buf_add(out, four, 4);
        at += n;
        left -= n;
    }
}

static int base64_digit(char c) {
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

struct str base64_read(struct arena *arena, struct str s) {
    if (s.len % 4 != 0 || !s.ptr)
        return STR_NONE;
    size_t pad = s.len == 0 ? 0 : (s.ptr[s.len - 1] == '=') + (s.ptr[s.len - 2] == '=');
    char *out = arena_bytes(arena, s.len / 4 * 3 + 1);
    if (!out)
        return STR_NONE;
    size_t len = 0;
    for (size_t i = 0; i < s.len; i += 4) {
        size_t digits = i + 4 == s.len ? 4 - pad : 4;
        uint32_t bits = 0;
        for (size_t k = 0; k < 4; k++) {
            int value = k < digits ? base64_digit(s.ptr[i + k]) : 0;
            if (value < 0)
                return STR_NONE;
            bits = bits << 6 | (uint32_t)value;
        }
        if ((digits == 3 && (bits & 0xff)) || (digits == 2 && (bits & 0xffff)))
            return STR_NONE; /* bits that stand for nothing */
        for (size_t k = 0; k + 1 < digits; k++)
            out[len++] = (char)(bits >> (16 - 8 * k));
    }
    return str_of(out, len);
}

void base16_write(struct buf *out, struct str data) {
    for (size_t i = 0; i < data.len; i++) {
        unsigned char c = (unsigned char)data.ptr[i];
        buf_char(out, "0123456789abcdef"[c >> 4]);
        buf_char(out, "0123456789abcdef"[c & 15]);
    }
}
