/* read_model: see read_model.h. One batch from events to rows, and the life of a model. */
#include "store/read_model_priv.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

#define MODEL_WAL_PAGES 4096 /* copied to the file when it is longer: 16 MiB */

/* --- tables ----------------------------------------------------------------------------- */

static enum err tables_collect(struct read_model *model, struct fault *fault) {
    const struct capability *const *all = registry_capabilities(model->options.registry);
    uint32_t count = 0;
    for (uint32_t c = 0; all[c]; c++)
        for (uint32_t t = 0; all[c]->tables && all[c]->tables[t]; t++)
            count++;
    const struct table **tables = mem_alloc((count + 1) * sizeof(const struct table *));
    if (!tables)
        return fault_set(fault, ERR_NOMEM, "no memory for the read model");
    count = 0;
    for (uint32_t c = 0; all[c]; c++)
        for (uint32_t t = 0; all[c]->tables && all[c]->tables[t]; t++) {
            const struct table *table = all[c]->tables[t];
            must(table->count <= 64 && table->key_columns > 0 &&
                 table->key_columns <= table->count);
            tables[count++] = table;
        }
    model->tables = (struct table_list){tables, count};
    return OK;
}

static enum err picks_make(struct read_model *model, struct fault *fault) {
    const struct capability *const *all = registry_capabilities(model->options.registry);
    for (uint32_t c = 0; all[c]; c++)
        for (uint32_t e = 0; all[c]->events && all[c]->events[e]; e++) {
            const struct event_type *type = all[c]->events[e];
            if (!type->project || !type->project_reads)
                continue;
            struct model_pick *more =
                mem_resize(model->picks, (model->pick_count + 1) * sizeof *more);
            if (!more)
                return fault_set(fault, ERR_NOMEM, "no memory for the read model");
            model->picks = more;
            more[model->pick_count].type = type;
            shape_pick_make(&more[model->pick_count++].pick, type->shape, type->project_reads);
        }
    return OK;
}

/* --- a batch ---------------------------------------------------------------------------- */

static void record_skip(struct read_model *model, const struct record *record,
                        const struct fault *fault) {
    atomic_fetch_add(&model->skipped, 1);
    if (!model->complained)
        log_line(LOG_ERROR, "store", "an event can not be read, its rows are missing",
                 "seq=%llu type=%s reason=%s", (unsigned long long)record->seq,
                 log_quote(record->type), log_quote(str_c(fault->detail)));
    model->complained = true;
}

/* The members that project wants, where they can be read without parsing the rest. */
static bool event_pick(struct read_model *model, const struct event_type *type,
                       const struct record *record, struct event *event) {
    const struct model_pick *pick = NULL;
    void *data = NULL;
    for (uint32_t i = 0; i < model->pick_count; i++)
        if (model->picks[i].type == type)
            pick = &model->picks[i];
    if (!pick || !shape_pick_read(&pick->pick, record->data, &model->arena, &data))
        return false;
    event->type = type;
    event->seq = record->seq;
    event->time_us = record->time_us;
    event->data_json = record->data;
    event->data = data;
    return true;
}

static enum err event_read(struct read_model *model, const struct event_type *type,
                           const struct record *record, struct event *event,
                           struct fault *fault) {
    *event = (struct event){.subject = record->subject};
    if (!type || !type->project || event_pick(model, type, record, event))
        return event_meta_load(record->meta, model->parser, &model->arena, &event->meta, fault);
    atomic_fetch_add_explicit(&model->parsed, 1, memory_order_relaxed);
    return event_from_record(model->options.registry, record, model->parser, &model->arena, event,
                             fault);
}

static bool record_project(void *ctx, const struct record *record) {
    struct read_model *model = ctx;
    struct rows *rows = model->rows;
    struct event event;
    struct fault fault = {0};
    const struct event_type *type = registry_event(model->options.registry, record->type);
    if (model->scratch && read_model_seq(model) == 0 && model->batch_count == 0 &&
        record->seq > 1) {
        model->batch_first = record->seq;
        return false;
    }
    arena_reset(&model->arena);
    enum err err = event_read(model, type, record, &event, &fault);
    if (err == ERR_NOMEM) { /* later there may be some: nothing is passed over for that */
        model->batch_err = err;
        return false;
    }
    if (err != OK)
        record_skip(model, record, &fault);
    rows_at(rows, event.meta.first > 0 ? (uint64_t)event.meta.first : record->seq);
    rows_ref(rows, record->subject);
    rows_ref(rows, event.meta.correlation);
    rows_ref(rows, event.meta.idem_key);
    if (!str_eq(event.meta.person, record->subject))
        rows_ref(rows, event.meta.person); /* erasure finds by it what to erase */
    if (err == OK && type && type->project)
        type->project(rows, &event);
    model->batch_count++;
    model->batch_seq = record->seq;
    model->batch_mark = model_record_mark(record);
    return !rows_full(rows);
}

static enum err batch_write(struct read_model *model, struct fault *fault) {
    uint32_t n;
    struct ref *pairs = rows_refs(model->rows, &n);
    enum err err = db_run(model->begin, fault);
    if (err == OK && model->refs_stale)
        err = refs_load(model->refs, fault);
    if (err == OK)
        err = rows_write(model->rows, fault);
    if (err == OK)
        err = refs_add(model->refs, pairs, n, fault);
    if (err == OK) {
        sqlite3_bind_int64(model->reached, 1, (int64_t)model->batch_seq);
        sqlite3_bind_int64(model->reached, 2, (int64_t)model->batch_mark);
        err = db_run(model->reached, fault);
    }
    if (err == OK)
        err = db_run(model->commit, fault);
    model->refs_stale = err != OK;
    return err;
}

/* After a failed batch: undo it, and where the file is damaged, see to a new one. */
static void batch_undo(struct read_model *model, enum err err) {
    bool damaged = err == ERR_DAMAGED || db_is_damage(sqlite3_errcode(model->db));
    if (model->scratch) /* nothing to go back to: whoever fills it gives up */
        return;
    if (!sqlite3_get_autocommit(model->db))
        (void)sqlite3_exec(model->db, "ROLLBACK", NULL, NULL, NULL);
    if (!damaged)
        return;
    if (model_is_running(model)) { /* it answers what it still can while another is made */
        atomic_store(&model->rebuild.wanted, true);
        return;
    }
    log_line(LOG_ERROR, "store", "the read model is damaged, filling it again from the journal",
             "seq=%llu", (unsigned long long)read_model_seq(model));
    atomic_fetch_add(&model->rebuilds, 1);
    struct fault fault = {0};
    if (model_file_reset(model, &fault) != OK)
        log_line(LOG_ERROR, "store", "no new read model could be made", "reason=%s",
                 log_quote(str_c(fault.detail)));
}

static enum err batch_run(struct read_model *model, struct fault *fault) {
    uint64_t next;
    rows_clear(model->rows);
    model->batch_count = 0;
    model->batch_err = OK;
    enum err err = tail_read(model->options.tail, read_model_seq(model) + 1,
                             model->options.batch_events, record_project, model, &next, fault);
    if (err == OK && (rows_error(model->rows) != OK || model->batch_err != OK))
        err = fault_set(fault, ERR_NOMEM, "no memory for the rows of a batch");
    if (err == OK && model->batch_first > 0)
        err = fault_set(fault, ERR_CONFLICT,
                        "the journal begins at seq %llu, what was before can not be made again: "
                        "bring its archived segments back first",
                        (unsigned long long)model->batch_first);
    if (err != OK || model->batch_count == 0)
        return err;
    err = batch_write(model, fault);
    if (err != OK) {
        batch_undo(model, err);
        return err;
    }
    uint32_t refs;
    (void)rows_refs(model->rows, &refs);
    atomic_fetch_add(&model->events, model->batch_count);
    atomic_fetch_add(&model->row_count, rows_count(model->rows));
    atomic_fetch_add(&model->ref_count, refs);
    atomic_fetch_add(&model->transactions, 1);
    atomic_store(&model->seq, model->batch_seq);
    model_announce(model);
    /* After the announcement: it takes some ms, and whoever waits need not wait for it. What
     * goes wrong here shows at the next commit. */
    if (model->wal_pages >= MODEL_WAL_PAGES)
        (void)sqlite3_wal_checkpoint_v2(model->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    return OK;
}

enum err read_model_step(struct read_model *model, bool *more, struct fault *fault) {
    int64_t from = clock_tick_us(model->options.clock);
    enum err err = OK;
    *more = true;
    model_freshen(model);
    if (!model->db)
        err = model_file_reset(model, fault);
    if (err == OK)
        err = batch_run(model, fault);
    if (err == OK)
        *more = read_model_seq(model) < tail_last(model->options.tail);
    model_freshen(model);
    atomic_fetch_add(&model->busy_us, (uint64_t)(clock_tick_us(model->options.clock) - from));
    return err;
}

/* --- life ------------------------------------------------------------------------------- */

static enum err model_build(struct read_model *model, struct fault *fault) {
    enum err err = tables_collect(model, fault);
    if (err == OK)
        err = model_schema_hash(model, fault);
    if (err == OK)
        err = picks_make(model, fault);
    if (err != OK)
        return err;
    model->rows = rows_create(&model->tables);
    model->parser = json_parser_create();
    if (!model->rows || !model->parser)
        return fault_set(fault, ERR_NOMEM, "no memory for the read model");
    return model_file_begin(model, fault);
}

enum err read_model_open(const struct read_model_options *options, struct read_model **out,
                         struct fault *fault) {
    return model_open(options, false, out, fault);
}

enum err model_open(const struct read_model_options *options, bool scratch,
                    struct read_model **out, struct fault *fault) {
    struct read_model *model = mem_zalloc(sizeof *model);
    *out = NULL;
    if (!model)
        return fault_set(fault, ERR_NOMEM, "no memory for the read model");
    model->options = *options;
    model->scratch = scratch;
    if (!model->options.clock)
        model->options.clock = &clock_system;
    atomic_store(&model->fresh_us, clock_tick_us(model->options.clock));
    if (model->options.pause_ms == 0)
        model->options.pause_ms = READ_MODEL_PAUSE_MS;
    must(model->options.batch_events > 0);
    arena_init(&model->arena, 0);
    pthread_mutex_init(&model->readers_lock, NULL);
    pthread_mutex_init(&model->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&model->work, &attr);
    pthread_cond_init(&model->done, &attr);
    pthread_condattr_destroy(&attr);
    int len = snprintf(model->path, sizeof model->path, "%s", options->path);
    int vfs_len = snprintf(model->vfs, sizeof model->vfs, "%s", options->vfs ? options->vfs : "");
    enum err err = len < (int)sizeof model->path && vfs_len < (int)sizeof model->vfs
                       ? model_build(model, fault)
                       : fault_set(fault, ERR_INVALID, "the path %.80s… is too long",
                                   options->path);
    if (err != OK) {
        read_model_close(model);
        return err;
    }
    *out = model;
    return OK;
}

void read_model_close(struct read_model *model) {
    if (!model)
        return;
    read_model_stop(model);
    must(!model->readers);
    if (model->rows)
        model_file_close(model);
    rows_destroy(model->rows);
    json_parser_destroy(model->parser);
    arena_free(&model->arena);
    mem_free(model->picks);
    pthread_mutex_destroy(&model->readers_lock);
    pthread_mutex_destroy(&model->lock);
    pthread_cond_destroy(&model->work);
    pthread_cond_destroy(&model->done);
    mem_free(model->tables.tables ? (void *)(uintptr_t)model->tables.tables : NULL);
    mem_free(model);
}

uint64_t read_model_seq(const struct read_model *model) { return atomic_load(&model->seq); }

void model_freshen(struct read_model *model) {
    int64_t now_us = clock_tick_us(model->options.clock);
    uint64_t last = tail_last(model->options.tail), seq = read_model_seq(model);
    if (seq >= model->ahead_seq) {
        atomic_store(&model->fresh_us, seq >= last ? now_us : model->ahead_us);
        model->ahead_seq = last;
        model->ahead_us = now_us;
    }
}

void read_model_lag(const struct read_model *model, struct reader_lag *out) {
    uint64_t last = tail_last(model->options.tail), seq = read_model_seq(model);
    *out = (struct reader_lag){0};
    if (seq >= last)
        return;
    out->events = last - seq;
    if (atomic_load(&model->idle)) /* has not yet seen them */
        return;
    out->us = clock_tick_us(model->options.clock) - atomic_load(&model->fresh_us);
}

void read_model_stats(const struct read_model *model, struct read_model_stats *out) {
    *out = (struct read_model_stats){
        .seq = atomic_load(&model->seq),
        .events = atomic_load(&model->events),
        .rows = atomic_load(&model->row_count),
        .refs = atomic_load(&model->ref_count),
        .transactions = atomic_load(&model->transactions),
        .skipped = atomic_load(&model->skipped),
        .parsed = atomic_load(&model->parsed),
        .rebuilds = atomic_load(&model->rebuilds),
        .busy_us = atomic_load(&model->busy_us),
    };
}
