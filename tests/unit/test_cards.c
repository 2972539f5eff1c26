/* Card numbers: the schemes' own test numbers in every dress are found and masked, whatever stands
 * around them; what only looks like one is left alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/pan.h"
#include "base/rng.h"
#include "retail/cards.h"

static const char *const cards[] = {
    "4111111111111111", "4012888888881881", "4222222222222",    "4000000000000000006",
    "5555555555554444", "2223003122003222", "5105105105105100", "378282246310005",
    "371449635398431",  "30569309025904",   "38520000023237",   "36006666333344",
    "6011111111111117", "6011000990139424", "3530111333300000", "3566002020360505",
    "6200000000000005", "6205500000000000004", "6759649826438453", "5000000000000611",
    "2200000000000004",
};

static const char *const dressed[] = {
    "4111 1111 1111 1111", "4111-1111-1111-1111", "4111.1111.1111.1111", "4111/1111/1111/1111",
    "4111+1111+1111+1111", "3782 822463 10005", "3782-822463-10005", "3056 930902 5904",
    "4111\xc2\xa0" "1111\xc2\xa0" "1111\xc2\xa0" "1111", "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
    "41 11 11 11 11 11 11 11", "41111111 11111111", "4222 222 222 222", "4000 0000 0000 0000 006",
};

static const char *const around[][2] = {
    {"", ""}, {" ", " "}, {"card: ", ", exp 12/27"}, {"card", ""}, {"No.", "."}, {"(", ")"},
    {"\"", "\""}, {"tok_", ""}, {";", "=2512101"}, {"%B", "^EXAMPLE/ANN^"}, {"", ".00"}, {"-", ""},
    {"2026-11-23 ", ""}, {"paid 19.99 with ", " 123"}, {"\n", "\t"}, {"\xc3\xa4", "\xe2\x82\xac"},
};

/* What is no card number, wherever it stands. */
static const char *const friends[] = {
    "4111111111111112", "1111111111111111", "0000000000000000", "411111******1111", "411111xxxxxx1111",
    "41111111111111111",            /* 17 digits are no Visa */
    "41111111111111111111111111111", /* longer than any */
    "1700000000000", "1700000000000000", "1700000000000000000", /* ms, us, ns */
    "9007199254740993", "18446744073709551615", "7300000001000",
    "0.4111111111111111", "-0.5555555555554444", "1e4111111111111111x", "3.14159265358979",
    "37.7749295000005", "122.41941550000001",
    "490154203237518", "356938035643809", "352099001761481", /* IMEI */
    "+4915799887766", "+491579988776655", "0049157998877665",
    "DE89370400440532013000", "DE89 3704 0044 0532 0130 00", "FR14 2004 1010 0505 0001 3M02 606",
    "GB29 NWBK 6016 1331 9268 19", "de12 5001 0517 0648 4898 90",
    /* what an IBAN's digits would be taken for but for its letters and its check digits */
    "DE14 4165 0001 7884 5510 90", "DE14416500017884551090", "pay to DE73 4165 0001 5296 0574 01, thanks",
    "BE56512878940490", "IBAN:BE85 5133 4338 5571.",
    "550e8400-e29b-41d4-a716-446655440000", "41111111-1111-1111-1111-111111111111",
    "a4111111111111111b", "deadbeef4111111111111111cafe", "x4111111111111111aaaaaaaaaaaa",
    "4111 111111111111", "411 1111 1111 1111 11", "4111  1111  1111  1111", "4111,1111,1111,1111",
    "2026-11-23T09:15:00.123456+01:00", "2026-11-23 09:15:00 2026-11-24 10:00:00",
    "12 34 56 78 90 12 34 56", "",
};

static void test_found(void **state) {
    char text[160];
    struct pan_place place;
    for (size_t c = 0; c < sizeof cards / sizeof *cards; c++)
        for (size_t a = 0; a < sizeof around / sizeof *around; a++) {
            int len = snprintf(text, sizeof text, "%s%s%s", around[a][0], cards[c], around[a][1]);
            if (!pan_next(str_of(text, (size_t)len), 0, &place))
                fail_msg("not found: %s", text);
            assert_int_equal(place.at, strlen(around[a][0]));
            assert_int_equal(place.len, strlen(cards[c]));
            assert_int_equal(place.digits, strlen(cards[c]));
            assert_false(place.grouped);
        }
    for (size_t d = 0; d < sizeof dressed / sizeof *dressed; d++) {
        if (!pan_next(str_c(dressed[d]), 0, &place))
            fail_msg("not found: %s", dressed[d]);
        assert_int_equal(place.at, 0);
        assert_int_equal(place.len, strlen(dressed[d]));
        assert_true(place.grouped);
    }
}

static void test_false_friends(void **state) {
    for (size_t i = 0; i < sizeof friends / sizeof *friends; i++)
        if (pan_in(str_c(friends[i])))
            fail_msg("taken for a card number: %s", friends[i]);
}

/* Wherever it stands in blocks and behind whatever; twice, too. */
/* ... and what is one all the same. */
static void test_no_false_foes(void **state) {
    assert_true(pan_in(STR("4165 0001 7884 5510 90"))); /* no country: a card and something else */
    assert_true(pan_in(STR("4165 0001 7884 5510")));
    assert_true(pan_in(STR("DE15 4165 0001 7884 5510"))); /* an IBAN's check digits do not hold */
    assert_true(pan_in(STR("56512878940490")));
    assert_true(pan_in(STR("+4111111111111111"))); /* 16 digits are no telephone's */
}

static void test_every_offset(void **state) {
    static const char fill[] = " -.0a\x00\xc2\xa0\"+";
    char text[512];
    for (size_t f = 0; f < sizeof fill - 1; f++)
        for (size_t at = 0; at < 200; at++) {
            struct pan_place place;
            memset(text, fill[f], sizeof text);
            memcpy(text + at, "x;4111111111111111;", 19);
            memcpy(text + 300, ";4111-1111-1111-1111;", 21);
            assert_true(pan_next(str_of(text, sizeof text), 0, &place));
            assert_int_equal(place.at, at + 2);
            assert_true(pan_next(str_of(text, sizeof text), place.at + place.len, &place));
            assert_int_equal(place.at, 301);
            assert_false(pan_next(str_of(text, sizeof text), place.at + place.len, &place));
            assert_false(pan_in(str_of(text + at + 2, 15)));
        }
}

static void test_masks(void **state) {
    char text[] = "a 4111111111111111 b 4111-1111-1111-1111, 378282246310005 c";
    assert_int_equal(pan_mask(text, sizeof text - 1), 3);
    assert_string_equal(text, "a 411111******1111 b 4111-11**-****-1111, 378282*****0005 c");
    assert_int_equal(pan_mask(text, sizeof text - 1), 0);
    for (size_t c = 0; c < sizeof cards / sizeof *cards; c++) { /* a number stays one, and no card's */
        char number[24];
        size_t len = strlen(cards[c]);
        memcpy(number, cards[c], len + 1);
        struct pan_place place = {0, len, (uint32_t)len, false};
        pan_mask_at(number, &place, true);
        assert_memory_equal(number, cards[c], 6);
        assert_string_equal(number + len - 4, cards[c] + len - 4);
        assert_false(pan_in(str_c(number)));
        assert_null(strchr(number, '*'));
    }
}

/* --- documents --------------------------------------------------------------------------------- */

static struct json_parser *parser;
static struct arena arena;

static const struct json *parse(const char *text) {
    const struct json *doc;
    struct fault fault = {0};
    assert_int_equal(json_parse(parser, &arena, str_c(text), false, &doc, &fault), OK);
    return doc;
}

/* Pointers joined by ", ". */
static void finds(const char *text, bool strict, const char *pointers) {
    const struct json *doc = parse(text), *masked;
    struct cards_masked found;
    struct fault fault;
    fault_init(&fault, &arena);
    uint32_t count = cards_find(doc, str_c(text), strict, &fault);
    assert_int_equal(count, cards_find(doc, STR_NONE, strict, NULL)); /* the quick look misses nothing */
    assert_int_equal(cards_mask(doc, str_c(text), strict, &arena, &masked, &found, &fault), OK);
    assert_int_equal(found.count, count);
    if (count == 0) {
        assert_ptr_equal(masked, doc);
        assert_string_equal(pointers, "");
        return;
    }
    if (!str_is(found.where, pointers))
        fail_msg("%s: %.*s", text, STR_FMT(found.where));
    assert_int_equal(cards_find(masked, STR_NONE, strict, NULL), 0);
    struct buf out;
    buf_init(&out, 0);
    json_write(&out, masked);
    parse(buf_cstr(&out)); /* still JSON */
    assert_false(memmem(out.data, out.len, "111111111111", 12));
    buf_free(&out);
    for (const struct fault_item *item = fault.first; item; item = item->next)
        assert_false(pan_in(item->pointer) || pan_in(item->detail));
}

static void test_documents(void **state) {
    arena_init(&arena, 0);
    parser = json_parser_create();
    finds("{\"note\":\"4111111111111111\"}", false, "/note");
    finds("{\"note\":4111111111111111}", false, "/note");
    finds("{\"a\":{\"b\":[1,\"x 4111 1111 1111 1111 y 5105105105105100\"]}}", false, "/a/b/1");
    finds("{\"a~/b\":\"4111111111111111\",\"c\":[[\"4111-1111-1111-1111\"]]}", false, "/a~0~1b, /c/0/0");
    finds("\"4111111111111111\"", false, "the document");
    finds("{\"4111111111111111\":true}", false, "/411111******1111");
    finds("{\"note\":\"\\u0034111111111111111\"}", false, "/note"); /* hidden in an escape */
    finds("{\"note\":\"4111\\u00201111\\u00201111 1111\"}", false, "/note");
    finds("{\"n\":\"4111\\u00a01111\\u00a01111\\u00a01111\"}", false, "/n");
    finds("{\"q\":\"a\\\"b\",\"x\":1}", false, "");
    /* identifiers: only as people write cards, or strictly */
    static const char *const ids[] = {"id", "order_id", "orderId", "orderID", "order-id", "ORDER_ID",
                                      "tracking_number", "trackingNumbers", "imei", "sku"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        char text[128], pointer[64];
        snprintf(pointer, sizeof pointer, "/%s", ids[i]);
        snprintf(text, sizeof text, "{\"%s\":\"4111111111111111\"}", ids[i]);
        finds(text, false, "");
        finds(text, true, pointer);
        snprintf(text, sizeof text, "{\"%s\":4111111111111111}", ids[i]);
        finds(text, false, "");
        snprintf(text, sizeof text, "{\"%s\":\"4111 1111 1111 1111\"}", ids[i]);
        finds(text, false, pointer);
    }
    static const char *const open[] = {"number", "reference", "card_id", "cardId", "account", "paid",
                                       "valid", "code", "receipt", "text", "card_tracking"};
    for (size_t i = 0; i < sizeof open / sizeof *open; i++) {
        char text[128], pointer[64];
        snprintf(pointer, sizeof pointer, "/%s", open[i]);
        snprintf(text, sizeof text, "{\"%s\":\"4111111111111111\"}", open[i]);
        finds(text, false, pointer);
    }
    finds("{\"ids\":[5555555555554444],\"x\":[\"4111111111111111\"]}", false, "/x/0");
    /* 13 digits, both check digits hold: an article where the name says so */
    finds("{\"ean\":\"4000000000105\",\"sku\":\"4000000000105\"}", true, "");
    finds("{\"text\":\"4000000000105\"}", false, "/text");
    finds("{\"barcode\":\"4111111111111111\"}", false, "/barcode");
    /* a telephone without its plus */
    finds("{\"phone\":\"4222222222222\",\"mobile_phone\":4222222222222}", true, "");
    finds("{\"phone\":\"4111111111111111\",\"fon\":\"4222222222222\"}", false, "/phone, /fon");
    assert_false(cards_in_id(STR("key-4111111111111111"), false));
    assert_true(cards_in_id(STR("key-4111111111111111"), true));
    assert_true(cards_in_id(STR("4111-1111-1111-1111"), false));
    json_parser_destroy(parser);
    arena_free(&arena);
}

/* Where very many are, the list of places is bounded. */
static void test_many(void **state) {
    struct buf text;
    struct cards_masked found;
    struct fault fault;
    const struct json *masked;
    arena_init(&arena, 0);
    parser = json_parser_create();
    buf_init(&text, 0);
    buf_char(&text, '[');
    for (int i = 0; i < 10000; i++)
        buf_str_add(&text, i ? STR(",\"4111111111111111\"") : STR("\"4111111111111111\""));
    buf_char(&text, ']');
    const struct json *doc = parse(buf_cstr(&text));
    fault_init(&fault, &arena);
    assert_int_equal(cards_find(doc, buf_str(&text), false, &fault), 10000);
    assert_int_equal(fault.count, 10000);
    assert_int_equal(cards_mask(doc, buf_str(&text), false, &arena, &masked, &found, &fault), OK);
    assert_int_equal(found.count, 10000);
    assert_true(found.where.len > 300 && found.where.len <= CARDS_TOLD_BYTES);
    buf_free(&text);
    json_parser_destroy(parser);
    arena_free(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found),        cmocka_unit_test(test_false_friends),
        cmocka_unit_test(test_no_false_foes), cmocka_unit_test(test_every_offset), cmocka_unit_test(test_masks),
        cmocka_unit_test(test_documents),    cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
