/* bench_cards: what it costs to look for card numbers, in nanoseconds of this thread's CPU for each
 * KB, and for one order:
 *     ninja -C build bench/bench_cards && build/bench/bench_cards */
#include <stdio.h>
#include <time.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/pan.h"
#include "retail/cards.h"

#define TEXT_BYTES ((size_t)1 << 20)
#define ROUNDS 200

static const char line[] =
    "{\"line_id\":\"1\",\"sku\":\"SKU-000417\",\"name\":\"Tee shirt, red, medium\",\"quantity\":\"2\","
    "\"unit_price\":1999,\"discount\":0,\"total\":3998,\"taxes\":[{\"code\":\"DE-STD\",\"rate\":\"0.19\","
    "\"base\":3360,\"amount\":638}],\"placed_at\":\"2026-11-23T09:15:00+01:00\"},";
static const char article[] =
    "{\"sku\":\"4006381333931\",\"gtin\":\"04006381333931\",\"id\":7300000001000,\"at\":1700000000000},";
static const char pretty[] = "                \"unit_price\": 1999,\n                \"discount\": 0,\n";

static int64_t cpu_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void measure(const char *name, const char *piece, size_t len) {
    char *text = mem_alloc(TEXT_BYTES);
    int64_t best = INT64_MAX;
    uint32_t found = 0;
    if (!text)
        return;
    for (size_t at = 0; at < TEXT_BYTES; at += len)
        memcpy(text + at, piece, TEXT_BYTES - at < len ? TEXT_BYTES - at : len);
    for (int i = 0; i < ROUNDS; i++) {
        int64_t start = cpu_ns();
        found += pan_in(str_of(text, TEXT_BYTES));
        int64_t spent = cpu_ns() - start;
        best = spent < best ? spent : best;
    }
    printf("%-28s %6.1f ns/KB%s\n", name, (double)best / (TEXT_BYTES / 1024.0),
           found ? " (found)" : "");
    mem_free(text);
}

/* One document as the door looks at it. */
static void measure_document(const char *name, const char *text) {
    struct json_parser *parser = json_parser_create();
    struct arena arena;
    struct fault fault = {0};
    const struct json *doc;
    int64_t best = INT64_MAX;
    uint32_t found = 0;
    arena_init(&arena, 0);
    if (!parser || json_parse(parser, &arena, str_c(text), false, &doc, &fault) != OK)
        return;
    for (int i = 0; i < 50; i++) {
        int64_t start = cpu_ns();
        for (int k = 0; k < 1000; k++)
            found += cards_find(doc, str_c(text), false, NULL);
        int64_t spent = cpu_ns() - start;
        best = spent < best ? spent : best;
    }
    printf("%-28s %6lld ns a document of %zu bytes%s\n", name, (long long)best / 1000, strlen(text),
           found ? " (found)" : "");
    arena_free(&arena);
    json_parser_destroy(parser);
}

int main(void) {
    static char document[4096], escaped[4096];
    measure("order lines", line, sizeof line - 1);
    measure("articles and ids of 13", article, sizeof article - 1);
    measure("indented JSON", pretty, sizeof pretty - 1);
    snprintf(document, sizeof document, "[%s%s%s%s%s{}]", line, line, line, line, line);
    snprintf(escaped, sizeof escaped, "[\"\\u00e4\",%s%s%s%s%s{}]", line, line, line, line, line);
    measure_document("order", document);
    measure_document("order with an escape", escaped);
    return 0;
}
