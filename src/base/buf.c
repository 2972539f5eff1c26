/* buf: see buf.h. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

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

#ifdef __SSE2__
/* A bit for each byte that needs an escape. */
static inline unsigned escapes_in(__m128i c) {
    __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(c, _mm_set1_epi8('"')),
                               _mm_cmpeq_epi8(c, _mm_set1_epi8('\\')));
    __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(c, _mm_set1_epi8(0x1f)), c);
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(hit, control));
}
static inline unsigned escapes_eight(const char *at) {
    return escapes_in(_mm_loadl_epi64((const __m128i *)(const void *)at)) & 0xff;
}
#endif

/* Where the next byte is that needs an escape, at or behind `at`; the end where there is none. */
static size_t plain_to(struct str s, size_t at) {
#ifdef __SSE2__
    unsigned mask = 0;
    for (; !mask && s.len - at >= 16; at += 16)
        mask = escapes_in(_mm_loadu_si128((const __m128i *)(const void *)(s.ptr + at)));
    if (mask)
        return at - 16 + (size_t)__builtin_ctz(mask);
    if (s.len - at >= 8) {
        mask = escapes_eight(s.ptr + at);
        if (mask)
            return at + (size_t)__builtin_ctz(mask);
        at += 8;
    }
    if (at < s.len && s.len >= 8) { /* the last eight, of which some were looked at before */
        mask = escapes_eight(s.ptr + s.len - 8) >> (8 - (s.len - at));
        return mask ? at + (size_t)__builtin_ctz(mask) : s.len;
    }
#endif
    while (at < s.len && !json_escape((unsigned char)s.ptr[at]))
        at++;
    return at;
}

void buf_json_str(struct buf *buf, struct str s) {
    static const char hex[] = "0123456789abcdef";
    if (!buf_reserve(buf, s.len + 2))
        return;
    buf->data[buf->len++] = '"';
    for (size_t at = 0;;) {
        size_t stop = plain_to(s, at);
        buf_add(buf, s.ptr + at, stop - at);
        if (stop == s.len)
            break;
        unsigned char c = (unsigned char)s.ptr[stop];
        char escape = json_escape(c);
        char text[6] = {'\\', escape, '0', '0', hex[c >> 4], hex[c & 15]};
        buf_add(buf, text, escape == 'u' ? 6 : 2);
        at = stop + 1;
    }
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
