/* ask: a command from a thread that may wait, and its answer. Not for loops. */
#ifndef PENSTOCK_OPS_ASK_H
#define PENSTOCK_OPS_ASK_H

#include "core/core.h"

/* Submits a prepared command and returns when its events are on disk, or with its refusal. The
 * core must run, or be stepped by another thread. */
enum err ask_core(struct core *core, struct command *command, struct fault *fault) WARN_UNUSED;

/* The same with several at once, which share commits; what became of each is in its answer (err, and
 * fault with its detail). */
void ask_cores(struct core *core, struct command *const *commands, uint32_t count);

#endif
