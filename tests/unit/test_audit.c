/* Calls alike become one line: windows by the clock, bounds, exact counts, and nothing lost at the
 * end. One loop's audit over a real core, without sockets; the core is stepped by the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "../support/cell.h"
#include "base/mem.h"
#include "gateway/gateway_priv.h"
#include "gateway/http_priv.h"

#define S INT64_C(1000000)

static struct {
    struct cell cell;
    struct gateway gateway;
    struct gateway_loop loop;
    struct http_loop http;
    struct http_exchange ex;
    uv_loop_t uv;
    struct admission *admission;
} t;

static void deliver(struct command_origin *origin, struct command *first) {
    struct gateway_loop *loop = (struct gateway_loop *)origin;
    struct command *last = first;
    while (last->next)
        last = last->next;
    pthread_mutex_lock(&loop->lock);
    if (loop->inbox_last)
        loop->inbox_last->next = first;
    else
        loop->inbox_first = first;
    loop->inbox_last = last;
    pthread_mutex_unlock(&loop->lock);
}

static int begin(void **state) {
    (void)state;
    struct fault fault = {0};
    memset(&t, 0, sizeof t);
    cell_open(&t.cell, 1);
    t.cell.config.settings.audit_window_s = 60;
    t.cell.config.settings.audit_lines_per_s = 1000;
    struct admission_options admission = {.settings = &t.cell.config.settings,
                                          .clock = &t.cell.clock, .loops = 1};
    t.admission = admission_create(&admission);
    t.gateway = (struct gateway){.options = {.core = t.cell.core}, .config = &t.cell.config,
                                 .clock = &t.cell.clock, .loop_count = 1,
                                 .admission = t.admission};
    t.loop.gateway = &t.gateway;
    t.loop.http = &t.http;
    t.loop.origin.deliver = deliver;
    pthread_mutex_init(&t.loop.lock, NULL);
    uv_loop_init(&t.uv);
    uv_timer_init(&t.uv, &t.loop.tick);
    assert_int_equal(audit_open(&t.loop, &t.loop.audit, &fault), OK);
    return 0;
}

static int end(void **state) {
    (void)state;
    uv_close((uv_handle_t *)&t.loop.tick, NULL);
    uv_run(&t.uv, UV_RUN_DEFAULT);
    uv_loop_close(&t.uv);
    pthread_mutex_destroy(&t.loop.lock);
    admission_destroy(t.admission);
    cell_close(&t.cell);
    return 0;
}

/* The core takes what waits, and the loop its answers. */
static void settle(void) {
    core_step(t.cell.core);
    loop_inbox_take(&t.loop);
}

static void tick(int64_t us) {
    t.cell.now_us += us;
    audit_tick(t.loop.audit);
    settle();
}

/* With the core at work: as when the hub stops. */
static void closed(void) {
    struct fault fault = {0};
    assert_int_equal(core_start(t.cell.core, &fault), OK);
    audit_close(t.loop.audit);
    t.loop.audit = NULL;
    core_stop(t.cell.core);
}

static const struct route guarded = {.method = "GET", .path = "/v1/orders", .scope = "orders:read"};
static const struct route_entry entry = {.route = &guarded, .idem = {"GET /v1/orders", 14}};

static void denied(const char *actor, enum err err) {
    struct call call = {.gateway = &t.gateway, .loop = &t.loop, .ex = &t.ex,
                        .match = {.entry = &entry, .args = {{"ord_1", 5}}, .arg_count = 1},
                        .actor = str_c(actor), .from = STR("10.0.0.1"),
                        .context = {.correlation = STR("case")}};
    audit_refusal(&call, err);
}

struct line {
    int64_t count;
    int64_t first_us, last_us; /* 0: it is of one call */
    char actor[64], action[64], reason[32], about[32], needs[32];
};
static void text_copy(char *to, size_t size, struct str from) {
    snprintf(to, size, "%.*s", STR_FMT(from));
}

/* The line in the journal with this number, from 0. */
static struct line line_at(uint32_t i) {
    assert_true(i < t.cell.journal.count);
    const struct record *record = &t.cell.journal.records[i];
    const struct json *data, *meta;
    struct line line = {.count = 1};
    struct instant at;
    assert_true(str_is(record->type, EVENT_AUDIT_NOTED));
    arena_reset(&t.cell.arena);
    assert_int_equal(json_parse(t.cell.parser, &t.cell.arena, record->data, true, &data, NULL), OK);
    if (json_member(data, STR("count")))
        assert_true(json_i64(json_member(data, STR("count")), &line.count));
    if (instant_parse(json_member_str(data, STR("first_at")), &at))
        line.first_us = at.us;
    if (instant_parse(json_member_str(data, STR("last_at")), &at))
        line.last_us = at.us;
    text_copy(line.action, sizeof line.action, json_member_str(data, STR("action")));
    text_copy(line.reason, sizeof line.reason, json_member_str(data, STR("reason")));
    text_copy(line.about, sizeof line.about, json_member_str(data, STR("about")));
    text_copy(line.needs, sizeof line.needs, json_member_str(data, STR("needs")));
    assert_int_equal(json_parse(t.cell.parser, &t.cell.arena, record->meta, true, &meta, NULL), OK);
    text_copy(line.actor, sizeof line.actor, json_member_str(meta, STR("actor")));
    return line;
}

static int64_t counted(void) {
    int64_t sum = 0;
    for (uint32_t i = 0; i < t.cell.journal.count; i++)
        sum += line_at(i).count;
    return sum;
}

static void calls_alike_within_a_window_are_two_lines(void **state) {
    (void)state;
    int64_t begin_us = t.cell.now_us;
    denied("pk_ann", ERR_FORBIDDEN);
    settle();
    assert_int_equal(t.cell.journal.count, 1); /* the first one at once */
    struct line line = line_at(0);
    assert_int_equal(line.count, 1);
    assert_int_equal(line.first_us, 0);
    assert_string_equal(line.actor, "pk_ann");
    assert_string_equal(line.action, "GET /v1/orders");
    assert_string_equal(line.about, "ord_1");
    assert_string_equal(line.needs, "orders:read");
    for (int i = 0; i < 6; i++) {
        tick(5 * S);
        denied("pk_ann", ERR_FORBIDDEN);
    }
    tick(30 * S - 1);
    assert_int_equal(t.cell.journal.count, 1);
    assert_true(audit_waits(t.loop.audit));
    tick(1);
    assert_int_equal(t.cell.journal.count, 2);
    line = line_at(1);
    assert_int_equal(line.count, 6);
    assert_int_equal(line.first_us, begin_us + 5 * S);
    assert_int_equal(line.last_us, begin_us + 30 * S);
    assert_string_equal(line.about, ""); /* of several calls, not the first one's */
    tick(10 * S); /* the next window: what falls in it waits for its end */
    denied("pk_ann", ERR_FORBIDDEN);
    denied("pk_ann", ERR_FORBIDDEN);
    tick(50 * S);
    assert_int_equal(t.cell.journal.count, 3);
    assert_int_equal(line_at(2).count, 2);
    assert_int_equal(line_at(2).first_us, begin_us + 70 * S);
    tick(60 * S); /* one without any: over, and what comes then is the first again */
    assert_false(audit_waits(t.loop.audit));
    denied("pk_ann", ERR_FORBIDDEN);
    settle();
    assert_int_equal(t.cell.journal.count, 4);
    assert_string_equal(line_at(3).about, "ord_1");
    closed();
    assert_int_equal(counted(), 10);
}

static void who_and_why_are_told_apart(void **state) {
    (void)state;
    for (int i = 0; i < 10; i++) {
        denied("pk_ann", ERR_FORBIDDEN);
        denied("pk_bob", ERR_FORBIDDEN);
        denied("pk_ann", ERR_RATE);
    }
    settle();
    assert_int_equal(t.cell.journal.count, 3);
    tick(60 * S);
    assert_int_equal(t.cell.journal.count, 6);
    for (uint32_t i = 3; i < 6; i++)
        assert_int_equal(line_at(i).count, 9);
    closed();
    assert_int_equal(counted(), 30);
}

static void what_there_is_no_room_for_counts_as_several(void **state) {
    (void)state;
    int64_t sum = 0;
    uint32_t several = 0;
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 4 * AUDIT_LINES; i++) {
            char actor[32];
            snprintf(actor, sizeof actor, "pk_%d", i);
            denied(actor, ERR_FORBIDDEN);
            sum++;
            if (i % 32 == 0)
                settle();
        }
    settle();
    assert_true(t.cell.journal.count <= AUDIT_LINES + AUDIT_KINDS);
    closed();
    assert_true(t.cell.journal.count <= 2 * (AUDIT_LINES + AUDIT_KINDS));
    for (uint32_t i = 0; i < t.cell.journal.count; i++)
        if (strcmp(line_at(i).action, "several, of several callers") == 0) {
            assert_string_equal(line_at(i).actor, "");
            several++;
        }
    assert_in_range(several, 1, 2);
    assert_int_equal(counted(), sum);
}

static void no_more_lines_leave_than_allowed(void **state) {
    (void)state;
    int64_t sum = 0;
    t.cell.config.settings.audit_lines_per_s = 5;
    t.cell.config.settings.audit_window_s = 1;
    for (int second = 0; second < 20; second++) {
        for (int i = 0; i < 40; i++) {
            char actor[32];
            snprintf(actor, sizeof actor, "pk_%d", i % 20);
            denied(actor, ERR_FORBIDDEN);
            sum++;
        }
        tick(S / 2);
        tick(S / 2);
        assert_true(t.cell.journal.count <= 5u * ((uint32_t)second + 2));
    }
    assert_true(t.cell.journal.count >= 95); /* and no fewer where there is something to tell */
    closed();
    assert_int_equal(counted(), sum);
}

static void quiet(struct command_origin *origin, struct command *first) {
    (void)origin, (void)first;
}

/* Lets the core run while the audit is closing already. */
static void *core_late(void *arg) {
    struct fault fault = {0};
    (void)arg;
    uv_sleep(50);
    must(core_start(t.cell.core, &fault) == OK);
    return NULL;
}

static void while_the_writer_is_busy_it_counts_on_to_the_end(void **state) {
    (void)state;
    struct command commands[10];
    struct command_origin nobody = {.deliver = quiet};
    struct audit_note body = {.action = STR("filler")};
    struct fault fault = {0};
    struct arena arena;
    pthread_t thread;
    arena_init(&arena, 0);
    shape_mark(&body, NOTE_KIND);
    shape_mark(&body, NOTE_ACTION);
    t.cell.config.settings.queue_commands_max = 16;
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(command_prepare(t.cell.core, &audit_note_command, &arena, &body,
                                         &commands[i], &fault), OK);
        commands[i].origin = &nobody;
        assert_int_equal(core_submit(t.cell.core, &commands[i], &fault), OK);
    }
    for (int i = 0; i < 7; i++)
        denied("pk_ann", ERR_FORBIDDEN);
    assert_int_equal(core_waiting(t.cell.core), 10); /* half of it is full: for others */
    assert_int_equal(pthread_create(&thread, NULL, core_late, NULL), 0);
    audit_close(t.loop.audit);
    pthread_join(thread, NULL);
    core_stop(t.cell.core);
    assert_int_equal(counted(), 10 + 7);
    arena_free(&arena);
}

static void what_the_journal_did_not_take_counts_on(void **state) {
    (void)state;
    denied("pk_ann", ERR_FORBIDDEN);
    t.cell.journal.fail_appends = 1;
    settle(); /* on its way, and not written */
    assert_int_equal(t.cell.journal.count, 0);
    for (int i = 0; i < 4; i++)
        denied("pk_ann", ERR_FORBIDDEN);
    settle();
    t.cell.journal.fail_appends = 1;
    tick(60 * S); /* the window's five, in vain, too */
    assert_int_equal(t.cell.journal.count, 0);
    settle();
    tick(60 * S);
    assert_int_equal(t.cell.journal.count, 1);
    assert_int_equal(line_at(0).count, 5);
    closed();
    assert_int_equal(counted(), 5);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(calls_alike_within_a_window_are_two_lines),
        TEST(who_and_why_are_told_apart),
        TEST(what_there_is_no_room_for_counts_as_several),
        TEST(no_more_lines_leave_than_allowed),
        TEST(while_the_writer_is_busy_it_counts_on_to_the_end),
        TEST(what_the_journal_did_not_take_counts_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
