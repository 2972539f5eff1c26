/* demo_shop: who sells in a demo: a Shopify shop that sends webhooks, and two shops that call
 * the hub's own API. Each is a thread with its own numbers from the seed. A shop that gets no
 * answer sends again, with the same key, as shops do; and now and then one sends twice. */
#include "cli/demo_priv.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/mem.h"

#define LINES_MAX 3
#define RETRY_MS 150
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

struct basket {
    struct basket_line {
        const struct demo_item *item;
        int64_t quantity, total, tax;
    } lines[LINES_MAX];
    uint32_t count;
    int64_t goods, shipping, shipping_tax, tax, grand;
};

/* The tax inside an amount that includes it, rounded half up. */
static int64_t tax_within(int64_t gross) {
    return (gross * TAX_PERCENT * 2 + (100 + TAX_PERCENT)) / (2 * (100 + TAX_PERCENT));
}

static void basket_fill(struct basket *basket, struct rng *rng) {
    uint64_t first = rng_below(rng, demo_item_count);
    *basket = (struct basket){.count = 1 + (uint32_t)rng_below(rng, LINES_MAX)};
    for (uint32_t i = 0; i < basket->count; i++) {
        struct basket_line *line = &basket->lines[i];
        line->item = &demo_items[(first + i * 5) % demo_item_count];
        line->quantity = 1 + (int64_t)rng_below(rng, 3);
        line->total = line->quantity * line->item->price;
        line->tax = tax_within(line->total);
        basket->goods += line->total;
        basket->tax += line->tax;
    }
    basket->shipping = basket->goods >= 10000 ? 0 : 490;
    basket->shipping_tax = tax_within(basket->shipping);
    basket->tax += basket->shipping_tax;
    basket->grand = basket->goods + basket->shipping;
}

static void time_write(struct buf *out) {
    instant_write(out, (struct instant){.us = clock_now_us(&clock_system) / 1000000 * 1000000});
}

/* --- the canonical order ---------------------------------------------------------------- */

static void tax_write(struct buf *out, int64_t gross, int64_t tax) {
    buf_printf(out, "\"taxes\":[{\"code\":\"DE-STD\",\"rate\":\"0.%d\",\"base\":%" PRId64
                    ",\"amount\":%" PRId64 "}]", TAX_PERCENT, gross - tax, tax);
}

static void order_write(const struct demo_shop *shop, const struct demo_sale *sale,
                        const struct basket *basket, struct buf *out) {
    buf_printf(out, "{\"channel\":\"%s\",\"channel_order_id\":\"%s\",\"placed_at\":\"", shop->channel,
               sale->number);
    time_write(out);
    buf_printf(out, "\",\"currency\":\"EUR\",\"prices_include_tax\":true,\"tax_rounding\":\"line\","
                    "\"customer\":{\"customer_id\":\"C-%s\",\"email\":\"%s@example.org\"},"
                    "\"ship_to\":{\"name\":\"Ann Example\",\"street\":[\"Hafenstr. 1\"],"
                    "\"postal_code\":\"20457\",\"city\":\"Hamburg\",\"country\":\"DE\"},\"lines\":[",
               sale->number, sale->number);
    for (uint32_t i = 0; i < basket->count; i++) {
        const struct basket_line *line = &basket->lines[i];
        buf_printf(out, "%s{\"line_id\":\"%u\",\"sku\":\"%s\",\"name\":\"%s\",\"quantity\":\"%" PRId64
                        "\",\"unit_price\":%" PRId64 ",\"total\":%" PRId64 ",",
                   i > 0 ? "," : "", (unsigned)(i + 1), line->item->sku, line->item->name,
                   line->quantity, line->item->price, line->total);
        tax_write(out, line->total, line->tax);
        buf_char(out, '}');
    }
    buf_lit(out, "],\"shipping\":[");
    if (basket->shipping > 0) {
        buf_printf(out, "{\"line_id\":\"s1\",\"method\":\"parcel\",\"total\":%" PRId64 ",",
                   basket->shipping);
        tax_write(out, basket->shipping, basket->shipping_tax);
        buf_char(out, '}');
    }
    buf_printf(out, "],\"tenders\":[{\"tender_id\":\"t1\",\"kind\":\"card\",\"amount\":%" PRId64
                    ",\"reference\":\"psp-%s\",\"state\":\"authorised\"}],\"totals\":{\"lines\":%" PRId64
                    ",\"discount\":0,\"shipping\":%" PRId64 ",\"tax\":%" PRId64
                    ",\"rounding\":0,\"grand\":%" PRId64 "}}",
               basket->grand, sale->number, basket->goods, basket->shipping, basket->tax,
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

static void shopify_lines(const struct basket *basket, const char *number, struct buf *out) {
    buf_lit(out, "\"line_items\":[");
    for (uint32_t i = 0; i < basket->count; i++) {
        const struct basket_line *line = &basket->lines[i];
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

static void shopify_write(const struct demo_sale *sale, const struct basket *basket,
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

/* --- sending ---------------------------------------------------------------------------- */

struct sending {
    struct buf body;
    char first[160], second[160], third[96];
    const char *headers[5];
    const char *path;
};

static void shopify_sign(const struct demo_shop *shop, struct sending *sending) {
    unsigned char digest[EVP_MAX_MD_SIZE], text[EVP_MAX_MD_SIZE * 2];
    unsigned int len = 0;
    HMAC(EVP_sha256(), shop->demo->secret, (int)strlen(shop->demo->secret),
         (const unsigned char *)sending->body.data, sending->body.len, digest, &len);
    EVP_EncodeBlock(text, digest, (int)len);
    snprintf(sending->second, sizeof sending->second, "X-Shopify-Hmac-Sha256: %s", (char *)text);
}

static void sending_make(struct demo_shop *shop, const struct demo_sale *sale,
                         const struct basket *basket, struct sending *sending) {
    buf_init(&sending->body, 1 << 20);
    if (shop->kind == SHOP_SHOPIFY) {
        shopify_write(sale, basket, &sending->body);
        snprintf(sending->first, sizeof sending->first, "X-Shopify-Webhook-Id: %s-%016" PRIx64,
                 sale->number, rng_u64(&shop->rng.rng));
        shopify_sign(shop, sending);
        snprintf(sending->third, sizeof sending->third, "X-Shopify-Shop-Domain: example.test");
        sending->headers[2] = sending->third;
        sending->headers[3] = "X-Shopify-Topic: orders/create";
        sending->path = "/x/shopify/orders-create";
    } else {
        order_write(shop, sale, basket, &sending->body);
        snprintf(sending->first, sizeof sending->first, "Idempotency-Key: %s-%016" PRIx64,
                 sale->number, rng_u64(&shop->rng.rng));
        snprintf(sending->second, sizeof sending->second, "Penstock-Correlation-Id: %s-%s",
                 shop->channel, sale->number);
        sending->path = "/v1/orders";
    }
    sending->headers[0] = sending->first;
    sending->headers[1] = sending->second;
}

/* Until there is an answer that is not "come again". False where the demo is over first. */
static bool sending_send(struct demo_shop *shop, const struct sending *sending, struct arena *arena,
                         struct client_answer *answer) {
    struct client_request request = {.method = "POST", .path = sending->path,
                                     .body = buf_str(&sending->body),
                                     .headers = sending->headers, .timeout_ms = 10000};
    while (!atomic_load(&shop->demo->stopping)) {
        struct fault fault = {0};
        arena_reset(arena);
        enum err err = client_call(shop->client, &request, arena, answer, &fault);
        if (err == OK && answer->status < 500 && answer->status != 429)
            return true;
        atomic_fetch_add(&shop->tries_failed, 1);
        demo_sleep_ms(RETRY_MS);
    }
    return false;
}

static void sale_make(struct demo_shop *shop, struct demo_sale *sale, uint32_t index,
                      struct arena *arena, struct arena *again) {
    struct basket basket;
    struct sending sending = {0};
    struct client_answer answer, second;
    basket_fill(&basket, &shop->rng.rng);
    sale->channel = shop->channel;
    sale->grand = basket.grand;
    sale->sent_us = clock_now_us(&clock_system);
    sending_make(shop, sale, &basket, &sending);
    if (sending_send(shop, &sending, arena, &answer)) {
        if (answer.status == 200 || answer.status == 201 || answer.status == 202) {
            sale->done = true;
            atomic_fetch_add(&shop->done, 1);
        } else if (atomic_fetch_add(&shop->refused, 1) == 0) {
            snprintf(shop->trouble, sizeof shop->trouble, "%s: %d %.*s", sale->number,
                     answer.status, (int)(answer.body.len < 180 ? answer.body.len : 180),
                     answer.body.ptr);
        }
        if (index % DEMO_RESEND_EVERY == 3 && sending_send(shop, &sending, again, &second)) {
            atomic_fetch_add(&shop->resent, 1);
            if (second.status < 300 && str_eq(second.body, answer.body))
                atomic_fetch_add(&shop->resent_same, 1);
        }
    }
    buf_free(&sending.body);
}

static void *shop_run(void *arg) {
    struct demo_shop *shop = arg;
    struct arena arena, again;
    arena_init(&arena, 0);
    arena_init(&again, 0);
    for (uint32_t i = 0; i < shop->count && !atomic_load(&shop->demo->stopping); i++) {
        int64_t due_ms = shop->demo->feed_ms * i / shop->count;
        demo_sleep_ms(due_ms - demo_elapsed_ms(shop->demo));
        sale_make(shop, &shop->sales[i], i, &arena, &again);
        atomic_store(&shop->next, i + 1);
    }
    arena_free(&arena);
    arena_free(&again);
    return NULL;
}

/* --- opening and closing ---------------------------------------------------------------- */

enum err demo_shops_open(struct demo *demo, struct fault *fault) {
    static const struct {
        const char *name, *channel, *prefix;
        enum demo_shop_kind kind;
    } rows[DEMO_SHOPS] = {
        {"web-de, on Shopify", "web-de", "58", SHOP_SHOPIFY},
        {"web-de, the app", "web-de", "APP-", SHOP_OWN},
        {"web-fr, a shop of its own", "web-fr", "FR-", SHOP_OWN},
    };
    for (uint32_t i = 0; i < DEMO_SHOPS; i++) {
        struct demo_shop *shop = &demo->shops[i];
        shop->name = rows[i].name;
        shop->channel = rows[i].channel;
        shop->prefix = rows[i].prefix;
        shop->kind = rows[i].kind;
        shop->demo = demo;
        shop->count = (uint32_t)((demo->orders + i) / DEMO_SHOPS);
        shop->sales = mem_zalloc((shop->count + 1) * sizeof *shop->sales);
        shop->client = client_create(demo->hub.url, demo->key);
        if (!shop->sales || !shop->client)
            return fault_set(fault, ERR_NOMEM, "out of memory");
        rng_seeded_init(&shop->rng, (uint64_t)demo->seed * DEMO_SHOPS + i);
        for (uint32_t k = 0; k < shop->count; k++)
            snprintf(shop->sales[k].number, sizeof shop->sales[k].number, "%s%0*u", shop->prefix,
                     shop->kind == SHOP_SHOPIFY ? 11 : 5, (unsigned)(100001 + k));
        if (pthread_create(&shop->thread, NULL, shop_run, shop) != 0)
            return fault_set(fault, ERR_NOMEM, "no thread for %s", shop->name);
        shop->running = true;
    }
    return OK;
}

void demo_shops_join(struct demo *demo) {
    for (uint32_t i = 0; i < DEMO_SHOPS; i++) {
        if (demo->shops[i].running)
            pthread_join(demo->shops[i].thread, NULL);
        demo->shops[i].running = false;
    }
}

void demo_shops_free(struct demo *demo) {
    atomic_store(&demo->stopping, true);
    demo_shops_join(demo);
    for (uint32_t i = 0; i < DEMO_SHOPS; i++) {
        client_destroy(demo->shops[i].client);
        mem_free(demo->shops[i].sales);
    }
}

uint32_t demo_shops_count(struct demo *demo, size_t counter_offset) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < DEMO_SHOPS; i++)
        sum += atomic_load((atomic_uint *)((char *)&demo->shops[i] + counter_offset));
    return sum;
}

enum err demo_stock_put(struct demo *demo, struct fault *fault) {
    struct buf body;
    struct client_answer answer;
    buf_init(&body, 0);
    for (uint32_t i = 0; i < demo_item_count; i++)
        buf_printf(&body, "{\"sku\":\"%s\",\"location\":\"WH-HAM\",\"on_hand\":\"100000\"}\n",
                   demo_items[i].sku);
    struct client_request request = {.method = "POST", .path = "/v1/stock/counts",
                                     .body = buf_str(&body), .media = "application/x-ndjson"};
    enum err err = client_call(demo->client, &request, &demo->cli->arena, &answer, fault);
    buf_free(&body);
    if (err != OK)
        return err;
    return answer.status == 200 ? OK : client_problem(&answer, fault);
}
