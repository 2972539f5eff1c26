/* edit: see edit.h. Owns nothing. */
#include "deliver/edit.h"

#include <string.h>

#include "base/planted.h"
#include "core/seal.h"

enum err edit_possible(const struct connector_send *send, const struct delivery_edit *edit,
                       struct fault *fault) {
    const struct mapping_source *source = send->source;
    if (send->availability)
        return fault_set(fault, ERR_CONFLICT,
                         "its value is read from the stock when it is sent: adjust the stock, or discard it");
    if (!shape_has(edit, EDITED_MAPPING_VERSION))
        return OK;
    if (!source)
        return fault_set(fault, ERR_CONFLICT, "the subscription has no mapping: leave mapping_version out");
    if (!str_eq(source->version, edit->mapping_version))
        return fault_set(fault, ERR_CONFLICT, "only version %.*s of the mapping is loaded: install the other one",
                         STR_FMT(source->version));
    return OK;
}

/* --- reading --------------------------------------------------------------------------------------- */

bool edit_visit(void *ctx, const struct record *record) {
    struct edit_reading *r = ctx;
    const struct json *json;
    struct str data;
    void *edit;
    if (!str_is(record->type, EVENT_DELIVERY_EDITED))
        return false;
    r->err = seal_record(r->keyring, record, r->parser, r->arena, &data, r->fault);
    if (r->err == OK && !(data = arena_str(r->arena, data)).ptr)
        r->err = fault_set(r->fault, ERR_NOMEM, "no memory for an edit");
    if (r->err == OK)
        r->err = json_parse(r->parser, r->arena, data, false, &json, r->fault);
    if (r->err == OK)
        r->err = shape_load(&delivery_edit_shape, json, r->arena, &edit, r->fault);
    if (r->err == OK)
        r->edit = edit;
    return false;
}

/* --- a document as the patch makes it ------------------------------------------------------------------ */

static enum err text_parse(struct json_parser *parser, struct arena *arena, struct buf *written, struct str *text,
                           const struct json **out, struct fault *fault) {
    *text = buf_ok(written) ? arena_str(arena, buf_str(written)) : STR_NONE;
    buf_free(written);
    return text->ptr ? json_parse(parser, arena, *text, false, out, fault)
                     : fault_set(fault, ERR_NOMEM, "no memory for what was edited");
}

enum err edit_event(struct json_parser *parser, struct arena *arena, const struct json *event,
                    const struct json *patch, struct str *text, const struct json **out, struct fault *fault) {
    const struct json *name = json_first(event);
    struct buf written;
    buf_init(&written, 0);
    buf_char(&written, '{');
    for (uint32_t i = 0; i < event->count; i++) {
        const struct json *value = json_next(name);
        if (i > 0)
            buf_char(&written, ',');
        buf_json_str(&written, name->text);
        buf_char(&written, ':');
        if (str_is(name->text, "data"))
            json_merge(&written, value, patch);
        else
            json_write(&written, value);
        name = json_next(value);
    }
    buf_char(&written, '}');
    return text_parse(parser, arena, &written, text, out, fault);
}

struct pointers {
    struct arena *arena;
    struct str *items;
    uint32_t count;
    bool full; /* no memory */
};

static bool pointer_add(struct pointers *p, struct str pointer) {
    p->full = p->full || !pointer.ptr;
    if (p->full || p->count == EDITED_CHANGED_MAX || pointer.len > SHAPE_ITEM_BYTES_MAX)
        return false;
    p->items[p->count++] = pointer;
    return true;
}

static struct str pointer_below(struct arena *arena, struct str above, struct str name) {
    struct buf out;
    buf_init(&out, 0);
    buf_str_add(&out, above);
    buf_char(&out, '/');
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (c == '~' || c == '/')
            buf_str_add(&out, c == '~' ? STR("~0") : STR("~1"));
        else
            buf_char(&out, c);
    }
    struct str pointer = buf_ok(&out) ? arena_str(arena, buf_str(&out)) : STR_NONE;
    buf_free(&out);
    return pointer;
}

/* As deep as JSON may be. */
static bool pointers_walk(struct pointers *p, const struct json *patch, struct str at) {
    const struct json *name = json_first(patch);
    for (uint32_t i = 0; i < patch->count; i++) {
        const struct json *value = json_next(name);
        struct str below = pointer_below(p->arena, at, name->text);
        bool inner = value->kind == JSON_OBJECT && value->count > 0 && below.ptr;
        if (!(inner ? pointers_walk(p, value, below) : pointer_add(p, below)))
            return false;
        name = json_next(value);
    }
    return true;
}

enum err edit_pointers(const struct json *patch, struct arena *arena, struct shape_list *out,
                       struct fault *fault) {
    struct pointers p = {.arena = arena, .items = arena_array(arena, EDITED_CHANGED_MAX, sizeof *p.items)};
    if (p.items)
        pointers_walk(&p, patch, STR(""));
    if (!p.items || p.full)
        return fault_set(fault, ERR_NOMEM, "no memory for the edit");
    *out = (struct shape_list){p.items, p.count};
    return OK;
}

/* --- in delivery ----------------------------------------------------------------------------------------- */

static enum err lost(struct attempt *attempt, struct fault *fault, const char *why) {
    attempt->edit_lost = true;
    return fault_set(fault, ERR_INVALID, "%s: edit it again, or discard it", why);
}

/* What goes out as it is. */
static enum err plain_merge(struct attempt *attempt, const struct json *patch, struct fault *fault) {
    struct json_parser *parser = attempt->deliver->parser;
    struct arena *arena = &attempt->arena;
    const struct json *data;
    struct buf written;
    enum err err = json_parse(parser, arena, attempt->data, false, &data, fault);
    if (err != OK)
        return err;
    buf_init(&written, 0);
    json_merge(&written, data, patch);
    return text_parse(parser, arena, &written, &attempt->data, &data, fault);
}

static enum err patch_apply(struct attempt *attempt, const struct json *patch, struct fault *fault) {
    const struct connector_send *send = attempt->send;
    struct str text;
    attempt->patch = patch;
    if (PLANTED(EDIT_LOST))
        return OK;
    if (!attempt->event)
        return plain_merge(attempt, patch, fault);
    enum err err = edit_event(attempt->deliver->parser, &attempt->arena, attempt->event, patch, &text,
                              &attempt->event, fault);
    const struct json *data = err == OK ? json_member(attempt->event, STR("data")) : NULL;
    if (err == OK && send->webhook)
        attempt->data = text;
    else if (data && !send->source)
        attempt->data = data->text;
    return err;
}

/* The attempt's own id is told in place of one that was refused. */
static enum err id_apply(struct attempt *attempt, const struct delivery_edit *edit, struct fault *fault) {
    struct str id = attempt->again_id.ptr ? attempt->again_id : attempt->id;
    if (!shape_has(edit, EDITED_ID_SEQ))
        return OK;
    attempt->again_id = arena_printf(&attempt->arena, "%.*s-e%lld", STR_FMT(id), (long long)edit->id_seq);
    return attempt->again_id.ptr ? OK : fault_set(fault, ERR_NOMEM, "no memory for an id");
}

static enum err edit_make(struct attempt *attempt, const struct delivery_edit *edit, struct fault *fault) {
    const struct json *patch;
    if (!edit)
        return lost(attempt, fault, "the journal does not have it");
    enum err err = id_apply(attempt, edit, fault);
    if (err != OK)
        return err;
    if (edit_possible(attempt->send, edit, fault) != OK)
        return lost(attempt, fault, attempt->send->source ? "it was made for another version of the mapping than "
                                                            "the one that is loaded"
                                                          : "it was made for a mapping, and there is none now");
    if (edit->changed.count == 0)
        return OK;
    if (!shape_has(edit, EDITED_PATCH))
        return lost(attempt, fault, "what it said was erased with the person it is about");
    err = json_parse(attempt->deliver->parser, &attempt->arena, edit->patch, false, &patch, fault);
    return err == OK ? patch_apply(attempt, patch, fault) : err;
}

enum err edit_apply(struct attempt *attempt, struct fault *fault) {
    struct deliver *d = attempt->deliver;
    uint64_t seq = 0, next;
    pthread_mutex_lock(&d->lock);
    enum err err = progress_edit(d->progress, attempt->sub->name, attempt->job.key, attempt->job.seq, &seq, fault);
    pthread_mutex_unlock(&d->lock);
    if (err != OK || seq == 0)
        return err;
    struct edit_reading reading = {.parser = d->parser, .arena = &attempt->arena, .fault = fault,
                                   .keyring = core_keyring(d->options.core)};
    err = tail_read(d->options.tail, seq, 1, edit_visit, &reading, &next, fault);
    if (err == OK)
        err = reading.err;
    return err == OK ? edit_make(attempt, reading.edit, fault) : err;
}

uint64_t edit_newest(const struct subscription *sub, uint64_t seq) {
    struct core *core = sub->deliver->options.core;
    if (core == NULL)
        return 0;
    core_read_begin(core);
    uint64_t edit = delivery_edition(core_state(core, &deliveries_capability), sub->name, seq);
    core_read_end(core);
    return edit;
}

void edit_loaded(struct subscription *sub, const struct progress_row *row) {
    uint64_t edit = edit_newest(sub, row->seq);
    if (edit > row->edit)
        progress_edit_set(sub->deliver->progress, sub->name, row->lane, row->seq, edit);
}
