/* http_server: the listening sockets, the loops and their threads, start, drain and stop.
 *
 * Accepted is on loop 0, connections are handed to the loops in turn. Not
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
#define ACCEPT_AGAIN_MS 100
#define ARRIVALS_MAX 64 /* beyond connections_max, while room is made for them */
#define CIPHER_BYTES_MAX (WRITE_SLICE_BYTES + ((size_t)128 << 10))

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
    for (uint32_t i = 0; i < loop->server->listener_count; i++) {
        struct http_listener *listener = &loop->server->listeners[i];

        if (!listener->watched)
            continue;
        uv_poll_stop(&listener->poll);
        uv_close((uv_handle_t *)&listener->poll, on_handle_closed);
        close(listener->fd);
        listener->fd = -1;
    }
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
    uv_close((uv_handle_t *)&loop->later_timer, on_handle_closed);
    uv_close((uv_handle_t *)&loop->spin, on_handle_closed);
}

static void on_check(uv_check_t *check) {
    struct http_loop *loop = check->data;

    http_loop_shake(loop);
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
        struct http_arrival arrival = {.fd = -1};

        pthread_mutex_lock(&loop->lock);
        if (loop->inbox_count > 0)
            arrival = loop->inbox[--loop->inbox_count];
        pthread_mutex_unlock(&loop->lock);
        if (arrival.fd < 0)
            break;
        http_conn_open(loop, &arrival);
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

size_t http_refusal(char text[HTTP_REFUSAL_BYTES], enum err err, const char *detail) {
    const struct err_info *info = err_info(err);
    char id[33], body[400];

    snprintf(id, sizeof id, "%016" PRIx64 "%016" PRIx64, rng_u64(&rng_system),
             rng_u64(&rng_system));
    int len = snprintf(body, sizeof body,
                       "{\"type\":\"https://penstock.org/problems/%s\",\"title\":\"%s\","
                       "\"status\":%d,\"detail\":\"%s\",\"correlation_id\":\"%s\"}",
                       info->slug, info->title, info->status, detail, id);
    must(len > 0 && (size_t)len < sizeof body);
    len = snprintf(text, HTTP_REFUSAL_BYTES,
                   "HTTP/1.1 %d %s\r\n%sConnection: close\r\n"
                   "Content-Type: application/problem+json\r\nPenstock-Correlation-Id: %s\r\n"
                   "Content-Length: %d\r\n\r\n%s",
                   info->status, http_reason(info->status),
                   info->status == 503 ? "Retry-After: 1\r\n" : "", id, len, body);
    must(len > 0 && (size_t)len < HTTP_REFUSAL_BYTES);
    return (size_t)len;
}

/* The address is counted already, or never was. */
void http_arrival_refuse(struct http_server *server, const struct http_arrival *arrival,
                         const char *detail) {
    char text[HTTP_REFUSAL_BYTES];

    if (!arrival->tls)
        (void)!write(arrival->fd, text, http_refusal(text, ERR_UNAVAILABLE, detail));
    shutdown(arrival->fd, SHUT_WR);
    close(arrival->fd);
    if (arrival->from) {
        atomic_fetch_add_explicit(&server->stats.refused_full, 1, memory_order_relaxed);
        http_admit_leave(server->admit, arrival->from);
        atomic_fetch_sub(&server->connections, 1);
    } else {
        atomic_fetch_add_explicit(&server->stats.refused_address, 1, memory_order_relaxed);
    }
}

static void hand_over(struct http_server *server, struct http_arrival *arrival) {
    struct http_loop *best = NULL;
    bool taken;

    arrival->from = http_admit_enter(server->admit, arrival->address);
    if (!arrival->from) {
        http_arrival_refuse(server, arrival,
                            "connections_per_address_max connections of your address are open");
        return;
    }
    /* A loop may close an idle connection to make room for this one: so many on the way. */
    if (atomic_fetch_add(&server->connections, 1) >= server->limits.connections_max + ARRIVALS_MAX) {
        http_arrival_refuse(server, arrival, "connections_max connections are open");
        return;
    }
    atomic_fetch_add_explicit(&server->stats.accepted, 1, memory_order_relaxed);
    best = &server->loops[server->next_loop++ % server->loop_count];
    if (best->index == 0) {
        http_conn_open(best, arrival);
        return;
    }
    pthread_mutex_lock(&best->lock);
    taken = MEM_ROOM(best->inbox, best->inbox_count, best->inbox_cap, 64);
    if (taken)
        best->inbox[best->inbox_count++] = *arrival;
    pthread_mutex_unlock(&best->lock);
    if (taken)
        uv_async_send(&best->wake);
    else
        http_arrival_refuse(server, arrival, "there is no memory for a connection");
}

/* An IPv4 address is kept mapped into IPv6. */
static void address_keep(const struct sockaddr_storage *from, uint8_t address[16]) {
    if (from->ss_family == AF_INET6) {
        memcpy(address, &((const struct sockaddr_in6 *)from)->sin6_addr, 16);
    } else if (from->ss_family == AF_INET) {
        address[10] = address[11] = 0xff;
        memcpy(address + 12, &((const struct sockaddr_in *)from)->sin_addr, 4);
    }
}

static void on_acceptable(uv_poll_t *poll, int status, int events);

static bool accept_on(struct http_server *server) {
    bool on = true;

    for (uint32_t i = 0; i < server->listener_count; i++)
        on = uv_poll_start(&server->listeners[i].poll, UV_READABLE, on_acceptable) == 0 && on;
    return on;
}

static void on_accept_again(uv_timer_t *timer) {
    struct http_loop *loop = timer->data;

    if (loop->accepting && !accept_on(loop->server))
        uv_timer_start(timer, on_accept_again, ACCEPT_AGAIN_MS, 0);
}

/* No descriptor or memory for who waits: they stay in the kernel's queue, and we come back by and by;
 * to be told of them at once, again and again, would only keep the loop from its connections. */
static void accept_pause(struct http_server *server, int why) {
    struct http_loop *loop = &server->loops[0];

    if (!loop->accept_failing)
        log_line(LOG_WARN, "gateway", "can not accept connections, tries again", "error=%s",
                 log_quote(str_c(strerror(why))));
    loop->accept_failing = true;
    for (uint32_t i = 0; i < server->listener_count; i++)
        uv_poll_stop(&server->listeners[i].poll);
    uv_timer_start(&loop->accept_again, on_accept_again, ACCEPT_AGAIN_MS, 0);
}

/* Errors of the one connection that was to be accepted, which is gone then (accept(2)): the next. */
static bool accept_passes(int why) {
    static const int of_one[] = {EINTR, ECONNABORTED, EPERM, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET,
                                 EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH};

    for (size_t i = 0; i < sizeof of_one / sizeof *of_one; i++)
        if (why == of_one[i])
            return true;
    return false;
}

static void on_acceptable(uv_poll_t *poll, int status, int events) {
    struct http_listener *listener = poll->data;
    struct http_loop *loop = &listener->server->loops[0];

    for (int i = 0; i < ACCEPT_BATCH && loop->accepting; i++) {
        struct http_arrival arrival = {.tls = listener->tls};
        struct sockaddr_storage from = {0};
        socklen_t len = sizeof from;

        arrival.fd = accept4(listener->fd, (struct sockaddr *)&from, &len,
                             SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (arrival.fd < 0 && accept_passes(errno))
            continue;
        if (arrival.fd < 0) {
            if (errno != EAGAIN && errno != EWOULDBLOCK)
                accept_pause(listener->server, errno);
            return;
        }
        loop->accept_failing = false;
        address_keep(&from, arrival.address);
        hand_over(listener->server, &arrival);
    }
}

/* --- starting ----------------------------------------------------------------------------- */

static enum err listener_open(struct http_listener *listener, const struct http_listen *wanted,
                              struct fault *fault) {
    const char *host = wanted->host ? wanted->host : "127.0.0.1";
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    struct sockaddr_storage bound;
    socklen_t len = sizeof bound;
    char port[8];
    int one = 1, unsent = (int)WRITE_SLICE_BYTES, fd, why;

    snprintf(port, sizeof port, "%u", wanted->port);
    why = getaddrinfo(host, port, &hints, &found);
    if (why != 0)
        return fault_set(fault, ERR_IO, "can not listen on %s: %s", host, gai_strerror(why));
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd >= 0) /* inherited: the kernel holds no more than this for a client that does not read */
        setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
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
    listener->fd = fd;
    listener->tls = wanted->tls;
    listener->port = ntohs(bound.ss_family == AF_INET6
                               ? ((struct sockaddr_in6 *)&bound)->sin6_port
                               : ((struct sockaddr_in *)&bound)->sin_port);
    return OK;
}

static enum err server_listen(struct http_server *server, struct fault *fault) {
    const struct http_options *options = &server->options;
    const struct http_listen plain = {.host = options->host, .port = options->port};
    enum err err = OK;

    must(options->listen_count <= HTTP_LISTENERS_MAX);
    server->listener_count = options->listen_count ? options->listen_count : 1;
    for (uint32_t i = 0; i < server->listener_count; i++) {
        server->listeners[i].server = server;
        server->listeners[i].poll.data = &server->listeners[i];
        server->listeners[i].fd = -1;
    }
    for (uint32_t i = 0; i < server->listener_count && err == OK; i++)
        err = listener_open(&server->listeners[i],
                            options->listen_count ? &options->listen[i] : &plain, fault);
    return err;
}

static int64_t sweep_interval_ms(const struct http_limits *l) {
    int64_t least = l->header_timeout_ms;

    if (l->body_timeout_ms < least)
        least = l->body_timeout_ms;
    if (l->idle_timeout_ms < least)
        least = l->idle_timeout_ms;
    if (l->write_timeout_ms < least)
        least = l->write_timeout_ms;
    if (l->handshake_timeout_ms < least)
        least = l->handshake_timeout_ms;
    return least / 8 < 20 ? 20 : least / 8 > 250 ? 250 : least / 8;
}

static bool server_secure(const struct http_server *server) {
    for (uint32_t i = 0; i < server->listener_count; i++)
        if (server->listeners[i].tls)
            return true;
    return false;
}

static enum err loop_accepts(struct http_server *server, struct http_loop *loop,
                             struct fault *fault) {
    loop->accepting = true;
    for (uint32_t i = 0; i < server->listener_count; i++) {
        struct http_listener *listener = &server->listeners[i];

        if (uv_poll_init_socket(loop->uv, &listener->poll, listener->fd) != 0)
            return fault_set(fault, ERR_IO, "a listening socket can not be watched");
        listener->watched = true;
        loop->handles++;
    }
    return accept_on(server) ? OK : fault_set(fault, ERR_IO, "a listening socket can not be watched");
}

static enum err loop_setup(struct http_server *server, struct http_loop *loop, int index,
                           struct fault *fault) {
    loop->server = server;
    loop->index = index;
    pthread_mutex_init(&loop->lock, NULL);
    loop->read_buf = mem_alloc(READ_BYTES);
    loop->plain_buf = server_secure(server) ? mem_alloc(PLAIN_BYTES) : NULL;
    buf_init(&loop->cipher, CIPHER_BYTES_MAX);
    loop->shaking_max = server->limits.handshakes_max / (uint32_t)server->loop_count;
    if (loop->shaking_max == 0)
        loop->shaking_max = 1;
    buf_init(&loop->packed, 0);
    loop->uv = server->options.threads > 0 ? &loop->own : server->options.loop;
    if (!loop->read_buf || (server_secure(server) && !loop->plain_buf))
        return fault_set(fault, ERR_NOMEM, "no memory for a loop");
    loop->threaded = server->options.threads > 0 && uv_loop_init(&loop->own) == 0;
    if (server->options.threads > 0 && !loop->threaded)
        return fault_set(fault, ERR_IO, "no memory or file descriptor left for a loop");
    loop->wake.data = loop->sweep.data = loop->check.data = loop->prepare.data = loop;
    loop->spin.data = loop->accept_again.data = loop->later_timer.data = loop;
    if (uv_async_init(loop->uv, &loop->wake, on_wake) != 0)
        return fault_set(fault, ERR_IO, "no file descriptor left for a loop");
    uv_timer_init(loop->uv, &loop->sweep);
    uv_timer_init(loop->uv, &loop->accept_again);
    uv_timer_init(loop->uv, &loop->later_timer);
    uv_idle_init(loop->uv, &loop->spin);
    uv_check_init(loop->uv, &loop->check);
    uv_prepare_init(loop->uv, &loop->prepare);
    uv_check_start(&loop->check, on_check);
    uv_prepare_start(&loop->prepare, on_prepare);
    loop->sweep_ms = sweep_interval_ms(&server->limits);
    uv_timer_start(&loop->sweep, on_sweep, (uint64_t)loop->sweep_ms, (uint64_t)loop->sweep_ms);
    loop->handles = 7;
    loop->started = true;
    if (server->options.loop_start) {
        enum err err = server->options.loop_start(loop, server->options.ctx, fault);

        if (err != OK)
            return err;
    }
    return index == 0 ? loop_accepts(server, loop, fault) : OK;
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
    OR(bodies_bytes_max, (size_t)512 << 20);
    OR(stream_bytes_max, (size_t)1 << 20);
    OR(connections_max, 10000);
    OR(connections_per_address_max, l->connections_max + ARRIVALS_MAX);
    OR(handshakes_max, 1000);
    OR(pipeline_max, 32);
    OR(gzip_ratio_max, 200);
    OR(header_timeout_ms, 10000);
    OR(body_timeout_ms, 30000);
    OR(idle_timeout_ms, 75000);
    OR(write_timeout_ms, 30000);
    OR(stream_rate_min, 1024);
    OR(handshake_timeout_ms, 10000);
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
    server->admit = http_admit_create(server->limits.connections_per_address_max);
    err = server->loops && server->admit
              ? server_listen(server, fault)
              : fault_set(fault, ERR_NOMEM, "no memory for a server");
    /* Loop 0 accepts: it is set up last, when all the others can take over connections. */
    for (int i = server->loop_count - 1; err == OK && i >= 0; i--)
        err = loop_setup(server, &server->loops[i], i, fault);
    *out = server; /* before any thread can be asked something about it */
    for (int i = server->loop_count - 1; err == OK && options->threads > 0 && i >= 0; i--) {
        struct http_loop *loop = &server->loops[i];

        loop->running = pthread_create(&loop->thread, NULL, loop_run, loop) == 0;
        if (!loop->running)
            err = fault_set(fault, ERR_IO, "no thread for a loop");
    }
    if (err != OK) {
        *out = NULL;
        http_server_stop(server);
        return err;
    }
    return OK;
}

uint16_t http_server_port(const struct http_server *server) {
    return server->listeners[0].port;
}
uint16_t http_server_port_of(const struct http_server *server, uint32_t listener) {
    must(listener < server->listener_count);
    return server->listeners[listener].port;
}
const struct http_stats *http_server_stats(const struct http_server *server) {
    return &server->stats;
}

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
    if (loop->threaded)
        must(uv_loop_close(&loop->own) == 0);
    for (uint32_t i = 0; i < loop->inbox_count; i++)
        http_arrival_refuse(loop->server, &loop->inbox[i], "the hub is going down");
    while (loop->spare) {
        struct http_exchange *ex = loop->spare;

        loop->spare = ex->next;
        http_exchange_free(ex);
    }
    mem_free(loop->inbox);
    mem_free(loop->read_buf);
    mem_free(loop->plain_buf);
    buf_free(&loop->cipher);
    buf_free(&loop->packed);
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

        if (!loop->server)
            continue; /* the start did not come to it */
        if (loop->running)
            pthread_join(loop->thread, NULL);
        else if (loop->started)
            while (!loop->closed && uv_run(loop->uv, UV_RUN_ONCE)) {
            }
        loop_free(loop);
    }
    for (uint32_t i = 0; i < server->listener_count; i++)
        if (server->listeners[i].fd >= 0)
            close(server->listeners[i].fd);
    http_admit_destroy(server->admit);
    mem_free(server->loops);
    mem_free(server);
}
