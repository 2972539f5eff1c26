/* expect: traffic that should come, or go: section `expect` of a topic or a subscription in connector.yaml.
 * Pure: whether what has come by now is too little, with the clock in the caller's hands.
 *
 * What always holds: only hours in which it should come count; time in which the hub did not run, or
 * stood still, does not; it is raised once and closed once, by what comes. */
#ifndef PENSTOCK_CONNECT_EXPECT_H
#define PENSTOCK_CONNECT_EXPECT_H

#include "base/err.h"
#include "base/zone.h"
#include "shape/shape.h"

struct connector_expect {
    uint64_t has;
    int64_t every_s;   /* within so long … */
    int64_t at_least;  /* … so many; default 1 */
    struct str between; /* "08:00-20:00", local; absent: all day */
    struct shape_list days;   /* of struct str: mon … sun; none: all */
    struct shape_list except; /* of struct str: "2026-12-25" */
    struct str time_zone;     /* IANA; default UTC */
    /* not in the file */
    struct zone *zone; /* NULL: UTC */
    int32_t from_min, to_min; /* of the day; to at most 1440; from > to: over midnight */
    uint8_t day_bits;         /* bit 0: Monday */
};
/* Whether it should come at this time (wall clock). Over midnight the day is the one it began on. */
bool expect_open(const struct connector_expect *expect, int64_t now_us);

struct expect_watch {
    bool begun, raised;
    int64_t tick_us;  /* of the look before */
    int64_t open_us;  /* of hours that count, since `from` */
    uint64_t from;    /* count that it is looked at from */
};
enum expect_change { EXPECT_NONE, EXPECT_RAISE, EXPECT_CLOSE };
#define EXPECT_GAP_US INT64_C(60000000) /* between two looks: more, and the hub stood still */
/* `count`: what came since the start. Look at least every EXPECT_GAP_US. */
enum expect_change expect_look(struct expect_watch *watch, const struct connector_expect *expect,
                               uint64_t count, int64_t now_us, int64_t tick_us);

/* When `left_us` of the hours that count will be over; 0: not within forty days. */
int64_t expect_deadline_us(const struct connector_expect *expect, int64_t now_us, int64_t left_us);

extern const struct shape connector_expect_shape;

#endif
