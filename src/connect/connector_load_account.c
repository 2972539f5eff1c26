/* connector_load_account: section `account` of connector.yaml: its tables, defaults, checks. */
#include <string.h>

#include "connect/account.h"
#include "connect/connector_poll.h"
#include "connect/connector_priv.h"

#define ROW_AS(as, type, member, kind_, help_text, ...)                                            \
    {.name = as, .kind = kind_, .offset = offsetof(type, member), .since = 1, .help = help_text,   \
     ##__VA_ARGS__}

#define BURST_SPAN_S (INT64_C(366) * 86400) /* a bucket that takes longer to fill is a mistake */

const char *const account_priorities[] = {"customer", "stock", "catalogue", "ledger", NULL};

static const struct shape_field rate_rows[] = {
    SHAPE_ROW(struct account_rate, calls, SHAPE_INTEGER, "So many calls …", .flags = SHAPE_REQUIRED, .min = 1,
              .max = 1000000),
    SHAPE_ROW(struct account_rate, per_s, SHAPE_INTEGER, "… in so many seconds (1)", .min = 1, .max = 86400),
    SHAPE_ROW(struct account_rate, burst, SHAPE_INTEGER,
              "Calls at once after a rest: the size of the bucket (what a twentieth of a second allows, at least 1)",
              .min = 1, .max = 1000000),
};
static SHAPE_DEFINE(rate_shape, "connector_account_rate", struct account_rate, "An even pace", rate_rows);

enum maintenance_row { MAINTENANCE_DAYS, MAINTENANCE_DATES, MAINTENANCE_FROM, MAINTENANCE_TO };
static const struct shape_field maintenance_rows[] = {
    [MAINTENANCE_DAYS] = SHAPE_ROW(struct account_maintenance, days, SHAPE_LIST,
                                   "On which days it begins: mon, tue, wed, thu, fri, sat, sun (all, without dates)",
                                   .min = 1, .max = 7),
    [MAINTENANCE_DATES] = SHAPE_ROW(struct account_maintenance, dates, SHAPE_LIST,
                                    "On which dates it begins: 2026-12-31", .min = 1, .max = 366),
    [MAINTENANCE_FROM] = SHAPE_ROW(struct account_maintenance, from, SHAPE_TEXT, "Time of the day: \"22:00\"",
                                   .flags = SHAPE_REQUIRED, .min = 5, .max = 5),
    [MAINTENANCE_TO] = SHAPE_ROW(struct account_maintenance, to, SHAPE_TEXT,
                                 "Until: \"24:00\"; where it is not after `from`: of the next day",
                                 .flags = SHAPE_REQUIRED, .min = 5, .max = 5),
};
static SHAPE_DEFINE(maintenance_shape, "connector_account_maintenance", struct account_maintenance,
                    "A time at which it takes no calls", maintenance_rows);

static const struct shape_field breaker_rows[] = {
    SHAPE_ROW(struct account_breaker, after, SHAPE_INTEGER,
              "Calls in a row without a useful answer that open it (deliver_breaker_after)", .min = 1, .max = 1000),
    SHAPE_ROW(struct account_breaker, first_ms, SHAPE_INTEGER, "Pause before the first probe; then it doubles (200)",
              .min = 1, .max = 3600000),
    SHAPE_ROW(struct account_breaker, max_ms, SHAPE_INTEGER,
              "Longest pause between two probes (deliver_probe_max_ms)", .min = 1, .max = 3600000),
};
static SHAPE_DEFINE(breaker_shape, "connector_account_breaker", struct account_breaker,
                    "When a system that does not answer is left alone", breaker_rows);

enum account_row {
    ACCOUNT_RATE, ACCOUNT_CONCURRENCY, ACCOUNT_QUOTA, ACCOUNT_BATCH, ACCOUNT_ZONE, ACCOUNT_MAINTENANCE,
    ACCOUNT_ADAPT, ACCOUNT_BREAKER,
};
static const struct shape_field account_rows[] = {
    [ACCOUNT_RATE] = SHAPE_ROW(struct connector_account, rate, SHAPE_OBJECT,
                               "Calls in a time; left out: found out from what it answers", .shape = &rate_shape),
    [ACCOUNT_CONCURRENCY] = SHAPE_ROW(struct connector_account, concurrency, SHAPE_INTEGER,
                                      "Calls at once; 0: any (0)", .min = 0, .max = 65536),
    [ACCOUNT_QUOTA] = SHAPE_ROW(struct connector_account, quota_per_day, SHAPE_INTEGER,
                                "Calls a day of `zone`; 0: any (0)", .min = 0, .max = 1000000000),
    [ACCOUNT_BATCH] = SHAPE_ROW(struct connector_account, batch_max, SHAPE_INTEGER,
                                "Things in one call; 0: not said (0)", .min = 0, .max = 100000),
    [ACCOUNT_ZONE] = ROW_AS("zone", struct connector_account, zone_name, SHAPE_TEXT,
                            "Time zone of its days and times: Europe/Berlin (UTC)", .min = 1, .max = 64),
    [ACCOUNT_MAINTENANCE] = SHAPE_ROW(struct connector_account, maintenance, SHAPE_LIST,
                                      "When it takes no calls", .shape = &maintenance_shape, .max = 64),
    [ACCOUNT_ADAPT] = SHAPE_ROW(struct connector_account, adapt, SHAPE_BOOL,
                                "false: the declared limits are neither lowered by what it answers nor raised "
                                "again; Retry-After holds all the same (true)"),
    [ACCOUNT_BREAKER] = SHAPE_ROW(struct connector_account, breaker, SHAPE_OBJECT,
                                  "When it is left alone", .shape = &breaker_shape),
};
SHAPE_DEFINE(connector_account_shape, "connector_account", struct connector_account,
             "What the other side takes of all calls together", account_rows);

int32_t load_priority_of(struct str type) {
    if (str_starts(type, STR("stock")) || str_starts(type, STR("availability")))
        return NET_STOCK;
    if (str_starts(type, STR("price")) || str_starts(type, STR("product")))
        return NET_CATALOGUE;
    return NET_LEDGER;
}

/* "22:00" to minutes; -1 where it is none. */
static int32_t minutes(struct str text, bool end) {
    int64_t hour, minute;
    if (text.len != 5 || text.ptr[2] != ':' || !str_i64(str_of(text.ptr, 2), &hour) ||
        !str_i64(str_of(text.ptr + 3, 2), &minute) || hour < 0 || minute < 0 || minute > 59)
        return -1;
    int64_t all = hour * 60 + minute;
    return all < 1440 || (end && all == 1440) ? (int32_t)all : -1;
}

static bool days_read(const struct account_maintenance *from, struct governor_window *to) {
    static const char *const names[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
    for (uint32_t i = 0; i < from->days.count; i++) {
        int at = 0;
        while (at < 7 && !str_is(*list_at(from->days, struct str, i), names[at]))
            at++;
        if (at == 7)
            return false;
        to->days |= (uint8_t)(1u << at);
    }
    if (from->days.count + from->dates.count == 0)
        to->days = 0x7f;
    return true;
}

static enum err window_load(struct loader *l, const struct account_maintenance *from, struct governor_window *to,
                            struct str pointer) {
    int32_t *dates = arena_array(l->arena, from->dates.count + 1, sizeof *dates);
    if (!dates)
        return fault_set(l->fault, ERR_NOMEM, "no memory for connectors");
    to->from_min = minutes(from->from, false);
    to->to_min = minutes(from->to, true);
    to->dates = dates;
    if (to->from_min < 0 || to->to_min < 0)
        yaml_fault(&l->yaml, l->fault, load_pointer(l, "%.*s/%s", STR_FMT(pointer), to->from_min < 0 ? "from" : "to"),
                   "must be a time of the day in quotes: \"22:00\"");
    if (!days_read(from, to))
        yaml_fault(&l->yaml, l->fault, load_pointer(l, "%.*s/days", STR_FMT(pointer)),
                   "must be a list of mon, tue, wed, thu, fri, sat, sun");
    for (uint32_t i = 0; i < from->dates.count; i++)
        if (date_parse(*list_at(from->dates, struct str, i), &dates[to->date_count]))
            to->date_count++;
        else
            yaml_fault(&l->yaml, l->fault, load_pointer(l, "%.*s/dates/%u", STR_FMT(pointer), i),
                       "must be a date in quotes: \"2026-12-31\"");
    return OK;
}

static enum err windows_load(struct loader *l, struct connector_account *account) {
    uint32_t count = account->maintenance.count;
    struct governor_window *windows = arena_array(l->arena, count + 1, sizeof *windows);
    enum err err = windows ? OK : fault_set(l->fault, ERR_NOMEM, "no memory for connectors");
    for (uint32_t i = 0; err == OK && i < count; i++)
        err = window_load(l, list_at(account->maintenance, struct account_maintenance, i), &windows[i],
                          load_pointer(l, "/account/maintenance/%u", i));
    account->limits.windows = windows;
    account->limits.window_count = count;
    return err;
}

static void rate_load(struct loader *l, struct connector_account *account) {
    struct account_rate *rate = account->rate;
    struct governor_limits *limits = &account->limits;
    if (!rate)
        return;
    if (!rate->per_s)
        rate->per_s = 1;
    if (!rate->burst)
        rate->burst = rate->calls / rate->per_s / 20 > 1 ? rate->calls / rate->per_s / 20 : 1;
    if (rate->burst / rate->calls * rate->per_s > BURST_SPAN_S)
        yaml_fault(&l->yaml, l->fault, STR("/account/rate/burst"), "would take more than a year to fill");
    limits->calls = rate->calls;
    limits->per_ms = rate->per_s * 1000;
    limits->burst = rate->burst;
}

enum err load_account(struct loader *l) {
    struct connector_account *account = l->connector->account;
    struct fault ignored = {0};
    if (!account)
        return OK;
    rate_load(l, account);
    account->limits.concurrency = (uint32_t)account->concurrency;
    account->limits.quota_per_day = account->quota_per_day;
    account->limits.fixed = shape_has(account, ACCOUNT_ADAPT) && !account->adapt;
    if (account->zone_name.len && zone_load(account->zone_name, &account->zone, &ignored) != OK)
        yaml_fault(&l->yaml, l->fault, STR("/account/zone"), "this machine knows no time zone %.*s",
                   STR_FMT(account->zone_name));
    account->limits.zone = account->zone;
    return windows_load(l, account);
}
