/* refs: which events were recorded under an id, for trace: pairs of a 64-bit hash of the id and
 * a seq, kept in the read model's file.
 *
 * Hashes come in no order, and a row per pair in one B-tree would rewrite a page for nearly
 * every pair once there are millions. So each transaction writes its pairs as one sorted run
 * of chunks, and runs are merged, eight into one of the next level, a little with every
 * transaction. A question looks into each run: eight per level at most, and the levels grow
 * with the logarithm of what is stored. */
#ifndef PENSTOCK_STORE_REFS_H
#define PENSTOCK_STORE_REFS_H

#include "store/db.h"

struct ref {
    uint64_t key, seq;
};
uint64_t ref_key(struct str id);

/* DDL of its tables, for the read model's schema. */
#define REFS_SCHEMA                                                                              \
    "CREATE TABLE ref_run(run INTEGER PRIMARY KEY, level INTEGER NOT NULL,"                      \
    " chunks INTEGER NOT NULL, state INTEGER NOT NULL);"                                         \
    "CREATE TABLE ref_chunk(id INTEGER PRIMARY KEY, data BLOB NOT NULL);"

/* Writing side; belongs to the thread that writes the read model. */
struct refs;
enum err refs_create(sqlite3 *db, struct refs **out, struct fault *fault) WARN_UNUSED;
void refs_destroy(struct refs *refs);
/* Reads the list of runs; drops merges that were under way. Needed after a rollback. Inside a
 * transaction. */
enum err refs_load(struct refs *refs, struct fault *fault) WARN_UNUSED;
/* Writes n pairs (sorted in place, doubles dropped) and does its share of merging. Inside a
 * transaction. */
enum err refs_add(struct refs *refs, struct ref *pairs, uint32_t n, struct fault *fault)
    WARN_UNUSED;
/* Live runs: what a question costs. */
uint32_t refs_runs(const struct refs *refs);

/* Asking side, one per connection. */
struct refs_reader {
    sqlite3 *db;
    sqlite3_stmt *runs, *chunk;
};
enum err refs_reader_open(struct refs_reader *reader, sqlite3 *db, struct fault *fault)
    WARN_UNUSED;
void refs_reader_close(struct refs_reader *reader);
/* The seqs under key, ascending, at most max. Inside a read transaction. */
enum err refs_find(struct refs_reader *reader, uint64_t key, uint64_t *seqs, uint32_t max,
                   uint32_t *count, struct fault *fault) WARN_UNUSED;
/* The greatest seq under key that is below `before`; 0: there is none. Inside a read
 * transaction. */
enum err refs_before(struct refs_reader *reader, uint64_t key, uint64_t before, uint64_t *seq,
                     struct fault *fault) WARN_UNUSED;

#endif
