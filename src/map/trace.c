/* trace: where each member of the answer came from, found by experiment. A first run records
 * the scalars it reads. Then each of them is changed a little, alone, and the mapping runs
 * again: the members of the answer that change depend on it (exact). Where no small change
 * leaves a document that maps (a currency, a sum that is checked), members whose text equals
 * the scalar's are taken to come from it (not exact). The answers of helpers (money, code …) are
 * changed in the same way, call by call. */
#include "map/map_priv.h"

#include "base/mem.h"

#define VARIANTS 4
#define TRACED_READS_MAX 2000
#define TRACED_CALLS_MAX 2000

struct scalar {
    struct str pointer;
    const struct json *node;
    bool *hits; /* per source, then per call; true: exact */
    bool *guesses; /* per source */
};

struct trace_work {
    struct sandbox *sandbox;
    struct arena *arena; /* of the result */
    struct arena scratch;
    struct json *document; /* a copy whose scalars may be changed */
    const struct json **sources; /* nodes of the original, each once */
    uint32_t source_count;
    const struct call_entry *calls;
    uint32_t call_count;
    struct scalar *targets;
    uint32_t target_count;
};

/* Scalars below `node`, in order; counts only where `out` is NULL. */
static uint32_t scalars_of(struct arena *arena, const struct json *node, struct scalar *out) {
    uint32_t n = 0;
    for (const struct json *at = node; at < node + node->next;) {
        if ((at->kind == JSON_OBJECT || at->kind == JSON_ARRAY) && at->count > 0) {
            at++;
            continue;
        }
        struct str pointer = out ? document_pointer(arena, node, at) : STR_NONE;
        /* a name has no pointer of its own */
        if (!out || pointer.ptr) {
            if (out)
                out[n] = (struct scalar){.pointer = pointer, .node = at};
            n++;
        }
        at++;
    }
    return n;
}

/* The v-th small change of a scalar, into *out; false where there is none. */
static bool variant(const struct json *was, uint32_t v, struct arena *arena, struct json *out) {
    *out = *was;
    if (was->kind == JSON_BOOL && v == 0) {
        out->count = !was->count;
        return true;
    }
    if (was->kind != JSON_STRING && was->kind != JSON_NUMBER)
        return false;
    char *text = arena_bytes(arena, was->text.len + 1);
    if (!text)
        return false;
    memcpy(text, was->text.ptr, was->text.len);
    out->text = str_of(text, was->text.len);
    /* 0: the last digit, 1: the first digit, 2: a letter more, 3: another currency */
    size_t digit = was->text.len;
    for (size_t i = 0; i < was->text.len; i++) {
        if (text[i] >= '0' && text[i] <= '9') {
            digit = i;
            if (v == 1)
                break;
        }
    }
    if (v < 2) {
        if (digit == was->text.len)
            return false;
        text[digit] = text[digit] == '9' ? '8' : (char)(text[digit] + 1);
        return true;
    }
    if (was->kind != JSON_STRING)
        return false;
    if (v == 2) {
        text[was->text.len] = 'x';
        out->text.len++;
        return true;
    }
    if (was->text.len == 2)
        memcpy(text, str_is(was->text, "FR") ? "DE" : "FR", 2);
    else if (was->text.len == 3)
        memcpy(text, str_is(was->text, "EUR") ? "USD" : "EUR", 3);
    else
        return false;
    return true;
}

static bool scalar_same(const struct json *a, const struct json *b) {
    return a->kind == b->kind && a->count == b->count && str_eq(a->text, b->text);
}

/* Marks the targets that differ between the two answers; false where none does. */
static bool mark_changes(struct trace_work *w, const struct json *changed, uint32_t source) {
    bool any = false;
    uint32_t n = scalars_of(&w->scratch, changed, NULL);
    struct scalar *now = arena_array(&w->scratch, n + 1, sizeof *now);
    if (!now)
        return false;
    n = scalars_of(&w->scratch, changed, now);
    for (uint32_t t = 0, at = 0; t < w->target_count; t++) {
        uint32_t found = at;
        while (found < n && !str_eq(now[found].pointer, w->targets[t].pointer))
            found++;
        if (found == n || !scalar_same(now[found].node, w->targets[t].node))
            any = w->targets[t].hits[source] = true;
        if (found < n)
            at = found + 1;
    }
    return any;
}

static void try_source(struct trace_work *w, uint32_t source, const struct json *original) {
    const struct json *node = w->sources[source];
    struct json *mine = w->document + (node - original);
    bool found = false;
    /* first as it is; then with calls answered that can not be made any more (a code that is not there) */
    for (uint32_t v = 0; v < 2 * VARIANTS && !found; v++) {
        arena_reset(&w->scratch);
        struct json changed;
        struct trial trial = {.at = 0};
        if (!variant(node, v % VARIANTS, &w->scratch, &changed))
            continue;
        *mine = changed;
        const struct json *answer;
        struct fault ignored = {0};
        if (v < VARIANTS
                ? sandbox_run(w->sandbox, w->document, &w->scratch, &answer, &ignored) == OK
                : trial_run(w->sandbox, w->document, &trial, &w->scratch, &answer))
            found = mark_changes(w, answer, source);
        *mine = *node;
    }
    for (uint32_t t = 0; t < w->target_count && !found; t++) {
        const struct json *target = w->targets[t].node;
        if (target->text.len > 0 && str_eq(target->text, node->text))
            w->targets[t].guesses[source] = true;
    }
}

static void try_call(struct trace_work *w, uint32_t call, const struct json *original) {
    const struct call_entry *entry = &w->calls[call];
    bool found = false;
    for (uint32_t v = 0; v < VARIANTS && !found; v++) {
        arena_reset(&w->scratch);
        struct trial trial = {.at = entry->number};
        if (!variant(&entry->answer, v, &w->scratch, &trial.value))
            continue;
        const struct json *answer;
        struct fault ignored = {0};
        w->sandbox->trial = &trial;
        if (sandbox_run(w->sandbox, original, &w->scratch, &answer, &ignored) == OK)
            found = mark_changes(w, answer, w->source_count + call);
        w->sandbox->trial = NULL;
    }
}

static int pointer_order(const void *a, const void *b) {
    const struct json *x = *(const struct json *const *)a, *y = *(const struct json *const *)b;
    return (x > y) - (x < y);
}

/* The nodes read, each once, in the document's order; those of the settings left out. */
static enum err collect_sources(struct trace_work *w, struct read_log *log,
                                const struct json *document, struct fault *fault) {
    qsort(log->nodes, log->count, sizeof *log->nodes, pointer_order);
    w->sources = arena_array(w->arena, log->count + 1, sizeof *w->sources);
    if (!w->sources)
        return fault_set(fault, ERR_NOMEM, "no memory for the trace");
    for (uint32_t i = 0; i < log->count; i++) {
        const struct json *node = log->nodes[i];
        if (node < document || node >= document + document->next)
            continue;
        if (w->source_count == 0 || w->sources[w->source_count - 1] != node)
            w->sources[w->source_count++] = node;
    }
    if (w->source_count > TRACED_READS_MAX)
        return fault_set(fault, ERR_TOO_LARGE, "the mapping reads more than %d values: trace a smaller document",
                         TRACED_READS_MAX);
    return OK;
}

static enum err collect_targets(struct trace_work *w, const struct json *answer,
                                struct fault *fault) {
    uint32_t n = scalars_of(w->arena, answer, NULL);
    w->targets = arena_array(w->arena, n + 1, sizeof *w->targets);
    if (!w->targets)
        return fault_set(fault, ERR_NOMEM, "no memory for the trace");
    w->target_count = scalars_of(w->arena, answer, w->targets);
    for (uint32_t i = 0; i < w->target_count; i++) {
        w->targets[i].hits = arena_array(w->arena, w->source_count + w->call_count + 1, sizeof(bool));
        w->targets[i].guesses = arena_array(w->arena, w->source_count + 1, sizeof(bool));
        if (!w->targets[i].hits || !w->targets[i].guesses)
            return fault_set(fault, ERR_NOMEM, "no memory for the trace");
    }
    return OK;
}

static bool calls_report(struct trace_work *w, struct mapping_trace *trace) {
    trace->calls = arena_array(w->arena, w->call_count + 1, sizeof *trace->calls);
    for (uint32_t c = 0; trace->calls && c < w->call_count; c++)
        trace->calls[c] = (struct mapping_call){.name = w->calls[c].name, .text = w->calls[c].text,
                                                .line = w->calls[c].line > 0 ? (uint32_t)w->calls[c].line : 0};
    trace->call_count = w->call_count;
    return trace->calls != NULL;
}

static enum err trace_report(struct trace_work *w, const struct json *document,
                             struct mapping_trace *trace, struct fault *fault) {
    *trace = (struct mapping_trace){.count = w->target_count};
    trace->rows = arena_array(w->arena, w->target_count + 1, sizeof *trace->rows);
    uint32_t scalars = scalars_of(w->arena, document, NULL);
    struct scalar *all = arena_array(w->arena, scalars + 1, sizeof *all);
    trace->unread = arena_array(w->arena, scalars + 1, sizeof *trace->unread);
    if (!trace->rows || !all || !trace->unread)
        return fault_set(fault, ERR_NOMEM, "no memory for the trace");
    if (!calls_report(w, trace))
        return fault_set(fault, ERR_NOMEM, "no memory for the trace");
    for (uint32_t t = 0; t < w->target_count; t++) {
        struct mapping_trace_row *row = &trace->rows[t];
        row->target = w->targets[t].pointer;
        row->sources = arena_array(w->arena, w->source_count + 1, sizeof *row->sources);
        if (!row->sources)
            return fault_set(fault, ERR_NOMEM, "no memory for the trace");
        row->exact = true;
        row->calls = arena_array(w->arena, w->call_count + 1, sizeof *row->calls);
        if (!row->calls)
            return fault_set(fault, ERR_NOMEM, "no memory for the trace");
        for (uint32_t c = 0; c < w->call_count; c++)
            if (w->targets[t].hits[w->source_count + c])
                row->calls[row->call_count++] = &trace->calls[c];
        for (uint32_t s = 0; s < w->source_count; s++) {
            if (!w->targets[t].hits[s] && !w->targets[t].guesses[s])
                continue;
            row->exact = row->exact && w->targets[t].hits[s];
            row->sources[row->source_count++] =
                document_pointer(w->arena, document, w->sources[s]);
        }
    }
    scalars = scalars_of(w->arena, document, all);
    for (uint32_t i = 0, s = 0; i < scalars; i++) {
        while (s < w->source_count && w->sources[s] < all[i].node)
            s++;
        bool read = s < w->source_count && w->sources[s] == all[i].node;
        bool container = all[i].node->kind == JSON_OBJECT || all[i].node->kind == JSON_ARRAY;
        trace->scalars += !container;
        if (!read && !container)
            trace->unread[trace->unread_count++] = all[i].pointer;
    }
    return OK;
}

static enum err trace_run(struct trace_work *w, struct read_log *log, struct call_log *calls,
                          const struct json *document,
                          const struct json **out, struct mapping_trace *trace,
                          struct fault *fault) {
    w->sandbox->reads = log;
    w->sandbox->calls = calls;
    enum err err = sandbox_run(w->sandbox, document, w->arena, out, fault);
    w->sandbox->reads = NULL;
    w->sandbox->calls = NULL;
    if (err)
        return err;
    w->calls = calls->items;
    w->call_count = calls->count;
    if (w->call_count > TRACED_CALLS_MAX)
        return fault_set(fault, ERR_TOO_LARGE, "the mapping calls helpers more than %d times: trace a "
                         "smaller document", TRACED_CALLS_MAX);
    w->document = arena_array(w->arena, document->next, sizeof *document);
    if (!w->document)
        return fault_set(fault, ERR_NOMEM, "no memory for the trace");
    memcpy(w->document, document, document->next * sizeof *document);
    err = collect_sources(w, log, document, fault);
    if (!err)
        err = collect_targets(w, *out, fault);
    if (err)
        return err;
    for (uint32_t s = 0; s < w->source_count; s++)
        try_source(w, s, document);
    for (uint32_t c = 0; c < w->call_count; c++)
        try_call(w, c, document);
    return trace_report(w, document, trace, fault);
}

enum err sandbox_trace(struct sandbox *sandbox, const struct json *document, struct arena *arena,
                       const struct json **out, struct mapping_trace *trace, struct fault *fault) {
    struct trace_work work = {.sandbox = sandbox, .arena = arena};
    struct read_log log = {0};
    struct call_log calls = {.arena = arena};
    arena_init(&work.scratch, 0);
    enum err err = trace_run(&work, &log, &calls, document, out, trace, fault);
    mem_free(log.nodes);
    mem_free(calls.items);
    arena_free(&work.scratch);
    return err;
}

void mapping_trace_write(const struct mapping_trace *trace, struct buf *out) {
    buf_char(out, '[');
    for (uint32_t i = 0; i < trace->count && i < MAPPING_TRACE_WRITTEN_MAX; i++) {
        const struct mapping_trace_row *row = &trace->rows[i];
        buf_str_add(out, i ? STR(",{\"target\":") : STR("{\"target\":"));
        buf_json_str(out, row->target);
        buf_lit(out, ",\"sources\":[");
        for (uint32_t k = 0; k < row->source_count; k++) {
            if (k)
                buf_char(out, ',');
            buf_json_str(out, row->sources[k]);
        }
        buf_lit(out, "]}");
    }
    buf_char(out, ']');
}
