/* client: a small HTTP client for commands that talk to a running hub (--hub URL --key K, or
 * PENSTOCK_HUB and PENSTOCK_KEY). One connection, kept alive; not shared between threads. */
#ifndef PENSTOCK_CLI_CLIENT_H
#define PENSTOCK_CLI_CLIENT_H

#include "base/json.h"
#include "cli/cli.h"

#define CLIENT_HUB_DEFAULT "http://127.0.0.1:8480"
#define CLIENT_ANSWER_MAX ((size_t)256 << 20) /* bytes of an answer that are taken */

struct client;

struct client_request {
    const char *method;    /* "GET" when NULL */
    const char *path;      /* "/v1/orders?limit=1", percent-encoded where needed */
    struct str body;       /* absent: none */
    const char *media;     /* of the body; application/json when NULL */
    const char *const *headers; /* "Name: value", NULL-ended; may be NULL */
    long timeout_ms;       /* 0: 30 s */
};
struct client_answer {
    int status;
    struct str body;         /* in the arena */
    const struct json *json; /* of the body where it is JSON, else NULL */
    bool replayed;           /* Idempotency-Replayed: true */
    uint64_t seq;            /* Penstock-Seq, 0 where absent */
};

/* hub NULL: PENSTOCK_HUB, else CLIENT_HUB_DEFAULT; key NULL: PENSTOCK_KEY, else none; an empty
 * key sends none. NULL when memory is out. */
struct client *client_create(const char *hub, const char *key);
void client_destroy(struct client *client);
const char *client_hub(const struct client *client);

/* Any HTTP status is OK here. ERR_UPSTREAM where there was no answer (nobody listens, broken
 * off), ERR_UPSTREAM_TIMEOUT, ERR_NOMEM. */
enum err client_call(struct client *client, const struct client_request *request,
                     struct arena *arena, struct client_answer *answer,
                     struct fault *fault) WARN_UNUSED;
/* GET path with status 200 and a JSON body; anything else is a fault that says what the hub
 * said (its problem's title, detail and items). */
enum err client_get(struct client *client, const char *path, struct arena *arena,
                    struct client_answer *answer, struct fault *fault) WARN_UNUSED;
/* Puts a problem document (RFC 9457) into the fault, with the error that has its status. */
enum err client_problem(const struct client_answer *answer, struct fault *fault);
/* text percent-encoded as one part of a path or query (RFC 3986 unreserved stay). */
void client_encode(struct buf *out, struct str text);

/* Whether the answer is that a second person must decide; told on stderr, then. */
bool client_waits(const struct cli *cli, const struct client_answer *answer);

/* The client of a command: --hub and --key. NULL when memory is out (told). */
struct client *cli_client(const struct cli *cli);

#endif
