/* clock: time as a seam. Nothing but this module asks the machine what time it is.
 *
 * An instant is microseconds since 1970-01-01T00:00:00Z, with the offset in minutes it was
 * written with (RFC 3339). Comparison uses the microseconds alone. */
#ifndef PENSTOCK_BASE_CLOCK_H
#define PENSTOCK_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

struct instant {
    int64_t us;        /* microseconds since the epoch, UTC */
    int16_t offset_min; /* minutes east of UTC it was written with */
};

struct clock {
    int64_t (*now_us)(struct clock *clock);  /* wall clock */
    int64_t (*tick_us)(struct clock *clock); /* monotonic, for durations */
};
extern struct clock clock_system;

static inline int64_t clock_now_us(struct clock *clock) { return clock->now_us(clock); }
static inline int64_t clock_tick_us(struct clock *clock) { return clock->tick_us(clock); }

/* RFC 3339 date-time with offset, years 0001 to 9999, at most 6 digits of a second kept
 * (more are refused), leap second 60 refused. False on anything else. */
bool instant_parse(struct str text, struct instant *out);
/* Shortest form: no fraction where it is zero; "Z" where the offset is 0. */
void instant_write(struct buf *buf, struct instant at);
/* ,"name":"…" in milliseconds and UTC, or null where it never was (0): a JSON member. */
void instant_member(struct buf *buf, const char *name, int64_t us);
/* Full date "2026-11-23" to days since the epoch, real calendar dates only; and back. */
bool date_parse(struct str text, int32_t *days);
void date_write(struct buf *buf, int32_t days);
/* The same by its numbers: year, month 1 to 12, day 1 to 31 (proleptic Gregorian). */
int32_t date_days(int year, int month, int day);
void date_parts(int32_t days, int *year, int *month, int *day);

#endif
