/* Torture: over the main paths every allocation fails in its turn, once. What was asked for is then
 * either refused, and nothing of it is anywhere, or done in full; a retry does it once; nothing leaks
 * (the leak sanitizer watches), and the state is what the journal makes of it.
 *
 * SQLite's allocations are among them, and through it what its calls answer when they fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "../support/temp.h"
#include "../support/webshop.h"
#include "base/mem.h"
#include "connect/receive.h"
#include "deliver/deliver.h"
#include "deliver/progress.h"
#include "store/journal_sqlite.h"

#define NEVER (UINT64_C(1) << 60)
#define POINTS_MAX 20000 /* beyond it a path allocates without end */

/* Runs `step` with n = 1, 2 … until one run met no failure: how many did. A step arms the n-th
 * allocation with mem_fail_at around what is tried, and answers whether it was met (ended). */
static uint32_t torture(bool (*step)(uint32_t n)) {
    mem_fail_at(NEVER, 0);
    for (uint32_t n = 1; n < POINTS_MAX; n++)
        if (!step(n)) {
            mem_fail_at(0, 0);
            return n - 1;
        }
    fail_msg("the path allocates without end");
    return 0;
}

static bool ended(uint32_t n) {
    bool met = mem_count() >= n;
    mem_fail_at(NEVER, 0); /* arenas still keep nothing from one run to the next */
    return met;
}

static void *sqlite_malloc(int size) {
    uint64_t *block = mem_alloc((size_t)size + sizeof *block);
    if (block)
        *block++ = (uint64_t)size;
    return block;
}
static void sqlite_free_block(void *block) { mem_free((uint64_t *)block - 1); }
static void *sqlite_resize(void *block, int size) {
    uint64_t *more = mem_resize((uint64_t *)block - 1, (size_t)size + sizeof *more);
    if (more)
        *more++ = (uint64_t)size;
    return more;
}
static int sqlite_size(void *block) { return block ? (int)((uint64_t *)block)[-1] : 0; }
static int sqlite_roundup(int size) { return (size + 7) & ~7; }
static int sqlite_init(void *ctx) {
    (void)ctx;
    return SQLITE_OK;
}
static void sqlite_shutdown(void *ctx) { (void)ctx; }

static int set_up_sqlite(void **state) {
    (void)state;
    static const struct sqlite3_mem_methods methods = {sqlite_malloc, sqlite_free_block, sqlite_resize, sqlite_size,
                                                       sqlite_roundup, sqlite_init, sqlite_shutdown, NULL};
    return sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) == SQLITE_OK ? 0 : -1;
}

/* --- commands ------------------------------------------------------------------------------ */

#define ORDER(number)                                                                              \
    "{\"channel\":\"web-de\",\"channel_order_id\":\"" number "\",\"placed_at\":"                   \
    "\"2026-11-23T09:15:00Z\",\"currency\":\"EUR\",\"customer\":{\"email\":\"a@example.org\"},"    \
    "\"lines\":[{\"line_id\":\"1\",\"sku\":\"A\",\"quantity\":\"2\",\"unit_price\":5,\"total\":10}],"      \
    "\"totals\":{\"grand\":10}}"

struct asked {
    const char *type, *body; /* %u: number of the run; %s: the order */
    bool order;              /* it is about an order, made before, whose id is its argument */
};
static const struct asked commands[] = {
    {"stock.count", "{\"sku\":\"A\",\"location\":\"WH-HAM\",\"on_hand\":\"90%u\"}", false},
    {"stock.adjust", "{\"sku\":\"N%u\",\"location\":\"WH-HAM\",\"delta\":\"5\",\"reason\":\"found\"}", false},
    {"order.capture", ORDER("t-%u"), false},
    {"order.ship", "{\"location\":\"WH-HAM\",\"parcels\":[{\"carrier\":\"DHL\",\"tracking\":\"%u\"}]}", true},
    {"order.cancel", "{\"reason\":\"run %u\"}", true},
    {"stock.hold", "{\"sku\":\"A\",\"location\":\"WH-HAM\",\"quantity\":\"1\",\"expires_in_s\":%u000}", false},
    {"fact.keep", "{\"kind\":\"refund\",\"key\":\"r-%u\",\"refs\":[\"4711\"],\"document\":{\"amount\":1}}", false},
    {"exception.raise", "{\"kind\":\"torture\",\"subject\":\"web-de/%u\",\"cause\":\"a test\",\"owner\":\"ops\"}",
     false},
};
static const struct asked *asked;

static int ask(uint32_t n, const char *order, const char *key) {
    char body[1024];
    snprintf(body, sizeof body, asked->body, n);
    return cell_run(&cell, asked->type, body, asked->order ? order : NULL, key);
}

/* An order of this run, made while nothing fails. */
static void order_make(uint32_t n, char id[64]) {
    char body[1024];
    snprintf(body, sizeof body, ORDER("%s-%u"), asked->type, n);
    assert_int_equal(cell_run(&cell, "order.capture", body, NULL, NULL), 201);
    const struct json *answer;
    assert_int_equal(json_parse(cell.parser, &cell.arena, cell_body(&cell), false, &answer, NULL), OK);
    snprintf(id, 64, "%.*s", STR_FMT(json_member_str(answer, STR("order_id"))));
}

/* Refused: as before, and it can be asked for again; done: in full; never twice. */
static bool ask_step(uint32_t n) {
    char key[64], order[64] = "";
    if (asked->order)
        order_make(n, order);
    uint32_t before = cell.journal.count;
    snprintf(key, sizeof key, "%s-%u", asked->type, n);
    mem_fail_at(n, 0);
    int status = ask(n, order, key);
    bool met = ended(n);
    if (status / 100 != 2) {
        if (!met || status < 500)
            print_error("%s: %d %s %s\n", asked->type, status, cell.fault.detail, cell.command.answer.fault.detail);
        assert_true(met && (status == 503 || status == 500));
        assert_int_equal(cell.journal.count, before);
        assert_int_equal(ask(n, order, key) / 100, 2); /* what was refused is not remembered */
    }
    assert_true(cell.journal.count > before);
    before = cell.journal.count;
    assert_int_equal(ask(n, order, key), 200);
    assert_true(cell.command.answer.replayed);
    assert_int_equal(cell.journal.count, before);
    return met;
}

static void test_commands(void **state) {
    (void)state;
    assert_int_equal(cell_run_fact(&cell, "stock.count",
                                   "{\"sku\":\"A\",\"location\":\"WH-HAM\",\"on_hand\":\"100000\"}"), 201);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        asked = &commands[i];
        uint32_t points = torture(ask_step);
        print_message("%s: %u allocations failed\n", asked->type, (unsigned)points);
        assert_true(points > 5);
    }
    again(false);
    again(true);
}

/* --- what comes in --------------------------------------------------------------------------- */

static struct str no_header(void *ctx, struct str name) {
    (void)ctx;
    (void)name;
    return STR_NONE;
}

/* A webhook up to its answer; what its sender was told. */
static int webhook(const char *body) {
    struct fault fault;
    struct receive_header_source source = {no_header, NULL};
    arena_reset(&cell.arena);
    fault_init(&fault, &cell.arena);
    enum err err = receive_prepare(cell.core, shop.connectors, STR("shop"), STR("orders"), &source, str_c(body),
                                   cell.parser, &cell.arena, &cell.command, &fault);
    if (err == OK) {
        cell.command.origin = &cell.origin;
        cell.delivered = false;
        err = core_submit(cell.core, &cell.command, &fault);
    }
    for (int i = 0; err == OK && i < 100 && !cell.delivered; i++)
        core_step(cell.core);
    if (err == OK)
        err = cell.command.answer.err;
    return err == OK ? 200 : err_info(err)->status;
}

/* An order comes in, is mapped and captured, however often memory runs out on the way. */
static bool webhook_step(uint32_t n) {
    char body[64], number[64];
    snprintf(body, sizeof body, "{\"id\":%u,\"v\":1}", (unsigned)n);
    snprintf(number, sizeof number, "\"channel_order_id\":\"%u\"", (unsigned)n);
    uint32_t before = cell.journal.count;
    mem_fail_at(n, 0);
    int status = webhook(body);
    for (int i = 0; status == 200 && i < 20; i++) {
        inbound_step(shop.inbound);
        core_step(cell.core);
    }
    bool met = ended(n);
    if (status != 200) {
        assert_true(met && (status == 503 || status == 500));
        assert_int_equal(cell.journal.count, before);
        assert_int_equal(webhook(body), 200);
    }
    for (int i = 0; i < 4 && events("order.captured", number) == 0; i++) {
        settle();
        cell.now_us += 2000000; /* what failed is tried again some time later */
    }
    assert_int_equal(events("order.captured", number), 1);
    assert_int_equal(events("exception.raised", ""), 0); /* memory is no case for a person */
    return met;
}

static void test_inbound(void **state) {
    (void)state;
    assert_int_equal(cell_run_fact(&cell, "stock.count",
                                   "{\"sku\":\"A\",\"location\":\"WH-HAM\",\"on_hand\":\"100000000\"}"), 201);
    uint32_t points = torture(webhook_step);
    print_message("a webhook: %u allocations failed\n", (unsigned)points);
    assert_true(points > 20);
    again(false);
    again(true);
}

/* --- connectors ------------------------------------------------------------------------------ */

static bool load_step(uint32_t n) {
    struct fault fault;
    struct arena arena;
    struct connectors *loaded = NULL;
    arena_init(&arena, 0);
    fault_init(&fault, &arena);
    mem_fail_at(n, 0);
    enum err err = connectors_load(shop.dir, &loaded, &fault);
    bool met = ended(n);
    if (err == OK) {
        const struct connector *had = connector_find(shop.connectors, STR("shop"));
        const struct connector *got = connector_find(loaded, STR("shop"));
        assert_non_null(got);
        assert_true(str_eq(got->hash, had->hash)); /* nothing is left out */
        connectors_release(loaded);
    } else {
        assert_true(met);
        if (err != ERR_NOMEM) {
            print_error("%u: %s %s\n", (unsigned)n, err_info(err)->title, fault.detail);
            for (const struct fault_item *item = fault.first; item; item = item->next)
                print_error("%.*s: %.*s\n", STR_FMT(item->pointer), STR_FMT(item->detail));
        }
        assert_int_equal(err, ERR_NOMEM);
    }
    arena_free(&arena);
    return met;
}

static void test_connectors(void **state) {
    (void)state;
    uint32_t points = torture(load_step);
    print_message("loading connectors: %u allocations failed\n", (unsigned)points);
    assert_true(points > 50);
}

/* --- the journal and delivery's progress, with SQLite's own allocations ------------------------- */

static char *folder;

static bool journal_step(uint32_t n) {
    struct fault fault = {0};
    struct journal_sqlite_options options = {.cell = STR("torture"), .segment_bytes = 1 << 20};
    struct journal *journal = NULL;
    static uint64_t kept;
    uint64_t last = 0;
    mem_fail_at(n, 0);
    enum err err = journal_sqlite_open(folder, &options, &journal, &fault);
    if (err == OK) {
        struct record record = {.seq = kept + 1, .time_us = 1, .type = STR("thing.made"), .subject = STR("s"),
                                .meta = STR("{}"), .data = STR("{\"n\":1}")};
        err = journal_append(journal, &record, 1, &fault);
    }
    bool met = ended(n);
    if (journal)
        journal_close(journal);
    assert_true(err == OK || met);
    journal = NULL;
    assert_int_equal(journal_sqlite_open(folder, &options, &journal, &fault), OK);
    assert_int_equal(journal_last(journal, &last, &fault), OK);
    assert_true(err == OK ? last == kept + 1 : last == kept || last == kept + 1);
    kept = last;
    journal_close(journal);
    return met;
}

static bool progress_step(uint32_t n) {
    char path[256];
    struct fault fault = {0};
    struct progress *progress = NULL;
    struct progress_cursor cursor = {0};
    static uint64_t kept;
    snprintf(path, sizeof path, "%s/delivery.db", folder);
    mem_fail_at(n, 0);
    enum err err = progress_open(path, &progress, &fault);
    if (err == OK) {
        progress_set(progress, STR("erp"), kept + 1, kept + 2);
        progress_list(progress, &(struct progress_row){.subscription = STR("erp"), .lane = STR("k"),
                                                       .seq = kept + 1, .subject = STR("k"),
                                                       .type = STR("thing.made"), .cause = STR("no")});
        err = progress_flush(progress, &fault);
    }
    bool met = ended(n);
    if (progress)
        progress_close(progress);
    assert_true(err == OK || met);
    progress = NULL;
    assert_int_equal(progress_open(path, &progress, &fault), OK);
    assert_int_equal(progress_load(progress, STR("erp"), &cursor, &fault), OK);
    uint64_t row = 0;
    assert_int_equal(progress_next(progress, STR("erp"), STR("k"), kept, &row, &fault), OK);
    /* both or neither */
    assert_true(err == OK ? cursor.cursor == kept + 1 : cursor.cursor == kept || cursor.cursor == kept + 1);
    assert_int_equal(row, cursor.cursor == kept + 1 ? kept + 1 : 0);
    kept = cursor.cursor;
    progress_close(progress);
    return met;
}

static void test_stores(void **state) {
    (void)state;
    folder = temp_folder();
    uint32_t points = torture(journal_step);
    print_message("opening a journal and appending: %u allocations failed\n", (unsigned)points);
    assert_true(points > 20);
    points = torture(progress_step);
    print_message("delivery's progress: %u allocations failed\n", (unsigned)points);
    assert_true(points > 20);
}

static int stores_end(void **state) {
    (void)state;
    temp_remove(folder);
    return 0;
}

/* --- what goes out --------------------------------------------------------------------------------- */

static const struct partner_file books_files[] = {
    {"connector.yaml",
     "connector: books\nversion: \"1\"\nowner: finance\nsend:\n"
     "  - subscription: books\n    events: [order.captured]\n    mapping: post.lua\n"
     "    request: {method: POST, url: \"http://books/orders\", headers: {Idempotency-Key: \"{event.id}\",\n"
     "              X-About: \"{event.type} with the number {event.seq} about {event.subject}\"}}\n"
     "    lookup: {method: GET, url: \"http://books/orders?id={event.id}\", found: /number, reference: /number,\n"
     "             settle_ms: 10}\n"
     "    reference: /number\n    retry: {first_ms: 1, max_ms: 10, factor: 2, jitter: none}\n"},
    {"post.lua", "return function(doc) return {order = doc.data.order.channel_order_id} end\n"},
};

/* Books of another system, which answers with the next step. */
struct net_call {
    struct net_request request;
    net_done *done;
    void *ctx;
};
static struct books {
    struct net net;
    struct net_call calls[64];
    uint32_t count;
    char kept[4096][32]; /* event ids, each once */
    uint32_t kept_count;
} books;

static bool books_has(struct str id) {
    for (uint32_t i = 0; i < books.kept_count; i++)
        if (str_is(id, books.kept[i]))
            return true;
    return false;
}

static enum err books_send(struct net *net, const struct net_request *request, net_done *done, void *ctx,
                           struct net_call **call, struct fault *fault) {
    (void)net;
    if (books.count == 64)
        return fault_set(fault, ERR_UNAVAILABLE, "busy");
    books.calls[books.count] = (struct net_call){*request, done, ctx};
    if (call)
        *call = &books.calls[books.count];
    books.count++;
    return OK;
}

static void books_answer(const struct net_call *call) {
    struct net_answer answer = {.sent = true, .status = 200};
    struct str id = STR_NONE;
    for (uint32_t i = 0; i < call->request.header_count; i++) /* a request without is another one */
        assert_true(call->request.headers[i].value.len > 0);
    if (str_is(call->request.method, "POST")) {
        for (uint32_t i = 0; i < call->request.header_count; i++)
            if (str_is(call->request.headers[i].name, "Idempotency-Key"))
                id = call->request.headers[i].value;
        assert_true(id.len > 0 && id.len < 32);
        assert_false(books_has(id)); /* what may have been posted is looked up */
        snprintf(books.kept[books.kept_count++], 32, "%.*s", STR_FMT(id));
        answer.status = 201;
    } else {
        const char *at = memmem(call->request.url.ptr, call->request.url.len, "id=", 3);
        assert_non_null(at);
        id = str_of(at + 3, (size_t)(call->request.url.ptr + call->request.url.len - at - 3));
    }
    answer.body = books_has(id) ? STR("{\"number\":\"N-1\"}") : STR("{}");
    call->done(call->ctx, &answer);
}

static void books_step(void) {
    struct net_call calls[64];
    uint32_t count = books.count;
    memcpy(calls, books.calls, sizeof calls);
    books.count = 0;
    for (uint32_t i = 0; i < count; i++)
        books_answer(&calls[i]);
}
static const struct net_ops books_ops = {.send = books_send};

static struct deliver *deliver;

static void deliver_rounds(uint32_t rounds, int64_t step_us) {
    for (uint32_t i = 0; i < rounds; i++) {
        deliver_step(deliver);
        books_step();
        core_step(cell.core);
        cell.now_us += step_us;
    }
}

static bool deliver_torture_step(uint32_t n) {
    char body[1024], posted[64];
    asked = &commands[2];
    snprintf(body, sizeof body, asked->body, n);
    assert_int_equal(cell_run(&cell, "order.capture", body, NULL, NULL), 201);
    snprintf(posted, sizeof posted, "\"event_seq\":%u,", (unsigned)cell.journal.count);
    for (uint32_t i = cell.journal.count; i > 0; i--)
        if (str_is(cell.journal.records[i - 1].type, "order.captured")) {
            snprintf(posted, sizeof posted, "\"event_seq\":%u,", (unsigned)i);
            break;
        }
    mem_fail_at(n, 0);
    deliver_rounds(12, 100000); /* progress is written meanwhile, too */
    bool met = ended(n);
    for (int i = 0; i < 100 && events("posting.posted", posted) == 0; i++)
        deliver_rounds(4, 50000);
    assert_int_equal(events("posting.posted", posted), 1);
    assert_int_equal(events("delivery.held", ""), 0); /* memory is no case for a person */
    return met;
}

static void test_deliver(void **state) {
    struct fault fault;
    char path[256];
    (void)state;
    cell_open(&cell, 1);
    assert_true(partner_open(&shop, &cell, "books", books_files, 2));
    fault_init(&fault, &cell.arena);
    assert_int_equal(cell_run_fact(&cell, "stock.count",
                                   "{\"sku\":\"A\",\"location\":\"WH-HAM\",\"on_hand\":\"100000\"}"), 201);
    folder = temp_folder();
    snprintf(path, sizeof path, "%s/delivery.db", folder);
    books.net.ops = &books_ops;
    struct deliver_options options = {.core = cell.core, .tail = cell.tail, .config = &cell.config,
                                      .connectors = shop.connectors, .path = path, .clock = &cell.clock,
                                      .rng = &cell.rng.rng, .net = &books.net};
    assert_int_equal(deliver_create(&options, &deliver, &fault), OK);
    uint32_t points = torture(deliver_torture_step);
    print_message("a delivery: %u allocations failed\n", (unsigned)points);
    assert_true(points > 10);
    deliver_destroy(deliver);
    assert_int_equal(webshop_tear_down(NULL), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WEBSHOP_BOTH(test_commands),
        WEBSHOP_BOTH(test_inbound),
        cmocka_unit_test_setup_teardown(test_connectors, webshop_set_up, webshop_tear_down),
        cmocka_unit_test_teardown(test_stores, stores_end),
        cmocka_unit_test_teardown(test_deliver, stores_end),
    };
    return cmocka_run_group_tests(tests, set_up_sqlite, NULL);
}
