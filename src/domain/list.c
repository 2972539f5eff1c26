/* The capabilities of the hub, in the order their events are observed. */
#include "domain/list.h"

#include "domain/approvals.h"
#include "domain/audit.h"
#include "domain/cross_references.h"
#include "domain/customers.h"
#include "domain/deliveries.h"
#include "domain/endpoints.h"
#include "domain/exceptions.h"
#include "domain/facts.h"
#include "domain/inbound.h"
#include "domain/orders.h"
#include "domain/postings.h"
#include "domain/replays.h"
#include "domain/stock.h"
#include "domain/stops.h"
#include "domain/subscribers.h"

const struct capability *const domain_capabilities[] = {
    &stock_capability,
    &orders_capability,
    &exceptions_capability,
    &inbound_capability,
    &postings_capability,
    &deliveries_capability,
    &replays_capability,
    &stops_capability,
    &customers_capability,
    &audit_capability,
    &approvals_capability,
    &facts_capability,
    &cross_references_capability,
    &subscribers_capability,
    &endpoints_capability,
    NULL,
};
