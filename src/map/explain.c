/* explain: where a failed mapping failed: which member of the document the call was about, and which
 * member of the answer it was made for. Costs the mappings that do not fail nothing: it runs the
 * mapping again. Once with its reads noted: the newest of them with the text of the call is where it
 * came from. Then with the failing call answered by one thing, and by another: where the two answers
 * differ is what it was made for. A mapping that then fails elsewhere keeps that to itself. */
#include "map/map_priv.h"

#include "base/mem.h"

/* What may be spent on an explanation, in instructions of one run. */
#define EXPLAIN_STEPS_MAX 2000000

/* Pairs that pass for what a call of the kind answers. */
static const struct { enum call_kind kind; const char *a, *b; enum json_kind json; } pairs[] = {
    {CALL_INTEGER, "1000003", "2000007", JSON_NUMBER},
    {CALL_TEXT, "1000003", "2000007", JSON_STRING},
    {CALL_INSTANT, "2001-02-03T04:05:06Z", "2002-03-04T05:06:07Z", JSON_STRING},
    {CALL_ANY, "1000003", "2000007", JSON_STRING},
    {CALL_ANY, "1000003", "2000007", JSON_NUMBER},
    {CALL_ANY, "2001-02-03T04:05:06Z", "2002-03-04T05:06:07Z", JSON_STRING},
};

static struct str source_find(const struct read_log *log, const struct json *document,
                              const char *text, struct arena *arena) {
    for (uint32_t i = log->count; i > 0 && text[0]; i--) {
        const struct json *node = log->nodes[i - 1];
        if (node >= document && node < document + document->next && str_is(node->text, text))
            return document_pointer(arena, document, node);
    }
    return STR_NONE;
}

bool trial_run(struct sandbox *sb, const struct json *document, struct trial *trial,
                      struct arena *arena, const struct json **out) {
    for (;;) {
        struct fault ignored = {0};
        sb->trial = trial;
        enum err err = sandbox_run(sb, document, arena, out, &ignored);
        sb->trial = NULL;
        if (err == OK)
            return true;
        if (err != ERR_INVALID || !sb->call_name || sb->call == trial->at ||
            trial->other_count == TRIAL_OTHERS_MAX)
            return false;
        trial->others[trial->other_count++] = sb->call;
    }
}

/* The member of the answer that is made of call `at`; absent: none, or it can not be told. */
static struct str target_find(struct sandbox *sb, const struct json *document, uint32_t at,
                              size_t pair, struct arena *arena, struct arena *scratch) {
    const struct json *answers[2];
    for (int i = 0; i < 2; i++) {
        struct trial trial = {.at = at,
                              .value = {.text = str_c(i ? pairs[pair].b : pairs[pair].a), .next = 1,
                                        .kind = (uint8_t)pairs[pair].json}};
        if (!trial_run(sb, document, &trial, scratch, &answers[i]))
            return STR_NONE;
    }
    const struct json *a = answers[0], *b = answers[1], *found = NULL;
    if (a->next != b->next)
        return STR_NONE;
    for (uint32_t i = 0; i < a->next; i++) {
        if (a[i].kind != b[i].kind || a[i].count != b[i].count)
            return STR_NONE;
        if (a[i].kind == JSON_OBJECT || a[i].kind == JSON_ARRAY || str_eq(a[i].text, b[i].text))
            continue;
        bool itself = str_is(a[i].text, pairs[pair].a) && str_is(b[i].text, pairs[pair].b);
        if (itself || !found)
            found = &a[i];
        if (itself)
            break;
    }
    return found ? document_pointer(arena, a, found) : STR_NONE;
}

static void words_add(struct fault *fault, const char *what, struct str pointer) {
    size_t len = strlen(fault->detail);
    if (pointer.len && len + pointer.len + 16 < sizeof fault->detail)
        snprintf(fault->detail + len, sizeof fault->detail - len, " (%s %.*s)", what,
                 STR_FMT(pointer));
}

void sandbox_explain(struct sandbox *sb, const struct json *document, struct fault *fault) {
    uint32_t failed = sb->call;
    struct mapping_problem problem = *sb->problem;
    struct arena *arena = sb->arena, scratch;
    struct read_log log = {0};
    struct fault ignored = {0};
    const struct json *none;
    if (sb->limits.instructions_max - sb->steps > EXPLAIN_STEPS_MAX || !fault)
        return;
    arena_init(&scratch, 0);
    sb->reads = &log;
    enum err err = sandbox_run(sb, document, &scratch, &none, &ignored);
    sb->reads = NULL;
    bool same = err == ERR_INVALID && sb->call == failed;
    enum call_kind kind = sb->call_kind;
    if (same && !problem.source.ptr) {
        problem.source = source_find(&log, document, sb->call_arg, arena);
        words_add(fault, "read at", problem.source);
        if (problem.source.ptr && fault->arena)
            fault_add(fault, problem.source, "is where %.*s failed", STR_FMT(sb->source->name));
    }
    for (size_t i = 0; same && !problem.target.ptr && i < sizeof pairs / sizeof *pairs; i++) {
        if (pairs[i].kind == kind)
            problem.target = target_find(sb, document, failed, i, arena, &scratch);
        arena_reset(&scratch);
    }
    words_add(fault, "for", problem.target);
    *sb->problem = problem;
    mem_free(log.nodes);
    arena_free(&scratch);
}
