/* zone: see zone.h. Of a TZif file the second block is read (64-bit times), and behind its last
 * transition the rule in the footer, a POSIX TZ text such as CET-1CEST,M3.5.0,M10.5.0/3. Rules
 * by day of the year (Jn, n) occur in no zone of the database and are passed over. */
#include "base/zone.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"

#define TRANSITIONS_MAX 4096u
#define FILE_BYTES_MAX 65536u
#define DAY_S INT64_C(86400)

struct rule {
    int month, week, day; /* Mm.w.d */
    int32_t time_s;       /* of the local day */
};

struct zone {
    uint32_t count;
    int64_t *times;    /* from here on … */
    int32_t *offsets;  /* … this offset */
    int32_t first_s;   /* before the first transition */
    int32_t std_s, dst_s;
    bool ruled, saves; /* a footer was read; it has daylight saving time */
    struct rule begin, end;
};

/* --- the footer ---------------------------------------------------------------------------- */

static bool rule_name(struct str *in) {
    size_t n = 0;
    if (in->len > 0 && in->ptr[0] == '<') {
        while (n < in->len && in->ptr[n] != '>')
            n++;
        n++;
    } else {
        while (n < in->len && ((in->ptr[n] | 32) >= 'a' && (in->ptr[n] | 32) <= 'z'))
            n++;
    }
    if (n < 3 || n > in->len)
        return false;
    *in = str_of(in->ptr + n, in->len - n);
    return true;
}

static bool rule_number(struct str *in, int max, int *out) {
    int value = 0;
    size_t n = 0;
    while (n < in->len && n < 4 && in->ptr[n] >= '0' && in->ptr[n] <= '9')
        value = value * 10 + (in->ptr[n++] - '0');
    *in = str_of(in->ptr + n, in->len - n);
    *out = value;
    return n > 0 && value <= max;
}

static bool rule_take(struct str *in, char c) {
    if (in->len == 0 || in->ptr[0] != c)
        return false;
    *in = str_of(in->ptr + 1, in->len - 1);
    return true;
}

/* [+-]h[h][h][:mm[:ss]] in seconds. */
static bool rule_time(struct str *in, int32_t *out) {
    int hours, minutes = 0, seconds = 0;
    bool minus = rule_take(in, '-');
    if (!minus)
        rule_take(in, '+');
    if (!rule_number(in, 167, &hours))
        return false;
    if (rule_take(in, ':') && !rule_number(in, 59, &minutes))
        return false;
    if (rule_take(in, ':') && !rule_number(in, 59, &seconds))
        return false;
    *out = (hours * 60 + minutes) * 60 + seconds;
    if (minus)
        *out = -*out;
    return true;
}

static bool rule_date(struct str *in, struct rule *out) {
    out->time_s = 7200;
    if (!rule_take(in, ',') || !rule_take(in, 'M') || !rule_number(in, 12, &out->month) ||
        !rule_take(in, '.') || !rule_number(in, 5, &out->week) || !rule_take(in, '.') ||
        !rule_number(in, 6, &out->day) || out->month < 1 || out->week < 1)
        return false;
    return !rule_take(in, '/') || rule_time(in, &out->time_s);
}

/* False: no rule that we read; the last transition's offset stays. */
static bool footer_read(struct zone *zone, struct str text) {
    int32_t west;
    if (!rule_name(&text) || !rule_time(&text, &west))
        return false;
    zone->std_s = -west;
    if (text.len == 0)
        return true;
    if (!rule_name(&text))
        return false;
    zone->dst_s = zone->std_s + 3600;
    if (text.len > 0 && text.ptr[0] != ',') {
        if (!rule_time(&text, &west))
            return false;
        zone->dst_s = -west;
    }
    zone->saves = rule_date(&text, &zone->begin) && rule_date(&text, &zone->end) && text.len == 0;
    return zone->saves;
}

/* The instant at which the rule holds in that year, with the offset that holds before it. */
static int64_t rule_at(const struct rule *rule, int year, int32_t offset_s) {
    int32_t first = date_days(year, rule->month, 1);
    int weekday = (int)(((int64_t)first + 4) % 7); /* 1970-01-01 was a Thursday */
    int32_t day = first + (rule->day - weekday + 7) % 7 + (rule->week - 1) * 7;
    int32_t next = rule->month == 12 ? date_days(year + 1, 1, 1)
                                     : date_days(year, rule->month + 1, 1);
    while (day >= next) /* the fifth is the last */
        day -= 7;
    return day * DAY_S + rule->time_s - offset_s;
}

static int32_t ruled_offset(const struct zone *zone, int64_t utc_s) {
    int year, month, day;
    if (!zone->saves)
        return zone->std_s;
    int64_t local = utc_s + zone->std_s;
    date_parts((int32_t)(local >= 0 ? local / DAY_S : (local - DAY_S + 1) / DAY_S), &year, &month,
               &day);
    int64_t begin = rule_at(&zone->begin, year, zone->std_s);
    int64_t end = rule_at(&zone->end, year, zone->dst_s);
    bool saving = begin < end ? utc_s >= begin && utc_s < end : utc_s >= begin || utc_s < end;
    return saving ? zone->dst_s : zone->std_s;
}

/* --- the file ------------------------------------------------------------------------------ */

static int64_t be(const char *at, int bytes) {
    int64_t value = (signed char)at[0];
    for (int i = 1; i < bytes; i++)
        value = value * 256 + (unsigned char)at[i];
    return value;
}

struct counts {
    uint32_t isut, isstd, leap, time, type, chars;
};

/* The header at `at`; how many bytes its block has behind it, times of `width` bytes. */
static bool header_read(struct str bytes, size_t at, int width, struct counts *out, size_t *len) {
    if (at + 44 > bytes.len || memcmp(bytes.ptr + at, "TZif", 4) != 0)
        return false;
    const char *from = bytes.ptr + at + 20;
    uint32_t *counts[] = {&out->isut, &out->isstd, &out->leap, &out->time, &out->type,
                          &out->chars};
    for (int i = 0; i < 6; i++) {
        int64_t value = be(from + 4 * i, 4);
        if (value < 0 || value > TRANSITIONS_MAX)
            return false;
        *counts[i] = (uint32_t)value;
    }
    *len = out->time * ((size_t)width + 1) + out->type * 6 + out->chars +
           out->leap * ((size_t)width + 4) + out->isstd + out->isut;
    return out->type > 0 && at + 44 + *len <= bytes.len;
}

static bool block_read(struct zone *zone, const char *at, const struct counts *counts) {
    const char *index = at + counts->time * (size_t)8, *types = index + counts->time;
    for (uint32_t i = 0; i < counts->time; i++) {
        uint32_t type = (unsigned char)index[i];
        if (type >= counts->type)
            return false;
        zone->times[i] = be(at + (size_t)8 * i, 8);
        zone->offsets[i] = (int32_t)be(types + (size_t)6 * type, 4);
        if (i > 0 && zone->times[i] <= zone->times[i - 1])
            return false;
    }
    zone->count = counts->time;
    zone->first_s = (int32_t)be(types, 4);
    return true;
}

enum err zone_parse(struct str bytes, struct zone **out, struct fault *fault) {
    struct counts counts;
    size_t len, at = 0;
    *out = NULL;
    if (!header_read(bytes, 0, 4, &counts, &len) || bytes.ptr[4] < '2')
        return fault_set(fault, ERR_DAMAGED, "is not a TZif file of version 2 or later");
    at = 44 + len;
    if (!header_read(bytes, at, 8, &counts, &len))
        return fault_set(fault, ERR_DAMAGED, "is cut off");
    struct zone *zone = mem_zalloc(sizeof *zone);
    if (zone) {
        zone->times = mem_alloc((counts.time + 1) * sizeof *zone->times);
        zone->offsets = mem_alloc((counts.time + 1) * sizeof *zone->offsets);
    }
    if (!zone || !zone->times || !zone->offsets) {
        zone_destroy(zone);
        return fault_set(fault, ERR_NOMEM, "no memory for a time zone");
    }
    if (!block_read(zone, bytes.ptr + at + 44, &counts)) {
        zone_destroy(zone);
        return fault_set(fault, ERR_DAMAGED, "its transitions make no sense");
    }
    struct str footer = str_of(bytes.ptr + at + 44 + len, bytes.len - at - 44 - len);
    if (footer.len > 1 && footer.ptr[0] == '\n') {
        footer = str_of(footer.ptr + 1, footer.len - 1);
        zone->ruled = footer_read(zone, str_cut(&footer, '\n'));
    }
    *out = zone;
    return OK;
}

enum err zone_load(struct str name, struct zone **out, struct fault *fault) {
    char path[128], bytes[FILE_BYTES_MAX];
    *out = NULL;
    if (name.len == 0 || name.len > 64 || name.ptr[0] == '/' || memmem(name.ptr, name.len, "..", 2))
        return fault_set(fault, ERR_NOT_FOUND, "is not the name of a time zone");
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%.*s", STR_FMT(name));
    FILE *file = fopen(path, "rbe");
    if (!file)
        return fault_set(fault, ERR_NOT_FOUND, "%s can not be read", path);
    size_t len = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    return zone_parse(str_of(bytes, len), out, fault);
}

void zone_destroy(struct zone *zone) {
    if (!zone)
        return;
    mem_free(zone->times);
    mem_free(zone->offsets);
    mem_free(zone);
}

int32_t zone_offset_s(const struct zone *zone, int64_t utc_s) {
    if (!zone)
        return 0;
    if (zone->count == 0 || utc_s < zone->times[0])
        return zone->count == 0 && zone->ruled ? ruled_offset(zone, utc_s) : zone->first_s;
    if (utc_s >= zone->times[zone->count - 1] && zone->ruled)
        return ruled_offset(zone, utc_s);
    uint32_t low = 0, high = zone->count; /* the last transition not behind it */
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        if (zone->times[mid] <= utc_s)
            low = mid;
        else
            high = mid;
    }
    return zone->offsets[low];
}

/* --- periods ------------------------------------------------------------------------------- */

/* Which period a local time is in, as its first local second. */
static int64_t period_local(enum zone_period period, int64_t local_s) {
    int64_t unit = period == ZONE_HOUR ? 3600 : DAY_S;
    int64_t start = local_s - ((local_s % unit) + unit) % unit;
    int year, month, day;
    if (period != ZONE_MONTH)
        return start;
    date_parts((int32_t)(start / DAY_S), &year, &month, &day);
    return date_days(year, month, 1) * DAY_S;
}

/* Boundaries are whole quarters of an hour in every zone of our time: look for them there. */
#define STEP_S 900
void zone_period_of(const struct zone *zone, enum zone_period period, int64_t utc_s,
                    int64_t *start_s, int64_t *end_s) {
    int64_t wanted = period_local(period, utc_s + zone_offset_s(zone, utc_s));
    int64_t at = utc_s - ((utc_s % STEP_S) + STEP_S) % STEP_S;
    int64_t from = at, to = at + STEP_S;
    /* Near its two ends by the present offset, then step by step over a change of clocks. */
    int64_t guess = wanted - zone_offset_s(zone, utc_s) + DAY_S / 4;
    if (period != ZONE_HOUR && guess < from)
        from = guess - ((guess % STEP_S) + STEP_S) % STEP_S;
    while (period_local(period, from - 1 + zone_offset_s(zone, from - 1)) == wanted)
        from -= STEP_S;
    if (period == ZONE_MONTH) {
        int year, month, day;
        date_parts((int32_t)(wanted / DAY_S), &year, &month, &day);
        guess = (month == 12 ? date_days(year + 1, 1, 1) : date_days(year, month + 1, 1)) * DAY_S -
                zone_offset_s(zone, utc_s) - DAY_S / 4;
        if (guess > to)
            to = guess - ((guess % STEP_S) + STEP_S) % STEP_S;
    }
    while (period_local(period, to + zone_offset_s(zone, to)) == wanted)
        to += STEP_S;
    *start_s = from;
    *end_s = to;
}
