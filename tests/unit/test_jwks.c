/* Key sets of issuers: fetched, kept while the issuer is down, given up when too old, and never
 * fetched more often than allowed. A net of the test's own answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../support/jose.h"
#include "../support/temp.h"
#include "gateway/jwks.h"

#define S INT64_C(1000000)

static struct arena arena;
static int64_t tick_us = 1000 * S;
static int64_t tick(struct clock *clock) { return tick_us; }
static struct clock test_clock = {.now_us = tick, .tick_us = tick};
static struct str first, second;
static int wakes;

static struct {
    struct net net;
    net_done *done;
    void *ctx;
    int sends;
} peer;

static enum err peer_send(struct net *net, const struct net_request *request, net_done *done,
                          void *ctx, struct net_call **call, struct fault *fault) {
    assert_null(peer.done);
    assert_true(str_is(request->method, "GET"));
    peer.done = done;
    peer.ctx = ctx;
    peer.sends++;
    *call = (struct net_call *)&peer;
    return OK;
}
static void peer_answer(enum net_error error, int status, struct str body) {
    struct net_answer answer = {.error = error, .status = status, .body = body};
    net_done *done = peer.done;

    assert_non_null(done);
    peer.done = NULL;
    done(peer.ctx, &answer);
}
static void peer_cancel(struct net *net, struct net_call *call) {
    peer_answer(NET_CANCELLED, 0, STR_NONE);
}
static const struct net_ops peer_ops = {.send = peer_send, .cancel = peer_cancel};

static void woken(void *ctx) { wakes++; }

static const struct jwks_source source = {.name = {"idp", 3}, .url = {"https://idp/keys", 16},
                                          .algs = JWT_MASK_ALL};

static struct jwks *make(const struct jwks_source *one) {
    struct jwks_options options = {.sources = one, .count = 1, .clock = &test_clock,
                                   .refresh_s = 300, .stale_s = 3600, .ask_ms = 10000,
                                   .timeout_ms = 1000, .wake = woken};
    struct fault fault = {0};
    struct jwks *jwks;

    peer.done = NULL;
    peer.sends = wakes = 0;
    if (jwks_create(&options, &jwks, &fault) != OK)
        assert_null(jwks);
    return jwks;
}

static bool has(struct jwks *jwks, const char *kid) {
    struct jwk_set *set = jwks_get(jwks, 0);
    bool found = set && jwk_set_has(set, str_c(kid));

    jwk_set_unref(set);
    return found;
}

static void sets_are_fetched_and_rotated(void **state) {
    struct jwks *jwks = make(&source);
    uint64_t generation = jwks_generation(jwks, 0);

    assert_null(jwks_get(jwks, 0));
    assert_true(jwks_ask(jwks, 0)); /* due anyhow */
    jwks_step(jwks, &peer.net);
    assert_int_equal(peer.sends, 1);
    jwks_step(jwks, &peer.net);
    assert_int_equal(peer.sends, 1); /* one at a time */
    peer_answer(NET_OK, 200, first);
    assert_true(has(jwks, "k1"));
    assert_true(jwks_generation(jwks, 0) > generation);
    generation = jwks_generation(jwks, 0);
    assert_true(jwks_step(jwks, &peer.net) == tick_us + 300 * S);
    tick_us += 300 * S;
    jwks_step(jwks, &peer.net);
    assert_int_equal(peer.sends, 2);
    peer_answer(NET_OK, 200, first); /* the same: what was verified stays so */
    assert_true(jwks_generation(jwks, 0) == generation);
    tick_us += 300 * S;
    jwks_step(jwks, &peer.net);
    peer_answer(NET_OK, 200, second);
    assert_true(jwks_generation(jwks, 0) > generation);
    assert_true(has(jwks, "k2"));
    assert_false(has(jwks, "k1"));
    jwks_destroy(jwks);
}

static void sets_outlive_their_issuer_for_a_while(void **state) {
    struct jwks *jwks = make(&source);
    struct jwks_stats stats;
    int64_t until_us, next_us;

    jwks_step(jwks, &peer.net);
    peer_answer(NET_OK, 200, first);
    until_us = tick_us + 3600 * S;
    for (int i = 0; tick_us <= until_us; i++) {
        assert_true(has(jwks, "k1"));
        next_us = jwks_step(jwks, &peer.net);
        if (peer.done) {
            switch (i % 4) {
            case 0: peer_answer(NET_REFUSED, 0, STR_NONE); break;
            case 1: peer_answer(NET_OK, 500, STR("oops")); break;
            case 2: peer_answer(NET_OK, 200, STR("<html>")); break;
            case 3: peer_answer(NET_OK, 200, STR("{\"keys\":[]}")); break;
            }
            next_us = jwks_step(jwks, &peer.net);
        }
        assert_true(next_us > tick_us && next_us <= tick_us + 300 * S);
        tick_us = next_us;
    }
    assert_true(peer.sends < 70); /* ever later, at most once a minute */
    jwks_step(jwks, &peer.net);
    assert_null(jwks_get(jwks, 0)); /* too old */
    peer_answer(NET_OK, 200, first); /* and back */
    assert_true(has(jwks, "k1"));
    jwks_stats(jwks, 0, &stats);
    assert_int_equal(stats.keys, 1);
    assert_int_equal(stats.fetches, 2);
    assert_true(stats.failures > 50 && stats.age_us == 0);
    jwks_destroy(jwks);
}

static void unknown_kids_cost_one_fetch(void **state) {
    struct jwks *jwks = make(&source);

    jwks_step(jwks, &peer.net);
    peer_answer(NET_OK, 200, first);
    assert_true(jwks_ask(jwks, 0));
    assert_int_equal(wakes, 1);
    jwks_step(jwks, &peer.net);
    assert_int_equal(peer.sends, 2);
    assert_true(jwks_ask(jwks, 0)); /* under way */
    peer_answer(NET_OK, 200, first);
    for (int i = 0; i < 10000; i++) { /* a flood of 10 s */
        assert_false(jwks_ask(jwks, 0));
        jwks_step(jwks, &peer.net);
        tick_us += 999;
    }
    assert_int_equal(peer.sends, 2);
    assert_int_equal(wakes, 1);
    tick_us += 10 * S;
    assert_true(jwks_ask(jwks, 0));
    jwks_step(jwks, &peer.net);
    assert_int_equal(peer.sends, 3);
    assert_true(jwks_busy(jwks));
    tick_us += 11 * S; /* it took longer than the pause between two */
    peer_answer(NET_REFUSED, 0, STR_NONE);
    assert_false(jwks_busy(jwks));
    assert_false(jwks_ask(jwks, 0)); /* who waited for it does not begin another */
    tick_us += 10 * S;
    assert_true(jwks_ask(jwks, 0));
    jwks_step(jwks, &peer.net);
    jwks_destroy(jwks); /* with a call under way */
    assert_null(peer.done);
}

static void files_are_read(void **state) {
    char *folder = temp_folder();
    struct str path = arena_printf(&arena, "%s/keys.json", folder);
    struct jwks_source file = {.name = STR("idp"), .file = path, .algs = JWT_MASK_ALL};
    struct jwks *jwks;
    FILE *out;

    assert_null(make(&file)); /* not there */
    out = fopen(path.ptr, "w");
    fwrite("{}", 1, 2, out);
    fclose(out);
    assert_null(make(&file)); /* no key set */
    out = fopen(path.ptr, "w");
    fwrite(first.ptr, 1, first.len, out);
    fclose(out);
    jwks = make(&file);
    assert_true(has(jwks, "k1"));
    out = fopen(path.ptr, "w");
    fwrite(second.ptr, 1, second.len, out);
    fclose(out);
    assert_true(jwks_ask(jwks, 0));
    jwks_step(jwks, &peer.net);
    assert_int_equal(peer.sends, 0);
    assert_true(has(jwks, "k2"));
    jwks_destroy(jwks);
    temp_remove(folder);
}

static int start(void **state) {
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");

    peer.net.ops = &peer_ops;
    arena_init(&arena, 0);
    first = arena_printf(&arena, "{\"keys\":[%.*s]}", STR_FMT(jose_jwk(&arena, key, "k1", "")));
    second = arena_printf(&arena, "{\"keys\":[%.*s]}", STR_FMT(jose_jwk(&arena, key, "k2", "")));
    EVP_PKEY_free(key);
    return 0;
}
static int stop(void **state) {
    arena_free(&arena);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_are_fetched_and_rotated),
        cmocka_unit_test(sets_outlive_their_issuer_for_a_while),
        cmocka_unit_test(unknown_kids_cost_one_fetch),
        cmocka_unit_test(files_are_read),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
