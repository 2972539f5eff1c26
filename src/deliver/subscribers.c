/* subscribers: see subscribers.h. */
#include "deliver/subscribers.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/planted.h"
#include "connect/webhook.h"
#include "deliver/attempt_span.h"
#include "domain/subscribers.h"

/* --- which there are ------------------------------------------------------------------------- */

static bool present(const struct deliver *d) {
    if (d->options.core == NULL)
        return false;
    const struct capability *const *all = registry_capabilities(core_registry(d->options.core));
    while (*all != NULL && *all != &subscribers_capability)
        all++;
    return *all != NULL;
}

static enum err made_new(const struct deliver *d, const struct subscriber_entry *entry,
                         const struct connector **out, struct fault *fault) {
    const struct settings *settings = &d->options.config->settings;
    const struct subscriber *doc = &entry->doc;
    struct webhook_given given = {
        .subscription = doc->delivery, .owner = doc->owner, .url = doc->url,
        .events = doc->events.items, .event_count = doc->events.count,
        .enabled = true, .personal = doc->personal,
        .concurrency = doc->kind == SUBSCRIBER_PULL ? settings->pull_leases_max
                                                    : settings->webhook_concurrency,
        .timeout_ms = settings->webhook_timeout_ms,
        .attempts_max = doc->kind == SUBSCRIBER_PULL ? settings->pull_deliveries_max
                                                      : settings->webhook_attempts_max,
        .webhook = {.name = doc->name, .after = (uint64_t)doc->after,
                    .changed_us = doc->changed_at.us, .keys = doc->keys.items,
                    .key_count = doc->keys.count, .guarded = !settings->webhooks_private,
                    .pull = doc->kind == SUBSCRIBER_PULL}};
    struct arena arena;
    enum err err = OK;
    arena_init(&arena, 0);
    for (uint32_t i = 0; i < doc->secrets.count && i < WEBHOOK_SECRETS_MAX && err == OK; i++) {
        const struct subscriber_key *key = list_at(doc->secrets, struct subscriber_key, i);
        struct str secret = subscriber_secret_make(core_keyring(d->options.core), doc->delivery, key->id,
                                                   &arena);
        if (secret.ptr == NULL)
            err = fault_set(fault, ERR_NOMEM, "a webhook's secret can not be made");
        given.webhook.secrets[given.webhook.secret_count++] =
            (struct webhook_secret){secret, shape_has(key, SUBSCRIBER_KEY_UNTIL) ? key->until.us : 0};
    }
    if (err == OK)
        err = webhook_connector(&given, out, fault);
    arena_free(&arena);
    return err;
}

static const struct connector *made_before(const struct deliver *d, uint64_t seq) {
    for (uint32_t i = 0; i < d->made_count; i++)
        if (d->made[i].seq == seq)
            return d->made[i].connector;
    return NULL;
}

static void made_free(struct made *made, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        connector_release(made[i].connector);
    mem_free(made);
}

/* All or nothing: what can not be made now is tried again with the next round. */
enum err subscribers_look(struct deliver *d, bool *changed, struct fault *fault) {
    *changed = false;
    if (!present(d))
        return OK;
    const struct subscriber_entry **all = NULL;
    uint32_t count = 0;
    core_read_begin(d->options.core);
    const void *state = core_state(d->options.core, &subscribers_capability);
    uint64_t version = subscribers_version(state);
    enum err err = OK;
    if (version != d->made_version)
        err = subscribers_all(state, &all, &count);
    core_read_end(d->options.core);
    if (version == d->made_version || err != OK)
        return err != OK ? fault_set(fault, err, "no memory for the subscriptions") : OK;
    struct made *made = mem_zalloc((count + 1) * sizeof *made);
    uint32_t n = 0;
    err = made ? OK : fault_set(fault, ERR_NOMEM, "no memory for the subscriptions");
    for (uint32_t i = 0; i < count && err == OK; i++) {
        const struct connector *before = made_before(d, all[i]->seq);
        made[n].seq = all[i]->seq;
        if (before != NULL)
            made[n].connector = connector_take(before);
        else
            err = made_new(d, all[i], &made[n].connector, fault);
        n += err == OK;
    }
    for (uint32_t i = 0; i < count; i++)
        subscriber_release(all[i]);
    mem_free(all);
    if (err != OK) {
        made_free(made, n);
        return err;
    }
    made_free(d->made, d->made_count);
    d->made = made;
    d->made_count = n;
    d->made_version = version;
    *changed = true;
    return OK;
}

void subscribers_end(struct deliver *d) { made_free(d->made, d->made_count); }

static void purge_gone(void *ctx, struct str name) {
    struct deliver *d = ctx;
    const struct subscription *sub = subscription_named(d, name);
    if (sub != NULL && !sub->retired)
        return;
    log_line(LOG_INFO, "deliver", "what was kept of a subscription that is gone is thrown away",
             "subscription=%.*s", STR_FMT(name));
    progress_drop(d->progress, name);
}

enum err subscribers_purge(struct deliver *d, struct fault *fault) {
    struct arena arena;
    if (!present(d))
        return OK;
    arena_init(&arena, 0);
    enum err err = progress_made_visit(d->progress, &arena, purge_gone, d, fault);
    if (err == OK)
        err = progress_flush(d->progress, fault);
    arena_free(&arena);
    return err;
}

/* What nobody wants any more, once nothing of it is under way. */
static void forget_gone(struct deliver *d) {
    for (uint32_t i = 0; i < d->count; i++) {
        struct subscription *sub = d->subs[i];
        if (sub->send->webhook == NULL || !sub->retired || sub->out > 0 || sub->forgotten || d->failed)
            continue;
        pthread_mutex_lock(&d->lock);
        progress_drop(d->progress, sub->name);
        lanes_destroy(sub->lanes);
        sub->lanes = NULL;
        sub->forgotten = true;
        pthread_mutex_unlock(&d->lock);
    }
}

void subscribers_step(struct deliver *d) {
    struct fault fault = {0};
    bool changed = false;
    if (d->failed)
        return;
    enum err err = subscribers_look(d, &changed, &fault);
    if (err == OK && (changed || d->made_behind)) {
        pthread_mutex_lock(&d->lock);
        err = subscriptions_follow(d, d->options.connectors, &fault);
        pthread_mutex_unlock(&d->lock);
        d->made_behind = err != OK;
    }
    if (err != OK)
        log_line(LOG_ERROR, "deliver", "subscriptions can not be followed yet", "error=%s",
                 log_quote(str_c(fault.detail)));
    forget_gone(d);
}

void subscriber_rests(struct subscription *sub) {
    if (sub->send->webhook == NULL)
        return;
    sub->failing_us = 0;
    progress_failing_set(sub->deliver->progress, sub->name, 0);
}

int64_t subscriber_failing(const struct subscription *sub) {
    if (sub->send->webhook == NULL || sub->stop.stopped)
        return 0;
    int64_t since_us = progress_failing(sub->deliver->progress, sub->name);
    bool past = since_us >= sub->send->webhook->changed_us && since_us <= clock_now_us(sub->deliver->options.clock);
    return past ? since_us : 0;
}

void subscriber_changed(struct subscription *sub) {
    if (sub->send->webhook == NULL || !sub->send->enabled)
        return;
    sub->failing_us = 0; /* what is stored is older than this version */
    if (sub->lanes != NULL)
        lanes_hurry(sub->lanes);
    accounts_mended(sub->deliver->options.accounts, sub->send->connector, sub->send->request->url);
}

bool send_takes(const struct connector_send *send, const struct record *record) {
    return connector_wants(send, record->type) &&
           (send->webhook == NULL || webhook_wants_key(send->webhook, record->subject));
}

bool subscription_takes(const struct subscription *sub, const struct record *record) {
    const struct webhook *webhook = sub->send->webhook;
    if (webhook == NULL)
        return send_takes(sub->send, record);
    if (record->seq <= webhook->after)
        return false;
    if (str_is(record->type, EVENT_SUBSCRIBER_TESTED))
        return str_eq(record->subject, webhook->name);
    return send_takes(sub->send, record);
}

uint64_t subscription_after(const struct subscription *sub) {
    return sub->send->webhook != NULL ? sub->send->webhook->after : 0;
}

const int64_t *subscription_pauses(const struct connector_send *send, uint32_t *count) {
    *count = send->webhook != NULL && !send->webhook->pull ? webhook_pause_count : 0;
    return *count ? webhook_pauses_ms : NULL;
}

/* --- one request ----------------------------------------------------------------------------- */

enum err webhook_headers(struct attempt *attempt, struct str body, struct net_header *out,
                         uint32_t *count, struct fault *fault) {
    int64_t now_us = clock_now_us(attempt->deliver->options.clock);
    struct buf signatures;
    buf_init(&signatures, 4096);
    struct str id = attempt->again_id.ptr ? attempt->again_id : attempt->id;
    attempt->signed_us = now_us;
    if (PLANTED(WEBHOOK_ID) && attempt->job.attempt > 1)
        id = arena_printf(&attempt->arena, "%.*s-%u", STR_FMT(id), attempt->job.attempt);
    enum err err = webhook_sign(attempt->send->webhook, id, now_us, body, &signatures, fault);
    struct str signed_by = err == OK ? arena_str(&attempt->arena, buf_str(&signatures)) : STR_NONE;
    struct str seconds = arena_printf(&attempt->arena, "%lld", (long long)(now_us / 1000000));
    buf_free(&signatures);
    if (err == OK && (signed_by.ptr == NULL || seconds.ptr == NULL))
        err = fault_set(fault, ERR_NOMEM, "no memory for a signature");
    if (err != OK)
        return err;
    out[0] = (struct net_header){STR("webhook-id"), id};
    out[1] = (struct net_header){STR("webhook-timestamp"), seconds};
    out[2] = (struct net_header){STR("webhook-signature"), signed_by};
    *count = WEBHOOK_HEADERS;
    return OK;
}

/* Whoever takes it may refuse one that was signed five minutes ago. */
#define SIGNED_US_MAX INT64_C(60000000)

/* Others may have changed it since, or given it up, and this loop has not looked yet. */
bool webhook_wanted(void *ctx) {
    const struct attempt *attempt = ctx;
    const struct subscription *sub = attempt->sub;
    const struct deliver *d = attempt->deliver;
    int64_t age_us = clock_now_us(d->options.clock) - attempt->signed_us; /* either sign: clocks are set */
    if (attempt->send != sub->send || !subscription_goes(sub) || age_us > SIGNED_US_MAX || age_us < -SIGNED_US_MAX)
        return false;
    if (!present(d))
        return true;
    core_read_begin(d->options.core);
    uint64_t version = subscribers_version(core_state(d->options.core, &subscribers_capability));
    core_read_end(d->options.core);
    return version == d->made_version;
}

/* What an answer says. Whoever takes webhooks takes one twice: it has the id of the first. */
static enum lane_outcome outcome_of(const struct net_answer *answer) {
    if (answer->error != NET_OK)
        return answer->sent ? LANE_AMBIGUOUS : LANE_UNREACHABLE;
    if (answer->status >= 200 && answer->status < 300)
        return LANE_SUCCESS;
    switch (answer->status) {
    case 429: return LANE_THROTTLED;
    case 410:
    case 502:
    case 503: return LANE_UNREACHABLE;
    case 408:
    case 504: return LANE_AMBIGUOUS;
    default: return LANE_RETRYABLE;
    }
}

/* Since when it has failed is kept over restarts. */
static void failing_note(struct subscription *sub, int64_t since_us) {
    struct deliver *d = sub->deliver;
    if ((sub->failing_us == 0) == (since_us == 0) || d->failed || (since_us != 0 && sub->stop.stopped))
        return; /* no change, or it stands still: that counts against nobody */
    sub->failing_us = since_us;
    pthread_mutex_lock(&d->lock);
    progress_failing_set(d->progress, sub->name, since_us);
    pthread_mutex_unlock(&d->lock);
}

void webhook_done(void *ctx, const struct net_answer *answer) {
    struct attempt *attempt = ctx;
    struct subscription *sub = attempt->sub;
    struct deliver *d = attempt->deliver;
    int64_t now_us = clock_now_us(d->options.clock);
    int64_t patience_us = d->options.config->settings.webhook_stop_after_s * 1000000;
    attempt->call = NULL;
    histogram_us(&sub->call_us, answer->elapsed_us);
    attempt_called(attempt, attempt->send->request, answer);
    if (reach_turned_away(attempt, answer))
        return;
    enum lane_outcome outcome = outcome_of(answer);
    if (outcome == LANE_SUCCESS) {
        failing_note(sub, 0);
        attempt_done(attempt, STR_NONE, false);
        return;
    }
    if (answer->error == NET_CANCELLED) { /* our own doing */
        attempt_finish(attempt, LANE_AMBIGUOUS, -1, 0, STR("the hub stopped"));
        return;
    }
    if (sub->failing_us > now_us) /* the clock was set back */
        sub->failing_us = 0;
    failing_note(sub, now_us);
    struct str cause = attempt_cause(attempt, answer);
    pthread_mutex_lock(&d->lock);
    if (answer->status == 410 && !PLANTED(GONE_IGNORED))
        subscription_stop(sub, STOP_GONE, STR("the subscriber answered 410: it is gone"));
    else if (sub->failing_us != 0 && now_us - sub->failing_us >= patience_us && !PLANTED(DEAD_IGNORED))
        subscription_stop(sub, STOP_DEAD,
                          arena_printf(&attempt->arena, "nothing was taken for %lld s; at last: %.*s",
                                       (long long)((now_us - sub->failing_us) / 1000000), STR_FMT(cause)));
    pthread_mutex_unlock(&d->lock);
    attempt_finish(attempt, outcome, net_answer_retry_after_ms(answer, now_us), answer->status, cause);
}

/* --- recovering ------------------------------------------------------------------------------ */

#define RECOVER_MAX 10000
#define RECOVER_PAGE 256

struct recovering {
    struct str name;
    uint64_t seqs[RECOVER_PAGE];
    uint32_t count;
    uint64_t last;
};
static bool recover_row(void *ctx, const struct progress_row *row) {
    struct recovering *r = ctx;
    r->last = row->seq;
    if (progress_row_held(row))
        r->seqs[r->count++] = row->seq;
    return true;
}

static bool time_note(void *ctx, const struct record *record) {
    *(int64_t *)ctx = record->time_us;
    return false;
}

static bool recent(struct deliver *d, uint64_t seq, int64_t since_us) {
    int64_t at_us = 0;
    uint64_t next;
    struct fault fault = {0};
    return since_us == 0 ||
           (tail_read(d->options.tail, seq, 1, time_note, &at_us, &next, &fault) == OK &&
            at_us >= since_us);
}

enum err subscriber_recover(struct deliver *d, struct str delivery, uint64_t since_seq, int64_t since_us,
                            struct str by, uint64_t *recovered, bool *more, struct fault *fault) {
    struct recovering r = {.last = since_seq > 0 ? since_seq - 1 : 0};
    enum err err = OK;
    bool full = true;
    *recovered = 0;
    *more = false;
    while (err == OK && full && !*more) {
        uint64_t from = r.last;
        r.count = 0;
        pthread_mutex_lock(&d->lock);
        err = progress_rows(d->progress, delivery, delivery, from, true, RECOVER_PAGE, recover_row, &r,
                            fault);
        pthread_mutex_unlock(&d->lock);
        full = r.last != from;
        for (uint32_t i = 0; i < r.count && err == OK && !*more; i++) {
            if (!recent(d, r.seqs[i], since_us) || (PLANTED(RECOVER_FIRST) && i == 0))
                continue;
            *more = *recovered >= RECOVER_MAX;
            struct fault one = {0};
            enum err gone = *more ? OK : deliver_retry(d, delivery, r.seqs[i], by, STR("recovered"), &one);
            if (gone == OK)
                *recovered += !*more;
            else if (gone != ERR_NOT_FOUND && gone != ERR_CONFLICT)
                err = fault_set(fault, gone, "%s", one.detail);
        }
    }
    return err;
}
