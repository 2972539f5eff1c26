/* The inside of the oracle: what was observed (oracle.c), the rules (judge.c; of deliveries
 * judge_deliveries.c, of accounts judge_accounts.c), and the model of stock (judge_stock.c). */
#ifndef PENSTOCK_TESTS_ORACLE_ORACLE_PRIV_H
#define PENSTOCK_TESTS_ORACLE_ORACLE_PRIV_H

#include "base/err.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/map.h"
#include "oracle.h"

#define NONE UINT32_MAX

/* Texts by number, in order of arrival. */
struct index {
    struct map map;
    struct str *keys;
    uint32_t count, cap;
};
/* NONE where it is not there and not to be added. */
uint32_t index_of(struct index *index, struct str key, bool add);
void index_free(struct index *index);

/* A growing array of any type: `T *at = LIST_ADD(&list, T)`. */
struct list {
    void *items;
    uint32_t count, cap;
};
void *list_more(struct list *list, size_t size);
#define LIST_ADD(list, type) ((type *)list_more((list), sizeof(type)))
#define LIST_AT(list, type, i) (((type *)(list)->items)[i])

enum op_kind {
    OP_ORDER,
    OP_CANCEL,
    OP_SHIPMENT,
    OP_COUNT,
    OP_ADJUSTMENT,
    OP_RECEIPT,
    OP_HOLD,
    OP_RELEASE,
    OP_PAYLOAD,
    OP_KINDS
};
enum fate { FATE_UNKNOWN, FATE_ACKNOWLEDGED, FATE_REFUSED };

struct op {
    uint64_t number;
    enum op_kind kind;
    bool fact;
    struct str key, correlation, target;
    const struct json *body;
    struct str text; /* the request as it was observed */
    enum fate fate;  /* by the last attempt: an earlier one that took effect would be replayed */
    const struct json *answer; /* the first acknowledgement's; NULL: none */
    const struct json *other;  /* one that differs from it */
    uint32_t effects;
    uint32_t effect; /* first of them, in events */
};

struct event_seen {
    uint64_t seq;
    struct str id, kind, subject, correlation; /* kind: "order.captured" */
    struct str cause; /* seq of the event it followed from, where that was observed */
    int64_t time_us;
    const struct json *data;
    uint32_t op; /* it is the primary event of; NONE */
};

struct values {
    int64_t on_hand, held, committed, available;
};
struct position_seen {
    struct str sku, location;
    struct values values;
    uint64_t seq; /* of a read */
};
struct booked {
    struct str order_id, currency, number;
    int64_t total;
};
struct effect {
    uint32_t subscription;
    uint64_t seq;
    uint64_t asked; /* the hub's seq then; 0: not told */
    struct str lane;
    bool replay; /* asked for once more: its place in the lane is another */
};
struct subscription_seen {
    struct str name;
    uint64_t at_once; /* deliveries under way, at most; 0: not told */
    const struct json *events;
};

struct value_set {
    uint32_t subscription;
    struct str lane;
    int64_t version, available;
};

/* In order of arrival: its deliveries are refused from here on; one is; one is done; it is started. */
struct stop_seen {
    enum { STOP_BAD, STOP_WELL, STOP_REFUSED, STOP_DONE, STOP_STARTED, STOP_LIFE } what;
    uint32_t subscription;
    uint64_t seq, at_most;
    bool replay;
};

/* Of who fetches: it was handed out; it did the work; it was answered that this is known. */
struct fetch_seen {
    enum { FETCHED, FETCH_DONE, FETCH_ACKED } what;
    uint64_t seq;
    struct str lane;
};

/* A message that a broker stored for the hub; and its acknowledgement. */
struct message_seen {
    struct str stream, place, id, key; /* stream: "CONNECTOR/TOPIC"; id empty: it says none */
    bool consumed;
    uint64_t durable; /* where the journal was when it was acknowledged */
};
/* A message of the hub in a broker's log. */
struct logged_seen {
    struct effect effect;
    struct str id;
};

/* Of webhooks of the API (judge_hooks.c), in order of arrival. */
struct hook_seen {
    enum { HOOK_CALL, HOOK_ANSWER, HOOK_APPLIED, HOOK_SAID, HOOK_SECRET, HOOK_START, HOOK_LIFE, HOOK_HELD,
           HOOK_LEDGER } what;
    uint64_t seq;
    const struct json *doc;
};

/* What a person was answered about a held delivery. */
struct decided_seen {
    uint32_t subscription;
    uint64_t seq, at;
    bool discard;
};

struct ledger_seen {
    uint32_t subscription;
    uint64_t taken, delivered, discarded, superseded, listed, waiting;
    uint64_t from, to, before, again, replayed;
    bool ranged; /* these were told */
};

/* What an account takes, and after how many calls in a row it is left alone. */
struct account_seen {
    struct str name;
    int64_t calls, per_ms, burst, quota;
    uint32_t concurrency, after;
};
/* A call to another system begins, or ends; or the hub starts; or its breakers are on disk as they are. */
struct call_seen {
    enum { CALL_BEGAN, CALL_ENDED, CALL_LIFE, CALL_NOTED } what;
    enum { CALL_NOTHING, CALL_GOOD, CALL_BAD } end;
    uint64_t id;
    uint32_t account;
    struct str endpoint;
    int64_t at_us, wall_us, pause_ms;
};

struct oracle {
    struct arena arena; /* of all that was observed */
    struct json_parser *parser;
    struct index op_numbers, order_ids, subscriptions_by_name, accounts_by_name;
    struct list ops, events, orders, positions, reads, booked, numbers, subscriptions, effects,
        held, ledgers, sets, decided, accounts, calls, stops, fetches, messages, logged, hooks;
    int64_t hook_patience_us;
    struct subscription_seen fetcher; /* name absent: none */
    uint64_t fetcher_after;
    uint64_t call_last; /* the highest number */
    int64_t call_wall_us;
    bool clock_set_back;
    struct str source;
    struct str erp; /* the subscription that keeps the books; absent: none */
    bool quiet;
    int64_t quiet_us;
    /* while judging */
    oracle_tell *tell;
    void *ctx;
    struct index rules;
    uint32_t told[64], found;
};

struct order_seen {
    struct str order_id;
    const struct json *document;
};
struct number_seen {
    struct str order_id, number;
};

/* A violation. */
void oracle_violate(struct oracle *o, const char *rule, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Whether the subscription is told of such events. */
bool subscription_wants(const struct subscription_seen *subscription, struct str kind);
/* The rules about what a subscription counts, and about what was given up. */
void judge_ledgers(struct oracle *o);
void judge_discards(struct oracle *o);
void judge_values(struct oracle *o);
/* The rules about who fetches. */
void judge_fetches(struct oracle *o);
/* The rules about what goes through a broker. */
void judge_streams(struct oracle *o);
/* The rules about webhooks of the API, and what they are judged by. */
void judge_hooks(struct oracle *o);
const char *observe_hook_call(struct oracle *o, const struct json *doc);
const char *observe_hook_answer(struct oracle *o, const struct json *doc);
const char *observe_hook_applied(struct oracle *o, const struct json *doc);
const char *observe_hook_said(struct oracle *o, const struct json *doc);
const char *observe_hook_secret(struct oracle *o, const struct json *doc);
const char *observe_hook_start(struct oracle *o, const struct json *doc);
const char *observe_hook_life(struct oracle *o, const struct json *doc);
const char *observe_hook_held(struct oracle *o, const struct json *doc);
const char *observe_hook_ledger(struct oracle *o, const struct json *doc);
const char *observe_hook_policy(struct oracle *o, const struct json *doc);
/* The rules about subscriptions that stop themselves. */
void judge_stops(struct oracle *o);
/* The rules about accounts and breakers. */
void judge_accounts(struct oracle *o);
/* "NAME:SEQ", in the arena. */
struct str pair_text(struct oracle *o, struct str subscription, uint64_t seq);
/* The stock rules: oversold, stock, conserved, read, timer. */
void judge_stock(struct oracle *o);

/* --- reading JSON --- */
const struct json *member(const struct json *object, const char *name); /* NULL: none, or null */
struct str member_str(const struct json *object, const char *name);
/* Scale 6; a text or a number; dflt where there is none. */
int64_t member_quantity(const struct json *object, const char *name, int64_t dflt);
int64_t member_i64(const struct json *object, const char *name, int64_t dflt);
/* "A\nB", in the arena. */
struct str joined(struct oracle *o, struct str a, struct str b);
struct str quantity_text(struct oracle *o, int64_t quantity);
/* for EACH(item, array): of a NULL array, never. */
#define EACH(item, array)                                                                          \
    (const struct json *item = (array) ? json_first(array) : NULL,                                 \
     *item##_end = (array) ? json_next(array) : NULL;                                              \
     item != item##_end; item = json_next(item))

static inline struct op *op_at(struct oracle *o, uint32_t i) {
    return &LIST_AT(&o->ops, struct op, i);
}
static inline struct event_seen *event_at(struct oracle *o, uint32_t i) {
    return &LIST_AT(&o->events, struct event_seen, i);
}

#endif
