/* audit_write: tells the audit something and waits until the journal has it. For threads that may
 * wait: the command line's part of a hub, its housekeeping, never a loop. */
#ifndef PENSTOCK_OPS_AUDIT_WRITE_H
#define PENSTOCK_OPS_AUDIT_WRITE_H

#include "core/core.h"
#include "domain/audit.h"

/* Who says so, beside the note. once: with it, the note is written only once however often this is
 * called (within idempotency_days); absent: each time. */
struct audit_writer {
    struct str actor, from, correlation, once;
};
/* Durable when it answers OK. The core must run. */
enum err audit_write(struct core *core, const struct audit_writer *writer, struct audit_note *note,
                     struct fault *fault) WARN_UNUSED;
/* Fills in what is given; absent texts are left out. */
void audit_note_make(struct audit_note *note, enum audit_kind kind, struct str action,
                     struct str about, struct str detail);

#endif
