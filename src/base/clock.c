/* clock: see clock.h. Calendar arithmetic is the proleptic Gregorian calendar in days since
 * the epoch (Howard Hinnant's days_from_civil). */
#include "base/clock.h"

#include <time.h>

static int64_t clock_read(clockid_t id) {
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}
static int64_t system_now(struct clock *clock) {
    (void)clock;
    return clock_read(CLOCK_REALTIME);
}
static int64_t system_tick(struct clock *clock) {
    (void)clock;
    return clock_read(CLOCK_MONOTONIC);
}
struct clock clock_system = {.now_us = system_now, .tick_us = system_tick};

#define DAY_US (INT64_C(86400) * 1000000)

int32_t date_days(int year, int month, int day) {
    year -= month <= 2;
    int era = (year >= 0 ? year : year - 399) / 400;
    int yoe = year - era * 400;
    int doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + doe - 719468;
}

void date_parts(int32_t days, int *year, int *month, int *day) {
    days += 719468;
    int era = (days >= 0 ? days : days - 146096) / 146097;
    int doe = days - era * 146097;
    int yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int mp = (5 * doy + 2) / 153;
    *day = doy - (153 * mp + 2) / 5 + 1;
    *month = mp < 10 ? mp + 3 : mp - 9;
    *year = yoe + era * 400 + (*month <= 2);
}

/* Exactly n digits at text + at. */
static bool digits_at(struct str text, size_t at, size_t n, int *out) {
    if (at + n > text.len)
        return false;
    int value = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned digit = (unsigned)((unsigned char)text.ptr[at + i] - '0');
        if (digit > 9)
            return false;
        value = value * 10 + (int)digit;
    }
    *out = value;
    return true;
}

static bool date_head(struct str text, int32_t *days) {
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year, month, day;
    if (!digits_at(text, 0, 4, &year) || !digits_at(text, 5, 2, &month) ||
        !digits_at(text, 8, 2, &day) || text.ptr[4] != '-' || text.ptr[7] != '-')
        return false;
    if (year < 1 || month < 1 || month > 12 || day < 1)
        return false;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day > lengths[month - 1] + (month == 2 && leap))
        return false;
    *days = date_days(year, month, day);
    return true;
}

bool date_parse(struct str text, int32_t *days) { return text.len == 10 && date_head(text, days); }

/* "Z" or ±hh:mm at the end. */
static bool offset_parse(struct str text, size_t at, int16_t *offset_min) {
    if (at + 1 == text.len && (text.ptr[at] == 'Z' || text.ptr[at] == 'z')) {
        *offset_min = 0;
        return true;
    }
    int hours, minutes;
    if (at + 6 != text.len || (text.ptr[at] != '+' && text.ptr[at] != '-') ||
        text.ptr[at + 3] != ':' || !digits_at(text, at + 1, 2, &hours) ||
        !digits_at(text, at + 4, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    int total = hours * 60 + minutes;
    *offset_min = (int16_t)(text.ptr[at] == '-' ? -total : total);
    return true;
}

bool instant_parse(struct str text, struct instant *out) {
    int32_t days;
    int hour, minute, second;
    if (text.len < 20 || !date_head(text, &days) || (text.ptr[10] != 'T' && text.ptr[10] != 't') ||
        !digits_at(text, 11, 2, &hour) || text.ptr[13] != ':' ||
        !digits_at(text, 14, 2, &minute) || text.ptr[16] != ':' ||
        !digits_at(text, 17, 2, &second) || hour > 23 || minute > 59 || second > 59)
        return false;
    size_t at = 19;
    int64_t fraction_us = 0;
    if (text.ptr[at] == '.') {
        size_t start = ++at;
        int64_t unit = 100000;
        for (; at < text.len && text.ptr[at] >= '0' && text.ptr[at] <= '9'; at++, unit /= 10) {
            if (unit == 0)
                return false;
            fraction_us += (text.ptr[at] - '0') * unit;
        }
        if (at == start)
            return false;
    }
    if (!offset_parse(text, at, &out->offset_min))
        return false;
    int64_t local_s = (int64_t)days * 86400 + hour * 3600 + minute * 60 + second;
    out->us = (local_s - (int64_t)out->offset_min * 60) * 1000000 + fraction_us;
    return true;
}

static void two_digits(char *at, int value) {
    at[0] = (char)('0' + value / 10);
    at[1] = (char)('0' + value % 10);
}

static void date_text(char out[10], int32_t days) {
    int year, month, day;
    date_parts(days, &year, &month, &day);
    two_digits(out, year / 100 % 100);
    two_digits(out + 2, year % 100);
    out[4] = out[7] = '-';
    two_digits(out + 5, month);
    two_digits(out + 8, day);
}

void date_write(struct buf *buf, int32_t days) {
    char text[10];
    date_text(text, days);
    buf_add(buf, text, sizeof text);
}

void instant_write(struct buf *buf, struct instant at) {
    char text[32];
    int64_t local = at.us + (int64_t)at.offset_min * 60 * 1000000;
    int64_t days = local / DAY_US - (local % DAY_US < 0);
    int64_t rest = local - days * DAY_US;
    int seconds = (int)(rest / 1000000), fraction = (int)(rest % 1000000);
    date_text(text, (int32_t)days);
    text[10] = 'T';
    two_digits(text + 11, seconds / 3600);
    text[13] = ':';
    two_digits(text + 14, seconds / 60 % 60);
    text[16] = ':';
    two_digits(text + 17, seconds % 60);
    buf_add(buf, text, 19);
    if (fraction) {
        char digits[7] = {'.'};
        size_t len = 7;
        for (int i = 6; i >= 1; i--, fraction /= 10)
            digits[i] = (char)('0' + fraction % 10);
        while (digits[len - 1] == '0')
            len--;
        buf_add(buf, digits, len);
    }
    if (at.offset_min == 0) {
        buf_char(buf, 'Z');
        return;
    }
    int offset = at.offset_min < 0 ? -at.offset_min : at.offset_min;
    text[0] = at.offset_min < 0 ? '-' : '+';
    two_digits(text + 1, offset / 60);
    text[3] = ':';
    two_digits(text + 4, offset % 60);
    buf_add(buf, text, 6);
}

void instant_member(struct buf *buf, const char *name, int64_t us) {
    buf_printf(buf, ",\"%s\":", name);
    if (us == 0) {
        buf_lit(buf, "null");
        return;
    }
    buf_char(buf, '"');
    instant_write(buf, (struct instant){.us = us - us % 1000});
    buf_char(buf, '"');
}
