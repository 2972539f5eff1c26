/* Any bytes into the readers of single values: decimals, instants, dates, integers. What one of
 * them takes it writes in the shortest form, and that form reads back as the same value. */
#include "fuzz.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/decimal.h"
#include "base/err.h"
#include "base/str.h"

static void decimals(struct str text, struct buf *buf) {
    static const int scales[] = {0, 6, 9};
    for (size_t i = 0; i < sizeof scales / sizeof scales[0]; i++) {
        int64_t value, again;
        bool plain = decimal_parse(text, scales[i], &value);
        if (plain || decimal_parse_number(text, scales[i], &value)) {
            buf_clear(buf);
            decimal_write(buf, value, scales[i]);
            must(decimal_parse(buf_str(buf), scales[i], &again) && again == value);
        }
        if (plain)
            must(decimal_parse_number(text, scales[i], &again) && again == value);
    }
}

static void times(struct str text, struct buf *buf) {
    struct instant at, at_again;
    if (instant_parse(text, &at)) {
        buf_clear(buf);
        instant_write(buf, at);
        must(instant_parse(buf_str(buf), &at_again));
        must(at.us == at_again.us && at.offset_min == at_again.offset_min);
    }
    int32_t days, days_again;
    if (date_parse(text, &days)) {
        buf_clear(buf);
        date_write(buf, days);
        must(str_eq(buf_str(buf), text));
        must(date_parse(buf_str(buf), &days_again) && days == days_again);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str text = str_of((const char *)data, size);
    struct buf buf;
    buf_init(&buf, 0);
    decimals(text, &buf);
    times(text, &buf);
    int64_t value, again;
    if (str_i64(text, &value)) {
        buf_clear(&buf);
        buf_i64(&buf, value);
        must(str_i64(buf_str(&buf), &again) && again == value);
    }
    buf_free(&buf);
    return 0;
}
