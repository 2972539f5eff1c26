/* faulty: see faulty.h. */
#include "faulty.h"

#include <curl/curl.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "base/err.h"
#include "base/mem.h"

static _Atomic uint64_t counter, limit; /* limit 0: off */
static _Atomic int kind_now, sticky_now;
static const char *_Atomic only, *_Atomic last = "";
static _Thread_local int held;

void faulty_fail_at(uint64_t n, enum faulty_kind kind, bool sticky) {
    atomic_store(&limit, 0);
    atomic_store(&counter, 0);
    atomic_store(&kind_now, (int)kind);
    atomic_store(&sticky_now, sticky);
    atomic_store(&only, NULL);
    atomic_store(&last, "");
    atomic_store(&limit, n);
}

void faulty_only(const char *name) { atomic_store(&only, name); }

uint64_t faulty_count(void) { return atomic_load(&counter); }

const char *faulty_last(void) { return atomic_load(&last); }

void faulty_hold(bool hold) { held += hold ? 1 : -1; }

static bool fails(const char *name, enum faulty_kind kind) {
    uint64_t at = atomic_load_explicit(&limit, memory_order_relaxed);
    const char *wanted = atomic_load(&only);
    if (at == 0 || held > 0 || (int)kind != atomic_load(&kind_now) || (wanted && strcmp(wanted, name) != 0))
        return false;
    uint64_t n = atomic_fetch_add(&counter, 1) + 1;
    if (n != at && !(n > at && atomic_load(&sticky_now)))
        return false;
    atomic_store(&last, name);
    return true;
}

#define CALL(answers, name, parameters, arguments, failed)                                                   \
    answers __real_##name parameters;                                                                        \
    answers __wrap_##name parameters;                                                                        \
    answers __wrap_##name parameters { return fails(#name, FAULTY_ERROR) ? failed : __real_##name arguments; }
#define SYSTEM(answers, name, parameters, arguments, why)                                                    \
    CALL(answers, name, parameters, arguments, (errno = (why), -1))
#include "faulty.def"
#undef CALL
#undef SYSTEM

/* --- those that can be interrupted, or fall short ------------------------------------------------ */

static bool fails_again(const char *name, int hard, int again) {
    int why = fails(name, FAULTY_ERROR) ? hard : fails(name, FAULTY_AGAIN) ? again : 0;
    if (why)
        errno = why;
    return why != 0;
}

#define REAL(answers, name, parameters)                                                                      \
    answers __real_##name parameters;                                                                        \
    answers __wrap_##name parameters

REAL(int, accept4, (int fd, struct sockaddr *from, socklen_t *len, int flags));
int __wrap_accept4(int fd, struct sockaddr *from, socklen_t *len, int flags) {
    return fails_again("accept4", EMFILE, EINTR) ? -1 : __real_accept4(fd, from, len, flags);
}

REAL(ssize_t, read, (int fd, void *out, size_t len));
ssize_t __wrap_read(int fd, void *out, size_t len) {
    if (fails_again("read", EIO, EINTR))
        return -1;
    return __real_read(fd, out, len > 1 && fails("read", FAULTY_SHORT) ? 1 : len);
}

REAL(ssize_t, write, (int fd, const void *data, size_t len));
ssize_t __wrap_write(int fd, const void *data, size_t len) {
    if (fails_again("write", ENOSPC, EINTR))
        return -1;
    return __real_write(fd, data, len > 1 && fails("write", FAULTY_SHORT) ? 1 : len);
}

REAL(int, open64, (const char *path, int flags, ...));
int __wrap_open64(const char *path, int flags, ...) {
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list args;
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
    }
    return fails("open64", FAULTY_ERROR) ? (errno = EMFILE, -1) : __real_open64(path, flags, mode);
}

REAL(int, uv_try_write, (uv_stream_t *stream, const uv_buf_t *bufs, unsigned n));
int __wrap_uv_try_write(uv_stream_t *stream, const uv_buf_t *bufs, unsigned n) {
    if (fails("uv_try_write", FAULTY_ERROR))
        return UV_EPIPE;
    if (fails("uv_try_write", FAULTY_AGAIN))
        return UV_EAGAIN;
    if (fails("uv_try_write", FAULTY_SHORT)) {
        uv_buf_t one = uv_buf_init(bufs[0].base, bufs[0].len > 0);
        return __real_uv_try_write(stream, &one, 1);
    }
    return __real_uv_try_write(stream, bufs, n);
}

/* Their last argument is a pointer, a long or a 64 bit number: eight bytes in one register of this machine. */
_Static_assert(sizeof(long) == sizeof(void *) && sizeof(curl_off_t) == sizeof(void *), "one kind of argument");
#undef curl_easy_setopt
REAL(CURLcode, curl_easy_setopt, (CURL *easy, CURLoption option, ...));
CURLcode __wrap_curl_easy_setopt(CURL *easy, CURLoption option, ...) {
    va_list args;
    va_start(args, option);
    void *value = va_arg(args, void *);
    va_end(args);
    return fails("curl_easy_setopt", FAULTY_ERROR) ? CURLE_OUT_OF_MEMORY : __real_curl_easy_setopt(easy, option, value);
}
#undef curl_multi_setopt
REAL(CURLMcode, curl_multi_setopt, (CURLM *multi, CURLMoption option, ...));
CURLMcode __wrap_curl_multi_setopt(CURLM *multi, CURLMoption option, ...) {
    va_list args;
    va_start(args, option);
    void *value = va_arg(args, void *);
    va_end(args);
    return fails("curl_multi_setopt", FAULTY_ERROR) ? CURLM_UNKNOWN_OPTION
                                                    : __real_curl_multi_setopt(multi, option, value);
}
/* It has done its part, and then says that something was wrong. */
REAL(CURLMcode, curl_multi_socket_action, (CURLM *multi, curl_socket_t fd, int what, int *running));
CURLMcode __wrap_curl_multi_socket_action(CURLM *multi, curl_socket_t fd, int what, int *running) {
    bool failed = fails("curl_multi_socket_action", FAULTY_ERROR);
    CURLMcode code = __real_curl_multi_socket_action(multi, fd, what, running);
    return failed ? CURLM_INTERNAL_ERROR : code;
}

/* --- syncs, whoever asks for them ------------------------------------------------------------------ */

typedef int sync_call(int fd);

static int sync_real(const char *name, int fd) {
    if (fails(name, FAULTY_ERROR)) {
        errno = EIO;
        return -1;
    }
    sync_call *real = (sync_call *)(uintptr_t)dlsym(RTLD_NEXT, name);
    must(real);
    return real(fd);
}
int fsync(int fd) { return sync_real("fsync", fd); }
int fdatasync(int fd) { return sync_real("fdatasync", fd); }

/* --- SQLite's disk --------------------------------------------------------------------------------- */

static int disk_open(const char *path, int flags, int mode) {
    return fails("sqlite open", FAULTY_ERROR) ? (errno = EMFILE, -1) : __real_open64(path, flags, mode);
}
static ssize_t disk_pread(int fd, void *out, size_t len, off64_t at) {
    if (fails_again("sqlite pread", EIO, EINTR))
        return -1;
    return pread64(fd, out, len > 1 && fails("sqlite pread", FAULTY_SHORT) ? 1 : len, at);
}
static ssize_t disk_pwrite(int fd, const void *data, size_t len, off64_t at) {
    if (fails_again("sqlite pwrite", ENOSPC, EINTR))
        return -1;
    return pwrite64(fd, data, len > 1 && fails("sqlite pwrite", FAULTY_SHORT) ? 1 : len, at);
}
static int disk_truncate(int fd, off64_t size) {
    return fails("sqlite ftruncate", FAULTY_ERROR) ? (errno = EIO, -1) : __real_ftruncate64(fd, size);
}
static int disk_unlink(const char *path) {
    return fails("sqlite unlink", FAULTY_ERROR) ? (errno = EIO, -1) : unlink(path);
}
static int disk_stat(int fd, struct stat *out) {
    return fails("sqlite fstat", FAULTY_ERROR) ? (errno = EIO, -1) : fstat(fd, out);
}

void faulty_disk(void) {
    static const struct {
        const char *name;
        sqlite3_syscall_ptr call;
    } calls[] = {
        {"open", (sqlite3_syscall_ptr)disk_open},         {"fstat", (sqlite3_syscall_ptr)disk_stat},
        {"pread", (sqlite3_syscall_ptr)disk_pread},       {"pread64", (sqlite3_syscall_ptr)disk_pread},
        {"pwrite", (sqlite3_syscall_ptr)disk_pwrite},     {"pwrite64", (sqlite3_syscall_ptr)disk_pwrite},
        {"ftruncate", (sqlite3_syscall_ptr)disk_truncate}, {"unlink", (sqlite3_syscall_ptr)disk_unlink},
    };
    sqlite3_vfs *vfs = sqlite3_vfs_find("unix");
    must(vfs && vfs->iVersion >= 3);
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        (void)vfs->xSetSystemCall(vfs, calls[i].name, calls[i].call); /* not all are in every build */
}

/* --- memory of libraries ------------------------------------------------------------------------------ */

static void *room_calloc(size_t count, size_t size) {
    size_t bytes;
    return __builtin_mul_overflow(count, size, &bytes) ? NULL : mem_zalloc(bytes);
}
static void *room_resize(void *ptr, size_t size) {
    mem_fail_hold(true);
    void *more = mem_resize(ptr, size);
    mem_fail_hold(false);
    return more;
}
static char *room_copy(const char *text) {
    size_t len = strlen(text) + 1;
    char *copy = mem_alloc(len);
    return copy ? memcpy(copy, text, len) : NULL;
}

void faulty_memory(void) {
    must(uv_replace_allocator(mem_alloc, room_resize, room_calloc, mem_free) == 0);
    must(curl_global_init_mem(CURL_GLOBAL_ALL, mem_alloc, mem_free, mem_resize, room_copy, room_calloc) == CURLE_OK);
}
