/* config_telemetry: the section `telemetry` of penstock.yaml, and what OpenTelemetry's own variables
 * of the environment say, which go first (OpenTelemetry specification, environment variables). */
#include <stdlib.h>

#include "core/config_priv.h"

#define AT(member) .offset = offsetof(struct config_telemetry, member), .since = 1
static const struct shape_field telemetry_fields[] = {
    {.name = "endpoint", .kind = SHAPE_ID, AT(endpoint),
     .help = "Base URL of an OTLP/HTTP collector, such as http://127.0.0.1:4318; spans go to "
             "/v1/traces below it. Default: nowhere"},
    {.name = "service_name", .kind = SHAPE_ID, AT(service_name), .max = 100,
     .help = "The resource's service.name. Default: penstock"},
};
SHAPE_DEFINE(config_telemetry_shape, "telemetry", struct config_telemetry, "Where traces go",
             telemetry_fields);

static struct str environment(const char *name, struct str otherwise) {
    const char *value = getenv(name);
    return value && value[0] ? str_c(value) : otherwise;
}

static bool url_ok(struct str url) {
    for (size_t i = 0; i < url.len; i++)
        if ((unsigned char)url.ptr[i] <= ' ' || url.ptr[i] == '?' || url.ptr[i] == '#')
            return false;
    return (str_starts(url, STR("http://")) && url.len > 7) ||
           (str_starts(url, STR("https://")) && url.len > 8);
}

void telemetry_read(struct config *config, const struct config_telemetry *given,
                    const struct yaml *yaml, struct fault *fault) {
    struct config_telemetry none = {0}, *telemetry = &config->telemetry;
    *telemetry = given ? *given : none;
    struct str endpoint = environment("OTEL_EXPORTER_OTLP_ENDPOINT", telemetry->endpoint);
    struct str name = telemetry->service_name.ptr ? telemetry->service_name : STR("penstock");
    if (endpoint.ptr && !url_ok(endpoint))
        yaml_fault(yaml, fault, STR("/telemetry/endpoint"),
                   "must be an http:// or https:// URL without query%s",
                   endpoint.ptr == telemetry->endpoint.ptr
                       ? ""
                       : " (given as OTEL_EXPORTER_OTLP_ENDPOINT)");
    telemetry->endpoint = endpoint.ptr ? arena_str(&config->arena, endpoint) : STR_NONE;
    telemetry->service_name = arena_str(&config->arena, environment("OTEL_SERVICE_NAME", name));
    telemetry->headers = environment("OTEL_EXPORTER_OTLP_HEADERS", STR_NONE);
    if (telemetry->headers.ptr)
        telemetry->headers = arena_str(&config->arena, telemetry->headers);
}
