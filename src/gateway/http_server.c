/* http_server: the listening socket, the loops and their threads, start, drain and stop.
 *
 * One socket, accepted on loop 0, connections handed to the loops in turn. Not
 * SO_REUSEPORT: it spreads few connections unevenly, and a second hub started on the same port
 * by mistake would quietly take half of the calls. */
#include "gateway/http_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"

#define BACKLOG 1024
#define ACCEPT_BATCH 64

/* --- a loop's housekeeping ----------------------------------------------------------------- */

static void on_handle_closed(uv_handle_t *handle) {
    struct http_loop *loop = handle->data;

    if (--loop->handles == 0)
        loop->closed = true;
}

static void accept_off(struct http_loop *loop) {
    if (!loop->accepting)
        return;
    loop->accepting = false;
    uv_poll_stop(&loop->accept);
    uv_close((uv_handle_t *)&loop->accept, on_handle_closed);
    close(loop->server->listen_fd);
    loop->server->listen_fd = -1;
}

/* Told to stop, and nothing is left: let go of the loop's own handles. */
void http_loop_check_stopped(struct http_loop *loop) {
    if (!atomic_load(&loop->server->stopping) || loop->open > 0 || loop->owed > 0 ||
        loop->stopped)
        return;
    loop->stopped = true;
    accept_off(loop); /* the end of a connection may bring us here before the wake-up does */
    if (loop->server->options.loop_stop)
        loop->server->options.loop_stop(loop, loop->server->options.ctx);
    uv_close((uv_handle_t *)&loop->wake, on_handle_closed);
    uv_close((uv_handle_t *)&loop->sweep, on_handle_closed);
    uv_close((uv_handle_t *)&loop->check, on_handle_closed);
    uv_close((uv_handle_t *)&loop->prepare, on_handle_closed);
    uv_close((uv_handle_t *)&loop->accept_again, on_handle_closed);
}

static void on_check(uv_check_t *check) {
    struct http_loop *loop = check->data;

    http_loop_flush(loop);
    http_loop_check_stopped(loop);
}

static void on_prepare(uv_prepare_t *prepare) { http_loop_flush(prepare->data); }

static void on_sweep(uv_timer_t *timer) { http_loop_sweep(timer->data); }

/* Another thread wants something: sockets handed over, drain, stop. */
static void on_wake(uv_async_t *async) {
    struct http_loop *loop = async->data;
    struct http_server *server = loop->server;

    for (;;) {
        int fd = -1;

        pthread_mutex_lock(&loop->lock);
        if (loop->inbox_count > 0)
            fd = loop->inbox[--loop->inbox_count];
        pthread_mutex_unlock(&loop->lock);
        if (fd < 0)
            break;
        http_conn_open(loop, fd);
    }
    if (atomic_load(&server->draining) || atomic_load(&server->stopping)) {
        accept_off(loop);
        http_loop_drain(loop);
    }
    if (atomic_load(&server->stopping)) {
        while (loop->conns)
            http_conn_close(loop->conns);
        http_loop_check_stopped(loop);
    }
}

/* --- accepting ---------------------------------------------------------------------------- */

/* No room for another connection: said without reading what it wants. */
static void refuse_full(int fd) {
    static const char head[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
                               "Connection: close\r\nContent-Type: application/problem+json\r\n";
    char id[33], body[320], text[640];
    snprintf(id, sizeof id, "%016" PRIx64 "%016" PRIx64, rng_u64(&rng_system),
             rng_u64(&rng_system));
    int len = snprintf(body, sizeof body,
                       "{\"type\":\"https://penstock.org/problems/unavailable\",\"title\":\"The "
                       "hub can not take this now\",\"status\":503,\"detail\":\"connections_max "
                       "connections are open\",\"correlation_id\":\"%s\"}", id);
    must(len > 0 && (size_t)len < sizeof body);
    len = snprintf(text, sizeof text, "%sPenstock-Correlation-Id: %s\r\nContent-Length: %d\r\n\r\n%s",
                   head, id, len, body);
    must(len > 0 && (size_t)len < sizeof text);
    (void)!write(fd, text, (size_t)len);
    shutdown(fd, SHUT_WR);
    close(fd);
}

static void hand_over(struct http_server *server, int fd) {
    struct http_loop *best = NULL;
    bool taken = true;

    if (atomic_fetch_add(&server->connections, 1) >= server->limits.connections_max) {
        atomic_fetch_sub(&server->connections, 1);
        refuse_full(fd);
        return;
    }
    best = &server->loops[server->next_loop++ % server->loop_count];
    if (best->index == 0) {
        http_conn_open(best, fd);
        return;
    }
    pthread_mutex_lock(&best->lock);
    if (best->inbox_count == best->inbox_cap) {
        uint32_t cap = best->inbox_cap ? best->inbox_cap * 2 : 64;
        int *more = mem_resize(best->inbox, cap * sizeof *more);

        if (more) {
            best->inbox = more;
            best->inbox_cap = cap;
        }
        taken = more != NULL;
    }
    if (taken)
        best->inbox[best->inbox_count++] = fd;
    pthread_mutex_unlock(&best->lock);
    if (!taken) {
        close(fd);
        atomic_fetch_sub(&server->connections, 1);
        return;
    }
    uv_async_send(&best->wake);
}

static void on_acceptable(uv_poll_t *poll, int status, int events);

static void on_accept_again(uv_timer_t *timer) {
    struct http_loop *loop = timer->data;

    if (loop->accepting)
        uv_poll_start(&loop->accept, UV_READABLE, on_acceptable);
}

static void on_acceptable(uv_poll_t *poll, int status, int events) {
    struct http_loop *loop = poll->data;

    for (int i = 0; i < ACCEPT_BATCH && loop->accepting; i++) {
        int fd = accept4(loop->server->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            hand_over(loop->server, fd);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            log_line(LOG_WARN, "gateway", "can not accept", "error=%s",
                     log_quote(str_c(strerror(errno))));
            uv_poll_stop(&loop->accept); /* else it would spin until one is closed */
            uv_timer_start(&loop->accept_again, on_accept_again, 100, 0);
        }
        return;
    }
}

/* --- starting ----------------------------------------------------------------------------- */

static enum err server_listen(struct http_server *server, struct fault *fault) {
    const char *host = server->options.host ? server->options.host : "127.0.0.1";
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    struct sockaddr_storage bound;
    socklen_t len = sizeof bound;
    char port[8];
    int one = 1, fd, why;

    snprintf(port, sizeof port, "%u", server->options.port);
    why = getaddrinfo(host, port, &hints, &found);
    if (why != 0)
        return fault_set(fault, ERR_IO, "can not listen on %s: %s", host, gai_strerror(why));
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&bound, &len) != 0) {
        why = errno;
        freeaddrinfo(found);
        if (fd >= 0)
            close(fd);
        return fault_set(fault, ERR_IO, "can not listen on %s port %s: %s", host, port,
                         strerror(why));
    }
    freeaddrinfo(found);
    server->listen_fd = fd;
    server->port = ntohs(bound.ss_family == AF_INET6
                             ? ((struct sockaddr_in6 *)&bound)->sin6_port
                             : ((struct sockaddr_in *)&bound)->sin_port);
    return OK;
}

static int64_t sweep_interval_ms(const struct http_limits *l) {
    int64_t least = l->header_timeout_ms;

    if (l->body_timeout_ms < least)
        least = l->body_timeout_ms;
    if (l->idle_timeout_ms < least)
        least = l->idle_timeout_ms;
    if (l->write_timeout_ms < least)
        least = l->write_timeout_ms;
    return least / 8 < 20 ? 20 : least / 8 > 250 ? 250 : least / 8;
}

static enum err loop_setup(struct http_server *server, struct http_loop *loop, int index,
                           struct fault *fault) {
    loop->server = server;
    loop->index = index;
    pthread_mutex_init(&loop->lock, NULL);
    loop->read_buf = mem_alloc(READ_BYTES);
    loop->threaded = server->options.threads > 0;
    loop->uv = loop->threaded ? &loop->own : server->options.loop;
    if (!loop->read_buf || (loop->threaded && uv_loop_init(&loop->own) != 0))
        return fault_set(fault, ERR_NOMEM, "no memory for a loop");
    loop->wake.data = loop->sweep.data = loop->check.data = loop->prepare.data = loop;
    loop->accept.data = loop->accept_again.data = loop;
    if (uv_async_init(loop->uv, &loop->wake, on_wake) != 0)
        return fault_set(fault, ERR_IO, "no file descriptor left for a loop");
    uv_timer_init(loop->uv, &loop->sweep);
    uv_timer_init(loop->uv, &loop->accept_again);
    uv_check_init(loop->uv, &loop->check);
    uv_prepare_init(loop->uv, &loop->prepare);
    uv_check_start(&loop->check, on_check);
    uv_prepare_start(&loop->prepare, on_prepare);
    loop->sweep_ms = sweep_interval_ms(&server->limits);
    uv_timer_start(&loop->sweep, on_sweep, (uint64_t)loop->sweep_ms, (uint64_t)loop->sweep_ms);
    loop->handles = 5;
    loop->started = true;
    if (server->options.loop_start) {
        enum err err = server->options.loop_start(loop, server->options.ctx, fault);

        if (err != OK)
            return err;
    }
    if (index == 0) {
        if (uv_poll_init_socket(loop->uv, &loop->accept, server->listen_fd) != 0)
            return fault_set(fault, ERR_IO, "can not watch the listening socket");
        loop->accepting = true;
        loop->handles++;
        uv_poll_start(&loop->accept, UV_READABLE, on_acceptable);
    }
    return OK;
}

static void *loop_run(void *arg) {
    pthread_setname_np(pthread_self(), "loop");
    struct http_loop *loop = arg;

    uv_run(loop->uv, UV_RUN_DEFAULT);
    return NULL;
}

static void limits_default(struct http_limits *l) {
#define OR(member, value) l->member = l->member ? l->member : (value)
    OR(header_bytes_max, 16384);
    OR(target_bytes_max, 8192);
    OR(header_count_max, 100);
    OR(body_bytes_max, (size_t)8 << 20);
    OR(arena_bytes_max, (size_t)64 << 20);
    OR(stream_bytes_max, (size_t)1 << 20);
    OR(connections_max, 10000);
    OR(pipeline_max, 32);
    OR(header_timeout_ms, 10000);
    OR(body_timeout_ms, 30000);
    OR(idle_timeout_ms, 75000);
    OR(write_timeout_ms, 30000);
#undef OR
}

enum err http_server_start(const struct http_options *options, struct http_server **out,
                           struct fault *fault) {
    struct http_server *server = mem_zalloc(sizeof *server);
    enum err err;

    *out = NULL;
    if (!server)
        return fault_set(fault, ERR_NOMEM, "no memory for a server");
    signal(SIGPIPE, SIG_IGN); /* a client that goes away is an error of write, not our end */
    server->options = *options;
    server->limits = options->limits;
    limits_default(&server->limits);
    server->clock = options->clock ? options->clock : &clock_system;
    server->loop_count = options->threads > 0 ? options->threads : 1;
    server->loops = mem_zalloc(sizeof *server->loops * (size_t)server->loop_count);
    server->listen_fd = -1;
    err = server->loops ? server_listen(server, fault)
                        : fault_set(fault, ERR_NOMEM, "no memory for a server");
    /* Loop 0 accepts: it is set up last, when all the others can take over connections. */
    for (int i = server->loop_count - 1; err == OK && i >= 0; i--)
        err = loop_setup(server, &server->loops[i], i, fault);
    *out = server; /* before any thread can be asked something about it */
    for (int i = server->loop_count - 1; err == OK && options->threads > 0 && i >= 0; i--)
        if (pthread_create(&server->loops[i].thread, NULL, loop_run, &server->loops[i]) != 0)
            must(!"a thread can be made"); /* at start, before any work was taken */
    if (err != OK) {
        server->options.threads = -server->options.threads; /* none runs */
        *out = NULL;
        http_server_stop(server);
        return err;
    }
    return OK;
}

uint16_t http_server_port(const struct http_server *server) { return server->port; }

uint32_t http_server_connections(const struct http_server *server) {
    return atomic_load(&((struct http_server *)(uintptr_t)server)->connections);
}

uv_loop_t *http_loop_uv(struct http_loop *loop) { return loop->uv; }
int http_loop_index(const struct http_loop *loop) { return loop->index; }
void http_loop_data_set(struct http_loop *loop, void *data) { loop->data = data; }
void *http_loop_data(const struct http_loop *loop) { return loop->data; }

/* --- ending ------------------------------------------------------------------------------- */

void http_server_drain(struct http_server *server) {
    atomic_store(&server->draining, true);
    for (int i = 0; i < server->loop_count; i++)
        uv_async_send(&server->loops[i].wake);
}

static void loop_free(struct http_loop *loop) {
    if (loop->threaded && loop->started)
        must(uv_loop_close(&loop->own) == 0);
    for (uint32_t i = 0; i < loop->inbox_count; i++)
        close(loop->inbox[i]);
    while (loop->spare) {
        struct http_exchange *ex = loop->spare;

        loop->spare = ex->next;
        http_exchange_free(ex);
    }
    mem_free(loop->inbox);
    mem_free(loop->read_buf);
    pthread_mutex_destroy(&loop->lock);
}

void http_server_stop(struct http_server *server) {
    if (!server)
        return;
    atomic_store(&server->stopping, true);
    for (int i = 0; server->loops && i < server->loop_count; i++)
        if (server->loops[i].started)
            uv_async_send(&server->loops[i].wake);
    for (int i = 0; server->loops && i < server->loop_count; i++) {
        struct http_loop *loop = &server->loops[i];

        if (!loop->started)
            continue;
        if (server->options.threads > 0)
            pthread_join(loop->thread, NULL);
        else
            while (!loop->closed && uv_run(loop->uv, UV_RUN_ONCE)) {
            }
        loop_free(loop);
    }
    if (server->listen_fd >= 0)
        close(server->listen_fd);
    mem_free(server->loops);
    mem_free(server);
}
