/* files: folders and whole files. Every error names the path. */
#include "base/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static enum err failed(struct fault *fault, const char *what, const char *path) {
    return fault_set(fault, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s %s: %s", what, path,
                     strerror(errno));
}

static enum err folders_make(const char *path, size_t len, struct fault *fault) {
    char part[PATH_MAX];
    if (len >= sizeof part)
        return fault_set(fault, ERR_IO, "the path is too long");
    memcpy(part, path, len);
    part[len] = '\0';
    for (size_t i = 1; i <= len; i++) {
        if (i < len && part[i] != '/')
            continue;
        char kept = part[i];
        part[i] = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return failed(fault, "can not make the folder", part);
        part[i] = kept;
    }
    struct stat status;
    if (len > 0 && (stat(part, &status) != 0 || !S_ISDIR(status.st_mode)))
        return fault_set(fault, ERR_IO, "%s is not a folder", part);
    return OK;
}

enum err files_folder(const char *path, struct fault *fault) {
    return folders_make(path, strlen(path), fault);
}

enum err files_folder_above(const char *path, struct fault *fault) {
    const char *slash = strrchr(path, '/');
    return slash ? folders_make(path, (size_t)(slash - path), fault) : OK;
}

bool files_exist(const char *path) { return access(path, F_OK) == 0; }

enum err files_folder_empty(const char *path, bool *empty, struct fault *fault) {
    *empty = true;
    DIR *dir = opendir(path);
    if (!dir)
        return errno == ENOENT ? OK : failed(fault, "can not look into", path);
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            *empty = false;
    closedir(dir);
    return OK;
}

static bool bytes_write(int fd, struct str text) {
    while (text.len > 0) {
        ssize_t n = write(fd, text.ptr, text.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        text.ptr += n;
        text.len -= (size_t)n;
    }
    return true;
}

static enum err write_as(const char *path, struct str text, unsigned mode, bool durable,
                         struct fault *fault) {
    char temporary[PATH_MAX];
    int len = snprintf(temporary, sizeof temporary, "%s.new", path);
    if (len < 0 || (size_t)len >= sizeof temporary)
        return fault_set(fault, ERR_IO, "the path is too long");
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return failed(fault, "can not write", temporary);
    bool ok = bytes_write(fd, text) && (!durable || fsync(fd) == 0);
    enum err err = ok ? OK : failed(fault, "can not write", temporary);
    close(fd);
    if (err == OK && rename(temporary, path) != 0)
        err = failed(fault, "can not write", path);
    if (err != OK)
        unlink(temporary);
    return err;
}

enum err files_write(const char *path, struct str text, unsigned mode, struct fault *fault) {
    return write_as(path, text, mode, true, fault);
}

enum err files_write_fast(const char *path, struct str text, unsigned mode, struct fault *fault) {
    return write_as(path, text, mode, false, fault);
}

enum err files_read(const char *path, struct buf *out, struct fault *fault) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return failed(fault, "can not read", path);
    enum err err = OK;
    for (;;) {
        if (!buf_reserve(out, 65536)) {
            err = fault_set(fault, ERR_TOO_LARGE, "%s is too large", path);
            break;
        }
        ssize_t n = read(fd, out->data + out->len, 65536);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            err = failed(fault, "can not read", path);
        if (n <= 0)
            break;
        out->len += (size_t)n;
    }
    close(fd);
    return err;
}

static int entry_remove(const char *path, const struct stat *status, int kind, struct FTW *ftw) {
    (void)status;
    (void)kind;
    (void)ftw;
    return remove(path);
}

enum err files_remove(const char *path, struct fault *fault) {
    if (nftw(path, entry_remove, 16, FTW_DEPTH | FTW_PHYS) != 0)
        return failed(fault, "can not take away", path);
    return OK;
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool key_read(struct str text, uint8_t *out, size_t len) {
    bool good = text.len == 2 * len;
    for (size_t i = 0; good && i < len; i++) {
        int high = hex_digit(text.ptr[2 * i]), low = hex_digit(text.ptr[2 * i + 1]);
        good = high >= 0 && low >= 0;
        if (good)
            out[i] = (uint8_t)(high << 4 | low);
    }
    return good;
}

enum err files_key(const char *name, uint8_t *out, size_t len, bool *found, struct fault *fault) {
    char variable[128], text[512];
    const char *value = getenv(name);
    snprintf(variable, sizeof variable, "%s_FILE", name);
    const char *path = getenv(variable);
    *found = true;
    if (value && *value)
        return key_read(str_trim(str_c(value)), out, len)
                   ? OK
                   : fault_set(fault, ERR_INVALID, "%s is not %zu hex digits", name, 2 * len);
    *found = path && *path;
    if (!*found)
        return OK;
    FILE *file = fopen(path, "rbe");
    if (!file)
        return fault_set(fault, ERR_IO, "%s: %s: %s", variable, path, strerror(errno));
    size_t n = fread(text, 1, sizeof text, file);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    bool good = !ferror(file) && key_read(str_trim(str_of(text, n)), out, len);
    fclose(file);
    explicit_bzero(text, sizeof text);
    return good ? OK
                : fault_set(fault, ERR_INVALID, "%s: %s does not hold %zu hex digits", variable, path,
                            2 * len);
}
