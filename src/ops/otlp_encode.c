/* otlp_encode: see otlp.h. Attributes of spans are encoded already, where they were recorded. */
#include "connect/net.h"
#include "ops/otlp.h"

static void attribute(struct buf *out, const char *key, struct str value, bool first) {
    buf_str_add(out, first ? STR("{\"key\":") : STR(",{\"key\":"));
    buf_json_str(out, str_c(key));
    buf_lit(out, ",\"value\":{\"stringValue\":");
    buf_json_str(out, value);
    buf_lit(out, "}}");
}

void otlp_begin(struct buf *out, const struct otlp_resource *resource) {
    buf_lit(out, "{\"resourceSpans\":[{\"resource\":{\"attributes\":[");
    attribute(out, "service.name", resource->service_name, true);
    attribute(out, "service.version", resource->service_version, false);
    attribute(out, "service.instance.id", resource->instance, false);
    attribute(out, "penstock.cell", resource->cell, false);
    attribute(out, "telemetry.sdk.name", STR("penstock"), false);
    attribute(out, "telemetry.sdk.language", STR("c"), false);
    attribute(out, "telemetry.sdk.version", resource->service_version, false);
    buf_lit(out, "]},\"scopeSpans\":[{\"scope\":{\"name\":\"penstock\",\"version\":");
    buf_json_str(out, resource->service_version);
    buf_lit(out, "},\"spans\":[");
}

static void member_id(struct buf *out, struct str name, const char *id, size_t len) {
    buf_str_add(out, name);
    buf_add(out, id, len);
    buf_char(out, '"');
}

/* fixed64 nanoseconds, as a text. */
static void member_time(struct buf *out, struct str name, int64_t us) {
    buf_str_add(out, name);
    buf_i64(out, us);
    buf_lit(out, "000\"");
}

void otlp_span(struct buf *out, const struct span *span, bool first) {
    if (!first)
        buf_char(out, ',');
    member_id(out, STR("{\"traceId\":\""), span->trace_id, TRACE_ID_LEN);
    member_id(out, STR(",\"spanId\":\""), span->id, SPAN_ID_LEN);
    if (span->has_parent)
        member_id(out, STR(",\"parentSpanId\":\""), span->parent, SPAN_ID_LEN);
    buf_lit(out, ",\"flags\":1,\"name\":");
    buf_json_str(out, str_of(span->name, span->name_len));
    buf_lit(out, ",\"kind\":");
    buf_u64(out, (uint64_t)span->kind);
    member_time(out, STR(",\"startTimeUnixNano\":\""), span->start_us);
    member_time(out, STR(",\"endTimeUnixNano\":\""), span->end_us);
    buf_lit(out, ",\"attributes\":[");
    buf_add(out, span->attributes, span->attributes_len);
    buf_char(out, ']');
    if (span->attributes_dropped > 0) {
        buf_lit(out, ",\"droppedAttributesCount\":");
        buf_u64(out, span->attributes_dropped);
    }
    if (span->failed) /* STATUS_CODE_ERROR */
        buf_lit(out, ",\"status\":{\"code\":2}");
    buf_char(out, '}');
}

void otlp_end(struct buf *out) { buf_lit(out, "]}]}]}"); }

/* --- headers ------------------------------------------------------------------------------- */

static bool token_char(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Percent-decoded; false where that can not be done, or gives what may not stand in a header. */
static bool value_decode(struct str text, char *out, size_t *len) {
    *len = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '%') {
            int high = i + 2 < text.len ? hex_digit(text.ptr[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(text.ptr[i + 2]) : -1;
            if (low < 0)
                return false;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (c < ' ' || c == 0x7f)
            return false;
        out[(*len)++] = c;
    }
    return true;
}

enum err otlp_headers(struct str text, struct arena *arena, struct net_header **headers,
                      uint32_t *count, struct fault *fault) {
    *count = 0;
    *headers = arena_array(arena, OTLP_HEADERS_MAX + 1, sizeof **headers);
    if (!*headers)
        return fault_set(fault, ERR_NOMEM, "no memory for the collector's headers");
    while (text.ptr) {
        struct str value = str_trim(str_cut(&text, ','));
        if (value.len == 0)
            continue;
        struct str name = str_trim(str_cut(&value, '='));
        bool ok = value.ptr && name.len > 0 && *count < OTLP_HEADERS_MAX;
        for (size_t i = 0; ok && i < name.len; i++)
            ok = token_char(name.ptr[i]);
        char *decoded = arena_bytes(arena, value.len + 1);
        size_t len = 0;
        if (!decoded)
            return fault_set(fault, ERR_NOMEM, "no memory for the collector's headers");
        if (!ok || !value_decode(str_trim(value), decoded, &len))
            return fault_set(fault, ERR_INVALID, /* no values: they are secrets */
                             "OTEL_EXPORTER_OTLP_HEADERS must be name=value, separated by commas, "
                             "values percent-encoded, at most %d of them", OTLP_HEADERS_MAX);
        (*headers)[(*count)++] = (struct net_header){name, str_of(decoded, len)};
    }
    return OK;
}
