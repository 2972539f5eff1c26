/* nats_look: whether a message is in a JetStream stream, asked step by step over the stream's API: which
 * stream takes the subject, what is its last message there, and where that is another one, which of those
 * that came since the event happened has the id. So a message that may have arrived is found however long ago
 * that was, while JetStream by itself knows an id for its duplicate window alone.
 *
 * Computes; the caller sends what it wants asked. It speaks the JetStream API of nats-server 2.9 and later
 * (docs.nats.io/reference/reference-protocols/nats_api_reference): STREAM.NAMES, STREAM.MSG.GET. */
#ifndef PENSTOCK_CONNECT_NATS_LOOK_H
#define PENSTOCK_CONNECT_NATS_LOOK_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

#define NATS_LOOK_STEPS_MAX 2000
#define NATS_LOOK_SLACK_US INT64_C(600000000) /* the server's clock may be so far behind the hub's */

enum nats_look_end {
    NATS_LOOK_ASK,     /* the next question is in `to` and `question` */
    NATS_LOOK_FOUND,   /* `stream` and `seq` say where */
    NATS_LOOK_ABSENT,
    NATS_LOOK_UNKNOWN, /* `why`: it can not be said */
};
struct nats_look {
    struct str subject, id;
    struct str domain; /* of JetStream; empty: that of the connection */
    int64_t since_us;  /* when its event happened; 0: not known */
    struct buf to, question; /* the caller's, initialised */
    /* its own */
    enum { NATS_LOOK_NAMES, NATS_LOOK_LAST, NATS_LOOK_SEARCH, NATS_LOOK_WALK } stage;
    char stream[256], why[200];
    uint64_t low, high, seq;
    uint32_t steps;
};

enum nats_look_end nats_look_begin(struct nats_look *look);
/* The answer to what was asked. */
enum nats_look_end nats_look_answer(struct nats_look *look, struct str text, struct json_parser *parser,
                                    struct arena *arena);

#endif
