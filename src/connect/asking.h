/* asking: what mappings ask of this hub (map/mapping.h), answered on the worker's own thread from what
 * the capabilities publish: never behind the writer, never waiting. */
#ifndef PENSTOCK_CONNECT_ASKING_H
#define PENSTOCK_CONNECT_ASKING_H

#include "core/core.h"
#include "map/mapping.h"

/* One per thread that runs mappings. */
struct asking {
    struct core *core;
    struct json_parser *parser; /* the thread's */
    struct asking_looks *looks; /* of the document being mapped; NULL: orders are not looked at */
};

/* What was looked at for one document and took its time: it is asked through the writer and read from
 * the journal; the run that wants it ends with ERR_UNAVAILABLE and is made again once it is here. */
#define ASKING_LOOKS_MAX 8
struct asking_looks {
    struct {
        struct mapping_look look;
        const struct json *answer; /* NULL: there is none */
    } items[ASKING_LOOKS_MAX];
    uint32_t count;
    struct mapping_look wanted; /* by the last run; what absent: nothing */
};
/* The command that asks for what is wanted, to be submitted; and its answer, from the journal, without
 * what is personal. Everything lies in the arena. */
enum err asking_fetch(const struct asking *asking, struct arena *arena, struct command *out,
                      struct fault *fault) WARN_UNUSED;
enum err asking_fetched(const struct asking *asking, struct tail *tail, const struct command *command,
                        struct arena *arena, struct fault *fault) WARN_UNUSED;
/* For mapper_hub; its ctx is a struct asking.
 * look("availability", sku [, location]): {items = {…}} as GET /v1/availability answers.
 * look("order", order_id), look("order", channel, number): the order as it was captured. */
extern const struct mapping_hub asking_hub;

#endif
