/* connector_set: connectors as a set: reading all folders of a configuration, and counting who
 * uses a set or one of its connectors. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/zone.h"
#include "connect/account.h"
#include "connect/connector_priv.h"
#include "connect/parcel.h"
#include "connect/replay.h"

#define CONNECTORS_MAX 1024

/* --- one connector ------------------------------------------------------------------------- */

void connector_own_free(struct connector_own *own) {
    if (own->counters && atomic_fetch_sub(&own->counters->versions, 1) <= 1)
        mem_free(own->counters);
    for (uint32_t i = 0; i < own->zone_count; i++)
        zone_destroy(own->zones[i]);
    mapping_sources_destroy(own->sources);
    if (own->connector && own->connector->account)
        zone_destroy(own->connector->account->zone);
    arena_free(&own->arena);
    mem_free(own);
}

const struct connector *connector_take(const struct connector *connector) {
    if (connector && connector->own)
        must(atomic_fetch_add(&connector->own->users, 1) > 0);
    return connector;
}

void connector_release(const struct connector *connector) {
    if (connector && connector->own && atomic_fetch_sub(&connector->own->users, 1) == 1)
        connector_own_free(connector->own);
}

/* --- a set --------------------------------------------------------------------------------- */

struct connectors *connectors_create(uint32_t cap) {
    struct connectors *set = mem_zalloc(sizeof *set);
    if (set && !(set->items = mem_zalloc((cap + 1) * sizeof *set->items))) {
        mem_free(set);
        return NULL;
    }
    if (set)
        set->users = 1;
    return set;
}

const struct connectors *connectors_take(const struct connectors *connectors) {
    struct connectors *set = (struct connectors *)(uintptr_t)connectors;
    if (set && atomic_load(&set->users) > 0)
        atomic_fetch_add(&set->users, 1);
    return connectors;
}

void connectors_release(const struct connectors *connectors) {
    struct connectors *set = (struct connectors *)(uintptr_t)connectors;
    if (!set || atomic_load(&set->users) == 0 || atomic_fetch_sub(&set->users, 1) > 1)
        return;
    for (uint32_t i = 0; i < set->count; i++)
        connector_release(set->items[i]);
    replay_release(set->replay);
    parcels_release(set->parcels);
    mem_free(set->items);
    mem_free(set);
}

void connectors_offer(const struct connectors **offered, pthread_mutex_t *lock, const struct connectors *set) {
    connectors_take(set);
    pthread_mutex_lock(lock);
    const struct connectors *before = *offered;
    *offered = set;
    pthread_mutex_unlock(lock);
    connectors_release(before);
}

bool connectors_follow(const struct connectors_follower *f) {
    struct fault fault = {0};
    pthread_mutex_lock(f->lock);
    const struct connectors *set = *f->offered;
    enum err err = set != NULL ? f->follow(f->ctx, set, &fault) : OK;
    if (err == OK)
        *f->offered = NULL;
    pthread_mutex_unlock(f->lock);
    if (err != OK)
        log_line(LOG_ERROR, f->part, "the new connectors can not be followed yet", "error=%s",
                 log_quote(str_c(fault.detail)));
    if (err != OK || set == NULL)
        return false;
    connectors_release(*f->current);
    *f->current = set;
    return true;
}

bool connectors_have_mapping(const struct connectors *connectors, uint64_t id) {
    for (uint32_t i = 0; i < connectors->count; i++)
        if (connectors->items[i]->own &&
            mapping_sources_have(connectors->items[i]->own->sources, id))
            return true;
    return false;
}

void connectors_clash(const struct connectors *set, const struct connector *connector,
                      struct fault *fault) {
    for (uint32_t i = 0; i < connector->send.count; i++) {
        const struct connector_send *send = list_at(connector->send, struct connector_send, i);
        const struct connector_send *other = NULL;
        for (uint32_t k = 0; k < set->count && !other; k++)
            if (set->items[k] != connector && !str_eq(set->items[k]->name, connector->name))
                for (uint32_t n = 0; n < set->items[k]->send.count && !other; n++) {
                    const struct connector_send *s =
                        list_at(set->items[k]->send, struct connector_send, n);
                    other = str_eq(s->subscription, send->subscription) ? s : NULL;
                }
        char place[512];
        snprintf(place, sizeof place, "connectors/%.*s/connector.yaml:%u:/send/%u/subscription",
                 STR_FMT(connector->name), send->line, i);
        if (other)
            fault_add(fault, str_c(place), "connector %.*s has a subscription of this name",
                      STR_FMT(other->connector->name));
    }
}

enum err connectors_share(struct connectors *set, const struct connectors *before, struct fault *fault) {
    bool wanted = false;
    if (before && before->parcels)
        set->parcels = parcels_share(before->parcels);
    enum err err = set->parcels ? OK : parcels_create(&set->parcels, fault);
    if (err != OK)
        return err;
    for (uint32_t i = 0; i < set->count && !wanted; i++)
        wanted = set->items[i]->own && set->items[i]->own->replays;
    if (before && before->replay) /* kept while nobody asks for it, too: it may be wanted again */
        set->replay = replay_take(before->replay);
    return wanted && !set->replay ? replay_create(&set->replay, fault) : OK;
}

/* --- all folders --------------------------------------------------------------------------- */

static int name_order(const void *a, const void *b) {
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static bool is_connector(const char *dir, const char *name) {
    char path[4096];
    struct stat st;
    int n = snprintf(path, sizeof path, "%s/connectors/%s/connector.yaml", dir, name);
    return name[0] != '.' && n > 0 && (size_t)n < sizeof path && stat(path, &st) == 0;
}

enum err connector_folders(const char *dir, struct arena *arena, struct str **names, uint32_t *count,
                           struct fault *fault) {
    struct str path = arena_printf(arena, "%s/connectors", dir);
    *names = arena_array(arena, CONNECTORS_MAX, sizeof **names);
    *count = 0;
    if (!path.ptr || !*names)
        return fault_set(fault, ERR_NOMEM, "no memory for connectors");
    DIR *folder = opendir(path.ptr);
    if (!folder)
        return errno == ENOENT ? OK : fault_set(fault, ERR_IO, "%s: %s", path.ptr, strerror(errno));
    enum err err = OK;
    for (struct dirent *entry; !err && (entry = readdir(folder));) {
        if (!is_connector(dir, entry->d_name))
            continue;
        struct str name = arena_str(arena, str_c(entry->d_name));
        if (!name.ptr)
            err = fault_set(fault, ERR_NOMEM, "no memory for connectors");
        else if (*count == CONNECTORS_MAX)
            err = fault_set(fault, ERR_TOO_LARGE, "more than %d connectors", CONNECTORS_MAX);
        else
            (*names)[(*count)++] = name;
    }
    closedir(folder);
    qsort(*names, *count, sizeof **names, name_order);
    return err;
}

/* A fault of one connector does not keep the others from being read. */
enum err connectors_load(const char *dir, struct connectors **out, struct fault *fault) {
    struct arena arena;
    struct str *names = NULL;
    uint32_t count = 0, before = fault->count;
    arena_init(&arena, 0);
    enum err err = connector_folders(dir, &arena, &names, &count, fault);
    struct connectors *set = err ? NULL : connectors_create(count);
    if (!err && !set)
        err = fault_set(fault, ERR_NOMEM, "no memory for connectors");
    for (uint32_t i = 0; !err && i < count; i++) {
        struct connector *connector;
        err = connector_load(dir, names[i].ptr, &connector, fault);
        if (err == OK) {
            connectors_clash(set, connector, fault);
            set->items[set->count++] = connector;
        } else if (err == ERR_INVALID) {
            err = OK;
        }
    }
    if (!err)
        err = connectors_share(set, NULL, fault);
    if (!err && fault->count > before)
        err = fault_set(fault, ERR_INVALID, "the connectors have %u faults", fault->count - before);
    arena_free(&arena);
    if (err) {
        connectors_release(set);
        return err;
    }
    *out = set;
    return OK;
}
