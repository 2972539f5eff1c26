/* backlog: see backlog.h. Owns nothing. */
#include "deliver/backlog.h"

#include <string.h>

#define MEAN_OF 64 /* events that the mean of bytes reaches back */
#define LOOKS_OF 4 /* looks likewise */

uint64_t backlog_bytes_of(const struct record *record) {
    return record->type.len + record->subject.len + record->meta.len + record->data.len;
}

void backlog_took(struct backlog *b, const struct record *record) {
    int64_t bytes_m = (int64_t)backlog_bytes_of(record) * 1000;
    b->mean_m = b->mean_m > 0 ? b->mean_m + (bytes_m - b->mean_m) / MEAN_OF : bytes_m;
}

uint64_t backlog_bytes(const struct backlog *b, uint64_t taken) { return taken * (uint64_t)b->mean_m / 1000; }

struct looking {
    struct backlog_part part;
    uint64_t last;
    backlog_wants *wants;
    void *ctx;
};

static bool visit(void *ctx, const struct record *record) {
    struct looking *looking = ctx;
    if (record->seq > looking->last)
        return false;
    looking->part.seen++;
    if (looking->wants(looking->ctx, record)) {
        looking->part.wanted++;
        looking->part.bytes += backlog_bytes_of(record);
    }
    return true;
}

/* False: it can not be read, or only in part. */
static bool part_look(struct looking *looking, struct tail *tail, uint64_t from, uint32_t count) {
    struct fault fault = {0};
    uint64_t next = from, end = looking->last - from < count ? looking->last + 1 : from + count;
    looking->part = (struct backlog_part){0};
    if (!tail_near(tail, from, false)) /* an archive is unpacked for who sends what is in it */
        return false;
    for (uint64_t at = next; at < end; at = next)
        if (tail_read(tail, at, (uint32_t)(end - at), visit, looking, &next, &fault) != OK || next <= at)
            return false;
    return true;
}

void backlog_forget(struct backlog *b) {
    b->turn = 0;
    memset(b->parts, 0, sizeof b->parts);
}

/* What comes now. */
static void newest_look(struct backlog *b, struct tail *tail, struct looking *looking) {
    uint64_t count = looking->last < BACKLOG_SAMPLE ? looking->last : BACKLOG_SAMPLE;
    if (count == 0 || !part_look(looking, tail, looking->last - count + 1, (uint32_t)count))
        return;
    int64_t wanted_m = (int64_t)looking->part.wanted * 1000 / looking->part.seen;
    b->wanted_m = (uint32_t)((int64_t)b->wanted_m + (wanted_m - (int64_t)b->wanted_m) / LOOKS_OF);
}

/* Another place of the part each time it is its turn. */
static uint64_t part_from(uint64_t read_to, uint64_t range, uint32_t turn) {
    uint64_t size = range / BACKLOG_PARTS, round = turn / BACKLOG_PARTS;
    return read_to + 1 + turn % BACKLOG_PARTS * size + round * (size * 5 / 13 + 1) % (size - BACKLOG_SAMPLE + 1);
}

static void estimate(struct backlog *b, uint64_t range) {
    struct backlog_part all = {0};
    for (uint32_t i = 0; i < BACKLOG_PARTS; i++) {
        all.seen += b->parts[i].seen;
        all.wanted += b->parts[i].wanted;
        all.bytes += b->parts[i].bytes;
    }
    if (all.seen == 0) { /* all of it is archived: as what comes now */
        b->events = range * b->wanted_m / 1000;
        b->bytes = backlog_bytes(b, b->events);
        return;
    }
    b->events = (uint64_t)((double)range * all.wanted / all.seen + 0.5);
    b->bytes = (uint64_t)((double)range * (double)all.bytes / all.seen + 0.5);
}

void backlog_look(struct backlog *b, struct tail *tail, uint64_t read_to, uint64_t last, backlog_wants *wants,
                  void *ctx) {
    struct looking looking = {.last = last, .wants = wants, .ctx = ctx};
    uint64_t range = last > read_to ? last - read_to : 0;
    newest_look(b, tail, &looking);
    looking.part = (struct backlog_part){0};
    if (range <= BACKLOG_COUNTED) {
        if (range > 0 && !part_look(&looking, tail, read_to + 1, (uint32_t)range))
            return;
        backlog_forget(b);
        b->estimated = false;
        b->events = looking.part.wanted;
        b->bytes = looking.part.bytes;
        return;
    }
    uint32_t n = b->turn == 0 ? BACKLOG_PARTS : 1;
    for (; n > 0; n--, b->turn++)
        if (part_look(&looking, tail, part_from(read_to, range, b->turn), BACKLOG_SAMPLE))
            b->parts[b->turn % BACKLOG_PARTS] = looking.part;
    b->estimated = true;
    estimate(b, range);
}
