/* replay: events of the journal that one subscription is given once more, because a person asked for
 * it: chosen by time, seq, type, key, correlation or the connector they came in by; throttled;
 * paused, resumed, cancelled; going on where it stood after a stop or a crash. Rows of its own in
 * delivery.db (progress_replay_set).
 *
 * What always holds: only what the live stream is done with is replayed; a replayed event has the lane
 * of its key for itself while it is out and waits while anything else has it, so nothing passes
 * anything within a key; it takes at most half of the subscription's concurrency (at least one); what
 * can not be delivered is held like any other, with the replay's number; where the newest value is what
 * counts, one that has a newer after it is passed over; a subscription's replays run one after the
 * other. The position on disk is never beyond what is settled: after a crash, what is between is sent
 * again, under the same rules. */
#ifndef PENSTOCK_DELIVER_REPLAY_H
#define PENSTOCK_DELIVER_REPLAY_H

#include "base/arena.h"
#include "base/clock.h"
#include "base/metric.h"
#include "core/journal.h"
#include "deliver/lane.h"
#include "shape/shape.h"

enum replay_state {
    REPLAY_COUNTING, /* looks through the journal for what is meant */
    REPLAY_COUNTED,  /* dry run: that was all */
    REPLAY_STARTING, /* the journal is being told */
    REPLAY_RUNNING,
    REPLAY_PAUSED,
    REPLAY_ENDING, /* all is settled; the journal is being told */
    REPLAY_DONE,
    REPLAY_CANCELLED,
    REPLAY_FAILED, /* can not be done; `error` says why */
};
/* How a replayed event ends, as counted. */
enum { REPLAY_OUTCOMES = 4 }; /* sent, found, held, superseded */
enum replay_action { REPLAY_PAUSE, REPLAY_RESUME, REPLAY_CANCEL };

struct replay_type {
    uint64_t has;
    struct str type;
    int64_t events;
};
#define REPLAY_TYPES_MAX 64

/* As asked for, and how far it is: row of delivery.db and answer of /ops/replays. */
struct replay {
    uint64_t has;
    int64_t id;
    struct str subscription;
    int32_t state;
    struct instant from, to; /* when the hub recorded it: from <= time < to */
    int64_t from_seq, to_seq;
    struct str type, key, correlation, connector;
    int64_t rate_per_s;
    bool again, newest, dry_run;
    struct str by, reason;
    struct instant asked_at, ended_at;
    int32_t guard;    /* enum replay_guard */
    int64_t last;     /* nothing beyond this seq is looked at */
    int64_t position; /* all up to it is settled */
    int64_t chosen, first_seq, last_seq;
    struct shape_list types; /* of struct replay_type */
    int64_t sent, found, held, superseded;
    int64_t waiting; /* for their keys, now */
    bool began;      /* the journal was told */
    struct str error;
};
/* What keeps a replayed event from being done twice at the other system. */
enum replay_guard {
    REPLAY_GUARD_NONE,
    REPLAY_GUARD_KEY,    /* the request carries the event's id, or puts it in place */
    REPLAY_GUARD_LOOKUP, /* it is looked up before it is sent */
};
struct connector_send;
enum replay_guard replay_guard_of(const struct connector_send *send);

struct deliver;
struct subscription;
struct attempt;

/* --- the loop ------------------------------------------------------------------------------- */
/* Reads those on disk. At start and after progress was lost; the caller has the lock, or is alone. */
enum err replays_load(struct deliver *d, struct fault *fault) WARN_UNUSED;
void replays_free(struct deliver *d);
/* Counts, puts into lanes what may go now. */
void replay_step(struct subscription *sub, int64_t now_us);
int64_t replay_next_us(const struct subscription *sub, int64_t now_us);
/* Before a flush, under the lock: rows of what changed; whether there is any. */
void replays_save(struct deliver *d);
bool replays_dirty(const struct deliver *d);

/* The loop's own thread, with the lock; on disk when OK. What was asked for stands in `row`, its id and
 * the rest are set. ERR_NOT_FOUND, ERR_CONFLICT (the subscription can not be given these; too many are
 * under way), ERR_NOMEM, ERR_UNAVAILABLE. */
enum err replay_begin(struct deliver *d, struct replay *row, uint64_t *id, struct fault *fault) WARN_UNUSED;
enum err replay_decide(struct deliver *d, uint64_t id, enum replay_action action, struct str by,
                       struct str reason, struct fault *fault) WARN_UNUSED;

/* A replayed event that was not listed is with the other system; `found`: it was there already. */
void replay_delivered(struct subscription *sub, uint64_t replay, uint64_t seq, bool found);
/* It is listed (held, or retried aside): its lane keeps it from now on. */
void replay_listed(struct subscription *sub, uint64_t replay, uint64_t seq);
/* The journal was told, or not. */
void replay_told(struct attempt *attempt, enum err err);
/* It is to look like a new event to the other system. */
bool replay_again(const struct deliver *d, uint64_t replay);

void replay_figures(struct deliver *d, const struct subscription *sub, const struct str *labels,
                    struct metrics *out);

/* --- replay_find.c: which events are meant ------------------------------------------------------ */
struct json_parser;
/* Of what the subscription wants. The arena is used for its meta. */
bool replay_chosen(const struct replay *replay, const struct record *record, struct json_parser *parser,
                   struct arena *arena);
/* Keys and the newest seq of each. */
struct replay_keys;
struct replay_keys *replay_keys_create(uint32_t max);
void replay_keys_destroy(struct replay_keys *keys);
/* A chosen event; false: more keys than `max`, or no memory. */
bool replay_keys_add(struct replay_keys *keys, struct str key, uint64_t seq);
/* Any event the subscription wants: counts where its key is known. */
void replay_keys_saw(struct replay_keys *keys, struct str key, uint64_t seq);
/* Whether nothing newer of its key was seen. */
bool replay_keys_newest(const struct replay_keys *keys, struct str key, uint64_t seq);

/* Keys whose newest is a chosen one. */
uint32_t replay_keys_chosen(const struct replay_keys *keys);

#endif
