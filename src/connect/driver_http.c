/* driver_http: outgoing HTTP. Owns the multi handle, its easy handles (kept for reuse in a free
 * list), one poll handle per socket (by descriptor) and one timer on the caller's loop.
 *
 * What always holds: a changing request goes on the wire at most once per call. libcurl by
 * itself sends a request again when a kept connection dies before the first byte of an answer,
 * although the server may have done the work; prereq_cb runs before every sending and refuses
 * the second one, so that the caller hears NET_RESET with `sent`. */
#include "connect/driver_http.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/inet.h"
#include "base/mem.h"

#define TEXT_BYTES_MAX ((size_t)65536) /* of a URL, of a header */

struct net_call {
    struct driver *driver;
    struct net_call *next, *prev; /* under way, or next free */
    CURL *easy;
    struct curl_slist *headers;
    net_done *done;
    void *ctx;
    struct buf url, text; /* C strings that libcurl wants */
    struct buf body;
    struct buf header_bytes;
    struct net_header answer_headers[NET_ANSWER_HEADERS_MAX];
    /* offsets in header_bytes: of the name, of the value behind it, of its end */
    uint32_t header_names[NET_ANSWER_HEADERS_MAX];
    uint32_t header_values[NET_ANSWER_HEADERS_MAX];
    uint32_t header_ends[NET_ANSWER_HEADERS_MAX];
    uint32_t header_count;
    int64_t started_us;
    uint32_t sendings; /* times the request was about to go on a wire */
    bool ready;        /* the handle is set up: handle_setup */
    bool safe;         /* GET, HEAD: may be sent again */
    bool too_large;
    bool broken;  /* its socket can not be waited for: ended by driver_drain */
    bool guarded; /* public addresses alone */
    bool barred;  /* it was another one */
    char error[CURL_ERROR_SIZE];
};

struct sock {
    uv_poll_t poll;
    struct driver *driver;
    curl_socket_t fd;
    int events; /* that are waited for */
    bool ours;  /* opened by sock_opened */
    bool idle;  /* libcurl does not wait for it now: it is left as it is, since the next call on the
                   connection would only have to begin again */
};

struct driver {
    struct net net;
    uv_loop_t *loop;
    struct clock *clock;
    CURLM *multi;
    struct buf ca_file; /* empty: the system's */
    uv_timer_t timer;
    struct sock **socks; /* by descriptor */
    uint32_t sock_cap;
    struct net_call *under_way, *free;
    uint32_t count, calls_max;
    uint32_t handles; /* libuv handles not closed yet */
    bool closing;
    bool proxied; /* the environment names a proxy */
    bool in_curl; /* inside a call of libcurl: endings are read afterwards */
    bool broken;  /* there is such a call */
    bool spoilt;  /* memory ran out inside multi: it may not be asked again */
    long connections_max;
};

static void driver_drain(struct driver *driver);

static void handle_closed(struct driver *driver) {
    if (--driver->handles == 0 && driver->closing) {
        buf_free(&driver->ca_file);
        mem_free(driver->socks);
        mem_free(driver);
    }
}

static void timer_closed(uv_handle_t *handle) { handle_closed(handle->data); }

static void sock_closed(uv_handle_t *handle) {
    struct sock *sock = handle->data;
    struct driver *driver = sock->driver;
    mem_free(sock);
    handle_closed(driver);
}

static void driver_act(struct driver *driver, curl_socket_t fd, int flags) {
    int running;
    driver->in_curl = true;
    CURLMcode code = curl_multi_socket_action(driver->multi, fd, flags, &running);
    driver->in_curl = false;
    driver->spoilt = driver->spoilt || code != CURLM_OK;
    driver_drain(driver);
}

static void sock_ready(uv_poll_t *poll, int status, int events) {
    struct sock *sock = poll->data;
    if (sock->idle) { /* closed by the other side, most likely: libcurl finds out when it wants it */
        uv_poll_stop(&sock->poll);
        sock->events = 0;
        return;
    }
    int flags = status < 0 ? CURL_CSELECT_ERR : 0;
    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    driver_act(sock->driver, sock->fd, flags);
}

static void timer_due(uv_timer_t *timer) { driver_act(timer->data, CURL_SOCKET_TIMEOUT, 0); }

static int timer_cb(CURLM *multi, long timeout_ms, void *ctx) {
    struct driver *driver = ctx;
    if (timeout_ms < 0)
        uv_timer_stop(&driver->timer);
    else /* 0 too goes through the loop: libcurl must not be entered from within */
        uv_timer_start(&driver->timer, timer_due, (uint64_t)timeout_ms, 0);
    return 0;
}

static struct sock *sock_at(const struct driver *driver, curl_socket_t fd) {
    return fd >= 0 && (uint32_t)fd < driver->sock_cap ? driver->socks[fd] : NULL;
}

static struct sock *sock_make(struct driver *driver, curl_socket_t fd) {
    if ((uint32_t)fd >= driver->sock_cap) {
        uint32_t cap = driver->sock_cap ? driver->sock_cap : 64;
        while (cap <= (uint32_t)fd)
            cap *= 2;
        struct sock **more = mem_resize(driver->socks, cap * sizeof *more);
        if (more == NULL)
            return NULL;
        memset(more + driver->sock_cap, 0, (cap - driver->sock_cap) * sizeof *more);
        driver->socks = more;
        driver->sock_cap = cap;
    }
    struct sock *sock = mem_zalloc(sizeof *sock);
    if (sock == NULL || uv_poll_init_socket(driver->loop, &sock->poll, fd) != 0) {
        mem_free(sock);
        return NULL;
    }
    sock->driver = driver;
    sock->fd = fd;
    sock->poll.data = sock;
    driver->handles++;
    driver->socks[fd] = sock;
    return sock;
}

static void sock_drop(struct sock *sock) {
    if (sock == NULL)
        return;
    sock->driver->socks[sock->fd] = NULL;
    uv_ref((uv_handle_t *)&sock->poll); /* until it is closed */
    uv_close((uv_handle_t *)&sock->poll, sock_closed);
}

/* One call can not go on. libcurl is not told: an error of a callback would end all of them, and those that
 * nothing happens to would never hear of it. */
static int call_break(CURL *easy) {
    struct net_call *call = NULL;
    if (curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&call) != CURLE_OK || call == NULL)
        return -1;
    call->broken = call->driver->broken = true;
    return 0;
}

static int socket_cb(CURL *easy, curl_socket_t fd, int what, void *ctx, void *sock_ctx) {
    struct driver *driver = ctx;
    struct sock *sock = sock_at(driver, fd);
    if (what == CURL_POLL_REMOVE) {
        if (sock == NULL)
            return 0;
        if (sock->ours && sock->events == UV_READABLE) {
            sock->idle = true; /* the next call on it will wait for the same */
            uv_unref((uv_handle_t *)&sock->poll); /* the loop has nothing to wait for in it */
        } else {
            sock_drop(sock);
        }
        return 0;
    }
    if (sock == NULL && (sock = sock_make(driver, fd)) == NULL)
        return call_break(easy);
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    sock->idle = false;
    uv_ref((uv_handle_t *)&sock->poll);
    if (sock->events == events)
        return 0;
    bool waits = uv_poll_start(&sock->poll, events, sock_ready) == 0;
    sock->events = waits ? events : 0;
    return waits ? 0 : call_break(easy);
}

static bool barred(struct net_call *call, const struct curl_sockaddr *to) {
    struct inet_address address = {.bytes = {[10] = 0xff, [11] = 0xff}};
    if (to->family == AF_INET)
        memcpy(address.bytes + 12, &((const struct sockaddr_in *)(const void *)&to->addr)->sin_addr, 4);
    else if (to->family == AF_INET6)
        memcpy(address.bytes, &((const struct sockaddr_in6 *)(const void *)&to->addr)->sin6_addr, 16);
    call->barred = call->guarded && !inet_public(&address);
    return call->barred;
}

/* A socket of a connection, of which we hear when it is closed: sock_gone. The others (of libcurl's
 * resolver) come and go unseen. */
static curl_socket_t sock_opened(void *ctx, curlsocktype purpose, struct curl_sockaddr *address) {
    struct net_call *call = ctx;
    struct driver *driver = call->driver;
    if (barred(call, address)) /* who may not go there does not even knock */
        return CURL_SOCKET_BAD;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    sock_drop(sock_at(driver, fd));
    struct sock *sock = sock_make(driver, fd);
    if (sock == NULL) {
        close(fd);
        return CURL_SOCKET_BAD;
    }
    sock->ours = true;
    return fd;
}

static int sock_gone(void *ctx, curl_socket_t fd) {
    sock_drop(sock_at(ctx, fd));
    return close(fd);
}

/* --- one call ------------------------------------------------------------------------- */

static int prereq_cb(void *ctx, char *remote, char *local, int remote_port, int local_port) {
    struct net_call *call = ctx;
    struct inet_address address;
    /* a kept connection may be somebody's who may go there */
    call->barred = call->guarded && !(inet_parse(str_c(remote), &address) && inet_public(&address));
    if (call->barred || (call->sendings > 0 && !call->safe))
        return CURL_PREREQFUNC_ABORT;
    call->sendings++;
    return CURL_PREREQFUNC_OK;
}

static size_t body_cb(char *data, size_t size, size_t count, void *ctx) {
    struct net_call *call = ctx;
    buf_add(&call->body, data, size * count);
    if (buf_ok(&call->body))
        return size * count;
    call->too_large = true;
    return 0;
}

static size_t header_cb(char *data, size_t size, size_t count, void *ctx) {
    struct net_call *call = ctx;
    struct str line = str_of(data, size * count);
    while (line.len > 0 && (line.ptr[line.len - 1] == '\n' || line.ptr[line.len - 1] == '\r'))
        line.len--;
    if (str_starts(line, STR("HTTP/"))) { /* a later answer (after 100) replaces an earlier */
        call->header_count = 0;
        buf_clear(&call->header_bytes);
        return size * count;
    }
    struct str value = line, name = str_cut(&value, ':');
    if (value.ptr == NULL)
        return size * count;
    value = str_trim(value);
    if (call->header_count == NET_ANSWER_HEADERS_MAX) {
        call->too_large = true;
        return 0;
    }
    uint32_t i = call->header_count;
    call->header_names[i] = (uint32_t)call->header_bytes.len;
    buf_str_add(&call->header_bytes, name);
    call->header_values[i] = (uint32_t)call->header_bytes.len;
    buf_str_add(&call->header_bytes, value);
    call->header_ends[i] = (uint32_t)call->header_bytes.len;
    if (!buf_ok(&call->header_bytes)) {
        call->too_large = true;
        return 0;
    }
    call->header_count++;
    return size * count;
}

static void call_free(struct net_call *call) {
    if (call->easy != NULL)
        curl_easy_cleanup(call->easy);
    curl_slist_free_all(call->headers);
    buf_free(&call->url);
    buf_free(&call->text);
    buf_free(&call->body);
    buf_free(&call->header_bytes);
    mem_free(call);
}

static struct net_call *call_take(struct driver *driver) {
    struct net_call *call = driver->free;
    if (call != NULL) {
        driver->free = call->next;
        call->next = NULL;
        return call;
    }
    call = mem_zalloc(sizeof *call);
    if (call == NULL)
        return NULL;
    call->driver = driver;
    buf_init(&call->url, TEXT_BYTES_MAX);
    buf_init(&call->text, TEXT_BYTES_MAX);
    buf_init(&call->body, NET_ANSWER_BYTES_MAX);
    buf_init(&call->header_bytes, NET_ANSWER_HEADER_BYTES_MAX);
    call->easy = curl_easy_init();
    if (call->easy == NULL) {
        call_free(call);
        return NULL;
    }
    return call;
}

static void call_unlink(struct net_call *call) {
    struct driver *driver = call->driver;
    if (call->prev != NULL)
        call->prev->next = call->next;
    else
        driver->under_way = call->next;
    if (call->next != NULL)
        call->next->prev = call->prev;
    call->next = call->prev = NULL;
    driver->count--;
}

/* `well`: it ended with an answer; else nothing is left of it but the handle. */
static void call_give_back(struct net_call *call, bool well) {
    struct driver *driver = call->driver;
    if (well) { /* what points to memory that is not ours for long */
        curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, NULL);
        curl_easy_setopt(call->easy, CURLOPT_POSTFIELDS, NULL);
    } else {
        curl_easy_reset(call->easy);
    }
    call->ready = well;
    curl_slist_free_all(call->headers);
    call->headers = NULL;
    buf_clear(&call->url);
    buf_clear(&call->text);
    if (call->body.cap > 65536) { /* one long answer must not stay in memory for ever */
        buf_free(&call->body);
        buf_init(&call->body, NET_ANSWER_BYTES_MAX);
    }
    call->next = driver->free;
    driver->free = call;
}

static enum net_error error_of(const struct net_call *call, CURLcode code) {
    if (call->too_large)
        return NET_TOO_LARGE;
    if (call->barred && code != CURLE_OK)
        return NET_REFUSED;
    switch (code) {
    case CURLE_OK: return NET_OK;
    case CURLE_COULDNT_CONNECT: return NET_REFUSED;
    case CURLE_PROXY: return NET_REFUSED;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY: return NET_DNS;
    case CURLE_OPERATION_TIMEDOUT: return NET_TIMEOUT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR: return NET_TLS;
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE:
    case CURLE_SEND_FAIL_REWIND:
    case CURLE_ABORTED_BY_CALLBACK:
    case CURLE_HTTP2:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING: return NET_RESET;
    /* of the URL, or an answer that is no HTTP/1 */
    case CURLE_UNSUPPORTED_PROTOCOL: return call->sendings > 0 ? NET_RESET : NET_FAILED;
    default: return NET_FAILED;
    }
}

/* The call is out of the multi and out of the list: tells its owner, then keeps the handle. */
static void call_end(struct net_call *call, enum net_error error, CURLcode code) {
    struct net_answer answer = {.error = error, .sent = call->sendings > 0};
    if (error != NET_OK) {
        const char *why = error == NET_CANCELLED  ? "cancelled"
                          : error == NET_TOO_LARGE ? "the answer is longer than is taken"
                          : call->error[0] != '\0' ? call->error
                                                   : curl_easy_strerror(code);
        if (call->barred)
            why = "the name leads to a private address, where webhooks may not go (webhooks_private)";
        else if (code == CURLE_ABORTED_BY_CALLBACK)
            why = "the connection closed before an answer came";
        snprintf(answer.detail, sizeof answer.detail, "%.199s", why);
    } else {
        long status = 0;
        curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
        answer.status = (int)status;
        for (uint32_t i = 0; i < call->header_count; i++) {
            const char *data = call->header_bytes.data;
            uint32_t name = call->header_names[i], value = call->header_values[i];
            call->answer_headers[i].name = str_of(data + name, value - name);
            call->answer_headers[i].value = str_of(data + value, call->header_ends[i] - value);
        }
        answer.headers = call->answer_headers;
        answer.header_count = call->header_count;
        answer.body = buf_str(&call->body);
    }
    answer.elapsed_us = clock_tick_us(call->driver->clock) - call->started_us;
    call->done(call->ctx, &answer);
    call_give_back(call, error == NET_OK);
}

static CURLM *multi_make(struct driver *driver) {
    CURLM *multi = curl_multi_init();
    bool ok = multi != NULL;
    ok = ok && curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, socket_cb) == CURLM_OK;
    ok = ok && curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, driver) == CURLM_OK;
    ok = ok && curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, timer_cb) == CURLM_OK;
    ok = ok && curl_multi_setopt(multi, CURLMOPT_TIMERDATA, driver) == CURLM_OK;
    ok = ok && curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, driver->connections_max) == CURLM_OK;
    ok = ok && curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING) == CURLM_OK;
    if (ok)
        return multi;
    curl_multi_cleanup(multi);
    return NULL;
}

/* Another multi handle takes the place of one that memory ran out in. libcurl 7.88 leaves the table of a
 * socket's transfers without slots then, and divides by their number when it next looks at that socket.
 * Nothing is under way. Where there is no memory for another either, the next call tries again. */
static bool multi_renew(struct driver *driver) {
    must(driver->under_way == NULL);
    if (driver->multi != NULL)
        curl_multi_cleanup(driver->multi);
    uv_timer_stop(&driver->timer);
    driver->multi = multi_make(driver);
    driver->spoilt = driver->multi == NULL;
    return driver->multi != NULL;
}

static void driver_drain(struct driver *driver) {
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(driver->multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE)
            continue;
        struct net_call *call;
        CURLcode code = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&call);
        curl_multi_remove_handle(driver->multi, call->easy);
        call_unlink(call);
        call_end(call, error_of(call, code), code);
    }
    while (driver->broken || driver->spoilt) {
        struct net_call *call = driver->under_way;
        while (call != NULL && !call->broken && !driver->spoilt)
            call = call->next;
        driver->broken = call != NULL;
        if (call == NULL)
            break;
        snprintf(call->error, sizeof call->error, "no memory for what libcurl had to do");
        curl_multi_remove_handle(driver->multi, call->easy);
        call_unlink(call);
        call_end(call, call->sendings > 0 ? NET_RESET : NET_FAILED, CURLE_OUT_OF_MEMORY);
    }
    if (driver->spoilt)
        multi_renew(driver);
}

/* ERR_INVALID: it can not be sent. ERR_NOMEM: a request that lacks a header is another request. */
static enum err call_headers(struct net_call *call, const struct net_request *request) {
    for (uint32_t i = 0; i < request->header_count; i++) {
        const struct net_header *header = &request->headers[i];
        for (size_t k = 0; k < header->value.len; k++)
            if (header->value.ptr[k] == '\r' || header->value.ptr[k] == '\n')
                return ERR_INVALID;
        if (header->name.len + header->value.len > TEXT_BYTES_MAX - 3)
            return ERR_INVALID;
        buf_clear(&call->text);
        buf_str_add(&call->text, header->name);
        /* libcurl's own way to say "present and empty" */
        buf_str_add(&call->text, header->value.len > 0 ? STR(": ") : STR(";"));
        buf_str_add(&call->text, header->value);
        const char *line = buf_cstr(&call->text);
        struct curl_slist *more = buf_ok(&call->text) ? curl_slist_append(call->headers, line) : NULL;
        if (more == NULL)
            return ERR_NOMEM;
        call->headers = more;
    }
    /* never wait for "100 Continue" */
    struct curl_slist *more = curl_slist_append(call->headers, "Expect:");
    if (more == NULL)
        return ERR_NOMEM;
    call->headers = more;
    return OK;
}

/* What is the same for all calls stays set on the handle: to say it anew costs as much as half of what
 * sending does. */
static bool handle_setup(struct net_call *call) {
    CURL *easy = call->easy;
    struct driver *driver = call->driver;
    bool ok = curl_easy_setopt(easy, CURLOPT_PRIVATE, call) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK;
    /* libcurl's own defaults, said because everything hangs on them */
    ok = ok && curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK;
    if (driver->ca_file.len > 0)
        ok = ok && curl_easy_setopt(easy, CURLOPT_CAINFO, buf_cstr(&driver->ca_file)) == CURLE_OK;
    if (!driver->proxied) /* else it asks the environment for each call */
        ok = ok && curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, sock_opened) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, call) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, sock_gone) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, driver) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_USERAGENT, "penstock") == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->error) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, body_cb) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_WRITEDATA, call) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, header_cb) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_HEADERDATA, call) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, prereq_cb) == CURLE_OK;
    return ok && curl_easy_setopt(easy, CURLOPT_PREREQDATA, call) == CURLE_OK;
}

/* The path and query of a URL, in it, or NULL where libcurl is to make the request's target of it (RFC 9112
 * section 3.2): of its own it calls the path alone when memory is short for the query (7.88), which would be
 * another request; and a look-up without its query finds what was not asked for. */
static const char *target_of(const struct driver *driver, const char *url) {
    const char *host = strstr(url, "://"), *path = host ? strpbrk(host + 3, "/?#") : NULL;
    if (driver->proxied || path == NULL || *path != '/' || strchr(path, '?') == NULL || strstr(path, "/.") != NULL)
        return NULL;
    for (const char *at = path; *at != '\0'; at++)
        if (*at <= ' ' || *at > '~' || *at == '#')
            return NULL; /* it has its own way with these */
    return path;
}

/* What libcurl refuses of these, it refuses for want of memory: whether a URL can be called it says later. */
static enum err call_setup(struct net_call *call, const struct net_request *request) {
    CURL *easy = call->easy;
    if (request->url.len >= TEXT_BYTES_MAX || request->method.len >= TEXT_BYTES_MAX)
        return ERR_INVALID;
    if (!call->ready && !(call->ready = handle_setup(call)))
        return ERR_NOMEM;
    buf_str_add(&call->url, request->url);
    const char *url = buf_cstr(&call->url);
    enum err err = call_headers(call, request);
    if (err != OK)
        return err;
    buf_clear(&call->text);
    buf_str_add(&call->text, request->method);
    const char *method = buf_cstr(&call->text);
    int64_t connect_ms = request->connect_timeout_ms > 0 ? request->connect_timeout_ms
                                                         : NET_CONNECT_TIMEOUT_MS;
    if (connect_ms > request->timeout_ms)
        connect_ms = request->timeout_ms;
    bool ok = buf_ok(&call->url) && buf_ok(&call->text);
    ok = ok && curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_REQUEST_TARGET, target_of(call->driver, url)) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->headers) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms) == CURLE_OK;
    /* no body, nothing kept back: undoes what the call before had */
    ok = ok && curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L) == CURLE_OK;
    if (request->body.ptr != NULL) {
        ok = ok && curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body.ptr) == CURLE_OK;
        ok = ok && curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                                    (curl_off_t)request->body.len) == CURLE_OK;
    } else if (str_is(request->method, "HEAD")) {
        ok = ok && curl_easy_setopt(easy, CURLOPT_NOBODY, 1L) == CURLE_OK;
    }
    ok = ok && curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK;
    return ok ? OK : ERR_NOMEM;
}

static enum err http_send(struct net *net, const struct net_request *request, net_done *done,
                          void *ctx, struct net_call **out, struct fault *fault) {
    struct driver *driver = (struct driver *)net;
    must(!driver->closing);
    if (request->timeout_ms < 1 || request->url.len == 0 || request->method.len == 0)
        return fault_set(fault, ERR_INVALID, "a call needs a method, a URL and a time limit");
    if (driver->count >= driver->calls_max)
        return fault_set(fault, ERR_UNAVAILABLE, "%u calls are under way", driver->count);
    /* spoilt: its calls are being ended, or memory was short for another multi handle */
    bool ready = !driver->spoilt || (driver->multi == NULL && multi_renew(driver));
    struct net_call *call = ready ? call_take(driver) : NULL;
    if (call == NULL)
        return fault_set(fault, ERR_NOMEM, "no memory for an outgoing call");
    call->done = done;
    call->ctx = ctx;
    call->sendings = 0;
    call->too_large = call->barred = call->broken = false;
    call->guarded = request->guarded;
    call->error[0] = '\0';
    call->header_count = 0;
    call->safe = str_is(request->method, "GET") || str_is(request->method, "HEAD");
    call->started_us = clock_tick_us(driver->clock);
    buf_clear(&call->header_bytes);
    buf_clear(&call->body);
    call->body.max = request->answer_bytes_max ? request->answer_bytes_max : NET_ANSWER_BYTES_MAX;
    enum err err = call_setup(call, request);
    if (err != OK) {
        call_give_back(call, false);
        return fault_set(fault, err, err == ERR_NOMEM ? "no memory for an outgoing call"
                                                      : "a header or the URL can not be sent");
    }
    call->prev = NULL;
    call->next = driver->under_way;
    if (call->next != NULL)
        call->next->prev = call;
    driver->under_way = call;
    driver->count++;
    if (curl_multi_add_handle(driver->multi, call->easy) != CURLM_OK) {
        call_unlink(call);
        call_give_back(call, false);
        return fault_set(fault, ERR_NOMEM, "no memory for an outgoing call");
    }
    if (out != NULL)
        *out = call;
    return OK;
}

static void http_cancel(struct net *net, struct net_call *call) {
    struct driver *driver = (struct driver *)net;
    must(!driver->in_curl);
    curl_multi_remove_handle(driver->multi, call->easy);
    call_unlink(call);
    call_end(call, NET_CANCELLED, CURLE_OK);
}

static void http_close(struct net *net) {
    struct driver *driver = (struct driver *)net;
    while (driver->under_way != NULL)
        http_cancel(net, driver->under_way);
    driver->closing = true;
    while (driver->free != NULL) {
        struct net_call *call = driver->free;
        driver->free = call->next;
        call_free(call);
    }
    if (driver->multi != NULL)
        curl_multi_cleanup(driver->multi); /* removes and closes every socket */
    for (uint32_t fd = 0; fd < driver->sock_cap; fd++)
        sock_drop(driver->socks[fd]);
    uv_timer_stop(&driver->timer);
    uv_close((uv_handle_t *)&driver->timer, timer_closed);
}

static const struct net_ops http_ops = {.send = http_send, .cancel = http_cancel, .close = http_close};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static bool curl_there;
static void curl_begin(void) { curl_there = curl_global_init(CURL_GLOBAL_ALL) == CURLE_OK; }

/* As libcurl reads them. */
static bool proxy_named(void) {
    static const char *const names[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (getenv(names[i]) != NULL)
            return true;
    return false;
}

enum err driver_http_create(const struct driver_http_options *options, struct net **out,
                            struct fault *fault) {
    *out = NULL;
    if (pthread_once(&curl_once, curl_begin) != 0 || !curl_there)
        return fault_set(fault, ERR_NOMEM, "libcurl can not be set up");
    struct driver *driver = mem_zalloc(sizeof *driver);
    const char *ca_file = options->ca_file ? options->ca_file : getenv("PENSTOCK_CA_FILE");
    if (driver == NULL)
        return fault_set(fault, ERR_NOMEM, "no memory for the HTTP driver");
    driver->connections_max = options->connections_max ? (long)options->connections_max : 256;
    buf_init(&driver->ca_file, 4096);
    if (ca_file)
        buf_str_add(&driver->ca_file, str_c(ca_file));
    buf_cstr(&driver->ca_file);
    /* without the name, others than those in it would be trusted */
    driver->multi = buf_ok(&driver->ca_file) ? multi_make(driver) : NULL;
    if (driver->multi == NULL) {
        buf_free(&driver->ca_file);
        mem_free(driver);
        return fault_set(fault, ERR_NOMEM, "no memory for the HTTP driver, or ca_file is too long");
    }
    driver->net.ops = &http_ops;
    driver->loop = options->loop;
    driver->clock = options->clock;
    driver->proxied = proxy_named();
    driver->calls_max = options->calls_max ? options->calls_max : 1024;
    uv_timer_init(driver->loop, &driver->timer);
    driver->timer.data = driver;
    driver->handles = 1;
    *out = &driver->net;
    return OK;
}
