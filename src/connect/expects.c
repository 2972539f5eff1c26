/* expects: see expects.h. One watch for each topic and subscription that ever expected something. A case's id is
 * on disk (intake.db) before the case is raised, with a mark until the journal has it: after a crash in between it
 * is raised under the same id, which the core knows where it had it already. So each is raised once and
 * closed once. */
#include "connect/expects.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "connect/expect.h"
#include "connect/traffic.h"
#include "domain/exceptions.h"

#define LOOK_US INT64_C(1000000)
#define KIND "traffic-absent"
#define MARK '?' /* behind an id: the journal may not have it yet */

struct watch {
    char connector[129], topic[65];
    bool out; /* a subscription's: what goes, not what comes */
    const struct connector_expect *expect; /* of the present round; NULL: nothing is expected any more */
    struct traffic_topic *traffic;
    struct expect_watch watch;
    char case_id[64];   /* that is open, or being raised; "": none */
    bool raise, close;  /* wanted */
    bool raising;       /* which of both the core has */
    bool busy;
    _Atomic bool done;
    struct arena arena;
    struct command command;
};
struct expects {
    struct core *core;
    struct clock *clock;
    struct intake *intake;
    void (*wake)(void *ctx);
    void *ctx;
    struct command_origin origin;
    struct watch **items;
    uint32_t count, cap;
    int64_t due_us;
};

/* On the writer's thread. */
static void answered(struct command_origin *origin, struct command *first) {
    struct expects *x = (struct expects *)((char *)origin - offsetof(struct expects, origin));
    while (first) {
        struct command *next = first->next;
        atomic_store(&((struct watch *)first->origin_ctx)->done, true);
        first = next;
    }
    x->wake(x->ctx);
}

struct expects *expects_create(struct core *core, struct clock *clock, struct intake *intake,
                               void (*wake)(void *ctx), void *ctx) {
    struct expects *x = mem_zalloc(sizeof *x);
    if (x)
        *x = (struct expects){.core = core, .clock = clock, .intake = intake, .wake = wake, .ctx = ctx,
                              .origin.deliver = answered, .due_us = INT64_MAX};
    return x;
}

void expects_destroy(struct expects *x) {
    for (uint32_t i = 0; x && i < x->count; i++) {
        arena_free(&x->items[i]->arena);
        mem_free(x->items[i]);
    }
    mem_free(x ? x->items : NULL);
    mem_free(x);
}

/* --- which are watched ------------------------------------------------------------------------- */

static void place_of(const struct watch *w, char out[256]) {
    snprintf(out, 256, "%s/%s/%s", w->out ? "expect-out" : "expect", w->connector, w->topic);
}

static struct watch *watch_make(struct expects *x, struct str connector, struct str topic, bool out) {
    struct watch *w = connector.len < sizeof w->connector && topic.len < sizeof w->topic &&
                              MEM_ROOM(x->items, x->count, x->cap, 8)
                          ? mem_zalloc(sizeof *w)
                          : NULL;
    char place[256], value[INTAKE_VALUE_MAX + 1];
    bool known = false;
    struct fault ignored = {0};
    if (!w)
        return NULL;
    arena_init(&w->arena, 0);
    w->out = out;
    memcpy(w->connector, connector.ptr, connector.len);
    memcpy(w->topic, topic.ptr, topic.len);
    place_of(w, place);
    if (intake_load(x->intake, str_c(place), value, &known, &ignored) == OK && known && value[0]) {
        snprintf(w->case_id, sizeof w->case_id, "%.63s", value);
        w->watch.raised = true;
        w->raise = value[strlen(value) - 1] == MARK;
        if (w->raise && strlen(w->case_id) > 0)
            w->case_id[strlen(w->case_id) - 1] = '\0';
    }
    x->items[x->count++] = w;
    return w;
}

static struct watch *watch_of(struct expects *x, struct str connector, struct str topic, bool out) {
    for (uint32_t i = 0; i < x->count; i++)
        if (x->items[i]->out == out && str_is(connector, x->items[i]->connector) &&
            str_is(topic, x->items[i]->topic))
            return x->items[i];
    return watch_make(x, connector, topic, out);
}

static void watches_follow(struct expects *x, const struct connectors *connectors) {
    for (uint32_t i = 0; i < x->count; i++)
        x->items[i]->expect = NULL;
    for (uint32_t c = 0; c < connectors->count; c++) {
        const struct connector *connector = connectors->items[c];
        for (uint32_t i = 0; i < connector->taken_count; i++) {
            const struct connector_receive *take = connector->taken[i];
            struct watch *w = take->expect ? watch_of(x, connector->name, take->topic, false) : NULL;
            if (!w)
                continue;
            w->expect = take->expect;
            w->traffic = traffic_topic(&connector->counters->traffic, take->topic);
        }
        for (uint32_t i = 0; i < connector->send.count; i++) {
            const struct connector_send *send = list_at(connector->send, struct connector_send, i);
            bool goes = send->expect && send->enabled && !send->missing.len;
            struct watch *w = goes ? watch_of(x, connector->name, send->subscription, true) : NULL;
            if (!w)
                continue;
            w->expect = send->expect;
            w->traffic = traffic_topic(&connector->counters->sent, send->subscription);
        }
    }
}

/* --- telling ------------------------------------------------------------------------------------ */

/* On disk. */
static enum err case_save(struct expects *x, const struct watch *w, bool mark, struct fault *fault) {
    char place[256], value[80];
    place_of(w, place);
    snprintf(value, sizeof value, "%s%s", w->case_id, mark ? (char[]){MARK, '\0'} : "");
    intake_set(x->intake, str_c(place), str_c(value));
    return intake_commit(x->intake, fault);
}

static enum err raise_prepare(struct expects *x, struct watch *w, struct fault *fault) {
    struct exception *e = w->expect ? arena_new(&w->arena, struct exception) : NULL;
    if (!w->expect)
        return fault_set(fault, ERR_CONFLICT, "nothing is expected any more");
    if (!e)
        return fault_set(fault, ERR_NOMEM, "no memory for an exception");
    e->kind = STR(KIND);
    e->subject = arena_printf(&w->arena, "%s/%s", w->connector, w->topic);
    e->cause = arena_printf(&w->arena, "Fewer than %lld %s of %s/%s %s within %lld s of the hours in which "
                            "they should", (long long)w->expect->at_least, w->out ? "deliveries" : "messages",
                            w->connector, w->topic, w->out ? "went" : "came", (long long)w->expect->every_s);
    e->action = w->out ? STR("See whether the subscription goes (penstock subscriptions list): what is held, and "
                             "whether what it wants happens at all")
                       : STR("See whether the partner still sends: its webhooks, its status page, the network; what "
                             "was missed comes by a backstop poll, or ask for it there");
    e->connector = str_c(w->connector);
    e->topic = str_c(w->topic);
    e->has = UINT64_C(1) << EXCEPTION_KIND | UINT64_C(1) << EXCEPTION_SUBJECT | UINT64_C(1) << EXCEPTION_CAUSE |
             UINT64_C(1) << EXCEPTION_ACTION | UINT64_C(1) << EXCEPTION_CONNECTOR | UINT64_C(1) << EXCEPTION_TOPIC;
    enum err err = command_prepare_fact(x->core, &exception_raise_command, &w->arena, e, &w->command, fault);
    if (err == OK && !(w->case_id[0] && id_parse(str_c(w->case_id), "exc_", &w->command.id))) {
        struct str id = id_text(&w->arena, "exc_", w->command.id);
        snprintf(w->case_id, sizeof w->case_id, "%.*s", STR_FMT(id));
    }
    if (err == OK)
        err = case_save(x, w, true, fault);
    w->command.idem_scope = STR("expect");
    w->command.idem_key = str_c(w->case_id);
    return err;
}

static enum err close_prepare(struct expects *x, struct watch *w, struct fault *fault) {
    struct resolution *r = arena_new(&w->arena, struct resolution);
    if (!r)
        return fault_set(fault, ERR_NOMEM, "no memory for a resolution");
    r->resolution = STR("arrived");
    r->reason = !w->expect ? STR("nothing is expected any more")
                : w->out   ? STR("deliveries go again")
                           : STR("messages come again");
    r->has = UINT64_C(1) << RESOLUTION_RESOLUTION | UINT64_C(1) << RESOLUTION_REASON;
    enum err err = command_prepare(x->core, &exception_resolve_command, &w->arena, r, &w->command, fault);
    w->command.args[0] = str_c(w->case_id);
    return err;
}

static void submit(struct expects *x, struct watch *w) {
    struct fault fault = {0};
    arena_reset(&w->arena);
    w->raising = w->raise;
    enum err err = w->raising ? raise_prepare(x, w, &fault) : close_prepare(x, w, &fault);
    if (err == OK) {
        w->command.actor = STR("expect");
        w->command.if_match = -1;
        w->command.origin = &x->origin;
        w->command.origin_ctx = w;
        atomic_store(&w->done, false);
        w->busy = true;
        err = core_submit(x->core, &w->command, &fault);
        w->busy = err == OK;
    }
    if (err != OK && err_info(err)->disposition == FINAL) {
        log_line(LOG_ERROR, "connect", "what did not come can not be told", "topic=%s/%s error=%s", w->connector,
                 w->topic, log_quote(str_c(fault.detail)));
        w->raise = w->close = false;
    }
}

static void told(struct expects *x, struct watch *w) {
    const struct answer *answer = &w->command.answer;
    w->busy = false;
    if (answer->err != OK && err_info(answer->err)->disposition == RETRYABLE)
        return; /* again with the next look */
    if (w->raising && answer->err == OK) {
        log_line(LOG_WARN, "connect", "traffic that should come does not", "topic=%s/%s", w->connector, w->topic);
    } else { /* or a person closed it before */
        w->case_id[0] = '\0';
        log_line(LOG_INFO, "connect", "traffic comes again", "topic=%s/%s", w->connector, w->topic);
    }
    if (w->raising)
        w->raise = false;
    else
        w->close = false;
    struct fault fault = {0};
    if (case_save(x, w, false, &fault) != OK)
        log_line(LOG_ERROR, "connect", "an open case could not be noted", "error=%s",
                 log_quote(str_c(fault.detail)));
}

/* --- looking ------------------------------------------------------------------------------------ */

/* How it stands: of how many that came and how much time is left. */
static void expected_tell(const struct watch *w) {
    if (!w->expect || !w->traffic)
        return;
    bool begun = w->watch.begun;
    atomic_store(&w->traffic->came, begun ? atomic_load(&w->traffic->received) - w->watch.from : 0);
    atomic_store(&w->traffic->left_us, begun ? w->expect->every_s * 1000000 - w->watch.open_us : 0);
}

static void look(struct expects *x, struct watch *w) {
    int64_t now_us = clock_now_us(x->clock);
    enum expect_change change = EXPECT_NONE;
    if (w->busy && atomic_load(&w->done))
        told(x, w);
    if (w->expect && w->traffic)
        change = expect_look(&w->watch, w->expect, atomic_load(&w->traffic->received), now_us,
                             clock_tick_us(x->clock));
    else if (w->watch.raised)
        change = EXPECT_CLOSE;
    if (change == EXPECT_RAISE)
        w->raise = true;
    if (change == EXPECT_CLOSE) {
        w->close = true;
        w->watch = (struct expect_watch){0};
    }
    expected_tell(w);
    if (w->traffic && change != EXPECT_NONE)
        atomic_store(&w->traffic->absent_us, change == EXPECT_RAISE ? now_us : 0);
    else if (w->traffic && w->watch.raised && !atomic_load(&w->traffic->absent_us))
        atomic_store(&w->traffic->absent_us, now_us); /* known from before the start */
    if (!w->busy && w->raise)
        submit(x, w);
    else if (!w->busy && w->close)
        submit(x, w);
}

void expects_step(struct expects *x, const struct connectors *connectors) {
    int64_t tick_us = clock_tick_us(x->clock);
    bool any = false;
    watches_follow(x, connectors);
    for (uint32_t i = 0; i < x->count; i++) {
        struct watch *w = x->items[i];
        look(x, w);
        any = any || w->expect || w->raise || w->close;
    }
    x->due_us = any ? tick_us + LOOK_US : INT64_MAX;
}

int64_t expects_next_us(const struct expects *x) { return x->due_us; }

uint32_t expects_busy(const struct expects *x) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < x->count; i++)
        n += x->items[i]->busy && !atomic_load(&x->items[i]->done);
    return n;
}
