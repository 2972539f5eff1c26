/* drop_items: records on their way into the journal, and what could not be read on its way to people. */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "connect/drop_priv.h"
#include "connect/receive.h"
#include "domain/exceptions.h"

#define AGAIN_US 100000

struct drop_slot *drop_slot_take(struct drop_entry *entry) {
    for (uint32_t i = 0; i < DROP_SLOTS; i++)
        if (entry->slots[i].state == DROP_FREE) {
            entry->busy++;
            entry->slots[i].nth = entry->file.nth++;
            entry->slots[i].state = DROP_SUBMIT;
            return &entry->slots[i];
        }
    return NULL;
}

static void slot_end(struct drop_slot *slot) {
    arena_reset(&slot->arena);
    slot->state = DROP_FREE;
    slot->entry->busy--;
}

static void blocked(struct drop_entry *entry) {
    entry->blocked = true;
    entry->again_us = clock_tick_us(entry->drop->options.clock) + AGAIN_US;
}

static void slot_submit(struct drop_slot *slot) {
    struct fault fault = {0};
    slot->state = DROP_CORE;
    if (core_submit(slot->entry->drop->options.core, &slot->command, &fault) == OK)
        return;
    slot->state = DROP_SUBMIT;
    blocked(slot->entry);
}

/* In the order of the file. */
void drop_submit_again(struct drop_entry *entry) {
    /* the hub stops, and may never take it: the file is read again next time */
    for (uint32_t i = 0; entry->drop->stopping && i < DROP_SLOTS; i++)
        if (entry->slots[i].state == DROP_SUBMIT)
            slot_end(&entry->slots[i]);
    if (!entry->blocked || clock_tick_us(entry->drop->options.clock) < entry->again_us)
        return;
    entry->blocked = false;
    for (struct drop_slot *first; !entry->blocked; slot_submit(first)) {
        first = NULL;
        for (uint32_t i = 0; i < DROP_SLOTS; i++)
            if (entry->slots[i].state == DROP_SUBMIT && (!first || entry->slots[i].nth < first->nth))
                first = &entry->slots[i];
        if (!first)
            break;
    }
}

static void slot_go(struct drop_slot *slot) {
    slot->command.origin = &slot->entry->drop->origin;
    slot->command.origin_ctx = slot;
    if (!slot->entry->blocked)
        slot_submit(slot);
}

static void slot_failed(struct drop_slot *slot, const char *why) {
    struct drop_entry *entry = slot->entry;
    entry->failed = true;
    snprintf(entry->stats.error, sizeof entry->stats.error, "%s", why);
    slot_end(slot);
}

void drop_answered(struct drop_slot *slot) {
    struct drop_entry *entry = slot->entry;
    const struct answer *answer = &slot->command.answer;
    if (answer->err != OK && err_info(answer->err)->disposition == RETRYABLE && !entry->drop->stopping) {
        slot->state = DROP_SUBMIT;
        blocked(entry);
        return;
    }
    if (answer->err != OK) {
        slot_failed(slot, answer->fault.detail);
        return;
    }
    if (slot->record && !answer->replayed)
        entry->file.taken++;
    slot_end(slot);
}

/* --- what could not be read ------------------------------------------------------------------ */

static void report_problem(struct drop_file *file, uint64_t line, uint32_t column, struct str name,
                           const char *words) {
    struct buf *out = &file->problems;
    if (file->bad > DROP_PROBLEMS_MAX)
        return;
    buf_printf(out, "%s\n  {\"line\":%llu", out->len ? "," : "", (unsigned long long)line);
    if (column > 0)
        buf_printf(out, ",\"column\":%u", column);
    if (name.len > 0) {
        buf_lit(out, ",\"name\":");
        buf_json_str(out, name);
    }
    buf_lit(out, ",\"problem\":");
    buf_json_str(out, str_c(words));
    buf_char(out, '}');
}

static struct exception *problem_exception(struct drop_slot *slot, uint64_t line, struct str where,
                                           const char *words) {
    struct drop_entry *entry = slot->entry;
    struct arena *arena = &slot->arena;
    struct exception *e = arena_new(arena, struct exception);
    if (!e)
        return NULL;
    bool rest = entry->file.exceptions == DROP_EXCEPTIONS_MAX;
    e->kind = STR("record-invalid");
    e->subject = arena_printf(arena, "%s:%llu", entry->file.name, (unsigned long long)line);
    e->cause = rest ? arena_printf(arena, "Still more of %s (%.*s) can not be read, from line %llu on",
                                   entry->file.name, STR_FMT(entry->name), (unsigned long long)line)
                    : arena_printf(arena, "%s (%.*s), line %llu%.*s: %s", entry->file.name,
                                   STR_FMT(entry->name), (unsigned long long)line, STR_FMT(where), words);
    e->action = arena_printf(arena, "What could not be read is in error/%s.rejected, all of it listed in "
                             "error/%s.report.json: mend it and leave it as a new file",
                             entry->file.name, entry->file.name);
    e->owner = arena_str(arena, entry->files->connector->owner);
    shape_mark(e, EXCEPTION_KIND);
    shape_mark(e, EXCEPTION_SUBJECT);
    shape_mark(e, EXCEPTION_CAUSE);
    shape_mark(e, EXCEPTION_ACTION);
    shape_mark(e, EXCEPTION_OWNER);
    return e->subject.ptr && e->cause.ptr && e->action.ptr && e->owner.ptr ? e : NULL;
}

void drop_problem(struct drop_entry *entry, uint64_t line, uint32_t column, struct str name,
                  const char *words) {
    struct drop_file *file = &entry->file;
    struct fault fault = {0};
    file->bad++;
    report_problem(file, line, column, name, words);
    if (file->exceptions > DROP_EXCEPTIONS_MAX)
        return;
    struct drop_slot *slot = drop_slot_take(entry);
    must(slot); /* the caller looked */
    struct str where = column == 0 ? STR("")
                       : name.len  ? arena_printf(&slot->arena, ", column %u (%.*s)", column, STR_FMT(name))
                                   : arena_printf(&slot->arena, ", column %u", column);
    struct exception *exception = problem_exception(slot, line, where, words);
    slot->record = false;
    enum err err = exception ? command_prepare_fact(entry->drop->options.core, &exception_raise_command,
                                                    &slot->arena, exception, &slot->command, &fault)
                             : fault_set(&fault, ERR_NOMEM, "no memory for an exception");
    if (err != OK) {
        slot_failed(slot, fault.detail);
        return;
    }
    file->exceptions++;
    slot->command.actor = arena_printf(&slot->arena, "connector:%.*s",
                                       STR_FMT(entry->files->connector->name));
    slot->command.idem_scope = STR("files"); /* once, however often the file is begun */
    slot->command.idem_key = arena_printf(&slot->arena, "%.*s:%s:%llu", STR_FMT(entry->name),
                                          file->hash, (unsigned long long)line);
    slot_go(slot);
}

/* --- records --------------------------------------------------------------------------------- */

void drop_record(struct drop_entry *entry, uint64_t line, struct str text) {
    struct drop *drop = entry->drop;
    struct drop_file *file = &entry->file;
    struct drop_slot *slot = drop_slot_take(entry);
    const struct json *doc = NULL;
    struct fault fault = {0};
    must(slot);
    slot->record = true;
    file->records++;
    text = arena_str(&slot->arena, text);
    struct str dedup = arena_printf(&slot->arena, "%s:%llu:%.8s", file->name, (unsigned long long)line,
                                    file->hash);
    enum err err = text.ptr && dedup.ptr
                       ? json_parse(drop->parser, &slot->arena, text, false, &doc, &fault)
                       : fault_set(&fault, ERR_NOMEM, "no memory for a record");
    if (err == ERR_MALFORMED || err == ERR_TOO_LARGE) { /* ndjson: nothing was sent yet */
        file->records--;
        file_rejects(entry, text);
        file_rejects(entry, STR("\n"));
        slot_end(slot);
        drop_problem(entry, line, 0, STR_NONE, fault.detail);
        return;
    }
    if (err == OK)
        err = receive_item(drop->options.core, entry->files->connector, &entry->files->take, dedup, doc,
                           text, &slot->arena, &slot->command, &fault);
    if (err != OK && err_info(err)->disposition == FINAL) {
        file_rejects(entry, text);
        file_rejects(entry, STR("\n"));
        slot_end(slot);
        drop_problem(entry, line, 0, STR_NONE, fault.detail);
        return;
    }
    if (err != OK)
        slot_failed(slot, fault.detail);
    else
        slot_go(slot);
}
