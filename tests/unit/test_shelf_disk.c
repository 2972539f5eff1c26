/* The shelf against a plain model of it, on a disk in memory that can fail: what it answers is
 * what was written last; after a crash, what some earlier write left, whole; what the disk has
 * changed is found out. A failure names its seed. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "../support/vfs_fault.h"
#include "base/mem.h"
#include "base/rng.h"
#include "store/shelf_sqlite.h"

#if defined(__SANITIZE_ADDRESS__)
#define SEEDS 40 /* five times slower there */
#else
#define SEEDS 150
#endif
#define LIVES 4
#define SPACES 3
#define KEYS 300
#define BATCH_MAX 90
#define ATTEMPTS_MAX 1500

static const struct shelf_space spaces[SPACES] = {
    {.name = "order"}, {.name = "key", .sparse = true}, {.name = "seen", .expires = true},
};
static struct vfs_fault *disk;

/* What the test knows. A version stands for a value; 0: there is none. */
struct state {
    int64_t forget_us;
    uint32_t versions[SPACES][KEYS];
};
struct world {
    uint64_t seed;
    struct rng_seeded rng;
    struct shelf *shelf;
    struct state now;
    struct state *after;  /* by seq: what each attempt to write would leave */
    uint32_t seq, attempt, version; /* of `now`; the newest */
    bool fail_whole;      /* ERR_DAMAGED is an answer, too */
};

#define expect(w, cond)                                                                           \
    do {                                                                                          \
        if (!(cond))                                                                              \
            fail_msg("seed %llu: %s (seq %u, attempt %u)", (unsigned long long)(w)->seed, #cond,  \
                     (w)->seq, (w)->attempt);                                                     \
    } while (0)

static uint64_t chance(struct world *w, uint64_t bound) { return rng_below(&w->rng.rng, bound); }

static struct hash128 key_of(uint32_t number) {
    static struct hash128 keys[KEYS];
    if (keys[number].lo == 0)
        keys[number] = hash128(str_of((const char *)&number, sizeof number), 7);
    return keys[number];
}

/* A value says its time and version, and is of a length that follows from it. */
static struct str value_of(uint32_t version, bool expires) {
    static char bytes[300000];
    uint64_t h = hash64(str_of((const char *)&version, sizeof version), 1);
    size_t len = h % 300 == 0 ? 20000 + h / 300 % 200000 : h % 4 == 0 ? h / 4 % 3000 : 16;
    int64_t time_us = version;
    if (expires && len < 12)
        len = 12;
    memset(bytes, (int)(h & 0xff), len);
    if (len >= 12) {
        memcpy(bytes, &time_us, 8);
        memcpy(bytes + 8, &version, 4);
    }
    return str_of(bytes, len);
}

static uint32_t seen_version(const struct world *w, uint32_t space, uint32_t key) {
    uint32_t version = w->now.versions[space][key];
    return spaces[space].expires && (int64_t)version < w->now.forget_us ? 0 : version;
}

static enum err world_open(struct world *w, bool empty, struct shelf_sqlite_opened *opened,
                           struct fault *fault) {
    struct shelf_sqlite_options options = {.vfs = "fault", .exclusive = true, .spaces = spaces,
                                           .space_count = SPACES, .format = 5, .empty = empty,
                                           .wal_bytes = chance(w, 2) ? 1 << 20 : 0};
    return shelf_sqlite_open("state.db", &options, &w->shelf, opened, fault);
}
static void world_start(struct world *w, uint64_t seed) {
    w->seed = seed;
    rng_seeded_init(&w->rng, seed);
    vfs_fault_reset(disk, seed);
    memset(&w->now, 0, sizeof w->now);
    w->now.forget_us = INT64_MIN;
    w->seq = w->attempt = w->version = 0;
    w->fail_whole = false;
    w->after[0] = w->now;
}
static struct world *world_make(void) {
    struct world *w = calloc(1, sizeof *w);
    w->after = calloc(ATTEMPTS_MAX, sizeof *w->after);
    return w;
}
static void world_free(struct world *w) {
    free(w->after);
    free(w);
}

/* --- comparing --------------------------------------------------------------------------- */

struct look {
    struct world *w;
    uint32_t space, count;
    struct hash128 last;
};
static bool entity_look(void *ctx, struct hash128 key, struct str value) {
    struct look *look = ctx;
    struct world *w = look->w;
    expect(w, look->count == 0 || key.hi > look->last.hi ||
                  (key.hi == look->last.hi && key.lo > look->last.lo));
    look->last = key;
    look->count++;
    for (uint32_t i = 0; i < KEYS; i++) {
        if (!hash128_eq(key_of(i), key))
            continue;
        uint32_t version = seen_version(w, look->space, i);
        expect(w, version != 0);
        expect(w, str_eq(value, value_of(version, spaces[look->space].expires)));
        return true;
    }
    expect(w, !"a key that was never written");
    return false;
}

/* All that it says is what the model says. */
static void world_look(struct world *w) {
    struct arena arena;
    struct fault fault = {0};
    arena_init(&arena, 0);
    expect(w, w->shelf->ops->seq(w->shelf) == w->seq);
    for (uint32_t space = 0; space < SPACES; space++) {
        struct look look = {.w = w, .space = space};
        uint32_t there = 0;
        for (uint32_t i = 0; i < KEYS; i++)
            there += seen_version(w, space, i) != 0;
        enum err err = w->shelf->ops->each(w->shelf, space, entity_look, &look, &fault);
        expect(w, err == OK || (w->fail_whole && err == ERR_DAMAGED));
        expect(w, err != OK || look.count == there);
        for (uint32_t i = 0; i < KEYS; i++) {
            struct str value;
            uint32_t version = seen_version(w, space, i);
            expect(w, version == 0 || w->shelf->ops->maybe(w->shelf, space, key_of(i)));
            err = w->shelf->ops->get(w->shelf, space, key_of(i), &arena, &value, &fault);
            expect(w, err == OK || (w->fail_whole && err == ERR_DAMAGED));
            if (err == OK && version == 0)
                expect(w, !value.ptr);
            else if (err == OK)
                expect(w, value.ptr && str_eq(value, value_of(version, spaces[space].expires)));
        }
        arena_reset(&arena);
    }
    arena_free(&arena);
}

/* --- writing ----------------------------------------------------------------------------- */

/* One attempt; the model follows where it succeeds. */
static enum err world_write(struct world *w, struct fault *fault) {
    static struct shelf_entry entries[BATCH_MAX];
    static char *texts[BATCH_MAX];
    uint32_t n = (uint32_t)chance(w, chance(w, 4) ? 12 : BATCH_MAX);
    struct state next = w->now;
    uint32_t seq = ++w->attempt;
    expect(w, seq < ATTEMPTS_MAX);
    if (chance(w, 20) == 0)
        next.forget_us = (int64_t)chance(w, w->version + 1);
    next.forget_us = next.forget_us > w->now.forget_us ? next.forget_us : w->now.forget_us;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t space = (uint32_t)chance(w, SPACES), key = (uint32_t)chance(w, KEYS);
        uint32_t version = chance(w, 4) == 0 ? 0 : ++w->version;
        struct str value = version ? value_of(version, spaces[space].expires) : STR_NONE;
        texts[i] = malloc(value.len + 1);
        if (version)
            memcpy(texts[i], value.ptr, value.len);
        entries[i] = (struct shelf_entry){space, key_of(key),
                                          version ? str_of(texts[i], value.len) : STR_NONE};
        next.versions[space][key] = version;
    }
    w->after[seq] = next;
    enum err err = w->shelf->ops->write(w->shelf, seq, next.forget_us, entries, n, fault);
    for (uint32_t i = 0; i < n; i++)
        free(texts[i]);
    if (err == OK) {
        w->now = next;
        w->seq = seq;
    }
    return err;
}

static void tidy_all(struct world *w) {
    struct fault fault = {0};
    bool again = true;
    for (uint32_t i = 0; again; i++) {
        expect(w, w->shelf->ops->tidy(w->shelf, &again, &fault) == OK);
        expect(w, i < 10000);
    }
}

static void answers_are_those_of_a_model(void **state) {
    (void)state;
    struct world *w = world_make();
    uint64_t runs = 0;
    for (uint64_t seed = 1; seed <= SEEDS / 4; seed++) {
        struct fault fault = {0};
        struct shelf_sqlite_opened opened;
        struct shelf_sqlite_stats stats;
        world_start(w, seed);
        uint32_t tidies = (uint32_t)chance(w, 3); /* never, often, until done */
        for (int lives = 0; lives < LIVES; lives++) {
            if (world_open(w, false, &opened, &fault) != OK)
                fail_msg("seed %llu: %s", (unsigned long long)seed, fault.detail);
            expect(w, opened.found == (lives ? SHELF_KEPT : SHELF_NEW));
            expect(w, opened.fresh == (lives ? 0u : 7u) && opened.dropped == 0);
            world_look(w);
            for (uint64_t steps = chance(w, 220); steps > 0; steps--) {
                bool again;
                expect(w, world_write(w, &fault) == OK);
                if (tidies == 1)
                    expect(w, w->shelf->ops->tidy(w->shelf, &again, &fault) == OK);
                if (tidies == 2)
                    tidy_all(w);
                if (chance(w, 40) == 0)
                    world_look(w);
            }
            shelf_sqlite_stats(w->shelf, &stats);
            runs = stats.runs > runs ? stats.runs : runs;
            world_look(w);
            w->shelf->ops->close(w->shelf);
        }
    }
    assert_true(runs > 60 && runs <= 64 * SPACES);
    world_free(w);
}

/* --- crashes ------------------------------------------------------------------------------- */

static void fault_set_one(struct world *w) {
    static const int codes[] = {SQLITE_FULL, SQLITE_IOERR_WRITE, VFS_FAULT_CRASH};
    bool sync = chance(w, 3) == 0;
    int code = sync && chance(w, 2) ? SQLITE_IOERR_FSYNC : codes[chance(w, 3)];
    vfs_fault_fail(disk, sync ? VFS_FAULT_SYNC : VFS_FAULT_WRITE,
                   (uint32_t)chance(w, sync ? 3 : 20) + 1, code);
}
static void faults_clear(void) {
    vfs_fault_fail(disk, VFS_FAULT_SYNC, 0, 0);
    vfs_fault_fail(disk, VFS_FAULT_WRITE, 0, 0);
}

/* Nothing of it is trusted any more: it begins anew, as the hub does. */
static void world_reset(struct world *w) {
    struct fault fault = {0};
    faults_clear();
    if (w->shelf->ops->reset(w->shelf, &fault) != OK)
        fail_msg("seed %llu: reset: %s", (unsigned long long)w->seed, fault.detail);
    memset(&w->now, 0, sizeof w->now);
    w->now.forget_us = INT64_MIN;
    w->seq = 0;
    world_look(w);
}

/* From an opened shelf to the loss of power. */
static void life(struct world *w) {
    for (uint64_t steps = chance(w, 90); steps > 0; steps--) {
        struct fault fault = {0};
        bool again = false;
        if (chance(w, 12) == 0)
            fault_set_one(w);
        enum err err = world_write(w, &fault);
        if (err == OK && chance(w, 2))
            err = w->shelf->ops->tidy(w->shelf, &again, &fault);
        faults_clear();
        if (vfs_fault_crashed(disk))
            return;
        expect(w, err == OK || err == ERR_IO || err == ERR_DAMAGED);
        if (err != OK)
            world_look(w); /* it answers on, and nothing of a failed write is to be seen */
        if (err == ERR_DAMAGED)
            world_reset(w);
    }
    vfs_fault_crash(disk);
}

static void crashes_leave_an_earlier_write(void **state) {
    (void)state;
    struct world *w = world_make();
    uint64_t kept = 0, lost = 0, empty = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        world_start(w, seed);
        for (int i = 0; i < LIVES; i++) {
            struct fault fault = {0};
            struct shelf_sqlite_opened opened;
            if (chance(w, 10) == 0) /* or while it opens */
                vfs_fault_fail(disk, VFS_FAULT_WRITE, (uint32_t)chance(w, 8) + 1, VFS_FAULT_CRASH);
            enum err err = world_open(w, false, &opened, &fault);
            if (err == OK && !vfs_fault_crashed(disk)) {
                faults_clear();
                uint64_t seq = w->shelf->ops->seq(w->shelf);
                expect(w, seq <= w->attempt);
                kept += seq > 0 && seq == w->attempt;
                lost += seq > 0 && seq < w->attempt;
                empty += seq == 0;
                w->now = w->after[seq];
                w->seq = (uint32_t)seq;
                world_look(w);
                life(w);
            }
            if (err == OK)
                w->shelf->ops->close(w->shelf);
            else if (!vfs_fault_crashed(disk))
                fail_msg("seed %llu: open: %s", (unsigned long long)seed, fault.detail);
            if (vfs_fault_crashed(disk))
                vfs_fault_restart(disk);
        }
    }
    assert_true(kept > SEEDS / 4 && lost > SEEDS / 4 && empty > SEEDS / 4);
    world_free(w);
}

/* A sync that failed has lost what it has lost: nothing of that WAL may reach the file. */
static void a_failed_sync_ends_the_trust(void **state) {
    (void)state;
    struct world *w = world_make();
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct fault fault = {0};
        struct shelf_sqlite_opened opened;
        struct shelf_sqlite_stats stats = {0};
        bool again;
        world_start(w, seed);
        expect(w, world_open(w, false, &opened, &fault) == OK);
        while (stats.wal_bytes < SHELF_WAL_BYTES_DEFAULT) {
            expect(w, world_write(w, &fault) == OK);
            shelf_sqlite_stats(w->shelf, &stats);
        }
        vfs_fault_fail(disk, VFS_FAULT_SYNC, 1, SQLITE_IOERR_FSYNC);
        expect(w, w->shelf->ops->tidy(w->shelf, &again, &fault) == ERR_DAMAGED);
        expect(w, w->shelf->ops->tidy(w->shelf, &again, &fault) == ERR_DAMAGED);
        expect(w, world_write(w, &fault) == ERR_DAMAGED);
        world_look(w);
        bool crash = chance(w, 2);
        if (crash)
            vfs_fault_crash(disk);
        w->shelf->ops->close(w->shelf);
        if (crash)
            vfs_fault_restart(disk);
        expect(w, world_open(w, false, &opened, &fault) == OK);
        expect(w, crash || w->shelf->ops->seq(w->shelf) == w->seq);
        w->seq = (uint32_t)w->shelf->ops->seq(w->shelf);
        w->now = w->after[w->seq];
        world_look(w);
        w->shelf->ops->close(w->shelf);
    }
    world_free(w);
}

/* --- damage -------------------------------------------------------------------------------- */

/* Bits rot: it says so, or answers as if they had not. */
static void damage_is_found_out(void **state) {
    (void)state;
    struct world *w = world_make();
    uint64_t at_open = 0, later = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct fault fault = {0};
        struct shelf_sqlite_opened opened;
        world_start(w, seed);
        expect(w, world_open(w, false, &opened, &fault) == OK);
        for (uint64_t steps = chance(w, 120) + 10; steps > 0; steps--)
            expect(w, world_write(w, &fault) == OK);
        if (chance(w, 2))
            tidy_all(w);
        bool wal = chance(w, 3) == 0;
        if (wal) { /* what follows the damage in the WAL is lost, as in a crash */
            vfs_fault_crash(disk);
            w->shelf->ops->close(w->shelf);
            vfs_fault_restart(disk);
        } else {
            w->shelf->ops->close(w->shelf);
        }
        const char *name = wal ? "state.db-wal" : "state.db";
        uint64_t size = vfs_fault_size(disk, name);
        for (uint64_t spots = chance(w, 6) + 1; size > 4096 && spots > 0; spots--) {
            uint64_t len = chance(w, 40) + 1;
            vfs_fault_damage(disk, name, 100 + chance(w, size - 200), len);
        }
        w->fail_whole = true;
        enum err err = world_open(w, false, &opened, &fault);
        expect(w, err == OK || err == ERR_DAMAGED || err == ERR_CONFLICT);
        at_open += err == ERR_DAMAGED;
        if (err == OK) {
            uint64_t seq = w->shelf->ops->seq(w->shelf);
            bool again;
            expect(w, seq <= w->attempt && (wal || seq == w->attempt || seq == 0));
            w->now = w->after[seq];
            w->seq = (uint32_t)seq;
            world_look(w);
            for (int i = 0; i < 30 && err == OK; i++) {
                err = world_write(w, &fault);
                if (err == OK)
                    err = w->shelf->ops->tidy(w->shelf, &again, &fault);
            }
            expect(w, err == OK || err == ERR_DAMAGED);
            later += err == ERR_DAMAGED;
            world_look(w);
            w->fail_whole = false;
            world_reset(w);
            expect(w, world_write(w, &fault) == OK);
            world_look(w);
            w->shelf->ops->close(w->shelf);
        } else if (err == ERR_DAMAGED) {
            expect(w, world_open(w, true, &opened, &fault) == OK);
            expect(w, opened.found == SHELF_EMPTIED && opened.fresh == 7);
            expect(w, w->shelf->ops->seq(w->shelf) == 0);
            w->shelf->ops->close(w->shelf);
        }
    }
    assert_true(at_open + later > SEEDS / 5);
    world_free(w);
}

int main(void) {
    mallopt(M_TRIM_THRESHOLD, 1 << 30); /* each life would give its memory back, page by page */
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    disk = vfs_fault_create("fault", true);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_those_of_a_model),
        cmocka_unit_test(crashes_leave_an_earlier_write),
        cmocka_unit_test(a_failed_sync_ends_the_trust),
        cmocka_unit_test(damage_is_found_out),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    vfs_fault_destroy(disk);
    return failed;
}
