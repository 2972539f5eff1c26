/* demo: a whole retailer on one machine, in a few minutes: two web shops and three tills sell while
 * the ERP is slow, down and back, and the hub itself is killed once; then the books are compared. */
#include "cli/commands.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/demo_priv.h"
#include "base/files.h"

#define START_MS 20000
#define WATCH_MS 250

static volatile sig_atomic_t interrupted;
static void interrupt(int number) {
    (void)number;
    interrupted = 1;
}

int64_t demo_elapsed_ms(const struct demo *demo) {
    return (clock_tick_us(&clock_system) - demo->began_us) / 1000;
}

/* --- making the retailer ---------------------------------------------------------------- */

static enum err folder_make(struct demo *demo, struct fault *fault) {
    const char *given = cli_value(demo->cli, "dir"), *temporary = getenv("TMPDIR");
    demo->keep = given != NULL;
    if (given) {
        bool empty = false;
        enum err err = files_folder_empty(given, &empty, fault);
        if (err == OK && !empty)
            return fault_set(fault, ERR_CONFLICT, "%s is not empty", given);
        if (err == OK)
            err = files_folder(given, fault);
        if (err != OK)
            return err;
        if (!realpath(given, demo->dir))
            return fault_set(fault, ERR_IO, "%s can not be used", given);
    } else {
        snprintf(demo->dir, sizeof demo->dir, "%s/penstock-demo-XXXXXX",
                 temporary && temporary[0] ? temporary : "/tmp");
        if (!mkdtemp(demo->dir))
            return fault_set(fault, ERR_IO, "can not make the folder %s", demo->dir);
    }
    if ((size_t)snprintf(demo->config, sizeof demo->config, "%s/shop", demo->dir) >=
            sizeof demo->config ||
        (size_t)snprintf(demo->hub.log, sizeof demo->hub.log, "%s/hub.log", demo->dir) >=
            sizeof demo->hub.log ||
        (size_t)snprintf(demo->erp.log, sizeof demo->erp.log, "%s/erp.log", demo->dir) >=
            sizeof demo->erp.log)
        return fault_set(fault, ERR_IO, "the path is too long");
    return OK;
}

static enum err command_run(struct demo *demo, const char *const *arguments, struct buf *out,
                            struct fault *fault) {
    int code = demo_child_run(NULL, arguments, NULL, demo->hub.log, out);
    return code == EXIT_DONE ? OK : fault_set(fault, ERR_INTERNAL, "penstock %s failed (%d), see %s",
                                              arguments[0], code, demo->hub.log);
}

/* The stores sell as well: a channel for each, which takes its goods from its own shelves. What left
 * a till is sold: it is never refused for want of stock. */
static enum err stores_open(struct demo *demo, struct fault *fault) {
    static const char stores[] =
        "channels:\n"
        "  - {channel: store-S01, name: Store S01, time_zone: Europe/Berlin, currency: EUR,\n"
        "     sourcing: [S01], on_shortage: back-order}\n"
        "  - {channel: store-S02, name: Store S02, time_zone: Europe/Berlin, currency: EUR,\n"
        "     sourcing: [S02], on_shortage: back-order}\n"
        "  - {channel: store-S03, name: Store S03, time_zone: Europe/Berlin, currency: EUR,\n"
        "     sourcing: [S03], on_shortage: back-order}\n";
    char path[PATH_MAX];
    struct buf text, out;
    if ((size_t)snprintf(path, sizeof path, "%s/penstock.yaml", demo->config) >= sizeof path)
        return fault_set(fault, ERR_IO, "the path is too long");
    buf_init(&text, 1 << 20);
    buf_init(&out, 1 << 20);
    enum err err = files_read(path, &text, fault);
    const char *at = err == OK ? strstr(buf_cstr(&text), "channels:\n") : NULL;
    if (err == OK && !at)
        err = fault_set(fault, ERR_INTERNAL, "%s has no channels", path);
    if (err == OK) {
        buf_add(&out, text.data, (size_t)(at - buf_cstr(&text)));
        buf_str_add(&out, str_c(stores));
        buf_str_add(&out, str_c(at + strlen("channels:\n")));
        err = files_write(path, buf_str(&out), 0644, fault);
    }
    buf_free(&text);
    buf_free(&out);
    return err;
}

/* A retailer's folder, a key, and a secret that the shops and the hub share. */
static enum err retailer_make(struct demo *demo, struct fault *fault) {
    const char *const init[] = {"init", demo->config, NULL};
    const char *const key[] = {"key", "create", "-C", demo->config, "--name", "demo", "--scope", "*",
                               NULL};
    struct buf out;
    unsigned char secret[32];
    buf_init(&out, 1 << 16);
    enum err err = command_run(demo, init, &out, fault);
    buf_clear(&out);
    if (err == OK)
        err = stores_open(demo, fault);
    if (err == OK)
        err = command_run(demo, key, &out, fault);
    struct str text = str_trim(buf_str(&out));
    while (text.len > 0 && (text.ptr[text.len - 1] == '\n' || text.ptr[text.len - 1] == ' '))
        text.len--;
    if (err == OK && (text.len == 0 || text.len >= sizeof demo->key))
        err = fault_set(fault, ERR_INTERNAL, "`penstock key create` printed no key");
    if (err == OK)
        memcpy(demo->key, text.ptr, text.len);
    rng_fill(&rng_system, secret, sizeof secret);
    for (size_t i = 0; i < sizeof secret; i++)
        snprintf(demo->secret + 2 * i, 3, "%02x", secret[i]);
    buf_free(&out);
    return err;
}

/* --- starting the systems --------------------------------------------------------------- */

/* `listen` NULL: where it listened before. */
static enum err hub_start_child(struct demo *demo, const char *listen, struct fault *fault) {
    char shopify[128], woocommerce[128], address[256];
    snprintf(shopify, sizeof shopify, "SHOPIFY_WEBHOOK_SECRET=%s", demo->secret);
    snprintf(woocommerce, sizeof woocommerce, "WOOCOMMERCE_WEBHOOK_SECRET=%s", demo->secret);
    snprintf(address, sizeof address, "%s", listen ? listen : demo->hub.url + strlen("http://"));
    const char *environment[5] = {shopify, woocommerce};
    for (uint32_t i = 0; i < 2 && demo->erp_environment[i][0]; i++)
        environment[2 + i] = demo->erp_environment[i];
    const char *const arguments[] = {"serve", "-C", demo->config, "--listen", address, NULL};
    demo->hub.name = "hub";
    enum err err = demo_child_start(&demo->hub, arguments, environment, fault);
    return err == OK ? demo_child_ready(&demo->hub, START_MS, fault) : err;
}

static enum err systems_start(struct demo *demo, struct fault *fault) {
    enum err err = demo->erp_kind->start(demo, fault);
    if (err == OK)
        err = hub_start_child(demo, "127.0.0.1:0", fault);
    if (err != OK)
        return err;
    demo->client = client_create(demo->hub.url, demo->key);
    if (!demo->client)
        return fault_set(fault, ERR_NOMEM, "out of memory");
    return demo_stock_put(demo, fault);
}

/* --- the course of events --------------------------------------------------------------- */

void demo_event_add(struct demo *demo, int64_t at_ms,
                    enum err (*happen)(struct demo *, struct fault *)) {
    must(demo->event_count < DEMO_EVENTS_MAX);
    demo->events[demo->event_count++] = (struct demo_event){at_ms, happen};
}

enum err demo_hub_kill(struct demo *demo, struct fault *fault) {
    uint32_t before = demo_sum(demo, done);
    demo_child_stop(&demo->hub, SIGKILL, 5000);
    demo_say(demo, "The hub is killed in the middle of it (kill -9), after %u acknowledged orders.",
             before);
    demo_sleep_ms(demo->fast ? 300 : 1500);
    int64_t from_us = clock_tick_us(&clock_system);
    enum err err = hub_start_child(demo, NULL, fault);
    if (err == OK)
        demo_say(demo, "The hub is back %" PRId64 " ms after it was started; shops and tills send "
                       "again what was not answered.",
                 (clock_tick_us(&clock_system) - from_us) / 1000);
    return err;
}

static bool selling_over(struct demo *demo) {
    for (uint32_t i = 0; i < DEMO_SHOPS; i++)
        if (atomic_load(&demo->shops[i].next) < demo->shops[i].count)
            return false;
    return true;
}

/* Until every shop has sold, with the accidents in between. */
static enum err day_run(struct demo *demo, struct fault *fault) {
    uint32_t next = 0;
    demo->began_us = clock_tick_us(&clock_system);
    demo_say(demo, "Shops and stores open: %" PRId64 " orders will come in over %" PRId64
                   " seconds.",
             demo->orders, demo->feed_ms / 1000);
    enum err err = demo_shops_open(demo, fault);
    while (err == OK && !interrupted && (next < demo->event_count || !selling_over(demo))) {
        int64_t now_ms = demo_elapsed_ms(demo);
        if (next < demo->event_count && now_ms >= demo->events[next].at_ms)
            err = demo->events[next++].happen(demo, fault);
        else if (now_ms > demo->feed_ms + demo->drain_ms)
            err = fault_set(fault, ERR_TIMEOUT, "the shops could not send all their orders");
        demo_watch(demo);
        demo_sleep_ms(WATCH_MS);
    }
    return err;
}

/* Until everything is posted, or held for a person, or nothing has been for drain_ms. */
static void drain(struct demo *demo) {
    int64_t until_us = clock_tick_us(&clock_system) + demo->drain_ms * 1000;
    uint64_t so_far = 0;
    uint32_t sold = demo_sum(demo, done);
    demo_say(demo, "Shops and stores close. %u orders were acknowledged; waiting until the ERP has them all.",
             sold);
    while (!interrupted && clock_tick_us(&clock_system) < until_us) {
        demo_watch(demo);
        uint64_t settled = demo->status.posted + demo->status.held;
        if (demo->status.known && settled >= sold)
            break;
        if (settled > so_far) {
            so_far = settled;
            until_us = clock_tick_us(&clock_system) + demo->drain_ms * 1000;
        }
        demo_sleep_ms(WATCH_MS);
    }
    demo_watch_end(demo);
}

/* The story of one order that was sold while the ERP was down. */
static void story_tell(struct demo *demo) {
    const struct demo_sale *chosen = NULL;
    struct buf out;
    int64_t from_us = demo->shops[1].sales[0].sent_us + (demo->outage_at_ms + 1000) * 1000;
    for (uint32_t i = 0; i < demo->shops[1].count && !chosen; i++)
        if (demo->shops[1].sales[i].done && demo->shops[1].sales[i].sent_us > from_us)
            chosen = &demo->shops[1].sales[i];
    if (!chosen)
        return;
    const char *const arguments[] = {"trace", chosen->number, "--hub", demo->hub.url, "--key",
                                     demo->key, NULL};
    buf_init(&out, 1 << 20);
    if (demo_child_run(NULL, arguments, NULL, demo->hub.log, &out) == EXIT_DONE)
        fprintf(demo->tell, "\nThe story of one order that was sold while the ERP was down "
                            "(penstock trace %s):\n\n%s", chosen->number, buf_cstr(&out));
    buf_free(&out);
}

static void shops_tell(struct demo *demo) {
    fprintf(demo->tell, "\n%u orders were sent twice on purpose; %u of them got the first answer "
                        "again. %u times a shop got\nno answer and sent once more.\n",
            demo_sum(demo, resent), demo_sum(demo, resent_same), demo_sum(demo, tries_failed));
    for (uint32_t i = 0; i < DEMO_SHOPS; i++)
        if (atomic_load(&demo->shops[i].refused) > 0)
            fprintf(demo->tell, "%s: %u orders were refused, the first: %s\n",
                    demo->shops[i].name, (unsigned)atomic_load(&demo->shops[i].refused),
                    demo->shops[i].trouble);
}

static enum err verdict(struct demo *demo, int *code, struct fault *fault) {
    struct buf json;
    bool agree = false;
    story_tell(demo);
    shops_tell(demo);
    demo->erp_kind->tell(demo);
    buf_init(&json, 0);
    enum err err = demo_books_compare(demo, &json, &agree, fault);
    if (err == OK) {
        bool good = agree && demo_sum(demo, resent_same) == demo_sum(demo, resent) &&
                    demo_sum(demo, refused) == 0;
        fputs(good ? "The books agree: everything that was sold is in the ERP, once, to the cent.\n"
                   : agree ? "The books agree, but not every shop was answered as it should be.\n"
                           : "The books do not agree.\n",
              demo->tell);
        *code = good ? EXIT_DONE : EXIT_FAILED;
        if (demo->cli->json)
            printf("%s\n", buf_cstr(&json));
    }
    buf_free(&json);
    return err;
}

/* --- the command ------------------------------------------------------------------------ */

static enum err demo_play(struct demo *demo, int *code, struct fault *fault) {
    enum err err = folder_make(demo, fault);
    if (err == OK) {
        demo_say(demo, "A retailer is made in %s: two web shops, three stores with a till "
                       "each, a warehouse.",
                 demo->dir);
        err = retailer_make(demo, fault);
    }
    if (err == OK)
        err = systems_start(demo, fault);
    if (err == OK) {
        demo_say(demo, "The hub listens on %s, %s on %s.", demo->hub.url, demo->erp.name, demo->erp.url);
        err = day_run(demo, fault);
    }
    if (err == OK && !interrupted)
        drain(demo);
    if (err == OK && interrupted)
        err = fault_set(fault, ERR_CONFLICT, "interrupted");
    return err == OK ? verdict(demo, code, fault) : err;
}

static void demo_close(struct demo *demo, bool failed) {
    struct fault fault = {0};
    demo_watch_end(demo);
    demo_shops_free(demo);
    demo_child_stop(&demo->hub, SIGTERM, 15000);
    if (demo->dir[0])
        demo->erp_kind->stop(demo);
    client_destroy(demo->client);
    client_destroy(demo->erp_client);
    if (demo->dir[0] == '\0')
        return;
    if (demo->keep || failed)
        fprintf(stderr, "All files of the demo are in %s\n", demo->dir);
    else if (files_remove(demo->dir, &fault) != OK)
        fprintf(stderr, "%s\n", fault.detail);
}

static bool erp_choose(struct demo *demo) {
    static const struct demo_erp *const kinds[] = {&demo_erp_sandbox, &demo_erp_tryton};
    const char *name = cli_value(demo->cli, "erp");
    demo->erp_kind = name ? NULL : kinds[0];
    for (size_t i = 0; name && i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i]->name, name) == 0)
            demo->erp_kind = kinds[i];
    if (!demo->erp_kind)
        cli_fail(demo->cli, EXIT_USAGE, "--erp takes sandbox or tryton");
    return demo->erp_kind != NULL;
}

static bool demo_plan(struct demo *demo) {
    struct cli *cli = demo->cli;
    demo->fast = cli_flag(cli, "fast");
    if (!erp_choose(demo))
        return false;
    const struct demo_erp *erp = demo->erp_kind;
    if (!cli_integer(cli, "orders", demo->fast ? erp->orders_fast : erp->orders, DEMO_SHOPS,
                     DEMO_ORDERS_MAX, &demo->orders) ||
        !cli_integer(cli, "seed", 1, 0, INT32_MAX, &demo->seed))
        return false;
    demo->feed_ms = demo->fast ? 10000 : 90000;
    demo->outage_at_ms = demo->fast ? 2000 : 15000;
    demo->outage_ms = demo->fast ? 6000 : 60000;
    demo->kill_at_ms = demo->fast ? 5000 : 45000;
    demo->drain_ms = demo->fast ? erp->drain_fast_ms : erp->drain_ms;
    erp->course(demo);
    demo->tell = cli->json ? stderr : stdout;
    demo->tty = !cli->json && isatty(STDOUT_FILENO) != 0;
    const char *plain = getenv("NO_COLOR");
    demo->colour = demo->tty && !(plain && plain[0]);
    return true;
}

static int demo_run(struct cli *cli) {
    static struct demo demo; /* large */
    struct fault fault;
    int code = EXIT_FAILED;
    demo = (struct demo){.cli = cli};
    fault_init(&fault, &cli->arena);
    if (!cli_args_max(cli, 0) || !demo_plan(&demo))
        return EXIT_USAGE;
    signal(SIGINT, interrupt);
    signal(SIGTERM, interrupt);
    enum err err = demo_play(&demo, &code, &fault);
    demo_close(&demo, !interrupted && (err != OK || code != EXIT_DONE));
    return err == OK ? code : cli_fault(cli, &fault);
}

const struct cli_command demo_command = {
    .name = "demo",
    .synopsis = "demo [--erp NAME] [--fast] [--orders N] [--seed N] [--dir DIR]",
    .summary = "watch a whole retailer at work on this machine",
    .help =
        "Makes a retailer in a folder of its own and runs it: a hub, and a sandbox ERP that is\n"
        "slow, fails now and then, does the work and loses the answer now and then, goes down for\n"
        "a minute and comes back. A Shopify shop and a WooCommerce shop send signed webhooks, as\n"
        "those platforms write them; three tills call the API; some orders are sent twice on\n"
        "purpose. In the middle of the outage the hub is killed and started again.\n"
        "\n"
        "At the end it compares, order by order and to the cent, what shops and tills sold, what\n"
        "the hub has, and what the ERP has in its books, and tells the story of one order.\n"
        "\n"
        "It takes about two minutes; with --fast, the same in less than half a minute. It needs\n"
        "nothing but this program; ports are free ones on 127.0.0.1.\n"
        "\n"
        "With --erp tryton the ERP is a real one, Tryton 6 on PostgreSQL, brought up by the project's\n"
        "own peers/tryton/peer.sh (`make demo ERP=tryton` installs what it needs; making its database\n"
        "takes two minutes, once). It hangs for a while, is stopped and started again, and is killed\n"
        "(kill -9) in the middle of its work; what its books say is read over its own interface.\n"
        "\n"
        "ENVIRONMENT\n"
        "    PENSTOCK_PEERS  where the project's folder peers/ is, where it is neither in the working\n"
        "                    directory nor beside the program's\n"
        "\n"
        "EXIT CODES\n"
        "    0  the books agree: nothing lost, nothing doubled\n"
        "    1  they do not, or something failed; the files are kept and the folder named\n"
        "    2  the command line is wrong\n",
    .options = (const struct cli_option[]){
        {"erp", 0, "NAME", false, "sandbox (default) or tryton"},
        {"fast", 0, NULL, false, "A short day: an outage of some seconds, fewer orders"},
        {"orders", 0, "N", false, "How many orders are sold (default 900, with --fast 150; Tryton: 240, 60)"},
        {"seed", 0, "N", false, "Other baskets (default 1)"},
        {"dir", 0, "DIR", false, "Use this empty folder and keep it"},
        {0},
    },
    .run = demo_run,
};
