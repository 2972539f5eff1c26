/* drop_file: one file on its way from its folder to done/ or error/. Its content is its name: what was
 * taken once under any name is not taken again. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "connect/drop_priv.h"
#include "store/db.h"

#define HASH_BYTES ((size_t)4 << 20) /* of one step */
#define AGAIN_S 60                   /* after a file could not be read on */

static int64_t tick_us(const struct drop_entry *entry) {
    return clock_tick_us(entry->drop->options.clock);
}
static int64_t mtime_us(const struct stat *st) {
    return (int64_t)st->st_mtim.tv_sec * 1000000 + st->st_mtim.tv_nsec / 1000;
}

/* "FOLDER/sub/NAMEsuffix"; false: too long. */
static bool path_make(char out[PATH_MAX], const struct drop_entry *entry, const char *sub,
                      const char *name, const char *suffix) {
    int n = snprintf(out, PATH_MAX, "%s/%s%s%s", entry->folder, sub, name, suffix);
    return n > 0 && n < PATH_MAX;
}

void file_close(struct drop_file *file) {
    if (file->fd >= 0)
        close(file->fd);
    if (file->rejected >= 0)
        close(file->rejected);
    EVP_MD_CTX_free(file->digest);
    buf_free(&file->window);
    buf_free(&file->problems);
    buf_free(&file->group.key);
    buf_free(&file->group.rows);
    buf_free(&file->group.raw);
    arena_free(&file->arena);
    *file = (struct drop_file){.fd = -1, .rejected = -1};
}

static void failed(struct drop_entry *entry, const char *why) {
    struct drop_stats *stats = &entry->stats;
    bool told = stats->state == DROP_FAILING && strcmp(stats->error, why) == 0;
    if (stats->error != why)
        snprintf(stats->error, sizeof stats->error, "%s", why);
    stats->failed_us = clock_now_us(entry->drop->options.clock);
    stats->state = DROP_FAILING;
    stats->file[0] = '\0';
    entry->due_us = tick_us(entry) + INT64_C(1000000) * AGAIN_S;
    if (!told)
        log_line(LOG_WARN, "connect", "files can not be taken", "files=%.*s error=%s",
                 STR_FMT(entry->name), log_quote(str_c(why)));
}

void file_give_up(struct drop_entry *entry, const char *why) {
    char words[300];
    snprintf(words, sizeof words, "%s: %s", entry->file.name, why);
    file_close(&entry->file);
    entry->state = DROP_IDLE;
    entry->failed = false;
    failed(entry, words);
}

/* --- choosing ------------------------------------------------------------------------------ */

static bool ends_in(const char *name, const char *end) {
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

static bool wanted_name(const struct drop_entry *entry, const char *name) {
    char pattern[300];
    const struct connector_files *files = entry->files;
    snprintf(pattern, sizeof pattern, "%.*s", STR_FMT(files->pattern));
    if (name[0] == '.' || strlen(name) > DROP_NAME_MAX || ends_in(name, ".tmp") ||
        ends_in(name, ".part") || ends_in(name, ".filepart"))
        return false;
    if (files->ready->done.len > 0 && strlen(name) >= files->ready->done.len &&
        str_eq(files->ready->done, str_of(name + strlen(name) - files->ready->done.len,
                                          files->ready->done.len)))
        return false;
    return fnmatch(pattern, name, 0) == 0;
}

static struct drop_seen *seen_of(struct drop_entry *entry, const char *name) {
    for (uint32_t i = 0; i < entry->seen_count; i++)
        if (strcmp(entry->seen[i].name, name) == 0)
            return &entry->seen[i];
    if (entry->seen_count == DROP_NAMES_MAX)
        return NULL; /* another time */
    struct drop_seen *seen = &entry->seen[entry->seen_count++];
    *seen = (struct drop_seen){.size = -1};
    snprintf(seen->name, sizeof seen->name, "%s", name);
    return seen;
}

static bool marker_there(const struct drop_entry *entry, const char *name) {
    char path[PATH_MAX], suffix[40];
    struct stat st;
    snprintf(suffix, sizeof suffix, "%.*s", STR_FMT(entry->files->ready->done));
    return path_make(path, entry, "", name, suffix) && stat(path, &st) == 0;
}

/* It has not changed for as long as it must, and its marker is there. */
static bool file_ready(struct drop_entry *entry, struct drop_seen *seen, const struct stat *st) {
    const struct connector_ready *ready = entry->files->ready;
    int64_t now = tick_us(entry);
    if (seen->size != (int64_t)st->st_size || seen->changed_us != mtime_us(st)) {
        seen->size = (int64_t)st->st_size;
        seen->changed_us = mtime_us(st);
        seen->since_us = now;
    }
    if (ready->done.len > 0 && !marker_there(entry, seen->name))
        return false;
    return now - seen->since_us >= ready->stable_s * 1000000;
}

static void seen_prune(struct drop_entry *entry) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < entry->seen_count; i++)
        if (entry->seen[i].there)
            entry->seen[kept++] = entry->seen[i];
    entry->seen_count = kept;
}

/* The first by name of those that are complete. */
static bool file_choose(struct drop_entry *entry, DIR *folder, char out[DROP_NAME_MAX + 1]) {
    out[0] = '\0';
    for (uint32_t i = 0; i < entry->seen_count; i++)
        entry->seen[i].there = false;
    for (struct dirent *d; (d = readdir(folder));) {
        char path[PATH_MAX];
        struct stat st;
        if (!wanted_name(entry, d->d_name) || !path_make(path, entry, "", d->d_name, "") ||
            lstat(path, &st) != 0 || !S_ISREG(st.st_mode))
            continue;
        struct drop_seen *seen = seen_of(entry, d->d_name);
        if (!seen)
            continue;
        seen->there = true;
        if (file_ready(entry, seen, &st) && (out[0] == '\0' || strcmp(d->d_name, out) < 0))
            snprintf(out, DROP_NAME_MAX + 1, "%s", d->d_name);
    }
    seen_prune(entry);
    return out[0] != '\0';
}

static bool file_open(struct drop_entry *entry, const char *name) {
    struct drop_file *file = &entry->file;
    char path[PATH_MAX];
    struct stat st;
    file->line = 1;
    snprintf(file->name, sizeof file->name, "%s", name);
    arena_init(&file->arena,
               (size_t)entry->drop->options.config->settings.file_json_bytes_max * 8 + ARENA_CAP_DEFAULT);
    buf_init(&file->window, (size_t)2 << 30);
    buf_init(&file->problems, 0);
    buf_init(&file->group.key, 0);
    buf_init(&file->group.rows, 0);
    buf_init(&file->group.raw, 0);
    file->digest = EVP_MD_CTX_new();
    file->fd = path_make(path, entry, "", name, "") ? open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (file->fd < 0 || fstat(file->fd, &st) != 0 || !file->digest ||
        EVP_DigestInit_ex(file->digest, EVP_sha256(), NULL) != 1) {
        file_give_up(entry, strerror(errno));
        return false;
    }
    file->size = (int64_t)st.st_size;
    file->changed_us = mtime_us(&st);
    entry->state = DROP_HASHING;
    entry->stats.state = DROP_READING;
    snprintf(entry->stats.file, sizeof entry->stats.file, "%s", name);
    return true;
}

bool folder_look(struct drop_entry *entry) {
    char name[DROP_NAME_MAX + 1], sub[PATH_MAX];
    struct fault fault = {0};
    DIR *folder = opendir(entry->folder);
    entry->due_us = tick_us(entry) + entry->files->every_s * 1000000;
    if (!folder) {
        char why[PATH_MAX + 200];
        snprintf(why, sizeof why, "the folder %s can not be looked into: %s", entry->folder, strerror(errno));
        failed(entry, why);
        return false;
    }
    bool found = file_choose(entry, folder, name);
    closedir(folder);
    if (entry->stats.state == DROP_FAILING && !found)
        entry->stats.state = DROP_WAITING;
    if (!found)
        return false;
    if (!path_make(sub, entry, "done", "", "") || db_folder(sub, &fault) != OK ||
        !path_make(sub, entry, "error", "", "") || db_folder(sub, &fault) != OK) {
        failed(entry, fault.detail);
        return false;
    }
    return file_open(entry, name);
}

/* --- its content as a name ------------------------------------------------------------------- */

static void known_name(const struct drop_entry *entry, char out[400]) {
    snprintf(out, 400, "file %.*s %s", STR_FMT(entry->name), entry->file.hash);
}

static void hash_done(struct drop_entry *entry) {
    struct drop_file *file = &entry->file;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    char name[400], value[INTAKE_VALUE_MAX + 1];
    struct fault fault = {0};
    if (EVP_DigestFinal_ex(file->digest, digest, &len) != 1 || lseek(file->fd, 0, SEEK_SET) != 0) {
        file_give_up(entry, "its content can not be hashed");
        return;
    }
    for (size_t i = 0; i < DROP_HASH_LEN / 2; i++)
        snprintf(file->hash + 2 * i, 3, "%02x", digest[i]);
    known_name(entry, name);
    if (intake_load(entry->drop->intake, str_c(name), value, &file->known, &fault) != OK) {
        file_give_up(entry, fault.detail);
        return;
    }
    entry->state = DROP_RECORDS;
    file->ended = file->known;
}

void file_hash(struct drop_entry *entry) {
    struct drop_file *file = &entry->file;
    char part[65536];
    for (size_t done = 0; done < HASH_BYTES; done += sizeof part) {
        ssize_t n = read(file->fd, part, sizeof part);
        if (n == 0) {
            hash_done(entry);
            return;
        }
        if (n < 0 || EVP_DigestUpdate(file->digest, part, (size_t)n) != 1) {
            file_give_up(entry, strerror(errno));
            return;
        }
    }
}

/* --- the end --------------------------------------------------------------------------------- */

/* With the header, so that it can be mended and left again. */
static void rejects_begin(struct drop_entry *entry) {
    struct drop_file *file = &entry->file;
    char path[PATH_MAX], delimiter = entry->files->dialect.delimiter;
    if (!path_make(path, entry, "error/.", file->name, ".rejected"))
        return;
    file->rejected = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (entry->files->format != FILE_CSV || !entry->files->csv->header)
        return;
    struct buf line;
    buf_init(&line, 0);
    for (uint32_t i = 0; i < file->column_count; i++) {
        if (i > 0)
            buf_char(&line, delimiter);
        buf_str_add(&line, file->columns[i]);
    }
    buf_char(&line, '\n');
    if (file->rejected >= 0 && write(file->rejected, line.data, line.len) != (ssize_t)line.len)
        log_line(LOG_WARN, "connect", "what was rejected can not be written", "files=%.*s file=%s",
                 STR_FMT(entry->name), log_quote(str_c(file->name)));
    buf_free(&line);
}

void file_rejects(struct drop_entry *entry, struct str raw) {
    struct drop_file *file = &entry->file;
    if (file->rejected < 0)
        rejects_begin(entry);
    while (file->rejected >= 0 && raw.len > 0) {
        ssize_t n = write(file->rejected, raw.ptr, raw.len);
        if (n <= 0)
            return; /* the whole file is in error/ as well */
        raw = str_of(raw.ptr + n, raw.len - (size_t)n);
    }
}

static bool text_write(const char *path, struct str text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    bool good = fd >= 0 && write(fd, text.ptr, text.len) == (ssize_t)text.len && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return good;
}

static bool report_write(struct drop_entry *entry, const char *sub, const char *name) {
    const struct drop_file *file = &entry->file;
    char path[PATH_MAX];
    struct buf out;
    buf_init(&out, 0);
    buf_lit(&out, "{\"file\":");
    buf_json_str(&out, str_c(file->name));
    buf_printf(&out, ",\"sha256\":\"%s…\",\"known\":%s,\"records\":%llu,\"taken\":%llu,\"bad\":%llu,"
               "\"at\":\"", file->hash, file->known ? "true" : "false",
               (unsigned long long)file->records, (unsigned long long)file->taken,
               (unsigned long long)file->bad);
    instant_write(&out, (struct instant){.us = clock_now_us(entry->drop->options.clock)});
    buf_lit(&out, "\",\"problems\":[");
    buf_str_add(&out, buf_str(&file->problems));
    buf_lit(&out, "]}\n");
    bool good = buf_ok(&out) && path_make(path, entry, sub, name, ".report.json") &&
                text_write(path, buf_str(&out));
    buf_free(&out);
    return good;
}

static bool move_to(struct drop_entry *entry, const char *sub, char name[DROP_NAME_MAX + 12]) {
    const struct drop_file *file = &entry->file;
    char from[PATH_MAX], to[PATH_MAX], tmp[PATH_MAX];
    struct stat st;
    struct fault fault = {0};
    snprintf(name, DROP_NAME_MAX + 12, "%s", file->name);
    if (path_make(to, entry, sub, name, "") && lstat(to, &st) == 0) /* another of this name */
        snprintf(name, DROP_NAME_MAX + 12, "%.8s-%s", file->hash, file->name);
    if (!path_make(from, entry, "", file->name, "") || !path_make(to, entry, sub, name, "") ||
        !report_write(entry, sub, name) || rename(from, to) != 0)
        return false;
    if (file->rejected >= 0 && path_make(tmp, entry, "error/.", file->name, ".rejected") &&
        path_make(to, entry, "error/", name, ".rejected") && rename(tmp, to) != 0)
        log_line(LOG_WARN, "connect", "what was rejected can not be kept", "files=%.*s file=%s",
                 STR_FMT(entry->name), log_quote(str_c(name)));
    if (entry->files->ready->done.len > 0) {
        char suffix[40];
        snprintf(suffix, sizeof suffix, "%.*s", STR_FMT(entry->files->ready->done));
        if (path_make(from, entry, "", file->name, suffix) && unlink(from) != 0 && errno != ENOENT)
            log_line(LOG_WARN, "connect", "a marker can not be removed", "file=%s", from);
    }
    return path_make(to, entry, sub, "", "") && db_folder_sync(to, &fault) == OK &&
           db_folder_sync(entry->folder, &fault) == OK;
}

static bool changed_meanwhile(const struct drop_file *file) {
    struct stat st;
    return fstat(file->fd, &st) != 0 || (int64_t)st.st_size != file->size ||
           mtime_us(&st) != file->changed_us;
}

/* Its content is known from now on, unless nothing of it could be read: a mended hub may then take it. */
static enum err remember(struct drop_entry *entry, struct fault *fault) {
    char name[400], value[300];
    known_name(entry, name);
    snprintf(value, sizeof value, "%lld %s", (long long)clock_now_us(entry->drop->options.clock),
             entry->file.name);
    intake_set(entry->drop->intake, str_c(name), str_c(value));
    return intake_commit(entry->drop->intake, fault);
}

void file_end(struct drop_entry *entry) {
    struct drop_file *file = &entry->file;
    struct drop_stats *stats = &entry->stats;
    struct fault fault = {0};
    char name[DROP_NAME_MAX + 12];
    if (changed_meanwhile(file)) {
        file_give_up(entry, "it was changed while it was read: have it written under another name, and renamed "
                            "when it is complete");
        return;
    }
    bool good = file->bad == 0;
    if (!move_to(entry, good ? "done/" : "error/", name)) {
        file_give_up(entry, "it can not be moved away: may the hub write in its folder?");
        return;
    }
    if (!file->known && (good || file->records > 0) && remember(entry, &fault) != OK)
        log_line(LOG_WARN, "connect", "that a file was taken can not be kept", "file=%s error=%s",
                 log_quote(str_c(name)), log_quote(str_c(fault.detail)));
    log_line(good ? LOG_INFO : LOG_WARN, "connect", file->known ? "a file was taken before" : "a file was taken",
             "files=%.*s file=%s records=%llu taken=%llu bad=%llu", STR_FMT(entry->name),
             log_quote(str_c(name)), (unsigned long long)file->records, (unsigned long long)file->taken,
             (unsigned long long)file->bad);
    stats->files++;
    stats->repeated += file->known;
    stats->rejected += !good;
    stats->records += file->records;
    stats->taken += file->taken;
    stats->bad += file->bad;
    stats->done_us = clock_now_us(entry->drop->options.clock);
    stats->file[0] = '\0';
    stats->state = DROP_WAITING;
    file_close(file);
    entry->state = DROP_IDLE;
    entry->due_us = 0; /* the next one */
}
