/* connector_load_outcome: sections `outcome` and `retry` of connector.yaml: what an answer means, and when
 * the same is tried again: their tables, defaults, checks. */
#include <string.h>

#include "connect/connector_priv.h"
#include "connect/outcome.h"

#define ROW_AS(as, type, member, kind_, help_text, ...)                                            \
    {.name = as, .kind = kind_, .offset = offsetof(type, member), .since = 1, .help = help_text,   \
     ##__VA_ARGS__}

static const struct shape_field rule_rows[] = {
    SHAPE_ROW(struct outcome_rule, at, SHAPE_TEXT, "JSON Pointer into the answer; * is any element: "
              "/errors/*/code", .flags = SHAPE_REQUIRED, .min = 2, .max = 256),
    ROW_AS("is", struct outcome_rule, is_open, SHAPE_OPEN,
           "What is there: a text or number, or a list of them; left out: anything but null, false and empty"),
    SHAPE_ROW(struct outcome_rule, means, SHAPE_ENUM, "What the answer means then", .flags = SHAPE_REQUIRED,
              .values = outcome_names),
    SHAPE_ROW(struct outcome_rule, any, SHAPE_BOOL,
              "true: also where the status is none of success (false)"),
};
static SHAPE_DEFINE(rule_shape, "connector_outcome_body", struct outcome_rule,
                    "An answer whose body says another thing than its status", rule_rows);

static const struct shape_field outcome_rows[] = {
    SHAPE_ROW(struct connector_outcome, like, SHAPE_ENUM,
              "Whose conventions hold where nothing here says another thing (http)", .values = outcome_like_names),
    ROW_AS("success", struct connector_outcome, success_open, SHAPE_OPEN,
           "Statuses of success, numbers or \"2xx\" ([2xx])"),
    ROW_AS("final", struct connector_outcome, final_open, SHAPE_OPEN,
           "Statuses that no repetition will change ([4xx])"),
    ROW_AS("retryable", struct connector_outcome, retryable_open, SHAPE_OPEN,
           "Statuses worth another attempt; 408, 429 and 5xx stay what they are besides ([425])"),
    ROW_AS("ambiguous", struct connector_outcome, ambiguous_open, SHAPE_OPEN,
           "Statuses after which it may have been done: it is looked up before it is sent again ([408, 5xx])"),
    ROW_AS("throttled", struct connector_outcome, throttled_open, SHAPE_OPEN,
           "Statuses that say: too much; nothing else goes for a while ([429])"),
    ROW_AS("unreachable", struct connector_outcome, unreachable_open, SHAPE_OPEN,
           "Statuses with which every call would end: the breaker counts them ([401, 403, 407, 502, 503, 504])"),
    SHAPE_ROW(struct connector_outcome, body, SHAPE_LIST, "What the body says; the first that fits",
              .shape = &rule_shape, .max = 32),
};
SHAPE_DEFINE(connector_outcome_shape, "connector_outcome", struct connector_outcome,
             "What an answer means", outcome_rows);

/* --- when again -------------------------------------------------------------------------------- */

#define SCHEDULE_ROWS(type)                                                                        \
    [SCHEDULE_FIRST_MS] = SHAPE_ROW(type, first_ms, SHAPE_INTEGER, "Pause before the second attempt (200)", \
                                    .min = 1, .max = 86400000),                                    \
    [SCHEDULE_MAX_MS] = SHAPE_ROW(type, max_ms, SHAPE_INTEGER, "Longest pause (60000)", .min = 1,  \
                                  .max = 86400000),                                                \
    [SCHEDULE_FACTOR] = SHAPE_ROW(type, factor, SHAPE_INTEGER,                                     \
                                  "Each pause is the one before times this (2)", .min = 1, .max = 10), \
    [SCHEDULE_ATTEMPTS_MAX] = SHAPE_ROW(type, attempts_max, SHAPE_INTEGER,                         \
                                        "Attempts before the delivery is held; 0: no limit (0)",   \
                                        .min = 0, .max = 1000000),                                 \
    [SCHEDULE_AGE_MAX_S] = SHAPE_ROW(type, age_max_s, SHAPE_INTEGER,                               \
                                     "Seconds before the delivery is held; 0: no limit (604800)",  \
                                     .min = 0, .max = 31536000)

enum schedule_row {
    SCHEDULE_FIRST_MS, SCHEDULE_MAX_MS, SCHEDULE_FACTOR, SCHEDULE_ATTEMPTS_MAX, SCHEDULE_AGE_MAX_S,
    SCHEDULE_JITTER, SCHEDULE_CLASSES,
};
static const struct shape_field schedule_rows[] = {SCHEDULE_ROWS(struct connector_schedule)};
static SHAPE_DEFINE(schedule_shape, "connector_schedule", struct connector_schedule,
                    "When again, after this outcome; what it leaves out is as for all", schedule_rows);

static const char *const jitters[] = {"none", "full", NULL};
static const struct shape_field retry_rows[] = {
    SCHEDULE_ROWS(struct connector_retry),
    [SCHEDULE_JITTER] = SHAPE_ROW(struct connector_retry, jitter, SHAPE_ENUM,
                                  "full: each pause is even between nothing and what it would be (full)",
                                  .values = jitters),
    [SCHEDULE_CLASSES + RETRY_RETRYABLE] = ROW_AS("retryable", struct connector_retry, of[RETRY_RETRYABLE],
        SHAPE_OBJECT, "After what was surely not done", .shape = &schedule_shape),
    [SCHEDULE_CLASSES + RETRY_AMBIGUOUS] = ROW_AS("ambiguous", struct connector_retry, of[RETRY_AMBIGUOUS],
        SHAPE_OBJECT, "After what may have been done", .shape = &schedule_shape),
    [SCHEDULE_CLASSES + RETRY_THROTTLED] = ROW_AS("throttled", struct connector_retry, of[RETRY_THROTTLED],
        SHAPE_OBJECT, "After \"too much\", where it was not said when (no attempt: its limits are its own)",
        .shape = &schedule_shape),
    [SCHEDULE_CLASSES + RETRY_UNREACHABLE] = ROW_AS("unreachable", struct connector_retry,
        of[RETRY_UNREACHABLE], SHAPE_OBJECT, "Where nobody was there (no attempt: its limits are its own)",
        .shape = &schedule_shape),
};
SHAPE_DEFINE(connector_retry_shape, "connector_retry", struct connector_retry,
             "When a failed delivery is tried again", retry_rows);

/* What was neither there nor a try says nothing against the delivery: by itself it is never held for it. */
static void schedule_fill(struct connector_schedule *one, const struct connector_retry *all, int class) {
    bool tries = class == RETRY_RETRYABLE || class == RETRY_AMBIGUOUS;
    if (!one->first_ms)
        one->first_ms = all->first_ms;
    if (!one->max_ms && class != RETRY_UNREACHABLE) /* there: the setting deliver_probe_max_ms */
        one->max_ms = one->first_ms > all->max_ms ? one->first_ms : all->max_ms;
    if (!one->factor)
        one->factor = all->factor;
    if (!shape_has(one, SCHEDULE_ATTEMPTS_MAX) && tries)
        one->attempts_max = all->attempts_max;
    if (!shape_has(one, SCHEDULE_AGE_MAX_S) && tries)
        one->age_max_s = all->age_max_s;
}

enum err load_retry(struct loader *l, struct connector_retry *retry) {
    if (!retry->first_ms)
        retry->first_ms = 200;
    if (!retry->max_ms)
        retry->max_ms = retry->first_ms > 60000 ? retry->first_ms : 60000;
    if (!retry->factor)
        retry->factor = 2;
    if (!shape_has(retry, SCHEDULE_JITTER))
        retry->jitter = JITTER_FULL;
    if (!shape_has(retry, SCHEDULE_AGE_MAX_S))
        retry->age_max_s = 604800;
    for (int i = 0; i < RETRY_CLASSES; i++) {
        if (!retry->of[i] && !(retry->of[i] = arena_new(l->arena, struct connector_schedule)))
            return fault_set(l->fault, ERR_NOMEM, "no memory for connectors");
        schedule_fill(retry->of[i], retry, i);
    }
    return OK;
}

/* --- what it means ----------------------------------------------------------------------------- */

/* "Worth another attempt" says nothing new of what is so already, in a way of its own. */
static void kind_set(struct connector_outcome *outcome, int64_t status, enum connector_outcome_kind kind) {
    uint8_t *is = &outcome->kind[status];
    bool already = *is == OUTCOME_AMBIGUOUS || *is == OUTCOME_THROTTLED || *is == OUTCOME_UNREACHABLE;
    if (kind != OUTCOME_RETRYABLE || !already)
        *is = (uint8_t)kind;
}

/* Sets the kind of every status that an entry (404, "4xx") names; false where it is neither. */
static bool outcome_mark(struct connector_outcome *outcome, const struct json *entry,
                         enum connector_outcome_kind kind) {
    int64_t status;
    struct str text = entry->text;
    if (entry->kind == JSON_STRING && text.len == 3 && text.ptr[0] >= '1' && text.ptr[0] <= '5' &&
        text.ptr[1] == 'x' && text.ptr[2] == 'x') {
        for (status = (text.ptr[0] - '0') * 100; status % 100 < 99; status++)
            kind_set(outcome, status, kind);
        kind_set(outcome, status, kind);
        return true;
    }
    bool number = entry->kind == JSON_NUMBER ? json_i64(entry, &status)
                                             : entry->kind == JSON_STRING && str_i64(text, &status);
    if (!number || status < 100 || status > 599)
        return false;
    kind_set(outcome, status, kind);
    return true;
}

static void outcome_list(struct loader *l, struct connector_outcome *outcome, const struct json *list,
                         enum connector_outcome_kind kind, struct str pointer) {
    if (!list || list->kind == JSON_NULL)
        return;
    const struct json *entry = json_first(list);
    bool good = list->kind == JSON_ARRAY;
    for (uint32_t i = 0; good && i < list->count; i++) {
        good = outcome_mark(outcome, entry, kind);
        entry = json_next(entry);
    }
    if (!good)
        yaml_fault(&l->yaml, l->fault, load_pointer(l, "%.*s/%s", STR_FMT(pointer), outcome_names[kind]),
                   "must be a list of statuses: 409, \"4xx\"");
}

static enum err rule_load(struct loader *l, struct outcome_rule *rule, struct str pointer) {
    const struct json *is = rule->is_open;
    if (rule->at.ptr[0] != '/')
        yaml_fault(&l->yaml, l->fault, load_pointer(l, "%.*s/at", STR_FMT(pointer)),
                   "must be a JSON Pointer: /errors/*/code");
    if (!is || is->kind == JSON_NULL)
        return OK;
    bool list = is->kind == JSON_ARRAY;
    rule->is = arena_array(l->arena, list ? is->count + 1 : 1, sizeof *rule->is);
    if (!rule->is)
        return fault_set(l->fault, ERR_NOMEM, "no memory for connectors");
    const struct json *one = list ? json_first(is) : is;
    for (uint32_t i = 0; i < (list ? is->count : 1); i++, one = json_next(one))
        if (one->kind == JSON_STRING || one->kind == JSON_NUMBER)
            rule->is[rule->is_count++] = one->text;
        else if (one->kind == JSON_BOOL)
            rule->is[rule->is_count++] = one->count ? STR("true") : STR("false");
    if (rule->is_count != (list ? is->count : 1) || rule->is_count == 0)
        yaml_fault(&l->yaml, l->fault, load_pointer(l, "%.*s/is", STR_FMT(pointer)),
                   "must be a text or a number, or a list of them");
    return OK;
}

enum err load_outcome(struct loader *l, struct connector_outcome *outcome, struct str pointer) {
    const struct outcome_like *like = &outcome_likes[outcome->like];
    enum err err = OK;
    outcome_usual(outcome, outcome->success_open != NULL);
    for (const struct outcome_status *row = like->statuses; row && row->status; row++)
        outcome->kind[row->status] = row->kind;
    outcome_list(l, outcome, outcome->retryable_open, OUTCOME_RETRYABLE, pointer);
    outcome_list(l, outcome, outcome->ambiguous_open, OUTCOME_AMBIGUOUS, pointer);
    outcome_list(l, outcome, outcome->throttled_open, OUTCOME_THROTTLED, pointer);
    outcome_list(l, outcome, outcome->unreachable_open, OUTCOME_UNREACHABLE, pointer);
    outcome_list(l, outcome, outcome->final_open, OUTCOME_FINAL, pointer);
    outcome_list(l, outcome, outcome->success_open, OUTCOME_SUCCESS, pointer);
    outcome->rules = outcome->body.items;
    outcome->rule_count = outcome->body.count;
    for (uint32_t i = 0; err == OK && i < outcome->rule_count; i++)
        err = rule_load(l, list_at(outcome->body, struct outcome_rule, i),
                        load_pointer(l, "%.*s/body/%u", STR_FMT(pointer), i));
    return err;
}
