/* parcel: a payload on its way from the door to the workers, as it was read there, so that who maps
 * it need not fetch it out of its box and read it a second time.
 *
 * A hint, and nothing but: the payload is in the journal before anybody is answered, and where its
 * parcel is not there (no room, a restart, the second try) it is read from there. What a parcel says
 * is what the box says; whether the box may still be opened is asked all the same (erasure).
 *
 * Bounded: PARCELS_MAX of them with PARCELS_BYTES in all; none is kept longer than PARCEL_KEEP_US, so
 * that what nobody came for (a message sent twice) does not stay in memory in clear. */
#ifndef PENSTOCK_CONNECT_PARCEL_H
#define PENSTOCK_CONNECT_PARCEL_H

#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"
#include "base/rng.h"

#define PARCELS_MAX 2048u
#define PARCELS_BYTES ((size_t)16 << 20)
#define PARCEL_KEEP_US INT64_C(5000000)

struct parcel {
    struct id128 id;  /* of the payload */
    int64_t put_us;   /* tick */
    struct arena arena;
    const struct json *doc; /* in the arena, its texts as well */
};

struct parcels;
enum err parcels_create(struct parcels **out, struct fault *fault) WARN_UNUSED;
/* Who made it is its first user; freed with the last, and all that is in it. */
struct parcels *parcels_share(struct parcels *parcels);
void parcels_release(struct parcels *parcels); /* or NULL */

/* An empty one; NULL: memory is out. */
struct parcel *parcel_create(void);
void parcel_free(struct parcel *parcel); /* or NULL */

/* Any thread. Takes the parcel over, which may be the end of it. */
void parcels_put(struct parcels *parcels, struct parcel *parcel, struct id128 id, int64_t tick_us);
/* The caller's from now on; NULL: there is none. */
struct parcel *parcels_take(struct parcels *parcels, struct id128 id);
/* Forgets those that were put PARCEL_KEEP_US before now; when the next one's time comes, INT64_MAX: there
 * is none. */
int64_t parcels_sweep(struct parcels *parcels, int64_t tick_us);

#endif
