/* Addresses, networks, and whose word on where a request came from is taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "gateway/client.h"

static struct inet_address address_of(const char *text) {
    struct inet_address address;
    assert_true(inet_parse(str_c(text), &address));
    return address;
}

static void written_as(const char *given, const char *expected) {
    char text[INET_TEXT_MAX];
    struct inet_address address = address_of(given);
    struct str written = inet_write(&address, text);
    if (!str_is(written, expected))
        fail_msg("%s became %s, not %s", given, text, expected);
}

static void test_addresses(void **state) {
    (void)state;
    written_as("0.0.0.0", "0.0.0.0");
    written_as("255.255.255.255", "255.255.255.255");
    written_as("10.100.9.99:8080", "10.100.9.99");
    written_as("2001:db8::7", "2001:db8::7");
    written_as("[2001:DB8::7]:443", "2001:db8::7");
    written_as("::ffff:192.0.2.1", "192.0.2.1");
    static const char *const bad[] = {"", "unknown", "_hidden", "1.2.3", "1.2.3.4.5", "256.1.1.1",
                                      "[2001:db8::7", "2001:db8::7::", "10.0.0.1 ", "[]",
                                      "11111111111111111111111111111111111111111111111111"};
    struct inet_address address;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (inet_parse(str_c(bad[i]), &address))
            fail_msg("\"%s\" was taken for an address", bad[i]);
}

static bool holds(const char *net, const char *address) {
    struct inet_net parsed;
    struct inet_address one = address_of(address);
    assert_true(inet_net_parse(str_c(net), &parsed));
    return inet_net_holds(&parsed, &one);
}

static void test_networks(void **state) {
    (void)state;
    assert_true(holds("10.0.0.0/8", "10.255.1.2"));
    assert_false(holds("10.0.0.0/8", "11.0.0.0"));
    assert_true(holds("192.0.2.128/25", "192.0.2.200"));
    assert_false(holds("192.0.2.128/25", "192.0.2.127"));
    assert_true(holds("192.0.2.1", "192.0.2.1"));
    assert_false(holds("192.0.2.1", "192.0.2.0"));
    assert_true(holds("0.0.0.0/0", "203.0.113.1"));
    assert_false(holds("0.0.0.0/0", "2001:db8::1")); /* one family is not the other */
    assert_true(holds("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(holds("2001:db8::/33", "2001:db8:8000::1"));
    assert_true(holds("::/0", "2001:db8::1"));
    struct inet_net net;
    assert_false(inet_net_parse(STR("10.0.0.0/33"), &net));
    assert_false(inet_net_parse(STR("2001:db8::/129"), &net));
    assert_false(inet_net_parse(STR("10.0.0.0/"), &net));
    assert_false(inet_net_parse(STR("proxy.example.org"), &net));
    char text[INET_TEXT_MAX];
    struct inet_address one = address_of("192.0.2.77");
    one = inet_net_of(&one);
    assert_true(str_is(inet_write(&one, text), "192.0.2.0"));
    one = address_of("2001:db8:1:2:3::4");
    one = inet_net_of(&one);
    assert_true(str_is(inet_write(&one, text), "2001:db8:1::"));
}

static void came_from(const char *peer, struct http_header *headers, uint32_t count,
                      const char *expected) {
    struct inet_net proxies[2];
    struct config config = {.proxies = proxies, .proxy_count = 2};
    struct http_request request = {.headers = headers, .header_count = count};
    char text[INET_TEXT_MAX];
    assert_true(inet_net_parse(STR("10.0.0.0/8"), &proxies[0]));
    assert_true(inet_net_parse(STR("2001:db8:ffff::/48"), &proxies[1]));
    struct inet_address address = client_address(&config, &request, address_of(peer));
    if (!str_is(inet_write(&address, text), expected))
        fail_msg("taken as %s, not %s", text, expected);
}

static void test_proxies(void **state) {
    (void)state;
    struct http_header xff[] = {{STR("X-Forwarded-For"), STR("203.0.113.1, 198.51.100.2")},
                                {STR("x-forwarded-for"), STR("10.1.1.1")}};
    came_from("192.0.2.9", xff, 2, "192.0.2.9");   /* no proxy of ours: whatever it says */
    came_from("10.9.9.9", xff, 2, "198.51.100.2"); /* the nearest that is none of ours */
    came_from("10.9.9.9", xff, 1, "198.51.100.2");
    came_from("10.9.9.9", xff, 0, "10.9.9.9");
    struct http_header all[] = {{STR("X-Forwarded-For"), STR("10.0.0.3 , 10.0.0.2")}};
    came_from("10.9.9.9", all, 1, "10.0.0.3");
    struct http_header odd[] = {{STR("X-Forwarded-For"), STR("203.0.113.1, unknown, 10.0.0.2")}};
    came_from("10.9.9.9", odd, 1, "10.0.0.2"); /* what is behind an unknown one is hearsay */
    struct http_header both[] = {
        {STR("X-Forwarded-For"), STR("203.0.113.1")},
        {STR("Forwarded"), STR("For=\"[2001:db8::1]:80\";proto=https;by=10.0.0.1, "
                               "for=\"[2001:db8:ffff::2]\"")}};
    came_from("2001:db8:ffff::1", both, 2, "2001:db8::1");
    struct http_header empty[] = {{STR("Forwarded"), STR(";;proto=http")},
                                  {STR("X-Forwarded-For"), STR("203.0.113.1")}};
    came_from("10.9.9.9", empty, 2, "10.9.9.9");
    struct http_header commas[] = {{STR("X-Forwarded-For"), STR(",,,")}};
    came_from("10.9.9.9", commas, 1, "10.9.9.9");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_networks),
        cmocka_unit_test(test_proxies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
