/* roster: which connectors serve now. Folders are read again while the hub runs; a new version of
 * a connector is taken only when it loads, asks for commands that exist, shares no subscription with
 * another and its fixtures pass. Else the version before goes on, and what was wrong is told.
 *
 * What always holds: a folder that did not change keeps the very connector it had, so nothing of it
 * is disturbed; a set that was shown is complete and never changes; a version that was taken is kept
 * in the data folder (`kept`) before it serves, so that after a restart, too, a broken folder does not
 * keep the hub from serving what it served before. */
#ifndef PENSTOCK_CONNECT_ROSTER_H
#define PENSTOCK_CONNECT_ROSTER_H

#include "connect/connector.h"
#include "core/config.h"

struct roster;
struct roster_options {
    const char *dir;  /* the configuration folder, copied */
    const char *kept; /* folder below which connectors/NAME/ holds versions that were taken, copied */
    const struct config *config;
};

enum roster_kind { ROSTER_ADDED, ROSTER_CHANGED, ROSTER_REMOVED, ROSTER_REJECTED };
const char *roster_kind_name(enum roster_kind kind);
/* What became of one folder. All of it lies in the arena of the call. */
struct roster_change {
    enum roster_kind kind;
    struct str connector, owner;
    struct str version, hash; /* of the version that serves from now on; absent: none does */
    bool told;                /* rejected for the same reasons as at the last look */
    const struct fault *fault; /* rejected: why, every item with file:line:pointer; else NULL */
    struct roster_change *next;
};
struct roster_report {
    struct roster_change *changes; /* by name of the connector */
    uint32_t count, rejected, unchanged;
};

/* Reads all connectors. A folder with faults is answered with the version of it that was kept; where
 * there is none, that is ERR_INVALID with every fault. *report tells of such folders. */
enum err roster_open(const struct roster_options *options, struct arena *arena,
                     struct roster_report *report, struct roster **out,
                     struct fault *fault) WARN_UNUSED;
/* Keeps the versions that serve from the start on: once the data folder is known to be ours. */
enum err roster_settle(struct roster *roster, struct fault *fault) WARN_UNUSED;
/* When nobody asks any more. */
void roster_close(struct roster *roster);

/* The present set; the caller releases it. Any thread. */
const struct connectors *roster_take(struct roster *roster);
/* Whether one of this name serves. Any thread. */
bool roster_has(struct roster *roster, struct str name);
/* Reads all folders again, and what references name; the present set is another one where something
 * changed. One at a time, any thread that may wait. Errors are those of the machine (ERR_IO,
 * ERR_NOMEM): the present set stays. */
enum err roster_reload(struct roster *roster, struct arena *arena, struct roster_report *report,
                       struct fault *fault) WARN_UNUSED;
/* Whether files changed since they were read last, and have not changed again since the last look. */
bool roster_stale(struct roster *roster);

/* Versions that were refused and still lie there; any thread. */
struct roster_rejection {
    struct str connector, cause; /* the first fault */
    uint32_t faults;
    int64_t since_us; /* wall clock */
};
uint32_t roster_rejected(struct roster *roster);
/* The i-th, in the arena; false: there are no more. */
bool roster_rejection(struct roster *roster, uint32_t i, struct arena *arena,
                      struct roster_rejection *out);

#endif
