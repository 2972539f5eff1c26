/* hub: see hub.h. The order of starting is the order of struct hub; each part is stopped where
 * it was started, so a start that fails half way stops what it has. */
#include "cli/hub.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "cli/cell_audit.h"
#include "base/files.h"
#include "cli/hub_listen.h"
#include "cli/tables.h"
#include "connect/drop.h"
#include "connect/streams.h"
#include "connect/inbound.h"
#include "connect/poll.h"
#include "connect/roster.h"
#include "core/core.h"
#include "deliver/deliver.h"
#include "deliver/operate.h"
#include "deliver/progress.h"
#include "domain/list.h"
#include "gateway/gateway.h"
#include "ops/approvals.h"
#include "ops/connectors.h"
#include "ops/erasure.h"
#include "ops/exceptions.h"
#include "ops/figures.h"
#include "ops/ops.h"
#include "ops/otlp.h"
#include "ops/overview.h"
#include "store/journal_sqlite.h"
#include "store/persons.h"
#include "store/shelf_sqlite.h"
#include "store/read_model.h"

#define TIDY_PAUSE_MS 200 /* between two looks at the journal's WAL */
#define FLOOR_LOOKS 10    /* every so many of them: what the journal must keep */

struct hub {
    char data[PATH_MAX];
    char keys_path[PATH_MAX], limits_path[PATH_MAX], auth_path[PATH_MAX];
    char read_path[PATH_MAX];
    char deliver_path[PATH_MAX], intake_path[PATH_MAX], files_path[PATH_MAX];
    char dir[PATH_MAX]; /* of the configuration */
    char persons_path[PATH_MAX];
    char state_path[PATH_MAX];
    struct buf url;
    struct config *config;
    struct roster *roster;
    struct roster_report found; /* by the start; in its arena */
    struct arena found_arena;
    struct connectors_desk desk;
    _Atomic bool connectors_wanted; /* a look at their folders */
    _Atomic bool connectors_ready;  /* the start is over */
    int64_t connectors_us;          /* of the last look */
    struct journal *journal;
    struct keyring *keyring;
    struct shelf *shelf;
    struct tail *tail;
    struct core *core;
    struct inbound *inbound;
    struct deliver *deliver;
    struct auth_keepers *auth;
    struct accounts *accounts;
    struct poller *poller;
    struct operate *operate;
    struct drop *drop;
    struct streams *streams;
    struct read_model *read_model;
    struct hub_tidy {
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t wake;
        bool running, stopping;
        uint32_t looks; /* so far */
    } tidy;
    struct key_notes *notes;
    bool audited; /* that it was started */
    struct erasure *erasure;
    struct ops_context ops;
    struct figures figures;
    struct otlp *otlp;
    struct gateway_table tables[12];
    struct approvals approvals;
    struct hub_listen listen;
    struct gateway *gateway;
};

/* --- housekeeping --------------------------------------------------------- */

static bool tidy_pause(struct hub_tidy *tidy) {
    int64_t until_us = clock_tick_us(&clock_system) + (int64_t)TIDY_PAUSE_MS * 1000;
    struct timespec until = {.tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000};
    pthread_mutex_lock(&tidy->lock);
    if (!tidy->stopping)
        pthread_cond_timedwait(&tidy->wake, &tidy->lock, &until);
    bool stopping = tidy->stopping;
    pthread_mutex_unlock(&tidy->lock);
    return !stopping;
}

static bool row_seq(void *ctx, const struct progress_row *row) {
    *(uint64_t *)ctx = row->seq;
    return false;
}

/* Tells the journal the lowest seq that someone may still ask for: not beyond the written state,
 * the read model, a subscription's cursor or what is held behind it. It asks delivery.db, and only
 * whole segments depend on it: not at every look. */
static enum err tidy_floor(struct hub *hub, struct fault *fault) {
    struct core_stats core;
    if (hub->tidy.looks++ % FLOOR_LOOKS)
        return OK;
    core_stats(hub->core, &core);
    uint64_t lowest = core.written_seq, read = read_model_seq(hub->read_model);
    enum err err = OK;
    if (read < lowest)
        lowest = read;
    for (uint32_t i = 0; err == OK && i < deliver_count(hub->deliver); i++) {
        struct deliver_stats stats;
        uint64_t held = UINT64_MAX;
        if (!deliver_stats(hub->deliver, i, &stats) || (!stats.enabled && stats.cursor == 0))
            continue; /* one that was never turned on asks for nothing */
        if (stats.held + stats.parked > 0)
            err = deliver_held(hub->deliver, stats.subscription, 0, 1, row_seq, &held, fault);
        if (stats.cursor < lowest)
            lowest = stats.cursor;
        if (held <= lowest)
            lowest = held - 1;
    }
    if (err == OK)
        journal_sqlite_floor(hub->journal, lowest + 1);
    return err;
}

static enum err tidy_journal(struct hub *hub, struct fault *fault) {
    bool again = true;
    enum err err = OK;
    while (again && err == OK)
        err = journal_tidy(hub->journal, &again, fault);
    return err;
}

static enum err tidy_keys(struct hub *hub, struct fault *fault) {
    bool again;
    return hub->keyring->ops->tidy(hub->keyring, &again, fault);
}

/* Erasures that a crash or a failure left unended. */
static enum err tidy_erasures(struct hub *hub, struct fault *fault) {
    if (!erasure_pending(hub->erasure))
        return OK;
    struct reader *reader = read_model_reader_create(hub->read_model, hub->core, fault);
    bool again = true;
    enum err err = reader ? OK : ERR_NOMEM;
    while (err == OK && again)
        err = erasure_step(hub->erasure, reader, &again, fault);
    read_model_reader_destroy(reader);
    return err;
}

static enum err tidy_figures(struct hub *hub, struct fault *fault) {
    return figures_count(&hub->figures, fault);
}

static enum err tidy_certificates(struct hub *hub, struct fault *fault) {
    (void)fault; /* says itself what it met */
    hub_listen_tidy(&hub->listen);
    return OK;
}

/* When told, and when files changed. */
static enum err tidy_connectors(struct hub *hub, struct fault *fault) {
    int64_t watch_us = hub->config->settings.connectors_watch_s * 1000000;
    int64_t now_us = clock_tick_us(&clock_system);
    if (!atomic_load(&hub->connectors_ready))
        return OK;
    bool wanted = atomic_exchange(&hub->connectors_wanted, false);
    if (!wanted) {
        if (watch_us == 0 || now_us - hub->connectors_us < watch_us)
            return OK;
        hub->connectors_us = now_us;
        if (!roster_stale(hub->roster))
            return OK;
    }
    struct arena arena;
    struct roster_report report;
    arena_init(&arena, 0);
    enum err err = connectors_reload(&hub->desk, STR("hub"), STR_NONE, &arena, &report, fault);
    if (err == OK && wanted && report.count == 0)
        log_line(LOG_INFO, "connect", "connectors were read again: nothing changed", "connectors=%u",
                 report.unchanged);
    arena_free(&arena);
    return err;
}

/* What commands did beside the hub, for the audit. */
static enum err tidy_notes(struct hub *hub, struct fault *fault) {
    return cell_audit_notes(hub->core, hub->notes, fault);
}

static void *tidy_run(void *arg) {
    pthread_setname_np(pthread_self(), "tidy");
    static const struct {
        enum err (*run)(struct hub *hub, struct fault *fault);
        const char *failed;
    } all[] = {{tidy_keys, "no keys can be made ahead"},
               {tidy_floor, "what the journal must keep can not be told"},
               {tidy_journal, "the journal can not be tidied"},
               {tidy_certificates, "certificates can not be read"},
               {tidy_connectors, "connectors can not be read again"},
               {tidy_erasures, "an erasure can not be ended"},
               {tidy_figures, "open cases can not be counted"},
               {tidy_notes, "what was done beside the hub can not be told to the audit"}};
    struct hub *hub = arg;
    bool told[sizeof all / sizeof *all] = {false};
    while (tidy_pause(&hub->tidy))
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            struct fault fault = {0};
            enum err err = all[i].run(hub, &fault);
            if (err != OK && !told[i])
                log_line(LOG_WARN, "cli", all[i].failed, "detail=%s",
                         log_quote(str_c(fault.detail)));
            told[i] = err != OK;
        }
    return NULL;
}

static enum err tidy_start(struct hub *hub, struct fault *fault) {
    struct hub_tidy *tidy = &hub->tidy;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&tidy->lock, NULL);
    pthread_cond_init(&tidy->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_create(&tidy->thread, NULL, tidy_run, hub) != 0)
        return fault_set(fault, ERR_NOMEM, "the thread that tidies the journal can not be started");
    tidy->running = true;
    return OK;
}

static void tidy_stop(struct hub_tidy *tidy) {
    if (!tidy->running)
        return;
    pthread_mutex_lock(&tidy->lock);
    tidy->stopping = true;
    pthread_cond_signal(&tidy->wake);
    pthread_mutex_unlock(&tidy->lock);
    pthread_join(tidy->thread, NULL);
    pthread_cond_destroy(&tidy->wake);
    pthread_mutex_destroy(&tidy->lock);
    tidy->running = false;
}

/* --- paths and addresses ---------------------------------------------------------------- */

enum err hub_listen_parse(const char *listen, char *host, size_t size, uint16_t *port,
                          struct fault *fault) {
    const char *colon = strrchr(listen, ':');
    uint64_t number = 0;
    if (!colon || !str_u64(str_c(colon + 1), &number) || number > UINT16_MAX)
        return fault_set(fault, ERR_INVALID, "'%s' is not HOST:PORT", listen);
    struct str name = str_of(listen, (size_t)(colon - listen));
    bool bracketed = name.len >= 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']';
    if (bracketed)
        name = str_of(name.ptr + 1, name.len - 2);
    if (name.len == 0 || name.len >= size || (!bracketed && memchr(name.ptr, ':', name.len)))
        return fault_set(fault, ERR_INVALID, "'%s' is not HOST:PORT", listen);
    if (str_is(name, "localhost"))
        name = STR("127.0.0.1");
    memcpy(host, name.ptr, name.len);
    host[name.len] = '\0';
    *port = (uint16_t)number;
    return OK;
}

static bool path_join(char out[PATH_MAX], const char *dir, const char *name) {
    int len = snprintf(out, PATH_MAX, "%s/%s", dir, name);
    return len > 0 && len < PATH_MAX;
}

static enum err paths_make(struct hub *hub, const struct hub_options *options,
                           struct fault *fault) {
    bool fits = options->data
                    ? (size_t)snprintf(hub->data, PATH_MAX, "%s", options->data) < PATH_MAX
                    : path_join(hub->data, options->dir, "data");
    if (!fits || !path_join(hub->keys_path, hub->data, "keys.db") ||
        !path_join(hub->limits_path, hub->data, "limits.db") ||
        !path_join(hub->auth_path, hub->data, "auth.db") ||
        !path_join(hub->read_path, hub->data, "read.db") ||
        !path_join(hub->deliver_path, hub->data, "delivery.db") ||
        !path_join(hub->intake_path, hub->data, "intake.db") ||
        !path_join(hub->files_path, hub->data, "files.db") ||
        !path_join(hub->dir, options->dir, "") ||
        !path_join(hub->persons_path, hub->data, "persons.db") ||
        !path_join(hub->state_path, hub->data, "state.db"))
        return fault_set(fault, ERR_IO, "the path is too long");
    return files_folder(hub->data, fault);
}

/* --- starting --------------------------------------------------------------------------- */

static enum err roster_make(struct hub *hub, const struct hub_options *options,
                            struct fault *fault) {
    struct roster_options roster = {
        .dir = options->dir, .kept = hub->data, .config = hub->config};
    arena_init(&hub->found_arena, 0);
    return roster_open(&roster, &hub->found_arena, &hub->found, &hub->roster, fault);
}

/* The keys of what is personal, with a first supply of them. */
static enum err keyring_open(struct hub *hub, struct fault *fault) {
    struct persons_options options = {
        .path = hub->persons_path,
        .clock = &clock_system,
        .rng = &rng_system,
        .ready = (uint32_t)hub->config->settings.sealing_keys_ready,
    };
    uint8_t master[SEAL_KEY_BYTES];
    bool again, given;
    enum err err = files_key("PENSTOCK_PERSONS_KEY", master, sizeof master, &given, fault);
    options.master = given ? master : NULL;
    if (err == OK)
        err = persons_open(&options, &hub->keyring, fault);
    explicit_bzero(master, sizeof master);
    return err == OK ? hub->keyring->ops->tidy(hub->keyring, &again, fault) : err;
}

/* A journal without its keys works, but for what is personal: that must not go unseen. */
static void keyring_tell(struct hub *hub) {
    struct persons_stats stats;
    persons_stats(hub->keyring, &stats);
    if (stats.fresh && core_seq(hub->core) > 0)
        log_line(LOG_WARN, "cli", "persons.db was missing and was made anew: what is personal in "
                 "the journal can not be read", "seq=%llu",
                 (unsigned long long)core_seq(hub->core));
}

/* The written state. What can not be used costs a replay of the journal, nothing else. */
static enum err shelf_open(struct hub *hub, struct fault *fault) {
    struct shelf_space spaces[SHELF_SPACES_MAX];
    struct shelf_sqlite_opened opened;
    struct shelf_sqlite_options options = {
        .spaces = spaces,
        .space_count = core_spaces(domain_capabilities, spaces),
        .format = ENTITY_FORMAT,
    };
    enum err err = shelf_sqlite_open(hub->state_path, &options, &hub->shelf, &opened, fault);
    bool damaged = err == ERR_DAMAGED;
    if (damaged)
        log_line(LOG_WARN, "cli", "the written state is damaged: it is made again from the journal",
                 "file=%s detail=%s", hub->state_path, log_quote(str_c(fault->detail)));
    /* A space that is new was not written so far: what is in the others is not enough. */
    if (damaged || (err == OK && opened.found == SHELF_KEPT && opened.fresh)) {
        if (hub->shelf)
            hub->shelf->ops->close(hub->shelf);
        hub->shelf = NULL;
        fault_init(fault, NULL);
        options.empty = true;
        err = shelf_sqlite_open(hub->state_path, &options, &hub->shelf, &opened, fault);
    }
    return err;
}

/* Journal, tail and state. */
static enum err core_open(struct hub *hub, struct fault *fault) {
    struct journal_sqlite_options journal = {
        .cell = hub->config->cell,
        .segment_bytes = (uint64_t)hub->config->settings.journal_segment_bytes,
    };
    enum err err = journal_sqlite_open(hub->data, &journal, &hub->journal, fault);
    if (err == OK)
        err = keyring_open(hub, fault);
    if (err == OK)
        err = shelf_open(hub, fault);
    if (err != OK)
        return err;
    hub->tail = tail_create(hub->journal, (size_t)hub->config->settings.tail_bytes);
    if (!hub->tail)
        return fault_set(fault, ERR_NOMEM, "out of memory");
    struct core_options core = {
        .capabilities = domain_capabilities,
        .config = hub->config,
        .journal = hub->journal,
        .keyring = hub->keyring,
        .shelf = hub->shelf,
        .tail = hub->tail,
        .clock = &clock_system,
        .rng = &rng_system,
    };
    hub->core = core_create(&core, fault);
    if (!hub->core)
        return fault->err != OK ? fault->err : ERR_NOMEM;
    keyring_tell(hub);
    return OK;
}

/* What follows the journal. The core does not run yet: they read where they stand first. */
static enum err followers_open(struct hub *hub, struct fault *fault) {
    const struct connectors *connectors = roster_take(hub->roster); /* each takes it for itself */
    struct read_model_options read = {
        .path = hub->read_path,
        .registry = core_registry(hub->core),
        .journal = hub->journal,
        .tail = hub->tail,
        .clock = &clock_system,
        .batch_events = (uint32_t)hub->config->settings.read_model_batch,
    };
    struct inbound_options inbound = {
        .core = hub->core, .tail = hub->tail, .connectors = connectors};
    hub->auth = auth_keepers_create(&(struct auth_keepers_options){
        .path = hub->auth_path, .clock = &clock_system, .rng = &rng_system});
    if (!hub->auth)
        return fault_set(fault, ERR_NOMEM, "no memory for signing in");
    const struct settings *settings = &hub->config->settings;
    hub->accounts = accounts_create(&(struct accounts_options){
        .clock = &clock_system, .rng = &rng_system,
        .breaker = accounts_breaker((uint32_t)settings->deliver_breaker_after, settings->deliver_probe_max_ms)});
    if (!hub->accounts)
        return fault_set(fault, ERR_NOMEM, "no memory for accounts");
    enum err err = read_model_open(&read, &hub->read_model, fault);
    struct deliver_options deliver = {
        .keepers = hub->auth,
        .accounts = hub->accounts,
        .core = hub->core,
        .tail = hub->tail,
        .config = hub->config,
        .connectors = connectors,
        .path = hub->deliver_path,
        .clock = &clock_system,
        .rng = &rng_system,
    };
    if (err == OK)
        err = inbound_create(&inbound, &hub->inbound, fault);
    if (err == OK)
        err = deliver_create(&deliver, &hub->deliver, fault);
    struct poller_options poll = {.core = hub->core, .config = hub->config,
                                  .connectors = connectors, .path = hub->intake_path,
                                  .clock = &clock_system, .rng = &rng_system, .keepers = hub->auth,
                                  .accounts = hub->accounts};
    if (err == OK)
        err = poller_create(&poll, &hub->poller, fault);
    struct drop_options drop = {.core = hub->core, .config = hub->config,
                                .connectors = connectors, .dir = hub->dir,
                                .path = hub->files_path, .clock = &clock_system};
    if (err == OK)
        err = drop_create(&drop, &hub->drop, fault);
    struct streams_options streams = {.core = hub->core, .config = hub->config, .connectors = connectors,
                                      .clock = &clock_system};
    if (err == OK)
        err = streams_create(&streams, &hub->streams, fault);
    connectors_release(connectors);
    struct erasure_options erasure = {.core = hub->core, .deliver = hub->deliver};
    return err == OK ? erasure_create(&erasure, &hub->erasure, fault) : err;
}

static enum err threads_start(struct hub *hub, struct fault *fault) {
    enum err err = otlp_start(hub->config, &clock_system, &hub->otlp, fault);
    if (err != OK)
        return err;
    hub->figures = (struct figures){.core = hub->core,
                                    .roster = hub->roster,
                                    .inbound = hub->inbound,
                                    .deliver = hub->deliver,
                                    .auth = hub->auth,
                                    .accounts = hub->accounts,
                                    .poller = hub->poller,
                                    .drop = hub->drop,
                                    .streams = hub->streams,
                                    .read_model = hub->read_model,
                                    .keyring = hub->keyring,
                                    .otlp = hub->otlp};
    const struct connectors *connectors = roster_take(hub->roster);
    err = operate_start(&(struct operate_options){.config = hub->config, .connectors = connectors,
                                                  .keepers = hub->auth, .accounts = hub->accounts,
                                                  .clock = &clock_system},
                        &hub->operate, fault);
    connectors_release(connectors);
    hub->figures.operate = hub->operate;
    if (err == OK)
        err = read_model_start(hub->read_model, fault);
    if (err == OK)
        err = key_notes_open(hub->keys_path, &hub->notes, fault);
    if (err == OK)
        err = core_start(hub->core, fault);
    if (err == OK)
        err = tidy_start(hub, fault);
    if (err == OK)
        err = inbound_start(hub->inbound, fault);
    if (err == OK)
        err = deliver_start(hub->deliver, fault);
    if (err == OK)
        err = poller_start(hub->poller, fault);
    if (err == OK)
        err = drop_start(hub->drop, fault);
    return err == OK ? streams_start(hub->streams, fault) : err;
}

/* Once for each: a connector that is not set up is named, with all that rests for it. */
static void missing_tell(struct hub *hub) {
    const struct connectors *connectors = roster_take(hub->roster);
    for (uint32_t i = 0; i < connectors->count; i++)
        if (connectors->items[i]->missing.len > 0)
            log_line(LOG_WARN, "connect", "not usable in full: not set", "connector=%s missing=%s",
                     log_quote(connectors->items[i]->name),
                     log_quote(connectors->items[i]->missing));
    connectors_release(connectors);
}

static struct reader *reader_make(void *ctx, struct fault *fault) {
    struct hub *hub = ctx;
    return read_model_reader_create(hub->read_model, hub->core, fault);
}

static void reader_end(struct reader *reader) { read_model_reader_destroy(reader); }

static enum err serve_start(struct hub *hub, struct fault *fault) {
    hub->desk = (struct connectors_desk){.core = hub->core, .roster = hub->roster,
                                         .inbound = hub->inbound, .deliver = hub->deliver,
                                         .poller = hub->poller,
                                         .drop = hub->drop,
                                         .streams = hub->streams,
                                         .operate = hub->operate};
    connectors_desk_init(&hub->desk);
    hub->ops = (struct ops_context){.core = hub->core,
                                    .inbound = hub->inbound,
                                    .read_model = hub->read_model,
                                    .outlook = {hub->deliver, hub->roster},
                                    .started_us = clock_now_us(&clock_system)};
    hub->tables[0] = (struct gateway_table){ops_routes, &hub->ops};
    hub->tables[1] = (struct gateway_table){deliver_routes, hub->deliver};
    hub->tables[2] = (struct gateway_table){erasure_routes, hub->erasure};
    hub->tables[3] = (struct gateway_table){approvals_routes, &hub->approvals};
    hub->tables[4] = (struct gateway_table){poll_routes, hub->poller};
    hub->tables[5] = (struct gateway_table){exceptions_routes, &hub->ops};
    hub->tables[6] = (struct gateway_table){connectors_routes, &hub->desk};
    hub->tables[7] = (struct gateway_table){drop_routes, hub->drop};
    hub->tables[8] = (struct gateway_table){replay_routes, hub->deliver};
    hub->tables[9] = (struct gateway_table){subscriber_routes_delivered, hub->deliver};
    hub->tables[10] = (struct gateway_table){streams_routes, hub->streams};
    approvals_init(&hub->approvals, hub->core, hub->tables);
    struct gateway_options gateway = {
        .core = hub->core,
        .tail = hub->tail,
        .config = hub->config,
        .roster = hub->roster,
        .keys_path = hub->keys_path,
        .listen = hub->listen.items,
        .listen_count = hub->listen.count,
        .limits_path = hub->limits_path,
        .operate = hub->operate,
        .readers = {.create = reader_make, .destroy = reader_end, .ctx = hub},
        .tables = hub->tables,
        .figures = figures_write,
        .figures_ctx = &hub->figures,
        .api = cli_tables(),
    };
    enum err err = gateway_start(&gateway, &hub->gateway, fault);
    if (err == OK)
        hub_listen_urls(&hub->listen, hub->gateway, &hub->url);
    return err;
}

/* What to do about a file that is damaged. read.db is none of these: it is made again by itself. */
static const struct {
    const char *file, *what;
} damage_hints[] = {
    {"keys.db", "put it back from a backup, or remove it and make new API keys (`penstock key "
                "create`)"},
    {"auth.db", "put it back from a backup, or remove it and set new refresh tokens where "
                "connector.yaml names them"},
    {"delivery.db", "put it back from a backup, or remove it: what is not known to be posted is "
                    "then looked up at its system before it is posted"},
    {"intake.db", "put it back from a backup, or remove it: what polls fetched is then fetched again "
                  "from the beginning, and known by its ids"},
    {"files.db", "put it back from a backup, or remove it: a file that is left once more is then read "
                 "again, and its documents known by their numbers"},
    {"persons.db", "put it back from a backup: without it, what is personal in the journal stays "
                   "sealed for ever"},
    {"", "`penstock journal verify` lists what is damaged; put the files it names back from a "
         "backup, an archive or a copy (`penstock journal export`, `import`). Nothing was changed"},
};

static void damage_tell(enum err err, struct fault *fault) {
    size_t i = 0;
    if (err != ERR_DAMAGED && !strstr(fault->detail, "damaged") &&
        !strstr(fault->detail, "no SQLite database"))
        return;
    while (!strstr(fault->detail, damage_hints[i].file))
        i++;
    fault_add(fault, STR("what to do"), "%s", damage_hints[i].what);
}

/* libuv reads it when its pool is first used; no other thread runs yet. */
static void workers_set(const struct config *config) {
    char workers[8];
    snprintf(workers, sizeof workers, "%d", (int)config->settings.worker_threads);
    setenv("UV_THREADPOOL_SIZE", workers, 1);
}

enum err hub_start(const struct hub_options *options, struct hub **out, struct fault *fault) {
    struct hub *hub = mem_zalloc(sizeof *hub);
    *out = NULL;
    if (!hub)
        return fault_set(fault, ERR_NOMEM, "out of memory");
    buf_init(&hub->url, 4096);
    enum err err = config_load(options->dir, &hub->config, fault);
    if (err == OK)
        workers_set(hub->config);
    if (err == OK)
        err = paths_make(hub, options, fault);
    if (err == OK)
        err = roster_make(hub, options, fault);
    if (err == OK)
        err = hub_listen_make(&hub->listen, hub->config, options, fault);
    if (err == OK)
        err = core_open(hub, fault);
    if (err == OK)
        err = roster_settle(hub->roster, fault);
    if (err == OK)
        err = followers_open(hub, fault);
    if (err == OK)
        err = threads_start(hub, fault);
    if (err == OK)
        err = serve_start(hub, fault);
    if (err != OK) {
        damage_tell(err, fault);
        hub_stop(hub);
        return err;
    }
    missing_tell(hub);
    connectors_tell(&hub->desk, &hub->found);
    hub->connectors_us = clock_tick_us(&clock_system);
    atomic_store(&hub->connectors_ready, true);
    hub_listen_tell(&hub->listen);
    struct fault unheard = {0};
    if (cell_audit_started(hub->core, hub->data, hub_url(hub), &unheard) != OK) /* the disk is full */
        log_line(LOG_WARN, "cli", "the audit could not be told of the start", "detail=%s",
                 log_quote(str_c(unheard.detail)));
    hub->audited = true;
    *out = hub;
    return OK;
}

/* --- stopping --------------------------------------------------------------------------- */

bool hub_stop(struct hub *hub) {
    bool ended = true;
    if (!hub)
        return true;
    if (hub->deliver)
        pull_drain(hub->deliver);
    if (hub->gateway)
        ended = gateway_drain(hub->gateway, hub->config->settings.drain_timeout_ms);
    if (hub->poller)
        poller_stop(hub->poller);
    if (hub->drop)
        drop_stop(hub->drop);
    if (hub->streams)
        streams_stop(hub->streams);
    if (hub->inbound)
        inbound_stop(hub->inbound);
    operate_stop(hub->operate); /* answers who waits */
    if (hub->deliver)
        deliver_stop(hub->deliver, hub->config->settings.drain_timeout_ms);
    if (hub->gateway)
        gateway_stop(hub->gateway);
    if (hub->core && hub->audited)
        cell_audit_stopped(hub->core);
    if (hub->core)
        core_stop(hub->core);
    tidy_stop(&hub->tidy);
    otlp_stop(hub->otlp);
    key_notes_close(hub->notes);
    if (hub->inbound)
        inbound_destroy(hub->inbound);
    if (hub->deliver)
        deliver_destroy(hub->deliver);
    poller_destroy(hub->poller);
    operate_destroy(hub->operate);
    drop_destroy(hub->drop);
    streams_destroy(hub->streams);
    auth_keepers_destroy(hub->auth);
    accounts_destroy(hub->accounts);
    erasure_destroy(hub->erasure);
    approvals_end(&hub->approvals);
    read_model_close(hub->read_model);
    if (hub->core)
        core_destroy(hub->core);
    if (hub->tail)
        tail_destroy(hub->tail);
    journal_close(hub->journal);
    if (hub->shelf)
        hub->shelf->ops->close(hub->shelf);
    keyring_close(hub->keyring);
    roster_close(hub->roster);
    arena_free(&hub->found_arena);
    hub_listen_free(&hub->listen);
    if (hub->config)
        config_destroy(hub->config);
    buf_free(&hub->url);
    mem_free(hub);
    return ended;
}

const char *hub_url(struct hub *hub) { return buf_cstr(&hub->url); }
void hub_reload(struct hub *hub) {
    atomic_store(&hub->listen.wanted, true);
    atomic_store(&hub->connectors_wanted, true);
}
uint64_t hub_seq(const struct hub *hub) { return core_seq(hub->core); }
const struct config *hub_config(const struct hub *hub) { return hub->config; }
