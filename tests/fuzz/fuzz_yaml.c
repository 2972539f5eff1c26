/* Any bytes into the reader of configuration files. What it takes is a tree of nodes that JSON
 * can say; every node has a line within the text. */
#include "fuzz.h"

#include "base/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena;
    arena_init(&arena, 0);
    struct yaml yaml;
    struct fault fault = {0};
    struct str text = str_of((const char *)data, size);
    enum err err = yaml_parse(&arena, STR("fuzz.yaml"), text, &yaml, &fault);
    if (err == OK) {
        struct buf buf;
        buf_init(&buf, 0);
        json_write(&buf, yaml.root);
        must(buf_ok(&buf));
        const struct json *again;
        struct json_parser *parser = json_parser_create();
        must(parser);
        err = json_parse(parser, &arena, buf_str(&buf), false, &again, &fault);
        must(err == OK || err == ERR_TOO_LARGE);
        json_parser_destroy(parser);
        buf_free(&buf);
        for (uint32_t i = 0; i < yaml.root->next; i++)
            must(yaml.lines[i] >= 1 && yaml.lines[i] <= size + 1);
    }
    arena_free(&arena);
    return 0;
}
