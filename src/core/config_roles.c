/* config_roles: see config_roles.h. */
#include "core/config_roles.h"

#include <stdio.h>

#include "base/hash.h"
#include "core/config_priv.h"

const char *const config_role_values[] = {"erp", "pim", "pos", "oms",     "wms", "crm",
                                          "loyalty", "payment", "tax", NULL};
const char config_role_names[] = "erp, pim, pos, oms, wms, crm, loyalty, payment, tax";

#define AT(member) .offset = offsetof(struct config_role, member), .since = 1
static const struct shape_field role_fields[] = {
    {.name = "role", .kind = SHAPE_ENUM, AT(role), .flags = SHAPE_REQUIRED, .values = config_role_values,
     .help = "What the system is for"},
    {.name = "connector", .kind = SHAPE_CODE, AT(connector), .flags = SHAPE_REQUIRED,
     .help = "Who holds it"},
    {.name = "region", .kind = SHAPE_ID, AT(region), .help = "Only where the caller names this region"},
    {.name = "store", .kind = SHAPE_ID, AT(store), .help = "Only where the caller names this store"},
    {.name = "percent", .kind = SHAPE_INTEGER, AT(percent), .min = 1, .max = 100,
     .help = "Only for so many of a hundred keys (the caller's key, else store, else Idempotency-Key). "
             "Default: all"},
};
SHAPE_DEFINE(config_role_shape, "role", struct config_role, "Which connector holds a role", role_fields);

bool config_role_known(struct str role) {
    for (const char *const *value = config_role_values; *value; value++)
        if (str_is(role, *value))
            return true;
    return false;
}

static bool fits(const struct config_role *row, struct str region, struct str store, struct str key) {
    if (row->region.len && !str_eq(row->region, region))
        return false;
    if (row->store.len && !str_eq(row->store, store))
        return false;
    return row->percent == 0 || hash64(key, 0) % 100 < (uint64_t)row->percent;
}

const struct config_role *config_role_find(const struct config *config, struct str role,
                                           struct str region, struct str store, struct str key) {
    for (uint32_t i = 0; i < config->roles.count; i++) {
        const struct config_role *row = &list_at(config->roles, struct config_role, 0)[i];
        if (str_is(role, config_role_values[row->role]) && fits(row, region, store, key))
            return row;
    }
    return NULL;
}

void roles_place(struct config *config, const struct yaml *yaml) {
    for (uint32_t i = 0; i < config->roles.count; i++) {
        char pointer[64];
        snprintf(pointer, sizeof pointer, "/roles/%u/connector", (unsigned)i);
        list_at(config->roles, struct config_role, i)->line = yaml_line(yaml, str_c(pointer));
    }
}
