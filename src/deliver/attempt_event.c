/* attempt_event: the event of an attempt, from the journal: for a mapping or script as a document, the
 * CloudEvent that it is; for a delivery that is the event's data as it is, nothing is parsed. Members of
 * batches are documents always: `by` and look-ups read them. */
#include "connect/stream_url.h"
#include "core/seal.h"
#include "deliver/conflate.h"
#include "deliver/deliver_priv.h"
#include "deliver/edit.h"

struct reading {
    struct attempt *attempt;
    enum err err;
    struct fault *fault;
};

static struct str text_or_none(struct arena *arena, struct str text) {
    return text.len > 0 ? arena_str(arena, text) : STR_NONE;
}

/* What a delivery needs that is not mapped: attempt->data is the event's data as it was written. */
static enum err plain_read(struct attempt *attempt, const struct record *record, struct fault *fault) {
    struct deliver *d = attempt->deliver;
    struct arena *arena = &attempt->arena;
    struct event_meta meta;
    struct str data;
    enum err err = event_meta_load(record->meta, d->parser, arena, &meta, fault);
    if (err == OK)
        err = seal_data(attempt_keyring(attempt), record, &meta, d->parser, arena, &data, fault);
    if (err != OK)
        return err;
    buf_str_add(&attempt->text, data);
    attempt->data = buf_str(&attempt->text);
    attempt->id = event_id(arena, d->options.config->cell, record->seq);
    attempt->correlation = text_or_none(arena, meta.correlation);
    attempt->traceparent = text_or_none(arena, meta.traceparent);
    return buf_ok(&attempt->text) && attempt->id.ptr ? OK
                                                     : fault_set(fault, ERR_NOMEM, "no memory for an event");
}

static enum err document_read(struct attempt *attempt, const struct record *record, struct fault *fault) {
    struct deliver *d = attempt->deliver;
    struct arena *arena = &attempt->arena;
    struct str cell = d->options.config->cell;
    enum err err = attempt->send->availability
                       ? availability_event(attempt, record, cell, &attempt->text, fault)
                       : event_write_cloudevent(record, cell, attempt_keyring(attempt), d->parser, arena,
                                                &attempt->text, fault);
    if (err == OK)
        err = json_parse(d->parser, arena, buf_str(&attempt->text), false, &attempt->event, fault);
    if (err != OK)
        return err;
    attempt->id = json_member_str(attempt->event, STR("id"));
    attempt->correlation = json_member_str(attempt->event, STR("correlationid"));
    attempt->traceparent = json_member_str(attempt->event, STR("traceparent"));
    const struct json *data = attempt->send->source ? NULL : json_member(attempt->event, STR("data"));
    if (data != NULL)
        attempt->data = data->text;
    return OK;
}

static bool record_read(void *ctx, const struct record *record) {
    struct reading *reading = ctx;
    struct attempt *attempt = reading->attempt;
    buf_clear(&attempt->text);
    bool made = attempt->send->availability;
    bool whole = attempt->send->source || attempt->send->webhook || attempt->send->batch ||
                 (attempt->send->request && stream_url_is(attempt->send->request->url, NULL)); /* in its headers */
    reading->err = whole ? document_read(attempt, record, reading->fault)
                         : plain_read(attempt, record, reading->fault);
    if (attempt->send->webhook != NULL) /* the whole CloudEvent, in its structured mode */
        attempt->data = buf_str(&attempt->text);
    if (replay_again(attempt->deliver, attempt->job.replay))
        attempt->again_id = arena_printf(&attempt->arena, "%.*s-r%llu", STR_FMT(attempt->id),
                                         (unsigned long long)attempt->job.replay);
    attempt->event_us = record->time_us;
    attempt->type = made ? STR(AVAILABILITY_CHANGED) : arena_str(&attempt->arena, record->type);
    attempt->subject = arena_str(&attempt->arena, made ? attempt->job.key : record->subject);
    return false;
}

enum err attempt_event_read(struct attempt *attempt, struct fault *fault) {
    struct reading reading = {.attempt = attempt, .err = ERR_NOT_FOUND, .fault = fault};
    fault_set(fault, ERR_NOT_FOUND, "the journal does not have the event");
    enum err err = ahead_read(&attempt->sub->ahead, attempt->deliver->options.tail, attempt->job.seq,
                              record_read, &reading, fault);
    if (err == OK)
        err = reading.err;
    return err == OK && attempt->job.listed ? edit_apply(attempt, fault) : err;
}
