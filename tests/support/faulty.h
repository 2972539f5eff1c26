/* faulty: the calls our code makes to the system and to libraries, made to fail one at a time. The build of
 * a test that links it wraps the calls that faulty.def names; fsync and fdatasync also where SQLite calls them,
 * and with faulty_disk all that its unix VFS asks the system for.
 *
 * Counted and failed are calls of all threads, but those of a thread that holds. Not wrapped is what can not
 * fail on Linux as we call it: docs/testing.md lists it. */
#ifndef PENSTOCK_TESTS_SUPPORT_FAULTY_H
#define PENSTOCK_TESTS_SUPPORT_FAULTY_H

#include <stdbool.h>
#include <stdint.h>

enum faulty_kind {
    FAULTY_ERROR, /* each call can: with what is likely of it (EMFILE, ENOSPC, no memory …) */
    FAULTY_AGAIN, /* those that may be interrupted: EINTR; a socket that takes nothing: EAGAIN */
    FAULTY_SHORT, /* reads and writes: one byte of what was asked for */
};
/* The n-th call that can fail so from now (1 is the next); 0 switches it off. `sticky`: all after it, too. */
void faulty_fail_at(uint64_t n, enum faulty_kind kind, bool sticky);
/* Only calls of this name are counted, until the next faulty_fail_at. NULL: all. */
void faulty_only(const char *name);
/* Calls that could have failed since faulty_fail_at. */
uint64_t faulty_count(void);
/* What failed last, for messages; "" where nothing did since faulty_fail_at. */
const char *faulty_last(void);
/* What this thread calls while it holds neither fails nor counts: a test's own. Nests. */
void faulty_hold(bool hold);
/* What SQLite's unix VFS asks the system for fails, too. Before any file is open. */
void faulty_disk(void);
/* libuv and libcurl take their memory from base/mem.h. Before either is used. libuv's resize never fails:
 * where it grows its table of descriptors it would end the process (uv__io_start). */
void faulty_memory(void);

#endif
