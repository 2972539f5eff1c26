/* sandbox: stand-in systems to try connectors and the hub against. */
#include "cli/commands.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/hub.h"
#include "ops/sandbox_erp.h"

/* "N" or "N-M" milliseconds. */
static bool latency_parse(const char *text, struct sandbox_erp_control *control) {
    struct str high = str_c(text), low = str_cut(&high, '-');
    if (!str_i64(low, &control->latency_min_ms))
        return false;
    control->latency_max_ms = control->latency_min_ms;
    if (high.ptr != NULL && !str_i64(high, &control->latency_max_ms))
        return false;
    return control->latency_min_ms >= 0 && control->latency_max_ms >= control->latency_min_ms &&
           control->latency_max_ms <= 600000;
}

/* "START,SECONDS" */
static bool outage_parse(const char *text, struct sandbox_erp_outage *outage) {
    struct str seconds = str_c(text), start = str_cut(&seconds, ',');
    return str_i64(start, &outage->start_s) && str_i64(seconds, &outage->seconds) &&
           outage->start_s >= 0 && outage->seconds > 0;
}

static bool options_read(struct cli *cli, struct sandbox_erp_options *options) {
    struct sandbox_erp_control *control = &options->control;
    const char *latency = cli_value(cli, "latency-ms"), *fail = cli_value(cli, "fail-rate");
    const char *ambiguous = cli_value(cli, "ambiguous-rate");
    int64_t idempotent, seed;
    if (!cli_integer(cli, "rate-limit", 0, 0, 1000000, &control->rate_limit) ||
        !cli_integer(cli, "idempotent", 0, 0, 1, &idempotent) ||
        !cli_integer(cli, "seed", 1, 0, INT64_MAX, &seed))
        return false;
    control->idempotent = idempotent == 1;
    options->seed = (uint64_t)seed;
    options->books = cli_value(cli, "books");
    const char *wrong = NULL;
    if (latency != NULL && !latency_parse(latency, control))
        wrong = "--latency-ms takes N or N-M milliseconds";
    if (fail != NULL && !sandbox_rate_parse(str_c(fail), &control->fail_rate))
        wrong = "--fail-rate takes a share: 0.05 or 5%";
    if (ambiguous != NULL && !sandbox_rate_parse(str_c(ambiguous), &control->ambiguous_rate))
        wrong = "--ambiguous-rate takes a share: 0.05 or 5%";
    const char *outage;
    for (uint32_t i = 0; (outage = cli_nth(cli, "outage", i)) != NULL && wrong == NULL; i++) {
        if (i == SANDBOX_OUTAGES_MAX || !outage_parse(outage, &options->outages[i]))
            wrong = "--outage takes START,SECONDS, at most 16 times";
        options->outage_count = i + 1;
    }
    if (wrong != NULL)
        cli_fail(cli, EXIT_USAGE, "%s", wrong);
    return wrong == NULL;
}

static int erp_run(struct cli *cli) {
    struct sandbox_erp_options options = {0};
    struct sandbox_erp *erp;
    struct fault fault;
    char host[128] = "127.0.0.1";
    const char *listen = cli_value(cli, "listen");
    sigset_t set;
    int number;
    fault_init(&fault, &cli->arena);
    if (listen != NULL &&
        hub_listen_parse(listen, host, sizeof host, &options.port, &fault) != OK)
        return cli_fail(cli, EXIT_USAGE, "--listen: %s", fault.detail);
    options.host = host;
    if (!options_read(cli, &options))
        return EXIT_USAGE;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* in every thread made from here on */
    if (sandbox_erp_start(&options, &erp, &fault) != OK)
        return cli_fault(cli, &fault);
    bool six = strchr(host, ':') != NULL;
    printf("listening on http://%s%s%s:%u\n", six ? "[" : "", host, six ? "]" : "",
           (unsigned)sandbox_erp_port(erp));
    fflush(stdout);
    sigwait(&set, &number);
    sandbox_erp_stop(erp);
    return EXIT_DONE;
}

static int sandbox_run(struct cli *cli) {
    const char *what = cli_arg(cli, 0);
    if (what == NULL)
        return cli_fail(cli, EXIT_USAGE, "which system? erp");
    if (strcmp(what, "erp") != 0)
        return cli_fail(cli, EXIT_USAGE, "there is no sandbox '%s': erp", what);
    if (!cli_args_max(cli, 1))
        return EXIT_USAGE;
    return erp_run(cli);
}

const struct cli_command sandbox_command = {
    .name = "sandbox",
    .synopsis = "sandbox erp [--listen HOST:PORT] [--books FILE] [--latency-ms N[-M]] "
                "[--fail-rate P]\n            [--ambiguous-rate P] [--rate-limit N] "
                "[--outage START,SECONDS] [--idempotent 0|1] [--seed N]",
    .summary = "a stand-in system with speed, limits and faults to set",
    .help =
        "Runs a stand-in ERP in the foreground. It books the orders that the connector generic-erp\n"
        "posts, keeps books of its own, and can be asked for totals. When it is ready it prints\n"
        "one line on stdout:\n"
        "\n"
        "    listening on http://127.0.0.1:9480\n"
        "\n"
        "It has no idempotency unless told so: the same order posted twice is booked twice, and\n"
        "/totals then tells of a duplicate. What it acknowledged is in its books, also when it is\n"
        "killed.\n"
        "\n"
        "    POST /orders                 book; 422 with the reason where sums do not balance\n"
        "    GET  /orders?external_id=X   what was booked under X\n"
        "    GET  /orders?after=N         all orders, in the order of booking\n"
        "    GET  /orders/SO-000042       one\n"
        "    GET  /totals                 counts, sums by currency and channel, duplicates\n"
        "    GET  /control                speed, faults and counts\n"
        "    POST /control                sets what it is given, from now on:\n"
        "         {\"latency_ms\":[20,80],\"fail_rate\":\"0.05\",\"ambiguous_rate\":\"0.1\",\n"
        "          \"rate_limit\":100,\"outage_s\":30,\"idempotent\":false}\n"
        "\n"
        "During an outage every connection is closed without a word, /totals and /control excepted.\n"
        "\n"
        "    penstock sandbox erp --books /tmp/erp.books --latency-ms 20-80\n"
        "    penstock sandbox erp --ambiguous-rate 10% --outage 30,60\n"
        "\n"
        "EXIT CODES\n"
        "    0  stopped as asked\n"
        "    1  could not start\n"
        "    2  the command line is wrong\n",
    .options = (const struct cli_option[]){
        {"listen", 0, "HOST:PORT", false,
         "Where to listen (default 127.0.0.1:0: any free port)"},
        {"books", 0, "FILE", false, "Keep the books in this file (default: in memory)"},
        {"latency-ms", 0, "N[-M]", false, "Time an order or a look-up takes"},
        {"fail-rate", 0, "P", false, "Share of orders answered 500, nothing done: 0.05 or 5%"},
        {"ambiguous-rate", 0, "P", false,
         "Share of orders that are booked, and then the connection closes without an answer"},
        {"rate-limit", 0, "N", false, "Orders per second; above that 429 with Retry-After"},
        {"outage", 0, "START,SECONDS", true, "Go away START seconds after the start"},
        {"idempotent", 0, "0|1", false,
         "1: an external_id that was booked answers its first number (default 0)"},
        {"seed", 0, "N", false, "Of the faults (default 1)"},
        {0},
    },
    .run = sandbox_run,
};
