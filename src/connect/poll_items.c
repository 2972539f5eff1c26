/* poll_items: the items of a page on their way into the journal: known ones are passed over, the
 * others become inbound.receive, in the order of the page. */
#include <stdio.h>

#include "base/log.h"
#include "base/planted.h"
#include "connect/poll_priv.h"
#include "connect/receive.h"
#include "domain/exceptions.h"

#define AGAIN_US 100000 /* until the core is asked again, where it took nothing */
#define DEDUP_MAX 200

static struct poll_slot *slot_take(struct poll_entry *entry) {
    for (uint32_t i = 0; i < POLL_SLOTS; i++)
        if (entry->slots[i].state == SLOT_FREE) {
            entry->busy++;
            return &entry->slots[i];
        }
    return NULL;
}

static void slot_end(struct poll_slot *slot) {
    struct poll_entry *entry = slot->entry;
    arena_reset(&slot->arena);
    slot->state = SLOT_FREE;
    entry->busy--;
}

/* The item failed: the page is asked for again, what is durable of it is known then. */
static void slot_failed(struct poll_slot *slot, struct str why) {
    struct poll_entry *entry = slot->entry;
    if (!entry->failed)
        snprintf(entry->stats.error, sizeof entry->stats.error, "%.*s", STR_FMT(why));
    entry->failed = true;
    slot_end(slot);
}

/* --- into the core ------------------------------------------------------------------------- */

static void slot_submit(struct poll_slot *slot) {
    struct poll_entry *entry = slot->entry;
    struct fault fault = {0};
    slot->state = SLOT_CORE;
    if (core_submit(entry->poller->options.core, &slot->command, &fault) == OK)
        return;
    slot->state = SLOT_SUBMIT;
    entry->blocked = true;
    entry->again_us = clock_tick_us(entry->poller->options.clock) + AGAIN_US;
}

/* A document that the hub can not keep (too deep, too large): a person is told, the others go on. */
static void slot_refused(struct poll_slot *slot, const struct fault *why) {
    const struct poll_entry *entry = slot->entry;
    struct poller *poller = entry->poller;
    struct exception *exception = arena_new(&slot->arena, struct exception);
    struct fault fault = {0};
    log_line(LOG_ERROR, "connect", "an item of a poll can not be kept", "poll=%.*s item=%s error=%s",
             STR_FMT(entry->name), log_quote(slot->dedup), log_quote(str_c(why->detail)));
    if (!exception) {
        slot_failed(slot, STR("no memory for an exception"));
        return;
    }
    exception->kind = STR("item-refused");
    exception->subject = arena_printf(&slot->arena, "%.*s/%.*s", STR_FMT(entry->name),
                                      STR_FMT(slot->dedup));
    exception->cause = arena_printf(&slot->arena, "An item of %.*s can not be kept: %s",
                                    STR_FMT(entry->name), why->detail);
    exception->action = STR("Ask for less of it (fields, a detail call), or mend it at its system");
    exception->owner = entry->poll->connector->owner;
    shape_mark(exception, EXCEPTION_KIND);
    shape_mark(exception, EXCEPTION_SUBJECT);
    shape_mark(exception, EXCEPTION_CAUSE);
    shape_mark(exception, EXCEPTION_ACTION);
    shape_mark(exception, EXCEPTION_OWNER);
    if (command_prepare_fact(poller->options.core, &exception_raise_command, &slot->arena, exception,
                             &slot->command, &fault) != OK) {
        slot_failed(slot, str_c(fault.detail));
        return;
    }
    slot->command.actor = STR("poll");
    slot->command.origin = &poller->origin;
    slot->command.origin_ctx = slot;
    slot_submit(slot);
}

static void slot_document(struct poll_slot *slot, const struct json *doc) {
    struct poll_entry *entry = slot->entry;
    struct poller *poller = entry->poller;
    struct fault fault;
    struct str text = doc->kind == JSON_ARRAY || doc->kind == JSON_OBJECT ? doc->text : STR_NONE;
    fault_init(&fault, &slot->arena);
    if (!text.ptr || memchr(text.ptr, '\n', text.len) || memchr(text.ptr, '\r', text.len)) {
        struct buf out;
        buf_init(&out, 0);
        json_write(&out, doc);
        text = buf_ok(&out) ? arena_str(&slot->arena, buf_str(&out)) : STR_NONE;
        buf_free(&out);
    }
    enum err err = text.ptr ? receive_item(poller->options.core, entry->poll->connector,
                                           &entry->poll->take, slot->dedup, doc, text, &slot->arena,
                                           &slot->command, &fault)
                            : fault_set(&fault, ERR_NOMEM, "no memory for an item");
    if (err != OK && err_info(err)->disposition == FINAL) {
        slot_refused(slot, &fault);
        return;
    }
    if (err != OK) {
        slot_failed(slot, str_c(fault.detail));
        return;
    }
    slot->command.origin = &poller->origin;
    slot->command.origin_ctx = slot;
    slot_submit(slot);
}

void item_answered(struct poll_slot *slot) {
    struct poll_entry *entry = slot->entry;
    const struct answer *answer = &slot->command.answer;
    if (answer->err != OK && err_info(answer->err)->disposition == RETRYABLE &&
        !entry->poller->stopping) {
        slot->state = SLOT_SUBMIT;
        entry->blocked = true;
        entry->again_us = clock_tick_us(entry->poller->options.clock) + AGAIN_US;
        return;
    }
    if (answer->err != OK) {
        slot_failed(slot, arena_str(&entry->arena, str_c(answer->fault.detail)));
        return;
    }
    intake_put(entry->poller->intake, entry->number, slot->id, &slot->seen);
    entry->stats.taken += !answer->replayed && answer->status != 204;
    slot_end(slot);
}

/* --- details --------------------------------------------------------------------------------- */

static void detail_done(void *ctx, const struct net_answer *answer) {
    struct poll_slot *slot = ctx;
    struct poll_entry *entry = slot->entry;
    const struct json *doc = NULL;
    struct fault fault = {0};
    slot->call = NULL;
    entry->details--;
    if (answer->error == NET_OK && (answer->status == 404 || answer->status == 410)) {
        log_line(LOG_INFO, "connect", "an item of a poll is gone", "poll=%.*s item=%s",
                 STR_FMT(entry->name), log_quote(slot->dedup));
        intake_put(entry->poller->intake, entry->number, slot->id, &slot->seen);
        slot_end(slot);
    } else if (answer->error != NET_OK || answer->status < 200 || answer->status > 299) {
        slot_failed(slot, arena_printf(&entry->arena, "detail of %.*s: %.*s", STR_FMT(slot->dedup),
                                       STR_FMT(page_words(entry, answer))));
    } else {
        struct str body = arena_str(&slot->arena, answer->body);
        enum err err = body.ptr ? json_parse(entry->poller->parser, &slot->arena, body, false, &doc,
                                             &fault)
                                : ERR_NOMEM;
        if (err == OK)
            doc = json_at(doc, entry->poll->detail->document);
        if (err == OK && doc)
            slot_document(slot, doc);
        else
            slot_failed(slot, arena_printf(&entry->arena, "detail of %.*s: the answer has no document",
                                           STR_FMT(slot->dedup)));
    }
    poller_wake(entry->poller);
}

static void detail_call(struct poll_slot *slot) {
    struct poll_entry *entry = slot->entry;
    struct net_request request;
    struct fault fault = {0};
    slot->state = SLOT_DETAIL;
    enum err err = request_detail(slot, &request, &fault);
    if (err == OK)
        err = net_send(entry->poller->net, &request, detail_done, slot, &slot->call, &fault);
    if (err != OK) {
        slot_failed(slot, arena_str(&entry->arena, str_c(fault.detail)));
        return;
    }
    entry->details++;
    entry->stats.calls++;
}

/* --- what is known --------------------------------------------------------------------------- */

static uint64_t content_hash(const struct json *item) {
    struct buf out;
    if (item->text.ptr && item->kind != JSON_STRING)
        return hash64(item->text, 1);
    buf_init(&out, 0);
    json_write(&out, item);
    uint64_t hash = hash64(buf_str(&out), 1);
    buf_free(&out);
    return hash;
}

static struct hash128 identity(struct str id, uint64_t content) {
    return id.len ? hash128(id, 0)
                  : (struct hash128){.hi = content, .lo = hash64(STR("content"), content)};
}

/* A list of ids, whose details are fetched. */
static struct str scalar_id(const struct poll_entry *entry, const struct json *item) {
    bool scalar = item->kind == JSON_STRING || item->kind == JSON_NUMBER;
    return entry->poll->detail && scalar ? item->text : STR_NONE;
}

struct hash128 item_identity(struct poll_entry *entry, const struct json *item) {
    const struct connector_receive *take = &entry->poll->take;
    struct str id = receive_member(take->dedup ? take->dedup : take->key, item, false, &entry->arena);
    if (!id.len)
        id = scalar_id(entry, item);
    return identity(id, id.len ? 0 : content_hash(item));
}

/* Names the item, and this version of it. An item whose content comes back (a stock that is as it
 * was) is another version, though its bytes are not new. */
static void item_name(struct poll_slot *slot, struct str id, struct str version) {
    struct arena *arena = &slot->arena;
    if (!id.len)
        slot->dedup = arena_printf(arena, "%016llx%016llx", (unsigned long long)slot->id.hi,
                                   (unsigned long long)slot->id.lo);
    else if (version.len && id.len + version.len < DEDUP_MAX)
        slot->dedup = arena_printf(arena, "%.*s@%.*s", STR_FMT(id), STR_FMT(version));
    else
        slot->dedup = arena_printf(arena, "%.*s#%lld", STR_FMT(id), (long long)slot->seen.times);
}

/* False: it is known as it is; nothing is to be done. */
static bool item_new(struct poll_slot *slot, bool *failed) {
    struct poll_entry *entry = slot->entry;
    const struct connector_receive *take = &entry->poll->take;
    const struct json *item = slot->item;
    struct fault fault = {0};
    bool known = false;
    struct connector_place mark = {
        .member = entry->poll->watermark ? entry->poll->watermark->member : STR_NONE};
    struct str id = receive_member(take->dedup ? take->dedup : take->key, item, false, &slot->arena);
    struct str version =
        receive_member(take->version ? take->version : &mark, item, false, &slot->arena);
    uint64_t content = content_hash(item);
    if (!id.len)
        id = scalar_id(entry, item);
    slot->id = identity(id, content);
    *failed = intake_find(entry->poller->intake, entry->number, slot->id, &slot->seen, &known,
                          &fault) != OK;
    if (*failed) {
        slot_failed(slot, arena_str(&entry->arena, str_c(fault.detail)));
        return true;
    }
    bool same = (known && slot->seen.content == content) || (PLANTED(ITEM_LOST) && content % 8 == 0);
    slot->seen.times += !same;
    slot->seen.content = content;
    if (same && slot->seen.round == entry->round)
        return false;
    slot->seen.round = entry->round;
    item_name(slot, id, version);
    if (same) /* so that it is remembered as long as it is met */
        intake_put(entry->poller->intake, entry->number, slot->id, &slot->seen);
    return !same;
}

/* Of a backstop: the webhook may still bring it. It is asked for again: the watermark stays below. */
static bool item_young(const struct poll_entry *entry, const struct json *item) {
    const struct connector_poll *poll = entry->poll;
    struct poll_mark mark;
    if (!poll->backstop.len || !poll->watermark)
        return false;
    struct connector_place place = {.member = poll->watermark->member};
    struct arena arena;
    arena_init(&arena, 0);
    struct str value = receive_member(&place, item, false, &arena);
    bool young = mark_read(poll->watermark, value, &mark) &&
                 mark.number > entry->partner_us - poll->grace_s * 1000000;
    arena_free(&arena);
    return young;
}

static void item_start(struct poll_entry *entry) {
    struct poll_slot *slot = slot_take(entry);
    bool failed = false;
    must(slot);
    slot->item = entry->next_item;
    slot->nth = entry->item_at;
    entry->next_item = json_next(entry->next_item);
    entry->item_at++;
    if (item_young(entry, slot->item) || !item_new(slot, &failed)) {
        slot_end(slot);
    } else if (!failed) {
        if (entry->poll->detail)
            detail_call(slot);
        else
            slot_document(slot, slot->item);
    }
}

/* In the order of the page: one that the core did not take holds up those behind it. */
static void submit_again(struct poll_entry *entry) {
    /* the hub stops, and may never take it: it is fetched again next time */
    for (uint32_t i = 0; entry->poller->stopping && i < POLL_SLOTS; i++)
        if (entry->slots[i].state == SLOT_SUBMIT)
            slot_failed(&entry->slots[i], STR("the hub stopped"));
    if (!entry->blocked || clock_tick_us(entry->poller->options.clock) < entry->again_us)
        return;
    entry->blocked = false;
    for (struct poll_slot *first; !entry->blocked; slot_submit(first)) {
        first = NULL;
        for (uint32_t i = 0; i < POLL_SLOTS; i++)
            if (entry->slots[i].state == SLOT_SUBMIT && (!first || entry->slots[i].nth < first->nth))
                first = &entry->slots[i];
        if (!first)
            break;
    }
}

void items_go(struct poll_entry *entry) {
    submit_again(entry);
    while (entry->item_at < entry->item_count && entry->busy < POLL_SLOTS && !entry->blocked &&
           !entry->failed && !entry->poller->stopping && entry->details < POLL_DETAILS_MAX)
        item_start(entry);
    if (entry->busy == 0 && (entry->item_at == entry->item_count || entry->failed ||
                             entry->poller->stopping))
        round_page_done(entry);
}
