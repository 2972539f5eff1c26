/* The part of test_deliver.c about decisions of persons that the disk does not take; it uses what is above its
 * place there. */
#ifndef PENSTOCK_TESTS_UNIT_DELIVER_UNWRITTEN_H
#define PENSTOCK_TESTS_UNIT_DELIVER_UNWRITTEN_H

#include <sqlite3.h>

/* Nobody is told that it is done, and it can be asked for again. */
static void what_can_not_be_written_is_not_answered_as_done(void **state) {
    hub_init(10);
    hub_up();
    remote.final_of = 3;
    for (int i = 0; i < 20; i++)
        thing_new(5);
    settle();
    uint64_t seq = held_seq();
    for (int discard = 0; discard < 2; discard++) {
        vfs_fault_fail(disk, VFS_FAULT_WRITE, 1, SQLITE_FULL);
        assert_int_equal(decision(seq, discard), ERR_UNAVAILABLE);
        settle(); /* back to what is on disk */
        assert_int_equal(held_seq(), seq);
    }
    assert_int_equal(decision(seq, true), OK);
    settle();
    assert_true(held_seq() > seq);
    hub_crash();
    hub_free();
}

#endif
