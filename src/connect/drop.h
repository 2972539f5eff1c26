/* drop: takes files that other systems leave in a folder: section `files` of connector.yaml. A file that
 * is complete is divided into records; each goes through the same entrance as a webhook
 * (inbound.receive). Then it is moved to done/, or to error/ where some of it could not be read, with a
 * report beside it.
 *
 * What always holds: what can be read of a file goes on, what can not becomes an exception with file,
 * line and column and is written to a file of its own; a file is read in bounded memory; one that is
 * left twice is known by its content; after a crash it is read from its beginning, and what was stored
 * is known by file and line, so nothing comes twice.
 *
 * In production drop_start runs it on a thread; tests call drop_step. */
#ifndef PENSTOCK_CONNECT_DROP_H
#define PENSTOCK_CONNECT_DROP_H

#include "connect/connector_files.h"
#include "core/core.h"

struct drop_options {
    struct core *core;
    const struct config *config;
    const struct connectors *connectors; /* at first; taken */
    const char *dir;  /* of the configuration: folders are below it */
    const char *path; /* of files.db */
    const char *vfs;  /* NULL: the default one */
    struct clock *clock;
};

struct drop;
enum err drop_create(const struct drop_options *options, struct drop **out,
                     struct fault *fault) WARN_UNUSED;
/* After drop_stop, or with nothing under way in the core. */
void drop_destroy(struct drop *drop);
/* One round; true: there is more to do at once. */
bool drop_step(struct drop *drop);
/* When the next one is due, of the clock's tick. */
int64_t drop_next_us(const struct drop *drop);

enum err drop_start(struct drop *drop, struct fault *fault) WARN_UNUSED;
/* Waits for what the core has; a file under way is read again next time. */
void drop_stop(struct drop *drop);

/* Any thread: from the next look on, the folders are those of these connectors. */
void drop_renew(struct drop *drop, const struct connectors *connectors);

/* --- seeing, any thread -------------------------------------------------------------------- */
enum drop_state { DROP_UNUSABLE, DROP_WAITING, DROP_READING, DROP_FAILING };
struct drop_stats {
    struct str connector, topic;
    enum drop_state state;
    char file[256];    /* under way; empty: none */
    uint64_t files;    /* that came to their end, since the start, as the rest */
    uint64_t repeated; /* of these: were taken before */
    uint64_t rejected; /* of these: went to error/ */
    uint64_t records, taken, bad;
    int64_t done_us, failed_us; /* wall clock; 0: none */
    char error[400];
};
uint32_t drop_list(struct drop *drop, struct drop_stats *out, uint32_t max);
#define DROPS_MAX 1024 /* that are listed */
void drop_figures(struct drop *drop, struct metrics *out);

/* Routes of the operations side: /ops/files; their ctx is the drop. */
extern const struct route drop_routes[];

#endif
