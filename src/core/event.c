/* event: see event.h. From records to events, and to CloudEvents. Holds no state. */
#include "core/event.h"

#include "core/capability.h"
#include "core/seal.h"

/* Identifiers that come from outside; the gateway bounds them tighter. */
#define FOREIGN_ID_BYTES 1024
/* A bound for the text of a box alone: what goes into one is bounded by who makes the document. */
#define SEALED_BYTES_MAX (INT64_C(256) << 20)

static const struct shape_field event_meta_rows[] = {
    {.name = "correlation", .kind = SHAPE_ID, .offset = offsetof(struct event_meta, correlation),
     .max = FOREIGN_ID_BYTES, .since = 1,
     .help = "Joins everything that one business case did"},
    {.name = "traceparent", .kind = SHAPE_ID, .offset = offsetof(struct event_meta, traceparent),
     .max = FOREIGN_ID_BYTES, .since = 1, .help = "W3C Trace Context of the request"},
    {.name = "actor", .kind = SHAPE_ID, .offset = offsetof(struct event_meta, actor),
     .max = FOREIGN_ID_BYTES, .since = 1, .help = "Who asked: API key id, connector or timer"},
    {.name = "command", .kind = SHAPE_ID, .offset = offsetof(struct event_meta, command),
     .since = 1, .help = "Type of the command"},
    {.name = "first", .kind = SHAPE_INTEGER, .offset = offsetof(struct event_meta, first),
     .since = 1, .help = "seq of the first event of the same command"},
    {.name = "cause", .kind = SHAPE_INTEGER, .offset = offsetof(struct event_meta, cause),
     .since = 1, .help = "seq of the event that the command followed from"},
    {.name = "person", .kind = SHAPE_ID, .offset = offsetof(struct event_meta, person),
     .max = FOREIGN_ID_BYTES, .since = 1,
     .help = "Whose data it is: a customer id, the order of a guest, a payload"},
    {.name = "key", .kind = SHAPE_INTEGER, .offset = offsetof(struct event_meta, key),
     .since = 1, .help = "Number of the key of `sealed`"},
    {.name = "sealed_at", .kind = SHAPE_CODE, .offset = offsetof(struct event_meta, sealed_at),
     .since = 1, .help = "Member of the data whose personal members are sealed"},
    {.name = "sealed", .kind = SHAPE_TEXT, .offset = offsetof(struct event_meta, sealed),
     .max = SEALED_BYTES_MAX, .since = 1,
     .help = "The personal members: base 64 of nonce, ciphertext and tag of AES-256-GCM"},
    {.name = "idem", .kind = SHAPE_CODE, .offset = offsetof(struct event_meta, idem),
     .since = 1, .help = "Scope and Idempotency-Key, hashed"},
    {.name = "idem_key", .kind = SHAPE_ID, .offset = offsetof(struct event_meta, idem_key),
     .max = FOREIGN_ID_BYTES, .since = 1, .help = "The Idempotency-Key as given"},
    {.name = "natural", .kind = SHAPE_CODE, .offset = offsetof(struct event_meta, natural),
     .since = 1, .help = "Kind and natural key, hashed"},
    {.name = "fingerprint", .kind = SHAPE_CODE,
     .offset = offsetof(struct event_meta, fingerprint), .since = 1,
     .help = "Hash of the command's body"},
    {.name = "status", .kind = SHAPE_INTEGER, .offset = offsetof(struct event_meta, status),
     .since = 1, .help = "HTTP status of the first answer"},
    {.name = "answer", .kind = SHAPE_RAW, .offset = offsetof(struct event_meta, answer),
     .since = 1, .help = "Body of the first answer"},
    {.name = "partner", .kind = SHAPE_TEXT, .offset = offsetof(struct event_meta, partner),
     .max = FOREIGN_ID_BYTES, .since = 1, .help = "What it is about, as a partner names it"},
    {.name = "partner_version", .kind = SHAPE_TEXT,
     .offset = offsetof(struct event_meta, partner_version), .max = FOREIGN_ID_BYTES, .since = 1,
     .help = "Version or time of that, as the partner says"},
    {.name = "masked", .kind = SHAPE_TEXT, .offset = offsetof(struct event_meta, masked), .since = 1,
     .help = "Where card numbers were masked at the door"},
    {.name = "from", .kind = SHAPE_CODE, .offset = offsetof(struct event_meta, from), .since = 1,
     .help = "Address of the client that asked"},
    {.name = "more", .kind = SHAPE_INTEGER, .offset = offsetof(struct event_meta, more), .since = 1,
     .help = "Commands of the same partner's message that follow"},
};
SHAPE_DEFINE(event_meta_shape, "event_meta", struct event_meta,
             "What is stored beside an event's data", event_meta_rows);

/* --- meta, the short way -------------------------------------------------------------------
 * shape_encode writes the members in the table's order, without spaces. What looks different
 * in any way (another writer, an escape, a member of a newer program) is left to the parser. */

/* The end of the JSON value at `at`, strings and nesting minded; NULL where it does not end. */
static const char *value_end(const char *at, const char *end) {
    int depth = 0;
    for (bool quoted = false; at < end; at++) {
        char c = *at;
        if (quoted) {
            if (c == '\\')
                at++;
            else if (c == '"')
                quoted = false;
            continue;
        }
        if (c == '"')
            quoted = true;
        else if (c == '{' || c == '[')
            depth++;
        else if (depth == 0 && (c == ',' || c == '}'))
            return at;
        else if (c == '}' || c == ']')
            depth--;
    }
    return NULL;
}

/* The row of the member whose name begins at `at`, from row `row` on; moves behind the colon. */
static uint32_t name_scan(const char **at, const char *end, uint32_t row) {
    for (; row < event_meta_shape.count; row++) {
        struct str name = str_c(event_meta_rows[row].name);
        if ((size_t)(end - *at) > name.len + 3 && memcmp(*at + 1, name.ptr, name.len) == 0 &&
            (*at)[name.len + 1] == '"' && (*at)[name.len + 2] == ':') {
            *at += name.len + 3;
            break;
        }
    }
    return row;
}

static const char *scalar_scan(const struct shape_field *field, const char *at, const char *end,
                               void *member) {
    if (field->kind == SHAPE_RAW) {
        const char *stop = value_end(at, end);
        if (!stop || stop == at)
            return NULL;
        *(struct str *)member = str_of(at, (size_t)(stop - at));
        return stop;
    }
    if (field->kind == SHAPE_INTEGER) {
        const char *stop = at;
        while (stop < end && *stop != ',' && *stop != '}')
            stop++;
        return str_i64(str_of(at, (size_t)(stop - at)), member) ? stop : NULL;
    }
    if (*at++ != '"')
        return NULL;
    const char *stop = memchr(at, '"', (size_t)(end - at));
    if (!stop || memchr(at, '\\', (size_t)(stop - at)))
        return NULL;
    *(struct str *)member = str_of(at, (size_t)(stop - at));
    return stop + 1;
}

static bool meta_scan(struct str json, struct event_meta *out) {
    *out = (struct event_meta){0};
    if (json.len < 2 || json.ptr[0] != '{' || json.ptr[json.len - 1] != '}')
        return false;
    if (json.len == 2)
        return true;
    const char *at = json.ptr + 1, *end = json.ptr + json.len;
    for (uint32_t row = 0; at < end && *at == '"'; row++) {
        row = name_scan(&at, end, row);
        if (row >= event_meta_shape.count || at >= end)
            return false;
        const struct shape_field *field = &event_meta_rows[row];
        at = scalar_scan(field, at, end, (char *)out + field->offset);
        if (!at || at >= end)
            return false;
        out->has |= UINT64_C(1) << row;
        if (*at == '}')
            return at + 1 == end;
        if (*at++ != ',')
            return false;
    }
    return false;
}

enum err event_meta_load(struct str json, struct json_parser *parser, struct arena *arena,
                         struct event_meta *out, struct fault *fault) {
    if (meta_scan(json, out))
        return OK;
    *out = (struct event_meta){0};
    const struct json *value;
    void *loaded;
    enum err err = json_parse(parser, arena, json, false, &value, fault);
    if (err == OK)
        err = shape_load(&event_meta_shape, value, arena, &loaded, fault);
    if (err == OK)
        *out = *(struct event_meta *)loaded;
    return err;
}

enum err event_from_record(const struct registry *registry, const struct record *record,
                           struct json_parser *parser, struct arena *arena, struct event *out,
                           struct fault *fault) {
    *out = (struct event){.seq = record->seq,
                          .time_us = record->time_us,
                          .subject = record->subject,
                          .data_json = record->data};
    enum err err = event_meta_load(record->meta, parser, arena, &out->meta, fault);
    if (err != OK)
        return err;
    out->type = registry_event(registry, record->type);
    if (!out->type)
        return fault_set(fault, ERR_NOT_FOUND, "event %llu is of the unknown type \"%.*s\"",
                         (unsigned long long)record->seq, STR_FMT(record->type));
    if (!out->type->shape)
        return OK;
    const struct json *value;
    void *data;
    err = json_parse(parser, arena, record->data, false, &value, fault);
    if (err == OK)
        err = shape_load(out->type->shape, value, arena, &data, fault);
    if (err == OK)
        out->data = data;
    return err;
}

struct str event_id(struct arena *arena, struct str cell, uint64_t seq) {
    return arena_printf(arena, "%.*s-%llu", STR_FMT(cell), (unsigned long long)seq);
}

/* ,"name":"text" where there is a text; CloudEvents forbids empty ones */
static void attribute(struct buf *out, const char *name, struct str text) {
    if (text.len == 0)
        return;
    buf_printf(out, ",\"%s\":", name);
    buf_json_str(out, text);
}

enum err event_write_cloudevent(const struct record *record, struct str cell,
                                struct keyring *keyring, struct json_parser *parser,
                                struct arena *arena, struct buf *out, struct fault *fault) {
    struct event_meta meta;
    struct str data;
    enum err err = event_meta_load(record->meta, parser, arena, &meta, fault);
    if (err == OK)
        err = seal_data(keyring, record, &meta, parser, arena, &data, fault);
    if (err != OK)
        return err;
    buf_lit(out, "{\"specversion\":\"1.0\",\"id\":\"");
    buf_str_add(out, cell); /* a code: nothing in it needs escaping */
    buf_char(out, '-');
    buf_u64(out, record->seq);
    buf_lit(out, "\",\"source\":\"/penstock/");
    buf_str_add(out, cell);
    buf_lit(out, "\",\"type\":\"" EVENT_TYPE_PREFIX);
    buf_str_add(out, record->type);
    buf_lit(out, EVENT_TYPE_SUFFIX "\"");
    attribute(out, "subject", record->subject);
    buf_lit(out, ",\"time\":\"");
    instant_write(out, (struct instant){.us = record->time_us});
    buf_lit(out, "\",\"datacontenttype\":\"application/json\",\"penstockseq\":");
    buf_u64(out, record->seq);
    attribute(out, "correlationid", meta.correlation);
    attribute(out, "traceparent", meta.traceparent);
    attribute(out, "partitionkey", record->subject);
    buf_lit(out, ",\"data\":");
    buf_str_add(out, data);
    buf_char(out, '}');
    return buf_ok(out) ? OK : fault_set(fault, ERR_NOMEM, "no memory for event %llu",
                                        (unsigned long long)record->seq);
}
