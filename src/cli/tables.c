/* tables: the capabilities, what the gateway serves beside them, and the operations side. */
#include "cli/tables.h"

#include "connect/drop.h"
#include "connect/streams.h"
#include "connect/poll.h"
#include "deliver/deliver.h"
#include "domain/list.h"
#include "gateway/auth.h"
#include "gateway/contract.h"
#include "gateway/gateway.h"
#include "ops/approvals.h"
#include "ops/connectors.h"
#include "ops/erasure.h"
#include "ops/exceptions.h"
#include "ops/ops.h"

#define EXTRAS_MAX 16

static bool of_capability(const struct route *routes) {
    for (const struct capability *const *c = domain_capabilities; *c; c++)
        if ((*c)->routes == routes)
            return true;
    return false;
}

const struct api_tables *cli_tables(void) {
    static struct api_extra extras[EXTRAS_MAX + 16];
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
    extras[count++] = (struct api_extra){"exceptions", "Cases that need a person's decision",
                                         exceptions_routes};
    extras[count++] = (struct api_extra){"customers", "Persons, and their erasure", erasure_routes};
    extras[count++] = (struct api_extra){"connectors", "The systems that are connected",
                                         connectors_routes};
    extras[count++] = (struct api_extra){"approvals", "Calls that need a second person",
                                         approvals_routes};
    extras[count++] = (struct api_extra){"polls", "What is fetched", poll_routes};
    extras[count++] = (struct api_extra){"files", "What is left in folders", drop_routes};
    extras[count++] = (struct api_extra){"replays", "What is sent once more", replay_routes};
    extras[count++] = (struct api_extra){"subscriptions", "How subscriptions fare",
                                         subscriber_routes_delivered};
    extras[count++] = (struct api_extra){"streams", "What is read from streams", streams_routes};
    extras[count] = (struct api_extra){"deliveries", "What goes out, and what is held",
                                       deliver_routes};
    tables = (struct api_tables){.capabilities = domain_capabilities, .extras = extras, .contracts = contracts,
                                 .examples = api_examples};
    return &tables;
}

static uint32_t scopes_of(const char **scopes, uint32_t count, const struct route *routes) {
    for (const struct route *r = routes; r && r->method; r++) {
        bool there = !r->scope;
        for (uint32_t i = 0; i < count && !there; i++)
            there = str_is(str_c(scopes[i]), r->scope);
        if (!there && count < CLI_SCOPES_MAX)
            scopes[count++] = r->scope;
    }
    return count;
}

uint32_t cli_scopes(const char *scopes[CLI_SCOPES_MAX]) {
    const struct api_tables *all = cli_tables();
    uint32_t count = 0;
    for (const struct capability *const *c = all->capabilities; *c; c++)
        count = scopes_of(scopes, count, (*c)->routes);
    for (const struct api_extra *e = all->extras; e && e->name; e++)
        count = scopes_of(scopes, count, e->routes);
    if (count < CLI_SCOPES_MAX)
        scopes[count++] = SCOPE_PERSONAL;
    return count;
}

bool cli_scope_known(struct str given) {
    const char *scopes[CLI_SCOPES_MAX];
    uint32_t count = cli_scopes(scopes);
    /* systems:tax.quote and the like: connectors declare them */
    bool known = str_is(given, "*") || str_starts(given, STR("systems:"));
    for (uint32_t i = 0; i < count && !known; i++)
        known = scope_covers(given, str_c(scopes[i]));
    return known;
}
