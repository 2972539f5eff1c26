/* inbound_lanes: messages of one key (a connector's `key`) are applied in the order they came, also
 * past one that could not be processed: while a person has to decide about it, what came behind it
 * with the same key is parked, whatever it says; when its case is closed, they are processed one
 * after the other. The setting inbound_key_waits turns this off. */
#include "domain/inbound_priv.h"

#include "domain/exceptions.h"

#define LANE "earlier message of "

struct str inbound_lane(struct arena *arena, struct str lane) {
    return arena_printf(arena, LANE "%.*s", STR_FMT(lane));
}

bool lane_is_held(const struct state *state, struct str waits_for, uint64_t seq) {
    return str_starts(waits_for, STR(LANE)) &&
           exceptions_hold(state, str_of(waits_for.ptr + sizeof LANE - 1,
                                         waits_for.len - (sizeof LANE - 1)),
                           seq);
}

/* Parks the command's message where one before it is not done with. */
enum err inbound_behind(struct decision *decision, const struct command *command, bool *parked) {
    const struct command_source *source = command->source;
    const struct state *state = decision_whole_state(decision);
    *parked = false;
    if (!source || !source->entity.len || !decision_config(decision)->settings.inbound_key_waits)
        return OK;
    bool held = exceptions_hold(state, source->entity, command->cause_seq);
    if (!held && !parked_any(decision))
        return OK;
    struct str parent = inbound_lane(decision_arena(decision), source->entity);
    if (!parent.ptr)
        return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
    return parked_wait(decision, command, parent, !held, PARK_NEVER_US, parked);
}

enum err lane_admit(struct decision *decision, const struct command *command, bool *done) {
    enum err err = inbound_behind(decision, command, done);
    return err == OK && !*done ? partner_admit(decision, command, done) : err;
}
