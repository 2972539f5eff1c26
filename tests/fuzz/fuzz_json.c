/* Any bytes into the JSON reader. What it takes, it writes, and takes again with the same
 * meaning: writing what was read a second time gives the same bytes. */
#include "fuzz.h"

#include "base/json.h"

#define ARENA_BYTES_MAX ((size_t)64 << 20)

static const struct json *parse(struct json_parser *parser, struct arena *arena, struct str text) {
    const struct json *value = NULL;
    struct fault fault = {0};
    enum err err = json_parse(parser, arena, text, false, &value, &fault);
    must((err == OK) == (value != NULL));
    return value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct json_parser *parser;
    if (!parser)
        must((parser = json_parser_create()));
    struct arena arena;
    arena_init(&arena, ARENA_BYTES_MAX);
    struct buf first, second;
    buf_init(&first, 0);
    buf_init(&second, 0);

    const struct json *value = parse(parser, &arena, str_of((const char *)data, size));
    if (value) {
        json_write(&first, value);
        must(buf_ok(&first));
        const struct json *again = parse(parser, &arena, buf_str(&first));
        must(again);
        json_write(&second, again);
        must(buf_ok(&second) && str_eq(buf_str(&first), buf_str(&second)));
    }
    buf_free(&second);
    buf_free(&first);
    arena_free(&arena);
    return 0;
}
