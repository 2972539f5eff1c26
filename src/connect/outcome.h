/* outcome: what an answer means for what was asked: the tables of `outcome:` in connector.yaml, the
 * conventions of common platforms under their names (`like:`), and the one function that applies them.
 * Pure. connector_load_outcome.c reads the section. */
#ifndef PENSTOCK_CONNECT_OUTCOME_H
#define PENSTOCK_CONNECT_OUTCOME_H

#include "connect/connector.h"
#include "connect/net.h"

/* "success", "retryable" … as connector.yaml and logs have them. */
extern const char *const outcome_names[]; /* NULL at the end */

/* A platform's conventions. */
struct outcome_like {
    const char *name;
    const struct outcome_status { int16_t status; uint8_t kind; } *statuses; /* status 0 at the end */
    const struct outcome_rule *rules;
    uint32_t rule_count;
};
/* By the numbers of connector_outcome.like; the first is none. */
extern const struct outcome_like outcome_likes[];
extern const char *const outcome_like_names[]; /* NULL at the end */

/* What HTTP says (RFC 9110) and everybody follows, into `kind`. `spelled`: success is spelled out, so
 * another 2xx is not what was expected. */
void outcome_usual(struct connector_outcome *outcome, bool spelled);

/* Of an answer, or of what came in its place. The parser and the arena are for its body, which is read
 * only where a rule needs it; *body is it then, else NULL. `outcome` NULL: what is usual. */
enum connector_outcome_kind outcome_judge(const struct connector_outcome *outcome,
                                          const struct net_answer *answer, struct json_parser *parser,
                                          struct arena *arena, const struct json **body);

#endif
