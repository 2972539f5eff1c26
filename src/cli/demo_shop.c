/* demo_shop: who sells in a demo: a Shopify shop and a WooCommerce shop that send webhooks, and
 * three tills that call the hub's own API. Each is a thread with its own numbers from the seed. Who
 * gets no answer sends again, with the same key, as shops do; and now and then one sends twice. */
#include "cli/demo_priv.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/mem.h"

#define RETRY_MS 150

/* --- sending ---------------------------------------------------------------------------- */

struct sending {
    struct buf body;
    char first[160], second[160];
    const char *headers[4]; /* NULL-ended */
    const char *path;
};

/* Base64 of HMAC-SHA256 of the body: both platforms sign so. */
static void sending_sign(const struct demo_shop *shop, const char *header, struct sending *sending) {
    unsigned char digest[EVP_MAX_MD_SIZE], text[EVP_MAX_MD_SIZE * 2];
    unsigned int len = 0;
    HMAC(EVP_sha256(), shop->demo->secret, (int)strlen(shop->demo->secret),
         (const unsigned char *)sending->body.data, sending->body.len, digest, &len);
    EVP_EncodeBlock(text, digest, (int)len);
    snprintf(sending->second, sizeof sending->second, "%s: %s", header, (char *)text);
}

static void sending_make(struct demo_shop *shop, const struct demo_sale *sale,
                         const struct demo_basket *basket, struct sending *sending) {
    const char *id = "Idempotency-Key";
    buf_init(&sending->body, 1 << 20);
    switch (shop->kind) {
    case SHOP_SHOPIFY:
        id = "X-Shopify-Webhook-Id";
        demo_shopify_write(sale, basket, &sending->body);
        sending_sign(shop, "X-Shopify-Hmac-Sha256", sending);
        sending->headers[2] = "X-Shopify-Topic: orders/create";
        sending->path = "/x/shopify/orders-create";
        break;
    case SHOP_WOOCOMMERCE:
        id = "X-WC-Webhook-Delivery-ID";
        demo_woocommerce_write(sale, basket, &sending->body);
        sending_sign(shop, "X-WC-Webhook-Signature", sending);
        sending->headers[2] = "X-WC-Webhook-Topic: order.created";
        sending->path = "/x/woocommerce/orders";
        break;
    case SHOP_TILL:
        demo_order_write(shop, sale, basket, &sending->body);
        snprintf(sending->second, sizeof sending->second, "Penstock-Correlation-Id: %s-%s",
                 shop->channel, sale->number);
        sending->path = "/v1/orders";
        break;
    }
    snprintf(sending->first, sizeof sending->first, "%s: %s-%016" PRIx64, id, sale->number,
             rng_u64(&shop->rng.rng));
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
    struct demo_basket basket;
    struct sending sending = {0};
    struct client_answer answer, second;
    demo_basket_fill(&basket, shop->kind != SHOP_TILL, &shop->rng.rng);
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
        int digits;
    } rows[DEMO_SHOPS] = {
        {"web-de, on Shopify", "web-de", "58", SHOP_SHOPIFY, 11},
        {"web-fr, on WooCommerce", "web-fr", "", SHOP_WOOCOMMERCE, 6},
        {"till of store S01", "store-S01", "S01-T1-", SHOP_TILL, 6},
        {"till of store S02", "store-S02", "S02-T1-", SHOP_TILL, 6},
        {"till of store S03", "store-S03", "S03-T1-", SHOP_TILL, 6},
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
                     rows[i].digits, (unsigned)(100001 + k));
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
    static const char *const locations[] = {"WH-HAM", "S01", "S02", "S03"};
    struct buf body;
    struct client_answer answer;
    buf_init(&body, 0);
    for (size_t at = 0; at < sizeof locations / sizeof locations[0]; at++)
        for (uint32_t i = 0; i < demo_item_count; i++)
            buf_printf(&body, "{\"sku\":\"%s\",\"location\":\"%s\",\"on_hand\":\"100000\"}\n",
                       demo_items[i].sku, locations[at]);
    struct client_request request = {.method = "POST", .path = "/v1/stock/counts",
                                     .body = buf_str(&body), .media = "application/x-ndjson"};
    enum err err = client_call(demo->client, &request, &demo->cli->arena, &answer, fault);
    buf_free(&body);
    if (err != OK)
        return err;
    return answer.status == 200 ? OK : client_problem(&answer, fault);
}
