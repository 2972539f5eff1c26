/* attempt: one delivery on its way: read the event, look it up where it may have been sent
 * before, map it, send it, understand the answer, tell the journal, end the lane's turn.
 *
 * Owns attempts: each with an arena and buffers that are used again. An attempt that was
 * started ends exactly once, in attempt_finish or attempt_give_back. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/pan.h"
#include "base/planted.h"
#include "base/mem.h"
#include "connect/stream_url.h"
#include "deliver/attempt_span.h"
#include "deliver/batch.h"
#include "deliver/subscribers.h"
#include "connect/webhook.h"
#include "deliver/deliver_priv.h"
#include "domain/postings.h"

#define WORDS_MAX 65536 /* bytes of it that are looked at */

struct attempt *attempt_take(struct subscription *sub) {
    struct deliver *d = sub->deliver;
    struct attempt *attempt = d->free;
    if (attempt != NULL) {
        d->free = attempt->next;
    } else {
        attempt = mem_zalloc(sizeof *attempt);
        if (attempt == NULL)
            return NULL;
        arena_init(&attempt->arena, 0);
        buf_init(&attempt->text, 0);
        buf_init(&attempt->body, 0);
        buf_init(&attempt->url, 65536);
    }
    attempt->next = NULL;
    attempt->deliver = d;
    attempt->sub = sub;
    attempt->send = sub->send;
    connector_take(sub->send->connector);
    attempt->event = NULL;
    attempt->id = attempt->type = attempt->subject = attempt->data = STR_NONE;
    attempt->correlation = attempt->traceparent = attempt->again_id = STR_NONE;
    attempt->call = NULL;
    attempt->traced = false;
    attempt->found = attempt->confirming = attempt->edit_lost = false;
    attempt->patch = NULL;
    attempt->told = NULL;
    attempt->asked = attempt->suppressed = attempt->superseding = false;
    attempt->batch = NULL;
    attempt->document = attempt->previous = STR_NONE;
    attempt->wish = NULL;
    attempt->replay = 0;
    attempt->script = (struct script_run){0};
    attempt->look_count = 0;
    attempt->look_wanted = STR_NONE;
    attempt->job = (struct lane_job){.lane = LANE_NONE};
    d->out++;
    sub->out++;
    return attempt;
}

void attempt_give_back(struct attempt *attempt) {
    struct deliver *d = attempt->deliver;
    arena_reset(&attempt->arena);
    if (attempt->text.cap + attempt->body.cap > 524288) {
        /* one long document must not stay in memory for ever */
        buf_free(&attempt->text);
        buf_free(&attempt->body);
        buf_init(&attempt->text, 0);
        buf_init(&attempt->body, 0);
    }
    connector_release(attempt->send->connector);
    attempt->send = NULL;
    attempt->sub->out--;
    d->out--;
    attempt->next = d->free;
    d->free = attempt;
}

void attempt_free(struct attempt *attempt) {
    arena_free(&attempt->arena);
    buf_free(&attempt->text);
    buf_free(&attempt->body);
    buf_free(&attempt->url);
    mem_free(attempt);
}

/* --- small reading ----------------------------------------------------------------------- */

/* Text of a scalar, or absent. */
static struct str json_text(const struct json *value) {
    return value != NULL && (value->kind == JSON_STRING || value->kind == JSON_NUMBER) ? value->text
                                                                                       : STR_NONE;
}

/* What is personal goes to those systems alone whose subscription says so. */
struct keyring *attempt_keyring(const struct attempt *attempt) {
    return attempt->send->personal || PLANTED(PERSONAL_SENT) ? core_keyring(attempt->deliver->options.core) : NULL;
}

struct masking {
    struct attempt *attempt;
    struct str text;
};
static bool record_mask(void *ctx, const struct record *record) {
    struct masking *masking = ctx;
    struct attempt *attempt = masking->attempt;
    masking->text = seal_mask_event(attempt_keyring(attempt), record, masking->text,
                                    attempt->deliver->parser, &attempt->arena);
    return false;
}

/* What is said of a delivery is kept and shown; what it repeats of a person is not. */
static struct str masked(struct attempt *attempt, struct str text) {
    struct masking masking = {.attempt = attempt, .text = text};
    struct fault ignored = {0};
    uint64_t next;
    if (text.len && attempt->patch) /* whatever the subscription may see: a person has written it */
        masking.text = text = seal_mask_likely(text, attempt->patch, &attempt->arena);
    if (!text.len || !attempt_keyring(attempt))
        return text;
    if (tail_read(attempt->deliver->options.tail, attempt->job.seq, 1, record_mask, &masking,
                  &next, &ignored) != OK)
        return STR("…");
    return masking.text;
}

/* What the remote says went wrong: the member that most interfaces use for it, else the start
 * of the body. One line. */
struct str attempt_words(struct attempt *attempt, struct str words) {
    words = masked(attempt, words);
    if (words.len > DELIVER_CAUSE_MAX)
        words.len = DELIVER_CAUSE_MAX;
    words = arena_str(&attempt->arena, words);
    for (size_t i = 0; i < words.len; i++)
        if ((unsigned char)words.ptr[i] < ' ')
            ((char *)(uintptr_t)words.ptr)[i] = ' ';
    if (words.len > 0)
        pan_mask((char *)(uintptr_t)words.ptr, words.len);
    return words;
}

struct str attempt_cause(struct attempt *attempt, const struct net_answer *answer) {
    static const char *const members[] = {"/detail",     "/message",       "/error/message",
                                          "/error",      "/title",         "/errors/0/detail",
                                          "/errors/0/message", "/errors/0"};
    struct arena *arena = &attempt->arena;
    if (answer->error != NET_OK)
        return arena_printf(arena, "%s: %s", net_error_name(answer->error), answer->detail);
    const struct json *doc = NULL;
    struct str words = STR_NONE;
    struct fault fault = {0};
    if (answer->body.len > 0 && answer->body.len <= 65536 &&
        json_parse(attempt->deliver->parser, arena, answer->body, false, &doc, &fault) == OK)
        for (size_t i = 0; words.len == 0 && i < sizeof members / sizeof *members; i++)
            words = json_text(json_at(doc, str_c(members[i])));
    if (words.len == 0 && doc) { /* written anew: what was escaped shows as what it is */
        buf_clear(&attempt->body);
        json_write(&attempt->body, doc);
        words = arena_str(arena, buf_str(&attempt->body));
    }
    if (words.len == 0)
        words = answer->body.len > WORDS_MAX ? str_of(answer->body.ptr, WORDS_MAX) : answer->body;
    words = attempt_words(attempt, words);
    return arena_printf(arena, "status %d%s%.*s", answer->status, words.len ? ": " : "",
                        STR_FMT(words));
}

/* --- ending ------------------------------------------------------------------------------ */

void attempt_finish(struct attempt *attempt, enum lane_outcome outcome, int64_t retry_after_ms,
                    int status, struct str cause) {
    attempt_span_end(attempt, outcome);
    if (deliver_ended(attempt, outcome, retry_after_ms, status, cause))
        attempt_tell_hold(attempt, status, cause);
    else
        attempt_give_back(attempt);
}

/* Something of ours is wrong (memory, journal): try again by and by. */
void attempt_later(struct attempt *attempt, const struct fault *fault) {
    attempt_finish(attempt, LANE_RETRYABLE, -1, 0, arena_str(&attempt->arena, str_c(fault->detail)));
}

/* --- telling the journal ----------------------------------------------------------------- */

void attempt_submit(struct attempt *attempt) {
    struct deliver *d = attempt->deliver;
    struct fault fault = {0};
    if (core_submit(d->options.core, &attempt->command, &fault) == OK)
        return;
    attempt->again_us = clock_tick_us(d->options.clock) + DELIVER_AGAIN_MS * 1000;
    attempt->next = d->again;
    d->again = attempt;
}

/* The journal was told, or never will be. */
static void tell_end(struct attempt *attempt, enum err err) {
    attempt->deliver->telling--;
    if (attempt->told != NULL)
        attempt->told(attempt, err);
    if (attempt->replay != 0)
        replay_told(attempt, err);
    if (attempt->superseding && err != ERR_UNAVAILABLE) {
        struct deliver *d = attempt->deliver;
        struct subscription *sub = attempt->sub;
        uint64_t seq = attempt->job.seq;
        pthread_mutex_lock(&d->lock);
        if (!d->failed) /* its row alone */
            lanes_superseded(sub->lanes,
                             progress_supersede(d->progress, sub->name, attempt->job.key, seq - 1, seq + 1));
        pthread_mutex_unlock(&d->lock);
    }
    attempt_give_back(attempt);
}

void attempt_abandon(struct attempt *attempt) {
    if (attempt->stage == STAGE_TELL)
        tell_end(attempt, ERR_UNAVAILABLE);
    else
        attempt_finish(attempt, LANE_AMBIGUOUS, -1, 0, STR("the hub stopped"));
}

enum err attempt_command(struct attempt *attempt, const struct command_type *type, void *body,
                         uint64_t cause_seq, struct fault *fault) {
    struct deliver *d = attempt->deliver;
    struct command *command = &attempt->command;
    enum err err = command_prepare(d->options.core, type, &attempt->arena, body, command, fault);
    if (err != OK)
        return err;
    command->actor = arena_printf(&attempt->arena, "connector:%.*s",
                                  STR_FMT(attempt->send->connector->name));
    command->correlation = attempt->correlation;
    command->traceparent = attempt_trace(attempt);
    command->if_match = -1;
    command->cause_seq = cause_seq;
    command->origin = &d->origin;
    command->origin_ctx = attempt;
    return OK;
}

static void record_posting(struct attempt *attempt, struct str reference) {
    struct fault fault = {0};
    const struct connector_send *send = attempt->send;
    struct posting *posting = arena_new(&attempt->arena, struct posting);
    enum err err = posting ? OK : fault_set(&fault, ERR_NOMEM, "no memory for the posting");
    if (err == OK) {
        posting->subscription = send->subscription;
        posting->connector = send->connector->name;
        posting->event_seq = (int64_t)attempt->job.seq;
        posting->order_id = attempt->subject;
        posting->attempts = attempt->job.attempt;
        posting->found = attempt->found;
        posting->has = 1u << POSTING_SUBSCRIPTION | 1u << POSTING_CONNECTOR |
                       1u << POSTING_EVENT_SEQ | 1u << POSTING_ORDER_ID | 1u << POSTING_ATTEMPTS |
                       1u << POSTING_FOUND;
        if (send->source != NULL && !attempt->found) { /* found: another version may have made it */
            posting->mapping = send->source->name;
            posting->mapping_version = send->source->version;
            posting->has |= 1u << POSTING_MAPPING | 1u << POSTING_MAPPING_VERSION;
        }
        if (reference.len > 0) {
            posting->reference = arena_str(&attempt->arena, reference);
            shape_mark(posting, POSTING_REFERENCE);
        }
        err = attempt_command(attempt, &posting_record_command, posting, attempt->job.seq, &fault);
    }
    /* it is at the remote: whatever happens now, it must be looked up first */
    lanes_suspect(attempt->sub->lanes, attempt->job.lane, 0);
    if (err != OK) {
        attempt_later(attempt, &fault);
        return;
    }
    attempt->stage = STAGE_COMMAND;
    lanes_answered(attempt->sub->lanes, attempt->job.lane);
    attempt_submit(attempt);
}

void attempt_done(struct attempt *attempt, struct str reference, bool books) {
    /* A remote that gives numbers keeps books: what went there goes into the journal. */
    if (books && !PLANTED(POSTING_LOST))
        record_posting(attempt, reference);
    else
        attempt_finish(attempt, LANE_SUCCESS, -1, 0, STR_NONE);
}

void attempt_answered(struct attempt *attempt) {
    const struct answer *answer = &attempt->command.answer;
    bool again = answer->err != OK && err_info(answer->err)->disposition == RETRYABLE;
    if (again) {
        struct deliver *d = attempt->deliver;
        attempt->again_us = clock_tick_us(d->options.clock) + DELIVER_AGAIN_MS * 1000;
        attempt->next = d->again;
        d->again = attempt;
        return;
    }
    if (attempt->stage == STAGE_LOOK) {
        look_fetched(attempt);
        return;
    }
    if (answer->err != OK)
        log_line(LOG_ERROR, "deliver", "the journal refused what was told",
                 "subscription=%.*s command=%s error=%s correlation=%s%s",
                 STR_FMT(attempt->send->subscription), attempt->command.type->name,
                 log_quote(str_c(answer->fault.detail)), log_quote(attempt->correlation),
                 log_trace(attempt->traceparent));
    if (attempt->stage == STAGE_TELL)
        tell_end(attempt, answer->err);
    else if (answer->err == OK)
        attempt_finish(attempt, LANE_SUCCESS, -1, 0, STR_NONE);
    else
        attempt_finish(attempt, LANE_FINAL, -1, 0, STR("the hub refused to record the posting"));
}

/* --- requests ---------------------------------------------------------------------------- */

static struct str placeholder(const struct attempt *attempt, struct str name, char seq[24]) {
    if (str_is(name, "event.id"))
        return attempt->again_id.ptr ? attempt->again_id : attempt->id;
    if (str_is(name, "event.subject"))
        return attempt->subject;
    if (str_is(name, "event.type"))
        return attempt->type;
    if (str_is(name, "batch.key") && attempt->batch != NULL)
        return batch_key(attempt->batch);
    if (str_is(name, "event.correlation"))
        return attempt->correlation.ptr ? attempt->correlation : STR("");
    if (str_starts(name, STR("ce."))) { /* an attribute of its CloudEvent */
        struct str value = json_member_str(attempt->event, str_of(name.ptr + 3, name.len - 3));
        return value.ptr ? value : STR("");
    }
    if (str_is(name, "event.seq"))
        return str_of(seq, (size_t)snprintf(seq, 24, "%llu", (unsigned long long)attempt->job.seq));
    return STR_NONE;
}

static bool unreserved(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

/* Replaces {event.…}; in a URL the values are percent-encoded (RFC 3986). Unknown names stay as
 * they are: a brace may be meant. */
static void expand(const struct attempt *attempt, struct str pattern, bool url, struct buf *out) {
    for (size_t i = 0; i < pattern.len; i++) {
        const char *end = pattern.ptr[i] == '{'
                              ? memchr(pattern.ptr + i, '}', pattern.len - i)
                              : NULL;
        char seq[24];
        struct str value = STR_NONE;
        if (end != NULL)
            value = placeholder(attempt,
                                str_of(pattern.ptr + i + 1, (size_t)(end - pattern.ptr) - i - 1),
                                seq);
        if (value.ptr == NULL) {
            buf_char(out, pattern.ptr[i]);
            continue;
        }
        i = (size_t)(end - pattern.ptr);
        for (size_t k = 0; k < value.len; k++)
            if (!url || unreserved(value.ptr[k]))
                buf_char(out, value.ptr[k]);
            else
                buf_printf(out, "%%%02X", (unsigned char)value.ptr[k]);
    }
}

enum err attempt_call(struct attempt *attempt, const struct connector_request *request,
                      struct str body, net_done *done, struct fault *fault) {
    struct net_header *headers =
        arena_array(&attempt->arena, request->header_count + 6 + WEBHOOK_HEADERS, sizeof *headers);
    if (headers == NULL)
        return fault_set(fault, ERR_NOMEM, "no memory for a request");
    uint32_t count = 0;
    bool typed = false;
    buf_clear(&attempt->url);
    expand(attempt, request->url, true, &attempt->url);
    bool whole = buf_ok(&attempt->url);
    struct str url = arena_str(&attempt->arena, buf_str(&attempt->url));
    for (uint32_t i = 0; i < request->header_count; i++) {
        buf_clear(&attempt->url);
        expand(attempt, request->headers[i].value, false, &attempt->url);
        whole = whole && buf_ok(&attempt->url);
        headers[count].name = request->headers[i].name;
        headers[count++].value = arena_str(&attempt->arena, buf_str(&attempt->url));
        typed = typed || str_eq_nocase(request->headers[i].name, STR("Content-Type"));
    }
    if (body.ptr != NULL && !typed)
        headers[count++] = (struct net_header){STR("Content-Type"), STR("application/json")};
    headers[count++] = (struct net_header){STR("Accept"), STR("application/json")};
    if (attempt->correlation.len > 0)
        headers[count++] = (struct net_header){STR("X-Correlation-ID"), attempt->correlation};
    if (attempt->job.replay != 0)
        headers[count++] = (struct net_header){
            STR("Penstock-Replay"),
            arena_printf(&attempt->arena, "%llu", (unsigned long long)attempt->job.replay)};
    attempt->call_url = url;
    if (attempt->traceparent.len > 0)
        headers[count++] = (struct net_header){STR("traceparent"), attempt_call_trace(attempt)};
    for (uint32_t i = 0; i < count; i++) /* without one of them it would be another request */
        whole = whole && headers[i].value.ptr != NULL;
    if (url.ptr == NULL || !whole)
        return fault_set(fault, ERR_NOMEM, "no memory for a request");
    const struct webhook *webhook = attempt->send->webhook;
    uint32_t more = 0;
    enum err err = webhook ? webhook_headers(attempt, body, headers + count, &more, fault) : OK;
    if (err != OK)
        return err;
    net_flow_class(&attempt->sub->flow, (enum net_class)attempt->send->priority);
    struct net_request call = {.connector = attempt->send->connector,
                               .outcome = attempt->send->outcome,
                               .flow = &attempt->sub->flow,
                               .method = request->method,
                               .url = url,
                               .headers = headers,
                               .header_count = count + more,
                               .body = body,
                               .guarded = webhook && webhook->guarded,
                               .wanted = webhook ? webhook_wanted : NULL,
                               .wanted_ctx = attempt,
                               .timeout_ms = attempt->send->timeout_ms};
    return net_send(attempt->deliver->net, &call, done, attempt, &attempt->call, fault);
}

/* --- sending ----------------------------------------------------------------------------- */

void attempt_suspect(struct attempt *attempt) {
    struct subscription *sub = attempt->sub;
    lanes_suspect(sub->lanes, attempt->job.lane,
                  clock_tick_us(attempt->deliver->options.clock) + settle_us(attempt->send));
}

/* The remote, or who reads the stream, knows one that came before: it may be sent again. */
static bool request_repeats(const struct connector_request *request) {
    for (uint32_t i = 0; i < request->header_count; i++)
        if (str_eq_nocase(request->headers[i].name, STR("Idempotency-Key")))
            return true;
    return stream_url_is(request->url, NULL); /* its id is among its headers: load_stream_send */
}

/* Success. Where a number was to come with it and did not, the answer may be an error in the
 * clothes of a success (a gateway's page, a business error sent as 200): the look-up decides. */
static void send_succeeded(struct attempt *attempt, const struct net_answer *answer) {
    const struct connector_send *send = attempt->send;
    struct str reference = STR_NONE;
    const struct json *doc = NULL;
    struct fault fault = {0};
    if (send->reference.ptr != NULL &&
        json_parse(attempt->deliver->parser, &attempt->arena, answer->body, false, &doc, &fault) ==
            OK)
        reference = json_text(json_at(doc, send->reference));
    if (reference.len == 0 && send->reference.ptr != NULL && send->lookup != NULL) {
        attempt->confirming = true;
        attempt_lookup(attempt);
        return;
    }
    attempt_done(attempt, reference, send->reference.ptr != NULL);
}

static void send_done(void *ctx, const struct net_answer *answer) {
    struct attempt *attempt = ctx;
    struct subscription *sub = attempt->sub;
    struct deliver *d = attempt->deliver;
    attempt->call = NULL;
    histogram_us(&sub->call_us, answer->elapsed_us);
    attempt_called(attempt, attempt->send->request, answer);
    if (reach_turned_away(attempt, answer))
        return;
    enum lane_outcome outcome = reach_outcome(attempt, answer, true);
    if (outcome == LANE_SUCCESS) {
        send_succeeded(attempt, answer);
        return;
    }
    int64_t retry_after_ms = net_answer_retry_after_ms(answer, clock_now_us(d->options.clock));
    struct str cause = attempt_cause(attempt, answer);
    /* Neither a look-up nor a key that the remote knows: a person must look. */
    if (outcome == LANE_AMBIGUOUS && attempt->send->lookup == NULL &&
        !request_repeats(attempt->send->request)) {
        outcome = LANE_FINAL;
        cause = arena_printf(&attempt->arena,
                             "it may have been done (%.*s), and there is no look-up",
                             STR_FMT(cause));
    }
    attempt_finish(attempt, outcome, retry_after_ms, answer->status, cause);
}

/* The mapped document, in attempt->body. */
static enum err attempt_map(struct attempt *attempt, struct str *body, struct fault *fault) {
    const struct connector_send *send = attempt->send;
    if (send->source == NULL) {
        *body = attempt->data;
        return OK;
    }
    const struct json *out;
    int64_t from_us = attempt_span_now(attempt);
    enum err err = look_run(attempt, attempt->event, &out, fault);
    attempt_mapped(attempt, from_us, err != OK);
    if (err != OK)
        return err;
    struct str words;
    if (send->batch != NULL && mapping_nothing(out, &words)) { /* the system is not told of it */
        attempt->suppressed = true;
        *body = STR_NONE;
        return OK;
    }
    buf_clear(&attempt->body);
    json_write(&attempt->body, out);
    *body = buf_str(&attempt->body);
    return buf_ok(&attempt->body) ? OK : fault_set(fault, ERR_NOMEM,
                                                   "no memory for the mapped document");
}

void attempt_unmapped(struct attempt *attempt, const struct fault *fault) {
    struct str words = masked(attempt, str_c(fault->detail));
    const char *part = attempt->edit_lost ? "edit" : "mapping";
    struct str cause = fault->first == NULL || fault->first->pointer.len == 0
                           ? arena_printf(&attempt->arena, "%s: %.*s", part, STR_FMT(words))
                           : arena_printf(&attempt->arena, "%s: %.*s (%.*s)", part, STR_FMT(words),
                                          STR_FMT(fault->first->pointer));
    attempt_finish(attempt, LANE_FINAL, -1, 0, cause);
}

void attempt_send(struct attempt *attempt) {
    struct fault fault;
    struct str body;
    fault_init(&fault, &attempt->arena);
    enum err err = attempt_map(attempt, &body, &fault);
    if (err == ERR_INVALID) {
        attempt_unmapped(attempt, &fault);
        return;
    }
    if (err == ERR_UNAVAILABLE && look_fetch(attempt, attempt_send))
        return;
    attempt->stage = STAGE_SEND;
    if (err == OK && attempt->send->batch != NULL) {
        batch_join(attempt, body);
        return;
    }
    if (err == OK)
        err = attempt_call(attempt, attempt->send->request, body,
                           attempt->send->webhook ? webhook_done : send_done, &fault);
    if (err == OK)
        attempt->sub->stats.attempts++;
    else if (err == ERR_INVALID)
        attempt_finish(attempt, LANE_FINAL, -1, 0, arena_str(&attempt->arena, str_c(fault.detail)));
    else
        attempt_later(attempt, &fault);
}

/* --- looking up -------------------------------------------------------------------------- */

/* It is sent. Where that is refused it is still not there, and not asked for again: of who takes a call and
 * then has enough for a while, the questions would take them all. */
static void attempt_absent(struct attempt *attempt) {
    lanes_absent(attempt->sub->lanes, attempt->job.lane);
    attempt_send(attempt);
}

/* It is not there; where it may still be at work there, that is not yet an answer. */
static void lookup_missed(struct attempt *attempt) {
    if (attempt->confirming)
        attempt_finish(attempt, LANE_FINAL, -1, 0,
                       STR("the answer was a success without the system's number, and the look-up "
                           "does not find it"));
    else if (clock_tick_us(attempt->deliver->options.clock) < attempt->job.settled_us &&
             !PLANTED(SETTLE_EARLY))
        attempt_finish(attempt, LANE_UNSETTLED, -1, 0, STR_NONE);
    else
        attempt_absent(attempt);
}

static void lookup_done(void *ctx, const struct net_answer *answer) {
    struct attempt *attempt = ctx;
    struct deliver *d = attempt->deliver;
    const struct connector_lookup *lookup = attempt->send->lookup;
    struct fault fault = {0};
    const struct json *doc = NULL;
    attempt->call = NULL;
    histogram_us(&attempt->sub->call_us, answer->elapsed_us);
    attempt_called(attempt, &lookup->request, answer);
    if (reach_turned_away(attempt, answer))
        return;
    bool answered = answer->error == NET_OK;
    enum lane_outcome outcome = reach_outcome(attempt, answer, false);
    bool refused = outcome == LANE_THROTTLED || (answer->status < 300 && outcome == LANE_UNREACHABLE);
    if (answered && !refused && answer->status >= 200 && answer->status < 300 &&
        json_parse(d->parser, &attempt->arena, answer->body, false, &doc, &fault) == OK) {
        const struct json *found = json_at(doc, lookup->found);
        if (found != NULL && found->kind != JSON_NULL) {
            attempt->sub->stats.found++;
            attempt->found = true;
            struct str reference = lookup->reference.ptr
                                       ? json_text(json_at(doc, lookup->reference))
                                       : STR_NONE;
            attempt_done(attempt, reference, attempt->send->reference.ptr != NULL);
            return;
        }
        lookup_missed(attempt);
        return;
    }
    if (answered && answer->status == 404) {
        lookup_missed(attempt);
        return;
    }
    /* It is not known whether it is there: nothing may be sent. The lane keeps its look-up. */
    if (outcome != LANE_THROTTLED)
        outcome = outcome == LANE_UNREACHABLE || answer->status >= 500 ? LANE_UNREACHABLE : LANE_RETRYABLE;
    if (attempt->confirming)
        attempt_suspect(attempt);
    int64_t retry_after_ms = net_answer_retry_after_ms(answer, clock_now_us(d->options.clock));
    struct str cause = attempt_cause(attempt, answer);
    attempt_finish(attempt, outcome, retry_after_ms, answer->status,
                   arena_printf(&attempt->arena, "look-up: %.*s", STR_FMT(cause)));
}

void attempt_lookup(struct attempt *attempt) {
    struct fault fault = {0};
    attempt->stage = STAGE_LOOKUP;
    enum err err = attempt_call(attempt, &attempt->send->lookup->request, STR_NONE, lookup_done,
                                &fault);
    if (err == OK)
        attempt->sub->stats.looked_up++;
    else
        attempt_later(attempt, &fault);
}

/* --- beginning --------------------------------------------------------------------------- */

static void attempt_begin(struct attempt *attempt) {
    const struct connector_send *send = attempt->send;
    if (send->script.len)
        script_start(attempt);
    else if (send->batch != NULL)
        batch_begin(attempt);
    else if (attempt->job.lookup && send->lookup != NULL && !PLANTED(SKIP_LOOKUP))
        attempt_lookup(attempt);
    else
        attempt_send(attempt);
}

void attempt_start(struct subscription *sub, const struct lane_job *job) {
    struct deliver *d = sub->deliver;
    struct attempt *attempt = attempt_take(sub);
    if (attempt == NULL) {
        lanes_end(sub->lanes, job->lane, LANE_RETRYABLE, -1, clock_tick_us(d->options.clock));
        return;
    }
    attempt->job = *job;
    struct fault fault = {0};
    enum err err = attempt_event_read(attempt, &fault);
    attempt_span_begin(attempt);
    if (err == ERR_INVALID)
        attempt_unmapped(attempt, &fault);
    else if (err != OK)
        attempt_later(attempt, &fault);
    else
        attempt_begin(attempt);
}
