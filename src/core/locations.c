/* locations: reads the locations file of a configuration, YAML or CSV. A CSV becomes the same
 * nodes a YAML list of mappings gives, so that both are checked by one shape and faults name
 * lines in both. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/encode.h"
#include "base/mem.h"
#include "core/config_priv.h"

static const char *const location_kinds[] = {"warehouse", "store", NULL};
#define AT(member) .offset = offsetof(struct config_location, member), .since = 1
static const struct shape_field config_location_fields[] = {
    [LOCATION_LOCATION] = {.name = "location", .kind = SHAPE_CODE, .flags = SHAPE_REQUIRED,
                           AT(location), .help = "Its code, such as WH-HAM or S01"},
    [LOCATION_KIND] = {.name = "kind", .kind = SHAPE_ENUM, .flags = SHAPE_REQUIRED, AT(kind),
                       .values = location_kinds, .help = "What it is"},
    [LOCATION_NAME] = {.name = "name", .kind = SHAPE_TEXT, AT(name), .max = 200,
                       .help = "What people call it"},
    [LOCATION_TIME_ZONE] = {.name = "time_zone", .kind = SHAPE_ID, .flags = SHAPE_REQUIRED,
                            AT(time_zone),
                            .help = "IANA time zone, such as Europe/Berlin: gives the business day "
                                    "its default"},
};
SHAPE_DEFINE(config_location_shape, "location", struct config_location, "A store or warehouse",
             config_location_fields);

/* --- CSV ------------------------------------------------------------------------------- */
#define COLUMNS_MAX 32

struct csv {
    struct arena *arena;
    struct fault *fault;
    struct str name;
    char *at, *end;
    uint32_t line;
    struct str header[COLUMNS_MAX];
    uint32_t columns;
    struct json *nodes;
    uint32_t *lines;
    uint32_t count, room;
};

static enum err csv_refuse(struct csv *csv, const char *fmt, ...) PRINTF_LIKE(2, 3);
static enum err csv_refuse(struct csv *csv, const char *fmt, ...) {
    char text[200], pointer[300];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    snprintf(pointer, sizeof pointer, "%.*s:%u", STR_FMT(csv->name), csv->line);
    fault_add(csv->fault, str_c(pointer), "%s", text);
    return ERR_INVALID;
}

/* One field; *last where the record ends behind it. */
static enum err csv_field(struct csv *csv, struct str *out, bool *last) {
    const char *start = csv->at;
    if (csv->at < csv->end && *csv->at == '"') {
        char *to = ++csv->at; /* in place: what is unquoted only gets shorter */
        *out = str_of(to, 0);
        for (;; csv->at++) {
            if (csv->at == csv->end)
                return csv_refuse(csv, "a quote is not closed");
            if (*csv->at == '"' && !(csv->at + 1 < csv->end && *++csv->at == '"'))
                break;
            csv->line += *csv->at == '\n';
            to[out->len++] = *csv->at;
        }
        csv->at += csv->at < csv->end && *csv->at == '"';
    } else {
        while (csv->at < csv->end && *csv->at != ',' && *csv->at != '\n' && *csv->at != '\r')
            csv->at++;
        *out = str_trim(str_of(start, (size_t)(csv->at - start)));
    }
    if (csv->at < csv->end && *csv->at == '\r')
        csv->at++;
    *last = csv->at == csv->end || *csv->at == '\n';
    if (!*last && *csv->at != ',')
        return csv_refuse(csv, "a comma or the end of the line was expected behind a field");
    csv->at += csv->at < csv->end;
    return OK;
}

/* The fields of a record, at most COLUMNS_MAX. */
static enum err csv_record(struct csv *csv, struct str *fields, uint32_t *count) {
    bool last = false;
    for (*count = 0; !last; ++*count) {
        if (*count == COLUMNS_MAX)
            return csv_refuse(csv, "more than %d columns", COLUMNS_MAX);
        enum err err = csv_field(csv, &fields[*count], &last);
        if (err != OK)
            return err;
    }
    return OK;
}

static struct json *csv_node(struct csv *csv, enum json_kind kind, struct str text,
                             uint32_t line) {
    must(csv->count < csv->room);
    csv->lines[csv->count] = line;
    struct json *node = &csv->nodes[csv->count++];
    *node = (struct json){.text = text, .next = 1, .kind = (uint8_t)kind};
    return node;
}

static enum err csv_rows(struct csv *csv) {
    struct json *root = csv_node(csv, JSON_ARRAY, STR_NONE, 1);
    struct str fields[COLUMNS_MAX];
    uint32_t count;
    while (csv->at < csv->end) {
        uint32_t line = csv->line;
        enum err err = csv_record(csv, fields, &count);
        if (err != OK)
            return err;
        if (count > 1 || fields[0].len > 0) { /* an empty line is no record */
            if (count != csv->columns)
                return csv_refuse(csv, "has %u fields, the header has %u", count, csv->columns);
            uint32_t first = csv->count;
            struct json *row = csv_node(csv, JSON_OBJECT, STR_NONE, line);
            for (uint32_t i = 0; i < count; i++) {
                if (fields[i].len == 0)
                    continue;
                csv_node(csv, JSON_STRING, csv->header[i], line);
                csv_node(csv, JSON_STRING, fields[i], line);
                row->count++;
            }
            row->next = csv->count - first;
            root->count++;
        }
        csv->line++;
    }
    root->next = csv->count;
    return OK;
}

enum err csv_parse(struct arena *arena, struct str name, struct str text, struct yaml *out,
                   struct fault *fault) {
    *out = (struct yaml){.file = arena_str(arena, name)};
    struct csv csv = {.arena = arena, .fault = fault, .name = name, .line = 1};
    if (!utf8_valid(text))
        return csv_refuse(&csv, "the file is not valid UTF-8");
    if (str_starts(text, STR("\xef\xbb\xbf")))
        text = str_of(text.ptr + 3, text.len - 3);
    struct str copy = arena_str(arena, text);
    if (!copy.ptr || !out->file.ptr)
        return fault_set(fault, ERR_NOMEM, "out of memory");
    csv.at = (char *)copy.ptr; /* our own copy: fields are unquoted in it */
    csv.end = csv.at + copy.len;
    enum err err = csv_record(&csv, csv.header, &csv.columns);
    if (err != OK)
        return err;
    csv.line++;
    uint32_t rows = 1;
    for (const char *at = csv.at; at < csv.end; at++)
        rows += *at == '\n';
    if (rows > LOCATIONS_MAX + 1)
        return csv_refuse(&csv, "more than %u lines", LOCATIONS_MAX);
    csv.room = 1 + rows * (1 + 2 * csv.columns);
    csv.nodes = arena_array(arena, csv.room, sizeof *csv.nodes);
    csv.lines = arena_array(arena, csv.room, sizeof *csv.lines);
    if (!csv.nodes || !csv.lines)
        return fault_set(fault, ERR_NOMEM, "out of memory");
    err = csv_rows(&csv);
    if (err == OK) {
        out->root = csv.nodes;
        out->lines = csv.lines;
    }
    return err;
}

static enum err csv_read(struct arena *arena, const char *path, struct str name, struct yaml *out,
                         struct fault *fault) {
    FILE *file = fopen(path, "rbe");
    if (!file)
        return fault_set(fault, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path,
                         strerror(errno));
    struct buf text;
    buf_init(&text, YAML_BYTES_MAX);
    char chunk[16384];
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, file)) > 0 && buf_ok(&text))
        buf_add(&text, chunk, n);
    enum err err = OK;
    if (ferror(file))
        err = fault_set(fault, ERR_IO, "%s: %s", path, strerror(errno));
    else if (!buf_ok(&text))
        err = fault_set(fault, ERR_TOO_LARGE, "%s is larger than %zu bytes", path, YAML_BYTES_MAX);
    fclose(file);
    if (err == OK)
        err = csv_parse(arena, name, buf_str(&text), out, fault);
    buf_free(&text);
    return err;
}

/* --- the list -------------------------------------------------------------------------- */
bool zone_valid(struct str zone) {
    char path[160];
    for (size_t i = 0; i < zone.len; i++) {
        char c = zone.ptr[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
              (c && strchr("/_+-", c))))
            return false;
    }
    if (zone.len == 0 || zone.len > 64 || zone.ptr[0] == '/')
        return false;
    struct stat info;
    if (stat("/usr/share/zoneinfo", &info) != 0)
        return true;
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%.*s", STR_FMT(zone));
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

enum err locations_read(struct config *config, const char *path, struct str name, struct yaml *out,
                        struct fault *fault) {
    bool is_csv = name.len > 4 && str_eq_nocase(str_of(name.ptr + name.len - 4, 4), STR(".csv"));
    enum err err = (is_csv ? csv_read : yaml_read)(&config->arena, path, name, out, fault);
    if (err != OK)
        return err;
    if (out->root->kind == JSON_NULL) /* an empty file: no locations */
        return OK;
    if (out->root->kind != JSON_ARRAY || out->root->count > LOCATIONS_MAX) {
        yaml_fault(out, fault, STR(""), "must be a list of at most %u locations", LOCATIONS_MAX);
        return ERR_INVALID;
    }
    uint32_t count = out->root->count;
    struct config_location *items = arena_array(&config->arena, count, sizeof *items);
    if (!items)
        return fault_set(fault, ERR_NOMEM, "out of memory");
    struct fault found;
    fault_init(&found, &config->arena);
    uint32_t before = fault->count;
    const struct json *at = json_first(out->root);
    for (uint32_t i = 0; i < count; i++, at = json_next(at)) {
        char pointer[32];
        int len = snprintf(pointer, sizeof pointer, "/%u", i);
        void *doc;
        err = shape_decode(&config_location_shape, at, &config->arena,
                           str_of(pointer, (size_t)len), &doc, &found);
        if (err == ERR_NOMEM)
            return fault_set(fault, ERR_NOMEM, "out of memory");
        if (err == OK)
            items[i] = *(struct config_location *)doc;
        if (err == OK && !zone_valid(items[i].time_zone)) {
            snprintf(pointer, sizeof pointer, "/%u/time_zone", i);
            yaml_fault(out, fault, str_c(pointer), "\"%.*s\" is not an IANA time zone",
                       STR_FMT(items[i].time_zone));
        }
    }
    config->locations = (struct shape_list){items, count};
    yaml_faults(out, &found, fault);
    return fault->count > before ? ERR_INVALID : OK;
}
