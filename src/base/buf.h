/* buf: bytes that grow, up to a maximum. Once an append fails the buffer is marked failed
 * and takes nothing more, so callers check once, at the end (buf_ok). */
#ifndef PENSTOCK_BASE_BUF_H
#define PENSTOCK_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/str.h"

struct buf {
    char *data;
    size_t len, cap, max;
    bool failed;
};

/* max 0 means BUF_MAX_DEFAULT. Takes no memory yet. */
#define BUF_MAX_DEFAULT ((size_t)256 << 20)
void buf_init(struct buf *buf, size_t max);
void buf_free(struct buf *buf);
static inline void buf_clear(struct buf *buf) {
    buf->len = 0;
    buf->failed = false;
}
static inline bool buf_ok(const struct buf *buf) { return !buf->failed; }
static inline struct str buf_str(const struct buf *buf) {
    return str_of(buf->data ? buf->data : "", buf->len);
}

/* Room for `more` bytes behind len; false (and failed) where there is none. */
bool buf_grow(struct buf *buf, size_t more);
static inline bool buf_reserve(struct buf *buf, size_t more) {
    return (buf->cap - buf->len >= more && !buf->failed) || buf_grow(buf, more);
}
static inline void buf_add(struct buf *buf, const void *data, size_t len) {
    if (len > 0 && buf_reserve(buf, len)) {
        memcpy(buf->data + buf->len, data, len);
        buf->len += len;
    }
}
static inline void buf_str_add(struct buf *buf, struct str s) { buf_add(buf, s.ptr, s.len); }
#define buf_lit(buf, literal) buf_add((buf), "" literal, sizeof(literal) - 1)
static inline void buf_char(struct buf *buf, char c) {
    if (buf_reserve(buf, 1))
        buf->data[buf->len++] = c;
}
void buf_i64(struct buf *buf, int64_t value);
void buf_u64(struct buf *buf, uint64_t value);
void buf_printf(struct buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A JSON string with quotes; control characters, quote and backslash escaped (RFC 8259). */
void buf_json_str(struct buf *buf, struct str s);
/* ,"name":"text", or null where the text is empty or absent. */
void buf_json_member(struct buf *buf, const char *name, struct str text);
/* A NUL behind the bytes, not counted in len: for C strings. */
const char *buf_cstr(struct buf *buf);

#endif
