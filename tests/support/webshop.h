/* webshop: a web shop as a partner of a cell, for tests of what comes in: orders, and messages that cut
 * them. One cell and one shop per test program; webshop_set_up and webshop_tear_down are cmocka's. */
#ifndef PENSTOCK_TESTS_SUPPORT_WEBSHOP_H
#define PENSTOCK_TESTS_SUPPORT_WEBSHOP_H

#include "partner.h"

extern struct cell cell;
extern struct partner shop;

/* `shelved`: the state is written down, and little of it stays in memory. */
int webshop_set_up(void **state);
int webshop_set_up_shelved(void **state);
int webshop_tear_down(void **state);
#define WEBSHOP_BOTH(test)                                                                           \
    cmocka_unit_test_setup_teardown(test, webshop_set_up, webshop_tear_down),                           \
        cmocka_unit_test_setup_teardown(test, webshop_set_up_shelved, webshop_tear_down)

/* Topics: `orders` and `late` with the order as their key, `cut` with a lane of its own per message. */
static inline void send(const char *topic, const char *body) { partner_send(&shop, topic, body); }
static inline void settle(void) { partner_settle(&shop); }
static inline void again(bool crash) { partner_again(&shop, crash); }
static inline uint32_t events(const char *type, const char *what) {
    return partner_events(&shop, type, what);
}
/* The reasons (first letters) of all cancellations, in order. */
const char *cuts(void);
/* The id of the case that was raised last. */
const char *raised(void);
bool says(struct str data, const char *what);

#endif
