/* map_hub: see map_hub.h. */
#include "cli/map_hub.h"

static enum err ask(struct client *client, struct buf *path, struct arena *arena,
                    const struct json **out, struct fault *fault) {
    struct client_answer answer;
    struct client_request request = {.path = buf_cstr(path)};
    *out = NULL;
    enum err err = client_call(client, &request, arena, &answer, fault);
    buf_free(path);
    if (err)
        return err;
    if (answer.status == 404)
        return OK;
    if (answer.status != 200 || !answer.json)
        return client_problem(&answer, fault);
    *out = answer.json;
    return OK;
}

static void part(struct buf *path, const char *before, struct str text) {
    buf_str_add(path, str_c(before));
    client_encode(path, text);
}

static enum err hub_code(void *ctx, const struct mapping_code *code, struct arena *arena,
                         struct str *out, struct fault *fault) {
    struct buf path;
    const struct json *answer;
    buf_init(&path, 0);
    part(&path, "/v1/cross-references/", code->system);
    part(&path, "/", code->kind);
    part(&path, code->out ? "/out/" : "/", code->text);
    enum err err = ask(ctx, &path, arena, &answer, fault);
    *out = answer ? json_member_str(answer, code->out ? STR("value") : STR("code")) : STR_NONE;
    return err;
}

static enum err hub_look(void *ctx, const struct mapping_look *look, struct arena *arena,
                         const struct json **out, struct fault *fault) {
    struct buf path;
    const struct json *answer, *items;
    buf_init(&path, 0);
    bool order = str_is(look->what, "order");
    if (order && look->key_count == 1) {
        part(&path, "/v1/orders/", look->keys[0]);
        return ask(ctx, &path, arena, out, fault);
    }
    if (order && look->key_count == 2) {
        part(&path, "/v1/orders?channel=", look->keys[0]);
        part(&path, "&channel_order_id=", look->keys[1]);
    } else if (str_is(look->what, "availability") && look->key_count <= 2) {
        part(&path, "/v1/availability?sku=", look->keys[0]);
        if (look->key_count == 2)
            part(&path, "&location=", look->keys[1]);
        return ask(ctx, &path, arena, out, fault);
    } else {
        buf_free(&path);
        return fault_set(fault, ERR_INVALID, "look: there is no \"%.*s\" with %u keys: order, availability",
                         (int)(look->what.len < 64 ? look->what.len : 64), look->what.ptr,
                         look->key_count);
    }
    enum err err = ask(ctx, &path, arena, &answer, fault);
    items = answer ? json_member(answer, STR("items")) : NULL;
    *out = items && items->kind == JSON_ARRAY && items->count > 0 ? json_first(items) : NULL;
    return err;
}

const struct mapping_hub map_hub = {.code = hub_code, .look = hub_look};
