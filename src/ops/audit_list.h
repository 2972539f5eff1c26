/* audit_list: the audit as lines: who, what, when, from where, for which case; read from the
 * journal, in its order. Every command that changed something is one line (kind "change", with its
 * events by seq, and by `before` the seq of the change before about the same subject), and so is
 * every audit.noted. */
#ifndef PENSTOCK_OPS_AUDIT_LIST_H
#define PENSTOCK_OPS_AUDIT_LIST_H

#include "core/capability.h"

#define AUDIT_LIST_SCAN 50000 /* records one call looks at: what a rare filter may cost at once */

struct audit_filter { /* absent: all */
    int64_t since_us, until_us; /* since <= time < until; until 0: to the end */
    struct str kind;  /* change, denied, refused, read, admin */
    struct str actor;
    struct str from;
    struct str route; /* of the action, or the beginning of one before a '*' */
    struct str about; /* a subject of a change, or what a note is about */
    struct str correlation;
};

struct audit_list {
    struct journal *journal;
    struct reader *reader; /* finds `before`; NULL: it is left out */
    struct json_parser *parser;
    struct audit_filter filter;
    uint64_t from;  /* seq to begin with; 0: at since */
    uint32_t limit; /* lines */
    char sep;       /* between lines: ',' or '\n' */
    /* answered: */
    uint32_t count;
    uint64_t next;  /* from, for what is behind; 0: this was the end */
};
/* Appends lines (JSON objects) to out; the arena is for what lies in between. ERR_IO, ERR_DAMAGED,
 * ERR_NOMEM; ERR_UNAVAILABLE where the read model is too far behind to say what was before. */
enum err audit_list_write(struct audit_list *list, struct arena *arena, struct buf *out,
                          struct fault *fault) WARN_UNUSED;

/* Instants, or dates for the midnight (UTC) they begin with. False: neither. */
bool audit_time_parse(struct str text, int64_t *us);

/* GET /ops/audit, /ops/audit/anchor. */
extern const struct query_param audit_params[];
enum err audit_query(struct query *query, struct fault *fault);
enum err audit_anchor_query(struct query *query, struct fault *fault);

#endif
