/* connector_load_poll: section `poll` of connector.yaml: its tables, and what the tables can not say. */
#include "connect/connector_poll.h"
#include "connect/connector_priv.h"
#include "connect/expect.h"

#define ROW_AS(as, type, member, kind_, help_text, ...)                                            \
    {.name = as, .kind = kind_, .offset = offsetof(type, member), .since = 1, .help = help_text,   \
     ##__VA_ARGS__}

static const char *const mark_types[] = {"time", "number", "text", NULL};
static const char *const mark_formats[] = {"rfc3339",  "seconds", "milliseconds",
                                           "datetime", "space",   "date", NULL};
enum watermark_row {
    WATERMARK_MEMBER, WATERMARK_TYPE, WATERMARK_FORMAT, WATERMARK_INITIAL, WATERMARK_OVERLAP_S,
    WATERMARK_OVERLAP, WATERMARK_SORTED,
};
static const struct shape_field watermark_rows[] = {
    [WATERMARK_MEMBER] = SHAPE_ROW(struct connector_watermark, member, SHAPE_TEXT,
                                   "Member of an item that grows with each change: \"updated_at\"",
                                   .flags = SHAPE_REQUIRED, .min = 1, .max = 256),
    [WATERMARK_TYPE] = SHAPE_ROW(struct connector_watermark, type, SHAPE_ENUM,
                                 "How it is compared (time)", .values = mark_types),
    [WATERMARK_FORMAT] = SHAPE_ROW(struct connector_watermark, format, SHAPE_ENUM,
                                   "How a time is written into the request (rfc3339)",
                                   .values = mark_formats),
    [WATERMARK_INITIAL] = SHAPE_ROW(struct connector_watermark, initial, SHAPE_TEXT,
                                    "Where it starts: now, beginning, or a value (beginning)",
                                    .min = 1, .max = 256),
    [WATERMARK_OVERLAP_S] = SHAPE_ROW(struct connector_watermark, overlap_s, SHAPE_INTEGER,
                                      "Seconds before it that are asked for again (60)", .min = 0,
                                      .max = 31536000),
    [WATERMARK_OVERLAP] = SHAPE_ROW(struct connector_watermark, overlap, SHAPE_INTEGER,
                                    "Of type number: so much before it is asked for again (0)",
                                    .min = 0, .max = INT64_C(1) << 53),
    [WATERMARK_SORTED] = SHAPE_ROW(struct connector_watermark, sorted, SHAPE_BOOL,
                                   "The answer ascends by it: it moves with each page (false: at the "
                                   "end of a round)"),
};
static SHAPE_DEFINE(watermark_shape, "connector_watermark", struct connector_watermark,
                    "How far a poll has come", watermark_rows);

static const char *const page_styles[] = {"none", "link", "url", "cursor", "offset", "page",
                                          "watermark", NULL};
static const struct shape_field pages_rows[] = {
    SHAPE_ROW(struct connector_pages, style, SHAPE_ENUM, "How the next page is asked for (none)",
              .values = page_styles),
    SHAPE_ROW(struct connector_pages, next, SHAPE_TEXT,
              "url, cursor: JSON Pointer of it in the answer", .min = 1, .max = 256),
    SHAPE_ROW(struct connector_pages, more, SHAPE_TEXT,
              "JSON Pointer of a boolean in the answer: false is the end", .min = 1, .max = 256),
    SHAPE_ROW(struct connector_pages, param, SHAPE_CODE,
              "cursor: query parameter that gets it, from the second page on"),
    SHAPE_ROW(struct connector_pages, url, SHAPE_TEXT,
              "cursor: address from the second page on, where it is another", .min = 1),
    SHAPE_ROW(struct connector_pages, stable, SHAPE_BOOL,
              "link, url, cursor: pages do not shift when items change, so that a round in which some did "
              "need not be made again (false)"),
    SHAPE_ROW(struct connector_pages, size, SHAPE_INTEGER, "Items asked for: {page_size} (100)",
              .min = 1, .max = 100000),
    SHAPE_ROW(struct connector_pages, pages_max, SHAPE_INTEGER, "Pages of one round (1000)",
              .min = 1, .max = 1000000),
};
static SHAPE_DEFINE(pages_shape, "connector_pages", struct connector_pages,
                    "How a long answer is divided", pages_rows);

#define METHOD_URL_HEADERS_BODY(type)                                                              \
    SHAPE_ROW(type, method, SHAPE_CODE, "HTTP method (GET; POST with a body)"),                    \
        SHAPE_ROW(type, url, SHAPE_TEXT, "With ${…} and {…}", .flags = SHAPE_REQUIRED, .min = 1),  \
        ROW_AS("headers", type, headers_open, SHAPE_OPEN, "Header names and texts"),               \
        ROW_AS("body", type, body_open, SHAPE_OPEN, "JSON document; its texts may hold ${…} and {…}")

static const struct shape_field request_rows[] = {
    METHOD_URL_HEADERS_BODY(struct connector_poll_request),
    SHAPE_ROW(struct connector_poll_request, mapping, SHAPE_CODE,
              "File beside this one: how far the poll has come, to {path, body} of the request"),
};
static SHAPE_DEFINE(request_shape, "connector_poll_request", struct connector_poll_request,
                    "What is asked", request_rows);

static const struct shape_field detail_rows[] = {
    METHOD_URL_HEADERS_BODY(struct connector_detail),
    SHAPE_ROW(struct connector_detail, document, SHAPE_TEXT,
              "JSON Pointer in its answer: what is kept (all of it)", .max = 256),
};
static SHAPE_DEFINE(detail_shape, "connector_detail", struct connector_detail,
                    "A call for each item of the list", detail_rows);

enum poll_row {
    POLL_TOPIC, POLL_ENABLED, POLL_EVERY_S, POLL_REQUEST, POLL_ANSWER, POLL_ITEMS, POLL_ERROR,
    POLL_WATERMARK, POLL_PAGES, POLL_DETAIL, POLL_DEDUP, POLL_KEY, POLL_VERSION, POLL_MAPPING,
    POLL_COMMAND, POLL_COMMANDS, POLL_TIMEOUT_MS, POLL_BACKSTOP, POLL_GRACE_S, POLL_EXPECT,
    POLL_OUTCOME, POLL_PRIORITY,
};
static const struct shape_field poll_rows[] = {
    [POLL_TOPIC] = SHAPE_ROW(struct connector_poll, topic, SHAPE_CODE,
                             "Its name; no other topic of the connector has it",
                             .flags = SHAPE_REQUIRED),
    [POLL_ENABLED] = SHAPE_ROW(struct connector_poll, enabled, SHAPE_BOOL,
                               "false: checked, but not polled (true)"),
    [POLL_EVERY_S] = SHAPE_ROW(struct connector_poll, every_s, SHAPE_INTEGER,
                               "Seconds from one round to the next", .flags = SHAPE_REQUIRED,
                               .min = 1, .max = 604800),
    [POLL_REQUEST] = ROW_AS("request", struct connector_poll, how, SHAPE_OBJECT, "What is asked",
                            .flags = SHAPE_REQUIRED, .shape = &request_shape),
    [POLL_ANSWER] = SHAPE_ROW(struct connector_poll, answer, SHAPE_CODE,
                              "File beside this one: the answer to what items and pages point into"),
    [POLL_ITEMS] = SHAPE_ROW(struct connector_poll, items, SHAPE_TEXT,
                             "JSON Pointer of the list in the answer; \"\": it is the list",
                             .flags = SHAPE_REQUIRED, .max = 256),
    [POLL_ERROR] = SHAPE_ROW(struct connector_poll, error, SHAPE_TEXT,
                             "JSON Pointer: where something stands there, the answer is a failure",
                             .min = 1, .max = 256),
    [POLL_WATERMARK] = SHAPE_ROW(struct connector_poll, watermark, SHAPE_OBJECT,
                                 "How far it has come; left out: everything, each time",
                                 .shape = &watermark_shape),
    [POLL_PAGES] = SHAPE_ROW(struct connector_poll, pages, SHAPE_OBJECT,
                             "How a long answer is divided", .shape = &pages_shape),
    [POLL_DETAIL] = SHAPE_ROW(struct connector_poll, detail, SHAPE_OBJECT,
                              "A call for each item, where the list does not say all",
                              .shape = &detail_shape),
    [POLL_DEDUP] = SHAPE_ROW(struct connector_poll, dedup, SHAPE_OBJECT,
                             "The item's id; left out: its key", .shape = &connector_place_shape),
    [POLL_KEY] = SHAPE_ROW(struct connector_poll, key, SHAPE_OBJECT,
                           "Items with one key are processed in order",
                           .shape = &connector_place_shape),
    [POLL_VERSION] = SHAPE_ROW(struct connector_poll, version, SHAPE_OBJECT,
                               "Version or time of what the key names: older than applied is stale",
                               .shape = &connector_place_shape),
    [POLL_MAPPING] = SHAPE_ROW(struct connector_poll, mapping, SHAPE_CODE,
                               "File beside this one: \"order.lua\"; left out with backstop"),
    [POLL_COMMAND] = SHAPE_ROW(struct connector_poll, command, SHAPE_CODE,
                               "What it asks of the hub"),
    [POLL_COMMANDS] = SHAPE_ROW(struct connector_poll, commands, SHAPE_LIST,
                                "In its place: those that route() of the mapping may name", .max = 16),
    [POLL_OUTCOME] = SHAPE_ROW(struct connector_poll, outcome, SHAPE_OBJECT, "What an answer means",
                               .shape = &connector_outcome_shape),
    [POLL_PRIORITY] = SHAPE_ROW(struct connector_poll, priority, SHAPE_ENUM,
                                "What goes first where the account can not take all: customer, stock, catalogue, "
                                "ledger (by its command)", .values = account_priorities),
    [POLL_TIMEOUT_MS] = SHAPE_ROW(struct connector_poll, timeout_ms, SHAPE_INTEGER,
                                  "Time of one call (30000)", .min = 10, .max = 600000),
    [POLL_BACKSTOP] = SHAPE_ROW(struct connector_poll, backstop, SHAPE_CODE,
                                "Topic of a webhook of this connector: what it did not bring is fetched; mapping, "
                                "command, key, version and only are that topic's"),
    [POLL_GRACE_S] = SHAPE_ROW(struct connector_poll, grace_s, SHAPE_INTEGER,
                               "backstop: what changed less than so many seconds ago may still come by itself, and "
                               "waits for a later round (60)", .min = 0, .max = 86400),
    [POLL_EXPECT] = SHAPE_ROW(struct connector_poll, expect, SHAPE_OBJECT, "What should come; else a person is told",
                              .shape = &connector_expect_shape),
};
SHAPE_DEFINE(connector_poll_shape, "connector_poll", struct connector_poll,
             "What is asked for every so often", poll_rows);

/* --- what the tables can not say --------------------------------------------------------- */

static void fault_at(struct loader *l, uint32_t i, const char *what, const char *words) {
    yaml_fault(&l->yaml, l->fault, load_pointer(l, "/poll/%u/%s", i, what), "%s", words);
}

static void check_member(struct loader *l, const struct connector_place *place, uint32_t i,
                         const char *what) {
    if (place && !shape_has(place, PLACE_MEMBER))
        fault_at(l, i, what, "must name a member: items have no headers");
}

static void load_body(struct loader *l, const struct json *from, struct buf *missing,
                      struct str pointer, struct str *out) {
    if (from && from->kind != JSON_NULL)
        *out = load_document(l, from, missing, pointer);
}

static void load_pages(struct loader *l, const struct connector_poll *poll, uint32_t i,
                       struct buf *missing) {
    struct connector_pages *pages = poll->pages;
    bool next = pages->style == PAGES_URL || pages->style == PAGES_CURSOR;
    if (!pages->size)
        pages->size = 100;
    if (!pages->pages_max)
        pages->pages_max = 1000;
    if (next && !pages->next.len)
        fault_at(l, i, "pages/next", "is needed: where in the answer the next page is named");
    if (!next && pages->next.len)
        fault_at(l, i, "pages/next", "belongs to the styles url and cursor");
    if (pages->style != PAGES_CURSOR && (pages->param.len || pages->url.len))
        fault_at(l, i, "pages", "param and url belong to the style cursor");
    if (pages->style == PAGES_WATERMARK && (!poll->watermark || !poll->watermark->sorted))
        fault_at(l, i, "pages/style", "needs a watermark that is sorted: it is what the next page begins at");
    if (pages->url.len)
        pages->url = load_text(l, pages->url, missing, load_pointer(l, "/poll/%u/pages/url", i)).text;
}

static void load_watermark(struct loader *l, const struct connector_poll *poll, uint32_t i) {
    struct connector_watermark *mark = poll->watermark;
    if (!mark)
        return;
    if (mark->type == MARK_TIME && !shape_has(mark, WATERMARK_OVERLAP_S))
        mark->overlap_s = 60;
    if (mark->type != MARK_TIME && (mark->overlap_s || mark->format))
        fault_at(l, i, "watermark", "overlap_s and format belong to the type time");
    if (mark->type != MARK_NUMBER && mark->overlap)
        fault_at(l, i, "watermark/overlap", "belongs to the type number; of times it is overlap_s");
    if (!mark->initial.len)
        mark->initial = STR("beginning");
    int64_t ignored;
    struct instant at;
    bool word = str_is(mark->initial, "beginning") ||
                (mark->type == MARK_TIME && str_is(mark->initial, "now"));
    if (!word && ((mark->type == MARK_TIME && !instant_parse(mark->initial, &at)) ||
                  (mark->type == MARK_NUMBER && !str_i64(mark->initial, &ignored))))
        fault_at(l, i, "watermark/initial",
                 mark->type == MARK_TIME ? "must be now, beginning or a time (RFC 3339)"
                                         : "must be beginning or a whole number");
}

static void check_topic(struct loader *l, const struct connector_poll *poll, uint32_t i) {
    bool there = connector_topic(l->connector, poll->topic) != NULL;
    for (uint32_t k = 0; k < i; k++)
        there = there || str_eq(list_at(l->connector->poll, struct connector_poll, k)->topic,
                                poll->topic);
    if (there)
        fault_at(l, i, "topic", "the topic is there twice");
}

/* What the webhook says of its messages holds for what is fetched in their place. */
static void load_backstop(struct loader *l, struct connector_poll *poll, uint32_t i) {
    const struct connector_receive *topic = poll->backstop.len ? connector_topic(l->connector, poll->backstop) : NULL;
    bool own = poll->mapping.len || poll->command.len || poll->commands.count || poll->key || poll->version;
    if (!poll->backstop.len && !poll->mapping.len)
        fault_at(l, i, "mapping", "is needed: file beside this one");
    if (!poll->backstop.len && shape_has(poll, POLL_GRACE_S))
        fault_at(l, i, "grace_s", "belongs to a backstop");
    if (!poll->backstop.len)
        return;
    if (!topic)
        fault_at(l, i, "backstop", "is no topic of this connector's webhooks (receive)");
    else if (!topic->key || !topic->key->member.len)
        fault_at(l, i, "backstop", "needs a key of the webhook that is a member: by it is known what has come");
    if (own)
        fault_at(l, i, "backstop", "stands in place of mapping, command, key and version: they are the webhook's");
    if (!poll->watermark || poll->watermark->type != MARK_TIME)
        fault_at(l, i, "backstop", "needs a watermark of the type time: what is too young waits");
    if (!shape_has(poll, POLL_GRACE_S))
        poll->grace_s = 60;
    if (!topic || own)
        return;
    poll->mapping = topic->mapping;
    poll->command = topic->command;
    poll->commands = topic->commands;
    poll->key = topic->key;
    poll->version = topic->version && topic->version->member.len ? topic->version : NULL;
}

static enum err load_one(struct loader *l, uint32_t i) {
    struct connector_poll *poll = list_at(l->connector->poll, struct connector_poll, i);
    struct buf missing;
    struct str at = load_pointer(l, "/poll/%u/request", i);
    buf_init(&missing, LOAD_TEXT_BYTES_MAX);
    poll->connector = l->connector;
    if (!shape_has(poll, POLL_ENABLED))
        poll->enabled = true;
    if (!poll->timeout_ms)
        poll->timeout_ms = 30000;
    if (!poll->pages)
        poll->pages = arena_new(l->arena, struct connector_pages);
    if (!poll->outcome)
        poll->outcome = arena_new(l->arena, struct connector_outcome);
    if (!poll->pages || !poll->outcome ||
        load_outcome(l, poll->outcome, load_pointer(l, "/poll/%u/outcome", i)) != OK)
        return fault_set(l->fault, ERR_NOMEM, "no memory for connectors");
    if (!shape_has(poll, POLL_PRIORITY))
        poll->priority = load_priority_of(poll->command.len ? poll->command : STR(""));
    poll->request = (struct connector_request){
        .method = poll->how->method, .url = poll->how->url, .headers_open = poll->how->headers_open};
    load_body(l, poll->how->body_open, &missing, load_pointer(l, "/poll/%u/request/body", i),
              &poll->body);
    load_request(l, &poll->request, poll->how->body_open || poll->how->mapping.len ? "POST" : "GET",
                 &missing, at);
    load_mapping(l, poll->how->mapping, load_pointer(l, "/poll/%u/request/mapping", i),
                 &poll->request_source);
    load_mapping(l, poll->answer, load_pointer(l, "/poll/%u/answer", i), &poll->answer_source);
    if (poll->items.len > 0 && poll->items.ptr[0] != '/')
        fault_at(l, i, "items", "must be a JSON Pointer: \"\" or \"/orders\"");
    load_watermark(l, poll, i);
    load_backstop(l, poll, i);
    load_pages(l, poll, i, &missing);
    if (poll->detail) {
        struct connector_detail *detail = poll->detail;
        at = load_pointer(l, "/poll/%u/detail", i);
        detail->request = (struct connector_request){
            .method = detail->method, .url = detail->url, .headers_open = detail->headers_open};
        load_request(l, &detail->request, detail->body_open ? "POST" : "GET", &missing, at);
        load_body(l, detail->body_open, &missing, load_pointer(l, "/poll/%u/detail/body", i),
                  &detail->body);
    }
    check_topic(l, poll, i);
    check_member(l, poll->dedup, i, "dedup");
    check_member(l, poll->key, i, "key");
    check_member(l, poll->version, i, "version");
    if (!poll->backstop.len && !poll->command.len == !poll->commands.count)
        fault_at(l, i, "command",
                 "is needed, or commands in its place, where the mapping says which with route()");
    if (poll->version && !poll->key)
        fault_at(l, i, "version", "needs a key: it is the version of what the key names");
    poll->take = (struct connector_receive){.topic = poll->topic, .dedup = poll->dedup,
                                            .key = poll->key, .version = poll->version,
                                            .mapping = poll->mapping, .command = poll->command,
                                            .commands = poll->commands, .backstop = poll->backstop,
                                            .expect = poll->expect,
                                            .line = yaml_line(&l->yaml, load_pointer(
                                                        l, "/poll/%u/command", i))};
    if (poll->backstop.len) { /* a later state of what came before is nothing new */
        const struct connector_receive *topic = connector_topic(l->connector, poll->backstop);
        poll->take.only = topic ? topic->only : NULL;
        poll->take.known = KNOWN_IGNORE;
    }
    load_expect(l, poll->expect, load_pointer(l, "/poll/%u/expect", i));
    load_mapping(l, poll->mapping, load_pointer(l, "/poll/%u/mapping", i), &poll->take.source);
    load_note_auth(l, &missing);
    if (missing.len > 0) {
        poll->missing = arena_str(l->arena, buf_str(&missing));
    }
    if (missing.len > 0 && !poll->backstop.len) { /* a backstop is an offer: without its token it rests, quietly */
        if (l->missing.len == 0 || !memmem(l->missing.data, l->missing.len, missing.data, missing.len)) {
            buf_str_add(&l->missing, l->missing.len ? STR(", ") : STR(""));
            buf_str_add(&l->missing, buf_str(&missing));
        }
        load_note_missing(&l->missing, "for", poll->topic);
    }
    buf_free(&missing);
    return OK;
}

bool load_polls_have(const struct loader *l, struct str topic) {
    for (uint32_t i = 0; i < l->connector->poll.count; i++)
        if (str_eq(list_at(l->connector->poll, struct connector_poll, i)->topic, topic))
            return true;
    return false;
}

enum err load_polls(struct loader *l) {
    enum err err = OK;
    for (uint32_t i = 0; err == OK && i < l->connector->poll.count; i++)
        err = load_one(l, i);
    return err;
}
