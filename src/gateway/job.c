/* job: work for the worker threads of libuv's pool, each with a reader of its own while it
 * works. Readers are made at first need, at most one per worker thread, and kept.
 *
 * What waits, waits on its loop, the most important first: no more jobs than there are workers are
 * handed to the pool, and less important ones never take all of it. */
#include "gateway/gateway_priv.h"

#include "base/mem.h"

struct reader *reader_take(struct gateway *gateway, struct fault *fault) {
    struct reader *reader = NULL;

    pthread_mutex_lock(&gateway->readers_lock);
    if (gateway->reader_count > 0)
        reader = gateway->readers[--gateway->reader_count];
    pthread_mutex_unlock(&gateway->readers_lock);
    return reader ? reader
                  : gateway->options.readers.create(gateway->options.readers.ctx, fault);
}

void reader_give(struct gateway *gateway, struct reader *reader) {
    pthread_mutex_lock(&gateway->readers_lock);
    if (gateway->reader_count == gateway->reader_cap) {
        uint32_t cap = gateway->reader_cap ? gateway->reader_cap * 2 : 16;
        struct reader **more = mem_resize(gateway->readers, cap * sizeof(struct reader *));

        if (more) {
            gateway->readers = more;
            gateway->reader_cap = cap;
        }
    }
    if (gateway->reader_count < gateway->reader_cap) {
        gateway->readers[gateway->reader_count++] = reader;
        reader = NULL;
    }
    pthread_mutex_unlock(&gateway->readers_lock);
    if (reader)
        gateway->options.readers.destroy(reader);
}

void readers_free(struct gateway *gateway) {
    while (gateway->reader_count > 0)
        gateway->options.readers.destroy(gateway->readers[--gateway->reader_count]);
    mem_free(gateway->readers);
}

/* --- taking turns ---------------------------------------------------------------------------- */

/* Most important first. Of ops one goes before catalogue (see jobs_dispatch). */
static const enum traffic_class order[TRAFFIC_CLASSES] = {CLASS_CHECKOUT, CLASS_STOCK,
                                                          CLASS_CATALOGUE, CLASS_OPS, CLASS_BULK};

static bool below(_Atomic uint32_t *count, uint32_t most) {
    uint32_t n = atomic_load(count);

    while (n < most)
        if (atomic_compare_exchange_weak(count, &n, n + 1))
            return true;
    return false;
}

static bool less_important(enum traffic_class traffic) { return traffic >= CLASS_CATALOGUE; }
static bool least_important(enum traffic_class traffic) { return traffic >= CLASS_BULK; }

/* A worker for a job of this class: one is kept from what is less important, half from bulk and
 * ops. */
static bool worker_take(struct gateway *gateway, enum traffic_class traffic) {
    uint32_t all = (uint32_t)gateway->config->settings.worker_threads;

    if (!below(&gateway->working, all))
        return false;
    if (less_important(traffic) && !below(&gateway->working_less, all - 1)) {
        atomic_fetch_sub(&gateway->working, 1);
        return false;
    }
    if (least_important(traffic) && !below(&gateway->working_least[traffic - CLASS_BULK], all / 2)) {
        atomic_fetch_sub(&gateway->working_less, 1);
        atomic_fetch_sub(&gateway->working, 1);
        return false;
    }
    return true;
}

static void worker_give(struct gateway *gateway, enum traffic_class traffic) {
    if (least_important(traffic))
        atomic_fetch_sub(&gateway->working_least[traffic - CLASS_BULK], 1);
    if (less_important(traffic))
        atomic_fetch_sub(&gateway->working_less, 1);
    atomic_fetch_sub(&gateway->working, 1);
}

static void job_work(uv_work_t *req) {
    struct job *job = req->data;
    struct gateway *gateway = job->loop->gateway;
    int64_t from_us = clock_tick_us(gateway->clock);
    struct reader *reader = reader_take(gateway, &job->fault);

    admission_worker_waited(gateway->admission, job->traffic, from_us - job->queued_us);
    if (!reader)
        return;
    job->run(job, reader);
    reader_give(gateway, reader);
    atomic_fetch_add_explicit(&gateway->worked_us,
                              (uint64_t)(clock_tick_us(gateway->clock) - from_us),
                              memory_order_relaxed);
}

static void job_done(uv_work_t *req, int status) {
    struct job *job = req->data;
    struct gateway_loop *loop = job->loop;
    struct gateway *gateway = loop->gateway;

    loop->jobs--;
    worker_give(gateway, job->traffic);
    jobs_dispatch(loop);
    for (uint32_t i = 0; i < gateway->loop_count; i++)
        if (&gateway->loops[i] != loop && atomic_load(&gateway->loops[i].jobs_wait))
            uv_async_send(&gateway->loops[i].wake);
    job->done(job);
}

/* Hands over what waits in a lane; `most` of it. */
static bool lane_dispatch(struct gateway_loop *loop, enum traffic_class traffic, uint32_t most) {
    struct job_lane *lane = &loop->lanes[traffic];

    for (; most > 0 && lane->first && worker_take(loop->gateway, traffic); most--) {
        struct job *job = lane->first;

        lane->first = job->next;
        if (!lane->first)
            lane->last = NULL;
        must(uv_queue_work(http_loop_uv(loop->http), &job->req, job_work, job_done) == 0);
    }
    return lane->first != NULL;
}

void jobs_dispatch(struct gateway_loop *loop) {
    bool waits = false;

    if (loop->jobs == 0)
        return;
    atomic_store(&loop->jobs_wait, true); /* before looking, so that a worker let go is not missed */
    for (int i = 0; i < TRAFFIC_CLASSES; i++) {
        /* one operator can always look, however many read */
        if (order[i] == CLASS_CATALOGUE &&
            atomic_load(&loop->gateway->working_least[CLASS_OPS - CLASS_BULK]) == 0)
            lane_dispatch(loop, CLASS_OPS, 1);
        waits |= lane_dispatch(loop, order[i], UINT32_MAX);
    }
    if (!waits)
        atomic_store(&loop->jobs_wait, false);
}

enum err job_start(struct job *job, struct gateway_loop *loop, enum traffic_class traffic,
                   struct fault *fault) {
    struct job_lane *lane = &loop->lanes[traffic];

    job->loop = loop;
    job->req.data = job;
    job->fault = (struct fault){0};
    job->traffic = traffic;
    job->queued_us = clock_tick_us(loop->gateway->clock);
    job->next = NULL;
    if (loop->jobs >= (less_important(traffic) ? GATEWAY_JOBS_MAX / 2 : GATEWAY_JOBS_MAX))
        return fault_set(fault, ERR_UNAVAILABLE, "too many requests wait for a worker");
    if (lane->last)
        lane->last->next = job;
    else
        lane->first = job;
    lane->last = job;
    loop->jobs++;
    jobs_dispatch(loop);
    return OK;
}
