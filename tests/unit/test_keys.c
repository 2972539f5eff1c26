/* API keys: made, found, revoked across two connections to the file; what a bearer may. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "../support/temp.h"
#include "gateway/auth.h"

static char *folder, path[256];
static struct arena arena;
static struct key_store *store;
static struct router *router;
static int64_t tick_us = 1000000000;
static int64_t tick(struct clock *clock) { return tick_us; }
static struct clock test_clock = {.now_us = tick, .tick_us = tick};

static const struct route table[] = {
    {.method = "GET", .path = "/a", .scope = "orders:read"},
    {.method = "POST", .path = "/a", .scope = "orders:write"},
    {.method = "GET", .path = "/b", .scope = "stock:read"},
    {0},
};

static int start(void **state) {
    struct fault fault = {0};

    arena_init(&arena, 0);
    folder = temp_folder();
    snprintf(path, sizeof path, "%s/keys.db", folder);
    router = router_create();
    return router_add(router, table, NULL, &fault) == OK &&
                   key_store_open(path, &store, &fault) == OK
               ? 0
               : -1;
}
static int stop(void **state) {
    key_store_close(store);
    router_destroy(router);
    temp_remove(folder);
    arena_free(&arena);
    return 0;
}

static struct str make(const char *name, const char *scopes) {
    struct key_record record;
    struct fault fault = {0};
    struct str key;

    assert_int_equal(key_create(store, str_c(name), str_c(scopes), &rng_system, &test_clock,
                                &arena, &key, &record, &fault), OK);
    return key;
}

static void keys_have_a_form(void **state) {
    struct str key = make("one", "*"), id, secret, other = make("two", "*");
    struct stat st;

    assert_int_equal(key.len, KEY_TEXT_LEN);
    assert_true(key_parse(key, &id, &secret));
    assert_false(str_eq(key, other));
    for (size_t i = 3; i < key.len; i++)
        assert_non_null(strchr("0123456789abcdefghjkmnpqrstvwxyz_", key.ptr[i]));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_false(key_parse(STR("pk_short"), &id, &secret));
    assert_false(key_parse(STR(""), &id, &secret));
    assert_false(key_parse(STR_NONE, &id, &secret));
}

static bool count_row(void *ctx, const struct key_record *record) {
    uint32_t *count = ctx;

    assert_true(record->id.len == KEY_ID_LEN);
    (*count)++;
    return true;
}

static void names_may_repeat(void **state) {
    struct key_record record;
    struct fault fault = {0};
    struct str key;
    uint32_t count = 0;
    char long_name[KEY_NAME_MAX + 2];

    make("till", "orders:write");
    make("till", "orders:read");
    assert_int_equal(key_revoke(store, STR("till"), &test_clock, &count, &fault), OK);
    assert_int_equal(count, 2);
    assert_int_equal(key_revoke(store, STR("till"), &test_clock, &count, &fault), OK);
    assert_int_equal(count, 0);
    make("till", "orders:write");
    memset(long_name, 'x', sizeof long_name);
    assert_int_equal(key_create(store, str_of(long_name, sizeof long_name), STR("*"), &rng_system,
                                &test_clock, &arena, &key, &record, &fault), ERR_INVALID);
    assert_int_equal(key_create(store, STR("a\nb"), STR("*"), &rng_system, &test_clock, &arena,
                                &key, &record, &fault), ERR_INVALID);
    assert_int_equal(key_create(store, STR(""), STR("*"), &rng_system, &test_clock, &arena, &key,
                                &record, &fault), ERR_INVALID);
    count = 0;
    assert_int_equal(key_list(store, count_row, &count, &fault), OK);
    assert_int_equal(count, 5); /* with "one" and "two" */
}

static struct str bearer(struct str key) {
    return arena_printf(&arena, "Bearer %.*s", STR_FMT(key));
}

static void bearers_are_known(void **state) {
    struct str key = make("shop", "orders:write stock:*");
    const struct principal *principal;
    struct fault fault = {0};
    struct auth *auth;

    assert_int_equal(auth_create(path, router, &test_clock, &auth, &fault), OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(auth_check(auth, bearer(key), &principal, &fault), OK);
    assert_true(str_is(principal->name, "shop"));
    assert_true(str_starts(key, principal->actor));
    assert_int_equal(principal->actor.len, 3 + KEY_ID_LEN);
    assert_false(principal_may(principal, 0));
    assert_true(principal_may(principal, 1));
    assert_true(principal_may(principal, 2));
    assert_int_equal(auth_check(auth, arena_printf(&arena, "bEARER   %.*s ", STR_FMT(key)),
                                &principal, &fault), OK);
    for (size_t i = 0; i < key.len; i++) { /* any one character changed */
        char text[KEY_TEXT_LEN];

        memcpy(text, key.ptr, key.len);
        text[i] = text[i] == 'a' ? 'b' : 'a';
        assert_int_equal(auth_check(auth, bearer(str_of(text, key.len)), &principal, &fault),
                         ERR_UNAUTHENTICATED);
        assert_null(principal);
    }
    static const char *const wrong[] = {"", "Bearer", "Bearer ", "Bearer x", "Basic YTpi",
                                        "Bearer  pk_", "pk_"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(auth_check(auth, str_c(wrong[i]), &principal, &fault),
                         ERR_UNAUTHENTICATED);
    assert_int_equal(auth_check(auth, key, &principal, &fault), ERR_UNAUTHENTICATED);
    assert_int_equal(auth_check(auth, STR_NONE, &principal, &fault), ERR_UNAUTHENTICATED);
    auth_destroy(auth);
}

static void changes_are_seen(void **state) {
    struct str key = make("leaver", "*"), late;
    const struct principal *principal;
    struct fault fault = {0};
    struct auth *auth;
    uint32_t count;

    assert_int_equal(auth_create(path, router, &test_clock, &auth, &fault), OK);
    assert_int_equal(auth_check(auth, bearer(key), &principal, &fault), OK);
    late = make("late", "*"); /* works at once */
    assert_int_equal(auth_check(auth, bearer(late), &principal, &fault), OK);
    assert_int_equal(key_revoke(store, str_of(key.ptr, 3 + KEY_ID_LEN), &test_clock, &count,
                                &fault), OK);
    assert_int_equal(count, 1);
    tick_us += AUTH_POLL_MS * 1000 + 1;
    assert_int_equal(auth_check(auth, bearer(key), &principal, &fault), ERR_UNAUTHENTICATED);
    assert_int_equal(auth_check(auth, bearer(late), &principal, &fault), OK);
    auth_destroy(auth);
}

static void scopes_cover(void **state) {
    assert_true(scope_covers(STR("*"), STR("orders:read")));
    assert_true(scope_covers(STR("orders:*"), STR("orders:read")));
    assert_true(scope_covers(STR("orders:read"), STR("orders:read")));
    assert_false(scope_covers(STR("orders:*"), STR("orders-x:read")));
    assert_false(scope_covers(STR("order*"), STR("orders:read")));
    assert_false(scope_covers(STR("orders:rea"), STR("orders:read")));
    assert_false(scope_covers(STR("ord:*"), STR("orders:read")));
    assert_false(scope_covers(STR(":*"), STR("orders:read")));
    assert_false(scope_covers(STR(""), STR("orders:read")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_have_a_form), cmocka_unit_test(names_may_repeat),
        cmocka_unit_test(bearers_are_known), cmocka_unit_test(changes_are_seen),
        cmocka_unit_test(scopes_cover),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
