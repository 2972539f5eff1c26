/* zone: local time of an IANA time zone, read from the machine's time zone database (TZif,
 * RFC 9636). Immutable once loaded, so any thread may ask. */
#ifndef PENSTOCK_BASE_ZONE_H
#define PENSTOCK_BASE_ZONE_H

#include "base/err.h"
#include "base/str.h"

struct zone;
/* "Europe/Berlin", "UTC". ERR_NOT_FOUND where the machine does not know it, ERR_DAMAGED for a file
 * that is no TZif, ERR_NOMEM. */
enum err zone_load(struct str name, struct zone **out, struct fault *fault) WARN_UNUSED;
void zone_destroy(struct zone *zone); /* NULL is fine */
/* Seconds east of UTC at that time (seconds since the epoch). NULL is UTC. */
int32_t zone_offset_s(const struct zone *zone, int64_t utc_s);
/* Exposed for tests and the fuzzer: the bytes of a TZif file. */
enum err zone_parse(struct str bytes, struct zone **out, struct fault *fault) WARN_UNUSED;

/* Periods of the calendar in a zone: the one that holds `utc_s`, as half-open UTC seconds. Where
 * clocks are put back, an hour of the calendar lasts two. */
enum zone_period { ZONE_HOUR, ZONE_DAY, ZONE_MONTH };
void zone_period_of(const struct zone *zone, enum zone_period period, int64_t utc_s,
                    int64_t *start_s, int64_t *end_s);

#endif
