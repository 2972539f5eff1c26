/* The server's own structs; see http.h. */
#ifndef PENSTOCK_GATEWAY_HTTP_PRIV_H
#define PENSTOCK_GATEWAY_HTTP_PRIV_H

#include <openssl/x509.h>
#include <pthread.h>
#include <stdatomic.h>

#include "gateway/http.h"
#include "gateway/http_parse.h"

#define READ_BYTES ((size_t)128 << 10) /* one read; also the most that waits unparsed */
#define PLAIN_BYTES (READ_BYTES + ((size_t)64 << 10)) /* at most, out of one read of TLS */
#define WRITE_SLICE_BYTES ((size_t)256 << 10) /* has to be taken within write_timeout_ms */
#define WRITE_PARTS_MAX 64
#define LINGER_MS 1000        /* after an early answer: time to read it before we close */
#define LINGER_BYTES ((size_t)16 << 20)
#define DISCARD_BYTES_MAX ((uint64_t)64 << 10) /* a longer unwanted body ends the connection */
#define EXCHANGES_KEPT 256    /* idle ones a loop keeps */

struct http_exchange {
    struct http_exchange *next; /* in the connection's queue, or the loop's free list */
    struct http_conn *conn;     /* NULL: the client is gone */
    struct http_loop *loop;
    struct arena arena;
    struct http_message message;
    void *data;
    /* What leaves: `queued` is appended to, `out` is being sent and not touched until it is. */
    struct buf out, queued;
    size_t sent; /* of out */
    bool received; /* the message has been read to its end */
    bool handed;   /* to handle or head: an answer is owed */
    bool began, ended; /* the answer */
    bool bodiless; /* its status has no body */
    bool streamed, chunked, interim, close, cut;
    struct http_gzip *gzip; /* of a streamed answer */
    bool starved; /* the stream's writer waits for more() */
    struct http_body_sink sink;
    enum err body_err; /* what broke off the body */
    const char *body_detail;
    uint64_t body_bytes;  /* of a streamed body, as they came over the wire */
    int64_t body_from_ms; /* when its head was there, later by what it was paused */
    int64_t paused_ms;    /* since when it is paused; 0: not */
    bool sink_open, body_paused;
    void (*gone)(struct http_exchange *ex, void *ctx);
    void *gone_ctx;
    void (*more)(struct http_exchange *ex, void *ctx);
    void *more_ctx;
};

struct http_tls_conn;
struct http_address;

struct http_conn {
    uv_tcp_t tcp;
    struct http_loop *loop;
    struct http_conn *prev, *next;
    struct http_conn *dirty_next;
    struct http_conn *later_next;
    bool dirty, later;
    struct http_exchange *first, *last; /* in order of the requests; last may still be read */
    uint32_t count;
    struct http_exchange *reading; /* whose message is being parsed */
    struct http_parser parser;
    struct buf held; /* read and not parsed */
    uv_write_t write;
    bool writing, reading_on, feeding, closing, lingering;
    bool no_more; /* no further request is read from it */
    size_t lingered;
    int64_t read_deadline_ms, write_deadline_ms; /* uv_now; 0: none */
    bool idle; /* between requests: the read deadline is the idle time's */
    bool secure; /* over TLS */
    uint8_t address[16]; /* where it came from; an IPv4 address mapped (RFC 4291 2.5.5.2) */
    struct http_address *from; /* its place among the addresses that are counted */
    struct http_tls_conn *tls; /* NULL: plain */
    const struct http_peer *peer; /* its certificate, verified; else NULL */
};

/* A socket on its way from the loop that accepted it to the one that gets it. */
struct http_arrival {
    int fd;
    struct http_tls *tls;
    uint8_t address[16];
    struct http_address *from;
};

struct http_loop {
    struct http_server *server;
    int index;
    uv_loop_t own, *uv;
    pthread_t thread;
    bool threaded, started, running; /* its own uv_loop is open; its handles; its thread */
    uv_async_t wake;
    uv_timer_t sweep;
    uv_check_t check;
    uv_prepare_t prepare;
    uv_timer_t later_timer; /* runs while there is one of: */
    struct http_conn *later; /* have more to parse when others had their turn */
    uv_timer_t accept_again; /* on loop 0, which accepts */
    bool accepting, accept_failing;
    char *read_buf;
    char *plain_buf;   /* of a read, opened; small answers, gathered into a record */
    struct buf cipher; /* what OpenSSL writes, until it leaves */
    struct http_conn *shaking_first, *shaking_last; /* handshakes under way, oldest first */
    uint32_t shaking, shaking_max;
    struct http_conn *turn_first, *turn_last; /* of them, those whose turn it is */
    uv_idle_t spin;
    bool spinning;
    struct buf packed; /* scratch: a part in gzip */
    struct http_conn *conns; /* all of them */
    struct http_conn *dirty; /* have something to send */
    struct http_exchange *spare;
    uint32_t spare_count;
    uint32_t owed; /* exchanges whose client is gone and whose answer is owed */
    uint32_t open; /* connections of this loop */
    bool stopped, user_stopped, closed;
    uint32_t handles;
    int64_t sweep_ms;
    int64_t date_s;
    char date[32]; /* IMF-fixdate (RFC 9110 section 5.6.7) */
    void *data;
    pthread_mutex_t lock; /* of inbox */
    struct http_arrival *inbox; /* accepted sockets handed over */
    uint32_t inbox_count, inbox_cap;
};

struct http_listener {
    struct http_server *server;
    struct http_tls *tls;
    int fd;
    uint16_t port;
    uv_poll_t poll; /* on loop 0 */
    bool watched;   /* by it */
};

struct http_server {
    struct http_options options;
    struct http_limits limits;
    struct clock *clock;
    struct http_listener listeners[HTTP_LISTENERS_MAX];
    uint32_t listener_count;
    struct http_admit *admit;
    struct http_stats stats;
    int loop_count;
    struct http_loop *loops;
    _Atomic uint32_t connections;
    _Atomic uint64_t bodies_bytes; /* held for long bodies */
    _Atomic bool draining, stopping;
    int next_loop;
};

/* http_conn.c */
void http_conn_open(struct http_loop *loop, const struct http_arrival *arrival);
void http_conn_close(struct http_conn *conn);
void http_conn_dirty(struct http_conn *conn);
void http_loop_flush(struct http_loop *loop);
void http_loop_sweep(struct http_loop *loop);
void http_loop_drain(struct http_loop *loop);
void http_conn_resume(struct http_conn *conn);
/* For http_tls.c. What has been read; what to read next and until when; between requests; a
 * write that goes on by itself, with what conn_sent is told at its end; no TLS any more. */
void http_conn_feed(struct http_conn *conn, struct str in);
void http_conn_settle(struct http_conn *conn);
void http_conn_idle(struct http_conn *conn);
void http_conn_write(struct http_conn *conn, const uv_buf_t *parts, uint32_t n, size_t counted);
void http_conn_broken(struct http_conn *conn);
/* http_exchange.c */
struct http_exchange *http_exchange_take(struct http_loop *loop, struct http_conn *conn);
void http_exchange_release(struct http_exchange *ex);
void http_exchange_free(struct http_exchange *ex);
void http_exchange_refuse(struct http_exchange *ex, enum err err, const char *detail);
/* http_server.c */
void http_loop_check_stopped(struct http_loop *loop);
/* A whole answer to someone who has no exchange. Its length. */
#define HTTP_REFUSAL_BYTES 768
size_t http_refusal(char text[HTTP_REFUSAL_BYTES], enum err err, const char *detail);
/* There is no room for it: said, where it speaks plain, without reading what it wants. */
void http_arrival_refuse(struct http_server *server, const struct http_arrival *arrival,
                         const char *detail);
/* http_tls.c: of connections with a TLS half */
bool http_tls_open(struct http_conn *conn, struct http_tls *tls); /* false: no memory */
void http_tls_leave(struct http_conn *conn);
void http_tls_free(struct http_conn *conn);
void http_tls_read(struct http_conn *conn, struct str in);
/* Takes from the front of the parts, at most a slice; answers how much. What the kernel does not
 * take leaves by itself (conn->writing). last: nothing follows on this connection. */
size_t http_tls_write(struct http_conn *conn, const uv_buf_t *parts, uint32_t n, bool last);
void http_tls_written(struct http_conn *conn);
void http_tls_bye(struct http_conn *conn);
void http_tls_cut(struct http_conn *conn);
void http_tls_quiet(struct http_conn *conn); /* a sweep found it idle */
bool http_tls_ended(const struct http_conn *conn); /* the client said that it sends no more */
bool http_tls_waits(const struct http_conn *conn); /* enough is read for its next turn */
void http_loop_shake(struct http_loop *loop);
/* http_peer.c; NULL: no memory. Freed with mem_free. */
struct http_peer *http_peer_create(X509 *x509);
/* http_admit.c: how many connections an address has open. NULL: as many as it may, or no memory.
 * An IPv6 address stands for its /64 network: one subscriber has all of it. */
struct http_admit *http_admit_create(uint32_t each_max);
void http_admit_destroy(struct http_admit *admit);
struct http_address *http_admit_enter(struct http_admit *admit, const uint8_t address[16]);
void http_admit_leave(struct http_admit *admit, struct http_address *from);
uint32_t http_admit_open(const struct http_address *from);

#endif
