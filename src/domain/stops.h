/* stops: subscriptions that stand still until a person starts them: which, since when and why; those of
 * connectors and those made through the API alike. The journal is the one truth about it: delivery obeys
 * it after every start.
 *
 * A stop that no person asked for raises an exception of kind subscription-stopped; the start
 * closes it. */
#ifndef PENSTOCK_DOMAIN_STOPS_H
#define PENSTOCK_DOMAIN_STOPS_H

#include "core/capability.h"

extern const struct capability stops_capability;

enum stop_why {
    STOP_FAILURES, /* too many of its deliveries were held */
    STOP_DEAD,     /* the other side gave no good answer for too long */
    STOP_PERSON,
    STOP_GONE,     /* the other side said that it is gone */
};
/* Body of command subscription.stop and data of event subscription.stopped. */
struct subscription_stop {
    uint64_t has;
    struct str subscription; /* at most STOP_NAME_MAX bytes */
    struct str connector;
    int32_t why;             /* enum stop_why */
    struct str cause;        /* in words; a person's reason */
    struct str by;           /* who; absent: the hub itself */
    struct str owner;        /* team that gets the exception; absent: no one in particular */
    bool made;               /* through the API: with its subscription the stop is gone, too */
};
enum subscription_stop_row {
    STOP_SUBSCRIPTION, STOP_CONNECTOR, STOP_WHY, STOP_CAUSE, STOP_BY, STOP_OWNER, STOP_MADE,
};
extern const char *const stop_whys[]; /* by enum stop_why; NULL ends them */
#define STOP_NAME_MAX 64
/* Body of command subscription.start and data of event subscription.started. */
struct subscription_start {
    uint64_t has;
    struct str subscription;
    struct str reason, by;
};
enum subscription_start_row { START_SUBSCRIPTION, START_REASON, START_BY };
#define CASE_SUBSCRIPTION_STOPPED "subscription-stopped"

/* Internal; told again (it is stopped already; it is not) they answer 200 and change nothing. */
extern const struct command_type subscription_stop_command, subscription_start_command;
extern const struct event_type subscription_started_event;

/* One that is stopped, copied out. */
struct stopped {
    int64_t since_us; /* wall clock */
    int32_t why;
    char cause[200], by[100]; /* cut where longer */
};
/* The same as a document, for those who show it: a member `stopped` of theirs. */
struct stopped_doc {
    uint64_t has;
    struct instant since;
    int32_t why;
    struct str cause, by;
};
enum stopped_doc_row { STOPPED_SINCE, STOPPED_WHY, STOPPED_CAUSE, STOPPED_BY };
extern const struct shape stopped_shape;
/* Texts are copied into the arena; NULL: no memory. */
struct stopped_doc *stopped_doc_make(const struct stopped *stopped, struct arena *arena);

/* Its subscription is gone: applied with that. */
enum err stops_forget(struct state *state, struct str subscription) WARN_UNUSED;

/* Any thread, between core_read_begin and core_read_end; false: it is not stopped. */
bool stops_find(const void *part, struct str subscription, struct stopped *out);
/* How many are; any thread. */
uint32_t stops_count(const void *part);

#endif
