/* connector_load_files: section `files` of connector.yaml: its tables, and what the tables can not say. */
#include "connect/connector_files.h"
#include "connect/connector_priv.h"

static const char *const formats[] = {"csv", "ndjson", "json", "fixed", NULL};
static const char *const encodings[] = {"utf-8", "latin-1", "windows-1252", NULL};

static const struct shape_field ready_rows[] = {
    SHAPE_ROW(struct connector_ready, stable_s, SHAPE_INTEGER,
              "It has not changed for so many seconds (5; 0 where there is a marker)", .min = 0,
              .max = 86400),
    SHAPE_ROW(struct connector_ready, done, SHAPE_TEXT,
              "A file of its name with this behind it is there: \".done\"", .min = 1, .max = 32),
};
static SHAPE_DEFINE(ready_shape, "connector_ready", struct connector_ready,
                    "When a file is complete", ready_rows);

enum csv_row { CSV_DELIMITER, CSV_QUOTE, CSV_ENCODING, CSV_HEADER, CSV_COLUMNS, CSV_TRIM, CSV_SKIP };
static const struct shape_field csv_rows[] = {
    [CSV_DELIMITER] = SHAPE_ROW(struct connector_csv, delimiter, SHAPE_TEXT,
                                "Between two fields: one character, or \"tab\" (,)", .min = 1, .max = 3),
    [CSV_QUOTE] = SHAPE_ROW(struct connector_csv, quote, SHAPE_TEXT,
                            "Around a field: one character; \"\": none (\")", .max = 1),
    [CSV_ENCODING] = SHAPE_ROW(struct connector_csv, encoding, SHAPE_ENUM,
                               "Of csv and fixed (utf-8)", .values = encodings),
    [CSV_HEADER] = SHAPE_ROW(struct connector_csv, header, SHAPE_BOOL,
                             "The first line names the columns (true, unless `columns` does)"),
    [CSV_COLUMNS] = SHAPE_ROW(struct connector_csv, columns, SHAPE_LIST,
                              "Names of the columns, where no header has them", .max = CSV_FIELDS_MAX),
    [CSV_TRIM] = SHAPE_ROW(struct connector_csv, trim, SHAPE_BOOL,
                           "Blanks at the ends of a field are not part of it (false)"),
    [CSV_SKIP] = SHAPE_ROW(struct connector_csv, skip_lines, SHAPE_INTEGER,
                           "Lines before the header that are passed over (0)", .min = 0, .max = 1000),
};
static SHAPE_DEFINE(csv_shape, "connector_csv", struct connector_csv, "How its text is divided",
                    csv_rows);

static const struct shape_field column_rows[] = {
    SHAPE_ROW(struct connector_column, name, SHAPE_TEXT, "Its name", .flags = SHAPE_REQUIRED,
              .min = 1, .max = 128),
    SHAPE_ROW(struct connector_column, width, SHAPE_INTEGER, "In characters",
              .flags = SHAPE_REQUIRED, .min = 1, .max = 10000),
};
static SHAPE_DEFINE(column_shape, "connector_column", struct connector_column,
                    "A column of fixed width", column_rows);

enum files_row {
    FILES_TOPIC, FILES_ENABLED, FILES_FOLDER, FILES_PATTERN, FILES_EVERY_S, FILES_READY, FILES_FORMAT,
    FILES_CSV, FILES_FIXED, FILES_ITEMS, FILES_GROUP, FILES_DECIMALS, FILES_DECIMAL, FILES_KEY,
    FILES_VERSION, FILES_MAPPING, FILES_COMMAND, FILES_COMMANDS,
};
static const struct shape_field files_rows[] = {
    [FILES_TOPIC] = SHAPE_ROW(struct connector_files, topic, SHAPE_CODE,
                              "Its name; no other topic of the connector has it",
                              .flags = SHAPE_REQUIRED),
    [FILES_ENABLED] = SHAPE_ROW(struct connector_files, enabled, SHAPE_BOOL,
                                "false: checked, but not looked at (true)"),
    [FILES_FOLDER] = SHAPE_ROW(struct connector_files, folder, SHAPE_TEXT,
                               "Where files are left; done/ and error/ are made in it",
                               .flags = SHAPE_REQUIRED, .min = 1, .max = 1024),
    [FILES_PATTERN] = SHAPE_ROW(struct connector_files, pattern, SHAPE_TEXT,
                                "Of their names: \"orders-*.csv\"", .flags = SHAPE_REQUIRED, .min = 1,
                                .max = 256),
    [FILES_EVERY_S] = SHAPE_ROW(struct connector_files, every_s, SHAPE_INTEGER,
                                "Seconds between two looks (5)", .min = 1, .max = 86400),
    [FILES_READY] = SHAPE_ROW(struct connector_files, ready, SHAPE_OBJECT,
                              "When a file is complete", .shape = &ready_shape),
    [FILES_FORMAT] = SHAPE_ROW(struct connector_files, format, SHAPE_ENUM, "What it is (csv)",
                               .values = formats),
    [FILES_CSV] = SHAPE_ROW(struct connector_files, csv, SHAPE_OBJECT, "How its text is divided",
                            .shape = &csv_shape),
    [FILES_FIXED] = SHAPE_ROW(struct connector_files, fixed, SHAPE_LIST,
                              "fixed: the columns, one behind the other", .shape = &column_shape,
                              .max = CSV_FIELDS_MAX),
    [FILES_ITEMS] = SHAPE_ROW(struct connector_files, items, SHAPE_TEXT,
                              "json: JSON Pointer of the list; \"\": the file is one, or one document",
                              .max = 256),
    [FILES_GROUP] = SHAPE_ROW(struct connector_files, group, SHAPE_LIST,
                              "Columns: adjacent rows that are the same there are one document",
                              .max = 16),
    [FILES_DECIMALS] = SHAPE_ROW(struct connector_files, decimals, SHAPE_LIST,
                                 "Columns that hold numbers: they become as \"1234.50\"", .max = 64),
    [FILES_DECIMAL] = SHAPE_ROW(struct connector_files, decimal, SHAPE_TEXT,
                                "Their decimal mark: \",\" or \".\" (.)", .min = 1, .max = 1),
    [FILES_KEY] = SHAPE_ROW(struct connector_files, key, SHAPE_OBJECT,
                            "Records with one key are processed in order",
                            .shape = &connector_place_shape),
    [FILES_VERSION] = SHAPE_ROW(struct connector_files, version, SHAPE_OBJECT,
                                "Version or time of what the key names: older than applied is stale",
                                .shape = &connector_place_shape),
    [FILES_MAPPING] = SHAPE_ROW(struct connector_files, mapping, SHAPE_CODE,
                                "File beside this one: \"orders.lua\"", .flags = SHAPE_REQUIRED),
    [FILES_COMMAND] = SHAPE_ROW(struct connector_files, command, SHAPE_CODE,
                                "What it asks of the hub"),
    [FILES_COMMANDS] = SHAPE_ROW(struct connector_files, commands, SHAPE_LIST,
                                 "In its place: those that route() of the mapping may name", .max = 16),
};
SHAPE_DEFINE(connector_files_shape, "connector_files", struct connector_files,
             "Files that are left in a folder", files_rows);

static void fault_at(struct loader *l, uint32_t i, const char *what, const char *words) {
    yaml_fault(&l->yaml, l->fault, load_pointer(l, "/files/%u/%s", i, what), "%s", words);
}

static void check_topic(struct loader *l, const struct connector_files *files, uint32_t i) {
    const struct connector *c = l->connector;
    bool there = connector_topic(c, files->topic) != NULL;
    for (uint32_t k = 0; k < i; k++)
        there = there || str_eq(list_at(c->files, struct connector_files, k)->topic, files->topic);
    if (there || load_polls_have(l, files->topic))
        fault_at(l, i, "topic", "the topic is there twice");
}

static bool column_known(const struct connector_files *files, struct str name) {
    for (uint32_t i = 0; i < files->csv->columns.count; i++)
        if (str_eq(*list_at(files->csv->columns, struct str, i), name))
            return true;
    for (uint32_t i = 0; i < files->fixed.count; i++)
        if (str_eq(list_at(files->fixed, struct connector_column, i)->name, name))
            return true;
    return files->format == FILE_CSV && files->csv->columns.count == 0; /* the header tells */
}

static void check_columns(struct loader *l, const struct connector_files *files, uint32_t i,
                          const struct shape_list *list, const char *what) {
    bool rows = files->format == FILE_CSV || files->format == FILE_FIXED;
    if (list->count > 0 && !rows)
        fault_at(l, i, what, "belongs to csv and fixed");
    for (uint32_t k = 0; rows && k < list->count; k++)
        if (!column_known(files, *list_at(*list, struct str, k)))
            fault_at(l, i, what, "names a column that is none");
}

static enum err load_dialect(struct loader *l, struct connector_files *files, uint32_t i) {
    struct connector_csv *csv = files->csv;
    struct csv_dialect *d = &files->dialect;
    bool tab = str_is(csv->delimiter, "tab");
    d->delimiter = tab ? '\t' : csv->delimiter.len ? csv->delimiter.ptr[0] : ',';
    d->quote = !shape_has(csv, CSV_QUOTE) ? '"' : csv->quote.len ? csv->quote.ptr[0] : '\0';
    d->encoding = (enum csv_encoding)csv->encoding;
    d->trim = csv->trim;
    if (!shape_has(csv, CSV_HEADER))
        csv->header = csv->columns.count == 0;
    if (!tab && csv->delimiter.len > 1)
        fault_at(l, i, "csv/delimiter", "must be one character, or \"tab\"");
    if (d->quote == d->delimiter || d->delimiter == '\n' || d->delimiter == '\r')
        fault_at(l, i, "csv/delimiter", "can not be the quote or a line end");
    if (files->format == FILE_CSV && !csv->header && csv->columns.count == 0)
        fault_at(l, i, "csv/columns", "are needed where there is no header");
    if ((files->format == FILE_FIXED) != (files->fixed.count > 0))
        fault_at(l, i, "fixed", "the columns are needed by format fixed, and by no other");
    if (files->format != FILE_FIXED)
        return OK;
    uint32_t *widths = arena_array(l->arena, files->fixed.count, sizeof *widths);
    if (!widths)
        return fault_set(l->fault, ERR_NOMEM, "no memory for connectors");
    for (uint32_t k = 0; k < files->fixed.count; k++)
        widths[k] = (uint32_t)list_at(files->fixed, struct connector_column, k)->width;
    d->widths = widths;
    d->width_count = files->fixed.count;
    return OK;
}

static void load_ready(struct connector_ready *ready) {
    if (!shape_has(ready, 0) && !ready->done.len)
        ready->stable_s = 5;
}

static enum err load_one(struct loader *l, uint32_t i) {
    struct connector_files *files = list_at(l->connector->files, struct connector_files, i);
    struct buf missing;
    buf_init(&missing, LOAD_TEXT_BYTES_MAX);
    files->connector = l->connector;
    if (!shape_has(files, FILES_ENABLED))
        files->enabled = true;
    if (!files->every_s)
        files->every_s = 5;
    if (!files->ready)
        files->ready = arena_new(l->arena, struct connector_ready);
    if (!files->csv)
        files->csv = arena_new(l->arena, struct connector_csv);
    if (!files->ready || !files->csv)
        return fault_set(l->fault, ERR_NOMEM, "no memory for connectors");
    load_ready(files->ready);
    if (!files->decimal.len)
        files->decimal = STR(".");
    if (!str_is(files->decimal, ".") && !str_is(files->decimal, ","))
        fault_at(l, i, "decimal", "must be \",\" or \".\"");
    if (files->items.len > 0 && (files->format != FILE_JSON || files->items.ptr[0] != '/'))
        fault_at(l, i, "items", "is a JSON Pointer, and belongs to format json");
    files->folder = load_text(l, files->folder, &missing, load_pointer(l, "/files/%u/folder", i)).text;
    if (memchr(files->pattern.ptr, '/', files->pattern.len))
        fault_at(l, i, "pattern", "is of names, without folders");
    enum err err = load_dialect(l, files, i);
    check_topic(l, files, i);
    check_columns(l, files, i, &files->group, "group");
    check_columns(l, files, i, &files->decimals, "decimals");
    if ((files->key && !files->key->member.len) || (files->version && !files->version->member.len))
        fault_at(l, i, "key", "must name a member: records have no headers");
    if (files->version && !files->key)
        fault_at(l, i, "version", "needs a key: it is the version of what the key names");
    if (!files->command.len == !files->commands.count)
        fault_at(l, i, "command",
                 "is needed, or commands in its place, where the mapping says which with route()");
    files->take = (struct connector_receive){
        .topic = files->topic, .key = files->key, .version = files->version,
        .mapping = files->mapping, .command = files->command, .commands = files->commands,
        .line = yaml_line(&l->yaml, load_pointer(l, "/files/%u/command", i))};
    load_mapping(l, files->mapping, load_pointer(l, "/files/%u/mapping", i), &files->take.source);
    if (missing.len > 0) {
        files->missing = arena_str(l->arena, buf_str(&missing));
        if (l->missing.len == 0 || !memmem(l->missing.data, l->missing.len, missing.data, missing.len)) {
            buf_str_add(&l->missing, l->missing.len ? STR(", ") : STR(""));
            buf_str_add(&l->missing, buf_str(&missing));
        }
        load_note_missing(&l->missing, "for", files->topic);
    }
    buf_free(&missing);
    return err;
}

enum err load_files(struct loader *l) {
    enum err err = OK;
    for (uint32_t i = 0; err == OK && i < l->connector->files.count; i++)
        err = load_one(l, i);
    return err;
}
