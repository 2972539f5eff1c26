/* Unit tests of the printed OpenAPI and AsyncAPI documents: that they are JSON, that every
 * reference leads somewhere, and that they say what the tables say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "gateway/asyncapi.h"
#include "gateway/contract.h"
#include "gateway/openapi.h"

struct batch {
    uint64_t has;
    struct str batch_id;
};
struct position {
    uint64_t has;
    struct str sku;
    int64_t on_hand;
    struct shape_list batches;
};
static const struct shape_field batch_rows[] = {
    {.name = "batch_id", .kind = SHAPE_ID, .offset = offsetof(struct batch, batch_id)}};
static SHAPE_DEFINE(batch_shape, "batch", struct batch, "A batch", batch_rows);
static const struct shape_field position_rows[] = {
    {.name = "sku", .kind = SHAPE_CODE, .flags = SHAPE_REQUIRED,
     .offset = offsetof(struct position, sku)},
    {.name = "on_hand", .kind = SHAPE_DECIMAL, .offset = offsetof(struct position, on_hand)},
    {.name = "batches", .kind = SHAPE_LIST, .offset = offsetof(struct position, batches),
     .shape = &batch_shape},
};
static SHAPE_DEFINE(position_shape, "position", struct position, "Stock of a SKU", position_rows);

static const struct command_type count_command = {
    .name = "stock.count", .shape = &position_shape, .help = "What is there, absolute"};
static const struct command_type read_command = {
    .name = "stock.read", .flags = COMMAND_READS, .help = "Reads"};
static const struct event_type counted_event = {
    .name = "stock.counted", .shape = &position_shape, .help = "Stock was counted"};
static const struct event_type plain_event = {.name = "plain.happened", .help = "No data \"at\" all"};

static const struct query_param params[] = {
    {"sku", true, true, "Stock keeping unit"}, {"cursor", false, false, "Next page"}, {0}};
static const struct route stock_routes[] = {
    {.method = "POST", .path = "/v1/stock/counts", .scope = "stock:write",
     .command = &count_command, .answer = &position_shape, .flags = ROUTE_BULK, .status = 201,
     .refusals = ROUTE_REFUSES(ERR_CONFLICT), .help = "Count stock"},
    {.method = "GET", .path = "/v1/stock", .scope = "stock:read", .command = &read_command,
     .params = params, .answer = &position_shape, .flags = ROUTE_LIST, .help = "List stock"},
    {.method = "GET", .path = "/v1/stock/{sku}/at/{location}", .scope = "stock:read",
     .command = &read_command, .answer = &position_shape, .help = "One position"},
    {.method = "GET", .path = "/v1/stock/counts", .scope = "stock:read",
     .command = &read_command, .help = "Counts"},
    {0},
};
static const struct route open_routes[] = {
    {.method = "GET", .path = "/livez", .command = &read_command, .help = "Alive"}, {0}};

static const struct capability stock = {
    .name = "stock",
    .help = "What is where",
    .commands = (const struct command_type *const[]){&count_command, &read_command, NULL},
    .events = (const struct event_type *const[]){&counted_event, &plain_event, NULL},
    .routes = stock_routes,
};
static const struct capability *const capabilities[] = {&stock, NULL};
static const struct api_extra extras[] = {{"hub", "The hub itself", open_routes}, {0}};
static const struct contract own_contracts[] = {
    {.name = "counts", .help = "Counting", .owner = "inventory", .version = "2.1",
     .status = CONTRACT_DEPRECATED, .since = "2026-01-01", .level = "None", .link = "docs/x.md",
     .deprecated = "2026-12-01", .sunset = "2027-03-31",
     .paths = (const char *const[]){"/v1/stock/counts", NULL},
     .events = (const char *const[]){"plain", NULL}},
    {.name = "stock", .help = "Stock", .owner = "inventory", .version = "1.0",
     .status = CONTRACT_STABLE, .since = "2026-01-01", .level = "Always", .link = "docs/y.md",
     .availability_ppm = 999900, .paths = (const char *const[]){"/v1/stock", NULL},
     .events = (const char *const[]){"stock", NULL}},
    {0},
};
static const struct api_example_param example_params[] = {{"sku", "[\"TEE\"]"}, {0}};
static const struct api_example examples[] = {
    {.name = "count", .title = "Ten were counted", .method = "POST", .path = "/v1/stock/counts",
     .body_media = "application/json", .body = "{\"sku\":\"TEE\"}", .status = 201,
     .answer_media = "application/json", .answer = "{\"sku\":\"TEE\"}"},
    {.name = "list", .title = "All", .method = "GET", .path = "/v1/stock", .params = example_params,
     .status = 200, .answer_media = "application/json", .answer = "{\"items\":[]}"},
    {.name = "counted", .title = "It was counted", .path = "stock.counted",
     .answer = "{\"data\":{\"sku\":\"TEE\"}}"},
    {0},
};
static const struct api_tables tables = {capabilities, extras, own_contracts, examples};

struct doc {
    struct buf text;
    struct arena arena;
    struct json_parser *parser;
    const struct json *root;
};

static void doc_read(struct doc *doc) {
    struct fault fault = {0};
    arena_init(&doc->arena, 0);
    doc->parser = json_parser_create();
    if (json_parse(doc->parser, &doc->arena, buf_str(&doc->text), false, &doc->root, &fault) != OK)
        fail_msg("%s: %s", fault.detail, buf_cstr(&doc->text));
}

static void doc_free(struct doc *doc) {
    json_parser_destroy(doc->parser);
    arena_free(&doc->arena);
    buf_free(&doc->text);
}

/* "a|b|c" from the root; member names may hold '/', so '|' separates. */
static const struct json *at(const struct doc *doc, const char *path) {
    const struct json *json = doc->root;
    struct str rest = str_c(path);
    while (json && rest.ptr) {
        struct str part = str_cut(&rest, '|');
        json = json->kind == JSON_OBJECT ? json_member(json, part) : NULL;
    }
    return json;
}

static bool ref_leads(const struct doc *doc, struct str ref) {
    char path[256];
    if (ref.len < 3 || ref.len >= sizeof path || memcmp(ref.ptr, "#/", 2) != 0)
        return false;
    memcpy(path, ref.ptr + 2, ref.len - 2);
    path[ref.len - 2] = '\0';
    for (char *c = path; *c; c++)
        if (*c == '/')
            *c = '|';
    return at(doc, path) != NULL;
}

static uint32_t refs_check(const struct doc *doc, const struct json *json) {
    uint32_t refs = 0;
    const struct json *child = json_first(json);
    if (json->kind == JSON_ARRAY)
        for (uint32_t i = 0; i < json->count; i++, child = json_next(child))
            refs += refs_check(doc, child);
    if (json->kind != JSON_OBJECT)
        return refs;
    for (uint32_t i = 0; i < json->count; i++) {
        const struct json *value = json_next(child);
        if (str_is(child->text, "$ref")) {
            refs++;
            if (!ref_leads(doc, value->text))
                fail_msg("%.*s leads nowhere", STR_FMT(value->text));
        }
        refs += refs_check(doc, value);
        child = json_next(value);
    }
    return refs;
}

static void openapi_says_what_the_tables_say(void **state) {
    (void)state;
    struct doc doc;
    buf_init(&doc.text, 0);
    openapi_write(&tables, "1.2.3", &doc.text);
    assert_true(buf_ok(&doc.text));
    doc_read(&doc);
    assert_true(str_is(at(&doc, "openapi")->text, "3.1.0"));
    assert_true(str_is(at(&doc, "info|version")->text, "1.2.3"));
    assert_int_equal(at(&doc, "paths")->count, 4);
    assert_true(refs_check(&doc, doc.root) > 30);
    /* two methods of one path are one item */
    assert_int_equal(at(&doc, "paths|/v1/stock/counts")->count, 2);
    assert_non_null(at(&doc, "paths|/v1/stock/counts|post|responses|201"));
    assert_non_null(at(&doc, "paths|/v1/stock/counts|post|responses|409"));
    assert_non_null(at(&doc, "paths|/v1/stock/counts|post|requestBody|content|application/x-ndjson"));
    assert_null(at(&doc, "paths|/v1/stock/counts|get|requestBody"));
    assert_null(at(&doc, "paths|/v1/stock/counts|get|responses|201"));
    assert_int_equal(at(&doc, "paths|/v1/stock/{sku}/at/{location}|get|parameters")->count, 5);
    assert_non_null(at(&doc, "paths|/v1/stock|get|responses|200|content|application/json|schema|"
                             "properties|next_cursor"));
    assert_int_equal(at(&doc, "paths|/livez|get|security")->count, 0);
    assert_int_equal(at(&doc, "paths|/v1/stock|get|security")->count, 1);
    assert_non_null(at(&doc, "components|schemas|position|properties|on_hand"));
    assert_int_equal(at(&doc, "tags")->count, 3);
    doc_free(&doc);
}

static void openapi_says_who_answers_for_what_and_until_when(void **state) {
    (void)state;
    struct doc doc;
    buf_init(&doc.text, 0);
    openapi_write(&tables, "1.2.3", &doc.text);
    doc_read(&doc);
    /* the longest beginning wins, and whole segments alone count */
    assert_true(str_is(at(&doc, "paths|/v1/stock/counts|post|x-contract")->text, "counts"));
    assert_true(str_is(at(&doc, "paths|/v1/stock|get|x-contract")->text, "stock"));
    assert_true(str_is(at(&doc, "paths|/v1/stock|get|x-owner")->text, "inventory"));
    assert_null(at(&doc, "paths|/livez|get|x-contract"));
    assert_non_null(at(&doc, "paths|/v1/stock/counts|post|deprecated"));
    assert_true(str_is(at(&doc, "paths|/v1/stock/counts|post|x-sunset")->text, "2027-03-31"));
    assert_non_null(at(&doc, "paths|/v1/stock/counts|post|responses|410"));
    assert_non_null(at(&doc, "paths|/v1/stock/counts|post|responses|201|headers|Sunset"));
    assert_null(at(&doc, "paths|/v1/stock|get|deprecated"));
    assert_null(at(&doc, "paths|/v1/stock|get|responses|410"));
    assert_non_null(at(&doc, "paths|/v1/stock/counts|post|requestBody|content|application/json|"
                             "examples|count|value|sku"));
    assert_non_null(at(&doc, "paths|/v1/stock/counts|post|responses|201|content|application/json|"
                             "examples|count|value|sku"));
    assert_null(at(&doc, "paths|/v1/stock/counts|post|responses|200|content|application/json|"
                         "examples"));
    /* refusals by the state are those of the row, no others */
    assert_non_null(at(&doc, "paths|/v1/stock/counts|post|responses|409"));
    assert_null(at(&doc, "paths|/v1/stock/counts|post|responses|404"));
    doc_free(&doc);
    buf_init(&doc.text, 0);
    asyncapi_write(&tables, "1.2.3", &doc.text);
    doc_read(&doc);
    assert_true(str_is(at(&doc, "operations|send.plain.happened|x-contract")->text, "counts"));
    assert_non_null(at(&doc, "components|messages|stock.counted|examples"));
    doc_free(&doc);
}

static void asyncapi_has_a_channel_and_a_message_per_event(void **state) {
    (void)state;
    struct doc doc;
    buf_init(&doc.text, 0);
    asyncapi_write(&tables, "1.2.3", &doc.text);
    doc_read(&doc);
    assert_true(str_is(at(&doc, "asyncapi")->text, "3.0.0"));
    assert_int_equal(at(&doc, "channels")->count, 2);
    assert_int_equal(at(&doc, "operations")->count, 2);
    assert_int_equal(at(&doc, "components|messages")->count, 2);
    assert_true(str_is(at(&doc, "channels|stock.counted|address")->text,
                       "org.penstock.stock.counted.v1"));
    assert_true(refs_check(&doc, doc.root) >= 6);
    doc_free(&doc);
}

static void without_tables_both_are_still_documents(void **state) {
    (void)state;
    static const struct capability *const none[] = {NULL};
    const struct api_tables empty = {none, NULL};
    struct doc doc;
    buf_init(&doc.text, 0);
    openapi_write(&empty, "0", &doc.text);
    doc_read(&doc);
    refs_check(&doc, doc.root);
    doc_free(&doc);
    buf_init(&doc.text, 0);
    asyncapi_write(&empty, "0", &doc.text);
    doc_read(&doc);
    refs_check(&doc, doc.root);
    doc_free(&doc);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openapi_says_what_the_tables_say),
        cmocka_unit_test(openapi_says_who_answers_for_what_and_until_when),
        cmocka_unit_test(asyncapi_has_a_channel_and_a_message_per_event),
        cmocka_unit_test(without_tables_both_are_still_documents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
