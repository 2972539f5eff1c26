/* conflate: subscriptions where the newest value of a key is all that counts: what superseding means for
 * the rows of listed lanes, what a system acknowledged last, and the event availability.changed.
 *
 * availability.changed is in no journal: a row for each movement and SKU would cost every order what
 * only who sends availability needs. A subscription of it follows the stock events; each of their
 * positions (or SKUs) is a key, and what is mapped is what can be promised there when the delivery is
 * made, not when the event was. So it is never older than the event that asked for it.
 *
 * What always holds: a held delivery that is superseded stays listed until the journal knows that it is
 * held no more; what is said to be acknowledged was acknowledged, and nothing that was sent behind it
 * ended unknown. */
#include "deliver/conflate.h"

#include <string.h>

#include "base/decimal.h"
#include "core/event.h"
#include "domain/stock.h"

#define VALUE_BYTES_MAX 8192 /* a longer one is not remembered, and is sent again */
#define QUANTITY_SCALE 6
#define ONCE_MAX 64 /* keys of an event that are looked through for doubles */

/* --- superseding --------------------------------------------------------------------------- */

void superseded_list(struct subscription *sub, const struct progress_row *row,
                     const struct lane_before *before) {
    struct deliver *d = sub->deliver;
    if (d->failed)
        return;
    lanes_superseded(sub->lanes,
                     progress_supersede(d->progress, sub->name, row->lane, before->seq, row->seq));
    progress_list(d->progress, row);
    if (!before->held)
        return;
    struct progress_row held = *row;
    held.seq = before->seq;
    attempt_tell_superseded(sub, &held, row->seq);
}

void superseded_loaded(struct subscription *sub, const struct progress_row *row, uint64_t last_seq) {
    if (sub->send->conflate && last_seq > row->seq && progress_row_held(row))
        attempt_tell_superseded(sub, row, last_seq);
}

/* --- acknowledged -------------------------------------------------------------------------- */

void value_acknowledge(struct attempt *attempt, struct str value) {
    struct deliver *d = attempt->deliver;
    if (!attempt->send->conflate)
        return;
    if (value.len > VALUE_BYTES_MAX)
        value = STR_NONE;
    pthread_mutex_lock(&d->lock);
    if (!d->failed)
        progress_acknowledge(d->progress, attempt->sub->name, attempt->job.key, value);
    pthread_mutex_unlock(&d->lock);
}

enum err value_acknowledged(struct attempt *attempt, struct str *out, struct fault *fault) {
    struct deliver *d = attempt->deliver;
    *out = STR_NONE;
    if (!attempt->send->conflate)
        return OK;
    pthread_mutex_lock(&d->lock);
    enum err err = progress_acknowledged(d->progress, attempt->sub->name, attempt->job.key,
                                         &attempt->arena, out, fault);
    pthread_mutex_unlock(&d->lock);
    return err;
}

/* --- availability -------------------------------------------------------------------------- */

/* "SKU@LOCATION"; a location's code has no "@". */
static bool key_cut(struct str key, struct str *sku, struct str *location) {
    const char *at = key.len ? memrchr(key.ptr, '@', key.len) : NULL;
    *sku = at ? str_of(key.ptr, (size_t)(at - key.ptr)) : key;
    *location = at ? str_of(at + 1, key.len - sku->len - 1) : STR_NONE;
    return at != NULL;
}

static bool key_known(const struct str *keys, uint32_t count, struct str key) {
    for (uint32_t i = 0; i < count && i < ONCE_MAX; i++)
        if (str_eq(keys[i], key))
            return true;
    return false;
}

enum err availability_keys(struct deliver *d, const struct connector_send *send,
                           const struct record *record, struct arena *arena, struct str **out,
                           uint32_t *count, struct fault *fault) {
    const struct json *data;
    *count = 0;
    if (!str_starts(record->type, STR("stock.")))
        return OK;
    enum err err = json_parse(d->parser, arena, record->data, false, &data, fault);
    const struct json *changes = err == OK ? json_member(data, STR("changes")) : NULL;
    if (err != OK || !changes || changes->kind != JSON_ARRAY)
        return err;
    struct str *keys = arena_array(arena, changes->count + 1, sizeof *keys);
    const struct json *change = json_first(changes);
    for (uint32_t i = 0; keys && i < changes->count; i++, change = json_next(change)) {
        struct str sku = json_member_str(change, STR("sku"));
        struct str location = json_member_str(change, STR("location"));
        struct str key = send->key == SEND_KEY_SKU
                             ? sku
                             : arena_printf(arena, "%.*s@%.*s", STR_FMT(sku), STR_FMT(location));
        if (!key.ptr)
            return fault_set(fault, ERR_NOMEM, "no memory for keys");
        if (!key_known(keys, *count, key))
            keys[(*count)++] = key;
    }
    *out = keys;
    return keys ? OK : fault_set(fault, ERR_NOMEM, "no memory for keys");
}

/* Of a SKU at all its locations: their sum. */
static enum err sum_write(struct buf *out, struct str sku, const struct json *items, struct fault *fault) {
    int64_t sum = 0, one;
    const struct json *item = json_first(items);
    for (uint32_t i = 0; i < items->count; i++, item = json_next(item))
        if (!decimal_parse(json_member_str(item, STR("available")), QUANTITY_SCALE, &one) ||
            !decimal_add(sum, one, &sum))
            return fault_set(fault, ERR_INVALID, "the availability of %.*s is no number", STR_FMT(sku));
    buf_lit(out, "{\"sku\":");
    buf_json_str(out, sku);
    buf_lit(out, ",\"available\":\"");
    decimal_write(out, sum, QUANTITY_SCALE);
    buf_lit(out, "\",\"items\":");
    buf_str_add(out, items->text);
    buf_char(out, '}');
    return OK;
}

static enum err data_write(struct attempt *attempt, struct buf *out, struct fault *fault) {
    struct str sku, location;
    const struct json *answer;
    bool position = attempt->send->key != SEND_KEY_SKU && key_cut(attempt->job.key, &sku, &location);
    if (!position)
        sku = attempt->job.key;
    struct mapping_look ask = {.what = STR("availability"), .keys = {sku, location},
                               .key_count = position ? 2 : 1};
    enum err err = asking_hub.look(&attempt->deliver->asking, &ask, &attempt->arena, &answer, fault);
    const struct json *items = err == OK ? json_member(answer, STR("items")) : NULL;
    if (err != OK)
        return err;
    if (!position)
        return sum_write(out, sku, items, fault);
    buf_str_add(out, json_first(items)->text);
    return OK;
}

enum err availability_event(struct attempt *attempt, const struct record *record, struct str cell,
                            struct buf *out, struct fault *fault) {
    struct deliver *d = attempt->deliver;
    struct event_meta meta;
    enum err err = event_meta_load(record->meta, d->parser, &attempt->arena, &meta, fault);
    if (err != OK)
        return err;
    struct str id = arena_printf(&attempt->arena, "%.*s-%llu:%.*s", STR_FMT(cell),
                                 (unsigned long long)record->seq, STR_FMT(attempt->job.key));
    buf_lit(out, "{\"specversion\":\"1.0\",\"id\":");
    buf_json_str(out, id);
    buf_printf(out, ",\"source\":\"/penstock/%.*s\",\"type\":\"" EVENT_TYPE_PREFIX AVAILABILITY_CHANGED
                    EVENT_TYPE_SUFFIX "\",\"subject\":", STR_FMT(cell));
    buf_json_str(out, attempt->job.key);
    buf_lit(out, ",\"time\":\"");
    instant_write(out, (struct instant){.us = record->time_us});
    buf_printf(out, "\",\"datacontenttype\":\"application/json\",\"penstockseq\":%llu",
               (unsigned long long)record->seq);
    const struct {
        const char *name;
        struct str value;
    } attributes[] = {{"correlationid", meta.correlation}, {"traceparent", meta.traceparent},
                      {"partitionkey", attempt->job.key}};
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++) {
        if (!attributes[i].value.len)
            continue;
        buf_printf(out, ",\"%s\":", attributes[i].name);
        buf_json_str(out, attributes[i].value);
    }
    buf_lit(out, ",\"data\":");
    err = data_write(attempt, out, fault);
    buf_char(out, '}');
    if (err != OK)
        return err;
    return buf_ok(out) ? OK : fault_set(fault, ERR_NOMEM, "no memory for event %llu",
                                        (unsigned long long)record->seq);
}
