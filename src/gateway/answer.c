/* answer: what leaves the gateway: answers of commands and queries, and problems, with the
 * headers that every answer carries. Counts them. */
#include "gateway/gateway_priv.h"

#include "base/span.h"
#include "gateway/problem.h"

#define JSON_TYPE STR("application/json")

void call_count(struct call *call, int status) {
    int64_t arrived_us = http_exchange_request(call->ex)->arrived_us;
    int64_t us = arrived_us ? clock_tick_us(call->gateway->clock) - arrived_us : 0;

    counters_count(call->loop, call->match.entry, status, us);
    if (span_sampled(call->context.traceparent))
        call_span(call, status);
    call_log(call, status, us);
}

/* RFC 9745, RFC 8594. */
static void notice_write(struct http_exchange *ex, const struct contract_notice *notice) {
    if (notice->deprecation.ptr)
        http_answer_header(ex, STR("Deprecation"), notice->deprecation);
    if (notice->sunset.ptr)
        http_answer_header(ex, STR("Sunset"), notice->sunset);
    http_answer_header(ex, STR("Link"), notice->link);
}

void call_headers(struct call *call, uint64_t seq) {
    const struct route_entry *entry = call->match.entry;

    http_answer_header(call->ex, STR("Penstock-Correlation-Id"), call->context.correlation);
    http_answer_header_u64(call->ex, STR("Penstock-Seq"), seq);
    if (entry && call->gateway->notices[entry->index])
        notice_write(call->ex, call->gateway->notices[entry->index]);
    limit_headers(call);
}

/* The value of the first "version" of a document that has one (not of a list). */
static struct str version_of(struct str body) {
    static const struct str items = {"{\"items\":", 9}, name = {"\"version\":", 10};
    const char *at;
    size_t len = 0;

    if (str_starts(body, items))
        return STR_NONE;
    at = memmem(body.ptr, body.len, name.ptr, name.len);
    if (!at)
        return STR_NONE;
    at += name.len;
    while (at + len < body.ptr + body.len && at[len] >= '0' && at[len] <= '9')
        len++;
    return len > 0 ? str_of(at, len) : STR_NONE;
}

/* RFC 8288: the same request, with another cursor. */
static void link_write(struct call *call, struct str cursor) {
    const struct http_request *request = http_exchange_request(call->ex);
    struct str rest = request->query;
    struct buf *out = &call->loop->out;
    size_t from = out->len; /* behind the body, which may lie there */

    buf_char(out, '<');
    buf_str_add(out, request->path);
    buf_char(out, '?');
    while (rest.ptr && rest.len > 0) {
        struct str piece = str_cut(&rest, '&');

        if (piece.len == 0 || str_starts(piece, STR("cursor=")) ||
            (call->match.entry->route == hub_route_events && str_starts(piece, STR("after="))))
            continue;
        buf_str_add(out, piece);
        buf_char(out, '&');
    }
    buf_str_add(out, call->match.entry->route == hub_route_events ? STR("after=") : STR("cursor="));
    for (size_t i = 0; i < cursor.len; i++) {
        char c = cursor.ptr[i];

        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
            c == '-' || c == '_' || c == '.' || c == '~')
            buf_char(out, c);
        else
            buf_printf(out, "%%%02X", (unsigned char)c);
    }
    buf_lit(out, ">; rel=\"next\"");
    if (buf_ok(out))
        http_answer_header(call->ex, STR("Link"), str_of(out->data + from, out->len - from));
    out->len = from;
}

void call_answer(struct call *call, int status, struct str media_type, struct str body,
                 uint64_t seq, struct str next_cursor, bool replayed) {
    struct http_exchange *ex = call->ex;
    const struct route_entry *entry = call->match.entry;
    struct str version = STR_NONE, copy;
    struct coded coded = {.body = body};

    if (status == 200)
        coding_answer(call, body, &coded);
    copy = coded.body;
    if (next_cursor.ptr && copy.ptr == call->loop->out.data)
        copy = arena_str(http_exchange_arena(ex), copy); /* link_write may move it */
    http_answer_begin(ex, status);
    call_headers(call, seq);
    if (replayed)
        http_answer_header(ex, STR("Idempotency-Replayed"), STR("true"));
    if (entry && call->gateway->versioned[entry->index])
        version = version_of(body);
    if (version.ptr) {
        char etag[32];
        int len = snprintf(etag, sizeof etag, "\"%.*s%s\"", STR_FMT(version),
                           coded.packed ? CODING_ETAG_SUFFIX : "");

        if (len > 0 && (size_t)len < sizeof etag)
            http_answer_header(ex, STR("ETag"), str_of(etag, (size_t)len));
    }
    if (coded.packed)
        http_answer_header(ex, STR("Content-Encoding"), STR("gzip"));
    if (coded.varies)
        http_answer_header(ex, STR("Vary"), STR("Accept-Encoding"));
    if (next_cursor.ptr)
        link_write(call, next_cursor);
    call_count(call, status);
    http_answer_end(ex, media_type, copy);
}

void call_problem(struct call *call, enum err err, const struct fault *fault) {
    struct http_exchange *ex = call->ex;
    int status = err_info(err)->status;
    struct buf *out = &call->loop->out;

    audit_refusal(call, err);
    buf_clear(out);
    problem_write(out, err, fault, call->context.correlation);
    http_answer_begin(ex, status);
    call_headers(call, core_seq(call->gateway->options.core));
    if (call->challenge.ptr)
        http_answer_header(ex, STR("WWW-Authenticate"), call->challenge);
    else if (status == 401)
        http_answer_header(ex, STR("WWW-Authenticate"), STR("Bearer realm=\"penstock\""));
    if ((status == 405 || status == 501) && call->match.allow)
        http_answer_header(ex, STR("Allow"), str_c(call->match.allow));
    if (err == ERR_CONTENT_CODING) /* RFC 9110 section 12.5.3 */
        http_answer_header(ex, STR("Accept-Encoding"), STR("gzip"));
    if (status == 503 || status == 429)
        http_answer_header_u64(ex, STR("Retry-After"),
                               call->retry_after_s > 0 ? (uint64_t)call->retry_after_s : 1);
    call_count(call, status);
    http_answer_end(ex, STR("application/problem+json"), buf_str(out));
}

void call_answer_command(struct call *call) {
    const struct answer *answer = &call->command.answer;

    if (answer->err != OK)
        call_problem(call, answer->err, &answer->fault);
    else
        call_answer(call, answer->status ? answer->status : 200, JSON_TYPE, answer->body,
                    answer->seq, answer->next_cursor, answer->replayed);
}
