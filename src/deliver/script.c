/* script: a delivery that takes several calls, each decided by what the ones before answered:
 * find the customer or make one, make the sale, confirm it, read its number. The script is a
 * mapping that is run again after each answer:
 *
 *     {event, suspect, answers = {NAME = {status, body}, …}}  →  the next step
 *     {call = NAME, body = …, changes = false, method = …, path = …, alone = NAME}
 *     {done = true, reference = "SO-17"} · {again = "words"} · {hold = "words"}
 *
 * Nothing is kept of a script but its answers, and those only as long as one attempt: after a
 * crash, a lost answer or an error it starts at its beginning. What always holds: after a call
 * that may have changed something ended unknown, it starts not before that call must have ended
 * there (settle_ms), and with `suspect` true, which tells it to look before it does anything.
 *
 * Calls of one subscription that name the same `alone` are under way one at a time, in the order in
 * which they came: for what the system does under a lock of its own, where a second call would fail. */
#include <stdio.h>
#include <string.h>

#include "deliver/attempt_span.h"
#include "deliver/deliver_priv.h"

#define SCRIPT_CALLS_MAX 64 /* of one attempt: a script that circles must end */
#define SCRIPT_ANSWERS_BYTES_MAX ((size_t)4 << 20)

static void hold(struct attempt *attempt, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void hold(struct attempt *attempt, const char *fmt, ...) {
    char words[DELIVER_CAUSE_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    attempt_finish(attempt, LANE_FINAL, -1, 0,
                   attempt_words(attempt, str_c(words)));
}

static bool step_flag(const struct json *step, const char *name, bool otherwise) {
    const struct json *value = json_member(step, str_c(name));
    return value && value->kind == JSON_BOOL ? value->count != 0 : otherwise;
}

/* --- calls ------------------------------------------------------------------------------- */

static bool path_good(struct str path) {
    for (size_t i = 0; i < path.len; i++)
        if ((unsigned char)path.ptr[i] <= 0x20 || (unsigned char)path.ptr[i] >= 0x7f)
            return false;
    return path.len == 0 || path.ptr[0] == '/' || path.ptr[0] == '?';
}

/* Keeps what came back under the call's name, in place of an earlier answer of that name. */
static bool answers_keep(struct attempt *attempt, const struct net_answer *answer) {
    struct script_run *run = &attempt->script;
    struct script_answer *slot = NULL;
    for (uint32_t i = 0; i < run->count; i++)
        if (str_eq(run->answers[i].name, run->call))
            slot = &run->answers[i];
    if (!slot)
        slot = &run->answers[run->count++];
    *slot = (struct script_answer){.name = run->call, .status = answer->status,
                                   .body = answer->body.len
                                               ? arena_str(&attempt->arena, answer->body)
                                               : STR("null")};
    run->bytes += answer->body.len;
    return slot->body.ptr != NULL && run->bytes <= SCRIPT_ANSWERS_BYTES_MAX;
}

static bool answer_is_json(struct attempt *attempt, const struct net_answer *answer) {
    const struct json *ignored;
    struct fault fault = {0};
    return answer->body.len == 0 || json_parse(attempt->deliver->parser, &attempt->arena, answer->body,
                                               false, &ignored, &fault) == OK;
}

static void call_send(struct attempt *attempt);

/* The attempt's turn: it is the first of those that name the same. sub->alone has all who hold a turn or
 * wait for one, in the order in which they came. */
static bool alone_first(const struct attempt *attempt) {
    const struct attempt *first = attempt->sub->alone;
    while (first != attempt && !str_eq(first->script.alone, attempt->script.alone))
        first = first->next;
    return first == attempt;
}

static bool alone_take(struct attempt *attempt) {
    struct attempt **end = &attempt->sub->alone;
    while (*end != NULL)
        end = &(*end)->next;
    attempt->next = NULL;
    *end = attempt;
    return alone_first(attempt);
}

/* Its call has ended, or could not be made: who waits longest goes on. */
static void alone_leave(struct attempt *attempt) {
    struct subscription *sub = attempt->sub;
    struct str name = attempt->script.alone;
    struct attempt **at = &sub->alone, *next;
    if (!name.len)
        return;
    while (*at != attempt)
        at = &(*at)->next;
    *at = attempt->next;
    attempt->next = NULL;
    attempt->script.alone = STR_NONE;
    for (next = sub->alone; next && !str_eq(next->script.alone, name);)
        next = next->next;
    if (next)
        call_send(next);
}

static void script_answered(void *ctx, const struct net_answer *answer) {
    struct attempt *attempt = ctx;
    struct script_run *run = &attempt->script;
    attempt->call = NULL;
    alone_leave(attempt);
    histogram_us(&attempt->sub->call_us, answer->elapsed_us);
    attempt_called(attempt, attempt->send->request, answer);
    if (reach_turned_away(attempt, answer))
        return;
    enum lane_outcome outcome = reach_outcome(attempt, answer, run->changes);
    if (outcome != LANE_SUCCESS) {
        struct str cause = attempt_cause(attempt, answer);
        int64_t now_us = clock_now_us(attempt->deliver->options.clock);
        attempt_finish(attempt, outcome, net_answer_retry_after_ms(answer, now_us), answer->status,
                       arena_printf(&attempt->arena, "%.*s: %.*s", STR_FMT(run->call),
                                    STR_FMT(cause)));
        return;
    }
    if (!answer_is_json(attempt, answer)) {
        /* A gateway's page in the clothes of a success: what was done behind it is not known. */
        if (run->changes)
            attempt_suspect(attempt);
        attempt_finish(attempt, run->changes ? LANE_AMBIGUOUS : LANE_RETRYABLE, -1, answer->status,
                       arena_printf(&attempt->arena, "%.*s answered what is not JSON",
                                    STR_FMT(run->call)));
    } else if (answers_keep(attempt, answer)) {
        script_next(attempt);
    } else {
        hold(attempt, "script: the answers are longer than %zu bytes", SCRIPT_ANSWERS_BYTES_MAX);
    }
}

/* From here on something of this delivery may be there: however the attempt ends, the next one must
 * look first. */
static void script_changes(struct attempt *attempt) {
    attempt->script.changed = true;
    attempt->sub->stats.attempts++;
    lanes_suspect(attempt->sub->lanes, attempt->job.lane, 0);
}

/* The call that the step asks for, now. */
static void call_send(struct attempt *attempt) {
    struct script_run *run = &attempt->script;
    const struct json *body = json_member(run->step, STR("body"));
    struct str method = json_member_str(run->step, STR("method"));
    struct str path = json_member_str(run->step, STR("path"));
    struct connector_request request = *attempt->send->request;
    struct str text = STR_NONE;
    struct fault fault = {0};
    if (method.len)
        request.method = method;
    if (path.len)
        request.url = arena_printf(&attempt->arena, "%.*s%.*s", STR_FMT(request.url), STR_FMT(path));
    if (body && body->kind != JSON_NULL) {
        buf_clear(&attempt->body);
        json_write(&attempt->body, body);
        text = buf_ok(&attempt->body) ? buf_str(&attempt->body) : STR_NONE;
    }
    run->changes = step_flag(run->step, "changes", true);
    enum err err = OK;
    if (attempt->deliver->drained)
        err = fault_set(&fault, ERR_UNAVAILABLE, "the hub stops");
    else if (body && !text.ptr)
        err = fault_set(&fault, ERR_NOMEM, "no memory for a request");
    else
        err = attempt_call(attempt, &request, text, script_answered, &fault);
    if (err != OK) {
        alone_leave(attempt);
        attempt_later(attempt, &fault);
    } else if (run->changes && !run->changed) {
        script_changes(attempt);
    }
}

static void call_make(struct attempt *attempt, const struct json *step) {
    struct script_run *run = &attempt->script;
    struct str path = json_member_str(step, STR("path"));
    if (run->calls++ == SCRIPT_CALLS_MAX) {
        hold(attempt, "script: more than %d calls", SCRIPT_CALLS_MAX);
        return;
    }
    if (!path_good(path)) {
        hold(attempt, "script: the path of %.*s is none: \"%.*s\"", STR_FMT(run->call),
             STR_FMT(path));
        return;
    }
    run->step = step;
    run->alone = json_member_str(step, STR("alone"));
    if (!run->alone.len || alone_take(attempt))
        call_send(attempt);
}

/* --- steps ------------------------------------------------------------------------------- */

static void script_done(struct attempt *attempt, const struct json *step) {
    const struct json *reference = json_member(step, STR("reference"));
    bool named = reference && (reference->kind == JSON_STRING || reference->kind == JSON_NUMBER);
    if (attempt->job.lookup && !attempt->script.changed) {
        attempt->found = true;
        attempt->sub->stats.found++;
    }
    attempt_done(attempt, named ? reference->text : STR_NONE, reference != NULL);
}

static void step_take(struct attempt *attempt, const struct json *step) {
    struct str words;
    if (step->kind != JSON_OBJECT) {
        hold(attempt, "script: it must answer a table");
    } else if ((attempt->script.call = json_member_str(step, STR("call"))).len) {
        call_make(attempt, step);
    } else if (step_flag(step, "done", false)) {
        script_done(attempt, step);
    } else if ((words = json_member_str(step, STR("again"))).len) {
        attempt_finish(attempt, LANE_RETRYABLE, -1, 0, attempt_words(attempt, words));
    } else if ((words = json_member_str(step, STR("hold"))).len) {
        attempt_finish(attempt, LANE_FINAL, -1, 0, attempt_words(attempt, words));
    } else {
        hold(attempt, "script: its answer has none of call, done, again, hold");
    }
}

/* The document of the next run: written anew each time, so that a script sees JSON and nothing
 * of ours. */
static enum err document_make(struct attempt *attempt, const struct json **out, struct fault *fault) {
    const struct script_run *run = &attempt->script;
    struct buf text;
    buf_init(&text, 0);
    buf_lit(&text, "{\"event\":");
    buf_str_add(&text, buf_str(&attempt->text));
    buf_printf(&text, ",\"suspect\":%s,\"answers\":{", attempt->job.lookup ? "true" : "false");
    for (uint32_t i = 0; i < run->count; i++) {
        const struct script_answer *answer = &run->answers[i];
        buf_str_add(&text, i > 0 ? STR(",") : STR(""));
        buf_json_str(&text, answer->name);
        buf_printf(&text, ":{\"status\":%d,\"body\":", answer->status);
        buf_str_add(&text, answer->body);
        buf_char(&text, '}');
    }
    buf_lit(&text, "}}");
    struct str copy = buf_ok(&text) ? arena_str(&attempt->arena, buf_str(&text)) : STR_NONE;
    buf_free(&text);
    if (!copy.ptr)
        return fault_set(fault, ERR_NOMEM, "no memory for a script");
    return json_parse(attempt->deliver->parser, &attempt->arena, copy, false, out, fault);
}

void script_next(struct attempt *attempt) {
    const struct json *document, *step;
    struct fault fault;
    fault_init(&fault, &attempt->arena);
    enum err err = document_make(attempt, &document, &fault);
    if (err == OK)
        err = look_run(attempt, document, &step, &fault);
    if (err == ERR_UNAVAILABLE && look_fetch(attempt, script_next))
        return;
    if (err == OK)
        step_take(attempt, step);
    else if (err == ERR_INVALID)
        attempt_unmapped(attempt, &fault);
    else
        attempt_later(attempt, &fault);
}

void script_start(struct attempt *attempt) {
    attempt->script.answers =
        arena_array(&attempt->arena, SCRIPT_CALLS_MAX + 1, sizeof *attempt->script.answers);
    attempt->stage = STAGE_SEND;
    if (!attempt->script.answers) {
        struct fault fault = {.detail = "no memory for a script"};
        attempt_later(attempt, &fault);
    } else if (attempt->job.lookup &&
               clock_tick_us(attempt->deliver->options.clock) < attempt->job.settled_us) {
        attempt_finish(attempt, LANE_UNSETTLED, -1, 0, STR_NONE);
    } else {
        attempt->sub->stats.looked_up += attempt->job.lookup;
        script_next(attempt);
    }
}
