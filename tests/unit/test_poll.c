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
    assert_int_equal(poller_list(poller, &out, 1), 1);
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

/* Every way to page, with pages shorter than asked for, and of one item alone. */
static void test_paging(void **state) {
    (void)state;
    static const int counts[] = {1, 2, 50, 50};
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
        for (uint32_t turn = 0; turn < sizeof counts / sizeof *counts; turn++) {
            uint32_t count = (uint32_t)counts[turn], cap = turn == 3 ? 3 : 0;
            char mark[16];
            open_with(ways[way]);
            remote.cap = cap;
            for (uint32_t i = 1; i <= count; i++)
                item_set((int)i, 1, 100 + (int)i);
            run(1);
            if (received() != count)
                fail_msg("way %zu, cap %u: %u of %u; %s", way, cap, received(), count, stats().error);
            snprintf(mark, sizeof mark, "%d", 1795425400 + (int)count);
            assert_string_equal(stats().watermark, mark);
            assert_int_equal(stats().failures, 0);
            assert_int_equal(stats().rounds, 1);
            close_all();
        }
}


/* What was there, and comes back as it was: another change, though its bytes are not new. */
static void test_content_that_comes_back(void **state) {
    (void)state;
    open_with(EVERY "    request: {url: \"https://shop.example/orders\"}\n");
    for (int i = 0; i < 5; i++) {
        item_set(1, i % 2, 100);
        run(60);
        assert_int_equal(received(), i + 1);
        run(120);
        assert_int_equal(received(), i + 1);
    }
    close_all();
}

static void script_set(const char *const *lines, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        remote.script[i] = lines[i];
    remote.script_at = 0;
    remote.script_count = count;
}
#define SCRIPT(...)                                                                                \
    script_set((const char *const[]){__VA_ARGS__},                                                 \
               sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static void test_failures(void **state) {
    (void)state;
    open_with(EVERY URL("") MARK "    pages: {style: link, size: 5}\n");
    for (int i = 1; i <= 12; i++)
        item_set(i, 1, i);
    /* the second page fails in every way that is worth another try, and is asked for again */
    SCRIPT(NULL, "500", "timeout", "429 7", "503", NULL);
    run(0);
    assert_int_equal(received(), 5);
    int64_t before_us = cell.now_us;
    while (remote.script_at < 4)
        run(1);
    assert_true(cell.now_us - before_us < 30 * 1000000);
    assert_int_equal(stats().state, POLL_FAILING);
    assert_string_equal(stats().error, "status 429: on purpose");
    before_us = cell.now_us;
    run(6);
    assert_int_equal(remote.calls_made, 4); /* not before Retry-After */
    run(60);
    assert_int_equal(received(), 12);
    assert_int_equal(stats().rounds, 1);
    assert_non_null(strstr(remote.urls[5], "cursor=5"));
    /* for good: the round is over, the next one comes by its time table, with the watermark it had */
    close_all();
    open_with(EVERY URL("") MARK);
    item_set(1, 1, 1);
    SCRIPT("403", "403", NULL);
    run(1);
    assert_int_equal(stats().failures, 1);
    assert_int_equal(remote.calls_made, 1);
    run(130);
    assert_int_equal(received(), 1);
    assert_int_equal(stats().in_a_row, 0);
    close_all();
}

/* Watermark of a round that stops in the middle: with the pages that are durable where they ascend. */
static void test_watermark_of_half_a_round(void **state) {
    (void)state;
    static const char *const ways[] = {EVERY URL("") MARK "    pages: {style: link, size: 5}\n",
                                       EVERY URL("") SORTED "    pages: {style: link, size: 5}\n"};
    for (int way = 0; way < 2; way++) {
        open_with(ways[way]);
        for (int i = 1; i <= 12; i++)
            item_set(i, 1, 100 + i);
        SCRIPT(NULL, "404", "404", "404", "404");
        run(1);
        assert_int_equal(received(), 5);
        assert_string_equal(stats().watermark, way ? "1795425405" : "");
        close_all();
    }
}

static void test_cursor_expires(void **state) {
    (void)state;
    open_with(EVERY URL("") SORTED "    pages: {style: cursor, next: /next, param: cursor, size: 5}\n");
    for (int i = 1; i <= 12; i++)
        item_set(i, 1, 100 + i);
    SCRIPT(NULL, NULL, "410", NULL, NULL);
    run(1);
    assert_int_equal(received(), 12);
    assert_int_equal(stats().failures, 0);
    assert_non_null(strstr(remote.urls[3], "since=1795425400")); /* 410 less the overlap of 10 */
    close_all();
}

static void test_too_large(void **state) {
    (void)state;
    open_with(EVERY URL("&offset={offset}") MARK "    pages: {style: offset, size: 40}\n");
    for (int i = 1; i <= 30; i++)
        item_set(i, 1, i);
    SCRIPT("large", NULL, "large", "large");
    run(1);
    assert_int_equal(received(), 30);
    assert_non_null(strstr(remote.urls[1], "limit=20&"));
    assert_non_null(strstr(remote.urls[4], "limit=5&"));
    close_all();
    open_with(EVERY URL("") MARK "    pages: {style: none, size: 2}\n");
    SCRIPT("large", "large");
    run(1);
    assert_string_equal(stats().error, "the answer to one item is larger than poll_answer_bytes_max");
    assert_int_equal(stats().failures, 1);
    close_all();
}

/* What is not as it should be is said in words, and what can be taken is taken. */
static void test_odd_answers(void **state) {
    (void)state;
    static const struct {
        const char *answer, *error;
        uint32_t taken;
    } cases[] = {
        {"{\"orders\":[]}", "", 0},
        {"{\"orders\":null}", "", 0},
        {"{\"data\":[],\"message\":\"no such field\"}",
         "the answer has no /orders, where its items should be: no such field", 0},
        {"{\"orders\":{\"a\":1}}", "/orders of the answer is no list", 0},
        {"{\"orders\":[{\"id\":1}]}", "no item has a time as updated_at, the watermark", 0},
        {"{\"orders\":[],\"errors\":[{\"message\":\"too complex\"}]}",
         "the answer says it failed: too complex", 0},
        {"{\"orders\":[],\"errors\":[]}", "", 0},
        {"{<html>", "the answer is no JSON: {<html>", 0},
        {"{\"orders\":[17,null,\"x\",[],{\"id\":1,\"updated_at\":\"2026-11-23 09:00:00.5\"}]}", "", 5},
        {"{\"orders\":[{\"id\":1,\"updated_at\":1795425300},{\"id\":2,\"updated_at\":null}]}", "", 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        open_with(EVERY URL("") MARK "    error: /errors\n");
        SCRIPT(cases[i].answer);
        run(1);
        assert_string_equal(stats().error, cases[i].error);
        assert_int_equal(received(), cases[i].taken);
        assert_int_equal(stats().rounds, cases[i].error[0] ? 0 : 1);
        close_all();
    }
}

/* An item from the future does not move the watermark beyond the other side's clock. */
static void test_clocks(void **state) {
    (void)state;
    open_with(EVERY URL("") MARK);
    cell.now_us = EPOCH_US + INT64_C(90000) * 1000000; /* ours is a day ahead */
    item_set(1, 1, 100);
    item_set(2, 1, 5000000);
    remote.now_s = 200;
    run(1);
    assert_int_equal(received(), 2);
    assert_string_equal(stats().watermark, "1795425500");
    item_set(3, 1, 250);
    remote.now_s = 260;
    run(61);
    assert_int_equal(received(), 3);
    assert_string_equal(stats().watermark, "1795425560");
    close_all();
    /* "now" is the moment of the first start, also for a hub that starts again */
    open_with(EVERY URL("") "    watermark: {member: updated_at, format: seconds, initial: now}\n");
    cell.now_us += 50000000;
    run(1);
    assert_non_null(strstr(remote.urls[0], "since=1795425240"));
    poller_destroy(poller);
    cell.now_us += 50000000;
    poller_open();
    run(1);
    assert_non_null(strstr(remote.urls[1], "since=1795425240"));
    close_all();
}

/* Items that change while they are paged through move the others. */
static uint32_t moved;
static void move_one(uint32_t call) {
    if (call % 2 == 0 && moved < 8) {
        moved++;
        item_set((int)moved, 2, 1000 + moved);
    }
}
static void test_items_that_move(void **state) {
    (void)state;
    static const char *const ways[] = {
        EVERY URL("&offset={offset}") MARK "    pages: {style: offset, size: 5}\n",
        EVERY URL("") SORTED "    pages: {style: watermark, size: 5}\n",
        EVERY URL("&page={page}") MARK "    pages: {style: page, size: 5}\n",
    };
    for (size_t way = 0; way < 3; way++) {
        open_with(ways[way]);
        for (int i = 1; i <= 60; i++)
            item_set(i, 1, i);
        moved = 0;
        remote.between = move_one;
        remote.now_s = 900;
        run(1);
        uint32_t unchanged = 0;
        for (int i = 1; i <= 60; i++) {
            char what[40];
            snprintf(what, sizeof what, "\"id\":%d,", i);
            unchanged += kept(what) > 0;
        }
        if (unchanged != 60)
            fail_msg("way %zu: %u of 60 after %u calls; %s", way, unchanged, remote.calls_made, stats().error);
        assert_int_equal(kept("\"content\":2"), 8);
        close_all();
    }
}

static void test_equal_times(void **state) {
    (void)state;
    open_with(EVERY URL("") SORTED "    pages: {style: watermark, size: 5}\n");
    for (int i = 1; i <= 5; i++)
        item_set(i, 1, 7);
    run(1); /* a page of one time, and no more: fine */
    assert_int_equal(received(), 5);
    for (int i = 6; i <= 9; i++)
        item_set(i, 1, 7);
    run(60);
    assert_string_equal(stats().error, "5 items have the same updated_at: ask for larger pages, or page in "
                                       "another way");
    close_all();
}

static void test_pages_max(void **state) {
    (void)state;
    open_with(EVERY URL("") SORTED "    pages: {style: link, size: 5, pages_max: 2}\n");
    for (int i = 1; i <= 42; i++)
        item_set(i, 1, 100 * i);
    run(1); /* the next round begins at once */
    assert_int_equal(received(), 42);
    close_all();
    open_with(EVERY URL("") MARK "    pages: {style: link, size: 5, pages_max: 2}\n");
    for (int i = 1; i <= 42; i++)
        item_set(i, 1, 100 * i);
    run(1);
    assert_non_null(strstr(stats().error, "more than pages_max pages"));
    close_all();
}

static void test_link_elsewhere(void **state) {
    (void)state;
    open_with(EVERY URL("") MARK "    pages: {style: url, next: /next}\n");
    SCRIPT("{\"orders\":[],\"next\":\"https://evil.example/orders\"}");
    run(1);
    assert_non_null(strstr(stats().error, "the next page is at another address (https://evil.example/orders)"));
    close_all();
    struct arena arena;
    arena_init(&arena, 0);
    static const char *const cases[][3] = {
        {"https://a.example/x/y?z=1", "https://A.example/q", "https://A.example/q"},
        {"https://a.example/x/y?z=1", "/q?b", "https://a.example/q?b"},
        {"https://a.example/x/y?z=1", "q", "https://a.example/x/q"},
        {"https://a.example/x/y?z=1", "?p=2", "https://a.example/x/y?p=2"},
        {"https://a.example", "q", "https://a.example/q"},
        {"https://a.example", "?p=2", "https://a.example?p=2"},
        {"https://a.example/x", "http://a.example/x", NULL},
        {"https://a.example/x", "https://a.example.evil/x", NULL},
        {"https://a.example/x", "https://a.example:444/x", NULL},
        {"https://a.example/x", "https://a.example@evil/x", NULL},
        {"https://a.example/x", "//evil/x", NULL},
        {"https://a.example/x", "/back?to=https://b", "https://a.example/back?to=https://b"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str url = page_resolve(str_c(cases[i][0]), str_c(cases[i][1]), &arena);
        if (!cases[i][2])
            assert_null(url.ptr);
        else
            assert_string_equal(url.ptr, cases[i][2]);
    }
    arena_free(&arena);
}

static void test_bodies_and_mappings(void **state) {
    (void)state;
    open_with("    every_s: 60\n    items: /orders\n    request:\n      url: https://shop.example/orders\n"
              "      body: {query: \"{ orders(first: 5) { id } }\", variables: {since: \"{watermark}\", n: "
              "\"{page_size}\", after: \"{cursor}\", words: \"from {watermark} on\"}}\n"
              "    watermark: {member: updated_at, overlap_s: 0}\n"
              "    pages: {style: cursor, next: /next, size: 5}\n");
    remote.now_s = 60;
    SCRIPT("{\"orders\":[{\"id\":1,\"updated_at\":\"2026-11-23T09:15:30.25Z\"}],\"next\":\"c \\\"1\\\"\"}",
           "{\"orders\":[]}", "{\"orders\":[]}");
    run(61);
    assert_string_equal(remote.bodies[0], "{\"query\":\"{ orders(first: 5) { id } }\",\"variables\":{\"since\":"
                        "\"1970-01-01T00:00:00Z\",\"n\":5,\"after\":null,\"words\":\"from 1970-01-01T00:00:00Z on\"}}");
    assert_non_null(strstr(remote.bodies[1], "\"after\":\"c \\\"1\\\"\""));
    assert_non_null(strstr(remote.bodies[2], "\"since\":\"2026-11-23T09:15:30.25Z\""));
    close_all();
    open_with("    every_s: 60\n    items: /orders\n"
              "    request: {url: \"https://shop.example/rpc\", mapping: ask.lua}\n"
              "    answer: answer.lua\n    watermark: {member: updated_at, format: space, overlap_s: 1}\n");
    remote.now_s = 60;
    SCRIPT("{\"result\":[{\"id\":9007199254740993,\"at\":\"2026-11-23 09:15:30\"}]}", "{\"result\":[]}");
    run(61);
    assert_int_equal(kept("\"key\":\"9007199254740993\""), 1);
    assert_string_equal(remote.urls[0], "https://shop.example/rpc?limit=100");
    assert_string_equal(remote.bodies[1],
                        "{\"number\":1795425329000000,\"offset\":0,\"since\":\"2026-11-23 09:15:29\"}");
    close_all();
}

static void test_details(void **state) {
    (void)state;
    open_with(EVERY URL("") MARK
              "    detail: {url: \"https://shop.example/orders/{item.id}\", document: /order}\n");
    for (int i = 1; i <= 20; i++)
        item_set(i, 1, i);
    item_set(404, 1, 21);
    run(200);
    assert_int_equal(received(), 20);
    assert_int_equal(kept("\"detail\":true"), 20);
    assert_int_equal(stats().failures, 0);
    assert_int_equal(remote.calls_made, 21 + 4); /* none again: neither known ones nor the one that is gone */
    close_all();
    open_with("    every_s: 60\n    items: \"\"\n    request: {url: \"https://shop.example/list\"}\n"
              "    detail: {url: \"https://shop.example/orders/{item}\", document: /order}\n");
    SCRIPT("{}", "500");
    remote.script[0] = "{\"a\":1}";
    run(1);
    assert_string_equal(stats().error, "the top of the answer is no list");
    close_all();
}

/* Where the next page begins is known when an item of this one fails: it is not passed over. */
static void test_item_of_a_page_fails(void **state) {
    (void)state;
    static const char *const ways[] = {"{style: link, size: 5}",
                                       "{style: cursor, next: /next, param: cursor, size: 5}",
                                       "{style: page, size: 5}", "{style: offset, size: 5}"};
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
        char text[600];
        snprintf(text, sizeof text,
                 EVERY URL("%s") MARK
                 "    detail: {url: \"https://shop.example/orders/{item.id}\", document: /order}\n"
                 "    pages: %s\n",
                 way == 2 ? "&page={page}" : way == 3 ? "&offset={offset}" : "", ways[way]);
        open_with(text);
        for (int i = 1; i <= 12; i++)
            item_set(i, 1, i * 30); /* further apart than the overlap */
        SCRIPT(NULL, NULL, "500");
        run(300);
        assert_int_equal(received(), 12);
        assert_int_equal(stats().in_a_row, 0);
        close_all();
    }
}

static void test_number_and_text(void **state) {
    (void)state;
    open_with(EVERY "    request: {url: \"https://shop.example/orders?after={watermark}\"}\n"
              "    watermark: {member: id, type: number, overlap: 2}\n");
    SCRIPT("{\"orders\":[{\"id\":9007199254740993},{\"id\":12}]}", "{\"orders\":[]}");
    run(61);
    assert_string_equal(remote.urls[1], "https://shop.example/orders?after=9007199254740991");
    close_all();
    open_with(EVERY "    request: {url: \"https://shop.example/orders?after={watermark}\"}\n"
              "    watermark: {member: id, type: text, initial: a/b}\n");
    SCRIPT("{\"orders\":[{\"id\":\"ab\"},{\"id\":\"a&b\"}]}", "{\"orders\":[]}");
    run(61);
    assert_string_equal(remote.urls[0], "https://shop.example/orders?after=a%2Fb");
    assert_string_equal(remote.urls[1], "https://shop.example/orders?after=ab");
    close_all();
}

/* The core takes nothing for a while, and refuses to write: the page waits, in order. */
static void test_core_is_busy(void **state) {
    (void)state;
    open_with(EVERY URL("") MARK);
    for (int i = 1; i <= 90; i++)
        item_set(i, 1, i);
    cell.journal.fail_appends = 3;
    run(30);
    assert_int_equal(received(), 90);
    assert_string_equal(stats().watermark, "1795425390");
    close_all();
}

/* Ends at any moment, with changes going on: each change of what is met is there once. */
static void test_ends_at_any_moment(void **state) {
    (void)state;
    static const char *const ways[] = {
        EVERY URL("") SORTED "    pages: {style: link, size: 4}\n",
        EVERY URL("") MARK "    pages: {style: cursor, next: /next, param: cursor, size: 4}\n",
        EVERY URL("&offset={offset}") SORTED "    pages: {style: offset, size: 4}\n",
    };
    for (uint32_t seed = 1; seed <= 12; seed++) {
        open_with(ways[seed % 3]);
        rng_seeded_init(&dice, seed);
        int64_t now = 100;
        for (int round = 0; round < 40; round++) {
            for (int i = 0; i < 4; i++, now += (int64_t)rng_below(&dice.rng, 3))
                item_set((int)rng_below(&dice.rng, 30) + 1, round * 4 + i, now);
            if (rng_below(&dice.rng, 3) == 0) {
                static const char *const bad[] = {"500", "timeout", "429 1", "large", "410", "403"};
                SCRIPT(NULL, bad[rng_below(&dice.rng, 6)]);
            }
            for (uint32_t steps = (uint32_t)rng_below(&dice.rng, 30); steps > 0; steps--) {
                poller_step(poller);
                inbound_step(shop.inbound);
                core_step(cell.core);
                remote_step();
            }
            if (rng_below(&dice.rng, 2)) {
                poller_destroy(poller);
                remote_drop();
                partner_again(&shop, rng_below(&dice.rng, 2));
                poller_open();
            }
            run(rng_below(&dice.rng, 2) ? 100 : 1);
        }
        run(2000);
        for (uint32_t i = 0; i < remote.count; i++) {
            char what[80];
            snprintf(what, sizeof what, "{\"id\":%d,\"content\":%d,", remote.items[i].id,
                     remote.items[i].content);
            if (kept(what) != 1)
                fail_msg("seed %u: item %d, content %d is there %u times; %s", seed, remote.items[i].id,
                         remote.items[i].content, kept(what), stats().error);
        }
        close_all();
    }
}

static void renew_with(const char *topic, const char *section) {
    char path[300], text[4096];
    struct connectors *set;
    struct fault fault = {0};
    snprintf(path, sizeof path, "%s/connectors/shop/connector.yaml", shop.dir);
    snprintf(text, sizeof text,
             "connector: shop\nversion: \"2\"\nowner: web\npoll:\n  - topic: %s\n%s"
             "    key: {member: id}\n    mapping: item.lua\n    command: fact.keep\n", topic, section);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(connectors_load(shop.dir, &set, &fault), OK);
    inbound_renew(shop.inbound, set);
    poller_renew(poller, set);
    connectors_release(set);
}

/* A connector that changes while a round is under way: that ends as it began, with its watermark. */
static void test_connector_changes(void **state) {
    (void)state;
    struct poll_stats list[4];
    open_with(EVERY URL("") MARK "    pages: {style: link, size: 5}\n");
    for (int i = 1; i <= 12; i++)
        item_set(i, 1, 100 + i);
    remote.now_s = 500;
    while (remote.calls_made < 2) {
        poller_step(poller);
        inbound_step(shop.inbound);
        core_step(cell.core);
        if (remote.calls_made < 2)
            remote_step();
    }
    renew_with("orders", "    every_s: 60\n    items: /orders\n"
               "    request: {url: \"https://shop.example/v2/orders?since={watermark}\"}\n" MARK);
    run(1);
    assert_int_equal(received(), 12);
    assert_string_equal(remote.urls[3], "https://shop.example/v2/orders?since=1795425402");
    renew_with("others", EVERY URL("") MARK);
    run(1);
    assert_int_equal(poller_list(poller, list, 4), 1);
    assert_true(str_is(list[0].topic, "others"));
    assert_string_equal(remote.urls[4], "https://shop.example/orders?since=0&limit=100");
    uint32_t calls = remote.calls_made;
    run(30);
    assert_int_equal(remote.calls_made, calls);
    renew_with("orders", EVERY URL("") MARK);
    run(1);
    assert_string_equal(stats().watermark, "1795425412");
    assert_string_equal(remote.urls[calls], "https://shop.example/orders?since=1795425402&limit=100");
    close_all();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_watermark_moves),
        cmocka_unit_test(test_paging),
        cmocka_unit_test(test_content_that_comes_back),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_watermark_of_half_a_round),
        cmocka_unit_test(test_cursor_expires),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_odd_answers),
        cmocka_unit_test(test_clocks),
        cmocka_unit_test(test_items_that_move),
        cmocka_unit_test(test_equal_times),
        cmocka_unit_test(test_pages_max),
        cmocka_unit_test(test_link_elsewhere),
        cmocka_unit_test(test_bodies_and_mappings),
        cmocka_unit_test(test_details),
        cmocka_unit_test(test_item_of_a_page_fails),
        cmocka_unit_test(test_number_and_text),
        cmocka_unit_test(test_core_is_busy),
        cmocka_unit_test(test_connector_changes),
        cmocka_unit_test(test_ends_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
