/* erasure: makes what is personal of someone unreadable, everywhere below the data folder.
 *
 * In this order: the journal says so (customer.erased); what delivery keeps of the person's events
 * is forgotten; the keys of everything that was sealed for the person before that event are
 * destroyed, and with them those of the payloads it came in. A crash in between is made good by
 * erasure_step after the start: the read model lists the erasures, the keyring knows the last one
 * that is done. One at a time, in the order of the journal.
 *
 * What stays: the orders, with the customer's number, country and region, their amounts and
 * what was posted. See docs/privacy.md. */
#ifndef PENSTOCK_OPS_ERASURE_H
#define PENSTOCK_OPS_ERASURE_H

#include "core/core.h"
#include "deliver/deliver.h"

struct erasure_options {
    struct core *core; /* with a keyring */
    struct deliver *deliver; /* may be NULL */
};

struct erasure;
enum err erasure_create(const struct erasure_options *options, struct erasure **out,
                        struct fault *fault) WARN_UNUSED;
void erasure_destroy(struct erasure *erasure);

/* Whether there may be erasures that were asked for and not ended: of an earlier life, or because
 * something failed. Any thread. */
bool erasure_pending(struct erasure *erasure);
/* There may be some up to seq: for who submits customer.erase itself (the simulator). */
void erasure_expect(struct erasure *erasure, uint64_t seq);
/* Ends one of them; does nothing while the read model has not reached it. Called by a thread of
 * its own, or by the simulator, until *again is false. */
enum err erasure_step(struct erasure *erasure, struct reader *reader, bool *again,
                      struct fault *fault) WARN_UNUSED;

struct erasure_by { /* who asks, for which case, from where */
    struct str actor, correlation, from;
};
struct erasure_result {
    uint64_t seq;       /* of customer.erased; 0: nothing was there to erase any more */
    int64_t erased_us;  /* when */
    uint32_t documents; /* whose keys were destroyed by this call */
};
/* Erases a person: a customer's number, the id of a guest's order, or of a payload. Done when it
 * answers OK; the core must run (or be stepped by another thread). `by` goes
 * into the journal. ERR_NOT_FOUND: nobody is known by this id; ERR_CONFLICT: it is the order of a
 * customer; ERR_UNAVAILABLE, ERR_IO: not, or not wholly; asking again goes on. */
enum err erasure_run(struct erasure *erasure, struct reader *reader, struct str person,
                     const struct erasure_by *by, struct arena *arena,
                     struct erasure_result *out, struct fault *fault) WARN_UNUSED;

/* DELETE /v1/customers/{customer_id}; the ctx is the erasure. */
extern const struct route erasure_routes[];

#endif
