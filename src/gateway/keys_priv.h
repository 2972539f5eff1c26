/* keys_priv: what keys.c and token_key.c share: the key file's connection. */
#ifndef PENSTOCK_GATEWAY_KEYS_PRIV_H
#define PENSTOCK_GATEWAY_KEYS_PRIV_H

#include "gateway/keys.h"
#include "store/db.h"

struct key_store {
    sqlite3 *db;
    sqlite3_stmt *insert, *revoke, *limit, *list, *find, *used, *count, *version, *changes;
    int64_t data_version, change; /* as key_version saw them last */
};

#endif
