/* auth: see auth.h. Owns its cache and its own connection to the key file. */
#include "gateway/auth.h"

#include <openssl/evp.h>

#include "base/hash.h"
#include "base/mem.h"

#define CACHE_SLOTS 1024 /* direct mapped: keys in use at once are tens */

struct slot {
    char actor[3 + KEY_ID_LEN]; /* "pk_" and the id */
    char name[KEY_NAME_MAX];
    uint8_t hash[32];
    bool used;
    struct principal principal;
};

struct auth {
    struct key_store *store;
    const struct router *router;
    struct clock *clock;
    EVP_MD *md;
    EVP_MD_CTX *md_ctx;
    uint64_t seed;
    int64_t version, looked_us;
    struct slot slots[CACHE_SLOTS];
};

enum err auth_create(const char *keys_path, const struct router *router, struct clock *clock,
                     struct auth **out, struct fault *fault) {
    struct auth *auth = mem_zalloc(sizeof *auth);
    enum err err;

    *out = NULL;
    if (!auth)
        return fault_set(fault, ERR_NOMEM, "no memory for the key cache");
    auth->router = router;
    auth->clock = clock;
    auth->looked_us = INT64_MIN / 2;
    auth->md = EVP_MD_fetch(NULL, "SHA256", NULL);
    auth->md_ctx = EVP_MD_CTX_new();
    auth->seed = rng_u64(&rng_system); /* nobody can choose ids that meet in one slot */
    err = auth->md && auth->md_ctx ? key_store_open(keys_path, &auth->store, fault)
                                   : fault_set(fault, ERR_NOMEM, "SHA-256 is not there");
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
    key_store_close(auth->store);
    EVP_MD_CTX_free(auth->md_ctx);
    EVP_MD_free(auth->md);
    mem_free(auth);
}

bool scope_covers(struct str given, struct str scope) {
    if (str_is(given, "*") || str_eq(given, scope))
        return true;
    return given.len >= 2 && given.ptr[given.len - 1] == '*' && given.ptr[given.len - 2] == ':' &&
           scope.len > given.len - 1 && memcmp(given.ptr, scope.ptr, given.len - 1) == 0;
}

static void slot_fill(struct auth *auth, struct slot *slot, const struct key_record *record) {
    struct str rest = record->scopes;

    memset(slot, 0, sizeof *slot);
    memcpy(slot->actor, "pk_", 3);
    memcpy(slot->actor + 3, record->id.ptr, KEY_ID_LEN);
    memcpy(slot->name, record->name.ptr,
           record->name.len < KEY_NAME_MAX ? record->name.len : KEY_NAME_MAX);
    memcpy(slot->hash, record->hash, sizeof slot->hash);
    slot->principal.actor = str_of(slot->actor, sizeof slot->actor);
    slot->principal.name = str_of(slot->name, record->name.len < KEY_NAME_MAX ? record->name.len
                                                                               : KEY_NAME_MAX);
    while (rest.ptr && rest.len > 0) {
        struct str given = str_cut(&rest, ' ');

        for (uint32_t i = 0; i < router_scope_count(auth->router); i++)
            if (scope_covers(given, str_c(router_scope(auth->router, i))))
                slot->principal.scopes[i / 64] |= UINT64_C(1) << (i % 64);
    }
    slot->used = true;
}

/* Forgets all that is cached when the file was written since the last look. */
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
        for (uint32_t i = 0; i < CACHE_SLOTS; i++)
            auth->slots[i].used = false;
    auth->version = version;
    return OK;
}

static enum err slot_of(struct auth *auth, struct str id, struct slot **out, struct fault *fault) {
    struct slot *slot = &auth->slots[hash64(id, auth->seed) % CACHE_SLOTS];
    struct key_record record;
    struct arena arena;
    enum err err;

    *out = slot;
    if (slot->used && memcmp(slot->actor + 3, id.ptr, KEY_ID_LEN) == 0)
        return OK;
    arena_init(&arena, 1 << 20);
    err = key_find(auth->store, id, &arena, &record, fault);
    if (err == OK && record.revoked_us != 0)
        err = ERR_NOT_FOUND;
    if (err == OK)
        slot_fill(auth, slot, &record);
    arena_free(&arena);
    return err == ERR_NOT_FOUND ? fault_set(fault, ERR_UNAUTHENTICATED,
                                            "the API key is not known or was revoked")
                                : err;
}

enum err auth_check(struct auth *auth, struct str header, const struct principal **out,
                    struct fault *fault) {
    struct str scheme, token = header, id, secret;
    uint8_t hash[EVP_MAX_MD_SIZE];
    struct slot *slot;
    enum err err;

    *out = NULL;
    if (!header.ptr)
        return fault_set(fault, ERR_UNAUTHENTICATED,
                         "send an API key: Authorization: Bearer pk_…");
    scheme = str_cut(&token, ' ');
    token = str_trim(token);
    if (!str_eq_nocase(scheme, STR("bearer")) || !key_parse(token, &id, &secret))
        return fault_set(fault, ERR_UNAUTHENTICATED,
                         "the Authorization header is not: Bearer pk_…");
    err = poll_file(auth, fault);
    if (err == OK)
        err = slot_of(auth, id, &slot, fault);
    if (err != OK)
        return err;
    must(EVP_DigestInit_ex(auth->md_ctx, auth->md, NULL) == 1 &&
         EVP_DigestUpdate(auth->md_ctx, secret.ptr, secret.len) == 1 &&
         EVP_DigestFinal_ex(auth->md_ctx, hash, NULL) == 1);
    if (!str_eq_secret(str_of((char *)hash, sizeof slot->hash),
                       str_of((char *)slot->hash, sizeof slot->hash)))
        return fault_set(fault, ERR_UNAUTHENTICATED, "the API key is not known or was revoked");
    *out = &slot->principal;
    return OK;
}
