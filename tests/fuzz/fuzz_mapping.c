/* Any text as a mapping, run on a small document. Whatever it does, it ends within its budget,
 * says what was wrong, and what it answers is JSON. */
#include "fuzz.h"

#include "base/json.h"
#include "map/mapping.h"

static const char document_text[] =
    "{\"id\":9007199254740993,\"name\":\"Ann \\u00e4\",\"price\":\"19.99\",\"rate\":0.19,"
    "\"lines\":[{\"sku\":\"A\",\"quantity\":2},{\"sku\":\"B\",\"quantity\":1}],\"none\":null}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena;
    arena_init(&arena, 0);
    struct json_parser *parser = json_parser_create();
    must(parser);
    struct fault fault = {0};
    const struct json *document = NULL, *answer = NULL;
    enum err err = json_parse(parser, &arena, str_c(document_text), false, &document, &fault);
    must(err == OK);

    struct mapping_sources *sources = mapping_sources_create();
    struct mapper *mapper =
        mapper_create((struct mapping_limits){.instructions_max = 20000, .bytes_max = 1 << 20});
    must(sources && mapper);
    const struct mapping_source *source = NULL;
    err = mapping_sources_add_text(sources, STR("fuzz.lua"), STR_NONE, str_of((const char *)data, size),
                                   document, &source, &fault);
    if (err == OK)
        err = mapper_run(mapper, source, document, &arena, &answer, &fault);
    must(err != OK || answer);
    must(err == OK || fault.err == err);
    if (answer) {
        struct buf buf;
        buf_init(&buf, 0);
        json_write(&buf, answer);
        const struct json *again;
        err = json_parse(parser, &arena, buf_str(&buf), false, &again, &fault);
        must(err == OK);
        buf_free(&buf);
    }
    mapper_destroy(mapper);
    mapping_sources_destroy(sources);
    json_parser_destroy(parser);
    arena_free(&arena);
    return 0;
}
