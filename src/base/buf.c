/* buf: see buf.h. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

void buf_init(struct buf *buf, size_t max) {
    *buf = (struct buf){.max = max ? max : BUF_MAX_DEFAULT};
}

void buf_free(struct buf *buf) {
    mem_free(buf->data);
    buf_init(buf, buf->max);
}

bool buf_grow(struct buf *buf, size_t more) {
    size_t max = buf->max ? buf->max : BUF_MAX_DEFAULT;
    if (buf->failed || more > max || buf->len > max - more) {
        buf->failed = true;
        return false;
    }
    size_t need = buf->len + more;
    if (need <= buf->cap)
        return true;
    size_t cap = buf->cap ? buf->cap : max < 256 ? max : 256;
    while (cap < need)
        cap = cap > max / 2 ? max : cap * 2;
    char *data = mem_resize(buf->data, cap);
    if (!data) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->cap = cap;
    return true;
}

void buf_u64(struct buf *buf, uint64_t value) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    buf_add(buf, digits + at, sizeof digits - at);
}

void buf_i64(struct buf *buf, int64_t value) {
    if (value < 0)
        buf_char(buf, '-');
    buf_u64(buf, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void buf_printf(struct buf *buf, const char *fmt, ...) {
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (len >= 0 && buf_reserve(buf, (size_t)len + 1)) {
        vsnprintf(buf->data + buf->len, (size_t)len + 1, fmt, again);
        buf->len += (size_t)len;
    } else {
        buf->failed = true;
    }
    va_end(again);
}

/* 0: as it is; 'u': \u00XX; else the letter behind the backslash (RFC 8259 section 7). */
static char json_escape(unsigned char c) {
    if (c >= 0x20)
        return c == '"' || c == '\\' ? (char)c : 0;
    switch (c) {
    case '\b': return 'b';
    case '\f': return 'f';
    case '\n': return 'n';
    case '\r': return 'r';
    case '\t': return 't';
    default: return 'u';
    }
}

/* Where the next byte is that may need an escape, eight at a time. */
static size_t plain_to(struct str s, size_t at) {
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones * 0x80;
    while (at + 8 <= s.len) {
        uint64_t w, quote, slash;
        memcpy(&w, s.ptr + at, 8);
        quote = w ^ ones * '"';
        slash = w ^ ones * '\\';
        if ((((w - ones * 0x20) & ~w) | ((quote - ones) & ~quote) | ((slash - ones) & ~slash)) & high)
            break;
        at += 8;
    }
    return at;
}

void buf_json_str(struct buf *buf, struct str s) {
    static const char hex[] = "0123456789abcdef";
    if (!buf_reserve(buf, s.len + 2))
        return;
    buf->data[buf->len++] = '"';
    size_t start = 0;
    for (size_t i = plain_to(s, 0); i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        char escape = json_escape(c);
        if (!escape) {
            if ((i & 7) == 7)
                i = plain_to(s, i + 1) - 1;
            continue;
        }
        buf_add(buf, s.ptr + start, i - start);
        start = i + 1;
        if (escape == 'u') {
            char text[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
            buf_add(buf, text, sizeof text);
        } else {
            char text[2] = {'\\', escape};
            buf_add(buf, text, sizeof text);
        }
    }
    buf_add(buf, s.ptr + start, s.len - start);
    buf_char(buf, '"');
}

void buf_json_member(struct buf *buf, const char *name, struct str text) {
    buf_printf(buf, ",\"%s\":", name);
    if (text.len > 0)
        buf_json_str(buf, text);
    else
        buf_lit(buf, "null");
}

const char *buf_cstr(struct buf *buf) {
    if (!buf_reserve(buf, 1))
        return "";
    buf->data[buf->len] = '\0';
    return buf->data;
}
