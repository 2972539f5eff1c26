/* connectors: see connectors.h. */
#include "ops/connectors.h"

#include <inttypes.h>

#include "base/log.h"
#include "domain/exceptions.h"
#include "map/mapping.h"
#include "ops/ask.h"
#include "ops/audit_write.h"
#include "ops/connectors_shapes.h"
#include "ops/expected.h"

#define FAULTS_SAID 20 /* of one connector, in an exception */
#define REJECTED "connector-rejected"
#define CASES_MAX 1000 /* of the same faults, one after the other */

void connectors_desk_init(struct connectors_desk *desk) { pthread_mutex_init(&desk->lock, NULL); }
void connectors_desk_end(struct connectors_desk *desk) { pthread_mutex_destroy(&desk->lock); }

/* --- telling --------------------------------------------------------------------------------- */

static void fault_write(struct buf *out, const struct fault_item *item) {
    buf_lit(out, "{\"pointer\":");
    buf_json_str(out, item->pointer.len ? item->pointer : STR(""));
    buf_lit(out, ",\"detail\":");
    buf_json_str(out, item->detail.len ? item->detail : STR(""));
    buf_char(out, '}');
}

/* What of a fault has no items is one. */
static void faults_write(struct buf *out, const struct fault *fault, uint32_t max) {
    struct fault_item only = {.detail = fault ? str_c(fault->detail) : STR_NONE};
    uint32_t n = 0;
    buf_char(out, '[');
    if (fault && !fault->first)
        fault_write(out, &only);
    for (const struct fault_item *i = fault ? fault->first : NULL; i && n < max; i = i->next) {
        if (n++ > 0)
            buf_char(out, ',');
        fault_write(out, i);
    }
    buf_char(out, ']');
}

static struct str first_words(const struct roster_change *change, struct arena *arena) {
    const struct fault *fault = change->fault;
    if (!fault->first)
        return arena_str(arena, str_c(fault->detail));
    return arena_printf(arena, "%.*s: %.*s", STR_FMT(fault->first->pointer),
                        STR_FMT(fault->first->detail));
}

static const struct json *exception_details(const struct roster_change *change, struct arena *arena) {
    struct json_parser *parser = json_parser_create();
    const struct json *details = NULL;
    struct fault ignored = {0};
    struct buf out;
    buf_init(&out, 1 << 20);
    buf_lit(&out, "{\"connector\":");
    buf_json_str(&out, change->connector);
    buf_lit(&out, ",\"faults\":");
    faults_write(&out, change->fault, FAULTS_SAID);
    buf_char(&out, '}');
    if (!parser || !buf_ok(&out) ||
        json_parse(parser, arena, arena_str(arena, buf_str(&out)), false, &details, &ignored) != OK)
        details = NULL;
    json_parser_destroy(parser);
    buf_free(&out);
    return details;
}

static void exception_fill(struct exception *e, const struct roster_change *change, struct arena *arena) {
    e->kind = STR(REJECTED);
    e->subject = change->connector;
    e->cause = arena_printf(arena, "the new version of connector %.*s is not taken: %.*s",
                            STR_FMT(change->connector), STR_FMT(first_words(change, arena)));
    e->action = arena_printf(arena, "Mend the files and let them be read again; version %.*s serves "
                                    "meanwhile", STR_FMT(change->version));
    shape_mark(e, EXCEPTION_KIND);
    shape_mark(e, EXCEPTION_SUBJECT);
    shape_mark(e, EXCEPTION_CAUSE);
    shape_mark(e, EXCEPTION_ACTION);
    if (change->owner.len) {
        e->owner = change->owner;
        shape_mark(e, EXCEPTION_OWNER);
    }
    e->details = exception_details(change, arena);
    if (e->details)
        shape_mark(e, EXCEPTION_DETAILS);
}

/* The next open case about a rejected connector, from *at on; false: there are no more. */
static bool case_next(struct connectors_desk *desk, uint32_t *at, struct arena *arena, struct str *id,
                      struct str *connector) {
    core_read_begin(desk->core);
    bool more = exceptions_next(core_state(desk->core, &exceptions_capability), STR(REJECTED), at, arena, id,
                                connector);
    core_read_end(desk->core);
    return more;
}

static bool case_is_open(struct connectors_desk *desk, struct str of, struct arena *arena) {
    struct str id, connector;
    uint32_t at = 0;
    while (case_next(desk, &at, arena, &id, &connector))
        if (connector.ptr && str_eq(connector, of))
            return true;
    return false;
}

/* The idempotency key is made of the serving version, the faults and `nth`. */
static enum err exception_ask(struct connectors_desk *desk, const struct roster_change *change, uint32_t nth,
                              struct arena *arena, bool *before, struct fault *fault) {
    struct command command;
    struct exception *e = arena_new(arena, struct exception);
    struct str words = first_words(change, arena);
    if (!e || !words.ptr)
        return fault_set(fault, ERR_NOMEM, "no memory for an exception");
    exception_fill(e, change, arena);
    enum err err = command_prepare(desk->core, &exception_raise_command, arena, e, &command, fault);
    if (err != OK)
        return err;
    command.actor = STR("hub");
    command.idem_scope = STR(REJECTED);
    command.idem_key = arena_printf(arena, "%.*s-%.*s-%016" PRIx64 "-%u", STR_FMT(change->connector),
                                    STR_FMT(change->version), hash64(words, change->fault->count), nth);
    err = ask_core(desk->core, &command, fault);
    *before = command.answer.replayed;
    return err;
}

/* Once for the same faults beside the same serving version, over restarts as well, until that case is
 * closed. */
static enum err exception_tell(struct connectors_desk *desk, const struct roster_change *change,
                               struct fault *fault) {
    struct arena arena;
    bool before = true;
    enum err err = OK;
    arena_init(&arena, 0);
    for (uint32_t nth = 0; err == OK && before && nth < CASES_MAX; nth++) {
        err = exception_ask(desk, change, nth, &arena, &before, fault);
        if (case_is_open(desk, change->connector, &arena))
            break;
    }
    arena_free(&arena);
    return err;
}

static void rejection_tell(struct connectors_desk *desk, const struct roster_change *change) {
    const struct fault *why = change->fault;
    struct fault fault = {0};
    if (!why->first)
        log_line(LOG_ERROR, "connect", "the connector's files are not taken", "connector=%s detail=%s",
                 log_quote(change->connector), log_quote(str_c(why->detail)));
    for (const struct fault_item *i = why->first; i; i = i->next)
        log_line(LOG_ERROR, "connect", "the connector's files are not taken",
                 "connector=%s at=%s detail=%s", log_quote(change->connector), log_quote(i->pointer),
                 log_quote(i->detail));
    if (!change->version.len) /* it never served: nobody waits for it, and who writes it is told so */
        return;
    if (exception_tell(desk, change, &fault) != OK)
        log_line(LOG_WARN, "connect", "no exception could be raised", "connector=%s detail=%s",
                 log_quote(change->connector), log_quote(str_c(fault.detail)));
}

static bool still_rejected(struct connectors_desk *desk, struct str connector, struct arena *arena) {
    struct roster_rejection rejection;
    for (uint32_t i = 0; roster_rejection(desk->roster, i, arena, &rejection); i++)
        if (str_eq(rejection.connector, connector))
            return true;
    return false;
}

static enum err case_close(struct connectors_desk *desk, struct str id, struct arena *arena,
                           struct fault *fault) {
    struct command command;
    struct resolution *r = arena_new(arena, struct resolution);
    if (!r)
        return fault_set(fault, ERR_NOMEM, "no memory for a resolution");
    r->resolution = STR("mended");
    r->reason = STR("the connector's files are fit again, or gone");
    r->has = UINT64_C(1) << RESOLUTION_RESOLUTION | UINT64_C(1) << RESOLUTION_REASON;
    enum err err = command_prepare(desk->core, &exception_resolve_command, arena, r, &command, fault);
    if (err != OK)
        return err;
    command.args[0] = id;
    command.actor = STR("hub");
    command.if_match = -1;
    err = ask_core(desk->core, &command, fault);
    return err == ERR_CONFLICT ? OK : err; /* somebody closed it meanwhile */
}

/* What was rejected, before a restart too, and is not any more. */
static void rejections_close(struct connectors_desk *desk) {
    struct arena arena;
    struct fault fault = {0};
    struct str id, connector;
    uint32_t at = 0;
    arena_init(&arena, 0);
    while (case_next(desk, &at, &arena, &id, &connector)) {
        if (!id.ptr || !connector.ptr || still_rejected(desk, connector, &arena))
            continue;
        if (case_close(desk, id, &arena, &fault) != OK)
            log_line(LOG_WARN, "connect", "an exception could not be closed", "connector=%s detail=%s",
                     log_quote(connector), log_quote(str_c(fault.detail)));
    }
    arena_free(&arena);
}

void connectors_tell(struct connectors_desk *desk, const struct roster_report *report) {
    rejections_close(desk);
    for (const struct roster_change *c = report->changes; c; c = c->next) {
        if (c->kind == ROSTER_REJECTED && !c->told)
            rejection_tell(desk, c);
        else if (c->kind != ROSTER_REJECTED)
            log_line(LOG_INFO, "connect", "connectors were taken up", "connector=%s change=%s version=%s "
                     "hash=%s", log_quote(c->connector), roster_kind_name(c->kind),
                     log_quote(c->version), log_quote(c->hash));
    }
}

static void audit_tell(struct connectors_desk *desk, struct str actor, struct str correlation,
                       const struct roster_report *report) {
    struct audit_note note;
    struct audit_writer writer = {.actor = actor, .correlation = correlation};
    struct fault fault = {0};
    struct buf words;
    buf_init(&words, 380);
    for (const struct roster_change *c = report->changes; c; c = c->next)
        if (!c->told)
            buf_printf(&words, "%s%.*s %s%s%.*s", words.len ? ", " : "", STR_FMT(c->connector),
                       roster_kind_name(c->kind), c->kind == ROSTER_CHANGED ? " to " : "",
                       c->kind == ROSTER_CHANGED ? (int)c->version.len : 0, c->version.ptr);
    bool any = words.len > 0;
    audit_note_make(&note, AUDIT_ADMIN, STR("connectors.reloaded"), STR_NONE,
                    str_of(words.data, words.len));
    if (any && audit_write(desk->core, &writer, &note, &fault) != OK)
        log_line(LOG_WARN, "connect", "the audit could not be told", "detail=%s",
                 log_quote(str_c(fault.detail)));
    buf_free(&words);
}

enum err connectors_reload(struct connectors_desk *desk, struct str actor, struct str correlation,
                           struct arena *arena, struct roster_report *report, struct fault *fault) {
    pthread_mutex_lock(&desk->lock);
    enum err err = roster_reload(desk->roster, arena, report, fault);
    if (err == OK && report->count > 0) {
        const struct connectors *set = roster_take(desk->roster);
        inbound_renew(desk->inbound, set);
        deliver_renew(desk->deliver, set);
        poller_renew(desk->poller, set);
        drop_renew(desk->drop, set);
        streams_renew(desk->streams, set);
        operate_renew(desk->operate, set);
        connectors_release(set);
    }
    pthread_mutex_unlock(&desk->lock);
    if (err == OK) {
        audit_tell(desk, actor, correlation, report);
        connectors_tell(desk, report);
    }
    return err;
}

/* --- routes ---------------------------------------------------------------------------------- */

static enum err reload_query(struct query *query, struct fault *fault) {
    struct connectors_desk *desk = query->ctx;
    struct roster_report report;
    struct buf *out = query->out;
    enum err err = connectors_reload(desk, query->actor, query->correlation, query->arena, &report, fault);
    if (err != OK)
        return err;
    buf_printf(out, "{\"unchanged\":%u,\"rejected\":%u,\"changes\":[", report.unchanged, report.rejected);
    for (const struct roster_change *c = report.changes; c; c = c->next) {
        buf_str_add(out, c == report.changes ? STR("{\"connector\":") : STR(",{\"connector\":"));
        buf_json_str(out, c->connector);
        buf_printf(out, ",\"change\":\"%s\"", roster_kind_name(c->kind));
        buf_json_member(out, "version", c->version);
        buf_json_member(out, "hash", c->hash);
        buf_lit(out, ",\"faults\":");
        faults_write(out, c->fault, UINT32_MAX);
        buf_char(out, '}');
    }
    buf_lit(out, "]}");
    return OK;
}

/* `traffic` NULL: nothing was counted. */
static void topic_write(struct buf *out, const struct connector_receive *r, const struct traffic_topic *traffic) {
    static const struct traffic_topic none;
    const struct traffic_topic *t = traffic ? traffic : &none;
    buf_printf(out, ",\"received\":%" PRIu64, counter_read(&t->received));
    instant_member(out, "received_at", atomic_load(&t->received_us));
    if (r->backstop.len) {
        buf_json_member(out, "backstop", r->backstop);
        buf_printf(out, ",\"repaired\":%" PRIu64, counter_read(&t->repaired));
        instant_member(out, "repaired_at", atomic_load(&t->repaired_us));
    }
    if (r->expect)
        instant_member(out, "absent_since", atomic_load(&t->absent_us));
}

static void topics_write(struct buf *out, const struct connector *connector) {
    buf_lit(out, ",\"topics\":[");
    for (uint32_t i = 0; i < connector->taken_count; i++) {
        const struct connector_receive *r = connector->taken[i];
        buf_str_add(out, i ? STR(",{\"topic\":") : STR("{\"topic\":"));
        buf_json_str(out, r->topic);
        buf_lit(out, ",\"commands\":[");
        if (r->command.len)
            buf_json_str(out, r->command);
        for (uint32_t k = 0; k < r->commands.count; k++) {
            buf_str_add(out, k ? STR(",") : STR(""));
            buf_json_str(out, *list_at(r->commands, struct str, k));
        }
        buf_char(out, ']');
        buf_json_member(out, "mapping", r->source ? r->source->version : STR("-"));
        topic_write(out, r, connector->counters ? traffic_find(&connector->counters->traffic, r->topic) : NULL);
        buf_char(out, '}');
    }
    buf_char(out, ']');
}

static void streams_write(struct buf *out, struct streams *streams, struct str connector) {
    static const char *const states[] = {"unusable", "connecting", "reading", "failing"};
    struct stream_stats all[STREAMS_MAX];
    uint32_t count = streams ? streams_list(streams, all, STREAMS_MAX) : 0;
    bool any = false;
    buf_lit(out, ",\"streams\":[");
    for (uint32_t i = 0; i < count; i++) {
        const struct stream_stats *s = &all[i];
        if (!str_eq(s->connector, connector))
            continue;
        buf_str_add(out, any ? STR(",{\"topic\":") : STR("{\"topic\":"));
        any = true;
        buf_json_str(out, s->topic);
        buf_printf(out, ",\"state\":\"%s\",\"messages\":%" PRIu64, states[s->state], s->messages);
        if (s->waiting < 0)
            buf_lit(out, ",\"waiting\":null");
        else
            buf_printf(out, ",\"waiting\":%" PRId64, s->waiting);
        buf_json_member(out, "error", s->state == STREAM_FAILING ? str_c(s->error) : STR_NONE);
        buf_char(out, '}');
    }
    buf_char(out, ']');
}

static bool stats_of(struct deliver *deliver, struct str subscription, struct deliver_stats *out) {
    uint32_t count = deliver_count(deliver);
    for (uint32_t i = 0; i < count; i++)
        if (deliver_stats(deliver, i, out) && str_eq(out->subscription, subscription))
            return true;
    return false;
}

static void subscriptions_write(struct buf *out, struct deliver *deliver,
                                const struct connector *connector) {
    bool any = false;
    buf_lit(out, ",\"subscriptions\":[");
    for (uint32_t i = 0; i < connector->send.count; i++) {
        const struct connector_send *send = list_at(connector->send, struct connector_send, i);
        struct deliver_stats s;
        if (!stats_of(deliver, send->subscription, &s)) /* delivery takes it up in a moment */
            continue;
        buf_str_add(out, any ? STR(",{\"subscription\":") : STR("{\"subscription\":"));
        any = true;
        buf_json_str(out, s.subscription);
        buf_printf(out, ",\"state\":\"%s\",\"behind\":%" PRIu64 ",\"held\":%" PRIu32
                        ",\"delivered\":%" PRIu64 ",\"failed\":%" PRIu64,
                   deliver_state(&s), s.behind, s.held, s.delivered, s.failed);
        instant_member(out, "delivered_at", s.delivered_us);
        buf_json_member(out, "error", str_c(s.error));
        buf_char(out, '}');
    }
    buf_char(out, ']');
}

static void counts_write(struct buf *out, const struct connector_counters *c) {
    static const struct connector_counters none;
    c = c ? c : &none;
    buf_printf(out, ",\"received\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"mapped\":%" PRIu64
                    ",\"failed\":%" PRIu64,
               counter_read(&c->received), counter_read(&c->rejected),
               counter_read(&c->processed[PROCESSED_MAPPED]) + counter_read(&c->processed[PROCESSED_KNOWN]),
               counter_read(&c->processed[PROCESSED_FAILED]));
    instant_member(out, "received_at", atomic_load(&c->received_us));
    instant_member(out, "mapped_at", atomic_load(&c->processed_us));
    instant_member(out, "failed_at", atomic_load(&c->failed_us));
}

static void rejected_write(struct buf *out, const struct roster_rejection *rejection) {
    if (!rejection)
        return;
    buf_lit(out, ",\"rejected\":{\"cause\":");
    buf_json_str(out, rejection->cause.len ? rejection->cause : STR("?"));
    buf_printf(out, ",\"faults\":%u", rejection->faults);
    instant_member(out, "since", rejection->since_us);
    buf_char(out, '}');
}

/* `connector` NULL: none serves under the name. */
static void status_write(struct buf *out, struct connectors_desk *desk, struct str name,
                         const struct connector *connector, const struct roster_rejection *rejection) {
    static const struct connector none;
    const struct connector *c = connector ? connector : &none;
    buf_lit(out, "{\"connector\":");
    buf_json_str(out, name);
    buf_printf(out, ",\"state\":\"%s\"", rejection ? "rejected" : c->missing.len ? "incomplete" : "serving");
    buf_json_member(out, "version", c->version);
    buf_json_member(out, "hash", c->hash);
    buf_json_member(out, "owner", c->owner);
    buf_json_member(out, "service_level", c->service_level);
    buf_json_member(out, "missing", c->missing);
    rejected_write(out, rejection);
    counts_write(out, c->counters);
    topics_write(out, c);
    streams_write(out, desk->streams, name);
    subscriptions_write(out, desk->deliver, c);
    buf_char(out, '}');
}

struct statuses {
    struct query *query;
    const struct connectors *set;
    struct roster_rejection *rejections;
    uint32_t rejected, written;
};

static enum err statuses_begin(struct statuses *all, struct query *query, struct fault *fault) {
    struct connectors_desk *desk = query->ctx;
    uint32_t count = roster_rejected(desk->roster);
    *all = (struct statuses){.query = query};
    all->rejections = arena_array(query->arena, count + 1, sizeof *all->rejections);
    if (!all->rejections)
        return fault_set(fault, ERR_NOMEM, "no memory for the list");
    while (all->rejected < count && roster_rejection(desk->roster, all->rejected, query->arena,
                                                     &all->rejections[all->rejected]))
        all->rejected++;
    all->set = roster_take(desk->roster);
    return OK;
}

static const struct roster_rejection *rejection_of(const struct statuses *all, struct str name) {
    for (uint32_t i = 0; i < all->rejected; i++)
        if (str_eq(all->rejections[i].connector, name))
            return &all->rejections[i];
    return NULL;
}

/* Those that serve and those whose folder is rejected; `only` absent: all. */
static void statuses_write(struct statuses *all, struct str only) {
    struct connectors_desk *desk = all->query->ctx;
    struct buf *out = all->query->out;
    for (uint32_t i = 0; i < all->set->count; i++) {
        const struct connector *c = all->set->items[i];
        if (only.ptr && !str_eq(only, c->name))
            continue;
        if (all->written++ > 0)
            buf_char(out, ',');
        status_write(out, desk, c->name, c, rejection_of(all, c->name));
    }
    for (uint32_t i = 0; i < all->rejected; i++) {
        struct str name = all->rejections[i].connector;
        if ((only.ptr && !str_eq(only, name)) || connector_find(all->set, name))
            continue;
        if (all->written++ > 0)
            buf_char(out, ',');
        status_write(out, desk, name, NULL, &all->rejections[i]);
    }
    connectors_release(all->set);
}

static enum err list_query(struct query *query, struct fault *fault) {
    struct statuses all;
    enum err err = statuses_begin(&all, query, fault);
    if (err != OK)
        return err;
    list_begin(query->out);
    statuses_write(&all, STR_NONE);
    list_end(query->out, STR_NONE);
    return OK;
}

static enum err show_query(struct query *query, struct fault *fault) {
    struct statuses all;
    enum err err = statuses_begin(&all, query, fault);
    if (err != OK)
        return err;
    statuses_write(&all, query->args[0]);
    return all.written ? OK : fault_set(fault, ERR_NOT_FOUND, "there is no such connector");
}

const struct route connectors_routes[] = {
    {.method = "GET", .path = "/ops/connectors", .scope = "ops:read", .traffic = CLASS_OPS,
     .query = list_query, .answer = &connector_status_shape, .flags = ROUTE_LIST,
     .help = "Connectors: which version serves, what is not set, how each fares"},
    {.method = "GET", .path = "/ops/connectors/{name}", .scope = "ops:read", .traffic = CLASS_OPS,
     .query = show_query, .answer = &connector_status_shape, .refusals = ROUTE_REFUSES(ERR_NOT_FOUND),
     .help = "One connector and how it fares"},
    {.method = "POST", .path = "/ops/connectors/reload", .scope = "ops:reload", .traffic = CLASS_OPS,
     .query = reload_query, .answer = &connectors_reload_shape,
     .help = "Read the folders of connectors again and take up what changed and is fit",
     .more = "A version is taken when it loads, its mappings compile and its fixtures pass; else the "
             "one before goes on. What is under way ends with the version it began with."},
    {.method = "GET", .path = "/ops/expected", .scope = "ops:read", .traffic = CLASS_OPS,
     .query = expected_query, .answer = &expected_shape, .flags = ROUTE_LIST,
     .help = "What should come and go (`expect`): what last did, until when more must, what does not, what "
             "backstops repaired"},
    {.method = NULL},
};
