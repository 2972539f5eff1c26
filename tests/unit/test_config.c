/* Unit tests of core/config: a good folder, every fault with its file and line, the locations
 * as CSV, settings and the environment. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/config.h"
#include "core/config_priv.h"

static char dir[64];
static struct arena arena;
static struct fault fault;

static void path_of(char out[256], const char *name) { snprintf(out, 256, "%s/%s", dir, name); }

static void put(const char *name, const char *text) {
    char path[256];
    path_of(path, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static int setup(void **state) {
    (void)state;
    strcpy(dir, "/tmp/penstock-config-XXXXXX");
    arena_init(&arena, 0);
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    static const char *const names[] = {"penstock.yaml", "locations.yaml", "l.csv"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[256];
        path_of(path, names[i]);
        unlink(path);
    }
    rmdir(dir);
    arena_free(&arena);
    return 0;
}

static enum err load(struct config **config) {
    arena_reset(&arena);
    fault_init(&fault, &arena);
    enum err err = config_load(dir, config, &fault);
    assert_true((err == OK) == (*config != NULL));
    return err;
}

static const char good_main[] = "cell: north\n"
                                "listen: 0.0.0.0:80\n"
                                "channels:\n"
                                "  - channel: web-fr\n"
                                "    time_zone: Europe/Paris\n"
                                "    currency: EUR\n"
                                "    sourcing: [WH-HAM, S01]\n"
                                "    on_shortage: back-order\n"
                                "  - {channel: app, name: App, time_zone: UTC, sourcing: [S01]}\n"
                                "settings:\n"
                                "  loop_threads: 4\n"
                                "  hold_seconds_max: 60\n";
static const char good_locations[] =
    "- {location: WH-HAM, kind: warehouse, name: Hamburg, time_zone: Europe/Berlin}\n"
    "- {location: S01, kind: store, time_zone: Europe/Berlin}\n";

static void a_good_folder_is_read(void **state) {
    (void)state;
    put("penstock.yaml", good_main);
    put("locations.yaml", good_locations);
    struct config *config;
    if (load(&config) != OK)
        fail_msg("%s", fault.detail);
    assert_true(str_is(config->cell, "north") &&
                str_is(*list_at(config->listen, struct str, 0), "0.0.0.0:80"));
    assert_int_equal(config->channels.count, 2);
    assert_true(str_is(list_at(config->channels, struct config_channel, 0)->channel, "app"));
    const struct config_channel *channel = config_channel(config, STR("web-fr"));
    assert_int_equal(channel->on_shortage, SHORTAGE_BACK_ORDER);
    assert_true(str_is(*list_at(channel->sourcing, struct str, 1), "S01"));
    assert_int_equal(config_channel(config, STR("app"))->on_shortage, SHORTAGE_REFUSE);
    assert_null(config_channel(config, STR("web")));
    assert_null(config_channel(config, STR_NONE));
    assert_int_equal(config_location(config, STR("S01"))->kind, LOCATION_STORE);
    assert_true(str_is(config_location(config, STR("WH-HAM"))->name, "Hamburg"));
    assert_null(config_location(config, STR("S02")));
    assert_int_equal(config->settings.loop_threads, 4);
    assert_int_equal(config->settings.hold_seconds_max, 60);
    assert_int_equal(config->settings.idempotency_days, 7);
    assert_null(config->tls);
    config_destroy(config);
    put("penstock.yaml", "listen: [127.0.0.1:80, '[::1]:80']\n"
                         "tls:\n  listen: 0.0.0.0:443\n  min_version: tls1.3\n"
                         "  certificates: [{certificate: tls/a.pem, key: /etc/a.key}]\n"
                         "  client_certificates: optional\n  client_ca: ca.pem\n");
    if (load(&config) != OK)
        fail_msg("%s", fault.detail);
    assert_int_equal(config->listen.count, 2);
    assert_true(str_is(*list_at(config->listen, struct str, 1), "[::1]:80"));
    assert_true(str_is(*list_at(config->tls->listen, struct str, 0), "0.0.0.0:443"));
    const struct config_certificate *pair =
        list_at(config->tls->certificates, struct config_certificate, 0);
    assert_true(str_starts(pair->certificate, str_c(dir)));
    assert_string_equal(pair->certificate.ptr + strlen(dir), "/tls/a.pem");
    assert_string_equal(pair->key.ptr, "/etc/a.key");
    assert_int_equal(config->tls->clients, CLIENTS_OPTIONAL);
    assert_int_equal(config->tls->min_version, 1);
    assert_null(config->tls->client_crl.ptr);
    config_destroy(config);
    put("penstock.yaml", "");
    assert_int_equal(load(&config), ERR_INVALID);
    put("penstock.yaml", "{}");
    assert_int_equal(load(&config), OK);
    assert_true(str_is(config->cell, "main") &&
                str_is(*list_at(config->listen, struct str, 0), "127.0.0.1:8480"));
    for (uint32_t i = 0; i < setting_count; i++)
        assert_int_equal(((const int64_t *)&config->settings)[i], setting_table[i].dflt);
    config_destroy(config);
}

static void thousands_of_locations_come_as_csv(void **state) {
    (void)state;
    put("penstock.yaml", "locations: l.csv\nchannels: [{channel: c, time_zone: UTC, sourcing: [S4711]}]\n");
    struct buf buf;
    buf_init(&buf, 0);
    buf_lit(&buf, "\xef\xbb\xbfkind,location,time_zone,name\r\n");
    for (int i = 5000; i > 0; i--)
        buf_printf(&buf, "store,S%d,Europe/Berlin,\"Store \"\"%d\"\", the\nbig one\"\r\n", i, i);
    buf_lit(&buf, "\nwarehouse,W,UTC,\n");
    put("l.csv", buf_cstr(&buf));
    buf_free(&buf);
    struct config *config;
    if (load(&config) != OK)
        fail_msg("%s", fault.detail);
    assert_int_equal(config->locations.count, 5001);
    const struct config_location *location = config_location(config, STR("S4711"));
    assert_true(str_is(location->name, "Store \"4711\", the\nbig one"));
    assert_false(shape_has(config_location(config, STR("W")), LOCATION_NAME));
    for (uint32_t i = 1; i < config->locations.count; i++)
        assert_true(str_cmp(list_at(config->locations, struct config_location, i - 1)->location,
                            list_at(config->locations, struct config_location, i)->location) < 0);
    config_destroy(config);
    static const char *const bad[][2] = {
        {"location,kind,time_zone\nS1,store\n", "l.csv:2"},
        {"location,kind,time_zone\n\"S1,store,UTC\n", "l.csv:3"},
        {"location,kind,time_zone\n\"S1\"x,store,UTC\n", "l.csv:2"},
        {"location,kind,time_zone,colour\nS1,store,UTC,red\n", "l.csv:2:/0/colour"},
        {"location,kind,time_zone\nS1,store,UTC\nS2,shop,UTC\n", "l.csv:3:/1/kind"},
        {"location,kind,time_zone\nS1,store,UTC\n,store,UTC\n", "l.csv:3:/1/location"},
        {"location,kind,time_zone\nS1,store,UTC\nS1,store,UTC\nS4711,store,UTC\n", "l.csv:3:/1/location"},
        {"location,kind,time_zone\nS\xff,store,UTC\n", "l.csv:1"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        put("l.csv", bad[i][0]);
        assert_int_equal(load(&config), ERR_INVALID);
        if (!fault.first || !str_is(fault.first->pointer, bad[i][1]))
            fail_msg("%s: %s", bad[i][0], fault.detail);
    }
}

static void every_fault_has_file_and_line(void **state) {
    (void)state;
    static const struct {
        const char *main, *locations, *pointer, *part;
    } rows[] = {
        {"cell: a b\n", "[]", "penstock.yaml:1:/cell", "letters"},
        {"cel: x\n", "[]", "penstock.yaml:1:/cel", "not a member"},
        {"cell: a\ncell: b\n", "[]", "penstock.yaml:2", "already on line 1"},
        {"listen: here\n", "[]", "penstock.yaml:1:/listen", "HOST:PORT"},
        {"listen: :80\n", "[]", "penstock.yaml:1:/listen", "HOST:PORT"},
        {"listen: a:65536\n", "[]", "penstock.yaml:1:/listen", "HOST:PORT"},
        {"listen: []\n", "[]", "penstock.yaml:1:/listen", "list of 1 to"},
        {"listen:\n- 127.0.0.1:1\n- here\n", "[]", "penstock.yaml:3:/listen/1", "HOST:PORT"},
        {"tls: {}\n", "[]", "penstock.yaml:1:/tls/certificates", "is required"},
        {"tls:\n  certificates: []\n", "[]", "penstock.yaml:2:/tls/certificates", ""},
        {"tls:\n  certificates: [{certificate: c, key: k}]\n  listen: 8443\n", "[]",
         "penstock.yaml:3:/tls/listen", "HOST:PORT"},
        {"tls:\n  certificates: [{certificate: c, key: k}]\n  min_version: tls1.1\n", "[]",
         "penstock.yaml:3:/tls/min_version", "tls1.2"},
        {"tls:\n  certificates: [{certificate: c, key: k}]\n  client_certificates: required\n", "[]",
         "penstock.yaml:3:/tls/client_certificates", "needs client_ca"},
        {"tls:\n  certificates: [{certificate: c, key: k}]\n  client_ca: a\n", "[]",
         "penstock.yaml:1:/tls", "optional or required"},
        {"a: [\n", "[]", "penstock.yaml:2", ""},
        {"[]\n", "[]", "penstock.yaml:1:", "must be an object"},
        {"channels:\n  - channel: c\n", "[]", "penstock.yaml:2:/channels/0/time_zone", "is required"},
        {"channels:\n  - {channel: c, time_zone: Mars/Base}\n", "[]",
         "penstock.yaml:2:/channels/0/time_zone", "not an IANA time zone"},
        {"channels:\n  - {channel: c, time_zone: ../UTC}\n", "[]",
         "penstock.yaml:2:/channels/0/time_zone", "not an IANA time zone"},
        {"channels:\n  - {channel: c, time_zone: UTC, currency: EUX}\n", "[]",
         "penstock.yaml:2:/channels/0/currency", "ISO 4217"},
        {"channels:\n  - channel: c\n    time_zone: UTC\n    sourcing:\n    - W\n    - X\n",
         "- {location: W, kind: store, time_zone: UTC}\n", "penstock.yaml:6:/channels/0/sourcing/1",
         "no location \"X\""},
        {"channels:\n  - {channel: c, time_zone: UTC, sourcing: [W, W]}\n",
         "- {location: W, kind: store, time_zone: UTC}\n", "penstock.yaml:2:/channels/0/sourcing/1",
         "twice"},
        {"channels:\n  - {channel: c, time_zone: UTC}\n  - {channel: b, time_zone: UTC}\n"
         "  - {channel: c, time_zone: UTC}\n", "[]", "penstock.yaml:4:/channels/2/channel",
         "already on line 2"},
        {"channels:\n  - {channel: c, time_zone: UTC, on_shortage: never}\n", "[]",
         "penstock.yaml:2:/channels/0/on_shortage", "one of"},
        {"settings:\n  loop_thread: 1\n", "[]", "penstock.yaml:2:/settings/loop_thread", "not a setting"},
        {"settings:\n  loop_threads: 0\n", "[]", "penstock.yaml:2:/settings/loop_threads", "from 1 to 64"},
        {"settings:\n  loop_threads: many\n", "[]", "penstock.yaml:2:/settings/loop_threads", "from 1"},
        {"settings:\n  loop_threads: true\n", "[]", "penstock.yaml:2:/settings/loop_threads", "from 1"},
        {"settings: [1]\n", "[]", "penstock.yaml:1:/settings", "mapping"},
        {"locations: none.yaml\n", "[]", "penstock.yaml:1:/locations", "can not read"},
        {"{}", "a: b\n", "locations.yaml:1:", "must be a list"},
        {"{}", "- {location: W, kind: store, time_zone: UTC}\n- 3\n", "locations.yaml:2:/1", "an object"},
        {"{}", "- {location: W, kind: store, time_zone: UTC}\n- {location: W, kind: store, time_zone: UTC}\n",
         "locations.yaml:2:/1/location", "already on line 1"},
        {"{}", "- location: W\n  kind: store\n  time_zone: Nowhere\n", "locations.yaml:3:/0/time_zone",
         "IANA"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        put("penstock.yaml", rows[i].main);
        put("locations.yaml", rows[i].locations);
        struct config *config;
        if (load(&config) != ERR_INVALID)
            fail_msg("took %s", rows[i].main);
        assert_int_equal(fault.count, 1);
        if (!str_is(fault.first->pointer, rows[i].pointer) || !strstr(fault.detail, rows[i].part))
            fail_msg("%s: %s", rows[i].main, fault.detail);
    }
    put("penstock.yaml", "channels:\n  - {channel: a, time_zone: UTC, sourcing: [Q]}\n"
                         "  - {channel: a, time_zone: Q}\nsettings: {x: 1, loop_threads: 99}\n");
    put("locations.yaml", "[]");
    struct config *config;
    assert_int_equal(load(&config), ERR_INVALID);
    assert_int_equal(fault.count, 5);
    char path[256];
    path_of(path, "penstock.yaml");
    unlink(path);
    assert_int_equal(load(&config), ERR_NOT_FOUND);
    assert_int_equal(config_load(dir, &config, NULL), ERR_NOT_FOUND);
}

static void the_environment_goes_first(void **state) {
    (void)state;
    put("penstock.yaml", "settings: {loop_threads: 4}\n");
    put("locations.yaml", "");
    struct config *config;
    setenv("PENSTOCK_LOOP_THREADS", "3", 1);
    assert_int_equal(load(&config), OK);
    assert_int_equal(config->settings.loop_threads, 3);
    config_destroy(config);
    static const char *const bad[] = {"", "x", "0", "65", "1.5"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        setenv("PENSTOCK_LOOP_THREADS", bad[i], 1);
        assert_int_equal(load(&config), ERR_INVALID);
        assert_true(str_is(fault.first->pointer, "environment:PENSTOCK_LOOP_THREADS"));
    }
    unsetenv("PENSTOCK_LOOP_THREADS");
}

static void zones_are_checked(void **state) {
    (void)state;
    assert_true(zone_valid(STR("Etc/GMT+1")) && zone_valid(STR("UTC")));
    assert_false(zone_valid(STR("")) || zone_valid(STR("/UTC")) || zone_valid(STR("a b")) ||
                 zone_valid(STR("../zoneinfo/UTC")) || zone_valid(str_of("UTC\0x", 5)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_good_folder_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(thousands_of_locations_come_as_csv, setup, teardown),
        cmocka_unit_test_setup_teardown(every_fault_has_file_and_line, setup, teardown),
        cmocka_unit_test_setup_teardown(the_environment_goes_first, setup, teardown),
        cmocka_unit_test(zones_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
