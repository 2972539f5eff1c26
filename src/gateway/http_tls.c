/* http_tls: the TLS half of a connection; see http_tls.h. What the socket brings goes in here and
 * comes out as what http_conn.c would have read without TLS, and the other way round.
 *
 * OpenSSL reads from `in`, a window on the loop's read buffer, and writes into the loop's
 * `cipher`, which leaves with one write when it has had its say. Between two calls it holds no
 * buffers but those of a record that is half there (SSL_MODE_RELEASE_BUFFERS).
 *
 * What holds always: handshakes wait for their turn in the order they came, and have HANDSHAKE_US
 * of an iteration of the loop, so that those connected already do not wait behind a flood of new
 * ones; where too many are under way the oldest goes; close_notify is sent unless the connection
 * is cut, and an end without the client's is never taken for the end of what it sent. */
#include <openssl/err.h>
#include <pthread.h>

#include "base/mem.h"
#include "gateway/http_priv.h"
#include "gateway/http_tls_priv.h"

#define HANDSHAKE_US 2000
#define HELLO_BYTES_WAIT ((size_t)16 << 10) /* of a handshake waiting for its turn, then no more is read */
#define HELLO_BYTES_MAX (HELLO_BYTES_WAIT + READ_BYTES)
#define LATER_BYTES_MAX ((size_t)64 << 10) /* made while a write waits */
#define QUIET_SWEEPS 8 /* then an idle connection's SSL is laid to rest: about 2 s */
#define GATHER_BYTES 16384                 /* one record */

struct http_tls_conn {
    SSL *ssl;
    struct tls_rest *rest; /* it rests: wake it first */
    uint8_t quiet;         /* sweeps without a call into it */
    struct tls_set *set;
    struct str in;    /* read from the socket, not yet by OpenSSL */
    struct buf hello; /* as much, while the handshake waits for its turn */
    struct buf out;   /* what the kernel did not take, being written */
    struct buf later; /* made meanwhile */
    struct http_conn *prev, *next; /* in loop->shaking */
    struct http_conn *turn_next;   /* in loop->turn */
    bool shaken, waiting, told;    /* told: a byte of the client has been looked at */
    bool ended;                    /* close_notify has come */
    bool mute;                     /* nothing more is sent: close_notify was, or it is cut */
};

/* --- OpenSSL's way to the connection -------------------------------------------------------- */

static int on_bio_write(BIO *bio, const char *data, int len) {
    struct http_conn *conn = BIO_get_data(bio);
    struct buf *cipher = &conn->loop->cipher;

    buf_add(cipher, data, (size_t)len);
    return buf_ok(cipher) ? len : -1;
}

static int on_bio_read(BIO *bio, char *out, int len) {
    struct http_conn *conn = BIO_get_data(bio);
    struct str *in = &conn->tls->in;
    size_t n = in->len < (size_t)len ? in->len : (size_t)len;

    BIO_clear_retry_flags(bio);
    if (n == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(out, in->ptr, n);
    in->ptr += n;
    in->len -= n;
    return (int)n;
}

static long on_bio_ctrl(BIO *bio, int command, long number, void *ptr) {
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP;
}

static int on_bio_create(BIO *bio) {
    BIO_set_init(bio, 1);
    return 1;
}

static BIO_METHOD *method;
static void method_make(void) {
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "connection");
    if (method) {
        BIO_meth_set_write(method, on_bio_write);
        BIO_meth_set_read(method, on_bio_read);
        BIO_meth_set_ctrl(method, on_bio_ctrl);
        BIO_meth_set_create(method, on_bio_create);
    }
}

/* Before each call into OpenSSL. */
static void tls_wake(struct http_conn *conn) {
    struct http_tls_conn *tls = conn->tls;

    tls->quiet = 0;
    if (!tls->rest)
        return;
    tls_rest_end(tls->ssl, tls->rest);
    tls->rest = NULL;
    atomic_fetch_sub_explicit(&conn->loop->server->stats.resting, 1, memory_order_relaxed);
}

void http_tls_quiet(struct http_conn *conn) {
    struct http_tls_conn *tls = conn->tls;

    if (!tls->shaken || tls->rest || conn->writing || ++tls->quiet < QUIET_SWEEPS)
        return;
    tls->quiet = 0;
    tls->rest = tls_rest_begin(tls->ssl);
    if (tls->rest)
        atomic_fetch_add_explicit(&conn->loop->server->stats.resting, 1, memory_order_relaxed);
}

/* --- handshakes under way ------------------------------------------------------------------- */

static void shaking_add(struct http_conn *conn) {
    struct http_loop *loop = conn->loop;

    conn->tls->prev = loop->shaking_last;
    if (loop->shaking_last)
        loop->shaking_last->tls->next = conn;
    else
        loop->shaking_first = conn;
    loop->shaking_last = conn;
    loop->shaking++;
    atomic_fetch_add_explicit(&loop->server->stats.shaking, 1, memory_order_relaxed);
}

static void shaking_remove(struct http_conn *conn) {
    struct http_loop *loop = conn->loop;
    struct http_tls_conn *tls = conn->tls;

    if (tls->prev)
        tls->prev->tls->next = tls->next;
    else
        loop->shaking_first = tls->next;
    if (tls->next)
        tls->next->tls->prev = tls->prev;
    else
        loop->shaking_last = tls->prev;
    loop->shaking--;
    atomic_fetch_sub_explicit(&loop->server->stats.shaking, 1, memory_order_relaxed);
}

static void turn_add(struct http_conn *conn) {
    struct http_loop *loop = conn->loop;

    if (conn->tls->waiting)
        return;
    conn->tls->waiting = true;
    conn->tls->turn_next = NULL;
    if (loop->turn_last)
        loop->turn_last->tls->turn_next = conn;
    else
        loop->turn_first = conn;
    loop->turn_last = conn;
}

static struct http_conn *turn_take(struct http_loop *loop) {
    struct http_conn *conn = loop->turn_first;

    loop->turn_first = conn->tls->turn_next;
    if (!loop->turn_first)
        loop->turn_last = NULL;
    conn->tls->waiting = false;
    return conn;
}

bool http_tls_open(struct http_conn *conn, struct http_tls *tls) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct http_loop *loop = conn->loop;
    struct http_tls_conn *half = mem_zalloc(sizeof *half);
    BIO *bio;

    pthread_once(&once, method_make);
    bio = half && method ? BIO_new(method) : NULL;
    if (!bio) {
        mem_free(half);
        return false;
    }
    half->set = tls_set_take(tls);
    half->ssl = tls_set_ssl(half->set);
    if (!half->ssl) {
        BIO_free(bio);
        tls_set_give(half->set);
        mem_free(half);
        return false;
    }
    BIO_set_data(bio, conn);
    SSL_set_bio(half->ssl, bio, bio);
    SSL_set_accept_state(half->ssl);
    buf_init(&half->hello, HELLO_BYTES_MAX);
    buf_init(&half->out, 0);
    buf_init(&half->later, LATER_BYTES_MAX);
    conn->tls = half;
    conn->secure = true;
    shaking_add(conn);
    if (loop->shaking > loop->shaking_max) {
        atomic_fetch_add_explicit(&loop->server->stats.handshakes_crowded, 1,
                                  memory_order_relaxed);
        http_conn_close(loop->shaking_first);
    }
    return true;
}

/* The connection is being closed: nothing of it is looked at any more. */
void http_tls_leave(struct http_conn *conn) {
    struct http_tls_conn *tls = conn->tls;

    if (!tls->shaken) {
        shaking_remove(conn);
        atomic_fetch_add_explicit(&conn->loop->server->stats.handshakes_failed, 1,
                                  memory_order_relaxed);
    }
    if (!tls->waiting)
        return;
    struct http_conn *before = NULL, *at = conn->loop->turn_first;
    while (at != conn) {
        before = at;
        at = at->tls->turn_next;
    }
    if (before)
        before->tls->turn_next = tls->turn_next;
    else
        conn->loop->turn_first = tls->turn_next;
    if (conn->loop->turn_last == conn)
        conn->loop->turn_last = before;
    tls->waiting = false;
}

void http_tls_free(struct http_conn *conn) {
    struct http_tls_conn *tls = conn->tls;

    tls_wake(conn);
    SSL_free(tls->ssl);
    tls_set_give(tls->set);
    buf_free(&tls->hello);
    buf_free(&tls->out);
    buf_free(&tls->later);
    mem_free((void *)(uintptr_t)conn->peer);
    mem_free(tls);
    conn->tls = NULL;
}

/* --- out ------------------------------------------------------------------------------------ */

/* What OpenSSL made leaves, now or when the kernel takes it. */
static void tls_push(struct http_conn *conn) {
    struct http_tls_conn *tls = conn->tls;
    struct buf *made = &conn->loop->cipher;
    uv_buf_t part = uv_buf_init(made->data, (unsigned)made->len);
    int sent;

    if (made->len == 0 || conn->closing) {
        buf_clear(made);
        return;
    }
    if (conn->writing) {
        buf_add(&tls->later, made->data, made->len);
        buf_clear(made);
        if (!buf_ok(&tls->later))
            http_conn_close(conn);
        return;
    }
    sent = uv_try_write((uv_stream_t *)&conn->tcp, &part, 1);
    if (sent < 0 && sent != UV_EAGAIN) {
        buf_clear(made);
        tls->mute = true;
        http_conn_close(conn);
        return;
    }
    if (sent < 0)
        sent = 0;
    if ((size_t)sent < made->len) {
        buf_add(&tls->out, made->data + sent, made->len - (size_t)sent);
        part = uv_buf_init(tls->out.data, (unsigned)tls->out.len);
        if (!buf_ok(&tls->out))
            http_conn_close(conn);
        else
            http_conn_write(conn, &part, 1, 0);
    }
    buf_clear(made);
}

void http_tls_written(struct http_conn *conn) {
    struct http_tls_conn *tls = conn->tls;

    buf_free(&tls->out);
    buf_add(&conn->loop->cipher, tls->later.data, tls->later.len);
    buf_free(&tls->later);
    tls_push(conn);
}

static bool tls_seal(struct http_conn *conn, const char *data, size_t len) {
    size_t done;

    return len == 0 || SSL_write_ex(conn->tls->ssl, data, len, &done) == 1;
}

/* Many small answers share a record. */
size_t http_tls_write(struct http_conn *conn, const uv_buf_t *parts, uint32_t n, bool last) {
    char *gather = conn->loop->plain_buf;
    size_t taken = 0, gathered = 0;
    bool fine = !conn->tls->mute, whole = true;

    tls_wake(conn);
    ERR_clear_error();
    for (uint32_t i = 0; i < n && fine && whole; i++) {
        size_t len = parts[i].len;

        if (len > WRITE_SLICE_BYTES - taken) {
            len = WRITE_SLICE_BYTES - taken;
            whole = false;
        }
        if (gathered + len > GATHER_BYTES) {
            fine = tls_seal(conn, gather, gathered);
            gathered = 0;
        }
        if (len >= GATHER_BYTES || (gathered == 0 && i + 1 == n)) {
            fine = fine && tls_seal(conn, parts[i].base, len);
        } else {
            memcpy(gather + gathered, parts[i].base, len);
            gathered += len;
        }
        taken += len;
    }
    fine = fine && tls_seal(conn, gather, gathered);
    if (fine && last && whole) {
        SSL_shutdown(conn->tls->ssl);
        conn->tls->mute = true;
    }
    if (!fine) {
        buf_clear(&conn->loop->cipher);
        conn->tls->mute = true;
        http_conn_close(conn);
        return 0;
    }
    tls_push(conn);
    return taken;
}

/* Tells the client that this is the end, where it was not told and can be. */
void http_tls_bye(struct http_conn *conn) {
    struct http_tls_conn *tls = conn->tls;
    struct buf *made = &conn->loop->cipher;

    if (!tls->shaken || tls->mute || conn->writing)
        return;
    tls->mute = true;
    tls_wake(conn);
    ERR_clear_error();
    SSL_shutdown(tls->ssl);
    if (made->len > 0) {
        uv_buf_t part = uv_buf_init(made->data, (unsigned)made->len);
        (void)!uv_try_write((uv_stream_t *)&conn->tcp, &part, 1);
        buf_clear(made);
    }
}

void http_tls_cut(struct http_conn *conn) { conn->tls->mute = true; }

bool http_tls_waits(const struct http_conn *conn) {
    return conn->tls->waiting && conn->tls->hello.len >= HELLO_BYTES_WAIT;
}

bool http_tls_ended(const struct http_conn *conn) { return conn->tls->ended; }

/* --- in ------------------------------------------------------------------------------------- */

static void tls_fail(struct http_conn *conn) {
    conn->tls->mute = true; /* OpenSSL's alert says why */
    tls_push(conn);
    http_conn_broken(conn);
}

/* Opens what has come and feeds it to the connection. */
static void tls_open_records(struct http_conn *conn) {
    struct http_tls_conn *tls = conn->tls;
    char *plain = conn->loop->plain_buf;
    size_t len = 0, n;
    int error = SSL_ERROR_NONE;

    tls_wake(conn);
    ERR_clear_error();
    while (len < PLAIN_BYTES) {
        if (SSL_read_ex(tls->ssl, plain + len, PLAIN_BYTES - len, &n) != 1) {
            error = SSL_get_error(tls->ssl, 0);
            break;
        }
        len += n;
    }
    tls_push(conn); /* an answer to a key update, an alert */
    if (conn->closing)
        return;
    if (error == SSL_ERROR_ZERO_RETURN)
        tls->ended = true;
    if (len > 0)
        http_conn_feed(conn, str_of(plain, len));
    if (conn->closing)
        return;
    if (error == SSL_ERROR_ZERO_RETURN)
        http_conn_settle(conn);
    else if (error != SSL_ERROR_WANT_READ)
        tls_fail(conn);
}

/* Somebody speaks HTTP to us without TLS: that one gets told in its own language. */
static bool plain_told(struct http_conn *conn) {
    struct http_tls_conn *tls = conn->tls;
    char first = tls->hello.data[0], text[HTTP_REFUSAL_BYTES];

    if (tls->told)
        return false;
    tls->told = true;
    if (first < 'A' || first > 'Z') /* a handshake begins with 22 */
        return false;
    buf_add(&conn->loop->cipher, text,
            http_refusal(text, ERR_BAD_REQUEST, "this port speaks TLS: the URL begins with https://"));
    tls_fail(conn);
    return true;
}

/* A resumed session brings its certificate along: it may have ended meanwhile. */
static bool peer_keep(struct http_conn *conn) {
    X509 *x509 = SSL_get0_peer_certificate(conn->tls->ssl);

    if (!x509)
        return true;
    if (SSL_get_verify_result(conn->tls->ssl) != X509_V_OK)
        return false;
    conn->peer = http_peer_create(x509);
    return conn->peer &&
           conn->peer->expires_s > clock_now_us(conn->loop->server->clock) / 1000000;
}

static void tls_shaken(struct http_conn *conn) {
    struct http_stats *stats = &conn->loop->server->stats;
    struct http_tls_conn *tls = conn->tls;

    if (!peer_keep(conn)) {
        tls_fail(conn);
        return;
    }
    tls->shaken = true;
    shaking_remove(conn);
    atomic_fetch_add_explicit(SSL_session_reused(tls->ssl) ? &stats->handshakes_resumed
                                                           : &stats->handshakes_whole,
                              1, memory_order_relaxed);
    http_conn_idle(conn);
}

/* One turn of a handshake. */
static void tls_shake(struct http_conn *conn) {
    struct http_tls_conn *tls = conn->tls;
    struct buf hello = tls->hello;
    int error = SSL_ERROR_NONE;

    if (plain_told(conn))
        return;
    buf_init(&tls->hello, HELLO_BYTES_MAX);
    tls->in = buf_str(&hello);
    ERR_clear_error();
    if (SSL_do_handshake(tls->ssl) != 1)
        error = SSL_get_error(tls->ssl, -1);
    if (error == SSL_ERROR_NONE) {
        tls_push(conn);
        if (!conn->closing)
            tls_shaken(conn);
        if (!conn->closing && tls->shaken)
            tls_open_records(conn); /* a request may have come along */
    } else if (error == SSL_ERROR_WANT_READ) {
        tls_push(conn);
    } else {
        tls_fail(conn);
    }
    tls->in = STR_NONE;
    buf_free(&hello);
    http_conn_settle(conn);
}

void http_tls_read(struct http_conn *conn, struct str in) {
    struct http_tls_conn *tls = conn->tls;

    if (tls->shaken) {
        tls->in = in;
        tls_open_records(conn);
        return;
    }
    buf_str_add(&tls->hello, in);
    if (!buf_ok(&tls->hello)) {
        http_conn_close(conn);
        return;
    }
    turn_add(conn);
    http_conn_settle(conn);
}

static void on_spin(uv_idle_t *idle) { (void)idle; }

void http_loop_shake(struct http_loop *loop) {
    struct clock *clock = loop->server->clock;
    int64_t until_us;

    if (!loop->turn_first && !loop->spinning)
        return;
    until_us = clock_tick_us(clock) + HANDSHAKE_US;
    while (loop->turn_first && clock_tick_us(clock) < until_us)
        tls_shake(turn_take(loop));
    /* While some wait the loop looks at its sockets and comes back at once. */
    if (loop->turn_first && !loop->spinning)
        uv_idle_start(&loop->spin, on_spin);
    else if (!loop->turn_first && loop->spinning)
        uv_idle_stop(&loop->spin);
    loop->spinning = loop->turn_first != NULL;
}
