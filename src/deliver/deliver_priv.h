/* The inside of delivery, shared by deliver.c (subscriptions, reading ahead, progress),
 * attempt.c (one delivery: look up, map, send, record), wishes.c (what persons decide),
 * deliver_thread.c and deliver_ops.c. */
#ifndef PENSTOCK_DELIVER_DELIVER_PRIV_H
#define PENSTOCK_DELIVER_DELIVER_PRIV_H

#include <pthread.h>
#include <uv.h>

#include "base/span.h"
#include "connect/asking.h"
#include "connect/auth_net.h"
#include "deliver/ahead.h"
#include "deliver/backlog.h"
#include "deliver/batch_size.h"
#include "deliver/deliver.h"
#include "deliver/drain.h"
#include "deliver/lane.h"
#include "deliver/progress.h"
#include "deliver/reach.h"
#include "deliver/replay.h"
#include "deliver/stop.h"

/* Of one name, as long as delivery lives; see subscriptions.c. */
struct subscription {
    struct deliver *deliver;
    struct str name;
    const struct connector_send *send; /* by which new attempts go; its connector is taken */
    struct lanes *lanes;
    struct ahead ahead;
    uint64_t remembered; /* by the tail, from this seq on; while reading ahead */
    struct net_flow flow; /* its turns at the account */
    int64_t shut_us;      /* its account takes nothing before it; 0: it does */
    int64_t read_us;      /* the journal is not read on before it */
    bool unread;          /* told: it could not be */
    bool retired; /* no connector has it now: it rests. Under the lock */
    bool wanted;  /* while connectors are followed */
    uint64_t saved;     /* cursor on disk */
    uint64_t sent_to;   /* on disk: nothing beyond was ever sent */
    uint64_t suspect_to; /* events up to it may have been sent in an earlier life */
    struct lane_ledger ended; /* of lanes before these */
    struct subscription_over { /* beyond the cursor when it was loaded, over already; ascending */
        uint64_t seq, lane;    /* hash of its key */
        bool counted;          /* ended in this life, before it was read: it was taken in as a row */
    } *over;
    uint32_t over_count, over_cap;
    uint32_t out;       /* attempts under way */
    /* subscribers.c, of those made through the API: */
    int64_t failing_us; /* since then nothing was taken, wall clock; 0: it was */
    struct attempt *leases; /* pull.c: those handed out; linked by lease_next */
    uint32_t lease_count;
    bool forgotten;     /* it is gone, and so is its progress */
    struct {               /* batch.c */
        struct batch *waiting; /* not sent yet, oldest first */
        uint64_t members;      /* of those */
        uint32_t calls;        /* under way */
        int64_t next_us;       /* rate: no call before */
        struct batch_size size;
        int64_t since_us;      /* since when something may go that waits for others; 0: nothing does */
    } batches;
    uint64_t part_seq; /* an event with several keys that was read in part; 0: none */
    uint32_t part_keys; /* of them added */
    struct attempt *alone; /* script.c: those whose calls go one at a time */
    struct deliver_stats stats; /* the loop's own */
    struct deliver_stats shown; /* under the lock */
    int64_t rate_tick_us;
    uint64_t rate_delivered;
    struct drain drain;
    struct backlog backlog;
    struct stop_state stop; /* stop.c */
    _Atomic uint64_t outcomes[LANE_OUTCOMES]; /* attempts that ended so */
    struct replay_job *replay; /* whose turn it is; NULL: none. Under the lock */
    _Atomic uint64_t replayed[REPLAY_OUTCOMES];
    struct histogram call_us, event_us; /* of one call; from the event until it was delivered */
};

enum stage {
    STAGE_LOOKUP,  /* asking the remote whether it is there */
    STAGE_SEND,
    STAGE_LOOK,    /* an order is read that the mapping looks at */
    STAGE_COMMAND, /* telling the journal: posting.record; then the lane ends */
    STAGE_TELL,    /* telling the journal: delivery.hold, delivery.release; no lane */
};

/* script.c: where one attempt of a script stands. */
struct script_run {
    struct script_answer {
        struct str name, body; /* body is JSON */
        int status;
    } *answers;
    uint32_t count, calls;
    size_t bytes;
    struct str call; /* the one under way */
    const struct json *step; /* that asked for it */
    struct str alone; /* the turn that it holds or waits for; absent: none */
    bool changes;    /* it may change something there */
    bool changed;    /* one that may has been made */
};

/* look.c: an order that was asked for; NULL: there is none. */
struct attempt_look {
    struct str order_id;
    const struct json *order;
};
#define DELIVER_LOOKS_MAX 4

/* One delivery on its way. Kept in a free list: its arena and buffers are used again. */
struct attempt {
    struct attempt *next; /* free, waiting for a session or a turn, or to be told again */
    struct deliver *deliver;
    struct subscription *sub;
    const struct connector_send *send; /* the version it began with; its connector is taken */
    struct lane_job job;
    enum stage stage;
    struct arena arena;
    struct buf text;      /* the event as CloudEvent; not mapped: its data */
    struct buf body;      /* to send */
    struct buf url;
    const struct json *event; /* CloudEvent, where it is mapped */
    struct str id, type, subject, correlation, traceparent, data;
    int64_t signed_us;   /* of a webhook: when, wall clock */
    struct str again_id; /* in place of id towards the other system; absent: it is the same */
    struct net_call *call;
    struct script_run script;
    struct attempt_look looks[DELIVER_LOOKS_MAX];
    uint32_t look_count;
    struct str look_wanted; /* the order that the last run asked for; absent: none */
    void (*look_resume)(struct attempt *attempt);
    struct batch *batch;  /* that it is a member of; NULL: none */
    struct str document;  /* mapped, for its batch */
    struct str previous;  /* what was acknowledged last of its key; absent: not known, or no conflation */
    struct command command;
    int64_t event_us; /* when the event was recorded, wall clock */
    int64_t again_us; /* STAGE_COMMAND, STAGE_TELL: when to submit again */
    bool found;       /* the look-up found it */
    bool asked;       /* previous is what the system said */
    bool suppressed;  /* nothing is sent: the system has it already, or is not told of it */
    bool superseding; /* STAGE_TELL: once the journal knows, the row of the held one goes */
    bool confirming;  /* sent with success but without a number: the look-up is to tell it */
    /* STAGE_TELL: the journal was told (err OK), or can not be. NULL: nobody asks. */
    void (*told)(struct attempt *attempt, enum err err);
    /* edit.c: what a person changed of it */
    const struct json *patch; /* NULL: nothing of its data */
    bool edit_lost;           /* it can not be made so: why it is held again */
    uint64_t replay;  /* STAGE_TELL: of this replay, which goes on once the journal knows; 0: none */
    /* attempt_span.c */
    bool traced;                       /* what follows is set */
    char span[SPAN_ID_LEN], call_span[SPAN_ID_LEN];
    char under_text[TRACEPARENT_LEN], call_text[TRACEPARENT_LEN];
    struct str under;                  /* traceparent of what happens within the attempt */
    struct str call_url;               /* of the call under way */
    int64_t began_us, call_us;         /* wall clock */
    struct attempt *lease_next; /* pull.c, while it is handed out: */
    uint64_t lease_token;
    int64_t lease_until_us; /* of the clock's tick */
    struct wish *wish; /* of who waits for that; NULL: nobody (any more). Under the lock */
};

/* A person's decision, waiting for the loop. */
enum wish_kind { WISH_RETRY, WISH_DISCARD, WISH_EDIT, WISH_STOP, WISH_START };
struct wish {
    struct wish *next;
    struct attempt *telling; /* granted, and the journal is being told */
    enum wish_kind kind;
    bool done;
    enum err (*decide)(struct deliver *d, struct wish *wish); /* NULL: as `kind` says */
    struct str subscription, by, reason;
    uint64_t seq;
    const struct delivery_edit *edit; /* WISH_EDIT; the asker's, so only while it waits */
    uint64_t edit_seq; /* WISH_EDIT: of its event */
    enum err err;
    struct fault *fault;
};

/* Of all subscriptions, by number. Under the lock. */
struct replays {
    struct replay_job **items;
    uint32_t count, cap;
    int64_t last_id;
    struct json_parser *parser;
    struct arena arena; /* of the meta of one record */
};

struct deliver {
    struct deliver_options options;
    struct progress *progress; /* under the lock */
    struct replays replays;
    struct net *net;
    struct mapper *mapper;
    struct asking asking;
    struct attempt *looking; /* whose mapping is running */
    struct json_parser *parser;
    struct arena names;         /* of subscriptions and their connectors */
    struct subscription **subs; /* the list grows under the lock, and never loses one */
    uint32_t count, cap;
    struct pull_ask *pull_inbox, *pull_waiting; /* pull.c: under the lock; the loop's own */
    uint32_t pull_count;
    bool pull_closed, pull_draining; /* under the lock */
    struct made { /* subscribers.c: as connectors, by the event that made each so */
        uint64_t seq;
        const struct connector *connector;
    } *made;
    uint32_t made_count;
    uint64_t made_version;
    bool made_behind; /* not all of them are followed yet */
    const struct connectors *renewed; /* to be followed from the next round on; under the lock */
    struct net *wrapped;          /* around a net that is somebody else's */
    struct auth_keepers *keepers; /* our own, where none are given */
    struct accounts *accounts;    /* likewise */
    struct reach reach;
    struct attempt *free;
    struct attempt *again; /* to be submitted again */
    uint32_t out;          /* attempts not in `free` */
    struct command_origin origin;
    struct tail_follower follower;
    int64_t flushed_us;
    uint32_t unflushed; /* deliveries since */
    uint32_t telling;   /* attempts at STAGE_TELL */
    bool deciding;      /* one of them is a person's decision, on which the next one waits */
    _Atomic bool failed; /* progress could not be written: reload when nothing is out */
    int64_t reload_us;
    bool stopping;

    pthread_mutex_t lock; /* progress, shown statistics, wishes */
    pthread_cond_t decided;
    struct wish *wishes;
    pthread_mutex_t answers_lock;
    struct command *answers, *answers_last;
    void (*wake)(void *ctx);
    void *wake_ctx;

    /* deliver_thread.c */
    uv_loop_t loop;
    uv_async_t async;
    uv_timer_t timer, drain_timer;
    uv_prepare_t prepare;
    pthread_t thread;
    _Atomic int64_t drain_ms; /* -1: not to stop */
    bool own_net, drained, started;
};

/* attempt.c */
/* Starts what lanes_take has answered; the attempt ends by itself. */
void attempt_start(struct subscription *sub, const struct lane_job *job);
/* A command of an attempt came back. */
void attempt_answered(struct attempt *attempt);
/* Submits the attempt's command (again). */
void attempt_submit(struct attempt *attempt);
/* Makes it: by this connector, within the attempt's case. */
enum err attempt_command(struct attempt *attempt, const struct command_type *type, void *body,
                         uint64_t cause_seq, struct fault *fault) WARN_UNUSED;
/* The hub stops and the core does not take the command: ends it; the next life looks it up. */
void attempt_abandon(struct attempt *attempt);

/* tell.c */
/* Tells the journal, then attempt->told (NULL: nobody), and the attempt is given back: `body` is in its
 * arena, NULL where memory was out. False: it could not begin, the attempt was given back and nobody is
 * told. */
bool attempt_tell(struct attempt *attempt, const struct command_type *type, void *body,
                  uint64_t cause_seq);
/* The attempt's delivery is held now. */
void attempt_tell_hold(struct attempt *attempt, int status, struct str cause);
/* Tells the journal of a listed delivery; `row` is copied. */
void attempt_tell_held(struct subscription *sub, const struct progress_row *row);
/* With `wish`: a discard, which deliver_discarded completes; false where that can not begin. */
bool attempt_tell_released(struct subscription *sub, const struct progress_row *row,
                           struct wish *wish, struct str by, struct str reason);
/* Tells the journal what the wish changes of a held delivery; deliver_edited completes it. */
bool attempt_tell_edited(struct subscription *sub, const struct progress_row *row, struct wish *wish);
/* Tells the journal that a held delivery was superseded by a newer one of its key; then its row goes. */
void attempt_tell_superseded(struct subscription *sub, const struct progress_row *row, uint64_t by_seq);

struct attempt *attempt_take(struct subscription *sub);
void attempt_give_back(struct attempt *attempt);
void attempt_free(struct attempt *attempt);

/* For what else makes attempts end: script.c, batch.c. */
/* Maps and sends, or hands it to its batch. */
void attempt_send(struct attempt *attempt);
/* Asks by the subscription's `lookup` first. */
void attempt_lookup(struct attempt *attempt);
void attempt_finish(struct attempt *attempt, enum lane_outcome outcome, int64_t retry_after_ms,
                    int status, struct str cause);
void attempt_later(struct attempt *attempt, const struct fault *fault);
/* Delivered. `books`: the remote keeps books, what went there goes into the journal. */
void attempt_done(struct attempt *attempt, struct str reference, bool books);
/* The mapping or script refused (ERR_INVALID): held. */
void attempt_unmapped(struct attempt *attempt, const struct fault *fault);
/* `done` gets the attempt. */
enum err attempt_call(struct attempt *attempt, const struct connector_request *request,
                      struct str body, net_done *done, struct fault *fault) WARN_UNUSED;
/* It may have been done, and may still be: whoever looks for it must not look too early. */
void attempt_suspect(struct attempt *attempt);
#define DELIVER_CAUSE_MAX 400 /* bytes of what a remote says that are kept */
/* What went wrong, one line; nothing of a person. */
struct str attempt_cause(struct attempt *attempt, const struct net_answer *answer);
struct str attempt_words(struct attempt *attempt, struct str words);

/* NULL: what is personal is not for its subscription. */
struct keyring *attempt_keyring(const struct attempt *attempt);

/* attempt_event.c */
/* Reads the event of the attempt's job. */
enum err attempt_event_read(struct attempt *attempt, struct fault *fault) WARN_UNUSED;

/* look.c */
extern const struct mapping_hub deliver_hub; /* its ctx is the deliver */
/* Runs the attempt's mapping or script. ERR_UNAVAILABLE where it looks at an order that is not at hand:
 * look_fetch gets it. */
enum err look_run(struct attempt *attempt, const struct json *document, const struct json **out,
                  struct fault *fault) WARN_UNUSED;
/* True: what the last run wanted is on its way, and `resume` makes the run again (or the attempt has
 * ended); false: it wanted nothing. */
bool look_fetch(struct attempt *attempt, void (*resume)(struct attempt *attempt));
/* Its answer. */
void look_fetched(struct attempt *attempt);

/* batch.c */
struct str batch_key(const struct batch *batch);

/* script.c */
void script_start(struct attempt *attempt);
void script_next(struct attempt *attempt);

/* deliver.c */
/* Puts what says who calls around the net. */
enum err deliver_net_wrap(struct deliver *d, bool own, struct fault *fault) WARN_UNUSED;
/* How long the remote may be at work on what was sent, after we stopped waiting. */
int64_t settle_us(const struct connector_send *send);
/* Before the event is sent: what is on disk says that it may have been. */
bool deliver_reserve(struct subscription *sub, uint64_t seq) WARN_UNUSED;
/* The lane's delivery has ended: lanes, progress, statistics. True: it is held now, and the
 * journal should be told. */
bool deliver_ended(struct attempt *attempt, enum lane_outcome outcome, int64_t retry_after_ms,
                   int status, struct str cause);

/* Progress and all cursors, in one transaction. Under the lock; false: delivery stands still until
 * what is in memory was loaded from the disk again. */
bool deliver_flush_locked(struct deliver *d);

/* What a record's order is kept by; own: room for one that has a lane of its own. */
struct str subscription_key(const struct subscription *sub, const struct record *record, char own[24]);

/* wishes.c */
/* Has the loop do it, and waits for it. Any thread but the loop's. */
enum err wish_make(struct deliver *d, struct wish *wish);
/* What persons have decided since the last round. */
void wishes_grant(struct deliver *d);
/* The journal knows of a discard (err OK), or could not be told. */
void deliver_discarded(struct attempt *attempt, enum err err);
/* The same of an edit. */
void deliver_edited(struct attempt *attempt, enum err err);
/* The attempt tells the journal of the wish: those that follow wait for that. */
void wish_telling(struct wish *wish, struct attempt *attempt);
/* That has ended. Under the lock. */
void wish_told(struct attempt *attempt, enum err err);
/* stop.c: the same as for held deliveries. Caller has the lock. */
enum err stop_grant(struct deliver *d, struct wish *wish) WARN_UNUSED;

/* figures.c */
/* What others see of each subscription: each round; what is dear, once a second. */
void figures_show(struct deliver *d, int64_t now_us);

#define DELIVER_COLD_US INT64_C(20000) /* until an archive that is being unpacked is looked at again */
#define DELIVER_AGAIN_MS 100   /* between two tries to tell the core */
#define DELIVER_RELOAD_MS 1000 /* after progress could not be written */

/* Any thread: the loop takes a round, where there is one (deliver.c). */
void deliver_wake(struct deliver *d);

/* subscriptions.c */
/* Whether it is followed now or not; NULL where no connector ever had it. */
struct subscription *subscription_named(struct deliver *d, struct str name);
/* New attempts begin. */
bool subscription_goes(const struct subscription *sub);
/* A listed delivery that an earlier life was done with, delivered or discarded, before the cursor
 * came to it. */
const struct subscription_over *subscription_over(const struct subscription *sub, uint64_t seq, struct str lane);
/* A listed delivery is done with, or discarded: should the cursor, or reading, come to it later, it is over. */
void subscription_ended(struct subscription *sub, uint64_t seq, struct str lane);
/* Where every event is that came in since the start. Under the lock, or on the loop. */
void subscription_ledger(const struct subscription *sub, struct lane_ledger *out);
/* Lanes as progress has them. */
enum err subscription_load(struct subscription *sub, struct fault *fault) WARN_UNUSED;
/* From now on the subscriptions are those of these connectors. Under the lock. */
enum err subscriptions_follow(struct deliver *d, const struct connectors *connectors,
                              struct fault *fault) WARN_UNUSED;
/* What deliver_renew left, between two rounds. */
void subscriptions_renew(struct deliver *d);
void subscriptions_free(struct deliver *d);

#endif
