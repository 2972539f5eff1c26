/* desk: the persons who decide cases (domain/exceptions.h): a message is processed again, in another
 * version that is as wrong as it was, or given up. One decision at a time; its answer may be lost with
 * the hub, and then somebody looks at the list again. In the end nothing is left to decide. */
#include <stdio.h>

#include "domain/exceptions.h"
#include "sim.h"

struct picked {
    struct sim *sim;
    uint32_t count;
    char id[64];
    int64_t version;
    int64_t payload_seq;
    bool any; /* the first one will do */
};

static bool case_pick(void *ctx, const struct row_value *values) {
    struct picked *picked = ctx;
    struct str kind = values[CASE_KIND].text, id = values[CASE_ID].text;
    if (values[CASE_PAYLOAD_SEQ].integer == 0 || str_is(kind, "shortage") ||
        str_is(kind, "card-data"))
        return true; /* no message waits for it */
    picked->count++;
    if (picked->any ? picked->count > 1 : chance(picked->sim, picked->count) > 0)
        return true;
    snprintf(picked->id, sizeof picked->id, "%.*s", STR_FMT(id));
    picked->version = values[CASE_VERSION].integer;
    return true;
}

/* An open case that a message waits for, as the list shows it. */
static bool case_find_open(struct sim *sim, bool any, struct picked *picked) {
    struct row_filter filter = {CASE_STATE, ROW_EQ, row_text(STR("open"))};
    struct row_query rows = {.table = &exceptions_table, .filters = &filter, .filter_count = 1,
                             .sort_column = CASE_UPDATED, .limit = 1000};
    struct fault fault = {0};
    struct str next;
    *picked = (struct picked){.sim = sim, .any = any};
    return sim->reader->ops->list(sim->reader, &rows, &sim->arena, case_pick, picked, &next,
                                  &fault) == OK &&
           picked->count > 0;
}

static void desk_answered(struct command_origin *origin, struct command *first) {
    struct desk *desk = (struct desk *)origin;
    (void)first;
    desk->pending = false;
    arena_reset(&desk->arena);
}

void desk_lost(struct sim *sim) {
    sim->desk.pending = false;
    arena_reset(&sim->desk.arena);
}

static void desk_send(struct sim *sim, const struct picked *picked, uint64_t what) {
    static const struct {
        const char *name, *body;
        const struct command_type *type;
    } ways[] = {
        {"give up", "{\"reason\":\"nobody knows what it is\"}", &exception_resolve_command},
        {"put right", "{\"payload_id\":\"pay_x\",\"document\":{\"number\":\"n0\",\"odr\":{}}}",
         &exception_edit_command},
        {"again", "{\"by\":\"someone\"}", &exception_retry_command},
    };
    struct desk *desk = &sim->desk;
    struct fault fault = {0};
    const struct json *json;
    void *body;
    desk->origin.deliver = desk_answered;
    struct str text = arena_str(&desk->arena, str_c(ways[what].body));
    struct str id = arena_str(&desk->arena, str_c(picked->id));
    if (json_parse(sim->parser, &desk->arena, text, false, &json, &fault) != OK ||
        shape_decode(ways[what].type->shape, json, &desk->arena, STR(""), &body, &fault) != OK)
        violate(sim, "desk", "%s: %s", ways[what].name, fault.detail);
    if (command_prepare(sim->core, ways[what].type, &desk->arena, body, &desk->command, &fault) != OK) {
        arena_reset(&desk->arena); /* the disk: no key can be made */
        return;
    }
    desk->command.args[0] = id;
    desk->command.if_match = chance(sim, 4) ? picked->version : -1;
    desk->command.actor = STR("someone");
    desk->command.origin = &desk->origin;
    list_line(sim, "%s %s", ways[what].name, picked->id);
    desk->pending = true;
    if (core_submit(sim->core, &desk->command, &fault) != OK)
        desk_lost(sim);
}

void desk_decide(struct sim *sim) {
    struct picked picked;
    if (!sim->desk.pending && case_find_open(sim, false, &picked))
        desk_send(sim, &picked, chance(sim, 3));
}

bool desk_clear(struct sim *sim) {
    struct picked picked;
    if (sim->desk.pending)
        return false;
    if (!case_find_open(sim, true, &picked))
        return true;
    desk_send(sim, &picked, 0);
    return false;
}
