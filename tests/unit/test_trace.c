/* Unit tests of trace: matches, stories, what is followed and what is not, words. The journal
 * and the read model are small fakes in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "ops/trace.h"

#define RECORDS_MAX 2000
#define REFS_MAX 8000

struct world {
    struct journal journal;
    struct reader reader;
    struct arena arena;
    struct registry *registry;
    struct record records[RECORDS_MAX];
    uint64_t count;
    struct world_ref {
        struct str id;
        uint64_t seq;
    } refs[REFS_MAX];
    uint32_t ref_count;
    uint64_t lag; /* wait times out while the read model is so far behind */
};

struct sold {
    uint64_t has;
    struct str channel_order_id;
    struct str email;
    struct str currency;
    int64_t grand;
    int64_t quantity;
    struct shape_list lines;
};
static const struct shape_field sold_rows[] = {
    {.name = "channel_order_id", .kind = SHAPE_ID, .offset = offsetof(struct sold, channel_order_id)},
    {.name = "email", .kind = SHAPE_TEXT, .offset = offsetof(struct sold, email),
     .privacy = PERSONAL},
    {.name = "currency", .kind = SHAPE_CODE, .offset = offsetof(struct sold, currency)},
    {.name = "grand", .kind = SHAPE_MONEY, .offset = offsetof(struct sold, grand)},
    {.name = "quantity", .kind = SHAPE_DECIMAL, .offset = offsetof(struct sold, quantity)},
    {.name = "lines", .kind = SHAPE_LIST, .offset = offsetof(struct sold, lines)},
};
static SHAPE_DEFINE(sold_shape, "sold", struct sold, "A test's sale", sold_rows);
static const struct event_type sold_event = {.name = "test.sold", .shape = &sold_shape};
static const struct capability test_capability = {
    .name = "test",
    .events = (const struct event_type *const[]){&sold_event, NULL},
};

/* --- the fakes -------------------------------------------------------------------------- */

static enum err fake_read(struct journal *j, uint64_t from, uint32_t limit, journal_visit *visit,
                          void *ctx, uint64_t *next, struct fault *fault) {
    struct world *world = (struct world *)j;
    for (*next = from; *next <= world->count && limit > 0; limit--)
        if (!visit(ctx, &world->records[(*next)++ - 1]))
            break;
    return OK;
}

static enum err fake_last(struct journal *j, uint64_t *seq, struct fault *fault) {
    *seq = ((struct world *)j)->count;
    return OK;
}

static enum err fake_refs(struct reader *r, struct str id, uint64_t *seqs, uint32_t max,
                          uint32_t *count, struct fault *fault) {
    struct world *world = (struct world *)r->journal;
    *count = 0;
    for (uint32_t i = 0; i < world->ref_count && *count < max; i++)
        if (str_eq(world->refs[i].id, id))
            seqs[(*count)++] = world->refs[i].seq;
    return OK;
}

static enum err fake_wait(struct reader *r, uint64_t seq, int64_t timeout_ms, struct fault *fault) {
    struct world *world = (struct world *)r->journal;
    assert_true(timeout_ms > 0);
    assert_int_equal(seq, world->count);
    return world->lag ? fault_set(fault, ERR_UNAVAILABLE, "behind") : OK;
}

static void ref_add(struct world *world, const char *id) {
    assert_true(world->ref_count < REFS_MAX);
    world->refs[world->ref_count++] = (struct world_ref){str_c(id), world->count};
}

static uint64_t happen(struct world *world, const char *type, const char *subject,
                       const char *correlation, uint64_t cause, const char *data) {
    struct buf meta;
    assert_true(world->count < RECORDS_MAX);
    buf_init(&meta, 0);
    buf_printf(&meta, "{\"correlation\":\"%s\",\"actor\":\"key_1\",\"first\":%llu", correlation,
               (unsigned long long)world->count + 1);
    if (cause > 0)
        buf_printf(&meta, ",\"cause\":%llu", (unsigned long long)cause);
    buf_char(&meta, '}');
    world->records[world->count] = (struct record){
        .seq = world->count + 1,
        .time_us = 1000000 * (int64_t)world->count,
        .type = str_c(type),
        .subject = str_c(subject),
        .meta = arena_str(&world->arena, buf_str(&meta)),
        .data = str_c(data),
    };
    world->count++;
    ref_add(world, subject);
    ref_add(world, correlation);
    buf_free(&meta);
    return world->count;
}

static int setup(void **state) {
    static const struct journal_ops journal_ops = {.read = fake_read, .last = fake_last};
    static const struct reader_ops reader_ops = {.refs = fake_refs, .wait = fake_wait};
    struct world *world = calloc(1, sizeof *world);
    static const struct capability *const list[] = {&test_capability, NULL};
    arena_init(&world->arena, 0);
    world->journal.ops = &journal_ops;
    world->reader = (struct reader){
        .ops = &reader_ops, .journal = &world->journal, .parser = json_parser_create()};
    world->registry = registry_create(list);
    *state = world;
    return 0;
}

static int teardown(void **state) {
    struct world *world = *state;
    registry_destroy(world->registry);
    json_parser_destroy(world->reader.parser);
    arena_free(&world->arena);
    free(world);
    return 0;
}

static enum err ask(struct world *world, const char *id, struct trace *trace) {
    struct fault fault = {0};
    return trace_find(&world->reader, world->registry, str_c(id), &world->arena, trace, &fault);
}

#define ORD1 "ord_01jd00000000000000000000aa"
#define ORD2 "ord_01jd00000000000000000000bb"
#define PAY1 "pay_01jd00000000000000000000cc"

/* --- the tests -------------------------------------------------------------------------- */

static void one_id_opens_the_whole_story(void **state) {
    struct world *world = *state;
    struct trace trace;
    uint64_t payload = happen(world, "test.received", PAY1, "c-1", 0, "{}");
    uint64_t order = happen(world, "test.sold", ORD1, "c-1", payload, "{\"grand\":1}");
    ref_add(world, "10045");
    happen(world, "test.other", "SKU@LOC", "c-2", 0, "{}");
    happen(world, "test.posted", ORD1, "c-3", order, "{}"); /* joined by subject */
    ref_add(world, "SO-000123");
    const char *ids[] = {"10045", "SO-000123", ORD1, PAY1, "c-1", "c-3"};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        assert_int_equal(ask(world, ids[i], &trace), OK);
        assert_int_equal(trace.story_count, 1);
        assert_int_equal(trace.count, 3);
        assert_int_equal(trace.events[0].record.seq, 1);
        assert_int_equal(trace.events[2].record.seq, 4);
        assert_false(trace.truncated);
    }
    assert_true(trace.events[2].match);
    assert_false(trace.events[0].match);
    assert_int_equal(ask(world, "nothing", &trace), ERR_NOT_FOUND);
}

static void every_match_is_a_story_of_its_own(void **state) {
    struct world *world = *state;
    struct trace trace;
    happen(world, "test.sold", ORD2, "c-2", 0, "{}");
    ref_add(world, "10045");
    happen(world, "test.sold", ORD1, "c-1", 0, "{}");
    ref_add(world, "10045");
    happen(world, "test.shipped", ORD2, "c-2", 1, "{}");
    assert_int_equal(ask(world, "10045", &trace), OK);
    assert_int_equal(trace.story_count, 2);
    assert_int_equal(trace.stories[0].count, 2);
    assert_int_equal(trace.stories[1].first, 2);
    assert_int_equal(trace.stories[1].count, 1);
    assert_int_equal(trace.events[0].record.seq, 1);
    assert_int_equal(trace.events[1].record.seq, 3);
    assert_int_equal(trace.events[2].record.seq, 2);
}

static void a_bulk_call_and_a_stock_key_are_not_followed(void **state) {
    struct world *world = *state;
    struct trace trace;
    char *subjects = calloc(1000, 64);
    for (uint64_t i = 0; i < 1000; i++) {
        snprintf(subjects + 64 * i, 64, "ord_01jd0000000000000000000%03u", (unsigned)i);
        happen(world, "test.sold", subjects + 64 * i, "bulk", 0, "{}");
    }
    assert_int_equal(ask(world, subjects + 64 * 7, &trace), OK);
    assert_int_equal(trace.count, 1);
    assert_true(trace.truncated);
    assert_int_equal(ask(world, "bulk", &trace), OK);
    assert_int_equal(trace.count, TRACE_EVENTS_MAX);
    assert_true(trace.truncated);
    for (uint64_t i = 0; i < 600; i++)
        happen(world, "test.counted", "SKU@LOC", i == 5 ? "one" : "other", 0, "{}");
    assert_int_equal(ask(world, "one", &trace), OK);
    assert_int_equal(trace.count, 1);
    free(subjects);
}

static void a_read_model_that_lags_is_not_passed_over(void **state) {
    struct world *world = *state;
    struct trace trace;
    happen(world, "test.sold", ORD1, "c-1", 0, "{}");
    world->lag = 1;
    assert_int_equal(ask(world, ORD1, &trace), ERR_UNAVAILABLE);
}

static void words_say_public_facts_alone(void **state) {
    struct world *world = *state;
    struct trace trace;
    struct buf out;
    buf_init(&out, 0);
    happen(world, "test.sold", ORD1, "c-1", 0,
           "{\"channel_order_id\":\"10045\",\"email\":\"ann@example.org\",\"currency\":\"EUR\","
           "\"grand\":4488,\"quantity\":\"2\",\"lines\":[1,2],\"unknown\":1}");
    happen(world, "from.newer_program", ORD1, "c-1", 0, "{\"a\":1}");
    assert_int_equal(ask(world, ORD1, &trace), OK);
    trace_words(&trace.events[0], world->reader.parser, &world->arena, &out);
    assert_string_equal(buf_cstr(&out),
                        "test sold: channel_order_id 10045, currency EUR, grand 44.88 EUR, "
                        "quantity 2, lines 2");
    buf_clear(&out);
    trace_words(&trace.events[1], world->reader.parser, &world->arena, &out);
    assert_string_equal(buf_cstr(&out), "from newer program");
    buf_clear(&out);
    struct fault fault = {0};
    assert_int_equal(trace_write(&trace, NULL, world->reader.parser, &world->arena, &out, &fault),
                     OK);
    const struct json *json;
    assert_int_equal(json_parse(world->reader.parser, &world->arena, buf_str(&out), false, &json,
                                &fault), OK);
    assert_int_equal(json_member(json, STR("matches"))->count, 1);
    assert_null(strstr(buf_cstr(&out), "ann@example.org"));
    buf_free(&out);
}

static void say(struct world *world, const char *type, const char *data, const char *words) {
    struct trace_event event = {.record = {.type = str_c(type), .subject = STR("A@B"),
                                           .data = str_c(data)}};
    struct buf out;
    buf_init(&out, 0);
    trace_words(&event, world->reader.parser, &world->arena, &out);
    assert_string_equal(buf_cstr(&out), words);
    buf_free(&out);
}

static void sentences_leave_out_what_is_not_there(void **state) {
    struct world *world = *state;
    say(world, "order.captured",
        "{\"order\":{\"channel\":\"web-de\",\"channel_order_id\":\"7\",\"currency\":\"JPY\","
        "\"totals\":{\"grand\":1200},\"lines\":[{\"sku\":\"A\",\"quantity\":\"2\"},"
        "{\"sku\":\"B\",\"quantity\":\"0.5\"}]}}",
        "order 7 of web-de captured: 1200 JPY, 2 × A, 0.5 × B");
    say(world, "stock.counted", "{\"counted\":\"12\"}", "stock counted: 12 of A@B");
    say(world, "stock.counted", "{\"counted\":\"12\",\"superseded\":true}",
        "stock counted: 12 of A@B, superseded by a newer count");
    say(world, "posting.posted", "{\"connector\":\"erp\",\"reference\":\"SO-1\",\"attempts\":3}",
        "posted to erp as SO-1, sent 3 times");
    say(world, "order.cancelled", "{\"state\":\"cancelled\",\"lines\":[{\"quantity\":\"1\","
        "\"line_id\":\"a\",\"sku\":\"A\"}]}", "order cancelled: 1 × A; now cancelled");
    say(world, "stock.reserved",
        "{\"changes\":[{\"sku\":\"A\",\"location\":\"W\",\"committed\":\"2\",\"held\":\"-2\"},"
        "{\"sku\":\"B\",\"location\":\"W\",\"committed\":\"1\"}]}",
        "stock reserved: A at W 2 committed -2 held, B at W 1 committed");
    say(world, "order.held", "{}", "order held: ?");
    say(world, "order.held", "no JSON", "order held");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_id_opens_the_whole_story, setup, teardown),
        cmocka_unit_test_setup_teardown(every_match_is_a_story_of_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bulk_call_and_a_stock_key_are_not_followed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_read_model_that_lags_is_not_passed_over, setup, teardown),
        cmocka_unit_test_setup_teardown(words_say_public_facts_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(sentences_leave_out_what_is_not_there, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
