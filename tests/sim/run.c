/* run: one run of the simulator: the steps of its plan, the settling, the judgement. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/hash.h"
#include "base/log.h"
#include "broker.h"
#include "sim.h"

_Noreturn void violate(struct sim *sim, const char *rule, const char *fmt, ...) {
    struct result *result = sim->result;
    va_list args;
    va_start(args, fmt);
    snprintf(result->rule, sizeof result->rule, "%s", rule);
    vsnprintf(result->text, sizeof result->text, fmt, args);
    va_end(args);
    result->state = RUN_VIOLATED;
    if (sim->log)
        fflush(sim->log);
    _exit(1);
}

void observe_line(struct sim *sim, struct str line) {
    const char *why;
    sim->result->digest = hash64(line, sim->result->digest);
    if (sim->log)
        fprintf(sim->log, "%.*s\n", STR_FMT(line));
    if (!oracle_observe(sim->oracle, line, &why))
        violate(sim, "observation", "%s: %.*s", why, STR_FMT(line));
}

void observe(struct sim *sim, const char *fmt, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, fmt);
    must(vasprintf(&text, fmt, args) >= 0);
    va_end(args);
    observe_line(sim, str_c(text));
    free(text);
}

void list_line(struct sim *sim, const char *fmt, ...) {
    struct result *result = sim->result;
    va_list args;
    if (!sim->run->list || result->listed >= LISTING_BYTES - 1)
        return;
    char *out = result->listing + result->listed;
    size_t room = LISTING_BYTES - result->listed;
    int len = snprintf(out, room, "%5u  ", result->step);
    va_start(args, fmt);
    len += vsnprintf(out + len, room - (size_t)len, fmt, args);
    va_end(args);
    if ((size_t)len > 240) /* a line is to be read */
        len = 240;
    result->listed += (uint32_t)len;
    result->listing[result->listed++] = '\n';
    result->listing[result->listed] = '\0';
}

/* --- steps ---------------------------------------------------------------------------------------- */

static void persons(struct sim *sim) {
    held_decide(sim, STR_NONE);
    desk_decide(sim);
}

static void disk_trouble(struct sim *sim) {
    static const struct {
        enum vfs_fault_call call;
        int code;
        const char *name;
    } troubles[] = {{VFS_FAULT_WRITE, SQLITE_FULL, "the disk is full"},
                    {VFS_FAULT_WRITE, SQLITE_IOERR_WRITE, "a write fails"},
                    {VFS_FAULT_SYNC, SQLITE_IOERR_FSYNC, "a sync fails"},
                    {VFS_FAULT_READ, SQLITE_IOERR_READ, "a read fails"}};
    uint64_t i = chance(sim, sizeof troubles / sizeof *troubles);
    uint32_t n = 1 + (uint32_t)chance(sim, 12);
    vfs_fault_seed(sim->disk, rng_u64(&sim->dice.rng));
    vfs_fault_fail(sim->disk, troubles[i].call, n, troubles[i].code);
    list_line(sim, "%s, at the %u. from now", troubles[i].name, n);
}

/* Until room is made; the hub must say so, refuse, lose nothing, and go on by itself. */
static void disk_full(struct sim *sim) {
    int64_t us = (int64_t)chance(sim, 20000000);
    vfs_fault_full(sim->disk, true);
    sim->full_until_us = sim->tick_us + us;
    list_line(sim, "the disk is full for %lld ms", (long long)us / 1000);
}

/* Forwards or backwards, by up to half a day. */
static void clock_set(struct sim *sim) {
    int64_t us = (int64_t)chance(sim, INT64_C(86400) * 1000000) - INT64_C(43200) * 1000000;
    sim->now_us += us;
    if (sim->now_us > sim->latest_us)
        sim->latest_us = sim->now_us;
    list_line(sim, "the wall clock is set by %lld s", (long long)us / 1000000);
}

static void crash_in(struct sim *sim, uint32_t writes) {
    bool write = chance(sim, 3) > 0;
    uint32_t n = 1 + (uint32_t)chance(sim, write ? writes : 3);
    vfs_fault_seed(sim->disk, rng_u64(&sim->dice.rng));
    vfs_fault_fail(sim->disk, write ? VFS_FAULT_WRITE : VFS_FAULT_SYNC, n, VFS_FAULT_CRASH);
    list_line(sim, "power is lost at the %u. %s", n, write ? "write" : "sync");
}

static void tidy(struct sim *sim, uint64_t times) {
    struct fault fault = {0};
    bool again = true;
    for (uint64_t i = 0; i < times; i++)
        (void)!journal_tidy(sim->journal, &again, &fault);
    (void)!sim->keyring->ops->tidy(sim->keyring, &again, &fault);
    (void)!erasure_step(sim->erasure, sim->reader, &again, &fault);
}

static void time_step(struct sim *sim) {
    static const int64_t most_us[] = {2000, 300000, 3000000, 60000000, 1800000000};
    uint64_t kind = chance(sim, 20);
    time_pass(sim, (int64_t)chance(sim, (uint64_t)most_us[kind < 8    ? 0
                                                          : kind < 14 ? 1
                                                          : kind < 17 ? 2
                                                          : kind < 19 ? 3
                                                                      : 4]));
}

static void hub_step(struct sim *sim, enum step_kind kind) {
    struct fault fault = {0};
    bool more;
    switch (kind) {
    case STEP_CORE: core_step(sim->core); break;
    case STEP_INBOUND: inbound_step(sim->inbound); break;
    case STEP_DELIVER: deliver_step(sim->deliver); break;
    case STEP_POLL: poller_step(sim->poller); break;
    case STEP_STREAM: broker_streams_step(sim); break;
    case STEP_READ_MODEL: (void)!read_model_step(sim->read_model, &more, &fault); break;
    case STEP_SHELF: (void)!core_shelf_step(sim->core, &more, &fault); break;
    default: tidy(sim, 1 + chance(sim, 3));
    }
}

static void crash_step(struct sim *sim, enum step_kind kind) {
    switch (kind) {
    case STEP_CRASH_CORE:
        crash_in(sim, 8);
        core_step(sim->core);
        break;
    case STEP_CRASH_TIDY:
        crash_in(sim, 10);
        tidy(sim, 6);
        break;
    case STEP_CRASH_SHELF:
        crash_in(sim, 12);
        hub_step(sim, STEP_SHELF);
        break;
    case STEP_CRASH_READ_MODEL:
        crash_in(sim, 12);
        hub_step(sim, STEP_READ_MODEL);
        break;
    case STEP_CRASH_DELIVER:
        time_pass(sim, 400000); /* so that progress is due to be written */
        crash_in(sim, 6);
        deliver_step(sim->deliver);
        break;
    case STEP_CRASH_OPEN:
        list_line(sim, "the hub is stopped");
        hub_down(sim, chance(sim, 2));
        if (vfs_fault_crashed(sim->disk))
            vfs_fault_restart(sim->disk);
        crash_in(sim, 30);
        hub_up(sim);
        break;
    case STEP_RESTART:
        list_line(sim, "the hub is restarted");
        hub_down(sim, false);
        hub_up(sim);
        break;
    default:
        list_line(sim, "power is lost");
        hub_down(sim, true);
        sim->result->crashes++;
        vfs_fault_restart(sim->disk);
        hub_up(sim);
    }
}

static void step_run(struct sim *sim, const struct step *step) {
    enum step_kind kind = step->kind;
    rng_seeded_init(&sim->dice, step->random);
    sim->result->step = step->number;
    arena_reset(&sim->arena);
    if (kind <= STEP_LOOK)
        shop_step(sim, kind);
    else if (kind == STEP_FEED)
        watch_feed(sim);
    else if (kind <= STEP_SHELF)
        hub_step(sim, kind);
    else if (kind == STEP_PARTNER)
        partner_step(sim);
    else if (kind == STEP_BROKER)
        broker_step(sim);
    else if (kind == STEP_MARKET_ANSWER)
        market_answer(sim);
    else if (kind == STEP_DOWN)
        partner_down(sim);
    else if (kind == STEP_BAD)
        partner_bad(sim);
    else if (kind == STEP_PERSON)
        persons(sim);
    else if (kind == STEP_REPLAY)
        replays_step(sim);
    else if (kind == STEP_FETCH)
        fetcher_step(sim);
    else if (kind == STEP_HOOK)
        hooks_step(sim);
    else if (kind == STEP_HOOK_ANSWER)
        hooks_answer(sim);
    else if (kind == STEP_TIME)
        time_step(sim);
    else if (kind == STEP_CLOCK)
        clock_set(sim);
    else if (kind == STEP_FULL)
        disk_full(sim);
    else if (kind == STEP_DISK)
        disk_trouble(sim);
    else
        crash_step(sim, kind);
    calls_wake(sim);
    time_pass(sim, 100 + (int64_t)chance(sim, 2000));
    held_answered(sim);
    hub_revive(sim);
    watch_step(sim);
}

/* --- setting up -------------------------------------------------------------------------------- */

static struct connector *connector_items[4];
static struct connectors connectors = {.items = connector_items};
static struct connectors *loaded_sets[4]; /* what the items belong to, to the end */

/* The shipped connector of an ERP, and the simulator's own partners. */
static bool partner_read(const char *dir, const char *name) {
    struct connectors *loaded;
    struct arena arena;
    struct fault fault;
    arena_init(&arena, 0);
    fault_init(&fault, &arena);
    if (connectors_load(dir, &loaded, &fault) != OK) {
        fprintf(stderr, "%s: %s\n", dir, fault.detail);
        for (const struct fault_item *item = fault.first; item; item = item->next)
            fprintf(stderr, "  %.*s: %.*s\n", STR_FMT(item->pointer), STR_FMT(item->detail));
        return false;
    }
    loaded_sets[connectors.count] = loaded;
    const struct connector *connector = connector_find(loaded, str_c(name));
    if (connector)
        connectors.items[connectors.count++] = (struct connector *)(uintptr_t)connector;
    arena_free(&arena);
    return connector != NULL;
}

/* One thread, and nobody reads SQLite's figures of memory. */
static void sqlite_setup(void) {
    must(sqlite3_config(SQLITE_CONFIG_SINGLETHREAD) == SQLITE_OK);
    must(sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0) == SQLITE_OK);
    must(sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 512, 400) == SQLITE_OK);
}

bool sim_setup(void) {
    sqlite_setup();
    setenv("GENERIC_ERP_URL", "http://erp", 1);
    return partner_read(PENSTOCK_SOURCE_ROOT, "generic-erp") &&
           partner_read(PENSTOCK_SOURCE_ROOT "/tests/sim", "sim-partner") &&
           partner_read(PENSTOCK_SOURCE_ROOT "/tests/sim", "sim-broker");
}

_Noreturn void sim_run(const struct run_options *options) {
    struct sim *sim = calloc(1, sizeof *sim);
    must(sim);
    sim->run = options;
    sim->result = options->result;
    sim->oracle = oracle_create();
    if (options->log)
        must((sim->log = fopen(options->log, "we")) != NULL);
    log_level_set(LOG_ERROR + 1);
    sim->connectors = connectors;
    world_open(sim);
    for (uint32_t i = 0; i < options->count; i++)
        step_run(sim, &options->steps[i]);
    sim->result->step = STEPS_MAX + 1;
    rng_seeded_init(&sim->dice, options->seed);
    arena_reset(&sim->arena);
    hub_settle(sim);
    sim->result->simulated_us = sim->tick_us - sim->began_us;
    watch_end(sim);
    world_close(sim);
    oracle_destroy(sim->oracle);
    if (sim->log)
        fclose(sim->log);
    sim->result->state = RUN_PASSED;
    free(sim);
    _exit(0);
}
