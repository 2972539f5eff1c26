/* batch: the events of one commit, encoded as they will stand in the journal. The text buffer
 * grows while events are added, so records hold offsets until the batch is sealed. */
#include "core/core_priv.h"

#include "base/mem.h"

#define BATCH_BYTES_MAX ((size_t)1 << 30)

void batch_init(struct batch *batch) {
    *batch = (struct batch){0};
    buf_init(&batch->text, BATCH_BYTES_MAX);
}

void batch_free(struct batch *batch) {
    buf_free(&batch->text);
    mem_free(batch->records);
    batch_init(batch);
}

#define BATCH_KEEP ((size_t)64 << 20) /* a rare huge batch must not keep its memory */

void batch_clear(struct batch *batch) {
    if (batch->text.cap > BATCH_KEEP)
        buf_free(&batch->text);
    buf_clear(&batch->text);
    batch->count = 0;
}

static bool batch_room(struct batch *batch) {
    if (batch->count < batch->cap)
        return true;
    uint32_t cap = batch->cap ? batch->cap * 2 : 256;
    struct record *records = mem_resize(batch->records, (size_t)cap * sizeof *records);
    if (!records)
        return false;
    batch->records = records;
    batch->cap = cap;
    return true;
}

/* A string of which only the offset is known yet. */
static struct str text_from(const struct batch *batch, size_t start) {
    return str_of((const char *)(uintptr_t)start, batch->text.len - start);
}

enum err batch_add(struct batch *batch, const struct event *event, struct fault *fault) {
    size_t start = batch->text.len;
    if (!batch_room(batch))
        return fault_set(fault, ERR_NOMEM, "no memory for another event");
    struct record *record = &batch->records[batch->count];
    *record = (struct record){.seq = event->seq, .time_us = event->time_us,
                              .type = str_c(event->type->name)};
    size_t at = start;
    buf_str_add(&batch->text, event->subject);
    record->subject = text_from(batch, at);
    at = batch->text.len;
    shape_encode(&event_meta_shape, &event->meta, &batch->text);
    record->meta = text_from(batch, at);
    at = batch->text.len;
    if (event->data_json.len)
        buf_str_add(&batch->text, event->data_json);
    else if (batch->seals)
        shape_encode_public(event->type->shape, event->data, &batch->text);
    else
        shape_encode(event->type->shape, event->data, &batch->text);
    record->data = text_from(batch, at);
    if (!buf_ok(&batch->text)) {
        batch->text.failed = false;
        batch->text.len = start;
        return fault_set(fault, ERR_NOMEM, "no memory for another event");
    }
    batch->count++;
    return OK;
}

void batch_cut(struct batch *batch, uint32_t count) {
    must(count <= batch->count);
    if (count < batch->count)
        batch->text.len = (size_t)(uintptr_t)batch->records[count].subject.ptr;
    batch->count = count;
}

static void text_seal(const struct batch *batch, struct str *s) {
    s->ptr = batch->text.data + (uintptr_t)s->ptr;
}

void batch_seal(struct batch *batch) {
    for (uint32_t i = 0; i < batch->count; i++) {
        struct record *record = &batch->records[i];
        text_seal(batch, &record->subject);
        text_seal(batch, &record->meta);
        text_seal(batch, &record->data);
    }
}
