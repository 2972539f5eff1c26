/* auth_store: refresh tokens that a server gave in place of the configured ones: DATA/auth.db, for
 * its owner alone (mode 0600). A server that rotates them takes no old one any more: what is put here
 * is on disk when auth_store_put answers OK. The file is made when there is something to keep, and
 * open only while it is read or written. One thread at a time. */
#ifndef PENSTOCK_CONNECT_AUTH_STORE_H
#define PENSTOCK_CONNECT_AUTH_STORE_H

#include "base/arena.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/str.h"

/* The newest of the connector, in the arena, where it came from the authorisation whose fingerprint
 * `from` is; else absent. A missing file is an empty one. */
enum err auth_store_get(const char *path, struct str connector, struct hash128 from, struct arena *arena,
                        struct str *out, struct fault *fault) WARN_UNUSED;
enum err auth_store_put(const char *path, struct str connector, struct hash128 from, struct str token,
                        struct fault *fault) WARN_UNUSED;

#endif
