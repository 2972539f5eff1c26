/* inbound: what partners sent, kept as it came before anything looks at it, and which of it
 * still waits to be processed. A payload is settled by the first event that names it as its
 * cause (an order captured, an exception raised), or by inbound.settle where nothing new
 * followed from it. Mapping and processing are connect/inbound.h's.
 *
 * Three rules of order are kept here, for every command that comes of a payload: what is older than
 * what was applied of the same partner's entity is settled as stale (inbound_versions.c); what
 * comes before the thing it is about waits for it (inbound_parked.c); and what comes behind a message
 * of the same key that a person has to decide waits for the decision (inbound_lanes.c). */
#ifndef PENSTOCK_DOMAIN_INBOUND_H
#define PENSTOCK_DOMAIN_INBOUND_H

#include "core/capability.h"

extern const struct capability inbound_capability;

/* Body of command inbound.receive and data of event payload.received. */
struct payload {
    uint64_t has;
    struct str payload_id;   /* "pay_…", set by the hub */
    struct str connector, topic;
    struct str dedup_id;     /* the partner's id of the message; absent: none */
    struct str key;          /* payloads with one key are processed in order; absent: alone */
    struct str content_type; /* as sent */
    /* the bytes as they came, in one of three: */
    struct str document;     /* RAW: they are JSON on one line, nested at most
                                PAYLOAD_DEPTH_MAX … */
    struct str text;         /* … or UTF-8 without controls … */
    struct str base64;       /* … or anything */
    struct str version;      /* of what `key` names, as the partner says: number or time */
    struct str backstop;     /* fetched in case this webhook did not bring it; absent: it came by itself */
};
enum payload_row {
    PAYLOAD_ID, PAYLOAD_CONNECTOR, PAYLOAD_TOPIC, PAYLOAD_DEDUP_ID, PAYLOAD_KEY,
    PAYLOAD_CONTENT_TYPE, PAYLOAD_DOCUMENT, PAYLOAD_TEXT, PAYLOAD_BASE64,
    PAYLOAD_VERSION, PAYLOAD_BACKSTOP,
};
extern const struct shape payload_shape;
extern const struct shape payload_answer_shape; /* what the sender gets */
/* Largest payload kept, in bytes of its text. */
#define PAYLOAD_BYTES_MAX (INT64_C(64) << 20)
/* Below JSON_DEPTH_MAX, so that a document still reads inside an event. */
#define PAYLOAD_DEPTH_MAX 48

/* Internal, a fact. Natural key: connector, topic, dedup id and the bytes; so a message that
 * comes twice is answered as the first time, and another message under a used id is kept as
 * well, because what has happened is never refused. */
/* Of a backstop and older than what was applied: answered with 204, and not kept. */
extern const struct command_type inbound_receive_command;

/* Internal: what a backstop brought had an effect: the webhook had not come. Yields payload.repaired. */
struct payload_repair {
    uint64_t has;
    int64_t payload_seq;
    struct str payload_id, connector, topic, backstop; /* backstop: the webhook's topic */
};
enum payload_repair_row { REPAIR_PAYLOAD_SEQ, REPAIR_PAYLOAD_ID, REPAIR_CONNECTOR, REPAIR_TOPIC, REPAIR_BACKSTOP };
extern const struct command_type inbound_repair_command;

/* Internal: body struct payload_settle; set cause_seq to the payload's as well. */
struct payload_settle {
    uint64_t has;
    int64_t payload_seq;
    struct str outcome; /* code: "replayed", "ignored", "stale", "nothing-new" */
    struct str reason;  /* in words */
};
enum payload_settle_row { SETTLE_PAYLOAD_SEQ, SETTLE_OUTCOME, SETTLE_REASON };
extern const struct command_type inbound_settle_command;

/* POST /ops/payloads/{seq}/retry: processes a stored payload once more (after the mapping or
 * the configuration was mended). Yields payload.retried. */
struct payload_retry {
    uint64_t has;
    int64_t payload_seq;
    int64_t edition_seq; /* of payload.edited, where that is to be processed in its place */
};
enum payload_retry_row { RETRY_PAYLOAD_SEQ, RETRY_EDITION_SEQ };
extern const struct command_type inbound_retry_command;
extern const struct shape payload_retry_shape;

/* The pending payloads, ascending: copies at most max seqs from `from` on; how many. `state`
 * is this capability's; the caller is the writer, or the writer does not run. */
uint32_t inbound_pending(const void *state, uint64_t from, uint64_t *seqs, uint32_t max);

/* --- for other capabilities' decide ------------------------------------------------------ */

/* For a command about something that may not be there yet: `parent` names it ("order web-de/4711",
 * inbound_order), `there`: whether it is. Where the command came of a payload and has to wait, it is
 * parked: *parked is set, decide answers what this does, and makes no events of its own. Call it
 * before any event. ERR_NOT_FOUND where it is not there and the command can not wait. */
enum err inbound_parent(struct decision *decision, const struct command *command,
                        struct str parent, bool there, bool *parked) WARN_UNUSED;
struct str inbound_order(struct arena *arena, struct str channel, struct str channel_order_id);
/* What the payload asks for is so already: settles it. Only for commands with a source. */
enum err inbound_nothing_new(struct decision *decision, const struct command *command,
                             struct str reason, struct str person) WARN_UNUSED;

/* The same where what was applied is newer. */
enum err inbound_stale(struct decision *decision, const struct command *command, struct str reason,
                       struct str person) WARN_UNUSED;
/* Whether version `a` is certainly older than `b`: both whole numbers, or both times. */
bool inbound_version_older(struct str a, struct str b);
/* A message of the same key that came before the command's waits for a person: the command's waits
 * behind it, *parked is set and decide answers what this does. Does nothing without a source. */
enum err inbound_behind(struct decision *decision, const struct command *command,
                        bool *parked) WARN_UNUSED;
/* Whether a payload is being processed, or about to be. */
bool inbound_is_pending(const struct state *state, uint64_t seq);
/* payload.retried: it is processed once more; edition_seq 0: as it came. */
enum err inbound_again(struct decision *decision, uint64_t seq, uint64_t edition_seq) WARN_UNUSED;

/* For who submits a command with a source: names what the rules will look up. */
void inbound_needs(struct command *command);

/* Names of its event types, as followers meet them. */
#define EVENT_PAYLOAD_RECEIVED "payload.received"
#define EVENT_PAYLOAD_RETRIED "payload.retried"
#define EVENT_PAYLOAD_RELEASED "payload.released"

#endif
