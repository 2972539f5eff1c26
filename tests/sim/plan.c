/* plan: what happens in a run, from its seed. */
#include "sim.h"

const char *const step_names[STEP_KINDS] = {
#define SIM_STEP(symbol, name, weight) name,
    SIM_STEPS(SIM_STEP)
#undef SIM_STEP
};

static const uint32_t weights[STEP_KINDS] = {
#define SIM_STEP(symbol, name, weight) weight,
    SIM_STEPS(SIM_STEP)
#undef SIM_STEP
};

/* Each kind is rarer or more frequent than usual in a seed, some never happen: what is hidden
 * behind something frequent is found where that is rare (swarm testing, Groce et al. 2012). */
void plan_make(struct step *steps, uint32_t count, uint64_t seed) {
    static const uint32_t factors[] = {0, 2, 4, 4, 4, 6, 10};
    uint32_t weight[STEP_KINDS], sum = 0;
    struct rng_seeded rng;
    rng_seeded_init(&rng, seed);
    bool calm = rng_below(&rng.rng, 4) == 0; /* long lives */
    for (uint32_t i = 0; i < STEP_KINDS; i++) {
        weight[i] = weights[i] * factors[rng_below(&rng.rng, sizeof factors / sizeof *factors)];
        if (weight[i] == 0 && i >= STEP_CORE && i <= STEP_PARTNER)
            weight[i] = weights[i]; /* the hub itself always runs */
        if (calm && i >= STEP_DISK)
            weight[i] = weight[i] > 0;
        sum += weight[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        uint64_t at = rng_below(&rng.rng, sum);
        uint8_t kind = 0;
        while (at >= weight[kind])
            at -= weight[kind++];
        steps[i] = (struct step){rng_u64(&rng.rng), i + 1, kind};
    }
}
