/* journal_verify: see journal_verify.h. Reads only; holds no transaction for long, so a hub may
 * go on appending. */
#include "store/journal_verify.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"

#define VERIFY_CHUNK 4096 /* records between two calls of progress */

struct journal_digest {
    EVP_MD_CTX *evp;
};

struct journal_digest *journal_digest_create(void) {
    struct journal_digest *digest = mem_zalloc(sizeof *digest);
    if (!digest)
        return NULL;
    digest->evp = EVP_MD_CTX_new();
    if (digest->evp && EVP_DigestInit_ex(digest->evp, EVP_sha256(), NULL) == 1)
        return digest;
    EVP_MD_CTX_free(digest->evp);
    mem_free(digest);
    return NULL;
}

static void digest_number(struct journal_digest *digest, uint64_t value) {
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(value >> (8 * i));
    must(EVP_DigestUpdate(digest->evp, bytes, sizeof bytes) == 1);
}
static void digest_text(struct journal_digest *digest, struct str text) {
    digest_number(digest, text.len);
    must(EVP_DigestUpdate(digest->evp, text.ptr ? text.ptr : "", text.len) == 1);
}

void journal_digest_add(struct journal_digest *digest, const struct record *record) {
    digest_number(digest, record->seq);
    digest_number(digest, (uint64_t)record->time_us);
    digest_text(digest, record->type);
    digest_text(digest, record->subject);
    digest_text(digest, record->meta);
    digest_text(digest, record->data);
}

void journal_digest_end(struct journal_digest *digest, char out[JOURNAL_DIGEST_TEXT]) {
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    must(EVP_DigestFinal_ex(digest->evp, bytes, &len) == 1 && len == 32);
    for (unsigned i = 0; i < len; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    EVP_MD_CTX_free(digest->evp);
    mem_free(digest);
}

struct verify {
    const struct registry *registry; /* NULL: records are not looked into */
    struct json_parser *parser;
    struct arena arena;
    struct journal_digest *digest;
    struct journal_report *report;
    uint64_t expected, until; /* the next seq, and the last one to look at */
    void (*progress)(void *ctx, uint64_t seq);
    void *ctx;
};

static void fault_note(struct journal_report *report, uint64_t seq, const char *detail) {
    if (report->faults < JOURNAL_FAULTS_MAX) {
        struct journal_report_fault *listed = &report->listed[report->faults];
        listed->seq = seq;
        snprintf(listed->detail, sizeof listed->detail, "%s", detail);
    }
    report->faults++;
}

bool journal_record_check(const struct registry *registry, const struct record *record,
                          struct json_parser *parser, struct arena *arena, bool *unknown,
                          struct fault *fault) {
    struct event event;
    *unknown = false;
    enum err err = event_from_record(registry, record, parser, arena, &event, fault);
    if (err == ERR_NOT_FOUND) {
        *unknown = true;
        const struct json *value; /* its shape is not known, but it must be JSON */
        err = json_parse(parser, arena, record->data, false, &value, fault);
    }
    if (err != OK)
        return false;
    if (record->subject.len == 0 || record->type.len == 0)
        err = fault_set(fault, ERR_INVALID, "the record has no %s",
                        record->type.len == 0 ? "type" : "subject");
    else if (event.meta.first < 0 || (uint64_t)event.meta.first > record->seq)
        err = fault_set(fault, ERR_INVALID, "its command's first event is the later %lld",
                        (long long)event.meta.first);
    else if (event.meta.cause < 0 || (uint64_t)event.meta.cause >= record->seq)
        err = fault_set(fault, ERR_INVALID, "it follows from the later event %lld",
                        (long long)event.meta.cause);
    return err == OK;
}

static bool record_verify(void *ctx, const struct record *record) {
    struct verify *v = ctx;
    struct journal_report *report = v->report;
    struct fault fault = {0};
    bool unknown = false;
    char detail[128];
    if (record->seq != v->expected) {
        snprintf(detail, sizeof detail, "records %llu to %llu are missing",
                 (unsigned long long)v->expected, (unsigned long long)record->seq - 1);
        fault_note(report, record->seq, detail);
    }
    v->expected = record->seq + 1;
    if (record->time_us < report->last_time_us)
        fault_note(report, record->seq, "it is older than the record before it");
    if (v->registry) {
        arena_reset(&v->arena);
        if (!journal_record_check(v->registry, record, v->parser, &v->arena, &unknown, &fault))
            fault_note(report, record->seq, fault.detail);
        report->unknown += unknown;
        journal_digest_add(v->digest, record);
    }
    if (report->records++ == 0 || report->first_time_us == 0)
        report->first_time_us = record->time_us;
    report->last_time_us = record->time_us;
    report->last_seq = record->seq;
    report->bytes += record->type.len + record->subject.len + record->meta.len + record->data.len;
    return record->seq < v->until;
}

/* The records v->expected to `until`, or the journal's end. What can not be read is a finding. */
static enum err records_verify(struct verify *v, struct journal *journal, uint64_t until,
                               struct fault *fault) {
    enum err err = OK;
    v->until = until;
    for (uint64_t from = v->expected, next = 0; err == OK && from <= until; from = next) {
        err = journal_read(journal, from, VERIFY_CHUNK, record_verify, v, &next, fault);
        if (err == ERR_DAMAGED) { /* tell it, and look at what is behind it */
            fault_note(v->report, next, fault->detail);
            v->report->records++;
            v->expected = ++next;
            err = OK;
        }
        if (err != OK || next == from)
            break;
        if (v->progress)
            v->progress(v->ctx, next - 1);
    }
    if (err != ERR_IO)
        return err;
    fault_note(v->report, v->expected,
               fault && fault->detail[0] ? fault->detail : "can not be read");
    return OK;
}

static enum err verify_begin(struct verify *v, struct fault *fault) {
    *v->report = (struct journal_report){.first_seq = 1};
    arena_init(&v->arena, 0);
    v->parser = json_parser_create();
    v->digest = journal_digest_create();
    return v->parser && v->digest ? OK : fault_set(fault, ERR_NOMEM, "out of memory");
}
static void verify_end(struct verify *v) {
    if (v->digest)
        journal_digest_end(v->digest, v->report->digest);
    if (!v->registry)
        v->report->digest[0] = '\0';
    json_parser_destroy(v->parser);
    arena_free(&v->arena);
}

enum err journal_verify(struct journal *journal, const struct registry *registry,
                        void (*progress)(void *ctx, uint64_t seq), void *ctx,
                        struct journal_report *report, struct fault *fault) {
    struct verify v = {.registry = registry, .report = report, .expected = 1,
                       .progress = progress, .ctx = ctx};
    enum err err = verify_begin(&v, fault);
    if (err == OK)
        err = records_verify(&v, journal, UINT64_MAX, fault);
    verify_end(&v);
    return err;
}

/* --- the chain ------------------------------------------------------------------------------ */

/* A segment's file is hashed on a thread of its own, while its records are read here. */
struct hashing {
    struct journal *journal;
    const struct segment *segment;
    pthread_t thread;
    enum err err;
    struct fault fault;
};
static void *hashing_run(void *arg) {
    struct hashing *h = arg;
    h->err = journal_sqlite_segment_check(h->journal, h->segment, NULL, NULL, &h->fault);
    return NULL;
}

/* What it found goes before what was found in the records meanwhile: they are why. */
static void hashing_note(struct journal_report *report, uint64_t before,
                         const struct hashing *h) {
    if (before < JOURNAL_FAULTS_MAX - 1 && report->faults > before)
        memmove(&report->listed[before + 1], &report->listed[before],
                (JOURNAL_FAULTS_MAX - 1 - before) * sizeof report->listed[0]);
    if (before < JOURNAL_FAULTS_MAX) {
        report->listed[before].seq = h->segment->first;
        snprintf(report->listed[before].detail, sizeof report->listed[before].detail, "%s",
                 h->fault.detail);
    }
    report->faults++;
}

/* Of an archive that is not read, what chain.db says. */
static void records_skip(struct verify *v, const struct segment *segment) {
    struct journal_report *report = v->report;
    report->records += segment->last - segment->first + 1;
    report->last_seq = segment->last;
    if (report->first_time_us == 0)
        report->first_time_us = segment->first_time_us;
    report->last_time_us = segment->last_time_us;
    v->expected = segment->last + 1;
}

static enum err sealed_verify(struct verify *v, struct journal *journal,
                              const struct segment *segment, struct fault *fault) {
    struct journal_report *report = v->report;
    struct hashing h = {.journal = journal, .segment = segment};
    uint64_t before = report->faults;
    bool archived = segment->state == SEGMENT_ARCHIVED;
    bool threaded = !archived && pthread_create(&h.thread, NULL, hashing_run, &h) == 0;
    if (!threaded)
        hashing_run(&h);
    enum err err = OK;
    if (archived && (!v->registry || h.err == ERR_UNAVAILABLE))
        records_skip(v, segment);
    else
        err = records_verify(v, journal, segment->last, fault);
    if (threaded)
        pthread_join(h.thread, NULL);
    snprintf(report->head, sizeof report->head, "%s", segment->sha256);
    report->hashed_bytes += h.err == OK ? segment->bytes : 0;
    report->offline += h.err == ERR_UNAVAILABLE;
    if (h.err == ERR_DAMAGED || h.err == ERR_IO)
        hashing_note(report, before, &h);
    else if (h.err != OK && h.err != ERR_UNAVAILABLE && err == OK)
        err = fault_set(fault, h.err, "%s", h.fault.detail);
    return err;
}

static enum err segment_verify(struct verify *v, struct journal *journal,
                               const struct segment *segment, struct fault *fault) {
    struct journal_report *report = v->report;
    report->segments++;
    report->archived += segment->state == SEGMENT_ARCHIVED;
    if (segment->state == SEGMENT_REMOVED) {
        report->removed++;
        report->first_seq = v->expected = segment->last + 1;
        return OK;
    }
    return segment->state >= SEGMENT_SEALED ? sealed_verify(v, journal, segment, fault)
                                            : records_verify(v, journal, segment->last, fault);
}

enum err journal_chain_verify(struct journal *journal, const struct registry *registry,
                              void (*progress)(void *ctx, uint64_t seq), void *ctx,
                              struct journal_report *report, struct fault *fault) {
    struct verify v = {.registry = registry, .report = report, .expected = 1,
                       .progress = progress, .ctx = ctx};
    struct segment segment;
    enum err err = verify_begin(&v, fault);
    for (uint32_t i = 0; err == OK && journal_sqlite_segment(journal, i, &segment); i++)
        err = segment_verify(&v, journal, &segment, fault);
    struct fault damage = {0};
    if (err == OK && journal_sqlite_check(journal, &damage) != OK)
        fault_note(report, report->last_seq + 1, damage.detail);
    verify_end(&v);
    return err;
}
