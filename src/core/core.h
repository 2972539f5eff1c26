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
#include "core/tail.h"

struct core_options {
    const struct capability *const *capabilities;
    const struct config *config;
    struct journal *journal;
    /* Seals what is personal. NULL: documents stand in the journal as they are, for tests and
     * benchmarks that have no persons. */
    struct keyring *keyring;
    struct tail *tail; /* gets every durable record; may be NULL */
    struct clock *clock;
    struct rng *rng;
};

/* Replays the journal; ready when it answers. */
struct core *core_create(const struct core_options *options, struct fault *fault);
void core_destroy(struct core *core);

/* Any thread. ERR_UNAVAILABLE (queue full, journal failed, stopping): the command was not
 * taken and stays the caller's; else origin->deliver gets it back, always. */
enum err core_submit(struct core *core, struct command *command, struct fault *fault) WARN_UNUSED;

/* One round: due timers, then all commands waiting, one commit. Answers how many commands it
 * answered. The caller is the writer. */
uint32_t core_step(struct core *core);

enum err core_start(struct core *core, struct fault *fault) WARN_UNUSED;
/* Refuses new commands, answers those waiting, stops the thread. */
void core_stop(struct core *core);

uint32_t core_waiting(struct core *core); /* commands waiting, any thread */
uint64_t core_seq(const struct core *core); /* newest durable seq, any thread */
bool core_ready(const struct core *core);   /* false while the journal does not take writes */
/* Why it is not ready, as a sentence for a person; any thread. */
void core_why(struct core *core, char out[256]);
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
/* Writer stopped or stepped by the caller: the state as sorted text. */
void core_dump(struct core *core, struct buf *out);

#endif
