/* vfs_fault: a disk for SQLite that can fail, kept in memory: the seam `disk` for tests and the
 * simulator. It reads and writes as it should until a crash: then every piece of 512 bytes that
 * was written and not synced is, by the seed, there or not, in no order; a truncation likewise.
 * Names (files made and removed) come to the disk in order, at the latest with the next sync of
 * any file, as in ext4. Reads, writes and syncs can be made to fail on demand. A failed sync
 * leaves what it should have synced to chance for good, whatever later syncs say (as Linux does).
 *
 * One thread. Without shared memory: SQLite needs locking_mode=EXCLUSIVE for WAL on it. */
#ifndef PENSTOCK_TESTS_SUPPORT_VFS_FAULT_H
#define PENSTOCK_TESTS_SUPPORT_VFS_FAULT_H

#include <stdbool.h>
#include <stdint.h>

struct vfs_fault;
/* Registered with SQLite under name (kept by reference). With `as_default` it serves SQLite's own
 * randomness, too, so that a seed fixes everything. Aborts when out of memory. */
struct vfs_fault *vfs_fault_create(const char *name, bool as_default);
/* All files must be closed. */
void vfs_fault_destroy(struct vfs_fault *disk);

/* An empty disk and a new seed; no failures set. All files must be closed. */
void vfs_fault_reset(struct vfs_fault *disk, uint64_t seed);
/* From now on chance follows from this seed. */
void vfs_fault_seed(struct vfs_fault *disk, uint64_t seed);
/* `seen` is called before every sync that succeeds: a moment at which what was written is there and
 * not durable. It must not use the disk. */
void vfs_fault_watch(struct vfs_fault *disk, void (*seen)(void *ctx), void *ctx);
/* Power is lost: what survives is decided now; every call fails until restart. */
void vfs_fault_crash(struct vfs_fault *disk);
bool vfs_fault_crashed(const struct vfs_fault *disk);
/* After all files were closed: the disk as the crash left it. */
void vfs_fault_restart(struct vfs_fault *disk);

enum vfs_fault_call { VFS_FAULT_READ, VFS_FAULT_WRITE, VFS_FAULT_SYNC, VFS_FAULT_CALLS };
/* The n-th such call from now (1 is the next) answers the SQLite code, once (a write after half
 * of it), or VFS_FAULT_CRASH: power is lost there. 0 takes it back. */
#define VFS_FAULT_CRASH (-1)
void vfs_fault_fail(struct vfs_fault *disk, enum vfs_fault_call call, uint32_t n, int code);
/* Calls since reset. */
uint64_t vfs_fault_count(const struct vfs_fault *disk, enum vfs_fault_call call);
/* From now on every write that makes a file longer fails for want of room; or does no more. */
void vfs_fault_full(struct vfs_fault *disk, bool full);
/* Calls that were made to fail since reset, crashes not among them. */
uint64_t vfs_fault_failures(const struct vfs_fault *disk);
/* Inverts len bytes of a file, at rest and durably; false where it has none there. */
bool vfs_fault_damage(struct vfs_fault *disk, const char *name, uint64_t at, uint64_t len);
uint64_t vfs_fault_size(const struct vfs_fault *disk, const char *name);

#endif
