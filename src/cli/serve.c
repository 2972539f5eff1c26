/* serve: runs the hub in the foreground until it is told to stop. */
#include "cli/commands.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "cli/hub.h"

static void signals_of_stopping(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
}

/* While the hub drains: whoever asks again does not want to wait. Everything acknowledged is on
 * disk, so ending here loses nothing. */
static void *second_signal(void *arg) {
    sigset_t set;
    int number;
    (void)arg;
    signals_of_stopping(&set);
    do
        sigwait(&set, &number);
    while (number == SIGHUP);
    log_line(LOG_WARN, "cli", "stopped at once", "signal=%d", number);
    _exit(EXIT_FAILED);
}

/* The signal that ends it. SIGHUP from a program asks for certificates to be read anew; from the
 * kernel it says that the terminal is gone. */
static int signal_wait(struct hub *hub, const sigset_t *set) {
    for (;;) {
        siginfo_t info;
        int number = sigwaitinfo(set, &info);
        if (number < 0)
            continue; /* interrupted */
        if (number != SIGHUP || info.si_code == SI_KERNEL)
            return number;
        hub_reload(hub);
    }
}

/* As many open files as the system allows: a connection is one. */
static void files_raise(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        log_line(LOG_WARN, "cli", "the limit of open files can not be raised", "limit=%llu",
                 (unsigned long long)limit.rlim_cur);
}

static int hub_run(struct cli *cli, const struct hub_options *options, const sigset_t *set) {
    struct fault fault;
    struct hub *hub;
    pthread_t watcher;
    int number;
    int64_t began_us = clock_tick_us(&clock_system);
    fault_init(&fault, &cli->arena);
    if (hub_start(options, &hub, &fault) != OK)
        return cli_fault(cli, &fault);
    int64_t took_ms = (clock_tick_us(&clock_system) - began_us + 500) / 1000;
    printf("penstock ready on %s in %" PRId64 ".%02" PRId64 " s seq=%" PRIu64 "\n", hub_url(hub),
           took_ms / 1000, took_ms % 1000 / 10, hub_seq(hub));
    fflush(stdout);
    number = signal_wait(hub, set);
    log_line(LOG_INFO, "cli", "stopping", "signal=%d", number);
    if (pthread_create(&watcher, NULL, second_signal, NULL) == 0)
        pthread_detach(watcher);
    uint64_t seq = hub_seq(hub);
    bool ended = hub_stop(hub);
    log_line(LOG_INFO, "cli", "stopped", "seq=%" PRIu64 " requests_cut=%s", seq,
             ended ? "no" : "yes");
    return EXIT_DONE;
}

static int serve_run(struct cli *cli) {
    struct hub_options options = {
        .dir = cli_value(cli, "config"),
        .data = cli_value(cli, "data"),
        .listen = cli_value(cli, "listen"),
        .tls_listen = cli_value(cli, "tls-listen"),
        .tls_cert = cli_value(cli, "tls-cert"),
        .tls_key = cli_value(cli, "tls-key"),
    };
    sigset_t set;
    struct fault fault = {0};
    char host[128];
    uint16_t port;
    if (!options.dir)
        return cli_fail(cli, EXIT_USAGE, "which configuration? -C DIR");
    if (!cli_args_max(cli, 0))
        return EXIT_USAGE;
    if (options.listen && hub_listen_parse(options.listen, host, sizeof host, &port, &fault) != OK)
        return cli_fail(cli, EXIT_USAGE, "--listen: %s", fault.detail);
    if (options.tls_listen &&
        hub_listen_parse(options.tls_listen, host, sizeof host, &port, &fault) != OK)
        return cli_fail(cli, EXIT_USAGE, "--tls-listen: %s", fault.detail);
    if (!options.tls_cert != !options.tls_key)
        return cli_fail(cli, EXIT_USAGE, "--tls-cert and --tls-key go together");
    signals_of_stopping(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* in every thread made from here on */
    files_raise();
    return hub_run(cli, &options, &set);
}

const struct cli_command serve_command = {
    .name = "serve",
    .synopsis = "serve -C DIR [--data DIR] [--listen HOST:PORT] [--tls-listen HOST:PORT] "
                "[--tls-cert FILE --tls-key FILE]",
    .summary = "run the hub",
    .help =
        "Runs one hub in the foreground: opens the journal in the data folder, brings the state\n"
        "back from it, and answers HTTP. When it is ready it prints one line on stdout:\n"
        "\n"
        "    penstock ready on http://127.0.0.1:8480 in 0.12 s seq=4711\n"
        "\n"
        "Logs go to stderr, one line of logfmt each.\n"
        "\n"
        "SIGTERM (or Ctrl-C) stops it in order: no new requests, those under way get their answers,\n"
        "at most for the setting drain_timeout_ms. A second one stops it at once. Either way, and\n"
        "after a crash too, nothing that was acknowledged is lost.\n"
        "\n"
        "Certificates come from the section tls of penstock.yaml, or from --tls-cert and --tls-key.\n"
        "With --tls-listen (or the section's own listen) the hub speaks TLS there and plain HTTP\n"
        "beside it, else TLS alone. SIGHUP reads the certificates anew, and so does a change of\n"
        "their files, within seconds; connections go on.\n"
        "\n"
        "SIGHUP, a change of their files (setting connectors_watch_s) and POST\n"
        "/ops/connectors/reload take up what changed in the folders of connectors: new ones, new\n"
        "versions, removed ones. A version is taken when it loads and its fixtures pass; else the\n"
        "one before goes on, also after a restart, and an exception and the log say why.\n"
        "\n"
        "A data folder belongs to one hub: a second one is refused. Make a key before the first\n"
        "call: `penstock key create -C DIR --name first --scope '*'`.\n"
        "\n"
        "    penstock serve -C shop\n"
        "    penstock serve -C shop --data /var/lib/penstock --listen 0.0.0.0:8480\n"
        "    penstock serve -C shop --listen 127.0.0.1:0     any free port\n"
        "    penstock serve -C shop --tls-listen 0.0.0.0:8443 --tls-cert hub.pem --tls-key hub.key\n"
        "\n"
        "EXIT CODES\n"
        "    0  stopped as asked\n"
        "    1  could not start, or was stopped at once; the reason is on stderr\n"
        "    2  the command line is wrong\n",
    .options = (const struct cli_option[]){
        CLI_OPTION_CONFIG,
        CLI_OPTION_DATA,
        {"listen", 0, "HOST:PORT", false,
         "Where to listen (default: of the configuration, 127.0.0.1:8480); port 0 takes any free "
         "one"},
        {"tls-listen", 0, "HOST:PORT", false, "Where to speak TLS, beside --listen"},
        {"tls-cert", 0, "FILE", false, "Certificate in PEM, its issuers' behind it"},
        {"tls-key", 0, "FILE", false, "Its private key in PEM"},
        {0},
    },
    .run = serve_run,
};
