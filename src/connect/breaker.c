/* breaker: see breaker.h. Owns nothing. */
#include "connect/breaker.h"

const char *breaker_state_name(enum breaker_state state) {
    static const char *const names[] = {"closed", "open", "half-open"};
    return names[state];
}

enum breaker_state breaker_state(const struct breaker *breaker, int64_t now_us) {
    if (!breaker->open)
        return BREAKER_CLOSED;
    return breaker->probing || now_us >= breaker->probe_us ? BREAKER_HALF_OPEN : BREAKER_OPEN;
}

bool breaker_lets(const struct breaker *breaker, int64_t now_us) {
    return !breaker->open || (!breaker->probing && now_us >= breaker->probe_us);
}

bool breaker_take(struct breaker *breaker, int64_t now_us, bool *probe) {
    *probe = false;
    if (!breaker_lets(breaker, now_us))
        return false;
    *probe = breaker->probing = breaker->open;
    if (*probe)
        breaker->out_us = now_us;
    return true;
}

int64_t breaker_due_us(const struct breaker *breaker) {
    return !breaker->open ? 0 : breaker->probing ? INT64_MAX : breaker->probe_us;
}

/* Doubled with each probe that failed; of several hubs, or endpoints that went away together, each takes
 * another moment of its upper half. */
static void pause(struct breaker *breaker, const struct breaker_policy *policy, struct rng *rng,
                  int64_t retry_after_ms, int64_t now_us) {
    int64_t ms = policy->first_ms;
    for (uint32_t i = 0; i < breaker->probes && ms < policy->max_ms; i++)
        ms *= 2;
    if (ms > policy->max_ms)
        ms = policy->max_ms;
    int64_t us = ms * 500 + (int64_t)rng_below(rng, (uint64_t)ms * 500 + 1);
    if (us < retry_after_ms * 1000)
        us = retry_after_ms * 1000;
    breaker->probe_us = now_us + us;
    breaker->counted_us = now_us;
}

enum breaker_change breaker_end(struct breaker *breaker, const struct breaker_policy *policy,
                                struct rng *rng, bool probe, int64_t began_us, enum breaker_end end,
                                int64_t retry_after_ms, int64_t now_us) {
    bool was = breaker->open;
    probe = probe && breaker->probing && began_us == breaker->out_us;
    if (probe)
        breaker->probing = false;
    if (end == BREAKER_SAYS_NOTHING)
        return BREAKER_SAME;
    if (end == BREAKER_GOOD) {
        *breaker = (struct breaker){.counted_us = breaker->counted_us};
        return was ? BREAKER_CLOSED_AGAIN : BREAKER_SAME;
    }
    if (was && (probe || began_us > breaker->counted_us)) {
        breaker->probes++;
        pause(breaker, policy, rng, retry_after_ms, now_us);
    }
    if (was || ++breaker->failures < policy->after)
        return BREAKER_SAME;
    breaker->open = true;
    breaker->probes = 0;
    pause(breaker, policy, rng, retry_after_ms, now_us);
    return BREAKER_OPENED;
}

void breaker_restore(struct breaker *breaker, const struct breaker_policy *policy, int64_t now_us) {
    *breaker = (struct breaker){
        .open = true, .failures = policy->after, .probe_us = now_us, .counted_us = now_us};
}
