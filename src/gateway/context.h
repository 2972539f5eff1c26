/* context: what a request says about itself in headers: correlation, trace, preconditions. */
#ifndef PENSTOCK_GATEWAY_CONTEXT_H
#define PENSTOCK_GATEWAY_CONTEXT_H

#include "base/arena.h"
#include "base/err.h"
#include "base/rng.h"
#include "gateway/http.h"

#define CORRELATION_MAX 128
#define IDEM_KEY_MAX 255

/* An entity tag names a representation: that in gzip is another one (RFC 9110 section 8.8.3.3), of
 * the same version. If-Match takes both. */
#define CODING_ETAG_SUFFIX "-gzip"

struct call_context {
    struct str correlation; /* 1 to 128 printable ASCII characters */
    struct str traceparent; /* ours: the caller's trace, a span of our own */
    struct str parent_span; /* the caller's span, 16 hex digits; absent: the trace begins here */
    struct str idem_key;    /* absent where none was given */
    int64_t if_match;       /* -1: none given, or "*" */
    bool has_wait_seq;
    uint64_t wait_seq;
};

/* Correlation: Penstock-Correlation-Id, else X-Correlation-ID, else the trace id of traceparent,
 * else made (the id of the trace begun here). One that is too long or not printable is passed
 * over: it must not keep a sale from being made. The trace of a valid traceparent (W3C Trace
 * Context, section 3.2) goes on with a new span id and is sampled where the caller's is; an invalid
 * one is passed over, as the standard asks. A trace that begins here is sampled by chance
 * (base/span.h). ERR_NOMEM. */
enum err context_read(const struct http_request *request, struct rng *rng, struct arena *arena,
                      struct call_context *out, struct fault *fault) WARN_UNUSED;

/* Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07: a structured field string in
 * quotes; a bare word of visible characters too), If-Match ("v7", "7", 7; "*"),
 * Penstock-Wait-Seq. ERR_BAD_REQUEST. */
enum err preconditions_read(const struct http_request *request, struct arena *arena,
                            struct call_context *out, struct fault *fault) WARN_UNUSED;

/* "00-<32 hex>-<16 hex>-<2 hex>", lower case, ids not all zero; of a later version what it
 * shares with this one. */
bool traceparent_parse(struct str text, char trace_id[32], char flags[2]);

#endif
