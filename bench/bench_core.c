/* bench_core: orders through the core alone, without HTTP: decode, check, decide, journal.
 *
 *   bench_core DIR [ORDERS [BATCH [SKUS [plain]]]]
 *
 * DIR is an empty folder on the disk to measure; `plain`: what is personal is not sealed. Prints
 * orders/s and CPU per order of the two halves: what the loop threads do (decode, check, seal,
 * encode) and what the writer does (decide, apply, append). Not a test: nothing here can fail for
 * being slow. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/mem.h"
#include "core/core.h"
#include "domain/list.h"
#include "domain/orders.h"
#include "store/journal_sqlite.h"
#include "store/persons.h"

static double cpu_s(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

struct slot {
    struct arena arena;
    struct command command;
    char text[4096];
};

static uint32_t refused;
static void bench_deliver(struct command_origin *origin, struct command *first) {
    (void)origin;
    for (; first; first = first->next)
        refused += first->answer.err != OK;
}
static struct command_origin origin = {.deliver = bench_deliver};

static size_t order_text(char *out, size_t size, struct rng *rng, uint64_t number, uint32_t skus) {
    int len = snprintf(
        out, size,
        "{\"channel\":\"web-de\",\"channel_order_id\":\"%llu\",\"placed_at\":"
        "\"2026-11-23T09:15:00+01:00\",\"currency\":\"EUR\",\"prices_include_tax\":true,"
        "\"customer\":{\"customer_id\":\"C-1001\",\"email\":\"ann@example.org\",\"name\":\"Ann "
        "Example\"},\"ship_to\":{\"name\":\"Ann Example\",\"street\":[\"Hafenstr. 1\"],"
        "\"postal_code\":\"20457\",\"city\":\"Hamburg\",\"country\":\"DE\"},\"lines\":[",
        (unsigned long long)number);
    for (int i = 0; i < 3; i++)
        len += snprintf(out + len, size - (size_t)len,
                        "%s{\"line_id\":\"%d\",\"sku\":\"SKU-%06u\",\"name\":\"A thing of some "
                        "kind\",\"quantity\":\"1\",\"unit_price\":1999,\"discount\":0,\"total\":"
                        "1999,\"taxes\":[{\"code\":\"DE-STD\",\"rate\":\"0.19\",\"base\":1680,"
                        "\"amount\":319}]}",
                        i ? "," : "", i + 1, (unsigned)rng_below(rng, skus));
    len += snprintf(out + len, size - (size_t)len,
                    "],\"shipping\":[{\"line_id\":\"s1\",\"method\":\"parcel\",\"total\":490,"
                    "\"taxes\":[{\"code\":\"DE-STD\",\"rate\":\"0.19\",\"base\":412,\"amount\":78}"
                    "]}],\"tenders\":[{\"tender_id\":\"t1\",\"kind\":\"card\",\"amount\":6487,"
                    "\"reference\":\"psp-8812\",\"state\":\"authorised\"}],\"totals\":{\"lines\":"
                    "5997,\"discount\":0,\"shipping\":490,\"tax\":1035,\"rounding\":0,\"grand\":"
                    "6487}}");
    return (size_t)len;
}

static void prepare(struct core *core, struct json_parser *parser, const struct command_type *type,
                    struct slot *slot, size_t len) {
    const struct json *value;
    void *body = NULL;
    struct fault fault;
    arena_reset(&slot->arena);
    fault_init(&fault, &slot->arena);
    must(json_parse(parser, &slot->arena, str_of(slot->text, len), true, &value, &fault) == OK);
    must(shape_decode(type->shape, value, &slot->arena, STR(""), &body, &fault) == OK);
    must(command_prepare(core, type, &slot->arena, body, &slot->command, &fault) == OK);
    slot->command.correlation = arena_printf(&slot->arena, "cor-%p-%llu", (void *)slot,
                                             (unsigned long long)slot->command.now_us);
    slot->command.actor = STR("key_bench");
    slot->command.idem_scope = STR("key_bench POST /v1/orders");
    slot->command.idem_key = slot->command.correlation;
    slot->command.origin = &origin;
}

static void stock_fill(struct core *core, struct json_parser *parser, struct slot *slots,
                       uint32_t batch, uint32_t skus) {
    const struct command_type *count = registry_command(core_registry(core), STR("stock.count"));
    for (uint32_t done = 0; done < skus;) {
        for (uint32_t i = 0; i < batch && done < skus; i++, done++) {
            int len = snprintf(slots[i].text, sizeof slots[i].text,
                               "{\"sku\":\"SKU-%06u\",\"location\":\"WH-HAM\",\"on_hand\":"
                               "\"100000000\"}",
                               done);
            prepare(core, parser, count, &slots[i], (size_t)len);
            slots[i].command.idem_key = STR_NONE;
            must(core_submit(core, &slots[i].command, NULL) == OK);
        }
        core_step(core);
    }
}

/* All keys that a run may take, made before. */
static struct keyring *keyring_make(const char *dir) {
    char path[4096];
    struct persons_options options = {
        .path = path, .clock = &clock_system, .rng = &rng_system, .ready = 1u << 22};
    struct keyring *keyring;
    struct fault fault = {0};
    bool again = true;
    snprintf(path, sizeof path, "%s/persons.db", dir);
    must(persons_open(&options, &keyring, &fault) == OK);
    while (again)
        must(keyring->ops->tidy(keyring, &again, &fault) == OK);
    return keyring;
}

int main(int argc, char **argv) {
    uint32_t orders = argc > 2 ? (uint32_t)atoll(argv[2]) : 200000;
    uint32_t batch = argc > 3 ? (uint32_t)atoll(argv[3]) : 128;
    uint32_t skus = argc > 4 ? (uint32_t)atoll(argv[4]) : 100000;
    static struct str sources[] = {{"WH-HAM", 6}};
    static struct config_channel channels[] = {
        {.channel = {"web-de", 6}, .sourcing = {sources, 1}}};
    static struct config_location locations[] = {{.location = {"WH-HAM", 6}}};
    static struct config config = {.channels = {channels, 1}, .locations = {locations, 1}};
#define SETTING(name, kind, dflt, min, max, unit, help) config.settings.name = dflt;
#include "core/settings.def"
#undef SETTING
    if (argc < 2 || batch == 0 || skus == 0) {
        fprintf(stderr, "usage: bench_core DIR [ORDERS [BATCH [SKUS [plain]]]]\n");
        return 2;
    }
    struct fault fault;
    fault_init(&fault, NULL);
    struct journal *journal;
    struct journal_sqlite_options options = {.cell = STR("bench")};
    if (journal_sqlite_open(argv[1], &options, &journal, &fault) != OK) {
        fprintf(stderr, "bench_core: %s\n", fault.detail);
        return 1;
    }
    struct rng_seeded rng;
    rng_seeded_init(&rng, 1);
    struct core_options core_options = {.capabilities = domain_capabilities, .config = &config,
                                        .journal = journal, .clock = &clock_system,
                                        .rng = &rng.rng,
                                        .keyring = argc > 5 ? NULL : keyring_make(argv[1])};
    struct core *core = core_create(&core_options, &fault);
    struct json_parser *parser = json_parser_create();
    struct slot *slots = mem_zalloc(batch * sizeof *slots);
    must(core && parser && slots);
    for (uint32_t i = 0; i < batch; i++)
        arena_init(&slots[i].arena, 0);
    stock_fill(core, parser, slots, batch, skus);
    double prepare_s = 0, write_s = 0;
    int64_t start_us = clock_tick_us(&clock_system);
    size_t bytes = 0;
    for (uint32_t done = 0; done < orders;) {
        double before = cpu_s();
        for (uint32_t i = 0; i < batch && done < orders; i++, done++) {
            size_t len = order_text(slots[i].text, sizeof slots[i].text, &rng.rng, done, skus);
            bytes += len;
            prepare(core, parser, &order_capture_command, &slots[i], len);
            must(core_submit(core, &slots[i].command, NULL) == OK);
        }
        double between = cpu_s();
        core_step(core);
        prepare_s += between - before;
        write_s += cpu_s() - between;
    }
    double wall_s = (double)(clock_tick_us(&clock_system) - start_us) / 1e6;
    printf("%u orders of %zu bytes, %u to a commit: %.0f orders/s; CPU per order: %.1f us to read "
           "and check (text made here included), %.1f us to decide, apply and append; refused %u\n",
           orders, bytes / orders, batch, orders / wall_s, prepare_s / orders * 1e6,
           write_s / orders * 1e6, refused);
    core_destroy(core);
    keyring_close(core_options.keyring);
    journal_close(journal);
    return refused != 0;
}
