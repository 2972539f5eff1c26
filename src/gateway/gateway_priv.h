/* The gateway's own structs. A call is one request on its way through the stages; it lives in
 * its exchange's arena. Everything here runs on the call's loop thread unless it says worker. */
#ifndef PENSTOCK_GATEWAY_GATEWAY_PRIV_H
#define PENSTOCK_GATEWAY_GATEWAY_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/json.h"
#include "gateway/admission.h"
#include "gateway/audit.h"
#include "gateway/auth.h"
#include "gateway/context.h"
#include "gateway/contract.h"
#include "gateway/gateway.h"
#include "gateway/http.h"
#include "gateway/limit.h"
#include "gateway/operators.h"
#include "gateway/route.h"
#include "gateway/second.h"

#define GATEWAY_CLASSES 6 /* enum traffic_class, and one for what matches no route */
#define GATEWAY_STATUSES 600
#define GATEWAY_JOBS_MAX 10000 /* of one loop, waiting for or at work on worker threads */
#define WAIT_TICK_MS 5   /* while a call waits for the read model */
#define LIMIT_KNOWN 4096
#define FEED_TICK_MS 100 /* while feeds are open */

struct call;
struct bulk;
struct feed;
struct gateway_loop;

/* Something for a worker thread; embedded in who needs it. */
struct job {
    uv_work_t req;
    struct gateway_loop *loop;
    struct job *next; /* in its lane */
    enum traffic_class traffic;
    int64_t queued_us;
    void (*run)(struct job *job, struct reader *reader); /* worker */
    void (*done)(struct job *job);
    struct fault fault; /* of getting a reader: run was not called */
};

/* Written by the loop alone, read by anybody. */
struct gateway_counters {
    _Atomic uint64_t requests[GATEWAY_CLASSES][GATEWAY_STATUSES];
    _Atomic uint64_t bulk_lines, bulks_held, feeds, tokens;
    _Atomic uint64_t cards_refused, cards_masked;
};
/* Of one route; the last one is for what matches none. */
struct route_counters {
    _Atomic uint64_t statuses[GATEWAY_STATUSES / 100]; /* by first digit */
    struct histogram seconds;
};

/* Who was told of when, so that it is not told again at once (cards.c). */
#define CARDS_TOLD_MAX 32
struct cards_told {
    uint64_t who;
    int64_t at_us; /* 0: free */
};

struct gateway_loop {
    struct command_origin origin; /* first: the core hands answers to it */
    struct gateway *gateway;
    struct http_loop *http;
    uv_async_t wake;
    uv_prepare_t turn; /* once a turn of the loop: how long it was at work */
    int64_t turn_us;   /* tick, at the last one */
    uint64_t idle_ns;  /* of the loop, up to then */
    struct histogram turns_us;
    uv_timer_t tick; /* runs while calls wait for a seq or feeds for time */
    pthread_mutex_t lock;
    struct command *inbox_first, *inbox_last; /* answered, by the writer */
    struct tail_follower follower;
    bool following;
    int tick_ms; /* 0: the tick is off */
    struct json_parser *parser;
    struct rng_seeded rng;
    struct auth *auth;
    struct token_guard *guards; /* TOKEN_GUARDS of them (token.h) */
    uint64_t guard_seed;
    struct audit *audit;
    struct reader *reader; /* for inline queries, and for the read model's seq */
    struct buf out;        /* scratch for an answer's body */
    struct buf packed;     /* scratch for the same in gzip */
    struct call *waiting;  /* for the read model to reach a seq */
    struct feed *feeds;
    struct bulk *bulks;    /* with results to send when the inbox is empty */
    struct bulk *held;     /* bulks whose lines wait for the read model, or their turn */
    struct call *unsure;   /* whole, while the keys of their token's issuer are being fetched */
    uint32_t unsure_count;
    struct call *signing;  /* sign-ins, while the identity provider is asked */
    struct session_who session_who; /* of the last call with a session's cookie */
    struct principal session_principal;
    struct call *slowed;   /* whole, and not their turn yet */
    uint32_t slowed_count;
    struct limit_view *limits;
    struct buf limit_text; /* scratch for headers */
    uint64_t known[LIMIT_KNOWN]; /* credentials that were good lately, hashed; direct mapped */
    _Atomic uint32_t jobs; /* that wait or are at work */
    struct job_lane {
        struct job *first, *last;
    } lanes[TRAFFIC_CLASSES]; /* that wait for a worker */
    _Atomic bool jobs_wait;
    uv_prepare_t rest; /* before the loop waits for events */
    int64_t began_us;
    _Atomic int64_t ready_us; /* answers wait in the inbox since; 0: none do */
    struct gateway_counters counters;
    struct route_counters *routes; /* by route index */
    struct cards_told cards_told[CARDS_TOLD_MAX];
};

struct gateway {
    struct gateway_options options;
    const struct config *config;
    struct clock *clock;
    struct router *router;
    struct limiter *limiter;
    struct admission *admission;
    /* Workers at work: all, for catalogue and less, for bulk and ops. */
    _Atomic uint32_t working, working_less, working_least[TRAFFIC_CLASSES - CLASS_BULK];
    _Atomic uint64_t worked_us;
    uint64_t known_seed;
    uint32_t route_count;
    uint32_t personal_scope, audit_scope;
    bool *second; /* by route index: needs a second person (second.h) */
    struct callers *callers;
    struct operators *operators; /* NULL, like the next two: nobody signs in */
    struct session_table *sessions;
    struct logins *logins;
    struct http_server *server;
    struct gateway_loop *loops;
    uint32_t loop_count;
    bool *versioned; /* by route index: the answer has a member "version" */
    const struct contract_notice **notices; /* by route index: what it says about its end; NULL: nothing */
    _Atomic bool draining;
    pthread_mutex_t readers_lock;
    struct reader **readers; /* idle ones */
    uint32_t reader_count, reader_cap;
    struct str openapi, asyncapi; /* printed once, at start */
    struct str openapi_gzip, asyncapi_gzip;
    struct arena arena;
};

/* First in whatever a command's origin_ctx points to. */
struct issuer {
    void (*completed)(struct command *command);
};

struct call {
    struct issuer issuer;
    struct gateway *gateway;
    struct gateway_loop *loop;
    struct http_exchange *ex;
    struct route_match match;
    struct call_context context;
    struct str actor;
    int64_t unsure_until_us; /* 0: it is known who calls */
    struct signin *signin;   /* of /ops/login and /ops/callback, while they wait */
    struct pull_ask *pull;   /* of …/pull and its like, while delivery is asked */
    struct operate_ask *ask; /* of /s/…, while another system is asked */
    struct str back;         /* of /ops/callback: where to go afterwards */
    struct str person;    /* who that is; of queries alone */
    bool asks;            /* a second person is to decide it */
    struct str challenge; /* of WWW-Authenticate, where the caller was refused; else absent */
    struct str from; /* the client's address, as much of it as is kept */
    bool personal; /* the caller may see what is personal */
    bool unpacks;  /* a webhook whose body comes in gzip */
    const struct principal *principal; /* with the head alone */
    enum traffic_class traffic;        /* the route's, or bulk */
    struct limit_set limits;           /* policies that count for it */
    int64_t slow_until_us;             /* 0: it need not wait */
    bool queued;                       /* its commands go to the writer */
    int retry_after_s;                 /* of a refusal; 0: the usual */
    bool audit;    /* and events about the hub itself */
    struct audit_keyring keyring; /* what opens it, and counts that it did */
    struct command command;
    struct query query;
    struct buf body; /* of a query's answer, worker */
    struct buf packed; /* the same in gzip, where it was worth it, worker */
    enum err err;    /* of a query, worker */
    struct fault fault;
    struct job job;
    uint64_t wait_seq;
    int64_t wait_until_us;
    struct call *next;
};

/* pipeline.c */
void call_head(struct http_exchange *ex, void *gateway);
void call_handle(struct http_exchange *ex, void *gateway);
void call_refuse(struct http_exchange *ex, enum err err, const char *detail, void *gateway);
/* Decoding that a document and a bulk line share: text → checked command. */
enum err command_decode(struct call *call, struct str text, struct arena *arena,
                        struct command *command, struct fault *fault) WARN_UNUSED;
/* Preconditions and parameters. */
enum err call_prepare(struct call *call) WARN_UNUSED;
void call_waiting_tick(struct gateway_loop *loop);

/* What opens sealed members for this caller; NULL: nothing does. */
struct keyring *call_keyring(struct call *call);

/* cards.c */
/* The document without card numbers and *masked where they were; or ERR_CARD_DATA with all
 * pointers, by the settings. `text` is what the document was parsed from. */
enum err cards_check(struct call *call, struct str text, struct arena *arena,
                     const struct json **document, struct str *masked,
                     struct fault *fault) WARN_UNUSED;
enum err cards_check_rest(struct call *call) WARN_UNUSED;
/* Prepares the exception that tells of a refusal by ERR_CARD_DATA; false: it need not be told, or
 * can not. */
bool cards_tell(struct call *call, struct arena *arena, struct command *command,
                const struct fault *fault);
/* Answers the call with the refusal, when the exception is on disk. */
void cards_refuse(struct call *call);

/* caller.c */
/* Who calls, and whether they may: with the head alone. OK also where that can not be known yet. */
enum err caller_check(struct call *call) WARN_UNUSED;
/* With the whole request: true where it waits for that, or was refused now. */
bool caller_unsure(struct call *call);
void callers_unsure_tick(struct gateway_loop *loop);

/* signin_stage.c */
enum err signins_create(struct gateway *gateway, struct fault *fault) WARN_UNUSED;
void signins_destroy(struct gateway *gateway);
/* Who the cookie of a session says this is, for the loop until the next call; ERR_NOT_FOUND: there
 * is none, or it has ended; ERR_FORBIDDEN: a change that another origin may have asked for. *left_us
 * as in session_find. */
enum err session_caller(struct call *call, const struct principal **out,
                        int64_t *left_us) WARN_UNUSED;
/* The query of the routes of signing in; never run: the pipeline gives them to signin_begin. */
enum err signin_query(struct query *query, struct fault *fault);
bool signin_is(const struct route *route);
void signin_begin(struct call *call);
void signins_tick(struct gateway_loop *loop);

/* operation_stage.c */
/* pull_stage.c */
bool pull_is(const struct route *route);
void pull_begin(struct call *call);
bool operation_is(const struct route *route);
void operation_begin(struct call *call);
/* Whether the caller has the scope of just this operation. */
bool operation_may(struct call *call, const struct principal *principal);
enum err operation_scopes_add(struct gateway *gateway, struct fault *fault) WARN_UNUSED;

/* answer.c */
void call_answer(struct call *call, int status, struct str media_type, struct str body,
                 uint64_t seq, struct str next_cursor, bool replayed);
void call_problem(struct call *call, enum err err, const struct fault *fault);
void call_answer_command(struct call *call);
void call_headers(struct call *call, uint64_t seq);
void call_count(struct call *call, int status);

/* coding.c */
/* Whether the body of this call comes in gzip; ERR_CONTENT_CODING: in something else. */
enum err coding_read(struct call *call, bool *gzip) WARN_UNUSED;
/* A whole body out of gzip, into the call's arena, JSON_PADDING behind it. */
enum err coding_unpack(struct call *call, struct str sent, struct str *body,
                       struct fault *fault) WARN_UNUSED;
/* Any thread: the body of this answer into `out` (uninitialised, the caller's to free) where the
 * caller takes gzip and it is worth it; else false. */
bool coding_pack(const struct call *call, struct str body, struct buf *out);
/* So long that packing it is not for a loop thread. */
bool coding_wants_worker(const struct call *call, struct str body);
/* How a whole answer leaves. */
struct coded {
    struct str body;
    bool packed; /* in gzip */
    bool varies; /* depends on Accept-Encoding */
};
void coding_answer(struct call *call, struct str body, struct coded *coded);
/* Whether a streamed answer leaves in gzip. */
bool coding_streams(const struct call *call);

/* call_span.c */
void call_span(const struct call *call, int status);

/* call_log.c: the request log: some of the requests, and those answered 500. */
void call_log(struct call *call, int status, int64_t us);
/* Who called, as logs and traces may say it: of a token whose subject is an e-mail address the issuer
 * alone ("@corp"). Absent: nobody in particular. */
struct str call_caller(const struct call *call);

/* job.c */
enum err job_start(struct job *job, struct gateway_loop *loop, enum traffic_class traffic,
                   struct fault *fault) WARN_UNUSED;
/* Hands waiting jobs to workers that are free. */
void jobs_dispatch(struct gateway_loop *loop);
struct reader *reader_take(struct gateway *gateway, struct fault *fault); /* worker */
void reader_give(struct gateway *gateway, struct reader *reader);
void readers_free(struct gateway *gateway);

/* admission_stage.c */
/* With the head alone: whether the hub has time for a call of this class; ERR_UNAVAILABLE. */
enum err admission_check(struct call *call) WARN_UNUSED;
/* The lane of the writer's queue that a call's command waits in: behind those that came before
 * it on its connection and are not answered yet, in any case. */
enum traffic_class command_lane(struct call *call);
void admission_rest(uv_prepare_t *prepare);
void busy_figures(struct gateway *gateway, struct metrics *out);

/* limit_stage.c */
/* With the head alone, before the credentials are looked at: whether who has no known ones may try
 * (ERR_RATE). Open routes and webhooks take what they need here. */
enum err limit_guard(struct call *call) WARN_UNUSED;
/* The credentials were wrong: that counts against the address; or right, as far as is known. */
void limit_failed(struct call *call);
void limit_passed(struct call *call);
/* With the head alone, when it is known who calls. */
enum err limit_caller(struct call *call) WARN_UNUSED;
/* With the whole request: true where it waits for its turn; call_handle is called again then. */
bool limit_slowed(struct call *call);
void limit_slowed_tick(struct gateway_loop *loop);
/* One more line of a bulk call. OK; ERR_RATE with wait_us > 0: not now; ERR_RATE with 0: the line
 * is to be refused. */
enum err limit_line(struct call *call, int64_t *wait_us, struct fault *fault) WARN_UNUSED;
void limit_headers(struct call *call);

/* bulk.c */
void bulk_begin(struct call *call);
void bulks_flush(struct gateway_loop *loop);
void bulks_tick(struct gateway_loop *loop);
/* Whether the read model is farther behind than read_model_lag_events_max: bulk waits then. */
bool lag_is_too_long(const struct gateway *gateway, const struct reader_lag *lag);

/* feed.c */
void feed_begin(struct call *call);
void feeds_wake(struct gateway_loop *loop);
void feeds_tick(struct gateway_loop *loop);
void feeds_drain(struct gateway_loop *loop);

/* gateway.c */
void loop_tick_set(struct gateway_loop *loop);
/* Hands out what the core has answered. */
void loop_inbox_take(struct gateway_loop *loop);
struct gateway_loop *loop_of(struct http_exchange *ex);

/* hub_routes.c */
extern const struct route hub_routes[];
extern const struct route *const hub_route_events, *const hub_route_token;
bool hub_route_receives(const struct route *route);
/* The query of the routes of operations; never run: the pipeline gives them to operation_begin. */
enum err operation_query(struct query *query, struct fault *fault);

/* metrics.c */
enum err metrics_query(struct query *query, struct fault *fault);
/* At a loop's start, on its thread; its idle time is measured already. From here on its turns are. */
void turns_begin(struct gateway_loop *loop);
/* A request was answered. `entry` NULL: it matched no route. */
void counters_count(struct gateway_loop *loop, const struct route_entry *entry, int status,
                    int64_t us);

#endif
