/* core: one cell: its state, its writer and its journal.
 *
 * The writer takes all commands waiting, decides and applies one after the other, appends
 * their events in one transaction, and answers when they are on disk. In production
 * core_start runs it on a thread; the simulator calls core_step. */
#ifndef PENSTOCK_CORE_CORE_H
#define PENSTOCK_CORE_CORE_H

#include "base/clock.h"
#include "base/rng.h"
#include "core/capability.h"
#include "core/config.h"
#include "core/journal.h"
#include "core/shelf.h"
#include "core/tail.h"

struct core_options {
    const struct capability *const *capabilities;
    const struct config *config;
    struct journal *journal;
    /* Seals what is personal. NULL: documents stand in the journal as they are, for tests and
     * benchmarks that have no persons. */
    struct keyring *keyring;
    struct shelf *shelf; /* of core_spaces; NULL: the state is memory alone, replayed whole */
    struct tail *tail; /* gets every durable record; may be NULL */
    struct clock *clock;
    struct rng *rng;
};

/* The spaces of the shelf, in order; answers how many. Its format is ENTITY_FORMAT. */
uint32_t core_spaces(const struct capability *const *capabilities,
                     struct shelf_space out[SHELF_SPACES_MAX]);
/* Loads the written state and replays the journal behind it; ready when it answers. */
struct core *core_create(const struct core_options *options, struct fault *fault);
void core_destroy(struct core *core);

/* Any thread. ERR_UNAVAILABLE (queue full, journal failed, stopping): the command was not
 * taken and stays the caller's; else origin->deliver gets it back, always. */
enum err core_submit(struct core *core, struct command *command, struct fault *fault) WARN_UNUSED;

/* For who must keep an order over failures: it ends when a batch is not committed, or when a command that
 * names one comes back to be tried again. Who has all of his back takes the new one, and begins with the
 * first that was not taken; those behind it come back, too (ERR_UNAVAILABLE). Any thread. */
uint64_t core_epoch(struct core *core);

/* One round: due timers, then all commands waiting, one commit. Answers how many commands it
 * answered. The caller is the writer. */
uint32_t core_step(struct core *core);

/* Writes the state down where some of it waits for that, and a bounded piece of the shelf's
 * housekeeping. core_start runs it on a thread; the simulator calls it. */
enum err core_shelf_step(struct core *core, bool *again, struct fault *fault) WARN_UNUSED;

enum err core_start(struct core *core, struct fault *fault) WARN_UNUSED;
/* Refuses new commands, answers those waiting, stops the thread. */
void core_stop(struct core *core);

uint32_t core_waiting(struct core *core); /* commands waiting, any thread */
/* The shortest wait for the writer since this was asked last, of each class: what is more than a
 * commit takes says that more comes than it can do. Any thread, one at a time. */
void core_delays(struct core *core, int64_t out_us[TRAFFIC_CLASSES]);
uint64_t core_seq(const struct core *core); /* newest durable seq, any thread */
bool core_ready(const struct core *core);   /* false while the journal does not take writes */
/* Why it is not ready, as a sentence for a person; any thread. */
void core_why(struct core *core, char out[256]);
struct core_stats {
    uint64_t state_bytes;   /* of memory: what never leaves, what may, and the shelf's own */
    uint64_t written_seq;   /* the written state reflects; a restart replays what lies behind */
    uint64_t loads, writer_loads; /* from the shelf: in all, and those the writer waited for */
    uint64_t evictions;     /* rounds of them */
};
void core_stats(const struct core *core, struct core_stats *out); /* any thread */
/* Of core, journal and capabilities; any thread. */
void core_figures(struct core *core, struct metrics *out);
const struct registry *core_registry(const struct core *core);
const struct config *core_config(const struct core *core);
struct clock *core_clock(const struct core *core);
struct rng *core_rng(const struct core *core);
struct keyring *core_keyring(const struct core *core); /* NULL: nothing is sealed */
/* For readers on other threads, of what publish made visible: between core_read_begin and
 * core_read_end (short: a rebuild of the state waits for them). */
void core_read_begin(struct core *core);
const void *core_state(const struct core *core, const struct capability *capability);
void core_read_end(struct core *core);
/* Writer stopped or stepped by the caller: the whole state as sorted text. For tests: all that
 * was written comes into memory. */
void core_dump(struct core *core, struct buf *out);

#endif
