/* tell: what the journal is told of deliveries: held, let go. By attempts of their own, or at the end
 * of one that failed; each is told again until the core takes it. */
#include "base/log.h"
#include "deliver/deliver_priv.h"
#include "domain/deliveries.h"

bool attempt_tell(struct attempt *attempt, const struct command_type *type, void *body,
                  uint64_t cause_seq) {
    struct fault fault = {0};
    attempt->stage = STAGE_TELL;
    if (body != NULL && attempt_command(attempt, type, body, cause_seq, &fault) == OK) {
        attempt->deliver->telling++;
        attempt_submit(attempt);
        return true;
    }
    log_line(LOG_ERROR, "deliver", "could not tell the journal",
             "command=%s error=%s correlation=%s%s", type->name, log_quote(str_c(fault.detail)),
             log_quote(attempt->correlation), log_trace(attempt->traceparent));
    attempt_give_back(attempt);
    return false;
}

static void hold_tell(struct attempt *attempt, uint64_t seq, struct str lane, uint32_t attempts,
                      int status, struct str cause) {
    struct delivery_hold *hold = arena_new(&attempt->arena, struct delivery_hold);
    if (hold != NULL) {
        hold->subscription = attempt->send->subscription;
        hold->connector = attempt->send->connector->name;
        hold->event_seq = (int64_t)seq;
        hold->event_type = attempt->type;
        hold->lane = arena_str(&attempt->arena, lane);
        hold->subject = attempt->subject;
        hold->cause = cause.ptr ? cause : STR("");
        hold->status = status;
        hold->attempts = attempts;
        hold->has = (1u << (HELD_ATTEMPTS + 1)) - 1;
        if (attempt->send->source != NULL && attempt->job.lane != LANE_NONE) { /* this attempt ran it */
            hold->mapping = attempt->send->source->name;
            hold->mapping_version = attempt->send->source->version;
            hold->has |= 1u << HELD_MAPPING | 1u << HELD_MAPPING_VERSION;
        }
        if (attempt->job.replay != 0) {
            hold->replay = (int64_t)attempt->job.replay;
            hold->has |= UINT64_C(1) << HELD_REPLAY;
        }
        if (attempt->type.len == 0)
            hold->has &= ~(UINT64_C(1) << HELD_EVENT_TYPE);
    }
    attempt_tell(attempt, &delivery_hold_command, hold, seq);
}

void attempt_tell_hold(struct attempt *attempt, int status, struct str cause) {
    hold_tell(attempt, attempt->job.seq, lanes_key(attempt->sub->lanes, attempt->job.lane),
              attempt->job.attempt, status, cause);
}

static struct attempt *attempt_of_row(struct subscription *sub, const struct progress_row *row) {
    struct attempt *attempt = attempt_take(sub);
    if (attempt == NULL)
        return NULL;
    attempt->type = arena_str(&attempt->arena, row->type);
    attempt->subject = arena_str(&attempt->arena, row->subject.len ? row->subject : row->lane);
    attempt->job.replay = row->replay;
    return attempt;
}

void attempt_tell_held(struct subscription *sub, const struct progress_row *row) {
    struct attempt *attempt = attempt_of_row(sub, row);
    if (attempt != NULL)
        hold_tell(attempt, row->seq, row->lane, row->attempts, row->status,
                  arena_str(&attempt->arena, row->cause));
}

/* The asker may leave before the journal has answered: all of the edit is copied. */
static struct delivery_edit *edit_copy(struct arena *arena, const struct delivery_edit *from) {
    struct delivery_edit *edit = arena_new(arena, struct delivery_edit);
    struct str *changed = arena_array(arena, from->changed.count + 1, sizeof *changed);
    if (edit == NULL || changed == NULL)
        return NULL;
    *edit = *from;
    edit->changed.items = changed;
    for (uint32_t i = 0; i < from->changed.count; i++) {
        changed[i] = arena_str(arena, *list_at(from->changed, struct str, i));
        if (!changed[i].ptr)
            return NULL;
    }
    struct str *texts[] = {&edit->subscription, &edit->subject, &edit->patch, &edit->mapping_version,
                           &edit->reason, &edit->by, &edit->person};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct str text = *texts[i];
        *texts[i] = text.ptr ? arena_str(arena, text) : STR_NONE;
        if (text.ptr && !texts[i]->ptr)
            return NULL;
    }
    return edit;
}

bool attempt_tell_edited(struct subscription *sub, const struct progress_row *row, struct wish *wish) {
    struct attempt *attempt = attempt_of_row(sub, row);
    if (attempt == NULL)
        return false;
    attempt->job.seq = row->seq;
    attempt->job.key = arena_str(&attempt->arena, row->lane);
    attempt->told = deliver_edited;
    struct delivery_edit *edit = edit_copy(&attempt->arena, wish->edit);
    if (edit != NULL)
        edit->subject = attempt->subject;
    if (!attempt_tell(attempt, &delivery_edit_command, edit, row->seq))
        return false;
    wish_telling(wish, attempt);
    return true;
}

bool attempt_tell_released(struct subscription *sub, const struct progress_row *row,
                           struct wish *wish, struct str by, struct str reason) {
    struct attempt *attempt = attempt_of_row(sub, row);
    if (attempt == NULL)
        return false;
    attempt->job.seq = row->seq;
    attempt->job.key = arena_str(&attempt->arena, row->lane);
    attempt->wish = wish;
    attempt->told = wish ? deliver_discarded : NULL;
    struct delivery_release *release = arena_new(&attempt->arena, struct delivery_release);
    if (release != NULL) {
        release->subscription = sub->name;
        release->event_seq = (int64_t)row->seq;
        release->subject = attempt->subject;
        release->action = wish ? DELIVERY_DISCARD : DELIVERY_RETRY;
        release->has = 1u << RELEASED_SUBSCRIPTION | 1u << RELEASED_EVENT_SEQ |
                       1u << RELEASED_SUBJECT | 1u << RELEASED_ACTION;
        if (reason.len > 0) {
            release->reason = arena_str(&attempt->arena, reason);
            shape_mark(release, RELEASED_REASON);
        }
        if (by.len > 0) {
            release->by = arena_str(&attempt->arena, by);
            shape_mark(release, RELEASED_BY);
        }
    }
    if (!attempt_tell(attempt, &delivery_release_command, release, row->seq))
        return false;
    if (wish != NULL)
        wish_telling(wish, attempt);
    return true;
}

void attempt_tell_superseded(struct subscription *sub, const struct progress_row *row, uint64_t by_seq) {
    struct attempt *attempt = attempt_of_row(sub, row);
    struct delivery_release *release = attempt ? arena_new(&attempt->arena, struct delivery_release) : NULL;
    if (attempt == NULL)
        return; /* the row stays, and is told of at the next start */
    attempt->job.seq = row->seq;
    attempt->job.key = arena_str(&attempt->arena, row->lane);
    attempt->superseding = true;
    if (release != NULL) {
        release->subscription = sub->name;
        release->event_seq = (int64_t)row->seq;
        release->subject = attempt->subject;
        release->action = DELIVERY_DISCARD;
        release->reason = arena_printf(&attempt->arena, "superseded by the newer value of seq %llu",
                                       (unsigned long long)by_seq);
        release->has = 1u << RELEASED_SUBSCRIPTION | 1u << RELEASED_EVENT_SEQ | 1u << RELEASED_SUBJECT |
                       1u << RELEASED_ACTION | 1u << RELEASED_REASON;
    }
    attempt_tell(attempt, &delivery_release_command, release, row->seq);
}
