/* files: folders and whole files, for commands. Every error names the path. */
#include "cli/files.h"

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

enum err files_write(const char *path, struct str text, unsigned mode, struct fault *fault) {
    char temporary[PATH_MAX];
    int len = snprintf(temporary, sizeof temporary, "%s.new", path);
    if (len < 0 || (size_t)len >= sizeof temporary)
        return fault_set(fault, ERR_IO, "the path is too long");
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return failed(fault, "can not write", temporary);
    bool ok = bytes_write(fd, text) && fsync(fd) == 0;
    enum err err = ok ? OK : failed(fault, "can not write", temporary);
    close(fd);
    if (err == OK && rename(temporary, path) != 0)
        err = failed(fault, "can not write", path);
    if (err != OK)
        unlink(temporary);
    return err;
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
