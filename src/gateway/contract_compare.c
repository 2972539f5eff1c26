/* contract_compare: what one snapshot of contracts promised and a later one does not keep. Pure. */
#include "gateway/contract_snapshot.h"

struct comparison {
    const struct snapshot *old, *now;
    struct str today;
    struct arena *arena;
    struct contract_changes *out;
    bool nomem;
    /* of what is being compared: */
    struct str contract, place, sunset;
};

static const struct snapshot_contract *contract_named(const struct snapshot *snapshot,
                                                      struct str name) {
    for (uint32_t i = 0; i < snapshot->contract_count && name.ptr; i++)
        if (str_eq(snapshot->contracts[i].name, name))
            return &snapshot->contracts[i];
    return NULL;
}

static bool day_has_come(struct str day, struct str today) {
    return day.len == 10 && today.len == 10 && memcmp(day.ptr, today.ptr, 10) <= 0;
}

/* Why a change of what is being compared breaks nobody. */
static struct str pardon_of(const struct comparison *c, const struct snapshot_contract *contract) {
    if (day_has_come(c->sunset, c->today) || (contract && day_has_come(contract->sunset, c->today)))
        return STR("its sunset has come");
    if (contract && str_is(contract->status, "draft"))
        return STR("a draft promises nothing");
    if (contract && str_is(contract->status, "retired"))
        return STR("it was retired");
    return STR_NONE;
}

static void change_add(struct comparison *c, enum compare_rule rule, struct str place,
                       struct str detail) {
    const struct snapshot_contract *contract = contract_named(c->old, c->contract);
    struct contract_change *change = arena_new(c->arena, struct contract_change);
    if (!change || !place.ptr || !detail.ptr) {
        c->nomem = true;
        return;
    }
    *change = (struct contract_change){.rule = rule, .contract = c->contract,
                                       .owner = contract ? contract->owner : STR_NONE,
                                       .place = place, .detail = detail,
                                       .pardon = pardon_of(c, contract)};
    if (c->out->last)
        c->out->last->next = change;
    else
        c->out->first = change;
    c->out->last = change;
    c->out->count++;
    c->out->breaking += !change->pardon.ptr;
}

/* --- documents -------------------------------------------------------------------------------- */

struct document {
    struct comparison *c;
    const char *what; /* "body" */
};

static void document_found(void *ctx, enum compare_rule rule, struct str pointer, struct str detail) {
    struct document *document = ctx;
    struct comparison *c = document->c;
    change_add(c, rule, arena_printf(c->arena, "%.*s %s %.*s", STR_FMT(c->place), document->what,
                                     STR_FMT(pointer)), detail);
}

static void param_found(void *ctx, enum compare_rule rule, struct str pointer, struct str detail) {
    struct document *document = ctx;
    struct comparison *c = document->c;
    if (rule == RULE_MEMBER_REMOVED)
        rule = RULE_PARAM_REMOVED;
    change_add(c, rule, arena_printf(c->arena, "%.*s ?%.*s", STR_FMT(c->place),
                                     (int)(pointer.len ? pointer.len - 1 : 0),
                                     pointer.len ? pointer.ptr + 1 : ""), detail);
}

static void document_compare(struct comparison *c, const char *what, const struct shape *old,
                             const struct shape *now, enum shape_use use) {
    struct document document = {c, what};
    struct compare_sink sink = {document_found, &document, c->arena};
    if (old && now)
        shape_compare(old, now, use, &sink);
}

static void params_compare(struct comparison *c, const struct snapshot_route *old,
                           const struct snapshot_route *now) {
    static const struct shape none = {.name = "params"};
    struct document document = {c, "?"};
    struct compare_sink sink = {param_found, &document, c->arena};
    const struct json *name = old->repeated ? json_first(old->repeated) : NULL;
    shape_compare(old->params ? old->params : &none, now->params ? now->params : &none, SHAPE_TAKEN,
                  &sink);
    for (uint32_t i = 0; name && i < old->repeated->count; i++, name = json_next(name)) {
        const struct json *is = now->repeated ? json_first(now->repeated) : NULL;
        bool there = false;
        for (uint32_t k = 0; is && k < now->repeated->count && !there; k++, is = json_next(is))
            there = str_eq(is->text, name->text);
        if (!there)
            change_add(c, RULE_PARAM_ONCE, arena_printf(c->arena, "%.*s ?%.*s", STR_FMT(c->place),
                                                        STR_FMT(name->text)),
                       STR("could be given several times"));
    }
}

/* --- routes ----------------------------------------------------------------------------------- */

/* The same but for the names of parameters in the path, which no caller sees. */
static bool path_same(struct str a, struct str b) {
    while (a.ptr && b.ptr) {
        struct str x = str_cut(&a, '/'), y = str_cut(&b, '/');
        bool both = x.len && y.len && x.ptr[0] == '{' && y.ptr[0] == '{';
        if (!both && !str_eq(x, y))
            return false;
    }
    return !a.ptr && !b.ptr;
}

static const struct snapshot_route *route_same(const struct snapshot *in,
                                               const struct snapshot_route *route) {
    for (uint32_t i = 0; i < in->route_count; i++)
        if (str_eq(in->routes[i].method, route->method) &&
            path_same(in->routes[i].path, route->path))
            return &in->routes[i];
    return NULL;
}

static struct str shape_said(struct comparison *c, const char *before, const struct shape *old,
                             const struct shape *now) {
    return arena_printf(c->arena, "%swas %s, is %s", before, old ? old->name : "none",
                        now ? now->name : "none");
}

static void route_compare(struct comparison *c, const struct snapshot_route *old) {
    const struct snapshot_route *now = route_same(c->now, old);
    c->contract = old->contract;
    c->sunset = old->sunset;
    c->place = arena_printf(c->arena, "%.*s %.*s", STR_FMT(old->method), STR_FMT(old->path));
    if (!now) {
        change_add(c, RULE_ROUTE_REMOVED, c->place, STR("is not there any more"));
        return;
    }
    if (now->scope.ptr && !str_eq(old->scope, now->scope))
        change_add(c, RULE_SCOPE, c->place,
                   arena_printf(c->arena, "was %.*s, is %.*s", STR_FMT(old->scope.ptr ? old->scope
                                                                                     : STR("open")),
                                STR_FMT(now->scope)));
    if (old->status != now->status)
        change_add(c, RULE_STATUS, c->place,
                   arena_printf(c->arena, "success was %lld, is %lld", (long long)old->status,
                                (long long)now->status));
    if ((old->body && !now->body) || (!old->body && now->body && now->body_required))
        change_add(c, RULE_BODY, c->place, shape_said(c, "the body ", old->body, now->body));
    if ((old->answer && !now->answer) || old->list != now->list)
        change_add(c, RULE_ANSWER, c->place,
                   old->list != now->list
                       ? arena_printf(c->arena, "was %s, is %s", old->list ? "a list" : "one document",
                                      now->list ? "a list" : "one document")
                       : shape_said(c, "", old->answer, now->answer));
    if (old->bulk && !now->bulk)
        change_add(c, RULE_BULK_REMOVED, c->place, STR("took application/x-ndjson"));
    params_compare(c, old, now);
    document_compare(c, "body", old->body, now->body, SHAPE_TAKEN);
    document_compare(c, "answer", old->answer, now->answer, SHAPE_GIVEN);
}

static void event_compare(struct comparison *c, const struct snapshot_event *old) {
    const struct snapshot_event *now = NULL;
    for (uint32_t i = 0; i < c->now->event_count && !now; i++)
        if (str_eq(c->now->events[i].name, old->name))
            now = &c->now->events[i];
    c->contract = old->contract;
    c->sunset = STR_NONE;
    c->place = arena_printf(c->arena, "event %.*s", STR_FMT(old->name));
    if (!now)
        change_add(c, RULE_EVENT_REMOVED, c->place, STR("does not happen any more"));
    else if (old->data && !now->data)
        change_add(c, RULE_ANSWER, c->place, shape_said(c, "its data ", old->data, now->data));
    else
        document_compare(c, "data", old->data, now->data, SHAPE_GIVEN);
}

static void contract_one(struct comparison *c, const struct snapshot_contract *old) {
    const struct snapshot_contract *now = contract_named(c->now, old->name);
    c->contract = old->name;
    c->sunset = old->sunset;
    c->place = arena_printf(c->arena, "contract %.*s", STR_FMT(old->name));
    if (!now) {
        change_add(c, RULE_CONTRACT_REMOVED, c->place, STR("is not there any more"));
        return;
    }
    if ((str_is(old->status, "stable") && str_is(now->status, "draft")) ||
        (str_is(now->status, "retired") && !str_is(old->status, "retired") &&
         !day_has_come(now->sunset, c->today)))
        change_add(c, RULE_CONTRACT_STATUS, c->place,
                   arena_printf(c->arena, "was %.*s, is %.*s", STR_FMT(old->status),
                                STR_FMT(now->status)));
    if (old->sunset.ptr && now->sunset.ptr && day_has_come(now->sunset, old->sunset) &&
        !str_eq(now->sunset, old->sunset))
        change_add(c, RULE_SUNSET, c->place,
                   arena_printf(c->arena, "was %.*s, is %.*s", STR_FMT(old->sunset),
                                STR_FMT(now->sunset)));
    if (now->availability_ppm < old->availability_ppm ||
        (old->p99_ms && (now->p99_ms == 0 || now->p99_ms > old->p99_ms)))
        change_add(c, RULE_LEVEL, c->place,
                   arena_printf(c->arena, "was %lld of a million within %lld ms, is %lld within %lld",
                                (long long)old->availability_ppm, (long long)old->p99_ms,
                                (long long)now->availability_ppm, (long long)now->p99_ms));
}

enum err contract_compare(const struct snapshot *old, const struct snapshot *now, struct str today,
                          struct arena *arena, struct contract_changes *out, struct fault *fault) {
    struct comparison c = {.old = old, .now = now, .today = today, .arena = arena, .out = out};
    *out = (struct contract_changes){0};
    for (uint32_t i = 0; i < old->contract_count; i++)
        contract_one(&c, &old->contracts[i]);
    for (uint32_t i = 0; i < old->route_count; i++)
        route_compare(&c, &old->routes[i]);
    for (uint32_t i = 0; i < old->event_count; i++)
        event_compare(&c, &old->events[i]);
    return c.nomem ? fault_set(fault, ERR_NOMEM, "no memory to compare contracts") : OK;
}
