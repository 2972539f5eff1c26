/* progress: what delivery remembers on disk (delivery.db): per subscription its cursor, the
 * deliveries that are listed (held, parked, or behind one that is), and the last failures.
 * A healthy delivery writes no row.
 *
 * It is progress, not state of the hub: the journal knows nothing of it, and after a loss of
 * this file everything is looked up at the remote before it is posted again.
 *
 * Changes are collected and written in one transaction by progress_flush. One thread. */
#ifndef PENSTOCK_DELIVER_PROGRESS_H
#define PENSTOCK_DELIVER_PROGRESS_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

struct progress;
/* Makes the file where it is missing. ERR_IO, ERR_CONFLICT, ERR_NOMEM. */
enum err progress_open(const char *path, struct progress **out, struct fault *fault) WARN_UNUSED;
/* What was not flushed is lost. */
void progress_close(struct progress *progress);

struct progress_cursor {
    uint64_t cursor;  /* all up to it is done, save what is listed */
    uint64_t sent_to; /* nothing beyond it was ever sent */
    bool known;       /* false: never seen before, both 0 */
};
enum err progress_load(struct progress *progress, struct str subscription,
                       struct progress_cursor *out, struct fault *fault) WARN_UNUSED;
void progress_set(struct progress *progress, struct str subscription, uint64_t cursor,
                  uint64_t sent_to);

/* Since when a subscription has failed without a success between, wall clock; 0: it has not. */
void progress_failing_set(struct progress *progress, struct str subscription, int64_t since_us);
int64_t progress_failing(struct progress *progress, struct str subscription);
/* It was made through the API: what is kept of it goes with it. */
void progress_made(struct progress *progress, struct str subscription);
/* Visits those; `visit` may drop the one it is given. */
enum err progress_made_visit(struct progress *progress, struct arena *arena,
                             void (*visit)(void *ctx, struct str subscription), void *ctx,
                             struct fault *fault) WARN_UNUSED;
/* It is gone: all that is kept of it. */
void progress_drop(struct progress *progress, struct str subscription);

/* One listed delivery. The first of its lane has the cause; the others wait behind it. */
struct progress_row {
    struct str subscription, lane;
    uint64_t seq;
    struct str subject, type; /* of the event */
    uint32_t attempts;
    int64_t due_us;           /* of its next attempt, wall clock; 0: none is planned */
    int64_t since_us;         /* when it was listed */
    int32_t status;           /* of the last answer; 0: none */
    struct str cause;         /* in the remote's words; absent: waits behind another */
    uint64_t replay;          /* it came of this replay; 0: of the live stream */
    uint64_t edit;            /* seq of the delivery.edited that says what goes out; 0: none. Read, not listed */
};
/* Whether a person must decide: first of its lane, with a cause and without a next attempt. */
static inline bool progress_row_held(const struct progress_row *row) {
    return row->due_us == 0 && row->cause.ptr != NULL;
}
/* Adds or replaces; one that had failed keeps its since_us. */
void progress_list(struct progress *progress, const struct progress_row *row);
void progress_unlist(struct progress *progress, struct str subscription, struct str lane, uint64_t seq);
/* What a person changed of a listed delivery: the seq of the event that says it, in place of the one before.
 * It stays while the delivery is listed, and is gone with it. */
void progress_edit_set(struct progress *progress, struct str subscription, struct str lane, uint64_t seq,
                       uint64_t edit);
/* 0: nothing was changed. */
enum err progress_edit(struct progress *progress, struct str subscription, struct str lane, uint64_t seq,
                       uint64_t *edit, struct fault *fault) WARN_UNUSED;
/* A listed delivery is over while the cursor may be behind it: the next life is not to begin it anew.
 * Forgotten once the cursor has passed it. */
void progress_over(struct progress *progress, struct str subscription, struct str lane, uint64_t seq);
/* Visits those, ascending. */
enum err progress_over_visit(struct progress *progress, struct str subscription,
                             bool (*visit)(void *ctx, uint64_t seq, struct str lane), void *ctx,
                             struct fault *fault) WARN_UNUSED;
/* The lane's rows behind `after` and before `before` are gone; how many there were. */
uint32_t progress_supersede(struct progress *progress, struct str subscription, struct str lane,
                        uint64_t after, uint64_t before);
/* The first listed seq of the lane after `after`, 0 where there is none. Sees what was not
 * flushed yet. */
enum err progress_next(struct progress *progress, struct str subscription, struct str lane,
                       uint64_t after, uint64_t *seq, struct fault *fault) WARN_UNUSED;
typedef bool progress_visit(void *ctx, const struct progress_row *row);
/* Rows by (subscription, seq) after the given place, at most `limit`; subscription absent: all.
 * heads: only those that are first of their lane. */
enum err progress_rows(struct progress *progress, struct str subscription,
                       struct str after_subscription, uint64_t after_seq, bool heads,
                       uint32_t limit, progress_visit *visit, void *ctx,
                       struct fault *fault) WARN_UNUSED;
/* Visits each listed lane of a subscription once: `row` is its first, last_seq its last one. */
enum err progress_lanes(struct progress *progress, struct str subscription,
                        bool (*visit)(void *ctx, const struct progress_row *row, uint64_t last_seq),
                        void *ctx, struct fault *fault) WARN_UNUSED;
/* How many rows a subscription has. */
enum err progress_count(struct progress *progress, struct str subscription, uint64_t *rows,
                        struct fault *fault) WARN_UNUSED;

/* What a system acknowledged last of a key whose newest value replaces the ones before (JSON): what
 * would be sent again is known by it. Absent: not known (any more). Written with the cursor that
 * passes the event, so a value is never taken for acknowledged that was not; a crash may leave an
 * older one, which is why what may have been sent before is sent again whatever stands here. */
void progress_acknowledge(struct progress *progress, struct str subscription, struct str lane,
                          struct str value);
enum err progress_acknowledged(struct progress *progress, struct str subscription, struct str lane,
                               struct arena *arena, struct str *out, struct fault *fault) WARN_UNUSED;

/* Replays (deliver/replay.h): a row of JSON each, by their number. */
void progress_replay_set(struct progress *progress, int64_t id, struct str body);
void progress_replay_drop(struct progress *progress, int64_t id);
enum err progress_replays(struct progress *progress, bool (*visit)(void *ctx, struct str body), void *ctx,
                          struct fault *fault) WARN_UNUSED;

/* A failed attempt. The newest PROGRESS_FAILURES_MAX are kept. */
struct progress_failure {
    struct str subscription;
    uint64_t seq;
    int64_t at_us;
    uint32_t attempt;
    struct str outcome; /* lane_outcome_name */
    int32_t status;
    struct str detail;
};
#define PROGRESS_FAILURES_MAX 20000
void progress_failure(struct progress *progress, const struct progress_failure *failure);
enum err progress_failures(struct progress *progress, struct str subscription, uint64_t seq,
                           bool (*visit)(void *ctx, const struct progress_failure *failure),
                           void *ctx, struct fault *fault) WARN_UNUSED;

/* Blanks the causes and details that are kept of these events, and commits; the file's WAL is
 * emptied. What was changed before is committed as well. */
enum err progress_forget(struct progress *progress, const uint64_t *seqs, uint32_t n,
                         struct fault *fault) WARN_UNUSED;

/* A small thing to remember under a name, of whoever keeps it here (reach.c: breakers and quotas); `text`
 * absent: not any more. */
void progress_note(struct progress *progress, struct str name, struct str text);
enum err progress_notes(struct progress *progress, bool (*visit)(void *ctx, struct str name, struct str text),
                        void *ctx, struct fault *fault) WARN_UNUSED;

/* Whether there is anything to flush. */
bool progress_dirty(const struct progress *progress);
/* A change since then could not be made: reads do not see it, and the next flush says so. */
bool progress_broken(const struct progress *progress);
/* On disk when it answers OK. On failure all changes since the last flush are undone: the caller
 * must go back to what is on disk (progress_load, progress_lanes). */
enum err progress_flush(struct progress *progress, struct fault *fault) WARN_UNUSED;

#endif
