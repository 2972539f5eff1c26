/* net: what a driver sends and gets, as a seam. driver_http.c reaches the network, the
 * simulator and unit tests put their own implementation in its place.
 *
 * What always holds: a call that was taken ends exactly once, through `done`, on the thread
 * that owns the net; and its answer says whether the request may have reached the other side,
 * because only then is doing it again dangerous. No request that may change something on the
 * other side (any method but GET and HEAD) is ever put on the wire twice for one call. */
#ifndef PENSTOCK_CONNECT_NET_H
#define PENSTOCK_CONNECT_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

enum net_error {
    NET_OK,        /* an answer came, whatever its status */
    NET_REFUSED,   /* no connection: refused, unreachable, proxy said no */
    NET_DNS,       /* the name is not known, or nobody could be asked */
    NET_TLS,       /* no agreement on a secure connection, or its certificate is not trusted */
    NET_TIMEOUT,   /* the time was up; `sent` tells on which side of sending */
    NET_RESET,     /* the connection broke before the whole answer was here */
    NET_TOO_LARGE, /* the answer is longer than the caller takes */
    NET_CANCELLED, /* by net_cancel or net_close */
    NET_SIGN_IN,   /* no token or session was to be had; nothing was sent (connect/auth_net.h) */
    NET_CLOSED,    /* nothing was sent: the account takes no calls now (connect/gate.h); Retry-After says until when */
    NET_FAILED,    /* anything else: a bad URL, memory; the detail says what */
};
/* "refused", "timeout" …: for logs, metrics and people. */
const char *net_error_name(enum net_error error);

struct net_header {
    struct str name, value;
};

/* What goes first where an account can not take all at once. */
enum net_class { NET_CUSTOMER, NET_STOCK, NET_CATALOGUE, NET_LEDGER, NET_CLASSES };
/* Those who call an account, each with calls of its own that wait in order; a turn goes round among
 * those of a class. Zeroed at first; lives as long as its calls. What is in it is gate.c's. */
struct net_flow {
    enum net_class class; /* its owner's */
    _Atomic uint32_t waiting;
    const void *account;
    struct net_call *first, *last;
    struct net_flow *next;
};

/* Its class from now on, unless calls of it wait. */
static inline void net_flow_class(struct net_flow *flow, enum net_class class) {
    if (flow->class != class && flow->waiting == 0)
        flow->class = class;
}

struct connector;
struct connector_outcome;
/* The caller keeps what it points to unchanged until `done`. */
struct net_request {
    const struct connector *connector; /* alive until `done`, whose `auth` says who calls; NULL: nobody in particular.
                                          Only an auth_net looks at it */
    const struct connector_outcome *outcome; /* what its answer means (connect/outcome.h); NULL: what is usual */
    struct net_flow *flow;   /* whose turn it takes; NULL: nobody's in particular, last of all */
    struct str method; /* "POST" */
    struct str url;    /* http:// or https:// */
    const struct net_header *headers;
    uint32_t header_count;
    struct str body;             /* absent: none */
    int64_t timeout_ms;          /* for the whole call, 1 or more */
    int64_t connect_timeout_ms;  /* 0: NET_CONNECT_TIMEOUT_MS, never more than timeout_ms */
    size_t answer_bytes_max;     /* body of the answer; 0: NET_ANSWER_BYTES_MAX */
    bool guarded;                /* goes to public addresses alone (inet_public), whatever the name
                                    resolves to; else NET_REFUSED, nothing sent */
    bool (*wanted)(void *ctx);   /* asked where it had to wait for its turn (connect/gate.h): false: it ends with
                                    NET_CLOSED, nothing sent. NULL: it is */
    void *wanted_ctx;
};
#define NET_CONNECT_TIMEOUT_MS 5000
#define NET_ANSWER_BYTES_MAX ((size_t)1 << 20)
/* Header section of an answer; more is NET_TOO_LARGE. */
#define NET_ANSWER_HEADERS_MAX 64
#define NET_ANSWER_HEADER_BYTES_MAX 32768

/* Lives until `done` returns. */
struct net_answer {
    enum net_error error;
    bool sent;        /* the request, or part of it, may have reached the other side */
    char detail[200]; /* of an error, for people */
    int status;       /* HTTP status; 0 where no answer came */
    const struct net_header *headers; /* without spaces around the values */
    uint32_t header_count;
    struct str body;
    int64_t elapsed_us;
    bool judged;     /* `means` is set: by gate.c, of calls with an outcome table */
    uint8_t means;   /* enum connector_outcome_kind */
};
/* Value of the first header of that name (case aside), or absent. */
struct str net_answer_header(const struct net_answer *answer, struct str name);
/* Retry-After in ms (RFC 9110, 10.2.3: seconds, or an HTTP date seen from now_us); -1 where
 * there is none or it can not be read. At most NET_RETRY_AFTER_MS_MAX. */
int64_t net_answer_retry_after_ms(const struct net_answer *answer, int64_t now_us);
/* IMF-fixdate, "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, 5.6.7), as microseconds since 1970; the two
 * obsolete forms are not sent by anything of today. */
bool net_http_date(struct str text, int64_t *us);
#define NET_RETRY_AFTER_MS_MAX INT64_C(86400000)

/* May call net_send, not net_close. */
typedef void net_done(void *ctx, const struct net_answer *answer);

struct net;
struct net_call;
struct net_ops {
    /* Starts a call. OK: `done` will be called, never before send has returned. *call, where
     * asked for, is valid until then. ERR_UNAVAILABLE: as many calls as it takes are under
     * way; ERR_NOMEM; ERR_INVALID: the request makes no sense. */
    enum err (*send)(struct net *net, const struct net_request *request, net_done *done, void *ctx,
                     struct net_call **call, struct fault *fault);
    /* Ends it now with NET_CANCELLED, from within this call. */
    void (*cancel)(struct net *net, struct net_call *call);
    /* Ends all calls under way with NET_CANCELLED and frees the net. */
    void (*close)(struct net *net);
};
/* An implementation embeds this first. */
struct net {
    const struct net_ops *ops;
};

static inline enum err WARN_UNUSED net_send(struct net *net, const struct net_request *request,
                                            net_done *done, void *ctx, struct net_call **call,
                                            struct fault *fault) {
    return net->ops->send(net, request, done, ctx, call, fault);
}
static inline void net_cancel(struct net *net, struct net_call *call) {
    net->ops->cancel(net, call);
}
static inline void net_close(struct net *net) { net->ops->close(net); }

#endif
