/* bench_store: what the journal and the read model cost by themselves, per event and per order.
 *
 *   bench_store [ORDERS [EVENTS_PER_SECOND [FOLDER]]]
 *   bench_store rebuild DATA FOLDER
 *
 * Journal: events of 2.6 KB, 256 to a commit, each synced, a second thread tidying; as fast as
 * it can where EVENTS_PER_SECOND is 0; segments of SEGMENT_MIB from the environment. Read model:
 * two events an order (2 KB and 0.3 KB), one row with an index, four references; a
 * thousand orders to a batch, without the pauses that the hub makes between batches. Prints one
 * line per measurement.
 *
 * rebuild reads the journal of the cell in DATA (it may be served meanwhile) and makes a read
 * model of it in FOLDER, with the hub's own capabilities. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "../tests/support/shop.h"
#include "../tests/support/temp.h"
#include "base/mem.h"
#include "domain/list.h"
#include "store/journal_archive.h"
#include "store/journal_sqlite.h"
#include "store/journal_verify.h"
#include "store/read_model.h"

static int64_t cpu_us(clockid_t which) {
    struct timespec now;
    clock_gettime(which, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void die(const char *what, const struct fault *fault) {
    fprintf(stderr, "bench_store: %s: %s\n", what, fault->detail);
    exit(1);
}

/* --- journal ---------------------------------------------------------------------------- */

#define COMMIT_EVENTS 256

struct tidying {
    struct journal *journal;
    _Atomic bool done;
    _Atomic uint64_t wal_max;
    int64_t cpu_us;
};
static void *tidy_main(void *arg) {
    struct tidying *tidying = arg;
    while (!atomic_load(&tidying->done)) {
        struct fault fault = {0};
        bool again;
        struct journal_sqlite_stats stats;
        journal_sqlite_stats(tidying->journal, &stats);
        if (stats.all.wal_bytes > tidying->wal_max)
            tidying->wal_max = stats.all.wal_bytes;
        if (journal_tidy(tidying->journal, &again, &fault) != OK)
            die("tidy", &fault);
        if (!again)
            nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    tidying->cpu_us = cpu_us(CLOCK_THREAD_CPUTIME_ID);
    return NULL;
}

static int int64_cmp(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static bool record_count(void *ctx, const struct record *record) {
    *(uint64_t *)ctx += record->data.len;
    return true;
}
static void bench_reading(struct journal *journal, uint64_t events) {
    struct fault fault = {0};
    uint64_t bytes = 0, next;
    int64_t from = clock_tick_us(&clock_system), cpu = cpu_us(CLOCK_THREAD_CPUTIME_ID);
    if (journal_read(journal, 1, UINT32_MAX, record_count, &bytes, &next, &fault) != OK)
        die("read", &fault);
    int64_t wall = clock_tick_us(&clock_system) - from;
    printf("journal: read back %llu/s, CPU %.2f us an event\n",
           (unsigned long long)((next - 1) * 1000000 / (uint64_t)wall),
           (double)(cpu_us(CLOCK_THREAD_CPUTIME_ID) - cpu) / (double)events);
}

/* A program that is killed with the longest WAL there may be: how long the next one needs. */
static void bench_killed(const char *dir) {
    struct journal_sqlite_options options = {.cell = STR("bench")};
    struct journal *journal;
    struct fault fault = {0};
    pid_t pid = fork();
    must(pid >= 0);
    if (pid == 0) {
        static char text[1 << 20];
        memset(text, 'x', sizeof text);
        uint64_t last;
        if (journal_sqlite_open(dir, &options, &journal, &fault) != OK ||
            journal_last(journal, &last, &fault) != OK)
            die("open", &fault);
        struct record record = {.type = STR("t"), .subject = STR("s"), .meta = STR("{}"),
                                .data = str_of(text, sizeof text)};
        for (uint32_t i = 0; i < JOURNAL_SEGMENT_BYTES_DEFAULT >> 20; i++) {
            record.seq = ++last;
            record.time_us = clock_now_us(&clock_system);
            if (journal_append(journal, &record, 1, &fault) != OK)
                die("append", &fault);
        }
        _exit(0);
    }
    int status;
    must(waitpid(pid, &status, 0) == pid && status == 0);
    int64_t from = clock_tick_us(&clock_system);
    if (journal_sqlite_open(dir, &options, &journal, &fault) != OK)
        die("open", &fault);
    printf("journal: opened %.1f ms after a kill with a WAL of %llu MiB\n",
           (double)(clock_tick_us(&clock_system) - from) / 1e3,
           (unsigned long long)(JOURNAL_SEGMENT_BYTES_DEFAULT >> 20));
    journal_close(journal);
}

/* What `penstock journal verify` does, and archiving the first segment. */
static void bench_chain(const char *dir) {
    struct journal_sqlite_options options = {.read_only = true, .maintain = true};
    struct journal_report report;
    struct journal *journal;
    struct segment segment;
    struct fault fault = {0};
    if (journal_sqlite_open(dir, &options, &journal, &fault) != OK)
        die("open", &fault);
    uint64_t sealed = 0;
    for (uint32_t i = 0; journal_sqlite_segment(journal, i, &segment); i++)
        sealed += segment.bytes;
    int64_t from = clock_tick_us(&clock_system);
    for (uint32_t i = 0; journal_sqlite_segment(journal, i, &segment); i++)
        if (segment.state == SEGMENT_SEALED &&
            journal_sqlite_segment_check(journal, &segment, NULL, NULL, &fault) != OK)
            die("check", &fault);
    int64_t hashed = clock_tick_us(&clock_system);
    if (journal_chain_verify(journal, NULL, NULL, NULL, &report, &fault) != OK || report.faults)
        die(report.faults ? report.listed[0].detail : "verify", &fault);
    int64_t verified = clock_tick_us(&clock_system);
    struct journal_stats stats;
    journal_stats(journal, &stats); /* the live segment was verified, too */
    printf("journal: %llu MiB sealed; their hashes checked at %llu MB/s; with every record's "
           "checksum %llu MB/s\n",
           (unsigned long long)(sealed >> 20),
           (unsigned long long)(sealed / (uint64_t)(hashed - from + 1)),
           (unsigned long long)(stats.bytes / (uint64_t)(verified - hashed + 1)));
    if (journal_sqlite_segment(journal, 0, &segment) && segment.state == SEGMENT_SEALED) {
        char path[4096];
        uint64_t packed, next, bytes = 0;
        if (journal_segment_archive(journal, &segment, NULL, NULL, &fault) != OK ||
            journal_archive_place(journal, 1, path, sizeof path, &packed, &fault) != OK)
            die("archive", &fault);
        int64_t packed_us = clock_tick_us(&clock_system);
        journal_close(journal); /* which has the file open */
        options.maintain = false;
        if (journal_sqlite_open(dir, &options, &journal, &fault) != OK)
            die("open", &fault);
        int64_t archived = clock_tick_us(&clock_system);
        if (journal_read(journal, 1, 1, record_count, &bytes, &next, &fault) != OK)
            die("read", &fault);
        printf("journal: a segment archived at %llu MB/s to 1/%.1f; first read of it after %.0f "
               "ms\n",
               (unsigned long long)(segment.bytes / (uint64_t)(packed_us - verified)),
               (double)segment.bytes / (double)packed,
               (double)(clock_tick_us(&clock_system) - archived) / 1e3);
    }
    journal_close(journal);
}

static void bench_journal(const char *dir, uint64_t events, uint64_t rate) {
    const char *length = getenv("SEGMENT_MIB");
    struct journal_sqlite_options options = {
        .cell = STR("bench"), .segment_bytes = length ? strtoull(length, NULL, 10) << 20 : 0};
    struct tidying tidying = {0};
    struct fault fault = {0};
    if (journal_sqlite_open(dir, &options, &tidying.journal, &fault) != OK)
        die("open", &fault);
    struct buf texts;
    buf_init(&texts, 0);
    struct shop_record made;
    shop_put_captured(&texts, 1, 1, 1100, &made);
    shop_fix(&texts, &made, 1);
    uint64_t commits = events / COMMIT_EVENTS;
    int64_t *took = calloc(commits, sizeof *took);
    struct record records[COMMIT_EVENTS];
    pthread_t thread;
    must(pthread_create(&thread, NULL, tidy_main, &tidying) == 0);
    int64_t from = clock_tick_us(&clock_system), cpu = cpu_us(CLOCK_THREAD_CPUTIME_ID);
    for (uint64_t c = 0; c < commits; c++) {
        for (uint32_t i = 0; i < COMMIT_EVENTS; i++) {
            records[i] = made.record;
            records[i].seq = c * COMMIT_EVENTS + i + 1;
        }
        int64_t start = clock_tick_us(&clock_system);
        int64_t due = rate ? from + (int64_t)(c * COMMIT_EVENTS * 1000000 / rate) : start;
        if (due > start) {
            nanosleep(&(struct timespec){.tv_nsec = (due - start) * 1000}, NULL);
            start = clock_tick_us(&clock_system);
        }
        if (journal_append(tidying.journal, records, COMMIT_EVENTS, &fault) != OK)
            die("append", &fault);
        took[c] = clock_tick_us(&clock_system) - start;
    }
    int64_t wall = clock_tick_us(&clock_system) - from;
    cpu = cpu_us(CLOCK_THREAD_CPUTIME_ID) - cpu;
    atomic_store(&tidying.done, true);
    pthread_join(thread, NULL);
    qsort(took, commits, sizeof *took, int64_cmp);
    struct journal_sqlite_stats stats;
    journal_sqlite_stats(tidying.journal, &stats);
    printf("journal: %llu events of %zu bytes, %llu/s, CPU %.2f us append + %.2f us checkpoint "
           "an event; commit p50 %.1f p99 %.1f max %.1f ms; WAL at most %llu MiB, %llu switches "
           "to another segment, the longest %.3f ms\n",
           (unsigned long long)events, texts.len,
           (unsigned long long)(events * 1000000 / (uint64_t)wall), (double)cpu / (double)events,
           (double)tidying.cpu_us / (double)events, (double)took[commits / 2] / 1e3,
           (double)took[commits * 99 / 100] / 1e3, (double)took[commits - 1] / 1e3,
           (unsigned long long)(tidying.wal_max >> 20), (unsigned long long)stats.switches,
           (double)stats.switch_us_max / 1e3);
    bench_reading(tidying.journal, commits * COMMIT_EVENTS);
    free(took);
    buf_free(&texts);
    for (bool again = true; again;)
        if (journal_tidy(tidying.journal, &again, &fault) != OK)
            die("tidy", &fault);
    journal_close(tidying.journal);
    bench_chain(dir);
    bench_killed(dir);
}

/* --- read model ------------------------------------------------------------------------- */

struct follower {
    struct journal *journal;
    struct tail *tail;
    struct read_model *model;
    uint64_t orders;
};

/* n more orders through journal and tail; not counted. */
static void orders_publish(struct follower *f, uint32_t n) {
    struct shop_record *made = calloc(2 * n, sizeof *made);
    struct record *records = calloc(2 * n, sizeof *records);
    struct buf texts;
    buf_init(&texts, 0);
    uint64_t seq = tail_last(f->tail);
    for (uint32_t i = 0; i < n; i++, seq += 2) {
        uint64_t order = ++f->orders;
        shop_put_captured(&texts, order, seq + 1, 350, &made[2 * i]);
        shop_put_other(&texts, "stock.reserved",
                       "{\"lines\":[{\"line_id\":\"1\",\"sku\":\"TEE-RED-M\",\"quantity\":\"2\"},"
                       "{\"line_id\":\"2\",\"sku\":\"TEE-RED-L\",\"quantity\":\"1\"}]}",
                       order, seq + 2, seq + 1, &made[2 * i + 1]);
    }
    shop_fix(&texts, made, 2 * n);
    for (uint32_t i = 0; i < 2 * n; i++)
        records[i] = made[i].record;
    struct fault fault = {0};
    if (journal_append(f->journal, records, 2 * n, &fault) != OK)
        die("append", &fault);
    tail_publish(f->tail, records, 2 * n);
    buf_free(&texts);
    free(made);
    free(records);
}

static void bench_read_model(const char *dir, uint64_t orders, uint32_t batch) {
    struct journal_sqlite_options options = {.cell = STR("bench")};
    struct follower f = {0};
    struct fault fault = {0};
    if (journal_sqlite_open(dir, &options, &f.journal, &fault) != OK)
        die("open", &fault);
    f.tail = tail_create(f.journal, 64 << 20);
    struct registry *registry = registry_create(shop_capabilities);
    char path[4200];
    snprintf(path, sizeof path, "%s/read.db", dir);
    struct read_model_options model_options = {.path = path, .registry = registry,
                                               .journal = f.journal, .tail = f.tail,
                                               .clock = &clock_system, .batch_events = 2 * batch};
    if (read_model_open(&model_options, &f.model, &fault) != OK)
        die("read model", &fault);
    int64_t wall = 0, cpu = 0, longest = 0, lap_cpu = 0;
    uint64_t lap = 0, laps = 4;
    for (uint64_t done = 0; done < orders; done += batch) {
        orders_publish(&f, batch);
        int64_t from = clock_tick_us(&clock_system), used = cpu_us(CLOCK_THREAD_CPUTIME_ID);
        for (bool more = true; more;)
            if (read_model_step(f.model, &more, &fault) != OK)
                die("step", &fault);
        int64_t took = clock_tick_us(&clock_system) - from;
        used = cpu_us(CLOCK_THREAD_CPUTIME_ID) - used;
        wall += took;
        cpu += used;
        lap_cpu += used;
        lap += batch;
        longest = took > longest ? took : longest;
        if (lap >= orders / laps) {
            printf("read model: orders %8llu, CPU %.2f us an order\n",
                   (unsigned long long)(done + batch), (double)lap_cpu / (double)lap);
            lap = 0;
            lap_cpu = 0;
        }
    }
    struct stat st;
    must(stat(path, &st) == 0);
    printf("read model: %llu orders in batches of %u, %llu orders/s, CPU %.2f us an order, "
           "longest step %.1f ms, %.0f bytes an order\n",
           (unsigned long long)orders, batch,
           (unsigned long long)(orders * 1000000 / (uint64_t)wall), (double)cpu / (double)orders,
           (double)longest / 1e3, (double)st.st_size / (double)orders);
    struct reader *reader = read_model_reader_create(f.model, NULL, &fault);
    int64_t from = clock_tick_us(&clock_system);
    for (uint64_t i = 1; i <= 1000; i++) {
        char id[64];
        uint64_t seqs[4];
        uint32_t count;
        snprintf(id, sizeof id, "C%llu", (unsigned long long)(i * (orders / 1000) * 7919));
        if (reader->ops->refs(reader, str_c(id), seqs, 4, &count, &fault) != OK || count != 1)
            die("refs", &fault);
    }
    printf("read model: refs of an id in %.1f us\n",
           (double)(clock_tick_us(&clock_system) - from) / 1000);
    read_model_reader_destroy(reader);
    read_model_close(f.model);
    registry_destroy(registry);
    tail_destroy(f.tail);
    journal_close(f.journal);
}

/* --- rebuild ---------------------------------------------------------------------------- */

static void bench_rebuild(const char *data, const char *folder) {
    struct journal_sqlite_options options = {.read_only = true};
    struct follower f = {0};
    struct fault fault = {0};
    if (journal_sqlite_open(data, &options, &f.journal, &fault) != OK)
        die("open", &fault);
    f.tail = tail_create(f.journal, 1 << 20);
    struct registry *registry = registry_create(domain_capabilities);
    char path[4200];
    snprintf(path, sizeof path, "%s/read.db", folder);
    struct read_model_options model_options = {.path = path, .registry = registry,
                                               .journal = f.journal, .tail = f.tail,
                                               .clock = &clock_system, .batch_events = 20000};
    if (read_model_open(&model_options, &f.model, &fault) != OK)
        die("read model", &fault);
    int64_t from = clock_tick_us(&clock_system), cpu = cpu_us(CLOCK_PROCESS_CPUTIME_ID);
    if (read_model_rebuild(f.model, NULL, NULL, &fault) != OK)
        die("rebuild", &fault);
    int64_t wall = clock_tick_us(&clock_system) - from;
    cpu = cpu_us(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    uint64_t events = read_model_seq(f.model);
    printf("rebuild: %llu events in %.2f s, %llu/s, CPU %.2f us an event\n",
           (unsigned long long)events, (double)wall / 1e6,
           (unsigned long long)(events * 1000000 / (uint64_t)wall), (double)cpu / (double)events);
    read_model_close(f.model);
    registry_destroy(registry);
    tail_destroy(f.tail);
    journal_close(f.journal);
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "rebuild") == 0) {
        bench_rebuild(argv[2], argv[3]);
        return 0;
    }
    uint64_t orders = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000;
    if (orders < 4000) {
        fprintf(stderr, "usage: bench_store [ORDERS [EVENTS_PER_SECOND [FOLDER]]], at least 4000 orders\n");
        return 2;
    }
    uint64_t rate = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    const char *folders[] = {"journal-bench", "model-bench"};
    char *top = temp_folder();
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", argc > 3 ? argv[3] : top, folders[0]);
    bench_journal(path, orders, rate);
    snprintf(path, sizeof path, "%s/%s", argc > 3 ? argv[3] : top, folders[1]);
    bench_read_model(path, orders, 1000);
    temp_remove(top);
    return 0;
}
