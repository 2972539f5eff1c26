/* journal_verify: see journal_verify.h. Reads only; holds no transaction for long, so a hub may
 * go on appending. */
#include "store/journal_verify.h"

#include <openssl/evp.h>
#include <stdio.h>

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
    const struct registry *registry;
    struct json_parser *parser;
    struct arena arena;
    struct journal_digest *digest;
    struct journal_report *report;
    uint64_t expected;
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
    bool unknown;
    char detail[128];
    if (record->seq != v->expected) {
        snprintf(detail, sizeof detail, "records %llu to %llu are missing",
                 (unsigned long long)v->expected, (unsigned long long)record->seq - 1);
        fault_note(report, record->seq, detail);
    }
    v->expected = record->seq + 1;
    if (record->time_us < report->last_time_us)
        fault_note(report, record->seq, "it is older than the record before it");
    arena_reset(&v->arena);
    if (!journal_record_check(v->registry, record, v->parser, &v->arena, &unknown, &fault))
        fault_note(report, record->seq, fault.detail);
    report->unknown += unknown;
    if (report->records++ == 0)
        report->first_time_us = record->time_us;
    report->last_time_us = record->time_us;
    report->last_seq = record->seq;
    report->bytes += record->type.len + record->subject.len + record->meta.len + record->data.len;
    journal_digest_add(v->digest, record);
    return true;
}

enum err journal_verify(struct journal *journal, const struct registry *registry,
                        void (*progress)(void *ctx, uint64_t seq), void *ctx,
                        struct journal_report *report, struct fault *fault) {
    *report = (struct journal_report){0};
    struct verify v = {.registry = registry, .report = report, .expected = 1};
    arena_init(&v.arena, 0);
    v.parser = json_parser_create();
    v.digest = journal_digest_create();
    enum err err = v.parser && v.digest ? OK : fault_set(fault, ERR_NOMEM, "out of memory");
    for (uint64_t from = 1, next = 0; err == OK; from = next) {
        err = journal_read(journal, from, VERIFY_CHUNK, record_verify, &v, &next, fault);
        if (err == ERR_DAMAGED) { /* tell it, and look at what is behind it */
            fault_note(report, next, fault->detail);
            report->records++;
            v.expected = ++next;
            err = OK;
        }
        if (err != OK || next == from)
            break;
        if (progress)
            progress(ctx, next - 1);
    }
    if (err == ERR_IO) { /* the file is damaged there: a finding */
        fault_note(report, v.expected, fault && fault->detail[0] ? fault->detail : "can not be read");
        err = OK;
    }
    if (v.digest)
        journal_digest_end(v.digest, report->digest);
    json_parser_destroy(v.parser);
    arena_free(&v.arena);
    return err;
}
