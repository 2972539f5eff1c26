/* receive: see receive.h. Looks at no more of a payload than it must: its signature, whether it
 * is JSON (which is stored as it is, anything else as a text), and the member that dedup or key
 * are declared to be. */
#include "connect/receive.h"

#include "base/encode.h"
#include "base/mem.h"
#include "base/pan.h"
#include "connect/parcel.h"
#include "connect/replay.h"
#include "connect/signature.h"
#include "core/core.h"
#include "domain/inbound.h"
#include "retail/cards.h"

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

/* The body, and its nodes where it is JSON. */
struct message {
    struct arena *arena;
    struct str body;
    const struct json *doc;
    bool strict; /* setting card_numbers_strict */
};

/* Nested no deeper than still reads inside an event. */
static bool is_shallow(const struct json *doc) {
    const struct json *end[PAYLOAD_DEPTH_MAX]; /* of the containers around the node */
    uint32_t depth = 0;
    for (const struct json *at = doc; at < doc + doc->next; at++) {
        while (depth > 0 && at >= end[depth - 1])
            depth--;
        if (at->kind != JSON_ARRAY && at->kind != JSON_OBJECT)
            continue;
        if (depth == PAYLOAD_DEPTH_MAX)
            return false;
        end[depth++] = at + at->next;
    }
    return true;
}

/* Stands in the journal as it is: JSON on one line (records are lines in exports and feeds). */
static bool is_document(const struct message *message) {
    struct str body = message->body;
    return message->doc && !memchr(body.ptr, '\n', body.len) && !memchr(body.ptr, '\r', body.len) &&
           is_shallow(message->doc);
}

static struct str hash_text(struct arena *arena, struct str value) {
    struct hash128 hash = hash128(value, 0);
    return arena_printf(arena, "%016llx%016llx", (unsigned long long)hash.hi,
                        (unsigned long long)hash.lo);
}

static struct str place_value(const struct connector_place *place, const struct message *message,
                              const struct receive_header_source *headers) {
    if (!place)
        return STR_NONE;
    struct str value = STR_NONE;
    if (place->header.len && headers) {
        value = str_trim(headers->header(headers->ctx, place->header));
    } else if (place->member.len) {
        value = member_text(message->doc, place->member);
    }
    if (value.len == 0 || !is_text(value))
        return STR_NONE;
    if (value.len > PLACE_BYTES_MAX)
        return hash_text(message->arena, value);
    value = arena_str(message->arena, value);
    if (cards_in_id(value, message->strict))
        pan_mask((char *)(uintptr_t)value.ptr, value.len);
    return value;
}

/* The sender's id of the message: what stands where the connector or the scheme of the signature
 * says. Signed bytes that came a short while ago keep the id they had then (replay.h). */
static struct str dedup_id(const struct connectors *connectors,
                           const struct connector *connector,
                           const struct connector_receive *receive, const struct message *message,
                           const struct receive_header_source *headers, int64_t now_us) {
    const struct connector_signature *signature = receive->signature;
    struct connector_place usual = signature_dedup((enum signature_scheme)signature->scheme);
    struct str id = place_value(receive->dedup ? receive->dedup : &usual, message, headers);
    if (signature->replay_window_s <= 0 || !connectors->replay)
        return id;
    uint64_t seed = hash64(receive->topic, hash64(connector->name, 0));
    struct hash128 bytes = hash128(message->body, seed);
    if (!id.len)
        id = arena_printf(message->arena, "at-%lld-%016llx", (long long)now_us,
                          (unsigned long long)bytes.hi);
    else if (id.len > REPLAY_ID_BYTES)
        id = hash_text(message->arena, id);
    return replay_id(connectors->replay, bytes, id, now_us, signature->replay_window_s * 1000000,
                     message->arena);
}

static void set_text(struct payload *payload, struct str *member, int row, struct str value) {
    *member = value;
    if (value.ptr)
        payload->has |= UINT64_C(1) << row;
}

/* From here on without card numbers: what is stored, mapped and passed on is masked. The signature
 * was checked on what came. */
static enum err mask_cards(struct message *message, struct str *masked,
                           struct fault *fault) {
    struct arena *arena = message->arena;
    struct cards_masked found = {0};
    const struct json *doc = message->doc;
    if (!doc) {
        if (!pan_in(message->body))
            return OK;
        message->body = arena_str(arena, message->body);
        if (!message->body.ptr)
            return fault_set(fault, ERR_NOMEM, "no memory for the payload");
        pan_mask((char *)(uintptr_t)message->body.ptr, message->body.len);
        *masked = STR("the message");
        return OK;
    }
    enum err err = cards_mask(doc, message->body, message->strict, arena, &message->doc, &found, fault);
    if (err != OK || found.count == 0)
        return err;
    struct buf out;
    buf_init(&out, 0);
    json_write(&out, message->doc);
    message->body = buf_ok(&out) ? arena_str(arena, buf_str(&out)) : STR_NONE;
    buf_free(&out);
    *masked = found.where;
    return message->body.ptr ? OK : fault_set(fault, ERR_NOMEM, "no memory for the payload");
}

static enum err keep_body(struct payload *payload, const struct message *message,
                          struct fault *fault) {
    struct str body = message->body;
    if (is_document(message)) {
        set_text(payload, &payload->document, PAYLOAD_DOCUMENT, body);
        return OK;
    }
    if (is_text(body)) {
        set_text(payload, &payload->text, PAYLOAD_TEXT, body);
        return OK;
    }
    struct buf out;
    buf_init(&out, 0);
    base64_write(&out, body);
    struct str text = buf_ok(&out) ? arena_str(message->arena, buf_str(&out)) : STR_NONE;
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
    if (!value.ptr || value.len > max || !is_text(value) || pan_in(value))
        return STR_NONE;
    return arena_str(arena, value);
}

/* Payload and command, of what came over the wire or was fetched; `headers` NULL: it had none. */
static enum err payload_prepare(struct core *core, const struct connector *connector,
                                const struct connector_receive *receive, struct str dedup,
                                const struct message *message, struct str masked,
                                const struct receive_header_source *headers, struct str content_type,
                                struct command *out, struct fault *fault) {
    struct arena *arena = message->arena;
    struct payload *payload = arena_new(arena, struct payload);
    if (!payload)
        return fault_set(fault, ERR_NOMEM, "no memory for the payload");
    set_text(payload, &payload->connector, PAYLOAD_CONNECTOR,
             arena_str(arena, connector->name)); /* the connector may go before the command */
    set_text(payload, &payload->topic, PAYLOAD_TOPIC, arena_str(arena, receive->topic));
    set_text(payload, &payload->dedup_id, PAYLOAD_DEDUP_ID, dedup);
    set_text(payload, &payload->key, PAYLOAD_KEY, place_value(receive->key, message, headers));
    set_text(payload, &payload->version, PAYLOAD_VERSION,
             place_value(receive->version, message, headers));
    set_text(payload, &payload->content_type, PAYLOAD_CONTENT_TYPE, content_type);
    set_text(payload, &payload->backstop, PAYLOAD_BACKSTOP,
             receive->backstop.len ? arena_str(arena, receive->backstop) : STR_NONE);
    enum err err = keep_body(payload, message, fault);
    if (!err)
        err = command_prepare_fact(core, &inbound_receive_command, arena, payload, out, fault);
    if (err)
        return err;
    atomic_fetch_add_explicit(&connector->counters->received, 1, memory_order_relaxed);
    atomic_store_explicit(&connector->counters->received_us, out->now_us, memory_order_relaxed);
    traffic_received(&connector->counters->traffic, receive->topic, out->now_us);
    out->masked = masked;
    out->actor = arena_printf(arena, "connector:%.*s", STR_FMT(connector->name));
    return OK;
}

struct str receive_member(const struct connector_place *place, const struct json *doc, bool strict,
                          struct arena *arena) {
    struct message message = {.arena = arena, .doc = doc, .strict = strict};
    return place && place->member.len ? place_value(place, &message, NULL) : STR_NONE;
}

/* What was left out for want of memory (its id, its key, that it is JSON) must not pass for what it is. */
static enum err whole(uint64_t refused, enum err err, struct fault *fault) {
    return err == OK && mem_refused() != refused ? fault_set(fault, ERR_NOMEM, "no memory for the payload") : err;
}

enum err receive_item(struct core *core, const struct connector *connector,
                      const struct connector_receive *receive, struct str dedup,
                      const struct json *doc, struct str body, struct arena *arena,
                      struct command *out, struct fault *fault) {
    uint64_t refused = mem_refused();
    struct message message = {.arena = arena, .body = body, .doc = doc};
    struct str masked = STR_NONE;
    message.strict = core_config(core)->settings.card_numbers_strict != 0;
    enum err err = mask_cards(&message, &masked, fault);
    if (err == OK)
        err = payload_prepare(core, connector, receive, dedup, &message, masked, NULL, STR("application/json"), out,
                              fault);
    return whole(refused, err, fault);
}

enum err receive_message(struct core *core, const struct connector *connector,
                         const struct connector_receive *receive,
                         const struct receive_header_source *headers, struct str dedup, struct str body,
                         struct str content_type, struct json_parser *parser, struct arena *arena,
                         struct command *out, struct fault *fault) {
    uint64_t refused = mem_refused();
    struct message message = {.arena = arena, .body = body};
    struct fault ignored = {0};
    struct str masked = STR_NONE;
    if (json_parse(parser, arena, body, false, &message.doc, &ignored) != OK)
        message.doc = NULL; /* kept all the same: who maps it will say so */
    message.strict = core_config(core)->settings.card_numbers_strict != 0;
    enum err err = mask_cards(&message, &masked, fault);
    if (err)
        return err;
    struct str id = place_value(receive->dedup, &message, headers);
    if (!id.len)
        id = dedup.len <= PLACE_BYTES_MAX && is_text(dedup) ? dedup : hash_text(arena, dedup);
    if (!content_type.len || content_type.len > 256 || !is_text(content_type))
        content_type = STR("application/json");
    err = payload_prepare(core, connector, receive, id, &message, masked, headers, content_type, out, fault);
    return whole(refused, err, fault);
}

/* The command of a message whose signature is good; read into the parcel where there is one. */
static enum err receive_signed(struct core *core, const struct connectors *connectors,
                               const struct connector *connector, const struct connector_receive *receive,
                               const struct receive_header_source *headers, struct message *message,
                               int64_t now_us, struct command *out, struct fault *fault) {
    struct str masked = STR_NONE;
    enum err err = mask_cards(message, &masked, fault);
    return err ? err
               : payload_prepare(core, connector, receive,
                                 dedup_id(connectors, connector, receive, message, headers, now_us), message,
                                 masked, headers,
                                 header_text(message->arena, headers, STR("content-type"), 256), out, fault);
}

enum err receive_prepare(struct core *core, const struct connectors *connectors,
                         struct str connector_name, struct str topic,
                         const struct receive_header_source *headers, struct str body,
                         struct json_parser *parser, struct arena *arena, struct command *out,
                         struct fault *fault) {
    uint64_t refused = mem_refused();
    const struct connector *connector = connector_find(connectors, connector_name);
    const struct connector_receive *receive = connector ? connector_topic(connector, topic) : NULL;
    if (!receive)
        return fault_set(fault, ERR_NOT_FOUND, "no connector takes this topic");
    struct signature_message came = {.headers = headers, .body = body, .parser = parser,
                                     .now_us = clock_now_us(core_clock(core))};
    enum err err = signature_verify(receive->signature, &came, fault);
    if (err) {
        atomic_fetch_add_explicit(&connector->counters->rejected, 1, memory_order_relaxed);
        return err;
    }
    err = headers->unpack ? headers->unpack(headers->ctx, body, &body, fault) : OK;
    if (err)
        return err;
    struct message message = {.arena = arena, .body = body};
    struct fault ignored = {0};
    struct parcel *parcel = connectors->parcels && core_keyring(core) ? parcel_create() : NULL;
    if (json_parse(parser, parcel ? &parcel->arena : arena, body, false, &message.doc, &ignored) != OK)
        message.doc = NULL; /* kept all the same: who maps it will say so */
    const struct json *came_as = message.doc;
    message.strict = core_config(core)->settings.card_numbers_strict != 0;
    err = receive_signed(core, connectors, connector, receive, headers, &message, came.now_us, out, fault);
    err = whole(refused, err, fault);
    if (err == OK && parcel && came_as && message.doc == came_as &&
        shape_has((const struct payload *)out->body, PAYLOAD_DOCUMENT)) {
        parcel->doc = came_as;
        parcels_put(connectors->parcels, parcel, out->id, clock_tick_us(core_clock(core)));
    } else {
        parcel_free(parcel); /* nothing of the command lies there */
    }
    return err;
}
