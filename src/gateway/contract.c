/* contract: see contract.h. The table, and what follows from it for a route. Pure. */
#include "gateway/contract.h"

#include <time.h>

#include "base/clock.h"

const char *const contract_status_names[] = {
    [CONTRACT_DRAFT] = "draft",
    [CONTRACT_STABLE] = "stable",
    [CONTRACT_DEPRECATED] = "deprecated",
    [CONTRACT_RETIRED] = "retired",
};

#define ALL(...) (const char *const[]) { __VA_ARGS__, NULL }

/* Sorted by name. Objectives are what the hub is built and measured for (docs/performance.md); an
 * installation measures its own with /metrics. */
const struct contract contracts[] = {
    {.name = "cross-references", .help = "What other systems call what the hub has a code for",
     .owner = "integration", .version = "0.9", .status = CONTRACT_DRAFT, .since = "2026-11-23",
     .level = "A change is used by every mapping that starts after it was answered",
     .availability_ppm = 999500, .p99_ms = 100, .link = "docs/mappings.md",
     .paths = ALL("/v1/cross-references"), .events = ALL("cross_reference")},
    {.name = "customers", .help = "Persons: what is kept of them, and their erasure",
     .owner = "privacy", .version = "1.0", .status = CONTRACT_STABLE, .since = "2026-11-23",
     .level = "An erasure is answered when nobody can read the person's data any more",
     .availability_ppm = 999000, .p99_ms = 10000, .link = "docs/privacy.md",
     .paths = ALL("/v1/customers"), .events = ALL("customer")},
    {.name = "events", .help = "The journal as a feed of CloudEvents",
     .owner = "integration", .version = "1.0", .status = CONTRACT_STABLE, .since = "2026-11-23",
     .level = "Every event, in the order of the journal, none left out; again under the same id",
     .availability_ppm = 999500, .p99_ms = 500, .link = "docs/contracts.md",
     .paths = ALL("/v1/events")},
    {.name = "facts", .help = "What partners say that no other contract covers yet: refunds, payments, products",
     .owner = "integration", .version = "0.9", .status = CONTRACT_DRAFT, .since = "2026-11-23",
     .level = "Listed within a second after the partner's message was processed; of each fact the newest",
     .availability_ppm = 999000, .p99_ms = 1000, .link = "docs/connectors/README.md",
     .paths = ALL("/v1/facts"), .events = ALL("fact")},
    {.name = "operations", .help = "What operators look at and decide",
     .owner = "operations", .version = "0.9", .status = CONTRACT_DRAFT, .since = "2026-11-23",
     .level = "Answers while the hub runs, also when it takes no orders",
     .availability_ppm = 999000, .p99_ms = 2000, .link = "docs/operations.md",
     .paths = ALL("/ops"), .events = ALL("exception", "payload", "delivery", "subscription", "endpoint", "audit",
                                      "approval")},
    {.name = "orders", .help = "Capture, look up, cancel and ship orders",
     .owner = "commerce", .version = "1.0", .status = CONTRACT_STABLE, .since = "2026-11-23",
     .level = "What was answered 2xx is on disk and is never lost or doubled; before everything else "
              "when the hub is full",
     .availability_ppm = 999900, .p99_ms = 100, .link = "docs/contracts.md",
     .paths = ALL("/v1/orders"), .events = ALL("order")},
    {.name = "platform", .help = "Health, figures, tokens and these descriptions",
     .owner = "operations", .version = "1.0", .status = CONTRACT_STABLE, .since = "2026-11-23",
     .level = "Answers as long as the process lives",
     .availability_ppm = 999900, .p99_ms = 100, .link = "docs/operations.md",
     .paths = ALL("/livez", "/readyz", "/metrics", "/openapi.json", "/asyncapi.json", "/oauth2",
                  "/.well-known")},
    {.name = "postings", .help = "What went to the books, and under which number",
     .owner = "finance", .version = "1.0", .status = CONTRACT_STABLE, .since = "2026-11-23",
     .level = "A posting is listed within a second after the ledger took it",
     .availability_ppm = 999000, .p99_ms = 1000, .link = "docs/reporting.md",
     .paths = ALL("/v1/postings"), .events = ALL("posting")},
    {.name = "stock", .help = "Availability, holds, and what changes stock",
     .owner = "inventory", .version = "1.0", .status = CONTRACT_STABLE, .since = "2026-11-23",
     .level = "Availability reflects every acknowledged change; nothing is promised twice",
     .availability_ppm = 999900, .p99_ms = 50, .link = "docs/contracts.md",
     .paths = ALL("/v1/availability", "/v1/stock", "/v1/reservations"), .events = ALL("stock")},
    {.name = "subscriptions", .help = "What others are told of, and how: webhooks to them, and events they fetch",
     .owner = "integration", .version = "0.9", .status = CONTRACT_DRAFT, .since = "2026-11-23",
     .level = "Every event it names, in order for each key, at least once under the same id; kept until "
              "it was taken",
     .availability_ppm = 999500, .p99_ms = 500, .link = "docs/subscriptions.md",
     .paths = ALL("/v1/subscriptions"), .events = ALL("subscriber")},
    {.name = "systems", .help = "Operations of the systems behind the hub, by the roles they hold",
     .owner = "integration", .version = "0.9", .status = CONTRACT_DRAFT, .since = "2026-11-23",
     .level = "Answered within the operation's time limit, whatever the system does; the answer says "
              "whether it is the system's or the declared fallback",
     .availability_ppm = 999900, .p99_ms = 1000, .link = "docs/connectors/README.md",
     .paths = ALL("/s")},
    {.name = "webhooks", .help = "What partners send in their own dialect, under their own signature",
     .owner = "integration", .version = "1.0", .status = CONTRACT_STABLE, .since = "2026-11-23",
     .level = "Answered when the payload is on disk; what is wrong with it becomes an exception",
     .availability_ppm = 999900, .p99_ms = 200, .link = "docs/connectors/README.md",
     .paths = ALL("/x")},
    {0},
};

/* --- which contract --------------------------------------------------------------------------- */

/* Length of `beginning` where it is `path` or whole segments of its beginning, else 0. */
static size_t segments_shared(const char *beginning, const char *path) {
    size_t len = strlen(beginning);
    bool whole = strncmp(beginning, path, len) == 0 && (path[len] == '\0' || path[len] == '/');
    return whole ? len : 0;
}

const struct contract *contract_of_path(const struct contract *table, const char *path) {
    const struct contract *best = NULL;
    size_t most = 0;
    for (; table && table->name; table++)
        for (const char *const *p = table->paths; p && *p; p++)
            if (segments_shared(*p, path) > most) {
                most = segments_shared(*p, path);
                best = table;
            }
    return best;
}

const struct contract *contract_of_event(const struct contract *table, const char *name) {
    size_t len = strcspn(name, ".");
    for (; table && table->name; table++)
        for (const char *const *e = table->events; e && *e; e++)
            if (strlen(*e) == len && strncmp(*e, name, len) == 0)
                return table;
    return NULL;
}

const struct contract *contract_find(const struct contract *table, struct str name) {
    for (; table && table->name; table++)
        if (str_is(name, table->name))
            return table;
    return NULL;
}

/* --- its end ---------------------------------------------------------------------------------- */

#define DAY_S INT64_C(86400)

static enum err day_read(const char *what, const char *text, int64_t *seconds, struct fault *fault) {
    int32_t days;
    if (!date_parse(str_c(text), &days))
        return fault_set(fault, ERR_INVALID, "%s \"%s\" is no day: write 2027-03-31", what, text);
    *seconds = days * DAY_S;
    return OK;
}

/* RFC 9110, section 5.6.7. */
static struct str http_date(int64_t seconds, struct arena *arena) {
    time_t t = (time_t)seconds;
    struct tm tm;
    char text[32];
    gmtime_r(&t, &tm);
    size_t len = strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    return arena_str(arena, str_of(text, len));
}

enum err contract_notice_make(const struct route *route, const struct contract *contract,
                              struct arena *arena, const struct contract_notice **out,
                              struct fault *fault) {
    const char *deprecated = route->deprecated ? route->deprecated
                             : contract        ? contract->deprecated
                                               : NULL;
    const char *sunset = route->sunset ? route->sunset : contract ? contract->sunset : NULL;
    const char *link = contract && contract->link ? contract->link : "docs/contracts.md";
    struct contract_notice *notice;
    int64_t from_s = 0, until_s = 0;
    enum err err = OK;

    *out = NULL;
    if (!deprecated && !sunset)
        return OK;
    notice = arena_new(arena, struct contract_notice);
    if (!notice)
        return fault_set(fault, ERR_NOMEM, "no memory for the routes");
    notice->sunset_us = INT64_MAX;
    if (deprecated && (err = day_read("deprecated", deprecated, &from_s, fault)) == OK)
        notice->deprecation = arena_printf(arena, "@%lld", (long long)from_s);
    if (err == OK && sunset && (err = day_read("sunset", sunset, &until_s, fault)) == OK) {
        notice->sunset = http_date(until_s, arena);
        notice->sunset_us = until_s * 1000000;
    }
    if (err == OK)
        notice->link = arena_printf(arena, "<" CONTRACT_SITE "%s>; rel=\"deprecation\"%s%s%s", link,
                                    sunset ? ", <" CONTRACT_SITE : "", sunset ? link : "",
                                    sunset ? ">; rel=\"sunset\"" : "");
    *out = notice;
    return err;
}

/* --- for programs ------------------------------------------------------------------------------ */

void contract_members_write(const struct contract *contract, struct buf *out) {
    buf_printf(out, ",\"x-owner\":\"%s\",\"x-version\":\"%s\",\"x-status\":\"%s\",\"x-since\":\"%s\"",
               contract->owner, contract->version, contract_status_names[contract->status],
               contract->since);
    if (contract->deprecated)
        buf_printf(out, ",\"x-deprecated\":\"%s\"", contract->deprecated);
    if (contract->sunset)
        buf_printf(out, ",\"x-sunset\":\"%s\"", contract->sunset);
    buf_lit(out, ",\"x-service-level\":{\"description\":");
    buf_json_str(out, str_c(contract->level));
    if (contract->availability_ppm)
        buf_printf(out, ",\"availability_ppm\":%d", contract->availability_ppm);
    if (contract->p99_ms)
        buf_printf(out, ",\"p99_ms\":%d", contract->p99_ms);
    buf_char(out, '}');
}

/* --- for people ------------------------------------------------------------------------------- */

static void list_write(const char *const *list, const char *after, bool *first, struct buf *out) {
    for (; list && *list; list++) {
        buf_printf(out, "%s`%s%s`", *first ? "" : ", ", *list, after);
        *first = false;
    }
}

void contracts_page_write(const struct contract *table, struct buf *out) {
    buf_lit(out, "| contract | version | status | owner | covers | service level |\n"
                 "| --- | --- | --- | --- | --- | --- |\n");
    for (; table->name; table++) {
        buf_printf(out, "| **%s**: %s | %s | %s since %s", table->name, table->help, table->version,
                   contract_status_names[table->status], table->since);
        if (table->deprecated)
            buf_printf(out, ", deprecated from %s", table->deprecated);
        if (table->sunset)
            buf_printf(out, ", ends %s", table->sunset);
        buf_printf(out, " | %s | ", table->owner);
        bool first = true;
        list_write(table->paths, "", &first, out);
        list_write(table->events, ".*", &first, out);
        buf_printf(out, " | %s", table->level);
        if (table->availability_ppm)
            buf_printf(out, "; %d.%02d %% of a month's requests answered",
                       table->availability_ppm / 10000, table->availability_ppm / 100 % 100);
        if (table->p99_ms)
            buf_printf(out, "; 99 %% within %d ms", table->p99_ms);
        buf_lit(out, " |\n");
    }
}
