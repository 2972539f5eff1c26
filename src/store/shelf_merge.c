/* shelf_merge: see shelf_priv.h. Many runs into one, bit by bit, and the checkpoint of the WAL.
 *
 * A level's eight oldest runs become one of the next level. Where what lies below is not much
 * larger, it is taken in too: then nothing older is left, and what is gone or over can be dropped.
 *
 * Always true: runs merged into one are neighbours in age, and their like stands in the view
 * where they stood. The runs of a merge are held by it. */
#include "base/mem.h"
#include "store/shelf_priv.h"

#define TIDY_BYTES (1u << 20)  /* of entries per call */
#define STEP_BYTES (1u << 18)  /* of them in one transaction for one merge */
#define DELETE_BYTES (4u << 20)
#define AMPLE 2u /* a space whose newer runs are so much larger than its oldest is merged whole */

struct shelf_merge {
    uint32_t space, level;
    bool bottom; /* nothing older lies below */
    bool merged; /* all entries are through; index and filter are being written */
    uint32_t part;
    struct shelf_run **inputs; /* newest first; held */
    uint32_t input_count;
    struct shelf_merger merger;
    struct shelf_builder builder;
};

/* --- beginning and ending ------------------------------------------------------------------ */

static void merge_free(struct shelf_sqlite *s, struct shelf_merge *m) {
    for (uint32_t i = 0; i < m->input_count; i++) {
        m->inputs[i]->merging = false;
        run_release(s, m->inputs[i]);
    }
    mem_free(m->inputs);
    merger_free(&m->merger);
    builder_free(&m->builder);
    run_release(s, m->builder.run);
    s->spaces[m->space].merges[m->level] = NULL;
    mem_free(m);
}

/* What it has written lies in the file under a run that is no longer built. */
static void merge_drop(struct shelf_sqlite *s, struct shelf_merge *m) {
    struct shelf_run *run = m->builder.run;
    m->builder.run = NULL;
    if (run)
        dead_add(s, run);
    merge_free(s, m);
}

void merges_drop(struct shelf_sqlite *s) {
    for (uint32_t i = 0; i < s->space_count; i++)
        for (uint32_t level = 0; level < SHELF_LEVELS; level++)
            if (s->spaces[i].merges[level])
                merge_drop(s, s->spaces[i].merges[level]);
}

static uint64_t runs_bytes(struct shelf_run *const *runs, uint32_t count) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++)
        bytes += runs[i]->bytes;
    return bytes;
}

/* Which runs of the view to merge at this level: [*from, *to). False: none. */
static bool merge_pick(const struct shelf_space_state *space, uint32_t level, uint32_t *from,
                       uint32_t *to) {
    const struct shelf_view *view = space->view;
    uint32_t end = 0;
    while (end < view->count && view->runs[end]->level <= level)
        end++;
    uint32_t begin = end;
    while (begin > 0 && view->runs[begin - 1]->level == level && end - begin < SHELF_FAN)
        begin--;
    if (end - begin < SHELF_FAN)
        return false;
    bool older_free = true;
    for (uint32_t i = begin; i < end; i++)
        if (view->runs[i]->merging)
            return false;
    for (uint32_t i = end; i < view->count; i++)
        older_free = older_free && !view->runs[i]->merging;
    *from = begin;
    *to = end;
    if (end == view->count || !older_free)
        return true;
    uint64_t picked = runs_bytes(view->runs + begin, end - begin);
    uint64_t older = runs_bytes(view->runs + end, view->count - end);
    uint64_t oldest = view->runs[view->count - 1]->bytes;
    /* Sparse spaces are seldom written twice under a key: there is little to win. */
    bool ample = !space->sparse && picked + older - oldest >= AMPLE * oldest &&
                 2 * SHELF_FAN * picked >= older;
    if (older <= picked || ample)
        *to = view->count;
    return true;
}

static enum err merge_open(struct shelf_sqlite *s, struct shelf_merge *m, struct fault *fault) {
    uint64_t entries = 0;
    uint32_t level = m->level + 1, oldest = m->inputs[m->input_count - 1]->level;
    for (uint32_t i = 0; i < m->input_count; i++)
        entries += m->inputs[i]->entries;
    level = level > oldest ? level : oldest;
    level = level < SHELF_LEVELS ? level : SHELF_LEVELS - 1;
    struct shelf_run *run = m->builder.run = run_create(s, m->space, level);
    if (!run || !run_filter_make(s, run, entries))
        return fault_set(fault, ERR_NOMEM, "no memory to merge the written state");
    enum err err = merger_make(&m->merger, &s->writer, m->inputs, m->input_count, fault);
    return err == OK ? run_put(s, run, RUN_BUILDING, fault) : err;
}

static enum err merge_begin(struct shelf_sqlite *s, uint32_t space, uint32_t level,
                            struct shelf_merge **out, struct fault *fault) {
    const struct shelf_view *view = s->spaces[space].view;
    uint32_t from, to;
    *out = NULL;
    if (!merge_pick(&s->spaces[space], level, &from, &to))
        return OK;
    struct shelf_merge *m = mem_zalloc(sizeof *m);
    struct shelf_run **inputs = mem_alloc((to - from) * sizeof(struct shelf_run *));
    if (!m || !inputs) {
        mem_free(m);
        mem_free(inputs);
        return fault_set(fault, ERR_NOMEM, "no memory to merge the written state");
    }
    m->space = space;
    m->level = level;
    m->bottom = to == view->count;
    m->inputs = inputs;
    m->builder.shelf = s;
    for (uint32_t i = from; i < to; i++) {
        atomic_fetch_add(&view->runs[i]->refs, 1);
        view->runs[i]->merging = true;
        inputs[m->input_count++] = view->runs[i];
    }
    s->spaces[space].merges[level] = m;
    *out = m;
    return OK;
}

/* The view as it is once the output stands in place of the inputs. */
static struct shelf_view *merge_view(const struct shelf_sqlite *s, const struct shelf_merge *m) {
    const struct shelf_view *old = s->spaces[m->space].view;
    struct shelf_view *view = view_create(old->count + 1);
    bool placed = m->builder.run->chunks == 0;
    for (uint32_t i = 0; view && i < old->count; i++) {
        struct shelf_run *run = old->runs[i];
        bool input = false;
        for (uint32_t k = 0; k < m->input_count; k++)
            input = input || m->inputs[k] == run;
        if (input && placed)
            continue;
        if (input) {
            run = m->builder.run;
            placed = true;
        }
        atomic_fetch_add(&run->refs, 1);
        view->runs[view->count++] = run;
    }
    return view;
}

/* Says in the file that the output takes the place of the inputs. */
static enum err merge_switch(struct shelf_sqlite *s, struct shelf_merge *m, struct fault *fault) {
    enum err err = OK;
    if (m->builder.run->chunks > 0)
        err = run_put(s, m->builder.run, RUN_LIVE, fault);
    for (uint32_t i = 0; err == OK && i < m->input_count; i++)
        err = run_put(s, m->inputs[i], RUN_DEAD, fault);
    return err;
}

/* After the commit: the same in memory. */
static void merge_end(struct shelf_sqlite *s, struct shelf_merge *m, struct shelf_view *view) {
    struct shelf_view *fresh[SHELF_SPACES_MAX] = {0};
    struct shelf_run *run = m->builder.run;
    if (run->chunks > 0) {
        run_weigh(s, run);
    } else {
        m->builder.run = NULL;
        dead_add(s, run);
    }
    fresh[m->space] = view;
    views_publish(s, fresh);
    for (uint32_t i = 0; i < m->input_count; i++) {
        m->inputs[i]->merging = false;
        dead_add(s, m->inputs[i]);
    }
    m->input_count = 0;
    merge_free(s, m);
}

/* --- a step -------------------------------------------------------------------------------- */

static enum err merge_entries(struct shelf_sqlite *s, struct shelf_merge *m, uint64_t budget,
                              uint64_t *spent, struct fault *fault) {
    const struct shelf_space_state *space = &s->spaces[m->space];
    int64_t forget_us = atomic_load(&s->forget_us);
    enum err err = OK;
    while (err == OK && *spent < budget && !merger_done(&m->merger)) {
        struct str value;
        struct hash128 key = merger_entry(&m->merger, &value);
        if (value_expired(space, value, forget_us))
            value = STR_NONE;
        if (value.ptr || !m->bottom)
            err = builder_add(&m->builder, key, value, fault);
        if (err == OK)
            err = merger_next(&m->merger, spent, fault);
    }
    if (err != OK || !merger_done(&m->merger))
        return err;
    err = builder_flush(&m->builder, fault);
    run_filter_fit(s, m->builder.run);
    m->merged = true;
    return err;
}

/* Inside a transaction. *view is set when the merge is complete and its commit is all it needs. */
static enum err merge_work(struct shelf_sqlite *s, struct shelf_merge *m, uint64_t budget,
                           uint64_t *spent, struct shelf_view **view, struct fault *fault) {
    enum err err = OK;
    bool done = false;
    if (!m->builder.run)
        err = merge_open(s, m, fault);
    if (err == OK && !m->merged)
        err = merge_entries(s, m, budget, spent, fault);
    uint64_t written = s->written_bytes;
    if (err == OK && m->merged)
        err = run_parts_put(s, m->builder.run, &m->part, budget, &done, fault);
    *spent += s->written_bytes - written;
    if (err != OK || !done)
        return err;
    err = merge_switch(s, m, fault);
    if (err == OK && !(*view = merge_view(s, m)))
        err = fault_set(fault, ERR_NOMEM, "no memory to merge the written state");
    return err;
}

static enum err merge_step(struct shelf_sqlite *s, struct shelf_merge *m, uint64_t *spent,
                           struct fault *fault) {
    struct shelf_view *view = NULL;
    uint64_t read = 0;
    enum err err = shelf_begin(s, fault);
    if (err == OK)
        err = merge_work(s, m, STEP_BYTES, &read, &view, fault);
    if (err == OK)
        err = shelf_commit(s, atomic_load(&s->seq), atomic_load(&s->forget_us), fault);
    *spent += read + 4096;
    if (err != OK) {
        err = shelf_rollback(s, err, fault);
        view_release(s, view);
        merge_drop(s, m);
        return err;
    }
    if (view)
        merge_end(s, m, view);
    return OK;
}

/* One step of the next merge that has something to do. *did: there was one. */
static enum err merges_step(struct shelf_sqlite *s, uint64_t *spent, bool *did,
                            struct fault *fault) {
    uint32_t places = s->space_count * SHELF_LEVELS;
    *did = false;
    for (uint32_t i = 0; i < places; i++) {
        uint32_t place = (s->turn + i) % places;
        uint32_t space = place / SHELF_LEVELS, level = place % SHELF_LEVELS;
        struct shelf_merge *m = s->spaces[space].merges[level];
        enum err err = m ? OK : merge_begin(s, space, level, &m, fault);
        if (err != OK)
            return err;
        if (!m)
            continue;
        s->turn = place + 1;
        *did = true;
        return merge_step(s, m, spent, fault);
    }
    return OK;
}

enum err merges_relieve(struct shelf_sqlite *s, struct fault *fault) {
    for (uint32_t i = 0; i < s->space_count; i++) {
        bool did = true;
        while (s->spaces[i].view->count >= SHELF_RUNS_MAX && did) {
            uint64_t spent = 0;
            enum err err = merges_step(s, &spent, &did, fault);
            if (err != OK)
                return err;
        }
    }
    return OK;
}

/* --- what is over, the dead, the WAL --------------------------------------------------------- */

/* Drops the oldest run of a space where all in it is over. */
static enum err run_forget(struct shelf_sqlite *s, uint32_t space, bool *did,
                           struct fault *fault) {
    struct shelf_view *old = s->spaces[space].view, *fresh[SHELF_SPACES_MAX] = {0};
    struct shelf_run *run = old->count > 0 ? old->runs[old->count - 1] : NULL;
    *did = false;
    if (!s->spaces[space].expires || !run || run->merging ||
        run->newest_us >= atomic_load(&s->forget_us))
        return OK;
    struct shelf_view *view = fresh[space] = view_create(old->count);
    if (!view)
        return fault_set(fault, ERR_NOMEM, "no memory to tidy the written state");
    enum err err = shelf_begin(s, fault);
    if (err == OK)
        err = run_put(s, run, RUN_DEAD, fault);
    if (err == OK)
        err = shelf_commit(s, atomic_load(&s->seq), atomic_load(&s->forget_us), fault);
    if (err != OK) {
        view_release(s, view);
        return shelf_rollback(s, err, fault);
    }
    for (; view->count + 1 < old->count; view->count++) {
        view->runs[view->count] = old->runs[view->count];
        atomic_fetch_add(&view->runs[view->count]->refs, 1);
    }
    atomic_fetch_add(&run->refs, 1);
    dead_add(s, run);
    views_publish(s, fresh);
    *did = true;
    return OK;
}

static enum err dead_step(struct shelf_sqlite *s, bool *more, struct fault *fault) {
    bool any = false;
    *more = false;
    for (struct shelf_run *run = s->dead; run && !any; run = run->next)
        any = atomic_load(&run->refs) == 1;
    if (!any)
        return OK;
    enum err err = shelf_begin(s, fault);
    if (err == OK)
        err = dead_delete(s, DELETE_BYTES, more, fault);
    if (err == OK)
        err = shelf_commit(s, atomic_load(&s->seq), atomic_load(&s->forget_us), fault);
    return err == OK ? OK : shelf_rollback(s, err, fault);
}

/* Busy is no error: a reader holds pages of the WAL; the next call goes on. */
static enum err wal_copy(struct shelf_sqlite *s, struct fault *fault) {
    int log = 0, copied = 0;
    if ((uint64_t)s->wal_pages * SHELF_FRAME_BYTES < s->wal_bytes_max ||
        s->wal_pages == s->wal_copied)
        return OK;
    int rc = sqlite3_wal_checkpoint_v2(s->writer.db, NULL, SQLITE_CHECKPOINT_PASSIVE, &log,
                                       &copied);
    if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY)
        return shelf_rollback(s, db_fault(s->writer.db, "checkpoint the written state", fault),
                              fault);
    if (log == copied)
        s->wal_copied = s->wal_pages;
    return OK;
}

enum err shelf_sqlite_tidy(struct shelf *shelf, bool *again, struct fault *fault) {
    struct shelf_sqlite *s = (struct shelf_sqlite *)shelf;
    uint64_t spent = 0;
    bool did = true, more = false;
    *again = false;
    enum err err = shelf_usable(s, fault);
    if (err == OK)
        err = wal_copy(s, fault);
    for (uint32_t i = 0; err == OK && i < s->space_count; i++) {
        err = run_forget(s, i, &did, fault);
        more = more || did;
    }
    for (did = true; err == OK && did && spent < TIDY_BYTES;) {
        err = merges_step(s, &spent, &did, fault);
        more = more || (did && spent >= TIDY_BYTES);
    }
    if (err == OK) {
        err = dead_step(s, again, fault);
        *again = *again || more;
    }
    return err;
}
