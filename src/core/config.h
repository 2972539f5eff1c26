/* config: the configuration folder, read once at start: penstock.yaml and the locations file.
 * Every fault is reported with file and line. Immutable afterwards; shared by all threads. */
#ifndef PENSTOCK_CORE_CONFIG_H
#define PENSTOCK_CORE_CONFIG_H

#include "base/err.h"
#include "base/inet.h"
#include "base/str.h"
#include "core/config_auth.h"
#include "core/config_roles.h"
#include "shape/shape.h"

enum on_shortage { SHORTAGE_REFUSE, SHORTAGE_BACK_ORDER, SHORTAGE_HOLD };

struct config_channel {
    uint64_t has;
    struct str channel;   /* "web-de" */
    struct str name;
    struct str time_zone; /* IANA: "Europe/Berlin" */
    struct str currency;  /* default for prices; ISO 4217 */
    struct shape_list sourcing; /* of struct str: locations tried in order */
    int32_t on_shortage;  /* enum on_shortage: what a request meets; facts are held instead of refused */
};
enum config_channel_row {
    CHANNEL_CHANNEL, CHANNEL_NAME, CHANNEL_TIME_ZONE, CHANNEL_CURRENCY, CHANNEL_SOURCING,
    CHANNEL_ON_SHORTAGE,
};

enum location_kind { LOCATION_WAREHOUSE, LOCATION_STORE };
struct config_location {
    uint64_t has;
    struct str location; /* "WH-HAM" */
    int32_t kind;
    struct str name;
    struct str time_zone;
};
enum config_location_row { LOCATION_LOCATION, LOCATION_KIND, LOCATION_NAME, LOCATION_TIME_ZONE };

/* Paths are whole: what the file names relative to the configuration's folder is found there. */
struct config_certificate {
    uint64_t has;
    struct str certificate, key; /* PEM files, NUL behind them */
};
enum config_certificate_row { CERTIFICATE_CERTIFICATE, CERTIFICATE_KEY };
enum config_clients { CLIENTS_NONE, CLIENTS_OPTIONAL, CLIENTS_REQUIRED };
struct config_tls {
    uint64_t has;
    const struct json *listen_value;
    struct shape_list listen; /* of struct str, "0.0.0.0:8443"; empty: config.listen speaks TLS */
    struct shape_list certificates; /* of struct config_certificate, at least one */
    int32_t clients;                /* enum config_clients */
    struct str client_ca, client_crl; /* absent where there is none */
    int32_t min_version;              /* 0: TLS 1.2, 1: TLS 1.3 */
};
enum config_tls_row {
    TLS_LISTEN, TLS_CERTIFICATES, TLS_CLIENT_CERTIFICATES, TLS_CLIENT_CA, TLS_CLIENT_CRL,
    TLS_MIN_VERSION,
};

/* What the audit keeps; penstock.yaml's `audit`. */
enum audit_reads { AUDIT_READS_WAIT, AUDIT_READS_ASYNC, AUDIT_READS_OFF };
enum audit_addresses { AUDIT_ADDRESSES_FULL, AUDIT_ADDRESSES_NETWORK, AUDIT_ADDRESSES_NONE };
struct config_audit {
    uint64_t has;
    int32_t reads;     /* of what is personal: enum audit_reads */
    int32_t addresses; /* of clients: enum audit_addresses */
};

struct settings {
#define SETTING(name, kind, dflt, min, max, unit, help) int64_t name;
#include "core/settings.def"
#undef SETTING
};
struct setting_info {
    const char *name, *unit, *help;
    int64_t dflt, min, max;
};
extern const struct setting_info setting_table[];
extern const uint32_t setting_count;

/* Where traces go (docs/operations.md). */
struct config_telemetry {
    uint64_t has;
    struct str endpoint;     /* "http://collector:4318"; absent: nowhere */
    struct str service_name; /* never absent once loaded */
    struct str headers;      /* "name=value,…", percent-encoded; of the environment alone */
};

struct config {
    struct arena arena;
    struct str dir;
    struct str cell;   /* "main": part of event ids and source */
    struct shape_list listen; /* of struct str, "127.0.0.1:8480": one at least */
    const struct config_tls *tls; /* NULL: everything is plain */
    struct shape_list channels;  /* of struct config_channel, sorted by channel */
    struct shape_list locations; /* of struct config_location, sorted by location */
    struct str time_zone;        /* of the hub's own calendar; IANA, default UTC */
    struct shape_list limits;    /* of struct config_limit (core/limits.h), in the file's order */
    struct config_auth *auth; /* never NULL */
    struct config_audit audit;
    struct inet_net *proxies; /* those whose word on where a request came from is taken */
    uint32_t proxy_count;
    struct shape_list two_persons; /* of struct str: "DELETE /v1/customers/{customer_id}", "all" */
    struct shape_list roles;       /* of struct config_role, in the file's order */
    struct settings settings;
    struct config_telemetry telemetry;
};

extern const struct shape config_channel_shape, config_location_shape;

/* Reads DIR/penstock.yaml and what it names. Every fault into `fault`, pointer is
 * "file:line:/json/pointer". */
enum err config_load(const char *dir, struct config **out, struct fault *fault) WARN_UNUSED;
void config_destroy(struct config *config);
/* NULL where there is none. */
const struct config_channel *config_channel(const struct config *config, struct str channel);
const struct config_location *config_location(const struct config *config, struct str location);

#endif
