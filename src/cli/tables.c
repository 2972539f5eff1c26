/* tables: the capabilities, what the gateway serves beside them, and the operations side. */
#include "cli/tables.h"

#include "deliver/deliver.h"
#include "domain/list.h"
#include "gateway/contract.h"
#include "gateway/gateway.h"
#include "ops/erasure.h"
#include "ops/ops.h"

#define EXTRAS_MAX 16

static bool of_capability(const struct route *routes) {
    for (const struct capability *const *c = domain_capabilities; *c; c++)
        if ((*c)->routes == routes)
            return true;
    return false;
}

const struct api_tables *cli_tables(void) {
    static struct api_extra extras[EXTRAS_MAX + 4];
    static struct api_tables tables;
    uint32_t count = 0;
    if (tables.capabilities)
        return &tables;
    for (const struct route *const *r = gateway_routes(domain_capabilities); *r; r++) {
        if (of_capability(*r))
            continue;
        must(count < EXTRAS_MAX);
        extras[count++] = (struct api_extra){
            "hub", "Events, webhooks, health, metrics, descriptions", *r};
    }
    extras[count++] = (struct api_extra){"ops", "What operators look at", ops_routes};
    extras[count++] = (struct api_extra){"customers", "Persons, and their erasure", erasure_routes};
    extras[count] = (struct api_extra){"deliveries", "What goes out, and what is held",
                                       deliver_routes};
    tables = (struct api_tables){.capabilities = domain_capabilities, .extras = extras, .contracts = contracts,
                                 .examples = api_examples};
    return &tables;
}
