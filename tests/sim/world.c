/* world: the hub on its disk: opening, ending, crashing, coming to rest. Owns all of the hub's
 * parts, in the order in which cli/hub.c opens them. */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "connect/parcel.h"
#include "connect/poll_priv.h"
#include "connect/receive.h"
#include "connect/streams_priv.h"
#include "deliver/deliver_priv.h"
#include "domain/list.h"
#include "broker.h"
#include "sim.h"
#include "store/journal_sqlite.h"
#include "store/persons.h"
#include "store/shelf_sqlite.h"

#define STARTS_MAX 60
#define SETTLE_ROUNDS_MAX 6000

static int64_t sim_now(struct clock *clock) { return ((struct sim *)clock)->now_us; }
static int64_t sim_tick(struct clock *clock) { return ((struct sim *)clock)->tick_us; }

/* --- configuration -------------------------------------------------------------------------- */

static struct str two_sources[] = {{"WH-HAM", 6}, {"WH-BER", 6}}, one_source[] = {{"WH-BER", 6}};
static struct config_channel channels[] = {
    {.channel = {"back", 4}, .sourcing = {one_source, 1}, .on_shortage = SHORTAGE_BACK_ORDER},
    {.channel = {"hold", 4}, .sourcing = {two_sources, 2}, .on_shortage = SHORTAGE_HOLD},
    {.channel = {"web-de", 6}, .sourcing = {two_sources, 2}, .on_shortage = SHORTAGE_REFUSE},
};
static struct config_location locations[] = {
    {.location = {"S01", 3}, .kind = LOCATION_STORE},
    {.location = {"WH-BER", 6}, .kind = LOCATION_WAREHOUSE},
    {.location = {"WH-HAM", 6}, .kind = LOCATION_WAREHOUSE},
};

/* By name, so that a seed means the same to the others when one is added. */
static int64_t sized(const struct sim *sim, const char *name, uint64_t bound) {
    return (int64_t)(hash64(str_c(name), sim->run->seed) % bound);
}

/* Everything is small, so that it is full, rotated and evicted all the time. */
static void config_fill(struct sim *sim) {
    struct config *config = &sim->config;
    config->cell = STR("sim");
    arena_init(&config->arena, 0);
#define SETTING(name, kind, dflt, min, max, unit, help) config->settings.name = dflt;
#include "core/settings.def"
#undef SETTING
    config->channels = (struct shape_list){channels, 3};
    config->locations = (struct shape_list){locations, 3};
    config->settings.batch_commands_max = 1 + sized(sim, "batch_commands_max", 12);
    config->settings.deliver_window = 16 + sized(sim, "deliver_window", 100);
    config->settings.inbound_inflight_max = 1 + sized(sim, "inbound_inflight_max", 6);
    config->settings.inbound_workers = 1 + sized(sim, "inbound_workers", 2);
    config->settings.pull_deliveries_max = 10000; /* dies often */
    config->settings.webhook_attempts_max = 1 + sized(sim, "webhook_attempts_max", 4);
    config->settings.webhook_concurrency = 1 + sized(sim, "webhook_concurrency", 8);
    config->settings.webhook_stop_after_s = 2 + sized(sim, "webhook_stop_after_s", 300);
    config->settings.deliver_flush_ms = 1 + sized(sim, "deliver_flush_ms", 300);
    config->settings.state_bytes_max = 4096 + sized(sim, "state_bytes_max", 30000);
    config->settings.state_flush_events = 1 + sized(sim, "state_flush_events", 40);
    sim->segment_bytes = 40000 + 20000 * (uint64_t)sized(sim, "segment_bytes", 8);
    sim->tail_bytes = 4000 + (uint64_t)sized(sim, "tail_bytes", 200000);
    sim->read_model_batch = 1 + (uint32_t)sized(sim, "read_model_batch", 60);
}

/* --- starting ----------------------------------------------------------------------------------- */

/* The written state, as cli/hub.c opens it. */
static enum err shelf_open(struct sim *sim, struct fault *fault) {
    struct shelf_space spaces[SHELF_SPACES_MAX];
    struct shelf_sqlite_opened opened;
    struct shelf_sqlite_options options = {
        .exclusive = true, .spaces = spaces, .format = ENTITY_FORMAT, .wal_bytes = 100000};
    options.space_count = core_spaces(domain_capabilities, spaces);
    enum err err = shelf_sqlite_open("state.db", &options, &sim->shelf, &opened, fault);
    if (err == ERR_DAMAGED || (err == OK && opened.found == SHELF_KEPT && opened.fresh)) {
        if (sim->shelf)
            sim->shelf->ops->close(sim->shelf);
        sim->shelf = NULL;
        options.empty = true;
        err = shelf_sqlite_open("state.db", &options, &sim->shelf, &opened, fault);
    }
    return err;
}

static enum err core_open(struct sim *sim, struct fault *fault) {
    struct journal_sqlite_options journal = {.cell = sim->config.cell,
                                             .exclusive = true,
                                             .segment_bytes = sim->segment_bytes,
                                             .clock = &sim->clock};
    struct persons_options persons = {
        .path = "persons.db", .clock = &sim->clock, .rng = &sim->ids.rng, .ready = 64};
    enum err err = journal_sqlite_open("cell", &journal, &sim->journal, fault);
    if (err == OK)
        err = persons_open(&persons, &sim->keyring, fault);
    if (err == OK)
        err = shelf_open(sim, fault);
    if (err != OK)
        return err;
    sim->tail = tail_create(sim->journal, sim->tail_bytes);
    must(sim->tail);
    struct core_options core = {.capabilities = domain_capabilities,
                                .config = &sim->config,
                                .journal = sim->journal,
                                .keyring = sim->keyring,
                                .shelf = sim->shelf,
                                .tail = sim->tail,
                                .clock = &sim->clock,
                                .rng = &sim->ids.rng};
    sim->core = core_create(&core, fault);
    return sim->core ? OK : ERR_IO;
}

static enum err followers_open(struct sim *sim, struct fault *fault) {
    struct read_model_options read = {.path = "read.db",
                                      .exclusive = true,
                                      .registry = core_registry(sim->core),
                                      .journal = sim->journal,
                                      .tail = sim->tail,
                                      .clock = &sim->clock,
                                      .batch_events = sim->read_model_batch};
    struct inbound_options inbound = {sim->core, sim->tail, &sim->connectors};
    struct deliver_options deliver = {.core = sim->core,
                                      .tail = sim->tail,
                                      .config = &sim->config,
                                      .connectors = &sim->connectors,
                                      .path = "delivery.db",
                                      .clock = &sim->clock,
                                      .rng = &sim->ids.rng,
                                      .net = hooks_net(sim->hooks),
                                      .alone = true};
    struct accounts_options accounts = {
        .clock = &sim->clock,
        .rng = &sim->ids.rng,
        .breaker = accounts_breaker((uint32_t)sim->config.settings.deliver_breaker_after,
                                    sim->config.settings.deliver_probe_max_ms)};
    calls_life(sim);
    sim->accounts = deliver.accounts = accounts_create(&accounts);
    must(sim->accounts);
    enum err err = read_model_open(&read, &sim->read_model, fault);
    if (err == OK) {
        sim->reader = read_model_reader_create(sim->read_model, sim->core, fault);
        err = sim->reader ? OK : ERR_IO;
    }
    if (err == OK) /* in memory: a crash takes them along */
        err = parcels_create(&sim->connectors.parcels, fault);
    if (err == OK)
        err = inbound_create(&inbound, &sim->inbound, fault);
    if (err == OK)
        err = deliver_create(&deliver, &sim->deliver, fault);
    struct poller_options poll = {.core = sim->core,
                                  .config = &sim->config,
                                  .connectors = &sim->connectors,
                                  .path = "intake.db",
                                  .clock = &sim->clock,
                                  .rng = &sim->ids.rng,
                                  .accounts = sim->accounts,
                                  .net = market_net(sim->market)};
    if (err == OK)
        err = poller_create(&poll, &sim->poller, fault);
    if (err == OK)
        err = broker_streams(sim, fault);
    struct erasure_options erasure = {.core = sim->core, .deliver = sim->deliver};
    if (err == OK)
        err = erasure_create(&erasure, &sim->erasure, fault);
    return err;
}

static void hub_close(struct sim *sim) {
    erasure_destroy(sim->erasure);
    sim->erasure = NULL;
    if (sim->inbound)
        inbound_destroy(sim->inbound);
    parcels_release(sim->connectors.parcels);
    sim->connectors.parcels = NULL;
    if (sim->deliver)
        deliver_destroy(sim->deliver);
    poller_destroy(sim->poller);
    sim->poller = NULL;
    streams_destroy(sim->streams);
    sim->streams = NULL;
    accounts_destroy(sim->accounts);
    sim->accounts = NULL;
    if (sim->reader)
        read_model_reader_destroy(sim->reader);
    read_model_close(sim->read_model);
    if (sim->core)
        core_destroy(sim->core);
    if (sim->tail)
        tail_destroy(sim->tail);
    if (sim->shelf)
        sim->shelf->ops->close(sim->shelf);
    sim->shelf = NULL;
    keyring_close(sim->keyring);
    journal_close(sim->journal);
    sim->inbound = NULL;
    sim->deliver = NULL;
    sim->reader = NULL;
    sim->read_model = NULL;
    sim->core = NULL;
    sim->tail = NULL;
    sim->keyring = NULL;
    sim->journal = NULL;
    sim->up = false;
}

static void disk_mend(struct sim *sim) {
    vfs_fault_full(sim->disk, false);
    for (int i = 0; i < VFS_FAULT_CALLS; i++)
        vfs_fault_fail(sim->disk, (enum vfs_fault_call)i, 0, 0);
}

void hub_up(struct sim *sim) {
    for (int i = 0; i < STARTS_MAX; i++) {
        struct fault fault = {0};
        uint64_t failures = vfs_fault_failures(sim->disk);
        enum err err = core_open(sim, &fault);
        if (err == OK)
            err = followers_open(sim, &fault);
        bool crashed = vfs_fault_crashed(sim->disk);
        if (err == OK && !crashed) {
            disk_mend(sim);
            sim->up = true;
            sim->result->restarts++;
            watch_start(sim);
            if (!vfs_fault_crashed(sim->disk))
                return;
            crashed = true;
            hub_down(sim, true);
        } else if (!crashed && vfs_fault_failures(sim->disk) > failures) {
            if (sim->deliver)
                hub_down(sim, false);
            hub_close(sim);
            disk_mend(sim); /* somebody looks after it, and starts the hub again */
            continue;
        } else if (!crashed) {
            violate(sim, "start", "the hub does not start: %s", fault.detail);
        } else {
            if (sim->deliver)
                hub_down(sim, true);
            hub_close(sim);
        }
        vfs_fault_restart(sim->disk);
    }
    violate(sim, "start", "the hub did not start %d times in a row", STARTS_MAX);
}

/* --- ending --------------------------------------------------------------------------------------- */

void hub_down(struct sim *sim, bool crash) {
    struct deliver *d = sim->deliver;
    if (!crash && sim->up)
        watch_rest(sim);
    if (crash && !vfs_fault_crashed(sim->disk)) {
        vfs_fault_seed(sim->disk, rng_u64(&sim->dice.rng));
        vfs_fault_crash(sim->disk);
    }
    held_answered(sim);
    sim->dying = true;
    /* As a process ends: nothing more is written of delivery, nobody hears of what is under way. */
    d->stopping = d->drained = true;
    d->flushed_us = INT64_MAX / 4;
    struct core_stats stats;
    core_stats(sim->core, &stats);
    sim->result->evictions += (uint32_t)stats.evictions;
    sim->result->loads += (uint32_t)stats.loads;
    partner_lose(sim);
    broker_lose(sim);
    hooks_lose(sim);
    if (sim->poller)
        sim->poller->stopping = true;
    if (sim->streams)
        sim->streams->stopping = true;
    market_lose(sim);
    if (sim->poller)
        auth_net_drain(sim->poller->net);
    int rounds = 0;
    while (core_step(sim->core) > 0 || d->out > 0 || (sim->poller && !poller_rests(sim->poller)) ||
           !streams_rest(sim->streams)) {
        deliver_step(d);
        if (sim->streams)
            broker_streams_step(sim);
        if (sim->poller)
            poller_step(sim->poller);
        must(++rounds < 100000);
    }
    sim->pending.waiting = false;
    shop_lost(sim);
    desk_lost(sim);
    fetcher_lost(sim);
    hooks_lost(sim);
    hub_close(sim);
    sim->dying = false;
}

void hub_revive(struct sim *sim) {
    if (!vfs_fault_crashed(sim->disk))
        return;
    sim->result->crashes++;
    hub_down(sim, true);
    vfs_fault_restart(sim->disk);
    hub_up(sim);
}

/* --- rest ------------------------------------------------------------------------------------------- */

void time_pass(struct sim *sim, int64_t us) {
    sim->now_us += us;
    sim->tick_us += us;
    if (sim->now_us > sim->latest_us)
        sim->latest_us = sim->now_us;
    if (sim->tick_us >= sim->full_until_us)
        vfs_fault_full(sim->disk, false);
    partner_work(sim);
    broker_work(sim);
    hooks_work(sim);
}

static bool delivered(const struct sim *sim) {
    for (uint32_t i = 0; i < deliver_count(sim->deliver); i++) {
        struct deliver_stats stats;
        if (deliver_stats(sim->deliver, i, &stats) && stats.usable &&
            (stats.behind > 0 || stats.waiting > 0 || stats.out > 0 || stats.parked > 0))
            return false;
    }
    return true;
}

static bool quiet(struct sim *sim) {
    return core_ready(sim->core) && core_waiting(sim->core) == 0 &&
           inbound_under_way(sim->inbound) == 0 && market_quiet(sim) && broker_quiet(sim) &&
           partner_calls(sim) == 0 && delivered(sim) &&
           calls_told(sim) &&
           !erasure_pending(sim->erasure) && read_model_seq(sim->read_model) == core_seq(sim->core);
}

static void all_step(struct sim *sim) {
    struct fault fault = {0};
    bool more;
    arena_reset(&sim->arena);
    sim->reloaded = sim->reloaded || sim->deliver->failed;
    core_step(sim->core);
    inbound_step(sim->inbound);
    deliver_step(sim->deliver);
    sim->reloaded = sim->reloaded || sim->deliver->failed; /* what failed before is told with the next flush */
    poller_step(sim->poller);
    calls_wake(sim);
    market_answer(sim);
    broker_settle_step(sim);
    while (partner_calls(sim) > 0) {
        uint32_t before = partner_calls(sim);
        partner_step(sim);
        if (partner_calls(sim) >= before)
            break;
    }
    for (uint32_t n = hooks_calls(sim); n > 0; n--)
        hooks_answer(sim);
    core_step(sim->core);
    deliver_step(sim->deliver);
    sim->reloaded = sim->reloaded || sim->deliver->failed;
    fetcher_settle(sim);
    (void)!read_model_step(sim->read_model, &more, &fault);
    (void)!journal_tidy(sim->journal, &more, &fault);
    (void)!core_shelf_step(sim->core, &more, &fault);
    (void)!erasure_step(sim->erasure, sim->reader, &more, &fault);
    (void)!sim->keyring->ops->tidy(sim->keyring, &more, &fault);
}

static void rest(struct sim *sim) {
    for (int i = 0; i < SETTLE_ROUNDS_MAX; i++) {
        all_step(sim);
        if (vfs_fault_crashed(sim->disk))
            violate(sim, "stuck", "power was lost although the disk is well");
        if (!stops_none(sim) && !sim->deliver->failed) {
            held_answered(sim);
            stops_decide(sim, true);
        }
        bool rests = hooks_settle(sim) && quiet(sim) && stops_none(sim);
        if (rests && shop_retry_all(sim) == 0 && desk_clear(sim) && replays_clear(sim)) {
            watch_rest(sim);
            return;
        }
        int64_t next = deliver_next_us(sim->deliver), pause = next - sim->tick_us;
        int64_t most = i < SETTLE_ROUNDS_MAX / 2 ? 1000000 : 600000000; /* a day's calls may be used up */
        uint32_t calls = partner_calls(sim) + hooks_calls(sim) + broker_calls(sim);
        most = calls > 0 ? 500000 : most; /* they are to be answered in time */
        time_pass(sim, pause < 1000 ? 1000 : pause > most ? most : pause);
    }
    struct deliver_stats stats = {0};
    for (uint32_t i = 0; i < deliver_count(sim->deliver); i++) {
        if (deliver_stats(sim->deliver, i, &stats) && stats.usable &&
            (stats.behind || stats.waiting || stats.out || stats.parked))
            break;
    }
    struct buf calls;
    buf_init(&calls, 0);
    calls_tell(sim, &calls);
    broker_tell(sim, &calls);
    buf_char(&calls, '\0');
    if (!replays_clear(sim))
        violate(sim, "stuck", "no rest: a replay does not end%s", calls.data);
    violate(sim, "stuck",
            "no rest: ready %d, %u commands, %u payloads, %u calls, read model at %llu of %llu, %u "
            "unknown; %.*s at %llu of %llu, %u waiting, %u out, %u parked, %s%s",
            core_ready(sim->core), core_waiting(sim->core), inbound_under_way(sim->inbound),
            partner_calls(sim), (unsigned long long)read_model_seq(sim->read_model),
            (unsigned long long)core_seq(sim->core), shop_retry_all(sim),
            STR_FMT(stats.subscription), (unsigned long long)stats.cursor,
            (unsigned long long)stats.last, stats.waiting, stats.out, stats.parked, stats.error, calls.data);
}

/* All is well but for one partner, as after a wrong deployment: who is to tell it must not go on. */
static void bad_rest(struct sim *sim) {
    partner_bad_now(sim);
    for (int i = 0; i < 60; i++) {
        all_step(sim);
        if (vfs_fault_crashed(sim->disk))
            violate(sim, "stuck", "power was lost although the disk is well");
        time_pass(sim, 20000);
    }
}

void hub_settle(struct sim *sim) {
    disk_mend(sim);
    if (sim->run->seed % 3 == 0)
        bad_rest(sim);
    partner_heal(sim);
    broker_heal(sim);
    hooks_heal(sim);
    market_settle(sim);
    rest(sim);
    time_pass(sim, INT64_C(7200) * 1000000); /* every hold has ended by then */
    rest(sim);
}

/* --- life ------------------------------------------------------------------------------------------- */

static void disk_syncs(void *ctx) { watch_disk(ctx); }

void world_open(struct sim *sim) {
    sim->clock = (struct clock){sim_now, sim_tick};
    sim->now_us = INT64_C(1795421700000000);
    sim->tick_us = 1000000;
    sim->began_us = sim->tick_us;
    sim->latest_us = sim->now_us;
    rng_seeded_init(&sim->dice, sim->run->seed ^ UINT64_C(0x9e3779b97f4a7c15));
    rng_seeded_init(&sim->ids, sim->run->seed);
    arena_init(&sim->arena, 0);
    arena_init(&sim->desk.arena, 0);
    sim->parser = json_parser_create();
    must(sim->parser);
    config_fill(sim);
    sim->disk = vfs_fault_create("sim", true);
    vfs_fault_reset(sim->disk, sim->run->seed);
    vfs_fault_watch(sim->disk, disk_syncs, sim);
    sim->calls = calls_create(sim);
    stops_declare(sim);
    sim->partner = partner_create(sim);
    sim->market = market_create(sim);
    sim->broker = broker_create(sim);
    sim->hooks = hooks_create(sim, broker_net(sim->broker));
    sim->shop = shop_create(sim);
    sim->fetcher = fetcher_create(sim);
    hub_up(sim);
}

void world_close(struct sim *sim) {
    hub_down(sim, false);
    shop_destroy(sim->shop);
    fetcher_destroy(sim->fetcher);
    hooks_destroy(sim->hooks);
    partner_destroy(sim->partner);
    market_destroy(sim->market);
    broker_destroy(sim->broker);
    calls_destroy(sim->calls);
    vfs_fault_destroy(sim->disk);
    json_parser_destroy(sim->parser);
    arena_free(&sim->config.arena);
    arena_free(&sim->arena);
    arena_free(&sim->desk.arena);
}
