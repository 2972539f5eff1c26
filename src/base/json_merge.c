/* json_merge: a document and what is to be other in it (RFC 7396, JSON Merge Patch). Both are nested at most
 * JSON_DEPTH_MAX, so this is as well. */
#include "base/json.h"

static void member_begin(struct buf *out, struct str name, bool *any) {
    buf_char(out, *any ? ',' : '{');
    *any = true;
    buf_json_str(out, name);
    buf_char(out, ':');
}

/* What stands in the document, where the patch leaves it. */
static void members_merge(struct buf *out, const struct json *target, const struct json *patch, bool *any) {
    const struct json *name = json_first(target);
    for (uint32_t i = 0; i < target->count; i++) {
        const struct json *value = json_next(name), *other = json_member(patch, name->text);
        if (!other || other->kind != JSON_NULL) {
            member_begin(out, name->text, any);
            if (other)
                json_merge(out, value, other);
            else
                json_write(out, value);
        }
        name = json_next(value);
    }
}

void json_merge(struct buf *out, const struct json *target, const struct json *patch) {
    bool any = false;
    if (patch->kind != JSON_OBJECT) {
        json_write(out, patch);
        return;
    }
    if (target && target->kind != JSON_OBJECT)
        target = NULL;
    if (target)
        members_merge(out, target, patch, &any);
    const struct json *name = json_first(patch);
    for (uint32_t i = 0; i < patch->count; i++) {
        const struct json *value = json_next(name);
        bool known = target && json_member(target, name->text);
        if (!known && value->kind != JSON_NULL && json_member(patch, name->text) == value) {
            member_begin(out, name->text, &any);
            json_merge(out, NULL, value);
        }
        name = json_next(value);
    }
    if (!any)
        buf_char(out, '{');
    buf_char(out, '}');
}
