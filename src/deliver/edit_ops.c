/* edit_ops: editing a held delivery over HTTP: what is asked for, what there is of it, and the edit that
 * delivery is given. Runs on a worker's thread; owns nothing. */
#include <stdio.h>

#include "deliver/deliver_bulk.h"
#include "deliver/edit_priv.h"

static const char *const states[] = {"retrying", "preview", NULL};

struct held_edit {
    uint64_t has;
    struct str reason, patch, mapping_version;
    int64_t edit;
    bool dry_run;
};
enum { EDIT_REASON, EDIT_PATCH, EDIT_MAPPING_VERSION, EDIT_EDIT, EDIT_DRY_RUN };
static const struct shape_field body_rows[] = {
    [EDIT_REASON] = SHAPE_ROW(struct held_edit, reason, SHAPE_TEXT, "Why; kept with the edit. dry_run needs none",
                              .min = 1, .max = 1024),
    [EDIT_PATCH] = SHAPE_ROW(struct held_edit, patch, SHAPE_RAW,
                             "JSON Merge Patch (RFC 7396) of the event's data, as its mapping sees it",
                             .privacy = PERSONAL),
    [EDIT_MAPPING_VERSION] = SHAPE_ROW(struct held_edit, mapping_version, SHAPE_TEXT,
                                       "Only this version of the mapping may make the document; it must be the one "
                                       "that is loaded",
                                       .min = 1, .max = 256),
    [EDIT_EDIT] = SHAPE_ROW(struct held_edit, edit, SHAPE_INTEGER,
                            "seq of the edit that was seen; where another one holds by now: 409. 0: none",
                            .max = INT64_MAX),
    [EDIT_DRY_RUN] = SHAPE_ROW(struct held_edit, dry_run, SHAPE_BOOL, "Only show what would go out"),
};
SHAPE_DEFINE(held_edit_shape, "held_edit", struct held_edit, "What goes out in place of a held delivery", body_rows);

static const struct shape_field edited_rows[] = {
    SHAPE_SAID("id", SHAPE_TEXT, "SUBSCRIPTION:SEQ", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("state", SHAPE_ENUM, "What becomes of it", .flags = SHAPE_REQUIRED, .values = states),
    SHAPE_SAID("edit", SHAPE_INTEGER, "seq of the event delivery.edited; absent: only shown", .min = 1,
               .max = INT64_MAX),
    SHAPE_SAID("preview", SHAPE_OBJECT, "dry_run: what would go out", .shape = &edit_preview_shape),
};
SHAPE_DEFINE_SAID(held_edited_shape, "held_edited", "What was edited", edited_rows);

/* --- what there is of it ---------------------------------------------------------------------------- */

static bool target_visit(void *ctx, const struct progress_row *row) {
    struct edit_target *target = ctx;
    target->found = row->seq == target->seq && str_eq(row->subscription, target->subscription);
    target->edit = row->edit;
    target->status = row->status;
    return false;
}

struct event_reading {
    struct query *query;
    struct edit_target *target;
    struct fault *fault;
    enum err err;
};

static bool event_visit(void *ctx, const struct record *record) {
    struct event_reading *r = ctx;
    struct arena *arena = r->query->arena;
    struct event_meta meta;
    struct str text = arena_str(arena, record->meta);
    r->err = text.ptr ? event_meta_load(text, r->query->reader->parser, arena, &meta, r->fault)
                      : fault_set(r->fault, ERR_NOMEM, "no memory for an event");
    if (r->err != OK)
        return false;
    /* what is about an order is whose the order is */
    struct str person = meta.person.len ? meta.person
                        : str_starts(record->subject, STR("ord_")) ? arena_str(arena, record->subject)
                                                                   : STR_NONE;
    r->target->person = person;
    r->target->sealed = meta.sealed.len > 0;
    return false;
}

/* What the edit before said. */
static enum err before_read(struct query *query, struct edit_target *target, struct fault *fault) {
    struct edit_reading reading = {.parser = query->reader->parser, .arena = query->arena, .fault = fault};
    uint64_t next;
    if (target->edit == 0)
        return OK;
    enum err err = journal_read(query->reader->journal, target->edit, 1, edit_visit, &reading, &next, fault);
    if (err == OK)
        err = reading.err;
    if (err == OK && reading.edit && shape_has(reading.edit, EDITED_ID_SEQ))
        target->id_seq = reading.edit->id_seq;
    return err;
}

enum err edit_target_read(struct query *query, struct str subscription, uint64_t seq, struct edit_target *out,
                          struct fault *fault) {
    struct deliver *d = query->ctx;
    uint64_t next;
    enum err err = OK;
    *out = (struct edit_target){.subscription = subscription, .seq = seq};
    pthread_mutex_lock(&d->lock);
    const struct subscription *sub = subscription_named(d, subscription);
    if (sub != NULL && seq > 0)
        err = progress_rows(d->progress, subscription, subscription, seq - 1, false, 1, target_visit, out, fault);
    if (err == OK && out->found) {
        out->send = sub->send;
        connector_take(out->send->connector);
    }
    pthread_mutex_unlock(&d->lock);
    if (err == OK && !out->found)
        err = fault_set(fault, ERR_NOT_FOUND, "no such delivery is held");
    struct event_reading reading = {.query = query, .target = out, .fault = fault};
    if (err == OK)
        err = journal_read(query->reader->journal, seq, 1, event_visit, &reading, &next, fault);
    if (err == OK)
        err = reading.err;
    if (err == OK)
        err = before_read(query, out, fault);
    if (err != OK)
        edit_target_free(out);
    return err;
}

void edit_target_free(struct edit_target *target) {
    if (target->send)
        connector_release(target->send->connector);
    target->send = NULL;
}

/* --- what is asked for -------------------------------------------------------------------------------- */

enum err edit_asked_check(struct query *query, struct edit_asked *asked, struct fault *fault) {
    if (!asked->patch.ptr && !asked->mapping_version.ptr) {
        fault_add(fault, STR("/patch"), "needs a patch of the data, or a mapping_version");
    } else if (asked->patch.len > EDIT_PATCH_BYTES_MAX) {
        fault_add(fault, STR("/patch"), "is longer than %d bytes", EDIT_PATCH_BYTES_MAX);
    } else if (asked->patch.ptr) {
        enum err err = json_parse(query->reader->parser, query->arena, asked->patch, false, &asked->document, fault);
        if (err != OK)
            return err;
        if (asked->document->kind != JSON_OBJECT || asked->document->count == 0)
            fault_add(fault, STR("/patch"), "must be an object of the members that are to be other");
    }
    if (!asked->reason.len && !asked->dry_run)
        fault_add(fault, STR("/reason"), "an edit needs a reason");
    if (!fault->first)
        return OK;
    fault->err = ERR_INVALID;
    return ERR_INVALID;
}

/* A clear refusal under its id: a system that remembers ids would refuse the edited one as well. Anything else
 * may have been done, or may be at work. */
static bool id_refused(int32_t status) {
    return status >= 400 && status < 500 && status != 408 && status != 409 && status != 429;
}

static void texts_mark(struct delivery_edit *edit) {
    edit->has |= UINT64_C(1) << EDITED_SUBSCRIPTION | UINT64_C(1) << EDITED_EVENT_SEQ |
                 UINT64_C(1) << EDITED_SUBJECT | UINT64_C(1) << EDITED_REASON | UINT64_C(1) << EDITED_BY;
}

enum err edit_make_body(struct query *query, const struct edit_target *target, const struct edit_asked *asked,
                        struct delivery_edit *edit, struct fault *fault) {
    *edit = (struct delivery_edit){.subscription = target->subscription, .event_seq = (int64_t)target->seq,
                                   .reason = asked->reason, .person = target->person,
                                   .by = query->actor.len ? query->actor : STR("unknown")};
    texts_mark(edit);
    if (asked->document) {
        edit->patch = asked->patch;
        shape_mark(edit, EDITED_PATCH);
        shape_mark(edit, EDITED_CHANGED);
        enum err err = edit_pointers(asked->document, query->arena, &edit->changed, fault);
        if (err != OK)
            return err;
    }
    if (asked->mapping_version.ptr) {
        edit->mapping_version = asked->mapping_version;
        shape_mark(edit, EDITED_MAPPING_VERSION);
    }
    edit->id_seq = id_refused(target->status) ? 0 : target->id_seq;
    if (id_refused(target->status) || target->id_seq > 0)
        shape_mark(edit, EDITED_ID_SEQ);
    edit->replaces = (int64_t)target->edit;
    if (target->edit > 0)
        shape_mark(edit, EDITED_REPLACES);
    if (asked->seen && (uint64_t)asked->edit != target->edit)
        return fault_set(fault, ERR_CONFLICT, "somebody else has edited it meanwhile: look again");
    return edit_possible(target->send, edit, fault);
}

enum err edit_one(struct query *query, struct str subscription, uint64_t seq, const struct edit_asked *asked,
                  uint64_t *edit_seq, struct fault *fault) {
    struct edit_target target;
    struct delivery_edit edit;
    enum err err = edit_target_read(query, subscription, seq, &target, fault);
    if (err != OK)
        return err;
    err = edit_make_body(query, &target, asked, &edit, fault);
    edit_target_free(&target);
    return err == OK ? deliver_edit(query->ctx, &edit, edit_seq, fault) : err;
}

/* --- the route ------------------------------------------------------------------------------------------ */

enum err held_edit_query(struct query *query, struct fault *fault) {
    struct str subscription;
    uint64_t seq, edit_seq = 0;
    void *body;
    enum err err = query_body(query, &held_edit_shape, &body, fault);
    if (err != OK)
        return err;
    const struct held_edit *given = body;
    struct edit_asked asked = {.reason = given->reason, .patch = given->patch, .edit = given->edit,
                               .mapping_version = given->mapping_version, .dry_run = given->dry_run,
                               .seen = shape_has(given, EDIT_EDIT)};
    err = edit_asked_check(query, &asked, fault);
    if (err != OK)
        return err;
    if (!held_id(query->args[0], &subscription, &seq))
        return fault_set(fault, ERR_NOT_FOUND, "no such delivery is held");
    buf_printf(query->out, "{\"id\":\"%.*s:%llu\"", STR_FMT(subscription), (unsigned long long)seq);
    if (given->dry_run) {
        buf_lit(query->out, ",\"state\":\"preview\",\"preview\":");
        err = edit_preview(query, subscription, seq, &asked, fault);
    } else {
        err = edit_one(query, subscription, seq, &asked, &edit_seq, fault);
        buf_printf(query->out, ",\"state\":\"retrying\",\"edit\":%llu", (unsigned long long)edit_seq);
    }
    buf_char(query->out, '}');
    return err;
}
