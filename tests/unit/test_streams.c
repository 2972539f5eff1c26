/* Streams: messages on their way into the journal, step by step from a source in memory: their order, what is
 * acknowledged and when, over failures of the journal, of memory, of the source. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "../support/partner.h"
#include "base/mem.h"
#include "connect/streams_priv.h"

static struct cell cell;
static struct partner shop;
static struct streams *streams;

/* --- a source ------------------------------------------------------------------------------ */

#define MESSAGES 6
static struct remote {
    uint32_t done;  /* so many are acknowledged */
    uint32_t opens, drops;
    bool refuses, done_fails;
    struct str longest; /* in place of the body of the first ones */
    uint32_t long_count;
    struct str id; /* which these have */
} remote;

static enum err remote_fetch(struct stream_source *source, struct stream_message *out, uint32_t max,
                             int64_t wait_ms, uint32_t *count, int64_t *waiting, struct fault *fault) {
    static const char *const bodies[MESSAGES] = {"{\"n\":1}", "{\"n\":2}", "{\"n\":3}",
                                                 "{\"n\":4}", "{\"n\":5}", "{\"n\":6}"};
    *waiting = MESSAGES - remote.done;
    for (*count = 0; *count < max && remote.done + *count < MESSAGES; (*count)++) {
        uint32_t n = remote.done + *count;
        out[*count] = (struct stream_message){.key = STR("k"), .body = str_c(bodies[n])};
        if (n < remote.long_count) {
            out[*count].body = remote.longest;
            out[*count].id = remote.id;
        }
        snprintf(out[*count].place, sizeof out[*count].place, "S:%u", n + 1);
    }
    return OK;
}
static struct str remote_header(const struct stream_message *message, struct str name) { return STR_NONE; }
static void remote_busy(struct stream_source *source, const struct stream_message *messages, uint32_t count) {}
static enum err remote_done(struct stream_source *source, struct stream_message *messages, uint32_t count,
                            struct fault *fault) {
    if (remote.done_fails)
        return fault_set(fault, ERR_UNAVAILABLE, "the connection was lost");
    uint32_t cases = partner_events(&shop, "exception.raised", "\"subject\":\"S:");
    if (remote.id.len == 0 && partner_events(&shop, "payload.received", "S:") + cases < remote.done + count) {
        for (uint32_t i = 0; i < cell.journal.count; i++)
            print_error("%.*s %.*s\n", STR_FMT(cell.journal.records[i].type), STR_FMT(cell.journal.records[i].data));
        fail_msg("%s", "acknowledged, and not in the journal under its place");
    }
    remote.done += count;
    return OK;
}
static void remote_drop(struct stream_source *source, struct stream_message *messages, uint32_t count) {
    remote.drops++;
}
static void remote_close(struct stream_source *source) {}
static const struct stream_source_ops remote_ops = {.fetch = remote_fetch, .header = remote_header,
                                                    .busy = remote_busy, .done = remote_done,
                                                    .drop = remote_drop, .close = remote_close};
static struct stream_source remote_source = {&remote_ops};

static enum err remote_open(void *ctx, const struct stream_source_options *options, struct stream_source **out,
                            struct fault *fault) {
    remote.opens++;
    if (remote.refuses)
        return fault_set(fault, ERR_UNAVAILABLE, "no connection");
    *out = &remote_source;
    return OK;
}

/* --- a hub -------------------------------------------------------------------------------------- */

static const struct partner_file files[] = {
    {"connector.yaml", "connector: shop\nversion: \"1.0.0\"\nowner: shop\ndescription: A shop\n"
                       "streams:\n  - topic: orders\n    url: \"nats://host/S\"\n    in_flight: 4\n"
                       "    mapping: order.lua\n    command: order.capture\n"},
    {"order.lua", "return function(order) return order end\n"},
};

static void open_hub(uint64_t seed) {
    struct fault fault = {0};
    remote = (struct remote){0};
    cell_open(&cell, seed);
    cell.config.settings.batch_commands_max = 1;
    assert_true(partner_open(&shop, &cell, "shop", files, 2));
    struct streams_options options = {.core = cell.core, .config = &cell.config, .connectors = shop.connectors,
                                      .clock = &cell.clock, .open = remote_open};
    assert_int_equal(streams_create(&options, &streams, &fault), OK);
}

static void close_hub(void) {
    streams->stopping = true;
    for (int i = 0; i < 100 && streams_step(streams) >= 0; i++)
        core_step(cell.core);
    assert_int_equal(streams_step(streams), -1);
    streams_destroy(streams);
    partner_close(&shop);
    cell_close(&cell);
}

static void pass(int64_t us) { cell.now_us += us; }

/* Of a message that the hub does not get rid of, none behind it would ever come. */
static void go_on(void) {
    for (int i = 0; i < 400 && remote.done < MESSAGES; i++) {
        streams_step(streams);
        core_step(cell.core);
        pass(50000);
    }
    assert_int_equal(remote.done, MESSAGES);
}

/* Each is there once, in order. */
static void in_order(void) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < cell.journal.count; i++) {
        const struct record *record = &cell.journal.records[i];
        char place[16];
        if (!str_is(record->type, "payload.received"))
            continue;
        snprintf(place, sizeof place, "\"S:%u:", ++n);
        if (!memmem(record->data.ptr, record->data.len, place, strlen(place)))
            fail_msg("%s is not the %u. one: %.*s", place, n, STR_FMT(record->data));
    }
    assert_int_equal(n, MESSAGES);
}

/* --- order ------------------------------------------------------------------------------------------ */

static void test_messages_go_in_in_order(void **state) {
    open_hub(1);
    go_on();
    in_order();
    struct stream_stats stats;
    assert_int_equal(streams_list(streams, &stats, 1), 1);
    assert_int_equal(remote.opens, 1);
    close_hub();
}

/* What is behind it in the writer's queue must not go before it, once the journal takes writes again. */
static void test_a_failed_commit_keeps_the_order(void **state) {
    for (uint32_t at = 0; at < 12; at++)
        for (uint32_t fails = 1; fails < 4; fails++) {
            open_hub(1 + at);
            for (uint32_t i = 0; i < at; i++) {
                streams_step(streams);
                core_step(cell.core);
                pass(50000);
            }
            cell.journal.fail_appends = fails;
            cell.journal.fail_after_write = at % 2;
            go_on();
            in_order();
            close_hub();
        }
}

/* Nor where one alone comes back: there was no memory to decide it, or to prepare it. */
static void test_a_short_memory_keeps_the_order(void **state) {
    bool met = true;
    for (uint64_t at = 1; met; at++) {
        open_hub(1);
        cell.config.settings.batch_commands_max = 4;
        mem_fail_at(at, 0);
        for (int i = 0; i < 4; i++) {
            streams_step(streams);
            core_step(cell.core);
            pass(50000);
        }
        met = mem_count() >= at;
        mem_fail_at(0, 0);
        pass(60000000);
        go_on();
        in_order();
        close_hub();
    }
}

/* --- acknowledging ------------------------------------------------------------------------------- */

static void test_nothing_is_acknowledged_before_it_is_durable(void **state) {
    open_hub(1);
    for (int i = 0; i < 20; i++) {
        streams_step(streams);
        pass(50000);
    }
    assert_int_equal(remote.done, 0); /* the core did nothing */
    go_on();                          /* remote_done counts the events */
    in_order();
    close_hub();
}

static void test_a_lost_acknowledgement_takes_nothing_twice(void **state) {
    open_hub(1);
    remote.done_fails = true;
    for (int i = 0; i < 40; i++) {
        streams_step(streams);
        core_step(cell.core);
        pass(50000);
    }
    assert_int_equal(remote.done, 0);
    remote.done_fails = false;
    pass(60000000); /* the pause is over */
    go_on();
    in_order();
    assert_true(remote.opens > 1);
    close_hub();
}

static void test_who_does_not_answer_is_asked_again_ever_later(void **state) {
    open_hub(1);
    remote.refuses = true;
    for (int i = 0; i < 600; i++) { /* a minute */
        streams_step(streams);
        pass(100000);
    }
    assert_in_range(remote.opens, 6, 9); /* 0.25 s, 0.5 s, … 30 s */
    close_hub();
}

/* --- what can not be taken ------------------------------------------------------------------------- */

static void test_what_is_too_long_to_be_stored_is_a_case_and_stops_nothing(void **state) {
    size_t len = (size_t)80 << 20;
    char *text = test_malloc(len);
    memset(text, 'x', len);
    open_hub(1);
    remote.longest = str_of(text, len);
    remote.long_count = 1;
    go_on();
    assert_int_equal(partner_events(&shop, "payload.received", "\"S:"), MESSAGES - 1);
    assert_int_equal(partner_events(&shop, "exception.raised", "message-invalid"), 1);
    assert_int_equal(partner_events(&shop, "exception.raised", "\"subject\":\"S:1\""), 1);
    assert_int_equal(partner_events(&shop, "exception.raised", "longer than"), 1);
    close_hub();
    test_free(text);
}

/* The case says where the first one is; another message under its id is one of its own. */
static void test_what_can_not_be_stored_is_a_case_once(void **state) {
    size_t len = (size_t)80 << 20;
    char *text = test_malloc(len);
    memset(text, 'x', len);
    open_hub(1);
    remote.longest = str_of(text, len);
    remote.long_count = 2;
    remote.id = STR("one");
    go_on();
    assert_int_equal(partner_events(&shop, "payload.received", "\"S:"), MESSAGES - 2);
    assert_int_equal(partner_events(&shop, "exception.raised", "message-invalid"), 1);
    remote.done = 0;
    text[0] = 'y';
    remote.long_count = 1;
    go_on();
    assert_int_equal(partner_events(&shop, "exception.raised", "message-invalid"), 2);
    close_hub();
    test_free(text);
}

/* --- stopping ------------------------------------------------------------------------------------------ */

static void test_stopping_waits_for_what_the_core_has(void **state) {
    open_hub(1);
    streams_step(streams); /* opens */
    streams_step(streams); /* fetches, submits */
    streams->stopping = true;
    for (int i = 0; i < 5; i++)
        assert_true(streams_step(streams) > 0);
    for (int i = 0; i < 20 && streams_step(streams) >= 0; i++)
        core_step(cell.core);
    assert_int_equal(streams_step(streams), -1);
    assert_int_equal(remote.done, 4);
    close_hub();
}

static void test_stopping_does_not_wait_for_a_journal_that_takes_nothing(void **state) {
    open_hub(1);
    streams_step(streams);
    streams_step(streams);
    cell.journal.fail_appends = 1000;
    streams->stopping = true;
    int64_t said = 0;
    for (int i = 0; i < 50 && said >= 0; i++) {
        core_step(cell.core);
        said = streams_step(streams);
        pass(50000);
    }
    assert_int_equal(said, -1);
    assert_int_equal(remote.done, 0);
    assert_int_equal(remote.drops, 1);
    cell.journal.fail_appends = 0;
    close_hub();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_go_in_in_order),
        cmocka_unit_test(test_a_failed_commit_keeps_the_order),
        cmocka_unit_test(test_a_short_memory_keeps_the_order),
        cmocka_unit_test(test_nothing_is_acknowledged_before_it_is_durable),
        cmocka_unit_test(test_a_lost_acknowledgement_takes_nothing_twice),
        cmocka_unit_test(test_who_does_not_answer_is_asked_again_ever_later),
        cmocka_unit_test(test_what_is_too_long_to_be_stored_is_a_case_and_stops_nothing),
        cmocka_unit_test(test_what_can_not_be_stored_is_a_case_once),
        cmocka_unit_test(test_stopping_waits_for_what_the_core_has),
        cmocka_unit_test(test_stopping_does_not_wait_for_a_journal_that_takes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
