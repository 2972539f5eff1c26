/* What the capabilities write into the read model: reading only the members that a project names
 * gives the same rows as reading all, for every type of event that says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "../support/cell.h"
#include "../support/temp.h"
#include "base/json.h"
#include "base/mem.h"
#include "domain/list.h"
#include "store/read_model.h"

static struct cell cell;

static void run(const char *type, const char *json, const char *arg0) {
    int status = cell_run(&cell, type, json, arg0, NULL);
    if (status / 100 != 2)
        fail_msg("%s: %d %s", type, status, cell.fault.detail);
}

static const char *answered(const char *member) {
    static char text[128];
    const struct json *answer;
    assert_int_equal(json_parse(cell.parser, &cell.arena, cell_body(&cell), false, &answer, NULL),
                     OK);
    struct str found = json_member_str(answer, str_c(member));
    snprintf(text, sizeof text, "%.*s", STR_FMT(found));
    return text;
}

/* Every type of event that is written down, with texts that need escapes, too. */
static void a_day(void) {
    char id[128], text[1024];
    run("stock.count", "{\"sku\":\"A\",\"location\":\"WH-HAM\",\"on_hand\":\"100\"}", NULL);
    run("stock.adjust",
        "{\"sku\":\"A\",\"location\":\"WH-HAM\",\"delta\":\"-1\",\"reason\":\"a \\\"broken\\\" one\","
        "\"reference\":\"ADJ-1\"}", NULL);
    run("stock.receive",
        "{\"sku\":\"A\",\"location\":\"WH-HAM\",\"quantity\":\"5\",\"receipt_reference\":\"ASN-1\"}", NULL);
    for (int n = 1; n <= 40; n++) {
        snprintf(text, sizeof text,
                 "{\"channel\":\"web-de\",\"channel_order_id\":\"%s%d\",\"placed_at\":"
                 "\"2026-11-23T09:15:00+01:00\",\"currency\":\"EUR\",\"customer\":{\"name\":\"%s\"},"
                 "\"lines\":[{\"line_id\":\"1\",\"sku\":\"A\",\"quantity\":\"1\",\"unit_price\":1999,"
                 "\"total\":1999}],\"totals\":{\"grand\":1999},\"ext\":{\"totals\":{\"grand\":1}}}",
                 n % 3 ? "N" : "N\\\"", n, n % 5 ? "Ida [Muster], {a}" : "two\\nlines");
        run("order.capture", text, NULL);
        snprintf(id, sizeof id, "%s", answered("order_id"));
        if (n % 4 == 0)
            run("order.cancel", "{\"reason\":\"no\"}", id);
        if (n % 4 == 1)
            run("order.ship", "{\"parcels\":[{\"carrier\":\"dhl\",\"tracking\":\"JD01\"}]}", id);
        snprintf(text, sizeof text,
                 "{\"subscription\":\"erp\",\"connector\":\"erp\",\"event_seq\":%d,\"order_id\":"
                 "\"%s\",\"reference\":\"%s%d\"}", n * 7, id, n % 3 ? "SO-" : "SO\\\\", n);
        if (n % 4 == 1)
            run("posting.record", text, NULL);
        snprintf(text, sizeof text,
                 "{\"connector\":\"shop\",\"topic\":\"orders-create\",\"dedup_id\":\"D%d\",\"key\":\"K%d\","
                 "\"document\":{\"a\":\"\\\"%d\"}}", n, n, n);
        run("inbound.receive", text, NULL);
    }
    run("exception.raise", "{\"kind\":\"short\",\"subject\":\"A\",\"cause\":\"x\",\"action\":\"y\","
                           "\"owner\":\"ops\"}", NULL);
    for (uint32_t i = 0; i < cell.journal.count; i++) { /* a message, put right by a person */
        const struct record *record = &cell.journal.records[i];
        if (!str_is(record->type, "payload.received"))
            continue;
        run("inbound.settle", arena_printf(&cell.arena, "{\"payload_seq\":%llu,\"outcome\":\"ignored\"}",
                                           (unsigned long long)record->seq).ptr, NULL);
        snprintf(text, sizeof text, "{\"kind\":\"mapping-failed\",\"cause\":\"x\",\"payload_seq\":%llu}",
                 (unsigned long long)record->seq);
        run("exception.raise", text, NULL);
        break;
    }
    const struct record *raised = &cell.journal.records[cell.journal.count - 1];
    snprintf(id, sizeof id, "%.*s", STR_FMT(raised->subject));
    run("exception.edit", "{\"payload_id\":\"pay_\\\"x\",\"document\":{\"a\":\"\\\"1\"}}", id);
}

/* --- two read models of the same journal ----------------------------------------------------- */

/* The capabilities as they are, but that no project names what it reads. */
static const struct capability *const *without_reads(struct arena *arena) {
    const struct capability **list = arena_array(arena, 64, sizeof *list);
    for (uint32_t c = 0; domain_capabilities[c]; c++) {
        struct capability *copy = arena_new(arena, struct capability);
        const struct event_type **events = arena_array(arena, 64, sizeof *events);
        *copy = *domain_capabilities[c];
        for (uint32_t e = 0; copy->events && copy->events[e]; e++) {
            struct event_type *type = arena_new(arena, struct event_type);
            *type = *copy->events[e];
            type->project_reads = NULL;
            events[e] = type;
        }
        copy->events = events;
        list[c] = copy;
    }
    return list;
}

static struct read_model_stats fill(const char *path,
                                    const struct capability *const *capabilities) {
    struct registry *registry = registry_create(capabilities);
    struct read_model_options options = {.path = path, .registry = registry,
                                         .journal = &cell.journal.journal, .tail = cell.tail,
                                         .clock = &clock_system, .batch_events = 50};
    struct read_model *model;
    struct read_model_stats stats;
    struct fault fault = {0};
    if (read_model_open(&options, &model, &fault) != OK)
        fail_msg("%s", fault.detail);
    for (bool more = true; more;)
        if (read_model_step(model, &more, &fault) != OK)
            fail_msg("%s", fault.detail);
    read_model_stats(model, &stats);
    read_model_close(model);
    registry_destroy(registry);
    return stats;
}

static int row_add(void *out, int n, char **values, char **names) {
    (void)names;
    for (int i = 0; i < n; i++)
        buf_printf(out, "%s|", values[i] ? values[i] : "(null)");
    buf_char(out, '\n');
    return 0;
}
static int table_add(void *list, int n, char **values, char **names) {
    (void)n, (void)names;
    buf_printf(list, "SELECT '%s', * FROM \"%s\";", values[0], values[0]);
    return 0;
}

/* Every row of every table, those of refs by their bytes. */
static void dump(const char *path, struct buf *out) {
    sqlite3 *db;
    struct buf sql;
    buf_init(&sql, 0);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    const char *tables = "SELECT name FROM sqlite_schema WHERE type='table' AND name NOT IN"
                         " ('hub', 'ref_chunk') ORDER BY 1";
    assert_int_equal(sqlite3_exec(db, tables, table_add, &sql, NULL), SQLITE_OK);
    buf_lit(&sql, "SELECT id, hex(data) FROM ref_chunk ORDER BY id; SELECT seq FROM hub");
    assert_int_equal(sqlite3_exec(db, buf_cstr(&sql), row_add, out, NULL), SQLITE_OK);
    sqlite3_close(db);
    buf_free(&sql);
}

static void named_members_give_the_same_rows(void **state) {
    (void)state;
    struct arena arena;
    struct buf some, all;
    char *dir = temp_folder(), path[2][4200];
    arena_init(&arena, 0);
    buf_init(&some, 0);
    buf_init(&all, 0);
    cell_open(&cell, 1);
    a_day();
    for (int i = 0; i < 2; i++)
        snprintf(path[i], sizeof path[i], "%s/read-%d.db", dir, i);
    struct read_model_stats named = fill(path[0], domain_capabilities);
    struct read_model_stats whole = fill(path[1], without_reads(&arena));
    dump(path[0], &some);
    dump(path[1], &all);
    assert_string_equal(buf_cstr(&some), buf_cstr(&all));
    assert_true(some.len > 10000);
    assert_int_equal(named.skipped, 0);
    /* Most were read without parsing; what has escapes was not. */
    assert_true(named.parsed > 0 && named.parsed * 2 < whole.parsed);
    /* Every type that names its members was in this day. */
    for (const struct capability *const *c = domain_capabilities; *c; c++)
        for (const struct event_type *const *e = (*c)->events; *e; e++) {
            bool seen = !(*e)->project_reads;
            for (uint32_t i = 0; i < cell.journal.count; i++)
                seen = seen || str_is(cell.journal.records[i].type, (*e)->name);
            if (!seen)
                fail_msg("no %s in the test's day", (*e)->name);
        }
    buf_free(&some);
    buf_free(&all);
    cell_close(&cell);
    arena_free(&arena);
    temp_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(named_members_give_the_same_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
