/* Polls against a shop that is slow, fails, forgets cursors, changes items while they are paged through
 * and has a clock of its own; with the real core, and with ends of the process at any call. In the end
 * the journal has every change of every item once, and the watermark is where it should be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "../support/partner.h"
#include "base/mem.h"
#include "connect/poll_priv.h"

static struct cell cell;
static struct partner shop;
static struct poller *poller;
static char intake_path[200];
static struct rng_seeded dice;

/* --- a shop ------------------------------------------------------------------------------- */

#define ITEMS_MAX 4096
#define EPOCH_US INT64_C(1795425300000000) /* 2026-11-23T09:15:00Z */
struct net_call {
    struct net_request request;
    char url[512], body[2048];
    net_done *done;
    void *ctx;
};
static struct remote {
    struct net net;
    struct net_call *calls[256];
    uint32_t call_count, calls_made;
    struct remote_item {
        int id, content;
        int64_t updated_s; /* after the epoch */
        bool gone;
    } items[ITEMS_MAX];
    uint32_t count;
    int64_t now_s; /* of its clock, after the epoch */
    uint32_t cap;  /* items it gives at most */
    /* one after the other, for the next calls */
    const char *script[64]; /* "429 7", "500", "timeout", "large", "410", "{…body…}", NULL: as it should */
    uint32_t script_at, script_count;
    void (*between)(uint32_t call); /* before a call is answered */
    char urls[64][512];
    char bodies[64][512];
} remote;

static enum err remote_send(struct net *net, const struct net_request *request, net_done *done,
                            void *ctx, struct net_call **out, struct fault *fault) {
    (void)net;
    (void)fault;
    struct net_call *call = mem_zalloc(sizeof *call);
    call->request = *request;
    call->done = done;
    call->ctx = ctx;
    snprintf(call->url, sizeof call->url, "%.*s", STR_FMT(request->url));
    snprintf(call->body, sizeof call->body, "%.*s", STR_FMT(request->body));
    snprintf(remote.urls[remote.calls_made % 64], 512, "%s", call->url);
    snprintf(remote.bodies[remote.calls_made % 64], 512, "%.500s", call->body);
    remote.calls_made++;
    must(remote.call_count < 256);
    remote.calls[remote.call_count++] = call;
    *out = call;
    return OK;
}
static void remote_cancel(struct net *net, struct net_call *call) {
    struct net_answer answer = {.error = NET_CANCELLED, .detail = "cancelled"};
    uint32_t i = 0;
    (void)net;
    while (remote.calls[i] != call)
        i++;
    memmove(remote.calls + i, remote.calls + i + 1, (--remote.call_count - i) * sizeof *remote.calls);
    call->done(call->ctx, &answer);
    mem_free(call);
}
static void remote_close(struct net *net) { (void)net; }
static const struct net_ops remote_ops = {remote_send, remote_cancel, remote_close};

static int64_t param(const char *url, const char *name, int64_t otherwise) {
    char key[40];
    snprintf(key, sizeof key, "%s=", name);
    const char *at = strstr(url, key);
    return at ? strtoll(at + strlen(key), NULL, 10) : otherwise;
}

static int by_time(const void *a, const void *b) {
    const struct remote_item *x = *(struct remote_item *const *)a, *y = *(struct remote_item *const *)b;
    if (x->updated_s != y->updated_s)
        return x->updated_s < y->updated_s ? -1 : 1;
    return x->id - y->id;
}

/* {"orders":[…],"next":"…","has_more":…}; "since" is in seconds. */
static void list_write(struct buf *out, const char *url, char link[600]) {
    struct remote_item *list[ITEMS_MAX];
    int64_t since = param(url, "since", 0) - EPOCH_US / 1000000, limit = param(url, "limit", 100);
    int64_t offset = param(url, "offset", 0), page = param(url, "page", 1);
    int64_t cursor = param(url, "cursor", 0);
    uint32_t n = 0;
    if (remote.cap && limit > remote.cap)
        limit = remote.cap;
    for (uint32_t i = 0; i < remote.count; i++)
        if (remote.items[i].updated_s >= since && !remote.items[i].gone)
            list[n++] = &remote.items[i];
    qsort(list, n, sizeof *list, by_time);
    if (strstr(url, "desc"))
        for (uint32_t i = 0; i < n / 2; i++) {
            struct remote_item *one = list[i];
            list[i] = list[n - 1 - i];
            list[n - 1 - i] = one;
        }
    int64_t from = cursor ? cursor : offset ? offset : (page - 1) * limit;
    buf_lit(out, "{\"orders\":[");
    for (int64_t i = from; i < from + limit && i < n; i++) {
        buf_printf(out, "%s{\"id\":%d,\"content\":%d,\"updated_at\":\"", i > from ? "," : "",
                   list[i]->id, list[i]->content);
        instant_write(out, (struct instant){.us = EPOCH_US + list[i]->updated_s * 1000000});
        buf_lit(out, "\"}");
    }
    bool more = from + limit < n;
    buf_printf(out, "],\"has_more\":%s,\"next\":", more ? "true" : "false");
    if (more)
        buf_printf(out, "\"%lld\"}", (long long)(from + limit));
    else
        buf_lit(out, "null}");
    link[0] = '\0';
    if (more)
        snprintf(link, 600, "<https://shop.example/orders?first>; rel=\"first\", "
                 "</orders?limit=%lld&since=%lld&cursor=%lld%s>; rel=\"next\"; title=\"a, b\"",
                 (long long)limit, (long long)param(url, "since", 0), (long long)(from + limit),
                 strstr(url, "desc") ? "&desc=1" : "");
}

static void call_answer(struct net_call *call) {
    char link[600] = "", date[40];
    struct buf body;
    struct net_header headers[3] = {{STR("Date"), STR_NONE}};
    const char *script = remote.script_at < remote.script_count ? remote.script[remote.script_at] : NULL;
    struct net_answer answer = {.status = 200, .headers = headers, .header_count = 1};
    if (remote.script_at < remote.script_count)
        remote.script_at++;
    buf_init(&body, 0);
    time_t now = (time_t)(EPOCH_US / 1000000 + remote.now_s);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    headers[0].value = str_c(date);
    if (script && script[0] == '{') {
        buf_str_add(&body, str_c(script));
    } else if (script && strcmp(script, "timeout") == 0) {
        answer = (struct net_answer){.error = NET_TIMEOUT, .detail = "no answer"};
    } else if (script && strcmp(script, "large") == 0) {
        answer = (struct net_answer){.error = NET_TOO_LARGE, .detail = "too large"};
    } else if (script) {
        answer.status = (int)strtol(script, NULL, 10);
        buf_lit(&body, "{\"message\":\"on purpose\"}");
        if (strchr(script, ' '))
            headers[answer.header_count++] =
                (struct net_header){STR("Retry-After"), str_c(strchr(script, ' ') + 1)};
    } else if (strstr(call->url, "/orders/")) {
        const char *id = strstr(call->url, "/orders/") + 8;
        buf_printf(&body, "{\"order\":{\"id\":%d,\"detail\":true}}", atoi(id));
        if (atoi(id) == 404)
            answer.status = 404;
    } else {
        list_write(&body, call->url, link);
        if (link[0])
            headers[answer.header_count++] = (struct net_header){STR("Link"), str_c(link)};
    }
    answer.body = buf_str(&body);
    call->done(call->ctx, &answer);
    buf_free(&body);
    mem_free(call);
}

/* Answers a call; false: there is none. */
static bool remote_step(void) {
    if (remote.call_count == 0)
        return false;
    struct net_call *call = remote.calls[0];
    memmove(remote.calls, remote.calls + 1, --remote.call_count * sizeof *remote.calls);
    if (remote.between)
        remote.between(remote.calls_made);
    call_answer(call);
    return true;
}

static void item_set(int id, int content, int64_t updated_s) {
    uint32_t i = 0;
    while (i < remote.count && remote.items[i].id != id)
        i++;
    remote.count += i == remote.count;
    remote.items[i] = (struct remote_item){.id = id, .content = content, .updated_s = updated_s};
    if (remote.now_s < updated_s)
        remote.now_s = updated_s;
}

/* --- the hub -------------------------------------------------------------------------------- */

static char yaml[4096];
static struct partner_file files[4];

static void poller_open(void) {
    struct fault fault;
    fault_init(&fault, &cell.arena);
    struct poller_options options = {.core = cell.core, .config = &cell.config,
                                     .connectors = shop.connectors, .path = intake_path,
                                     .clock = &cell.clock, .rng = &dice.rng, .net = &remote.net};
    enum err err = poller_create(&options, &poller, &fault);
    if (err != OK)
        fail_msg("%s", fault.detail);
}

static void remote_drop(void) {
    while (remote.call_count > 0)
        mem_free(remote.calls[--remote.call_count]);
}

/* `section`: from "every_s" on, at six blanks. */
static void open_with(const char *section) {
    struct fault ignored = {0};
    memset(&remote, 0, sizeof remote);
    remote.net.ops = &remote_ops;
    rng_seeded_init(&dice, 7);
    snprintf(yaml, sizeof yaml,
             "connector: shop\nversion: \"1\"\nowner: web\npoll:\n  - topic: orders\n%s"
             "    key: {member: id}\n    mapping: item.lua\n    command: fact.keep\n", section);
    files[0] = (struct partner_file){"connector.yaml", yaml};
    files[1] = (struct partner_file){
        "item.lua", "return function(doc) return {kind = 'order', key = tostring(doc.id),\n"
                    "  document = doc} end\n"};
    files[2] = (struct partner_file){
        "ask.lua", "return function(at) return {path = '?limit=' .. at.page_size, body = {since = at.watermark,\n"
                   "  number = at.watermark_number, offset = at.offset}} end\n"};
    files[3] = (struct partner_file){
        "answer.lua", "return function(doc) local list = {}\n"
                      "  for i, o in ipairs(doc.result) do list[i] = {id = o.id, updated_at = o.at} end\n"
                      "  return {orders = list} end\n"};
    cell_open(&cell, 1);
    cell.now_us = EPOCH_US;
    assert_true(partner_open(&shop, &cell, "shop", files, 4));
    snprintf(intake_path, sizeof intake_path, "%s/intake.db", shop.dir);
    (void)ignored;
    poller_open();
}

static void close_all(void) {
    char path[260];
    poller_destroy(poller);
    remote_drop();
    snprintf(path, sizeof path, "%s-wal", intake_path);
    unlink(path);
    unlink(intake_path);
    partner_close(&shop);
    cell_close(&cell);
}

/* Until nothing is left to do before `until_us` of the cell's clock, or calls_max calls are made. */
static void run(int64_t seconds) {
    int64_t until_us = cell.now_us + seconds * 1000000;
    for (uint32_t guard = 0; guard < 200000; guard++) {
        poller_step(poller);
        uint32_t done = inbound_step(shop.inbound) + core_step(cell.core) + remote_step();
        if (done > 0)
            continue;
        int64_t next_us = poller_next_us(poller), tick = clock_tick_us(&cell.clock);
        if (next_us <= tick)
            continue;
        if (next_us == INT64_MAX || cell.now_us + (next_us - tick) > until_us)
            break;
        cell.now_us += next_us - tick;
    }
    if (cell.now_us < until_us)
        cell.now_us = until_us;
}

static struct poll_stats stats(void) {
    struct poll_stats out;
    poller_step(poller);
    poller_stats(poller, 0, &out);
    return out;
}

static uint32_t received(void) { return partner_events(&shop, "payload.received", ""); }
static uint32_t kept(const char *what) { return partner_events(&shop, "fact.kept", what); }

#define URL(more) "    request: {url: \"https://shop.example/orders?since={watermark}&limit={page_size}" more "\"}\n"
#define EVERY "    every_s: 60\n    items: /orders\n"
#define MARK "    watermark: {member: updated_at, format: seconds, overlap_s: 10}\n"
#define SORTED "    watermark: {member: updated_at, format: seconds, overlap_s: 10, sorted: true}\n"

/* --- tests ------------------------------------------------------------------------------------ */

static void test_watermark_moves(void **state) {
    (void)state;
    open_with(EVERY URL("") MARK);
    item_set(1, 1, 100);
    item_set(2, 1, 200);
    run(1);
    assert_int_equal(received(), 2);
    assert_string_equal(stats().watermark, "1795425500");
    assert_non_null(strstr(remote.urls[0], "since=0&limit=100"));
    uint32_t lines = cell.journal.count;
    run(300); /* five rounds more: the overlap brings the second again, which costs nothing */
    assert_int_equal(received(), 2);
    assert_int_equal(cell.journal.count, lines);
    assert_int_equal(stats().rounds, 6);
    assert_non_null(strstr(remote.urls[1], "since=1795425490&"));
    item_set(1, 2, 300);
    item_set(3, 1, 200); /* late, with the time of another */
    run(60);
    assert_int_equal(received(), 4);
    assert_int_equal(kept("\"content\":2"), 1);
    assert_int_equal(kept("\"id\":3"), 1);
    close_all();
}

/* Every way to page, with pages shorter than asked for. */
static void test_paging(void **state) {
    (void)state;
    static const char *const ways[] = {
        EVERY URL("") MARK "    pages: {style: link, size: 7}\n",
        EVERY URL("") MARK "    pages: {style: cursor, next: /next, param: cursor, size: 7}\n",
        EVERY URL("&cursor={cursor}") MARK "    pages: {style: cursor, next: /next, more: /has_more, size: 7}\n",
        EVERY URL("&offset={offset}") MARK "    pages: {style: offset, size: 7}\n",
        EVERY URL("&page={page}") MARK "    pages: {style: page, size: 7}\n",
        EVERY URL("") SORTED "    pages: {style: watermark, size: 7}\n",
        EVERY URL("&desc=1") MARK "    pages: {style: link, size: 7}\n",
    };
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++)
        for (uint32_t cap = 0; cap <= 3; cap += 3) {
            open_with(ways[way]);
            remote.cap = cap;
            for (int i = 1; i <= 50; i++)
                item_set(i, 1, 100 + i);
            run(1);
            if (received() != 50)
                fail_msg("way %zu, cap %u: %u of 50; %s", way, cap, received(), stats().error);
            assert_string_equal(stats().watermark, "1795425450");
            assert_int_equal(stats().failures, 0);
            assert_int_equal(stats().rounds, 1);
            close_all();
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_watermark_moves),
        cmocka_unit_test(test_paging),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
