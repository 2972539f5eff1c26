/* drain: see drain.h. Owns nothing. */
#include "deliver/drain.h"

#define SPANS 10
#define LEFT_MAX_US (INT64_C(3650) * 86400 * 1000000) /* ten years: no one waits for that */

static int64_t pace_m(uint64_t from, uint64_t to, int64_t span_us) {
    return to > from ? (int64_t)((double)(to - from) * 1e9 / (double)span_us) : 0;
}

void drain_look(struct drain *drain, int64_t now_us, uint64_t cursor, uint64_t last) {
    int64_t span_us = now_us - drain->at_us;
    if (drain->begun && span_us < 1000000)
        return;
    if (drain->begun) {
        drain->count += drain->count < SPANS;
        int64_t n = drain->count;
        drain->done_m += (pace_m(drain->cursor, cursor, span_us) - drain->done_m) / n;
        drain->come_m += (pace_m(drain->last, last, span_us) - drain->come_m) / n;
    }
    drain->begun = true;
    drain->at_us = now_us;
    drain->cursor = cursor;
    drain->last = last;
}

uint64_t drain_rate(const struct drain *drain) { return (uint64_t)(drain->done_m + 500) / 1000; }

int64_t drain_left_us(const struct drain *drain) {
    if (drain->begun && drain->last <= drain->cursor)
        return 0;
    int64_t nearer_m = drain->done_m - drain->come_m;
    if (drain->count == 0 || nearer_m <= 0)
        return -1;
    double left_us = (double)(drain->last - drain->cursor) * 1e9 / (double)nearer_m;
    return left_us < (double)LEFT_MAX_US ? (int64_t)left_us : -1;
}
