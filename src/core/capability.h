/* capability: one business ability of the hub, as tables: its commands, events, routes, rows
 * of the read model, and its part of the state. One file in src/domain/, one line in its list. */
#ifndef PENSTOCK_CORE_CAPABILITY_H
#define PENSTOCK_CORE_CAPABILITY_H

#include "base/metric.h"
#include "core/command.h"
#include "core/config.h"
#include "core/entity.h"
#include "core/rows.h"

/* A question answered without the writer. */
enum query_kind {
    QUERY_TEXT,  /* any text */
    QUERY_WHOLE, /* a whole number from min to max */
    QUERY_TIME,  /* RFC 3339 with offset */
    QUERY_WORD,  /* one of `values` */
};
struct query_param {
    const char *name;
    bool required, repeated;
    const char *help;
    /* What a value looks like, for the printed documents; who reads it checks it. */
    enum query_kind kind;
    int64_t min, max;
    const char *const *values; /* ends with NULL */
};
struct query {
    struct arena *arena;
    struct reader *reader;
    struct str args[COMMAND_ARGS_MAX]; /* path parameters */
    const struct query_value { struct str name, value; } *values; /* decoded, in order */
    uint32_t value_count;
    int64_t now_us;
    void *ctx;               /* of the table the route is in (gateway_table); else NULL */
    struct str actor;        /* who asks: API key id; absent where the route is open */
    struct str person;       /* who that is: the key's name, the token's subject */
    struct str correlation, from; /* of the request: its case, the client's address */
    struct str body;         /* of the request, as it came; absent for GET */
    int64_t if_match;        /* version of If-Match; 0 or less: none was given */
    struct buf *out;         /* body of the answer */
    struct str packed;       /* the same in gzip, where that is at hand; else absent */
    int status;              /* of the answer; 0 means 200 */
    const char *media_type;  /* of the answer; NULL means application/json */
    struct str next_cursor;  /* lists: set to make the Link header; absent at the end */
    uint64_t seq;            /* the seq the answer reflects */
};
/* First value of a parameter, or absent. */
struct str query_value(const struct query *query, const char *name);
/* limit (1..max, default) from ?limit=; fault and ERR_BAD_REQUEST… as ERR_INVALID otherwise. */
enum err query_limit(const struct query *query, uint32_t dflt, uint32_t max, uint32_t *out,
                     struct fault *fault) WARN_UNUSED;

/* A page of rows as {"items":[…],"next_cursor":…}, for lists that the read model answers whole:
 * ?limit= and ?cursor= as ever, the parameters in `by` filter a column for equality (name NULL
 * ends them; at most QUERY_FILTERS_MAX), `item` writes one row as a JSON object. */
#define QUERY_FILTERS_MAX 8
struct query_filter {
    const char *param;
    uint32_t column;
};
enum err query_rows(struct query *query, const struct table *table, uint32_t sort_column,
                    const struct query_filter *by,
                    void (*item)(struct query *query, const struct row_value *values),
                    struct fault *fault) WARN_UNUSED;
/* The body as `shape` says, in the query's arena; {} where there is none. ERR_MALFORMED, ERR_INVALID with
 * every fault, ERR_NOMEM. */
enum err query_body(struct query *query, const struct shape *shape, void **out, struct fault *fault) WARN_UNUSED;
/* A list as all of the interface are: {"items":[ … ],"next_cursor":"…" or null}. list_next is called before
 * each item. */
void list_begin(struct buf *out);
void list_next(struct buf *out);
void list_end(struct buf *out, struct str next_cursor);
/* ,"name":"value" or null where it is absent. */
void query_member(struct query *query, const char *name, struct str value);

/* What no route needs, and all of them heed: without it, answers leave out what is personal. */
#define SCOPE_PERSONAL "personal:read"

#define ROUTE_BULK 0x01u   /* the same path takes NDJSON, one document a line */
#define ROUTE_INLINE 0x02u /* the query takes microseconds: run on the loop thread; sees nothing
                              personal, because an answer that says it waits for the audit */
#define ROUTE_TWO_PERSONS 0x100u /* a query that penstock.yaml may make wait for a second person;
                                    made twice it does no more than once */
#define ROUTE_AUDITED 0x80u /* a query of which each call is told to the audit, though it changes
                               nothing and shows nothing personal */
#define ROUTE_LINES 0x200u /* a query that answers NDJSON, a line of `answer` for each thing done */
#define ROUTE_LIST 0x04u   /* answers {"items":[…]} of `answer`; so does every route with ?limit= */
#define ROUTE_BODY_MAY 0x08u /* the body of `body` may be left out */
#define ROUTE_NEVER_SHED 0x40u /* probes and figures: no limit, no shedding */
struct route {
    const char *method, *path; /* "POST", "/v1/orders/{order_id}/cancel" */
    const char *scope;         /* "orders:write"; NULL: open to all */
    enum traffic_class traffic;
    const struct command_type *command; /* either … */
    /* … or; on a worker thread unless ROUTE_INLINE. POST routes of the operations side have
     * queries too: those that change what is no command's business (a held delivery, a key). */
    enum err (*query)(struct query *query, struct fault *fault);
    const struct query_param *params; /* query parameters, ends with name NULL; may be NULL */
    const struct shape *answer;       /* of success; for lists: of an item */
    unsigned flags;
    const char *help; /* one line, OpenAPI summary */
    /* Command routes whose query parameters fill the body (GET): how. May be NULL. */
    enum err (*bind)(const struct query *query, void *body, struct arena *arena,
                     struct fault *fault);
    /* For the printed documents, held to what the hub answers by tests: */
    int status;               /* of success; 0 means 200. 201: a repetition is answered with 200 */
    const enum err *refusals; /* by the present state, ends with OK; may be NULL. What follows from
                                 the row itself (who may, a body that is wrong) is not in it */
    const struct shape *body; /* of a query route's body; commands have their own */
    const char *more;         /* what a caller should know beyond `help`; may be NULL */
    /* Days ("2027-03-31", UTC) from which on the route is deprecated (RFC 9745) and answers no
     * more (RFC 8594); NULL: what its contract says (gateway/contract.h). */
    const char *deprecated, *sunset;
};
/* The refusals of a row: ROUTE_REFUSES(ERR_NOT_FOUND, ERR_CONFLICT). */
#define ROUTE_REFUSES(...) (const enum err[]) { __VA_ARGS__, OK }

struct capability {
    const char *name;
    const char *help;
    const struct command_type *const *commands; /* each list ends with NULL */
    const struct event_type *const *events;
    const struct route *routes; /* ends with method NULL */
    const struct table *const *tables;
    const struct entity_kind *const *entities; /* of the state, written down; ends with NULL */
    size_t state_size;
    enum err (*state_init)(void *state, const struct config *config);
    void (*state_free)(void *state);
    /* Bytes of the state that never leave memory. May be NULL. */
    size_t (*memory)(const void *state);
    /* Called at the apply of every event of every capability, live and at replay, after the
     * event's own apply: may change this capability's state alone. Same rules as apply. */
    enum err (*observe)(struct state *state, const struct event *event);
    /* Called before a command that has a source (and is not internal) is decided: may make events
     * and an answer instead, and then sets *done. Same rules as decide. */
    enum err (*admit)(struct decision *decision, const struct command *command, bool *done);
    /* Called for every event of every capability, after it was applied: may issue further
     * commands in the same batch through decision_issue. Live only, never at replay. */
    enum err (*react)(struct decision *decision, const struct event *event);
    /* After the fsync, before answers go out: makes the batch's changes visible to readers on
     * other threads. */
    void (*publish)(void *state);
    /* Figures (base/metric.h), from what publish made visible: on any thread. May be NULL. */
    void (*metrics)(const void *state, struct metrics *out);
    /* Earliest due time of a timer, INT64_MAX for none; and the command that is due then. */
    int64_t (*timer_next)(const void *state);
    enum err (*timer_fire)(const void *state, int64_t now_us, struct decision *decision);
    /* The whole state as text, a line an entry, in any order: replay equality compares it. */
    void (*dump)(const void *state, struct buf *out);
};

/* All capabilities, in order, NULL at the end (domain/list.c). */
struct registry;
struct registry *registry_create(const struct capability *const *capabilities);
void registry_destroy(struct registry *registry);
const struct capability *const *registry_capabilities(const struct registry *registry);
const struct event_type *registry_event(const struct registry *registry, struct str name);
const struct command_type *registry_command(const struct registry *registry, struct str name);

/* State of a capability inside apply, publish …; state is the cell's whole state. */
void *state_of(struct state *state, const struct capability *capability);
const void *state_part(const struct state *state, const struct capability *capability);

#endif
