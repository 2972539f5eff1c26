/* signin_redeem: a code becomes an ID token (RFC 6749 section 4.1.3, RFC 7636), and that a person.
 * On the thread that owns the operators. */
#include "base/encode.h"
#include "base/log.h"
#include "gateway/operators_priv.h"

#define ANSWER_BYTES_MAX ((size_t)131072)

static void percent_add(struct buf *out, struct str value) {
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];

        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
            c == '-' || c == '_' || c == '.' || c == '~')
            buf_char(out, c);
        else
            buf_printf(out, "%%%02X", (unsigned char)c);
    }
}

void form_add(struct buf *out, const char *name, struct str value) {
    if (out->len > 0 && out->data[out->len - 1] != '?' && out->data[out->len - 1] != '&')
        buf_char(out, '&');
    buf_str_add(out, str_c(name));
    buf_char(out, '=');
    percent_add(out, value);
}

struct str words_of(struct arena *arena, struct str code, struct str description) {
    struct str both = description.len
                          ? arena_printf(arena, "%.*s: %.*s", STR_FMT(code), STR_FMT(description))
                          : arena_str(arena, code);
    char *text = (char *)(uintptr_t)both.ptr;

    if (both.len > 160)
        both.len = 160;
    for (size_t i = 0; i < both.len; i++)
        if (text[i] < 0x20 || text[i] > 0x7e)
            text[i] = '?';
    return both.ptr ? both : STR("");
}

/* --- what the token endpoint says ------------------------------------------------------------ */

/* invalid_grant: the code is no good, and whoever brought it is not let in. Anything else is
 * between the hub and the provider. */
static enum err answer_refused(struct signin *signin, const struct net_answer *answer,
                               struct fault *fault) {
    struct operators *o = signin->operators;
    const struct json *doc;
    struct fault ignored = {0};
    struct str code = STR_NONE, words = STR("");

    if (json_parse(o->parser, &o->arena, answer->body, false, &doc, &ignored) == OK &&
        doc->kind == JSON_OBJECT) {
        code = json_member_str(doc, STR("error"));
        words = words_of(&o->arena, code, json_member_str(doc, STR("error_description")));
    }
    if (answer->status == 400 && str_is(code, "invalid_grant"))
        return fault_set(fault, ERR_UNAUTHENTICATED, "the identity provider does not take the code: "
                         "%.*s", STR_FMT(words));
    log_line(LOG_ERROR, "gateway", "the identity provider gives no tokens", "status=%d detail=%s",
             answer->status, log_quote(words));
    return fault_set(fault, ERR_UNAVAILABLE, "the identity provider gives no token (%d): %.*s",
                     answer->status, STR_FMT(words));
}

static enum err answer_read(struct signin *signin, const struct net_answer *answer,
                            struct fault *fault) {
    struct operators *o = signin->operators;
    const struct json *doc;
    struct str id_token, access_token;

    if (answer->error != NET_OK)
        return fault_set(fault, ERR_UNAVAILABLE, "the identity provider does not answer: try again "
                         "in a moment");
    if (answer->status != 200)
        return answer_refused(signin, answer, fault);
    if (json_parse(o->parser, &o->arena, answer->body, false, &doc, fault) != OK ||
        doc->kind != JSON_OBJECT)
        return fault_set(fault, ERR_UNAVAILABLE, "the identity provider's answer is no JSON object");
    id_token = json_member_str(doc, STR("id_token"));
    access_token = json_member_str(doc, STR("access_token"));
    if (id_token.len == 0)
        return fault_set(fault, ERR_UNAUTHENTICATED, "the identity provider gave no ID token");
    if (id_token.len > JWT_BYTES_MAX)
        return fault_set(fault, ERR_UNAUTHENTICATED, "the ID token is longer than %d bytes",
                         JWT_BYTES_MAX);
    buf_str_add(&signin->id_token, id_token);
    buf_str_add(&signin->access_token, access_token);
    return buf_ok(&signin->id_token) && buf_ok(&signin->access_token)
               ? OK
               : fault_set(fault, ERR_UNAVAILABLE, "the identity provider's answer is too long");
}

static void redeemed(void *ctx, const struct net_answer *answer) {
    struct signin *signin = ctx;
    struct operators *o = signin->operators;
    struct fault fault = {0};
    enum err err;

    signin->call = NULL;
    if (answer->error == NET_CANCELLED)
        return; /* whoever cancels ends it */
    err = answer_read(signin, answer, &fault);
    arena_reset(&o->arena);
    if (err == OK)
        signin->state = SIGNIN_KEYS;
    else
        signin_end(signin, err, &fault);
    o->wake(o->wake_ctx); /* what follows, follows in a step */
}

/* --- asking it ------------------------------------------------------------------------------- */

static void body_write(struct signin *signin) {
    struct operators *o = signin->operators;
    struct buf *body = &signin->body, *basic = &signin->basic;
    bool in_form = o->metadata.post || !o->secret.ptr;

    form_add(body, "grant_type", STR("authorization_code"));
    form_add(body, "code", str_of(signin->code, signin->code_len));
    form_add(body, "redirect_uri", o->redirect_uri);
    form_add(body, "code_verifier", str_of(signin->login.verifier, LOGIN_WORD_LEN));
    if (in_form)
        form_add(body, "client_id", o->config->client_id);
    if (in_form && o->secret.ptr)
        form_add(body, "client_secret", o->secret);
    if (in_form)
        return;
    struct buf both; /* section 2.3.1: each form-encoded, then in base 64 */

    buf_init(&both, 16384);
    percent_add(&both, o->config->client_id);
    buf_char(&both, ':');
    percent_add(&both, o->secret);
    buf_lit(basic, "Basic ");
    if (buf_ok(&both))
        base64_write(basic, buf_str(&both));
    else
        basic->failed = true;
    buf_free(&both);
}

void signin_redeem(struct signin *signin) {
    struct operators *o = signin->operators;
    struct fault fault = {0};
    enum err err = OK;

    if (o->secret_missing)
        err = fault_set(&fault, ERR_UNAVAILABLE, "the client's secret of auth.operators is not set");
    if (err == OK)
        body_write(signin);
    if (err == OK && (!buf_ok(&signin->body) || !buf_ok(&signin->basic)))
        err = fault_set(&fault, ERR_NOMEM, "no memory for a sign-in");
    if (err == OK) {
        signin->headers[0] = (struct net_header){STR("Accept"), STR("application/json")};
        signin->headers[1] = (struct net_header){STR("Content-Type"),
                                                 STR("application/x-www-form-urlencoded")};
        signin->headers[2] = (struct net_header){STR("Authorization"), buf_str(&signin->basic)};
        signin->request = (struct net_request){
            .method = STR("POST"),
            .url = str_c(o->metadata.token),
            .headers = signin->headers,
            .header_count = signin->basic.len > 0 ? 3 : 2,
            .body = buf_str(&signin->body),
            .timeout_ms = o->options.config->settings.jwks_timeout_ms,
            .answer_bytes_max = ANSWER_BYTES_MAX};
        err = net_send(o->net, &signin->request, redeemed, signin, &signin->call, &fault);
    }
    if (err == OK)
        signin->state = SIGNIN_TOKEN;
    else
        signin_end(signin, err == ERR_NOMEM ? err : ERR_UNAVAILABLE, &fault);
}

/* --- the ID token ---------------------------------------------------------------------------- */

/* ERR_NOT_FOUND: the key is not at hand, and may be soon. */
static enum err signature_check(struct signin *signin, const struct jwt *jwt,
                                struct fault *fault) {
    struct operators *o = signin->operators;
    struct jwk_set *set = jwks_get(o->jwks, 0);
    enum err err = set ? jwt_verify(jwt, set, fault) : ERR_NOT_FOUND;
    bool coming = false;

    if (err == ERR_NOT_FOUND && !(set && jwk_set_has(set, jwt->kid))) {
        coming = signin->asked ? jwks_busy(o->jwks) : jwks_ask(o->jwks, 0);
        signin->asked = true;
    }
    if (err == ERR_NOT_FOUND && !coming)
        err = set ? fault_set(fault, ERR_UNAUTHENTICATED, "the ID token names a key that its issuer "
                              "does not have, or that is for another algorithm")
                  : fault_set(fault, ERR_UNAVAILABLE, "the identity provider's keys are not at hand: "
                              "try again in a moment");
    jwk_set_unref(set);
    return err;
}

void signin_verify(struct signin *signin) {
    struct operators *o = signin->operators;
    struct str nonce = str_of(signin->login.nonce, LOGIN_WORD_LEN);
    struct str access = signin->access_token.len ? buf_str(&signin->access_token) : STR_NONE;
    struct fault fault = {0};
    struct jwt jwt;
    enum err err = jwt_parse(o->parser, &o->arena, buf_str(&signin->id_token), &jwt, &fault);

    if (err == OK)
        err = id_token_check(&o->rules, &jwt, nonce, access, clock_now_us(o->options.clock), &fault);
    if (err == OK)
        err = signature_check(signin, &jwt, &fault);
    if (err == OK)
        err = id_token_person(&o->rules, &jwt, &signin->who, &fault);
    arena_reset(&o->arena);
    if (err != ERR_NOT_FOUND)
        signin_end(signin, err, &fault);
}
