/* replays: a person asks for events once more (deliver/replay.h), changes his mind, and asks again. One
 * that is paused goes on in the end; nothing that was done may be done twice, nor anything of a key
 * while another of it is under way. */
#include <stdio.h>

#include "deliver/replay.h"
#include "deliver/replay_priv.h"
#include "sim.h"

static void replay_ask(struct sim *sim) {
    struct deliver *d = sim->deliver;
    struct subscription *sub = d->subs[chance(sim, d->count)];
    if (sub->send->webhook)
        return; /* who fetches asks for itself */
    uint64_t last = core_seq(sim->core);
    struct replay row = {.subscription = sub->name,
                         .from_seq = 1 + (int64_t)chance(sim, last + 1),
                         .rate_per_s = chance(sim, 2) ? 0 : 1 + (int64_t)chance(sim, 50),
                         .newest = chance(sim, 4) == 0,
                         .dry_run = chance(sim, 6) == 0,
                         .by = STR("someone"),
                         .reason = STR("the books were put back"),
                         .asked_at = {.us = sim->now_us}};
    struct fault fault = {0};
    uint64_t id;
    row.to_seq = row.from_seq + (int64_t)chance(sim, 60);
    enum err err = replay_begin(d, &row, &id, &fault);
    list_line(sim, "replay %.*s from %lld to %lld%s: %s", STR_FMT(sub->name), (long long)row.from_seq,
              (long long)row.to_seq, row.dry_run ? ", dry" : "", err == OK ? "begun" : fault.detail);
}

/* Some replay that is not over; NULL: there is none. */
static struct replay_job *replay_some(struct sim *sim) {
    struct replay_job *found = NULL;
    uint64_t n = 0;
    for (uint32_t i = 0; i < sim->deliver->replays.count; i++) {
        struct replay_job *job = sim->deliver->replays.items[i];
        if (!replay_over(&job->row) && chance(sim, ++n) == 0)
            found = job;
    }
    return found;
}

void replays_step(struct sim *sim) {
    static const char *const names[] = {"pause", "resume", "cancel"};
    struct deliver *d = sim->deliver;
    struct fault fault = {0};
    struct replay_job *job = chance(sim, 3) == 0 ? replay_some(sim) : NULL;
    if (d->failed)
        return;
    pthread_mutex_lock(&d->lock);
    if (job) {
        enum replay_action action = (enum replay_action)chance(sim, 3);
        list_line(sim, "%s replay %lld", names[action], (long long)job->row.id);
        (void)!replay_decide(d, (uint64_t)job->row.id, action, STR("someone"), STR("thought again"), &fault);
    } else {
        replay_ask(sim);
    }
    pthread_mutex_unlock(&d->lock);
}

/* What is paused goes on; true: all are over. One whose keys are held waits for a person, as it should:
 * he decides. */
bool replays_clear(struct sim *sim) {
    struct deliver *d = sim->deliver;
    struct fault fault = {0};
    struct str in_the_way = STR_NONE;
    bool over = true;
    pthread_mutex_lock(&d->lock);
    for (uint32_t i = 0; i < d->replays.count; i++) {
        const struct replay *row = &d->replays.items[i]->row;
        over = over && replay_over(row);
        if (!replay_over(row) && row->waiting > 0)
            in_the_way = row->subscription;
        if (row->state == REPLAY_PAUSED)
            (void)!replay_decide(d, (uint64_t)row->id, REPLAY_RESUME, STR("someone"), STR("go on"), &fault);
    }
    pthread_mutex_unlock(&d->lock);
    if (in_the_way.ptr != NULL)
        held_decide(sim, in_the_way);
    return over;
}
