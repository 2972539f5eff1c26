/* config_priv: what config.c and the reader of the locations file share. */
#ifndef PENSTOCK_CORE_CONFIG_PRIV_H
#define PENSTOCK_CORE_CONFIG_PRIV_H

#include "base/yaml.h"
#include "core/config.h"

#define LOCATIONS_MAX 100000u

/* Reads the locations file into config->locations, in the file's order, faults into `fault`;
 * *out gets the nodes, whose array's elements are the locations. */
enum err locations_read(struct config *config, const char *path, struct str name, struct yaml *out,
                        struct fault *fault) WARN_UNUSED;
/* CSV (RFC 4180, comma, a header line) as an array of objects, every value a string, empty
 * ones left out. Errors as yaml_parse. */
enum err csv_parse(struct arena *arena, struct str name, struct str text, struct yaml *out,
                   struct fault *fault) WARN_UNUSED;
/* HOST:PORT, or a list of them, into a list of struct str. Faults go to `fault`; ERR_NOMEM alone
 * is answered. */
enum err listen_read(struct config *config, const struct json *value, const struct yaml *yaml,
                     const char *pointer, struct shape_list *out, struct fault *fault) WARN_UNUSED;
/* The tls section: completes it and makes it the configuration's. Errors as listen_read. */
extern const struct shape config_tls_shape;
enum err tls_read(struct config *config, struct config_tls *tls, const struct yaml *yaml,
                  struct fault *fault) WARN_UNUSED;
/* What must agree in config->auth, and what is computed from it. */
void auth_agree(struct config *config, const struct yaml *yaml, struct fault *fault);
extern const struct shape config_telemetry_shape;
/* The section as read (NULL: there is none), then the environment; faults into `fault`. */
void telemetry_read(struct config *config, const struct config_telemetry *given,
                    const struct yaml *yaml, struct fault *fault);
/* Whether `zone` is a name of the IANA time zone database, as far as this machine knows. */
bool zone_valid(struct str zone);

/* config_roles.c */
void roles_place(struct config *config, const struct yaml *yaml);

#endif
