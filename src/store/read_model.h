/* read_model: tables derived from the journal, in an SQLite file of their own, written behind.
 *
 * A thread (or the simulator, by steps) follows the tail from the seq the file has reached,
 * hands each event to its type's project, and writes the rows and the new seq in one
 * transaction. Rows that change several times in a batch are written once. The file holds
 * nothing that the journal does not: where the capabilities' tables have changed, where the
 * file is damaged, or where the journal is not the one it was made from, it is emptied and
 * filled again from the beginning. */
#ifndef PENSTOCK_STORE_READ_MODEL_H
#define PENSTOCK_STORE_READ_MODEL_H

#include "base/clock.h"
#include "core/capability.h"
#include "core/journal.h"
#include "core/rows.h"
#include "core/tail.h"

struct read_model_options {
    const char *path; /* of the file: "DIR/data/read.db" */
    const char *vfs;  /* SQLite VFS; NULL: the default (seam `disk`) */
    bool exclusive;   /* the simulator: one connection for all, no shared memory */
    const struct registry *registry;
    struct journal *journal; /* what readers answer from */
    struct tail *tail;
    struct clock *clock;
    uint32_t batch_events; /* in one transaction: settings.read_model_batch */
    uint32_t pause_ms;     /* least time between two transactions of the thread when no one
                              waits; 0: READ_MODEL_PAUSE_MS */
};
#define READ_MODEL_PAUSE_MS 50

struct read_model;
/* Opens, or makes, the file; empties it where that is needed (the steps fill it again). All in
 * options must outlive it. ERR_IO, ERR_CONFLICT (a file of another kind), ERR_NOMEM. */
enum err read_model_open(const struct read_model_options *options, struct read_model **out,
                         struct fault *fault) WARN_UNUSED;
/* Stops the thread. Readers must be destroyed before. NULL is fine. */
void read_model_close(struct read_model *model);

/* One transaction: at most batch_events from the tail. *more tells whether there is more to
 * do. On an error nothing of it was written; the next step tries again. Not beside the thread. */
enum err read_model_step(struct read_model *model, bool *more, struct fault *fault) WARN_UNUSED;
/* Fills a second file beside the present one from the journal, to its end, and puts it in its
 * place at once: a crash at any step leaves the old or the new one, and those who ask meanwhile
 * are answered by the old one. ERR_CONFLICT where the journal does not begin with its first event
 * any more: what is gone from it could not be made again. progress is called with the seq
 * reached, now and then; NULL: not. Not beside the thread. On a VFS of its own (the simulator's),
 * where nothing can be renamed, the file is emptied and filled again. */
enum err read_model_rebuild(struct read_model *model, void (*progress)(void *ctx, uint64_t seq),
                            void *ctx, struct fault *fault) WARN_UNUSED;
/* The same beside the thread, on one of its own with less of the CPU: answers as soon as it has
 * begun. ERR_CONFLICT where one is under way. */
enum err read_model_rebuild_start(struct read_model *model, struct fault *fault) WARN_UNUSED;

struct read_model_rebuilding {
    enum {
        REBUILD_NONE,        /* none since the start */
        REBUILD_FILLING,     /* from the journal */
        REBUILD_INDEXING,    /* and syncing */
        REBUILD_CATCHING_UP, /* with what has happened meanwhile, and switching */
        REBUILD_DONE,
        REBUILD_FAILED,
    } state;
    uint64_t seq, target; /* reached; newest when asked */
    int64_t took_us;      /* until now, or all in all */
    char reason[256];     /* of a failure */
};
/* "none", "filling", … */
extern const char *const read_model_rebuild_states[];
/* Any thread. */
void read_model_rebuild_look(struct read_model *model, struct read_model_rebuilding *out);

/* Runs the steps on a thread. What goes wrong there is logged and tried again. */
enum err read_model_start(struct read_model *model, struct fault *fault) WARN_UNUSED;
void read_model_stop(struct read_model *model);

/* What is written and visible; any thread. */
uint64_t read_model_seq(const struct read_model *model);
/* How far that is behind the tail; any thread. The age is measured on the monotonic clock, from
 * when the newest event that is visible now was the newest one, as far as the steps have seen. */
void read_model_lag(const struct read_model *model, struct reader_lag *out);

/* One per thread; core may be NULL where nobody asks for it. Owns its parser. */
struct reader *read_model_reader_create(struct read_model *model, struct core *core,
                                        struct fault *fault);
void read_model_reader_destroy(struct reader *reader);

struct read_model_stats {
    uint64_t seq, events, rows, refs, transactions;
    uint64_t skipped; /* events that could not be decoded: `penstock journal verify` names them */
    uint64_t parsed;  /* events whose data had to be parsed in full for their rows */
    uint64_t rebuilds;
    uint64_t busy_us; /* time spent in steps */
};
/* Any thread. */
void read_model_stats(const struct read_model *model, struct read_model_stats *out);

#endif
