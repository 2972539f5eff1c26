/* The inside of `penstock demo`, shared by demo.c (the course of events), demo_child.c (the hub
 * and the sandbox ERP as processes), demo_erp_*.c (the ERP: the sandbox or a real Tryton), demo_shop.c
 * (who sells), demo_orders.c (what), demo_watch.c (progress on the terminal) and demo_books.c (the
 * comparison at the end). */
#ifndef PENSTOCK_CLI_DEMO_PRIV_H
#define PENSTOCK_CLI_DEMO_PRIV_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/rng.h"
#include "cli/client.h"

/* --- processes -------------------------------------------------------------------------- */

struct demo_child {
    const char *name; /* "hub": in messages */
    const char *program; /* what is run; NULL: our own program */
    pid_t pid;        /* 0: not running */
    int out;          /* read end of its stdout */
    char log[PATH_MAX];
    char url[256];    /* of its ready line */
};
/* Runs child->program with these arguments (NULL-ended, without the program's name) and
 * `environment` ("NAME=value", NULL-ended) beside our own; stderr is appended to child->log. */
enum err demo_child_start(struct demo_child *child, const char *const *arguments,
                          const char *const *environment, struct fault *fault) WARN_UNUSED;
/* Waits for the line that has "http://…" and keeps the address as child->url. The child's last
 * words on stderr are in the fault where it ended instead. */
enum err demo_child_ready(struct demo_child *child, int64_t timeout_ms,
                          struct fault *fault) WARN_UNUSED;
/* Signals and waits until it is gone; after timeout_ms with SIGKILL. Answers its exit code, or
 * 128 + the signal that ended it. */
int demo_child_stop(struct demo_child *child, int signal_number, int64_t timeout_ms);
/* Runs a program (NULL: our own) to its end; everything it printed on stdout goes to `out`. Answers
 * its exit code. */
int demo_child_run(const char *program, const char *const *arguments, const char *const *environment, const char *log,
                   struct buf *out);

/* --- who sells -------------------------------------------------------------------------- */

struct demo_sale {
    const char *channel;
    char number[32];  /* the channel's order number */
    int64_t grand;    /* minor units of EUR */
    int64_t sent_us;  /* wall clock of the first try */
    bool done;        /* the hub acknowledged it */
};

enum demo_shop_kind { SHOP_SHOPIFY, SHOP_WOOCOMMERCE, SHOP_TILL };
struct demo_shop {
    const char *name;    /* "web-de, on Shopify" */
    const char *channel;
    const char *prefix;  /* of its order numbers */
    enum demo_shop_kind kind;
    const struct demo *demo;
    pthread_t thread;
    bool running;
    struct client *client;
    struct rng_seeded rng;
    struct demo_sale *sales;
    uint32_t count;
    atomic_uint next;       /* sales tried so far */
    atomic_uint done;       /* acknowledged */
    atomic_uint tries_failed; /* no answer or 5xx: sent again */
    atomic_uint resent;     /* sent twice on purpose */
    atomic_uint resent_same; /* … and answered as the first time */
    atomic_uint refused;    /* 4xx: must stay 0 */
    char trouble[256];      /* the first refusal, for the report */
};
#define DEMO_SHOPS 5 /* two web shops, three tills */
#define DEMO_ORDERS_MAX 20000
#define DEMO_RESEND_EVERY 8 /* one sale in so many is sent twice */

struct demo_item {
    const char *sku, *name;
    int64_t price; /* minor units of EUR, tax included */
};
extern const struct demo_item demo_items[];
extern const uint32_t demo_item_count;

#define DEMO_LINES_MAX 3
/* What one customer buys: amounts in minor units, tax included. */
struct demo_basket {
    struct demo_basket_line {
        const struct demo_item *item;
        int64_t quantity, total, tax;
    } lines[DEMO_LINES_MAX];
    uint32_t count;
    int64_t goods, shipping, shipping_tax, tax, grand;
};
void demo_basket_fill(struct demo_basket *basket, bool ships, struct rng *rng);
/* The documents that say so. */
void demo_order_write(const struct demo_shop *shop, const struct demo_sale *sale,
                      const struct demo_basket *basket, struct buf *out);
void demo_shopify_write(const struct demo_sale *sale, const struct demo_basket *basket,
                        struct buf *out);
void demo_woocommerce_write(const struct demo_sale *sale, const struct demo_basket *basket,
                            struct buf *out);

/* --- the ERP ---------------------------------------------------------------------------- */

struct demo;
/* An order as the ERP has booked it; grand as text, "19.99". */
struct demo_booking {
    struct str channel, number, currency, grand;
};
/* The way the day goes: what happens when, in this order. */
struct demo_event {
    int64_t at_ms; /* since selling began */
    enum err (*happen)(struct demo *demo, struct fault *fault); /* tells of it, too */
};
#define DEMO_EVENTS_MAX 8

struct demo_erp {
    const char *name; /* of --erp */
    int64_t orders, orders_fast; /* how many a day sells by default */
    int64_t drain_ms, drain_fast_ms; /* how long nothing may happen while it catches up */
    /* Brings the ERP up, empty of sales, and fits the retailer's folder to it; fills
     * demo->erp_environment and makes demo->erp_client. */
    enum err (*start)(struct demo *demo, struct fault *fault);
    /* Fills demo->events with its troubles and, in the middle of them, demo_hub_kill. */
    void (*course)(struct demo *demo);
    /* How many orders are in its books; false where it does not tell. */
    bool (*posted)(struct demo *demo, struct arena *arena, uint64_t *count);
    /* Each order in its books, read over its own interface. `take` answers false for one that can not be
     * read. The arena is reset in between. */
    enum err (*books)(struct demo *demo, struct arena *arena,
                      bool (*take)(void *ctx, const struct demo_booking *booking), void *ctx,
                      struct fault *fault);
    void (*tell)(struct demo *demo); /* what it did to the hub, in its own count */
    void (*stop)(struct demo *demo);
};
extern const struct demo_erp demo_erp_sandbox, demo_erp_tryton;

/* --- the whole -------------------------------------------------------------------------- */

struct demo_status {
    bool hub_up;
    bool known;        /* the hub told its subscriptions at least once */
    uint64_t captured; /* acknowledged by the hub */
    uint64_t posted;   /* in the ERP's books */
    uint64_t retried, looked_up, held;
    bool erp_up;
};

struct demo {
    struct cli *cli;
    FILE *tell; /* the story goes here: stdout, with --json stderr */
    bool fast, tty, colour;
    int64_t orders, seed;
    int64_t feed_ms, outage_at_ms, outage_ms, kill_at_ms, drain_ms;
    const struct demo_erp *erp_kind;
    struct demo_event events[DEMO_EVENTS_MAX];
    uint32_t event_count;
    char erp_environment[2][300]; /* "NAME=value": what the hub needs to reach the ERP; "": none */
    char dir[PATH_MAX];    /* everything of the demo */
    char config[PATH_MAX]; /* dir/shop */
    bool keep;             /* --dir */
    char key[256];
    char secret[65];       /* of the shops' webhooks */
    struct demo_child hub, erp;
    struct demo_shop shops[DEMO_SHOPS];
    struct client *client;     /* of the main thread */
    struct client *erp_client;
    struct demo_status status;
    int64_t began_us;          /* tick when selling began */
    atomic_bool stopping;      /* shops give up */
};

void demo_sleep_ms(int64_t ms);
/* Milliseconds since selling began. */
int64_t demo_elapsed_ms(const struct demo *demo);

/* kill -9, and starts it again where it was. */
enum err demo_hub_kill(struct demo *demo, struct fault *fault) WARN_UNUSED;
/* Adds to demo->events. */
void demo_event_add(struct demo *demo, int64_t at_ms,
                    enum err (*happen)(struct demo *, struct fault *));

enum err demo_stock_put(struct demo *demo, struct fault *fault) WARN_UNUSED;
enum err demo_shops_open(struct demo *demo, struct fault *fault) WARN_UNUSED;
void demo_shops_join(struct demo *demo);
void demo_shops_free(struct demo *demo);
uint32_t demo_shops_count(struct demo *demo, size_t counter_offset);
#define demo_sum(demo, counter) demo_shops_count((demo), offsetof(struct demo_shop, counter))

/* A line of the story: above the status line on a terminal, plain elsewhere. */
void demo_say(struct demo *demo, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Asks hub and ERP how far they are, and shows it. */
void demo_watch(struct demo *demo);
void demo_watch_end(struct demo *demo); /* leaves the status line standing */

/* Compares what was sold, what the hub has and what the ERP has booked; prints the table, and
 * the same as JSON into `json`. *agree: all three are the same, order by order and to the cent. */
enum err demo_books_compare(struct demo *demo, struct buf *json, bool *agree,
                            struct fault *fault) WARN_UNUSED;

#endif
