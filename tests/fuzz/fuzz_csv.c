/* Any bytes as a locations file in CSV. What it takes is a list of objects of texts, every
 * node on a line of the file. */
#include "fuzz.h"

#include "core/config_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena;
    arena_init(&arena, 0);
    struct yaml csv;
    struct fault fault;
    fault_init(&fault, &arena);
    enum err err = csv_parse(&arena, STR("fuzz.csv"), str_of((const char *)data, size), &csv, &fault);
    must((err == OK) == (csv.root != NULL));
    must(err == OK || err == ERR_NOMEM || fault.count == 1);
    if (err == OK) {
        must(csv.root->kind == JSON_ARRAY);
        uint32_t nodes = 1;
        const struct json *row = json_first(csv.root);
        for (uint32_t i = 0; i < csv.root->count; i++, row = json_next(row)) {
            must(row->kind == JSON_OBJECT && row->next == 1 + 2 * row->count);
            nodes += row->next;
        }
        must(nodes == csv.root->next);
        for (uint32_t i = 0; i < nodes; i++)
            must(csv.lines[i] >= 1 && csv.lines[i] <= size + 1);
        struct buf buf;
        buf_init(&buf, 0);
        json_write(&buf, csv.root);
        must(buf_ok(&buf));
        buf_free(&buf);
    }
    arena_free(&arena);
    return 0;
}
