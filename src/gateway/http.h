/* http: an HTTP/1.1 server (RFC 9110, RFC 9112) on libuv and llhttp. Knows nothing of the hub:
 * the gateway, the sandbox systems and tests use it.
 *
 * Threads: one loop thread owns a connection and its exchanges from accept to close. Every
 * function on an exchange is called on its loop's thread; to answer later, come back there
 * (a uv_async_t of your own on http_loop_uv).
 *
 * What always holds: an exchange handed to `handle` is answered exactly once by the handler, also
 * when its client is gone by then (http_closed); answers leave in the order of the requests;
 * everything is bounded by the limits. Refused here, because a program in front may read it
 * differently (request smuggling, RFC 9112 section 11.2): line ends other than CR LF, folded
 * fields, a missing, double or malformed Host, one that differs from the target's, two lengths,
 * Transfer-Encoding beside Content-Length, on HTTP/1.0, or other than chunked, chunks and trailers
 * that are not to the letter (http_chunk.h), Connection naming a field that is not for one hop,
 * versions other than 1.0 and 1.1. Refused is also what asks for something we do not do: Expect
 * of anything but 100-continue. Upgrade is passed over (RFC 9110 section 7.8). */
#ifndef PENSTOCK_GATEWAY_HTTP_H
#define PENSTOCK_GATEWAY_HTTP_H

#include <uv.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/inet.h"
#include "base/str.h"

struct http_server;
struct http_tls; /* http_tls.h */
struct http_loop;
struct http_exchange;

enum http_method {
    HTTP_METHOD_GET, HTTP_METHOD_HEAD, HTTP_METHOD_POST, HTTP_METHOD_PUT, HTTP_METHOD_PATCH,
    HTTP_METHOD_DELETE, HTTP_METHOD_OPTIONS, HTTP_METHOD_OTHER,
};
struct http_header {
    struct str name, value; /* name as sent, value trimmed */
};
/* Lives until the exchange is answered. */
struct http_request {
    enum http_method method;
    struct str method_name;
    struct str target; /* as sent, origin form ("/v1/orders?limit=3") or "*" */
    struct str path, query; /* query without '?', absent where there is none */
    const struct http_header *headers;
    uint32_t header_count;
    struct str body;   /* JSON_PADDING readable bytes behind it; "" where there is none */
    struct str content_type; /* of the header, absent where none */
    bool has_body;     /* a Content-Length above 0 or a Transfer-Encoding was sent */
    uint8_t minor;     /* HTTP/1.minor */
    int64_t arrived_us; /* clock_tick_us when its header was complete */
};

/* 0 means the default in brackets. */
struct http_limits {
    size_t header_bytes_max; /* [16 KiB] request line included */
    size_t target_bytes_max; /* [8 KiB] */
    uint32_t header_count_max; /* [100] */
    size_t body_bytes_max;   /* [8 MiB] */
    size_t arena_bytes_max;  /* [64 MiB] of one exchange */
    size_t bodies_bytes_max; /* [512 MiB] of all bodies under way; beyond it, 503 for long ones */
    size_t stream_bytes_max; /* [1 MiB] unsent bytes of a streamed answer before `more` false; bytes
                              * unsent, and of bodies, before a connection's next request is read */
    uint32_t connections_max; /* [10000] of the server */
    uint32_t gzip_ratio_max;  /* [200] bytes out for each byte in of a body in gzip */
    uint32_t pipeline_max;   /* [32] requests of one connection under way */
    uint32_t connections_per_address_max; /* [connections_max] of one client's address */
    uint32_t handshakes_max; /* [1000] of TLS under way, at least one a loop; beyond them the oldest goes */
    int64_t header_timeout_ms, body_timeout_ms, idle_timeout_ms, write_timeout_ms;
    /* [10 s, 30 s, 75 s, 30 s]. A body streamed to a sink has longer by the time that what has
     * arrived takes at stream_rate_min, and by what it was paused. */
    int64_t stream_rate_min; /* [1 KiB/s] */
    int64_t handshake_timeout_ms; /* [10 s] */
};

#define HTTP_LISTENERS_MAX 16
struct http_listen {
    const char *host; /* address, no name; NULL: 127.0.0.1 */
    uint16_t port;    /* 0: any free one */
    struct http_tls *tls; /* NULL: plain. Outlives the server */
};

struct http_options {
    const struct http_listen *listen; /* where; copied but for what it points to */
    uint32_t listen_count;            /* at most HTTP_LISTENERS_MAX; 0: host and port, plain */
    const char *host; /* address, no name; NULL: 127.0.0.1 */
    uint16_t port;    /* 0: any free one */
    int threads;      /* loop threads; 0: runs on `loop`, which the caller runs */
    uv_loop_t *loop;
    struct http_limits limits;
    struct clock *clock; /* NULL: clock_system */
    void *ctx;
    /* A whole request is there. */
    void (*handle)(struct http_exchange *ex, void *ctx);
    /* The header is complete, the body not read yet. May answer (then the body is not read and
     * the connection closes after the answer), or call http_stream_body. May be NULL. */
    void (*head)(struct http_exchange *ex, void *ctx);
    /* What the server itself refuses (bad syntax, a limit, a timeout): renders the answer with
     * http_answer. Of the request only what was understood is set. NULL: problem+json. */
    void (*refuse)(struct http_exchange *ex, enum err err, const char *detail, void *ctx);
    /* On each loop's thread, before its first connection and after its last. May be NULL. */
    enum err (*loop_start)(struct http_loop *loop, void *ctx, struct fault *fault);
    void (*loop_stop)(struct http_loop *loop, void *ctx); /* close your handles here */
};

/* Listens when it answers; threads run. */
enum err http_server_start(const struct http_options *options, struct http_server **out,
                           struct fault *fault) WARN_UNUSED;
uint16_t http_server_port(const struct http_server *server);
uint16_t http_server_port_of(const struct http_server *server, uint32_t listener);
/* Any thread: stops accepting; connections close when what is under way has been answered. */
void http_server_drain(struct http_server *server);
/* Any thread: connections open now, over all loops. */
uint32_t http_server_connections(const struct http_server *server);
/* Any thread: what became of connections since the start. */
struct http_stats {
    _Atomic uint64_t accepted;
    _Atomic uint64_t refused_full, refused_address; /* by connections_max, by that of an address */
    _Atomic uint64_t displaced; /* idle ones closed for others when all places were taken */
    _Atomic uint64_t handshakes_whole, handshakes_resumed;
    _Atomic uint64_t handshakes_failed;  /* or given up, or late */
    _Atomic uint64_t handshakes_crowded; /* of those, closed because newer ones came */
    _Atomic uint32_t shaking; /* handshakes under way, of now */
    _Atomic uint32_t resting; /* idle, with most of TLS's memory given back; of now */
};
const struct http_stats *http_server_stats(const struct http_server *server);
/* Closes everything at once, waits for exchanges the handler still owes, ends the threads,
 * frees. With a caller's loop: runs that loop until its own handles are closed. */
void http_server_stop(struct http_server *server);

/* --- loops -------------------------------------------------------------------------------- */
uv_loop_t *http_loop_uv(struct http_loop *loop);
int http_loop_index(const struct http_loop *loop);
void http_loop_data_set(struct http_loop *loop, void *data);
void *http_loop_data(const struct http_loop *loop);
struct http_loop *http_exchange_loop(const struct http_exchange *ex);
/* The one that came before it on its connection and is not answered to its end yet; NULL. */
struct http_exchange *http_exchange_before(const struct http_exchange *ex);

/* --- who is there --------------------------------------------------------------------------- */
/* The client's certificate, verified against the listener's client CA: what it says of its
 * holder. Names of one kind stand in the certificate's order (RFC 5280 section 4.2.1.6). */
struct http_peer {
    struct str subject; /* distinguished name as of RFC 4514: "CN=till-7,O=Example" */
    const struct str *dns, *uris, *emails; /* subject alternative names */
    uint32_t dns_count, uri_count, email_count;
    char fingerprint[65]; /* SHA-256 of the certificate, 64 hex digits in lower case */
    int64_t expires_s;    /* notAfter, seconds since 1970 */
};
/* NULL where the client showed no certificate, the connection is plain, or the client is gone:
 * ask in `head` or `handle` and keep what is needed, it lives as long as the connection. */
const struct http_peer *http_exchange_peer(const struct http_exchange *ex);
/* The request came over TLS. */
bool http_exchange_secure(const struct http_exchange *ex);
/* The address the connection came from, "203.0.113.7" or "2001:db8::7"; text is what it is
 * written to. "" when the client is gone. */
#define HTTP_ADDRESS_CHARS INET_TEXT_MAX
struct str http_exchange_address(const struct http_exchange *ex, char text[HTTP_ADDRESS_CHARS]);
/* The same as bytes; false when the client is gone. */
bool http_exchange_origin(const struct http_exchange *ex, struct inet_address *out);

/* --- a request ---------------------------------------------------------------------------- */
const struct http_request *http_exchange_request(const struct http_exchange *ex);
/* Lives and dies with the exchange. */
struct arena *http_exchange_arena(struct http_exchange *ex);
void http_exchange_data_set(struct http_exchange *ex, void *data);
void *http_exchange_data(const struct http_exchange *ex);
/* First header of that name (any case), or absent. */
struct str http_request_header(const struct http_request *request, const char *name);
/* The client is gone: an answer is still owed, but nobody reads it. */
bool http_closed(const struct http_exchange *ex);
/* For handlers that keep an exchange waiting: `gone` is called once, when the client is gone
 * before the answer was complete. Answer all the same. NULL takes it back. */
void http_gone_set(struct http_exchange *ex, void (*gone)(struct http_exchange *ex, void *ctx),
                   void *ctx);

/* In `head` alone: parts of the body go to `data` as they arrive, valid until it returns; `end`
 * comes after the last (complete) or when there will be no more (client gone or a framing
 * error, complete false). `handle` is not called. The answer may begin before. There is no bound
 * on the whole body. */
struct http_body_sink {
    void (*data)(struct http_exchange *ex, struct str part, void *ctx);
    void (*end)(struct http_exchange *ex, bool complete, void *ctx);
    void *ctx;
};
void http_stream_body(struct http_exchange *ex, const struct http_body_sink *sink);
/* In `head` alone: the body comes in gzip and is taken out of it before anybody sees it; its bounds
 * hold for what comes out. False: no memory. */
bool http_body_gunzip(struct http_exchange *ex) WARN_UNUSED;
/* Why `end` came with complete false, OK where the client is gone. */
enum err http_body_fault(const struct http_exchange *ex, const char **detail);
/* No further parts until resumed (a part or `end` already read may still come). */
void http_body_pause(struct http_exchange *ex);
void http_body_resume(struct http_exchange *ex);

/* --- the answer --------------------------------------------------------------------------- */
/* Whole: begin, any headers, end. Content-Length, Date and Connection are added. After end the
 * exchange and its arena may be gone. HEAD requests and 204/304 send no body. */
void http_answer_begin(struct http_exchange *ex, int status);
void http_answer_header(struct http_exchange *ex, struct str name, struct str value);
void http_answer_header_u64(struct http_exchange *ex, struct str name, uint64_t value);
void http_answer_end(struct http_exchange *ex, struct str media_type, struct str body);
/* The three in one. */
void http_answer(struct http_exchange *ex, int status, struct str media_type, struct str body);
/* Instead of an answer: the connection closes without a word (a stand-in that fails). */
void http_cut(struct http_exchange *ex);
/* The connection closes after this answer. Before http_answer_end. */
void http_answer_close(struct http_exchange *ex);

/* Streamed: begin, any headers, then stream_begin instead of end. `more` (may be NULL) is called
 * when unsent bytes fell below half of stream_bytes_max after http_stream_write answered false.
 * When the client goes away (http_gone_set), call http_stream_end all the same. */
void http_stream_begin(struct http_exchange *ex, struct str media_type,
                       void (*more)(struct http_exchange *ex, void *ctx), void *ctx);
/* Before stream_begin: the answer leaves in gzip; each part can be read as soon as it is there. */
void http_stream_gzip(struct http_exchange *ex);
/* Takes all of it; false: wait for `more` before the next. */
bool http_stream_write(struct http_exchange *ex, struct str part);
size_t http_stream_unsent(const struct http_exchange *ex);
/* Has `more` called although the last write answered true. Only while something is unsent. */
void http_stream_want_more(struct http_exchange *ex);
/* Ends the answer; the exchange may be gone afterwards. With complete false the connection is
 * cut, so that the client can tell. */
void http_stream_end(struct http_exchange *ex, bool complete);

const char *http_reason(int status);

#endif
