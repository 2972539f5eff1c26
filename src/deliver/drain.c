/* drain: see drain.h. Owns nothing. */
#include "deliver/drain.h"

#define SPANS 10
#define LEFT_MAX_US (INT64_C(3650) * 86400 * 1000000) /* ten years: no one waits for that */

static int64_t pace_m(uint64_t from, uint64_t to, int64_t span_us) {
    return to > from ? (int64_t)((double)(to - from) * 1e9 / (double)span_us) : 0;
}

/* Nearer to `to` by spans of n; always some, so that what stands still becomes 0. */
static void average(int64_t *value, int64_t to, int64_t spans, int64_t n) {
    int64_t step = (to - *value) * spans / n;
    *value += step != 0 ? step : (to > *value) - (to < *value);
}

/* A span counts for as many seconds as it has. */
void drain_look(struct drain *drain, int64_t now_us, const struct drain_at *at) {
    int64_t span_us = now_us - drain->at_us;
    if (drain->begun && span_us < 1000000)
        return;
    if (drain->begun) {
        int64_t spans = span_us / 1000000 < SPANS ? span_us / 1000000 : SPANS;
        drain->count = drain->count + spans < SPANS ? drain->count + (uint32_t)spans : SPANS;
        int64_t n = drain->count;
        average(&drain->done_m, pace_m(drain->at.cursor, at->cursor, span_us), spans, n);
        average(&drain->come_m, pace_m(drain->at.last, at->last, span_us), spans, n);
        average(&drain->ended_m, pace_m(drain->at.ended, at->ended, span_us), spans, n);
    }
    drain->begun = true;
    drain->at_us = now_us;
    drain->at = *at;
}

uint64_t drain_rate(const struct drain *drain) { return (uint64_t)(drain->done_m + 500) / 1000; }

uint64_t drain_events_rate(const struct drain *drain) { return (uint64_t)(drain->ended_m + 500) / 1000; }

/* -1: never. */
static double time_us(uint64_t much, int64_t pace_m) {
    return much == 0 ? 0 : pace_m > 0 ? (double)much * 1e9 / (double)pace_m : -1;
}

int64_t drain_left_us(const struct drain *drain) {
    const struct drain_at *at = &drain->at;
    if (drain->begun && at->last <= at->cursor)
        return 0;
    double events_us = time_us(at->events, drain->ended_m - drain->come_m * at->wanted_m / 1000);
    double passed_us = time_us(at->last - at->cursor, drain->done_m);
    double left_us = events_us > passed_us ? events_us : passed_us;
    bool known = drain->count > 0 && events_us >= 0 && passed_us >= 0 && left_us < (double)LEFT_MAX_US;
    return known ? (int64_t)left_us : -1;
}
