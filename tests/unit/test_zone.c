/* Local time of IANA zones, and the periods of a calendar. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/clock.h"
#include "base/zone.h"

static struct zone *load(const char *name) {
    struct zone *zone;
    struct fault fault = {0};
    assert_int_equal(zone_load(str_c(name), &zone, &fault), OK);
    return zone;
}

static int64_t at(const char *text) {
    struct instant instant;
    assert_true(instant_parse(str_c(text), &instant));
    return instant.us / 1000000;
}

static void test_offsets_follow_the_database(void **state) {
    static const struct {
        const char *zone, *at;
        int offset_min;
    } rows[] = {
        {"Europe/Berlin", "2026-01-15T12:00:00Z", 60},
        {"Europe/Berlin", "2026-03-29T00:59:59Z", 60},
        {"Europe/Berlin", "2026-03-29T01:00:00Z", 120},
        {"Europe/Berlin", "2026-10-25T00:59:59Z", 120},
        {"Europe/Berlin", "2026-10-25T01:00:00Z", 60},
        {"Europe/Berlin", "2075-07-01T00:00:00Z", 120}, /* by the rule, behind the table */
        {"Europe/Berlin", "2075-12-01T00:00:00Z", 60},
        {"America/New_York", "2026-03-08T07:00:00Z", -240},
        {"America/New_York", "2026-03-08T06:59:59Z", -300},
        {"Australia/Sydney", "2060-01-01T00:00:00Z", 660},
        {"Australia/Sydney", "2060-07-01T00:00:00Z", 600},
        {"Asia/Kolkata", "2026-06-01T00:00:00Z", 330},
        {"UTC", "2026-06-01T00:00:00Z", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct zone *zone = load(rows[i].zone);
        assert_int_equal(zone_offset_s(zone, at(rows[i].at)), rows[i].offset_min * 60);
        zone_destroy(zone);
    }
    assert_int_equal(zone_offset_s(NULL, at("2026-06-01T00:00:00Z")), 0);
}

static void test_periods_end_where_the_calendar_says(void **state) {
    static const struct {
        const char *zone;
        enum zone_period period;
        const char *at, *start, *end;
    } rows[] = {
        {"Europe/Berlin", ZONE_DAY, "2026-11-23T13:20:00Z", "2026-11-23T00:00:00+01:00",
         "2026-11-24T00:00:00+01:00"},
        {"Europe/Berlin", ZONE_DAY, "2026-03-29T12:00:00Z", "2026-03-29T00:00:00+01:00",
         "2026-03-30T00:00:00+02:00"}, /* 23 hours */
        {"Europe/Berlin", ZONE_DAY, "2026-10-25T00:30:00Z", "2026-10-25T00:00:00+02:00",
         "2026-10-26T00:00:00+01:00"}, /* 25 hours */
        {"Europe/Berlin", ZONE_DAY, "2026-11-22T23:00:00Z", "2026-11-23T00:00:00+01:00",
         "2026-11-24T00:00:00+01:00"},
        {"Europe/Berlin", ZONE_MONTH, "2026-10-31T23:00:00Z", "2026-11-01T00:00:00+01:00",
         "2026-12-01T00:00:00+01:00"},
        {"Europe/Berlin", ZONE_MONTH, "2026-10-03T12:00:00Z", "2026-10-01T00:00:00+02:00",
         "2026-11-01T00:00:00+01:00"},
        {"Europe/Berlin", ZONE_MONTH, "2026-12-31T12:00:00Z", "2026-12-01T00:00:00+01:00",
         "2027-01-01T00:00:00+01:00"},
        {"Asia/Kolkata", ZONE_HOUR, "2026-11-23T13:20:00Z", "2026-11-23T18:00:00+05:30",
         "2026-11-23T19:00:00+05:30"},
        {"Europe/Berlin", ZONE_HOUR, "2026-10-25T01:30:00Z", "2026-10-25T02:00:00+02:00",
         "2026-10-25T03:00:00+01:00"}, /* the hour that comes twice is one */
        {"UTC", ZONE_MONTH, "2028-02-29T23:59:59Z", "2028-02-01T00:00:00Z",
         "2028-03-01T00:00:00Z"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct zone *zone = load(rows[i].zone);
        int64_t start, end;
        zone_period_of(zone, rows[i].period, at(rows[i].at), &start, &end);
        assert_int_equal(start, at(rows[i].start));
        assert_int_equal(end, at(rows[i].end));
        zone_destroy(zone);
    }
}

static void test_what_is_no_zone_is_refused(void **state) {
    struct zone *zone;
    struct fault fault = {0};
    char bytes[200] = "TZif2";
    assert_int_equal(zone_load(STR("Europe/Atlantis"), &zone, &fault), ERR_NOT_FOUND);
    assert_int_equal(zone_load(STR("../../../etc/passwd"), &zone, &fault), ERR_NOT_FOUND);
    assert_int_equal(zone_parse(STR(""), &zone, &fault), ERR_DAMAGED);
    assert_int_equal(zone_parse(str_of(bytes, sizeof bytes), &zone, &fault), ERR_DAMAGED);
    memset(bytes + 20, 0x7f, 24);
    assert_int_equal(zone_parse(str_of(bytes, sizeof bytes), &zone, &fault), ERR_DAMAGED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_offsets_follow_the_database),
        cmocka_unit_test(test_periods_end_where_the_calendar_says),
        cmocka_unit_test(test_what_is_no_zone_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
