/* poll_set: which polls there are, while connectors come, change and go. A poll is made once for its
 * name and keeps its watermark; a call or a page under way ends with the version it began with. One
 * that is not wanted any more rests, and goes on where it stood when its name comes back. */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "connect/poll_priv.h"
#include "connect/topic_name.h"

bool poll_usable(const struct poll_entry *entry) {
    return !entry->retired && entry->poll->enabled && entry->poll->missing.len == 0;
}

static enum err mark_start(struct poll_entry *entry, struct fault *fault) {
    const struct connector_watermark *how = entry->poll->watermark;
    struct poller *poller = entry->poller;
    char value[INTAKE_VALUE_MAX + 1];
    bool known;
    enum err err = intake_load(poller->intake, entry->name, value, &known, fault);
    if (err || !how)
        return err;
    if (known && mark_load(how, str_c(value), &entry->mark))
        return OK;
    if (known)
        log_line(LOG_WARN, "connect", "the watermark of a poll is of another type: it starts again",
                 "poll=%.*s", STR_FMT(entry->name));
    mark_initial(how, clock_now_us(poller->options.clock), &entry->mark);
    if (!entry->mark.known)
        return OK;
    struct buf text; /* "now" is this moment, also after a restart */
    buf_init(&text, INTAKE_VALUE_MAX);
    mark_save(how, &entry->mark, &text);
    intake_set(poller->intake, entry->name, buf_str(&text));
    buf_free(&text);
    return intake_commit(poller->intake, fault);
}

/* From now on by this version. */
static void entry_by(struct poll_entry *entry, const struct connector_poll *poll) {
    const struct connector *before = entry->poll ? entry->poll->connector : NULL;
    entry->poll = poll;
    connector_release(before);
    entry->page_size = poll->pages->size;
    if (poll->missing.len > 0)
        log_line(LOG_DEBUG, "connect", "a poll is not usable: not set", "poll=%.*s missing=%s",
                 STR_FMT(entry->name), log_quote(poll->missing));
}

static void entry_free(struct poll_entry *entry) {
    for (uint32_t k = 0; entry->slots && k < POLL_SLOTS; k++)
        arena_free(&entry->slots[k].arena);
    arena_free(&entry->arena);
    connector_release(entry->poll ? entry->poll->connector : NULL);
    connector_release(entry->next_poll ? entry->next_poll->connector : NULL);
    mem_free(entry->slots);
    mem_free((char *)(uintptr_t)entry->name.ptr);
    mem_free(entry);
}

static enum err entry_make(struct poller *poller, const struct connector_poll *poll,
                           struct fault *fault) {
    size_t most = (size_t)poller->options.config->settings.poll_answer_bytes_max;
    struct poll_entry *entry = NULL;
    if (MEM_ROOM(poller->entries, poller->count, poller->cap, 16))
        entry = mem_zalloc(sizeof *entry);
    if (!entry)
        return fault_set(fault, ERR_NOMEM, "no memory for polls");
    entry->poller = poller;
    entry->round = 1;
    arena_init(&entry->arena, most * 8 + ARENA_CAP_DEFAULT);
    entry->slots = mem_zalloc(POLL_SLOTS * sizeof *entry->slots);
    for (uint32_t i = 0; entry->slots && i < POLL_SLOTS; i++) {
        entry->slots[i].entry = entry;
        arena_init(&entry->slots[i].arena, most * 4 + ARENA_CAP_DEFAULT);
    }
    enum err err = entry->slots && topic_name_make(poll->connector->name, poll->topic, &entry->name,
                                          &entry->stats.connector, &entry->stats.topic)
                       ? OK
                       : fault_set(fault, ERR_NOMEM, "no memory for polls");
    if (err == OK)
        err = intake_number(poller->intake, entry->name, &entry->number, fault);
    if (err == OK) {
        connector_take(poll->connector);
        entry_by(entry, poll);
        err = mark_start(entry, fault);
    }
    if (err != OK) {
        entry_free(entry);
        return err;
    }
    entry->shown = entry->stats;
    entry->wanted_on = true;
    poller->entries[poller->count++] = entry;
    return OK;
}

void entry_renew(struct poll_entry *entry) {
    const struct connector_poll *poll = entry->next_poll;
    if (!poll || (entry->state != ENTRY_IDLE && entry->state != ENTRY_PAUSED))
        return;
    bool other = !poll->watermark || !entry->poll->watermark ||
                 poll->watermark->type != entry->poll->watermark->type;
    struct fault fault = {0};
    entry->next_poll = NULL;
    entry_by(entry, poll);
    if (other && mark_start(entry, &fault) != OK)
        log_line(LOG_ERROR, "connect", "the watermark of a poll can not be read", "poll=%.*s error=%s",
                 STR_FMT(entry->name), log_quote(str_c(fault.detail)));
    entry->state = ENTRY_IDLE; /* the rest of a round is the next one's */
    entry->due_us = 0;
}

static struct poll_entry *entry_named(struct poller *poller, const struct connector_poll *poll) {
    for (uint32_t i = 0; i < poller->count; i++)
        if (str_eq(poller->entries[i]->stats.connector, poll->connector->name) &&
            str_eq(poller->entries[i]->stats.topic, poll->topic))
            return poller->entries[i];
    return NULL;
}

static enum err poll_follow(struct poller *poller, const struct connector_poll *poll,
                            struct fault *fault) {
    struct poll_entry *entry = entry_named(poller, poll);
    if (!entry)
        return entry_make(poller, poll, fault);
    entry->wanted_on = true;
    const struct connector_poll *newest = entry->next_poll ? entry->next_poll : entry->poll;
    if (newest == poll)
        return OK;
    if (entry->next_poll)
        connector_release(entry->next_poll->connector);
    connector_take(poll->connector);
    entry->next_poll = poll;
    return OK;
}

/* The caller has the lock, or is the only thread. */
enum err polls_follow(struct poller *poller, const struct connectors *connectors,
                      struct fault *fault) {
    enum err err = OK;
    for (uint32_t i = 0; i < poller->count; i++)
        poller->entries[i]->wanted_on = false;
    for (uint32_t c = 0; c < connectors->count; c++)
        for (uint32_t i = 0; err == OK && i < connectors->items[c]->poll.count; i++)
            err = poll_follow(poller, list_at(connectors->items[c]->poll, struct connector_poll, i),
                              fault);
    for (uint32_t i = 0; err == OK && i < poller->count; i++)
        poller->entries[i]->retired = !poller->entries[i]->wanted_on;
    return err;
}

static bool mapping_wanted(void *ctx, uint64_t id) { return connectors_have_mapping(ctx, id); }

static enum err polls_follow_set(void *ctx, const struct connectors *set, struct fault *fault) {
    return polls_follow(ctx, set, fault);
}

void polls_renew(struct poller *poller) {
    struct connectors_follower follower = {&poller->renewed, &poller->options.connectors, &poller->lock,
                                           polls_follow_set, poller, "connect"};
    if (connectors_follow(&follower))
        mapper_keep(poller->mapper, mapping_wanted, (void *)(uintptr_t)poller->options.connectors);
}

void poller_renew(struct poller *poller, const struct connectors *connectors) {
    connectors_offer(&poller->renewed, &poller->lock, connectors);
    poller_wake(poller);
}

void polls_free(struct poller *poller) {
    for (uint32_t i = 0; i < poller->count; i++)
        entry_free(poller->entries[i]);
    mem_free(poller->entries);
}
