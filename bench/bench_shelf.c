/* bench_shelf: what the written state costs: writing and merging per entry, memory, opening,
 * asking, loading a whole space.
 *
 *   bench_shelf [KEYS [POSITIONS [BATCH [FOLDER]]]]
 *
 * KEYS sparse keys with values of 16 bytes, each new; POSITIONS resident entities of 40 bytes,
 * each written twice meanwhile, in no order; BATCH entries to a write, after each as much tidying
 * as there is to do. The disk's cache is warm. Prints one line per measurement. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../tests/support/temp.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "store/shelf_sqlite.h"

static const struct shelf_space spaces[] = {{.name = "key", .sparse = true}, {.name = "stock"}};
enum { KEY, STOCK };

static int64_t cpu_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}
static void die(const char *what, const struct fault *fault) {
    fprintf(stderr, "bench_shelf: %s: %s\n", what, fault->detail);
    exit(1);
}
/* Resident memory of the process, MiB. */
static double rss_mib(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    must(file && fscanf(file, "%*d %ld", &pages) == 1);
    fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

static struct hash128 key_of(uint64_t number) {
    return hash128(str_of((const char *)&number, sizeof number), 3);
}
static struct shelf *open_it(const char *path) {
    struct shelf_sqlite_options options = {.spaces = spaces, .space_count = 2, .format = 1};
    struct fault fault = {0};
    struct shelf *shelf;
    double before = rss_mib();
    int64_t from = clock_tick_us(&clock_system);
    if (shelf_sqlite_open(path, &options, &shelf, NULL, &fault) != OK)
        die("open", &fault);
    printf("open: %.1f ms, %.1f MiB of filters and index, %.1f MiB resident more\n",
           (double)(clock_tick_us(&clock_system) - from) / 1e3,
           (double)shelf->ops->memory(shelf) / (1 << 20), rss_mib() - before);
    return shelf;
}

static uint64_t tidy_all(struct shelf *shelf, int64_t *longest) {
    struct fault fault = {0};
    uint64_t calls = 0;
    for (bool again = true; again; calls++) {
        int64_t from = clock_tick_us(&clock_system);
        if (shelf->ops->tidy(shelf, &again, &fault) != OK)
            die("tidy", &fault);
        from = clock_tick_us(&clock_system) - from;
        *longest = from > *longest ? from : *longest;
    }
    return calls;
}

static int64_t int64_max(int64_t a, int64_t b) { return a > b ? a : b; }

static void bench_write(struct shelf *shelf, const char *path, uint64_t keys, uint64_t positions,
                        uint32_t batch) {
    struct shelf_entry *entries = calloc(batch, sizeof *entries);
    static const char value[40] = "a value whose bytes do not matter much.";
    struct rng_seeded rng;
    struct fault fault = {0};
    rng_seeded_init(&rng, 1);
    uint64_t all = keys + 2 * positions, key = 0, position = 0, seq = 0, lap = all / 8;
    int64_t from = cpu_us(), lap_cpu = from, write_cpu = 0, longest_write = 0, longest_tidy = 0;
    size_t peak = 0;
    double runs = 0;
    struct shelf_sqlite_stats stats;
    for (uint64_t done = 0, lap_from = 0; done < all; seq++) {
        uint32_t n = all - done < batch ? (uint32_t)(all - done) : batch;
        for (uint32_t i = 0; i < n; i++) {
            bool stock = key == keys || (position < 2 * positions &&
                                         rng_below(&rng.rng, all) < 2 * positions);
            uint64_t number = stock ? position++ * 7919 % positions : key++;
            entries[i] = (struct shelf_entry){stock ? STOCK : KEY, key_of(number),
                                              str_of(value, stock ? 40 : 16)};
        }
        int64_t tick = clock_tick_us(&clock_system), cpu = cpu_us();
        if (shelf->ops->write(shelf, seq + 1, 0, entries, n, &fault) != OK)
            die("write", &fault);
        write_cpu += cpu_us() - cpu;
        longest_write = int64_max(longest_write, clock_tick_us(&clock_system) - tick);
        tidy_all(shelf, &longest_tidy);
        size_t memory = shelf->ops->memory(shelf);
        peak = memory > peak ? memory : peak;
        done += n;
        shelf_sqlite_stats(shelf, &stats);
        runs += (double)stats.runs;
        if (done - lap_from >= lap || done == all) {
            int64_t now = cpu_us();
            printf("write: %10llu entries, CPU %.2f us an entry, %llu runs\n",
                   (unsigned long long)done, (double)(now - lap_cpu) / (double)(done - lap_from),
                   (unsigned long long)stats.runs);
            lap_from = done;
            lap_cpu = now;
        }
    }
    int64_t cpu = cpu_us() - from;
    struct rusage usage;
    struct stat st;
    getrusage(RUSAGE_SELF, &usage);
    must(stat(path, &st) == 0);
    printf("write: %llu entries in batches of %u, CPU %.2f us an entry, of it %.2f in write; "
           "longest write %.1f ms, tidy %.1f ms; %.1f runs on average; filters and index at most "
           "%.1f MiB\n",
           (unsigned long long)all, batch, (double)cpu / (double)all,
           (double)write_cpu / (double)all, (double)longest_write / 1e3,
           (double)longest_tidy / 1e3, runs / (double)seq, (double)peak / (1 << 20));
    printf("write: %.0f bytes an entry in chunks, %.1f in all merges (%.1f times), %.1f with WAL "
           "and checkpoints; file %.0f MiB of which %.0f in use\n",
           (double)stats.entry_bytes / (double)stats.entries,
           (double)stats.written_bytes / (double)all,
           (double)stats.written_bytes * (double)stats.entries / (double)stats.entry_bytes /
               (double)all,
           (double)usage.ru_oublock * 512 / (double)all, (double)st.st_size / (1 << 20),
           (double)stats.entry_bytes / (1 << 20));
    free(entries);
}

static void bench_ask(struct shelf *shelf, const char *what, uint64_t first, uint64_t count) {
    enum { MAYBES = 1000000, GETS = 100000 };
    struct rng_seeded rng;
    struct arena arena;
    struct fault fault = {0};
    uint64_t yes = 0, there = 0;
    static struct hash128 asked[MAYBES];
    arena_init(&arena, 0);
    rng_seeded_init(&rng, first + 5);
    for (uint32_t i = 0; i < MAYBES; i++)
        asked[i] = key_of(first + rng_below(&rng.rng, count));
    int64_t from = clock_tick_us(&clock_system);
    for (uint32_t i = 0; i < MAYBES; i++)
        yes += shelf->ops->maybe(shelf, KEY, asked[i]);
    int64_t maybe = clock_tick_us(&clock_system) - from;
    from = clock_tick_us(&clock_system);
    for (uint32_t i = 0; i < GETS; i++) {
        struct str value;
        if (shelf->ops->get(shelf, KEY, asked[i], &arena, &value, &fault) != OK)
            die("get", &fault);
        there += value.ptr != NULL;
        if (i % 64 == 0)
            arena_reset(&arena);
    }
    int64_t get = clock_tick_us(&clock_system) - from;
    printf("ask, %s: maybe %.0f ns (%.3f %% yes), get %.2f us (%.3f %% there)\n", what,
           (double)maybe * 1e3 / MAYBES, (double)yes * 100 / MAYBES, (double)get / GETS,
           (double)there * 100 / GETS);
    arena_free(&arena);
}

static bool see(void *ctx, struct hash128 key, struct str value) {
    *(uint64_t *)ctx += key.lo == 0 ? 0 : value.len > 0;
    return true;
}
static void bench_each(struct shelf *shelf) {
    struct fault fault = {0};
    for (uint32_t space = 0; space < 2; space++) {
        uint64_t count = 0;
        int64_t from = clock_tick_us(&clock_system);
        if (shelf->ops->each(shelf, space, see, &count, &fault) != OK)
            die("each", &fault);
        int64_t wall = clock_tick_us(&clock_system) - from + 1;
        printf("each, %s: %llu in %.2f s, %.2f million/s\n", spaces[space].name,
               (unsigned long long)count, (double)wall / 1e6, (double)count / (double)wall);
    }
}

int main(int argc, char **argv) {
    uint64_t keys = argc > 1 ? strtoull(argv[1], NULL, 10) : 4000000;
    uint64_t positions = argc > 2 ? strtoull(argv[2], NULL, 10) : keys / 8;
    uint32_t batch = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 4000;
    if (keys < 10000 || positions < 1000 || batch == 0 || positions % 7919 == 0) {
        fprintf(stderr, "usage: bench_shelf [KEYS [POSITIONS [BATCH [FOLDER]]]], at least 10000 "
                        "keys and 1000 positions, not a multiple of 7919\n");
        return 2;
    }
    char *top = temp_folder();
    char path[4096];
    snprintf(path, sizeof path, "%s/bench-state.db", argc > 4 ? argv[4] : top);
    struct shelf *shelf = open_it(path);
    bench_write(shelf, path, keys, positions, batch);
    int64_t from = clock_tick_us(&clock_system);
    shelf->ops->close(shelf);
    printf("close: %.1f ms\n", (double)(clock_tick_us(&clock_system) - from) / 1e3);
    shelf = open_it(path);
    bench_ask(shelf, "present", 0, keys);
    bench_ask(shelf, "absent", keys + 1, UINT32_MAX);
    bench_each(shelf);
    printf("in all: %.1f MiB resident\n", rss_mib());
    shelf->ops->close(shelf);
    unlink(path);
    temp_remove(top);
    return 0;
}
