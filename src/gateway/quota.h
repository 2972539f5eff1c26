/* quota: keeps the counts of quotas over a restart: DIR/data/limits.db, one row for each count of a
 * period that goes on. A key is a hash, seeded by the file's own random number: it names nobody.
 * Written behind, all changes in one transaction; what is lost at a crash is what was counted since. */
#ifndef PENSTOCK_GATEWAY_QUOTA_H
#define PENSTOCK_GATEWAY_QUOTA_H

#include "base/clock.h"
#include "base/rng.h"
#include "gateway/limit_table.h"

struct quota_file;
/* Makes it where it is missing. A damaged one is set aside as it is, and a new one made: quotas
 * begin anew. ERR_IO, ERR_NOMEM. */
enum err quota_file_open(const char *path, struct rng *rng, struct quota_file **out,
                         struct fault *fault) WARN_UNUSED;
void quota_file_close(struct quota_file *file);
uint64_t quota_file_seed(const struct quota_file *file);
enum err quota_file_load(struct quota_file *file, struct limit_table *table, int64_t now_s,
                         struct fault *fault) WARN_UNUSED;
/* What changed since; *count rows. */
enum err quota_file_write(struct quota_file *file, struct limit_table *table, int64_t now_s,
                          uint32_t *count, struct fault *fault) WARN_UNUSED;

#endif
