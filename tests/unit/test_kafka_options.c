/* What an address and `auth` become in librdkafka's own configuration: TLS, certificates and SASL are handed
 * over as they are said, what it does not take is refused in words, and nothing of it needs a broker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "connect/kafka_options.h"

static struct arena arena;

static rd_kafka_conf_t *conf_of(const char *address, const char *authorization, enum err want, struct fault *fault) {
    struct stream_url url;
    rd_kafka_conf_t *conf = NULL;
    *fault = (struct fault){0};
    assert_int_equal(stream_url_read(str_c(address), &arena, &url, fault), OK);
    enum err err = kafka_options_make(&url, authorization ? str_c(authorization) : STR_NONE, &arena, &conf, fault);
    if (err != want)
        fail_msg("%s: %d, %s", address, err, fault->detail);
    return conf;
}

static void is_set(rd_kafka_conf_t *conf, const char *name, const char *want) {
    char value[200] = "";
    size_t size = sizeof value;
    bool known = rd_kafka_conf_get(conf, name, value, &size) == RD_KAFKA_CONF_OK;
    if (!known || strcmp(value, want) != 0)
        fail_msg("%s is \"%s\", not \"%s\"", name, value, want);
}

struct row {
    const char *address, *authorization;
    struct {
        const char *name, *value;
    } want[6];
};

/* "hub:se:cret" */
#define BASIC "Basic aHViOnNlOmNyZXQ="
static const struct row rows[] = {
    {"kafka://a:9092,b:9093/t", NULL,
     {{"security.protocol", "plaintext"}, {"bootstrap.servers", "a:9092,b:9093"}, {"client.id", "penstock"}}},
    {"kafka+tls://a:9092/t?ca=%2Fetc%2Fca.pem", NULL,
     {{"security.protocol", "ssl"}, {"ssl.ca.location", "/etc/ca.pem"},
      {"enable.ssl.certificate.verification", "true"}, {"ssl.endpoint.identification.algorithm", "https"}}},
    {"kafka+tls://a:9092/t?ca=/c&cert=/x.pem&cert_key=/x.key", NULL,
     {{"security.protocol", "ssl"}, {"ssl.certificate.location", "/x.pem"}, {"ssl.key.location", "/x.key"}}},
    {"kafka://a:9092/t", BASIC,
     {{"security.protocol", "sasl_plaintext"}, {"sasl.mechanism", "PLAIN"}, {"sasl.username", "hub"},
      {"sasl.password", "se:cret"}}},
    {"kafka+tls://a:9092/t?sasl=SCRAM-SHA-512&ca=/c", BASIC,
     {{"security.protocol", "sasl_ssl"}, {"sasl.mechanism", "SCRAM-SHA-512"}, {"sasl.username", "hub"},
      {"ssl.ca.location", "/c"}}},
    {"kafka+tls://a:9092/t?sasl=SCRAM-SHA-256", BASIC, {{"sasl.mechanism", "SCRAM-SHA-256"}}},
};

static void what_is_said_is_handed_over(void **state) {
    struct fault fault;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        rd_kafka_conf_t *conf = conf_of(rows[i].address, rows[i].authorization, OK, &fault);
        for (int n = 0; n < 6 && rows[i].want[n].name; n++)
            is_set(conf, rows[i].want[n].name, rows[i].want[n].value);
        rd_kafka_conf_destroy(conf);
    }
}

/* The bundle that the environment names, where the address names none. */
static void the_bundle_of_the_environment(void **state) {
    struct fault fault;
    setenv("PENSTOCK_CA_FILE", "/env.pem", 1);
    rd_kafka_conf_t *conf = conf_of("kafka+tls://a:9092/t", NULL, OK, &fault);
    is_set(conf, "ssl.ca.location", "/env.pem");
    rd_kafka_conf_destroy(conf);
    conf = conf_of("kafka+tls://a:9092/t?ca=/own.pem", NULL, OK, &fault);
    is_set(conf, "ssl.ca.location", "/own.pem");
    rd_kafka_conf_destroy(conf);
    unsetenv("PENSTOCK_CA_FILE");
}

static void what_can_not_be_is_refused(void **state) {
    struct fault fault;
    assert_null(conf_of("kafka://a:9092/t", "Bearer t0ken", ERR_INVALID, &fault));
    assert_non_null(strstr(fault.detail, "auth basic"));
    /* a mechanism that needs more than a name and a password, or that nobody knows */
    static const char *const wrong[] = {"kafka://a:9092/t?sasl=GSSAPI", "kafka://a:9092/t?sasl=OAUTHBEARER",
                                        "kafka://a:9092/t?sasl=plain"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_null(conf_of(wrong[i], BASIC, ERR_INVALID, &fault));
        assert_non_null(strstr(fault.detail, "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"));
    }
}

/* Files are opened when the client is made: what is not there is told with its name. */
static void a_file_that_is_not_there(void **state) {
    struct fault fault;
    char why[300] = "";
    rd_kafka_conf_t *conf = conf_of("kafka+tls://a:9092/t?ca=/nowhere/ca.pem", NULL, OK, &fault);
    rd_kafka_t *kafka = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    assert_null(kafka);
    assert_non_null(strstr(why, "ssl.ca.location"));
    rd_kafka_conf_destroy(conf);
}

static int arena_begin(void **state) {
    arena_init(&arena, 0);
    return 0;
}
static int arena_end(void **state) {
    arena_free(&arena);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_said_is_handed_over),
        cmocka_unit_test(the_bundle_of_the_environment),
        cmocka_unit_test(what_can_not_be_is_refused),
        cmocka_unit_test(a_file_that_is_not_there),
    };
    return cmocka_run_group_tests_name("kafka_options", tests, arena_begin, arena_end);
}
