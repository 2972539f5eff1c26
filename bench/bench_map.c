/* bench_map: what it costs to map a partner's document, bytes in to bytes out, with all budgets on: this
 * thread's CPU, parsing, mapping and writing apart. From the repository's root, because it reads
 * connectors/:
 *     ninja -C build bench/bench_map && build/bench/bench_map [CONNECTOR MAPPING FILE [ROUNDS]] */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/files.h"
#include "base/json.h"
#include "connect/connector.h"

static int64_t cpu_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int order(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void say(const char *name, int64_t *ns, long rounds) {
    int64_t sum = 0;
    for (long i = 0; i < rounds; i++)
        sum += ns[i];
    qsort(ns, (size_t)rounds, sizeof *ns, order);
    printf("%-8s p50 %6.1f us  p99 %6.1f us  mean %6.1f us\n", name, (double)ns[rounds / 2] / 1000,
           (double)ns[rounds * 99 / 100] / 1000, (double)sum / (double)rounds / 1000);
}

static const struct mapping_source *source_find(const struct connectors *connectors, const char *name,
                                                const char *mapping) {
    const struct connector *connector = connector_find(connectors, str_c(name));
    for (uint32_t i = 0; connector && i < connector->receive.count; i++) {
        const struct connector_receive *r = list_at(connector->receive, struct connector_receive, i);
        if (str_is(r->mapping, mapping))
            return r->source;
    }
    return NULL;
}

int main(int argc, char **argv) {
    const char *name = argc > 3 ? argv[1] : "shopify", *mapping = argc > 3 ? argv[2] : "order.lua";
    const char *file = argc > 3 ? argv[3] : "connectors/shopify/fixtures/order/order-taxes-only.in.json";
    long rounds = argc > 4 ? strtol(argv[4], NULL, 10) : 50000;
    struct connectors *connectors;
    struct fault fault = {0};
    struct buf text, out;
    struct arena arena;
    buf_init(&text, 0);
    buf_init(&out, 0);
    arena_init(&arena, 0);
    if (connectors_load(".", &connectors, &fault) != OK || files_read(file, &text, &fault) != OK) {
        fprintf(stderr, "%s\n", fault.detail);
        return 1;
    }
    const struct mapping_source *source = source_find(connectors, name, mapping);
    struct json_parser *parser = json_parser_create();
    struct mapper *mapper = mapper_create(MAPPING_LIMITS_DEFAULT);
    int64_t *ns[4];
    for (int i = 0; i < 4; i++)
        must((ns[i] = calloc((size_t)rounds, sizeof **ns)));
    must(source && parser && mapper && rounds > 0);
    size_t len = text.len;
    for (int i = 0; i < JSON_PADDING; i++)
        buf_char(&text, ' ');
    for (long i = 0; i < rounds; i++) {
        const struct json *document, *answer;
        arena_reset(&arena);
        buf_clear(&out);
        int64_t at[4] = {cpu_ns()};
        must(json_parse(parser, &arena, str_of(text.data, len), true, &document, &fault) == OK);
        at[1] = cpu_ns();
        if (mapper_run(mapper, source, document, &arena, &answer, &fault) != OK) {
            fprintf(stderr, "%s\n", fault.detail);
            return 1;
        }
        at[2] = cpu_ns();
        json_write(&out, answer);
        at[3] = cpu_ns();
        for (int k = 0; k < 3; k++)
            ns[k][i] = at[k + 1] - at[k];
        ns[3][i] = at[3] - at[0];
    }
    printf("%s/%s: %zu bytes in, %zu bytes out\n", name, mapping, len, out.len);
    say("parse", ns[0], rounds);
    say("map", ns[1], rounds);
    say("write", ns[2], rounds);
    say("in all", ns[3], rounds);
    return 0;
}
