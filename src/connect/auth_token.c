/* auth_token: the request for an OAuth 2 token and what its answer says (RFC 6749, sections 4.4, 5
 * and 6). Computes; owns nothing. */
#include <string.h>

#include "base/encode.h"
#include "connect/auth.h"
#include "connect/connector_priv.h"

#define TOKEN_BYTES_MAX 16384
#define WORDS_MAX 120

static void member(struct buf *out, const char *name, struct str value) {
    if (!value.len)
        return;
    buf_printf(out, "&%s=", name);
    form_encode(out, value);
}

enum err auth_token_request(const struct auth_oauth2 *how, struct str refresh, struct arena *arena,
                            struct net_request *out, struct fault *fault) {
    struct net_header *headers = arena_array(arena, 3, sizeof *headers);
    struct buf body;
    uint32_t count = 0;
    buf_init(&body, LOAD_TEXT_BYTES_MAX * 4);
    /* a grant of its own (`parameters: {grant_type: …}`) takes the place of ours */
    if (!memmem(how->parameters.ptr ? how->parameters.ptr : "", how->parameters.len, "&grant_type=", 12))
        member(&body, "grant_type",
               how->grant == AUTH_REFRESH_TOKEN ? STR("refresh_token") : STR("client_credentials"));
    if (how->grant == AUTH_REFRESH_TOKEN)
        member(&body, "refresh_token", refresh);
    if (!how->basic.len) {
        member(&body, "client_id", how->client_id);
        member(&body, "client_secret", how->client_secret);
    }
    member(&body, "scope", how->scope);
    member(&body, "audience", how->audience);
    buf_str_add(&body, how->parameters);
    struct str text = buf_ok(&body) && body.len ? arena_str(arena, buf_str(&body)) : STR_NONE;
    buf_free(&body);
    if (headers == NULL || !text.ptr)
        return fault_set(fault, ERR_NOMEM, "no memory for a token request");
    headers[count++] = (struct net_header){STR("Content-Type"), STR("application/x-www-form-urlencoded")};
    headers[count++] = (struct net_header){STR("Accept"), STR("application/json")};
    if (how->basic.len)
        headers[count++] = (struct net_header){STR("Authorization"), how->basic};
    *out = (struct net_request){.method = STR("POST"),
                                .url = how->token_url,
                                .headers = headers,
                                .header_count = count,
                                .body = str_of(text.ptr + 1, text.len - 1), /* without the first & */
                                .timeout_ms = how->timeout_ms};
    return OK;
}

/* RFC 6749, 5.2, and what to do about it. */
static const struct {
    const char *code, *words;
} refusals[] = {
    {"invalid_client", "it does not know the client, or its secret is wrong: see client_id, client_secret, "
                       "client_auth"},
    {"invalid_scope", "it does not give this scope: see scope"},
    {"unauthorized_client", "the client may not get tokens this way: allow the grant there"},
    {"unsupported_grant_type", "it does not give tokens this way: see the grant"},
    {"invalid_request", "it does not understand the request: see client_auth, scope, audience, parameters"},
    {"invalid_target", "it does not know whom the token is for: see audience, parameters"},
    {"access_denied", "access is denied there"},
};

/* One line of what a stranger says. */
static struct str said(struct str words, struct arena *arena) {
    char room[WORDS_MAX];
    size_t len = 0;
    for (; len < words.len && len < sizeof room; len++)
        room[len] = (unsigned char)words.ptr[len] < ' ' ? ' ' : words.ptr[len];
    while (len > 0 && len < words.len && ((unsigned char)room[len - 1] & 0xc0) == 0x80)
        len--; /* not in the middle of a character */
    return arena_str(arena, str_of(room, len));
}

static enum err refused(const struct auth_oauth2 *how, int status, const struct json *doc,
                        struct arena *arena, struct fault *fault) {
    bool object = doc && doc->kind == JSON_OBJECT;
    struct str code = object ? json_member_str(doc, STR("error")) : STR_NONE;
    struct str more = object ? said(json_member_str(doc, STR("error_description")), arena) : STR_NONE;
    if (!code.len)
        return fault_set(fault, ERR_INVALID, "the token server answered with status %d", status);
    code = said(code, arena);
    const char *words = "it refuses";
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
        if (str_is(code, refusals[i].code))
            words = refusals[i].words;
    if (str_is(code, "invalid_grant"))
        words = how->grant == AUTH_REFRESH_TOKEN
                    ? "the refresh token is not good any more: authorise the hub again and set the new one"
                    : "what the grant is made with is not good";
    return fault_set(fault, ERR_INVALID, "the token server says %.*s: %s%s%.*s%s", STR_FMT(code), words,
                     more.len ? " (" : "", STR_FMT(more), more.len ? ")" : "");
}

static bool life(const struct json *doc, int64_t otherwise, int64_t *out) {
    const struct json *expires = json_member(doc, STR("expires_in"));
    *out = otherwise;
    if (!expires || expires->kind == JSON_NULL)
        return true;
    /* a number, though some write it as a text */
    bool read = expires->kind == JSON_STRING ? str_i64(expires->text, out) : json_i64(expires, out);
    if (*out > 31536000)
        *out = 31536000;
    return read && *out > 0;
}

enum err auth_token_read(const struct auth_oauth2 *how, const struct net_answer *answer,
                         struct json_parser *parser, struct arena *arena, struct auth_token *out,
                         struct fault *fault) {
    const struct json *doc = NULL;
    struct fault ignored = {0};
    bool read = answer->body.len > 0 &&
                json_parse(parser, arena, answer->body, false, &doc, &ignored) == OK;
    if (answer->status < 200 || answer->status > 299)
        return refused(how, answer->status, read ? doc : NULL, arena, fault);
    if (!read || doc->kind != JSON_OBJECT)
        return fault_set(fault, ERR_INVALID, "the token server answered %d with what is no JSON object",
                         answer->status);
    struct str token = json_member_str(doc, STR("access_token"));
    struct str kind = json_member_str(doc, STR("token_type"));
    if (!token.len && json_member(doc, STR("error"))) /* some say it with status 200 */
        return refused(how, answer->status, doc, arena, fault);
    if (!token.len || token.len > TOKEN_BYTES_MAX || !auth_value_good(token))
        return fault_set(fault, ERR_INVALID, "the token server's answer has no access_token that can be used");
    if (str_eq_nocase(kind, STR("mac")) || str_eq_nocase(kind, STR("DPoP")))
        return fault_set(fault, ERR_INVALID, "the token server gives tokens of the type %.*s; Bearer is spoken",
                         STR_FMT(kind));
    if (!life(doc, how->expires_s, &out->expires_s))
        return fault_set(fault, ERR_INVALID, "the token server's expires_in is no number of seconds");
    out->value = arena_printf(arena, "%.*s%.*s", STR_FMT(how->prefix), STR_FMT(token));
    out->refresh = json_member_str(doc, STR("refresh_token"));
    if (out->refresh.len > TOKEN_BYTES_MAX)
        return fault_set(fault, ERR_INVALID, "the token server's refresh_token is too long");
    return out->value.ptr ? OK : fault_set(fault, ERR_NOMEM, "no memory for a token");
}
