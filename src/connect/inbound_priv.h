/* inbound_priv: a worker and its slots, shared by inbound.c (threads, following, answers) and
 * inbound_process.c (one payload: what to submit for it). */
#ifndef PENSTOCK_CONNECT_INBOUND_PRIV_H
#define PENSTOCK_CONNECT_INBOUND_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/span.h"
#include "connect/asking.h"
#include "connect/inbound.h"
#include "connect/parcel.h"
#include "domain/inbound.h"

/* What a slot does next, or is doing. */
enum slot_step {
    STEP_PROCESS, /* map and submit */
    STEP_RAISE,   /* ask a person */
    STEP_SETTLE,  /* note that nothing new followed */
    STEP_REPAIR,  /* note that a backstop brought what a webhook had not */
};
enum slot_phase {
    SLOT_FREE,
    SLOT_SENT, /* the command is the writer's */
    SLOT_WAIT, /* until due_us */
};

/* One payload under way. Everything it needs lies in its arena. */
struct slot {
    struct worker *worker;
    enum slot_phase phase;
    enum slot_step step;
    bool prepared;     /* command is ready for the step: only to be submitted */
    uint64_t seq;      /* of payload.received */
    uint64_t edition;  /* of payload.edited, which is processed in its place; 0: none */
    int64_t due_us;    /* tick */
    int64_t stored_us; /* when the payload came, wall clock */
    uint32_t attempts;
    struct arena arena;
    struct command command;
    struct command_source source; /* of the command */
    const struct payload *payload; /* NULL: the record is none */
    const struct connector *connector; /* taken when it was mapped last; NULL: there is none */
    const struct json *document;   /* its nodes; NULL: it came as no plain JSON */
    struct parcel *parcel;         /* where they lie; NULL: in the arena */
    struct str payload_subject, correlation, traceparent;
    bool traced; /* the payload's trace is sampled, and what follows is set */
    char span[SPAN_ID_LEN], under_text[TRACEPARENT_LEN];
    struct str under;  /* traceparent of what comes of the payload */
    int64_t began_us;  /* wall clock */
    struct str person; /* whose payload it turned out to be; absent: not known */
    /* why a person is asked; in the arena */
    struct str kind, cause, action;
    const struct fault *problem; /* its items; may be NULL */
    struct mapping_problem unmapped; /* kind NULL: the mapping asked for no code that is missing */
    const struct json *mapped; /* the mapping's answer */
    struct asking_looks looks;
    bool looking; /* the command under way asks for one */
    uint32_t route;     /* of the mapping's routes, the one under way, from 0 */
    bool effect;        /* a command of it changed something */
    bool known;         /* STEP_SETTLE: it was recorded before, and the topic says that this is all right */
    struct str nothing; /* STEP_SETTLE: the mapping's words why nothing is to be done; else absent */
};

struct worker {
    struct command_origin origin; /* first: deliver gets it */
    struct tail_follower follower;
    struct inbound *inbound;
    uint32_t number;
    struct slot *slots;
    uint64_t *keys; /* of the slots' payloads; 0: the slot is free. Beside them, because each payload is
                       compared with all that are under way */
    uint32_t slot_count;
    uint32_t waiting; /* of them SLOT_WAIT */
    struct json_parser *parser;
    struct mapper *mapper;
    const struct connectors *connectors; /* taken */
    uint32_t generation;                 /* of them */
    struct asking asking;
    uint32_t pending_at; /* next of inbound->pending */
    uint64_t from;       /* next seq to follow */
    uint64_t again;      /* payload to read once more (payload.retried), 0: none … */
    uint64_t again_edition; /* … and its version */
    bool full;           /* the record at `from` waits for a slot or its key */
    int64_t again_us;    /* tick; then it is tried again, slot or not: it could not be read. 0: none */
    pthread_t thread;
    bool running;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    bool signalled, stopping;
    struct command *done_first, *done_last; /* answered by the writer */
};

struct inbound {
    struct core *core;
    struct tail *tail;
    pthread_mutex_t lock;
    const struct connectors *connectors; /* taken; under the lock */
    _Atomic uint32_t generation;         /* of them */
    uint64_t *pending; /* at create, ascending */
    uint64_t *editions; /* of them; 0: what came */
    uint32_t pending_count;
    struct worker *workers;
    uint32_t worker_count;
    _Atomic uint32_t under_way;
};

/* Fills in slot->payload and what belongs to it from the record. ERR_NOMEM, or the record can
 * not be read (payload NULL). */
enum err slot_load(struct slot *slot, const struct record *record, struct fault *fault) WARN_UNUSED;
/* The payload in the version that a person made of it, from its record. ERR_DAMAGED, ERR_NOMEM. */
enum err slot_edition(struct slot *slot, const struct record *record,
                      struct fault *fault) WARN_UNUSED;
/* Prepares slot->command for the slot's step; STEP_PROCESS turns into STEP_RAISE where the
 * payload can not be processed. Retryable errors only. */
enum err slot_prepare(struct slot *slot, struct fault *fault) WARN_UNUSED;
/* The payload's document was recorded before, by the command whose first event is at seq: whose that
 * is, the payload is as well. */
void slot_bind(struct slot *slot, uint64_t seq);
/* inbound_span.c: nothing of it does anything where the payload's trace is not sampled. */
void slot_span_begin(struct slot *slot);
void slot_mapped(const struct slot *slot, const struct connector_receive *receive, int64_t from_us,
                 bool failed);
void slot_span_end(struct slot *slot);
/* From now on a person is asked. `fault` is copied. */
void slot_raise(struct slot *slot, const char *kind, const struct fault *fault);

#endif
