/* journal_anchor: see journal_anchor.h. Reads only. */
#include "store/journal_anchor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define CHUNK 4096

struct digesting {
    struct journal_digest *digest;
    uint64_t next, until;
    bool hole;
};

static bool record_add(void *ctx, const struct record *record) {
    struct digesting *d = ctx;
    d->hole = record->seq != d->next;
    if (d->hole)
        return false;
    journal_digest_add(d->digest, record);
    return d->next++ < d->until;
}

/* Of the records from..until; ERR_DAMAGED where one is missing. */
static enum err tail_digest(struct journal *journal, uint64_t from, uint64_t until,
                            char out[JOURNAL_DIGEST_TEXT], struct fault *fault) {
    struct digesting d = {.digest = journal_digest_create(), .next = from, .until = until};
    uint64_t next;
    enum err err = OK;
    if (!d.digest)
        return fault_set(fault, ERR_NOMEM, "no memory to hash the journal");
    while (err == OK && d.next <= until && !d.hole) {
        uint64_t before = d.next;
        err = journal_read(journal, d.next, CHUNK, record_add, &d, &next, fault);
        if (err == OK && d.next == before)
            d.hole = true;
    }
    journal_digest_end(d.digest, out);
    if (err == OK && d.hole)
        err = fault_set(fault, ERR_DAMAGED, "record %" PRIu64 " is missing", d.next);
    return err;
}

enum err journal_anchor_make(struct journal *journal, struct clock *clock,
                             struct journal_anchor *out, struct fault *fault) {
    struct segment segment;
    *out = (struct journal_anchor){.at_us = clock_now_us(clock), .tail_from = 1};
    enum err err = journal_last(journal, &out->seq, fault);
    if (err != OK)
        return err;
    for (uint32_t i = 0; journal_sqlite_segment(journal, i, &segment); i++) {
        if (segment.state < SEGMENT_SEALED || segment.last > out->seq)
            continue;
        out->segment = segment.number;
        memcpy(out->sha256, segment.sha256, sizeof out->sha256);
        out->tail_from = segment.last + 1;
    }
    return tail_digest(journal, out->tail_from, out->seq, out->tail_sha256, fault);
}

void journal_anchor_write(const struct journal_anchor *anchor, struct buf *out) {
    buf_lit(out, "{\"penstock_anchor\":1,\"at\":\"");
    instant_write(out, (struct instant){.us = anchor->at_us});
    buf_printf(out, "\",\"seq\":%" PRIu64, anchor->seq);
    if (anchor->segment)
        buf_printf(out, ",\"segment\":%" PRIu64 ",\"sha256\":\"%s\"", anchor->segment,
                   anchor->sha256);
    buf_printf(out, ",\"tail_from\":%" PRIu64 ",\"tail_sha256\":\"%s\"}", anchor->tail_from,
               anchor->tail_sha256);
}

static bool number_read(const struct json *line, const char *name, uint64_t *out) {
    const struct json *value = json_member(line, str_c(name));
    return value && value->kind == JSON_NUMBER && str_u64(value->text, out);
}

static bool hash_read(const struct json *line, const char *name, char out[SEGMENT_HASH_TEXT]) {
    struct str text = json_member_str(line, str_c(name));
    if (text.len != SEGMENT_HASH_TEXT - 1)
        return false;
    memcpy(out, text.ptr, text.len);
    out[text.len] = '\0';
    return true;
}

bool journal_anchor_read(const struct json *line, struct journal_anchor *out) {
    struct instant at;
    uint64_t version;
    *out = (struct journal_anchor){0};
    if (line->kind != JSON_OBJECT || !number_read(line, "penstock_anchor", &version) ||
        version != 1 || !number_read(line, "seq", &out->seq) ||
        !number_read(line, "tail_from", &out->tail_from) || out->tail_from == 0 ||
        !hash_read(line, "tail_sha256", out->tail_sha256) ||
        !instant_parse(json_member_str(line, STR("at")), &at))
        return false;
    out->at_us = at.us;
    return !json_member(line, STR("segment")) ||
           (number_read(line, "segment", &out->segment) && hash_read(line, "sha256", out->sha256));
}

/* --- checking ------------------------------------------------------------------------------- */

static enum err head_check(struct journal *journal, const struct journal_anchor *anchor,
                           struct fault *fault) {
    struct segment segment;
    for (uint32_t i = 0; journal_sqlite_segment(journal, i, &segment); i++) {
        if (segment.number != anchor->segment)
            continue;
        if (segment.state >= SEGMENT_SEALED && strcmp(segment.sha256, anchor->sha256) == 0 &&
            segment.last + 1 == anchor->tail_from)
            return OK;
        return fault_set(fault, ERR_CONFLICT,
                         "journal segment %" PRIu64 " has SHA-256 %.16s…, not the anchor's %.16s…: "
                         "it, or one before it, is not what it was",
                         segment.number, segment.sha256[0] ? segment.sha256 : "(not sealed)",
                         anchor->sha256);
    }
    return fault_set(fault, ERR_CONFLICT, "journal segment %" PRIu64 " of the anchor is not there",
                     anchor->segment);
}

/* Whether retention took records that the anchor speaks of beside its segments. */
static bool tail_removed(struct journal *journal, uint64_t from) {
    struct segment segment;
    for (uint32_t i = 0; journal_sqlite_segment(journal, i, &segment); i++)
        if (segment.first <= from && from <= segment.last)
            return segment.state == SEGMENT_REMOVED;
    return false;
}

enum err journal_anchor_check(struct journal *journal, const struct journal_anchor *anchor,
                              struct fault *fault) {
    char sha256[JOURNAL_DIGEST_TEXT];
    struct fault found = {0};
    uint64_t last;
    enum err err = journal_last(journal, &last, fault);
    if (err == OK && last < anchor->seq)
        err = fault_set(fault, ERR_CONFLICT, "the journal ends with record %" PRIu64
                                             ", the anchor speaks of %" PRIu64, last, anchor->seq);
    if (err == OK && anchor->segment)
        err = head_check(journal, anchor, fault);
    if (err != OK || anchor->tail_from > anchor->seq)
        return err;
    if (tail_removed(journal, anchor->tail_from))
        return fault_set(fault, ERR_UNAVAILABLE, "records from %" PRIu64
                                                 " on were removed by retention", anchor->tail_from);
    err = tail_digest(journal, anchor->tail_from, anchor->seq, sha256, &found);
    if (err == ERR_DAMAGED)
        return fault_set(fault, ERR_CONFLICT, "%s", found.detail);
    if (err == OK && strcmp(sha256, anchor->tail_sha256) != 0)
        err = fault_set(&found, ERR_CONFLICT, "the records %" PRIu64 " to %" PRIu64
                        " are not what they were: their SHA-256 is %.16s…, not %.16s…",
                        anchor->tail_from, anchor->seq, sha256, anchor->tail_sha256);
    return err == OK ? OK : fault_set(fault, err, "%s", found.detail);
}
