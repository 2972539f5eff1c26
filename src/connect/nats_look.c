/* nats_look: see nats_look.h. */
#include "connect/nats_look.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/encode.h"

static void ask(struct nats_look *look, const char *what, const char *stream) {
    buf_clear(&look->to);
    if (look->domain.len)
        buf_printf(&look->to, "$JS.%.*s.API.%s", STR_FMT(look->domain), what);
    else
        buf_printf(&look->to, "$JS.API.%s", what);
    buf_str_add(&look->to, str_c(stream));
    buf_clear(&look->question);
}

static enum nats_look_end unknown(struct nats_look *look, const char *why, struct str more) {
    snprintf(look->why, sizeof look->why, "%s%s%.*s", why, more.len ? ": " : "", STR_FMT(more));
    return NATS_LOOK_UNKNOWN;
}

static enum nats_look_end asked(struct nats_look *look) {
    if (!buf_ok(&look->to) || !buf_ok(&look->question))
        return unknown(look, "no memory for a look-up", STR_NONE);
    return NATS_LOOK_ASK;
}

enum nats_look_end nats_look_begin(struct nats_look *look) {
    look->stage = NATS_LOOK_NAMES;
    look->steps = 0;
    ask(look, "STREAM.NAMES", NULL);
    buf_lit(&look->question, "{\"subject\":");
    buf_json_str(&look->question, look->subject);
    buf_char(&look->question, '}');
    return asked(look);
}

/* The first message on the subject that is not before `seq`; 0: the last one. */
static enum nats_look_end ask_message(struct nats_look *look, uint64_t seq) {
    if (++look->steps > NATS_LOOK_STEPS_MAX)
        return unknown(look, "more messages came on the subject since then than can be looked through: give each "
                             "key a subject of its own", STR_NONE);
    ask(look, "STREAM.MSG.GET.", look->stream);
    buf_char(&look->question, '{');
    if (seq)
        buf_printf(&look->question, "\"seq\":%llu,\"next_by_subj\":", (unsigned long long)seq);
    else
        buf_lit(&look->question, "\"last_by_subj\":");
    buf_json_str(&look->question, look->subject);
    buf_char(&look->question, '}');
    return asked(look);
}

/* "NATS/1.0\r\nNats-Msg-Id: …\r\n\r\n" */
static bool headers_have(struct str headers, struct str id) {
    struct str rest = headers;
    while (rest.ptr) {
        struct str value = str_cut(&rest, '\n');
        if (value.len && value.ptr[value.len - 1] == '\r')
            value.len--;
        struct str name = str_cut(&value, ':');
        if (str_eq_nocase(name, STR("Nats-Msg-Id")) && str_eq(str_trim(value), id))
            return true;
    }
    return false;
}

struct stored {
    uint64_t seq;
    int64_t us;
    bool ours;
};

/* Go writes up to nine digits of a second: more than six say nothing here. */
static bool time_read(struct str text, int64_t *us) {
    char cut[40];
    size_t digits = 20, n = 0;
    struct instant at;
    while (digits < text.len && text.ptr[digits] >= '0' && text.ptr[digits] <= '9')
        digits++;
    if (text.len >= sizeof cut)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (i < 26 || i >= digits)
            cut[n++] = text.ptr[i];
    if (!instant_parse(str_of(cut, n), &at))
        return false;
    *us = at.us;
    return true;
}

static bool stored_read(const struct nats_look *look, const struct json *message, struct arena *arena,
                        struct stored *out) {
    const struct json *seq = json_member(message, STR("seq"));
    *out = (struct stored){0};
    if (!seq || !str_u64(seq->text, &out->seq) || out->seq == 0 ||
        !time_read(json_member_str(message, STR("time")), &out->us))
        return false;
    struct str headers = json_member_str(message, STR("hdrs"));
    if (headers.len)
        out->ours = headers_have(base64_read(arena, headers), look->id);
    return true;
}

static enum nats_look_end names_read(struct nats_look *look, const struct json *doc) {
    const struct json *name = json_at(doc, STR("/streams/0"));
    if (!name || name->kind != JSON_STRING || name->text.len == 0 || name->text.len >= sizeof look->stream)
        return unknown(look, "no stream takes the subject", look->subject);
    snprintf(look->stream, sizeof look->stream, "%.*s", STR_FMT(name->text));
    look->stage = NATS_LOOK_LAST;
    return ask_message(look, 0);
}

static enum nats_look_end search_on(struct nats_look *look) {
    if (look->low < look->high)
        return ask_message(look, look->low + (look->high - look->low) / 2);
    look->stage = NATS_LOOK_WALK;
    look->seq = look->low;
    return ask_message(look, look->seq);
}

static enum nats_look_end message_read(struct nats_look *look, const struct stored *found) {
    int64_t since_us = look->since_us - NATS_LOOK_SLACK_US;
    switch (look->stage) {
    case NATS_LOOK_NAMES: break;
    case NATS_LOOK_LAST:
        if (found->us < since_us)
            return NATS_LOOK_ABSENT; /* nothing came since */
        look->stage = NATS_LOOK_SEARCH;
        look->low = 1;
        look->high = look->since_us ? found->seq : 1;
        return search_on(look);
    case NATS_LOOK_SEARCH: { /* the first that is not before the event is in low … high */
        uint64_t middle = look->low + (look->high - look->low) / 2;
        if (found->us >= since_us || found->seq > look->high)
            look->high = middle;
        else
            look->low = found->seq + 1;
        return search_on(look);
    }
    case NATS_LOOK_WALK:
        return ask_message(look, found->seq + 1);
    }
    return unknown(look, "the stream's answer makes no sense", STR_NONE);
}

/* None is there, from the one that was asked for on. */
static enum nats_look_end message_none(struct nats_look *look) {
    if (look->stage != NATS_LOOK_SEARCH)
        return NATS_LOOK_ABSENT;
    look->high = look->low + (look->high - look->low) / 2; /* what was there is gone meanwhile */
    return search_on(look);
}

enum nats_look_end nats_look_answer(struct nats_look *look, struct str text, struct json_parser *parser,
                                    struct arena *arena) {
    const struct json *doc = NULL;
    struct fault fault = {0};
    struct stored found;
    if (json_parse(parser, arena, text, false, &doc, &fault) != OK || doc->kind != JSON_OBJECT)
        return unknown(look, "what answers is no JetStream", STR_NONE);
    const struct json *error = json_member(doc, STR("error"));
    if (error) {
        const struct json *code = json_member(error, STR("code"));
        if (look->stage != NATS_LOOK_NAMES && code && str_is(code->text, "404"))
            return message_none(look);
        return unknown(look, "the stream can not be asked", json_member_str(error, STR("description")));
    }
    if (look->stage == NATS_LOOK_NAMES)
        return names_read(look, doc);
    const struct json *message = json_member(doc, STR("message"));
    if (!message || !stored_read(look, message, arena, &found))
        return unknown(look, "the stream's answer makes no sense", STR_NONE);
    if (found.ours) {
        look->seq = found.seq;
        return NATS_LOOK_FOUND;
    }
    return message_read(look, &found);
}
