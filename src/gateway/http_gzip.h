/* http_gzip: the content coding gzip (RFC 9110 section 8.4.1.3, RFC 1952) in and out, through zlib.
 * Not deflate: half of its senders mean another format (RFC 9110 section 8.4.1.2).
 *
 * In: a body is taken apart as it comes, in bounded memory (about 45 KB), with a bound on how much
 * it may swell. Several members in a row are one body; bytes behind the last are refused. */
#ifndef PENSTOCK_GATEWAY_HTTP_GZIP_H
#define PENSTOCK_GATEWAY_HTTP_GZIP_H

#include "base/buf.h"
#include "base/err.h"

/* What may come out whatever went in; beyond it the ratio counts. */
#define HTTP_GUNZIP_FREE_BYTES ((uint64_t)1 << 20)
/* Of input at once, where what comes out has to be held back: no more than 0.6 MB then do. */
#define HTTP_GUNZIP_SLICE 512

struct http_gunzip;
/* ratio_max: bytes out for each byte in. NULL: no memory. */
struct http_gunzip *http_gunzip_create(uint32_t ratio_max);
void http_gunzip_destroy(struct http_gunzip *gunzip);
/* Hands what comes out of `in` to `take`, in parts of at most 16 KiB, until that answers false.
 * ERR_BAD_REQUEST: no gzip; ERR_TOO_LARGE: swells too much; ERR_NOMEM. *detail says which. OK also
 * where `take` answered false. */
enum err http_gunzip_part(struct http_gunzip *gunzip, struct str in,
                          bool (*take)(void *ctx, struct str part), void *ctx,
                          const char **detail) WARN_UNUSED;
/* What came is whole: it ends where a member ends. */
bool http_gunzip_whole(const struct http_gunzip *gunzip);
/* All of it at once, appended to `out`, whose maximum bounds it (ERR_TOO_LARGE). */
enum err http_gunzip_all(struct str in, uint32_t ratio_max, struct buf *out,
                         const char **detail) WARN_UNUSED;

/* Out: one member, written on with `flush` so that a reader can use all that was given so far. */
struct http_gzip;
struct http_gzip *http_gzip_create(void); /* about 140 KB; NULL: no memory */
void http_gzip_destroy(struct http_gzip *gzip);
enum http_gzip_flush { HTTP_GZIP_FLUSH, HTTP_GZIP_END };
/* Appends to `out`; false where it has no room left. */
bool http_gzip_write(struct http_gzip *gzip, struct str in, enum http_gzip_flush flush,
                     struct buf *out) WARN_UNUSED;
/* A whole text at once; false: no memory. */
bool http_gzip_all(struct str in, struct buf *out) WARN_UNUSED;

/* Whether an Accept-Encoding (RFC 9110 section 12.5.3) would have gzip rather than nothing. Absent
 * and empty: no. */
bool http_gzip_accepted(struct str accept_encoding);

#endif
