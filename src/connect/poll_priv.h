/* The inside of polling: poll.c (all polls, progress), poll_round.c (one round of one poll),
 * poll_items.c (what a page brought), poll_request.c (what is asked), poll_mark.c (watermarks),
 * poll_page.c (what an answer says), poll_thread.c and poll_ops.c. */
#ifndef PENSTOCK_CONNECT_POLL_PRIV_H
#define PENSTOCK_CONNECT_POLL_PRIV_H

#include <pthread.h>
#include <uv.h>

#include "connect/intake.h"
#include "connect/poll.h"

#define POLL_CURSOR_MAX 4096
#define POLL_URL_MAX 16384

/* --- poll_mark.c --------------------------------------------------------------------------- */
#define POLL_MARK_TEXT_MAX 256
struct poll_mark {
    bool known;     /* false: from the beginning */
    int64_t number; /* microseconds since 1970 of times */
    char text[POLL_MARK_TEXT_MAX + 1];
};
/* Of an item; false: it has none that can be read. */
bool mark_read(const struct connector_watermark *how, struct str value, struct poll_mark *out);
/* <0, 0, >0; what is not known is before everything. */
int mark_cmp(const struct connector_watermark *how, const struct poll_mark *a,
             const struct poll_mark *b);
/* As it goes into a request, less the overlap where it is to be. */
void mark_write(const struct connector_watermark *how, const struct poll_mark *mark, bool overlap,
                struct buf *out);
/* Microseconds of a time in a request, for request mappings; the number of a number. */
int64_t mark_number(const struct connector_watermark *how, const struct poll_mark *mark,
                    bool overlap);
/* As it is kept on disk, and back. */
void mark_save(const struct connector_watermark *how, const struct poll_mark *mark, struct buf *out);
bool mark_load(const struct connector_watermark *how, struct str text, struct poll_mark *out);
/* Where a poll that never ran begins. */
void mark_initial(const struct connector_watermark *how, int64_t now_us, struct poll_mark *out);
/* Never beyond this time (wall clock); other types stay. */
void mark_cap(const struct connector_watermark *how, struct poll_mark *mark, int64_t now_us);

/* --- one poll -------------------------------------------------------------------------------- */
struct poll_entry;

/* One item on its way into the journal. */
struct poll_slot {
    struct poll_entry *entry;
    enum { SLOT_FREE, SLOT_DETAIL, SLOT_SUBMIT, SLOT_CORE } state;
    struct arena arena;
    struct command command;
    struct net_call *call;
    const struct json *item;
    struct hash128 id;       /* of the item, for what was seen */
    struct intake_seen seen; /* to be written once it is durable */
    struct str dedup;
    uint32_t nth;            /* item of the page */
};
#define POLL_SLOTS 32
#define POLL_DETAILS_MAX 4 /* detail calls of one poll at once */

struct poll_entry {
    struct poller *poller;
    const struct connector_poll *poll;      /* its connector is taken; as is that of … */
    const struct connector_poll *next_poll; /* … this: the version to change to; NULL: none */
    bool retired;    /* no connector has it any more; under the lock */
    bool wanted_on;  /* by the set that is followed */
    struct str name; /* "shop/orders" */
    struct net_flow flow; /* its turns at the account */
    int64_t number;  /* in intake.db */
    enum { ENTRY_IDLE, ENTRY_CALLING, ENTRY_ITEMS, ENTRY_PAUSED } state; /* paused: in a round, until due */
    int64_t due_us;  /* tick: of the next round (idle) or call (paused) */
    struct poll_mark mark; /* as on disk */
    int64_t round;   /* number of the present one, or the next */
    int64_t page_size;
    bool wanted;     /* somebody asked for a round; under the lock */

    /* the round under way */
    struct poll_mark newest, from; /* so far; what the request says */
    char cursor[POLL_CURSOR_MAX + 1];
    char url[POLL_URL_MAX + 1];    /* of the next page, where the answer named it; "": none */
    int64_t offset, page;          /* page: from 1 */
    int64_t pages;                 /* done in this round */
    uint64_t largest;              /* items of its longest page */
    int64_t partner_us;            /* the other side's clock, as of the last answer */
    int64_t began_us;              /* wall clock */
    struct hash128 last_item;      /* offset: of the page before, where there is one: … */
    bool anchor;                   /* … it must be the first of this page */
    bool anchored;                 /* it is */
    bool moved;                    /* it is not: items have moved, a page back */
    uint32_t backsteps;            /* of this round */
    bool marked;                   /* partner_us is the other side's clock */
    bool unsorted;                 /* it was said to be sorted, and is not */
    bool restarted;                /* once, because the cursor was not taken any more */
    bool shifted;                  /* items moved while they were paged through */
    uint32_t repeats;              /* rounds made again because of that */
    uint32_t tries;                /* failures of the present page */

    /* the page under way */
    struct arena arena;
    struct net_call *call;
    struct str page_url;           /* that was asked for */
    const struct json *items, *next_item;
    uint32_t item_count, item_at;
    bool more;                     /* there is another page, once this one is durable */
    bool failed;                   /* an item failed: the page is asked for again */
    struct poll_slot *slots;       /* POLL_SLOTS */
    uint32_t busy, details;
    bool blocked;                  /* the core takes nothing: until again_us */
    int64_t again_us;

    struct poll_stats stats, shown; /* the loop's own; under the lock */
};

struct poller {
    struct poller_options options;
    struct intake *intake;
    struct expects *expects; /* what should come, and does not (expects.h) */
    struct net *net;     /* with what `auth` of the connectors says */
    struct auth_keepers *keepers; /* where the hub has none */
    bool own_wrap;       /* net is to be closed at the end */
    struct mapper *mapper;
    struct json_parser *parser;
    struct poll_entry **entries; /* grows under the lock */
    uint32_t count, cap;
    const struct connectors *renewed; /* under the lock: to be followed; NULL: none */
    struct command_origin origin;
    bool stopping;

    pthread_mutex_t lock; /* shown statistics, wishes */
    pthread_mutex_t answers_lock;
    struct command *answers, *answers_last;
    void (*wake)(void *ctx);
    void *wake_ctx;

    /* poll_thread.c */
    uv_loop_t loop;
    uv_async_t async;
    uv_timer_t timer;
    uv_prepare_t prepare;
    pthread_t thread;
    _Atomic bool stop;
    bool own_net, started;
};

/* --- poll_request.c -------------------------------------------------------------------------- */
/* The request of the next page, in entry->arena. ERR_INVALID: its mapping failed. */
enum err request_page(struct poll_entry *entry, struct net_request *out,
                      struct fault *fault) WARN_UNUSED;
/* Of an item's detail, in the slot's arena. */
enum err request_detail(struct poll_slot *slot, struct net_request *out,
                        struct fault *fault) WARN_UNUSED;

/* --- poll_page.c ----------------------------------------------------------------------------- */
/* Reads an answer of success: items, and where the next page is. ERR_INVALID with words for people:
 * it is no JSON, says that it failed, has no list where it should. */
enum err page_read(struct poll_entry *entry, const struct net_answer *answer,
                   struct fault *fault) WARN_UNUSED;
/* The target of rel="next" of Link headers (RFC 8288); absent: there is none. */
struct str page_link_next(const struct net_answer *answer, struct arena *arena);
/* `target` as seen from `base` (RFC 3986, 5.2); absent: of another origin. */
struct str page_resolve(struct str base, struct str target, struct arena *arena);
/* What went wrong, in the other side's words. */
struct str page_words(struct poll_entry *entry, const struct net_answer *answer);

/* --- poll_items.c ---------------------------------------------------------------------------- */
/* Takes on as many items of the page as there is room for; the last one that ends calls
 * round_page_done. */
void items_go(struct poll_entry *entry);
/* A command came back. */
void item_answered(struct poll_slot *slot);
/* By its id where it has one, else by its bytes. */
struct hash128 item_identity(struct poll_entry *entry, const struct json *item);

/* --- poll_round.c ---------------------------------------------------------------------------- */
void round_begin(struct poll_entry *entry);
/* Asks for the page whose turn it is. */
void round_call(struct poll_entry *entry);
/* All items of the page are in the journal, or one failed. */
void round_page_done(struct poll_entry *entry);
/* No call was made, because the account takes none now: again then, and nothing has failed. */
void round_postponed(struct poll_entry *entry, int64_t wait_ms);
/* The page could not be had: again later, by how bad it is. retry_after_ms < 0: not said. */
void round_failed(struct poll_entry *entry, bool again, int64_t retry_after_ms, struct str why);

/* --- poll_set.c ------------------------------------------------------------------------------ */
bool poll_usable(const struct poll_entry *entry);
enum err polls_follow(struct poller *poller, const struct connectors *connectors,
                      struct fault *fault) WARN_UNUSED;
/* Takes up what poller_renew left. */
void polls_renew(struct poller *poller);
/* Changes to its next version, where it rests. */
void entry_renew(struct poll_entry *entry);
void polls_free(struct poller *poller);

/* --- poll.c ---------------------------------------------------------------------------------- */
void poller_wake(struct poller *poller);
/* poller->net becomes one that says who calls; `own`: it closes the other one. */
enum err poller_net_wrap(struct poller *poller, bool own, struct fault *fault) WARN_UNUSED;

#endif
