/* audit: see audit.h. Owns the counts of a loop and the notes on their way to the journal. */
#include "gateway/audit.h"

#include <string.h>

#include "base/encode.h"
#include "base/log.h"
#include "base/mem.h"
#include "gateway/gateway_priv.h"

#define PROBE_MAX 16 /* slots looked at for one kind of call */
#define CLOSE_ROUNDS 2000 /* of a millisecond or more, for what is left at the end */

/* Calls alike. */
struct line {
    uint64_t hash; /* 0: free */
    enum audit_kind kind;
    enum err err; /* OK: not refused */
    const struct route_entry *entry; /* NULL: several */
    char actor[200], from[INET_TEXT_MAX], correlation[CORRELATION_MAX + 1];
    char about[AUDIT_ABOUT_MAX], claims[3 + KEY_ID_LEN];
    uint32_t actor_len, from_len, correlation_len, about_len, claims_len;
    uint64_t count; /* not written yet */
    int64_t first_us, last_us; /* of those; wall clock */
    int64_t until_us;          /* the window's end; tick */
};

struct audit {
    struct gateway_loop *loop;
    struct line lines[AUDIT_LINES];
    struct line others[AUDIT_KINDS]; /* for which there was no room */
    uint32_t used; /* of both */
    uint32_t notes; /* on their way, waited for by nobody */
    int64_t tokens, filled_us; /* lines that may leave now, in millionths; since */
    bool told; /* that the journal does not take them */
};

/* One line on its way to the journal. */
struct note {
    struct issuer issuer; /* first */
    struct audit *audit;
    struct call *call; /* waits for it; NULL: nobody does */
    void (*go_on)(struct call *call, void *ctx, enum err err);
    void *ctx;
    /* Beside answers: what it stands for, to be counted again where it is not written. */
    struct line *line;
    uint64_t hash, count;
    int64_t first_us, last_us;
    struct arena arena;
    struct audit_note body;
    struct command command;
};

/* --- the keyring ---------------------------------------------------------------------------- */

static enum err counting_find(struct keyring *k, uint64_t number, struct seal_key *out,
                              struct fault *fault) {
    struct audit_keyring *counting = (struct audit_keyring *)k;
    enum err err = counting->inner->ops->find(counting->inner, number, out, fault);

    counting->opened += err == OK;
    return err;
}
/* Answers are only ever opened: readers find keys and do nothing else. */
static const struct keyring_ops counting_ops = {.find = counting_find};

void audit_keyring_init(struct audit_keyring *keyring, struct keyring *inner) {
    *keyring = (struct audit_keyring){
        .keyring = {.ops = &counting_ops, .rng = inner->rng}, .inner = inner};
}

/* --- notes ----------------------------------------------------------------------------------- */

static void note_free(struct note *note) {
    arena_free(&note->arena);
    mem_free(note);
}

static void line_begin_others(struct audit *audit, enum audit_kind kind) {
    struct line *line = &audit->others[kind];

    *line = (struct line){.hash = 1, .kind = kind}; /* nobody's in particular */
    audit->used++;
}

/* It is not on disk: its calls count again, where they were counted, or with the rest. */
static void note_give_back(struct audit *audit, const struct note *note) {
    enum audit_kind kind = (enum audit_kind)note->body.kind;
    struct line *line = note->line;

    if (line->hash != note->hash || line->kind != kind) {
        line = &audit->others[kind];
        if (!line->hash)
            line_begin_others(audit, kind);
    }
    if (line->count == 0 || note->first_us < line->first_us)
        line->first_us = note->first_us;
    if (line->count == 0 || note->last_us > line->last_us)
        line->last_us = note->last_us;
    line->count += note->count;
    loop_tick_set(audit->loop);
}

static void note_completed(struct command *command) {
    struct note *note = command->origin_ctx;
    enum err err = command->answer.err;
    struct audit *audit = note->audit;

    if (err != OK && !audit->told)
        log_line(LOG_WARN, "gateway", "the audit can not be written", "detail=%s",
                 log_quote(str_c(command->answer.fault.detail)));
    audit->told = err != OK;
    if (note->call)
        note->go_on(note->call, note->ctx, err);
    else
        audit->notes--;
    if (!note->call && err != OK)
        note_give_back(audit, note);
    note_free(note);
}

static void text_set(struct audit_note *body, enum audit_note_row row, struct str *to,
                     struct str from) {
    if (from.len == 0)
        return;
    *to = from;
    shape_mark(body, row);
}

static enum err note_fill(struct note *note, const struct line *line, uint64_t count) {
    struct audit_note *body = &note->body;
    struct arena *arena = &note->arena;
    const struct route *route = line->entry ? line->entry->route : NULL;
    struct str action = line->entry ? line->entry->idem : STR("several, of several callers");

    *body = (struct audit_note){.kind = (int32_t)line->kind};
    shape_mark(body, NOTE_KIND);
    text_set(body, NOTE_ACTION, &body->action, action);
    text_set(body, NOTE_ABOUT, &body->about, arena_str(arena, str_of(line->about, line->about_len)));
    if (line->err != OK)
        text_set(body, NOTE_REASON, &body->reason, str_c(err_info(line->err)->slug));
    if (line->err == ERR_FORBIDDEN && route && route->scope)
        text_set(body, NOTE_NEEDS, &body->needs, str_c(route->scope));
    text_set(body, NOTE_CLAIMS, &body->claims,
             arena_str(arena, str_of(line->claims, line->claims_len)));
    if (count > 1) {
        body->count = (int64_t)count;
        body->first_at.us = line->first_us;
        body->last_at.us = line->last_us;
        shape_mark(body, NOTE_COUNT);
        shape_mark(body, NOTE_FIRST_AT);
        shape_mark(body, NOTE_LAST_AT);
    }
    struct command *command = &note->command;
    struct fault fault = {0};
    enum err err = command_prepare(note->audit->loop->gateway->options.core, &audit_note_command,
                                   arena, body, command, &fault);
    command->actor = arena_str(arena, str_of(line->actor, line->actor_len));
    command->from = arena_str(arena, str_of(line->from, line->from_len));
    command->correlation = arena_str(arena, str_of(line->correlation, line->correlation_len));
    command->origin = &note->audit->loop->origin;
    command->origin_ctx = note;
    return err;
}

static struct note *note_make(struct audit *audit, const struct line *line, uint64_t count) {
    struct note *note = mem_zalloc(sizeof *note);

    if (!note)
        return NULL;
    note->issuer.completed = note_completed;
    note->audit = audit;
    arena_init(&note->arena, 0);
    if (note_fill(note, line, count) == OK)
        return note;
    note_free(note);
    return NULL;
}

/* Beside answers: of the lowest importance, but at the end. `line` stands in `place`. */
static bool note_send(struct audit *audit, struct line *place, const struct line *line,
                      uint64_t count, bool closing) {
    struct core *core = audit->loop->gateway->options.core;
    const struct settings *settings = &audit->loop->gateway->config->settings;
    struct note *note;
    struct fault fault = {0};

    if (audit->notes >= AUDIT_NOTES_MAX ||
        (!closing && core_waiting(core) > (uint32_t)settings->queue_commands_max / 2))
        return false;
    note = note_make(audit, line, count);
    if (!note)
        return false;
    note->line = place;
    note->hash = line->hash;
    note->count = count;
    note->first_us = line->first_us;
    note->last_us = line->last_us;
    if (core_submit(core, &note->command, &fault) != OK) {
        note_free(note);
        return false;
    }
    audit->notes++;
    return true;
}

/* --- counting -------------------------------------------------------------------------------- */

static bool token_take(struct audit *audit) {
    const struct gateway *gateway = audit->loop->gateway;
    int64_t now_us = clock_tick_us(gateway->clock);
    int64_t per_s = gateway->config->settings.audit_lines_per_s;
    int64_t share = per_s / gateway->loop_count + (per_s % gateway->loop_count != 0);
    int64_t passed_us = now_us - audit->filled_us;

    if (passed_us > 1000000)
        passed_us = 1000000;
    audit->filled_us = now_us;
    audit->tokens += passed_us * share;
    if (audit->tokens > share * 1000000)
        audit->tokens = share * 1000000;
    if (audit->tokens < 1000000)
        return false;
    audit->tokens -= 1000000;
    return true;
}

/* As much of a text as fits, not in the middle of a character. */
static uint32_t text_keep(char *to, size_t size, struct str from) {
    size_t len = from.len < size ? from.len : size;

    if (!from.ptr || !utf8_valid(from))
        return 0;
    while (len < from.len && len > 0 && ((unsigned char)from.ptr[len] & 0xc0) == 0x80)
        len--;
    memcpy(to, from.ptr, len);
    return (uint32_t)len;
}

/* Who, from where, which route, why; all but about and claims. */
static void line_begin(struct line *line, const struct call *call, enum audit_kind kind,
                       enum err err) {
    memset(line, 0, offsetof(struct line, actor));
    line->count = 0;
    line->kind = kind;
    line->err = err;
    line->entry = call->match.entry;
    line->about_len = line->claims_len = 0;
    line->actor_len = text_keep(line->actor, sizeof line->actor, call->actor);
    line->from_len = text_keep(line->from, sizeof line->from, call->from);
    line->correlation_len =
        text_keep(line->correlation, sizeof line->correlation, call->context.correlation);
    line->first_us = line->last_us = clock_now_us(call->gateway->clock);
}

static uint64_t line_hash(const struct line *line) {
    uint64_t seed = (uint64_t)line->kind << 32 | (uint64_t)line->err << 16 | line->entry->index;
    uint64_t hash = hash64(str_of(line->actor, line->actor_len), seed);

    hash = hash64(str_of(line->from, line->from_len), hash);
    return hash ? hash : 1;
}

static void about_set(struct line *line, const struct call *call, struct str about) {
    struct str query = http_exchange_request(call->ex)->query;
    uint32_t len = 0;

    if (signin_is(call->match.entry->route))
        return; /* codes and states are nobody's to read */
    if (about.len) {
        line->about_len = text_keep(line->about, sizeof line->about, about);
        return;
    }
    for (uint32_t i = 0; i < call->match.arg_count && len < sizeof line->about; i++) {
        if (i > 0)
            line->about[len++] = '/';
        len += text_keep(line->about + len, sizeof line->about - len, call->match.args[i]);
    }
    if (query.len && len + 1 < sizeof line->about) {
        line->about[len++] = '?';
        len += text_keep(line->about + len, sizeof line->about - len, query);
    }
    line->about_len = len;
}

/* Of a key that is not valid, its id: which one it is matters, where it was revoked. */
static void claims_set(struct line *line, const struct call *call) {
    struct str token = http_request_header(http_exchange_request(call->ex), "Authorization");
    struct str id, secret;

    if (!token.ptr)
        return;
    str_cut(&token, ' ');
    if (!token.ptr || !key_parse(str_trim(token), &id, &secret))
        return;
    for (size_t i = 0; i < id.len; i++)
        if (!((id.ptr[i] >= '0' && id.ptr[i] <= '9') || (id.ptr[i] >= 'a' && id.ptr[i] <= 'z')))
            return;
    memcpy(line->claims, "pk_", 3);
    memcpy(line->claims + 3, id.ptr, KEY_ID_LEN);
    line->claims_len = 3 + KEY_ID_LEN;
}

/* The place of calls like this one: the line itself, a free slot, or the rest's. */
static struct line *line_place(struct audit *audit, uint64_t hash, enum audit_kind kind) {
    struct line *free_slot = NULL;

    for (uint32_t i = 0; i < PROBE_MAX; i++) {
        struct line *line = &audit->lines[(hash + i) % AUDIT_LINES];

        if (line->hash == hash)
            return line;
        if (!line->hash && !free_slot)
            free_slot = line;
    }
    return free_slot ? free_slot : &audit->others[kind];
}

static void line_keep(struct audit *audit, struct line *line, const struct line *from) {
    if (line >= audit->others && line < audit->others + AUDIT_KINDS) {
        line_begin_others(audit, from->kind);
        line->err = from->err;
        line->count = from->count;
        line->first_us = from->first_us;
        line->last_us = from->last_us;
    } else {
        *line = *from;
        audit->used++;
    }
    if (line->count == 0) /* the line that left said it; of those that come it would not be true */
        line->about_len = line->claims_len = line->correlation_len = 0;
    line->until_us = clock_tick_us(audit->loop->gateway->clock) +
                     audit->loop->gateway->config->settings.audit_window_s * 1000000;
    loop_tick_set(audit->loop);
}

static void audit_count(struct call *call, enum audit_kind kind, enum err err, struct str about) {
    struct audit *audit = call->loop->audit;
    struct line now, *line;

    if (!call->match.entry)
        return;
    line_begin(&now, call, kind, err);
    now.hash = line_hash(&now);
    line = line_place(audit, now.hash, kind);
    if (line->hash) {
        if (line->count++ == 0)
            line->first_us = now.first_us;
        line->last_us = now.last_us;
        return;
    }
    if (err != ERR_UNAUTHENTICATED)
        about_set(&now, call, about);
    else /* of who it is nothing is known: nothing that they made up is kept */
        claims_set(&now, call);
    if (line >= audit->others && line < audit->others + AUDIT_KINDS)
        now.hash = 1;
    now.count = !token_take(audit) || !note_send(audit, line, &now, 1, false);
    line_keep(audit, line, &now);
}

/* A window's end: what was counted leaves as one line; one in which nothing was, is over. */
static void line_step(struct audit *audit, struct line *line, int64_t now_us, bool closing) {
    const struct gateway *gateway = audit->loop->gateway;

    if (!line->hash || (!closing && now_us < line->until_us))
        return;
    if (line->count == 0) {
        line->hash = 0;
        audit->used--;
        return;
    }
    if (!closing && !token_take(audit))
        return; /* it counts on, and leaves at the next tick */
    if (!note_send(audit, line, line, line->count, closing))
        return;
    line->count = 0;
    line->about_len = line->claims_len = line->correlation_len = 0; /* were the first call's */
    line->until_us = now_us + gateway->config->settings.audit_window_s * 1000000;
}

static void lines_step(struct audit *audit, bool closing) {
    int64_t now_us = clock_tick_us(audit->loop->gateway->clock);

    for (uint32_t i = 0; i < AUDIT_LINES; i++)
        line_step(audit, &audit->lines[i], now_us, closing);
    for (uint32_t i = 0; i < AUDIT_KINDS; i++)
        line_step(audit, &audit->others[i], now_us, closing);
}

void audit_tick(struct audit *audit) {
    if (audit->used > 0)
        lines_step(audit, false);
}

bool audit_waits(const struct audit *audit) { return audit && audit->used > 0; }

/* --- what is told ---------------------------------------------------------------------------- */

static bool is_safe(const struct call *call) {
    enum http_method method = http_exchange_request(call->ex)->method;

    return method == HTTP_METHOD_GET || method == HTTP_METHOD_HEAD ||
           method == HTTP_METHOD_OPTIONS;
}

void audit_refusal(struct call *call, enum err err) {
    int status = err_info(err)->status;

    if (status == 401 || status == 403 || status == 429)
        audit_count(call, AUDIT_DENIED, err, STR_NONE);
    else if (status >= 400 && status < 500 && !is_safe(call))
        audit_count(call, AUDIT_REFUSED, err, STR_NONE);
}

void audit_done(struct call *call) {
    const struct route *route = call->match.entry->route;

    if (!is_safe(call) || route->flags & ROUTE_AUDITED)
        audit_count(call, is_safe(call) ? AUDIT_READ : AUDIT_ADMIN, OK, STR_NONE);
}

enum err audit_shown(struct call *call, struct str about,
                     void (*go_on)(struct call *call, void *ctx, enum err err), void *ctx,
                     bool *waits, struct fault *fault) {
    struct audit *audit = call->loop->audit;
    enum audit_reads reads = (enum audit_reads)call->gateway->config->audit.reads;
    struct line line;
    struct note *note;
    enum err err;

    *waits = false;
    if (call->keyring.opened == 0 || reads == AUDIT_READS_OFF)
        return OK;
    if (reads == AUDIT_READS_ASYNC) {
        audit_count(call, AUDIT_READ, OK, about);
        return OK;
    }
    line_begin(&line, call, AUDIT_READ, OK);
    about_set(&line, call, about);
    note = note_make(audit, &line, 1);
    if (!note)
        return fault_set(fault, ERR_NOMEM, "no memory for the audit");
    note->call = call;
    note->go_on = go_on;
    note->ctx = ctx;
    err = core_submit(call->gateway->options.core, &note->command, fault);
    if (err != OK) {
        note_free(note);
        return fault_set(fault, err, AUDIT_FAILED);
    }
    *waits = true;
    return OK;
}

void audit_shown_more(struct call *call) {
    if (call->keyring.opened > 0 && call->gateway->config->audit.reads != AUDIT_READS_OFF)
        audit_count(call, AUDIT_READ, OK, STR_NONE);
}

/* --- begin and end --------------------------------------------------------------------------- */

enum err audit_open(struct gateway_loop *loop, struct audit **out, struct fault *fault) {
    struct audit *audit = mem_zalloc(sizeof *audit);

    *out = audit;
    if (!audit)
        return fault_set(fault, ERR_NOMEM, "no memory for the audit");
    audit->loop = loop;
    audit->filled_us = clock_tick_us(loop->gateway->clock) - 1000000;
    return OK;
}

void audit_close(struct audit *audit) {
    if (!audit)
        return;
    /* More may be counted than fits on the way at once, or than the writer has room for. */
    for (uint32_t i = 0; audit->used > 0 && i < CLOSE_ROUNDS; i++) {
        lines_step(audit, true);
        if (audit->notes == 0 && audit->used > 0)
            uv_sleep(1);
        for (; audit->notes > 0; uv_sleep(1))
            loop_inbox_take(audit->loop);
    }
    mem_free(audit);
}
