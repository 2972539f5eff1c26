/* compare: see compare.h. Pure. */
#include "shape/compare.h"

#include "shape/shape_priv.h"

static const struct compare_rule_info rules[] = {
#define RULE(symbol, slug, whom, instead) {slug, whom, instead},
#include "shape/compare.def"
#undef RULE
};

const struct compare_rule_info *compare_rule_info(enum compare_rule rule) {
    must(rule < RULE_COUNT);
    return &rules[rule];
}

enum compare_rule compare_rule_find(struct str slug) {
    enum compare_rule rule = 0;
    while (rule < RULE_COUNT && !str_is(slug, rules[rule].slug))
        rule++;
    return rule;
}

/* --- kinds ------------------------------------------------------------------------------------ */

/* How wide a kind of text is: every code is an id, every id a text. 0: it is none. */
static int text_width(enum shape_kind kind) {
    return kind == SHAPE_CODE ? 1 : kind == SHAPE_ID ? 2 : kind == SHAPE_TEXT ? 3 : 0;
}

static bool is_number(enum shape_kind kind) {
    return kind == SHAPE_MONEY || kind == SHAPE_INTEGER;
}
static bool is_any(enum shape_kind kind) { return kind == SHAPE_OPEN || kind == SHAPE_RAW; }
static bool is_bounded(enum shape_kind kind) {
    return text_width(kind) || is_number(kind) || kind == SHAPE_DECIMAL || kind == SHAPE_RATE ||
           kind == SHAPE_LIST;
}

/* Whether everything of kind `a` is of kind `b`. */
static bool kind_within(enum shape_kind a, enum shape_kind b) {
    if (a == b || is_any(b))
        return true;
    if (text_width(b))
        return (text_width(a) && text_width(a) <= text_width(b)) || (a == SHAPE_ENUM && b != SHAPE_CODE);
    if (is_number(a) && is_number(b))
        return true;
    return a == SHAPE_DECIMAL && b == SHAPE_RATE;
}

/* Bounds in effect. */
static int64_t least(const struct shape_field *f) {
    if (text_width(f->kind) || f->kind == SHAPE_LIST)
        return shape_least(f);
    return f->min == 0 && f->max == 0 ? INT64_MIN : f->min;
}

static int64_t most(const struct shape_field *f) {
    if (text_width(f->kind) || f->kind == SHAPE_LIST)
        return shape_most(f);
    return f->min == 0 && f->max == 0 ? INT64_MAX : f->max;
}

/* --- one member ------------------------------------------------------------------------------- */

#define DEPTH_MAX 32
struct walk {
    const struct compare_sink *sink;
    enum shape_use use;
    const struct shape *inside[DEPTH_MAX]; /* the way here */
    uint32_t depth;
};

static void found(struct walk *walk, enum compare_rule rule, struct str pointer, struct str detail) {
    walk->sink->found(walk->sink->ctx, rule, pointer, detail);
}

static void shapes_walk(struct walk *walk, const struct shape *old, const struct shape *now,
                        struct str pointer);

static struct str bound_text(struct walk *walk, const struct shape_field *f, int64_t value) {
    struct buf out;
    if (value == INT64_MIN || value == INT64_MAX)
        return STR("none");
    if (f->kind != SHAPE_DECIMAL && f->kind != SHAPE_RATE)
        return arena_printf(walk->sink->arena, "%lld", (long long)value);
    buf_init(&out, 0);
    decimal_write(&out, value, shape_scale(f));
    struct str text = arena_str(walk->sink->arena, buf_str(&out));
    buf_free(&out);
    return text;
}

static void bound_compare(struct walk *walk, const char *which, const struct shape_field *old,
                          const struct shape_field *now, int64_t was, int64_t is, bool narrower,
                          struct str pointer) {
    if (was == is || old->kind != now->kind || narrower != (walk->use == SHAPE_TAKEN))
        return;
    found(walk, narrower ? RULE_BOUND : RULE_BOUND_GROWN, pointer,
          arena_printf(walk->sink->arena, "%s was %.*s, is %.*s", which,
                       STR_FMT(bound_text(walk, old, was)), STR_FMT(bound_text(walk, now, is))));
}

static bool has_value(const char *const *values, const char *value) {
    for (; *values; values++)
        if (strcmp(*values, value) == 0)
            return true;
    return false;
}

static void values_compare(struct walk *walk, const struct shape_field *old,
                           const struct shape_field *now, struct str pointer) {
    bool taken = walk->use == SHAPE_TAKEN;
    const char *const *all = taken ? old->values : now->values;
    for (; *all; all++)
        if (!has_value(taken ? now->values : old->values, *all))
            found(walk, taken ? RULE_VALUE_REMOVED : RULE_VALUE_ADDED, pointer,
                  arena_printf(walk->sink->arena, "\"%s\"", *all));
}

static void kinds_compare(struct walk *walk, const struct shape_field *old,
                          const struct shape_field *now, struct str pointer) {
    static const char *const names[] = SHAPE_KIND_NAMES;
    bool fits = walk->use == SHAPE_TAKEN ? kind_within(old->kind, now->kind)
                                         : kind_within(now->kind, old->kind);
    bool inner = old->kind == now->kind && (now->kind == SHAPE_LIST || now->kind == SHAPE_OBJECT);
    if (!fits || (inner && !old->shape != !now->shape))
        found(walk, RULE_KIND, pointer,
              arena_printf(walk->sink->arena, "was %s%s, is %s%s", names[old->kind],
                           old->kind == SHAPE_LIST && !old->shape ? " of texts" : "",
                           names[now->kind], now->kind == SHAPE_LIST && !now->shape ? " of texts" : ""));
    else if (inner && now->shape)
        shapes_walk(walk, old->shape, now->shape,
                    now->kind == SHAPE_LIST
                        ? arena_printf(walk->sink->arena, "%.*s/0", STR_FMT(pointer)) : pointer);
}

static void flags_compare(struct walk *walk, const struct shape_field *old,
                          const struct shape_field *now, struct str pointer) {
    unsigned gone = old->flags & ~now->flags, fresh = now->flags & ~old->flags;
    if (walk->use == SHAPE_TAKEN) {
        if (fresh & SHAPE_READ_ONLY)
            found(walk, RULE_READ_ONLY, pointer, STR("is refused in what is sent now"));
        else if (fresh & SHAPE_REQUIRED && !(now->flags & SHAPE_READ_ONLY))
            found(walk, RULE_MEMBER_REQUIRED, pointer, STR("was optional"));
        if (gone & SHAPE_LOCAL_OK)
            found(walk, RULE_KIND, pointer, STR("a time without offset was taken"));
        return;
    }
    if (gone & SHAPE_REQUIRED)
        found(walk, RULE_MEMBER_OPTIONAL, pointer, STR("was always there"));
    if (fresh & SHAPE_NULL)
        found(walk, RULE_NULL, pointer, STR("may be null now"));
    if (fresh & SHAPE_LOCAL_OK)
        found(walk, RULE_KIND, pointer, STR("the offset of the time may be missing now"));
    if (now->privacy > old->privacy)
        found(walk, RULE_PRIVACY, pointer, STR("is left out for those who may not see it"));
}

static void field_compare(struct walk *walk, const struct shape_field *old,
                          const struct shape_field *now, struct str pointer) {
    flags_compare(walk, old, now, pointer);
    kinds_compare(walk, old, now, pointer);
    if (old->kind == SHAPE_ENUM && now->kind == SHAPE_ENUM)
        values_compare(walk, old, now, pointer);
    if (!is_bounded(now->kind))
        return;
    bound_compare(walk, "the least", old, now, least(old), least(now), least(now) > least(old),
                  pointer);
    bound_compare(walk, "the most", old, now, most(old), most(now), most(now) < most(old), pointer);
}

/* --- documents -------------------------------------------------------------------------------- */

static const struct shape_field *field_find(const struct shape *shape, const char *name) {
    for (uint32_t i = 0; i < shape->count; i++)
        if (strcmp(shape->fields[i].name, name) == 0)
            return &shape->fields[i];
    return NULL;
}

static void shapes_walk(struct walk *walk, const struct shape *old, const struct shape *now,
                        struct str pointer) {
    struct arena *arena = walk->sink->arena;
    must(walk->depth < DEPTH_MAX);
    for (uint32_t i = 0; i < walk->depth; i++)
        if (walk->inside[i] == old)
            return; /* a shape inside itself: its members were compared on the way here */
    walk->inside[walk->depth++] = old;
    if (walk->use == SHAPE_TAKEN && old->open && !now->open)
        found(walk, RULE_CLOSED, pointer, STR("unknown members were passed over"));
    for (uint32_t i = 0; i < old->count; i++) {
        const struct shape_field *was = &old->fields[i], *is = field_find(now, was->name);
        struct str at = arena_printf(arena, "%.*s/%s", STR_FMT(pointer), was->name);
        bool taken = walk->use == SHAPE_TAKEN;
        if (is)
            field_compare(walk, was, is, at);
        else if (!taken || (!now->open && !(was->flags & SHAPE_READ_ONLY)))
            found(walk, RULE_MEMBER_REMOVED, at,
                  taken ? STR("is refused now: unknown members are") : STR("is not there any more"));
    }
    for (uint32_t i = 0; walk->use == SHAPE_TAKEN && i < now->count; i++) {
        const struct shape_field *is = &now->fields[i];
        if ((is->flags & SHAPE_REQUIRED) && !(is->flags & SHAPE_READ_ONLY) &&
            !field_find(old, is->name))
            found(walk, RULE_MEMBER_REQUIRED,
                  arena_printf(arena, "%.*s/%s", STR_FMT(pointer), is->name), STR("is new"));
    }
    walk->depth--;
}

void shape_compare(const struct shape *old, const struct shape *now, enum shape_use use,
                   const struct compare_sink *sink) {
    struct walk walk = {.sink = sink, .use = use};
    shapes_walk(&walk, old, now, STR(""));
}
