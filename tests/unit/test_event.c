/* Events from records: meta by the short way and by the parser, data, CloudEvents. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../support/shop.h"
#include "base/json.h"

struct kit {
    struct json_parser *parser;
    struct registry *registry;
    struct arena arena;
    struct fault fault;
};
static struct kit kit_make(void) {
    struct kit kit = {.parser = json_parser_create(),
                      .registry = registry_create(shop_capabilities)};
    arena_init(&kit.arena, 0);
    return kit;
}
static void kit_free(struct kit *kit) {
    json_parser_destroy(kit->parser);
    registry_destroy(kit->registry);
    arena_free(&kit->arena);
}

static void meta_equal(const struct event_meta *a, const struct event_meta *b) {
    assert_int_equal(a->has, b->has);
    assert_true(str_eq(a->correlation, b->correlation));
    assert_true(str_eq(a->traceparent, b->traceparent));
    assert_true(str_eq(a->actor, b->actor));
    assert_true(str_eq(a->command, b->command));
    assert_int_equal(a->first, b->first);
    assert_int_equal(a->cause, b->cause);
    assert_true(str_eq(a->person, b->person));
    assert_int_equal(a->key, b->key);
    assert_true(str_eq(a->sealed_at, b->sealed_at));
    assert_true(str_eq(a->sealed, b->sealed));
    assert_true(str_eq(a->idem, b->idem));
    assert_true(str_eq(a->idem_key, b->idem_key));
    assert_true(str_eq(a->natural, b->natural));
    assert_true(str_eq(a->fingerprint, b->fingerprint));
    assert_int_equal(a->status, b->status);
    assert_true(str_eq(a->answer, b->answer));
}

/* Any subset of the members, written by shape_encode, reads back as it was: by the short way,
 * and, with a blank put in front, by the parser. */
static void meta_reads_back(void **state) {
    (void)state;
    struct kit kit = kit_make();
    struct event_meta full = {
        .correlation = STR("c-1"), .traceparent = STR("00-ab-cd-01"), .actor = STR("key_x"),
        .command = STR("order.capture"), .first = 41, .cause = 7,
        .person = STR("C \"1\""), .key = 8110, .sealed_at = STR("order"),
        .sealed = STR("ab+/cd=="), .idem = STR("00ff"),
        .idem_key = STR("k/1"), .natural = STR("aa"), .fingerprint = STR("bb"), .status = 201,
        .answer = STR("{\"a\":[1,{\"b\":\"}\\\"]\"}],\"c\":{}}"),
    };
    const char *awkward[] = {"c-1", "with \"quotes\"", "back\\slash", "ütf-8 \xf0\x9f\x8e\x81",
                             "brace}{,:[\"]"};
    for (uint64_t has = 0; has < 1u << 16; has++) {
        struct event_meta meta = full, got;
        meta.has = has;
        meta.correlation = str_c(awkward[has % 5]);
        struct str *texts[] = {&meta.correlation, &meta.traceparent, &meta.actor, &meta.command,
                               NULL, NULL, &meta.person, NULL, &meta.sealed_at, &meta.sealed,
                               &meta.idem, &meta.idem_key, &meta.natural,
                               &meta.fingerprint, NULL, &meta.answer};
        for (int row = 0; row < 16; row++)
            if (!(has >> row & 1) && texts[row])
                *texts[row] = STR_NONE;
        meta.first = has >> EVENT_META_FIRST & 1 ? meta.first : 0;
        meta.cause = has >> EVENT_META_CAUSE & 1 ? meta.cause : 0;
        meta.key = has >> EVENT_META_KEY & 1 ? meta.key : 0;
        meta.status = has >> EVENT_META_STATUS & 1 ? meta.status : 0;
        struct buf json;
        buf_init(&json, 0);
        shape_encode(&event_meta_shape, &meta, &json);
        struct str text = buf_str(&json);
        for (int way = 0; way < 2; way++) {
            if (way == 1)
                text = arena_printf(&kit.arena, " %.*s", STR_FMT(text));
            if (event_meta_load(text, kit.parser, &kit.arena, &got, &kit.fault) != OK)
                fail_msg("%.*s: %s", STR_FMT(text), kit.fault.detail);
            meta_equal(&meta, &got);
        }
        buf_free(&json);
        arena_reset(&kit.arena);
    }
    kit_free(&kit);
}

/* What is cut or wrong is refused, never read beyond its end. */
static void bad_meta_is_refused(void **state) {
    (void)state;
    struct kit kit = kit_make();
    struct str good = STR("{\"correlation\":\"c\",\"first\":12,\"idem\":\"0f\",\"status\":200,"
                          "\"answer\":{\"a\":[1,2,{\"b\":\"x\"}]}}");
    struct event_meta meta;
    assert_int_equal(event_meta_load(good, kit.parser, &kit.arena, &meta, &kit.fault), OK);
    for (size_t len = 0; len < good.len; len++) {
        char *exact = malloc(len + 1);
        memcpy(exact, good.ptr, len);
        assert_int_not_equal(event_meta_load(str_of(exact, len), kit.parser, &kit.arena, &meta,
                                             &kit.fault), OK);
        free(exact);
    }
    const char *bad[] = {"[]", "null", "{\"first\":\"x\"}", "{\"first\":1.5}", "{\"answer\":}",
                         "{\"correlation\":\"a\",\"correlation\":\"b\"}", "{\"first\":1}}",
                         "{\"correlation\":\"a\"\"actor\":\"b\"}", "{\"status\":99999999999999999999}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (event_meta_load(str_c(bad[i]), kit.parser, &kit.arena, &meta, &kit.fault) == OK)
            fail_msg("taken: %s", bad[i]);
    /* A member of a newer program is passed over. */
    assert_int_equal(event_meta_load(STR("{\"new\":[1],\"first\":3}"), kit.parser, &kit.arena,
                                     &meta, &kit.fault), OK);
    assert_int_equal(meta.first, 3);
    kit_free(&kit);
}

static void records_become_events(void **state) {
    (void)state;
    struct kit kit = kit_make();
    struct buf texts;
    buf_init(&texts, 0);
    struct shop_record made;
    shop_put_captured(&texts, 5, 9, 4, &made);
    shop_fix(&texts, &made, 1);
    struct event event;
    assert_int_equal(event_from_record(kit.registry, &made.record, kit.parser, &kit.arena, &event,
                                       &kit.fault), OK);
    const struct shop_order *order = event.data;
    assert_ptr_equal(event.type, &shop_captured);
    assert_int_equal(event.seq, 9);
    assert_int_equal(event.meta.first, 9);
    assert_int_equal(event.meta.status, 201);
    assert_int_equal(order->grand, 5);
    assert_int_equal(order->lines.count, 3);
    assert_true(str_is(list_at(order->lines, struct shop_line, 2)->line_id, "3"));

    made.record.type = STR("order.dreamt");
    assert_int_equal(event_from_record(kit.registry, &made.record, kit.parser, &kit.arena, &event,
                                       &kit.fault), ERR_NOT_FOUND);
    assert_int_equal(event.meta.first, 9);
    assert_null(event.type);
    made.record.type = STR("order.captured");
    made.record.data.len--;
    assert_int_equal(event_from_record(kit.registry, &made.record, kit.parser, &kit.arena, &event,
                                       &kit.fault), ERR_MALFORMED);
    buf_free(&texts);
    kit_free(&kit);
}

static void records_become_cloudevents(void **state) {
    (void)state;
    struct kit kit = kit_make();
    struct record record = {.seq = 17, .time_us = 1700000000123000, .type = STR("stock.counted"),
                            .subject = STR("TEE \"red\"@WH-HAM"),
                            .meta = STR("{\"correlation\":\"c-9\",\"traceparent\":\"00-1-2-01\"}"),
                            .data = STR("{\"on_hand\":\"5\"}")};
    struct buf out;
    buf_init(&out, 0);
    assert_int_equal(event_write_cloudevent(&record, STR("main"), NULL, kit.parser, &kit.arena, &out,
                                            &kit.fault), OK);
    assert_string_equal(
        buf_cstr(&out),
        "{\"specversion\":\"1.0\",\"id\":\"main-17\",\"source\":\"/penstock/main\","
        "\"type\":\"org.penstock.stock.counted.v1\",\"subject\":\"TEE \\\"red\\\"@WH-HAM\","
        "\"time\":\"2023-11-14T22:13:20.123Z\",\"datacontenttype\":\"application/json\","
        "\"penstockseq\":17,\"correlationid\":\"c-9\",\"traceparent\":\"00-1-2-01\","
        "\"partitionkey\":\"TEE \\\"red\\\"@WH-HAM\",\"data\":{\"on_hand\":\"5\"}}");
    buf_clear(&out);
    record.meta = STR("{}");
    assert_int_equal(event_write_cloudevent(&record, STR("main"), NULL, kit.parser, &kit.arena, &out,
                                            &kit.fault), OK);
    assert_null(strstr(buf_cstr(&out), "correlationid"));
    buf_free(&out);
    kit_free(&kit);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(meta_reads_back),
        cmocka_unit_test(bad_meta_is_refused),
        cmocka_unit_test(records_become_events),
        cmocka_unit_test(records_become_cloudevents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
