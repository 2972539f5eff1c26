/* exceptions_payload: the message of a case: as it came and in the versions that persons made, put
 * right at a pointer, and what the present mapping makes of it. Changes nothing. */
#include "ops/exceptions_priv.h"

#include "base/clock.h"
#include "base/encode.h"
#include "connect/asking.h"
#include "core/seal.h"

#define VERSIONS_MAX 100

/* --- reading ------------------------------------------------------------------------------------- */

struct record_read {
    struct query *query;
    struct keyring *keyring;
    const char *type;
    const struct json *data, *personal;
    struct event_meta meta;
    int64_t time_us;
    enum err err;
    struct fault *fault;
};

static bool record_visit(void *ctx, const struct record *record) {
    struct record_read *r = ctx;
    struct arena *arena = r->query->arena;
    struct json_parser *parser = r->query->reader->parser;
    struct str text = arena_str(arena, record->data), opened = STR_NONE;
    if (!str_is(record->type, r->type))
        return false;
    r->time_us = record->time_us;
    r->err = text.ptr ? event_meta_load(record->meta, parser, arena, &r->meta, r->fault)
                      : fault_set(r->fault, ERR_NOMEM, "no memory for the message");
    if (r->err == OK)
        r->err = json_parse(parser, arena, text, false, &r->data, r->fault);
    r->personal = r->data; /* hubs without a keyring keep it there */
    if (r->err == OK && r->meta.sealed.len) {
        r->personal = NULL;
        if (r->keyring)
            r->err = seal_open(r->keyring, &r->meta, arena, &opened, r->fault);
        if (r->err == OK && opened.ptr)
            r->err = json_parse(parser, arena, opened, false, &r->personal, r->fault);
    }
    return false;
}

static enum err record_find(struct query *query, uint64_t seq, const char *type,
                            struct keyring *keyring, struct record_read *out, struct fault *fault) {
    uint64_t next;
    *out = (struct record_read){.query = query, .keyring = keyring, .type = type, .fault = fault};
    enum err err = journal_read(query->reader->journal, seq, 1, record_visit, out, &next, fault);
    if (err == OK)
        err = out->err;
    return err == OK && !out->data
               ? fault_set(fault, ERR_NOT_FOUND, "the message is not in the journal (any more)")
               : err;
}

static void bytes_set(struct query *query, const struct json *personal, struct message *out) {
    struct fault ignored = {0};
    out->document = NULL;
    out->text = out->base64 = STR_NONE;
    if (!personal)
        return;
    out->document = json_member(personal, STR("document"));
    if (out->document) {
        struct buf text;
        buf_init(&text, 0);
        json_write(&text, out->document);
        out->text = arena_str(query->arena, buf_str(&text));
        buf_free(&text);
        return;
    }
    out->text = json_member_str(personal, STR("text"));
    out->base64 = json_member_str(personal, STR("base64"));
    if (out->text.len && json_parse(query->reader->parser, query->arena, out->text, false,
                                    &out->document, &ignored) != OK)
        out->document = NULL;
}

enum err message_read(struct query *query, const struct case_row *row, bool original,
                      struct keyring *keyring, struct message *out, struct fault *fault) {
    struct record_read read;
    enum err err = record_find(query, (uint64_t)row->payload_seq, EVENT_PAYLOAD_RECEIVED, keyring,
                               &read, fault);
    if (err != OK)
        return err;
    *out = (struct message){.seq = row->payload_seq, .received_us = read.time_us,
                            .payload_id = json_member_str(read.data, STR("payload_id")),
                            .connector = json_member_str(read.data, STR("connector")),
                            .topic = json_member_str(read.data, STR("topic")),
                            .content_type = json_member_str(read.data, STR("content_type"))};
    if (!original && row->edition_seq > 0) {
        err = record_find(query, (uint64_t)row->edition_seq, EVENT_PAYLOAD_EDITED, keyring, &read,
                          fault);
        if (err != OK)
            return err;
    }
    bytes_set(query, read.personal, out);
    return OK;
}

/* --- as JSON ------------------------------------------------------------------------------------- */

static void member_at(struct buf *out, const char *name, int64_t us) {
    buf_printf(out, ",\"%s\":\"", name);
    instant_write(out, (struct instant){.us = us});
    buf_char(out, '"');
}

/* The versions that persons made, oldest first. */
static enum err versions_write(struct query *query, const struct message *message,
                               struct fault *fault) {
    uint64_t *seqs = arena_array(query->arena, VERSIONS_MAX, sizeof *seqs);
    uint32_t count = 0, written = 0;
    struct reader *reader = query->reader;
    enum err err = seqs ? reader->ops->refs(reader, message->payload_id, seqs, VERSIONS_MAX, &count,
                                            fault)
                        : fault_set(fault, ERR_NOMEM, "no memory for the versions");
    buf_lit(query->out, ",\"versions\":[");
    for (uint32_t i = 0; err == OK && i < count; i++) {
        struct record_read read;
        struct fault none = {0};
        if (record_find(query, seqs[i], EVENT_PAYLOAD_EDITED, NULL, &read, &none) != OK)
            continue;
        buf_printf(query->out, "%s{\"seq\":%llu", written++ ? "," : "", (unsigned long long)seqs[i]);
        member_at(query->out, "at", read.time_us);
        query_member(query, "by", json_member_str(read.data, STR("by")));
        query_member(query, "reason", json_member_str(read.data, STR("reason")));
        const struct json *changed = json_member(read.data, STR("changed"));
        buf_lit(query->out, ",\"changed\":");
        if (changed)
            json_write(query->out, changed);
        else
            buf_lit(query->out, "[]");
        buf_char(query->out, '}');
    }
    buf_char(query->out, ']');
    return err;
}

enum err message_write(struct query *query, const struct case_row *row, const struct message *m,
                       struct fault *fault) {
    struct buf *out = query->out;
    buf_lit(out, ",\"payload\":{\"payload_id\":");
    buf_json_str(out, m->payload_id);
    buf_printf(out, ",\"seq\":%lld", (long long)m->seq);
    query_member(query, "connector", m->connector);
    query_member(query, "topic", m->topic);
    query_member(query, "content_type", m->content_type);
    member_at(out, "received_at", m->received_us);
    buf_printf(out, ",\"version_seq\":%lld",
               (long long)(row->edition_seq ? row->edition_seq : m->seq));
    if (m->document) {
        buf_lit(out, ",\"document\":");
        json_write(out, m->document);
    } else if (m->text.ptr) {
        query_member(query, "text", m->text);
    } else if (m->base64.ptr) {
        query_member(query, "base64", m->base64);
    } else {
        buf_lit(out, ",\"hidden\":");
        buf_json_str(out, query->reader->keyring
                              ? STR("it was erased")
                              : STR("only for callers with the scope " SCOPE_PERSONAL));
    }
    enum err err = versions_write(query, m, fault);
    buf_char(out, '}');
    return err;
}

/* --- putting right --------------------------------------------------------------------------------- */

struct setting {
    struct str *tokens;
    uint32_t count;
    const struct json *value;
    struct str text;
    bool missing;
};

static void value_write(struct buf *out, const struct json *present, const struct setting *set) {
    if (set->value)
        json_write(out, set->value);
    else if (present && present->kind != JSON_STRING && present->kind != JSON_NULL)
        buf_str_add(out, set->text); /* JSON as it is: parsed again behind this */
    else
        buf_json_str(out, set->text);
}

static void set_write(struct buf *out, const struct json *node, struct setting *set,
                      uint32_t depth);

static void member_write(struct buf *out, const struct json *value, struct setting *set,
                         uint32_t depth) {
    if (depth + 1 == set->count)
        value_write(out, value, set);
    else if (value)
        set_write(out, value, set, depth + 1);
    else
        set->missing = true;
}

static void object_write(struct buf *out, const struct json *node, struct setting *set,
                         uint32_t depth) {
    const struct json *key = json_first(node);
    bool found = false;
    buf_char(out, '{');
    for (uint32_t i = 0; i < node->count; i++) {
        const struct json *value = json_next(key);
        if (i)
            buf_char(out, ',');
        buf_json_str(out, key->text);
        buf_char(out, ':');
        if (!found && str_eq(key->text, set->tokens[depth])) {
            found = true;
            member_write(out, value, set, depth);
        } else {
            json_write(out, value);
        }
        key = json_next(value);
    }
    if (!found) {
        if (node->count)
            buf_char(out, ',');
        buf_json_str(out, set->tokens[depth]);
        buf_char(out, ':');
        member_write(out, NULL, set, depth);
    }
    buf_char(out, '}');
}

static void array_write(struct buf *out, const struct json *node, struct setting *set,
                        uint32_t depth) {
    const struct json *value = json_first(node);
    uint64_t at = node->count;
    bool end = str_is(set->tokens[depth], "-");
    if (!end && (!str_u64(set->tokens[depth], &at) || at >= node->count))
        set->missing = true;
    buf_char(out, '[');
    for (uint32_t i = 0; i < node->count; i++, value = json_next(value)) {
        if (i)
            buf_char(out, ',');
        if (!end && i == at)
            member_write(out, value, set, depth);
        else
            json_write(out, value);
    }
    if (end) {
        if (node->count)
            buf_char(out, ',');
        member_write(out, NULL, set, depth);
    }
    buf_char(out, ']');
}

static void set_write(struct buf *out, const struct json *node, struct setting *set,
                      uint32_t depth) {
    if (node->kind == JSON_OBJECT)
        object_write(out, node, set, depth);
    else if (node->kind == JSON_ARRAY)
        array_write(out, node, set, depth);
    else
        set->missing = true;
}

/* "/a~1b/0" into "a/b" and "0" (RFC 6901). False: it is none, or too long. */
static bool pointer_split(struct arena *arena, struct str pointer, struct setting *set) {
    uint32_t count = 0;
    if (pointer.len < 2 || pointer.ptr[0] != '/')
        return false;
    for (size_t i = 0; i < pointer.len; i++)
        count += pointer.ptr[i] == '/';
    if (count > PAYLOAD_DEPTH_MAX)
        return false;
    set->tokens = arena_array(arena, count, sizeof *set->tokens);
    struct str rest = str_of(pointer.ptr + 1, pointer.len - 1);
    for (; set->tokens && set->count < count; set->count++) {
        struct str token = str_cut(&rest, '/');
        char *copy = arena_bytes(arena, token.len + 1);
        size_t n = 0;
        if (!copy)
            return false;
        for (size_t i = 0; i < token.len; i++) {
            bool escape = token.ptr[i] == '~' && i + 1 < token.len &&
                          (token.ptr[i + 1] == '0' || token.ptr[i + 1] == '1');
            copy[n++] = escape ? (token.ptr[++i] == '0' ? '~' : '/') : token.ptr[i];
        }
        set->tokens[set->count] = str_of(copy, n);
    }
    return set->tokens != NULL;
}

enum err document_set(struct query *query, const struct json *document, struct str pointer,
                      const struct json *value, struct str text, struct str *out,
                      struct fault *fault) {
    struct setting set = {.value = value, .text = text};
    struct buf written;
    if (!pointer_split(query->arena, pointer, &set))
        return fault_set(fault, ERR_INVALID, "%.*s is no JSON Pointer to a member",
                         (int)(pointer.len < 200 ? pointer.len : 200), pointer.ptr);
    buf_init(&written, (size_t)PAYLOAD_BYTES_MAX);
    set_write(&written, document, &set, 0);
    *out = buf_ok(&written) ? arena_str(query->arena, buf_str(&written)) : STR_NONE;
    buf_free(&written);
    if (set.missing)
        return fault_set(fault, ERR_INVALID, "the message has no place %.*s",
                         (int)(pointer.len < 200 ? pointer.len : 200), pointer.ptr);
    return out->ptr ? OK : fault_set(fault, ERR_NOMEM, "no memory for the message");
}

/* --- what the mapping makes of it ------------------------------------------------------------------ */

struct preview {
    struct query *query;
    const struct message *message;
    const struct connectors *connectors; /* taken, while its parts are shown */
    const struct connector_receive *receive;
    const char *stage; /* that it did not pass; NULL: all */
    struct mapping_trace trace;
    bool traced;
    struct str nothing;
};

static enum err command_check(struct preview *p, struct str command, const struct json *document,
                              struct fault *fault) {
    struct core *core = p->query->reader->core;
    const struct command_type *type = registry_command(core_registry(core), command);
    struct command_context context = {.config = core_config(core), .clock = core_clock(core),
                                      .fact = true};
    void *body;
    enum err err = type ? shape_decode(type->shape, document, p->query->arena, STR(""), &body, fault)
                        : fault_set(fault, ERR_INVALID, "there is no command \"%.*s\"",
                                    (int)(command.len < 64 ? command.len : 64), command.ptr);
    if (err == OK && type->check)
        err = type->check(&context, body, p->query->arena, fault);
    return err;
}

/* What the state says of it shows only when it is done. */
static enum err preview_check(struct preview *p, const struct json *mapped, struct fault *fault) {
    const struct connector_receive *receive = p->receive;
    if (mapping_nothing(mapped, &p->nothing))
        return OK;
    p->stage = "document-invalid";
    if (receive->commands.count == 0)
        return command_check(p, receive->command, mapped, fault);
    uint32_t count = mapping_routes(mapped);
    enum err err = count ? OK : fault_set(fault, ERR_INVALID, "the mapping names no command");
    for (uint32_t i = 0; i < count && err == OK; i++) {
        struct mapping_route route;
        if (!mapping_route(mapped, i, &route))
            return fault_set(fault, ERR_INVALID, "the mapping names no command");
        err = command_check(p, receive->command.len ? receive->command : route.command, route.document,
                            fault);
    }
    return err;
}

static enum err preview_run(struct preview *p, struct fault *fault) {
    struct query *query = p->query;
    const struct ops_context *context = query->ctx;
    const struct settings *settings = &core_config(query->reader->core)->settings;
    p->connectors = roster_take(context->outlook.roster);
    const struct connector *connector = connector_find(p->connectors, p->message->connector);
    const struct json *mapped;
    p->receive = connector ? connector_topic(connector, p->message->topic) : NULL;
    p->stage = "connector-missing";
    if (!p->receive || !p->receive->source)
        return fault_set(fault, ERR_INVALID, "no connector takes %.*s/%.*s any more",
                         STR_FMT(p->message->connector), STR_FMT(p->message->topic));
    p->stage = "payload-malformed";
    if (!p->message->document)
        return fault_set(fault, ERR_INVALID,
                         p->message->text.ptr || p->message->base64.ptr
                             ? "the message is no JSON"
                             : "the message was erased: there is nothing left to map");
    struct mapper *mapper = mapper_create((struct mapping_limits){
        .instructions_max = settings->map_instructions_max, .bytes_max = settings->map_bytes_max,
        .looks_max = settings->map_looks_max});
    if (!mapper)
        return fault_set(fault, ERR_NOMEM, "no memory for a mapping");
    struct asking_looks looks = {0};
    struct asking asking = {.core = query->reader->core, .parser = query->reader->parser, .looks = &looks};
    mapper_hub(mapper, &asking_hub, &asking);
    p->stage = "mapping-failed";
    enum err err = mapper_trace(mapper, p->receive->source, p->message->document, query->arena,
                                &mapped, &p->trace, fault);
    p->traced = err == OK;
    if (err == ERR_INVALID && mapper_problem(mapper)->code.kind.ptr)
        p->stage = MAPPING_CODE_UNMAPPED;
    if (err == ERR_UNAVAILABLE) {
        p->stage = "not-tried";
        fault_set(fault, err, "the mapping looks at an order: a retry tells what comes of it");
    }
    if (err == OK)
        err = preview_check(p, mapped, fault);
    if (err == OK)
        p->stage = NULL;
    mapper_destroy(mapper);
    return err;
}

/* What is said of a message, without what is personal in it. */
static struct str said(const struct preview *p, struct str text) {
    struct str masked = p->message->document
                            ? seal_mask_likely(text, p->message->document, p->query->arena)
                            : text;
    return masked.ptr ? masked : STR("…");
}

static void faults_write(const struct preview *p, const struct fault *fault, struct buf *out) {
    buf_lit(out, ",\"faults\":[");
    for (const struct fault_item *item = fault->first; item; item = item->next) {
        buf_str_add(out, item == fault->first ? STR("{\"pointer\":") : STR(",{\"pointer\":"));
        buf_json_str(out, item->pointer.len ? item->pointer : STR(""));
        buf_lit(out, ",\"detail\":");
        buf_json_str(out, said(p, item->detail));
        buf_char(out, '}');
    }
    buf_char(out, ']');
}

void preview_write(struct query *query, const struct message *message, struct buf *out) {
    struct preview p = {.query = query, .message = message};
    struct fault fault;
    fault_init(&fault, query->arena);
    enum err err = preview_run(&p, &fault);
    buf_printf(out, "{\"outcome\":\"%s\"", err != OK ? p.stage : p.nothing.ptr ? "nothing" : "maps");
    if (p.receive && p.receive->source) {
        buf_lit(out, ",\"mapping\":");
        buf_json_str(out, p.receive->source->name);
    }
    if (err != OK) {
        buf_lit(out, ",\"cause\":");
        buf_json_str(out, said(&p, str_c(fault.detail[0] ? fault.detail : err_info(err)->title)));
        faults_write(&p, &fault, out);
    } else if (p.nothing.ptr) {
        buf_lit(out, ",\"cause\":");
        buf_json_str(out, said(&p, p.nothing));
    }
    if (p.traced) {
        buf_lit(out, ",\"trace\":");
        mapping_trace_write(&p.trace, out);
    }
    buf_char(out, '}');
    connectors_release(p.connectors);
}
