/* job: work for the worker threads of libuv's pool, each with a reader of its own while it
 * works. Readers are made at first need, at most one per worker thread, and kept. */
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

static void job_work(uv_work_t *req) {
    struct job *job = req->data;
    struct reader *reader = reader_take(job->loop->gateway, &job->fault);

    if (!reader)
        return;
    job->run(job, reader);
    reader_give(job->loop->gateway, reader);
}

static void job_done(uv_work_t *req, int status) {
    struct job *job = req->data;

    job->loop->jobs--;
    job->done(job);
}

enum err job_start(struct job *job, struct gateway_loop *loop, struct fault *fault) {
    job->loop = loop;
    job->req.data = job;
    job->fault = (struct fault){0};
    if (loop->jobs >= GATEWAY_JOBS_MAX ||
        uv_queue_work(http_loop_uv(loop->http), &job->req, job_work, job_done) != 0)
        return fault_set(fault, ERR_UNAVAILABLE, "too many requests wait for a worker");
    loop->jobs++;
    return OK;
}
