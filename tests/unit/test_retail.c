/* Unit tests of src/retail: money, GTIN, countries, the stock documents, and the canonical
 * order: what is filled in, a table of bad orders, sums with a rounding bound, round trips. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "retail/country.h"
#include "retail/gtin.h"
#include "retail/limits.h"
#include "retail/money.h"
#include "retail/order.h"
#include "retail/stock.h"

static struct json_parser *parser;
static struct arena arena;
static struct fault fault;

static int setup(void **state) {
    (void)state;
    parser = json_parser_create();
    arena_init(&arena, 0);
    return parser ? 0 : -1;
}
static int teardown(void **state) {
    (void)state;
    json_parser_destroy(parser);
    arena_free(&arena);
    return 0;
}

static enum err read_json(const struct shape *shape, const char *text, void **out) {
    const struct json *root;
    if (json_parse(parser, &arena, str_c(text), false, &root, &fault) != OK)
        fail_msg("the test's own JSON is bad: %s: %s", text, fault.detail);
    return shape_decode(shape, root, &arena, STR(""), out, &fault);
}

static enum err read_order(const char *text, int64_t bound, struct order **out) {
    arena_reset(&arena);
    fault_init(&fault, &arena);
    void *doc;
    enum err err = read_json(&order_shape, text, &doc);
    *out = doc;
    return err == OK ? order_check(*out, bound, &arena, &fault) : err;
}

static bool has_fault(const char *pointer, const char *part) {
    for (struct fault_item *item = fault.first; item; item = item->next)
        if (str_is(item->pointer, pointer) &&
            memmem(item->detail.ptr, item->detail.len, part, strlen(part)))
            return true;
    return false;
}

/* --- money, identifiers ---------------------------------------------------------------- */
static void currencies_have_their_decimals(void **state) {
    (void)state;
    static const struct {
        const char *code;
        int decimals;
    } rows[] = {{"EUR", 2}, {"USD", 2}, {"JPY", 0}, {"KRW", 0}, {"KWD", 3}, {"TND", 3}, {"CLF", 4},
                {"CLP", 0}, {"AED", 2}, {"ZWG", 2}, {"BIF", 0}, {"XPF", 0}, {"BHD", 3}, {"UYW", 4},
                {"GBP", 2}, {"CHF", 2}, {"HUF", 2}, {"ISK", 0}, {"DEM", -1}, {"XXX", -1},
                {"XAU", -1}, {"eur", -1}, {"EU", -1}, {"EURO", -1}, {"", -1}, {"D A", -1},
                {" AE", -1}, {"E\xc3\x9c", -1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (currency_decimals(str_c(rows[i].code)) != rows[i].decimals)
            fail_msg("%s", rows[i].code);
    uint32_t known = 0;
    for (char a = 'A'; a <= 'Z'; a++)
        for (char b = 'A'; b <= 'Z'; b++)
            for (char c = 'A'; c <= 'Z'; c++)
                known += currency_decimals(str_of((char[]){a, b, c}, 3)) >= 0;
    assert_int_equal(known, 168);
}

static void money_is_exact(void **state) {
    (void)state;
    static const struct {
        const char *text, *currency, *again;
        int64_t minor;
    } rows[] = {{"19.99", "EUR", "19.99", 1999}, {"19.9", "EUR", "19.90", 1990}, {"-0.05", "EUR", "-0.05", -5},
                {"19.9900", "EUR", "19.99", 1999}, {"1999", "JPY", "1999", 1999},
                {"1999.0", "JPY", "1999", 1999}, {"1.234", "KWD", "1.234", 1234},
                {"0", "EUR", "0.00", 0}, {"1.0001", "CLF", "1.0001", 10001},
                {"92233720368547758.07", "EUR", "92233720368547758.07", INT64_MAX}};
    struct buf buf;
    buf_init(&buf, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t minor;
        assert_true(money_parse(str_c(rows[i].text), str_c(rows[i].currency), &minor));
        assert_int_equal(minor, rows[i].minor);
        buf_clear(&buf);
        money_write(&buf, minor, str_c(rows[i].currency));
        assert_string_equal(buf_cstr(&buf), rows[i].again);
    }
    buf_free(&buf);
    static const char *const bad[][2] = {{"19.999", "EUR"}, {"19.5", "JPY"}, {"1", "XXX"}, {"1,5", "EUR"},
                                         {"", "EUR"}, {"1e2", "EUR"}, {"92233720368547758.08", "EUR"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int64_t minor;
        assert_false(money_parse(str_c(bad[i][0]), str_c(bad[i][1]), &minor));
    }
}

static void identifiers_have_check_digits(void **state) {
    (void)state;
    static const char *const good[][2] = {
        {"4006381333931", "04006381333931"}, {"73513537", "00000073513537"},
        {"036000291452", "00036000291452"}, {"10614141543219", "10614141543219"},
        {"04006381333931", "04006381333931"}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        char out[14];
        assert_true(gtin_normalise(str_c(good[i][0]), out));
        assert_memory_equal(out, good[i][1], 14);
        char wrong[16];
        for (size_t at = 0; good[i][0][at]; at++) { /* one digit off is always found */
            strcpy(wrong, good[i][0]);
            wrong[at] = (char)('0' + (wrong[at] - '0' + 1) % 10);
            assert_false(gtin_normalise(str_c(wrong), out));
        }
    }
    static const char *const bad[] = {"", "0", "123", "400638133393", "400638133393X", "4006381333931 ",
                                      "40063813339310", "004006381333931", "-006381333931"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char out[14];
        assert_false(gtin_normalise(str_c(bad[i]), out));
    }
    assert_true(gln_valid(STR("4012345000009")));
    assert_false(gln_valid(STR("4012345000008")) || gln_valid(STR("73513537")));
    assert_true(country_valid(STR("DE")) && country_valid(STR("AD")) && country_valid(STR("ZW")) &&
                country_valid(STR("XK")));
    assert_false(country_valid(STR("de")) || country_valid(STR("UK")) || country_valid(STR("DEU")) ||
                 country_valid(STR("")) || country_valid(STR("E ")));
}

static void stock_documents_are_read(void **state) {
    (void)state;
    arena_reset(&arena);
    fault_init(&fault, &arena);
    void *doc;
    assert_int_equal(read_json(&stock_count_shape,
                               "{\"sku\":\"A\",\"location\":\"W\",\"on_hand\":\"120\"}", &doc), OK);
    assert_int_equal(((struct stock_count *)doc)->on_hand, 120 * QTY_ONE);
    assert_int_equal(read_json(&stock_adjustment_shape,
                               "{\"sku\":\"A\",\"location\":\"W\",\"delta\":\"-1.5\",\"reason\":\"broken\"}",
                               &doc), OK);
    assert_int_equal(((struct stock_adjustment *)doc)->delta, -1500000);
    assert_int_equal(read_json(&stock_receipt_shape,
                               "{\"location\":\"W\",\"items\":[{\"sku\":\"A\",\"quantity\":\"3\"}]}", &doc), OK);
    assert_int_equal(read_json(&hold_request_shape,
                               "{\"channel\":\"c\",\"sku\":\"A\",\"quantity\":\"1\",\"expires_in_s\":5}",
                               &doc), OK);
    assert_int_equal(fault.count, 0);
    static const struct {
        const struct shape *shape;
        const char *text, *pointer;
    } bad[] = {
        {&stock_count_shape, "{\"sku\":\"A\",\"location\":\"W\"}", "/on_hand"},
        {&stock_count_shape, "{\"sku\":\"A\",\"location\":\"W\",\"on_hand\":\"-1\"}", "/on_hand"},
        {&stock_count_shape, "{\"sku\":\"A\",\"location\":\"W\",\"on_hand\":120}", "/on_hand"},
        {&stock_adjustment_shape, "{\"sku\":\"A\",\"location\":\"W\",\"reason\":\"x\"}", "/delta"},
        {&stock_receipt_shape, "{\"location\":\"W\",\"items\":[]}", "/items"},
        {&stock_receipt_shape, "{\"location\":\"W\",\"items\":[{\"sku\":\"A\",\"quantity\":\"0\"}]}",
         "/items/0/quantity"},
        {&hold_request_shape, "{\"expires_in_s\":0}", "/expires_in_s"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fault_init(&fault, &arena);
        assert_int_equal(read_json(bad[i].shape, bad[i].text, &doc), ERR_INVALID);
        assert_true(fault.count == 1 && str_is(fault.first->pointer, bad[i].pointer));
    }
}

/* --- the order -------------------------------------------------------------------------- */
#define HEAD                                                                                       \
    "{\"channel\":\"web-de\",\"channel_order_id\":\"10045\","                                      \
    "\"placed_at\":\"2026-11-23T09:15:00+01:00\",\"currency\":\"EUR\""
#define LINE "{\"sku\":\"A\",\"quantity\":\"2\",\"unit_price\":1999,\"total\":3998}"
#define REST ",\"lines\":[" LINE "],\"totals\":{\"grand\":3998}"
#define TAXED                                                                                      \
    ",\"lines\":[{\"sku\":\"A\",\"quantity\":\"2\",\"unit_price\":1999,\"total\":3998,\"taxes\":[{"  \
    "\"code\":\"DE-STD\",\"rate\":\"0.19\",\"base\":3360,\"amount\":638}]}],\"shipping\":[{"       \
    "\"total\":490,\"taxes\":[{\"code\":\"DE-STD\",\"rate\":\"0.19\",\"base\":412,\"amount\":78}]}]"

static void what_is_left_out_is_filled_in(void **state) {
    (void)state;
    struct order *order;
    if (read_order(HEAD TAXED ",\"tenders\":[{\"kind\":\"card\",\"amount\":0}],"
                        "\"totals\":{\"grand\":4488}}", 0, &order) != OK)
        fail_msg("%s", fault.detail);
    struct buf buf;
    buf_init(&buf, 0);
    shape_encode(&order_shape, order, &buf);
    assert_string_equal(
        buf_cstr(&buf),
        HEAD ",\"prices_include_tax\":true,\"lines\":[{\"line_id\":\"1\",\"sku\":\"A\","
             "\"quantity\":\"2\",\"unit_price\":1999,\"price_quantity\":\"1\",\"discount\":0,"
             "\"total\":3998,\"taxes\":[{\"code\":\"DE-STD\",\"rate\":\"0.19\",\"base\":3360,"
             "\"amount\":638}]}],\"shipping\":[{\"line_id\":\"s1\",\"total\":490,\"taxes\":[{\"code\":"
             "\"DE-STD\",\"rate\":\"0.19\",\"base\":412,\"amount\":78}]}],\"tenders\":[{\"tender_id\":"
             "\"t1\",\"kind\":\"card\",\"amount\":0}],\"totals\":{\"lines\":3998,\"discount\":0,"
             "\"shipping\":490,\"tax\":716,\"rounding\":0,\"grand\":4488}}");
    buf_free(&buf);
}

static const char *const good_orders[] = {
    HEAD REST "}",
    HEAD REST ",\"shipping\":[],\"tenders\":[]}",
    HEAD REST ",\"ext\":{\"any\":[1,{\"thing\":null}]},\"bill_to\":{},\"customer\":null}",
    HEAD TAXED ",\"totals\":{\"lines\":3998,\"discount\":0,\"shipping\":490,\"tax\":716,\"rounding\":0,"
               "\"grand\":4488}}",
    HEAD TAXED ",\"prices_include_tax\":false,\"totals\":{\"grand\":5204}}",
    HEAD TAXED ",\"totals\":{\"rounding\":2,\"grand\":4490}}",
    HEAD TAXED ",\"totals\":{\"rounding\":-3,\"grand\":4485}}",
    /* tax without tax lines, shipping without shipping lines: nothing contradicts the totals */
    HEAD ",\"lines\":[" LINE "],\"totals\":{\"tax\":638,\"shipping\":490,\"grand\":4488}}",
    HEAD ",\"prices_include_tax\":false,\"lines\":[" LINE "],\"totals\":{\"tax\":760,\"grand\":4758}}",
    /* prices below a cent, halves, fractions */
    HEAD ",\"lines\":[{\"sku\":\"SCREW\",\"quantity\":\"3\",\"unit_price\":1250,\"price_quantity\":\"1000\","
         "\"total\":4}],\"totals\":{\"grand\":4}}",
    HEAD ",\"lines\":[{\"sku\":\"A\",\"quantity\":\"0.5\",\"unit_price\":1,\"total\":1}],\"totals\":{\"grand\":1}}",
    HEAD ",\"lines\":[{\"sku\":\"A\",\"quantity\":\"1.255\",\"unit_price\":199,\"total\":250}],"
         "\"totals\":{\"grand\":250}}",
    HEAD ",\"lines\":[{\"sku\":\"A\",\"quantity\":\"3\",\"unit_price\":1000,\"discount\":3000,\"total\":0}],"
         "\"totals\":{\"discount\":3000,\"grand\":0}}",
    HEAD ",\"lines\":[" LINE "," LINE "],\"totals\":{\"lines\":7996,\"grand\":7996}}",
    /* three times a third of a cent of tax: the document says 1, the lines say 0 */
    HEAD ",\"tax_rounding\":\"document\",\"prices_include_tax\":false,\"lines\":["
         "{\"sku\":\"A\",\"quantity\":\"1\",\"unit_price\":2,\"total\":2,\"taxes\":[{\"code\":\"T\",\"rate\":"
         "\"0.17\",\"base\":2,\"amount\":0}]},"
         "{\"sku\":\"B\",\"quantity\":\"1\",\"unit_price\":2,\"total\":2,\"taxes\":[{\"code\":\"T\",\"rate\":"
         "\"0.17\",\"base\":2,\"amount\":0}]}],\"totals\":{\"tax\":1,\"grand\":5}}",
    HEAD ",\"tax_rounding\":\"document\",\"prices_include_tax\":false,\"lines\":["
         "{\"sku\":\"A\",\"quantity\":\"2\",\"unit_price\":2,\"total\":4,\"taxes\":[{\"code\":\"T\",\"rate\":"
         "\"0.17\",\"base\":4,\"amount\":0}]}],\"totals\":{\"grand\":4}}",
    HEAD ",\"base_currency\":\"SEK\",\"exchange_rate\":\"11.4567\",\"exchange_rate_at\":"
         "\"2026-11-23T00:00:00Z\",\"exchange_rate_source\":\"ECB\"" REST "}",
    "{\"channel\":\"c\",\"channel_order_id\":\"1\",\"placed_at\":\"2026-11-23T09:15:00.123456Z\","
    "\"currency\":\"JPY\"" REST "}",
};

/* What a bad order's only faults' pointer is, and a part of its text. */
static const struct {
    const char *text, *pointer, *part;
} bad_orders[] = {
    {"[]", "", "must be an object"},
    {"{\"channel_order_id\":\"1\",\"placed_at\":\"2026-11-23T09:15:00Z\",\"currency\":\"EUR\"" REST "}",
     "/channel", "is required"},
    {"{\"channel\":\"c\",\"placed_at\":\"2026-11-23T09:15:00Z\",\"currency\":\"EUR\"" REST "}",
     "/channel_order_id", "is required"},
    {"{\"channel\":\"c\",\"channel_order_id\":\"1\",\"currency\":\"EUR\"" REST "}", "/placed_at", "is required"},
    {"{\"channel\":\"c\",\"channel_order_id\":\"1\",\"placed_at\":\"2026-11-23T09:15:00Z\"" REST "}",
     "/currency", "is required"},
    {"{\"channel\":\"c\",\"channel_order_id\":\"1\",\"placed_at\":\"2026-11-23T09:15:00\",\"currency\":"
     "\"EUR\"" REST "}", "/placed_at", "a time with offset"},
    {"{\"channel\":\"c\",\"channel_order_id\":\"1\",\"placed_at\":\"2026-11-23\",\"currency\":\"EUR\"" REST "}",
     "/placed_at", "a time with offset"},
    {"{\"channel\":\"c\",\"channel_order_id\":\"1\",\"placed_at\":1764000000,\"currency\":\"EUR\"" REST "}",
     "/placed_at", "a time with offset"},
    {"{\"channel\":\"\",\"channel_order_id\":\"1\",\"placed_at\":\"2026-11-23T09:15:00Z\",\"currency\":\"EUR\""
     REST "}", "/channel", "must not be empty"},
    {"{\"channel\":\"c\",\"channel_order_id\":10045,\"placed_at\":\"2026-11-23T09:15:00Z\",\"currency\":\"EUR\""
     REST "}", "/channel_order_id", "must be a string"},
    {"{\"channel\":\"c\",\"channel_order_id\":\"1\",\"placed_at\":\"2026-11-23T09:15:00Z\",\"currency\":\"EUX\""
     REST "}", "/currency", "not an active currency"},
    {"{\"channel\":\"c\",\"channel_order_id\":\"1\",\"placed_at\":\"2026-11-23T09:15:00Z\",\"currency\":\"eur\""
     REST "}", "/currency", "not an active currency"},
    {"{\"channel\":\"c\",\"channel_order_id\":\"1\",\"placed_at\":\"2026-11-23T09:15:00Z\",\"currency\":\"XXX\""
     REST "}", "/currency", "not an active currency"},
    {HEAD ",\"totals\":{\"grand\":0}}", "/lines", "is required"},
    {HEAD ",\"lines\":[],\"totals\":{\"grand\":0}}", "/lines", "at least 1 element"},
    {HEAD ",\"lines\":{},\"totals\":{\"grand\":0}}", "/lines", "must be an array"},
    {HEAD ",\"lines\":[null],\"totals\":{\"grand\":0}}", "/lines/0", "must be an object"},
    {HEAD ",\"lines\":[" LINE "]}", "/totals", "is required"},
    {HEAD ",\"lines\":[" LINE "],\"totals\":{}}", "/totals/grand", "is required"},
    {HEAD ",\"lines\":[" LINE "],\"totals\":{\"grand\":\"3998\"}}", "/totals/grand", "minor units"},
    {HEAD ",\"lines\":[" LINE "],\"totals\":{\"grand\":39.98}}", "/totals/grand", "not 39.98"},
    {HEAD ",\"lines\":[" LINE "],\"totals\":{\"grand\":3998,\"gross\":1}}", "/totals/gross", "not a member"},
    {HEAD ",\"lines\":[{\"quantity\":\"2\",\"unit_price\":1999,\"total\":3998}],\"totals\":{\"grand\":3998}}",
     "/lines/0/sku", "is required"},
    {HEAD ",\"lines\":[{\"sku\":\"A\",\"unit_price\":1999,\"total\":3998}],\"totals\":{\"grand\":3998}}",
     "/lines/0/quantity", "is required"},
    {HEAD ",\"lines\":[{\"sku\":\"A\",\"quantity\":\"2\",\"total\":3998}],\"totals\":{\"grand\":3998}}",
     "/lines/0/unit_price", "is required"},
    {HEAD ",\"lines\":[{\"sku\":\"A\",\"quantity\":\"2\",\"unit_price\":1999}],\"totals\":{\"grand\":3998}}",
     "/lines/0/total", "is required"},
#define LINE_WITH(quantity, price, total, more)                                                    \
    HEAD ",\"lines\":[{\"sku\":\"A\",\"quantity\":" quantity ",\"unit_price\":" price ",\"total\":" total more \
         "}],\"totals\":{\"grand\":3998}}"
    {LINE_WITH("2", "1999", "3998", ""), "/lines/0/quantity", "a decimal number in a string"},
    {LINE_WITH("\"0\"", "1999", "3998", ""), "/lines/0/quantity", "at least 0.000001"},
    {LINE_WITH("\"-2\"", "1999", "3998", ""), "/lines/0/quantity", "at least 0.000001"},
    {LINE_WITH("\"2.0000001\"", "1999", "3998", ""), "/lines/0/quantity", "at most 6 decimals"},
    {LINE_WITH("\"1e0\"", "1999", "3998", ""), "/lines/0/quantity", "a decimal number"},
    {LINE_WITH("\"1000000001\"", "1999", "3998", ""), "/lines/0/quantity", "at most 1000000000"},
    {LINE_WITH("\"99999999999999999999\"", "1999", "3998", ""), "/lines/0/quantity", "a decimal number"},
    {LINE_WITH("\"2\"", "19.99", "3998", ""), "/lines/0/unit_price", "not 19.99"},
    {LINE_WITH("\"2\"", "\"1999\"", "3998", ""), "/lines/0/unit_price", "minor units"},
    {LINE_WITH("\"2\"", "-1999", "3998", ""), "/lines/0/unit_price", "at least 0"},
    {LINE_WITH("\"2\"", "99999999999999999999", "3998", ""), "/lines/0/unit_price", "64 bits"},
    {LINE_WITH("\"2\"", "1000000000000001", "3998", ""), "/lines/0/unit_price", "at most"},
    {LINE_WITH("\"2\"", "1999", "null", ""), "/lines/0/total", "must not be null"},
    {LINE_WITH("\"2\"", "1999", "3998", ",\"discount\":-1"), "/lines/0/discount", "at least 0"},
    {LINE_WITH("\"2\"", "1999", "3998", ",\"price_quantity\":\"0\""), "/lines/0/price_quantity", "at least"},
    {LINE_WITH("\"2\"", "1999", "3998", ",\"colour\":\"red\""), "/lines/0/colour", "not a member"},
    {LINE_WITH("\"2\"", "1999", "3998", ",\"sku\":\"B\""), "/lines/0/sku", "given twice"},
    {LINE_WITH("\"2\"", "1999", "3998", ",\"taxes\":[{\"amount\":1}]"), "/lines/0/taxes/0/code", "is required"},
    {LINE_WITH("\"2\"", "1999", "3998", ",\"taxes\":[{\"code\":\"T\"}]"), "/lines/0/taxes/0/amount",
     "is required"},
    {LINE_WITH("\"2\"", "1999", "3998", ",\"taxes\":[{\"code\":\"T\",\"amount\":1,\"rate\":0.19}]"),
     "/lines/0/taxes/0/rate", "in a string"},
    {LINE_WITH("\"2\"", "1999", "3998", ",\"taxes\":[{\"code\":\"T\",\"amount\":1,\"rate\":\"-0.19\"}]"),
     "/lines/0/taxes/0/rate", "at least 0"},
    {LINE_WITH("\"2\"", "1999", "3998", ",\"taxes\":{\"code\":\"T\"}"), "/lines/0/taxes", "an array"},
    {HEAD REST ",\"tax_rounding\":\"none\"}", "/tax_rounding", "one of \"line\", \"document\""},
    {HEAD REST ",\"prices_include_tax\":\"yes\"}", "/prices_include_tax", "true or false"},
    {HEAD REST ",\"ship_to\":{\"country\":\"de\"}}", "/ship_to/country", "ISO 3166"},
    {HEAD REST ",\"bill_to\":{\"country\":\"UK\"}}", "/bill_to/country", "ISO 3166"},
    {HEAD REST ",\"ship_to\":{\"country\":\"DEU\"}}", "/ship_to/country", "at most 2"},
    {HEAD REST ",\"ship_to\":{\"street\":\"Hafenstr. 1\"}}", "/ship_to/street", "an array"},
    {HEAD REST ",\"customer\":{\"email\":5}}", "/customer/email", "must be a string, not a number"},
    {HEAD REST ",\"base_currency\":\"SEK\"}", "/exchange_rate", "is required where"},
    {HEAD REST ",\"exchange_rate\":\"1.1\"}", "/base_currency", "is required where"},
    {HEAD REST ",\"base_currency\":\"ABC\",\"exchange_rate\":\"1.1\"}", "/base_currency", "ISO 4217"},
    {HEAD REST ",\"base_currency\":\"SEK\",\"exchange_rate\":\"0\"}", "/exchange_rate", "at least"},
    {HEAD REST ",\"tenders\":[{\"amount\":1}]}", "/tenders/0/kind", "is required"},
    {HEAD REST ",\"tenders\":[{\"kind\":\"card\",\"amount\":-1}]}", "/tenders/0/amount", "at least 0"},
    {HEAD REST ",\"tenders\":[{\"kind\":\"card\",\"amount\":1,\"state\":\"paid\"}]}", "/tenders/0/state", "one of"},
    {HEAD REST ",\"shipping\":[{\"method\":\"parcel\"}]}", "/shipping/0/total", "is required"},
    /* ids */
    {HEAD ",\"lines\":[{\"line_id\":\"7\",\"sku\":\"A\",\"quantity\":\"1\",\"unit_price\":1,\"total\":1},"
          "{\"line_id\":\"7\",\"sku\":\"B\",\"quantity\":\"1\",\"unit_price\":1,\"total\":1}],"
          "\"totals\":{\"grand\":2}}", "/lines/1/line_id", "already the line_id of element 0"},
    {HEAD ",\"lines\":[{\"line_id\":\"2\",\"sku\":\"A\",\"quantity\":\"1\",\"unit_price\":1,\"total\":1},"
          "{\"sku\":\"B\",\"quantity\":\"1\",\"unit_price\":1,\"total\":1}],\"totals\":{\"grand\":2}}",
     "/lines/1/line_id", "\"2\" is already"},
    {HEAD REST ",\"tenders\":[{\"tender_id\":\"a\",\"kind\":\"card\",\"amount\":1},"
               "{\"tender_id\":\"a\",\"kind\":\"card\",\"amount\":1}]}", "/tenders/1/tender_id", "already"},
    /* sums */
    {LINE_WITH("\"2\"", "2000", "3998", ""), "/lines/0/total", "must be 4000"},
    {LINE_WITH("\"2\"", "1999", "3998", ",\"discount\":1"), "/lines/0/total",
     "must be 3997 (quantity 2 x unit_price 1999 - discount 1), not 3998: differs by 1"},
    {LINE_WITH("\"2\"", "1999", "3998", ",\"discount\":3999"), "/lines/0/discount", "more than"},
    {LINE_WITH("\"2\"", "1999", "3998", ",\"price_quantity\":\"0.5\""), "/lines/0/total", "must be 7996"},
    {LINE_WITH("\"1000000000\"", "1000000000000000", "3998", ""), "/lines/0/unit_price", "too large"},
    {HEAD ",\"lines\":[" LINE "],\"totals\":{\"grand\":3999}}", "/totals/grand",
     "must be 3998 (lines 3998 + shipping 0 + rounding 0), not 3999: differs by 1"},
    {HEAD ",\"lines\":[" LINE "],\"totals\":{\"grand\":3997}}", "/totals/grand", "differs by -1"},
    {HEAD ",\"lines\":[" LINE "],\"totals\":{\"rounding\":1,\"grand\":3998}}", "/totals/grand", "must be 3999"},
    {HEAD ",\"lines\":[" LINE "],\"totals\":{\"lines\":3999,\"grand\":3998}}", "/totals/lines", "must be 3998"},
    {HEAD ",\"lines\":[" LINE "],\"totals\":{\"discount\":1,\"grand\":3998}}", "/totals/discount",
     "must be 0"},
    {HEAD TAXED ",\"totals\":{\"shipping\":500,\"grand\":4488}}", "/totals/shipping", "must be 490"},
    {HEAD TAXED ",\"totals\":{\"tax\":717,\"grand\":4488}}", "/totals/tax", "must be 716"},
    {HEAD TAXED ",\"totals\":{\"grand\":3998}}", "/totals/grand", "must be 4488"},
    {HEAD TAXED ",\"prices_include_tax\":false,\"totals\":{\"grand\":4488}}", "/totals/grand",
     "must be 5204 (lines 3998 + shipping 490 + tax 716 + rounding 0)"},
    {HEAD REST ",\"shipping\":[{\"total\":490}]}", "/totals/grand", "must be 4488"},
    {HEAD ",\"lines\":[" LINE "],\"shipping\":[],\"totals\":{\"shipping\":490,\"grand\":3998}}",
     "/totals/shipping", "must be 0"},
};

static void good_orders_pass_and_bad_ones_say_why(void **state) {
    (void)state;
    struct order *order;
    for (size_t i = 0; i < sizeof good_orders / sizeof good_orders[0]; i++)
        if (read_order(good_orders[i], 0, &order) != OK)
            fail_msg("%s: %s", good_orders[i], fault.detail);
    size_t count = sizeof bad_orders / sizeof bad_orders[0];
    assert_true(count >= 60);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(read_order(bad_orders[i].text, 0, &order), ERR_INVALID);
        if (fault.count != 1 || !has_fault(bad_orders[i].pointer, bad_orders[i].part))
            fail_msg("%s: %u faults: %s", bad_orders[i].text, fault.count, fault.detail);
    }
}

static void all_wrong_sums_are_told(void **state) {
    (void)state;
    struct order *order;
    assert_int_equal(read_order(HEAD TAXED ",\"tenders\":[{\"tender_id\":\"x\",\"kind\":\"a\",\"amount\":1},{"
                                           "\"tender_id\":\"x\",\"kind\":\"a\",\"amount\":1}],"
                                           "\"ship_to\":{\"country\":\"ZZ\"},"
                                           "\"totals\":{\"lines\":1,\"discount\":1,\"shipping\":1,\"tax\":1,"
                                           "\"grand\":1}}", 0, &order), ERR_INVALID);
    assert_int_equal(fault.count, 7);
}

/* A shop's own rounding, within the bound, becomes an explicit rounding. */
static void differences_within_the_bound_become_rounding(void **state) {
    (void)state;
    struct order *order;
#define GRAND(grand) HEAD TAXED ",\"totals\":{\"lines\":3998,\"grand\":" grand "}}"
    assert_int_equal(read_order(GRAND("4491"), 5, &order), OK);
    assert_int_equal(order->totals->rounding, 3);
    assert_int_equal(order->totals->grand, 4491);
    assert_int_equal(read_order(GRAND("4483"), 5, &order), OK);
    assert_int_equal(order->totals->rounding, -5);
    assert_int_equal(read_order(GRAND("4482"), 5, &order), ERR_INVALID);
    assert_int_equal(fault.count, 1);
    assert_true(has_fault("/totals/grand", "differs by -6"));
    /* a line and the partial totals are off by one, grand agrees with them */
    assert_int_equal(read_order(HEAD ",\"lines\":[{\"sku\":\"A\",\"quantity\":\"2\",\"unit_price\":1999,"
                                     "\"total\":3997}],\"totals\":{\"lines\":3998,\"tax\":5,\"grand\":3998}}",
                                5, &order), OK);
    assert_int_equal(list_at(order->lines, struct order_line, 0)->total, 3997);
    assert_int_equal(order->totals->lines, 3997);
    assert_int_equal(order->totals->rounding, 1);
    assert_int_equal(order->totals->tax, 5);
    /* six lines off by one cent each are six cents */
    struct buf buf;
    buf_init(&buf, 0);
    for (int lines = 5; lines <= 6; lines++) {
        buf_clear(&buf);
        buf_lit(&buf, HEAD ",\"lines\":[");
        for (int i = 0; i < lines; i++)
            buf_printf(&buf, "%s{\"sku\":\"A\",\"quantity\":\"1\",\"unit_price\":100,\"total\":%d}",
                       i ? "," : "", i % 2 ? 101 : 99);
        buf_printf(&buf, "],\"totals\":{\"grand\":%d}}", lines * 100 - lines % 2);
        assert_int_equal(read_order(buf_cstr(&buf), 5, &order), lines == 5 ? OK : ERR_INVALID);
    }
    buf_free(&buf);
    assert_int_equal(fault.count, 6);
    /* a stated rounding is mended, and what is too large for any bound is refused */
    assert_int_equal(read_order(HEAD ",\"lines\":[" LINE "],\"totals\":{\"rounding\":0,\"grand\":4000}}", 5,
                                &order), OK);
    assert_int_equal(order->totals->rounding, 2);
    assert_int_equal(read_order(LINE_WITH("\"1000000000\"", "1000000000000000", "3998", ""), 5, &order),
                     ERR_INVALID);
    assert_int_equal(fault.count, 1);
}

static void long_orders_are_checked_quickly(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 0);
    for (int lines = 5000; lines <= 5001; lines++) {
        buf_clear(&buf);
        buf_lit(&buf, HEAD ",\"lines\":[");
        for (int i = 0; i < lines; i++)
            buf_printf(&buf, "%s{\"line_id\":\"%d\",\"sku\":\"A\",\"quantity\":\"1\",\"unit_price\":1,\"total\":1}",
                       i ? "," : "", i == 4999 ? 17 : i);
        buf_printf(&buf, "],\"totals\":{\"grand\":%d}}", lines);
        struct order *order;
        assert_int_equal(read_order(buf_cstr(&buf), 0, &order), ERR_INVALID);
        assert_int_equal(fault.count, 1);
        assert_true(lines == 5000 ? has_fault("/lines/4999/line_id", "element 17")
                                  : has_fault("/lines", "at most 5000 elements, not 5001"));
    }
    buf_free(&buf);
}

/* --- random orders ---------------------------------------------------------------------- */
static struct rng_seeded rng;
static uint64_t below(uint64_t n) { return rng_below(&rng.rng, n); }

static struct shape_list any_taxes(int64_t *sum) {
    struct shape_list list = {.count = (uint32_t)below(3)};
    list.items = arena_array(&arena, list.count + 1, sizeof(struct tax_line));
    for (uint32_t i = 0; i < list.count; i++) {
        struct tax_line *tax = list_at(list, struct tax_line, i);
        *tax = (struct tax_line){.code = STR("T-1"), .rate = (int64_t)below(RATE_ONE),
                                 .base = (int64_t)below(100000), .amount = (int64_t)below(20000)};
        shape_mark(tax, TAX_CODE);
        shape_mark(tax, TAX_AMOUNT);
        tax->has |= below(4) << TAX_RATE;
        *sum += tax->amount;
    }
    return list;
}

static void any_line(struct order_line *line, int64_t *tax) {
    *line = (struct order_line){.sku = arena_printf(&arena, "SKU %u \xc3\xa9", (unsigned)below(1000)),
                                .quantity = 1 + (int64_t)below(20 * QTY_ONE),
                                .unit_price = (int64_t)below(100000), .price_quantity = QTY_ONE};
    if (below(2)) {
        line->price_quantity = 1 + (int64_t)below(1000 * QTY_ONE);
        shape_mark(line, LINE_PRICE_QUANTITY);
    }
    int64_t gross;
    assert_true(decimal_mul_div(line->quantity, line->unit_price, line->price_quantity, ROUND_HALF_UP, &gross));
    if (below(2)) {
        line->discount = (int64_t)below((uint64_t)gross + 1);
        shape_mark(line, LINE_DISCOUNT);
    }
    line->total = gross - line->discount;
    line->taxes = any_taxes(tax);
    line->has |= UINT64_C(1) << LINE_SKU | UINT64_C(1) << LINE_QUANTITY | UINT64_C(1) << LINE_UNIT_PRICE |
                 UINT64_C(1) << LINE_TOTAL | UINT64_C(1) << LINE_TAXES;
}

static struct order *any_order(void) {
    struct order *order = arena_new(&arena, struct order);
    struct order_totals *totals = order->totals = arena_new(&arena, struct order_totals);
    int64_t tax = 0;
    *order = (struct order){.channel = STR("web"), .channel_order_id = STR("1"), .currency = STR("EUR"),
                            .placed_at = {1764000000000000 + (int64_t)below(1000000000), 60},
                            .prices_include_tax = below(2), .totals = totals};
    order->lines.count = 1 + (uint32_t)below(25);
    order->lines.items = arena_array(&arena, order->lines.count, sizeof(struct order_line));
    for (uint32_t i = 0; i < order->lines.count; i++) {
        any_line(list_at(order->lines, struct order_line, i), &tax);
        totals->lines += list_at(order->lines, struct order_line, i)->total;
        totals->discount += list_at(order->lines, struct order_line, i)->discount;
    }
    order->shipping.count = (uint32_t)below(3);
    order->shipping.items = arena_array(&arena, order->shipping.count + 1, sizeof(struct shipping_line));
    for (uint32_t i = 0; i < order->shipping.count; i++) {
        struct shipping_line *line = list_at(order->shipping, struct shipping_line, i);
        line->total = (int64_t)below(2000);
        line->taxes = any_taxes(&tax);
        shape_mark(line, SHIPPING_TOTAL);
        shape_mark(line, SHIPPING_TAXES);
        totals->shipping += line->total;
    }
    totals->tax = tax;
    totals->rounding = below(2) ? (int64_t)below(5) - 2 : 0;
    totals->grand = totals->lines + totals->shipping + totals->rounding + (order->prices_include_tax ? 0 : tax);
    if (totals->grand < 0) {
        totals->grand -= totals->rounding;
        totals->rounding = 0;
    }
    totals->has = (below(16) | UINT64_C(1) << TOTALS_ROUNDING | UINT64_C(1) << TOTALS_GRAND);
    order->has = UINT64_C(1) << ORDER_CHANNEL | UINT64_C(1) << ORDER_CHANNEL_ORDER_ID |
                 UINT64_C(1) << ORDER_PLACED_AT | UINT64_C(1) << ORDER_CURRENCY |
                 UINT64_C(1) << ORDER_PRICES_INCLUDE_TAX | UINT64_C(1) << ORDER_LINES |
                 UINT64_C(1) << ORDER_SHIPPING | UINT64_C(1) << ORDER_TOTALS;
    return order;
}

static void random_orders_pass_and_read_back(void **state) {
    (void)state;
    rng_seeded_init(&rng, 5);
    struct buf text, again;
    buf_init(&text, 0);
    buf_init(&again, 0);
    for (int i = 0; i < 3000; i++) {
        arena_reset(&arena);
        struct order *order = any_order(), *back;
        int64_t tax = order->totals->tax;
        buf_clear(&text);
        buf_clear(&again);
        shape_encode(&order_shape, order, &text);
        if (read_order(buf_cstr(&text), 0, &back) != OK)
            fail_msg("%s: %s", fault.detail, buf_cstr(&text));
        assert_int_equal(back->totals->tax, tax);
        assert_int_equal(back->totals->has, 63);
        shape_encode(&order_shape, back, &again);
        /* what was checked and filled in is stable: read again it changes no more */
        assert_int_equal(read_order(buf_cstr(&again), 0, &back), OK);
        buf_clear(&text);
        shape_encode(&order_shape, back, &text);
        assert_true(str_eq(buf_str(&text), buf_str(&again)));
        /* and one cent too much is always found */
        back->totals->grand++;
        assert_int_equal(order_check(back, 0, &arena, &fault), ERR_INVALID);
    }
    buf_free(&text);
    buf_free(&again);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(currencies_have_their_decimals),
        cmocka_unit_test(money_is_exact),
        cmocka_unit_test(identifiers_have_check_digits),
        cmocka_unit_test(stock_documents_are_read),
        cmocka_unit_test(what_is_left_out_is_filled_in),
        cmocka_unit_test(good_orders_pass_and_bad_ones_say_why),
        cmocka_unit_test(all_wrong_sums_are_told),
        cmocka_unit_test(differences_within_the_bound_become_rounding),
        cmocka_unit_test(long_orders_are_checked_quickly),
        cmocka_unit_test(random_orders_pass_and_read_back),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
