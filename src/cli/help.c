/* help: manual pages on the terminal, printed from the tables of commands and options. */
#include "cli/commands.h"

#define COLUMN 26 /* where the second column of a list begins */
#define WIDTH 88  /* where lines of option help are broken */

static void line_indent(FILE *out, unsigned columns) { fprintf(out, "%*s", (int)columns, ""); }

/* Prints text broken at spaces; the first line begins where the caller left the cursor, at
 * column `at`, the others at column `at` too. */
static void text_wrap(FILE *out, const char *text, unsigned at) {
    unsigned column = at;
    while (*text != '\0') {
        size_t word = strcspn(text, " ");
        if (column > at && column + 1 + word > WIDTH) {
            fputc('\n', out);
            line_indent(out, at);
            column = at;
        } else if (column > at) {
            fputc(' ', out);
            column++;
        }
        fwrite(text, 1, word, out);
        column += (unsigned)word;
        text += word;
        while (*text == ' ')
            text++;
    }
    fputc('\n', out);
}

/* Every line of text, indented by four. */
static void text_block(FILE *out, const char *prefix, const char *text) {
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        if (len > 0)
            fprintf(out, "    %s%.*s\n", prefix, (int)len, text);
        else
            fputc('\n', out);
        text += len;
        if (*text == '\n')
            text++;
    }
}

static void option_print(FILE *out, const struct cli_option *option) {
    char left[96];
    int len = snprintf(left, sizeof left, "%c%c%s--%s%s%s", option->letter ? '-' : ' ',
                       option->letter ? option->letter : ' ', option->letter ? ", " : "  ",
                       option->name, option->value ? " " : "", option->value ? option->value : "");
    fprintf(out, "    %s", left);
    if (len + 4 >= COLUMN - 1) {
        fputc('\n', out);
        line_indent(out, COLUMN);
    } else {
        line_indent(out, COLUMN - 4 - (unsigned)len);
    }
    text_wrap(out, option->help, COLUMN);
}

void cli_help_command(FILE *out, const struct cli_command *command) {
    static const struct cli_option always[] = {
        {"json", 0, NULL, false, "Answer JSON where there is something to list"},
        {"help", 'h', NULL, false, "Print this page"},
    };
    fprintf(out, "NAME\n    penstock %s - %s\n\nSYNOPSIS\n", command->name, command->summary);
    text_block(out, "penstock ", command->synopsis);
    fputs("\nDESCRIPTION\n", out);
    text_block(out, "", command->help);
    fputs("\nOPTIONS\n", out);
    for (const struct cli_option *o = command->options; o && o->name; o++)
        option_print(out, o);
    for (size_t i = 0; i < sizeof always / sizeof always[0]; i++)
        option_print(out, &always[i]);
    if (!strstr(command->help, "EXIT CODES"))
        fputs("\nEXIT CODES\n"
              "    0  done\n"
              "    1  refused or failed; the reason is on stderr\n"
              "    2  the command line is wrong\n",
              out);
}

void cli_help_overview(FILE *out) {
    fputs("penstock - a retail integration hub: between those who sell and those who keep the books\n"
          "\nSYNOPSIS\n"
          "    penstock COMMAND [ARGUMENT…] [--OPTION…]\n"
          "    penstock help COMMAND\n"
          "    penstock --version\n"
          "\nCOMMANDS\n",
          out);
    for (const struct cli_command *const *c = cli_commands; *c; c++) {
        fprintf(out, "    %-12s ", (*c)->name);
        text_wrap(out, (*c)->summary, 17);
    }
    fputs("\nBEGINNING\n"
          "    penstock demo                      watch a whole retailer at work on this machine\n"
          "    penstock init shop                 write a configuration that works as it is\n"
          "    penstock key create -C shop --name till --scope '*'\n"
          "    penstock serve -C shop\n"
          "\nENVIRONMENT\n"
          "    PENSTOCK_HUB, PENSTOCK_KEY   the running hub and its key, for commands that talk to one\n"
          "    PENSTOCK_<SETTING>           overrides a setting; `penstock settings` lists them\n"
          "    NO_COLOR                     plain text on terminals too\n"
          "\nEXIT CODES\n"
          "    0 done, 1 refused or failed, 2 the command line is wrong\n",
          out);
}

static int help_run(struct cli *cli) {
    if (!cli_args_max(cli, 1))
        return EXIT_USAGE;
    const char *name = cli_arg(cli, 0);
    if (!name) {
        cli_help_overview(stdout);
        return EXIT_DONE;
    }
    const struct cli_command *command = cli_command_find(name);
    if (!command) {
        const char *near = cli_nearest_command(name);
        return cli_fail(cli, EXIT_USAGE, "there is no command '%s'%s%s%s", name,
                        near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    cli_help_command(stdout, command);
    return EXIT_DONE;
}

const struct cli_command help_command = {
    .name = "help",
    .synopsis = "help [COMMAND]",
    .summary = "print the manual of a command, or the list of all",
    .help = "Prints what the command does, its options, examples and exit codes.\n"
            "`penstock COMMAND --help` prints the same.\n"
            "\n"
            "    penstock help serve\n",
    .run = help_run,
};
