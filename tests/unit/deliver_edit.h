/* The part of test_deliver.c about held deliveries that persons edit; it uses what is above its place there. */
#ifndef PENSTOCK_TESTS_UNIT_DELIVER_EDIT_H
#define PENSTOCK_TESTS_UNIT_DELIVER_EDIT_H

#include "deliver/edit.h"

static struct str edit_changed[] = {{"/number", 7}};

static struct delivery_edit edit_of(uint64_t seq, uint64_t replaces, const char *patch) {
    struct delivery_edit edit = {.subscription = STR("erp-things"), .event_seq = (int64_t)seq, .patch = str_c(patch),
                                 .changed = {edit_changed, 1}, .reason = STR("test"), .by = STR("key_1"),
                                 .replaces = (int64_t)replaces,
                                 .has = (1u << EDITED_MAPPING_VERSION) - 1};
    shape_mark(&edit, EDITED_REASON);
    shape_mark(&edit, EDITED_BY);
    shape_mark(&edit, EDITED_ID_SEQ);
    if (replaces)
        shape_mark(&edit, EDITED_REPLACES);
    return edit;
}

/* Asked for by hand: the test may end the hub before it is answered. */
static struct edit_wish {
    struct delivery_edit edit;
    struct wish wish;
    struct fault fault;
} wished;
static void edit_wish(uint64_t seq, uint64_t replaces, const char *patch) {
    memset(&wished, 0, sizeof wished);
    wished.edit = edit_of(seq, replaces, patch);
    wished.wish = (struct wish){.kind = WISH_EDIT, .subscription = wished.edit.subscription, .seq = seq,
                                .by = wished.edit.by, .reason = wished.edit.reason, .edit = &wished.edit,
                                .fault = &wished.fault, .next = hub.deliver->wishes};
    hub.deliver->wishes = &wished.wish;
    deliver_wake(hub.deliver);
}

static struct progress_row listed;
static bool listed_row(void *ctx, const struct progress_row *row) {
    listed = *row;
    return false;
}
static uint64_t edit_listed(void) {
    struct fault fault = {0};
    listed = (struct progress_row){0};
    assert_int_equal(deliver_held(hub.deliver, STR_NONE, 0, 10, listed_row, NULL, &fault), OK);
    return listed.edit;
}

/* seq of the newest in the journal; 0: none. */
static uint64_t edit_told(void) {
    for (uint32_t i = memory.count; i > 0; i--)
        if (str_is(memory.records[i - 1].type, "delivery.edited"))
            return i;
    return 0;
}

/* The next request for the event is made; what it says. */
static const struct net_call *call_made(uint64_t seq) {
    for (int i = 0; i < 3000; i++) {
        core_step(hub.core);
        deliver_step(hub.deliver);
        for (const struct net_call *call = remote.calls; call; call = call->next)
            if (str_is(call->copy.method, "POST") && seq_in(call->copy.headers[0].value, "main-") == seq)
                return call;
        for (uint32_t n = remote.count; n > 0; n--)
            remote_step();
        tick_us += 2000;
    }
    return NULL;
}
static bool says(struct str text, const char *part) {
    return text.ptr && memmem(text.ptr, text.len, part, strlen(part)) != NULL;
}

static uint64_t held_one(uint64_t seed) {
    hub_init(seed);
    hub_up();
    remote.final_of = 3;
    for (int i = 0; i < 60; i++)
        thing_new(5);
    settle();
    uint64_t seq = held_seq();
    assert_int_not_equal(seq, 0);
    return seq;
}

static void what_is_edited_goes_out(void **state) {
    uint64_t seq = held_one(31);
    char id[64];
    edit_wish(seq, 0, "{\"number\":777}");
    const struct net_call *call = call_made(seq);
    assert_non_null(call);
    assert_true(wished.wish.done && wished.wish.err == OK);
    uint64_t first = edit_told();
    assert_int_equal(wished.wish.edit_seq, first);
    assert_true(says(call->copy.body, "\"number\":777") && says(call->copy.body, "\"key\":\"k3\""));
    snprintf(id, sizeof id, "main-%llu-e%llu", (unsigned long long)seq, (unsigned long long)first);
    assert_true(str_is(call->copy.headers[0].value, id)); /* it has refused the other one */
    settle(); /* refused: it is held again, and edited still */
    assert_int_equal(held_seq(), seq);
    assert_int_equal(edit_listed(), first);
    /* who has seen another edit, or none, is refused */
    edit_wish(seq, 0, "{\"number\":5}");
    settle();
    assert_int_equal(wished.wish.err, ERR_CONFLICT);
    assert_int_equal(edit_told(), first);
    /* a second one begins at the event again */
    edit_wish(seq, first, "{\"more\":1}");
    call = call_made(seq);
    assert_non_null(call);
    assert_false(says(call->copy.body, "777"));
    assert_true(says(call->copy.body, "\"more\":1"));
    remote.final_of = 0;
    settle();
    assert_true(all_done()); /* those behind it as well, in order: remote_book looks */
    assert_int_equal(remote.booked[seq], 1);
    assert_int_equal(wanted_of("delivery.edited"), 2);
    /* the row is gone, and the edit with it */
    uint64_t left = 1;
    struct fault fault = {0};
    assert_int_equal(progress_edit(hub.deliver->progress, STR("erp-things"), STR("k3"), seq, &left, &fault), OK);
    assert_int_equal(left, 0);
    hub_crash();
    hub_free();
}

/* Whatever the journal has is what goes out; who was answered finds it there. */
static void an_edit_is_there_after_a_crash_at_any_moment(void **state) {
    uint32_t answered = 0, lost = 0, kept = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        uint64_t seq = held_one(seed);
        edit_wish(seq, 0, "{\"number\":777}");
        for (uint64_t n = rng_below(&dice.rng, 12); n > 0; n--) {
            if (chance(50))
                core_step(hub.core);
            deliver_step(hub.deliver);
            tick_us += 100;
        }
        bool done = wished.wish.done && wished.wish.err == OK;
        answered += done;
        if (chance(60)) /* the journal goes on a little, nothing else does */
            vfs_fault_fail(disk, VFS_FAULT_WRITE, 1, VFS_FAULT_CRASH);
        hub_crash();
        hub_up();
        uint64_t told = edit_told();
        assert_true(told || !done);
        settle();
        assert_int_equal(held_seq(), seq);
        assert_int_equal(edit_listed(), told);
        lost += told == 0;
        kept += told != 0 && !done;
        memset(&wished, 0, sizeof wished);
        wished.wish = (struct wish){.kind = WISH_RETRY, .subscription = STR("erp-things"), .seq = seq,
                                    .by = STR("key_1"), .fault = &wished.fault};
        hub.deliver->wishes = &wished.wish;
        const struct net_call *call = call_made(seq);
        assert_non_null(call);
        assert_int_equal(says(call->copy.body, "777"), told != 0);
        remote.final_of = 0;
        settle();
        assert_true(all_done());
        assert_int_equal(remote.booked[seq], 1);
        hub_crash();
        hub_free();
    }
    assert_true(answered > 5 && lost > 2 && kept > 2); /* crashes came before, between and behind */
}

#endif
