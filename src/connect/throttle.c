/* throttle: see throttle.h. Owns nothing. */
#include "connect/throttle.h"

#define NUMBER_MAX INT64_C(1000000000000000) /* in thousandths: whatever is more is no limit */
#define RESET_MAX_MS INT64_C(86400000)

/* "8", "8.5", "0.0167" in thousandths, rounded down but never to 0 where it is more. */
static bool milli_read(struct str text, int64_t *out) {
    int64_t value = 0, digits = 0, scale = 1000;
    bool point = false, more = false;
    text = str_trim(text);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '.' && !point) {
            point = true;
            continue;
        }
        if (c < '0' || c > '9')
            return false;
        digits++;
        if (!point && value < NUMBER_MAX) {
            value = value * 10 + (int64_t)(c - '0') * 1000;
        } else if (point && scale > 1) {
            scale /= 10;
            value += (c - '0') * scale;
        } else if (point && c != '0') {
            more = true;
        }
    }
    *out = value > NUMBER_MAX ? NUMBER_MAX : value == 0 && more ? 1 : value;
    return digits > 0;
}

/* "8.5/60": what is used of how much. */
static bool level_read(struct str text, int64_t *used_m, int64_t *limit_m) {
    struct str rest = text, used = str_cut(&rest, '/');
    return rest.ptr && milli_read(used, used_m) && milli_read(rest, limit_m) && *limit_m > 0;
}

static int64_t per_cost(int64_t units_m, int64_t cost_m) {
    return cost_m > 0 && units_m > 0 ? units_m * 1000 / cost_m : units_m;
}

static int64_t left_of(int64_t used_m, int64_t limit_m) { return limit_m > used_m ? limit_m - used_m : 0; }

/* Seconds, or, where that would be decades, a time in seconds. */
static int64_t reset_read(int64_t value_m, int64_t wall_us) {
    int64_t ms = value_m < INT64_C(1000000000000) ? value_m : value_m - wall_us / 1000;
    if (value_m >= NUMBER_MAX)
        return THROTTLE_UNKNOWN;
    return ms < 0 ? 0 : ms > RESET_MAX_MS ? RESET_MAX_MS : ms;
}

/* ;r=50 of an item of a structured field (RFC 9651). */
static bool param_read(struct str item, char name, int64_t *out_m) {
    while (item.ptr && item.len > 0) {
        struct str param = str_trim(str_cut(&item, ';'));
        if (param.len > 2 && param.ptr[0] == name && param.ptr[1] == '=')
            return milli_read(str_of(param.ptr + 2, param.len - 2), out_m);
    }
    return false;
}

/* The item of the list that leaves the least. */
static void ietf_read(struct str list, struct throttle_hint *out) {
    while (list.ptr && list.len > 0) {
        int64_t r, t = THROTTLE_UNKNOWN;
        struct str item = str_cut(&list, ',');
        if (!param_read(item, 'r', &r) || (out->remaining_m != THROTTLE_UNKNOWN && out->remaining_m <= r))
            continue;
        param_read(item, 't', &t);
        out->remaining_m = r;
        out->reset_ms = t;
    }
}

static void ietf_policy_read(struct str list, struct throttle_hint *out) {
    int64_t q, w;
    struct str item = str_cut(&list, ',');
    if (!param_read(item, 'q', &q))
        return;
    out->limit_m = q;
    if (param_read(item, 'w', &w) && w > 0 && q > 0)
        out->restore_mps = q * 1000 / w > 0 ? q * 1000 / w : 1;
}

enum field {
    SHOPIFY_LIMIT, BC_LEFT, BC_QUOTA, BC_RESET, BC_WINDOW, LS_LEVEL, LS_DRIP, LS_COST, AMZN_RATE,
    IETF_LIMIT, IETF_POLICY, OLD_LIMIT, OLD_LEFT, OLD_RESET, X_LIMIT, X_LEFT, X_RESET, FIELDS,
};
static const char *const field_names[FIELDS] = {
    [SHOPIFY_LIMIT] = "X-Shopify-Shop-Api-Call-Limit",
    [BC_LEFT] = "X-Rate-Limit-Requests-Left",
    [BC_QUOTA] = "X-Rate-Limit-Requests-Quota",
    [BC_RESET] = "X-Rate-Limit-Time-Reset-Ms",
    [BC_WINDOW] = "X-Rate-Limit-Time-Window-Ms",
    [LS_LEVEL] = "X-LS-API-Bucket-Level",
    [LS_DRIP] = "X-LS-API-Drip-Rate",
    [LS_COST] = "X-LS-API-Request-Cost",
    [AMZN_RATE] = "x-amzn-RateLimit-Limit",
    [IETF_LIMIT] = "RateLimit",
    [IETF_POLICY] = "RateLimit-Policy",
    [OLD_LIMIT] = "RateLimit-Limit",
    [OLD_LEFT] = "RateLimit-Remaining",
    [OLD_RESET] = "RateLimit-Reset",
    [X_LIMIT] = "X-RateLimit-Limit",
    [X_LEFT] = "X-RateLimit-Remaining",
    [X_RESET] = "X-RateLimit-Reset",
};

static bool fields_find(const struct net_answer *answer, struct str found[FIELDS]) {
    bool any = false;
    for (uint32_t i = 0; i < answer->header_count; i++) {
        struct str name = answer->headers[i].name;
        char first = name.len > 8 ? (char)(name.ptr[0] | 0x20) : '\0';
        if (first != 'x' && first != 'r')
            continue;
        for (int f = 0; f < FIELDS; f++)
            if (!found[f].ptr && str_eq_nocase(name, str_c(field_names[f]))) {
                found[f] = answer->headers[i].value;
                any = true;
            }
    }
    return any;
}

static bool left_read(struct str left, struct str limit, struct str reset, int64_t wall_us,
                      struct throttle_hint *out) {
    int64_t value;
    if (!left.ptr || !milli_read(left, &out->remaining_m))
        return false;
    struct str first = str_cut(&limit, ','); /* "100, 100;w=60" */
    if (first.ptr && milli_read(str_cut(&first, ';'), &value))
        out->limit_m = value;
    if (reset.ptr && milli_read(reset, &value))
        out->reset_ms = reset_read(value, wall_us);
    return true;
}

static bool bigcommerce_read(const struct str *found, struct throttle_hint *out) {
    int64_t value, window;
    if (!found[BC_LEFT].ptr || !milli_read(found[BC_LEFT], &out->remaining_m))
        return false;
    if (found[BC_QUOTA].ptr && milli_read(found[BC_QUOTA], &value))
        out->limit_m = value;
    if (found[BC_RESET].ptr && milli_read(found[BC_RESET], &value))
        out->reset_ms = value / 1000;
    if (out->limit_m > 0 && found[BC_WINDOW].ptr && milli_read(found[BC_WINDOW], &window) && window >= 1000)
        out->restore_mps = out->limit_m * 1000 / (window / 1000) + 1;
    return true;
}

static bool lightspeed_read(const struct str *found, struct throttle_hint *out) {
    int64_t used, limit, drip, cost = 1000;
    if (!found[LS_LEVEL].ptr || !level_read(found[LS_LEVEL], &used, &limit))
        return false;
    if (found[LS_COST].ptr && (!milli_read(found[LS_COST], &cost) || cost < 1))
        cost = 1000;
    out->remaining_m = per_cost(left_of(used, limit), cost);
    out->limit_m = per_cost(limit, cost);
    if (found[LS_DRIP].ptr && milli_read(found[LS_DRIP], &drip) && drip > 0)
        out->restore_mps = per_cost(drip, cost) > 0 ? per_cost(drip, cost) : 1;
    return true;
}

static const struct throttle_hint nothing = {THROTTLE_UNKNOWN, THROTTLE_UNKNOWN, THROTTLE_UNKNOWN,
                                             THROTTLE_UNKNOWN};

bool throttle_headers(const struct net_answer *answer, int64_t wall_us, struct throttle_hint *out) {
    struct str found[FIELDS] = {{0}};
    int64_t used, limit;
    *out = nothing;
    if (!fields_find(answer, found))
        return false;
    if (found[SHOPIFY_LIMIT].ptr && level_read(found[SHOPIFY_LIMIT], &used, &limit)) {
        out->remaining_m = left_of(used, limit);
        out->limit_m = limit;
        return true;
    }
    if (bigcommerce_read(found, out) || lightspeed_read(found, out))
        return true;
    if (found[AMZN_RATE].ptr && milli_read(found[AMZN_RATE], &out->restore_mps) && out->restore_mps > 0)
        return true;
    *out = nothing;
    if (found[IETF_LIMIT].ptr)
        ietf_read(found[IETF_LIMIT], out);
    if (found[IETF_POLICY].ptr)
        ietf_policy_read(found[IETF_POLICY], out);
    if (out->remaining_m != THROTTLE_UNKNOWN || out->limit_m != THROTTLE_UNKNOWN)
        return true;
    return left_read(found[OLD_LEFT], found[OLD_LIMIT], found[OLD_RESET], wall_us, out) ||
           left_read(found[X_LEFT], found[X_LIMIT], found[X_RESET], wall_us, out);
}

static bool number_at(const struct json *doc, const char *pointer, int64_t *out_m) {
    const struct json *value = json_at(doc, str_c(pointer));
    return value && value->kind == JSON_NUMBER && milli_read(value->text, out_m);
}

bool throttle_cost(const struct json *body, struct throttle_hint *out) {
    int64_t available, most, restore, cost;
    *out = nothing;
    if (!number_at(body, "/extensions/cost/throttleStatus/currentlyAvailable", &available) ||
        !number_at(body, "/extensions/cost/throttleStatus/maximumAvailable", &most) ||
        !number_at(body, "/extensions/cost/throttleStatus/restoreRate", &restore))
        return false;
    /* requested: what the next one like it must find in the bucket before it begins */
    if (!number_at(body, "/extensions/cost/requestedQueryCost", &cost) || cost < 1000)
        cost = 1000;
    out->remaining_m = per_cost(available, cost);
    out->limit_m = per_cost(most, cost);
    out->restore_mps = per_cost(restore, cost) > 0 ? per_cost(restore, cost) : 1;
    return true;
}
