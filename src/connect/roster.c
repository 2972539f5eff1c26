/* roster: see roster.h. */
#include "connect/roster.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/mem.h"
#include "connect/connector_fit.h"
#include "connect/connector_priv.h"
#include "connect/roster_priv.h"

const char *roster_kind_name(enum roster_kind kind) {
    static const char *const names[] = {"added", "changed", "removed", "rejected"};
    return names[kind];
}

/* --- the present ------------------------------------------------------------------------------- */

const struct connectors *roster_take(struct roster *roster) {
    pthread_mutex_lock(&roster->lock);
    const struct connectors *set = connectors_take(roster->present);
    pthread_mutex_unlock(&roster->lock);
    return set;
}

bool roster_has(struct roster *roster, struct str name) {
    pthread_mutex_lock(&roster->lock);
    bool has = connector_find(roster->present, name) != NULL;
    pthread_mutex_unlock(&roster->lock);
    return has;
}

uint32_t roster_rejected(struct roster *roster) {
    pthread_mutex_lock(&roster->lock);
    uint32_t count = roster->rejected;
    pthread_mutex_unlock(&roster->lock);
    return count;
}

bool roster_rejection(struct roster *roster, uint32_t i, struct arena *arena,
                      struct roster_rejection *out) {
    pthread_mutex_lock(&roster->lock);
    bool found = i < roster->rejected;
    if (found) {
        *out = roster->rejections[i];
        out->connector = arena_str(arena, out->connector);
        out->cause = arena_str(arena, out->cause);
    }
    pthread_mutex_unlock(&roster->lock);
    return found;
}

/* --- one look at the folders --------------------------------------------------------------------- */

/* While folders are read again. */
struct look {
    struct roster *roster;
    const struct connectors *before; /* NULL: the first look */
    struct connectors *set;
    struct arena *arena;
    struct roster_report *report;
    struct fixture_bench bench;
    struct arena scratch; /* of fixtures */
    struct fault *own;    /* of one connector */
    bool starved;         /* memory was short for what is said of it: the look counts for nothing */
    struct roster_change nowhere; /* a change there was no memory for */
};

static struct str look_str(struct look *look, struct str text) {
    struct str copy = arena_str(look->arena, text);
    look->starved = look->starved || (text.ptr && !copy.ptr);
    return copy;
}

static struct roster_change *change_add(struct look *look, enum roster_kind kind, struct str name) {
    struct roster_change *change = arena_new(look->arena, struct roster_change);
    if (!change) {
        look->starved = true;
        return &look->nowhere;
    }
    change->kind = kind;
    change->connector = look_str(look, name);
    struct roster_change **at = &look->report->changes;
    while (*at && str_cmp((*at)->connector, name) < 0)
        at = &(*at)->next;
    change->next = *at;
    *at = change;
    look->report->count++;
    look->report->rejected += kind == ROSTER_REJECTED;
    return change;
}

static void change_serves(struct look *look, struct roster_change *change,
                          const struct connector *connector) {
    if (!connector)
        return;
    change->version = look_str(look, connector->version);
    change->hash = look_str(look, connector->hash);
    change->owner = look_str(look, connector->owner);
}

static struct str first_cause(const struct fault *fault) {
    return fault->first ? fault->first->detail : str_c(fault->detail);
}

/* The folder's version is not taken: `instead` goes on, or nothing. */
static void reject(struct look *look, struct str name, const struct connector *instead,
                   const struct fault *fault) {
    struct roster_change *change = change_add(look, ROSTER_REJECTED, name);
    change->fault = fault;
    change_serves(look, change, instead);
    if (instead)
        look->set->items[look->set->count++] = (struct connector *)(uintptr_t)connector_take(instead);
}

static void fixture_visit(void *ctx, const struct fixture_result *result) {
    struct look *look = ctx;
    if (!result->good)
        fault_add(look->own, result->path, "the fixture fails: %.*s", STR_FMT(str_trim(result->said)));
}

/* Whether it can serve: ERR_INVALID with every reason. */
static enum err verify(struct look *look, const struct connector *connector, struct fault *fault) {
    struct connector_target targets[CONNECTOR_TARGETS_MAX];
    enum err err = connector_commands(connector, look->bench.registry, fault);
    if (err)
        return err;
    look->own = fault;
    fixtures_run(&look->bench, targets, connector_targets(connector, STR_NONE, targets), NULL);
    arena_reset(&look->scratch);
    return fault->count ? ERR_INVALID : OK;
}

/* The version that serves, or after a restart the one that served. The caller releases it. */
static const struct connector *version_before(struct look *look, const char *name) {
    struct connector *kept;
    struct fault ignored = {0};
    if (look->before)
        return connector_take(connector_find(look->before, str_c(name)));
    return connector_load(look->roster->kept, name, &kept, &ignored) == OK ? kept : NULL;
}

/* What it counted goes on. */
static void counters_share(struct connector *connector, const struct connector *before) {
    struct connector_own *own = connector->own;
    atomic_fetch_add(&before->own->counters->versions, 1);
    mem_free(own->counters);
    own->counters = connector->counters = before->own->counters;
}

static bool serves_alike(const struct connector *a, const struct connector *b) {
    return hash128_eq(a->own->print, b->own->print);
}

/* At the first look, what was taken before need not be verified again, and what never ran is taken
 * when it loads: `penstock check` is for that. */
static enum err folder_verify(struct look *look, const struct connector *connector,
                              const struct connector *before, struct fault *fault) {
    if (!look->before && (!before || hash128_eq(connector->own->content, before->own->content)))
        return OK;
    return verify(look, connector, fault);
}

static enum err folder_look(struct look *look, const char *name, struct fault *fault) {
    struct connector *connector = NULL;
    struct fault *own = arena_new(look->arena, struct fault);
    if (!own)
        return fault_set(fault, ERR_NOMEM, "no memory for connectors");
    fault_init(own, look->arena);
    const struct connector *before = version_before(look, name);
    enum err err = connector_load(look->roster->dir, name, &connector, own);
    if (!err && look->before && before && serves_alike(connector, before)) {
        look->set->items[look->set->count++] = (struct connector *)(uintptr_t)before;
        connector_release(connector);
        look->report->unchanged++;
        return OK;
    }
    if (!err)
        err = folder_verify(look, connector, before, own);
    if (err == ERR_INVALID || err == ERR_TOO_LARGE || err == ERR_NOT_FOUND) {
        reject(look, str_c(name), before, own);
        connector_release(connector);
        connector_release(before);
        return OK;
    }
    if (err) {
        connector_release(connector);
        connector_release(before);
        return fault_set(fault, err, "%s", own->detail);
    }
    if (look->before) {
        change_serves(look, change_add(look, before ? ROSTER_CHANGED : ROSTER_ADDED, str_c(name)),
                      connector);
        if (before)
            counters_share(connector, before);
    }
    connector_release(before);
    look->set->items[look->set->count++] = connector;
    return OK;
}

/* --- names that two connectors claim --------------------------------------------------------------- */

static struct roster_change *change_of(struct look *look, struct str name) {
    struct roster_change *change = look->report->changes;
    while (change && !str_eq(change->connector, name))
        change = change->next;
    return change;
}

/* A new version that claims another's subscription is turned away; then that holds for the rest. */
static bool clash_settle(struct look *look) {
    for (uint32_t i = 0; i < look->set->count; i++) {
        struct connector *connector = look->set->items[i];
        struct roster_change *change = change_of(look, connector->name);
        if (look->before && (!change || change->kind == ROSTER_REJECTED))
            continue;
        struct fault *own = arena_new(look->arena, struct fault);
        if (!own) {
            look->starved = true;
            return false;
        }
        fault_init(own, look->arena);
        connectors_clash(look->set, connector, own);
        if (!own->count)
            continue;
        const struct connector *before =
            look->before ? connector_find(look->before, connector->name) : NULL;
        if (!change)
            change = change_add(look, ROSTER_REJECTED, connector->name);
        else
            look->report->rejected++;
        change->kind = ROSTER_REJECTED;
        change->fault = own;
        change->version = change->hash = STR_NONE;
        change_serves(look, change, before);
        connector_release(connector);
        if (before)
            look->set->items[i] = (struct connector *)(uintptr_t)connector_take(before);
        else
            look->set->items[i] = look->set->items[--look->set->count];
        return true;
    }
    return false;
}

static int by_name(const void *a, const void *b) {
    return str_cmp((*(struct connector *const *)a)->name, (*(struct connector *const *)b)->name);
}

static void removed_note(struct look *look) {
    for (uint32_t i = 0; look->before && i < look->before->count; i++) {
        const struct connector *connector = look->before->items[i];
        struct roster_change *change = change_of(look, connector->name);
        if (connector_find(look->set, connector->name) || change)
            continue;
        change = change_add(look, ROSTER_REMOVED, connector->name);
        change->owner = look_str(look, connector->owner);
    }
}

static enum err look_make(struct look *look, struct fault *fault) {
    struct roster *roster = look->roster;
    struct str *names;
    uint32_t count;
    look->bench = (struct fixture_bench){.config = roster->config, .arena = &look->scratch,
                                         .visit = fixture_visit, .ctx = look};
    arena_init(&look->scratch, 0);
    enum err err = fixture_bench_open(&look->bench, fault);
    if (!err)
        err = connector_folders(roster->dir, look->arena, &names, &count, fault);
    if (!err && !(look->set = connectors_create(count)))
        err = fault_set(fault, ERR_NOMEM, "no memory for connectors");
    for (uint32_t i = 0; !err && i < count; i++)
        err = folder_look(look, names[i].ptr, fault);
    while (!err && clash_settle(look))
        ;
    if (!err) {
        qsort(look->set->items, look->set->count, sizeof *look->set->items, by_name);
        removed_note(look);
        err = look->starved ? fault_set(fault, ERR_NOMEM, "no memory for connectors")
                            : connectors_share(look->set, look->before, fault);
    }
    fixture_bench_close(&look->bench);
    arena_free(&look->scratch);
    return err;
}

/* --- what was rejected ----------------------------------------------------------------------------- */

/* The list anew; those whose cause is as before keep their time. */
static void rejections_keep(struct roster *roster, struct roster_report *report) {
    struct roster_rejection *list = mem_zalloc((report->rejected + 1) * sizeof *list);
    struct arena arena;
    uint32_t n = 0;
    arena_init(&arena, 0);
    pthread_mutex_lock(&roster->lock);
    for (struct roster_change *c = report->changes; c && list; c = c->next) {
        if (c->kind != ROSTER_REJECTED)
            continue;
        struct roster_rejection *one = &list[n++];
        one->connector = arena_str(&arena, c->connector);
        one->cause = c->fault->first ? arena_printf(&arena, "%.*s: %.*s",
                                                    STR_FMT(c->fault->first->pointer),
                                                    STR_FMT(first_cause(c->fault)))
                                     : arena_str(&arena, str_c(c->fault->detail));
        one->faults = c->fault->count ? c->fault->count : 1;
        one->since_us = clock_now_us(&clock_system);
        for (uint32_t i = 0; i < roster->rejected; i++)
            if (str_eq(roster->rejections[i].connector, one->connector) &&
                str_eq(roster->rejections[i].cause, one->cause) &&
                roster->rejections[i].faults == one->faults) {
                one->since_us = roster->rejections[i].since_us;
                c->told = true;
            }
    }
    mem_free(roster->rejections);
    arena_free(&roster->arena);
    roster->arena = arena;
    roster->rejections = list;
    roster->rejected = n;
    pthread_mutex_unlock(&roster->lock);
}

/* --- reading again ----------------------------------------------------------------------------------- */

static bool was_changed(const struct roster_report *report, struct str name) {
    for (const struct roster_change *c = report->changes; c; c = c->next)
        if (str_eq(c->connector, name))
            return c->kind == ROSTER_ADDED || c->kind == ROSTER_CHANGED;
    return false;
}

/* What is new is kept before it serves; what is gone is not kept any more. */
static enum err versions_keep(struct roster *roster, const struct connectors *set,
                              const struct roster_report *report, struct fault *fault) {
    enum err err = OK;
    for (uint32_t i = 0; !err && i < set->count; i++)
        if (was_changed(report, set->items[i]->name))
            err = roster_keep(roster, set->items[i], fault);
    for (const struct roster_change *c = report->changes; !err && c; c = c->next)
        if (c->kind == ROSTER_REMOVED)
            roster_drop(roster, c->connector);
    return err;
}

enum err roster_reload(struct roster *roster, struct arena *arena, struct roster_report *report,
                       struct fault *fault) {
    *report = (struct roster_report){0};
    pthread_mutex_lock(&roster->reloading);
    struct look look = {.roster = roster, .before = roster->present, .arena = arena, .report = report};
    struct hash128 mark = roster_mark(roster); /* before: what changes meanwhile is seen later */
    enum err err = look_make(&look, fault);
    if (!err)
        err = versions_keep(roster, look.set, report, fault);
    const struct connectors *old = NULL;
    if (!err) {
        rejections_keep(roster, report);
        roster->mark = roster->seen = mark;
        pthread_mutex_lock(&roster->lock);
        old = roster->present;
        roster->present = look.set;
        pthread_mutex_unlock(&roster->lock);
    }
    pthread_mutex_unlock(&roster->reloading);
    connectors_release(err ? look.set : old);
    return err;
}

/* --- life ---------------------------------------------------------------------------------------------- */

/* A folder that can not serve and was never taken: the hub does not start without it. */
static enum err starts_without(const struct roster_report *report, struct fault *fault) {
    uint32_t faults = 0;
    for (const struct roster_change *c = report->changes; c; c = c->next) {
        if (c->kind != ROSTER_REJECTED || c->version.len)
            continue;
        for (const struct fault_item *i = c->fault->first; i; i = i->next)
            fault_add(fault, i->pointer, "%.*s", STR_FMT(i->detail));
        if (!c->fault->first)
            fault_add(fault, c->connector, "%s", c->fault->detail);
        faults += c->fault->count ? c->fault->count : 1;
    }
    return faults ? fault_set(fault, ERR_INVALID, "the connectors have %u faults", faults) : OK;
}

enum err roster_open(const struct roster_options *options, struct arena *arena,
                     struct roster_report *report, struct roster **out, struct fault *fault) {
    struct roster *roster = mem_zalloc(sizeof *roster);
    *report = (struct roster_report){0};
    if (!roster)
        return fault_set(fault, ERR_NOMEM, "no memory for connectors");
    pthread_mutex_init(&roster->lock, NULL);
    pthread_mutex_init(&roster->reloading, NULL);
    arena_init(&roster->arena, 0);
    roster->config = options->config;
    bool fits = snprintf(roster->dir, sizeof roster->dir, "%s", options->dir) < (int)sizeof roster->dir &&
                snprintf(roster->kept, sizeof roster->kept, "%s", options->kept) < (int)sizeof roster->kept;
    struct look look = {.roster = roster, .arena = arena, .report = report};
    enum err err = fits ? OK : fault_set(fault, ERR_IO, "the path is too long");
    if (!err)
        err = look_make(&look, fault);
    roster->present = look.set;
    if (!err)
        err = starts_without(report, fault);
    if (err) {
        roster_close(roster);
        return err;
    }
    rejections_keep(roster, report);
    roster->mark = roster->seen = roster_mark(roster);
    *out = roster;
    return OK;
}

enum err roster_settle(struct roster *roster, struct fault *fault) {
    enum err err = OK;
    for (uint32_t i = 0; !err && i < roster->present->count; i++)
        if (!roster_kept(roster, roster->present->items[i]))
            err = roster_keep(roster, roster->present->items[i], fault);
    return err;
}

void roster_close(struct roster *roster) {
    if (!roster)
        return;
    connectors_release(roster->present);
    mem_free(roster->rejections);
    arena_free(&roster->arena);
    pthread_mutex_destroy(&roster->lock);
    pthread_mutex_destroy(&roster->reloading);
    mem_free(roster);
}
