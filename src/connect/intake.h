/* intake: what the hub remembers on disk of what it fetches by itself (intake.db): how far each poll
 * has come, which version of each item it has, and which files were taken.
 *
 * It is progress, not state: where this file is lost, everything is fetched from the beginning, and
 * what was stored before is known by its id. One thread; changes are made in a transaction that
 * intake_commit ends. */
#ifndef PENSTOCK_CONNECT_INTAKE_H
#define PENSTOCK_CONNECT_INTAKE_H

#include "base/err.h"
#include "base/hash.h"
#include "base/str.h"

struct intake;
/* Makes the file where it is missing; vfs NULL: the default one. ERR_IO, ERR_CONFLICT (another
 * program has it), ERR_NOMEM. */
enum err intake_open(const char *path, const char *vfs, struct intake **out,
                     struct fault *fault) WARN_UNUSED;
void intake_close(struct intake *intake);

/* --- how far: a text under a name ("shop/orders") ------------------------------------------- */
/* *value (the caller's buffer, NUL behind it) or *known false. Longer ones are cut: none is. */
#define INTAKE_VALUE_MAX 1024
enum err intake_load(struct intake *intake, struct str name, char value[INTAKE_VALUE_MAX + 1],
                     bool *known, struct fault *fault) WARN_UNUSED;
/* The number that stands for the name among seen items; made where it is new. */
enum err intake_number(struct intake *intake, struct str name, int64_t *number,
                       struct fault *fault) WARN_UNUSED;
void intake_set(struct intake *intake, struct str name, struct str value);

/* --- what was seen ----------------------------------------------------------------------------- */
struct intake_seen {
    uint64_t content;  /* hash of its bytes */
    int64_t times;     /* how often it changed so far, from 1 */
    int64_t round;     /* in which it was met last */
};
/* *known false: never seen, or forgotten. */
enum err intake_find(struct intake *intake, int64_t number, struct hash128 item,
                     struct intake_seen *out, bool *known, struct fault *fault) WARN_UNUSED;
void intake_put(struct intake *intake, int64_t number, struct hash128 item,
                const struct intake_seen *seen);
/* Forgets those met last before this round. */
void intake_forget(struct intake *intake, int64_t number, int64_t before_round);
/* How many are known, as of the last commit. */
enum err intake_count(struct intake *intake, int64_t number, int64_t *count,
                      struct fault *fault) WARN_UNUSED;

/* On disk when it answers OK. On failure all changes since the last commit are undone. */
enum err intake_commit(struct intake *intake, struct fault *fault) WARN_UNUSED;
void intake_rollback(struct intake *intake);

#endif
