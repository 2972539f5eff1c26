/* admission: what is taken and what is shed when more comes than the hub can do.
 *
 * Measured is how long work waits, not how much there is: on a loop (from arriving to being
 * looked at, and the writer's answers from being ready to being sent), for the writer, for a worker;
 * of an interval the shortest wait, on loops what most wait, because a burst passes and a standing
 * queue does not (after CoDel, RFC 8289). Two bounds decide: `protect`, how
 * long calls of a class may wait while less important ones are taken, and the class's own
 * target. Beyond one of them what is least important is shed first, by parts that halve each
 * interval and come back slowly; within a class those who ask most give most (max-min fair shares).
 *
 * What always holds: a class is shed only when all less important ones that ask are shed whole;
 * callers below the fair share are not shed; deciding takes no lock and costs tens of
 * nanoseconds. Knows no HTTP: tests drive it with a clock of their own. */
#ifndef PENSTOCK_GATEWAY_ADMISSION_H
#define PENSTOCK_GATEWAY_ADMISSION_H

#include "base/clock.h"
#include "base/metric.h"
#include "base/rng.h"
#include "core/capability.h"

struct admission;
struct admission_options {
    const struct settings *settings;
    struct clock *clock;
    uint32_t loops;
    /* Shortest waits for the writer since it was asked last; any thread, one at a time. */
    void (*writer)(void *ctx, int64_t out_us[TRAFFIC_CLASSES]);
    void *ctx;
};
struct admission *admission_create(const struct admission_options *options); /* NULL: no memory */
void admission_destroy(struct admission *admission);

/* A call has arrived. `loop`: the calling thread's; `caller`: a hash that tells callers apart.
 * False: shed it. */
bool admission_admits(struct admission *admission, uint32_t loop, enum traffic_class traffic,
                      uint64_t caller, struct rng *rng);
/* The loop has come back from waiting for events; or is about to wait for them. */
void admission_loop_woke(struct admission *admission, uint32_t loop);
void admission_loop_rests(struct admission *admission, uint32_t loop);
/* So long the writer's answers waited for this loop to take them up. */
void admission_answers_waited(struct admission *admission, uint32_t loop, int64_t us);
/* So long a job waited for a worker; any thread. */
void admission_worker_waited(struct admission *admission, enum traffic_class traffic, int64_t us);
/* Lines of bulk calls under way that may be taken at once: UINT32_MAX while nothing is shed, else
 * a few, 0 for none at present. Called once for a portion. */
uint32_t admission_bulk_lines(struct admission *admission, uint32_t loop, struct rng *rng);
/* A quiet hub forgets: call it now and then, where nothing arrives. */
void admission_tick(struct admission *admission);
/* Seconds after which a call of that class is worth another try. */
int admission_retry_s(enum traffic_class traffic);
void admission_figures(struct admission *admission, struct metrics *out);

#endif
