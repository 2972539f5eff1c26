/* What operators have in their browsers: a sign-in that has begun, and a session. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "gateway/login.h"
#include "gateway/session.h"

static int64_t now = 1000000000;
static int64_t tick(struct clock *clock) { return now; }
static struct clock test_clock = {.now_us = tick, .tick_us = tick};
#define SECOND INT64_C(1000000)

static void logins_are_read_as_they_were_made(void **state) {
    struct logins *logins = logins_create(&test_clock, 60), *others = logins_create(&test_clock, 60);
    struct arena arena;
    struct login made, read;

    arena_init(&arena, 0);
    struct str cookie = login_begin(logins, STR("/a?b=c"), &arena, &made);
    assert_non_null(cookie.ptr);
    assert_true(login_read(logins, cookie, &arena, &read));
    assert_memory_equal(made.state, read.state, LOGIN_WORD_LEN);
    assert_memory_equal(made.verifier, read.verifier, LOGIN_WORD_LEN);
    assert_true(str_is(read.back, "/a?b=c"));
    assert_false(login_read(others, cookie, &arena, &read)); /* another process */
    for (size_t i = 0; i < cookie.len; i++) {
        struct str copy = arena_str(&arena, cookie);

        ((char *)(uintptr_t)copy.ptr)[i] ^= 1;
        assert_false(login_read(logins, copy, &arena, &read));
        assert_false(login_read(logins, str_of(cookie.ptr, i), &arena, &read));
    }
    assert_true(login_end(logins, &made));
    assert_false(login_end(logins, &made));
    now += 60 * SECOND;
    assert_false(login_read(logins, cookie, &arena, &read));
    now -= 61 * SECOND; /* the clock was set back: made in the future */
    assert_false(login_read(logins, cookie, &arena, &read));
    logins_destroy(logins);
    logins_destroy(others);
    arena_free(&arena);
}

static void ways_back(void **state) {
    static const char *const good[] = {"/", "/a", "/a/b?c=d//e#f", "/%2f"};
    static const char *const bad[] = {"", "a", "//a", "/\\a", "/a\\b", "/a b", "/a\n", "/\t/a",
                                      "https://a", "/\xc3\xa9", "/a\x7f"};

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(login_back_ok(str_c(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(login_back_ok(str_c(bad[i])));
}

static struct session_who person(int number) {
    struct session_who who = {0};

    snprintf(who.actor, sizeof who.actor, "p%d@staff", number);
    return who;
}

#define SEATS 40
static struct session_table *table_make(void) {
    struct session_table_options options = {.max = SEATS, .idle_us = 10 * SECOND,
                                            .life_us = 25 * SECOND, .clock = &test_clock};
    struct session_table *table;
    struct fault fault = {0};

    assert_int_equal(session_table_create(&options, &table, &fault), OK);
    return table;
}

static void sessions_end(void **state) {
    struct session_table *table = table_make();
    struct session_who who = person(1), found;
    char token[SESSION_TOKEN_LEN];
    struct str text = str_of(token, sizeof token);
    struct fault fault = {0};
    int64_t left_us;

    assert_int_equal(session_begin(table, &who, token, &fault), OK);
    assert_false(session_find(table, str_of(token, sizeof token - 1), &found, NULL));
    now += 9 * SECOND;
    assert_true(session_find(table, text, &found, &left_us));
    assert_int_equal(left_us, 16 * SECOND);
    assert_string_equal(found.actor, "p1@staff");
    now += 9 * SECOND;
    assert_true(session_find(table, text, &found, NULL)); /* it was used in between */
    now += 7 * SECOND;
    assert_false(session_find(table, text, &found, NULL)); /* its time is over in any case */
    assert_int_equal(session_begin(table, &who, token, &fault), OK);
    now += 10 * SECOND;
    assert_false(session_find(table, text, &found, NULL)); /* idle */
    assert_int_equal(session_begin(table, &who, token, &fault), OK);
    assert_true(session_end(table, text));
    assert_false(session_end(table, text));
    assert_false(session_find(table, text, &found, NULL));
    session_table_destroy(table);
}

/* The one not used for longest goes; nobody takes the places of all others. */
static void sessions_are_bounded(void **state) {
    struct session_table *table = table_make();
    char tokens[3 * SEATS][SESSION_TOKEN_LEN];
    struct session_who who, found;
    struct fault fault = {0};
    int alive = 0;

    for (int i = 0; i < 3 * SEATS; i++) {
        who = person(i);
        now++;
        assert_int_equal(session_begin(table, &who, tokens[i], &fault), OK);
        now++;
        assert_true(session_find(table, str_of(tokens[0], SESSION_TOKEN_LEN), &found, NULL));
    }
    for (int i = 0; i < 3 * SEATS; i++) {
        bool there = session_find(table, str_of(tokens[i], SESSION_TOKEN_LEN), &found, NULL);

        assert_int_equal(there, i == 0 || i > 2 * SEATS);
        alive += there;
    }
    assert_int_equal(alive, SEATS);
    who = person(7);
    for (int i = 0; i < 3 * SEATS; i++) {
        now++;
        assert_int_equal(session_begin(table, &who, tokens[i], &fault), OK);
    }
    for (int i = alive = 0; i < 3 * SEATS; i++)
        alive += session_find(table, str_of(tokens[i], SESSION_TOKEN_LEN), &found, NULL);
    assert_int_equal(alive, SESSIONS_PER_PERSON);
    session_table_destroy(table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logins_are_read_as_they_were_made),
        cmocka_unit_test(ways_back),
        cmocka_unit_test(sessions_end),
        cmocka_unit_test(sessions_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
