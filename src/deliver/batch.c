/* batch: deliveries of one subscription that go out in one call, up to max_items and max_bytes, together
 * where `by` is equal. Each is an attempt and a lane of its own: it is mapped by itself, acknowledged by
 * itself, fails by itself. A subscription that conflates without a batch in its file has batches of one.
 *
 * Without `by`, a delivery is taken from its lane only when a call may be made: until then a newer one
 * of its key takes its place. With `by`, what has joined a batch goes with it.
 *
 * What always holds: each member ends exactly once, whatever the call came to. After an end that leaves
 * open what was done, a member is sent again only after it was looked up (`lookup`), or where the system
 * knows it by a key in its document (`idempotent`), or where what is sent is a value that may be set
 * again (`conflate`, then not before the lost call must have ended): so in which batch it goes the next
 * time does not matter, and nothing about batches has to be kept. {batch.key} is made of the members
 * alone (and of their values, where those may change): the same members have the same key, over retries
 * and restarts. */
#include "deliver/batch.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/planted.h"
#include "deliver/attempt_span.h"
#include "deliver/batch_size.h"
#include "deliver/conflate.h"

#define TAKEN_OF_ROUND 500 /* events of one subscription: the others have their turn in between */

struct batch {
    struct batch *next;
    struct subscription *sub;
    const struct connector_send *send; /* of the version its members began with */
    struct attempt **members;          /* `size`; the first carries the call */
    uint32_t count, size;              /* at most so many */
    size_t bytes;
    int64_t due_us; /* goes then, full or not */
    struct str by;
    bool asking; /* a look-up */
    bool alone;
    bool too_large; /* says its answer */
    char key[40];
    struct arena arena;
};

static int64_t tick_us(const struct subscription *sub) {
    return clock_tick_us(sub->deliver->options.clock);
}

static uint32_t calls_max(const struct subscription *sub) {
    return sub->send->limits->concurrency > 0 ? (uint32_t)sub->send->limits->concurrency : 1;
}

static uint32_t size_now(const struct subscription *sub) {
    return batch_size_now(&sub->batches.size, batch_size_max(sub->send));
}

/* --- batches that wait ---------------------------------------------------------------------- */

static struct batch *batch_create(struct attempt *first, struct str by) {
    struct batch *batch = mem_zalloc(sizeof *batch);
    if (batch == NULL)
        return NULL;
    arena_init(&batch->arena, 0);
    batch->sub = first->sub;
    batch->send = first->send;
    batch->by = arena_str(&batch->arena, by);
    uint32_t max = batch_size_max(first->send), now = size_now(first->sub);
    batch->size = now < max ? now : max;
    batch->members = arena_array(&batch->arena, batch->size, sizeof *batch->members);
    if (batch->members == NULL) {
        arena_free(&batch->arena);
        mem_free(batch);
        return NULL;
    }
    struct batch **end = &first->sub->batches.waiting;
    while (*end != NULL)
        end = &(*end)->next;
    *end = batch;
    return batch;
}

static void batch_free(struct batch *batch) {
    arena_free(&batch->arena);
    mem_free(batch);
}

static bool batch_full(const struct batch *batch) {
    return batch->alone || batch->count >= batch->size ||
           batch->bytes >= (size_t)batch->send->batch->max_bytes;
}

static bool batch_takes(const struct batch *batch, const struct attempt *attempt, struct str by,
                        bool asking) {
    return batch->send == attempt->send && batch->asking == asking && !batch_full(batch) &&
           batch->bytes + attempt->document.len <= (size_t)batch->send->batch->max_bytes &&
           str_eq(batch->by, by);
}

/* What `by` says of the event. */
static struct str batch_by(const struct attempt *attempt) {
    struct str by = attempt->send->batch->by;
    const struct json *value = by.len ? json_at(attempt->event, by) : NULL;
    return value && (value->kind == JSON_STRING || value->kind == JSON_NUMBER) ? value->text : STR("");
}

static void batch_add(struct attempt *attempt, bool asking) {
    struct subscription *sub = attempt->sub;
    struct str by = batch_by(attempt);
    bool alone = attempt->job.alone && !asking;
    struct batch *batch = alone ? NULL : sub->batches.waiting;
    struct fault fault = {.detail = "no memory for a batch"};
    while (batch != NULL && !batch_takes(batch, attempt, by, asking))
        batch = batch->next;
    if (batch == NULL) {
        batch = batch_create(attempt, by);
        if (batch == NULL) {
            attempt_later(attempt, &fault);
            return;
        }
        batch->asking = asking;
        batch->alone = alone;
        /* those that were looked up come one by one, as the answers do */
        bool lingers = attempt->send->batch->by.len > 0 || (attempt->job.lookup && !asking);
        batch->due_us = tick_us(sub) + (lingers ? attempt->send->batch->linger_ms * 1000 : 0);
    }
    attempt->batch = batch;
    batch->members[batch->count++] = attempt;
    batch->bytes += attempt->document.len;
    sub->batches.members++;
}

void batches_return(struct subscription *sub) {
    while (sub->batches.waiting != NULL) {
        struct batch *batch = sub->batches.waiting;
        sub->batches.waiting = batch->next;
        for (uint32_t i = 0; i < batch->count; i++) {
            lanes_return(sub->lanes, batch->members[i]->job.lane);
            attempt_give_back(batch->members[i]);
        }
        sub->batches.members -= batch->count;
        batch_free(batch);
    }
}

/* --- an attempt ----------------------------------------------------------------------------- */

void batch_begin(struct attempt *attempt) {
    const struct connector_send *send = attempt->send;
    bool settled = tick_us(attempt->sub) >= attempt->job.settled_us;
    if (attempt->job.lookup && send->lookup != NULL) {
        attempt_lookup(attempt);
    } else if (attempt->job.lookup && send->conflate && !settled) {
        /* what an older call may still be about to write must not come last */
        attempt_finish(attempt, LANE_UNSETTLED, -1, 0, STR_NONE);
    } else if (attempt->job.lookup && send->batch->lookup != NULL) {
        attempt->stage = STAGE_LOOKUP;
        batch_add(attempt, true);
    } else {
        attempt_send(attempt);
    }
}

void batch_join(struct attempt *attempt, struct str document) {
    struct fault fault = {0};
    if (attempt->suppressed) {
        attempt_finish(attempt, LANE_SUCCESS, -1, 0, STR_NONE);
        return;
    }
    attempt->document = arena_str(&attempt->arena, document);
    enum err err = attempt->document.ptr ? OK : fault_set(&fault, ERR_NOMEM, "no memory for a document");
    if (err == OK && !attempt->asked)
        err = value_acknowledged(attempt, &attempt->previous, &fault);
    if (err != OK) {
        attempt_later(attempt, &fault);
        return;
    }
    bool known = attempt->send->conflate && (attempt->asked || !attempt->job.lookup);
    if (known && attempt->previous.ptr && str_eq(attempt->previous, attempt->document)) {
        attempt->suppressed = true;
        attempt_finish(attempt, LANE_SUCCESS, -1, 0, STR_NONE);
        return;
    }
    batch_add(attempt, false);
}

/* --- calls ---------------------------------------------------------------------------------- */

static void key_make(struct batch *batch) {
    struct buf text;
    buf_init(&text, 0);
    buf_str_add(&text, batch->sub->name);
    for (uint32_t i = 0; i < batch->count; i++) {
        buf_char(&text, '\n');
        const struct attempt *member = batch->members[i];
        buf_str_add(&text, member->again_id.ptr ? member->again_id : member->id);
        if (batch->send->conflate)
            buf_str_add(&text, member->document);
    }
    struct hash128 hash = hash128(buf_str(&text), 0);
    buf_free(&text);
    snprintf(batch->key, sizeof batch->key, "%016llx%016llx", (unsigned long long)hash.hi,
             (unsigned long long)hash.lo);
}

struct str batch_key(const struct batch *batch) { return str_c(batch->key); }

/* {"batch":{"key":…,"by":…},"members":[{key,id,suspect,document,previous}], and what `more` has. Of a
 * look-up the members have `event` in place of their document, which is made when it is known. */
static void document_write(struct buf *out, const struct batch *batch, struct str more) {
    buf_printf(out, "{\"batch\":{\"key\":\"%s\",\"by\":", batch->key);
    buf_json_str(out, batch->by);
    buf_lit(out, "},\"members\":[");
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct attempt *attempt = batch->members[i];
        buf_str_add(out, i > 0 ? STR(",{\"key\":") : STR("{\"key\":"));
        buf_json_str(out, attempt->job.key);
        buf_lit(out, ",\"id\":");
        buf_json_str(out, attempt->again_id.ptr ? attempt->again_id : attempt->id);
        buf_printf(out, ",\"suspect\":%s,\"%s\":", attempt->job.lookup ? "true" : "false",
                   batch->asking ? "event" : "document");
        buf_str_add(out, batch->asking ? buf_str(&attempt->text) : attempt->document);
        buf_lit(out, ",\"previous\":");
        buf_str_add(out, attempt->previous.ptr ? attempt->previous : STR("null"));
        buf_char(out, '}');
    }
    buf_char(out, ']');
    buf_str_add(out, more);
    buf_char(out, '}');
}

static enum err batch_run(struct batch *batch, const struct mapping_source *source, struct str more,
                          const struct json **out, struct fault *fault) {
    struct deliver *d = batch->sub->deliver;
    const struct json *document;
    struct buf text;
    buf_init(&text, 0);
    document_write(&text, batch, more);
    struct str copy = buf_ok(&text) ? arena_str(&batch->arena, buf_str(&text)) : STR_NONE;
    buf_free(&text);
    if (copy.ptr == NULL)
        return fault_set(fault, ERR_NOMEM, "no memory for a batch");
    enum err err = json_parse(d->parser, &batch->arena, copy, false, &document, fault);
    return err ? err : mapper_run(d->mapper, source, document, &batch->arena, out, fault);
}

/* What is sent, in the batch's arena; absent: no body. */
static enum err body_make(struct batch *batch, struct str *out, struct fault *fault) {
    const struct connector_batch *how = batch->send->batch;
    const struct mapping_source *source = batch->asking ? how->lookup->mapping_source : how->mapping_source;
    struct buf text;
    enum err err = OK;
    *out = STR_NONE;
    buf_init(&text, 0);
    if (source != NULL) {
        const struct json *made = NULL;
        err = batch_run(batch, source, STR(""), &made, fault);
        if (err == OK)
            json_write(&text, made);
    } else if (batch->asking) {
        return OK;
    } else {
        for (uint32_t i = 0; i < batch->count; i++) {
            if (!batch->send->bare)
                buf_char(&text, i > 0 ? ',' : '[');
            buf_str_add(&text, batch->members[i]->document);
        }
        if (!batch->send->bare)
            buf_char(&text, ']');
    }
    if (err == OK) {
        *out = buf_ok(&text) ? arena_str(&batch->arena, buf_str(&text)) : STR_NONE;
        if (out->ptr == NULL)
            err = fault_set(fault, ERR_NOMEM, "no memory for a batch");
    }
    buf_free(&text);
    return err;
}

/* How one member ended. */
struct member_end {
    enum lane_outcome outcome;
    int64_t retry_after_ms;
    int status;
    struct str cause, reference;
    bool asked_again; /* a look-up that is done: it goes on to be sent */
};

static void member_finish(struct attempt *attempt, const struct member_end *end) {
    attempt->batch = NULL;
    struct str cause = end->cause.ptr ? attempt_words(attempt, end->cause) : STR_NONE;
    if (end->outcome == LANE_SUCCESS)
        attempt_done(attempt, end->reference, end->reference.len > 0);
    else if (end->asked_again)
        attempt_send(attempt);
    else
        attempt_finish(attempt, end->outcome, end->retry_after_ms, end->status, cause);
}

/* The call is over; the first member, whose memory it used, ends last. */
static void batch_end(struct batch *batch, const struct member_end *ends) {
    struct lanes *lanes = batch->sub->lanes;
    lanes_together(lanes, true);
    for (uint32_t i = batch->count; i-- > 0;)
        member_finish(batch->members[i], &ends[i]);
    lanes_together(lanes, false);
    batch_free(batch);
}

/* All alike. One that can not be told from the others goes by itself the next time. */
static void batch_end_all(struct batch *batch, struct member_end end) {
    bool split = end.outcome == LANE_FINAL && batch->count > 1;
    if (split)
        end.outcome = LANE_RETRYABLE;
    for (uint32_t i = 0; split && i < batch->count; i++)
        lanes_alone(batch->sub->lanes, batch->members[i]->job.lane);
    lanes_together(batch->sub->lanes, true);
    for (uint32_t i = batch->count; i-- > 0;)
        member_finish(batch->members[i], &end);
    lanes_together(batch->sub->lanes, false);
    batch_free(batch);
}

/* --- what came of it ------------------------------------------------------------------------ */

static struct member_end end_unknown(struct attempt *attempt, int status, struct str cause) {
    attempt_suspect(attempt);
    value_acknowledge(attempt, STR_NONE);
    return (struct member_end){LANE_AMBIGUOUS, -1, status, cause, STR_NONE, false};
}

/* A member's document of an answer, as value_acknowledge wants it. */
static struct str value_text(struct attempt *attempt, const struct json *value) {
    struct buf text;
    buf_init(&text, 0);
    if (value && value->kind != JSON_NULL)
        json_write(&text, value);
    struct str copy = text.len && buf_ok(&text) ? arena_str(&attempt->arena, buf_str(&text)) : STR_NONE;
    buf_free(&text);
    return copy;
}

/* The system has another value than the one it was compared with. */
static struct member_end end_stale(struct attempt *attempt, const struct json *said, int status,
                                   struct str cause) {
    struct str current = value_text(attempt, json_member(said, STR("current")));
    value_acknowledge(attempt, current);
    if (current.ptr == NULL) /* ask, where there is a look-up */
        lanes_suspect(attempt->sub->lanes, attempt->job.lane, 0);
    if (!cause.ptr)
        cause = STR("the value there is not the one that was acknowledged last");
    return (struct member_end){LANE_RETRYABLE, -1, status, cause, STR_NONE, false};
}

static struct member_end end_said(struct attempt *attempt, const struct json *said, int status) {
    struct str outcome = json_member_str(said, STR("outcome"));
    const struct json *reference = json_member(said, STR("reference"));
    struct member_end end = {.status = status, .retry_after_ms = -1,
                             .cause = json_member_str(said, STR("cause"))};
    if (str_is(outcome, "stale"))
        return end_stale(attempt, said, status, end.cause);
    if (str_is(outcome, "success") || (PLANTED(BATCH_MEMBER) && str_is(outcome, "retryable"))) {
        end.outcome = LANE_SUCCESS;
        value_acknowledge(attempt, attempt->document);
        if (reference && (reference->kind == JSON_STRING || reference->kind == JSON_NUMBER))
            end.reference = reference->text;
    } else if (str_is(outcome, "final")) {
        end.outcome = LANE_FINAL;
    } else if (str_is(outcome, "retryable")) {
        end.outcome = LANE_RETRYABLE;
    } else {
        return end_unknown(attempt, status, end.cause.ptr ? end.cause : STR("the answer does not say"));
    }
    if (!end.cause.ptr)
        end.cause = end.outcome == LANE_SUCCESS ? STR_NONE : STR("refused without a cause");
    return end;
}

static struct member_end end_asked(struct attempt *attempt, const struct json *said, int status) {
    const struct json *found = json_member(said, STR("found")), *reference = json_member(said, STR("reference"));
    struct member_end end = {.outcome = LANE_RETRYABLE, .retry_after_ms = -1, .status = status,
                             .asked_again = true};
    if (attempt->send->conflate) {
        attempt->asked = true;
        attempt->previous = value_text(attempt, json_member(said, STR("current")));
        value_acknowledge(attempt, attempt->previous);
    } else if (found && found->kind == JSON_BOOL && found->count) {
        attempt->sub->stats.found++;
        attempt->found = true;
        end.outcome = LANE_SUCCESS;
        if (reference && (reference->kind == JSON_STRING || reference->kind == JSON_NUMBER))
            end.reference = reference->text;
    } else if (tick_us(attempt->sub) < attempt->job.settled_us) {
        end.outcome = LANE_UNSETTLED;
        end.asked_again = false;
    }
    return end;
}

/* What the answer says of each; false: it does not say. */
static bool answer_read(struct batch *batch, const struct mapping_source *source,
                        const struct net_answer *answer, const struct json **members, struct fault *fault) {
    const struct json *body, *out = NULL;
    struct deliver *d = batch->sub->deliver;
    bool json = answer->body.len > 0 &&
                json_parse(d->parser, &batch->arena, answer->body, false, &body, fault) == OK;
    struct str more = arena_printf(&batch->arena, ",\"status\":%d,\"body\":%.*s", answer->status,
                                   STR_FMT(json ? answer->body : STR("null")));
    fault->arena = &batch->arena;
    if (!more.ptr || batch_run(batch, source, more, &out, fault) != OK)
        return false;
    const struct json *large = out->kind == JSON_OBJECT ? json_member(out, STR("too_large")) : NULL;
    batch->too_large = large && large->kind == JSON_BOOL && large->count;
    if (batch->too_large) {
        fault_set(fault, ERR_INVALID, "%.*s: says that it is too large", STR_FMT(source->name));
        return false;
    }
    *members = out->kind == JSON_OBJECT ? json_member(out, STR("members")) : NULL;
    if (*members == NULL || (*members)->kind != JSON_ARRAY || (*members)->count != batch->count) {
        fault_set(fault, ERR_INVALID, "%.*s: it must answer {members = {…}} with one for each of %u",
                  STR_FMT(source->name), batch->count);
        return false;
    }
    return true;
}

static void answer_apply(struct batch *batch, const struct json *members, int status) {
    struct member_end *ends = arena_array(&batch->arena, batch->count, sizeof *ends);
    const struct json *said = members ? json_first(members) : NULL;
    for (uint32_t i = 0; ends && i < batch->count; i++, said = json_next(said)) {
        struct attempt *attempt = batch->members[i];
        ends[i] = batch->asking ? end_asked(attempt, said, status) : end_said(attempt, said, status);
    }
    if (ends)
        batch_end(batch, ends);
    else
        batch_end_all(batch, end_unknown(batch->members[0], status, STR("no memory for an answer")));
}

/* It may have been done, for each. */
static void batch_unknown(struct batch *batch, enum lane_outcome outcome, int64_t retry_after_ms, int status,
                          struct str cause) {
    for (uint32_t i = 0; i < batch->count; i++)
        end_unknown(batch->members[i], status, cause);
    batch_end_all(batch, (struct member_end){outcome, retry_after_ms, status, cause, STR_NONE, false});
}

static void sent_all(struct batch *batch, int status) {
    for (uint32_t i = 0; i < batch->count; i++)
        value_acknowledge(batch->members[i], batch->members[i]->document);
    batch_end_all(batch, (struct member_end){LANE_SUCCESS, -1, status, STR_NONE, STR_NONE, false});
}

/* Nothing of it was done, because it has too many members: fewer go the next time, at once. What is too large
 * alone ends as its answer says. */
static bool batch_halved(struct batch *batch, const struct net_answer *answer, enum lane_outcome outcome) {
    struct subscription *sub = batch->sub;
    bool refused = outcome == LANE_FINAL || outcome == LANE_RETRYABLE;
    batch->too_large = batch->too_large || (answer->error == NET_OK && answer->status == 413 && refused);
    if (!batch->too_large || batch->count < 2)
        return false;
    batch_size_halve(&sub->batches.size, batch->count);
    log_line(LOG_INFO, "deliver", "a call was too large, the next have fewer members",
             "subscription=%.*s members=%u next=%u", STR_FMT(sub->name), batch->count, size_now(sub));
    for (uint32_t i = batch->count; i-- > 0;) {
        batch->members[i]->batch = NULL;
        reach_again(batch->members[i], LANE_RETRYABLE, 0);
    }
    batch_free(batch);
    return true;
}

/* A call that was to do something. */
static void batch_sent(struct batch *batch, const struct net_answer *answer, enum lane_outcome outcome) {
    const struct mapping_source *source = batch->send->batch->answer_source;
    struct attempt *first = batch->members[0];
    const struct json *members = NULL;
    struct fault fault = {0};
    bool says = outcome == LANE_SUCCESS || outcome == LANE_FINAL;
    says = says && source != NULL && answer_read(batch, source, answer, &members, &fault);
    if (batch_halved(batch, answer, outcome))
        return;
    if (outcome == LANE_SUCCESS && !batch->too_large)
        batch_size_taken(&batch->sub->batches.size, batch->count, batch_size_max(batch->send));
    if (says) {
        answer_apply(batch, members, answer->status);
    } else if (batch->too_large) {
        batch_end_all(batch, (struct member_end){LANE_FINAL, -1, answer->status,
                                                 STR("too large, although it is alone"), STR_NONE, false});
    } else if (outcome == LANE_SUCCESS && source == NULL) {
        sent_all(batch, answer->status);
    } else if (outcome == LANE_SUCCESS) {
        batch_unknown(batch, LANE_AMBIGUOUS, -1, answer->status, arena_str(&batch->arena, str_c(fault.detail)));
    } else {
        int64_t retry_after_ms =
            net_answer_retry_after_ms(answer, clock_now_us(batch->sub->deliver->options.clock));
        struct str cause = arena_str(&batch->arena, attempt_cause(first, answer));
        bool open = outcome == LANE_AMBIGUOUS ||
                    (outcome == LANE_UNREACHABLE && answer->status >= 500);
        if (open)
            batch_unknown(batch, outcome, retry_after_ms, answer->status, cause);
        else
            batch_end_all(batch, (struct member_end){outcome, retry_after_ms, answer->status, cause,
                                                     STR_NONE, false});
    }
}

/* A look-up. */
static void batch_asked(struct batch *batch, const struct net_answer *answer, enum lane_outcome outcome) {
    const struct json *members = NULL;
    struct fault fault = {0};
    bool says = outcome == LANE_SUCCESS &&
                answer_read(batch, batch->send->batch->lookup->answer_source, answer, &members, &fault);
    if (batch_halved(batch, answer, outcome))
        return;
    if (says) {
        answer_apply(batch, members, answer->status);
        return;
    }
    /* It is not known what is there: nothing may be sent. The lanes keep their look-up. */
    int64_t retry_after_ms =
        net_answer_retry_after_ms(answer, clock_now_us(batch->sub->deliver->options.clock));
    struct str cause = outcome == LANE_SUCCESS ? str_c(fault.detail) : attempt_cause(batch->members[0], answer);
    if (outcome == LANE_SUCCESS || outcome == LANE_FINAL)
        outcome = LANE_RETRYABLE;
    cause = arena_printf(&batch->arena, "look-up: %.*s", STR_FMT(cause));
    batch_end_all(batch, (struct member_end){outcome, retry_after_ms, answer->status, cause, STR_NONE, false});
}

/* Nothing was sent, because the account takes nothing now; the first member, whose memory the call used,
 * ends last. */
static bool batch_turned_away(struct batch *batch, const struct net_answer *answer) {
    if (answer->error != NET_CLOSED)
        return false;
    for (uint32_t i = batch->count; i-- > 0;) {
        batch->members[i]->batch = NULL;
        reach_turned_away(batch->members[i], answer);
    }
    batch_free(batch);
    return true;
}

static void batch_done(void *ctx, const struct net_answer *answer) {
    struct attempt *first = ctx;
    struct batch *batch = first->batch;
    struct subscription *sub = batch->sub;
    first->call = NULL;
    sub->batches.calls--;
    histogram_us(&sub->call_us, answer->elapsed_us);
    attempt_called(first, batch->asking ? &batch->send->batch->lookup->request : batch->send->request, answer);
    if (batch_turned_away(batch, answer))
        return;
    enum lane_outcome outcome = reach_outcome(first, answer, !batch->asking);
    if (batch->asking)
        batch_asked(batch, answer, outcome);
    else
        batch_sent(batch, answer, outcome);
}

static void batch_unsent(struct batch *batch, enum err err, const struct fault *fault) {
    struct str cause = arena_str(&batch->arena, str_c(fault->detail));
    batch_end_all(batch, (struct member_end){err == ERR_INVALID ? LANE_FINAL : LANE_RETRYABLE, -1, 0, cause,
                                             STR_NONE, false});
}

static void batch_send(struct batch *batch, int64_t now_us) {
    struct subscription *sub = batch->sub;
    struct attempt *first = batch->members[0];
    const struct connector_request *request =
        batch->asking ? &batch->send->batch->lookup->request : batch->send->request;
    struct fault fault;
    struct str body;
    fault_init(&fault, &batch->arena);
    sub->batches.members -= batch->count;
    key_make(batch);
    enum err err = body_make(batch, &body, &fault);
    if (err == OK)
        err = attempt_call(first, request, body, batch_done, &fault);
    if (err != OK) {
        batch_unsent(batch, err, &fault);
        return;
    }
    sub->batches.calls++;
    if (batch->asking)
        sub->stats.looked_up += batch->count;
    else
        sub->stats.attempts++;
    if (sub->send->limits->rate_per_s > 0) { /* a burst of what a tenth of a second allows, then evenly */
        int64_t earliest = now_us - 100000, from = sub->batches.next_us;
        sub->batches.next_us = (from > earliest ? from : earliest) + 1000000 / sub->send->limits->rate_per_s;
    }
}

/* --- rounds --------------------------------------------------------------------------------- */

static bool call_may(const struct subscription *sub, int64_t now_us) {
    return sub->batches.calls < calls_max(sub) && now_us >= sub->batches.next_us;
}

static void send_due(struct subscription *sub, int64_t now_us) {
    for (struct batch **at = &sub->batches.waiting; *at != NULL && call_may(sub, now_us) && reach_room(sub);) {
        struct batch *batch = *at;
        if (!batch_full(batch) && now_us < batch->due_us) {
            at = &batch->next;
            continue;
        }
        *at = batch->next;
        batch_send(batch, now_us);
        at = &sub->batches.waiting; /* an end may have changed the list */
    }
}

/* When the lanes may be taken from, as far as batches are concerned; INT64_MAX: after something else. */
static int64_t take_us(const struct subscription *sub, int64_t now_us) {
    const struct connector_batch *how = sub->send->batch;
    if (how->by.len > 0) /* they wait in batches: for some calls, not for all that is to come */
        return sub->batches.members < (uint64_t)size_now(sub) * (calls_max(sub) + 1) ? now_us : INT64_MAX;
    if (sub->batches.waiting != NULL || sub->batches.calls >= calls_max(sub))
        return INT64_MAX;
    struct lane_counts counts = lanes_counts(sub->lanes);
    int64_t due = counts.ready >= size_now(sub) || counts.broken || sub->batches.since_us == 0
                      ? now_us
                      : sub->batches.since_us + how->linger_ms * 1000;
    return sub->batches.next_us > due ? sub->batches.next_us : due;
}

/* How many were taken. */
static int64_t take_some(struct subscription *sub, int64_t now_us) {
    struct deliver *d = sub->deliver;
    struct lane_job job;
    int64_t n = 0;
    while (n < size_now(sub) && !d->failed && lanes_take(sub->lanes, now_us, &job)) {
        if (!deliver_reserve(sub, job.seq)) {
            lanes_return(sub->lanes, job.lane);
            return 0;
        }
        attempt_start(sub, &job);
        n++;
    }
    return n;
}

/* What an earlier life may have sent is read first: else an older value of a key would go out again,
 * before the newer one that the system has. */
static bool catching_up(const struct subscription *sub) {
    uint64_t read_to = lanes_read_to(sub->lanes);
    return sub->send->conflate && read_to < sub->suspect_to &&
           read_to < tail_last(sub->deliver->options.tail) && lanes_room(sub->lanes);
}

void batches_start(struct subscription *sub, int64_t now_us) {
    int64_t taken = 0, n;
    if (catching_up(sub))
        return;
    do {
        send_due(sub, now_us);
        bool ready = lanes_next_us(sub->lanes, now_us) <= now_us;
        if (!ready)
            sub->batches.since_us = 0;
        else if (sub->batches.since_us == 0)
            sub->batches.since_us = now_us;
        if (!ready || sub->deliver->failed || taken >= TAKEN_OF_ROUND || take_us(sub, now_us) > now_us ||
            !reach_room(sub))
            return;
        sub->batches.since_us = 0;
        n = take_some(sub, now_us);
        taken += n;
    } while (n > 0);
}

int64_t batches_next_us(const struct subscription *sub, int64_t now_us) {
    int64_t next = INT64_MAX;
    if (sub->batches.calls < calls_max(sub)) {
        for (const struct batch *batch = sub->batches.waiting; batch != NULL; batch = batch->next) {
            int64_t due = batch_full(batch) ? now_us : batch->due_us;
            due = sub->batches.next_us > due ? sub->batches.next_us : due;
            next = due < next ? due : next;
        }
    }
    int64_t lanes_us = lanes_next_us(sub->lanes, now_us);
    int64_t take = lanes_us == INT64_MAX ? INT64_MAX : take_us(sub, now_us);
    take = take == INT64_MAX || take > lanes_us ? take : lanes_us;
    return take < next ? take : next;
}
