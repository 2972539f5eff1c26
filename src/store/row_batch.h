/* row_batch: the rows that a batch of events changes, before they are written: struct rows of
 * core/rows.h. A row that is put several times is written once, the last value of each column
 * winning; rows are written sorted by table and key, so that neighbours meet in one page. */
#ifndef PENSTOCK_STORE_ROW_BATCH_H
#define PENSTOCK_STORE_ROW_BATCH_H

#include "base/buf.h"
#include "core/rows.h"
#include "store/refs.h"

/* The tables of all capabilities, in order. */
struct table_list {
    const struct table *const *tables;
    uint32_t count;
};

/* tables must outlive it. NULL where memory is out. */
struct rows *rows_create(const struct table_list *tables);
/* Finalises the statements of rows_bind. */
void rows_destroy(struct rows *rows);
/* The connection that rows_write writes with; NULL before it is closed. */
void rows_bind(struct rows *rows, sqlite3 *db);

/* Forgets all rows and refs. */
void rows_clear(struct rows *rows);
/* Refs put from now on point at seq. */
void rows_at(struct rows *rows, uint64_t seq);
/* Whether no more events should be added before it is written: its memory is used up. */
bool rows_full(const struct rows *rows);
/* ERR_NOMEM where a put or a ref did not find memory: the batch is incomplete. */
enum err rows_error(const struct rows *rows);
uint32_t rows_count(const struct rows *rows);
struct ref *rows_refs(struct rows *rows, uint32_t *n);
/* Writes all rows. Inside a transaction. */
enum err rows_write(struct rows *rows, struct fault *fault) WARN_UNUSED;

/* "CREATE TABLE …;" of a table, and "CREATE INDEX …;" of its indexes. */
void table_schema(const struct table *table, struct buf *out);
void table_indexes(const struct table *table, struct buf *out);

#endif
