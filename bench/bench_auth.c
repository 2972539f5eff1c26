/* bench_auth: what it costs to know a caller, in nanoseconds of this thread's CPU:
 *     ninja -C build bench/bench_auth && build/bench/bench_auth DIR [ROUNDS]
 *
 * DIR is an empty folder for the key file. An API key, tokens of 400 bytes and of 1 KB that were
 * seen before, a token that was not (its signature is verified), one that is refused for its
 * claims, and the making of a token; not a test: nothing here can fail for being slow. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "gateway/auth.h"

static const struct route table[] = {
    {.method = "POST", .path = "/v1/orders", .scope = "orders:write"},
    {.method = "GET", .path = "/v1/orders", .scope = "orders:read"},
    {.method = NULL},
};

struct bench {
    struct auth *auth;
    struct callers *callers;
    struct token_keys *keys;
    struct str header, id;
    struct arena arena;
    struct buf out;
    int64_t made;
};

static struct str token_make(struct bench *b, int64_t life_s, size_t padding) {
    int64_t now_s = clock_now_us(&clock_system) / 1000000;
    struct fault fault = {0};
    struct buf claims;

    buf_init(&claims, 0);
    buf_printf(&claims, "{\"iss\":\"https://hub\",\"aud\":\"https://hub\",\"sub\":\"pk_%.*s\",\"jti\":"
               "\"%lld\",\"exp\":%lld,\"scope\":\"orders:write orders:read\",\"pad\":\"%0*d\"}",
               STR_FMT(b->id), (long long)b->made++, (long long)(now_s + life_s), (int)padding, 0);
    buf_clear(&b->out);
    buf_lit(&b->out, "Bearer ");
    must(token_sign(b->keys, buf_str(&claims), &b->out, &fault) == OK);
    buf_free(&claims);
    return buf_str(&b->out);
}

static double measure(struct bench *b, const char *what, int64_t rounds, bool fresh, int64_t life_s,
                      enum err expected) {
    struct timespec from, to;
    double ns = 0, making_ns = 0;

    for (int64_t i = 0; i < rounds; i++) {
        const struct principal *principal;
        struct fault fault = {0};

        if (fresh) {
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
            b->header = token_make(b, life_s, 100);
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
            making_ns += (double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec);
        }
        if (fresh || i == 0)
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
        must(auth_check(b->auth, b->header, NULL, &principal, &fault) == expected);
        if (fresh || i + 1 == rounds) {
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
            ns += (double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec);
        }
    }
    printf("%-44s %8.0f ns\n", what, ns / (double)rounds);
    return making_ns / (double)rounds;
}

int main(int argc, char **argv) {
    struct bench b = {0};
    struct fault fault = {0};
    struct config_auth none = {0};
    static struct config config;
    struct router *router = router_create();
    struct key_store *store;
    struct key_record record;
    struct str key;
    char path[4096];
    int64_t rounds = argc > 2 ? atoll(argv[2]) : 1000000;

    if (argc < 2 || rounds < 1000)
        return fprintf(stderr, "usage: bench_auth DIR [ROUNDS]\n"), 2;
    snprintf(path, sizeof path, "%s/keys.db", argv[1]);
    config.auth = &none;
    config.settings.token_key_days = 30;
    config.settings.token_cache_entries = 4096;
    arena_init(&b.arena, 0);
    buf_init(&b.out, 0);
    must(router_add(router, table, NULL, &fault) == OK);
    must(key_store_open(path, &store, &fault) == OK);
    must(key_create(store, &(struct key_new){STR("bench"), STR("*"), 0}, &rng_system, &clock_system,
                    &b.arena, &key, &record, &fault) == OK);
    struct callers_options shared = {path, &config, &clock_system, STR("https://hub")};
    must(callers_create(&shared, &b.callers, &fault) == OK);
    struct auth_options options = {path, router, &clock_system, &config, b.callers};
    must(auth_create(&options, &b.auth, &fault) == OK);
    b.keys = callers_token_keys(b.callers);
    b.id = record.id;
    b.header = arena_printf(&b.arena, "Bearer %.*s", STR_FMT(key));
    measure(&b, "an API key", rounds, false, 0, OK);
    b.header = token_make(&b, 3600, 1);
    printf("  (%zu bytes)\n", b.header.len - 7);
    measure(&b, "a token seen before", rounds, false, 0, OK);
    b.header = token_make(&b, 3600, 500);
    printf("  (%zu bytes)\n", b.header.len - 7);
    measure(&b, "a longer token seen before", rounds, false, 0, OK);
    double ns = measure(&b, "a token not seen before (ES256)", rounds / 100, true, 3600, OK);
    measure(&b, "a token that has expired", rounds / 100, true, -60, ERR_UNAUTHENTICATED);
    printf("%-44s %8.0f ns\n", "making a token (ES256)", ns);
    token_keys_unref(b.keys);
    auth_destroy(b.auth);
    callers_destroy(b.callers);
    key_store_close(store);
    router_destroy(router);
    arena_free(&b.arena);
    buf_free(&b.out);
    return 0;
}
