/* ask: see ask.h. */
#include "ops/ask.h"

#include <pthread.h>

struct asking {
    struct command_origin origin; /* first */
    pthread_mutex_t lock;
    pthread_cond_t done;
    uint32_t open; /* commands not answered yet */
};

static void asking_answered(struct command_origin *origin, struct command *first) {
    struct asking *asking = (struct asking *)origin;
    uint32_t n = 0;
    for (const struct command *command = first; command; command = command->next)
        n++;
    pthread_mutex_lock(&asking->lock);
    asking->open -= n;
    if (asking->open == 0)
        pthread_cond_signal(&asking->done);
    pthread_mutex_unlock(&asking->lock);
}

void ask_cores(struct core *core, struct command *const *commands, uint32_t count) {
    struct asking asking = {.origin = {.deliver = asking_answered}, .open = count};
    pthread_mutex_init(&asking.lock, NULL);
    pthread_cond_init(&asking.done, NULL);
    for (uint32_t i = 0; i < count; i++) {
        struct fault fault;
        fault_init(&fault, NULL);
        commands[i]->origin = &asking.origin;
        enum err err = core_submit(core, commands[i], &fault);
        if (err != OK) {
            commands[i]->answer = (struct answer){.err = err, .fault = fault};
            pthread_mutex_lock(&asking.lock);
            asking.open--;
            pthread_mutex_unlock(&asking.lock);
        }
    }
    pthread_mutex_lock(&asking.lock);
    while (asking.open > 0)
        pthread_cond_wait(&asking.done, &asking.lock);
    pthread_mutex_unlock(&asking.lock);
    pthread_cond_destroy(&asking.done);
    pthread_mutex_destroy(&asking.lock);
}

enum err ask_core(struct core *core, struct command *command, struct fault *fault) {
    ask_cores(core, &command, 1);
    enum err err = command->answer.err;
    return err == OK ? OK : fault_set(fault, err, "%s", command->answer.fault.detail);
}
