/* bench_year: many orders in one run through core, journal, written state and read model, each
 * on its threads as in the hub (no HTTP, nothing sealed): whether the last are as quick as the
 * first, what memory it takes, and how long a start takes afterwards.
 *
 *   bench_year DIR ORDERS [SKUS [LOCATIONS]]    fills DIR, then ends as by kill -9
 *   bench_year DIR start                        opens what is there, and tells how long it took
 *
 * DIR is a folder on the disk to measure; a run goes on where the one before ended. Not a test:
 * nothing here can fail for being slow. */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "core/core.h"
#include "domain/list.h"
#include "domain/orders.h"
#include "store/journal_sqlite.h"
#include "store/read_model.h"
#include "store/shelf_sqlite.h"

#define WINDOW 256 /* commands under way */
#define LATENCY_STEP_US 100
#define LATENCY_STEPS 20000

struct slot {
    struct command_origin origin; /* all of one origin would be as good */
    struct arena arena;
    struct command command;
    int64_t sent_us;
    char text[1024];
};

static struct slot slots[WINDOW];
static sem_t room;
static uint32_t latencies[LATENCY_STEPS], refused;
static int64_t latency_max_us;

static void bench_deliver(struct command_origin *origin, struct command *first) {
    int64_t now_us = clock_tick_us(&clock_system);
    (void)origin;
    for (struct command *next; first; first = next) {
        struct slot *slot = first->origin_ctx;
        int64_t took_us = now_us - slot->sent_us;
        int64_t step = took_us / LATENCY_STEP_US;
        next = first->next;
        refused += first->answer.err != OK;
        latencies[step < LATENCY_STEPS ? step : LATENCY_STEPS - 1]++;
        if (took_us > latency_max_us)
            latency_max_us = took_us;
        sem_post(&room);
    }
}
static struct command_origin origin = {.deliver = bench_deliver};

static double latency_ms(double share) {
    uint64_t all = 0, seen = 0;
    for (int i = 0; i < LATENCY_STEPS; i++)
        all += latencies[i];
    for (int i = 0; i < LATENCY_STEPS; i++)
        if ((seen += latencies[i]) >= (uint64_t)((double)all * share))
            return i * LATENCY_STEP_US / 1000.0;
    return 0;
}

static double cpu_s(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double resident_mib(void) {
    unsigned long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%lu %lu", &size, &resident) != 2)
        resident = 0;
    if (file)
        fclose(file);
    return (double)resident * (double)sysconf(_SC_PAGESIZE) / 1048576.0;
}

/* --- the parts --------------------------------------------------------------------------------- */

struct parts {
    struct journal *journal;
    struct shelf *shelf;
    struct tail *tail;
    struct core *core;
    struct read_model *model;
    struct json_parser *parser;
    pthread_t tidy;
};

static struct str sources[64];
static struct config_channel channels[] = {{.channel = {"web-de", 6}}};
static struct config_location locations[64];
static struct config config;
static char names[64][8];

static void config_make(uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "W%03u", i);
        sources[i] = str_c(names[i]);
        locations[i].location = sources[i];
    }
    channels[0].sourcing.items = sources;
    channels[0].sourcing.count = count;
    config = (struct config){.channels = {channels, 1}, .locations = {locations, count}};
#define SETTING(name, kind, dflt, min, max, unit, help) config.settings.name = dflt;
#include "core/settings.def"
#undef SETTING
}

static void *tidy_run(void *arg) {
    struct parts *parts = arg;
    for (;;) {
        bool again = true;
        struct fault fault = {0};
        while (again && journal_tidy(parts->journal, &again, &fault) == OK)
            ;
        usleep(200000);
    }
    return NULL;
}

static void core_open(struct parts *parts, const char *dir) {
    char path[4096];
    struct fault fault = {0};
    struct shelf_space spaces[SHELF_SPACES_MAX];
    struct journal_sqlite_options journal = {
        .cell = STR("bench"), .segment_bytes = (uint64_t)config.settings.journal_segment_bytes};
    struct shelf_sqlite_options shelf = {.spaces = spaces,
                                         .space_count = core_spaces(domain_capabilities, spaces),
                                         .format = ENTITY_FORMAT};
    must(journal_sqlite_open(dir, &journal, &parts->journal, &fault) == OK);
    snprintf(path, sizeof path, "%s/state.db", dir);
    must(shelf_sqlite_open(path, &shelf, &parts->shelf, NULL, &fault) == OK);
    parts->tail = tail_create(parts->journal, (size_t)config.settings.tail_bytes);
    struct core_options core = {.capabilities = domain_capabilities, .config = &config,
                                .journal = parts->journal, .shelf = parts->shelf,
                                .tail = parts->tail, .clock = &clock_system, .rng = &rng_system};
    parts->core = core_create(&core, &fault);
    parts->parser = json_parser_create();
    if (!parts->core)
        fprintf(stderr, "bench_year: %s\n", fault.detail);
    must(parts->core && parts->parser);
}

static void threads_start(struct parts *parts, const char *dir) {
    char path[4096];
    struct fault fault = {0};
    snprintf(path, sizeof path, "%s/read.db", dir);
    struct read_model_options read = {.path = path, .registry = core_registry(parts->core),
                                      .journal = parts->journal, .tail = parts->tail,
                                      .clock = &clock_system,
                                      .batch_events = (uint32_t)config.settings.read_model_batch};
    must(read_model_open(&read, &parts->model, &fault) == OK);
    must(read_model_start(parts->model, &fault) == OK);
    must(core_start(parts->core, &fault) == OK);
    must(pthread_create(&parts->tidy, NULL, tidy_run, parts) == 0);
}

/* --- the work ------------------------------------------------------------------------------------ */

static void send(struct parts *parts, const struct command_type *type, uint64_t nth, size_t len,
                 struct str idem_key) {
    struct slot *slot = &slots[nth % WINDOW];
    const struct json *value;
    void *body = NULL;
    struct fault fault;
    fault_init(&fault, &slot->arena);
    must(json_parse(parts->parser, &slot->arena, str_of(slot->text, len), true, &value, &fault) ==
         OK);
    must(shape_decode(type->shape, value, &slot->arena, STR(""), &body, &fault) == OK);
    must(command_prepare(parts->core, type, &slot->arena, body, &slot->command, &fault) == OK);
    slot->command.origin = &origin;
    slot->command.origin_ctx = slot;
    slot->command.actor = STR("key_bench");
    slot->command.idem_scope = STR("POST /v1/orders");
    slot->command.idem_key = idem_key.len ? arena_str(&slot->arena, idem_key) : STR_NONE;
    slot->command.correlation = slot->command.idem_key;
    slot->sent_us = clock_tick_us(&clock_system);
    while (core_submit(parts->core, &slot->command, &fault) != OK)
        usleep(1000);
}

/* The slot of the nth command, free again. */
static struct slot *slot_take(uint64_t nth) {
    while (sem_wait(&room) != 0)
        ;
    arena_reset(&slots[nth % WINDOW].arena);
    return &slots[nth % WINDOW];
}

static void all_answered(void) {
    for (int i = 0; i < WINDOW; i++)
        while (sem_wait(&room) != 0)
            ;
    for (int i = 0; i < WINDOW; i++)
        sem_post(&room);
}

static void stock_fill(struct parts *parts, uint32_t skus, uint32_t places) {
    const struct command_type *count =
        registry_command(core_registry(parts->core), STR("stock.count"));
    uint64_t nth = 0;
    double before = resident_mib();
    for (uint32_t sku = 0; sku < skus; sku++)
        for (uint32_t place = 0; place < places; place++, nth++) {
            struct slot *slot = slot_take(nth);
            int len = snprintf(slot->text, sizeof slot->text,
                               "{\"sku\":\"SKU-%07u\",\"location\":\"%s\",\"on_hand\":\"100000\"}",
                               sku, names[place]);
            send(parts, count, nth, (size_t)len, STR_NONE);
        }
    all_answered();
    double grown = resident_mib() - before;
    printf("%llu stock positions: resident memory grew by %.0f MiB, %.0f bytes each\n",
           (unsigned long long)nth, grown, grown * 1048576.0 / (double)nth);
}

static size_t order_text(char *out, size_t size, uint64_t number, struct rng *rng, uint32_t skus) {
    int len = snprintf(out, size,
                       "{\"channel\":\"web-de\",\"channel_order_id\":\"%llu\",\"placed_at\":"
                       "\"2026-11-23T09:15:00+01:00\",\"currency\":\"EUR\",\"lines\":[",
                       (unsigned long long)number);
    for (int i = 0; i < 2; i++)
        len += snprintf(out + len, size - (size_t)len,
                        "%s{\"line_id\":\"%d\",\"sku\":\"SKU-%07u\",\"quantity\":\"1\","
                        "\"unit_price\":1999,\"total\":1999,\"taxes\":[{\"code\":\"DE-STD\","
                        "\"rate\":\"0.19\",\"base\":1680,\"amount\":319}]}",
                        i ? "," : "", i + 1, (unsigned)rng_below(rng, skus));
    len += snprintf(out + len, size - (size_t)len, "],\"totals\":{\"grand\":3998}}");
    return (size_t)len;
}

static void report(const struct parts *parts, uint64_t from, uint64_t orders, double wall_s,
                   double cpu) {
    struct core_stats stats;
    core_stats(parts->core, &stats);
    printf("orders %llu to %llu: %.0f/s, %.1f us of CPU each; commit p50 %.1f p99 %.1f longest %.0f "
           "ms; resident %.0f MiB, state %.0f MiB, written to %llu of %llu, read model %llu, "
           "loads %llu, by the writer %llu\n",
           (unsigned long long)from, (unsigned long long)(from + orders), (double)orders / wall_s,
           cpu / (double)orders * 1e6, latency_ms(0.5), latency_ms(0.99),
           (double)latency_max_us / 1000, resident_mib(), (double)stats.state_bytes / 1048576,
           (unsigned long long)stats.written_seq, (unsigned long long)core_seq(parts->core),
           (unsigned long long)read_model_seq(parts->model), (unsigned long long)stats.loads,
           (unsigned long long)stats.writer_loads);
    fflush(stdout);
    memset(latencies, 0, sizeof latencies);
    latency_max_us = 0;
}

static void run(struct parts *parts, uint64_t orders, uint32_t skus) {
    struct rng_seeded rng;
    uint64_t base = core_seq(parts->core), piece = orders / 5 ? orders / 5 : orders;
    rng_seeded_init(&rng, base + 1);
    memset(latencies, 0, sizeof latencies);
    latency_max_us = 0;
    for (uint64_t done = 0; done < orders;) {
        double cpu = cpu_s();
        int64_t start_us = clock_tick_us(&clock_system);
        uint64_t from = done;
        for (; done < from + piece && done < orders; done++) {
            struct slot *slot = slot_take(done);
            char key[32];
            size_t len = order_text(slot->text, sizeof slot->text, base + done, &rng.rng, skus);
            snprintf(key, sizeof key, "idem-%llu", (unsigned long long)(base + done));
            send(parts, &order_capture_command, done, len, str_c(key));
        }
        all_answered();
        report(parts, from, done - from,
               (double)(clock_tick_us(&clock_system) - start_us) / 1e6, cpu_s() - cpu);
    }
}

int main(int argc, char **argv) {
    struct parts parts = {0};
    bool start = argc == 3 && strcmp(argv[2], "start") == 0;
    uint64_t orders = 0;
    uint32_t skus = argc > 3 ? (uint32_t)atol(argv[3]) : 100000;
    uint32_t places = argc > 4 ? (uint32_t)atol(argv[4]) : 1;
    if (argc < 3 || (!start && !str_u64(str_c(argv[2]), &orders)) || !skus || !places ||
        places > 64) {
        fprintf(stderr, "usage: bench_year DIR ORDERS [SKUS [LOCATIONS]]\n"
                        "       bench_year DIR start\n");
        return 2;
    }
    config_make(start ? 64 : places);
    sem_init(&room, 0, WINDOW);
    for (int i = 0; i < WINDOW; i++)
        arena_init(&slots[i].arena, 0);
    int64_t start_us = clock_tick_us(&clock_system);
    core_open(&parts, argv[1]);
    struct core_stats stats;
    core_stats(parts.core, &stats);
    printf("ready in %.2f s at seq %llu (written to %llu); resident %.0f MiB\n",
           (double)(clock_tick_us(&clock_system) - start_us) / 1e6,
           (unsigned long long)core_seq(parts.core), (unsigned long long)stats.written_seq,
           resident_mib());
    if (start)
        return 0;
    threads_start(&parts, argv[1]);
    if (core_seq(parts.core) == 0)
        stock_fill(&parts, skus, places);
    run(&parts, orders, skus);
    if (refused)
        fprintf(stderr, "bench_year: %u were refused\n", refused);
    fflush(stdout);
    raise(SIGKILL); /* as a crash would end it */
    return 0;
}
