/* connector_load_expect: section `expect` of a topic: its table, and what the table can not say. */
#include "base/clock.h"
#include "connect/connector_priv.h"
#include "connect/expect.h"

enum { EXPECT_EVERY_S, EXPECT_AT_LEAST, EXPECT_BETWEEN, EXPECT_DAYS, EXPECT_EXCEPT, EXPECT_TIME_ZONE };
static const struct shape_field expect_rows[] = {
    [EXPECT_EVERY_S] = SHAPE_ROW(struct connector_expect, every_s, SHAPE_INTEGER,
                                 "Within so many seconds of the hours that count", .flags = SHAPE_REQUIRED,
                                 .min = 1, .max = 31536000),
    [EXPECT_AT_LEAST] = SHAPE_ROW(struct connector_expect, at_least, SHAPE_INTEGER, "So many come (1)", .min = 1,
                                  .max = 1000000000),
    [EXPECT_BETWEEN] = SHAPE_ROW(struct connector_expect, between, SHAPE_TEXT,
                                 "Hours that count, local: 08:00-20:00 (all day)", .min = 11, .max = 11),
    [EXPECT_DAYS] = SHAPE_ROW(struct connector_expect, days, SHAPE_LIST,
                              "Days that count: mon, tue, wed, thu, fri, sat, sun (all)", .min = 1, .max = 7),
    [EXPECT_EXCEPT] = SHAPE_ROW(struct connector_expect, except, SHAPE_LIST,
                                "Days that do not: 2026-12-25", .max = 366),
    [EXPECT_TIME_ZONE] = SHAPE_ROW(struct connector_expect, time_zone, SHAPE_TEXT,
                                   "Of hours and days: Europe/Berlin (UTC)", .min = 1, .max = 64),
};
SHAPE_DEFINE(connector_expect_shape, "connector_expect", struct connector_expect,
             "Traffic that should come; where it does not, a person is told", expect_rows);

static bool minutes_of(struct str text, int32_t *minutes) {
    uint64_t hour, minute;
    if (text.len != 5 || text.ptr[2] != ':' || !str_u64(str_of(text.ptr, 2), &hour) ||
        !str_u64(str_of(text.ptr + 3, 2), &minute) || minute > 59 || hour * 60 + minute > 1440)
        return false;
    *minutes = (int32_t)(hour * 60 + minute);
    return true;
}

static bool day_of(struct str text, uint8_t *bits) {
    static const char *const names[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
    for (int i = 0; i < 7; i++)
        if (str_is(text, names[i])) {
            *bits |= (uint8_t)(1 << i);
            return true;
        }
    return false;
}

static void fault_at(struct loader *l, struct str pointer, const char *member, const char *words) {
    yaml_fault(&l->yaml, l->fault, load_pointer(l, "%.*s/%s", STR_FMT(pointer), member), "%s", words);
}

void load_expect(struct loader *l, struct connector_expect *e, struct str pointer) {
    struct fault ignored = {0};
    int32_t day;
    if (!e)
        return;
    if (!e->at_least)
        e->at_least = 1;
    e->to_min = 1440;
    if (e->between.len && (e->between.ptr[5] != '-' || !minutes_of(str_of(e->between.ptr, 5), &e->from_min) ||
                           !minutes_of(str_of(e->between.ptr + 6, 5), &e->to_min) || e->from_min == e->to_min))
        fault_at(l, pointer, "between", "must be two different times of the day: 08:00-20:00");
    for (uint32_t i = 0; i < e->days.count; i++)
        if (!day_of(*list_at(e->days, struct str, i), &e->day_bits))
            fault_at(l, pointer, "days", "must be of mon, tue, wed, thu, fri, sat, sun");
    for (uint32_t i = 0; i < e->except.count; i++)
        if (!date_parse(*list_at(e->except, struct str, i), &day))
            fault_at(l, pointer, "except", "must be days: 2026-12-25");
    if (e->time_zone.len && l->own->zone_count == CONNECTOR_ZONES_MAX)
        fault_at(l, pointer, "time_zone", "is one too many");
    else if (e->time_zone.len && zone_load(e->time_zone, &e->zone, &ignored) != OK)
        fault_at(l, pointer, "time_zone", "is not a time zone that this machine knows");
    if (e->zone)
        l->own->zones[l->own->zone_count++] = e->zone;
}
