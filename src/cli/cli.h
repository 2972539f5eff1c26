/* cli: the command line. One file per command (src/cli/NAME.c), one row in cli_commands.
 * Results go to stdout, everything else to stderr; exit 0 done, 1 refused or failed, 2 usage. */
#ifndef PENSTOCK_CLI_CLI_H
#define PENSTOCK_CLI_CLI_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

#define EXIT_DONE 0
#define EXIT_FAILED 1
#define EXIT_USAGE 2

struct cli_option {
    const char *name; /* "listen" for --listen; NULL ends the table */
    char letter;      /* 'C' for -C, or 0 */
    const char *value; /* "HOST:PORT" where it takes one; NULL: a flag */
    bool repeated;    /* may be given several times */
    const char *help;
};

struct cli;
struct cli_command {
    const char *name;     /* "key" */
    const char *synopsis; /* "key create|list|revoke -C DIR [--name N --scope S…]" */
    const char *summary;  /* one line for `penstock --help` */
    const char *help;     /* what a man page would say: description, examples, exit codes */
    const struct cli_option *options; /* --help and --json are always there */
    int (*run)(struct cli *cli);
};
extern const struct cli_command *const cli_commands[]; /* NULL at the end */

struct cli {
    const struct cli_command *command;
    struct arena arena;
    struct cli_given { const struct cli_option *option; const char *value; } *given;
    uint32_t given_count;
    const char **args; /* positional, after the command's name */
    uint32_t arg_count;
    bool json; /* --json */
};

/* Last value of an option, or NULL; whether a flag was given; the i-th value of a repeated one. */
const char *cli_value(const struct cli *cli, const char *name);
bool cli_flag(const struct cli *cli, const char *name);
const char *cli_nth(const struct cli *cli, const char *name, uint32_t i);
/* An integer option within bounds; prints usage and answers false otherwise. */
bool cli_integer(const struct cli *cli, const char *name, int64_t dflt, int64_t min, int64_t max,
                 int64_t *out);
/* "penstock key: MESSAGE" on stderr; returns the exit code given. */
int cli_fail(const struct cli *cli, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* As cli_fail, with detail and every item of a fault; exit 1. */
int cli_fault(const struct cli *cli, const struct fault *fault);

#endif
