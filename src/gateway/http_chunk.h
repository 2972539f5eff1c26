/* http_chunk: the chunked coding (RFC 9112 section 7.1) to the bytes it carries. Stricter than the
 * RFC asks, because a program in front of us may count otherwise than we do: every line ends in
 * CR LF, a size is 1 to 16 hex digits, extensions and trailers have the form the grammar gives them
 * and bounds, and a trailer may not be what means something in a head. Owns no memory. */
#ifndef PENSTOCK_GATEWAY_HTTP_CHUNK_H
#define PENSTOCK_GATEWAY_HTTP_CHUNK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct http_chunk {
    uint8_t state;
    uint64_t left;          /* of this chunk's data */
    uint64_t framing, data; /* bytes so far around the data, and of data */
    uint32_t line;          /* bytes of this size, extension, or trailer section */
    uint32_t trailers;      /* trailer fields */
    uint32_t trailer_bytes_max, trailer_count_max;
    uint8_t name_len; /* of a trailer's name; what is longer than the field is cut */
    char name[24];
    enum err err; /* why it is bad */
    const char *detail;
};

enum http_chunk_step {
    HTTP_CHUNK_MORE, /* all input taken */
    HTTP_CHUNK_DATA, /* *part is data; call again, with or without input */
    HTTP_CHUNK_END,  /* the body is complete; the input may hold the next request */
    HTTP_CHUNK_BAD,  /* err and detail say why */
};
void http_chunk_init(struct http_chunk *chunk, uint32_t trailer_bytes_max,
                     uint32_t trailer_count_max);
/* Takes from the front of *in; a part is at most part_max bytes and lies in the input. */
enum http_chunk_step http_chunk_next(struct http_chunk *chunk, struct str *in, size_t part_max,
                                     struct str *part);

#endif
