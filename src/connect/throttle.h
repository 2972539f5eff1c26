/* throttle: what an answer says of how much more its sender will take, in whatever way it says it.
 *
 *  Shopify, Admin REST       X-Shopify-Shop-Api-Call-Limit: 32/40
 *                            (shopify.dev/docs/api/admin-rest/usage/rate-limits)
 *  Shopify, Admin GraphQL    extensions.cost of the answer (shopify.dev/docs/api/usage/limits)
 *  BigCommerce               X-Rate-Limit-Requests-Left, -Requests-Quota, -Time-Reset-Ms, -Time-Window-Ms
 *                            (developer.bigcommerce.com/docs/start/best-practices/api-rate-limits)
 *  Lightspeed, R-Series      X-LS-API-Bucket-Level: 8.5/60, X-LS-API-Drip-Rate, X-LS-API-Request-Cost
 *                            (developers.lightspeedhq.com/retail/introduction/ratelimits)
 *  Amazon, SP-API            x-amzn-RateLimit-Limit: 0.0167
 *                            (developer-docs.amazon.com/sp-api/docs/usage-plans-and-rate-limits)
 *  IETF                      RateLimit: "default";r=50;t=30 and RateLimit-Policy: "default";q=100;w=60
 *                            (draft-ietf-httpapi-ratelimit-headers-10)
 *  IETF, before              RateLimit-Limit, -Remaining, -Reset in seconds (the same, -06)
 *  many others               X-RateLimit-Limit, -Remaining, -Reset, which is seconds or a time
 *
 * Pure. Numbers are thousandths of a call: buckets have fractions, and where a call costs more than
 * one unit of them, they are divided by what it costs. What can not be read is not there. */
#ifndef PENSTOCK_CONNECT_THROTTLE_H
#define PENSTOCK_CONNECT_THROTTLE_H

#include "base/json.h"
#include "connect/net.h"

#define THROTTLE_UNKNOWN INT64_C(-1)
struct throttle_hint {
    int64_t remaining_m;   /* calls it takes now, one after the other; may be 0 */
    int64_t limit_m;       /* calls it takes at most, after a rest */
    int64_t restore_mps;   /* calls a second that come back; more than 0 */
    int64_t reset_ms;      /* until all of them are back */
};
/* Of the headers. False: they say nothing. */
bool throttle_headers(const struct net_answer *answer, int64_t wall_us, struct throttle_hint *out);
/* Of the answer's body where it is one of GraphQL with extensions.cost. */
bool throttle_cost(const struct json *body, struct throttle_hint *out);

#endif
