/* sink: another system as fast as one can be, for bench_deliver.py: HTTP/1.1 on one thread, answers
 * at once, and keeps account of what came: how much, what twice, what out of order.
 *
 *   sink PORT [MARK]
 *
 * A delivery names its event by an Idempotency-Key that ends in its seq, and its key by X-Key; without
 * X-Key order is not checked. With MARK a body is a batch: each MARK in it is one event, of which only the
 * count is known.
 * Commands on stdin, a line each: `up`, `down` (nobody listens, connections are cut), `rate N` (so many
 * events a second are taken, with a burst of a tenth of it; what is more is answered 429; 0: all),
 * `clear`, `say`. To `say` it answers one line of JSON. Ends with its stdin.
 *
 * Fixed capacity: CONNECTIONS_MAX connections, requests of REQUEST_MAX bytes. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 2048
#define REQUEST_MAX (4u << 20)
#define KEYS (1u << 22) /* slots, a power of two */
#define SEQS_MAX (UINT64_C(1) << 27)

struct connection {
    int fd; /* 0: free */
    char *data;
    size_t len, cap;
};

static struct connection connections[CONNECTIONS_MAX];
static struct key { uint64_t hash, last; } *keys;
static uint64_t *seen; /* a bit per seq */
static uint16_t port;
static const char *mark; /* of a member of a batch; NULL: no batches */
static int poller, listener = -1;
static struct counts {
    uint64_t requests, taken, twice, disordered, refused, unnamed, bytes, opened;
    int64_t first_us, last_us;
} counts;
static double rate, tokens;
static int64_t tokens_us;

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

/* --- what came ---------------------------------------------------------------------------- */

static void seq_account(uint64_t seq) {
    counts.taken++;
    if (seq == 0 || seq >= SEQS_MAX) {
        counts.unnamed++;
        return;
    }
    uint64_t bit = UINT64_C(1) << (seq & 63);
    if (seen[seq >> 6] & bit)
        counts.twice++;
    seen[seq >> 6] |= bit;
}

static void key_account(const char *key, size_t len, uint64_t seq) {
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)key[i]) * UINT64_C(1099511628211);
    hash |= 1;
    uint32_t at = (uint32_t)(hash >> 20) & (KEYS - 1);
    for (uint32_t n = 0; keys[at].hash != 0 && keys[at].hash != hash && n < KEYS; n++)
        at = (at + 1) & (KEYS - 1);
    if (keys[at].hash == hash && keys[at].last >= seq)
        counts.disordered++;
    keys[at] = (struct key){hash, seq};
}

/* Whether so many may be taken now. */
static bool rate_allows(uint64_t n) {
    if (rate <= 0)
        return true;
    int64_t now = now_us();
    tokens += (double)(now - tokens_us) * rate / 1e6;
    tokens_us = now;
    double burst = rate / 10 > 1 ? rate / 10 : 1;
    if (tokens > burst)
        tokens = burst;
    if (tokens < (double)n)
        return false;
    tokens -= (double)n;
    return true;
}

static uint64_t number_at(const char *at, const char *end) {
    uint64_t n = 0;
    while (at < end && *at >= '0' && *at <= '9')
        n = n * 10 + (uint64_t)(*at++ - '0');
    return n;
}

/* The value of a header, spaces in front left out; NULL: it is not there. */
static const char *header(const char *head, const char *end, const char *name, size_t *len) {
    size_t name_len = strlen(name);
    for (const char *line = memchr(head, '\n', (size_t)(end - head)); line; ) {
        line++;
        const char *next = memchr(line, '\n', (size_t)(end - line));
        const char *stop = next ? next : end;
        if ((size_t)(stop - line) > name_len && line[name_len] == ':' &&
            strncasecmp(line, name, name_len) == 0) {
            line += name_len + 1;
            while (line < stop && *line == ' ')
                line++;
            while (stop > line && (stop[-1] == '\r' || stop[-1] == '\n'))
                stop--;
            *len = (size_t)(stop - line);
            return line;
        }
        line = next;
    }
    return NULL;
}

static uint64_t batch_count(const char *body, const char *end) {
    size_t len = strlen(mark);
    uint64_t n = 0;
    for (; (body = memmem(body, (size_t)(end - body), mark, len)) != NULL; body += len)
        n++;
    return n;
}

/* One request; the answer goes to `out`, its length is returned. */
static int request_take(const char *head, const char *body, const char *end, char *out, size_t room) {
    size_t len = 0;
    const char *id = header(head, body, "Idempotency-Key", &len);
    uint64_t seq = 0, n = mark ? batch_count(body, end) : 1;
    if (id != NULL) {
        const char *from = id + len;
        while (from > id && from[-1] >= '0' && from[-1] <= '9')
            from--;
        seq = number_at(from, id + len);
    }
    counts.requests++;
    if (!rate_allows(n)) {
        counts.refused++;
        return snprintf(out, room, "HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\n\r\n");
    }
    if (counts.first_us == 0)
        counts.first_us = now_us();
    counts.last_us = now_us();
    counts.bytes += (uint64_t)(end - body);
    if (mark) {
        counts.taken += n;
    } else {
        seq_account(seq);
        const char *key = header(head, body, "X-Key", &len);
        if (key != NULL)
            key_account(key, len, seq);
    }
    char text[64];
    int text_len = snprintf(text, sizeof text, "{\"number\":\"N-%" PRIu64 "\"}", seq);
    return snprintf(out, room, "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n"
                    "Content-Length: %d\r\n\r\n%s", text_len, text);
}

/* --- connections -------------------------------------------------------------------------- */

static void connection_close(struct connection *c) {
    close(c->fd);
    free(c->data);
    *c = (struct connection){0};
}

/* Answers all whole requests of the buffer; false: the connection is no good. */
static bool requests_serve(struct connection *c) {
    char out[16384];
    size_t used = 0, at = 0;
    for (;;) {
        const char *head = c->data + at;
        const char *blank = memmem(head, c->len - at, "\r\n\r\n", 4);
        if (blank == NULL)
            break;
        const char *body = blank + 4;
        size_t len, want = 0;
        const char *value = header(head, body, "Content-Length", &len);
        if (value != NULL)
            want = number_at(value, value + len);
        if ((size_t)(c->data + c->len - body) < want)
            break;
        if (used > sizeof out - 512)
            return false; /* nobody asks so much at once without waiting */
        used += (size_t)request_take(head, body, body + want, out + used, sizeof out - used);
        at = (size_t)(body - c->data) + want;
    }
    memmove(c->data, c->data + at, c->len - at);
    c->len -= at;
    return used == 0 || send(c->fd, out, used, MSG_NOSIGNAL) == (ssize_t)used;
}

static void connection_ready(struct connection *c) {
    if (c->cap - c->len < 16384) {
        size_t cap = c->cap ? c->cap * 2 : 65536;
        char *data = cap <= REQUEST_MAX ? realloc(c->data, cap) : NULL;
        if (data == NULL) {
            connection_close(c);
            return;
        }
        c->data = data;
        c->cap = cap;
    }
    ssize_t n = recv(c->fd, c->data + c->len, c->cap - c->len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        c->len += (size_t)n;
    if (n <= 0 || !requests_serve(c))
        connection_close(c);
}

static void connection_take(void) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
    if (fd < 0)
        return;
    for (uint32_t i = 0; i < CONNECTIONS_MAX; i++) {
        if (connections[i].fd != 0)
            continue;
        connections[i].fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        epoll_ctl(poller, EPOLL_CTL_ADD, fd,
                  &(struct epoll_event){.events = EPOLLIN, .data.ptr = &connections[i]});
        counts.opened++;
        return;
    }
    close(fd);
}

static void listen_begin(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int one = 1;
    if (listener >= 0)
        return;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 1024) != 0) {
        perror("sink: listen");
        exit(1);
    }
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.ptr = &listener});
}

static void listen_end(void) {
    if (listener >= 0)
        close(listener);
    listener = -1;
    for (uint32_t i = 0; i < CONNECTIONS_MAX; i++)
        if (connections[i].fd != 0)
            connection_close(&connections[i]);
}

/* --- commands ------------------------------------------------------------------------------- */

static void say(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    double cpu = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                 (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
    printf("{\"requests\":%" PRIu64 ",\"taken\":%" PRIu64 ",\"twice\":%" PRIu64 ",\"disordered\":%" PRIu64
           ",\"refused\":%" PRIu64 ",\"unnamed\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"opened\":%" PRIu64
           ",\"span_us\":%" PRId64 ",\"cpu_s\":%.3f}\n",
           counts.requests, counts.taken, counts.twice, counts.disordered, counts.refused, counts.unnamed,
           counts.bytes, counts.opened, counts.last_us - counts.first_us, cpu);
    fflush(stdout);
}

static void command(const char *line) {
    if (strcmp(line, "up") == 0)
        listen_begin();
    else if (strcmp(line, "down") == 0)
        listen_end();
    else if (strcmp(line, "say") == 0)
        say();
    else if (strncmp(line, "rate ", 5) == 0)
        rate = strtod(line + 5, NULL);
    else if (strcmp(line, "clear") == 0) {
        counts = (struct counts){0};
        memset(keys, 0, KEYS * sizeof *keys);
        memset(seen, 0, SEQS_MAX / 8);
    }
}

/* False: stdin has ended. */
static bool commands_read(void) {
    static char text[4096];
    static size_t len;
    ssize_t n = read(STDIN_FILENO, text + len, sizeof text - 1 - len);
    if (n <= 0)
        return n < 0 && errno == EINTR;
    len += (size_t)n;
    text[len] = '\0';
    char *from = text;
    for (char *end; (end = strchr(from, '\n')) != NULL; from = end + 1) {
        *end = '\0';
        command(from);
    }
    len -= (size_t)(from - text);
    memmove(text, from, len);
    return true;
}

int main(int argc, char **argv) {
    struct epoll_event events[256];
    static int input;
    if (argc < 2) {
        fprintf(stderr, "usage: sink PORT [MARK]\n");
        return 2;
    }
    port = (uint16_t)strtoul(argv[1], NULL, 10);
    mark = argc > 2 ? argv[2] : NULL;
    keys = calloc(KEYS, sizeof *keys);
    seen = calloc(SEQS_MAX / 64, sizeof *seen);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (keys == NULL || seen == NULL || poller < 0)
        return 1;
    epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &(struct epoll_event){.events = EPOLLIN, .data.ptr = &input});
    for (;;) {
        int n = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < n; i++) {
            void *what = events[i].data.ptr;
            if (what == &input) {
                if (!commands_read())
                    return 0;
            } else if (what == &listener) {
                connection_take();
            } else if (((struct connection *)what)->fd != 0) {
                connection_ready(what);
            }
        }
    }
}
