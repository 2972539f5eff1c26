/* refs: see refs.h. Owns tables ref_run and ref_chunk.
 *
 * Always true: the live runs, ordered by level (highest first) and number, hold pairs of ever
 * later transactions, so that seqs found run by run are ascending. A chunk holds REF_CHUNK
 * pairs sorted by key and seq; only a run's last one may hold less. */
#include "store/refs.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"

#define REF_SEED UINT64_C(0x70656e7265667331)
#define REF_CHUNK 250u /* 4 000 bytes: with its row's header it fills one page of 4 KiB */
#define REF_FAN 8u     /* runs merged into one */
#define REF_LEVELS 16u
#define REF_RUNS_MAX 1024u
#define REF_WORK_MIN 4096u /* pairs merged per level and transaction, at least */

enum run_state { RUN_LIVE, RUN_BUILDING, RUN_DEAD };

struct run {
    int64_t id;
    uint32_t level, chunks;
    bool merging;
};

struct run_cursor {
    int64_t run;
    uint32_t chunks, chunk; /* of them; the next one to load */
    uint32_t at, n;
    struct ref pairs[REF_CHUNK];
};

/* One merge per level, under way or not. */
struct merge {
    bool active;
    int64_t out;
    uint32_t out_chunks, n;
    struct ref pairs[REF_CHUNK]; /* of the chunk being filled */
    struct ref newest;           /* written last, to drop doubles */
    struct run_cursor inputs[REF_FAN];
};

struct refs {
    sqlite3 *db;
    sqlite3_stmt *run_put, *run_delete, *chunk_put, *chunk_get, *chunks_delete;
    struct run runs[REF_RUNS_MAX]; /* live, in order of creation */
    uint32_t run_count;
    struct run dead[REF_RUNS_MAX]; /* their chunks are still to be deleted */
    uint32_t dead_count;
    int64_t next_run;
    struct merge *merges[REF_LEVELS]; /* made at first use */
};

uint64_t ref_key(struct str id) { return hash64(id, REF_SEED); }

static int64_t chunk_id(int64_t run, uint32_t chunk) { return run << 24 | chunk; }

static int ref_cmp(const void *a, const void *b) {
    const struct ref *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

/* --- life ------------------------------------------------------------------------------- */

enum err refs_create(sqlite3 *db, struct refs **out, struct fault *fault) {
    struct refs *refs = mem_zalloc(sizeof *refs);
    *out = NULL;
    if (!refs)
        return fault_set(fault, ERR_NOMEM, "no memory for the read model");
    refs->db = db;
    enum err err = db_prepare(db, "INSERT OR REPLACE INTO ref_run VALUES(?,?,?,?)",
                              &refs->run_put, fault);
    if (err == OK)
        err = db_prepare(db, "DELETE FROM ref_run WHERE run=?", &refs->run_delete, fault);
    if (err == OK)
        err = db_prepare(db, "INSERT INTO ref_chunk VALUES(?,?)", &refs->chunk_put, fault);
    if (err == OK)
        err = db_prepare(db, "SELECT data FROM ref_chunk WHERE id=?", &refs->chunk_get, fault);
    if (err == OK)
        err = db_prepare(db, "DELETE FROM ref_chunk WHERE id >= ? AND id < ?",
                         &refs->chunks_delete, fault);
    if (err != OK) {
        refs_destroy(refs);
        return err;
    }
    *out = refs;
    return OK;
}

void refs_destroy(struct refs *refs) {
    if (!refs)
        return;
    sqlite3_finalize(refs->run_put);
    sqlite3_finalize(refs->run_delete);
    sqlite3_finalize(refs->chunk_put);
    sqlite3_finalize(refs->chunk_get);
    sqlite3_finalize(refs->chunks_delete);
    for (uint32_t i = 0; i < REF_LEVELS; i++)
        mem_free(refs->merges[i]);
    mem_free(refs);
}

uint32_t refs_runs(const struct refs *refs) { return refs->run_count; }

static enum err run_put(struct refs *refs, int64_t id, uint32_t level, uint32_t chunks,
                        enum run_state state, struct fault *fault) {
    sqlite3_bind_int64(refs->run_put, 1, id);
    sqlite3_bind_int64(refs->run_put, 2, level);
    sqlite3_bind_int64(refs->run_put, 3, chunks);
    sqlite3_bind_int64(refs->run_put, 4, state);
    return db_run(refs->run_put, fault);
}

static enum err chunks_delete(struct refs *refs, int64_t run, uint32_t from, uint32_t to,
                              struct fault *fault) {
    sqlite3_bind_int64(refs->chunks_delete, 1, chunk_id(run, from));
    sqlite3_bind_int64(refs->chunks_delete, 2, chunk_id(run, to));
    return db_run(refs->chunks_delete, fault);
}

static enum err run_delete(struct refs *refs, int64_t run, struct fault *fault) {
    sqlite3_bind_int64(refs->run_delete, 1, run);
    return db_run(refs->run_delete, fault);
}

/* One row of ref_run, at load. */
static enum err run_load(struct refs *refs, sqlite3_stmt *stmt, struct fault *fault) {
    struct run run = {.id = sqlite3_column_int64(stmt, 0),
                      .level = (uint32_t)sqlite3_column_int64(stmt, 1),
                      .chunks = (uint32_t)sqlite3_column_int64(stmt, 2)};
    enum run_state state = (enum run_state)sqlite3_column_int64(stmt, 3);
    if (run.id >= refs->next_run)
        refs->next_run = run.id + 1;
    if (run.level >= REF_LEVELS || refs->run_count == REF_RUNS_MAX ||
        refs->dead_count == REF_RUNS_MAX)
        return fault_set(fault, ERR_DAMAGED, "the read model's list of runs is damaged");
    if (state == RUN_LIVE) {
        refs->runs[refs->run_count++] = run;
        return OK;
    }
    if (state == RUN_BUILDING) /* its row does not know how far it came */
        run.chunks = 1u << 24;
    refs->dead[refs->dead_count++] = run;
    return OK;
}

enum err refs_load(struct refs *refs, struct fault *fault) {
    refs->run_count = refs->dead_count = 0;
    refs->next_run = 1;
    for (uint32_t i = 0; i < REF_LEVELS; i++)
        if (refs->merges[i])
            refs->merges[i]->active = false;
    sqlite3_stmt *stmt;
    enum err err = db_prepare(refs->db,
                              "SELECT run, level, chunks, state FROM ref_run ORDER BY run", &stmt,
                              fault);
    int rc = SQLITE_DONE;
    while (err == OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
        err = run_load(refs, stmt, fault);
    if (err == OK && rc != SQLITE_DONE)
        err = db_fault(refs->db, "read the read model's runs", fault);
    sqlite3_finalize(stmt);
    /* What a merge under way had written goes at once: its number is not known to be the
     * newest, and merges start anew. */
    for (uint32_t i = 0; err == OK && i < refs->dead_count; i++) {
        err = chunks_delete(refs, refs->dead[i].id, 0, refs->dead[i].chunks, fault);
        if (err == OK)
            err = run_delete(refs, refs->dead[i].id, fault);
    }
    if (err == OK)
        refs->dead_count = 0;
    return err;
}

/* --- merging ---------------------------------------------------------------------------- */

static enum err chunk_put(struct refs *refs, int64_t run, uint32_t chunk, const struct ref *pairs,
                          uint32_t n, struct fault *fault) {
    sqlite3_bind_int64(refs->chunk_put, 1, chunk_id(run, chunk));
    sqlite3_bind_blob(refs->chunk_put, 2, pairs, (int)(n * sizeof *pairs), SQLITE_STATIC);
    return db_run(refs->chunk_put, fault);
}

/* Reads a chunk into pairs (REF_CHUNK of them); *n 0 where it is not there or not right. */
static enum err chunk_get(sqlite3_stmt *stmt, int64_t run, uint32_t chunk, struct ref *pairs,
                          uint32_t *n, struct fault *fault) {
    sqlite3_bind_int64(stmt, 1, chunk_id(run, chunk));
    int rc = sqlite3_step(stmt);
    size_t len = rc == SQLITE_ROW ? (size_t)sqlite3_column_bytes(stmt, 0) : 0;
    enum err err = OK;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        err = db_fault(sqlite3_db_handle(stmt), "read the read model", fault);
    else if (len == 0 || len % sizeof *pairs != 0 || len > REF_CHUNK * sizeof *pairs)
        err = fault_set(fault, ERR_DAMAGED, "a chunk of the read model is missing or damaged");
    else
        memcpy(pairs, sqlite3_column_blob(stmt, 0), len);
    *n = err == OK ? (uint32_t)(len / sizeof *pairs) : 0;
    sqlite3_reset(stmt);
    return err;
}

/* Makes cursor->pairs[at] the next pair, if there is one (at < n). */
static enum err cursor_fill(struct refs *refs, struct run_cursor *cursor, struct fault *fault) {
    if (cursor->at < cursor->n || cursor->chunk == cursor->chunks)
        return OK;
    cursor->at = 0;
    return chunk_get(refs->chunk_get, cursor->run, cursor->chunk++, cursor->pairs, &cursor->n,
                     fault);
}

/* Begins to merge the oldest runs of the level, if there are enough that are not merging. */
static enum err merge_begin(struct refs *refs, uint32_t level, struct fault *fault) {
    uint32_t picked[REF_FAN], n = 0;
    for (uint32_t i = 0; i < refs->run_count && n < REF_FAN; i++)
        if (refs->runs[i].level == level)
            picked[n++] = i;
    if (n < REF_FAN || level + 1 >= REF_LEVELS)
        return OK;
    if (!refs->merges[level])
        refs->merges[level] = mem_alloc(sizeof **refs->merges);
    struct merge *merge = refs->merges[level];
    if (!merge)
        return fault_set(fault, ERR_NOMEM, "no memory for the read model");
    merge->out = refs->next_run++;
    merge->out_chunks = merge->n = 0;
    merge->newest = (struct ref){0};
    for (uint32_t i = 0; i < REF_FAN; i++) {
        struct run *run = &refs->runs[picked[i]];
        run->merging = true;
        struct run_cursor *cursor = &merge->inputs[i];
        cursor->run = run->id;
        cursor->chunks = run->chunks;
        cursor->chunk = cursor->at = cursor->n = 0;
        enum err err = cursor_fill(refs, cursor, fault);
        if (err != OK)
            return err;
    }
    merge->active = true;
    return run_put(refs, merge->out, level + 1, 0, RUN_BUILDING, fault);
}

static enum err merge_flush(struct refs *refs, struct merge *merge, struct fault *fault) {
    if (merge->n == 0)
        return OK;
    uint32_t n = merge->n;
    merge->n = 0;
    return chunk_put(refs, merge->out, merge->out_chunks++, merge->pairs, n, fault);
}

/* The output takes the place of the inputs. */
static enum err merge_end(struct refs *refs, uint32_t level, struct fault *fault) {
    struct merge *merge = refs->merges[level];
    enum err err = merge_flush(refs, merge, fault);
    if (err == OK)
        err = run_put(refs, merge->out, level + 1, merge->out_chunks, RUN_LIVE, fault);
    uint32_t kept = 0;
    for (uint32_t i = 0; err == OK && i < refs->run_count; i++) {
        struct run *run = &refs->runs[i];
        if (run->level != level || !run->merging) {
            refs->runs[kept++] = *run;
            continue;
        }
        err = run_put(refs, run->id, level, run->chunks, RUN_DEAD, fault);
        must(refs->dead_count < REF_RUNS_MAX);
        refs->dead[refs->dead_count++] = *run;
    }
    if (err != OK)
        return err;
    refs->run_count = kept;
    refs->runs[refs->run_count++] =
        (struct run){.id = merge->out, .level = level + 1, .chunks = merge->out_chunks};
    merge->active = false;
    return OK;
}

static enum err merge_work(struct refs *refs, uint32_t level, uint32_t budget,
                           struct fault *fault) {
    struct merge *merge = refs->merges[level];
    for (; budget > 0; budget--) {
        struct run_cursor *least = NULL;
        for (uint32_t i = 0; i < REF_FAN; i++) {
            struct run_cursor *cursor = &merge->inputs[i];
            if (cursor->at < cursor->n &&
                (!least || ref_cmp(&cursor->pairs[cursor->at], &least->pairs[least->at]) < 0))
                least = cursor;
        }
        if (!least)
            return merge_end(refs, level, fault);
        struct ref pair = least->pairs[least->at++];
        enum err err = cursor_fill(refs, least, fault);
        if (err == OK && ref_cmp(&pair, &merge->newest) != 0) {
            merge->pairs[merge->n++] = merge->newest = pair;
            if (merge->n == REF_CHUNK)
                err = merge_flush(refs, merge, fault);
        }
        if (err != OK)
            return err;
    }
    return OK;
}

/* Deletes about as many chunks of dead runs as the budget (pairs) says. */
static enum err dead_work(struct refs *refs, uint32_t budget, struct fault *fault) {
    uint32_t chunks = budget / REF_CHUNK + 8;
    while (refs->dead_count > 0 && chunks > 0) {
        struct run *run = &refs->dead[refs->dead_count - 1];
        uint32_t n = run->chunks < chunks ? run->chunks : chunks;
        enum err err = chunks_delete(refs, run->id, run->chunks - n, run->chunks, fault);
        if (err != OK)
            return err;
        run->chunks -= n;
        chunks -= n;
        if (run->chunks > 0)
            break;
        err = run_delete(refs, run->id, fault);
        if (err != OK)
            return err;
        refs->dead_count--;
    }
    return OK;
}

static enum err refs_work(struct refs *refs, uint32_t added, struct fault *fault) {
    /* A level's merge must end before its next eight runs are there: it has 8 n pairs to move
     * while 8 n are added. Twice that leaves room. */
    uint32_t budget = 2 * added > REF_WORK_MIN ? 2 * added : REF_WORK_MIN;
    if (refs->run_count > REF_RUNS_MAX / 2) /* large transactions, then many tiny ones */
        budget *= 64;
    enum err err = OK;
    for (uint32_t level = 0; err == OK && level < REF_LEVELS; level++) {
        if (!refs->merges[level] || !refs->merges[level]->active)
            err = merge_begin(refs, level, fault);
        if (err == OK && refs->merges[level] && refs->merges[level]->active)
            err = merge_work(refs, level, budget, fault);
    }
    return err == OK ? dead_work(refs, 2 * budget, fault) : err;
}

enum err refs_add(struct refs *refs, struct ref *pairs, uint32_t n, struct fault *fault) {
    if (n == 0)
        return OK;
    must(refs->run_count < REF_RUNS_MAX - 1);
    qsort(pairs, n, sizeof *pairs, ref_cmp);
    uint32_t kept = 1;
    for (uint32_t i = 1; i < n; i++)
        if (ref_cmp(&pairs[i], &pairs[kept - 1]) != 0)
            pairs[kept++] = pairs[i];
    struct run run = {.id = refs->next_run++, .level = 0};
    enum err err = OK;
    for (uint32_t at = 0; err == OK && at < kept; at += REF_CHUNK)
        err = chunk_put(refs, run.id, run.chunks++, pairs + at,
                        kept - at < REF_CHUNK ? kept - at : REF_CHUNK, fault);
    if (err == OK)
        err = run_put(refs, run.id, 0, run.chunks, RUN_LIVE, fault);
    if (err != OK)
        return err;
    refs->runs[refs->run_count++] = run;
    return refs_work(refs, kept, fault);
}

/* --- asking ----------------------------------------------------------------------------- */

enum err refs_reader_open(struct refs_reader *reader, sqlite3 *db, struct fault *fault) {
    reader->db = db;
    enum err err = db_prepare(db,
                              "SELECT run, chunks FROM ref_run WHERE state=0"
                              " ORDER BY level DESC, run",
                              &reader->runs, fault);
    if (err == OK)
        err = db_prepare(db, "SELECT data FROM ref_chunk WHERE id=?", &reader->chunk, fault);
    return err;
}

void refs_reader_close(struct refs_reader *reader) {
    sqlite3_finalize(reader->runs);
    sqlite3_finalize(reader->chunk);
    *reader = (struct refs_reader){0};
}

/* Adds what the run holds under key. */
static enum err run_find(struct refs_reader *reader, int64_t run, uint32_t chunks, uint64_t key,
                         uint64_t *seqs, uint32_t max, uint32_t *count, struct fault *fault) {
    struct ref pairs[REF_CHUNK];
    uint32_t n, low = 0, high = chunks; /* the first chunk whose last key is not below key */
    /* Hashes lie evenly: look first where the key should be, then ever farther from there. */
    uint32_t guess = (uint32_t)((key >> 32) * chunks >> 32);
    for (uint32_t step = 1; low < high; step *= 4) {
        uint32_t middle = low + (high - low) / 2;
        if (step == 1)
            middle = guess;
        else if (step < high - low && low > guess)
            middle = low + step - 1;
        else if (step < high - low && high == guess)
            middle = high - step;
        enum err err = chunk_get(reader->chunk, run, middle, pairs, &n, fault);
        if (err != OK)
            return err;
        if (pairs[n - 1].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < chunks && *count < max; low++) {
        enum err err = chunk_get(reader->chunk, run, low, pairs, &n, fault);
        if (err != OK)
            return err;
        for (uint32_t i = 0; i < n && *count < max; i++) {
            if (pairs[i].key > key)
                return OK;
            if (pairs[i].key == key && (*count == 0 || pairs[i].seq > seqs[*count - 1]))
                seqs[(*count)++] = pairs[i].seq;
        }
    }
    return OK;
}

enum err refs_find(struct refs_reader *reader, uint64_t key, uint64_t *seqs, uint32_t max,
                   uint32_t *count, struct fault *fault) {
    *count = 0;
    enum err err = OK;
    int rc = SQLITE_DONE;
    while (err == OK && *count < max && (rc = sqlite3_step(reader->runs)) == SQLITE_ROW)
        err = run_find(reader, sqlite3_column_int64(reader->runs, 0),
                       (uint32_t)sqlite3_column_int64(reader->runs, 1), key, seqs, max, count,
                       fault);
    if (err == OK && rc != SQLITE_ROW && rc != SQLITE_DONE)
        err = db_fault(reader->db, "read the read model's runs", fault);
    sqlite3_reset(reader->runs);
    return err;
}

/* The last pair of a run that lies before (key, before), where it is of that key. */
static enum err run_before(struct refs_reader *reader, int64_t run, uint32_t chunks, uint64_t key,
                           uint64_t before, uint64_t *seq, struct fault *fault) {
    struct ref pairs[REF_CHUNK], limit = {key, before};
    uint32_t n, low = 0, high = chunks; /* the first chunk that does not begin before it */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        enum err err = chunk_get(reader->chunk, run, middle, pairs, &n, fault);
        if (err != OK)
            return err;
        if (n > 0 && ref_cmp(&pairs[0], &limit) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return OK;
    enum err err = chunk_get(reader->chunk, run, low - 1, pairs, &n, fault);
    if (err != OK)
        return err;
    while (n > 0 && ref_cmp(&pairs[n - 1], &limit) >= 0)
        n--;
    if (n > 0 && pairs[n - 1].key == key && pairs[n - 1].seq > *seq)
        *seq = pairs[n - 1].seq;
    return OK;
}

enum err refs_before(struct refs_reader *reader, uint64_t key, uint64_t before, uint64_t *seq,
                     struct fault *fault) {
    *seq = 0;
    enum err err = OK;
    int rc = SQLITE_DONE;
    while (err == OK && (rc = sqlite3_step(reader->runs)) == SQLITE_ROW)
        err = run_before(reader, sqlite3_column_int64(reader->runs, 0),
                         (uint32_t)sqlite3_column_int64(reader->runs, 1), key, before, seq, fault);
    if (err == OK && rc != SQLITE_DONE)
        err = db_fault(reader->db, "read the read model's runs", fault);
    sqlite3_reset(reader->runs);
    return err;
}
