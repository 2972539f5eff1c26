/* otlp: sends recorded spans (base/span.h) to a collector: OTLP/HTTP with JSON (OpenTelemetry
 * Protocol 1.x; the JSON mapping of its protobuf messages: ids in hex, 64-bit integers as texts,
 * enums as numbers).
 *
 * A thread of its own with a loop: every trace_interval_ms it takes what there is, at most
 * OTLP_BATCH_SPANS at once, and posts it. What the collector could not take for now (no answer,
 * 429, 502, 503, 504) is sent again after a growing pause, OTLP_TRIES times in all; anything else is
 * final. Meanwhile the rings fill and drop: nobody ever waits for a collector. */
#ifndef PENSTOCK_OPS_OTLP_H
#define PENSTOCK_OPS_OTLP_H

#include "base/clock.h"
#include "base/metric.h"
#include "base/span.h"
#include "core/config.h"

#define OTLP_BATCH_SPANS 512
#define OTLP_TRIES 6
#define OTLP_PAUSE_FIRST_MS 1000
#define OTLP_PAUSE_MAX_MS 30000
#define OTLP_FAREWELL_MS 2000 /* at the end: for one last batch */

struct otlp;
/* Switches spans on and starts the thread; *out is NULL and nothing is started where the
 * configuration names no endpoint. ERR_INVALID: the headers can not be read. */
enum err otlp_start(const struct config *config, struct clock *clock, struct otlp **out,
                    struct fault *fault) WARN_UNUSED;
/* Sends what there still is, for OTLP_FAREWELL_MS at most. All threads that record have ended, or
 * record no more. NULL is fine. */
void otlp_stop(struct otlp *otlp);
/* Any thread. NULL is fine: there is nothing to tell. */
void otlp_figures(const struct otlp *otlp, struct metrics *out);

/* --- otlp_encode.c: the bodies ------------------------------------------------------------- */
/* ExportTraceServiceRequest: begin, any number of spans, end. */
struct otlp_resource {
    struct str service_name, service_version, instance, cell;
};
void otlp_begin(struct buf *out, const struct otlp_resource *resource);
void otlp_span(struct buf *out, const struct span *span, bool first);
void otlp_end(struct buf *out);

/* "a=b,c=d%20e" (OTEL_EXPORTER_OTLP_HEADERS) as headers; names must be tokens (RFC 9110), values
 * visible characters and spaces. ERR_INVALID, ERR_NOMEM. */
struct net_header;
enum err otlp_headers(struct str text, struct arena *arena, struct net_header **headers,
                      uint32_t *count, struct fault *fault) WARN_UNUSED;
#define OTLP_HEADERS_MAX 32

#endif
