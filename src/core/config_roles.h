/* config_roles: section `roles` of penstock.yaml: which connector holds a role (erp, tax …), for whom.
 * Rows are tried in order, the first that fits holds it: another ERP, or another tax system for a
 * region, is another row, and no caller notices. */
#ifndef PENSTOCK_CORE_CONFIG_ROLES_H
#define PENSTOCK_CORE_CONFIG_ROLES_H

#include "shape/shape.h"

struct config_role {
    uint64_t has;
    int32_t role; /* index into config_role_values */
    struct str connector;
    struct str region, store; /* absent: any */
    int64_t percent;          /* of keys; 0: all */
    uint32_t line;            /* not in the file: where it stands in penstock.yaml */
};
extern const struct shape config_role_shape;
extern const char *const config_role_values[]; /* ends with NULL */
extern const char config_role_names[];         /* "erp, pim, …" */
bool config_role_known(struct str role);

struct config;
/* The row that holds it for them, NULL: none. The same `key` is on the same side of a percentage
 * always; more percent keep those that fewer had. */
const struct config_role *config_role_find(const struct config *config, struct str role,
                                           struct str region, struct str store, struct str key);

#endif
