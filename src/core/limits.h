/* limits: what callers may ask of the hub, as penstock.yaml's `limits` declares it: policies, each
 * a rate (token bucket) or a quota (a number per hour, day or month of the calendar).
 *
 * Which count for a call: all that match it, of one name the most particular alone. So a second
 * policy of the same name that names callers is an exception for these callers. */
#ifndef PENSTOCK_CORE_LIMITS_H
#define PENSTOCK_CORE_LIMITS_H

#include "core/capability.h"

enum limit_by { LIMIT_BY_CALLER, LIMIT_BY_CONNECTOR, LIMIT_BY_ADDRESS };
enum limit_period { LIMIT_PERIOD_HOUR, LIMIT_PERIOD_DAY, LIMIT_PERIOD_MONTH };
enum limit_unit { LIMIT_UNIT_DOCUMENTS, LIMIT_UNIT_CALLS };
enum limit_over { LIMIT_OVER_REFUSE, LIMIT_OVER_SLOW };

struct config_limit {
    uint64_t has;
    struct str policy; /* as RateLimit-Policy names it */
    int32_t by;        /* enum limit_by: whose bucket it is */
    struct shape_list callers, scopes, connectors, classes, routes; /* of struct str; none: all */
    int64_t rate, window_s; /* so many units each window … */
    int64_t burst;          /* … and so many at once */
    int64_t quota;
    int32_t period; /* enum limit_period */
    int32_t unit;   /* enum limit_unit */
    int32_t over;   /* enum limit_over */
};
enum config_limit_row {
    LIMIT_POLICY, LIMIT_BY, LIMIT_CALLERS, LIMIT_SCOPES, LIMIT_CONNECTORS, LIMIT_CLASSES,
    LIMIT_ROUTES, LIMIT_RATE, LIMIT_WINDOW, LIMIT_BURST, LIMIT_QUOTA, LIMIT_PERIOD, LIMIT_UNIT,
    LIMIT_OVER,
};
extern const struct shape config_limit_shape;
#define LIMIT_POLICIES_MAX 64
/* A bucket is full again after so long at most: keeps the arithmetic within 64 bits. */
#define LIMIT_FILL_S_MAX (INT64_C(400) * 86400)

/* Those that hold where the file says nothing of their name; the last has policy absent. */
extern const struct config_limit limit_built_in[];

/* Answers a fault of the policy as a sentence about `*member`, NULL where there is none; fills in
 * what follows from what was given (window, burst). */
const char *limit_settle(struct config_limit *limit, const char **member);
/* "checkout" … by enum traffic_class; TRAFFIC_CLASSES of them. */
extern const char *const traffic_class_names[];
/* False where there is no such class. */
bool traffic_class_find(struct str name, enum traffic_class *out);

#endif
