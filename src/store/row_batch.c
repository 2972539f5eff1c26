/* row_batch: see row_batch.h. Owns the rows of one batch in an arena, and the prepared
 * statements that write them. */
#include "store/row_batch.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"

#define BATCH_BYTES_MAX ((size_t)64 << 20) /* of rows; a batch ends at half of it */
#define STATEMENTS_MAX 16                  /* per table: one per set of columns */
#define REFS_MIN 4096

struct row {
    uint32_t table;
    uint64_t set;
    struct row_value *values;
};

struct row_statement {
    uint64_t set;
    sqlite3_stmt *stmt;
};
struct table_statements {
    struct row_statement held[STATEMENTS_MAX];
    uint32_t count, next; /* next: to be replaced when all are in use */
};

struct rows {
    const struct table_list *tables;
    sqlite3 *db;
    struct table_statements *statements; /* per table */
    struct arena arena;
    struct map map; /* of rows by table and key */
    struct row *rows;
    uint32_t count, cap;
    uint64_t seq; /* refs point at it */
    struct ref *refs;
    uint32_t ref_count, ref_cap;
    bool failed;
};

struct rows *rows_create(const struct table_list *tables) {
    struct rows *rows = mem_zalloc(sizeof *rows);
    if (!rows)
        return NULL;
    rows->tables = tables;
    arena_init(&rows->arena, BATCH_BYTES_MAX);
    map_init(&rows->map);
    rows->statements = mem_zalloc((tables->count + 1) * sizeof *rows->statements);
    if (rows->statements)
        return rows;
    rows_destroy(rows);
    return NULL;
}

void rows_bind(struct rows *rows, sqlite3 *db) {
    for (uint32_t t = 0; t < rows->tables->count; t++) {
        struct table_statements *statements = &rows->statements[t];
        for (uint32_t i = 0; i < statements->count; i++)
            sqlite3_finalize(statements->held[i].stmt);
        *statements = (struct table_statements){0};
    }
    rows->db = db;
}

void rows_destroy(struct rows *rows) {
    if (!rows)
        return;
    if (rows->statements)
        rows_bind(rows, NULL);
    mem_free(rows->statements);
    arena_free(&rows->arena);
    map_free(&rows->map);
    mem_free(rows->rows);
    mem_free(rows->refs);
    mem_free(rows);
}

void rows_clear(struct rows *rows) {
    map_free(&rows->map);
    map_init(&rows->map);
    arena_reset(&rows->arena);
    rows->count = rows->ref_count = 0;
    rows->failed = false;
}

void rows_at(struct rows *rows, uint64_t seq) { rows->seq = seq; }
bool rows_full(const struct rows *rows) {
    return rows->failed || rows->arena.used > BATCH_BYTES_MAX / 2;
}
enum err rows_error(const struct rows *rows) { return rows->failed ? ERR_NOMEM : OK; }
uint32_t rows_count(const struct rows *rows) { return rows->count; }
struct ref *rows_refs(struct rows *rows, uint32_t *n) {
    *n = rows->ref_count;
    return rows->refs;
}

/* --- collecting ------------------------------------------------------------------------- */

struct row_key {
    uint32_t table;
    const struct row_value *values;
};

static int value_cmp(const struct table *table, uint32_t column, const struct row_value *a,
                     const struct row_value *b) {
    if (table->columns[column].kind == COLUMN_TEXT)
        return str_cmp(a[column].text, b[column].text);
    return (a[column].integer > b[column].integer) - (a[column].integer < b[column].integer);
}

static int key_cmp(const struct table *table, const struct row_value *a,
                   const struct row_value *b) {
    for (uint32_t i = 0; i < table->key_columns; i++) {
        int order = value_cmp(table, i, a, b);
        if (order != 0)
            return order;
    }
    return 0;
}

static uint64_t key_hash(const struct table *table, uint32_t index,
                         const struct row_value *values) {
    uint64_t hash = index;
    for (uint32_t i = 0; i < table->key_columns; i++) {
        const struct row_value *v = &values[i];
        struct str bytes = table->columns[i].kind == COLUMN_TEXT
                               ? v->text
                               : str_of((const char *)&v->integer, sizeof v->integer);
        hash = hash64(bytes, hash + 1);
    }
    return hash;
}

static bool row_is(const void *ctx, uint32_t index, const void *wanted) {
    const struct rows *rows = ctx;
    const struct row_key *key = wanted;
    const struct row *row = &rows->rows[index];
    return row->table == key->table &&
           key_cmp(rows->tables->tables[row->table], row->values, key->values) == 0;
}
static uint64_t row_hash(const void *ctx, uint32_t index) {
    const struct rows *rows = ctx;
    const struct row *row = &rows->rows[index];
    return key_hash(rows->tables->tables[row->table], row->table, row->values);
}

static uint32_t table_index(const struct rows *rows, const struct table *table) {
    uint32_t i = 0;
    while (i < rows->tables->count && rows->tables->tables[i] != table)
        i++;
    must(i < rows->tables->count); /* a capability puts rows into tables it declares */
    return i;
}

static struct row *row_add(struct rows *rows, uint32_t index, const struct table *table,
                           uint64_t hash) {
    if (rows->count == rows->cap) {
        uint32_t cap = rows->cap ? 2 * rows->cap : 1024;
        struct row *more = mem_resize(rows->rows, cap * sizeof *more);
        if (!more)
            return NULL;
        rows->rows = more;
        rows->cap = cap;
    }
    struct row *row = &rows->rows[rows->count];
    row->table = index;
    row->set = 0;
    row->values = arena_array(&rows->arena, table->count, sizeof *row->values);
    if (!row->values || !map_add(&rows->map, hash, rows->count, row_hash, rows))
        return NULL;
    rows->count++;
    return row;
}

void rows_put(struct rows *rows, const struct table *table, uint64_t set,
              const struct row_value *values) {
    uint32_t index = table_index(rows, table);
    uint64_t hash = key_hash(table, index, values);
    struct row_key key = {index, values};
    uint32_t found = map_find(&rows->map, hash, row_is, rows, &key);
    struct row *row = found == MAP_NONE ? row_add(rows, index, table, hash) : &rows->rows[found];
    if (!row) {
        rows->failed = true;
        return;
    }
    uint64_t keys = (UINT64_C(1) << table->key_columns) - 1;
    set = found == MAP_NONE ? set | keys : set & ~keys;
    if (table->count < 64)
        set &= (UINT64_C(1) << table->count) - 1;
    for (uint32_t i = 0; i < table->count; i++) {
        if (!(set >> i & 1))
            continue;
        row->values[i] = values[i];
        if (table->columns[i].kind != COLUMN_TEXT)
            continue;
        row->values[i].text = arena_str(&rows->arena, values[i].text);
        if (values[i].text.ptr && !row->values[i].text.ptr)
            rows->failed = true;
    }
    row->set |= set;
}

void rows_ref(struct rows *rows, struct str id) {
    if (id.len == 0)
        return;
    if (rows->ref_count == rows->ref_cap) {
        uint32_t cap = rows->ref_cap ? 2 * rows->ref_cap : REFS_MIN;
        struct ref *more = mem_resize(rows->refs, cap * sizeof *more);
        if (!more) {
            rows->failed = true;
            return;
        }
        rows->refs = more;
        rows->ref_cap = cap;
    }
    rows->refs[rows->ref_count++] = (struct ref){.key = ref_key(id), .seq = rows->seq};
}

/* --- writing ---------------------------------------------------------------------------- */

static void name_add(struct buf *out, const char *name) { buf_printf(out, "\"%s\"", name); }

static void names_add(struct buf *out, const struct table *table, uint32_t count, uint64_t set) {
    bool any = false;
    for (uint32_t i = 0; i < count; i++) {
        if (!(set >> i & 1))
            continue;
        if (any)
            buf_char(out, ',');
        name_add(out, table->columns[i].name);
        any = true;
    }
}

void table_schema(const struct table *table, struct buf *out) {
    buf_printf(out, "CREATE TABLE \"%s\"(", table->name);
    for (uint32_t i = 0; i < table->count; i++) {
        name_add(out, table->columns[i].name);
        buf_printf(out, "%s,", table->columns[i].kind == COLUMN_TEXT
                                   ? " TEXT" : " INTEGER NOT NULL DEFAULT 0");
    }
    buf_lit(out, "PRIMARY KEY(");
    names_add(out, table, table->key_columns, UINT64_MAX);
    buf_lit(out, ")) WITHOUT ROWID;");
}

void table_indexes(const struct table *table, struct buf *out) {
    for (uint32_t i = 0; table->indexes && table->indexes[i]; i++)
        buf_printf(out, "CREATE INDEX \"%s_%u\" ON \"%s\"(%s);", table->name, i, table->name,
                   table->indexes[i]);
}

static void upsert_sql(const struct table *table, uint64_t set, struct buf *out) {
    uint64_t keys = (UINT64_C(1) << table->key_columns) - 1;
    buf_printf(out, "INSERT INTO \"%s\"(", table->name);
    names_add(out, table, table->count, set);
    buf_lit(out, ") VALUES(");
    bool any = false;
    for (uint32_t i = 0; i < table->count; i++) {
        if (!(set >> i & 1))
            continue;
        buf_printf(out, "%s?%u", any ? "," : "", i + 1);
        any = true;
    }
    buf_lit(out, ") ON CONFLICT(");
    names_add(out, table, table->key_columns, UINT64_MAX);
    buf_lit(out, ") DO ");
    if ((set & ~keys) == 0) {
        buf_lit(out, "NOTHING");
        return;
    }
    any = false;
    for (uint32_t i = 0; i < table->count; i++) {
        if (!((set & ~keys) >> i & 1))
            continue;
        buf_str_add(out, any ? STR(",") : STR("UPDATE SET "));
        name_add(out, table->columns[i].name);
        buf_lit(out, "=excluded.");
        name_add(out, table->columns[i].name);
        any = true;
    }
}

static enum err statement_get(struct rows *rows, const struct row *row, sqlite3_stmt **out,
                              struct fault *fault) {
    struct table_statements *statements = &rows->statements[row->table];
    for (uint32_t i = 0; i < statements->count; i++) {
        if (statements->held[i].set == row->set) {
            *out = statements->held[i].stmt;
            return OK;
        }
    }
    struct buf sql;
    buf_init(&sql, 0);
    upsert_sql(rows->tables->tables[row->table], row->set, &sql);
    const char *text = buf_cstr(&sql);
    enum err err = text && buf_ok(&sql) ? db_prepare(rows->db, text, out, fault)
                                        : fault_set(fault, ERR_NOMEM, "no memory for a statement");
    buf_free(&sql);
    if (err != OK)
        return err;
    uint32_t at = statements->count;
    if (at < STATEMENTS_MAX) {
        statements->count++;
    } else {
        at = statements->next;
        statements->next = (at + 1) % STATEMENTS_MAX;
        sqlite3_finalize(statements->held[at].stmt);
    }
    statements->held[at] = (struct row_statement){row->set, *out};
    return OK;
}

static enum err row_write(struct rows *rows, const struct row *row, struct fault *fault) {
    const struct table *table = rows->tables->tables[row->table];
    sqlite3_stmt *stmt = NULL;
    enum err err = statement_get(rows, row, &stmt, fault);
    if (err != OK)
        return err;
    for (uint32_t i = 0; i < table->count; i++) {
        if (!(row->set >> i & 1))
            continue;
        struct row_value value = row->values[i];
        if (table->columns[i].kind == COLUMN_INTEGER)
            sqlite3_bind_int64(stmt, (int)i + 1, value.integer);
        else if (i < table->key_columns && !value.text.ptr) /* a key is never NULL */
            db_bind_str(stmt, (int)i + 1, STR(""));
        else
            db_bind_str(stmt, (int)i + 1, value.text);
    }
    return db_run(stmt, fault);
}

static int row_cmp(const void *a, const void *b, void *ctx) {
    const struct row *x = a, *y = b;
    const struct table_list *tables = ctx;
    if (x->table != y->table)
        return x->table < y->table ? -1 : 1;
    return key_cmp(tables->tables[x->table], x->values, y->values);
}

enum err rows_write(struct rows *rows, struct fault *fault) {
    if (rows->failed)
        return fault_set(fault, ERR_NOMEM, "no memory for the rows of a batch");
    if (rows->count == 0)
        return OK;
    /* The map's indexes are wrong from here on; the batch is over. */
    struct table_list tables = *rows->tables;
    qsort_r(rows->rows, rows->count, sizeof *rows->rows, row_cmp, &tables);
    enum err err = OK;
    for (uint32_t i = 0; err == OK && i < rows->count; i++)
        err = row_write(rows, &rows->rows[i], fault);
    return err;
}
