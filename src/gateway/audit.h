/* audit: tells the journal of calls that change nothing in it (domain/audit.h): those that were
 * denied or refused, those that showed what is personal, those that administer the hub. Changes
 * are events themselves and say from where they came.
 *
 * What is personal leaves only after its line is on disk (penstock.yaml: audit.reads, wait is the
 * default). All other lines are written beside the answer, and never much: the first call of a
 * kind (who, from where, route, why) at once, those alike that follow within audit_window_s as
 * one line with their number; at most AUDIT_LINES kinds of a loop are told apart, the rest counts
 * as one per sort of call; and at most audit_lines_per_s lines leave, while the writer has room. A
 * flood of denied calls so costs a bounded part of the journal. A line that the journal did not take is
 * counted again. What was counted and not written is lost with a crash: at most a window's numbers.
 *
 * One per loop thread, used there alone. */
#ifndef PENSTOCK_GATEWAY_AUDIT_H
#define PENSTOCK_GATEWAY_AUDIT_H

#include "core/core.h"
#include "core/seal.h"
#include "domain/audit.h"

#define AUDIT_LINES 256     /* of a loop, told apart at once */
#define AUDIT_TICK_MS 500
#define AUDIT_NOTES_MAX 64  /* of a loop, beside answers, on their way to the journal */

/* Why nothing was shown. */
#define AUDIT_FAILED "what is personal is shown only when the audit has it on disk, and it has not"

struct audit;
struct call;
struct gateway_loop;

/* A keyring that counts what it opened: whether an answer says anything personal. */
struct audit_keyring {
    struct keyring keyring; /* first */
    struct keyring *inner;
    uint32_t opened;
};
void audit_keyring_init(struct audit_keyring *keyring, struct keyring *inner);

enum err audit_open(struct gateway_loop *loop, struct audit **out, struct fault *fault) WARN_UNUSED;
/* Writes what was counted and waits for it: the core must still answer. NULL is fine. */
void audit_close(struct audit *audit);

/* The call is answered with this problem: told where it was denied, or was to change something. */
void audit_refusal(struct call *call, enum err err);
/* The call has done what it was to do, and no event says so: told for what is not a GET, and for
 * ROUTE_AUDITED. */
void audit_done(struct call *call);
/* Before an answer leaves. Where it says nothing personal, or nothing is to be waited for, *waits
 * is false; else go_on is called on this loop when it may leave, with an error where it may not.
 * about: what was shown, where path and query do not say it. */
enum err audit_shown(struct call *call, struct str about,
                     void (*go_on)(struct call *call, void *ctx, enum err err), void *ctx,
                     bool *waits, struct fault *fault) WARN_UNUSED;
/* Further parts of an answer that was told already: counted. */
void audit_shown_more(struct call *call);

void audit_tick(struct audit *audit);
/* Whether a tick is wanted. */
bool audit_waits(const struct audit *audit);

#endif
