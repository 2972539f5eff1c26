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
    int64_t revoked_us; /* 0: not revoked */
    int64_t expires_us; /* 0: never */
    int64_t used_us;    /* when it was last seen, to about a minute; 0: never */
};
enum key_state { KEY_VALID, KEY_EXPIRED, KEY_REVOKED };
static inline enum key_state key_state(const struct key_record *record, int64_t now_us) {
    return record->revoked_us                                         ? KEY_REVOKED
           : record->expires_us != 0 && now_us >= record->expires_us ? KEY_EXPIRED
                                                                     : KEY_VALID;
}

struct key_store;
/* Makes the file, readable by its owner alone, where it is missing; the folder must be there. A
 * file of an older format is brought up to this one, in one transaction. */
enum err key_store_open(const char *path, struct key_store **out, struct fault *fault) WARN_UNUSED;
void key_store_close(struct key_store *store);
/* The connection, for who keeps something else in the same file (key_notes.h). */
struct sqlite3 *key_store_db(struct key_store *store);

/* Makes a key; *key gets its text, which is not kept. ERR_INVALID for a name that is empty, too
 * long or not printable. Several keys may have one name (a new one beside the old, while callers
 * change over). Scopes are the caller's to check. expires_us 0: never. */
struct key_new {
    struct str name, scopes;
    int64_t expires_us;
};
enum err key_create(struct key_store *store, const struct key_new *wanted, struct rng *rng,
                    struct clock *clock, struct arena *arena, struct str *key,
                    struct key_record *out, struct fault *fault) WARN_UNUSED;
/* Another key with the name and the scopes of the valid key `id`, which itself ends overlap_us
 * from now at the latest (0: now). expires_us as for a new key; -1: as long a life as the old one
 * was given. Both or nothing. ERR_NOT_FOUND: no valid key has this id. */
enum err key_rotate(struct key_store *store, struct str id, int64_t overlap_us, int64_t expires_us,
                    struct rng *rng, struct clock *clock, struct arena *arena, struct str *key,
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
/* Changes whenever another connection has made, revoked or limited a key, or taken another to sign
 * with; not when one was used. A microsecond, mostly. */
enum err key_version(struct key_store *store, int64_t *version, struct fault *fault) WARN_UNUSED;
/* Notes when keys were seen, in one transaction, of each at most once a minute; ids unknown by now
 * are passed over. */
struct key_use {
    char id[KEY_ID_LEN];
    int64_t us;
};
enum err key_used(struct key_store *store, const struct key_use *uses, uint32_t count,
                  struct fault *fault) WARN_UNUSED;
/* Brings what was written into the file itself, so that its log does not grow. Not on a loop. */
enum err key_checkpoint(struct key_store *store, struct fault *fault) WARN_UNUSED;
/* Of the valid keys, how many there are and how many end before `before_us`. */
enum err key_count(struct key_store *store, int64_t now_us, int64_t before_us, uint32_t *valid,
                   uint32_t *ending, struct fault *fault) WARN_UNUSED;

/* Splits a key's text. False where it has not the form of one. */
bool key_parse(struct str text, struct str *id, struct str *secret);

#endif
