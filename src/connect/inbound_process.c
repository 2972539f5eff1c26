/* inbound_process: one payload: read, map, decode, prepare the command; or say why not, so that
 * a person can decide. Changes nothing outside its slot. */
#include "base/encode.h"
#include "base/log.h"
#include "connect/inbound_priv.h"
#include "connect/receive.h"
#include "core/core.h"
#include "domain/exceptions.h"

static void bytes_take(struct payload *payload, struct str *member, enum payload_row row,
                       struct str value) {
    if (!value.ptr)
        return;
    *member = value;
    payload->has |= UINT64_C(1) << row;
}

/* The bytes that came, out of their box: the personal part of a payload is nothing else. Then
 * *data is that part. Where they were erased, the payload has none. */
static enum err bytes_open(struct slot *slot, const struct event_meta *meta,
                           struct payload *payload, const struct json **data,
                           struct fault *fault) {
    struct str text;
    const struct json *personal;
    enum err err = seal_open(core_keyring(slot->worker->inbound->core), meta, &slot->arena, &text,
                             fault);
    if (err || !text.ptr)
        return err;
    err = json_parse(slot->worker->parser, &slot->arena, text, false, &personal, fault);
    if (err)
        return err;
    bytes_take(payload, &payload->text, PAYLOAD_TEXT, json_member_str(personal, STR("text")));
    bytes_take(payload, &payload->base64, PAYLOAD_BASE64, json_member_str(personal, STR("base64")));
    *data = personal;
    return OK;
}

/* What the door has read already, while the box may still be opened: then *data is not looked at. */
static enum err parcel_open(struct slot *slot, const struct event_meta *meta, const struct payload *payload,
                            bool *opened, struct fault *fault) {
    struct parcels *parcels = slot->worker->connectors->parcels;
    struct id128 id;
    *opened = false;
    if (!parcels || !id_parse(payload->payload_id, "pay_", &id))
        return OK;
    struct parcel *parcel = parcels_take(parcels, id);
    if (!parcel)
        return OK;
    enum err err = seal_have(core_keyring(slot->worker->inbound->core), meta, opened, fault);
    if (!*opened) {
        parcel_free(parcel);
        return err;
    }
    slot->parcel = parcel;
    slot->document = parcel->doc;
    return OK;
}

/* As event_from_record, but keeps the nodes of the document, so that it is parsed once. */
enum err slot_load(struct slot *slot, const struct record *record, struct fault *fault) {
    struct event_meta meta;
    const struct json *data;
    void *payload;
    bool opened = false;
    slot->payload = NULL;
    slot->document = NULL;
    slot->seq = record->seq;
    slot->stored_us = record->time_us;
    slot->payload_subject = arena_str(&slot->arena, record->subject);
    enum err err = event_meta_load(record->meta, slot->worker->parser, &slot->arena, &meta, fault);
    if (err)
        return err;
    slot->correlation = arena_str(&slot->arena, meta.correlation);
    slot->traceparent = arena_str(&slot->arena, meta.traceparent);
    slot_span_begin(slot);
    if (!str_is(record->type, EVENT_PAYLOAD_RECEIVED))
        return OK;
    err = json_parse(slot->worker->parser, &slot->arena, record->data, false, &data, fault);
    if (!err)
        err = shape_load(&payload_shape, data, &slot->arena, &payload, fault);
    if (!err)
        err = parcel_open(slot, &meta, payload, &opened, fault);
    if (!err && !opened)
        err = bytes_open(slot, &meta, payload, &data, fault);
    if (err)
        return err;
    slot->payload = payload;
    if (!opened)
        slot->document = json_member(data, STR("document"));
    return OK;
}

enum err slot_edition(struct slot *slot, const struct record *record, struct fault *fault) {
    struct event_meta meta;
    const struct json *data;
    struct str text;
    struct arena *arena = &slot->arena;
    if (!str_is(record->type, EVENT_PAYLOAD_EDITED))
        return fault_set(fault, ERR_DAMAGED, "event %llu is no version of a payload",
                         (unsigned long long)record->seq);
    enum err err = event_meta_load(record->meta, slot->worker->parser, arena, &meta, fault);
    if (err == OK)
        err = json_parse(slot->worker->parser, arena, record->data, false, &data, fault);
    if (err == OK)
        err = seal_open(core_keyring(slot->worker->inbound->core), &meta, arena, &text, fault);
    if (err == OK && text.ptr)
        err = json_parse(slot->worker->parser, arena, text, false, &data, fault);
    if (err != OK)
        return err;
    struct payload *payload = (struct payload *)slot->payload;
    payload->has &= ~(UINT64_C(1) << PAYLOAD_DOCUMENT | UINT64_C(1) << PAYLOAD_TEXT |
                      UINT64_C(1) << PAYLOAD_BASE64);
    bytes_take(payload, &payload->text, PAYLOAD_TEXT, json_member_str(data, STR("text")));
    slot->document = json_member(data, STR("document"));
    return OK;
}

/* s as a text that may stand in the journal: controls and broken UTF-8 (a detail that was cut)
 * become spaces. */
static struct str clean(struct arena *arena, struct str s) {
    struct str copy = arena_str(arena, s.len ? s : STR("?"));
    if (!copy.ptr)
        return STR_NONE;
    char *at = (char *)copy.ptr;
    for (size_t i = 0; i < copy.len; i++) {
        if ((unsigned char)at[i] < 0x20)
            at[i] = ' ';
    }
    size_t cut = copy.len;
    for (int i = 0; i < 4 && cut > 0 && !utf8_valid(str_of(at, cut)); i++)
        cut--;
    if (utf8_valid(str_of(at, cut)))
        return str_of(at, cut);
    for (size_t i = 0; i < copy.len; i++) {
        if ((unsigned char)at[i] >= 0x80)
            at[i] = ' ';
    }
    return copy;
}

struct binding {
    struct slot *slot;
    struct str person;
};
static bool person_read(void *ctx, const struct record *record) {
    struct binding *binding = ctx;
    struct slot *slot = binding->slot;
    struct event_meta meta;
    struct fault ignored = {0};
    if (event_meta_load(record->meta, slot->worker->parser, &slot->arena, &meta, &ignored) == OK)
        binding->person = arena_str(&slot->arena, meta.person);
    return false;
}

void slot_bind(struct slot *slot, uint64_t seq) {
    struct binding binding = {.slot = slot};
    struct fault fault = {0};
    uint64_t next;
    if (tail_read(slot->worker->inbound->tail, seq, 1, person_read, &binding, &next, &fault) != OK)
        log_line(LOG_ERROR, "connect", "the journal can not be read",
                 "seq=%llu detail=%s correlation=%s%s", (unsigned long long)seq,
                 log_quote(str_c(fault.detail)), log_quote(slot->correlation),
                 log_trace(slot->traceparent));
    if (binding.person.len)
        slot->person = binding.person;
}

/* What is said of a payload stands where everybody may read it. */
static struct str said(struct slot *slot, struct str text) {
    struct str masked = slot->document ? seal_mask_likely(text, slot->document, &slot->arena) : text;
    return masked.ptr ? masked : STR("…");
}

static struct fault *fault_copy(struct slot *slot, const struct fault *from) {
    struct arena *arena = &slot->arena;
    struct fault *copy = arena_new(arena, struct fault);
    if (!copy)
        return NULL;
    fault_init(copy, arena);
    for (const struct fault_item *item = from->first; item; item = item->next)
        fault_add(copy, arena_str(arena, item->pointer), "%.*s",
                  STR_FMT(said(slot, item->detail)));
    memcpy(copy->detail, from->detail, sizeof copy->detail);
    copy->err = from->err;
    return copy;
}

/* What helps, by kind; docs/exceptions.md says more of each. */
static struct str action_of(struct str kind) {
    if (str_is(kind, "payload-malformed") || str_is(kind, "payload-unreadable"))
        return STR("Ask the sender for the message again, or write it as it should be (fix --file); "
                   "discard it with a reason where it is nothing");
    if (str_is(kind, "connector-missing"))
        return STR("Bring the connector's topic back and retry, or discard the message with a reason");
    if (str_is(kind, "document-invalid"))
        return STR("Put the message right where the cause says (fix --set), or mend the mapping and "
                   "retry; discard it with a reason where it is nothing");
    if (str_is(kind, "refused"))
        return STR("Bring about what the cause says is missing and retry, or put the message right "
                   "(fix --set); discard it with a reason where it is nothing");
    return STR("Mend the mapping and retry, or put the message right (fix --set); discard it with a "
               "reason where it is nothing");
}

void slot_raise(struct slot *slot, const char *kind, const struct fault *fault) {
    slot->step = STEP_RAISE;
    slot->attempts = 0;
    slot->prepared = false;
    slot->kind = str_c(kind);
    slot->problem = fault_copy(slot, fault);
    const char *detail = fault->detail[0] ? fault->detail : err_info(fault->err)->title;
    slot->cause = clean(&slot->arena, said(slot, str_c(detail)));
    slot->action = action_of(slot->kind);
}

/* --- STEP_PROCESS ---------------------------------------------------------------------- */

/* The payload as JSON nodes. */
static enum err read_payload(struct slot *slot, const struct json **out, struct fault *fault) {
    const struct payload *payload = slot->payload;
    struct str text = payload->text;
    if (slot->document) {
        *out = slot->document;
        return OK;
    }
    if (!shape_has(payload, PAYLOAD_TEXT) && !shape_has(payload, PAYLOAD_BASE64))
        return fault_set(fault, ERR_INVALID, "the payload was erased: there is nothing left to map");
    if (shape_has(payload, PAYLOAD_BASE64))
        text = base64_read(&slot->arena, payload->base64);
    return json_parse(slot->worker->parser, &slot->arena, text.ptr ? text : STR(""), false, out,
                      fault);
}

static const char *kind_of(enum err err, const char *otherwise) {
    return err == ERR_MALFORMED || err == ERR_TOO_LARGE ? "payload-malformed" : otherwise;
}

/* The command that the answer is for, and its document: as the topic says, or as route() does. Of
 * several routes the one that is the slot's turn. */
static enum err route_take(struct slot *slot, const struct connector_receive *receive,
                           const struct json **mapped, const struct command_type **type,
                           struct fault *fault) {
    const struct registry *registry = core_registry(slot->worker->inbound->core);
    struct str command = receive->command;
    slot->source.more = 0;
    if (receive->commands.count > 0) {
        struct mapping_route route;
        uint32_t count = mapping_routes(*mapped);
        if (count == 0 || slot->route >= count || !mapping_route(*mapped, slot->route, &route))
            return fault_set(fault, ERR_INVALID, "the mapping names no command: the topic has several, and "
                             "the answer must be route(command, document) or a list of those");
        for (uint32_t i = 0; command.len == 0 && i < receive->commands.count; i++) {
            if (str_eq(*list_at(receive->commands, struct str, i), route.command))
                command = route.command;
        }
        if (!command.len)
            return fault_set(fault, ERR_INVALID, "the mapping routes to \"%.*s\", which is not among the "
                             "topic's commands", (int)(route.command.len < 64 ? route.command.len : 64),
                             route.command.ptr);
        *mapped = route.document;
        slot->source.more = count - 1 - slot->route;
    }
    *type = registry_command(registry, command);
    must(*type); /* inbound_create looked */
    return OK;
}

/* The mapping's answer; of a payload with several routes the same for all of them. */
static enum err map_payload(struct slot *slot, const struct connector_receive *receive,
                            const struct json *document, const struct json **mapped,
                            const char **kind, struct fault *fault) {
    struct worker *w = slot->worker;
    if (slot->route > 0) {
        *mapped = slot->mapped;
        return OK;
    }
    int64_t from_us = slot->traced ? clock_now_us(core_clock(w->inbound->core)) : 0;
    slot->looks.wanted = (struct mapping_look){0};
    w->asking.looks = &slot->looks;
    enum err err = mapper_run(w->mapper, receive->source, document, &slot->arena, mapped, fault);
    slot_mapped(slot, receive, from_us, err != OK);
    const struct mapping_problem *problem = mapper_problem(w->mapper);
    *kind = problem->kind;
    if (err == ERR_INVALID && problem->code.kind.ptr)
        slot->unmapped = *problem;
    slot->mapped = err == OK ? *mapped : NULL;
    return err;
}

/* Whether the topic takes such messages; else slot->nothing says why not. */
static bool only_takes(struct slot *slot, const struct connector_receive *receive,
                       const struct json *document) {
    const struct connector_only *only = receive->only;
    if (!only)
        return true;
    struct connector_place place = {.member = only->member};
    struct str value = receive_member(&place, document, false, &slot->arena);
    for (uint32_t i = 0; i < only->values.count; i++)
        if (str_eq(value, *list_at(only->values, struct str, i)))
            return true;
    slot->nothing = arena_printf(&slot->arena, "%.*s is %.*s", STR_FMT(only->member),
                                 value.len && value.len < 100 ? (int)value.len : 9,
                                 value.len && value.len < 100 ? value.ptr : "not there");
    return false;
}

/* Maps, decodes and prepares; on an error *kind says which of these failed. Where the mapping says
 * that nothing is to be done, the slot's step is STEP_SETTLE. */
static enum err process(struct slot *slot, const char **kind, struct fault *fault) {
    struct inbound *inbound = slot->worker->inbound;
    if (slot->route == 0) { /* all routes of a payload are one version's */
        connector_release(slot->connector); /* of an attempt before */
        slot->connector = connector_take(connector_find(slot->worker->connectors,
                                                        slot->payload->connector));
    }
    const struct connector *connector = slot->connector;
    const struct connector_receive *receive =
        connector ? connector_taken(connector, slot->payload->topic) : NULL;
    *kind = "connector-missing";
    if (!receive)
        return fault_set(fault, ERR_INVALID, "no connector takes %.*s/%.*s any more",
                         STR_FMT(slot->payload->connector), STR_FMT(slot->payload->topic));
    const struct json *document, *mapped;
    void *body;
    enum err err = read_payload(slot, &document, fault);
    *kind = kind_of(err, "payload-malformed");
    if (err)
        return err;
    if (!only_takes(slot, receive, document)) {
        slot->step = STEP_SETTLE;
        return slot->nothing.ptr ? OK : fault_set(fault, ERR_NOMEM, "no memory for the reason");
    }
    err = map_payload(slot, receive, document, &mapped, kind, fault);
    if (err)
        return err;
    struct str words;
    if (mapping_nothing(mapped, &words)) {
        slot->nothing = clean(&slot->arena, said(slot, words));
        slot->step = STEP_SETTLE;
        return slot->nothing.ptr ? OK : fault_set(fault, ERR_NOMEM, "no memory for the reason");
    }
    const struct command_type *type = NULL;
    *kind = MAPPING_FAILED;
    err = route_take(slot, receive, &mapped, &type, fault);
    if (err)
        return err;
    *kind = "document-invalid";
    err = shape_decode(type->shape, mapped, &slot->arena, STR(""), &body, fault);
    if (err)
        return err;
    return command_prepare_fact(inbound->core, type, &slot->arena, body, &slot->command, fault);
}

/* --- STEP_RAISE ------------------------------------------------------------------------ */

static void member(struct buf *out, const char *name, struct arena *arena, struct str value) {
    buf_printf(out, "%s\"%s\":", out->len > 1 ? "," : "", name);
    buf_json_str(out, clean(arena, value));
}

/* {"connector":…,"topic":…,"payload_id":…,"faults":[{"pointer":…,"detail":…}]} */
static const struct json *details(struct slot *slot) {
    struct buf out;
    struct arena *arena = &slot->arena;
    buf_init(&out, 1 << 20);
    buf_char(&out, '{');
    if (slot->payload) {
        member(&out, "connector", arena, slot->payload->connector);
        member(&out, "topic", arena, slot->payload->topic);
        member(&out, "payload_id", arena, slot->payload->payload_id);
    }
    if (slot->unmapped.kind) {
        const struct mapping_problem *p = &slot->unmapped;
        buf_printf(&out, "%s\"unmapped\":{", out.len > 1 ? "," : "");
        buf_lit(&out, "\"system\":");
        buf_json_str(&out, clean(arena, p->code.system));
        member(&out, "kind", arena, p->code.kind);
        member(&out, p->code.out ? "code" : "value", arena, said(slot, p->code.text));
        if (p->source.len)
            member(&out, "source", arena, p->source);
        if (p->target.len)
            member(&out, "target", arena, p->target);
        buf_char(&out, '}');
    }
    if (slot->problem && slot->problem->first) {
        buf_printf(&out, "%s\"faults\":[", out.len > 1 ? "," : "");
        for (const struct fault_item *item = slot->problem->first; item; item = item->next) {
            buf_lit(&out, "{\"pointer\":");
            buf_json_str(&out, item->pointer.len ? clean(arena, item->pointer) : STR(""));
            buf_lit(&out, ",\"detail\":");
            buf_json_str(&out, clean(arena, item->detail));
            buf_str_add(&out, item->next ? STR("},") : STR("}"));
        }
        buf_char(&out, ']');
    }
    buf_char(&out, '}');
    const struct json *nodes = NULL;
    struct fault ignored = {0};
    if (!buf_ok(&out) || json_parse(slot->worker->parser, arena, buf_str(&out), false, &nodes,
                                    &ignored) != OK)
        nodes = NULL;
    buf_free(&out);
    return nodes;
}

/* Whose message it is, which mapping was run, and what waits behind it. */
static void raise_source(struct slot *slot, const struct connector *connector,
                         struct exception *exception) {
    const struct payload *payload = slot->payload;
    const struct connector_receive *receive =
        connector ? connector_topic(connector, payload->topic) : NULL;
    const struct settings *settings = &core_config(slot->worker->inbound->core)->settings;
    exception->connector = payload->connector;
    exception->topic = payload->topic;
    shape_mark(exception, EXCEPTION_CONNECTOR);
    shape_mark(exception, EXCEPTION_TOPIC);
    if (payload->key.len && settings->inbound_key_waits) {
        exception->lane = slot->payload_subject;
        shape_mark(exception, EXCEPTION_LANE);
    }
    if (receive && receive->source) {
        exception->mapping = receive->source->name;
        shape_mark(exception, EXCEPTION_MAPPING);
        if (receive->source->version.len) {
            exception->mapping_version = receive->source->version;
            shape_mark(exception, EXCEPTION_MAPPING_VERSION);
        }
    }
}

static enum err prepare_raise(struct slot *slot, struct fault *fault) {
    struct exception *exception = arena_new(&slot->arena, struct exception);
    if (!exception || !slot->cause.ptr)
        return fault_set(fault, ERR_NOMEM, "no memory for an exception");
    const struct connector *connector = slot->connector;
    exception->kind = slot->kind;
    exception->subject = slot->payload ? slot->payload->payload_id : slot->payload_subject;
    exception->cause = slot->cause;
    exception->action = slot->action;
    exception->payload_seq = (int64_t)slot->seq;
    shape_mark(exception, EXCEPTION_KIND);
    shape_mark(exception, EXCEPTION_SUBJECT);
    shape_mark(exception, EXCEPTION_CAUSE);
    shape_mark(exception, EXCEPTION_ACTION);
    shape_mark(exception, EXCEPTION_PAYLOAD_SEQ);
    if (connector && connector->owner.len) {
        exception->owner = connector->owner;
        shape_mark(exception, EXCEPTION_OWNER);
    }
    if (slot->payload)
        raise_source(slot, connector, exception);
    exception->details = details(slot);
    if (exception->details)
        shape_mark(exception, EXCEPTION_DETAILS);
    return command_prepare_fact(slot->worker->inbound->core, &exception_raise_command, &slot->arena,
                                exception, &slot->command, fault);
}

/* --- STEP_SETTLE ----------------------------------------------------------------------- */

static enum err prepare_settle(struct slot *slot, struct fault *fault) {
    struct payload_settle *settle = arena_new(&slot->arena, struct payload_settle);
    if (!settle)
        return fault_set(fault, ERR_NOMEM, "no memory for a command");
    settle->payload_seq = (int64_t)slot->seq;
    settle->outcome = slot->known                          ? STR("nothing-new")
                      : slot->payload && !slot->nothing.len ? STR("replayed")
                                                            : STR("ignored");
    settle->reason = slot->nothing;
    shape_mark(settle, SETTLE_PAYLOAD_SEQ);
    shape_mark(settle, SETTLE_OUTCOME);
    if (slot->nothing.len)
        shape_mark(settle, SETTLE_REASON);
    return command_prepare_fact(slot->worker->inbound->core, &inbound_settle_command, &slot->arena,
                                settle, &slot->command, fault);
}

/* --- STEP_REPAIR ----------------------------------------------------------------------- */

static enum err prepare_repair(struct slot *slot, struct fault *fault) {
    struct payload_repair *repair = arena_new(&slot->arena, struct payload_repair);
    if (!repair)
        return fault_set(fault, ERR_NOMEM, "no memory for a command");
    const struct payload *payload = slot->payload;
    *repair = (struct payload_repair){
        .has = (1u << (REPAIR_BACKSTOP + 1)) - 1, .payload_seq = (int64_t)slot->seq,
        .payload_id = payload->payload_id, .connector = payload->connector, .topic = payload->topic,
        .backstop = connector_taken(slot->connector, payload->topic)->backstop};
    return command_prepare_fact(slot->worker->inbound->core, &inbound_repair_command, &slot->arena, repair,
                                &slot->command, fault);
}

/* Tells the command whose message it came of. */
static void tell_source(struct slot *slot) {
    const struct payload *payload = slot->payload;
    const struct connector *connector = slot->connector;
    slot->source = (struct command_source){.payload_id = payload->payload_id,
                                           .connector = payload->connector,
                                           .topic = payload->topic,
                                           .owner = connector ? connector->owner : STR_NONE,
                                           .version = payload->version,
                                           .more = slot->source.more};
    if (payload->key.len) /* the subject is "connector/key" then */
        slot->source.entity = slot->payload_subject;
    slot->command.source = &slot->source;
    inbound_needs(&slot->command);
}

/* Of several commands each is done once, however often the message is processed: also those that have
 * no natural key. */
static void route_key(struct slot *slot) {
    if (slot->route == 0 && slot->source.more == 0)
        return;
    slot->command.idem_scope = STR("inbound");
    slot->command.idem_key = arena_printf(&slot->arena, "%.*s/%u",
                                          STR_FMT(slot->payload->payload_id), slot->route);
}

enum err slot_prepare(struct slot *slot, struct fault *fault) {
    struct fault found;
    fault_init(&found, &slot->arena);
    enum err err = OK;
    if (slot->step == STEP_PROCESS) {
        const char *kind = "mapping-failed";
        err = process(slot, &kind, &found);
        if (err != OK && err_info(err)->disposition == FINAL)
            slot_raise(slot, kind, &found);
        else if (err != OK)
            return fault_set(fault, err, "%s", found.detail);
    }
    if (slot->step == STEP_RAISE)
        err = prepare_raise(slot, fault);
    else if (slot->step == STEP_SETTLE)
        err = prepare_settle(slot, fault);
    else if (slot->step == STEP_REPAIR)
        err = prepare_repair(slot, fault);
    if (err)
        return err;
    struct command *command = &slot->command;
    command->cause_seq = slot->seq;
    command->correlation = slot->correlation;
    command->traceparent = slot->traced ? slot->under : slot->traceparent;
    if (slot->step == STEP_PROCESS) {
        slot->person = command->person; /* for a later step */
        tell_source(slot);
        route_key(slot);
    } else {
        command->person = slot->person;
        if (slot->step == STEP_RAISE && slot->payload) {
            slot->source.more = 0;
            tell_source(slot); /* what is before it may have to be decided first */
        }
    }
    command->actor = slot->payload ? arena_printf(&slot->arena, "connector:%.*s",
                                                  STR_FMT(slot->payload->connector))
                                   : STR("inbound");
    return OK;
}
