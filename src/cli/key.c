/* key: makes, lists and revokes API keys in the key file, whether or not the hub runs. */
#include "cli/commands.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

#include "cli/files.h"
#include "cli/tables.h"
#include "gateway/auth.h"
#include "gateway/keys.h"

#define SCOPES_MAX 256

/* Distinct scopes of all routes, in order of first use. */
static uint32_t scopes_add(const char **scopes, uint32_t count, const struct route *routes) {
    for (const struct route *r = routes; r && r->method; r++) {
        bool there = !r->scope;

        for (uint32_t i = 0; i < count && !there; i++)
            there = str_is(str_c(scopes[i]), r->scope);
        if (!there && count < SCOPES_MAX)
            scopes[count++] = r->scope;
    }
    return count;
}

static uint32_t scopes_all(const char **scopes) {
    const struct api_tables *tables = cli_tables();
    uint32_t count = 0;

    for (const struct capability *const *c = tables->capabilities; *c; c++)
        count = scopes_add(scopes, count, (*c)->routes);
    for (const struct api_extra *e = tables->extras; e && e->name; e++)
        count = scopes_add(scopes, count, e->routes);
    if (count < SCOPES_MAX)
        scopes[count++] = SCOPE_PERSONAL;
    return count;
}

static bool scope_known(struct str given) {
    const char *scopes[SCOPES_MAX];
    uint32_t count = scopes_all(scopes);

    for (uint32_t i = 0; i < count; i++)
        if (scope_covers(given, str_c(scopes[i])))
            return true;
    return str_is(given, "*");
}

/* "*" and "area:*" stand for what is there now and what will be. */
static int scopes_run(struct cli *cli) {
    const char *scopes[SCOPES_MAX];
    uint32_t count = scopes_all(scopes);
    struct buf out;

    buf_init(&out, 0);
    if (cli->json)
        buf_lit(&out, "{\"items\":[");
    for (uint32_t i = 0; i < count; i++) {
        if (cli->json && i > 0)
            buf_char(&out, ',');
        if (cli->json)
            buf_json_str(&out, str_c(scopes[i]));
        else
            buf_printf(&out, "%s\n", scopes[i]);
    }
    if (cli->json)
        buf_lit(&out, "]}\n");
    int code = cli_print(cli, buf_str(&out));
    buf_free(&out);
    return code;
}

/* Opens DIR/data/keys.db (or DATA/keys.db); the folder is made where it is missing. */
static int store_open(struct cli *cli, struct key_store **out) {
    const char *dir = cli_value(cli, "config"), *data = cli_value(cli, "data");
    char path[PATH_MAX], yaml[PATH_MAX];
    struct fault fault;
    int len;

    fault_init(&fault, &cli->arena);
    if (!dir)
        return cli_fail(cli, EXIT_USAGE, "-C DIR is needed");
    len = snprintf(yaml, sizeof yaml, "%s/penstock.yaml", dir);
    if (len < 0 || (size_t)len >= sizeof yaml || !files_exist(yaml))
        return cli_fail(cli, EXIT_FAILED, "%s holds no penstock.yaml: `penstock init %s` makes one",
                        dir, dir);
    len = data ? snprintf(path, sizeof path, "%s/keys.db", data)
               : snprintf(path, sizeof path, "%s/data/keys.db", dir);
    if (len < 0 || (size_t)len >= sizeof path)
        return cli_fail(cli, EXIT_FAILED, "the path of the data folder is too long");
    if (files_folder_above(path, &fault) != OK || key_store_open(path, out, &fault) != OK)
        return cli_fault(cli, &fault);
    return EXIT_DONE;
}

/* All --scope options, each one scope or several with commas or spaces, as one text. */
static int scopes_given(struct cli *cli, struct str *out) {
    struct str all = STR_NONE;
    const char *value;
    uint32_t count = 0;

    for (uint32_t i = 0; (value = cli_nth(cli, "scope", i)); i++) {
        char text[1024];
        struct str rest;
        int len = snprintf(text, sizeof text, "%s", value);

        if (len < 0 || (size_t)len >= sizeof text)
            return cli_fail(cli, EXIT_USAGE, "a --scope is too long");
        for (char *c = text; *c; c++)
            if (*c == ',')
                *c = ' ';
        rest = str_c(text);
        while (rest.ptr) {
            struct str scope = str_cut(&rest, ' ');

            if (scope.len == 0)
                continue;
            if (!scope_known(scope))
                return cli_fail(cli, EXIT_USAGE,
                                "there is no scope %.*s: `penstock key scopes` lists them",
                                STR_FMT(scope));
            if (++count > KEY_SCOPES_MAX)
                return cli_fail(cli, EXIT_USAGE, "a key has at most %d scopes", KEY_SCOPES_MAX);
            all = all.ptr ? arena_printf(&cli->arena, "%.*s %.*s", STR_FMT(all), STR_FMT(scope))
                          : arena_str(&cli->arena, scope);
        }
    }
    if (!all.ptr) {
        fprintf(stderr, "penstock key: no --scope given: this key may do everything\n");
        all = STR("*");
    }
    *out = all;
    return EXIT_DONE;
}

static void scopes_json(struct buf *out, struct str scopes) {
    struct str rest = scopes;
    bool more = false;

    buf_char(out, '[');
    while (rest.ptr && rest.len > 0) {
        if (more)
            buf_char(out, ',');
        buf_json_str(out, str_cut(&rest, ' '));
        more = true;
    }
    buf_char(out, ']');
}

static void record_json(struct buf *out, const struct key_record *record) {
    buf_printf(out, "\"id\":\"pk_%.*s\",\"name\":", STR_FMT(record->id));
    buf_json_str(out, record->name);
    buf_lit(out, ",\"scopes\":");
    scopes_json(out, record->scopes);
    buf_lit(out, ",\"created_at\":\"");
    instant_write(out, (struct instant){record->created_us, 0});
    buf_lit(out, "\",\"revoked_at\":");
    if (record->revoked_us) {
        buf_char(out, '"');
        instant_write(out, (struct instant){record->revoked_us, 0});
        buf_char(out, '"');
    } else {
        buf_lit(out, "null");
    }
}

static int create_run(struct cli *cli, struct key_store *store) {
    const char *name = cli_value(cli, "name");
    struct key_record record;
    struct str key, scopes;
    struct fault fault;
    struct buf out;
    int code = scopes_given(cli, &scopes);

    fault_init(&fault, &cli->arena);
    if (code != EXIT_DONE)
        return code;
    if (!name) /* one of its own, so that it can be told from others */
        name = arena_printf(&cli->arena, "key-%08x", (unsigned)rng_u64(&rng_system)).ptr;
    if (!name || key_create(store, str_c(name), scopes, &rng_system, &clock_system, &cli->arena,
                            &key, &record, &fault) != OK)
        return cli_fault(cli, &fault);
    buf_init(&out, 0);
    if (cli->json) {
        buf_printf(&out, "{\"key\":\"%.*s\",", STR_FMT(key));
        record_json(&out, &record);
        buf_lit(&out, "}\n");
    } else {
        buf_printf(&out, "%.*s\n", STR_FMT(key));
    }
    code = cli_print(cli, buf_str(&out));
    buf_free(&out);
    return code;
}

struct listing {
    struct cli *cli;
    struct buf out;
    uint32_t count;
};

static bool list_row(void *ctx, const struct key_record *record) {
    struct listing *listing = ctx;
    struct buf *out = &listing->out;

    if (listing->cli->json) {
        buf_str_add(out, listing->count ? STR(",{") : STR("{"));
        record_json(out, record);
        buf_char(out, '}');
    } else {
        if (listing->count == 0)
            buf_printf(out, "%-16s %-20s %-22s %-8s %s\n", "ID", "NAME", "CREATED", "STATE",
                       "SCOPES");
        buf_printf(out, "pk_%-13.*s %-20.*s ", STR_FMT(record->id), STR_FMT(record->name));
        instant_write(out, (struct instant){record->created_us / 1000000 * 1000000, 0});
        buf_printf(out, "   %-8s %.*s\n", record->revoked_us ? "revoked" : "valid",
                   STR_FMT(record->scopes));
    }
    listing->count++;
    return true;
}

static int list_run(struct cli *cli, struct key_store *store) {
    struct listing listing = {.cli = cli};
    struct fault fault;
    int code;

    fault_init(&fault, &cli->arena);
    buf_init(&listing.out, 0);
    if (cli->json)
        buf_lit(&listing.out, "{\"items\":[");
    if (key_list(store, list_row, &listing, &fault) != OK) {
        buf_free(&listing.out);
        return cli_fault(cli, &fault);
    }
    if (cli->json)
        buf_lit(&listing.out, "]}\n");
    code = cli_print(cli, buf_str(&listing.out));
    buf_free(&listing.out);
    return code;
}

static int revoke_run(struct cli *cli, struct key_store *store) {
    const char *which = cli_arg(cli, 1) ? cli_arg(cli, 1) : cli_value(cli, "name");
    struct fault fault;
    uint32_t count = 0;

    fault_init(&fault, &cli->arena);
    if (!which)
        return cli_fail(cli, EXIT_USAGE, "revoke needs the id of a key or --name NAME");
    if (key_revoke(store, str_c(which), &clock_system, &count, &fault) != OK)
        return cli_fault(cli, &fault);
    if (count == 0)
        return cli_fail(cli, EXIT_FAILED, "no valid key has this id or name");
    fprintf(stderr, "revoked; a running hub refuses it within a second\n");
    return EXIT_DONE;
}

static int key_run(struct cli *cli) {
    const char *verb = cli_arg(cli, 0);
    struct key_store *store = NULL;
    int code;

    if (!verb)
        return cli_fail(cli, EXIT_USAGE, "say what to do: create, list, revoke or scopes");
    if (str_is(str_c(verb), "scopes"))
        return cli_args_max(cli, 1) ? scopes_run(cli) : EXIT_USAGE;
    bool create = str_is(str_c(verb), "create"), list = str_is(str_c(verb), "list");
    if (!create && !list && !str_is(str_c(verb), "revoke"))
        return cli_fail(cli, EXIT_USAGE, "there is no `key %s`", verb);
    if (!cli_args_max(cli, create || list ? 1 : 2))
        return EXIT_USAGE;
    code = store_open(cli, &store);
    if (code == EXIT_DONE)
        code = create ? create_run(cli, store)
               : list ? list_run(cli, store)
                      : revoke_run(cli, store);
    key_store_close(store);
    return code;
}

const struct cli_command key_command = {
    .name = "key",
    .synopsis = "key create -C DIR [--data DIR] [--name NAME] [--scope SCOPE …] [--json]\n"
                "key list -C DIR [--data DIR] [--json]\n"
                "key revoke -C DIR [--data DIR] ID | --name NAME\n"
                "key scopes [--json]",
    .summary = "make, list and revoke API keys",
    .help =
        "create   Prints a new key, alone, on stdout. It is shown this once and never again: the\n"
        "         hub keeps only its hash. It works at its first use, whether or not the hub runs.\n"
        "list     Lists all keys, also the revoked ones, without their secrets.\n"
        "revoke   Ends a key, by its id (pk_ and 12 characters) or its name. A running hub\n"
        "         refuses it within a second.\n"
        "scopes   Lists what a key can be allowed to do.\n"
        "\n"
        "A scope is area:verb (orders:write), area:* for all of an area, or * for everything,\n"
        "which is also what a key without --scope gets.\n"
        "\n"
        "    penstock key create -C shop --name web-shop --scope orders:write --scope stock:read\n",
    .options = (const struct cli_option[]){
        CLI_OPTION_CONFIG,
        CLI_OPTION_DATA,
        {"name", 0, "NAME", false, "what the key is for"},
        {"scope", 0, "SCOPE", true, "what the key may do; may be given several times"},
        {0},
    },
    .run = key_run,
};
