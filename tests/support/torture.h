/* torture: what tests of failing calls and allocations share: each fails in its turn. A step arms around what
 * it tries, disarms, judges, and answers whether the turn was met; torture runs it for each turn.
 *
 * By default turns beyond the first ones are sampled; PENSTOCK_TORTURE=full takes all of them. */
#ifndef PENSTOCK_TESTS_SUPPORT_TORTURE_H
#define PENSTOCK_TESTS_SUPPORT_TORTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>

#include "base/mem.h"
#include "faulty.h"

#define TORTURE_NEVER (UINT64_C(1) << 60)
#define TORTURE_MAX 100000 /* beyond it a path goes on without end */

enum turn { TURN_MEMORY, TURN_ERROR, TURN_AGAIN, TURN_SHORT, TURNS };
static const char *const turn_names[TURNS] = {"allocations", "calls", "interruptions", "short counts"};
static enum turn turn;
static uint64_t turn_at;
static const char *turn_failed = ""; /* the call, where it was one */

static inline void torture_arm(void) {
    turn_failed = "";
    if (turn == TURN_MEMORY)
        mem_fail_at(turn_at, 0);
    else
        faulty_fail_at(turn_at, (enum faulty_kind)(turn - TURN_ERROR), false);
}

static inline bool torture_met(void) { return (turn == TURN_MEMORY ? mem_count() : faulty_count()) >= turn_at; }

/* Whether it was met. Arenas still keep nothing from one turn to the next. */
static inline bool torture_disarm(void) {
    bool met = torture_met();
    turn_failed = faulty_last();
    mem_fail_at(TORTURE_NEVER, 0);
    faulty_fail_at(0, FAULTY_ERROR, false);
    return met;
}

/* Each turn up to `whole`, then every stride-th, until one is not met. How many were met. */
static inline uint32_t torture(enum turn which, uint32_t whole, uint32_t stride, bool (*step)(void)) {
    const char *all = getenv("PENSTOCK_TORTURE");
    uint32_t met = 0;
    turn = which;
    if (all && strcmp(all, "full") == 0)
        stride = 1;
    for (turn_at = 1; turn_at < TORTURE_MAX; turn_at += turn_at < whole ? 1 : stride) {
        if (!step()) {
            mem_fail_at(0, 0);
            print_message("%u %s failed, up to the %lu.\n", (unsigned)met, turn_names[which],
                          (unsigned long)turn_at - 1);
            return met;
        }
        met++;
    }
    fail_msg("it goes on without end");
    return 0;
}

/* Descriptors of this process that are open. */
static inline uint32_t torture_descriptors(void) {
    uint32_t count = 0;
    faulty_hold(true);
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    faulty_hold(false);
    return count;
}

#endif
