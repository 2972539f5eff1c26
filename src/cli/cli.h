/* cli: the command line. One file per command (src/cli/NAME.c), one line in commands.c.
 * Results go to stdout, everything else to stderr; exit 0 done, 1 refused or failed, 2 usage.
 *
 * To add a command: define `const struct cli_command NAME_command` in src/cli/NAME.c, declare
 * it in commands.h, and name it in commands.c. Words such as `create` in `key create` are
 * positional arguments of the command. */
#ifndef PENSTOCK_CLI_CLI_H
#define PENSTOCK_CLI_CLI_H

#include <stdbool.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "base/version.h"

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
/* Options that several commands share: one wording everywhere. */
#define CLI_OPTION_CONFIG                                                                          \
    { "config", 'C', "DIR", false, "The configuration folder that `penstock init` wrote" }
#define CLI_OPTION_DATA                                                                            \
    { "data", 0, "DIR", false, "Where the cell's files are (default: DIR/data of the configuration)" }
#define CLI_OPTION_HUB                                                                             \
    { "hub", 0, "URL", false,                                                                      \
      "The running hub (default: PENSTOCK_HUB, else http://127.0.0.1:8480)" }
#define CLI_OPTION_KEY                                                                             \
    { "key", 0, "KEY", false, "An API key of that hub (default: PENSTOCK_KEY)" }

struct cli;
struct cli_command {
    const char *name;     /* "key" */
    const char *synopsis; /* "key create|list|revoke -C DIR [--name N --scope S…]"; lines by \n */
    const char *summary;  /* one line for `penstock --help` */
    const char *help;     /* what a man page would say: description, examples, exit codes */
    const struct cli_option *options; /* --help and --json are always there; may be NULL */
    int (*run)(struct cli *cli);
};
extern const struct cli_command *const cli_commands[]; /* NULL at the end (commands.c) */

struct cli {
    const struct cli_command *command;
    struct arena arena;
    struct cli_given { const struct cli_option *option; const char *value; } *given;
    uint32_t given_count;
    const char **args; /* positional, after the command's name */
    uint32_t arg_count;
    bool json; /* --json */
};

/* The whole program: reads the command line, runs the command, answers the exit code. */
int cli_main(int argc, char **argv);

/* Last value of an option, or NULL; whether a flag was given; the i-th value of a repeated one. */
const char *cli_value(const struct cli *cli, const char *name);
bool cli_flag(const struct cli *cli, const char *name);
const char *cli_nth(const struct cli *cli, const char *name, uint32_t i);
/* The i-th positional argument, or NULL. */
const char *cli_arg(const struct cli *cli, uint32_t i);
/* An integer option within bounds; prints usage and answers false otherwise. */
bool cli_integer(const struct cli *cli, const char *name, int64_t dflt, int64_t min, int64_t max,
                 int64_t *out);
/* "penstock key: MESSAGE" on stderr, with EXIT_USAGE the synopsis below it; returns the exit
 * code given. */
int cli_fail(const struct cli *cli, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* As cli_fail, with detail and every item of a fault; exit 1. */
int cli_fault(const struct cli *cli, const struct fault *fault);
/* All positional arguments are used up after the first `max`; else prints usage, false. */
bool cli_args_max(const struct cli *cli, uint32_t max);
/* A file, or standard input ("-"), into the arena: at most bytes_max; false: told. */
bool cli_file_take(struct cli *cli, const char *path, size_t bytes_max, struct str *out);
/* Writes a finished text to stdout whole; EXIT_DONE, or EXIT_FAILED where that fails. */
int cli_print(const struct cli *cli, struct str text);

/* The manual of one command, and the overview of all (help.c). */
void cli_help_command(FILE *out, const struct cli_command *command);
void cli_help_overview(FILE *out);
/* The command that `word` was most likely meant to be, or NULL where none is near. */
const char *cli_nearest_command(const char *word);
/* NULL where there is none. */
const struct cli_command *cli_command_find(const char *name);

#endif
