/* Any bytes as a body in gzip, and any bytes packed by us. The first byte says in what pieces.
 *
 * What holds: nothing comes out beyond the ratio; whole or in pieces the same comes out, and the same
 * is refused; what we pack unpacks to what it was, also where it was flushed on the way. */
#include "fuzz.h"

#include "base/err.h"
#include "gateway/http_gzip.h"

#define RATIO 20
#define OUT_MAX ((size_t)4 << 20)

static bool take(void *ctx, struct str part) {
    must(part.len > 0 && part.len <= 16384);
    buf_str_add(ctx, part);
    return buf_ok(ctx);
}

static enum err unpack(struct str in, size_t piece, struct buf *out) {
    struct http_gunzip *gunzip = http_gunzip_create(RATIO);
    const char *detail = NULL;
    enum err err = OK;

    must(gunzip != NULL);
    for (size_t at = 0; at < in.len && err == OK; at += piece) {
        size_t len = in.len - at < piece ? in.len - at : piece;

        err = http_gunzip_part(gunzip, str_of(in.ptr + at, len), take, out, &detail);
        must(err == OK || detail);
        must(out->len <= HTTP_GUNZIP_FREE_BYTES + RATIO * (at + len));
    }
    if (err == OK && !http_gunzip_whole(gunzip))
        err = ERR_BAD_REQUEST;
    http_gunzip_destroy(gunzip);
    return err;
}

static void there_and_back(struct str text, size_t piece) {
    struct http_gzip *gzip = http_gzip_create();
    struct buf packed, flushed, out;
    const char *detail;

    buf_init(&packed, 0);
    buf_init(&flushed, 0);
    buf_init(&out, OUT_MAX);
    must(gzip && http_gzip_all(text, &packed));
    must(http_gunzip_all(buf_str(&packed), 2000, &out, &detail) == OK && str_eq(buf_str(&out), text));
    for (size_t at = 0; at < text.len; at += piece)
        must(http_gzip_write(gzip, str_of(text.ptr + at, text.len - at < piece ? text.len - at : piece),
                             HTTP_GZIP_FLUSH, &flushed));
    must(http_gzip_write(gzip, STR(""), HTTP_GZIP_END, &flushed));
    buf_clear(&out);
    must(http_gunzip_all(buf_str(&flushed), 2000, &out, &detail) == OK && str_eq(buf_str(&out), text));
    http_gzip_destroy(gzip);
    buf_free(&packed);
    buf_free(&flushed);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1 || size > 65536)
        return 0;
    struct str text = str_of((const char *)data + 1, size - 1);
    struct buf whole, pieces;

    buf_init(&whole, OUT_MAX);
    buf_init(&pieces, OUT_MAX);
    enum err err = unpack(text, size, &whole), again = unpack(text, 1 + data[0], &pieces);
    must((err == OK) == (again == OK));
    must(err != OK || str_eq(buf_str(&whole), buf_str(&pieces)));
    buf_free(&whole);
    buf_free(&pieces);
    there_and_back(text, 1 + data[0]);
    (void)http_gzip_accepted(text);
    return 0;
}
