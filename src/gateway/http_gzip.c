/* http_gzip: see http_gzip.h. zlib's memory comes from base/mem.h, so that the tests which refuse
 * memory reach it. */
#include "gateway/http_gzip.h"

#include <zlib.h>

#include "base/mem.h"

#define PART_BYTES ((size_t)16384)
/* Out: level 1 packs JSON to about a quarter, 1.5 KB in 11 us and 1 MB in 6 ms; higher levels cost a
 * multiple for a little less. Window and hash are smaller than zlib's own choice: 140 KB, not 268. */
#define GZIP_LEVEL 1
#define GZIP_WINDOW 14
#define GZIP_MEMORY 7

static void *z_alloc(void *ctx, unsigned items, unsigned size) {
    return mem_alloc((size_t)items * size);
}
static void z_free(void *ctx, void *memory) { mem_free(memory); }

/* --- in ------------------------------------------------------------------------------------ */

struct http_gunzip {
    z_stream z;
    uint32_t ratio_max;
    uint64_t in, out;
    bool begun; /* within a member */
    bool some;  /* a member has ended */
};

struct http_gunzip *http_gunzip_create(uint32_t ratio_max) {
    struct http_gunzip *gunzip = mem_zalloc(sizeof *gunzip);

    if (!gunzip)
        return NULL;
    gunzip->ratio_max = ratio_max;
    gunzip->z.zalloc = z_alloc;
    gunzip->z.zfree = z_free;
    gunzip->z.avail_out = 1; /* nothing waits to be given out */
    if (inflateInit2(&gunzip->z, 15 + 16) == Z_OK) /* 16: gzip and nothing else */
        return gunzip;
    mem_free(gunzip);
    return NULL;
}

void http_gunzip_destroy(struct http_gunzip *gunzip) {
    if (!gunzip)
        return;
    inflateEnd(&gunzip->z);
    mem_free(gunzip);
}

bool http_gunzip_whole(const struct http_gunzip *gunzip) { return gunzip->some && !gunzip->begun; }

static enum err gunzip_step(struct http_gunzip *gunzip, const char **detail) {
    gunzip->begun = true;
    switch (inflate(&gunzip->z, Z_NO_FLUSH)) {
    case Z_OK:
    case Z_BUF_ERROR: /* no input left and nothing more to give */
        return OK;
    case Z_STREAM_END:
        gunzip->begun = false;
        gunzip->some = true;
        inflateReset(&gunzip->z);
        return OK;
    case Z_MEM_ERROR:
        *detail = "no memory for the gzip body";
        return ERR_NOMEM;
    default:
        *detail = gunzip->some ? "something that is no gzip follows the gzip body"
                               : "the body is not gzip, or damaged";
        return ERR_BAD_REQUEST;
    }
}

enum err http_gunzip_part(struct http_gunzip *gunzip, struct str in,
                          bool (*take)(void *ctx, struct str part), void *ctx,
                          const char **detail) {
    char part[PART_BYTES];
    z_stream *z = &gunzip->z;

    z->next_in = (Bytef *)(uintptr_t)in.ptr;
    z->avail_in = (uInt)in.len;
    while (z->avail_in > 0 || (gunzip->begun && z->avail_out == 0)) {
        size_t left = z->avail_in, given;
        enum err err;

        z->next_out = (Bytef *)part;
        z->avail_out = PART_BYTES;
        err = gunzip_step(gunzip, detail);
        if (err != OK)
            return err;
        given = PART_BYTES - z->avail_out;
        gunzip->in += left - z->avail_in;
        gunzip->out += given;
        if (gunzip->out > HTTP_GUNZIP_FREE_BYTES && gunzip->out > gunzip->in * gunzip->ratio_max) {
            *detail = "the gzip body swells to more than gzip_ratio_max times its length";
            return ERR_TOO_LARGE;
        }
        if (given > 0 && !take(ctx, str_of(part, given)))
            return OK;
    }
    return OK;
}

static bool take_all(void *ctx, struct str part) {
    buf_str_add(ctx, part);
    return buf_ok(ctx);
}

enum err http_gunzip_all(struct str in, uint32_t ratio_max, struct buf *out, const char **detail) {
    struct http_gunzip *gunzip = http_gunzip_create(ratio_max);
    size_t room = out->max - out->len;
    enum err err;

    if (!gunzip) {
        *detail = "no memory for the gzip body";
        return ERR_NOMEM;
    }
    err = http_gunzip_part(gunzip, in, take_all, out, detail);
    if (err == OK && !buf_ok(out)) {
        err = gunzip->out > room ? ERR_TOO_LARGE : ERR_NOMEM;
        *detail = err == ERR_NOMEM ? "no memory for the gzip body"
                                   : "the body is longer than body_bytes_max when unpacked";
    } else if (err == OK && !http_gunzip_whole(gunzip)) {
        err = ERR_BAD_REQUEST;
        *detail = "the gzip body is cut off";
    }
    http_gunzip_destroy(gunzip);
    return err;
}

/* --- out ----------------------------------------------------------------------------------- */

struct http_gzip {
    z_stream z;
};

struct http_gzip *http_gzip_create(void) {
    struct http_gzip *gzip = mem_zalloc(sizeof *gzip);

    if (!gzip)
        return NULL;
    gzip->z.zalloc = z_alloc;
    gzip->z.zfree = z_free;
    if (deflateInit2(&gzip->z, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW + 16, GZIP_MEMORY,
                     Z_DEFAULT_STRATEGY) == Z_OK)
        return gzip;
    mem_free(gzip);
    return NULL;
}

void http_gzip_destroy(struct http_gzip *gzip) {
    if (!gzip)
        return;
    deflateEnd(&gzip->z);
    mem_free(gzip);
}

bool http_gzip_write(struct http_gzip *gzip, struct str in, enum http_gzip_flush flush,
                     struct buf *out) {
    z_stream *z = &gzip->z;
    int how = flush == HTTP_GZIP_END ? Z_FINISH : Z_SYNC_FLUSH;

    z->next_in = (Bytef *)(uintptr_t)in.ptr;
    z->avail_in = (uInt)in.len;
    do {
        if (!buf_reserve(out, PART_BYTES))
            return false;
        z->next_out = (Bytef *)out->data + out->len;
        z->avail_out = PART_BYTES;
        if (deflate(z, how) == Z_STREAM_ERROR)
            return false;
        out->len += PART_BYTES - z->avail_out;
    } while (z->avail_out == 0);
    return true;
}

bool http_gzip_all(struct str in, struct buf *out) {
    struct http_gzip *gzip = http_gzip_create();
    bool done = gzip && http_gzip_write(gzip, in, HTTP_GZIP_END, out);

    http_gzip_destroy(gzip);
    return done;
}

/* --- negotiation ----------------------------------------------------------------------------- */

/* A weight in thousandths (RFC 9110 section 12.4.2); -1 where it is none. */
static int weight_read(struct str text) {
    int value, unit = 100;

    text = str_trim(text);
    if (text.len < 3 || (text.ptr[0] | 0x20) != 'q' || text.ptr[1] != '=')
        return -1;
    text = str_of(text.ptr + 2, text.len - 2);
    if ((text.ptr[0] != '0' && text.ptr[0] != '1') || text.len > 5 ||
        (text.len > 1 && text.ptr[1] != '.'))
        return -1;
    value = 1000 * (text.ptr[0] - '0');
    for (size_t i = 2; i < text.len; i++, unit /= 10) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return -1;
        value += unit * (text.ptr[i] - '0');
    }
    return value <= 1000 ? value : -1;
}

bool http_gzip_accepted(struct str accept_encoding) {
    int gzip = -1, identity = -1, any = -1;
    struct str rest = accept_encoding;

    while (rest.ptr) {
        struct str parameters = str_cut(&rest, ','), name = str_trim(str_cut(&parameters, ';'));
        int weight = parameters.ptr ? weight_read(parameters) : 1000;

        if (weight < 0)
            continue; /* what can not be read asks for nothing */
        if (str_eq_nocase(name, STR("gzip")) || str_eq_nocase(name, STR("x-gzip")))
            gzip = weight;
        else if (str_eq_nocase(name, STR("identity")))
            identity = weight;
        else if (str_is(name, "*"))
            any = weight;
    }
    if (gzip < 0)
        gzip = any;
    if (identity < 0)
        identity = 1; /* acceptable, and the last choice */
    return gzip > 0 && gzip >= identity;
}
