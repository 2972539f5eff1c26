/* Replays on the hub of test_deliver.c: what is counted is what is sent; live and replayed ones of a key
 * are never out together; what the other system has is found; crashes; holding; the newest alone. */
int deliver_main(void);
#define main deliver_main
#include "test_deliver.c"
#undef main
#include "deliver/replay_priv.h"
#include "deliver/replay_shapes.h"

/* --- a remote that notes everything -------------------------------------------------------------- */

#define SENT_MAX 40000
static struct notes {
    struct net net;
    struct sent {
        uint64_t seq, key, replay;
        int64_t at_us;
        bool again;
    } sent[SENT_MAX];
    uint32_t count;
    uint64_t final_of;     /* key that is refused for good; 0: none */
    uint32_t fail;         /* percent */
    uint64_t live[64], replayed[64]; /* newest seq of a key; replayed: of the present replay */
    bool books[RECORDS_MAX + 1];
    uint32_t found;
} notes;

static uint64_t header_number(const struct net_request *request, const char *name) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < request->header_count; i++)
        if (str_is(request->headers[i].name, name))
            assert_true(str_u64(request->headers[i].value, &n));
    return n;
}

static uint64_t key_of(uint64_t seq) {
    return strtoull(memory.records[seq - 1].subject.ptr + 1, NULL, 10);
}

static uint64_t seq_of(const struct net_request *request) {
    return request->body.ptr ? seq_in(request->headers[0].value, "main-")
                             : seq_in(request->url, "external_id=main-");
}

static enum err note_send(struct net *net, const struct net_request *request, net_done *done, void *ctx,
                          struct net_call **out, struct fault *fault) {
    uint64_t key = key_of(seq_of(request));
    for (const struct net_call *other = remote.calls; other; other = other->next)
        assert_int_not_equal(key_of(seq_of(&other->copy)), key); /* nothing passes within a key */
    return remote_send(net, request, done, ctx, out, fault);
}
static const struct net_ops note_ops = {.send = note_send};

static void note_post(struct net_call *call, struct net_answer *answer) {
    uint64_t seq = seq_of(&call->copy), key = key_of(seq);
    uint64_t replay = header_number(&call->copy, "Penstock-Replay");
    struct str id = call->copy.headers[0].value;
    must(notes.count < SENT_MAX);
    notes.sent[notes.count++] = (struct sent){seq, key, replay, tick_us, memmem(id.ptr, id.len, "-r", 2) != NULL};
    if (key == notes.final_of) {
        answer->status = 422;
        return;
    }
    if (chance(notes.fail)) {
        answer->status = 503;
        return;
    }
    uint64_t *newest = replay ? &notes.replayed[key] : &notes.live[key];
    assert_true(seq > *newest); /* the journal's order, of the live ones and of the replay's */
    *newest = seq;
    notes.books[seq] = true;
    answer->status = 201;
    answer->body = STR("{\"number\":\"N-1\"}");
}

static void note_step(void) {
    if (remote.count == 0)
        return;
    struct net_call *call = call_take();
    struct net_answer answer = {.sent = true, .status = 200, .body = STR("{\"items\":[]}")};
    if (call->copy.body.ptr != NULL) {
        note_post(call, &answer);
    } else if (notes.books[seq_of(&call->copy)]) {
        notes.found++;
        answer.body = STR("{\"items\":[{\"number\":\"N-1\"}]}");
    }
    call_answer(call, &answer);
}

/* --- the hub --------------------------------------------------------------------------------------- */

static void notes_init(uint64_t seed) {
    hub_init(seed);
    memset(&notes, 0, sizeof notes);
    remote.net.ops = &note_ops;
    hub_up();
}

static void step(void) {
    core_step(hub.core);
    deliver_step(hub.deliver);
    if (chance(70))
        note_step();
    tick_us += (int64_t)rng_below(&dice.rng, 4000);
}

static void steps_until_done(uint64_t made) {
    int i = 0;
    while (core_step(hub.core) > 0)
        ;
    while (!(hub.made >= made && all_done()) && i++ < 100000)
        step();
    assert_true(all_done());
}

static void make(uint32_t n, uint32_t keys) {
    for (uint32_t i = 0; i < n; i++)
        thing_new(keys);
    steps_until_done(hub.made);
}

/* The remote's books are lost: from now on it takes all of it again. */
static void books_lose(void) {
    memset(notes.books, 0, sizeof notes.books);
    memset(notes.replayed, 0, sizeof notes.replayed);
}

static struct replay asked(void) {
    return (struct replay){.subscription = STR("erp-things"), .by = STR("key_1"), .reason = STR("lost")};
}

static enum err begin(struct replay row, uint64_t *id) {
    struct fault fault = {0};
    pthread_mutex_lock(&hub.deliver->lock);
    enum err err = replay_begin(hub.deliver, &row, id, &fault);
    pthread_mutex_unlock(&hub.deliver->lock);
    return err;
}

static enum err decided(uint64_t id, enum replay_action action) {
    struct fault fault = {0};
    pthread_mutex_lock(&hub.deliver->lock);
    enum err err = replay_decide(hub.deliver, id, action, STR("key_1"), STR("because"), &fault);
    pthread_mutex_unlock(&hub.deliver->lock);
    return err;
}

static const struct replay *row_of(uint64_t id) { return &replay_find(hub.deliver, id)->row; }

static const struct replay *steps_until(uint64_t id, enum replay_state state) {
    for (int i = 0; i < 100000 && row_of(id)->state != (int32_t)state; i++)
        step();
    assert_int_equal(row_of(id)->state, state);
    return row_of(id);
}

static uint32_t sent_by(uint64_t replay) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < notes.count; i++)
        n += notes.sent[i].replay == replay;
    return n;
}

static void end_hub(void) {
    hub_crash();
    hub_free();
}

/* --- tests --------------------------------------------------------------------------------------------- */

static void what_is_counted_is_what_is_sent(void **state) {
    uint64_t dry, id;
    notes_init(1);
    make(1500, 20);
    uint32_t before = notes.count;
    struct replay row = asked();
    row.from_seq = 1;
    row.dry_run = true;
    assert_int_equal(begin(row, &dry), OK);
    const struct replay *counted = steps_until(dry, REPLAY_COUNTED);
    assert_int_equal(counted->chosen, wanted_of("thing.made"));
    assert_int_equal(counted->types.count, 1);
    assert_int_equal(notes.count, before);
    assert_int_equal(wanted_of("delivery.replayed"), 0);
    books_lose();
    row.dry_run = false;
    assert_int_equal(begin(row, &id), OK);
    const struct replay *r = steps_until(id, REPLAY_DONE);
    assert_int_equal(r->chosen, row_of(dry)->chosen);
    assert_int_equal(r->sent, r->chosen);
    assert_int_equal(sent_by(id), r->chosen);
    assert_int_equal(r->held + r->found + r->superseded, 0);
    assert_int_equal(wanted_of("delivery.replayed"), 2); /* started, done */
    for (uint32_t i = before; i < notes.count; i++)
        assert_false(notes.sent[i].again); /* the same id as ever */
    end_hub();
}

static void what_is_there_is_found(void **state) {
    uint64_t id;
    notes_init(2);
    make(200, 10);
    uint32_t before = notes.count;
    struct replay row = asked();
    row.from_seq = 1;
    assert_int_equal(begin(row, &id), OK);
    const struct replay *r = steps_until(id, REPLAY_DONE);
    assert_int_equal(notes.count, before); /* nothing was posted */
    assert_int_equal(r->found, r->chosen);
    assert_int_equal(r->sent, 0);
    end_hub();
}

static void filters_choose(void **state) {
    uint64_t id;
    notes_init(3);
    make(300, 10);
    books_lose();
    struct replay row = asked();
    row.key = STR("k3");
    row.from_seq = 50;
    row.to_seq = 250;
    row.from.us = 1; /* all times are later */
    row.correlation = STR_NONE;
    assert_int_equal(begin(row, &id), OK);
    const struct replay *r = steps_until(id, REPLAY_DONE);
    assert_true(r->chosen > 0);
    assert_int_equal(sent_by(id), r->chosen);
    for (uint32_t i = 0; i < notes.count; i++)
        if (notes.sent[i].replay)
            assert_true(notes.sent[i].key == 3 && notes.sent[i].seq >= 50 && notes.sent[i].seq <= 250);
    assert_true(r->first_seq >= 50 && r->last_seq <= 250);
    row = asked();
    row.to.us = 1; /* nothing is that old */
    assert_int_equal(begin(row, &id), OK);
    assert_int_equal(steps_until(id, REPLAY_DONE)->chosen, 0);
    row = asked();
    row.connector = STR("nobody");
    assert_int_equal(begin(row, &id), OK);
    assert_int_equal(steps_until(id, REPLAY_DONE)->chosen, 0);
    row = asked();
    row.type = STR("thing.other"); /* it does not take those */
    assert_int_equal(begin(row, &id), ERR_CONFLICT);
    row.type = STR_NONE;
    row.subscription = STR("another");
    assert_int_equal(begin(row, &id), ERR_NOT_FOUND);
    row = asked();
    row.again = true; /* connector.yaml does not say so */
    assert_int_equal(begin(row, &id), ERR_CONFLICT);
    end_hub();
}

/* note_send asserts that no two of a key are out together. */
static void live_ones_and_replayed_ones_share_the_lane(void **state) {
    uint64_t id;
    notes_init(4);
    make(600, 5);
    books_lose();
    notes.fail = 20;
    struct replay row = asked();
    row.from_seq = 1;
    assert_int_equal(begin(row, &id), OK);
    uint32_t live = 0;
    for (int i = 0; i < 200000 && row_of(id)->state != REPLAY_DONE; i++) {
        if (live < 600 && chance(30)) {
            thing_new(5);
            live++;
        }
        step();
    }
    const struct replay *r = row_of(id);
    assert_int_equal(r->state, REPLAY_DONE);
    assert_int_equal(r->sent + r->found, r->chosen);
    assert_true(live > 100);
    notes.fail = 0;
    steps_until_done(hub.made);
    for (uint64_t seq = 1; seq <= memory.count; seq++)
        assert_int_equal(notes.books[seq], str_is(memory.records[seq - 1].type, "thing.made"));
    end_hub();
}

static void it_is_throttled(void **state) {
    uint64_t id;
    notes_init(5);
    make(100, 50);
    books_lose();
    struct replay row = asked();
    row.from_seq = 1;
    row.rate_per_s = 20;
    int64_t began_us = tick_us;
    assert_int_equal(begin(row, &id), OK);
    uint32_t n = (uint32_t)steps_until(id, REPLAY_DONE)->sent;
    double took_s = (double)(tick_us - began_us) / 1e6;
    assert_true(n > 50 && took_s > n / 20.0 - 0.2 && took_s < n / 20.0 + 1);
    end_hub();
}

static void a_crash_goes_on_where_it_stood(void **state) {
    for (uint64_t seed = 1; seed <= 6; seed++) {
        uint64_t id;
        notes_init(100 + seed);
        make(500, 15);
        books_lose();
        struct replay row = asked();
        row.from_seq = 1;
        row.rate_per_s = 500;
        assert_int_equal(begin(row, &id), OK);
        steps_until(id, REPLAY_RUNNING);
        int crashes = 0;
        for (int i = 0; i < 100000 && row_of(id)->state != REPLAY_DONE; i++) {
            if (chance(20) && hub.made < 700)
                thing_new(15);
            step();
            if (crashes < 5 && chance(1) && chance(40)) {
                int64_t position = row_of(id)->position;
                memset(notes.replayed, 0, sizeof notes.replayed); /* some are sent again */
                hub_crash();
                memset(notes.live, 0, sizeof notes.live);
                remote.net.ops = &note_ops;
                hub_up();
                crashes++;
                assert_true(row_of(id)->position <= position);
            }
        }
        const struct replay *r = row_of(id);
        assert_int_equal(r->state, REPLAY_DONE);
        assert_int_equal(r->sent + r->found, r->chosen); /* each is counted once */
        assert_true(r->sent > 0);
        steps_until_done(hub.made);
        for (uint64_t seq = 1; seq <= (uint64_t)r->last; seq++)
            assert_int_equal(notes.books[seq], str_is(memory.records[seq - 1].type, "thing.made"));
        /* what was sent before a crash is found, not sent twice: there is a look-up */
        uint32_t times[RECORDS_MAX + 1] = {0};
        for (uint32_t i = 0; i < notes.count; i++)
            if (notes.sent[i].replay)
                assert_int_equal(++times[notes.sent[i].seq], 1);
        end_hub();
    }
}

static void pausing_and_cancelling(void **state) {
    uint64_t id, other;
    notes_init(6);
    make(1000, 10);
    books_lose();
    struct replay row = asked();
    row.from_seq = 1;
    row.rate_per_s = 50;
    assert_int_equal(begin(row, &id), OK);
    assert_int_equal(begin(row, &other), OK); /* waits for the first */
    steps_until(id, REPLAY_RUNNING);
    for (int i = 0; i < 2000; i++)
        step();
    assert_true(row_of(id)->sent > 10);
    assert_int_equal(row_of(other)->state, REPLAY_COUNTING);
    assert_int_equal(decided(other, REPLAY_CANCEL), OK);
    assert_int_equal(decided(id, REPLAY_RESUME), ERR_CONFLICT);
    assert_int_equal(decided(id, REPLAY_PAUSE), OK);
    for (int i = 0; i < 100; i++)
        step();
    uint32_t sent = notes.count;
    for (int i = 0; i < 1000; i++)
        step();
    assert_int_equal(notes.count, sent);
    hub_crash(); /* it stays paused */
    remote.net.ops = &note_ops;
    hub_up();
    assert_int_equal(row_of(id)->state, REPLAY_PAUSED);
    assert_int_equal(decided(id, REPLAY_RESUME), OK);
    for (int i = 0; i < 1000; i++)
        step();
    assert_true(notes.count > sent);
    assert_int_equal(decided(id, REPLAY_CANCEL), OK);
    for (int i = 0; i < 100; i++)
        step();
    sent = notes.count;
    for (int i = 0; i < 1000; i++)
        step();
    assert_int_equal(notes.count, sent);
    assert_int_equal(row_of(id)->state, REPLAY_CANCELLED);
    assert_true(row_of(id)->sent < row_of(id)->chosen);
    assert_int_equal(decided(id, REPLAY_RESUME), ERR_CONFLICT);
    /* started, paused, resumed, cancelled; and the other */
    assert_int_equal(wanted_of("delivery.replayed"), 5);
    end_hub();
}

static void what_is_refused_is_held_with_its_replay(void **state) {
    uint64_t id;
    notes_init(7);
    make(300, 10);
    books_lose();
    notes.final_of = 4;
    struct replay row = asked();
    row.from_seq = 1;
    assert_int_equal(begin(row, &id), OK);
    for (int i = 0; i < 20000; i++)
        step();
    const struct replay *r = row_of(id);
    assert_int_equal(r->state, REPLAY_RUNNING); /* the others of the key wait */
    assert_int_equal(r->held, 1);
    assert_true(r->waiting > 0);
    uint32_t of_4 = 0;
    for (uint32_t i = 0; i < notes.count; i++)
        of_4 += notes.sent[i].replay && notes.sent[i].key == 4;
    assert_int_equal(of_4, 1);
    const struct record *held = &memory.records[memory.count - 1];
    while (!str_is(held->type, "delivery.held"))
        held--;
    assert_non_null(memmem(held->data.ptr, held->data.len, "\"replay\":1", 10));
    /* live ones of the key wait behind it; a crash forgets nothing of that */
    while (!str_is(memory.records[memory.count - 1].subject, "k4")) {
        thing_new(10);
        core_step(hub.core);
    }
    for (int i = 0; i < 3000; i++)
        step();
    hub_crash();
    remote.net.ops = &note_ops;
    hub_up();
    uint32_t lane = lanes_held(hub.deliver->subs[0]->lanes, STR("k4"));
    assert_int_not_equal(lane, LANE_NONE);
    assert_int_equal(lanes_replay_of(hub.deliver->subs[0]->lanes, lane), id);
    notes.final_of = 0;
    lanes_release(hub.deliver->subs[0]->lanes, lane);
    r = steps_until(id, REPLAY_DONE);
    assert_int_equal(r->sent + r->found + r->held, r->chosen);
    steps_until_done(hub.made);
    for (uint64_t seq = 1; seq <= memory.count; seq++)
        assert_int_equal(notes.books[seq], str_is(memory.records[seq - 1].type, "thing.made"));
    end_hub();
}

static void the_newest_alone(void **state) {
    uint64_t dry, id;
    notes_init(8);
    make(800, 30);
    books_lose();
    struct replay row = asked();
    row.to_seq = 600; /* many keys have something newer beyond */
    row.newest = row.dry_run = true;
    assert_int_equal(begin(row, &dry), OK);
    steps_until(dry, REPLAY_COUNTED);
    uint64_t newest[64] = {0};
    uint32_t expected = 0;
    for (uint64_t seq = 1; seq <= memory.count; seq++)
        if (str_is(memory.records[seq - 1].type, "thing.made"))
            newest[key_of(seq)] = seq;
    for (int k = 0; k < 64; k++)
        expected += newest[k] > 0 && newest[k] <= 600;
    assert_int_equal(row_of(dry)->chosen, expected);
    row.to_seq = 0;
    row.from_seq = 1;
    row.dry_run = false;
    row.rate_per_s = 20;
    assert_int_equal(begin(row, &id), OK);
    steps_until(id, REPLAY_RUNNING);
    for (int i = 0; i < 60; i++)
        thing_new(30); /* and newer ones while it goes on */
    const struct replay *r = steps_until(id, REPLAY_DONE);
    assert_true(r->superseded > 0 && r->sent < 30);
    for (uint32_t i = 0; i < notes.count; i++)
        for (uint32_t k = 0; notes.sent[i].replay && k < i; k++)
            assert_false(notes.sent[k].key == notes.sent[i].key && notes.sent[k].seq > notes.sent[i].seq);
    end_hub();
}

static void again_is_new_to_the_other_system(void **state) {
    uint64_t id;
    notes_init(9);
    hub.send.replay = SEND_REPLAY_AGAIN;
    make(50, 10);
    struct replay row = asked();
    row.from_seq = 1;
    row.again = true;
    assert_int_equal(begin(row, &id), OK);
    const struct replay *r = steps_until(id, REPLAY_DONE);
    assert_int_equal(r->sent, r->chosen); /* though it has them */
    for (uint32_t i = 0; i < notes.count; i++)
        assert_int_equal(notes.sent[i].again, notes.sent[i].replay != 0);
    end_hub();
}

static void without_a_guard_nothing_is_sent(void **state) {
    uint64_t id;
    notes_init(10);
    hub.send.lookup = NULL;
    hub.header.value = STR("fixed");
    struct replay row = asked();
    row.from_seq = 1;
    assert_int_equal(begin(row, &id), ERR_CONFLICT);
    row.dry_run = true;
    assert_int_equal(begin(row, &id), OK);
    hub.header.value = STR("{event.id}");
    row.dry_run = false;
    assert_int_equal(begin(row, &id), OK);
    assert_int_equal(row_of(id)->guard, REPLAY_GUARD_KEY);
    end_hub();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_counted_is_what_is_sent),
        cmocka_unit_test(what_is_there_is_found),
        cmocka_unit_test(filters_choose),
        cmocka_unit_test(live_ones_and_replayed_ones_share_the_lane),
        cmocka_unit_test(it_is_throttled),
        cmocka_unit_test(a_crash_goes_on_where_it_stood),
        cmocka_unit_test(pausing_and_cancelling),
        cmocka_unit_test(what_is_refused_is_held_with_its_replay),
        cmocka_unit_test(the_newest_alone),
        cmocka_unit_test(again_is_new_to_the_other_system),
        cmocka_unit_test(without_a_guard_nothing_is_sent),
    };
    disk = vfs_fault_create("fault", true);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    vfs_fault_destroy(disk);
    return failed;
}
