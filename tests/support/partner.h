/* partner: a connector in a folder of its own, made from texts, and the inbound workers over a cell. */
#ifndef PENSTOCK_TESTS_SUPPORT_PARTNER_H
#define PENSTOCK_TESTS_SUPPORT_PARTNER_H

#include "cell.h"
#include "connect/connector.h"
#include "connect/inbound.h"

struct partner_file {
    const char *name, *text; /* "connector.yaml", "order.lua" */
};
struct partner {
    char dir[128];
    const char *name; /* of the connector */
    const struct partner_file *files;
    size_t file_count;
    struct cell *cell;
    struct connectors *connectors;
    struct inbound *inbound;
};
/* The cell is open. False: the faults were printed. */
bool partner_open(struct partner *partner, struct cell *cell, const char *name,
                  const struct partner_file *files, size_t count);
/* Not the cell. */
void partner_close(struct partner *partner);
/* Sends a webhook to its answer. */
void partner_send(struct partner *partner, const char *topic, const char *body);
/* Lets workers and core go until nothing is left to do. */
void partner_settle(struct partner *partner);
/* Stops the cell and starts it again; the state must be the same. */
void partner_again(struct partner *partner, bool crash);
/* Events of this type in the journal whose data contains `what`. */
uint32_t partner_events(const struct partner *partner, const char *type, const char *what);

#endif
