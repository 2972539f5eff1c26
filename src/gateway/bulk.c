/* bulk: a body of NDJSON, a document a line (G8). Lines are decoded as they arrive, each
 * becomes a command of its own, and a result leaves for each, in order.
 *
 * What holds always: at most bulk_lines_max lines are under way and bulk_answer_bytes_max bytes
 * of results unread, else the body is read no further; a bad line stops no other; blank lines
 * count but have no result; while the read model is too far behind, new calls are refused and
 * lines of those under way wait. An Idempotency-Key of the call is that of line n as KEY:n. */
#include "gateway/gateway_priv.h"

#include "base/mem.h"
#include "gateway/problem.h"

struct bulk_line {
    struct issuer issuer; /* first */
    struct bulk *bulk;
    uint64_t number;
    bool done;
    enum err err; /* refused before it became a command */
    struct fault fault;
    struct arena arena;
    struct command command;
    struct job job;
};

struct bulk {
    struct call *call;
    struct bulk *next; /* in the loop's list of those to pump */
    bool listed;
    struct bulk *held_next; /* in the loop's list of those that wait */
    bool held;              /* for the read model, or for what the caller may ask */
    int64_t held_until_us;
    bool over; /* a quota is used up: what comes is refused line by line */
    struct bulk_line **ring;
    uint32_t cap, head, count;
    struct buf rest;   /* read and not yet taken: a part of a line, or what has no room */
    struct buf out;    /* results not yet given to the connection */
    uint64_t number;   /* of the last line */
    bool skipping;     /* a line that is too long, to its end */
    bool began, body_ended, cut, gone;
};

static void bulk_pump(struct bulk *bulk);

static void bulk_free(struct bulk *bulk) {
    for (uint32_t i = 0; bulk->ring && i < bulk->cap && bulk->ring[i]; i++) {
        arena_free(&bulk->ring[i]->arena);
        mem_free(bulk->ring[i]);
    }
    mem_free(bulk->ring);
    buf_free(&bulk->rest);
    buf_free(&bulk->out);
    mem_free(bulk);
}

static struct gateway_loop *bulk_loop(struct bulk *bulk) { return bulk->call->loop; }

static void bulk_list(struct bulk *bulk) {
    if (bulk->listed)
        return;
    bulk->listed = true;
    bulk->next = bulk_loop(bulk)->bulks;
    bulk_loop(bulk)->bulks = bulk;
}

/* --- waiting for the read model -------------------------------------------------------------- */

bool lag_is_too_long(const struct gateway *gateway, const struct reader_lag *lag) {
    return lag->events > (uint64_t)gateway->config->settings.read_model_lag_events_max;
}

static bool lags(struct gateway_loop *loop, struct reader_lag *lag) {
    loop->reader->ops->lag(loop->reader, lag);
    return lag_is_too_long(loop->gateway, lag);
}

static void held_count(struct gateway_loop *loop, uint64_t by) {
    atomic_store_explicit(&loop->counters.bulks_held,
                          atomic_load_explicit(&loop->counters.bulks_held,
                                               memory_order_relaxed) + by,
                          memory_order_relaxed);
}

/* Its lines wait; the loop's tick looks again. */
static void bulk_hold(struct bulk *bulk) {
    struct gateway_loop *loop = bulk_loop(bulk);

    if (bulk->held)
        return;
    bulk->held = true;
    bulk->held_next = loop->held;
    loop->held = bulk;
    held_count(loop, 1);
    loop_tick_set(loop);
}

static bool bulk_lags(struct bulk *bulk) {
    struct reader_lag lag;

    if (!bulk->held && !bulk->gone && !bulk->cut && lags(bulk_loop(bulk), &lag))
        bulk_hold(bulk);
    return bulk->held;
}

static void bulk_release(struct bulk *bulk) {
    struct bulk **at = &bulk_loop(bulk)->held;

    if (!bulk->held)
        return;
    while (*at != bulk)
        at = &(*at)->held_next;
    *at = bulk->held_next;
    bulk->held = false;
    held_count(bulk_loop(bulk), UINT64_MAX);
}

void bulks_tick(struct gateway_loop *loop) {
    int64_t now_us = clock_tick_us(loop->gateway->clock);
    struct reader_lag lag;
    bool lagging = loop->held && lags(loop, &lag);

    for (struct bulk *bulk = loop->held, *next; bulk; bulk = next) {
        next = bulk->held_next;
        if (!bulk->gone && (lagging || now_us < bulk->held_until_us))
            continue;
        bulk_release(bulk);
        bulk_list(bulk);
    }
    bulks_flush(loop);
    loop_tick_set(loop);
}

/* --- lines --------------------------------------------------------------------------------- */

static void line_finish_run(struct job *job, struct reader *reader) {
    struct bulk_line *line =
        (struct bulk_line *)((char *)job - offsetof(struct bulk_line, job));
    struct answer *answer = &line->command.answer;

    reader->keyring = call_keyring(line->bulk->call);
    answer->err = command_finish(reader, &line->command, &answer->fault);
}

static void line_finished(struct job *job) {
    struct bulk_line *line =
        (struct bulk_line *)((char *)job - offsetof(struct bulk_line, job));

    if (job->fault.err != OK) {
        line->err = job->fault.err;
        line->fault = job->fault;
    }
    line->done = true;
    bulk_pump(line->bulk);
}

static void line_completed(struct command *command) {
    struct bulk_line *line = command->origin_ctx;

    line->done = true;
    if (command_unfinished(command)) {
        line->job.run = line_finish_run;
        line->job.done = line_finished;
        fault_init(&command->answer.fault, command->arena);
        line->err = job_start(&line->job, bulk_loop(line->bulk), CLASS_BULK, &line->fault);
        line->done = line->err != OK;
    }
    if (line->done)
        bulk_list(line->bulk);
}

static struct bulk_line *line_take(struct bulk *bulk) {
    uint32_t at = (bulk->head + bulk->count) % bulk->cap;
    struct bulk_line *line = bulk->ring[at];

    if (!line) {
        line = mem_zalloc(sizeof *line);
        if (!line)
            return NULL;
        arena_init(&line->arena, 0);
        bulk->ring[at] = line;
    }
    arena_reset(&line->arena);
    fault_init(&line->fault, &line->arena);
    line->issuer.completed = line_completed;
    line->bulk = bulk;
    line->number = bulk->number;
    line->err = OK;
    line->done = false;
    bulk->count++;
    return line;
}

static enum err line_idem(struct bulk_line *line) {
    const struct call *call = line->bulk->call;
    struct command *command = &line->command;

    if (!call->context.idem_key.ptr)
        return OK;
    command->idem_key = arena_printf(&line->arena, "%.*s:%llu", STR_FMT(call->context.idem_key),
                                     (unsigned long long)line->number);
    command->idem_scope = arena_printf(&line->arena, "%.*s %.*s", STR_FMT(call->actor),
                                       STR_FMT(call->match.entry->idem));
    return command->idem_key.ptr && command->idem_scope.ptr
               ? OK
               : fault_set(&line->fault, ERR_NOMEM, "no memory for the line");
}

static enum err line_submit(struct bulk_line *line, struct str text) {
    struct call *call = line->bulk->call;
    char *copy = arena_bytes(&line->arena, text.len + JSON_PADDING);
    enum err err;

    if (!copy)
        return fault_set(&line->fault, ERR_NOMEM, "no memory for the line");
    memcpy(copy, text.ptr, text.len);
    memset(copy + text.len, 0, JSON_PADDING);
    err = command_decode(call, str_of(copy, text.len), &line->arena, &line->command, &line->fault);
    if (err == OK)
        err = line_idem(line);
    if (err != OK)
        return err;
    line->command.origin_ctx = line;
    line->command.traffic = CLASS_BULK;
    return core_submit(call->gateway->options.core, &line->command, &line->fault);
}

/* The line is refused for a card number: done when that was told, where it is to be told. */
static bool line_told(struct bulk_line *line) {
    struct call *call = line->bulk->call;
    struct fault full = {0};

    if (!cards_tell(call, &line->arena, &line->command, &line->fault))
        return true;
    line->command.origin_ctx = line;
    return core_submit(call->gateway->options.core, &line->command, &full) != OK;
}

static bool blank(struct str text) {
    for (size_t i = 0; i < text.len; i++)
        if (!strchr(" \t\r", text.ptr[i]) || text.ptr[i] == '\0')
            return false;
    return true;
}

/* Whether the line's turn is later. Blank ones cost nothing, and what is refused does not wait. */
static bool line_waits(struct bulk *bulk, struct str text) {
    struct fault ignored = {0};
    int64_t wait_us;

    if (blank(text) || limit_line(bulk->call, &wait_us, &ignored) == OK)
        return false;
    bulk->over = wait_us == 0;
    if (!bulk->over) {
        bulk->held_until_us = clock_tick_us(bulk->call->gateway->clock) + wait_us;
        bulk_hold(bulk);
    }
    return !bulk->over;
}

/* A line without its end; `whole` false: only its beginning, which is too long already. */
static void line_begin(struct bulk *bulk, struct str text, bool whole) {
    struct bulk_line *line;
    size_t max = (size_t)bulk->call->gateway->config->settings.bulk_line_bytes_max;
    int64_t wait_us;

    bulk->number++;
    if (whole && blank(text))
        return;
    line = line_take(bulk);
    if (!line) { /* no memory for so much as the refusal: say by the cut that more is missing */
        bulk->cut = bulk->body_ended = true;
        return;
    }
    if (!whole || text.len > max)
        line->err = fault_set(&line->fault, ERR_TOO_LARGE,
                              "the line is longer than bulk_line_bytes_max");
    else if (bulk->over) /* asked again, because that tells until when */
        line->err = limit_line(bulk->call, &wait_us, &line->fault);
    if (line->err == OK)
        line->err = line_submit(line, text);
    bulk->over = false;
    line->done = line->err == ERR_CARD_DATA ? line_told(line) : line->err != OK;
}

/* --- input --------------------------------------------------------------------------------- */

/* How many lines may be taken now: all there are, unless bulk is shed. */
static uint32_t bulk_portion(struct bulk *bulk) {
    struct gateway_loop *loop = bulk_loop(bulk);
    uint32_t lines = admission_bulk_lines(loop->gateway->admission,
                                          (uint32_t)http_loop_index(loop->http), &loop->rng.rng);

    if (lines == 0)
        bulk_hold(bulk);
    return lines;
}

/* Takes whole lines while there is room; answers how many bytes were taken. */
static size_t bulk_take(struct bulk *bulk, struct str in) {
    size_t max = (size_t)bulk->call->gateway->config->settings.bulk_line_bytes_max, taken = 0;
    uint32_t lines;

    if (bulk_lags(bulk) || (lines = bulk_portion(bulk)) == 0)
        return 0;
    while (taken < in.len && bulk->count < bulk->cap && !bulk->cut && lines > 0) {
        const char *from = in.ptr + taken;
        const char *end = memchr(from, '\n', in.len - taken);
        size_t len = end ? (size_t)(end - from) : in.len - taken;

        if (bulk->skipping) {
            bulk->skipping = !end;
        } else if ((end || bulk->body_ended) && line_waits(bulk, str_of(from, len))) {
            break;
        } else if (end || bulk->body_ended) {
            line_begin(bulk, str_of(from, len), true);
        } else if (len > max) {
            line_begin(bulk, STR_NONE, false);
            bulk->skipping = true;
        } else {
            break;
        }
        taken += end ? len + 1 : len;
        lines--;
    }
    if (lines == 0) /* the rest at the next tick */
        bulk_hold(bulk);
    return taken;
}

static void bulk_take_rest(struct bulk *bulk) {
    size_t taken;

    if (bulk->rest.len == 0 || bulk->gone || bulk->cut)
        return;
    taken = bulk_take(bulk, buf_str(&bulk->rest));
    bulk->rest.len -= taken;
    memmove(bulk->rest.data, bulk->rest.data + taken, bulk->rest.len);
}

static void on_data(struct http_exchange *ex, struct str part, void *ctx) {
    struct bulk *bulk = ctx;
    size_t taken = bulk->rest.len == 0 ? bulk_take(bulk, part) : 0;

    buf_add(&bulk->rest, part.ptr + taken, part.len - taken);
    if (!buf_ok(&bulk->rest))
        bulk->cut = true;
    bulk_pump(bulk);
}

static void on_end(struct http_exchange *ex, bool complete, void *ctx) {
    struct bulk *bulk = ctx;

    bulk->body_ended = true;
    bulk->cut |= !complete;
    bulk_pump(bulk);
}

static void on_more(struct http_exchange *ex, void *ctx) { bulk_pump(ctx); }

/* --- output -------------------------------------------------------------------------------- */

static void result_write(struct bulk *bulk, const struct bulk_line *line) {
    const struct answer *answer = &line->command.answer;
    enum err err = line->err != OK ? line->err : answer->err;
    struct buf *out = &bulk->out;

    buf_lit(out, "{\"line\":");
    buf_u64(out, line->number);
    buf_lit(out, ",\"status\":");
    if (err == OK) {
        buf_i64(out, answer->status ? answer->status : 200);
        buf_lit(out, ",\"answer\":");
        buf_str_add(out, answer->body.len > 0 ? answer->body : STR("{}"));
    } else {
        buf_i64(out, err_info(err)->status);
        audit_refusal(bulk->call, err);
        buf_lit(out, ",\"problem\":");
        problem_write(out, err, line->err != OK ? &line->fault : &answer->fault,
                      bulk->call->context.correlation);
    }
    buf_lit(out, "}\n");
}

static uint32_t bulk_emit(struct bulk *bulk) {
    struct gateway_counters *c = &bulk_loop(bulk)->counters;
    uint32_t n = 0;

    while (bulk->count > 0 && bulk->ring[bulk->head]->done) {
        result_write(bulk, bulk->ring[bulk->head]);
        bulk->head = (bulk->head + 1) % bulk->cap;
        bulk->count--;
        n++;
    }
    atomic_store_explicit(&c->bulk_lines,
                          atomic_load_explicit(&c->bulk_lines, memory_order_relaxed) + n,
                          memory_order_relaxed);
    return n;
}

static void answer_begin(struct bulk *bulk) {
    struct call *call = bulk->call;

    bulk->began = true;
    http_answer_begin(call->ex, 200);
    call_headers(call, core_seq(call->gateway->options.core));
    call_count(call, 200);
    if (coding_streams(call))
        http_stream_gzip(call->ex);
    http_stream_begin(call->ex, STR("application/x-ndjson"), on_more, bulk);
}

/* All lines are answered and no more come. */
static void bulk_end(struct bulk *bulk) {
    struct call *call = bulk->call;
    bool complete = !bulk->cut;

    bulk_release(bulk);
    if (bulk->listed)
        for (struct bulk **at = &call->loop->bulks; *at; at = &(*at)->next)
            if (*at == bulk) {
                *at = bulk->next;
                break;
            }
    if (!bulk->began && bulk->cut && !bulk->gone) {
        const char *detail;
        enum err err = http_body_fault(call->ex, &detail);

        bulk_free(bulk);
        http_answer_close(call->ex);
        if (err == OK)
            err = fault_set(&call->fault, ERR_BAD_REQUEST, "the body did not arrive whole");
        else
            err = fault_set(&call->fault, err, "%s", detail);
        call_problem(call, err, &call->fault);
        return;
    }
    if (!bulk->began)
        answer_begin(bulk);
    bulk_free(bulk);
    http_stream_end(call->ex, complete);
}

/* Moves on whatever can: results out, lines in, the body read or held back, the end. */
static void bulk_pump(struct bulk *bulk) {
    struct http_exchange *ex = bulk->call->ex;
    size_t unread_max = (size_t)bulk->call->gateway->config->settings.bulk_answer_bytes_max;

    bulk->gone |= http_closed(ex);
    do /* results make room for lines, and lines refused at once are results */
        bulk_take_rest(bulk);
    while (bulk_emit(bulk) > 0);
    if (bulk->out.len > 0) {
        if (!bulk->began)
            answer_begin(bulk);
        http_stream_write(ex, buf_str(&bulk->out));
        if (!buf_ok(&bulk->out))
            bulk->cut = true;
        buf_clear(&bulk->out);
    }
    if (bulk->body_ended) {
        if (bulk->count == 0 && (bulk->rest.len == 0 || bulk->gone || bulk->cut))
            bulk_end(bulk);
        return;
    }
    bool unread = bulk->began && http_stream_unsent(ex) > unread_max;
    if (unread)
        http_stream_want_more(ex); /* the answer's own limit may be the higher one */
    if (bulk->count == bulk->cap || bulk->held || unread)
        http_body_pause(ex);
    else
        http_body_resume(ex);
}

void bulks_flush(struct gateway_loop *loop) {
    while (loop->bulks) {
        struct bulk *bulk = loop->bulks;

        loop->bulks = bulk->next;
        bulk->listed = false;
        bulk_pump(bulk);
    }
}

void bulk_begin(struct call *call) {
    static const struct http_body_sink sink = {.data = on_data, .end = on_end};
    const struct settings *settings = &call->gateway->config->settings;
    struct http_body_sink own = sink;
    struct reader_lag lag;
    struct bulk *bulk;
    enum err err = call_prepare(call);

    if (err == OK && lags(call->loop, &lag))
        err = fault_set(&call->fault, ERR_UNAVAILABLE,
                        "the read model is %llu events behind (read_model_lag_events_max is %lld):"
                        " bulk calls are taken again when it has caught up",
                        (unsigned long long)lag.events,
                        (long long)settings->read_model_lag_events_max);
    if (err != OK) {
        call_problem(call, err, &call->fault);
        return;
    }
    bulk = mem_zalloc(sizeof *bulk);
    if (bulk)
        bulk->ring = mem_zalloc(sizeof(struct bulk_line *) * (size_t)settings->bulk_lines_max);
    if (!bulk || !bulk->ring) {
        mem_free(bulk);
        call_problem(call, fault_set(&call->fault, ERR_NOMEM, "no memory for a bulk call"),
                     &call->fault);
        return;
    }
    bulk->call = call;
    call->queued = true;
    bulk->cap = (uint32_t)settings->bulk_lines_max;
    buf_init(&bulk->rest, (size_t)settings->bulk_line_bytes_max + ((size_t)1 << 20));
    buf_init(&bulk->out, 0);
    own.ctx = bulk;
    http_stream_body(call->ex, &own);
}
