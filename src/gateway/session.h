/* session: who has signed in with a browser, and until when. In memory alone: a restart ends all
 * sessions. One table for all loops; any thread.
 *
 * What always holds: a token is 256 random bits and is kept as its SHA-256 alone; a session ends
 * `idle_us` after its last call and `life_us` after its beginning; there are never more than `max`,
 * nor more than SESSIONS_PER_PERSON of one person: the one not used for longest goes. */
#ifndef PENSTOCK_GATEWAY_SESSION_H
#define PENSTOCK_GATEWAY_SESSION_H

#include "gateway/auth.h"

#define SESSION_TOKEN_LEN 43 /* base64url of 32 bytes */
#define SESSIONS_PER_PERSON 16

/* Who it is. Texts end with NUL. */
struct session_who {
    char actor[AUTH_ACTOR_MAX];   /* SUBJECT@NAME */
    char subject[AUTH_ACTOR_MAX]; /* the person */
    char name[AUTH_ACTOR_MAX];    /* as people read it; says nothing about who it is */
    uint64_t scopes[ROUTE_SCOPES_MAX / 64];
};

struct session_table_options {
    uint32_t max;
    int64_t idle_us, life_us;
    struct clock *clock;
};
struct session_table;
enum err session_table_create(const struct session_table_options *options, struct session_table **out,
                         struct fault *fault) WARN_UNUSED;
void session_table_destroy(struct session_table *sessions); /* NULL is fine */

/* ERR_NOMEM. */
enum err session_begin(struct session_table *sessions, const struct session_who *who,
                       char token[SESSION_TOKEN_LEN], struct fault *fault) WARN_UNUSED;
/* False where there is none, or it has ended; else it was used now. *left_us: until it ends in any
 * case; may be NULL. */
bool session_find(struct session_table *sessions, struct str token, struct session_who *who,
                  int64_t *left_us);
/* False where there is none. */
bool session_end(struct session_table *sessions, struct str token);

#endif
