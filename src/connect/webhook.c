/* webhook: see webhook.h. Pure but for memory. */
#include "connect/webhook.h"

#include "base/mem.h"
#include "base/planted.h"
#include "connect/account.h"
#include "connect/connector_priv.h"
#include "connect/outcome.h"
#include "connect/signature.h"

#define S INT64_C(1000)
#define MIN (60 * S)
#define H (60 * MIN)
const int64_t webhook_pauses_ms[] = {5 * S,  5 * MIN, 30 * MIN, 2 * H,  5 * H,
                                     10 * H, 14 * H,  20 * H,   24 * H};
const uint32_t webhook_pause_count = sizeof webhook_pauses_ms / sizeof *webhook_pauses_ms;

bool webhook_wants_key(const struct webhook *webhook, struct str subject) {
    for (uint32_t i = 0; i < webhook->key_count; i++) {
        struct str want = webhook->keys[i];
        bool open = want.len > 0 && want.ptr[want.len - 1] == '*';
        if (open ? str_starts(subject, str_of(want.ptr, want.len - 1)) : str_eq(want, subject))
            return true;
    }
    return webhook->key_count == 0;
}

enum err webhook_sign(const struct webhook *webhook, struct str id, int64_t now_us, struct str body,
                      struct buf *out, struct fault *fault) {
    enum err err = OK;
    bool any = false;
    for (uint32_t i = webhook->secret_count; i > 0 && err == OK; i--) {
        const struct webhook_secret *one = &webhook->secrets[i - 1];
        if (one->until_us != 0 && one->until_us <= now_us && !PLANTED(SECRET_KEPT))
            continue;
        if (any)
            buf_char(out, ' ');
        any = true;
        err = signature_write(SIGNATURE_STANDARD_WEBHOOKS, one->secret, id, now_us / 1000000, body, out,
                              fault);
    }
    return err != OK || any ? err : fault_set(fault, ERR_INTERNAL, "there is no secret to sign with");
}

/* --- as a connector -------------------------------------------------------------------------- */

static bool texts_copy(struct arena *arena, const struct str *from, uint32_t count,
                       const struct str **out) {
    struct str *to = arena_array(arena, count + 1, sizeof *to);
    bool good = to != NULL;
    for (uint32_t i = 0; i < count && good; i++) {
        to[i] = arena_str(arena, from[i]);
        good = to[i].ptr != NULL;
    }
    *out = to;
    return good;
}

static struct webhook *webhook_copy(struct arena *arena, const struct webhook *from) {
    struct webhook *to = arena_new(arena, struct webhook);
    if (!to)
        return NULL;
    *to = *from;
    to->name = arena_str(arena, from->name);
    bool good = to->name.ptr && texts_copy(arena, from->keys, from->key_count, &to->keys);
    for (uint32_t i = 0; i < from->secret_count && good; i++) {
        to->secrets[i].secret = arena_str(arena, from->secrets[i].secret);
        good = to->secrets[i].secret.ptr != NULL;
    }
    return good ? to : NULL;
}

static bool send_fill(struct arena *arena, const struct webhook_given *given,
                      struct connector_send *send) {
    struct connector_request *request = arena_new(arena, struct connector_request);
    struct connector_outcome *outcome = arena_new(arena, struct connector_outcome);
    struct connector_retry *retry = arena_new(arena, struct connector_retry);
    struct connector_limits *limits = arena_new(arena, struct connector_limits);
    struct connector_header *header = arena_new(arena, struct connector_header);
    const struct str *events;
    if (!request || !outcome || !retry || !limits || !header ||
        !texts_copy(arena, given->events, given->event_count, &events))
        return false;
    outcome_usual(outcome, false);
    for (int status = 0; status < 600; status++)
        if (outcome->kind[status] == OUTCOME_FINAL || outcome->kind[status] == OUTCOME_AMBIGUOUS)
            outcome->kind[status] = OUTCOME_RETRYABLE;
    bool pull = given->webhook.pull;
    *retry = (struct connector_retry){.first_ms = S, .max_ms = pull ? MIN : 24 * H, .factor = 2,
                                      .jitter = pull ? JITTER_NONE : JITTER_FULL,
                                      .attempts_max = given->attempts_max};
    *limits = (struct connector_limits){.concurrency = given->concurrency};
    *header = (struct connector_header){STR("Content-Type"), STR("application/cloudevents+json")};
    *request = (struct connector_request){.method = STR("POST"), .headers = header, .header_count = 1,
                                          .url = arena_str(arena, given->url)};
    *send = (struct connector_send){
        .subscription = arena_str(arena, given->subscription),
        .enabled = given->enabled,
        .events = {(void *)(uintptr_t)events, given->event_count},
        .key = SEND_KEY_SUBJECT,
        .personal = given->personal,
        .request = request,
        .outcome = outcome,
        .retry = retry,
        .limits = limits,
        .timeout_ms = given->timeout_ms,
        .webhook = webhook_copy(arena, &given->webhook)};
    return send->subscription.ptr && send->webhook && (request->url.ptr || !given->url.ptr);
}

enum err webhook_connector(const struct webhook_given *given, const struct connector **out,
                           struct fault *fault) {
    struct connector_own *own = mem_zalloc(sizeof *own);
    *out = NULL;
    if (!own)
        return fault_set(fault, ERR_NOMEM, "no memory for a subscription");
    arena_init(&own->arena, 0);
    own->users = 1;
    struct connector *connector = own->connector = arena_new(&own->arena, struct connector);
    struct connector_send *send = arena_new(&own->arena, struct connector_send);
    struct connector_account *account = arena_new(&own->arena, struct connector_account);
    struct account_breaker *breaker = arena_new(&own->arena, struct account_breaker);
    if (connector && send && account && breaker && send_fill(&own->arena, given, send)) {
        connector->name = connector->version = send->webhook->name;
        connector->owner = given->owner.ptr ? arena_str(&own->arena, given->owner) : STR_NONE;
        connector->send = (struct shape_list){send, 1};
        connector->own = own;
        send->connector = connector;
        breaker->max_ms = WEBHOOK_PROBE_MAX_MS;
        account->breaker = breaker;
        connector->account = account;
        *out = connector;
        return OK;
    }
    connector_own_free(own);
    return fault_set(fault, ERR_NOMEM, "no memory for a subscription");
}
