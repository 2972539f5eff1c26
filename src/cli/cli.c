/* cli: reads the command line against the tables, finds the command and runs it. Owns nothing
 * but the arena of struct cli; what a command prints is its own business. */
#include "cli/cli.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"

#define WORD_MAX 40 /* longer words are not compared for a suggestion */

/* --- finding ---------------------------------------------------------------------------- */

const struct cli_command *cli_command_find(const char *name) {
    for (const struct cli_command *const *c = cli_commands; *c; c++)
        if (strcmp((*c)->name, name) == 0)
            return *c;
    return NULL;
}

/* Edit distance with neighbours swapped counting as one (optimal string alignment). */
static unsigned word_distance(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b);
    unsigned rows[3][WORD_MAX + 1];
    if (n > WORD_MAX || m > WORD_MAX)
        return WORD_MAX;
    for (unsigned j = 0; j <= m; j++)
        rows[0][j] = j;
    for (unsigned i = 1; i <= n; i++) {
        unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        row[0] = i;
        for (unsigned j = 1; j <= m; j++) {
            unsigned best = above[j - 1] + (a[i - 1] != b[j - 1]);
            best = above[j] + 1 < best ? above[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = before[j - 2] + 1 < best ? before[j - 2] + 1 : best;
            row[j] = best;
        }
    }
    return rows[n % 3][m];
}

struct nearest {
    const char *word, *best;
    unsigned distance;
};

static void nearest_offer(struct nearest *nearest, const char *name) {
    unsigned distance = word_distance(nearest->word, name);
    size_t len = strlen(nearest->word);
    if (len >= 3 && strncmp(name, nearest->word, len) == 0)
        distance = 1; /* the beginning of a word stands for the word */
    if (distance < nearest->distance) {
        nearest->distance = distance;
        nearest->best = name;
    }
}

static const char *nearest_take(const struct nearest *nearest) {
    return nearest->distance <= 1 + strlen(nearest->word) / 4 ? nearest->best : NULL;
}

const char *cli_nearest_command(const char *word) {
    struct nearest nearest = {word, NULL, WORD_MAX};
    for (const struct cli_command *const *c = cli_commands; *c; c++)
        nearest_offer(&nearest, (*c)->name);
    return nearest_take(&nearest);
}

static const char *nearest_option(const struct cli_command *command, const char *word) {
    struct nearest nearest = {word, NULL, WORD_MAX};
    for (const struct cli_option *o = command->options; o && o->name; o++)
        nearest_offer(&nearest, o->name);
    nearest_offer(&nearest, "help");
    nearest_offer(&nearest, "json");
    return nearest_take(&nearest);
}

/* --- asking ----------------------------------------------------------------------------- */

const char *cli_value(const struct cli *cli, const char *name) {
    for (uint32_t i = cli->given_count; i > 0; i--)
        if (strcmp(cli->given[i - 1].option->name, name) == 0)
            return cli->given[i - 1].value;
    return NULL;
}

bool cli_flag(const struct cli *cli, const char *name) {
    for (uint32_t i = 0; i < cli->given_count; i++)
        if (strcmp(cli->given[i].option->name, name) == 0)
            return true;
    return false;
}

const char *cli_nth(const struct cli *cli, const char *name, uint32_t n) {
    for (uint32_t i = 0; i < cli->given_count; i++)
        if (strcmp(cli->given[i].option->name, name) == 0 && n-- == 0)
            return cli->given[i].value;
    return NULL;
}

const char *cli_arg(const struct cli *cli, uint32_t i) {
    return i < cli->arg_count ? cli->args[i] : NULL;
}

bool cli_args_max(const struct cli *cli, uint32_t max) {
    if (cli->arg_count <= max)
        return true;
    cli_fail(cli, EXIT_USAGE, "'%s' is one argument too many", cli->args[max]);
    return false;
}

bool cli_integer(const struct cli *cli, const char *name, int64_t dflt, int64_t min, int64_t max,
                 int64_t *out) {
    const char *text = cli_value(cli, name);
    *out = dflt;
    if (!text)
        return true;
    if (str_i64(str_c(text), out) && *out >= min && *out <= max)
        return true;
    cli_fail(cli, EXIT_USAGE, "--%s takes a whole number from %lld to %lld, not '%s'", name,
             (long long)min, (long long)max, text);
    return false;
}

/* --- telling ---------------------------------------------------------------------------- */

static void name_print(const struct cli *cli) {
    fputs("penstock", stderr);
    if (cli && cli->command)
        fprintf(stderr, " %s", cli->command->name);
    fputs(": ", stderr);
}

int cli_fail(const struct cli *cli, int code, const char *fmt, ...) {
    va_list args;
    name_print(cli);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    if (code != EXIT_USAGE)
        return code;
    if (cli && cli->command) {
        const char *line = cli->command->synopsis;
        for (const char *word = "usage:"; *line != '\0'; word = "      ") {
            size_t len = strcspn(line, "\n");
            fprintf(stderr, "%s penstock %.*s\n", word, (int)len, line);
            line += len + (line[len] == '\n');
        }
        fprintf(stderr, "`penstock %s --help` tells more.\n", cli->command->name);
    } else {
        fputs("`penstock --help` lists the commands.\n", stderr);
    }
    return code;
}

/* fault_add puts the first item into a detail that nobody has set: then it would be told twice. */
static bool detail_is_first_item(const struct fault *fault) {
    struct str detail = str_c(fault->detail), item = fault->first->detail;
    if (item.len > 60)
        item.len = 60; /* the detail may be cut off */
    return item.len > 0 && memmem(detail.ptr, detail.len, item.ptr, item.len) != NULL;
}

int cli_fault(const struct cli *cli, const struct fault *fault) {
    name_print(cli);
    if (fault->first && detail_is_first_item(fault))
        fprintf(stderr, "%u fault%s\n", (unsigned)fault->count, fault->count == 1 ? "" : "s");
    else
        fprintf(stderr, "%s\n", fault->detail[0] ? fault->detail : err_info(fault->err)->title);
    uint32_t listed = 0;
    for (const struct fault_item *i = fault->first; i; i = i->next, listed++)
        fprintf(stderr, "  %.*s%s%.*s\n", STR_FMT(i->pointer), i->pointer.len ? ": " : "",
                STR_FMT(i->detail));
    if (fault->count > listed && listed > 0)
        fprintf(stderr, "  … and %u more\n", (unsigned)(fault->count - listed));
    return EXIT_FAILED;
}

bool cli_file_take(struct cli *cli, const char *path, size_t bytes_max, struct str *out) {
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    struct buf text;
    char part[65536];
    buf_init(&text, bytes_max);
    for (size_t n = 1; file && n > 0;) {
        n = fread(part, 1, sizeof part, file);
        buf_add(&text, part, n);
    }
    bool read = file && !ferror(file) && buf_ok(&text);
    if (file && file != stdin)
        fclose(file);
    *out = read ? arena_str(&cli->arena, buf_str(&text)) : STR_NONE;
    buf_free(&text);
    if (!out->ptr)
        (void)cli_fail(cli, EXIT_FAILED, "%s can not be read", path);
    return out->ptr != NULL;
}

int cli_print(const struct cli *cli, struct str text) {
    bool written = text.len == 0 || fwrite(text.ptr, 1, text.len, stdout) == text.len;
    if (written && fflush(stdout) == 0)
        return EXIT_DONE;
    return cli_fail(cli, EXIT_FAILED, "stdout can not be written");
}

/* --- reading ---------------------------------------------------------------------------- */

static const struct cli_option json_option = {"json", 0, NULL, false, ""};
static const struct cli_option help_option = {"help", 'h', NULL, false, ""};

static const struct cli_option *option_named(const struct cli_command *command, const char *name,
                                             size_t len) {
    for (const struct cli_option *o = command->options; o && o->name; o++)
        if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
            return o;
    if (len == 4 && memcmp(name, "json", 4) == 0)
        return &json_option;
    if (len == 4 && memcmp(name, "help", 4) == 0)
        return &help_option;
    return NULL;
}

static const struct cli_option *option_lettered(const struct cli_command *command, char letter) {
    for (const struct cli_option *o = command->options; o && o->name; o++)
        if (o->letter == letter)
            return o;
    return letter == 'h' ? &help_option : NULL;
}

/* Keeps one option; false (and told) where it is given twice and may not be. */
static bool option_keep(struct cli *cli, const struct cli_option *option, const char *value) {
    if (option == &json_option) {
        cli->json = true;
        return true;
    }
    if (option->value && !option->repeated && cli_value(cli, option->name)) {
        cli_fail(cli, EXIT_USAGE, "--%s is given twice", option->name);
        return false;
    }
    cli->given[cli->given_count++] = (struct cli_given){option, value};
    return true;
}

/* Reads the option at argv[*i], moves *i past its value. */
static bool option_read(struct cli *cli, int argc, char **argv, int *i) {
    const char *word = argv[*i], *value = NULL;
    const struct cli_option *option;
    if (word[1] == '-') {
        size_t len = strcspn(word + 2, "=");
        option = option_named(cli->command, word + 2, len);
        if (!option) {
            const char *near = nearest_option(cli->command, word + 2);
            cli_fail(cli, EXIT_USAGE, "there is no option '%s'%s%s%s", word,
                     near ? "; did you mean '--" : "", near ? near : "", near ? "'?" : "");
            return false;
        }
        if (word[2 + len] == '=')
            value = word + 3 + len;
    } else {
        option = option_lettered(cli->command, word[1]);
        if (!option) {
            cli_fail(cli, EXIT_USAGE, "there is no option '%s'", word);
            return false;
        }
        if (word[2] != '\0')
            value = word + 2;
    }
    if (value && !option->value) {
        cli_fail(cli, EXIT_USAGE, "--%s takes no value", option->name);
        return false;
    }
    if (option->value && !value) {
        if (*i + 1 >= argc) {
            cli_fail(cli, EXIT_USAGE, "--%s needs a value: %s", option->name, option->value);
            return false;
        }
        value = argv[++*i];
    }
    return option_keep(cli, option, value);
}

static bool words_read(struct cli *cli, int argc, char **argv) {
    bool options_over = false;
    for (int i = 2; i < argc; i++) {
        const char *word = argv[i];
        if (!options_over && strcmp(word, "--") == 0)
            options_over = true;
        else if (!options_over && word[0] == '-' && word[1] != '\0') {
            if (!option_read(cli, argc, argv, &i))
                return false;
            if (cli_flag(cli, "help"))
                return true;
        } else {
            cli->args[cli->arg_count++] = word;
        }
    }
    return true;
}

static int command_unknown(const char *word) {
    const char *near = cli_nearest_command(word);
    return cli_fail(NULL, EXIT_USAGE, "there is no command '%s'%s%s%s", word,
                    near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static int command_run(int argc, char **argv) {
    struct cli cli = {.command = cli_command_find(argv[1])};
    if (!cli.command)
        return command_unknown(argv[1]);
    int code = EXIT_USAGE;
    arena_init(&cli.arena, 0);
    cli.given = arena_array(&cli.arena, (size_t)argc, sizeof *cli.given);
    cli.args = arena_array(&cli.arena, (size_t)argc, sizeof *cli.args);
    if (!cli.given || !cli.args)
        code = cli_fail(&cli, EXIT_FAILED, "out of memory");
    else if (words_read(&cli, argc, argv)) {
        if (cli_flag(&cli, "help")) {
            cli_help_command(stdout, cli.command);
            code = EXIT_DONE;
        } else {
            code = cli.command->run(&cli);
        }
    }
    arena_free(&cli.arena);
    return code;
}

int cli_main(int argc, char **argv) {
    int code = EXIT_DONE;
    signal(SIGPIPE, SIG_IGN); /* a peer that went away is an error of that call, not of us */
    if (argc < 2) {
        cli_help_overview(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        cli_help_overview(stdout);
    else if (strcmp(argv[1], "--version") == 0)
        puts("penstock " PENSTOCK_VERSION);
    else if (argv[1][0] == '-')
        return cli_fail(NULL, EXIT_USAGE, "there is no option '%s' before a command", argv[1]);
    else
        code = command_run(argc, argv);
    if (fflush(stdout) != 0 && code == EXIT_DONE)
        code = cli_fail(NULL, EXIT_FAILED, "stdout can not be written");
    return code;
}
