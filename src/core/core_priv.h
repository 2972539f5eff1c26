/* The inside of a core, shared by core.c (queue, thread, commit, recovery), decide.c (one
 * command: decide, encode, apply, react) and batch.c (events on their way to the journal). */
#ifndef PENSTOCK_CORE_CORE_PRIV_H
#define PENSTOCK_CORE_CORE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/core.h"
#include "core/queue_priv.h"
#include "core/state_priv.h"

#define REACTION_DEPTH_MAX 8

/* Events decided and applied, not yet durable. */
struct batch {
    struct buf text;        /* types, subjects, metas, datas, one behind the other */
    struct record *records; /* strings are offsets into text until batch_seal */
    uint32_t count, cap;
    bool seals; /* what is personal is never written here in clear */
};

/* What has changed, on its way to the shelf. */
struct flush {
    struct shelf_entry *entries;
    uint32_t count, cap;
    struct buf text; /* of the values */
    struct flush_slots {
        uint32_t *slots;
        uint32_t count, cap;
    } *taken; /* per kind */
    uint32_t number;
    uint64_t seq;
    int64_t forget_us;
};
enum flush_state { FLUSH_NONE, FLUSH_READY, FLUSH_DONE }; /* writer's, shelf's, writer's turn */

/* Written by the writer, but for flush_us (the shelf's thread); read by anybody. */
struct core_counters {
    _Atomic uint64_t done, replayed, refused, failed; /* commands */
    _Atomic uint64_t append_failures;
    _Atomic uint64_t busy_us; /* the writer was at work */
    struct histogram batch_commands, batch_events, append_us, flush_us;
};

struct core {
    struct core_counters counters;
    const struct config *config;
    struct journal *journal;
    struct keyring *keyring; /* NULL: nothing is sealed */
    struct shelf *shelf; /* may be NULL */
    const struct entity_kind *kinds[SHELF_SPACES_MAX]; /* in the order of the spaces */
    uint32_t kind_count;
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

    /* The state on its way to the shelf (shelving.c). */
    struct flush flush;
    _Atomic enum flush_state flush_state;
    uint64_t flushed_seq;  /* taken by the newest flush; writer only */
    int64_t flush_tick_us; /* when */
    _Atomic uint64_t shelf_seq, evictions, evicted_ms, state_bytes, loads, writer_loads;
    _Atomic bool shelf_late;
    _Atomic bool shelf_lost; /* what it holds is not what was written: to be emptied */
    pthread_mutex_t shelf_lock; /* held by whoever writes to the shelf */
    pthread_mutex_t shelf_wake_lock;
    pthread_cond_t shelf_wake;
    pthread_t shelf_thread, loader_thread;
    bool shelf_running, loader_running;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    struct queue queue; /* waiting */
    uint32_t wake_at; /* so many waiting wake the writer */
    uint64_t epoch;   /* written by the writer alone */
    char why[256];    /* it is not ready, in words; "" while it is */
    bool stopping, running;
    struct command *loading_first, *loading_last; /* what they need is being loaded */
    uint32_t loading;
    bool loader_stopping;
    pthread_cond_t loader_wake;
    pthread_t thread;
};

struct decision {
    struct core *core;
    const struct command *command;
    struct answer *answer;
    struct event *first, *last;
    struct str natural;   /* of the command, hex, absent where it has none */
    uint64_t replay_seq;  /* not 0: answer as that command was answered */
    uint64_t refused;     /* mem_refused when it began: what was decided without the memory for it
                             may lack anything, and is not done */
    uint32_t depth;       /* of reactions */
    bool seal_none;       /* the command's sealed members are kept elsewhere */
    bool may_issue;       /* in react and timer_fire */
    enum err issue_err;   /* first failure of an issued command that must stop the batch */
};

/* Decides, applies and reacts to one command; the answer is filled in but for durability.
 * Sets core->broken where state and batch do not agree any more. */
void core_decide(struct core *core, struct command *command);
/* command_span.c: decides, and notes the time where the command's trace is sampled. */
void core_decide_traced(struct core *core, struct command *command);
/* Records the spans of a batch that was committed, or was not; from_us: when that began. */
void core_spans(const struct core *core, const struct command *first, uint32_t commands,
                int64_t from_us, bool committed);
/* Fires the timers that are due; answers how many commands that made. */
uint32_t core_fire_timers(struct core *core, int64_t now_us);

int64_t core_idempotency_us(const struct core *core);
/* Names the Idempotency-Key's entity. */
void core_need_keys(struct command *command);

/* Writer, between two batches: takes what has changed, evicts what is written. */
void core_shelve(struct core *core);
/* The same for a state that is being built by replay, written at once where it is due. */
enum err core_shelve_replayed(struct core *core, struct state *state, uint64_t seq,
                              struct fault *fault) WARN_UNUSED;
/* Waits for what is under way; writes what is ready. False: it could not, and what it held is
 * given up: the state must be made again (or be at its end). */
bool core_shelf_settle(struct core *core);
/* Before the end: all there is. Nobody steps the core any more. */
void core_shelve_rest(struct core *core);
/* Looks up what the command names, in memory; true: the disk must be asked. Any thread. */
bool core_must_load(struct core *core, struct command *command);
/* Loads for the commands waiting for that and hands them to the writer; false: none waited. */
bool core_load_step(struct core *core);
enum err core_shelf_start(struct core *core, struct fault *fault) WARN_UNUSED;
void core_loader_stop(struct core *core);
void core_shelf_stop(struct core *core);
void flush_init(struct flush *flush);
void flush_free(struct flush *flush, uint32_t kinds);

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
