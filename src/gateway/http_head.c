/* http_head: what a head means once it is cut into request line and fields: the target, the host,
 * how long the body is, whether the connection goes on. Owns nothing.
 *
 * What holds always: what a program in front of us may have read in another way is refused
 * (RFC 9112 section 11.2), never guessed. */
#include "gateway/http_parse.h"

#include "gateway/http_chars.h"

#define V HTTP_CHAR_VALUE
#define G (HTTP_CHAR_VALUE | HTTP_CHAR_TARGET)
#define T (G | HTTP_CHAR_TOKEN)
#define H (T | HTTP_CHAR_HOST)
#define X2(c, set) [c] = set, [(c) + 1] = set
#define X8(c, set) X2(c, set), X2((c) + 2, set), X2((c) + 4, set), X2((c) + 6, set)
#define X32(c, set) X8(c, set), X8((c) + 8, set), X8((c) + 16, set), X8((c) + 24, set)
#define LETTERS(a) X8(a, H), X8((a) + 8, H), X8((a) + 16, H), X2((a) + 24, H)
const uint8_t http_chars[256] = {
    ['\t'] = V, [' '] = V, ['!'] = T, ['"'] = G, ['#'] = V | HTTP_CHAR_TOKEN, ['$'] = T, ['%'] = H,
    X2('&', T), X2('(', G), X2('*', T), [','] = G, X2('-', H), ['/'] = G, X8('0', H), X2('8', H),
    X2(':', G), X2('<', G), X2('>', G), ['@'] = G, LETTERS('A'), ['['] = G, ['\\'] = V, [']'] = G,
    ['^'] = T, ['_'] = H, ['`'] = T, LETTERS('a'), ['{'] = G, ['|'] = T, ['}'] = G, ['~'] = H,
    X32(0x80, V), X32(0xa0, V), X32(0xc0, V), X32(0xe0, V),
};
#undef V
#undef G
#undef T
#undef H

static enum err bad(const char **detail, const char *why) {
    *detail = why;
    return ERR_BAD_REQUEST;
}

/* --- host and target ------------------------------------------------------------------------- */

static bool port_ok(struct str port) {
    uint64_t number;

    return port.len == 0 || (port.len <= 5 && str_u64(port, &number) && number <= 65535);
}

/* "[" IPv6 address "]": its characters; whether it is one matters to nobody here. */
static bool address_ok(struct str text) {
    for (size_t i = 0; i < text.len; i++) {
        char c = http_char_lower(text.ptr[i]);

        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f') && c != ':' && c != '.')
            return false;
    }
    return text.len >= 2 && memchr(text.ptr, ':', text.len);
}

/* uri-host [ ":" port ] (RFC 9110 section 7.2); an http URI has no empty host. */
static bool host_ok(struct str host) {
    struct str rest = host;

    if (host.len > 0 && host.ptr[0] == '[') {
        rest = str_of(host.ptr + 1, host.len - 1);
        struct str address = str_cut(&rest, ']');

        return rest.ptr && address_ok(address) &&
               (rest.len == 0 ||
                (rest.ptr[0] == ':' && port_ok(str_of(rest.ptr + 1, rest.len - 1))));
    }
    struct str name = str_cut(&rest, ':');
    for (size_t i = 0; i < name.len; i++)
        if (!http_char_is(name.ptr[i], HTTP_CHAR_HOST))
            return false;
    return name.len > 0 && (!rest.ptr || port_ok(rest));
}

static const struct {
    const char *name;
    enum http_method method;
} methods[] = {
    {"GET", HTTP_METHOD_GET},       {"HEAD", HTTP_METHOD_HEAD},
    {"POST", HTTP_METHOD_POST},     {"PUT", HTTP_METHOD_PUT},
    {"PATCH", HTTP_METHOD_PATCH},   {"DELETE", HTTP_METHOD_DELETE},
    {"OPTIONS", HTTP_METHOD_OPTIONS},
};

/* Cuts scheme and authority off the target (RFC 9112 section 3.2.2). The RFC has the target's
 * authority win over Host; where they differ, somebody is being deceived. */
static enum err absolute_form(struct str *target, struct str host, const char **detail) {
    struct str t = *target;
    size_t scheme = t.len > 7 && str_eq_nocase(str_of(t.ptr, 7), STR("http://"))    ? 7
                    : t.len > 8 && str_eq_nocase(str_of(t.ptr, 8), STR("https://")) ? 8
                                                                                    : 0;
    size_t end = scheme;

    if (scheme == 0)
        return OK;
    while (end < t.len && t.ptr[end] != '/' && t.ptr[end] != '?')
        end++;
    struct str authority = str_of(t.ptr + scheme, end - scheme);
    if (!host_ok(authority))
        return bad(detail, "the authority in the request target is not a host and port");
    if (host.ptr && !str_eq_nocase(authority, host))
        return bad(detail, "the request target and the Host header name different hosts");
    *target = end < t.len ? str_of(t.ptr + end, t.len - end) : STR("/");
    return OK;
}

static enum err target_read(struct http_request *request, struct str host, const char **detail) {
    struct str t = request->target, rest;
    enum err err;

    request->method = HTTP_METHOD_OTHER;
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (str_is(request->method_name, methods[i].name))
            request->method = methods[i].method;
    if (memchr(t.ptr, '#', t.len))
        return bad(detail, "the request target holds a fragment");
    for (size_t i = 0; i < t.len; i++)
        if (!http_char_is(t.ptr[i], HTTP_CHAR_TARGET))
            return bad(detail, "the request target holds a character that has to be escaped");
    err = absolute_form(&t, host, detail);
    if (err != OK)
        return err;
    if (t.ptr[0] != '/' && (t.ptr[0] != '?' || t.ptr == request->target.ptr) &&
        !(str_is(t, "*") && request->method == HTTP_METHOD_OPTIONS))
        return bad(detail, "the request target is not a path");
    request->target = rest = t;
    request->path = str_cut(&rest, '?');
    if (request->path.len == 0) /* http://host?query */
        request->path = STR("/");
    request->query = rest;
    return OK;
}

/* --- fields ---------------------------------------------------------------------------------- */

/* The fields that frame the message or say what its body is, each at most once. */
struct fields {
    struct str host, length, coding, type;
    bool close, keep_alive;
};

/* Whether a field that matters to us would be lost at a proxy that does what Connection says: who
 * asks for that wants the two to see different requests. */
static bool option_steals(struct str option) {
    static const char *const names[] = {"host", "content-length", "transfer-encoding",
                                        "content-type", "content-encoding", "authorization",
                                        "expect", "idempotency-key", "if-match"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (str_eq_nocase(option, str_c(names[i])))
            return true;
    return option.len > 9 && str_eq_nocase(str_of(option.ptr, 9), STR("penstock-"));
}

static enum err connection_read(struct str value, struct fields *fields, const char **detail) {
    while (value.ptr) {
        struct str option = str_trim(str_cut(&value, ','));

        if (option.len == 5 && str_eq_nocase(option, STR("close")))
            fields->close = true;
        else if (option.len == 10 && str_eq_nocase(option, STR("keep-alive")))
            fields->keep_alive = true;
        else if (option_steals(option))
            return bad(detail, "the Connection header names a field that is not for one hop");
    }
    return OK;
}

/* "Content_Length": some programs take '_' for '-'. */
static bool framing_disguised(struct str name) {
    char plain[17];

    if ((name.len != 14 && name.len != 17) || !memchr(name.ptr, '_', name.len))
        return false;
    for (size_t i = 0; i < name.len; i++)
        plain[i] = name.ptr[i] == '_' ? '-' : name.ptr[i];
    return str_eq_nocase(str_of(plain, name.len),
                         name.len == 14 ? STR("content-length") : STR("transfer-encoding"));
}

static enum err field_read(struct http_message *m, const struct http_header *h,
                           struct fields *fields, const char **detail) {
    struct str *slot = NULL;

    if (h->name.len == 0)
        return bad(detail, "a header field has no name");
    if (framing_disguised(h->name))
        return bad(detail, "Content-Length and Transfer-Encoding are written with '-'");
    switch (h->name.len) {
    case 4:
        slot = str_eq_nocase(h->name, STR("host")) ? &fields->host : NULL;
        break;
    case 6:
        if (!str_eq_nocase(h->name, STR("expect")))
            return OK;
        m->expect_continue = str_eq_nocase(h->value, STR("100-continue"));
        if (m->expect_continue)
            return OK;
        *detail = "Expect may ask for 100-continue and nothing else";
        return ERR_EXPECTATION;
    case 10:
        if (str_eq_nocase(h->name, STR("connection")))
            return connection_read(h->value, fields, detail);
        break;
    case 12:
        slot = str_eq_nocase(h->name, STR("content-type")) ? &fields->type : NULL;
        break;
    case 14:
        slot = str_eq_nocase(h->name, STR("content-length")) ? &fields->length : NULL;
        break;
    case 17:
        slot = str_eq_nocase(h->name, STR("transfer-encoding")) ? &fields->coding : NULL;
        break;
    }
    if (slot && slot->ptr)
        return bad(detail,
                   "Host, Content-Type, Content-Length or Transfer-Encoding is given twice");
    if (slot)
        *slot = h->value;
    return OK;
}

/* "gzip, chunked": well formed, and more than we speak (RFC 9112 section 6.1). Where chunked is
 * not the last the length can not be known (section 6.3). */
static enum err coding_read(struct str coding, const char **detail) {
    size_t last = coding.len;

    if (str_eq_nocase(coding, STR("chunked")))
        return OK;
    *detail = "the only Transfer-Encoding taken is chunked, once";
    while (last > 0 && coding.ptr[last - 1] != ',')
        last--;
    struct str before = str_of(coding.ptr, last), name;
    if (last == 0 ||
        !str_eq_nocase(str_trim(str_of(coding.ptr + last, coding.len - last)), STR("chunked")))
        return ERR_BAD_REQUEST;
    while (before.ptr && before.len > 0) {
        name = str_trim(str_cut(&before, ','));
        if (name.len == 0 || str_eq_nocase(name, STR("chunked")))
            return ERR_BAD_REQUEST;
        for (size_t i = 0; i < name.len; i++)
            if (!http_char_is(name.ptr[i], HTTP_CHAR_TOKEN))
                return ERR_BAD_REQUEST;
    }
    return ERR_TRANSFER_CODING;
}

static enum err framing_read(struct http_message *m, const struct fields *fields,
                             const char **detail) {
    enum err err;

    if (fields->coding.ptr && fields->length.ptr)
        return bad(detail, "Content-Length is given beside Transfer-Encoding");
    if (fields->coding.ptr && m->request.minor == 0)
        return bad(detail, "HTTP/1.0 has no Transfer-Encoding");
    err = fields->coding.ptr ? coding_read(fields->coding, detail) : OK;
    if (err != OK)
        return err;
    if (fields->length.ptr && !str_u64(fields->length, &m->content_length))
        return bad(detail, "Content-Length is not a number of bytes");
    m->chunked = fields->coding.ptr != NULL;
    m->request.has_body = m->chunked || m->content_length > 0;
    return OK;
}

enum err http_head_read(struct http_message *m, const char **detail) {
    struct fields fields = {STR_NONE, STR_NONE, STR_NONE, STR_NONE, false, false};
    enum err err = OK;

    for (uint32_t i = 0; i < m->request.header_count && err == OK; i++) {
        m->headers[i].value = str_trim(m->headers[i].value);
        err = field_read(m, &m->headers[i], &fields, detail);
    }
    if (err != OK)
        return err;
    m->request.content_type = fields.type;
    if (!fields.host.ptr && m->request.minor == 1)
        return bad(detail, "HTTP/1.1 needs a Host header");
    if (fields.host.ptr && !host_ok(fields.host))
        return bad(detail, "the Host header is not a host and port");
    err = framing_read(m, &fields, detail);
    if (err == OK)
        err = target_read(&m->request, fields.host, detail);
    m->keep_alive = !fields.close && (m->request.minor == 1 || fields.keep_alive);
    return err;
}
