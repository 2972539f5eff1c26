/* roster_files: what the roster has to do with the disk: seeing that files changed, and keeping the
 * versions that were taken. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "base/log.h"
#include "connect/connector_priv.h"
#include "connect/roster_priv.h"

#define DEPTH_MAX 4
#define FILES_MAX 100000u /* beyond it, changes are not seen: they have to be told */

/* --- seeing changes -------------------------------------------------------------------------- */

struct marking {
    struct hash128 sum; /* whatever the order of the files */
    uint32_t files;
};

static void mark_file(struct marking *marking, const char *path, const struct stat *st) {
    char line[PATH_MAX + 128];
    int n = snprintf(line, sizeof line, "%s %lld.%09ld %lld %llu", path, (long long)st->st_mtim.tv_sec,
                     st->st_mtim.tv_nsec, (long long)st->st_size, (unsigned long long)st->st_ino);
    struct hash128 one = hash128(str_of(line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1), 0);
    marking->sum.hi += one.hi;
    marking->sum.lo += one.lo;
}

static void mark_folder(struct marking *marking, const char *path, int depth) {
    DIR *folder = opendir(path);
    const struct dirent *entry;
    while (folder && marking->files < FILES_MAX && (entry = readdir(folder))) {
        char below[PATH_MAX];
        struct stat st;
        int n = snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] == '.' || n < 0 || (size_t)n >= sizeof below || stat(below, &st) != 0)
            continue;
        marking->files++;
        if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX)
            mark_folder(marking, below, depth + 1);
        else if (S_ISREG(st.st_mode))
            mark_file(marking, below, &st);
    }
    if (folder)
        closedir(folder);
}

struct hash128 roster_mark(struct roster *roster) {
    struct marking marking = {0};
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/connectors", roster->dir);
    mark_folder(&marking, path, 0);
    const struct connectors *set = roster_take(roster);
    for (uint32_t i = 0; set && i < set->count; i++)
        for (const struct connector_file *f = set->items[i]->own->files; f; f = f->next) {
            struct stat st;
            if (f->path.ptr && stat(f->path.ptr, &st) == 0)
                mark_file(&marking, f->path.ptr, &st);
        }
    connectors_release(set);
    return marking.sum;
}

bool roster_stale(struct roster *roster) {
    pthread_mutex_lock(&roster->reloading);
    struct hash128 mark = roster_mark(roster);
    bool settled = hash128_eq(mark, roster->seen);
    bool stale = settled && !hash128_eq(mark, roster->mark);
    roster->seen = mark;
    pthread_mutex_unlock(&roster->reloading);
    return stale;
}

/* --- keeping --------------------------------------------------------------------------------- */

static enum err kept_path(const char *folder, struct str name, char path[PATH_MAX], struct fault *fault) {
    int n = snprintf(path, PATH_MAX, "%s/%.*s", folder, STR_FMT(name));
    return n < 0 || n >= PATH_MAX - 8 ? fault_set(fault, ERR_IO, "the path is too long") : OK;
}

/* Visits connector.yaml and the mappings, by their path below `folder`. */
static enum err kept_each(const char *folder, const struct connector *connector,
                          enum err (*visit)(const char *path, struct str text, struct fault *fault),
                          struct fault *fault) {
    char path[PATH_MAX];
    const struct mapping_source *source;
    enum err err = kept_path(folder, STR("connector.yaml"), path, fault);
    if (!err)
        err = visit(path, connector->own->text, fault);
    for (uint32_t i = 0; !err && (source = mapping_sources_at(connector->own->sources, i)); i++) {
        struct str file = source->name;
        str_cut(&file, '/'); /* of the connector */
        err = kept_path(folder, file, path, fault);
        if (!err)
            err = visit(path, source->code, fault);
    }
    return err;
}

static enum err file_compare(const char *path, struct str text, struct fault *fault) {
    struct buf kept;
    buf_init(&kept, 0);
    enum err err = files_read(path, &kept, fault);
    if (!err && !str_eq(buf_str(&kept), text))
        err = ERR_CONFLICT;
    buf_free(&kept);
    return err;
}

bool roster_kept(const struct roster *roster, const struct connector *connector) {
    char place[PATH_MAX];
    struct fault ignored = {0};
    snprintf(place, sizeof place, "%s/connectors/%.*s", roster->kept, STR_FMT(connector->name));
    return kept_each(place, connector, file_compare, &ignored) == OK;
}

/* Waits for no disk: what is kept is a copy of files that were just read, and is missed only where a
 * power cut tears it and those are broken afterwards. */
static enum err file_keep(const char *path, struct str text, struct fault *fault) {
    enum err err = files_folder_above(path, fault);
    return err ? err : files_write_fast(path, text, 0600, fault);
}

static void folder_remove(const char *path) {
    struct fault ignored = {0};
    if (files_exist(path) && files_remove(path, &ignored) != OK)
        log_line(LOG_WARN, "connect", "a folder can not be removed", "path=%s detail=%s",
                 log_quote(str_c(path)), log_quote(str_c(ignored.detail)));
}

enum err roster_keep(const struct roster *roster, const struct connector *connector,
                     struct fault *fault) {
    char made[PATH_MAX], place[PATH_MAX], old[PATH_MAX];
    snprintf(made, sizeof made, "%s/connectors/.new", roster->kept);
    snprintf(old, sizeof old, "%s/connectors/.old", roster->kept);
    snprintf(place, sizeof place, "%s/connectors/%.*s", roster->kept, STR_FMT(connector->name));
    folder_remove(made);
    folder_remove(old);
    enum err err = kept_each(made, connector, file_keep, fault);
    if (!err && rename(place, old) != 0 && errno != ENOENT)
        err = fault_set(fault, ERR_IO, "%s: %s", place, strerror(errno));
    if (!err && rename(made, place) != 0)
        err = fault_set(fault, ERR_IO, "%s: %s", place, strerror(errno));
    folder_remove(old);
    return err;
}

void roster_drop(const struct roster *roster, struct str name) {
    char place[PATH_MAX];
    snprintf(place, sizeof place, "%s/connectors/%.*s", roster->kept, STR_FMT(name));
    folder_remove(place);
}
