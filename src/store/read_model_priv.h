/* read_model_priv: what read_model.c, read_model_reader.c and read_model_thread.c share. */
#ifndef PENSTOCK_STORE_READ_MODEL_PRIV_H
#define PENSTOCK_STORE_READ_MODEL_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "shape/pick.h"
#include "store/db.h"
#include "store/read_model.h"
#include "store/row_batch.h"

#define MODEL_APPLICATION_ID 0x5053524d /* "PSRM" */
#define MODEL_PATH_BYTES 4096
#define MODEL_NEXT ".new" /* behind the path: the file that a rebuild fills */

struct model_reader;

/* How the events of a type are read where project wants some members alone. */
struct model_pick {
    const struct event_type *type;
    struct shape_pick pick;
};

struct read_model {
    struct read_model_options options;
    char path[MODEL_PATH_BYTES], vfs[64];
    struct table_list tables; /* owned */
    int64_t schema, views;    /* hashes of their definitions, and of what reports see */
    bool scratch;             /* is being filled beside another one, unsafe against crashes */
    /* Of whoever steps: */
    sqlite3 *db; /* NULL after a failed reset: the next step opens it again */
    sqlite3_stmt *begin, *commit, *reached;
    struct rows *rows;
    struct refs *refs;
    int wal_pages;   /* after the last commit */
    bool refs_stale; /* a transaction failed: their list in memory is not the file's */
    struct json_parser *parser;
    struct arena arena; /* of one event */
    struct model_pick *picks;
    uint32_t pick_count;
    enum err batch_err;
    uint64_t batch_first; /* the journal's first seq, where that is not 1 and has to be */
    uint32_t batch_count;
    uint64_t batch_seq, batch_mark;
    bool complained; /* of an event that could not be decoded, since the start */

    _Atomic uint64_t seq;
    /* Of the lag: at tick `fresh_us` everything durable was at most `seq`; once seq reaches
     * `ahead_seq`, which was durable at tick `ahead_us`, that counts. */
    _Atomic int64_t fresh_us;
    uint64_t ahead_seq;
    int64_t ahead_us;
    _Atomic uint64_t events, row_count, ref_count, transactions, skipped, parsed, rebuilds, busy_us;

    pthread_mutex_t readers_lock;
    struct model_reader *readers;
    _Atomic bool replacing; /* the file: readers must not open it meanwhile */

    /* The thread (read_model_thread.c). */
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    pthread_t thread;
    struct tail_follower follower; /* its wake finds the model by it */
    bool running, stop;
    _Atomic bool idle; /* waits for work, or pauses */
    uint64_t wanted;   /* newest seq that someone waits for */

    /* A rebuild (read_model_rebuild.c). */
    struct model_rebuild {
        pthread_t thread;
        bool running, joinable;  /* lock held */
        _Atomic bool stop;
        _Atomic bool wanted;     /* the file is damaged: one is to begin */
        struct read_model *next; /* lock held: finished but for the last events, to be taken */
        bool taking;             /* lock held: it is being taken */
        enum err taken;          /* lock held: how that ended */
        struct fault taken_fault;
        struct read_model_rebuilding now; /* lock held; seq is of `building` while there is one */
        const struct read_model *building;
        int64_t began_us;
    } rebuild;
};

/* read_model_open, and the same for a file that is filled from the beginning beside another. */
enum err model_open(const struct read_model_options *options, bool scratch,
                    struct read_model **out, struct fault *fault) WARN_UNUSED;

/* read_model_file.c */
enum err model_schema_hash(struct read_model *model, struct fault *fault) WARN_UNUSED;
uint64_t model_record_mark(const struct record *record);
/* Opens the file, and makes it anew where that is needed. */
enum err model_file_begin(struct read_model *model, struct fault *fault) WARN_UNUSED;
/* An empty file in place of the present one. */
enum err model_file_reset(struct read_model *model, struct fault *fault) WARN_UNUSED;
/* Ends `scratch`: indexes, everything on disk, open like any other. */
enum err model_file_settle(struct read_model *model, struct fault *fault) WARN_UNUSED;
/* The file of `next` in place of model's; closes both and opens model's again. On an error
 * either model goes on with its own, or it has no file (db NULL) and the next step makes one. */
enum err model_file_replace(struct read_model *model, struct read_model *next,
                            struct fault *fault) WARN_UNUSED;
void model_file_close(struct read_model *model);
void model_file_delete(struct read_model *model);

/* read_model_rebuild.c: the model's own thread, lock not held: takes what a rebuild has
 * finished, where there is something. */
void model_rebuild_take(struct read_model *model);
/* Begins one where the file was found to be damaged. */
void model_rebuild_wanted(struct read_model *model);
void model_rebuild_stop(struct read_model *model);

/* A connection to the file. */
enum err model_connect(struct read_model *model, bool create, bool *damaged, sqlite3 **out,
                       struct fault *fault) WARN_UNUSED;
/* Closes the connections of all readers, so that the file can be replaced; they open it again
 * once model->replacing is false, and wait for that, bounded. */
void model_readers_disconnect(struct read_model *model);
/* Whoever steps, at the beginning and the end of a step: keeps `fresh_us`. */
void model_freshen(struct read_model *model);
/* After a step: those who wait look again. */
void model_announce(struct read_model *model);
bool model_is_running(struct read_model *model);
/* Until no file is being put in another's place; false where that takes too long. */
bool model_await_file(struct read_model *model);
enum err model_wait(struct read_model *model, uint64_t seq, int64_t timeout_ms,
                    struct fault *fault) WARN_UNUSED;

#endif
