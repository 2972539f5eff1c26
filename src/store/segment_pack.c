/* segment_pack: see segment_pack.h. Streams: memory is two buffers and what Zstandard needs. */
#include "store/segment_pack.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "base/mem.h"
#include "store/journal_sqlite_priv.h"

#define PACK_LEVEL 3
#define BUFFER_BYTES (1u << 20)
#define PROGRESS_BYTES (16u << 20)

struct pack {
    const struct segment *segment;
    const struct pack_progress *progress;
    const char *from, *to;
    char part[PATH_BYTES]; /* what is written, until it is whole */
    int in, out;
    char *read, *written; /* BUFFER_BYTES each */
    EVP_MD_CTX *hash;
    uint64_t bytes; /* of the segment */
    ZSTD_CCtx *packer;
    ZSTD_DCtx *unpacker;
};

static enum err pack_begin(struct pack *p, struct fault *fault) {
    p->read = mem_alloc(BUFFER_BYTES);
    p->written = mem_alloc(BUFFER_BYTES);
    p->hash = EVP_MD_CTX_new();
    if (!p->read || !p->written || !p->hash ||
        EVP_DigestInit_ex(p->hash, EVP_sha256(), NULL) != 1)
        return fault_set(fault, ERR_NOMEM, "no memory to pack a journal segment");
    p->in = open(p->from, O_RDONLY | O_CLOEXEC);
    if (p->in < 0)
        return fault_set(fault, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "can not open %s: %s",
                         p->from, strerror(errno));
    if (!p->to)
        return OK;
    /* Two programs may unpack the same one. */
    if (snprintf(p->part, sizeof p->part, "%s.%ld.part", p->to, (long)getpid()) >=
        (int)sizeof p->part)
        return fault_set(fault, ERR_INVALID, "the path %.80s… is too long", p->to);
    p->out = open(p->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (p->out < 0)
        return fault_set(fault, ERR_IO, "can not make %s: %s", p->part, strerror(errno));
    return OK;
}

static void pack_end(struct pack *p) {
    if (p->in >= 0)
        close(p->in);
    if (p->out >= 0) { /* it did not get to its end */
        close(p->out);
        unlink(p->part);
    }
    EVP_MD_CTX_free(p->hash);
    ZSTD_freeCCtx(p->packer);
    ZSTD_freeDCtx(p->unpacker);
    mem_free(p->read);
    mem_free(p->written);
}

static enum err part_read(struct pack *p, size_t *n, struct fault *fault) {
    ssize_t got;
    do
        got = read(p->in, p->read, BUFFER_BYTES);
    while (got < 0 && errno == EINTR);
    *n = got > 0 ? (size_t)got : 0;
    return got >= 0 ? OK : fault_set(fault, ERR_IO, "can not read %s: %s", p->from,
                                     strerror(errno));
}

static enum err part_write(struct pack *p, size_t n, struct fault *fault) {
    for (size_t done = 0; p->out >= 0 && done < n;) {
        ssize_t put = write(p->out, p->written + done, n - done);
        if (put < 0 && errno != EINTR)
            return fault_set(fault, ERR_IO, "can not write %s: %s", p->part, strerror(errno));
        done += put > 0 ? (size_t)put : 0;
    }
    return OK;
}

/* Bytes of the segment itself, on either side. */
static void segment_bytes(struct pack *p, const void *bytes, size_t n) {
    must(EVP_DigestUpdate(p->hash, bytes, n) == 1);
    uint64_t told = p->bytes / PROGRESS_BYTES;
    p->bytes += n;
    if (p->progress && p->progress->tell && p->bytes / PROGRESS_BYTES != told)
        p->progress->tell(p->progress->ctx, p->bytes);
}

static enum err segment_is(struct pack *p, struct fault *fault) {
    char sha256[SEGMENT_HASH_TEXT];
    segment_hash_end(p->hash, sha256);
    p->hash = NULL;
    if (p->bytes == p->segment->bytes && strcmp(sha256, p->segment->sha256) == 0)
        return OK;
    return fault_set(fault, ERR_DAMAGED,
                     "%s is not journal segment %llu as it was sealed (SHA-256 %.16s…, not %.16s…)",
                     p->from, (unsigned long long)p->segment->number, sha256, p->segment->sha256);
}

/* From now on the file is there, by its name, and durable. */
static enum err part_finish(struct pack *p, struct fault *fault) {
    if (!p->to)
        return OK;
    char folder[PATH_BYTES];
    snprintf(folder, sizeof folder, "%s", p->to);
    if (fsync(p->out) != 0 || close(p->out) != 0 || rename(p->part, p->to) != 0)
        return fault_set(fault, ERR_IO, "can not write %s: %s", p->to, strerror(errno));
    p->out = -1;
    return db_folder_sync(dirname(folder), fault);
}

static enum err pack_all(struct pack *p, struct fault *fault) {
    p->packer = ZSTD_createCCtx();
    if (!p->packer)
        return fault_set(fault, ERR_NOMEM, "no memory to pack a journal segment");
    ZSTD_CCtx_setParameter(p->packer, ZSTD_c_compressionLevel, PACK_LEVEL);
    ZSTD_CCtx_setParameter(p->packer, ZSTD_c_checksumFlag, 1);
    enum err err = OK;
    for (bool end = false; err == OK && !end;) {
        size_t n, left = 1;
        err = part_read(p, &n, fault);
        if (err != OK)
            return err;
        segment_bytes(p, p->read, n);
        end = n == 0;
        ZSTD_inBuffer in = {p->read, n, 0};
        while (err == OK && (in.pos < in.size || (end && left != 0))) {
            ZSTD_outBuffer out = {p->written, BUFFER_BYTES, 0};
            left = ZSTD_compressStream2(p->packer, &out, &in, end ? ZSTD_e_end : ZSTD_e_continue);
            err = ZSTD_isError(left) ? fault_set(fault, ERR_INTERNAL, "can not pack %s: %s",
                                                 p->from, ZSTD_getErrorName(left))
                                     : part_write(p, out.pos, fault);
        }
    }
    return err;
}

static enum err unpack_all(struct pack *p, struct fault *fault) {
    p->unpacker = ZSTD_createDCtx();
    if (!p->unpacker)
        return fault_set(fault, ERR_NOMEM, "no memory to unpack a journal segment");
    enum err err = OK;
    size_t left = 1, n = 1;
    while (err == OK && n > 0) {
        err = part_read(p, &n, fault);
        ZSTD_inBuffer in = {p->read, n, 0};
        while (err == OK && in.pos < in.size) {
            ZSTD_outBuffer out = {p->written, BUFFER_BYTES, 0};
            left = ZSTD_decompressStream(p->unpacker, &out, &in);
            if (ZSTD_isError(left))
                return fault_set(fault, ERR_DAMAGED, "%s is damaged: %s", p->from,
                                 ZSTD_getErrorName(left));
            segment_bytes(p, p->written, out.pos);
            if (p->bytes > p->segment->bytes) /* not it, and perhaps endless */
                return segment_is(p, fault);
            err = part_write(p, out.pos, fault);
        }
    }
    if (err == OK && left != 0)
        err = fault_set(fault, ERR_DAMAGED, "%s is damaged: it ends too early", p->from);
    return err;
}

static enum err pack_run(const char *from, const char *to, const struct segment *segment,
                         const struct pack_progress *progress,
                         enum err (*all)(struct pack *p, struct fault *fault),
                         struct fault *fault) {
    struct pack p = {.segment = segment, .progress = progress, .from = from, .to = to,
                     .in = -1, .out = -1};
    enum err err = pack_begin(&p, fault);
    if (err == OK)
        err = all(&p, fault);
    if (err == OK)
        err = segment_is(&p, fault);
    if (err == OK)
        err = part_finish(&p, fault);
    pack_end(&p);
    return err;
}

enum err segment_pack(const char *from, const char *to, const struct segment *segment,
                      const struct pack_progress *progress, struct fault *fault) {
    return pack_run(from, to, segment, progress, pack_all, fault);
}

enum err segment_unpack(const char *from, const char *to, const struct segment *segment,
                        const struct pack_progress *progress, struct fault *fault) {
    return pack_run(from, to, segment, progress, unpack_all, fault);
}
