/* sim: one process, one thread, a whole hub: the real core, journal, read model, keyring, inbound
 * and delivery on a disk that loses what was not synced, with a clock and a random source that
 * follow from the seed, stepped by a seeded schedule of commands, partners' answers, faults and
 * crashes. Afterwards the oracle judges.
 *
 * A run is a plan: a list of steps, each a kind and a number from which everything that is random
 * in it follows. So a step can be left out and the others stay what they are: that is how a
 * failure is shrunk. Nothing depends on addresses, on the machine's time or on its files. */
#ifndef PENSTOCK_TESTS_SIM_SIM_H
#define PENSTOCK_TESTS_SIM_SIM_H

#include "../oracle/oracle.h"
#include "../support/vfs_fault.h"
#include "connect/connector.h"
#include "connect/inbound.h"
#include "connect/net.h"
#include "connect/poll.h"
#include "core/core.h"
#include "deliver/deliver_priv.h"
#include "domain/deliveries.h"
#include "ops/erasure.h"
#include "store/read_model.h"

/* --- plans -------------------------------------------------------------------------------------- */

/* SIM_STEP(symbol, name, weight): weight is how often, relative to the others. */
#define SIM_STEPS(SIM_STEP)                                                                        \
    SIM_STEP(STEP_ORDER, "order", 12)                                                              \
    SIM_STEP(STEP_WEBHOOK, "webhook", 5)                                                           \
    SIM_STEP(STEP_CANCEL, "cancel", 3)                                                             \
    SIM_STEP(STEP_SHIP, "ship", 5)                                                                 \
    SIM_STEP(STEP_COUNT, "count", 2)                                                               \
    SIM_STEP(STEP_ADJUST, "adjust", 3)                                                             \
    SIM_STEP(STEP_RECEIVE, "receive", 4)                                                           \
    SIM_STEP(STEP_HOLD, "hold", 4)                                                                 \
    SIM_STEP(STEP_RELEASE, "release", 1)                                                           \
    SIM_STEP(STEP_MARKET, "market", 3) /* an order at a marketplace, that is polled */             \
    SIM_STEP(STEP_PUBLISH, "publish", 4) /* somebody publishes a message for the hub */            \
    SIM_STEP(STEP_ERASE, "erase", 2) /* a person is erased */                                      \
    SIM_STEP(STEP_AGAIN, "again", 6) /* a request once more: answer lost, or impatience */         \
    SIM_STEP(STEP_OTHER, "other", 1) /* another request under a key that was used */               \
    SIM_STEP(STEP_READ, "read", 6)   /* availability */                                            \
    SIM_STEP(STEP_LOOK, "look", 3)   /* an order that was acknowledged */                          \
    SIM_STEP(STEP_FEED, "feed", 6)   /* someone follows the events */                              \
    SIM_STEP(STEP_CORE, "core", 24)                                                                \
    SIM_STEP(STEP_INBOUND, "inbound", 9)                                                           \
    SIM_STEP(STEP_POLL, "poll", 8)                                                                 \
    SIM_STEP(STEP_STREAM, "stream", 8)                                                             \
    SIM_STEP(STEP_DELIVER, "deliver", 20)                                                          \
    SIM_STEP(STEP_READ_MODEL, "read-model", 8)                                                     \
    SIM_STEP(STEP_TIDY, "tidy", 10)                                                                \
    SIM_STEP(STEP_SHELF, "shelf", 8)      /* the state is written down */                          \
    SIM_STEP(STEP_PARTNER, "partner", 28) /* one call to a partner ends */                         \
    SIM_STEP(STEP_BROKER, "broker", 12)   /* one call to the broker ends */                        \
    SIM_STEP(STEP_MARKET_ANSWER, "market-answer", 8)                                               \
    SIM_STEP(STEP_DOWN, "down", 1)        /* a partner is not there for a while */                 \
    SIM_STEP(STEP_BAD, "bad", 1) /* a partner refuses all it is sent, as after a wrong deployment */ \
    SIM_STEP(STEP_PERSON, "person", 9)    /* what is held, and cases: again, or given up */               \
    SIM_STEP(STEP_REPLAY, "replay", 2)    /* of events, to one of the partners */                  \
    SIM_STEP(STEP_FETCH, "fetch", 10)    /* a system fetches its events, or acknowledges them */       \
    SIM_STEP(STEP_HOOK, "hook", 8)       /* who has webhooks made for him asks for something */             \
    SIM_STEP(STEP_HOOK_ANSWER, "hook-answer", 22) /* one call to a webhook ends */                          \
    SIM_STEP(STEP_TIME, "time", 14)                                                                \
    SIM_STEP(STEP_CLOCK, "clock", 1) /* the wall clock is set */                                   \
    SIM_STEP(STEP_FULL, "full", 1)   /* the disk is full for a while */                            \
    SIM_STEP(STEP_DISK, "disk", 2)   /* the disk reports an error */                               \
    SIM_STEP(STEP_RESTART, "restart", 1)                                                           \
    SIM_STEP(STEP_CRASH, "crash", 1)           /* power is lost, between anything */               \
    SIM_STEP(STEP_CRASH_CORE, "crash-core", 1) /* before, inside or after an append */             \
    SIM_STEP(STEP_CRASH_TIDY, "crash-tidy", 1)                                                     \
    SIM_STEP(STEP_CRASH_READ_MODEL, "crash-read-model", 1)                                         \
    SIM_STEP(STEP_CRASH_DELIVER, "crash-deliver", 1)                                               \
    SIM_STEP(STEP_CRASH_SHELF, "crash-shelf", 1)                                                   \
    SIM_STEP(STEP_CRASH_OPEN, "crash-open", 1)

enum step_kind {
#define SIM_STEP(symbol, name, weight) symbol,
    SIM_STEPS(SIM_STEP)
#undef SIM_STEP
        STEP_KINDS
};
extern const char *const step_names[STEP_KINDS];
#define STEPS_MAX 100000u
struct step {
    uint64_t random; /* everything that is random in it follows from this */
    uint32_t number; /* in the plan as it was made, from 1 */
    uint8_t kind;    /* enum step_kind */
};
/* `count` steps that follow from the seed; which kinds are frequent differs from seed to seed. */
void plan_make(struct step *steps, uint32_t count, uint64_t seed);

/* --- what became of a run -------------------------------------------------------------------------- */

enum run_state { RUN_UNFINISHED, RUN_PASSED, RUN_VIOLATED };
#define LISTING_BYTES (1u << 20)
struct result { /* in memory that outlives the process that runs */
    enum run_state state;
    uint32_t step; /* the last one begun: its number; 0 before, STEPS_MAX + 1 after the plan */
    char rule[32]; /* of the first violation: one of the oracle's, or the simulator's own */
    char text[4096];
    uint64_t digest; /* of all that was observed */
    int64_t simulated_us;
    uint32_t commands, events, crashes, restarts, calls, effects, segments, sealed, evictions,
        loads, boxes, destroyed; /* personal parts, and those of erased persons */
    uint32_t listed;             /* bytes used of what follows */
    char listing[LISTING_BYTES]; /* the commands, a line each */
};
struct run_options {
    const struct step *steps;
    uint32_t count;
    uint64_t seed;
    bool list;       /* fill the listing */
    const char *log; /* write the observations there; NULL: not */
    struct result *result;
};
/* Once, before the first run: reads the connectors. False: they can not be read, told on stderr. */
bool sim_setup(void);
/* In a process of its own: ends with the first violation. */
_Noreturn void sim_run(const struct run_options *options);

/* --- the inside --------------------------------------------------------------------------------------- */

#define EDITED_MAX 64
#define EDITED_MARK "sim_edited"
#define LEDGERS_MAX 64 /* subscriptions */
struct partner;
struct shop;
struct market;
struct fetcher;
struct hooks;
struct calls;
struct broker;
struct streams;
#define ACCOUNTS_MAX 4 /* connectors */
/* A person's decision on its way. */
struct decision_pending {
    struct wish wish;
    struct delivery_edit edit;
    struct fault fault;
    char subscription[64];
    bool waiting;
};
/* desk.c */
struct desk {
    struct command_origin origin; /* first */
    struct arena arena; /* of the command */
    struct command command;
    bool pending; /* the hub has it */
};
struct sim {
    struct clock clock;                /* first: its callbacks get the sim back */
    int64_t now_us, tick_us, began_us; /* began_us: of the tick */
    int64_t latest_us;                 /* the latest that the wall clock ever was */
    int64_t full_until_us;
    const struct run_options *run;
    struct result *result;
    struct rng_seeded dice; /* of the step under way */
    struct rng_seeded ids;  /* the hub's own */
    struct vfs_fault *disk;
    struct oracle *oracle;
    void *log; /* FILE */
    struct config config;
    struct connectors connectors;
    struct arena arena; /* of a step */
    struct json_parser *parser;

    /* the hub; all NULL while it is down */
    struct journal *journal;
    struct keyring *keyring;
    struct shelf *shelf;
    struct tail *tail;
    struct core *core;
    struct read_model *read_model;
    struct reader *reader;
    struct inbound *inbound;
    struct deliver *deliver;
    struct poller *poller;
    struct streams *streams;
    struct accounts *accounts;
    struct erasure *erasure;
    bool up, dying;
    bool reloaded; /* in this life, delivery had to go back to what is on disk */
    uint64_t segment_bytes, tail_bytes;
    uint32_t read_model_batch;

    struct partner *partner;
    struct shop *shop;
    struct market *market;
    struct calls *calls;
    struct fetcher *fetcher;
    struct broker *broker;
    struct hooks *hooks;
    struct decision_pending pending;
    struct edited { /* the newest that persons were told to be edited */
        char subscription[64];
        uint64_t seq, at;
    } edited[EDITED_MAX];
    uint32_t edited_count;
    struct ledger_began { /* by subscription: where this life began */
        uint64_t from, before; /* cursor, what was listed */
    } ledgers[LEDGERS_MAX];
    uint32_t ledger_count; /* those that were there then */
    uint64_t ledger_seq;   /* the journal's end then */
    struct desk desk;
};

static inline uint64_t chance(struct sim *sim, uint64_t bound) {
    return rng_below(&sim->dice.rng, bound);
}
/* A violation: told, and the process ends. */
_Noreturn void violate(struct sim *sim, const char *rule, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* An observation, as oracle.h says; printf-like. */
void observe(struct sim *sim, const char *fmt, ...) PRINTF_LIKE(2, 3);
void observe_line(struct sim *sim, struct str line);
/* A line of the listing, where one is wanted. */
void list_line(struct sim *sim, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* world.c: the hub and its disk. */
void world_open(struct sim *sim);
void world_close(struct sim *sim);
/* Whatever happened to the disk: the hub is up when it answers. */
void hub_up(struct sim *sim);
/* Ends the hub as a process ends: nothing is said to anyone. With `crash`, power is lost first. */
void hub_down(struct sim *sim, bool crash);
/* After every step: power was lost in it? Then the hub is started again. */
void hub_revive(struct sim *sim);
/* Runs everything until nothing moves any more; partners are well, the disk too. */
void hub_settle(struct sim *sim);
void time_pass(struct sim *sim, int64_t us);

/* shop.c: who sends commands, and what they were told. */
struct shop *shop_create(struct sim *sim);
void shop_destroy(struct shop *shop);
void shop_step(struct sim *sim, enum step_kind kind);
/* The hub has ended: who waits for an answer gets none. */
void shop_lost(struct sim *sim);
/* An order that was seen in the feed: from now on known, as one that was answered. */
void shop_order_seen(struct sim *sim, struct str id);
/* Sends again what nobody knows the end of; how many those are. */
uint32_t shop_retry_all(struct sim *sim);
/* Availability of a SKU everywhere, now: an observation {"read": …}, or at the end {"position"}. */
void shop_read_stock(struct sim *sim, uint32_t sku, const char *kind);
uint32_t shop_sku_count(void);
/* The highest seq that an acknowledgement named. */
uint64_t shop_acknowledged(const struct sim *sim);
/* The orders as the hub shows them one by one: {"order": …}, in the order of the read model. */
void shop_observe_orders(struct sim *sim);

/* An order that a partner offers, and the hub is to fetch: told to the oracle, its number there;
 * *order is the caller's. */
uint32_t shop_offer(struct sim *sim, struct str *order);

/* fetcher.c: a system that fetches its events, with leases. */
struct fetcher *fetcher_create(struct sim *sim);
void fetcher_destroy(struct fetcher *fetcher);
void fetcher_step(struct sim *sim);
void fetcher_settle(struct sim *sim); /* it fetches and acknowledges all there is */
void fetcher_lost(struct sim *sim);   /* the hub has ended */
void fetcher_observe(struct sim *sim);
bool fetcher_has(struct str subscription); /* it is its */

/* hook.c, hook_user.c: webhooks of the API, who has them made, and the systems that they go to. */
struct hooks *hooks_create(struct sim *sim, struct net *others); /* others: of all other calls */
void hooks_destroy(struct hooks *hooks);
struct net *hooks_net(struct hooks *hooks);
void hooks_step(struct sim *sim);   /* somebody asks for something, or a system goes away */
void hooks_answer(struct sim *sim); /* one call ends, somehow */
uint32_t hooks_calls(const struct sim *sim); /* under way */
void hooks_work(struct sim *sim);   /* what is due by now is done */
void hooks_watch(struct sim *sim);  /* after every step */
void hooks_heal(struct sim *sim);   /* from now on all answer, and well */
bool hooks_settle(struct sim *sim); /* what stands still goes on; true: all is done */
void hooks_lose(struct sim *sim);   /* nobody listens any more to what is under way */
void hooks_lost(struct sim *sim);   /* the hub has ended */
bool hooks_has(struct str subscription); /* it is one of those */

/* stops.c: subscriptions that stop themselves. */
void stops_declare(struct sim *sim); /* gives each subscription a policy */
/* So many deliveries in a row may be refused, at most, until it stands still; and be under way then. */
uint32_t stops_at_most(const struct sim *sim, const char *subscription);
/* A person starts one that stands still, or stops one; true: he decides, now. */
bool stops_decide(struct sim *sim, bool start_only);
bool stops_none(const struct sim *sim);

/* calls.c: what other systems are asked, counted there. */
struct calls *calls_create(struct sim *sim); /* gives each connector an account */
void calls_destroy(struct calls *calls);
void calls_life(struct sim *sim); /* another life of the hub begins */
uint64_t call_began(struct sim *sim, const struct net_request *request); /* 0: of nobody's account */
void call_over(struct sim *sim, uint64_t call, const struct net_answer *answer);
void calls_wake(struct sim *sim); /* behind each end */
/* More than it takes: then *wait_us is when it would take one. Else this one is taken. */
bool call_is_too_much(struct sim *sim, const struct net_request *request, int64_t *wait_us);
/* After every step: whether breakers are on disk as they are. */
void calls_watch(struct sim *sim);
void calls_tell(const struct sim *sim, struct buf *out); /* for who looks why nothing moves */
bool calls_told(const struct sim *sim); /* the journal knows of all that opened and closed */

/* market.c: a partner that is polled. */
struct market *market_create(struct sim *sim);
void market_destroy(struct market *market);
struct net *market_net(struct market *market);
void market_step(struct sim *sim);   /* something happens there */
void market_answer(struct sim *sim); /* a call to it ends, somehow */
void market_lose(struct sim *sim);   /* nobody listens any more */
void market_settle(struct sim *sim); /* it is well, and all it has is to be fetched … */
bool market_quiet(const struct sim *sim); /* … and was */
void market_observe(struct sim *sim);
bool poller_rests(const struct poller *poller); /* it waits for nobody */

/* held.c: a person decides about a delivery that is held, where there is any; of this subscription, or
 * where that is absent of any. */
/* What a person had edited is sent so: else violated. */
void held_edited(struct sim *sim, const char *subscription, uint64_t seq, uint64_t asked, struct str body);
void held_decide(struct sim *sim, struct str subscription);
/* What was answered is told to the oracle; before a crash is gone through. */
void held_answered(struct sim *sim);

/* desk.c: a person looks at the cases and decides one, where there is any. */
void desk_decide(struct sim *sim);
/* The same, and gives up what is left; true: nothing is. */
bool desk_clear(struct sim *sim);
/* The hub has ended. */
void desk_lost(struct sim *sim);

/* replays.c: a person asks for events once more, or stops that. */
void replays_step(struct sim *sim);
/* What is paused goes on, what is held in the way of one is decided about; true: all are over. */
bool replays_clear(struct sim *sim);

/* partner.c: other systems, with books of their own. */
struct partner *partner_create(struct sim *sim);
void partner_destroy(struct partner *partner);
struct net *partner_net(struct partner *partner);
uint32_t partner_calls(const struct sim *sim); /* under way */
void partner_step(struct sim *sim);            /* one call ends, somehow */
void partner_down(struct sim *sim);            /* one of them, for a while */
void partner_bad(struct sim *sim);             /* one of them refuses everything for a while */
void partner_bad_now(struct sim *sim);         /* one of them, until all are well again; all else is */
void partner_heal(struct sim *sim);            /* from now on all answer, and well */
void partner_lose(struct sim *sim);            /* nobody listens any more to what is under way */
void partner_work(struct sim *sim);            /* what is due by now is done */
void partner_observe(struct sim *sim);         /* its books */

/* shelf.c: many values in a call; `fails` is the member that it does not take. */
void shelf_take(struct sim *sim, struct str body, uint32_t fails, struct buf *out);

/* watch.c: looks at the hub, changes nothing. */
void watch_feed(struct sim *sim);  /* follows the events */
void watch_disk(struct sim *sim);  /* while the disk syncs: what others may see at that moment */
void watch_step(struct sim *sim);  /* cheap, after every step */
void watch_start(struct sim *sim); /* after a start */
void watch_rest(struct sim *sim);  /* all has come to rest, or the hub is about to be stopped */
void watch_end(struct sim *sim);   /* all of it, at the end */

#endif
