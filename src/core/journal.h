/* journal: the ordered, durable list of events of one cell. This is the interface the core
 * writes to and reads from; store/ implements it. `seq` starts at 1 and has no holes.
 *
 * One record is one event: the parts of a CloudEvents 1.0 envelope. */
#ifndef PENSTOCK_CORE_JOURNAL_H
#define PENSTOCK_CORE_JOURNAL_H

#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/metric.h"
#include "base/str.h"

struct record {
    uint64_t seq;       /* position; set by journal_append's caller to expected + 1, + 2 … */
    int64_t time_us;    /* when the hub recorded it, UTC */
    struct str type;    /* "order.captured", without prefix and version */
    struct str subject; /* the key the event is about: "ord_…", "SKU@LOCATION" … */
    struct str meta;    /* JSON object: correlation, trace, actor, idempotency … (core/event.h) */
    struct str data;    /* JSON of the event's shape */
};

struct journal;
/* Called per record, in order of seq; strings live until it returns. Return false to stop. */
typedef bool journal_visit(void *ctx, const struct record *record);

struct journal_stats {
    uint64_t segments;  /* files it consists of, archived ones included */
    uint64_t sealed;    /* of them finished for good, archived ones included */
    uint64_t archived;  /* of them compressed */
    uint64_t bytes;     /* of sealed segments as they were sealed, and the live one's file */
    uint64_t wal_bytes; /* of the live one's write-ahead log in use */
    struct histogram_sum sync_us, checkpoint_us; /* since the start */
};

struct journal_ops {
    /* Appends records[0..n) in one transaction and returns when they are on disk. The first
     * seq must be the journal's last + 1, else ERR_CONFLICT (another writer) and nothing is
     * written. On any other error it is unknown whether they were written: the caller must
     * read back (last) before it goes on. Writer thread only. */
    enum err (*append)(struct journal *j, const struct record *records, uint32_t n,
                       struct fault *fault);
    /* Visits records with seq >= from, at most `limit`, and answers the next seq to read in
     * *next. Any thread; never sees what is not durable. ERR_DAMAGED: the record at *next is not
     * what was written. */
    enum err (*read)(struct journal *j, uint64_t from, uint32_t limit, journal_visit *visit,
                     void *ctx, uint64_t *next, struct fault *fault);
    /* Newest durable seq, 0 when empty. Any thread. */
    enum err (*last)(struct journal *j, uint64_t *seq, struct fault *fault);
    /* Housekeeping that must not happen inside append (checkpoint, rotation): called by a
     * thread of its own, or by the simulator. Answers in *again whether there is more. */
    enum err (*tidy)(struct journal *j, bool *again, struct fault *fault);
    void (*close)(struct journal *j);
    /* After a failed append: OK where the next one has a chance, because there is room and what
     * is written beside the journal can be synced. Writer thread. NULL: nothing is known. */
    enum err (*probe)(struct journal *j, struct fault *fault);
    /* For metrics. NULL: nothing to tell. Any thread. */
    void (*stats)(struct journal *j, struct journal_stats *out);
    /* Whether the record at seq can be read at once: not in an archive that is to be unpacked first. With
     * `bring` and false, housekeeping does that next. True where it can not be had, so that who reads it is
     * told why. NULL: always. Any thread. */
    bool (*near)(struct journal *j, uint64_t seq, bool bring);
};
/* An implementation embeds this first. */
struct journal {
    const struct journal_ops *ops;
};

static inline enum err WARN_UNUSED journal_append(struct journal *j, const struct record *records,
                                                  uint32_t n, struct fault *fault) {
    return j->ops->append(j, records, n, fault);
}
static inline enum err WARN_UNUSED journal_read(struct journal *j, uint64_t from, uint32_t limit,
                                                journal_visit *visit, void *ctx, uint64_t *next,
                                                struct fault *fault) {
    return j->ops->read(j, from, limit, visit, ctx, next, fault);
}
static inline enum err WARN_UNUSED journal_last(struct journal *j, uint64_t *seq,
                                                struct fault *fault) {
    return j->ops->last(j, seq, fault);
}
static inline enum err WARN_UNUSED journal_tidy(struct journal *j, bool *again,
                                                struct fault *fault) {
    return j->ops->tidy(j, again, fault);
}
static inline void journal_stats(struct journal *j, struct journal_stats *out) {
    *out = (struct journal_stats){0};
    if (j->ops->stats)
        j->ops->stats(j, out);
}
static inline bool journal_near(struct journal *j, uint64_t seq, bool bring) {
    return !j->ops->near || j->ops->near(j, seq, bring);
}
static inline enum err WARN_UNUSED journal_probe(struct journal *j, struct fault *fault) {
    return j->ops->probe ? j->ops->probe(j, fault) : OK;
}
static inline void journal_close(struct journal *j) {
    if (j)
        j->ops->close(j);
}

#endif
