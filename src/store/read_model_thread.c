/* read_model_thread: the read model's own thread, and those who wait for it.
 *
 * The thread sleeps while there is nothing to do, pauses between transactions while nobody
 * waits (larger batches cost less per event), and hurries while somebody does. */
#include <time.h>

#include "base/log.h"
#include "store/read_model_priv.h"

#define ERROR_PAUSE_MS 1000

/* Lock held. Until signalled or tick_us. */
static void wait_until(struct read_model *model, pthread_cond_t *cond, int64_t tick_us) {
    struct timespec until = {.tv_sec = tick_us / 1000000, .tv_nsec = tick_us % 1000000 * 1000};
    pthread_cond_timedwait(cond, &model->lock, &until);
}

/* Writer's thread: a signal, and only when the read model's thread waits for one. */
static void model_wake(struct tail_follower *follower) {
    struct read_model *model =
        (struct read_model *)((char *)follower - offsetof(struct read_model, follower));
    if (!atomic_load(&model->idle))
        return;
    pthread_mutex_lock(&model->lock);
    pthread_cond_signal(&model->work);
    pthread_mutex_unlock(&model->lock);
}

/* Lock held. Waits until there is something to do and it is time to do it. */
static void wait_for_work(struct read_model *model, int64_t not_before_us) {
    while (!model->stop && !model->rebuild.next) {
        if (tail_last(model->options.tail) <= read_model_seq(model)) {
            /* Say so first, then look again: who publishes in between sees one or the other. */
            atomic_store(&model->idle, true);
            if (tail_last(model->options.tail) <= read_model_seq(model) && !model->rebuild.next)
                pthread_cond_wait(&model->work, &model->lock);
            model->ahead_us = clock_tick_us(model->options.clock);
            atomic_store(&model->fresh_us, model->ahead_us);
            atomic_store(&model->idle, false);
            continue;
        }
        bool hurry = model->wanted > read_model_seq(model);
        if (hurry || clock_tick_us(model->options.clock) >= not_before_us)
            return;
        wait_until(model, &model->work, not_before_us);
    }
}

static void *model_main(void *arg) {
    pthread_setname_np(pthread_self(), "read-model");
    struct read_model *model = arg;
    struct clock *clock = model->options.clock;
    int64_t not_before_us = 0;
    bool well = true;
    pthread_mutex_lock(&model->lock);
    for (;;) {
        wait_for_work(model, not_before_us);
        if (model->stop)
            break;
        pthread_mutex_unlock(&model->lock);
        model_rebuild_take(model);
        int64_t from = clock_tick_us(clock);
        struct fault fault = {0};
        bool more;
        enum err err = read_model_step(model, &more, &fault);
        if (err != OK && well)
            log_line(LOG_ERROR, "store", "the read model can not go on, trying again",
                     "reason=%s", log_quote(str_c(fault.detail)));
        else if (err == OK && !well)
            log_line(LOG_INFO, "store", "the read model goes on", "seq=%llu",
                     (unsigned long long)read_model_seq(model));
        well = err == OK;
        model_rebuild_wanted(model);
        pthread_mutex_lock(&model->lock);
        not_before_us = from + (int64_t)model->options.pause_ms * 1000;
        if (!well && !model->stop) {
            int64_t until = clock_tick_us(clock) + ERROR_PAUSE_MS * 1000;
            while (!model->stop && !model->rebuild.next && clock_tick_us(clock) < until)
                wait_until(model, &model->work, until);
        }
    }
    pthread_mutex_unlock(&model->lock);
    return NULL;
}

enum err read_model_start(struct read_model *model, struct fault *fault) {
    must(!model->running);
    model->stop = false;
    model->follower.wake = model_wake;
    tail_follow(model->options.tail, &model->follower);
    if (pthread_create(&model->thread, NULL, model_main, model) != 0) {
        tail_unfollow(model->options.tail, &model->follower);
        return fault_set(fault, ERR_NOMEM, "can not start the read model's thread");
    }
    pthread_mutex_lock(&model->lock);
    model->running = true;
    pthread_mutex_unlock(&model->lock);
    return OK;
}

void read_model_stop(struct read_model *model) {
    model_rebuild_stop(model);
    pthread_mutex_lock(&model->lock);
    bool running = model->running;
    model->stop = true;
    pthread_cond_signal(&model->work);
    pthread_mutex_unlock(&model->lock);
    if (!running)
        return;
    pthread_join(model->thread, NULL);
    tail_unfollow(model->options.tail, &model->follower);
    pthread_mutex_lock(&model->lock);
    model->running = false;
    pthread_cond_broadcast(&model->done);
    pthread_mutex_unlock(&model->lock);
}

bool model_is_running(struct read_model *model) {
    pthread_mutex_lock(&model->lock);
    bool running = model->running;
    pthread_mutex_unlock(&model->lock);
    return running;
}

void model_announce(struct read_model *model) {
    pthread_mutex_lock(&model->lock);
    pthread_cond_broadcast(&model->done);
    pthread_mutex_unlock(&model->lock);
}

#define AWAIT_FILE_MS 5000
bool model_await_file(struct read_model *model) {
    if (!atomic_load(&model->replacing))
        return true;
    int64_t until = clock_tick_us(model->options.clock) + AWAIT_FILE_MS * 1000;
    pthread_mutex_lock(&model->lock);
    while (atomic_load(&model->replacing) && model->running &&
           clock_tick_us(model->options.clock) < until)
        wait_until(model, &model->done, until);
    pthread_mutex_unlock(&model->lock);
    return !atomic_load(&model->replacing);
}

/* Without the thread, whoever waits does its work: the simulator has one thread alone. */
static enum err step_until(struct read_model *model, uint64_t seq, struct fault *fault) {
    enum err err = OK;
    for (bool more = true; err == OK && more && read_model_seq(model) < seq;)
        err = read_model_step(model, &more, fault);
    return err;
}

enum err model_wait(struct read_model *model, uint64_t seq, int64_t timeout_ms,
                    struct fault *fault) {
    if (read_model_seq(model) >= seq)
        return OK;
    int64_t until = clock_tick_us(model->options.clock) + timeout_ms * 1000;
    pthread_mutex_lock(&model->lock);
    if (!model->running && model->options.exclusive) {
        pthread_mutex_unlock(&model->lock);
        enum err err = step_until(model, seq, fault);
        if (err != OK)
            return err;
        pthread_mutex_lock(&model->lock);
    }
    /* What does not exist yet is waited for without hurry. */
    uint64_t last = tail_last(model->options.tail);
    uint64_t wanted = seq < last ? seq : last;
    if (wanted > model->wanted)
        model->wanted = wanted;
    pthread_cond_signal(&model->work);
    while (read_model_seq(model) < seq && model->running &&
           clock_tick_us(model->options.clock) < until)
        wait_until(model, &model->done, until);
    pthread_mutex_unlock(&model->lock);
    if (read_model_seq(model) >= seq)
        return OK;
    return fault_set(fault, ERR_UNAVAILABLE, "the read model is at %llu and has not reached %llu",
                     (unsigned long long)read_model_seq(model), (unsigned long long)seq);
}
