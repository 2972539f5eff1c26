/* API keys: made, found, ended, rotated and revoked across two connections to the file; the file of
 * an older format; tokens of the hub and of an issuer; certificates; what a caller may. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "../support/jose.h"
#include "../support/temp.h"
#include "gateway/auth.h"
#include "store/db.h"

static char *folder, path[256];
static struct arena arena;
static struct key_store *store;
static struct router *router;
static _Atomic int64_t tick_us = 1000000000; /* read by the threads of what is tested */
static int64_t tick(struct clock *clock) { return tick_us; }
static struct clock test_clock = {.now_us = tick, .tick_us = tick};

static struct config_auth trusted;
static struct config config = {
    .auth = &trusted,
    .settings = {.token_key_days = 30, .token_cache_entries = 16, .jwks_refresh_s = 300,
                 .jwks_stale_s = 3600, .jwks_ask_ms = 10000, .jwks_timeout_ms = 1000,
                 .key_warn_days = 14}};
static struct callers *callers;

static const struct route table[] = {
    {.method = "GET", .path = "/a", .scope = "orders:read"},
    {.method = "POST", .path = "/a", .scope = "orders:write"},
    {.method = "GET", .path = "/b", .scope = "stock:read"},
    {0},
};

static int start(void **state) {
    struct fault fault = {0};

    arena_init(&arena, 0);
    folder = temp_folder();
    snprintf(path, sizeof path, "%s/keys.db", folder);
    router = router_create();
    return router_add(router, table, NULL, &fault) == OK &&
                   key_store_open(path, &store, &fault) == OK
               ? 0
               : -1;
}
static int stop(void **state) {
    key_store_close(store);
    router_destroy(router);
    temp_remove(folder);
    arena_free(&arena);
    return 0;
}

static struct str make_until(const char *name, const char *scopes, int64_t expires_us) {
    struct key_new wanted = {str_c(name), str_c(scopes), expires_us};
    struct key_record record;
    struct fault fault = {0};
    struct str key;

    assert_int_equal(key_create(store, &wanted, &rng_system, &test_clock, &arena, &key, &record,
                                &fault), OK);
    return key;
}
static struct str make(const char *name, const char *scopes) { return make_until(name, scopes, 0); }

static struct auth *auth_open(void) {
    struct callers_options shared = {.keys_path = path, .config = &config, .clock = &test_clock,
                                     .issuer = STR("https://hub")};
    struct auth_options options = {.keys_path = path, .router = router, .clock = &test_clock,
                                   .config = &config};
    struct fault fault = {0};
    struct auth *auth;

    assert_int_equal(callers_create(&shared, &callers, &fault), OK);
    options.callers = callers;
    if (auth_create(&options, &auth, &fault) != OK) {
        assert_null(auth);
        callers_destroy(callers);
    }
    return auth;
}
static void auth_close(struct auth *auth) {
    auth_destroy(auth);
    callers_destroy(callers);
}

static void keys_have_a_form(void **state) {
    struct str key = make("one", "*"), id, secret, other = make("two", "*");
    struct stat st;

    assert_int_equal(key.len, KEY_TEXT_LEN);
    assert_true(key_parse(key, &id, &secret));
    assert_false(str_eq(key, other));
    for (size_t i = 3; i < key.len; i++)
        assert_non_null(strchr("0123456789abcdefghjkmnpqrstvwxyz_", key.ptr[i]));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_false(key_parse(STR("pk_short"), &id, &secret));
    assert_false(key_parse(STR(""), &id, &secret));
    assert_false(key_parse(STR_NONE, &id, &secret));
}

static bool count_row(void *ctx, const struct key_record *record) {
    uint32_t *count = ctx;

    assert_true(record->id.len == KEY_ID_LEN);
    (*count)++;
    return true;
}

static void names_may_repeat(void **state) {
    struct key_record record;
    struct fault fault = {0};
    struct str key;
    uint32_t count = 0;
    char long_name[KEY_NAME_MAX + 2];

    make("till", "orders:write");
    make("till", "orders:read");
    assert_int_equal(key_revoke(store, STR("till"), &test_clock, &count, &fault), OK);
    assert_int_equal(count, 2);
    assert_int_equal(key_revoke(store, STR("till"), &test_clock, &count, &fault), OK);
    assert_int_equal(count, 0);
    make("till", "orders:write");
    memset(long_name, 'x', sizeof long_name);
    struct str wrong[] = {str_of(long_name, sizeof long_name), STR("a\nb"), STR("")};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(key_create(store, &(struct key_new){wrong[i], STR("*"), 0}, &rng_system,
                                    &test_clock, &arena, &key, &record, &fault), ERR_INVALID);
    count = 0;
    assert_int_equal(key_list(store, count_row, &count, &fault), OK);
    assert_int_equal(count, 5); /* with "one" and "two" */
}

static struct str bearer(struct str key) {
    return arena_printf(&arena, "Bearer %.*s", STR_FMT(key));
}

static void bearers_are_known(void **state) {
    struct str key = make("shop", "orders:write stock:*");
    const struct principal *principal;
    struct fault fault = {0};
    struct auth *auth = auth_open();

    for (int i = 0; i < 3; i++)
        assert_int_equal(auth_check(auth, bearer(key), NULL, &principal, &fault), OK);
    assert_true(str_is(principal->name, "shop"));
    assert_true(str_starts(key, principal->actor));
    assert_int_equal(principal->actor.len, 3 + KEY_ID_LEN);
    assert_false(principal_may(principal, 0));
    assert_true(principal_may(principal, 1));
    assert_true(principal_may(principal, 2));
    assert_int_equal(auth_check(auth, arena_printf(&arena, "bEARER   %.*s ", STR_FMT(key)),
                                NULL, &principal, &fault), OK);
    for (size_t i = 0; i < key.len; i++) { /* any one character changed */
        char text[KEY_TEXT_LEN];

        memcpy(text, key.ptr, key.len);
        text[i] = text[i] == 'a' ? 'b' : 'a';
        assert_int_equal(auth_check(auth, bearer(str_of(text, key.len)), NULL, &principal, &fault),
                         ERR_UNAUTHENTICATED);
        assert_null(principal);
    }
    static const char *const wrong[] = {"", "Bearer", "Bearer ", "Bearer x", "Basic YTpi",
                                        "Bearer  pk_", "pk_"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(auth_check(auth, str_c(wrong[i]), NULL, &principal, &fault),
                         ERR_UNAUTHENTICATED);
    assert_int_equal(auth_check(auth, key, NULL, &principal, &fault), ERR_UNAUTHENTICATED);
    assert_int_equal(auth_check(auth, STR_NONE, NULL, &principal, &fault), ERR_UNAUTHENTICATED);
    auth_close(auth);
}

static void changes_are_seen(void **state) {
    struct str key = make("leaver", "*"), late;
    const struct principal *principal;
    struct fault fault = {0};
    struct auth *auth = auth_open();
    uint32_t count;

    assert_int_equal(auth_check(auth, bearer(key), NULL, &principal, &fault), OK);
    late = make("late", "*"); /* works at once */
    assert_int_equal(auth_check(auth, bearer(late), NULL, &principal, &fault), OK);
    assert_int_equal(key_revoke(store, str_of(key.ptr, 3 + KEY_ID_LEN), &test_clock, &count,
                                &fault), OK);
    assert_int_equal(count, 1);
    tick_us += AUTH_POLL_MS * 1000 + 1;
    assert_int_equal(auth_check(auth, bearer(key), NULL, &principal, &fault), ERR_UNAUTHENTICATED);
    assert_int_equal(auth_check(auth, bearer(late), NULL, &principal, &fault), OK);
    auth_close(auth);
}

/* Looks anew, as the loops do four times a second. */
static enum err check(struct auth *auth, struct str credentials, const struct http_peer *peer,
                      const struct principal **principal, struct fault *fault) {
    *fault = (struct fault){0};
    tick_us += AUTH_POLL_MS * 1000 + 1;
    return auth_check(auth, bearer(credentials), peer, principal, fault);
}

static void keys_expire(void **state) {
    struct str key = make_until("short", "*", tick_us + 60000000);
    const struct principal *principal;
    struct auth *auth = auth_open();
    struct fault fault = {0};
    uint32_t valid, ending;

    assert_int_equal(key_count(store, tick_us, tick_us + 61000000, &valid, &ending, &fault), OK);
    assert_true(valid > 1);
    assert_int_equal(ending, 1);
    assert_int_equal(check(auth, key, NULL, &principal, &fault), OK);
    tick_us += 60000000;
    assert_int_equal(check(auth, key, NULL, &principal, &fault), ERR_UNAUTHENTICATED);
    assert_non_null(strstr(fault.detail, "expired at 1970-01-01T"));
    key.len--; /* without its secret nobody learns that it was one */
    assert_int_equal(check(auth, arena_printf(&arena, "%.*sx", STR_FMT(key)), NULL, &principal,
                           &fault), ERR_UNAUTHENTICATED);
    assert_null(strstr(fault.detail, "expired"));
    assert_int_equal(key_count(store, tick_us, tick_us + 61000000, &valid, &ending, &fault), OK);
    assert_int_equal(ending, 0);
    auth_close(auth);
}

static void keys_rotate(void **state) {
    struct str old = make_until("rotating", "orders:read", tick_us + 3600 * INT64_C(1000000)), next;
    const struct principal *principal;
    struct auth *auth = auth_open();
    struct fault fault = {0};
    struct key_record record;
    int64_t now_us = tick_us;

    assert_int_equal(key_rotate(store, str_of(old.ptr, 3 + KEY_ID_LEN), 60000000, -1, &rng_system,
                                &test_clock, &arena, &next, &record, &fault), OK);
    assert_true(str_is(record.name, "rotating"));
    assert_true(str_is(record.scopes, "orders:read"));
    assert_true(record.expires_us == now_us + 3600 * INT64_C(1000000)); /* as long as the old one */
    assert_int_equal(check(auth, old, NULL, &principal, &fault), OK);
    assert_int_equal(check(auth, next, NULL, &principal, &fault), OK);
    tick_us += 61000000;
    assert_int_equal(check(auth, old, NULL, &principal, &fault), ERR_UNAUTHENTICATED);
    assert_int_equal(check(auth, next, NULL, &principal, &fault), OK);
    assert_int_equal(key_rotate(store, str_of(old.ptr, 3 + KEY_ID_LEN), 0, 0, &rng_system,
                                &test_clock, &arena, &old, &record, &fault), ERR_NOT_FOUND);
    old = next;
    assert_int_equal(key_rotate(store, old, 0, 0, &rng_system, &test_clock, &arena, &next, &record,
                                &fault), OK);
    assert_true(record.expires_us == 0);
    assert_int_equal(check(auth, old, NULL, &principal, &fault), ERR_UNAUTHENTICATED);
    assert_int_equal(check(auth, next, NULL, &principal, &fault), OK);
    auth_close(auth);
}

static int64_t used_at(struct str key) {
    struct key_record record;
    struct fault fault = {0};

    assert_int_equal(key_find(store, str_of(key.ptr + 3, KEY_ID_LEN), &arena, &record, &fault), OK);
    return record.used_us;
}

static void use_is_noted_once_a_minute(void **state) {
    struct str key = make("noted", "*");
    const struct principal *principal;
    struct auth *auth = auth_open();
    struct fault fault = {0};
    struct key_use uses[2];
    int64_t version, again;
    char log[300];
    struct stat st;
    off_t before;

    assert_int_equal(callers_start(callers, &fault), OK);
    assert_true(used_at(key) == 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(check(auth, key, NULL, &principal, &fault), OK);
    auth_close(auth); /* writes what is not written yet */
    assert_true(used_at(key) > 0 && used_at(key) <= tick_us);
    assert_int_equal(key_version(store, &version, &fault), OK);
    memcpy(uses[0].id, key.ptr + 3, KEY_ID_LEN);
    uses[0].us = used_at(key) + 59999999; /* less than a minute later: not worth a write */
    memcpy(uses[1].id, "no such key!", KEY_ID_LEN);
    assert_int_equal(key_used(store, uses, 2, &fault), OK);
    assert_true(used_at(key) < uses[0].us);
    uses[0].us++;
    assert_int_equal(key_used(store, uses, 1, &fault), OK);
    assert_true(used_at(key) == uses[0].us);
    snprintf(log, sizeof log, "%s-wal", path);
    assert_int_equal(key_checkpoint(store, &fault), OK);
    assert_int_equal(stat(log, &st), 0);
    before = st.st_size;
    for (int i = 0; i < 200; i++) { /* the log of the file is used again and again */
        uses[0].us += 60000000;
        assert_int_equal(key_used(store, uses, 1, &fault), OK);
        assert_int_equal(key_checkpoint(store, &fault), OK);
    }
    assert_int_equal(stat(log, &st), 0);
    assert_true(st.st_size <= before + 65536);
    assert_int_equal(key_version(store, &again, &fault), OK);
    assert_true(again == version); /* nobody forgets what he cached */
}

/* The file as the program wrote it before keys could expire. */
static void older_files_are_brought_up(void **state) {
    struct db_options options = {.create = true, .application_id = 0x504b4b31, .user_version = 1};
    char old[300];
    struct key_record record;
    struct key_store *opened;
    struct fault fault = {0};
    uint32_t count = 0;
    struct str key;
    sqlite3 *db;

    snprintf(old, sizeof old, "%s/old.db", folder);
    assert_int_equal(db_open(old, &options, &db, &fault), OK);
    assert_int_equal(db_exec(db, "CREATE TABLE api_key(id TEXT PRIMARY KEY, name TEXT NOT NULL, scopes "
                             "TEXT NOT NULL, hash BLOB NOT NULL, created_us INTEGER NOT NULL, revoked_us "
                             "INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;"
                             "INSERT INTO api_key VALUES('0123456789ab', 'till', 'orders:write', "
                             "zeroblob(32), 7, 0), ('0123456789ac', 'gone', '*', zeroblob(32), 8, 9)",
                             &fault), OK);
    db_close(db);
    for (int i = 0; i < 2; i++) { /* once, and then as it is */
        assert_int_equal(key_store_open(old, &opened, &fault), OK);
        assert_int_equal(key_find(opened, STR("0123456789ab"), &arena, &record, &fault), OK);
        assert_true(str_is(record.name, "till") && record.created_us == 7);
        assert_true(record.expires_us == 0 && record.used_us == 0);
        assert_int_equal(key_state(&record, tick_us), KEY_VALID);
        assert_int_equal(key_find(opened, STR("0123456789ac"), &arena, &record, &fault), OK);
        assert_int_equal(key_state(&record, tick_us), KEY_REVOKED);
        key_store_close(opened);
    }
    assert_int_equal(key_store_open(old, &opened, &fault), OK);
    assert_int_equal(key_rotate(opened, STR("pk_0123456789ab"), 0, 0, &rng_system, &test_clock, &arena,
                                &key, &record, &fault), OK);
    assert_int_equal(key_list(opened, count_row, &count, &fault), OK);
    assert_int_equal(count, 3);
    key_store_close(opened);
}

/* --- tokens --------------------------------------------------------------------------------- */

static struct str own_token(struct str key, const char *scope, int64_t life_s) {
    struct token_keys *keys = callers_token_keys(callers);
    struct fault fault = {0};
    struct buf out;
    struct str token;

    buf_init(&out, 0);
    token = arena_printf(&arena, "{\"iss\":\"https://hub\",\"aud\":\"https://hub\",\"sub\":\"%.*s\","
                         "\"iat\":%lld,\"exp\":%lld,\"scope\":\"%s\"}", 3 + KEY_ID_LEN, key.ptr,
                         (long long)(tick_us / 1000000), (long long)(tick_us / 1000000 + life_s), scope);
    assert_int_equal(token_sign(keys, token, &out, &fault), OK);
    token = arena_str(&arena, buf_str(&out));
    buf_free(&out);
    token_keys_unref(keys);
    return token;
}

static void own_tokens(void **state) {
    struct str key = make("client", "orders:* stock:read"), token, narrow;
    const struct principal *principal;
    struct auth *auth = auth_open();
    struct fault fault = {0};
    uint32_t count;

    token = own_token(key, "*", 600);
    narrow = own_token(key, "orders:read", 600);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(check(auth, narrow, NULL, &principal, &fault), OK);
        assert_true(principal_may(principal, 0) && !principal_may(principal, 1));
        assert_int_equal(check(auth, token, NULL, &principal, &fault), OK);
        assert_true(principal_may(principal, 1)); /* never more than the key may */
        assert_true(str_is(principal->name, "client"));
        assert_true(str_starts(key, principal->actor));
    }
    assert_true(counter_read(&auth_counters(auth)->verified) == 2); /* then remembered */
    for (int i = 0; i < 100; i++) /* more than the cache has places: all are good all the same */
        assert_int_equal(check(auth, own_token(key, "stock:read", 600 + i), NULL, &principal, &fault),
                         OK);
    assert_int_equal(check(auth, own_token(key, "*", -6), NULL, &principal, &fault),
                     ERR_UNAUTHENTICATED);
    assert_int_equal(token_key_rotate(store, &test_clock, false, &fault), OK);
    assert_int_equal(check(auth, token, NULL, &principal, &fault), OK);
    assert_int_equal(key_revoke(store, str_of(key.ptr, 3 + KEY_ID_LEN), &test_clock, &count, &fault), OK);
    assert_int_equal(check(auth, token, NULL, &principal, &fault), ERR_UNAUTHENTICATED);
    assert_int_equal(check(auth, narrow, NULL, &principal, &fault), ERR_UNAUTHENTICATED);
    auth_close(auth);
}

static void signing_keys_rotate(void **state) {
    struct token_key_rules rules = {.age_us = INT64_C(86400000000), .life_us = INT64_C(600000000)};
    struct json_parser *parser = json_parser_create();
    struct fault fault = {0};
    struct token_keys *keys;
    struct str first, text;

    assert_int_equal(token_key_rotate(store, &test_clock, true, &fault), OK);
    assert_int_equal(token_keys_load(store, &rules, &test_clock, parser, &keys, &fault), OK);
    assert_int_equal(jwk_set_count(token_keys_set(keys)), 1);
    first = arena_str(&arena, token_keys_jwks(keys));
    assert_null(memmem(first.ptr, first.len, "\"d\"", 3)); /* what is published is public */
    token_keys_unref(keys);
    tick_us += rules.age_us + 1;
    for (int step = 0; step < 3; step++) {
        struct buf token;
        struct jwt jwt;

        assert_int_equal(token_keys_load(store, &rules, &test_clock, parser, &keys, &fault), OK);
        text = token_keys_jwks(keys);
        assert_int_equal(jwk_set_count(token_keys_set(keys)), step < 2 ? 2 : 1);
        buf_init(&token, 0);
        assert_int_equal(token_sign(keys, STR("{}"), &token, &fault), OK);
        assert_int_equal(jwt_parse(parser, &arena, buf_str(&token), &jwt, &fault), OK);
        assert_int_equal(jwt_verify(&jwt, token_keys_set(keys), &fault), OK);
        /* published first, then it signs, then the old one goes */
        assert_true((memmem(first.ptr, first.len, jwt.kid.ptr, jwt.kid.len) != NULL) == (step == 0));
        buf_free(&token);
        token_keys_unref(keys);
        tick_us += step == 0 ? TOKEN_KEY_LEAD_S * INT64_C(1000000) + 1 : rules.life_us + 1;
    }
    (void)text;
    json_parser_destroy(parser);
}

static void issuers_and_certificates(void **state) {
    EVP_PKEY *ec = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    struct str audience = STR("hub"), write = STR("orders:write"), stock = STR("stock:*");
    struct config_grant grants[] = {{STR("retail.write"), {&write, 1}}, {STR("stock"), {&stock, 1}}};
    struct config_issuer issuer = {.name = STR("corp"), .issuer = STR("https://idp"),
                                   .audience = {&audience, 1}, .algs = JWT_MASK_ALL, .leeway_s = 30,
                                   .grants = grants, .grant_count = 2};
    struct config_client clients[] = {{.caller = STR("till-7"), .dns = STR("till-7.shop"),
                                       .scopes = {&write, 1}},
                                      {.caller = STR("wms"), .uri = STR("spiffe://shop/wms"),
                                       .scopes = {&stock, 1}}};
    struct str names[] = {STR("other"), STR("till-7.shop")};
    struct http_peer peer = {.subject = STR("CN=till"), .dns = names, .dns_count = 2,
                             .expires_s = tick_us / 1000000 + 1000};
    const char *header = "{\"alg\":\"ES256\",\"kid\":\"k\"}";
    char file[300], claims[600];
    const struct principal *principal;
    struct fault fault = {0};
    struct str jwk = jose_jwk(&arena, ec, "k", ""), token, bound;
    struct auth *auth;
    FILE *out;

    snprintf(file, sizeof file, "%s/jwks.json", folder);
    out = fopen(file, "w");
    fprintf(out, "{\"keys\":[%.*s]}", STR_FMT(jwk));
    fclose(out);
    issuer.jwks_path = str_c(file);
    trusted.issuers = (struct shape_list){&issuer, 1};
    trusted.certificates = (struct shape_list){clients, 2};
    auth = auth_open();
    assert_non_null(auth);
    snprintf(claims, sizeof claims, "{\"iss\":\"https://idp\",\"sub\":\"shop\",\"aud\":\"hub\",\"exp\":%lld,"
             "\"scp\":[\"retail.write\",\"orders:read\",7]", (long long)(tick_us / 1000000 + 600));
    token = jose_sign(&arena, ec, JWT_ES256, header, arena_printf(&arena, "%s}", claims).ptr);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(check(auth, token, NULL, &principal, &fault), OK);
        assert_true(str_is(principal->actor, "shop@corp"));
        assert_true(!principal_may(principal, 0) && principal_may(principal, 1));
        assert_false(principal_may(principal, 2));
    }
    /* bound to a certificate (RFC 8705): 32 zero bytes as its SHA-256 */
    memset(peer.fingerprint, '0', 64);
    bound = jose_sign(&arena, ec, JWT_ES256, header, arena_printf(&arena, "%s,\"cnf\":{\"x5t#S256\":"
                      "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}}", claims).ptr);
    assert_int_equal(check(auth, bound, &peer, &principal, &fault), OK);
    assert_int_equal(check(auth, bound, NULL, &principal, &fault), ERR_UNAUTHENTICATED);
    peer.fingerprint[3] = '1';
    assert_int_equal(check(auth, bound, &peer, &principal, &fault), ERR_UNAUTHENTICATED);
    bound = jose_sign(&arena, ec, JWT_ES256, header,
                      arena_printf(&arena, "%s,\"cnf\":{\"jkt\":\"x\"}}", claims).ptr);
    assert_int_equal(check(auth, bound, &peer, &principal, &fault), ERR_UNAUTHENTICATED);
    /* certificates */
    assert_int_equal(auth_check(auth, STR_NONE, &peer, &principal, &fault), OK);
    assert_true(str_is(principal->actor, "till-7@certificate"));
    assert_true(principal_may(principal, 1) && !principal_may(principal, 2));
    peer.expires_s = tick_us / 1000000;
    assert_int_equal(auth_check(auth, STR_NONE, &peer, &principal, &fault), ERR_UNAUTHENTICATED);
    peer.expires_s += 1000;
    peer.dns_count = 1;
    assert_int_equal(auth_check(auth, STR_NONE, &peer, &principal, &fault), ERR_UNAUTHENTICATED);
    peer.uris = &(struct str){"spiffe://shop/wms", 17};
    peer.uri_count = 1;
    assert_int_equal(auth_check(auth, STR_NONE, &peer, &principal, &fault), OK);
    assert_true(str_is(principal->name, "wms"));
    auth_close(auth);
    clients[1] = clients[0]; /* one name, two callers */
    assert_null(auth_open());
    trusted.certificates = (struct shape_list){0};
    write = STR("nothing:here");
    assert_null(auth_open());
    trusted.issuers = (struct shape_list){0};
    EVP_PKEY_free(ec);
}

static void challenges_say_why(void **state) {
    struct fault fault = {0};

    fault_set(&fault, ERR_UNAUTHENTICATED, "the token has expired");
    assert_true(str_is(auth_challenge(&arena, ERR_UNAUTHENTICATED, true, NULL, &fault),
                       "Bearer realm=\"penstock\", error=\"invalid_token\", "
                       "error_description=\"the token has expired\""));
    assert_true(str_is(auth_challenge(&arena, ERR_UNAUTHENTICATED, false, NULL, &fault),
                       "Bearer realm=\"penstock\""));
    assert_true(str_is(auth_challenge(&arena, ERR_FORBIDDEN, true, "orders:read", &fault),
                       "Bearer realm=\"penstock\", error=\"insufficient_scope\", "
                       "scope=\"orders:read\""));
    fault_set(&fault, ERR_UNAUTHENTICATED, "a \"quote\" and a line\nend");
    assert_true(str_is(auth_challenge(&arena, ERR_UNAUTHENTICATED, true, NULL, &fault),
                       "Bearer realm=\"penstock\", error=\"invalid_token\""));
}

static void scopes_cover(void **state) {
    assert_true(scope_covers(STR("*"), STR("orders:read")));
    assert_true(scope_covers(STR("orders:*"), STR("orders:read")));
    assert_true(scope_covers(STR("orders:read"), STR("orders:read")));
    assert_false(scope_covers(STR("orders:*"), STR("orders-x:read")));
    assert_false(scope_covers(STR("order*"), STR("orders:read")));
    assert_false(scope_covers(STR("orders:rea"), STR("orders:read")));
    assert_false(scope_covers(STR("ord:*"), STR("orders:read")));
    assert_false(scope_covers(STR(":*"), STR("orders:read")));
    assert_false(scope_covers(STR(""), STR("orders:read")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_have_a_form), cmocka_unit_test(names_may_repeat),
        cmocka_unit_test(bearers_are_known), cmocka_unit_test(changes_are_seen),
        cmocka_unit_test(scopes_cover), cmocka_unit_test(keys_expire),
        cmocka_unit_test(keys_rotate), cmocka_unit_test(use_is_noted_once_a_minute),
        cmocka_unit_test(older_files_are_brought_up), cmocka_unit_test(own_tokens),
        cmocka_unit_test(signing_keys_rotate), cmocka_unit_test(issuers_and_certificates),
        cmocka_unit_test(challenges_say_why),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
