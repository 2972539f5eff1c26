/* nats_link: one connection to NATS on which requests are published and their replies gathered. It has a
 * thread of its own that connects and publishes, because both may have to wait; replies come on a thread of
 * the library; the owner, on a third one, puts requests in and takes replies out, and never waits.
 *
 * What always holds: requests are published in the order they were put; each that was put is withdrawn, or
 * was published, or is told of as unsent; when the connection is lost, the owner hears which requests had
 * been published on it and may or may not have arrived. */
#ifndef PENSTOCK_CONNECT_NATS_LINK_H
#define PENSTOCK_CONNECT_NATS_LINK_H

#include <nats/nats.h>

#include "base/str.h"

struct nats_link;
struct nats_link_options {
    natsOptions *options; /* taken */
    void (*wake)(void *ctx); /* any thread: there are replies; only signals */
    void *wake_ctx;
};
/* NULL: no memory, or no thread; the options are destroyed then, too. */
struct nats_link *nats_link_create(const struct nats_link_options *options);
/* Waits for the thread: at most as long as it takes to connect. Requests not published are dropped. */
void nats_link_close(struct nats_link *link);

/* The subject that replies to this request have to be sent to, a C string. */
#define NATS_INBOX_BYTES 96
void nats_link_inbox(const struct nats_link *link, uint64_t token, char out[NATS_INBOX_BYTES]);
/* Publishes a message whose reply subject is the token's; tokens only grow. The message is taken. False: no
 * memory. */
bool nats_link_put(struct nats_link *link, natsMsg *message, uint64_t token);
/* True: it was not published, and will not be. */
bool nats_link_withdraw(struct nats_link *link, uint64_t token);

enum nats_reply_kind {
    NATS_REPLY,  /* `text` is what was answered */
    NATS_NOBODY, /* nobody listens on the subject: it went nowhere */
    NATS_UNSENT, /* it was not published: `status` says why, and `text` for people */
    NATS_LOST,   /* all up to this token that are not answered: published, and the connection broke */
};
struct nats_reply {
    struct nats_reply *next;
    enum nats_reply_kind kind;
    uint64_t token;
    natsStatus status;
    struct str text; /* as long as the reply */
};
/* What has come since the last time, oldest first; each is to be freed with mem_free. */
struct nats_reply *nats_link_take(struct nats_link *link);

#endif
