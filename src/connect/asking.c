/* asking: see asking.h. Holds nothing but what its callers gave. */
#include "connect/asking.h"

#include "domain/cross_references.h"
#include "domain/stock.h"

static enum err asking_code(void *ctx, const struct mapping_code *ask, struct arena *arena,
                            struct str *out, struct fault *fault) {
    const struct asking *asking = ctx;
    core_read_begin(asking->core);
    enum err err = cross_reference_find(core_state(asking->core, &cross_references_capability),
                                        ask->system, ask->kind, ask->text, ask->out, arena, out);
    core_read_end(asking->core);
    return err ? fault_set(fault, err, "no memory for a code") : OK;
}

static enum err look_availability(const struct asking *asking, const struct mapping_look *ask,
                                  struct arena *arena, const struct json **out,
                                  struct fault *fault) {
    struct query_value values[2] = {{STR("sku"), ask->keys[0]}, {STR("location"), ask->keys[1]}};
    struct reader reader = {.core = asking->core, .parser = asking->parser};
    struct buf text;
    struct query query = {.arena = arena, .reader = &reader, .values = values,
                          .value_count = ask->key_count, .out = &text};
    if (ask->key_count > 2)
        return fault_set(fault, ERR_INVALID, "look(\"availability\"): a SKU, and perhaps a location");
    buf_init(&text, 0);
    fault->arena = arena;
    enum err err = stock_availability(&query, fault);
    if (err && fault->first)
        fault_set(fault, err, "look(\"availability\"): %.*s %.*s", STR_FMT(fault->first->pointer),
                  STR_FMT(fault->first->detail));
    struct str kept = !err && buf_ok(&text) ? arena_str(arena, buf_str(&text)) : STR_NONE;
    buf_free(&text);
    if (err)
        return err;
    return kept.ptr ? json_parse(asking->parser, arena, kept, false, out, fault)
                    : fault_set(fault, ERR_NOMEM, "no memory for a look");
}

static enum err asking_look(void *ctx, const struct mapping_look *ask, struct arena *arena,
                            const struct json **out, struct fault *fault) {
    if (str_is(ask->what, "availability"))
        return look_availability(ctx, ask, arena, out, fault);
    return fault_set(fault, ERR_INVALID, "look: there is no \"%.*s\": availability",
                     (int)(ask->what.len < 64 ? ask->what.len : 64), ask->what.ptr);
}

const struct mapping_hub asking_hub = {.code = asking_code, .look = asking_look};
