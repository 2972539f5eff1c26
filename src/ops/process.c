/* process: what Linux says of this process (proc(5)): CPU, memory, files, and the CPU time of its
 * threads by name, which says without a measurement on any hot path how busy each part is. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/version.h"
#include "ops/figures.h"

#define NAMES_MAX 32 /* distinct names of threads that are told */
#define STAT_FIELDS 24

/* The whole of a small file; empty where it can not be read. */
static struct str file_read(const char *path, char *out, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, size);
    if (fd >= 0)
        close(fd);
    return str_of(out, n > 0 ? (size_t)n : 0);
}

/* /proc/…/stat: the name in brackets, and the fields by their number (1 is the first). */
struct stat_line {
    struct str name;
    uint64_t fields[STAT_FIELDS + 1];
};
static bool stat_read(struct str text, struct stat_line *out) {
    const char *open = memchr(text.ptr, '(', text.len);
    const char *shut = memrchr(text.ptr, ')', text.len);
    *out = (struct stat_line){0};
    if (!open || !shut || shut < open)
        return false;
    out->name = str_of(open + 1, (size_t)(shut - open - 1));
    struct str rest = str_of(shut + 1, text.len - (size_t)(shut + 1 - text.ptr));
    str_cut(&rest, ' ');
    for (int i = 3; i <= STAT_FIELDS && rest.ptr; i++) {
        struct str field = str_cut(&rest, ' ');
        if (!str_u64(field, &out->fields[i]))
            out->fields[i] = 0;
    }
    return true;
}

/* Clock ticks as microseconds. */
static uint64_t ticks_us(uint64_t ticks) {
    long hz = sysconf(_SC_CLK_TCK);
    return hz > 0 ? ticks * 1000000 / (uint64_t)hz : 0;
}

/* user and system */
static uint64_t stat_cpu_us(const struct stat_line *stat) {
    return ticks_us(stat->fields[14] + stat->fields[15]);
}

static uint64_t boot_us(void) {
    char text[65536];
    struct str rest = file_read("/proc/stat", text, sizeof text);
    uint64_t seconds = 0;
    while (rest.ptr) {
        struct str line = str_cut(&rest, '\n');
        if (str_starts(line, STR("btime ")) && str_u64(str_of(line.ptr + 6, line.len - 6), &seconds))
            return seconds * 1000000;
    }
    return 0;
}

static uint64_t files_open(void) {
    struct stat st;
    if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0) /* since Linux 6.2 */
        return (uint64_t)st.st_size;
    DIR *dir = opendir("/proc/self/fd");
    uint64_t n = 0;
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n > 3 ? n - 3 : 0; /* ".", ".." and the folder itself */
}

static void limits_figures(struct metrics *out) {
    struct rlimit limit;
    metric_add(out, METRIC_PROCESS_FDS, NULL, files_open());
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        metric_add(out, METRIC_PROCESS_FDS_MAX, NULL, limit.rlim_cur);
}

struct thread_name {
    char name[32];
    uint64_t cpu_us, count;
};

/* "loop 3" and "loop 4" are both "loop". */
static struct str stem_of(struct str name) {
    while (name.len > 1 && ((name.ptr[name.len - 1] >= '0' && name.ptr[name.len - 1] <= '9') ||
                            name.ptr[name.len - 1] == ' ' || name.ptr[name.len - 1] == '-'))
        name.len--;
    return name;
}

static void thread_add(struct thread_name *names, uint32_t *count, const struct stat_line *stat) {
    struct str stem = stem_of(stat->name);
    uint32_t i = 0;
    while (i < *count && !str_is(stem, names[i].name))
        i++;
    if (i == NAMES_MAX || stem.len >= sizeof names->name)
        return;
    if (i == *count) {
        names[(*count)++] = (struct thread_name){0};
        memcpy(names[i].name, stem.ptr, stem.len);
    }
    names[i].cpu_us += stat_cpu_us(stat);
    names[i].count++;
}

static void threads_figures(struct metrics *out) {
    struct thread_name names[NAMES_MAX];
    uint32_t count = 0;
    DIR *dir = opendir("/proc/self/task");
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        char path[300], text[1024];
        struct stat_line stat;
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/stat", entry->d_name);
        if (stat_read(file_read(path, text, sizeof text), &stat))
            thread_add(names, &count, &stat);
    }
    if (dir)
        closedir(dir);
    for (uint32_t i = 0; i < count; i++) {
        const struct str label[] = {str_c(names[i].name)};
        metric_add(out, METRIC_THREAD_CPU, label, names[i].cpu_us);
        metric_add(out, METRIC_THREADS, label, names[i].count);
    }
}

void process_figures(struct metrics *out) {
    char text[1024];
    struct stat_line stat;
    struct rusage usage;
    metric_add(out, METRIC_BUILD_INFO, METRIC_LABELS(STR(PENSTOCK_VERSION)), 1);
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        metric_add(out, METRIC_PROCESS_CPU, NULL,
                   (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
                       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec));
    if (stat_read(file_read("/proc/self/stat", text, sizeof text), &stat)) {
        metric_add(out, METRIC_PROCESS_VM, NULL, stat.fields[23]);
        metric_add(out, METRIC_PROCESS_RSS, NULL,
                   stat.fields[24] * (uint64_t)sysconf(_SC_PAGESIZE));
        metric_add(out, METRIC_PROCESS_START, NULL, boot_us() + ticks_us(stat.fields[22]));
    }
    limits_figures(out);
    threads_figures(out);
}
