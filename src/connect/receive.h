/* receive: webhooks in. POST /x/{connector}/{topic}: the signature is checked over the bytes as
 * they came, then the payload becomes the command inbound.receive, a fact: stored before
 * anything looks at what it says. What follows from it is connect/inbound.h's business. */
#ifndef PENSTOCK_CONNECT_RECEIVE_H
#define PENSTOCK_CONNECT_RECEIVE_H

#include "connect/connector.h"
#include "core/command.h"

/* A header of the request by name in any case, or absent. */
struct receive_header_source {
    struct str (*header)(void *ctx, struct str name);
    void *ctx;
    /* Where the body was sent in a content coding: takes it out of it, once, after the signature,
     * which is over the bytes as sent, was found good. NULL: there is none. */
    enum err (*unpack)(void *ctx, struct str sent, struct str *body, struct fault *fault);
};

/* Prepares *out (zeroed by the caller or not: all is overwritten) for core_submit, in `arena`,
 * which belongs to the command afterwards; `body` must live as long; `parser` is the caller's
 * thread's. The caller sets origin,
 * origin_ctx, correlation and traceparent before it submits, and answers like any command:
 * 200 {"payload_id":"pay_…","seq":42}; the same message again (dedup id and bytes): the same answer,
 * replayed.
 *
 * ERR_NOT_FOUND: no such connector or topic; ERR_UNAUTHENTICATED: signature missing, wrong, too
 * old, or no secret is set; ERR_NOMEM. A message without the dedup id that is declared is
 * taken as a new one. */
enum err receive_prepare(struct core *core, const struct connectors *connectors,
                         struct str connector, struct str topic,
                         const struct receive_header_source *headers, struct str body,
                         struct json_parser *parser, struct arena *arena, struct command *out,
                         struct fault *fault) WARN_UNUSED;

/* A value that a connector takes from a document, as it is stored; absent: there is none. */
struct str receive_member(const struct connector_place *place, const struct json *doc, bool strict,
                          struct arena *arena);
/* The command inbound.receive for a document that was fetched (a poll, a file): `dedup` is its
 * sender's id, `body` its text on one line, `doc` its nodes (NULL: it is no JSON). Both stay until
 * the command is answered, as does the arena. ERR_NOMEM, ERR_TOO_LARGE. */
enum err receive_item(struct core *core, const struct connector *connector,
                      const struct connector_receive *receive, struct str dedup,
                      const struct json *doc, struct str body, struct arena *arena,
                      struct command *out, struct fault *fault) WARN_UNUSED;
/* The same for a message of a stream, which has headers as a webhook has: `dedup` is its id where the
 * connector does not say where that stands, or it is not there. `body` is anything. */
enum err receive_message(struct core *core, const struct connector *connector,
                         const struct connector_receive *receive,
                         const struct receive_header_source *headers, struct str dedup, struct str body,
                         struct str content_type, struct json_parser *parser, struct arena *arena,
                         struct command *out, struct fault *fault) WARN_UNUSED;

#endif
