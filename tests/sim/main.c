/* penstock-sim: runs plans and says what came of them. Each run is a process of its own, so that
 * one that ends in a broken invariant is a result like any other, and none leaves a trace. */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/planted.h"
#include "sim.h"

#define STEPS_DEFAULT 600u
#define RUN_LIMIT_S 120
#define HOUR_US (INT64_C(3600) * 1000000)
#define SHRINK_RUNS_MAX 3000
#define SHRINK_US_MAX (INT64_C(20) * 1000000)

struct options {
    uint64_t first, last;
    uint32_t steps;
    bool commands, shrink, stop;
    const char *plant, *log, *only, *save, *plan;
};

static const char usage[] =
    "usage: penstock-sim --seed N | --seeds A..B | --plan FILE [options]\n"
    "\n"
    "Simulates a hub with its partners on a disk that loses what was not synced, on one thread,\n"
    "with a clock and random numbers that follow from the seed, and lets the oracle judge it.\n"
    "\n"
    "  --seed N       one run\n"
    "  --seeds A..B   several; prints a line for each that fails, and a summary\n"
    "  --steps N      how long a run is (600)\n"
    "  --only LIST    of the plan only these steps: 3,17-20\n"
    "  --save FILE    write the plan of a failure there, shrunk\n"
    "  --plan FILE    run that plan, whatever the seeds make of it by now\n"
    "  --commands     print the commands and faults of the run\n"
    "  --log FILE     write what was observed, for penstock-oracle\n"
    "  --stop         end with the first failure\n"
    "  --no-shrink    print a failure as it was met\n"
    "  --plant NAME   switch a planted fault on (a build with -Dplanted=true); 'list' names them\n"
    "\n"
    "A failure prints seed, step, what was violated, and the shortest list of commands that was\n"
    "found to lead to it. Exit status: 0 all passed, 1 a violation, 2 wrong usage.\n";

/* --- one run -------------------------------------------------------------------------------------- */

static struct result *result; /* shared with the process that runs */

/* What the process said, on one line. */
static void tell_last_words(int words) {
    char text[2048];
    ssize_t len = pread(words, text, sizeof text - 1, 0);
    size_t used = strlen(result->text);
    for (ssize_t i = 0; i < len; i++)
        if (text[i] == '\n')
            text[i] = ' ';
    text[len > 0 ? len : 0] = '\0';
    snprintf(result->text + used, sizeof result->text - used, ": %s", text);
}

/* A broken invariant, a sanitizer's report, a crash, or no end. */
static void tell_death(int status, int words) {
    if (WIFEXITED(status) && result->state != RUN_UNFINISHED)
        return;
    result->state = RUN_VIOLATED;
    snprintf(result->rule, sizeof result->rule, "%s",
             WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? "endless" : "died");
    if (WIFSIGNALED(status))
        snprintf(result->text, sizeof result->text, "the process ended by signal %d (%s)",
                 WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(result->text, sizeof result->text, "the process ended with status %d",
                 WEXITSTATUS(status));
    tell_last_words(words);
}

static void run_one(const struct run_options *options) {
    int words = memfd_create("stderr", MFD_CLOEXEC);
    must(words >= 0);
    memset(result, 0, offsetof(struct result, listing) + 1);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        dup2(words, STDERR_FILENO);
        alarm(RUN_LIMIT_S);
        sim_run(options);
    }
    int status = 0;
    must(child > 0);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    tell_death(status, words);
    close(words);
}

/* --- shrinking ------------------------------------------------------------------------------------ */

struct shrinking {
    struct run_options run;
    char rule[32];
    uint32_t runs;
    int64_t until_us;
};

static bool still_fails(struct shrinking *shrinking, const struct step *steps, uint32_t count) {
    shrinking->run.steps = steps;
    shrinking->run.count = count;
    shrinking->runs++;
    run_one(&shrinking->run);
    return result->state == RUN_VIOLATED && strcmp(result->rule, shrinking->rule) == 0;
}

static bool shrink_over(const struct shrinking *shrinking) {
    return shrinking->runs >= SHRINK_RUNS_MAX || clock_tick_us(&clock_system) > shrinking->until_us;
}

/* Delta debugging (Zeller, Hildebrandt 2002): leaves out ever smaller parts as long as the same
 * rule is violated. Answers how many steps are left. */
static uint32_t shrink(struct shrinking *shrinking, struct step *steps, uint32_t count,
                       struct step *trial) {
    for (uint32_t size = count / 2; size > 0 && !shrink_over(shrinking);) {
        bool smaller = false;
        for (uint32_t at = 0; at < count && !shrink_over(shrinking);) {
            uint32_t cut = size < count - at ? size : count - at;
            memcpy(trial, steps, at * sizeof *steps);
            memcpy(trial + at, steps + at + cut, (count - at - cut) * sizeof *steps);
            if (still_fails(shrinking, trial, count - cut)) {
                memcpy(steps, trial, (count - cut) * sizeof *steps);
                count -= cut;
                smaller = true;
            } else {
                at += cut;
            }
        }
        if (size == 1 && !smaller)
            break;
        size = size > 1 ? size / 2 : smaller ? 1 : 0;
    }
    return count;
}

static void steps_print(FILE *out, const struct step *steps, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        uint32_t from = i;
        while (i + 1 < count && steps[i + 1].number == steps[i].number + 1)
            i++;
        fprintf(out, i > from ? "%s%u-%u" : "%s%u", from > 0 ? "," : "", steps[from].number,
                steps[i].number);
    }
}

/* Leaves out all steps but those named; false where the list can not be read. */
static bool steps_only(struct step *steps, uint32_t *count, const char *list) {
    uint32_t kept = 0;
    struct str rest = str_c(list);
    while (rest.ptr) {
        struct str part = str_cut(&rest, ','), first = str_cut(&part, '-');
        uint64_t from, to;
        if (!str_u64(first, &from) || !(part.ptr ? str_u64(part, &to) : (to = from, true)) ||
            from < 1 || to > *count || from > to)
            return false;
        for (uint64_t i = from; i <= to; i++)
            steps[kept++] = steps[i - 1]; /* the list ascends, so nothing is overwritten */
    }
    *count = kept;
    return true;
}

/* --- plans in files: regressions outlive changes of how a seed becomes a plan ------------------- */

static void plan_save(const char *path, uint64_t seed, const struct step *steps, uint32_t count) {
    FILE *file = fopen(path, "we");
    if (!file) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return;
    }
    fprintf(file, "seed %llu\n", (unsigned long long)seed);
    for (uint32_t i = 0; i < count; i++)
        fprintf(file, "%s %016llx\n", step_names[steps[i].kind],
                (unsigned long long)steps[i].random);
    fclose(file);
}

/* Lines that begin with # are comments. False, told: it can not be read. */
static bool plan_load(const char *path, struct step *steps, uint32_t *count, uint64_t *seed) {
    char line[256], name[32];
    FILE *file = fopen(path, "re");
    unsigned long long number;
    bool fine = file != NULL;
    *count = 0;
    while (fine && fgets(line, sizeof line, file)) {
        if (line[0] == '#' || line[0] == '\n')
            continue;
        if (sscanf(line, "seed %llu", &number) == 1) {
            *seed = number;
            continue;
        }
        struct step *step = &steps[*count];
        fine = *count < STEPS_MAX && sscanf(line, "%31s %llx", name, &number) == 2;
        *step = (struct step){number, ++*count, STEP_KINDS};
        for (uint8_t i = 0; fine && i < STEP_KINDS; i++)
            if (strcmp(name, step_names[i]) == 0)
                step->kind = i;
        fine = fine && step->kind != STEP_KINDS;
    }
    if (!fine)
        fprintf(stderr, "%s: not a plan\n", path);
    if (file)
        fclose(file);
    return fine;
}

/* --- telling -------------------------------------------------------------------------------------------- */

static void tell_where(const struct result *r) {
    if (r->step == 0)
        printf("at the start");
    else if (r->step > STEPS_MAX)
        printf("at the end");
    else
        printf("at step %u", r->step);
}

static void tell_failure(const struct options *options, const struct run_options *run,
                         struct step *steps, uint32_t count) {
    struct shrinking shrinking = {.run = *run,
                                  .until_us = clock_tick_us(&clock_system) + SHRINK_US_MAX};
    printf("seed %llu: violated ", (unsigned long long)run->seed);
    tell_where(result);
    printf(": %s: %s\n", result->rule, result->text);
    fflush(stdout);
    snprintf(shrinking.rule, sizeof shrinking.rule, "%s", result->rule);
    struct step *trial = mem_alloc((count + 1) * sizeof *trial);
    must(trial);
    if (options->shrink)
        count = shrink(&shrinking, steps, count, trial);
    mem_free(trial);
    shrinking.run.list = true;
    shrinking.run.log = options->log;
    if (still_fails(&shrinking, steps, count) || !options->shrink) {
        printf("  shrunk to %u steps in %u runs; violated ", count, shrinking.runs);
        tell_where(result);
        printf(": %s: %s\n%s", result->rule, result->text, result->listing);
    }
    if (options->save)
        plan_save(options->save, run->seed, steps, count);
    if (options->plan)
        return;
    printf("  repeat: build/penstock-sim --seed %llu --steps %u --commands",
           (unsigned long long)run->seed, options->steps);
    if (options->plant)
        printf(" --plant %s", options->plant);
    if (options->shrink) {
        printf(" --only ");
        steps_print(stdout, steps, count);
    }
    printf("\n");
}

static void tell_passed(const struct result *r, uint64_t seed, int64_t took_us) {
    printf("seed %llu passed: %u commands, %u events in %u segments (%u sealed), %u rounds of "
           "eviction, %u loads, %u calls, %u "
           "effects, %u personal parts (%u erased), %u crashes, %u starts\n"
           "simulated %lld s in %lld ms, %lld x real time; digest %016llx\n",
           (unsigned long long)seed, r->commands, r->events, r->segments, r->sealed, r->evictions,
           r->loads, r->calls, r->effects, r->boxes, r->destroyed, r->crashes, r->restarts,
           (long long)(r->simulated_us / 1000000), (long long)(took_us / 1000),
           (long long)(r->simulated_us / (took_us ? took_us : 1)), (unsigned long long)r->digest);
}

/* --- many ----------------------------------------------------------------------------------------------- */

static int run_all(const struct options *options) {
    struct step *steps = mem_alloc(STEPS_MAX * sizeof *steps);
    uint64_t failed = 0, passed = 0;
    int64_t began_us = clock_tick_us(&clock_system), simulated_us = 0, told_us = began_us;
    must(steps);
    for (uint64_t seed = options->first; seed <= options->last; seed++) {
        uint32_t count = options->steps;
        plan_make(steps, count, seed);
        uint64_t number = seed;
        if (options->plan && !plan_load(options->plan, steps, &count, &number))
            return 2;
        if (options->only && !steps_only(steps, &count, options->only)) {
            fprintf(stderr, "--only: not a list of steps from 1 to %u\n", options->steps);
            return 2;
        }
        struct run_options run = {.steps = steps,
                                  .count = count,
                                  .seed = number,
                                  .list = options->commands,
                                  .log = options->log,
                                  .result = result};
        int64_t from_us = clock_tick_us(&clock_system);
        run_one(&run);
        int64_t now_us = clock_tick_us(&clock_system);
        simulated_us += result->simulated_us;
        if (options->commands)
            fputs(result->listing, stdout);
        if (result->state == RUN_PASSED && options->first == options->last)
            tell_passed(result, number, now_us - from_us);
        if (result->state == RUN_PASSED) {
            passed++;
        } else {
            failed++;
            tell_failure(options, &run, steps, count);
        }
        if (failed && options->stop)
            break;
        if (options->first != options->last && now_us - told_us > 5000000) {
            told_us = now_us;
            printf("%llu of %llu seeds, %llu failed\n", (unsigned long long)(passed + failed),
                   (unsigned long long)(options->last - options->first + 1),
                   (unsigned long long)failed);
            fflush(stdout);
        }
    }
    mem_free(steps);
    int64_t took_us = clock_tick_us(&clock_system) - began_us;
    uint64_t per = took_us > 0 ? (uint64_t)took_us : 1;
    if (options->first != options->last)
        printf("%llu seeds passed, %llu failed: simulated %lld hours in %lld s: %lld.%lld seeds and "
               "%lld hours a second, %lld x real time\n",
               (unsigned long long)passed, (unsigned long long)failed,
               (long long)(simulated_us / HOUR_US), (long long)(took_us / 1000000),
               (long long)((passed + failed) * 1000000 / per),
               (long long)((passed + failed) * 10000000 / per % 10),
               (long long)(simulated_us / HOUR_US * 1000000 / (int64_t)per),
               (long long)(simulated_us / (int64_t)per));
    return failed ? 1 : 0;
}

static bool seeds_parse(const char *text, struct options *options) {
    const char *dots = strstr(text, "..");
    if (!dots)
        return str_u64(str_c(text), &options->first) && str_u64(str_c(text), &options->last);
    return str_u64(str_of(text, (size_t)(dots - text)), &options->first) &&
           str_u64(str_c(dots + 2), &options->last) && options->first <= options->last;
}

/* False: wrong usage. */
static bool options_parse(int argc, char **argv, struct options *options) {
    bool seeds = false;
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        uint64_t number;
        if (strcmp(name, "--commands") == 0) {
            options->commands = true;
            continue;
        }
        if (strcmp(name, "--stop") == 0) {
            options->stop = true;
            continue;
        }
        if (strcmp(name, "--no-shrink") == 0) {
            options->shrink = false;
            continue;
        }
        if (!value)
            return false;
        i++;
        if (strcmp(name, "--seed") == 0 || strcmp(name, "--seeds") == 0)
            seeds = seeds_parse(value, options);
        else if (strcmp(name, "--steps") == 0 && str_u64(str_c(value), &number) && number >= 1 &&
                 number <= STEPS_MAX)
            options->steps = (uint32_t)number;
        else if (strcmp(name, "--plant") == 0)
            options->plant = value;
        else if (strcmp(name, "--log") == 0)
            options->log = value;
        else if (strcmp(name, "--only") == 0)
            options->only = value;
        else if (strcmp(name, "--save") == 0)
            options->save = value;
        else if (strcmp(name, "--plan") == 0)
            options->plan = value;
        else
            return false;
    }
    return seeds || options->plan;
}

/* False, told: no such fault, or the build carries none. */
static bool plant(const char *name) {
#ifdef PENSTOCK_PLANTED
    bool list = strcmp(name, "list") == 0;
    for (const struct plant_info *at = plant_table; at->name; at++) {
        if (list)
            printf("%-18s %s\n", at->name, at->help);
        else if (strcmp(name, at->name) == 0)
            plant_on = at->plant;
    }
    if (list)
        exit(0);
    if (plant_on == PLANT_NONE)
        fprintf(stderr, "--plant: there is no %s; 'list' names what there is\n", name);
    return plant_on != PLANT_NONE;
#else
    fprintf(stderr,
            "--plant %s: this build carries no planted faults; set one up with"
            " meson setup build-planted -Dplanted=true\n",
            name);
    return false;
#endif
}

/* Each life would give its memory back and get it again, page by page: a seventh of the time. */
static void heap_setup(void) {
    const uintptr_t large = UINT64_C(2) << 20;
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TOP_PAD, 8 << 20);
    void *first = malloc(64 << 20); /* the heap grows */
    uintptr_t from = ((uintptr_t)first + large - 1) / large * large;
    uintptr_t to = (uintptr_t)sbrk(0) / large * large;
    if (first && to > from && to - from < UINT64_C(1) << 30)
        (void)madvise((void *)from, to - from, MADV_HUGEPAGE);
    free(first);
}

int main(int argc, char **argv) {
    struct options options = {.steps = STEPS_DEFAULT, .shrink = true};
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    bool parsed = options_parse(argc, argv, &options);
    if (options.plant && !plant(options.plant))
        return 2;
    if (!parsed) {
        fputs(usage, stderr);
        return 2;
    }
    heap_setup();
    result = mmap(NULL, sizeof *result, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (result == MAP_FAILED || !sim_setup())
        return 2;
    return run_all(&options);
}
