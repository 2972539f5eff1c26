/* outcome: see outcome.h. Owns the tables of platforms. */
#include "connect/outcome.h"

#include <string.h>

#define BODY_BYTES_MAX ((size_t)4 << 20) /* a longer one is not looked into */

const char *const outcome_names[] = {"success", "final", "retryable", "ambiguous", "throttled", "unreachable",
                                     NULL};

/* --- platforms ------------------------------------------------------------------------------- */

#define LIT(text) {text, sizeof text - 1} /* STR is no constant */
#define RULES(rows) rows, sizeof rows / sizeof *rows
#define IS(...) .is = (struct str[]){__VA_ARGS__}, \
                .is_count = sizeof((struct str[]){__VA_ARGS__}) / sizeof(struct str)

/* Shopify Admin REST: shopify.dev/docs/api/usage/response-codes. 402: the shop is frozen, 423: it is locked;
 * both hold for every call. 430: the request is deemed malicious. */
static const struct outcome_status shopify_statuses[] = {
    {402, OUTCOME_UNREACHABLE}, {423, OUTCOME_UNREACHABLE}, {430, OUTCOME_FINAL}, {0, 0}};

/* GraphQL over HTTP answers 200 whatever happened (spec.graphql.org, 7.1.2 "Errors"); codes as Apollo Server
 * gave them to the world (apollographql.com/docs/apollo-server/data/errors). A mutation that answers data
 * beside its errors has done a part: a person looks. */
static const struct outcome_rule graphql_rules[] = {
    {.at = LIT("/errors/*/extensions/code"), IS(LIT("THROTTLED"), LIT("RATE_LIMITED")),
     .means = OUTCOME_THROTTLED},
    {.at = LIT("/errors/*/extensions/code"), IS(LIT("UNAUTHENTICATED"), LIT("FORBIDDEN")),
     .means = OUTCOME_UNREACHABLE},
    {.at = LIT("/errors/*/extensions/code"), IS(LIT("INTERNAL_SERVER_ERROR")),
     .means = OUTCOME_AMBIGUOUS},
    {.at = LIT("/errors"), .means = OUTCOME_FINAL},
};

/* Shopify Admin GraphQL: shopify.dev/docs/api/admin-graphql, "Status and error codes": THROTTLED,
 * ACCESS_DENIED, SHOP_INACTIVE, INTERNAL_SERVER_ERROR; a mutation refuses in its userErrors. Older
 * versions say "Throttled" in the message alone. */
static const struct outcome_rule shopify_graphql_rules[] = {
    {.at = LIT("/errors/*/extensions/code"), IS(LIT("THROTTLED")), .means = OUTCOME_THROTTLED},
    {.at = LIT("/errors/*/message"), IS(LIT("Throttled")), .means = OUTCOME_THROTTLED},
    {.at = LIT("/errors/*/extensions/code"), IS(LIT("ACCESS_DENIED"), LIT("SHOP_INACTIVE")),
     .means = OUTCOME_UNREACHABLE},
    {.at = LIT("/errors/*/extensions/code"), IS(LIT("INTERNAL_SERVER_ERROR")),
     .means = OUTCOME_AMBIGUOUS},
    {.at = LIT("/errors"), .means = OUTCOME_FINAL},
    {.at = LIT("/data/*/userErrors"), .means = OUTCOME_FINAL},
};

/* JSON-RPC 2.0 (jsonrpc.org/specification, 5.1): -32603 is an error within the server, as are what it keeps
 * for itself from -32000 on; the others refuse what was sent. */
static const struct outcome_rule jsonrpc_rules[] = {
    {.at = LIT("/error/code"), IS(LIT("-32603"), LIT("-32000")), .means = OUTCOME_AMBIGUOUS},
    {.at = LIT("/error"), .means = OUTCOME_FINAL},
};

/* Amazon SP-API (developer-docs.amazon.com/sp-api/docs/sp-api-errors-faq): errors[].code; some operations
 * say QuotaExceeded with 400 or 403. */
static const struct outcome_rule amazon_rules[] = {
    {.at = LIT("/errors/*/code"), IS(LIT("QuotaExceeded"), LIT("TooManyRequests")),
     .means = OUTCOME_THROTTLED, .any = true},
    {.at = LIT("/errors/*/code"), IS(LIT("InternalFailure")), .means = OUTCOME_AMBIGUOUS, .any = true},
};

/* BigCommerce (developer.bigcommerce.com/docs/start/about/status-codes): 509 is what 429 was called before,
 * 507 a limit of the store's plan. */
static const struct outcome_status bigcommerce_statuses[] = {
    {423, OUTCOME_RETRYABLE}, {507, OUTCOME_FINAL}, {509, OUTCOME_THROTTLED}, {0, 0}};

/* Lightspeed Retail, R-Series (developers.lightspeedhq.com/retail/introduction/errors): 402, the account is
 * not paid for. */
static const struct outcome_status lightspeed_statuses[] = {{402, OUTCOME_UNREACHABLE}, {0, 0}};

/* Stripe (docs.stripe.com/error-low-level): 409 with an Idempotency-Key: the first call of that key is still
 * at work; 424: something it depends on failed, which is an answer. */
static const struct outcome_status stripe_statuses[] = {
    {402, OUTCOME_FINAL}, {409, OUTCOME_RETRYABLE}, {424, OUTCOME_FINAL}, {0, 0}};
/* Another call had the object: not a limit (docs.stripe.com/rate-limits, "Object lock timeouts"). */
static const struct outcome_rule stripe_rules[] = {
    {.at = LIT("/error/code"), IS(LIT("lock_timeout")), .means = OUTCOME_RETRYABLE, .any = true}};

/* OData 4.0 (docs.oasis-open.org/odata/odata/v4.0, part 1, 9.3): 412, somebody changed it meanwhile; 423 as
 * SAP answers while a user has the object open; a 200 may carry an error that came in the middle (19.). */
static const struct outcome_status odata_statuses[] = {
    {412, OUTCOME_FINAL}, {423, OUTCOME_RETRYABLE}, {428, OUTCOME_FINAL}, {0, 0}};
static const struct outcome_rule odata_rules[] = {{.at = LIT("/error"), .means = OUTCOME_AMBIGUOUS}};

const struct outcome_like outcome_likes[] = {
    {"http", NULL, NULL, 0},
    {"amazon", NULL, RULES(amazon_rules)},
    {"bigcommerce", bigcommerce_statuses, NULL, 0},
    {"graphql", NULL, RULES(graphql_rules)},
    {"jsonrpc", NULL, RULES(jsonrpc_rules)},
    {"lightspeed", lightspeed_statuses, NULL, 0},
    {"odata", odata_statuses, RULES(odata_rules)},
    {"shopify", shopify_statuses, NULL, 0},
    {"shopify-graphql", shopify_statuses, RULES(shopify_graphql_rules)},
    {"stripe", stripe_statuses, RULES(stripe_rules)},
};
const char *const outcome_like_names[] = {"http",       "amazon", "bigcommerce", "graphql",         "jsonrpc",
                                          "lightspeed", "odata",  "shopify",     "shopify-graphql", "stripe",
                                          NULL};

/* --- statuses -------------------------------------------------------------------------------- */

/* 401, 403, 407: our credentials or the way there, every call would end like this one. 502, 504: somebody in
 * between gave up; 503: turned away. 408 and what else went wrong there: it may have been done. Other 4xx
 * speak of the document. */
void outcome_usual(struct connector_outcome *outcome, bool spelled) {
    static const struct outcome_status usual[] = {
        {401, OUTCOME_UNREACHABLE}, {403, OUTCOME_UNREACHABLE}, {407, OUTCOME_UNREACHABLE},
        {408, OUTCOME_AMBIGUOUS},   {425, OUTCOME_RETRYABLE},   {429, OUTCOME_THROTTLED},
        {502, OUTCOME_UNREACHABLE}, {503, OUTCOME_UNREACHABLE}, {504, OUTCOME_UNREACHABLE}};
    memset(outcome->kind, OUTCOME_RETRYABLE, sizeof outcome->kind);
    memset(outcome->kind + 200, spelled ? OUTCOME_FINAL : OUTCOME_SUCCESS, 100);
    memset(outcome->kind + 400, OUTCOME_FINAL, 100);
    memset(outcome->kind + 500, OUTCOME_AMBIGUOUS, 100);
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        outcome->kind[usual[i].status] = usual[i].kind;
}

static enum connector_outcome_kind status_means(const struct connector_outcome *outcome, int status) {
    struct connector_outcome usual;
    if (status < 100 || status > 599)
        return OUTCOME_AMBIGUOUS;
    if (outcome)
        return (enum connector_outcome_kind)outcome->kind[status];
    outcome_usual(&usual, false);
    return (enum connector_outcome_kind)usual.kind[status];
}

/* --- bodies ---------------------------------------------------------------------------------- */

/* There, and neither null, false, nor empty. */
static bool is_something(const struct json *value) {
    switch ((enum json_kind)value->kind) {
    case JSON_NULL: return false;
    case JSON_BOOL:
    case JSON_ARRAY:
    case JSON_OBJECT: return value->count > 0;
    case JSON_STRING: return value->text.len > 0;
    case JSON_NUMBER: return true;
    }
    return false;
}

static bool value_is(const struct outcome_rule *rule, const struct json *value) {
    if (rule->is_count == 0)
        return is_something(value);
    for (uint32_t i = 0; i < rule->is_count; i++) {
        bool scalar = value->kind == JSON_STRING || value->kind == JSON_NUMBER;
        if (scalar && str_eq(value->text, rule->is[i]))
            return true;
        if (value->kind == JSON_BOOL && str_is(rule->is[i], value->count ? "true" : "false"))
            return true;
    }
    return false;
}

/* The pointer may have one or more "*", any element or member: at most as deep as it is long. */
static bool rule_finds(const struct outcome_rule *rule, const struct json *doc, struct str at) {
    const char *star = memmem(at.ptr, at.len, "/*", 2);
    if (star && star + 2 < at.ptr + at.len && star[2] != '/')
        star = NULL; /* a name that begins so */
    const struct json *value = json_at(doc, star ? str_of(at.ptr, (size_t)(star - at.ptr)) : at);
    if (!value || !star)
        return value && value_is(rule, value);
    struct str rest = str_of(star + 2, at.len - (size_t)(star + 2 - at.ptr));
    if (value->kind != JSON_ARRAY && value->kind != JSON_OBJECT)
        return false;
    const struct json *item = json_first(value);
    for (uint32_t i = 0; i < value->count; i++) {
        if (value->kind == JSON_OBJECT)
            item = json_next(item); /* behind its name */
        if (rule_finds(rule, item, rest))
            return true;
        item = json_next(item);
    }
    return false;
}

static const struct outcome_rule *rule_of(const struct outcome_rule *rules, uint32_t count, bool success,
                                          const struct json *doc) {
    for (uint32_t i = 0; i < count; i++)
        if ((success || rules[i].any) && rule_finds(&rules[i], doc, rules[i].at))
            return &rules[i];
    return NULL;
}

enum connector_outcome_kind outcome_judge(const struct connector_outcome *outcome,
                                          const struct net_answer *answer, struct json_parser *parser,
                                          struct arena *arena, const struct json **body) {
    struct fault ignored = {0};
    *body = NULL;
    if (answer->error != NET_OK)
        return answer->sent ? OUTCOME_AMBIGUOUS : OUTCOME_UNREACHABLE;
    enum connector_outcome_kind kind = status_means(outcome, answer->status);
    if (!outcome || answer->body.len == 0 || answer->body.len > BODY_BYTES_MAX)
        return kind;
    const struct outcome_like *like = &outcome_likes[outcome->like];
    if (outcome->rule_count + like->rule_count == 0)
        return kind;
    if (json_parse(parser, arena, answer->body, false, body, &ignored) != OK) {
        *body = NULL;
        return kind;
    }
    bool success = kind == OUTCOME_SUCCESS;
    const struct outcome_rule *rule = rule_of(outcome->rules, outcome->rule_count, success, *body);
    if (!rule)
        rule = rule_of(like->rules, like->rule_count, success, *body);
    return rule ? (enum connector_outcome_kind)rule->means : kind;
}
