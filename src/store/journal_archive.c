/* journal_archive: see journal_archive.h; and the cache from which archived segments are read. */
#include "store/journal_archive.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/journal_sqlite_priv.h"

static enum err path_join(char out[PATH_BYTES], const char *folder, uint64_t number,
                          struct fault *fault) {
    int len = snprintf(out, PATH_BYTES, "%s/%08llu.db.zst", folder, (unsigned long long)number);
    return len < PATH_BYTES ? OK : fault_set(fault, ERR_INVALID, "the path is too long");
}

static enum err file_delete(const char *path, struct fault *fault) {
    if (unlink(path) == 0 || errno == ENOENT)
        return OK;
    return fault_set(fault, ERR_IO, "can not delete %s: %s", path, strerror(errno));
}

/* ERR_NOT_FOUND says nothing to who asked for a segment. */
static enum err archive_missing(const struct segment *segment, const char *path,
                                struct fault *fault) {
    return fault_set(fault, ERR_UNAVAILABLE,
                     "journal segment %llu (records %llu to %llu) is archived and offline: %s is "
                     "not there; bring it back, or: penstock journal restore --from FOLDER",
                     (unsigned long long)segment->number, (unsigned long long)segment->first,
                     (unsigned long long)segment->last, path);
}

static enum err archive_find(struct journal *journal, const struct segment *segment,
                             char path[PATH_BYTES], struct fault *fault) {
    uint64_t bytes;
    enum err err = journal_archive_place(journal, segment->number, path, PATH_BYTES, &bytes, fault);
    if (err == OK && !path[0])
        err = fault_set(fault, ERR_CONFLICT, "journal segment %llu is not archived",
                        (unsigned long long)segment->number);
    if (err == OK && access(path, F_OK) != 0)
        err = archive_missing(segment, path, fault);
    return err;
}

static void cache_path(const struct journal_sqlite *j, uint64_t number, char out[PATH_BYTES]) {
    must(snprintf(out, PATH_BYTES, "%scache/%08llu.db", j->prefix, (unsigned long long)number) <
         PATH_BYTES);
}
/* What was unpacked to be read. */
static void cache_forget(const struct journal_sqlite *j, uint64_t number) {
    char path[PATH_BYTES];
    cache_path(j, number, path);
    unlink(path); /* mostly it is not there */
}

/* --- archive, restore, remove -------------------------------------------------------------- */

/* There already, of an earlier run that did not get to its end: the same, or somebody else's. */
static enum err archive_make(const char *from, const char *path, const struct segment *segment,
                             const struct pack_progress *progress, struct fault *fault) {
    struct fault other = {0};
    if (access(path, F_OK) == 0) {
        if (segment_unpack(path, NULL, segment, NULL, &other) == OK)
            return OK;
        return fault_set(fault, ERR_CONFLICT, "%s is there already and is not this segment", path);
    }
    enum err err = segment_pack(from, path, segment, progress, fault);
    if (err == OK) /* read back: from now on it is all there is */
        err = segment_unpack(path, NULL, segment, NULL, fault);
    return err;
}

enum err journal_segment_archive(struct journal *journal, const struct segment *segment,
                                 const char *folder, const struct pack_progress *progress,
                                 struct fault *fault) {
    struct journal_sqlite *j = journal_of(journal);
    char from[PATH_BYTES], path[PATH_BYTES], whole[PATH_BYTES];
    struct stat st;
    if (!j->maintain || segment->state != SEGMENT_SEALED)
        return fault_set(fault, ERR_CONFLICT, "journal segment %llu is %s, not sealed",
                         (unsigned long long)segment->number, segment_state_name(segment->state));
    /* It is found again from wherever the hub is started. */
    if (!realpath(folder ? folder : j->folder, whole))
        return fault_set(fault, ERR_IO, "can not find the folder %s: %s",
                         folder ? folder : j->folder, strerror(errno));
    segment_path(j, segment->number, from);
    enum err err = path_join(path, whole, segment->number, fault);
    if (err == OK)
        err = archive_make(from, path, segment, progress, fault);
    if (err == OK && stat(path, &st) != 0)
        err = fault_set(fault, ERR_IO, "can not look at %s: %s", path, strerror(errno));
    if (err == OK)
        err = chain_place(j, segment->number, SEGMENT_ARCHIVED, path, (uint64_t)st.st_size, fault);
    if (err == OK)
        err = file_delete(from, fault);
    return err == OK ? db_folder_sync(j->folder, fault) : err;
}

enum err journal_segment_restore(struct journal *journal, const struct segment *segment,
                                 const char *folder, const struct pack_progress *progress,
                                 struct fault *fault) {
    struct journal_sqlite *j = journal_of(journal);
    char known[PATH_BYTES], path[PATH_BYTES], to[PATH_BYTES];
    uint64_t bytes;
    if (!j->maintain || segment->state != SEGMENT_ARCHIVED)
        return fault_set(fault, ERR_CONFLICT, "journal segment %llu is %s, not archived",
                         (unsigned long long)segment->number, segment_state_name(segment->state));
    segment_path(j, segment->number, to);
    enum err err =
        journal_archive_place(journal, segment->number, known, sizeof known, &bytes, fault);
    if (err == OK && folder)
        err = path_join(path, folder, segment->number, fault);
    else if (err == OK)
        snprintf(path, sizeof path, "%s", known);
    if (err == OK)
        err = segment_unpack(path, to, segment, progress, fault);
    if (err == ERR_NOT_FOUND)
        err = archive_missing(segment, path, fault);
    if (err == OK)
        err = chain_place(j, segment->number, SEGMENT_SEALED, NULL, 0, fault);
    if (err == OK)
        cache_forget(j, segment->number);
    return err == OK && !folder ? file_delete(known, fault) : err;
}

enum err journal_segment_remove(struct journal *journal, const struct segment *segment,
                                struct fault *fault) {
    struct journal_sqlite *j = journal_of(journal);
    char file[PATH_BYTES], archive[PATH_BYTES];
    uint64_t bytes, floor;
    struct segment before;
    enum err err = journal_floor_read(journal, &floor, fault);
    if (err == OK)
        err = journal_archive_place(journal, segment->number, archive, sizeof archive, &bytes,
                                    fault);
    if (err != OK)
        return err;
    if (!j->maintain ||
        (segment->state != SEGMENT_SEALED && segment->state != SEGMENT_ARCHIVED))
        return fault_set(fault, ERR_CONFLICT, "journal segment %llu is %s",
                         (unsigned long long)segment->number, segment_state_name(segment->state));
    if (segment->last >= floor)
        return fault_set(fault, ERR_CONFLICT,
                         "journal segment %llu ends at record %llu, and all from %llu on are "
                         "still needed",
                         (unsigned long long)segment->number, (unsigned long long)segment->last,
                         (unsigned long long)floor);
    for (uint32_t i = 0; journal_sqlite_segment(journal, i, &before); i++)
        if (before.number < segment->number && before.state != SEGMENT_REMOVED)
            return fault_set(fault, ERR_CONFLICT, "journal segment %llu is older and still there",
                             (unsigned long long)before.number);
    segment_path(j, segment->number, file);
    /* First it is said, then done: a crash in between leaves a file that nobody asks for. */
    err = chain_place(j, segment->number, SEGMENT_REMOVED, NULL, 0, fault);
    if (err == OK)
        err = file_delete(file, fault);
    if (err == OK && archive[0])
        err = file_delete(archive, fault);
    if (err == OK)
        cache_forget(j, segment->number);
    return err == OK ? db_folder_sync(j->folder, fault) : err;
}

enum err journal_archive_check(struct journal *journal, const struct segment *segment,
                               const struct pack_progress *progress, struct fault *fault) {
    char path[PATH_BYTES];
    enum err err = archive_find(journal, segment, path, fault);
    return err == OK ? segment_unpack(path, NULL, segment, progress, fault) : err;
}

/* --- the cache ----------------------------------------------------------------------------- */

/* Deletes the oldest unpacked segments until one more fits. Whoever has one open reads on. */
static void cache_trim(const char *folder) {
    for (;;) {
        char path[PATH_BYTES], oldest[PATH_BYTES] = "";
        struct timespec when = {0};
        uint32_t count = 0;
        DIR *dir = opendir(folder);
        for (const struct dirent *entry; dir && (entry = readdir(dir));) {
            struct stat st;
            if (entry->d_name[0] == '.' || strstr(entry->d_name, ".part") ||
                snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) >= (int)sizeof path ||
                stat(path, &st) != 0)
                continue;
            bool older = !oldest[0] || st.st_mtim.tv_sec < when.tv_sec ||
                         (st.st_mtim.tv_sec == when.tv_sec && st.st_mtim.tv_nsec < when.tv_nsec);
            if (older) {
                snprintf(oldest, sizeof oldest, "%s", path);
                when = st.st_mtim;
            }
            count++;
        }
        if (dir)
            closedir(dir);
        if (count < JOURNAL_CACHE_SEGMENTS || unlink(oldest) != 0)
            return;
    }
}

void parts_remove(const struct journal_sqlite *j, const char *below) {
    char folder[PATH_BYTES], path[PATH_BYTES];
    if (!j->folder[0] || snprintf(folder, sizeof folder, "%s%s", j->folder, below) >= PATH_BYTES)
        return;
    DIR *dir = opendir(folder);
    for (const struct dirent *entry; dir && (entry = readdir(dir));)
        if (strstr(entry->d_name, ".part") &&
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) < (int)sizeof path)
            unlink(path);
    if (dir)
        closedir(dir);
}

enum err cache_fetch(struct journal_sqlite *j, const struct segment *segment,
                     char out[PATH_BYTES], struct fault *fault) {
    char folder[PATH_BYTES], path[PATH_BYTES];
    if (!j->folder[0])
        return fault_set(fault, ERR_UNAVAILABLE, "journal segment %llu is archived",
                         (unsigned long long)segment->number);
    must(snprintf(folder, sizeof folder, "%scache", j->prefix) < PATH_BYTES);
    cache_path(j, segment->number, out);
    pthread_mutex_lock(&j->cache_lock);
    bool there = access(out, F_OK) == 0;
    enum err err = there ? OK : archive_find(&j->journal, segment, path, fault);
    if (!there && err == OK)
        err = db_folder(folder, fault);
    if (!there && err == OK) {
        cache_trim(folder);
        err = segment_unpack(path, out, segment, NULL, fault);
    }
    pthread_mutex_unlock(&j->cache_lock);
    return err;
}

bool cache_near(struct journal *journal, uint64_t seq, bool bring) {
    struct journal_sqlite *j = journal_of(journal);
    struct segment segment;
    struct fault said = {0}; /* by who reads */
    char path[PATH_BYTES];
    if (!j->folder[0] || j->read_only || chain_find(j, seq, &segment, &said) != OK ||
        segment.state != SEGMENT_ARCHIVED || atomic_load(&j->cache_failed) == segment.number)
        return true;
    cache_path(j, segment.number, path);
    if (access(path, F_OK) == 0 || archive_find(journal, &segment, path, &said) != OK)
        return true;
    if (bring)
        atomic_store(&j->cache_wanted, segment.number);
    return false;
}

void cache_bring(struct journal_sqlite *j) {
    uint64_t number = atomic_exchange(&j->cache_wanted, 0);
    struct segment segment;
    struct fault said = {0};
    char path[PATH_BYTES];
    for (uint32_t i = 0; number && journal_sqlite_segment(&j->journal, i, &segment); i++)
        if (segment.number == number && segment.state == SEGMENT_ARCHIVED)
            atomic_store(&j->cache_failed, cache_fetch(j, &segment, path, &said) == OK ? 0 : number);
}
