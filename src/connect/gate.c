/* gate: see gate.h. A call that waits is in its flow's list; flows with such calls are in their account's
 * ring of their class. What may go, or has to end, comes into its net's inbox, and goes on in gate_step on
 * its own thread. All of that under the accounts' lock. */
#include "connect/gate.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "connect/accounts_priv.h"

static const char left_alone[] = "it does not answer and is left alone for a while";
#define SHUT_US INT64_C(2000000) /* longer than that is no moment */

enum call_state {
    CALL_WAITS,   /* in its flow */
    CALL_GRANTED, /* in the inbox: it counts as under way */
    CALL_CLOSED,  /* in the inbox: to end */
    CALL_SENT,
    CALL_FREE_PASS, /* sent, without an account */
};

struct gate {
    struct net net;
    struct gate_options options;
    struct json_parser *parser;
    struct arena arena; /* of the answer that is being judged */
    struct net_call *calls, *free;
    struct net_call *inbox, *inbox_last; /* under the lock, as is … */
    struct accounts_user user;
    bool closing;
};

struct net_call {
    struct net_call *next, *prev; /* of the net, or free */
    struct net_call *line;        /* of the flow, or the inbox */
    struct gate *gate;
    enum call_state state;
    struct net_request request;
    net_done *done;
    void *ctx;
    struct net_call *inner;
    struct account *account;
    struct endpoint *endpoint;
    struct net_flow *flow;
    int64_t began_us; /* when it went */
    int64_t closed_ms;
    const char *why;
    bool probe;
};

/* --- calls ------------------------------------------------------------------------------------------ */

static struct net_call *call_take(struct gate *gate) {
    struct net_call *call = gate->free;
    if (call)
        gate->free = call->next;
    else if (!(call = mem_alloc(sizeof *call)))
        return NULL;
    *call = (struct net_call){.gate = gate, .next = gate->calls};
    if (call->next)
        call->next->prev = call;
    gate->calls = call;
    return call;
}

static void call_give_back(struct net_call *call) {
    struct gate *gate = call->gate;
    if (call->prev)
        call->prev->next = call->next;
    else
        gate->calls = call->next;
    if (call->next)
        call->next->prev = call->prev;
    call->next = gate->free;
    gate->free = call;
}

static void inbox_add(struct net_call *call, enum call_state state) {
    struct gate *gate = call->gate;
    call->state = state;
    call->line = NULL;
    if (gate->inbox_last)
        gate->inbox_last->line = call;
    else
        gate->inbox = call;
    gate->inbox_last = call;
    gate->options.wake(gate->options.wake_ctx);
}

static void call_close(struct net_call *call, const char *why, int64_t wait_us) {
    call->why = why;
    call->closed_ms = wait_us > 0 ? (wait_us + 999) / 1000 : 0;
    call->account->closed++;
    inbox_add(call, CALL_CLOSED);
}

/* --- waiting ------------------------------------------------------------------------------------------ */

static void flow_wait(struct net_call *call) {
    struct account *account = call->account;
    struct net_flow *flow = call->flow;
    call->state = CALL_WAITS;
    call->line = NULL;
    if (flow->last) {
        flow->last->line = call;
        flow->last = call;
    } else { /* at the end of its class */
        flow->first = flow->last = call;
        flow->account = account;
        flow->next = NULL;
        if (account->last[flow->class])
            account->last[flow->class]->next = flow;
        else
            account->first[flow->class] = flow;
        account->last[flow->class] = flow;
    }
    atomic_fetch_add(&flow->waiting, 1);
    account->waiting++;
    call->gate->user.waiting++;
}

static void ring_remove(struct account *account, struct net_flow *flow) {
    struct net_flow **at = &account->first[flow->class], *before = NULL;
    while (*at != flow) {
        before = *at;
        at = &before->next;
    }
    *at = flow->next;
    if (account->last[flow->class] == flow)
        account->last[flow->class] = before;
    flow->next = NULL;
}

static void waited(struct net_call *call) {
    atomic_fetch_sub(&call->flow->waiting, 1);
    call->account->waiting--;
    call->gate->user.waiting--;
}

/* The first of the flow whose turn it is; the flow goes behind the others of its class. */
static struct net_call *ring_take(struct account *account) {
    int class = 0;
    while (!account->first[class])
        class++;
    struct net_flow *flow = account->first[class];
    struct net_call *call = flow->first;
    ring_remove(account, flow);
    flow->first = call->line;
    if (!flow->first) {
        flow->last = NULL;
    } else if (account->last[class]) {
        account->last[class]->next = flow;
        account->last[class] = flow;
    } else {
        account->first[class] = account->last[class] = flow;
    }
    waited(call);
    return call;
}

/* Out of the middle: it is cancelled. */
static void flow_leave(struct net_call *call) {
    struct net_flow *flow = call->flow;
    struct net_call **at = &flow->first, *before = NULL;
    while (*at != call) {
        before = *at;
        at = &before->line;
    }
    *at = call->line;
    if (flow->last == call)
        flow->last = before;
    if (!flow->first)
        ring_remove(call->account, flow);
    waited(call);
}

/* --- going ---------------------------------------------------------------------------------------------- */

/* Whether it may go now: then it counts as under way. Else it was closed. */
static bool call_admit(struct accounts *accounts, struct net_call *call, struct governor_time now) {
    struct breaker *breaker = &call->endpoint->breaker;
    if (!breaker_take(breaker, now.tick_us, &call->probe)) {
        int64_t due_us = breaker_due_us(breaker);
        call_close(call, left_alone,
                   due_us == INT64_MAX ? call->account->breaker.first_ms * 1000 : due_us - now.tick_us);
        return false;
    }
    governor_take(&call->account->governor, now);
    call->began_us = now.tick_us;
    (void)accounts;
    return true;
}

static const char *shut_words(enum governor_says says) {
    return says == GOVERNOR_WINDOW  ? "it has maintenance now (account: maintenance)"
           : says == GOVERNOR_QUOTA ? "the calls of this day are used up (account: quota_per_day)"
                                    : "it asked for a pause";
}

static bool is_shut(enum governor_says says, int64_t due_us, struct governor_time now) {
    return says >= GOVERNOR_PAUSED && due_us - now.tick_us >= SHUT_US;
}

/* Lets go what may. Under the lock, on the gate's thread. */
static void account_dispatch(struct gate *gate, struct account *account) {
    struct accounts *accounts = gate->options.accounts;
    struct governor_time now = accounts_now(accounts);
    while (account->waiting > 0) {
        int64_t due_us;
        enum governor_says says = account_ask(accounts, account, now, &due_us);
        if (is_shut(says, due_us, now)) {
            call_close(ring_take(account), shut_words(says), due_us - now.tick_us);
            continue;
        }
        if (says != GOVERNOR_GO) {
            account_due(accounts, account, due_us, &gate->user);
            return;
        }
        struct net_call *call = ring_take(account);
        if (call_admit(accounts, call, now))
            inbox_add(call, CALL_GRANTED);
    }
}

/* --- ends -------------------------------------------------------------------------------------------------- */

static enum breaker_end breaker_says(const struct net_call *call, const struct net_answer *answer,
                                     enum connector_outcome_kind kind) {
    if (answer->error == NET_CANCELLED) /* by who lost patience, or because the hub stops */
        return answer->elapsed_us >= call->request.timeout_ms * 1000 ? BREAKER_BAD : BREAKER_SAYS_NOTHING;
    if (answer->error == NET_FAILED)
        return BREAKER_SAYS_NOTHING;
    if (answer->error == NET_TOO_LARGE)
        return BREAKER_GOOD;
    return kind == OUTCOME_UNREACHABLE || kind == OUTCOME_AMBIGUOUS ? BREAKER_BAD : BREAKER_GOOD;
}

static struct str end_cause(struct gate *gate, const struct net_answer *answer) {
    if (answer->error != NET_OK)
        return arena_printf(&gate->arena, "%s: %s", net_error_name(answer->error), answer->detail);
    return arena_printf(&gate->arena, "status %d", answer->status);
}

/* Of a call that went. */
static void call_account(struct net_call *call, const struct net_answer *answer,
                         enum connector_outcome_kind kind, const struct json *body) {
    struct gate *gate = call->gate;
    struct accounts *accounts = gate->options.accounts;
    struct governor_time now = accounts_now(accounts);
    struct throttle_hint hint;
    int64_t retry_after_ms = net_answer_retry_after_ms(answer, now.wall_us);
    bool hinted = answer->error == NET_OK && ((body && throttle_cost(body, &hint)) ||
                                              throttle_headers(answer, now.wall_us, &hint));
    enum governor_end end = answer->error != NET_OK            ? GOVERNOR_NOTHING
                            : kind == OUTCOME_THROTTLED        ? GOVERNOR_TOO_MUCH
                            : kind == OUTCOME_UNREACHABLE      ? GOVERNOR_NOTHING
                                                               : GOVERNOR_DONE;
    enum breaker_end good = breaker_says(call, answer, kind);
    struct str cause = good == BREAKER_BAD ? end_cause(gate, answer) : STR_NONE;
    pthread_mutex_lock(&accounts->lock);
    governor_end(&call->account->governor, end, call->began_us, retry_after_ms, hinted ? &hint : NULL,
                 accounts->options.rng, now);
    endpoint_end(accounts, call->endpoint, call->probe, call->began_us, good, retry_after_ms, cause);
    call->account->calls[kind]++;
    account_dispatch(call->gate, call->account);
    pthread_mutex_unlock(&accounts->lock);
}

static void call_done(void *ctx, const struct net_answer *answer) {
    struct net_call *call = ctx;
    struct gate *gate = call->gate;
    struct net_answer told = *answer;
    const struct json *body = NULL;
    call->inner = NULL;
    if (call->state == CALL_SENT) {
        told.means = (uint8_t)outcome_judge(call->request.outcome, answer, gate->parser, &gate->arena, &body);
        told.judged = call->request.outcome != NULL;
        call_account(call, answer, (enum connector_outcome_kind)told.means, body);
        arena_reset(&gate->arena);
    }
    call->done(call->ctx, &told);
    call_give_back(call);
}

/* It never went. */
static void call_undo(struct net_call *call) {
    struct accounts *accounts = call->gate->options.accounts;
    pthread_mutex_lock(&accounts->lock);
    governor_end(&call->account->governor, GOVERNOR_NOTHING, call->began_us, -1, NULL, accounts->options.rng,
                 accounts_now(accounts));
    endpoint_end(accounts, call->endpoint, call->probe, call->began_us, BREAKER_SAYS_NOTHING, -1, STR_NONE);
    account_dispatch(call->gate, call->account);
    pthread_mutex_unlock(&accounts->lock);
}

static void call_fail(struct net_call *call, enum net_error error, const char *why) {
    char seconds[24];
    struct net_header header = {STR("Retry-After"), STR_NONE};
    struct net_answer answer = {.error = error, .judged = true, .means = OUTCOME_UNREACHABLE};
    snprintf(answer.detail, sizeof answer.detail, "%s", why);
    if (error == NET_CLOSED) {
        int len = snprintf(seconds, sizeof seconds, "%lld.%03d", (long long)(call->closed_ms / 1000),
                           (int)(call->closed_ms % 1000));
        header.value = str_of(seconds, (size_t)len);
        answer.headers = &header;
        answer.header_count = 1;
    }
    call->done(call->ctx, &answer);
    call_give_back(call);
}

/* --- the net -------------------------------------------------------------------------------------------------- */

static enum err call_go(struct net_call *call, struct fault *fault) {
    call->state = call->account ? CALL_SENT : CALL_FREE_PASS;
    return net_send(call->gate->options.net, &call->request, call_done, call, &call->inner, fault);
}

/* OK: it goes, waits, or will end. */
static enum err call_enter(struct net_call *call, bool *go, struct fault *fault) {
    struct accounts *accounts = call->gate->options.accounts;
    const struct net_request *request = &call->request;
    *go = true;
    if (!request->connector)
        return OK;
    pthread_mutex_lock(&accounts->lock);
    struct governor_time now = accounts_now(accounts);
    struct account *account = call->account = account_of(accounts, request->connector);
    call->endpoint = account ? endpoint_of(accounts, account, request->url) : NULL;
    if (!call->endpoint) {
        pthread_mutex_unlock(&accounts->lock);
        return fault_set(fault, ERR_NOMEM, "no memory for an outgoing call");
    }
    call->flow = request->flow ? request->flow : &account->own[NET_LEDGER];
    if (call->flow->first && call->flow->account != account)
        call->flow = &account->own[call->flow->class]; /* its owner has moved, and others of it still wait */
    int64_t due_us;
    enum governor_says says = account_ask(accounts, account, now, &due_us);
    if (account->waiting == 0 && says == GOVERNOR_GO) {
        *go = call_admit(accounts, call, now);
    } else if (!breaker_lets(&call->endpoint->breaker, now.tick_us)) {
        *go = call_admit(accounts, call, now);
        must(!*go);
    } else {
        *go = false;
        flow_wait(call);
        account_dispatch(call->gate, account);
    }
    pthread_mutex_unlock(&accounts->lock);
    return OK;
}

static enum err gate_send(struct net *base, const struct net_request *request, net_done *done, void *ctx,
                          struct net_call **out, struct fault *fault) {
    struct gate *gate = (struct gate *)base;
    bool go;
    if (gate->closing)
        return fault_set(fault, ERR_UNAVAILABLE, "the hub stops");
    struct net_call *call = call_take(gate);
    if (!call)
        return fault_set(fault, ERR_NOMEM, "no memory for an outgoing call");
    call->request = *request;
    call->done = done;
    call->ctx = ctx;
    enum err err = call_enter(call, &go, fault);
    if (err == OK && go && (err = call_go(call, fault)) != OK && call->account)
        call_undo(call);
    if (err != OK)
        call_give_back(call);
    else if (out)
        *out = call;
    return err;
}

/* Under the lock. */
static void inbox_leave(struct net_call *call) {
    struct gate *gate = call->gate;
    struct net_call **at = &gate->inbox, *before = NULL;
    while (*at != call) {
        before = *at;
        at = &before->line;
    }
    *at = call->line;
    if (gate->inbox_last == call)
        gate->inbox_last = before;
}

/* Out of what it waits in. */
static void call_leave(struct net_call *call) {
    struct accounts *accounts = call->gate->options.accounts;
    pthread_mutex_lock(&accounts->lock);
    bool granted = call->state == CALL_GRANTED;
    if (call->state == CALL_WAITS)
        flow_leave(call);
    else
        inbox_leave(call);
    pthread_mutex_unlock(&accounts->lock);
    if (granted)
        call_undo(call);
}

static void gate_cancel(struct net *base, struct net_call *call) {
    struct gate *gate = (struct gate *)base;
    if (call->inner) {
        net_cancel(gate->options.net, call->inner);
        return;
    }
    call_leave(call);
    call_fail(call, NET_CANCELLED, GATE_NO_TURN);
}

/* Without `own`, whoever owns the net around which this one is has ended its calls: what is left is
 * abandoned. */
static void gate_close(struct net *base) {
    struct gate *gate = (struct gate *)base;
    gate->closing = true;
    if (gate->options.own)
        net_close(gate->options.net); /* ends what was sent */
    while (gate->options.own && gate->calls)
        gate_cancel(base, gate->calls);
    while (gate->calls) {
        if (gate->calls->state == CALL_SENT)
            call_undo(gate->calls);
        else if (gate->calls->state != CALL_FREE_PASS)
            call_leave(gate->calls);
        call_give_back(gate->calls);
    }
    while (gate->free) {
        struct net_call *call = gate->free;
        gate->free = call->next;
        mem_free(call);
    }
    accounts_user_remove(gate->options.accounts, &gate->user);
    json_parser_destroy(gate->parser);
    arena_free(&gate->arena);
    mem_free(gate);
}

void gate_drain(struct net *base) {
    struct gate *gate = (struct gate *)base;
    struct net_call *call = gate->calls;
    while (call) {
        struct net_call *next = call->next;
        if (!call->inner && call->state != CALL_FREE_PASS) {
            gate_cancel(base, call);
            next = gate->calls; /* others may have begun or ended */
        }
        call = next;
    }
}

static const struct net_ops gate_ops = {.send = gate_send, .cancel = gate_cancel, .close = gate_close};

/* --- time ------------------------------------------------------------------------------------------------------- */

static struct net_call *inbox_take(struct gate *gate) {
    struct accounts *accounts = gate->options.accounts;
    pthread_mutex_lock(&accounts->lock);
    struct net_call *call = gate->inbox;
    if (call) {
        gate->inbox = call->line;
        if (!gate->inbox)
            gate->inbox_last = NULL;
    }
    pthread_mutex_unlock(&accounts->lock);
    return call;
}

/* What was answered since its turn came may forbid that it goes now. */
static bool grant_over(struct net_call *call) {
    struct accounts *accounts = call->gate->options.accounts;
    const struct breaker *breaker = &call->endpoint->breaker;
    pthread_mutex_lock(&accounts->lock);
    int64_t now_us = clock_tick_us(accounts->options.clock), until_us = call->account->governor.pause_us;
    bool broken = breaker->open && !call->probe, over = broken || now_us < until_us;
    if (broken) {
        int64_t due_us = breaker_due_us(breaker);
        until_us = due_us == INT64_MAX ? now_us + call->account->breaker.first_ms * 1000 : due_us;
    }
    if (over) {
        call->why = broken ? left_alone : shut_words(GOVERNOR_PAUSED);
        call->closed_ms = until_us > now_us ? (until_us - now_us + 999) / 1000 : 0;
        call->account->closed++;
    }
    pthread_mutex_unlock(&accounts->lock);
    return over;
}

void gate_step(struct net *base) {
    struct gate *gate = (struct gate *)base;
    struct accounts *accounts = gate->options.accounts;
    pthread_mutex_lock(&accounts->lock);
    int64_t now_us = clock_tick_us(accounts->options.clock);
    for (struct net_call *call = gate->user.waiting > 0 ? gate->calls : NULL; call; call = call->next)
        if (call->state == CALL_WAITS && call->account->due_us <= now_us)
            account_dispatch(gate, call->account);
    pthread_mutex_unlock(&accounts->lock);
    /* one by one: what ends one call may cancel another */
    for (struct net_call *call; (call = inbox_take(gate)) != NULL;) {
        struct fault fault = {0};
        if (call->state == CALL_CLOSED) {
            call_fail(call, NET_CLOSED, call->why);
        } else if (grant_over(call)) {
            call_undo(call);
            call_fail(call, NET_CLOSED, call->why);
        } else if (call->request.wanted && !call->request.wanted(call->request.wanted_ctx)) {
            call_undo(call);
            call_fail(call, NET_CLOSED, "it is not wanted any more, as it is");
        } else if (call_go(call, &fault) != OK) {
            call_undo(call);
            call_fail(call, NET_FAILED, fault.detail);
        }
    }
}

int64_t gate_next_us(struct net *base) {
    struct gate *gate = (struct gate *)base;
    struct accounts *accounts = gate->options.accounts;
    int64_t next = INT64_MAX;
    pthread_mutex_lock(&accounts->lock);
    if (gate->inbox)
        next = clock_tick_us(accounts->options.clock);
    for (const struct net_call *call = gate->user.waiting > 0 ? gate->calls : NULL; call; call = call->next)
        if (call->state == CALL_WAITS && call->account->due_us < next)
            next = call->account->due_us;
    pthread_mutex_unlock(&accounts->lock);
    return next;
}

enum err gate_create(const struct gate_options *options, struct net **out, struct fault *fault) {
    struct gate *gate = mem_zalloc(sizeof *gate);
    struct json_parser *parser = json_parser_create();
    if (!gate || !parser) {
        mem_free(gate);
        json_parser_destroy(parser);
        return fault_set(fault, ERR_NOMEM, "no memory for outgoing calls");
    }
    gate->net.ops = &gate_ops;
    gate->options = *options;
    gate->user = (struct accounts_user){.wake = options->wake, .wake_ctx = options->wake_ctx};
    gate->parser = parser;
    arena_init(&gate->arena, (size_t)32 << 20);
    accounts_user_add(options->accounts, &gate->user);
    *out = &gate->net;
    return OK;
}
