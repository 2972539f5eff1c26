/* http_conn: one connection: reading, the queue of its exchanges, writing, time limits.
 *
 * What holds always: exchanges leave in the order they came; what a loop iteration has answered
 * on a connection leaves with one write (http_loop_flush runs around the loop's poll); nothing is
 * read while pipeline_max requests are under way; whoever closes first, an exchange whose answer
 * is owed outlives the connection. */
#include "gateway/http_priv.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

#define DISPLACE_LOOK 512 /* connections looked at to make room for one */

static int64_t now_ms(const struct http_conn *conn) { return (int64_t)uv_now(conn->loop->uv); }

void http_conn_dirty(struct http_conn *conn) {
    if (conn->dirty || conn->closing)
        return;
    conn->dirty = true;
    conn->dirty_next = conn->loop->dirty;
    conn->loop->dirty = conn;
}

/* --- closing ------------------------------------------------------------------------------ */

static void on_closed(uv_handle_t *handle) {
    struct http_conn *conn = handle->data;
    struct http_loop *loop = conn->loop;

    for (struct http_conn **at = &loop->dirty; *at; at = &(*at)->dirty_next)
        if (*at == conn) {
            *at = conn->dirty_next;
            break;
        }
    for (struct http_conn **at = &loop->later; *at; at = &(*at)->later_next)
        if (*at == conn) {
            *at = conn->later_next;
            break;
        }
    if (conn->tls)
        http_tls_free(conn);
    http_admit_leave(loop->server->admit, conn->from);
    buf_free(&conn->held);
    mem_free(conn);
    loop->open--;
    atomic_fetch_sub(&loop->server->connections, 1);
    http_loop_check_stopped(loop);
}

/* The exchange loses its client. */
static void exchange_orphan(struct http_exchange *ex) {
    ex->conn = NULL;
    if (!ex->handed || ex->ended) {
        http_exchange_release(ex);
        return;
    }
    ex->loop->owed++;
    if (ex->sink_open) {
        ex->sink_open = false;
        ex->sink.end(ex, false, ex->sink.ctx);
    } else if (ex->gone) {
        void (*gone)(struct http_exchange *, void *) = ex->gone;

        ex->gone = NULL;
        gone(ex, ex->gone_ctx);
    }
}

void http_conn_close(struct http_conn *conn) {
    struct http_loop *loop = conn->loop;

    if (conn->closing)
        return;
    if (conn->tls) {
        http_tls_bye(conn);
        http_tls_leave(conn);
    }
    conn->closing = true;
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        loop->conns = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    conn->reading = NULL;
    while (conn->first) {
        struct http_exchange *ex = conn->first;

        conn->first = ex->next;
        ex->next = NULL;
        exchange_orphan(ex);
    }
    conn->last = NULL;
    conn->count = 0;
    uv_close((uv_handle_t *)&conn->tcp, on_closed);
}

/* Closes without the pleasantries: what the kernel still holds for the client is let go of, too. */
static void conn_abort(struct http_conn *conn) {
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    uv_os_fd_t fd;

    if (uv_fileno((uv_handle_t *)&conn->tcp, &fd) == 0)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    http_conn_close(conn);
}

/* All is sent: tell the client so, and read what it still sends for a while, because closing
 * over unread bytes resets the connection and may cost it the answer. */
static void conn_linger(struct http_conn *conn) {
    uv_os_fd_t fd;

    if (conn->lingering || conn->closing)
        return;
    conn->lingering = true;
    conn->no_more = true;
    conn->read_deadline_ms = now_ms(conn) + LINGER_MS;
    conn->write_deadline_ms = 0;
    if (conn->tls)
        http_tls_bye(conn);
    if (uv_fileno((uv_handle_t *)&conn->tcp, &fd) == 0)
        shutdown(fd, SHUT_WR);
}

/* What comes makes no sense any more, and why has been said. */
void http_conn_broken(struct http_conn *conn) {
    if (conn->closing)
        return;
    if (conn->count > 0) {
        http_conn_close(conn);
        return;
    }
    conn_linger(conn);
    http_conn_settle(conn);
}

/* --- writing ------------------------------------------------------------------------------ */

/* n more bytes have left, from the front. */
static void conn_sent(struct http_conn *conn, size_t n) {
    for (struct http_exchange *ex = conn->first; ex && n > 0; ex = ex->next) {
        size_t left = ex->out.len - ex->sent, part = left < n ? left : n;

        ex->sent += part;
        n -= part;
    }
    must(n == 0);
}

static bool exchange_unsent(const struct http_exchange *ex) {
    return ex->sent < ex->out.len || ex->queued.len > 0;
}

/* What may leave now: all of the answers complete in order, and what there is of the next. */
static uint32_t conn_gather(struct http_conn *conn, uv_buf_t parts[WRITE_PARTS_MAX],
                            size_t *total) {
    uint32_t n = 0;

    *total = 0;
    for (struct http_exchange *ex = conn->first; ex && n < WRITE_PARTS_MAX; ex = ex->next) {
        if (!ex->ended && !ex->streamed && !ex->interim)
            break;
        if (ex->sent == ex->out.len && ex->queued.len > 0) {
            struct buf swap = ex->out;

            ex->out = ex->queued;
            ex->queued = swap;
            buf_clear(&ex->queued);
            ex->sent = 0;
        }
        if (ex->sent < ex->out.len) {
            parts[n] = uv_buf_init(ex->out.data + ex->sent, (unsigned)(ex->out.len - ex->sent));
            *total += parts[n++].len;
        }
        if (!ex->ended || ex->queued.len > 0 || ex->close || ex->cut)
            break;
    }
    return n;
}

/* Whether nothing follows what can be gathered. */
static bool conn_ends(const struct http_conn *conn) {
    const struct http_exchange *ex = conn->first;

    while (ex && ex->ended && ex->queued.len == 0 && !ex->close && !ex->cut)
        ex = ex->next;
    return ex && ex->ended && ex->queued.len == 0 && ex->close && !ex->cut;
}

static void on_written(uv_write_t *req, int status);

void http_conn_write(struct http_conn *conn, const uv_buf_t *parts, uint32_t n, size_t counted) {
    conn->write.data = (void *)counted;
    conn->writing = true;
    conn->write_deadline_ms = now_ms(conn) + conn->loop->server->limits.write_timeout_ms;
    if (uv_write(&conn->write, (uv_stream_t *)&conn->tcp, parts, n, on_written) != 0) {
        conn->writing = false;
        http_conn_close(conn);
    }
}

/* The kernel takes no more: the rest of these parts waits, at most a slice at a time. */
static void conn_write_later(struct http_conn *conn, uv_buf_t *parts, uint32_t n, size_t sent) {
    uint32_t from = 0, count;
    size_t slice = 0;

    while (from < n && sent >= parts[from].len)
        sent -= parts[from++].len;
    if (from == n)
        return;
    parts[from].base += sent;
    parts[from].len -= sent;
    for (count = 0; from + count < n && slice < WRITE_SLICE_BYTES; count++) {
        uv_buf_t *part = &parts[from + count];

        if (part->len > WRITE_SLICE_BYTES - slice)
            part->len = WRITE_SLICE_BYTES - slice;
        slice += part->len;
    }
    http_conn_write(conn, parts + from, count, slice);
}

/* Takes out what is answered, sent and read. False when the connection ends with it. */
static bool conn_pop(struct http_conn *conn) {
    struct http_exchange *ex;

    while ((ex = conn->first) && ex->ended && !exchange_unsent(ex)) {
        if (ex->cut) {
            if (conn->tls)
                http_tls_cut(conn);
            http_conn_close(conn);
            return false;
        }
        if (ex->close)
            conn->no_more = true;
        if (!ex->received && !conn->no_more)
            return true;
        if (ex->sink_open) {
            ex->sink_open = false; /* the handler ended the answer before the body did */
            conn->no_more = true;
        }
        if (conn->reading == ex)
            conn->reading = NULL;
        conn->first = ex->next;
        if (!conn->first)
            conn->last = NULL;
        conn->count--;
        bool close = ex->close;
        http_exchange_release(ex);
        if (close) {
            conn_linger(conn);
            return false;
        }
    }
    return true;
}

/* Streams that waited for room go on. */
static void conn_feed_streams(struct http_conn *conn) {
    struct http_exchange *ex = conn->first;

    if (ex && ex->starved && !ex->ended &&
        http_stream_unsent(ex) < conn->loop->server->limits.stream_bytes_max / 2) {
        ex->starved = false;
        if (ex->more)
            ex->more(ex, ex->more_ctx);
    }
}

static void conn_flush(struct http_conn *conn) {
    uv_buf_t parts[WRITE_PARTS_MAX];
    size_t total;

    while (!conn->writing && !conn->closing && !conn->lingering) {
        uint32_t n;
        int sent;

        if (!conn_pop(conn))
            break;
        n = conn_gather(conn, parts, &total);
        if (n == 0)
            break;
        sent = conn->tls ? (int)http_tls_write(conn, parts, n, n < WRITE_PARTS_MAX && conn_ends(conn))
                         : uv_try_write((uv_stream_t *)&conn->tcp, parts, n);
        if (conn->closing)
            return;
        if (sent < 0 && sent != UV_EAGAIN) {
            http_conn_close(conn);
            return;
        }
        if (sent < 0)
            sent = 0;
        conn_sent(conn, (size_t)sent);
        conn_feed_streams(conn);
        if ((size_t)sent < total && !conn->tls)
            conn_write_later(conn, parts, n, (size_t)sent);
    }
}

static void on_written(uv_write_t *req, int status) {
    struct http_conn *conn = req->handle->data;

    conn->writing = false;
    conn->write_deadline_ms = 0;
    if (conn->closing)
        return;
    if (status < 0) {
        http_conn_close(conn);
        return;
    }
    conn_sent(conn, (size_t)req->data);
    if (conn->tls)
        http_tls_written(conn);
    if (conn->closing)
        return;
    conn_feed_streams(conn);
    http_conn_dirty(conn);
}

void http_conn_resume(struct http_conn *conn) {
    if (conn->closing || conn->feeding)
        return;
    if (conn->held.len > 0)
        http_conn_feed(conn, buf_str(&conn->held));
    else
        http_conn_settle(conn);
}

void http_loop_flush(struct http_loop *loop) {
    while (loop->dirty) {
        struct http_conn *conn = loop->dirty;

        loop->dirty = conn->dirty_next;
        conn->dirty = false;
        conn_flush(conn);
        http_conn_resume(conn);
    }
}

/* The loop looks at its sockets, and comes back to these. */
static void on_later(uv_timer_t *timer) {
    struct http_loop *loop = timer->data;

    while (loop->later) {
        struct http_conn *conn = loop->later;

        loop->later = conn->later_next;
        conn->later = false;
        http_conn_dirty(conn);
    }
}

static void conn_later(struct http_conn *conn) {
    if (conn->later)
        return;
    conn->later = true;
    conn->later_next = conn->loop->later;
    conn->loop->later = conn;
    uv_timer_start(&conn->loop->later_timer, on_later, 0, 0);
}

/* --- reading ------------------------------------------------------------------------------ */

static void on_body_part(void *ctx, struct str part) {
    struct http_exchange *ex = ctx;

    if (!ex->ended) /* who has answered to the end wants no more */
        ex->sink.data(ex, part, ex->sink.ctx);
}

static void conn_refuse(struct http_conn *conn, enum err err, const char *detail) {
    struct http_exchange *ex = conn->reading;

    conn->no_more = true;
    conn->reading = NULL;
    conn->read_deadline_ms = 0;
    if (!ex)
        return;
    ex->received = true;
    if (ex->sink_open) {
        ex->sink_open = false;
        ex->close = true;
        ex->body_err = err;
        ex->body_detail = detail;
        if (!ex->ended)
            ex->sink.end(ex, false, ex->sink.ctx);
    } else if (!ex->began) {
        http_exchange_refuse(ex, err, detail);
    }
    http_conn_dirty(conn);
}

static void conn_head(struct http_conn *conn, struct http_exchange *ex) {
    struct http_server *server = conn->loop->server;
    struct http_message *m = &ex->message;

    m->request.arrived_us = clock_tick_us(server->clock);
    ex->handed = true;
    ex->body_from_ms = now_ms(conn);
    conn->read_deadline_ms = ex->body_from_ms + server->limits.body_timeout_ms;
    if (server->options.head)
        server->options.head(ex, server->options.ctx);
    ex->handed = ex->began || ex->sink_open; /* else nobody owes anything before it is whole */
    if (ex->began) {
        if (!ex->sink_open) {
            m->discard = true;
            if (ex->close)
                conn->no_more = true;
        }
    } else if (!ex->sink_open && m->content_length > server->limits.body_bytes_max) {
        conn_refuse(conn, ERR_TOO_LARGE, "the body is longer than body_bytes_max");
        return;
    }
    if (ex->sink_open) {
        m->part = on_body_part;
        m->part_ctx = ex;
        m->paused = &ex->body_paused;
    }
    if (m->expect_continue && m->request.has_body && m->request.minor == 1 && !m->discard &&
        !ex->began) {
        ex->interim = true;
        buf_lit(&ex->queued, "HTTP/1.1 100 Continue\r\n\r\n");
        http_conn_dirty(conn);
    }
}

/* Until when the rest of a streamed body has to be there. */
static int64_t stream_deadline_ms(const struct http_exchange *ex) {
    const struct http_limits *limits = &ex->loop->server->limits;

    return ex->body_from_ms + limits->body_timeout_ms +
           (int64_t)(ex->body_bytes / (uint64_t)limits->stream_rate_min * 1000);
}

/* A body that waits for us has time; what it waited is added to what it has. */
static void stream_pause(struct http_conn *conn, struct http_exchange *ex) {
    if (ex->body_paused || conn->later) {
        if (ex->paused_ms == 0)
            ex->paused_ms = now_ms(conn);
        conn->read_deadline_ms = 0;
    } else if (ex->paused_ms != 0) {
        ex->body_from_ms += now_ms(conn) - ex->paused_ms;
        ex->paused_ms = 0;
        conn->read_deadline_ms = stream_deadline_ms(ex);
    }
}

/* What a connection makes us hold already: bodies at work, answers it has not taken. */
static bool conn_is_full(const struct http_conn *conn) {
    const struct http_limits *limits = &conn->loop->server->limits;
    size_t held = 0;

    if (conn->count >= limits->pipeline_max)
        return true;
    for (const struct http_exchange *ex = conn->first; ex; ex = ex->next)
        held += ex->out.len - ex->sent + ex->queued.len + ex->message.body.len;
    return held > limits->stream_bytes_max;
}

static void conn_done(struct http_conn *conn, struct http_exchange *ex) {
    struct http_server *server = conn->loop->server;

    conn->reading = NULL;
    conn->read_deadline_ms = 0;
    ex->received = true;
    if (!ex->message.keep_alive)
        conn->no_more = true;
    if (ex->sink_open) {
        ex->sink_open = false;
        if (!ex->ended)
            ex->sink.end(ex, true, ex->sink.ctx);
    } else if (!ex->began) {
        ex->handed = true;
        server->options.handle(ex, server->options.ctx);
    } else {
        http_conn_dirty(conn);
    }
    if (ex->close)
        conn->no_more = true;
}

/* The first byte of another request. */
static bool conn_begin(struct http_conn *conn) {
    struct http_exchange *ex = http_exchange_take(conn->loop, conn);

    if (!ex) {
        http_conn_close(conn);
        return false;
    }
    http_parser_begin(&conn->parser, &ex->message);
    if (conn->last)
        conn->last->next = ex;
    else
        conn->first = ex;
    conn->last = ex;
    conn->count++;
    conn->reading = ex;
    conn->idle = false;
    conn->read_deadline_ms = now_ms(conn) + conn->loop->server->limits.header_timeout_ms;
    return true;
}

void http_conn_feed(struct http_conn *conn, struct str in) {
    struct http_exchange *ex;

    conn->feeding = true;
    while (!conn->closing && !conn->no_more) {
        if (!conn->reading) {
            if (in.len == 0 || conn_is_full(conn))
                break;
            if (!conn_begin(conn))
                break;
        }
        ex = conn->reading;
        if (ex->body_paused)
            break;
        size_t had = in.len;
        enum http_step step = http_parse(&conn->parser, &in);
        if (ex->sink_open)
            ex->body_bytes += had - in.len;
        if (step == HTTP_STEP_MORE) {
            if (ex->sink_open)
                conn->read_deadline_ms = stream_deadline_ms(ex);
            if (in.len > 0 && !ex->body_paused)
                conn_later(conn);
            break;
        }
        if (step == HTTP_STEP_HEAD)
            conn_head(conn, ex);
        else if (step == HTTP_STEP_DONE)
            conn_done(conn, ex);
        else
            conn_refuse(conn, conn->parser.err, conn->parser.detail);
    }
    conn->feeding = false;
    if (conn->closing)
        return;
    if (in.len > 0 && !conn->no_more) {
        if (conn->held.len > 0) {
            memmove(conn->held.data, in.ptr, in.len);
            conn->held.len = in.len;
        } else {
            buf_add(&conn->held, in.ptr, in.len);
            if (!buf_ok(&conn->held)) {
                http_conn_close(conn);
                return;
            }
        }
    } else {
        buf_clear(&conn->held);
    }
    http_conn_settle(conn);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    struct http_conn *conn = handle->data;

    *buf = uv_buf_init(conn->loop->read_buf, (unsigned)READ_BYTES);
}

/* The client sends no more. What it asked for whole is still answered (a client may close its
 * half), save where somebody waits for news: that can only be told by the client being there. */
static void conn_eof(struct http_conn *conn) {
    bool waiting = false;

    for (struct http_exchange *ex = conn->first; ex; ex = ex->next)
        if (ex->gone && !ex->ended)
            waiting = true;
    if (conn->lingering || conn->count == 0 || waiting || conn->reading) {
        http_conn_close(conn);
        return;
    }
    conn->no_more = true;
    uv_read_stop((uv_stream_t *)&conn->tcp);
    conn->reading_on = false;
    conn->lingered = LINGER_BYTES; /* nothing more to read before the close */
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    struct http_conn *conn = stream->data;

    if (n == 0 || conn->closing)
        return;
    if (n == UV_EOF && (!conn->tls || conn->no_more || http_tls_ended(conn))) {
        conn_eof(conn);
    } else if (n < 0) {
        http_conn_close(conn);
    } else if (conn->no_more) {
        conn->lingered += (size_t)n;
        if (conn->lingered > LINGER_BYTES)
            http_conn_close(conn);
    } else if (conn->tls) {
        http_tls_read(conn, str_of(buf->base, (size_t)n));
    } else {
        http_conn_feed(conn, str_of(buf->base, (size_t)n));
    }
}

/* After every change: what is read next, and until when. */
void http_conn_settle(struct http_conn *conn) {
    struct http_server *server = conn->loop->server;
    bool want;

    if (conn->closing)
        return;
    if (conn->tls && http_tls_ended(conn) && conn->held.len == 0 && !conn->no_more) {
        conn_eof(conn);
        if (conn->closing)
            return;
    }
    if (conn->no_more && conn->count == 0 && !conn->lingering) {
        if (conn->lingered >= LINGER_BYTES) {
            http_conn_close(conn);
            return;
        }
        conn_linger(conn);
    }
    if (!conn->lingering && !conn->reading && conn->count == 0 && !conn->idle) {
        conn->idle = true;
        conn->read_deadline_ms =
            now_ms(conn) + (atomic_load_explicit(&server->draining, memory_order_relaxed)
                                ? 100
                                : server->limits.idle_timeout_ms);
    }
    if (conn->reading)
        stream_pause(conn, conn->reading);
    want = conn->no_more ? conn->lingered < LINGER_BYTES
                         : conn->held.len == 0 &&
                               !(conn->tls && http_tls_waits(conn)) &&
                               (conn->reading ? !conn->reading->body_paused
                                              : !conn_is_full(conn));
    if (want == conn->reading_on)
        return;
    conn->reading_on = want;
    if (!want)
        uv_read_stop((uv_stream_t *)&conn->tcp);
    else if (uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read) != 0)
        http_conn_close(conn);
}

/* --- opening and time --------------------------------------------------------------------- */

/* All places are taken: of those that wait for nothing, one of the address that has most goes,
 * where it has more than the newcomer's. */
static bool conn_displace(struct http_loop *loop, const struct http_address *newcomer) {
    uint32_t looked = 0, most = http_admit_open(newcomer);
    struct http_conn *victim = NULL;

    for (struct http_conn *conn = loop->conns; conn && looked < DISPLACE_LOOK; conn = conn->next) {
        looked++;
        if (conn->idle && !conn->lingering && http_admit_open(conn->from) > most) {
            most = http_admit_open(conn->from);
            victim = conn;
        }
    }
    if (!victim)
        return false;
    atomic_fetch_add_explicit(&loop->server->stats.displaced, 1, memory_order_relaxed);
    http_conn_close(victim);
    return true;
}

/* Between requests, with time to begin the first. */
void http_conn_idle(struct http_conn *conn) {
    conn->idle = true;
    conn->read_deadline_ms = now_ms(conn) + conn->loop->server->limits.header_timeout_ms;
}

void http_conn_open(struct http_loop *loop, const struct http_arrival *arrival) {
    const struct http_limits *limits = &loop->server->limits;
    struct http_conn *conn;

    if (atomic_load(&loop->server->connections) > limits->connections_max &&
        !conn_displace(loop, arrival->from)) {
        http_arrival_refuse(loop->server, arrival, "connections_max connections are open");
        return;
    }
    conn = mem_zalloc(sizeof *conn);
    if (!conn || uv_tcp_init(loop->uv, &conn->tcp) != 0) {
        mem_free(conn);
        http_arrival_refuse(loop->server, arrival, "there is no memory for a connection");
        return;
    }
    conn->loop = loop;
    conn->tcp.data = conn;
    memcpy(conn->address, arrival->address, sizeof conn->address);
    conn->from = arrival->from;
    http_parser_init(&conn->parser, limits);
    buf_init(&conn->held, PLAIN_BYTES + 1);
    conn->next = loop->conns;
    if (conn->next)
        conn->next->prev = conn;
    loop->conns = conn;
    loop->open++;
    http_conn_idle(conn);
    if (uv_tcp_open(&conn->tcp, arrival->fd) != 0) {
        close(arrival->fd);
        http_conn_close(conn);
        return;
    }
    uv_tcp_nodelay(&conn->tcp, 1);
    if (arrival->tls) {
        conn->read_deadline_ms = now_ms(conn) + limits->handshake_timeout_ms;
        if (!http_tls_open(conn, arrival->tls)) {
            http_conn_close(conn);
            return;
        }
    }
    http_conn_settle(conn);
}

static void conn_late(struct http_conn *conn) {
    if (conn->lingering || conn->idle || !conn->reading) {
        http_conn_close(conn);
        return;
    }
    conn_refuse(conn, ERR_TIMEOUT,
                conn->parser.at == HTTP_AT_HEAD ? "the header section did not arrive in time"
                                                : "the body did not arrive in time");
    http_conn_settle(conn);
}

void http_loop_sweep(struct http_loop *loop) {
    int64_t now = (int64_t)uv_now(loop->uv);
    struct http_conn *next;

    for (struct http_conn *conn = loop->conns; conn; conn = next) {
        next = conn->next;
        if (conn->write_deadline_ms && now >= conn->write_deadline_ms)
            conn_abort(conn);
        else if (conn->read_deadline_ms && now >= conn->read_deadline_ms)
            conn_late(conn);
        else if (conn->tls && conn->idle)
            http_tls_quiet(conn);
    }
}

void http_loop_drain(struct http_loop *loop) {
    int64_t soon = (int64_t)uv_now(loop->uv) + 100;

    for (struct http_conn *conn = loop->conns; conn; conn = conn->next)
        if (conn->idle && conn->read_deadline_ms > soon)
            conn->read_deadline_ms = soon;
}
