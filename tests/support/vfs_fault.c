/* vfs_fault: see vfs_fault.h. A file is its bytes as programs see them, its bytes as the disk
 * has them, and what was changed since the last sync. */
#include "vfs_fault.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/rng.h"

#define SECTOR 512

struct bytes {
    unsigned char *data;
    uint64_t len, cap;
};

struct change { /* since the last sync */
    bool truncate;
    uint64_t at, len;
    unsigned char *data;
};

struct file {
    struct file *next;
    char name[256];
    bool exists;
    bool unlike; /* what programs see is not what the disk has, even without the changes */
    struct bytes live, durable;
    struct change *changes;
    uint32_t count, cap;
};

struct name_change {
    struct file *file;
    bool made; /* else removed */
};

struct vfs_fault {
    sqlite3_vfs vfs;
    struct rng_seeded rng;
    struct file *files; /* newest first; a removed one stays until reset */
    struct name_change *names;
    uint32_t name_count, name_cap;
    bool crashed;
    uint32_t open;
    uint64_t failures;
    bool full;
    void (*seen)(void *ctx);
    void *seen_ctx;
    struct {
        uint64_t count, fail_at;
        int code;
    } calls[VFS_FAULT_CALLS];
};

struct handle {
    sqlite3_file base;
    struct vfs_fault *disk;
    struct file *file;
    bool delete_on_close;
};

/* --- bytes ------------------------------------------------------------------------------- */

static void *grown(void *data, uint64_t size) {
    void *more = realloc(data, size ? size : 1);
    must(more != NULL);
    return more;
}
static void bytes_resize(struct bytes *b, uint64_t len) {
    if (len > b->cap) {
        b->cap = len < 16384 ? 32768 : 2 * len;
        b->data = grown(b->data, b->cap);
    }
    if (len > b->len)
        memset(b->data + b->len, 0, len - b->len);
    b->len = len;
}
static void bytes_write(struct bytes *b, uint64_t at, const void *data, uint64_t len) {
    if (at + len > b->len)
        bytes_resize(b, at + len);
    if (len > 0)
        memcpy(b->data + at, data, len);
}

static void bytes_free(struct bytes *b) {
    free(b->data);
    *b = (struct bytes){0};
}

static void changes_forget(struct file *file) {
    for (uint32_t i = 0; i < file->count; i++)
        free(file->changes[i].data);
    file->count = 0;
}
static void change_add(struct file *file, struct change change) {
    if (file->count == file->cap) {
        file->cap = file->cap ? 2 * file->cap : 16;
        file->changes = grown(file->changes, file->cap * sizeof *file->changes);
    }
    file->changes[file->count++] = change;
}

static void changes_apply(struct file *file) {
    for (uint32_t i = 0; i < file->count; i++) {
        const struct change *c = &file->changes[i];
        if (c->truncate)
            bytes_resize(&file->durable, c->at);
        else
            bytes_write(&file->durable, c->at, c->data, c->len);
    }
    changes_forget(file);
}

/* How many of 8 pieces are kept: all and none among it. */
static uint64_t keep_chance(struct vfs_fault *disk) {
    static const uint64_t keeps[] = {0, 2, 4, 7, 8};
    return keeps[rng_below(&disk->rng.rng, sizeof keeps / sizeof keeps[0])];
}

/* Chance decides per piece; `keep` of 8. */
static void changes_gamble(struct vfs_fault *disk, struct file *file, uint64_t keep) {
    struct rng *rng = &disk->rng.rng;
    file->unlike = file->unlike || file->count > 0;
    for (uint32_t i = 0; i < file->count; i++) {
        const struct change *c = &file->changes[i];
        if (c->truncate) {
            if (rng_below(rng, 8) < keep)
                bytes_resize(&file->durable, c->at);
            continue;
        }
        for (uint64_t at = c->at, end = c->at + c->len; at < end;) {
            uint64_t stop = at / SECTOR * SECTOR + SECTOR;
            stop = stop < end ? stop : end;
            if (rng_below(rng, 8) < keep)
                bytes_write(&file->durable, at, c->data + (at - c->at), stop - at);
            at = stop;
        }
    }
    changes_forget(file);
}

/* --- names ------------------------------------------------------------------------------- */

static struct file *file_find(const struct vfs_fault *disk, const char *name) {
    for (struct file *f = disk->files; f; f = f->next)
        if (f->exists && strcmp(f->name, name) == 0)
            return f;
    return NULL;
}
static void name_add(struct vfs_fault *disk, struct file *file, bool made) {
    if (disk->name_count == disk->name_cap) {
        disk->name_cap = disk->name_cap ? 2 * disk->name_cap : 16;
        disk->names = grown(disk->names, disk->name_cap * sizeof *disk->names);
    }
    disk->names[disk->name_count++] = (struct name_change){file, made};
    file->exists = made;
}
static struct file *file_make(struct vfs_fault *disk, const char *name) {
    struct file *file = calloc(1, sizeof *file);
    must(file && strlen(name) < sizeof file->name);
    snprintf(file->name, sizeof file->name, "%s", name);
    file->next = disk->files;
    disk->files = file;
    name_add(disk, file, true);
    return file;
}

/* --- calls of a file --------------------------------------------------------------------- */

/* SQLITE_OK, or what this call is to answer. */
static int call_count(struct vfs_fault *disk, enum vfs_fault_call call, int when_crashed) {
    if (disk->crashed)
        return when_crashed;
    if (++disk->calls[call].count != disk->calls[call].fail_at)
        return SQLITE_OK;
    if (disk->calls[call].code != VFS_FAULT_CRASH) {
        disk->failures++;
        return disk->calls[call].code;
    }
    vfs_fault_crash(disk);
    return when_crashed;
}

static int file_close(sqlite3_file *base) {
    struct handle *h = (struct handle *)base;
    if (h->delete_on_close && !h->disk->crashed)
        name_add(h->disk, h->file, false);
    h->disk->open--;
    return SQLITE_OK;
}
static int file_read(sqlite3_file *base, void *out, int amount, sqlite3_int64 at) {
    struct handle *h = (struct handle *)base;
    int rc = call_count(h->disk, VFS_FAULT_READ, SQLITE_IOERR_READ);
    if (rc != SQLITE_OK)
        return rc;
    const struct bytes *live = &h->file->live;
    uint64_t from = (uint64_t)at, want = (uint64_t)amount;
    uint64_t have = from < live->len ? live->len - from : 0;
    have = have < want ? have : want;
    if (have)
        memcpy(out, live->data + from, have);
    memset((char *)out + have, 0, want - have);
    return have == want ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}
static int file_write(sqlite3_file *base, const void *data, int amount, sqlite3_int64 at) {
    struct handle *h = (struct handle *)base;
    int rc = call_count(h->disk, VFS_FAULT_WRITE, SQLITE_IOERR_WRITE);
    if (rc == SQLITE_OK && h->disk->full && (uint64_t)at + (uint64_t)amount > h->file->live.len) {
        h->disk->failures++;
        return SQLITE_FULL;
    }
    if (h->disk->crashed)
        return rc;
    struct change change = {.at = (uint64_t)at, .len = (uint64_t)amount};
    if (rc != SQLITE_OK)
        change.len /= 2;
    change.data = grown(NULL, change.len);
    if (change.len > 0)
        memcpy(change.data, data, change.len);
    change_add(h->file, change);
    bytes_write(&h->file->live, change.at, data, change.len);
    return rc;
}
static int file_truncate(sqlite3_file *base, sqlite3_int64 size) {
    struct handle *h = (struct handle *)base;
    if (h->disk->crashed)
        return SQLITE_IOERR_TRUNCATE;
    change_add(h->file, (struct change){.truncate = true, .at = (uint64_t)size});
    bytes_resize(&h->file->live, (uint64_t)size);
    return SQLITE_OK;
}
static int file_sync(sqlite3_file *base, int flags) {
    struct handle *h = (struct handle *)base;
    (void)flags;
    int rc = call_count(h->disk, VFS_FAULT_SYNC, SQLITE_IOERR_FSYNC);
    if (rc != SQLITE_OK) {
        if (!h->disk->crashed)
            changes_gamble(h->disk, h->file, keep_chance(h->disk));
        return rc;
    }
    if (h->disk->seen)
        h->disk->seen(h->disk->seen_ctx);
    changes_apply(h->file);
    h->disk->name_count = 0;
    return SQLITE_OK;
}
static int file_size(sqlite3_file *base, sqlite3_int64 *size) {
    *size = (sqlite3_int64)((struct handle *)base)->file->live.len;
    return SQLITE_OK;
}
static int file_lock(sqlite3_file *base, int level) {
    (void)base, (void)level;
    return SQLITE_OK;
}
static int file_reserved(sqlite3_file *base, int *out) {
    (void)base;
    *out = 0;
    return SQLITE_OK;
}
static int file_control(sqlite3_file *base, int what, void *arg) {
    (void)base, (void)what, (void)arg;
    return SQLITE_NOTFOUND;
}
static int file_sector(sqlite3_file *base) {
    (void)base;
    return SECTOR;
}
static int file_traits(sqlite3_file *base) {
    (void)base;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}
static const sqlite3_io_methods file_methods = {
    .iVersion = 1,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_lock,
    .xCheckReservedLock = file_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector,
    .xDeviceCharacteristics = file_traits,
};

/* --- calls of the disk ------------------------------------------------------------------- */

static struct vfs_fault *disk_of(sqlite3_vfs *vfs) { return vfs->pAppData; }

static int disk_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags,
                     int *out_flags) {
    struct vfs_fault *disk = disk_of(vfs);
    struct handle *h = (struct handle *)base;
    *h = (struct handle){.disk = disk};
    if (disk->crashed)
        return SQLITE_CANTOPEN;
    struct file *file = name ? file_find(disk, name) : NULL;
    if (!file && !(flags & SQLITE_OPEN_CREATE))
        return SQLITE_CANTOPEN;
    h->file = file ? file : file_make(disk, name ? name : "(temporary)");
    h->delete_on_close = !name || (flags & SQLITE_OPEN_DELETEONCLOSE);
    h->base.pMethods = &file_methods;
    disk->open++;
    if (out_flags)
        *out_flags = flags;
    return SQLITE_OK;
}
static int disk_delete(sqlite3_vfs *vfs, const char *name, int sync) {
    struct vfs_fault *disk = disk_of(vfs);
    struct file *file = file_find(disk, name);
    if (disk->crashed)
        return SQLITE_IOERR_DELETE;
    if (!file)
        return SQLITE_IOERR_DELETE_NOENT;
    name_add(disk, file, false);
    if (sync)
        disk->name_count = 0;
    return SQLITE_OK;
}
static int disk_access(sqlite3_vfs *vfs, const char *name, int flags, int *out) {
    (void)flags;
    *out = file_find(disk_of(vfs), name) != NULL;
    return SQLITE_OK;
}
static int disk_path(sqlite3_vfs *vfs, const char *name, int size, char *out) {
    (void)vfs;
    snprintf(out, (size_t)size, "%s", name);
    return SQLITE_OK;
}
static int disk_random(sqlite3_vfs *vfs, int size, char *out) {
    rng_fill(&disk_of(vfs)->rng.rng, out, (size_t)size);
    return size;
}
static int disk_sleep(sqlite3_vfs *vfs, int us) {
    (void)vfs;
    return us;
}
static int disk_time(sqlite3_vfs *vfs, double *days) {
    (void)vfs;
    *days = 2460000.5;
    return SQLITE_OK;
}
static int disk_error(sqlite3_vfs *vfs, int size, char *out) {
    (void)vfs;
    if (size > 0)
        out[0] = '\0';
    return 0;
}

/* --- for tests --------------------------------------------------------------------------- */

struct vfs_fault *vfs_fault_create(const char *name, bool as_default) {
    struct vfs_fault *disk = calloc(1, sizeof *disk);
    must(disk != NULL);
    rng_seeded_init(&disk->rng, 1);
    disk->vfs = (sqlite3_vfs){
        .iVersion = 1, .szOsFile = sizeof(struct handle), .mxPathname = 255, .zName = name,
        .pAppData = disk, .xOpen = disk_open, .xDelete = disk_delete, .xAccess = disk_access,
        .xFullPathname = disk_path, .xRandomness = disk_random, .xSleep = disk_sleep,
        .xCurrentTime = disk_time, .xGetLastError = disk_error,
    };
    must(sqlite3_vfs_register(&disk->vfs, as_default) == SQLITE_OK);
    return disk;
}

void vfs_fault_reset(struct vfs_fault *disk, uint64_t seed) {
    must(disk->open == 0);
    while (disk->files) {
        struct file *file = disk->files;
        disk->files = file->next;
        changes_forget(file);
        free(file->changes);
        free(file->live.data);
        free(file->durable.data);
        free(file);
    }
    disk->name_count = 0;
    disk->crashed = disk->full = false;
    memset(disk->calls, 0, sizeof disk->calls);
    rng_seeded_init(&disk->rng, seed);
    sqlite3_randomness(0, NULL); /* SQLite seeds its own anew at its next use */
}

void vfs_fault_destroy(struct vfs_fault *disk) {
    vfs_fault_reset(disk, 0);
    sqlite3_vfs_unregister(&disk->vfs);
    free(disk->names);
    free(disk);
}

void vfs_fault_seed(struct vfs_fault *disk, uint64_t seed) { rng_seeded_init(&disk->rng, seed); }

void vfs_fault_watch(struct vfs_fault *disk, void (*seen)(void *ctx), void *ctx) {
    disk->seen = seen;
    disk->seen_ctx = ctx;
}

void vfs_fault_crash(struct vfs_fault *disk) {
    struct rng *rng = &disk->rng.rng;
    uint64_t keep = keep_chance(disk);
    disk->crashed = true;
    uint32_t kept = (uint32_t)rng_below(rng, disk->name_count + 1);
    while (disk->name_count > kept) {
        struct name_change *last = &disk->names[--disk->name_count];
        last->file->exists = !last->made;
    }
    disk->name_count = 0;
    for (struct file *f = disk->files; f; f = f->next)
        changes_gamble(disk, f, keep);
}

bool vfs_fault_crashed(const struct vfs_fault *disk) { return disk->crashed; }

void vfs_fault_restart(struct vfs_fault *disk) {
    must(disk->crashed && disk->open == 0);
    for (struct file *f = disk->files; f; f = f->next) {
        if (!f->exists) /* for good */
            bytes_free(&f->live), bytes_free(&f->durable);
        if (!f->unlike)
            continue;
        f->live.len = 0;
        bytes_write(&f->live, 0, f->durable.data, f->durable.len);
        f->unlike = false;
    }
    for (int i = 0; i < VFS_FAULT_CALLS; i++)
        disk->calls[i].fail_at = 0;
    disk->crashed = false;
}

void vfs_fault_fail(struct vfs_fault *disk, enum vfs_fault_call call, uint32_t n, int code) {
    disk->calls[call].fail_at = n ? disk->calls[call].count + n : 0;
    disk->calls[call].code = code;
}

void vfs_fault_full(struct vfs_fault *disk, bool full) { disk->full = full; }

uint64_t vfs_fault_failures(const struct vfs_fault *disk) { return disk->failures; }

uint64_t vfs_fault_count(const struct vfs_fault *disk, enum vfs_fault_call call) {
    return disk->calls[call].count;
}

bool vfs_fault_damage(struct vfs_fault *disk, const char *name, uint64_t at, uint64_t len) {
    struct file *file = file_find(disk, name);
    if (!file || at + len > file->live.len || at + len > file->durable.len)
        return false;
    for (uint64_t i = at; i < at + len; i++) {
        file->live.data[i] ^= 0xff;
        file->durable.data[i] ^= 0xff;
    }
    return true;
}

uint64_t vfs_fault_size(const struct vfs_fault *disk, const char *name) {
    const struct file *file = file_find(disk, name);
    return file ? file->live.len : 0;
}
