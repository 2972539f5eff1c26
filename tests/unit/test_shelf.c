/* The shelf on a real disk: opening what is there, values of any length, what expires, memory
 * that runs out, and many readers while it is written and merged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#include "../support/temp.h"
#include "base/mem.h"
#include "base/rng.h"
#include "store/shelf_sqlite.h"

static const struct shelf_space usual[] = {
    {.name = "stock"}, {.name = "order.key", .sparse = true},
    {.name = "seen", .sparse = true, .expires = true},
};
enum { STOCK, KEY, SEEN };

struct place {
    char *dir, path[4096];
    struct shelf *shelf;
    struct shelf_sqlite_opened opened;
    struct fault fault;
    uint64_t seq;
    struct arena arena;
};

static enum err place_try(struct place *p, const struct shelf_space *spaces, uint32_t count,
                          uint32_t format, bool empty) {
    struct shelf_sqlite_options options = {.spaces = spaces, .space_count = count,
                                           .format = format, .empty = empty};
    enum err err = shelf_sqlite_open(p->path, &options, &p->shelf, &p->opened, &p->fault);
    p->seq = err == OK ? p->shelf->ops->seq(p->shelf) : 0;
    return err;
}
static void place_open(struct place *p) {
    if (place_try(p, usual, 3, 1, false) != OK)
        fail_msg("%s", p->fault.detail);
}
static void place_close(struct place *p) {
    p->shelf->ops->close(p->shelf);
    p->shelf = NULL;
}
static struct place place_make(void) {
    struct place p = {.dir = temp_folder()};
    snprintf(p.path, sizeof p.path, "%s/state.db", p.dir);
    arena_init(&p.arena, 0);
    place_open(&p);
    return p;
}
static void place_free(struct place *p) {
    if (p->shelf)
        place_close(p);
    arena_free(&p->arena);
    temp_remove(p->dir);
}

static struct hash128 key_of(uint64_t number) {
    return hash128(str_of((const char *)&number, sizeof number), 3);
}
static void put(struct place *p, uint32_t space, uint64_t number, struct str value,
                int64_t forget_us) {
    struct shelf_entry entry = {space, key_of(number), value};
    if (p->shelf->ops->write(p->shelf, ++p->seq, forget_us, &entry, 1, &p->fault) != OK)
        fail_msg("%s", p->fault.detail);
}
static struct str got(struct place *p, uint32_t space, uint64_t number) {
    struct str value;
    if (p->shelf->ops->get(p->shelf, space, key_of(number), &p->arena, &value, &p->fault) != OK)
        fail_msg("%s", p->fault.detail);
    return value;
}
static void tidy_all(struct place *p) {
    for (bool again = true; again;)
        if (p->shelf->ops->tidy(p->shelf, &again, &p->fault) != OK)
            fail_msg("%s", p->fault.detail);
}
static bool one_more(void *ctx, struct hash128 key, struct str value) {
    (void)key, (void)value;
    ++*(uint64_t *)ctx;
    return true;
}
static uint64_t count_of(struct place *p, uint32_t space) {
    uint64_t count = 0;
    assert_int_equal(p->shelf->ops->each(p->shelf, space, one_more, &count, &p->fault), OK);
    return count;
}

static void it_is_there_after_reopening(void **state) {
    (void)state;
    struct place p = place_make();
    assert_int_equal(p.opened.found, SHELF_NEW);
    assert_int_equal(p.opened.fresh, 7);
    assert_null(got(&p, STOCK, 1).ptr);
    put(&p, STOCK, 1, STR("eleven"), 0);
    put(&p, KEY, 1, STR(""), 0);
    place_close(&p);
    place_open(&p);
    assert_int_equal(p.opened.found, SHELF_KEPT);
    assert_int_equal(p.opened.fresh, 0);
    assert_int_equal(p.seq, 2);
    assert_true(str_is(got(&p, STOCK, 1), "eleven"));
    assert_non_null(got(&p, KEY, 1).ptr);
    assert_int_equal(got(&p, KEY, 1).len, 0);
    assert_int_equal(count_of(&p, STOCK), 1);
    assert_true(p.shelf->ops->maybe(p.shelf, STOCK, key_of(99)));
    put(&p, STOCK, 1, STR_NONE, 0);
    assert_null(got(&p, STOCK, 1).ptr);
    assert_int_equal(p.shelf->ops->write(p.shelf, 1, 0, NULL, 0, &p.fault), ERR_CONFLICT);
    assert_int_equal(p.shelf->ops->reset(p.shelf, &p.fault), OK);
    assert_int_equal(p.shelf->ops->seq(p.shelf), 0);
    assert_null(got(&p, KEY, 1).ptr);
    p.seq = 0;
    put(&p, STOCK, 2, STR("two"), 0);
    assert_true(str_is(got(&p, STOCK, 2), "two"));
    place_free(&p);
}

static void other_spaces_and_formats_are_told(void **state) {
    (void)state;
    static const struct shelf_space others[] = {
        {.name = "order.key", .sparse = true}, {.name = "new"}, {.name = "stock", .expires = true},
    };
    struct place p = place_make();
    for (uint64_t i = 0; i < 3; i++)
        put(&p, (uint32_t)i, i, STR("12345678 or more"), 0);
    place_close(&p);
    assert_int_equal(place_try(&p, others, 3, 1, false), OK);
    assert_int_equal(p.opened.found, SHELF_KEPT);
    assert_int_equal(p.opened.fresh, 2 | 4); /* stock's values are something else now */
    assert_int_equal(p.opened.dropped, 2);
    assert_int_equal(p.seq, 3);
    assert_true(str_is(got(&p, 0, 1), "12345678 or more"));
    assert_null(got(&p, 2, 0).ptr);
    tidy_all(&p);
    place_close(&p);
    assert_int_equal(place_try(&p, others, 3, 2, false), OK);
    assert_int_equal(p.opened.found, SHELF_FORMAT);
    assert_int_equal(p.opened.fresh, 7);
    assert_int_equal(p.seq, 0);
    assert_null(got(&p, 0, 1).ptr);
    put(&p, 0, 1, STR("x"), 0);
    place_close(&p);
    assert_int_equal(place_try(&p, others, 3, 2, true), OK);
    assert_int_equal(p.opened.found, SHELF_EMPTIED);
    assert_null(got(&p, 0, 1).ptr);
    place_free(&p);
}

static void a_foreign_file_stays_untouched(void **state) {
    (void)state;
    struct place p = place_make();
    place_close(&p);
    assert_int_equal(unlink(p.path), 0);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(p.path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE holiday(photo); INSERT INTO holiday VALUES(1)",
                                  NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(place_try(&p, usual, 3, 1, false), ERR_CONFLICT);
    assert_int_equal(place_try(&p, usual, 3, 1, true), ERR_CONFLICT);
    assert_int_equal(sqlite3_open(p.path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "SELECT photo FROM holiday", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    FILE *file = fopen(p.path, "w"); /* no database at all: what a torn disk leaves */
    for (int i = 0; i < 5000; i++)
        fputs("rubbish ", file);
    fclose(file);
    assert_int_equal(place_try(&p, usual, 3, 1, false), ERR_DAMAGED);
    assert_int_equal(place_try(&p, usual, 3, 1, true), OK);
    assert_int_equal(p.opened.found, SHELF_EMPTIED);
    place_free(&p);
}

/* A byte of a value that changed on disk is met when it is read, not before; the rest is fine. */
static void a_changed_byte_is_found_out(void **state) {
    (void)state;
    enum { MANY = 20000 };
    static struct shelf_entry entries[MANY];
    struct place p = place_make();
    for (uint64_t i = 0; i < MANY; i++)
        entries[i] = (struct shelf_entry){STOCK, key_of(i),
                                          i == 77 ? STR("find this one") : STR("and none else")};
    assert_int_equal(p.shelf->ops->write(p.shelf, ++p.seq, 0, entries, MANY, &p.fault), OK);
    place_close(&p);
    FILE *file = fopen(p.path, "r+");
    static char page[16384];
    bool changed = false;
    for (long at = 0; !changed && fread(page, sizeof page, 1, file) == 1; at += sizeof page) {
        char *found = memmem(page, sizeof page, "find this one", 13);
        if (!found)
            continue;
        changed = fseek(file, at + (found - page), SEEK_SET) == 0 && fputc('F', file) == 'F';
        break;
    }
    fclose(file);
    assert_true(changed);
    place_open(&p);
    assert_int_equal(p.seq, 1);
    struct str value;
    uint64_t count = 0, wrong = 0;
    assert_int_equal(p.shelf->ops->get(p.shelf, STOCK, key_of(77), &p.arena, &value, &p.fault),
                     ERR_DAMAGED);
    for (uint64_t i = 0; i < 500; i++)
        wrong += p.shelf->ops->get(p.shelf, STOCK, key_of(i), &p.arena, &value, &p.fault) != OK;
    assert_in_range(wrong, 1, 40);
    assert_int_equal(p.shelf->ops->each(p.shelf, STOCK, one_more, &count, &p.fault), ERR_DAMAGED);
    assert_in_range(count, 0, MANY - 1);
    assert_int_equal(p.shelf->ops->reset(p.shelf, &p.fault), OK);
    assert_int_equal(count_of(&p, STOCK), 0);
    place_free(&p);
}

static void large_values_are_kept(void **state) {
    (void)state;
    struct place p = place_make();
    size_t len = 5 << 20;
    char *large = malloc(len);
    for (size_t i = 0; i < len; i++)
        large[i] = (char)(i * 7 + i / 1000);
    for (uint64_t i = 0; i < 20; i++)
        put(&p, STOCK, i, str_of(large, i % 5 ? i : len - i), 0);
    tidy_all(&p);
    place_close(&p);
    place_open(&p);
    for (uint64_t i = 0; i < 20; i++)
        assert_true(str_eq(got(&p, STOCK, i), str_of(large, i % 5 ? i : len - i)));
    struct shelf_entry entry = {STOCK, key_of(1), str_of(large, SHELF_VALUE_BYTES_MAX + 1)};
    assert_int_equal(p.shelf->ops->write(p.shelf, ++p.seq, 0, &entry, 1, &p.fault), ERR_TOO_LARGE);
    assert_true(str_eq(got(&p, STOCK, 1), str_of(large, 1)));
    assert_int_equal(count_of(&p, STOCK), 20);
    free(large);
    place_free(&p);
}

static void what_is_over_is_not_answered_and_goes(void **state) {
    (void)state;
    struct place p = place_make();
    struct shelf_sqlite_stats stats;
    for (int64_t i = 0; i < 400; i++) {
        char value[16] = "";
        memcpy(value, &i, sizeof i);
        put(&p, SEEN, (uint64_t)i, str_of(value, sizeof value), 0);
    }
    tidy_all(&p);
    assert_int_equal(count_of(&p, SEEN), 400);
    put(&p, SEEN, 1000, STR("\xff\xff\xff\xff\xff\xff\xff\x7f"), 300);
    assert_null(got(&p, SEEN, 299).ptr);
    assert_non_null(got(&p, SEEN, 300).ptr);
    assert_int_equal(count_of(&p, SEEN), 101);
    place_close(&p);
    place_open(&p);
    assert_int_equal(count_of(&p, SEEN), 101);
    put(&p, KEY, 1, STR(""), 400);
    tidy_all(&p);
    shelf_sqlite_stats(p.shelf, &stats);
    assert_int_equal(count_of(&p, SEEN), 1);
    assert_true(stats.entries < 40); /* whole runs went */
    place_free(&p);
}

/* Gone entities leave nothing behind, and what is written over and over takes little. */
static void the_file_does_not_grow_without_end(void **state) {
    (void)state;
    struct place p = place_make();
    struct shelf_sqlite_stats stats;
    struct shelf_entry entries[100];
    for (uint64_t round = 0; round < 1000; round++) {
        for (uint64_t i = 0; i < 100; i++)
            entries[i] = (struct shelf_entry){STOCK, key_of(round * 31 % 1000 + i),
                                              STR("a position of stock, forty bytes of it  ")};
        assert_int_equal(p.shelf->ops->write(p.shelf, ++p.seq, 0, entries, 100, &p.fault), OK);
        tidy_all(&p);
    }
    shelf_sqlite_stats(p.shelf, &stats);
    assert_int_equal(count_of(&p, STOCK), 1099);
    assert_in_range(stats.entries, 1099, 8 * 1099);
    assert_true(stats.runs < 30);
    for (uint64_t i = 0; i < 1099; i++)
        put(&p, STOCK, i, STR_NONE, 0);
    for (uint64_t i = 0; i < 20; i++) /* absent before: nothing to write */
        put(&p, STOCK, 5000 + i, STR_NONE, 0);
    tidy_all(&p);
    assert_int_equal(count_of(&p, STOCK), 0);
    place_free(&p);
}

static void filters_know_what_is_absent(void **state) {
    (void)state;
    struct place p = place_make();
    enum { BATCH = 500, BATCHES = 200 };
    static struct shelf_entry entries[BATCH];
    for (uint64_t b = 0; b < BATCHES; b++) {
        for (uint64_t i = 0; i < BATCH; i++)
            entries[i] = (struct shelf_entry){KEY, key_of(b * BATCH + i), STR("sixteen bytes...")};
        assert_int_equal(p.shelf->ops->write(p.shelf, ++p.seq, 0, entries, BATCH, &p.fault), OK);
        bool again;
        assert_int_equal(p.shelf->ops->tidy(p.shelf, &again, &p.fault), OK);
    }
    for (int turn = 0; turn < 3; turn++) {
        uint64_t guesses = 0, all = BATCH * BATCHES;
        for (uint64_t i = 0; i < all; i++) {
            assert_true(p.shelf->ops->maybe(p.shelf, KEY, key_of(i)));
            guesses += p.shelf->ops->maybe(p.shelf, KEY, key_of(all + i));
        }
        assert_true(guesses < all / 50);
        assert_in_range(p.shelf->ops->memory(p.shelf), all, all * 6);
        if (turn == 0)
            tidy_all(&p);
        if (turn == 1) {
            place_close(&p);
            place_open(&p);
        }
    }
    place_free(&p);
}

/* Each allocation fails once: the call says so, and all is as before; then it goes on. */
static void memory_may_run_out(void **state) {
    (void)state;
    struct place p = place_make();
    uint64_t refused = 0, value = 0;
    for (uint64_t n = 1; n < 400; n++) {
        struct shelf_entry entries[3];
        char text[32];
        value++;
        int len = snprintf(text, sizeof text, "%llu", (unsigned long long)value);
        for (uint32_t i = 0; i < 3; i++)
            entries[i] = (struct shelf_entry){i % 2, key_of(i), str_of(text, (size_t)len)};
        mem_fail_at(n % 40 + 1, n % 3 == 0);
        enum err err = p.shelf->ops->write(p.shelf, p.seq + 1, 0, entries, 3, &p.fault);
        mem_fail_at(0, 0);
        assert_true(err == OK || err == ERR_NOMEM);
        p.seq += err == OK;
        value -= err != OK;
        refused += err != OK;
        bool again;
        mem_fail_at(n % 60 + 1, n % 3 == 0);
        err = p.shelf->ops->tidy(p.shelf, &again, &p.fault);
        mem_fail_at(0, 0);
        assert_true(err == OK || err == ERR_NOMEM);
        refused += err != OK;
        snprintf(text, sizeof text, "%llu", (unsigned long long)value);
        for (uint32_t i = 0; i < 3 && value > 0; i++)
            assert_true(str_is(got(&p, i % 2, i), text));
        arena_reset(&p.arena);
    }
    assert_true(refused > 100);
    place_close(&p);
    for (uint64_t n = 1; n < 200; n++) {
        mem_fail_at(n, n % 2);
        enum err err = place_try(&p, usual, 3, 1, false);
        mem_fail_at(0, 0);
        assert_true(err == OK || err == ERR_NOMEM);
        if (err != OK)
            continue;
        assert_int_equal(p.shelf->ops->seq(p.shelf), p.seq);
        place_close(&p);
        break;
    }
    place_open(&p);
    assert_int_equal(count_of(&p, STOCK), 2);
    place_free(&p);
}

/* --- many threads -------------------------------------------------------------------------- */

#define CROWD_KEYS 500u
#ifdef __SANITIZE_THREAD__
#define CROWD_ROUNDS 60u
#else
#define CROWD_ROUNDS 400u
#endif

struct rounds {
    uint32_t count, round;
    bool mixed;
};
/* Each write gives all keys the same round: whoever reads sees one that was, never two. */
struct crowd {
    struct place *p;
    _Atomic uint32_t written; /* at least */
    _Atomic bool done;
    _Atomic uint64_t gets, eaches;
    struct rounds seen;
};
static bool round_see(void *ctx, struct hash128 key, struct str value) {
    (void)key;
    struct rounds *rounds = ctx;
    uint32_t round;
    memcpy(&round, value.ptr, sizeof round);
    rounds->mixed = rounds->mixed || (rounds->count > 0 && round != rounds->round);
    rounds->round = round;
    rounds->count++;
    return true;
}
static void *crowd_read(void *arg) {
    struct crowd *crowd = arg;
    struct shelf *shelf = crowd->p->shelf;
    struct arena arena;
    struct rng_seeded rng;
    arena_init(&arena, 0);
    rng_seeded_init(&rng, (uint64_t)(uintptr_t)&arena);
    while (!atomic_load(&crowd->done)) {
        struct fault fault = {0};
        struct str value;
        uint32_t least = atomic_load(&crowd->written), round;
        uint64_t number = rng_below(&rng.rng, CROWD_KEYS);
        must(shelf->ops->get(shelf, STOCK, key_of(number), &arena, &value, &fault) == OK);
        must(value.len == 40);
        memcpy(&round, value.ptr, sizeof round);
        must(round >= least);
        must(shelf->ops->maybe(shelf, KEY, key_of(number)));
        atomic_fetch_add(&crowd->gets, 1);
        if (number % 50 == 0) {
            struct rounds rounds = {0};
            must(shelf->ops->each(shelf, STOCK, round_see, &rounds, &fault) == OK);
            must(rounds.count == CROWD_KEYS && !rounds.mixed && rounds.round >= least);
            atomic_fetch_add(&crowd->eaches, 1);
        }
        must(shelf->ops->memory(shelf) > 0);
        arena_reset(&arena);
    }
    arena_free(&arena);
    return NULL;
}

static void crowd_write(struct crowd *crowd, uint32_t round) {
    static struct shelf_entry entries[2 * CROWD_KEYS];
    static char value[40];
    struct place *p = crowd->p;
    memcpy(value, &round, sizeof round);
    for (uint32_t i = 0; i < CROWD_KEYS; i++) {
        entries[2 * i] = (struct shelf_entry){STOCK, key_of(i), str_of(value, sizeof value)};
        entries[2 * i + 1] = (struct shelf_entry){KEY, key_of(round * CROWD_KEYS + i), STR("k")};
    }
    must(p->shelf->ops->write(p->shelf, ++p->seq, 0, entries, 2 * CROWD_KEYS, &p->fault) == OK);
    atomic_store(&crowd->written, round);
}

static void many_read_while_one_writes(void **state) {
    (void)state;
    struct place p = place_make();
    struct crowd crowd = {.p = &p};
    pthread_t threads[3];
    crowd_write(&crowd, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_read, &crowd), 0);
    for (uint32_t round = 1; round <= CROWD_ROUNDS; round++) {
        bool again;
        crowd_write(&crowd, round);
        assert_int_equal(p.shelf->ops->tidy(p.shelf, &again, &p.fault), OK);
    }
    tidy_all(&p);
    atomic_store(&crowd.done, true);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_true(crowd.gets > 100 && crowd.eaches > 2);
    /* Emptied under readers, too. */
    assert_int_equal(p.shelf->ops->reset(p.shelf, &p.fault), OK);
    assert_int_equal(count_of(&p, STOCK), 0);
    place_free(&p);
}

/* What a reader began with stays until it is done, whatever is merged meanwhile. */
static bool round_see_and_write(void *ctx, struct hash128 key, struct str value) {
    struct crowd *crowd = ctx;
    if (crowd->seen.count == 0) {
        for (uint32_t i = 0; i < 80; i++)
            crowd_write(crowd, crowd->written + 1);
        tidy_all(crowd->p);
    }
    return round_see(&crowd->seen, key, value);
}
static void a_reader_keeps_what_it_began_with(void **state) {
    (void)state;
    struct place p = place_make();
    struct crowd crowd = {.p = &p};
    for (uint32_t round = 0; round < 7; round++)
        crowd_write(&crowd, round);
    assert_int_equal(p.shelf->ops->each(p.shelf, STOCK, round_see_and_write, &crowd, &p.fault),
                     OK);
    assert_int_equal(crowd.seen.count, CROWD_KEYS);
    assert_false(crowd.seen.mixed);
    assert_int_equal(crowd.seen.round, 6);
    tidy_all(&p);
    assert_int_equal(p.shelf->ops->each(p.shelf, STOCK, round_see_and_write, &crowd, &p.fault),
                     OK);
    assert_int_equal(crowd.seen.round, 86);
    place_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_there_after_reopening),
        cmocka_unit_test(other_spaces_and_formats_are_told),
        cmocka_unit_test(a_foreign_file_stays_untouched),
        cmocka_unit_test(a_changed_byte_is_found_out),
        cmocka_unit_test(large_values_are_kept),
        cmocka_unit_test(what_is_over_is_not_answered_and_goes),
        cmocka_unit_test(the_file_does_not_grow_without_end),
        cmocka_unit_test(filters_know_what_is_absent),
        cmocka_unit_test(memory_may_run_out),
        cmocka_unit_test(many_read_while_one_writes),
        cmocka_unit_test(a_reader_keeps_what_it_began_with),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
