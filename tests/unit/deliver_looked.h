/* Part of test_deliver.c: a look-up that is answered holds for what is refused then. */

/* Whoever takes one call and says of the next that it is too much would be asked for ever otherwise. */
static void what_was_looked_up_is_sent_again_without(void **state) {
    hub_init(5);
    hub_up();
    thing_new(5);
    for (int i = 0; i < 2000 && remote.count == 0; i++)
        hub_step();
    remote.down = true; /* it came to nobody, and nobody knows */
    hub_crash();
    hub_up();
    remote.down = false;
    remote.every_second = true;
    for (int i = 0; i < 20000 && !all_done(); i++)
        hub_step();
    assert_true(all_done());
    check_books();
    assert_in_range(remote.lookups, 1, 3); /* before it is settled, too */
    assert_int_equal(remote.posts, 1);
    assert_in_range(remote.too_much, 1, 3);
    hub_crash();
    hub_free();
}
