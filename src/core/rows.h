/* rows: the read model as the capabilities see it: tables declared by them, rows written by
 * event_type.project, and questions asked by routes. store/read_model.c keeps it in SQLite.
 *
 * Rows are compact and point at the journal's seq; they are written behind, in big
 * transactions, together with the seq they reflect, and can be rebuilt from the journal. */
#ifndef PENSTOCK_CORE_ROWS_H
#define PENSTOCK_CORE_ROWS_H

#include "base/err.h"
#include "base/rng.h"
#include "base/str.h"

enum column_kind { COLUMN_TEXT, COLUMN_INTEGER };
enum column_unit {
    UNIT_NONE,
    UNIT_INSTANT_US, /* microseconds since 1970, UTC; the name ends with "_us" */
    UNIT_MINOR,      /* minor units of the currency in the table's column "currency" */
};
struct table_column {
    const char *name;
    enum column_kind kind;
    const char *help;
    enum column_unit unit; /* for reports (store/reporting.h) */
};
struct table {
    const char *name; /* "orders" */
    const char *help;
    const struct table_column *columns;
    uint32_t count;       /* at most 64 */
    uint32_t key_columns; /* the first so many are the primary key */
    const char *const *indexes; /* "updated_us, order_id"; ends with NULL; may be NULL */
};
struct core;
struct journal;
struct json_parser;
struct keyring;

struct row_value {
    struct str text; /* absent: NULL */
    int64_t integer;
};
static inline struct row_value row_text(struct str s) { return (struct row_value){.text = s}; }
static inline struct row_value row_int(int64_t v) { return (struct row_value){.integer = v}; }

struct rows;
/* Insert or update: sets the columns whose bit is in `set` (the key's bits always count as
 * set); on insert the others are NULL/0. values is indexed by column. */
void rows_put(struct rows *rows, const struct table *table, uint64_t set,
              const struct row_value *values);
/* This event is (also) found under `id` by trace: any id a person holds. Subject, correlation
 * and idempotency key are added by the core itself. */
void rows_ref(struct rows *rows, struct str id);

/* --- asking --------------------------------------------------------------------------- */
struct row_filter {
    uint32_t column;
    enum { ROW_EQ, ROW_GE, ROW_GT, ROW_LE, ROW_LT } op;
    struct row_value value;
};
struct row_query {
    const struct table *table;
    const struct row_filter *filters;
    uint32_t filter_count;
    uint32_t sort_column; /* ascending; ties by the key */
    struct str cursor;    /* absent: from the start; else next_cursor of the page before */
    uint32_t limit;
};
/* values[column]; strings live until it returns. Must not ask the same reader again. */
typedef bool row_visit(void *ctx, const struct row_value *values);

/* What a query, finish or trace may read with. One per thread; not shared. */
struct reader {
    const struct reader_ops *ops;
    struct core *core;
    struct journal *journal;
    struct json_parser *parser;
    /* Opens what is personal (core/seal.h); NULL where who asks may not see it. */
    struct keyring *keyring;
};
/* How far the read model is behind what is durable. */
struct reader_lag {
    uint64_t events; /* durable and not yet in it */
    int64_t us;      /* how old what it shows is; 0 where it shows everything */
};
struct reader_ops {
    /* Visits rows in order; *next_cursor (arena) absent when that was the last page. */
    enum err (*list)(struct reader *r, const struct row_query *query, struct arena *arena,
                     row_visit *visit, void *ctx, struct str *next_cursor, struct fault *fault);
    /* The seqs of events recorded under id, ascending, at most max. */
    enum err (*refs)(struct reader *r, struct str id, uint64_t *seqs, uint32_t max,
                     uint32_t *count, struct fault *fault);
    /* The greatest of them below `before`; 0: there is none. */
    enum err (*ref_before)(struct reader *r, struct str id, uint64_t before, uint64_t *seq,
                           struct fault *fault);
    /* The seq the read model has reached. What is listed afterwards is at least as new. */
    enum err (*seq)(struct reader *r, uint64_t *seq, struct fault *fault);
    /* Does not wait. */
    void (*lag)(struct reader *r, struct reader_lag *out);
    /* Returns when the read model has reached seq: what was acknowledged before the call is
     * then listed. ERR_UNAVAILABLE after timeout_ms. Blocks: not on a loop thread. */
    enum err (*wait)(struct reader *r, uint64_t seq, int64_t timeout_ms, struct fault *fault);
};

#endif
