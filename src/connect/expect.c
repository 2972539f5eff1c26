/* expect: see expect.h. */
#include "connect/expect.h"

#include "base/clock.h"

#define DAY_S INT64_C(86400)

static bool day_counts(const struct connector_expect *e, int64_t day) {
    int weekday = (int)(((day + 3) % 7 + 7) % 7); /* 1970-01-01 was a Thursday */
    if (e->day_bits && !(e->day_bits >> weekday & 1))
        return false;
    for (uint32_t i = 0; i < e->except.count; i++) {
        int32_t except;
        if (date_parse(*list_at(e->except, struct str, i), &except) && except == day)
            return false;
    }
    return true;
}

bool expect_open(const struct connector_expect *e, int64_t now_us) {
    int64_t utc_s = now_us / 1000000, local_s = utc_s + zone_offset_s(e->zone, utc_s);
    int64_t day = local_s / DAY_S, minute = local_s % DAY_S / 60;
    if (e->from_min <= e->to_min)
        return minute >= e->from_min && minute < e->to_min && day_counts(e, day);
    if (minute >= e->from_min)
        return day_counts(e, day);
    return minute < e->to_min && day_counts(e, day - 1);
}

#define DEADLINE_SPAN_US (40 * DAY_S * 1000000)

int64_t expect_deadline_us(const struct connector_expect *e, int64_t now_us, int64_t left_us) {
    const int64_t minute_us = 60000000;
    bool always = e->to_min - e->from_min == 1440 && !e->day_bits && e->except.count == 0;
    if (always)
        return now_us + left_us;
    for (int64_t at_us = now_us, step_us; at_us < now_us + DEADLINE_SPAN_US; at_us += step_us) {
        step_us = minute_us - at_us % minute_us;
        if (!expect_open(e, at_us))
            continue;
        if (left_us <= step_us)
            return at_us + left_us;
        left_us -= step_us;
    }
    return 0;
}

enum expect_change expect_look(struct expect_watch *watch, const struct connector_expect *e, uint64_t count,
                               int64_t now_us, int64_t tick_us) {
    int64_t span_us = tick_us - watch->tick_us;
    watch->tick_us = tick_us;
    if (!watch->begun) {
        watch->begun = true;
        watch->from = count;
        return EXPECT_NONE;
    }
    if (count - watch->from >= (uint64_t)e->at_least) {
        bool raised = watch->raised;
        watch->from = count;
        watch->open_us = 0;
        watch->raised = false;
        return raised ? EXPECT_CLOSE : EXPECT_NONE;
    }
    if (span_us <= EXPECT_GAP_US && span_us > 0 && expect_open(e, now_us))
        watch->open_us += span_us;
    if (watch->open_us < e->every_s * 1000000)
        return EXPECT_NONE;
    watch->open_us = 0; /* the next so many are looked for in time of their own */
    watch->from = count;
    if (watch->raised)
        return EXPECT_NONE;
    watch->raised = true;
    return EXPECT_RAISE;
}
