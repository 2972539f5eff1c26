/* Random documents through the mappings of the shipped connectors. An input is a recipe: its first two
 * bytes choose one of the connectors' fixtures, each three behind them change a node of its document, so
 * that what a mapping sees is JSON always. Whatever it sees, it ends within its budget and says what was
 * wrong; what it answers is JSON, and the same a second time. */
#include "fuzz.h"

#include <stdio.h>

#include "base/yaml.h"
#include "connect/embedded.h"
#include "map/mapping.h"

static struct json_parser *parser;
static struct mapping_sources *sources;
static struct mapper *mapper;
static struct arena kept; /* of the settings */
static const struct mapping_source *mappings[64];
static uint32_t mapping_count;
/* Fixtures of mappings. */
static struct {
    const struct mapping_source *source;
    const struct embedded_file *file;
} fixtures[2000];
static uint32_t fixture_count;

static enum err hub_code(void *ctx, const struct mapping_code *ask, struct arena *arena,
                         struct str *out, struct fault *fault) {
    *out = ask->text.len % 3 ? arena_printf(arena, "C-%.*s", STR_FMT(ask->text)) : STR_NONE;
    return OK;
}
static enum err hub_look(void *ctx, const struct mapping_look *ask, struct arena *arena,
                         const struct json **out, struct fault *fault) {
    *out = NULL;
    return OK;
}
static const struct mapping_hub hub = {.code = hub_code, .look = hub_look};

static const struct json *settings_of(struct str connector) {
    for (const struct embedded_file *file = embedded_files; file->path; file++) {
        char path[256];
        snprintf(path, sizeof path, "connectors/%.*s/connector.yaml", STR_FMT(connector));
        struct yaml yaml;
        struct fault fault = {0};
        if (strcmp(file->path, path) == 0 &&
            yaml_parse(&kept, connector, str_of((const char *)file->data, file->len), &yaml, &fault) == OK)
            return json_member(yaml.root, STR("settings"));
    }
    return NULL;
}

/* All *.lua that lie in the folder of a connector itself. */
static void load(void) {
    parser = json_parser_create();
    sources = mapping_sources_create();
    mapper = mapper_create((struct mapping_limits){
        .instructions_max = 2000000, .bytes_max = 8 << 20, .looks_max = 4});
    must(parser && sources && mapper);
    arena_init(&kept, 0);
    mapper_hub(mapper, &hub, NULL);
    for (const struct embedded_file *file = embedded_files; file->path; file++) {
        struct str name = str_c(file->path), rest;
        struct fault fault = {0};
        if (!str_starts(name, STR("connectors/")) || memcmp(name.ptr + name.len - 4, ".lua", 4) != 0)
            continue;
        rest = name = str_of(name.ptr + 11, name.len - 11);
        struct str connector = str_cut(&rest, '/');
        if (memchr(rest.ptr, '/', rest.len) || mapping_count == sizeof mappings / sizeof *mappings)
            continue;
        enum err err = mapping_sources_add_text(sources, name, STR_NONE,
                                                str_of((const char *)file->data, file->len),
                                                settings_of(connector), &mappings[mapping_count], &fault);
        must(err == OK);
        mapping_count++;
    }
    must(mapping_count > 5);
    for (const struct embedded_file *file = embedded_files; file->path; file++) {
        /* connectors/NAME/fixtures/MAPPING/CASE.in.json */
        struct str rest = str_c(file->path), folder = str_cut(&rest, '/'), connector = str_cut(&rest, '/');
        struct str kind = str_cut(&rest, '/'), mapping = str_cut(&rest, '/');
        if (!str_is(folder, "connectors") || !str_is(kind, "fixtures") || !strstr(file->path, ".in.json"))
            continue;
        char name[256];
        snprintf(name, sizeof name, "%.*s/%.*s.lua", STR_FMT(connector), STR_FMT(mapping));
        for (uint32_t i = 0; i < mapping_count && fixture_count < 2000; i++) {
            if (str_is(mappings[i]->name, name)) {
                fixtures[fixture_count].source = mappings[i];
                fixtures[fixture_count++].file = file;
            }
        }
    }
    must(fixture_count > 50);
}

/* Changes one node to something that the sender might send some day. Names stay texts. */
static void change(struct json *root, uint32_t where, uint8_t how) {
    static const struct json others[] = {
        {{"", 0}, 0, 1, JSON_STRING},     {{NULL, 0}, 0, 1, JSON_NULL},
        {{NULL, 0}, 1, 1, JSON_BOOL},     {{"-1", 2}, 0, 1, JSON_NUMBER},
        {{"0.005", 5}, 0, 1, JSON_NUMBER}, {{"9223372036854775808", 19}, 0, 1, JSON_NUMBER},
        {{"9223372036854775807", 19}, 0, 1, JSON_NUMBER}, {{"1e99", 4}, 0, 1, JSON_NUMBER},
        {{"\xc3\xa4\xe2\x82\xac", 5}, 0, 1, JSON_STRING}, {{"-0.00", 5}, 0, 1, JSON_STRING},
        {{"99999999999999999999.99", 23}, 0, 1, JSON_STRING}, {{"JPY", 3}, 0, 1, JSON_STRING},
        {{"2026-02-30T25:61:00Z", 20}, 0, 1, JSON_STRING}, {{"a%(b)[c", 7}, 0, 1, JSON_STRING},
    };
    struct json *node = root + where % root->next;
    if (node->kind == JSON_OBJECT || node->kind == JSON_ARRAY)
        return;
    bool name = false; /* the text behind a '{' or a ',' of an object: a node that an object names */
    for (struct json *at = root; at < root + root->next && !name; at++) {
        if (at->kind != JSON_OBJECT)
            continue;
        struct json *member = at + 1;
        for (uint32_t i = 0; i < at->count; i++) {
            name = name || member == node;
            member = member + 1 + member[1].next;
        }
    }
    const struct json *other = &others[how % (sizeof others / sizeof *others)];
    if (!name || other->kind == JSON_STRING)
        *node = *other;
}

static struct str mapped(const struct mapping_source *source, const struct json *document,
                         struct arena *arena) {
    struct fault fault;
    const struct json *answer = NULL;
    fault_init(&fault, arena);
    enum err err = mapper_run(mapper, source, document, arena, &answer, &fault);
    must(err == OK || (err == ERR_INVALID && fault.detail[0]));
    if (err)
        return arena_str(arena, str_c(fault.detail));
    struct buf out;
    const struct json *again;
    buf_init(&out, 0);
    json_write(&out, answer);
    must(json_parse(parser, arena, buf_str(&out), false, &again, &fault) == OK);
    struct str text = arena_str(arena, buf_str(&out));
    buf_free(&out);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!parser)
        load();
    uint32_t chosen = (size > 0 ? data[0] : 0u) + (size > 1 ? data[1] * 256u : 0u);
    const struct embedded_file *file = fixtures[chosen % fixture_count].file;
    const struct mapping_source *source = fixtures[chosen % fixture_count].source;
    struct arena arena;
    struct fault fault = {0};
    const struct json *parsed;
    arena_init(&arena, 0);
    must(json_parse(parser, &arena, str_of((const char *)file->data, file->len), false, &parsed, &fault) ==
         OK);
    struct json *document = arena_array(&arena, parsed->next, sizeof *document);
    must(document);
    memcpy(document, parsed, parsed->next * sizeof *document);
    for (size_t i = 2; i + 2 < size && i < 98; i += 3)
        change(document, data[i] + data[i + 1] * 256u, data[i + 2]);
    struct str once = mapped(source, document, &arena);
    must(str_eq(once, mapped(source, document, &arena)));
    arena_free(&arena);
    return 0;
}
