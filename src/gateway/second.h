/* second: calls that need a second person (docs/operators.md): penstock.yaml's two_persons names
 * their routes. Instead of being made, such a call is kept (domain/approvals.h) and answered 202. */
#ifndef PENSTOCK_GATEWAY_SECOND_H
#define PENSTOCK_GATEWAY_SECOND_H

#include "base/err.h"

struct call;
struct gateway;

/* Which routes; after all of them are known. ERR_INVALID: a name in two_persons is none that can
 * need a second person. */
enum err second_open(struct gateway *gateway, struct fault *fault) WARN_UNUSED;
/* Whether this call needs one. */
bool second_needed(const struct call *call);
/* The command that keeps it, into call->command. */
enum err second_make(struct call *call) WARN_UNUSED;

#endif
