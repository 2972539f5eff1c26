/* bench_shape: what it costs to take a three-line order: parse, decode, check, encode, in
 * nanoseconds of this thread's CPU for each:
 *     ninja -C build bench/bench_shape && build/bench/bench_shape [ROUNDS] */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/hash.h"
#include "base/json.h"
#include "retail/order.h"

#define LINE(id, sku, quantity, price, total, base, tax)                                           \
    "{\"line_id\":\"" id "\",\"sku\":\"" sku "\",\"name\":\"Tee shirt, red, medium\",\"quantity\":\"" \
    quantity "\",\"unit_price\":" price ",\"discount\":0,\"total\":" total                          \
    ",\"taxes\":[{\"code\":\"DE-STD\",\"rate\":\"0.19\",\"base\":" base ",\"amount\":" tax "}]}"

static const char order_text[] =
    "{\"channel\":\"web-de\",\"channel_order_id\":\"100450001\",\"placed_at\":"
    "\"2026-11-23T09:15:00+01:00\",\"currency\":\"EUR\",\"prices_include_tax\":true,"
    "\"tax_rounding\":\"line\",\"customer\":{\"customer_id\":\"C-1001\",\"email\":\"ann@example.org\","
    "\"name\":\"Ann Example\"},\"ship_to\":{\"name\":\"Ann Example\",\"street\":[\"Hafenstr. 1\"],"
    "\"postal_code\":\"20457\",\"city\":\"Hamburg\",\"country\":\"DE\"},\"lines\":["
    LINE("1", "SKU-000417", "2", "1999", "3998", "3360", "638") ","
    LINE("2", "SKU-071233", "1", "4990", "4990", "4193", "797") ","
    LINE("3", "SKU-099001", "5", "250", "1250", "1050", "200") "],"
    "\"shipping\":[{\"line_id\":\"s1\",\"method\":\"parcel\",\"total\":490,\"taxes\":[{\"code\":"
    "\"DE-STD\",\"rate\":\"0.19\",\"base\":412,\"amount\":78}]}],\"tenders\":[{\"tender_id\":\"t1\","
    "\"kind\":\"card\",\"amount\":10728,\"reference\":\"psp-8812-100450001\",\"state\":\"authorised\"}],"
    "\"totals\":{\"lines\":10238,\"discount\":0,\"shipping\":490,\"tax\":1713,\"rounding\":0,"
    "\"grand\":10728}}";

static int64_t cpu_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

struct bench {
    struct json_parser *parser;
    struct arena arena;
    struct buf out;
    char text[sizeof order_text + JSON_PADDING];
};

enum stage { STAGE_PARSE, STAGE_DECODE, STAGE_CHECK, STAGE_ENCODE, STAGE_HASH, STAGE_COUNT };
static const char *const stage_names[] = {"json_parse", "shape_decode", "order_check",
                                          "shape_encode", "hash128"};

/* One order up to and with `last`. */
static void round_run(struct bench *bench, enum stage last) {
    struct fault fault;
    const struct json *value;
    void *doc;
    struct str text = str_of(bench->text, sizeof order_text - 1);
    arena_reset(&bench->arena);
    fault_init(&fault, &bench->arena);
    must(json_parse(bench->parser, &bench->arena, text, true, &value, &fault) == OK);
    if (last == STAGE_PARSE)
        return;
    must(shape_decode(&order_shape, value, &bench->arena, STR(""), &doc, &fault) == OK);
    if (last == STAGE_DECODE)
        return;
    must(order_check(doc, 0, &bench->arena, &fault) == OK);
    if (last == STAGE_CHECK)
        return;
    buf_clear(&bench->out);
    shape_encode(&order_shape, doc, &bench->out);
    must(buf_ok(&bench->out));
    if (last == STAGE_HASH)
        must(hash128(buf_str(&bench->out), 1).lo != 0);
}

int main(int argc, char **argv) {
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 200000;
    struct bench bench = {.parser = json_parser_create()};
    must(bench.parser && rounds > 0);
    arena_init(&bench.arena, 0);
    buf_init(&bench.out, 0);
    memcpy(bench.text, order_text, sizeof order_text);
    int64_t before = 0;
    for (enum stage stage = STAGE_PARSE; stage < STAGE_COUNT; stage++) {
        int64_t best = INT64_MAX; /* of five: what the machine can, not what disturbed it */
        for (int run = 0; run < 5; run++) {
            int64_t start = cpu_ns();
            for (long i = 0; i < rounds / 5; i++)
                round_run(&bench, stage);
            int64_t spent = cpu_ns() - start;
            best = spent < best ? spent : best;
        }
        int64_t each = best / (rounds / 5 ? rounds / 5 : 1);
        printf("%-14s %6lld ns   up to here %6lld ns\n", stage_names[stage],
               (long long)(each - before), (long long)each);
        before = each;
    }
    printf("%zu bytes in, %zu bytes out\n", sizeof order_text - 1, bench.out.len);
    buf_free(&bench.out);
    arena_free(&bench.arena);
    json_parser_destroy(bench.parser);
    return 0;
}
