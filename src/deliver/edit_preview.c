/* edit_preview: what would go out of a held delivery if it were edited so: the event is read, patched and mapped
 * on a worker's thread, with a mapper of its own; nothing is sent and nothing changes.
 *
 * What always holds: what is personal is shown to callers that may see it alone; the mapping runs with it all
 * the same, so the outcome is that of the delivery. */
#include "connect/asking.h"
#include "core/seal.h"
#include "deliver/edit_priv.h"

static const char *const outcomes[] = {"maps", "as-is", "nothing", "mapping-failed", "not-tried", NULL};
enum outcome { MAPS, AS_IS, NOTHING, MAPPING_FAILED_SO, NOT_TRIED };

static const struct shape_field trace_rows[] = {
    SHAPE_SAID("target", SHAPE_TEXT, "JSON Pointer in what goes out", .flags = SHAPE_REQUIRED, .max = 4096),
    SHAPE_SAID("sources", SHAPE_LIST, "JSON Pointers in the event it came from", .flags = SHAPE_REQUIRED),
};
static SHAPE_DEFINE_SAID(trace_shape, "held_edit_trace", "Where a member of what goes out comes from", trace_rows);

static const struct shape_field preview_rows[] = {
    SHAPE_SAID("outcome", SHAPE_ENUM,
               "maps; as-is: there is no mapping; nothing: the mapping says that the system is not told; "
               "mapping-failed; not-tried: it looks at an order, or its calls follow from answers",
               .flags = SHAPE_REQUIRED, .values = outcomes),
    SHAPE_SAID("mapping", SHAPE_TEXT, "CONNECTOR/FILE", .max = 512),
    SHAPE_SAID("mapping_version", SHAPE_TEXT, "That is loaded", .max = 512),
    SHAPE_SAID("document", SHAPE_OPEN, "What would go out", .privacy = PERSONAL),
    SHAPE_SAID("hidden", SHAPE_TEXT, "Why the document is not shown"),
    SHAPE_SAID("cause", SHAPE_TEXT, "Why it does not map, or was not tried", .max = 65536),
    SHAPE_SAID("trace", SHAPE_LIST, "Where each member of the document comes from", .shape = &trace_shape),
};
SHAPE_DEFINE_SAID(edit_preview_shape, "held_edit_preview", "What would go out of an edited delivery", preview_rows);

struct preview {
    struct query *query;
    const struct edit_target *target;
    const struct edit_asked *asked;
    bool shown;
    const struct json *event;    /* a CloudEvent, patched */
    const struct json *document; /* what goes out; NULL: none */
    struct mapping_trace trace;
    bool traced;
    struct str cause;
    struct fault *fault;
    enum err err;
};

/* --- the event ------------------------------------------------------------------------------------------- */

static bool event_visit(void *ctx, const struct record *record) {
    struct preview *p = ctx;
    struct query *query = p->query;
    const struct deliver *d = query->ctx;
    struct arena *arena = query->arena;
    struct json_parser *parser = query->reader->parser;
    struct keyring *keyring = !p->target->send->personal ? NULL
                              : p->shown                 ? query->reader->keyring
                                                         : core_keyring(query->reader->core);
    struct buf out;
    buf_init(&out, 0);
    p->err = event_write_cloudevent(record, d->options.config->cell, keyring, parser, arena, &out, p->fault);
    struct str text = buf_ok(&out) ? arena_str(arena, buf_str(&out)) : STR_NONE;
    buf_free(&out);
    if (p->err == OK)
        p->err = text.ptr ? json_parse(parser, arena, text, false, &p->event, p->fault)
                          : fault_set(p->fault, ERR_NOMEM, "no memory for an event");
    return false;
}

static enum err event_read(struct preview *p) {
    struct query *query = p->query;
    struct str text;
    uint64_t next;
    enum err err = journal_read(query->reader->journal, p->target->seq, 1, event_visit, p, &next, p->fault);
    if (err == OK)
        err = p->err;
    if (err == OK && !p->event)
        err = fault_set(p->fault, ERR_NOT_FOUND, "the journal does not have the event (any more)");
    if (err == OK && p->asked->document)
        err = edit_event(query->reader->parser, query->arena, p->event, p->asked->document, &text, &p->event,
                         p->fault);
    return err;
}

/* --- the mapping ------------------------------------------------------------------------------------------- */

static struct str said(const struct preview *p, struct str text) {
    text = p->shown ? arena_str(p->query->arena, text) : seal_mask_likely(text, p->event, p->query->arena);
    return text.ptr ? text : STR("…");
}

static enum outcome mapped(struct preview *p, enum err err, const struct fault *fault) {
    struct str pointer = fault->first ? fault->first->pointer : STR_NONE;
    if (err == OK && p->target->send->batch && mapping_nothing(p->document, &p->cause)) {
        p->document = NULL;
        return NOTHING;
    }
    if (err == OK)
        return MAPS;
    p->document = NULL;
    if (err == ERR_UNAVAILABLE) {
        p->cause = STR("the mapping looks at an order: a retry tells what comes of it");
        return NOT_TRIED;
    }
    p->cause = said(p, str_c(fault->detail));
    if (pointer.len)
        p->cause = arena_printf(p->query->arena, "%.*s (%.*s)", STR_FMT(p->cause), STR_FMT(pointer));
    return MAPPING_FAILED_SO;
}

static enum err map(struct preview *p, enum outcome *out) {
    struct query *query = p->query;
    const struct settings *settings = &core_config(query->reader->core)->settings;
    struct asking_looks looks = {0};
    struct asking asking = {.core = query->reader->core, .parser = query->reader->parser, .looks = &looks};
    struct fault fault;
    struct mapper *mapper = mapper_create((struct mapping_limits){
        .instructions_max = settings->map_instructions_max, .bytes_max = settings->map_bytes_max,
        .looks_max = settings->map_looks_max});
    if (!mapper)
        return fault_set(p->fault, ERR_NOMEM, "no memory for a mapping");
    mapper_hub(mapper, &asking_hub, &asking);
    fault_init(&fault, query->arena);
    const struct mapping_source *source = p->target->send->source;
    enum err err = p->asked->brief ? mapper_run(mapper, source, p->event, query->arena, &p->document, &fault)
                                   : mapper_trace(mapper, source, p->event, query->arena, &p->document, &p->trace,
                                                  &fault);
    p->traced = err == OK && !p->asked->brief;
    *out = mapped(p, err, &fault);
    mapper_destroy(mapper);
    return err == ERR_NOMEM ? fault_set(p->fault, err, "%s", fault.detail) : OK;
}

static enum err outcome_of(struct preview *p, enum outcome *out) {
    const struct connector_send *send = p->target->send;
    *out = AS_IS;
    p->document = send->webhook ? p->event : json_member(p->event, STR("data"));
    if (!send->source)
        return OK;
    if (!send->script.len)
        return map(p, out);
    *out = NOT_TRIED;
    p->document = NULL;
    p->cause = STR("its calls follow from what the system answers: a retry tells what comes of it");
    return OK;
}

/* --- in words ---------------------------------------------------------------------------------------------- */

static void preview_write(struct preview *p, enum outcome outcome) {
    const struct mapping_source *source = p->target->send->source;
    struct buf *out = p->query->out;
    buf_printf(out, "{\"outcome\":\"%s\"", outcomes[outcome]);
    if (source) {
        query_member(p->query, "mapping", source->name);
        query_member(p->query, "mapping_version", source->version);
    }
    if (p->document && p->shown) {
        buf_lit(out, ",\"document\":");
        json_write(out, p->document);
    } else if (p->document) {
        query_member(p->query, "hidden", STR("only for callers with the scope " SCOPE_PERSONAL));
    }
    if (p->cause.ptr)
        query_member(p->query, "cause", p->cause);
    if (p->traced) {
        buf_lit(out, ",\"trace\":");
        mapping_trace_write(&p->trace, out);
    }
    buf_char(out, '}');
}

enum err edit_preview(struct query *query, struct str subscription, uint64_t seq,
                      const struct edit_asked *asked, struct fault *fault) {
    struct edit_target target;
    struct delivery_edit edit;
    enum outcome outcome;
    enum err err = edit_target_read(query, subscription, seq, &target, fault);
    if (err != OK)
        return err;
    struct preview p = {.query = query, .target = &target, .asked = asked, .fault = fault,
                        .shown = !target.send->personal || !target.sealed || query->reader->keyring};
    err = edit_make_body(query, &target, asked, &edit, fault);
    if (err == OK)
        err = event_read(&p);
    if (err == OK)
        err = outcome_of(&p, &outcome);
    if (err == OK)
        preview_write(&p, outcome);
    edit_target_free(&target);
    return err;
}
