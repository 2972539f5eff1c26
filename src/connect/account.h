/* account: section `account` of connector.yaml: what the other side takes of all calls together, whichever
 * part of the hub makes them. Declared once per connector; the limits of its subscriptions and operations
 * are tighter bounds within it. Read by connector_load_account.c, kept by governor.h and breaker.h. */
#ifndef PENSTOCK_CONNECT_ACCOUNT_H
#define PENSTOCK_CONNECT_ACCOUNT_H

#include "connect/breaker.h"
#include "connect/connector.h"
#include "connect/governor.h"

struct account_rate {
    uint64_t has;
    int64_t calls, per_s, burst;
};
struct account_maintenance {
    uint64_t has;
    struct shape_list days;  /* of struct str: mon … sun */
    struct shape_list dates; /* of struct str: 2026-12-31 */
    struct str from, to;     /* "22:00" */
};
struct account_breaker {
    uint64_t has;
    int64_t after, first_ms, max_ms; /* 0: by the settings */
};
struct connector_account {
    uint64_t has;
    struct account_rate *rate;
    int64_t concurrency, quota_per_day;
    int64_t batch_max;             /* things in one call at most; 0: not said */
    struct str zone_name;
    struct shape_list maintenance; /* of struct account_maintenance */
    bool adapt;
    struct account_breaker *breaker;
    /* not in the file */
    struct governor_limits limits;
    struct zone *zone; /* its own */
};

#endif
