/* http_chunk: see http_chunk.h. One byte after the other through a small machine; the data itself
 * is passed on in slices.
 *
 * What holds always: framing is at most FRAMING_BASE + FRAMING_PER_BYTE times the data, so that
 * chunks of one byte with extensions are no way to send without end. */
#include "gateway/http_chunk.h"

#include "gateway/http_chars.h"

#define SIZE_DIGITS_MAX 16
#define LINE_BYTES_MAX 1024 /* a size with its extensions */
#define FRAMING_BASE ((uint64_t)16384)
#define FRAMING_PER_BYTE 16

enum {
    AT_SIZE, AT_SIZE_SPACE, /* behind digits: only ';' may follow */
    AT_EXT, AT_EXT_NAME, AT_EXT_NAME_SPACE, AT_EXT_EQUALS, AT_EXT_VALUE, AT_EXT_QUOTED,
    AT_EXT_ESCAPE, AT_EXT_QUOTED_END, AT_SIZE_LF, /* of the size's line */
    AT_DATA, AT_DATA_CR, AT_DATA_LF,
    AT_TRAILER, AT_TRAILER_NAME, AT_TRAILER_VALUE, AT_TRAILER_LF, AT_END_LF, AT_END,
};

void http_chunk_init(struct http_chunk *chunk, uint32_t trailer_bytes_max,
                     uint32_t trailer_count_max) {
    *chunk = (struct http_chunk){.trailer_bytes_max = trailer_bytes_max,
                                 .trailer_count_max = trailer_count_max};
}

static bool bad(struct http_chunk *chunk, enum err err, const char *detail) {
    chunk->err = err;
    chunk->detail = detail;
    return false;
}

static bool go(struct http_chunk *chunk, int state) {
    chunk->state = (uint8_t)state;
    return true;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool size_byte(struct http_chunk *chunk, char c) {
    int digit = hex_digit(c);

    if (chunk->state == AT_SIZE && digit >= 0) {
        if (++chunk->line > SIZE_DIGITS_MAX)
            return bad(chunk, ERR_BAD_REQUEST, "a chunk's size has more than 16 digits");
        chunk->left = chunk->left << 4 | (uint64_t)digit;
        return true;
    }
    if (chunk->line == 0)
        return bad(chunk, ERR_BAD_REQUEST, "a chunk has no size in hexadecimal");
    if (c == ';')
        return go(chunk, AT_EXT);
    if (c == ' ' || c == '\t')
        return go(chunk, AT_SIZE_SPACE);
    if (c == '\r' && chunk->state == AT_SIZE)
        return go(chunk, AT_SIZE_LF);
    return bad(chunk, ERR_BAD_REQUEST, "a chunk's size does not end in CR LF or an extension");
}

static bool space(char c) { return c == ' ' || c == '\t'; }

/* *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ) */
static bool ext_byte(struct http_chunk *chunk, char c) {
    bool token = http_char_is(c, HTTP_CHAR_TOKEN);

    if (++chunk->line > LINE_BYTES_MAX)
        return bad(chunk, ERR_TOO_LARGE, "the extensions of a chunk are longer than 1024 bytes");
    switch (chunk->state) {
    case AT_EXT:
        if (token || space(c))
            return go(chunk, token ? AT_EXT_NAME : AT_EXT);
        break;
    case AT_EXT_NAME:
    case AT_EXT_NAME_SPACE:
        if (token && chunk->state == AT_EXT_NAME)
            return true;
        if (c == '=' || c == ';')
            return go(chunk, c == '=' ? AT_EXT_EQUALS : AT_EXT);
        if (c == '\r' && chunk->state == AT_EXT_NAME)
            return go(chunk, AT_SIZE_LF);
        if (space(c))
            return go(chunk, AT_EXT_NAME_SPACE);
        break;
    case AT_EXT_EQUALS:
        if (space(c))
            return true;
        if (token || c == '"')
            return go(chunk, token ? AT_EXT_VALUE : AT_EXT_QUOTED);
        break;
    case AT_EXT_QUOTED:
        if (c == '"' || c == '\\')
            return go(chunk, c == '"' ? AT_EXT_QUOTED_END : AT_EXT_ESCAPE);
        if (http_char_is(c, HTTP_CHAR_VALUE))
            return true;
        break;
    case AT_EXT_ESCAPE:
        if (http_char_is(c, HTTP_CHAR_VALUE))
            return go(chunk, AT_EXT_QUOTED);
        break;
    default: /* AT_EXT_VALUE, AT_EXT_QUOTED_END */
        if (token && chunk->state == AT_EXT_VALUE)
            return true;
        if (c == ';' || c == '\r')
            return go(chunk, c == ';' ? AT_EXT : AT_SIZE_LF);
        if (space(c))
            return go(chunk, AT_SIZE_SPACE);
        break;
    }
    return bad(chunk, ERR_BAD_REQUEST, "a chunk's extension is not ;name=value");
}

/* What frames, routes, authorises or changes the meaning of a request may not come behind its body
 * (RFC 9110 section 6.5.1): a program in front may have merged or dropped it. */
static bool trailer_allowed(const struct http_chunk *chunk) {
    static const char *const names[] = {
        "host", "transfer-encoding", "authorization", "connection", "keep-alive", "te", "trailer",
        "upgrade", "expect", "max-forwards", "range", "cache-control", "pragma", "cookie",
        "idempotency-key", "x-correlation-id", "traceparent", "tracestate", "forwarded",
    };
    static const char *const starts[] = {"content-", "if-", "accept", "penstock-", "proxy-",
                                         "x-forwarded-"};
    struct str name = str_of(chunk->name, chunk->name_len);

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (str_is(name, names[i]))
            return false;
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++)
        if (str_starts(name, str_c(starts[i])))
            return false;
    return true;
}

static bool trailer_name_byte(struct http_chunk *chunk, char c) {
    if (http_char_is(c, HTTP_CHAR_TOKEN)) {
        if (chunk->name_len < sizeof chunk->name)
            chunk->name[chunk->name_len++] = http_char_lower(c);
        return go(chunk, AT_TRAILER_NAME);
    }
    if (c != ':' || chunk->name_len == 0)
        return bad(chunk, ERR_BAD_REQUEST, "a trailer is not name: value");
    if (!trailer_allowed(chunk))
        return bad(chunk, ERR_BAD_REQUEST, "a field stands behind the body that may not stand there");
    if (++chunk->trailers > chunk->trailer_count_max)
        return bad(chunk, ERR_HEADERS, "there are more trailers than header_count_max");
    return go(chunk, AT_TRAILER_VALUE);
}

static bool trailer_byte(struct http_chunk *chunk, char c) {
    if (++chunk->line > chunk->trailer_bytes_max)
        return bad(chunk, ERR_HEADERS, "the trailers are longer than header_bytes_max");
    switch (chunk->state) {
    case AT_TRAILER:
        if (c == '\r')
            return go(chunk, AT_END_LF);
        chunk->name_len = 0;
        return trailer_name_byte(chunk, c);
    case AT_TRAILER_NAME:
        return trailer_name_byte(chunk, c);
    default:
        if (c == '\r')
            return go(chunk, AT_TRAILER_LF);
        if (http_char_is(c, HTTP_CHAR_VALUE))
            return true;
        return bad(chunk, ERR_BAD_REQUEST, "a trailer holds a control character");
    }
}

/* Where only CR or only LF may stand. */
static bool line_end_byte(struct http_chunk *chunk, char c) {
    if (c != (chunk->state == AT_DATA_CR ? '\r' : '\n'))
        return bad(chunk, ERR_BAD_REQUEST, chunk->state == AT_DATA_CR || chunk->state == AT_DATA_LF
                                               ? "a chunk's data does not end in CR LF"
                                               : "a line of the chunked body ends without CR LF");
    switch (chunk->state) {
    case AT_DATA_CR:
        return go(chunk, AT_DATA_LF);
    case AT_DATA_LF:
        chunk->line = 0;
        return go(chunk, AT_SIZE);
    case AT_SIZE_LF:
        chunk->line = 0;
        return go(chunk, chunk->left > 0 ? AT_DATA : AT_TRAILER);
    case AT_TRAILER_LF:
        return go(chunk, AT_TRAILER);
    default:
        return go(chunk, AT_END);
    }
}

static bool framing_byte(struct http_chunk *chunk, char c) {
    chunk->framing++;
    switch (chunk->state) {
    case AT_SIZE:
        return size_byte(chunk, c);
    case AT_SIZE_SPACE:
        return ++chunk->line > LINE_BYTES_MAX
                   ? bad(chunk, ERR_TOO_LARGE, "a chunk's size is followed by too many spaces")
                   : size_byte(chunk, c);
    case AT_TRAILER:
    case AT_TRAILER_NAME:
    case AT_TRAILER_VALUE:
        return trailer_byte(chunk, c);
    case AT_SIZE_LF:
    case AT_DATA_CR:
    case AT_DATA_LF:
    case AT_TRAILER_LF:
    case AT_END_LF:
        return line_end_byte(chunk, c);
    default:
        return ext_byte(chunk, c);
    }
}

enum http_chunk_step http_chunk_next(struct http_chunk *chunk, struct str *in, size_t part_max,
                                     struct str *part) {
    *part = STR_NONE;
    while (chunk->err == OK && chunk->state != AT_END && in->len > 0) {
        if (chunk->state == AT_DATA) {
            size_t n = in->len < part_max ? in->len : part_max;

            n = chunk->left < n ? (size_t)chunk->left : n;
            *part = str_of(in->ptr, n);
            *in = str_of(in->ptr + n, in->len - n);
            chunk->left -= n;
            chunk->data += n;
            if (chunk->left == 0)
                chunk->state = AT_DATA_CR;
            return HTTP_CHUNK_DATA;
        }
        if (framing_byte(chunk, in->ptr[0]) &&
            chunk->framing > FRAMING_BASE + FRAMING_PER_BYTE * chunk->data &&
            chunk->state < AT_TRAILER)
            bad(chunk, ERR_TOO_LARGE, "the chunked body is mostly framing");
        *in = str_of(in->ptr + 1, in->len - 1);
    }
    return chunk->err != OK          ? HTTP_CHUNK_BAD
           : chunk->state == AT_END ? HTTP_CHUNK_END
                                    : HTTP_CHUNK_MORE;
}
