/* http_parse: bytes to requests. llhttp cuts the head into fields; what it lets through and we do
 * not is checked before and after (http_head.c; see http.h), and the body is ours (http_chunk.h).
 * No sockets, so that tests and the fuzzer drive it directly.
 *
 * A head is collected whole before llhttp sees it, so that every name and value is one slice of
 * message->head. Private to the server. */
#ifndef PENSTOCK_GATEWAY_HTTP_PARSE_H
#define PENSTOCK_GATEWAY_HTTP_PARSE_H

#include <llhttp.h>
#include <stdatomic.h>

#include "gateway/http.h"
#include "gateway/http_chunk.h"
#include "gateway/http_gzip.h"

struct http_message {
    struct http_request request;
    struct buf head, body;
    _Atomic uint64_t *bodies_bytes; /* of all messages of a server, long ones; NULL: not counted */
    struct http_header *headers; /* header_count_max of them, allocated at first use */
    size_t charged;              /* of body, in limits->bodies_bytes */
    uint64_t content_length;     /* as declared; 0 where chunked or none */
    bool chunked, keep_alive, expect_continue;
    bool discard; /* the body is read and dropped */
    void (*part)(void *ctx, struct str part); /* where set, gets the body as it arrives */
    void *part_ctx;
    const bool *paused;         /* with part: true: takes no more for now */
    size_t turn_bytes;          /* given to part since http_parse was called */
    struct http_gunzip *gunzip; /* where set, the body is taken out of gzip first */
};
void http_message_init(struct http_message *message, const struct http_limits *limits,
                       _Atomic uint64_t *bodies_bytes);
void http_message_reset(struct http_message *message);
void http_message_free(struct http_message *message);

struct http_parser {
    llhttp_t ll;
    const struct http_limits *limits;
    struct http_message *message;
    enum { HTTP_AT_HEAD, HTTP_AT_BODY, HTTP_AT_END } at;
    size_t scanned, line; /* of the head: bytes looked at, start of the line */
    uint32_t blank_lines; /* before the request line */
    bool field_open;      /* the last header has a name and no value yet */
    uint64_t left;        /* of a body with Content-Length */
    struct http_chunk chunk; /* of one without */
    enum err err;
    const char *detail;
};

enum http_step {
    HTTP_STEP_MORE,    /* all input taken: more is needed; or some is left because the part's taker
                        * paused, or because others on the loop shall have their turn */
    HTTP_STEP_HEAD,    /* the head is complete; call again, even without input, for the rest */
    HTTP_STEP_DONE,    /* the message is complete; input may hold the next one */
    HTTP_STEP_REFUSED, /* err and detail say why; the connection can not be used further */
};
void http_parser_init(struct http_parser *parser, const struct http_limits *limits);
/* Starts a message; the message is reset. */
void http_parser_begin(struct http_parser *parser, struct http_message *message);
/* Takes from the front of *in. */
enum http_step http_parse(struct http_parser *parser, struct str *in);
/* http_head.c: reads the fields of a head that llhttp has cut; minor, method_name and target are
 * set already. *detail says what is wrong. */
enum err http_head_read(struct http_message *message, const char **detail) WARN_UNUSED;
/* The message has begun: bytes of it have arrived. */
bool http_parser_begun(const struct http_parser *parser);

#endif
