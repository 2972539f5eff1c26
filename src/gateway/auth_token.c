/* auth_token: bearer tokens (RFC 6750, 9068) of trusted issuers and of the hub itself. A token's
 * signature is verified once; then it is remembered by its SHA-256 until it ends, until the keys
 * of its issuer change, or until another needs its place. */
#include "base/encode.h"
#include "base/hash.h"
#include "base/mem.h"
#include "gateway/auth_priv.h"

#define SUBJECT_MAX 100  /* bytes; with "@" and the issuer's name an actor */
#define OWN_LEEWAY_S 5   /* of the hub's own tokens: its clock may be set back a little */
#define SCOPES_GIVEN 128 /* of a token that are looked at */

/* --- begin and end -------------------------------------------------------------------------- */

static enum err grants_make(struct auth *auth, struct issuer_entry *entry, struct fault *fault) {
    const struct config_issuer *config = entry->config;

    if (!config->grants)
        return OK;
    entry->grants = arena_array(&auth->config, config->grant_count, sizeof *entry->grants);
    if (!entry->grants)
        return fault_set(fault, ERR_NOMEM, "no memory for the issuers");
    for (uint32_t i = 0; i < config->grant_count; i++) {
        const struct config_grant *grant = &config->grants[i];

        entry->grants[i].given = grant->given;
        for (uint32_t k = 0; k < grant->scopes.count; k++) {
            struct str scope = *list_at(grant->scopes, struct str, k);

            if (!scopes_add(auth->router, scope, entry->grants[i].scopes))
                return fault_set(fault, ERR_INVALID, "auth.issuers, %.*s: there is no scope %.*s; "
                                 "`penstock key scopes` lists them", STR_FMT(config->name),
                                 STR_FMT(scope));
        }
    }
    return OK;
}

enum err auth_tokens_init(struct auth *auth, struct fault *fault) {
    const struct shape_list *issuers = &auth->options.config->auth->issuers;
    uint64_t wanted = (uint64_t)auth->options.config->settings.token_cache_entries / TOKEN_WAYS;
    enum err err = OK;

    auth->token_sets = 1;
    while (auth->token_sets < wanted)
        auth->token_sets *= 2;
    auth->tokens = mem_zalloc((size_t)auth->token_sets * TOKEN_WAYS * sizeof *auth->tokens);
    auth->parser = json_parser_create();
    if (!auth->tokens || !auth->parser)
        return fault_set(fault, ERR_NOMEM, "no memory for the token cache");
    for (uint32_t i = 0; i < issuers->count && err == OK; i++) {
        struct issuer_entry *entry = &auth->issuers[auth->issuer_count++];

        entry->config = list_at(*issuers, struct config_issuer, i);
        err = grants_make(auth, entry, fault);
    }
    return err;
}

void auth_tokens_free(struct auth *auth) {
    token_keys_unref(auth->own);
    json_parser_destroy(auth->parser);
    mem_free(auth->tokens);
}

/* --- what is remembered --------------------------------------------------------------------- */

static uint64_t generation_of(const struct auth *auth, uint32_t source) {
    return source == SOURCE_OWN ? callers_token_generation(auth->options.callers)
                                : jwks_generation(callers_jwks(auth->options.callers), source);
}

static struct token_slot *set_of(const struct auth *auth, const uint8_t print[PRINT_BYTES]) {
    uint32_t at;

    memcpy(&at, print, sizeof at); /* evenly spread already; who could choose it gains a miss */
    return &auth->tokens[(size_t)(at & (auth->token_sets - 1)) * TOKEN_WAYS];
}

static struct token_slot *slot_find(struct auth *auth, const uint8_t print[PRINT_BYTES],
                                    int64_t now_us) {
    struct token_slot *slot = set_of(auth, print);

    for (int i = 0; i < TOKEN_WAYS; i++, slot++)
        if (slot->expires_us != 0 && memcmp(slot->print, print, PRINT_BYTES) == 0) {
            bool good = now_us < slot->expires_us &&
                        slot->generation == generation_of(auth, slot->source) &&
                        (slot->source != SOURCE_OWN || slot->version == auth->version);

            if (!good)
                slot->expires_us = 0;
            return good ? slot : NULL;
        }
    return NULL;
}

/* The place for another: a free one, else the one not used for longest. */
static struct token_slot *slot_take(struct auth *auth, const uint8_t print[PRINT_BYTES]) {
    struct token_slot *slot = set_of(auth, print), *taken = slot;

    for (int i = 1; i < TOKEN_WAYS && taken->expires_us != 0; i++)
        if (slot[i].expires_us == 0 || slot[i].turn < taken->turn)
            taken = &slot[i];
    memset(taken, 0, sizeof *taken);
    memcpy(taken->print, print, PRINT_BYTES);
    return taken;
}

/* --- what a token says ---------------------------------------------------------------------- */

static enum err bad(struct fault *fault, const char *why) {
    return fault_set(fault, ERR_UNAUTHENTICATED, "the token %s", why);
}

static void scope_given(struct auth *auth, const struct issuer_entry *issuer, struct str given,
                        uint64_t *scopes) {
    if (!issuer->grants) {
        scopes_add(auth->router, given, scopes);
        return;
    }
    for (uint32_t i = 0; i < issuer->config->grant_count; i++)
        for (int w = 0; str_eq(issuer->grants[i].given, given) && w < ROUTE_SCOPES_MAX / 64; w++)
            scopes[w] |= issuer->grants[i].scopes[w];
}

/* A text with spaces between (RFC 8693 section 4.2), or a list of texts. */
static void scopes_read(struct auth *auth, const struct issuer_entry *issuer,
                        const struct jwt *jwt, uint64_t *scopes) {
    static const char *const usual[] = {"scope", "scp", "roles"};
    const struct json *claim = NULL;
    uint32_t count = 0;

    if (issuer->config->scope_claim.ptr)
        claim = jwt_claim(jwt, issuer->config->scope_claim);
    for (int i = 0; !issuer->config->scope_claim.ptr && i < 3 && !claim; i++)
        claim = jwt_claim(jwt, str_c(usual[i]));
    if (claim && claim->kind == JSON_STRING) {
        struct str rest = claim->text;

        while (rest.ptr && count++ < SCOPES_GIVEN)
            scope_given(auth, issuer, str_cut(&rest, ' '), scopes);
    } else if (claim && claim->kind == JSON_ARRAY) {
        const struct json *one = json_first(claim);

        for (; count < claim->count && count < SCOPES_GIVEN; count++, one = json_next(one))
            if (one->kind == JSON_STRING)
                scope_given(auth, issuer, one->text, scopes);
    }
}

/* cnf (RFC 7800): bound to a certificate (RFC 8705 section 3.1); what else it may be bound to
 * can not be proved here, so that such a token is no bearer token (RFC 9449 section 7.1). */
static enum err binding_read(struct auth *auth, const struct jwt *jwt, struct token_slot *slot,
                             struct fault *fault) {
    const struct json *cnf = json_member(jwt->claims, STR("cnf"));
    struct str thumb;

    if (!cnf)
        return OK;
    thumb = cnf->kind == JSON_OBJECT && cnf->count == 1
                ? base64url_read(&auth->scratch, json_member_str(cnf, STR("x5t#S256")))
                : STR_NONE;
    if (thumb.len != PRINT_BYTES)
        return bad(fault, "is bound to something that can not be shown here (cnf)");
    slot->bound = true;
    memcpy(slot->thumb, thumb.ptr, PRINT_BYTES);
    return OK;
}

static bool subject_ok(struct str sub) {
    if (sub.len == 0 || sub.len > SUBJECT_MAX || sub.ptr[0] == ' ' || sub.ptr[sub.len - 1] == ' ' ||
        !utf8_valid(sub))
        return false;
    for (size_t i = 0; i < sub.len; i++)
        if ((unsigned char)sub.ptr[i] < 0x20 || sub.ptr[i] == 0x7f)
            return false;
    return true;
}

static enum err caller_of_issuer(struct auth *auth, const struct jwt *jwt, struct token_slot *slot,
                                 struct fault *fault) {
    const struct issuer_entry *issuer = &auth->issuers[slot->source];
    struct str sub = jwt->subject;
    int len;

    if (!subject_ok(sub))
        return bad(fault, "has a subject (sub) that is no printable text of 1 to 100 bytes");
    len = snprintf(slot->actor, sizeof slot->actor, "%.*s@%.*s", STR_FMT(sub),
                   STR_FMT(issuer->config->name));
    must(len > 0 && (size_t)len < sizeof slot->actor);
    memcpy(slot->name, sub.ptr, sub.len);
    slot->principal.actor = str_of(slot->actor, (size_t)len);
    slot->principal.name = str_of(slot->name, sub.len);
    scopes_read(auth, issuer, jwt, slot->principal.scopes);
    return OK;
}

/* A token of our own is worth no more than the key it was made with is now. */
static enum err caller_of_key(struct auth *auth, const struct jwt *jwt, struct token_slot *slot,
                              int64_t now_us, struct fault *fault) {
    struct str sub = jwt->subject, rest = json_member_str(jwt->claims, STR("scope"));
    uint64_t now[ROUTE_SCOPES_MAX / 64] = {0};
    struct key_record key;
    enum err err = ERR_NOT_FOUND;

    if (sub.len == 3 + KEY_ID_LEN && str_starts(sub, STR("pk_")))
        err = auth_key_find(auth, str_of(sub.ptr + 3, KEY_ID_LEN), &auth->scratch, &key, fault);
    if (err == OK && key_state(&key, now_us) != KEY_VALID)
        err = ERR_NOT_FOUND;
    if (err != OK)
        return err == ERR_NOT_FOUND ? bad(fault, "was made with a key that has ended") : err;
    memcpy(slot->actor, sub.ptr, sub.len);
    slot->principal.actor = str_of(slot->actor, sub.len);
    slot->principal.name = str_of(slot->name, key.name.len < AUTH_ACTOR_MAX ? key.name.len : 0);
    memcpy(slot->name, key.name.ptr, slot->principal.name.len);
    while (rest.ptr && rest.len > 0)
        scopes_add(auth->router, str_cut(&rest, ' '), slot->principal.scopes);
    rest = key.scopes;
    while (rest.ptr && rest.len > 0)
        scopes_add(auth->router, str_cut(&rest, ' '), now);
    for (int w = 0; w < ROUTE_SCOPES_MAX / 64; w++)
        slot->principal.scopes[w] &= now[w];
    if (key.expires_us != 0 && key.expires_us < slot->expires_us)
        slot->expires_us = key.expires_us;
    slot->version = auth->version;
    slot->noted_us = key.used_us;
    return OK;
}

/* --- verifying ------------------------------------------------------------------------------ */

static void own_keys_renew(struct auth *auth) {
    uint64_t generation = callers_token_generation(auth->options.callers);

    if (auth->own && generation == auth->own_generation)
        return;
    token_keys_unref(auth->own);
    auth->own = callers_token_keys(auth->options.callers);
    auth->own_generation = generation;
}

/* The claims and the signature, by the rules of the token's issuer. The claims go first: what they
 * refuse costs no signature, and leads to no fetch. */
static enum err own_verify(struct auth *auth, const struct jwt *jwt, int64_t now_us,
                           int64_t *expires_us, struct fault *fault) {
    struct str issuer = callers_issuer(auth->options.callers);
    struct jwt_rules rules = {.type = JWT_ACCESS_STRICT, .issuer = issuer, .audiences = &issuer,
                              .audience_count = 1, .leeway_s = OWN_LEEWAY_S};
    enum err err;

    err = jwt_check(jwt, &rules, now_us, expires_us, fault);
    if (err != OK)
        return err;
    own_keys_renew(auth);
    err = jwt_verify(jwt, token_keys_set(auth->own), fault);
    return err == ERR_NOT_FOUND ? bad(fault, "names a key that this hub does not sign with") : err;
}

/* The set has no key for this token: worth a fetch only where one could help. */
static enum err key_missing(struct auth *auth, uint32_t source, const struct jwk_set *set,
                            const struct jwt *jwt, struct fault *fault) {
    const struct config_issuer *issuer = auth->issuers[source].config;

    if (!(issuer->algs & JWT_MASK(jwt->alg)) || jwk_set_has(set, jwt->kid))
        return bad(fault, "is signed with an algorithm that this key is not for");
    auth->awaits_keys = jwks_ask(callers_jwks(auth->options.callers), source);
    if (!auth->awaits_keys)
        return bad(fault, "names a key that its issuer does not have");
    return fault_set(fault, ERR_UNAVAILABLE, "the token names a key that is not known yet: the keys "
                     "of its issuer are being fetched");
}

static enum err issuer_verify(struct auth *auth, const struct jwt *jwt, uint32_t source,
                              int64_t now_us, int64_t *expires_us, struct fault *fault) {
    const struct config_issuer *issuer = auth->issuers[source].config;
    struct jwks *jwks = callers_jwks(auth->options.callers);
    struct jwk_set *set;
    struct jwt_rules rules = {.type = issuer->typed ? JWT_ACCESS_STRICT : JWT_ACCESS,
                              .issuer = issuer->issuer,
                              .audiences = issuer->audience.items,
                              .audience_count = issuer->audience.count,
                              .leeway_s = issuer->leeway_s};
    enum err err = jwt_check(jwt, &rules, now_us, expires_us, fault);

    if (err != OK)
        return err;
    set = jwks_get(jwks, source);
    if (!set) {
        auth->awaits_keys = jwks_ask(jwks, source);
        return fault_set(fault, ERR_UNAVAILABLE, "the keys of the token's issuer (%.*s) are not at "
                         "hand", STR_FMT(issuer->name));
    }
    err = jwt_verify(jwt, set, fault);
    if (err == ERR_NOT_FOUND)
        err = key_missing(auth, source, set, jwt, fault);
    jwk_set_unref(set);
    return err;
}

static uint32_t source_find(const struct auth *auth, struct str issuer, bool *found) {
    *found = true;
    for (uint32_t i = 0; issuer.ptr && i < auth->issuer_count; i++)
        if (str_eq(auth->issuers[i].config->issuer, issuer))
            return i;
    *found = issuer.ptr && str_eq(issuer, callers_issuer(auth->options.callers));
    return SOURCE_OWN;
}

/* Verifies and remembers. */
static enum err token_learn(struct auth *auth, struct str token, const uint8_t print[PRINT_BYTES],
                            int64_t now_us, struct token_slot **out, struct fault *fault) {
    struct token_slot found = {0};
    struct jwt jwt;
    bool known;
    enum err err = jwt_parse(auth->parser, &auth->scratch, token, &jwt, fault);

    if (err != OK)
        return err;
    found.source = source_find(auth, jwt.issuer, &known);
    if (!known)
        return bad(fault, "is of an issuer that is not trusted here");
    found.generation = generation_of(auth, found.source); /* before the keys are taken */
    counter_add(&auth->counters.verified, 1);
    err = found.source == SOURCE_OWN
              ? own_verify(auth, &jwt, now_us, &found.expires_us, fault)
              : issuer_verify(auth, &jwt, found.source, now_us, &found.expires_us, fault);
    if (err == OK)
        err = binding_read(auth, &jwt, &found, fault);
    if (err != OK)
        return err;
    struct token_slot *slot = slot_take(auth, print);

    memcpy(found.print, print, PRINT_BYTES);
    *slot = found;
    err = slot->source == SOURCE_OWN ? caller_of_key(auth, &jwt, slot, now_us, fault)
                                     : caller_of_issuer(auth, &jwt, slot, fault);
    if (err != OK)
        slot->expires_us = 0;
    *out = slot;
    return err;
}

enum err auth_token_check(struct auth *auth, struct str token, const struct http_peer *peer,
                          const struct principal **out, struct fault *fault) {
    int64_t now_us = clock_now_us(auth->clock);
    uint8_t print[64]; /* EVP_MAX_MD_SIZE */
    struct token_slot *slot;
    enum err err = OK;

    if (token.len > JWT_BYTES_MAX)
        return bad(fault, "is longer than 8192 bytes");
    auth_print(auth, token, print);
    slot = slot_find(auth, print, now_us);
    if (!slot) {
        err = token_learn(auth, token, print, now_us, &slot, fault);
        arena_reset(&auth->scratch);
    }
    if (err != OK)
        return err;
    slot->turn = ++auth->turn;
    if (slot->bound && !peer_is(peer, slot->thumb))
        return bad(fault, "is bound to a client certificate, and this connection shows another or "
                          "none");
    if (slot->source == SOURCE_OWN)
        auth_note(auth, str_of(slot->actor + 3, KEY_ID_LEN), &slot->noted_us, now_us);
    *out = &slot->principal;
    return OK;
}
