/* drop_set: which folders are looked into, while connectors come, change and go. A file under way is
 * read to its end with the version it began with. */
#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "connect/drop_priv.h"
#include "connect/topic_name.h"

bool drop_usable(const struct drop_entry *entry) {
    return !entry->retired && entry->files->enabled && entry->files->missing.len == 0;
}

static void entry_by(struct drop_entry *entry, const struct connector_files *files) {
    const struct connector *before = entry->files ? entry->files->connector : NULL;
    entry->files = files;
    connector_release(before);
    bool absolute = files->folder.len > 0 && files->folder.ptr[0] == '/';
    snprintf(entry->folder, sizeof entry->folder, "%s%s%.*s", absolute ? "" : entry->drop->options.dir,
             absolute ? "" : "/", STR_FMT(files->folder));
    entry->seen_count = 0;
    if (files->missing.len > 0)
        log_line(LOG_DEBUG, "connect", "files are not taken: not set", "files=%.*s missing=%s",
                 STR_FMT(entry->name), log_quote(files->missing));
}

static void entry_free(struct drop_entry *entry) {
    for (uint32_t i = 0; entry->slots && i < DROP_SLOTS; i++)
        arena_free(&entry->slots[i].arena);
    file_close(&entry->file);
    connector_release(entry->files ? entry->files->connector : NULL);
    connector_release(entry->next_files ? entry->next_files->connector : NULL);
    mem_free(entry->slots);
    mem_free((char *)(uintptr_t)entry->name.ptr);
    mem_free(entry);
}

static enum err entry_make(struct drop *drop, const struct connector_files *files,
                           struct fault *fault) {
    const struct settings *settings = &drop->options.config->settings;
    struct drop_entry *entry = NULL;
    if (MEM_ROOM(drop->entries, drop->count, drop->cap, 16))
        entry = mem_zalloc(sizeof *entry);
    if (!entry)
        return fault_set(fault, ERR_NOMEM, "no memory for files");
    entry->drop = drop;
    entry->file.fd = entry->file.rejected = -1;
    entry->slots = mem_zalloc(DROP_SLOTS * sizeof *entry->slots);
    for (uint32_t i = 0; entry->slots && i < DROP_SLOTS; i++) {
        entry->slots[i].entry = entry;
        arena_init(&entry->slots[i].arena,
                   (size_t)settings->file_record_bytes_max * 8 + ARENA_CAP_DEFAULT);
    }
    if (!entry->slots || !topic_name_make(files->connector->name, files->topic, &entry->name,
                                          &entry->stats.connector, &entry->stats.topic)) {
        entry_free(entry);
        return fault_set(fault, ERR_NOMEM, "no memory for files");
    }
    connector_take(files->connector);
    entry_by(entry, files);
    entry->stats.state = drop_usable(entry) ? DROP_WAITING : DROP_UNUSABLE;
    entry->shown = entry->stats;
    entry->wanted_on = true;
    drop->entries[drop->count++] = entry;
    return OK;
}

void drop_entry_renew(struct drop_entry *entry) {
    if (!entry->next_files || entry->state != DROP_IDLE)
        return;
    const struct connector_files *files = entry->next_files;
    entry->next_files = NULL;
    entry_by(entry, files);
    entry->due_us = 0;
}

static enum err files_follow(struct drop *drop, const struct connector_files *files,
                             struct fault *fault) {
    struct drop_entry *entry = NULL;
    for (uint32_t i = 0; i < drop->count && !entry; i++)
        if (str_eq(drop->entries[i]->stats.connector, files->connector->name) &&
            str_eq(drop->entries[i]->stats.topic, files->topic))
            entry = drop->entries[i];
    if (!entry)
        return entry_make(drop, files, fault);
    entry->wanted_on = true;
    if ((entry->next_files ? entry->next_files : entry->files) == files)
        return OK;
    if (entry->next_files)
        connector_release(entry->next_files->connector);
    connector_take(files->connector);
    entry->next_files = files;
    return OK;
}

/* The caller has the lock, or is the only thread. */
enum err drops_follow(struct drop *drop, const struct connectors *connectors, struct fault *fault) {
    enum err err = OK;
    for (uint32_t i = 0; i < drop->count; i++)
        drop->entries[i]->wanted_on = false;
    for (uint32_t c = 0; c < connectors->count; c++)
        for (uint32_t i = 0; err == OK && i < connectors->items[c]->files.count; i++)
            err = files_follow(drop, list_at(connectors->items[c]->files, struct connector_files, i),
                               fault);
    for (uint32_t i = 0; err == OK && i < drop->count; i++)
        drop->entries[i]->retired = !drop->entries[i]->wanted_on;
    return err;
}

static enum err drops_follow_set(void *ctx, const struct connectors *set, struct fault *fault) {
    return drops_follow(ctx, set, fault);
}

void drops_renew(struct drop *drop) {
    (void)connectors_follow(&(struct connectors_follower){&drop->renewed, &drop->options.connectors, &drop->lock,
                                                          drops_follow_set, drop, "connect"});
}

void drops_free(struct drop *drop) {
    for (uint32_t i = 0; i < drop->count; i++)
        entry_free(drop->entries[i]);
    mem_free(drop->entries);
}
