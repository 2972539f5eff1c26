/* feed: GET /v1/events: a page of the journal, a long poll, or server-sent events (WHATWG HTML
 * section 9.2). Reading happens on worker threads, one job of a feed at a time: old events come
 * from disk.
 *
 * What holds always: events leave in order of seq and none that matches is left out; a reader
 * that does not read stops its own feed only (nothing is read ahead of it). */
#include "gateway/gateway_priv.h"

#define FEED_FILTERS_MAX 32
#define FEED_LIMIT_DEFAULT 1000
#define FEED_LIMIT_MAX 10000
#define FEED_SCAN_MAX 50000  /* records one job looks at: what a rare filter may cost at once */
#define FEED_CHUNK 1000      /* records of one read */
#define FEED_BYTES_MAX ((size_t)4 << 20) /* a page or a part of a stream ends here */
#define STREAM_CHUNK_MAX 500 /* events between two looks at whether the client keeps up */
#define HEARTBEAT_US 15000000
#define RETRY_MS "2000"

struct feed {
    struct job job;
    struct call *call;
    struct feed *next;
    uint64_t from;  /* next seq to look at */
    uint64_t begun; /* the first it looked at */
    uint32_t shown; /* of what is personal: opened for what has left */
    uint32_t limit; /* of a page */
    int64_t wait_until_us; /* 0: answers at once */
    struct str types[FEED_FILTERS_MAX], keys[FEED_FILTERS_MAX]; /* type: short name */
    uint32_t type_count, key_count;
    bool stream;
    bool busy;   /* a job is under way */
    bool listed; /* in the loop's list: waits for something */
    bool woken;  /* something was published while busy */
    bool full;   /* the client does not keep up */
    bool gone;
    bool told;   /* the audit has it that something personal is shown */
    int64_t said_us; /* when a stream last sent anything */
    /* of the job: */
    struct buf out;
    struct buf page, packed; /* of a page with events: the whole answer, and in gzip */
    uint32_t count; /* events in out */
    uint32_t scanned;
    bool at_end; /* there was nothing more */
    struct reader *reader;
    struct arena arena;
    enum err err;
    struct fault fault;
};

static void feed_read(struct feed *feed);

/* --- worker -------------------------------------------------------------------------------- */

static bool wanted(const struct feed *feed, const struct record *record) {
    bool type = feed->type_count == 0 && !event_private(record->type), key = feed->key_count == 0;

    for (uint32_t i = 0; i < feed->type_count && !type; i++)
        type = str_eq(feed->types[i], record->type);
    for (uint32_t i = 0; i < feed->key_count && !key; i++)
        key = str_eq(feed->keys[i], record->subject);
    return type && key;
}

static bool feed_visit(void *ctx, const struct record *record) {
    struct feed *feed = ctx;
    uint32_t limit = feed->stream ? STREAM_CHUNK_MAX : feed->limit;

    feed->scanned++;
    if (!wanted(feed, record))
        return feed->scanned < FEED_SCAN_MAX;
    if (feed->stream) {
        buf_lit(&feed->out, "id: ");
        buf_u64(&feed->out, record->seq);
        buf_lit(&feed->out, "\ndata: ");
    } else if (feed->count > 0) {
        buf_char(&feed->out, ',');
    }
    arena_reset(&feed->arena);
    feed->err = event_write_cloudevent(record, feed->call->gateway->config->cell,
                                       call_keyring(feed->call), feed->reader->parser, &feed->arena, &feed->out,
                                       &feed->fault);
    if (feed->stream)
        buf_lit(&feed->out, "\n\n");
    feed->count++;
    return feed->err == OK && buf_ok(&feed->out) && feed->count < limit &&
           feed->scanned < FEED_SCAN_MAX && feed->out.len < FEED_BYTES_MAX;
}

/* The answer as it leaves; a page of events may be large, and packing it takes time. */
static void page_make(struct feed *feed, struct buf *page) {
    buf_lit(page, "{\"items\":[");
    buf_str_add(page, buf_str(&feed->out));
    if (feed->at_end)
        buf_lit(page, "],\"next_cursor\":null}");
    else
        buf_printf(page, "],\"next_cursor\":\"%llu\"}", (unsigned long long)feed->from - 1);
}

static void feed_run(struct job *job, struct reader *reader) {
    struct feed *feed = (struct feed *)job;
    struct tail *tail = feed->call->gateway->options.tail;
    uint32_t limit = feed->stream ? STREAM_CHUNK_MAX : feed->limit;
    uint64_t next = feed->from;

    feed->reader = reader;
    arena_init(&feed->arena, 0);
    while (feed->err == OK && feed->count < limit && feed->scanned < FEED_SCAN_MAX &&
           feed->out.len < FEED_BYTES_MAX && buf_ok(&feed->out)) {
        enum err err = tail_read(tail, feed->from, FEED_CHUNK, feed_visit, feed, &next,
                                 &feed->fault);

        if (err != OK)
            feed->err = err;
        if (next == feed->from)
            break;
        feed->from = next;
    }
    arena_free(&feed->arena);
    feed->at_end = feed->from > tail_last(tail);
    if (feed->err == OK && !buf_ok(&feed->out))
        feed->err = fault_set(&feed->fault, ERR_NOMEM, "no memory for the events");
    if (feed->err != OK || feed->stream || feed->count == 0)
        return;
    page_make(feed, &feed->page);
    buf_free(&feed->out);
    if (buf_ok(&feed->page) && coding_pack(feed->call, buf_str(&feed->page), &feed->packed))
        feed->call->query.packed = buf_str(&feed->packed);
}

/* --- the loop's list ----------------------------------------------------------------------- */

static void follower_wake(struct tail_follower *follower) {
    struct gateway_loop *loop =
        (struct gateway_loop *)((char *)follower - offsetof(struct gateway_loop, follower));

    uv_async_send(&loop->wake);
}

static void feed_list(struct feed *feed) {
    struct gateway_loop *loop = feed->call->loop;

    if (feed->listed)
        return;
    feed->listed = true;
    feed->next = loop->feeds;
    loop->feeds = feed;
    if (!loop->following) {
        loop->following = true;
        loop->follower.wake = follower_wake;
        tail_follow(loop->gateway->options.tail, &loop->follower);
    }
    loop_tick_set(loop);
}

static void feed_unlist(struct feed *feed) {
    struct gateway_loop *loop = feed->call->loop;

    for (struct feed **at = &loop->feeds; *at; at = &(*at)->next)
        if (*at == feed) {
            *at = feed->next;
            break;
        }
    feed->listed = false;
    if (!loop->feeds && loop->following) {
        tail_unfollow(loop->gateway->options.tail, &loop->follower);
        loop->following = false;
    }
    loop_tick_set(loop);
}

static void feeds_count(struct gateway_loop *loop, uint64_t by) {
    atomic_store_explicit(&loop->counters.feeds,
                          atomic_load_explicit(&loop->counters.feeds, memory_order_relaxed) + by,
                          memory_order_relaxed);
}

/* --- ending -------------------------------------------------------------------------------- */

static void feed_told(struct call *call, void *ctx, enum err err);

/* What is personal waits for the audit. True: feed_told goes on. */
static bool feed_waits(struct feed *feed) {
    struct call *call = feed->call;
    struct str about;
    bool waits = false;

    if (feed->told || feed->err != OK || call->keyring.opened == 0)
        return false;
    about = arena_printf(http_exchange_arena(call->ex), "events %llu to %llu%s",
                         (unsigned long long)feed->begun, (unsigned long long)feed->from - 1,
                         feed->stream ? " and what follows" : "");
    feed->told = true;
    feed->err = audit_shown(call, about, feed_told, feed, &waits, &feed->fault);
    feed->busy = waits;
    return waits;
}

/* The last word of a page or long poll; the feed is gone afterwards. */
static void page_answer(struct feed *feed) {
    struct call *call = feed->call;
    struct buf out, page, packed;
    struct str next = STR_NONE;

    feed_unlist(feed);
    if (feed_waits(feed))
        return;
    out = feed->out;
    page = feed->page;
    packed = feed->packed;
    feeds_count(call->loop, (uint64_t)-1);
    if (page.len == 0)
        page_make(feed, &page);
    if (!feed->at_end)
        next = arena_printf(http_exchange_arena(call->ex), "%llu",
                            (unsigned long long)feed->from - 1);
    if (feed->err == OK && !buf_ok(&page))
        feed->err = fault_set(&feed->fault, ERR_NOMEM, "no memory for the events");
    if (feed->err != OK)
        call_problem(call, feed->err, &feed->fault);
    else
        call_answer(call, 200, STR("application/json"), buf_str(&page),
                    core_seq(call->gateway->options.core), next, false);
    buf_free(&out);
    buf_free(&page);
    buf_free(&packed);
}

static void stream_end(struct feed *feed, bool complete) {
    struct call *call = feed->call;

    feed_unlist(feed);
    feeds_count(call->loop, (uint64_t)-1);
    buf_free(&feed->out);
    http_stream_end(call->ex, complete);
}

static void feed_gone(struct http_exchange *ex, void *ctx) {
    struct feed *feed = ctx;

    feed->gone = true;
    if (feed->busy)
        return; /* the job's end sees it */
    if (feed->stream)
        stream_end(feed, true);
    else
        page_answer(feed);
}

/* --- going on ------------------------------------------------------------------------------ */

static void stream_go_on(struct feed *feed) {
    struct gateway *gateway = feed->call->gateway;

    if (feed->gone || feed->err != OK || atomic_load(&gateway->draining)) {
        stream_end(feed, feed->err == OK);
        return;
    }
    if (feed_waits(feed))
        return;
    if (feed->err == OK && feed->out.len > 0) {
        if (feed->shown < feed->call->keyring.opened && feed->shown > 0)
            audit_shown_more(feed->call);
        feed->shown = feed->call->keyring.opened;
        feed->said_us = clock_tick_us(gateway->clock);
        feed->full = !http_stream_write(feed->call->ex, buf_str(&feed->out));
        buf_clear(&feed->out);
    }
    if (feed->err != OK)
        stream_end(feed, false);
    else if (!feed->full &&
             (!feed->at_end || feed->woken || feed->from <= tail_last(gateway->options.tail)))
        feed_read(feed);
}

/* The audit has it, or can not. */
static void feed_told(struct call *call, void *ctx, enum err err) {
    struct feed *feed = ctx;

    feed->busy = false;
    if (err != OK)
        feed->err = fault_set(&feed->fault, err, AUDIT_FAILED);
    if (feed->stream)
        stream_go_on(feed);
    else
        page_answer(feed);
}

static void page_go_on(struct feed *feed) {
    bool over = feed->wait_until_us == 0 ||
                clock_tick_us(feed->call->gateway->clock) >= feed->wait_until_us;

    if (feed->gone || feed->err != OK || feed->count > 0 || (feed->at_end && over) ||
        atomic_load(&feed->call->gateway->draining))
        page_answer(feed);
    else if (!feed->at_end || feed->woken)
        feed_read(feed);
    else
        feed_list(feed);
}

static void feed_done(struct job *job) {
    struct feed *feed = (struct feed *)job;

    feed->busy = false;
    if (job->fault.err != OK) {
        feed->err = job->fault.err;
        feed->fault = job->fault;
    }
    if (feed->stream)
        stream_go_on(feed);
    else
        page_go_on(feed);
}

static void feed_read(struct feed *feed) {
    feed->busy = true;
    feed->woken = false;
    feed->count = feed->scanned = 0;
    feed->job.run = feed_run;
    feed->job.done = feed_done;
    if (job_start(&feed->job, feed->call->loop, feed->call->traffic, &feed->fault) == OK)
        return;
    feed->busy = false;
    feed->err = ERR_UNAVAILABLE;
    if (feed->stream)
        stream_end(feed, false);
    else
        page_answer(feed);
}

static void feed_more(struct http_exchange *ex, void *ctx) {
    struct feed *feed = ctx;

    feed->full = false;
    if (!feed->busy)
        stream_go_on(feed);
}

void feeds_wake(struct gateway_loop *loop) {
    uint64_t last = loop->feeds ? tail_last(loop->gateway->options.tail) : 0;
    struct feed *next;

    for (struct feed *feed = loop->feeds; feed; feed = next) {
        next = feed->next;
        if (feed->busy) /* its place is the worker's now: it looks again when it is back */
            feed->woken = true;
        else if (feed->from <= last && !feed->full)
            feed_read(feed);
    }
}

void feeds_tick(struct gateway_loop *loop) {
    int64_t now_us = clock_tick_us(loop->gateway->clock);
    struct feed *next;

    for (struct feed *feed = loop->feeds; feed; feed = next) {
        next = feed->next;
        if (feed->stream && !feed->busy && !feed->full && now_us - feed->said_us >= HEARTBEAT_US) {
            feed->said_us = now_us; /* a comment: keeps proxies, and finds clients gone */
            feed->full = !http_stream_write(feed->call->ex, STR(":\n\n"));
        } else if (!feed->stream && !feed->busy && now_us >= feed->wait_until_us) {
            page_answer(feed);
        }
    }
}

void feeds_drain(struct gateway_loop *loop) {
    struct feed *next;

    for (struct feed *feed = loop->feeds; feed; feed = next) {
        next = feed->next;
        if (feed->busy)
            continue;
        if (feed->stream)
            stream_end(feed, true);
        else
            page_answer(feed);
    }
}

/* --- beginning ----------------------------------------------------------------------------- */

static enum err filter_add(struct str *list, uint32_t *count, struct str value,
                           struct fault *fault) {
    if (*count == FEED_FILTERS_MAX)
        return fault_set(fault, ERR_BAD_REQUEST, "there are more than %d filters",
                         FEED_FILTERS_MAX);
    list[(*count)++] = value;
    return OK;
}

static struct str type_short(struct str type) {
    struct str prefix = STR(EVENT_TYPE_PREFIX), suffix = STR(EVENT_TYPE_SUFFIX);

    if (!str_starts(type, prefix) || type.len < prefix.len + suffix.len ||
        memcmp(type.ptr + type.len - suffix.len, suffix.ptr, suffix.len) != 0)
        return type;
    return str_of(type.ptr + prefix.len, type.len - prefix.len - suffix.len);
}

/* What the hub writes about itself is for who may read the audit. */
static enum err type_add(struct feed *feed, struct str type, struct fault *fault) {
    if (event_private(type) && !feed->call->audit)
        return fault_set(fault, ERR_FORBIDDEN, "events of this type need the scope " SCOPE_AUDIT);
    return filter_add(feed->types, &feed->type_count, type, fault);
}

static enum err number(const struct query_value *v, uint64_t min, uint64_t max, uint64_t *out,
                       struct fault *fault) {
    if (str_u64(v->value, out) && *out >= min && *out <= max)
        return OK;
    return fault_set(fault, ERR_BAD_REQUEST, "%.*s is not a whole number from %llu to %llu",
                     STR_FMT(v->name), (unsigned long long)min, (unsigned long long)max);
}

static enum err feed_params(struct feed *feed, struct fault *fault) {
    struct call *call = feed->call;
    uint64_t after = 0, limit = FEED_LIMIT_DEFAULT, wait_s = 0;
    enum err err = OK;

    for (uint32_t i = 0; i < call->query.value_count && err == OK; i++) {
        const struct query_value *v = &call->query.values[i];

        if (str_is(v->name, "after"))
            err = number(v, 0, INT64_MAX, &after, fault);
        else if (str_is(v->name, "limit"))
            err = number(v, 1, FEED_LIMIT_MAX, &limit, fault);
        else if (str_is(v->name, "wait"))
            err = number(v, 0, 86400, &wait_s, fault);
        else if (str_is(v->name, "type"))
            err = type_add(feed, type_short(v->value), fault);
        else
            err = filter_add(feed->keys, &feed->key_count, v->value, fault);
    }
    if ((int64_t)wait_s > call->gateway->config->settings.follow_seconds_max)
        wait_s = (uint64_t)call->gateway->config->settings.follow_seconds_max;
    feed->from = feed->begun = after + 1;
    feed->limit = (uint32_t)limit;
    if (wait_s > 0)
        feed->wait_until_us = clock_tick_us(call->gateway->clock) + (int64_t)wait_s * 1000000;
    return err;
}

/* text/event-stream stands in the Accept header. */
static bool stream_asked(const struct http_request *request) {
    struct str rest = http_request_header(request, "Accept");

    while (rest.ptr && request->method == HTTP_METHOD_GET) {
        struct str one = str_cut(&rest, ',');

        if (str_eq_nocase(str_trim(str_cut(&one, ';')), STR("text/event-stream")))
            return true;
    }
    return false;
}

static enum err stream_begin(struct feed *feed) {
    struct call *call = feed->call;
    struct str last = http_request_header(http_exchange_request(call->ex), "Last-Event-ID");
    uint64_t seq;

    feed->stream = true;
    if (last.len > 0) {
        if (!str_u64(last, &seq) || seq > INT64_MAX)
            return fault_set(&call->fault, ERR_BAD_REQUEST, "Last-Event-ID is not a seq");
        feed->from = feed->begun = seq + 1;
    }
    http_answer_begin(call->ex, 200);
    call_headers(call, core_seq(call->gateway->options.core));
    http_answer_header(call->ex, STR("Cache-Control"), STR("no-store"));
    call_count(call, 200);
    http_stream_begin(call->ex, STR("text/event-stream"), feed_more, feed);
    http_stream_write(call->ex, STR("retry: " RETRY_MS "\n\n")); /* who is cut off comes again so soon */
    feed->said_us = clock_tick_us(call->gateway->clock);
    return OK;
}

void feed_begin(struct call *call) {
    struct feed *feed = arena_new(http_exchange_arena(call->ex), struct feed);
    enum err err;

    if (!feed) {
        call_problem(call, fault_set(&call->fault, ERR_NOMEM, "no memory for a feed"),
                     &call->fault);
        return;
    }
    feed->call = call;
    buf_init(&feed->out, 2 * FEED_BYTES_MAX + ((size_t)64 << 20));
    buf_init(&feed->page, 0);
    buf_init(&feed->packed, 0);
    err = feed_params(feed, &call->fault);
    if (err == OK && stream_asked(http_exchange_request(call->ex)))
        err = stream_begin(feed);
    if (err != OK) {
        call_problem(call, err, &call->fault);
        return;
    }
    feeds_count(call->loop, 1);
    http_gone_set(call->ex, feed_gone, feed);
    if (feed->stream)
        feed_list(feed);
    feed_read(feed);
}
