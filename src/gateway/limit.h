/* limit: the policies of core/limits.h at work: which of them count for a call, what is left of
 * each, and how that is told (draft-ietf-httpapi-ratelimit-headers-10).
 *
 * One limiter is shared by all loops; a limit_view is one loop's: what it found out lately about
 * callers and periods. Nothing here waits; quotas are written down by a thread of their own
 * (quota.h), at most LIMIT_WRITE_MS late: after a kill so much of a quota may be used twice. */
#ifndef PENSTOCK_GATEWAY_LIMIT_H
#define PENSTOCK_GATEWAY_LIMIT_H

#include "base/clock.h"
#include "base/metric.h"
#include "core/limits.h"
#include "gateway/limit_table.h"
#include "gateway/route.h"

#define LIMIT_HITS_MAX 8 /* policies that count for one call */
#define LIMIT_WRITE_MS 1000

struct limiter;
struct limiter_options {
    const struct config *config;
    const struct router *router;
    struct clock *clock;
    const char *path; /* of the file that keeps quotas over a restart; NULL: none does */
};
/* ERR_INVALID where a policy names a route that there is not; ERR_IO, ERR_NOMEM. */
enum err limiter_create(const struct limiter_options *options, struct limiter **out,
                        struct fault *fault) WARN_UNUSED;
void limiter_destroy(struct limiter *limiter); /* writes what there is to write; NULL is fine */
void limiter_figures(struct limiter *limiter, struct metrics *out);

struct limit_view;
struct limit_view *limit_view_create(struct limiter *limiter); /* NULL: no memory */
void limit_view_destroy(struct limit_view *view);

/* Who asks. */
struct limit_who {
    enum limit_by by;
    struct str id, name;    /* caller: actor and name; connector: its name in both; address: its
                               bytes (of IPv6 the first 8) as id */
    const uint64_t *scopes; /* caller: bit i is router_scope(i); else NULL */
};
/* Where to: route's index, class as it is treated, whether a bulk call. */
struct limit_where {
    uint32_t route;
    enum traffic_class traffic;
};

/* The policies that count for one call, found once; then asked for its units. */
struct limit_set {
    uint64_t key; /* of the caller */
    uint32_t count;
    struct limit_hit {
        uint8_t policy;
        uint64_t units; /* that remain, as of the last question */
        int64_t fresh_s; /* until all are there again */
    } hits[LIMIT_HITS_MAX];
};
void limit_find(struct limit_view *view, const struct limit_who *who,
                const struct limit_where *where, struct limit_set *out);

/* Takes one unit of each policy in the set that counts `unit` (or both, LIMIT_ANY), all or none.
 * OK; ERR_RATE with the policy and what to do in fault, *wait_us until it is worth another try.
 * A refusal takes nothing (save where another thread was quicker at the second of two policies). */
#define LIMIT_DOCUMENTS 1u
#define LIMIT_CALLS 2u
#define LIMIT_ANY 3u
enum err limit_ask_for(struct limit_view *view, struct limit_set *set, unsigned units,
                       int64_t *wait_us, struct fault *fault) WARN_UNUSED;
/* As above, but where all that stands in the way are rates that slow (over: slow), and their turn
 * comes within max_us: takes them, OK, and the turn is *wait_us from now. */
enum err limit_ask_slow(struct limit_view *view, struct limit_set *set, unsigned units,
                        int64_t max_us, int64_t *wait_us, struct fault *fault) WARN_UNUSED;
/* Whether one could be taken now; changes nothing. */
enum err limit_may(struct limit_view *view, struct limit_set *set, int64_t *wait_us,
                   struct fault *fault) WARN_UNUSED;
/* What refused is a quota: waiting is no use. */
bool limit_refused_by_quota(const struct limit_view *view, const struct limit_set *set);

/* The values of RateLimit-Policy and RateLimit for a set that is not empty. */
void limit_policy_write(const struct limit_view *view, const struct limit_set *set,
                        struct buf *out);
void limit_left_write(const struct limit_view *view, const struct limit_set *set, struct buf *out);

#endif
