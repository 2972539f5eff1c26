/* Any bytes as an order: parsed, decoded, checked. An order that is taken is written in the
 * hub's own form, and that form is taken again and written the same. */
#include "fuzz.h"

#include "base/json.h"
#include "retail/order.h"
#include "shape/shape.h"

/* The order in the text, checked; NULL where it is none. Every refusal names a fault. */
static struct order *take(struct json_parser *parser, struct arena *arena, struct str text) {
    const struct json *value = NULL;
    struct fault fault;
    fault_init(&fault, arena);
    void *doc = NULL;
    if (json_parse(parser, arena, text, false, &value, &fault) != OK)
        return NULL;
    enum err err = shape_decode(&order_shape, value, arena, STR(""), &doc, &fault);
    if (err == OK)
        err = order_check(doc, 0, arena, &fault);
    must(err == OK || fault.err == err);
    must(err != ERR_INVALID || fault.count > 0);
    return err == OK ? doc : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct json_parser *parser;
    if (!parser)
        must((parser = json_parser_create()));
    struct arena arena;
    arena_init(&arena, 0);
    struct order *order = take(parser, &arena, str_of((const char *)data, size));
    if (order) {
        struct buf first, second;
        buf_init(&first, 0);
        buf_init(&second, 0);
        shape_encode(&order_shape, order, &first);
        must(buf_ok(&first));
        const struct order *again = take(parser, &arena, buf_str(&first));
        must(again);
        shape_encode(&order_shape, again, &second);
        must(buf_ok(&second) && str_eq(buf_str(&first), buf_str(&second)));
        buf_free(&second);
        buf_free(&first);
    }
    arena_free(&arena);
    return 0;
}
