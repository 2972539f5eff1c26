/* ask: see ask.h. */
#include "ops/ask.h"

#include <pthread.h>

struct asking {
    struct command_origin origin; /* first */
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool answered;
};

static void asking_answered(struct command_origin *origin, struct command *first) {
    struct asking *asking = (struct asking *)origin;
    (void)first;
    pthread_mutex_lock(&asking->lock);
    asking->answered = true;
    pthread_cond_signal(&asking->done);
    pthread_mutex_unlock(&asking->lock);
}

enum err ask_core(struct core *core, struct command *command, struct fault *fault) {
    struct asking asking = {.origin = {.deliver = asking_answered}};
    command->origin = &asking.origin;
    pthread_mutex_init(&asking.lock, NULL);
    pthread_cond_init(&asking.done, NULL);
    enum err err = core_submit(core, command, fault);
    if (err == OK) {
        pthread_mutex_lock(&asking.lock);
        while (!asking.answered)
            pthread_cond_wait(&asking.done, &asking.lock);
        pthread_mutex_unlock(&asking.lock);
        err = command->answer.err;
        if (err != OK)
            fault_set(fault, err, "%s", command->answer.fault.detail);
    }
    pthread_cond_destroy(&asking.done);
    pthread_mutex_destroy(&asking.lock);
    return err;
}
