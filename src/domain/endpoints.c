/* endpoints: see endpoints.h. State: those whose breaker is open. */
#include "domain/endpoints.h"

#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

static const char *const breakers[] = {"open", "closed", NULL};
static const struct shape_field report_rows[] = {
    [ENDPOINT_CONNECTOR] = SHAPE_ROW(struct endpoint_report, connector, SHAPE_CODE, "Which system",
                                     .flags = SHAPE_REQUIRED),
    [ENDPOINT_ENDPOINT] = SHAPE_ROW(struct endpoint_report, endpoint, SHAPE_TEXT,
                                    "Origin of the URLs that are called, as https://erp.example",
                                    .flags = SHAPE_REQUIRED, .min = 1, .max = 256),
    [ENDPOINT_BREAKER] = SHAPE_ROW(struct endpoint_report, breaker, SHAPE_ENUM,
                                   "open: it is left alone, and tried by one call at a time; closed: it answers",
                                   .values = breakers, .flags = SHAPE_REQUIRED),
    [ENDPOINT_SINCE] = SHAPE_ROW(struct endpoint_report, since, SHAPE_INSTANT, "When it opened",
                                 .flags = SHAPE_REQUIRED),
    [ENDPOINT_FAILURES] = SHAPE_ROW(struct endpoint_report, failures, SHAPE_INTEGER,
                                    "Calls in a row without a useful answer that opened it"),
    [ENDPOINT_CAUSE] = SHAPE_ROW(struct endpoint_report, cause, SHAPE_TEXT, "How the last of them ended"),
};
SHAPE_DEFINE(endpoint_report_shape, "endpoint_report", struct endpoint_report,
             "A system that does not answer, or answers again", report_rows);

/* --- state --------------------------------------------------------------------------------- */

struct endpoints_state {
    struct hash128 *open; /* sorted */
    uint32_t count, cap;
};

static int key_cmp(struct hash128 a, struct hash128 b) {
    return a.hi != b.hi ? (a.hi < b.hi ? -1 : 1) : a.lo < b.lo ? -1 : a.lo > b.lo;
}

static struct hash128 report_key(const struct endpoint_report *report) {
    return hash128(report->endpoint, hash64(report->connector, 0));
}

/* The place of it, or where it belongs. */
static uint32_t open_place(const struct endpoints_state *s, struct hash128 key, bool *there) {
    uint32_t at = 0;
    while (at < s->count && key_cmp(s->open[at], key) < 0)
        at++;
    *there = at < s->count && key_cmp(s->open[at], key) == 0;
    return at;
}

static enum err open_add(struct endpoints_state *s, struct hash128 key) {
    bool there;
    uint32_t at = open_place(s, key, &there);
    if (there)
        return OK;
    if (!MEM_ROOM(s->open, s->count, s->cap, 16))
        return ERR_NOMEM;
    memmove(s->open + at + 1, s->open + at, (s->count - at) * sizeof *s->open);
    s->open[at] = key;
    s->count++;
    return OK;
}

static enum err open_load(void *part, struct hash128 key, struct str bytes, uint32_t *slot) {
    (void)bytes;
    (void)slot;
    return open_add(part, key);
}

static const struct entity_kind open_entity = {
    .name = "endpoint.open", .flags = ENTITY_RESIDENT,
    .help = "Systems that do not answer", .load = open_load};
static const struct entity_kind *const endpoint_entities[] = {&open_entity, NULL};

static enum err opened_apply(struct state *state, const struct event *event) {
    struct endpoints_state *s = state_of(state, &endpoints_capability);
    const struct endpoint_report *report = event->data;
    enum err err = open_add(s, report_key(report));
    return err == OK ? entity_put(state, &open_entity, report_key(report), STR("1")) : err;
}

static enum err closed_apply(struct state *state, const struct event *event) {
    struct endpoints_state *s = state_of(state, &endpoints_capability);
    const struct endpoint_report *report = event->data;
    bool there;
    uint32_t at = open_place(s, report_key(report), &there);
    if (!there)
        return OK;
    s->count--;
    memmove(s->open + at, s->open + at + 1, (s->count - at) * sizeof *s->open);
    return entity_drop(state, &open_entity, report_key(report));
}

static void endpoints_free(void *part) { mem_free(((struct endpoints_state *)part)->open); }

static void endpoints_dump(const void *part, struct buf *out) {
    const struct endpoints_state *s = part;
    for (uint32_t i = 0; i < s->count; i++)
        buf_printf(out, "%016llx%016llx\n", (unsigned long long)s->open[i].hi, (unsigned long long)s->open[i].lo);
}

static const struct event_type opened_event = {
    .name = "endpoint.opened", .shape = &endpoint_report_shape, .apply = opened_apply,
    .help = "A system does not answer: its breaker is open, and it is tried by one call at a time"};
static const struct event_type closed_event = {
    .name = "endpoint.closed", .shape = &endpoint_report_shape, .apply = closed_apply,
    .help = "A system answers again: its breaker is closed"};
static const struct event_type *const endpoint_events[] = {&opened_event, &closed_event, NULL};

/* --- the command --------------------------------------------------------------------------- */

static enum err report_decide(struct decision *decision, const struct command *command) {
    const struct endpoints_state *s = decision_state(decision, &endpoints_capability);
    const struct endpoint_report *given = command->body;
    bool there, opens = given->breaker == ENDPOINT_OPEN;
    open_place(s, report_key(given), &there);
    if (there == opens)
        return decision_answer(decision, 200, &endpoint_report_shape, given);
    struct endpoint_report *report;
    if (!decision_event(decision, opens ? &opened_event : &closed_event, given->connector, (void **)&report))
        return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
    *report = *given;
    return decision_answer(decision, 201, &endpoint_report_shape, report);
}
const struct command_type endpoint_report_command = {
    .name = "endpoint.report", .shape = &endpoint_report_shape, .decide = report_decide,
    .flags = COMMAND_INTERNAL, .help = "Tells that a system does not answer, or answers again"};
static const struct command_type *const endpoint_commands[] = {&endpoint_report_command, NULL};

const struct capability endpoints_capability = {
    .name = "endpoints",
    .help = "Systems that do not answer",
    .commands = endpoint_commands,
    .events = endpoint_events,
    .state_size = sizeof(struct endpoints_state),
    .state_free = endpoints_free,
    .entities = endpoint_entities,
    .dump = endpoints_dump,
};
