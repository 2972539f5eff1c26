/* roster_priv: shared by roster.c (which versions serve) and roster_files.c (what lies on the disk). */
#ifndef PENSTOCK_CONNECT_ROSTER_PRIV_H
#define PENSTOCK_CONNECT_ROSTER_PRIV_H

#include <limits.h>
#include <pthread.h>

#include "base/hash.h"
#include "connect/fixture.h"
#include "connect/roster.h"

struct roster {
    char dir[PATH_MAX / 2], kept[PATH_MAX / 2];
    const struct config *config;
    pthread_mutex_t reloading;         /* one at a time; of the marks, too */
    struct hash128 mark, seen;         /* of the files: as read, as last looked at */
    pthread_mutex_t lock;              /* of what follows */
    const struct connectors *present;  /* taken */
    struct arena arena;                /* of the rejections */
    struct roster_rejection *rejections;
    uint32_t rejected;
};

/* Names, times and sizes of all files that make connectors. */
struct hash128 roster_mark(struct roster *roster);
/* Whether the kept version says the same. */
bool roster_kept(const struct roster *roster, const struct connector *connector);
/* Writes what the connector was read from below `kept`: whole, or what was there stays. */
enum err roster_keep(const struct roster *roster, const struct connector *connector,
                     struct fault *fault) WARN_UNUSED;
void roster_drop(const struct roster *roster, struct str name);

#endif
