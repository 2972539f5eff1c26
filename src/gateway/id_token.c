/* id_token: see id_token.h. */
#include "gateway/id_token.h"

#include <openssl/sha.h>
#include <stdio.h>

#include "base/encode.h"
#include "gateway/auth_priv.h"

#define LEEWAY_S 30
#define SUBJECT_MAX 100 /* bytes; with "@" and the provider's name an actor */
#define GROUPS_MAX 1024 /* of a token that are looked at */

enum err id_rules_make(const struct config_operators *config, const struct router *router,
                       struct arena *arena, struct id_rules *out, struct fault *fault) {
    struct id_grant *grants = arena_array(arena, config->grant_count, sizeof *grants);

    if (!grants)
        return fault_set(fault, ERR_NOMEM, "no memory for the operators");
    for (uint32_t i = 0; i < config->grant_count; i++) {
        grants[i].given = config->grants[i].given;
        for (uint32_t k = 0; k < config->grants[i].scopes.count; k++) {
            struct str scope = *list_at(config->grants[i].scopes, struct str, k);

            if (!scopes_add(router, scope, grants[i].scopes))
                return fault_set(fault, ERR_INVALID, "auth.operators: there is no scope %.*s; "
                                 "`penstock key scopes` lists them", STR_FMT(scope));
        }
    }
    *out = (struct id_rules){config, grants, config->grant_count};
    return OK;
}

static enum err bad(struct fault *fault, const char *why) {
    return fault_set(fault, ERR_UNAUTHENTICATED, "the ID token %s", why);
}

/* No other audience than this client, unless the token says that it was made for this one. */
static bool parties_fit(const struct id_rules *rules, const struct jwt *jwt) {
    const struct json *azp = json_member(jwt->claims, STR("azp"));
    const struct json *aud = json_member(jwt->claims, STR("aud"));

    if (azp)
        return azp->kind == JSON_STRING && str_eq(azp->text, rules->config->client_id);
    return aud->kind != JSON_ARRAY || aud->count == 1;
}

/* The left half of its SHA-256: all algorithms taken here have that (Core, section 3.1.3.6). */
static bool at_hash_fits(const struct json *at_hash, struct str access_token) {
    uint8_t print[SHA256_DIGEST_LENGTH];
    struct buf text;
    bool fits;

    if (at_hash->kind != JSON_STRING || !access_token.ptr)
        return false;
    SHA256((const unsigned char *)access_token.ptr, access_token.len, print);
    buf_init(&text, 64);
    base64url_write(&text, str_of((char *)print, sizeof print / 2));
    fits = buf_ok(&text) && str_eq(buf_str(&text), at_hash->text);
    buf_free(&text);
    return fits;
}

enum err id_token_check(const struct id_rules *rules, const struct jwt *jwt, struct str nonce,
                        struct str access_token, int64_t now_us, struct fault *fault) {
    const struct config_operators *config = rules->config;
    struct jwt_rules claims = {.type = JWT_ID, .issuer = config->issuer,
                               .audiences = &config->client_id, .audience_count = 1,
                               .leeway_s = LEEWAY_S};
    const struct json *at_hash = json_member(jwt->claims, STR("at_hash"));
    int64_t expires_us;
    enum err err;

    if (!(config->algs & JWT_MASK(jwt->alg)))
        return bad(fault, "is signed with an algorithm that is not taken here");
    err = jwt_check(jwt, &claims, now_us, &expires_us, fault);
    if (err != OK)
        return err;
    if (!json_member(jwt->claims, STR("iat")))
        return bad(fault, "does not say when it was issued (iat)");
    if (!parties_fit(rules, jwt))
        return bad(fault, "was made for another client (aud, azp)");
    if (!str_eq_secret(json_member_str(jwt->claims, STR("nonce")), nonce))
        return bad(fault, "was made for another sign-in (nonce)");
    if (at_hash && !at_hash_fits(at_hash, access_token))
        return bad(fault, "came with another access token than its own (at_hash)");
    return OK;
}

/* --- the person ----------------------------------------------------------------------------- */

static bool is_printable(struct str text) {
    if (text.len == 0 || text.len > SUBJECT_MAX || text.ptr[0] == ' ' ||
        text.ptr[text.len - 1] == ' ' || !utf8_valid(text))
        return false;
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f)
            return false;
    return true;
}

static void text_set(char out[AUTH_ACTOR_MAX], struct str text) {
    must(text.len < AUTH_ACTOR_MAX);
    memcpy(out, text.ptr, text.len);
    out[text.len] = '\0';
}

static bool group_add(const struct id_rules *rules, struct str group, uint64_t *scopes) {
    bool any = false;

    for (uint32_t i = 0; i < rules->grant_count; i++)
        for (int w = 0; str_eq(rules->grants[i].given, group) && w < ROUTE_SCOPES_MAX / 64; w++) {
            scopes[w] |= rules->grants[i].scopes[w];
            any = true;
        }
    return any;
}

/* A list of texts, or one with spaces between. */
static bool groups_read(const struct id_rules *rules, const struct jwt *jwt, uint64_t *scopes) {
    const struct json *claim = jwt_claim(jwt, rules->config->scope_claim);
    uint32_t count = 0;
    bool any = false;

    if (claim && claim->kind == JSON_STRING) {
        struct str rest = claim->text;

        while (rest.ptr && count++ < GROUPS_MAX)
            any |= group_add(rules, str_cut(&rest, ' '), scopes);
    } else if (claim && claim->kind == JSON_ARRAY) {
        const struct json *one = json_first(claim);

        for (; count < claim->count && count < GROUPS_MAX; count++, one = json_next(one))
            if (one->kind == JSON_STRING)
                any |= group_add(rules, one->text, scopes);
    }
    return any;
}

enum err id_token_person(const struct id_rules *rules, const struct jwt *jwt,
                         struct session_who *who, struct fault *fault) {
    static const char *const names[] = {"preferred_username", "email", "name"};
    struct str name = STR_NONE;
    int len;

    memset(who, 0, sizeof *who);
    if (!is_printable(jwt->subject))
        return bad(fault, "has a subject (sub) that is no printable text of 1 to 100 bytes");
    text_set(who->subject, jwt->subject);
    len = snprintf(who->actor, sizeof who->actor, "%.*s@%.*s", STR_FMT(jwt->subject),
                   STR_FMT(rules->config->name));
    must(len > 0 && (size_t)len < sizeof who->actor);
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !is_printable(name); i++)
        name = json_member_str(jwt->claims, str_c(names[i]));
    text_set(who->name, is_printable(name) ? name : jwt->subject);
    if (!groups_read(rules, jwt, who->scopes))
        return fault_set(fault, ERR_FORBIDDEN, "%s is known, but none of the groups in the claim "
                         "%.*s may do anything here", who->actor,
                         STR_FMT(rules->config->scope_claim));
    return OK;
}
