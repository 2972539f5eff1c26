/* read_model: see read_model.h. The file, its schema, and one batch from events to rows.
 *
 * Always true: the rows in the file are what project makes of the events 1 to `hub.seq`, and
 * hub.mark is the hash of the last of these; they change in one transaction. */
#include "store/read_model_priv.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"

#define MODEL_FORMAT 1 /* of the file beside the capabilities' tables */
#define MODEL_PAGE_BYTES 4096
#define MODEL_CACHE_BYTES (32 << 20)
#define MODEL_WAL_PAGES 4096 /* copied to the file when it is longer: 16 MiB */

/* --- schema ----------------------------------------------------------------------------- */

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

static void schema_sql(const struct read_model *model, struct buf *out) {
    buf_lit(out, "CREATE TABLE hub(id INTEGER PRIMARY KEY CHECK(id = 1),"
                 " schema INTEGER NOT NULL, seq INTEGER NOT NULL, mark INTEGER NOT NULL);"
                 REFS_SCHEMA);
    for (uint32_t i = 0; i < model->tables.count; i++)
        table_schema(model->tables.tables[i], out);
}

static enum err schema_make(struct read_model *model, struct fault *fault) {
    struct buf sql;
    buf_init(&sql, 0);
    buf_lit(&sql, "BEGIN IMMEDIATE;");
    schema_sql(model, &sql);
    buf_printf(&sql, "INSERT INTO hub VALUES(1, %lld, 0, 0);COMMIT", (long long)model->schema);
    const char *text = buf_cstr(&sql);
    enum err err = text && buf_ok(&sql) ? db_exec(model->db, text, fault)
                                        : fault_set(fault, ERR_NOMEM, "no memory for a schema");
    buf_free(&sql);
    if (!sqlite3_get_autocommit(model->db))
        (void)sqlite3_exec(model->db, "ROLLBACK", NULL, NULL, NULL);
    return err;
}

static enum err schema_hash(struct read_model *model, struct fault *fault) {
    struct buf sql;
    buf_init(&sql, 0);
    schema_sql(model, &sql);
    enum err err = buf_ok(&sql) ? OK : fault_set(fault, ERR_NOMEM, "no memory for a schema");
    model->schema = (int64_t)hash64(buf_str(&sql), MODEL_FORMAT);
    buf_free(&sql);
    return err;
}

/* --- the file --------------------------------------------------------------------------- */

enum err model_connect(struct read_model *model, bool create, bool *damaged, sqlite3 **out,
                       struct fault *fault) {
    struct db_options options = {
        .vfs = model->vfs[0] ? model->vfs : NULL,
        .create = create,
        .exclusive = model->options.exclusive,
        .page_bytes = MODEL_PAGE_BYTES,
        .cache_bytes = create ? MODEL_CACHE_BYTES : 0,
        .synchronous = "NORMAL",
        .application_id = MODEL_APPLICATION_ID,
        .user_version = 1,
        .damaged = damaged,
    };
    return db_open(model->path, &options, out, fault);
}

static void file_close(struct read_model *model) {
    rows_bind(model->rows, NULL);
    refs_destroy(model->refs);
    sqlite3_finalize(model->begin);
    sqlite3_finalize(model->commit);
    sqlite3_finalize(model->reached);
    db_close(model->db);
    model->refs = NULL;
    model->begin = model->commit = model->reached = NULL;
    model->db = NULL;
}

/* Through the VFS, so that the simulator's disk is meant where it is in use. */
static void file_delete(struct read_model *model) {
    sqlite3_vfs *vfs = sqlite3_vfs_find(model->vfs[0] ? model->vfs : NULL);
    const char *ends[] = {"-wal", "-shm", ""};
    for (int i = 0; vfs && i < 3; i++) {
        char name[MODEL_PATH_BYTES + 8];
        snprintf(name, sizeof name, "%s%s", model->path, ends[i]);
        (void)vfs->xDelete(vfs, name, 0);
    }
}

static uint64_t record_mark(const struct record *record) {
    uint64_t mark = hash64(record->subject, (uint64_t)record->time_us);
    mark = hash64(record->type, mark);
    return hash64(record->meta, mark);
}

struct mark_found {
    uint64_t seq, mark;
    bool found;
};
static bool mark_visit(void *ctx, const struct record *record) {
    struct mark_found *found = ctx;
    found->found = record->seq == found->seq && record_mark(record) == found->mark;
    return false;
}

/* Whether the file belongs to these tables and to this journal; *why where it does not. */
static enum err file_fits(struct read_model *model, const char **why, struct fault *fault) {
    int64_t tables, schema, seq, mark;
    *why = NULL;
    enum err err = db_i64(model->db, "SELECT count(*) FROM sqlite_schema", 0, &tables, fault);
    if (err != OK)
        return err;
    if (tables == 0) {
        *why = "new";
        return OK;
    }
    err = db_i64(model->db, "SELECT schema FROM hub", 0, &schema, fault);
    if (err == OK)
        err = db_i64(model->db, "SELECT seq FROM hub", 0, &seq, fault);
    if (err == OK)
        err = db_i64(model->db, "SELECT mark FROM hub", 0, &mark, fault);
    if (err != OK)
        return err;
    if (schema != model->schema) {
        *why = "its tables have changed";
        return OK;
    }
    struct mark_found found = {.seq = (uint64_t)seq, .mark = (uint64_t)mark, .found = seq == 0};
    uint64_t next;
    if (seq > 0)
        err = journal_read(model->options.journal, found.seq, 1, mark_visit, &found, &next, fault);
    if (err == OK && !found.found)
        *why = "it was made from another journal";
    atomic_store(&model->seq, (uint64_t)seq);
    return err;
}

static int wal_seen(void *ctx, sqlite3 *db, const char *name, int pages) {
    (void)db, (void)name;
    ((struct read_model *)ctx)->wal_pages = pages;
    return SQLITE_OK;
}

static enum err file_prepare(struct read_model *model, struct fault *fault) {
    enum err err = db_prepare(model->db, "BEGIN IMMEDIATE", &model->begin, fault);
    if (err == OK)
        err = db_prepare(model->db, "COMMIT", &model->commit, fault);
    if (err == OK)
        err = db_prepare(model->db, "UPDATE hub SET seq=?, mark=? WHERE id=1", &model->reached,
                         fault);
    if (err == OK)
        err = refs_create(model->db, &model->refs, fault);
    model->wal_pages = 0;
    if (err == OK)
        sqlite3_wal_hook(model->db, wal_seen, model);
    rows_bind(model->rows, model->db);
    model->refs_stale = true;
    return err;
}

/* Opens the file as it is. *why: it must be made anew. */
static enum err file_open(struct read_model *model, const char **why, struct fault *fault) {
    bool damaged = false;
    struct fault own = {0};
    enum err err = model_connect(model, true, &damaged, &model->db, &own);
    *why = NULL;
    if (err == OK)
        err = file_fits(model, why, &own);
    if (err != OK && (damaged || (model->db && db_is_damage(sqlite3_errcode(model->db))))) {
        *why = "it is damaged";
        return OK;
    }
    if (err != OK && model->db && sqlite3_errcode(model->db) == SQLITE_ERROR) {
        *why = "its tables are not as expected";
        return OK;
    }
    if (err != OK)
        return fault_set(fault, err, "%s", own.detail);
    return *why ? OK : file_prepare(model, fault);
}

/* A new, empty file in place of the present one. */
static enum err file_reset(struct read_model *model, struct fault *fault) {
    atomic_store(&model->replacing, true);
    model_readers_disconnect(model);
    file_close(model);
    file_delete(model);
    atomic_store(&model->seq, 0);
    enum err err = model_connect(model, true, NULL, &model->db, fault);
    if (err == OK)
        err = schema_make(model, fault);
    if (err == OK)
        err = file_prepare(model, fault);
    if (err == OK)
        atomic_store(&model->replacing, false);
    else
        file_close(model);
    return err;
}

static enum err file_begin(struct read_model *model, struct fault *fault) {
    const char *why;
    enum err err = file_open(model, &why, fault);
    if (err != OK || !why)
        return err;
    bool fresh = strcmp(why, "new") == 0;
    if (!fresh) {
        log_line(LOG_WARN, "store", "filling the read model again from the journal", "reason=%s",
                 log_quote(str_c(why)));
        atomic_fetch_add(&model->rebuilds, 1);
    }
    return file_reset(model, fault);
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
    model->batch_mark = record_mark(record);
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

/* After a failed batch: undo it, and where the file is damaged, begin a new one. */
static void batch_undo(struct read_model *model) {
    bool damaged = db_is_damage(sqlite3_errcode(model->db));
    if (!sqlite3_get_autocommit(model->db))
        (void)sqlite3_exec(model->db, "ROLLBACK", NULL, NULL, NULL);
    if (!damaged)
        return;
    log_line(LOG_ERROR, "store", "the read model is damaged, filling it again from the journal",
             "seq=%llu", (unsigned long long)read_model_seq(model));
    atomic_fetch_add(&model->rebuilds, 1);
    struct fault fault = {0};
    if (file_reset(model, &fault) != OK)
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
    if (err != OK || model->batch_count == 0)
        return err;
    err = batch_write(model, fault);
    if (err != OK) {
        batch_undo(model);
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
        err = file_reset(model, fault);
    if (err == OK)
        err = batch_run(model, fault);
    if (err == OK)
        *more = read_model_seq(model) < tail_last(model->options.tail);
    model_freshen(model);
    atomic_fetch_add(&model->busy_us, (uint64_t)(clock_tick_us(model->options.clock) - from));
    return err;
}

enum err read_model_rebuild(struct read_model *model, struct fault *fault) {
    atomic_fetch_add(&model->rebuilds, 1);
    enum err err = file_reset(model, fault);
    for (bool more = true; err == OK && more;)
        err = read_model_step(model, &more, fault);
    return err;
}

/* --- life ------------------------------------------------------------------------------- */

static enum err model_build(struct read_model *model, struct fault *fault) {
    enum err err = tables_collect(model, fault);
    if (err == OK)
        err = schema_hash(model, fault);
    if (err == OK)
        err = picks_make(model, fault);
    if (err != OK)
        return err;
    model->rows = rows_create(&model->tables);
    model->parser = json_parser_create();
    if (!model->rows || !model->parser)
        return fault_set(fault, ERR_NOMEM, "no memory for the read model");
    return file_begin(model, fault);
}

enum err read_model_open(const struct read_model_options *options, struct read_model **out,
                         struct fault *fault) {
    struct read_model *model = mem_zalloc(sizeof *model);
    *out = NULL;
    if (!model)
        return fault_set(fault, ERR_NOMEM, "no memory for the read model");
    model->options = *options;
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
        file_close(model);
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
