/* given: see given.h. Pure. */
#include "map/given.h"

static bool code_matches(const struct mapping_given *given, const struct json *entry,
                         const struct mapping_code *ask) {
    struct str system = json_member_str(entry, STR("system"));
    struct str direction = json_member_str(entry, STR("direction"));
    return str_eq(system.len ? system : given->system, ask->system) &&
           str_eq(json_member_str(entry, STR("kind")), ask->kind) &&
           str_eq(json_member_str(entry, ask->out ? STR("code") : STR("value")), ask->text) &&
           !str_is(direction, ask->out ? "in" : "out");
}

static enum err given_code(void *ctx, const struct mapping_code *ask, struct arena *arena,
                           struct str *out, struct fault *fault) {
    const struct mapping_given *given = ctx;
    *out = STR_NONE;
    if (!given->codes)
        return given->next ? given->next->code(given->next_ctx, ask, arena, out, fault) : OK;
    const struct json *entry = json_first(given->codes);
    for (uint32_t i = 0; i < given->codes->count && !out->ptr; i++, entry = json_next(entry)) {
        if (code_matches(given, entry, ask))
            *out = json_member_str(entry, ask->out ? STR("value") : STR("code"));
    }
    return OK;
}

static bool look_matches(const struct json *keys, const struct mapping_look *ask) {
    if (keys->count != ask->key_count + 1)
        return false;
    const struct json *at = json_first(keys);
    bool same = str_eq(at->text, ask->what);
    for (uint32_t i = 0; i < ask->key_count && same; i++) {
        at = json_next(at);
        same = str_eq(at->text, ask->keys[i]);
    }
    return same;
}

static enum err given_look(void *ctx, const struct mapping_look *ask, struct arena *arena,
                           const struct json **out, struct fault *fault) {
    const struct mapping_given *given = ctx;
    if (!given->looks && given->next)
        return given->next->look(given->next_ctx, ask, arena, out, fault);
    const struct json *entry = given->looks ? json_first(given->looks) : NULL;
    for (uint32_t i = 0; given->looks && i < given->looks->count; i++, entry = json_next(entry)) {
        if (!look_matches(json_member(entry, STR("look")), ask))
            continue;
        const struct json *answer = json_member(entry, STR("answer"));
        *out = answer && answer->kind != JSON_NULL ? answer : NULL;
        return OK;
    }
    return fault_set(fault, ERR_INVALID, "look(\"%.*s\", \"%.*s\"%s): what it answers is not given: "
                     "NAME.look.json beside the document, or --hub",
                     STR_FMT(ask->what), STR_FMT(ask->keys[0]), ask->key_count > 1 ? ", …" : "");
}

const struct mapping_hub mapping_given_hub = {.code = given_code, .look = given_look};

enum err mapping_given_check(const struct mapping_given *given, struct fault *fault) {
    static const char *const members[] = {"kind", "value", "code"};
    const struct json *codes = given->codes, *looks = given->looks;
    if ((codes && codes->kind != JSON_ARRAY) || (looks && looks->kind != JSON_ARRAY))
        return fault_set(fault, ERR_INVALID, "codes and looks are given as lists");
    const struct json *at = codes ? json_first(codes) : NULL;
    for (uint32_t i = 0; codes && i < codes->count; i++, at = json_next(at)) {
        bool good = at->kind == JSON_OBJECT;
        for (size_t k = 0; good && k < sizeof members / sizeof *members; k++)
            good = json_member_str(at, str_c(members[k])).len > 0;
        if (!good)
            return fault_set(fault, ERR_INVALID, "codes, /%u: {kind, value, code} as texts are wanted", i);
    }
    at = looks ? json_first(looks) : NULL;
    for (uint32_t i = 0; looks && i < looks->count; i++, at = json_next(at)) {
        const struct json *keys = at->kind == JSON_OBJECT ? json_member(at, STR("look")) : NULL;
        if (!keys || keys->kind != JSON_ARRAY || keys->count < 2 ||
            keys->count > MAPPING_LOOK_KEYS_MAX + 1 || !json_member(at, STR("answer")))
            return fault_set(fault, ERR_INVALID, "looks, /%u: {look = [name, key …], answer = …} is wanted",
                             i);
    }
    return OK;
}
