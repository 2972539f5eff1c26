/* auth_peer: client certificates as callers. The connection's TLS has verified the certificate;
 * here its names are looked up among the rows of auth.certificates, all of them in one table.
 *
 * Two rows may not have the same name; where a certificate has several names that are rows, the
 * order is fingerprint, URIs, DNS names, e-mail addresses, subject. */
#include "base/hash.h"
#include "gateway/auth_priv.h"

struct wanted {
    char kind;
    struct str value;
};

static uint64_t wanted_hash(const struct wanted *wanted) {
    return hash64(wanted->value, (uint64_t)(unsigned char)wanted->kind);
}

static bool entry_eq(const void *ctx, uint32_t index, const void *key) {
    const struct peer_entry *entry = &((const struct auth *)ctx)->peers[index];
    const struct wanted *wanted = key;

    return entry->kind == wanted->kind && str_eq(entry->value, wanted->value);
}

static uint64_t entry_hash(const void *ctx, uint32_t index) {
    const struct peer_entry *entry = &((const struct auth *)ctx)->peers[index];

    return wanted_hash(&(struct wanted){entry->kind, entry->value});
}

static const struct peer_entry *entry_find(const struct auth *auth, char kind, struct str value) {
    struct wanted wanted = {kind, value};
    uint32_t at = value.ptr ? map_find(&auth->peer_map, wanted_hash(&wanted), entry_eq, auth, &wanted)
                            : MAP_NONE;

    return at == MAP_NONE ? NULL : &auth->peers[at];
}

/* --- begin and end -------------------------------------------------------------------------- */

static struct wanted name_of(const struct config_client *c) {
    return c->fingerprint.ptr ? (struct wanted){'f', c->fingerprint}
           : c->uri.ptr       ? (struct wanted){'u', c->uri}
           : c->dns.ptr       ? (struct wanted){'d', c->dns}
           : c->email.ptr     ? (struct wanted){'e', c->email}
                              : (struct wanted){'s', c->subject};
}

static enum err entry_add(struct auth *auth, const struct config_client *c,
                          struct fault *fault) {
    struct peer_entry *entry = &auth->peers[auth->peer_count];
    struct wanted wanted = name_of(c);

    if (entry_find(auth, wanted.kind, wanted.value))
        return fault_set(fault, ERR_INVALID, "auth.certificates: the name \"%.*s\" is there twice",
                         STR_FMT(wanted.value));
    entry->kind = wanted.kind;
    entry->value = wanted.value;
    entry->principal.name = c->caller;
    entry->principal.actor = arena_printf(&auth->config, "%.*s@certificate", STR_FMT(c->caller));
    for (uint32_t i = 0; i < c->scopes.count; i++) {
        struct str scope = *list_at(c->scopes, struct str, i);

        if (!scopes_add(auth->router, scope, entry->principal.scopes))
            return fault_set(fault, ERR_INVALID, "auth.certificates, caller %.*s: there is no scope "
                             "%.*s; `penstock key scopes` lists them", STR_FMT(c->caller),
                             STR_FMT(scope));
    }
    if (!entry->principal.actor.ptr ||
        !map_add(&auth->peer_map, wanted_hash(&wanted), auth->peer_count, entry_hash, auth))
        return fault_set(fault, ERR_NOMEM, "no memory for the certificates");
    auth->peer_count++;
    return OK;
}

enum err auth_peers_init(struct auth *auth, struct fault *fault) {
    const struct shape_list *list = &auth->options.config->auth->certificates;
    enum err err = OK;

    if (list->count == 0)
        return OK;
    auth->peers = arena_array(&auth->config, list->count, sizeof *auth->peers);
    if (!auth->peers)
        return fault_set(fault, ERR_NOMEM, "no memory for the certificates");
    for (uint32_t i = 0; i < list->count && err == OK; i++)
        err = entry_add(auth, list_at(*list, struct config_client, i), fault);
    return err;
}

void auth_peers_free(struct auth *auth) { map_free(&auth->peer_map); }

/* --- a request ------------------------------------------------------------------------------ */

static const struct peer_entry *among(const struct auth *auth, char kind, const struct str *names,
                                      uint32_t count) {
    const struct peer_entry *found = NULL;

    for (uint32_t i = 0; i < count && !found; i++)
        found = entry_find(auth, kind, names[i]);
    return found;
}

enum err auth_peer_check(struct auth *auth, const struct http_peer *peer,
                         const struct principal **out, struct fault *fault) {
    const struct peer_entry *found = entry_find(auth, 'f', str_c(peer->fingerprint));

    if (!found)
        found = among(auth, 'u', peer->uris, peer->uri_count);
    if (!found)
        found = among(auth, 'd', peer->dns, peer->dns_count);
    if (!found)
        found = among(auth, 'e', peer->emails, peer->email_count);
    if (!found)
        found = entry_find(auth, 's', peer->subject);
    if (!found)
        return fault_set(fault, ERR_UNAUTHENTICATED, "the client certificate is no caller's here, "
                         "and no Authorization header was sent");
    if (clock_now_us(auth->clock) / 1000000 >= peer->expires_s) /* since the connection began */
        return fault_set(fault, ERR_UNAUTHENTICATED, "the client certificate has expired");
    *out = &found->principal;
    return OK;
}

bool peer_is(const struct http_peer *peer, const uint8_t thumb[PRINT_BYTES]) {
    char text[2 * PRINT_BYTES + 1];

    for (int i = 0; i < PRINT_BYTES; i++) {
        text[2 * i] = "0123456789abcdef"[thumb[i] >> 4];
        text[2 * i + 1] = "0123456789abcdef"[thumb[i] & 15];
    }
    text[2 * PRINT_BYTES] = '\0';
    return peer && str_eq(str_c(text), str_c(peer->fingerprint));
}
