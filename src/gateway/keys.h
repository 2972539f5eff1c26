/* keys: the API keys of one hub, in an SQLite file of their own, opened by the hub and by the
 * command line alike: what one writes, the other sees at its next look.
 *
 * A key is "pk_<id>_<secret>": 12 and 52 characters of Crockford base 32 lower case; the secret
 * is 32 random bytes. Stored is SHA-256 of the secret. A slow, salted hash protects what people
 * make up and can be guessed; 256 random bits can not, so a fast one is enough, and lets a
 * request be checked in a microsecond. */
#ifndef PENSTOCK_GATEWAY_KEYS_H
#define PENSTOCK_GATEWAY_KEYS_H

#include "base/arena.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/rng.h"

#define KEY_ID_LEN 12
#define KEY_SECRET_LEN 52
#define KEY_TEXT_LEN (3 + KEY_ID_LEN + 1 + KEY_SECRET_LEN)
#define KEY_NAME_MAX 100
#define KEY_SCOPES_MAX 64 /* of one key */

struct key_record {
    struct str id;     /* without "pk_" */
    struct str name;   /* what it was made for */
    struct str scopes; /* separated by single spaces; "*" is all, "orders:*" all of an area */
    uint8_t hash[32];
    int64_t created_us;
    int64_t revoked_us; /* 0: valid */
};

struct key_store;
/* Makes the file, readable by its owner alone, where it is missing; the folder must be there. */
enum err key_store_open(const char *path, struct key_store **out, struct fault *fault) WARN_UNUSED;
void key_store_close(struct key_store *store);

/* Makes a key; *key gets its text, which is not kept. ERR_INVALID for a name that is empty, too
 * long or not printable. Several keys may have one name (a new one beside the old, while callers
 * change over). Scopes are the caller's to check. */
enum err key_create(struct key_store *store, struct str name, struct str scopes, struct rng *rng,
                    struct clock *clock, struct arena *arena, struct str *key,
                    struct key_record *out, struct fault *fault) WARN_UNUSED;
/* By id ("pk_" or not, a whole key too), or all of a name; *count how many were valid before. A
 * revoked key stays listed. */
enum err key_revoke(struct key_store *store, struct str id_or_name, struct clock *clock,
                    uint32_t *count, struct fault *fault) WARN_UNUSED;
/* In order of creation; strings live until visit returns; false stops. */
typedef bool key_visit(void *ctx, const struct key_record *record);
enum err key_list(struct key_store *store, key_visit *visit, void *ctx,
                  struct fault *fault) WARN_UNUSED;
/* Revoked or not; ERR_NOT_FOUND. Strings in the arena. */
enum err key_find(struct key_store *store, struct str id, struct arena *arena,
                  struct key_record *out, struct fault *fault) WARN_UNUSED;
/* Changes whenever another connection has written; a microsecond. */
enum err key_version(struct key_store *store, int64_t *version, struct fault *fault) WARN_UNUSED;

/* Splits a key's text. False where it has not the form of one. */
bool key_parse(struct str text, struct str *id, struct str *secret);

#endif
