/* Chains of entries that share a key, against a model that sorts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/links.h"
#include "base/rng.h"

#define ENTRIES 60u
#define KEYS 7u

struct item {
    struct str key;
    uint64_t place;
    uint32_t next;
    bool in;
};
struct box {
    struct item items[ENTRIES];
    struct map firsts;
};

static struct str key_of(const void *ctx, uint32_t i) { return ((const struct box *)ctx)->items[i].key; }
static uint64_t place_of(const void *ctx, uint32_t i) { return ((const struct box *)ctx)->items[i].place; }
static uint32_t *next_of(void *ctx, uint32_t i) { return &((struct box *)ctx)->items[i].next; }
static const struct links_ops ops = {key_of, place_of, next_of};

/* Each key's chain is what is in, ascending. */
static void same(struct box *box, struct str key) {
    uint32_t at = links_first(&ops, &box->firsts, box, key), linked = 0, in = 0;
    uint64_t before = 0;
    for (uint32_t i = 0; i < ENTRIES; i++)
        in += box->items[i].in && str_eq(box->items[i].key, key);
    for (; at != MAP_NONE; at = box->items[at].next ? box->items[at].next - 1 : MAP_NONE) {
        assert_true(box->items[at].in && str_eq(box->items[at].key, key));
        assert_true(box->items[at].place > before);
        before = box->items[at].place;
        linked++;
    }
    assert_int_equal(linked, in);
}

static void test_random(void **state) {
    static const char *const keys[KEYS] = {"", "a", "b", "ab", "order web-de/1", "order web-de/2", "z"};
    struct box box = {0};
    struct rng_seeded seeded;
    struct rng *rng = &seeded.rng;
    (void)state;
    rng_seeded_init(&seeded, 11);
    for (uint32_t step = 0; step < 4000; step++) {
        uint32_t i = (uint32_t)rng_below(rng, ENTRIES);
        struct item *item = &box.items[i];
        if (item->in) {
            assert_true(links_remove(&ops, &box.firsts, &box, i));
            item->in = false;
        } else {
            /* places do not repeat within a chain */
            *item = (struct item){.key = str_c(keys[rng_below(rng, KEYS)]), .in = true,
                                  .place = (1 + rng_below(rng, 1000)) * ENTRIES + i};
            assert_true(links_add(&ops, &box.firsts, &box, i));
        }
        for (uint32_t k = 0; k < KEYS; k++)
            same(&box, str_c(keys[k]));
    }
    map_free(&box.firsts);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
