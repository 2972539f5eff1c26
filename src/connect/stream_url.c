/* stream_url: see stream_url.h. */
#include "connect/stream_url.h"

#include "base/encode.h"

static const struct {
    const char *prefix;
    enum stream_kind kind;
    bool tls;
} schemes[] = {
    {"nats://", STREAM_NATS, false},
    {"nats+tls://", STREAM_NATS, true},
    {"kafka://", STREAM_KAFKA, false},
    {"kafka+tls://", STREAM_KAFKA, true},
};
#define SCHEMES (sizeof schemes / sizeof schemes[0])

const char *const stream_url_options[2][12] = {
    [STREAM_NATS] = {"ca", "cert", "cert_key", "creds", "domain", NULL},
    [STREAM_KAFKA] = {"ca", "cert", "cert_key", "sasl", "key", "session_ms", "look", "look_records",
                      "look_settle_ms", NULL},
};

static size_t scheme_of(struct str url) {
    size_t i = 0;
    while (i < SCHEMES && !str_starts(url, str_c(schemes[i].prefix)))
        i++;
    return i;
}

bool stream_url_is(struct str url, enum stream_kind *kind) {
    size_t i = scheme_of(url);
    if (i < SCHEMES && kind)
        *kind = schemes[i].kind;
    return i < SCHEMES;
}

static int hex(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool subject_byte(unsigned char c) { return c > ' ' && c != '*' && c != '>' && c != 0x7f; }

/* `subject`: what can not stand in a subject stays as it is written. Absent: no memory. */
static struct str decode(struct str in, bool subject, struct arena *arena) {
    char *out = arena_bytes(arena, in.len + 1);
    size_t n = 0;
    if (!out)
        return STR_NONE;
    for (size_t i = 0; i < in.len; i++) {
        int hi = in.ptr[i] == '%' && i + 2 < in.len ? hex(in.ptr[i + 1]) : -1;
        int lo = hi >= 0 ? hex(in.ptr[i + 2]) : -1;
        unsigned char c = (unsigned char)(hi * 16 + lo);
        if (lo < 0 || (subject && !subject_byte(c))) {
            out[n++] = in.ptr[i];
            continue;
        }
        out[n++] = (char)c;
        i += 2;
    }
    out[n] = '\0';
    return str_of(out, n);
}

enum err stream_url_read(struct str url, struct arena *arena, struct stream_url *out,
                         struct fault *fault) {
    size_t i = scheme_of(url);
    if (i == SCHEMES)
        return fault_set(fault, ERR_INVALID, "must begin with nats:// or kafka:// (nats+tls://, kafka+tls://)");
    struct str rest = url;
    rest.ptr += strlen(schemes[i].prefix);
    rest.len -= strlen(schemes[i].prefix);
    *out = (struct stream_url){.kind = schemes[i].kind, .tls = schemes[i].tls};
    struct str query = rest;
    struct str front = str_cut(&query, '?');
    out->query = query;
    out->hosts = str_cut(&front, '/');
    if (!out->hosts.len || memchr(out->hosts.ptr, '@', out->hosts.len))
        return fault_set(fault, ERR_INVALID, "host:port is needed behind ://, and nothing else: who calls is "
                                             "said by section auth");
    out->path = decode(front.ptr ? front : STR(""), out->kind == STREAM_NATS, arena);
    return out->path.ptr ? OK : fault_set(fault, ERR_NOMEM, "no memory for an address");
}

struct str stream_url_option(const struct stream_url *url, const char *name, struct arena *arena) {
    struct str rest = url->query;
    while (rest.ptr) {
        struct str value = str_cut(&rest, '&');
        if (str_is(str_cut(&value, '='), name))
            return decode(value.ptr ? value : STR(""), false, arena);
    }
    return STR_NONE;
}

bool stream_url_options_known(const struct stream_url *url, const char *const *names,
                              struct str *which) {
    struct str rest = url->query;
    while (rest.ptr) {
        struct str value = str_cut(&rest, '&');
        struct str name = str_cut(&value, '=');
        size_t i = 0;
        while (names[i] && !str_is(name, names[i]))
            i++;
        *which = name;
        if (!names[i])
            return false;
    }
    return true;
}

bool stream_subject_good(struct str subject, bool wildcards) {
    struct str rest = subject;
    if (!subject.len)
        return false;
    while (rest.ptr) {
        struct str part = str_cut(&rest, '.');
        bool wild = str_is(part, "*") || (str_is(part, ">") && !rest.ptr);
        if (!part.len || (wild && !wildcards))
            return false;
        for (size_t i = 0; !wild && i < part.len; i++)
            if (!subject_byte((unsigned char)part.ptr[i]))
                return false;
    }
    return true;
}

/* As Kafka has it: letters, digits, . _ -, at most 249. */
bool stream_topic_good(struct str topic) {
    for (size_t i = 0; i < topic.len; i++) {
        char c = topic.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
              c == '_' || c == '-'))
            return false;
    }
    return topic.len > 0 && topic.len <= 249;
}

enum err stream_login_read(struct str authorization, struct arena *arena, struct stream_login *out,
                           struct fault *fault) {
    *out = (struct stream_login){0};
    if (!authorization.len)
        return OK;
    struct str value = authorization;
    struct str scheme = str_cut(&value, ' ');
    value = str_trim(value.ptr ? value : STR(""));
    if (str_eq_nocase(scheme, STR("Bearer"))) {
        out->token = arena_str(arena, value);
        return out->token.ptr ? OK : fault_set(fault, ERR_NOMEM, "no memory for an address");
    }
    struct str pair = str_eq_nocase(scheme, STR("Basic")) ? base64_read(arena, value) : STR_NONE;
    if (!pair.ptr)
        return fault_set(fault, ERR_INVALID, "a stream takes auth basic (user and password), bearer or oauth2 "
                                             "(a token): no other");
    out->user = arena_str(arena, str_cut(&pair, ':'));
    out->password = arena_str(arena, pair.ptr ? pair : STR(""));
    return out->user.ptr && out->password.ptr ? OK : fault_set(fault, ERR_NOMEM, "no memory for an address");
}
