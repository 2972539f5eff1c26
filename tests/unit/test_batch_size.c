/* How many members a call may have: halved by what is too large, grown again by what is taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "connect/account.h"
#include "deliver/batch_size.h"

static void the_least_of_file_and_account(void **state) {
    struct connector_batch batch = {.max_items = 100};
    struct connector_account account = {0};
    struct connector connector = {0};
    struct connector_send send = {.batch = &batch, .connector = &connector};
    assert_int_equal(batch_size_max(&send), 100);
    connector.account = &account;
    assert_int_equal(batch_size_max(&send), 100); /* not said */
    account.batch_max = 25;
    assert_int_equal(batch_size_max(&send), 25);
    account.batch_max = 1000;
    assert_int_equal(batch_size_max(&send), 100);
}

static void halved_by_what_was_too_large(void **state) {
    struct batch_size size = {0};
    assert_int_equal(batch_size_now(&size, 100), 100);
    for (int i = 0; i < 4; i++) /* four were under way together */
        batch_size_halve(&size, 100);
    assert_int_equal(batch_size_now(&size, 100), 50);
    batch_size_halve(&size, 50);
    assert_int_equal(batch_size_now(&size, 100), 25);
    batch_size_halve(&size, 3);
    assert_int_equal(batch_size_now(&size, 100), 1);
    batch_size_halve(&size, 2);
    assert_int_equal(batch_size_now(&size, 100), 1);
    assert_int_equal(batch_size_now(&size, 1), 1);
}

/* A system that takes 60: found out in a few calls, and hardly ever tried beyond. */
static void grown_by_what_is_taken(void **state) {
    struct batch_size size = {0};
    uint32_t refused = 0, members = 0;
    for (int i = 0; i < 1000; i++) {
        uint32_t n = batch_size_now(&size, 100);
        if (n > 60) {
            batch_size_halve(&size, n);
            refused++;
        } else {
            batch_size_taken(&size, n, 100);
            members += n;
        }
    }
    assert_in_range(refused, 2, 30);
    assert_true(members > 1000 * 45);
    for (int i = 0; i < 300; i++) /* it takes all again */
        batch_size_taken(&size, batch_size_now(&size, 100), 100);
    assert_int_equal(batch_size_now(&size, 100), 100);
    assert_int_equal(size.now, 0);
}

static void what_is_not_full_says_nothing(void **state) {
    struct batch_size size = {0};
    batch_size_halve(&size, 100);
    for (int i = 0; i < 1000; i++)
        batch_size_taken(&size, 49, 100);
    assert_int_equal(batch_size_now(&size, 100), 50);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_of_file_and_account),
        cmocka_unit_test(halved_by_what_was_too_large),
        cmocka_unit_test(grown_by_what_is_taken),
        cmocka_unit_test(what_is_not_full_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
