/* limits: see limits.h. The shape of a policy, what must agree within one, and those built in. */
#include "core/limits.h"

const char *const traffic_class_names[TRAFFIC_CLASSES] = {"checkout", "stock", "catalogue", "bulk",
                                                          "ops"};

bool traffic_class_find(struct str name, enum traffic_class *out) {
    for (int i = 0; i < TRAFFIC_CLASSES; i++)
        if (str_is(name, traffic_class_names[i])) {
            *out = (enum traffic_class)i;
            return true;
        }
    return false;
}

static const char *const by_names[] = {"caller", "connector", "address", NULL};
static const char *const period_names[] = {"hour", "day", "month", NULL};
static const char *const unit_names[] = {"documents", "calls", NULL};
static const char *const over_names[] = {"refuse", "slow", NULL};

#define AT(member) .offset = offsetof(struct config_limit, member), .since = 1
static const struct shape_field fields[] = {
    [LIMIT_POLICY] = {.name = "policy", .kind = SHAPE_CODE, .flags = SHAPE_REQUIRED, AT(policy),
                      .max = 32, .help = "Its name, as RateLimit-Policy says it. Of several with one "
                                         "name the most particular counts: callers before scopes "
                                         "before routes and connectors before classes"},
    [LIMIT_BY] = {.name = "by", .kind = SHAPE_ENUM, AT(by), .values = by_names,
                  .help = "Whose allowance it is: each caller has its own (the default), each "
                          "connector (webhooks), each address (who fails to say who he is, and "
                          "open routes; of IPv6 a /64)"},
    [LIMIT_CALLERS] = {.name = "callers", .kind = SHAPE_LIST, AT(callers),
                       .help = "Names or ids of callers; none: all"},
    [LIMIT_SCOPES] = {.name = "scopes", .kind = SHAPE_LIST, AT(scopes),
                      .help = "Callers that may do one of these; none: all"},
    [LIMIT_CONNECTORS] = {.name = "connectors", .kind = SHAPE_LIST, AT(connectors),
                          .help = "Connectors; none: all"},
    [LIMIT_CLASSES] = {.name = "classes", .kind = SHAPE_LIST, AT(classes),
                       .help = "Traffic classes: checkout, stock, catalogue, bulk, ops; none: all"},
    [LIMIT_ROUTES] = {.name = "routes", .kind = SHAPE_LIST, AT(routes),
                      .help = "Routes as OpenAPI has them: POST /v1/orders; none: all"},
    [LIMIT_RATE] = {.name = "rate", .kind = SHAPE_INTEGER, AT(rate), .min = 1, .max = 1000000000,
                    .help = "Units a window"},
    [LIMIT_WINDOW] = {.name = "window", .kind = SHAPE_INTEGER, AT(window_s), .min = 1, .max = 86400,
                      .help = "Seconds; 1 is the default"},
    [LIMIT_BURST] = {.name = "burst", .kind = SHAPE_INTEGER, AT(burst), .min = 1, .max = 1000000000,
                     .help = "Units at once, after a pause; the rate is the default"},
    [LIMIT_QUOTA] = {.name = "quota", .kind = SHAPE_INTEGER, AT(quota), .min = 1,
                     .max = 1000000000000, .help = "Units a period, in place of a rate"},
    [LIMIT_PERIOD] = {.name = "period", .kind = SHAPE_ENUM, AT(period), .values = period_names,
                      .help = "Of the quota: hour, day or month of the hub's calendar (time_zone)"},
    [LIMIT_UNIT] = {.name = "unit", .kind = SHAPE_ENUM, AT(unit), .values = unit_names,
                    .help = "What is counted: documents (the default; each line of a bulk call is "
                            "one), or calls"},
    [LIMIT_OVER] = {.name = "over", .kind = SHAPE_ENUM, AT(over), .values = over_names,
                    .help = "What is beyond the rate: refuse (429), or slow: it waits until it is "
                            "its turn, limit_slow_ms at most, then 429. Lines of a bulk call wait "
                            "in any case"},
};
SHAPE_DEFINE(config_limit_shape, "limit", struct config_limit, "A rate or a quota", fields);

#define HAS(row) (UINT64_C(1) << (row))
/* Far above what one machine serves: they bound mistakes, not business. */
const struct config_limit limit_built_in[] = {
    {.policy = {"default", 7}, .rate = 200000, .window_s = 1, .burst = 400000,
     .has = HAS(LIMIT_RATE)},
    {.policy = {"webhooks", 8}, .by = LIMIT_BY_CONNECTOR, .rate = 50000, .window_s = 1,
     .burst = 100000, .over = LIMIT_OVER_SLOW, .has = HAS(LIMIT_RATE)},
    {.policy = {"address", 7}, .by = LIMIT_BY_ADDRESS, .rate = 100, .window_s = 1, .burst = 2000,
     .has = HAS(LIMIT_RATE)},
    {.policy = {NULL, 0}},
};

static const char *fault_of_filters(const struct config_limit *limit, const char **member) {
    bool caller = limit->by == LIMIT_BY_CALLER;
    enum traffic_class ignored;
    *member = "callers";
    if (limit->callers.count > 0 && !caller)
        return "goes with by: caller alone";
    *member = "scopes";
    if (limit->scopes.count > 0 && !caller)
        return "goes with by: caller alone";
    *member = "connectors";
    if (limit->connectors.count > 0 && limit->by != LIMIT_BY_CONNECTOR)
        return "goes with by: connector alone";
    *member = "classes";
    for (uint32_t i = 0; i < limit->classes.count; i++)
        if (!traffic_class_find(*list_at(limit->classes, struct str, i), &ignored))
            return "knows checkout, stock, catalogue, bulk and ops";
    *member = "routes";
    for (uint32_t i = 0; i < limit->routes.count; i++) {
        struct str path = *list_at(limit->routes, struct str, i);
        str_cut(&path, ' ');
        if (!path.ptr || path.len == 0 || path.ptr[0] != '/')
            return "are written as POST /v1/orders";
    }
    return NULL;
}

const char *limit_settle(struct config_limit *limit, const char **member) {
    bool rated = shape_has(limit, LIMIT_RATE), counted = shape_has(limit, LIMIT_QUOTA);
    const char *wrong = fault_of_filters(limit, member);
    if (wrong)
        return wrong;
    *member = "rate";
    if (rated == counted)
        return "or quota: one of them must be given";
    *member = "window";
    if (counted && (shape_has(limit, LIMIT_WINDOW) || shape_has(limit, LIMIT_BURST)))
        return "and burst go with a rate";
    *member = "period";
    if (counted != (shape_has(limit, LIMIT_PERIOD) != 0))
        return counted ? "must say of what the quota is: hour, day or month"
                       : "goes with a quota";
    *member = "over";
    if (counted && limit->over == LIMIT_OVER_SLOW)
        return "slow goes with a rate: nobody waits for the next day";
    if (!shape_has(limit, LIMIT_WINDOW))
        limit->window_s = 1;
    if (!shape_has(limit, LIMIT_BURST))
        limit->burst = limit->rate;
    *member = "burst";
    if (rated && limit->burst > LIMIT_FILL_S_MAX / limit->window_s * limit->rate)
        return "takes longer than 400 days to fill at this rate";
    return NULL;
}
