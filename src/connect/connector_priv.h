/* connector_priv: the inside of a connector: its memory, and what the files that read a section
 * of connector.yaml share (connector_load.c and connector_load_*.c). */
#ifndef PENSTOCK_CONNECT_CONNECTOR_PRIV_H
#define PENSTOCK_CONNECT_CONNECTOR_PRIV_H

#include "base/hash.h"
#include "base/yaml.h"
#include "connect/connector.h"

enum connector_row {
    CONNECTOR_NAME, CONNECTOR_VERSION, CONNECTOR_OWNER, CONNECTOR_SERVICE_LEVEL, CONNECTOR_DESCRIPTION,
    CONNECTOR_SETTINGS, CONNECTOR_SESSION, CONNECTOR_ACCOUNT, CONNECTOR_AUTH, CONNECTOR_RECEIVE, CONNECTOR_POLL,
    CONNECTOR_FILES, CONNECTOR_STREAMS, CONNECTOR_SEND, CONNECTOR_OPERATIONS,
};
enum connector_send_row {
    SEND_SUBSCRIPTION, SEND_ENABLED, SEND_EVENTS, SEND_KEY, SEND_CONFLATE, SEND_BATCH,
    SEND_PERSONAL, SEND_MAPPING, SEND_SCRIPT,
    SEND_SETTLE_MS, SEND_REQUEST,
    SEND_LOOKUP, SEND_REFERENCE, SEND_OUTCOME, SEND_RETRY, SEND_LIMITS, SEND_STOP, SEND_TIMEOUT_MS, SEND_REPLAY,
    SEND_EXPECT, SEND_PRIORITY,
};

#define CONNECTOR_ZONES_MAX 64 /* topics that expect something */
/* One version of a connector. Freed with its last user. */
struct connector_own {
    struct arena arena; /* the connector itself, too */
    struct connector *connector;
    struct mapping_sources *sources;
    struct connector_counters *counters; /* shared with its other versions */
    struct zone *zones[CONNECTOR_ZONES_MAX];
    uint32_t zone_count;
    struct hash128 content; /* what the file says and its mappings */
    struct hash128 print;   /* that and what its references resolved to: equal prints serve alike */
    struct str text;        /* of connector.yaml */
    struct connector_file { struct str path; struct connector_file *next; } *files; /* secrets */
    bool replays;           /* a topic asks for a replay window */
    _Atomic uint32_t users;
};
/* Of its first user, when it was never shown to another. */
void connector_own_free(struct connector_own *own);

#define LOAD_TEXT_BYTES_MAX 65536
#define LOAD_HEADERS_MAX 64

/* One connector.yaml while it is read. */
struct loader {
    struct connector_own *own;
    struct arena *arena; /* of own */
    struct fault *fault;
    struct yaml yaml;
    struct connector *connector;
    const struct json *settings; /* all, secret ones too; JSON_NULL where not set */
    struct buf missing;          /* names not set, of the connector */
};
struct resolved {
    struct str text; /* absent: something is not set */
    bool secret;     /* came from the environment or a file */
};
/* A JSON Pointer, in the arena. */
struct str load_pointer(struct loader *l, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The text with its references replaced; what is not set is noted in `missing`, what is wrong is a
 * fault at the pointer. */
struct resolved load_text(struct loader *l, struct str in, struct buf *missing, struct str pointer);
/* Adds "kind name" to the list, once. */
void load_note_missing(struct buf *to, const char *kind, struct str name);
/* Adds what `auth` needs and lacks: without it no call of the connector can be made. */
void load_note_auth(const struct loader *l, struct buf *missing);
/* The mapping of the connector's folder, compiled; an empty name is none. */
void load_mapping(struct loader *l, struct str file, struct str pointer,
                  const struct mapping_source **out);
void load_request(struct loader *l, struct connector_request *request, const char *method,
                  struct buf *missing, struct str pointer);

/* A document whose texts have their references replaced, as JSON text. Absent: one is not set. */
struct str load_document(struct loader *l, const struct json *from, struct buf *missing,
                         struct str pointer);

/* Reads DIR/connectors/NAME; every fault goes into `fault`. The caller is its first user.
 * ERR_INVALID, ERR_NOT_FOUND, ERR_IO, ERR_NOMEM. */
enum err connector_load(const char *dir, const char *name, struct connector **out,
                        struct fault *fault) WARN_UNUSED;
/* Names of the folders that hold a connector.yaml, sorted, in the arena. None where there is no
 * folder `connectors`. */
enum err connector_folders(const char *dir, struct arena *arena, struct str **names, uint32_t *count,
                           struct fault *fault) WARN_UNUSED;
/* A set without connectors, with room for `cap`; its maker is the first user. */
struct connectors *connectors_create(uint32_t cap);
/* Subscriptions of `connector` that another one of the set has, as faults. */
void connectors_clash(const struct connectors *set, const struct connector *connector,
                      struct fault *fault);
/* What sets hand on: the window of signed messages where one of the set asks for it, and the payloads on
 * their way: those of `before`, else new ones. */
enum err connectors_share(struct connectors *set, const struct connectors *before,
                          struct fault *fault) WARN_UNUSED;

extern const struct shape connector_request_shape, connector_outcome_shape, connector_limits_shape;
/* connector_load_outcome.c */
extern const struct shape connector_retry_shape;
/* Lists of statuses and rules for bodies, at `pointer`, and what holds for the others. ERR_NOMEM */
enum err load_outcome(struct loader *l, struct connector_outcome *outcome, struct str pointer) WARN_UNUSED;
/* Defaults, and what each class takes from what is said for all. ERR_NOMEM */
enum err load_retry(struct loader *l, struct connector_retry *retry) WARN_UNUSED;

/* connector_load_account.c */
extern const struct shape connector_account_shape;
extern const char *const account_priorities[];
enum err load_account(struct loader *l) WARN_UNUSED;
/* enum net_class of what an event, or a command, is about. */
int32_t load_priority_of(struct str type);

/* connector_load_operation.c */
extern const struct shape connector_operation_shape;
enum err load_operations(struct loader *l) WARN_UNUSED;

/* connector_load_batch.c */
extern const struct shape connector_batch_shape;
/* `conflate` and `batch` of what goes out, at `pointer`; what they need of its other members. */
void load_batch(struct loader *l, struct connector_send *send, struct buf *missing, struct str pointer);

/* connector_load_auth.c */
extern const struct shape connector_auth_shape, connector_session_shape;
enum err load_auth(struct loader *l) WARN_UNUSED;
/* As application/x-www-form-urlencoded has it. */
void form_encode(struct buf *out, struct str value);
extern const struct shape connector_place_shape;
/* connector_load_stop.c */
extern const struct shape connector_stop_shape;
enum err load_stop(struct loader *l, struct connector_send *send, uint32_t i) WARN_UNUSED;
/* connector_load_poll.c */
extern const struct shape connector_poll_shape;
enum err load_polls(struct loader *l) WARN_UNUSED;
/* NULL: there is none. */
void load_expect(struct loader *l, struct connector_expect *expect, struct str pointer);
bool load_polls_have(const struct loader *l, struct str topic);
/* connector_load_files.c */
extern const struct shape connector_files_shape;
enum err load_files(struct loader *l) WARN_UNUSED;

/* connector_load_streams.c: what goes out to a stream gets the headers by which it is known there, and a
 * look-up by them. */
void load_stream_send(struct loader *l, struct connector_send *send, uint32_t i);
extern const struct shape connector_stream_shape;
enum err load_streams(struct loader *l) WARN_UNUSED;

#endif
