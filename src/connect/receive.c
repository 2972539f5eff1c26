/* receive: see receive.h. Looks at no more of a payload than it must: its signature, and the
 * member that dedup or key are declared to be. */
#include "connect/receive.h"

#include "base/encode.h"
#include "connect/signature.h"
#include "core/core.h"
#include "domain/inbound.h"

/* Values used as ids: longer ones are cut to their hash, so that nothing is refused. */
#define PLACE_BYTES_MAX 200

/* UTF-8 without the control characters that a text in the journal may not have. */
static bool is_text(struct str body) {
    for (size_t i = 0; i < body.len; i++) {
        unsigned char c = (unsigned char)body.ptr[i];
        if (c < 0x20 && c != '\n' && c != '\r' && c != '\t')
            return false;
    }
    return utf8_valid(body);
}

/* The member "a.b" of the payload as text; absent where there is none, or no scalar. */
static struct str member_text(const struct json *doc, struct str path) {
    while (doc && path.ptr) {
        struct str part = str_cut(&path, '.');
        doc = doc->kind == JSON_OBJECT ? json_member(doc, part) : NULL;
    }
    if (!doc || (doc->kind != JSON_STRING && doc->kind != JSON_NUMBER))
        return STR_NONE;
    return doc->text;
}

/* The body as JSON, parsed when first asked for; NULL where it is none. */
struct lazy_body {
    struct json_parser *parser;
    struct arena *arena;
    struct str body;
    const struct json *doc;
    bool tried;
};

static const struct json *lazy_doc(struct lazy_body *lazy) {
    if (!lazy->tried) {
        lazy->tried = true;
        struct fault ignored = {0};
        if (json_parse(lazy->parser, lazy->arena, lazy->body, false, &lazy->doc, &ignored) != OK)
            lazy->doc = NULL;
    }
    return lazy->doc;
}

static struct str place_value(const struct connector_place *place, struct lazy_body *lazy,
                              const struct receive_header_source *headers) {
    if (!place)
        return STR_NONE;
    struct str value = STR_NONE;
    if (place->header.len) {
        value = str_trim(headers->header(headers->ctx, place->header));
    } else {
        const struct json *doc = lazy_doc(lazy);
        value = doc ? member_text(doc, place->member) : STR_NONE;
    }
    if (value.len == 0 || !is_text(value))
        return STR_NONE;
    if (value.len > PLACE_BYTES_MAX) {
        struct hash128 hash = hash128(value, 0);
        return arena_printf(lazy->arena, "%016llx%016llx", (unsigned long long)hash.hi,
                            (unsigned long long)hash.lo);
    }
    return arena_str(lazy->arena, value);
}

static void set_text(struct payload *payload, struct str *member, int row, struct str value) {
    *member = value;
    if (value.ptr)
        payload->has |= UINT64_C(1) << row;
}

static enum err keep_body(struct payload *payload, struct str body, struct arena *arena,
                          struct fault *fault) {
    if (is_text(body)) {
        set_text(payload, &payload->text, PAYLOAD_TEXT, body);
        return OK;
    }
    struct buf out;
    buf_init(&out, 0);
    base64_write(&out, body);
    struct str text = buf_ok(&out) ? arena_str(arena, buf_str(&out)) : STR_NONE;
    buf_free(&out);
    if (!text.ptr)
        return fault_set(fault, ERR_NOMEM, "no memory for the payload");
    set_text(payload, &payload->base64, PAYLOAD_BASE64, text);
    return OK;
}

/* A text that may stand in the journal, at most `max` bytes; else nothing. */
static struct str header_text(struct arena *arena, const struct receive_header_source *headers,
                              struct str name, size_t max) {
    struct str value = str_trim(headers->header(headers->ctx, name));
    if (!value.ptr || value.len > max || !is_text(value))
        return STR_NONE;
    return arena_str(arena, value);
}

enum err receive_prepare(struct core *core, const struct connectors *connectors,
                         struct str connector_name, struct str topic,
                         const struct receive_header_source *headers, struct str body,
                         struct json_parser *parser, struct arena *arena, struct command *out,
                         struct fault *fault) {
    const struct connector *connector = connector_find(connectors, connector_name);
    const struct connector_receive *receive = connector ? connector_topic(connector, topic) : NULL;
    if (!receive)
        return fault_set(fault, ERR_NOT_FOUND, "no connector takes this topic");
    int64_t now_us = clock_now_us(core_clock(core));
    enum err err = signature_verify(receive->signature, headers, body, now_us, fault);
    if (err)
        return err;
    struct payload *payload = arena_new(arena, struct payload);
    if (!payload)
        return fault_set(fault, ERR_NOMEM, "no memory for the payload");
    struct lazy_body lazy = {.parser = parser, .arena = arena, .body = body};
    set_text(payload, &payload->connector, PAYLOAD_CONNECTOR, connector->name);
    set_text(payload, &payload->topic, PAYLOAD_TOPIC, receive->topic);
    set_text(payload, &payload->dedup_id, PAYLOAD_DEDUP_ID,
             place_value(receive->dedup, &lazy, headers));
    set_text(payload, &payload->key, PAYLOAD_KEY, place_value(receive->key, &lazy, headers));
    set_text(payload, &payload->content_type, PAYLOAD_CONTENT_TYPE,
             header_text(arena, headers, STR("content-type"), 256));
    err = keep_body(payload, body, arena, fault);
    if (err)
        return err;
    err = command_prepare_fact(core, &inbound_receive_command, arena, payload, out, fault);
    if (err)
        return err;
    out->actor = arena_printf(arena, "connector:%.*s", STR_FMT(connector->name));
    return OK;
}
