/* connector_load_batch: `conflate` and `batch` of what goes out: their tables, defaults, mappings, and
 * what they need to keep the word of delivery: what may have been taken is looked up, known by a key of
 * its own, or a value that may be set again. */
#include "connect/connector_priv.h"

#define BATCH_ITEMS 100
#define BATCH_BYTES (INT64_C(1) << 20)
#define SETTLE_MS 2000

static const struct shape_field batch_lookup_rows[] = {
    SHAPE_ROW(struct connector_batch_lookup, method, SHAPE_CODE, "HTTP method (POST)"),
    SHAPE_ROW(struct connector_batch_lookup, url, SHAPE_TEXT, "Where it is asked", .flags = SHAPE_REQUIRED,
              .min = 1, .max = 4096),
    {.name = "headers", .kind = SHAPE_OPEN, .offset = offsetof(struct connector_batch_lookup, headers_open),
     .since = 1, .help = "Object of texts"},
    SHAPE_ROW(struct connector_batch_lookup, mapping, SHAPE_CODE,
              "File beside this one: {members, batch} to what is sent; left out: no body"),
    SHAPE_ROW(struct connector_batch_lookup, answer, SHAPE_CODE,
              "File beside this one: {status, body, members} to {members = {{found, reference, current}, …}}",
              .flags = SHAPE_REQUIRED),
};
static SHAPE_DEFINE(batch_lookup_shape, "connector_batch_lookup", struct connector_batch_lookup,
                    "How to ask which members of a batch are there, or what is there", batch_lookup_rows);

static const struct shape_field batch_rows[] = {
    SHAPE_ROW(struct connector_batch, max_items, SHAPE_INTEGER, "Members of a call (100)", .min = 1,
              .max = 10000),
    SHAPE_ROW(struct connector_batch, max_bytes, SHAPE_INTEGER,
              "Bytes of their documents together (1048576)", .min = 1, .max = 67108864),
    SHAPE_ROW(struct connector_batch, linger_ms, SHAPE_INTEGER,
              "How long the first waits for others (0)", .min = 0, .max = 86400000),
    SHAPE_ROW(struct connector_batch, by, SHAPE_TEXT,
              "JSON Pointer into the event: only what is equal there goes into one call, as "
              "/data/business_day", .min = 1, .max = 256),
    SHAPE_ROW(struct connector_batch, mapping, SHAPE_CODE,
              "File beside this one: {members, batch} to what is sent; left out: the list of the documents"),
    SHAPE_ROW(struct connector_batch, answer, SHAPE_CODE,
              "File beside this one: {status, body, members} to {members = {{outcome, reference, cause, "
              "current}, …}}, or {too_large = true}; left out: the status holds for all"),
    SHAPE_ROW(struct connector_batch, idempotent, SHAPE_BOOL,
              "true: the system knows each member by a key in its document, and does it once (false)"),
    SHAPE_ROW(struct connector_batch, lookup, SHAPE_OBJECT,
              "How to ask for many at once what is there", .shape = &batch_lookup_shape),
};
SHAPE_DEFINE(connector_batch_shape, "connector_batch", struct connector_batch, "Several in one call",
             batch_rows);

static void load_batch_lookup(struct loader *l, struct connector_batch_lookup *lookup,
                              struct buf *missing, struct str pointer) {
    lookup->request = (struct connector_request){
        .method = lookup->method, .url = lookup->url, .headers_open = lookup->headers_open};
    load_request(l, &lookup->request, "POST", missing, pointer);
    load_mapping(l, lookup->mapping, load_pointer(l, "%.*s/mapping", STR_FMT(pointer)),
                 &lookup->mapping_source);
    load_mapping(l, lookup->answer, load_pointer(l, "%.*s/answer", STR_FMT(pointer)),
                 &lookup->answer_source);
}

static void fault_at(struct loader *l, struct str pointer, const char *member, const char *words) {
    yaml_fault(&l->yaml, l->fault, load_pointer(l, "%.*s/%s", STR_FMT(pointer), member), "%s", words);
}

static void check_conflate(struct loader *l, const struct connector_send *send, struct str pointer) {
    if (send->conflate && (send->script.len || send->lookup || send->reference.len))
        fault_at(l, pointer, "conflate",
                 "can not stand with script, lookup or reference: a value is set, again where in doubt");
    if (send->conflate && send->personal)
        fault_at(l, pointer, "personal", "what is personal is not for conflate, which keeps what was sent");
    if (send->conflate && send->key == SEND_KEY_NONE)
        fault_at(l, pointer, "key", "conflate needs a key: the newest of which one?");
    if (send->key == SEND_KEY_SKU && !send->availability)
        fault_at(l, pointer, "key", "sku is for availability.changed alone");
    if (send->availability && send->events.count > 1)
        fault_at(l, pointer, "events", "availability.changed stands alone: others go by a subscription of "
                                       "their own");
    if (send->availability && !send->conflate)
        fault_at(l, pointer, "conflate", "availability.changed needs conflate: latest");
}

static void check_batch(struct loader *l, const struct connector_send *send, struct str pointer) {
    const struct connector_batch *batch = send->batch;
    if (send->script.len)
        fault_at(l, pointer, "batch", "can not stand with script");
    if (batch->by.len && batch->by.ptr[0] != '/')
        fault_at(l, pointer, "batch/by", "must be a JSON Pointer, as /data/business_day");
    if (send->lookup && batch->lookup)
        fault_at(l, pointer, "batch/lookup", "stands in place of lookup, which asks for one at a time");
    if (send->reference.len)
        fault_at(l, pointer, "reference", "of a batch, its `answer` says the number of each member");
    if (!send->conflate && !batch->idempotent && !batch->lookup && !send->lookup)
        fault_at(l, pointer, "batch",
                 "needs a lookup (here, or for one at a time beside it), or idempotent: true, or conflate: "
                 "else an answer that is lost leaves members that can not be sent again");
}

void load_batch(struct loader *l, struct connector_send *send, struct buf *missing, struct str pointer) {
    for (uint32_t i = 0; i < send->events.count; i++)
        send->availability |= str_is(*list_at(send->events, struct str, i), "availability.changed");
    check_conflate(l, send, pointer);
    if (send->batch)
        check_batch(l, send, pointer);
    if (!send->conflate && !send->batch)
        return;
    if (!send->settle_ms)
        send->settle_ms = SETTLE_MS;
    if (!send->batch) {
        send->bare = true;
        send->batch = arena_new(l->arena, struct connector_batch);
        if (!send->batch) {
            send->conflate = SEND_CONFLATE_NONE;
            fault_at(l, pointer, "conflate", "no memory for connectors");
            return;
        }
        send->batch->max_items = 1;
    }
    struct connector_batch *batch = send->batch;
    if (!batch->max_items)
        batch->max_items = BATCH_ITEMS;
    if (!batch->max_bytes)
        batch->max_bytes = BATCH_BYTES;
    load_mapping(l, batch->mapping, load_pointer(l, "%.*s/batch/mapping", STR_FMT(pointer)),
                 &batch->mapping_source);
    load_mapping(l, batch->answer, load_pointer(l, "%.*s/batch/answer", STR_FMT(pointer)),
                 &batch->answer_source);
    if (batch->lookup)
        load_batch_lookup(l, batch->lookup, missing,
                          load_pointer(l, "%.*s/batch/lookup", STR_FMT(pointer)));
}
