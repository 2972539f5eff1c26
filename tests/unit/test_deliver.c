/* Delivery against a remote that refuses, delays, drops the answer after doing the work, and
 * has no idempotency of its own; with the real core on a journal in memory, and with ends of
 * the process at random. In the end the remote must have every event once, in order per key,
 * and the hub must know the number of each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "connect/account.h"
#include "connect/connector_priv.h"
#include "deliver/deliver_priv.h"
#include "domain/deliveries.h"
#include "domain/endpoints.h"
#include "domain/exceptions.h"
#include "domain/inbound.h"
#include "domain/orders.h"
#include "domain/postings.h"
#include "domain/replays.h"
#include "domain/stops.h"
#include "../support/beside.h"
#include "../support/vfs_fault.h"

/* --- a capability that makes events ------------------------------------------------------- */

struct thing {
    uint64_t has;
    struct str key;
    int64_t number;
};
static const struct shape_field thing_rows[] = {
    {.name = "key", .kind = SHAPE_ID, .offset = offsetof(struct thing, key)},
    {.name = "number", .kind = SHAPE_INTEGER, .offset = offsetof(struct thing, number)},
};
static SHAPE_DEFINE(thing_shape, "thing", struct thing, "A thing", thing_rows);
static enum err thing_apply(struct state *state, const struct event *event) { return OK; }
static const struct event_type thing_made = {
    .name = "thing.made", .shape = &thing_shape, .apply = thing_apply};
static const struct event_type thing_other = {
    .name = "thing.other", .shape = &thing_shape, .apply = thing_apply};
static enum err thing_decide(struct decision *decision, const struct command *command) {
    const struct thing *given = command->body;
    struct thing *thing;
    const struct event_type *type = given->number % 7 == 6 ? &thing_other : &thing_made;
    must(decision_event(decision, type, given->key, (void **)&thing) != NULL);
    *thing = *given;
    return decision_answer(decision, 201, &thing_shape, thing);
}
static const struct command_type thing_make = {
    .name = "thing.make", .shape = &thing_shape, .decide = thing_decide};
static const struct capability things = {
    .name = "things",
    .commands = (const struct command_type *const[]){&thing_make, NULL},
    .events = (const struct event_type *const[]){&thing_made, &thing_other, NULL},
};
static const struct capability *const capabilities[] = {&things, &postings_capability, &replays_capability,
                                                        &deliveries_capability, &endpoints_capability,
                                                        &exceptions_capability, &stops_capability,
                                                        &orders_capability, &inbound_capability, NULL};

/* --- a journal in memory -------------------------------------------------------------------- */

#define RECORDS_MAX 20000
static struct memory {
    struct journal journal;
    struct record records[RECORDS_MAX];
    uint32_t count;
    uint64_t cold_to; /* up to it they are in an archive, which nobody may wait for */
    uint32_t brought; /* how often it was asked for */
    struct arena arena;
    pthread_mutex_t lock;
} memory;

static enum err memory_append(struct journal *j, const struct record *records, uint32_t n,
                              struct fault *fault) {
    pthread_mutex_lock(&memory.lock);
    must(records[0].seq == memory.count + 1 && memory.count + n <= RECORDS_MAX);
    for (uint32_t i = 0; i < n; i++) {
        struct record copy = records[i];
        copy.type = arena_str(&memory.arena, copy.type);
        copy.subject = arena_str(&memory.arena, copy.subject);
        copy.meta = arena_str(&memory.arena, copy.meta);
        copy.data = arena_str(&memory.arena, copy.data);
        memory.records[memory.count++] = copy;
    }
    pthread_mutex_unlock(&memory.lock);
    return OK;
}
static enum err memory_read(struct journal *j, uint64_t from, uint32_t limit, journal_visit *visit,
                            void *ctx, uint64_t *next, struct fault *fault) {
    uint64_t seq = from;
    must(from > memory.cold_to);
    for (; seq <= memory.count && limit > 0; seq++, limit--)
        if (!visit(ctx, &memory.records[seq - 1])) {
            seq++;
            break;
        }
    *next = seq;
    return OK;
}
static enum err memory_last(struct journal *j, uint64_t *seq, struct fault *fault) {
    *seq = memory.count;
    return OK;
}
static bool memory_near(struct journal *j, uint64_t seq, bool bring) {
    memory.brought += bring && seq <= memory.cold_to;
    return seq > memory.cold_to;
}
static const struct journal_ops memory_ops = {
    .append = memory_append, .read = memory_read, .last = memory_last, .near = memory_near};

/* --- time --------------------------------------------------------------------------------- */
static _Atomic int64_t tick_us;
static int64_t fake_now(struct clock *clock) { return INT64_C(1790000000000000) + tick_us; }
static int64_t fake_tick(struct clock *clock) { return tick_us; }
static struct clock fake_clock = {.now_us = fake_now, .tick_us = fake_tick};
static struct rng_seeded dice;
static bool chance(uint32_t percent) { return rng_below(&dice.rng, 100) < percent; }

/* --- the loop on which delivery would run --------------------------------------------------- */
static struct loop {
    _Atomic bool woken;
    int64_t next_us;
} loop;
static void loop_wake(void *ctx) { loop.woken = true; }

/* --- the remote --------------------------------------------------------------------------- */
struct net_call {
    struct net_request copy;
    net_done *done;
    void *ctx;
    struct net_call *next;
};
static struct remote {
    struct net net;
    struct net_call *calls;
    uint32_t count, most; /* under way; the most at once */
    bool closing, down, fail_all;
    bool every_second; /* call is too much */
    uint32_t called, too_much;
    uint32_t drop, refuse, fail, final_of; /* percent; key that is refused for good (0: none) */
    uint32_t booked[RECORDS_MAX + 1];
    bool confirmed[RECORDS_MAX + 1]; /* scripts alone */
    uint32_t session, sign_ins;      /* the session that is good; 0: none is asked for */
    uint64_t last[64];
    uint32_t posts, lookups;
    struct ghost { /* at work although nobody listens any more */
        uint64_t seq, key;
        int64_t due_us;
    } ghosts[256];
    uint32_t ghost_count;
} remote;
#define SETTLE_MS 40

static uint64_t seq_in(struct str text, const char *before) {
    const char *at = memmem(text.ptr, text.len, before, strlen(before));
    must(at != NULL);
    at += strlen(before);
    uint64_t seq = 0;
    while (at < text.ptr + text.len && *at >= '0' && *at <= '9')
        seq = seq * 10 + (uint64_t)(*at++ - '0');
    return seq;
}

static void remote_book(uint64_t seq, uint64_t key) {
    remote.booked[seq]++;
    assert_int_equal(remote.booked[seq], 1); /* never twice */
    assert_true(seq > remote.last[key]);     /* in order per key */
    remote.last[key] = seq;
}

static void remote_work(struct net_call *call) {
    remote_book(seq_in(call->copy.headers[0].value, "main-"),
                seq_in(call->copy.body, "\"key\":\"k"));
}

/* The work of this call is done some time from now. */
static void remote_haunt(struct net_call *call) {
    must(remote.ghost_count < 256);
    remote.ghosts[remote.ghost_count++] = (struct ghost){
        .seq = seq_in(call->copy.headers[0].value, "main-"),
        .key = seq_in(call->copy.body, "\"key\":\"k"),
        .due_us = tick_us + (int64_t)rng_below(&dice.rng, SETTLE_MS * 1000)};
}

static void ghosts_work(void) {
    for (uint32_t i = 0; i < remote.ghost_count;) {
        struct ghost ghost = remote.ghosts[i];
        if (ghost.due_us > tick_us) {
            i++;
            continue;
        }
        remote.ghosts[i] = remote.ghosts[--remote.ghost_count];
        remote_book(ghost.seq, ghost.key);
    }
}

static bool is_confirm(const struct net_call *call) {
    return call->copy.body.ptr && memmem(call->copy.body.ptr, call->copy.body.len, "confirm", 7);
}

static enum err remote_send(struct net *net, const struct net_request *request, net_done *done,
                            void *ctx, struct net_call **out, struct fault *fault) {
    if (remote.closing)
        return fault_set(fault, ERR_UNAVAILABLE, "closing");
    struct net_call *call = mem_zalloc(sizeof *call);
    call->copy = *request;
    call->done = done;
    call->ctx = ctx;
    for (const struct net_call *other = remote.calls; other && is_confirm(call); other = other->next)
        assert_false(is_confirm(other)); /* the script wants them one at a time */
    call->next = remote.calls;
    remote.calls = call;
    if (++remote.count > remote.most)
        remote.most = remote.count;
    if (out)
        *out = call;
    return OK;
}
static const struct net_ops remote_ops = {.send = remote_send};

static void call_answer(struct net_call *call, const struct net_answer *answer) {
    call->done(call->ctx, answer);
    mem_free(call);
}

static struct net_call *call_take(void) {
    uint64_t n = rng_below(&dice.rng, remote.count);
    struct net_call **at = &remote.calls;
    while (n-- > 0)
        at = &(*at)->next;
    struct net_call *call = *at;
    *at = call->next;
    remote.count--;
    return call;
}

/* Signing in, and calls without a session that is good. True: answered. */
static bool session_answer(struct net_call *call) {
    char body[64], token[32] = "";
    struct net_answer answer = {.sent = true, .status = 200};
    if (str_is(call->copy.url, "http://erp/login")) {
        remote.sign_ins++;
        snprintf(body, sizeof body, "{\"token\":\"%u\"}", (unsigned)remote.session);
        answer.body = str_c(body);
        call_answer(call, &answer);
        return true;
    }
    for (uint32_t i = 0; i < call->copy.header_count; i++)
        if (str_is(call->copy.headers[i].name, "X-Session"))
            snprintf(token, sizeof token, "%.*s", STR_FMT(call->copy.headers[i].value));
    snprintf(body, sizeof body, "Session %u", (unsigned)remote.session);
    if (remote.session == 0 || strcmp(token, body) == 0)
        return false;
    answer.status = 401;
    call_answer(call, &answer);
    return true;
}

/* Confirming again changes nothing; what was not booked can not be confirmed. */
static void answer_confirm(struct net_call *call) {
    uint64_t seq = seq_in(call->copy.headers[0].value, "main-");
    struct net_answer answer = {.sent = true, .status = 200};
    assert_int_equal(remote.booked[seq], 1);
    if (chance(remote.fail)) {
        answer.status = chance(50) ? 500 : 503;
    } else {
        remote.confirmed[seq] = true;
        if (chance(remote.drop))
            answer = (struct net_answer){.error = NET_TIMEOUT, .sent = true, .detail = "dropped"};
        else if (chance(10))
            answer.body = STR("<html>a page of somebody in between</html>");
    }
    call_answer(call, &answer);
}

static void answer_lookup(struct net_call *call) {
    char body[96];
    uint64_t seq = seq_in(call->copy.url, "external_id=main-");
    remote.lookups++;
    if (remote.booked[seq])
        snprintf(body, sizeof body, "{\"items\":[{\"number\":\"N-%llu\"}]}", (unsigned long long)seq);
    else
        snprintf(body, sizeof body, "{\"items\":[]}");
    struct net_answer answer = {.sent = true, .status = 200, .body = str_c(body)};
    call_answer(call, &answer);
}

static void answer_post(struct net_call *call) {
    char body[96];
    uint64_t seq = seq_in(call->copy.headers[0].value, "main-");
    uint64_t key = seq_in(call->copy.body, "\"key\":\"k");
    struct net_answer answer = {.sent = true};
    remote.posts++;
    if (remote.fail_all || (remote.final_of && key == remote.final_of)) {
        answer.status = 422;
        answer.body = STR("{\"error\":\"the customer is blocked\"}");
    } else if (chance(remote.fail)) {
        answer.status = chance(50) ? 500 : chance(50) ? 503 : 429;
        answer.body = STR("busy");
    } else if (chance(remote.drop / 2)) {
        remote_haunt(call);
        answer = (struct net_answer){.error = NET_TIMEOUT, .sent = true, .detail = "slow"};
    } else {
        remote_work(call);
        snprintf(body, sizeof body, "{\"number\":\"N-%llu\"}", (unsigned long long)seq);
        answer.status = 201;
        answer.body = str_c(body);
        if (chance(remote.drop)) {
            answer = (struct net_answer){.error = NET_RESET, .sent = true, .detail = "dropped"};
        }
    }
    call_answer(call, &answer);
}

static void remote_step(void) {
    ghosts_work();
    if (remote.count == 0)
        return;
    loop.woken = true;
    struct net_call *call = call_take();
    struct net_answer refused = {.error = NET_REFUSED, .detail = "refused"};
    if (remote.down || chance(remote.refuse))
        call_answer(call, &refused);
    else if (session_answer(call))
        return;
    else if (remote.every_second && ++remote.called % 2 == 0)
        call_answer(call, (remote.too_much++, &(struct net_answer){.sent = true, .status = 429}));
    else if (is_confirm(call))
        answer_confirm(call);
    else if (str_is(call->copy.method, "GET"))
        answer_lookup(call);
    else
        answer_post(call);
}

/* The process ends: some of what was under way was done, and nobody heard of it. */
static void remote_lose(void) {
    remote.closing = true;
    while (remote.count > 0) {
        struct net_call *call = call_take();
        bool post = str_is(call->copy.method, "POST") && call->copy.body.ptr && !is_confirm(call);
        uint64_t key = post ? seq_in(call->copy.body, "\"key\":\"k") : 0;
        if (post && !remote.down && chance(50) && !remote.fail_all &&
            !(remote.final_of && key == remote.final_of))
            remote_haunt(call);
        struct net_answer gone = {.error = NET_CANCELLED, .sent = true, .detail = "gone"};
        call_answer(call, &gone);
    }
    remote.closing = false;
}

/* --- the hub -------------------------------------------------------------------------------- */

/* The progress is on a disk in memory that forgets at a crash what was not synced; a real one would
 * make the test wait for thousands of syncs. */
static struct vfs_fault *disk;
#define PROGRESS_PATH "/delivery.db"

static struct hub {
    struct config config;
    struct connector connector;
    struct connector *items[1];
    struct connectors connectors;
    struct connector_send send;
    struct connector_request request;
    struct connector_lookup lookup;
    struct connector_outcome outcome;
    struct connector_retry retry;
    struct connector_limits limits;
    struct connector_header header;
    struct connector_session session;
    struct connector_auth auth;
    struct connector_account account;
    struct connector_request sign_in;
    struct mapping_sources *sources;
    struct tail *tail;
    struct core *core;
    struct deliver *deliver;
    uint64_t made; /* things */
} hub;

static struct str event_names[] = {{"thing.made", 10}};

static void hub_connector(void) {
    hub.header = (struct connector_header){STR("Idempotency-Key"), STR("{event.id}")};
    hub.request = (struct connector_request){.method = STR("POST"), .url = STR("http://erp/orders"),
                                             .headers = &hub.header, .header_count = 1};
    hub.lookup.request = (struct connector_request){
        .method = STR("GET"), .url = STR("http://erp/orders?external_id={event.id}")};
    hub.lookup.found = STR("/items/0");
    hub.lookup.reference = STR("/items/0/number");
    hub.lookup.settle_ms = SETTLE_MS;
    memset(hub.outcome.kind, OUTCOME_RETRYABLE, sizeof hub.outcome.kind);
    hub.outcome.kind[200] = hub.outcome.kind[201] = OUTCOME_SUCCESS;
    hub.outcome.kind[400] = hub.outcome.kind[422] = OUTCOME_FINAL;
    hub.retry = (struct connector_retry){
        .first_ms = 10, .factor = 2, .max_ms = 500, .jitter = JITTER_FULL};
    hub.limits.concurrency = 4;
    hub.send = (struct connector_send){.subscription = STR("erp-things"),
                                       .enabled = true,
                                       .events = {event_names, 1},
                                       .key = SEND_KEY_SUBJECT,
                                       .request = &hub.request,
                                       .lookup = &hub.lookup,
                                       .reference = STR("/number"),
                                       .outcome = &hub.outcome,
                                       .retry = &hub.retry,
                                       .limits = &hub.limits,
                                       .timeout_ms = 1000,
                                       .connector = &hub.connector};
    hub.connector.name = STR("test-erp");
    hub.connector.send = (struct shape_list){&hub.send, 1};
    hub.items[0] = &hub.connector;
    hub.connectors.items = hub.items;
    hub.connectors.count = 1;
}

/* Look, make, confirm: three calls, of which making twice would be a fault. */
static const char script_text[] =
    "return function(doc)\n"
    "  local a, id, number = doc.answers, doc.event.id, nil\n"
    "  if doc.suspect then\n"
    "    if not opt(a, 'find') then\n"
    "      return {call = 'find', method = 'GET', path = '?external_id=' .. id, changes = false}\n"
    "    end\n"
    "    number = opt(a, 'find.body.items.1.number')\n"
    "  end\n"
    "  if not number then\n"
    "    if not opt(a, 'make') then return {call = 'make', body = {key = doc.event.data.key}} end\n"
    "    number = a.make.body.number\n"
    "  end\n"
    "  if not opt(a, 'confirm') then return {call = 'confirm', body = {confirm = true}, alone = 'books'}\n"
    "  end\n"
    "  return {done = true, reference = number}\n"
    "end\n";
static const char session_text[] = "return function(a) return {value = 'Session ' .. a.token} end\n";

static void hub_script(void) {
    struct fault fault = {0};
    hub.sources = mapping_sources_create();
    hub.send.script = STR("script.lua");
    hub.send.settle_ms = SETTLE_MS;
    hub.send.lookup = NULL;
    hub.send.reference = STR_NONE;
    assert_int_equal(mapping_sources_add_text(hub.sources, STR("t/script.lua"), STR_NONE, str_c(script_text),
                                              NULL, &hub.send.source, &fault), OK);
    hub.sign_in = (struct connector_request){.method = STR("POST"), .url = STR("http://erp/login")};
    hub.session = (struct connector_session){
        .request = &hub.sign_in, .header = STR("X-Session"), .timeout_ms = 1000};
    assert_int_equal(mapping_sources_add_text(hub.sources, STR("t/session.lua"), STR_NONE, str_c(session_text),
                                              NULL, &hub.session.source, &fault), OK);
    hub.auth = (struct connector_auth){.session = &hub.session, .kind = AUTH_SESSION};
    hub.connector.auth = &hub.auth;
    remote.session = 1;
}

static void hub_up(void) {
    struct fault fault = {0};
    hub.tail = tail_create(&memory.journal, 1 << 20);
    struct core_options core = {.capabilities = capabilities, .config = &hub.config,
                                .journal = &memory.journal, .tail = hub.tail,
                                .clock = &fake_clock, .rng = &dice.rng};
    hub.core = core_create(&core, &fault);
    assert_non_null(hub.core);
    struct deliver_options options = {.core = hub.core, .tail = hub.tail, .config = &hub.config,
                                      .connectors = &hub.connectors, .path = PROGRESS_PATH,
                                      .clock = &fake_clock, .rng = &dice.rng, .net = &remote.net};
    enum err err = deliver_create(&options, &hub.deliver, &fault);
    if (err != OK)
        fail_msg("%s", fault.detail);
    deliver_wake_set(hub.deliver, loop_wake, NULL);
    loop.woken = true;
}

/* As a crash: nothing more is written to the progress; what was under way is lost. */
static void hub_crash(void) {
    struct deliver *d = hub.deliver;
    d->stopping = d->drained = true;
    d->flushed_us = INT64_MAX / 4;
    remote_lose();
    while (core_step(hub.core) > 0 || d->out > 0)
        deliver_step(d);
    vfs_fault_crash(disk); /* what was not synced is there, or not, or half */
    deliver_destroy(d);
    vfs_fault_restart(disk);
    core_destroy(hub.core);
    tail_destroy(hub.tail);
}

static void hub_init(uint64_t seed) {
    rng_seeded_init(&dice, seed);
    memset(&memory, 0, sizeof memory);
    memory.journal.ops = &memory_ops;
    pthread_mutex_init(&memory.lock, NULL);
    arena_init(&memory.arena, 0);
    memset(&remote, 0, sizeof remote);
    remote.net.ops = &remote_ops;
    memset(&hub, 0, sizeof hub);
    vfs_fault_reset(disk, seed);
    hub.config.cell = STR("main");
#define SETTING(name, kind, dflt, min, max, unit, help) hub.config.settings.name = dflt;
#include "core/settings.def"
#undef SETTING
    hub_connector();
    tick_us = 1000000;
}

static void hub_free(void) {
    mapping_sources_destroy(hub.sources);
    arena_free(&memory.arena);
}

static void made(struct command_origin *origin, struct command *first) {
    while (first) {
        struct command *next = first->next;
        struct arena *arena = first->arena;
        assert_int_equal(first->answer.err, OK);
        arena_free(arena);
        mem_free(arena);
        first = next;
    }
}
static struct command_origin maker = {.deliver = made};

static void thing_new(uint32_t keys) {
    struct fault fault = {0};
    struct arena *arena = mem_zalloc(sizeof *arena);
    arena_init(arena, 0);
    struct thing *thing = arena_new(arena, struct thing);
    thing->key = arena_printf(arena, "k%u", (unsigned)(1 + rng_below(&dice.rng, keys)));
    thing->number = (int64_t)hub.made++;
    thing->has = 3;
    struct command *command = arena_new(arena, struct command);
    assert_int_equal(command_prepare(hub.core, &thing_make, arena, thing, command, &fault), OK);
    command->origin = &maker;
    assert_int_equal(core_submit(hub.core, command, &fault), OK);
}

/* Delivery turns as its loop would: when it was woken, when a call ended, or when it is time. Where it has
 * not said so, it sleeps for ever. */
static void hub_step(void) {
    core_step(hub.core);
    if (atomic_exchange(&loop.woken, false) || tick_us >= loop.next_us) {
        deliver_step(hub.deliver);
        loop.next_us = deliver_next_us(hub.deliver);
    }
    if (chance(70))
        remote_step();
    tick_us += (int64_t)rng_below(&dice.rng, 4000);
}

static uint32_t wanted_of(const char *type) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < memory.count; i++)
        n += str_is(memory.records[i].type, type);
    return n;
}

static bool all_done(void) {
    struct deliver_stats stats;
    deliver_stats(hub.deliver, 0, &stats);
    return stats.cursor == memory.count && stats.held + stats.parked == 0 &&
           hub.deliver->out == 0;
}

static void check_books(void) {
    uint32_t known = 0;
    for (uint32_t i = 0; i < memory.count; i++) {
        bool wanted = str_is(memory.records[i].type, "thing.made");
        assert_int_equal(remote.booked[i + 1], wanted);
        core_read_begin(hub.core);
        known += posting_known(core_state(hub.core, &postings_capability), STR("erp-things"), i + 1);
        core_read_end(hub.core);
    }
    assert_int_equal(known, wanted_of("thing.made"));
    assert_int_equal(wanted_of("posting.posted"), known);
}

/* --- the tests ------------------------------------------------------------------------------ */

static void a_healthy_remote_gets_all(void **state) {
    hub_init(1);
    hub_up();
    for (int i = 0; i < 500; i++)
        thing_new(20);
    for (int i = 0; i < 20000 && !(hub.made == 500 && memory.count > 500 && all_done()); i++)
        hub_step();
    assert_true(all_done());
    check_books();
    struct deliver_stats stats;
    deliver_stats(hub.deliver, 0, &stats);
    assert_int_equal(stats.delivered, wanted_of("thing.made"));
    assert_int_equal(stats.attempts, stats.delivered);
    assert_int_equal(stats.looked_up, 0);
    assert_int_equal(wanted_of("delivery.held"), 0);
    /* the posting carries the remote's number, the cause and the correlation */
    const struct record *last = &memory.records[memory.count - 1];
    assert_non_null(memmem(last->data.ptr, last->data.len, "\"reference\":\"N-", 15));
    assert_non_null(memmem(last->meta.ptr, last->meta.len, "\"cause\":", 8));
    hub_crash();
    hub_free();
}

static void run_with_faults(uint64_t seed, bool crashes, bool script) {
    hub_init(seed);
    if (script)
        hub_script();
    remote.drop = (uint32_t)rng_below(&dice.rng, 40);
    remote.refuse = (uint32_t)rng_below(&dice.rng, 20);
    remote.fail = (uint32_t)rng_below(&dice.rng, 40);
    hub.config.settings.deliver_window = 16 + (int64_t)rng_below(&dice.rng, 40);
    if (chance(50)) { /* fewer at once than the subscription would have, or slower */
        hub.connector.account = &hub.account;
        hub.account.limits.concurrency = (uint32_t)rng_below(&dice.rng, 4);
        hub.account.limits.calls = chance(50) ? 200 : 0;
        hub.account.limits.per_ms = 1000;
    }
    hub_up();
    uint32_t total = 200 + (uint32_t)rng_below(&dice.rng, 200);
    for (int i = 0; i < 400000; i++) {
        if (hub.made < total && chance(20))
            thing_new(12);
        if (chance(1) && chance(10))
            remote.down = !remote.down;
        if (hub.made == total) {
            remote.down = false;
            if (all_done())
                break;
        }
        hub_step();
        if (script && chance(1) && chance(30))
            remote.session++; /* all sessions end */
        if (crashes && chance(1) && chance(40)) {
            hub_crash();
            hub_up();
        }
    }
    assert_true(all_done());
    check_books();
    uint32_t told = 0; /* postings say which mapping made them */
    for (uint32_t i = 0; script && i < memory.count; i++)
        told += str_is(memory.records[i].type, "posting.posted") &&
                memmem(memory.records[i].data.ptr, memory.records[i].data.len,
                       "\"mapping\":\"t/script.lua\",\"mapping_version\":\"", 44);
    assert_true(!script || told > 0);
    for (uint32_t i = 0; script && i < memory.count; i++)
        assert_int_equal(remote.confirmed[i + 1], str_is(memory.records[i].type, "thing.made"));
    hub_crash();
    hub_free();
}

#include "deliver_versions.h"

static void faults_of_the_remote_cost_nothing(void **state) {
    for (uint64_t seed = 1; seed <= 15; seed++)
        run_with_faults(seed, false, false);
    run_with_faults(298, false, false); /* slept for ever behind a pause that somebody else had made */
}

static void crashes_cost_nothing(void **state) {
    for (uint64_t seed = 100; seed <= 125; seed++)
        run_with_faults(seed, true, false);
}

static void scripts_start_again_and_do_nothing_twice(void **state) {
    for (uint64_t seed = 200; seed <= 215; seed++)
        run_with_faults(seed, false, true);
    for (uint64_t seed = 300; seed <= 325; seed++)
        run_with_faults(seed, true, true);
}

static void one_sign_in_serves_all(void **state) {
    hub_init(4);
    hub_script();
    hub_up();
    for (int i = 0; i < 200; i++)
        thing_new(20);
    for (int i = 0; i < 20000 && !(memory.count > 200 && all_done()); i++)
        hub_step();
    assert_true(all_done());
    assert_int_equal(remote.sign_ins, 1);
    remote.session++;
    for (int i = 0; i < 50; i++)
        thing_new(20);
    for (int i = 0; i < 20000 && !(hub.made == 250 && memory.count > 450 && all_done()); i++)
        hub_step();
    assert_true(all_done());
    check_books();
    assert_int_equal(remote.sign_ins, 2);
    assert_int_equal(remote.most, hub.limits.concurrency); /* what goes one at a time holds up nothing else */
    hub_crash();
    hub_free();
}

static void a_lost_progress_file_costs_lookups_alone(void **state) {
    hub_init(3);
    hub_up();
    for (int i = 0; i < 100; i++)
        thing_new(10);
    for (int i = 0; i < 20000 && !(memory.count > 100 && all_done()); i++)
        hub_step();
    check_books();
    uint32_t posts = remote.posts;
    hub_crash();
    vfs_fault_reset(disk, 3); /* all of its files are gone */
    hub_up();
    for (int i = 0; i < 5000 && !all_done(); i++)
        hub_step();
    assert_true(all_done());
    assert_int_equal(remote.posts, posts);
    hub_crash();
    hub_free();
}

struct decision_made {
    struct deliver *deliver;
    uint64_t seq;
    bool discard;
    enum err err;
};
static void decide(void *ctx) {
    struct decision_made *made_ = ctx;
    struct fault fault = {0};
    made_->err = made_->discard
                     ? deliver_discard(made_->deliver, STR("erp-things"), made_->seq, STR("key_1"),
                                       STR("test"), &fault)
                     : deliver_retry(made_->deliver, STR("erp-things"), made_->seq, STR("key_1"),
                                     STR_NONE, &fault);
}
static enum err decision(uint64_t seq, bool discard) {
    struct decision_made made_ = {.deliver = hub.deliver, .seq = seq, .discard = discard};
    beside(decide, &made_, hub_step);
    return made_.err;
}

static bool held_row(void *ctx, const struct progress_row *row) {
    *(uint64_t *)ctx = row->seq;
    assert_true(str_is(row->cause, "status 422: the customer is blocked"));
    assert_int_equal(row->status, 422);
    return false;
}
static uint64_t held_seq(void) {
    uint64_t seq = 0;
    struct fault fault = {0};
    assert_int_equal(deliver_held(hub.deliver, STR_NONE, 0, 10, held_row, &seq, &fault), OK);
    return seq;
}

static void settle(void) {
    for (int i = 0; i < 3000; i++)
        hub_step();
}

static void a_refused_delivery_waits_for_a_person(void **state) {
    hub_init(9);
    hub_up();
    remote.final_of = 3;
    for (int i = 0; i < 100; i++)
        thing_new(5);
    settle();
    struct deliver_stats stats;
    deliver_stats(hub.deliver, 0, &stats);
    assert_int_equal(stats.held, 1);
    assert_int_equal(stats.cursor, memory.count);
    assert_int_equal(wanted_of("delivery.held"), 1);
    uint64_t seq = held_seq();
    assert_int_not_equal(seq, 0);
    uint32_t first_posts = remote.posts;
    /* it survives the end of the process, and is told to the journal once */
    hub_crash();
    hub_up();
    for (int i = 0; i < 20; i++)
        thing_new(5);
    settle();
    assert_int_equal(held_seq(), seq);
    assert_int_equal(wanted_of("delivery.held"), 1);
    assert_in_range(remote.posts, first_posts, first_posts + 20);
    assert_int_equal(decision(seq + 100000, false), ERR_NOT_FOUND);
    /* sent again, it is refused again */
    assert_int_equal(decision(seq, false), OK);
    settle();
    assert_int_equal(held_seq(), seq);
    assert_int_equal(wanted_of("delivery.released"), 1);
    assert_int_equal(wanted_of("delivery.held"), 2);
    /* given up: the next of its key takes its place */
    assert_int_equal(decision(seq, true), OK);
    settle();
    uint64_t second = held_seq();
    assert_true(second > seq);
    /* the cause is mended: all that waited goes, in order */
    remote.final_of = 0;
    assert_int_equal(decision(second, false), OK);
    settle();
    assert_true(all_done());
    assert_int_equal(remote.booked[seq], 0);
    remote.booked[seq] = 1;
    for (uint32_t i = 0; i < memory.count; i++)
        assert_int_equal(remote.booked[i + 1], str_is(memory.records[i].type, "thing.made"));
    hub_crash();
    hub_free();
}

#include "deliver_batch_size.h"
#include "deliver_behind.h"
#include "deliver_edit.h"
#include "deliver_looked.h"
#include "deliver_rows.h"
#include "deliver_stop.h"
#include "deliver_unwritten.h"

static void an_outage_burns_no_attempts(void **state) {
    hub_init(11);
    hub_up();
    remote.down = true;
    for (int i = 0; i < 300; i++)
        thing_new(50);
    settle();
    struct deliver_stats stats;
    deliver_stats(hub.deliver, 0, &stats);
    assert_true(stats.broken);
    assert_in_range(stats.attempts, 5, 40); /* 6 s of outage */
    assert_int_equal(stats.held, 0);
    remote.down = false;
    settle();
    assert_true(all_done());
    check_books();
    hub_crash();
    hub_free();
}

/* One that is far behind and wants nothing of it reads on a little in each round: the others have their turn
 * in between. */
static void reading_far_behind_is_shared_out(void **state) {
    static struct str never[] = {{"thing.never", 11}};
    hub_init(21);
    hub.send.events = (struct shape_list){never, 1};
    hub_up();
    for (int i = 0; i < 15000; i++) {
        thing_new(20);
        core_step(hub.core);
    }
    struct deliver_stats stats;
    uint32_t rounds = 0;
    do {
        uint64_t before = rounds > 0 ? stats.cursor : 0;
        deliver_step(hub.deliver);
        deliver_stats(hub.deliver, 0, &stats);
        assert_in_range(stats.cursor - before, 1, 4 * 512);
        if (stats.cursor < memory.count)
            assert_true(deliver_next_us(hub.deliver) <= tick_us); /* goes on at once */
        rounds++;
    } while (stats.cursor < memory.count);
    assert_in_range(rounds, memory.count / (4 * 512), memory.count / 512);
    hub_crash();
    hub_free();
}

/* Nor does one that may send much at once. */
static void a_round_of_batches_is_bounded(void **state) {
    static struct connector_batch ten = {.max_items = 10, .max_bytes = 1 << 20, .idempotent = true};
    hub_init(22);
    hub.send.batch = &ten;
    hub.send.lookup = NULL;
    hub.send.reference = STR_NONE;
    hub.limits.concurrency = 200;
    hub_up();
    for (int i = 0; i < 3000; i++) {
        thing_new(100000);
        core_step(hub.core);
    }
    uint32_t before = 0;
    do {
        deliver_step(hub.deliver);
        assert_in_range(remote.count - before, 1, 50);
        before = remote.count;
        assert_true(before == 200 || deliver_next_us(hub.deliver) <= tick_us); /* goes on at once */
    } while (before < 200);
    remote.down = true;
    hub_crash();
    hub_free();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_healthy_remote_gets_all),
        cmocka_unit_test(how_far_behind_is_told),
        cmocka_unit_test(nobody_waits_for_an_archive),
        cmocka_unit_test(faults_of_the_remote_cost_nothing),
        cmocka_unit_test(crashes_cost_nothing),
        cmocka_unit_test(versions_come_and_go),
        cmocka_unit_test(a_new_version_posts_nothing_again),
        cmocka_unit_test(scripts_start_again_and_do_nothing_twice),
        cmocka_unit_test(one_sign_in_serves_all),
        cmocka_unit_test(a_lost_progress_file_costs_lookups_alone),
        cmocka_unit_test(what_was_looked_up_is_sent_again_without),
        cmocka_unit_test(a_refused_delivery_waits_for_a_person),
        cmocka_unit_test(what_is_edited_goes_out),
        cmocka_unit_test(an_edit_is_there_after_a_crash_at_any_moment),
        cmocka_unit_test(a_healthy_delivery_costs_no_row),
        cmocka_unit_test(a_share_of_failures_is_counted),
        cmocka_unit_test(what_fails_stops_itself),
        cmocka_unit_test(what_can_not_be_written_is_not_answered_as_done),
        cmocka_unit_test(an_outage_burns_no_attempts),
        cmocka_unit_test(reading_far_behind_is_shared_out),
        cmocka_unit_test(a_round_of_batches_is_bounded),
        cmocka_unit_test(a_batch_keeps_to_the_account),
        cmocka_unit_test(a_batch_goes_at_the_pace_of_the_account),
        cmocka_unit_test(what_is_too_large_goes_in_smaller_calls),
        cmocka_unit_test(one_that_is_too_large_alone_is_held),
    };
    disk = vfs_fault_create("fault", true);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    vfs_fault_destroy(disk);
    return failed;
}
