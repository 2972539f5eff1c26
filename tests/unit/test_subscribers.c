/* Subscriptions that others make: what may be said of them, that the state is the same after a replay
 * and when it was written down; signatures; and delivery to a subscriber by a clock in hand: the
 * pauses of the standard, giving up, going on, sending again. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/beside.h"
#include "../support/cell.h"
#include "base/inet.h"
#include "base/mem.h"
#include "connect/signature.h"
#include "connect/webhook.h"
#include "deliver/deliver.h"
#include "deliver/pull.h"
#include "deliver/stop.h"
#include "deliver/subscribers.h"
#include "domain/subscribers_priv.h"

static struct cell cell;

static bool says(const char *text) {
    struct str body = cell_body(&cell);
    return memmem(body.ptr, body.len, text, strlen(text)) != NULL;
}

/* The state is what its events make of it. */
static void again(bool crash) {
    char *before = cell_dump(&cell);
    if (crash)
        cell_crash(&cell);
    else
        cell_restart(&cell);
    char *after = cell_dump(&cell);
    assert_string_equal(before, after);
    mem_free(before);
    mem_free(after);
}

#define HOOK "{\"name\":\"crm\",\"url\":\"https://crm.example.com/in\",\"events\":[\"stock.*\"]}"

static void decisions(void) {
    assert_int_equal(cell_run(&cell, "subscriber.create", HOOK, NULL, NULL), 201);
    assert_true(says("\"delivery\":\"crm:1\"") && says("\"after\":1,"));
    assert_true(says("\"secret\":\"whsec_"));
    for (uint32_t i = 0; i < cell.journal.count; i++) {
        const struct record *r = &cell.journal.records[i];
        assert_null(memmem(r->data.ptr, r->data.len, "whsec_", 6));
        assert_null(memmem(r->meta.ptr, r->meta.len, "whsec_", 6));
    }
    assert_int_equal(cell_run(&cell, "subscriber.create", HOOK, NULL, NULL), 409);
    again(true);
    assert_int_equal(cell_run(&cell, "subscriber.change", "{\"keys\":[\"A@*\"]}", "crm", NULL), 200);
    assert_true(says("\"version\":2") && says("\"keys\":[\"A@*\"]"));
    assert_int_equal(cell_run(&cell, "subscriber.change", "{\"personal\":true}", "crm", NULL), 403);
    assert_int_equal(cell_run(&cell, "subscriber.change", "{\"url\":\"http://a.de\"}", "crm", NULL), 422);
    assert_int_equal(cell_run(&cell, "subscriber.change", "{}", "other", NULL), 404);
    /* the hub stops the one that it means, once */
    const char *other = "{\"subscription\":\"crm:7\",\"why\":\"gone\",\"cause\":\"410\",\"made\":true}";
    const char *stop = "{\"subscription\":\"crm:1\",\"why\":\"gone\",\"cause\":\"410\",\"made\":true}";
    uint64_t seq = core_seq(cell.core);
    assert_int_equal(cell_run(&cell, "subscription.stop", other, NULL, NULL), 200);
    assert_int_equal(core_seq(cell.core), seq);
    assert_int_equal(cell_run(&cell, "subscription.stop", stop, NULL, NULL), 201);
    assert_int_equal(cell_run(&cell, "subscription.stop", stop, NULL, NULL), 200);
    assert_int_equal(core_seq(cell.core), seq + 2); /* stopped, and a case for a person */
    again(false);
    assert_int_equal(cell_run(&cell, "subscriber.change", "{}", "crm", NULL), 200);
    assert_true(says("\"state\":\"stopped\",\"stopped\":{\"since\":") && says("\"why\":\"gone\",\"cause\":\"410\""));
    assert_int_equal(cell_run(&cell, "subscription.start", "{\"subscription\":\"crm:1\"}", NULL, NULL), 201);
    assert_int_equal(core_seq(cell.core), seq + 5); /* changed, started, and the case of it resolved */
    assert_int_equal(cell_run(&cell, "subscriber.change", "{}", "crm", NULL), 200);
    assert_true(says("\"state\":\"active\"") && !says("gone"));
    assert_int_equal(cell_run(&cell, "subscription.stop", stop, NULL, NULL), 201);
    again(true);
    assert_int_equal(cell_run(&cell, "subscriber.create",
                              "{\"name\":\"w:1\",\"kind\":\"pull\",\"events\":[\"*\"]}", NULL, NULL), 201);
    assert_int_equal(cell_run(&cell, "subscriber.rotate", "{}", "w:1", NULL), 409);
    seq = core_seq(cell.core);
    assert_int_equal(cell_run(&cell, "subscriber.delete", NULL, "crm", NULL), 200);
    assert_int_equal(core_seq(cell.core), seq + 2); /* and its case, as it waits for nobody */
    assert_int_equal(stops_count(core_state(cell.core, &stops_capability)), 0);
    assert_int_equal(cell_run(&cell, "subscriber.create", HOOK, NULL, NULL), 201);
    assert_true(!says("\"delivery\":\"crm:1\"") && says("\"state\":\"active\""));
    again(true);
    again(false);
}

static void what_may_be_said(void **state) {
    cell_open(&cell, 1);
    decisions();
    cell_close(&cell);
    cell_open_shelved(&cell, 1);
    decisions();
    cell_close(&cell);
}

/* So many secrets count as were made within their overlap, and never more than there is room for. */
static void secrets_end(void **state) {
    cell_open(&cell, 1);
    assert_int_equal(cell_run(&cell, "subscriber.create", HOOK, NULL, NULL), 201);
    for (int i = 2; i < 8; i++) {
        cell.now_us += 1000000;
        assert_int_equal(cell_run(&cell, "subscriber.rotate", "{\"overlap_s\":100}", "crm", NULL), 200);
        const struct subscriber_entry *entry =
            subscriber_find(core_state(cell.core, &subscribers_capability), STR("crm"));
        assert_int_equal(entry->doc.secrets.count, i < SUBSCRIBER_SECRETS_MAX ? i : SUBSCRIBER_SECRETS_MAX);
        subscriber_release(entry);
    }
    cell.now_us += 1000000000;
    assert_int_equal(cell_run(&cell, "subscriber.rotate", "{\"overlap_s\":0}", "crm", NULL), 200);
    const struct subscriber_entry *entry =
        subscriber_find(core_state(cell.core, &subscribers_capability), STR("crm"));
    assert_int_equal(entry->doc.secrets.count, 1);
    subscriber_release(entry);
    again(true);
    cell_close(&cell);
}

static void nobody_is_numbered_twice(void **state) {
    struct arena arena;
    arena_init(&arena, 0);
    struct str one = subscriber_secret_make(NULL, STR("crm:1"), STR("a"), &arena);
    assert_true(str_eq(one, subscriber_secret_make(NULL, STR("crm:1"), STR("a"), &arena)));
    assert_false(str_eq(one, subscriber_secret_make(NULL, STR("crm:1"), STR("b"), &arena)));
    assert_false(str_eq(one, subscriber_secret_make(NULL, STR("crm:2"), STR("a"), &arena)));
    assert_null(signature_secret_wrong(SIGNATURE_STANDARD_WEBHOOKS, one));
    arena_free(&arena);
}

/* The example of Standard Webhooks 1.0, and of the libraries that verify it. */
static void signed_as_the_standard_says(void **state) {
    struct webhook webhook = {
        .secrets = {{STR("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), INT64_C(1614265331000000)},
                    {STR("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"), 0}},
        .secret_count = 1};
    struct str id = STR("msg_p5jXN8AQM9LWM0D4loKWxJek"), body = STR("{\"test\": 2432232314}");
    struct fault fault = {0};
    struct buf out;
    buf_init(&out, 0);
    assert_int_equal(webhook_sign(&webhook, id, INT64_C(1614265330000000), body, &out, &fault), OK);
    assert_string_equal(buf_cstr(&out), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    /* both, the newest first; then the old one's time is over */
    webhook.secret_count = 2;
    buf_clear(&out);
    assert_int_equal(webhook_sign(&webhook, id, INT64_C(1614265330000000), body, &out, &fault), OK);
    assert_non_null(strstr(buf_cstr(&out), " v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    buf_clear(&out);
    assert_int_equal(webhook_sign(&webhook, id, INT64_C(1614265331000000), body, &out, &fault), OK);
    assert_null(strchr(buf_cstr(&out), ' '));
    assert_null(strstr(buf_cstr(&out), "g0hM9"));
    /* nothing leaves unsigned */
    webhook.secret_count = 1;
    assert_int_equal(webhook_sign(&webhook, id, INT64_C(1614265331000000), body, &out, &fault), ERR_INTERNAL);
    buf_free(&out);
}

static void keys_are_subjects_or_beginnings(void **state) {
    struct str keys[] = {STR("A@X"), STR("B@*")};
    struct webhook webhook = {.keys = keys, .key_count = 2};
    assert_true(webhook_wants_key(&webhook, STR("A@X")) && webhook_wants_key(&webhook, STR("B@Y")));
    assert_false(webhook_wants_key(&webhook, STR("A@XY")) || webhook_wants_key(&webhook, STR("B")));
    webhook.key_count = 0;
    assert_true(webhook_wants_key(&webhook, STR("anything")));
}

static void addresses(void **state) {
    static const char *const open[] = {"8.8.8.8", "172.32.0.1", "100.128.0.1", "2a00:1450::1", "::ffff:8.8.8.8"};
    static const char *const shut[] = {"127.0.0.1", "10.0.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "::1", "::", "fe80::1",
        "fd12::1", "ff02::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1"};
    struct inet_address address;
    for (size_t i = 0; i < sizeof open / sizeof *open; i++)
        if (!inet_parse(str_c(open[i]), &address) || !inet_public(&address))
            fail_msg("%s is public", open[i]);
    for (size_t i = 0; i < sizeof shut / sizeof *shut; i++)
        if (!inet_parse(str_c(shut[i]), &address) || inet_public(&address))
            fail_msg("%s is not public", shut[i]);
    assert_null(subscriber_url_wrong(STR("https://example.com:8443/a?b=c"), false));
    assert_null(subscriber_url_wrong(STR("http://127.0.0.1:1/a"), true));
    assert_non_null(subscriber_url_wrong(STR("http://example.com/"), false));
    assert_non_null(subscriber_url_wrong(STR("https://LocalHost./"), false));
    assert_non_null(subscriber_url_wrong(STR("https://[::1"), false));
    assert_non_null(subscriber_url_wrong(STR("https://?x"), true));
}

/* --- delivery -------------------------------------------------------------------------------- */

static struct remote {
    struct net net;
    struct waiting { net_done *done; void *ctx; struct taken { uint64_t seq; char key; } of; } calls[64];
    struct taken taken[64]; /* answered 2xx, in order: which event, about a subject that begins so */
    uint32_t taken_count;
    uint32_t count;
    int status; /* of every answer; 0: nobody there */
    int posts;
    char id[64], key[8];
    bool guarded;
    char host[12]; /* the beginning of the newest address */
} remote;

static enum err remote_send(struct net *net, const struct net_request *request, net_done *done,
                            void *ctx, struct net_call **out, struct fault *fault) {
    must(remote.count < 64);
    struct str body = request->body, subject = STR("\"subject\":\""), seq = STR("\"penstockseq\":");
    const char *key = memmem(body.ptr, body.len, subject.ptr, subject.len);
    const char *number = memmem(body.ptr, body.len, seq.ptr, seq.len);
    must(key && number);
    remote.calls[remote.count++] =
        (struct waiting){done, ctx, {strtoull(number + seq.len, NULL, 10), key[subject.len]}};
    remote.posts++;
    remote.guarded = request->guarded;
    snprintf(remote.host, sizeof remote.host, "%.*s", (int)(sizeof remote.host - 1), request->url.ptr);
    for (uint32_t i = 0; i < request->header_count; i++)
        if (str_is(request->headers[i].name, "webhook-id"))
            snprintf(remote.id, sizeof remote.id, "%.*s", STR_FMT(request->headers[i].value));
    return OK;
}
static const struct net_ops remote_ops = {.send = remote_send};

static struct deliver *deliver;
static struct connectors nothing;
static char path[64];

static void deliver_open(void) {
    struct deliver_options options = {.core = cell.core, .tail = cell.tail, .config = &cell.config,
                                      .connectors = &nothing, .path = path, .clock = &cell.clock,
                                      .rng = &cell.rng.rng, .net = &remote.net};
    struct fault fault = {0};
    if (deliver_create(&options, &deliver, &fault) != OK)
        fail_msg("%s", fault.detail);
}

static int set_up(void **state) {
    cell_open(&cell, 1);
    remote = (struct remote){.net = {&remote_ops}, .status = 200};
    snprintf(path, sizeof path, "/var/tmp/subscribers-%d.db", (int)getpid());
    unlink(path);
    deliver_open();
    return 0;
}

static int tear_down(void **state) {
    char file[80];
    deliver_destroy(deliver);
    cell_close(&cell);
    for (int i = 0; i < 3; i++) {
        snprintf(file, sizeof file, "%s%s", path, (const char *[]){"", "-wal", "-shm"}[i]);
        unlink(file);
    }
    return 0;
}

/* Rounds until nothing is due now. */
static void settle(void) {
    for (int i = 0; i < 50; i++) {
        deliver_step(deliver);
        while (remote.count > 0) {
            struct waiting call = remote.calls[--remote.count];
            struct net_answer answer = {.status = remote.status, .sent = true};
            if (remote.status == 0)
                answer = (struct net_answer){.error = NET_REFUSED, .detail = "refused"};
            else if (remote.status < 300 && remote.taken_count < 64)
                remote.taken[remote.taken_count++] = call.of;
            call.done(call.ctx, &answer);
        }
        while (core_step(cell.core) > 0)
            ;
    }
}

struct switching {
    bool stop;
    enum err err;
};
static void switch_call(void *ctx) {
    struct switching *s = ctx;
    struct fault fault = {0};
    s->err = s->stop ? deliver_subscription_stop(deliver, STR("crm"), STR("key_1"), STR("rest"), &fault)
                     : deliver_subscription_start(deliver, STR("crm"), STR("key_1"), STR("go on"), &fault);
}
/* A person decides, by the name that who made it gave. */
static enum err switched(bool stop) {
    struct switching s = {.stop = stop};
    beside(switch_call, &s, settle);
    return s.err;
}

static void life_again(void) {
    deliver_destroy(deliver);
    deliver_open();
}

static void count_stock(const char *sku, int n) {
    char json[200];
    snprintf(json, sizeof json,
             "{\"sku\":\"%s\",\"location\":\"WH-HAM\",\"on_hand\":\"%d\",\"counted_at\":"
             "\"2026-11-23T10:00:%02dZ\"}", sku, n, n);
    int status = cell_run(&cell, "stock.count", json, NULL, NULL);
    if (status != 201)
        fail_msg("status %d", status);
}

static struct deliver_stats stats(void) {
    struct deliver_stats out;
    for (uint32_t i = 0; i < deliver_count(deliver); i++)
        if (deliver_stats(deliver, i, &out))
            return out;
    fail_msg("there is none");
    return out;
}

/* 5 s, 5 min, 30 min … 24 h, each up to a tenth longer; then it is held; and sent again. */
static void pauses_of_the_standard(void **state) {
    cell.config.settings.webhook_stop_after_s = 31536000;
    assert_int_equal(cell_run(&cell, "subscriber.create", HOOK, NULL, NULL), 201);
    remote.status = 500;
    count_stock("A", 1);
    settle();
    assert_true(remote.guarded);
    for (uint32_t i = 0; i < webhook_pause_count; i++) {
        assert_int_equal(remote.posts, i + 1);
        cell.now_us += webhook_pauses_ms[i] * 1000 - 1000;
        settle();
        assert_int_equal(remote.posts, i + 1); /* not a moment earlier */
        cell.now_us += webhook_pauses_ms[i] * 100 + 2000;
        settle();
    }
    assert_int_equal(remote.posts, webhook_pause_count + 1);
    assert_int_equal(stats().held, 1);
    count_stock("A", 2); /* waits behind */
    remote.status = 200;
    count_stock("B", 3);
    settle();
    assert_int_equal(stats().delivered, 1);
    life_again();
    settle();
    assert_int_equal(stats().held, 1);
}

static void nobody_there_is_probed(void **state) {
    assert_int_equal(cell_run(&cell, "subscriber.create", HOOK, NULL, NULL), 201);
    remote.status = 0;
    count_stock("A", 1);
    int64_t hour = INT64_C(3600000000);
    for (int64_t at = 0; at < hour; at += 1000000) {
        deliver_step(deliver);
        while (remote.count > 0) {
            struct waiting call = remote.calls[--remote.count];
            struct net_answer answer = {.error = NET_REFUSED, .detail = "refused"};
            call.done(call.ctx, &answer);
        }
        cell.now_us += 1000000;
    }
    if (remote.posts < 12 || remote.posts > 30) /* a few at first, then every five minutes */
        fail_msg("%d probes in an hour", remote.posts);
    assert_int_equal(stats().held, 0);
}

static void gone_is_believed(void **state) {
    assert_int_equal(cell_run(&cell, "subscriber.create", HOOK, NULL, NULL), 201);
    remote.status = 410;
    count_stock("A", 1);
    count_stock("B", 2);
    settle();
    int posts = remote.posts;
    assert_true(posts <= 2);
    assert_true(stats().stopped);
    assert_string_equal(deliver_state(&(struct deliver_stats[]){stats()}[0]), "stopped");
    assert_int_equal(stats().stop.why, STOP_GONE);
    remote.status = 204;
    life_again(); /* whatever ends meanwhile */
    settle();
    assert_int_equal(remote.posts, posts);
    assert_int_equal(switched(false), OK);
    settle();
    assert_int_equal(stats().delivered, 2);
    assert_int_equal(remote.posts, posts + 2);
}

static void patience_ends_where_the_clock_was_set_back(void **state) {
    int64_t day_us = INT64_C(86400000000);
    assert_int_equal(cell_run(&cell, "subscriber.create", HOOK, NULL, NULL), 201);
    remote.status = 503;
    count_stock("A", 1);
    settle();
    cell.now_us += day_us; /* and that is on disk */
    settle();
    cell.back_us = 300 * day_us;
    life_again(); /* it has failed since a day that is to come */
    cell.now_us += day_us;
    settle();
    cell.now_us += 4 * day_us;
    settle();
    assert_false(stats().stopped);
    cell.now_us += 2 * day_us;
    settle();
    assert_true(stats().stopped);
    assert_int_equal(stats().stop.why, STOP_DEAD);
}

/* Five days without a success; a success begins them anew, and a restart does not. */
static void patience_ends(void **state) {
    int64_t day_us = INT64_C(86400000000);
    assert_int_equal(cell_run(&cell, "subscriber.create", HOOK, NULL, NULL), 201);
    remote.status = 503;
    count_stock("A", 1);
    settle();
    cell.now_us += 4 * day_us;
    settle();
    remote.status = 200;
    cell.now_us += 600000000;
    settle();
    assert_int_equal(stats().delivered, 1);
    remote.status = 503;
    count_stock("A", 2);
    settle();
    cell.now_us += 4 * day_us;
    settle();
    assert_false(stats().stopped);
    life_again();
    settle();
    cell.now_us += day_us + 600000000;
    settle();
    assert_true(stats().stopped);
    assert_int_equal(stats().stop.why, STOP_DEAD);
    cell.now_us += 20 * day_us;
    life_again();
    assert_int_equal(switched(false), OK);
    settle();
    assert_false(stats().stopped); /* it has its five days again */
    life_again();
    settle();
    assert_false(stats().stopped);
    /* a person's rest is no failure, however long */
    cell.now_us += 4 * day_us;
    settle();
    assert_int_equal(switched(true), OK);
    assert_int_equal(switched(true), ERR_CONFLICT);
    cell.now_us += 4 * day_us;
    assert_int_equal(switched(false), OK);
    cell.now_us += day_us;
    settle();
    assert_false(stats().stopped);
    cell.now_us += 6 * day_us;
    settle();
    assert_true(stats().stopped);
}

static void deleted_is_forgotten(void **state) {
    cell.config.settings.webhook_stop_after_s = 31536000;
    assert_int_equal(cell_run(&cell, "subscriber.create", HOOK, NULL, NULL), 201);
    remote.status = 500;
    count_stock("A", 1);
    for (uint32_t i = 0; i <= webhook_pause_count; i++) {
        settle();
        cell.now_us += INT64_C(2) * 86400000000;
    }
    assert_int_equal(stats().held, 1);
    assert_int_equal(cell_run(&cell, "subscriber.delete", NULL, "crm", NULL), 200);
    settle();
    assert_int_equal(deliver_count(deliver), 1);
    struct deliver_stats out;
    assert_false(deliver_stats(deliver, 0, &out));
    cell.now_us += 1000000;
    settle();
    remote.status = 200;
    assert_int_equal(cell_run(&cell, "subscriber.create", HOOK, NULL, NULL), 201);
    settle();
    assert_int_equal(stats().held + stats().delivered, 0); /* another one, from now on */
    life_again();
    settle();
    assert_int_equal(deliver_count(deliver), 1);
}

/* --- sending again --------------------------------------------------------------------------- */

struct recovering {
    uint64_t since_seq;
    int64_t since_us;
    uint64_t recovered;
    bool more;
    enum err err;
};
static void recover_call(void *ctx) {
    struct recovering *r = ctx;
    struct fault fault = {0};
    char name[] = "crm:1";
    r->err = subscriber_recover(deliver, str_c(name), r->since_seq, r->since_us, STR("key_1"), &r->recovered,
                                &r->more, &fault);
}
static void (*meanwhile)(void);
static void recover_turn(void) {
    if (meanwhile)
        meanwhile();
    settle();
}
static uint64_t recovered(uint64_t since_seq, int64_t since_us) {
    struct recovering r = {.since_seq = since_seq, .since_us = since_us};
    beside(recover_call, &r, recover_turn);
    assert_int_equal(r.err, OK);
    assert_false(r.more);
    return r.recovered;
}

/* Until what failed is held. */
static void all_held(uint32_t lanes) {
    for (uint32_t i = 0; i <= webhook_pause_count + 2; i++) {
        settle();
        cell.now_us += INT64_C(2) * 86400000000;
    }
    settle();
    assert_int_equal(stats().held, lanes);
}

/* What was taken, by key, in the order it came. */
static uint32_t taken_of(char key, uint64_t *seqs, uint32_t max) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < remote.taken_count; i++)
        if (remote.taken[i].key == key && n < max)
            seqs[n++] = remote.taken[i].seq;
    return n;
}

static uint64_t counted(const char *sku, int n) {
    count_stock(sku, n);
    return core_seq(cell.core);
}

/* Four keys are held at different times, each with another event behind it: from a seq or a time on, those
 * that were held from there on go, in order, once; the others stay, and what is behind them. */
static void recovered_from_a_place_on(void **state) {
    uint64_t seqs[8], first[4], got[8];
    int64_t time_us[4];
    cell.config.settings.webhook_stop_after_s = 31536000;
    assert_int_equal(cell_run(&cell, "subscriber.create", HOOK, NULL, NULL), 201);
    remote.status = 500;
    for (int i = 0; i < 4; i++) {
        cell.now_us += 1000000;
        time_us[i] = cell.now_us;
        seqs[i] = first[i] = counted((const char *[]){"A", "B", "C", "D"}[i], i + 1);
    }
    for (int i = 0; i < 4; i++)
        seqs[4 + i] = counted((const char *[]){"A", "B", "C", "D"}[i], i + 5);
    all_held(4);
    assert_int_equal(remote.taken_count, 0);
    remote.status = 200;
    assert_int_equal(recovered(seqs[7] + 1, 0), 0); /* nothing is held from there on */
    assert_int_equal(recovered(0, cell.now_us), 0);
    assert_int_equal(remote.taken_count, 0);
    /* the very seq counts, the one before does not; a head stands for what is behind it */
    assert_int_equal(recovered(first[3], 0), 1);
    settle();
    assert_int_equal(taken_of('D', got, 8), 2);
    assert_true(got[0] == first[3] && got[1] == seqs[7]);
    assert_int_equal(remote.taken_count, 2);
    /* likewise by time, to the microsecond */
    assert_int_equal(recovered(0, time_us[2] + 1), 0);
    assert_int_equal(recovered(0, time_us[2]), 1);
    settle();
    assert_int_equal(taken_of('C', got, 8), 2);
    assert_int_equal(remote.taken_count, 4);
    assert_int_equal(stats().held, 2);
    /* all that is left; then there is nothing more, however often it is said */
    cell.now_us += 1000000;
    settle(); /* it is on disk */
    life_again();
    settle();
    assert_int_equal(recovered(0, 0), 2);
    settle();
    assert_int_equal(recovered(0, 0), 0);
    settle();
    assert_int_equal(remote.taken_count, 8);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(taken_of("ABCD"[i], got, 8), 2);
        assert_true(got[0] == first[i] && got[1] == seqs[4 + i]);
    }
    assert_int_equal(stats().held + stats().waiting + stats().parked, 0);
}

static int lively;
/* New events of the keys that are being recovered, and of one that never failed. */
static void live_on(void) {
    if (lively >= 20)
        return;
    count_stock((const char *[]){"A", "B", "E"}[lively % 3], 10 + lively);
    lively++;
}

/* Recovering goes beside what is live: each event once, and those of a key in their order. */
static void recovered_beside_live_ones(void **state) {
    uint64_t got[64];
    uint32_t all = 0;
    cell.config.settings.webhook_stop_after_s = 31536000;
    assert_int_equal(cell_run(&cell, "subscriber.create", HOOK, NULL, NULL), 201);
    remote.status = 500;
    count_stock("A", 1);
    count_stock("B", 2);
    count_stock("A", 3);
    all_held(2);
    remote.status = 200;
    lively = 0;
    live_on(); /* some wait behind what is held, some go */
    live_on();
    live_on();
    settle();
    assert_int_equal(remote.taken_count, 1);
    meanwhile = live_on;
    assert_int_equal(recovered(0, 0), 2);
    meanwhile = NULL;
    while (lively < 20) {
        live_on();
        settle();
    }
    settle();
    for (int k = 0; k < 3; k++) {
        uint32_t n = taken_of("ABE"[k], got, 64);
        for (uint32_t i = 1; i < n; i++)
            assert_true(got[i] > got[i - 1]);
        all += n;
    }
    assert_int_equal(all, 3 + 20);
    assert_int_equal(stats().held + stats().waiting + stats().parked, 0);
}

static uint64_t rows_kept(const char *name, bool *known) {
    struct progress *progress;
    struct progress_cursor cursor;
    struct fault fault = {0};
    uint64_t rows = 0;
    assert_int_equal(progress_open(path, &progress, &fault), OK);
    assert_int_equal(progress_count(progress, str_c(name), &rows, &fault), OK);
    assert_int_equal(progress_load(progress, str_c(name), &cursor, &fault), OK);
    *known = cursor.known;
    progress_close(progress);
    return rows;
}

/* The hub is killed when the journal knows that it is gone, and delivery does not: the next life throws
 * away what is kept of it, and nothing of others. */
/* The journal refuses a batch before delivery has looked: the state is built anew, and what was changed is
 * followed all the same: versions of that state are told from those of the one before. */
static void followed_where_the_state_was_built_anew(void **state) {
    assert_int_equal(cell_run(&cell, "subscriber.create", HOOK, NULL, NULL), 201);
    settle();
    assert_int_equal(cell_run(&cell, "subscriber.change", "{\"events\":[\"order.*\"]}", "crm", NULL), 200);
    cell.journal.fail_appends = 1;
    assert_true(cell_run(&cell, "subscriber.test", NULL, "crm", NULL) >= 500);
    core_step(cell.core);
    settle();
    count_stock("A", 1);
    settle();
    assert_int_equal(remote.taken_count, 0); /* it does not want that any more */
    assert_int_equal(cell_run(&cell, "subscriber.delete", NULL, "crm", NULL), 200);
    cell.journal.fail_appends = 1;
    assert_true(cell_run(&cell, "stock.count", "{\"sku\":\"B\",\"location\":\"WH-HAM\",\"on_hand\":\"1\","
                         "\"counted_at\":\"2026-11-23T10:00:00Z\"}", NULL, NULL) >= 500);
    core_step(cell.core);
    settle();
    struct deliver_stats out;
    assert_false(deliver_stats(deliver, 0, &out));
}

/* One that waits for its turn, because the subscriber asked for a moment, goes as the subscription is then: not
 * at all where that is gone, and else newly signed. */
static void what_waits_goes_as_it_is_then(bool removed) {
    assert_int_equal(cell_run(&cell, "subscriber.create", HOOK, NULL, NULL), 201);
    remote.status = 429;
    count_stock("A", 1);
    settle();
    for (int i = 0; i < 5000 && stats().out == 0; i++) { /* its account's pause lasts longer than its own */
        cell.now_us += 10000;
        settle();
    }
    assert_int_equal(stats().out, 1);
    remote.status = 200;
    int posts = remote.posts;
    if (removed)
        assert_int_equal(cell_run(&cell, "subscriber.delete", NULL, "crm", NULL), 200);
    else
        assert_int_equal(cell_run(&cell, "subscriber.change", "{\"url\":\"https://other.example.com/\"}", "crm",
                                  NULL), 200);
    for (int i = 0; i < 3000; i++) {
        cell.now_us += 10000;
        settle();
    }
    assert_int_equal(remote.posts - posts, removed ? 0 : 1);
    assert_string_equal(remote.host, removed ? "https://crm" : "https://oth");
}
static void removed_while_it_waits(void **state) { what_waits_goes_as_it_is_then(true); }
static void changed_while_it_waits(void **state) { what_waits_goes_as_it_is_then(false); }

static void killed_while_removed(void **state) {
    struct progress *progress;
    struct fault fault = {0};
    bool known;
    cell.config.settings.webhook_stop_after_s = 31536000;
    assert_int_equal(cell_run(&cell, "subscriber.create", HOOK, NULL, NULL), 201);
    remote.status = 500;
    count_stock("A", 1);
    for (uint32_t i = 0; i <= webhook_pause_count; i++) {
        settle();
        cell.now_us += INT64_C(2) * 86400000000;
    }
    settle();
    assert_int_equal(cell_run(&cell, "subscriber.delete", NULL, "crm", NULL), 200);
    deliver_destroy(deliver); /* without a round */
    assert_int_equal(rows_kept("crm:1", &known), 1);
    assert_true(known);
    assert_int_equal(progress_open(path, &progress, &fault), OK);
    progress_set(progress, STR("erp:1"), 7, 7); /* of a connector that is away for a while */
    assert_int_equal(progress_flush(progress, &fault), OK);
    progress_close(progress);
    deliver_open();
    deliver_destroy(deliver); /* killed again at once */
    assert_int_equal(rows_kept("crm:1", &known), 0);
    assert_false(known);
    assert_int_equal(rows_kept("erp:1", &known), 0);
    assert_true(known);
    deliver_open();
    settle();
    assert_int_equal(deliver_count(deliver), 0);
}

/* --- pulling --------------------------------------------------------------------------------- */

#define QUEUE "{\"name\":\"q\",\"kind\":\"pull\",\"events\":[\"stock.counted\"]}"

static struct asked {
    struct pull_ask ask;
    bool done;
} asks[4];
static void ask_done(struct pull_ask *ask) { ((struct asked *)ask->ctx)->done = true; }

static void ask_begin(struct asked *one, enum pull_what what, int64_t wait_s, const struct str *leases,
                      uint32_t count) {
    struct fault fault = {0};
    if (one->ask.done)
        buf_free(&one->ask.answer);
    *one = (struct asked){.ask = {.what = what, .name = STR("q"), .max = 10, .wait_s = wait_s, .lease_s = 60,
                                  .leases = leases, .lease_count = count, .done = ask_done}};
    one->ask.ctx = one;
    buf_init(&one->ask.answer, 0);
    assert_int_equal(pull_submit(deliver, &one->ask, &fault), OK);
    settle();
}

/* The leases of the answer; how many. */
static uint32_t leases_in(const struct asked *one, struct str out[10]) {
    uint32_t n = 0;
    struct str text = buf_str(&one->ask.answer);
    const char *at = text.ptr, *end = text.ptr + text.len;
    while (n < 10 && (at = memmem(at, (size_t)(end - at), "\"lease\":\"", 9)) != NULL) {
        at += 9;
        out[n++] = str_of(at, (size_t)((const char *)memchr(at, '"', (size_t)(end - at)) - at));
    }
    return n;
}

static void asks_free(void) {
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++)
        if (asks[i].ask.done)
            buf_free(&asks[i].ask.answer);
    memset(asks, 0, sizeof asks);
}

static void leases_by_the_clock(void **state) {
    struct str leases[10], others[10];
    assert_int_equal(cell_run(&cell, "subscriber.create", QUEUE, NULL, NULL), 201);
    count_stock("A", 1);
    count_stock("A", 2);
    count_stock("B", 3);
    settle();
    ask_begin(&asks[0], PULL_TAKE, 0, NULL, 0);
    assert_true(asks[0].done && asks[0].ask.err == OK);
    assert_int_equal(leases_in(&asks[0], leases), 2);
    cell.now_us += 59000000;
    ask_begin(&asks[1], PULL_TAKE, 0, NULL, 0);
    assert_int_equal(leases_in(&asks[1], others), 0);
    cell.now_us += 1000000; /* they end; a pause of a second begins */
    settle();
    ask_begin(&asks[1], PULL_TAKE, 10, NULL, 0);
    assert_false(asks[1].done);
    cell.now_us += 1000000;
    settle();
    assert_true(asks[1].done);
    assert_int_equal(leases_in(&asks[1], others), 2);
    /* the first worker is too late, for one and so for all */
    ask_begin(&asks[2], PULL_ACK, 0, leases, 2);
    assert_true(asks[2].done && asks[2].ask.err == ERR_CONFLICT);
    assert_int_equal(stats().delivered, 0);
    ask_begin(&asks[2], PULL_ACK, 0, others, 2);
    assert_int_equal(asks[2].ask.err, OK);
    ask_begin(&asks[2], PULL_ACK, 0, leases, 2); /* done is done, whoever says it */
    assert_int_equal(asks[2].ask.err, OK);
    assert_int_equal(stats().delivered, 2);
    asks_free();
}

/* The end of the hub right after the answer: what was acknowledged beyond the cursor is not forgotten. */
static void acknowledged_is_on_disk(void **state) {
    struct str leases[10], again_leases[10];
    assert_int_equal(cell_run(&cell, "subscriber.create", QUEUE, NULL, NULL), 201);
    for (int n = 1; n <= 4; n++)
        count_stock((const char *[]){"A", "B", "C", "D"}[n - 1], n);
    settle();
    ask_begin(&asks[0], PULL_TAKE, 0, NULL, 0);
    assert_int_equal(leases_in(&asks[0], leases), 4);
    ask_begin(&asks[1], PULL_ACK, 0, leases + 1, 3); /* all but the first: the cursor can not move */
    assert_int_equal(asks[1].ask.err, OK);
    life_again();
    settle();
    ask_begin(&asks[2], PULL_TAKE, 0, NULL, 0);
    assert_int_equal(leases_in(&asks[2], again_leases), 1);
    assert_int_equal(leases[0].ptr[0], again_leases[0].ptr[0]); /* the same seq, another lease */
    ask_begin(&asks[3], PULL_ACK, 0, leases, 4);                /* the first is somebody else's now */
    assert_int_equal(asks[3].ask.err, ERR_CONFLICT);
    ask_begin(&asks[3], PULL_ACK, 0, leases + 1, 3);
    assert_int_equal(asks[3].ask.err, OK);
    /* and of a lease that only the life before knew, while nobody has it */
    life_again();
    settle();
    ask_begin(&asks[3], PULL_ACK, 0, leases, 1);
    assert_int_equal(asks[3].ask.err, OK);
    ask_begin(&asks[2], PULL_TAKE, 0, NULL, 0);
    assert_int_equal(leases_in(&asks[2], again_leases), 0);
    asks_free();
}

static void who_waits_is_told_that_the_hub_stops(void **state) {
    assert_int_equal(cell_run(&cell, "subscriber.create", QUEUE, NULL, NULL), 201);
    settle();
    ask_begin(&asks[0], PULL_TAKE, 10, NULL, 0);
    assert_false(asks[0].done);
    pull_drain(deliver);
    settle();
    assert_true(asks[0].done && asks[0].ask.err == OK);
    asks_free();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_may_be_said),
        cmocka_unit_test(secrets_end),
        cmocka_unit_test(nobody_is_numbered_twice),
        cmocka_unit_test(signed_as_the_standard_says),
        cmocka_unit_test(keys_are_subjects_or_beginnings),
        cmocka_unit_test(addresses),
        cmocka_unit_test_setup_teardown(pauses_of_the_standard, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_there_is_probed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gone_is_believed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(patience_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(patience_ends_where_the_clock_was_set_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(deleted_is_forgotten, set_up, tear_down),
        cmocka_unit_test_setup_teardown(followed_where_the_state_was_built_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(removed_while_it_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(changed_while_it_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(killed_while_removed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(recovered_from_a_place_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(recovered_beside_live_ones, set_up, tear_down),
        cmocka_unit_test_setup_teardown(leases_by_the_clock, set_up, tear_down),
        cmocka_unit_test_setup_teardown(acknowledged_is_on_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_waits_is_told_that_the_hub_stops, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("subscribers", tests, NULL, NULL);
}
