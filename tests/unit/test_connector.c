/* Reading connector.yaml: a good one, references that are not set, and every fault with file
 * and line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "connect/account.h"
#include "connect/connector.h"
#include "connect/net.h"
#include "connect/embedded.h"

static char dir[256];
static struct arena arena;

static void write_file(const char *path, const char *text) {
    char full[512];
    snprintf(full, sizeof full, "%s/%s", dir, path);
    FILE *file = fopen(full, "wb");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int set_up(void **state) {
    char path[512];
    snprintf(dir, sizeof dir, "/tmp/penstock-connector-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/connectors", dir);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/connectors/acme", dir);
    mkdir(path, 0755);
    arena_init(&arena, 0);
    write_file("connectors/acme/in.lua", "return function(doc) return {id = doc.id} end\n");
    write_file("connectors/acme/bad.lua", "return function(doc)\n  return {\nend\n");
    return 0;
}

static int tear_down(void **state) {
    static const char *const files[] = {"connectors/acme/in.lua", "connectors/acme/bad.lua",
                                        "connectors/acme/connector.yaml", "connectors/acme/key",
                                        "connectors/acme", "connectors"};
    char path[512];
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        remove(path);
    }
    rmdir(dir);
    arena_free(&arena);
    return 0;
}

#define HEAD "connector: acme\nversion: \"1.0.0\"\nowner: team\n"

static const char full_text[] = HEAD
    "settings:\n"
    "  channel: web-de\n"
    "  base_url: \"http://${env:ACME_TEST_HOST:-erp.example}\"\n"
    "  count: 3\n"
    "  codes: {MwSt: DE-STD}\n"
    "receive:\n"
    "  - topic: orders\n"
    "    signature: {scheme: hmac-sha256-hex, header: X-Sig, prefix: \"sha256=\", secret: "
    "[\"${env:ACME_TEST_SECRET}\", \"${env:ACME_TEST_OLD}\"]}\n"
    "    dedup: {member: id}\n"
    "    mapping: in.lua\n"
    "    command: order.capture\n"
    "send:\n"
    "  - subscription: acme-orders\n"
    "    events: [order.captured, stock.*]\n"
    "    mapping: in.lua\n"
    "    request: {url: \"${setting:base_url}/orders\", headers: {Idempotency-Key: \"{event.id}\", "
    "Authorization: \"Bearer ${env:ACME_TEST_TOKEN}\"}}\n"
    "    lookup: {url: \"${setting:base_url}/orders?x={event.subject}\", found: /items/0}\n"
    "    outcome: {success: [200, 201], final: [503], retryable: [409]}\n"
    "    retry: {first_ms: 10, jitter: none, age_max_s: 0}\n";

static struct connectors *load(const char *text, struct fault *fault) {
    struct connectors *set = NULL;
    fault_init(fault, &arena);
    write_file("connectors/acme/connector.yaml", text);
    enum err err = connectors_load(dir, &set, fault);
    assert_int_equal(err == OK, set != NULL);
    return set;
}

static uint8_t means(const struct connector_send *send, int status) { return send->outcome->kind[status]; }

static void test_full(void **state) {
    struct fault fault;
    setenv("ACME_TEST_SECRET", "s3cret", 1);
    setenv("ACME_TEST_OLD", "", 1);
    setenv("ACME_TEST_TOKEN", "tok", 1);
    struct connectors *set = load(full_text, &fault);
    if (!set)
        fail_msg("%s %.*s %.*s", fault.detail, STR_FMT(fault.first ? fault.first->pointer : STR("")),
                 STR_FMT(fault.first ? fault.first->detail : STR("")));
    const struct connector *c = connector_find(set, STR("acme"));
    assert_non_null(c);
    assert_null(connector_find(set, STR("nope")));
    const struct connector_receive *r = connector_topic(c, STR("orders"));
    assert_non_null(r);
    assert_null(connector_topic(c, STR("nope")));
    assert_int_equal(r->signature->scheme, SIGNATURE_HMAC_SHA256_HEX);
    assert_int_equal(r->signature->secret_count, 1); /* an empty one is not set */
    assert_true(str_is(r->signature->secrets[0], "s3cret"));
    assert_true(str_is(c->missing, "env ACME_TEST_OLD"));
    assert_non_null(r->source);
    /* what came from the environment is not for mappings to read */
    assert_non_null(json_member(c->settings, STR("channel")));
    assert_non_null(json_member(c->settings, STR("codes")));
    assert_null(json_member(c->settings, STR("base_url")));
    const struct connector_send *s = connector_subscription(set, STR("acme-orders"));
    assert_non_null(s);
    assert_true(s->enabled);
    assert_true(connector_wants(s, STR("order.captured")));
    assert_true(connector_wants(s, STR("stock.counted")));
    assert_false(connector_wants(s, STR("order.cancelled")));
    assert_true(str_is(s->request->url, "http://erp.example/orders"));
    assert_true(str_is(s->request->method, "POST"));
    assert_int_equal(s->request->header_count, 2);
    assert_true(str_is(s->request->headers[0].value, "{event.id}"));
    assert_true(str_is(s->request->headers[1].value, "Bearer tok"));
    assert_true(str_is(s->lookup->request.method, "GET"));
    assert_true(str_is(s->lookup->request.url, "http://erp.example/orders?x={event.subject}"));
    assert_int_equal(means(s, 200), OUTCOME_SUCCESS);
    assert_int_equal(means(s, 202), OUTCOME_FINAL); /* success is spelled out */
    assert_int_equal(means(s, 409), OUTCOME_RETRYABLE);
    assert_int_equal(means(s, 422), OUTCOME_FINAL);
    assert_int_equal(means(s, 429), OUTCOME_THROTTLED);
    assert_int_equal(means(s, 500), OUTCOME_AMBIGUOUS);
    assert_int_equal(means(s, 504), OUTCOME_UNREACHABLE);
    assert_int_equal(means(s, 503), OUTCOME_FINAL);
    assert_int_equal(s->retry->of[RETRY_AMBIGUOUS]->first_ms, 10);
    assert_int_equal(s->priority, NET_LEDGER);
    assert_int_equal(s->retry->first_ms, 10);
    assert_int_equal(s->retry->max_ms, 60000);
    assert_int_equal(s->retry->jitter, JITTER_NONE);
    assert_int_equal(s->retry->age_max_s, 0);
    assert_int_equal(s->limits->concurrency, 4);
    assert_int_equal(s->timeout_ms, 10000);
    assert_int_equal(s->missing.len, 0);
    connectors_release(set);
}

/* What is not set is named, and makes only its own subscription unusable. */
static void test_not_set(void **state) {
    struct fault fault;
    unsetenv("ACME_TEST_TOKEN");
    unsetenv("ACME_TEST_SECRET");
    struct connectors *set = load(full_text, &fault);
    assert_non_null(set);
    const struct connector_send *s = connector_subscription(set, STR("acme-orders"));
    assert_true(str_is(s->missing, "env ACME_TEST_TOKEN"));
    assert_int_equal(connector_topic(set->items[0], STR("orders"))->signature->secret_count, 0);
    connectors_release(set);
}

static void test_file(void **state) {
    struct fault fault;
    char text[1024];
    write_file("connectors/acme/key", "from-file\r\n");
    snprintf(text, sizeof text, HEAD
             "receive:\n  - topic: t\n    signature: {scheme: hmac-sha256-base64, header: X, secret: "
             "\"${file:%s/connectors/acme/key}\"}\n    mapping: in.lua\n    command: order.capture\n", dir);
    struct connectors *set = load(text, &fault);
    assert_non_null(set);
    struct connector_signature *s = connector_topic(set->items[0], STR("t"))->signature;
    assert_int_equal(s->secret_count, 1);
    assert_true(str_is(s->secrets[0], "from-file"));
    connectors_release(set);
}

/* The text has this fault, at this place. */
static void refuses(const char *text, const char *place, const char *what) {
    struct fault fault;
    struct connectors *set = load(text, &fault);
    if (set)
        fail_msg("taken, but should be refused at %s: %s", place, what);
    for (const struct fault_item *i = fault.first; i; i = i->next) {
        if (str_is(i->pointer, place) && memmem(i->detail.ptr, i->detail.len, what, strlen(what)))
            return;
    }
    for (const struct fault_item *i = fault.first; i; i = i->next)
        print_message("  %.*s %.*s\n", STR_FMT(i->pointer), STR_FMT(i->detail));
    fail_msg("no fault at %s with \"%s\" (%s)", place, what, fault.detail);
}

#define AT "connectors/acme/connector.yaml:"
#define TOPIC(signature, rest)                                                                     \
    HEAD "receive:\n  - topic: t\n    signature: {" signature "}\n    command: order.capture\n" rest

static void test_faults(void **state) {
    refuses(HEAD "colour: red\n", AT "4:/colour", "");
    refuses("connector: other\nversion: \"1\"\nowner: t\n", AT "1:/connector", "folder's name");
    refuses("version: \"1\"\nowner: t\n", AT "1:/connector", "");
    refuses(TOPIC("scheme: md5, header: X, secret: \"${env:A}\"", "    mapping: in.lua\n"),
            AT "6:/receive/0/signature/scheme", "");
    refuses(TOPIC("scheme: hmac-sha256-hex, secret: \"${env:A}\"", "    mapping: in.lua\n"),
            AT "6:/receive/0/signature/header", "is needed");
    refuses(TOPIC("scheme: hmac-sha256-hex, header: X, secret: plain", "    mapping: in.lua\n"),
            AT "6:/receive/0/signature/secret", "not kept in files");
    refuses(TOPIC("scheme: hmac-sha256-hex, header: X", "    mapping: in.lua\n"),
            AT "6:/receive/0/signature/secret", "one secret");
    refuses(TOPIC("scheme: none", "    mapping: gone.lua\n"), AT "8:/receive/0/mapping", "No such file");
    refuses(TOPIC("scheme: none", "    mapping: bad.lua\n"), AT "8:/receive/0/mapping", "acme/bad.lua:3:");
    refuses(TOPIC("scheme: none", "    mapping: ../acme/in.lua\n"), AT "8:/receive/0/mapping",
            "of the connector's folder");
    refuses(TOPIC("scheme: none", "    mapping: in.lua\n    dedup: {}\n"), AT "9:/receive/0/dedup",
            "either header or member");
    refuses(HEAD "settings: {a: \"${setting:b}\"}\n", AT "4:/settings/a", "no setting");
    refuses(HEAD "settings: {a: \"${what:b}\"}\n", AT "4:/settings/a", "is none of");
    refuses(HEAD "settings: {a: \"${env:b\"}\n", AT "4:/settings/a", "without its");
    refuses(HEAD "send:\n  - subscription: s\n    events: [a]\n    request: {url: x}\n"
                 "    outcome: {success: [999]}\n", AT "8:/send/0/outcome/success", "list of statuses");
    refuses(HEAD "send:\n  - subscription: s\n    events: [a]\n    request: {url: x}\n"
                 "  - subscription: s\n    events: [a]\n    request: {url: x}\n",
            AT "8:/send/1/subscription", "twice");
    refuses("a: [\n", AT "2", "");
}

#define SEND(rest) HEAD "send:\n  - subscription: s\n    events: [a.b]\n    request: {url: x}\n" rest

/* `conflate` and `batch`: what can not stand together, and what the word of delivery needs. */
static void test_batch_faults(void **state) {
    refuses(SEND("    conflate: newest\n"), AT "8:/send/0/conflate", "latest");
    refuses(SEND("    conflate: latest\n    script: in.lua\n"), AT "8:/send/0/conflate", "can not stand with script");
    refuses(SEND("    conflate: latest\n    personal: true\n"), AT "9:/send/0/personal", "not for conflate");
    refuses(SEND("    conflate: latest\n    key: none\n"), AT "9:/send/0/key", "conflate needs a key");
    refuses(SEND("    conflate: latest\n    key: sku\n"), AT "9:/send/0/key", "availability.changed alone");
    refuses(HEAD "send:\n  - subscription: s\n    events: [availability.changed]\n    request: {url: x}\n",
            AT "5:/send/0/conflate", "needs conflate: latest");
    refuses(HEAD "send:\n  - subscription: s\n    events: [availability.changed, a.b]\n    request: {url: x}\n"
                 "    conflate: latest\n", AT "6:/send/0/events", "stands alone");
    refuses(SEND("    batch: {max_items: 10}\n"), AT "8:/send/0/batch", "needs a lookup");
    refuses(SEND("    batch: {max_items: 0, idempotent: true}\n"), AT "8:/send/0/batch/max_items", "1");
    refuses(SEND("    batch: {max_items: many, idempotent: true}\n"), AT "8:/send/0/batch/max_items", "");
    refuses(SEND("    batch: {size: 10, idempotent: true}\n"), AT "8:/send/0/batch/size", "");
    refuses(SEND("    batch:\n      idempotent: true\n      by: day\n"), AT "10:/send/0/batch/by", "JSON Pointer");
    refuses(SEND("    batch:\n      idempotent: true\n      answer: gone.lua\n"), AT "10:/send/0/batch/answer",
            "No such file");
    refuses(SEND("    reference: /n\n    batch: {idempotent: true}\n"), AT "8:/send/0/reference",
            "number of each member");
    refuses(SEND("    expect: {every_s: 0}\n"), AT "8:/send/0/expect/every_s", "1");
    refuses(SEND("    expect: {every_s: 60, between: 8-20}\n"), AT "8:/send/0/expect/between", "");
}

/* `account`: limits that are none. */
static void test_account_faults(void **state) {
    refuses(HEAD "account:\n  rate: {per_s: 1}\n", AT "5:/account/rate/calls", "is required");
    refuses(HEAD "account:\n  rate: {calls: 0}\n", AT "5:/account/rate/calls", "1");
    refuses(HEAD "account:\n  rate: {calls: 1, per_s: 86400, burst: 1000}\n", AT "5:/account/rate/burst",
            "year to fill");
    refuses(HEAD "account:\n  batch_max: -1\n", AT "5:/account/batch_max", "0");
    refuses(HEAD "account:\n  speed: 9\n", AT "5:/account/speed", "");
    refuses(HEAD "account:\n  zone: Europe/Nowhere\n", AT "5:/account/zone", "knows no time zone Europe/Nowhere");
    refuses(HEAD "account:\n  maintenance:\n    - {from: \"25:00\", to: \"04:00\"}\n",
            AT "6:/account/maintenance/0/from", "time of the day");
    refuses(HEAD "account:\n  maintenance:\n    - {from: \"02:00\", to: \"4am..\"}\n",
            AT "6:/account/maintenance/0/to", "time of the day");
    refuses(HEAD "account:\n  maintenance:\n    - {days: [sunday], from: \"02:00\", to: \"04:00\"}\n",
            AT "6:/account/maintenance/0/days", "must be a list of mon");
    refuses(HEAD "account:\n  maintenance:\n    - {dates: [\"31.12.2026\"], from: \"02:00\", to: \"04:00\"}\n",
            AT "6:/account/maintenance/0/dates/0", "2026-12-31");
    refuses(HEAD "account:\n  breaker: {after: 0}\n", AT "5:/account/breaker/after", "1");
}

/* What platforms publish is declared; what has no limits, or is the installation's own, is not slowed. */
static void test_shipped_accounts(void **state) {
    struct connectors *set = NULL;
    struct fault fault;
    fault_init(&fault, &arena);
    assert_int_equal(connectors_load(PENSTOCK_SOURCE_ROOT, &set, &fault), OK);
    const struct connector *shopify = connector_find(set, STR("shopify")), *square = connector_find(set, STR("square"));
    assert_non_null(shopify->account);
    const struct governor_limits *limits = &shopify->account->limits;
    assert_true(limits->calls == 2 && limits->per_ms == 1000 && limits->burst == 40 && !limits->fixed);
    assert_int_equal(shopify->account->batch_max, 250);
    assert_non_null(square->account);
    assert_int_equal(square->account->limits.calls, 0); /* no numbers are published */
    static const char *const free[] = {"event-stream-kafka", "event-stream-nats", "generic-csv", "generic-erp",
                                       "generic-json", "tryton", "vendure", "woocommerce"};
    assert_int_equal(set->count, sizeof free / sizeof *free + 2);
    for (size_t i = 0; i < sizeof free / sizeof *free; i++)
        assert_null(connector_find(set, str_c(free[i]))->account);
    connectors_release(set);
}

static void test_embedded(void **state) {
    bool yaml = false;
    const char *before = "";
    for (const struct embedded_file *f = embedded_files; f->path; f++) {
        assert_true(strcmp(before, f->path) < 0);
        assert_int_equal(f->data[f->len], 0);
        before = f->path;
        yaml = yaml || strcmp(f->path, "connectors/shopify/connector.yaml") == 0;
    }
    assert_true(yaml);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full),   cmocka_unit_test(test_not_set),
        cmocka_unit_test(test_file),   cmocka_unit_test(test_faults),
        cmocka_unit_test(test_embedded),
        cmocka_unit_test(test_batch_faults),
        cmocka_unit_test(test_account_faults),
        cmocka_unit_test(test_shipped_accounts),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
