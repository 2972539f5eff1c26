/* traffic: what came in by each topic of a connector, over all its versions: counted by any thread, never
 * taken back. */
#ifndef PENSTOCK_CONNECT_TRAFFIC_H
#define PENSTOCK_CONNECT_TRAFFIC_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/str.h"

struct traffic_topic {
    char name[65];
    _Atomic uint64_t received;
    _Atomic uint64_t repaired;   /* of a backstop: what the webhook had not brought */
    _Atomic int64_t received_us, repaired_us; /* the newest, wall clock; 0: none since the start */
    /* of `expect`, told by expects.h once a second: */
    _Atomic int64_t absent_us;   /* it did not come, since; 0: all is well */
    _Atomic uint64_t came;       /* of those that are looked for now */
    _Atomic int64_t left_us;     /* of the hours that count, until so many must have come; 0: not known */
};
#define TRAFFIC_TOPICS_MAX 64
struct traffic {
    struct traffic_topic topics[TRAFFIC_TOPICS_MAX];
    _Atomic uint32_t count;
};
/* Of this name; made where it is new. NULL: there are too many. */
struct traffic_topic *traffic_topic(struct traffic *traffic, struct str name);
/* NULL where nothing was counted. */
const struct traffic_topic *traffic_find(const struct traffic *traffic, struct str name);
void traffic_received(struct traffic *traffic, struct str name, int64_t now_us);
void traffic_repaired(struct traffic *traffic, struct str name, int64_t now_us);

#endif
