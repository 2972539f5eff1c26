/* hook: the systems that get webhooks (deliver/subscribers.h): each refuses, throttles, is late, drops the
 * answer after doing the work, does it once more after nobody listens, says that it is gone, or is not there
 * for a while. It checks each signature with the secrets that its owner was told, and what it was sent and did
 * goes to the oracle.
 *
 * Always true: what it is sent it tells in the order in which it was sent. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/hmac.h>

#include "base/encode.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "hook.h"

#define LATE_US 2000000 /* it may be at work so long after nobody listens */
#define TOLERANCE_S 300

struct net_call {
    struct net_call *next;
    struct net_request request;
    net_done *done;
    void *ctx;
    struct hook_user *user;
    uint64_t number; /* of the address */
    uint64_t seq;    /* of the event */
    bool verified;
    int64_t until_us; /* the caller's time limit */
};
/* At work although nobody listens any more. */
struct hook_work {
    struct hook_work *next;
    uint64_t number, seq;
    int64_t due_us;
};

static const char *const names[HOOK_USERS] = {"web-a", "web-b"};

bool hooks_has(struct str subscription) {
    for (size_t i = 0; i < HOOK_USERS; i++)
        if (str_starts(subscription, str_c(names[i])) && subscription.len > strlen(names[i]) &&
            subscription.ptr[strlen(names[i])] == ':')
            return true;
    return false;
}

/* Delivery goes back to what is on disk, and notes nothing until then: as where a life begins. */
void hooks_watch(struct sim *sim) {
    struct hooks *hooks = sim->hooks;
    bool failed = sim->deliver && sim->deliver->failed;
    if (failed != hooks->failed)
        observe_line(sim, STR("{\"hook_life\":{}}"));
    hooks->failed = failed;
}

/* --- what comes in -------------------------------------------------------------------------------- */

static struct str header_of(const struct net_request *request, const char *name) {
    for (uint32_t i = 0; i < request->header_count; i++)
        if (str_eq_nocase(request->headers[i].name, str_c(name)))
            return request->headers[i].value;
    return STR("");
}

/* Standard Webhooks 1.0, "Symmetric": HMAC-SHA256 over id.timestamp.body. */
static void sign(struct arena *arena, const struct hook_secret *secret, const struct net_request *request,
                 struct buf *out) {
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    struct str key = base64_read(arena, str_c(secret->text + strlen("whsec_")));
    struct buf text;
    buf_init(&text, 0);
    buf_printf(&text, "%.*s.%.*s.", STR_FMT(header_of(request, "webhook-id")),
               STR_FMT(header_of(request, "webhook-timestamp")));
    buf_str_add(&text, request->body);
    must(key.ptr && HMAC(EVP_sha256(), key.ptr, (int)key.len, (const unsigned char *)text.data, text.len, mac, &len));
    buf_clear(out);
    buf_lit(out, "v1,");
    base64_write(out, str_of((const char *)mac, len));
    buf_free(&text);
}

/* Ids of the secrets that fit, as members of a list; answers how many signatures there are. */
static uint32_t signatures_tell(struct hooks *hooks, struct net_call *call, struct buf *ids) {
    struct str all = header_of(&call->request, "webhook-signature");
    uint32_t count = 0;
    struct buf wanted;
    buf_init(&wanted, 0);
    for (uint32_t i = 0; i < HOOK_SECRETS && hook_secret_at(call->user, i); i++) {
        const struct hook_secret *secret = hook_secret_at(call->user, i);
        sign(&hooks->arena, secret, &call->request, &wanted);
        for (struct str rest = all; rest.ptr;)
            if (str_eq(str_cut(&rest, ' '), buf_str(&wanted))) {
                buf_printf(ids, "%s\"%s\"", call->verified ? "," : "", secret->id);
                call->verified = true;
            }
    }
    for (struct str rest = all; rest.ptr && all.len > 0; count++)
        (void)str_cut(&rest, ' ');
    buf_free(&wanted);
    return count;
}

static const char *yes(bool is) { return is ? "true" : "false"; }

static bool body_has(const struct net_call *call, const char *text) {
    return memmem(call->request.body.ptr, call->request.body.len, text, strlen(text)) != NULL;
}

static void arrived(struct hooks *hooks, struct net_call *call) {
    struct sim *sim = hooks->sim;
    const struct json *doc;
    struct fault fault = {0};
    int64_t seconds = 0, seq = 0;
    struct str id = header_of(&call->request, "webhook-id");
    bool edited = body_has(call, EDITED_MARK);
    arena_reset(&hooks->arena);
    hooks_watch(sim);
    if (json_parse(sim->parser, &hooks->arena, call->request.body, false, &doc, &fault) != OK ||
        doc->kind != JSON_OBJECT || !json_i64(json_member(doc, STR("penstockseq")), &seq))
        violate(sim, "hook-body", "%s was sent no event: %s", call->user->name, fault.detail);
    if (!edited && !str_eq(json_member_str(doc, STR("id")), id))
        violate(sim, "hook-body", "%s: webhook-id %.*s, and the event is %.*s", call->user->name, STR_FMT(id),
                STR_FMT(json_member_str(doc, STR("id"))));
    if (!str_i64(header_of(&call->request, "webhook-timestamp"), &seconds) ||
        llabs((long long)(seconds - sim->now_us / 1000000)) > TOLERANCE_S)
        violate(sim, "hook-body", "%s: %.*s was signed at %lld", call->user->name, STR_FMT(id), (long long)seconds);
    call->seq = (uint64_t)seq;
    struct buf ids;
    buf_init(&ids, 0);
    uint32_t count = signatures_tell(hooks, call, &ids);
    buf_char(&ids, '\0');
    uint64_t asked = core_seq(sim->core);
    const struct connector_send *send = list_at(call->request.connector->send, struct connector_send, 0);
    char delivery[64];
    snprintf(delivery, sizeof delivery, "%.*s", STR_FMT(send->subscription));
    held_edited(sim, delivery, call->seq, asked, call->request.body);
    observe(sim, "{\"hook_call\":{\"hook\":\"%llu\",\"id\":\"%.*s\",\"seq\":%llu,\"asked\":%llu,\"wall_us\":%lld,"
            "\"signed_us\":%lld,\"hash\":\"%016llx\",\"personal\":%s,\"edited\":%s,\"signed\":[%s],\"signatures\":%u}}",
            (unsigned long long)call->number, STR_FMT(id), (unsigned long long)seq, (unsigned long long)asked,
            (long long)sim->now_us, (long long)seconds * 1000000, (unsigned long long)hash64(call->request.body, 0),
            yes(body_has(call, "@example.net")), yes(edited), ids.data, count);
    buf_free(&ids);
}

/* --- calls ------------------------------------------------------------------------------------------ */

static struct hook_user *user_of(struct hooks *hooks, struct str url) {
    struct str https = STR("https://");
    for (int i = 0; str_starts(url, https) && i < HOOK_USERS; i++)
        if (str_starts(str_of(url.ptr + https.len, url.len - https.len), str_c(hooks->users[i].name)))
            return &hooks->users[i];
    return NULL;
}

static enum err hook_send(struct net *net, const struct net_request *request, net_done *done, void *ctx,
                          struct net_call **out, struct fault *fault) {
    struct hooks *hooks = (struct hooks *)net;
    struct hook_user *user = user_of(hooks, request->url);
    struct str number = request->url;
    if (!user)
        return net_send(hooks->others, request, done, ctx, out, fault);
    if (hooks->closing)
        return fault_set(fault, ERR_UNAVAILABLE, "the hub ends");
    struct net_call *call = mem_zalloc(sizeof *call), **end = &hooks->calls;
    must(call);
    *call = (struct net_call){.request = *request, .done = done, .ctx = ctx, .user = user,
                              .until_us = hooks->sim->tick_us + request->timeout_ms * 1000};
    const char *at = memrchr(number.ptr, '/', number.len);
    must(at && str_u64(str_of(at + 1, (size_t)(number.ptr + number.len - at - 1)), &call->number));
    arrived(hooks, call);
    while (*end)
        end = &(*end)->next;
    *end = call;
    hooks->call_count++;
    hooks->sim->result->calls++;
    if (out)
        *out = call;
    return OK;
}

static void call_end(struct hooks *hooks, struct net_call *call, const struct net_answer *answer) {
    struct net_call **at = &hooks->calls;
    while (*at != call)
        at = &(*at)->next;
    *at = call->next;
    hooks->call_count--;
    if (answer->error != NET_CANCELLED)
        observe(hooks->sim, "{\"hook_answer\":{\"hook\":\"%llu\",\"status\":%d,\"wall_us\":%lld}}",
                (unsigned long long)call->number, answer->error == NET_OK ? answer->status : 0,
                (long long)hooks->sim->now_us);
    call->done(call->ctx, answer);
    mem_free(call);
    calls_wake(hooks->sim);
}

static void hook_cancel(struct net *net, struct net_call *call) {
    struct hooks *hooks = (struct hooks *)net;
    struct net_answer gone = {.error = NET_CANCELLED, .sent = true, .detail = "cancelled"};
    for (struct net_call *at = hooks->calls; at; at = at->next)
        if (at == call) {
            call_end(hooks, call, &gone);
            return;
        }
    net_cancel(hooks->others, call);
}
static const struct net_ops hook_ops = {.send = hook_send, .cancel = hook_cancel};

/* --- the work ----------------------------------------------------------------------------------------- */

static void apply(struct hooks *hooks, uint64_t number, uint64_t seq) {
    hooks->sim->result->effects++;
    observe(hooks->sim, "{\"hook_applied\":{\"hook\":\"%llu\",\"seq\":%llu}}", (unsigned long long)number,
            (unsigned long long)seq);
}

static void haunt(struct hooks *hooks, const struct net_call *call) {
    struct hook_work *ghost = mem_zalloc(sizeof *ghost);
    must(ghost);
    *ghost = (struct hook_work){.next = hooks->ghosts, .number = call->number, .seq = call->seq,
                                .due_us = hooks->sim->tick_us + (int64_t)chance(hooks->sim, LATE_US)};
    hooks->ghosts = ghost;
}

void hooks_work(struct sim *sim) {
    struct hooks *hooks = sim->hooks;
    for (struct hook_work **at = &hooks->ghosts; *at;) {
        struct hook_work *ghost = *at;
        if (ghost->due_us > sim->tick_us) {
            at = &ghost->next;
            continue;
        }
        *at = ghost->next;
        apply(hooks, ghost->number, ghost->seq);
        mem_free(ghost);
    }
}

static void too_much(struct hooks *hooks, struct net_call *call) {
    char seconds[24];
    snprintf(seconds, sizeof seconds, "%u", 1 + (unsigned)chance(hooks->sim, 20));
    struct net_header wait = {STR("Retry-After"), str_c(seconds)};
    struct net_answer answer = {.sent = true, .status = 429, .headers = &wait,
                                .header_count = chance(hooks->sim, 3) > 0};
    call_end(hooks, call, &answer);
}

/* By 100ths, in the order they are listed. */
static void answer(struct hooks *hooks, struct net_call *call) {
    static const int statuses[] = {500, 503, 404, 301, 422, 502, 504, 408};
    struct sim *sim = hooks->sim;
    uint64_t luck = hooks->well ? 99 : chance(sim, 100);
    struct net_answer said = {.sent = true, .status = 204};
    if (!call->verified) {
        said.status = 401;
    } else if (sim->tick_us < call->user->bad_until_us) {
        said.status = 500;
    } else if (luck < 12) {
        said.status = statuses[chance(sim, sizeof statuses / sizeof *statuses)];
        if (said.status == 502 || said.status == 504 || said.status == 408)
            haunt(hooks, call);
    } else if (luck < 15) {
        too_much(hooks, call);
        return;
    } else if (luck < 18) {
        said.status = 410;
    } else if (luck < 23) {
        haunt(hooks, call);
        said = (struct net_answer){.error = NET_TIMEOUT, .sent = true, .detail = "slow"};
    } else {
        apply(hooks, call->number, call->seq);
        if (luck < 26)
            haunt(hooks, call); /* and once more */
        else if (luck < 32)
            said = (struct net_answer){.error = NET_RESET, .sent = true, .detail = "reset"};
    }
    call_end(hooks, call, &said);
}

uint32_t hooks_calls(const struct sim *sim) { return sim->hooks->call_count; }

void hooks_answer(struct sim *sim) {
    struct hooks *hooks = sim->hooks;
    struct net_call *call = hooks->calls;
    struct net_answer refused = {.error = NET_REFUSED, .detail = "refused"};
    struct net_answer late = {.error = NET_TIMEOUT, .sent = true, .detail = "too late"};
    if (!call)
        return;
    hooks_watch(sim);
    for (uint64_t n = hooks->well ? 0 : chance(sim, hooks->call_count); n > 0; n--)
        call = call->next;
    if (sim->tick_us > call->until_us) {
        if (!hooks->well && chance(sim, 2) == 0)
            haunt(hooks, call);
        call_end(hooks, call, &late);
    } else if (sim->tick_us < call->user->down_until_us || (!hooks->well && chance(sim, 40) == 0)) {
        call_end(hooks, call, &refused);
    } else {
        answer(hooks, call);
    }
}

/* --- life ------------------------------------------------------------------------------------------- */

void hooks_step(struct sim *sim) {
    struct hooks *hooks = sim->hooks;
    struct hook_user *user = &hooks->users[chance(sim, HOOK_USERS)];
    uint64_t dice = chance(sim, 24);
    if (dice == 0) {
        user->down_until_us = sim->tick_us + (int64_t)chance(sim, 60000000);
        list_line(sim, "%s is down for %lld ms", user->name, (long long)(user->down_until_us - sim->tick_us) / 1000);
    } else if (dice <= 2) {
        user->bad_until_us = sim->tick_us + (int64_t)chance(sim, 3600000000);
        list_line(sim, "%s refuses everything for %lld ms", user->name,
                  (long long)(user->bad_until_us - sim->tick_us) / 1000);
    } else {
        hook_user_step(user);
    }
}

void hooks_heal(struct sim *sim) {
    sim->hooks->well = true;
    for (int i = 0; i < HOOK_USERS; i++)
        sim->hooks->users[i].down_until_us = sim->hooks->users[i].bad_until_us = 0;
}

bool hooks_settle(struct sim *sim) {
    bool rest = sim->hooks->call_count == 0;
    for (int i = 0; i < HOOK_USERS; i++)
        rest = hook_user_settle(&sim->hooks->users[i]) && rest;
    return rest;
}

void hooks_lose(struct sim *sim) {
    struct hooks *hooks = sim->hooks;
    hooks->closing = true;
    while (hooks->calls) {
        if (!hooks->well && hooks->calls->verified && chance(sim, 2) == 0)
            haunt(hooks, hooks->calls);
        hook_cancel(&hooks->net, hooks->calls);
    }
    hooks->closing = false;
}

void hooks_lost(struct sim *sim) {
    for (int i = 0; i < HOOK_USERS; i++)
        hook_user_lost(&sim->hooks->users[i]);
    observe_line(sim, STR("{\"hook_life\":{}}"));
}

struct net *hooks_net(struct hooks *hooks) { return &hooks->net; }

struct hooks *hooks_create(struct sim *sim, struct net *others) {
    struct hooks *hooks = mem_zalloc(sizeof *hooks);
    must(hooks);
    hooks->net.ops = &hook_ops;
    hooks->others = others;
    hooks->sim = sim;
    arena_init(&hooks->arena, 0);
    for (int i = 0; i < HOOK_USERS; i++)
        hook_user_init(&hooks->users[i], sim, names[i]);
    observe(sim, "{\"hook_policy\":{\"patience_us\":%lld}}",
            (long long)sim->config.settings.webhook_stop_after_s * 1000000);
    return hooks;
}

void hooks_destroy(struct hooks *hooks) {
    while (hooks->ghosts) {
        struct hook_work *ghost = hooks->ghosts;
        hooks->ghosts = ghost->next;
        mem_free(ghost);
    }
    for (int i = 0; i < HOOK_USERS; i++)
        arena_free(&hooks->users[i].arena);
    arena_free(&hooks->arena);
    mem_free(hooks);
}
