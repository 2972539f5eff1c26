/* tls_clients: clients that wrk can not be: many idle connections, and connections that are made
 * anew, with or without resumption. One line of JSON on stdout.
 *
 *   tls_clients idle PORT N [ca]        opens N, one request on each, says so and waits for a line
 *   tls_clients connect PORT SECONDS THREADS [ca] [resume]
 *
 * With `ca` (a file, or - for no verification) over TLS, else plain. Sources are 127.0.1.1 and
 * on, so that no run is short of ports. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char request[] = "GET /livez HTTP/1.1\r\nHost: bench\r\n\r\n";
static uint16_t port;
static SSL_CTX *context;
static bool resume;
static int64_t until_us;
static _Atomic uint32_t sources;

struct worker {
    pthread_t thread;
    uint64_t done, resumed, failed;
    SSL_SESSION *session;
};

static int64_t now_us(void) {
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

static int dial(void) {
    uint32_t source = atomic_fetch_add(&sources, 1);
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    from.sin_addr.s_addr = htonl(0x7f000101u + source % 64);
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&from, sizeof from) != 0 ||
        connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* One request on a fresh connection; *ssl is set where it goes over TLS. */
static bool ask(int fd, SSL **ssl, SSL_SESSION *session) {
    char answer[2048];
    int len = 0, n;

    *ssl = NULL;
    if (context) {
        *ssl = SSL_new(context);
        SSL_set_fd(*ssl, fd);
        if (session)
            SSL_set_session(*ssl, session);
        if (SSL_connect(*ssl) != 1 || SSL_write(*ssl, request, sizeof request - 1) <= 0)
            return false;
    } else if (write(fd, request, sizeof request - 1) <= 0) {
        return false;
    }
    do {
        n = context ? SSL_read(*ssl, answer + len, (int)sizeof answer - 1 - len)
                    : (int)read(fd, answer + len, sizeof answer - 1 - (size_t)len);
        if (n <= 0)
            return false;
        len += n;
        answer[len] = '\0';
    } while (!strstr(answer, "{\"alive\":true}"));
    return true;
}

static void *work(void *arg) {
    struct worker *worker = arg;

    while (now_us() < until_us) {
        int fd = dial();
        SSL *ssl = NULL;

        if (fd < 0) {
            worker->failed++;
            continue;
        }
        if (ask(fd, &ssl, worker->session)) {
            worker->done++;
            if (ssl) {
                worker->resumed += (uint64_t)SSL_session_reused(ssl);
                if (resume) {
                    SSL_SESSION_free(worker->session);
                    worker->session = SSL_get1_session(ssl);
                }
                SSL_shutdown(ssl);
            }
        } else {
            worker->failed++;
        }
        SSL_free(ssl);
        close(fd);
    }
    return NULL;
}

static double cpu_seconds(void) {
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static int connects(double seconds, int threads) {
    struct worker *workers = calloc((size_t)threads, sizeof *workers);
    uint64_t done = 0, resumed = 0, failed = 0;
    int64_t began_us = now_us();

    until_us = began_us + (int64_t)(seconds * 1e6);
    for (int i = 0; i < threads; i++)
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    for (int i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        done += workers[i].done;
        resumed += workers[i].resumed;
        failed += workers[i].failed;
        SSL_SESSION_free(workers[i].session);
    }
    printf("{\"done\":%" PRIu64 ",\"resumed\":%" PRIu64 ",\"failed\":%" PRIu64
           ",\"seconds\":%.3f,\"cpu_s\":%.3f}\n",
           done, resumed, failed, (double)(now_us() - began_us) / 1e6, cpu_seconds());
    free(workers);
    return 0;
}

static int idle(int count) {
    char line[16];
    int opened = 0;

    for (int i = 0; i < count; i++) {
        int fd = dial();
        SSL *ssl;

        if (fd < 0)
            break;
        if (!ask(fd, &ssl, NULL))
            break;
        opened++; /* both live until the end */
    }
    printf("{\"opened\":%d}\n", opened);
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        line[0] = '\0';
    return 0;
}

int main(int argc, char **argv) {
    bool idling = argc > 1 && strcmp(argv[1], "idle") == 0;
    int at = idling ? 4 : 5;

    if (argc < at) {
        fputs("tls_clients idle PORT N [ca] | connect PORT SECONDS THREADS [ca] [resume]\n", stderr);
        return 2;
    }
    port = (uint16_t)strtoul(argv[2], NULL, 10);
    if (argc > at) {
        context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
        if (strcmp(argv[at], "-") != 0) {
            SSL_CTX_load_verify_file(context, argv[at]);
            SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
        }
        resume = argc > at + 1 && strcmp(argv[at + 1], "resume") == 0;
    }
    return idling ? idle((int)strtol(argv[3], NULL, 10))
                  : connects(strtod(argv[3], NULL), (int)strtol(argv[4], NULL, 10));
}
