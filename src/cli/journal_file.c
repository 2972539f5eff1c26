/* journal_file: see journal_file.h. A file is read twice: once to check it, once to take it. */
#include "cli/journal_file.h"

#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "store/journal_verify.h"

#define LINE_BYTES_MAX ((size_t)256 << 20)
#define BATCH_RECORDS 512u
#define BATCH_BYTES ((size_t)16 << 20)
#define PROGRESS_RECORDS 1000

/* --- writing ------------------------------------------------------------------------------ */

struct writing {
    FILE *out;
    struct buf line;
    struct journal_digest *digest;
    uint64_t last, written;
    journal_progress *progress;
    void *ctx;
    enum err err;
};

static bool record_write(void *ctx, const struct record *record) {
    struct writing *w = ctx;
    if (record->seq > w->last)
        return false;
    buf_clear(&w->line);
    buf_printf(&w->line, "{\"seq\":%llu,\"time_us\":%lld,\"type\":",
               (unsigned long long)record->seq, (long long)record->time_us);
    buf_json_str(&w->line, record->type);
    buf_lit(&w->line, ",\"subject\":");
    buf_json_str(&w->line, record->subject);
    buf_lit(&w->line, ",\"meta\":");
    buf_str_add(&w->line, record->meta);
    buf_lit(&w->line, ",\"data\":");
    buf_str_add(&w->line, record->data);
    buf_lit(&w->line, "}\n");
    if (!buf_ok(&w->line))
        w->err = ERR_NOMEM;
    else if (fwrite(w->line.data, 1, w->line.len, w->out) != w->line.len)
        w->err = ERR_IO;
    journal_digest_add(w->digest, record);
    if (++w->written % PROGRESS_RECORDS == 0)
        w->progress(w->ctx, record->seq);
    return w->err == OK;
}

enum err journal_file_write(struct journal *journal, uint64_t first, uint64_t last, FILE *out,
                            journal_progress *progress, void *ctx, struct fault *fault) {
    struct writing w = {.out = out, .last = last, .progress = progress, .ctx = ctx};
    w.digest = journal_digest_create();
    if (!w.digest)
        return fault_set(fault, ERR_NOMEM, "out of memory");
    buf_init(&w.line, LINE_BYTES_MAX);
    enum err err = OK;
    for (uint64_t from = first, next; err == OK && w.err == OK && from <= last; from = next) {
        err = journal_read(journal, from, 4096, record_write, &w, &next, fault);
        if (err == OK && next == from)
            err = fault_set(fault, ERR_IO, "record %llu is missing", (unsigned long long)from);
    }
    char digest[JOURNAL_DIGEST_TEXT];
    journal_digest_end(w.digest, digest);
    buf_free(&w.line);
    if (err != OK)
        return err;
    if (w.err == OK && (fprintf(out, "{\"records\":%llu,\"sha256\":\"%s\"}\n",
                                (unsigned long long)w.written, digest) < 0 ||
                        fflush(out) != 0))
        w.err = ERR_IO;
    return w.err == OK ? OK
                       : fault_set(fault, w.err, "the export could not be written: %s",
                                   w.err == ERR_IO ? strerror(errno) : "out of memory");
}

/* --- reading ------------------------------------------------------------------------------ */

struct reading {
    FILE *file;
    struct buf line;
    uint64_t number; /* of the line, from 1 */
    struct json_parser *parser;
    struct arena arena; /* of one line, or of one batch */
    bool ended;         /* the last line was read */
    uint64_t records;   /* as it says */
    struct str sha256;  /* in text below */
    char text[JOURNAL_DIGEST_TEXT];
};

static enum err reading_begin(struct reading *r, const char *path, struct fault *fault) {
    *r = (struct reading){.file = fopen(path, "re")};
    if (!r->file)
        return fault_set(fault, ERR_IO, "can not open %s: %s", path, strerror(errno));
    arena_init(&r->arena, 2 * LINE_BYTES_MAX);
    buf_init(&r->line, LINE_BYTES_MAX);
    r->parser = json_parser_create();
    return r->parser ? OK : fault_set(fault, ERR_NOMEM, "out of memory");
}
static void reading_end(struct reading *r) {
    if (r->file)
        fclose(r->file);
    buf_free(&r->line);
    json_parser_destroy(r->parser);
    arena_free(&r->arena);
}

static enum err line_wrong(const struct reading *r, struct fault *fault, const char *what) {
    return fault_set(fault, ERR_INVALID, "line %llu: %s", (unsigned long long)r->number, what);
}

/* A member's value as JSON text, in the arena. */
static struct str member_text(struct reading *r, const struct json *line, struct str name) {
    const struct json *value = json_member(line, name);
    if (!value)
        return STR_NONE;
    struct buf out;
    buf_init(&out, LINE_BYTES_MAX);
    json_write(&out, value);
    struct str text = buf_ok(&out) ? arena_str(&r->arena, buf_str(&out)) : STR_NONE;
    buf_free(&out);
    return text;
}

static enum err last_line(struct reading *r, const struct json *line, struct fault *fault) {
    int64_t records;
    struct str sha256 = json_member_str(line, STR("sha256"));
    const struct json *count = json_member(line, STR("records"));
    if (!count || !json_i64(count, &records) || records < 0 ||
        sha256.len != JOURNAL_DIGEST_TEXT - 1)
        return line_wrong(r, fault, "neither a record nor the last line of an export");
    memcpy(r->text, sha256.ptr, sha256.len);
    r->sha256 = str_of(r->text, sha256.len);
    r->records = (uint64_t)records;
    r->ended = true;
    return OK;
}

/* The next line, without its end, into r->line; false at the end of the file. */
static bool line_read(struct reading *r) {
    int c;
    buf_clear(&r->line);
    while ((c = getc_unlocked(r->file)) != EOF && c != '\n')
        buf_char(&r->line, (char)c);
    return c != EOF || r->line.len > 0;
}

/* The next line as a record in the arena, or r->ended. */
static enum err line_next(struct reading *r, struct record *out, struct fault *fault) {
    r->number++;
    if (!line_read(r))
        return line_wrong(r, fault, "the file ends before its last line");
    if (!buf_ok(&r->line))
        return line_wrong(r, fault, "the line is too long");
    const struct json *line;
    int64_t seq;
    enum err err = json_parse(r->parser, &r->arena, buf_str(&r->line), false, &line, fault);
    if (err != OK || line->kind != JSON_OBJECT)
        return line_wrong(r, fault, "not a JSON object");
    const struct json *seq_value = json_member(line, STR("seq"));
    if (!seq_value)
        return last_line(r, line, fault);
    const struct json *time = json_member(line, STR("time_us"));
    if (!json_i64(seq_value, &seq) || seq < 1 || !time || !json_i64(time, &out->time_us))
        return line_wrong(r, fault, "seq or time_us is wrong or missing");
    out->seq = (uint64_t)seq;
    out->type = arena_str(&r->arena, json_member_str(line, STR("type")));
    out->subject = arena_str(&r->arena, json_member_str(line, STR("subject")));
    out->meta = member_text(r, line, STR("meta"));
    out->data = member_text(r, line, STR("data"));
    if (!out->type.ptr || !out->subject.ptr || !out->meta.ptr || !out->data.ptr)
        return line_wrong(r, fault, "type, subject, meta or data is missing");
    return OK;
}

static enum err file_check(struct reading *r, const struct registry *registry,
                           struct journal_digest *digest, uint64_t *records,
                           journal_progress *progress, void *ctx, struct fault *fault) {
    struct record record = {0};
    *records = 0;
    for (;;) {
        bool unknown;
        struct fault wrong = {0};
        arena_reset(&r->arena);
        enum err err = line_next(r, &record, fault);
        if (err != OK || r->ended)
            return err;
        if (record.seq != *records + 1)
            return line_wrong(r, fault, record.seq > 1 && *records == 0
                                            ? "the export does not begin with record 1: the "
                                              "journal it was made of had records removed"
                                            : "the record before it is missing");
        if (!journal_record_check(registry, &record, r->parser, &r->arena, &unknown, &wrong))
            return line_wrong(r, fault, wrong.detail);
        journal_digest_add(digest, &record);
        if (++*records % PROGRESS_RECORDS == 0)
            progress(ctx, record.seq);
    }
}

enum err journal_file_check(const char *path, const struct registry *registry, uint64_t *records,
                            journal_progress *progress, void *ctx, struct fault *fault) {
    struct reading r;
    struct journal_digest *digest = journal_digest_create();
    char found[JOURNAL_DIGEST_TEXT];
    if (!digest)
        return fault_set(fault, ERR_NOMEM, "out of memory");
    enum err err = reading_begin(&r, path, fault);
    if (err == OK)
        err = file_check(&r, registry, digest, records, progress, ctx, fault);
    journal_digest_end(digest, found);
    if (err == OK && *records != r.records)
        err = line_wrong(&r, fault, "it names another count of records than there are");
    if (err == OK && !str_is(r.sha256, found))
        err = line_wrong(&r, fault, "the records are not those that were exported (sha256)");
    if (err == OK && line_read(&r))
        err = line_wrong(&r, fault, "there is more behind it");
    reading_end(&r);
    return err;
}

/* Reads one batch into the arena and appends it; *n 0 at the end. */
static enum err batch_append(struct reading *r, struct journal *journal, uint32_t *n,
                             struct fault *fault) {
    struct record records[BATCH_RECORDS];
    enum err err = OK;
    *n = 0;
    arena_reset(&r->arena);
    while (*n < BATCH_RECORDS && r->arena.used < BATCH_BYTES) {
        err = line_next(r, &records[*n], fault);
        if (err != OK || r->ended)
            break;
        ++*n;
    }
    return err == OK && *n > 0 ? journal_append(journal, records, *n, fault) : err;
}

enum err journal_file_read(const char *path, struct journal *journal, uint64_t *records,
                           journal_progress *progress, void *ctx, struct fault *fault) {
    struct reading r;
    uint64_t last;
    *records = 0;
    enum err err = journal_last(journal, &last, fault);
    if (err == OK && last > 0)
        return fault_set(fault, ERR_CONFLICT,
                         "the cell has a journal already (%llu records); import needs an empty one",
                         (unsigned long long)last);
    if (err != OK)
        return err;
    err = reading_begin(&r, path, fault);
    while (err == OK && !r.ended) {
        uint32_t n;
        err = batch_append(&r, journal, &n, fault);
        for (bool again = true; err == OK && again;)
            err = journal_tidy(journal, &again, fault);
        *records += err == OK ? n : 0;
        progress(ctx, *records);
    }
    reading_end(&r);
    return err;
}
