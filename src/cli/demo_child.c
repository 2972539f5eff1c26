/* demo_child: the hub and the sandbox ERP of a demo, as processes, so that killing one is real:
 * our own program, or one that brings up a real system. */
#include "cli/demo_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARGUMENTS_MAX 32
#define ENVIRONMENT_MAX 1024
#define LAST_WORDS 600 /* bytes of a log that are shown when a child fails */

extern char **environ;

void demo_sleep_ms(int64_t ms) {
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (ms > 0 && nanosleep(&time, &time) != 0 && errno == EINTR)
        ;
}

/* Our environment with the given names replaced; the array alone is new. */
static void environment_make(char **out, const char *const *extra) {
    uint32_t count = 0;
    for (const char *const *e = extra; e && *e; e++)
        out[count++] = (char *)(uintptr_t)*e;
    for (char **e = environ; *e && count < ENVIRONMENT_MAX - 1; e++) {
        size_t name = strcspn(*e, "=") + 1;
        bool replaced = false;
        for (const char *const *x = extra; x && *x; x++)
            replaced = replaced || strncmp(*x, *e, name) == 0;
        if (!replaced)
            out[count++] = *e;
    }
    out[count] = NULL;
}

/* In the child, between fork and exec: nothing but calls that are safe there. */
static void child_become(const char *program, int out, int log, char **argv, char **envp) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* no hub outlives its demo */
    setpgid(0, 0); /* Ctrl-C is for the demo, which stops its children itself */
    dup2(out, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execve(program ? program : "/proc/self/exe", argv, envp);
    _exit(127);
}

enum err demo_child_start(struct demo_child *child, const char *const *arguments,
                          const char *const *environment, struct fault *fault) {
    char *argv[ARGUMENTS_MAX + 2] = {(char *)(uintptr_t)(child->program ? child->program : "penstock")};
    static char *envp[ENVIRONMENT_MAX]; /* main thread only */
    int pipe_fds[2];
    uint32_t count = 1;
    for (; *arguments && count <= ARGUMENTS_MAX; arguments++)
        argv[count++] = (char *)(uintptr_t)*arguments;
    environment_make(envp, environment);
    int log = open(child->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (log < 0)
        return fault_set(fault, ERR_IO, "%s: %s", child->log, strerror(errno));
    if (pipe2(pipe_fds, O_CLOEXEC) != 0) {
        close(log);
        return fault_set(fault, ERR_IO, "no pipe: %s", strerror(errno));
    }
    pid_t pid = fork();
    if (pid == 0)
        child_become(child->program, pipe_fds[1], log, argv, envp);
    close(log);
    close(pipe_fds[1]);
    if (pid < 0) {
        close(pipe_fds[0]);
        return fault_set(fault, ERR_IO, "no process: %s", strerror(errno));
    }
    child->pid = pid;
    child->out = pipe_fds[0];
    return OK;
}

/* The end of the child's log, on one line. */
static void last_words(const struct demo_child *child, char out[LAST_WORDS + 1]) {
    int fd = open(child->log, O_RDONLY | O_CLOEXEC);
    ssize_t n = 0;
    if (fd >= 0) {
        off_t end = lseek(fd, 0, SEEK_END);
        lseek(fd, end > LAST_WORDS ? end - LAST_WORDS : 0, SEEK_SET);
        n = read(fd, out, LAST_WORDS);
        close(fd);
    }
    out[n > 0 ? n : 0] = '\0';
    for (char *c = out; *c; c++)
        if (*c == '\n')
            *c = ' ';
}

static enum err child_failed(struct demo_child *child, struct fault *fault) {
    char words[LAST_WORDS + 1];
    int code = demo_child_stop(child, SIGTERM, 2000);
    last_words(child, words);
    return fault_set(fault, ERR_UNAVAILABLE, "the %s did not start (exit %d): %s", child->name,
                     code, words);
}

enum err demo_child_ready(struct demo_child *child, int64_t timeout_ms, struct fault *fault) {
    char text[1024];
    size_t len = 0;
    int64_t until = clock_tick_us(&clock_system) + timeout_ms * 1000;
    while (len < sizeof text - 1) {
        int64_t left_ms = (until - clock_tick_us(&clock_system)) / 1000;
        struct pollfd poll_fd = {.fd = child->out, .events = POLLIN};
        if (left_ms <= 0 || poll(&poll_fd, 1, (int)left_ms) < 0)
            break;
        ssize_t n = read(child->out, text + len, sizeof text - 1 - len);
        if (n <= 0)
            break;
        len += (size_t)n;
        text[len] = '\0';
        char *url = strstr(text, "http://");
        if (!url || !strpbrk(url, " \n"))
            continue;
        snprintf(child->url, sizeof child->url, "%.*s", (int)strcspn(url, " \r\n"), url);
        return OK;
    }
    return child_failed(child, fault);
}

static int exit_code(int status) {
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int demo_child_stop(struct demo_child *child, int signal_number, int64_t timeout_ms) {
    int status = 0;
    if (child->pid <= 0)
        return 0;
    kill(child->pid, signal_number);
    for (int64_t waited_ms = 0; waitpid(child->pid, &status, WNOHANG) == 0; waited_ms += 10) {
        if (waited_ms >= timeout_ms)
            kill(child->pid, SIGKILL);
        demo_sleep_ms(10);
    }
    close(child->out);
    child->pid = 0;
    return exit_code(status);
}

int demo_child_run(const char *program, const char *const *arguments, const char *const *environment, const char *log,
                   struct buf *out) {
    struct demo_child child = {.name = "command", .program = program};
    struct fault fault = {0};
    char part[4096];
    int status = 0;
    ssize_t n;
    snprintf(child.log, sizeof child.log, "%s", log);
    if (demo_child_start(&child, arguments, environment, &fault) != OK)
        return EXIT_FAILED;
    while ((n = read(child.out, part, sizeof part)) > 0)
        buf_add(out, part, (size_t)n);
    close(child.out);
    while (waitpid(child.pid, &status, 0) < 0 && errno == EINTR)
        ;
    return exit_code(status);
}
