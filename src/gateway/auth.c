/* auth: see auth.h. Owns its caches and its own connection to the key file. API keys are checked
 * here, tokens in auth_token.c, certificates in auth_peer.c. */
#include "gateway/auth.h"

#include <openssl/evp.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "gateway/auth_priv.h"

/* --- begin and end -------------------------------------------------------------------------- */

enum err auth_create(const struct auth_options *options, struct auth **out, struct fault *fault) {
    struct auth *auth = mem_zalloc(sizeof *auth);
    enum err err;

    *out = NULL;
    if (!auth)
        return fault_set(fault, ERR_NOMEM, "no memory for the key cache");
    auth->options = *options;
    auth->router = options->router;
    auth->clock = options->clock;
    auth->looked_us = INT64_MIN / 2;
    arena_init(&auth->config, 0);
    arena_init(&auth->scratch, 1 << 20);
    map_init(&auth->peer_map);
    auth->md = EVP_MD_fetch(NULL, "SHA256", NULL);
    auth->md_ctx = EVP_MD_CTX_new();
    auth->slots = mem_zalloc(KEY_SLOTS * sizeof *auth->slots);
    auth->seed = rng_u64(&rng_system); /* nobody can choose ids that meet in one slot */
    err = auth->md && auth->md_ctx && auth->slots
              ? key_store_open(options->keys_path, &auth->store, fault)
              : fault_set(fault, ERR_NOMEM, "no memory for the key cache");
    if (err == OK)
        err = auth_tokens_init(auth, fault);
    if (err == OK)
        err = auth_peers_init(auth, fault);
    if (err != OK) {
        auth_destroy(auth);
        return err;
    }
    *out = auth;
    return OK;
}

void auth_destroy(struct auth *auth) {
    if (!auth)
        return;
    auth_tokens_free(auth);
    auth_peers_free(auth);
    key_store_close(auth->store);
    EVP_MD_CTX_free(auth->md_ctx);
    EVP_MD_free(auth->md);
    arena_free(&auth->config);
    arena_free(&auth->scratch);
    mem_free(auth->slots);
    mem_free(auth);
}

bool auth_awaits_keys(const struct auth *auth) { return auth->awaits_keys; }

const struct auth_counters *auth_counters(const struct auth *auth) { return &auth->counters; }

/* --- small things --------------------------------------------------------------------------- */

bool scope_covers(struct str given, struct str scope) {
    if (str_is(given, "*") || str_eq(given, scope))
        return true;
    return given.len >= 2 && given.ptr[given.len - 1] == '*' && given.ptr[given.len - 2] == ':' &&
           scope.len > given.len - 1 && memcmp(given.ptr, scope.ptr, given.len - 1) == 0;
}

bool scopes_add(const struct router *router, struct str given, uint64_t *scopes) {
    bool any = false;

    for (uint32_t i = 0; i < router_scope_count(router); i++)
        if (scope_covers(given, str_c(router_scope(router, i)))) {
            scopes[i / 64] |= UINT64_C(1) << (i % 64);
            any = true;
        }
    return any;
}

void auth_print(struct auth *auth, struct str text, uint8_t out[PRINT_BYTES]) {
    must(EVP_DigestInit_ex(auth->md_ctx, auth->md, NULL) == 1 &&
         EVP_DigestUpdate(auth->md_ctx, text.ptr, text.len) == 1 &&
         EVP_DigestFinal_ex(auth->md_ctx, out, NULL) == 1);
}

void auth_note(struct auth *auth, struct str id, int64_t *noted_us, int64_t now_us) {
    if (now_us - *noted_us >= USE_NOTE_US && callers_used(auth->options.callers, id, now_us))
        *noted_us = now_us;
}

struct str auth_challenge(struct arena *arena, enum err err, bool given, const char *scope,
                          const struct fault *fault) {
    struct str detail = str_c(fault->detail);

    if (err == ERR_FORBIDDEN)
        return arena_printf(arena, "Bearer realm=\"penstock\", error=\"insufficient_scope\", "
                            "scope=\"%s\"", scope);
    for (size_t i = 0; i < detail.len; i++) { /* what RFC 6750 lets a description hold */
        unsigned char c = (unsigned char)detail.ptr[i];

        if (c < 0x20 || c > 0x7e || c == '"' || c == '\\')
            detail.len = 0;
    }
    if (!given)
        return STR("Bearer realm=\"penstock\"");
    if (detail.len == 0)
        return STR("Bearer realm=\"penstock\", error=\"invalid_token\"");
    return arena_printf(arena, "Bearer realm=\"penstock\", error=\"invalid_token\", "
                        "error_description=\"%.*s\"", STR_FMT(detail));
}

/* --- API keys ------------------------------------------------------------------------------- */

static void slot_fill(struct auth *auth, struct key_slot *slot, const struct key_record *record) {
    struct str rest = record->scopes;

    memset(slot, 0, sizeof *slot);
    memcpy(slot->actor, "pk_", 3);
    memcpy(slot->actor + 3, record->id.ptr, KEY_ID_LEN);
    memcpy(slot->name, record->name.ptr,
           record->name.len < KEY_NAME_MAX ? record->name.len : KEY_NAME_MAX);
    memcpy(slot->hash, record->hash, sizeof slot->hash);
    slot->expires_us = record->expires_us;
    slot->noted_us = record->used_us;
    slot->principal.actor = str_of(slot->actor, sizeof slot->actor);
    slot->principal.name = str_of(slot->name, record->name.len < KEY_NAME_MAX ? record->name.len
                                                                               : KEY_NAME_MAX);
    while (rest.ptr && rest.len > 0)
        scopes_add(auth->router, str_cut(&rest, ' '), slot->principal.scopes);
    slot->used = true;
}

/* Forgets all that is cached of it when the file was changed since the last look. */
static enum err poll_file(struct auth *auth, struct fault *fault) {
    int64_t now_us = clock_tick_us(auth->clock), version;
    enum err err;

    if (now_us - auth->looked_us < AUTH_POLL_MS * 1000)
        return OK;
    err = key_version(auth->store, &version, fault);
    if (err != OK)
        return err;
    auth->looked_us = now_us;
    if (version != auth->version)
        for (uint32_t i = 0; i < KEY_SLOTS; i++)
            auth->slots[i].used = false;
    auth->version = version;
    return OK;
}

static enum err unknown(struct fault *fault) {
    return fault_set(fault, ERR_UNAUTHENTICATED, "the API key is not known or was revoked");
}

/* "2026-11-23T09:15:00Z" of an instant, to whole seconds. */
static enum err expired(int64_t expires_us, struct fault *fault) {
    struct buf at;

    buf_init(&at, 64);
    instant_write(&at, (struct instant){expires_us / 1000000 * 1000000, 0});
    fault_set(fault, ERR_UNAUTHENTICATED, "the API key expired at %.*s: `penstock key rotate` or "
              "`penstock key create` makes another", STR_FMT(buf_str(&at)));
    buf_free(&at);
    return ERR_UNAUTHENTICATED;
}

enum err auth_key_find(struct auth *auth, struct str id, struct arena *arena,
                       struct key_record *out, struct fault *fault) {
    enum err err = key_find(auth->store, id, arena, out, fault);

    if (err == OK && out->revoked_us != 0)
        return fault_set(fault, ERR_NOT_FOUND, "the key was revoked");
    return err;
}

static enum err slot_of(struct auth *auth, struct str id, struct key_slot **out,
                        struct fault *fault) {
    struct key_slot *slot = &auth->slots[hash64(id, auth->seed) % KEY_SLOTS];
    struct key_record record;
    enum err err;

    *out = slot;
    if (slot->used && memcmp(slot->actor + 3, id.ptr, KEY_ID_LEN) == 0)
        return OK;
    err = auth_key_find(auth, id, &auth->scratch, &record, fault);
    if (err == OK)
        slot_fill(auth, slot, &record);
    arena_reset(&auth->scratch);
    return err == ERR_NOT_FOUND ? unknown(fault) : err;
}

static bool secret_is(struct auth *auth, struct str secret, const uint8_t hash[PRINT_BYTES]) {
    uint8_t given[EVP_MAX_MD_SIZE];

    auth_print(auth, secret, given);
    return str_eq_secret(str_of((char *)given, PRINT_BYTES), str_of((const char *)hash, PRINT_BYTES));
}

static enum err key_check(struct auth *auth, struct str id, struct str secret,
                          const struct principal **out, struct fault *fault) {
    int64_t now_us = clock_now_us(auth->clock);
    struct key_slot *slot;
    enum err err = slot_of(auth, id, &slot, fault);

    if (err != OK)
        return err;
    if (!secret_is(auth, secret, slot->hash))
        return unknown(fault);
    if (slot->expires_us != 0 && now_us >= slot->expires_us)
        return expired(slot->expires_us, fault);
    auth_note(auth, id, &slot->noted_us, now_us);
    *out = &slot->principal;
    return OK;
}

enum err auth_client(struct auth *auth, struct str id, struct str secret, struct arena *arena,
                     struct key_record *out, struct fault *fault) {
    struct str key_id = STR_NONE, whole_id, rest;
    int64_t now_us = clock_now_us(auth->clock), noted_us;
    enum err err;

    if (id.len == 3 + KEY_ID_LEN && str_starts(id, STR("pk_")))
        key_id = str_of(id.ptr + 3, KEY_ID_LEN);
    if (key_parse(secret, &whole_id, &rest) && str_eq(whole_id, key_id))
        secret = rest;
    err = key_id.ptr ? auth_key_find(auth, key_id, arena, out, fault) : ERR_NOT_FOUND;
    if (err != OK && err != ERR_NOT_FOUND)
        return err;
    if (err != OK || secret.len != KEY_SECRET_LEN || !secret_is(auth, secret, out->hash))
        return fault_set(fault, ERR_UNAUTHENTICATED, "the client is not known, or its secret is "
                         "another");
    if (key_state(out, now_us) == KEY_EXPIRED)
        return expired(out->expires_us, fault);
    noted_us = out->used_us;
    auth_note(auth, out->id, &noted_us, now_us);
    return OK;
}

/* --- all of them ---------------------------------------------------------------------------- */

static enum err bearer_check(struct auth *auth, struct str header, const struct http_peer *peer,
                             const struct principal **out, struct fault *fault) {
    struct str token = header, scheme = str_cut(&token, ' '), id, secret;

    token = token.ptr ? str_trim(token) : token;
    if (!str_eq_nocase(scheme, STR("bearer")) || token.len == 0)
        return fault_set(fault, ERR_UNAUTHENTICATED,
                         "the Authorization header is not: Bearer, then an API key or a token");
    if (key_parse(token, &id, &secret))
        return key_check(auth, id, secret, out, fault);
    if (jwt_looks_like(token))
        return auth_token_check(auth, token, peer, out, fault);
    return fault_set(fault, ERR_UNAUTHENTICATED,
                     "what follows Bearer is neither an API key nor a JWT");
}

enum err auth_check(struct auth *auth, struct str header, const struct http_peer *peer,
                    const struct principal **out, struct fault *fault) {
    enum err err = poll_file(auth, fault);

    *out = NULL;
    auth->awaits_keys = false;
    if (err != OK)
        return err;
    if (header.ptr)
        err = bearer_check(auth, header, peer, out, fault);
    else if (peer)
        err = auth_peer_check(auth, peer, out, fault);
    else
        err = fault_set(fault, ERR_UNAUTHENTICATED,
                        "send an API key or a token: Authorization: Bearer \u2026");
    if (err == ERR_UNAUTHENTICATED)
        counter_add(&auth->counters.refused, 1);
    return err;
}
