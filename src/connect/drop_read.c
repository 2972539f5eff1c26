/* drop_read: the records of a file, from a window that moves over it. Rows of csv and fixed become
 *     {"file":"orders.csv","line":2,"row":{"order":"4711",…}}
 * and groups of them {"file":…,"line":2,"row":{the first},"rows":[{…},{…}]}; ndjson and json are taken
 * as they are. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "connect/drop_priv.h"

#define READ_BYTES 65536

enum row_result { ROW_READ, ROW_BAD, ROW_END, ROW_FAILED };
struct row {
    struct buf text; /* the object */
    struct buf key;  /* of the group */
    struct str raw;
    uint64_t line;
    char problem[200]; /* ROW_BAD */
    uint32_t column;
    struct str column_name;
    bool keyed; /* the group's columns could be read */
};

/* More of the file into the window; false: it can not be read. */
static bool window_fill(struct drop_entry *entry) {
    struct drop_file *file = &entry->file;
    struct buf *w = &file->window;
    if (file->window_at > 0) {
        memmove(w->data, w->data + file->window_at, w->len - file->window_at);
        w->len -= file->window_at;
        file->window_at = 0;
    }
    if (!buf_reserve(w, READ_BYTES)) {
        file_give_up(entry, "no memory for a file");
        return false;
    }
    ssize_t n = read(file->fd, w->data + w->len, READ_BYTES);
    if (n < 0 && errno != EINTR) {
        file_give_up(entry, strerror(errno));
        return false;
    }
    if (n > 0)
        w->len += (size_t)n;
    file->eof = n == 0;
    return true;
}

static struct str window_of(const struct drop_file *file) {
    return str_of(file->window.data + file->window_at, file->window.len - file->window_at);
}

static size_t record_max(const struct drop_entry *entry) {
    return (size_t)entry->drop->options.config->settings.file_record_bytes_max;
}

/* --- rows ---------------------------------------------------------------------------------- */

/* The next one that is not empty; its line is file->line before it. CSV_END at the end. */
static enum csv_result record_next(struct drop_entry *entry, struct arena *arena,
                                   struct csv_record *out, struct str *raw) {
    struct drop_file *file = &entry->file;
    for (;;) {
        enum csv_result result = csv_next(&entry->files->dialect, window_of(file), file->eof,
                                          record_max(entry), arena, out);
        if (result == CSV_MORE) {
            if (!window_fill(entry))
                return CSV_NOMEM;
            continue;
        }
        *raw = str_of(window_of(file).ptr, out->bytes);
        if (result == CSV_RECORD || result == CSV_EMPTY)
            file->window_at += out->bytes;
        if (result != CSV_EMPTY)
            return result;
        file->line += out->lines;
    }
}

static uint32_t column_named(const struct drop_file *file, struct str name) {
    uint32_t i = 0;
    while (i < file->column_count && !str_eq(file->columns[i], name))
        i++;
    return i;
}

static bool is_decimal(const struct connector_files *files, struct str column) {
    for (uint32_t i = 0; i < files->decimals.count; i++)
        if (str_eq(*list_at(files->decimals, struct str, i), column))
            return true;
    return false;
}

static void row_bad(struct row *row, uint32_t column, struct str name, const char *words) {
    row->column = column;
    row->column_name = name;
    snprintf(row->problem, sizeof row->problem, "%s", words);
}

/* What tells one group from another. */
static void row_key(const struct drop_entry *entry, const struct csv_record *record, struct row *row) {
    const struct shape_list *group = &entry->files->group;
    row->keyed = group->count > 0;
    for (uint32_t i = 0; i < group->count; i++) {
        uint32_t column = column_named(&entry->file, *list_at(*group, struct str, i));
        if (column >= record->count) {
            row->keyed = false;
            return;
        }
        buf_str_add(&row->key, record->fields[column]);
        buf_char(&row->key, '\n');
    }
}

static void row_write(const struct drop_entry *entry, const struct csv_record *record,
                      struct arena *arena, struct row *row) {
    const struct drop_file *file = &entry->file;
    char words[80];
    buf_char(&row->text, '{');
    for (uint32_t i = 0; i < file->column_count && i < record->count; i++) {
        struct str value = record->fields[i], name = file->columns[i];
        if (is_decimal(entry->files, name)) {
            value = csv_decimal(value, entry->files->decimal.ptr[0], arena);
            if (!value.ptr) {
                row_bad(row, i + 1, name, "is no number");
                return;
            }
        }
        if (i > 0)
            buf_char(&row->text, ',');
        buf_json_str(&row->text, name);
        buf_char(&row->text, ':');
        buf_json_str(&row->text, value);
    }
    buf_char(&row->text, '}');
    if (record->count != file->column_count) {
        snprintf(words, sizeof words, "has %u columns, not %u", record->count, file->column_count);
        row_bad(row, 0, STR_NONE, words);
    }
}

static enum row_result row_next(struct drop_entry *entry, struct arena *arena, struct row *row) {
    struct drop_file *file = &entry->file;
    struct csv_record record;
    enum csv_result result = record_next(entry, arena, &record, &row->raw);
    if (result == CSV_NOMEM) {
        if (file->fd >= 0)
            file_give_up(entry, "no memory for a record");
        return ROW_FAILED;
    }
    if (result == CSV_END)
        return ROW_END;
    row->line = file->line;
    file->line += record.lines;
    row_key(entry, &record, row);
    if (record.problem)
        row_bad(row, record.column,
                record.column > 0 && record.column <= file->column_count ? file->columns[record.column - 1]
                                                                        : STR_NONE,
                record.problem);
    else
        row_write(entry, &record, arena, row);
    return row->problem[0] ? ROW_BAD : ROW_READ;
}

/* --- where it begins ----------------------------------------------------------------------- */

/* The file as a whole can not be read: it goes to error/. */
static void file_bad(struct drop_entry *entry, uint64_t line, const char *words) {
    drop_problem(entry, line, 0, STR_NONE, words);
    entry->file.ended = true;
}

static bool columns_check(struct drop_entry *entry) {
    struct drop_file *file = &entry->file;
    const struct shape_list *group = &entry->files->group;
    char words[300];
    for (uint32_t i = 0; i < file->column_count; i++)
        if (file->columns[i].len == 0 || column_named(file, file->columns[i]) != i) {
            snprintf(words, sizeof words, "the header has column %u without a name, or twice: \"%.*s\"",
                     i + 1, (int)(file->columns[i].len < 100 ? file->columns[i].len : 100),
                     file->columns[i].ptr);
            file_bad(entry, file->line, words);
            return false;
        }
    for (uint32_t i = 0; i < group->count; i++) {
        struct str name = *list_at(*group, struct str, i);
        if (column_named(file, name) < file->column_count)
            continue;
        snprintf(words, sizeof words, "the header has no column \"%.*s\"", STR_FMT(name));
        file_bad(entry, file->line, words);
        return false;
    }
    return true;
}

static bool header_read(struct drop_entry *entry) {
    struct drop_file *file = &entry->file;
    struct csv_record record;
    struct str raw;
    enum csv_result result = record_next(entry, &file->arena, &record, &raw);
    if (result == CSV_NOMEM) {
        if (file->fd >= 0)
            file_give_up(entry, "no memory for a record");
        return false;
    }
    if (result == CSV_END) {
        file->ended = true; /* an empty file */
        return false;
    }
    if (record.problem) {
        file_bad(entry, file->line, record.problem);
        return false;
    }
    file->columns = record.fields;
    file->column_count = record.count;
    for (uint32_t i = 0; i < record.count; i++)
        file->columns[i] = str_trim(record.fields[i]);
    bool good = columns_check(entry);
    file->line += record.lines;
    return good;
}

static bool lines_skip(struct drop_entry *entry, int64_t lines) {
    struct drop_file *file = &entry->file;
    while (lines > 0) {
        struct str w = window_of(file);
        const char *end = w.len ? memchr(w.ptr, '\n', w.len) : NULL;
        if (end) {
            file->window_at += (size_t)(end - w.ptr) + 1;
            file->line++;
            lines--;
        } else if (file->eof) {
            return true;
        } else if (!window_fill(entry)) {
            return false;
        }
    }
    return true;
}

static bool columns_given(struct drop_entry *entry) {
    const struct connector_files *files = entry->files;
    struct drop_file *file = &entry->file;
    bool fixed = files->format == FILE_FIXED;
    uint32_t count = fixed ? files->fixed.count : files->csv->columns.count;
    file->columns = arena_array(&file->arena, count + 1, sizeof *file->columns);
    if (!file->columns) {
        file_give_up(entry, "no memory for a file");
        return false;
    }
    for (uint32_t i = 0; i < count; i++)
        file->columns[i] = fixed ? list_at(files->fixed, struct connector_column, i)->name
                                 : *list_at(files->csv->columns, struct str, i);
    file->column_count = count;
    return true;
}

/* Byte order mark, lines to skip, header. */
static bool rows_begin(struct drop_entry *entry) {
    struct drop_file *file = &entry->file;
    const struct connector_csv *csv = entry->files->csv;
    if (!window_fill(entry))
        return false;
    if (csv->encoding == CSV_UTF8 && str_starts(window_of(file), STR("\xef\xbb\xbf")))
        file->window_at = 3;
    if (entry->files->format == FILE_NDJSON)
        return true;
    if (!lines_skip(entry, csv->skip_lines))
        return false;
    bool header = entry->files->format == FILE_CSV && csv->header;
    if (header && csv->columns.count > 0 && !lines_skip(entry, 1))
        return false;
    return header && csv->columns.count == 0 ? header_read(entry) : columns_given(entry);
}

/* --- documents ----------------------------------------------------------------------------- */

static void document_send(struct drop_entry *entry, uint64_t line, struct str row, struct str rows) {
    struct buf out;
    buf_init(&out, 0);
    buf_lit(&out, "{\"file\":");
    buf_json_str(&out, str_c(entry->file.name));
    buf_printf(&out, ",\"line\":%llu,\"row\":", (unsigned long long)line);
    buf_str_add(&out, row);
    if (rows.ptr) {
        buf_lit(&out, ",\"rows\":[");
        buf_str_add(&out, rows);
        buf_char(&out, ']');
    }
    buf_char(&out, '}');
    if (buf_ok(&out))
        drop_record(entry, line, buf_str(&out));
    else
        file_give_up(entry, "no memory for a record");
    buf_free(&out);
}

static void group_clear(struct drop_group *g) {
    buf_clear(&g->key);
    buf_clear(&g->rows);
    buf_clear(&g->raw);
    g->count = 0;
    g->problem = STR_NONE;
}

static void group_bad(struct drop_group *g, uint64_t line, uint32_t column, const char *words) {
    if (g->problem.ptr)
        return;
    snprintf(g->text, sizeof g->text, "%s", words);
    g->problem = str_c(g->text);
    g->bad_line = line;
    g->bad_column = column;
}

/* The group is whole: it is sent, or rejected as a whole. */
static void group_end(struct drop_entry *entry) {
    struct drop_group *g = &entry->file.group;
    if (g->count == 0)
        return;
    if (g->problem.ptr) {
        file_rejects(entry, buf_str(&g->raw));
        drop_problem(entry, g->bad_line, g->bad_column,
                     g->bad_column > 0 && g->bad_column <= entry->file.column_count
                         ? entry->file.columns[g->bad_column - 1]
                         : STR_NONE,
                     g->text);
    } else {
        /* the first row stands at the beginning of all rows: it ends where the second begins */
        struct str rows = buf_str(&g->rows), first = rows;
        size_t depth = 0;
        bool quoted = false;
        for (size_t i = 0; i < rows.len && first.len == rows.len; i++) {
            quoted = rows.ptr[i] == '"' ? !quoted : quoted;
            if (quoted && rows.ptr[i] == '\\')
                i++;
            else if (!quoted && rows.ptr[i] == '{')
                depth++;
            else if (!quoted && rows.ptr[i] == '}' && --depth == 0)
                first.len = i + 1;
        }
        document_send(entry, g->line, first, rows);
    }
    group_clear(g);
}

/* A row into the group it belongs to. One whose group can not be told makes those on both sides bad: it
 * may be a part of either. */
static void group_take(struct drop_entry *entry, struct row *row, enum row_result result) {
    struct drop_file *file = &entry->file;
    struct drop_group *g = &file->group;
    char words[160];
    if (!row->keyed) {
        snprintf(words, sizeof words, "stands beside line %llu, which can not be read and may belong to it",
                 (unsigned long long)row->line);
        if (g->count > 0)
            group_bad(g, g->line, 0, words);
        file->tainted = true;
        file->tainted_by = row->line;
        return;
    }
    if (g->count > 0 && !str_eq(buf_str(&g->key), buf_str(&row->key)))
        group_end(entry);
    if (g->count == 0) {
        buf_str_add(&g->key, buf_str(&row->key));
        g->line = row->line;
    }
    if (file->tainted) {
        snprintf(words, sizeof words, "stands beside line %llu, which can not be read and may belong to it",
                 (unsigned long long)file->tainted_by);
        group_bad(g, g->line, 0, words);
    }
    file->tainted = false;
    if (result == ROW_BAD)
        group_bad(g, row->line, row->column, row->problem);
    if (g->rows.len + row->text.len > record_max(entry) || g->raw.len + row->raw.len > 2 * record_max(entry)) {
        group_bad(g, row->line, 0, "has more rows than file_record_bytes_max allows");
        file_rejects(entry, buf_str(&g->raw));
        buf_clear(&g->raw);
        buf_clear(&g->rows);
    } else if (result == ROW_READ) {
        if (g->rows.len > 0)
            buf_char(&g->rows, ',');
        buf_str_add(&g->rows, buf_str(&row->text));
    }
    buf_str_add(&g->raw, row->raw);
    g->count++;
}

/* One row, or the end. */
static void row_go(struct drop_entry *entry) {
    struct drop_file *file = &entry->file;
    struct arena arena;
    struct row row = {0};
    arena_init(&arena, record_max(entry) * 8 + ARENA_CAP_DEFAULT);
    buf_init(&row.text, 0);
    buf_init(&row.key, 0);
    enum row_result result = row_next(entry, &arena, &row);
    bool grouped = entry->files->group.count > 0;
    if (result == ROW_END) {
        group_end(entry);
        file->ended = true;
    } else if (result == ROW_BAD && (!grouped || !row.keyed)) {
        file_rejects(entry, row.raw);
        drop_problem(entry, row.line, row.column, row.column_name, row.problem);
        if (grouped)
            group_take(entry, &row, result);
    } else if (result != ROW_FAILED && grouped) {
        group_take(entry, &row, result);
    } else if (result == ROW_READ) {
        document_send(entry, row.line, buf_str(&row.text), STR_NONE);
    }
    buf_free(&row.text);
    buf_free(&row.key);
    arena_free(&arena);
}

/* --- json ------------------------------------------------------------------------------------ */

static void line_go(struct drop_entry *entry) {
    struct drop_file *file = &entry->file;
    struct str w = window_of(file);
    const char *end = w.len ? memchr(w.ptr, '\n', w.len) : NULL;
    if (!end && !file->eof && w.len < record_max(entry)) {
        if (!window_fill(entry))
            return;
    } else if (w.len == 0) {
        file->ended = true;
    } else if (!end && !file->eof) {
        file_rejects(entry, w);
        drop_problem(entry, file->line, 0, STR_NONE, "is longer than file_record_bytes_max");
        file->window_at += w.len;
        file->tainted = true; /* the rest of it, up to its end, is passed over */
    } else {
        struct str line = end ? str_of(w.ptr, (size_t)(end - w.ptr)) : w;
        file->window_at += line.len + (end != NULL);
        bool rest = file->tainted;
        file->tainted = false;
        if (rest)
            file_rejects(entry, line);
        else if (str_trim(line).len > 0 && !str_is(str_trim(line), "\r"))
            drop_record(entry, file->line, str_trim(line.ptr[line.len - 1] == '\r'
                                                        ? str_of(line.ptr, line.len - 1)
                                                        : line));
        file->line += end != NULL;
    }
}

/* The whole file. */
static void json_begin(struct drop_entry *entry) {
    struct drop_file *file = &entry->file;
    size_t most = (size_t)entry->drop->options.config->settings.file_json_bytes_max;
    const struct json *doc = NULL;
    struct fault fault = {0};
    while (!file->eof && file->window.len <= most)
        if (!window_fill(entry))
            return;
    if (file->window.len > most) {
        file_bad(entry, 1, "the file is longer than file_json_bytes_max: let it be ndjson");
        return;
    }
    struct str text = window_of(file);
    if (str_starts(text, STR("\xef\xbb\xbf")))
        text = str_of(text.ptr + 3, text.len - 3);
    enum err err = json_parse(entry->drop->parser, &file->arena, text, false, &doc, &fault);
    if (err == OK)
        doc = json_at(doc, entry->files->items);
    if (err != OK || !doc) {
        file_bad(entry, 1, err != OK ? fault.detail : "the file has no list where `items` says");
        return;
    }
    bool list = doc->kind == JSON_ARRAY;
    file->next_item = list ? json_first(doc) : doc;
    file->item_count = list ? doc->count : 1;
}

static void item_go(struct drop_entry *entry) {
    struct drop_file *file = &entry->file;
    struct buf out;
    if (file->item_count == 0) {
        file->ended = true;
        return;
    }
    buf_init(&out, 0);
    json_write(&out, file->next_item);
    file->next_item = json_next(file->next_item);
    file->item_count--;
    if (buf_ok(&out))
        drop_record(entry, file->line++, buf_str(&out)); /* its number in the list */
    else
        file_give_up(entry, "no memory for a record");
    buf_free(&out);
}

void records_go(struct drop_entry *entry) {
    struct drop_file *file = &entry->file;
    drop_submit_again(entry);
    /* a step may need one for a document, one for what stands beside it */
    while (entry->state == DROP_RECORDS && !file->ended && !entry->failed && !entry->blocked &&
           entry->busy + 4 <= DROP_SLOTS) {
        bool json = entry->files->format == FILE_JSON;
        if (!file->begun) {
            file->begun = true;
            if (json)
                json_begin(entry);
            else if (!rows_begin(entry) && entry->state == DROP_RECORDS && !file->ended)
                return;
        } else if (json) {
            item_go(entry);
        } else if (entry->files->format == FILE_NDJSON) {
            line_go(entry);
        } else {
            row_go(entry);
        }
    }
}
