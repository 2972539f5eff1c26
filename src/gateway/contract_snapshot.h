/* contract_snapshot: the contracts of a release as text, and what breaks between two of them.
 *
 * A snapshot holds what others rely on (contracts, routes with their parameters, bodies and
 * answers, events, shapes) and nothing else: no help, no C. One thing a line, so that its
 * difference between two releases reads well; the same tables give the same bytes. */
#ifndef PENSTOCK_GATEWAY_CONTRACT_SNAPSHOT_H
#define PENSTOCK_GATEWAY_CONTRACT_SNAPSHOT_H

#include "gateway/api_tables.h"
#include "gateway/contract.h"
#include "shape/compare.h"

void contract_snapshot_write(const struct api_tables *tables, const char *version, struct buf *out);

struct snapshot_contract {
    struct str name, owner, version, status, deprecated, sunset;
    int64_t availability_ppm, p99_ms;
};
struct snapshot_route {
    struct str method, path, scope, contract;
    int64_t status;
    const struct shape *body, *answer, *params; /* NULL: none */
    bool body_required, bulk, list;
    const struct json *repeated; /* names of parameters */
    struct str sunset;
};
struct snapshot_event {
    struct str name, contract;
    const struct shape *data;
};
struct snapshot {
    struct str version; /* of the program */
    struct snapshot_contract *contracts;
    struct snapshot_route *routes;
    struct snapshot_event *events;
    uint32_t contract_count, route_count, event_count;
    struct shape_set shapes;
};
/* Strings lie in the arena or in `text`. ERR_MALFORMED, ERR_INVALID, ERR_NOMEM. */
enum err contract_snapshot_read(struct str text, struct arena *arena, struct snapshot *out,
                                struct fault *fault) WARN_UNUSED;

/* One incompatible change. */
struct contract_change {
    struct contract_change *next;
    enum compare_rule rule;
    struct str contract, owner;
    struct str place;  /* "POST /v1/orders body /lines/0/sku" */
    struct str detail;
    struct str pardon; /* why it breaks nobody after all; absent: it does */
};
struct contract_changes {
    struct contract_change *first, *last;
    uint32_t count, breaking;
};
/* Everything of `old` that `now` does not keep. A change is pardoned where the old contract was a
 * draft or is retired, or its sunset had come by `today` ("2026-11-23"). */
enum err contract_compare(const struct snapshot *old, const struct snapshot *now, struct str today,
                          struct arena *arena, struct contract_changes *out,
                          struct fault *fault) WARN_UNUSED;

#endif
