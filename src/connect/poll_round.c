/* poll_round: one round of one poll: page after page, until there is no more, something fails, or the
 * bound of pages is reached. A page that fails is asked for again a few times; after that, the round is
 * over, and the next one begins where the watermark is. */
#include <stdio.h>

#include "base/log.h"
#include "connect/poll_priv.h"

#define TRIES_MAX 6            /* of one page */
#define REPEATS_MAX 3          /* of a round in which items moved */
#define BACKSTEPS_MAX 50
#define POSTPONED_MS 100       /* at least, where the account takes no calls */
#define PAUSE_FIRST_MS 1000    /* after the first failure */
#define PAUSE_MAX_MS 300000

static int64_t now_us(const struct poll_entry *entry) {
    return clock_now_us(entry->poller->options.clock);
}
static int64_t tick_us(const struct poll_entry *entry) {
    return clock_tick_us(entry->poller->options.clock);
}

/* Where the round begins, or begins again. */
static void paging_reset(struct poll_entry *entry) {
    entry->from = entry->newest = entry->mark;
    entry->cursor[0] = entry->url[0] = '\0';
    entry->offset = 0;
    entry->page = 1;
    entry->pages = 0;
    entry->largest = 0;
    entry->anchor = entry->moved = entry->unsorted = entry->shifted = entry->marked = false;
    entry->tries = 0;
}

void round_begin(struct poll_entry *entry) {
    entry->began_us = now_us(entry);
    entry->restarted = false;
    entry->repeats = entry->backsteps = 0;
    paging_reset(entry);
    round_call(entry);
}

/* --- failing ----------------------------------------------------------------------------- */

static int64_t pause_ms(const struct poll_entry *entry) {
    int64_t most = PAUSE_FIRST_MS;
    for (uint32_t i = 1; i < entry->stats.in_a_row && most < PAUSE_MAX_MS; i++)
        most *= 2;
    if (most > PAUSE_MAX_MS)
        most = PAUSE_MAX_MS;
    return most / 2 + (int64_t)rng_below(entry->poller->options.rng, (uint64_t)most / 2 + 1);
}

void round_failed(struct poll_entry *entry, bool again, int64_t retry_after_ms, struct str why) {
    struct poll_stats *stats = &entry->stats;
    intake_rollback(entry->poller->intake);
    stats->failures++;
    stats->in_a_row++;
    stats->failed_us = now_us(entry);
    snprintf(stats->error, sizeof stats->error, "%.*s", STR_FMT(why));
    again = again && ++entry->tries < TRIES_MAX;
    int64_t wait_ms = pause_ms(entry), every_ms = entry->poll->every_s * 1000;
    if (!again && wait_ms < every_ms)
        wait_ms = every_ms;
    if (retry_after_ms > 0)
        wait_ms = again || retry_after_ms > wait_ms ? retry_after_ms : wait_ms;
    entry->due_us = tick_us(entry) + wait_ms * 1000;
    entry->state = again ? ENTRY_PAUSED : ENTRY_IDLE;
    if (!entry->poller->stopping)
        log_line(LOG_WARN, "connect", "a poll failed", "poll=%.*s page=%lld again_ms=%lld error=%s",
                 STR_FMT(entry->name), (long long)entry->pages + 1, (long long)wait_ms,
                 log_quote(str_c(stats->error)));
}

void round_postponed(struct poll_entry *entry, int64_t wait_ms) {
    intake_rollback(entry->poller->intake);
    entry->due_us = tick_us(entry) + (wait_ms > POSTPONED_MS ? wait_ms : POSTPONED_MS) * 1000;
    entry->state = ENTRY_PAUSED;
}

/* The other side forgot the cursor: once a round it is begun again, where the watermark is now. */
static bool cursor_lost(struct poll_entry *entry, int status) {
    bool followed = entry->cursor[0] || entry->url[0];
    bool told = status == 400 || status == 404 || status == 410 || status == 422;
    if (!followed || !told || entry->restarted)
        return false;
    log_line(LOG_INFO, "connect", "the next page of a poll is not there any more: from the watermark on",
             "poll=%.*s page=%lld status=%d", STR_FMT(entry->name), (long long)entry->pages + 1, status);
    paging_reset(entry);
    entry->restarted = true;
    round_call(entry);
    return true;
}

/* Smaller pages, where it is pages that are asked for. */
static void too_large(struct poll_entry *entry) {
    if (entry->page_size == 1) {
        round_failed(entry, false, -1,
                     STR("the answer to one item is larger than poll_answer_bytes_max"));
        return;
    }
    entry->page_size /= 2;
    log_line(LOG_INFO, "connect", "the answer to a poll is too large: smaller pages",
             "poll=%.*s page_size=%lld", STR_FMT(entry->name), (long long)entry->page_size);
    paging_reset(entry);
    round_call(entry);
}

/* --- calling ----------------------------------------------------------------------------- */

/* The other side's clock, as it is when the round begins: what is newer may change while it is read. */
static void clock_read(struct poll_entry *entry, const struct net_answer *answer) {
    int64_t us;
    if (entry->marked)
        return;
    entry->marked = true;
    if (net_http_date(net_answer_header(answer, STR("Date")), &us))
        entry->partner_us = us;
    else
        entry->partner_us = now_us(entry);
}

static void step_back(struct poll_entry *entry) {
    if (++entry->backsteps > BACKSTEPS_MAX) {
        round_failed(entry, false, -1, STR("the items move faster than they can be paged through"));
        return;
    }
    entry->offset = entry->offset > entry->page_size ? entry->offset - entry->page_size : 0;
    entry->anchor = false;
    round_call(entry);
}

static void called(void *ctx, const struct net_answer *answer) {
    struct poll_entry *entry = ctx;
    struct fault fault;
    int64_t at_us = now_us(entry);
    entry->call = NULL;
    fault_init(&fault, &entry->arena);
    poller_wake(entry->poller);
    if (answer->error == NET_TOO_LARGE) {
        too_large(entry);
    } else if (answer->error == NET_CLOSED) {
        round_postponed(entry, net_answer_retry_after_ms(answer, at_us));
    } else if (answer->error != NET_OK) {
        round_failed(entry, answer->error != NET_CANCELLED, -1, page_words(entry, answer));
    } else if (answer->judged ? answer->means != OUTCOME_SUCCESS : answer->status < 200 || answer->status > 299) {
        bool again = answer->status == 408 || answer->status == 425 || answer->status == 429 ||
                     answer->status >= 500 || (answer->judged && answer->means == OUTCOME_THROTTLED);
        if (!cursor_lost(entry, answer->status))
            round_failed(entry, again, net_answer_retry_after_ms(answer, at_us),
                         page_words(entry, answer));
    } else {
        clock_read(entry, answer);
        if (page_read(entry, answer, &fault) != OK) {
            round_failed(entry, false, -1, str_c(fault.detail));
            return;
        }
        if (entry->moved) {
            step_back(entry);
            return;
        }
        entry->state = ENTRY_ITEMS;
        entry->failed = false;
        entry->stats.items += entry->item_count;
    }
}

void round_call(struct poll_entry *entry) {
    struct net_request request;
    struct fault fault;
    arena_reset(&entry->arena);
    fault_init(&fault, &entry->arena);
    entry->state = ENTRY_CALLING;
    enum err err = request_page(entry, &request, &fault);
    net_flow_class(&entry->flow, (enum net_class)entry->poll->priority);
    if (err == OK)
        err = net_send(entry->poller->net, &request, called, entry, &entry->call, &fault);
    if (err != OK)
        round_failed(entry, err != ERR_INVALID, -1, str_c(fault.detail));
    else
        entry->stats.calls++;
}

/* --- a page, and a round, done --------------------------------------------------------------- */

/* Items of the page are durable: with `mark`, so is all below the newest of them. */
static enum err progress_save(struct poll_entry *entry, bool mark, struct fault *fault) {
    const struct connector_watermark *how = entry->poll->watermark;
    struct intake *intake = entry->poller->intake;
    struct poll_mark moved = entry->newest;
    if (how && mark && entry->newest.known) {
        struct buf text;
        int64_t grace_us = entry->poll->backstop.len ? entry->poll->grace_s * 1000000 : 0;
        mark_cap(how, &moved, entry->partner_us + 999999 - grace_us); /* the header has whole seconds */
        if (mark_cmp(how, &moved, &entry->mark) < 0)
            moved = entry->mark; /* never back */
        buf_init(&text, INTAKE_VALUE_MAX);
        mark_save(how, &moved, &text);
        intake_set(intake, entry->name, buf_str(&text));
        buf_free(&text);
    }
    enum err err = intake_commit(intake, fault);
    if (err == OK && how && mark && entry->newest.known)
        entry->mark = moved;
    return err;
}

/* Items that will not be met any more. */
static void seen_forget(struct poll_entry *entry) {
    struct poller *poller = entry->poller;
    struct fault fault = {0};
    int64_t count = 0;
    if (!entry->poll->watermark &&
        (intake_count(poller->intake, entry->number, &count, &fault) != OK ||
         count <= poller->options.config->settings.poll_seen_max))
        return;
    intake_forget(poller->intake, entry->number, entry->round - (entry->poll->watermark ? 1 : 0));
}

static void round_end(struct poll_entry *entry) {
    struct poll_stats *stats = &entry->stats;
    struct fault fault = {0};
    seen_forget(entry);
    if (progress_save(entry, true, &fault) != OK) {
        round_failed(entry, false, -1, str_c(fault.detail));
        return;
    }
    if (entry->unsorted && entry->poll->watermark->sorted)
        log_line(LOG_WARN, "connect", "the items of a poll are not sorted, though its connector says so",
                 "poll=%.*s", STR_FMT(entry->name));
    if (stats->in_a_row > 0)
        log_line(LOG_INFO, "connect", "a poll works again", "poll=%.*s after=%u",
                 STR_FMT(entry->name), stats->in_a_row);
    stats->rounds++;
    stats->in_a_row = 0;
    stats->success_us = now_us(entry);
    entry->round++;
    entry->state = ENTRY_IDLE;
    entry->page_size = entry->page_size * 2 < entry->poll->pages->size ? entry->page_size * 2
                                                                       : entry->poll->pages->size;
    entry->due_us = tick_us(entry) + entry->poll->every_s * 1000000;
    arena_reset(&entry->arena);
}

/* Items were changed while they were paged through, which moves the others: one may have slipped from
 * a page to one that was read before. */
static bool round_repeat(struct poll_entry *entry) {
    int32_t style = entry->poll->pages->style;
    bool by_position = style == PAGES_PAGE || (!entry->poll->pages->stable && style != PAGES_OFFSET &&
                                               style != PAGES_WATERMARK);
    if (!by_position || !entry->shifted || entry->pages < 2)
        return false;
    if (entry->repeats == REPEATS_MAX) {
        log_line(LOG_WARN, "connect", "items of a poll change faster than it can page through them: some "
                 "may have been passed over", "poll=%.*s pages=%lld", STR_FMT(entry->name),
                 (long long)entry->pages);
        return false;
    }
    entry->repeats++;
    paging_reset(entry);
    round_call(entry);
    return true;
}

/* What is to be asked for next is the page behind this one: the round begins again instead. What it
 * has stored is known. */
static void page_undone(struct poll_entry *entry, struct str why) {
    uint32_t tries = entry->tries;
    paging_reset(entry);
    entry->tries = tries;
    round_failed(entry, true, -1, why);
}

void round_page_done(struct poll_entry *entry) {
    const struct connector_poll *poll = entry->poll;
    struct fault fault;
    fault_init(&fault, &entry->arena);
    if (entry->poller->stopping) {
        intake_rollback(entry->poller->intake);
        entry->state = ENTRY_IDLE;
        return;
    }
    if (entry->failed) {
        page_undone(entry, arena_str(&entry->arena, str_c(entry->stats.error)));
        return;
    }
    bool sorted = poll->watermark && poll->watermark->sorted && !entry->unsorted && !entry->shifted;
    if (progress_save(entry, sorted, &fault) != OK) {
        page_undone(entry, str_c(fault.detail));
        return;
    }
    entry->pages++;
    entry->tries = 0;
    if (!entry->more && round_repeat(entry))
        return;
    if (!entry->more) {
        round_end(entry);
        return;
    }
    if (entry->pages >= poll->pages->pages_max && !sorted) {
        round_failed(entry, false, -1,
                     STR("there are more than pages_max pages: raise it, or ask for a sorted answer and "
                         "say so (watermark: sorted), so that the next round goes on from there"));
        return;
    }
    if (entry->pages >= poll->pages->pages_max) {
        round_end(entry);
        entry->due_us = tick_us(entry);
        return;
    }
    if (poll->pages->style == PAGES_WATERMARK)
        entry->from = entry->newest;
    if (poll->pages->style == PAGES_OFFSET) {
        const struct json *last = json_first(entry->items);
        for (uint32_t i = 1; i < entry->item_count; i++)
            last = json_next(last);
        entry->last_item = item_identity(entry, last);
        entry->anchor = entry->item_count > 1; /* a page of one can not overlap */
    }
    round_call(entry);
}
