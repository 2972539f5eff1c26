/* hook: who makes subscriptions through the API and gets webhooks: hook.c, the systems that are posted to, with
 * books of their own; hook_user.c, the persons who make, change, stop and remove the subscriptions. */
#ifndef PENSTOCK_TESTS_SIM_HOOK_H
#define PENSTOCK_TESTS_SIM_HOOK_H

#include "sim.h"

#define HOOK_USERS 2
#define HOOK_SECRETS 12
enum hook_act { HOOK_CREATE, HOOK_CHANGE, HOOK_ROTATE, HOOK_DELETE, HOOK_TEST };

struct hook_secret {
    char id[48], text[64];
};
/* One who has a subscription of his name, or had, and the system that it is for. */
struct hook_user {
    struct command_origin origin; /* first */
    struct sim *sim;
    const char *name;
    struct arena arena; /* of the command */
    struct command command;
    bool pending;
    enum hook_act act;
    uint32_t made; /* subscriptions */
    struct hook_secret secrets[HOOK_SECRETS]; /* that he was told */
    uint32_t secret_count;                    /* of those ever told; the newest are kept */
    struct decision_pending switching;        /* stops it, or starts it */
    bool recovered;                           /* since all are well */
    int64_t hurried_us;
    /* the system: */
    int64_t down_until_us, bad_until_us; /* not there; refuses everything */
};

struct hooks {
    struct net net; /* first */
    struct net *others;
    struct sim *sim;
    struct net_call *calls; /* oldest first */
    uint32_t call_count;
    struct hook_work *ghosts;
    struct hook_user users[HOOK_USERS];
    struct arena arena;   /* of one call */
    uint64_t number;      /* of the newest address */
    bool closing, well;
    bool failed; /* the oracle was told that delivery goes back to what is on disk */
};

/* hook_user.c */
void hook_user_init(struct hook_user *user, struct sim *sim, const char *name);
void hook_user_step(struct hook_user *user);
void hook_user_lost(struct hook_user *user);
/* True: he has all he wants. */
bool hook_user_settle(struct hook_user *user);
/* Of those that he knows, by place from 0 on; NULL: there are no more. */
const struct hook_secret *hook_secret_at(const struct hook_user *user, uint32_t i);

#endif
