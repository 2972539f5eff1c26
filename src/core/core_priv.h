/* The inside of a core, shared by core.c (queue, thread, commit, recovery), decide.c (one
 * command: decide, encode, apply, react) and batch.c (events on their way to the journal). */
#ifndef PENSTOCK_CORE_CORE_PRIV_H
#define PENSTOCK_CORE_CORE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/core.h"
#include "core/state_priv.h"

#define REACTION_DEPTH_MAX 8

/* Events decided and applied, not yet durable. */
struct batch {
    struct buf text;        /* types, subjects, metas, datas, one behind the other */
    struct record *records; /* strings are offsets into text until batch_seal */
    uint32_t count, cap;
    bool seals; /* what is personal is never written here in clear */
};

struct core {
    const struct config *config;
    struct journal *journal;
    struct keyring *keyring; /* NULL: nothing is sealed */
    struct tail *tail;
    struct clock *clock;
    struct rng *rng;
    struct registry *registry;

    /* Writer only, but for readers of what publish made visible (state_lock). */
    struct state *state;
    pthread_rwlock_t state_lock;
    struct batch batch;
    struct arena arena; /* of timers' and reactions' commands, one batch long */
    struct buf scratch;
    uint64_t seq;         /* of the newest event, durable or in the batch */
    int64_t time_us;      /* of the newest event: never runs backwards */
    bool broken;          /* state and journal may differ: rebuild before the next command */
    struct command_origin *dirty; /* origins with finished commands */

    _Atomic uint64_t durable_seq;
    _Atomic bool ready;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    struct command *first, *last; /* waiting */
    uint32_t waiting;
    uint32_t wake_at; /* so many waiting wake the writer */
    char why[256];    /* it is not ready, in words; "" while it is */
    bool stopping, running;
    pthread_t thread;
};

struct decision {
    struct core *core;
    const struct command *command;
    struct answer *answer;
    struct event *first, *last;
    struct str natural;   /* of the command, hex, absent where it has none */
    uint64_t replay_seq;  /* not 0: answer as that command was answered */
    uint32_t depth;       /* of reactions */
    bool may_issue;       /* in react and timer_fire */
    enum err issue_err;   /* first failure of an issued command that must stop the batch */
};

/* Decides, applies and reacts to one command; the answer is filled in but for durability.
 * Sets core->broken where state and batch do not agree any more. */
void core_decide(struct core *core, struct command *command);
/* Fires the timers that are due; answers how many commands that made. */
uint32_t core_fire_timers(struct core *core, int64_t now_us);

void batch_init(struct batch *batch);
void batch_free(struct batch *batch);
void batch_clear(struct batch *batch);
/* Encodes the event behind the others; nothing changed where it fails. */
enum err batch_add(struct batch *batch, const struct event *event, struct fault *fault) WARN_UNUSED;
/* Drops records from `count` on (a command refused after some of its events were encoded). */
void batch_cut(struct batch *batch, uint32_t count);
/* Turns offsets into strings; no batch_add afterwards. */
void batch_seal(struct batch *batch);

#endif
