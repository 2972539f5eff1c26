/* contract: what is promised to those who call the hub or follow its events, by whom, and until
 * when. A contract groups routes (by the beginning of their paths) and events (by the first word of
 * their names); each route and event belongs to exactly one.
 *
 * One table, contract.c; the OpenAPI and AsyncAPI documents, `penstock contracts` and
 * docs/contracts.md are printed from it. A version is MAJOR.MINOR: MINOR grows with what is
 * compatible; what is not needs a new path or event type (compare.h) and with it a new row. */
#ifndef PENSTOCK_GATEWAY_CONTRACT_H
#define PENSTOCK_GATEWAY_CONTRACT_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "core/capability.h"

#define CONTRACT_SITE "https://penstock.org/"

enum contract_status {
    CONTRACT_DRAFT,      /* promises nothing yet: may change in any release */
    CONTRACT_STABLE,     /* changes only in ways that break nobody */
    CONTRACT_DEPRECATED, /* works as before, until its sunset */
    CONTRACT_RETIRED,    /* works no more */
};
extern const char *const contract_status_names[];

struct contract {
    const char *name;    /* "orders" */
    const char *help;    /* one line */
    const char *owner;   /* the team that answers for it and decides about changes */
    const char *version; /* "1.0" */
    enum contract_status status;
    const char *since;   /* "2026-11-23": the day this major version was released */
    const char *level;   /* service level in words */
    int availability_ppm; /* objective: requests that are answered with less than 500, of a million,
                             in a calendar month; 0: none */
    int p99_ms;          /* objective: 99 of 100 answers within; events: from commit to the feed */
    /* "2027-03-31" (UTC), NULL where there is none: from when on it is deprecated, when it ends. */
    const char *deprecated, *sunset;
    const char *link;    /* the page that describes it, below CONTRACT_SITE and in the repository */
    const char *const *paths;  /* beginnings of paths, whole segments; end with NULL; may be NULL */
    const char *const *events; /* first words of event names; end with NULL; may be NULL */
};
/* The hub's own; name NULL at the end. */
extern const struct contract contracts[];

/* The contract with the longest fitting beginning, or NULL. */
const struct contract *contract_of_path(const struct contract *table, const char *path);
const struct contract *contract_of_event(const struct contract *table, const char *name);
const struct contract *contract_find(const struct contract *table, struct str name);

/* What the answers of a route say about its end. */
struct contract_notice {
    struct str deprecation; /* "@1806451200" (RFC 9745); absent: not deprecated */
    struct str sunset;      /* IMF-fixdate (RFC 8594); absent: no end is set */
    struct str link;        /* rel="deprecation" and rel="sunset" */
    int64_t sunset_us;      /* INT64_MAX: none */
};
/* The notice of a route by its own dates, else by its contract's (may be NULL); *out NULL where
 * there is nothing to say. ERR_INVALID: a date that is none. ERR_NOMEM. */
enum err contract_notice_make(const struct route *route, const struct contract *contract,
                              struct arena *arena, const struct contract_notice **out,
                              struct fault *fault) WARN_UNUSED;

/* ,"x-owner":…,"x-version":…,"x-status":…,"x-service-level":{…} and the rest, for the documents. */
void contract_members_write(const struct contract *contract, struct buf *out);

/* All contracts for people: the page docs/contracts.md between its heading and the end. */
void contracts_page_write(const struct contract *table, struct buf *out);

#endif
