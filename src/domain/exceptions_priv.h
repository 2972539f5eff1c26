/* The inside of exceptions: the cases (exceptions.c), the open ones by what waits for them
 * (exceptions_open.c), and what is decided (exceptions_decide.c). */
#ifndef PENSTOCK_DOMAIN_EXCEPTIONS_PRIV_H
#define PENSTOCK_DOMAIN_EXCEPTIONS_PRIV_H

#include "base/map.h"
#include "domain/exceptions.h"

enum case_state { CASE_OPEN, CASE_RESOLVED, CASE_DISCARDED };

/* A case. Closed ones leave memory. */
struct open_case {
    struct id128 id;
    char *kind;   /* NULL: a free slot */
    uint64_t seq; /* of exception.raised; of a free slot: the next one, + 1 */
    enum case_state state;
    int64_t version;
};

/* One that is open: always in memory, because messages and orders look for it. */
struct waiting {
    struct id128 id;
    uint64_t payload_seq; /* of the message that waits for it; 0: none does */
    uint64_t edition_seq; /* of its newest version; 0: what came */
    int64_t version, attempts;
    char *texts;          /* of what follows, one block; NULL: a free slot */
    struct str kind, subject, lane;
    uint32_t next; /* slot + 1 of the next one in the lane, by payload_seq; of a free slot: free */
};
struct waiting_state {
    struct waiting *items;
    uint32_t count, cap, free, live;
    uint32_t lanes; /* of them have one */
    struct map by_id, by_payload, by_lane, by_subject;
};

struct exceptions_state {
    struct open_case *cases; /* those in memory */
    uint32_t count, cap;     /* slots ever used; allocated */
    uint32_t free;           /* slot + 1 */
    struct map map;
    struct waiting_state waiting;
};

extern const struct event_type payload_edited_event;

/* --- exceptions.c */
/* Its slot, loaded where it was not in memory; MAP_NONE: there is no such case. */
uint32_t case_find(const struct state *state, struct str exception_id);
void case_needs(struct command *command);

/* --- exceptions_open.c */
extern const struct entity_kind waiting_entity;
void waiting_free(struct waiting_state *s);
void waiting_dump(const struct waiting_state *s, struct buf *out);
/* Slots; MAP_NONE. */
uint32_t waiting_find(const struct waiting_state *s, struct id128 id);
uint32_t waiting_of_payload(const struct waiting_state *s, uint64_t payload_seq);
/* Of those that no message waits for. */
uint32_t waiting_of_subject(const struct waiting_state *s, struct str subject);
enum err waiting_begin(struct state *state, struct id128 id,
                       const struct exception *exception) WARN_UNUSED;
/* Its version is one more, and what the event says. */
enum err waiting_change(struct state *state, uint32_t slot,
                        const struct exception_change *change) WARN_UNUSED;
enum err waiting_end(struct state *state, uint32_t slot) WARN_UNUSED;
/* Whether the case is about a message that could not be processed, so that it waits. */
bool exception_waits(const struct exception *exception);

/* --- exceptions_decide.c */
extern const struct command_type exception_close_command;
enum err exceptions_react(struct decision *decision, const struct event *event) WARN_UNUSED;

#endif
