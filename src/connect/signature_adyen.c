/* signature_adyen: Adyen's standard notifications carry their signatures in the body, one per
 * item: base64(HMAC-SHA256(key, fields)) where fields are eight members of the item, joined by
 * colons, what is absent or null being empty (Adyen, "Verify HMAC signatures").
 *
 * All items must be signed: one that is not, or in which a signed member stands twice (so that
 * whoever maps it might read the other one), refuses the whole. */
#include "connect/signature_priv.h"

#define ITEMS_MAX 1000

/* The member, NULL where it is absent. False where it is there twice. */
static bool sole_member(const struct json *object, struct str name, const struct json **out) {
    *out = NULL;
    if (!object || object->kind != JSON_OBJECT)
        return true;
    const struct json *key = json_first(object);
    for (uint32_t i = 0; i < object->count; i++, key = json_next(key + 1)) {
        if (!str_eq(key->text, name))
            continue;
        if (*out)
            return false;
        *out = key + 1;
    }
    return true;
}

/* A scalar as its text; containers have none. */
static struct str scalar_text(const struct json *value) {
    if (!value || value->kind == JSON_NULL)
        return STR("");
    if (value->kind == JSON_BOOL)
        return value->count ? STR("true") : STR("false");
    return value->kind == JSON_STRING || value->kind == JSON_NUMBER ? value->text : STR_NONE;
}

static enum err item_verify(const struct connector_signature *signature, const struct json *item,
                            struct fault *fault) {
    static const struct {
        const char *object, *name;
    } signs[] = {{NULL, "pspReference"},      {NULL, "originalReference"},
                 {NULL, "merchantAccountCode"}, {NULL, "merchantReference"},
                 {"amount", "value"},         {"amount", "currency"},
                 {NULL, "eventCode"},         {NULL, "success"}};
    enum { SIGNED = sizeof signs / sizeof signs[0] };
    struct str parts[2 * SIGNED - 1];
    const struct json *more, *value;
    if (!sole_member(item, STR("additionalData"), &more) ||
        !sole_member(more, STR("hmacSignature"), &value))
        return signature_refuse(fault, "a member of a notification item is there twice");
    if (!value || value->kind != JSON_STRING || value->text.len == 0)
        return signature_refuse(fault, "a notification item has no additionalData.hmacSignature");
    struct str given = value->text;
    for (size_t i = 0; i < SIGNED; i++) {
        const struct json *object = item;
        if ((signs[i].object && !sole_member(item, str_c(signs[i].object), &object)) ||
            !sole_member(object, str_c(signs[i].name), &value))
            return signature_refuse(fault, "a signed member of a notification item is there twice");
        parts[2 * i] = scalar_text(value);
        if (!parts[2 * i].ptr)
            return signature_refuse(fault, "a signed member of a notification item is no scalar");
        if (i + 1 < SIGNED)
            parts[2 * i + 1] = STR(":");
    }
    return signatures_compare(signature, parts, 2 * SIGNED - 1, &given, 1, fault);
}

static enum err items_verify(const struct connector_signature *signature,
                             const struct json *document, struct fault *fault) {
    const struct json *items;
    if (!sole_member(document, STR("notificationItems"), &items))
        return signature_refuse(fault, "notificationItems is there twice");
    if (!items || items->kind != JSON_ARRAY || items->count == 0 || items->count > ITEMS_MAX)
        return signature_refuse(fault, "the body has no list notificationItems of 1 to 1000 items");
    const struct json *entry = json_first(items);
    for (uint32_t i = 0; i < items->count; i++, entry = json_next(entry)) {
        const struct json *item;
        if (!sole_member(entry, STR("NotificationRequestItem"), &item) || !item ||
            item->kind != JSON_OBJECT)
            return signature_refuse(fault, "a notification item has no NotificationRequestItem");
        enum err err = item_verify(signature, item, fault);
        if (err)
            return err;
    }
    return OK;
}

enum err verify_adyen(const struct connector_signature *signature,
                      const struct signature_message *message, struct fault *fault) {
    struct arena arena;
    struct fault broken = {0};
    const struct json *document;
    arena_init(&arena, 0);
    enum err err = json_parse(message->parser, &arena, message->body, false, &document, &broken);
    if (err == OK)
        err = items_verify(signature, document, fault);
    else if (err_info(err)->disposition == RETRYABLE)
        err = fault_set(fault, err, "%s", broken.detail);
    else
        err = signature_refuse(fault, "the body is no JSON, so it holds no signature");
    arena_free(&arena);
    return err;
}
