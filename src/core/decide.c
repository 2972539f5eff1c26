/* decide: what happens to one command on the writer's thread.
 *
 * Order: idempotency key, decide, encode all events, apply all events, react. Encoding comes
 * first because it can fail without harm; once an event is applied there is no way back but
 * a rebuild from the journal (core->broken). */
#include "base/mem.h"
#include "core/core_priv.h"

#include "base/planted.h"

#include <stdio.h>

int64_t core_idempotency_us(const struct core *core) {
    return core->config->settings.idempotency_days * INT64_C(86400) * 1000000;
}

/* --- what decide may call -------------------------------------------------------------- */

struct event *decision_event(struct decision *decision, const struct event_type *type,
                             struct str subject, void **data_out) {
    struct arena *arena = decision->command->arena;
    struct event *event = arena_new(arena, struct event);
    void *data = event ? arena_alloc(arena, type->shape->size) : NULL;
    if (!data)
        return NULL;
    event->type = type;
    event->subject = subject;
    event->data = data;
    if (decision->last)
        decision->last->next = event;
    else
        decision->first = event;
    decision->last = event;
    if (data_out)
        *data_out = data;
    return event;
}

void decision_seal(struct decision *decision, struct event *event, struct str at) {
    const struct sealed *sealed = &decision->command->sealed;
    if (!sealed->box.ptr)
        return;
    struct event_meta *meta = &event->meta;
    event->sealed = true;
    meta->key = sealed->key;
    meta->sealed = sealed->box;
    shape_mark(meta, EVENT_META_KEY);
    shape_mark(meta, EVENT_META_SEALED);
    if (at.len) {
        meta->sealed_at = at;
        shape_mark(meta, EVENT_META_SEALED_AT);
    }
}

void decision_ended(struct decision *decision) { decision->answer->ended = true; }

void decision_seal_none(struct decision *decision) { decision->seal_none = true; }

enum err decision_answer(struct decision *decision, int status, const struct shape *shape,
                         const void *doc) {
    struct buf *scratch = &decision->core->scratch;
    buf_clear(scratch);
    shape_encode(shape, doc, scratch);
    struct str body =
        buf_ok(scratch) ? arena_str(decision->command->arena, buf_str(scratch)) : STR_NONE;
    if (!body.ptr)
        return fault_set(&decision->answer->fault, ERR_NOMEM, "no memory for the answer");
    decision->answer->status = status;
    decision->answer->body = body;
    return OK;
}

enum err decision_replay(struct decision *decision, uint64_t first_seq) {
    must(first_seq != 0);
    decision->replay_seq = first_seq;
    return OK;
}

enum err decision_refuse(struct decision *decision, enum err err, const char *fmt, ...) {
    char text[sizeof decision->answer->fault.detail];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return fault_set(&decision->answer->fault, err, "%s", text);
}

enum err decision_fault(struct decision *decision, enum err err, struct str pointer,
                        const char *fmt, ...) {
    char text[sizeof decision->answer->fault.detail];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    fault_add(&decision->answer->fault, pointer, "%s", text);
    decision->answer->fault.err = err;
    return err;
}

const void *decision_state(const struct decision *decision, const struct capability *capability) {
    return state_of(decision->core->state, capability);
}
const struct state *decision_whole_state(const struct decision *decision) {
    return decision->core->state;
}
const struct config *decision_config(const struct decision *decision) {
    return decision->core->config;
}
struct arena *decision_arena(const struct decision *decision) { return decision->command->arena; }
struct id128 decision_id(const struct decision *decision) { return decision->command->id; }
uint64_t decision_seq(const struct decision *decision) { return decision->core->seq + 1; }

static struct str hash_text(struct arena *arena, struct hash128 hash) {
    char text[HASH_TEXT_LEN];
    hash_write(text, hash);
    return arena_str(arena, str_of(text, sizeof text));
}

/* Two texts as one, so that ("a", "bc") and ("ab", "c") differ. */
static struct hash128 pair_hash(struct str a, struct str b) {
    struct hash128 h = hash128(a, 0);
    return hash128(b, h.lo ^ (h.hi << 1 | h.hi >> 63));
}

void command_need_first(struct command *command, const char *kind, struct str key) {
    command_need(command, &key_natural_entity, pair_hash(str_c(kind), key));
}

void core_need_keys(struct command *command) {
    if (command->idem_key.ptr && !(command->type->flags & COMMAND_READS))
        command_need(command, &key_idempotent_entity,
                     pair_hash(command->idem_scope, command->idem_key));
}

static const struct key_entry *key_used(const struct state *state, const struct keys *keys,
                                        const struct entity_kind *kind, struct hash128 hash) {
    uint32_t slot = entity_get(state, kind, hash);
    return slot == MAP_NONE ? NULL : &keys->entries[slot];
}

bool decision_first(struct decision *decision, const char *kind, struct str key, enum err *err) {
    struct hash128 hash = pair_hash(str_c(kind), key);
    const struct state *state = decision->core->state;
    const struct key_entry *entry = key_used(state, &state->natural, &key_natural_entity, hash);
    if (!entry) {
        decision->natural = hash_text(decision->command->arena, hash);
        if (decision->natural.ptr)
            return true;
        *err = decision_refuse(decision, ERR_NOMEM, "no memory for the natural key");
    } else if (entry->fingerprint == decision->command->fingerprint.lo) {
        *err = decision_replay(decision, entry->first_seq);
    } else {
        decision->answer->replay_seq = entry->first_seq;
        char words[100]; /* its parts are apart by line ends, for people by blanks */
        size_t len = key.len < sizeof words ? key.len : sizeof words;
        for (size_t i = 0; i < len; i++)
            words[i] = key.ptr[i] == '\n' ? ' ' : key.ptr[i];
        *err = decision_refuse(decision, ERR_DUPLICATE,
                               "the %s %.*s was recorded before with another content", kind,
                               (int)len, words);
    }
    return false;
}

/* --- from decision to batch ------------------------------------------------------------- */

static void meta_text(struct event_meta *meta, struct str *to, struct str from, unsigned row) {
    if (from.ptr && from.len) {
        *to = from;
        shape_mark(meta, row);
    }
}

static void meta_first(struct event_meta *meta, const struct decision *decision, struct str idem,
                       struct str fingerprint) {
    const struct command *command = decision->command;
    meta_text(meta, &meta->idem, idem, EVENT_META_IDEM);
    meta_text(meta, &meta->from, command->from, EVENT_META_FROM);
    if (idem.len)
        meta_text(meta, &meta->idem_key, command->idem_key, EVENT_META_IDEM_KEY);
    meta_text(meta, &meta->natural, decision->natural, EVENT_META_NATURAL);
    meta_text(meta, &meta->masked, command->masked, EVENT_META_MASKED);
    if (command->source && command->source->version.len) {
        meta_text(meta, &meta->partner, command->source->entity, EVENT_META_PARTNER);
        meta_text(meta, &meta->partner_version, command->source->version,
                  EVENT_META_PARTNER_VERSION);
    }
    if (idem.len || decision->natural.len) {
        meta_text(meta, &meta->fingerprint, fingerprint, EVENT_META_FINGERPRINT);
        meta->status = decision->answer->status;
        shape_mark(meta, EVENT_META_STATUS);
        meta_text(meta, &meta->answer, decision->answer->body, EVENT_META_ANSWER);
    }
}

static bool decision_starved(const struct decision *decision) {
    return mem_refused() != decision->refused;
}

/* Completes the decided events and encodes them into the batch. */
static enum err decision_encode(struct decision *decision, struct str idem) {
    struct core *core = decision->core;
    const struct command *command = decision->command;
    uint32_t before = core->batch.count;
    uint64_t seq = core->seq;
    struct str fingerprint = STR_NONE;
    if (idem.len || decision->natural.len) {
        fingerprint = hash_text(command->arena, command->fingerprint);
        if (!fingerprint.ptr)
            return fault_set(&decision->answer->fault, ERR_NOMEM, "no memory for the event");
    }
    uint32_t boxes = 0;
    int64_t time_us = command->now_us > core->time_us ? command->now_us : core->time_us;
    for (struct event *event = decision->first; event; event = event->next) {
        struct event_meta *meta = &event->meta;
        event->seq = ++seq;
        event->time_us = time_us;
        meta_text(meta, &meta->correlation, command->correlation, EVENT_META_CORRELATION);
        meta_text(meta, &meta->traceparent, command->traceparent, EVENT_META_TRACEPARENT);
        meta_text(meta, &meta->actor, command->actor, EVENT_META_ACTOR);
        meta_text(meta, &meta->command, str_c(command->type->name), EVENT_META_COMMAND);
        if (event->sealed || (!command->sealed.box.ptr && event == decision->first))
            meta_text(meta, &meta->person, command->person, EVENT_META_PERSON);
        boxes += event->sealed;
        meta->first = (int64_t)decision->first->seq;
        shape_mark(meta, EVENT_META_FIRST);
        if (command->cause_seq) {
            meta->cause = (int64_t)command->cause_seq;
            shape_mark(meta, EVENT_META_CAUSE);
        }
        if (command->source && command->source->more) {
            meta->more = command->source->more;
            shape_mark(meta, EVENT_META_MORE);
        }
        if (event == decision->first)
            meta_first(meta, decision, idem, fingerprint);
        enum err err = batch_add(&core->batch, event, &decision->answer->fault);
        if (err != OK) {
            batch_cut(&core->batch, before);
            return err;
        }
    }
    if (decision_starved(decision)) {
        batch_cut(&core->batch, before);
        return fault_set(&decision->answer->fault, ERR_NOMEM, "no memory for the event");
    }
    /* Nothing personal is lost, or there twice. */
    must(boxes == (command->sealed.box.ptr != NULL && !decision->seal_none));
    core->seq = seq;
    core->time_us = time_us;
    return OK;
}

static void core_shelf_lost(struct core *core) {
    atomic_store(&core->shelf_lost, true);
    core->broken = true;
}

static void core_break(struct core *core, struct decision *decision, const char *what) {
    core->broken = true;
    if (core->state->entities.failed == ERR_DAMAGED)
        core_shelf_lost(core);
    fault_set(&decision->answer->fault, ERR_UNAVAILABLE, "%s; the hub rebuilds its state", what);
}

static void decision_react(struct decision *decision) {
    struct core *core = decision->core;
    const struct capability *const *all = core->registry->capabilities;
    for (const struct event *event = decision->first; event; event = event->next) {
        for (uint32_t i = 0; i < core->registry->count && !core->broken; i++) {
            if (!all[i]->react)
                continue;
            struct decision reaction = *decision;
            reaction.first = reaction.last = NULL;
            reaction.may_issue = true;
            enum err err = all[i]->react(&reaction, event);
            if (err == OK)
                err = reaction.issue_err;
            if (err != OK || decision_starved(decision))
                core_break(core, decision, "a follow-up command failed");
        }
    }
}

/* Encodes, applies and reacts. Refusals leave everything as it was. */
static enum err decision_commit(struct decision *decision, struct str idem) {
    struct core *core = decision->core;
    enum err err = decision_encode(decision, idem);
    if (err != OK)
        return err;
    for (struct event *event = decision->first; event; event = event->next) {
        err = state_apply(core->state, event);
        if (err != OK || decision_starved(decision)) {
            core_break(core, decision, "a change of state failed");
            return ERR_UNAVAILABLE;
        }
    }
    decision_react(decision);
    /* What a reaction could not read it may have taken for absent. */
    if (!core->broken && core->state->entities.failed != OK)
        core_break(core, decision, "the written state can not be read");
    return core->broken ? ERR_UNAVAILABLE : OK;
}

/* Looks at the Idempotency-Key. True where the command is to be decided; `*idem` is then its
 * hash as hex (absent without a key). */
static bool core_idempotency(struct core *core, struct command *command, struct str *idem) {
    *idem = STR_NONE;
    if (!command->idem_key.ptr || command->type->flags & COMMAND_READS)
        return true;
    struct hash128 hash = pair_hash(command->idem_scope, command->idem_key);
    const struct state *state = core->state;
    const struct key_entry *entry =
        key_used(state, &state->idempotent, &key_idempotent_entity, hash);
    struct answer *answer = &command->answer;
    if (!entry || entry->time_us < command->now_us - core_idempotency_us(core)) {
        *idem = hash_text(command->arena, hash);
        if (!idem->ptr)
            answer->err = fault_set(&answer->fault, ERR_NOMEM, "no memory for the key");
        return idem->ptr != NULL;
    }
    if (entry->fingerprint != command->fingerprint.lo) {
        answer->err = fault_set(&answer->fault, ERR_KEY_REUSED,
                                "this Idempotency-Key was used before with another body");
    } else {
        answer->replayed = true;
        answer->replay_seq = entry->first_seq;
    }
    return false;
}

/* The same body sent to another order is another request. */
static void command_mix_args(struct command *command) {
    for (int i = 0; i < COMMAND_ARGS_MAX && command->args[i].ptr; i++) {
        struct hash128 h = hash128(command->args[i], command->fingerprint.lo + (uint64_t)i);
        command->fingerprint.lo ^= h.lo;
        command->fingerprint.hi ^= h.hi;
    }
}

/* What was decided on a state that could not be read is no decision. */
static bool core_read_failed(struct core *core, struct answer *answer) {
    struct entities *entities = &core->state->entities;
    if (entities->failed == OK)
        return false;
    answer->replayed = false;
    answer->err = fault_set(&answer->fault, ERR_UNAVAILABLE, "the written state can not be read: %s",
                            entities->fault.detail);
    if (entities->failed == ERR_DAMAGED) /* made again from the journal */
        core_shelf_lost(core);
    return true;
}

static void core_decide_one(struct core *core, struct command *command);

void core_decide(struct core *core, struct command *command) {
    struct entities *entities = &core->state->entities;
    entities->failed = OK;
    fault_init(&entities->fault, NULL);
    entities->needs = command->needs;
    entities->need_count = command->need_count;
    core_decide_one(core, command);
    entities->needs = NULL;
    entities->need_count = 0;
    entities->failed = OK; /* answered; a timer's event must not stumble over it */
}

/* Decides, unless a capability has dealt with it before. */
static enum err decision_make(struct decision *decision, const struct command *command) {
    const struct registry *registry = decision->core->registry;
    bool done = false;
    enum err err = OK;
    if (command->source && !(command->type->flags & COMMAND_INTERNAL))
        for (uint32_t i = 0; i < registry->count && err == OK && !done; i++)
            if (registry->capabilities[i]->admit)
                err = registry->capabilities[i]->admit(decision, command, &done);
    return err == OK && !done ? command->type->decide(decision, command) : err;
}

static void core_decide_one(struct core *core, struct command *command) {
    struct answer *answer = &command->answer;
    uint64_t refused = mem_refused();
    struct str idem;
    *answer = (struct answer){.status = 200};
    fault_init(&answer->fault, command->arena);
    command_mix_args(command);
    bool fresh = core_idempotency(core, command, &idem);
    if (core_read_failed(core, answer) || !fresh)
        return;
    struct decision decision = {.core = core, .command = command, .answer = answer, .refused = refused};
    answer->err = decision_make(&decision, command);
    if (decision_starved(&decision)) /* a refusal may have no other reason */
        answer->err = fault_set(&answer->fault, ERR_NOMEM, "no memory for the decision");
    if (core_read_failed(core, answer) || answer->err != OK)
        return;
    if (decision.replay_seq) {
        must(!decision.first);
        answer->replayed = true;
        answer->replay_seq = decision.replay_seq;
        return;
    }
    must(!decision.first || !(command->type->flags & COMMAND_READS));
    if (decision.first)
        answer->err = decision_commit(&decision, idem);
}

/* --- reactions and timers ---------------------------------------------------------------- */

enum err decision_issue(struct decision *decision, const struct command_type *type, void *body,
                        struct str arg0, uint64_t cause) {
    must(decision->may_issue);
    must(decision->depth < REACTION_DEPTH_MAX);
    struct core *core = decision->core;
    const struct command *parent = decision->command;
    struct command command = {.type = type,
                              .arena = parent->arena,
                              .body = body,
                              .args = {arg0},
                              .now_us = parent->now_us,
                              .id = id_make(core->rng, parent->now_us),
                              .actor = parent->actor,
                              .correlation = parent->correlation,
                              .traceparent = parent->traceparent,
                              .if_match = -1,
                              .cause_seq = cause,
                              .fact = true};
    fault_init(&command.answer.fault, command.arena);
    struct decision inner = {.core = core,
                             .command = &command,
                             .answer = &command.answer,
                             .refused = mem_refused(),
                             .depth = decision->depth + 1};
    enum err err = type->decide(&inner, &command);
    if (decision_starved(&inner)) { /* not a refusal that who issued it may expect */
        err = ERR_NOMEM;
        core_break(core, decision, "no memory for a follow-up command");
    }
    if (err == OK && inner.first)
        err = decision_commit(&inner, STR_NONE);
    if (core->broken)
        decision->issue_err = err;
    return err;
}

static enum err timer_decide(struct decision *decision, const struct command *command) {
    (void)decision;
    (void)command;
    return OK; /* never submitted: carries what timer_fire issues */
}
static const struct command_type timer_command = {
    .name = "timer", .decide = timer_decide, .flags = COMMAND_INTERNAL,
    .help = "Carries what falls due"};

uint32_t core_fire_timers(struct core *core, int64_t now_us) {
    uint32_t fired = 0, max = (uint32_t)core->config->settings.batch_commands_max;
    const struct capability *const *all = core->registry->capabilities;
    for (uint32_t i = 0; i < core->registry->count; i++) {
        const struct capability *capability = all[i];
        if (!capability->timer_next)
            continue;
        const void *part = core->state->parts[i];
        while (fired < max && !core->broken && capability->timer_next(part) <= now_us) {
            if (PLANTED(LOSE_TIMER) && capability->timer_next(part) / 1000000 % 2 == 0)
                break;
            struct command carrier = {.type = &timer_command, .arena = &core->arena,
                                      .now_us = now_us, .actor = STR("timer"), .if_match = -1};
            struct decision decision = {.core = core, .command = &carrier,
                                        .answer = &carrier.answer, .refused = mem_refused(),
                                        .may_issue = true};
            int64_t before = capability->timer_next(part);
            uint64_t seq = core->seq;
            enum err err = capability->timer_fire(part, now_us, &decision);
            /* A timer that stays due without an event would fire for ever. */
            if (err != OK || (capability->timer_next(part) == before && core->seq == seq)) {
                core_break(core, &decision, "a timer could not be fired");
                return fired;
            }
            fired++;
        }
    }
    return fired;
}
