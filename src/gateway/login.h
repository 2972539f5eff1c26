/* login: a sign-in that has begun and waits for the browser to come back from the identity
 * provider. What must be known then travels in a cookie, so that beginning costs the hub no
 * memory, however often it is done: 256 random bits, when it began, where to go afterwards, under a
 * MAC with a key that this process made for itself. State, nonce and the PKCE verifier (RFC 7636)
 * are derived from the random bits with the same key: the cookie does not tell them.
 *
 * What always holds: only what login_begin made and what is younger than `life_s` is read; one that
 * was ended is not ended again (of the last LOGINS_USED; the provider takes a code once, too).
 * Any thread. */
#ifndef PENSTOCK_GATEWAY_LOGIN_H
#define PENSTOCK_GATEWAY_LOGIN_H

#include "base/arena.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"

#define LOGINS_USED 4096
#define LOGIN_RETURN_MAX 512
#define LOGIN_WORD_LEN 43 /* base64url of 32 bytes */

struct login {
    char state[LOGIN_WORD_LEN], nonce[LOGIN_WORD_LEN];
    char verifier[LOGIN_WORD_LEN], challenge[LOGIN_WORD_LEN];
    struct str back; /* the path to go to afterwards */
    uint8_t id[40];
};

struct logins;
/* NULL: no memory. */
struct logins *logins_create(struct clock *clock, int64_t life_s);
void logins_destroy(struct logins *logins); /* NULL is fine */

/* A path of this hub and of nobody else's: one slash at its beginning, no second one and no
 * backslash (browsers take it for one), printable ASCII without spaces. */
bool login_back_ok(struct str path);

/* What the browser gets as the cookie's value, in the arena; absent: no memory. */
struct str login_begin(struct logins *logins, struct str back, struct arena *arena,
                       struct login *out);
/* Of a cookie's value: false where it is none of ours, or too old. */
bool login_read(struct logins *logins, struct str cookie, struct arena *arena, struct login *out);
/* False where it was ended before. */
bool login_end(struct logins *logins, const struct login *login);

#endif
