/* net: the little that all implementations of the seam share. Owns nothing. */
#include "connect/net.h"

#include <string.h>

const char *net_error_name(enum net_error error) {
    switch (error) {
    case NET_OK: return "ok";
    case NET_REFUSED: return "refused";
    case NET_DNS: return "dns";
    case NET_TLS: return "tls";
    case NET_TIMEOUT: return "timeout";
    case NET_RESET: return "reset";
    case NET_TOO_LARGE: return "too-large";
    case NET_CANCELLED: return "cancelled";
    case NET_SIGN_IN: return "sign-in";
    case NET_CLOSED: return "closed";
    case NET_FAILED: return "failed";
    }
    return "unknown";
}

struct str net_answer_header(const struct net_answer *answer, struct str name) {
    for (uint32_t i = 0; i < answer->header_count; i++)
        if (str_eq_nocase(answer->headers[i].name, name))
            return answer->headers[i].value;
    return STR_NONE;
}

/* Days from 1970-01-01 of a date of the Gregorian calendar. */
static int64_t date_days(int64_t year, int64_t month, int64_t day) {
    year -= month <= 2;
    int64_t era = year / 400, yoe = year - era * 400;
    int64_t doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static bool digits_read(struct str text, size_t at, size_t len, int64_t *out) {
    return at + len <= text.len && str_i64(str_of(text.ptr + at, len), out) && *out >= 0;
}

bool net_http_date(struct str text, int64_t *us) {
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    int64_t day, year, hour, minute, second;
    if (text.len != 29 || memcmp(text.ptr + 25, " GMT", 4) != 0)
        return false;
    if (!digits_read(text, 5, 2, &day) || !digits_read(text, 12, 4, &year) ||
        !digits_read(text, 17, 2, &hour) || !digits_read(text, 20, 2, &minute) ||
        !digits_read(text, 23, 2, &second))
        return false;
    for (int64_t month = 0; month < 12; month++) {
        if (memcmp(months + month * 3, text.ptr + 8, 3) != 0)
            continue;
        int64_t days = date_days(year, month + 1, day);
        *us = (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000000;
        return true;
    }
    return false;
}

int64_t net_answer_retry_after_ms(const struct net_answer *answer, int64_t now_us) {
    struct str value = net_answer_header(answer, STR("Retry-After"));
    if (value.ptr == NULL)
        return -1;
    int64_t seconds, at_us, ms;
    struct str whole = str_cut(&value, '.'); /* Shopify says "2.0" */
    if (value.ptr != NULL && str_i64(whole, &seconds) && seconds >= 0) {
        int64_t part = 0;
        if (!str_i64(value, &part) || part < 0)
            return -1;
        seconds += part > 0;
        return seconds > NET_RETRY_AFTER_MS_MAX / 1000 ? NET_RETRY_AFTER_MS_MAX : seconds * 1000;
    }
    value = whole;
    if (str_i64(value, &seconds)) {
        if (seconds < 0)
            return -1;
        ms = seconds > NET_RETRY_AFTER_MS_MAX / 1000 ? NET_RETRY_AFTER_MS_MAX : seconds * 1000;
    } else if (net_http_date(value, &at_us)) {
        ms = at_us <= now_us ? 0 : (at_us - now_us) / 1000;
    } else {
        return -1;
    }
    return ms > NET_RETRY_AFTER_MS_MAX ? NET_RETRY_AFTER_MS_MAX : ms;
}
