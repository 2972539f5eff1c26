/* config: see config.h. Order of things: penstock.yaml by its shape, settings (table, then file,
 * then environment), the locations file, then what must agree between them. As many faults as
 * can be found are reported at once. */
#include "core/config.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "core/config_priv.h"
#include "core/limits.h"
#include "retail/money.h"

#define CONFIG_BYTES_MAX ((size_t)512 << 20)

const struct setting_info setting_table[] = {
#define SETTING(name_, kind_, dflt_, min_, max_, unit_, help_)                                     \
    {.name = #name_, .unit = unit_, .help = help_, .dflt = dflt_, .min = min_, .max = max_},
#include "core/settings.def"
#undef SETTING
};
const uint32_t setting_count = sizeof setting_table / sizeof setting_table[0];
/* struct settings is read as an array in the table's order. */
_Static_assert(sizeof(struct settings) == sizeof setting_table / sizeof setting_table[0] *
                                              sizeof(int64_t),
               "one int64_t per setting");

static const char *const shortage_names[] = {"refuse", "back-order", "hold", NULL};
#define AT(type, member) .offset = offsetof(struct type, member), .since = 1
static const struct shape_field config_channel_fields[] = {
    [CHANNEL_CHANNEL] = {.name = "channel", .kind = SHAPE_CODE, .flags = SHAPE_REQUIRED,
                         AT(config_channel, channel), .help = "Its code, such as web-de"},
    [CHANNEL_NAME] = {.name = "name", .kind = SHAPE_TEXT, AT(config_channel, name), .max = 200,
                      .help = "What people call it"},
    [CHANNEL_TIME_ZONE] = {.name = "time_zone", .kind = SHAPE_ID, .flags = SHAPE_REQUIRED,
                           AT(config_channel, time_zone),
                           .help = "IANA time zone, such as Europe/Berlin"},
    [CHANNEL_CURRENCY] = {.name = "currency", .kind = SHAPE_CODE, AT(config_channel, currency),
                          .max = 3, .help = "ISO 4217; default for prices"},
    [CHANNEL_SOURCING] = {.name = "sourcing", .kind = SHAPE_LIST, AT(config_channel, sourcing),
                          .help = "Locations that fulfil its orders, tried in order"},
    [CHANNEL_ON_SHORTAGE] = {.name = "on_shortage", .kind = SHAPE_ENUM,
                             AT(config_channel, on_shortage), .values = shortage_names,
                             .help = "What an order meets that stock can not cover: refuse (the "
                                     "default), back-order, hold"},
};
SHAPE_DEFINE(config_channel_shape, "channel", struct config_channel, "Who sells",
             config_channel_fields);

static const char *const audit_reads_names[] = {"wait", "async", "off", NULL};
static const char *const audit_addresses_names[] = {"full", "network", "none", NULL};
static const struct shape_field config_audit_fields[] = {
    {.name = "reads", .kind = SHAPE_ENUM, AT(config_audit, reads), .values = audit_reads_names,
     .help = "Reads of what is personal: wait (the default) answers when the audit has them on "
             "disk, async tells it beside, off does not"},
    {.name = "addresses", .kind = SHAPE_ENUM, AT(config_audit, addresses),
     .values = audit_addresses_names,
     .help = "Clients' addresses: full (the default), network (/24, /48), none"},
};
static SHAPE_DEFINE(config_audit_shape, "audit", struct config_audit, "What the audit keeps",
                    config_audit_fields);

struct root {
    uint64_t has;
    struct str cell, locations;
    const struct json *listen;
    struct config_tls *tls;
    struct shape_list channels;
    const struct json *settings;
    struct str time_zone;
    struct shape_list limits;
    struct config_auth *auth;
    struct config_telemetry *telemetry;
    struct config_audit *audit;
    struct shape_list trusted_proxies, two_persons, roles;
};
enum root_row {
    ROOT_CELL, ROOT_LISTEN, ROOT_TLS, ROOT_LOCATIONS, ROOT_CHANNELS, ROOT_SETTINGS,
    ROOT_TIME_ZONE, ROOT_LIMITS, ROOT_AUTH, ROOT_TELEMETRY, ROOT_AUDIT, ROOT_TRUSTED_PROXIES,
    ROOT_TWO_PERSONS, ROOT_ROLES,
};
static const struct shape_field root_fields[] = {
    [ROOT_CELL] = {.name = "cell", .kind = SHAPE_CODE, AT(root, cell), .max = 32,
                   .help = "Part of event ids and source. Default: main"},
    [ROOT_LISTEN] = {.name = "listen", .kind = SHAPE_OPEN, AT(root, listen),
                     .help = "HOST:PORT, or a list of them. Default: 127.0.0.1:8480"},
    [ROOT_TLS] = {.name = "tls", .kind = SHAPE_OBJECT, AT(root, tls), .shape = &config_tls_shape,
                  .help = "Certificates, and what speaks TLS"},
    [ROOT_LOCATIONS] = {.name = "locations", .kind = SHAPE_ID, AT(root, locations),
                        .help = "The file of stores and warehouses, .yaml or .csv. Default: "
                                "locations.yaml"},
    [ROOT_CHANNELS] = {.name = "channels", .kind = SHAPE_LIST, AT(root, channels),
                       .max = 10000, .shape = &config_channel_shape, .help = "Who sells"},
    [ROOT_SETTINGS] = {.name = "settings", .kind = SHAPE_OPEN, AT(root, settings),
                       .help = "By name, see `penstock settings`"},
    [ROOT_TIME_ZONE] = {.name = "time_zone", .kind = SHAPE_ID, AT(root, time_zone),
                        .help = "IANA time zone of the hub's calendar (quotas). Default: UTC"},
    [ROOT_LIMITS] = {.name = "limits", .kind = SHAPE_LIST, AT(root, limits),
                     .max = LIMIT_POLICIES_MAX - 8, .shape = &config_limit_shape,
                     .help = "How much callers may ask"},
    [ROOT_AUTH] = {.name = "auth", .kind = SHAPE_OBJECT, AT(root, auth),
                   .shape = &config_auth_shape, .help = "Who may call, beside API keys"},
    [ROOT_TELEMETRY] = {.name = "telemetry", .kind = SHAPE_OBJECT, AT(root, telemetry),
                        .shape = &config_telemetry_shape, .help = "Where traces go"},
    [ROOT_AUDIT] = {.name = "audit", .kind = SHAPE_OBJECT, AT(root, audit),
                    .shape = &config_audit_shape, .help = "What the audit keeps"},
    [ROOT_TRUSTED_PROXIES] = {.name = "trusted_proxies", .kind = SHAPE_LIST,
                              AT(root, trusted_proxies), .max = 100,
                              .help = "Addresses and networks of the proxies in front, whose "
                                      "Forwarded or X-Forwarded-For is believed"},
    [ROOT_TWO_PERSONS] = {.name = "two_persons", .kind = SHAPE_LIST, AT(root, two_persons),
                          .max = 100,
                          .help = "Calls that need a second person: \"DELETE "
                                  "/v1/customers/{customer_id}\" …, or all. Default: none"},
    [ROOT_ROLES] = {.name = "roles", .kind = SHAPE_LIST, AT(root, roles), .max = 1000,
                    .shape = &config_role_shape,
                    .help = "Which connector holds a role (erp, tax …), for whom: the first row that fits"},
};
static SHAPE_DEFINE(root_shape, "the configuration", struct root, "penstock.yaml", root_fields);

struct load {
    struct config *config;
    struct fault *fault;
    struct yaml main, locations;
    struct root *root;
};

/* --- settings -------------------------------------------------------------------------- */
static int64_t *setting_at(struct settings *settings, uint32_t i) {
    return (int64_t *)(void *)settings + i;
}

static uint32_t setting_find(struct str name) {
    uint32_t i = 0;
    while (i < setting_count && !str_is(name, setting_table[i].name))
        i++;
    return i;
}

/* true and false are taken for switches, whose bounds are 0 and 1. */
static bool setting_value(const struct setting_info *info, const struct json *value,
                          int64_t *out) {
    if (value->kind == JSON_BOOL && info->min == 0 && info->max == 1) {
        *out = value->count;
        return true;
    }
    return json_i64(value, out) && *out >= info->min && *out <= info->max;
}

static void settings_from_file(struct load *load) {
    const struct json *object = load->root->settings;
    if (!shape_has(load->root, ROOT_SETTINGS))
        return;
    if (object->kind != JSON_OBJECT) {
        yaml_fault(&load->main, load->fault, STR("/settings"), "must be a mapping of settings");
        return;
    }
    const struct json *key = json_first(object);
    for (uint32_t n = 0; n < object->count; n++, key = json_next(key + 1)) {
        char pointer[128];
        snprintf(pointer, sizeof pointer, "/settings/%.*s",
                 (int)(key->text.len < 80 ? key->text.len : 80), key->text.ptr);
        uint32_t i = setting_find(key->text);
        if (i == setting_count) {
            yaml_fault(&load->main, load->fault, str_c(pointer),
                       "is not a setting; `penstock settings` lists them");
            continue;
        }
        const struct setting_info *info = &setting_table[i];
        if (!setting_value(info, key + 1, setting_at(&load->config->settings, i)))
            yaml_fault(&load->main, load->fault, str_c(pointer),
                       "must be an integer from %lld to %lld%s%s", (long long)info->min,
                       (long long)info->max, info->unit[0] ? " " : "", info->unit);
    }
}

static void settings_from_environment(struct load *load) {
    for (uint32_t i = 0; i < setting_count; i++) {
        const struct setting_info *info = &setting_table[i];
        char name[80] = "PENSTOCK_";
        size_t at = strlen(name);
        for (const char *c = info->name; *c && at + 1 < sizeof name; c++)
            name[at++] = *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
        const char *given = getenv(name);
        int64_t value;
        if (!given)
            continue;
        if (str_i64(str_c(given), &value) && value >= info->min && value <= info->max) {
            *setting_at(&load->config->settings, i) = value;
            continue;
        }
        char pointer[100];
        snprintf(pointer, sizeof pointer, "environment:%s", name);
        fault_add(load->fault, str_c(pointer), "must be an integer from %lld to %lld%s%s",
                  (long long)info->min, (long long)info->max, info->unit[0] ? " " : "",
                  info->unit);
    }
}

/* --- order and uniqueness --------------------------------------------------------------- */
/* Channels and locations both begin with `has` and their code. */
struct coded {
    uint64_t has;
    struct str code;
};
_Static_assert(offsetof(struct config_channel, channel) == offsetof(struct coded, code) &&
                   offsetof(struct config_location, location) == offsetof(struct coded, code),
               "the code comes first");

static int coded_order(const void *a, const void *b) {
    return str_cmp(((const struct coded *)a)->code, ((const struct coded *)b)->code);
}

struct code_at {
    struct coded key;
    uint32_t at;
};

static int code_at_order(const void *a, const void *b) {
    const struct code_at *x = a, *y = b;
    int order = str_cmp(x->key.code, y->key.code);
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

/* Names codes given twice, then sorts the list by code. */
static enum err list_settle(struct load *load, const struct yaml *yaml, const char *prefix,
                            const char *member, struct shape_list *list, size_t size) {
    struct code_at *codes = mem_alloc((list->count + 1) * sizeof *codes);
    if (!codes)
        return fault_set(load->fault, ERR_NOMEM, "out of memory");
    for (uint32_t i = 0; i < list->count; i++)
        codes[i] = (struct code_at){*(const struct coded *)(void *)((char *)list->items + size * i), i};
    qsort(codes, list->count, sizeof *codes, code_at_order);
    uint32_t first = 0;
    for (uint32_t i = 1; i < list->count; i++) {
        if (!codes[i].key.code.ptr || !str_eq(codes[i].key.code, codes[first].key.code)) {
            first = i;
            continue;
        }
        char before[64], pointer[64];
        snprintf(before, sizeof before, "%s/%u/%s", prefix, codes[first].at, member);
        snprintf(pointer, sizeof pointer, "%s/%u/%s", prefix, codes[i].at, member);
        yaml_fault(yaml, load->fault, str_c(pointer), "\"%.*s\" is already on line %u",
                   STR_FMT(codes[i].key.code), yaml_line(yaml, str_c(before)));
    }
    mem_free(codes);
    if (list->count > 1)
        qsort(list->items, list->count, size, coded_order);
    return OK;
}

static const void *coded_find(const struct shape_list *list, size_t size, struct str code) {
    struct coded key = {.code = code};
    if (!code.ptr || list->count == 0)
        return NULL;
    return bsearch(&key, list->items, list->count, size, coded_order);
}

const struct config_channel *config_channel(const struct config *config, struct str channel) {
    return coded_find(&config->channels, sizeof(struct config_channel), channel);
}

const struct config_location *config_location(const struct config *config, struct str location) {
    return coded_find(&config->locations, sizeof(struct config_location), location);
}

/* --- what must agree -------------------------------------------------------------------- */
/* Before the channels are sorted, so that i is the file's. */
static void channel_agree(struct load *load, const struct config_channel *channel, uint32_t i) {
    char pointer[80];
    if (!zone_valid(channel->time_zone)) {
        snprintf(pointer, sizeof pointer, "/channels/%u/time_zone", i);
        yaml_fault(&load->main, load->fault, str_c(pointer), "\"%.*s\" is not an IANA time zone",
                   STR_FMT(channel->time_zone));
    }
    if (shape_has(channel, CHANNEL_CURRENCY) && currency_decimals(channel->currency) < 0) {
        snprintf(pointer, sizeof pointer, "/channels/%u/currency", i);
        yaml_fault(&load->main, load->fault, str_c(pointer),
                   "\"%.*s\" is not an active currency of ISO 4217", STR_FMT(channel->currency));
    }
    for (uint32_t k = 0; k < channel->sourcing.count; k++) {
        struct str code = *list_at(channel->sourcing, struct str, k);
        snprintf(pointer, sizeof pointer, "/channels/%u/sourcing/%u", i, k);
        if (!config_location(load->config, code))
            yaml_fault(&load->main, load->fault, str_c(pointer), "there is no location \"%.*s\"",
                       (int)(code.len < 80 ? code.len : 80), code.ptr);
        for (uint32_t before = 0; before < k; before++)
            if (str_eq(code, *list_at(channel->sourcing, struct str, before)))
                yaml_fault(&load->main, load->fault, str_c(pointer),
                           "\"%.*s\" is named twice", STR_FMT(code));
    }
}

static void limits_agree(struct load *load) {
    struct config *config = load->config;
    for (uint32_t i = 0; i < config->limits.count; i++) {
        char pointer[64];
        const char *member;
        const char *wrong = limit_settle(list_at(config->limits, struct config_limit, i), &member);
        if (!wrong)
            continue;
        snprintf(pointer, sizeof pointer, "/limits/%u/%s", i, member);
        yaml_fault(&load->main, load->fault, str_c(pointer), "%s", wrong);
    }
}

static enum err proxies_agree(struct load *load) {
    struct config *config = load->config;
    struct shape_list list = load->root->trusted_proxies;
    config->proxies = arena_array(&config->arena, list.count + 1, sizeof *config->proxies);
    if (!config->proxies)
        return fault_set(load->fault, ERR_NOMEM, "out of memory");
    for (uint32_t i = 0; i < list.count; i++) {
        struct str text = *list_at(list, struct str, i);
        char pointer[48];
        snprintf(pointer, sizeof pointer, "/trusted_proxies/%u", i);
        if (!inet_net_parse(text, &config->proxies[i]))
            yaml_fault(&load->main, load->fault, str_c(pointer),
                       "\"%.*s\" is not an address or a network such as 10.0.0.0/8",
                       (int)(text.len < 80 ? text.len : 80), text.ptr);
    }
    config->proxy_count = list.count;
    return OK;
}

/* --- loading --------------------------------------------------------------------------- */
static enum err main_read(struct load *load) {
    struct config *config = load->config;
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%.*s/penstock.yaml", STR_FMT(config->dir)) >= (int)sizeof path)
        return fault_set(load->fault, ERR_IO, "the path is too long");
    enum err err = yaml_read(&config->arena, path, STR("penstock.yaml"), &load->main, load->fault);
    if (err != OK)
        return err;
    struct fault found;
    fault_init(&found, &config->arena);
    void *doc;
    err = shape_decode(&root_shape, load->main.root, &config->arena, STR(""), &doc, &found);
    if (err != OK) {
        yaml_faults(&load->main, &found, load->fault);
        return err == ERR_NOMEM ? fault_set(load->fault, err, "out of memory") : err;
    }
    load->root = doc;
    if (shape_has(load->root, ROOT_CELL))
        config->cell = load->root->cell;
    if (shape_has(load->root, ROOT_LISTEN))
        err = listen_read(config, load->root->listen, &load->main, "/listen", &config->listen,
                          load->fault);
    if (err == OK && shape_has(load->root, ROOT_TLS))
        err = tls_read(config, load->root->tls, &load->main, load->fault);
    if (err != OK)
        return err;
    config->channels = load->root->channels;
    config->limits = load->root->limits;
    limits_agree(load);
    if (shape_has(load->root, ROOT_TIME_ZONE))
        config->time_zone = load->root->time_zone;
    if (!zone_valid(config->time_zone))
        yaml_fault(&load->main, load->fault, STR("/time_zone"),
                   "\"%.*s\" is not an IANA time zone", STR_FMT(config->time_zone));
    if (shape_has(load->root, ROOT_AUTH))
        config->auth = load->root->auth;
    auth_agree(config, &load->main, load->fault);
    if (shape_has(load->root, ROOT_AUDIT))
        config->audit = *load->root->audit;
    config->two_persons = load->root->two_persons;
    config->roles = load->root->roles;
    roles_place(config, &load->main);
    settings_from_file(load);
    telemetry_read(config, load->root->telemetry, &load->main, load->fault);
    return proxies_agree(load);
}

static enum err locations_load(struct load *load) {
    struct config *config = load->config;
    struct str name = shape_has(load->root, ROOT_LOCATIONS) ? load->root->locations
                                                            : STR("locations.yaml");
    char path[PATH_MAX];
    bool absolute = name.ptr[0] == '/';
    if (snprintf(path, sizeof path, "%.*s%s%.*s", absolute ? 0 : (int)config->dir.len,
                 config->dir.ptr, absolute ? "" : "/", STR_FMT(name)) >= (int)sizeof path)
        return fault_set(load->fault, ERR_IO, "the path is too long");
    enum err err = locations_read(config, path, name, &load->locations, load->fault);
    if (err == ERR_NOT_FOUND || err == ERR_IO) {
        if (load->fault->count == 0) /* told below, with the line that names the file */
            load->fault->detail[0] = '\0';
        yaml_fault(&load->main, load->fault, STR("/locations"), "can not read %s", path);
        return ERR_INVALID;
    }
    return err;
}

static enum err config_read(struct load *load) {
    struct config *config = load->config;
    enum err err = main_read(load);
    settings_from_environment(load); /* even then, so that its faults are told as well */
    if (err != OK)
        return err;
    err = locations_load(load);
    if (err != OK)
        return err;
    err = list_settle(load, &load->locations, "", "location", &config->locations,
                      sizeof(struct config_location));
    if (err != OK)
        return err;
    for (uint32_t i = 0; i < config->channels.count; i++)
        channel_agree(load, list_at(config->channels, struct config_channel, i), i);
    err = list_settle(load, &load->main, "/channels", "channel", &config->channels,
                      sizeof(struct config_channel));
    if (err != OK)
        return err;
    return load->fault->count > 0 ? ERR_INVALID : OK;
}

enum err config_load(const char *dir, struct config **out, struct fault *fault) {
    struct fault own = {0};
    *out = NULL;
    struct config *config = mem_zalloc(sizeof *config);
    if (!config)
        return fault_set(fault, ERR_NOMEM, "out of memory");
    arena_init(&config->arena, CONFIG_BYTES_MAX);
    config->dir = arena_str(&config->arena, str_c(dir));
    config->cell = STR("main");
    static struct str listen_default = {"127.0.0.1:8480", 14};
    config->listen = (struct shape_list){.items = &listen_default, .count = 1};
    config->time_zone = STR("UTC");
    config->auth = arena_new(&config->arena, struct config_auth);
    for (uint32_t i = 0; i < setting_count; i++)
        *setting_at(&config->settings, i) = setting_table[i].dflt;
    struct load load = {.config = config, .fault = fault ? fault : &own};
    enum err err = config->dir.ptr && config->auth ? config_read(&load)
                                   : fault_set(load.fault, ERR_NOMEM, "out of memory");
    if (err != OK) {
        config_destroy(config);
        return err;
    }
    *out = config;
    return OK;
}

void config_destroy(struct config *config) {
    if (!config)
        return;
    arena_free(&config->arena);
    mem_free(config);
}
