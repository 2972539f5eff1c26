/* stream_batch: messages of a stream on their way into the journal: submitted in their order, all awaited. */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/planted.h"
#include "connect/receive.h"
#include "connect/streams_priv.h"
#include "domain/exceptions.h"

#define BUSY_US INT64_C(3000000) /* how often the other side hears that it takes longer */

struct headers {
    const struct stream_source *source;
    const struct stream_message *message;
};

static struct str header_get(void *ctx, struct str name) {
    const struct headers *headers = ctx;
    return str_is(name, STREAM_KEY) ? headers->message->key
                                    : headers->source->ops->header(headers->message, name);
}

/* By which it is known when it comes again: what its sender says, else its place and its bytes (a stream
 * that was made anew begins to count again). */
static struct str message_id(const struct stream_message *message, struct arena *arena) {
    if (message->id.len && !PLANTED(STREAM_NAMELESS))
        return message->id;
    return arena_printf(arena, "%s:%08llx", message->place,
                        (unsigned long long)(hash64(message->body, 0) & 0xffffffff));
}

/* Without its name it would be another one. */
static enum err whole(uint64_t refused, enum err err, struct fault *fault) {
    return err == OK && mem_refused() != refused ? fault_set(fault, ERR_NOMEM, "no memory for a message") : err;
}

static enum err exception_prepare(struct stream_slot *slot, const struct stream_message *message,
                                  const char *why, struct fault *fault) {
    struct stream_entry *entry = slot->entry;
    struct arena *arena = &slot->arena;
    uint64_t refused = mem_refused();
    struct exception *e = arena_new(arena, struct exception);
    if (!e)
        return fault_set(fault, ERR_NOMEM, "no memory for an exception");
    e->kind = STR("message-invalid");
    e->subject = PLANTED(STREAM_PLACELESS) ? entry->name : arena_printf(arena, "%s", message->place);
    e->cause = arena_printf(arena, "%s of stream %.*s: %s", message->place, STR_FMT(entry->name), why);
    e->action = STR("It is still in its stream, at the place named: have its sender mend it and publish it anew");
    e->owner = arena_str(arena, entry->stream->connector->owner);
    shape_mark(e, EXCEPTION_KIND);
    shape_mark(e, EXCEPTION_SUBJECT);
    shape_mark(e, EXCEPTION_CAUSE);
    shape_mark(e, EXCEPTION_ACTION);
    shape_mark(e, EXCEPTION_OWNER);
    enum err err = command_prepare_fact(entry->streams->options.core, &exception_raise_command, arena, e,
                                        &slot->command, fault);
    slot->command.actor = arena_printf(arena, "connector:%.*s", STR_FMT(entry->stream->connector->name));
    slot->command.idem_scope = STR("streams"); /* once, however often it comes */
    slot->command.idem_key = arena_printf(arena, "%.*s:%.*s:%016llx", STR_FMT(entry->name),
                                          STR_FMT(message_id(message, arena)),
                                          (unsigned long long)hash64(message->body, 0));
    return whole(refused, err, fault);
}

/* It can not be stored as it is: told to a person in its place. */
static enum err slot_poisoned(struct stream_slot *slot, const char *why, struct fault *fault) {
    const struct stream_message *message = &slot->entry->messages[slot - slot->entry->slots];
    char words[256];
    snprintf(words, sizeof words, "%s", why);
    arena_reset(&slot->arena);
    slot->exception = true;
    return exception_prepare(slot, message, words, fault);
}

static enum err slot_prepare(struct stream_slot *slot, struct fault *fault) {
    struct stream_entry *entry = slot->entry;
    const struct stream_message *message = &entry->messages[slot - entry->slots];
    struct headers from = {entry->source, message};
    struct receive_header_source headers = {.header = header_get, .ctx = &from};
    arena_reset(&slot->arena);
    slot->exception = slot->known = false;
    uint64_t refused = mem_refused();
    enum err err = receive_message(entry->streams->options.core, entry->stream->connector, &entry->stream->take,
                                   &headers, message_id(message, &slot->arena), message->body,
                                   message->content_type, entry->parser, &slot->arena, &slot->command, fault);
    err = whole(refused, err, fault);
    if (err == ERR_NOMEM && slot->arena.full) /* the message's fault; else the machine's, and it comes again */
        err = fault_set(fault, ERR_TOO_LARGE, "it is longer than the hub keeps");
    return err != OK && err_info(err)->disposition == FINAL ? slot_poisoned(slot, fault->detail, fault) : err;
}

static bool batch_failed(struct stream_entry *entry, const struct fault *fault) {
    snprintf(entry->stats.error, sizeof entry->stats.error, "%s", fault->detail);
    return false;
}

static bool in_core(const struct stream_entry *entry) {
    for (uint32_t i = 0; i < entry->count; i++)
        if (entry->slots[i].state == STREAM_CORE)
            return true;
    return false;
}

/* In order, as far as the core takes them: where it gives one back, it gives back those behind it, too. */
static void batch_submit(struct stream_entry *entry) {
    struct fault fault = {0};
    bool blocked = false;
    if (!in_core(entry))
        entry->epoch = core_epoch(entry->streams->options.core);
    for (uint32_t i = 0; i < entry->count && !blocked; i++) {
        struct stream_slot *slot = &entry->slots[PLANTED(STREAM_SWAPPED) ? entry->count - 1 - i : i];
        if (slot->state != STREAM_SUBMIT)
            continue;
        slot->command.epoch = entry->epoch;
        slot->command.origin = &entry->origin;
        slot->command.origin_ctx = slot;
        slot->state = STREAM_CORE;
        if (core_submit(entry->streams->options.core, &slot->command, &fault) == OK)
            continue;
        slot->state = STREAM_SUBMIT;
        blocked = true;
    }
}

/* ERR: it can not be taken, nor can that be told. */
static enum err slot_answered(struct stream_slot *slot, struct fault *fault) {
    struct stream_entry *entry = slot->entry;
    const struct answer *answer = &slot->command.answer;
    /* a person was told of it, in other words: it was at another place, or the connector is another one */
    bool told = slot->exception && answer->err == ERR_KEY_REUSED;
    slot->state = STREAM_SUBMIT; /* once more, unless it is done */
    if (answer->err == OK || told) {
        slot->known = told || answer->replayed;
        slot->state = STREAM_DONE;
        entry->undone--;
        return OK;
    }
    if (err_info(answer->err)->disposition == RETRYABLE)
        return OK;
    *fault = answer->fault;
    return slot->exception ? answer->err : slot_poisoned(slot, answer->fault.detail, fault);
}

static bool batch_answers(struct stream_entry *entry) {
    struct fault fault = {0};
    enum err err = OK;
    for (struct command *command = stream_answers(entry); command;) {
        struct command *next = command->next;
        struct stream_slot *slot = command->origin_ctx;
        err = err == OK ? slot_answered(slot, &fault) : err;
        if (err != OK)
            slot->state = STREAM_SUBMIT;
        command = next;
    }
    return err == OK || batch_failed(entry, &fault);
}

static void batch_count(struct stream_entry *entry) {
    struct stream_stats *stats = &entry->stats;
    for (uint32_t i = 0; i < entry->count; i++) {
        stats->bad += entry->slots[i].exception && !entry->slots[i].known;
        stats->known += entry->slots[i].known;
        stats->taken += !entry->slots[i].exception && !entry->slots[i].known;
    }
    stats->messages += entry->count;
    stats->done_us = clock_now_us(entry->streams->options.clock);
    snprintf(stats->place, sizeof stats->place, "%.127s", entry->messages[entry->count - 1].place);
}

void stream_batch_begin(struct stream_entry *entry) {
    struct fault fault = {0};
    entry->batch = entry->good = true;
    entry->busy_us = clock_tick_us(entry->streams->options.clock) + BUSY_US;
    entry->undone = entry->count;
    for (uint32_t i = 0; i < entry->count; i++)
        entry->slots[i].state = STREAM_SUBMIT;
    for (uint32_t i = 0; i < entry->count && entry->good; i++)
        entry->good = slot_prepare(&entry->slots[i], &fault) == OK || batch_failed(entry, &fault);
    if (entry->good)
        batch_submit(entry);
}

enum stream_batch_state stream_batch_step(struct stream_entry *entry, bool stopping) {
    int64_t now_us = clock_tick_us(entry->streams->options.clock);
    entry->good = batch_answers(entry) && entry->good;
    bool over = entry->undone == 0 || !entry->good || stopping;
    if (!over)
        batch_submit(entry);
    else if (!in_core(entry)) { /* what it has comes back, always */
        entry->batch = false;
        bool done = entry->undone == 0 && entry->good;
        if (done)
            batch_count(entry);
        return done ? STREAM_BATCH_DONE : STREAM_BATCH_FAILED;
    }
    if (now_us >= entry->busy_us) {
        entry->source->ops->busy(entry->source, entry->messages, entry->count);
        entry->busy_us = now_us + BUSY_US;
    }
    return STREAM_BATCH_ON;
}
