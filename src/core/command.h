/* command: everything that asks the hub to do something. Decided by the writer, one after
 * the other, against the present state; yields events or a refusal.
 *
 * Life: an issuer (gateway, connector, timer, delivery) fills a command in an arena of its own,
 * core_submit hands it to the writer; after its batch is on disk, the issuer's origin gets it
 * back with the answer. The arena belongs to the writer in between. */
#ifndef PENSTOCK_CORE_COMMAND_H
#define PENSTOCK_CORE_COMMAND_H

#include "base/hash.h"
#include "core/entity.h"
#include "core/event.h"
#include "core/seal.h"

struct capability;
struct command;
struct command_context;
struct config;
struct decision;
struct reader;

/* Traffic classes for admission, most important first (customers wait for checkout; tills are
 * checkout, too). Bulk is also what is only read for statistics. */
enum traffic_class { CLASS_CHECKOUT, CLASS_STOCK, CLASS_CATALOGUE, CLASS_BULK, CLASS_OPS };
#define TRAFFIC_CLASSES 5

/* One row per type of command, in the capability's table. */
struct command_type {
    const char *name;          /* "order.capture" */
    const struct shape *shape; /* of the body; NULL: none */
    /* Validity that the shape can not say (sums, cross-references between members), pure,
     * on the issuer's thread. Adds faults. May be NULL. May complete computed members. */
    enum err (*check)(const struct command_context *context, void *body, struct arena *arena,
                      struct fault *fault);
    /* State and command in, events or refusal out. Writer thread; must not wait, and must not
     * change the state. */
    enum err (*decide)(struct decision *decision, const struct command *command);
    /* Whose the personal members of the body are (core/seal.h): a customer's number, or an id
     * that the command will give. Required where the shape has such members; issuer's thread. */
    struct str (*person)(const void *body, struct id128 id, struct arena *arena);
    /* After the commit, on a worker thread, where the answer needs what is not in memory
     * (journal, read model). May be NULL. */
    enum err (*finish)(struct reader *reader, struct command *command, struct fault *fault);
    /* Names (command_need) what decide will look for, on the issuer's thread, so that the writer
     * need not wait for the disk. A hint: what is not named is loaded all the same. May be NULL. */
    void (*needs)(struct command *command);
    unsigned flags;
    const char *help;
};
#define COMMAND_READS 0x1u    /* never yields events: a consistent read through the writer */
#define COMMAND_INTERNAL 0x2u /* not reachable from outside */

/* What check may look at. */
struct command_context {
    const struct config *config;
    struct clock *clock;
    bool fact; /* has happened: small differences of its sums are taken as rounding */
};

/* Where answers go: one per issuing thread. deliver is called on the writer's thread once per
 * batch, with the list of this origin's finished commands (linked by next, in order). */
struct command_origin {
    void (*deliver)(struct command_origin *origin, struct command *first);
    /* the core's own, zero-initialise: */
    struct command *first, *last;
    struct command_origin *next_dirty;
    uint32_t loading; /* of its commands, on the way to the writer by the loader */
};

struct answer {
    enum err err; /* OK, or the refusal with `fault` */
    struct fault fault;
    int status;      /* HTTP status of success (200, 201, 202) */
    struct str body; /* JSON, in the command's arena */
    bool replayed;   /* an earlier command's answer; body was loaded by finish */
    uint64_t replay_seq; /* of the event that carries it; also of the one whose natural key
                            this document has (ERR_DUPLICATE) */
    uint64_t seq;    /* the journal's seq this answer reflects */
    struct str next_cursor; /* lists: of the next page; absent at the end */
    bool ended;             /* the message that the command came of is settled, or waits: no further
                               command of it is wanted now */
};

/* Whose message a command came of, told by who submits it. */
struct command_source {
    struct str payload_id, connector, topic;
    struct str owner;   /* the team that gets its exceptions; absent: nobody in particular */
    struct str entity;  /* what the message is about, as the partner names it: "shopify/4711" */
    struct str version; /* of it, as the partner says; absent: it does not */
    uint32_t more;      /* commands of the same message that follow this one: it is not settled yet */
};

#define COMMAND_ARGS_MAX 4
struct command {
    const struct command_type *type;
    struct arena *arena;
    void *body;                 /* decoded and checked */
    struct str body_json;       /* shape_encode of it, without what is personal where the core
                                   has a keyring: embedded in events as RAW */
    struct sealed sealed;       /* what is personal, see decision_seal */
    struct str person;          /* whom the command is about; absent: nobody, or not known */
    struct hash128 fingerprint; /* of args and body_json: tells the same from another */
    struct str args[COMMAND_ARGS_MAX]; /* path parameters, in order */
    int64_t now_us;             /* when it arrived */
    struct id128 id;            /* fresh: for the entity it may create */
    struct str actor, correlation, traceparent;
    bool may_personal;          /* who asks may see what is personal */
    struct str from;            /* address of the client; absent: it did not come over HTTP */
    struct str idem_scope, idem_key; /* absent where the caller gave no Idempotency-Key */
    int64_t if_match;           /* entity version, -1: none given */
    uint64_t cause_seq;         /* of the event it follows from, 0: none */
    struct str masked;          /* where card numbers were masked in what came (retail/cards.h);
                                   absent: nowhere */
    bool fact;                  /* has happened: shortage and sums become exceptions */
    const struct command_source *source; /* NULL: it came of no partner's message; with one,
                                            cause_seq is the message's */

    struct entity_need needs[ENTITY_NEEDS_MAX];
    uint32_t need_count;

    enum traffic_class traffic; /* its place in the writer's queue, set by who submits it; those
                                   of one class are decided in the order they came */
    uint64_t epoch;             /* core_epoch: taken in it alone, so that nothing goes before what came
                                   back; 0: in any, its order does not matter */
    int64_t queued_us;          /* clock_tick_us when it was submitted; the core's */
    int64_t decide_us, decided_us; /* wall clock; 0: its trace is not sampled */

    struct answer answer;
    struct command_origin *origin;
    void *origin_ctx; /* the issuer's own */
    struct command *next;
};

/* Fills in type, arena, time, id and (body given) body_json and fingerprint; runs check.
 * Refusals by validity come from here (ERR_INVALID with all faults). */
struct core;
enum err command_prepare(struct core *core, const struct command_type *type, struct arena *arena,
                         void *body, struct command *out, struct fault *fault) WARN_UNUSED;
/* The same for what has happened already: sets `fact`. */
enum err command_prepare_fact(struct core *core, const struct command_type *type,
                              struct arena *arena, void *body, struct command *out,
                              struct fault *fault) WARN_UNUSED;

/* Whether the answer needs command_finish, on a worker's thread, before it is sent: it is a
 * replayed one (its body is in the journal), or the type has a finish. */
bool command_unfinished(const struct command *command);
enum err command_finish(struct reader *reader, struct command *command, struct fault *fault)
    WARN_UNUSED;

/* --- for needs --- */

void command_need(struct command *command, const struct entity_kind *kind, struct hash128 key);
/* What decision_first will be asked. */
void command_need_first(struct command *command, const char *kind, struct str key);

/* --- for decide ----------------------------------------------------------------------- */

/* A new event of this decision, with zeroed data in the command's arena; applied, in order,
 * when decide has answered OK. `data_out` gets the struct to fill. NULL when out of memory. */
struct event *decision_event(struct decision *decision, const struct event_type *type,
                             struct str subject, void **data_out);
/* The event keeps the personal members of the command's document, which is the member `at` of
 * its data (absent: the data itself). Each document with personal members goes into exactly one
 * event; others leave such members out. */
void decision_seal(struct decision *decision, struct event *event, struct str at);
/* answer.ended. */
void decision_ended(struct decision *decision);
/* Instead: no event of this decision keeps them, because another document does (the partner's
 * message that the command came of). */
void decision_seal_none(struct decision *decision);
/* The answer, encoded now. */
enum err decision_answer(struct decision *decision, int status, const struct shape *shape,
                         const void *doc) WARN_UNUSED;
/* Natural keys: once and for ever. Call before any event is made: where kind and key were used
 * by an earlier command, answers false and has filled in `*err`: OK with the first answer to be
 * replayed (same fingerprint), or ERR_DUPLICATE (another document); decide returns *err then. */
bool decision_first(struct decision *decision, const char *kind, struct str key, enum err *err);
/* The answer is that of the earlier command whose first event has this seq. Decide answers OK
 * without events. */
enum err decision_replay(struct decision *decision, uint64_t first_seq) WARN_UNUSED;
/* A refusal: `return decision_refuse(d, ERR_CONFLICT, "…")`; with a pointer, decision_fault. */
enum err decision_refuse(struct decision *decision, enum err err, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
enum err decision_fault(struct decision *decision, enum err err, struct str pointer,
                        const char *fmt, ...) PRINTF_LIKE(4, 5);
/* The capability's state, to read. */
const void *decision_state(const struct decision *decision, const struct capability *capability);
/* The state, for functions that other capabilities offer. */
const struct state *decision_whole_state(const struct decision *decision);
const struct config *decision_config(const struct decision *decision);
struct arena *decision_arena(const struct decision *decision);
/* The fresh id that came with the command. */
struct id128 decision_id(const struct decision *decision);
/* The seq that the first event of this decision gets. */
uint64_t decision_seq(const struct decision *decision);
/* From react and timer_fire alone: decides and applies another command in the same batch; its
 * events follow from `cause` (0: none) and commit in the same transaction. */
enum err decision_issue(struct decision *decision, const struct command_type *type, void *body,
                        struct str arg0, uint64_t cause) WARN_UNUSED;

#endif
