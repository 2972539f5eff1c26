/* read_model_reader: questions to the read model, on a connection per reader.
 *
 * Values only ever reach SQL as bound parameters; names come from the capabilities' tables. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "store/cursor.h"
#include "store/read_model_priv.h"

#define STATEMENTS_MAX 16

struct reader_statement {
    char *sql;
    sqlite3_stmt *stmt;
    uint64_t used;
};

struct model_reader {
    struct reader reader;
    struct read_model *model;
    struct model_reader *next;
    pthread_mutex_t lock; /* held for a question, and to disconnect */
    sqlite3 *db;          /* NULL until first used, and after a disconnect */
    struct refs_reader refs;
    struct reader_statement statements[STATEMENTS_MAX];
    uint64_t uses;
};

static struct model_reader *reader_of(struct reader *reader) {
    return (struct model_reader *)reader;
}

/* --- connection ------------------------------------------------------------------------- */

static void reader_disconnect(struct model_reader *r) {
    for (uint32_t i = 0; i < STATEMENTS_MAX; i++) {
        sqlite3_finalize(r->statements[i].stmt);
        mem_free(r->statements[i].sql);
        r->statements[i] = (struct reader_statement){0};
    }
    refs_reader_close(&r->refs);
    if (!r->model->options.exclusive)
        db_close(r->db);
    r->db = NULL;
}

void model_readers_disconnect(struct read_model *model) {
    pthread_mutex_lock(&model->readers_lock);
    for (struct model_reader *r = model->readers; r; r = r->next) {
        pthread_mutex_lock(&r->lock);
        reader_disconnect(r);
        pthread_mutex_unlock(&r->lock);
    }
    pthread_mutex_unlock(&model->readers_lock);
}

static enum err reader_connect(struct model_reader *r, struct fault *fault) {
    enum err err = OK;
    if (r->model->options.exclusive)
        r->db = r->model->db;
    else
        err = model_connect(r->model, false, NULL, &r->db, fault);
    if (err == OK)
        err = refs_reader_open(&r->refs, r->db, fault);
    if (err != OK)
        reader_disconnect(r);
    return err;
}

/* Locks the reader, with a connection; unlocked again where that fails. Waits without the lock
 * while a file is put in another's place: that wants all locks. */
static enum err reader_begin(struct model_reader *r, struct fault *fault) {
    while (model_await_file(r->model)) {
        pthread_mutex_lock(&r->lock);
        if (r->db)
            return OK;
        if (atomic_load(&r->model->replacing)) {
            pthread_mutex_unlock(&r->lock);
            continue;
        }
        enum err err = reader_connect(r, fault);
        if (err != OK)
            pthread_mutex_unlock(&r->lock);
        return err;
    }
    return fault_set(fault, ERR_UNAVAILABLE, "the read model is being made anew");
}

/* Unlocks. What is damaged is made again, from the journal, while the rest goes on answering. */
static enum err reader_end(struct model_reader *r, enum err err, bool damaged,
                           struct fault *fault) {
    pthread_mutex_unlock(&r->lock);
    if (!damaged)
        return err;
    atomic_store(&r->model->rebuild.wanted, true);
    model_rebuild_wanted(r->model);
    return fault_set(fault, ERR_UNAVAILABLE,
                     "a part of the read model is damaged, it is being made anew");
}

static enum err statement_get(struct model_reader *r, const char *sql, sqlite3_stmt **out,
                              struct fault *fault) {
    struct reader_statement *oldest = &r->statements[0];
    for (uint32_t i = 0; i < STATEMENTS_MAX; i++) {
        struct reader_statement *held = &r->statements[i];
        if (held->sql && strcmp(held->sql, sql) == 0) {
            held->used = ++r->uses;
            *out = held->stmt;
            return OK;
        }
        if (held->used < oldest->used)
            oldest = held;
    }
    enum err err = db_prepare(r->db, sql, out, fault);
    size_t size = strlen(sql) + 1;
    char *copy = err == OK ? mem_alloc(size) : NULL;
    if (!copy) {
        if (err == OK)
            sqlite3_finalize(*out);
        return err != OK ? err : fault_set(fault, ERR_NOMEM, "no memory for a statement");
    }
    memcpy(copy, sql, size);
    sqlite3_finalize(oldest->stmt);
    mem_free(oldest->sql);
    *oldest = (struct reader_statement){copy, *out, ++r->uses};
    return OK;
}

/* --- lists ------------------------------------------------------------------------------ */

/* The columns that order a list: the sort column, where it is not the key's first, then the
 * key's others. */
struct order {
    uint32_t columns[CURSOR_VALUES_MAX], n;
    enum column_kind kinds[CURSOR_VALUES_MAX];
};
static struct order order_of(const struct row_query *query) {
    struct order order = {.n = 1, .columns = {query->sort_column}};
    for (uint32_t i = 0; i < query->table->key_columns; i++)
        if (i != query->sort_column)
            order.columns[order.n++] = i;
    for (uint32_t i = 0; i < order.n; i++)
        order.kinds[i] = query->table->columns[order.columns[i]].kind;
    return order;
}

static void columns_add(struct buf *sql, const struct table *table, const struct order *order,
                        uint32_t from) {
    for (uint32_t i = from; i < order->n; i++)
        buf_printf(sql, "%s\"%s\"", i > from ? "," : "", table->columns[order->columns[i]].name);
}
static void marks_add(struct buf *sql, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        buf_printf(sql, "%s?", i > 0 ? "," : "");
}

static void filter_sql(const struct table *table, const struct row_filter *filter,
                       struct buf *sql) {
    static const char *const ops[] = {
        [ROW_EQ] = "=", [ROW_GE] = ">=", [ROW_GT] = ">", [ROW_LE] = "<=", [ROW_LT] = "<"};
    const struct table_column *column = &table->columns[filter->column];
    must(filter->column < table->count && filter->op <= ROW_LT);
    if (column->kind == COLUMN_TEXT && !filter->value.text.ptr && filter->op == ROW_EQ)
        buf_printf(sql, "\"%s\" IS ?", column->name); /* absent: what has none */
    else
        buf_printf(sql, "\"%s\" %s ?", column->name, ops[filter->op]);
}

/* Rows behind the cursor. NULLs sort first: behind one come the NULLs of later keys, then
 * everything that is not NULL. */
static void cursor_sql(const struct table *table, const struct order *order,
                       const struct row_value *after, struct buf *sql) {
    const char *sort = table->columns[order->columns[0]].name;
    if (order->kinds[0] == COLUMN_TEXT && !after[0].text.ptr) {
        buf_printf(sql, "(\"%s\" IS NOT NULL", sort);
        if (order->n > 1) {
            buf_lit(sql, " OR (");
            columns_add(sql, table, order, 1);
            buf_lit(sql, ") > (");
            marks_add(sql, order->n - 1);
            buf_char(sql, ')');
        }
        buf_char(sql, ')');
        return;
    }
    buf_char(sql, '(');
    columns_add(sql, table, order, 0);
    buf_lit(sql, ") > (");
    marks_add(sql, order->n);
    buf_char(sql, ')');
}

static void list_sql(const struct row_query *query, const struct order *order,
                     const struct row_value *after, struct buf *sql) {
    const struct table *table = query->table;
    buf_lit(sql, "SELECT ");
    for (uint32_t i = 0; i < table->count; i++)
        buf_printf(sql, "%s\"%s\"", i > 0 ? "," : "", table->columns[i].name);
    buf_printf(sql, " FROM \"%s\"", table->name);
    for (uint32_t i = 0; i < query->filter_count; i++) {
        buf_str_add(sql, i > 0 ? STR(" AND ") : STR(" WHERE "));
        filter_sql(table, &query->filters[i], sql);
    }
    if (after) {
        buf_str_add(sql, query->filter_count > 0 ? STR(" AND ") : STR(" WHERE "));
        cursor_sql(table, order, after, sql);
    }
    buf_lit(sql, " ORDER BY ");
    columns_add(sql, table, order, 0);
    buf_lit(sql, " LIMIT ?");
}

static void value_bind(sqlite3_stmt *stmt, int at, enum column_kind kind, struct row_value value) {
    if (kind == COLUMN_INTEGER)
        sqlite3_bind_int64(stmt, at, value.integer);
    else
        db_bind_str(stmt, at, value.text);
}

static void list_bind(sqlite3_stmt *stmt, const struct row_query *query,
                      const struct order *order, const struct row_value *after) {
    int at = 1;
    for (uint32_t i = 0; i < query->filter_count; i++) {
        const struct row_filter *filter = &query->filters[i];
        value_bind(stmt, at++, query->table->columns[filter->column].kind, filter->value);
    }
    bool null = after && order->kinds[0] == COLUMN_TEXT && !after[0].text.ptr;
    for (uint32_t i = null ? 1 : 0; after && i < order->n; i++)
        value_bind(stmt, at++, order->kinds[i], after[i]);
    /* One more than wanted tells whether there is another page. */
    sqlite3_bind_int64(stmt, at, (int64_t)query->limit + 1);
}

static enum err list_rows(struct model_reader *r, sqlite3_stmt *stmt,
                          const struct row_query *query, const struct order *order,
                          struct arena *arena, row_visit *visit, void *ctx,
                          struct str *next_cursor, struct fault *fault) {
    const struct table *table = query->table;
    struct row_value values[64];
    struct row_value last[CURSOR_VALUES_MAX];
    struct str cursor = STR_NONE;
    bool go_on = true;
    int rc = SQLITE_DONE;
    for (uint32_t n = 0; go_on && (rc = sqlite3_step(stmt)) == SQLITE_ROW; n++) {
        if (n == query->limit) { /* there is more */
            *next_cursor = cursor;
            break;
        }
        for (uint32_t i = 0; i < table->count; i++)
            values[i] = table->columns[i].kind == COLUMN_TEXT
                            ? row_text(db_column_str(stmt, (int)i))
                            : row_int(sqlite3_column_int64(stmt, (int)i));
        go_on = visit(ctx, values);
        if (go_on && n + 1 < query->limit)
            continue;
        for (uint32_t i = 0; i < order->n; i++)
            last[i] = values[order->columns[i]];
        cursor = cursor_write(cursor_bond(query), last, order->kinds, order->n, arena);
        if (!cursor.ptr)
            return fault_set(fault, ERR_NOMEM, "no memory for a cursor");
        if (!go_on)
            *next_cursor = cursor;
    }
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? OK : db_fault(r->db, "list", fault);
}

static enum err list_locked(struct model_reader *r, const struct row_query *query,
                            struct arena *arena, row_visit *visit, void *ctx,
                            struct str *next_cursor, struct fault *fault) {
    struct order order = order_of(query);
    struct row_value after[CURSOR_VALUES_MAX];
    enum err err = OK;
    if (query->cursor.ptr)
        err = cursor_read(query->cursor, cursor_bond(query), order.kinds, order.n, after, arena,
                          fault);
    if (err != OK)
        return err;
    struct buf sql;
    buf_init(&sql, 65536);
    list_sql(query, &order, query->cursor.ptr ? after : NULL, &sql);
    const char *text = buf_cstr(&sql);
    sqlite3_stmt *stmt = NULL;
    err = text && buf_ok(&sql) ? statement_get(r, text, &stmt, fault)
                               : fault_set(fault, ERR_NOMEM, "no memory for a statement");
    buf_free(&sql);
    if (err != OK)
        return err;
    list_bind(stmt, query, &order, query->cursor.ptr ? after : NULL);
    err = list_rows(r, stmt, query, &order, arena, visit, ctx, next_cursor, fault);
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
    return err;
}

static enum err reader_list(struct reader *reader, const struct row_query *query,
                            struct arena *arena, row_visit *visit, void *ctx,
                            struct str *next_cursor, struct fault *fault) {
    struct model_reader *r = reader_of(reader);
    *next_cursor = STR_NONE;
    must(query->limit > 0 && query->sort_column < query->table->count);
    enum err err = reader_begin(r, fault);
    if (err != OK)
        return err;
    err = list_locked(r, query, arena, visit, ctx, next_cursor, fault);
    return reader_end(r, err, err != OK && db_is_damage(sqlite3_errcode(r->db)), fault);
}

/* --- refs, seq, wait -------------------------------------------------------------------- */

/* One transaction: the runs must not be merged between one chunk and the next. */
static enum err refs_begin(struct model_reader *r, bool *own, struct fault *fault) {
    *own = sqlite3_get_autocommit(r->db);
    return *own ? db_exec(r->db, "BEGIN", fault) : OK;
}

static enum err refs_end(struct model_reader *r, enum err err, bool own, struct fault *fault) {
    int rc = sqlite3_extended_errcode(r->db);
    if (own)
        (void)sqlite3_exec(r->db, "COMMIT", NULL, NULL, NULL);
    return reader_end(r, err, err == ERR_DAMAGED || (err != OK && db_is_damage(rc)), fault);
}

static enum err reader_refs(struct reader *reader, struct str id, uint64_t *seqs, uint32_t max,
                            uint32_t *count, struct fault *fault) {
    struct model_reader *r = reader_of(reader);
    bool own;
    *count = 0;
    enum err err = reader_begin(r, fault);
    if (err != OK)
        return err;
    err = refs_begin(r, &own, fault);
    if (err == OK)
        err = refs_find(&r->refs, ref_key(id), seqs, max, count, fault);
    return refs_end(r, err, own, fault);
}

static enum err reader_ref_before(struct reader *reader, struct str id, uint64_t before,
                                  uint64_t *seq, struct fault *fault) {
    struct model_reader *r = reader_of(reader);
    bool own;
    *seq = 0;
    enum err err = reader_begin(r, fault);
    if (err != OK)
        return err;
    err = refs_begin(r, &own, fault);
    if (err == OK)
        err = refs_before(&r->refs, ref_key(id), before, seq, fault);
    return refs_end(r, err, own, fault);
}

static enum err reader_seq(struct reader *reader, uint64_t *seq, struct fault *fault) {
    (void)fault;
    *seq = read_model_seq(reader_of(reader)->model);
    return OK;
}

static void reader_lag(struct reader *reader, struct reader_lag *out) {
    read_model_lag(reader_of(reader)->model, out);
}

static enum err reader_wait(struct reader *reader, uint64_t seq, int64_t timeout_ms,
                            struct fault *fault) {
    return model_wait(reader_of(reader)->model, seq, timeout_ms, fault);
}

static const struct reader_ops model_reader_ops = {
    .list = reader_list,
    .refs = reader_refs,
    .ref_before = reader_ref_before,
    .seq = reader_seq,
    .lag = reader_lag,
    .wait = reader_wait,
};

struct reader *read_model_reader_create(struct read_model *model, struct core *core,
                                        struct fault *fault) {
    struct model_reader *r = mem_zalloc(sizeof *r);
    struct json_parser *parser = json_parser_create();
    if (!r || !parser) {
        mem_free(r);
        json_parser_destroy(parser);
        fault_set(fault, ERR_NOMEM, "no memory for a reader");
        return NULL;
    }
    r->model = model;
    r->reader = (struct reader){.ops = &model_reader_ops,
                                .core = core,
                                .journal = model->options.journal,
                                .parser = parser};
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_lock(&model->readers_lock);
    r->next = model->readers;
    model->readers = r;
    pthread_mutex_unlock(&model->readers_lock);
    return &r->reader;
}

void read_model_reader_destroy(struct reader *reader) {
    if (!reader)
        return;
    struct model_reader *r = reader_of(reader);
    pthread_mutex_lock(&r->model->readers_lock);
    struct model_reader **at = &r->model->readers;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    pthread_mutex_unlock(&r->model->readers_lock);
    reader_disconnect(r);
    json_parser_destroy(r->reader.parser);
    pthread_mutex_destroy(&r->lock);
    mem_free(r);
}
