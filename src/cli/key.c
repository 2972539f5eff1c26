/* key: makes, lists, rotates and revokes API keys, and the keys that sign tokens, in the key file,
 * whether or not the hub runs. */
#include "cli/commands.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

#include "base/files.h"
#include "cli/tables.h"
#include "gateway/keys.h"
#include "gateway/token_key.h"

#define OVERLAP_US INT64_C(86400000000) /* of a rotated key, by default */

/* "*" and "area:*" stand for what is there now and what will be. */
static int scopes_run(struct cli *cli) {
    const char *scopes[CLI_SCOPES_MAX];
    uint32_t count = cli_scopes(scopes);
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
            if (!cli_scope_known(scope))
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

/* ,"name":"2026-11-23T…" or null where it is 0. */
static void instant_json(struct buf *out, const char *name, int64_t us) {
    buf_printf(out, ",\"%s\":", name);
    if (us == 0) {
        buf_lit(out, "null");
        return;
    }
    buf_char(out, '"');
    instant_write(out, (struct instant){us, 0});
    buf_char(out, '"');
}

static const char *state_name(const struct key_record *record) {
    static const char *const names[] = {"valid", "expired", "revoked"};

    return names[key_state(record, clock_now_us(&clock_system))];
}

static void record_json(struct buf *out, const struct key_record *record) {
    buf_printf(out, "\"id\":\"pk_%.*s\",\"name\":", STR_FMT(record->id));
    buf_json_str(out, record->name);
    buf_lit(out, ",\"scopes\":");
    scopes_json(out, record->scopes);
    buf_printf(out, ",\"state\":\"%s\"", state_name(record));
    instant_json(out, "created_at", record->created_us);
    instant_json(out, "expires_at", record->expires_us);
    instant_json(out, "last_used_at", record->used_us);
    instant_json(out, "revoked_at", record->revoked_us);
}

/* "90d", "24h", "30m", "45s": microseconds; false on anything else. */
static bool duration_read(struct str text, int64_t *us) {
    static const struct {
        char unit;
        int64_t us;
    } units[] = {{'d', INT64_C(86400000000)}, {'h', INT64_C(3600000000)}, {'m', 60000000}, {'s', 1000000}};
    int64_t count;

    for (size_t i = 0; i < sizeof units / sizeof units[0] && text.len > 1; i++)
        if (text.ptr[text.len - 1] == units[i].unit &&
            str_i64(str_of(text.ptr, text.len - 1), &count) && count >= 0 && count <= 1000000) {
            *us = count * units[i].us;
            return true;
        }
    return false;
}

/* --expires: when, 0 where it is not given and `absent` is. */
static int expires_given(struct cli *cli, int64_t absent, int64_t *out) {
    const char *given = cli_value(cli, "expires");
    struct str text = str_c(given);
    int64_t now_us = clock_now_us(&clock_system);
    struct instant at;
    int32_t days;

    *out = absent;
    if (!given)
        return EXIT_DONE;
    if (str_is(text, "never"))
        *out = 0;
    else if (duration_read(text, out))
        *out += now_us;
    else if (date_parse(text, &days))
        *out = days * INT64_C(86400000000);
    else if (instant_parse(text, &at))
        *out = at.us;
    else
        return cli_fail(cli, EXIT_USAGE, "--expires is a time from now (90d, 12h), a date "
                        "(2027-01-31, its beginning in UTC), an instant (RFC 3339) or never");
    if (!str_is(text, "never") && *out <= now_us)
        return cli_fail(cli, EXIT_USAGE, "--expires lies in the past");
    return EXIT_DONE;
}

/* A key just made: alone on stdout, or as JSON. */
static int key_print(struct cli *cli, struct str key, const struct key_record *record) {
    struct buf out;
    int code;

    buf_init(&out, 0);
    if (cli->json) {
        buf_printf(&out, "{\"key\":\"%.*s\",", STR_FMT(key));
        record_json(&out, record);
        buf_lit(&out, "}\n");
    } else {
        buf_printf(&out, "%.*s\n", STR_FMT(key));
    }
    code = cli_print(cli, buf_str(&out));
    buf_free(&out);
    return code;
}

static int create_run(struct cli *cli, struct key_store *store) {
    const char *name = cli_value(cli, "name");
    struct key_new wanted = {0};
    struct key_record record;
    struct str key;
    struct fault fault;
    int code = scopes_given(cli, &wanted.scopes);

    fault_init(&fault, &cli->arena);
    if (code == EXIT_DONE)
        code = expires_given(cli, 0, &wanted.expires_us);
    if (code != EXIT_DONE)
        return code;
    if (!name) /* one of its own, so that it can be told from others */
        name = arena_printf(&cli->arena, "key-%08x", (unsigned)rng_u64(&rng_system)).ptr;
    wanted.name = str_c(name);
    if (!name || key_create(store, &wanted, &rng_system, &clock_system, &cli->arena, &key, &record,
                            &fault) != OK)
        return cli_fault(cli, &fault);
    return key_print(cli, key, &record);
}

static int rotate_run(struct cli *cli, struct key_store *store) {
    const char *which = cli_arg(cli, 1), *overlap = cli_value(cli, "overlap");
    int64_t overlap_us = OVERLAP_US, expires_us;
    struct key_record record;
    struct fault fault;
    struct str key;
    int code = expires_given(cli, -1, &expires_us);

    fault_init(&fault, &cli->arena);
    if (code != EXIT_DONE)
        return code;
    if (!which)
        return cli_fail(cli, EXIT_USAGE, "rotate needs the id of a key: `penstock key list`");
    if (overlap && !str_is(str_c(overlap), "0") && !duration_read(str_c(overlap), &overlap_us))
        return cli_fail(cli, EXIT_USAGE, "--overlap is a time such as 24h, 7d or 0");
    if (overlap && str_is(str_c(overlap), "0"))
        overlap_us = 0;
    if (key_rotate(store, str_c(which), overlap_us, expires_us, &rng_system, &clock_system,
                   &cli->arena, &key, &record, &fault) != OK)
        return cli_fault(cli, &fault);
    fprintf(stderr, "the old key ends %s\n", overlap_us ? "after the overlap" : "now");
    return key_print(cli, key, &record);
}

/* The keys that the hub signs tokens with. */
static int signing_run(struct cli *cli, struct key_store *store) {
    const char *verb = cli_arg(cli, 1);
    struct fault fault;

    fault_init(&fault, &cli->arena);
    if (!verb || !str_is(str_c(verb), "rotate"))
        return cli_fail(cli, EXIT_USAGE, "say what to do: key signing rotate");
    if (token_key_rotate(store, &clock_system, cli_flag(cli, "now"), &fault) != OK)
        return cli_fault(cli, &fault);
    fprintf(stderr, cli_flag(cli, "now")
                        ? "made; the tokens signed so far are refused within a second\n"
                        : "made; it is published now and signs from an hour from now on\n");
    return EXIT_DONE;
}

struct listing {
    struct cli *cli;
    struct buf out;
    uint32_t count;
};

/* To the second, in 22 columns. */
static void instant_text(struct buf *out, int64_t us) {
    size_t from = out->len;

    if (us)
        instant_write(out, (struct instant){us / 1000000 * 1000000, 0});
    else
        buf_lit(out, "never");
    while (buf_ok(out) && out->len - from < 22)
        buf_char(out, ' ');
}

static bool list_row(void *ctx, const struct key_record *record) {
    struct listing *listing = ctx;
    struct buf *out = &listing->out;

    if (listing->cli->json) {
        buf_str_add(out, listing->count ? STR(",{") : STR("{"));
        record_json(out, record);
        buf_char(out, '}');
    } else {
        if (listing->count == 0)
            buf_printf(out, "%-16s %-20s %-20s  %-20s  %-20s  %-8s %s\n", "ID", "NAME", "CREATED",
                       "EXPIRES", "LAST USED", "STATE", "SCOPES");
        buf_printf(out, "pk_%-13.*s %-20.*s ", STR_FMT(record->id), STR_FMT(record->name));
        instant_text(out, record->created_us);
        instant_text(out, record->expires_us);
        instant_text(out, record->used_us);
        buf_printf(out, "%-8s %.*s\n", state_name(record), STR_FMT(record->scopes));
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
    static const struct {
        const char *name;
        uint32_t args_max;
        int (*run)(struct cli *cli, struct key_store *store);
    } verbs[] = {{"create", 1, create_run}, {"list", 1, list_run},       {"rotate", 2, rotate_run},
                 {"revoke", 2, revoke_run}, {"signing", 2, signing_run}, {NULL, 0, NULL}};
    const char *verb = cli_arg(cli, 0);
    struct key_store *store = NULL;
    uint32_t i = 0;
    int code;

    if (!verb)
        return cli_fail(cli, EXIT_USAGE,
                        "say what to do: create, list, rotate, revoke, signing or scopes");
    if (str_is(str_c(verb), "scopes"))
        return cli_args_max(cli, 1) ? scopes_run(cli) : EXIT_USAGE;
    while (verbs[i].name && !str_is(str_c(verb), verbs[i].name))
        i++;
    if (!verbs[i].name)
        return cli_fail(cli, EXIT_USAGE, "there is no `key %s`", verb);
    if (!cli_args_max(cli, verbs[i].args_max))
        return EXIT_USAGE;
    code = store_open(cli, &store);
    if (code == EXIT_DONE)
        code = verbs[i].run(cli, store);
    key_store_close(store);
    return code;
}

const struct cli_command key_command = {
    .name = "key",
    .synopsis = "key create -C DIR [--data DIR] [--name NAME] [--scope SCOPE …]\n"
                "           [--expires WHEN] [--json]\n"
                "key list -C DIR [--data DIR] [--json]\n"
                "key rotate -C DIR [--data DIR] ID [--overlap TIME] [--expires WHEN] [--json]\n"
                "key signing rotate -C DIR [--data DIR] [--now]\n"
                "key revoke -C DIR [--data DIR] ID | --name NAME\n"
                "key scopes [--json]",
    .summary = "make, list, rotate and revoke API keys",
    .help =
        "create   Prints a new key, alone, on stdout. It is shown this once and never again: the\n"
        "         hub keeps only its hash. It works at its first use, whether or not the hub runs.\n"
        "         --expires ends it by itself: a time from now (90d, 12h), a date, an instant.\n"
        "list     Lists all keys, also those that have ended, without their secrets; when each was\n"
        "         used last, to about a minute.\n"
        "rotate   Prints a new key with the name and the scopes of another one, by its id. The old\n"
        "         one ends after --overlap (24h by default; 0: now), so that callers can change\n"
        "         over in between. The new one lives as long as the old one was made for, or as\n"
        "         --expires says.\n"
        "signing  `signing rotate` makes another key for the tokens of POST /oauth2/token, which\n"
        "         the hub also does by itself. With --now the old ones go at once, and with them all\n"
        "         tokens they signed: for when one may have become known.\n"
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
        {"expires", 0, "WHEN", false, "when the key ends: 90d, 12h, 2027-01-31, an instant, never"},
        {"overlap", 0, "TIME", false, "how long a rotated key goes on: 24h, 7d, 0"},
        {"now", 0, NULL, false, "signing rotate: the old keys go at once"},
        {0},
    },
    .run = key_run,
};
