/* poll_mark: watermarks: read from items, compared, written into requests. Pure. */
#include <stdio.h>

#include "connect/poll_priv.h"

#define SECOND_US INT64_C(1000000)
/* Whole numbers are seconds, milli- or microseconds since 1970, by their size: up to the year 5138. */
#define SECONDS_MAX INT64_C(100000000000)

static bool number_time(int64_t n, int64_t *us) {
    if (n < 0)
        return false;
    *us = n < SECONDS_MAX ? n * SECOND_US : n < SECONDS_MAX * 1000 ? n * 1000 : n;
    return true;
}

/* RFC 3339; without an offset: UTC; a blank for the T; a date alone: its beginning; a number. */
static bool time_read(struct str text, int64_t *us) {
    char copy[48];
    struct instant at;
    int32_t days;
    int64_t n;
    if (instant_parse(text, &at)) {
        *us = at.us;
        return true;
    }
    if (str_i64(text, &n))
        return number_time(n, us);
    if (date_parse(text, &days)) {
        *us = days * INT64_C(86400) * SECOND_US;
        return true;
    }
    if (text.len < 19 || text.len + 2 > sizeof copy)
        return false;
    memcpy(copy, text.ptr, text.len);
    if (copy[10] == ' ')
        copy[10] = 'T';
    copy[text.len] = 'Z';
    bool good = instant_parse(str_of(copy, text.len), &at) ||
                instant_parse(str_of(copy, text.len + 1), &at);
    *us = at.us;
    return good;
}

bool mark_read(const struct connector_watermark *how, struct str value, struct poll_mark *out) {
    *out = (struct poll_mark){.known = true};
    if (value.len == 0)
        return false;
    if (how->type == MARK_TIME)
        return time_read(value, &out->number);
    if (how->type == MARK_NUMBER)
        return str_i64(value, &out->number);
    if (value.len > POLL_MARK_TEXT_MAX)
        return false;
    memcpy(out->text, value.ptr, value.len);
    return true;
}

int mark_cmp(const struct connector_watermark *how, const struct poll_mark *a,
             const struct poll_mark *b) {
    if (!a->known || !b->known)
        return a->known - b->known;
    if (how->type == MARK_TEXT)
        return strcmp(a->text, b->text);
    return a->number < b->number ? -1 : a->number > b->number;
}

int64_t mark_number(const struct connector_watermark *how, const struct poll_mark *mark,
                    bool overlap) {
    int64_t less = !overlap ? 0 : how->type == MARK_TIME ? how->overlap_s * SECOND_US : how->overlap;
    if (!mark->known)
        return 0;
    return mark->number > less ? mark->number - less : 0;
}

static void time_write(enum mark_format format, int64_t us, struct buf *out) {
    int64_t seconds = us / SECOND_US, of_day = seconds % 86400;
    int year, month, day;
    date_parts((int32_t)(seconds / 86400), &year, &month, &day);
    switch (format) {
    case MARK_RFC3339: instant_write(out, (struct instant){.us = us}); break;
    case MARK_SECONDS: buf_i64(out, seconds); break;
    case MARK_MILLISECONDS: buf_i64(out, us / 1000); break;
    case MARK_DATE: buf_printf(out, "%04d-%02d-%02d", year, month, day); break;
    case MARK_DATETIME:
    case MARK_SPACE:
        buf_printf(out, "%04d-%02d-%02d%c%02d:%02d:%02d", year, month, day,
                   format == MARK_SPACE ? ' ' : 'T', (int)(of_day / 3600), (int)(of_day / 60 % 60),
                   (int)(of_day % 60));
        break;
    }
}

void mark_write(const struct connector_watermark *how, const struct poll_mark *mark, bool overlap,
                struct buf *out) {
    if (how->type == MARK_TEXT)
        buf_str_add(out, str_c(mark->text));
    else if (how->type == MARK_NUMBER)
        buf_i64(out, mark_number(how, mark, overlap));
    else
        time_write((enum mark_format)how->format, mark_number(how, mark, overlap), out);
}

void mark_save(const struct connector_watermark *how, const struct poll_mark *mark,
               struct buf *out) {
    if (how->type == MARK_TEXT)
        buf_str_add(out, str_c(mark->text));
    else
        buf_i64(out, mark->number);
}

bool mark_load(const struct connector_watermark *how, struct str text, struct poll_mark *out) {
    *out = (struct poll_mark){.known = true};
    if (how->type != MARK_TEXT)
        return str_i64(text, &out->number);
    if (text.len > POLL_MARK_TEXT_MAX)
        return false;
    memcpy(out->text, text.ptr, text.len);
    return true;
}

void mark_initial(const struct connector_watermark *how, int64_t now_us, struct poll_mark *out) {
    *out = (struct poll_mark){0};
    if (str_is(how->initial, "beginning"))
        return;
    if (how->type == MARK_TIME && str_is(how->initial, "now"))
        *out = (struct poll_mark){.known = true, .number = now_us};
    else if (!mark_read(how, how->initial, out))
        *out = (struct poll_mark){0};
}

void mark_cap(const struct connector_watermark *how, struct poll_mark *mark, int64_t now_us) {
    if (how->type == MARK_TIME && mark->known && mark->number > now_us)
        mark->number = now_us;
}
