/* demo_orders: what the demo's shops and tills sell: baskets from a seed, and the documents that
 * say so: Shopify's and WooCommerce's webhooks as those platforms write them, and the hub's own
 * order, which tills send. */
#include "cli/demo_priv.h"

#include <inttypes.h>

/* Both shops deliver from Hamburg and stay below the union's threshold of distance sales: German
 * tax (Directive 2006/112/EC, article 59c). */
#define TAX_PERCENT 19

const struct demo_item demo_items[] = {
    {"TEE-RED-M", "T-shirt, red, M", 1999},      {"TEE-BLU-L", "T-shirt, blue, L", 1999},
    {"HOODIE-GRY-S", "Hoodie, grey, S", 4995},   {"JEANS-32-34", "Jeans 32/34", 7990},
    {"SOCKS-3PK", "Socks, pack of three", 895},  {"CAP-NVY", "Cap, navy", 1490},
    {"SCARF-WOOL", "Scarf, wool", 2999},         {"BELT-BRN-90", "Belt, brown, 90", 3450},
    {"COAT-BLK-40", "Coat, black, 40", 15900},   {"SHIRT-WHT-41", "Shirt, white, 41", 3999},
    {"SHOES-42", "Shoes 42", 8999},              {"BAG-CANVAS", "Bag, canvas", 2495},
};
const uint32_t demo_item_count = sizeof demo_items / sizeof demo_items[0];

/* The tax inside an amount that includes it, rounded half up. */
static int64_t tax_within(int64_t gross) {
    return (gross * TAX_PERCENT * 2 + (100 + TAX_PERCENT)) / (2 * (100 + TAX_PERCENT));
}

void demo_basket_fill(struct demo_basket *basket, bool ships, struct rng *rng) {
    uint64_t first = rng_below(rng, demo_item_count);
    *basket = (struct demo_basket){.count = 1 + (uint32_t)rng_below(rng, DEMO_LINES_MAX)};
    for (uint32_t i = 0; i < basket->count; i++) {
        struct demo_basket_line *line = &basket->lines[i];
        line->item = &demo_items[(first + i * 5) % demo_item_count];
        line->quantity = 1 + (int64_t)rng_below(rng, 3);
        line->total = line->quantity * line->item->price;
        line->tax = tax_within(line->total);
        basket->goods += line->total;
        basket->tax += line->tax;
    }
    basket->shipping = !ships || basket->goods >= 10000 ? 0 : 490;
    basket->shipping_tax = tax_within(basket->shipping);
    basket->tax += basket->shipping_tax;
    basket->grand = basket->goods + basket->shipping;
}

static void time_write(struct buf *out) {
    instant_write(out, (struct instant){.us = clock_now_us(&clock_system) / 1000000 * 1000000});
}

/* --- the hub's own order: what a till sends ----------------------------------------------- */

void demo_order_write(const struct demo_shop *shop, const struct demo_sale *sale,
                      const struct demo_basket *basket, struct buf *out) {
    buf_printf(out, "{\"channel\":\"%s\",\"channel_order_id\":\"%s\",\"placed_at\":\"", shop->channel,
               sale->number);
    time_write(out);
    buf_lit(out, "\",\"currency\":\"EUR\",\"prices_include_tax\":true,\"tax_rounding\":\"line\","
                 "\"lines\":[");
    for (uint32_t i = 0; i < basket->count; i++) {
        const struct demo_basket_line *line = &basket->lines[i];
        buf_printf(out, "%s{\"line_id\":\"%u\",\"sku\":\"%s\",\"name\":\"%s\",\"quantity\":\"%" PRId64
                        "\",\"unit_price\":%" PRId64 ",\"total\":%" PRId64
                        ",\"taxes\":[{\"code\":\"DE-STD\",\"rate\":\"0.%d\",\"base\":%" PRId64
                        ",\"amount\":%" PRId64 "}]}",
                   i > 0 ? "," : "", (unsigned)(i + 1), line->item->sku, line->item->name,
                   line->quantity, line->item->price, line->total, TAX_PERCENT,
                   line->total - line->tax, line->tax);
    }
    buf_printf(out, "],\"tenders\":[{\"tender_id\":\"t1\",\"kind\":\"%s\",\"amount\":%" PRId64
                    ",\"state\":\"captured\"}],\"totals\":{\"lines\":%" PRId64
                    ",\"discount\":0,\"tax\":%" PRId64 ",\"rounding\":0,\"grand\":%" PRId64 "}}",
               basket->grand % 2 ? "cash" : "card", basket->grand, basket->goods, basket->tax,
               basket->grand);
}

/* --- Shopify's order -------------------------------------------------------------------- */

/* 1999 → "19.99" (a JSON string, as Shopify writes amounts). */
static void euro(struct buf *out, const char *name, int64_t minor) {
    buf_printf(out, "\"%s\":\"%" PRId64 ".%02" PRId64 "\"", name, minor / 100, minor % 100);
}

static void euro_set(struct buf *out, const char *name, int64_t minor) {
    buf_printf(out, ",\"%s_set\":{\"shop_money\":{", name);
    euro(out, "amount", minor);
    buf_lit(out, ",\"currency_code\":\"EUR\"},\"presentment_money\":{");
    euro(out, "amount", minor);
    buf_lit(out, ",\"currency_code\":\"EUR\"}}");
}

static void shopify_tax(struct buf *out, int64_t tax) {
    buf_lit(out, "\"tax_lines\":[{\"title\":\"DE MwSt\",\"rate\":0.19,");
    euro(out, "price", tax);
    euro_set(out, "price", tax);
    buf_lit(out, ",\"channel_liable\":false}]");
}

static void shopify_address(struct buf *out, const char *name) {
    buf_printf(out, "\"%s\":{\"first_name\":\"Ann\",\"last_name\":\"Example\",\"name\":\"Ann "
                    "Example\",\"address1\":\"Hafenstr. 1\",\"address2\":null,\"phone\":null,"
                    "\"city\":\"Hamburg\",\"zip\":\"20457\",\"province\":null,\"province_code\":null,"
                    "\"country\":\"Germany\",\"country_code\":\"DE\",\"company\":null,"
                    "\"latitude\":53.54,\"longitude\":9.98},", name);
}

static void shopify_lines(const struct demo_basket *basket, const char *number, struct buf *out) {
    buf_lit(out, "\"line_items\":[");
    for (uint32_t i = 0; i < basket->count; i++) {
        const struct demo_basket_line *line = &basket->lines[i];
        uint64_t variant = (uint64_t)(line->item - demo_items) + 4400100200300;
        buf_printf(out, "%s{\"id\":%s%u,\"admin_graphql_api_id\":\"gid://shopify/LineItem/%s%u\","
                        "\"current_quantity\":%" PRId64 ",\"fulfillable_quantity\":%" PRId64
                        ",\"fulfillment_service\":\"manual\",\"fulfillment_status\":null,"
                        "\"gift_card\":false,\"grams\":300,\"name\":\"%s\",\"title\":\"%s\","
                        "\"sku\":\"%s\",\"vendor\":\"Example Wear\",\"variant_id\":%" PRIu64
                        ",\"variant_title\":null,\"product_exists\":true,\"requires_shipping\":true,"
                        "\"taxable\":true,\"quantity\":%" PRId64 ",\"properties\":[],",
                   i > 0 ? "," : "", number, (unsigned)(i + 1), number, (unsigned)(i + 1),
                   line->quantity, line->quantity, line->item->name, line->item->name,
                   line->item->sku, variant, line->quantity);
        euro(out, "price", line->item->price);
        euro_set(out, "price", line->item->price);
        buf_lit(out, ",\"total_discount\":\"0.00\",\"discount_allocations\":[],\"duties\":[],");
        shopify_tax(out, line->tax);
        buf_char(out, '}');
    }
    buf_lit(out, "],");
}

void demo_shopify_write(const struct demo_sale *sale, const struct demo_basket *basket,
                        struct buf *out) {
    const char *n = sale->number;
    buf_printf(out, "{\"id\":%s,\"admin_graphql_api_id\":\"gid://shopify/Order/%s\",\"name\":\"#%s\","
                    "\"order_number\":%s,\"app_id\":580111,\"browser_ip\":\"192.0.2.7\","
                    "\"buyer_accepts_marketing\":false,\"cancelled_at\":null,\"closed_at\":null,"
                    "\"confirmed\":true,\"currency\":\"EUR\",\"presentment_currency\":\"EUR\","
                    "\"email\":\"ann%s@example.org\",\"contact_email\":\"ann%s@example.org\","
                    "\"financial_status\":\"paid\",\"fulfillment_status\":null,\"gateway\":"
                    "\"shopify_payments\",\"payment_gateway_names\":[\"shopify_payments\"],"
                    "\"note\":null,\"note_attributes\":[],\"phone\":null,\"source_name\":\"web\","
                    "\"tags\":\"\",\"taxes_included\":true,\"test\":false,\"token\":\"tok%s\",",
               n, n, n + strlen(n) - 6, n + strlen(n) - 6, n, n, n);
    buf_lit(out, "\"created_at\":\"");
    time_write(out);
    buf_lit(out, "\",\"processed_at\":\"");
    time_write(out);
    buf_lit(out, "\",\"discount_codes\":[],\"discount_applications\":[],\"refunds\":[],"
                 "\"total_discounts\":\"0.00\",\"total_weight\":900,");
    euro(out, "subtotal_price", basket->goods);
    euro_set(out, "subtotal_price", basket->goods);
    buf_char(out, ',');
    euro(out, "total_line_items_price", basket->goods);
    buf_char(out, ',');
    euro(out, "total_tax", basket->tax);
    buf_char(out, ',');
    euro(out, "total_price", basket->grand);
    euro_set(out, "total_price", basket->grand);
    buf_lit(out, ",\"total_outstanding\":\"0.00\",");
    shopify_lines(basket, n, out);
    shopify_address(out, "billing_address");
    shopify_address(out, "shipping_address");
    buf_printf(out, "\"customer\":{\"id\":%s7,\"email\":\"ann%s@example.org\",\"first_name\":\"Ann\","
                    "\"last_name\":\"Example\",\"phone\":null,\"state\":\"disabled\",\"tags\":\"\","
                    "\"verified_email\":true},\"shipping_lines\":[", n, n);
    if (basket->shipping > 0) {
        buf_printf(out, "{\"id\":%s9,\"code\":\"parcel\",\"title\":\"Parcel\",\"source\":\"shopify\","
                        "\"discounted_price\":\"4.90\",\"discount_allocations\":[],", n);
        euro(out, "price", basket->shipping);
        euro_set(out, "price", basket->shipping);
        buf_char(out, ',');
        shopify_tax(out, basket->shipping_tax);
        buf_char(out, '}');
    }
    buf_lit(out, "]}");
}

/* --- WooCommerce's order ----------------------------------------------------------------- */

/* Amounts without tax, and the tax beside them, whatever the shop shows. */
static void woo_amounts(struct buf *out, int64_t gross, int64_t tax) {
    euro(out, "total", gross - tax);
    buf_char(out, ',');
    euro(out, "total_tax", tax);
    buf_lit(out, ",\"taxes\":[{\"id\":1,");
    euro(out, "total", tax);
    buf_lit(out, "}],\"meta_data\":[]");
}

static void woo_address(struct buf *out, const char *name, const char *number) {
    buf_printf(out, "\"%s\":{\"first_name\":\"Odile\",\"last_name\":\"Exemple\",\"company\":\"\","
                    "\"address_1\":\"4 rue des Lices\",\"address_2\":\"\",\"city\":\"Lyon\","
                    "\"state\":\"\",\"postcode\":\"69001\",\"country\":\"FR\",\"phone\":\"\"",
               name);
    if (number)
        buf_printf(out, ",\"email\":\"odile%s@example.org\"", number);
    buf_lit(out, "},");
}

static void woo_lines(const struct demo_basket *basket, struct buf *out) {
    buf_lit(out, "\"line_items\":[");
    for (uint32_t i = 0; i < basket->count; i++) {
        const struct demo_basket_line *line = &basket->lines[i];
        buf_printf(out, "%s{\"id\":%u,\"name\":\"%s\",\"product_id\":%u,\"variation_id\":0,"
                        "\"quantity\":%" PRId64 ",\"tax_class\":\"\",\"sku\":\"%s\",\"price\":0,",
                   i > 0 ? "," : "", (unsigned)(i + 1), line->item->name,
                   (unsigned)(line->item - demo_items) + 4100, line->quantity, line->item->sku);
        euro(out, "subtotal", line->total - line->tax);
        buf_char(out, ',');
        euro(out, "subtotal_tax", line->tax);
        buf_char(out, ',');
        woo_amounts(out, line->total, line->tax);
        buf_char(out, '}');
    }
    buf_lit(out, "],\"shipping_lines\":[");
    if (basket->shipping > 0) {
        buf_lit(out, "{\"id\":91,\"method_title\":\"Colis\",\"method_id\":\"flat_rate\","
                     "\"instance_id\":\"1\",");
        woo_amounts(out, basket->shipping, basket->shipping_tax);
        buf_char(out, '}');
    }
    buf_lit(out, "],\"fee_lines\":[],\"coupon_lines\":[],\"refunds\":[],");
}

/* WooCommerce says its times in GMT without saying so. */
static void woo_time(struct buf *out, const char *name) {
    size_t from;
    buf_printf(out, "\"%s\":\"", name);
    from = out->len;
    time_write(out);
    if (buf_ok(out) && out->len > from + 19)
        out->len = from + 19;
    buf_lit(out, "\",");
}

void demo_woocommerce_write(const struct demo_sale *sale, const struct demo_basket *basket,
                            struct buf *out) {
    buf_printf(out, "{\"id\":%s,\"parent_id\":0,\"number\":\"%s\",\"status\":\"processing\","
                    "\"currency\":\"EUR\",\"version\":\"9.3.3\",\"prices_include_tax\":true,"
                    "\"customer_id\":%s7,\"order_key\":\"wc_order_%s\",\"created_via\":\"checkout\","
                    "\"payment_method\":\"stripe\",\"payment_method_title\":\"Carte\","
                    "\"transaction_id\":\"pi_%s\",\"customer_note\":\"\",\"meta_data\":[],",
               sale->number, sale->number, sale->number, sale->number, sale->number);
    woo_time(out, "date_created_gmt");
    woo_time(out, "date_modified_gmt");
    woo_time(out, "date_paid_gmt");
    woo_address(out, "billing", sale->number);
    woo_address(out, "shipping", NULL);
    woo_lines(basket, out);
    buf_printf(out, "\"tax_lines\":[{\"id\":95,\"rate_code\":\"DE-MWST-1\",\"rate_id\":1,"
                    "\"label\":\"MwSt\",\"compound\":false,\"rate_percent\":%d,", TAX_PERCENT);
    euro(out, "tax_total", basket->tax - basket->shipping_tax);
    buf_char(out, ',');
    euro(out, "shipping_tax_total", basket->shipping_tax);
    buf_lit(out, "}],\"discount_total\":\"0.00\",\"discount_tax\":\"0.00\",");
    euro(out, "shipping_total", basket->shipping - basket->shipping_tax);
    buf_char(out, ',');
    euro(out, "shipping_tax", basket->shipping_tax);
    buf_char(out, ',');
    euro(out, "cart_tax", basket->tax - basket->shipping_tax);
    buf_char(out, ',');
    euro(out, "total_tax", basket->tax);
    buf_char(out, ',');
    euro(out, "total", basket->grand);
    buf_char(out, '}');
}
