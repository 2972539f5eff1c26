/* The read model: what it holds is what the events say, page by page, after any end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#include "../support/shop.h"
#include "../support/temp.h"
#include "base/mem.h"
#include "store/journal_sqlite.h"
#include "store/read_model.h"

struct hub {
    char *dir, path[4096];
    struct journal *journal;
    struct tail *tail;
    struct registry *registry;
    struct read_model *model;
    struct reader *reader;
    uint32_t batch;
    uint64_t orders; /* captured so far: 1 … orders */
};

static void model_open(struct hub *hub) {
    struct read_model_options options = {.path = hub->path,
                                         .registry = hub->registry,
                                         .journal = hub->journal,
                                         .tail = hub->tail,
                                         .clock = &clock_system,
                                         .batch_events = hub->batch,
                                         .pause_ms = 5};
    struct fault fault = {0};
    if (read_model_open(&options, &hub->model, &fault) != OK)
        fail_msg("read model: %s", fault.detail);
    hub->reader = read_model_reader_create(hub->model, NULL, &fault);
    assert_non_null(hub->reader);
}
static void model_close(struct hub *hub) {
    read_model_reader_destroy(hub->reader);
    read_model_close(hub->model);
}
static struct hub hub_make(uint32_t batch) {
    struct hub hub = {.dir = temp_folder(), .batch = batch};
    struct journal_sqlite_options options = {.cell = STR("main")};
    struct fault fault = {0};
    assert_int_equal(journal_sqlite_open(hub.dir, &options, &hub.journal, &fault), OK);
    hub.tail = tail_create(hub.journal, 1 << 20);
    hub.registry = registry_create(shop_capabilities);
    snprintf(hub.path, sizeof hub.path, "%s/read.db", hub.dir);
    model_open(&hub);
    return hub;
}
static void hub_free(struct hub *hub) {
    model_close(hub);
    registry_destroy(hub->registry);
    tail_destroy(hub->tail);
    journal_close(hub->journal);
    temp_remove(hub->dir);
}
static void catch_up(struct hub *hub) {
    struct fault fault = {0};
    for (bool more = true; more;)
        if (read_model_step(hub->model, &more, &fault) != OK)
            fail_msg("step: %s", fault.detail);
    assert_int_equal(read_model_seq(hub->model), tail_last(hub->tail));
}

static void publish(struct hub *hub, const struct buf *texts, struct shop_record *made,
                    uint32_t n) {
    struct record *records = calloc(n, sizeof *records);
    shop_fix(texts, made, n);
    for (uint32_t i = 0; i < n; i++)
        records[i] = made[i].record;
    struct fault fault = {0};
    assert_int_equal(journal_append(hub->journal, records, n, &fault), OK);
    tail_publish(hub->tail, records, n);
    free(records);
}
/* n orders, each with its reservation; two events an order. */
static void capture(struct hub *hub, uint32_t n) {
    struct shop_record *made = calloc(2 * n, sizeof *made);
    struct buf texts;
    buf_init(&texts, 0);
    uint64_t seq = tail_last(hub->tail);
    for (uint32_t i = 0; i < n; i++, seq += 2) {
        uint64_t order = ++hub->orders;
        shop_put_captured(&texts, order, seq + 1, 10, &made[2 * i]);
        shop_put_other(&texts, "stock.reserved", "{\"lines\":[]}", order, seq + 2, seq + 1,
                       &made[2 * i + 1]);
    }
    publish(hub, &texts, made, 2 * n);
    buf_free(&texts);
    free(made);
}
static void ship(struct hub *hub, uint64_t order, int version) {
    struct shop_record made;
    struct buf texts;
    buf_init(&texts, 0);
    char data[64];
    snprintf(data, sizeof data, "{\"version\":%d,\"state\":\"shipped\"}", version);
    uint64_t seq = tail_last(hub->tail) + 1;
    shop_put_other(&texts, "order.shipped", data, order, seq, seq, &made);
    publish(hub, &texts, &made, 1);
    buf_free(&texts);
}

/* --- asking --- */

struct page {
    uint32_t count;
    struct buf text; /* a line per row, all its columns */
    char first[64], last[64];
};
static bool page_see(void *ctx, const struct row_value *v) {
    struct page *page = ctx;
    for (uint32_t i = 0; i < shop_orders.count; i++) {
        if (shop_orders.columns[i].kind == COLUMN_INTEGER)
            buf_printf(&page->text, "|%lld", (long long)v[i].integer);
        else
            buf_printf(&page->text, "|%.*s", STR_FMT(v[i].text.ptr ? v[i].text : STR("(null)")));
    }
    buf_char(&page->text, '\n');
    snprintf(page->last, sizeof page->last, "%.*s", STR_FMT(v[ORDERS_ID].text));
    if (page->count++ == 0)
        memcpy(page->first, page->last, sizeof page->first);
    return true;
}
static enum err list(struct hub *hub, struct row_query *query, struct arena *arena,
                     struct page *page, struct str *next) {
    struct fault fault = {0};
    query->table = &shop_orders;
    return hub->reader->ops->list(hub->reader, query, arena, page_see, page, next, &fault);
}
static void all_rows(struct hub *hub, struct page *page) {
    struct arena arena;
    arena_init(&arena, 0);
    struct row_query query = {.limit = 1000000};
    struct str next;
    assert_int_equal(list(hub, &query, &arena, page, &next), OK);
    assert_null(next.ptr);
    arena_free(&arena);
}
static uint32_t refs_of(struct hub *hub, const char *id, uint64_t *seqs, uint32_t max) {
    struct fault fault = {0};
    uint32_t count = 99;
    if (hub->reader->ops->refs(hub->reader, str_c(id), seqs, max, &count, &fault) != OK)
        fail_msg("refs: %s", fault.detail);
    return count;
}
static const char *order_id(uint64_t n) {
    static char id[64];
    snprintf(id, sizeof id, "ord_%026llu", (unsigned long long)n);
    return id;
}

/* --- tests --- */

static void projects_events(void **state) {
    (void)state;
    struct hub hub = hub_make(100);
    bool more;
    struct fault fault = {0};
    assert_int_equal(read_model_step(hub.model, &more, &fault), OK);
    assert_false(more);
    capture(&hub, 120);
    assert_int_equal(read_model_step(hub.model, &more, &fault), OK);
    assert_true(more);
    assert_int_equal(read_model_seq(hub.model), 100);
    catch_up(&hub);
    struct page page = {0};
    all_rows(&hub, &page);
    assert_int_equal(page.count, 120);
    const char *first = "|ord_00000000000000000000000001|web-de|C7919|accepted|1|EUR|1|1"
                        "|1700000000000010|1700000000000010|(null)\n";
    assert_memory_equal(page.text.data, first, strlen(first));
    buf_free(&page.text);
    uint64_t seq;
    assert_int_equal(hub.reader->ops->seq(hub.reader, &seq, &fault), OK);
    assert_int_equal(seq, 240);
    hub_free(&hub);
}

static void finds_events_by_any_id(void **state) {
    (void)state;
    struct hub hub = hub_make(7);
    capture(&hub, 100);
    catch_up(&hub);
    ship(&hub, 40, 2);
    catch_up(&hub);
    uint64_t seqs[8];
    char id[64];
    for (uint64_t n = 1; n <= 100; n++) {
        uint32_t want = n == 40 ? 2 : 1;
        assert_int_equal(refs_of(&hub, order_id(n), seqs, 8), want);
        assert_int_equal(seqs[0], 2 * n - 1); /* the command's first event, once */
        if (n == 40)
            assert_int_equal(seqs[1], 201);
        snprintf(id, sizeof id, "C%llu", (unsigned long long)(n * 7919));
        assert_int_equal(refs_of(&hub, id, seqs, 8), 1);
        snprintf(id, sizeof id, "corr-%016llx", (unsigned long long)(n * 0x9e3779b97f4a7c15u));
        assert_int_equal(refs_of(&hub, id, seqs, 1), 1);
        assert_int_equal(seqs[0], 2 * n - 1);
        snprintf(id, sizeof id, "key-%016llx", (unsigned long long)(n * 0xbf58476d1ce4e5b9u));
        assert_int_equal(refs_of(&hub, id, seqs, 8), 1);
    }
    assert_int_equal(refs_of(&hub, "C1", seqs, 8), 0);
    assert_int_equal(refs_of(&hub, "", seqs, 8), 0);
    hub_free(&hub);
}

static void conflates_rows_of_a_batch(void **state) {
    (void)state;
    struct hub hub = hub_make(1000);
    capture(&hub, 2);
    for (int version = 2; version <= 9; version++)
        ship(&hub, 1, version);
    catch_up(&hub);
    struct read_model_stats stats;
    read_model_stats(hub.model, &stats);
    assert_int_equal(stats.rows, 2);
    assert_int_equal(stats.events, 12);
    assert_int_equal(stats.transactions, 1);
    ship(&hub, 2, 5);
    catch_up(&hub);
    struct page page = {0};
    all_rows(&hub, &page);
    const char *want =
        "|ord_00000000000000000000000001|web-de|C7919|shipped|1|EUR|9|1|1700000000000010"
        "|1700000000000120|(null)\n"
        "|ord_00000000000000000000000002|web-de|C15838|shipped|2|EUR|5|3|1700000000000020"
        "|1700000000000130|(null)\n";
    assert_string_equal(buf_cstr(&page.text), want);
    buf_free(&page.text);
    hub_free(&hub);
}

/* Each order that was there at the first page is seen once, whatever changes meanwhile. */
static void pages_do_not_lose_or_repeat(void **state) {
    (void)state;
    struct hub hub = hub_make(1000);
    capture(&hub, 100);
    catch_up(&hub);
    struct arena arena;
    arena_init(&arena, 0);
    uint32_t sorts[] = {ORDERS_ID, ORDERS_CREATED, ORDERS_NOTE, ORDERS_REFERENCE, ORDERS_VERSION};
    for (size_t s = 0; s < sizeof sorts / sizeof sorts[0]; s++) {
        uint64_t there = hub.orders;
        struct row_query query = {.sort_column = sorts[s], .limit = 7};
        struct page seen = {0};
        struct str next = STR_NONE;
        uint32_t pages = 0;
        do {
            query.cursor = arena_str(&arena, next);
            assert_int_equal(list(&hub, &query, &arena, &seen, &next), OK);
            pages++;
            capture(&hub, 1);
            catch_up(&hub);
        } while (next.ptr && pages < 100);
        assert_true(pages < 100);
        const char *text = buf_cstr(&seen.text);
        for (uint64_t n = 1; n <= there; n++) {
            const char *at = strstr(text, order_id(n));
            assert_non_null(at);
            assert_null(strstr(at + 1, order_id(n)));
        }
        buf_free(&seen.text);
    }
    arena_free(&arena);
    hub_free(&hub);
}

static void filters_and_guards_cursors(void **state) {
    (void)state;
    struct hub hub = hub_make(1000);
    capture(&hub, 50);
    catch_up(&hub);
    struct arena arena;
    arena_init(&arena, 0);
    struct row_filter filters[] = {
        {.column = ORDERS_CHANNEL, .op = ROW_EQ, .value = row_text(STR("web-de"))},
        {.column = ORDERS_UPDATED, .op = ROW_GE, .value = row_int(1700000000000000 + 200)},
        {.column = ORDERS_NOTE, .op = ROW_EQ, .value = row_text(STR_NONE)},
        {.column = ORDERS_GRAND, .op = ROW_LT, .value = row_int(41)},
    };
    struct row_query query = {.filters = filters, .filter_count = 4, .limit = 15,
                              .sort_column = ORDERS_UPDATED};
    struct page page = {0};
    struct str next;
    assert_int_equal(list(&hub, &query, &arena, &page, &next), OK);
    assert_int_equal(page.count, 15);
    assert_string_equal(page.first, order_id(20));
    assert_string_equal(page.last, order_id(34));
    assert_non_null(next.ptr);
    struct str cursor = query.cursor = next;
    query.limit = 100; /* may change from page to page */
    assert_int_equal(list(&hub, &query, &arena, &page, &next), OK);
    assert_int_equal(page.count, 21);
    assert_string_equal(page.last, order_id(40));
    assert_null(next.ptr);
    page.count = 0;
    for (size_t i = 0; i < cursor.len; i++) {
        struct str bad = arena_str(&arena, cursor);
        ((char *)(uintptr_t)bad.ptr)[i] = bad.ptr[i] == 'A' ? 'B' : 'A';
        query.cursor = bad;
        assert_int_equal(list(&hub, &query, &arena, &page, &next), ERR_INVALID);
        query.cursor = str_of(cursor.ptr, i);
        assert_int_equal(list(&hub, &query, &arena, &page, &next), ERR_INVALID);
    }
    query.cursor = cursor;
    filters[3].value = row_int(42);
    assert_int_equal(list(&hub, &query, &arena, &page, &next), ERR_INVALID);
    query.cursor = STR("' OR 1=1 --");
    assert_int_equal(list(&hub, &query, &arena, &page, &next), ERR_INVALID);
    assert_int_equal(page.count, 0);
    buf_free(&page.text);
    arena_free(&arena);
    hub_free(&hub);
}

/* Everything a reader can see, as text. */
static void dump(struct hub *hub, struct buf *out) {
    struct page page = {0};
    all_rows(hub, &page);
    buf_str_add(out, buf_str(&page.text));
    buf_free(&page.text);
    for (uint64_t n = 1; n <= hub->orders; n++) {
        uint64_t seqs[100];
        uint32_t count = refs_of(hub, order_id(n), seqs, 100);
        for (uint32_t i = 0; i < count; i++)
            buf_printf(out, "%llu,", (unsigned long long)seqs[i]);
        buf_char(out, '\n');
    }
}
static void random_story(struct hub *hub, struct rng *rng, uint32_t steps) {
    for (uint32_t i = 0; i < steps; i++) {
        capture(hub, (uint32_t)rng_below(rng, 20) + 1);
        for (uint64_t k = rng_below(rng, 8); k > 0; k--)
            ship(hub, rng_below(rng, hub->orders) + 1, (int)i + 2);
        if (rng_below(rng, 3) == 0)
            catch_up(hub);
    }
    catch_up(hub);
}

static void rebuilt_equals_live(void **state) {
    (void)state;
    struct rng_seeded rng;
    rng_seeded_init(&rng, 11);
    struct hub hub = hub_make(37);
    random_story(&hub, &rng.rng, 120);
    struct buf live = {0}, rebuilt = {0}, reopened = {0};
    buf_init(&live, 0);
    buf_init(&rebuilt, 0);
    buf_init(&reopened, 0);
    dump(&hub, &live);
    assert_true(live.len > 10000);
    model_close(&hub);
    hub.batch = 5000;
    model_open(&hub);
    assert_int_equal(read_model_seq(hub.model), tail_last(hub.tail));
    dump(&hub, &reopened);
    assert_true(str_eq(buf_str(&live), buf_str(&reopened)));
    struct fault fault = {0};
    assert_int_equal(read_model_rebuild(hub.model, NULL, NULL, &fault), OK); /* with a reader connected */
    dump(&hub, &rebuilt);
    assert_true(str_eq(buf_str(&live), buf_str(&rebuilt)));
    buf_free(&live);
    buf_free(&rebuilt);
    buf_free(&reopened);
    hub_free(&hub);
}

static uint64_t rebuilds(struct hub *hub) {
    struct read_model_stats stats;
    read_model_stats(hub->model, &stats);
    return stats.rebuilds;
}

static void fills_again_where_needed(void **state) {
    (void)state;
    struct hub hub = hub_make(1000);
    capture(&hub, 300);
    catch_up(&hub);
    struct buf live, again;
    buf_init(&live, 0);
    dump(&hub, &live);

    /* Another definition of a table, and back. */
    static const char *const other_indexes[] = {"channel, updated_us, order_id", NULL};
    struct table other = shop_orders;
    other.indexes = other_indexes;
    const struct table *other_tables[] = {&other, NULL};
    struct capability changed = shop;
    changed.tables = other_tables;
    const struct capability *changed_list[] = {&changed, NULL};
    struct registry *usual = hub.registry;
    model_close(&hub);
    hub.registry = registry_create(changed_list);
    model_open(&hub);
    assert_int_equal(rebuilds(&hub), 1);
    assert_int_equal(read_model_seq(hub.model), 0);
    model_close(&hub);
    registry_destroy(hub.registry);
    hub.registry = usual;

    /* Files that are damaged: at the head, in the middle, cut, empty. */
    for (int damage = 0; damage < 4; damage++) {
        model_open(&hub);
        catch_up(&hub);
        model_close(&hub);
        FILE *file = fopen(hub.path, damage == 3 ? "w+" : "r+");
        if (damage < 2)
            fseek(file, damage == 0 ? 0 : 100, SEEK_SET);
        for (int i = 0; damage < 2 && i < 300; i++)
            fputs("damage ", file);
        if (damage == 2)
            assert_int_equal(ftruncate(fileno(file), 5000), 0);
        fclose(file);
        model_open(&hub);
        catch_up(&hub);
        buf_init(&again, 0);
        dump(&hub, &again);
        assert_true(str_eq(buf_str(&live), buf_str(&again)));
        buf_free(&again);
        model_close(&hub);
    }

    /* Another journal, as after a restore. */
    model_open(&hub);
    catch_up(&hub);
    model_close(&hub);
    struct hub twin = hub_make(1000);
    capture(&twin, 200);
    capture(&twin, 200);
    catch_up(&twin);
    model_close(&twin);
    strcpy(twin.path, hub.path);
    model_open(&twin);
    assert_int_equal(rebuilds(&twin), 0); /* the same events up to there: it fits */
    model_close(&twin);
    ship(&hub, 1, 7);
    model_open(&hub);
    assert_int_equal(rebuilds(&hub), 0);
    catch_up(&hub);
    model_close(&hub);
    model_open(&twin);
    assert_int_equal(rebuilds(&twin), 1);
    hub_free(&twin);
    model_open(&hub);
    catch_up(&hub);
    buf_free(&live);
    hub_free(&hub);
}

static void passes_over_what_it_can_not_read(void **state) {
    (void)state;
    struct hub hub = hub_make(1000);
    struct shop_record made[3];
    struct buf texts;
    buf_init(&texts, 0);
    shop_put_other(&texts, "order.captured", "{\"grand\":\"no number\"}", 1, 1, 1, &made[0]);
    shop_put_other(&texts, "future.happened", "{\"what\":[1,2]}", 2, 2, 2, &made[1]);
    shop_put_captured(&texts, 3, 3, 10, &made[2]);
    publish(&hub, &texts, made, 3);
    buf_free(&texts);
    catch_up(&hub);
    struct read_model_stats stats;
    read_model_stats(hub.model, &stats);
    assert_int_equal(stats.skipped, 1);
    struct page page = {0};
    all_rows(&hub, &page);
    assert_int_equal(page.count, 1);
    buf_free(&page.text);
    uint64_t seqs[4];
    assert_int_equal(refs_of(&hub, order_id(1), seqs, 4), 1); /* still found */
    assert_int_equal(refs_of(&hub, order_id(2), seqs, 4), 1);
    hub_free(&hub);
}

/* --- the thread --- */

struct crowd {
    struct hub *hub;
    _Atomic bool done;
};
static void *crowd_ask(void *arg) {
    struct crowd *crowd = arg;
    struct fault fault = {0};
    struct reader *reader = read_model_reader_create(crowd->hub->model, NULL, &fault);
    must(reader != NULL);
    while (!atomic_load(&crowd->done)) {
        uint64_t last = tail_last(crowd->hub->tail), seqs[4];
        uint32_t count;
        must(reader->ops->wait(reader, last, 5000, &fault) == OK);
        if (last < 2)
            continue;
        char id[64];
        snprintf(id, sizeof id, "ord_%026llu", (unsigned long long)(last / 2));
        must(reader->ops->refs(reader, str_c(id), seqs, 4, &count, &fault) == OK);
        must(count == 1 && seqs[0] == last - 1);
    }
    read_model_reader_destroy(reader);
    return NULL;
}
static void follows_on_a_thread(void **state) {
    (void)state;
    struct hub hub = hub_make(200);
    struct fault fault = {0};
    capture(&hub, 1000);
    assert_int_equal(read_model_start(hub.model, &fault), OK);
    struct crowd crowd = {.hub = &hub};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_ask, &crowd), 0);
    for (int i = 0; i < 100; i++)
        capture(&hub, 10);
    assert_int_equal(hub.reader->ops->wait(hub.reader, tail_last(hub.tail), 5000, &fault), OK);
    assert_int_equal(hub.reader->ops->wait(hub.reader, tail_last(hub.tail) + 1, 30, &fault),
                     ERR_UNAVAILABLE);
    atomic_store(&crowd.done, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    struct page page = {0};
    all_rows(&hub, &page);
    assert_int_equal(page.count, 2000);
    buf_free(&page.text);
    read_model_stop(hub.model);
    capture(&hub, 1);
    assert_int_equal(read_model_start(hub.model, &fault), OK); /* once more */
    assert_int_equal(hub.reader->ops->wait(hub.reader, tail_last(hub.tail), 5000, &fault), OK);
    hub_free(&hub); /* stops it */
}

/* --- a second file beside the first --- */

static struct read_model_rebuilding rebuild_wait(struct hub *hub) {
    struct read_model_rebuilding now;
    for (int i = 0; i < 6000; i++) {
        read_model_rebuild_look(hub->model, &now);
        if (now.state == REBUILD_DONE || now.state == REBUILD_FAILED)
            return now;
        usleep(5000);
    }
    fail_msg("the rebuild does not end: %s at %llu", read_model_rebuild_states[now.state],
             (unsigned long long)now.seq);
    return now;
}

static void is_made_anew_while_it_answers(void **state) {
    (void)state;
    struct hub hub = hub_make(200);
    struct fault fault = {0};
    capture(&hub, 3000);
    assert_int_equal(read_model_rebuild_start(hub.model, &fault), ERR_UNAVAILABLE);
    assert_int_equal(read_model_start(hub.model, &fault), OK);
    struct read_model_rebuilding now;
    read_model_rebuild_look(hub.model, &now);
    assert_int_equal(now.state, REBUILD_NONE);
    struct crowd crowd = {.hub = &hub};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_ask, &crowd), 0);
    for (int round = 0; round < 4; round++) {
        assert_int_equal(read_model_rebuild_start(hub.model, &fault), OK);
        enum err again = read_model_rebuild_start(hub.model, &fault);
        assert_true(again == ERR_CONFLICT || again == OK); /* OK: it was that quick */
        for (int i = 0; i < 30; i++)
            capture(&hub, 10);
        now = rebuild_wait(&hub);
        if (now.state != REBUILD_DONE)
            fail_msg("%s", now.reason);
        assert_true(now.seq >= 6000 && now.took_us > 0);
    }
    assert_true(rebuilds(&hub) >= 4);
    assert_int_equal(hub.reader->ops->wait(hub.reader, tail_last(hub.tail), 5000, &fault), OK);
    atomic_store(&crowd.done, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    read_model_stop(hub.model);
    struct buf switched, filled;
    buf_init(&switched, 0);
    buf_init(&filled, 0);
    dump(&hub, &switched);
    model_close(&hub);
    assert_int_equal(unlink(hub.path), 0);
    model_open(&hub);
    catch_up(&hub);
    dump(&hub, &filled);
    assert_true(str_eq(buf_str(&switched), buf_str(&filled)));
    buf_free(&switched);
    buf_free(&filled);
    hub_free(&hub);
}

static void stops_in_the_middle_of_a_rebuild(void **state) {
    (void)state;
    struct hub hub = hub_make(100);
    struct fault fault = {0};
    char next[4200];
    snprintf(next, sizeof next, "%s.new", hub.path);
    capture(&hub, 2000);
    for (int pause_us = 0; pause_us < 40000; pause_us += 2000) {
        assert_int_equal(read_model_start(hub.model, &fault), OK);
        assert_int_equal(read_model_rebuild_start(hub.model, &fault), OK);
        usleep((useconds_t)pause_us);
        read_model_stop(hub.model);
        assert_int_not_equal(access(next, F_OK), 0);
    }
    catch_up(&hub);
    struct page page = {0};
    all_rows(&hub, &page);
    assert_int_equal(page.count, 2000);
    buf_free(&page.text);
    hub_free(&hub);
}

static void file_copy(const char *from, const char *to) {
    char command[9000];
    snprintf(command, sizeof command, "cp '%s' '%s'", from, to);
    assert_int_equal(system(command), 0);
}
static void file_write(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* What a crash in the middle of a rebuild or of the switch can leave behind. */
static void any_step_of_a_switch_leaves_a_working_one(void **state) {
    (void)state;
    struct hub hub = hub_make(1000);
    char next[4200], wal[4200];
    snprintf(next, sizeof next, "%s.new", hub.path);
    snprintf(wal, sizeof wal, "%s-wal", hub.path);
    capture(&hub, 500);
    catch_up(&hub);
    struct buf live, again;
    buf_init(&live, 0);
    dump(&hub, &live);
    for (int step = 0; step < 6; step++) {
        model_close(&hub);
        bool removed = step >= 2; /* the old file */
        if (step == 0)
            file_write(next, "half of a page");
        else
            file_copy(hub.path, next);
        if (step == 3) {
            sqlite3 *db;
            assert_int_equal(sqlite3_open(next, &db), SQLITE_OK);
            assert_int_equal(sqlite3_exec(db, "UPDATE hub SET whole=0", NULL, NULL, NULL), 0);
            sqlite3_close(db);
        }
        if (step == 4)
            assert_int_equal(truncate(next, 9000), 0);
        if (removed)
            assert_int_equal(unlink(hub.path), 0);
        if (step == 5)
            file_write(wal, "of the file that is gone");
        model_open(&hub);
        assert_int_not_equal(access(next, F_OK), 0);
        bool adopted = step == 2 || step == 5;
        assert_int_equal(read_model_seq(hub.model), !removed || adopted ? 1000 : 0);
        catch_up(&hub);
        buf_init(&again, 0);
        dump(&hub, &again);
        assert_true(str_eq(buf_str(&live), buf_str(&again)));
        buf_free(&again);
    }
    buf_free(&live);
    hub_free(&hub);
}

/* Part of the file is damaged while it is in use: whoever meets it is told, the rest goes on, and
 * a new one is made without being asked. */
static void a_damaged_page_is_told_and_mended(void **state) {
    (void)state;
    struct hub hub = hub_make(1000);
    struct fault fault = {0};
    capture(&hub, 6000);
    catch_up(&hub);
    struct buf live, again;
    buf_init(&live, 0);
    dump(&hub, &live);
    model_close(&hub);
    FILE *file = fopen(hub.path, "r+");
    fseek(file, 0, SEEK_END);
    long pages = ftell(file) / 4096;
    for (long page = 20; page < pages; page++) { /* the first ones hold the schema and `hub` */
        fseek(file, page * 4096, SEEK_SET);
        for (int i = 0; i < 20; i++)
            fputs("damage ", file);
    }
    fclose(file);
    model_open(&hub);
    assert_int_equal(rebuilds(&hub), 0); /* not seen yet */
    assert_int_equal(read_model_start(hub.model, &fault), OK);
    struct arena arena;
    arena_init(&arena, 0);
    struct row_query query = {.limit = 10000};
    struct page page = {0};
    struct str next;
    assert_int_equal(list(&hub, &query, &arena, &page, &next), ERR_UNAVAILABLE);
    struct read_model_rebuilding now = rebuild_wait(&hub);
    if (now.state != REBUILD_DONE)
        fail_msg("%s", now.reason);
    read_model_stop(hub.model);
    buf_init(&again, 0);
    dump(&hub, &again);
    assert_true(str_eq(buf_str(&live), buf_str(&again)));
    assert_int_equal(rebuilds(&hub), 1);
    arena_free(&arena);
    buf_free(&page.text);
    buf_free(&live);
    buf_free(&again);
    hub_free(&hub);
}

/* A journal whose oldest segments are gone. */
struct trimmed {
    struct journal journal;
    struct journal *whole;
    uint64_t first;
};
static enum err trimmed_read(struct journal *j, uint64_t from, uint32_t limit,
                             journal_visit *visit, void *ctx, uint64_t *next,
                             struct fault *fault) {
    const struct trimmed *t = (const struct trimmed *)j;
    return journal_read(t->whole, from < t->first ? t->first : from, limit, visit, ctx, next,
                        fault);
}
static enum err trimmed_last(struct journal *j, uint64_t *seq, struct fault *fault) {
    return journal_last(((struct trimmed *)j)->whole, seq, fault);
}

static void does_not_drop_what_the_journal_has_no_more(void **state) {
    (void)state;
    static const struct journal_ops ops = {.read = trimmed_read, .last = trimmed_last};
    struct hub hub = hub_make(1000);
    capture(&hub, 300);
    catch_up(&hub);
    model_close(&hub);
    struct trimmed trimmed = {.journal = {&ops}, .whole = hub.journal, .first = 101};
    struct journal *whole = hub.journal;
    struct tail *tail = hub.tail;
    hub.journal = &trimmed.journal;
    hub.tail = tail_create(hub.journal, 1 << 20);
    model_open(&hub);
    struct fault fault = {0};
    assert_int_equal(read_model_rebuild(hub.model, NULL, NULL, &fault), ERR_CONFLICT);
    assert_non_null(strstr(fault.detail, "begins at seq 101"));
    struct page page = {0};
    all_rows(&hub, &page);
    assert_int_equal(page.count, 300);
    buf_free(&page.text);
    model_close(&hub);
    tail_destroy(hub.tail);
    hub.tail = tail;
    hub.journal = whole;
    model_open(&hub);
    hub_free(&hub);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(projects_events),
        cmocka_unit_test(finds_events_by_any_id),
        cmocka_unit_test(conflates_rows_of_a_batch),
        cmocka_unit_test(pages_do_not_lose_or_repeat),
        cmocka_unit_test(filters_and_guards_cursors),
        cmocka_unit_test(rebuilt_equals_live),
        cmocka_unit_test(fills_again_where_needed),
        cmocka_unit_test(passes_over_what_it_can_not_read),
        cmocka_unit_test(follows_on_a_thread),
        cmocka_unit_test(is_made_anew_while_it_answers),
        cmocka_unit_test(stops_in_the_middle_of_a_rebuild),
        cmocka_unit_test(any_step_of_a_switch_leaves_a_working_one),
        cmocka_unit_test(a_damaged_page_is_told_and_mended),
        cmocka_unit_test(does_not_drop_what_the_journal_has_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
