/* shelf_run: see shelf_priv.h. Owns table run and part, the run objects and the views of them.
 *
 * Always true: meta's sum is that of all live rows, so a list of runs that is not of one moment
 * is found out when the file is opened. */
#include "base/mem.h"
#include "store/shelf_priv.h"

#define RUN_SEED UINT64_C(0x7368656c66727531)
#define PART_BYTES (1u << 20)
#define PARTS_DELETE 4u /* a part is many pages */
#define RUNS_LOAD_MAX 65536u
/* Bits a key in a run that holds all of its space; smaller runs take more, as they are many. */
#define BITS_SPARSE 14u
#define BITS_SPARSE_MAX 22u
#define BITS_OTHER 8u
#define BITS_OTHER_MAX 14u

/* --- runs -------------------------------------------------------------------------------- */

struct shelf_run *run_create(struct shelf_sqlite *s, uint32_t space, uint32_t level) {
    struct shelf_run *run = mem_zalloc(sizeof *run);
    if (!run)
        return NULL;
    atomic_init(&run->refs, 1);
    run->id = s->next_run++;
    run->space = space;
    run->level = level;
    run->newest_us = INT64_MIN;
    return run;
}

void run_release(struct shelf_sqlite *s, struct shelf_run *run) {
    if (!run || atomic_fetch_sub(&run->refs, 1) != 1)
        return;
    atomic_fetch_sub(&s->memory, run->memory);
    filter_free(&run->filter);
    mem_free(run->firsts);
    mem_free(run);
}

static void run_weigh_as(struct shelf_sqlite *s, struct shelf_run *run, size_t bytes) {
    atomic_fetch_add(&s->memory, bytes);
    atomic_fetch_sub(&s->memory, run->memory);
    run->memory = bytes;
}

void run_weigh(struct shelf_sqlite *s, struct shelf_run *run) {
    struct hash128 *fit = mem_resize(run->firsts, run->chunks * sizeof *fit + 1);
    if (fit)
        run->firsts = fit;
    run_weigh_as(s, run, sizeof *run + run->chunks * sizeof *run->firsts +
                             run->filter.blocks * FILTER_BLOCK_BYTES);
}

static uint32_t run_bits(const struct shelf_sqlite *s, const struct shelf_run *run,
                         uint64_t keys) {
    const struct shelf_space_state *space = &s->spaces[run->space];
    uint32_t bits = space->sparse ? BITS_SPARSE : BITS_OTHER;
    uint32_t max = space->sparse ? BITS_SPARSE_MAX : BITS_OTHER_MAX;
    uint64_t all = keys;
    for (uint32_t i = 0; space->view && i < space->view->count; i++)
        all += space->view->runs[i]->entries;
    for (all /= keys + 1; all > 1 && bits < max; all /= 2)
        bits++;
    return bits;
}

bool run_filter_make(struct shelf_sqlite *s, struct shelf_run *run, uint64_t keys) {
    if (!filter_make(&run->filter, keys, run_bits(s, run, keys)))
        return false;
    run_weigh_as(s, run, run->filter.blocks * FILTER_BLOCK_BYTES);
    return true;
}

void run_filter_fit(struct shelf_sqlite *s, struct shelf_run *run) {
    filter_fit(&run->filter, run->entries, run_bits(s, run, run->entries));
}

uint64_t run_sum(const struct shelf_sqlite *s, const struct shelf_run *run) {
    int64_t fields[] = {run->id, s->spaces[run->space].id, run->level, run->chunks,
                        (int64_t)run->entries, (int64_t)run->bytes,
                        (int64_t)run->filter.blocks, run->newest_us};
    return hash64(str_of((const char *)fields, sizeof fields), RUN_SEED);
}

enum err run_put(struct shelf_sqlite *s, const struct shelf_run *run, enum run_state state,
                 struct fault *fault) {
    sqlite3_stmt *stmt = s->run_put;
    int64_t fields[] = {run->id, s->spaces[run->space].id, run->level, state, run->chunks,
                        (int64_t)run->entries, (int64_t)run->bytes,
                        (int64_t)run->filter.blocks, run->newest_us};
    for (int i = 0; i < 9; i++)
        sqlite3_bind_int64(stmt, i + 1, fields[i]);
    if (state == RUN_LIVE)
        s->runs_sum_next += run_sum(s, run);
    else if (state == RUN_DEAD)
        s->runs_sum_next -= run_sum(s, run);
    return db_run(stmt, fault);
}

/* --- index and filter as one stream of bytes, cut into parts ------------------------------- */

static uint64_t parts_bytes(const struct shelf_run *run) {
    return run->chunks * sizeof *run->firsts + run->filter.blocks * FILTER_BLOCK_BYTES;
}
/* Copies [at, at + len) of the stream to or from bytes. */
static void parts_copy(const struct shelf_run *run, uint64_t at, char *bytes, size_t len,
                       bool store) {
    uint64_t first = run->chunks * sizeof *run->firsts;
    size_t head = at >= first ? 0 : first - at < len ? (size_t)(first - at) : len;
    char *index = (char *)run->firsts + at;
    char *filter = (char *)run->filter.words + (at + head - first);
    if (head > 0)
        memcpy(store ? index : bytes, store ? bytes : index, head);
    if (len > head)
        memcpy(store ? filter : bytes + head, store ? bytes + head : filter, len - head);
}

static uint64_t part_sum(int64_t id, const char *data, size_t len) {
    return hash64(str_of(data, len), RUN_SEED ^ (uint64_t)id);
}

enum err run_parts_put(struct shelf_sqlite *s, const struct shelf_run *run, uint32_t *part,
                       uint64_t budget, bool *done, struct fault *fault) {
    uint64_t all = run->chunks <= SHELF_CHUNKS_SMALL ? 0 : parts_bytes(run);
    enum err err = OK;
    *done = (uint64_t)*part * PART_BYTES >= all;
    if (*done)
        return OK;
    char *bytes = mem_alloc(8 + PART_BYTES);
    if (!bytes)
        return fault_set(fault, ERR_NOMEM, "no memory to write the state down");
    for (uint64_t put = 0; err == OK && !*done && put <= budget;) {
        uint64_t at = (uint64_t)*part * PART_BYTES;
        size_t len = all - at < PART_BYTES ? (size_t)(all - at) : PART_BYTES;
        int64_t id = chunk_id(run->id, *part);
        parts_copy(run, at, bytes + 8, len, false);
        uint64_t sum = part_sum(id, bytes + 8, len);
        memcpy(bytes, &sum, 8);
        sqlite3_bind_int64(s->part_put, 1, id);
        sqlite3_bind_blob64(s->part_put, 2, bytes, len + 8, SQLITE_STATIC);
        err = db_run(s->part_put, fault);
        s->written_bytes += len;
        put += len;
        ++*part;
        *done = at + len == all;
    }
    sqlite3_clear_bindings(s->part_put);
    mem_free(bytes);
    return err;
}

static enum err part_take(struct shelf_run *run, sqlite3_stmt *stmt, uint32_t *part,
                          struct fault *fault) {
    uint64_t all = parts_bytes(run), at = (uint64_t)*part * PART_BYTES;
    int64_t id = chunk_id(run->id, *part);
    const char *data = sqlite3_column_blob(stmt, 1);
    size_t have = (size_t)sqlite3_column_bytes(stmt, 1);
    size_t len = at >= all ? 0 : all - at < PART_BYTES ? (size_t)(all - at) : PART_BYTES;
    if (!data || len == 0 || have != len + 8 || sqlite3_column_int64(stmt, 0) != id ||
        load64(data) != part_sum(id, data + 8, len))
        return fault_set(fault, ERR_DAMAGED, "the written state's index was changed on disk");
    parts_copy(run, at, (char *)data + 8, len, true);
    ++*part;
    return OK;
}

static enum err parts_load(struct shelf_sqlite *s, struct shelf_run *run, struct fault *fault) {
    sqlite3_stmt *stmt;
    enum err err = db_prepare(s->writer.db,
                              "SELECT id, data FROM part WHERE id >= ? AND id < ? ORDER BY id",
                              &stmt, fault);
    if (err != OK)
        return err;
    sqlite3_bind_int64(stmt, 1, chunk_id(run->id, 0));
    sqlite3_bind_int64(stmt, 2, chunk_id(run->id + 1, 0));
    int rc = SQLITE_DONE;
    uint32_t part = 0;
    while (err == OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
        err = part_take(run, stmt, &part, fault);
    if (err == OK && rc != SQLITE_DONE)
        err = db_fault(s->writer.db, "read the written state", fault);
    if (err == OK && (uint64_t)part * PART_BYTES < parts_bytes(run))
        err = fault_set(fault, ERR_DAMAGED, "a part of the written state's index is missing");
    sqlite3_finalize(stmt);
    return err;
}

/* From the chunks themselves. */
static enum err parts_make(struct shelf_sqlite *s, struct shelf_run *run, struct fault *fault) {
    for (uint32_t i = 0; i < run->chunks; i++) {
        struct shelf_chunk chunk;
        enum err err = chunk_load(&s->writer, run, i, &s->writer.bytes, &s->writer.cap, &chunk,
                                  fault);
        if (err != OK)
            return err;
        run->firsts[i] = chunk_key(&chunk, 0);
        for (uint32_t k = 0; k < chunk.count; k++)
            filter_add(&run->filter, chunk_key(&chunk, k));
    }
    return OK;
}

static enum err run_fill(struct shelf_sqlite *s, struct shelf_run *run, struct fault *fault) {
    uint64_t blocks = run->filter.blocks;
    run->filter.blocks = 0;
    run->firsts = mem_zalloc(run->chunks * sizeof *run->firsts + 1);
    if (!run->firsts || !filter_sized(&run->filter, blocks))
        return fault_set(fault, ERR_NOMEM, "no memory for the written state's filters");
    enum err err = run->chunks <= SHELF_CHUNKS_SMALL ? parts_make(s, run, fault)
                                                     : parts_load(s, run, fault);
    if (err == OK)
        run_weigh(s, run);
    return err;
}

/* --- views ------------------------------------------------------------------------------- */

struct shelf_view *view_create(uint32_t count) {
    struct shelf_view *view = mem_zalloc(sizeof *view + count * sizeof view->runs[0]);
    if (view)
        atomic_init(&view->refs, 1);
    return view;
}

struct shelf_view *view_hold(struct shelf_sqlite *s, uint32_t space) {
    pthread_rwlock_rdlock(&s->views);
    struct shelf_view *view = s->spaces[space].view;
    atomic_fetch_add(&view->refs, 1);
    pthread_rwlock_unlock(&s->views);
    return view;
}

void view_release(struct shelf_sqlite *s, struct shelf_view *view) {
    if (!view || atomic_fetch_sub(&view->refs, 1) != 1)
        return;
    for (uint32_t i = 0; i < view->count; i++)
        run_release(s, view->runs[i]);
    mem_free(view);
}

void views_publish(struct shelf_sqlite *s, struct shelf_view *fresh[SHELF_SPACES_MAX]) {
    pthread_rwlock_wrlock(&s->views);
    for (uint32_t i = 0; i < s->space_count; i++) {
        struct shelf_view *old = s->spaces[i].view;
        if (!fresh[i])
            continue;
        s->spaces[i].view = fresh[i];
        fresh[i] = old;
    }
    pthread_rwlock_unlock(&s->views);
    for (uint32_t i = 0; i < s->space_count; i++)
        view_release(s, fresh[i]);
}

/* --- the dead ---------------------------------------------------------------------------- */

void dead_add(struct shelf_sqlite *s, struct shelf_run *run) {
    run->next = s->dead;
    s->dead = run;
}

static enum err dead_rows_delete(struct shelf_sqlite *s, sqlite3_stmt *stmt, int64_t run,
                                 uint64_t max, uint64_t *deleted, struct fault *fault) {
    sqlite3_bind_int64(stmt, 1, chunk_id(run, 0));
    sqlite3_bind_int64(stmt, 2, chunk_id(run + 1, 0));
    sqlite3_bind_int64(stmt, 3, (int64_t)max);
    enum err err = db_run(stmt, fault);
    *deleted = err == OK ? (uint64_t)sqlite3_changes64(s->writer.db) : 0;
    return err;
}

enum err dead_delete(struct shelf_sqlite *s, uint64_t budget, bool *more, struct fault *fault) {
    uint64_t rows = budget / SHELF_PAGE_BYTES + 16, deleted = 0;
    *more = false;
    for (struct shelf_run *run = s->dead; run; run = run->next) {
        if (atomic_load(&run->refs) != 1) /* someone still reads it */
            continue;
        *more = true;
        enum err err = dead_rows_delete(s, s->chunks_delete, run->id, rows, &deleted, fault);
        rows -= deleted;
        if (err == OK && rows > 0) {
            err = dead_rows_delete(s, s->parts_delete, run->id, PARTS_DELETE, &deleted, fault);
            rows = deleted < PARTS_DELETE ? rows : 0;
        }
        if (err != OK || rows == 0)
            return err;
        sqlite3_bind_int64(s->run_delete, 1, run->id);
        err = db_run(s->run_delete, fault);
        if (err != OK)
            return err;
        run->merging = true; /* to be taken off the list */
    }
    *more = false;
    return OK;
}

void dead_sweep(struct shelf_sqlite *s, bool committed) {
    for (struct shelf_run **at = &s->dead; *at;) {
        struct shelf_run *run = *at;
        if (committed && run->merging) {
            *at = run->next;
            run_release(s, run);
            continue;
        }
        run->merging = false;
        at = &run->next;
    }
}

/* --- loading ----------------------------------------------------------------------------- */

struct loading {
    struct shelf_run **runs; /* live ones of our spaces: newest first within each */
    uint32_t count, cap;
    uint64_t sum;      /* of all live rows */
    uint64_t lost_sum; /* of those among them whose space is not ours */
};

static uint32_t space_of(const struct shelf_sqlite *s, int64_t id) {
    for (uint32_t i = 0; i < s->space_count; i++)
        if (s->spaces[i].id == id)
            return i;
    return SHELF_SPACES_MAX;
}

static enum err loading_add(struct loading *l, struct shelf_run *run, struct fault *fault) {
    if (l->count == l->cap) {
        uint32_t cap = l->cap ? 2 * l->cap : 64;
        struct shelf_run **more = mem_resize(l->runs, cap * sizeof(struct shelf_run *));
        if (!more)
            return fault_set(fault, ERR_NOMEM, "no memory for the written state");
        l->runs = more;
        l->cap = cap;
    }
    l->runs[l->count++] = run;
    return OK;
}

static enum err run_row_load(struct shelf_sqlite *s, struct loading *l, sqlite3_stmt *stmt,
                             struct fault *fault) {
    int64_t fields[9];
    for (int i = 0; i < 9; i++)
        fields[i] = sqlite3_column_int64(stmt, i);
    struct shelf_run *run = run_create(s, 0, 0);
    if (!run)
        return fault_set(fault, ERR_NOMEM, "no memory for the written state");
    run->id = fields[0];
    run->space = space_of(s, fields[1]);
    run->level = (uint32_t)fields[2];
    if (run->id >= s->next_run)
        s->next_run = run->id + 1;
    if (fields[3] != RUN_LIVE) {
        dead_add(s, run);
        return OK;
    }
    run->chunks = (uint32_t)fields[4];
    run->entries = (uint64_t)fields[5];
    run->bytes = (uint64_t)fields[6];
    run->filter.blocks = (uint64_t)fields[7];
    run->newest_us = fields[8];
    int64_t summed[] = {fields[0], fields[1], fields[2], fields[4], fields[5], fields[6],
                        fields[7], fields[8]};
    uint64_t sum = hash64(str_of((const char *)summed, sizeof summed), RUN_SEED);
    l->sum += sum;
    if (run->space < s->space_count) {
        enum err err = loading_add(l, run, fault);
        if (err != OK)
            run_release(s, run);
        return err;
    }
    l->lost_sum += sum;
    run->filter.blocks = 0;
    dead_add(s, run);
    return OK;
}

static enum err run_rows_load(struct shelf_sqlite *s, struct loading *l, struct fault *fault) {
    sqlite3_stmt *stmt;
    enum err err = db_prepare(s->writer.db,
                              "SELECT run, space, level, state, chunks, entries, bytes, blocks,"
                              " newest FROM run ORDER BY space, level, run DESC",
                              &stmt, fault);
    if (err != OK)
        return err;
    int rc = SQLITE_DONE;
    while (err == OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
        err = run_row_load(s, l, stmt, fault);
    if (err == OK && rc != SQLITE_DONE)
        err = db_fault(s->writer.db, "read the written state", fault);
    sqlite3_finalize(stmt);
    if (err == OK && (l->sum != s->runs_sum || l->count > RUNS_LOAD_MAX))
        err = fault_set(fault, ERR_DAMAGED, "the written state's list of runs is damaged");
    return err;
}

/* Views of the runs in the list, which gives up its references. */
static enum err loading_publish(struct shelf_sqlite *s, struct loading *l, struct fault *fault) {
    struct shelf_view *fresh[SHELF_SPACES_MAX] = {0};
    uint32_t counts[SHELF_SPACES_MAX] = {0};
    bool made = true;
    for (uint32_t i = 0; i < l->count; i++)
        counts[l->runs[i]->space]++;
    for (uint32_t i = 0; i < s->space_count; i++)
        made = (fresh[i] = view_create(counts[i])) != NULL && made;
    if (!made) {
        for (uint32_t i = 0; i < s->space_count; i++)
            view_release(s, fresh[i]);
        return fault_set(fault, ERR_NOMEM, "no memory for the written state");
    }
    for (uint32_t i = 0; i < l->count; i++) {
        struct shelf_view *view = fresh[l->runs[i]->space];
        view->runs[view->count++] = l->runs[i];
    }
    l->count = 0;
    views_publish(s, fresh);
    return OK;
}

enum err runs_load(struct shelf_sqlite *s, struct fault *fault) {
    struct loading l = {0};
    s->next_run = 1;
    enum err err = run_rows_load(s, &l, fault);
    if (err == OK && l.lost_sum != 0) {
        sqlite3_stmt *stmt;
        err = db_prepare(s->writer.db,
                         "UPDATE run SET state=2 WHERE state=0 AND"
                         " space NOT IN (SELECT id FROM space)", &stmt, fault);
        if (err == OK)
            err = db_run(stmt, fault);
        sqlite3_finalize(stmt);
        s->runs_sum_next = s->runs_sum - l.lost_sum;
    }
    for (uint32_t i = 0; err == OK && i < l.count; i++)
        err = run_fill(s, l.runs[i], fault);
    if (err == OK)
        err = loading_publish(s, &l, fault);
    for (uint32_t i = 0; i < l.count; i++) {
        if (!l.runs[i]->filter.memory)
            l.runs[i]->filter.blocks = 0;
        run_release(s, l.runs[i]);
    }
    mem_free(l.runs);
    return err == OK ? OK : shelf_err(s->writer.db, err, fault);
}
