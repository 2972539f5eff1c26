/* The inside of file drops: drop.c (steps, thread), drop_set.c (which there are), drop_file.c (one
 * file from its folder to done/), drop_read.c (its records), drop_items.c (their way into the
 * journal), drop_ops.c. */
#ifndef PENSTOCK_CONNECT_DROP_PRIV_H
#define PENSTOCK_CONNECT_DROP_PRIV_H

#include <limits.h>
#include <pthread.h>

#include "connect/drop.h"
#include "connect/intake.h"

#define DROP_SLOTS 64
#define DROP_NAMES_MAX 256  /* files of a folder that are watched at once */
#define DROP_NAME_MAX 200
#define DROP_EXCEPTIONS_MAX 50 /* of one file; the report has more */
#define DROP_PROBLEMS_MAX 1000 /* in the report */
#define DROP_HASH_LEN 32

struct drop_entry;
struct drop_slot {
    struct drop_entry *entry;
    enum { DROP_FREE, DROP_SUBMIT, DROP_CORE } state;
    struct arena arena;
    struct command command;
    uint64_t nth;
    bool record; /* else an exception */
};

/* A file that is not known to be complete yet. */
struct drop_seen {
    char name[DROP_NAME_MAX + 1];
    int64_t size, changed_us; /* as of the last look */
    int64_t since_us;         /* tick: it is so since then */
    bool there;
};

/* Rows that are one document, while more may follow. */
struct drop_group {
    struct buf key, rows, raw; /* raw: as they stand in the file */
    uint32_t count;
    uint64_t line;       /* of the first */
    struct str problem;  /* of one of them, in `text`; absent: none */
    uint64_t bad_line;
    uint32_t bad_column;
    char text[256];
};

struct drop_file {
    int fd; /* -1: none */
    char name[DROP_NAME_MAX + 1], hash[DROP_HASH_LEN + 1];
    int64_t size, changed_us, at; /* at: bytes read */
    void *digest;                 /* EVP_MD_CTX, while it is hashed */
    struct buf window;
    size_t window_at;
    bool eof, begun, ended;
    uint64_t line, nth;
    struct str *columns;
    uint32_t column_count;
    struct drop_group group;
    bool tainted; /* a line that could not be read stands before the next row */
    uint64_t tainted_by;
    const struct json *items, *next_item; /* format json */
    uint32_t item_count;
    uint64_t records, taken, bad, exceptions;
    struct buf problems; /* JSON, a list without its brackets */
    int rejected;        /* descriptor of error/.NAME.rejected; -1: none yet */
    bool known;          /* it was taken before */
    struct arena arena;
};

struct drop_entry {
    struct drop *drop;
    const struct connector_files *files, *next_files; /* their connectors are taken */
    bool retired, wanted_on; /* retired: under the lock */
    struct str name;         /* "shop/orders" */
    enum { DROP_IDLE, DROP_HASHING, DROP_RECORDS } state;
    int64_t due_us; /* tick */
    char folder[PATH_MAX];
    struct drop_seen seen[DROP_NAMES_MAX];
    uint32_t seen_count;
    struct drop_file file;
    struct drop_slot *slots;
    uint32_t busy;
    bool blocked;
    int64_t again_us;
    bool failed; /* the file under way can not be gone on with: file_give_up */
    struct drop_stats stats, shown;
};

struct drop {
    struct drop_options options;
    struct intake *intake;
    struct json_parser *parser;
    struct drop_entry **entries; /* grows under the lock */
    uint32_t count, cap;
    struct command_origin origin;
    const struct connectors *renewed; /* under the lock */
    bool stopping;                    /* under the lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct command *answers, *answers_last; /* under the lock */
    bool woken, started;
    pthread_t thread;
};

/* --- drop_set.c */
bool drop_usable(const struct drop_entry *entry);
enum err drops_follow(struct drop *drop, const struct connectors *connectors,
                      struct fault *fault) WARN_UNUSED;
void drops_renew(struct drop *drop);
void drop_entry_renew(struct drop_entry *entry);
void drops_free(struct drop *drop);

/* --- drop_file.c */
/* Looks into the folder; true: a file is complete and was begun. */
bool folder_look(struct drop_entry *entry);
/* A part of the file's hash; at its end the records follow. */
void file_hash(struct drop_entry *entry);
/* All records are dealt with: report, move, remember. */
void file_end(struct drop_entry *entry);
/* It can not be read on (disk, core); it stays where it is and is tried again later. */
void file_give_up(struct drop_entry *entry, const char *why);
void file_close(struct drop_file *file);
/* Bytes of the file that could not be taken, for who mends them. */
void file_rejects(struct drop_entry *entry, struct str raw);

/* --- drop_read.c */
/* Takes on as many records as there is room for. */
void records_go(struct drop_entry *entry);

/* --- drop_items.c */
struct drop_slot *drop_slot_take(struct drop_entry *entry); /* NULL: none is free */
/* A record, as JSON text on one line; key and version are taken from it. */
void drop_record(struct drop_entry *entry, uint64_t line, struct str text);
/* What could not be read: counted, told to a person, in the report. column 0: the whole line;
 * `column_name` may be absent. */
void drop_problem(struct drop_entry *entry, uint64_t line, uint32_t column, struct str column_name,
                  const char *words);
void drop_answered(struct drop_slot *slot);
void drop_submit_again(struct drop_entry *entry);

#endif
