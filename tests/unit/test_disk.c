/* The store on a disk that fails: what append has answered for is there after any crash, nothing
 * is there by half, and the read model is what the journal says. A failure names its seed. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "../support/shop.h"
#include "../support/vfs_fault.h"
#include "base/log.h"
#include "store/journal_sqlite.h"
#include "store/read_model.h"

#ifdef __SANITIZE_ADDRESS__
#define SEEDS 150 /* five times slower there */
#else
#define SEEDS 500
#endif
#define LIVES 4
#define SEQ_MAX 20000

static struct vfs_fault *disk;

/* --- the journal ------------------------------------------------------------------------- */

/* What the test knows: which attempt wrote each seq that was acknowledged, and the attempts
 * that failed since, any one of which may turn up whole. */
struct witness {
    uint64_t seed;
    struct rng_seeded rng;
    struct journal *journal;
    uint64_t segment_bytes; /* 0: never reached here */
    uint64_t acked;
    uint32_t attempt, by[SEQ_MAX + 1];
    struct failed {
        uint32_t attempt, n;
    } failed[64];
    uint32_t failed_count;
    bool opened; /* just now: what a crash left is decided */
};

#define expect(w, cond)                                                                            \
    do {                                                                                           \
        if (!(cond))                                                                               \
            fail_msg("seed %llu: %s (acknowledged %llu)", (unsigned long long)(w)->seed, #cond,    \
                     (unsigned long long)(w)->acked);                                              \
    } while (0)

static uint64_t chance(struct witness *w, uint64_t bound) { return rng_below(&w->rng.rng, bound); }

struct found {
    struct witness *witness;
    uint64_t last;
    uint32_t attempt; /* behind what was acknowledged */
};
static bool record_see(void *ctx, const struct record *record) {
    struct found *found = ctx;
    struct witness *w = found->witness;
    unsigned long long seq;
    unsigned attempt;
    expect(w, record->seq == found->last + 1);
    expect(w, sscanf(record->data.ptr, "{\"seq\":%llu,\"attempt\":%u,", &seq, &attempt) == 2);
    expect(w, seq == record->seq && record->data.ptr[record->data.len - 1] == '}');
    expect(w, str_is(record->meta, "{}") && str_is(record->subject, "s"));
    if (seq <= w->acked)
        expect(w, attempt == w->by[seq]);
    else if (seq == w->acked + 1)
        found->attempt = attempt;
    else
        expect(w, attempt == found->attempt);
    found->last = seq;
    return true;
}

/* Reads all of it; what an unacknowledged attempt has left counts from now on. */
static void witness_look(struct witness *w) {
    struct found found = {.witness = w};
    struct fault fault = {0};
    uint64_t next, last;
    expect(w, journal_read(w->journal, 1, UINT32_MAX, record_see, &found, &next, &fault) == OK);
    expect(w, journal_last(w->journal, &last, &fault) == OK);
    expect(w, last == found.last && next == last + 1);
    expect(w, last >= w->acked);
    bool whole = last == w->acked;
    for (uint32_t i = 0; i < w->failed_count; i++)
        whole =
            whole || (w->failed[i].attempt == found.attempt && last == w->acked + w->failed[i].n);
    expect(w, whole);
    for (uint64_t seq = w->acked + 1; seq <= last; seq++)
        w->by[seq] = found.attempt;
    /* What is not there now may still be in the WAL, and there after a crash, until it is
     * written over: whether it was written is unknown, as append says. */
    if (w->acked < last || w->opened)
        w->failed_count = 0;
    w->acked = last;
    w->opened = false;
}

static void witness_append(struct witness *w) {
    static char filler[40000];
    struct record records[40];
    char *texts[40];
    struct fault fault = {0};
    uint32_t n = (uint32_t)chance(w, 40) + 1;
    w->attempt++;
    if (!filler[0])
        memset(filler, 'x', sizeof filler);
    for (uint32_t i = 0; i < n; i++) {
        int fill = chance(w, 20) == 0 ? (int)chance(w, sizeof filler) : (int)chance(w, 3000);
        uint64_t seq = w->acked + 1 + i;
        int len = asprintf(&texts[i], "{\"seq\":%llu,\"attempt\":%u,\"x\":\"%.*s\"}",
                           (unsigned long long)seq, w->attempt, fill, filler);
        records[i] = (struct record){.seq = seq,
                                     .time_us = 1,
                                     .type = STR("t"),
                                     .subject = STR("s"),
                                     .meta = STR("{}"),
                                     .data = str_of(texts[i], (size_t)len)};
    }
    enum err err = journal_append(w->journal, records, n, &fault);
    for (uint32_t i = 0; i < n; i++)
        free(texts[i]);
    if (err == OK) {
        for (uint32_t i = 0; i < n; i++)
            w->by[w->acked + 1 + i] = w->attempt;
        w->acked += n;
        w->failed_count = 0;
        return;
    }
    expect(w, err == ERR_IO);
    expect(w, w->failed_count < 64);
    w->failed[w->failed_count++] = (struct failed){w->attempt, n};
}

static void fault_set_one(struct witness *w) {
    static const int codes[] = {SQLITE_FULL, SQLITE_IOERR_WRITE, VFS_FAULT_CRASH};
    bool sync = chance(w, 3) == 0;
    int code = sync && chance(w, 2) ? SQLITE_IOERR_FSYNC : codes[chance(w, 3)];
    vfs_fault_fail(disk, sync ? VFS_FAULT_SYNC : VFS_FAULT_WRITE, (uint32_t)chance(w, 12) + 1,
                   code);
}
static void faults_clear(void) {
    vfs_fault_fail(disk, VFS_FAULT_SYNC, 0, 0);
    vfs_fault_fail(disk, VFS_FAULT_WRITE, 0, 0);
}

/* From an opened journal to the loss of power. */
static void life(struct witness *w) {
    for (uint64_t steps = chance(w, 12); steps > 0 && w->acked + 40 < SEQ_MAX; steps--) {
        struct fault fault = {0};
        bool again;
        if (chance(w, 5) == 0)
            fault_set_one(w);
        uint32_t failed = w->failed_count;
        witness_append(w);
        for (uint64_t n = chance(w, 4) ? 0 : w->segment_bytes ? chance(w, 15) : 1; n > 0; n--)
            expect(w, journal_tidy(w->journal, &again, &fault) != ERR_INTERNAL);
        faults_clear();
        if (w->failed_count > failed && vfs_fault_crashed(disk))
            return;
        if (w->failed_count > failed)
            witness_look(w); /* the journal is to be used on, and tells the truth */
    }
    if (!vfs_fault_crashed(disk))
        vfs_fault_crash(disk);
}

/* All that was left is sealed in the end, and each one is what its successor says. */
static uint64_t witness_seal(struct witness *w) {
    struct fault fault = {0};
    struct segment segment;
    uint64_t sealed = 0;
    bool again = true;
    for (int i = 0; again && i < 200; i++)
        if (journal_tidy(w->journal, &again, &fault) != OK)
            fail_msg("seed %llu: tidy: %s", (unsigned long long)w->seed, fault.detail);
    for (uint32_t i = 0; journal_sqlite_segment(w->journal, i, &segment); i++) {
        if (segment.state == SEGMENT_LIVE)
            break;
        /* Closed, and its successor still empty: not to be sealed yet. */
        if (segment.state == SEGMENT_CLOSED) {
            expect(w, segment.last == w->acked);
            continue;
        }
        sealed++;
        if (journal_sqlite_segment_check(w->journal, &segment, NULL, NULL, &fault) != OK)
            fail_msg("seed %llu: %s", (unsigned long long)w->seed, fault.detail);
    }
    return sealed;
}

/* Lives, each ended by a loss of power; one more, in which all is well. */
static uint64_t witness_run(struct witness *w) {
    uint64_t sealed = 0;
    for (int i = 0; i <= LIVES; i++) {
        struct journal_sqlite_options options = {.cell = STR("main"),
                                                 .vfs = "fault",
                                                 .exclusive = true,
                                                 .segment_bytes = w->segment_bytes};
        struct fault fault = {0};
        if (i < LIVES && chance(w, 10) == 0) /* or while it opens */
            vfs_fault_fail(disk, VFS_FAULT_WRITE, (uint32_t)chance(w, 6) + 1, VFS_FAULT_CRASH);
        enum err err = journal_sqlite_open("cell", &options, &w->journal, &fault);
        if (err != OK && !vfs_fault_crashed(disk))
            fail_msg("seed %llu: open: %s", (unsigned long long)w->seed, fault.detail);
        if (err == OK) {
            faults_clear();
            if (!vfs_fault_crashed(disk)) {
                w->opened = true;
                witness_look(w);
                if (i < LIVES)
                    life(w);
                else
                    sealed = witness_seal(w);
            }
            journal_close(w->journal);
        }
        if (i < LIVES)
            vfs_fault_restart(disk);
    }
    return sealed;
}

static void lives(uint64_t segment_bytes, uint64_t *records, uint64_t *sealed) {
    struct witness *w = malloc(sizeof *w);
    const char *only = getenv("PENSTOCK_SEED");
    uint64_t first = only ? strtoull(only, NULL, 10) : 1;
    *records = *sealed = 0;
    for (uint64_t seed = first; seed <= (only ? first : SEEDS); seed++) {
        memset(w, 0, sizeof *w);
        w->seed = seed;
        w->segment_bytes = segment_bytes;
        rng_seeded_init(&w->rng, seed);
        vfs_fault_reset(disk, seed);
        *sealed += witness_run(w);
        *records += w->acked;
    }
    free(w);
}

static void journal_survives_crashes(void **state) {
    (void)state;
    uint64_t records, sealed;
    lives(0, &records, &sealed);
    assert_true(records > SEEDS * 60);
    assert_int_equal(sealed, 0);
}

/* Segments of a few commits: power is lost at every step of leaving one and sealing it. */
static void a_chain_survives_crashes(void **state) {
    (void)state;
    uint64_t records, sealed;
    lives(60000, &records, &sealed);
    assert_true(records > SEEDS * 60);
    assert_true(sealed > SEEDS * 2);
}

static void a_full_disk_is_said_and_survived(void **state) {
    (void)state;
    struct witness *w = calloc(1, sizeof *w);
    rng_seeded_init(&w->rng, 3);
    vfs_fault_reset(disk, 3);
    struct journal_sqlite_options options = {
        .cell = STR("main"), .vfs = "fault", .exclusive = true};
    struct fault fault = {0};
    assert_int_equal(journal_sqlite_open("cell", &options, &w->journal, &fault), OK);
    witness_append(w);
    struct {
        enum vfs_fault_call call;
        int code;
        const char *text;
    } cases[] = {
        {VFS_FAULT_WRITE, SQLITE_FULL, "the disk is full"},
        {VFS_FAULT_WRITE, SQLITE_IOERR_WRITE, "the disk reported an error"},
        {VFS_FAULT_SYNC, SQLITE_IOERR_FSYNC, "the disk reported an error"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct record record = {.seq = w->acked + 1,
                                .type = STR("t"),
                                .subject = STR("s"),
                                .meta = STR("{}"),
                                .data = STR("{}")};
        vfs_fault_fail(disk, cases[i].call, 1, cases[i].code);
        assert_int_equal(journal_append(w->journal, &record, 1, &fault), ERR_IO);
        assert_non_null(strstr(fault.detail, cases[i].text));
        witness_look(w);
        witness_append(w); /* room was made */
        witness_look(w);
    }
    assert_int_equal(journal_sqlite_check(w->journal, &fault), OK);
    journal_close(w->journal);
    free(w);
}

/* --- the read model ---------------------------------------------------------------------- */

struct cell {
    uint64_t seed;
    struct rng_seeded rng;
    struct registry *registry;
    struct journal *journal;
    struct tail *tail;
    struct read_model *model;
    struct reader *reader;
    uint64_t orders;
};

static void cell_open(struct cell *cell) {
    struct journal_sqlite_options options = {
        .cell = STR("main"), .vfs = "fault", .exclusive = true};
    struct fault fault = {0};
    if (journal_sqlite_open("cell", &options, &cell->journal, &fault) != OK)
        fail_msg("seed %llu: %s", (unsigned long long)cell->seed, fault.detail);
    cell->tail = tail_create(cell->journal, 100000);
    assert_non_null(cell->tail);
    struct read_model_options model = {.path = "read.db",
                                       .vfs = "fault",
                                       .exclusive = true,
                                       .registry = cell->registry,
                                       .journal = cell->journal,
                                       .tail = cell->tail,
                                       .clock = &clock_system,
                                       .batch_events = 25};
    if (read_model_open(&model, &cell->model, &fault) != OK)
        fail_msg("seed %llu: %s", (unsigned long long)cell->seed, fault.detail);
    cell->reader = read_model_reader_create(cell->model, NULL, &fault);
    assert_non_null(cell->reader);
}
static void cell_close(struct cell *cell) {
    read_model_reader_destroy(cell->reader);
    read_model_close(cell->model);
    tail_destroy(cell->tail);
    journal_close(cell->journal);
}

static void cell_publish(struct cell *cell) {
    struct shop_record made[60];
    struct record records[60];
    struct buf texts;
    struct fault fault = {0};
    uint64_t seq = tail_last(cell->tail), n = rng_below(&cell->rng.rng, 60) + 1;
    buf_init(&texts, 0);
    for (uint64_t i = 0; i < n; i++) {
        seq++;
        if (cell->orders == 0 || rng_below(&cell->rng.rng, 3) == 0)
            shop_put_captured(&texts, ++cell->orders, seq, 20, &made[i]);
        else
            shop_put_other(&texts, "order.shipped", "{\"version\":2,\"state\":\"shipped\"}",
                           rng_below(&cell->rng.rng, cell->orders) + 1, seq, seq, &made[i]);
    }
    shop_fix(&texts, made, (uint32_t)n);
    for (uint64_t i = 0; i < n; i++)
        records[i] = made[i].record;
    assert_int_equal(journal_append(cell->journal, records, (uint32_t)n, &fault), OK);
    tail_publish(cell->tail, records, (uint32_t)n);
    buf_free(&texts);
}

static bool row_dump(void *ctx, const struct row_value *v) {
    for (uint32_t i = 0; i < shop_orders.count; i++)
        buf_printf(ctx, "|%.*s|%lld", STR_FMT(v[i].text), (long long)v[i].integer);
    return true;
}
/* All rows and refs, once it has caught up. */
static void cell_dump(struct cell *cell, struct buf *out) {
    struct row_query query = {.table = &shop_orders, .limit = 100000};
    struct arena arena;
    struct fault fault = {0};
    struct str next;
    arena_init(&arena, 0);
    if (cell->reader->ops->wait(cell->reader, tail_last(cell->tail), 0, &fault) != OK ||
        cell->reader->ops->list(cell->reader, &query, &arena, row_dump, out, &next, &fault) != OK)
        fail_msg("seed %llu: %s", (unsigned long long)cell->seed, fault.detail);
    for (uint64_t n = 1; n <= cell->orders; n++) {
        char id[64];
        uint64_t seqs[200];
        uint32_t count;
        snprintf(id, sizeof id, "ord_%026llu", (unsigned long long)n);
        assert_int_equal(
            cell->reader->ops->refs(cell->reader, str_c(id), seqs, 200, &count, &fault), OK);
        for (uint32_t i = 0; i < count; i++)
            buf_printf(out, ",%llu", (unsigned long long)seqs[i]);
    }
    arena_free(&arena);
}

static void cell_equals_its_journal(struct cell *cell) {
    struct buf live, again;
    struct fault fault = {0};
    buf_init(&live, 0);
    buf_init(&again, 0);
    cell_dump(cell, &live);
    assert_int_equal(read_model_rebuild(cell->model, NULL, NULL, &fault), OK);
    cell_dump(cell, &again);
    if (!str_eq(buf_str(&live), buf_str(&again)))
        fail_msg("seed %llu: the read model is not what the journal says",
                 (unsigned long long)cell->seed);
    buf_free(&live);
    buf_free(&again);
}

static void read_model_survives_crashes(void **state) {
    (void)state;
    struct cell cell = {.registry = registry_create(shop_capabilities)};
    for (uint64_t seed = 1; seed <= 30; seed++) {
        cell.seed = seed;
        cell.orders = 0;
        rng_seeded_init(&cell.rng, seed);
        vfs_fault_reset(disk, seed);
        for (int lives = 0; lives < 5; lives++) {
            cell_open(&cell);
            for (uint64_t i = rng_below(&cell.rng.rng, 30); i > 0; i--) {
                struct fault fault = {0};
                bool more;
                cell_publish(&cell);
                if (rng_below(&cell.rng.rng, 6) == 0)
                    vfs_fault_fail(disk, VFS_FAULT_WRITE, (uint32_t)rng_below(&cell.rng.rng, 8) + 1,
                                   SQLITE_FULL);
                enum err err = OK;
                if (rng_below(&cell.rng.rng, 3))
                    err = read_model_step(cell.model, &more, &fault);
                assert_true(err == OK || err == ERR_IO);
                faults_clear();
            }
            if (lives == 3)
                cell_equals_its_journal(&cell);
            vfs_fault_crash(disk);
            cell_close(&cell);
            vfs_fault_restart(disk);
        }
        if (seed % 3 == 0) { /* bits rot while it is off */
            uint64_t size = vfs_fault_size(disk, "read.db");
            if (size > 4096)
                vfs_fault_damage(disk, "read.db", rng_below(&cell.rng.rng, size - 300), 300);
        }
        cell_open(&cell);
        if (seed % 3)
            cell_equals_its_journal(&cell);
        cell_close(&cell);
    }
    registry_destroy(cell.registry);
}

/* Damage that shows only while it runs: the file is filled again, under an open reader. */
static void read_model_damaged_while_it_runs(void **state) {
    (void)state;
    struct cell cell = {.seed = 77, .registry = registry_create(shop_capabilities)};
    rng_seeded_init(&cell.rng, 77);
    vfs_fault_reset(disk, 77);
    cell_open(&cell);
    for (int i = 0; i < 60; i++)
        cell_publish(&cell);
    struct buf before, after;
    buf_init(&before, 0);
    buf_init(&after, 0);
    cell_dump(&cell, &before);
    cell_close(&cell);
    cell_open(&cell); /* nothing cached, all in the file */
    uint64_t size = vfs_fault_size(disk, "read.db");
    assert_true(size > 100000);
    for (uint64_t at = 4096 * 4; at + 4096 <= size; at += 4096)
        assert_true(vfs_fault_damage(disk, "read.db", at, 16));
    struct read_model_stats stats;
    for (int i = 0; i < 20; i++) {
        struct fault fault = {0};
        bool more;
        cell_publish(&cell);
        enum err err = read_model_step(cell.model, &more, &fault);
        assert_true(err == OK || err == ERR_IO);
    }
    read_model_stats(cell.model, &stats);
    assert_true(stats.rebuilds > 0);
    cell_equals_its_journal(&cell);
    cell_close(&cell);
    buf_free(&before);
    buf_free(&after);
    registry_destroy(cell.registry);
}

int main(void) {
    mallopt(M_TRIM_THRESHOLD, 1 << 30); /* each life would give its memory back, page by page */
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    disk = vfs_fault_create("fault", true);
    log_level_set(LOG_ERROR + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(journal_survives_crashes),
        cmocka_unit_test(a_chain_survives_crashes),
        cmocka_unit_test(a_full_disk_is_said_and_survived),
        cmocka_unit_test(read_model_survives_crashes),
        cmocka_unit_test(read_model_damaged_while_it_runs),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    vfs_fault_destroy(disk);
    return failed;
}
