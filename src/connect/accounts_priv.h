/* accounts_priv: the inside of accounts, shared by accounts.c (the set, notes, figures) and gate.c (calls). */
#ifndef PENSTOCK_CONNECT_ACCOUNTS_PRIV_H
#define PENSTOCK_CONNECT_ACCOUNTS_PRIV_H

#include <pthread.h>

#include "base/hash.h"
#include "base/map.h"
#include "connect/accounts.h"
#include "connect/outcome.h"

#define ACCOUNTS_ENDPOINTS_MAX 4096 /* further ones share the last */
#define QUOTA_AHEAD_PARTS 100       /* of a quota that may be used before it is on disk: one */

struct account {
    struct account *next;
    struct str name;
    const struct connector *by; /* whose limits hold; taken */
    struct governor governor;
    struct breaker_policy breaker;
    struct net_flow own[NET_CLASSES]; /* of those who name none */
    struct net_flow *first[NET_CLASSES], *last[NET_CLASSES]; /* with calls that wait, in turn */
    uint32_t waiting;
    int64_t due_us; /* when waiting ones may go by time alone */
    int64_t kept, kept_day_s;   /* of the quota, on disk as used, and of which day */
    int64_t noted, noted_day_s; /* on its way there */
    bool quota_dirty;
    uint64_t calls[OUTCOME_KINDS], closed;
};

struct endpoint {
    struct account *account;
    struct str origin;
    uint64_t hash;
    struct breaker breaker;
    int64_t since_us; /* wall clock: when it opened */
    int64_t changed_us;
    uint32_t failures;
    bool told_open;   /* what the journal was told last */
    bool told_unknown; /* it is being told, or an earlier life was about to: told (once more) */
    bool dirty;
    char cause[200];
};

/* Who calls by accounts: one for each thread that does. */
struct accounts_user {
    struct accounts_user *next;
    void (*wake)(void *ctx); /* from any thread; it only signals */
    void *wake_ctx;
    uint32_t waiting; /* calls of its own, in flows */
};

struct accounts {
    pthread_mutex_t lock; /* of all that follows */
    struct accounts_user *users;
    struct accounts_options options;
    struct account *accounts;
    struct endpoint **endpoints;
    uint32_t count, cap;
    struct map map;
    _Atomic uint32_t open; /* breakers */
    _Atomic bool notable; /* something may be to be noted or told */
    void (*wake)(void *ctx); /* of who keeps the notes; NULL: nobody does */
    void *wake_ctx;
};

/* Under the lock. NULL: no memory. */
struct account *account_of(struct accounts *accounts, const struct connector *connector);
struct endpoint *endpoint_of(struct accounts *accounts, struct account *account, struct str url);
struct governor_time accounts_now(const struct accounts *accounts);
/* governor_ask, but not beyond what the disk knows of the quota. */
enum governor_says account_ask(struct accounts *accounts, struct account *account, struct governor_time now,
                               int64_t *due_us);
/* When what waits of the account may go by time alone. Who has calls that wait, and may sleep for longer than
 * that by now, is woken; not `except`, who finds out itself; NULL: nobody is. */
void account_due(struct accounts *accounts, struct account *account, int64_t due_us,
                 const struct accounts_user *except);
void accounts_user_add(struct accounts *accounts, struct accounts_user *user);
void accounts_user_remove(struct accounts *accounts, struct accounts_user *user);
/* A call to the endpoint that was let go at began_us ended. */
void endpoint_end(struct accounts *accounts, struct endpoint *endpoint, bool probe, int64_t began_us,
                  enum breaker_end end, int64_t retry_after_ms, struct str cause);
/* "https://host:port" of a URL. */
struct str url_origin(struct str url);

#endif
