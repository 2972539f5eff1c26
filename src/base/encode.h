/* encode: UTF-8 (RFC 3629), base 64 and base 16 (RFC 4648). */
#ifndef PENSTOCK_BASE_ENCODE_H
#define PENSTOCK_BASE_ENCODE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/str.h"

/* Well-formed UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF. */
bool utf8_valid(struct str s);
/* Standard alphabet with padding. */
void base64_write(struct buf *out, struct str data);
/* The same into memory with room for base64_len(data.len) bytes. */
void base64_put(char *to, struct str data);
static inline size_t base64_len(size_t len) { return (len + 2) / 3 * 4; }
/* The bytes, in the arena; absent where s is not base 64 with exact padding (or memory is out). */
struct str base64_read(struct arena *arena, struct str s);
/* The URL-safe alphabet without padding (RFC 4648 section 5 as JOSE uses it); read exactly: no
 * padding, no other character, no bits that stand for nothing. */
void base64url_write(struct buf *out, struct str data);
struct str base64url_read(struct arena *arena, struct str s);
/* Lower case. */
void base16_write(struct buf *out, struct str data);

#endif
