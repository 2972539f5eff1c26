/* connector: a folder that describes one external system: connector.yaml, its mappings
 * (*.lua) and their fixtures. This file owns the description, read strictly, every fault with
 * file and line; immutable afterwards and shared by all threads.
 *
 * A connector is one version of its folder, and is counted: who uses it beyond a call takes it and
 * releases it. A set of connectors (struct connectors) is counted likewise and takes each of its
 * own; when a folder changes, a new set has the new version of that one and the same others
 * (connect/roster.h). What was made by hand, in tests, is not counted: taking it does nothing.
 *
 * In connector.yaml a text may hold references, replaced while it is read:
 *   ${setting:NAME}  a value from `settings`
 *   ${env:NAME}      an environment variable, ${env:NAME:-text} with a default
 *   ${file:PATH}     a file's contents without its trailing line ends (secrets)
 * A reference to what is not set leaves the text absent and adds its name to
 * connector->missing: the topic or subscription that needs it is then not usable and says so;
 * nothing else suffers. Placeholders in single braces ({event.id}) are left for who sends. */
#ifndef PENSTOCK_CONNECT_CONNECTOR_H
#define PENSTOCK_CONNECT_CONNECTOR_H

#include <pthread.h>

#include "base/err.h"
#include "base/json.h"
#include "base/metric.h"
#include "map/mapping.h"
#include "connect/traffic.h"
#include "shape/shape.h"

/* How a webhook is signed; see connect/signature.h. */
enum signature_scheme {
#define SIGNATURE(symbol, name, verify, key, digest, header, dedup_header, dedup_member, help) symbol,
#include "connect/signatures.def"
#undef SIGNATURE
    SIGNATURE_SCHEMES
};
struct connector_signature {
    uint64_t has;
    int32_t scheme;    /* enum signature_scheme */
    struct str header; /* default by scheme: Stripe-Signature, webhook-signature … */
    struct str prefix; /* text before the digest in the header: "sha256=" (hex, base64) */
    const struct json *secret_open; /* as written: one text or a list of them */
    int64_t tolerance_s; /* stripe, standard-webhooks: how old or early; default 300 */
    struct str url;      /* square: the address as registered there; absent where it is not set */
    int64_t replay_window_s; /* the same signed bytes again within it are the same message, under
                                whatever id; 0: never */
    /* resolved, not in the file: those that are set */
    struct str *secrets;
    uint32_t secret_count;
};

/* Where a value is found in a webhook: exactly one of the two. */
struct connector_place {
    uint64_t has;
    struct str header; /* request header, any case */
    struct str member; /* of the payload: "id" or "order.id" */
};
enum connector_place_row { PLACE_HEADER, PLACE_MEMBER };

/* Messages whose member is one of the values; the others ask for nothing. */
struct connector_only {
    uint64_t has;
    struct str member;        /* "financial_status" or "order.state" */
    struct shape_list values; /* of struct str */
};
/* What it means that the natural key was recorded before with another content. */
enum connector_known { KNOWN_REFUSE, KNOWN_IGNORE };

struct connector_receive {
    uint64_t has;
    struct str topic; /* POST /x/{connector}/{topic} */
    struct connector_signature *signature;
    struct connector_place *dedup; /* the partner's id of the message; absent: where the scheme
                                      of its signature says, else each is new */
    struct connector_place *key;   /* payloads with one key are processed in order */
    struct connector_place *version; /* of what the key names: a number or a time. What is older than
                                        what was applied is settled as stale; absent: not checked */
    struct str mapping;            /* "order.lua" */
    struct str command;            /* "order.capture" … */
    struct shape_list commands;    /* … or of struct str: those that route() of the mapping may name */
    struct connector_only *only;   /* NULL: all */
    int32_t known;                 /* enum connector_known */
    struct connector_expect *expect; /* connect/expect.h; NULL: nothing is expected */
    /* not in the file */
    struct str backstop;           /* a poll: the webhook whose messages it brings where they were missed */
    const struct mapping_source *source;
    uint32_t line; /* of its command in connector.yaml */
};

/* When again, after one outcome. What a class leaves out is as for all. */
struct connector_schedule {
    uint64_t has;
    int64_t first_ms, max_ms; /* pause before the second attempt; longest pause */
    int64_t factor;           /* each pause is the one before times this */
    int64_t attempts_max;     /* 0: no limit */
    int64_t age_max_s;        /* 0: no limit */
};
enum retry_class { RETRY_RETRYABLE, RETRY_AMBIGUOUS, RETRY_THROTTLED, RETRY_UNREACHABLE, RETRY_CLASSES };
struct connector_retry {
    uint64_t has;
    int64_t first_ms, max_ms;
    int64_t factor;
    int32_t jitter;           /* enum retry_jitter */
    int64_t attempts_max;
    int64_t age_max_s;
    struct connector_schedule *of[RETRY_CLASSES]; /* never NULL once loaded */
};
enum retry_jitter { JITTER_NONE, JITTER_FULL }; /* full: even over [0, pause] */

struct connector_limits {
    uint64_t has;
    int64_t concurrency; /* requests under way at once, over all lanes */
    int64_t rate_per_s;  /* 0: none */
};

/* When a subscription stops by itself: more than `share` of the deliveries that ended last were
 * newly held. Read by connector_load_stop.c. */
struct connector_stop {
    uint64_t has;
    int64_t share;    /* scaled by RATE_SCALE: "0.5" is 500000000; 1: never */
    int64_t of_last;  /* deliveries that ended: delivered or held */
    int64_t at_least; /* so many must have ended */
};
#define STOP_OF_LAST_MAX 1024

struct connector_account; /* connect/account.h */

struct connector_request {
    uint64_t has;
    struct str method;
    struct str url;                  /* resolved but for {…}; absent where a reference is not set */
    const struct json *headers_open; /* object of texts */
    /* resolved */
    struct connector_header { struct str name, value; } *headers;
    uint32_t header_count;
};

/* GET (usually) before posting again after an ambiguous end: is it there already? */
struct connector_lookup {
    uint64_t has;
    struct connector_request request; /* filled from the members below */
    struct str method, url;
    const struct json *headers_open;
    struct str found;     /* JSON Pointer: it is there when this member is there and not null */
    struct str reference; /* JSON Pointer: the system's own number in that answer */
    int64_t settle_ms;    /* how long a request that we gave up may still be at work there: "not
                             found" is believed only after it; default 2000 */
};

/* What an answer means (connect/outcome.h). First match of what the file says of statuses: success, final,
 * then the others. */
enum connector_outcome_kind {
    OUTCOME_SUCCESS,
    OUTCOME_FINAL,       /* never without a person */
    OUTCOME_RETRYABLE,   /* surely not done; the same may succeed later */
    OUTCOME_AMBIGUOUS,   /* it may have been done */
    OUTCOME_THROTTLED,   /* not done: too much */
    OUTCOME_UNREACHABLE, /* nobody there, or nobody who listens to us: every call would end so */
    OUTCOME_KINDS,
};
/* An answer whose body says another thing than its status: GraphQL, JSON-RPC. */
struct outcome_rule {
    uint64_t has;
    struct str at;               /* JSON Pointer; "*" is any element or member */
    const struct json *is_open;  /* one text or number, or a list */
    int32_t means;               /* enum connector_outcome_kind */
    bool any;                    /* also where the status is none of success */
    /* not in the file */
    struct str *is; /* is_count 0: there, and neither null, false, nor empty */
    uint32_t is_count;
};
struct connector_outcome {
    uint64_t has;
    const struct json *success_open, *final_open, *retryable_open; /* [200, "5xx"] */
    const struct json *ambiguous_open, *throttled_open, *unreachable_open;
    int32_t like;            /* of outcome_likes: a platform's conventions, where nothing here says another thing */
    struct shape_list body;  /* of struct outcome_rule: before those of `like`; the first that fits */
    /* not in the file */
    const struct outcome_rule *rules; /* body's */
    uint32_t rule_count;
    uint8_t kind[600]; /* by status, enum connector_outcome_kind */
};

/* Where the answer to signing in has the session. */
struct connector_session_token {
    uint64_t has;
    struct str header; /* of the answer */
    struct str prefix; /* of what is sent then: "Bearer " */
};
/* What an answer looks like that says that the session has ended, where its status does not. */
struct connector_session_ended {
    uint64_t has;
    struct str at, is; /* JSON Pointer; the text that is there */
};

/* How to sign in where each call needs a session: a request whose answer a mapping turns into the
 * value of a header. Opened when the first call needs it, and again after an answer 401. */
struct connector_session {
    uint64_t has;
    struct connector_request *request;
    const struct json *body_open; /* document; its texts may hold references (passwords) */
    struct str mapping;           /* "session.lua": the answer's body → {value = "Session …"}; … */
    struct connector_session_token *token; /* … or where it stands: one of the two */
    struct connector_session_ended *ended; /* NULL: status 401 alone says so */
    struct str header;            /* that gets the value; default Authorization */
    int64_t timeout_ms;
    /* not in the file */
    const struct mapping_source *source;
    struct str body; /* absent: none */
};

/* What a replay may ask for: the same ids and a look-up, or also new ones. */
enum send_replay { SEND_REPLAY_SAME, SEND_REPLAY_AGAIN };
/* How a batch that may have been taken is looked up before its members are sent again, or what the
 * remote has where it refused a comparison: one call for many members. */
struct connector_batch_lookup {
    uint64_t has;
    struct connector_request request; /* filled from the members below */
    struct str method, url;
    const struct json *headers_open;
    struct str mapping; /* {members, batch} to what is sent; absent: no body */
    struct str answer;  /* {status, body, members} to {members = {{found, reference, current}, …}} */
    /* not in the file */
    const struct mapping_source *mapping_source, *answer_source;
};

/* Several deliveries in one call (deliver/batch.c). */
struct connector_batch {
    uint64_t has;
    int64_t max_items; /* default 100 */
    int64_t max_bytes; /* of the members' documents; default 1 MiB */
    int64_t linger_ms; /* how long the first waits for others; default 0 */
    struct str by;     /* only what is equal there goes together: JSON Pointer into the event */
    struct str mapping; /* {members, batch} to what is sent; absent: the list of the documents */
    struct str answer; /* {status, body, members} to {members = {{outcome, …}, …}}; absent: the status
                          holds for all */
    bool idempotent;   /* the remote knows each member by a key in its document */
    struct connector_batch_lookup *lookup; /* NULL: none */
    /* not in the file */
    const struct mapping_source *mapping_source, *answer_source;
};

/* sku: of availability.changed alone, whatever the location. */
enum send_key { SEND_KEY_SUBJECT, SEND_KEY_NONE, SEND_KEY_SKU };
enum send_conflate { SEND_CONFLATE_NONE, SEND_CONFLATE_LATEST };
struct connector_send {
    uint64_t has;
    struct str subscription;   /* unique over all connectors */
    bool enabled;              /* default true; false: read and checked, not followed */
    struct shape_list events;  /* of struct str: event types, "order.captured" or "order.*" */
    int32_t key;               /* enum send_key: the lane */
    int32_t conflate;          /* enum send_conflate: what supersedes what on a lane */
    struct connector_batch *batch; /* NULL: one at a time; never NULL with conflate once loaded */
    bool personal;             /* may see what is personal; default false */
    struct str mapping;        /* "post_order.lua"; absent: the event's data as it is */
    struct str script;         /* "order.lua", in place of mapping and lookup: several calls,
                                  each decided by what the ones before answered (docs/mappings.md) */
    int64_t settle_ms;         /* with script: as in lookup */
    struct connector_request *request;
    struct connector_lookup *lookup; /* NULL: posted again without asking */
    struct str reference;      /* JSON Pointer into the answer: the system's own number */
    struct connector_outcome *outcome; /* never NULL once loaded */
    struct connector_retry *retry;     /* never NULL once loaded */
    struct connector_limits *limits;   /* never NULL once loaded */
    struct connector_stop *stop;       /* never NULL once loaded; NULL of a webhook: never */
    struct connector_expect *expect;   /* connect/expect.h: deliveries that should go; NULL: none are expected */
    int64_t timeout_ms;        /* of one attempt */
    int32_t replay;            /* enum send_replay */
    int32_t priority;          /* enum net_class; by its events where the file says none */
    /* not in the file */
    const struct mapping_source *source; /* of the mapping or the script; NULL: neither */
    const struct connector *connector;
    bool availability;  /* of availability.changed, which the hub makes of stock events for who sends it */
    bool bare;          /* no batch in the file: the member's document is what is sent */
    uint32_t line;      /* in connector.yaml */
    struct str missing; /* names of references that are not set; absent: usable */
    const struct webhook *webhook; /* connect/webhook.h: made through the API; NULL: a connector's */
};

/* What came in of one connector, over all its versions: written and read by any thread. */
enum connector_processed { PROCESSED_MAPPED, PROCESSED_KNOWN, PROCESSED_FAILED, PROCESSED_KINDS };
struct connector_counters {
    _Atomic uint64_t received, rejected, processed[PROCESSED_KINDS];
    _Atomic int64_t received_us, processed_us, failed_us; /* the newest, wall clock; 0: none */
    struct histogram processing_us;
    struct traffic traffic;    /* by topic */
    struct traffic sent;       /* by subscription: of those that `expect` something */
    _Atomic uint32_t versions; /* that count here */
};

struct connector_auth;
struct connector {
    uint64_t has;
    struct str name, version, owner, service_level, description;
    const struct json *settings_open;
    struct connector_session *session; /* how `auth: {session: …}` was written before */
    struct connector_account *account; /* connect/account.h; NULL: nothing is said of its limits */
    struct connector_auth *auth;       /* connect/auth.h; NULL: calls say nothing of who makes them */
    struct shape_list receive; /* of struct connector_receive */
    struct shape_list poll;    /* of struct connector_poll (connect/connector_poll.h) */
    struct shape_list files;   /* of struct connector_files (connect/connector_files.h) */
    struct shape_list streams; /* of struct connector_stream (connect/connector_streams.h) */
    struct shape_list send;    /* of struct connector_send */
    struct shape_list operations; /* of struct connector_operation (connect/operation.h) */
    /* not in the file */
    struct str dir;            /* DIR/connectors/NAME */
    const struct json *settings; /* resolved: an object of texts and numbers; mappings read it.
                                    Values that came from env or file are not in it. */
    const struct connector_receive **taken; /* all that comes in, whichever way: webhooks, polls, files */
    uint32_t taken_count;
    struct connector_counters *counters;
    struct str missing;        /* "env SHOPIFY_WEBHOOK_SECRET, …"; absent: nothing */
    struct str hash;           /* of what the file says and its mappings are: 12 hex digits */
    struct connector_own *own; /* its memory; NULL: made by hand */
};
/* While somebody uses it; any thread. */
const struct connector *connector_take(const struct connector *connector);
void connector_release(const struct connector *connector); /* or NULL */

/* All connectors of a configuration. */
struct connectors {
    struct connector **items; /* sorted by name */
    uint32_t count;
    struct replay *replay; /* NULL: no topic asks for it; changes, locked */
    struct parcels *parcels; /* connect/parcel.h; NULL: made by hand. Changes, locked */
    _Atomic uint32_t users; /* 0: made by hand, not counted */
};

/* Reads DIR/connectors/NAME/connector.yaml of every folder, and the mappings they name. An absent
 * folder `connectors` is no connectors. Every fault of all of them goes into `fault`, pointer
 * "file:line:/json/pointer". ERR_INVALID, ERR_IO, ERR_NOMEM. */
enum err connectors_load(const char *dir, struct connectors **out, struct fault *fault) WARN_UNUSED;
/* While somebody uses the set; any thread. Who loaded it is the first user. */
const struct connectors *connectors_take(const struct connectors *connectors);
void connectors_release(const struct connectors *connectors); /* or NULL */
/* Hands a set over to the thread that follows it: *offered is what that thread has not looked at yet, or
 * NULL, under the lock. Any thread. */
void connectors_offer(const struct connectors **offered, pthread_mutex_t *lock, const struct connectors *set);
/* What a thread that follows does with what it was offered. On an error it is offered again: what was done
 * so far stands, the rest is for the next round. */
struct connectors_follower {
    const struct connectors **offered, **current;
    pthread_mutex_t *lock; /* held while `follow` runs */
    enum err (*follow)(void *ctx, const struct connectors *set, struct fault *fault);
    void *ctx;
    const char *part; /* of the log */
};
/* True: *current is the set that was offered, and the one before was released. */
bool connectors_follow(const struct connectors_follower *follower);
/* Whether a mapping with this id belongs to one of them. */
bool connectors_have_mapping(const struct connectors *connectors, uint64_t id);
/* NULL where there is none. */
const struct connector *connector_find(const struct connectors *connectors, struct str name);
const struct connector_receive *connector_topic(const struct connector *connector,
                                                struct str topic);
/* The same of all that comes in, webhooks or not: how its payloads are processed. */
const struct connector_receive *connector_taken(const struct connector *connector,
                                                struct str topic);
/* The subscription of any connector, or NULL. */
const struct connector_send *connector_subscription(const struct connectors *connectors,
                                                    struct str name);
/* Whether the subscription wants events of this type. */
bool connector_wants(const struct connector_send *send, struct str event_type);
/* What came in, of all connectors; any thread. */
void connectors_figures(const struct connectors *connectors, struct metrics *out);

/* The shape of connector.yaml (`penstock schema connector`). */
extern const struct shape connector_shape;

#endif
