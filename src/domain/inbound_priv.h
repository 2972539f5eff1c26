/* The inside of inbound: which payloads are pending (inbound.c), which wait for what they are
 * about (inbound_parked.c) or for an earlier one (inbound_lanes.c), and how new what partners say
 * is (inbound_versions.c). */
#ifndef PENSTOCK_DOMAIN_INBOUND_PRIV_H
#define PENSTOCK_DOMAIN_INBOUND_PRIV_H

#include <stdatomic.h>

#include "base/map.h"
#include "domain/inbound.h"

/* Data of payload.parked, payload.released and payload.expired. */
struct payload_wait {
    uint64_t has;
    int64_t payload_seq;
    struct str payload_id, connector, topic, owner;
    struct str waits_for;    /* "order web-de/4711", "earlier message of shopify/4711" */
    struct instant until;
    int64_t edition_seq;     /* payload.released: of the version to process; absent: what came */
};
enum payload_wait_row {
    WAIT_PAYLOAD_SEQ, WAIT_PAYLOAD_ID, WAIT_CONNECTOR, WAIT_TOPIC, WAIT_OWNER, WAIT_WAITS_FOR,
    WAIT_UNTIL, WAIT_EDITION_SEQ,
};
/* Somebody has been asked already: 9999-12-31T23:59:59Z. */
#define PARK_NEVER_US INT64_C(253402300799000000)

struct parked {
    uint64_t seq; /* of payload.received; 0: a free slot */
    int64_t until_us;
    uint32_t next; /* slot + 1 of the next one, by seq, that waits for the same; of a free slot: the
                      next free one */
    bool released; /* it is its turn: it is processed */
    char *texts;   /* of what follows, one block */
    struct str payload_id, connector, topic, owner, waits_for;
};
struct parked_state {
    struct parked *items; /* by slot */
    uint32_t count, cap;  /* slots ever used; allocated */
    uint32_t free;        /* slot + 1 */
    uint32_t live;
    struct map by_seq, by_parent; /* by_parent: the first of those that wait for one thing */
    uint32_t *due;        /* slots of those not released, by until_us and seq */
    uint32_t due_count, due_cap;
    uint32_t turn;        /* slot + 1 of one whose predecessor has just been dealt with */
    _Atomic uint32_t seen; /* live, as published */
};

/* The newest that was applied of a partner's entity. */
struct partner_entry {
    struct hash128 key; /* of "connector/key" */
    char *texts;        /* version and person; NULL: a free slot */
    uint32_t version_len, person_len;
    uint32_t next_free; /* slot + 1 */
};
struct partner_state {
    struct partner_entry *items;
    uint32_t count, cap, free;
    struct map by_key;
};

struct inbound_state {
    uint64_t *seqs; /* pending: seqs[first..end), ascending */
    uint32_t first, end, cap;
    struct parked_state parked;
    struct partner_state partners;
};

/* --- inbound.c */
enum err pending_begin(struct state *state, uint64_t seq) WARN_UNUSED;
enum err pending_end(struct state *state, uint64_t seq) WARN_UNUSED;
extern const struct event_type payload_settled_event;
/* payload.settled for the command's payload, instead of what it asks for; `person` absent: not
 * known whose it is. */
enum err payload_settle_now(struct decision *decision, const struct command *command,
                            const char *outcome, struct str reason, struct str person) WARN_UNUSED;

/* --- inbound_parked.c */
extern const struct entity_kind parked_entity;
extern const struct event_type payload_parked_event, payload_released_event,
    payload_expired_event;
extern const struct command_type inbound_release_command, inbound_expire_command;
extern const struct table parked_table;
extern const struct shape payload_wait_shape;
void parked_free(struct parked_state *parked);
void parked_dump(const struct parked_state *parked, struct buf *out);
/* Something followed from the payload: it waits no more. */
enum err parked_end(struct state *state, uint64_t seq) WARN_UNUSED;
/* Whether this one waits, and it is not its turn. */
bool parked_waits(const struct parked_state *parked, uint64_t seq);
/* Whether any waits. */
bool parked_any(const struct decision *decision);
/* As inbound_parent; until_us: when a person is asked. */
enum err parked_wait(struct decision *decision, const struct command *command, struct str parent,
                     bool there, int64_t until_us, bool *parked) WARN_UNUSED;
enum err parked_react(struct decision *decision, const struct event *event) WARN_UNUSED;
int64_t parked_timer_next(const void *state);
enum err parked_timer_fire(const void *state, int64_t now_us,
                           struct decision *decision) WARN_UNUSED;
enum err parked_query(struct query *query, struct fault *fault) WARN_UNUSED;

/* --- inbound_lanes.c */
/* What messages of a lane wait for, in words. */
struct str inbound_lane(struct arena *arena, struct str lane);
/* Whether that is what one waits for, and it is not done with yet. */
bool lane_is_held(const struct state *state, struct str waits_for, uint64_t seq);
/* capability.admit: parks what has to wait for its lane, and settles what is older than what is
 * applied. */
enum err lane_admit(struct decision *decision, const struct command *command,
                    bool *done) WARN_UNUSED;

/* --- inbound_versions.c */
extern const struct entity_kind partner_entity;
void partners_free(struct partner_state *partners);
void partners_dump(const struct partner_state *partners, struct buf *out);
/* What a partner said in this version is applied. */
enum err partner_applied(struct state *state, const struct event *event) WARN_UNUSED;
/* Settles what is older than what is applied. */
/* Whether a newer version of the partner's entity was applied; needed before. */
void partner_need(struct command *command, struct str connector, struct str key);
bool partner_has(struct decision *decision, struct str connector, struct str key, struct str version);
enum err partner_admit(struct decision *decision, const struct command *command,
                       bool *done) WARN_UNUSED;

#endif
