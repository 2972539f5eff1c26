/* The part of test_deliver.c about what deliveries cost on disk; it uses what is above its place there. */
#ifndef PENSTOCK_TESTS_UNIT_DELIVER_ROWS_H
#define PENSTOCK_TESTS_UNIT_DELIVER_ROWS_H

#include <sqlite3.h>

/* Of all tables but that of the cursors. The hub has ended. */
static int64_t rows_on_disk(void) {
    static const char names[] = "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'subscription'";
    sqlite3 *db;
    sqlite3_stmt *list, *count;
    int64_t rows = 0;
    uint32_t tables = 0;
    assert_int_equal(sqlite3_open(PROGRESS_PATH, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA locking_mode=EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, names, -1, &list, NULL), SQLITE_OK);
    for (; sqlite3_step(list) == SQLITE_ROW; tables++) {
        char text[128];
        snprintf(text, sizeof text, "SELECT count(*) FROM \"%s\"", (const char *)sqlite3_column_text(list, 0));
        assert_int_equal(sqlite3_prepare_v2(db, text, -1, &count, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_step(count), SQLITE_ROW);
        rows += sqlite3_column_int64(count, 0);
        sqlite3_finalize(count);
    }
    sqlite3_finalize(list);
    sqlite3_close(db);
    assert_true(tables >= 5);
    return rows;
}

/* So many in each of 800 rounds of 2 ms. Writes to the disk that it took; *delivered: how many went out. */
static uint64_t rounds_run(int each, uint32_t refused, uint64_t *delivered) {
    hub_init(41);
    hub.send.lookup = NULL;
    hub.send.reference = STR_NONE;
    hub.limits.concurrency = 64;
    remote.final_of = refused;
    hub_up();
    uint64_t before = vfs_fault_count(disk, VFS_FAULT_WRITE);
    for (int i = 0; i < 900; i++) {
        for (int n = 0; n < each && i < 800; n++)
            thing_new(50);
        core_step(hub.core);
        for (int n = 0; n < 3; n++) {
            deliver_step(hub.deliver);
            for (uint32_t k = remote.count; k > 0; k--)
                remote_step();
        }
        tick_us += 2000;
    }
    struct deliver_stats stats;
    deliver_stats(hub.deliver, 0, &stats);
    *delivered = stats.delivered;
    assert_true(refused != 0 || (all_done() && stats.failed == 0));
    uint64_t writes = vfs_fault_count(disk, VFS_FAULT_WRITE) - before;
    hub_crash();
    return writes;
}

/* A cursor moves, at the pace of the clock; only failures are rows. */
static void a_healthy_delivery_costs_no_row(void **state) {
    uint64_t few, many, some;
    uint64_t few_writes = rounds_run(1, 0, &few);
    assert_int_equal(rows_on_disk(), 0);
    hub_free();
    uint64_t many_writes = rounds_run(20, 0, &many);
    assert_int_equal(rows_on_disk(), 0);
    hub_free();
    assert_true(few > 600 && many > 13000);
    /* how far may be sent is written ahead, once for some thousands */
    assert_in_range(many_writes, 1, few_writes + (many - few) / 100);
    rounds_run(1, 3, &some);
    assert_true(rows_on_disk() > 5); /* a look at what is not healthy: it is seen */
    hub_free();
    print_message("%llu deliveries, %llu writes; %llu deliveries, %llu writes\n", (unsigned long long)few,
                  (unsigned long long)few_writes, (unsigned long long)many, (unsigned long long)many_writes);
}

#endif
