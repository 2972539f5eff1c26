/* check_against: reads the snapshot of a release, compares it with this program's own tables, and
 * says of each change whom it breaks, who answers for the contract, and what to do instead. */
#include "cli/check_against.h"

#include <dirent.h>
#include <inttypes.h>

#include "base/clock.h"
#include "base/files.h"
#include "cli/tables.h"
#include "gateway/contract_snapshot.h"

struct against {
    struct cli *cli;
    struct fault fault;
    struct str from; /* where the snapshot was read */
    struct snapshot old, now;
    struct contract_changes changes;
    struct str accepted; /* text of --accept */
};

/* --- where it is ------------------------------------------------------------------------------ */

/* Whether version `a` is before `b`: numbers in them count as numbers. */
static bool version_before(const char *a, const char *b) {
    while (*a && *b) {
        size_t x = strspn(a, "0123456789"), y = strspn(b, "0123456789");
        if (x && y) {
            uint64_t m = 0, n = 0;
            if (str_u64(str_of(a, x), &m) && str_u64(str_of(b, y), &n) && m != n)
                return m < n;
            a += x;
            b += y;
            continue;
        }
        if (*a != *b)
            return *a < *b;
        a++;
        b++;
    }
    return *a == '\0' && *b != '\0';
}

/* The newest snapshot of a folder: absent where it is none, or holds none. */
static struct str newest_in(struct against *a, const char *folder) {
    DIR *dir = opendir(folder);
    char best[256] = "";
    if (!dir)
        return STR_NONE;
    for (struct dirent *entry; (entry = readdir(dir));) {
        size_t len = strlen(entry->d_name);
        if (len > 5 && len < sizeof best && strcmp(entry->d_name + len - 5, ".json") == 0 &&
            (best[0] == '\0' || version_before(best, entry->d_name)))
            memcpy(best, entry->d_name, len + 1);
    }
    closedir(dir);
    return best[0] ? arena_printf(&a->cli->arena, "%s/%s", folder, best) : STR_NONE;
}

static enum err stdin_read(struct buf *out, struct fault *fault) {
    char part[65536];
    size_t len;
    while ((len = fread(part, 1, sizeof part, stdin)) > 0)
        buf_add(out, part, len);
    return buf_ok(out) ? OK : fault_set(fault, ERR_TOO_LARGE, "the snapshot is too large");
}

static enum err text_read(struct against *a, const char *place, struct str *text) {
    struct str newest = newest_in(a, place);
    struct buf out;
    enum err err;
    buf_init(&out, (size_t)64 << 20);
    a->from = newest.ptr ? newest : str_c(place);
    if (strcmp(place, "-") == 0)
        err = stdin_read(&out, &a->fault);
    else
        err = files_read(a->from.ptr, &out, &a->fault);
    *text = err == OK ? arena_str(&a->cli->arena, buf_str(&out)) : STR_NONE;
    buf_free(&out);
    if (err != OK && !newest.ptr && strcmp(place, "-") != 0)
        return fault_set(&a->fault, err, "%s is no snapshot and no folder with one (VERSION.json). Of a "
                                         "tag: git show TAG:contracts/VERSION.json | penstock check "
                                         "--against -", place);
    return err == OK && !text->ptr ? fault_set(&a->fault, ERR_NOMEM, "out of memory") : err;
}

static enum err snapshots_read(struct against *a, const char *place) {
    struct arena *arena = &a->cli->arena;
    struct str text;
    struct buf out;
    enum err err = text_read(a, place, &text);
    if (err == OK)
        err = contract_snapshot_read(text, arena, &a->old, &a->fault);
    if (err != OK)
        return err;
    buf_init(&out, 0);
    contract_snapshot_write(cli_tables(), PENSTOCK_VERSION, &out);
    text = buf_ok(&out) ? arena_str(arena, buf_str(&out)) : STR_NONE;
    buf_free(&out);
    return text.ptr ? contract_snapshot_read(text, arena, &a->now, &a->fault)
                    : fault_set(&a->fault, ERR_NOMEM, "out of memory");
}

/* --- what is let pass ------------------------------------------------------------------------- */

static enum err allowed_check(struct against *a) {
    for (uint32_t i = 0; cli_nth(a->cli, "allow", i); i++)
        if (compare_rule_find(str_c(cli_nth(a->cli, "allow", i))) == RULE_COUNT)
            return fault_set(&a->fault, ERR_INVALID, "there is no rule %s; `penstock contracts "
                                                     "rules` names them", cli_nth(a->cli, "allow", i));
    return OK;
}

static enum err accepted_read(struct against *a) {
    const char *path = cli_value(a->cli, "accept");
    struct buf out;
    enum err err;
    if (!path)
        return OK;
    buf_init(&out, (size_t)1 << 20);
    err = files_read(path, &out, &a->fault);
    a->accepted = err == OK ? arena_str(&a->cli->arena, buf_str(&out)) : STR_NONE;
    buf_free(&out);
    return err;
}

/* "RULE PLACE  # why" */
static struct str accepted_why(const struct against *a, const struct contract_change *change) {
    struct str rest = a->accepted;
    while (rest.ptr && rest.len > 0) {
        struct str line = str_cut(&rest, '\n'), why = line, what = str_trim(str_cut(&why, '#')),
                   place = what, rule = str_cut(&place, ' ');
        if (place.ptr && str_is(rule, compare_rule_info(change->rule)->slug) &&
            str_eq(str_trim(place), change->place))
            return why.ptr ? str_trim(why) : STR("accepted");
    }
    return STR_NONE;
}

static void pardons_apply(struct against *a) {
    for (struct contract_change *c = a->changes.first; c; c = c->next) {
        if (c->pardon.ptr)
            continue;
        for (uint32_t i = 0; cli_nth(a->cli, "allow", i); i++)
            if (strcmp(cli_nth(a->cli, "allow", i), compare_rule_info(c->rule)->slug) == 0)
                c->pardon = STR("allowed");
        if (!c->pardon.ptr)
            c->pardon = accepted_why(a, c);
        a->changes.breaking -= c->pardon.ptr != NULL;
    }
}

/* --- saying it -------------------------------------------------------------------------------- */

static void change_json(const struct contract_change *c, struct buf *out) {
    const struct compare_rule_info *rule = compare_rule_info(c->rule);
    const struct { const char *name; struct str value; } members[] = {
        {"contract", c->contract}, {"owner", c->owner},          {"place", c->place},
        {"detail", c->detail},     {"breaks", str_c(rule->whom)}, {"instead", str_c(rule->instead)},
        {"passes", c->pardon},
    };
    buf_printf(out, "{\"rule\":\"%s\"", rule->slug);
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        buf_printf(out, ",\"%s\":", members[i].name);
        if (members[i].value.ptr)
            buf_json_str(out, members[i].value);
        else
            buf_lit(out, "null");
    }
    buf_char(out, '}');
}

static void change_text(const struct contract_change *c, struct buf *out) {
    const struct compare_rule_info *rule = compare_rule_info(c->rule);
    buf_printf(out, "%s: %.*s: %.*s\n    contract %.*s, owner %.*s; ", rule->slug, STR_FMT(c->place),
               STR_FMT(c->detail), STR_FMT(c->contract), STR_FMT(c->owner));
    if (c->pardon.ptr)
        buf_printf(out, "passes: %.*s\n", STR_FMT(c->pardon));
    else
        buf_printf(out, "breaks %s\n    instead: %s\n", rule->whom, rule->instead);
}

static int changes_say(const struct against *a) {
    const struct contract_changes *changes = &a->changes;
    struct buf out;
    buf_init(&out, 0);
    if (a->cli->json)
        buf_printf(&out, "{\"ok\":%s,\"against\":\"%.*s\",\"version\":\"" PENSTOCK_VERSION
                         "\",\"breaking\":%u,\"items\":[",
                   changes->breaking ? "false" : "true", STR_FMT(a->old.version), changes->breaking);
    for (const struct contract_change *c = changes->first; c; c = c->next) {
        if (!a->cli->json) {
            change_text(c, &out);
            continue;
        }
        buf_str_add(&out, str_c(c == changes->first ? "" : ","));
        change_json(c, &out);
    }
    if (a->cli->json)
        buf_lit(&out, "]}\n");
    else
        buf_printf(&out, "%u routes and %u events of %.*s (%.*s): %u changes, %u of them break a "
                         "contract\n",
                   a->old.route_count, a->old.event_count, STR_FMT(a->old.version), STR_FMT(a->from),
                   changes->count, changes->breaking);
    int code = cli_print(a->cli, buf_str(&out));
    buf_free(&out);
    return code != EXIT_DONE ? code : changes->breaking ? EXIT_FAILED : EXIT_DONE;
}

int check_against(struct cli *cli, const char *place) {
    struct against a = {.cli = cli};
    struct buf today;
    fault_init(&a.fault, &cli->arena);
    buf_init(&today, 0);
    date_write(&today, (int32_t)(clock_now_us(&clock_system) / INT64_C(86400000000)));
    enum err err = allowed_check(&a);
    if (err == OK)
        err = accepted_read(&a);
    if (err == OK)
        err = snapshots_read(&a, place);
    if (err == OK)
        err = contract_compare(&a.old, &a.now, buf_str(&today), &cli->arena, &a.changes, &a.fault);
    if (err == OK)
        pardons_apply(&a);
    int code = err == OK ? changes_say(&a) : cli_fault(cli, &a.fault);
    buf_free(&today);
    return code;
}
